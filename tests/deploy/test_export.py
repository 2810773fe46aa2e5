"""`mimii export`: the folder that it writes scores as the run does, with three packages; else it writes none."""

import csv
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import requests
import soundfile
from support import world
from support.environment import make_environment

import mimii_pl
from mimii_pl.core.config import CONF
from mimii_pl.core.errors import InputError
from mimii_pl.deploy.export import export
from mimii_pl.deploy.graph import ScoringGraph
from mimii_pl.deploy.onnx_file import open_session, write_onnx
from mimii_pl.deploy.parity import (
    NoisyAnomalies,
    between_scores,
    compare_scores,
    gate_trials,
    require_parity,
    session_scores,
)
from mimii_pl.deploy.score import ROW, ExportedScorer
from mimii_pl.deploy.serving.served import open_served
from mimii_pl.run import run
from mimii_pl.scoring.load_run import load_detector
from mimii_pl.scoring.pseudo_anomaly import PseudoAnomalies
from mimii_pl.threshold import Thresholds

NEEDED = ("numpy", "soundfile", "onnxruntime")  # by score.py
SMALL = ("model=spectrum", "backend=knn", "task.criterion_clips=12")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run, and its recordings."""
    folder = tmp_path_factory.mktemp("export")
    root = world.write(folder / "world", train=10, test=4, seconds=1.0)
    run(world.configured(root, *SMALL), folder / "run")
    return folder / "run", root


@pytest.fixture(scope="module")
def model(finished, tmp_path_factory):
    """The scorer of the run, its data, and its ONNX file."""
    run_dir, root = finished
    scorer, data = load_detector(run_dir, device="cpu"), world.data_of(world.configured(root, *SMALL))
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    write_onnx(ScoringGraph(scorer), scorer.samples, path)
    return scorer, data, path


def test_the_gate_passes_what_scores_the_same(model):
    scorer, data, path = model
    trials = gate_trials(scorer, data)
    assert sum(len(trial.ids) for trial in trials) >= 200
    assert {id_ for trial in trials for id_ in trial.ids} == {-1, 0, 1}
    thresholds = between_scores(scorer.thresholds, trials)
    parity = compare_scores(trials, open_session(path), thresholds)
    assert parity.passed, parity
    assert parity.difference > 0
    for trial in trials:  # moved thresholds decide on all of them as those of the run do
        decided = thresholds.decide(trial.scores, trial.ids), scorer.thresholds.decide(trial.scores, trial.ids)
        np.testing.assert_array_equal(*decided)


def test_the_gate_stops_what_scores_otherwise(model):
    scorer, data, path = model
    trials = gate_trials(scorer, data)
    spread = scorer.thresholds.normal["all"].std()
    trials = [trial._replace(scores=trial.scores + 0.01 * spread) for trial in trials]
    parity = compare_scores(trials, open_session(path), scorer.thresholds)
    with pytest.raises(InputError, match=r"nothing was left: of 2\d\d clips, scores differ by up to 0.01.*a clip of"):
        require_parity(parity, "stft")
    with pytest.raises(InputError, match=r"no decision\)\. These scores equal the threshold but for rounding"):
        require_parity(parity._replace(difference=1e-6, changed=2), "stft")
    other = Thresholds(scorer.thresholds.normal, scorer.labels, {"all": np.inf})
    assert compare_scores(trials, open_session(path), other).changed == 0


def test_a_score_far_from_the_normal_ones_may_be_rounded(model):
    scorer, data, path = model
    trial = gate_trials(scorer, data)[0]
    normal = {"all": trial.scores.min() + 1e-7 * np.arange(8.0)}  # alike to the last digits
    thresholds, session = Thresholds(normal, scorer.labels, {"all": 0.0}), open_session(path)
    trial = trial._replace(ids=np.full(len(trial.ids), -1))
    for share, passes in ((2e-7, True), (2e-6, False)):
        changed = trial._replace(scores=session_scores(session, trial, 1) * (1 + share))
        assert compare_scores([changed], session, thresholds).passed == passes


def test_clips_with_a_fault_have_a_noise_floor(model):
    scorer, data, _ = model
    clips = data.of("validation")[0]
    grades, rows = np.arange(6) % 6, np.arange(6) % len(clips)
    plain, noisy = (kind(clips, 0, grades, scorer.sample_rate, rows) for kind in (PseudoAnomalies, NoisyAnomalies))
    added = noisy[0:6].astype(int) - plain[0:6]
    assert 2 < added.std() < 4
    np.testing.assert_array_equal(noisy[2:5], noisy[0:6][2:5])


def test_a_threshold_that_is_a_score_is_moved_off_it():
    normal = np.array([1.0, 2.0, 3.0, 3.0002])
    moved = between_scores(Thresholds({"all": normal}, ["fan/id_00"], {"all": 3.0}), [])
    assert 3 < moved.thresholds["all"] < 3.0002
    assert moved.decide(normal, np.zeros(4, int)).tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"front_end": "fft"}, r"front_end=fft: should be auto, stft or conv"),
        ({"max_loss": 2}, r"max_loss=2: a share"),
        ({"run": "nowhere"}, r"nowhere"),
    ],
)
def test_wrong_options_are_named(options, fault, tmp_path):
    with pytest.raises(InputError, match=fault):
        export(**{"run": "latest", "output": str(tmp_path / "export"), **options})


def test_a_folder_with_other_files_is_kept(finished, tmp_path):
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(InputError, match=r"output=.* holds other files: name another folder"):
        export(run=str(finished[0]), output=str(tmp_path))
    with pytest.raises(InputError, match=r"output=.* is no folder"):
        export(run=str(finished[0]), output=str(tmp_path / "thesis.txt"))


@pytest.mark.slow
def test_nothing_is_left_of_an_export_that_fails(finished, tmp_path, monkeypatch):
    monkeypatch.setattr("mimii_pl.deploy.parity.TOLERANCE", 0)
    with pytest.raises(InputError, match="nothing was left"):
        export(run=str(finished[0]), output=str(tmp_path / "export"), front_end="stft")
    assert not list(tmp_path.iterdir())


# --- the folder, as its user has it ----------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def exported(finished, tmp_path_factory):
    """The folder of an export, away from the run; an earlier one was in its place."""
    folder = tmp_path_factory.mktemp("away") / "fan"
    folder.mkdir()
    (folder / "model.json").write_text("{}")
    return export(run=str(finished[0]), output=str(folder), licence="CC0 1.0")


@pytest.fixture(scope="module")
def edge(tmp_path_factory):
    """An environment with the packages that score.py needs, and what they need."""
    return make_environment(tmp_path_factory.mktemp("edge") / "venv", NEEDED)


@pytest.mark.slow
def test_the_folder_holds_what_its_card_says(exported):
    facts, card = json.loads((exported / "model.json").read_text()), (exported / "card.md").read_text()
    assert {path.name for path in exported.iterdir()} == {"model.onnx", "model.json", "card.md", "score.py"}
    assert facts["parity"]["changed"] == 0
    assert facts["parity"]["clips"] >= 200
    assert str(Path.home()) not in card
    assert "/tmp" not in (exported / "model.json").read_text()
    for text in ("CC0 1.0", "fan/id_02", facts["files"]["model.onnx"], "| torch |", "0 decisions change"):
        assert text in card
    rows = [line.split("|") for line in card.splitlines() if line.startswith(("| model.onnx", "| torch"))]
    ours, torch = (float(row[4].split()[0]) for row in rows[:2])
    assert 0 < ours < torch / 3  # MiB


@pytest.mark.slow
def test_three_packages_score_recordings_as_the_run_does(exported, finished, edge, tmp_path):
    run_dir, root = finished
    inputs = tmp_path / "in"
    shutil.copytree(root / "fan" / "test", inputs / "test")
    rng = np.random.default_rng(0)
    wave = world.chord(rng, 0, anomalous=False, seconds=1.0)
    soundfile.write(inputs / "short_id_00.wav", wave[:9000], world.RATE)
    soundfile.write(inputs / "float_id_02.wav", wave, world.RATE, subtype="FLOAT")
    soundfile.write(inputs / "rate_id_00.flac", np.stack([wave, -wave], axis=1), 44100)
    (inputs / "damaged_id_00.wav").write_bytes(b"RIFF and nothing else")
    soundfile.write(inputs / "silent_id_00.wav", np.zeros(16000), world.RATE)
    soundfile.write(inputs / "nobody.wav", wave, world.RATE)
    done = subprocess.run(
        [edge, "-I", exported / "score.py", inputs, "--output", tmp_path / "scores.csv"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "scores.csv").read_text().splitlines()))
    assert tuple(rows[0]) == ROW
    skipped = {Path(row["file"]).name: row["skipped"] for row in rows if row["skipped"]}
    assert set(skipped) == {"damaged_id_00.wav", "silent_id_00.wav", "nobody.wav"}
    assert "--machine-id" in skipped["nobody.wav"]
    scored = [row for row in rows if not row["skipped"]]
    assert len(scored) == 16 + 3
    scorer = mimii_pl.load(run_dir, device="cpu")
    spread = scorer.thresholds.normal["all"].std()
    for row in scored:
        expected = scorer.decide(row["file"], machine_id=row["machine_id"])
        assert float(row["score"]) == pytest.approx(expected.score[0], abs=0.01 * spread), row["file"]
        assert int(row["decision"]) == expected.anomalous[0]
        assert float(row["higher_than"]) == pytest.approx(expected.higher_than[0], abs=1e-4)
        assert float(row["p_value"]) == pytest.approx(expected.p_value[0], abs=1e-4)


@pytest.mark.slow
def test_a_long_recording_is_scored_as_the_recordings_it_can_be_cut_into(exported, tmp_path):
    wave = world.chord(np.random.default_rng(0), 0, anomalous=True, seconds=2.7)
    soundfile.write(tmp_path / "long.wav", wave, 22050)
    scorer = ExportedScorer(exported)
    windows = list(scorer.windows(tmp_path / "long.wav", hop=0.4))
    assert [round(start, 2) for start, _ in windows] == [0, 0.4, 0.8, 0.96]
    samples, _ = soundfile.read(tmp_path / "long.wav", dtype="int16")
    for start, clip in windows:
        first = round(start * 22050)
        soundfile.write(tmp_path / "cut.wav", samples[first:], 22050)
        assert np.abs(clip - next(scorer.windows(tmp_path / "cut.wav"))[1]).max() <= 1


def changed_model(path):
    path.write_bytes(path.read_bytes() + b"more")


def changed_threshold(path):
    facts = json.loads(path.read_text())
    facts["thresholds"]["fan/id_00"] *= 1.0001
    path.write_text(json.dumps(facts))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "change"), [("model.onnx", changed_model), ("model.json", changed_threshold)])
def test_a_changed_file_is_not_used(exported, tmp_path, name, change):
    shutil.copytree(exported, tmp_path / "other")
    change(tmp_path / "other" / name)
    fault = f"{name} is not the file that was exported: its checksum differs"
    with pytest.raises(InputError, match=fault):
        open_served("other", tmp_path / "other", device="cpu")
    done = subprocess.run(
        [sys.executable, tmp_path / "other" / "score.py", "x.wav"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert fault in done.stderr


# --- in a container --------------------------------------------------------------------------------------------------
def dockerfile():
    """The instructions of the Dockerfile, in order, each with its text."""
    text = re.sub(r"^#.*\n", "", (CONF.parent / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """What the steps of the Dockerfile make: an environment, without an index, and the commands that it runs."""
    folder, said = tmp_path_factory.mktemp("image"), {}
    installs = [shlex.split(text) for name, text in dockerfile() if name == "RUN"]
    named = [word for words in installs for word in words[2:] if re.fullmatch(r"[A-Za-z][\w-]+", word)]
    assert "onnxruntime" in named
    python = make_environment(folder / "venv", [*named, "pip", "hatchling"])
    pip = python.with_name("pip")
    pip.write_text(f'#!/bin/sh\nexec {python} -m pip "$@"\n')
    pip.chmod(0o755)
    environment = {
        "PATH": f"{python.parent}:{os.defpath}",
        "PIP_NO_INDEX": "1",  # all that is required is there
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it the other way round
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    ignored = (CONF.parent / ".dockerignore").read_text().splitlines()
    for name, text in dockerfile():
        if name == "COPY":
            *sources, target = text.split()
            for source in sources:
                assert f"!{source}" in ignored
                one, place = CONF.parent / source, folder / "src" / target
                copy = shutil.copytree if one.is_dir() else shutil.copy
                copy(one, place if one.is_dir() else place / source)
        elif name == "WORKDIR":
            (folder / "src").mkdir(exist_ok=True)
        elif name == "RUN":
            subprocess.run(["sh", "-c", text], cwd=folder / "src", env=environment, check=True, capture_output=True)
        else:
            said[name] = text
    return python, environment, said


@pytest.mark.slow
def test_the_dockerfile_serves_an_export_without_torch(image, exported, finished, tmp_path):
    python, environment, said = image
    assert said["USER"] == "nobody"
    without = subprocess.run([python, "-c", "import torch"], cwd=tmp_path, env=environment, capture_output=True)
    assert b"No module named 'torch'" in without.stderr
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = [word.replace("/model", str(exported)).replace("8000", port) for word in json.loads(said["CMD"])]
    check = said["HEALTHCHECK"].partition(" CMD ")[2].replace("8000", port)
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL) as service:
        try:
            ends = time.monotonic() + 30
            while subprocess.run(["sh", "-c", check], env=environment, capture_output=True).returncode:
                assert service.poll() is None
                assert time.monotonic() < ends
            path = next((finished[1] / "fan" / "test").glob("anomaly_id_00*.wav"))
            answer = requests.post(f"http://127.0.0.1:{port}/score?machine_id=id_00", data=path.read_bytes())
            page = requests.get(f"http://127.0.0.1:{port}/docs")
        finally:
            service.terminate()
    (one,) = answer.json()["recordings"]
    expected = mimii_pl.load(finished[0], device="cpu").decide(path)
    assert one["score"] == pytest.approx(expected.score[0], rel=1e-3)
    assert page.status_code == 200
    assert not list(tmp_path.iterdir())
