"""The sensitivity of detectors that are known to notice nothing, one fault, or everything."""

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from mimii_pl.core.errors import InputError
from mimii_pl.scoring.metrics import auc
from mimii_pl.scoring.pseudo_anomaly import PSEUDO_FAULTS
from mimii_pl.scoring.sensitivity import (
    GRADES,
    Noticed,
    curves,
    in_words,
    measure_sensitivity,
    never_rising,
    read_sensitivity,
    sensitivity_of,
    severity_limits,
    shares_below,
    spread_rows,
    write_sensitivity,
)

RATE, LABELS = 16_000, ["fan/id_00", "fan/id_02"]
IDS = np.repeat([0, 1], 24)


@pytest.fixture(scope="module")
def waves():
    """Harmonics of a shaft at exactly 50 Hz in noise, of levels that differ."""
    rng, time = np.random.default_rng(0), np.arange(2 * RATE) / RATE
    tones = sum(np.sin(2 * np.pi * 50 * order * time) for order in (1, 2, 20))
    levels = rng.uniform(0.5, 2, (48, 1))
    return (1000 * levels * (tones + 0.3 * rng.standard_normal((48, len(time))))).clip(-32768, 32767).astype(np.int16)


def measured(function, waves, **options):
    """What a detector notices that computes a number per clip; float clips, scaled to the same level."""

    def score(clips, ids=None, text=None):
        return np.array([function(wave.astype(float)) for wave in clips[0 : len(clips)]])

    return measure_sensitivity(score, waves, IDS, score(waves), LABELS, RATE, **options)


def test_a_detector_of_the_level_notices_nothing(waves):
    noticed = measured(lambda wave: np.log(np.square(wave).mean() + 1), waves)
    for fault in PSEUDO_FAULTS:
        own = [entry for entry in noticed if entry.fault == fault.name]
        assert sensitivity_of(own) == pytest.approx(0.5, abs=0.06)  # the level is that of the clip
    assert set(severity_limits(noticed).values()) == {None}
    assert in_words(noticed).startswith("not even a speed change of 8 %, a whistle 10 dB below the machine, ")


def test_a_speedometer_notices_changes_of_speed_alone(waves):
    """It sees the 20th order, at 1 kHz, in bins of .5 Hz: a change of .1 % moves it by two bins."""

    def deviation(wave):
        spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
        return abs(spectrum[1800:2200].argmax() + 1800 - 2000) + 1e-6 * (wave[0] % 7)

    noticed = measured(deviation, waves)
    by_fault = {fault.name: [e for e in noticed if e.fault == fault.name] for fault in PSEUDO_FAULTS}
    assert sensitivity_of(by_fault["speed"]) > 0.99
    assert severity_limits(noticed)["speed"] == pytest.approx(0.1)
    for name in ("throb", "muffling", "knocks"):
        assert sensitivity_of(by_fault[name]) < 0.7
    assert in_words(noticed).startswith("a speed change of 0.1 %")
    assert "; not even " in in_words(noticed)


def test_the_number_of_clips_is_bounded_and_every_severity_is_tried(waves):
    noticed = measured(lambda wave: wave[0], waves, limit=14)
    assert {entry.clips for entry in noticed} == {1, 2}  # 7 of each ID, in 6 severities
    assert {(e.fault, e.severity, e.machine_id) for e in noticed} == {
        (fault.name, severity, label) for fault in PSEUDO_FAULTS for severity in fault.severities for label in LABELS
    }


def test_few_clips_are_used_again_and_many_are_spread_over_all():
    ids = np.array([0] * 100 + [1] * 2)
    rows = spread_rows(ids, 20)
    assert (ids[rows] == 0).sum() == 10
    assert rows[:10].tolist() == list(range(0, 100, 10))
    assert rows[10:].tolist() == [100] * (GRADES // 2) + [101] * (GRADES // 2)


def test_shares_below_have_the_auc_as_their_mean():
    rng = np.random.default_rng(0)
    normal, scores = rng.integers(0, 9, 50).astype(float), rng.integers(3, 12, 30).astype(float)
    normal[0], scores[0] = -np.inf, np.inf
    expected = auc(np.repeat([0, 1], [50, 30]), np.concatenate([normal, scores]))
    assert shares_below(normal, scores).mean() == pytest.approx(expected, abs=1e-12)
    assert np.isnan(shares_below(normal, np.array([np.nan]))).all()


def entries(*aucs, fault="whistle"):
    kind = next(kind for kind in PSEUDO_FAULTS if kind.name == fault)
    graded = zip(kind.severities, aucs, strict=True)
    return [Noticed(fault, severity, kind.unit, "fan/id_00", 8, value) for severity, value in graded]


@pytest.mark.parametrize(
    ("aucs", "limit"),
    [
        ((1, 1, 1, 1, 1, 1), 50),  # even the weakest
        ((0.8, 0.6, 0.5, 0.5, 0.5, 0.5), None),  # not even the strongest
        ((np.nan, 1, 1, 1, 1, 1), None),  # no score, no limit
        ((1, 1, 0.8, 0.5, 0.5, 0.5), 22),  # between 18 and 26 dB
        ((1, 0.9, 0.5, 0.5, 0.5, 0.5), 18),
        ((1, 0.86, 0.96, 0.5, 0.5, 0.5), 26 + 8 * 0.01 / 0.41),  # not monotone: the mean of both, .91
    ],
)
def test_the_limit_is_where_the_curve_falls_to_the_auc(aucs, limit):
    assert severity_limits(entries(*aucs))["whistle"] == (None if limit is None else pytest.approx(limit))


def test_no_other_falling_curve_is_closer():
    shapes = [*np.random.default_rng(3).random((50, 6)), np.ones(4), np.arange(5.0), np.array([0.5])]
    for aucs in shapes:
        expected = IsotonicRegression(increasing=False).fit_transform(np.arange(len(aucs)), aucs)
        np.testing.assert_allclose(never_rising(aucs), expected, atol=1e-12)


def test_percentages_are_interpolated_by_their_logarithm():
    severities = next(fault.severities for fault in PSEUDO_FAULTS if fault.name == "speed")
    between = np.sqrt(severities[1] * severities[2])
    assert severity_limits(entries(1, 1, 0.8, 0.5, 0.5, 0.5, fault="speed"))["speed"] == pytest.approx(between)


def test_the_criterion_weighs_machine_ids_equally_and_is_stored(tmp_path):
    first = entries(1, 1, 1, 1, 1, 1)
    second = [entry._replace(machine_id="fan/id_02", auc=0.5) for entry in entries(*[0] * 6)[:2]]
    assert sensitivity_of(first + second) == 0.75
    assert curves(first + second)["whistle"][1][:3] == [0.75, 0.75, 1]
    write_sensitivity(tmp_path / "sensitivity.csv", first)
    assert read_sensitivity(tmp_path / "sensitivity.csv") == first
    assert read_sensitivity(tmp_path / "none.csv") == []
    (tmp_path / "sensitivity.csv").write_text("fault,severity,unit,machine_id,clips,auc\nwhistle,much,dB,a/b,1,1\n")
    with pytest.raises(InputError, match="damaged"):
        read_sensitivity(tmp_path / "sensitivity.csv")
