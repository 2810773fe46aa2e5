"""Make the pictures of the documents: a run's report, MLflow's comparison of the runs of a sweep, a monitor's page.

    python docs/make_screenshots.py

Trains three detectors on synthetic fans and listens to one (about five minutes on two cores). Needs Chromium or Chrome;
CHROMIUM names another one.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from mimii_pl.core.config import compose
from mimii_pl.run import run

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent / "tests"))
from support.browser import browsing  # noqa: E402

LISTENED = 55  # s
DETECTORS = ("dense_ae", "ss_ae", "spectrum")
COLOURS = 96  # of the pictures' palettes: keeps each below 150 kB
QUIET = "--no-first-run --disable-background-networking --disable-component-update --disable-sync"


def screenshot(url: str, path: Path, size: tuple[int, int], box: tuple[int, int, int, int], wait: int = 4000) -> None:
    """Write a picture of a page.

    Args:
        size: width and height of the window, in pixels.
        box: left, top, right, bottom of the part that is kept.
        wait: milliseconds of the page's own time before the picture is taken.
    """
    browser = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("no chromium found: install it, or set CHROMIUM to a browser of its kind")
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.png"
        options = [f"--user-data-dir={folder}/profile", f"--window-size={size[0]},{size[1]}", f"--screenshot={picture}"]
        options += ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *QUIET.split()]
        subprocess.run([browser, *options, f"--virtual-time-budget={wait}", url], check=True, capture_output=True)
        reduce(picture, path, box)


def reduce(picture: Path, path: Path, box: tuple[int, int, int, int], colours: int = COLOURS) -> None:
    """Write a part of a picture (left, top, right, bottom) with few colours."""
    part = Image.open(picture).convert("RGB").crop(box)
    part.quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def train(folder: Path, store: str) -> dict[str, Path]:
    """Train the detectors on one synthetic world, recorded in `store`; return their run directories."""
    world = [
        "machine=fan",
        "dataset=synthetic",
        f"dataset.root={folder}/synthetic",
        f"dataset.cache_dir={folder}/cache",
        "dataset.train_clips=40",
        "training.epochs=15",
        "trainer=cpu",
        f"trainer.logger.tracking_uri={store}",
    ]
    run_dirs = {model: folder / f"{model}-fan" for model in DETECTORS}
    for model, run_dir in run_dirs.items():
        run(compose([f"model={model}", *world]), run_dir)
    return run_dirs


def scrolled(page: Path, heading: str) -> Path:
    """Write a copy of a report that begins with a section of its table of contents; return its path."""
    text = page.read_text(encoding="utf-8")
    anchor = re.search(rf'href="#([^"]+)">{heading}<', text)
    assert anchor, f"no section {heading} in {page}"
    move = f"document.body.style.marginTop = `${{10 - document.getElementById('{anchor[1]}').offsetTop}}px`"
    copy = page.with_name("scrolled.html")
    copy.write_text(f"{text}<script>onload = () => {{ {move} }}</script>", encoding="utf-8")
    return copy


@contextmanager
def mlflow_server(store: str) -> Iterator[str]:
    """Serve MLflow on the store until the block ends; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", store, "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=2).close()
                break
            except OSError:
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait()


def picture_monitor(run_dir: Path, folder: Path) -> None:
    """Write a picture of the page of a monitor that has heard a fault."""
    kinds = {kind: sorted(folder.rglob(f"test/{kind}_id_00_*.wav")) for kind in ("normal", "anomaly")}
    names = [*kinds["normal"][:6], *kinds["anomaly"][:3], *kinds["normal"][6:]]
    waves, rate = [soundfile.read(name)[0] for name in names], soundfile.info(names[0]).samplerate
    soundfile.write(folder / "heard.wav", np.concatenate(waves), rate)
    command = [sys.executable, "-m", "mimii_pl", "monitor", f"run={run_dir}", f"source=file:{folder}/heard.wav"]
    command += ["machine_id=id_00", "hop=0.5", "page.port=0", f"events={folder}/events"]
    command += ["alarm.n=2", "alarm.m=4", "alarm.warn=0.15", "alarm.alarm=0.08"]
    monitor = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        address = next(match[0] for line in monitor.stdout or () if (match := re.search(r"http://[\d.:]+/", line)))
        time.sleep(LISTENED)
        with browsing() as browser:
            browser.look(1100, 825)
            browser.go(f"{address}machines/0")
            browser.wait("spectra.values && windows.length")
            browser.picture(folder / "picture.png")
        reduce(folder / "picture.png", DOCS / "monitor.png", (0, 0, 1100, 825), 170)
    finally:
        monitor.terminate()
        monitor.communicate()


def main() -> None:
    """Make every picture."""
    with tempfile.TemporaryDirectory() as name:
        folder, store = Path(name), f"sqlite:///{name}/mlflow.db"
        run_dirs = train(folder, store)
        picture_monitor(run_dirs["spectrum"], folder)
        page = scrolled(run_dirs["dense_ae"] / "report.html", "fan id_00")
        screenshot(page.as_uri(), DOCS / "report.png", (1100, 1250), (0, 0, 1100, 1250))
        facts = [json.loads((run_dir / "run.json").read_text()) for run_dir in run_dirs.values()]
        with mlflow_server(store) as address:
            runs = json.dumps([fact["mlflow_run_id"] for fact in facts])
            url = f'{address}/#/compare-runs?runs={runs}&experiments=["1"]'
            # without MLflow's menu and its assistant
            screenshot(url.replace('"', "%22"), DOCS / "mlflow.png", (1800, 1500), (190, 0, 1340, 1200), wait=20_000)


if __name__ == "__main__":
    main()
