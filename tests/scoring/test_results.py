"""Results per machine ID, over IDs and types, and their file."""

import math

import numpy as np
import pytest

from mimii_pl.scoring import metrics
from mimii_pl.scoring.results import Result, per_machine_id, read_results, write_results


def scored(*types, seed=0):
    rng = np.random.default_rng(seed)
    rows = [(name, one, label) for name, ids in types for one in ids for label in rng.integers(0, 2, 30)]
    machine, machine_id, labels = (list(column) for column in zip(*rows, strict=True))
    return machine, machine_id, np.array(labels), rng.normal(size=len(rows)) + np.array(labels)


def test_every_id_then_its_type():
    machine, ids, labels, scores = scored(("fan", ["id_02", "id_00"]))
    results = per_machine_id(machine, ids, labels, scores)
    value = {result[:3]: result.value for result in results}
    of_scores = metrics.metrics_of("scores")
    summaries = sum(len(metric.summaries) for metric in of_scores)
    assert len(value) == len(results) == 2 * (len(of_scores) + len(("n_normal", "n_anomalous"))) + summaries + 1
    assert list(dict.fromkeys(result.id for result in results)) == ["id_00", "id_02", "mean", "hmean", "min"]
    first = np.array(ids) == "id_00"
    assert value["fan", "id_00", "pauc"] == metrics.pauc(labels[first], scores[first])
    assert value["fan", "id_00", "n_normal"] + value["fan", "id_00", "n_anomalous"] == first.sum()
    aucs = [value["fan", one, "auc"] for one in ("id_00", "id_02")]
    assert value["fan", "mean", "auc"] == pytest.approx(sum(aucs) / 2, abs=1e-12)
    assert value["fan", "hmean", "auc"] == pytest.approx(2 / (1 / aucs[0] + 1 / aucs[1]), abs=1e-12)
    assert value["fan", "min", "auc"] == min(aucs)
    official = (value["fan", "mean", "auc"] + value["fan", "mean", "pauc"]) / 2
    assert value["fan", "mean", "official_2020"] == official


def test_types_weigh_the_same_however_many_ids_they_have():
    results = per_machine_id(*scored(("pump", ["id_00"]), ("fan", ["id_00", "id_02", "id_04"])))
    mean = {result.machine: result.value for result in results if result.id == "mean" and result.metric == "auc"}
    assert list(mean) == ["fan", "pump", "all"]
    assert mean["all"] == pytest.approx((mean["fan"] + mean["pump"]) / 2, abs=1e-12)
    assert {result.id for result in results if result.machine == "all"} == {"mean"}


def test_an_id_of_one_class_is_left_out_of_the_summary():
    machine, ids, labels, scores = scored(("bldc", ["id_01", "id_03"]))
    labels = np.where(np.array(ids) == "id_03", 0, labels)
    value = {result[:3]: result.value for result in per_machine_id(machine, ids, labels, scores)}
    assert math.isnan(value["bldc", "id_03", "auc"])
    assert value["bldc", "id_03", "n_anomalous"] == 0
    for name in metrics.SUMMARIES:
        assert value["bldc", name, "auc"] == pytest.approx(value["bldc", "id_01", "auc"], abs=1e-12)


def test_no_clips_and_missing_ids():
    assert per_machine_id([], [], [], []) == []
    with pytest.raises(ValueError, match=r"zip\(\)"):
        per_machine_id(["fan"], ["id_00"], [0, 1], [0.0, 1.0])


def test_decisions_per_id_and_over_types():
    machine, ids, labels, scores = scored(("fan", ["id_00", "id_02"]), ("pump", ["id_00"]))
    decisions = (scores > 0.5).astype(int)
    value = {r[:3]: r.value for r in per_machine_id(machine, ids, labels, scores, decisions=decisions)}
    own = (np.array(machine) == "fan") & (np.array(ids) == "id_02")
    assert value["fan", "id_02", "f1"] == metrics.of_decisions(labels[own], decisions[own])["f1"]
    mean = (value["fan", "mean", "recall"] + value["pump", "mean", "recall"]) / 2
    assert value["all", "mean", "recall"] == pytest.approx(mean, abs=1e-12)


# --- on disk ---------------------------------------------------------------------------------------------------------
def test_results_survive_the_file_exactly(tmp_path):
    results = [*per_machine_id(*scored(("fan", ["id_00", "id_02"]))), Result("a,b", 'i"d', "auc", math.nan)]
    path = tmp_path / "results.csv"
    path.write_text("an older run")
    write_results(path, results)
    assert path.read_text().startswith("machine,id,metric,value\nfan,id_00,auc,0.")
    assert path.read_text().endswith(",nan\n")
    assert [tuple(map(repr, result)) for result in read_results(path)] == [tuple(map(repr, r)) for r in results]
    assert [file.name for file in tmp_path.iterdir()] == ["results.csv"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "results.csv"
    write_results(path, [Result("fan", "id_00", "auc", 0.5)])
    with pytest.raises(ValueError, match="could not convert"):
        write_results(path, [Result("fan", "id_00", "auc", 0.6), Result("fan", "id_00", "pauc", "high")])
    assert read_results(path) == [Result("fan", "id_00", "auc", 0.5)]
    assert [file.name for file in tmp_path.iterdir()] == ["results.csv"]


def test_another_csv_is_refused(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("id,AUC\n00,0.5\n")
    with pytest.raises(ValueError, match=r"results\.csv is damaged: expected the columns machine, id, metric, value"):
        read_results(path)
