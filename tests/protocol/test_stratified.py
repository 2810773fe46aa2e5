"""The split of classifiers: every class in proportion on every side, recordings (or machine IDs) on one."""

from collections import Counter
from pathlib import Path

import pytest

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._classes import class_names, clip_class, labelled
from mimii_pl.dataset._clip import Clip
from mimii_pl.protocol.stratified import Stratified


def clips(normal=40, anomaly=10, ids=4, per_recording=1, unknown=0):
    """Clips of several IDs, cut from recordings of a few clips each."""
    found = []
    for one in range(ids):
        for condition, count in (("normal", normal), ("anomaly", anomaly), ("", unknown)):
            for number in range(count):
                recording = f"{condition}-{one}-{number // per_recording}"
                path = Path(f"id_{one:02d}/{condition}/{number:03d}.wav")
                found.append(
                    Clip(
                        path,
                        "fan",
                        f"id_{one:02d}",
                        condition=condition,
                        attributes={"recording": recording, "speed": ("slow", "fast")[number % 2]},
                    )
                )
    return found


def counts(split, target="condition"):
    return {
        name: Counter(clip_class(clip, target) for clip in split if clip.split == name)
        for name in ("train", "validation", "test")
    }


@pytest.mark.parametrize("fold", range(5))
def test_every_class_keeps_its_proportion(fold):
    found = counts(Stratified(fold=fold)(clips()))
    assert found["test"] == {"normal": 32, "anomaly": 8}
    assert found["validation"]["normal"] == pytest.approx(0.2 * 128, abs=2)
    assert found["validation"]["anomaly"] == pytest.approx(0.2 * 32, abs=2)


@pytest.mark.parametrize("target", ["condition", "machine_id", "speed"])
@pytest.mark.parametrize("per_recording", [1, 4])
def test_no_recording_is_on_two_sides_and_no_clip_is_lost(target, per_recording):
    made = clips(per_recording=per_recording)
    split = Stratified(target=target, folds=4)(made)
    sides = {}
    for clip in split:
        sides.setdefault(clip.recording, set()).add(clip.split)
    assert all(len(side) == 1 for side in sides.values())
    assert sorted(clip.path for clip in split) == sorted(clip.path for clip in made)
    assert set(counts(split, target)) == {"train", "validation", "test"}
    assert all(set(found) == set(class_names(made, target)) for found in counts(split, target).values())


def test_grouped_by_machine_id_no_machine_is_on_two_sides():
    split = Stratified(group="machine_id", folds=4)(clips())
    machines = {name: {clip.label for clip in split if clip.split == name} for name in ("train", "validation", "test")}
    assert not machines["train"] & machines["test"]
    assert not machines["train"] & machines["validation"]
    assert not machines["validation"] & machines["test"]
    assert set.union(*machines.values()) == {f"fan/id_{one:02d}" for one in range(4)}


def test_folds_test_every_clip_once_and_a_seed_repeats():
    tested = [clip.path for fold in range(5) for clip in Stratified(fold=fold)(clips()) if clip.split == "test"]
    assert sorted(tested) == sorted(clip.path for clip in clips())
    assert Stratified(seed=3)(clips()) == Stratified(seed=3)(clips()[::-1])
    assert Stratified(seed=3)(clips()) != Stratified(seed=4)(clips())


def test_too_few_clips_of_a_class_are_explained():
    with pytest.raises(InputError, match=r"class 'anomaly' has 4 recordings, too few for 5 parts.*protocol.folds"):
        Stratified()(clips(anomaly=1))
    with pytest.raises(InputError, match=r"class 'fan/id_00' has 1 machine IDs"):
        Stratified(target="machine_id", group="machine_id")(clips())
    with pytest.raises(InputError, match=r"protocol.fold=5, protocol.folds=5"):
        Stratified(fold=5)


def test_unlabelled_clips_are_left_out_and_counted(caplog):
    kept = labelled(clips(unknown=3), "condition")
    assert len(kept) == 200
    assert "12 of 212 clips have no condition" in caplog.text
    assert len(Stratified()(clips(unknown=3))) == 200


def test_a_target_with_one_class_or_none_is_explained():
    with pytest.raises(InputError, match=r"all 200 clips that have one are 'fan'.*machine_id, .*speed"):
        labelled(clips(), "machine")
    with pytest.raises(InputError, match=r"target=colour: no clip has one"):
        labelled(clips(), "colour")
