"""Held-out normal scores -> the score above which a clip is called anomalous: one module per rule."""

from mimii_pl.threshold._false_alarms import FalseAlarms
from mimii_pl.threshold._threshold import Threshold, Thresholds

__all__ = ["FalseAlarms", "Threshold", "Thresholds"]
