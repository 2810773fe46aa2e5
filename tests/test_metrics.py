"""Metrics against a second, plain numpy implementation, and against numbers that others published."""

import csv
import math
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest
import sklearn.metrics as sk

from mimii_pl import metrics
from mimii_pl.results import Result, per_machine_id, read_results, write_results

INF = math.inf


# --- second implementation, from the definitions ---------------------------------------------------------------------
def plain_auc(labels, scores):
    normal, anomalous = scores[labels == 0][:, None], scores[labels == 1][None]
    return ((anomalous > normal) + 0.5 * (anomalous == normal)).mean()


def plain_curve(labels, scores):
    thresholds = sorted(set(scores.tolist()), reverse=True)
    fpr = [0.0] + [(scores[labels == 0] >= t).mean() for t in thresholds]
    tpr = [0.0] + [(scores[labels == 1] >= t).mean() for t in thresholds]
    return np.array(fpr), np.array(tpr)


def plain_pauc(labels, scores, p=0.1):
    area = 0.0
    fpr, tpr = plain_curve(labels, scores)
    for x0, x1, y0, y1 in zip(fpr, fpr[1:], tpr, tpr[1:], strict=False):
        if x0 < min(x1, p):
            end = min(x1, p)
            area += (end - x0) * (y0 + y0 + (y1 - y0) * (end - x0) / (x1 - x0)) / 2
    return (1 + (area - p * p / 2) / (p - p * p / 2)) / 2


def plain_average_precision(labels, scores):
    total, recall = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        called = labels[scores >= threshold]
        total += (called.sum() / labels.sum() - recall) * called.mean()
        recall = called.sum() / labels.sum()
    return total


def plain_f1(labels, decisions):
    tp = sum(1 for y, d in zip(labels, decisions, strict=True) if y and d)
    fp = sum(1 for y, d in zip(labels, decisions, strict=True) if not y and d)
    fn = sum(1 for y, d in zip(labels, decisions, strict=True) if y and not d)
    return tp / max(tp + fp, 1), tp / max(tp + fn, 1), 2 * tp / max(2 * tp + fp + fn, 1)


def cases():
    rng = np.random.default_rng(0)
    for size in (2, 3, 7, 40, 300):
        labels = rng.permutation(np.arange(size) % 2)
        shifted = rng.normal(size=size) + labels
        yield pytest.param(labels, shifted, id=f"random{size}")
        yield pytest.param(labels, -shifted, id=f"reversed{size}")
        yield pytest.param(labels, 36.5 + 2 * shifted.clip(-3, 3), id=f"raw scores near 30 to 43, {size}")
        yield pytest.param(labels, np.round(shifted), id=f"ties{size}")
        yield pytest.param(labels, np.full(size, 3.25), id=f"constant{size}")
        yield pytest.param(labels, labels.astype(float), id=f"perfect{size}")
        yield pytest.param(labels, np.where(shifted > 1, INF, np.where(shifted < 0, -INF, shifted)), id=f"inf{size}")
    rare = (rng.random(500) < 0.02).astype(int)
    yield pytest.param(rare, rng.normal(size=500).astype(np.float32), id="rare anomalies, float32")
    yield pytest.param(1 - rare, rng.normal(size=500), id="rare normals: one step is wider than max_fpr")
    yield pytest.param(rare, np.nextafter(1e9, INF, dtype=float) + 1e-7 * rng.integers(0, 9, 500), id="close together")


@pytest.mark.parametrize(("labels", "scores"), list(cases()))
def test_second_implementation_agrees(labels, scores):
    assert metrics.auc(labels, scores) == pytest.approx(plain_auc(labels, scores), abs=1e-12)
    assert metrics.pr_auc(labels, scores) == pytest.approx(plain_average_precision(labels, scores), abs=1e-12)
    for max_fpr in (0.1, 0.37):
        expected = plain_pauc(labels, scores, max_fpr)
        assert metrics.pauc(labels, scores, max_fpr) == pytest.approx(expected, abs=1e-12)
    fpr, tpr = metrics.roc(labels, scores)
    area = (np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2).sum()
    assert area == pytest.approx(plain_auc(labels, scores), abs=1e-12)
    recall, precision = metrics.pr_curve(labels, scores)
    assert -(np.diff(recall) * precision[:-1]).sum() == pytest.approx(metrics.pr_auc(labels, scores), abs=1e-12)
    decisions = (scores > np.sort(scores)[len(scores) // 2 - 1]).astype(int)
    assert metrics.precision_recall_f1(labels, decisions) == pytest.approx(plain_f1(labels, decisions), abs=1e-12)


def test_order_of_clips_and_monotone_maps_do_not_matter():
    rng = np.random.default_rng(1)
    labels, scores, order = rng.integers(0, 2, 80), rng.normal(size=80).round(1), rng.permutation(80)
    for metric in metrics.METRICS.values():
        value = metric(labels, scores)
        assert metric(labels[order], scores[order]) == pytest.approx(value, abs=1e-12)
        assert metric(labels, np.exp(scores) * 1e6) == value
        assert metric(labels.astype(bool).tolist(), scores.tolist()) == value


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1], []])
def test_one_class_is_undefined_and_silent(labels):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for metric in metrics.METRICS.values():
            assert math.isnan(metric(labels, [1.0, 2.0, 2.0][: len(labels)]))
        assert [part.size for part in metrics.roc(labels, [0.0] * len(labels))] == [0, 0]


@pytest.mark.parametrize("metric", [*metrics.METRICS.values(), metrics.precision_recall_f1])
@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1], [0.0, math.nan], "NaN"),
        ([0, 1, 1], [0.0, 1.0], "one label and one score per clip"),
        ([[0], [1]], [[0.0], [1.0]], "one label and one score per clip"),
        ([0, -1], [0.0, 1.0], "labels must be 0"),
        ([0, math.nan], [0.0, 1.0], "labels must be 0"),
    ],
)
def test_bad_input_is_refused(metric, labels, scores, message):
    with pytest.raises(ValueError, match=message):
        metric(labels, scores)


def test_decisions():
    assert metrics.precision_recall_f1([0, 1], [0, 0]) == (0, 0, 0)
    assert metrics.precision_recall_f1([0, 0], [1, 0]) == (0, 0, 0)
    assert metrics.precision_recall_f1([0, 1, 1], [1, 1, 0]) == (0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="decisions must be"):
        metrics.precision_recall_f1([0, 1], [0.2, 1])


@pytest.mark.parametrize(("labels", "scores"), list(cases()))
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
def test_decisions_as_scikit_learn_judges_them(labels, scores, share):
    decisions = (scores > np.sort(scores)[int(share * (len(scores) - 1))]).astype(int)
    found = metrics.of_decisions(labels, decisions)
    (tn, fp), (fn, tp) = sk.confusion_matrix(labels, decisions, labels=[0, 1])
    assert [found[f"n_{name}"] for name in ("tp", "fn", "fp", "tn")] == [tp, fn, fp, tn]
    expected = {
        "accuracy": sk.accuracy_score(labels, decisions),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, decisions),
        "precision": sk.precision_score(labels, decisions, zero_division=0),
        "recall": sk.recall_score(labels, decisions),
        "f1": sk.f1_score(labels, decisions, zero_division=0),
        "specificity": sk.recall_score(labels, decisions, pos_label=0),
    }
    assert {name: found[name] for name in metrics.DECIDED} == pytest.approx(expected, abs=1e-12)


def test_decisions_about_one_class():
    only_normal = metrics.of_decisions([0, 0, 0, 0], [0, 0, 0, 1])
    assert (only_normal["accuracy"], only_normal["specificity"]) == (0.75, 0.75)
    undefined = ("balanced_accuracy", "precision", "recall", "f1")
    assert all(math.isnan(only_normal[name]) for name in undefined)
    only_anomalous = metrics.of_decisions([1, 1], [0, 1])
    assert (only_anomalous["recall"], only_anomalous["f1"]) == (0.5, pytest.approx(2 / 3))
    assert math.isnan(only_anomalous["specificity"])
    assert math.isnan(metrics.of_decisions([], [])["accuracy"])


def test_decisions_per_id_and_over_types():
    machine, ids, labels, scores = scored(("fan", ["id_00", "id_02"]), ("pump", ["id_00"]))
    decisions = (scores > 0.5).astype(int)
    value = {r[:3]: r.value for r in per_machine_id(machine, ids, labels, scores, decisions=decisions)}
    own = (np.array(machine) == "fan") & (np.array(ids) == "id_02")
    assert value["fan", "id_02", "f1"] == metrics.of_decisions(labels[own], decisions[own])["f1"]
    mean = (value["fan", "mean", "recall"] + value["pump", "mean", "recall"]) / 2
    assert value["all", "mean", "recall"] == pytest.approx(mean, abs=1e-15)


def test_means_over_ids():
    values = [0.5, math.nan, 1.0]
    assert metrics.arithmetic_mean(values) == 0.75
    assert metrics.harmonic_mean(values) == pytest.approx(2 / 3, abs=1e-15)
    assert metrics.minimum(values) == 0.5
    assert metrics.harmonic_mean([0.0, 0.5]) == pytest.approx(2 / (1 / sys.float_info.epsilon + 2))
    for summary in metrics.SUMMARIES.values():
        assert math.isnan(summary([math.nan, math.nan]))
        assert math.isnan(summary([]))


# --- per machine ID --------------------------------------------------------------------------------------------------
def scored(*types, seed=0):
    rng = np.random.default_rng(seed)
    rows = [(name, one, label) for name, ids in types for one in ids for label in rng.integers(0, 2, 30)]
    machine, machine_id, labels = (list(column) for column in zip(*rows, strict=True))
    return machine, machine_id, np.array(labels), rng.normal(size=len(rows)) + np.array(labels)


def test_every_id_then_its_type():
    machine, ids, labels, scores = scored(("fan", ["id_02", "id_00"]))
    results = per_machine_id(machine, ids, labels, scores)
    value = {result[:3]: result.value for result in results}
    assert len(value) == len(results) == 2 * 5 + 3 * 3 + 1
    assert list(dict.fromkeys(result.id for result in results)) == ["id_00", "id_02", "mean", "hmean", "min"]
    first = np.array(ids) == "id_00"
    assert value["fan", "id_00", "pauc"] == metrics.pauc(labels[first], scores[first])
    assert value["fan", "id_00", "n_normal"] + value["fan", "id_00", "n_anomalous"] == first.sum()
    aucs = [value["fan", one, "auc"] for one in ("id_00", "id_02")]
    assert value["fan", "mean", "auc"] == pytest.approx(sum(aucs) / 2, abs=1e-15)
    assert value["fan", "hmean", "auc"] == pytest.approx(2 / (1 / aucs[0] + 1 / aucs[1]), abs=1e-15)
    assert value["fan", "min", "auc"] == min(aucs)
    official = (value["fan", "mean", "auc"] + value["fan", "mean", "pauc"]) / 2
    assert value["fan", "mean", "official_2020"] == official


def test_types_weigh_the_same_however_many_ids_they_have():
    results = per_machine_id(*scored(("pump", ["id_00"]), ("fan", ["id_00", "id_02", "id_04"])))
    mean = {result.machine: result.value for result in results if result.id == "mean" and result.metric == "auc"}
    assert list(mean) == ["fan", "pump", "all"]
    assert mean["all"] == pytest.approx((mean["fan"] + mean["pump"]) / 2, abs=1e-15)
    assert {result.id for result in results if result.machine == "all"} == {"mean"}


def test_an_id_of_one_class_is_left_out_of_the_summary():
    machine, ids, labels, scores = scored(("bldc", ["id_01", "id_03"]))
    labels = np.where(np.array(ids) == "id_03", 0, labels)
    value = {result[:3]: result.value for result in per_machine_id(machine, ids, labels, scores)}
    assert math.isnan(value["bldc", "id_03", "auc"])
    assert value["bldc", "id_03", "n_anomalous"] == 0
    for name in metrics.SUMMARIES:
        assert value["bldc", name, "auc"] == pytest.approx(value["bldc", "id_01", "auc"], abs=1e-15)


def test_no_clips_and_missing_ids():
    assert per_machine_id([], [], [], []) == []
    with pytest.raises(ValueError, match=r"zip\(\)"):
        per_machine_id(["fan"], ["id_00"], [0, 1], [0.0, 1.0])


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
    with pytest.raises(ValueError, match=r"results\.csv: expected the columns machine, id, metric, value"):
        read_results(path)


def test_import_is_light():
    code = "import sys, mimii_pl.metrics; print(sorted({'sklearn', 'scipy', 'torch', 'mlflow'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


# --- published numbers -----------------------------------------------------------------------------------------------
def rows_of(path):
    with path.open(newline="") as file:
        return [row for row in csv.reader(file) if row]


def labels_and_values(path):
    """Official score and decision files have no header; the file name of the clip tells the label."""
    rows = rows_of(path)
    return np.array(["anomaly" in name for name, _ in rows], int), np.array([float(value) for _, value in rows])


def published(path):
    return [(row[0], [float(value) for value in row[1:]]) for row in rows_of(path)[2:]]


@pytest.mark.parametrize(("folder", "machine"), [("dcase2020_ae_toycar", "ToyCar"), ("dcase2020_ae_fan", "fan")])
def test_published_dcase2020(shared, folder, machine):
    ids, labels, scores = [], [], []
    for path in sorted((shared / "reference" / folder).glob("anomaly_score_*.csv")):
        one = labels_and_values(path)
        ids += [re.search(r"id_\d+", path.stem)[0]] * len(one[0])
        labels.append(one[0])
        scores.append(one[1])
    results = per_machine_id([machine] * len(ids), ids, np.concatenate(labels), np.concatenate(scores))
    value = {(result.id, result.metric): result.value for result in results}
    table = published(shared / "reference" / folder / "result.csv")
    assert len(table) == 5
    for name, expected in table:
        key = "mean" if name == "Average" else f"id_{name}"
        assert [value[key, "auc"], value[key, "pauc"]] == pytest.approx(expected, abs=1e-12)
    assert value["mean", "official_2020"] == pytest.approx(sum(table[-1][1]) / 2, abs=1e-12)


def test_published_dcase2021(shared):
    folder = shared / "reference" / "dcase2021_ae_fan"
    rows = rows_of(folder / "result.csv")
    per_domain = [row for row in rows if row[0].isdigit()]
    computed = []
    for section, domain, *expected in per_domain:
        labels, scores = labels_and_values(folder / f"anomaly_score_fan_section_{section}_{domain}_test.csv")
        same, decisions = labels_and_values(folder / f"decision_result_fan_section_{section}_{domain}_test.csv")
        assert (labels == same).all()
        thresholded = metrics.precision_recall_f1(labels, decisions)
        computed.append([metrics.auc(labels, scores), metrics.pauc(labels, scores), *thresholded])
        assert computed[-1] == pytest.approx([float(value) for value in expected], abs=1e-12)
    assert len(computed) == 6
    means = {"arithmetic": metrics.arithmetic_mean, "harmonic": metrics.harmonic_mean}
    checked = [row for row in rows if row[0].split()[0:1] and row[0].split()[0] in means]
    assert len(checked) == 4
    for row in checked:
        mean = means[row[0].split()[0]]
        assert [mean(column) for column in zip(*computed, strict=True)] == pytest.approx(
            [float(value) for value in row[2:]], abs=1e-12
        )
