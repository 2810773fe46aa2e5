"""Runs that are continued, copied, moved, or written by two processes: nothing is lost and nothing is mixed."""

import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from support import world
from support.cli import mimii, warm_context
from support.shut import shut

from mimii_pl.core.config import compose
from mimii_pl.core.errors import InputError
from mimii_pl.core.run_dir import find_run, read_facts, write_facts
from mimii_pl.core.run_lock import BusyError, locked
from mimii_pl.core.stored_config import read_config
from mimii_pl.rerun import decide, rescore, resumed
from mimii_pl.run import run
from mimii_pl.scoring.scores import read_scores
from mimii_pl.threshold import Thresholds

RESULTS = ("scores.csv", "results.csv", "thresholds.json", "history.csv")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A world, and a run on it that was killed after two of four epochs beside one that was not."""
    folder = tmp_path_factory.mktemp("continue")
    root = world.write(folder / "world", train=8, test=3, seconds=1.0)
    run(world.configured(root, *OVERRIDES, "report=brief"), folder / "whole")
    killed = warm_context().Process(target=_train_and_die, args=(root, folder / "killed"))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    return folder


OVERRIDES = ("model=dense_ae", "backend=gmm", "training.epochs=4", "threads=1")


def _train_and_die(root, run_dir):
    from mimii_pl.core.callbacks import Stopwatch

    before = Stopwatch.on_train_epoch_end

    def die_in_the_third_epoch(self, trainer, pl_module):
        if trainer.current_epoch == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        before(self, trainer, pl_module)

    Stopwatch.on_train_epoch_end = die_in_the_third_epoch
    run(world.configured(root, *OVERRIDES), run_dir)


def contents(run_dir):
    return {name: (run_dir / name).read_bytes() for name in RESULTS}


def snapshot(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["copied", "moved"])
def test_a_run_goes_on_where_its_directory_is(way, folder, tmp_path):
    place = tmp_path / "elsewhere" / "run"
    shutil.copytree(folder / "killed", place)
    source = folder / "killed"
    if way == "moved":
        source = source.rename(folder / "gone")
    before = snapshot(source)
    try:
        run(*resumed(str(place), []))
    finally:
        if way == "moved":
            source.rename(folder / "killed")
    assert contents(place) == contents(folder / "whole")
    assert {path.name: time_ for path, time_ in snapshot(folder / "killed").items()} == {
        path.name: time_ for path, time_ in before.items()
    }


@pytest.mark.slow
def test_a_run_in_a_directory_of_any_name_goes_on(folder, tmp_path):
    names = "Ö 风=,()[1]{1}#;'\"!&$y\\*@: ~", "run=1"
    for name, words in zip(names, (["train", f"resume={names[0]}"], ["resume", "./run=1"]), strict=True):
        place = shutil.copytree(folder / "killed", tmp_path / name)
        data = shutil.copytree(folder / "world", tmp_path / f"Welt, {name}")
        done = mimii(*words, f"dataset.root={data}", "dataset.cache_dir=ca (che)", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        stored = read_config(place)
        assert (stored.dataset.root, stored.dataset.cache_dir) == (str(data), "ca (che)")
        assert contents(place)["history.csv"] == contents(folder / "whole")["history.csv"]


@pytest.mark.slow
def test_a_copy_is_a_run_of_its_own_in_mlflow(folder, tmp_path):
    source = shutil.copytree(folder / "killed", tmp_path / "source")
    write_facts(source, run_dir=str(source), mlflow_run_id="0" * 32)
    copy = shutil.copytree(source, tmp_path / "copy")
    resumed(str(copy), [])
    assert "mlflow_run_id" not in read_facts(copy)
    moved = source.rename(tmp_path / "moved")
    resumed(str(moved), [])
    assert read_facts(moved)["mlflow_run_id"] == "0" * 32


@pytest.mark.slow
def test_a_killed_rescore_goes_on_as_a_rescore(folder, tmp_path):
    options = [f"run={folder / 'whole'}", "backend=knn", "logger=none", "efficiency.seconds=0"]
    rescore(compose(options, "command/rescore"), tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    for name in (*RESULTS[:3], "backend.npz", "report.html"):
        (tmp_path / "killed" / name).unlink()
    write_facts(tmp_path / "killed", status="running", digests=None, sensitivity=None, objective=None)
    before = snapshot(folder / "whole")
    run(*resumed(str(tmp_path / "killed"), []))
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert snapshot(folder / "whole") == before
    assert read_config(tmp_path / "killed").trainer.callbacks[0].path == str(tmp_path / "killed" / "history.csv")


@pytest.mark.slow
@pytest.mark.parametrize("left", ["whole", "damaged"])
def test_what_a_killed_evaluation_left_is_not_used(left, folder, tmp_path):
    overrides = ["model=dense_ae", "backend=isolation_forest", "training.epochs=1", "threads=1"]
    cfg = world.configured(folder / "world", *overrides)
    run(cfg, tmp_path / "run")  # its back end scores every window: embeddings pooled for it are others
    known = contents(tmp_path / "run")
    stored = tmp_path / "run" / "backend.npz"
    stored.write_bytes(stored.read_bytes()[: -9 if left == "damaged" else None])
    write_facts(tmp_path / "run", status="running")
    run(*resumed(str(tmp_path / "run"), []))
    assert contents(tmp_path / "run") == known


@pytest.mark.slow
@pytest.mark.parametrize("change", ["changed", "gone", "cut", "new"])
def test_clips_that_changed_since_are_named_and_not_mixed(change, folder, tmp_path, caplog):
    root = shutil.copytree(folder / "world", tmp_path / "world")
    options = [f"dataset.root={root}", f"dataset.cache_dir={tmp_path / 'cache'}"]
    place = shutil.copytree(folder / "killed", tmp_path / "run")
    clip = root / "fan" / "train" / "normal_id_00_00000003.wav"
    if change == "changed":
        wave, rate = soundfile.read(clip)
        soundfile.write(clip, wave[::-1], rate, subtype="PCM_16")
    elif change == "gone":
        clip.unlink()
    elif change == "cut":
        clip.write_bytes(clip.read_bytes()[:9000])
    else:
        world_clip = world.chord(np.random.default_rng(5), 0, anomalous=False, seconds=1.0)
        soundfile.write(clip.with_name("normal_id_00_00000077.wav"), world_clip, 16000, subtype="PCM_16")
    before = snapshot(place / "checkpoints")
    named = "00000077" if change == "new" else "normal_id_00_00000003"
    with pytest.raises(InputError, match=rf"trained on other clips .*{named}"):
        run(*resumed(str(place), options))
    assert snapshot(place / "checkpoints") == before
    whole = shutil.copytree(folder / "whole", tmp_path / "whole")
    text = (whole / "config.yaml").read_text().replace(str(folder / "world"), str(root))
    (whole / "config.yaml").write_text(text.replace(str(folder / "cache"), str(tmp_path / "cache")))
    rescore(compose([f"run={whole}", "backend=knn", "logger=none"], "command/rescore"), tmp_path / "again")
    assert "other clips than its back end" in caplog.text
    assert named in caplog.text


@pytest.mark.slow
def test_renamed_clips_are_the_same_clips(folder, tmp_path):
    root = shutil.copytree(folder / "world", tmp_path / "moved")
    place = shutil.copytree(folder / "killed", tmp_path / "run")
    run(*resumed(str(place), [f"dataset.root={root}", f"dataset.cache_dir={tmp_path / 'cache'}"]))
    assert read_facts(place)["status"] == "finished"


def test_a_second_process_is_kept_out_and_told_who_writes(tmp_path):
    cfg = world.configured(tmp_path / "world", "model=dense_ae")
    with locked(tmp_path):
        pass
    assert not (tmp_path / ".lock.holder").exists()
    with locked(tmp_path), pytest.raises(BusyError, match=rf"is being written by process {os.getpid()} on .*, since"):
        run(cfg, tmp_path)


@pytest.mark.slow
def test_a_run_that_is_being_trained_is_not_resumed(folder, tmp_path):
    place = shutil.copytree(folder / "killed", tmp_path / "run")
    with locked(place):
        done = mimii("resume", f"run={place}", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {place} is being written by process {os.getpid()}")
    assert read_facts(place)["status"] == "running"


@pytest.mark.slow
def test_runs_begun_at_the_same_moment_have_folders_of_their_own(folder, tmp_path):
    options = ["logger=none", "trainer=smoke", "report=brief", "efficiency.seconds=0", "threads=1"]
    options += [f"dataset.root={folder / 'world'}", f"dataset.cache_dir={folder / 'cache'}", "model=dense_ae"]
    command = [sys.executable, "-m", "mimii_pl", "train", *options]
    processes = [
        subprocess.Popen([*command, f"seed={seed}"], cwd=tmp_path, stdout=subprocess.DEVNULL) for seed in (0, 1)
    ]
    assert [process.wait() for process in processes] == [0, 0]
    seeds = [read_config(path.parent).seed for path in (tmp_path / "outputs").rglob("run.json")]
    assert sorted(seeds) == [0, 1]


def test_a_run_that_was_killed_before_training_is_started_again(tmp_path):
    (tmp_path / "run.log").write_text("")
    with pytest.raises(InputError, match="start the same command again"):
        find_run(tmp_path, finished=False)


def _decide_and_die(run_dir, threshold, fatal):
    """Choose thresholds again, and be killed at the file operation of that number."""
    operations = 0

    def counted(function):
        def call(*args, **kwargs):
            nonlocal operations
            operations += 1
            if operations == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    from mimii_pl.core import files

    for name in ("replace", "rename", "fsync", "link"):
        setattr(os, name, counted(getattr(os, name)))
    files._exchange = counted(files._exchange)
    decide(compose([f"run={run_dir}", f"threshold={threshold}", "report=brief"], "command/decide"))


@pytest.mark.slow
def test_a_killed_decide_leaves_all_as_it_was_or_all_new(folder, tmp_path):
    """Killed at every tenth file operation; the last runs to its end."""
    run_dir = shutil.copytree(folder / "whole", tmp_path / "run")
    rules, outcomes = ("gamma", "percentile"), set()
    for round_, fatal in enumerate(range(1, 400, 10)):
        process = warm_context().Process(target=_decide_and_die, args=(run_dir, rules[round_ % 2], fatal))
        process.start()
        process.join()
        state = Thresholds.read(run_dir / "thresholds.json", read_facts(run_dir)["labels"])
        clips = read_scores(run_dir / "scores.csv")
        ids = np.array([state.number(f"{clip.machine}/{clip.id}") for clip in clips])
        decisions = state.decide(np.array([clip.score for clip in clips]), ids)
        assert [clip.decision for clip in clips] == decisions.tolist()
        chosen = read_config(run_dir).choices.threshold
        assert state.origin.startswith(chosen)
        assert read_facts(run_dir)["threshold"] == state.origin
        assert state.origin in (run_dir / "report.html").read_text()
        outcomes.add(process.exitcode)
        if process.exitcode == 0:
            break
    assert outcomes == {-signal.SIGKILL, 0}
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.slow
def test_decide_records_before_another_process_may_write(folder, tmp_path, monkeypatch):
    run_dir = shutil.copytree(folder / "whole", tmp_path / "run")
    write_facts(run_dir, mlflow_key="key")
    recorded = []

    class Recorder:
        def finish(self, results, criteria):
            with pytest.raises(BusyError), locked(run_dir):
                pass
            recorded.append(read_facts(run_dir)["threshold"])

    monkeypatch.setattr("mimii_pl.rerun.recorder_of", lambda *_, **__: Recorder())
    decide(compose([f"run={run_dir}", "threshold=gamma", "report=brief"], "command/decide"))
    assert [origin.split()[0] for origin in recorded] == ["gamma"]
    with locked(run_dir):
        pass


@pytest.mark.slow
def test_a_disk_that_is_full_or_read_only_is_one_line(folder, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("this test mounts a small file system, which needs root")
    options = ["train", "model=dense_ae", "trainer=smoke", f"dataset.root={folder / 'world'}", "efficiency.seconds=0"]
    options += [f"dataset.cache_dir={folder / 'cache'}"]
    try:
        for change in ([f"hydra.run.dir={disk / 'run'}", "logger=none"], [f"dataset.cache_dir={disk}", "logger=none"]):
            done = mimii(*options, *change, cwd=tmp_path)
            assert done.returncode == 1
            assert done.stderr.startswith("error: ")
            assert "Traceback" not in done.stdout + done.stderr
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        for change in ([f"hydra.run.dir={disk / 'other'}", "logger=none"], [f"dataset.cache_dir={disk / 'cache'}"]):
            done = mimii(*options, *change, cwd=tmp_path)
            assert done.returncode == 1
            assert done.stderr.startswith("error: ")
            assert "Read-only file system" in done.stderr
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("name", ["", "checkpoints", "challenge", "report.html", "scores.csv", "checkpoints/best.ckpt"])
def test_a_run_that_could_not_be_written_is_named_before_it_decodes(folder, tmp_path, monkeypatch, name):
    monkeypatch.setattr("mimii_pl.run.build_data", None)
    run_dir = tmp_path / "run"
    for path in ("checkpoints", "challenge"):
        (run_dir / path).mkdir(parents=True)
    for path in ("report.html", "scores.csv", "checkpoints/best.ckpt"):
        (run_dir / path).touch()
    cfg, message = (
        world.configured(folder / "world", *OVERRIDES),
        rf"^{run_dir / name} cannot be written: .*or set hydra\.",
    )
    with shut(run_dir / name):
        with pytest.raises(InputError, match=message + r"run\.dir=<another folder>$"):
            run(cfg, run_dir)
        with pytest.raises(InputError, match=message + r"sweep\.dir=<another folder>$"):
            run(cfg, run_dir, sweep_dir=tmp_path)


def test_a_run_that_cannot_be_resumed_where_it_is_says_so(folder, tmp_path):
    shutil.copytree(folder / "killed", tmp_path / "run")
    with (
        shut(tmp_path / "run" / "checkpoints"),
        pytest.raises(InputError, match=r"checkpoints cannot .*run=<a copy of"),
    ):
        resumed(str(tmp_path / "run"), [])


def test_what_hydra_itself_cannot_write_is_one_line_with_the_option(folder, tmp_path):
    closed, options = tmp_path / "shut", ["train", "trainer=smoke", f"dataset.root={folder / 'world'}", "logger=none"]
    closed.mkdir()
    with shut(closed):
        for change in ([f"hydra.run.dir={closed / 'run'}"], ["-m", "seed=0", f"hydra.sweep.dir={closed / 'sweep'}"]):
            done = mimii(*options, *change, cwd=tmp_path)
            assert done.returncode == 1
            assert len(done.stderr.splitlines()) == 1
            assert done.stderr.startswith(f"error: {closed}/")
            assert change[-1].partition("=")[0] in done.stderr.partition("or set ")[2]


def test_checkpoints_that_do_not_fit_on_the_disk_are_named_before_the_first_epoch(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("mimii_pl.run.train_detector", None)
    monkeypatch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(2**20, 2**20 - 2**16, 2**16))
    with pytest.raises(
        InputError, match=r"checkpoints: the disk is too small: \d+\.\d MiB needed, 0.1 MiB free\. .*run.dir="
    ):
        run(world.configured(folder / "world", *OVERRIDES), tmp_path / "run")
