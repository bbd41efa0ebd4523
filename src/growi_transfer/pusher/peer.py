"""The only HTTP client: one method for each request a source makes of a destination.

It connects to nothing but the addresses that were checked when it was opened, follows no redirect, uses no proxy and
unpacks no compressed answer. Nothing is tried again here, except that the library sends a GET, HEAD or PUT a second
time when its connection breaks; whether more of that can help is told by the error. Errors: `PeerRefused` (the peer's
own code), `PeerUnavailable` (no whole answer), and what the source of a body raises. No error and no log line has the
key in it, not even in its cause.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
from yarl import URL

from growi_transfer import __version__
from growi_transfer.protocol.errors import (
    InvalidRequest,
    PeerRefused,
    TransferError,
)
from growi_transfer.protocol.growi_info import GrowiInfo, parse_growi_info
from growi_transfer.protocol.receipt import CounterSignature
from growi_transfer.protocol.transfer_key import ParsedKey
from growi_transfer.protocol.wire import (
    EPOCH_HEADER,
    JSON_LIMIT,
    KEY_HEADER,
    PREFIX,
    AttachmentFile,
    Claim,
    CopyPage,
    PlanPage,
    PutTransfer,
    Shape,
    Verify,
)
from growi_transfer.pusher.address import AllowedDestinations, Lookup, resolve_destination
from growi_transfer.pusher.body import Body, Chunk, Pace, joined
from growi_transfer.pusher.refusal import ANSWER_TOO_LARGE, invalid_answer, refusal
from growi_transfer.pusher.resumable import UploadState, read_state, upload_headers
from growi_transfer.pusher.timeouts import PeerTimeouts
from growi_transfer.pusher.transport import Payload, Pinned, no_answer, read_answer

ERROR_LIMIT = 64 << 10
"""Bytes of an answer that is none of success."""
CONNECTIONS = 128
"""More than any transfer has requests in flight, so that its own limits are the ones that count."""
_KEEP_SECONDS = 4.0
"""An idle connection is given up before usual servers close it (5 s), which a request could otherwise run into."""


async def open_peer(
    key: ParsedKey,
    *,
    allowed: AllowedDestinations,
    epoch: int,
    pace: Pace | None = None,
    timeouts: PeerTimeouts | None = None,
    connections: int = CONNECTIONS,
    lookup: Lookup | None = None,
    tls: ssl.SSLContext | None = None,
) -> Peer:
    """Check where the key leads and make a client for it; nothing is sent yet. Close it when done.

    `tls`: whose certificates are trusted; None means those that the system trusts (or SSL_CERT_FILE names).
    Raises DestinationNotAllowed, or PeerUnavailable when the host has no address.
    """
    timeouts = timeouts or PeerTimeouts()
    addresses = await resolve_destination(key, allowed, lookup=lookup)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            resolver=Pinned(key.host, addresses),
            use_dns_cache=False,
            limit=connections,
            ssl=tls or True,
            keepalive_timeout=_KEEP_SECONDS,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={
            "accept": "application/json",
            "accept-encoding": "identity",
            "user-agent": f"growi-transfer/{__version__}",
            KEY_HEADER: key.token,
        },
        auto_decompress=False,
        trust_env=False,
    )
    return Peer(session, key.origin, key.token, epoch=epoch, pace=pace, timeouts=timeouts)


class Peer:
    """One destination. Safe to use from several tasks at once. `epoch` may be raised while in use."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        origin: str,
        secret: str,
        *,
        epoch: int,
        pace: Pace | None,
        timeouts: PeerTimeouts,
    ) -> None:
        self._session = session
        self._secret = secret
        self._pace = pace
        self._timeouts = timeouts
        self.origin = origin
        self.epoch = epoch

    def __repr__(self) -> str:
        return f"Peer({self.origin!r})"

    async def __aenter__(self) -> Peer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections. Twice has one effect."""
        await self._session.close()

    async def growi_info(self) -> GrowiInfo:
        """What the destination says about itself. It may write a probe file into its storage for that."""
        _, body = await self.send("GET", "/growi-info")
        try:
            return parse_growi_info(body)
        except InvalidRequest as error:
            reason = error.message
        raise invalid_answer(reason, self.origin)

    async def plan_merge(self, part: Shape) -> dict[str, Any]:
        """What of this part of the wiki (a `MergePlan`) would be in the way of something over there."""
        return await self._json("POST", "/merge-plan", part)

    async def probe(self, parts: Sequence[Chunk]) -> dict[str, Any]:
        """Send bytes that the destination counts and throws away, to see how fast the line is."""
        return await self._bytes("POST", "/preflight-probe", parts, "application/octet-stream")

    async def put_transfer(self, transfer_id: str, body: PutTransfer) -> dict[str, Any]:
        """Announce the transfer and its present list of collections."""
        return await self._json("PUT", f"/transfers/{transfer_id}", body)

    async def transfer(self, transfer_id: str) -> dict[str, Any]:
        """What the receiver holds of the transfer."""
        return await self._json("GET", f"/transfers/{transfer_id}")

    async def volumes(self, transfer_id: str, collection: str) -> list[dict[str, Any]]:
        """The volumes of a collection that the receiver holds."""
        answer = await self._json("GET", f"/transfers/{transfer_id}/volumes/{quote(collection, safe='')}")
        volumes = answer.get("volumes")
        if not isinstance(volumes, list) or not all(isinstance(volume, dict) for volume in volumes):
            raise invalid_answer("it has no list of volumes.", self.origin)
        return volumes

    async def put_volume(
        self, transfer_id: str, collection: str, number: int, parts: Sequence[Chunk]
    ) -> dict[str, Any]:
        """Send a volume, whose bytes are `parts` one after the other."""
        path = f"/transfers/{transfer_id}/volumes/{quote(collection, safe='')}/{number}"
        return await self._bytes("PUT", path, parts, "application/zip")

    async def plan(self, transfer_id: str, page: PlanPage) -> dict[str, Any]:
        """Announce attachments; the answer says which are missing over there."""
        return await self._json("POST", f"/transfers/{transfer_id}/attachments/plan", page)

    async def put_bundle(self, transfer_id: str, parts: Sequence[Chunk]) -> dict[str, Any]:
        """Send a bundle of small attachments; the answer has one result for each."""
        return await self._bytes("POST", f"/transfers/{transfer_id}/attachments", parts, "application/octet-stream")

    async def copy_files(self, transfer_id: str, page: CopyPage) -> dict[str, Any]:
        """Have the destination's store copy files; the answer has one result for each."""
        path, answer = f"/transfers/{transfer_id}/attachments", self._timeouts.commit
        body, kind = self._body((page.model_dump_json().encode(),)), {"content-type": "application/json"}
        return self.object_of((await self.send("POST", path, body=body, headers=kind, answer=answer))[1])

    async def upload_state(self, transfer_id: str, attachment_id: str) -> UploadState | None:
        """Where a large file is; None when nothing of it is there."""
        try:
            headers, _ = await self.send("HEAD", _upload_path(transfer_id, attachment_id))
        except PeerRefused as error:
            # An answer to HEAD has no body that could tell more.
            if error.status == 404:
                return None
            raise
        return self._upload_state(headers)

    async def patch_upload(
        self,
        transfer_id: str,
        attachment_id: str,
        *,
        offset: int,
        chunks: AsyncIterator[bytes],
        length: int,
        complete: bool,
        digest: str | Callable[[], str] | None = None,
        file: AttachmentFile | None = None,
    ) -> UploadState:
        """Append `length` bytes to a large file; on return they are durable, and with `complete` the file is visible.

        `digest` is the hex SHA-256 of the whole file, needed with `complete`. Given as a function it is asked when all
        bytes are sent; the file is then completed by a second, empty request, because a header goes before a body.
        `chunks` is read as far as it is needed and is not closed. Raises SizeMismatch when it has another length.
        """
        late = complete and callable(digest)
        known = None if callable(digest) else digest
        state = UploadState(offset, None, False)
        path = _upload_path(transfer_id, attachment_id)
        if length or not late:
            body = Body(lambda: chunks, length, self._pace, self._timeouts.idle)
            headers = upload_headers(offset, complete and not late, known, file)
            state = self._upload_state((await self.send("PATCH", path, body=body, headers=headers))[0])
        if late and callable(digest):
            headers = upload_headers(offset + length, True, digest(), file)
            state = self._upload_state((await self.send("PATCH", path, body=self._body(()), headers=headers))[0])
        return state

    async def verify(self, transfer_id: str, expected: Verify) -> dict[str, Any]:
        """Have staging compared with what was read here; the answer may come before the end (`Verify.seconds`)."""
        return await self._json("POST", f"/transfers/{transfer_id}/verify", expected)

    async def commit(self, transfer_id: str) -> dict[str, Any]:
        return await self._order(transfer_id, "commit")

    async def claim(self, transfer_id: str, claim: Claim) -> dict[str, Any]:
        return await self._json("POST", f"/transfers/{transfer_id}/claim", claim)

    async def rollback(self, transfer_id: str) -> dict[str, Any]:
        return await self._order(transfer_id, "rollback")

    async def cancel(self, transfer_id: str) -> dict[str, Any]:
        return await self._order(transfer_id, "cancel")

    async def receipt(self, transfer_id: str) -> dict[str, Any]:
        """The destination's receipt, from `ready` on."""
        return await self._json("GET", f"/transfers/{transfer_id}/receipt")

    async def countersign(self, transfer_id: str, mark: CounterSignature) -> dict[str, Any]:
        return await self._json("POST", f"/transfers/{transfer_id}/receipt", mark)

    async def keep_alive(self, transfer_id: str) -> None:
        """Renew the lease of the key and show that this side is alive."""
        await self.send("POST", f"/transfers/{transfer_id}/keep-alive")

    async def _order(self, transfer_id: str, what: str) -> dict[str, Any]:
        _, body = await self.send("POST", f"/transfers/{transfer_id}/{what}", answer=self._timeouts.commit)
        return self.object_of(body)

    async def _json(self, method: str, path: str, shape: Shape | None = None) -> dict[str, Any]:
        body, headers = None, {}
        if shape is not None:
            body, headers = self._body((shape.model_dump_json().encode(),)), {"content-type": "application/json"}
        return self.object_of((await self.send(method, path, body=body, headers=headers))[1])

    async def _bytes(self, method: str, path: str, parts: Sequence[Chunk], kind: str) -> dict[str, Any]:
        return self.object_of(
            (await self.send(method, path, body=self._body(parts), headers={"content-type": kind}))[1]
        )

    def body(self, chunks: Callable[[], AsyncIterator[Chunk]], length: int) -> Body:
        """A body of `length` bytes for `send`, whose chunks are asked for each time it is sent."""
        return Body(chunks, length, self._pace, self._timeouts.idle)

    def _body(self, parts: Sequence[Chunk]) -> Body:
        return Body(lambda: joined(parts), sum(map(len, parts)), self._pace, self._timeouts.idle)

    def object_of(self, body: bytes) -> dict[str, Any]:
        """An answer as the JSON object that it has to be. Raises PeerRefused."""
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError:
            answer = None
        if not isinstance(answer, dict):
            raise invalid_answer("it is not a JSON object.", self.origin)
        return answer

    def _upload_state(self, headers: Mapping[str, str]) -> UploadState:
        state = read_state(headers)
        if state is None:
            raise invalid_answer("it does not tell the offset of the upload.", self.origin)
        return state

    async def send(
        self,
        method: str,
        path: str,
        *,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
        answer: float | None = None,
        limit: int | None = None,
    ) -> tuple[Mapping[str, str], bytes]:
        """Headers and body of an answer of success.

        The answer may come while the body is still being sent: a refusal then ends the sending and is told.
        """
        failure: TransferError
        payload = None if body is None else Payload(body)
        try:
            async with self._session.request(
                method,
                URL(f"{self.origin}{PREFIX}{path}", encoded=True),
                data=payload,
                headers={**(headers or {}), EPOCH_HEADER: str(self.epoch)},
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=self._timeouts.connect, sock_read=answer or self._timeouts.answer
                ),
            ) as response:
                good = 200 <= response.status < 300
                content = await read_answer(response, (limit or JSON_LIMIT) if good else ERROR_LIMIT)
                if not good:
                    raise self._refusal(response.status, response.headers, content or b"")
                if content is None:
                    raise invalid_answer("it is too large.", self.origin, code=ANSWER_TOO_LARGE)
                return response.headers, content
        except (aiohttp.ClientError, OSError) as error:
            early = payload.early_answer() if payload is not None else None
            failure = no_answer(error, self.origin) if early is None else self._refusal(*early)
        finally:
            if body is not None and payload is not None:
                payload.line.close()
                await body.end()
        # Raised out here: what the client library knows of the request, the key too, is not in the error's context.
        raise (body and body.failure) or failure

    def _refusal(self, status: int, headers: Mapping[str, str], content: bytes) -> PeerRefused:
        return refusal(status, headers, content, origin=self.origin, secret=self._secret)


def _upload_path(transfer_id: str, attachment_id: str) -> str:
    return f"/transfers/{transfer_id}/attachments/{attachment_id}"
