"""`mimii serve`: recordings of any kind are scored as the run scores them, and no body harms the service."""

import asyncio
import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient
from support import world

import mimii_pl
from mimii_pl.core.config import compose
from mimii_pl.core.errors import InputError
from mimii_pl.deploy.serving.app import make_app
from mimii_pl.deploy.serving.batches import Batches
from mimii_pl.deploy.serving.limits import RequestLimits
from mimii_pl.deploy.serving.serve import serve
from mimii_pl.deploy.serving.served import open_served
from mimii_pl.deploy.serving.service import Service, watch
from mimii_pl.fuse import fuse
from mimii_pl.run import run

PART = b'--x\r\nContent-Disposition: form-data; name="machine_id"\r\n\r\nid_00\r\n--x--\r\n'
SMALL = ("model=spectrum", "backend=knn", "task.criterion_clips=12")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run."""
    folder = tmp_path_factory.mktemp("served")
    root = world.write(folder / "world", train=10, test=2, seconds=1.0)
    run(world.configured(root, *SMALL), folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def served(finished):
    """The model of the run."""
    return open_served(str(finished), finished, device="cpu")


@pytest.fixture
def client(served):
    """Makes a client of a service with these limits."""
    opened = []

    def make(api_key=None, background=None, **limits):
        service = Service(served, RequestLimits(**limits))
        one = TestClient(make_app(service, api_key, background and background(service)), raise_server_exceptions=False)
        opened.append(one.__enter__())
        one.service = service
        return one

    yield make
    for one in opened:
        one.__exit__(None, None, None)


def sound(number=0, *, anomalous=False, seconds=1.0, rate=world.RATE, seed=0, kind="WAV", subtype="PCM_16"):
    """A recording of a machine, as bytes."""
    wave = world.chord(np.random.default_rng(seed), number, anomalous=anomalous, seconds=seconds)
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format=kind, subtype=subtype)
    return file.getvalue()


def untold(flac):
    """A FLAC with the number of its samples, 36 bits of its header, set to 0: not known."""
    changed = bytearray(flac)
    changed[21] &= 0xF0
    changed[22:26] = bytes(4)
    return bytes(changed)


# --- what is answered ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
def test_a_recording_is_scored_as_the_run_scores_it(client, finished, tmp_path, kind):
    for anomalous in (False, True):
        body = sound(1, anomalous=anomalous, kind=kind)
        (tmp_path / "clip").write_bytes(body)
        expected = mimii_pl.load(finished, device="cpu").decide(tmp_path / "clip", machine_id="id_02")
        answer = client().post("/score?machine_id=id_02", content=body, headers={"Content-Type": "audio/wav"})
        assert answer.status_code == 200, answer.text
        (one,) = answer.json()["recordings"]
        assert one["machine_id"] == "fan/id_02"
        assert one["score"] == pytest.approx(expected.score[0], rel=1e-5)
        assert one["higher_than"] == expected.higher_than[0]
        assert one["p_value"] == pytest.approx(expected.p_value[0])
        assert one["anomalous"] is bool(expected.anomalous[0]) is anomalous
        assert len(one["events"]) == anomalous


def test_samples_without_a_header_are_scored_as_those_with_one(client):
    here = client()
    wave, _ = soundfile.read(io.BytesIO(sound()), dtype="int16")
    stereo = np.stack([wave, wave[::-1]], axis=1)
    whole = here.post("/score?machine_id=id_00", content=sound()).json()
    for query, samples in (("rate=16000", wave), ("rate=16000&channels=2", stereo)):
        raw = here.post(
            f"/score?machine_id=id_00&{query}",
            content=samples.astype("<i2").tobytes(),
            headers={"Content-Type": "audio/pcm"},
        )
        assert raw.json() == whole


def test_events_of_a_long_recording_are_those_of_its_timeline(client, finished, tmp_path):
    parts = [sound(seconds=2.0), sound(anomalous=True, seconds=1.5), sound(seconds=2.0, seed=1)]
    waves = [soundfile.read(io.BytesIO(part), dtype="int16")[0] for part in parts]
    soundfile.write(tmp_path / "long.wav", np.concatenate(waves), world.RATE)
    expected = mimii_pl.load(finished, device="cpu").timeline(tmp_path / "long.wav", machine_id="id_00")
    body = (tmp_path / "long.wav").read_bytes()
    here = client()
    (one,) = here.post("/score?machine_id=id_00&explain=true", content=body).json()["recordings"]
    assert len(expected.events) == 1
    assert [event["start"] for event in one["events"]] == [event.start for event in expected.events]
    assert one["events"][0]["rise_db"] == pytest.approx(expected.events[0].rise_db)
    assert one["timeline"]["score"] == pytest.approx(expected.score.tolist(), rel=1e-5)
    assert one["score"] == pytest.approx(expected.maximum, rel=1e-5)
    assert len(one["spectrogram"]["db"]) == len(one["spectrogram"]["hertz"]) - 1
    (brief,) = here.post("/score?machine_id=id_00", content=body).json()["recordings"]
    assert "timeline" not in brief


def test_one_bad_file_of_a_form_does_not_cost_the_others(client):
    files = [
        ("file", ("a/../../../etc/passwd", sound(), "audio/wav")),
        ("file", ("damaged.wav", b"RIFF and nothing else", "audio/wav")),
        ("file", ("c.flac", sound(1, anomalous=True, kind="FLAC"), "audio/flac")),
    ]
    here = client()
    answer = here.post("/score", files=files, data={"machine_id": "id_00"})
    first, second, third = answer.json()["recordings"]
    assert (first["name"], first["anomalous"]) == ("a/../../../etc/passwd", False)
    assert "not readable as audio" in second["error"]
    assert third["anomalous"] is True
    answer = here.post("/score/batch?machine_id=id_00", files=files[1:2] * 2)
    assert answer.status_code == 422
    assert "none of 2 recordings" in answer.json()["detail"]
    text = here.get("/metrics").text
    assert 'mimii_recordings_total{decision="unusable"} 3.0' in text
    assert 'mimii_requests_total{status="422"} 1.0' in text


# --- what is refused -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("query", "body", "kind", "status", "words"),
    [
        ("", b"", "audio/wav", 422, "the body is empty"),
        ("", b"\0" * 1000, "audio/wav", 422, "not readable as audio"),
        ("", b'{"path": "/etc/passwd"}', "application/json", 422, "not readable as audio"),
        ("?machine_id=id_00", sound()[:9000], "audio/wav", 422, "truncated"),
        ("?machine_id=id_99", sound(), "audio/wav", 422, "id_99"),
        ("?machine_id=id_00", b"\0\0" * 9000, "audio/pcm", 422, "needs its sampling frequency"),
        ("?machine_id=id_00&rate=16000", b"\0\0" * 9000, "audio/pcm", 422, "digital silence"),
        ("?machine_id=id_00&rate=16000", b"\0\1\2", "audio/pcm", 422, "no whole number"),
        ("?machine_id=id_00&rate=fast", sound(), "audio/pcm", 422, "valid integer"),
        ("", b"nothing", "multipart/form-data", 400, "not a form with files"),
        ("", PART, "multipart/form-data; boundary=x; charset=none", 422, "the form has no file"),
        ("", b"--x--\r\n", "multipart/form-data; boundary=x", 422, "the form has no file"),
    ],
)
def test_a_body_that_cannot_be_used_is_named(client, query, body, kind, status, words):
    answer = client().post(f"/score{query}", content=body, headers={"Content-Type": kind})
    assert (answer.status_code, words in answer.text) == (status, True), answer.text
    assert "/tmp" not in answer.text


@pytest.mark.parametrize(
    ("limits", "options", "status", "name"),
    [
        ({"megabytes": 0.02}, {"content": sound()}, 413, "megabytes"),
        ({"megabytes": 0.02}, {"content": iter([sound()] * 3)}, 413, "megabytes"),
        ({"megabytes": 0.02}, {"files": [("file", ("a.wav", sound()))]}, 413, "megabytes"),
        ({"files": 2}, {"files": [("file", ("a.wav", sound()))] * 3}, 413, "files"),
        ({"seconds": 2}, {"content": sound(seconds=3.0)}, 422, "seconds"),
        ({"seconds": 2}, {"content": untold(sound(seconds=6.0, kind="FLAC"))}, 422, "seconds"),
        ({"per_minute": 1}, {"content": sound()}, 429, "per_minute"),
    ],
)
def test_a_limit_that_is_exceeded_is_named(client, limits, options, status, name):
    here = client(**limits)
    if name == "per_minute":
        assert here.post("/score?machine_id=id_00", content=sound()).status_code == 200
    answer = here.post("/score?machine_id=id_00", **options)
    assert answer.status_code == status, answer.text
    assert answer.json()["limit"] == name
    assert answer.json()["allowed"] == limits[name]
    assert ("retry-after" in answer.headers) is (status == 429)


def test_requests_beyond_the_concurrency_are_refused_and_others_answered(client, served, monkeypatch):
    here, go = client(concurrency=2), threading.Event()
    scored = served.scorer.score_waves
    monkeypatch.setattr(served.scorer, "score_waves", lambda *args: go.wait(10) and scored(*args))
    with ThreadPoolExecutor(2) as pool:
        sent = [pool.submit(here.post, "/score?machine_id=id_00", content=sound()) for _ in range(2)]
        while "mimii_requests_in_progress 2.0" not in here.get("/metrics").text:
            time.sleep(0.01)
        refused = here.post("/score?machine_id=id_00", content=sound())
        assert here.get("/healthz").json() == {"status": "alive"}
        go.set()
        assert [one.result().status_code for one in sent] == [200, 200]
    assert (refused.status_code, refused.json()["limit"]) == (429, "concurrency")
    assert here.post("/score?machine_id=id_00", content=sound()).status_code == 200


def test_without_the_key_nothing_is_scored_or_told(client):
    here = client(api_key="grün")
    assert [here.get(path).status_code for path in ("/healthz", "/readyz", "/", "/docs")] == [200] * 4
    for headers in ({}, {"X-API-Key": "other"}, {"Authorization": "Bearer other"}):
        codes = [here.get(path, headers=headers).status_code for path in ("/model", "/metrics")]
        codes.append(here.post("/score?machine_id=id_00", content=sound(), headers=headers).status_code)
        assert codes == [401] * 3
    for headers in ({"X-API-Key": "grün".encode()}, {"Authorization": "Bearer grün".encode()}):
        assert here.get("/model", headers=headers).json()["machine_ids"] == ["fan/id_00", "fan/id_02"]


def test_the_pages_name_no_other_host(client):
    here = client()
    for address in ("/", "/docs"):
        answer = here.get(address)
        assert "http" not in answer.text
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    described = here.get("/openapi.json").json()["paths"]
    assert "/score" in described
    for path in described:
        assert f" {path}</code></h2>" in answer.text
    for text in ("<td><code>explain</code></td><td>boolean</td>", "int16, little-endian", "multipart/form-data"):
        assert text in answer.text


# --- other runs ------------------------------------------------------------------------------------------------------
def test_a_run_over_channels_is_served(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(9):
        channels = [world.chord(rng, 0, anomalous=fault and index == 8, seconds=0.5) for fault in (False, True)]
        path = tmp_path / "world" / ("normal" if index < 8 else "anomaly") / f"{index}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.stack(channels, axis=1), world.RATE, subtype="PCM_16")
    options = ("dataset=folder", "dataset.channel=all", "dataset.fuse_channels=max", "dataset.seconds=0.5", *SMALL)
    run(world.configured(tmp_path / "world", *options, "report=none"), tmp_path / "run")
    expected = mimii_pl.load(tmp_path / "run", device="cpu").decide(path)
    served = open_served("run", tmp_path / "run", device="cpu")
    with TestClient(make_app(Service(served, RequestLimits()))) as here:
        (one,) = here.post("/score?explain=true", content=path.read_bytes()).json()["recordings"]
        (left,) = here.post("/score", content=sound(seconds=0.5)).json()["recordings"]
    assert one["score"] == pytest.approx(expected.score[0], rel=1e-5)
    assert one["anomalous"] is bool(expected.anomalous[0]) is True
    assert left["anomalous"] is False


def test_a_fused_run_is_served(finished, tmp_path):
    fuse(compose(["logger=none", "report=none", f"runs=[{finished},{finished}]"], "command/fuse"), tmp_path / "run")
    expected = mimii_pl.load(tmp_path / "run", device="cpu")
    served = open_served("run", tmp_path / "run", device="cpu")
    with TestClient(make_app(Service(served, RequestLimits()))) as here:
        for anomalous in (False, True):
            body = sound(1, anomalous=anomalous)
            (tmp_path / "clip").write_bytes(body)
            (one,) = here.post("/score?machine_id=id_02", content=body).json()["recordings"]
            assert one["score"] == pytest.approx(expected.score(tmp_path / "clip", machine_id="id_02")[0], rel=1e-5)
            assert one["anomalous"] is anomalous


# --- together, and one after the other -------------------------------------------------------------------------------
def test_windows_that_arrive_together_are_scored_together(served):
    sizes, count = [], 5

    async def send():
        with ThreadPoolExecutor(1) as thread:
            batches = Batches(served.scorer, 4, thread, sizes.append)
            builders = [Recorder() for _ in range(count)]
            wave = np.random.default_rng(0).normal(0, 1000, served.scorer.samples).astype(np.int16)
            ids = [number % 2 for number in range(count)]
            await asyncio.gather(
                *(batches.score([(one, 7, wave)], id_) for one, id_ in zip(builders, ids, strict=True))
            )
            return wave, ids, [one.found for one in builders]

    wave, ids, found = asyncio.run(send())
    assert sizes == [4, 1]
    expected = served.scorer.score_waves(np.stack([wave] * count), np.array(ids))
    assert [score for ((_, score),) in found] == pytest.approx(expected.tolist(), rel=1e-5)
    assert {number for ((number, _),) in found} == {7}


class Recorder:
    """Takes the scores of a recording."""

    def __init__(self):
        self.found = []

    def set(self, number, score):
        self.found.append((number, score))


def test_an_error_of_the_model_is_an_answer_and_the_next_request_is_scored(client, served, monkeypatch):
    here = client()
    with monkeypatch.context() as broken:
        broken.setattr(served.scorer, "score_waves", lambda *_: 1 / 0)
        assert here.post("/score?machine_id=id_00", content=sound()).status_code == 500
    assert here.post("/score?machine_id=id_00", content=sound()).status_code == 200


def test_a_new_model_takes_over_without_losing_a_request(client, served):
    successor, looks = served._replace(fingerprint="successor"), []

    def newest(_):
        looks.append(1)
        if len(looks) == 1:
            raise InputError("the registry does not answer")
        return successor if len(looks) == 3 else None

    here = client(background=lambda service: lambda: watch(service, newest, 0.05))
    answers = []
    while len(looks) < 5:
        answers.append(here.post("/score?machine_id=id_00", content=sound()))
    assert {one.status_code for one in answers} == {200}
    assert [one.json()["model"] for one in answers] == sorted(
        (one.json()["model"] for one in answers), key=lambda name: name == "successor"
    )
    assert here.get("/model").json()["run"] == "successor"
    text = here.get("/metrics").text
    assert "mimii_model_swaps_total 1.0" in text
    assert "mimii_failed_watches_total 1.0" in text
    assert f'mimii_model{{engine="torch",run="{served.fingerprint}"}}' not in text


# --- the command -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"engine": "tensorrt"}, "engine=tensorrt: should be auto, torch or onnx"),
        ({"engine": "onnx"}, "is no export: `mimii export"),
        ({"max_seconds": 0}, "max_seconds=0: should be above 0"),
        ({"watch": -1}, "watch=-1: should be 0 s"),
        ({"hop": 5}, "hop=5: should be above 0 s and at most 1 s"),
        ({"port": 70000}, "port=70000: should be 0 "),
        ({"host": "256.0.0.1"}, "host=256.0.0.1 port=0 cannot be listened on"),
    ],
)
def test_wrong_options_of_a_service_are_named(options, fault, finished):
    with pytest.raises(InputError, match=fault):
        serve(**{"run": str(finished), "port": 0, "device": "cpu", **options})
