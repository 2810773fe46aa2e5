"""P-values of windows -> level of alarm: one module per rule."""

from mimii_pl.live.alarm._normal import NormalScores, normal_scores
from mimii_pl.live.alarm._rule import AlarmRule

__all__ = ["AlarmRule", "NormalScores", "normal_scores"]
