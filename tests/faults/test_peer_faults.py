"""The HTTP client against servers that refuse early, cut the line, say nothing, or talk nonsense."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvloop
from tests.fakes.peers import QUICK, TOKEN, Recorder, head_of, peer_at, response, serving, talking

from growi_transfer.protocol.errors import PeerRefused, PeerUnavailable, code_of, is_retryable
from growi_transfer.protocol.transfer_key import ParsedKey
from growi_transfer.pusher.address import AllowedDestinations
from growi_transfer.pusher.peer import open_peer
from growi_transfer.pusher.timeouts import PeerTimeouts

TRANSFER = "0123456789abcdef" * 2
VOLUME = [bytes(1 << 20)] * 8
BUSY = response(
    "409 Conflict",
    json.dumps({"errors": [{"code": "destination_busy", "message": "Another transfer is under way."}]}).encode(),
    "connection: close",
)


@dataclass(frozen=True)
class Certificate:
    """Of 127.0.0.1, vouched for by itself."""

    path: Path

    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path)
        return context

    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.path))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not on PATH, and it makes the certificate")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = f"{program} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=here"
    extension = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", str(path.with_suffix(".crt"))]
    subprocess.run([*command.split(), *extension], check=True, capture_output=True, timeout=30)
    with path.open("ab") as both:
        both.write(path.with_suffix(".crt").read_bytes())
    return Certificate(path)


async def talks_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await head_of(reader)
    writer.write(response("200 OK", b"{}", "connection: close"))
    await writer.drain()


async def refused_by(port: int) -> PeerRefused:
    """What a large volume is refused with."""
    async with await peer_at(port) as peer:
        with pytest.raises(PeerRefused) as caught:
            await peer.put_volume(TRANSFER, "pages", 0, VOLUME)
    return caught.value


async def arriving(port: int, tries: int) -> int:
    """How many of some refusals arrive; the others end as a line that was cut, which a caller tries again."""
    arrived = 0
    async with await peer_at(port) as peer:
        for _ in range(tries):
            with pytest.raises((PeerRefused, PeerUnavailable)) as raised:
                await peer.put_volume(TRANSFER, "pages", 0, VOLUME)
            if code_of(raised.value) == "destination_busy":
                arrived += 1
            else:
                assert is_retryable(raised.value)
    return arrived


async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, after: int) -> None:
    await head_of(reader)
    if after:
        await reader.readexactly(after)
    writer.write(BUSY)
    await writer.drain()


@pytest.mark.parametrize("after", [0, 1 << 20])
async def test_a_refusal_arrives_while_the_body_is_drained(after: int) -> None:
    drained: list[int] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await refuse(reader, writer, after=after)
        drained.append(0)
        while chunk := await reader.read(1 << 16):
            drained[-1] += len(chunk)

    async with talking(talk) as port:
        for _ in range(10):
            error = await refused_by(port)
            assert code_of(error) == "destination_busy"
            assert error.message == "Another transfer is under way."
    assert len(drained) == 10
    assert max(drained) < sum(map(len, VOLUME))


async def test_a_refusal_arrives_while_nobody_reads_the_body() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await refuse(reader, writer, after=0)
        await asyncio.Event().wait()

    async with talking(talk) as port:
        assert code_of(await refused_by(port)) == "destination_busy"


@pytest.mark.parametrize("after", [0, 1 << 20])
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_refusal_arrives_although_the_line_is_closed_with_bytes_unread(
    loop: Callable[[], asyncio.AbstractEventLoop], after: int
) -> None:
    """The reset may overtake the client between its look at the socket and its next write: most of the time under
    uvloop, when the server closes in the middle of a body. The answer is then read from the broken connection."""

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, connection.makefile("rb") as request:
                    while request.readline() != b"\r\n":
                        pass
                    request.read(after)
                    connection.sendall(BUSY)

    async def run(port: int) -> None:
        assert await arriving(port, 50) >= 45

    with socket.create_server(("127.0.0.1", 0)) as listener, asyncio.Runner(loop_factory=loop) as runner:
        server = threading.Thread(target=serve, args=(listener,), daemon=True)
        server.start()
        runner.run(run(listener.getsockname()[1]))
        listener.shutdown(socket.SHUT_RDWR)
        server.join(10)
        assert not server.is_alive()


async def test_a_real_server_refuses_early() -> None:
    class Early(Recorder):
        async def __call__(self, scope: object, receive: object, send: object) -> None:
            assert callable(send)
            body = BUSY.partition(b"\r\n\r\n")[2]
            headers = [(b"content-length", str(len(body)).encode()), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": 409, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    async with serving(Early()) as app:
        assert await arriving(app.port, 20) >= 18


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x00\x01\x02\x03\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"x%d: y\r\n" % number for number in range(1000)) + b"\r\n",
        b"HTTP/1.1 999999 OK\r\n\r\n",
    ],
)
async def test_an_answer_that_is_cut_or_nonsense(answer: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(answer)
        await writer.drain()

    async with talking(talk) as port, await peer_at(port) as peer:
        with pytest.raises(PeerUnavailable) as caught:
            await peer.transfer(TRANSFER)
    assert is_retryable(caught.value)
    assert f"http://127.0.0.1:{port}" in caught.value.message


async def test_a_server_that_never_answers() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        await asyncio.Event().wait()

    quick = PeerTimeouts(answer=0.05, commit=0.05)
    async with talking(talk) as port, await peer_at(port, timeouts=quick) as peer:
        for call in (peer.growi_info(), peer.commit(TRANSFER)):
            with pytest.raises(PeerUnavailable) as caught:
                await call
            assert "did not answer in time" in caught.value.message


async def test_an_answer_that_stops_in_the_middle() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{")
        await asyncio.Event().wait()

    async with talking(talk) as port, await peer_at(port, timeouts=PeerTimeouts(answer=0.05)) as peer:
        with pytest.raises(PeerUnavailable) as caught:
            await peer.transfer(TRANSFER)
    assert "did not answer in time" in caught.value.message


async def test_a_server_that_takes_no_more_of_a_body() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        await asyncio.Event().wait()

    async with talking(talk) as port, await peer_at(port, timeouts=PeerTimeouts(idle=0.2, answer=60)) as peer:
        with pytest.raises(PeerUnavailable) as caught:
            await peer.put_volume(TRANSFER, "pages", 0, VOLUME * 4)
    assert "did not answer in time" in caught.value.message


async def test_a_slow_body_is_no_silence() -> None:
    """The time for an answer runs from the end of the request."""

    async def pace(wanted: int) -> int:
        await asyncio.sleep(0.02)
        return min(wanted, 100)

    async with serving(Recorder()) as app:
        quick = PeerTimeouts(idle=0.1, answer=0.1)
        async with await peer_at(app.port, timeouts=quick, pace=pace) as peer:
            assert await peer.put_volume(TRANSFER, "pages", 0, [b"x" * 1000]) == {}


async def test_a_connection_that_dies_while_idle() -> None:
    """What may be repeated safely is sent again by the library on a fresh connection, with its whole body; what may
    not is told to the caller, who knows better."""
    bodies: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(1):
            head = (await head_of(reader)).lower()
            bodies.append(await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0])))
            writer.write(response("200 OK", b"{}"))
        await reader.read(1)

    async with talking(talk) as port, await peer_at(port) as peer:
        await peer.put_volume(TRANSFER, "pages", 0, [b"first"])
        await peer.put_volume(TRANSFER, "pages", 1, [b"second"])
        with pytest.raises(PeerUnavailable) as caught:
            await peer.put_bundle(TRANSFER, [b"third"])
        assert is_retryable(caught.value)
        await peer.put_bundle(TRANSFER, [b"third"])
    assert bodies == [b"first", b"second", b"third"]


async def test_a_line_that_is_cut_in_the_middle_of_a_body() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        await reader.readexactly(1 << 20)
        writer.transport.abort()

    async with talking(talk) as port, await peer_at(port) as peer:
        with pytest.raises(PeerUnavailable) as caught:
            await peer.put_volume(TRANSFER, "pages", 0, VOLUME)
    assert is_retryable(caught.value)
    assert "was cut" in caught.value.message


async def test_a_certificate_that_nobody_vouches_for(certificate: Certificate) -> None:
    async with talking(talks_http, certificate.server()) as port:
        key = ParsedKey(TOKEN, f"https://127.0.0.1:{port}")
        async with await open_peer(key, allowed=AllowedDestinations.loopback(), epoch=1, timeouts=QUICK) as peer:
            with pytest.raises(PeerRefused) as caught:
                await peer.transfer(TRANSFER)
    assert code_of(caught.value) == "peer_certificate_untrusted"
    assert not is_retryable(caught.value)


async def test_a_certificate_of_another_host(certificate: Certificate) -> None:
    async def lookup(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async with talking(talks_http, certificate.server()) as port:
        key = ParsedKey(TOKEN, f"https://wiki.example.com:{port}")
        allowed = AllowedDestinations.parse(["wiki.example.com"])
        trusted = certificate.client()
        async with await open_peer(key, allowed=allowed, epoch=1, timeouts=QUICK, lookup=lookup, tls=trusted) as peer:
            with pytest.raises(PeerRefused) as caught:
                await peer.transfer(TRANSFER)
    assert code_of(caught.value) == "peer_certificate_untrusted"


async def test_a_refusal_arrives_over_tls(certificate: Certificate) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await refuse(reader, writer, after=1 << 20)
        while await reader.read(1 << 16):
            pass

    async with talking(talk, certificate.server()) as port:
        key = ParsedKey(TOKEN, f"https://127.0.0.1:{port}")
        async with await open_peer(
            key, allowed=AllowedDestinations.loopback(), epoch=1, timeouts=QUICK, tls=certificate.client()
        ) as peer:
            with pytest.raises(PeerRefused) as caught:
                await peer.put_volume(TRANSFER, "pages", 0, VOLUME)
    assert code_of(caught.value) == "destination_busy"


async def test_a_secure_connection_to_a_plain_server() -> None:
    async with serving(Recorder()) as app:
        key = ParsedKey(TOKEN, f"https://127.0.0.1:{app.port}")
        async with await open_peer(key, allowed=AllowedDestinations.loopback(), epoch=1, timeouts=QUICK) as peer:
            with pytest.raises(PeerUnavailable) as caught:
                await peer.transfer(TRANSFER)
    assert "No secure connection" in caught.value.message


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0\r\n", BUSY, b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}"])
async def test_the_key_is_in_no_error_and_in_no_cause(answer: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(answer)

    async with talking(talk) as port, await peer_at(port) as peer:
        with pytest.raises((PeerRefused, PeerUnavailable)) as caught:
            await peer.transfer(TRANSFER)
    error: BaseException | None = caught.value
    assert TOKEN not in "".join(traceback.format_exception(caught.value))
    while error is not None:
        assert TOKEN not in repr(error)
        assert TOKEN not in repr(error.__dict__)
        error = error.__cause__ or error.__context__
