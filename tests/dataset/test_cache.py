"""The audio cache: made once, named by what was read, whole or not there."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.cli import warm_context
from support.shut import shut

from mimii_pl.core.errors import InputError
from mimii_pl.dataset import _audio, _cache

HOW = {"sample_rate": 16000, "seconds": None, "channel": 0}


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(20):
        soundfile.write(tmp_path / f"{index:02d}.wav", rng.integers(-9999, 9999, 4000).astype(np.int16), 16000)
    return sorted(tmp_path.glob("*.wav"))


def build(files, **how):
    return _cache.build_cache(files, files[0].parent / "cache", **{**HOW, **how})


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
    longer = build(files, seconds=0.5).waves
    assert longer.shape[1] == 8000
    np.testing.assert_array_equal(longer[0], np.arange(8000))  # cut at its end
    np.testing.assert_array_equal(longer[1], np.tile(longer[1, :4000], 2))  # repeated from its start


def test_clips_at_another_rate_or_with_more_channels_share_the_cache(files):
    rng = np.random.default_rng(1)
    soundfile.write(files[5], 0.1 * rng.standard_normal(11025), 44100)
    soundfile.write(files[6], 0.1 * rng.standard_normal((4000, 2)), 16000)
    cache = build(files)
    assert cache.waves.shape == (20, 4000)
    np.testing.assert_array_equal(cache.waves[6], soundfile.read(files[6], dtype="int16")[0][:, 0])


def test_bad_clips_are_skipped_counted_and_named(files, tmp_path):
    files[4].write_text("no sound")
    cache = build(files)
    assert len(cache.waves) == 19
    assert 4 not in cache.rows
    assert [(Path(path).name, reason[:12]) for path, reason in cache.skipped] == [("04.wav", "not readable")]
    assert build(files).skipped == cache.skipped


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text there")
def test_whatever_lies_beside_the_clips_costs_itself_only(files):
    folder = files[0].parent
    named = {
        folder / "pipe.wav": lambda path: os.mkfifo(path),
        folder / "loop.wav": lambda path: path.symlink_to(path),
        folder / "folder.wav": lambda path: path.mkdir(),
        folder / os.fsdecode(b"\xff\r.wav"): lambda path: path.write_text("no sound"),
    }
    for path, make in named.items():
        make(path)
    good = folder / os.fsdecode(b"L\xfcfter.wav")
    shutil.copy(files[0], good)
    long = folder / "long.flac"
    soundfile.write(long, np.arange(2_000_000, dtype=np.int32).astype(np.int16), 16000)
    for seconds in (None, 0.25):
        cache = build([*files, *named, good, long], seconds=seconds)
        assert cache.waves.shape == (22, 4000)
        np.testing.assert_array_equal(cache.waves[20], cache.waves[0])
        np.testing.assert_array_equal(cache.waves[21], np.arange(4000))
        assert [path for path, _ in cache.skipped] == [str(path) for path in named]


def test_one_recording_of_another_length_does_not_decide(tmp_path):
    for index, samples in enumerate((90_000, 4100, 4000, 3900, 3800)):
        soundfile.write(tmp_path / f"{index}.wav", np.arange(samples, dtype=np.int32).astype(np.int16), 16000)
    assert build(sorted(tmp_path.glob("*.wav"))).waves.shape[1] == 4000


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([400, 400, 2000, 2500, 3000, 3500, 4000, 4500], 2500),  # two of eight have nothing to decide
        ([400, *range(2000, 6000, 400)], 3600),
        ([4000, 4000, 4000, 400, 1000, 9000], 4000),
        ([400, 1000, 4000, 4000], 4000),
        ([4000, 400, 4000, 400], 400),
    ],
)
def test_the_length_is_one_that_half_of_the_clips_have_or_their_median(tmp_path, lengths, expected):
    rng = np.random.default_rng(0)
    for index, samples in enumerate(lengths):
        soundfile.write(tmp_path / f"{index:02d}.wav", rng.integers(-9999, 9999, samples).astype(np.int16), 16000)
    cache = build(sorted(tmp_path.glob("*.wav")))
    assert cache.waves.shape[1] == expected
    np.testing.assert_allclose(cache.recorded, np.array(lengths) / 16000)


@pytest.mark.parametrize("seconds", [None, 0.1])
def test_no_usable_clip_is_an_error_with_its_reason(files, seconds):
    for path in files:
        path.write_text("no sound")
    with pytest.raises(InputError, match=r"none of 20 .*00\.wav: not readable as audio: Format not recognised"):
        build(files, seconds=seconds)


@pytest.mark.parametrize(("factor", "way_out"), [(100, "256"), (1e-5, "3.0517578e-05")])
def test_a_full_scale_that_fits_no_clip_is_an_error_with_the_way_out(files, factor, way_out):
    noise = np.random.default_rng(0).uniform(-1, 1, (20, 4000))
    for number, path in enumerate(files):  # the last is the loudest
        soundfile.write(path, factor * (number + 1) / 20 * noise[number], 16000, subtype="FLOAT")
    with pytest.raises(InputError, match=r"none of 20 clips can be used; the first, .*00.wav: .* Train with") as error:
        build(files)
    assert str(error.value).endswith(f"dataset.full_scale=1). Train with dataset.full_scale={way_out}")
    scaled = build(files, full_scale=float(way_out))
    assert len(scaled.waves) == 20
    assert 8192 - 20 <= scaled.peak <= 16384
    assert build(files, full_scale=2 * float(way_out)).folder != scaled.folder


def test_clips_beyond_full_scale_are_skipped_and_named(files):
    soundfile.write(files[3], 12 * np.sin(np.arange(4000)), 16000, subtype="FLOAT")
    (skipped,) = build(files).skipped
    assert skipped[0] == str(files[3])
    assert skipped[1].endswith("beyond full scale (peak 12, dataset.full_scale=1): train with dataset.full_scale=32")


@pytest.mark.parametrize("container", ["WAV", "FLAC", "FLAC of unknown length"])
def test_memory_follows_the_clips_not_the_recordings(tmp_path, container):
    """70 recordings of 5 minutes, of which 64 are decoded ahead: 640 MB if they were kept."""
    noise = np.random.default_rng(0).integers(-9999, 9999, 300 * 16000).astype(np.int16)
    soundfile.write(tmp_path / "long", noise, 16000, format=container.split()[0], subtype="PCM_16")
    if container == "FLAC of unknown length":
        content = bytearray((tmp_path / "long").read_bytes())
        content[21] &= 0xF0
        content[22:42] = bytes(20)
        (tmp_path / "long").write_bytes(content)
    del noise
    files = [tmp_path / f"{number:02d}.wav" for number in range(70)]
    for path in files:
        path.symlink_to("long")
    tracemalloc.start()
    cache = build(files, seconds=1.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert cache.waves.shape == (70, 16000)
    assert cache.recorded == [300.0] * 70
    assert peak < 60e6


def test_silence_in_every_clip_is_an_error(files):
    for path in files:
        soundfile.write(path, np.zeros(4000, np.int16), 16000)
    with pytest.raises(InputError, match=r"none of 20 clips can be used; the first, .*00.wav: digital silence"):
        build(files)
    assert whole_caches(files) == []


def test_a_file_deleted_meanwhile_is_skipped_and_named(files):
    files[7].unlink()
    cache = build(files)
    assert len(cache.waves) == 19
    assert [Path(path).name for path, _ in cache.skipped] == ["07.wav"]
    soundfile.write(files[7], np.arange(4000, dtype=np.int16), 16000)
    assert len(build(files).waves) == 20


@pytest.mark.slow
def test_two_processes_build_one_cache(files):
    with warm_context().Pool(2) as pool:
        (one, sum_one), (two, sum_two) = pool.map(_build_and_sum, [files, files], chunksize=1)
    assert one == two
    assert len(whole_caches(files)) == 1
    assert sum_one == sum_two == build(files).waves.sum(axis=1, dtype=int).tolist()


def _build_and_sum(files):
    read = _audio.read
    _audio.read = lambda *args, **kwargs: (time.sleep(0.05), read(*args, **kwargs))[1]  # so that the two overlap
    cache = build(files)
    return str(cache.folder), cache.waves.sum(axis=1, dtype=int).tolist()


def test_decoding_runs_a_bounded_number_of_clips_ahead(tmp_path, monkeypatch):
    for index in range(400):
        soundfile.write(tmp_path / f"{index:03d}.wav", np.arange(50, dtype=np.int16), 16000)
    decoded, ahead = [], []
    read, fit = _audio.read, _audio.fit_length

    def count(path, **how):
        decoded.append(path)
        return read(path, **how)

    def write_slowly(wave, samples):
        if not ahead:  # the first write waits until the decoder has nothing more to do
            seen = -1
            while seen < len(decoded):
                seen = len(decoded)
                time.sleep(0.3)
        ahead.append(len(decoded) - len(ahead))
        return fit(wave, samples)

    monkeypatch.setattr(_audio, "read", count)
    monkeypatch.setattr(_audio, "fit_length", write_slowly)
    assert len(build(sorted(tmp_path.glob("*.wav"))).waves) == 400
    assert _cache.DECODE_AHEAD / 2 < max(ahead) <= _cache.DECODE_AHEAD + 1


@pytest.mark.slow
def test_a_killed_builder_leaves_nothing_that_is_taken_for_whole(files):
    process = warm_context().Process(target=_build_slowly, args=(files,))
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


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT], ids=["disk", "quota"])
def test_a_disk_that_fills_is_explained_and_leaves_nothing(files, monkeypatch, number):
    def full(wave, samples):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(_audio, "fit_length", full)
    with pytest.raises(InputError, match=r"no room for the audio cache in .*dataset.cache_dir"):
        build(files)
    assert whole_caches(files) == []


def test_too_small_a_disk_is_found_out_before_decoding(files, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    monkeypatch.setattr(_audio, "read", None)
    with pytest.raises(InputError, match="GiB needed"):
        build(files)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB; the cache of `files` takes 160."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_real_disk_that_fills_and_is_freed_again(files, small_disk, monkeypatch):
    fit = _audio.fit_length

    def beside_another_writer(wave, samples):
        with open(small_disk / "other", "ab") as file:
            file.write(bytes(16_000))
        return fit(wave, samples)

    monkeypatch.setattr(_audio, "fit_length", beside_another_writer)
    with pytest.raises(InputError, match=r"no room .*small/cache: the disk filled up"):
        _cache.build_cache(files, small_disk / "cache", **HOW)
    assert [path.suffix for path in (small_disk / "cache").iterdir()] == [".lock"]
    monkeypatch.setattr(_audio, "fit_length", fit)
    (small_disk / "other").unlink()
    assert len(_cache.build_cache(files, small_disk / "cache", **HOW).waves) == 20


def test_a_real_disk_that_is_too_small(files, small_disk):
    with pytest.raises(InputError, match="GiB needed"):
        _cache.build_cache(files, small_disk / "cache", **{**HOW, "seconds": 1.0})
    assert [path.suffix for path in (small_disk / "cache").iterdir()] == [".lock"]


@pytest.mark.parametrize("name", ["meta.json", "waves.int16"])
def test_a_damaged_cache_is_made_again(files, name, caplog):
    cache = build(files)
    whole, path = np.array(cache.waves), cache.folder / name
    del cache
    path.write_bytes(path.read_bytes()[:-99])
    np.testing.assert_array_equal(build(files).waves, whole)
    assert "is damaged" in caplog.text
    assert path.parent.is_dir()


def test_a_folder_that_cannot_hold_the_cache_is_named_before_decoding(files, tmp_path, monkeypatch):
    monkeypatch.setattr(_audio, "duration", None)
    (tmp_path / "file").touch()
    (tmp_path / "shut").mkdir()
    way_out = r"or set dataset.cache_dir=<another folder>"
    with pytest.raises(InputError, match=rf"{tmp_path}/file cannot be written: File exists.*{way_out}"):
        _cache.build_cache(files, tmp_path / "file", **HOW)
    with shut(tmp_path / "shut") as folder:
        for place in (folder, folder / "cache"):
            with pytest.raises(InputError, match=rf"{place} cannot be written: .*{way_out}"):
                _cache.build_cache(files, place, **HOW)


def test_a_whole_cache_is_read_where_nothing_may_be_written(files):
    whole = np.array(build(files).waves)
    with shut(files[0].parent / "cache"):
        np.testing.assert_array_equal(build(files).waves, whole)
