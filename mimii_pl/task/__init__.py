"""What a trained detector is asked for, and what it is evaluated by: one class per task."""

from mimii_pl.task._task import Task

__all__ = ["Task"]
