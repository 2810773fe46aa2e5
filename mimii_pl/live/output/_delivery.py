"""Threads that deliver what is queued: in order, again after an outage, with growing pauses."""

import logging
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import suppress

from mimii_pl.live.events import EventStore
from mimii_pl.live.output._message import AlarmMessage
from mimii_pl.live.output._outbox import Outbox
from mimii_pl.live.output._output import AlarmOutput, DeliveryError, RefusedMessageError

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # s between tries, doubled from one to the next
IDLE = 5.0  # s between looks at the queue, should another process fill it
log = logging.getLogger(__name__)


class Delivery:
    """Queue of messages and the threads that empty it, one per output, so that none waits for another.

    Each message is deleted once its receiver has confirmed it, and no later one is sent before. If the process ends
    between the two, it is sent again, with the same `key`: at least once on the wire, once for receivers that mind it.

    Args:
        store: of the events.
        outputs: ways out.
        longest_pause: s between tries, at most.
    """

    def __init__(self, store: EventStore, outputs: Sequence[AlarmOutput], longest_pause: float = LONGEST_PAUSE) -> None:
        self.store, self.outputs, self.longest_pause = store, list(outputs), longest_pause
        self.outbox = Outbox(store)
        self.outbox.keep_only({output.name for output in outputs})
        self._stopped = threading.Event()
        self._filled = {output.name: threading.Event() for output in outputs}
        self._threads = [
            threading.Thread(target=self._deliver, args=(output,), name=output.name, daemon=True) for output in outputs
        ]

    def start(self) -> None:
        """Start to deliver, first what an earlier process has left."""
        for thread in self._threads:
            thread.start()

    def put(self, message: AlarmMessage) -> None:
        """Queue a message for all outputs, within the transaction of the caller."""
        self.outbox.put(self._filled, message)

    def wake(self) -> None:
        """Deliver what was queued, now that its transaction is complete."""
        for filled in self._filled.values():
            filled.set()

    def stop(self, patience: float = 5.0) -> None:
        """Stop; what is not delivered waits on the disk for the next start.

        Args:
            patience: s to wait for a message on its way.
        """
        self._stopped.set()
        self.wake()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(patience)
        for output in self.outputs:
            output.close()

    def _deliver(self, output: AlarmOutput) -> None:
        pause, filled = 0.0, self._filled[output.name]
        while not self._stopped.is_set():
            filled.clear()
            try:
                delivered = self._deliver_one(output)
            except (DeliveryError, sqlite3.Error) as error:
                if not pause:
                    self._tell(f"{output.shown} does not answer: {error}. Messages are queued and sent later")
                pause = min(max(FIRST_PAUSE, 2 * pause), self.longest_pause)
                self._stopped.wait(pause)
                continue
            if delivered and pause:
                self._tell(f"{output.shown} answers again")
                pause = 0.0
            if not delivered:
                filled.wait(IDLE)

    def _deliver_one(self, output: AlarmOutput) -> bool:
        """Send the oldest message; return False if there is none."""
        queued = self.outbox.first(output.name)
        if queued is None:
            return False
        try:
            output.send(queued.message)
        except RefusedMessageError as error:
            self._tell(f"{output.shown} refused {queued.message.key!a}, which is dropped: {error}")
        self.outbox.delete(queued.number)
        return True

    def _tell(self, line: str) -> None:
        log.warning("%s", line)
        with suppress(sqlite3.Error):  # of a full disk; the log has it
            self.store.add_health("", line)
