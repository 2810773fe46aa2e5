"""The check in short at the head of a training."""

from dataclasses import replace

import pytest
from support import planted

from mimii_pl.quality.check_data import HEAD_CLIPS, describe_findings

COMMAND = "mimii check dataset=folder"


def opened(open_data, root):
    return open_data(root, "dataset=folder", "protocol=holdout", "protocol.test=0.01")


@pytest.fixture
def root(tmp_path):
    return planted.healthy(tmp_path / "recordings", normal=20)


def test_a_clean_set_is_trained_on_without_a_word(root, open_data):
    assert describe_findings(opened(open_data, root), COMMAND) == []


def test_a_line_for_each_kind_with_a_count_and_the_command(root, open_data):
    for kind in ("clipping", "dropouts", "band", "stopped"):
        planted.plant(root, kind)
    planted.plant(root, "clipping").rename(root / "press1" / "normal" / "more.wav")
    planted.plant(root, "clipping")
    data = opened(open_data, root)
    learned = {data.clips[row].path.stem for split in ("train", "validation") for row in data.rows(split)}
    *lines, last = describe_findings(data, COMMAND)
    assert [line.partition(":")[0] for line in lines] == [
        title
        for title, name in {
            "clipping": "clipping",
            "dropped blocks": "dropouts",
            "machine not running": "stopped",
            "energy ends below half the sampling frequency": "band",
        }.items()
        if name in learned
    ]
    assert len(lines) >= 3
    assert all(f" of {len(data.rows('train')) + len(data.rows('validation'))} recordings" in line for line in lines)
    assert last.endswith(f"`{COMMAND}`")


def test_no_label_and_no_sound_of_a_test_clip_is_read(root, open_data):
    planted.plant(root, "clipping").rename(root / "press1" / "anomaly" / "clipping.wav")
    data = opened(open_data, root)
    read = []

    class Recorded:
        def __init__(self, waves):
            self.waves = waves

        def __getitem__(self, row):
            read.append(row)
            return self.waves[row]

    waves, data.waves = data.waves, Recorded(data.waves)
    before = describe_findings(data, COMMAND)
    assert set(read) == {*data.rows("train"), *data.rows("validation")}
    data.waves = waves
    flipped = {"normal": "anomaly", "anomaly": "normal", "": ""}
    data.clips = [
        replace(clip, condition=flipped[clip.condition]) if clip.split == "test" else clip for clip in data.clips
    ]
    assert describe_findings(data, COMMAND) == before == []


def test_clips_are_looked_at_once_for_all_trainings_on_them(root, open_data, monkeypatch):
    planted.plant(root, "clipping")
    lines = describe_findings(opened(open_data, root), COMMAND)
    monkeypatch.setattr("mimii_pl.quality.check_data.of_cached", lambda *_: pytest.fail("looked at again"))
    again = describe_findings(opened(open_data, root), "mimii check here")
    assert again[:-1] == lines[:-1] != []
    assert again[-1].endswith("`mimii check here`")
    planted.plant(root, "dropouts")
    with pytest.raises(pytest.fail.Exception):
        describe_findings(opened(open_data, root), COMMAND)


def test_a_check_that_fails_is_told_and_ends_no_training(root, open_data, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("of a strange clip")

    monkeypatch.setattr("mimii_pl.quality.check_data.check_each", fail)
    (line,) = describe_findings(opened(open_data, root), COMMAND)
    assert line == "the recordings could not be checked: ZeroDivisionError: of a strange clip"


def test_no_more_clips_than_the_bound_are_looked_at(root, open_data, monkeypatch):
    looked = []
    data = opened(open_data, root)
    monkeypatch.setattr("mimii_pl.quality.check_data.HEAD_CLIPS", 5)
    monkeypatch.setattr(
        "mimii_pl.quality.check_data.check_each", lambda recordings, *_: looked.append(len(recordings)) or ()
    )
    describe_findings(data, COMMAND)
    assert looked == [5]
    assert HEAD_CLIPS > 5
