"""What comes after a job: who is told, what is kept and for how long, and what could not be had."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import socketio
from aiohttp import web
from tests.pair.instances import ADMIN_TOKEN
from tests.pair.jobs import API, Server, fill, open_server

from growi_transfer.jobs.files import JobFiles
from growi_transfer.jobs.notify import Webhooks
from growi_transfer.jobs.work import ExportWork
from growi_transfer.ledger.jobs import JobState
from growi_transfer.protocol.errors import DatabaseUnavailable, SettingInvalid, StorageUnavailable
from growi_transfer.wiring import parts

JOBS = f"{API}/export-jobs"
SECRET = "a-webhook-secret-of-the-tests"


class Listener:
    """Takes notifications, and answers with these statuses, the last one again and again."""

    def __init__(self, *statuses: int) -> None:
        self._statuses = list(statuses)
        self.taken: list[tuple[dict[str, str], bytes]] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        self.taken.append(({name.lower(): value for name, value in request.headers.items()}, await request.read()))
        status = self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]
        return web.Response(status=status, headers={"location": self.url} if status == 307 else {})

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[dict[str, str]]:
        """The settings that lead here."""
        app = web.Application()
        app.router.add_post("/hook", self.take)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        self.url = f"http://127.0.0.1:{port}/hook?to=me"
        try:
            yield {
                "GROWI_TRANSFER_WEBHOOK_URL": self.url,
                "GROWI_TRANSFER_WEBHOOK_SECRET": SECRET,
                "GROWI_TRANSFER_ALLOWED_DESTINATIONS": "127.0.0.1",
            }
        finally:
            await runner.cleanup()


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("growi_transfer.jobs.notify.PAUSES", (0.01, 0.01, 0.01))


async def told(server: Server, job: dict[str, Any], state: str) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while True:
            now = (await server.call("GET", f"{JOBS}/{job['id']}"))["job"]
            if now["webhook"] and now["webhook"]["state"] == state:
                return dict(now["webhook"])
            await asyncio.sleep(0.02)


async def test_a_signed_notification_is_sent_until_it_is_taken(
    tmp_path: Path, mongo_uri: str, mongo_database_name: str, no_pauses: None
) -> None:
    listener = Listener(503, 307, 204)
    async with (
        listener.listening() as settings,
        open_server(tmp_path, mongo_uri, mongo_database_name, **settings) as server,
    ):
        fill(server)
        done = await server.export()
        assert await told(server, done, "delivered") == {"state": "delivered", "tries": 3, "status": 204}
        # A redirect was not followed: it is one more refusal.
        assert len(listener.taken) == 3
        for headers, body in listener.taken:
            signed = headers["x-growi-transfer-timestamp"].encode() + b"." + body
            right = hmac.new(SECRET.encode(), signed, "sha256").hexdigest()
            assert headers["x-growi-transfer-signature"] == f"v1={right}"
            assert headers["x-growi-transfer-delivery"] == done["id"]
            sent = json.loads(body)
            assert sent["event"] == "job.completed"
            assert (sent["job"]["id"], sent["job"]["file"]) == (done["id"], done["file"])
            assert "link=" not in body.decode()


async def test_a_kill_between_the_end_of_a_job_and_its_notification_loses_none(
    tmp_path: Path, mongo_uri: str, mongo_database_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener(204)
    async with listener.listening() as settings:
        with monkeypatch.context() as killed:
            killed.setattr(Webhooks, "_deliver", _never)
            async with open_server(tmp_path, mongo_uri, mongo_database_name, **settings) as server:
                fill(server)
                done = await server.export(attachments=False)
                assert done["webhook"] == {"state": "pending", "tries": 0, "status": None}
        async with open_server(tmp_path, mongo_uri, mongo_database_name, **settings) as server:
            assert await told(server, done, "delivered") == {"state": "delivered", "tries": 1, "status": 204}
    [(headers, body)] = listener.taken
    assert headers["x-growi-transfer-delivery"] == done["id"]
    assert json.loads(body)["event"] == "job.completed"


async def test_an_end_that_was_kept_though_no_answer_came_is_told(
    tmp_path: Path, mongo_uri: str, mongo_database_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener(204)
    async with (
        listener.listening() as settings,
        open_server(tmp_path, mongo_uri, mongo_database_name, **settings) as server,
    ):
        fill(server)
        ledger, lost = server.services.ledger, []
        change = ledger.change_job

        async def without_an_answer(job_id: str, expected: Any, new: Any, *arguments: Any) -> Any:
            changed = await change(job_id, expected, new, *arguments)
            if new is JobState.COMPLETED and not lost:
                lost.append(job_id)
                raise DatabaseUnavailable("The line was cut.")
            return changed

        monkeypatch.setattr(ledger, "change_job", without_an_answer)
        done = await server.export(attachments=False)
        await told(server, done, "delivered")
        assert len(listener.taken) == len(lost) == 1


async def _never(*_: Any, **__: Any) -> None:
    await asyncio.Event().wait()


async def test_nobody_who_does_not_answer_is_told_for_ever(
    tmp_path: Path, mongo_uri: str, mongo_database_name: str, no_pauses: None
) -> None:
    listener = Listener(500)
    async with listener.listening() as settings:
        async with open_server(tmp_path / "a", mongo_uri, mongo_database_name, **settings) as server:
            fill(server)
            done = await server.export()
            assert await told(server, done, "failed") == {"state": "failed", "tries": 4, "status": 500}
        # An address that only this machine has needs the setting that allows it.
        del settings["GROWI_TRANSFER_ALLOWED_DESTINATIONS"]
        async with open_server(tmp_path / "b", mongo_uri, mongo_database_name, **settings) as server:
            done = await server.export()
            assert await told(server, done, "failed") == {"state": "failed", "tries": 4, "status": None}
        assert len(listener.taken) == 4
        del settings["GROWI_TRANSFER_WEBHOOK_SECRET"]
        with pytest.raises(SettingInvalid, match="WEBHOOK_SECRET"):
            async with open_server(tmp_path / "b", mongo_uri, mongo_database_name, **settings):
                pass


async def test_the_end_of_a_job_that_never_began_is_told(
    tmp_path: Path, mongo_uri: str, mongo_database_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forever(*_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(ExportWork, "run", forever)
    listener = Listener(204)
    async with (
        listener.listening() as settings,
        open_server(tmp_path, mongo_uri, mongo_database_name, GROWI_TRANSFER_JOBS_AT_ONCE="1", **settings) as server,
    ):
        _, second = [(await server.call("POST", JOBS, {}, status=202))["job"] for _ in range(2)]
        await server.call("POST", f"{JOBS}/{second['id']}/cancel")
        await told(server, second, "delivered")
        assert json.loads(listener.taken[0][1])["event"] == "job.cancelled"


async def test_a_disk_that_fails_once_does_not_keep_archives_for_ever(
    tmp_path: Path, mongo_uri: str, mongo_database_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_server(tmp_path, mongo_uri, mongo_database_name, GROWI_TRANSFER_EXPORT_BYTES="1") as server:
        fill(server)
        sizes, failed = JobFiles.sizes, asyncio.Event()
        loop = asyncio.get_running_loop()

        def fails(files: JobFiles) -> Any:
            loop.call_soon_threadsafe(failed.set)
            raise OSError("the disk")

        monkeypatch.setattr(JobFiles, "sizes", fails)
        first = await server.export()
        await failed.wait()
        monkeypatch.setattr(JobFiles, "sizes", sizes)
        await server.export()
        await server.until(first, "expired")


async def test_an_admin_on_socket_io_hears_of_every_state(
    tmp_path: Path, mongo_uri: str, mongo_database_name: str
) -> None:
    async with open_server(tmp_path, mongo_uri, mongo_database_name) as server:
        fill(server)
        heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        async with socketio.AsyncSimpleClient() as client:
            client.client_class = socketio.AsyncClient
            await client.connect(server.url, namespace="/admin", auth={"token": ADMIN_TOKEN}, transports=["websocket"])
            client.client.on("admin:job", heard.put, namespace="/admin")
            # Who is in the room hears it; the welcome says that we are.
            done = await server.export()
            states = []
            async with asyncio.timeout(30):
                while "completed" not in states:
                    data = await heard.get()
                    assert data["job"]["id"] == done["id"]
                    states.append(data["job"]["state"])
        assert data["job"]["file"] == done["file"]
        assert data["job"]["download"] is None


async def test_archives_go_when_newer_ones_need_the_space(
    tmp_path: Path, mongo_uri: str, mongo_database_name: str
) -> None:
    async with open_server(tmp_path, mongo_uri, mongo_database_name, GROWI_TRANSFER_EXPORT_BYTES="1") as server:
        fill(server)
        first, second = await server.export(), await server.export()
        gone = await server.until(first, "expired")
        assert (gone["file"], gone["download"]) == (None, None)
        status, _, body = await server.get(first["download"]["url"])
        assert (status, json.loads(body)["errors"][0]["code"]) == (410, "export_expired")
        assert (await server.get(second["download"]["url"]))[0] == 200
        await server.keeps(f"{second['id']}.zip")


async def test_archives_go_when_their_time_is_over(
    tmp_path: Path, mongo_uri: str, mongo_database_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_server(tmp_path, mongo_uri, mongo_database_name) as server:
        fill(server)
        done = await server.export()
        assert done["file"]["expires_at"][:10] > done["finished_at"][:10]
    real = parts.now
    monkeypatch.setattr("growi_transfer.wiring.jobs.now", lambda: real() + timedelta(hours=168, minutes=1))
    async with open_server(tmp_path, mongo_uri, mongo_database_name) as server:
        assert (await server.until(done, "expired"))["state"] == "expired"
        await server.keeps()


async def test_what_cannot_be_had_ends_an_export_or_is_left_out(server_with_faults: Server) -> None:
    server = server_with_faults
    failed = await server.export(attachments=False)
    assert (failed["state"], failed["download"]) == ("failed", None)
    assert [(error["kind"], error["code"]) for error in failed["errors"]] == [("job", "collection_kind_unsupported")]
    assert server.files == []
    done = await server.export(on_error="continue")
    assert done["state"] == "completed"
    assert {(error["item"], error["kind"], error["code"]) for error in done["errors"]} == {
        ("metrics", "collection", "collection_kind_unsupported"),
        (f"attachment/{1:032x}.bin", "file", "storage_unavailable"),
    }
    assert done["errors_total"] == 2
    assert (done["result"]["collections"], done["result"]["attachments"]) == (3, 3)
    # The archive is whole without them.
    body = (await server.get(done["download"]["url"]))[2]
    job = (await server.call("POST", f"{API}/import-jobs", body, status=202))["job"]
    assert (await server.ended(job))["state"] == "completed"


@pytest.fixture
async def server_with_faults(
    tmp_path: Path, mongo_uri: str, mongo_database_name: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Server]:
    """One collection of a kind that cannot be exported, and a large file that breaks off at its end."""
    async with open_server(tmp_path, mongo_uri, mongo_database_name) as server:
        fill(server, files=4)
        server.wiki.database.create_collection("metrics", timeseries={"timeField": "at"})
        broken = f"attachment/{1:032x}.bin"
        (server.wiki.uploads / broken).write_bytes(bytes(24 << 20))
        opened = server.services.storage.open

        async def breaking(path: str, *arguments: Any, **named: Any) -> AsyncIterator[Any]:
            async for chunk in opened(path, *arguments, **named):
                yield chunk
            if path == broken:
                raise StorageUnavailable()

        monkeypatch.setattr(server.services.storage, "open", breaking)
        yield server
