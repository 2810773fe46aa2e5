"""P-values and false alarms of few held-out scores: they hold for new clips, whatever the distribution."""

import numpy as np
import pytest
from scipy import stats
from support import world

from mimii_pl.threshold import FalseAlarms, Thresholds
from mimii_pl.threshold.conformal import Conformal
from mimii_pl.threshold.percentile import Percentile


@pytest.mark.parametrize("held_out", [5, 19, 60])
def test_no_more_new_clips_than_promised_have_a_small_p_value(held_out):
    rng = np.random.default_rng(held_out)
    found = []
    for _ in range(1000):
        normal, new = rng.gamma(2, size=held_out).round(3), rng.gamma(2, size=50).round(3)  # rounded: with ties
        thresholds = Thresholds.hold(normal, np.zeros(held_out, int), ["fan/a"])
        found.append(thresholds.p_value(new, np.zeros(50, int)))
    for level in (1 / (held_out + 1), 0.05, 0.2, 0.5):
        share = np.concatenate(found) <= level
        possible = np.floor(level * (held_out + 1)) / (held_out + 1)  # p-values are multiples of 1 / (n + 1)
        assert share.mean() == pytest.approx(possible, abs=0.02)


def test_p_values_are_those_of_the_clips_own_machine():
    scores = np.concatenate([np.arange(9.0), 100 + np.arange(9.0), [5000.0]])
    held = Thresholds.hold(scores, np.repeat([0, 1, 2], [9, 9, 1]), ["fan/a", "fan/b", "fan/c"])
    found = held.p_value(np.array([8.0, 8.5, 8.5, 8.5, -1.0]), np.array([0, 0, 1, 2, -1]))
    np.testing.assert_allclose(found, [2 / 10, 1 / 10, 1, 11 / 20, 1])  # of c, with one clip, and unknown: of all 19


@pytest.mark.parametrize(("above", "held_out"), [(0, 1), (0, 99), (2, 19), (19, 19)])
def test_the_interval_is_that_of_clopper_and_pearson(above, held_out):
    low, high = FalseAlarms(above, held_out).interval
    assert low == pytest.approx(stats.beta.ppf(0.025, above, held_out - above + 1) if above else 0)
    assert high == pytest.approx(stats.beta.ppf(0.975, above + 1, held_out - above) if above < held_out else 1)


def test_the_interval_covers_the_true_share_also_of_a_threshold_from_the_same_scores():
    rng, covered, rates = np.random.default_rng(0), [], []
    for _ in range(1000):
        held = Thresholds.hold(rng.exponential(size=30), np.zeros(30, int), ["fan/a"]).choose(Percentile(quantile=0.9))
        low, high = held.false_alarms("fan/a").interval
        true = np.exp(-held.of("fan/a"))
        covered.append(low <= true <= high)
        rates.append((true, held.false_alarms("fan/a").rate))
    assert np.mean(covered) >= 0.95
    true, promised = np.mean(rates, axis=0)
    assert promised - 1 / 31 < true <= promised  # on average


def test_false_alarms_per_day_follow_the_hop():
    assert FalseAlarms(above=0, held_out=9).per_day(hop=86.4) == "100 (0 to 336)"
    assert FalseAlarms(above=0, held_out=9).per_day(hop=8.64) == "1,000 (0 to 3,363)"


# --- a threshold that promises ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(("quantile", "held_out"), [(0.9, 9), (0.9, 25), (0.95, 99), (0.8, 33)])
def test_a_conformal_threshold_keeps_its_promise_where_there_are_enough_clips(quantile, held_out):
    rng = np.random.default_rng(held_out)
    true = np.exp([-Conformal(quantile=quantile)(rng.exponential(size=held_out)) for _ in range(2000)])
    assert true.mean() <= 1 - quantile + 4 * true.std() / np.sqrt(len(true))
    assert true.mean() > 1 - quantile - 1 / (held_out + 1) - 0.01  # and no higher than it must be


@pytest.mark.parametrize(("held_out", "rank"), [(99, 99), (100, 100), (199, 198), (5, 5), (1, 1)])
def test_the_rank_of_a_conformal_threshold(held_out, rank):
    assert Conformal()(np.arange(1.0, held_out + 1)) == rank
    assert Conformal(quantile=0)(np.arange(1.0, held_out + 1)) == 1


def test_what_few_clips_can_promise_is_said(caplog):
    scores, ids = np.arange(138.0), np.repeat([0, 1, 2], [99, 36, 3])
    held = Thresholds.hold(scores, ids, ["fan/a", "fan/b", "fan/c"]).choose(Conformal())
    assert held.thresholds == {"fan/a": 98, "fan/b": 134, "all": 137}
    assert (
        "one false alarm in 100 normal clips, which takes 99 held-out ones of a machine ID: 36 of fan/b" in caplog.text
    )
    assert "36 of fan/b can promise one in 37" in held.origin
    assert "fan/a" not in held.origin
    assert "of all" not in held.origin  # 138 clips, which c uses
    assert Thresholds(**held.state_dict()).origin == held.origin
    caplog.clear()
    assert held.choose(Conformal(quantile=0.97)).origin == "conformal 0.97 of held-out normal clips"
    assert held.choose(Percentile()).origin == "percentile 0.9 of held-out normal clips"
    assert not caplog.text


def test_recordings_of_ones_own_are_promised_one_false_alarm_in_a_hundred():
    for dataset, name, quantile in (
        ("folder", "conformal", 0.99),
        ("table", "conformal", 0.99),
        ("dcase2020", "percentile", 0.9),
    ):
        cfg = world.composed(f"dataset={dataset}")
        assert (cfg.choices.threshold, cfg.threshold.quantile) == (name, quantile)
    assert world.composed("dataset=folder", "threshold=gamma").choices.threshold == "gamma"
