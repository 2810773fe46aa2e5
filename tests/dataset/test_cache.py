"""The audio cache: made once, named by what was read, whole or not there."""

import errno
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mimii_pl.dataset import _audio, _cache
from mimii_pl.errors import InputError

HOW = {"sample_rate": 16000, "seconds": None, "channel": 0}


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(20):
        soundfile.write(tmp_path / f"{index:02d}.wav", rng.integers(-9999, 9999, 4000).astype(np.int16), 16000)
    return sorted(tmp_path.glob("*.wav"))


def build(files, **how):
    return _cache.build(files, files[0].parent / "cache", **{**HOW, **how})


def whole_caches(files):
    return [path for path in (files[0].parent / "cache").iterdir() if path.is_dir() and path.suffix != ".partial"]


def test_rows_are_the_clips_in_order(files):
    cache = build(files)
    assert cache.waves.shape == (20, 4000)
    assert cache.waves.dtype == np.int16
    for row, path in enumerate(files):
        np.testing.assert_array_equal(cache.waves[row], soundfile.read(path, dtype="int16")[0])
    with pytest.raises(ValueError, match="read-only"):
        cache.waves[0, 0] = 1


def test_nothing_is_decoded_twice(files, monkeypatch):
    build(files)
    monkeypatch.setattr(_audio, "read", None)
    assert len(build(files).waves) == 20


@pytest.mark.parametrize("change", ["content", "time", "added", "removed", "rate", "channel"])
def test_what_was_read_names_the_cache(files, change):
    first, how = build(files).folder, {}
    if change == "content":
        soundfile.write(files[3], np.ones(5000, np.int16) * np.arange(5000, dtype=np.int16), 16000)
    elif change == "time":
        os.utime(files[3], ns=(1, 1))
    elif change == "added":
        shutil.copy(files[0], files[0].with_name("99.wav"))
        files = [*files, files[0].with_name("99.wav")]
    elif change == "removed":
        files = files[:-1]
    elif change == "rate":
        how = {"sample_rate": 8000}
    else:
        how = {"channel": "mean"}
    assert build(files, **how).folder != first


def test_the_length_is_the_most_common_one_or_the_one_asked_for(files):
    soundfile.write(files[0], np.arange(9000, dtype=np.int16), 16000)
    assert build(files).waves.shape[1] == 4000
    assert build(files, seconds=0.5).waves.shape[1] == 8000


def test_bad_clips_are_skipped_counted_and_named(files, tmp_path):
    files[4].write_text("no sound")
    cache = build(files)
    assert len(cache.waves) == 19
    assert 4 not in cache.rows
    assert [(Path(path).name, reason[:12]) for path, reason in cache.skipped] == [("04.wav", "not readable")]
    assert build(files).skipped == cache.skipped
    _cache.write_skipped(tmp_path / "skipped.csv", cache.skipped)
    assert "04.wav" in (tmp_path / "skipped.csv").read_text()


def test_no_usable_clip_is_an_error(files):
    for path in files:
        path.write_text("no sound")
    with pytest.raises(InputError, match="20 files is readable"):
        build(files)


def test_two_processes_build_one_cache(files):
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        folders = pool.map(_folder_of, [files, files], chunksize=1)
    assert folders[0] == folders[1]
    assert len(whole_caches(files)) == 1
    assert len(build(files).waves) == 20


def _folder_of(files):
    return str(build(files).folder)


def test_a_killed_builder_leaves_nothing_that_is_taken_for_whole(files):
    process = multiprocessing.get_context("spawn").Process(target=_build_slowly, args=(files,))
    process.start()
    partial = files[0].parent / "cache"
    deadline = time.monotonic() + 30
    while not list(partial.glob("*.partial/waves.int16")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert whole_caches(files) == []
    assert len(build(files).waves) == 20
    assert not list(partial.glob("*.partial"))


def _build_slowly(files):
    read = _audio.read
    _audio.read = lambda *args, **kwargs: (time.sleep(1), read(*args, **kwargs))[1]
    build(files)


def test_a_disk_that_fills_is_explained_and_leaves_nothing(files, monkeypatch):
    def full(wave, samples):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_audio, "fit", full)
    with pytest.raises(InputError, match=r"no room for the audio cache in .*dataset.cache_dir"):
        build(files)
    assert whole_caches(files) == []


def test_too_small_a_disk_is_found_out_before_decoding(files, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    monkeypatch.setattr(_audio, "read", None)
    with pytest.raises(InputError, match="GiB needed"):
        build(files)
