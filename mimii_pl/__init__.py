"""Anomalous sound detection for machine condition monitoring: learn from normal sound, score every new clip."""

__version__ = "0.1.0"
__all__ = ["Scorer", "__version__", "load"]


def __getattr__(name: str):
    """Import the scorer (and torch with it) only when it is asked for, so that the command line answers at once."""
    if name in ("load", "Scorer"):
        from mimii_pl import scorer

        return getattr(scorer, name)
    raise AttributeError(f"module 'mimii_pl' has no attribute '{name}'")
