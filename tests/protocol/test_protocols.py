"""Splits into train, validation and test: by clip, never on two sides, the same for the same seed."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Clip
from mimii_pl.protocol.cross_validation import CrossValidation
from mimii_pl.protocol.holdout import Holdout
from mimii_pl.protocol.leave_one_id_out import LeaveOneIdOut
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


# --- a split of one's own --------------------------------------------------------------------------------------------
def own(normal=40, anomalies=10, ids=("id_00", "id_02"), per_recording=1):
    """Clips without a split; `per_recording` neighbours are cut from one recording."""
    return [
        Clip(
            Path(f"{id_}/{condition}_{index:03d}.wav"),
            "fan",
            id_,
            condition=condition,
            attributes={"recording": f"{id_}/{condition}/{index // per_recording}"} if per_recording > 1 else {},
        )
        for id_ in ids
        for condition, count in (("normal", normal), ("anomaly", anomalies))
        for index in range(count)
    ]


def sides(split):
    return Counter((clip.machine_id, clip.split, clip.condition) for clip in split)


def test_holdout_keeps_a_share_of_each_id_and_every_anomaly_for_the_test():
    split = Holdout(test=0.25, validation=0.1)(own())
    for one in ("id_00", "id_02"):
        assert sides(split)[one, "test", "normal"] == 10
        assert sides(split)[one, "test", "anomaly"] == 10
        assert sides(split)[one, "validation", "normal"] == 3
        assert sides(split)[one, "train", "normal"] == 27
    assert Holdout(test=0.25, validation=0.1)(own()[::-1]) == split
    assert Holdout(test=0.25, validation=0.1, seed=1)(own()) != split


def test_holdout_does_not_use_the_published_split():
    published = [Clip(c.path, c.machine, c.machine_id, "", c.condition, "train") for c in own(anomalies=0)]
    assert {clip.split for clip in Holdout()(published)} == {"train", "validation", "test"}


def test_clips_of_unknown_condition_are_never_learned_from():
    unknown = [Clip(Path(f"u{n}.wav"), "fan", "id_00") for n in range(5)]
    split = {clip.path: clip.split for clip in Holdout()([*own(), *unknown])}
    assert {split[clip.path] for clip in unknown} == {"test"}


def test_a_published_validation_set_is_the_validation_set():
    clips = [Clip(Path(f"{s}{n}"), "fan", "id_00", "", "normal", s) for s in ("train", "validation") for n in range(10)]
    assert [clip.split for clip in Official(validation=0.5)(clips)] == [clip.split for clip in clips]


def test_the_folds_are_the_training_clips_each_once_and_the_test_set_is_one():
    folds = [CrossValidation(folds=5, fold=fold)(own()) for fold in range(5)]
    tested = [{c.path for c in fold if c.split == "test"} for fold in folds]
    validated = [{c.path for c in f if c.split == "validation" and c.condition == "normal"} for f in folds]
    learned = [{c.path for c in fold if c.split == "train"} for fold in folds]
    assert all(one == tested[0] for one in tested)
    assert sum(len(one) for one in validated) == len(set.union(*validated)) == 64
    assert all(one | other == set.union(*validated) for one, other in zip(validated, learned, strict=True))
    for fold in folds:
        assert sides(fold)["id_00", "test", "normal"] == 8
        assert sides(fold)["id_00", "test", "anomaly"] == 8
        assert sides(fold)["id_00", "validation", "anomaly"] == 2  # for thresholds; never in rows("validation")


@pytest.mark.parametrize("options", [{"fold": 5}, {"fold": -1}, {"folds": 1}])
def test_a_fold_that_is_not_there(options):
    with pytest.raises(InputError, match="at least 2 folds, counted from 0"):
        CrossValidation(**options)


def test_too_few_recordings_for_the_folds():
    with pytest.raises(InputError, match=r"fan/id_00 has 4 normal recordings to train on, too few for 5 folds"):
        CrossValidation()(own(normal=5))


@pytest.mark.parametrize(("left_out", "one"), [(0, "id_00"), (1, "id_02"), ("id_02", "id_02")])
def test_the_id_left_out_is_the_test_set(left_out, one):
    split = LeaveOneIdOut(left_out=left_out)(own())
    assert {clip.machine_id for clip in split if clip.split == "test"} == {one}
    assert {clip.machine_id for clip in split if clip.split != "test"} == {"id_00", "id_02"} - {one}
    assert sides(split)[one, "test", "normal"] == 40
    assert all(clip.condition == "normal" for clip in split if clip.split != "test")


@pytest.mark.parametrize(("left_out", "ids"), [(2, ("id_00", "id_02")), ("id_01", ("id_00", "id_02")), (0, ("id_00",))])
def test_an_id_that_cannot_be_left_out(left_out, ids):
    with pytest.raises(InputError, match=r"protocol.left_out=.*: fan has \d IDs"):
        LeaveOneIdOut(left_out=left_out)(own(ids=ids))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", [Holdout, CrossValidation, LeaveOneIdOut, Official])
def test_no_recording_is_on_two_sides(kind, seed):
    made = own(per_recording=4)
    if kind is Official:
        made = [Clip(c.path, c.machine, c.machine_id, "", "normal", "train", c.attributes) for c in made]
    where = {}
    for clip in kind(seed=seed)(made):
        where.setdefault(clip.recording, set()).add(clip.split)
    assert all(len(splits) == 1 for splits in where.values())
    assert set.union(*where.values()) >= {"train", "validation"}


def test_normal_clips_beside_an_anomaly_in_one_recording_are_not_learned_from():
    clips = own(per_recording=4)
    clips[0] = Clip(clips[0].path, "fan", "id_00", condition="anomaly", attributes=clips[0].attributes)
    for kind in (Holdout(), CrossValidation(), LeaveOneIdOut(left_out="id_02")):
        beside = [c for c in kind(clips) if c.recording == clips[0].recording]
        assert "train" not in {clip.split for clip in beside}
        assert len({clip.split for clip in beside}) <= 1
