"""`mimii score windows=true`: tables that agree, killed and resumed, in parts and by Ray."""

import csv
import os
import re
import shutil

import numpy as np
import pytest
import soundfile
from support import world
from support.cluster import ray_cluster

from mimii_pl.core.errors import InputError
from mimii_pl.run import run
from mimii_pl.scoring.bulk.window_files import beside
from mimii_pl.scoring.scorer import Scorer
from mimii_pl.tracking.load import load
from mimii_pl.tracking.load import score as score_files


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("windows")
    root = world.write(folder / "world", ids=(0, 2), train=8, test=1, seconds=0.5)
    run(world.configured(root, "model=spectrum", "dataset.batch_size=4"), folder / "run")
    return folder / "run"


@pytest.fixture
def sounds(tmp_path):
    """Recordings of 20, 0.4 and 7.3 s, one that is no sound, and one of a machine that was not learned."""
    folder = tmp_path / "sounds"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, seconds in {"a_id_00": 20, "b_id_02": 0.4, "c_id_00": 7.3, "e_id_07": 1}.items():
        parts = [world.chord(rng, 0, anomalous=6 <= number < 10, seconds=1.0) for number in range(int(seconds) + 1)]
        wave = np.concatenate(parts)[: round(seconds * world.RATE)]
        soundfile.write(folder / f"{name}.wav", wave, world.RATE, subtype="PCM_16")
    (folder / "d_id_00.wav").write_text("no sound")
    return folder


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def score(run_dir, source, output, **options):
    wanted = {"windows": True, "hop": 0.25, "device": "cpu", **options}
    return score_files(run=str(run_dir), input=str(source), output=str(output), **wanted)


def test_the_tables_agree(run_dir, sounds, tmp_path, capsys):
    rows = rows_of(score(run_dir, sounds, tmp_path / "out" / "scores.csv", labels="audacity"))
    assert [(os.path.basename(row["file"]), bool(row["skipped"])) for row in rows] == [
        ("a_id_00.wav", False),
        ("b_id_02.wav", False),
        ("c_id_00.wav", False),
        ("d_id_00.wav", True),
        ("e_id_07.wav", True),
    ]
    assert [row["seconds"] for row in rows[:3]] == ["20", "0.4", "7.3"]
    windows, events = (rows_of(tmp_path / "out" / f"{kind}.csv") for kind in ("windows", "events"))
    for row in rows[:3]:
        own = [one for one in windows if one["file"] == row["file"]]
        scores = np.array([float(one["score"]) for one in own])
        assert int(row["windows"]) == len(own)
        assert float(row["mean"]) == pytest.approx(scores.mean())
        assert float(row["maximum"]) == scores.max()
        assert float(row["percentile_95"]) == pytest.approx(np.quantile(scores, 0.95))
        assert float(row["above"]) == pytest.approx(np.mean([one["decision"] == "1" for one in own]), abs=1e-6)
        assert int(row["events"]) == sum(one["file"] == row["file"] for one in events)
        assert float(own[-1]["end"]) == float(row["seconds"])
    assert any(float(one["start"]) <= 6.3 and float(one["end"]) >= 9.7 for one in events)
    timeline = load(run_dir, device="cpu").timeline(sounds / "c_id_00.wav", hop=0.25)
    found = [float(one["score"]) for one in windows if "c_id" in one["file"]]
    np.testing.assert_allclose(found, timeline.score, rtol=1e-4)
    labels = (tmp_path / "out" / "labels" / "a_id_00.wav.txt").read_text().splitlines()
    assert len(labels) == int(rows[0]["events"])
    assert all(re.fullmatch(r"\d+\.\d{6}\t\d+\.\d{6}\tscore \S+", line) for line in labels)
    assert (tmp_path / "out" / "timeline.html").is_file()
    shown = capsys.readouterr().out
    assert "skipped" in shown
    assert "false alarms per day, at most, of healthy machines (95 %), with a window every 0.25 s:" in shown
    assert "'id_07' was not seen in training" in shown.replace("\n", " ")
    assert not list((tmp_path / "out").glob("*.shards"))


def test_labels_for_raven(run_dir, sounds, tmp_path):
    score(run_dir, sounds / "a_id_00.wav", tmp_path / "night.csv", labels="raven")
    head, *lines = (tmp_path / "night-labels" / "a_id_00.wav.Table.1.selections.txt").read_text().splitlines()
    assert head.split("\t")[3:7] == ["Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"]
    assert len(lines) == len(rows_of(tmp_path / "night-events.csv")) > 0


def test_a_killed_command_scores_no_window_twice(run_dir, sounds, tmp_path, monkeypatch):
    whole = score(run_dir, sounds, tmp_path / "whole" / "scores.csv")
    real, scored, limit = Scorer.score_waves, [], [9]

    def counted(self, waves, ids, description=None):
        if len(scored) == limit[0]:
            raise KeyboardInterrupt
        scored.append(len(waves))
        return real(self, waves, ids, description)

    monkeypatch.setattr(Scorer, "score_waves", counted)
    with pytest.raises(KeyboardInterrupt):
        score(run_dir, sounds, tmp_path / "killed" / "scores.csv")
    kept = next((tmp_path / "killed" / "scores.csv.shards").glob("*.scores"))
    with kept.open("a") as file:
        file.write("0.12")  # of a line that was being written
    limit[0] = 1000
    killed = score(run_dir, sounds, tmp_path / "killed" / "scores.csv")
    total = sum(int(row["windows"]) for row in rows_of(whole) if row["windows"])
    assert sum(scored) == total
    for kind in ("scores", "windows", "events"):
        one, other = (folder.parent / f"{kind}.csv" for folder in (whole, killed))
        for left, right in zip(rows_of(one), rows_of(other), strict=True):
            assert left.keys() == right.keys()
            for name in left:
                same = left[name] == right[name] or float(left[name]) == pytest.approx(float(right[name]), rel=1e-5)
                assert same, (name, left[name], right[name])
    assert not list((tmp_path / "killed").glob("*.shards"))


def test_scores_of_a_recording_that_has_changed_are_not_taken(run_dir, sounds, tmp_path, monkeypatch):
    calls = []

    def once(self, waves, ids, description=None):
        if calls:
            raise KeyboardInterrupt
        calls.append(1)
        return np.full(len(waves), 1e9)

    monkeypatch.setattr(Scorer, "score_waves", once)
    with pytest.raises(KeyboardInterrupt):
        score(run_dir, sounds / "a_id_00.wav", tmp_path / "scores.csv")
    monkeypatch.undo()
    shutil.copy(sounds / "c_id_00.wav", sounds / "a_id_00.wav")
    (row,) = rows_of(score(run_dir, sounds / "a_id_00.wav", tmp_path / "scores.csv"))
    assert float(row["maximum"]) < 1e9


def test_scores_of_an_unfinished_recording_are_not_those_of_another_hop(run_dir, sounds, tmp_path, monkeypatch):
    real, limit = Scorer.score_waves, [3]

    def some(self, waves, ids, description=None):
        limit[0] -= 1
        if limit[0] < 0:
            raise KeyboardInterrupt
        return real(self, waves, ids, description)

    monkeypatch.setattr(Scorer, "score_waves", some)
    with pytest.raises(KeyboardInterrupt):
        score(run_dir, sounds / "a_id_00.wav", tmp_path / "a.csv", hop=0.125)
    assert list((tmp_path / "a.csv.shards").glob("*.scores"))
    monkeypatch.undo()
    for name in ("a", "fresh"):
        score(run_dir, sounds / "a_id_00.wav", tmp_path / f"{name}.csv", hop=0.25)
    assert (tmp_path / "a-windows.csv").read_text() == (tmp_path / "fresh-windows.csv").read_text()


def test_labels_of_equal_names_are_told_apart_and_those_of_before_are_gone(run_dir, sounds, tmp_path):
    names = ["d1/x.wav", "d2/x.wav", "d3/x.wav", f"{'長' * 80}.wav"]
    for name in names:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(sounds / "a_id_00.wav", tmp_path / "in" / name)
    (tmp_path / "out" / "labels").mkdir(parents=True)
    (tmp_path / "out" / "labels" / "mine.txt").write_text("not ours")
    for kind, source in (
        ("raven", tmp_path / "in"),
        ("audacity", tmp_path / "in"),
        ("audacity", tmp_path / "in" / "d2"),
    ):
        score(run_dir, source, tmp_path / "out" / "scores.csv", labels=kind, machine_id="id_00")
        listed = rows_of(tmp_path / "out" / "labels" / "labels.csv")
        found = {path.name for path in (tmp_path / "out" / "labels").iterdir()} - {"labels.csv", "mine.txt"}
        assert found == {row["labels"] for row in listed}
        assert len(found) == len(listed) == (1 if source.name == "d2" else 4)
    assert (tmp_path / "out" / "labels" / "mine.txt").read_text() == "not ours"


def test_parts_and_other_hops_are_kept_apart(run_dir, sounds, tmp_path, monkeypatch):
    score(run_dir, sounds, tmp_path / "scores-0-of-2.csv", part="0/2")
    assert len(rows_of(tmp_path / "scores-0-of-2.csv")) == 2
    assert {row["file"] for row in rows_of(tmp_path / "windows-0-of-2.csv")} == {
        str(sounds / name) for name in ("a_id_00.wav", "b_id_02.wav")
    }
    monkeypatch.setattr("mimii_pl.scoring.bulk.files._join_windows", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        score(run_dir, sounds, tmp_path / "scores.csv")
    with pytest.raises(InputError, match=r"of a different scoring \(changed: windows\)"):
        score(run_dir, sounds, tmp_path / "scores.csv", hop=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hop": 0.6}, "hop=0.6: should be above 0 s and at most 0.5 s"),
        ({"labels": "excel"}, "labels=excel: should be one of: audacity, raven"),
        ({"members": True}, "members=true is not possible with windows=true"),
        ({"windows": False}, "hop= and labels= are options of windows=true"),
    ],
)
def test_wrong_options_are_explained_and_leave_nothing(run_dir, sounds, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        score(run_dir, sounds, tmp_path / "scores.csv", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["sounds"]


def test_without_windows_the_rest_is_named(run_dir, sounds, tmp_path, caplog):
    score(run_dir, sounds, tmp_path / "scores.csv", windows=False, hop=None)
    assert "windows=true scores them in full" in caplog.text


def test_names_of_further_files(tmp_path):
    assert beside(tmp_path / "scores-1-of-4.csv", "windows", ".csv").name == "windows-1-of-4.csv"
    assert beside(tmp_path / "night.csv", "timeline", ".html").name == "night-timeline.html"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # sockets of Ray
def test_ray_gives_the_same_windows(run_dir, sounds, tmp_path):
    with ray_cluster():
        score(run_dir, sounds, tmp_path / "ray" / "scores.csv", engine="ray", workers=1)
    score(run_dir, sounds, tmp_path / "plain" / "scores.csv")
    one, other = (rows_of(tmp_path / engine / "windows.csv") for engine in ("ray", "plain"))
    assert [row["file"] for row in one] == [row["file"] for row in other]
    assert [float(row["score"]) for row in one] == pytest.approx([float(row["score"]) for row in other], rel=1e-5)
