"""Training batches: reproducible, mixed, complete, and shared out between processes."""

import numpy as np
import pytest
import torch

from mimii_pl.dataset._clip import Crop
from mimii_pl.dataset._sampler import TrainSampler

ROWS = np.arange(100, 140)


def items(sampler):
    return np.concatenate(list(sampler))


def test_whole_clips_come_once_in_an_order_of_seed_and_epoch():
    one, two = (TrainSampler(ROWS, 50, None, batch_size=8, seed=3) for _ in range(2))
    assert sorted(items(one)[:, 0]) == list(ROWS)
    assert (items(one)[:, 1] == -1).all()
    np.testing.assert_array_equal(items(one), items(two))
    two.set_epoch(1)
    assert (items(one) != items(two)).any()
    assert len(list(one)) == len(one) == 5


def test_random_crops_stay_in_the_clip_and_reach_its_ends():
    sampler = TrainSampler(ROWS, 50, Crop(40), batch_size=8, seed=0)
    first = []
    for epoch in range(30):
        sampler.set_epoch(epoch)
        first += items(sampler)[:, 1].tolist()
    assert (min(first), max(first)) == (0, 10)


def test_tiles_cover_a_clip_once_and_mix_clips():
    crop = Crop(12, tile=True, overlap=4)
    sampler = TrainSampler(ROWS, 313, crop, batch_size=32, seed=0)
    found = items(sampler)
    for row in ROWS:
        starts = np.sort(found[found[:, 0] == row, 1])
        assert (np.diff(starts) == 8).all()
        assert starts[0] >= 0
        assert starts[-1] + 12 <= 313
        windows = np.concatenate([np.arange(start, start + 8) for start in starts])
        assert len(set(windows)) == len(windows) >= 309 - 8
    assert min(len(set(batch[:, 0])) for batch in list(sampler)[:-1]) > 15


def test_crops_within_a_range():
    found = items(TrainSampler(ROWS, 313, Crop(12, True, 4, (50, 250)), batch_size=32, seed=0))[:, 1]
    assert found.min() >= 50
    assert found.max() + 12 <= 250


def test_two_processes_share_the_same_list():
    whole = items(TrainSampler(ROWS, 50, None, batch_size=4, seed=0))
    parts = [list(TrainSampler(ROWS, 50, None, batch_size=4, seed=0, rank=rank, world=2)) for rank in range(2)]
    assert len(parts[0]) == len(parts[1]) == 5
    joined = np.concatenate([batch for pair in zip(*parts, strict=True) for batch in pair])
    np.testing.assert_array_equal(joined, whole)


@pytest.mark.parametrize(("clips", "last"), [(9, [1, 1]), (13, [3, 2]), (14, [3, 3]), (16, [4, 4])])
def test_what_is_left_over_is_shared_out_evenly(clips, last):
    options = {"batch_size": 4, "seed": 0}
    samplers = [TrainSampler(ROWS[:clips], 50, None, rank=rank, world=2, **options) for rank in range(2)]
    parts = [list(sampler) for sampler in samplers]
    assert [[len(batch) for batch in part] for part in parts] == [[4, count] for count in last]
    whole = list(TrainSampler(ROWS[:clips], 50, None, batch_size=8, seed=0))
    for number, batch in enumerate(whole):
        shares = [sampler.share(number) for sampler in samplers]
        joined = np.concatenate([part[number] for part, share in zip(parts, shares, strict=True) if share])
        np.testing.assert_array_equal(joined, batch)
        values = [share * part[number][:, 0].mean() for part, share in zip(parts, shares, strict=True)]
        assert np.mean(values) == pytest.approx(batch[:, 0].mean())


def test_nothing_but_seed_and_epoch_decides_the_order():
    crop = Crop(10)
    reference = items(TrainSampler(ROWS, 50, crop, batch_size=8, seed=3))
    assert (items(TrainSampler(ROWS, 50, crop, batch_size=8, seed=4)) != reference).any()
    np.random.seed(1)
    torch.manual_seed(1)
    again = TrainSampler(ROWS, 50, crop, batch_size=8, seed=3)
    again.set_epoch(5)
    list(again)
    again.set_epoch(0)
    np.testing.assert_array_equal(items(again), reference)


@pytest.mark.parametrize("crop", [None, Crop(20), Crop(12, True, 4), Crop(12, True, 4, (10, 40))])
@pytest.mark.parametrize("clips", [1, 7, 32])
@pytest.mark.parametrize("world", [2, 3])
def test_processes_partition_the_list(crop, clips, world):
    def part(rank, world):
        sampler = TrainSampler(ROWS[:clips], 60, crop, batch_size=4, seed=1, rank=rank, world=world)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        counted = [batch for number, batch in enumerate(batches) if sampler.share(number)]
        return len(batches), [tuple(item) for batch in counted for item in batch.tolist()]

    (_, whole), parts = part(0, 1), [part(rank, world) for rank in range(world)]
    assert len({steps for steps, _ in parts}) == 1
    assert sorted(item for _, items in parts for item in items) == sorted(whole)


@pytest.mark.parametrize("frames", [12, 13, 19, 20, 21, 313])
def test_tiles_never_leave_the_clip(frames):
    crop = Crop(12, tile=True, overlap=4)
    sampler = TrainSampler(ROWS, frames, crop, batch_size=32, seed=0)
    first = items(sampler)[:, 1]
    assert first.min() >= 0
    assert first.max() + 12 <= frames
    assert sampler.crops_per_clip == (frames - 4) // 8
