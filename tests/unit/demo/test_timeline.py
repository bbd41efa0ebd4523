from __future__ import annotations

from typing import Any

from growi_transfer.demo.timeline import Timeline


def shape(
    state: str, documents: tuple[int, int] = (0, 0), files: tuple[int, int] = (0, 0), skipped: int = 0
) -> dict[str, Any]:
    return {
        "state": state,
        "documents": {"done": documents[0], "total": documents[1]},
        "files": {"done": files[0], "total": files[1], "skipped": skipped},
    }


def test_each_part_has_its_own_time() -> None:
    timeline = Timeline(100.0)
    timeline.observe(shape("created"), 100.5)
    timeline.observe(shape("copying", (0, 10), (0, 4)), 101.0)
    timeline.observe(shape("copying", (10, 10), (1, 4)), 104.0)
    timeline.observe(shape("copying", (10, 10), (3, 4), skipped=1), 107.0)
    timeline.observe(shape("reconciling", (10, 10), (4, 4)), 108.0)
    timeline.observe(shape("indexing", (10, 10), (4, 4)), 108.5)
    timeline.observe(shape("verifying", (10, 10), (4, 4)), 110.0)
    timeline.observe(shape("completed", (10, 10), (4, 4)), 113.0)
    assert timeline.seconds == 13.0
    assert timeline.in_state("copying") == 7.0
    assert timeline.in_state("indexing", "verifying") == 4.5
    assert timeline.document_seconds == 3.0
    assert timeline.attachment_seconds == 6.0


def test_work_that_comes_back_moves_the_end() -> None:
    timeline = Timeline(0.0)
    timeline.observe(shape("copying", (5, 5)), 0.0)
    timeline.observe(shape("copying", (5, 8)), 1.0)
    timeline.observe(shape("copying", (8, 8)), 4.0)
    timeline.observe(shape("completed", (8, 8)), 5.0)
    assert timeline.document_seconds == 4.0
    assert timeline.attachment_seconds == 0.0


def test_a_transfer_of_which_nothing_was_seen_took_no_time() -> None:
    timeline = Timeline(3.0)
    assert (timeline.seconds, timeline.document_seconds, timeline.attachment_seconds) == (0.0, 0.0, 0.0)
