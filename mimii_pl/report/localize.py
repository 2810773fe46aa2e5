"""Localize an anomaly in time and frequency."""

import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mimii_pl.dataset._clip import Batch
from mimii_pl.model._detector import spec_of
from mimii_pl.report.spectrograms import Location
from mimii_pl.scoring.base_scorer import BaseScorer
from mimii_pl.scoring.scorer import Scorer

STEPS = 4  # of the path over which gradients are averaged
SWAP_BANDS = (0, 1 / 32, 1 / 16, 1 / 8, 3 / 16, 1 / 4, 3 / 8, 1 / 2, 3 / 4, 1)  # edges of swapped bands, 1 = Nyquist
SPANS = 8  # equal time spans of the clip that are swapped
SWAPPED_AT_A_TIME = 8  # clips that are scored together: more do not fit into the caches of a processor
PATIENCE = 20.0  # seconds that swapping may take for one clip, or for as many as are localized at a time


def localizer(scorer: BaseScorer, number: int, usual: np.ndarray) -> Callable[[np.ndarray], Location | None]:
    """Return a function that explains the score of a clip, int16 [T]; it returns None where that would take too long.

    It explains by differences from usual clips. Auto-encoders: the squared error of the reconstruction, less its mean
    over the usual clips at that frequency. Other networks: integrated gradients (Sundararajan et al., ICML 2017) from
    the mean of the usual clips. Back ends and fused runs: the decrease of the score when a part of the clip is swapped
    for that of a usual one, in the features where the score depends on them alone, else in the waveform.

    Args:
        scorer: a finished run.
        number: number of the machine ID.
        usual: int16 [M, T], clips of that machine ID with low scores.
    """
    swaps = partial(_swaps, scorer, number, usual[0], PATIENCE * scorer.batches_at_once)
    if not isinstance(scorer, Scorer) or scorer.backend is not None:
        return swaps
    batch = scorer.batch(usual, np.full(len(usual), number))
    if not scorer.detector.supports("error_map"):
        start = spec_of(batch).mean(dim=0, keepdim=True)
        return lambda wave: _gradients(scorer, number, start, wave) or swaps(wave)
    with torch.inference_mode():
        usual_error = scorer.detector.error_map(batch).mean(dim=(0, 2))
    return partial(_errors, scorer, number, usual_error)


def _errors(scorer: Scorer, number: int, usual_error: Tensor, wave: np.ndarray) -> Location:
    """Map the error of a clip; `usual_error` [F] is subtracted."""
    with torch.inference_mode():
        errors = scorer.detector.error_map(scorer.batch(wave[None], np.full(1, number)))
        above = _smooth(errors - usual_error[:, None])[0]
    hertz = np.asarray(scorer.features.edges) if len(above) > 1 else np.array([0, scorer.sample_rate / 2])
    return Location(above.cpu().numpy(), hertz, "reconstruction error above that of usual clips")


def _gradients(scorer: Scorer, number: int, start: Tensor, wave: np.ndarray) -> Location | None:
    """Integrate gradients from features `start` [1, C, F, N].

    Returns:
        None where the score does not depend on the spectrum, or cannot be differentiated.
    """
    batch = scorer.batch(wave[None], np.full(1, number))
    end = spec_of(batch)
    total = torch.zeros_like(end)
    for step in range(STEPS):
        spec = (start + (step + 0.5) / STEPS * (end - start)).requires_grad_()
        score = scorer.detector.score(batch._replace(spec=spec)).sum()
        if not score.requires_grad:
            return None
        gradient = torch.autograd.grad(score, spec, allow_unused=True)[0]
        if gradient is None:
            return None
        total += gradient
    amount = ((end - start) * total / STEPS).sum(dim=1)  # [1, F, N]
    hertz = np.asarray(scorer.features.edges)
    return Location(_smooth(amount)[0].cpu().numpy(), hertz, "integrated gradients from usual clips")


def _smooth(amount: Tensor) -> Tensor:
    """Average over neighbouring bins and frames of [B, F, N], since single ones are noise."""
    size = [2 * (length // 64) + 1 for length in amount.shape[1:]]
    return F.avg_pool2d(amount, size, stride=1, padding=[length // 2 for length in size], count_include_pad=False)


def _swaps(scorer: BaseScorer, number: int, usual: np.ndarray, patience: float, wave: np.ndarray) -> Location | None:
    started = time.perf_counter()
    own = scorer.score_waves(wave[None], np.full(1, number))[0]
    if (time.perf_counter() - started) * (len(SWAP_BANDS) - 1) * SPANS > patience:
        return None
    found = _swapped_features(scorer, own, wave, number, usual) if isinstance(scorer, Scorer) else None
    scores, edges = found or _swapped_waves(scorer, wave, number, usual)
    return Location((own - scores).reshape(-1, SPANS), edges, "fall of the score with that part of a usual clip")


def _swapped_features(
    scorer: Scorer, own: float, wave: np.ndarray, number: int, usual: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Score a clip with parts of its features swapped; None where the score depends on the waveform itself.

    Returns:
        Scores [bands * SPANS], and the edges of the bands in Hz.
    """
    batch = scorer.batch(np.stack([wave, usual]), np.full(2, number))
    own_spec, usual_spec = spec_of(batch).split(1)
    first = _repeated(batch, 1)
    if scorer.score_batch(first._replace(wave=torch.zeros_like(first.wave)))[0] != own:
        return None
    edges, half = np.asarray(scorer.features.edges), scorer.sample_rate / 2
    rows = np.unique(np.searchsorted(edges, np.array(SWAP_BANDS) * half).clip(max=len(edges) - 1))
    columns = np.linspace(0, own_spec.shape[3], SPANS + 1).astype(int)
    places = [(slice(*band), slice(*span)) for band in pairwise(rows) for span in pairwise(columns)]
    scores = []
    for start in range(0, len(places), SWAPPED_AT_A_TIME):
        part = places[start : start + SWAPPED_AT_A_TIME]
        spec = own_spec.repeat(len(part), 1, 1, 1)
        for swapped, (band, span) in zip(spec, part, strict=True):
            swapped[:, band, span] = usual_spec[0, :, band, span]
        scores.append(scorer.score_batch(_repeated(batch, len(part))._replace(spec=spec)))
    return np.concatenate(scores), edges[rows]


def _swapped_waves(
    scorer: BaseScorer, wave: np.ndarray, number: int, usual: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Score a clip with parts of its waveform swapped; scores and edges as of `_swapped_features`."""
    from scipy.signal import istft, stft

    transform = {"fs": scorer.sample_rate, "nperseg": min(1024, len(wave))}
    own, other = (stft(clip.astype(np.float32), **transform)[2] for clip in (wave, usual))
    rows = np.round(np.array(SWAP_BANDS) * own.shape[0]).astype(int)
    columns = np.linspace(0, own.shape[1], SPANS + 1).astype(int)
    clips = []
    for low, high in pairwise(rows):
        for first, last in pairwise(columns):
            mixed = own.copy()
            mixed[low:high, first:last] = other[low:high, first:last]
            swapped = istft(mixed, **transform)[1][: len(wave)]
            clips.append(np.clip(np.round(swapped), -32768, 32767).astype(np.int16))
    scores = scorer.score_waves(np.stack(clips), np.full(len(clips), number))
    return scores, np.array(SWAP_BANDS) * scorer.sample_rate / 2


def _repeated(batch: Batch, count: int) -> Batch:
    """Repeat the first clip of a batch."""
    parts = batch._asdict().items()
    repeated: dict[str, Any] = {
        name: part if part is None else part[:1].expand(count, *part.shape[1:]) for name, part in parts
    }
    return Batch(**repeated)
