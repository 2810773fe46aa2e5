"""Scores over time: events where the fault is, one window as before, and what cannot be scored is said."""

import numpy as np
import pytest
import soundfile
from support import world

import mimii_pl
from mimii_pl.core.errors import InputError
from mimii_pl.run import run
from mimii_pl.scoring.timeline import Timeline, Windows, runs_above


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("timeline")
    root = world.write(folder / "world", ids=(0,), train=16, test=1, seconds=1.0)
    run(world.configured(root, "model=spectrum", "threshold.quantile=1"), folder / "run")
    return mimii_pl.load(folder / "run", device="cpu")


def recording(path, *stretches):
    """Write stretches (seconds, anomalous) of the machine, or None for silence."""
    rng = np.random.default_rng(1)
    parts = [
        np.zeros(seconds * world.RATE)
        if anomalous is None
        else np.concatenate([world.chord(rng, 0, anomalous=anomalous, seconds=1.0) for _ in range(seconds)])
        for seconds, anomalous in stretches
    ]
    soundfile.write(path, np.concatenate(parts), world.RATE, subtype="PCM_16")
    return path


def test_the_event_is_where_the_fault_is(scorer, tmp_path):
    path = recording(tmp_path / "night.wav", (30, False), (8, True), (22, False))
    timeline = scorer.timeline(path, hop=0.5)
    assert timeline.seconds == 60
    assert timeline.start.tolist() == [0.5 * number for number in range(119)]
    highest = max(timeline.events, key=lambda event: event.score)
    assert 29 <= highest.start <= 30
    assert 38 <= highest.end <= 39
    assert highest.low_hz <= 1.5 * 180 < highest.high_hz  # the lowest tone out of tune
    inside = (timeline.start >= 30) & (timeline.end <= 38)
    assert timeline.anomalous[inside].all()
    assert timeline.anomalous[~inside].mean() < 0.1
    assert timeline.above == pytest.approx(timeline.anomalous.mean())
    assert timeline.maximum == timeline.score[inside].max()


def test_a_recording_no_longer_than_a_clip_scores_as_before(scorer, tmp_path):
    for seconds in (0.6, 1.0):
        wave = world.chord(np.random.default_rng(2), 0, anomalous=False, seconds=seconds)
        soundfile.write(tmp_path / "a.wav", wave, world.RATE, subtype="PCM_16")
        timeline = scorer.timeline(tmp_path / "a.wav")
        assert timeline.score.tolist() == scorer.score(tmp_path / "a.wav").tolist()
        assert timeline.end.tolist() == [seconds]


def test_a_longer_one_says_so_where_its_beginning_is_scored(scorer, tmp_path, caplog):
    scorer.score(recording(tmp_path / "a.wav", (3, False)))
    assert "only their first 1 s are scored; timeline() scores one in full" in caplog.text


def test_windows_that_cannot_be_used_are_named(scorer, tmp_path):
    timeline = scorer.timeline(recording(tmp_path / "a.wav", (3, False), (2, None), (3, True)), hop=1.0)
    assert np.flatnonzero(np.isnan(timeline.score)).tolist() == list(timeline.faults) == [3, 4]
    assert "silence" in timeline.faults[3]
    assert [event.start for event in timeline.events] == [5.0]
    with pytest.raises(InputError, match=r"b\.wav: digital silence"):
        scorer.timeline(recording(tmp_path / "b.wav", (3, None)))


@pytest.mark.parametrize("hop", [0, -1, 1.01, float("nan")])
def test_a_hop_that_leaves_gaps_is_refused(scorer, tmp_path, hop):
    with pytest.raises(InputError, match="at most 1 s, the length of a clip"):
        scorer.timeline(tmp_path / "a.wav", hop=hop)


def test_wrong_files_are_refused(scorer, tmp_path):
    with pytest.raises(InputError, match=r"none\.wav: there is no such file"):
        scorer.timeline(tmp_path / "none.wav")
    with pytest.raises(InputError, match="release=2: should be from 0 to 1"):
        scorer.timeline(tmp_path / "none.wav", release=2)


def test_a_stored_timeline_is_the_same(scorer, tmp_path):
    timeline = scorer.timeline(recording(tmp_path / "a.wav", (3, False), (2, None), (3, True)))
    restored = Timeline.from_text(timeline.to_text())
    for name in Timeline._fields[:-2]:
        np.testing.assert_equal(getattr(restored, name), getattr(timeline, name))
    np.testing.assert_allclose(np.array(restored.events), np.array(timeline.events))
    np.testing.assert_allclose(restored.levels.level, timeline.levels.level, atol=0.26)


def test_hysteresis_keeps_an_event_together():
    score = np.array([0, 3, 2, 3, 0, 2, 5, np.nan, 5, 2])
    assert runs_above(score, 2.5, 1.5) == [(1, 1, 3), (6, 6, 6), (8, 8, 9)]
    assert runs_above(score, 2.5, 2.5) == [(1, 1, 1), (3, 3, 3), (6, 6, 6), (8, 8, 8)]


def test_the_default_hop_is_half_a_clip():
    assert Windows.of(10.0, None).hop == 5.0
