// Draws the page from the JSON in its data elements.
const page = json("data");
const METRICS = Object.entries(page.metrics); // [name, metric] in the protocol's order
const EDITS = ["substitutions", "deletions", "insertions"];
const shown = new Map(page.shown.map((name, index) => [name, index]));
const failures = new Map();
for (const failure of page.failed)
  failures.set(failure.name, [...(failures.get(failure.name) || []), failure]);

function value(amount, unit) {
  if (amount === null || amount === undefined) return "";
  if (unit === "%") return `${amount.toFixed(2)} %`;
  const level = ["LUFS", "dB", "dBTP"].includes(unit);
  const digits = level ? amount.toFixed(2) : Math.abs(amount) < 1000 ? amount.toFixed(3) : number(amount, 0);
  return level || unit === "s" || unit === "x" ? `${digits} ${unit}` : digits;
}

const plural = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;
const told = (content) => // any JSON on one line
  content === null ? "none" : typeof content === "number" ? number(content, 6) : typeof content === "string" ? content : JSON.stringify(content);

// --- totals ----------------------------------------------------------------------------------

function drawTotals() {
  const { protocol, test_set: set } = page;
  $("subtitle").textContent = [`protocol ${protocol.id}`, `candidates: ${protocol.candidates}`,
    `${plural(set.songs, "song")}, test set ${set.hash.slice(0, 16)}`].join(" · ");
  for (const [, metric] of METRICS) {
    const range = metric.interval
      ? make("small", { title: "Confidence interval, by resampling songs" }, metric.interval.map((end) => value(end, metric.unit)).join(" to ")) : null;
    const better = metric.better ? `${metric.better} is better · ` : "";
    const failed = metric.failed ? `, ${number(metric.failed)} failed` : "";
    $("metrics").append(make("div", {}, make("dt", {}, metric.column),
      make("dd", { class: "value" }, value(metric.value, metric.unit) || "none", range),
      make("dd", {}, shares(metric.parts), make("small", {}, `${better}${plural(metric.songs, "song")}${failed}`))));
  }
}

function shares(parts) { // of the errors: a bar of substitutions, deletions, insertions
  if (!parts || !EDITS.every((kind) => typeof parts[kind] === "number")) return null;
  const bar = make("div", { class: "shares", role: "img", "aria-label": EDITS.map((kind) => `${number(parts[kind])} ${kind}`).join(", ") });
  for (const kind of EDITS) {
    const share = make("i", { class: kind, title: `${number(parts[kind])} ${kind}` });
    share.style.flexGrow = String(parts[kind]);
    bar.append(share);
  }
  return bar;
}

function drawParts() {
  const flat = (data, before = "") => Object.entries(data || {}).flatMap(([key, part]) =>
    Array.isArray(part) ? [] : part !== null && typeof part === "object" ? flat(part, `${before}${key}, `) : [[`${before}${key}`, part]]);
  const entries = METRICS.flatMap(([, metric]) => flat(metric.parts).map(([key, part]) => [metric.column, key, part]));
  $("parts").append(entries.length
    ? table([["Metric", ([column]) => column], ["Part", ([, key]) => key], ["Value", ([, , part]) => told(part), true]], entries)
    : make("p", { class: "empty" }, "Nothing was scored."));
}

function drawFailed() {
  $("failed").append(page.failed.length
    ? table([["Song", (row) => row.name], ["Metric", (row) => row.metric], ["Reason", (row) => row.reason]], page.failed)
    : make("p", { class: "empty" }, "Everything was scored."));
}

function drawProtocol() {
  const { protocol, test_set: set } = page;
  pairs($("protocol"), [["Name", protocol.name], ["Id", protocol.id], ["Candidates", protocol.candidates],
    ["Test set", set.hash], ["Songs", number(set.songs)]]);
  for (const [name, identity] of Object.entries(protocol.identity || {}))
    $("identity").append(make("details", {}, make("summary", {}, page.metrics[name] ? page.metrics[name].column : name),
      make("pre", {}, JSON.stringify(identity, null, 1))));
}

// --- the list of songs -----------------------------------------------------------------------

const order = { column: 0, down: false }; // column 0: as they come, the worst first

function cell(name, values, index) {
  const [metric, { unit }] = METRICS[index];
  if (values[index] !== null) return value(values[index], unit);
  const failure = (failures.get(name) || []).find((entry) => entry.metric === metric);
  return failure ? make("span", { class: "miss", title: failure.reason }, "failed") : "";
}

function drawList() {
  const heading = (text, index, numeric) => make("th", { class: numeric ? "number" : null, scope: "col" },
    make("button", { onclick: () => sortBy(index) }, text));
  $("list").tHead.append(make("tr", {}, heading("Song", 0, false), ...METRICS.map(([, metric], index) => heading(metric.column, index + 1, true))));
  page.rows = page.songs.map(([name, values]) => {
    const open = shown.has(name);
    const element = make("tr", { class: open ? "shown" : null },
      make("td", {}, open ? make("a", { href: `#song=${encodeURIComponent(name)}` }, name) : name),
      ...METRICS.map((_, index) => make("td", { class: "number" }, cell(name, values, index))));
    if (open) element.addEventListener("click", (event) => { if (!event.target.closest("a")) draw(name, true); });
    const text = [name, ...(failures.get(name) || []).map((failure) => failure.reason)].join("\n").toLowerCase();
    return { name, values, element, text };
  });
  $("search").addEventListener("input", filter);
  filter();
}

function filter() {
  const wanted = $("search").value.trim().toLowerCase();
  const found = page.rows.filter((row) => row.text.includes(wanted));
  if (order.column > 0) {
    const read = (row) => row.values[order.column - 1];
    found.sort((a, b) => {
      if (read(a) === null || read(b) === null) return (read(a) === null) - (read(b) === null);
      return (read(a) - read(b)) * (order.down ? -1 : 1);
    });
  }
  $("list").tBodies[0].replaceChildren(...found.map((row) => row.element));
  const of = page.rows.length < page.test_set.songs ? `the worst ${number(page.rows.length)} of ${number(page.test_set.songs)} songs` : plural(page.rows.length, "song");
  $("songs-note").textContent = `${number(found.length)} of ${of}; ${number(shown.size)} can be opened.`;
}

function sortBy(column) { // a metric's worst end first, then the other way
  const { better } = column ? METRICS[column - 1][1] : {};
  order.down = order.column === column ? !order.down : better === "lower";
  order.column = column;
  [...$("list").tHead.rows[0].cells].forEach((head, index) => {
    const sorted = index === column && column > 0;
    head.firstChild.textContent = (index ? METRICS[index - 1][1].column : "Song") + (sorted ? (order.down ? " ↓" : " ↑") : "");
    if (sorted) head.setAttribute("aria-sort", order.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  });
  filter();
}

// --- a song ----------------------------------------------------------------------------------

const audio = $("audio");
const song = { name: null, url: null };
const own = (name) => page.rows.find((row) => row.name === name).values;

function draw(name, scroll = false) {
  const detail = json(`song-${shown.get(name)}`);
  song.name = name;
  $("player").hidden = false;
  $("player-title").textContent = name;
  $("player-facts").textContent = METRICS.map(([, { column, unit }], index) => [column, value(own(name)[index], unit)])
    .filter(([, text]) => text).map((pair) => pair.join(" ")).join(" · ");
  $("player-note").textContent = [detail.note, ...(failures.get(name) || []).map((failure) => `${failure.metric}: ${failure.reason}`)].filter(Boolean).join(" · ");
  $("choose").value = name;
  for (const row of page.rows) {
    if (row.name === name) row.element.setAttribute("aria-current", "true");
    else row.element.removeAttribute("aria-current");
  }
  drawSound(detail.sound);
  drawLines(detail.measured);
  drawFacts(detail.measured);
  history.replaceState(null, "", `#song=${encodeURIComponent(name)}`);
  if (scroll) $("player").scrollIntoView({ block: "start" });
}

function drawSound(sound) {
  if (song.url) URL.revokeObjectURL(song.url);
  song.url = sound.data ? URL.createObjectURL(new Blob([decode(sound.data)], { type: "audio/ogg" })) : null;
  delete root.dataset.audio;
  const source = song.url || sound.link;
  audio.hidden = !source;
  if (source) audio.src = source;
  else audio.removeAttribute("src");
  audio.load();
}

function drawLines(measured) { // phones of the lyrics' lines, as the metric of words details them
  const { lines = [], sections = [] } = Object.values(measured).map(({ details }) => details || {}).find((details) => Array.isArray(details.lines)) || {};
  const panes = [];
  let section = null;
  for (const line of lines) {
    if (line.section !== section) {
      section = line.section;
      const { tag, phones } = sections.find((part) => part.section === section) || {};
      panes.push(make("h3", {}, tag || `section ${section + 1}`, make("small", {}, phones ? ` · ${counted(phones)}` : "")));
    }
    panes.push(drawLine(line));
  }
  $("edits").replaceChildren(...(lines.length ? EDITS.map((kind) => make("span", {}, make("b", { class: kind }), kind)).concat("a line and its wrong words have the colour of most of the line's edits") : []));
  $("lyrics").replaceChildren(...(panes.length ? panes : [make("p", { class: "empty" }, "No lyrics were scored.")]));
}

function counted(phones) {
  const kinds = EDITS.filter((kind) => phones[kind]).map((kind) => `${number(phones[kind])} ${kind.slice(0, 3)}.`);
  return kinds.length ? `${kinds.join(" ")} in ${number(phones.asked)}` : "";
}

function drawLine({ text, heard, phones, words }) { // the stripe is of most of its errors
  const worst = EDITS.reduce((most, kind) => (phones[kind] > phones[most] ? kind : most));
  const stripe = phones[worst] ? worst : "";
  const said = make("span", {});
  for (const [word, count, edits] of words || [[text, 0, 0]]) {
    const wrong = edits ? { class: `wrong ${2 * edits >= count ? stripe : ""}`, title: `${plural(edits, "edit")} in ${plural(count, "phone")}` } : {};
    said.append(make("span", wrong, word), " ");
  }
  const other = stripe ? make("span", { class: "heard" }, heard ? `heard: ${heard}` : "nothing heard") : null;
  return make("div", { class: `line ${stripe}` }, said, make("small", {}, counted(phones)), other);
}

function drawFacts(measured) {
  const lists = (part) => Array.isArray(part) || (part !== null && typeof part === "object" && typeof part.asked !== "number");
  const plain = (part) => (part !== null && typeof part === "object" ? counted(part) || `all of ${number(part.asked)}` : told(part));
  $("facts").replaceChildren(...METRICS.flatMap(([metric, { column, unit }], index) => {
    if (!measured[metric]) return [];
    const { details } = measured[metric];
    const parts = Object.entries(details || {}).filter(([key]) => key !== "lines");
    const list = pairs(make("dl", { class: "pairs" }), parts.filter(([, part]) => !lists(part)).map(([key, part]) => [key, plain(part)]));
    const nested = parts.filter(([, part]) => lists(part) && Object.keys(part).length)
      .map(([key, part]) => make("details", {}, make("summary", {}, key), make("pre", {}, JSON.stringify(part, null, 1))));
    return make("section", {}, make("h3", {}, `${column}: ${value(own(song.name)[index], unit) || "none"}`), list, ...nested);
  }));
}

function step(by) {
  const next = page.shown[shown.get(song.name) + by];
  if (next !== undefined) draw(next);
}

function fromAddress(scroll) {
  const wanted = new URLSearchParams(location.hash.slice(1)).get("song");
  if (wanted !== null && shown.has(wanted)) draw(wanted, scroll);
}

function listen() {
  $("choose").append(...page.shown.map((name) => make("option", { value: name }, name)));
  $("choose").addEventListener("change", () => draw($("choose").value));
  $("previous").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  audio.addEventListener("loadedmetadata", () => { root.dataset.audio = audio.duration.toFixed(2); });
  audio.addEventListener("error", () => {
    if (audio.getAttribute("src")) $("player-note").textContent = "This browser cannot play the sound, or its file is not there.";
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, select, summary, audio");
    if (typing || song.name === null || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "p" || event.key === "n") step(event.key === "n" ? 1 : -1);
  });
  window.addEventListener("hashchange", () => fromAddress(true));
}

drawTotals();
drawList();
drawParts();
drawFailed();
drawProtocol();
listen();
fromAddress(true);
if (song.name === null && page.shown.length) draw(page.shown[0]);
root.dataset.ready = "true";
