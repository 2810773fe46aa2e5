"""Faults put into normal clips: at their level, as severe as they say, below half of any sampling frequency."""

import numpy as np
import pytest

from mimii_pl.scoring.pseudo_anomaly import PSEUDO_FAULTS, PseudoAnomalies, _lengths

RATES = (1000, 2560, 6000, 8000, 9999, 10_000, 16_000, 51_200, 192_000, 400_000)
NUMBER = {fault.name: number for number, fault in enumerate(PSEUDO_FAULTS)}
GRADES = len(PSEUDO_FAULTS[0].severities)
EVERY_FAULT = pytest.mark.parametrize("fault", PSEUDO_FAULTS, ids=lambda fault: fault.name)


def noise(rate, seconds=1.0):
    return (3277 * np.random.default_rng(1).standard_normal(round(rate * seconds))).astype(np.int16)


def made(wave, name, rate=16_000, count=2 * GRADES):
    """Copies of a clip with a fault, its severities in turn; float, as large as int16."""
    waves = wave[None].repeat(count, axis=0)
    return PseudoAnomalies(waves, NUMBER[name], np.arange(count) % GRADES, rate)[0:count].astype(float)


@pytest.mark.parametrize("rate", RATES)
def test_every_fault_fits_and_keeps_the_level(rate):
    wave = noise(rate)
    for fault in PSEUDO_FAULTS:
        faulty = PseudoAnomalies(wave[None].repeat(12, axis=0), NUMBER[fault.name], np.arange(12) % GRADES, rate)[0:12]
        assert (faulty.shape, faulty.dtype) == ((12, len(wave)), np.int16)
        levels = np.sqrt(np.square(faulty.astype(float)).mean(axis=1) / np.square(wave.astype(float)).mean())
        np.testing.assert_allclose(levels, 1, atol=0.02)  # clipping takes a little of the knocks


@EVERY_FAULT
def test_a_stronger_fault_changes_a_clip_more(fault):
    wave = noise(16_000)
    if fault.name == "speed":  # noise has no pitch: count the crests of a tone, whose number grows with the speed
        wave = (3277 * np.sin(2 * np.pi * 500 * np.arange(160_000) / 16_000)).astype(np.int16)
        hertz = np.abs(np.fft.rfft(made(wave, "speed") * np.hanning(len(wave)))).argmax(axis=1) / 10
        change = 100 * np.abs(hertz / 500 - 1)
        expected = np.tile(fault.severities, 2)
        np.testing.assert_allclose(change, expected, atol=0.03, rtol=0.1)
        return
    change = np.square(made(wave, fault.name, count=20 * GRADES) - wave).mean(axis=1).reshape(20, GRADES).mean(axis=0)
    assert (np.diff(change) < 0).all()


@pytest.mark.parametrize("name", ["whistle", "hiss", "knocks"])
def test_what_is_added_is_as_far_below_the_machine_as_it_says(name):
    wave = noise(16_000)
    for faulty, decibels in zip(made(wave, name, count=3), PSEUDO_FAULTS[NUMBER[name]].severities, strict=False):
        kept = faulty @ wave / (wave.astype(float) @ wave)  # the share of the machine, added sound is not like it
        added = faulty - kept * wave
        measured = 10 * np.log10(np.square(kept * wave).mean() / np.square(added).mean())
        assert measured == pytest.approx(decibels, abs=1.5)


@pytest.mark.parametrize("rate", RATES)
def test_the_whistle_does_not_alias(rate):
    for seed in range(20):
        waves = noise(rate)[None].repeat(seed + 1, axis=0)
        faulty = PseudoAnomalies(waves, NUMBER["whistle"], np.zeros(seed + 1, int), rate)[seed : seed + 1][0]
        added = faulty - faulty @ waves[0] / (waves[0].astype(float) @ waves[0]) * waves[0]
        peak = np.abs(np.fft.rfft(added * np.hanning(len(added)))).argmax()  # Hz, as the clip lasts a second
        drawn = np.random.default_rng([NUMBER["whistle"], 0, seed]).uniform(500, 5000)
        assert peak == pytest.approx(drawn * min(1, rate / 10_000), abs=1)
        assert peak <= rate / 2


@pytest.mark.parametrize("rate", RATES)
def test_a_muffled_machine_has_less_of_the_high_frequencies(rate):
    power = np.square(np.abs(np.fft.rfft(made(noise(rate), "muffling", rate, count=1)[0])))
    tenth = len(power) // 10
    assert power[-tenth:].mean() < 0.5 * power[:tenth].mean()


def test_the_slightest_change_of_speed_takes_no_high_frequencies():
    power = np.square(np.abs(np.fft.rfft(made(noise(16_000), "speed")[GRADES - 1])))
    tenth = len(power) // 10
    assert power[-tenth:].mean() == pytest.approx(power[:tenth].mean(), rel=0.15)


def largest_factor(number):
    factor = 2
    while factor * factor <= number:
        if number % factor:
            factor += 1
        else:
            number //= factor
    return number


@pytest.mark.parametrize("samples", [16_000, 160_000, 160_001, 441_000, 479_909])
def test_a_change_of_speed_is_met_by_lengths_without_large_factors(samples):
    for share in np.outer((1, -1), np.array(PSEUDO_FAULTS[NUMBER["speed"]].severities) / 100).ravel():
        before, after = _lengths(samples, share)
        assert samples <= before <= 1.06 * samples
        assert before / after - 1 == pytest.approx(share, rel=0.03)
        assert max(map(largest_factor, (before, after))) <= 13


@EVERY_FAULT
def test_a_fault_depends_on_clip_row_and_severity_and_not_on_the_batch(fault):
    waves = np.random.default_rng(0).integers(-3000, 3000, (4, 16_000), dtype=np.int16)
    rows, grades = np.array([0, 0, 1, 2, 3, 3]), np.arange(6) % GRADES
    number = NUMBER[fault.name]
    whole = PseudoAnomalies(waves, number, grades, 16_000, rows)
    parts = np.concatenate([whole[at : at + 1] for at in range(6)])
    np.testing.assert_array_equal(whole[0:6], parts)
    np.testing.assert_array_equal(PseudoAnomalies(waves, number, grades[[4]], 16_000, rows[[4]])[0:1][0], parts[4])
    assert len(whole) == 6


@EVERY_FAULT
def test_silence_stays_silent_or_finite(fault):
    faulty = PseudoAnomalies(np.zeros((2, 800), np.int16), NUMBER[fault.name], np.array([0, 5]), 16_000)[0:2]
    assert (faulty == 0).all()
