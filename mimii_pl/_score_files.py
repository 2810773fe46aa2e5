"""`python score.py`: score files with a finished run, to a CSV and a table."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mimii_pl import _run_dir
from mimii_pl._classify_files import classify_files
from mimii_pl.dataset import _audio
from mimii_pl.errors import InputError
from mimii_pl.scorer import Scorer, load

CHUNK = 1024  # recordings in memory at a time
SHOWN = 20  # rows on the screen


class Row(NamedTuple):
    """One line of the CSV."""

    file: str
    machine_id: str
    score: str = ""
    higher_than: str = ""
    decision: str = ""
    skipped: str = ""


def score_files(
    *,
    run: str,
    input: str,
    machine_id: str | None = None,
    output: str | None = None,
    device: str = "auto",
    tracking_uri: str | None = None,
) -> Path:
    """Score a file or a folder of them: a table on the screen and a CSV (columns: file, machine_id, score,
    higher_than, decision, skipped).

    `higher_than` is the share of held-out normal clips of that machine ID with a lower score; `decision` is 1 above the
    threshold that was found on them.

    A file that cannot be used is skipped and named; the others are scored. A classifier's run gives classes, see
    `classify_files`.

    Returns:
        The CSV that was written.
    """
    paths = _recordings(Path(input))
    scorer = load(run, device=device, tracking_uri=tracking_uri)
    if scorer.classes is not None:
        return classify_files(scorer, paths, Path(output or "classes.csv"))
    rows = []
    for start in range(0, len(paths), CHUNK):
        rows += _score_chunk(scorer, paths[start : start + CHUNK], machine_id)
    target = Path(output or "scores.csv")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([Row._fields, *rows])
    _run_dir.write_text(target, text.getvalue())
    _show(rows, target, scorer.thresholds.origin if scorer.thresholds else "")
    return target


def _score_chunk(scorer: Scorer, paths: list[Path], machine_id: str | None) -> list[Row]:
    waves, numbers, rows = [], [], []
    for path in paths:
        name = machine_id or _id_in_name(path, scorer.labels)
        try:
            wave, number = scorer.read(path), scorer.id_numbers(name, 1)[0]
        except InputError as reason:
            rows.append(Row(str(path), name or "", skipped=str(reason)))
        else:
            waves.append(wave)
            numbers.append(number)
            rows.append(Row(str(path), scorer.labels[number] if number >= 0 else ""))
    if not waves:
        return rows
    ids = np.array(numbers)
    scores = scorer.score_waves(np.stack(waves), ids, "scoring")
    judged = iter(zip(scores, _judged(scorer, scores, ids), strict=True))
    return [row if row.skipped else _filled(row, *next(judged)) for row in rows]


def _judged(scorer: Scorer, scores: np.ndarray, ids: np.ndarray) -> list[tuple[str, str]]:
    """`higher_than` and `decision` of each clip; empty for runs without thresholds."""
    if scorer.thresholds is None:
        return [("", "")] * len(scores)
    ranks, decisions = scorer.thresholds.rank(scores, ids), scorer.thresholds.decide(scores, ids)
    return [(f"{rank:.4g}", str(decision)) for rank, decision in zip(ranks, decisions, strict=True)]


def _filled(row: Row, score: float, judged: tuple[str, str]) -> Row:
    return row._replace(score=repr(float(score)), higher_than=judged[0], decision=judged[1])


def _recordings(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    paths = sorted(path for path in source.rglob("*") if path.suffix.lower() in _audio.SUFFIXES)
    if not paths:
        raise InputError(f"input={source}: no wav or flac file there")
    return paths


def _id_in_name(path: Path, labels: Sequence[str]) -> str | None:
    """`id_00` of normal_id_00_00000000.wav, or a folder above the file that is named like a known machine ID."""
    found = re.findall(r"id_\d{2}|section_\d{2}", str(path))
    known = [label.split("/", 1)[1] for label in labels]
    return next((name for name in (*found[::-1], *path.parts[::-1]) if name in known), found[-1] if found else None)


def _show(rows: list[Row], target: Path, origin: str) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(
        "file", "machine ID", "score", "higher than", "", title="Anomaly scores, highest first",
        caption="higher: more anomalous; higher than: share of held-out normal clips of that machine"
        + f"; threshold: {origin}" * bool(origin),
    )  # fmt: skip
    scored = sorted((row for row in rows if not row.skipped), key=lambda row: -float(row.score))
    for row in scored[:SHOWN]:
        share = f"{100 * float(row.higher_than):.1f} %" if row.higher_than else ""
        word = {"1": "[bold red]anomalous[/]", "0": "normal"}.get(row.decision, "")
        table.add_row(Path(row.file).name, row.machine_id, f"{float(row.score):.4g}", share, word)
    console.print(table)
    if len(scored) > SHOWN:
        console.print(f"... and {len(scored) - SHOWN} more")
    for row in rows:
        if row.skipped:
            console.print(f"skipped {row.file}: {row.skipped}", soft_wrap=True, markup=False)
    console.print(f"scores: {target.resolve()}", soft_wrap=True)
