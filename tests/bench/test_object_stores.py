"""The measurement itself, with little to measure: what it prints is there, and what arrived is right."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.bench.object_stores import large_between_buckets, measure
from tests.fakes.object_servers import ObjectServer, cannot, s3_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    if shutil.which("rclone") is None:
        cannot("rclone is not installed")
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.mark.timeout(300)
def test_every_row_is_measured(tmp_path: Path, server: ObjectServer) -> None:
    rows = measure(tmp_path, server, files=20, file_size=5_000, large=0, repeat=1)["small_files"]
    assert rows["files"] == 20
    for row in ("local_to_s3", "s3_to_s3", "s3_inside"):
        assert rows[row]["seconds"] > 0
        assert rows[row]["ratio"] > 0


@pytest.mark.timeout(300)
def test_a_large_file_between_buckets_takes_little_memory(tmp_path: Path, server: ObjectServer) -> None:
    assert 50 < large_between_buckets(tmp_path, server, 200_000_000).peak_mib < 250
