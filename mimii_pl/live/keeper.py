"""A machine's rule, event and messages: what a window changes is stored together, or not at all."""

import logging
import sqlite3
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from mimii_pl.core.errors import InputError
from mimii_pl.live.alarm import AlarmRule
from mimii_pl.live.events import EventStore, StoredEvent
from mimii_pl.live.output import AlarmMessage, Delivery
from mimii_pl.live.output.prometheus import MonitorFigures
from mimii_pl.live.windows import AlarmChange, AlarmLevel, ScoredWindow

MOST_UNSTORED = 100_000  # windows in memory while the disk takes none
log = logging.getLogger(__name__)


class _Heard(NamedTuple):
    """A window, what the rule made of it, and whether a person's acknowledgement reached the rule with it."""

    window: ScoredWindow
    change: AlarmChange | None
    level: AlarmLevel
    acknowledged: bool


class AlarmKeeper:
    """Follows one machine: windows into its rule, changes into the store and the queue of messages.

    It goes on where the last process ended, with the state of the rule and an event that is open. While the disk takes
    nothing, windows wait in memory and are stored in order afterwards.

    Args:
        store: of the events.
        rule: fitted, of this machine alone.
        delivery: of the messages.
        machine, machine_id: their names.
        rate: samples in a second of the source.
        model: version of the model, as events tell it.
        figures: for Prometheus; None: none are counted.

    Attributes:
        event: that goes on; None: there is none.
    """

    def __init__(
        self,
        store: EventStore,
        rule: AlarmRule,
        delivery: Delivery,
        *,
        machine: str,
        machine_id: str,
        rate: int,
        model: str,
        figures: MonitorFigures | None = None,
    ) -> None:
        self.store, self.rule, self.delivery, self.figures = store, rule, delivery, figures
        self.machine, self.machine_id, self.rate, self.model = machine, machine_id, rate, model
        self._name = f"alarm/{len(machine)}/{machine}/{machine_id}"  # no two pairs of names have the same
        self._unstored: deque[_Heard] = deque(maxlen=MOST_UNSTORED)
        self._full = False
        self._states: dict[str, dict[str, Any]] = {}
        self.event = store.open_event(machine, machine_id)
        state = store.state(self._name)
        if state and not rule.load_state_dict(state):
            store.add_health(machine, "the rule or its limits have changed: it starts anew")
        if self.event and rule.level == AlarmLevel.NORMAL:
            with store.together(durable=True):
                ended = store.end(self.event.id)
                delivery.put(AlarmMessage.of(ended, "end", ended.end, ended.last))
            self.event = None
        for output in delivery.outputs:
            output.watch(machine, machine_id, model)
        if figures:
            figures.use(machine, machine_id, model)

    def hear(self, window: ScoredWindow, states: Mapping[str, dict[str, Any]] | None = None) -> AlarmChange | None:
        """Take the next window; return the change of level that it causes, if any.

        Args:
            states: of other parts, by name, stored together with what the window changes.
        """
        acknowledged = self._ask_acknowledged()
        self._states |= states or {}
        change = self.rule.hear(window)
        self._unstored.append(_Heard(window, change, self.rule.level, acknowledged))
        self._store()
        if self.figures:
            self.figures.hear(self.machine, self.machine_id, window, self.rule.level, change)
        for output in self.delivery.outputs:
            output.show(self.machine, self.machine_id, window, self.rule.level)
        return change

    @property
    def unstored(self) -> int:
        """Number of windows that wait for the disk."""
        return len(self._unstored)

    def flush(self) -> None:
        """Try once more to store the windows that wait."""
        if self._unstored:
            self._store()

    def _ask_acknowledged(self) -> bool:
        """Pass on the acknowledgement of a person, which stands in the store; return whether it is new."""
        if not self.event:
            return False
        try:
            return self.store.event(self.event.id).acknowledged is not None and self.rule.acknowledge()
        except sqlite3.Error:
            return False

    def _store(self) -> None:
        """Store the windows that wait: all of them, or on an error none."""
        event, changed = self.event, any(heard.change or heard.acknowledged for heard in self._unstored)
        try:
            with self.store.together(durable=changed):
                for heard in self._unstored:
                    event = self._store_one(event, heard)
                for name, state in {**self._states, self._name: self.rule.state_dict()}.items():
                    self.store.keep_state(name, state)
        except (sqlite3.Error, InputError) as error:
            if not self._full:
                log.warning("%s: %s. Windows wait in memory until it takes them", self.store.folder, error)
            self._full = True
            if self._unstored and (change := self._unstored[-1].change):  # nobody else tells of it
                place = self.machine, self.machine_id
                log.warning("%s %s: %s, not stored: %s", *place, change.level.name, change.reason)
            return
        if self._full:
            log.warning("%s takes windows again: %d were stored", self.store.folder, len(self._unstored))
            self._full = False
        self.event = event
        self._unstored.clear()
        if changed:
            self.delivery.wake()

    def _store_one(self, event: StoredEvent | None, heard: _Heard) -> StoredEvent | None:
        window, change = heard.window, heard.change
        at = window.at + (window.end - window.first) / self.rate
        self.store.trends.append(self.machine, self.machine_id, window, heard.level)
        if event is None:
            if not change or change.level == AlarmLevel.NORMAL:
                return None
            event = self.store.begin(self.machine, self.machine_id, change, self.rate, self.model)
            self.delivery.put(AlarmMessage.of(event, "begin", at, window.end))
            return event
        if heard.acknowledged:
            self.delivery.put(AlarmMessage.of(event, "acknowledge", at, window.end))
        if change and change.level == AlarmLevel.NORMAL:
            event = self.store.end(event.id)
            self.delivery.put(AlarmMessage.of(event, "end", at, window.end))
            return None
        event = self.store.extend(event.id, window, self.rate, change)
        if change:
            self.delivery.put(AlarmMessage.of(event, "level", at, window.end))
        return event
