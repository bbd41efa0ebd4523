"""Seconds that each group of tests may take, so that the whole stays under 15 minutes on two cores.

Added up over the processes that run tests at once (three in `.ci/run`), which wait for one another's use of the cores.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

BUDGETS = {"unit": 200, "contract": 240, "mongo": 100, "pair": 800, "faults": 400, "e2e": 560, "bench": 60}
"""By folder below tests/. Together at most three times 790: installing and checking take the rest."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--budgets", action="store_true", help="fail when a group of tests takes longer than its budget")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Clock(config.getoption("--budgets")))


class _Clock:
    def __init__(self, enforced: bool) -> None:
        self._enforced = enforced
        self._spent: defaultdict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._spent[Path(report.nodeid.split("::")[0]).parts[1]] += report.duration

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if self._enforced and exitstatus == pytest.ExitCode.OK and self._over():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._enforced:
            return
        terminalreporter.section("seconds by group")
        over = self._over()
        for group, seconds in sorted(self._spent.items()):
            mark = "  OVER BUDGET" if group in over else ""
            terminalreporter.line(f"{group:20} {seconds:6.1f} of {BUDGETS.get(group, 0):3}{mark}", red=group in over)

    def _over(self) -> set[str]:
        return {group for group, seconds in self._spent.items() if seconds > BUDGETS.get(group, 0)}
