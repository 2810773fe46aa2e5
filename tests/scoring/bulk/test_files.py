"""Scoring of lists of any length: what is read, that nothing is lost, repeated or kept in memory."""

import csv
import gc
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from filelock import FileLock
from support import world
from support.shut import shut

import mimii_pl
from mimii_pl.core.errors import InputError
from mimii_pl.core.files import write_text
from mimii_pl.core.run_dir import run_fingerprint, write_facts
from mimii_pl.run import run
from mimii_pl.scoring import load_run
from mimii_pl.scoring.bulk.recordings import Recording, recordings
from mimii_pl.scoring.scorer import Scorer
from mimii_pl.tracking.load import score as score_files

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return world.write(tmp_path_factory.mktemp("many") / "world", train=10, test=6, seconds=0.4)


@pytest.fixture(scope="module")
def runs(root, tmp_path_factory):
    """A detector and a classifier."""
    found = {}
    for name, options in {
        "scores": ["model=simple_ae", "training.epochs=2"],
        "classes": ["task=classification", "protocol.folds=4", "model=simple_classifier", "training.epochs=2"],
    }.items():
        found[name] = tmp_path_factory.mktemp(name)
        run(world.configured(root, *options, "dataset.batch_size=8"), found[name])
    return found


@pytest.fixture
def many(root, tmp_path):
    """A list of 60 recordings: the same files under many names, one of them no sound and one missing."""
    files = sorted((root / "fan" / "test").iterdir())
    folder = tmp_path / "sounds"
    folder.mkdir()
    names = []
    for number, file in zip(range(60), itertools.cycle(files), strict=False):
        names.append(f"{number:02d}_{file.name}")
        (folder / names[-1]).symlink_to(file)
    (folder / names[20]).unlink()
    (folder / names[20]).write_text("no sound")
    (folder / names[33]).unlink()
    source = tmp_path / "list.txt"
    source.write_text("".join(f"sounds/{name}\n" for name in names))
    return source


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def score(run_dir, source, output, **options):
    return score_files(run=str(run_dir), input=str(source), output=output and str(output), device="cpu", **options)


# --- what is to be scored --------------------------------------------------------------------------------------------
def test_a_folder_is_listed_in_the_order_of_names(tmp_path):
    for name in ("b/2.wav", "b/10.FLAC", "a.wav", "b.wav", "c/notes.txt", "c/d/x.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [Path(one.path) for one in recordings(tmp_path)]
    assert found == sorted(path for path in tmp_path.rglob("*") if path.suffix.lower() in (".wav", ".flac"))
    assert len(found) == 5


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.txt", b"a.wav\n\nsub/b c.wav\r\n/c.wav"),
        ("list.csv", b"path,machine_id\na.wav,\nsub/b c.wav,\n\n/c.wav\n"),
        ("list.csv", b"\xef\xbb\xbfnumber;Path;label\n1;a.wav;x\n2;sub/b c.wav;\n3;/c.wav;y\n"),
        ("list.csv", b"File_Name;Section\na.wav;\nsub/b c.wav;\n/c.wav;\n"),
        ("list.tsv", b'file\tscore\na.wav\t1\n"sub/b c.wav"\t2\n/c.wav\t3\n'),
    ],
)
def test_lists_of_several_kinds_say_the_same(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert list(recordings(tmp_path / name)) == [
        Recording(str(tmp_path / "a.wav")),
        Recording(str(tmp_path / "sub/b c.wav")),
        Recording("/c.wav"),
    ]


@pytest.mark.parametrize(
    "content",
    [
        "path;note\r\nL\u00fcfter.wav;x\r\n".encode("utf-16"),
        b"path;note\rL\xc3\xbcfter.wav;x\r",
        b"sep=;\r\npath;note\r\nL\xc3\xbcfter.wav;x\r\n",
    ],
    ids=["UTF-16", "old Macintosh", "Excel"],
)
def test_tables_of_other_programs(tmp_path, content):
    (tmp_path / "list.csv").write_bytes(content)
    assert list(recordings(tmp_path / "list.csv")) == [Recording(str(tmp_path / "L\u00fcfter.wav"))]


@pytest.mark.skipif(sys.platform != "linux", reason="names are not limited so there")
def test_folders_are_walked_through_links_but_not_in_circles(tmp_path, monkeypatch, caplog):
    for name in ("a/1.wav", "elsewhere/2.wav", "shut/3.wav", "a/.hidden.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "a" / "circle").symlink_to(tmp_path)
    (tmp_path / "a" / "self.wav").symlink_to("self.wav")
    scan = os.scandir

    def shut(folder):  # whoever runs the tests may enter any folder
        if str(folder).endswith("shut"):
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr("mimii_pl.dataset._files.os.scandir", shut)
    found = [str(Path(one.path).relative_to(tmp_path)) for one in recordings(tmp_path)]
    assert found == ["a/1.wav", "a/link/2.wav", "a/self.wav", "elsewhere/2.wav"]
    assert f"skipped {tmp_path / 'shut'}: Permission denied" in caplog.text
    assert f"skipped {tmp_path / 'a' / 'circle'}: a link to a folder above it" in caplog.text


def test_a_missing_input_is_asked_for():
    with pytest.raises(InputError, match="input is missing: set input="):
        list(recordings(Path("???")))  # as OmegaConf writes a value that is missing


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.txt", None, "list.txt: there is no such file or folder"),
        ("list.txt", b"\n \n", "it contains no path"),
        ("list.txt", b"a.wav\nRIFF\0\0\0\n", "line 2: this is not text"),
        ("list.txt", b"a.wav\n" + b"b" * 70_000, "line 2: this is not text with one path per line"),
        ("list.txt", b"a.wav\n" + b"b" * 2**21, "line 2: this is longer than 1048576 characters"),
        ("list.txt", b"\xff\xfea\0\n\0\0\xd8", "line 2: this is not UTF-16"),
        ("list.csv", b"path,note\na.wav,x\nb.wav," + b"y" * 131_073, "line 3: not a csv: field larger than"),
        ("list.csv", b"path,note\na.wav,x\nb\rc.wav,y\n", "line 3: not a csv: a carriage return in a cell"),
        ("list.csv", b"pa\rth\na.wav\n", "line 1: not a csv: a carriage return in a cell"),
        ("list.csv", b"RIFF\0\0\0", "line 1: this is not text"),
        ("list.csv", b"", "there is no column `path`; the columns are: none"),
        ("list.csv", b"a.wav\nb.wav\n", "there is no column `path`; the columns are: a.wav"),
        ("list.csv", b"path,machine_id\n", "it contains no path"),
        ("list.csv", b"path,machine_id\na.wav,\n,id_00\n", "line 3: the path is empty"),
        ("folder", b"", "it contains no wav or flac file"),
    ],
)
def test_a_list_that_is_none_is_explained_and_leaves_nothing(runs, tmp_path, name, content, message):
    if name == "folder":
        (tmp_path / name).mkdir()
    elif content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        score(runs["scores"], tmp_path / name, tmp_path / "out.csv")
    assert not list(tmp_path.glob("out.csv*"))


def test_the_machine_id_is_that_of_the_list_or_of_the_name(runs, root, tmp_path):
    file = sorted((root / "fan" / "test").glob("*id_00*"))[0]
    lines = [f"{file},{one}" for one in ("", "id_02", "fan/id_00", "id_99")]
    (tmp_path / "list.csv").write_text("\n".join(["path,machine_id", *lines]))
    rows = rows_of(score(runs["scores"], tmp_path / "list.csv", tmp_path / "out.csv"))
    assert [row["machine_id"] for row in rows] == ["fan/id_00", "fan/id_02", "fan/id_00", "id_99"]
    assert "'id_99' was not seen in training" in rows[3]["skipped"]
    rows = rows_of(score(runs["scores"], tmp_path / "list.csv", tmp_path / "out.csv", machine_id="id_02"))
    assert {row["machine_id"] for row in rows} == {"fan/id_02"}


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text there")
def test_a_name_that_is_not_utf8_is_a_name(runs, root, tmp_path):
    name = os.fsdecode(b"caf\xe9_id_00.wav")
    shutil.copy(sorted((root / "fan" / "test").iterdir())[0], tmp_path / name)
    (tmp_path / "list.txt").write_bytes(os.fsencode(name) + b"\n")
    for source in (tmp_path, tmp_path / "list.txt"):
        score(runs["scores"], source, tmp_path / "out.csv")
        assert os.fsencode(tmp_path / name) + b",fan/id_00," in (tmp_path / "out.csv").read_bytes()


STRANGE = ["=1+1_id_00.wav", "-2+3_id_00.wav", "+a_id_00.wav", "@b_id_00.wav", "\tc_id_00.wav", "\rd\r_id_00.wav"]


@pytest.mark.skipif(sys.platform != "linux", reason="such names are not allowed there")
@pytest.mark.parametrize("listed", [False, True])
def test_no_cell_is_run_by_a_spreadsheet(runs, root, tmp_path, monkeypatch, capsys, listed):
    monkeypatch.chdir(tmp_path)
    for name in STRANGE:
        shutil.copy(sorted((root / "fan" / "test").iterdir())[0], name)
    os.mkfifo("pipe_id_00.wav")
    Path("list.txt").write_bytes("".join(f"{name}\n" for name in (*STRANGE, "pipe_id_00.wav")).encode())
    table = score(runs["scores"], "list.txt" if listed else ".", "out.csv", shard_size=2)
    rows = rows_of(table)
    assert sorted(row["file"] for row in rows) == sorted([*(f"./{name}" for name in STRANGE), "pipe_id_00.wav"])
    assert all(os.path.exists(row["file"]) for row in rows)
    assert [row["file"] for row in rows if row["skipped"]] == ["pipe_id_00.wav"]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows for cell in list(row.values())[:2])
    again = score(runs["scores"], table, tmp_path / "again.csv")
    assert [Path(row["file"]).name for row in rows_of(again)] == [Path(row["file"]).name for row in rows]
    assert "\r" not in capsys.readouterr().out


def test_an_unknown_machine_id_that_is_a_formula_is_named_in_the_reason_only(runs, root, tmp_path):
    file = sorted((root / "fan" / "test").iterdir())[0]
    (tmp_path / "list.csv").write_text(f"path,machine_id\n{file},=1+1\n")
    (row,) = rows_of(score(runs["scores"], tmp_path / "list.csv", tmp_path / "out.csv"))
    assert row["machine_id"] == ""
    assert row["skipped"].startswith("machine ID '=1+1' was not seen")


# --- what comes of it ------------------------------------------------------------------------------------------------
def test_scores_are_those_of_the_scorer_and_faults_are_named(runs, many, tmp_path, capsys):
    rows = rows_of(score(runs["scores"], many, tmp_path / "out.csv", shard_size=7))
    paths = [str(many.parent / line) for line in many.read_text().splitlines()]
    assert [row["file"] for row in rows] == paths
    assert "not readable as audio" in rows[20]["skipped"]
    assert rows[33]["skipped"] == "there is no such file"
    good = [row for number, row in enumerate(rows) if number not in (20, 33)]
    scorer = mimii_pl.load(runs["scores"], device="cpu")
    found = scorer.decide([row["file"] for row in good], machine_id=[row["machine_id"] for row in good])
    np.testing.assert_allclose([float(row["score"]) for row in good], found.score, rtol=1e-5)
    assert [row["decision"] for row in good] == [str(int(one)) for one in found.anomalous]
    assert [row["p_value"] for row in good] == [f"{value:.4g}" for value in found.p_value]
    shown = capsys.readouterr().out
    assert "... and 38 more" in shown
    assert shown.count("│ ") >= 20
    assert "skipped " + paths[33] in shown
    for alarms in map(scorer.thresholds.false_alarms, ("fan/id_00", "fan/id_02")):
        assert f": {alarms.per_day(0.4)}; the threshold is above {alarms.above} of {alarms.held_out}" in shown
    highest = max(good, key=lambda row: float(row["score"]))
    assert Path(highest["file"]).name[:20] in shown.split("━")[-1].splitlines()[1]
    assert list(tmp_path.glob("out.csv*")) == [tmp_path / "out.csv"]


def test_what_is_heard_of_a_longer_recording_is_said(runs, tmp_path, capsys, caplog):
    noise = np.random.default_rng(0).integers(-9999, 9999, 16000).astype(np.int16)  # 1 s; clips have 0.4 s
    folder = tmp_path / "sounds"
    folder.mkdir()
    for name, samples in (("all", 6400), ("short", 3000), ("nearly", 6410), ("long", 16000), ("double", 12800)):
        soundfile.write(folder / f"{name}_id_00.wav", noise[:samples], 16000)
    soundfile.write(folder / "other_id_00.flac", np.tile(noise, 9), 48000)  # 3 s
    (folder / "none_id_00.wav").write_text("no sound")
    heard = {"all": "1", "short": "1", "nearly": "1", "long": "0.4", "double": "0.5", "other": "0.133333", "none": ""}
    for kind, run_dir in runs.items():
        caplog.clear()
        rows = rows_of(score(run_dir, folder, tmp_path / f"{kind}.csv", shard_size=2))
        assert list(rows[0])[-2:] == ["heard", "skipped"]
        assert {Path(row["file"]).name.split("_")[0]: row["heard"] for row in rows} == heard
        shown = capsys.readouterr().out
        assert all(part in shown for part in ("0.4 of 1.0 s", "0.4 of 0.8 s", "0.4 of 3.0 s", "┃ heard"))
        assert "3 recordings are longer than a clip: 1.2 s of 4.8 s were heard, the rest is not scored" in caplog.text
    (folder / "list.txt").write_text("all_id_00.wav\nshort_id_00.wav\n")
    caplog.clear()
    score(runs["scores"], folder / "list.txt", tmp_path / "out.csv")
    assert "┃ heard" not in capsys.readouterr().out
    assert not caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_memory_follows_the_clip_not_the_recording(runs, tmp_path, kind):
    """200 recordings of 5 minutes, of which 16 are decoded ahead: 150 MB if they were kept."""
    noise = np.random.default_rng(0).integers(-9999, 9999, 300 * 16000).astype(np.int16)
    soundfile.write(tmp_path / f"long_id_00.{kind}", noise, 16000)
    del noise
    (tmp_path / "list.txt").write_text(f"long_id_00.{kind}\n" * 200)
    score(runs["scores"], tmp_path / "list.txt", tmp_path / "warm.csv")
    tracemalloc.start()
    rows = rows_of(score(runs["scores"], tmp_path / "list.txt", tmp_path / "out.csv"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert {row["heard"] for row in rows} == {"0.00133333"}
    assert peak < 20e6


@pytest.mark.slow
def test_parts_are_scored_apart_and_make_the_whole(runs, many, tmp_path, monkeypatch):
    whole = rows_of(score(runs["scores"], many, tmp_path / "out.csv"))
    monkeypatch.chdir(tmp_path)
    parts = [score_files(run=str(runs["scores"]), input=str(many), part=f"{k}/7", device="cpu") for k in range(7)]
    assert parts[2] == Path("scores-2-of-7.csv")
    rows = [row for part in parts for row in rows_of(part)]
    assert [row["file"] for row in rows] == [row["file"] for row in whole]
    np.testing.assert_allclose(*([float(row["score"] or 0) for row in some] for some in (rows, whole)), rtol=1e-5)
    more = score_files(run=str(runs["scores"]), input=str(many), part="0/99", device="cpu")
    assert more.read_text() == "file,machine_id,score,higher_than,p_value,decision,heard,skipped\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"part": "4/4"}, "part=4/4: give k/n"),
        ({"part": "half"}, "part=half"),
        ({"shard_size": 0}, "shard_size=0"),
        ({"engine": "spark"}, "threads, ray"),
        ({"workers": 0}, "workers=0"),
    ],
)
def test_options_that_make_no_sense_are_explained(runs, many, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        score(runs["scores"], many, tmp_path / "out.csv", **options)


def test_a_run_keeps_its_own_scores(runs, many, monkeypatch):
    monkeypatch.chdir(runs["scores"])
    before = Path("scores.csv").read_bytes()
    for output in (None, "results.csv", "../" + runs["scores"].name + "/clips.csv"):
        with pytest.raises(InputError, match=r"a run directory has a \w+\.csv of its own"):
            score(".", many, output)
    assert Path("scores.csv").read_bytes() == before


def test_a_folder_is_no_csv(runs, many, tmp_path):
    with pytest.raises(InputError, match="is a folder: name the CSV to write"):
        score(runs["scores"], many, tmp_path)


def test_a_csv_that_cannot_be_written_is_named_before_scoring(runs, many, tmp_path, monkeypatch):
    monkeypatch.setattr(Scorer, "predict_waves", None)
    monkeypatch.setattr("mimii_pl.scoring.bulk.shards.write_recordings", None)
    folder, old, shards = tmp_path / "shut", tmp_path / "old.csv", tmp_path / "new.csv.shards"
    for path in (folder, shards):
        path.mkdir()
    old.write_text("kept")
    for closed, output in ((folder, folder / "out.csv"), (old, old), (shards, tmp_path / "new.csv")):
        message = rf"{closed} cannot be written: .*Allow writing there, or set output=<another file>"
        with shut(closed), pytest.raises(InputError, match=message):
            score(runs["scores"], many, output)
    with pytest.raises(InputError, match=r"old.csv cannot be written: File exists.*or set output="):
        score(runs["scores"], many, old / "out.csv")
    assert old.read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "list.txt",
        "new.csv.shards",
        "old.csv",
        "shut",
        "sounds",
    ]


def test_a_score_that_is_no_number_is_no_score(runs, many, tmp_path, monkeypatch):
    judge = Scorer.predict_waves
    monkeypatch.setattr(Scorer, "predict_waves", lambda *given: judge(*given) * np.nan)
    for kind, run_dir in runs.items():
        rows = rows_of(score(run_dir, many, tmp_path / f"{kind}.csv"))
        assert all(row["skipped"] for row in rows)
        assert "is not a number" in rows[0]["skipped"]
        assert not any(row.get("score") or row.get("taken_for") for row in rows)


def test_a_recording_that_fails_in_its_own_way_costs_itself_only(runs, many, tmp_path, monkeypatch):
    """A share that hangs up, a file that takes all memory."""
    read, lines = Scorer.read, many.read_text().splitlines()
    faults = {
        str(many.parent / lines[3]): OSError(116, "Stale file handle"),
        str(many.parent / lines[8]): MemoryError(),
    }

    def faulty(scorer, path):
        if str(path) in faults:
            raise faults[str(path)]
        return read(scorer, path)

    monkeypatch.setattr(Scorer, "read", faulty)
    rows = rows_of(score(runs["scores"], many, tmp_path / "out.csv"))
    assert "Stale file handle" in rows[3]["skipped"]
    assert "MemoryError" in rows[8]["skipped"]
    assert sum(bool(row["score"]) for row in rows) == 56


@pytest.mark.slow
def test_memory_does_not_grow_with_the_list(runs, tmp_path, monkeypatch):
    """Whatever is kept of a recording that cannot be used (its line, its row, its place) is kept of every other."""
    before = after = 0  # bytes when the run is loaded, which takes more than both lists: its peak does not count

    def load(*args, load_run=load_run.load_run, **options):
        nonlocal before, after
        before = tracemalloc.get_traced_memory()[0]
        scorer = load_run(*args, **options)
        tracemalloc.reset_peak()
        after = tracemalloc.get_traced_memory()[0]
        return scorer

    monkeypatch.setattr(load_run, "load_run", load)

    def peak(count):
        source = tmp_path / f"{count}.txt"
        source.write_text("".join(f"nothing/at/all/of_this_{number:08d}.wav\n" for number in range(count)))
        gc.collect()
        gc.disable()  # configurations that were read leave 0.5 MB of cycles, which are freed at any time
        tracemalloc.start()
        try:
            table = score(runs["scores"], source, tmp_path / "out.csv", shard_size=256)
            return before + tracemalloc.get_traced_memory()[1] - after
        finally:
            tracemalloc.stop()
            gc.enable()
            assert len(table.read_text().splitlines()) == count + 1

    peak(10)  # what is imported
    few = min(peak(500) for _ in range(2))
    # bytes: a line of the list has 43. Tried again, since the interpreter's table of interned names, which every path
    # passes through, is written anew at times (8 MB)
    assert any(peak(5000) - few < 4500 * 40 for _ in range(3))


# --- interrupted -----------------------------------------------------------------------------------------------------
@pytest.fixture
def interrupted(monkeypatch):
    """Scores until the fifth batch, as by Ctrl-C."""

    def begin(*given, **options):
        left = iter(range(4))

        def judge(scorer, waves, ids, judge=Scorer.predict_waves):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return judge(scorer, waves, ids)

        with monkeypatch.context() as patch:
            patch.setattr(Scorer, "predict_waves", judge)
            with pytest.raises(KeyboardInterrupt):
                score(*given, **options)

    return begin


@pytest.mark.parametrize("kind", ["scores", "classes"])
def test_an_interrupted_scoring_goes_on(runs, many, tmp_path, interrupted, monkeypatch, kind):
    whole = score(runs[kind], many, tmp_path / "whole.csv", shard_size=10)
    interrupted(runs[kind], many, tmp_path / "out.csv", shard_size=10)
    assert not (tmp_path / "out.csv").exists()
    done = sorted(path.name for path in (tmp_path / "out.csv.shards").glob("0*"))
    assert done == ["00000000.csv", "00000001.csv"]  # two batches each
    heard = []
    read = Scorer.read
    monkeypatch.setattr(Scorer, "read", lambda scorer, path: heard.append(path) or read(scorer, path))
    again = score(runs[kind], many, tmp_path / "out.csv", shard_size=10)
    assert sorted(heard) == sorted(many.parent / line for line in many.read_text().splitlines()[20:])
    assert again.read_bytes() == whole.read_bytes()


WAITING = """
import sys, time
from mimii_pl.__main__ import main
from mimii_pl.scoring.scorer import Scorer
stop, read = sys.argv.pop(1), Scorer.read
Scorer.read = lambda scorer, path: time.sleep(600) if str(path) == stop else read(scorer, path)
main()
"""


@pytest.mark.slow
def test_a_killed_scoring_goes_on(runs, many, tmp_path, caplog):
    """The process waits at a recording until it is killed."""
    whole = score(runs["scores"], many, tmp_path / "whole.csv", shard_size=10)
    stop = many.parent / many.read_text().splitlines()[45]
    options = [
        f"run={runs['scores']}",
        f"input={many}",
        f"output={tmp_path / 'out.csv'}",
        "device=cpu",
        "shard_size=10",
    ]
    command = [sys.executable, "-c", WAITING, str(stop), "score", *options]
    same = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}  # sums in the same order
    process = subprocess.Popen(command, env=same, start_new_session=True, stdout=subprocess.DEVNULL)
    shards, deadline = tmp_path / "out.csv.shards", time.monotonic() + 120
    while len(list(shards.glob("0*.csv"))) < 4 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    with pytest.raises(InputError, match="another process is scoring into it"):
        score(runs["scores"], many, tmp_path / "out.csv", shard_size=10)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out.csv").exists()
    assert len(list(shards.glob("0*.csv"))) == 4
    with caplog.at_level("INFO"):
        score(runs["scores"], many, tmp_path / "out.csv", shard_size=10)
    assert "resumed, 4 of 6 shards are finished" in caplog.text
    assert (tmp_path / "out.csv").read_bytes() == whole.read_bytes()
    assert not shards.exists()


def test_shards_of_another_scoring_are_kept_until_told(runs, many, tmp_path, interrupted):
    interrupted(runs["scores"], many, tmp_path / "out.csv", shard_size=10)
    lines = many.read_text().splitlines(keepends=True)
    shorter = tmp_path / "shorter.txt"
    shorter.write_text("".join(lines[5:]))
    changed = tmp_path / "changed"
    shutil.copytree(runs["scores"], changed)
    thresholds = json.loads((changed / "thresholds.json").read_text())
    write_text(changed / "thresholds.json", json.dumps({**thresholds, "origin": "chosen anew"}))
    for run_dir, source, options, reason in (
        (runs["scores"], shorter, {}, "list of recordings"),
        (runs["scores"], many, {"machine_id": "id_00"}, "machine_id"),
        (runs["scores"], many, {"part": "0/2"}, "part"),
        (runs["classes"], many, {}, "run"),
        (changed, many, {}, "run"),
    ):
        with pytest.raises(InputError, match=rf"2 finished shards of a different scoring \(changed: {reason}\)"):
            score(run_dir, source, tmp_path / "out.csv", **{"shard_size": 10, **options})
    assert len(list((tmp_path / "out.csv.shards").glob("0*.csv"))) == 2
    rows = rows_of(score(runs["scores"], shorter, tmp_path / "out.csv", shard_size=10, restart=True))
    assert len(rows) == 55
    assert not (tmp_path / "out.csv.shards").exists()


def test_shards_with_other_columns_are_not_mixed_in(runs, many, tmp_path, interrupted):
    interrupted(runs["scores"], many, tmp_path / "out.csv", shard_size=10)
    stored = tmp_path / "out.csv.shards" / "scoring.json"
    inputs = json.loads(stored.read_text())
    del inputs["format"]  # as a version without the column `heard` wrote it
    stored.write_text(json.dumps(inputs))
    with pytest.raises(InputError, match=r"2 finished shards of a different scoring \(changed: format\)"):
        score(runs["scores"], many, tmp_path / "out.csv", shard_size=10)


def test_a_damaged_shard_is_scored_again(runs, many, tmp_path, interrupted):
    whole = score(runs["scores"], many, tmp_path / "whole.csv", shard_size=10)
    interrupted(runs["scores"], many, tmp_path / "out.csv", shard_size=10)
    shard = tmp_path / "out.csv.shards" / "00000001.csv"
    shard.write_text("".join(shard.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(InputError, match=r"00000001\.csv was damaged and is removed"):
        score(runs["scores"], many, tmp_path / "out.csv", shard_size=10)
    again = score(runs["scores"], many, tmp_path / "out.csv", shard_size=10)
    assert again.read_bytes() == whole.read_bytes()


def test_a_csv_is_whole_or_what_it_was(runs, many, tmp_path, monkeypatch):
    (tmp_path / "out.csv").write_text("of yesterday")
    monkeypatch.setattr("mimii_pl.scoring.bulk.files.Summary.note", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        score(runs["scores"], many, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "of yesterday"


def test_two_processes_do_not_score_into_one_csv(runs, many, tmp_path):
    folder = tmp_path / "out.csv.shards"
    folder.mkdir()
    with FileLock(folder / "lock"), pytest.raises(InputError, match="another process is scoring into it"):
        score(runs["scores"], many, tmp_path / "out.csv")


def test_a_full_disk_is_named(runs, many, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    for place, message in (
        ("bulk.shards.write_rows", r"the disk is full.*the same command resumes"),  # in the middle
        ("bulk.shards.os.fsync", r"No space left on device\. Free some space, or set output="),  # from the beginning
    ):
        with monkeypatch.context() as patch:
            patch.setattr(f"mimii_pl.scoring.{place}", full)
            with pytest.raises(InputError, match=message):
                score(runs["scores"], many, tmp_path / "out.csv", shard_size=10)
    assert len(rows_of(score(runs["scores"], many, tmp_path / "out.csv", shard_size=10))) == 60


def test_a_copy_of_a_run_has_its_fingerprint(runs, tmp_path):
    shutil.copytree(runs["scores"], tmp_path / "copy")
    assert run_fingerprint(tmp_path / "copy") == run_fingerprint(runs["scores"])
    write_facts(tmp_path / "copy", samples=1)
    assert run_fingerprint(tmp_path / "copy") != run_fingerprint(runs["scores"])


def test_an_unfinished_run_is_explained(tmp_path):
    (tmp_path / "run.json").write_text('{"status": "running"}')
    with pytest.raises(InputError, match=r"is not finished: `mimii resume "):
        score(tmp_path, tmp_path, tmp_path / "out.csv")
