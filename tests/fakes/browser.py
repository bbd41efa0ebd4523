"""A headless Chromium, steered over its DevTools protocol. Only what a test of the watch page needs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)


class Page:
    """One tab."""

    def __init__(self, line: aiohttp.ClientWebSocketResponse) -> None:
        self._line = line
        self._number = 0
        self.complaints: list[str] = []
        """What the browser refused or what a script threw."""

    async def command(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        await self._line.send_json({"id": self._number, "method": method, "params": parameters})
        async with asyncio.timeout(20):
            while True:
                message = await self._line.receive_json()
                if message.get("id") == self._number:
                    return message.get("result")
                if message.get("method") == "Runtime.exceptionThrown":
                    self.complaints.append(json.dumps(message["params"]))
                if message.get("method") == "Log.entryAdded" and message["params"]["entry"]["source"] == "security":
                    self.complaints.append(message["params"]["entry"]["text"])

    async def open(self, url: str) -> None:
        await self.command("Page.navigate", url=url)

    async def run(self, script: str) -> Any:
        """The value of a script; None while the tab is between two pages."""
        answer = await self.command("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        return answer["result"].get("value") if answer else None

    async def until(self, condition: str) -> None:
        """Wait until a script's value is true."""
        async with asyncio.timeout(20):
            while not await self.run(f"!!({condition})"):
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def browser_page(profile: Path) -> AsyncIterator[Page]:
    assert PROGRAM is not None
    process = await asyncio.create_subprocess_exec(
        PROGRAM, *_FLAGS, f"--user-data-dir={profile}", "about:blank", stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with aiohttp.ClientSession() as session:
            async with asyncio.timeout(30):
                url = await _page_url(session, profile / "DevToolsActivePort")
            async with session.ws_connect(url, max_msg_size=0) as line:
                page = Page(line)
                for part in ("Page", "Runtime", "Log"):
                    await page.command(f"{part}.enable")
                yield page
    finally:
        process.terminate()
        await process.wait()


async def _page_url(session: aiohttp.ClientSession, port_file: Path) -> str:
    while not port_file.exists() or not port_file.read_text().strip():
        await asyncio.sleep(0.02)
    port = port_file.read_text().split()[0]
    while True:
        async with session.get(f"http://127.0.0.1:{port}/json") as answer:
            for target in await answer.json():
                if target["type"] == "page":
                    return str(target["webSocketDebuggerUrl"])
        await asyncio.sleep(0.02)
