"""The watch page as a person meets it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes.browser import PROGRAM, Page, browser_page
from tests.fakes.http import serve
from tests.fakes.web import ADMIN_TOKEN, OTHER, TRANSFER, World

from growi_transfer.ledger.base import Role
from growi_transfer.ledger.log import TransferLog
from growi_transfer.protocol.errors import StateConflict
from growi_transfer.protocol.machine import Position, State
from growi_transfer.protocol.progress import Activity, Failure, ItemFailed, Lane, Noted, Notice, Snapshot, WarningRaised
from growi_transfer.protocol.shape import to_json
from growi_transfer.web.app import create_app

HOSTILE = "<img src=x onerror=document.title='owned'>"
MOVING = Snapshot(
    TRANSFER,
    "pusher",
    position=Position(State.COPYING),
    documents_done=48_211,
    documents_total=100_000,
    bytes_done=181 << 20,
    bytes_total=512 << 20,
    bytes_wire=160 << 20,
    files_done=1220,
    files_total=3000,
    files_failed=1,
    files_skipped=2,
    bytes_per_second=74.2 * (1 << 20),
    files_per_second=1512.4,
    documents_per_second=20_110.5,
    failures=(Failure(HOSTILE, "file", "file_not_found", HOSTILE, 3, False),),
    warnings=(Notice("password_seed_mismatch", HOSTILE, {"users": 12}),),
    activity=Activity(Lane(2, 3, 1), Lane(4, 4), {"peer_unavailable": 7}),
)
SHOWN = (
    "Outgoing transfer", TRANSFER, "Copying", "growi-transfer on both sides", "181 MiB of 512 MiB",
    "48,211 of 100,000", "1,220 of 3,000", "74.2 MiB/s", "20,110.5", "1,512.4", "4 s", "160 MiB", "file_not_found",
    "password_seed_mismatch", HOSTILE, "7 × peer_unavailable", "2 of 3, 1 waiting",
)  # fmt: skip

LOSE_DETAILS = """{ const real = fetch; globalThis.lost = 0; globalThis.fetch = (url, ...more) =>
  lost === 0 && url.includes("/details") ? Promise.reject(new Error(++lost)) : real(url, ...more); }"""


async def log_in(page: Page, token: str) -> None:
    await page.run(f"document.querySelector('[name=token]').value = '{token}'")
    await page.run("document.querySelector('main form button').click()")


async def buttons(page: Page) -> list[str]:
    return list(await page.run("[...document.querySelectorAll('#now .actions button')].map((one) => one.textContent)"))


async def called(world: World, names: list[str]) -> None:
    async with asyncio.timeout(20):
        while [name for name, _ in world.pusher.calls] != names:
            await asyncio.sleep(0.02)


@pytest.mark.skipif(PROGRAM is None, reason="no Chromium on PATH")
async def test_a_person_logs_in_and_watches(tmp_path: Path) -> None:
    world = World(tmp_path / "data")
    await world.row(Role.PUSHER)
    await world.row(Role.RECEIVER, OTHER)
    await world.board.put(MOVING)
    await world.board.put(Snapshot(OTHER, "receiver", position=Position(State.READY)))
    nobody: set[str] = set()

    async def is_owned(_: Role, transfer_id: str) -> bool:
        return transfer_id not in nobody

    world.services = replace(world.services, is_owned=is_owned)
    app = create_app(world.open_services)
    async with serve(app) as address, browser_page(tmp_path / "profile") as page:
        await page.open(f"http://{address}/transfers/{TRANSFER}")
        await page.until("document.querySelector('[name=token]')")
        await log_in(page, "wrong")
        await page.until("document.querySelector('[data-code=admin_required]')")
        await log_in(page, ADMIN_TOKEN)
        await page.until("document.querySelector('.line.live')")
        assert await page.run("location.pathname") == f"/transfers/{TRANSFER}"
        await page.until("document.querySelector('#failures li')")
        text = await page.run("document.querySelector('main').textContent")
        assert [words for words in SHOWN if words not in text] == []
        assert await page.run("document.querySelectorAll('main img').length") == 0
        assert await page.run("document.title") == "Copying · growi-transfer"

        await page.open(f"http://{address}/transfers")
        await page.until(
            "document.querySelectorAll('.transfers > li').length == 2 && document.querySelector('.line.live')"
        )
        await world.board.put(replace(MOVING, bytes_done=400 << 20, files_failed=0, failures=()))
        await page.until("document.body.textContent.includes('400 MiB')")

        # The process that ran it is gone: who looks finds it stopped, and can resume it.
        nobody.add(TRANSFER)
        await page.open(f"http://{address}/transfers")
        await page.until("document.querySelector('.transfers .badge[data-state=interrupted]')")
        assert await page.run("[...document.querySelectorAll('.transfers button')].map((one) => one.textContent)") == [
            "Resume"
        ]
        await page.open(f"http://{address}/transfers/{TRANSFER}")
        await page.until("document.querySelector('#now .badge[data-state=interrupted]')")
        assert await buttons(page) == ["Resume", "Cancel transfer"]
        assert "the process that ran it has ended" in await page.run("document.querySelector('#now').textContent")
        nobody.clear()
        await page.run("document.querySelector('[data-verb=resume]').click()")
        await called(world, ["resume"])
        world.pusher.calls.clear()
        await page.until("document.querySelector('[data-verb=pause]')")
        assert not await page.run("document.querySelector('#failures').checkVisibility()")
        await world.board.put(MOVING)
        await page.until("document.querySelector('#failures').checkVisibility()")
        assert await buttons(page) == ["Pause", "Cancel transfer"]
        assert "2 of 3, 1 waiting" in await page.run("document.querySelector('main').textContent")
        await page.run("document.querySelector('[data-verb=pause]').click()")
        await called(world, ["pause"])
        await page.until("!document.querySelector('#now .actions button:disabled')")
        await page.run("document.querySelector('[data-verb=cancel]').click()")
        await page.until("document.querySelector('dialog[open]')")
        await page.run("document.querySelector('dialog .quiet').click()")
        await page.until("!document.querySelector('dialog[open]')")
        await page.run("document.querySelector('[data-verb=cancel]').click()")
        await page.run("document.querySelector('dialog [value=yes]').click()")
        await called(world, ["pause", "cancel"])
        await world.ledger.set_facts(Role.PUSHER, TRANSFER, {"progress": to_json(MOVING)}, world.clock())
        await world.ledger.set_facts(
            Role.PUSHER, TRANSFER, {"error": {"code": "away", "message": "Nobody."}}, world.clock()
        )
        # What is asked for at the last change may be lost on the way: it is asked for again.
        await page.run(LOSE_DETAILS)
        world.pusher.fails = StateConflict("It is too late.")
        await world.board.put(replace(MOVING, position=Position(State.FAILED, State.COPYING)))
        await world.ledger.move_transfer(
            Role.PUSHER, TRANSFER, Position(State.COPYING), Position(State.FAILED, State.COPYING), world.clock()
        )
        await page.until("document.querySelector('[data-verb=retry]')")
        await page.until("document.querySelector('.badge[data-state=failed]')")
        assert await buttons(page) == ["Retry failed", "Cancel transfer"]
        await page.until("document.querySelector('#now .note.bad').textContent.startsWith('Nobody.')")
        assert await page.run("lost") == 1
        await page.run("document.querySelector('[data-verb=retry]').click()")
        await page.until("document.querySelector('#now .problem[role=alert]').textContent == 'It is too late.'")
        assert await page.run("document.querySelectorAll('#now .actions button:disabled').length") == 0

        # The log in the reader's language; the server's sentence where it is more exact, or there is no other.
        log = TransferLog(world.ledger, world.clock, "0000")
        for event in (
            Noted("asked", "resume, by …", {"verb": "proceed", "by": "the server (process 7 on wiki)"}),
            Noted("pass_begun", "A pass over everything begins.", {"collections": 9, "over": "everything"}),
            ItemFailed(Failure("a.png", "file", "digest_mismatch", "It differs.", 3, True)),
            WarningRaised(Notice("source_away", "The source does not answer.", {})),
            Noted("of_later", "What only a newer server says.", {}),
        ):
            log.observe(Role.PUSHER, TRANSFER, event)
        await log.flush()
        await page.open(f"http://{address}/transfers/{TRANSFER}")
        await page.until("document.querySelectorAll('.log li').length == 5")
        lines = await page.run("document.querySelector('.log').textContent")
        assert "Resume, by the server (process 7 on wiki)" in lines
        assert "file a.png: It differs." in lines
        await page.run("localStorage.setItem('growi-transfer.language', 'ja')")
        await page.open(f"http://{address}/transfers/{TRANSFER}?ja")
        await page.until("document.documentElement.lang == 'ja' && document.querySelectorAll('.log li').length == 5")
        lines = await page.run("document.querySelector('.log').textContent")
        for words in ("再開(サーバー(プロセス 7、wiki) から)", "コレクション 9 件", "ファイル a.png: ", "応答しません"):
            assert words in lines
        assert "What only a newer server says." in lines

        await app.release_watchers()
        await page.until("document.querySelector('.line').dataset.state != 'live'")
        await page.run("document.querySelector('#logout').click()")
        await page.until("document.querySelector('[name=token]')")
        assert page.complaints == []
