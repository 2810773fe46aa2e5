"""`mimii score`: score files with a finished run into a CSV and a table; a killed command can be resumed."""

import os
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimii_pl.core.errors import InputError
from mimii_pl.core.files import require_writable
from mimii_pl.core.run_dir import RUN_TABLES, read_facts, run_fingerprint
from mimii_pl.core.stored_config import read_config
from mimii_pl.scoring.bulk.predictor import Prediction, Predictor
from mimii_pl.scoring.bulk.progress import Summary, progress
from mimii_pl.scoring.bulk.shards import Shards
from mimii_pl.scoring.bulk.window_files import PUBLIC_COLUMNS, Page, WindowFiles, beside, validate_labels
from mimii_pl.scoring.bulk.windows import WindowPredictor
from mimii_pl.scoring.timeline import RELEASE, Windows

if TYPE_CHECKING:
    from mimii_pl.scoring.base_scorer import BaseScorer

ENGINES = ("threads", "ray")
SHARD_SIZE = 1024  # recordings
FORMAT = 3  # of the rows; increase it when their columns change


def score_files(
    find: Callable[[], Path],
    *,
    input: str,
    trust: Collection[str] = (),
    machine_id: str | None = None,
    output: str | None = None,
    device: str = "auto",
    engine: str = "threads",
    workers: int | None = None,
    shard_size: int | None = None,
    part: str | None = None,
    restart: bool = False,
    members: bool = False,
    windows: bool = False,
    hop: float | None = None,
    release: float = RELEASE,
    labels: str | None = None,
    page: Page | None = None,
) -> Path:
    """Score a file, a folder or a list of files: print a table and write a CSV.

    Its columns are file, machine_id, score, higher_than, p_value, decision, heard, skipped; for a classifier file,
    taken_for, p(class) ..., heard, skipped. `higher_than` is the share of held-out normal clips of that machine ID with
    a lower score; `p_value` is (1 + number of them with no lower score) / (their number + 1), and `decision` is 1 above
    the threshold chosen from them. `heard` is the share of the recording that is scored, from its start: 1 unless it is
    longer than a clip. A file that cannot be used is skipped with its reason.

    With `windows`, recordings of any length are scored in full, window by window (see `BaseScorer.timeline`): a row per
    recording, of the columns `PUBLIC_COLUMNS`, and beside it windows.csv, events.csv, labels and timeline.html. The
    scores of an unfinished recording are kept too.

    Recordings are scored in shards of `shard_size`, and finished shards are kept in `<output>.shards` until the CSV is
    complete: the same call resumes after the last of them. Memory does not grow with the number of recordings.

    Args:
        find: finds the run directory; called after the other options have been validated.
        input: a recording, a folder of them, or a list (see `recordings`).
        trust: packages, besides this one, whose classes the run may name.
        machine_id: ID of all recordings; None: from the list, or from the path, as in training.
        output: the CSV; None: `scores.csv`, for a classifier `classes.csv`, in the current folder.
        device: `auto` takes a GPU if there is one.
        engine: `threads` of this process, or `ray`, see `mimii_pl.scoring.bulk.ray`.
        workers: decoding threads, or actors of Ray; None: one per core (GPU).
        shard_size: recordings per shard; None: 1024, or 1 with `windows`.
        part: `k/n`: score only the k-th of n equal parts, counted from 0.
        restart: discard finished shards of a different scoring and start again.
        members: add a column `member(<name>)` for each member of the back end (see `Scorer.members`).
        windows: score recordings in full, window by window.
        hop, release: of the windows, see `BaseScorer.timeline`.
        labels: `audacity` or `raven`: write events as labels for this editor too.
        page: writes the page of the timelines.

    Returns:
        The CSV that was written.
    """
    shard_size = shard_size if shard_size is not None else 1 if windows else SHARD_SIZE
    _validate(engine, shard_size, workers)
    _validate_windows(windows, members, hop, labels)
    run_dir = find()
    numbers = _parse_part(part)
    target = Path(output or _default_output(run_dir, part, numbers))
    _require_output(target)
    inputs = {
        "run": run_fingerprint(run_dir),
        "machine_id": machine_id,
        "working directory": os.getcwd(),
        "format": FORMAT,
        "members": members or None,
        "windows": [hop, release] if windows else None,
    }
    listed = _listed_columns(run_dir)
    with Shards(target, shard_size, numbers).opened(Path(input), inputs, columns=listed, restart=restart) as shards:
        from mimii_pl.core.memory import keep_freed_memory  # imports torch: only after the list has been read
        from mimii_pl.scoring.load_run import load_run

        scorer = load_run(run_dir, device="cpu" if engine == "ray" else device, trust=trust)
        predictor: Predictor
        if windows:
            divided = Windows.of(scorer.seconds, hop, release)
            predictor = WindowPredictor(scorer, divided, shards.folder, machine_id=machine_id)
        else:
            predictor = Predictor(scorer, machine_id, members=members)
        if engine == "ray":
            from mimii_pl.scoring.bulk.ray import score_shards

            missing, columns = shards.missing(), predictor.columns
            trusted = [trust] if isinstance(trust, str) else list(trust)
            options: dict[str, Any] = {"machine_id": machine_id, "trust": trusted, "members": members}
            options["windows"] = (divided.hop, divided.release) if windows else None
            stream = score_shards(missing, run_dir, columns, options, device=device, workers=workers)
        else:
            keep_freed_memory()
            stream = predictor.stream(shards.missing(), workers)
        _score(predictor, shards, stream)
        if windows:
            _join_windows(shards, scorer, labels, divided.hop, page)
        else:
            classified = scorer.classes is not None
            summary = Summary(classified=classified, seconds=scorer.seconds, thresholds=scorer.thresholds)
            shards.join(predictor.columns, summary.note)
    if not windows:
        summary.show(target)
    return target


def _join_windows(shards: Shards, scorer: "BaseScorer", labels: str | None, hop: float, page: Page | None) -> None:
    files = WindowFiles(shards.output, labels, hop)

    def finish() -> None:
        files.close()
        if page is not None:
            page(beside(shards.output, "timeline", ".html"), scorer, files.shown, files.count - len(files.shown))

    with files.opened():
        shards.join(PUBLIC_COLUMNS, files.note, finish)
    files.show(scorer)


def _validate_windows(windows: bool, members: bool, hop: float | None, labels: str | None) -> None:
    validate_labels(labels)
    if not windows and (hop is not None or labels is not None):
        raise InputError("hop= and labels= are options of windows=true, which scores recordings in full")
    if windows and members:
        raise InputError("members=true is not possible with windows=true: choose one of them")


def _validate(engine: str, shard_size: int, workers: int | None) -> None:
    if engine not in ENGINES or shard_size < 1 or (workers is not None and workers < 1):
        raise InputError(
            f"engine={engine} shard_size={shard_size} workers={workers}: engine must be one of {', '.join(ENGINES)}, "
            "the others at least 1"
        )
    if engine == "ray":
        from mimii_pl.scoring.bulk.ray import require_ray

        require_ray()


def _listed_columns(run_dir: Path) -> dict[str, str]:
    """Return the columns that the table of a run was read by: field of a clip -> column."""
    columns = read_config(run_dir).dataset.get("columns") or {}
    return {str(field): column for field, column in columns.items() if isinstance(column, str)}


def _require_output(target: Path) -> None:
    """Raise InputError if the CSV cannot be written, or would replace a folder or a file that a run wrote."""
    if target.is_dir():
        raise InputError(
            f"output={target} is a folder: name the CSV to write, for example output={target / 'scores.csv'}"
        )
    if target.name in RUN_TABLES and (target.parent / "run.json").exists():
        raise InputError(
            f"output={target}: a run directory has a {target.name} of its own: name another file, or leave its folder"
        )
    require_writable(target.parent, "output=<another file>", [target.name])


def _score(predictor: Predictor, shards: Shards, stream: Iterator[tuple[int, list[Prediction]]]) -> None:
    with progress(len(shards), shards.finished) as advance:
        for number, rows in stream:
            shards.add(number, [predictor.cells(row) for row in rows])
            advance(len(rows), skipped=sum(bool(row[-1]) for row in rows))


def _parse_part(text: str | None) -> tuple[int, int]:
    """Parse `k/n`; None is all: (0, 1)."""
    if text is None:
        return 0, 1
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    number, parts = map(int, match.groups()) if match else (0, 0)
    if number >= parts:
        raise InputError(f"part={text}: give k/n; 4 parts are 0/4, 1/4, 2/4 and 3/4")
    return number, parts


def _default_output(run_dir: Path, part: str | None, numbers: tuple[int, int]) -> str:
    name = "scores" if read_facts(run_dir).get("classes") is None else "classes"
    return f"{name}.csv" if part is None else "{}-{}-of-{}.csv".format(name, *numbers)
