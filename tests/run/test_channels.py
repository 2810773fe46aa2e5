"""Every channel a clip, `dataset.channel=all`: none on two sides of a split, and one score for a recording."""

import csv

import numpy as np
import pytest
import soundfile
from support import world

import mimii_pl
from mimii_pl.core.config import compose
from mimii_pl.core.errors import InputError
from mimii_pl.core.files import read_arrays
from mimii_pl.dataset._channels import fuse_channels, split_channel
from mimii_pl.fuse import fuse
from mimii_pl.run import run
from mimii_pl.scoring.scores import read_scores
from mimii_pl.threshold import Thresholds
from mimii_pl.tracking.load import score as score_files

FREE = "model=spectrum", "backend=knn", "dataset=folder", "dataset.seconds=0.5", "dataset.channel=all"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two machines, 20 recordings each of two channels (one has three); the fault is heard by the second one alone."""
    folder, rng = tmp_path_factory.mktemp("channels") / "recordings", np.random.default_rng(0)
    for number, machine in enumerate(("press1", "press2")):
        for condition, count in (("normal", 16), ("anomaly", 4)):
            (folder / machine / condition).mkdir(parents=True)
            for index in range(count):
                heard = [False, condition == "anomaly", False][: 3 if index == 1 else 2]
                channels = [world.chord(rng, number, anomalous=faulty, seconds=0.5) for faulty in heard]
                path = folder / machine / condition / f"{index}.wav"
                soundfile.write(path, np.stack(channels, axis=1), world.RATE, subtype="PCM_16")
    return folder


@pytest.fixture(scope="module")
def runs(root, tmp_path_factory):
    found = {}
    for fusion in ("mean", "max"):
        found[fusion] = tmp_path_factory.mktemp(fusion) / "run"
        clips = ["report=default", "report.clips=1"] if fusion == "max" else []
        run(world.configured(root, *FREE, f"dataset.fuse_channels={fusion}", *clips), found[fusion])
    return found


def test_channels_are_clips_and_stay_together(root):
    data = world.data_of(world.configured(root, *FREE))
    assert len(data.clips) == 2 * (20 * 2 + 2)
    of_recording = {}
    for row, clip in enumerate(data.clips):
        path, channel = split_channel(clip.path, "all")
        wave, _ = soundfile.read(path, dtype="int16", always_2d=True)
        np.testing.assert_array_equal(data.waves[row], wave[:, channel])
        assert clip.recording == str(path)
        of_recording.setdefault(path, set()).add(clip.split)
    assert all(len(splits) == 1 for splits in of_recording.values())
    assert {split for splits in of_recording.values() for split in splits} == {"train", "validation", "test"}


@pytest.mark.parametrize("fusion", ["mean", "max"])
def test_a_recording_has_one_score_in_the_run_by_the_scorer_and_by_mimii_score(runs, root, tmp_path, fusion):
    scored = read_scores(runs[fusion] / "scores.csv")
    files, ids = [clip.file for clip in scored], [f"{clip.machine}/{clip.id}" for clip in scored]
    assert len(set(files)) == len(files)
    assert not any("#" in file for file in files)
    expected = [clip.score for clip in scored]
    scorer = mimii_pl.load(runs[fusion], device="cpu")
    np.testing.assert_allclose(scorer.score(files, machine_id=ids), expected, rtol=1e-5)
    pairs = zip(files, ids, strict=True)
    each = [scorer.score([f"{file}#channel={n}" for n in (0, 1)], machine_id=id_) for file, id_ in pairs]
    two = [soundfile.info(file).channels == 2 for file in files]
    over = np.mean if fusion == "mean" else np.max
    np.testing.assert_allclose(np.array(expected)[two], over(each, axis=1)[two], rtol=1e-5)
    decision = scorer.decide(files, machine_id=ids)
    assert decision.anomalous.tolist() == [bool(clip.decision) for clip in scored]
    (tmp_path / "list.txt").write_text("\n".join([*files, str(tmp_path / "gone.wav")]))
    options = {"input": str(tmp_path / "list.txt"), "output": str(tmp_path / "out.csv"), "device": "cpu"}
    table = score_files(run=str(runs[fusion]), **options)
    rows = list(csv.DictReader(table.read_text().splitlines()))
    np.testing.assert_allclose([float(row["score"]) for row in rows[:-1]], expected, rtol=1e-5)
    assert [int(row["decision"]) for row in rows[:-1]] == [clip.decision for clip in scored]
    assert rows[-1]["skipped"] == "there is no such file"


def test_one_channel_that_hears_the_fault_is_enough_for_the_maximum(runs):
    for fusion, run_dir in runs.items():
        scored = read_scores(run_dir / "scores.csv")
        normal, anomalous = ([clip.score for clip in scored if clip.label == label] for label in (0, 1))
        assert fusion == "mean" or min(anomalous) > max(normal)


def test_thresholds_rest_on_recordings_not_on_channels(runs, root):
    held = Thresholds.read(runs["max"] / "thresholds.json")
    data = world.data_of(world.configured(root, *FREE))
    rows = np.concatenate([data.rows("train"), data.rows("validation")])
    recordings = {data.clips[row].recording for row in rows}
    assert len(held.normal["all"]) == len(recordings) < len(rows)
    assert len(read_arrays(runs["max"] / "embeddings.npz")["path"]) == len(data.clips)


def test_the_page_shows_the_channel_with_the_highest_score(runs):
    page = (runs["max"] / "report.html").read_text()
    shown = [line for line in page.splitlines() if "Spectrogram of" in line and "#channel=" in line]
    assert shown
    assert any("#channel=1" in line for line in shown)


def test_a_dead_channel_is_named_and_the_others_are_used(runs, root, tmp_path, caplog):
    wave, rate = soundfile.read(root / "press1" / "normal" / "0.wav", dtype="int16")
    soundfile.write(tmp_path / "dead.wav", np.stack([wave[:, 0], np.zeros_like(wave[:, 0])], axis=1), rate)
    scorer = mimii_pl.load(runs["mean"], device="cpu")
    alone = scorer.score(wave[:, 0], rate=rate, machine_id="press1")
    np.testing.assert_allclose(scorer.score(tmp_path / "dead.wav", machine_id="press1"), alone, rtol=1e-6)
    assert "channel 1 of" in caplog.text
    assert "digital silence" in caplog.text
    soundfile.write(tmp_path / "silent.wav", np.zeros((8000, 2)), rate)
    with pytest.raises(InputError, match="digital silence"):
        scorer.score(tmp_path / "silent.wav", machine_id="press1")


def test_what_channels_cannot_be_used_for_is_said(runs, root, tmp_path):
    with pytest.raises(InputError, match=r"dataset\.channel=all: the anomaly scores of channels are fused"):
        world.data_of(world.configured(root, *FREE[2:], "task=classification", "model=simple_classifier"))
    cfg = compose([f"runs=[{runs['mean']},{runs['max']}]", "logger=none"], "command/fuse")
    with pytest.raises(InputError, match=r"cannot be fused: its scores are fused over channels"):
        fuse(cfg, tmp_path / "fused")


def test_scores_are_fused_in_the_order_of_recordings():
    fused, first = fuse_channels(np.array([[1.0, 8], [2, 0], [3, 4]]), ["b", "a", "b"], "max")
    assert fused.tolist() == [[3, 8], [2, 0]]
    assert first.tolist() == [0, 1]


def test_a_file_with_such_a_name_is_a_whole_one(tmp_path):
    (tmp_path / "a.wav#channel=1").touch()
    assert split_channel(tmp_path / "a.wav#channel=1", 0) == (tmp_path / "a.wav#channel=1", 0)
    assert split_channel(tmp_path / "b.wav#channel=12", 0) == (tmp_path / "b.wav", 12)


def test_windows_of_a_long_recording_are_fused_over_channels(root, runs, tmp_path):
    parts = [
        soundfile.read(root / "press1" / "normal" / f"{index}.wav", always_2d=True)[0][:, :2] for index in (0, 2, 3)
    ]
    parts[1][:, 0] = 0  # digitally silent: the other channel is heard
    soundfile.write(tmp_path / "night.wav", np.concatenate(parts), world.RATE, subtype="PCM_16")
    for fusion, over in (("mean", np.mean), ("max", np.max)):
        scorer = mimii_pl.load(runs[fusion], device="cpu")
        timeline = scorer.timeline(tmp_path / "night.wav", hop=0.5, machine_id="press1")
        assert timeline.start.tolist() == [0, 0.5, 1]
        for part, score in zip(parts, timeline.score, strict=True):
            waves = [channel for channel in part.T if channel.any()]
            alone = scorer.score(np.stack(waves), rate=world.RATE, machine_id="press1")
            assert score == pytest.approx(over(alone), abs=1e-5)
        named = scorer.score(f"{tmp_path / 'night.wav'}#t=1", machine_id="press1")
        assert named[0] == pytest.approx(timeline.score[2], abs=1e-6)
