"""Faults put into normal clips: below half of any sampling frequency, and the same as ever from 10 kHz on."""

import numpy as np
import pytest
from scipy.signal import butter, sosfilt

from mimii_pl.scoring.pseudo_anomaly import PSEUDO_FAULTS, PseudoAnomalies, _clogged, _tone

RATES = (1000, 2560, 6000, 8000, 9999, 10_000, 16_000, 51_200, 192_000, 400_000)


def noise(rate, seconds=1.0):
    return 0.1 * np.random.default_rng(1).standard_normal(round(rate * seconds))


@pytest.mark.parametrize("rate", RATES)
def test_every_fault_fits_and_keeps_the_level(rate):
    waves = (noise(rate) * 32768).astype(np.int16)[None].repeat(20, axis=0)
    for number in range(len(PSEUDO_FAULTS)):
        faulty = PseudoAnomalies(waves, number, rate)[0:20]
        assert (faulty.shape, faulty.dtype) == (waves.shape, np.int16)
        assert (faulty != waves).any(axis=1).all()
        levels = np.sqrt(np.square(faulty.astype(float)).mean(axis=1) / np.square(waves.astype(float)).mean(axis=1))
        np.testing.assert_allclose(levels, 1, atol=0.02)  # clipping takes a little of the knocks


@pytest.mark.parametrize("rate", RATES)
def test_the_whistle_does_not_alias(rate):
    for seed in range(20):
        drawn = np.random.default_rng(seed).uniform(500, 5000)
        added = _tone(noise(rate), rate, np.random.default_rng(seed)) - noise(rate)
        peak = np.abs(np.fft.rfft(added * np.hanning(len(added)))).argmax()  # Hz, as the clip lasts a second
        assert peak == pytest.approx(drawn * min(1, rate / 10_000), abs=1)
        assert peak <= rate / 2


@pytest.mark.parametrize("rate", RATES)
def test_a_clogged_machine_has_less_of_the_high_frequencies(rate):
    power = np.square(np.abs(np.fft.rfft(_clogged(noise(rate), rate, np.random.default_rng(0)))))
    tenth = len(power) // 10
    assert power[-tenth:].mean() < 0.5 * power[:tenth].mean()


@pytest.mark.parametrize("rate", [10_000, 16_000, 44_100, 192_000])
def test_from_ten_kilohertz_on_nothing_is_scaled(rate):
    wave, rng = noise(rate), np.random.default_rng(3)
    corner = rng.uniform(1500, 4000)
    expected = sosfilt(butter(1, corner, fs=rate, output="sos"), wave)
    np.testing.assert_array_equal(_clogged(wave, rate, np.random.default_rng(3)), expected)
    rng = np.random.default_rng(4)
    phase = 2 * np.pi * rng.uniform(500, 5000) * np.arange(len(wave)) / rate
    rms = float(np.sqrt(np.mean(np.square(wave))))
    expected = wave + np.sqrt(2 * 0.1) * rms * np.sin(phase + rng.uniform(0, 2 * np.pi))
    np.testing.assert_array_equal(_tone(wave, rate, np.random.default_rng(4)), expected)
