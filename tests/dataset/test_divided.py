"""Recordings of any length, divided into clips that stay together, in a cache that is continued after a kill."""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support import world

import mimii_pl
from mimii_pl.backend._backend import assign_folds
from mimii_pl.core.config import build_data
from mimii_pl.core.errors import InputError
from mimii_pl.core.stored_config import read_config
from mimii_pl.dataset import _audio, _cache, _decode, _journal
from mimii_pl.dataset._clip import split_name
from mimii_pl.quality.check_data import check_data
from mimii_pl.quality.limits import Limits
from mimii_pl.report.neighbours import NormalClips
from mimii_pl.run import run
from mimii_pl.scoring.held_out import recording_names
from mimii_pl.scoring.scores import read_scores

RATE = 8000
HOW = {"sample_rate": RATE, "channel": 0}


def write(root, lengths, *, folder="", suffix="wav"):
    """Write a recording of noise of each length in s."""
    (root / folder).mkdir(parents=True, exist_ok=True)
    for number, seconds in enumerate(lengths):
        rng = np.random.default_rng([number, len(folder)])
        wave = (0.1 * rng.standard_normal(round(seconds * RATE))).astype(np.float32)
        soundfile.write(root / folder / f"{number:02d}.{suffix}", wave, RATE, subtype="PCM_16")
    return root


def configured(root, *overrides):
    options = ("model=spectrum", "dataset=folder", f"dataset.sample_rate={RATE}", *overrides)
    return world.configured(root, *options)


def opened(root, *overrides):
    return world.data_of(configured(root, *overrides))


def sides(data):
    """Recording -> splits of its clips."""
    found = defaultdict(set)
    for clip in data.clips:
        found[clip.path].add(clip.split)
    return found


def test_blocks_of_one_recording_can_be_held_out(tmp_path):
    root = write(tmp_path / "own", [60.5])
    data = opened(root, "dataset.seconds=1", "dataset.block=10")
    blocks = defaultdict(set)
    for clip in data.clips:
        blocks[int(min(clip.start, 59) // 10)].add(clip.split)  # the clip from 59.5 s shares sound with that from 59 s
    assert len(blocks) == 6
    assert all(len(splits) == 1 for splits in blocks.values())
    assert {next(iter(splits)) for splits in blocks.values()} == {"train", "validation", "test"}
    for option, reason in (("dataset.hop=0.5", "share sound"), ("dataset.block=0.5", "at least 1 s")):
        with pytest.raises(InputError, match=reason):
            opened(root, "dataset.seconds=1", "dataset.block=10", option)


def test_longer_recordings_are_divided_and_the_last_clip_ends_with_them(tmp_path):
    data = opened(write(tmp_path / "own", [1, 1.4, 1.6, 3.3]), "dataset.seconds=1", "protocol.validation=0")
    clips = {clip.name.removeprefix(str(tmp_path / "own") + "/"): row for row, clip in enumerate(data.clips)}
    names = ["00.wav", "01.wav", "02.wav#t=0", "02.wav#t=0.6", *(f"03.wav#t={start}" for start in (0, 1, 2, 2.3))]
    assert list(clips) == names
    for name, row in clips.items():
        file, start = split_name(tmp_path / "own" / name)
        wave = soundfile.read(file, dtype="int16")[0][round((start or 0) * RATE) :][:RATE]
        np.testing.assert_array_equal(data.waves[row], wave)
    overlapping = opened(tmp_path / "own", "dataset.seconds=1", "dataset.hop=0.5", "protocol.validation=0")
    assert sum("03" in clip.path.name for clip in overlapping.clips) == 6


@pytest.mark.parametrize(
    "protocol",
    ["holdout", "cross_validation protocol.folds=3", "cross_validation protocol.folds=3 protocol.fold=2"],
)
def test_the_clips_of_a_recording_are_on_one_side(tmp_path, protocol):
    root = write(tmp_path / "own", [2, 9, 4, 1, 1.2, 30, 3, 5, 2, 7], folder="normal")
    write(root, [3, 4], folder="anomaly")
    data = opened(root, "dataset.seconds=1", *f"protocol={protocol}".split())
    assert {split for found in sides(data).values() for split in found} == {"train", "validation", "test"}
    assert all(len(found) == 1 for found in sides(data).values())
    rows = np.concatenate([data.rows("train"), data.rows("validation")])
    folds = assign_folds(data.machine_id[rows], recording_names(data, rows))
    assert len({(data.clips[row].path, fold) for row, fold in zip(rows, folds, strict=True)}) == len(
        {data.clips[row].path for row in rows}
    )
    assert len(set(folds)) > 1


def test_a_recording_of_hours_does_not_empty_the_training(tmp_path):
    root = write(tmp_path / "own", [60, 2, 2, 2, 2, 2, 2])
    for seed in range(6):
        data = opened(root, "dataset.seconds=1", f"protocol.seed={seed}")
        assert len(data.rows("train")) > 60
        assert len(data.rows("validation"))


def test_classes_keep_recordings_together_too(tmp_path):
    for folder in ("normal", "anomaly"):
        root = write(tmp_path / "own", [2, 3, 2, 2, 3, 2], folder=folder)
    options = "task=classification", "model=simple_classifier", "protocol=stratified", "protocol.folds=3"
    data = world.data_of(world.configured(root, "dataset=folder", *options, "dataset.seconds=1"))
    assert all(len(found) == 1 for found in sides(data).values())


@pytest.mark.parametrize(
    ("lengths", "expected", "words"),
    [
        ([60] * 4, 10, "recordings have 60 to 60 s: clips have 10 s, as in the public sets"),
        ([12] * 4, 12, ""),
        ([2, 2, 2, 5], 2, "recordings have 2 to 5 s: clips have 2 s, the length that most have"),
        ([3, 20, 90], 10, "clips have 10 s, as in the public sets, for which detectors have their defaults"),
    ],
)
def test_the_length_of_a_clip_is_explained_where_recordings_differ(tmp_path, caplog, lengths, expected, words):
    data = opened(write(tmp_path / "own", lengths), "protocol.validation=0")
    assert data.samples == expected * RATE
    said = [text for text in caplog.messages if "clips have" in text]
    assert len(said) == bool(words)
    assert words in "".join(said)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["dataset.hop=2"], "dataset.hop=2: should be above 0 and at most 1 s, the length of a clip"),
        (["dataset.hop=0"], "dataset.hop=0: should be above 0"),
        (["dataset.hop=1", "dataset.long=cut"], "dataset.hop=1: dataset.long=cut divides no recording"),
        (["dataset.long=keep"], "dataset.long=keep: should be split or cut"),
    ],
)
def test_wrong_lengths_are_explained(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        opened(write(tmp_path / "own", [2, 2]), "dataset.seconds=1", *options)


def test_a_run_of_before_still_cuts(tmp_path):
    cfg = {
        "dataset": {"_target_": "mimii_pl.dataset.folder.Folder"},
        "task": {"_target_": "mimii_pl.task.anomaly.Anomaly"},
    }
    (tmp_path / "config.yaml").write_text(json.dumps(cfg))
    assert read_config(tmp_path).dataset.long == "cut"


def test_parts_that_cannot_be_used_are_named_and_cost_themselves_only(tmp_path):
    root = write(tmp_path / "own", [5, 5])
    wave = soundfile.read(root / "01.wav", dtype="int16")[0]
    wave[2 * RATE : 3 * RATE] = 0
    soundfile.write(root / "01.wav", wave, RATE)
    data = opened(root, "dataset.seconds=1", "protocol.validation=0")
    assert [(Path(path).name, reason[:15]) for path, reason in data.skipped] == [("01.wav#t=2", "digital silence")]
    assert len(data.clips) == 9


def test_a_recording_that_breaks_off_is_left_out_in_full(tmp_path):
    root = write(tmp_path / "own", [40, 5, 5], suffix="flac")
    path = root / "00.flac"
    path.write_bytes(path.read_bytes()[:-40_000])
    data = opened(root, "dataset.seconds=1", "protocol.validation=0")
    assert [Path(path).name for path, _ in data.skipped] == ["00.flac"]
    assert {clip.path.name for clip in data.clips} == {"01.flac", "02.flac"}


# --- cache -----------------------------------------------------------------------------------------------------------
def cached(tmp_path, lengths, **options):
    paths, starts = [], []
    for path, seconds in zip(sorted((tmp_path / "own").glob("*.wav")), lengths, strict=True):
        count = int(seconds) if seconds > 1.5 else 1
        paths += [path] * count
        starts += [float(start) for start in range(count)] if seconds > 1.5 else [None]
    return _cache.build_cache(paths, tmp_path / "cache", starts=starts, seconds=1.0, hop=1.0, **HOW, **options)


@pytest.mark.parametrize("killed_after", [1, 4, 9, 13, 20])
def test_a_killed_cache_is_continued_and_equals_a_whole_one(tmp_path, monkeypatch, killed_after):
    lengths = [1, 1, 8, 1, 6, 5]
    write(tmp_path / "own", lengths)
    whole = cached(tmp_path, lengths)
    content = (whole.folder / "waves.int16").read_bytes(), (whole.folder / "meta.json").read_text()
    whole.folder.rename(tmp_path / "whole")
    monkeypatch.setattr(_cache, "CHECKPOINT", 2 * RATE * 2)
    fit, decoded = _audio.fit_length, []

    def kill(wave, samples):
        if len(decoded) == killed_after:
            raise KeyboardInterrupt
        decoded.append(1)
        return fit(wave, samples)

    with monkeypatch.context() as patch:
        patch.setattr(_cache._audio, "fit_length", kill)
        with pytest.raises(KeyboardInterrupt):
            cached(tmp_path, lengths)
    firsts = []
    real = _decode.decoded
    monkeypatch.setattr(_cache, "decoded", lambda *args, **options: firsts.append(args[4]) or real(*args, **options))
    again = cached(tmp_path, lengths)
    assert firsts == [killed_after - killed_after % 2]
    assert ((again.folder / "waves.int16").read_bytes(), (again.folder / "meta.json").read_text()) == content
    assert sorted(path.name for path in again.folder.iterdir()) == ["meta.json", "waves.int16"]


def test_notes_without_their_samples_or_cut_short_do_not_count(tmp_path):
    journal = _journal.Journal([0, 1, 3], ["a", "b", "c"], [1.0] * 3, 7, [_journal.Fault("x", "bad")], 4)
    with open(tmp_path / "waves.int16", "wb") as file:
        file.write(b"\0" * 30)
        journal.note(tmp_path, file)
        journal.keep(2)
        journal.done = 9
        journal.note(tmp_path, file)
    text = (tmp_path / _journal.JOURNAL_FILE).read_text()
    found = _journal.Journal.read(tmp_path, 10)
    assert (found.rows, found.done, [fault.name for fault in found.faults]) == ([0, 1], 9, ["x"])
    (tmp_path / _journal.JOURNAL_FILE).write_text(text[:-9])
    assert _journal.Journal.read(tmp_path, 10).done == 4
    (tmp_path / _journal.JOURNAL_FILE).write_text(text)
    assert _journal.Journal.read(tmp_path, 11).done == 0


def test_a_second_kill_costs_nothing_that_the_first_left(tmp_path):
    journal = _journal.Journal([0, 1, 3], ["a", "b", "c"], [1.0] * 3, 7, [_journal.Fault("x", "bad")], 4)
    with open(tmp_path / "waves.int16", "wb") as file:
        file.write(b"\0" * 30)
        journal.note(tmp_path, file)
    first, second = (_journal.Journal.read(tmp_path, 10) for _ in range(2))
    assert first == second
    assert second.done == 4


# --- what follows from a clip that is a part -------------------------------------------------------------------------
@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("divided")
    root = write(folder / "own", [3, 4, 3, 5, 3, 3, 4, 3], folder="normal")
    write(root, [3, 2], folder="anomaly")
    cfg = configured(root, "dataset.seconds=1", "report=default", "report.clips=2")
    run(cfg, folder / "run")
    return folder / "run"


def test_scores_name_file_and_start_and_can_be_repeated(trained):
    clips = read_scores(trained / "scores.csv")
    assert len({clip.file for clip in clips}) == len(clips)
    assert all("#t=" in clip.file for clip in clips)
    scorer = mimii_pl.load(trained, device="cpu")
    scores = scorer.score([clip.file for clip in clips], machine_id="id_00")
    np.testing.assert_allclose(scores, [clip.score for clip in clips], rtol=1e-4)


def test_the_page_shows_and_plays_parts(trained):
    page = (trained / "report.html").read_text()
    assert page.count("<audio") >= 4
    assert "#t=" in page


def test_a_part_has_a_nearest_clip(trained):
    scorer = mimii_pl.load(trained, device="cpu")
    found = NormalClips(trained / "embeddings.npz", scorer).nearest(read_scores(trained / "scores.csv")[0].file)
    assert scorer.read(found.path).wave.shape == (RATE,)


def test_a_part_beyond_the_end_is_refused(trained):
    file = read_scores(trained / "scores.csv")[0].file.partition("#")[0]
    scorer = mimii_pl.load(trained, device="cpu")
    with pytest.raises(InputError, match="ends before 99 s"):
        scorer.score(f"{file}#t=99")
    with pytest.raises(InputError, match="there is no such file"):
        scorer.score(f"{file}#t=x")


def test_check_looks_at_recordings_and_exclude_leaves_out_all_parts(tmp_path):
    root = write(tmp_path / "own", [5] * 12)
    data = build_data(configured(root, "dataset.seconds=1"))
    checked = check_data(data, Limits())
    assert len(checked.recordings) == 12
    trained_on = opened(root, "dataset.seconds=1")
    splits = {clip.path: clip.split for clip in trained_on.clips}
    assert {one.clip.path: one.split for one in checked.recordings} == splits
    learned = next(clip.path for clip in trained_on.clips if clip.split == "train")
    (tmp_path / "check.csv").write_text(f"file,exclude\n{learned.name},yes\n")
    data = opened(root, "dataset.seconds=1", f"dataset.exclude={tmp_path / 'check.csv'}")
    assert len(data.clips) == 55
    assert learned not in {clip.path for clip in data.clips}
    assert [Path(path).name for path, _ in data.skipped] == [learned.name]
