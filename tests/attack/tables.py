"""Hostile lists and tables: of other encodings, torn, endless, contradictory, and pointing elsewhere."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from attack.outcome import Attack, Expected

FIELD_LIMIT = 131_072  # characters of a field that Python's csv reads
Rows = list[list[str]]


class TextFile(NamedTuple):
    """One hostile text file.

    Attributes:
        attack: what is hostile about it, and what must come of it.
        content: its bytes.
    """

    attack: Attack
    content: bytes


def plain(rows: Rows, delimiter: str = ",") -> str:
    """Write rows as the simplest table: nothing is quoted."""
    return "".join(f"{delimiter.join(row)}\n" for row in rows)


def text_files(
    rng: np.random.Generator, kind: str, rows: Rows, names: tuple[str, ...], cells: tuple[str, ...] = ()
) -> Iterator[TextFile]:
    """Yield hostile versions of a table without end, every way of spoiling it in turn.

    Args:
        kind: row of the counts.
        rows: the healthy table, with its header if it has one.
        names: words of which a refusal names one.
        cells: values to try in place of others, besides those that are hostile everywhere.
    """
    while True:
        for spoil in SPOILERS:
            name, content, expected = spoil(rng, [list(row) for row in rows], cells)
            yield TextFile(Attack(kind, name, expected, names), content)


Spoiled = tuple[str, bytes, Expected]


def _row(rng: np.random.Generator, rows: Rows) -> int:
    return int(rng.integers(len(rows) > 1, len(rows)))


def encoding(rng: np.random.Generator, rows: Rows, cells: tuple[str, ...]) -> Spoiled:
    """Be of another encoding; one that says at its beginning which it is may be read."""
    name = str(rng.choice(["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp500", "utf-7"]))
    rows[_row(rng, rows)][-1] += "\u00e9" if name == "latin-1" else ""
    readable = name in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "utf-7")
    readable = readable or (name == "cp500" and len(rows[0]) == 1)  # which has no line end: the name of one file
    return name, plain(rows).encode(name), Expected.EITHER if readable else Expected.REFUSED


def binary(rng: np.random.Generator, rows: Rows, cells: tuple[str, ...]) -> Spoiled:
    """Be no text at all."""
    starts = [b"", b"RIFF", b"\x7fELF", b"PK\3\4", b"\x89PNG\r\n", b"\0", plain(rows).encode()]
    start = starts[rng.integers(len(starts))]
    return f"{start[:10]!r} and random bytes", start + rng.bytes(int(rng.integers(20, 2000))), Expected.EITHER


def flipped(rng: np.random.Generator, rows: Rows, cells: tuple[str, ...]) -> Spoiled:
    """Flip bits, or cut it."""
    content = bytearray(plain(rows).encode())
    places = rng.integers(0, len(content), rng.integers(1, 12))
    for place in places:
        content[place] ^= 1 << int(rng.integers(8))
    kept = int(rng.integers(0, len(content) + 1)) if rng.random() < 0.3 else len(content)
    return f"bits flipped at {sorted(map(int, places))}, cut after {kept}", bytes(content[:kept]), Expected.EITHER


def long_field(rng: np.random.Generator, rows: Rows, cells: tuple[str, ...]) -> Spoiled:
    """Hold a field of more characters than csv reads, or more columns than a table has."""
    number = _row(rng, rows)
    length = int(rng.choice([FIELD_LIMIT + 1, 2 * FIELD_LIMIT, 5_000_000]))
    if rng.random() < 0.5:
        rows[number][int(rng.integers(len(rows[number])))] = "x" * length
        return f"row {number} has a field of {length} characters", plain(rows).encode(), Expected.EITHER
    rows[number] += ["y"] * length
    return f"row {number} has {length} fields", plain(rows).encode(), Expected.EITHER


def controls(rng: np.random.Generator, rows: Rows, cells: tuple[str, ...]) -> Spoiled:
    """Hold a control character somewhere: a lone carriage return, NUL, an end of file, a line separator."""
    text = plain(rows)
    place = int(rng.integers(len(text)))
    control = str(rng.choice(["\r", "\0", "\x1a", "\x0c", "\x85", "\u2028", "\ufeff", "\x1b[2J", "\r\r\n"]))
    return f"{control!r} at {place}", (text[:place] + control + text[place:]).encode(), Expected.EITHER


def quotes(rng: np.random.Generator, rows: Rows, cells: tuple[str, ...]) -> Spoiled:
    """Open a quotation that does not end, or quote where nothing is quoted."""
    text = plain(rows)
    place = int(rng.integers(len(text)))
    quote = str(rng.choice(['"', '""', '"\n', '\n"', ',"', "'", '\\"']))
    return f"{quote!r} at {place}", (text[:place] + quote + text[place:]).encode(), Expected.EITHER


def columns(rng: np.random.Generator, rows: Rows, cells: tuple[str, ...]) -> Spoiled:
    """Lack a column, have one twice, have ragged rows, or no header."""
    kind = int(rng.integers(5))
    if kind == 0:
        column = int(rng.integers(len(rows[0])))
        return (
            f"column {column} is missing",
            plain([row[:column] + row[column + 1 :] for row in rows]).encode(),
            _EITHER,
        )
    if kind == 1:
        column = int(rng.integers(len(rows[0])))
        return (
            f"column {column} twice",
            plain([[*row, row[min(column, len(row) - 1)]] for row in rows]).encode(),
            _EITHER,
        )
    if kind == 2:
        rows = [row + ["more"] * int(rng.integers(3)) for row in rows]
        return "rows longer than the header", plain(rows).encode(), _EITHER
    if kind == 3:
        rows = [row[: int(rng.integers(len(row) + 1))] for row in rows]
        return "rows shorter than the header", plain(rows).encode(), _EITHER
    return "no header", plain(rows[1:]).encode(), _EITHER


def repeated(rng: np.random.Generator, rows: Rows, cells: tuple[str, ...]) -> Spoiled:
    """Hold nothing, only a header, the same row twice, or empty rows."""
    number = _row(rng, rows)
    versions: dict[str, Rows] = {
        "nothing": [],
        "only a header": rows[:1],
        f"row {number} twice": [*rows, rows[number]],
        "the header twice": [rows[0], *rows],
        "empty rows": [*rows, [""], ["", ""], [" "], *rows[1:2]],
        "rows of delimiters": [*rows, [""] * 9],
    }
    name = str(rng.choice(list(versions)))
    return name, plain(versions[name]).encode(), Expected.EITHER


def delimiters(rng: np.random.Generator, rows: Rows, cells: tuple[str, ...]) -> Spoiled:
    """Have another delimiter, or several."""
    delimiter = str(rng.choice([";", "\t", "|", " ", ":", ", ", ";,", "\u3001"]))
    rows[_row(rng, rows)][0] += str(rng.choice(["", ";", ",", "\t"]))
    return f"delimiter {delimiter!r}", plain(rows, delimiter).encode(), Expected.EITHER


PATHS = ("..", ".", "/", "//", "../../../../etc/passwd", "/dev/zero", "/dev/stdin", "/proc/self/mem", "~", "*", "")
PATHS += ("a/../a/../a", "x" * 300, "x/" * 3000, "http://127.0.0.1/a.wav", "file:///etc/passwd", "${oc.env:HOME}")
VALUES = ("nan", "inf", "-1", "2", "1e999", "None", "\u0661", "=1+1", "<b>", "\U0001f98a", "\ud7ff", "a b", "[red]")


def other_cells(rng: np.random.Generator, rows: Rows, cells: tuple[str, ...]) -> Spoiled:
    """Hold values that no column expects, and paths of what is no recording."""
    number = _row(rng, rows)
    column = int(rng.integers(len(rows[number])))
    choices = PATHS if column == 0 else (*VALUES, *cells)
    rows[number][column] = choices[rng.integers(len(choices))]
    return f"row {number}, column {column}: {rows[number][column]:.40}", plain(rows).encode(), Expected.EITHER


_EITHER = Expected.EITHER
SPOILERS: tuple[Callable[[np.random.Generator, Rows, tuple[str, ...]], Spoiled], ...] = (
    encoding,
    binary,
    flipped,
    long_field,
    controls,
    quotes,
    columns,
    repeated,
    delimiters,
    other_cells,
)
