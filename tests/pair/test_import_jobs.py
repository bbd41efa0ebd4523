"""Imports as jobs, on a real server: what came out by a job goes in by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.pair.jobs import API, Server, fill, open_server

IMPORTS = f"{API}/import-jobs"


@pytest.fixture
async def server(tmp_path: Path, mongo_uri: str, mongo_database_name: str) -> AsyncIterator[Server]:
    async with open_server(tmp_path, mongo_uri, mongo_database_name) as opened:
        fill(opened)
        yield opened


async def archive(server: Server, **wanted: Any) -> bytes:
    done = await server.export(**wanted)
    return (await server.get(done["download"]["url"]))[2]


async def put(server: Server, body: bytes) -> dict[str, Any]:
    return dict((await server.call("POST", IMPORTS, body, status=202))["job"])


@pytest.mark.parametrize("form", ["bson", "growi"])
async def test_a_wiki_comes_back_as_it_was(server: Server, form: str) -> None:
    body = await archive(server, format=form)
    pages = server.wiki.documents("pages")
    server.wiki.database["pages"].delete_many({"_id": {"$gt": 10}})
    [lost, *_] = (server.wiki.uploads / "attachment").iterdir()
    content = lost.read_bytes()
    if form == "bson":
        lost.unlink()
    job = await put(server, body)
    assert (job["state"], job["request"]) == ("queued", {"format": form, "bytes": len(body)})
    done = await server.ended(job)
    assert (done["state"], done["percent"], done["errors"]) == ("completed", 100, [])
    assert server.wiki.documents("pages") == pages
    assert lost.read_bytes() == content
    assert done["result"]["transfer"]["id"] == done["transfer_id"]
    assert [name for name in server.files if name.endswith(".upload")] == []
    # It is a transfer, so it can be undone like any other.
    await server.call("POST", f"{API}/g2g-transfer/transfers/{done['transfer_id']}/rollback")
    assert len(server.wiki.documents("pages")) == 11
    listed = await server.call("GET", f"{API}/jobs?type=transfer")
    assert [(one["id"], one["state"]) for one in listed["jobs"]] == [(done["transfer_id"], "rolled_back")]
    for status, number in (("rolled_back", 1), ("completed", 2), ("rolled_back,completed", 3), ("queued", 0)):
        found = await server.call("GET", f"{API}/jobs?status={status}")
        assert (found["total"], len(found["jobs"])) == (number, number), status
    every = await server.call("GET", f"{API}/jobs?size=2")
    assert ([one["type"] for one in every["jobs"]], every["total"]) == (["transfer", "import"], 3)
    assert (await server.call("GET", f"{API}/jobs?size=2&page=2"))["jobs"][0]["type"] == "export"


async def test_what_is_no_archive_is_refused_at_once(server: Server) -> None:
    for body in (b"", b"no zip", b"PK\x05\x06" + bytes(18)):
        answer = await server.call("POST", IMPORTS, body, status=400)
        assert answer["errors"][0]["code"] == "archive_invalid", answer
    assert (await server.call("GET", IMPORTS))["total"] == 0
    assert server.files == []
    assert list((server.wiki.settings.data_dir / "spool").iterdir()) == []
    answer = await server.call("POST", IMPORTS, b"no zip", headers={}, status=403)
    assert answer["errors"][0]["code"] == "admin_required"


async def test_a_damaged_archive_fails_and_changes_nothing(server: Server) -> None:
    body = bytearray(await archive(server, attachments=False))
    pages = server.wiki.documents("pages")
    at = body.index(b"pages.bson") + 60
    body[at : at + 4] = b"\xff\xff\xff\xff"
    done = await server.ended(await put(server, bytes(body)))
    assert done["state"] == "failed"
    [error] = done["errors"]
    assert (error["kind"], error["code"]) == ("job", "archive_invalid")
    assert server.wiki.documents("pages") == pages
    assert server.wiki.own_collections() == []


class Stopped:
    """Keeps an import before its verification until it is let go."""

    def __init__(self, server: Server, monkeypatch: pytest.MonkeyPatch, method: str = "verify") -> None:
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()
        receiver = server.services.receiver
        assert receiver is not None
        original = getattr(receiver, method)

        async def waiting(*arguments: Any, **named: Any) -> Any:
            self.reached.set()
            await self.go_on.wait()
            return await original(*arguments, **named)

        monkeypatch.setattr(receiver, method, waiting)


async def test_a_cancelled_import_leaves_the_wiki_as_it_was(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    body = await archive(server)
    server.wiki.database["pages"].delete_many({"_id": {"$gt": 10}})
    stopped = Stopped(server, monkeypatch)
    first, second = await put(server, body), await put(server, body)
    await stopped.reached.wait()
    assert (await server.until(second, "queued"))["percent"] == 0  # two do not come in at once
    async with asyncio.timeout(30):
        while not (await server.until(first, "running"))["percent"]:
            await asyncio.sleep(0.05)
    for job in (second, first):
        cancelled = await server.call("POST", f"{IMPORTS}/{job['id']}/cancel")
        assert cancelled["job"]["state"] == "cancelled"
    assert len(server.wiki.documents("pages")) == 11
    assert server.wiki.own_collections() == []
    assert [name for name in server.files if name.endswith(".upload")] == []
    stopped.go_on.set()
    assert (await server.ended(await put(server, body)))["state"] == "completed"


async def test_cancelled_again_and_again_is_answered_when_all_is_tidy(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = await archive(server)
    stopped = Stopped(server, monkeypatch)
    job = await put(server, body)
    await stopped.reached.wait()
    receiver: Any = server.services.receiver
    cancel, reached, go_on = receiver.cancel, asyncio.Event(), asyncio.Event()

    async def waiting(*arguments: Any, **named: Any) -> Any:
        reached.set()
        await go_on.wait()
        return await cancel(*arguments, **named)

    monkeypatch.setattr(receiver, "cancel", waiting)
    path = f"{IMPORTS}/{job['id']}/cancel"
    first = asyncio.ensure_future(server.call("POST", path))
    await reached.wait()
    others = [asyncio.ensure_future(server.call("POST", path)) for _ in range(3)]
    done, _ = await asyncio.wait({first, *others}, timeout=0.5)
    assert not done
    go_on.set()
    for answer in await asyncio.gather(first, *others):
        assert answer["job"]["state"] == "cancelled"
    assert server.wiki.own_collections() == []


async def test_a_commit_that_has_begun_is_not_cancelled(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    body = await archive(server, attachments=False)
    reached, go_on = asyncio.Event(), asyncio.Event()
    receiver: Any = server.services.receiver
    committer = receiver._endings._committer
    run = committer.run

    async def waiting(*arguments: Any, **named: Any) -> Any:
        reached.set()
        await go_on.wait()
        return await run(*arguments, **named)

    monkeypatch.setattr(committer, "run", waiting)
    job = await put(server, body)
    await reached.wait()
    answer = await server.call("POST", f"{IMPORTS}/{job['id']}/cancel", status=409)
    assert answer["errors"][0]["code"] == "state_conflict"
    go_on.set()
    assert (await server.ended(job))["state"] == "completed"


@pytest.mark.parametrize("method", ["verify", "commit"])
async def test_an_interrupted_import_is_begun_anew(
    tmp_path: Path, mongo_uri: str, mongo_database_name: str, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    async with open_server(tmp_path, mongo_uri, mongo_database_name) as server:
        fill(server)
        body = await archive(server)
        server.wiki.database["pages"].delete_many({})
        stopped = Stopped(server, monkeypatch, method)
        job = await put(server, body)
        await stopped.reached.wait()
        # As if the process were killed: nothing is tidied up.
        receiver: Any = server.services.receiver
        monkeypatch.setattr(receiver, "cancel", _never)
    async with open_server(tmp_path, mongo_uri, mongo_database_name) as server:
        done = await server.ended(job)
        assert (done["state"], done["tries"]) == ("completed", 2)
        assert len(server.wiki.documents("pages")) == 50
        assert server.wiki.own_collections() == []


async def _never(*_: Any, **__: Any) -> Any:
    raise asyncio.CancelledError
