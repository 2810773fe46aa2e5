"""`python score.py`: score files with a finished run, to a CSV and a table."""

import csv
import io
import re
from pathlib import Path

import numpy as np

from mimii_pl import _run_dir
from mimii_pl.dataset import _audio
from mimii_pl.errors import InputError
from mimii_pl.scorer import Scorer, load

CHUNK = 1024  # recordings in memory at a time
SHOWN = 20  # rows on the screen


def score_files(
    *, run: str, input: str, machine_id: str | None = None, output: str | None = None, device: str = "auto"
) -> Path:
    """Score a file or a folder of them: a table on the screen and a CSV (columns: file, machine_id, score, skipped).

    A file that cannot be used is skipped and named; the others are scored.

    Returns:
        The CSV that was written.
    """
    paths = _recordings(Path(input))
    scorer = load(run, device=device)
    rows = []
    for start in range(0, len(paths), CHUNK):
        rows += _score_chunk(scorer, paths[start : start + CHUNK], machine_id)
    target = Path(output or "scores.csv")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("file", "machine_id", "score", "skipped"), *rows])
    _run_dir.write_text(target, text.getvalue())
    _show(rows, target)
    return target


def _score_chunk(scorer: Scorer, paths: list[Path], machine_id: str | None) -> list[tuple[str, str, str, str]]:
    waves, numbers, rows = [], [], []
    for path in paths:
        name = machine_id or _id_in_name(path)
        try:
            wave, number = scorer.read(path), scorer.id_numbers(name, 1)[0]
        except InputError as reason:
            rows.append((str(path), name or "", "", str(reason)))
        else:
            waves.append(wave)
            numbers.append(number)
            rows.append((str(path), scorer.labels[number] if number >= 0 else "", "", ""))
    scores = iter(scorer.score_waves(np.stack(waves), np.array(numbers), "scoring") if waves else [])
    return [row if row[3] else (*row[:2], repr(float(next(scores))), "") for row in rows]


def _recordings(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    paths = sorted(path for path in source.rglob("*") if path.suffix.lower() in _audio.SUFFIXES)
    if not paths:
        raise InputError(f"input={source}: no wav or flac file there")
    return paths


def _id_in_name(path: Path) -> str | None:
    """`id_00` of normal_id_00_00000000.wav, or of a folder id_00 above the file."""
    found = re.findall(r"id_\d{2}", str(path))
    return found[-1] if found else None


def _show(rows: list[tuple[str, str, str, str]], target: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(
        "file", "machine ID", "score", title="Anomaly scores, highest first", caption="higher: more anomalous"
    )
    scored = sorted((row for row in rows if not row[3]), key=lambda row: -float(row[2]))
    for file, name, score, _ in scored[:SHOWN]:
        table.add_row(Path(file).name, name, f"{float(score):.4g}")
    console.print(table)
    if len(scored) > SHOWN:
        console.print(f"... and {len(scored) - SHOWN} more")
    for file, _, _, reason in rows:
        if reason:
            console.print(f"skipped {file}: {reason}", soft_wrap=True, markup=False)
    console.print(f"scores: {target.resolve()}", soft_wrap=True)
