"""`growi-transfer demo` and `bench` as a user runs them: real servers, real databases, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.folders import data_folder

SMALL = ["--pages", "30", "--revisions", "2", "--attachments", "12", "--attachment-size", "3000", "--body-size", "800"]


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Path]:
    with data_folder(tmp_path) as folder:
        yield folder


def start(*arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    command = [sys.executable, "-m", "growi_transfer", *arguments]
    return subprocess.Popen(
        command, env=environment, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, list[str], str]:
    try:
        out, err = process.communicate(timeout=100)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, out.splitlines(), err


def test_the_demo_moves_a_wiki_and_finds_it_identical(work: Path) -> None:
    process = start("demo", *SMALL, "--json", "--keep", "--work-dir", str(work))
    assert process.stderr is not None
    told = []
    for line in process.stderr:
        told.append(line)
        if line.startswith("Everything is in"):
            break
    # Both servers are kept until somebody stops the demo.
    assert "".join(told).count("admin token") == 2
    process.send_signal(signal.SIGTERM)
    code, lines, err = finish(process)
    assert code == 0, err
    result: dict[str, Any] = json.loads(lines[-1])
    assert list(result) == [
        "ok",
        "documents",
        "document_bytes",
        "attachments",
        "attachment_bytes",
        "seconds",
        "mongo_seconds",
        "attachment_seconds",
        "verify_seconds",
        "verified",
        "peak_rss_mib",
    ]
    assert result["ok"] is True
    assert result["attachments"] == 12
    assert result["attachment_bytes"] > 6 << 20
    assert result["documents"] > 30 * 2
    assert result["verified"].keys() == {"collections", "indexes", "attachments", "mismatches"}
    assert result["verified"]["mismatches"] == 0
    assert result["verified"]["collections"] > 40
    assert result["verified"]["indexes"] > 100
    assert 20 < result["peak_rss_mib"]["pusher"] < 250
    assert 20 < result["peak_rss_mib"]["receiver"] < 250
    assert 0 < result["verify_seconds"] < result["seconds"]
    states = [json.loads(line)["state"] for line in lines[:-1]]
    assert states[-1] == "completed"
    assert "copying" in states
    # Nothing is left behind.
    assert list(work.iterdir()) == []


def test_a_damaged_destination_is_found(work: Path) -> None:
    expected = {
        "flip-document": "differs in body",
        "drop-index": "index path_1 of pages: missing at the destination",
        "truncate-file": "differs from byte",
    }
    # One transfer for all three: each is a difference of its own, and there is no other.
    breaks = [argument for damage in expected for argument in ("--break", damage)]
    code, lines, err = finish(start("demo", *SMALL, "--json", "--work-dir", str(work), *breaks))
    assert code == 1, err
    result = json.loads(lines[-1])
    assert result["ok"] is False
    assert result["verified"]["mismatches"] == len(result["differences"]) == len(expected)
    for told in expected.values():
        assert [told in difference for difference in result["differences"]].count(True) == 1, result["differences"]


def test_a_stopped_demo_leaves_nothing_behind(work: Path) -> None:
    process = start("demo", *SMALL, "--work-dir", str(work))
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("Receiver at"):
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 4, err
    assert list(work.iterdir()) == []


def test_bench_measures_workloads_and_names_missing_peers(work: Path) -> None:
    sizes = [
        "--documents",
        "200",
        "--body-size",
        "500",
        "--files",
        "20",
        "--only",
        "revisions",
        "--only",
        "small_files",
    ]
    code, lines, err = finish(start("bench", *sizes, "--json", "--work-dir", str(work)))
    assert code == 0, err
    [line] = lines
    result = json.loads(line)
    assert result.keys() == {"workloads", "peers", "missing_peers", "machine"}
    assert {*result["peers"], *result["missing_peers"]} == {"mongodump", "mongorestore", "rclone", "tar", "cp"}
    assert result["workloads"].keys() == {"revisions", "small_files"}
    revisions, small = result["workloads"]["revisions"], result["workloads"]["small_files"]
    for measured in (revisions["stored"], revisions["deflated"], small["transfer"]):
        assert measured["copy_seconds"] > 0
        assert measured["peak_rss_mib"].keys() == {"pusher", "receiver"}
    assert revisions["documents"] >= 200
    assert (small["files"], small["bytes"]) == (20, 20 * 50_000)
    assert small["ratios"].keys() == {f"to_{peer}" for peer in ("cp", "tar", "rclone") if peer in result["peers"]}
    assert ("ratios" in revisions) == ("mongodump" in result["peers"])
    assert list(work.iterdir()) == []


def test_an_unknown_way_to_break_is_wrong_usage() -> None:
    code, lines, err = finish(start("demo", "--break", "everything"))
    assert code == 2
    assert lines == []
    assert "--break is one of" in err


def test_the_plan_of_a_complete_transfer_is_timed(work: Path) -> None:
    """More attachments than a page of the plan has."""
    code, lines, err = finish(start("bench", "--plan-rows", "2500", "--json", "--work-dir", str(work)))
    assert code == 0, err
    plan = json.loads(lines[-1])["plan"]
    assert plan["rows"] == 2500
    assert 0 < plan["plan_seconds"] <= plan["seconds"]
    assert plan["peak_rss_mib"].keys() == {"pusher", "receiver"}
    assert list(work.iterdir()) == []


def test_what_watchers_cost_is_timed(work: Path) -> None:
    sizes = ["--watchers", "8", "--documents", "200", "--body-size", "500"]
    code, lines, err = finish(start("bench", *sizes, "--json", "--work-dir", str(work)))
    assert code == 0, err
    result = json.loads(lines[-1])["watchers"]
    assert (result["sockets"], result["streams"]) == (8, 2)
    # Each is told at least how it begins and how it ends.
    assert result["told"]["socket_io"] >= 16
    assert result["told"]["events"] >= 4
    assert result["ratio"] > 0
    assert result["alone"]["seconds"] > 0
    assert list(work.iterdir()) == []
