"""Messages on their way, in the database of the events: queued with the change they tell, deleted when delivered."""

import logging
from collections.abc import Collection, Iterable
from typing import NamedTuple

from mimii_pl.live.events import EventStore
from mimii_pl.live.output._message import AlarmMessage

MOST_QUEUED = 10_000  # messages of an output
log = logging.getLogger(__name__)


class QueuedMessage(NamedTuple):
    """A message in the queue.

    Attributes:
        number: its place.
        message: that is sent.
    """

    number: int
    message: AlarmMessage


class Outbox:
    """Queues of a store, one per output, each in order; beyond `MOST_QUEUED` the oldest message is dropped, and told.

    Args:
        store: whose database holds them.
    """

    def __init__(self, store: EventStore) -> None:
        self.store, self.database = store, store.database

    def put(self, outputs: Iterable[str], message: AlarmMessage) -> None:
        """Queue a message for outputs, named; one that waits there already is not queued twice."""
        with self.database.changes(durable=True) as connection:
            for name in outputs:
                connection.execute(
                    "INSERT OR IGNORE INTO outbox (output, key, at, body) VALUES (?, ?, ?, ?)",
                    (name, message.key, message.at, message.to_json()),
                )
                over = self.waiting(name) - MOST_QUEUED
                if over > 0:
                    connection.execute(
                        "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE output = ? ORDER BY id LIMIT ?)",
                        (name, over),
                    )
                    self._tell(f"{name}: {over} of more than {MOST_QUEUED} queued messages, the oldest, were dropped")

    def first(self, name: str) -> QueuedMessage | None:
        """Return the oldest message of an output, if any."""
        rows = self.database.read("SELECT id, body FROM outbox WHERE output = ? ORDER BY id LIMIT 1", (name,))
        return QueuedMessage(rows[0][0], AlarmMessage.from_json(rows[0][1])) if rows else None

    def delete(self, number: int) -> None:
        """Delete a message that has arrived."""
        with self.database.changes(durable=True) as connection:
            connection.execute("DELETE FROM outbox WHERE id = ?", (number,))

    def waiting(self, name: str) -> int:
        """Return how many messages of an output wait."""
        ((number,),) = self.database.read("SELECT count(*) FROM outbox WHERE output = ?", (name,))
        return number

    def keep_only(self, names: Collection[str]) -> None:
        """Drop what is queued for outputs that are no longer configured, and tell it."""
        for name, number in self.database.read("SELECT output, count(*) FROM outbox GROUP BY output"):
            if name not in names:
                with self.database.changes() as connection:
                    connection.execute("DELETE FROM outbox WHERE output = ?", (name,))
                self._tell(f"{name} is no longer configured: {number} messages queued for it were dropped")

    def _tell(self, line: str) -> None:
        log.warning("%s", line)
        self.store.add_health("", line)
