"""The tasks, one class each: what a trained detector predicts, and how it is evaluated."""

from mimii_pl.task._task import Task

__all__ = ["Task"]
