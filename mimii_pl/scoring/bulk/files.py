"""`mimii score`: score files with a finished run, to a CSV and a table; a killed one goes on where it was."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from mimii_pl.core.errors import InputError
from mimii_pl.core.run_dir import read_facts, run_fingerprint
from mimii_pl.scoring.bulk.predictor import Prediction, Predictor
from mimii_pl.scoring.bulk.progress import Summary, progress
from mimii_pl.scoring.bulk.shards import Shards

ENGINES = ("threads", "ray")


def score_files(
    find: Callable[[], Path],
    *,
    input: str,
    machine_id: str | None = None,
    output: str | None = None,
    device: str = "auto",
    engine: str = "threads",
    workers: int | None = None,
    shard_size: int = 1024,
    part: str | None = None,
    restart: bool = False,
) -> Path:
    """Score a file, a folder or a list of them: a table on the screen and a CSV (columns: file, machine_id, score,
    higher_than, decision, skipped; of a classifier's run: file, taken_for, p(class) ..., skipped).

    `higher_than` is the share of held-out normal clips of that machine ID with a lower score; `decision` is 1 above the
    threshold that was found on them. A file that cannot be used is skipped and named; the others are scored.

    Recordings are scored in shards of `shard_size`, and finished shards are kept in `<output>.shards` until the CSV is
    whole: the same call goes on after the last of them. Memory does not grow with the number of recordings.

    Args:
        find: finds the run directory; called when the other options are known to be right.
        engine: `threads` of this process, or `ray`, see `mimii_pl.scoring.bulk.ray`.
        workers: threads that decode, or Ray's actors; None: as many as there are cores (GPUs).
        part: `k/n`: score the k-th of n equal parts alone, counted from 0.
        restart: begin anew where shards of another scoring are in the way.

    Returns:
        The CSV that was written.
    """
    if engine not in ENGINES or shard_size < 1 or (workers is not None and workers < 1):
        raise InputError(f"engine={engine} shard_size={shard_size} workers={workers}: engine is one of "
                         f"{', '.join(ENGINES)}, the others are 1 at least")  # fmt: skip
    if engine == "ray":
        from mimii_pl.scoring.bulk.ray import require_ray, score_shards

        require_ray()
    run_dir = find()
    numbers = _part(part)
    target = Path(output or _default(run_dir, part, numbers))
    belongs = {"run": run_fingerprint(run_dir), "machine_id": machine_id, "working directory": os.getcwd()}
    with Shards(target, shard_size, numbers).opened(Path(input), belongs, restart=restart) as shards:
        from mimii_pl.scoring.scorer import load_run  # and torch, when the list has been read

        assessor = Predictor(load_run(run_dir, device="cpu" if engine == "ray" else device), machine_id)
        if engine == "ray":
            options = {"machine_id": machine_id, "device": device, "workers": workers}
            stream = score_shards(shards.missing(), run_dir, assessor.columns, **options)
        else:
            stream = assessor.stream(shards.missing(), workers)
        _score(assessor, shards, stream)
        scorer = assessor.scorer
        origin = scorer.thresholds.origin if scorer.thresholds else ""
        summary = Summary(classified=scorer.classes is not None, origin=origin)
        shards.join(assessor.columns, summary.note)
    summary.show(target)
    return target


def _score(assessor: Predictor, shards: Shards, stream: Iterator[tuple[int, list[Prediction]]]) -> None:
    with progress(len(shards), shards.finished) as advance:
        for number, rows in stream:
            shards.add(number, [assessor.cells(row) for row in rows])
            advance(len(rows), skipped=sum(bool(row[-1]) for row in rows))


def _part(text: str | None) -> tuple[int, int]:
    if text is None:
        return 0, 1
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    number, parts = map(int, found.groups()) if found else (0, 0)
    if number >= parts:
        raise InputError(f"part={text}: of 4 parts there are 0/4, 1/4, 2/4 and 3/4")
    return number, parts


def _default(run_dir: Path, part: str | None, numbers: tuple[int, int]) -> str:
    name = "scores" if read_facts(run_dir).get("classes") is None else "classes"
    return f"{name}.csv" if part is None else "{}-{}-of-{}.csv".format(name, *numbers)
