"""Make one mongod the primary of a replica set of its own, and keep it so when its port changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from pymongo import AsyncMongoClient
from pymongo.errors import ConnectionFailure, OperationFailure

_POLL_SECONDS: Final = 0.02
# What a server answers that has not read the configuration of its set yet: NotYetInitialized,
# ConfigurationInProgress, NotPrimaryOrSecondary.
_NOT_YET: Final = frozenset({94, 109, 13436})


class OtherServer(ConnectionFailure):
    """The address belongs to another process than the one asked for."""


async def become_primary(address: str, *, set_name: str, pid: int) -> None:
    """Return once the mongod `pid` at `address` ("host:port") takes writes as the set's only member.

    Sets up the replica set where there is none, and rewrites its one address where the port is a new one. A server
    looks for itself at its former address first, which takes it 30 seconds when something listens there that never
    answers. Has no time limit of its own. Raises OtherServer when another mongod answers, ConnectionFailure when none
    does.
    """
    async with _client(address) as client:
        # Two servers may have been given the same free port; only one of them got it.
        if (await client.admin.command("serverStatus"))["pid"] != pid:
            raise OtherServer(f"another mongod answers at {address}")
        while not await _configured(client, address, set_name):
            await asyncio.sleep(_POLL_SECONDS)
    # A client that met the server before it was a member keeps that picture of it, so this is a new one.
    async with _client(address, replicaSet=set_name) as client:
        while not (await client.admin.command("hello")).get("isWritablePrimary"):
            await asyncio.sleep(_POLL_SECONDS)


@asynccontextmanager
async def _client(address: str, **options: Any) -> AsyncIterator[AsyncMongoClient[dict[str, Any]]]:
    # Polling has no task for round-trip times, which `close` could cut off while it connects: that socket is left open.
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
        f"mongodb://{address}/",
        directConnection=True,
        serverMonitoringMode="poll",
        serverSelectionTimeoutMS=2000,
        connectTimeoutMS=2000,
        **options,
    )
    try:
        yield client
    finally:
        await client.close()


async def _configured(client: AsyncMongoClient[dict[str, Any]], address: str, set_name: str) -> bool:
    """Bring the stored configuration in line; False when the server is not ready to be asked yet."""
    try:
        config = await client.local["system.replset"].find_one()
        if config is None:
            member = {"_id": 0, "host": address}
            await client.admin.command("replSetInitiate", {"_id": set_name, "members": [member]})
        elif config["members"][0]["host"] != address:
            config["members"][0]["host"] = address
            config["version"] += 1
            # A member that does not find itself in the set has no primary to ask, which is what `force` is for.
            await client.admin.command("replSetReconfig", config, force=True)
    except OperationFailure as error:
        if error.code in _NOT_YET:
            return False
        raise
    return True
