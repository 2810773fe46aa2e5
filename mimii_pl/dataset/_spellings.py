"""Accepted spellings of conditions, splits and columns, in any case."""

import re
import unicodedata
from collections.abc import Iterable, Mapping

from mimii_pl.dataset._clip import Condition, Split

WORDS: dict[str, Condition] = {  # in singular, where that is without an s
    **dict.fromkeys(("normal", "ok", "okay", "good", "healthy", "intact", "undamaged", "passed", "pass"), "normal"),
    **dict.fromkeys(("gut", "io", "fehlerfrei", "nominal", "normale", "bon", "正常", "норма", "нормально"), "normal"),
    **dict.fromkeys(("anomaly", "anomalous", "abnormal", "faulty", "fault", "bad", "ng", "nok"), "anomaly"),
    **dict.fromkeys(("ko", "defect", "defective", "broken", "damage", "damaged", "unhealthy", "failure"), "anomaly"),
    **dict.fromkeys(("fail", "failed", "defekt", "kaputt", "fehler", "fehlerhaft", "异常"), "anomaly"),
    **dict.fromkeys(("schlecht", "nio", "notok", "unnormal", "anormal", "anomalia", "mauvais", "故障"), "anomaly"),
    **dict.fromkeys(("anomalie", "anomalies", "異常", "аномалия", "брак", "дефект"), "anomaly"),
}
OPPOSITE: dict[Condition, Condition] = {"normal": "anomaly", "anomaly": "normal"}
NEGATIONS = ("not", "non", "no", "nicht")
FILLERS = ("dir", "folder", "data", "sound", "audio", "recording", "sample", "clip", "file", "wav")
ASKING = ("class", "target", "y", "label", "state", "status", "quality", "result", "verdict")  # columns of answers
UNTOLD = ("", "unknown", "nan", "-1")  # cells
TRUTHS = {"1": True, "1.0": True, "true": True, "yes": True, "0": False, "0.0": False, "false": False, "no": False}
SPLITS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
    "": "",
}
COLUMN_NAMES = {  # field of a clip -> usual names of its column
    "path": ("path", "file", "filename", "file_name", "file_id", "wav"),
    "condition": (
        *("condition", "label", "abnormal", "anomalous", "anomaly", "is_anomaly", "is_anomalous", "is_abnormal"),
        *("fault", "faulty", "is_faulty", "defect", "defective", "is_defective", "normal", "is_normal", "ok", "is_ok"),
    ),
    "split": ("split", "subset", "set"),
    "machine": ("machine", "machine_type", "type"),
    "id": ("id", "machine_id", "section"),
    "domain": ("domain",),
    "recording": ("recording",),
}


class Conditions:
    """Conditions by the names of folders and the cells of tables.

    Args:
        normal: further names for the condition of normal recordings.
        anomaly: further names for that of anomalous ones.
    """

    def __init__(self, normal: Iterable[str | int] = (), anomaly: Iterable[str | int] = ()) -> None:
        self.given: dict[str, Condition] = {folded(name): "normal" for name in normal}
        self.given.update({folded(name): "anomaly" for name in anomaly})

    def of(self, name: str) -> Condition:
        """Return the condition that a name stands for; empty if none.

        >>> known = Conditions(anomaly=["crack"])
        >>> [known.of(name) for name in ("OK", "NOT OK", "1.abnormal", "faults", "Crack", "press1")]
        ['normal', 'anomaly', 'anomaly', 'anomaly', 'anomaly', '']
        """
        if given := self.given.get(folded(name)):
            return given
        words = _words(name)
        negated = len(words) > 1 and words[0] in NEGATIONS
        found: set[Condition] = {WORDS.get(word, "") for word in (words[1:] if negated else words)}
        if len(found) != 1 or not (condition := found.pop()):
            return ""
        return OPPOSITE[condition] if negated else condition

    def may_be_told(self, column: str, cells: Iterable[str]) -> bool:
        """Return whether the cells of a column could be conditions: words for some, or what its name asks."""
        cells = [cell for cell in cells if folded(cell) not in UNTOLD]
        truths = [cell for cell in cells if folded(cell) in TRUTHS]
        if truths and len(truths) == len(cells):
            return len(cells) > 1 and any(word in (*WORDS, *ASKING) for word in _words(column))
        asks = any(word in (*WORDS, "label", "condition") for word in _words(column))
        return bool(cells) and (any(map(self.of, cells)) or (asks and not all(map(_is_number, cells))))

    def is_mixed(self, name: str) -> bool:
        """Return whether a name holds a word for a condition beside other words: `pump_broken`."""
        return not self.of(name) and any(word in WORDS for word in _words(name))


def cell_condition(conditions: Conditions, column: str, cell: str) -> Condition | None:
    """Return the condition that a cell tells, empty if it is unknown; None if the cell is not understood.

    A yes or no answers what the column asks: `is_normal`, `fault`.

    >>> [cell_condition(Conditions(), "is_normal", cell) for cell in ("1", "no", "", "crack")]
    ['normal', 'anomaly', '', None]
    """
    text = folded(cell)
    if text in UNTOLD and text not in conditions.given:
        return ""
    if text in TRUTHS and text not in conditions.given:
        asked: Condition = next((WORDS[word] for word in _words(column) if word in WORDS), "anomaly")
        return asked if TRUTHS[text] else OPPOSITE[asked]
    return conditions.of(cell) or None


def listed_fields(header: Iterable[str], given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Find the columns of a table by their usual names: field of a clip -> column.

    Args:
        given: fields whose columns are named otherwise.
    """
    names = {str(name).strip().lower(): name for name in header}
    columns = {}
    for field, aliases in COLUMN_NAMES.items():
        if found := [names[alias] for alias in aliases if alias in names]:
            columns[field] = found[0]
    return {**columns, **(given or {})}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def folded(name: str | int) -> str:
    """Spell a name so that equal names are equal: composed, in lower case, without blanks at its ends."""
    return unicodedata.normalize("NFC", str(name)).strip().casefold()


def _words(name: str) -> list[str]:
    """Split a name into words in singular, without numbers and words such as `data`."""
    words = re.findall(r"[^\W\d_]+", folded(name).replace("n.i.o", "nio").replace("i.o", "io"))
    singular = [word if word in (*WORDS, *ASKING) else word.removesuffix("s") for word in words]
    return [word for word in singular if word not in FILLERS]
