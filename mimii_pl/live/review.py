"""`mimii review`: choose the recordings that are worth a person's ear, as a page with sound and a table to mark."""

import os
import shlex
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from mimii_pl.core.console import Console
from mimii_pl.core.errors import InputError
from mimii_pl.core.files import replacing, require_writable, write_csv, write_text
from mimii_pl.core.foreign import file_cell, printable
from mimii_pl.dataset import ClipRows
from mimii_pl.dataset._clip import split_name
from mimii_pl.live.upkeep.k_centre import k_centre
from mimii_pl.live.upkeep.new_clips import NewClips, given_files, read_new
from mimii_pl.report.grid import Grid
from mimii_pl.report.listen import Listening, listen_clip
from mimii_pl.report.screen import print_grid
from mimii_pl.report.sounds import gain_of
from mimii_pl.report.template import template
from mimii_pl.scoring.base_scorer import BaseScorer
from mimii_pl.scoring.load_run import load_run
from mimii_pl.scoring.scorer import Scorer
from mimii_pl.tracking.registry import local_run

ALIKE = 4  # times as many clips as wanted, at least, of which the most different ones are chosen
NEAR = 1.0  # standard deviations of held-out normal scores from the threshold that are near it
STRANGE, DOUBTFUL = "strange", "near the threshold"
REVIEW_COLUMNS = ("path", "label", "machine", "id", "recording", "start", "why", "score", "p_value")
SECONDS = 10.0  # of a clip that can be played on the page, at most


class Asked(NamedTuple):
    """A clip to ask about.

    Attributes:
        row: of the clip.
        why: `STRANGE` or `DOUBTFUL`.
        score: of the run.
        p_value: among held-out normal clips of its machine ID.
    """

    row: int
    why: str
    score: float
    p_value: float


def review(
    *,
    run: str,
    input: str,
    output: str = "review",
    count: int = 20,
    machine_id: str | None = None,
    device: str = "auto",
    tracking_uri: str | None = None,
    trust: Collection[str] = (),
) -> Path:
    """Choose clips to ask a person about, and write a folder: `index.html`, `labels.csv` with empty marks, the clips.

    Half of them are the strangest, half lie nearest to the threshold of their machine ID, on either side; of each kind
    those are taken that differ most from one another. `mimii update marks=<folder>/labels.csv` learns from the marks.

    Args:
        run: a run directory, `latest` or a registered model.
        input: a recording, a folder of them, or a list; longer ones are divided into clips.
        output: the folder; a table of marks that is there already is kept, and refused.
        count: clips, at least 2.
        machine_id: ID of recordings that are given none; None: the one that the path tells.
        device: `auto` takes a GPU if there is one.
        tracking_uri: store with the registered models.
        trust: packages, besides this one, whose classes the run may name.

    Returns:
        The table to fill in.

    Raises:
        InputError: the run has no thresholds, no recording can be read, or the folder has a table already.
    """
    if type(count) is not int or count < 2:
        raise InputError(f"count={count}: a whole number of clips, at least 2")
    folder = Path(output)
    table = folder / "labels.csv"
    if os.path.lexists(table):
        raise InputError(f"{table} is there already, and may hold marks: name another folder, output=<folder>")
    scorer = load_run(local_run(run, tracking_uri), device=device, trust=trust)
    scorer.require_thresholds()
    clips = read_new(scorer, given_files(input), machine_id)
    asked = choose_clips(scorer, clips, count)
    require_writable(folder, "output=<another folder>")
    names = _write_clips(scorer, clips, asked, folder)
    write_text(folder / "index.html", _page(scorer, clips, asked, names).page)
    write_csv(table, REVIEW_COLUMNS, [_line(scorer, clips, one, name) for one, name in zip(asked, names, strict=True)])
    _show(scorer, clips, asked, names, folder)
    return table


def choose_clips(scorer: BaseScorer, clips: NewClips, count: int) -> list[Asked]:
    """Choose the strangest clips and the doubtful ones, the most different of each."""
    thresholds = scorer.require_thresholds()
    scores = scorer.score_waves(clips.waves, clips.ids, "scoring recordings")
    p_values = thresholds.p_value(scores, clips.ids)
    limits, spread = np.array([_limit_and_spread(scorer, number) for number in range(len(scorer.labels))])[clips.ids].T
    excess = (scores - limits) / spread
    order = np.argsort(-excess, kind="stable")
    strange = _different(scorer, clips, order, count // 2, worth=int((excess > 0).sum()))
    others = np.array([row for row in np.argsort(np.abs(excess), kind="stable") if row not in set(strange)], int)
    near = int((np.abs(excess[others]) < NEAR).sum())
    doubtful = _different(scorer, clips, others, count - len(strange), worth=near) if len(others) else []
    reasons = dict.fromkeys(strange, STRANGE) | dict.fromkeys(doubtful, DOUBTFUL)
    return [Asked(row, why, float(scores[row]), float(p_values[row])) for row, why in reasons.items()]


def _limit_and_spread(scorer: BaseScorer, number: int) -> tuple[float, float]:
    """Return the threshold of a machine ID, and the standard deviation of its held-out normal scores."""
    thresholds = scorer.require_thresholds()
    normal = thresholds.normal_of(scorer.labels[number])
    return thresholds.of(scorer.labels[number]), float(normal.std()) or 1.0


def _different(scorer: BaseScorer, clips: NewClips, order: np.ndarray, count: int, worth: int) -> list[int]:
    """Choose rows from the first `worth` of an order, the very first always: the most different by their embeddings.

    Without embeddings no two are of the same recording, unless there are too few recordings.
    """
    pool = order[: max(worth, ALIKE * count)]
    if isinstance(scorer, Scorer) and scorer.detector.has_embedding:
        waves = ClipRows(clips.waves, pool)
        x = scorer.pass_waves(waves, clips.ids[pool], ["embedding"]).embedding
        assert x is not None
        return [int(pool[row]) for row in k_centre(x, count, first=0)]
    seen: dict[str, int] = {}
    for row in order:
        seen.setdefault(clips.recordings[row], int(row))
    first = list(seen.values())[:count]
    return first + [int(row) for row in order if row not in set(first)][: count - len(first)]


def _write_clips(scorer: BaseScorer, clips: NewClips, asked: list[Asked], folder: Path) -> list[str]:
    """Write each clip as FLAC, so that marks outlive the recordings; return their names."""
    names = []
    for number, one in enumerate(asked, start=1):
        stem = "".join(
            letter if letter.isalnum() or letter in "-_." else "_" for letter in Path(clips.recordings[one.row]).stem
        )
        names.append(f"{number:03d}_{stem[:80]}.flac")
        with replacing(folder / names[-1]) as partial:
            soundfile.write(partial, np.asarray(clips.waves[one.row]), scorer.sample_rate, format="FLAC")
    return names


def _line(scorer: BaseScorer, clips: NewClips, one: Asked, name: str) -> tuple[str, ...]:
    machine, id_ = scorer.labels[clips.ids[one.row]].split("/", 1)
    start = split_name(clips.names[one.row])[1]
    of_file = file_cell(os.path.abspath(clips.recordings[one.row])), "" if start is None else f"{start:g}"
    return name, "", machine, id_, *of_file, one.why, repr(one.score), f"{one.p_value:.4f}"


def _page(scorer: BaseScorer, clips: NewClips, asked: list[Asked], names: list[str]) -> Listening:
    gain = gain_of([np.asarray(clips.waves[one.row]) for one in asked])
    groups: dict[str, list] = {}
    for one, name in zip(asked, names, strict=True):
        label = scorer.labels[clips.ids[one.row]].replace("/", " ")
        words = f"{Path(printable(clips.names[one.row])).name}; score {one.score:.4g}, p {one.p_value:.3g}"
        wave = np.asarray(clips.waves[one.row])
        clip = listen_clip(name, wave, scorer.sample_rate, gain, SECONDS, words=words)
        groups.setdefault(f"{label}, {one.why}", []).append(clip)
    caption = "Write normal, fault or unsure beside the name of each clip in labels.csv; the same gain for all clips."
    text = template("listen.html.j2").render(title="Worth an ear", caption=caption, groups=list(groups.items()))
    return Listening(text)


def _show(scorer: BaseScorer, clips: NewClips, asked: list[Asked], names: list[str], folder: Path) -> None:
    rows: list[tuple[str, ...]] = [
        (name, scorer.labels[clips.ids[one.row]], one.why, f"{one.score:.4g}", f"{one.p_value:.3g}")
        for one, name in zip(asked, names, strict=True)
    ]
    note = f"{len(asked)} of {len(clips.names)} clips. p: share of normal clips as strange as this one."
    console, table = Console(), folder / "labels.csv"
    heads = ("clip", "machine ID", "why", "score", "p")
    print_grid(console, Grid("Worth an ear", heads, rows, note, ranked=False, kept=("why", "p")))
    marks = shlex.quote(f"marks={table}")
    for line in (
        f" listen: {(folder / 'index.html').resolve()}",
        f"   mark: {table.resolve()}",
        f"   then: mimii update {marks}",
    ):
        console.print(line, soft_wrap=True, highlight=False)
