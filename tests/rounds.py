"""How many random rounds a fault test makes, and from which seed: few on CI, as many as wanted by hand.

pytest tests/faults tests/e2e/test_kill.py --runs 500 --seed 7
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

SEED = 20260101


@dataclass(frozen=True)
class Rounds:
    """`seed` begins every random choice; `runs` is what was asked for by hand, or None."""

    seed: int
    runs: int | None
    told: list[str] = field(default_factory=list)
    """Lines for the end of the report: what was counted, and the worst case. They go with the test's own report,
    because tests may run in several processes."""

    def random(self, name: str) -> random.Random:
        """Random choices of one test."""
        return random.Random(f"{self.seed} {name}")

    def at_most(self, usual: int) -> int:
        """How many rounds to make where CI makes `usual`."""
        return usual if self.runs is None else self.runs


_ROUNDS = pytest.StashKey[Rounds]()
_PROPERTY = "random_rounds"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--runs", type=int, metavar="N", help="rounds of each random fault test, instead of CI's few")
    parser.addoption("--seed", type=int, default=SEED, metavar="N", help="seed of the random fault tests")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_ROUNDS] = Rounds(config.getoption("--seed"), config.getoption("--runs"))
    config.pluginmanager.register(_Told(config.getoption("--seed")))


class _Told:
    """Prints what the tests have counted."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._lines: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self._lines += [str(value) for name, value in report.user_properties if name == _PROPERTY]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._lines:
            terminalreporter.section(f"random rounds, --seed {self._seed}")
            for line in self._lines:
                terminalreporter.line(line)


@pytest.fixture(scope="session")
def rounds(request: pytest.FixtureRequest) -> Rounds:
    """Number and seed of random rounds."""
    return request.config.stash[_ROUNDS]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    told = item.config.stash[_ROUNDS].told
    report.user_properties += [(_PROPERTY, line) for line in told]
    told.clear()
    if report.failed and "rounds" in getattr(item, "fixturenames", ()):
        report.sections.append(("random rounds", f"--seed {item.config.getoption('--seed')}"))
    return report
