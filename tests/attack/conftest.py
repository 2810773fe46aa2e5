"""Fixtures of the attacks, and the table of what came of them, at the end of the session."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

from attack.arena import Arena, lines
from attack.outcome import Verdict, counts, faults, show
from mimii_pl.core.console import Console

COUNTS = "attacks"  # key of the counts in the properties of a test, which reach the session from its workers too


@pytest.fixture(scope="session")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """One arena for all attacks."""
    place = Arena(tmp_path_factory.mktemp("arena"))
    yield place
    place.warm.close()


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers of this test, set by --seed."""
    name = request.node.name.encode()
    return np.random.default_rng([request.config.getoption("--seed"), *name])


@pytest.fixture
def share(request: pytest.FixtureRequest) -> Callable[[float], int]:
    """Returns the number of attacks that a test with this share of all makes."""
    return lambda part: max(1, round(part * request.config.getoption("--attacks")))


@pytest.fixture
def conclude(request: pytest.FixtureRequest, record_property: Callable) -> Callable[[Sequence[Verdict]], None]:
    """Adds verdicts to the table, and fails if one of them is a fault."""

    def check(verdicts: Sequence[Verdict]) -> None:
        record_property(COUNTS, counts(verdicts))
        found = faults(verdicts)
        seed = request.config.getoption("--seed")
        assert not found, f"{len(found)} of {len(verdicts)} attacks succeeded, seed {seed}:{lines(found)}"

    return check


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the counts of all attacks."""
    counted: dict[str, Counter] = {}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for kind, numbers in dict(report.user_properties).get(COUNTS, {}).items():
                counted.setdefault(kind, Counter()).update(numbers)
    if counted:
        terminalreporter.section(f"attacks, seed {config.getoption('--seed')}")
        show(dict(sorted(counted.items())), Console(width=140, force_terminal=False))
