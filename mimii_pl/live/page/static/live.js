"use strict";
// Server-sent events of the monitor, while the page is looked at, and what several pages do with them.
const LEVELS = ["normal", "warn", "alarm"], QUIETEST = -80, LOUD = -3, HIDDEN_FOR = 10000, AGAIN = 5000;

function connect(station, handlers) {
  const words = document.getElementById("connection");
  let source = null, closing = null, started = null;
  const say = (text) => { words.textContent = text; words.hidden = !text; };
  const hear = {
    ...handlers,
    hello: (told) => {
      if (started !== null && started !== told.started) { location.reload(); return; }
      started = told.started;
      say("");
      handlers.hello(told);
    },
  };
  function open() {
    source = new EventSource("/stream" + (station === null ? "" : "?station=" + station));
    Object.keys(hear).forEach((name) => source.addEventListener(name, (event) => hear[name](JSON.parse(event.data))));
    source.onerror = () => {
      say("No connection to the monitor");
      if (source.readyState === EventSource.CLOSED) { setTimeout(open, AGAIN); }
    };
  }
  document.addEventListener("visibilitychange", () => {
    clearTimeout(closing);
    if (document.hidden) {
      closing = setTimeout(() => { source.close(); source = null; }, HIDDEN_FOR);
    } else if (!source) { open(); }
  });
  addEventListener("pagehide", () => source && source.close());
  open();
}

function figure(value, digits = 3) { return value === null || value === undefined ? "-" : Number(value.toPrecision(digits)).toString(); }

function colour(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

function showMeter(root, decibels) {
  const full = root.querySelector("[data-meter]"), text = root.querySelector("[data-meter-text]");
  full.style.transform = "scaleX(" + (decibels === null ? 0 : Math.max(0, Math.min(1, 1 - decibels / QUIETEST))) + ")";
  full.classList.toggle("loud", decibels !== null && decibels > LOUD);
  text.textContent = decibels === null ? "no sound" : Math.round(decibels) + " dB of full scale";
}

function showLevel(root, alarm) {
  const chip = root.querySelector("[data-level]");
  chip.textContent = LEVELS[alarm];
  chip.className = "chip level " + LEVELS[alarm];
}

function showState(root, state) { root.querySelector("[data-state]").textContent = state.replace("_", " "); }

function showWindow(root, told) {
  root.querySelector("[data-score]").textContent = figure(told && told.score);
  root.querySelector("[data-p]").textContent = figure(told && told.p);
}

async function refreshEvents() {
  const place = document.querySelector("[data-events]");
  const query = place.dataset.events;
  const answer = await fetch("/events/latest" + query).catch(() => null);
  if (!answer || !answer.ok) { return; }
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  spellTimes(fresh);
  place.replaceChildren(...[...fresh.body.childNodes].map((node) => document.adoptNode(node)));
}
