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

from mimii_pl.scoring import metrics
from mimii_pl.scoring.results import per_machine_id

INF = math.inf
OF_RANKS = [metric.function for metric in metrics.metrics_of("scores") if metric.of_ranks]
OF_SCORES = [metric.function for metric in metrics.metrics_of("scores")]
OF_DECISIONS = [metric.function for metric in metrics.metrics_of("decisions")]


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
    ranks = np.unique(scores, return_inverse=True)[1]  # scikit-learn refuses infinite scores
    corners = set(zip(*sk.roc_curve(labels, ranks, drop_intermediate=False)[:2], strict=True))
    assert set(zip(fpr, tpr, strict=True)) <= corners
    assert len(fpr) <= len(sk.roc_curve(labels, ranks)[0])  # which keeps one more
    for own, theirs in zip((precision, recall), sk.precision_recall_curve(labels, ranks), strict=False):
        np.testing.assert_allclose(own, theirs, atol=1e-12)
    assert metrics.pauc(labels, scores) == pytest.approx(sk.roc_auc_score(labels, ranks, max_fpr=0.1), abs=1e-12)
    decisions = (scores > np.sort(scores)[len(scores) // 2 - 1]).astype(int)
    assert metrics.precision_recall_f1(labels, decisions) == pytest.approx(plain_f1(labels, decisions), abs=1e-12)


def test_order_of_clips_and_monotone_maps_do_not_matter():
    rng = np.random.default_rng(1)
    labels, scores, order = rng.integers(0, 2, 80), rng.normal(size=80).round(1), rng.permutation(80)
    for metric in OF_SCORES:
        value = metric(labels, scores)
        assert metric(labels[order], scores[order]) == pytest.approx(value, abs=1e-12)
        assert metric(labels.astype(bool).tolist(), scores.tolist()) == value
    for metric in OF_RANKS:
        assert metric(labels, np.exp(scores) * 1e6) == metric(labels, scores)


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1], []])
def test_one_class_is_undefined_and_silent(labels):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for metric in OF_SCORES:
            assert math.isnan(metric(labels, [1.0, 2.0, 2.0][: len(labels)]))
        assert [part.size for part in metrics.roc(labels, [0.0] * len(labels))] == [0, 0]


@pytest.mark.parametrize("metric", [*OF_SCORES, *OF_DECISIONS, metrics.precision_recall_f1])
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
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)


def test_decisions_about_one_class():
    only_normal = metrics.of_decisions([0, 0, 0, 0], [0, 0, 0, 1])
    assert (only_normal["accuracy"], only_normal["specificity"]) == (0.75, 0.75)
    undefined = ("balanced_accuracy", "precision", "recall", "f1")
    assert all(math.isnan(only_normal[name]) for name in undefined)
    only_anomalous = metrics.of_decisions([1, 1], [0, 1])
    assert (only_anomalous["recall"], only_anomalous["f1"]) == (0.5, pytest.approx(2 / 3))
    assert math.isnan(only_anomalous["specificity"])
    assert math.isnan(metrics.of_decisions([], [])["accuracy"])


def test_means_over_ids():
    values = [0.5, math.nan, 1.0]
    assert metrics.arithmetic_mean(values) == 0.75
    assert metrics.harmonic_mean(values) == pytest.approx(2 / 3, abs=1e-12)
    assert metrics.minimum(values) == 0.5
    assert metrics.harmonic_mean([0.0, 0.5]) == pytest.approx(2 / (1 / sys.float_info.epsilon + 2))
    for summary in metrics.SUMMARIES.values():
        assert math.isnan(summary([math.nan, math.nan]))
        assert math.isnan(summary([]))


def test_import_is_light():
    heavy = "{'sklearn', 'scipy', 'torch', 'mlflow'}"
    code = f"import sys, mimii_pl.scoring.metrics; print(sorted({heavy} & set(sys.modules)))"
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


@pytest.mark.parametrize("max_fpr", [0, -0.1, 1.5, np.nan])
def test_a_partial_auc_needs_a_range(max_fpr):
    with pytest.raises(ValueError, match="max_fpr"):
        metrics.pauc([0, 1], [0.1, 0.2], max_fpr)
