"""The spectrogram of a recording of any length: levels, bands, and a bounded number of columns."""

import numpy as np
import pytest

from mimii_pl.scoring.overview import MOST_COLUMNS, Overview


def tone(hertz, seconds, amplitude=0.5, rate=16000):
    time = np.arange(round(seconds * rate)) / rate
    return np.round(32767 * amplitude * np.sin(2 * np.pi * hertz * time)).astype(np.int16)


def test_a_tone_has_its_level_in_its_band_at_its_time():
    overview = Overview(16000)
    rng = np.random.default_rng(0)
    for number in range(10):
        wave = rng.normal(0, 30, 16000).round().astype(np.int16)
        overview.add(wave + tone(1500, 1.0) if number in (4, 5) else wave)
    levels = overview.levels()
    assert levels.level.shape[1] * levels.seconds == pytest.approx(10, abs=0.1)
    low, high, rise = levels.loudest(4, 6)
    assert low <= 1500 < high
    assert rise > 30
    column = levels.level[:, int(5 / levels.seconds)]
    assert np.argmax(column) == np.searchsorted(levels.hertz, 1500, side="right") - 1


def test_columns_are_bounded_and_keep_the_mean_power():
    overview = Overview(16000)
    for number in range(8):
        overview.add(tone(1000, 60, 0.5 if number < 4 else 0.05))
    levels = overview.levels()
    assert MOST_COLUMNS / 2 <= levels.level.shape[1] <= MOST_COLUMNS
    band = np.searchsorted(levels.hertz, 1000, side="right") - 1
    half = levels.level.shape[1] // 2
    step = levels.level[band, : half - 1].mean() - levels.level[band, half + 1 : -1].mean()
    assert step == pytest.approx(20, abs=0.5)


def test_what_cannot_be_used_is_a_gap():
    overview = Overview(8000)
    overview.add(tone(1000, 2, rate=8000))
    overview.skip(16000)
    overview.add(tone(1000, 2, rate=8000))
    gaps = np.isnan(overview.levels().level).all(axis=0)
    assert gaps.mean() == pytest.approx(1 / 3, abs=0.05)
    assert not gaps[:5].any()
    assert np.isnan(overview.levels().loudest(2.5, 3.5)).all()


def test_less_than_a_frame_is_a_column():
    overview = Overview(16000)
    overview.add(tone(1000, 0.01))
    assert overview.levels().level.shape[1] == 1
