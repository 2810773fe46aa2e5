"""Healthy sound under hostile names: scored from a folder and from lists, trained on, shown on a page."""

import csv
import os
from itertools import islice
from pathlib import Path

import pytest
from support.confined import Ended

from attack.arena import MACHINE_ID, Arena, one_by_one, reasons_of, scores_of, train_arguments
from attack.audio import encoded
from attack.names import HTML, formulas, names
from attack.outcome import Attack, Expected, Outcome, Verdict, fault_of, judge, judge_reason, judge_value

pytestmark = pytest.mark.slow
BATCH = 40
LINES = ("\n", "\r")  # a name with one of these cannot stand in a list of one path per line


@pytest.mark.parametrize("source", ["folder", "list", "table"])
def test_scoring(arena: Arena, rng, share, conclude, source):
    wanted = (name for name in names(rng) if _readable(name, source))
    attacks = [Attack(f"names: {source}", name, Expected.READ) for name in islice(wanted, share(0.03))]
    batches = [attacks[start : start + BATCH] for start in range(0, len(attacks), BATCH)]
    conclude([one for batch in batches for one in one_by_one(lambda items: scored(arena, items, source), batch)])


def _readable(name: str, source: str) -> bool:
    """Return whether a source can hold a name: a list has one per line, and hidden files of a folder are left out."""
    if source == "list":
        return not any(end in name for end in LINES)
    return source != "folder" or not name.startswith(".")


def scored(arena: Arena, batch: list[Attack], source: str) -> list[Verdict] | None:
    """Score files of these names; None if the command ended as it must not."""
    arena.restore()
    files = {attack: f"{attack.name}.wav" for attack in batch}
    folder = arena.here / "in"
    folder.mkdir()
    for file in files.values():
        (folder / file).write_bytes(encoded("WAV"))
    arguments = [f"machine_id={MACHINE_ID}", "device=cpu", "output=../new.csv", "run=../outputs/detector"]
    ended = arena.call(_score_in, "in", [f"input={_source(arena.here, source, list(files.values()))}", *arguments])
    fault = fault_of(ended, arena.touched())
    if fault is None and ended.code != 0:
        fault = Outcome.WRONG, f"it ended the command: {ended.err[-200:]}"
    if fault is None and (cells := formulas(_cells(arena.here / "new.csv"))):
        fault = Outcome.EXECUTED, f"a spreadsheet computes {cells[0]!r}"
    if fault is not None:
        return [Verdict(batch[0], *fault)] if len(batch) == 1 else None
    scores, reasons = scores_of(arena.here / "new.csv"), reasons_of(arena.here / "new.csv")
    return [_verdict(arena, attack, os.path.normpath(file), scores, reasons) for attack, file in files.items()]


def _score_in(folder: str, arguments: list[str]) -> None:
    from mimii_pl.__main__ import main

    os.chdir(folder)
    main(["score", *arguments])


def _source(here: Path, source: str, files: list[str]) -> str:
    """Write the list that names the files, with a mark of its order of bytes; a folder is its own list."""
    if source == "folder":
        return "."
    path = here / "in" / f"input.{'txt' if source == 'list' else 'csv'}"
    options = {"encoding": "utf-8-sig", "errors": "surrogateescape", "newline": ""}
    with open(path, "w", **options) as file:
        if source == "list":
            file.writelines(f"{name}\n" for name in files)
        else:
            table = csv.writer(file)
            table.writerows([["path", "machine_id"], *([name, MACHINE_ID] for name in files)])
    return path.name


def _cells(path: Path) -> list[str]:
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        return [cell for row in csv.reader(file) for cell in row]


def _verdict(arena: Arena, attack: Attack, name: str, scores: dict[str, float], reasons: dict[str, str]) -> Verdict:
    if name not in scores:
        return judge_value(attack, f"it is not in the table, which has {list(scores)[:3]}")
    if reasons[name]:
        return judge_reason(attack, reasons[name])
    same = scores[name] == pytest.approx(arena.healthy, rel=1e-4)
    return judge_value(attack, "" if same else f"its score is {scores[name]}, not {arena.healthy}")


def test_training(arena: Arena, rng, share, conclude):
    chosen = islice((name for name in names(rng) if _readable(name, "folder")), share(0.04))
    attacks = [Attack("names: training", name, Expected.READ) for name in chosen]
    batches = [attacks[start : start + BATCH] for start in range(0, len(attacks), BATCH)]
    conclude([verdict for batch in batches for verdict in one_by_one(lambda items: trained(arena, items), batch)])


def trained(arena: Arena, batch: list[Attack]) -> list[Verdict] | None:
    """Train on healthy recordings of these names; None if the training ended as it must not."""
    ended = _trained_on(arena, [Path("pump", f"{attack.name}.wav") for attack in batch])
    fault = fault_of(ended, arena.touched())
    if fault is None and ended.code != 0:
        fault = Outcome.WRONG, f"it ended the training: {ended.err[-200:]}"
    if fault is None:
        fault = _shown(arena.here / "run")
    if fault is not None:
        return [Verdict(batch[0], *fault)] if len(batch) == 1 else None
    skipped = _cells(arena.here / "run" / "skipped.csv")
    named = [any(f"{attack.name}.wav" in cell for cell in skipped) for attack in batch]
    return [judge_value(one, "healthy, and skipped" if bad else "") for one, bad in zip(batch, named, strict=True)]


def test_names_of_machines(arena: Arena, rng, share, conclude):
    chosen = islice((name.strip(". ") for name in names(rng) if _readable(name, "folder")), share(0.01))
    attacks = [Attack("names: machine IDs", name, words=("machine ID",)) for name in chosen]
    conclude([trained_on_a_machine(arena, attack) for attack in attacks])


def trained_on_a_machine(arena: Arena, attack: Attack) -> Verdict:
    """Train on recordings of a machine ID of that name."""
    ended = _trained_on(arena, [Path(attack.name, f"{number}.wav") for number in range(8)])
    if ended.code == 0 and (fault := _shown(arena.here / "run")) is not None:
        return Verdict(attack, *fault)
    return judge(attack, ended, touched=arena.touched())


def _trained_on(arena: Arena, places: list[Path]) -> Ended:
    """Train on recordings at these places, and on ten of a healthy name."""
    arena.restore()
    recordings = sorted((arena.here / "world" / "fan").glob("*/*.wav"))
    for number, place in enumerate([*places, *(Path("pump", f"{number}.wav") for number in range(10))]):
        path = arena.here / "sounds" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(recordings[number % len(recordings)].read_bytes())
    options = ["dataset=folder", "dataset.root=.", "dataset.cache_dir=../cache", "model=simple_ae", "report.clips=3"]
    arguments = train_arguments(*options, "training.epochs=1", "logger=none", "hydra.run.dir=../run")
    return arena.call(_train_in, "sounds", arguments, seconds=40)


def _train_in(folder: str, arguments: list[str]) -> None:
    from mimii_pl.__main__ import main

    os.chdir(folder)
    main(arguments)


def _shown(run_dir: Path) -> tuple[Outcome, str] | None:
    """Return what is wrong with the tables and the page of a run."""
    for path in run_dir.rglob("*.csv"):
        if cells := formulas(_cells(path)):
            return Outcome.EXECUTED, f"a spreadsheet computes {cells[0]!r} of {path.name}"
    if HTML in (run_dir / "report.html").read_text(errors="replace"):
        return Outcome.EXECUTED, "a name is HTML on the page"
    return None
