"""What may come of hostile input, what did, and the counts."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.table import Table
from support.confined import CRASHED, SECRET, Ended

from mimii_pl.core.console import Console

KILLS = "kills: "  # begins the kinds of processes that were killed
Counts = Mapping[str, Mapping[str, int]]  # kind of attack -> outcome -> number


class Outcome(StrEnum):
    """What came of an attack, from the best to the worst; all but the first two are faults."""

    READ = "read"
    REFUSED = "refused and named"
    UNNAMED = "refused unnamed"
    TRACEBACK = "traceback"
    HANG = "hang"
    WRONG = "silently wrong"
    EXECUTED = "code executed"


class Expected(StrEnum):
    """What must come of an attack."""

    READ = "read"  # with the right value
    REFUSED = "refused"
    EITHER = "either"  # refused, or read with the right value, where one is known


class Attack(NamedTuple):
    """One hostile input.

    Attributes:
        kind: its row in the table of counts.
        name: what is hostile about it, in words.
        expected: what must come of it.
        words: a refusal names one of them at least.
    """

    kind: str
    name: str
    expected: Expected = Expected.EITHER
    words: tuple[str, ...] = ()


class Change(NamedTuple):
    """What was made hostile about something healthy.

    Attributes:
        name: in words.
        expected: what must come of it.
        valued: if it is read, its results are those of the healthy one; False: they may be others, and rightly so.
    """

    name: str
    expected: Expected = Expected.EITHER
    valued: bool = True


class Verdict(NamedTuple):
    """What came of an attack, and the evidence."""

    attack: Attack
    outcome: Outcome
    evidence: str = ""


def judge(attack: Attack, ended: Ended, *, wrong: str = "", touched: str = "") -> Verdict:
    """Judge a command that was given one hostile input.

    Args:
        wrong: what is wrong with its result, if it succeeded; empty: nothing.
        touched: what it changed that it must not; empty: nothing.
    """
    if (fault := fault_of(ended, touched)) is not None:
        return Verdict(attack, *fault)
    if ended.code == 0:
        return judge_value(attack, wrong)
    return judge_refusal(attack, ended.err)


def fault_of(ended: Ended, touched: str = "") -> tuple[Outcome, str] | None:
    """Return the outcome that needs no knowledge of the input, and its evidence; None if there is no such fault."""
    if SECRET.lower() in ended.out + ended.err:
        touched = "it shows a variable of the environment"
    if ended.deeds or touched:
        return Outcome.EXECUTED, touched or ended.deeds[0]
    if ended.code is None:
        return Outcome.HANG, "\n".join(ended.err.splitlines()[-3:])
    if ended.code in (CRASHED, *range(-64, 0)) or "Traceback (most recent call last)" in ended.out + ended.err:
        return Outcome.TRACEBACK, f"exit status {ended.code}: {' | '.join(ended.err.strip().splitlines()[-3:])}"
    return None


def judge_value(attack: Attack, wrong: str) -> Verdict:
    """Judge an input that was read."""
    if attack.expected == Expected.REFUSED:
        return Verdict(attack, Outcome.WRONG, wrong or "it was read as if nothing were wrong")
    return Verdict(attack, Outcome.WRONG if wrong else Outcome.READ, wrong)


def judge_refusal(attack: Attack, printed: str) -> Verdict:
    """Judge what was printed when an input was refused: the last line is the error, and it names the input."""
    lines = printed.rstrip("\n").split("\n")
    if not lines[-1].startswith("error: ") or sum(line.startswith("error: ") for line in lines) != 1:
        return Verdict(attack, Outcome.UNNAMED, f"not one line: {printed[-300:]!r}")
    return judge_reason(attack, lines[-1])


def judge_reason(attack: Attack, reason: str) -> Verdict:
    """Judge the reason with which an input was refused."""
    if attack.expected == Expected.READ:
        return Verdict(attack, Outcome.WRONG, f"it is healthy and was refused: {reason}")
    if not reason or (attack.words and not any(word in reason for word in attack.words)):
        return Verdict(attack, Outcome.UNNAMED, f"none of {attack.words} in: {reason}")
    return Verdict(attack, Outcome.REFUSED, reason)


def counts(verdicts: Iterable[Verdict]) -> dict[str, dict[str, int]]:
    """Count the outcomes by kind."""
    counted: dict[str, Counter] = {}
    for verdict in verdicts:
        counted.setdefault(verdict.attack.kind, Counter())[str(verdict.outcome)] += 1
    return {kind: dict(numbers) for kind, numbers in counted.items()}


def faults(verdicts: Iterable[Verdict]) -> list[str]:
    """Describe every attack that succeeded, one line each."""
    bad = [verdict for verdict in verdicts if verdict.outcome not in (Outcome.READ, Outcome.REFUSED)]
    return [
        f"{verdict.outcome}: {verdict.attack.kind}: {_printable(verdict.attack.name)}: {_printable(verdict.evidence)}"
        for verdict in bad
    ]


def show(counted: Counts, console: Console) -> None:
    """Print the counts: a table of hostile inputs, one row per kind, and one of kills."""
    kills = {kind: numbers for kind, numbers in counted.items() if kind.startswith(KILLS)}
    inputs = {kind: numbers for kind, numbers in counted.items() if kind not in kills}
    for title, part, read in (("hostile inputs", inputs, str(Outcome.READ)), ("kills", kills, "resumed identical")):
        if part:
            console.print(_table(title, part, read))


def _table(title: str, counted: Counts, read: str) -> Table:
    table = Table(title=title, show_footer=True, box=SIMPLE_HEAD)
    total = {outcome: sum(numbers.get(outcome, 0) for numbers in counted.values()) for outcome in map(str, Outcome)}
    table.add_column("kind", footer="all")
    table.add_column("number", str(sum(total.values())), justify="right")
    for outcome, number in total.items():
        table.add_column(read if outcome == Outcome.READ else outcome, str(number), justify="right")
    for kind, numbers in counted.items():
        cells = [numbers.get(outcome, 0) for outcome in total]
        table.add_row(kind, str(sum(cells)), *map(str, cells))
    return table


def _printable(text: str) -> str:
    return re.sub(r"[^\x20-\x7e]", lambda match: ascii(match[0])[1:-1], text)
