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
    """Lines for the end of the report: what was counted, and the worst case."""

    def random(self, name: str) -> random.Random:
        """Random choices of one test."""
        return random.Random(f"{self.seed} {name}")

    def at_most(self, usual: int) -> int:
        """How many rounds to make where CI makes `usual`."""
        return usual if self.runs is None else self.runs


_ROUNDS = pytest.StashKey[Rounds]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--runs", type=int, metavar="N", help="rounds of each random fault test, instead of CI's few")
    parser.addoption("--seed", type=int, default=SEED, metavar="N", help="seed of the random fault tests")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_ROUNDS] = Rounds(config.getoption("--seed"), config.getoption("--runs"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rounds = config.stash[_ROUNDS]
    if rounds.told:
        terminalreporter.section(f"random rounds, --seed {rounds.seed}")
        for line in rounds.told:
            terminalreporter.line(line)


@pytest.fixture(scope="session")
def rounds(request: pytest.FixtureRequest) -> Rounds:
    """Number and seed of random rounds."""
    return request.config.stash[_ROUNDS]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.failed and "rounds" in getattr(item, "fixturenames", ()):
        report.sections.append(("random rounds", f"--seed {item.config.getoption('--seed')}"))
    return report
