"""The pusher's client against the receiver's routes: both ends of the protocol, and a note-taker behind them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from hashlib import sha256

import pytest
from tests.fakes.web import ATTACHMENT, TRANSFER, World

from growi_transfer.protocol.errors import DestinationBusy, PeerRefused
from growi_transfer.protocol.transfer_key import ParsedKey
from growi_transfer.protocol.wire import AttachmentFile, PlanPage, PutTransfer, SetUp, SourceInfo, Verify
from growi_transfer.pusher.address import AllowedDestinations
from growi_transfer.pusher.peer import Peer, open_peer

MIB = 1 << 20
FILE = AttachmentFile(id=ATTACHMENT, file_name="a.png", has_page=True, size=3 * MIB, original_name="あ.png")


@pytest.fixture
async def peer(world: World, address: str) -> AsyncIterator[Peer]:
    key = ParsedKey(await world.key(claimed_by=TRANSFER), f"http://{address}")
    async with await open_peer(key, allowed=AllowedDestinations.loopback(), epoch=7) as opened:
        yield opened


async def test_every_request_of_the_peer_reaches_its_service(world: World, peer: Peer) -> None:
    setup = PutTransfer(setup=SetUp(source=SourceInfo(version="7.3.0")), collections=(), files_total=3)
    page, expected = PlanPage(files=(FILE,)), Verify(collections=(), files=3)
    assert await peer.put_transfer(TRANSFER, setup) == {"did": "put_transfer"}
    assert await peer.transfer(TRANSFER) == {"did": "transfer"}
    assert await peer.volumes(TRANSFER, "a/b ページ%") == [{"did": "volumes"}]
    assert await peer.put_volume(TRANSFER, "a/b ページ%", 3, [b"one", b"two"]) == {"did": "put_volume"}
    assert await peer.plan(TRANSFER, page) == {"did": "plan_attachments"}
    assert await peer.put_bundle(TRANSFER, [b"frames"]) == {"did": "put_bundle"}
    assert await peer.verify(TRANSFER, expected) == {"did": "verify"}
    assert await peer.commit(TRANSFER) == {"did": "commit"}
    assert await peer.rollback(TRANSFER) == {"did": "rollback"}
    assert await peer.cancel(TRANSFER) == {"did": "cancel"}
    await peer.keep_alive(TRANSFER)
    calls = dict(world.receiver.calls)
    assert calls["put_transfer"]["body"] == setup
    assert calls["put_volume"]["collection"] == calls["volumes"]["collection"] == "a/b ページ%"
    assert (calls["put_volume"]["number"], calls["put_volume"]["body"]) == (3, b"onetwo")
    assert calls["plan_attachments"]["page"] == page
    assert calls["put_bundle"]["body"] == b"frames"
    assert calls["verify"]["expected"] == expected
    assert {call["epoch"] for call in calls.values() if "epoch" in call} == {7}


async def test_a_large_file(world: World, peer: Peer) -> None:
    data = os.urandom(3 * MIB)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), MIB):
            yield data[start : start + MIB]

    digest = sha256(data).hexdigest()
    state = await peer.patch_upload(
        TRANSFER,
        ATTACHMENT,
        offset=0,
        chunks=chunks(),
        length=len(data),
        complete=True,
        digest=lambda: digest,
        file=FILE,
    )
    assert (state.offset, state.complete) == (len(data), True)
    assert b"".join(world.receiver.received) == data
    first, last = (call for name, call in world.receiver.calls if name == "patch_upload")
    assert (first["file"], first["complete"]) == (FILE, False)
    assert (last["offset"], last["complete"], last["sha256"]) == (len(data), True, digest)
    there = await peer.upload_state(TRANSFER, ATTACHMENT)
    assert there is not None
    assert (there.offset, there.length, there.complete) == (len(data), 100, False)


async def test_a_refusal_in_the_middle_of_a_body_is_told(world: World, peer: Peer) -> None:
    """For each way a body goes, and the connection is good for the next request or replaced by one that is."""
    data = bytes(MIB)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield data

    world.receiver.fails = DestinationBusy("Busy.", transfer="x")
    for _ in range(3):
        with pytest.raises(PeerRefused) as caught:
            await peer.patch_upload(
                TRANSFER, ATTACHMENT, offset=0, chunks=chunks(), length=20 * MIB, complete=False, file=FILE
            )
        assert (caught.value.status, caught.value.peer_code) == (409, "destination_busy")
    with pytest.raises(PeerRefused) as caught:
        await peer.put_volume(TRANSFER, "pages", 0, [data] * 20)
    assert caught.value.peer_code == "destination_busy"
    with pytest.raises(PeerRefused) as caught:
        await peer.put_bundle(TRANSFER, [data] * 40)
    assert (caught.value.status, caught.value.peer_code) == (413, "body_too_large")


async def test_a_revoked_key_is_told_in_the_middle_of_a_transfer(world: World, peer: Peer) -> None:
    for row in await world.keys.list():
        await world.keys.revoke(row.id)
    for _ in range(3):
        with pytest.raises(PeerRefused) as caught:
            await peer.put_volume(TRANSFER, "pages", 0, [bytes(MIB)] * 8)
        assert (caught.value.status, caught.value.peer_code) == (403, "invalid_transfer_key")
