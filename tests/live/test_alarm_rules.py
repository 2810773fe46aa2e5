"""Alarm rules against known answers: levels, delays, the latch, restarts, and the rate that is promised."""

import json
import math
from inspect import signature
from statistics import NormalDist

import numpy as np
import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf
from scipy.stats import poisson

from mimii_pl.core.config import CONF
from mimii_pl.core.errors import InputError
from mimii_pl.live.alarm import AlarmRule, NormalScores
from mimii_pl.live.alarm._simulation import MONTH, Simulation
from mimii_pl.live.alarm.cusum import Cusum
from mimii_pl.live.alarm.n_of_m import NOfM
from mimii_pl.live.alarm.simple import Simple
from mimii_pl.live.windows import AlarmLevel, ScoredWindow, WindowState
from mimii_pl.threshold._false_alarms import p_values

HOP, STEP = 10.0, 160_000  # s, samples
NORMAL, WARN, ALARM = AlarmLevel
HELD_OUT = NormalScores(np.random.default_rng(0).standard_normal(999), HOP)
OFTEN = {"false_per_month": 300.0, "warn_per_month": 600.0}  # little to simulate
LEVELS = {**OFTEN, "warn": 0.05, "alarm": 0.01}


def window(number: int, p: float, state: WindowState = WindowState.RUNNING) -> ScoredWindow:
    score = math.nan if math.isnan(p) else 1 - p
    return ScoredWindow(number * STEP, (number + 1) * STEP, number * HOP, state, score, p, -30.0, math.nan, math.nan)


def hear(rule, p_values_, first: int = 0) -> list[AlarmLevel]:
    """Levels after each window."""
    levels = []
    for number, p in enumerate(p_values_):
        before = rule.level
        change = rule.hear(p if isinstance(p, ScoredWindow) else window(first + number, p))
        assert (change is not None) == (rule.level != before)
        levels.append(rule.level)
    return levels


def drifting(rng: np.random.Generator, count: int, correlation: float) -> np.ndarray:
    from scipy.signal import lfilter

    return lfilter([math.sqrt(1 - correlation**2)], [1, -correlation], rng.standard_normal(count + 200))[200:]


def test_a_level_is_kept_until_its_clear_limit_is_left():
    rule = Simple(**LEVELS, clear=5).fit(HELD_OUT, HOP)
    assert hear(rule, [0.5, 0.05, 0.01, 0.04, 0.05, 0.051, 0.25, 0.26]) == [
        *(NORMAL, WARN, ALARM, ALARM, ALARM, WARN, WARN, NORMAL)
    ]


def test_delays_are_counted_in_windows_that_were_judged():
    rule = Simple(**LEVELS, clear=1, on_delay=20, off_delay=10, min_time=50).fit(HELD_OUT, HOP)
    idle = window(2, math.nan, WindowState.IDLE)
    assert hear(rule, [0.001, 0.001, idle, idle, 0.001]) == [NORMAL] * 4 + [ALARM]  # three in a row: 20 s lie between
    assert hear(rule, [0.9] * 6, first=5) == [ALARM] * 5 + [NORMAL]  # 50 s at least
    assert hear(rule, [0.001, 0.001, 0.9, 0.001, 0.001], first=11) == [NORMAL] * 5


@pytest.mark.parametrize("state", [state for state in WindowState if state is not WindowState.RUNNING])
def test_windows_in_another_state_are_no_evidence(state):
    rule = NOfM(n=2, m=3, **LEVELS, clear=1).fit(HELD_OUT, HOP)
    assert hear(rule, [0.001, window(1, 0.001, state), window(2, 0.9, state), 0.001]) == [NORMAL] * 3 + [ALARM]


def test_n_of_m_names_the_first_of_its_windows():
    rule = NOfM(n=3, m=5, **LEVELS, clear=2).fit(HELD_OUT, HOP)
    changes = [rule.hear(window(number, p)) for number, p in enumerate([0.9, 0.01, 0.9, 0.01, 0.9, 0.004])]
    assert changes[:5] == [None] * 5
    assert (changes[5].first, changes[5].level) == (STEP, ALARM)
    assert changes[5].reason == "p at or below 0.01 in 3 of 5 windows, lowest 0.004"
    assert hear(rule, [0.9, 0.9, 0.9, 0.9], first=6)[0] == NORMAL


def test_a_latched_alarm_waits_for_a_person():
    rule = Simple(**LEVELS, clear=1, latch=True).fit(HELD_OUT, HOP)
    assert hear(rule, [0.001, 0.9, 0.9]) == [ALARM] * 3
    assert rule.acknowledge()
    assert not rule.acknowledge()
    assert hear(rule, [0.9, 0.03, 0.9, 0.001, 0.9], first=3) == [NORMAL, WARN, NORMAL, ALARM, ALARM]


@pytest.mark.parametrize(
    "make",
    [lambda: Simple(**LEVELS, latch=True, on_delay=30), lambda: NOfM(**LEVELS, n=3, m=6), lambda: Cusum(**OFTEN)],
)
def test_a_stored_rule_goes_on_as_if_it_had_not_ended(make):
    p = np.random.default_rng(1).uniform(0.001, 1, 120)
    p[40:70] *= 0.005
    rule, stopped = make().fit(HELD_OUT, HOP), make().fit(HELD_OUT, HOP)
    expected, found = hear(rule, p), []
    for start in range(0, 120, 7):
        found += hear(stopped, p[start : start + 7], first=start)
        state = json.loads(json.dumps(stopped.state_dict()))
        hear(stopped, [0.001] * 9, first=start)  # what it hears now is forgotten
        assert stopped.load_state_dict(state)
    assert found == expected
    assert ALARM in expected
    assert not Simple(**OFTEN, alarm=0.02, warn=0.05).fit(HELD_OUT, HOP).load_state_dict(rule.state_dict())


def test_a_source_that_counts_anew_moves_no_event_into_the_future():
    rule = NOfM(n=2, m=3, **LEVELS).fit(HELD_OUT, HOP)
    rule.hear(window(1000, 0.001))
    assert rule.hear(window(0, 0.001)).first == 0


def test_cusum_is_page_s_sum():
    rule = Cusum(**OFTEN, drift=0.5).fit(HELD_OUT, HOP)
    total = 0.0
    for number, p in enumerate([0.3, 0.01, 0.2, 0.02, 0.9, 0.9, 0.9, 0.9]):
        rule.hear(window(number, p))
        total = max(0.0, total + NormalDist().inv_cdf(1 - (p - 0.0005)) - 0.5)
        assert rule.sum == pytest.approx(total)
    assert rule.sum == 0


def test_simulated_ranks_are_uniform_though_the_held_out_set_is_finite():
    simulation = Simulation(NormalScores(np.random.default_rng(3).gamma(1, size=49), HOP), HOP, 30.0)
    counts = sum(np.bincount(ranks, minlength=51) for ranks in simulation.streams())[1:]
    assert len(counts) == 50
    assert counts / counts.sum() == pytest.approx(1 / 50, rel=0.2)
    assert counts[0] / counts.sum() == pytest.approx(1 / 50, rel=0.1)
    assert simulation.months == pytest.approx(counts.sum() * HOP / MONTH)


def test_limits_of_independent_windows_are_those_of_probability():
    per_month = MONTH / HOP
    rule = Simple(false_per_month=per_month * 0.01, warn_per_month=per_month * 0.05, clear=1).fit(HELD_OUT, HOP)
    assert rule.limits[ALARM] == pytest.approx(0.01, rel=0.2)  # windows in a row are one alarm: p (1 - p) a window
    assert rule.limits[WARN] == pytest.approx(0.053, rel=0.1)


def test_few_clips_cannot_promise_what_their_p_values_do_not_reach(caplog):
    few = NormalScores(np.random.default_rng(0).standard_normal(50), HOP)
    rule = Simple().fit(few, HOP)
    assert rule.limits[ALARM] == pytest.approx(1 / 51)
    (told,) = [message for message in caplog.messages if "cannot keep" in message]
    assert told.startswith("50 held-out clips cannot keep alarm.warn_per_month and alarm.false_per_month with 1 of 1")
    caplog.clear()
    NOfM(n=10, m=12, false_per_month=1).fit(few, HOP)
    assert not [message for message in caplog.messages if "cannot keep" in message]
    with pytest.raises(InputError, match=r"alarm.alarm=0.001: 50 held-out clips give no p-value below 0.02"):
        Simple(alarm=0.001).fit(few, HOP)


@pytest.mark.parametrize("correlation", [0.0, 0.6], ids=["exchangeable", "autocorrelated"])
@pytest.mark.parametrize(
    "make",
    [lambda **options: Simple(on_delay=60, **options), lambda **options: NOfM(n=3, m=4, **options), Cusum],
    ids=["simple", "n_of_m", "cusum"],
)
def test_false_alarms_of_ten_days_are_those_promised(make, correlation):
    promised, sets, days, hop = 30.0, 5, 10, 30.0
    total = 0
    for seed in range(sets):
        rng = np.random.default_rng(seed)
        normal = NormalScores(drifting(rng, 2000, correlation), hop)
        rule = make(false_per_month=promised, warn_per_month=promised).fit(normal, hop)
        live = p_values(np.sort(normal.scores), drifting(rng, round(days * 86400 / hop / sets), correlation))
        total += alarms(rule, live)
    expected = promised * days / 30
    low, high = poisson.interval(0.95, expected)
    assert low <= total <= 1.5 * high  # the held-out sets differ as well


def alarms(rule, p) -> int:
    """Number of alarms that are raised."""
    changes = (rule.hear(window(number, value)) for number, value in enumerate(p))
    return sum(change is not None and change.level == ALARM for change in changes)


@pytest.mark.parametrize(
    ("make", "severity", "within"),
    [(lambda: Simple(on_delay=30), 4.0, 60), (NOfM, 3.0, 120), (Cusum, 3.0, 90), (Cusum, 1.0, 600)],
)
def test_a_fault_is_found_in_time(make, severity, within):
    rng = np.random.default_rng(5)
    live = rng.standard_normal(1000)
    live[900:] += severity
    p = p_values(np.sort(HELD_OUT.scores), live)
    rule = make().fit(HELD_OUT, HOP)
    changes = [rule.hear(window(number, value)) for number, value in enumerate(p)]
    raised = [number for number, change in enumerate(changes) if change and change.level == ALARM]
    assert raised
    assert 0 <= (raised[0] - 900) * HOP <= within


@pytest.mark.parametrize(
    ("rule", "options", "named"),
    [
        (Simple, {"false_per_month": 0}, "alarm.false_per_month=0"),
        (Simple, {"false_per_month": 10, "warn_per_month": 1}, "alarm.warn_per_month=1"),
        (Simple, {"on_delay": -1}, "alarm.on_delay=-1"),
        (Simple, {"on_delay": 1e9}, "alarm.on_delay=1000000000.0"),
        (Simple, {"latch": "maybe"}, "alarm.latch=maybe"),
        (Cusum, {"false_per_month": 1e-9}, "alarm.false_per_month=1e-09: should be 0.001"),
        (NOfM, {"n": 2.5}, "alarm.n=2.5"),
        (Simple, {"alarm": 2.0}, "alarm.alarm=2.0"),
        (Simple, {"warn": 0.01, "alarm": 0.1}, "alarm.warn=0.01"),
        (Simple, {"clear": 0.5}, "alarm.clear=0.5"),
        (NOfM, {"n": 5, "m": 3}, "alarm.n=5"),
        (Cusum, {"drift": 0}, "alarm.drift=0"),
        (Cusum, {"clear": 2}, "alarm.clear=2"),
    ],
)
def test_impossible_options_are_refused(rule, options, named):
    with pytest.raises(InputError, match=named):
        rule(**options)


@pytest.mark.parametrize("name", ["simple", "n_of_m", "cusum"])
def test_the_configuration_has_the_defaults_of_the_classes(name):
    group = {**OmegaConf.load(CONF / "alarm" / "_rule.yaml"), **OmegaConf.load(CONF / "alarm" / f"{name}.yaml")}
    del group["defaults"]
    rule = get_class(group.pop("_target_"))
    classes = [kind for kind in rule.__mro__ if kind in (rule, AlarmRule)]
    parameters = {key: value for kind in classes for key, value in signature(kind.__init__).parameters.items()}
    named = {key: value.default for key, value in parameters.items() if value.kind is value.KEYWORD_ONLY}
    assert group == named
    assert rule(**group).level == NORMAL
