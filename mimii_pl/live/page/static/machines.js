"use strict";
// All machines: a card each, with its latest scores.
const cards = [...document.querySelectorAll("[data-station]")], SHOWN = 150, usual = document.title;
let stations = [], recent = [];

function draw(number) {
  const canvas = cards[number].querySelector("[data-spark]"), windows = recent[number], limit = stations[number].threshold;
  const width = canvas.clientWidth, height = canvas.clientHeight, ratio = devicePixelRatio || 1;
  canvas.width = width * ratio; canvas.height = height * ratio;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const scores = windows.map((one) => one.score).filter((score) => score !== null);
  if (!scores.length) { return; }
  const low = Math.min(limit, ...scores), high = Math.max(limit, ...scores), room = 0.1 * (high - low) || 1;
  const x = (place) => width * (SHOWN - windows.length + place) / (SHOWN - 1);
  const y = (score) => 2 + (height - 4) * (high + room - score) / (high - low + 2 * room);
  const wide = width / (SHOWN - 1);
  windows.forEach((one, place) => {
    if (!one.alarm) { return; }
    pen.fillStyle = colour(one.alarm === 2 ? "--alarm-back" : "--warn-back");
    pen.fillRect(x(place) - wide / 2, 0, wide + 0.5, height);
  });
  pen.strokeStyle = colour("--soft"); pen.setLineDash([4, 4]);
  pen.beginPath(); pen.moveTo(0, y(limit)); pen.lineTo(width, y(limit)); pen.stroke();
  pen.setLineDash([]); pen.strokeStyle = colour("--accent"); pen.lineWidth = 1.75; pen.lineJoin = "round";
  pen.beginPath();
  let drawing = false;
  windows.forEach((one, place) => {
    if (one.score === null) { drawing = false; return; }
    if (drawing) { pen.lineTo(x(place), y(one.score)); } else { pen.moveTo(x(place), y(one.score)); pen.lineTo(x(place) + 1, y(one.score)); }
    drawing = true;
  });
  pen.stroke();
}

function show(number) {
  const card = cards[number], last = recent[number].at(-1);
  showWindow(card, recent[number].findLast((one) => one.score !== null));
  if (last) {
    showLevel(card, last.alarm);
    LEVELS.forEach((name, level) => card.classList.toggle(name, level === last.alarm));
  }
  draw(number);
  const worst = Math.max(0, ...recent.map((windows) => (windows.at(-1) || {alarm: 0}).alarm));
  document.title = (worst ? "(" + LEVELS[worst] + ") " : "") + usual;
}

const waiting = new Set();
function showSoon(number) {  // several windows in one frame are drawn once
  if (!waiting.size) { requestAnimationFrame(() => { const all = [...waiting]; waiting.clear(); all.forEach(show); }); }
  waiting.add(number);
}

connect(null, {
  hello: (told) => {
    stations = told.stations;
    recent = cards.map((_, number) => told.recent[number] || []);
    cards.forEach((_, number) => showSoon(number));
    refreshEvents();
  },
  window: (told) => {
    const windows = recent[told.station];
    if (!windows) { return; }
    windows.push(told);
    if (windows.length > SHOWN) { windows.shift(); }
    showSoon(told.station);
  },
  event: refreshEvents,
  meters: (told) => told.forEach(([decibels, state], number) => { showMeter(cards[number], decibels); showState(cards[number], state); }),
});
const again = () => { if (stations.length) { cards.forEach((_, number) => showSoon(number)); } };
addEventListener("resize", again);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
