"use strict";
// One event: axes of its spectrogram, and the place that is heard.
const picture = document.querySelector("[data-picture]"), audio = document.querySelector("audio");

function label(place, text, property, share) {
  const one = document.createElement("span");
  one.textContent = text;
  one.style[property] = 100 * share + "%";
  place.append(one);
}

function line(name, seconds) {
  const one = document.querySelector("[data-" + name + "]"), share = seconds / audio.duration;
  one.hidden = !(share >= 0 && share <= 1);
  one.style.left = 100 * share + "%";
}

if (picture) {
  const rate = Number(picture.dataset.rate), place = picture.querySelector("[data-hertz]"), top = rate / 2;
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    const hertz = share * top;
    if (rate) { label(place, hertz >= 1000 || !hertz ? Number((hertz / 1000).toPrecision(2)) + " kHz" : Math.round(hertz) + " Hz", "top", 1 - share); }
  }
  if (picture.dataset.low && rate) {
    const band = picture.querySelector("[data-band]");
    band.hidden = false;
    band.style.bottom = 100 * picture.dataset.low / top + "%";
    band.style.top = 100 * (1 - Math.min(1, picture.dataset.high / top)) + "%";
  }
}
if (picture && audio) {
  const axes = () => {
    const place = picture.querySelector("[data-seconds]"), start = Number(picture.dataset.start) || 0;
    place.replaceChildren();
    for (const share of [0, 0.25, 0.5, 0.75, 1]) { label(place, (share * audio.duration).toFixed(0) + " s", "left", share); }
    line("start-line", start);
    line("end-line", Number(picture.dataset.end));
  };
  if (audio.readyState >= 1) { axes(); }
  audio.addEventListener("loadedmetadata", axes);
  const follow = () => { line("playhead", audio.currentTime); if (!audio.paused) { requestAnimationFrame(follow); } };
  audio.addEventListener("play", follow);
  audio.addEventListener("seeked", follow);
  picture.querySelector(".frame").addEventListener("click", (event) => {
    const frame = event.currentTarget.getBoundingClientRect();
    audio.currentTime = audio.duration * (event.clientX - frame.left) / frame.width;
    audio.play();
  });
}

// An event that goes on: its facts as they change, and the whole page when there is more sound, unless it is in use.
async function lookAgain() {
  const answer = document.hidden ? null : await fetch(location.pathname).catch(() => null);
  if (!answer || !answer.ok) { return; }
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html"), heard = fresh.querySelector("audio");
  const note = document.getElementById("note"), used = (audio && !audio.paused) || note.value !== note.defaultValue || document.activeElement === note;
  const changed = (heard && heard.getAttribute("src")) !== (audio && audio.getAttribute("src")) || !("open" in fresh.body.dataset);
  if (changed && !used) { location.reload(); return; }
  spellTimes(fresh);
  document.querySelector(".facts").replaceWith(document.adoptNode(fresh.querySelector(".facts")));
}
if ("open" in document.body.dataset) { setInterval(lookAgain, 5000); }
