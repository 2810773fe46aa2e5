"""Metrics per machine ID, and `METRICS`, the list of their records, from which every file and table takes its columns.

Scores are higher for more anomalous clips; label 1 is anomalous, 0 normal. A metric is NaN ("undefined") where only one
class is present. The metrics of this module depend only on the ranks of scores, so infinite scores are fine; for any
other metric, set `of_ranks=False` in its record.
"""

import sys
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

UNDEFINED = float("nan")
LEVEL = "level_auc"  # AUC of the clip's level alone: a reference that the scores have to beat


# --- one group of clips ----------------------------------------------------------------------------------------------
def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: the chance that an anomalous clip scores above a normal one, ties counting half."""
    found, false = _counts(labels, scores)
    return float(_area(false, found) / (false[-1] * found[-1])) if len(found) else UNDEFINED


def pauc(labels: ArrayLike, scores: ArrayLike, max_fpr: float = 0.1) -> float:
    """Partial AUC over false-positive rates up to `max_fpr`, standardised so that chance is 0.5 (McClish 1989).

    With A the area up to p = `max_fpr`, interpolated there: (1 + (A - p^2/2) / (p - p^2/2)) / 2. Every official
    DCASE script computes this; the formula printed in the papers, A / p, has another chance level.

    Raises:
        ValueError: `max_fpr` is not above 0 and at most 1.
    """
    if not 0 < max_fpr <= 1:
        raise ValueError(f"max_fpr={max_fpr} is not above 0 and at most 1")
    fpr, tpr = roc(labels, scores)
    if not len(fpr):
        return UNDEFINED
    within = np.searchsorted(fpr, max_fpr, side="right")
    area = _area(np.append(fpr[:within], max_fpr), np.append(tpr[:within], np.interp(max_fpr, fpr, tpr)))
    least = max_fpr**2 / 2
    return float((1 + (area - least) / (max_fpr - least)) / 2)


def pr_auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Average precision: precision at every distinct score, weighted by the recall gained there; chance is the share of
    anomalous clips."""
    recall, precision = pr_curve(labels, scores)
    return float(-np.diff(recall) @ precision[:-1]) if len(recall) else UNDEFINED


def pr_curve(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray, NDArray]:
    """Precision-recall curve, recall falling from 1 to 0: recalls and precisions; two empty arrays if undefined."""
    found, false = _counts(labels, scores)
    if not len(found):
        return np.empty(0), np.empty(0)
    precision = np.append(1.0, found[1:] / (found + false)[1:])
    return found[::-1] / found[-1], precision[::-1]


def roc(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray, NDArray]:
    """ROC curve from (0, 0) to (1, 1), its corners alone: false-positive rates and true-positive rates.

    Two empty arrays if undefined.
    """
    found, false = _counts(labels, scores)
    if not len(found):
        return np.empty(0), np.empty(0)
    turns = np.diff(found, 2).astype(bool) | np.diff(false, 2).astype(bool)
    corners = np.concatenate([[True], turns, [True]])
    return false[corners] / false[-1], found[corners] / found[-1]


# --- decisions -------------------------------------------------------------------------------------------------------
class Confusion(NamedTuple):
    """Number of clips by label and decision; positive means anomalous."""

    tp: int
    fn: int
    fp: int
    tn: int


def confusion(labels: ArrayLike, decisions: ArrayLike) -> Confusion:
    """Count decisions (1 = called anomalous) by label."""
    labels, decisions = checked(labels, decisions)
    if not np.isin(decisions, (0, 1)).all():
        raise ValueError("decisions must be 0 (called normal) or 1 (called anomalous)")
    called = decisions == 1
    pairs = (called & (labels == 1), ~called & (labels == 1), called & (labels == 0), ~called & (labels == 0))
    return Confusion(*(int(pair.sum()) for pair in pairs))


def precision_recall_f1(labels: ArrayLike, decisions: ArrayLike) -> tuple[float, float, float]:
    """Precision, recall and F1 of decisions; 0 where the denominator is 0, as in the official evaluators."""
    tp, fn, fp, _ = confusion(labels, decisions)
    return _share(tp, tp + fp), _share(tp, tp + fn), _share(2 * tp, 2 * tp + fp + fn)


def accuracy(labels: ArrayLike, decisions: ArrayLike) -> float:
    """Share of correct decisions; undefined without clips."""
    tp, fn, fp, tn = confusion(labels, decisions)
    return (tp + tn) / (tp + fn + fp + tn) if tp + fn + fp + tn else UNDEFINED


def balanced_accuracy(labels: ArrayLike, decisions: ArrayLike) -> float:
    """Mean of recall and specificity; undefined unless both classes are present."""
    return (recall(labels, decisions) + specificity(labels, decisions)) / 2


def precision(labels: ArrayLike, decisions: ArrayLike) -> float:
    """Share of alarms that are right, 0 without an alarm; undefined without an anomalous clip."""
    return _precision_recall_f1(labels, decisions)[0]


def recall(labels: ArrayLike, decisions: ArrayLike) -> float:
    """Share of anomalous clips that are found; undefined without an anomalous clip."""
    return _precision_recall_f1(labels, decisions)[1]


def f1(labels: ArrayLike, decisions: ArrayLike) -> float:
    """Harmonic mean of precision and recall; undefined without an anomalous clip."""
    return _precision_recall_f1(labels, decisions)[2]


def specificity(labels: ArrayLike, decisions: ArrayLike) -> float:
    """Share of normal clips that are called normal; undefined without a normal clip."""
    _, _, fp, tn = confusion(labels, decisions)
    return tn / (fp + tn) if fp + tn else UNDEFINED


def of_decisions(labels: ArrayLike, decisions: ArrayLike) -> dict[str, float]:
    """Compute every metric of decisions, and their counts `n_tp`, `n_fn`, `n_fp`, `n_tn`."""
    counts = confusion(labels, decisions)._asdict()
    return compute_metrics("decisions", labels, decisions) | {
        f"n_{name}": float(count) for name, count in counts.items()
    }


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _precision_recall_f1(labels: ArrayLike, decisions: ArrayLike) -> tuple[float, float, float]:
    """Return those of `precision_recall_f1`, but undefined without an anomalous clip."""
    tp, fn, _, _ = confusion(labels, decisions)
    return precision_recall_f1(labels, decisions) if tp + fn else (UNDEFINED, UNDEFINED, UNDEFINED)


# --- over machine IDs ------------------------------------------------------------------------------------------------
def arithmetic_mean(values: ArrayLike) -> float:
    """Mean of the defined values."""
    defined = _defined(values)
    return float(defined.mean()) if len(defined) else UNDEFINED


def harmonic_mean(values: ArrayLike) -> float:
    """Harmonic mean of the defined values, each at least float's epsilon (as the official evaluators since 2021)."""
    defined = np.maximum(_defined(values), sys.float_info.epsilon)
    return float(len(defined) / (1 / defined).sum()) if len(defined) else UNDEFINED


def minimum(values: ArrayLike) -> float:
    """Smallest of the defined values, that of the worst machine ID (mAUC of AUCs)."""
    defined = _defined(values)
    return float(defined.min()) if len(defined) else UNDEFINED


SUMMARIES = {"mean": arithmetic_mean, "hmean": harmonic_mean, "min": minimum}


# --- the list --------------------------------------------------------------------------------------------------------
Kind = Literal["scores", "decisions", "level"]  # computed from: scores, decisions, levels of the clips alone
RunsTable = Literal["leaderboard", "repeats", "comparison"]  # tables with one row per run or detector


class Metric(NamedTuple):
    """A metric per machine ID. Every metric is in results.csv, in MLflow and in the tables of its run.

    Attributes:
        name: in files, `pr_auc`.
        head: of its column in tables, `PR-AUC`.
        function: (labels [N], scores [N] or decisions [N]) -> value, NaN if undefined. It validates both by `checked`.
        kind: `scores`, `decisions`, or `level`: scores that are the levels of the clips, for reference.
        note: explains the head below a run's table; empty: it explains itself.
        shown_in: tables of many runs that have a column with its mean over machine IDs, in csv files too.
        worst: whether a column `min_<name>` with its minimum over machine IDs follows in those tables.
        of_ranks: whether only the order of the scores counts. False: it is undefined where a score is infinite.
        signed: whether it can be negative, so that its harmonic mean over machine IDs is meaningless and is omitted.
    """

    name: str
    head: str
    function: Callable[[ArrayLike, ArrayLike], float]
    kind: Kind = "scores"
    note: str = ""
    shown_in: tuple[RunsTable, ...] = ()
    worst: bool = False
    of_ranks: bool = True
    signed: bool = False

    @property
    def summaries(self) -> tuple[str, ...]:
        """Names of its summaries over machine IDs, of those in `SUMMARIES`."""
        return tuple(name for name in SUMMARIES if not (self.signed and name == "hmean"))

    def compute(self, labels: ArrayLike, values: ArrayLike) -> float:
        """Return its value for scores or decisions [N], NaN if undefined."""
        if not self.of_ranks and np.isinf(np.asarray(values, dtype=float)).any():
            return UNDEFINED
        return self.function(labels, values)


EVERY_RUNS_TABLE: tuple[RunsTable, ...] = ("leaderboard", "repeats", "comparison")
METRICS: tuple[Metric, ...] = (
    Metric("auc", "AUC", auc, shown_in=EVERY_RUNS_TABLE, worst=True),
    Metric("pauc", "pAUC", pauc, note="false-positive rate up to .1, chance .5", shown_in=EVERY_RUNS_TABLE),
    Metric("pr_auc", "PR-AUC", pr_auc, shown_in=("comparison",)),
    Metric(
        LEVEL,
        "level",
        auc,
        kind="level",
        note="AUC of the clip's level alone, to be beaten",
        shown_in=("leaderboard",),
    ),
    Metric("accuracy", "acc.", accuracy, kind="decisions", note="accuracy"),
    Metric(
        "balanced_accuracy",
        "bal.",
        balanced_accuracy,
        kind="decisions",
        note="balanced accuracy, the mean of recall and specificity",
    ),
    Metric("precision", "prec.", precision, kind="decisions", note="precision"),
    Metric("recall", "rec.", recall, kind="decisions"),
    Metric("f1", "F1", f1, kind="decisions"),
    Metric("specificity", "spec.", specificity, kind="decisions"),
)


def metrics_of(*kinds: Kind) -> list[Metric]:
    """Return the metrics of these kinds, in the order of `METRICS`."""
    return [metric for metric in METRICS if metric.kind in kinds]


def compute_metrics(kind: Kind, labels: ArrayLike, values: ArrayLike) -> dict[str, float]:
    """Compute every metric of a kind, by name; `values` [N] are scores or decisions."""
    return {metric.name: metric.compute(labels, values) for metric in metrics_of(kind)}


class Measure(NamedTuple):
    """A column in a table of many runs: `metric` over the machine IDs of a run, its `summary` (`mean` or `min`).

    `name` is that of its column in csv files, `head` and `note` are for people.
    """

    name: str
    head: str
    metric: str
    summary: str
    note: str = ""


def summaries_of(metric: str) -> tuple[str, ...]:
    """Return the summaries over machine IDs of a metric, by name: all of them for a name that has no record."""
    return next((record.summaries for record in METRICS if record.name == metric), tuple(SUMMARIES))


def measures_of(table: RunsTable) -> list[Measure]:
    """Return the columns of a table of many runs: means of metrics of scores, then minima, then other metrics."""
    shown = [metric for metric in METRICS if table in metric.shown_in]
    minima = [
        Measure(f"min_{metric.name}", f"min {metric.head}", metric.name, "min", "the worst ID")
        for metric in shown
        if metric.worst
    ]
    means = [_mean_over_ids(metric) for metric in shown if metric.kind == "scores"]
    others = [_mean_over_ids(metric) for metric in shown if metric.kind != "scores"]
    return [*means, *minima, *others]


def _mean_over_ids(metric: Metric) -> Measure:
    return Measure(metric.name, metric.head, metric.name, "mean", metric.note)


# --- input -----------------------------------------------------------------------------------------------------------
def checked(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray, NDArray]:
    """Return both as arrays [N]; ValueError unless each clip has a label (0 or 1) and a number that is not NaN."""
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=float)
    if labels.ndim != 1 or labels.shape != scores.shape:
        raise ValueError(f"one label and one score per clip: got labels {labels.shape} and scores {scores.shape}")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels must be 0 (normal) or 1 (anomalous)")
    if missing := int(np.isnan(scores).sum()):
        raise ValueError(f"{missing} of {len(scores)} scores are NaN: such a clip has no rank")
    return labels.astype(int), scores


def _counts(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray, NDArray]:
    """Count clips from the highest distinct score down: 0, then anomalous and normal clips at or above each.

    Two empty arrays if only one class is present.
    """
    labels, scores = checked(labels, scores)
    if len(np.unique(labels)) < 2:
        return np.empty(0), np.empty(0)
    steps, ranks = np.unique(-scores, return_inverse=True)
    found, false = (np.bincount(ranks[labels == label], minlength=len(steps)) for label in (1, 0))
    return np.append(0, np.cumsum(found)), np.append(0, np.cumsum(false))


def _area(x: NDArray, y: NDArray) -> float:
    return np.diff(x) @ (y[1:] + y[:-1]) / 2


def _defined(values: ArrayLike) -> NDArray:
    values = np.asarray(values, dtype=float)
    return values[~np.isnan(values)]
