"use strict";
// One machine: live scores, the sound as it comes, and its history.
const STATION = Number(document.body.dataset.station), MOST = 1000, TREND_AGAIN = 60000, COLUMNS = 400, LEAST_RANGE = 90;
const MAGMA = [[0, 0, 4], [28, 16, 68], [79, 18, 123], [129, 37, 129], [181, 54, 122], [229, 80, 100], [251, 135, 97], [254, 194, 135], [252, 253, 191]];
const part = (name) => document.querySelector('[data-plot="' + name + '"]');
let facts = null, windows = [], score = null, sum = null, usualTitle = document.title;

// --- scores ---------------------------------------------------------------------------------------------------------
function limits(told, dashed) {
  const found = Object.entries(told || {}).map(([name, value]) => ({value, name: "--" + name + "-line"}));
  return dashed === undefined ? found : [...found, {value: dashed, name: "--ink", dash: true}];
}

function shades() {
  const times = windows.map((one) => one.at), names = {1: "--warn-back", 2: "--alarm-back", "-1": "--shade"};
  return shadesOf(times, windows.map((one) => one.alarm || (one.score === null ? -1 : 0)), names, facts.hop);
}

function begin(told) {
  const known = facts !== null;
  facts = told.stations[STATION];
  windows = told.recent[STATION] || [];
  if (!known) {
    score = chart(part("score"), {series: [{label: "score", stroke: "--accent"}], height: 240, lines: () => limits(facts.limits, facts.threshold), shades});
    if (facts.sums) {
      document.querySelector("[data-sum-part]").hidden = false;
      sum = chart(part("sum"), {series: [{label: "sum", stroke: "--accent"}], height: 160, lines: () => limits(facts.sums)});
    }
  }
  showSoon();
  refreshEvents();
}

let waits = false;
function showSoon() {
  if (waits) { return; }
  waits = true;
  requestAnimationFrame(() => {
    waits = false;
    const times = windows.map((one) => one.at), last = windows.at(-1);
    score.setData([times, windows.map((one) => one.score)]);
    if (sum) { sum.setData([times, windows.map((one) => one.sum)]); }
    showWindow(document, windows.findLast((one) => one.score !== null));
    if (!last) { return; }
    showLevel(document, last.alarm);
    const link = document.querySelector("[data-open-event]");
    link.hidden = last.event === null;
    if (last.event !== null) { link.href = "/events/" + last.event; }
    document.title = (last.alarm ? "(" + LEVELS[last.alarm] + ") " : "") + usualTitle;
  });
}

// --- sound ----------------------------------------------------------------------------------------------------------
const spectra = {next: null, rows: 0, rate: 0, seconds: 0.05, floor: 0, values: null};

function bytesOf(text) { return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)); }

function hear(told) {
  const fresh = bytesOf(told.data), count = fresh.length / told.rows;
  if (!spectra.values || spectra.rate !== told.rate || spectra.next !== told.first) {
    Object.assign(spectra, {rows: told.rows, rate: told.rate, seconds: told.seconds, floor: told.floor, values: new Uint8Array(COLUMNS * told.rows)});
  }
  spectra.next = told.first + count;
  const kept = fresh.subarray(Math.max(0, fresh.length - spectra.values.length));
  spectra.values.copyWithin(0, kept.length);
  spectra.values.set(kept, spectra.values.length - kept.length);
  paint();
}

const picture = document.createElement("canvas");
function paint() {
  const canvas = document.querySelector("[data-spectra]"), {rows, values, rate, seconds} = spectra;
  if (!values) { return; }
  const counts = new Uint32Array(256);
  values.forEach((value) => { counts[value] += 1; });
  let heard = values.length - counts[0], low = 1, top = 255;
  for (let sumOf = 0; low < 255 && (sumOf += counts[low]) < 0.2 * heard; low++);
  while (top > 1 && !counts[top]) { top--; }
  low = Math.min(low, top - LEAST_RANGE);
  const table = Array.from({length: 256}, (_, value) => shadeOf((value - low) / (top - low)));
  picture.width = COLUMNS; picture.height = rows;
  const image = new ImageData(COLUMNS, rows);
  for (let column = 0; column < COLUMNS; column++) {
    for (let row = 0; row < rows; row++) { image.data.set(table[values[column * rows + row]], 4 * ((rows - 1 - row) * COLUMNS + column)); }
  }
  picture.getContext("2d").putImageData(image, 0, 0);
  const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight, left = 48, below = 20;
  canvas.width = width * ratio; canvas.height = height * ratio;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  pen.drawImage(picture, left, 0, width - left, height - below);
  pen.fillStyle = colour("--soft"); pen.font = "12px system-ui, sans-serif";
  pen.textAlign = "right"; pen.textBaseline = "middle";
  const top_ = rate / 2, every = [100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000].find((hertz) => top_ / hertz <= 5) || 100000;
  for (let hertz = 0; hertz <= top_; hertz += every) {
    pen.fillText(hertz >= 1000 || !hertz ? hertz / 1000 + " kHz" : hertz + " Hz", left - 6, Math.max(7, Math.min(height - below - 6, (height - below) * (1 - hertz / top_))));
  }
  const lasts = COLUMNS * seconds;
  for (let ago = 0; ago <= lasts + 0.01; ago += lasts / 4) {
    pen.textAlign = ago === 0 ? "right" : ago >= lasts ? "left" : "center";
    pen.fillText(ago ? "-" + Math.round(ago) + " s" : "now", left + (width - left) * (1 - ago / lasts), height - 7);
  }
}

function shadeOf(share) {
  const at = Math.min(MAGMA.length - 1.001, Math.max(0, share) * (MAGMA.length - 1)), low = Math.floor(at);
  return [...MAGMA[low].map((value, place) => Math.round(value + (at - low) * (MAGMA[low + 1][place] - value))), 255];
}

// --- history --------------------------------------------------------------------------------------------------------
let trend = {at: [], alarm: []}, span = 86400;
const trendShades = () => shadesOf(trend.at, trend.alarm.map((level) => level || 0), {1: "--warn-back", 2: "--alarm-back"}, 10);
const history = {
  score: chart(part("trend-score"), {series: [{label: "highest", stroke: "--edge"}, {label: "mean", stroke: "--accent"}], height: 170, shades: trendShades, lines: () => (facts ? [{value: facts.threshold, name: "--ink", dash: true}] : [])}),
  p: chart(part("trend-p"), {series: [{label: "p", stroke: "--accent"}], height: 120, shades: trendShades, range: [0, 1]}),
  level: chart(part("trend-level"), {series: [{label: "dB", stroke: "--accent"}], height: 120, shades: trendShades}),
};

async function lookBack() {
  const answer = await fetch("/machines/" + STATION + "/trend?span=" + span).catch(() => null);
  if (!answer || !answer.ok) { return; }
  trend = await answer.json();
  document.querySelector("[data-trend-empty]").hidden = trend.at.length > 0;
  document.querySelector(".trends").hidden = trend.at.length === 0;
  history.score.setData([trend.at, trend.score_max, trend.score]);
  history.p.setData([trend.at, trend.p_value]);
  history.level.setData([trend.at, trend.level]);
}

document.querySelectorAll("[data-span]").forEach((button) => button.addEventListener("click", () => {
  document.querySelectorAll("[data-span]").forEach((one) => one.setAttribute("aria-pressed", one === button));
  span = Number(button.dataset.span);
  lookBack();
}));
setInterval(() => { if (!document.hidden) { lookBack(); } }, TREND_AGAIN);
lookBack();

connect(STATION, {
  hello: begin,
  window: (told) => {
    if (facts === null || told.station !== STATION) { return; }
    windows.push(told);
    if (windows.length > MOST) { windows.shift(); }
    showSoon();
  },
  event: (told) => { if (told.station === STATION) { refreshEvents(); } },
  meters: (told) => { const [decibels, state] = told[STATION]; showMeter(document, decibels); showState(document, state); },
  spectra: hear,
});
addEventListener("resize", paint);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
