"""Accepted spellings of conditions, splits and columns, in any case."""

import math
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Condition, Split
from mimii_pl.dataset._fault_words import CJK_WORDS, FAULT_STEMS, WHOLE_WORDS

Names = Iterable[str | int] | str | int | None
LONG = 5  # letters of words for conditions that begin others, such as `faulttype`

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
NEGATIONS = ("not", "non", "no", "nicht", "kein", "keine", "ohne", "without", "sans")
WITH = ("with", "mit", "avec")
FREE_WORDS = ("free", "frei")  # behind a word: without it
PREFIXES = ("un", "in", "im", "dis", "non", "not", "nicht")  # of a word that another denies
FILLERS = ("dir", "folder", "data", "sound", "audio", "recording", "sample", "clip", "file", "wav")
ASKING = (  # words in the names of columns of answers
    *("class", "target", "y", "label", "condition", "state", "status", "quality", "result", "verdict", "diagnosis"),
    *("health", "damage", "schaden", "zustand", "ergebnis", "befund", "bewertung", "klasse"),
)
EITHER = ("quality", "health", "result", "verdict", "zustand", "ergebnis", "befund", "bewertung")  # yes: good, or bad
MANY = 20  # classes
UNTOLD = ("", "unknown", "nan", "-1")  # cells
TRUTHS = {
    **dict.fromkeys(("true", "yes", "y", "t", "ja", "j", "wahr", "oui", "vrai", "si", "sí", "да", "是"), True),
    **dict.fromkeys(("false", "no", "n", "f", "nein", "falsch", "non", "faux", "нет", "否"), False),
}
NO_FAULT = ("none", "kein", "keine", "keiner", "nothing", "aucun", "nessuno")  # cells of a column of faults
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
        normal: further names for the condition of normal recordings, or one.
        anomaly: further names for that of anomalous ones, or one.
        labels: name -> its condition, `normal` or `anomaly`; joined with the two.

    Raises:
        InputError: a name has two conditions, or one that is neither.
    """

    def __init__(self, normal: Names = (), anomaly: Names = (), labels: Mapping | None = None) -> None:
        if wrong := [f"{name}: {told}" for name, told in (labels or {}).items() if told not in OPPOSITE]:
            raise InputError(
                f"dataset.labels={{{wrong[0]}}}: a name stands for normal or anomaly: {{OK: normal, NOK: anomaly}}"
            )
        pairs: list[tuple[str | int, Condition]] = [(name, "normal") for name in listed_names(normal)]
        pairs += [(name, "anomaly") for name in listed_names(anomaly)]
        pairs += (labels or {}).items()
        self.given: dict[str, Condition] = {}
        for name, condition in pairs:
            if self.given.setdefault(folded(name), condition) != condition:
                raise InputError(
                    f"dataset.normal, dataset.anomaly and dataset.labels call {name} both normal and anomalous"
                )

    def of(self, name: str) -> Condition:
        """Return the condition that a name stands for; empty if none.

        >>> known = Conditions(anomaly="crack")
        >>> [known.of(name) for name in ("OK", "NOT OK", "1.abnormal", "faults", "Crack", "press1")]
        ['normal', 'anomaly', 'anomaly', 'anomaly', 'anomaly', '']
        """
        if given := self.given.get(folded(name)):
            return given
        if whole := WORDS.get(folded(name)):  # `niO`, which is not two words
            return whole
        words = _words(name)
        negated = len(words) > 1 and words[0] in NEGATIONS
        found: set[Condition] = {WORDS.get(word, "") for word in (words[1:] if negated else words)}
        if len(found) != 1 or not (condition := found.pop()):
            return ""
        return OPPOSITE[condition] if negated else condition

    def may_be_told(self, column: str, cells: Collection[str]) -> bool:
        """Return whether the cells of a column could be conditions: words for some, or what its name asks."""
        told = [cell for cell in cells if folded(cell) not in UNTOLD]
        several = len(told) > 1 or len(told) < len(cells)
        words = _words(column)
        about = any(word.startswith(known) for word in words for known in WORDS if word == known or len(known) >= LONG)
        answers = about or any(word in ASKING for word in words)
        if not told:
            return False
        if all(_truth(cell) is not None for cell in told):
            return answers and (several or (about and cell_condition(self, column, told[0]) != "normal"))
        if all(map(_is_number, told)):
            return answers and several and _are_numbers_of_classes(told, about)
        if any(map(self.of, told)) or opposed(told) or about or "label" in words:
            return True
        return answers and several and len(told) <= MANY and not any(map(_is_number, told))

    def is_mixed(self, name: str) -> bool:
        """Return whether a name holds a word for a condition beside other words: `pump_broken`."""
        return not self.of(name) and any(word in WORDS for word in _words(name))


def suggests_fault(name: str) -> bool:
    """Return whether a name holds a word that suggests a fault, in one of several languages, and does not deny it.

    >>> [suggests_fault(name) for name in ("En panne", "Lüfter_Störung", "no_leak", "crack-free", "press1", "alarms")]
    [True, True, False, False, False, True]
    """
    plain = unicodedata.normalize("NFKD", name.replace("\u0131", "i"))  # the i without a dot of Turkish
    words = _split("".join(sign for sign in plain if not unicodedata.combining(sign)))
    if any(sign in composed(name) for sign in CJK_WORDS):
        return True
    if any(word in (*NEGATIONS, *FREE_WORDS) for word in words):
        return False
    if "".join(words).startswith(FAULT_STEMS):  # `inner_race`
        return True
    return any(word.startswith(FAULT_STEMS) or {word, word.removesuffix("s")} & {*WHOLE_WORDS} for word in words)


def cell_condition(conditions: Conditions, column: str, cell: str) -> Condition | None:
    """Return the condition that a cell tells, empty if it is unknown; None if the cell is not understood.

    A yes or no answers what the column asks: `is_normal`, `fault`, `not_ok`.

    >>> [cell_condition(Conditions(), "is_normal", cell) for cell in ("1", "no", "", "crack")]
    ['normal', 'anomaly', '', None]
    >>> [cell_condition(Conditions(), "fault", cell) for cell in ("ja", "0.00", "none", "n/a")]
    ['anomaly', 'normal', 'normal', None]
    """
    text = folded(cell)
    if text in UNTOLD and text not in conditions.given:
        return ""
    asked, truth = _asked(column), _truth(text)
    if text in NO_FAULT and asked == "anomaly" and any(word in WORDS for word in _words(column)):
        truth = False
    if truth is not None and text not in conditions.given:
        if not asked:
            return None
        return asked if truth else OPPOSITE[asked]
    return conditions.of(cell) or None


def _asked(column: str) -> Condition:
    """Return the condition that a column has if its answer is yes; empty if its name does not say."""
    words = _words(column)
    found: set[Condition] = set()
    for place, word in enumerate(words):
        if condition := WORDS.get(word):
            before, after = words[place - 1] if place else "", [*words, ""][place + 1]
            denied = before in NEGATIONS or after in FREE_WORDS
            found.add(OPPOSITE[condition] if denied else condition)
    if not found:
        return "" if any(word in EITHER for word in words) else "anomaly"
    return found.pop() if len(found) == 1 else ""


def _truth(cell: str) -> bool | None:
    """Return the answer of a cell, yes or no, in words or as 1 and 0; None: neither."""
    text = folded(cell)
    if text in TRUTHS:
        return TRUTHS[text]
    return {1.0: True, 0.0: False}.get(float(_point(text))) if _is_number(text) else None


def _are_numbers_of_classes(cells: Collection[str], about: bool) -> bool:
    """Return whether numbers could be those of classes.

    Args:
        about: whether they belong to a column of faults, where 0 or an empty cell stands for none.
    """
    numbers = {float(_point(cell)) for cell in cells}
    if len(numbers) > MANY or not all(number.is_integer() and number >= 0 for number in numbers):
        return False
    return numbers <= set(range(MANY)) or (about and 0 in numbers)


def numbers_of_classes(names: Collection[str]) -> bool:
    """Return whether names are those of classes by number, not of machines: 0, 1, 2, or class1, class2.

    >>> [numbers_of_classes(names) for names in (["0", "1"], ["2", "0", "1"], ["label_1", "label_2"], ["1", "2"])]
    [True, True, True, False]
    """
    matches = [re.fullmatch(r"([^\d]*?)[\W_]*(0|[1-9]\d*)", folded(name)) for name in names]
    words = {match[1] if match else None for match in matches}
    if len(matches) < 2 or len(words) > 1 or None in words:
        return set(map(folded, names)) == {"-1", "1"}
    numbers = sorted(int(match[2]) for match in matches if match)
    return numbers == list(range(len(names))) if words == {""} else words <= set(ASKING)


def opposed(names: Iterable[str]) -> set[str]:
    """Return those of some names that deny one another.

    >>> sorted(opposed(["leak", "no_leak", "press1", "dicht", "undicht"]))
    ['dicht', 'leak', 'no_leak', 'undicht']
    """
    found: set[str] = set()
    stems: dict[str, str] = {}
    tokens = {name: re.findall(r"[^\W_]+", folded(name)) for name in names}
    for name, parts in tokens.items():
        said = len(parts) > 1 and parts[0] in (*NEGATIONS, *WITH, *PREFIXES)
        stem = "".join(parts[1:] if said else parts)
        other = stems.setdefault(stem, name)
        if stem and other != name and folded(other) != folded(name):
            found |= {name, other}
    wholes = stems | {"".join(parts): name for name, parts in tokens.items()}
    for name, parts in tokens.items():
        whole = "".join(parts)
        for prefix in PREFIXES:
            if whole.startswith(prefix) and (other := wholes.get(whole.removeprefix(prefix), name)) != name:
                found |= {name, other}
    return found


def listed_fields(header: Iterable[str], given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Find the columns of a table by their usual names: field of a clip -> column.

    Args:
        given: fields whose columns are named otherwise; a column that is not there does not count.
    """
    names = {folded(name): name for name in header}
    columns = {}
    for field, aliases in COLUMN_NAMES.items():
        if found := [names[alias] for alias in aliases if alias in names]:
            columns[field] = found[0]
    return {**columns, **{field: names[folded(name)] for field, name in (given or {}).items() if folded(name) in names}}


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(_point(text)))
    except ValueError:
        return False


def _point(text: str) -> str:
    return text.replace(",", ".")


def listed_names(given: Names) -> list[str | int]:
    """Return names that an option gives: a list of them, or one.

    >>> listed_names("crack"), listed_names(["crack", 7]), listed_names(None)
    (['crack'], ['crack', 7], [])
    """
    if given is None or given == "":
        return []
    return [given] if isinstance(given, str | int) else list(given)


def folded(name: str | int) -> str:
    """Spell a name so that equal names are equal: composed, in lower case, without blanks at its ends."""
    return composed(str(name)).strip().casefold()


def composed(name: str) -> str:
    """Compose the letters of a name as one types them (NFC)."""
    return unicodedata.normalize("NFC", name)


def _words(name: str) -> list[str]:
    """Split a name into words in singular, without numbers and words such as `data`: `isFaulty` has two."""
    words = _split(name)
    singular = [word if word in (*WORDS, *ASKING) else word.removesuffix("s") for word in words]
    return [word for word in singular if word not in FILLERS]


def _split(name: str) -> list[str]:
    """Split a name into words in lower case, without numbers."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(name))
    return re.findall(r"[^\W\d_]+", folded(apart).replace("n.i.o", "nio").replace("i.o", "io"))
