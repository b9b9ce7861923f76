// Draws the page from the JSON in its data elements.
const page = json("data");
const shown = new Map(page.shown.map((id, number) => [id, number]));
const rows = new Map(page.tracks.map((track) => [track.id, track]));
const name = (track) => track.title || track.id;
const level = (confidence) =>
  confidence === null || confidence === undefined ? "" : `c${clamp(Math.floor(confidence * 5), 0, 4)}`;

// --- totals ----------------------------------------------------------------------------------

function drawTotals() {
  const totals = page.summary;
  const states = totals.states;
  const tiles = [["Songs", number(totals.songs)], ["Ready", number(states.ready)],
    ["Ready to train", hours(totals.hours_ready)], ["Rejected", number(states.rejected)],
    ["Failed", number(states.failed)]];
  if (states.pending) tiles.push(["Pending", number(states.pending)]);
  tiles.push(["Lines of lyrics", number(totals.lines)], ["Words", number(totals.words)]);
  for (const [label, value] of tiles)
    $("tiles").append(make("div", {}, make("dt", {}, label), make("dd", {}, value)));
  const languages = totals.languages.map((row) => row.name || "not told").slice(0, 8).join(", ");
  $("subtitle").textContent = [`${hours(totals.hours)} of sound in all`,
    languages && `languages: ${languages}`,
    page.dataset.dataset_hash && `dataset ${page.dataset.dataset_hash.slice(0, 12)}`]
    .filter(Boolean).join(" · ");
}

function histogram({ label, unit, step, bins, limits }) {
  const width = 320, height = 130, left = 4, bottom = 18, top = 8;
  const low = bins[0][0], high = bins[bins.length - 1][0] + step;
  const most = Math.max(...bins.map(([, kept, out]) => kept + out));
  const x = (value) => left + ((value - low) / (high - low)) * (width - 2 * left);
  const y = (count) => height - bottom - (count / most) * (height - bottom - top);
  const drawing = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Histogram: ${label}` });
  const fine = (value) => number(value, step < 1 ? 2 : 0);
  for (const [start, kept, out] of bins) {
    const x0 = x(start) + 0.5, across = Math.max(x(start + step) - x(start) - 1, 0.5);
    const bar = make("g", {}, make("title", {}, `${fine(start)} to ${fine(start + step)} ${unit}: ${number(kept)} kept, ${number(out)} left out`),
      make("rect", { x: x0, y: top, width: across, height: height - bottom - top, fill: "transparent" }));
    if (kept) bar.append(make("rect", { class: "kept", x: x0, y: y(kept), width: across, height: y(0) - y(kept) }));
    if (out) bar.append(make("rect", { class: "out", x: x0, y: y(kept + out), width: across, height: y(0) - y(out) }));
    drawing.append(bar);
  }
  drawing.append(make("line", { class: "axis", x1: left, x2: width - left, y1: y(0), y2: y(0) }));
  for (const limit of limits.filter((value) => value >= low && value <= high))
    drawing.append(make("line", { class: "limit", x1: x(limit), x2: x(limit), y1: top - 4, y2: y(0) }, make("title", {}, `limit: ${limit}`)));
  for (const [value, anchor] of [[low, "start"], [(low + high) / 2, "middle"], [high, "end"]])
    drawing.append(make("text", { x: x(value), y: height - 4, "text-anchor": anchor }, fine(value)));
  return make("figure", {}, make("figcaption", {}, unit ? `${label} (${unit})` : label,
    make("span", {}, `most: ${number(most)}`)), drawing);
}

function bars(label, entries, count) {
  const most = Math.max(...entries.map((entry) => entry[count]));
  const list = make("div", { class: "bars" });
  for (const entry of entries.slice(0, 8)) {
    const share = make("i");
    share.style.width = `${(100 * entry[count]) / most}%`;
    list.append(make("span", {}, entry.name || "not told"), share, make("span", {}, `${number(entry[count])} · ${hours(entry.hours)}`));
  }
  const more = entries.length > 8 ? `and ${number(entries.length - 8)} more` : "";
  return make("figure", {}, make("figcaption", {}, label, make("span", {}, more)), list);
}

function drawCharts() {
  const totals = page.summary;
  const drawn = totals.histograms.filter((measure) => measure.bins.length);
  const charts = drawn.map(histogram);
  const kinds = [["Languages", "languages", "songs"], ["Sections", "sections", "sections"], ["Licences", "licences", "songs"], ["Sources", "sources", "songs"]];
  for (const [label, key, count] of kinds)
    if (totals[key].length) charts.push(bars(label, totals[key], count));
  if (!charts.length) $("charts").append(make("p", { class: "empty" }, "Nothing is measured yet."));
  else $("charts").before(make("p", { class: "key" },
    make("span", {}, make("b", { style: "background:var(--kept)" }), "kept"),
    make("span", {}, make("b", { style: "background:var(--out)" }), "left out"),
    make("span", {}, "┆ limit of a filter")));
  $("charts").append(...charts);
}

function drawReasons() {
  const { refused, rules } = page.summary;
  $("refused").append(refused.length
    ? table([["State", (row) => tag(row.state)], ["Stage", (row) => row.stage], ["Reason", (row) => row.reason],
      ["Songs", (row) => number(row.songs), true], ["For example", (row) => row.example]], refused)
    : make("p", { class: "empty" }, "No song was left out."));
  if (rules.length)
    $("rules").append(make("h3", {}, "Filters applied"), table([["Filter", (row) => row.rule],
      ["Limit", (row) => shortly(row.limit), true],
      ["Songs kept", (row) => number(row.kept), true], ["Songs rejected", (row) => number(row.refused), true]], rules));
}

function drawMakers() {
  $("backends").append(page.backends.length
    ? table([["Stage", (row) => row.stage], ["Backend", (row) => row.name], ["Why", (row) => row.why],
      ["Licence of its weights", (row) => row.licence], ["Hash", (row) => row.hash.slice(0, 8)]], page.backends)
    : make("p", { class: "empty" }, "prepare.json names no backends."));
  const made = page.dataset;
  pairs($("dataset"), [["Training set", made.dataset_hash], ["Songs in it", number(made.songs)],
    ["Hours in it", number(made.hours, 3)], ["Shards", made.shards && `${number(made.shards)}, ${bytes(made.shard_bytes)}`],
    ["Lyric front end", made.frontend], ["Sketch codebook", made.codebook_hash], ["VAE", made.vae_hash]]);
}

// --- the list of songs -----------------------------------------------------------------------

const COLUMNS = [
  ["Song", (track) => name(track).toLowerCase(), (track) => [shown.has(track.id) ? make("a", { href: `#track=${encodeURIComponent(track.id)}` }, name(track)) : name(track),
    make("small", {}, [track.artist, track.title ? track.id : ""].filter(Boolean).join(" · "))]],
  ["State", (track) => track.state, (track) => [tag(track.state)]],
  ["Language", (track) => track.language, (track) => [track.language]],
  ["Length", (track) => track.duration, (track) => [short(track.duration)], true],
  ["Heard", (track) => track.matched, (track) => [number(track.matched)], true],
  ["Confidence", (track) => track.confidence, (track) => [number(track.confidence)], true],
  ["Voice", (track) => track.voice, (track) => [number(track.voice)], true],
  ["dBFS", (track) => track.level, (track) => [number(track.level, 1)], true],
  ["Why", (track) => track.reason, (track) => [track.reason]],
];
const order = { column: -1, down: false };

function drawList() {
  $("list").tHead.append(make("tr", {}, ...COLUMNS.map(([heading, , , numeric], index) =>
    make("th", { class: numeric ? "number" : null, scope: "col" }, make("button", { onclick: () => sortBy(index) }, heading)))));
  for (const [state, count] of Object.entries(page.summary.states))
    if (count) $("state").append(make("option", { value: state }, `${state} (${number(count)})`));
  for (const track of page.tracks) {
    track.element = make("tr", { class: shown.has(track.id) ? "shown" : null },
      ...COLUMNS.map(([, , draw, numeric]) => make("td", { class: numeric ? "number" : null }, ...draw(track))));
    if (shown.has(track.id))
      track.element.addEventListener("click", (event) => { if (!event.target.closest("a")) go(track.id, 0, true); });
    track.text = [track.title, track.artist, track.id, track.reason, track.language].join("\n").toLowerCase();
  }
  $("search").addEventListener("input", filter);
  $("state").addEventListener("change", filter);
  filter();
}

function filter() {
  const wanted = $("search").value.trim().toLowerCase();
  const state = $("state").value;
  const found = page.tracks.filter((track) => (!state || track.state === state) && track.text.includes(wanted));
  if (order.column >= 0) {
    const read = COLUMNS[order.column][1];
    const blank = (value) => value === null || value === undefined || value === "";
    found.sort((a, b) => {
      const [x, y] = [read(a), read(b)];
      if (blank(x) || blank(y)) return blank(x) - blank(y);
      return (x < y ? -1 : x > y ? 1 : 0) * (order.down ? -1 : 1);
    });
  }
  $("list").tBodies[0].replaceChildren(...found.map((track) => track.element));
  const sampled = page.tracks.length < page.summary.songs ? `, a sample of ${number(page.summary.songs)}` : "";
  $("songs-note").textContent = page.tracks.length
    ? `${number(found.length)} of ${number(page.tracks.length)} listed songs${sampled}; ${number(shown.size)} can be opened.`
    : "There are no songs.";
}

function sortBy(column) {
  order.down = order.column === column && !order.down;
  order.column = column;
  [...$("list").tHead.rows[0].cells].forEach((head, index) => {
    const arrow = index !== column ? "" : order.down ? " ↓" : " ↑";
    head.firstChild.textContent = COLUMNS[index][0] + arrow;
    if (arrow) head.setAttribute("aria-sort", order.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  });
  filter();
}

// --- a song ----------------------------------------------------------------------------------

const PARTS = ["#9ecae9", "#f5c26b", "#a8d5a2", "#e3b7d8", "#d0cfc9", "#f0a58f", "#c2b8e8", "#8fd3c9"];
const audio = $("audio");
const song = { id: null, detail: null, words: [], lines: [], time: 0, duration: 0, zoom: 1, colours: new Map(), urls: [] };

function go(id, time = 0, scroll = false) {
  if (song.id !== id) draw(id);
  seek(time);
  if (scroll) $("player").scrollIntoView({ block: "start" });
}

function draw(id) {
  audio.pause();
  const track = rows.get(id);
  const detail = json(`track-${shown.get(id)}`);
  Object.assign(song, { id, detail, duration: detail.duration || lastEnd(detail), zoom: null });
  $("player").hidden = false;
  $("player-title").textContent = name(track);
  $("player-facts").replaceChildren(tag(track.state), " ", [track.artist, short(track.duration), track.language, track.title ? track.id : ""].filter(Boolean).join(" · "));
  $("player-note").textContent = [track.reason && `${track.state} at ${track.stage}: ${track.reason}`, detail.note].filter(Boolean).join(" · ");
  $("choose").value = id;
  for (const other of page.tracks) other.element.removeAttribute("aria-current");
  track.element.setAttribute("aria-current", "true");
  drawLyrics();
  drawTimeline();
  drawFacts(track);
  drawSound();
  zoom(null);
}

const lastEnd = (detail) => Math.max(0, ...[...detail.sections, ...detail.lines].map((part) => part.end || 0));

function drawSound() {
  song.urls.forEach((url) => URL.revokeObjectURL(url));
  song.urls = [];
  const sounds = Object.entries(song.detail.sound).map(([label, data]) => {
    const url = URL.createObjectURL(new Blob([decode(data)], { type: "audio/ogg" }));
    song.urls.push(url);
    return [label, url];
  });
  $("play").disabled = !sounds.length;
  $("stems").replaceChildren();
  delete root.dataset.audio;
  if (!sounds.length) { audio.removeAttribute("src"); audio.load(); return; }
  const listen = (chosen, url) => {
    const playing = !audio.paused;
    audio.src = url;
    audio.currentTime = song.time;
    if (playing) audio.play();
    for (const button of $("stems").children) button.setAttribute("aria-checked", String(button.textContent === chosen));
  };
  if (sounds.length > 1)
    $("stems").append(...sounds.map(([label, url]) => make("button", { role: "radio", "aria-checked": "false", onclick: () => listen(label, url) }, label)));
  song.time = 0;
  listen(...sounds[0]);
}

const told = (word) => `${word.text}  ${clock(word.start)} to ${clock(word.end)}` + (level(word.confidence) ? `, confidence ${number(word.confidence)}` : "");
const timed = (part) => part.start !== null && part.start !== undefined && part.end !== null && part.end !== undefined;

function drawLyrics() {
  song.words = [];
  song.lines = [];
  const panes = [];
  let section = null;
  for (const line of song.detail.lines) {
    if ((line.section ?? null) !== section) {
      section = line.section ?? null;
      panes.push(make("h3", {}, song.detail.tags[section] || `section ${section + 1}`));
    }
    const text = make("div");
    const pane = make("div", { class: "sung" }, make("time", {}, timed(line) ? short(line.start) : ""), text);
    if (timed(line)) song.lines.push({ start: line.start, end: line.end, element: pane });
    for (const word of line.words || []) {
      const button = make("button", { class: `word ${level(word.confidence)}`, tabindex: -1, disabled: timed(word) ? null : "", title: timed(word) ? told(word) : "not heard", onclick: () => seek(word.start) }, word.text);
      text.append(button, " ");
      if (timed(word)) song.words.push({ ...word, element: button });
    }
    if (!(line.words || []).length) text.append(line.text);
    panes.push(pane);
  }
  song.words.sort((a, b) => a.start - b.start);
  song.lines.sort((a, b) => a.start - b.start);
  $("lyrics").replaceChildren(...(panes.length ? panes : [make("p", { class: "empty" }, "No words were aligned.")]));
}

function place(element, start, end) {
  element.style.left = `${(100 * start) / song.duration}%`;
  if (end !== undefined) element.style.width = `${(100 * (end - start)) / song.duration}%`;
  return element;
}

function drawTimeline() {
  const { detail } = song;
  const parts = make("div", { class: "lane sections" });
  for (const part of detail.sections) {
    if (!song.colours.has(part.tag)) song.colours.set(part.tag, PARTS[song.colours.size % PARTS.length]);
    const sure = level(part.confidence) ? `, confidence ${number(part.confidence)}` : "";
    const box = place(make("div", { class: "part", title: `${part.tag}  ${clock(part.start)} to ${clock(part.end)}${sure}` }, make("span", {}, part.tag)), part.start, part.end);
    box.style.background = song.colours.get(part.tag);
    parts.append(box);
  }
  const chips = make("div", { class: "lane words" });
  for (const word of song.words) {
    word.chip = place(make("button", { class: `chip ${level(word.confidence) || "c2"}`, tabindex: -1, title: told(word), onclick: (event) => { event.stopPropagation(); seek(word.start); } }, word.text), word.start, word.end);
    chips.append(word.chip);
  }
  const drawn = [["ruler", "", make("div", { class: "lane ruler" })]];
  if (detail.beats.length) drawn.push(["beats", "beats", beats(detail.beats)]);
  if (detail.sections.length) drawn.push(["sections", "sections", parts]);
  if (song.words.length) drawn.push(["words", "words", chips]);
  if (detail.image) drawn.push(["mel", "mel", make("div", { class: "lane mel" }, make("img", { src: `data:image/png;base64,${detail.image}`, alt: "Mel spectrogram", draggable: "false" }))]);
  for (const [label, data] of Object.entries(detail.peaks)) drawn.push(["wave", label, wave(label, decode(data))]);
  $("lanes").replaceChildren(...drawn.map(([, , lane]) => lane));
  $("names").replaceChildren(...drawn.map(([kind, label]) => make("div", { class: `name ${kind}` }, label === "accompaniment" ? "backing" : label)));
  $("scroll").setAttribute("aria-valuemax", song.duration.toFixed(1));
}

function beats(times) {
  const size = { viewBox: `0 0 ${song.duration} 1`, preserveAspectRatio: "none", role: "img", "aria-label": `${times.length} beats` };
  return make("div", { class: "lane beats" }, make("svg", size, make("path", { d: times.map((at) => `M${at} 0V1`).join("") })));
}

function wave(label, peaks) {
  const up = [...peaks].map((peak, index) => `${index} ${128 - peak / 2}`);
  const down = [...peaks].map((peak, index) => `${index} ${128 + peak / 2}`).reverse();
  const size = { viewBox: `0 0 ${Math.max(peaks.length - 1, 1)} 256`, preserveAspectRatio: "none", role: "img", "aria-label": `Waveform: ${label}` };
  return make("div", { class: `lane wave ${label}` }, make("svg", size, make("path", { d: `M${up.join("L")}L${down.join("L")}Z` })));
}

// Pixels a second; null: so that words can be read, and the whole song where it is short.
function zoom(factor) {
  const room = $("scroll").clientWidth || 800;
  const whole = room / Math.max(song.duration, 1);
  const current = factor === null ? 90 : song.zoom * factor;
  song.zoom = clamp(current, whole, Math.max(400, whole));
  $("canvas").style.width = `${Math.max(song.zoom * song.duration, room)}px`;
  const step = [1, 2, 5, 10, 15, 30, 60, 120, 300].find((seconds) => seconds * song.zoom >= 56) || 600;
  const ticks = [];
  for (let at = 0; at < song.duration; at += step) ticks.push(place(make("div", { class: "tick" }, short(at)), at));
  document.querySelector(".lane.ruler").replaceChildren(...ticks);
  follow(true);
}

function drawFacts(track) {
  const facts = $("facts");
  facts.replaceChildren();
  const { detail } = song;
  if (detail.decisions.length)
    facts.append(make("h3", {}, "Filters"), table([["Filter", (row) => row.rule], ["Value", (row) => shortly(row.value), true],
      ["Limit", (row) => shortly(row.limit), true], ["", (row) => (row.kept ? "kept" : tag("rejected"))]], detail.decisions));
  facts.append(make("h3", {}, "File"), pairs(make("dl", { class: "pairs" }), Object.entries(detail.about)));
  for (const [stage, fields] of Object.entries(detail.results)) {
    const values = Object.entries(fields).map(([key, value]) => [key, shortly(value)]);
    facts.append(make("details", {}, make("summary", {}, stage), pairs(make("dl", { class: "pairs" }), values)));
  }
}

// --- time ------------------------------------------------------------------------------------

function at(list, time) { // the last that has begun, if it lasts still; lists are in order of starts
  let low = 0, high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle].start <= time) low = middle + 1; else high = middle;
  }
  return low && time < list[low - 1].end ? low - 1 : -1;
}

function show(time) {
  song.time = clamp(time, 0, song.duration);
  const word = at(song.words, song.time), line = at(song.lines, song.time);
  if (word !== song.word || line !== song.line) {
    for (const element of document.querySelectorAll("#player .now")) element.classList.remove("now");
    if (word >= 0) [song.words[word].element, song.words[word].chip].forEach((element) => element.classList.add("now"));
    if (line >= 0) {
      const pane = song.lines[line].element, lyrics = $("lyrics");
      pane.classList.add("now");
      if (line !== song.line) lyrics.scrollTop = pane.offsetTop - lyrics.clientHeight / 2;
    }
    Object.assign(song, { word, line });
  }
  $("head").style.left = `${(100 * song.time) / Math.max(song.duration, 1e-6)}%`;
  $("clock").textContent = `${clock(song.time)} / ${clock(song.duration)}`;
  $("scroll").setAttribute("aria-valuenow", song.time.toFixed(1));
  $("scroll").setAttribute("aria-valuetext", clock(song.time));
  follow(false);
}

function follow(always) { // keep the playhead in sight
  const box = $("scroll"), x = song.time * song.zoom;
  if (always || x < box.scrollLeft || x > box.scrollLeft + box.clientWidth * 0.9)
    box.scrollLeft = x - box.clientWidth * 0.2;
}

function seek(time) {
  song.word = song.line = null;
  show(time);
  if (audio.src) audio.currentTime = song.time;
  history.replaceState(null, "", `#track=${encodeURIComponent(song.id)}&t=${song.time.toFixed(2)}`);
}

function tick() {
  if (audio.paused) return;
  show(audio.currentTime);
  requestAnimationFrame(tick);
}

function step(by) { // to another of the songs shown
  const next = page.shown[shown.get(song.id) + by];
  if (next !== undefined) go(next);
}

function stepLine(by) {
  const here = song.lines.findIndex((line) => line.start > song.time + 0.01);
  const after = here < 0 ? song.lines.length : here;
  const line = song.lines[by > 0 ? after : Math.max(after - 2, 0)];
  if (line) seek(line.start);
}

const KEYS = {
  " ": () => $("play").click(), ArrowLeft: () => seek(song.time - 2), ArrowRight: () => seek(song.time + 2),
  ArrowUp: () => stepLine(-1), ArrowDown: () => stepLine(1), p: () => step(-1), n: () => step(1),
  "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), Home: () => seek(0),
};

function listen() {
  $("play").addEventListener("click", () => (audio.paused ? audio.play() : audio.pause()));
  audio.addEventListener("play", () => { $("play").textContent = "Pause"; tick(); });
  audio.addEventListener("pause", () => { $("play").textContent = "Play"; });
  audio.addEventListener("loadedmetadata", () => { root.dataset.audio = audio.duration.toFixed(2); });
  audio.addEventListener("error", () => {
    if (audio.src) $("player-note").textContent = "This browser does not play Ogg Vorbis.";
  });
  $("previous").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  $("choose").append(...page.shown.map((id) => make("option", { value: id }, name(rows.get(id)))));
  $("choose").addEventListener("change", () => go($("choose").value));
  $("narrower").addEventListener("click", () => zoom(1 / 1.5));
  $("wider").addEventListener("click", () => zoom(1.5));
  $("canvas").addEventListener("click", (event) => {
    const box = $("canvas").getBoundingClientRect();
    seek(((event.clientX - box.left) / box.width) * song.duration);
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, select, summary, .scroll") || (event.target.closest("button") && event.key === " ");
    if (typing || !song.id || event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
    if (event.key.startsWith("Arrow") && !event.target.closest("#player") && event.target !== document.body) return;
    event.preventDefault();
    KEYS[event.key]();
  });
  window.addEventListener("resize", () => song.id && zoom(1));
  window.addEventListener("hashchange", () => fromAddress(true));
  $("legend").append(make("em", {}, "confidence"), ...["0", ".2", ".4", ".6", ".8"].map((text, index) => make("span", { class: `c${index}` }, text)));
}

function fromAddress(scroll) {
  const wanted = new URLSearchParams(location.hash.slice(1));
  const id = wanted.get("track");
  if (id !== null && shown.has(id)) go(id, Number(wanted.get("t")) || 0, scroll);
  return song.id !== null;
}

drawTotals();
drawList();
drawCharts();
drawReasons();
drawMakers();
listen();
if (!fromAddress(true) && page.shown.length) draw(page.shown[0]), show(0);
root.dataset.ready = "true";
