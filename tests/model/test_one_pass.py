"""A pass that computes shared steps once: nested, and in several threads."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from mimii_pl.dataset._clip import Batch
from mimii_pl.model.dense_ae import DenseAE


@pytest.fixture
def detector():
    torch.manual_seed(0)
    return DenseAE((1, 8, 20), 2, hidden=[16], bottleneck=4).eval()


def batch(seed):
    unknown = torch.full((3,), -1)
    spec = torch.randn(3, 1, 8, 20, generator=torch.Generator().manual_seed(seed))
    return Batch(torch.zeros(3, 1), unknown, anomalous=unknown, clip=unknown, spec=spec)


def outputs(detector, clips):
    with torch.inference_mode():
        return [detector.embed(clips), detector.score(clips), detector.error_map(clips)]


def test_blocks_may_be_nested(detector):
    clips = batch(0)
    alone = outputs(detector, clips)
    with detector.one_pass():
        with detector.one_pass():
            within = outputs(detector, clips)
        assert outputs(detector, clips)[0] is within[0]  # still once per batch
    assert not set(detector.shared) & set(vars(detector))
    for one, other in zip(alone, within, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_threads_begin_and_end_blocks_as_they_like(detector):
    every = [batch(seed) for seed in range(8)]
    expected = [outputs(detector, clips) for clips in every]

    def passed(number):
        with detector.one_pass():
            return outputs(detector, every[number % 8])

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(passed, range(400)))
    assert not set(detector.shared) & set(vars(detector))
    for number, values in enumerate(found):
        for one, other in zip(values, expected[number % 8], strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)
