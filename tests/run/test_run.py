"""A whole run: what it leaves behind, that it resumes exactly, that its result scores as it did."""

import csv
import os
import signal
import subprocess
import sys
import time
from html import unescape

import numpy as np
import pytest
import pytorch_lightning as pl
import soundfile
import torch
from support import world

import mimii_pl
from mimii_pl.core.config import CONF, build
from mimii_pl.core.errors import InputError
from mimii_pl.core.freeze import open_stored
from mimii_pl.core.run_dir import read_facts, write_facts
from mimii_pl.report import cost
from mimii_pl.report.tables import number
from mimii_pl.rerun import resumed
from mimii_pl.run import build_detector, run
from mimii_pl.scoring.metrics import LEVEL
from mimii_pl.scoring.results import per_machine_id, read_results
from mimii_pl.scoring.sensitivity import read_sensitivity, sensitivity_of
from mimii_pl.training import STEP_HOOKS, STEPS_PER_BATCH, require_long_clips, shares_batches, step_macs

ROOT = CONF.parent


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return world.write(tmp_path_factory.mktemp("runs") / "world", train=10, test=4)


@pytest.fixture(scope="module")
def finished(root, tmp_path_factory):
    """A finished smoke run of each kind: own score, and a back end on normalised features; two know their cost."""
    runs = {}
    for name, overrides in {
        "complex_ssl": ["model=complex_ssl"],
        "dense_ae": ["model=dense_ae", "features.normalize=train"],
        "dense_ae_knn": ["model=dense_ae", "backend=knn", "efficiency.seconds=0.5"],
        "spectrum_lof": ["model=spectrum", "backend=lof", "efficiency.seconds=0.5"],
    }.items():
        runs[name] = tmp_path_factory.mktemp(name)
        run(world.configured(root, "trainer=smoke", "report=brief", *overrides), runs[name])
    return runs


def scores_of(run_dir):
    with open(run_dir / "scores.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_the_run_directory_holds_what_it_should(finished):
    for run_dir in finished.values():
        assert {
            "config.yaml",
            "run.json",
            "scores.csv",
            "results.csv",
            "history.csv",
            "skipped.csv",
            "report.html",
            "thresholds.json",
            "sensitivity.csv",
            "challenge",
        } <= {path.name for path in run_dir.iterdir()}
        assert (run_dir / "checkpoints" / "best.ckpt").is_file()
        rows = scores_of(run_dir)
        assert len(rows) == 16
        assert list(rows[0]) == ["machine", "id", "domain", "file", "label", "score", "decision"]
        noticed, facts = read_sensitivity(run_dir / "sensitivity.csv"), read_facts(run_dir)
        assert facts["sensitivity"] == facts["objective"] == sensitivity_of(noticed)
        assert {entry.machine_id for entry in noticed} == {"fan/id_00", "fan/id_02"}
        page = unescape((run_dir / "report.html").read_text())
        assert f"Notices {facts['notices']}." in page
        assert f"{number(sensitivity_of(noticed))}. 12 clips with each fault" in page


@pytest.mark.slow
def test_what_a_run_costs_is_noted_and_shown(finished):
    for name, run_dir in finished.items():
        facts = read_facts(run_dir)
        read = ("checkpoints/best.ckpt", "features.npz", "backend.npz")
        assert facts["size_bytes"] == sum((run_dir / n).stat().st_size for n in read if (run_dir / n).is_file())
        assert 0 < facts["seconds_per_epoch"] <= facts["train_seconds"]
        text = cost.cost_cells(facts)
        page = (run_dir / "report.html").read_text()
        assert f"<td>{text['size_bytes']}</td>" in page
        if name in ("complex_ssl", "dense_ae"):  # no time was given to measure
            assert {text[figure] for figure in (*cost.SCORING_FIGURES, "peak_memory_bytes")} == {"-"}
            continue
        assert bool(facts["macs"]) == bool(facts["parameters"]) == (name == "dense_ae_knn")
        assert facts["peak_memory_bytes"] > facts["size_bytes"]
        assert facts["ms_per_clip_best_batch"] <= facts["ms_per_clip"]
        assert facts["clips_per_second"] == pytest.approx(1e3 / facts["ms_per_clip_best_batch"])
        assert (facts["ms_per_clip"] == facts["ms_per_clip_best_batch"]) == (facts["best_batch"] == 1)
        assert f"<td>{text['ms_per_clip']}</td>" in page
        assert "-" not in text.values()


@pytest.mark.slow
def test_results_are_the_metrics_of_the_scores(finished):
    for run_dir in finished.values():
        rows = scores_of(run_dir)
        names = ("machine", "id", "label", "score", "decision")
        machine, ids, label, score, decision = (np.array([row[name] for row in rows]) for name in names)
        numbers = label.astype(int), score.astype(float)
        expected = per_machine_id(machine, ids, *numbers, decisions=decision.astype(int))
        results = read_results(run_dir / "results.csv")
        assert [r for r in results if r.metric != LEVEL] == expected


@pytest.mark.slow
def test_the_level_alone_stands_beside_every_result(finished):
    for run_dir in finished.values():
        found = {r.id: r.value for r in read_results(run_dir / "results.csv") if r.metric == LEVEL}
        assert set(found) == {"id_00", "id_02", "mean", "hmean", "min"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["complex_ssl", "dense_ae", "dense_ae_knn"])
def test_the_scorer_gives_the_scores_of_the_run(finished, kind):
    rows = scores_of(finished[kind])
    scorer = mimii_pl.load(finished[kind], device="cpu")
    scores = scorer.score([row["file"] for row in rows], machine_id=[row["id"] for row in rows])
    np.testing.assert_allclose(scores, [float(row["score"]) for row in rows], rtol=1e-5)


@pytest.mark.slow
def test_waveforms_and_files_score_the_same(finished):
    row = scores_of(finished["complex_ssl"])[0]
    scorer = mimii_pl.load(finished["complex_ssl"], device="cpu")
    wave, rate = soundfile.read(row["file"], dtype="float32")
    from_file = scorer.score(row["file"], machine_id=row["id"])
    np.testing.assert_array_equal(scorer.score(wave, rate=rate, machine_id=f"fan/{row['id']}"), from_file)
    np.testing.assert_array_equal(scorer.score(torch.from_numpy(wave), rate=rate, machine_id=row["id"]), from_file)
    assert scorer.score(np.stack([wave, wave]), rate=rate, machine_id=row["id"]).shape == (2,)


@pytest.mark.slow
def test_the_scorer_explains_what_it_cannot_do(finished, tmp_path):
    scorer = mimii_pl.load(finished["complex_ssl"], device="cpu")
    wave = 0.1 * np.random.default_rng(0).standard_normal(24000).astype(np.float32)
    with pytest.raises(InputError, match="fan/id_00, fan/id_02"):
        scorer.score(wave, rate=16000)
    with pytest.raises(InputError, match="'id_09' was not seen in training"):
        scorer.score(wave, rate=16000, machine_id="id_09")
    with pytest.raises(InputError, match="rate=16000"):
        scorer.score(wave)
    with pytest.raises(InputError, match="NaN"):
        scorer.score(wave * np.nan, rate=16000, machine_id="id_00")
    (tmp_path / "broken.wav").write_text("no sound")
    with pytest.raises(InputError, match=r"broken.wav: not readable"):
        scorer.score(tmp_path / "broken.wav", machine_id="id_00")
    assert mimii_pl.load(finished["dense_ae"], device="cpu").score(wave, rate=16000).shape == (1,)


@pytest.mark.slow
def test_a_run_directory_cannot_name_foreign_code(finished, tmp_path):
    for path in finished["dense_ae"].rglob("*"):
        if path.is_file():
            target = tmp_path / path.relative_to(finished["dense_ae"])
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
    config = tmp_path / "config.yaml"
    config.write_text(config.read_text().replace("mimii_pl.features.log_mel.LogMel", "os.system"))
    with pytest.raises(InputError, match=r"os.system: not loaded"):
        mimii_pl.load(tmp_path)


@pytest.mark.slow
def test_one_bad_clip_is_skipped_and_named(tmp_path):
    root = world.write(tmp_path / "world", train=6, test=2)
    (root / "fan" / "train" / "normal_id_00_00000099.wav").write_bytes(b"RIFF")
    cfg = world.configured(root, "model=dense_ae", "trainer=smoke")
    run(cfg, tmp_path / "run")
    assert "normal_id_00_00000099.wav" in (tmp_path / "run" / "skipped.csv").read_text()
    cfg.dataset.strict = True
    with pytest.raises(InputError, match="normal_id_00_00000099"):
        run(cfg, tmp_path / "strict")


@pytest.mark.slow
def test_an_id_without_anomalies_is_undefined_and_the_run_goes_on(tmp_path):
    root = world.write(tmp_path / "world", train=6, test=2)
    for path in (root / "fan" / "test").glob("anomaly_id_02_*"):
        path.unlink()
    run(world.configured(root, "model=dense_ae", "trainer=smoke"), tmp_path / "run")
    values = {(r.id, r.metric): r.value for r in read_results(tmp_path / "run" / "results.csv")}
    assert np.isnan(values["id_02", "auc"])
    assert values["mean", "auc"] == values["id_00", "auc"]


def test_one_id_and_an_id_classifier_is_explained(tmp_path):
    root = world.write(tmp_path / "world", ids=(0,), train=6, test=2)
    with pytest.raises(InputError, match="one ID only"):
        run(world.configured(root, "model=complex_ssl", "trainer=smoke"), tmp_path / "run")


OVERRIDES = ("model=complex_ssl", "augmentation=[noise,mixup]", "training.epochs=4", "dataset.batch_size=8")


@pytest.mark.slow
@pytest.mark.parametrize("callback", [2, 4])  # early stopping, checkpoints
def test_a_metric_that_is_not_logged_is_named(root, tmp_path, callback):
    cfg = world.configured(root, "model=level", "logger=none")
    cfg.trainer.callbacks[callback].monitor = "val/los"
    with pytest.raises(InputError, match=r"^trainer\.callbacks: .*val/los.*val/loss"):
        run(cfg, tmp_path / "run")


def test_a_finished_run_can_be_trained_longer(root, tmp_path):
    run(world.configured(root, "model=simple_ae", "training.epochs=1"), tmp_path / "run")
    run(*resumed(str(tmp_path / "run"), ["trainer.max_epochs=2"]))
    facts = read_facts(tmp_path / "run")
    assert (facts["status"], facts["epochs"]) == ("finished", 2)


@pytest.mark.slow
def test_a_killed_run_resumes_bit_exactly(root, tmp_path):
    run(world.configured(root, *OVERRIDES), tmp_path / "whole")
    command = [
        sys.executable,
        ROOT / "train.py",
        *OVERRIDES,
        "logger=none",
        "trainer=cpu",
        f"dataset.root={root}",
        f"dataset.cache_dir={root.parent / 'cache'}",
        f"hydra.run.dir={tmp_path / 'killed'}",
    ]
    same = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}  # sums in the same order
    process = subprocess.Popen(command, cwd=tmp_path, env=same, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    last = tmp_path / "killed" / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not last.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "scores.csv").exists()
    cfg, run_dir = resumed(str(tmp_path / "killed"), [])
    run(cfg, run_dir)
    facts = read_facts(run_dir)
    assert facts["train_seconds"] == pytest.approx(4 * facts["seconds_per_epoch"])  # all epochs, of both processes
    assert (run_dir / "history.csv").read_text() == (tmp_path / "whole" / "history.csv").read_text()
    assert [row["score"] for row in scores_of(run_dir)] == [row["score"] for row in scores_of(tmp_path / "whole")]


def test_resuming_what_is_not_there_is_explained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no interrupted run"):
        resumed("latest", [])
    with pytest.raises(InputError, match=r"not a run directory"):
        resumed(str(tmp_path), [])


# --- several steps in one batch --------------------------------------------------------------------------------------
def test_steps_that_share_a_batch_are_those_of_single_batches(root, tmp_path, monkeypatch):
    options = ["model=denoising_ae", "trainer=cpu", "training.epochs=2", "dataset.batch_size=4"]
    checkpoints = []
    for shared in (True, False):
        if not shared:
            monkeypatch.setattr("mimii_pl.training.shares_batches", lambda *_: False)
        run(world.configured(root, *options), tmp_path / f"{shared}")
        checkpoints.append(torch.load(tmp_path / f"{shared}" / "checkpoints" / "last.ckpt", weights_only=True))
    together, single = checkpoints
    assert together["global_step"] == single["global_step"] > 2 * STEPS_PER_BATCH
    for name, weights in together["state_dict"].items():
        torch.testing.assert_close(weights, single["state_dict"][name], rtol=0, atol=0)
    histories = [(tmp_path / f"{shared}" / "history.csv").read_text().splitlines() for shared in (True, False)]
    held_out = [[line for line in history if "val/loss" in line] for history in histories]
    assert len(held_out[0]) == 2
    assert held_out[0] == held_out[1]


@pytest.mark.parametrize(
    "option",
    [
        "+trainer.gradient_clip_val=1",
        "+trainer.accumulate_grad_batches=2",
        "+trainer.limit_train_batches=1",
        "+trainer.max_steps=3",
        "+trainer.val_check_interval=0.5",
        "augmentation=noise",
    ],
)
def test_steps_share_no_batch_with_a_trainer_that_does_something_between_them(root, tmp_path, option):
    plain, special = (world.configured(root, "model=dense_ae", "trainer=cpu", *more) for more in ([], [option]))
    for cfg, expected in ((plain, True), (special, False)):
        data = world.data_of(cfg)
        cfg.run_dir = str(tmp_path)
        assert shares_batches(build(cfg.trainer), build_detector(cfg, data), data) is expected


@pytest.mark.parametrize("hook", STEP_HOOKS)
def test_steps_share_no_batch_where_somebody_looks_at_each(root, tmp_path, hook):
    cfg = world.configured(root, "model=dense_ae", "trainer=cpu")
    cfg.run_dir = str(tmp_path)
    data, trainer = world.data_of(cfg), build(cfg.trainer)
    detector = build_detector(cfg, data)
    assert shares_batches(trainer, detector, data)
    if hasattr(pl.Callback, hook):
        watching = type("Watching", (pl.Callback,), {hook: lambda *_: None})
        trainer.callbacks.append(watching())
        assert not shares_batches(trainer, detector, data)
        trainer.callbacks.pop()
    detector.__class__ = type("Own", (type(detector),), {hook: lambda *_: None})
    assert not shares_batches(trainer, detector, data)


# --- threads ---------------------------------------------------------------------------------------------------------
def test_threads_are_chosen_by_the_work_in_a_step_and_kept_on_resume(root, tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        for name, expected in (("simple_ae", 1), ("spectrum", 3)):
            run(world.configured(root, "trainer=smoke", f"model={name}"), tmp_path / name)
            assert read_facts(tmp_path / name)["threads"] == expected
            words = "3 threads" if expected == 3 else "3 threads (1 in training)"  # a small step is no small scoring
            assert read_facts(tmp_path / name)["device"].endswith(words)
            assert torch.get_num_threads() == 3  # of the next run of this process
        write_facts(tmp_path / "simple_ae", status="running", threads=2)
        run(open_stored(tmp_path / "simple_ae", []), tmp_path / "simple_ae")
        assert read_facts(tmp_path / "simple_ae")["threads"] == 2
    finally:
        torch.set_num_threads(before)


def test_the_work_of_a_step_is_that_of_its_windows(root):
    cfg = world.configured(root, "model=simple_ae")
    data = world.data_of(cfg)
    detector = build_detector(cfg, data)
    data.crop = detector.crop
    data.fit_features()
    weights = sum(layer.weight.numel() for layer in detector.modules() if isinstance(layer, torch.nn.Linear))
    windows = data.in_shape[2] - detector.frames + 1
    share = detector.crop.frames / data.in_shape[2]
    assert step_macs(require_long_clips(detector, data), data) == pytest.approx(
        weights * windows * share * data.batch_size
    )
    assert detector.training
