"""A classifier's whole run: what it leaves behind, that it scores as it did, and what it explains."""

import csv
from pathlib import Path

import mlflow
import numpy as np
import pytest
from support import world

import mimii_pl
from mimii_pl.core.errors import InputError
from mimii_pl.core.run_dir import read_facts
from mimii_pl.rerun import decide, rescore
from mimii_pl.run import run
from mimii_pl.scoring.predictions import class_results, read_predictions
from mimii_pl.scoring.results import read_results
from mimii_pl.task.classification import Classification
from mimii_pl.tracking.load import score as score_files

CLASSIFY = ("task=classification", "protocol.folds=4", "training.epochs=8", "model.lr=3e-3")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return world.write(tmp_path_factory.mktemp("classes") / "world", train=10, test=6, seconds=0.6)


@pytest.fixture(scope="module")
def finished(root, tmp_path_factory):
    """Runs by target."""
    runs = {}
    for target in ("condition", "machine_id"):
        runs[target] = tmp_path_factory.mktemp(target)
        options = ["model=simple_classifier", f"target={target}", "dataset.batch_size=8", "efficiency.seconds=0.2"]
        run(world.configured(root, *CLASSIFY, "report=brief", *options), runs[target])
    return runs


@pytest.mark.slow
def test_classes_are_learned_and_judged(finished):
    for target, classes in (("condition", ["normal", "anomaly"]), ("machine_id", ["fan/id_00", "fan/id_02"])):
        results = {(r.id, r.metric): r.value for r in read_results(finished[target] / "results.csv")}
        assert results["all", "balanced_accuracy"] > 0.9
        assert {one for one, _ in results} == {"all", *classes}
        facts = read_facts(finished[target])
        assert facts["classes"] == classes
        assert facts["balanced_accuracy"] > 0.9
        assert facts["status"] == "finished"
        assert facts["macs"]
        assert facts["clips_per_second"] > 0


@pytest.mark.slow
def test_results_are_those_of_the_predictions(finished):
    for run_dir in finished.values():
        predictions = read_predictions(run_dir / "predictions.csv")
        np.testing.assert_allclose(predictions.probability.sum(axis=1), 1, rtol=1e-6)
        assert class_results(predictions, "fan") == read_results(run_dir / "results.csv")


@pytest.mark.slow
def test_the_scorer_says_what_the_run_said(finished):
    predictions = read_predictions(finished["condition"] / "predictions.csv")
    scorer = mimii_pl.load(finished["condition"], device="cpu")
    assert scorer.classes == predictions.classes
    np.testing.assert_allclose(scorer.classify(predictions.files), predictions.probability, rtol=1e-4, atol=1e-6)
    with pytest.raises(InputError, match=r"use classify\(\)"):
        scorer.score(predictions.files[0], machine_id="id_00")


@pytest.mark.slow
def test_files_are_classified_and_bad_ones_named(finished, tmp_path):
    predictions = read_predictions(finished["condition"] / "predictions.csv")
    for number, file in enumerate(predictions.files[:3]):
        (tmp_path / f"{number}.wav").write_bytes(Path(file).read_bytes())
    (tmp_path / "broken.wav").write_text("no sound")
    written = score_files(run=str(finished["condition"]), input=str(tmp_path), output=str(tmp_path / "out.csv"))
    with written.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["taken_for"] for row in rows[:3]] == [
        predictions.classes[number] for number in predictions.probability[:3].argmax(axis=1)
    ]
    assert float(rows[0]["p(anomaly)"]) == pytest.approx(predictions.probability[0, 1], rel=1e-3, abs=1e-5)
    assert "not readable" in rows[3]["skipped"]


@pytest.mark.slow
def test_the_page_shows_classes_calibration_and_cost(finished):
    page = (finished["condition"] / "report.html").read_text()
    for words in ("Confusion matrix", "Reliability diagram", "Training curve", "multiply-accumulates", "anomaly"):
        assert words in page


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow", "ignore::ResourceWarning")
def test_mlflow_has_the_metrics_and_the_files(root, tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    options = ["model=simple_classifier", "logger=mlflow", f"trainer.logger.tracking_uri={uri}"]
    run(world.configured(root, *CLASSIFY, "trainer=smoke", *options, "efficiency.seconds=0.2"), tmp_path / "run")
    client = mlflow.MlflowClient(uri)
    found = client.get_run(read_facts(tmp_path / "run")["mlflow_run_id"])
    assert 0 <= found.data.metrics["test/accuracy/all"] <= 1
    assert {"test/recall/anomaly", "val/balanced_accuracy", "efficiency/parameters"} <= found.data.metrics.keys()
    assert found.data.tags["task"] == "classification"
    assert "predictions.csv" in {item.path for item in client.list_artifacts(found.info.run_id)}


@pytest.mark.slow
def test_the_test_labels_are_only_read_at_the_end(root, finished, tmp_path, monkeypatch):
    """Without a judge the run has trained, chosen its checkpoint and validated: the same, whatever the labels say."""

    def evaluate(task, scorer, data, run_dir):
        raise InterruptedError

    monkeypatch.setattr(Classification, "evaluate", evaluate)
    monkeypatch.setattr("mimii_pl.dataset._datamodule.numbered", _without_test_labels)
    options = ["model=simple_classifier", "dataset.batch_size=8"]
    with pytest.raises(InterruptedError):
        run(world.configured(root, *CLASSIFY, *options), tmp_path)
    assert (tmp_path / "history.csv").read_text() == (finished["condition"] / "history.csv").read_text()


def _without_test_labels(clips, target):
    from mimii_pl.dataset._classes import numbered

    names, label = numbered(clips, target)
    return names, np.where([clip.split == "test" for clip in clips], -1, label)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["task=classification", "model=dense_ae"], "model=dense_ae is not a classifier"),
        (["task=classification", "target=machine", "model=simple_classifier"], "all 44 clips that have one are 'fan'"),
        (["task=classification", "target=colour", "model=simple_classifier"], "target=colour: no clip has one"),
        (["task=classification", "model=simple_classifier", "protocol.folds=20"], "class 'anomaly' has 12 recordings"),
        (["task=classification", "model=simple_classifier", "protocol=official"], "set protocol=stratified"),
        (["task=classification", "model=simple_classifier", "backend=knn"], "backend=knn computes anomaly scores"),
        (["model=simple_classifier", "target=condition"], "task=classification target=condition learns from clips"),
    ],
)
def test_what_cannot_be_told_apart_is_explained(root, options, message, tmp_path):
    with pytest.raises(InputError, match=message):
        run(world.configured(root, "trainer=smoke", *options), tmp_path)


@pytest.mark.slow
def test_back_ends_and_thresholds_are_not_for_classifiers(finished):
    from mimii_pl.core.config import compose

    for task, name in ((rescore, "rescore"), (decide, "decide")):
        cfg = compose([f"run={finished['machine_id']}"], f"command/{name}")
        with pytest.raises(InputError, match=r"classif"):
            task(*((cfg, finished["machine_id"]) if name == "rescore" else (cfg,)))


@pytest.mark.slow
def test_an_id_classifier_is_a_detector(root, tmp_path):
    options = ["model=simple_classifier", "training.epochs=10", "dataset.batch_size=8"]
    run(world.configured(root, *options), tmp_path / "own")
    run(world.configured(root, *options, "backend=knn"), tmp_path / "knn")
    for name in ("own", "knn"):
        with (tmp_path / name / "scores.csv").open(newline="") as file:
            assert len(list(csv.DictReader(file))) == 24
    assert (tmp_path / "own" / "identified.csv").read_text().count("fan/id_00,fan/id_00") > 0
