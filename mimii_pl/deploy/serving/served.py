"""The model that is served, by torch or by onnxruntime, and recordings scored with it in full."""

from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from mimii_pl.core.errors import InputError
from mimii_pl.deploy.serving.onnx_scorer import OnnxScorer
from mimii_pl.scoring.timeline import ON_CPU, TimelineBuilder, Windows, WindowScorer, read_windows

SERVING_ENGINES = ("auto", "torch", "onnx")
SHOWN_FINGERPRINT = 16  # characters
Engine = Literal["torch", "onnx"]


class Served(NamedTuple):
    """A model that is served.

    Attributes:
        name: as it was asked for: a folder, or a registered model.
        place: folder of its files.
        engine: that computes the scores.
        fingerprint: of the run.
        scorer: of its windows.
        windows: how recordings are divided.
        batch: windows that are scored at a time, at most.
        needs_id: whether scores depend on the machine ID.
        id_number: returns the number of a machine ID given by name.
        read: reads a recording into a builder, and yields number and samples of each window.
        since: when it was loaded.
    """

    name: str
    place: Path
    engine: Engine
    fingerprint: str
    scorer: WindowScorer
    windows: Windows
    batch: int
    needs_id: bool
    id_number: Callable[[str | None], int]
    read: Callable[[Path, TimelineBuilder], Iterator[tuple[int, np.ndarray]]]
    since: str

    def describe(self) -> dict[str, Any]:
        """Return what a client may know of it."""
        thresholds = self.scorer.thresholds
        assert thresholds is not None
        return {
            "name": self.name,
            "run": self.fingerprint,
            "engine": self.engine,
            "since": self.since,
            "machine_ids": self.scorer.labels,
            "needs_machine_id": self.needs_id and len(self.scorer.labels) > 1,
            "sample_rate": self.scorer.sample_rate,
            "clip_seconds": self.scorer.seconds,
            "hop_seconds": self.windows.hop,
            "thresholds": thresholds.thresholds,
            "threshold_rule": thresholds.origin,
        }


def check_engine(engine: str, watch: float) -> None:
    """Raise InputError if there is no such engine, or its model cannot be looked at so often."""
    if engine not in SERVING_ENGINES:
        raise InputError(f"engine={engine}: should be {', '.join(SERVING_ENGINES[:-1])} or {SERVING_ENGINES[-1]}")
    if not watch >= 0:
        raise InputError(f"watch={watch:g}: should be 0 s (never) or more")


def open_served(
    name: str, place: Path, *, engine: str = "auto", hop: float | None = None, device: str, trust: Collection[str] = ()
) -> Served:
    """Load a model and try it with a clip of noise.

    Args:
        name: as it was asked for.
        place: run directory, or folder of an export.
        engine: `torch`, `onnx`, or `auto`: what the folder holds.
        hop: s from one window of a recording to the next; None: half a clip.
        device: of torch.
        trust: packages whose classes the run may name.

    Raises:
        InputError: it cannot be loaded, or has no anomaly score.
    """
    exported = (place / "model.json").is_file()
    if engine == "onnx" and not exported:
        raise InputError(f"engine=onnx: {place} is no export: `mimii export run=... output=<folder>` makes one")
    if engine == "torch" and exported:
        raise InputError(f"engine=torch: {place} is an export, which onnxruntime scores: leave out engine")
    served = _of_onnx(name, place, hop) if exported else _of_torch(name, place, hop, device, trust)
    noise = np.random.default_rng(0).normal(0, 1000, (1, served.scorer.samples)).astype(np.int16)
    served.scorer.score_waves(noise, np.zeros(1, int))
    return served


def _of_onnx(name: str, place: Path, hop: float | None) -> Served:
    scorer = OnnxScorer(place)
    windows = Windows.of(scorer.seconds, hop)
    parts = scorer, windows, ON_CPU, scorer.needs_id, scorer.id_number, scorer.read
    return Served(name, place, "onnx", scorer.fingerprint[:SHOWN_FINGERPRINT], *parts, _now())


def _of_torch(name: str, place: Path, hop: float | None, device: str, trust: Collection[str]) -> Served:
    from mimii_pl.core.run_dir import run_fingerprint
    from mimii_pl.scoring.load_run import load_run
    from mimii_pl.scoring.timeline import windows_at_a_time

    scorer = load_run(place, device=device, trust=trust)
    if scorer.classes is not None:
        raise InputError(f"{place} is a classifier: anomaly scores need a run of task=anomaly")
    scorer.require_thresholds()

    def id_number(machine_id: str | None) -> int:
        return int(scorer.id_numbers(machine_id, 1)[0])

    windows = Windows.of(scorer.seconds, hop)
    parts = scorer, windows, windows_at_a_time(scorer), scorer.needs_id, id_number, partial(read_windows, scorer)
    return Served(name, place, "torch", run_fingerprint(place)[:SHOWN_FINGERPRINT], *parts, _now())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
