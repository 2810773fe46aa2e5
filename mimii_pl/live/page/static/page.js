"use strict";
// Every page: times as the reader has them, keys, filters.
const PAGES = {1: "/", 2: "/events", 3: "/health"};

function moment(date, seconds = true) {
  const today = new Date().toDateString() === date.toDateString();
  const time = date.toLocaleTimeString(undefined, {hour: "2-digit", minute: "2-digit", ...(seconds && {second: "2-digit"}), hourCycle: "h23"});
  return today ? time : date.toLocaleDateString(undefined, {day: "numeric", month: "short", year: "numeric"}) + ", " + time;
}

function spellTimes(root) {
  root.querySelectorAll("time[datetime]").forEach((one) => {
    const date = new Date(one.dateTime);
    one.textContent = moment(date);
    one.title = date.toString();
  });
}

function step(by) {
  const links = [...document.querySelectorAll("[data-list] a")];
  if (!links.length) { return false; }
  const at = links.indexOf(document.activeElement);
  links[Math.max(0, Math.min(links.length - 1, at < 0 ? 0 : at + by))].focus();
  return true;
}

function follow(selector) {
  const link = document.querySelector(selector);
  if (link) { link.click(); }
  return Boolean(link);
}

function pressed(key) {
  const dialog = document.getElementById("keys");
  if (PAGES[key]) { location.href = PAGES[key]; return true; }
  if (key === "?") { if (dialog.open) { dialog.close(); } else { dialog.showModal(); } return true; }
  if (key === "j") { return follow("[data-older]") || step(1); }
  if (key === "k") { return follow("[data-newer]") || step(-1); }
  const audio = document.querySelector("audio");
  if (key === " " && audio && !["BUTTON", "A", "AUDIO"].includes(document.activeElement.tagName)) {
    if (audio.paused) { audio.play(); } else { audio.pause(); }
    return true;
  }
  const button = [...document.querySelectorAll("button[data-key]")].find((one) => one.dataset.key === key);
  if (button) { button.form.requestSubmit(button); }
  return Boolean(button);
}

spellTimes(document);
document.addEventListener("keydown", (event) => {
  const typing = ["INPUT", "TEXTAREA", "SELECT"].includes(event.target.tagName);
  if (typing || event.ctrlKey || event.metaKey || event.altKey) { return; }
  if (pressed(event.key)) { event.preventDefault(); }
});
document.querySelectorAll("[data-keys]").forEach((one) => one.addEventListener("click", () => pressed("?")));
document.querySelectorAll("[data-filters]").forEach((form) => {
  form.querySelector("button").hidden = true;
  const show = () => {
    const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
    location.href = form.getAttribute("action") + (query.size ? "?" + query : "");
  };
  form.addEventListener("change", show);
  form.addEventListener("submit", (event) => { event.preventDefault(); show(); });
});
if (document.body.dataset.page === "health") {
  setInterval(async () => {
    if (document.hidden) { return; }
    const answer = await fetch("/health").catch(() => null);
    if (!answer || !answer.ok) { return; }
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-refresh]");
    spellTimes(fresh);
    document.querySelector("[data-refresh]").replaceWith(document.adoptNode(fresh));
  }, 5000);
}
