"""File names of DCASE task 2, and the label lists that add what the names omit."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mimii_pl.core.errors import InputError
from mimii_pl.core.foreign import printable, read_rows
from mimii_pl.dataset._clip import Clip, Split

FOLDERS: dict[str, Split] = {  # folder of a machine type -> split
    "train": "train",
    "test": "test",
    "source_test": "test",
    "target_test": "test",
    "supplemental": "supplemental",
}
NAMES = [
    re.compile(pattern)
    for pattern in (
        r"(?:(?P<condition>normal|anomaly)_)?(?P<id>id_\d{2})_\d{8}",
        r"(?P<id>section_\d{2})_(?P<domain>source|target)_(?:train|test)_(?P<condition>normal|anomaly)_\d{4,}"
        r"(?:_(?P<attributes>.*))?",
        r"(?P<id>section_\d{2})_(?:(?P<domain>source|target)_)?(?:test_)?\d{4,}",
        r"(?P<id>section_\d{2})_.*supplemental.*",
    )
]
Facts = dict[str, Any]  # condition, domain and attributes of a clip


def parse_path(
    path: Path, listed: Facts | None = None, attributes: Mapping[str, dict] | None = None, spelling: dict | None = None
) -> Clip | None:
    """Parse the path of a clip in this layout; None if its name matches no pattern.

    Args:
        listed: facts that a label list gives; they overrule the name's.
        attributes: stem -> attributes, from the csv files of the machine type.
        spelling: attribute names to correct, wrong -> right.
    """
    match = _match(path.stem)
    if match is None:
        return None
    facts = {**_facts(match), **(listed or {})}
    folder = path.parent.name
    domain = facts["domain"] or (folder.split("_")[0] if folder in ("source_test", "target_test") else "")
    values = (attributes or {}).get(path.stem) or facts["attributes"]
    values = {(spelling or {}).get(name, name): value for name, value in values.items()}
    split = FOLDERS.get(folder, "")
    if split == "supplemental":
        values["supplemental"] = "noise" if "noise" in path.stem else "machine"
    return Clip(path, path.parent.parent.name, match["id"], domain, facts["condition"], split, values)


def read_list(path: Path) -> dict[str, dict[str, Facts]]:
    """Read a label list as the organizers publish it: a line with the machine type, then `file name,labelled name`.

    Returns:
        machine -> stem -> facts.

    Raises:
        InputError: a line of another form.
    """
    facts: dict[str, dict[str, Facts]] = {}
    machine = ""
    for line, row in read_rows(path, ",", any_bytes=False):
        if len(row) == 1 and row[0]:
            machine = row[0].strip()
        elif len(row) >= 2 and machine and (match := _match(Path(row[1]).stem)) and match.get("condition"):
            facts.setdefault(machine, {})[Path(row[0]).stem] = _facts(match)
        else:
            text = printable(",".join(row)[:200])
            raise InputError(f"{path}, line {line}: {text!r} is neither a machine type nor a file name with its label")
    return facts


def read_table(path: Path, machine: str, tells: str) -> dict[str, dict[str, Facts]]:
    """Read a table of an official evaluator, rows `name,0` or `name,1`, where 1 means `anomaly` or domain `target`.

    Attributes that another list gives for these clips are dropped, since it confuses them.
    """
    words = {"condition": ("normal", "anomaly"), "domain": ("source", "target")}[tells]
    facts: dict[str, Facts] = {}
    for line, row in read_rows(path, ",", any_bytes=False):
        if len(row) != 2 or row[1] not in ("0", "1"):
            raise InputError(f"{path}, line {line}: expected rows of a file name and 0 or 1")
        facts[Path(row[0]).stem] = {tells: words[int(row[1])], "attributes": {}}
    return {machine: facts}


def _facts(match: Mapping[str, str | Any]) -> Facts:
    return {
        "condition": match.get("condition") or "",
        "domain": match.get("domain") or "",
        "attributes": _pairs(match.get("attributes") or ""),
    }


def named_id(stem: str) -> str:
    """Return the machine ID in a file name, as a whole word; empty if there is none, or several.

    >>> [named_id(stem) for stem in ("normal_id_02_00000000", "id_00_monday", "valid_02", "id_021")]
    ['id_02', 'id_00', '', 'id_021']
    """
    if match := _match(stem):
        return str(match["id"])
    found = set(re.findall(r"(?<![^\W_])(?:id|section)_\d+(?![^\W_])", stem))
    return found.pop() if len(found) == 1 else ""


def _match(stem: str) -> dict[str, str | Any] | None:
    for pattern in NAMES:
        if match := pattern.fullmatch(stem):
            return match.groupdict()
    return None


def _pairs(text: str) -> dict[str, str]:
    """Parse `car_A2_spd_28V` to {car: A2, spd: 28V}; other text is kept whole, and `noAttribute` gives none."""
    words = text.strip("_").split("_") if text.strip("_") not in ("", "noAttribute", "noAttributes") else []
    names = words[::2]
    if len(words) % 2 or any(not name.replace("-", "").isalpha() for name in names) or len(set(names)) < len(names):
        return {"attributes": "_".join(words)} if words else {}
    return dict(zip(names, words[1::2], strict=True))


def attributes_of(folder: Path) -> dict[str, dict[str, str]]:
    """Read the `attributes_*.csv` of a folder: file name, then names and values in turn (d1p, d1v, d2p, ...).

    Returns:
        stem -> attributes.
    """
    attributes = {}
    for path in sorted(folder.glob("attributes_*.csv")):
        rows = read_rows(path, ",", any_bytes=False)
        next(rows, None)
        for _, row in rows:
            cells = [cell.strip() for cell in row[1:] if not cell.endswith(".wav")]
            pairs = zip(cells[::2], cells[1::2], strict=False)
            attributes[Path(row[0]).name.removesuffix(".wav")] = {name: value for name, value in pairs if name}
    return attributes
