"""Sources of sound: what they yield is what was played, and what was lost is counted."""

import ctypes.util
import io
import os
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from support.streams import PACKET, over_http, over_rtsp

from mimii_pl.core.errors import InputError
from mimii_pl.live._database import Database
from mimii_pl.live.source import SourceLostError, choose_source, folder
from mimii_pl.live.source.file import FileSource
from mimii_pl.live.source.microphone import HELD_SECONDS, MicrophoneSource, audio_inputs
from mimii_pl.live.source.stdin import StdinSource
from mimii_pl.live.source.stream import StreamSource

RATE = 16000
RAMP = (np.arange(6 * RATE) % 20000).astype(np.int16)  # each sample tells its place


def heard(source, first=0):
    """All blocks of a source until it ends: first sample and samples of each stretch without a gap."""
    stretches = []
    for block in source.blocks(first):
        if block is None:
            continue
        if stretches and stretches[-1][0] + stretches[-1][1].shape[1] == block.first:
            stretches[-1][1] = np.concatenate([stretches[-1][1], block.samples], axis=1)
        else:
            stretches.append([block.first, block.samples])
    return stretches


def heard_from_start(source):
    source.open()
    return heard(source)


def as_wav(samples, rate=RATE):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


# --- standard input, files -------------------------------------------------------------------------------------------
class Dribble(io.BytesIO):
    """A pipe that gives an odd number of bytes at a time."""

    def read1(self, size=-1):
        return super().read(min(size, 777))


def test_raw_samples_are_heard_whole_and_a_broken_last_one_is_left():
    stereo = np.stack([RAMP[:9000], -RAMP[:9000]])
    source = StdinSource(RATE, 2, stream=Dribble(stereo.T.astype("<i2").tobytes() + b"x"))
    ((first, samples),) = heard(source, 500)
    assert first == 500
    assert np.array_equal(samples, stereo)


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_a_file_goes_on_where_it_was(tmp_path, subtype):
    soundfile.write(tmp_path / "a.wav", RAMP / 32768, RATE, subtype=subtype)
    source = FileSource(tmp_path / "a.wav", base=1000, speed=np.inf)
    source.open()
    assert (source.rate, source.channels, source.live) == (RATE, 1, False)
    ((first, samples),) = heard(source, 1000 + 30_000)
    assert first == 31_000
    assert np.array_equal(samples[0], RAMP[30_000:])
    assert heard(source, 1000 + len(RAMP)) == []


def test_a_file_in_real_time_is_no_faster(tmp_path):
    soundfile.write(tmp_path / "a.wav", RAMP[: RATE // 2], RATE, subtype="PCM_16")
    source, began = FileSource(tmp_path / "a.wav"), time.monotonic()
    heard(source)
    assert time.monotonic() - began > 0.45


def test_a_recording_that_ffmpeg_alone_reads(tmp_path):
    av = pytest.importorskip("av")
    tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.int16)
    with av.open(str(tmp_path / "a.m4a"), "w") as target:
        stream = target.add_stream("aac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
        frame.rate = RATE
        resampler = av.AudioResampler(format=stream.codec_context.format, rate=RATE, layout="mono", frame_size=1024)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            target.mux(stream.encode(part))
        target.mux(stream.encode(None))
    source = FileSource(tmp_path / "a.m4a", speed=np.inf)
    source.open()
    (_, samples), *_ = heard(source)
    spectrum = np.abs(np.fft.rfft(samples[0, 4000:12000]))
    assert source.rate == RATE
    assert abs(np.argmax(spectrum) * 2 - 440) <= 4
    (tmp_path / "b.m4a").write_bytes(b"no sound" * 99)
    with pytest.raises(InputError, match="not readable as audio"):
        FileSource(tmp_path / "b.m4a").open()


# --- folders ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def quick(monkeypatch):
    """A folder is looked at often, and a file is whole after 0.3 s."""
    monkeypatch.setattr(folder, "SETTLED_AFTER", 0.3)
    monkeypatch.setattr(folder, "LOOK_AGAIN", 0.05)


def taken(source, first, until):
    """Blocks of a folder, until so many recordings have ended."""
    blocks = []
    for block in source.blocks(first):
        blocks.append(block)
        if sum(one is None for one in blocks) == until:
            source.stop()
    return blocks


@pytest.mark.parametrize("polling", [False, True])
def test_a_file_is_taken_when_it_is_whole_and_once(tmp_path, quick, polling):
    drop, database = tmp_path / "drop", Database(tmp_path / "events.db")
    drop.mkdir()
    soundfile.write(drop / "lies there.wav", RAMP[:8000], RATE, subtype="PCM_16")
    (drop / "broken.wav").write_bytes(b"RIFF no sound")
    content = as_wav(RAMP[:16000])

    def bring():
        with (drop / "slow.wav").open("wb") as file:
            for at in range(0, len(content), 4000):
                file.write(content[at : at + 4000])
                file.flush()
                time.sleep(0.1)
        (drop / ".partial").write_bytes(as_wav(RAMP[:4000]))
        os.rename(drop / ".partial", drop / "renamed.wav")

    def open_it():
        source = folder.FolderSource(drop, database, "fan", polling=polling)
        source.open()
        return source

    threading.Thread(target=bring, daemon=True).start()
    blocks = taken(open_it(), 0, 4)
    lengths = [sum(b.samples.shape[1] for b in part) for part in divided(blocks)]
    assert sorted(lengths) == [0, 4000, 8000, 16000]
    assert [b.first for b in blocks if b is not None][-1] < 28_000
    faults = database.read("SELECT path, fault FROM heard WHERE fault != ''")
    assert [Path(path).name for path, _ in faults] == ["broken.wav"]

    soundfile.write(drop / "new.wav", RAMP[:2000], RATE, subtype="PCM_16")  # after a restart
    again = taken(open_it(), 28_000, 1)
    assert [(b.first, b.samples.shape[1]) for b in again if b is not None] == [(28_000, 2000)]


def test_a_killed_monitor_takes_a_file_up_where_it_was(tmp_path, quick):
    drop, database = tmp_path / "drop", Database(tmp_path / "events.db")
    drop.mkdir()
    soundfile.write(drop / "a.wav", RAMP, RATE, subtype="PCM_16")
    source = folder.FolderSource(drop, database, "fan")
    source.open()
    next(source.blocks(100))
    again = folder.FolderSource(drop, database, "fan")
    again.open()
    found = np.concatenate([b.samples[0] for b in taken(again, 100 + 40_000, 1) if b is not None])
    assert np.array_equal(found, RAMP[40_000:])


def test_a_name_of_an_old_system_costs_no_other_file(tmp_path, quick):
    drop, database = tmp_path / "drop", Database(tmp_path / "events.db")
    drop.mkdir()
    for name in (b"M\xe4rz.wav", b"b.wav"):
        Path(os.fsdecode(bytes(drop) + b"/" + name)).write_bytes(as_wav(RAMP[:2000]))
    for expected in (2, 0):  # the second time they are known
        source = folder.FolderSource(drop, database, "fan")
        source.open()
        if expected:
            assert sum(block is None for block in taken(source, 0, expected)) == expected
        else:
            threading.Timer(1.0, source.stop).start()
            assert taken(source, 4000, 1) == []


def test_a_folder_that_another_one_replaces_is_opened_again(tmp_path, quick):
    drop, database = tmp_path / "drop", Database(tmp_path / "events.db")
    drop.mkdir()
    source = folder.FolderSource(drop, database, "fan")
    source.open()

    def replace():
        drop.rename(tmp_path / "old")
        drop.mkdir()

    threading.Timer(0.3, replace).start()
    with pytest.raises(SourceLostError, match="another folder"):
        taken(source, 0, 1)
    (drop / "new.wav").write_bytes(as_wav(RAMP[:2000]))
    source.open()
    assert sum(block is None for block in taken(source, 0, 1)) == 1


def divided(blocks):
    """Blocks of each recording."""
    parts = [[]]
    for block in blocks:
        if block is None:
            parts.append([])
        else:
            parts[-1].append(block)
    return parts[:-1]


# --- streams ---------------------------------------------------------------------------------------------------------
def test_lost_packets_of_a_camera_are_counted():
    pytest.importorskip("av")
    with over_rtsp(RAMP, RATE, lost=range(200, 230)) as url:
        source = StreamSource(url, patience=5.0)
        source.open()
        assert (source.rate, source.channels, source.live) == (RATE, 1, True)
        stretches = []
        with pytest.raises(SourceLostError, match="ended"):
            stretches.extend((block.first, block.samples) for block in source.blocks(0))
        source.close()
    gaps = [
        (first + part.shape[1], following - first - part.shape[1])
        for (first, part), (following, _) in pairwise(stretches)
        if following != first + part.shape[1]
    ]
    assert gaps == [(200 * PACKET, 30 * PACKET)]
    for first, samples in stretches:
        assert np.array_equal(samples[0], RAMP[first : first + samples.shape[1]])


def test_a_stream_that_hangs_is_ended_by_the_watchdog_and_opened_again():
    pytest.importorskip("av")
    with over_http(as_wav(RAMP), hang_after=60_000) as url:
        source = StreamSource(url, patience=1.0)
        began = time.monotonic()
        with pytest.raises(SourceLostError, match="no sound for 1 s"):
            heard_from_start(source)
        assert time.monotonic() - began < 5
        source.close()
        source.open()
        assert not source.live  # a recording: it waits
        ((_, samples),) = heard(source)
        source.close()
        assert np.array_equal(samples[0], RAMP)


@pytest.mark.slow
def test_a_process_that_starts_slowly_is_no_stream_that_hangs(tmp_path, monkeypatch):
    pytest.importorskip("av")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nsleep 4\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(python))
    with over_http(as_wav(RAMP)) as url:
        source = StreamSource(url, patience=3.0)
        ((_, samples),) = heard_from_start(source)
        source.close()
    assert np.array_equal(samples[0], RAMP)


def test_an_address_where_nobody_is():
    pytest.importorskip("av")
    source = StreamSource("http://127.0.0.1:9/x", patience=5.0)
    with pytest.raises(SourceLostError, match="refused"):
        source.open()
    assert "secret" not in StreamSource("rtsp://me:secret@host/x").name


# --- microphones -----------------------------------------------------------------------------------------------------
def test_without_portaudio_the_package_is_named(monkeypatch):
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    with pytest.raises(InputError, match="libportaudio2"):
        audio_inputs()


def callback(source, first, count, *, overflow=False):
    """What PortAudio does with a device whose clock is that of the ramp."""
    clock = SimpleNamespace(inputBufferAdcTime=first / RATE)
    source.hear(RAMP[first : first + count, None], count, clock, SimpleNamespace(input_overflow=overflow))


def test_overflows_of_a_microphone_are_gaps_of_their_length():
    source = MicrophoneSource("0")
    source.prepare(RATE, 1)
    callback(source, 0, 500)
    callback(source, 500, 500)
    callback(source, 1700, 300, overflow=True)  # the system lost 700
    assert [(lost, part.shape[1]) for lost, part in (source.take(), source.take())] == [(0, 1000), (700, 300)]
    assert source.take() is None
    room = round(HELD_SECONDS * RATE)
    for first in range(2000, 2000 + room, 1000):
        callback(source, first % 90_000, 1000)
    callback(source, 0, 1000)  # nobody has read: it does not fit
    lost, part = source.take()
    assert (lost, part.shape[1], source.overflows) == (0, room, 2)
    callback(source, 0, 10)
    lost, part = source.take()
    assert (lost, part.shape[1]) == (1000, 10)


ASOUND = """
</usr/share/alsa/alsa.conf>
pcm.ramp { type file slave.pcm "null" file "/dev/null" infile "RAW" format "raw" hint { show on description "ramp" } }
"""
LISTEN = """
import numpy as np
from mimii_pl.live.source.microphone import MicrophoneSource, audio_inputs
print([one.name for one in audio_inputs()])
source = MicrophoneSource("ramp", 1)
source.open()
wrong = []
for block in source.blocks(0):
    place = np.arange(block.first, block.first + block.samples.shape[1])
    played = place < 3_200_000  # it plays faster than time, and then silence
    wrong.append(not np.array_equal(block.samples[0, played], place[played] % 20000))
    if len(wrong) == 4:
        break
source.close()
print(source.rate, sum(wrong), len(wrong))
"""


def test_a_virtual_microphone(tmp_path):
    if ctypes.util.find_library("portaudio") is None or not Path("/usr/share/alsa/alsa.conf").is_file():
        pytest.skip("no PortAudio with ALSA: install libportaudio2 and libasound2-data")
    (tmp_path / "raw").write_bytes(np.tile(RAMP[:80_000], 40).tobytes())
    (tmp_path / "asound.conf").write_text(ASOUND.replace("RAW", str(tmp_path / "raw")))
    environment = {**os.environ, "ALSA_CONFIG_PATH": str(tmp_path / "asound.conf")}
    done = subprocess.run([sys.executable, "-c", LISTEN], env=environment, capture_output=True, text=True, timeout=60)
    assert "ramp" in done.stdout, done.stderr
    rate, wrong, blocks = map(int, done.stdout.split("\n")[1].split())
    assert (rate > 0, wrong) == (True, 0), done.stdout
    assert blocks == 4


# --- words -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("mic:", "should be mic:<name or number>"),
        ("nope", "should be mic:<name or number>"),
        ("ftp://host/a", "should be mic:<name or number>"),
        ("-", "rate=<Hz>"),
        (("-", 1), "rate=1: should be a whole number of Hz from 100"),
        (("-", float("nan")), "rate=nan: should be a whole number"),
        (("-", 10**9), "rate=1000000000: should be"),
        (("-", 16000, 0), "channels=0: should be"),
        ("rtsp://me:***@camera/x", "password is hidden"),
    ],
)
def test_a_source_that_is_none(tmp_path, text, fault):
    text, *raw = [text] if isinstance(text, str) else text
    options = {"database": Database(tmp_path / "events.db"), "channel": 0, "full_scale": 1.0, "base": 0}
    with pytest.raises(InputError, match=fault):
        choose_source(text, station="x", **options, **dict(zip(("rate", "channels"), raw, strict=False)))
