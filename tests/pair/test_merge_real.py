"""The wiki of a real GROWI, merged into a fresh one and into one that has it already."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from tests.e2e.test_real_wiki import SAMPLE, load
from tests.pair.instances import Pair, with_database
from tests.pair.test_merge import picture
from tests.pair.wikis import faults

from growi_transfer.protocol.machine import State


@pytest.mark.skipif(not SAMPLE, reason="GROWI_TRANSFER_SAMPLE_WIKI is not set: no data of a real GROWI are here")
async def test_a_real_wiki_is_merged(pair: Pair, request: pytest.FixtureRequest) -> None:
    sample = Path(os.environ["GROWI_TRANSFER_SAMPLE_WIKI"])
    for instance, folder in ((pair.source, "source/growi_a"), (pair.destination, "destination-before/growi_d")):
        uri = str(instance.settings.mongo_uri)
        load(with_database(uri, instance.database.name), sample / folder)
    shutil.copytree(sample / "source" / "uploads", pair.source.uploads, dirs_exist_ok=True)
    # What has expired since it was recorded would go in the middle of the comparison.
    server = pair.destination.database.client.admin
    server.command({"setParameter": 1, "ttlMonitorEnabled": False})
    request.addfinalizer(lambda: server.command({"setParameter": 1, "ttlMonitorEnabled": True}))
    own = pair.destination.documents("configs")
    known = faults(pair.source.database)  # GROWI names a user who does not exist as the author of its first pages
    row = await pair.push(merge={})
    assert row.position.state is State.COMPLETED, row.facts
    assert faults(pair.destination.database) == known
    for name in ("pages", "revisions", "users", "attachments", "comments", "bookmarks", "tags", "usergroups"):
        assert pair.destination.documents(name) == pair.source.documents(name), name
    assert pair.destination.documents("configs") == own
    assert pair.destination.files() == pair.source.files()
    before = picture(pair)
    row = await pair.push(merge={"pages": "rename", "users": "rename"})
    assert row.position.state is State.COMPLETED, row.facts
    assert picture(pair) == before
