"""The position of a source, from which a restarted monitor goes on."""

from typing import Any

from mimii_pl.live.events import EventStore


def position_name(machine: str, machine_id: str) -> str:
    """Return the name that the position of a source is stored by."""
    return f"source/{len(machine)}/{machine}/{machine_id}"


def resume_position(store: EventStore, machine: str, machine_id: str, source: str) -> dict[str, Any]:
    """Return the position that a source goes on from: numbers never begin anew, as rules and events refer to them.

    Args:
        source: its name.

    Returns:
        `next`, the number of the next sample, `base`, that of the first sample of a recording, and, if it is the source
        of before, `at`, the unix time of the next sample.
    """
    stored = store.state(position_name(machine, machine_id)) or {"next": 0}
    if stored.get("source") == source:
        return stored
    return {"base": int(stored["next"]), "next": int(stored["next"])}
