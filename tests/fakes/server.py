"""uvicorn in the loop of a test, that ends as soon as it is asked to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import uvicorn


class Server(uvicorn.Server):
    """Ends in the steps of its parent, which looks for an order to end, and for what is still under way, ten times a
    second: of hundreds of tests each would wait a third of a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ending = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """Signals are pytest's."""
        yield

    def end(self) -> None:
        self.should_exit = True
        self._ending.set()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), 1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for bound in sockets or []:
            bound.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        try:
            async with asyncio.timeout(self.config.timeout_graceful_shutdown):
                while self.server_state.connections or self.server_state.tasks:
                    await asyncio.sleep(0.002)
        except TimeoutError:
            for task in self.server_state.tasks:
                task.cancel()
        await self.lifespan.shutdown()


async def _nothing() -> None:
    pass


@contextlib.asynccontextmanager
async def running(
    config: uvicorn.Config, bound: socket.socket, *, before_the_end: Callable[[], Awaitable[None]] = _nothing
) -> AsyncIterator[None]:
    """A server on a bound socket. `before_the_end`: what must be done first, so that it can end."""
    server = Server(config)
    task = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        async with asyncio.timeout(10):
            while not server.started:
                assert not task.done(), "the server ended at once"
                await asyncio.sleep(0.002)
        yield
    finally:
        await before_the_end()
        server.end()
        await task
