"""Where in time and frequency a detector found an anomaly."""

import time
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.signal import istft, stft
from torch import Tensor

from mimii_pl.scoring.scorer import Scorer

STEPS = 4  # of the path that gradients are averaged over
SWAP_BANDS = (0, 1 / 32, 1 / 16, 1 / 8, 3 / 16, 1 / 4, 3 / 8, 1 / 2, 3 / 4, 1)  # of the spectrum that are swapped
SPANS = 8  # parts of the clip that are swapped
PATIENCE = 20.0  # seconds that swapping may take for one clip


class Location(NamedTuple):
    """How much each part of a clip adds to its score.

    `amount` [F, N] is higher where more anomalous; `hertz` [F + 1] are the edges of its rows, its columns divide the
    clip evenly; `method` says how it was found.
    """

    amount: np.ndarray
    hertz: np.ndarray
    method: str


def localize(scorer: Scorer, wave: np.ndarray, number: int, usual: np.ndarray) -> Location | None:
    """Explain the score of a clip by what differs from clips that sound usual; None where that would take too long.

    Auto-encoders: the squared error of the reconstruction, less its mean over the usual clips at that frequency. Other
    networks: integrated gradients (Sundararajan et al., ICML 2017) from the usual clips' mean. Back ends: how much the
    score falls when a part of the clip is swapped for that of a usual one.

    Args:
        scorer: a finished run.
        wave: int16 [T].
        number: of its machine ID.
        usual: int16 [M, T], clips of the same machine with low scores.
    """
    if scorer.backend is None and scorer.detector.supports("error_map"):
        return _errors(scorer, wave, number, usual)
    return (_gradients(scorer, wave, number, usual) if scorer.backend is None else None) or _swaps(
        scorer, wave, number, usual[0]
    )


def _errors(scorer: Scorer, wave: np.ndarray, number: int, usual: np.ndarray) -> Location:
    with torch.inference_mode():
        maps = scorer.detector.error_map(scorer.batch(np.stack([wave, *usual]), np.full(len(usual) + 1, number)))
    above = _smooth(maps[:1] - maps[1:].mean(dim=(0, 2))[:, None])[0]
    hertz = scorer.features.edges if len(above) > 1 else np.array([0, scorer.sample_rate / 2])
    return Location(above.cpu().numpy(), hertz, "reconstruction error above that of usual clips")


def _gradients(scorer: Scorer, wave: np.ndarray, number: int, usual: np.ndarray) -> Location | None:
    """None where the score does not depend on the spectrum, or cannot be differentiated."""
    batch = scorer.batch(np.stack([wave, *usual]), np.full(len(usual) + 1, number))
    start, end = batch.spec[1:].mean(dim=0, keepdim=True), batch.spec[:1]
    total = torch.zeros_like(end)
    for step in range(STEPS):
        spec = (start + (step + 0.5) / STEPS * (end - start)).requires_grad_()
        one = batch._replace(spec=spec, **{name: getattr(batch, name)[:1] for name in ("wave", "machine_id", "clip")})
        score = scorer.detector.score(one).sum()
        if not score.requires_grad:
            return None
        gradient = torch.autograd.grad(score, spec, allow_unused=True)[0]
        if gradient is None:
            return None
        total += gradient
    amount = ((end - start) * total / STEPS).sum(dim=1)  # [1, F, N]
    return Location(_smooth(amount)[0].cpu().numpy(), scorer.features.edges, "integrated gradients from usual clips")


def _smooth(amount: Tensor) -> Tensor:
    """Averages over some bins and frames: single ones are noise."""
    size = [2 * (length // 64) + 1 for length in amount.shape[1:]]
    return F.avg_pool2d(amount, size, stride=1, padding=[length // 2 for length in size], count_include_pad=False)


def _swaps(scorer: Scorer, wave: np.ndarray, number: int, usual: np.ndarray) -> Location | None:
    transform = {"fs": scorer.sample_rate, "nperseg": min(1024, len(wave))}
    own, other = (stft(clip.astype(np.float32), **transform)[2] for clip in (wave, usual))
    rows = np.round(np.array(SWAP_BANDS) * own.shape[0]).astype(int)
    columns = np.linspace(0, own.shape[1], SPANS + 1).astype(int)
    started, clips = time.perf_counter(), [wave]
    scorer.score_waves(np.stack(clips), np.full(1, number))
    if (time.perf_counter() - started) * (len(rows) - 1) * SPANS > PATIENCE:
        return None
    for low, high in pairwise(rows):
        for first, last in pairwise(columns):
            mixed = own.copy()
            mixed[low:high, first:last] = other[low:high, first:last]
            swapped = istft(mixed, **transform)[1][: len(wave)]
            clips.append(np.clip(np.round(swapped), -32768, 32767).astype(np.int16))
    scores = scorer.score_waves(np.stack(clips), np.full(len(clips), number))
    amount = (scores[0] - scores[1:]).reshape(len(rows) - 1, SPANS)
    return Location(
        amount, np.array(SWAP_BANDS) * scorer.sample_rate / 2, "fall of the score with that part of a usual clip"
    )
