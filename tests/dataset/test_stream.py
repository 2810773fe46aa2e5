"""Recordings of any length as clips: each is what a file cut there would give, and memory stays flat."""

import tracemalloc

import numpy as np
import pytest
import soundfile

from mimii_pl.dataset import _audio
from mimii_pl.dataset._audio import UnreadableClip
from mimii_pl.dataset._stream import Streamed, excerpt, stream

WANTED = {"sample_rate": 16000, "channel": 1}


def noise(seconds, rate, channels=2, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal((round(seconds * rate), channels))).astype(np.float32)


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
@pytest.mark.parametrize("seconds", [0.7, 2.0, 7.3])
def test_each_clip_is_what_a_file_cut_there_gives(tmp_path, rate, subtype, seconds):
    sound, path, cut = noise(seconds, rate), tmp_path / "long.wav", tmp_path / "cut.wav"
    soundfile.write(path, sound, rate, subtype=subtype)
    *parts, end = stream(path, samples=32000, hop=16000, **WANTED)
    assert isinstance(end, Streamed)
    assert end.seconds == pytest.approx(seconds, abs=1e-4)
    for part in parts:
        soundfile.write(cut, sound[round(part.start * rate) :], rate, subtype=subtype)
        own = _audio.fit_length(_audio.read(cut, samples=32000, **WANTED).wave, 32000)
        np.testing.assert_array_equal(part.wave, own)
        if seconds > 2:
            np.testing.assert_array_equal(excerpt(path, part.start, samples=32000, **WANTED), own)
    starts = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 5.3] if seconds > 2 else [0.0]  # the last one ends with the recording
    assert [part.start for part in parts] == pytest.approx(starts, abs=1e-4)


@pytest.mark.parametrize("kind", ["OGG", "MP3", "RF64", "W64", "FLAC"])
def test_formats_that_recorders_and_phones_write(tmp_path, kind):
    soundfile.write(tmp_path / "sound", noise(3.5, 48000), 48000, format=kind)
    *parts, end = stream(tmp_path / "sound", samples=16000, hop=16000, **WANTED)
    assert [part.start for part in parts] == [0.0, 1.0, 2.0, 2.5]
    assert end.seconds == 3.5
    assert np.abs(parts[3].wave.astype(int)).mean() > 500


def test_an_mp3_that_does_not_tell_its_length_is_refused(tmp_path):
    path = tmp_path / "bare.mp3"
    soundfile.write(path, noise(2, 16000, 1), 16000, format="MP3", bitrate_mode="VARIABLE")
    content = path.read_bytes()
    path.write_bytes(content[content.index(content[:2], 30) :])  # without the first frame, which counts the others
    with pytest.raises(UnreadableClip, match="MP3 without its length"):
        _audio.duration(path)


def test_other_kinds_name_their_conversion(tmp_path):
    (tmp_path / "my talk.m4a").write_bytes(b"\0\0\0\x18ftypM4A ")
    with pytest.raises(UnreadableClip, match=r"convert it, for example by ffmpeg -i 'my talk.m4a' new.flac"):
        list(stream(tmp_path / "my talk.m4a", samples=16000, hop=16000, **WANTED))


def test_a_clip_that_cannot_be_used_does_not_end_the_others(tmp_path):
    sound = noise(6, 16000)
    sound[2 * 16000 : 4 * 16000] = 0
    sound[5 * 16000, 1] = np.nan
    soundfile.write(tmp_path / "a.wav", sound, 16000, subtype="FLOAT")
    *parts, _ = stream(tmp_path / "a.wav", samples=16000, hop=16000, **WANTED)
    assert [part.wave is None for part in parts] == [False, False, True, True, False, True]
    assert "silence" in str(parts[2].fault)
    assert "NaN" in str(parts[5].fault)


def test_a_recording_that_cannot_be_used_is_named(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(20, 16000), 16000)
    with pytest.raises(UnreadableClip, match="has no channel 7"):
        list(stream(path, sample_rate=16000, channel=7, samples=16000, hop=16000))
    path.write_bytes(path.read_bytes()[:-50_000])
    with pytest.raises(UnreadableClip):
        list(stream(path, samples=16000, hop=16000, **WANTED))
    with pytest.raises(UnreadableClip, match="ends before 30 s"):
        excerpt(path, 30, samples=16000, **WANTED)


def test_memory_does_not_grow_with_the_recording(tmp_path):
    peaks = []
    for minutes in (3, 12):
        with soundfile.SoundFile(tmp_path / "a.wav", "w", 16000, 1) as file:
            for _ in range(minutes):
                file.write(noise(60, 16000, 1))
        tracemalloc.start()
        for _ in stream(tmp_path / "a.wav", sample_rate=16000, channel=0, samples=160000, hop=160000):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.05 * peaks[0]
