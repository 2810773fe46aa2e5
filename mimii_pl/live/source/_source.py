"""The base of the sources of sound, and how fast one that fails is opened again."""

from collections.abc import Iterator

from mimii_pl.live.windows import Block

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # s until a lost source is opened again: doubled each time
BLOCK_SECONDS = 1.0  # of a block of a recording
QUIET_AFTER = 5.0  # s without sound after which a source that plays on has no signal


class SourceLostError(Exception):
    """Raised when a source delivers nothing more, for a reason that may pass: it is opened again."""


class SoundSource:
    """Base of the sources. A subclass implements `open`, `blocks` and `close`.

    Args:
        name: as it was given, without passwords.

    Attributes:
        rate: samples in a second; known when `open` has returned, and that of the next block at any time.
        channels: likewise.
        live: it plays on while nobody listens, and its number of samples with it; else it waits.
        goes_back: `blocks` may begin with a sample that was heard before.
        quiet_after: s without sound from which there is no signal; None: it may be quiet for ever.
        stopped: whether `stop` was called.
    """

    rate = 0
    channels = 0
    live = True
    goes_back = False
    quiet_after: float | None = QUIET_AFTER

    def __init__(self, name: str) -> None:
        self.name, self.stopped = name, False

    @property
    def identity(self) -> str:
        """Name by which its position is stored: another source, or another recording of its name, begins anew."""
        return self.name

    def open(self) -> None:
        """Open it.

        Raises:
            SourceLostError: it cannot be opened now.
            InputError: it never can.
        """
        raise NotImplementedError

    def blocks(self, first: int) -> Iterator[Block | None]:
        """Yield sound as it comes, until the source ends; None: a recording ends, and what follows is another one.

        Args:
            first: number of the sample to begin with.

        Raises:
            SourceLostError: nothing more comes.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Close it, in the thread that opened it."""

    def stop(self) -> None:
        """Let `blocks` end soon, or raise SourceLostError; from any thread."""
        self.stopped = True
