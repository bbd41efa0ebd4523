"""A process is told apart from every other one, also from a later one of the same number."""

from __future__ import annotations

import os
import subprocess
import sys

from growi_transfer.ledger.process import is_gone, peak_rss_mib, process_name


def test_this_process_is_not_gone() -> None:
    assert not is_gone(process_name())


def test_a_process_that_ended_is_gone() -> None:
    program = "from growi_transfer.ledger.process import process_name; print(process_name())"
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environ)
    assert is_gone(ended.stdout.strip())


def test_a_number_that_is_used_again_is_another_process() -> None:
    start = process_name().rpartition("|")[0]
    assert is_gone(f"{start}|12345")


def test_nobody_knows_about_another_machine() -> None:
    assert not is_gone("elsewhere|boot|1|5")
    assert not is_gone("nonsense")


def test_before_the_last_boot_nothing_of_this_machine_is_left() -> None:
    host = process_name().split("|")[0]
    assert is_gone(f"{host}|another-boot|{os.getpid()}|1")


def test_the_peak_is_that_of_this_process() -> None:
    peak = peak_rss_mib()
    assert peak is not None
    assert 10 < peak < 10_000
