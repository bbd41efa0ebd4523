"""Whole transfers between wikis that keep their attachments in any two of GROWI's storages."""

from __future__ import annotations

import pytest
from tests.pair.stores import Opens, wikis

from growi_transfer.ledger.base import Role
from growi_transfer.protocol.machine import State

__all__ = ["wikis"]
KINDS = ("local", "gridfs", "aws", "azure")


@pytest.mark.parametrize("destination", KINDS)
@pytest.mark.parametrize("source", KINDS)
async def test_a_wiki_moves_between_any_two_storages(source: str, destination: str, wikis: Opens) -> None:
    async with wikis(source, destination) as both:
        wanted = both.fill()
        row = await both.pair.push()
        assert row.position.state is State.COMPLETED, row.facts.get("error")
        assert both.destination.digests() == wanted
        assert [name for name in both.destination.names() if "uploads" in name] == []


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_there_is_not_sent_again(kind: str, wikis: Opens) -> None:
    async with wikis("local", kind) as both:
        both.add("small.bin", b"small")
        both.add("large.bin", bytes(9_000_000))
        brought = []
        for _ in range(2):
            row = await both.pair.push()
            assert row.position.state is State.COMPLETED, row.facts.get("error")
            files = both.pair.to_destination.ledger.files(Role.RECEIVER, row.id)
            brought.append([file.facts.get("created") or bool(file.facts.get("aside")) async for file in files])
        assert brought == [[True, True], [False, False]]


async def test_google_cloud_storage_there_and_back(wikis: Opens) -> None:
    async with wikis("gcs", "gcs") as both:
        wanted = both.fill()
        row = await both.pair.push()
        assert row.position.state is State.COMPLETED, row.facts.get("error")
        assert both.destination.digests() == wanted
