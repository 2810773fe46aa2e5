"""Who is train, validation and test: never on two sides, by clip, the same for the same seed."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mimii_pl.dataset._clip import Clip
from mimii_pl.errors import InputError
from mimii_pl.protocol.mimii import MIMII
from mimii_pl.protocol.official import Official


def clips(split=True):
    return [
        Clip(
            Path(f"{side}/{condition}_{id_}_{index}.wav"), "fan", id_, condition=condition, split=side if split else ""
        )
        for id_, count in (("id_00", 20), ("id_02", 10), ("id_04", 2), ("id_06", 1))
        for side, condition, n in (("train", "normal", count), ("test", "normal", 3), ("test", "anomaly", 3))
        for index in range(n)
    ]


@pytest.mark.parametrize("protocol", [Official(), MIMII(), Official(validation=0.3, seed=1)])
def test_each_clip_is_on_one_side_and_no_anomaly_is_learned_from(protocol):
    split = protocol(clips())
    assert len({clip.path for clip in split}) == len(split) == len(clips())
    assert {clip.split for clip in split} == {"train", "validation", "test"}
    assert all(clip.condition == "normal" for clip in split if clip.split != "test")
    assert protocol(clips()) == split


def test_validation_is_a_share_of_each_id_and_leaves_one_to_train_on():
    held = Counter(clip.machine_id for clip in Official(validation=0.2)(clips()) if clip.split == "validation")
    assert held == {"id_00": 4, "id_02": 2, "id_04": 1}


def test_another_seed_holds_out_other_clips():
    held = [{c.path for c in Official(seed=seed)(clips()) if c.split == "validation"} for seed in (0, 1)]
    assert held[0] != held[1]


def test_the_published_test_set_stays_whole():
    assert sum(clip.split == "test" for clip in Official()(clips())) == sum(clip.split == "test" for clip in clips())


def test_mimii_takes_the_first_normals_as_many_as_anomalies():
    split = MIMII(validation=0)(clips(split=False))
    for id_ in ("id_00", "id_02"):
        normal = sorted(str(c.path) for c in split if c.machine_id == id_ and c.condition == "normal")
        tested = sorted(
            str(c.path) for c in split if c.machine_id == id_ and c.condition == "normal" and c.split == "test"
        )
        assert tested == normal[:3]


def test_no_published_split_is_explained():
    with pytest.raises(InputError, match="protocol=holdout"):
        Official()(clips(split=False))


def test_anomalies_among_the_training_clips_are_left_out(caplog):
    strange = Clip(Path("x.wav"), "fan", "id_00", condition="anomaly", split="train")
    assert strange not in Official()([*clips(), strange])
    assert "1 anomalous clips" in caplog.text


@pytest.mark.parametrize("kind", [Official, MIMII])
@pytest.mark.parametrize("seed", range(5))
def test_whatever_the_counts_no_clip_is_on_two_sides(kind, seed):
    rng = np.random.default_rng(seed)
    made = [
        Clip(Path(f"{machine}/{id_}/{side}/{condition}_{index:03d}.wav"), machine, id_, "", condition, side)
        for machine in ("fan", "pump")
        for id_ in ("id_00", "id_02", "id_04")
        for side, condition in (("train", "normal"), ("test", "normal"), ("test", "anomaly"))
        for index in range(rng.integers(0, 13))
    ]
    share = rng.uniform(0.01, 0.99)
    split = kind(validation=share, seed=seed)(rng.permutation(np.array(made, dtype=object)).tolist())
    assert sorted(str(clip.path) for clip in split) == sorted(str(clip.path) for clip in made)
    assert all(clip.condition == "normal" for clip in split if clip.split != "test")
    for label in {clip.label for clip in split}:
        count = Counter(clip.split for clip in split if clip.label == label)
        normal = count["train"] + count["validation"]
        if normal >= 2:
            assert count["train"] >= 1
            assert count["validation"] == min(max(1, round(share * normal)), normal - 1)
        else:
            assert count["validation"] == 0


def test_one_id_does_not_move_what_is_held_out_of_the_ids_before_it():
    held = [
        {clip.path for clip in Official()(some) if clip.split == "validation" and clip.machine_id == "id_00"}
        for some in (clips(), [clip for clip in clips() if clip.machine_id == "id_00"])
    ]
    assert held[0] == held[1]


def test_no_validation_is_possible():
    assert "validation" not in {clip.split for clip in Official(validation=0)(clips())}
