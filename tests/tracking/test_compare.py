"""`mimii compare`: grouping, ranking, skipped runs and the files written; and a real MLflow store read back."""

import csv
import re
from functools import cache

import numpy as np
import pytest
from omegaconf import OmegaConf
from support.cli import mimii
from support.shut import shut

from mimii_pl.core.config import compose
from mimii_pl.core.errors import InputError
from mimii_pl.core.options import flatten, split_options
from mimii_pl.core.run_dir import write_facts
from mimii_pl.report.grid import latex
from mimii_pl.report.published import published
from mimii_pl.report.ranking import RecordedRun
from mimii_pl.run import describe_run
from mimii_pl.scoring.bootstrap import Interval
from mimii_pl.scoring.results import per_machine_id, write_results
from mimii_pl.scoring.scores import ClipScore
from mimii_pl.scoring.sensitivity import Noticed
from mimii_pl.tracking.compare import compare, side_by_side
from mimii_pl.tracking.logger import Recorder, RunLogger
from mimii_pl.tracking.recorded_runs import finished_runs

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow", "ignore::ResourceWarning")
QUALITY = {"dense_ae": 2.0, "simple_ae": 0.0, "spectrum": 2.0}  # how far apart the classes are, in deviations
CLIPS = 30  # per ID and class


@cache
def composed(model):
    cfg = compose([f"model={model}", "dataset=synthetic"])
    OmegaConf.resolve(cfg)
    return cfg


def judged(model, machine, seed, clips):
    """Scores of a known quality, and what they come to."""
    rng = np.random.default_rng([seed, len(model)])
    places = [(one, number) for one in ("id_00", "id_02") for number in range(2 * clips)]
    labels = np.array([number % 2 for _, number in places])
    scores = QUALITY[model] * labels + rng.normal(size=len(labels))
    scored = [
        ClipScore(machine, one, "", f"{one}/{number}.wav", int(label), float(score))
        for (one, number), label, score in zip(places, labels, scores, strict=True)
    ]
    return scored, per_machine_id([machine] * len(labels), [one for one, _ in places], labels, scores)


def finished(model, machine, seed, criterion, *, clips=CLIPS, id_="0"):
    """A finished run, as it is read back."""
    cfg = composed(model)
    options = {**flatten(cfg), **cfg.choices, "machine": machine, "machine.name": machine, "seed": str(seed)}
    scored, results = judged(model, machine, seed, clips)
    facts = {"sensitivity": criterion, "parameters": 1000, "seconds_per_epoch": 0.5 + seed, "labels": ["fan/id_00"]}
    noticed = [Noticed("whistle", severity, "dB", "fan/id_00", 4, criterion) for severity in (10.0, 18.0)]
    name = f"{id_}{model}{machine}{seed}"
    return RecordedRun(name, model, options, "lowest validation loss", results, scored, facts, noticed)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "deep"
    runs = [finished("simple_ae", "pump", 0, 0.6, id_="1"), finished("spectrum", "fan", 0, 0.8, clips=CLIPS - 1)]
    runs += [finished(model, "fan", seed, q) for model, q in (("dense_ae", 0.7), ("simple_ae", 0.9)) for seed in (0, 1)]
    runs += [finished("dense_ae", "pump", 0, 0.7), finished("simple_ae", "pump", 0, 0.8)]
    figures = published(["dcase2020_baseline", "kim2021"])
    return side_by_side(runs, [("old", "no scores")], figures, resamples=200, seed=0, folder=folder), folder


def test_runs_are_grouped_over_seeds_and_ranked_by_the_honest_criterion(compared):
    fan, pump = compared[0]
    assert [(entry.detector, len(entry.runs)) for entry in fan.entries] == [
        ("simple_ae", 2),
        ("spectrum + knn", 1),
        ("dense_ae", 2),
    ]
    assert fan.entries[0].means["auc"] < fan.entries[2].means["auc"]  # test labels would say otherwise
    dense = fan.entries[2]
    values = [next(r.value for r in run.results if r[1:3] == ("mean", "auc")) for run in dense.runs]
    assert dense.means["auc"] == pytest.approx(np.mean(values))
    assert dense.means["auc_std"] == pytest.approx(np.std(values, ddof=1))
    assert (dense.means["parameters"], dense.means["seconds_per_epoch"]) == (1000, 1.0)
    assert dense.per_id.keys() == {"id_00", "id_02"}
    again = pump.entries[1]
    assert (again.detector, len(again.runs), again.means["sensitivity"]) == ("simple_ae", 1, 0.6)  # the later one


def test_a_difference_is_given_with_its_interval_where_the_clips_are_the_same(compared):
    fan, _ = compared[0]
    found = fan.pairs[2, 0]
    assert isinstance(found, Interval)
    assert found.is_clear
    assert found.difference == pytest.approx(fan.entries[2].means["auc"] - fan.entries[0].means["auc"])
    mirrored = fan.pairs[0, 2]
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))
    assert fan.pairs[1, 0] == "other test clips: 116 against 120, 116 in common"


def test_every_file_says_the_same_and_published_figures_stand_apart(compared):
    (fan, _), folder = compared
    assert sorted(path.name for path in folder.iterdir()) == [
        f"compare.{kind}" for kind in ("csv", "html", "md", "pdf", "tex")
    ]
    rows = list(csv.DictReader((folder / "compare.csv").open()))
    assert [row["kind"] for row in rows] == ["here"] * 5 + ["published"] * 4
    assert float(rows[0]["auc"]) == fan.entries[0].means["auc"]
    assert float(rows[2]["to_first_low"]) == fan.pairs[2, 0].low
    texts = {kind: (folder / f"compare.{kind}").read_text() for kind in ("md", "tex", "html")}
    for text in texts.values():
        assert all(words in text for words in ("Split: protocol official of synthetic", "seed 0, 1", "200 resamples"))
        assert text.index("All machine types") < text.index("DCASE 2020 task 2 baseline")
        assert "simple_ae" in text.replace("\\_", "_")
    assert r"simple\_ae & " in texts["tex"]
    assert texts["tex"].count(r"\begin{tabular}") == texts["tex"].count(r"\bottomrule") == 5
    for line in texts["tex"].splitlines():
        assert not re.search(r"(?<!\\)[%#_]", line) or line.startswith("%")
    assert not re.search(r"<script|<link|https?://(?!www\.w3\.org)", re.sub(r"base64,[^\"]*", "", texts["html"]))
    assert "a later run with the same options" in texts["html"]
    assert "old: no scores" in texts["html"]
    assert texts["html"].count("Heat map of the AUC per machine ID") == 2
    assert "simple_ae: whistle from .900 to .900" in texts["html"]


def test_what_latex_would_take_for_commands_is_escaped():
    assert latex(r"a_b & 5 % #1 ~ ^ {x} $ \y") == (
        r"a\_b \& 5 \% \#1 \textasciitilde{} \textasciicircum{} \{x\} \$ \textbackslash{}y"
    )
    assert latex("-.012±.003 [-.1, .2] PR-AUC") == r"$-$.012$\pm$.003 [$-$.1, .2] PR-AUC"


def record(folder, uri, model, machine, seed, *, old=False, ends=True):
    """A run in MLflow, by the project's own logger."""
    run_dir = folder / f"{model}-{machine}-{seed}"
    run_dir.mkdir(parents=True)
    cfg = composed(model).copy()
    cfg.machine.name, cfg.seed, cfg.run_dir, cfg.trainer.logger.tracking_uri = machine, seed, str(run_dir), uri
    scored, results = judged(model, machine, seed, CLIPS)
    with open(run_dir / "scores.csv", "w", newline="") as file:
        csv.writer(file).writerows([ClipScore._fields, *scored])
    write_results(run_dir / "results.csv", results)
    (run_dir / "best.ckpt").touch()
    write_facts(run_dir, checkpoint="best.ckpt", sensitivity=0.5)
    recorder = Recorder(RunLogger(tracking_uri=uri), run_dir, describe_run(cfg, run_dir))
    recorder.start()
    if old:
        (run_dir / "scores.csv").unlink()
    if ends:
        recorder.finish(results, {"sensitivity": 0.5})


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    uri = f"sqlite:///{folder}/mlflow.db"
    for seed in (0, 1):
        record(folder, uri, "dense_ae", "fan", seed)
    record(folder, uri, "spectrum", "pump", 0, old=True)
    record(folder, uri, "spectrum", "pump", 1, ends=False)
    return uri


@pytest.mark.slow
def test_a_store_is_read_as_it_was_recorded(store, tmp_path):
    runs, left_out = finished_runs(store, "mimii_pl")
    assert [run.options["seed"] for run in runs] == ["1", "0"]  # newest first
    scored, results = judged("dense_ae", "fan", 1, CLIPS)
    assert (runs[0].clips, runs[0].results) == (scored, results)
    assert runs[0].options["backend"] == "none"
    assert [reason for _, reason in left_out] == [
        "it has no scores.csv: recorded by an older version, or its files are gone"
    ]
    again = finished("dense_ae", "fan", 1, 0.5)
    where = ("dataset.cache_dir", "run_dir")
    told = [split_options({k: v for k, v in run.options.items() if k not in where}) for run in (runs[0], again)]
    assert told[0] == told[1]


@pytest.mark.slow
def test_runs_are_chosen_and_a_wrong_choice_is_answered(store, tmp_path):
    some = compare(tracking_uri=store, only={"machine": "fan", "model": ["dense_ae"]}, resamples=1, output=tmp_path)
    assert [(one.machine, len(one.entries)) for one in some] == [("fan", 1)]
    for wrong, message in (
        ({"only": {"machine": "valve"}}, r"has machine=valve. Recorded are machine: fan, pump"),
        ({"only": {"machine": "pump"}}, r"none of 1 runs can be compared; spectrum-pump .*: it has no scores.csv"),
        ({"only": {"sweep": "latest"}}, r"sweep=latest: no finished run belongs to it. Sweeps: none"),
        ({"published": ["kim"]}, r"published=kim: no such key"),
        ({"experiment_name": "other"}, r"experiment_name=other: no such experiment in .* Experiments: .*mimii_pl"),
        ({"tracking_uri": f"sqlite:///{tmp_path}/none.db"}, r"none.db is missing"),
        ({"resamples": 0}, r"resamples=0"),
    ):
        with pytest.raises(InputError, match=message):
            compare(**{"tracking_uri": store, "output": tmp_path, **wrong})


@pytest.mark.slow
def test_from_the_command_line(store, tmp_path):
    arguments = ["compare", f"tracking_uri={store}", "machine=fan"]
    done = mimii(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "fan (synthetic)" in done.stdout
    assert "Downloading" not in done.stderr
    assert (tmp_path / "outputs" / "compare" / "compare.html").is_file()
    done = mimii(*arguments, "model=[idnn]", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (1, 1)


def test_a_folder_that_cannot_be_written_is_named_before_the_store_is_read(tmp_path):
    with (
        shut(tmp_path),
        pytest.raises(InputError, match=rf"{tmp_path} cannot be written: .*or set output=<another fold"),
    ):
        compare(tracking_uri="sqlite:////nowhere/mlflow.db", output=tmp_path)
