"""How the HTTP library is used: where it may connect, how a body goes out, how an answer and its errors come in."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence

import aiohttp
from aiohttp.abc import AbstractResolver, AbstractStreamWriter, ResolveResult

from growi_transfer.protocol.errors import (
    PeerRefused,
    PeerUnavailable,
    TransferError,
)
from growi_transfer.pusher.address import Address
from growi_transfer.pusher.body import Body
from growi_transfer.pusher.early_answer import Line, parse_answer
from growi_transfer.pusher.refusal import UNTRUSTED


class Payload(aiohttp.Payload):
    """A body as aiohttp takes it."""

    def __init__(self, body: Body) -> None:
        super().__init__(body)
        self._size = body.length
        self._body = body
        self.line = Line(None)

    async def write(self, writer: AbstractStreamWriter) -> None:
        self.line.close()
        self.line = Line(getattr(writer, "transport", None))
        await self._body.send(writer.write, self.line.has_answer)

    def early_answer(self) -> tuple[int, Mapping[str, str], bytes] | None:
        """A refusal that had arrived when the connection broke."""
        answer = parse_answer(self.line.left_over())
        return answer if answer is not None and answer[0] >= 300 else None

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("a body is sent, not shown")


class Pinned(AbstractResolver):
    """Answers for one host, with addresses that were checked."""

    def __init__(self, host: str, addresses: Sequence[Address]) -> None:
        self._host = host
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        if host != self._host:
            raise OSError(f"{host} was not checked")
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


async def read_answer(response: aiohttp.ClientResponse, limit: int) -> bytes | None:
    """The whole body, or None when it is larger than the limit."""
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > limit:
            return None
        parts.append(part)
    return b"".join(parts)


def no_answer(error: Exception, origin: str) -> TransferError:
    """Why there was no whole answer. Nothing of the client library's error but its kind goes on."""
    kind = type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return PeerRefused(f"The certificate of {origin} is not trusted here.", code=UNTRUSTED, status=0)
    if isinstance(error, TimeoutError):
        return PeerUnavailable(f"{origin} did not answer in time.", reason=kind)
    if isinstance(error, aiohttp.ClientSSLError):
        return PeerUnavailable(f"No secure connection to {origin} could be made.", reason=kind)
    if isinstance(error, aiohttp.ClientConnectorError):
        why = error.os_error.strerror or kind
        return PeerUnavailable(f"{origin} cannot be reached: {why}.", reason=kind, reached=False)
    if isinstance(error, aiohttp.ClientResponseError):
        return PeerUnavailable(f"{origin} does not answer in HTTP.", reason=kind)
    return PeerUnavailable(f"The connection to {origin} was cut.", reason=kind)
