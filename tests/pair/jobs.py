"""A server of one wiki in this process, with its jobs, behind a real uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import bson
from pymongo import MongoClient
from tests.pair.instances import ADMIN_TOKEN, Instance, serving, settings_of, with_database

from growi_transfer import wiring

API = "/_api/v3"
ADMIN = {"authorization": f"Bearer {ADMIN_TOKEN}"}


@dataclass
class Server:
    """One wiki and its server."""

    wiki: Instance
    services: wiring.Services
    url: str
    http: aiohttp.ClientSession

    async def call(
        self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] = ADMIN, status: int = 200
    ) -> dict[str, Any]:
        """One request with a JSON answer."""
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        async with self.http.request(method, self.url + path, data=data, headers=headers) as answer:
            text = await answer.text()
            assert answer.status == status, f"{answer.status}: {text[:500]}"
            return dict(json.loads(text))

    async def export(self, **wanted: Any) -> dict[str, Any]:
        """Ask for an export and wait for its end."""
        job = (await self.call("POST", f"{API}/export-jobs", wanted, status=202))["job"]
        return await self.ended(job)

    async def ended(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Wait until a job is finished."""
        return await self.until(job, "completed", "failed", "cancelled", "expired")

    async def until(self, job: Mapping[str, Any], *states: str, seconds: float = 60) -> dict[str, Any]:
        async with asyncio.timeout(seconds):
            while True:
                now = (await self.call("GET", f"{API}/{job['type']}-jobs/{job['id']}"))["job"]
                if now["state"] in states:
                    return dict(now)
                await asyncio.sleep(0.05)

    async def get(self, path: str, **headers: str) -> tuple[int, Mapping[str, str], bytes]:
        """A request without the admin token, unless it is given."""
        async with self.http.get(self.url + path, headers=headers) as answer:
            return answer.status, answer.headers, await answer.read()

    async def keeps(self, *names: str) -> None:
        """Wait until these are the files of jobs: a file goes after its job is shown without it."""
        async with asyncio.timeout(30):
            while self.files != sorted(names):
                await asyncio.sleep(0.02)

    @property
    def files(self) -> list[str]:
        """Names of all files of jobs."""
        return sorted(path.name for path in (self.wiki.settings.data_dir / "jobs").iterdir() if path.name != "id")


@contextlib.asynccontextmanager
async def open_server(folder: Path, uri: str, database: str, **settings: str) -> AsyncIterator[Server]:
    """A server; opening one again on the same folder and database is a restart."""
    read = settings_of(folder, with_database(uri, database), **settings)
    async with contextlib.AsyncExitStack() as stack:
        client: MongoClient[dict[str, Any]] = stack.enter_context(MongoClient(uri))
        services = await stack.enter_async_context(wiring.open_services(read, role="both", serving=True))
        url = await stack.enter_async_context(serving(services, read))
        http = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
        yield Server(Instance(read, client[database], folder / "uploads"), services, url, http)


def fill(server: Server, files: int = 3) -> None:
    """A small wiki with attachments."""
    server.wiki.database["pages"].insert_many([{"_id": number, "path": f"/{number}"} for number in range(50)])
    server.wiki.database["users"].insert_one({"_id": 1, "username": "admin"})
    for number in range(files):
        name = f"{number:032x}.bin"
        path = server.wiki.uploads / "attachment" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"%d" % number * 1000)
        server.wiki.database["attachments"].insert_one(
            {"_id": bson.ObjectId(), "page": bson.ObjectId(), "fileName": name, "fileSize": 1000}
        )
