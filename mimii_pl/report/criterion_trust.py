"""Trust in the criterion that ranks detectors: its agreement with the test clips, measured elsewhere and here."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimii_pl.report.tables import number

MIN_DETECTORS = 4  # fewer have too few orders for a rank correlation to mean something


class MeasuredAgreement(NamedTuple):
    """Order that a criterion gave many detectors on one data set, held beside their test clips.

    Attributes:
        criterion: as for `objective=`.
        data: name of the data set.
        detectors: number of configurations.
        spearman: rank correlation of the criterion and (AUC + pAUC)/2 of the test clips.
        regret: (AUC + pAUC)/2 of the best configuration minus that of the one that the criterion chooses.
    """

    criterion: str
    data: str
    detectors: int
    spearman: float
    regret: float


MEASURED = (  # printed by `benchmarks/criteria.py`, see docs/criterion.md; nothing is said of other criteria
    MeasuredAgreement("sensitivity", "ToyCar", 40, 0.49, 0.015),
    MeasuredAgreement("sensitivity", "generated fans", 40, 0.55, 0.029),
    MeasuredAgreement("sensitivity", "motors at other speeds", 61, 0.00, 0.062),
    MeasuredAgreement("diverse", "ToyCar", 40, -0.10, 0.037),
    MeasuredAgreement("diverse", "generated fans", 40, 0.36, 0.065),
    MeasuredAgreement("diverse", "motors at other speeds", 61, 0.10, 0.231),
    MeasuredAgreement("other_ids", "ToyCar", 40, -0.01, 0.037),
    MeasuredAgreement("other_ids", "generated fans", 40, 0.20, 0.157),
    MeasuredAgreement("other_ids", "motors at other speeds", 61, -0.01, 0.234),
)


def trust_note(criterion: str, head: str, values: Sequence[float], goals: Sequence[float], goal: str) -> str:
    """Tell how far an order can be trusted: its agreement with these test clips, and what was measured on other data.

    Test labels are only reported here: they do not change the order.

    Args:
        criterion: by which the rows are ranked.
        head: its name in the table.
        values: [R] the criterion of each row, best first.
        goals: [R] what users come for, of the test clips of each row; NaN: undefined.
        goal: its name, `(AUC + pAUC)/2`.
    """
    return " ".join(filter(None, (_here(head, values, goals, goal), _elsewhere(criterion, goal))))


def _here(head: str, values: Sequence[float], goals: Sequence[float], goal: str) -> str:
    pairs = np.array([pair for pair in zip(values, goals, strict=True) if all(map(math.isfinite, pair))])
    if len(pairs) < MIN_DETECTORS:
        return ""
    own, tested = pairs.T
    regret = tested.max() - tested[0]
    tied = int((np.abs(own - own[0]) < 0.0005).sum())
    texts = [
        f"Trust in this order: over these {len(pairs)} rows the rank correlation (Spearman) of {head} and {goal} of "
        f"the test clips is {signed(_spearman(own, tested))} (1: the same order, 0: none)"
    ]
    texts.append("the first row is the best" if regret <= 0 else f"the first row is {number(regret)} below the best")
    if tied > 1:
        texts.append(f"{tied} rows share the first's {head}, so their order says nothing")
    return f"{'; '.join(texts)}."


def _elsewhere(criterion: str, goal: str) -> str:
    found = [measured for measured in MEASURED if measured.criterion == criterion]
    if not found:
        return ""
    texts = (
        f"{signed(one.spearman)} on {one.data} ({one.detectors} detectors, its choice {number(one.regret)} below the "
        "best)"
        for one in found
    )
    return f"Rank correlation (Spearman) of this criterion with {goal}, measured elsewhere: {'; '.join(texts)}."


def signed(value: float) -> str:
    """Return a number with two decimals and no leading zero, `.31`, `-.31`; `undefined` for NaN."""
    return number(value) if math.isnan(value) else f"{value:.2f}".replace("-0.00", "0.00").replace("0.", ".", 1)


def _spearman(one: NDArray, other: NDArray) -> float:
    """Correlate ranks, ties by their mean rank; NaN where one of them is constant."""
    from scipy.stats import rankdata

    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return math.nan
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])
