"""Anomalous sound detection for machine condition monitoring: learn from normal sound, score every new clip."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mimii_pl.core.errors import InputError
    from mimii_pl.scoring.scorer import Scorer
    from mimii_pl.tracking.load import load

__version__ = "0.1.0"
__all__ = ["InputError", "Scorer", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import torch only when it is needed, so that the command line answers at once."""
    if name == "load":
        from mimii_pl.tracking.load import load

        return load
    if name == "Scorer":
        from mimii_pl.scoring.scorer import Scorer

        return Scorer
    if name == "InputError":
        from mimii_pl.core.errors import InputError

        return InputError
    raise AttributeError(f"module 'mimii_pl' has no attribute '{name}'")


def __dir__() -> list[str]:
    """List the lazily imported names too."""
    return sorted({*globals(), *__all__})
