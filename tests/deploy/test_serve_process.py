"""`mimii serve` as its user starts it: hostile bodies, an export without torch, a promotion, and its end."""

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import requests
from attack.audio import encoded, recordings
from support import world

import mimii_pl
from mimii_pl.deploy.export import export
from mimii_pl.run import run
from mimii_pl.sweep.register import register

BODIES = 150
CLIENTS = 16
LARGEST = 1 << 22  # bytes of a hostile recording; larger ones are those of `limits`
PEAK_MIB = 600  # of a service without torch, whatever is sent
WITHOUT_TORCH = """
import sys
sys.modules.update(torch=None, torchaudio=None)  # importing them fails
from mimii_pl.__main__ import main
main(sys.argv[1:])
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow", "ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that is recorded, its store, and its recordings."""
    folder = tmp_path_factory.mktemp("process")
    root = world.write(folder / "world", train=10, test=2, seconds=1.0)
    uri = f"sqlite:///{folder}/mlflow.db"
    options = (
        "model=spectrum",
        "backend=knn",
        "task.criterion_clips=12",
        "logger=mlflow",
        f"trainer.logger.tracking_uri={uri}",
    )
    before = os.getcwd()
    os.chdir(folder)  # where MLflow puts its artifacts
    try:
        for name in ("one", "two"):
            run(world.configured(root, *options, f"seed={len(name)}{ord(name[0])}"), folder / name)
    finally:
        os.chdir(before)
    return folder, uri, root


@contextmanager
def serving(folder, *options, code="from mimii_pl.__main__ import main; main()"):
    """A service in a process of its own: the process, and its address."""
    port = [] if any(option.startswith("port=") for option in options) else ["port=0"]
    command = [sys.executable, "-c", code, "serve", *port, "device=cpu", *options]
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        line = next(line for line in iter(process.stdout.readline, "") if line.startswith("serving"))
        yield process, re.search(r"http://\S+:\d+", line)[0]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def hostile(folder):
    """Bodies that are no usable recording, or barely, and types that they claim."""
    rng = np.random.default_rng(0)
    kinds = [
        "audio/wav",
        "audio/flac",
        "audio/pcm",
        "application/json",
        "multipart/form-data; boundary=b",
        "x" * 500,
        "",
    ]
    for number, recording in enumerate(islice(recordings(rng), BODIES)):
        path = folder / f"{number}"
        recording.write(path)
        status = os.lstat(path) if os.path.lexists(path) else None
        usable = status is not None and stat.S_ISREG(status.st_mode) and status.st_size < LARGEST
        body = path.read_bytes() if usable else rng.bytes(int(rng.integers(2000)))
        if number % 5 == 4:
            body = (
                b'--b\r\nContent-Disposition: form-data; name="f"; filename="../../x"\r\n\r\n'
                + body[: rng.integers(9999)]
            )
        yield body, str(rng.choice(kinds))


def test_an_export_is_served_without_torch_and_no_body_harms_it(finished, tmp_path):
    folder, _, root = finished
    export(run=str(folder / "one"), output=str(tmp_path / "fan"), front_end="stft")
    scorer = mimii_pl.load(folder / "one", device="cpu")
    with serving(tmp_path, "run=fan", "engine=onnx", "max_mb=5", code=WITHOUT_TORCH) as (process, url):
        with requests.Session() as session:
            for path in sorted((root / "fan" / "test").glob("*id_02*.wav")):
                answer = session.post(f"{url}/score?machine_id=id_02", data=path.read_bytes())
                (one,), expected = answer.json()["recordings"], scorer.decide(path, machine_id="id_02")
                assert one["score"] == pytest.approx(expected.score[0], rel=1e-3)
                assert one["anomalous"] is bool(expected.anomalous[0])
            assert session.get(f"{url}/model").json()["name"] == "fan"  # and no path of this computer
            faster = encoded("WAV", rate=44100)
            assert session.post(f"{url}/score?machine_id=id_00", data=faster).status_code == 200
            codes = Counter()
            for body, kind in hostile(tmp_path):
                answer = session.post(
                    f"{url}/score?machine_id=id_00&rate=16000", data=body, headers={"Content-Type": kind}
                )
                codes[answer.status_code] += 1
            assert set(codes) <= {200, 400, 413, 422}, codes
            assert codes[422] > BODIES / 3
            many = iter([bytes(1 << 20)] * 50)
            assert session.post(f"{url}/score", data=many).status_code == 413
        raw(url, b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", b"400")
        raw(url, b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", b"413")
        raw(url, b"\0" * 100_000, b"400")
        with socket.create_connection(address(url)) as gone:
            gone.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf")
        assert requests.post(f"{url}/score?machine_id=id_00", data=encoded("FLAC")).status_code == 200
        peak = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
        assert int(peak[1]) / 1024 < PEAK_MIB
        with socket.create_connection(address(url)) as cut:
            cut.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf")
            process.kill()
            process.wait()
    again = f"port={address(url)[1]}"
    with serving(tmp_path, "run=fan", "engine=onnx", again, code=WITHOUT_TORCH) as (_, url):
        assert requests.post(f"{url}/score?machine_id=id_00", data=encoded("FLAC")).status_code == 200


def address(url):
    host, port = url.removeprefix("http://").split(":")
    return host, int(port)


def raw(url, content, expected):
    """Send bytes and expect the status of the answer."""
    with socket.create_connection(address(url), timeout=20) as connection:
        connection.sendall(content)
        assert connection.recv(1000).split()[1] == expected


def test_a_promotion_loses_no_request_and_sigterm_drains(finished, monkeypatch):
    folder, uri, _ = finished
    monkeypatch.chdir(folder)
    register(run=str(folder / "one"), name="fan")
    body = encoded("FLAC")
    with serving(folder, "run=models:/fan@champion", "watch=0.2", f"tracking_uri={uri}") as (process, url):
        first = requests.get(f"{url}/model").json()["run"]

        def ask(_):
            answer = requests.post(f"{url}/score?machine_id=id_00", data=body)
            return answer.status_code, answer.json().get("model")

        with ThreadPoolExecutor(CLIENTS) as pool:
            found = [*pool.map(ask, range(3 * CLIENTS))]
            register(run=str(folder / "two"), name="fan", force=True)
            ends = time.monotonic() + 60
            while requests.get(f"{url}/model").json()["run"] == first and time.monotonic() < ends:
                found += pool.map(ask, range(3 * CLIENTS))
            found += pool.map(ask, range(3 * CLIENTS))
        assert {status for status, _ in found} == {200}
        assert len({model for _, model in found}) == 2
        with socket.create_connection(address(url), timeout=30) as slow:
            head = f"POST /score?machine_id=id_00 HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            slow.sendall(head.encode() + body[:1000])
            while "mimii_requests_in_progress 1.0" not in requests.get(f"{url}/metrics").text:
                time.sleep(0.02)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            with pytest.raises(requests.ConnectionError):
                requests.get(f"{url}/healthz")
            slow.sendall(body[1000:])
            assert slow.recv(1000).split()[1] == b"200"
        assert process.wait(20) in (0, -signal.SIGTERM)
