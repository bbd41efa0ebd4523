"""A source that lies, cuts and guesses: every wrong input gets its own code, and nothing of it stays."""

from __future__ import annotations

import asyncio
import io
import json
import struct
import zipfile
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import bson
import pytest
from tests.pair.instances import ADMIN_TOKEN, Pair

from growi_transfer.archive.bundle import MAGIC
from growi_transfer.archive.volume import pack
from growi_transfer.protocol.digest import set_digest
from growi_transfer.protocol.wire import Manifest

ID = "0123456789abcdef" * 2
UUID = "ab" * 16
PREFIX = "/_api/v3/g2g-transfer"
ATTACHMENT = "a" * 24


@dataclass
class Peer:
    """A source made by hand. `call` gives status, code and body."""

    session: aiohttp.ClientSession
    url: str
    token: str
    epoch: int = 1

    async def call(
        self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None
    ) -> tuple[int, str, Any]:
        data = json.dumps(body).encode() if isinstance(body, dict | list) else body
        sent = {"x-growi-transfer-key": self.token, "x-growi-transfer-epoch": str(self.epoch), **(headers or {})}
        async with self.session.request(method, self.url + PREFIX + path, data=data, headers=sent) as response:
            raw = await response.read()
        answer = json.loads(raw) if raw else {}
        return response.status, answer["errors"][0]["code"] if "errors" in answer else "", answer

    async def begin(self, transfer_id: str = ID, **changes: Any) -> tuple[int, str, Any]:
        body = {"setup": {"source": {}}, "collections": [collection("pages", 0)], **changes}
        return await self.call("PUT", f"/transfers/{transfer_id}", body)

    async def volume(self, number: int, body: bytes, name: str = "pages") -> tuple[int, str, Any]:
        return await self.call("PUT", f"/transfers/{ID}/volumes/{name}/{number}", body)


def collection(name: str, number: int, **changes: Any) -> dict[str, Any]:
    metadata = '{"options":{},"indexes":[{"v":2,"key":{"_id":1},"name":"_id_"}]}'
    return {"number": number, "name": name, "kind": "collection", "uuid": UUID, "metadata": metadata, **changes}


def volume(*documents: bytes, deflate: bool = False, **changes: Any) -> bytes:
    fields = {
        "collection": "pages",
        "number": 0,
        "uuid": UUID,
        "documents": len(documents),
        "bytes": sum(map(len, documents)),
        "digest": set_digest(documents).hex(),
        **changes,
    }
    return b"".join(pack(Manifest(**fields), documents, deflate=deflate))


def frame(content: bytes, **changes: Any) -> bytes:
    header = {
        "id": ATTACHMENT,
        "file_name": "f.bin",
        "has_page": True,
        "size": len(content),
        "sha256": sha256(content).hexdigest(),
        **changes,
    }
    raw = json.dumps(header).encode()
    return struct.pack(">L", len(raw)) + raw + content


@pytest.fixture
async def peer(pair: Pair) -> AsyncIterator[Peer]:
    token = (await pair.key()).partition("__grw_internal_tranferkey__")[0]
    async with aiohttp.ClientSession() as session:
        yield Peer(session, pair.url, token)


async def test_keys_that_are_not_ours(pair: Pair, peer: Peer) -> None:
    good = peer.token
    revoked = await pair.to_destination.keys.issue(pair.url)
    await pair.to_destination.keys.revoke(revoked.row.id)
    wrong = ["", "x", good[:-1], good + "x", "é", "0" * 5000, good.swapcase(), revoked.key_string.partition("__")[0]]
    for peer.token in wrong:
        for method, path in (("GET", "/growi-info"), ("PUT", f"/transfers/{ID}"), ("GET", f"/transfers/{ID}")):
            headers = {"x-growi-transfer-key": peer.token} if peer.token.isascii() else {}
            peer.token = peer.token if peer.token.isascii() else "?"
            status, code, _ = await peer.call(method, path, {"x": 1}, headers=headers)
            assert (status, code) in {(403, "invalid_transfer_key"), (429, "rate_limited")}, (peer.token[:20], method)


async def test_a_key_reaches_only_its_own_transfer(pair: Pair, peer: Peer) -> None:
    assert (await peer.begin())[0] == 200
    other = "f" * 32
    assert (await peer.begin(other))[:2] == (409, "key_claimed")
    assert (await peer.call("GET", f"/transfers/{other}"))[:2] == (403, "invalid_transfer_key")
    second = Peer(peer.session, pair.url, (await pair.key()).partition("__")[0])
    assert (await second.begin(other))[:2] == (409, "destination_busy")
    assert (await second.call("POST", f"/transfers/{ID}/commit"))[:2] == (403, "invalid_transfer_key")
    # A key is no admin token, and the other way round.
    assert (await peer.call("POST", "/generate-key", {}))[:2] == (403, "admin_required")
    bearer = {"x-growi-transfer-key": "", "authorization": f"Bearer {ADMIN_TOKEN}"}
    assert (await peer.call("POST", f"/transfers/{ID}/attachments/plan", {"files": []}, headers=bearer))[0] == 403


async def test_a_set_up_that_comes_several_times_at_once_is_one(pair: Pair, peer: Peer) -> None:
    answers = await asyncio.gather(*(peer.begin() for _ in range(8)))
    assert [(status, code) for status, code, _ in answers] == [(200, "")] * 8
    assert {answer["transfer"]["state"] for _, _, answer in answers} == {"copying"}
    assert (await peer.volume(0, volume(bson.encode({"_id": 1}))))[0] == 200


async def test_an_older_epoch_is_superseded(peer: Peer) -> None:
    peer.epoch = 5
    await peer.begin()
    peer.epoch = 4
    assert (await peer.volume(0, volume(bson.encode({"_id": 1}))))[:2] == (409, "superseded")
    assert (await peer.begin())[:2] == (409, "superseded")
    peer.epoch = 6
    assert (await peer.volume(0, volume(bson.encode({"_id": 1}))))[0] == 200
    for wrong in ("", "-1", "x", "9" * 40, "1.0"):
        status, _, _ = await peer.call("POST", f"/transfers/{ID}/commit", headers={"x-growi-transfer-epoch": wrong})
        assert status == 400


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("system.users", "collection_illegal"),
        ("growi_transfer_keys", "collection_illegal"),
        ("sessions", "collection_illegal"),
        ("attachmentFiles.chunks", "collection_illegal"),
        ("vault_x", "collection_illegal"),
        ("a$b", "collection_illegal"),
        ("", "collection_illegal"),
        ("x" * 300, "collection_illegal"),
        ("nul\x00", "collection_illegal"),
    ],
)
async def test_collections_that_are_never_taken(pair: Pair, peer: Peer, name: str, code: str) -> None:
    status, found, answer = await peer.begin(collections=[collection(name, 0)])
    assert status == 400
    assert found == code or code in answer["errors"][0]["message"]
    assert not pair.destination.own_collections()


async def test_shapes_that_are_wrong(pair: Pair, peer: Peer) -> None:
    wrong: list[tuple[Any, str]] = [
        (b"{", "json_invalid"),
        (b"\xff\xfe", "json_invalid"),
        ([], "invalid_request"),
        ({"setup": {}}, "invalid_request"),
        ({"setup": {"source": {}, "preset": "other"}, "collections": []}, "invalid_request"),
        ({"setup": {"source": {}, "preset": "growi"}, "collections": []}, "invalid_request"),
        ({"setup": {"source": {}, "more": 1}, "collections": []}, "invalid_request"),
        ({"setup": {"source": {}}, "collections": [collection("a", -1)]}, "invalid_request"),
        ({"setup": {"source": {}}, "collections": [collection("a", 0), collection("a", 1)]}, "invalid_request"),
        ({"setup": {"source": {}}, "collections": [collection("a", 0, metadata="{")]}, "json_invalid"),
        ({"setup": {"source": {}}, "collections": [collection("a", 0, metadata="[]")]}, "json_invalid"),
        (
            {"setup": {"source": {}}, "collections": [collection("a", 0, metadata='{"options":{"viewOn":"b"}}')]},
            "collection_illegal",
        ),
        (
            {"setup": {"source": {}}, "collections": [collection("a", 0, metadata='{"options":{"nonsense":1}}')]},
            "collection_illegal",
        ),
    ]
    for body, code in wrong:
        status, found, _ = await peer.call("PUT", f"/transfers/{ID}", body)
        assert (status, found) == (400, code), body
    for transfer_id in ("x", "A" * 32, "0" * 31, "..%2f..", "%00" * 32):
        assert (await peer.call("PUT", f"/transfers/{transfer_id}", {}))[0] in (400, 404)
    assert (await peer.begin())[0] == 200, "nothing of it was kept"
    changed = {"source": {}, "excluded_collections": ["a"]}
    status, code, answer = await peer.begin(setup=changed)
    assert (status, code) == (409, "setup_differs")
    assert answer["errors"][0]["details"]["different"] == ["excluded_collections"]


async def test_volumes_that_lie(pair: Pair, peer: Peer) -> None:
    await peer.begin()
    one = bson.encode({"_id": 1, "x": "y" * 1000})
    good = volume(one)
    broken = bytearray(good)
    broken[good.index(b"yyyy")] ^= 1
    cases: list[tuple[bytes, str]] = [
        (b"", "archive_invalid"),
        (b"not a zip at all", "archive_invalid"),
        (good[:-30], "archive_invalid"),
        (good[: len(good) // 2], "archive_invalid"),
        (bytes(broken), "archive_invalid"),
        (volume(one, digest="0" * 64), "digest_mismatch"),
        (volume(one, documents=2), "invalid_request|size_mismatch|digest_mismatch|bson_invalid|archive_invalid"),
        (volume(one, number=7), "invalid_request"),
        (volume(one, collection="other"), "invalid_request"),
        (volume(one, uuid="cd" * 16), "range_mismatch"),
        (volume(one, minimum="not base64!"), "bson_invalid"),
        (volume(one, minimum="AAAA"), "bson_invalid"),
        (volume(one, ordered=True, digest=sha256(one).hexdigest()), "invalid_request"),
    ]
    for body, codes in cases:
        status, code, _ = await peer.volume(0, body)
        assert status in (400, 409), (code, body[:60])
        assert code in codes.split("|"), body[:60]
    assert (await peer.volume(0, good, name="absent"))[:2] == (404, "collection_not_found")
    assert (await peer.volume(0, good))[0] == 200
    assert (await peer.volume(0, good))[0] == 200, "twice has one effect"
    [staging] = pair.destination.own_collections()
    assert pair.destination.documents(staging) == [one]


async def test_bounds_out_of_order_are_a_mismatch(peer: Peer) -> None:
    await peer.begin()
    low, high = (b64encode(bson.encode({"_id": number})).decode() for number in (1, 9))
    body = volume(bson.encode({"_id": 5}), minimum=high, maximum=low)
    assert (await peer.volume(0, body))[:2] == (409, "range_mismatch")


async def test_documents_the_server_refuses(pair: Pair, peer: Peer) -> None:
    await peer.begin()
    deep: Any = 1
    for _ in range(250):
        deep = {"d": deep}
    nested = bson.encode({"_id": 1, "d": deep})
    status, code, _ = await peer.volume(0, volume(nested))
    assert (status, code) == (400, "document_not_storable")
    array_id = bson.encode({"_id": [1]})
    assert (await peer.volume(0, volume(array_id)))[:2] == (400, "document_not_storable")
    twice = bson.encode({"_id": 1, "a": 1}), bson.encode({"_id": 1, "a": 2})
    assert (await peer.volume(0, volume(*twice)))[:2] == (409, "range_mismatch")
    cut = bson.encode({"_id": 1, "s": "xyz"})
    lying = cut[:16] + b"\xff" + cut[17:]  # the length of the text
    assert (await peer.volume(0, volume(lying)))[:2] == (400, "document_not_storable")
    good = bson.encode({"_id": 1, "a": 3})
    assert (await peer.volume(0, volume(good)))[0] == 200
    [staging] = pair.destination.own_collections()
    assert pair.destination.documents(staging) == [good], "what the refused ones left is gone"


async def test_a_zip_bomb_is_stopped_by_its_size(peer: Peer) -> None:
    await peer.begin()
    small = zipfile.ZipFile(io.BytesIO(volume(bson.encode({"_id": 1}))))
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", small.read("manifest.json"))
        archive.writestr("documents.bson", bytes(90 << 20))
    body = bomb.getvalue()
    assert len(body) < 1_000_000
    assert (await peer.volume(0, body))[:2] == (413, "archive_too_large")


@pytest.mark.parametrize(
    "name",
    ["../x", "a/b", "..", ".hidden", "a\x00b", "x" * 300, "con", "a\\b", "", "e\u0301.png", "a\u202eb", "-rf", "a "],
)
async def test_file_names_that_are_none(pair: Pair, peer: Peer, name: str) -> None:
    await peer.begin()
    status, code, answer = await peer.call("POST", f"/transfers/{ID}/attachments", MAGIC + frame(b"x", file_name=name))
    assert (status, code) == (400, "frame_invalid") or "name_illegal" in json.dumps(answer)
    plan = {"files": [{"id": ATTACHMENT, "file_name": name, "has_page": True, "size": 1}]}
    status, code, answer = await peer.call("POST", f"/transfers/{ID}/attachments/plan", plan)
    assert status == 400
    assert "name_illegal" in json.dumps(answer)
    assert pair.destination.files() == {}


async def test_frames_that_lie(pair: Pair, peer: Peer) -> None:
    await peer.begin()
    path = f"/transfers/{ID}/attachments"
    whole = MAGIC + frame(b"hello")
    for body in (b"", b"nonsense", whole[:-1], whole + b"x", MAGIC, MAGIC + struct.pack(">L", 1 << 30) + b"{}"):
        status, code, _ = await peer.call("POST", path, body)
        assert (status, code) == (400, "frame_invalid"), body[:40]
    status, _, answer = await peer.call("POST", path, MAGIC + frame(b"hello", sha256="0" * 64))
    assert status == 200
    [result] = answer["results"]
    assert (result["ok"], result["code"]) == (False, "digest_mismatch")
    assert pair.destination.files() == {}
    other = "b" * 24
    body = MAGIC + frame(b"bad", sha256="0" * 64) + frame(b"good", id=other, file_name="g.bin")
    _, _, answer = await peer.call("POST", path, body)
    assert [result["ok"] for result in answer["results"]] == [False, True]
    assert pair.destination.files() == {"attachment/g.bin": b"good"}


def description(size: int, **changes: Any) -> str:
    fields = {"id": ATTACHMENT, "file_name": "large.bin", "has_page": True, "size": size, **changes}
    return b64encode(json.dumps(fields).encode()).decode()


async def test_offsets_and_sizes_that_lie(pair: Pair, peer: Peer) -> None:
    await peer.begin()
    path = f"/transfers/{ID}/attachments/{ATTACHMENT}"
    about = {"x-growi-transfer-file": description(10), "upload-complete": "?0"}
    assert (await peer.call("HEAD", path))[0] == 404
    ahead = await peer.call("PATCH", path, b"x", headers={**about, "upload-offset": "5"})
    assert ahead[:2] == (409, "offset_mismatch")
    more = await peer.call("PATCH", path, b"x" * 11, headers={**about, "upload-offset": "0"})
    assert more[:2] == (400, "size_mismatch")
    for wrong in ("", "-1", "x", "1e3", "9" * 30):
        assert (await peer.call("PATCH", path, b"x", headers={**about, "upload-offset": wrong}))[0] in (400, 409)
    async with peer.session.head(
        pair.url + PREFIX + path,
        headers={"x-growi-transfer-key": peer.token, "x-growi-transfer-epoch": "1"},
    ) as response:
        offset = int(response.headers["upload-offset"])
    assert offset <= 10
    rest = b"x" * (10 - offset)
    assert (await peer.call("PATCH", path, rest, headers={**about, "upload-offset": str(offset)}))[0] in (200, 204)
    lying = {"upload-offset": "10", "upload-complete": "?1", "x-growi-transfer-sha256": "0" * 64}
    assert (await peer.call("PATCH", path, b"", headers=lying))[:2] == (400, "digest_mismatch")
    assert pair.destination.files() == {}
    again = {**about, "upload-offset": "0"}
    assert (await peer.call("PATCH", path, b"0123456789", headers=again))[0] in (200, 204)
    early = {"upload-offset": "0", "upload-complete": "?1", "x-growi-transfer-sha256": "0" * 64}
    assert (await peer.call("PATCH", path, b"", headers=early))[:2] == (409, "offset_mismatch")
    right = {**lying, "x-growi-transfer-sha256": sha256(b"0123456789").hexdigest()}
    assert (await peer.call("PATCH", path, b"", headers=right))[0] in (200, 204)
    assert pair.destination.files() == {"attachment/large.bin": b"0123456789"}


async def test_nothing_is_committed_that_was_not_proved(pair: Pair, peer: Peer) -> None:
    await peer.begin()
    assert (await peer.call("POST", f"/transfers/{ID}/commit"))[:2] == (409, "state_conflict")
    one = bson.encode({"_id": 1})
    await peer.volume(0, volume(one))
    lie = {"collections": [{"number": 0, "documents": 2, "digest": "0" * 64}], "files": 0, "seconds": 30}
    _, _, answer = await peer.call("POST", f"/transfers/{ID}/verify", lie)
    assert answer["held"]["verify"]["ok"] is False
    assert (await peer.call("POST", f"/transfers/{ID}/commit"))[:2] == (409, "state_conflict")
    files = {
        "collections": [{"number": 0, "documents": 1, "digest": set_digest([one]).hex()}],
        "files": 3,
        "seconds": 30,
    }
    _, _, answer = await peer.call("POST", f"/transfers/{ID}/verify", files)
    assert answer["held"]["verify"]["ok"] is False, "three files are missing"
    _, _, answer = await peer.call("POST", f"/transfers/{ID}/verify", {**files, "files": 0})
    assert answer["held"]["verify"]["ok"] is True
    assert (await peer.call("POST", f"/transfers/{ID}/commit"))[0] == 200
    assert pair.destination.documents("pages") == [one]


async def test_an_archive_that_is_none(pair: Pair, peer: Peer, tmp_path: Path) -> None:
    pair.destination.database["pages"].insert_one({"_id": 1})
    before = pair.destination.documents("pages")
    for body in (b"", b"PK\x03\x04 nonsense", b"x" * 100_000):
        status, code, _ = await peer.call("POST", "/mongo", body)
        assert (status, code) == (400, "archive_invalid")
    assert pair.destination.documents("pages") == before
    assert not pair.destination.own_collections()
    assert not list((pair.destination.settings.data_dir).rglob("*.zip"))
