"""Scoring in Ray Data: a class for your own pipelines, and the engine of `mimii score engine=ray`."""

import logging
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._spellings import listed_fields
from mimii_pl.scoring.bulk.predictor import Prediction, Predictor
from mimii_pl.scoring.bulk.recordings import Recording, full_id
from mimii_pl.scoring.bulk.windows import WindowPredictor
from mimii_pl.scoring.timeline import Windows

if TYPE_CHECKING:
    import pyarrow

Columns = dict[str, np.ndarray]  # column -> [N]
DECODERS = {"CPU": 1, "GPU": 4}  # decoding threads of an actor


class ScoreRecordings:
    """Function for `ray.data.Dataset.map_batches` that scores recordings in actors; each actor loads the run once.

    Columns in: `path`, and `machine_id` if the path does not tell the ID (or other names of `dataset=table` for them);
    others pass through. Columns out:
    `machine_id`, `score` (higher is more anomalous), `higher_than` (share of held-out normal clips of that machine ID
    with a lower score), `p_value` (see `Thresholds.p_value`), `decision` (1: above its threshold, 0: not, -1: unknown),
    `heard` (the share of the recording that is scored, from its start), `skipped` (the reason why the score is NaN;
    empty otherwise). For a classifier: `taken_for`, `p(class)` for every class, `heard`, `skipped`.

    Args:
        run: run directory, readable on every node.
        machine_id: ID of all recordings; None: from the column, or from the path.
        folder: base of relative paths; empty: the current folder of the actor.
        device: `auto` takes the GPU of the actor, if it has one.
        threads: decoding threads.
        trust: packages, besides this one, whose classes the run may name.
        members: add a column `member(<name>)` for each member of the back end (see `Scorer.members`).
        windows: hop in s and release (see `BaseScorer.timeline`): score recordings in full, window by window, with
            other columns out: those of `WindowPredictor`; None: their beginning.
    """

    def __init__(
        self,
        run: str,
        *,
        machine_id: str | None = None,
        folder: str = "",
        device: str = "auto",
        threads: int = 1,
        trust: Collection[str] = (),
        members: bool = False,
        windows: tuple[float, float] | None = None,
    ) -> None:
        from mimii_pl.scoring.load_run import load_run

        scorer = load_run(run, device=device, trust=trust)
        self.predictor = Predictor(scorer, machine_id, folder, members=members)
        if windows is not None:
            divided = Windows.of(scorer.seconds, *windows)
            self.predictor = WindowPredictor(scorer, divided, machine_id=machine_id, folder=folder)
        self.threads = threads

    def __call__(self, batch: Columns) -> Columns:
        fields = listed_fields(batch)
        if "path" not in fields:
            raise InputError(f"recordings need a column `path`; the columns are: {', '.join(batch) or 'none'}")
        paths = batch[fields["path"]]
        ids, machines = (batch[fields[name]] if name in fields else [""] * len(paths) for name in ("id", "machine"))
        lines = zip(paths, map(_text, ids), map(_text, machines), strict=True)
        recordings = [Recording(os.fsdecode(path), full_id(id_, machine)) for path, id_, machine in lines]
        rows = [row for _, part in self.predictor.stream([(0, recordings)], self.threads) for row in part]
        columns = zip(self.predictor.columns, zip(*rows, strict=True), strict=True)
        return {**batch, **{name: np.array(column) for name, column in columns if name != "file"}}


def _text(cell: Any) -> str:
    """Return the text of a cell; none for None and NaN."""
    return "" if cell is None or cell != cell else str(cell)


def score_shards(
    shards: Iterable[tuple[int, Sequence[Recording]]],
    run_dir: Path,
    columns: Sequence[str],
    options: Mapping[str, Any],
    *,
    device: str = "auto",
    workers: int | None = None,
) -> Iterator[tuple[int, list[Prediction]]]:
    """Score shards by actors, on the cluster of RAY_ADDRESS or else on this machine; yield (number, rows) of each.

    Args:
        columns: names of the values of a row.
        options: of `ScoreRecordings`: machine_id, trust, members, windows.
        workers: actors; None: one per GPU, or one per core if there is no GPU (or device=cpu).
    """
    ray = require_ray()
    with _cluster(workers):
        kind, size = _actors(ray.cluster_resources(), device, workers)
        blocks = [ray.put(_block(number, recordings)) for number, recordings in shards]
        if not blocks:
            return
        scored = ray.data.from_arrow_refs(blocks).map_batches(
            ScoreRecordings,
            fn_constructor_args=(str(run_dir.resolve()),),
            fn_constructor_kwargs={**options, "folder": os.getcwd(), "threads": DECODERS[kind]},
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=min(size, len(blocks))),
            num_cpus=1,
            num_gpus=1 if kind == "GPU" else None,
        )
        del blocks  # lets the object store free blocks that have been scored
        for batch in scored.iter_batches(batch_size=None):
            batch["file"] = list(map(os.fsdecode, batch["path"]))
            lines = zip(batch["shard"].tolist(), *(np.asarray(batch[name]).tolist() for name in columns), strict=True)
            for number, group in groupby(lines, key=lambda line: line[0]):
                yield number, [tuple(row) for _, *row in group]


def require_ray() -> Any:
    """Import and return Ray, with Ray Data.

    Raises:
        InputError: Ray is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InputError(f"engine=ray needs Ray ({error}): pip install 'mimii_pl[ray]'") from None
    return ray


@contextmanager
def _cluster(workers: int | None) -> Iterator[None]:
    """Use the cluster of this process or of RAY_ADDRESS; otherwise start one on this machine and stop it at the end."""
    ray = require_ray()
    if ray.is_initialized():
        yield
        return
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    quiet = {"log_to_driver": False, "logging_level": "error"}
    if os.environ.get("RAY_ADDRESS"):
        ray.init(**quiet)
    else:
        os.environ.setdefault(
            "RAY_BACKEND_LOG_LEVEL", "fatal"
        )  # Ray warns about arguments that it passes to actors itself
        ray.init("local", num_cpus=max(workers or 0, os.cpu_count() or 1), include_dashboard=False, **quiet)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield
    finally:
        ray.shutdown()


def _actors(resources: dict[str, float], device: str, workers: int | None) -> tuple[str, int]:
    """Return the kind of device that actors run on, CPU or GPU, and the number of actors."""
    cores, gpus = (int(resources.get(kind, 0)) for kind in ("CPU", "GPU"))
    if device == "cuda" and not gpus:
        raise InputError("device=cuda: this Ray cluster has no GPU")
    kind, limit = ("GPU", gpus) if gpus and device != "cpu" else ("CPU", cores)
    return kind, max(1, min(workers or limit, limit))


def _block(number: int, recordings: Sequence[Recording]) -> "pyarrow.Table":
    import pyarrow

    paths, ids = zip(*recordings, strict=True)
    # as bytes: file names need not be UTF-8
    return pyarrow.table({"shard": [number] * len(paths), "path": list(map(os.fsencode, paths)), "machine_id": ids})
