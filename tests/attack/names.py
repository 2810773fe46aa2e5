"""Hostile names: what a file system accepts, and a terminal, a table, a page or a shell may take for something else."""

import os
from collections.abc import Iterator

import numpy as np
from support.confined import MARK

HTML = f"<img src=x onerror=alert({MARK!r})>"  # must not reach a page as it is
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a cell of a table that begins so is computed by a spreadsheet
LONGEST = 255  # bytes of a name
FRAGMENTS = (
    *("=", "+", "-", "@", "=cmd|' /C calc'!A0", "@SUM(1+1)", "-2+3", "+1", "--help", "-m"),
    *("\n", "\r", "\r\n", "\t", "\v", "\f", "\x1b[31m", "\x1b]0;title\x07", "\x08", "\x7f", "\x85", "\u2028"),
    *('"', "'", "`", "\\", "\\n", ",", ";", "|", "&", "#", "%s", "%n", "{0}", "{}", "%2e%2e", "*", "?", "[a-z]"),
    *("[red]", "[/]", "[/red]", "[link=file:///etc/passwd]", "$HOME", "$(id)", "${oc.env:HOME}", "${model}", "~"),
    *("???", "latest", "null", "none", "true", "1e9", "nan", "..", "...", "con", "models:", "run.json", "NUL"),
    *(HTML, "</td></tr></table>", "<!--", "&lt;", "javascript:alert(1)", "{{ 7 * 7 }}", "{% raw %}"),
    *("\u202e", "\u200b", "\ufeff", "\u0301" * 20, "e\u0301", "\u00e9", "\U0001f98a", "\uffff", "\u0130", "\u00df"),
    *(os.fsdecode(b"caf\xe9"), os.fsdecode(b"\xff\xfe"), os.fsdecode(b"\xed\xa0\x80"), os.fsdecode(b"\xc0\xaf")),
    *(" ", "  ", "\u00a0", "id_00", "section_00", "normal", "anomaly", "test"),
)


def names(rng: np.random.Generator) -> Iterator[str]:
    """Yield names without end, each of one to four fragments and a number of its own; without a suffix."""
    number = 0
    while True:
        parts = rng.choice(len(FRAGMENTS), rng.integers(1, 5))
        middle = "".join(FRAGMENTS[part] for part in parts).replace("/", "\u2215")
        start, end = rng.choice(["", " ", "."], 2, p=[0.8, 0.15, 0.05])
        name = f"{start}{middle}{number}{end}"
        if rng.random() < 0.1:
            name += "x" * (LONGEST - 30 - len(os.fsencode(name)))
        yield name
        number += 1


def formulas(cells: Iterator[str]) -> list[str]:
    """Return the cells that a spreadsheet computes; numbers are no formulas."""
    return [cell for cell in cells if cell.startswith(FORMULA) and not _is_number(cell)]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
