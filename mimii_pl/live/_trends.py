"""History of windows, thinned: fine for hours, coarse for months, and bounded."""

import math
from typing import NamedTuple

from mimii_pl.live._database import Database
from mimii_pl.live.windows import AlarmLevel, ScoredWindow

KEPT = {10: 6 * 3600, 60: 2 * 86400, 600: 14 * 86400, 3600: 400 * 86400}  # s of a point -> s that such points are kept
CLEAN_EVERY = 200  # windows
POINTS = 2000  # of an answer, at most
ADD = """
INSERT INTO history VALUES (?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    windows = windows + 1, judged = judged + excluded.judged, score_sum = score_sum + excluded.score_sum,
    score_max = max(coalesce(score_max, excluded.score_max), coalesce(excluded.score_max, score_max)),
    p_sum = p_sum + excluded.p_sum, p_min = min(coalesce(p_min, excluded.p_min), coalesce(excluded.p_min, p_min)),
    level_sum = level_sum + excluded.level_sum, leveled = leveled + excluded.leveled,
    state = excluded.state, alarm = max(alarm, excluded.alarm)
"""


class TrendPoint(NamedTuple):
    """Windows that began within a span of time.

    Attributes:
        at: unix time of its beginning in s.
        seconds: its length.
        windows: their number.
        judged: of these, the windows that were judged.
        score: their mean score; NaN if none was judged, as all of the following.
        score_max: their highest score.
        p_value: their mean p-value, which is about 0.5 of a healthy machine.
        p_min: their lowest p-value.
        level: mean of the sound in dB of full scale.
        state: of the last window.
        alarm: highest level of alarm.
    """

    at: float
    seconds: int
    windows: int
    judged: int
    score: float
    score_max: float
    p_value: float
    p_min: float
    level: float
    state: str
    alarm: int


class Trends:
    """History of each machine.

    Args:
        database: that holds it.
    """

    def __init__(self, database: Database) -> None:
        self.database, self.added = database, 0

    def append(self, machine: str, machine_id: str, window: ScoredWindow, alarm: AlarmLevel) -> None:
        """Add a window, and drop what is older than it is kept for."""
        judged = not math.isnan(window.score) and not math.isnan(window.p_value)
        score, p_value = (window.score, window.p_value) if judged else (None, None)
        leveled = math.isfinite(window.level)
        values = (
            *(int(judged), score or 0.0, score, p_value or 0.0, p_value),
            *(window.level if leveled else 0.0, int(leveled), window.state.value, int(alarm)),
        )
        self.added += 1
        with self.database.changes() as connection:
            for step, kept in KEPT.items():
                connection.execute(ADD, (machine, machine_id, step, int(window.at // step) * step, *values))
                if self.added % CLEAN_EVERY == 1:
                    connection.execute(
                        "DELETE FROM history WHERE machine = ? AND machine_id = ? AND step = ? AND at < ?",
                        (machine, machine_id, step, window.at - kept),
                    )

    def read(self, machine: str, machine_id: str, since: float, until: float) -> list[TrendPoint]:
        """Return the finest points of a span of time (unix times in s) that are kept for it and not too many."""
        ((newest,),) = self.database.read(
            "SELECT max(at) FROM history WHERE machine = ? AND machine_id = ? AND step = 10", (machine, machine_id)
        )
        reach = (newest or until) - since
        steps = [step for step, kept in KEPT.items() if reach <= kept and (until - since) / step <= POINTS]
        step = min(steps, default=max(KEPT))
        rows = self.database.read(
            "SELECT at, windows, judged, score_sum, score_max, p_sum, p_min, level_sum, leveled, state, alarm"
            " FROM history WHERE machine = ? AND machine_id = ? AND step = ? AND at > ? AND at <= ? ORDER BY at",
            (machine, machine_id, step, since - step, until),
        )
        return [_point(step, *row) for row in rows]


def _point(
    step: int,
    at: float,
    windows: int,
    judged: int,
    score_sum: float,
    score_max: float | None,
    p_sum: float,
    p_min: float | None,
    level_sum: float,
    leveled: int,
    state: str,
    alarm: int,
) -> TrendPoint:
    score, p_value = (score_sum / judged, p_sum / judged) if judged else (math.nan, math.nan)
    return TrendPoint(
        *(float(at), step, windows, judged, score, or_nan(score_max), p_value, or_nan(p_min)),
        *(level_sum / leveled if leveled else math.nan, state, alarm),
    )


def or_nan(value: float | None) -> float:
    """Return a number as SQLite stores it, which has no NaN but NULL."""
    return math.nan if value is None else value
