from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.fakes.asgi import CUT, Answer, AsgiClient
from tests.fakes.web import World

from growi_transfer.web.refusals import Refusals
from growi_transfer.web.services import Limits


class Asked:
    """A route in the middle of the layer: what it does, and what came out."""

    def __init__(self, world: World, route: Callable[[Any, Any, Any], Awaitable[None]], trusted: bool) -> None:
        self._route = route
        self._trusted = trusted
        self.client = AsgiClient(Refusals(self._app))
        self.client.state = {"services": world.services}

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        if self._trusted:
            scope["state"]["trusted"] = True
        await self._route(scope, receive, send)

    async def __call__(self, chunks: list[Any], **options: Any) -> Answer:
        return await self.client("POST", "/", chunks, **options)


async def refuse(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 409, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"no"})


async def read_and_answer(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await refuse(scope, receive, send)


async def test_an_unread_body_of_a_known_sender_is_read_and_the_connection_closed(world: World) -> None:
    ask = Asked(world, refuse, trusted=True)
    answer = await ask([b"x" * 10] * 5)
    assert (answer.status, answer.body, answer.finished) == (409, b"no", True)
    assert answer.headers["connection"] == "close"
    assert len(ask.client.read) == 5


async def test_the_answer_goes_out_before_the_rest_is_read(world: World) -> None:
    order: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["trusted"] = True
        await refuse(scope, receive, send)

    async def receive() -> dict[str, Any]:
        order.append("read")
        return {"type": "http.request", "body": b"x", "more_body": len(order) < 5}

    async def send(message: dict[str, Any]) -> None:
        order.append(f"{message.get('status', '')}{message.get('body', b'').decode()}")

    scope = {"type": "http", "headers": [(b"content-length", b"3")], "state": {"services": world.services}}
    await Refusals(app)(scope, receive, send)
    assert order == ["409", "no", "read", "read", "read", ""]


async def test_a_strangers_body_is_not_read(world: World) -> None:
    ask = Asked(world, refuse, trusted=False)
    answer = await ask([b"x" * 10] * 5)
    assert (answer.status, answer.headers["connection"], ask.client.read) == (409, "close", [])


async def test_a_body_that_was_read_keeps_the_connection(world: World) -> None:
    ask = Asked(world, read_and_answer, trusted=True)
    assert "connection" not in (await ask([b"x", b"y"])).headers
    assert "connection" not in (await ask([])).headers


async def test_no_more_than_the_limit_is_drained(tmp_path: Any) -> None:
    ask = Asked(World(tmp_path, limits=Limits(drain_bytes=100)), refuse, trusted=True)
    answer = await ask([b"x" * 10] * 100)
    assert answer.finished
    assert len(ask.client.read) == 11


async def test_draining_ends_with_its_time(tmp_path: Any) -> None:
    ask = Asked(World(tmp_path, limits=Limits(drain_seconds=0.02)), refuse, trusted=True)
    finished: list[str] = []

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body"):
            finished.append("closed")

    scope = {"type": "http", "headers": [(b"transfer-encoding", b"chunked")], "state": dict(ask.client.state)}
    async with asyncio.timeout(5):
        await ask.client.app(scope, receive, send)
    assert finished == ["closed"]


async def test_a_sender_that_waits_for_our_word_is_not_waited_for(world: World) -> None:
    ask = Asked(world, refuse, trusted=True)
    answer = await ask([b"x" * 10], headers={"expect": "100-continue"})
    assert (answer.finished, ask.client.read) == (True, [])


async def test_a_sender_that_goes_while_its_body_is_drained(world: World) -> None:
    ask = Asked(world, refuse, trusted=True)
    assert (await ask([b"x", CUT])).finished


async def test_an_error_after_the_answer_began_cuts_the_connection(world: World) -> None:
    async def half(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        await Asked(world, half, trusted=True)([])


async def test_what_breaks_because_the_server_stops_can_be_sent_again(world: World) -> None:
    async def broken(_scope: Any, _receive: Any, _send: Any) -> None:
        raise RuntimeError("cannot schedule new futures after shutdown")

    ask = Asked(world, broken, trusted=True)
    stopping = asyncio.Event()
    ask.client.state["stopping"] = stopping
    answer = await ask([])
    assert (answer.status, answer.code) == (500, "internal_error")
    stopping.set()
    answer = await ask([])
    assert (answer.status, answer.code) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0


async def test_a_request_that_outlasts_the_server_is_told_to_come_again(world: World) -> None:
    stopping, inside = asyncio.Event(), asyncio.Event()
    sent: list[dict[str, Any]] = []

    async def endless(_scope: Any, _receive: Any, _send: Any) -> None:
        inside.set()
        await asyncio.Event().wait()

    async def nothing_comes() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    def asked() -> asyncio.Task[None]:
        inside.clear()
        headers = [(b"content-length", b"9")]
        state = {"services": world.services, "stopping": stopping, "trusted": True}
        scope = {"type": "http", "method": "PUT", "path": "/", "headers": headers, "state": state}
        return asyncio.create_task(Refusals(endless)(scope, nothing_comes, send))

    for stops in (False, True):
        if stops:
            stopping.set()
        task = asked()
        await inside.wait()
        task.cancel()
        if not stops:
            with pytest.raises(asyncio.CancelledError):
                await task
            assert sent == []
            continue
        await asyncio.wait_for(task, 5)
        assert (sent[0]["status"], sent[-1].get("more_body", False)) == (503, False)
        assert (b"connection", b"close") in sent[0]["headers"]
