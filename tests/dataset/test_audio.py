"""From file to int16: what passes unchanged, what is converted, what is refused and why."""

import numpy as np
import pytest
import soundfile
import torch

from mimii_pl.dataset import _audio

RATE = 16000


@pytest.fixture
def wave():
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)


def read(path, channel=0):
    return _audio.read(path, sample_rate=RATE, channel=channel)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_pcm16_passes_bit_exactly(tmp_path, suffix):
    samples = np.random.default_rng(0).integers(-32768, 32768, 5000).astype(np.int16)
    soundfile.write(tmp_path / f"a.{suffix}", samples, RATE, subtype="PCM_16")
    np.testing.assert_array_equal(read(tmp_path / f"a.{suffix}"), samples)


@pytest.mark.parametrize("subtype", ["PCM_24", "FLOAT", "PCM_32", "DOUBLE"])
def test_other_sample_formats_keep_their_scale(tmp_path, wave, subtype):
    soundfile.write(tmp_path / "a.wav", wave, RATE, subtype=subtype)
    assert np.abs(read(tmp_path / "a.wav") - wave * 32768).max() <= 1


def test_24_bit_flac_keeps_its_scale(tmp_path, wave):
    soundfile.write(tmp_path / "a.flac", wave, RATE, subtype="PCM_24")
    assert np.abs(read(tmp_path / "a.flac") - wave * 32768).max() <= 1


def test_samples_over_full_scale_are_clipped_not_wrapped(tmp_path, wave):
    soundfile.write(tmp_path / "a.wav", 9 * wave, RATE, subtype="FLOAT")
    samples = read(tmp_path / "a.wav").astype(int)
    assert samples.max() == 32767
    assert np.sign(samples[wave > 0.1]).min() == 1


def test_resampling_keeps_a_tone_and_its_level(tmp_path):
    tone = 0.3 * np.sin(2 * np.pi * 1000 * np.arange(44100) / 44100)
    soundfile.write(tmp_path / "a.wav", tone, 44100, subtype="PCM_16")
    samples = read(tmp_path / "a.wav") / 32768
    assert len(samples) == RATE
    assert np.abs(np.fft.rfft(samples)).argmax() == 1000
    assert samples[1000:-1000].std() == pytest.approx(0.3 / np.sqrt(2), rel=0.01)


def test_resampling_leaves_no_alias(tmp_path):
    tone = 0.3 * np.sin(2 * np.pi * 11000 * np.arange(44100) / 44100)  # would come back as 5 kHz
    soundfile.write(tmp_path / "a.wav", tone + 0.001 * np.sin(np.arange(44100) / 20), 44100, subtype="PCM_16")
    assert np.abs(read(tmp_path / "a.wav")[1000:-1000]).max() < 0.003 * 32768


def test_float_channels_are_averaged(tmp_path, wave):
    soundfile.write(tmp_path / "a.wav", np.stack([wave, -wave / 2], axis=1), RATE, subtype="FLOAT")
    assert np.abs(read(tmp_path / "a.wav", "mean") - wave / 4 * 32768).max() <= 1


def test_channels(tmp_path):
    channels = np.random.default_rng(0).integers(-1000, 1000, (500, 3)).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", channels, RATE, subtype="PCM_16")
    for index in range(3):
        np.testing.assert_array_equal(read(tmp_path / "a.wav", index), channels[:, index])
    np.testing.assert_allclose(read(tmp_path / "a.wav", "mean"), channels.mean(axis=1), atol=0.51)
    with pytest.raises(_audio.UnreadableClip, match="no channel 3: it has 3"):
        read(tmp_path / "a.wav", 3)
    with pytest.raises(_audio.UnreadableClip, match="no channel -1"):
        read(tmp_path / "a.wav", -1)


def test_a_header_that_leaves_its_size_open_is_not_truncation(tmp_path, wave):
    soundfile.write(tmp_path / "a.wav", wave, RATE, subtype="PCM_16")
    streamed = bytearray((tmp_path / "a.wav").read_bytes())  # as a recorder writes that cannot seek back
    data = streamed.index(b"data") + 4
    streamed[4:8] = streamed[data : data + 4] = b"\xff\xff\xff\xff"
    whole = read(tmp_path / "a.wav")
    (tmp_path / "a.wav").write_bytes(streamed)
    np.testing.assert_array_equal(read(tmp_path / "a.wav"), whole)


def test_a_longer_clip_is_cut_and_a_shorter_one_repeated():
    clip = np.arange(5, dtype=np.int16)
    assert _audio.fit_length(clip, 3).tolist() == [0, 1, 2]
    assert _audio.fit_length(clip, 12).tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]


def broken(kind, path):
    wave = (0.1 * np.random.default_rng(0).standard_normal(RATE)).astype(np.float32)
    if kind == "truncated wav":
        soundfile.write(path, wave, RATE, subtype="PCM_16")
        path.write_bytes(path.read_bytes()[: RATE // 2])
    elif kind == "truncated wav, riff size mended":
        soundfile.write(path, wave, RATE, subtype="PCM_16")
        half = bytearray(path.read_bytes()[: RATE // 2])
        half[4:8] = (len(half) - 8).to_bytes(4, "little")
        path.write_bytes(half)
    elif kind == "truncated flac":
        soundfile.write(path.with_suffix(".flac"), wave, RATE, subtype="PCM_16")
        path.write_bytes(path.with_suffix(".flac").read_bytes()[:4000])
    elif kind == "no bytes":
        path.touch()
    elif kind == "no samples":
        soundfile.write(path, wave[:0], RATE, subtype="PCM_16")
    elif kind == "text":
        path.write_text("this is not sound")
    elif kind == "nan":
        soundfile.write(path, np.where(np.arange(RATE) == 7, np.nan, wave), RATE, subtype="FLOAT")
    elif kind == "infinite":
        soundfile.write(path, np.where(np.arange(RATE) == 7, np.inf, wave), RATE, subtype="FLOAT")
    elif kind == "one sample short":
        soundfile.write(path, wave, RATE, subtype="PCM_16")
        path.write_bytes(path.read_bytes()[:-2])
    elif kind == "silence once in 16 bits":
        soundfile.write(path, 1e-5 * wave, RATE, subtype="FLOAT")
    elif kind == "constant at another rate":
        soundfile.write(path, np.full(44100, 0.1), 44100, subtype="PCM_16")
    elif kind == "absurd rate":
        soundfile.write(path, wave, 2**31 - 2, subtype="PCM_16")
    elif kind == "silence":
        soundfile.write(path, 0 * wave, RATE, subtype="PCM_16")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("truncated wav", "truncated"),
        ("truncated wav, riff size mended", "truncated"),
        ("truncated flac", "not readable as audio: .*lost sync"),
        ("no bytes", "not readable as audio"),
        ("no samples", "empty"),
        ("text", "not readable as audio"),
        ("nan", "NaN"),
        ("infinite", "infinite"),
        ("one sample short", "truncated: 15999 samples"),
        ("silence once in 16 bits", "silence"),
        ("constant at another rate", "silence"),
        ("silence", "silence"),
        ("absurd rate", "its header says 2147483646 Hz"),
        ("missing", "there is no such file"),
    ],
)
def test_each_fault_has_its_reason(tmp_path, kind, reason):
    broken(kind, tmp_path / "a.wav")
    with pytest.raises(_audio.UnreadableClip, match=reason):
        read(tmp_path / "a.wav")


def test_float_samples_are_int16_over_full_scale(tmp_path):
    wave = np.random.default_rng(0).integers(-32768, 32768, (4, 100)).astype(np.int16)
    read_only = np.memmap(tmp_path / "waves", np.int16, "w+", shape=wave.shape)
    read_only[:] = wave
    read_only.flags.writeable = False
    for waves in (wave, read_only, wave[::-1][::-1], torch.from_numpy(wave)):
        expected = torch.from_numpy(wave).float() / 32768
        assert torch.equal(_audio.to_float(waves, "cpu"), expected)
    assert torch.equal(_audio.to_float(wave[::-1], "cpu"), expected.flip(0))
