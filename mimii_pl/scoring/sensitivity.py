"""Sensitivity: how small a synthetic fault may be for a detector to notice it, without a single test label."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mimii_pl.core.errors import damaged
from mimii_pl.core.files import stored_rows, write_csv
from mimii_pl.core.grouping import group_by
from mimii_pl.dataset._cache import Waves
from mimii_pl.scoring.metrics import arithmetic_mean
from mimii_pl.scoring.pseudo_anomaly import PSEUDO_FAULTS, PseudoAnomalies, PseudoFault

NOTICED = 0.9  # AUC from which on a fault counts as noticed
SENSITIVITY_COLUMNS = ("fault", "severity", "unit", "machine_id", "clips", "auc")
GRADES = max(len(fault.severities) for fault in PSEUDO_FAULTS)
ScoreWaves = Callable[[PseudoAnomalies, np.ndarray, str], np.ndarray]  # clips, machine IDs [N], text -> [N]


class Noticed(NamedTuple):
    """One severity of a fault, and the AUC that tells it from normal clips of one machine ID.

    Attributes:
        severity: in the unit of the fault.
        clips: number of clips with the fault.
        auc: of these against the normal clips.
    """

    fault: str
    severity: float
    unit: str
    machine_id: str
    clips: int
    auc: float


def spread_rows(ids: np.ndarray, limit: int | None) -> np.ndarray:
    """Choose the normal clips that faults are put into: evenly spaced within each machine ID, the same number of each.

    Args:
        ids: machine ID numbers [N].
        limit: number of clips in all; None: all clips. However small, each ID has one for each severity, and an ID with
            fewer clips uses them again.

    Returns:
        Rows, ascending within each machine ID.

    >>> spread_rows(np.array([0, 0, 0, 0, 1]), limit=None).tolist()
    [0, 0, 1, 2, 2, 3, 4, 4, 4, 4, 4, 4]
    """
    numbers = np.unique(ids)
    chosen = []
    for number in numbers:
        own = np.flatnonzero(ids == number)
        count = len(own) if limit is None else min(len(own), limit // len(numbers))
        count = max(GRADES, count)
        chosen.append(own[np.arange(count) * len(own) // count])
    return np.concatenate(chosen)


def measure_sensitivity(
    score: ScoreWaves,
    clips: Waves,
    ids: np.ndarray,
    normal: np.ndarray,
    labels: list[str],
    sample_rate: int,
    limit: int | None = None,
) -> list[Noticed]:
    """Put each fault of `PSEUDO_FAULTS` into each clip, in one of its severities, and compare with the normal scores.

    Args:
        score: scores clips with a fault; their `rows` tell which of `clips` each is made from. It is called once per
            fault; the text describes a progress bar.
        clips: normal clips that the detector was not fitted on [N].
        ids: their machine ID numbers [N].
        normal: their scores [N].
        labels: names of the machine IDs.
        sample_rate: in Hz.
        limit: number of clips that faults are put into, see `spread_rows`.

    Returns:
        One entry per fault, severity and machine ID.
    """
    rows = spread_rows(ids, limit)
    of_row, numbers = ids[rows], np.unique(ids)
    places = np.empty(len(rows), int)  # of each clip within its machine ID
    for number in numbers:
        places[of_row == number] = np.arange((of_row == number).sum())
    noticed, chances = [], np.empty(len(rows))
    for number, fault in enumerate(PSEUDO_FAULTS):
        grades = (places + number) % len(fault.severities)
        waves = PseudoAnomalies(clips, number, grades, sample_rate, rows)
        faulty = score(waves, of_row, "scoring pseudo-anomalies")
        for id_ in numbers:
            chances[of_row == id_] = shares_below(normal[ids == id_], faulty[of_row == id_])
        for grade, severity in enumerate(fault.severities):
            for id_ in numbers:
                own = chances[(of_row == id_) & (grades == grade)]
                noticed.append(Noticed(fault.name, severity, fault.unit, labels[id_], len(own), float(own.mean())))
    return noticed


def shares_below(normal: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the share of normal scores below each score [N], ties counting half; their mean is the AUC.

    >>> shares_below(np.array([0.0, 1.0]), np.array([2.0, 1.0, 0.5])).tolist()
    [1.0, 0.75, 0.5]
    """
    ordered = np.sort(normal)
    below, up_to = (np.searchsorted(ordered, scores, side) for side in ("left", "right"))
    return np.where(np.isnan(scores), np.nan, (below + up_to) / (2 * len(ordered)))


def sensitivity_of(noticed: Iterable[Noticed]) -> float:
    """Return the criterion: the mean AUC over faults and severities, then over machine IDs; chance is .5."""
    per_id = group_by(noticed, lambda entry: entry.machine_id)
    return arithmetic_mean([arithmetic_mean([entry.auc for entry in own]) for own in per_id.values()])


def curves(noticed: Iterable[Noticed]) -> dict[str, tuple[list[float], list[float]]]:
    """Return (severities, AUCs) by fault, the strongest severity first; AUCs are means over machine IDs."""
    by_fault = group_by(noticed, lambda entry: entry.fault)
    found = {}
    for name, entries in by_fault.items():
        graded = group_by(entries, lambda entry: entry.severity)
        found[name] = list(graded), [arithmetic_mean([entry.auc for entry in own]) for own in graded.values()]
    return found


def severity_limits(noticed: Iterable[Noticed]) -> dict[str, float | None]:
    """Return, by fault, the severity at which the AUC falls to `NOTICED`; None: it is lower for the strongest.

    The curve is first made monotone (isotonic regression), then interpolated linearly in dB, or in the logarithm of a
    percentage. A fault that is noticed in its weakest severity has that one.
    """
    faults = {fault.name: fault for fault in PSEUDO_FAULTS}
    return {name: _limit(faults[name], *curve) for name, curve in curves(noticed).items() if name in faults}


def _limit(fault: PseudoFault, severities: list[float], aucs: list[float]) -> float | None:
    scale = np.log(severities) if fault.unit == "%" else np.asarray(severities, float)
    falling = never_rising(np.array(aucs))
    if not falling[0] >= NOTICED:  # NaN if scores are
        return None
    last = np.flatnonzero(falling >= NOTICED)[-1]
    limit = np.interp(-NOTICED, -falling[last : last + 2], scale[last : last + 2])
    return float(np.exp(limit) if fault.unit == "%" else limit)


def never_rising(values: np.ndarray) -> np.ndarray:
    """Return the sequence [K] that never rises and is closest to `values` [K] in squares (isotonic regression).

    Each is the lowest, over where a run of values begins, of the highest mean of a run across it (Robertson, Wright and
    Dykstra, Order Restricted Statistical Inference, 1988, theorem 1.4.4).

    >>> never_rising(np.array([1.0, 0.7, 0.8, 0.5])).tolist()
    [1.0, 0.75, 0.75, 0.5]
    """
    sums = np.append(0, np.cumsum(values))
    return np.array(
        [
            min(
                max((sums[end] - sums[start]) / (end - start) for end in range(at + 1, len(values) + 1))
                for start in range(at + 1)
            )
            for at in range(len(values))
        ]
    )


def in_words(noticed: Iterable[Noticed]) -> str:
    """Describe the limits as a mechanic would, the faults that are not noticed last.

    >>> in_words([Noticed("whistle", 10, "dB", "fan/id_00", 8, 1.0), Noticed("whistle", 18, "dB", "fan/id_00", 8, 0.8)])
    'a whistle 14 dB below the machine'
    """
    heard, missed = [], []
    entries = list(noticed)
    strongest = {name: severities[0] for name, (severities, _) in curves(entries).items()}
    faults = {fault.name: fault for fault in PSEUDO_FAULTS}
    for name, limit in severity_limits(entries).items():
        fault = faults[name]
        if limit is None:
            missed.append(fault.words.format(quantity(strongest[name], fault.unit)))
        else:
            heard.append(fault.words.format(quantity(limit, fault.unit)))
    parts = [", ".join(heard)] if heard else []
    return "; ".join(parts + ([f"not even {', '.join(missed)}"] if missed else []))


def quantity(severity: float, unit: str) -> str:
    """Format a severity with its unit, two digits.

    >>> quantity(0.8312, "%"), quantity(31.4, "dB")
    ('0.83 %', '31 dB')
    """
    return f"{severity:.2g} {unit}"


def write_sensitivity(path: Path, noticed: Iterable[Noticed]) -> None:
    write_csv(path, SENSITIVITY_COLUMNS, noticed)


def read_sensitivity(path: Path) -> list[Noticed]:
    """Read `sensitivity.csv` of a run; empty if it has none.

    Raises:
        InputError: it is damaged.
    """
    if not path.is_file():
        return []
    with damaged(path):
        return [
            Noticed(
                fault=row["fault"],
                severity=float(row["severity"]),
                unit=row["unit"],
                machine_id=row["machine_id"],
                clips=int(row["clips"]),
                auc=float(row["auc"]),
            )
            for row in stored_rows(path, SENSITIVITY_COLUMNS)
        ]
