"""The base of the ways out of a monitor."""

import hashlib

from mimii_pl.live.output._message import AlarmMessage
from mimii_pl.live.windows import AlarmLevel, ScoredWindow


class DeliveryError(Exception):
    """Raised when a message did not arrive, for a reason that may pass: it is sent again."""


class RefusedMessageError(Exception):
    """Raised when the receiver will never take a message: it is dropped, and that is told."""


class AlarmOutput:
    """Base of the ways out. A subclass implements `send`.

    Args:
        kind: of it, in a word.
        address: where it leads; messages that are queued for it are found by it again.
        shown: what a log may tell of the address.

    Attributes:
        name: that its queue is stored by.
    """

    def __init__(self, kind: str, address: str, shown: str) -> None:
        self.name = f"{kind}:{hashlib.sha256(address.encode()).hexdigest()[:12]}"
        self.shown = shown

    def send(self, message: AlarmMessage) -> None:
        """Deliver a message, and return when it has arrived.

        Raises:
            DeliveryError: it may arrive later.
            RefusedMessageError: it never will.
        """
        raise NotImplementedError

    def watch(self, machine: str, machine_id: str, model: str) -> None:
        """Prepare for a machine, before its first window."""

    def show(self, machine: str, machine_id: str, window: ScoredWindow, level: AlarmLevel) -> None:
        """Show the latest window, where it is shown; it is not queued, and never waits."""

    def close(self) -> None:
        """Say goodbye."""
