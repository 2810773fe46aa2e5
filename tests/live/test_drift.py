"""Drift: equal to a second implementation, silent where nothing drifts, and the two kinds told apart."""

import json
from contextlib import closing

import numpy as np
import pytest
from river.drift import PageHinkley as Theirs

from mimii_pl.live.drift import HOUR, InputDrift, NormalDrift, PageHinkley
from mimii_pl.live.drift_watch import DriftWatch
from mimii_pl.live.events import EventStore
from mimii_pl.live.windows import AlarmLevel, ScoredWindow, WindowState
from mimii_pl.scoring.usual_sound import InputFigures

RATE = 8000


def watched(tmp_path, hours, *, gain=1.0, p_value=0.5, restart=False):
    """What is told of a machine that is heard every minute."""
    rng = np.random.default_rng(0)
    machine = rng.normal(0, 1000, (4, RATE)).astype(np.int16)
    usual = [InputFigures.of(wave / 32768, RATE) for wave in machine]
    watch, lines = None, []
    with closing(EventStore(tmp_path)) as store:
        for minute in range(hours * 60):
            if watch is None or (restart and minute % 50 == 0):
                watch = DriftWatch(store, "fan", "id_00", usual)
            figures = 0, RATE, 60.0 * minute, WindowState.RUNNING, 1.0, p_value, -30.0, np.nan, np.nan
            clips = (gain * machine[minute % 4 : minute % 4 + 1]).astype(np.int16)
            lines += watch.hear(ScoredWindow(*figures), clips, RATE, AlarmLevel.NORMAL)
            for name, state in watch.state().items():
                store.keep_state(name, state)
    return lines


@pytest.mark.parametrize("restart", [False, True])
def test_a_monitor_tells_of_another_gain_and_of_sound_that_ages_and_of_nothing_else(tmp_path, restart):
    assert watched(tmp_path / "same", 3, restart=restart) == []
    gain = watched(tmp_path / "gain", 3, gain=0.4, restart=restart)
    assert len(gain) == 2  # once each: level, and noise floor
    assert "the level has been -8.0 dB" in gain[0]
    assert "noise floor" in gain[1]


def test_the_windows_of_a_monitor_are_watched(tmp_path):
    with closing(EventStore(tmp_path)) as store:
        watch = DriftWatch(store, "fan", "id_00", [])
        rng = np.random.default_rng(1)
        told = []
        for hour in range(24 * 20):
            for minute in range(0, 60, 5):
                p = rng.uniform() if hour < 240 else 0.3 * rng.uniform()
                figures = 0, RATE, HOUR * hour + 60.0 * minute, WindowState.RUNNING, 1.0, p, -30.0, np.nan, np.nan
                told += watch.hear(ScoredWindow(*figures), np.empty((0, 0), np.int16), RATE, AlarmLevel.NORMAL)
    assert len(told) >= 1
    assert "`mimii update`" in told[0]


def again(drift):
    """The same, stored as JSON and restored."""
    return type(drift).load_state_dict(json.loads(json.dumps(drift.state_dict(), allow_nan=False)))


@pytest.mark.parametrize("mode", ["up", "down", "both"])
def test_page_hinkley_finds_the_changes_that_river_finds(mode):
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.normal(mean, 1, 400) for mean in (0, 2, 2, -1, 0)])
    ours, theirs = PageHinkley(mode=mode, threshold=30), Theirs(mode=mode, threshold=30)
    found = []
    for place, value in enumerate(values):
        changed = ours.update(value)
        theirs.update(value)
        assert changed == theirs.drift_detected, place
        if changed:
            found.append(place)
        if place % 97 == 0:
            ours = again(ours)
    assert found
    rises = any(400 <= place < 500 for place in found)
    assert rises == (mode != "down")


def days(drift, means, *, windows_per_hour=60, seed=0):
    """Hours until the drift is found, for hourly means of p-values; None: it is not."""
    rng = np.random.default_rng(seed)
    for hour, mean in enumerate(means):
        for number in range(windows_per_hour):
            p = np.clip(rng.uniform() + mean - 0.5, 0.001, 1)
            if drift.hear(HOUR * (hour + number / windows_per_hour), p):
                return hour
    return None


def test_normal_sound_that_ages_is_found_within_days_and_healthy_sound_is_not():
    for seed in range(5):
        assert days(NormalDrift(), [0.5] * 24 * 60, seed=seed) is None  # two months
        aged = days(NormalDrift(), [0.5] * 240 + [0.3] * 240, seed=seed)
        assert 240 < aged < 240 + 72
    assert days(NormalDrift(), [0.5] * 240 + [0.8] * 240) is None  # more normal than it was
    assert days(NormalDrift(), [0.2] * 3) is None  # too short to tell


def test_a_stored_state_goes_on_where_it_was():
    drift = NormalDrift()
    assert days(drift, [0.5] * 100) is None
    assert days(again(drift), [0.25] * 60) == days(drift, [0.25] * 60)


def sound(rng, *, gain=1.0, muffled=False, hiss=0.0):
    """A second of a machine whose strokes leave its noise floor free."""
    time = np.arange(RATE) / RATE
    wave = 0.02 * rng.standard_normal(RATE) + (time % 0.25 < 0.1) * np.sin(2 * np.pi * 400 * time) * 0.2
    if muffled:
        wave = np.convolve(wave, np.ones(8) / 8, mode="same")
    return gain * wave + hiss * rng.standard_normal(RATE)


@pytest.mark.parametrize(
    ("change", "figures"),
    [
        ({}, set()),
        ({"gain": 0.3}, {"level", "floor"}),  # a turned gain
        ({"muffled": True}, {"tilt", "floor"}),  # a dusty microphone
        ({"hiss": 0.06}, {"floor"}),  # a fan moved into the hall
    ],
)
def test_an_input_that_changes_is_told_by_what_changed(change, figures):
    rng = np.random.default_rng(1)
    drift = InputDrift([InputFigures.of(sound(rng), RATE) for _ in range(40)])
    found = []
    for minute in range(181):
        own = change if minute >= 60 else {}
        found += drift.hear(60.0 * minute, InputFigures.of(sound(rng, **own), RATE))
        if minute % 50 == 0:
            drift = again(drift)
    assert figures <= set(found) or not figures
    assert bool(found) == bool(figures)
    assert len(found) == len(set(found))  # said once
    assert set(drift.drifted) == set(found)
    for minute in range(181, 302):
        drift.hear(60.0 * minute, InputFigures.of(sound(rng), RATE))
    assert not drift.drifted  # back as it was


def test_tilt_is_that_of_the_spectrum():
    rng = np.random.default_rng(0)
    white = rng.standard_normal(RATE * 20)
    for per_octave in (0.0, -3.0, -6.0):
        spectrum = np.fft.rfft(white)
        spectrum[1:] *= np.arange(1, len(spectrum)) ** (per_octave / 6.0206)
        wave = np.fft.irfft(spectrum)
        assert InputFigures.of(wave / np.abs(wave).max(), RATE).tilt == pytest.approx(per_octave, abs=0.5)


def test_an_hour_in_which_the_machine_stood_still_is_not_judged():
    drift = InputDrift([InputFigures(-20, 0, -25), InputFigures(-21, 0.1, -26)])
    for at in (0.0, 10.0, HOUR, HOUR + 10):
        assert drift.hear(at, InputFigures(-60, 0, -60)) == []
    assert not drift.drifted
