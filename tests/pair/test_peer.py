"""The HTTP client against a real server that writes down what it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256

import pytest
from tests.fakes.peers import QUICK, TOKEN, Answer, Recorder, Seen, peer_at, serving

from growi_transfer.protocol.errors import (
    DestinationNotAllowed,
    FileNotFound,
    PeerRefused,
    PeerUnavailable,
    SizeMismatch,
    code_of,
)
from growi_transfer.protocol.transfer_key import ParsedKey
from growi_transfer.protocol.wire import AttachmentFile, PlanPage, PutTransfer, SetUp, SourceInfo, Verify, parse
from growi_transfer.pusher.address import AllowedDestinations
from growi_transfer.pusher.bandwidth import BandwidthLimiter
from growi_transfer.pusher.peer import Peer, open_peer
from growi_transfer.pusher.resumable import UploadState

TRANSFER = "0123456789abcdef" * 2
ATTACHMENT = "6b01ecf0afe6dd931e5220f5"
BASE = "/_api/v3/g2g-transfer"
HERE = f"{BASE}/transfers/{TRANSFER}"
UPLOAD = f"{HERE}/attachments/{ATTACHMENT}"
INFO = {"growiInfo": {"version": "7.3.0", "attachmentInfo": {"type": "local", "writable": True}}}


@pytest.fixture
async def app() -> AsyncIterator[Recorder]:
    async with serving(Recorder()) as running:
        yield running


@pytest.fixture
async def peer(app: Recorder) -> AsyncIterator[Peer]:
    async with await peer_at(app.port) as opened:
        yield opened


def last(app: Recorder) -> Seen:
    return app.seen[-1]


async def chunks_of(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_growi_info(app: Recorder, peer: Peer) -> None:
    app.answers["GET", f"{BASE}/growi-info"] = Answer(body=INFO)
    info = await peer.growi_info()
    assert info.version == "7.3.0"
    assert info.dialect == "growi"
    headers = last(app).headers
    assert headers["x-growi-transfer-key"] == TOKEN
    assert headers["x-growi-transfer-epoch"] == "3"
    assert headers["accept-encoding"] == "identity"
    assert headers["user-agent"].startswith("growi-transfer/")
    assert "cookie" not in headers


@pytest.mark.parametrize("body", [b"<html>", {}, {"growiInfo": {"version": 7}}])
async def test_growi_info_that_is_none(app: Recorder, peer: Peer, body: object) -> None:
    app.answers["GET", f"{BASE}/growi-info"] = Answer(body=body)
    with pytest.raises(PeerRefused) as caught:
        await peer.growi_info()
    assert code_of(caught.value) == "peer_answer_invalid"
    assert peer.origin in caught.value.message


async def test_json_requests(app: Recorder, peer: Peer) -> None:
    setup = PutTransfer(setup=SetUp(source=SourceInfo(version="7.3.0")), collections=())
    page = PlanPage(files=(AttachmentFile(id=ATTACHMENT, file_name="a.txt", has_page=True, size=1),))
    expected = Verify(collections=(), files=5)
    app.answers["PUT", HERE] = Answer(body={"a": 1})
    app.answers["GET", HERE] = Answer(body={"b": 2})
    app.answers["POST", f"{HERE}/attachments/plan"] = Answer(body={"missing": []})
    app.answers["POST", f"{HERE}/verify"] = Answer(body={"c": 3})
    assert await peer.put_transfer(TRANSFER, setup) == {"a": 1}
    assert parse(PutTransfer, last(app).body) == setup
    assert last(app).headers["content-type"] == "application/json"
    assert last(app).headers["content-length"] == str(len(last(app).body))
    assert await peer.transfer(TRANSFER) == {"b": 2}
    assert await peer.plan(TRANSFER, page) == {"missing": []}
    assert parse(PlanPage, last(app).body) == page
    assert await peer.verify(TRANSFER, expected) == {"c": 3}
    assert parse(Verify, last(app).body) == expected


async def test_orders(app: Recorder, peer: Peer) -> None:
    for order in ("commit", "rollback", "cancel"):
        app.answers["POST", f"{HERE}/{order}"] = Answer(body={"did": order})
        assert await getattr(peer, order)(TRANSFER) == {"did": order}
        assert last(app).body == b""
    app.answers["POST", f"{HERE}/keep-alive"] = Answer(status=204)
    await peer.keep_alive(TRANSFER)
    assert last(app).path == f"{HERE}/keep-alive"


async def test_a_volume(app: Recorder, peer: Peer) -> None:
    parts = [b"head", bytes(range(256)) * 8192, memoryview(b"tail")]
    path = f"{HERE}/volumes/yjs-writings/7"
    app.answers["PUT", path] = Answer(body={"stored": True})
    assert await peer.put_volume(TRANSFER, "yjs-writings", 7, parts) == {"stored": True}
    assert last(app).body == b"".join(parts)
    assert last(app).headers["content-length"] == str(sum(map(len, parts)))
    assert "transfer-encoding" not in last(app).headers


@pytest.mark.parametrize(
    ("collection", "path"),
    [("a/b c", "a%2Fb%20c"), ("日本", "%E6%97%A5%E6%9C%AC"), ("a?b#c", "a%3Fb%23c"), ("..", "..")],
)
async def test_names_of_collections_stay_one_segment(app: Recorder, peer: Peer, collection: str, path: str) -> None:
    await peer.put_volume(TRANSFER, collection, 0, [b"x"])
    assert last(app).path == f"{HERE}/volumes/{path}/0"


async def test_the_volumes_that_are_there(app: Recorder, peer: Peer) -> None:
    app.answers["GET", f"{HERE}/volumes/pages"] = Answer(body={"volumes": [{"number": 1}]})
    assert await peer.volumes(TRANSFER, "pages") == [{"number": 1}]
    for body in ({}, {"volumes": {}}, {"volumes": [1]}, []):
        app.answers["GET", f"{HERE}/volumes/pages"] = Answer(body=body)
        with pytest.raises(PeerRefused) as caught:
            await peer.volumes(TRANSFER, "pages")
        assert code_of(caught.value) == "peer_answer_invalid"


async def test_a_bundle(app: Recorder, peer: Peer) -> None:
    parts = [b"frame", b"content" * 1000] * 100
    app.answers["POST", f"{HERE}/attachments"] = Answer(body={"results": []})
    assert await peer.put_bundle(TRANSFER, parts) == {"results": []}
    assert last(app).body == b"".join(parts)


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (Answer(status=204, headers={"upload-offset": "5", "upload-complete": "?0"}), UploadState(5, None, False)),
        (
            Answer(status=204, headers={"upload-offset": "9", "upload-length": "9", "upload-complete": "?1"}),
            UploadState(9, 9, True),
        ),
        (Answer(status=404), None),
    ],
)
async def test_where_an_upload_is(app: Recorder, peer: Peer, answer: Answer, state: UploadState | None) -> None:
    app.answers["HEAD", UPLOAD] = answer
    assert await peer.upload_state(TRANSFER, ATTACHMENT) == state


async def test_where_an_upload_is_may_be_refused(app: Recorder, peer: Peer) -> None:
    app.answers["HEAD", UPLOAD] = Answer(status=403)
    with pytest.raises(PeerRefused) as caught:
        await peer.upload_state(TRANSFER, ATTACHMENT)
    assert caught.value.status == 403
    app.answers["HEAD", UPLOAD] = Answer(status=204)
    with pytest.raises(PeerRefused) as caught:
        await peer.upload_state(TRANSFER, ATTACHMENT)
    assert code_of(caught.value) == "peer_answer_invalid"


async def test_a_part_of_a_large_file(app: Recorder, peer: Peer) -> None:
    file = AttachmentFile(id=ATTACHMENT, file_name="a.bin", has_page=False, size=20)
    app.answers["PATCH", UPLOAD] = Answer(status=204, headers={"upload-offset": "15", "upload-complete": "?0"})
    state = await peer.patch_upload(
        TRANSFER, ATTACHMENT, offset=5, chunks=chunks_of(b"01234", b"56789"), length=10, complete=False, file=file
    )
    assert state == UploadState(15, None, False)
    assert last(app).body == b"0123456789"
    assert last(app).headers["upload-offset"] == "5"
    assert last(app).headers["upload-length"] == "20"
    assert last(app).headers["upload-complete"] == "?0"
    assert "x-growi-transfer-sha256" not in last(app).headers


async def test_the_last_part_with_a_known_digest(app: Recorder, peer: Peer) -> None:
    app.answers["PATCH", UPLOAD] = Answer(status=204, headers={"upload-offset": "3", "upload-complete": "?1"})
    state = await peer.patch_upload(
        TRANSFER, ATTACHMENT, offset=0, chunks=chunks_of(b"abc"), length=3, complete=True, digest="0" * 64
    )
    assert state.complete
    (seen,) = app.seen
    assert (seen.body, seen.headers["x-growi-transfer-sha256"]) == (b"abc", "0" * 64)


async def test_the_last_part_with_a_digest_that_is_known_afterwards(app: Recorder, peer: Peer) -> None:
    hasher = sha256()

    async def hashed() -> AsyncIterator[bytes]:
        for chunk in (b"abc", b"def"):
            hasher.update(chunk)
            yield chunk

    app.answers["PATCH", UPLOAD] = Answer(status=204, headers={"upload-offset": "6", "upload-complete": "?1"})
    await peer.patch_upload(
        TRANSFER, ATTACHMENT, offset=0, chunks=hashed(), length=6, complete=True, digest=hasher.hexdigest
    )
    data, end = app.seen
    assert (data.body, data.headers["upload-complete"], data.headers["upload-offset"]) == (b"abcdef", "?0", "0")
    assert (end.body, end.headers["upload-complete"], end.headers["upload-offset"]) == (b"", "?1", "6")
    assert end.headers["x-growi-transfer-sha256"] == sha256(b"abcdef").hexdigest()


async def test_an_upload_of_which_nothing_is_left_to_send(app: Recorder, peer: Peer) -> None:
    app.answers["PATCH", UPLOAD] = Answer(status=204, headers={"upload-offset": "6", "upload-complete": "?1"})
    await peer.patch_upload(
        TRANSFER, ATTACHMENT, offset=6, chunks=chunks_of(), length=0, complete=True, digest=lambda: "1" * 64
    )
    (seen,) = app.seen
    assert seen.headers["x-growi-transfer-sha256"] == "1" * 64
    assert seen.headers["content-length"] == "0"


async def test_what_the_source_of_a_body_raises_comes_through(app: Recorder, peer: Peer) -> None:
    async def vanishes() -> AsyncIterator[bytes]:
        yield b"first"
        raise FileNotFound("The file is gone.")

    with pytest.raises(FileNotFound):
        await peer.patch_upload(TRANSFER, ATTACHMENT, offset=0, chunks=vanishes(), length=100, complete=False)
    for length in (2, 100):
        with pytest.raises(SizeMismatch):
            await peer.patch_upload(
                TRANSFER, ATTACHMENT, offset=0, chunks=chunks_of(b"abc"), length=length, complete=False
            )
    app.answers["GET", HERE] = Answer(body={"still": "alive"})
    assert await peer.transfer(TRANSFER) == {"still": "alive"}
    assert not any(seen.whole for seen in app.seen[:-1])


async def test_a_refusal(app: Recorder, peer: Peer) -> None:
    envelope = {"errors": [{"message": f"No {TOKEN}", "code": "destination_busy", "details": {"transfer": "x"}}]}
    app.answers["PUT", f"{HERE}/volumes/pages/0"] = Answer(409, envelope, {"retry-after": "2"})
    with pytest.raises(PeerRefused) as caught:
        await peer.put_volume(TRANSFER, "pages", 0, [b"x"])
    assert code_of(caught.value) == "destination_busy"
    assert caught.value.message == "No <key>"
    assert caught.value.details == {"transfer": "x", "retry_after": 2}


async def test_redirects_are_not_followed(app: Recorder, peer: Peer) -> None:
    app.answers["GET", HERE] = Answer(307, {}, {"location": "http://elsewhere.example.com/"})
    with pytest.raises(PeerRefused) as caught:
        await peer.transfer(TRANSFER)
    assert code_of(caught.value) == "peer_redirects"
    assert len(app.seen) == 1


async def test_answers_have_a_limit(app: Recorder, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("growi_transfer.pusher.peer.JSON_LIMIT", 1000)
    app.answers["GET", HERE] = Answer(body={"a": "x" * 1000})
    with pytest.raises(PeerRefused) as caught:
        await peer.transfer(TRANSFER)
    assert code_of(caught.value) == "peer_answer_too_large"
    app.answers["GET", HERE] = Answer(409, b"x" * 1_000_000)
    with pytest.raises(PeerRefused) as caught:
        await peer.transfer(TRANSFER)
    assert code_of(caught.value) == "conflict"


@pytest.mark.parametrize("body", [b"", b"[]", b"nope", b"1", b"\x1f\x8b\x08"])
async def test_an_answer_that_is_no_object(app: Recorder, peer: Peer, body: bytes) -> None:
    app.answers["GET", HERE] = Answer(body=body, headers={"content-encoding": "gzip"})
    with pytest.raises(PeerRefused) as caught:
        await peer.transfer(TRANSFER)
    assert code_of(caught.value) == "peer_answer_invalid"


async def test_an_epoch_may_be_raised(app: Recorder, peer: Peer) -> None:
    await peer.transfer(TRANSFER)
    peer.epoch = 4
    await peer.transfer(TRANSFER)
    assert [seen.headers["x-growi-transfer-epoch"] for seen in app.seen] == ["3", "4"]


async def test_connections_are_kept_and_limited(app: Recorder) -> None:
    app.hold = asyncio.Event()
    async with await peer_at(app.port, connections=3) as peer:
        asked = [asyncio.create_task(peer.transfer(TRANSFER)) for _ in range(10)]
        async with asyncio.timeout(5):
            while app.in_flight < 3:
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        app.hold.set()
        await asyncio.gather(*asked)
    assert app.most_in_flight == 3


async def test_a_server_that_is_gone() -> None:
    app = Recorder()
    async with serving(app):
        pass
    async with await peer_at(app.port) as peer:
        with pytest.raises(PeerUnavailable) as caught:
            await peer.transfer(TRANSFER)
    assert f"http://127.0.0.1:{app.port} cannot be reached" in caught.value.message


async def test_the_bandwidth_can_be_limited_and_lifted_while_it_runs(app: Recorder) -> None:
    limiter = BandwidthLimiter(10_000)
    async with await peer_at(app.port, pace=limiter) as peer:
        sending = asyncio.create_task(peer.put_volume(TRANSFER, "pages", 0, [bytes(1 << 20)] * 4))
        done, _ = await asyncio.wait([sending], timeout=0.3)
        assert not done
        limiter.set_rate(None)
        async with asyncio.timeout(5):
            await sending
    assert len(last(app).body) == 4 << 20


async def test_a_request_that_is_cancelled_leaves_its_source_alone(app: Recorder, peer: Peer) -> None:
    read: list[int] = []

    async def slow() -> AsyncIterator[bytes]:
        for number in range(1000):
            read.append(number)
            yield b"x"
            await asyncio.sleep(0.005)

    source = slow()
    sending = asyncio.create_task(
        peer.patch_upload(TRANSFER, ATTACHMENT, offset=0, chunks=source, length=1000, complete=False)
    )
    async with asyncio.timeout(5):
        while len(read) < 3:
            await asyncio.sleep(0.005)
    sending.cancel()
    await asyncio.wait([sending])
    assert sending.cancelled()
    await source.aclose()


async def test_the_checked_address_is_the_one_that_is_used(app: Recorder) -> None:
    lookups: list[str] = []

    async def rebinding(host: str, port: int) -> list[str]:
        lookups.append(host)
        return ["127.0.0.1"] if len(lookups) == 1 else ["169.254.169.254"]

    key = ParsedKey(TOKEN, f"http://wiki.example.com:{app.port}")
    allowed = AllowedDestinations.parse([f"wiki.example.com:{app.port}"])
    async with await open_peer(key, allowed=allowed, epoch=1, timeouts=QUICK, lookup=rebinding) as peer:
        for _ in range(3):
            await peer.transfer(TRANSFER)
    assert lookups == ["wiki.example.com"]
    assert {seen.headers["host"] for seen in app.seen} == {f"wiki.example.com:{app.port}"}


async def test_an_address_that_is_not_allowed_is_never_connected_to(app: Recorder) -> None:
    with pytest.raises(DestinationNotAllowed):
        await open_peer(ParsedKey(TOKEN, f"http://127.0.0.1:{app.port}"), allowed=AllowedDestinations(), epoch=1)
    assert app.seen == []


async def test_proxies_of_the_environment_are_not_used(app: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with await peer_at(app.port) as peer:
        assert await peer.transfer(TRANSFER) == {}


async def test_the_key_is_not_in_repr(peer: Peer) -> None:
    assert TOKEN not in repr(peer)
