"""Clips on the page: where the anomaly is found is where it was put, and a real browser shows and plays them."""

import io
import json
import queue
import shutil
import subprocess
import threading
from base64 import b64decode
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import soundfile
from support import world

import mimii_pl
from mimii_pl.report import localize as localize_module
from mimii_pl.report.levels import mel_levels
from mimii_pl.report.localize import localizer
from mimii_pl.report.sounds import sound
from mimii_pl.report.spectrograms import spectrogram
from mimii_pl.run import run

RUNS = {  # a way of finding the place -> a detector that is explained in that way
    "reconstruction error": ["model=dense_ae", "training.epochs=60", "dataset.batch_size=4", "model.lr=3e-3"],
    "integrated gradients": ["model=spectrum", "backend=none"],
    "fall of the score": ["model=spectrum", "features=log_mel"],
}
WHISTLE, BURST = 5000, (0.9, 1.05)  # Hz; seconds


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    root = world.write(folder / "world", train=12, test=5)
    for number, overrides in enumerate(RUNS.values()):
        run(world.configured(root, "report=default", "report.clips=2", *overrides), folder / str(number))
    return {method: folder / str(number) for number, method in enumerate(RUNS)}


def clip(fault):
    """A normal clip of the first machine ID, and the same one with a fault put in."""
    rng = np.random.default_rng(7)
    wave = world.chord(rng, 0, anomalous=False, seconds=1.5)
    time = np.arange(len(wave)) / world.RATE
    if fault == "whistle":
        wave = wave + 0.1 * np.sin(2 * np.pi * WHISTLE * time).astype(np.float32)
    else:
        within = (time > BURST[0]) & (time < BURST[1])
        wave = wave + 0.2 * rng.standard_normal(len(wave)).astype(np.float32) * within
    return (np.clip(wave, -1, 1) * 32767).astype(np.int16)


def usual(count=6):
    rng = np.random.default_rng(3)
    waves = [world.chord(rng, 0, anomalous=False, seconds=1.5) for _ in range(count)]
    return (np.stack(waves) * 32767).astype(np.int16)


@pytest.mark.slow
@pytest.mark.parametrize("method", RUNS)
def test_the_place_found_is_where_the_fault_is(finished, method):
    scorer = mimii_pl.load(finished[method], device="cpu")
    found = localizer(scorer, 0, usual())(clip("whistle"))
    assert method in found.method
    assert len(found.hertz) == len(found.amount) + 1
    row = found.amount.mean(axis=1).argmax()
    assert found.hertz[row] * 0.95 < WHISTLE < found.hertz[row + 1] * 1.05
    if method != "fall of the score":  # of a time-mean spectrum: it tells no times apart
        columns = localizer(scorer, 0, usual())(clip("burst")).amount.mean(axis=0)
        seconds = (columns.argmax() + 0.5) / len(columns) * 1.5
        assert BURST[0] - 0.05 < seconds < BURST[1] + 0.05


@pytest.mark.slow
def test_what_would_take_too_long_is_left_out(finished, monkeypatch):
    monkeypatch.setattr(localize_module, "PATIENCE", 0.0)
    scorer = mimii_pl.load(finished["fall of the score"], device="cpu")
    assert localizer(scorer, 0, usual())(clip("whistle")) is None


@pytest.mark.parametrize(("rate", "kind", "tolerance"), [(16000, "MP3", 0.1), (10000, "FLAC", 1e-4)])
def test_what_is_played_is_what_was_heard(rate, kind, tolerance):
    wave = 0.25 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    content = io.BytesIO(b64decode(sound((32768 * wave).round().astype(np.int16), 2.0, rate).partition(",")[2]))
    assert soundfile.info(content).format == kind
    content.seek(0)
    played, same = soundfile.read(content)
    assert same == rate
    spectra = [np.abs(np.fft.rfft(part[: rate // 2] * np.hanning(rate // 2))) for part in (2 * wave, played)]
    assert spectra[0].argmax() == spectra[1].argmax()
    assert spectra[1].max() == pytest.approx(spectra[0].max(), rel=tolerance)


@pytest.mark.parametrize("length", [600, 16000])
def test_any_length_has_a_picture(length):
    noise = np.random.default_rng(0).integers(-99, 99, length).astype(np.int16)
    image = spectrogram(mel_levels(noise, 16000), alt="noise")
    assert image.alt == "noise"
    assert b64decode(image.src.partition(",")[2])[8:12] == b"WEBP"


PLAYED = """<script>
const errors = []; addEventListener("error", event => errors.push(event.message), true);
addEventListener("load", async () => {
  const seconds = [], played = [], images = [...document.images];
  for (const one of document.querySelectorAll("audio")) {
    one.muted = true;
    try {
      await one.play();
      await new Promise(done => setTimeout(done, 200));
      seconds.push(one.duration); played.push(one.currentTime); one.pause();
    } catch (error) { errors.push(String(error)); }
  }
  images.forEach(image => image.loading = "eager");
  await Promise.all(images.map(image => image.decode().catch(error => errors.push(String(error)))));
  await fetch("/told", {method: "POST", body: JSON.stringify({seconds, played, images: images.length, errors})});
});
</script>"""


@contextmanager
def served(page):
    """Address of a page, and a queue with what its script tells."""
    told = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/" else 204)
            self.end_headers()
            if self.path == "/":
                self.wfile.write(page.encode())

        def do_POST(self):
            told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", told
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.slow
@pytest.mark.parametrize("method", RUNS)
def test_a_browser_shows_and_plays_the_page(finished, method, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("no chromium here to look at the page with")
    html = (finished[method] / "report.html").read_text()
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--autoplay-policy=no-user-gesture-required",
        "--enable-logging=stderr",
        f"--user-data-dir={tmp_path}",
        "--remote-debugging-port=0",
    ]
    with served(html.replace("</head>", PLAYED + "</head>")) as (address, told):
        process = subprocess.Popen([browser, *options, address], stderr=subprocess.PIPE, text=True)
        try:
            seen = told.get(timeout=60)
        finally:
            process.kill()
            log = process.communicate()[1]
    assert seen["errors"] == []
    assert "CONSOLE" not in log
    assert len(seen["seconds"]) == html.count("<audio") > 4
    assert all(1.4 < one < 1.7 for one in seen["seconds"])
    assert all(one > 0 for one in seen["played"])
    assert seen["images"] == html.count("<img")
