"""Exports as jobs, on a real server: asked for, watched, downloaded, cancelled, cleaned away."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import zipfile
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.pair.jobs import ADMIN, API, Server, fill, open_server

from growi_transfer.jobs.service import Jobs
from growi_transfer.jobs.work import ExportWork
from growi_transfer.ledger.base import Role, TransferRow
from growi_transfer.ledger.jobs import JobKind, JobRow, JobState
from growi_transfer.protocol.errors import StorageUnavailable
from growi_transfer.protocol.machine import Position, State

JOBS = f"{API}/export-jobs"


@pytest.fixture
async def server(tmp_path: Path, mongo_uri: str, mongo_database_name: str) -> AsyncIterator[Server]:
    async with open_server(tmp_path, mongo_uri, mongo_database_name) as opened:
        fill(opened)
        yield opened


async def test_an_export_from_asking_to_the_file(server: Server) -> None:
    async with server.http.post(server.url + JOBS, data=b"{}", headers=ADMIN) as answer:
        assert answer.status == 202
        job = (await answer.json())["job"]
        assert answer.headers["location"] == f"{JOBS}/{job['id']}"
    assert (job["state"], job["percent"], job["download"]) == ("queued", 0, None)
    done = await server.ended(job)
    assert (done["state"], done["percent"], done["errors"]) == ("completed", 100, [])
    assert done["progress"]["documents"] == {"done": 54, "total": 54}
    assert done["progress"]["files"] == {"done": 3, "total": 3}
    assert done["node"]
    assert done["started_at"] <= done["finished_at"]
    status, headers, body = await server.get(done["download"]["url"])
    assert status == 200
    digest = hashlib.sha256(body).digest()
    assert digest.hex() == done["file"]["sha256"]
    assert headers["repr-digest"] == f"sha-256=:{base64.b64encode(digest).decode()}:"
    assert headers["content-length"] == str(len(body)) == str(done["file"]["bytes"])
    assert headers["content-disposition"] == f'attachment; filename="{done["file"]["name"]}"'
    names = zipfile.ZipFile(io.BytesIO(body)).namelist()
    assert f"{server.wiki.database.name}/pages.bson" in names
    assert sum(name.startswith("attachments/attachment/") for name in names) == 3


async def test_a_choice_of_collections_in_either_format(server: Server) -> None:
    done = await server.export(format="growi", collections=["pages"])
    assert done["file"]["name"].endswith(".growi.zip")
    _, _, body = await server.get(done["download"]["url"])
    archive = zipfile.ZipFile(io.BytesIO(body))
    assert archive.namelist() == ["pages.json", "meta.json"]
    assert len(json.loads(archive.read("pages.json"))) == 50
    done = await server.export(exclude_collections=["pages"], attachments=False)
    _, _, body = await server.get(done["download"]["url"])
    names = zipfile.ZipFile(io.BytesIO(body)).namelist()
    assert not any("pages" in name or name.startswith("attachments/") for name in names)


async def test_what_cannot_be_asked_for(server: Server) -> None:
    for body, status, code in (
        ({"format": "tar"}, 400, "invalid_request"),
        ({"collections": []}, 400, "invalid_request"),
        ({"format": "growi", "attachments": True}, 400, "invalid_request"),
        ({"collections": ["no_such"]}, 404, "collection_not_found"),
        ({"collections": ["sessions"]}, 400, "collection_illegal"),
        ({"exclude_collections": ["a$b"]}, 400, "collection_illegal"),
    ):
        answer = await server.call("POST", JOBS, body, status=status)
        assert answer["errors"][0]["code"] == code
        assert "Value error" not in answer["errors"][0]["message"]
    for method, path in (("GET", JOBS), ("POST", JOBS), ("GET", f"{JOBS}/{'0' * 32}"), ("GET", f"{API}/jobs")):
        answer = await server.call(method, path, headers={}, status=403)
        assert answer["errors"][0]["code"] == "admin_required"
    for one in ("0" * 32, "no-id"):
        answer = await server.call("GET", f"{JOBS}/{one}", status=404)
        assert answer["errors"][0]["code"] == "job_not_found"


async def test_ranges_of_the_file(server: Server) -> None:
    done = await server.export()
    url = done["download"]["url"]
    status, headers, whole = await server.get(url)
    size, etag, made_at = len(whole), headers["etag"], headers["last-modified"]
    for wanted, part in (
        ("bytes=0-0", whole[:1]),
        ("bytes=10-19", whole[10:20]),
        ("bytes=100-", whole[100:]),
        ("bytes=-7", whole[-7:]),
        (f"bytes=5-{size + 100}", whole[5:]),
    ):
        status, headers, body = await server.get(url, range=wanted)
        assert (status, body) == (206, part), wanted
        first = whole.index(part) if len(part) > 1 else 0
        assert headers["content-range"] == f"bytes {first}-{first + len(part) - 1}/{size}"
        assert headers["etag"] == etag
    for wanted in (f"bytes={size}-", f"bytes={size + 5}-{size + 9}", "bytes=-0"):
        status, headers, body = await server.get(url, range=wanted)
        assert (status, headers["content-range"]) == (416, f"bytes */{size}"), wanted
        assert json.loads(body)["errors"][0]["code"] == "range_not_satisfiable"
    for wanted in ("pages=1-2", "bytes=a-b", "bytes=9-3", "bytes=0-1,4-5", "bytes=-"):
        assert (await server.get(url, range=wanted))[::2] == (200, whole), wanted
    ranged = {"range": "bytes=0-9"}
    assert (await server.get(url, **ranged, **{"if-range": etag}))[0] == 206
    assert (await server.get(url, **ranged, **{"if-range": '"another"'}))[::2] == (200, whole)
    assert (await server.get(url, **ranged, **{"if-range": made_at}))[0] == 206
    assert (await server.get(url, **ranged, **{"if-range": "Sun, 06 Nov 1994 08:49:37 GMT"}))[0] == 200
    status, _, body = await server.get(url, **{"if-none-match": etag})
    assert (status, body) == (304, b"")
    async with server.http.head(server.url + url) as answer:
        assert (answer.status, answer.headers["content-length"]) == (200, str(size))


async def test_a_link_is_for_one_file_and_ends(server: Server) -> None:
    first, second = await server.export(), await server.export(attachments=False)
    link = first["download"]["url"].partition("?")[2]
    plain = f"{JOBS}/{first['id']}/download"
    assert (await server.get(plain))[0] == 403
    assert (await server.get(plain, **ADMIN))[0] == 200
    for url in (f"{JOBS}/{second['id']}/download?{link}", f"{plain}?{link}x", f"{plain}?link="):
        status, _, body = await server.get(url)
        assert (status, json.loads(body)["errors"][0]["code"]) == (403, "link_invalid"), url
    # It opens nothing else.
    assert (await server.get(f"{JOBS}/{first['id']}?{link}"))[0] == 403


class Stopped:
    """Keeps an export in the middle until it is let go."""

    def __init__(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()
        storage = server.services.storage
        read_many = storage.read_many

        async def waiting(*arguments: Any) -> Any:
            self.reached.set()
            await self.go_on.wait()
            return await read_many(*arguments)

        monkeypatch.setattr(storage, "read_many", waiting)


async def test_a_cancelled_export_leaves_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = Stopped(server, monkeypatch)
    job = (await server.call("POST", JOBS, {}, status=202))["job"]
    await stopped.reached.wait()
    running = await server.until(job, "running")
    assert 0 < running["percent"] < 100
    assert server.files
    answer = await server.call("GET", f"{JOBS}/{job['id']}/download", status=409)
    assert answer["errors"][0]["code"] == "state_conflict"
    cancelled = (await server.call("POST", f"{JOBS}/{job['id']}/cancel"))["job"]
    assert (cancelled["state"], cancelled["download"]) == ("cancelled", None)
    assert server.files == []
    assert not [task for task in asyncio.all_tasks() if "_batches" in repr(task) or "export_archive" in repr(task)]
    again = await server.call("POST", f"{JOBS}/{job['id']}/cancel")
    assert again["job"]["state"] == "cancelled"


async def test_a_finished_export_cannot_be_cancelled(server: Server) -> None:
    done = await server.export(attachments=False)
    answer = await server.call("POST", f"{JOBS}/{done['id']}/cancel", status=409)
    assert answer["errors"][0]["code"] == "state_conflict"
    assert (await server.get(done["download"]["url"]))[0] == 200


async def test_no_more_than_so_many_at_once_and_lists(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = Stopped(server, monkeypatch)
    jobs = [(await server.call("POST", JOBS, {}, status=202))["job"] for _ in range(4)]
    for job in jobs[:2]:
        await server.until(job, "running")
    await stopped.reached.wait()
    queued = await server.call("GET", f"{JOBS}?status=queued")
    assert [job["id"] for job in queued["jobs"]] == [jobs[3]["id"], jobs[2]["id"]]
    assert (await server.call("POST", f"{JOBS}/{jobs[2]['id']}/cancel"))["job"]["state"] == "cancelled"
    stopped.go_on.set()
    for job in (jobs[0], jobs[1], jobs[3]):
        assert (await server.ended(job))["state"] == "completed"
    page = await server.call("GET", f"{JOBS}?page=2&size=3")
    assert ([job["id"] for job in page["jobs"]], page["total"]) == ([jobs[0]["id"]], 4)
    both = await server.call("GET", f"{API}/jobs?type=export&status=completed,cancelled")
    assert [job["id"] for job in both["jobs"]] == [job["id"] for job in reversed(jobs)]
    for query in ("page=0", "size=101", "status=done", "page=x"):
        await server.call("GET", f"{JOBS}?{query}", status=400)


async def test_no_more_than_so_many_wait(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("growi_transfer.jobs.service.QUEUED_MOST", 1)
    stopped = Stopped(server, monkeypatch)
    for _ in range(2):
        job = (await server.call("POST", JOBS, {}, status=202))["job"]
        await server.until(job, "running")
    waiting = (await server.call("POST", JOBS, {}, status=202))["job"]
    answer = await server.call("POST", JOBS, {}, status=503)
    assert answer["errors"][0]["code"] == "queue_full"
    await server.call("POST", f"{JOBS}/{waiting['id']}/cancel")
    stopped.go_on.set()
    assert (await server.export())["state"] == "completed"


async def test_a_job_of_another_server_of_the_wiki(
    server: Server, tmp_path: Path, mongo_uri: str, mongo_database_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = await server.export(attachments=False)
    stopped = Stopped(server, monkeypatch)
    job = (await server.call("POST", JOBS, {}, status=202))["job"]
    await stopped.reached.wait()
    async with open_server(tmp_path / "other", mongo_uri, mongo_database_name) as other:
        assert (await other.until(job, "running"))["node"]
        answer = await other.call("GET", f"{JOBS}/{done['id']}/download", status=404)
        assert answer["errors"][0]["code"] == "file_not_found"
        shown = (await other.call("GET", f"{JOBS}/{done['id']}"))["job"]
        assert (shown["file"], shown["download"]) == ({**done["file"], "here": False}, None)
        cancelled = await other.call("POST", f"{JOBS}/{job['id']}/cancel")
        assert cancelled["job"]["state"] == "cancelled"
    assert server.files == [f"{done['id']}.zip"]


async def test_a_job_of_another_server_is_watched_to_its_end(
    server: Server, tmp_path: Path, mongo_uri: str, mongo_database_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("growi_transfer.jobs.job_follower.FOLLOW_SECONDS", 0.05)
    stopped = Stopped(server, monkeypatch)
    job = (await server.call("POST", JOBS, {}, status=202))["job"]
    await stopped.reached.wait()
    async with (
        open_server(tmp_path / "other", mongo_uri, mongo_database_name) as other,
        other.http.get(f"{other.url}{JOBS}/{job['id']}/monitor", headers=ADMIN) as answer,
    ):
        events = Events(answer)
        first = await events.next()
        assert (first[1], first[2]["job"]["state"]) == ("job", "running")
        stopped.go_on.set()
        states = []
        while (event := await events.next())[1] != "end":
            states.append(event[2]["job"]["state"])
        assert states[-1] == "completed"
        # Somebody who sees all jobs there has heard of it too.
        assert next(other.services.jobs.live.newest(job["id"]))[1].state == "completed"  # type: ignore[union-attr]


async def test_a_job_that_no_server_has_says_so_and_does_not_wait_for_ever(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, now = server.services.ledger, datetime.now(UTC)

    async def add(number: int, state: JobState, silent: timedelta, kind: JobKind = JobKind.EXPORT) -> str:
        times = (now - timedelta(days=3), now - silent)
        row = JobRow(f"{number:032x}", kind, state, "f" * 32, {"format": "bson", "on_error": "fail"}, *times)
        await ledger.add_job(row)
        return row.id

    ended = [
        await add(1, JobState.QUEUED, timedelta(days=2)),
        await add(2, JobState.RUNNING, timedelta(hours=2)),
    ]
    waiting = [
        await add(3, JobState.QUEUED, timedelta(hours=3)),
        await add(4, JobState.RUNNING, timedelta(minutes=3)),
    ]
    for one in waiting:
        assert (await server.call("GET", f"{JOBS}/{one}"))["job"]["silent_since"] < now.isoformat()
    done = await server.export(attachments=False)  # after each end it is looked for such jobs
    assert done["silent_since"] is None
    for one in ended:
        failed = await server.until({"type": "export", "id": one}, "failed")
        assert [error["code"] for error in failed["errors"]] == ["job_abandoned"]
    for one, state in zip(waiting, ("queued", "running"), strict=True):
        assert (await server.call("GET", f"{JOBS}/{one}"))["job"]["state"] == state
    cancelled = await server.call("POST", f"{JOBS}/{waiting[0]}/cancel")
    assert cancelled["job"]["state"] == "cancelled"


async def test_a_waiting_job_that_has_a_server_is_told_from_others(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("growi_transfer.jobs.job_runner.TOUCH_SECONDS", 0.02)
    stopped = Stopped(server, monkeypatch)
    jobs = [(await server.call("POST", JOBS, {}, status=202))["job"] for _ in range(3)]
    await stopped.reached.wait()
    ledger = server.services.ledger
    async with asyncio.timeout(30):
        before = after = await ledger.get_job(jobs[2]["id"])
        while after == before:
            await asyncio.sleep(0.02)
            after = await ledger.get_job(jobs[2]["id"])
    assert before is not None
    assert after == replace(before, updated_at=after.updated_at)  # type: ignore[union-attr]
    stopped.go_on.set()
    for job in jobs:
        assert (await server.ended(job))["state"] == "completed"


async def test_pages_over_jobs_and_transfers(server: Server) -> None:
    ledger, start = server.services.ledger, datetime(2026, 3, 4, tzinfo=UTC)
    moments: dict[str, datetime] = {}
    for number in range(25):
        moments[f"{number:032x}"] = at = start + timedelta(seconds=number // 2)
        if number % 5 < 2 or number > 20:
            row = JobRow(f"{number:032x}", JobKind.EXPORT, JobState.FAILED, "f" * 32, {}, at, at)
            await ledger.add_job(row)
        else:
            position = Position(State.FAILED if number % 2 else State.COMPLETED)
            await ledger.create_transfer(TransferRow(Role.PUSHER, f"{number:032x}", position, {}, at, at))
    for query, total in (("", 25), ("&status=failed", 19), ("&type=transfer", 12), ("&status=completed", 6)):
        found: list[str] = []
        for page in range(1, 8):
            answer = await server.call("GET", f"{API}/jobs?size=4&page={page}{query}")
            assert answer["total"] == total
            found += [job["id"] for job in answer["jobs"]]
        assert len(found) == len(set(found)) == total, query
        assert [moments[one] for one in found] == sorted((moments[one] for one in found), reverse=True)
    assert (await server.call("GET", f"{API}/jobs?size=100&page=1000000"))["jobs"] == []


async def test_an_upload_is_not_taken_when_no_more_may_wait(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("growi_transfer.jobs.service.QUEUED_MOST", 0)
    never = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"PK"
        await never.wait()

    async with (
        asyncio.timeout(30),
        server.http.post(f"{server.url}{API}/import-jobs", data=body(), headers=ADMIN) as answer,
    ):
        assert answer.status == 503
        assert (await answer.json())["errors"][0]["code"] == "queue_full"
        never.set()


async def test_a_download_that_has_begun_ends_whole_though_the_file_goes(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("growi_transfer.web.downloads._PIECE", 64)
    done = await server.export()
    path = server.wiki.settings.data_dir / "jobs" / f"{done['id']}.zip"
    whole, real, opened = path.read_bytes(), Jobs.archive, []

    async def goes(jobs: Jobs, job_id: str) -> Any:
        file, view = await real(jobs, job_id)
        opened.append(file)
        path.unlink()
        return file, view

    with monkeypatch.context() as swept:
        swept.setattr(Jobs, "archive", goes)
        status, _, body = await server.get(done["download"]["url"])
    assert (status, body) == (200, whole)
    async with asyncio.timeout(30):
        while not opened[0].closed:
            await asyncio.sleep(0.01)
    # Now it is not there any more, and everything says so.
    shown = (await server.call("GET", f"{JOBS}/{done['id']}"))["job"]
    assert (shown["file"], shown["download"]) == (None, None)
    status, _, body = await server.get(done["download"]["url"])
    assert (status, json.loads(body)["errors"][0]["code"]) == (410, "export_expired")
    await server.export(attachments=False)  # after each end it is looked for files that are gone
    await server.until(done, "expired")


class Events:
    """Reads an event stream."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        self._answer = answer

    async def next(self) -> tuple[int, str, Any]:
        """Number, name and data of the next event; comments are passed over, but counted."""
        found: dict[str, str] = {}
        async with asyncio.timeout(30):
            async for line in self._answer.content:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "" and "data" in found:
                    break
                found[name] = value
        return int(found.get("id", 0)), found["event"], json.loads(found["data"])


async def test_a_watcher_sees_every_state_and_goes_on_where_it_was(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = Stopped(server, monkeypatch)
    job = (await server.call("POST", JOBS, {}, status=202))["job"]
    url = f"{server.url}{JOBS}/{job['id']}/monitor"
    await server.until(job, "running")
    await stopped.reached.wait()
    async with server.http.get(url, headers=ADMIN) as answer:
        number, name, data = await Events(answer).next()
        assert (name, data["job"]["state"]) == ("job", "running")
    while number < (number := next(iter(server.services.jobs.live.newest()))[0]):  # type: ignore[union-attr]
        await asyncio.sleep(0.3)  # what was done before the standstill is shown
    async with server.http.get(url, headers={**ADMIN, "last-event-id": str(number)}) as answer:
        stopped.go_on.set()
        events = Events(answer)
        newer, name, data = await events.next()
        assert newer > number  # what was seen before does not come again
        while data["job"]["state"] != "completed":
            newer, name, data = await events.next()
        assert data["job"]["download"]["url"].startswith(f"{JOBS}/{job['id']}/download?")
        assert (await events.next())[1] == "end"
        assert await answer.content.read() == b""
    async with server.http.get(url, headers={**ADMIN, "last-event-id": str(newer)}) as answer:
        events = Events(answer)
        assert (await events.next())[2]["job"]["state"] == "completed"
        assert (await events.next())[1] == "end"


async def test_a_watcher_from_before_the_clock_was_set_back_is_told_all(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = Stopped(server, monkeypatch)
    job = (await server.call("POST", JOBS, {}, status=202))["job"]
    await stopped.reached.wait()
    url = f"{server.url}{JOBS}/{job['id']}/monitor"
    async with server.http.get(url, headers={**ADMIN, "last-event-id": str(1 << 52)}) as answer:
        events = Events(answer)
        assert (await events.next())[2]["job"]["state"] == "running"
        stopped.go_on.set()
        while (await events.next())[1] != "end":
            pass


async def test_a_cancel_at_the_very_end_is_too_late_and_says_so(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = server.services.ledger
    reached, go_on = asyncio.Event(), asyncio.Event()
    change = ledger.change_job

    async def waiting(job_id: str, expected: Any, new: Any, *arguments: Any) -> Any:
        if new is JobState.FAILED:
            reached.set()
            await go_on.wait()
        return await change(job_id, expected, new, *arguments)

    async def fails(*_: Any, **__: Any) -> Any:
        raise StorageUnavailable("not today")

    monkeypatch.setattr(ledger, "change_job", waiting)
    monkeypatch.setattr(ExportWork, "run", fails)
    job = (await server.call("POST", JOBS, {}, status=202))["job"]
    await reached.wait()
    path = f"{JOBS}/{job['id']}/cancel"
    cancels = [asyncio.ensure_future(server.call("POST", path, status=409)) for _ in range(2)]
    runner: Any = server.services.jobs._runner  # type: ignore[union-attr]
    async with asyncio.timeout(30):
        while not runner._running[job["id"]].cancelled:
            await asyncio.sleep(0.01)
    go_on.set()
    for answer in await asyncio.gather(*cancels):
        assert "failed already" in answer["errors"][0]["message"]
    assert (await server.ended(job))["state"] == "failed"


async def test_an_interrupted_export_is_made_by_the_next_server(
    tmp_path: Path, mongo_uri: str, mongo_database_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_server(tmp_path, mongo_uri, mongo_database_name) as server:
        fill(server)
        kept = await server.export(attachments=False)
        stopped = Stopped(server, monkeypatch)
        job = (await server.call("POST", JOBS, {}, status=202))["job"]
        await stopped.reached.wait()
    folder = tmp_path / "data" / "jobs"
    (folder / ".x.zip-abc.part").write_bytes(b"left by a process that was killed")
    async with open_server(tmp_path, mongo_uri, mongo_database_name) as server:
        done = await server.ended(job)
        assert (done["state"], done["tries"]) == ("completed", 2)
        assert server.files == sorted(f"{one['id']}.zip" for one in (kept, job))
        # A link outlives the server that made it.
        assert (await server.get(kept["download"]["url"]))[0] == 200


async def test_a_job_that_brings_its_server_down_is_not_begun_for_ever(
    tmp_path: Path, mongo_uri: str, mongo_database_name: str
) -> None:
    async with open_server(tmp_path, mongo_uri, mongo_database_name) as server:
        fill(server)
        job = await server.export(attachments=False)
        again = [JobState.COMPLETED], JobState.RUNNING, {"tries": 3}
        await server.services.ledger.change_job(job["id"], *again, datetime.now(UTC))
    async with open_server(tmp_path, mongo_uri, mongo_database_name) as server:
        failed = await server.until(job, "failed")
        assert [error["code"] for error in failed["errors"]] == ["job_interrupted"]
        assert server.files == []
