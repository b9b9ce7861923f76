// The listening test: one trial after another, answers kept in the browser, downloaded as JSONL.
const page = json("data");
const AB = page.kind === "ab";
const SIDES = ["A", "B"];
const CHOICES = [["A", "A", "A is better"], ["B", "B", "B is better"], ["none", "=", "no difference"]];
const state = { rater: "", order: [], at: 0, answers: {}, began: 0 };

// --- random order ----------------------------------------------------------------------------

function generator(text) { // FNV-1a, then mulberry32: the same rater gets the same order
  let seed = 2166136261;
  for (const character of text) seed = Math.imul(seed ^ character.codePointAt(0), 16777619);
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

function shuffled(trials, random) { // each rater's own; a song does not follow itself where it need not
  const order = [...trials];
  for (let last = order.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [order[last], order[other]] = [order[other], order[last]];
  }
  for (let here = 1; here < order.length; here++) {
    if (order[here].song !== order[here - 1].song) continue;
    const other = order.findIndex((trial, index) => index > here && trial.song !== order[here].song);
    if (other > 0) [order[here], order[other]] = [order[other], order[here]];
  }
  return order;
}

// --- what is kept ----------------------------------------------------------------------------

const place = () => `songbloom-listen ${page.test} ${state.rater}`;

function recall() {
  try { return JSON.parse(localStorage.getItem(place())) || {}; } catch { return {}; }
}

function keep() { // pages opened from a disk may have no storage: then nothing is kept
  try { localStorage.setItem(place(), JSON.stringify(state.answers)); } catch { /* as said */ }
}

function lines() {
  return state.order.filter((trial) => state.answers[trial.id]).map((trial) => JSON.stringify({
    format: page.format, test: page.test, rater: state.rater, trial: trial.id, ...state.answers[trial.id],
  }) + "\n").join("");
}

function download() {
  const url = URL.createObjectURL(new Blob([lines()], { type: "application/x-ndjson" }));
  const name = state.rater.replace(/[^\p{L}\p{N}._-]+/gu, "_");
  make("a", { href: url, download: `${page.test}-${name}.jsonl` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

// --- before ----------------------------------------------------------------------------------

function welcome() {
  const minutes = Math.ceil(page.trials.reduce((sum, trial) => sum + trial.seconds, 0) / 60);
  $("subtitle").textContent = `${page.trials.length} ${AB ? "pairs of songs" : "songs"}, up to ${minutes} ${minutes === 1 ? "minute" : "minutes"} of sound`;
  const told = ["Use headphones in a quiet room.",
    AB ? "Listen to both songs of a pair, as often as you like, and choose the better one."
      : "Listen to each song, as often as you like, and score it on every scale.",
    "All are equally loud. Score what you hear, not what you think the singer meant or how it was made.",
    "Songs can come again. There are no right answers; you may pause and go on later."];
  $("instructions").append(...told.map((text) => make("li", {}, text)));
  const clip = page.songs.map((song) => song.reference).find(Boolean);
  if (clip) {
    $("level").hidden = false;
    $("level-sound").src = clip;
  }
  if (AB) $("rubric").remove();
  else for (const scale of page.scales) $("rubric").append(make("h3", {}, `${scale.name}. ${scale.question}`),
    table([["", ([score, word]) => `${score} ${word}`], ["", ([, , text]) => text]], scale.steps));
  $("begin").addEventListener("submit", (event) => {
    event.preventDefault();
    begin($("rater").value.trim());
  });
}

function begin(rater) {
  state.rater = rater;
  state.answers = recall();
  state.order = shuffled(page.trials, generator(`${page.test} ${rater}`));
  const open = state.order.findIndex((trial) => !state.answers[trial.id]);
  $("welcome").hidden = true;
  document.querySelectorAll("audio").forEach((player) => player.pause());
  if (open < 0) finish();
  else show(open);
}

// --- a trial ---------------------------------------------------------------------------------

const current = () => state.order[state.at];

function show(at) {
  Object.assign(state, { at, began: Date.now() });
  const trial = current(), song = page.songs[trial.song], answer = state.answers[trial.id];
  $("end").hidden = true;
  $("trial").hidden = false;
  $("trial-title").textContent = `${AB ? "Pair" : "Song"} ${at + 1} of ${state.order.length}`;
  Object.assign($("progress"), { max: state.order.length, value: at });
  $("players").replaceChildren(...trial.sounds.map((source, index) => player(AB ? SIDES[index] : "The song", source, trial.needed[index], answer?.heard[index])),
    ...(song.reference ? [player("The clip whose style was asked for", song.reference, null)] : []));
  $("questions").replaceChildren(...(AB ? [question("PREF", page.question, "", CHOICES)]
    : scales(song).map((scale) => question(scale.key, scale.name, scale.question, scale.steps.map(([score, word, text]) => [String(score), String(score), word, text])))));
  if (answer) for (const [key, value] of Object.entries(answer.answers))
    document.querySelector(`#questions input[name="${key}"][value="${value}"]`)?.click();
  $("beside").replaceChildren(...(song.lyrics.length ? [make("h2", {}, "Lyrics")] : []), ...song.lyrics.flatMap((section) => [make("h3", {}, section.tag), ...section.lines.map((line) => make("p", {}, line))]));
  $("beside").scrollTop = 0;
  $("back").disabled = at === 0;
  $("on").textContent = at + 1 === state.order.length ? "Finish" : "Next";
  check();
  window.scrollTo({ top: 0 });
}

const scales = (song) => page.scales.filter(({ needs }) =>
  (needs !== "lyrics" || song.lyrics.length) && (needs !== "reference" || song.reference));

function player(title, source, needed, heardBefore = 0) {
  const sound = make("audio", { controls: "", preload: "auto", src: source, controlslist: "nodownload", "aria-label": title });
  const heard = make("small");
  sound.addEventListener("play", () => {
    for (const other of document.querySelectorAll("audio")) if (other !== sound) other.pause();
  });
  sound.addEventListener("error", () => { heard.textContent = "cannot be played here"; });
  sound.addEventListener("loadedmetadata", () => { root.dataset.audio = sound.duration.toFixed(2); });
  if (needed === null) return make("div", { class: "player reference" }, make("h3", {}, title), sound);
  Object.assign(sound, { needed, heardBefore });
  sound.addEventListener("timeupdate", check);
  sound.classList.add("rated");
  return make("div", { class: "player" }, make("h3", {}, title, heard), sound);
}

function heard(sound) { // different seconds of it
  let sum = 0;
  for (let index = 0; index < sound.played.length; index++) sum += sound.played.end(index) - sound.played.start(index);
  return Math.max(sum, sound.heardBefore);
}

function question(key, name, text, choices) {
  const meaning = make("p", { class: "meaning" });
  return make("fieldset", {}, make("legend", {}, name, text ? make("small", {}, text) : null),
    make("div", { class: "steps" }, ...choices.map(([value, label, word, explained]) => {
      const input = make("input", { type: "radio", name: key, value, "aria-label": `${label} ${word}`, onchange: () => { meaning.textContent = explained || ""; check(); } });
      return make("label", { title: explained }, input, make("b", {}, label), make("span", {}, word));
    })), choices[0][3] ? meaning : null);
}

const rated = () => [...document.querySelectorAll("#players .rated")];
const questions = () => [...document.querySelectorAll("#questions fieldset")];

function check() {
  const open = questions().filter((set) => !set.querySelector(":checked")).length;
  const left = Math.ceil(Math.max(0, ...rated().map((sound) => sound.needed - heard(sound))));
  const told = [left && `listen for ${left} s more`, open && `${open} ${open === 1 ? "answer" : "answers"} to give`].filter(Boolean);
  $("missing").textContent = told.join(", ");
  $("on").disabled = told.length > 0;
}

function answered() {
  const trial = current();
  const answers = Object.fromEntries(questions().map((set) => set.querySelector(":checked")).map(({ name, value }) => [name, AB ? value : Number(value)]));
  const before = state.answers[trial.id]?.seconds || 0;
  state.answers[trial.id] = { answers, heard: rated().map((sound) => Math.round(heard(sound) * 10) / 10),
    position: state.at + 1, seconds: Math.round(before + (Date.now() - state.began) / 1000) };
  keep();
}

function forward() {
  answered();
  if (state.at + 1 < state.order.length) show(state.at + 1);
  else finish();
}

// --- after -----------------------------------------------------------------------------------

function finish() {
  $("players").replaceChildren(); // which stops them
  $("trial").hidden = true;
  $("end").hidden = false;
  $("copy").value = lines();
}

$("on").addEventListener("click", forward);
$("back").addEventListener("click", () => {
  if (!$("on").disabled) answered();
  show(state.at - 1);
});
$("save").addEventListener("click", download);
$("download").addEventListener("click", download);
$("again").addEventListener("click", () => show(0));
$("questions").addEventListener("submit", (event) => event.preventDefault());
welcome();
root.dataset.ready = "true";
