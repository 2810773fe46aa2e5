"""Sound as it comes: one module per kind of source."""

from mimii_pl.live.source._choose import choose_source
from mimii_pl.live.source._source import SoundSource, SourceLostError

__all__ = ["SoundSource", "SourceLostError", "choose_source"]
