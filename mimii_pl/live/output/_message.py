"""Changes of events as they are told."""

import json
import math
from typing import Any, NamedTuple

from mimii_pl.core.foreign import printable
from mimii_pl.live.events import StoredEvent


class AlarmMessage(NamedTuple):
    """A change of an event, as it is queued and sent.

    Attributes:
        key: the same whenever this change is sent again, and of no other one; receivers drop what they know.
        change: `begin`, `level`, `end` or `acknowledge`.
        event: its number in the store.
        machine, machine_id: as the monitor names them.
        level: `normal`, `warn` or `alarm`, from now on.
        at: unix time of the change in s.
        start: unix time of the event's first sample in s.
        score, p_value: of the event's window with the highest score so far; None if there is none.
        low_hertz, high_hertz: of its loudest band; None if there is none.
        reason: what the rule saw, in words.
        model: version of the model.
    """

    key: str
    change: str
    event: int
    machine: str
    machine_id: str
    level: str
    at: float
    start: float
    score: float | None
    p_value: float | None
    low_hertz: float | None
    high_hertz: float | None
    reason: str
    model: str

    @classmethod
    def of(cls, event: StoredEvent, change: str, at: float, sample: int) -> "AlarmMessage":
        """Describe a change of an event.

        Args:
            change: see above.
            at: unix time of it in s.
            sample: number of the sample at which it came.
        """
        return cls(
            key=f"{event.key}/{sample}/{change}",
            change=change,
            event=event.id,
            machine=event.machine,
            machine_id=event.machine_id,
            level=event.level.name.lower(),
            at=at,
            start=event.start,
            score=_or_none(event.score),
            p_value=_or_none(event.p_value),
            low_hertz=_or_none(event.low_hertz),
            high_hertz=_or_none(event.high_hertz),
            reason=event.reason,
            model=event.model,
        )

    @classmethod
    def from_json(cls, text: str) -> "AlarmMessage":
        """Restore what `to_json` wrote."""
        return cls(**json.loads(text))

    def fields(self) -> dict[str, Any]:
        """Return names and values."""
        return self._asdict()

    def to_json(self) -> str:
        """Return one line of JSON, without NaN."""
        return json.dumps(self.fields(), allow_nan=False)

    @property
    def title(self) -> str:
        """The change in a few words, as a person reads it."""
        what = {"end": "is normal again", "acknowledge": "acknowledged"}.get(self.change, self.level.upper())
        return printable(f"{self.machine} {self.machine_id}: {what}")

    @property
    def line(self) -> str:
        """The change in a line, as a person reads it."""
        parts = [self.title, self.reason]
        if self.score is not None:
            parts.append(f"peak score {self.score:.3g} (p {self.p_value:.3g})")
        if self.low_hertz is not None and self.high_hertz is not None:
            parts.append(f"loudest {self.low_hertz:.0f} to {self.high_hertz:.0f} Hz")
        return printable(", ".join(parts))


def _or_none(number: float) -> float | None:
    return None if math.isnan(number) else number
