"""The one way to MongoDB: commands, raw batches out, raw documents in. Motor is named in this file only.

Motor is near its end of life; its successor, PyMongo's own asyncio client, has the same methods, so leaving motor
means changing the imports and the two cursor loops below.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.int64 import Int64
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import errors as driver
from pymongo.collation import Collation
from pymongo.uri_parser import parse_uri

from growi_transfer.mongo.raw_reply import Batch, batch_of
from growi_transfer.protocol.errors import (
    CursorLost,
    DatabaseFull,
    DatabaseRefused,
    DatabaseUnavailable,
    DocumentNotStorable,
    SettingInvalid,
    SnapshotExpired,
)

DECODED: CodecOptions[dict[str, Any]] = CodecOptions(
    tz_aware=True,
    uuid_representation=UuidRepresentation.UNSPECIFIED,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)
"""How replies become Python values: lossless for what we read (UUIDs stay Binary, far dates stay DatetimeMS)."""
BOUNDS: CodecOptions[RawBSONDocument] = CodecOptions(
    document_class=RawBSONDocument,
    uuid_representation=UuidRepresentation.UNSPECIFIED,
    datetime_conversion=DatetimeConversion.DATETIME_MS,
)
"""How an `_id` that serves as a bound becomes a value that encodes to the same bytes again."""

_UNDECODED: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)

_MAJORITY = {"w": "majority", "j": True}
_SNAPSHOT_GONE = {239, 246, 71}  # SnapshotTooOld, SnapshotUnavailable, and a node that lost its history
_CURSOR_GONE = {43, 136, 175}  # CursorNotFound, CappedPositionLost, QueryPlanKilled
_OUT_OF_SPACE = {14031, 28}
_NOT_STORABLE = {2, 9, 15, 22, 52, 53, 57, 10334, 17280, 17419, 17420, 51003}
_CONNECT_MS = 10_000


@dataclass(slots=True)
class Snapshot:
    """One moment of the database at which any number of reads may be made: that of the first of them.

    The server keeps it for 300 seconds by default (`minSnapshotHistoryWindowInSeconds`).
    """

    marker: str
    at_cluster_time: Any = None

    def read_concern(self) -> dict[str, Any]:
        """What a command needs to be read at this moment."""
        at = {} if self.at_cluster_time is None else {"atClusterTime": self.at_cluster_time}
        return {"level": "snapshot", **at}


@contextmanager
def translated() -> Iterator[None]:
    """Driver errors become ours; nothing of the URI (it may hold a password) gets into a message."""
    try:
        yield
    except (driver.AutoReconnect, driver.ServerSelectionTimeoutError, driver.NetworkTimeout) as error:
        raise DatabaseUnavailable(f"MongoDB does not answer ({type(error).__name__}).") from error
    except driver.DocumentTooLarge as error:
        raise DocumentNotStorable("A document is larger than MongoDB stores.") from error
    except driver.OperationFailure as error:
        raise refused(error.code or 0, str((error.details or {}).get("errmsg", "")), error.details or {}) from error
    except driver.ConfigurationError as error:
        raise DatabaseRefused("MongoDB cannot do this in its present set-up.", code=0, code_name="") from error
    except driver.PyMongoError as error:
        raise DatabaseUnavailable(f"MongoDB does not answer ({type(error).__name__}).") from error


def refused(code: int, message: str, details: Mapping[str, Any]) -> Exception:
    """The error for a command that the server refused."""
    name = str(details.get("codeName", ""))
    if code in _SNAPSHOT_GONE:
        return SnapshotExpired()
    if code in _CURSOR_GONE:
        return CursorLost()
    if code in _OUT_OF_SPACE:
        return DatabaseFull()
    if code in (91, 189, 10107, 11600, 11602, 13435, 13436):
        return DatabaseUnavailable(f"MongoDB is changing its primary ({name or code}).")
    return DatabaseRefused(f"MongoDB refuses: {message[:500]}", code=code, code_name=name)


class Database:
    """The wiki's database. Opened with `open_database`, closed with `close`."""

    def __init__(self, client: Any, name: str, hello: Mapping[str, Any], version: str) -> None:
        self._client = client
        self._database = client.get_database(name, codec_options=DECODED)
        self._admin = client.get_database("admin")
        self.name = name
        self.version = version
        self.is_replica_set = "setName" in hello
        self.instance_marker = str(hello.get("setName", "")) + "|" + str(hello.get("me", ""))

    @property
    def major_version(self) -> tuple[int, int]:
        """For example (6, 0)."""
        major, minor, *_ = (*self.version.split("."), "0")
        return int(major), int(minor)

    async def command(self, command: Mapping[str, Any], *, majority: bool = False) -> dict[str, Any]:
        """Run one database command; `majority` makes a write durable before the answer.

        The caller looks at `writeErrors` in the reply. Raises DatabaseUnavailable, DatabaseFull, DatabaseRefused.
        """
        with translated():
            reply: dict[str, Any] = await self._database.command(_durable(command, majority), codec_options=DECODED)
        _check_concern(reply)
        return reply

    async def admin(self, command: Mapping[str, Any], *, majority: bool = False) -> dict[str, Any]:
        """Like `command`, on the `admin` database."""
        with translated():
            reply: dict[str, Any] = await self._admin.command(_durable(command, majority), codec_options=DECODED)
        _check_concern(reply)
        return reply

    async def insert_raw(
        self, collection: str, documents: Sequence[bytes], *, ordered: bool = False
    ) -> list[dict[str, Any]]:
        """Insert raw documents, bypassing validation; returns the server's write errors (empty when all went in).

        At most 100,000 documents and about 40 MiB at once. Not yet durable: a later majority write makes it so.
        """
        if not documents:
            return []
        reply = await self.command(
            {
                "insert": collection,
                "documents": [RawBSONDocument(document) for document in documents],
                "ordered": ordered,
                "bypassDocumentValidation": True,
                "writeConcern": {"w": 1},
            }
        )
        errors: list[dict[str, Any]] = list(reply.get("writeErrors", ()))
        return errors

    async def find(
        self, collection: str, query: Mapping[str, Any], projection: Mapping[str, Any] | None = None, limit: int = 0
    ) -> list[dict[str, Any]]:
        """All documents that a query finds, decoded: for the few that are needed at once.

        A cursor of the driver, because a `getMore` by `command` would not be in the session of its `find`.
        """
        with translated():
            cursor = self._database[collection].find(query, projection, limit=limit)
            found: list[dict[str, Any]] = await cursor.to_list(None)
        return found

    async def aggregate(
        self, collection: str, pipeline: Sequence[Mapping[str, Any]], *, batch_documents: int = 1000
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """Decoded results, a batch at a time. Texts compare byte by byte, whatever the collection's collation; the
        server may use its disk."""
        with translated():
            cursor = self._database[collection].aggregate(
                pipeline, allowDiskUse=True, batchSize=batch_documents, collation=Collation("simple")
            )
        try:
            while True:
                with translated():
                    batch: list[dict[str, Any]] = await cursor.to_list(batch_documents)
                if not batch:
                    return
                yield batch
        finally:
            with suppress(driver.PyMongoError):
                await cursor.close()

    async def list_collections(self) -> list[dict[str, Any]]:
        """The server's whole list of collections and views, its own included."""
        with translated():
            cursor = await self._database.list_collections()
            found: list[dict[str, Any]] = await cursor.to_list(None)
        return found

    async def raw_batches(
        self,
        collection: str,
        *,
        minimum: Any = None,
        maximum: Any = None,
        batch_documents: int = 1000,
        snapshot: Snapshot | None = None,
        natural: bool = False,
        query: Mapping[str, Any] | None = None,
        projection: Mapping[str, Any] | None = None,
        limit: int = 0,
    ) -> AsyncIterator[list[memoryview]]:
        """Raw documents in `_id` order (or natural order), one list for each batch of the server's. The views keep
        the whole batch alive.

        `minimum` (inclusive) and `maximum` (exclusive) are `_id` values, wrapped in a one-element tuple. They are
        index bounds and so compare across all BSON types. Raises SnapshotExpired when the snapshot is too old, and
        CursorLost when the collection is dropped or renamed meanwhile.
        """
        command: dict[str, Any] = {"find": collection, "filter": query or {}, "batchSize": batch_documents}
        command["hint"] = {"$natural": 1} if natural else {"_id": 1}
        if not natural:
            command["sort"] = {"_id": 1}
        if projection is not None:
            command["projection"] = projection
        if limit:
            command["limit"] = limit
        if minimum is not None:
            command["min"] = {"_id": minimum[0]}
        if maximum is not None:
            command["max"] = {"_id": maximum[0]}
        if snapshot is not None:
            command["readConcern"] = snapshot.read_concern()
        # `getMore` has to be in the session of its `find`.
        with translated():
            session = await self._client.start_session()
        batch = Batch(0, None, [])
        try:
            while True:
                with translated():
                    reply = await self._database.command(command, codec_options=_UNDECODED, session=session)
                batch = await asyncio.to_thread(batch_of, reply)
                if snapshot is not None and snapshot.at_cluster_time is None:
                    snapshot.at_cluster_time = batch.at_cluster_time
                del reply
                if batch.documents:
                    yield batch.documents
                if not batch.cursor_id:
                    return
                command = {
                    "getMore": Int64(batch.cursor_id),
                    "collection": collection,
                    "batchSize": batch_documents,
                }
        finally:
            if batch.cursor_id:
                with suppress(driver.PyMongoError):
                    kill = {"killCursors": collection, "cursors": [Int64(batch.cursor_id)]}
                    await self._database.command(kill, session=session)
            await session.end_session()

    async def replies(self, command: Mapping[str, Any], wait_ms: int) -> AsyncGenerator[Mapping[str, Any], None]:
        """The cursor in each reply to a command and its `getMore`s, for as long as the caller asks and there is more.

        `wait_ms`: how long the server waits for something new where a cursor stays open at its end. Documents are
        RawBSONDocument. Raises like `command`.
        """
        with translated():
            session = await self._client.start_session()
        request: dict[str, Any] = dict(command)
        open_cursor: dict[str, Any] | None = None
        try:
            while True:
                with translated():
                    reply = await self._database.command(request, codec_options=_UNDECODED, session=session)
                cursor = reply["cursor"]
                name = str(cursor["ns"]).split(".", 1)[1]
                identity = Int64(cursor["id"])
                open_cursor = {"killCursors": name, "cursors": [identity]} if identity else None
                yield cursor
                if not identity:
                    return
                request = {"getMore": identity, "collection": name, "maxTimeMS": wait_ms}
        finally:
            if open_cursor is not None:
                with suppress(driver.PyMongoError):
                    await self._database.command(open_cursor, session=session)
            await session.end_session()

    def snapshot(self, marker: str) -> Snapshot | None:
        """A moment to read at, or None where the server has no snapshots (it is no replica set)."""
        return Snapshot(marker) if self.is_replica_set and self.major_version >= (5, 0) else None

    async def now(self) -> Timestamp | None:
        """The present moment, at which a snapshot may be read; None where the server has no such thing."""
        if self.snapshot("") is None:
            return None
        moment: Timestamp | None = (await self.command({"ping": 1})).get("operationTime")
        return moment

    async def close(self) -> None:
        """Close all connections."""
        self._client.close()


def _durable(command: Mapping[str, Any], majority: bool) -> dict[str, Any]:
    return {**command, "writeConcern": _MAJORITY} if majority else dict(command)


def _check_concern(reply: Mapping[str, Any]) -> None:
    problem = reply.get("writeConcernError")
    if problem:
        raise DatabaseUnavailable(f"MongoDB did not confirm a write: {str(problem.get('errmsg', ''))[:200]}")


def not_storable(code: int) -> bool:
    """Whether an error code is about a document itself and not about the moment."""
    return code in _NOT_STORABLE


async def open_database(uri: str, *, database: str | None = None) -> Database:
    """Connect. The database is the one named in the URI, or `growi` as GROWI does.

    Raises SettingInvalid for a URI that cannot be understood and DatabaseUnavailable when nobody answers in 10 s.
    """
    try:
        parts = parse_uri(uri)
    except (driver.PyMongoError, ValueError) as error:
        raise SettingInvalid("MONGO_URI is not a MongoDB connection string.", setting="MONGO_URI") from error
    name = database or parts.get("database") or "growi"
    client: Any = AsyncIOMotorClient(
        uri,
        serverSelectionTimeoutMS=_CONNECT_MS,
        connectTimeoutMS=_CONNECT_MS,
        retryWrites=False,
        appname="growi-transfer",
        maxPoolSize=32,
    )
    try:
        with translated():
            hello = await client.admin.command("hello")
            build = await client.admin.command("buildInfo")
    except BaseException:
        client.close()
        raise
    return Database(client, name, hello, str(build["version"]))
