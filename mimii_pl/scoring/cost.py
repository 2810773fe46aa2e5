"""The cost of a run: size, speed and memory, measured in the same way for every detector and back end."""

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
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, shape_wrapper

from mimii_pl.core.memory import peak_bytes
from mimii_pl.core.run_dir import read_facts, scoring_files, write_facts
from mimii_pl.dataset._cache import ClipRows
from mimii_pl.scoring.base_scorer import BaseScorer
from mimii_pl.scoring.fused_scorer import FusedScorer
from mimii_pl.scoring.scorer import Scorer

BATCHES = [2**power for power in range(9)]  # 1 to 256 clips
TIMED_PASSES = 3  # minimum of timed passes per batch size; more while its share of the budget lasts
SHARES = 20  # shares that the budget is divided into, one per batch size
_Clips = np.ndarray | ClipRows  # int16 [N, samples]


class Scoring(NamedTuple):
    """The cost of scoring. Times are from the waveform to the score: features, detector and back end.

    Attributes:
        macs: multiply-accumulates of the detector for one clip; None if a clip takes longer than the budget.
        ms_per_clip: milliseconds per clip, one at a time.
        ms_per_clip_best_batch: milliseconds per clip in batches of `best_batch` clips, the fastest size.
        best_batch: clips per batch.
        clips_per_second: in batches of that size.
    """

    macs: int | None
    ms_per_clip: float
    ms_per_clip_best_batch: float
    best_batch: int
    clips_per_second: float


def write_cost(scorer: BaseScorer, waves: _Clips, ids: np.ndarray, run_dir: Path, seconds: float) -> None:
    """Add the cost of the run and of scoring to run.json.

    Args:
        waves: clips int16 [N, samples] to measure with, and the numbers of their machine IDs, `ids` [N].
        seconds: see `measure`; 0: write only what needs no measurement.
    """
    known = read_facts(run_dir)
    measures = seconds > 0 and "clips_per_second" not in known  # else measured before a kill
    facts: dict[str, Any] = {"size_bytes": size_bytes(run_dir)}
    if measures or "device" not in known:  # else the device of the times that are there
        facts["device"] = device_name(scorer.device, known.get("threads"))
    if measures:
        facts["peak_memory_bytes"] = peak_bytes(scorer.device)  # before batches larger than the run's own are tried
        facts |= measure(scorer, waves, ids, seconds)._asdict()
    write_facts(run_dir, **{name: fact for name, fact in facts.items() if fact is not None})


def measure(scorer: BaseScorer, waves: _Clips, ids: np.ndarray, seconds: float) -> Scoring:
    """Measure scoring: the batch size is doubled while that helps; each size takes the median after a warm-up pass.

    Args:
        waves: clips int16 [N, samples], N >= 1, repeated if a batch needs more.
        ids: numbers of their machine IDs, [N].
        seconds: the time budget. No pass starts that would exceed it, except two of a single clip: the first one, and
            the one that counts operations, which is skipped if the first took the whole budget.
    """
    deadline = time.perf_counter() + seconds
    timed_pass = partial(_pass, scorer, waves, ids)
    first = timed_pass(1)
    macs = multiply_accumulates(scorer, waves[:1], ids[:1]) if first <= seconds else None
    per_clip: dict[int, float] = {}  # batch size -> seconds
    for size in BATCHES:
        best = min(per_clip, key=per_clip.__getitem__, default=1)
        if size > 4 * best or (size > 1 and time.perf_counter() + 2 * size * per_clip[size // 2] > deadline):
            break  # doubled twice in vain, or no time for a warm-up pass and a timed one
        try:
            warm_up = first if size == 1 else timed_pass(size)
            per_clip[size] = _median(partial(timed_pass, size), warm_up, seconds / SHARES, deadline) / size
        except torch.OutOfMemoryError:  # on a GPU
            break
    best = min(per_clip, key=per_clip.__getitem__)
    return Scoring(macs, 1e3 * per_clip[1], 1e3 * per_clip[best], best, 1 / per_clip[best])


def _pass(scorer: BaseScorer, waves: _Clips, ids: np.ndarray, size: int) -> float:
    """Return the seconds to score one batch; the scores are copied to the CPU, which waits for a GPU to finish."""
    rows = np.arange(size) % len(waves)
    one_batch, clips = copy.copy(scorer), waves[rows]
    one_batch.batch_size = size
    started = time.perf_counter()
    one_batch.predict_waves(clips, ids[rows])
    return time.perf_counter() - started


def _median(timed_pass: Callable[[], float], warm_up: float, share: float, deadline: float) -> float:
    """Return the median seconds of timed passes; those of the warm-up pass if there is no time for another."""
    times: list[float] = []
    while len(times) < TIMED_PASSES or sum(times) < share:
        if time.perf_counter() + (times or [warm_up])[-1] > deadline:
            break
        times.append(timed_pass())
    return statistics.median(times or [warm_up])


def multiply_accumulates(scorer: BaseScorer, waves: np.ndarray, ids: np.ndarray) -> int:
    """Count the multiply-accumulates that score (classify) clips int16 [B, samples], or embed them for a back end.

    Only matrix products and convolutions count, as torch counts them (two operations each), in everything that is
    executed: a detector that searches (`anogan`) with all its steps and gradients. Features and back ends do not count.
    """
    if isinstance(scorer, FusedScorer):
        return sum(multiply_accumulates(member, scorer.heard_by(member, waves), ids) for member in scorer.runs.values())
    assert isinstance(scorer, Scorer)
    detector = scorer.detector
    function = detector.score if scorer.classes is None else detector.classify
    if scorer.backend is not None:
        function = detector.embed
    with torch.no_grad():
        batch = scorer.batch(waves, ids)
        return count_macs(partial(function, batch))


def count_macs(work: Callable[[], object]) -> int:
    """Count the multiply-accumulates of what a function executes, as `multiply_accumulates` counts them."""
    with _Operations() as counted:
        work()
    return counted.total // 2


class _Operations(TorchDispatchMode):
    """Counts floating-point operations, as torch's own `FlopCounterMode` does, which imports its compiler: a second."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or the compiler is imported

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        count = _COUNTED.get(func._overloadpacket)
        if count is None and func is not torch.ops.prim.device.default:
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        result = func(*args, **kwargs)
        self.total += count(*args, **kwargs, out_val=result) if count else 0
        return result


def size_bytes(run_dir: Path) -> int:
    """Return the bytes that `load` reads, without small text files: configuration and thresholds.

    The checkpoint counts as it is, with the state of the optimizer that resuming needs.
    """
    names = [name for name in scoring_files(run_dir) if not name.endswith((".yaml", ".json"))]
    return sum((run_dir / name).stat().st_size for name in names if (run_dir / name).is_file())


def device_name(device: torch.device, training: int | None = None) -> str:
    """Return the name of the GPU, or that of the CPU with the number of threads that torch uses.

    Args:
        training: threads that training used, named if they are others; None: unknown.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name, info = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if info.is_file():
        models = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        name = next(iter(models), name)
    threads = torch.get_num_threads()
    others = f" ({training} in training)" if training not in (None, threads) else ""
    return f"{name}, {threads} {'thread' if threads == 1 else 'threads'}{others}"


# --- operations of fused layers, which the counter of torch does not know: floating-point operations by shape --------
def _mkldnn_lstm(x: tuple, weight_in: tuple, weight_hidden: tuple, *_: Any, **__: Any) -> int:
    return 2 * math.prod(x[:2]) * (math.prod(weight_in) + math.prod(weight_hidden))


def _cudnn_rnn(x: tuple, weights: list[tuple], *_: Any, **__: Any) -> int:
    return 2 * math.prod(x[:2]) * sum(math.prod(weight) for weight in weights if len(weight) == 2)


def _attention(query: tuple, key: tuple, value: tuple, width: int, *_: Any, **__: Any) -> int:
    """Count three input projections, one output projection and the attention of all pairs in [M, N, width]."""
    return 2 * query[0] * query[1] * width * (4 * width + 2 * key[1])


_FUSED = {
    torch.ops.aten.mkldnn_rnn_layer: _mkldnn_lstm,
    torch.ops.aten._cudnn_rnn: _cudnn_rnn,
    torch.ops.aten._native_multi_head_attention: _attention,
}
_COUNTED = flop_registry | {operator: shape_wrapper(count) for operator, count in _FUSED.items()}
