// What the pages share. Every text goes in as text, never as HTML.
const root = document.documentElement;
window.addEventListener("error", (event) => {
  root.dataset.errors = String(Number(root.dataset.errors) + 1);
  root.dataset.lastError = event.message;
});

const $ = (id) => document.getElementById(id);
const json = (id) => JSON.parse($(id).textContent);

// --- small helpers ---------------------------------------------------------------------------

function make(name, attributes = {}, ...children) {
  const svg = ["svg", "path", "rect", "line", "text", "g", "title"].includes(name);
  const element = svg
    ? document.createElementNS("http://www.w3.org/2000/svg", name)
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const number = (value, digits = 2) =>
  value === null || value === undefined ? "" : value.toLocaleString("en", { maximumFractionDigits: digits });
const clock = (seconds) => {
  const whole = Math.max(0, seconds);
  const minutes = Math.floor(whole / 60);
  return `${minutes}:${(whole - 60 * minutes).toFixed(1).padStart(4, "0")}`;
};
const short = (seconds) => {
  if (seconds === null || seconds === undefined) return "";
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
};
const hours = (value) =>
  value >= 1 ? `${number(value, 1)} h` : value >= 1 / 60 ? `${number(value * 60, 1)} min` : `${number(value * 3600, 0)} s`;
const bytes = (count) => {
  const power = count < 1000 ? 0 : Math.min(Math.floor(Math.log10(count) / 3), 4);
  return `${number(count / 1000 ** power, 1)} ${["B", "kB", "MB", "GB", "TB"][power]}`;
};
const shortly = (value) => // of any type
  typeof value === "number" ? number(value, 4) : value === null ? "" : value.length > 120 ? `${value.slice(0, 120)}…` : String(value);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const decode = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

function pairs(list, values) {
  for (const [key, value] of values)
    if (value !== "" && value !== null && value !== undefined)
      list.append(make("dt", {}, key), make("dd", {}, String(value)));
  return list;
}

// columns: [heading, cell of a row, whether it is a number]
function table(columns, entries) {
  const cell = (kind, numeric, content) => make(kind, { class: numeric ? "number" : null }, content);
  return make("table", {},
    make("thead", {}, make("tr", {}, ...columns.map(([heading, , numeric]) => cell("th", numeric, heading)))),
    make("tbody", {}, ...entries.map((entry) =>
      make("tr", {}, ...columns.map(([, read, numeric]) => cell("td", numeric, read(entry)))))));
}

const tag = (state) => make("span", { class: `tag ${state}` }, state);
