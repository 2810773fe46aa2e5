"""`python score.py` with a classifier's run: which class each file is of, to a CSV and a table."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mimii_pl import _run_dir
from mimii_pl.errors import InputError
from mimii_pl.scorer import Scorer

CHUNK = 1024  # recordings in memory at a time
SHOWN = 20  # rows on the screen
Row = tuple[str, np.ndarray | None, str]  # file, probabilities [K] or None where it was skipped, the reason


def classify_files(scorer: Scorer, paths: Sequence[Path], output: Path) -> Path:
    """Classify files (columns: file, taken_for, p(class) ..., skipped); what cannot be used is skipped and named.

    Returns:
        The CSV that was written.
    """
    rows: list[Row] = []
    for start in range(0, len(paths), CHUNK):
        rows += _chunk(scorer, paths[start : start + CHUNK])
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("file", "taken_for", *(f"p({name})" for name in scorer.classes), "skipped"))
    for file, shares, skipped in rows:
        known = shares is not None
        taken = scorer.classes[shares.argmax()] if known else ""
        table.writerow((file, taken, *(map(repr, shares.tolist()) if known else [""] * len(scorer.classes)), skipped))
    _run_dir.write_text(output, text.getvalue())
    _show(scorer, rows, output)
    return output


def _chunk(scorer: Scorer, paths: Sequence[Path]) -> list[Row]:
    waves, rows = [], []
    for path in paths:
        try:
            waves.append(scorer.read(path))
            rows.append((str(path), None, ""))
        except InputError as reason:
            rows.append((str(path), None, str(reason)))
    shares = iter(scorer.classify_waves(np.stack(waves), np.full(len(waves), -1), "classifying") if waves else ())
    return [row if row[2] else (row[0], next(shares), "") for row in rows]


def _show(scorer: Scorer, rows: Sequence[Row], output: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table("file", "taken for", "probability", title="Classes")
    classified = [row for row in rows if row[1] is not None]
    for file, shares, _ in classified[:SHOWN]:
        table.add_row(Path(file).name, scorer.classes[shares.argmax()], f"{shares.max():.3f}")
    console.print(table)
    if len(classified) > SHOWN:
        console.print(f"... and {len(classified) - SHOWN} more")
    for file, _, skipped in rows:
        if skipped:
            console.print(f"skipped {file}: {skipped}", soft_wrap=True, markup=False)
    console.print(f"classes: {output.resolve()}", soft_wrap=True)
