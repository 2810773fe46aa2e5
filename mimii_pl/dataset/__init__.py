"""Recordings -> clips -> int16 cache -> batches: one module per data set, and the machinery from file to device."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mimii_pl.dataset._cache import ClipRows
    from mimii_pl.dataset._clip import Batch, Clip, Condition, Crop
    from mimii_pl.dataset._datamodule import MachineSounds
    from mimii_pl.dataset._downloadable import Downloadable

__all__ = ["Batch", "Clip", "ClipRows", "Condition", "Crop", "Downloadable", "MachineSounds"]
_HOMES = {"ClipRows": "_cache", "MachineSounds": "_datamodule", "Downloadable": "_downloadable"}


def __getattr__(name: str) -> Any:
    """Import torch and Lightning only when they are needed: reading a list of recordings is not."""
    if name in __all__:
        return getattr(import_module(f"mimii_pl.dataset.{_HOMES.get(name, '_clip')}"), name)
    raise AttributeError(f"module 'mimii_pl.dataset' has no attribute '{name}'")
