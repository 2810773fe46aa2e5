"""From file to int16: what passes unchanged, what is converted, what is refused and why."""

import io
import os
import socket
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
import torch

from mimii_pl.dataset import _audio

RATE = 16000


@pytest.fixture
def wave():
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)


def read(path, channel=0, samples=None, **options):
    return _audio.read(path, sample_rate=RATE, channel=channel, samples=samples, **options).wave


def encoded(wave, container="WAV", subtype="PCM_16", rate=RATE, **options):
    """A recording as bytes."""
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format=container, subtype=subtype, **options)
    return bytearray(file.getvalue())


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


FLOATING = [
    ("WAV", "FLOAT"),
    ("WAV", "DOUBLE"),
    ("WAVEX", "FLOAT"),
    ("RF64", "DOUBLE"),
    ("W64", "FLOAT"),
    ("AIFF", "FLOAT"),
]


@pytest.mark.parametrize("rate", [RATE, 44100])
@pytest.mark.parametrize(("container", "subtype"), FLOATING)
def test_a_recording_beyond_full_scale_is_not_clipped(tmp_path, wave, container, subtype, rate):
    path = tmp_path / "a.wav"
    path.write_bytes(encoded(50 * wave, container, subtype, rate))  # a peak of 15
    share = f"{100 * np.mean(50 * np.abs(wave) > 1):.3g} % of its samples"
    with pytest.raises(_audio.OutOfScale) as error:
        read(path)
    fault = f"{share} lie beyond full scale (peak 15, dataset.full_scale=1)"
    assert str(error.value) == f"{fault}: train with dataset.full_scale=32"
    scaled = read(path, full_scale=64)
    path.write_bytes(encoded(50 / 64 * wave, container, subtype, rate))
    np.testing.assert_array_equal(scaled, read(path))


def test_a_few_overs_are_clipped_not_wrapped(tmp_path, wave):
    path, loud = tmp_path / "a.wav", wave.copy()
    loud[:16] = 8 * [1.9, -1.9]
    path.write_bytes(encoded(loud, subtype="FLOAT"))
    samples = read(path)
    assert samples[:16].tolist() == 8 * [32767, -32768]
    path.write_bytes(encoded(wave, subtype="FLOAT"))
    np.testing.assert_array_equal(samples[16:], read(path)[16:])
    loud[:17] = 1.9
    path.write_bytes(encoded(loud, subtype="FLOAT"))
    with pytest.raises(_audio.OutOfScale, match=r"^0\.106 % of its samples lie beyond full scale \(peak 1.9,"):
        read(path)
    loud = wave.copy()
    loud[100] = 40  # an impact
    path.write_bytes(encoded(loud, subtype="FLOAT"))
    with pytest.raises(_audio.OutOfScale, match=r"^0\.00625 % of .* \(peak 40, .* train with dataset\.full_scale=128$"):
        read(path)


def test_overs_are_those_of_the_channel_and_the_seconds_that_are_used(tmp_path, wave):
    path = tmp_path / "a.wav"
    path.write_bytes(encoded(np.stack([wave, 9 * wave], axis=1), subtype="FLOAT"))
    assert read(path, 0).max() == round(32768 * float(wave.max()))
    for channel in (1, "mean"):
        with pytest.raises(_audio.OutOfScale, match="beyond full scale"):
            read(path, channel)
    path.write_bytes(encoded(np.where(np.arange(RATE) < 9000, wave, 9 * wave), subtype="FLOAT"))
    assert len(read(path, samples=9000)) == 9000
    with pytest.raises(_audio.OutOfScale, match="beyond full scale"):
        read(path, samples=9500)


@pytest.mark.parametrize("rate", [RATE, 48000])
def test_integers_written_as_floating_point_are_those_integers_at_their_full_scale(tmp_path, wave, rate):
    path, integers = tmp_path / "a.wav", np.rint(30000 * wave).astype(np.int16)
    path.write_bytes(encoded(integers, rate=rate))
    plain = read(path)
    path.write_bytes(encoded(integers.astype(np.float32), subtype="FLOAT", rate=rate))
    with pytest.raises(_audio.OutOfScale, match=r"peak 9e.03.*train with dataset.full_scale=32768"):
        read(path)
    np.testing.assert_array_equal(read(path, full_scale=32768), plain)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "PCM_U8", "ULAW"])
def test_integers_have_a_full_scale_of_their_own(tmp_path, subtype):
    path, square = tmp_path / "a.wav", np.sign(np.sin(np.arange(44100) / 20))
    path.write_bytes(encoded(square, subtype=subtype, rate=44100))  # resampling overshoots, and no sample was over
    np.testing.assert_array_equal(read(path, full_scale=64), read(path))


@pytest.mark.parametrize("rate", [RATE, 44100])
@pytest.mark.parametrize(("container", "subtype"), FLOATING)
def test_floating_point_too_small_for_16_bits_is_no_broken_microphone(tmp_path, wave, container, subtype, rate):
    path = tmp_path / "a.wav"
    path.write_bytes(encoded(wave / 2**15, container, subtype, rate))
    with pytest.raises(_audio.OutOfScale) as error:
        read(path)
    assert str(error.value) == (
        "rounds to silence in 16 bits at 16000 Hz (peak 9.16e-06, dataset.full_scale=1): "
        "train with dataset.full_scale=3.0517578e-05"
    )
    scaled = read(path, full_scale=2**-15)
    path.write_bytes(encoded(wave, container, subtype, rate))
    np.testing.assert_array_equal(scaled, read(path))


def test_small_integers_in_a_large_type_are_named(tmp_path, wave):
    path = tmp_path / "a.wav"
    path.write_bytes(encoded(np.rint(30000 * wave).astype(np.int32), subtype="PCM_32"))
    with pytest.raises(_audio.UnreadableClip, match=r"rounds to silence.*save its numbers in 16 bits, or as floating"):
        read(path)


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
        ("silence once in 16 bits", "rounds to silence in 16 bits"),
        ("constant at another rate", "digital silence"),
        ("silence", "digital silence"),
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


# --- files that are none, and headers that lie ------------------------------------------------------------------------
def not_regular(kind, path):
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "link to itself":
        path.symlink_to(path)
    elif kind == "dangling link":
        path.symlink_to(path.with_name("nowhere.wav"))
    elif kind == "very long name":
        path = path.with_name(300 * "a" + ".wav")
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="has other special files")
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("pipe", "a pipe, not a regular file"),
        ("socket", "a socket, not a regular file"),
        ("device", "a device, not a regular file"),
        ("folder", "a folder, not a regular file"),
        ("link to itself", "Too many levels of symbolic links"),
        ("dangling link", "there is no such file"),
        ("very long name", "File name too long"),
    ],
)
def test_only_regular_files_are_opened(tmp_path, monkeypatch, kind, reason):
    monkeypatch.chdir(tmp_path)  # a socket needs a short name
    path = not_regular(kind, _audio.Path("a.wav"))
    with pytest.raises(_audio.UnreadableClip, match=reason):
        read(path)
    with pytest.raises(_audio.UnreadableClip, match=reason):
        _audio.duration(path)


def test_a_link_to_a_recording_and_a_name_of_any_bytes_are_read(tmp_path, wave):
    (tmp_path / "a.wav").write_bytes(encoded(wave))
    (tmp_path / "link.wav").symlink_to("a.wav")
    strange = tmp_path / os.fsdecode(b"\xff\r\n\x1b.wav")
    strange.write_bytes(encoded(wave))
    for path in (tmp_path / "link.wav", strange):
        np.testing.assert_array_equal(read(path), read(tmp_path / "a.wav"))


CONTAINERS = [
    ("WAV", "PCM_16", {}),
    ("WAV", "PCM_24", {}),
    ("WAV", "FLOAT", {}),
    ("WAV", "IMA_ADPCM", {}),
    ("WAV", "PCM_16", {"endian": "BIG"}),  # RIFX
    ("WAVEX", "PCM_16", {}),
    ("RF64", "PCM_16", {}),
    ("W64", "PCM_24", {}),
    ("AIFF", "PCM_16", {}),
    ("AIFF", "FLOAT", {}),
    ("FLAC", "PCM_16", {}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("container", "subtype", "options"), CONTAINERS)
def test_a_cut_anywhere_is_refused(tmp_path, container, subtype, options):
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 5001)
    content, path = encoded(wave, container, subtype, **options), tmp_path / "a.wav"
    path.write_bytes(content)
    whole = read(path)
    cuts = [*range(150), *range(150, len(content), 97), *range(len(content) - 50, len(content))]
    refused = 0
    for cut in cuts:
        path.write_bytes(content[:cut])
        for samples in (None, 100):  # all that is needed may still be there
            try:
                np.testing.assert_array_equal(read(path, samples=samples), whole[:samples])
            except _audio.UnreadableClip:
                refused += 1
    padded = len(content) - 1 if (container, subtype) == ("WAV", "PCM_24") else len(content)  # a byte after the sound
    assert refused == 2 * sum(cut < padded for cut in cuts)


def test_only_metadata_may_be_cut_off(tmp_path, wave):
    path, plain = tmp_path / "a.wav", encoded(wave)
    path.write_bytes(plain)
    whole, at = read(path), plain.index(b"data")
    before = b"LIST" + struct.pack("<I", 5) + b"notes\0"  # of odd length, made even
    content = plain[:at] + before + plain[at:] + b"junk" + struct.pack("<I", 4) + b"more"
    for cut in range(13):
        path.write_bytes(content[: len(content) - cut])
        np.testing.assert_array_equal(read(path), whole)
    path.write_bytes(content[: len(content) - 13])
    with pytest.raises(_audio.UnreadableClip, match="truncated"):
        read(path)


@pytest.mark.parametrize("whole_size", [None, 0, 0xFFFFFFFF])
@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0x7FFFF000, 0x7FFFEFFC, 0x80000000, 0xFFFFFFFF])
def test_a_size_that_a_wav_leaves_open_is_the_rest_of_the_file(tmp_path, wave, size, whole_size):
    path, content = tmp_path / "a.wav", encoded(wave)
    path.write_bytes(content)
    whole, at = read(path), content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", size)
    if whole_size is not None:
        content[4:8] = struct.pack("<I", whole_size)
    path.write_bytes(content)
    np.testing.assert_array_equal(read(path), whole)
    np.testing.assert_array_equal(read(path, samples=99), whole[:99])
    assert _audio.duration(path) == 1


@pytest.mark.parametrize(
    ("container", "name", "offset", "order", "sizes"),
    [
        ("RF64", b"ds64", 16, "<Q", [0, 2**64 - 1]),
        ("W64", b"data", 16, "<Q", [0, 24, 2**64 - 1, 2**63 - 1]),
        ("AIFF", b"SSND", 4, ">I", [0, 8, 0x7F000008, 0x7EFFFFFE, 0xFFFFFFFF]),
    ],
)
def test_other_containers_leave_their_size_open_as_well(tmp_path, wave, container, name, offset, order, sizes):
    path, content = tmp_path / "a.wav", encoded(wave, container)
    path.write_bytes(content)
    whole, at = read(path), content.index(name) + offset
    for size in sizes:
        content[at : at + struct.calcsize(order)] = struct.pack(order, size)
        path.write_bytes(content)
        np.testing.assert_array_equal(read(path), whole)


TRAILING = [b"LIST" + struct.pack("<I", 5) + b"notes\0", b"id3 " + struct.pack("<I", 4) + b"ID3\4"]


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0xFFFFFFFF])
@pytest.mark.parametrize("behind", [TRAILING[0], TRAILING[1], TRAILING[1] + TRAILING[0]], ids=["LIST", "id3", "both"])
def test_chunks_behind_a_sound_of_open_size_are_not_heard(tmp_path, wave, size, behind):
    path, content = tmp_path / "a.wav", encoded(wave)
    path.write_bytes(content)
    whole, at = read(path), content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", size)
    path.write_bytes(content + behind)
    np.testing.assert_array_equal(read(path), whole)
    path.write_bytes(content + behind + b"\1\0")  # it leads elsewhere: sound that looks like a chunk
    heard = np.frombuffer(behind + b"\1\0", "<i2")
    np.testing.assert_array_equal(read(path), np.concatenate([whole, heard]))


def test_chunks_behind_an_aiff_of_open_size_are_not_heard(tmp_path, wave):
    path, content = tmp_path / "a.wav", encoded(wave, "AIFF")
    path.write_bytes(content)
    whole, at = read(path), content.index(b"SSND") + 4
    content[at : at + 4] = struct.pack(">I", 0x7F000008)
    path.write_bytes(content + b"ANNO" + struct.pack(">I", 4) + b"note")
    np.testing.assert_array_equal(read(path), whole)


def test_sound_that_looks_like_many_chunks_takes_no_time(tmp_path, wave):
    content = encoded(wave)
    at = content.index(b"data") + 4
    content[at : at + 4] = b"\xff" * 4
    (tmp_path / "a.wav").write_bytes(content + (b"LIST" + bytes(4)) * 2**17 + b"\1\0")
    begin = time.monotonic()
    assert len(read(tmp_path / "a.wav")) == RATE + 2**19 + 1
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize("excess", [36, 44])
def test_a_size_that_counts_the_header_is_read_where_that_of_the_file_confirms_it(tmp_path, wave, excess):
    path, content = tmp_path / "a.wav", encoded(wave)
    path.write_bytes(content)
    whole = read(path)
    content[40:44] = struct.pack("<I", 2 * RATE + excess)
    path.write_bytes(content)
    np.testing.assert_array_equal(read(path), whole)
    content[4:8] = struct.pack("<I", 36 + 2 * RATE + excess)  # as if it were cut
    path.write_bytes(content)
    with pytest.raises(
        _audio.UnreadableClip, match=f"or miscounted by its recorder .*{excess} bytes more than there are"
    ):
        read(path)
    path.write_bytes(encoded(wave)[:-excess])
    with pytest.raises(_audio.UnreadableClip, match="truncated, or miscounted"):
        read(path)
    content[4:8], content[40:44] = struct.pack("<I", 36 + 2 * RATE), struct.pack("<I", 2 * RATE + excess + 2)
    path.write_bytes(content)
    with pytest.raises(_audio.UnreadableClip, match="truncated: 16000 samples"):
        read(path)


def test_a_wav_without_sound_before_other_chunks_is_empty(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(encoded(np.zeros(0)) + b"LIST" + struct.pack("<I", 4) + b"note")
    with pytest.raises(_audio.UnreadableClip, match="empty"):
        read(path)


def of_unknown_length(flac):
    """As a writer leaves it that cannot seek back: no number of samples, no MD5."""
    flac[21] &= 0xF0
    flac[22:42] = bytes(20)
    return flac


@pytest.mark.parametrize("samples", [1000, 4096, 16000])
def test_a_flac_of_unknown_length_is_decoded_to_its_end(tmp_path, samples):
    wave, path = np.random.default_rng(0).integers(-999, 999, samples).astype(np.int16), tmp_path / "a.flac"
    path.write_bytes(of_unknown_length(encoded(wave, "FLAC")))
    np.testing.assert_array_equal(read(path), wave)
    np.testing.assert_array_equal(read(path, samples=500), wave[:500])
    assert _audio.duration(path) == samples / RATE
    path.write_bytes(of_unknown_length(encoded(wave, "FLAC"))[:-5])
    with pytest.raises(_audio.UnreadableClip, match="lost sync"):
        read(path)


def test_a_flac_that_claims_too_much_is_truncated(tmp_path, wave):
    content = encoded(wave, "FLAC")
    content[21] |= 0x0F  # 2 ** 36 - 1 samples
    content[22:26] = b"\xff" * 4
    (tmp_path / "a.flac").write_bytes(content)
    with pytest.raises(_audio.UnreadableClip, match="truncated: the last sample"):
        read(tmp_path / "a.flac", samples=100)


@pytest.mark.parametrize("container", ["AU", "CAF", "NIST"])
def test_a_format_that_cannot_be_checked_is_named(tmp_path, wave, container):
    (tmp_path / "a.wav").write_bytes(encoded(wave, container, None))
    with pytest.raises(_audio.UnreadableClip, match=f"of format {container}, .*convert it to wav or FLAC"):
        read(tmp_path / "a.wav")


@pytest.mark.parametrize("xing", [True, False], ids=["whole", "without its first frames"])
def test_mp3_is_read_or_named_whatever_it_is_called(tmp_path, xing):
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 5 * RATE)
    content = bytes(encoded(noise, "MP3", "MPEG_LAYER_III"))
    if not xing:
        content = content[content.index(content[:2], 200) :]
    form = struct.pack("<HHIIHHHHIHHH", 0x55, 1, RATE, 8000, 1, 0, 12, 1, 2, 288, 1, 1393)
    chunks = b"".join(
        name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
        for name, body in ((b"fmt ", form), (b"fact", struct.pack("<I", len(noise))), (b"data", content))
    )
    (tmp_path / "a.wav").write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    with pytest.raises(_audio.UnreadableClip, match=r"of format WAV with mp3 inside.*convert it to PCM or FLAC"):
        read(tmp_path / "a.wav")
    (tmp_path / "a.wav").write_bytes(content)
    if xing:
        assert len(read(tmp_path / "a.wav")) == len(noise)
    else:
        with pytest.raises(_audio.UnreadableClip, match="of format MP3 without its length, which is not read"):
            read(tmp_path / "a.wav")


# --- the beginning of a recording -------------------------------------------------------------------------------------
@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000, 24414])
@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_the_beginning_is_that_of_the_whole(tmp_path, rate, subtype):
    wave = np.random.default_rng(rate).uniform(-0.3, 0.3, (4 * rate, 2))
    (tmp_path / "a.wav").write_bytes(encoded(wave, subtype=subtype, rate=rate))
    for channel in (1, "mean"):
        whole = read(tmp_path / "a.wav", channel)
        for samples in (16, 1600, 16000, 63999, 99999):
            np.testing.assert_array_equal(read(tmp_path / "a.wav", channel, samples), whole[:samples])


def test_decoding_in_blocks_changes_nothing(tmp_path, monkeypatch):
    (tmp_path / "a.wav").write_bytes(encoded(np.random.default_rng(0).uniform(-0.3, 0.3, (5000, 7))))
    whole = read(tmp_path / "a.wav", "mean")
    monkeypatch.setattr(_audio, "BLOCK", 7 * 64 + 3)
    np.testing.assert_array_equal(read(tmp_path / "a.wav", "mean"), whole)


def test_faults_behind_the_beginning(tmp_path, wave):
    path = tmp_path / "a.wav"
    path.write_bytes(encoded(np.where(np.arange(RATE) < 9000, wave, np.nan), subtype="FLOAT"))
    assert len(read(path, samples=9000)) == 9000
    with pytest.raises(_audio.UnreadableClip, match="NaN"):
        read(path, samples=9001)
    path.write_bytes(encoded(np.where(np.arange(RATE) < 9000, 0, wave)))
    assert len(read(path, samples=9100)) == 9100
    with pytest.raises(_audio.UnreadableClip, match="silence"):
        read(path, samples=9000)


@pytest.mark.parametrize("rate", [RATE, 44100])
@pytest.mark.parametrize("kind", ["WAV", "AIFF", "FLAC", "FLAC of unknown length", "wav of open size"])
def test_the_length_of_the_whole_recording_is_told(tmp_path, kind, rate):
    container = "WAV" if kind == "wav of open size" else kind.split()[0]
    content = encoded(np.random.default_rng(0).uniform(-0.3, 0.3, 5 * rate), container, rate=rate)
    if kind == "FLAC of unknown length":
        content = of_unknown_length(content)
    elif kind == "wav of open size":
        content[40:44] = b"\xff" * 4
    (tmp_path / "a.wav").write_bytes(content)
    for samples in (None, 500, 5 * RATE, 9 * RATE):
        excerpt = _audio.read(tmp_path / "a.wav", sample_rate=RATE, channel=0, samples=samples)
        assert excerpt.recorded == pytest.approx(5)
        assert len(excerpt.wave) == min(samples or 5 * RATE, 5 * RATE)


# --- sampling frequencies ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rate", [1, 2, 999, 400_001])
def test_a_rate_outside_1_to_400_khz_is_refused(tmp_path, wave, rate):
    (tmp_path / "a.wav").write_bytes(encoded(wave, rate=rate))
    with pytest.raises(_audio.UnreadableClip, match=f"its header says {rate} Hz, not 1 to 400 kHz"):
        read(tmp_path / "a.wav")
    with pytest.raises(_audio.UnreadableClip, match=f"its header says {rate} Hz"):
        _audio.duration(tmp_path / "a.wav")


@pytest.mark.parametrize("rate", [15_999, 16_001])
def test_a_nearly_equal_rate_is_taken_as_equal_and_said(tmp_path, wave, caplog, rate):
    samples = np.rint(wave * 32767).astype(np.int16)
    (tmp_path / "a.wav").write_bytes(encoded(samples, rate=rate))
    np.testing.assert_array_equal(read(tmp_path / "a.wav"), samples)
    assert f"a.wav: its {rate} Hz are taken as 16000.000 Hz" in caplog.text


def test_usual_rates_are_resampled_exactly_and_all_with_a_small_filter():
    for target in (8000, 16000, 22050, 44100, 48000):
        for rate in (8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000, 192000, 384000):
            assert _audio.ratio_of(rate, target) * target == rate
    for target in (1000, 16000, 44100, 400_000):
        for rate in [*range(1000, 400_001, 997), target - 1, target + 1]:
            ratio = _audio.ratio_of(rate, target)
            assert ratio.numerator * ratio.denominator <= _audio.MAX_KERNEL
            assert abs(ratio * target / rate - 1) <= 5e-4


LIMITED = """
import resource, sys, time
from pathlib import Path
import torchaudio
from mimii_pl.dataset import _audio
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))  # 256 MiB more than the libraries take
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        print(path.stem, len(_audio.read(path, sample_rate=16000, channel=0, samples=32000).wave), sep=": ")
    except _audio.UnreadableClip as reason:
        print(path.stem, reason, sep=": ")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits memory by /proc")
def test_no_header_decides_memory_and_time(tmp_path):
    noise = np.random.default_rng(0).integers(-9999, 9999, 32_000).astype(np.int16)
    for rate in (1, 2, 1000, 1009, 15_999, 16_001, 24_414, 97_656, 399_989, 400_000):
        (tmp_path / f"rate {rate:06d}.wav").write_bytes(encoded(noise, rate=rate))
    (tmp_path / "channels.wav").write_bytes(encoded(np.tile(noise, 1024).reshape(-1, 1024)))
    large = encoded(noise, "RF64")
    at, size = large.index(b"ds64"), 2**38
    large[at + 8 : at + 32] = struct.pack("<QQQ", size - 8, size - 104, (size - 104) // 2)
    zeros = encoded(noise[:0])
    zeros[4:8], zeros[40:44] = struct.pack("<I", 3 * 2**30 - 8), struct.pack("<I", 3 * 2**30 - 44)
    for name, start, length in (
        ("large", large, size),
        ("zeros", zeros, 3 * 2**30),
        ("chunks", b"RIFF\0\0\0\0WAVE", size),
    ):
        with open(tmp_path / f"{name}.wav", "wb") as file:
            file.write(start)
            file.truncate(length)
    begin = time.monotonic()
    child = subprocess.run([sys.executable, "-c", LIMITED, tmp_path], capture_output=True, text=True, timeout=120)
    assert child.returncode == 0, child.stderr
    found = dict(line.split(": ", 1) for line in child.stdout.splitlines())
    assert len(found) == len(list(tmp_path.iterdir()))
    assert {name for name, result in found.items() if not result.isdigit()} == {
        "rate 000001",
        "rate 000002",
        "zeros",
        "chunks",
    }
    assert found["large"] == "32000"
    assert time.monotonic() - begin < 60
