"""The destination's list of incoming transfers, when there are many, and many others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.browser import PROGRAM, browser_page
from tests.fakes.http import serve
from tests.fakes.web import ADMIN_TOKEN, World

from growi_transfer.ledger.base import Role
from growi_transfer.protocol.machine import State
from growi_transfer.web.app import create_app

INSTANCE = {
    "instance_id": "0" * 32,
    "growi_version": "7.3.0",
    "title": None,
    "maintenance_mode": False,
    "retention_seconds": 86400,
    "origin": {"url": "http://wiki.test:3400", "is_set": True, "only_this_machine": False},
    "database": {
        "name": "growi",
        "mongo_version": "6.0.5",
        "replica_set": True,
        "free_bytes": None,
        "pages": 0,
        "users": 0,
        "groups": 0,
    },
    "storage": {"type": "new", "writable": True, "fault": None, "free_bytes": None, "attachments": 1, "bytes": 1},
    "limits": {
        "active_users": 3,
        "users": 25,
        "attachment_bytes": 1 << 30,
        "file_bytes": 1 << 20,
        "uploads_disabled": True,
    },
}


async def _instance() -> dict[str, Any]:
    return INSTANCE


@pytest.mark.skipif(PROGRAM is None, reason="no Chromium on PATH")
async def test_older_transfers_are_shown_by_and_by(tmp_path: Path) -> None:
    world = World(tmp_path / "data")
    world.services = replace(world.services, instance=_instance)
    for number in range(24):
        await world.row(Role.RECEIVER, f"{number:032x}", State.CANCELLED)
        world.clock.advance(seconds=1)
    for number in range(110):  # as many as the live list has at all
        await world.row(Role.PUSHER, f"{number:032x}", State.CANCELLED)
        world.clock.advance(seconds=1)
    async with serve(create_app(world.open_services)) as address, browser_page(tmp_path / "profile") as page:
        await page.open(f"http://{address}/destination")
        await page.until("document.querySelector('[name=token]')")
        await page.run(f"document.querySelector('[name=token]').value = '{ADMIN_TOKEN}'")
        await page.run("document.querySelector('form button').click()")
        shown = "[...document.querySelectorAll('#incoming article')].map((one) => parseInt(one.dataset.transfer, 16))"
        more = "document.querySelector('#incoming-part > .actions button')"
        for many in (10, 20, 24):
            await page.until(f"document.querySelectorAll('#incoming article').length == {many}")
            assert await page.run(shown) == list(range(23, 23 - many, -1))
            assert await page.run(f"{more}.hidden") is (many == 24)
            await page.run(f"{more}.click()")
        await page.until("document.querySelector('#summary [data-summary=limits]')")
        limits = await page.run("document.querySelector('#summary [data-summary=limits]').textContent")
        assert [one for one in ("3 of 25", "1 B of 1 GiB", "1 MiB", "switched off in GROWI") if one not in limits] == []
        assert await page.run("document.querySelector('#problems').children.length") == 0

        # A key whose time runs out before one's eyes is told to be over, without asking the server.
        await page.run("document.querySelector('#issue').click()")
        await page.until("document.querySelector('#keys .badge.good')")
        world.clock.advance(minutes=29, seconds=58)
        await page.run("document.querySelector('#look-again').click()")
        await page.until("document.querySelector('#keys .badge.warn')?.textContent == 'Ends soon'")
        await page.until("document.querySelector('#keys details')?.textContent.includes('Expired')")
        assert "No key is valid now." in await page.run("document.querySelector('#keys').textContent")
        assert page.complaints == []
