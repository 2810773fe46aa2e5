"""The stations of a plant, from the options of the command or from a file with one entry for each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from mimii_pl.core.config import closest
from mimii_pl.core.errors import InputError, first_line
from mimii_pl.core.foreign import open_regular, printable

LARGEST_PLANT = 1 << 20  # bytes of a plant's file
PLANT_NUMBERS = {"hop": float, "rate": int, "channels": int, "idle_level": float}


class StationOptions(NamedTuple):
    """Options of a station, as `conf/command/monitor.yaml` explains them.

    Attributes:
        name: of the machine; None: its type.
    """

    name: str | None
    run: str
    source: str
    machine_id: str | None = None
    hop: float | None = None
    rate: int | None = None
    channels: int = 1
    state: str = "auto"
    idle_level: float | None = None
    polling: bool = False


def read_plant(path: Path, common: StationOptions) -> list[StationOptions]:
    """Read the stations of a plant: name of the machine -> its options, where they are not those of all.

    Raises:
        InputError: the file cannot be read, or an option is unknown or of the wrong type; the message names it.
    """
    try:
        with open_regular(path) as file:
            content = yaml.safe_load(file.read(LARGEST_PLANT))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"plant={printable(path)}: {getattr(error, 'strerror', None) or first_line(error)}") from None
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"plant={printable(path)}: should be a mapping, the name of each machine to its options")
    return [_station(path, str(name), options, common) for name, options in content.items()]


def _station(path: Path, name: str, options: Any, common: StationOptions) -> StationOptions:
    where = f"plant={printable(path)}: {printable(name)}"
    if not isinstance(options, Mapping):
        raise InputError(f"{where}: should be a mapping, such as {{source: 'mic:0', machine_id: id_00}}")
    known = [field for field in StationOptions._fields if field != "name"]
    values: dict[str, Any] = {}
    for key, value in options.items():
        if key not in known:
            raise InputError(
                f"{where}: no such option, {key}. There are: {', '.join(known)}.{closest(str(key), known)}"
            )
        kind = PLANT_NUMBERS.get(key, bool if key == "polling" else str)
        if value is not None and (isinstance(value, bool) != (kind is bool) or not _is_a(kind, value)):
            raise InputError(f"{where}: {key}={value!r}: should be {KIND_WORDS[kind]}")
        values[key] = value if value is None or kind is not float else float(value)
    return common._replace(name=name, **values)


KIND_WORDS = {float: "a number", int: "a whole number", bool: "true or false", str: "a text"}


def _is_a(kind: type, value: Any) -> bool:
    return isinstance(value, int | float) if kind is float else isinstance(value, kind)
