"""Thresholds from scores of normal clips: what is found, where it comes from, and what stands in when a fit fails."""

import json

import numpy as np
import pytest
from scipy import stats
from support import world

from mimii_pl.core.config import CONF, build
from mimii_pl.core.errors import InputError
from mimii_pl.threshold._threshold import Thresholds
from mimii_pl.threshold.balanced import Balanced
from mimii_pl.threshold.conformal import Conformal
from mimii_pl.threshold.gamma import Gamma
from mimii_pl.threshold.percentile import Percentile
from mimii_pl.threshold.youden import Youden

RULES = sorted(path.stem for path in (CONF / "threshold").glob("[!_]*.yaml"))


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("offset", [0.0, -1e4, 30.0])
def test_the_quantile_of_many_normal_scores_is_found(name, offset):
    scores = stats.gamma(3, scale=2).rvs(5000, random_state=0)
    limit = build(world.composed(f"threshold={name}", "threshold.quantile=0.95").threshold)(scores + offset) - offset
    assert limit == pytest.approx(stats.gamma(3, scale=2).ppf(0.95), rel=0.03)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("scores", [[1.0], [1.0, 2.0], [3.0] * 50, [-1e300, 0, 1e300] * 5])
def test_whatever_the_scores_there_is_a_threshold(name, scores, caplog):
    limit = build(world.composed(f"threshold={name}").threshold)(np.array(scores))
    assert np.isfinite(limit)
    assert min(scores) <= limit <= max(scores) + np.ptp(scores)


def test_gamma_is_that_of_scipy_where_it_is_stable():
    scores = stats.gamma(5, loc=2, scale=0.5).rvs(400, random_state=1)
    expected = stats.gamma(*stats.gamma.fit(scores)).ppf(0.9)
    assert Gamma(quantile=0.9)(scores) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("scores", [np.arange(9.0), np.array([0.0] * 40 + [1.0] * 40), np.ones(30)])
def test_an_unstable_fit_falls_back_and_says_so(scores, caplog):
    assert Gamma()(scores) == Percentile()(scores)
    assert "their percentile is used instead" in caplog.text


@pytest.mark.parametrize("quantile", [-1, 1.01, 5, float("nan")])
def test_a_share_is_between_0_and_1(quantile):
    with pytest.raises(InputError, match=r"threshold\.quantile="):
        Percentile(quantile=quantile)


def test_each_id_has_its_own_and_small_ones_the_common_one():
    scores = np.concatenate([np.arange(10.0), 100 + np.arange(10.0), [5000.0]])
    ids = np.array([0] * 10 + [1] * 10 + [2])
    found = Thresholds.hold(scores, ids, ["fan/a", "fan/b", "fan/c"]).choose(Percentile(quantile=0.9))
    assert found.thresholds.keys() == {"fan/a", "fan/b", "all"}
    assert found.decide(np.array([50.0, 50.0, 50.0, 50.0, 5000.0]), np.array([0, 1, 2, -1, 2])).tolist() == [
        1,
        0,
        0,
        0,
        1,
    ]
    assert found.rank(np.array([5.0, 5.5, 105.0, -1.0]), np.array([0, 0, 1, -1])).tolist() == [0.5, 0.6, 0.5, 0.0]
    again = Thresholds(**json.loads(json.dumps(found.state_dict())))
    assert again.state_dict() == found.state_dict()


def test_the_threshold_itself_is_normal():
    found = Thresholds.hold(np.arange(8.0), np.zeros(8, int), ["fan/a"]).choose(Percentile(quantile=1.0))
    assert found.decide(np.array([7.0, np.nextafter(7.0, 8)]), np.zeros(2, int)).tolist() == [0, 1]


# --- an oracle -------------------------------------------------------------------------------------------------------
def cases():
    rng = np.random.default_rng(0)
    for size in (2, 5, 40):
        labels = rng.permutation(np.arange(size) % 2)
        yield labels, rng.normal(size=size) + labels
        yield labels, -(rng.normal(size=size) + 3 * labels)  # worse than guessing
        yield labels, np.round(rng.normal(size=size) + labels)
        yield labels, np.full(size, 3.25)
        yield labels, np.where(labels == 1, np.inf, -np.inf)
        yield labels, np.where(labels == 1, np.nextafter(1.0, 2), 1.0)


@pytest.mark.parametrize(("labels", "scores"), list(cases()))
def test_youden_is_the_best_of_all_thresholds(labels, scores):
    def found_less_alarms(limit):
        return (scores[labels == 1] > limit).mean() - (scores[labels == 0] > limit).mean()

    limit = Youden().of_labelled(scores, labels)
    every = [-np.inf, *np.nextafter(scores, -np.inf), *scores, np.inf]
    assert found_less_alarms(limit) == pytest.approx(max(found_less_alarms(one) for one in every))


def test_an_oracle_says_so_and_the_percentile_stands_in_without_anomalies(caplog):
    normal, ids = np.arange(20.0), np.repeat([0, 1], 10)
    held = Thresholds.hold(normal, ids, ["fan/a", "fan/b"])
    labelled = np.array([0.0, 30, 40, 5]), np.array([0, 0, 0, 1]), np.array([0, 1, 1, 0])
    held.choose(Youden(), labelled)
    assert held.origin.startswith("oracle")
    assert Thresholds(**json.loads(json.dumps(held.state_dict()))).origin == held.origin
    assert held.thresholds["fan/a"] == 15  # half-way between the normal clip and the first anomaly
    assert held.thresholds["fan/b"] == np.quantile(normal[10:], 0.9)
    assert "fan/b lacks labelled clips of both classes" in caplog.text
    few = Thresholds.hold(normal[:4], ids[:4], ["fan/a", "fan/b"]).choose(Youden(), labelled)
    assert few.decide(np.array([20.0]), np.array([0])) == [1]  # its own, though few clips of it are held out
    assert few.rank(np.array([1.5]), np.array([0])) == [0.5]
    assert not held.choose(Percentile(), labelled).origin.startswith("oracle")


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ([300.0, 400.0], 100.0),  # clear of all normal clips: the highest of them
        ([95.5], 95.0),  # above most: no false alarm more than it takes
        ([50.0], 91.0),  # lost at the promised rate, which is kept
        ([], 91.0),
    ],
)
def test_labelled_faults_choose_among_the_thresholds_that_keep_the_promise(faults, expected):
    normal = np.arange(1.0, 101.0)
    scores, labels = np.r_[normal, faults], np.repeat([0, 1], [100, len(faults)])
    held = Thresholds.hold(normal, np.zeros(100, int), ["fan/a"])
    found = held.choose(Balanced(quantile=0.9), (scores, np.zeros(len(scores), int), labels)).of("fan/a")
    assert Conformal(quantile=0.9)(normal) == 91.0
    assert found == expected
    assert held.origin.startswith("oracle: balanced by labelled faults")
    assert held.false_alarms("fan/a").rate <= 0.1 + 1e-9
