"""What a run costs: size, speed and memory, measured in the same way for every detector and back end."""

import copy
import math
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mimii_pl.core.memory import peak_bytes
from mimii_pl.core.run_dir import read_facts, write_facts
from mimii_pl.dataset._cache import ClipRows
from mimii_pl.scoring.scorer import Scorer

BATCHES = [2**power for power in range(9)]  # 1 to 256 clips
TIMED_PASSES = 3  # timed passes of a batch size, at least; more while a share of the budget lasts
SHARES = 20  # batch sizes that would use up the budget between them
Clips = np.ndarray | ClipRows  # int16 [N, samples]


class Scoring(NamedTuple):
    """What scoring costs. Times are from the waveform to the score: features, detector and back end.

    Attributes:
        macs: multiply-accumulates of the detector for one clip; None where a clip takes longer than the budget.
        ms_per_clip: milliseconds per clip, one at a time.
        ms_per_clip_best_batch: milliseconds per clip in batches of `best_batch` clips, where it is lowest.
        clips_per_second: in such batches.
    """

    macs: int | None
    ms_per_clip: float
    ms_per_clip_best_batch: float
    best_batch: int
    clips_per_second: float


def write_cost(scorer: Scorer, waves: Clips, ids: np.ndarray, run_dir: Path, seconds: float) -> None:
    """Add to run.json what the run cost so far and what scoring costs; `seconds` 0 leaves out what is to be measured.

    Args:
        waves: clips int16 [N, samples] to measure with, and the numbers of their machine IDs, `ids` [N].
        seconds: see `measure`.
    """
    facts: dict[str, Any] = {"device": device_name(scorer.device), "size_bytes": size_bytes(run_dir)}
    if seconds > 0:
        facts["peak_memory_bytes"] = peak_bytes(scorer.device)  # before batches larger than the run's own are tried
        facts |= measure(scorer, waves, ids, seconds)._asdict()
    write_facts(run_dir, **{name: fact for name, fact in facts.items() if fact is not None})


def measure(scorer: Scorer, waves: Clips, ids: np.ndarray, seconds: float) -> Scoring:
    """Measure scoring: batches are doubled while that helps, each size timed as a median after a pass to warm up.

    Args:
        waves: clips int16 [N, samples], N at least 1, taken again where a batch needs more.
        ids: numbers of their machine IDs, [N].
        seconds: the budget. No pass is begun that would outlast it, but for two of one clip: the first, and the one
            that counts, left out where the first took the whole budget.
    """
    deadline = time.perf_counter() + seconds
    once = partial(_pass, scorer, waves, ids)
    first = once(1)
    macs = multiply_accumulates(scorer, waves[:1], ids[:1]) if first <= seconds else None
    per_clip: dict[int, float] = {}  # seconds by size
    for size in BATCHES:
        best = min(per_clip, key=per_clip.get, default=1)
        if size > 4 * best or (size > 1 and time.perf_counter() + 2 * size * per_clip[size // 2] > deadline):
            break  # doubled twice in vain, or no time for one pass to warm up and one that counts
        try:
            warm = first if size == 1 else once(size)
            per_clip[size] = _median(partial(once, size), warm, seconds / SHARES, deadline) / size
        except torch.OutOfMemoryError:  # of a GPU
            break
    best = min(per_clip, key=per_clip.get)
    return Scoring(macs, 1e3 * per_clip[1], 1e3 * per_clip[best], best, 1 / per_clip[best])


def _pass(scorer: Scorer, waves: Clips, ids: np.ndarray, size: int) -> float:
    """Seconds to score one batch; the scores come back to the CPU, so a GPU's queue has been waited for."""
    rows = np.arange(size) % len(waves)
    trial, clips = copy.copy(scorer), waves[rows]
    trial.batch_size = size
    started = time.perf_counter()
    trial.predict_waves(clips, ids[rows])
    return time.perf_counter() - started


def _median(once: Callable[[], float], warm: float, share: float, deadline: float) -> float:
    """Median seconds of passes; those of the one that warmed up where there is no time for another."""
    times: list[float] = []
    while len(times) < TIMED_PASSES or sum(times) < share:
        if time.perf_counter() + (times or [warm])[-1] > deadline:
            break
        times.append(once())
    return statistics.median(times or [warm])


def multiply_accumulates(scorer: Scorer, waves: np.ndarray, ids: np.ndarray) -> int:
    """Multiply-accumulates with which the detector scores (classifies) clips int16 [B, samples], or embeds them
    where a back end scores.

    Matrix products and convolutions, as torch counts them (two operations each), in all that is executed: a detector
    that searches (`anogan`) is counted with every step and its gradients. Features and back ends are left out.
    """
    from torch.utils.flop_counter import FlopCounterMode

    part = scorer.detector.score if scorer.classes is None else scorer.detector.classify
    part = part if scorer.backend is None else scorer.detector.embed
    with torch.no_grad():
        batch = scorer.batch(waves, ids)
        with FlopCounterMode(display=False, custom_mapping=_FUSED) as counter:
            part(batch)
    return counter.get_total_flops() // 2


def size_bytes(run_dir: Path) -> int:
    """Bytes to ship: what `load` reads but for small texts, the configuration and the thresholds.

    The checkpoint is counted as it lies there, with the optimizer's state that resuming needs.
    """
    names = (read_facts(run_dir)["checkpoint"], "features.npz", "backend.npz")
    return sum((run_dir / name).stat().st_size for name in names if (run_dir / name).is_file())


def device_name(device: torch.device) -> str:
    """The GPU's name, or the processor's and how many threads torch uses of it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name, info = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if info.is_file():
        models = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        name = next(iter(models), name)
    threads = torch.get_num_threads()
    return f"{name}, {threads} thread{'s' * (threads > 1)}"


# --- layers that torch runs as one operation which its counter does not know: floating-point operations by shape -
def _mkldnn_lstm(x: tuple, weight_in: tuple, weight_hidden: tuple, *_: Any, **__: Any) -> int:
    return 2 * math.prod(x[:2]) * (math.prod(weight_in) + math.prod(weight_hidden))


def _cudnn_rnn(x: tuple, weights: list[tuple], *_: Any, **__: Any) -> int:
    return 2 * math.prod(x[:2]) * sum(math.prod(weight) for weight in weights if len(weight) == 2)


def _attention(query: tuple, key: tuple, value: tuple, width: int, *_: Any, **__: Any) -> int:
    """Three projections in, one out; each position of [M, N, width] looked at by each."""
    return 2 * query[0] * query[1] * width * (4 * width + 2 * key[1])


_FUSED = {
    torch.ops.aten.mkldnn_rnn_layer: _mkldnn_lstm,
    torch.ops.aten._cudnn_rnn: _cudnn_rnn,
    torch.ops.aten._native_multi_head_attention: _attention,
}
