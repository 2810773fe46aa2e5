"""The source that a text names."""

import math
from pathlib import Path

from mimii_pl.core.addresses import whole_address
from mimii_pl.core.errors import InputError
from mimii_pl.core.foreign import printable
from mimii_pl.live._database import Database
from mimii_pl.live.source._source import SoundSource

STREAM_SCHEMES = ("rtsp://", "rtsps://", "http://", "https://")
KINDS_OF_SOURCE = "mic:<name or number>, rtsp://..., http://..., folder:<folder>, file:<recording> or - (raw samples)"
RAW_RATES = 100, 1_000_000  # Hz, lowest and highest of samples without a header
MOST_RAW_CHANNELS = 64
PLAY_SPEEDS = {"real": 1.0, "max": math.inf}


def choose_source(
    text: str,
    *,
    station: str,
    database: Database,
    channel: int | str,
    full_scale: float,
    base: int,
    rate: int | None = None,
    channels: int = 1,
    speed: str = "real",
    polling: bool = False,
) -> SoundSource:
    """Return the source that a text names; it is not opened yet.

    Args:
        station: name of the station, for what is remembered of a folder.
        database: that remembers.
        channel: that the model hears.
        full_scale: number in floating-point recordings that counts as full scale.
        base: number of the first sample of a recording.
        rate, channels: of raw samples.
        speed: of a recording: `real` time, or `max`.
        polling: look at all files of a folder every second.

    Raises:
        InputError: it names none.
    """
    if speed not in PLAY_SPEEDS:
        raise InputError(f"speed={speed}: should be real (time) or max")
    kind, colon, rest = text.partition(":")
    if text == "-":
        from mimii_pl.live.source.stdin import StdinSource

        if rate is None:
            raise InputError("source=- has no header: give rate=<Hz>, and channels=<number> if it is not 1")
        if type(rate) is not int or not RAW_RATES[0] <= rate <= RAW_RATES[1]:
            raise InputError(f"rate={rate}: should be a whole number of Hz from {RAW_RATES[0]} to {RAW_RATES[1]:,}")
        if type(channels) is not int or not 1 <= channels <= MOST_RAW_CHANNELS:
            raise InputError(f"channels={channels}: should be a whole number from 1 to {MOST_RAW_CHANNELS}")
        return StdinSource(rate, channels)
    if text.lower().startswith(STREAM_SCHEMES):
        from mimii_pl.live.source.stream import StreamSource

        if (address := whole_address(text)) is None:
            raise InputError(f"source={text}: its password is hidden: give it again")
        return StreamSource(address)
    if not colon or not rest or kind not in ("mic", "folder", "file"):
        raise InputError(f"source={printable(text)}: should be {KINDS_OF_SOURCE}")
    if kind == "mic":
        from mimii_pl.live.source.microphone import MicrophoneSource

        return MicrophoneSource(rest, channel + 1 if isinstance(channel, int) else None)
    place = Path(rest).expanduser()
    if kind == "folder":
        from mimii_pl.live.source.folder import FolderSource

        return FolderSource(place, database, station, polling=polling, full_scale=full_scale)
    from mimii_pl.live.source.file import FileSource

    return FileSource(place, base=base, speed=PLAY_SPEEDS[speed], full_scale=full_scale)
