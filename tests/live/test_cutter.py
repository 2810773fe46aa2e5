"""Windows and their states: as a recording is divided, without what was lost, and told apart before they are scored."""

from itertools import pairwise

import numpy as np
import pytest
import soundfile
from support import world

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._audio import to_clip
from mimii_pl.dataset._stream import Streamed, stream
from mimii_pl.live.cutter import WindowCutter
from mimii_pl.live.ring import SoundRing
from mimii_pl.live.states import StateJudge
from mimii_pl.live.windows import Block, WindowState
from mimii_pl.scoring.usual_sound import SOUND_FILE, sound_levels, stored_sound, usual_sound, widen_usual_sound

RATE = 16000
FORM = {"channel": 0, "sample_rate": RATE, "samples": RATE, "hop": 0.5, "held": 3.0}


def cut(cutter, pieces):
    """Windows of (first, samples [T]) pieces, and the last ones."""
    windows = []
    for first, wave in pieces:
        windows += cutter.add(Block(first, wave[None], 1000.0 + first / cutter.rate))
    return windows + list(cutter.finish())


@pytest.mark.parametrize("rate", [16000, 44100, 8000])
@pytest.mark.parametrize("seconds", [3.3, 1.0, 0.4])
def test_windows_are_those_of_a_recording(tmp_path, rate, seconds):
    rng = np.random.default_rng(0)
    wave = rng.integers(-9000, 9000, round(seconds * rate)).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", wave, rate, subtype="PCM_16")
    parts = list(stream(tmp_path / "a.wav", sample_rate=RATE, samples=RATE, hop=RATE // 2, channel=0))
    expected = [part for part in parts if not isinstance(part, Streamed)]
    edges = [0, *sorted(rng.integers(0, len(wave), 20).tolist()), len(wave)]
    pieces = [(first, wave[first:end]) for first, end in pairwise(edges) if end > first]
    windows = cut(WindowCutter(rate=rate, channels=1, **FORM), pieces)
    assert [window.first / rate for window in windows] == pytest.approx([part.start for part in expected], abs=1e-4)
    for window, part in zip(windows, expected, strict=True):
        clip = to_clip(window.wave[0], rate, RATE, RATE, None)
        assert np.array_equal(np.resize(clip, RATE), part.wave)


def test_a_gap_of_n_samples_is_n_and_no_window_contains_it():
    wave = np.arange(1, 20 * RATE).astype(np.int16)
    cutter = WindowCutter(rate=RATE, channels=1, **FORM)
    begin, missing = 3 * RATE + 123, 777
    after = begin + missing
    windows = cut(cutter, [(0, wave[:begin]), (after, wave[after : after + 2 * RATE])])
    assert (cutter.lost, cutter.gaps) == (missing, 1)
    lost = [(window.first, window.end) for window in windows if window.wave is None]
    assert lost == [(5 * RATE // 2, 7 * RATE // 2), (3 * RATE, 4 * RATE)]
    whole = [window for window in windows if window.wave is not None]
    assert [window.first for window in whole] == [0, 8000, 16000, 24000, 32000, after, after + 8000, after + 16000]
    for window in whole:
        assert np.array_equal(window.wave[0], wave[window.first : window.end])
        assert window.at == pytest.approx(1000 + window.first / RATE)


def test_a_ring_keeps_the_latest_samples_whatever_comes():
    rng, ring, size = np.random.default_rng(0), SoundRing(2, 1000), 1000
    all_of_it = np.zeros((2, 0), np.int16)
    for _ in range(60):
        gap = int(rng.choice([0, 0, 5, 900, 3000])) if all_of_it.size else 0
        wave = rng.integers(-99, 99, (2, int(rng.integers(0, 2500)))).astype(np.int16)
        all_of_it = np.concatenate([all_of_it, np.zeros((2, gap), np.int16), wave], axis=1)
        ring.add(all_of_it.shape[1] - wave.shape[1], wave)
        first, kept = ring.read(ring.end - 5000, ring.end + 5000)
        assert ring.end == all_of_it.shape[1]
        assert np.array_equal(kept, all_of_it[:, max(0, ring.end - size) :])
        assert first == max(0, ring.end - size)


# --- states ----------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def usual(finished):
    return usual_sound(stored_sound(finished), "fan/id_00")


def machine(*, anomalous=False):
    return (world.chord(np.random.default_rng(3), 0, anomalous=anomalous, seconds=1.0) * 32768).astype(np.int16)


def state_of(wave, usual, *, rule="auto", idle_level=None, rate=RATE):
    judge = StateJudge(rule, idle_level, usual, rate=rate, sample_rate=RATE)
    clip = wave[None, :RATE]
    return judge.judge(wave[None], clip if wave.min() < wave.max() else clip[:0]).state


def scaled(wave, decibels):
    return np.clip(wave * 10 ** (decibels / 20), -32768, 32767).astype(np.int16)


def low_passed(wave, hertz):
    spectrum = np.fft.rfft(wave)
    spectrum[np.fft.rfftfreq(len(wave), 1 / RATE) > hertz] /= 100
    return np.fft.irfft(spectrum, len(wave)).astype(np.int16)


def test_a_running_machine_and_its_faults_are_judged(usual):
    hiss = (np.random.default_rng(0).standard_normal(RATE) * 3000).astype(np.int16)
    knock = machine()
    knock[5000:5020] = 32767
    for wave in (machine(), machine(anomalous=True), machine() + hiss, scaled(machine(), 8), knock, scaled(hiss, 10)):
        assert state_of(wave, usual) is WindowState.RUNNING


def test_states_are_told_apart(usual):
    rng = np.random.default_rng(0)
    assert state_of(np.zeros(RATE, np.int16), usual) is WindowState.SILENT
    assert state_of(rng.integers(0, 3, RATE).astype(np.int16), usual) is WindowState.SILENT
    assert state_of(scaled(machine(), 40), usual) is WindowState.CLIPPED
    quiet = scaled(machine(), -2)
    still = (rng.standard_normal(RATE) * 20).astype(np.int16)  # the hall, without the machine
    assert state_of(still, usual) is WindowState.IDLE
    assert state_of(scaled(machine(), -25), usual) is WindowState.UNFAMILIAR  # the machine, with less gain
    assert state_of(scaled(quiet, 16), usual) is WindowState.UNFAMILIAR  # more gain
    assert state_of(low_passed(machine(), 1500), usual) is WindowState.UNFAMILIAR
    assert state_of(machine(), usual, rate=8000) is WindowState.UNFAMILIAR
    assert state_of(scaled(machine(), -25), None) is WindowState.RUNNING  # a run that does not know its levels
    assert state_of(scaled(machine(), -25), None, rule="level", idle_level=-40.0) is WindowState.IDLE
    assert state_of(still, usual, rule="none") is not WindowState.IDLE


def test_rules_of_state_that_are_wrong(usual):
    for rule, level, fault in (
        ("off", None, "should be auto"),
        ("level", None, "idle_level="),
        ("auto", -50.0, "give it with"),
    ):
        with pytest.raises(InputError, match=fault):
            StateJudge(rule, level, usual, rate=RATE, sample_rate=RATE)


def test_levels_are_widened_by_new_clips(finished, tmp_path, usual):
    loud = np.stack([scaled(machine(), 6)])
    widen_usual_sound(finished, tmp_path, loud, np.zeros(1, int), ["fan/id_00", "fan/id_02"])
    known, before = stored_sound(tmp_path), stored_sound(finished)
    wider, level = usual_sound(known, "fan/id_00"), sound_levels(loud[0], RATE).level
    assert wider.level[0] == usual.level[0]
    assert wider.level[1] == pytest.approx(usual.level[1] + (level - usual.level[1]) / 25, abs=0.1)
    assert wider.level[2] == pytest.approx(level, abs=0.1)
    assert np.all(wider.bands[2] >= usual.bands[2])
    assert known["machine_ids"]["fan/id_02"] == before["machine_ids"]["fan/id_02"]


def test_damaged_levels_are_named(finished, tmp_path):
    text = (finished / SOUND_FILE).read_text()
    for damage in ("{", text.replace("[", "[NaN, "), text.replace('"level"', '"loud"')):
        (tmp_path / SOUND_FILE).write_text(damage)
        with pytest.raises(InputError, match=SOUND_FILE.replace(".", r"\.")):
            stored_sound(tmp_path)
    (tmp_path / SOUND_FILE).unlink()
    assert stored_sound(tmp_path) is None
