"""Two wikis with buckets in one S3: the store copies, and nothing goes through us, unless it will not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bson
import pytest
from pymongo import MongoClient
from tests.fakes.fault_proxy import FaultProxy
from tests.fakes.object_servers import OTHER_BUCKETS, OTHER_KEY, OTHER_SECRET, ObjectServer
from tests.fakes.uploads import Uploads
from tests.pair.instances import Pair, open_pair

from growi_transfer.ledger.base import Role
from growi_transfer.protocol.machine import State
from growi_transfer.protocol.wire import AttachmentFile, CopyOffer, CopyPage
from growi_transfer.pusher.options import PushOptions
from growi_transfer.storage.base import Offer, StoredFile
from growi_transfer.storage.object_store import s3_objects

LARGE = (9 << 20) + 5


@dataclass
class Buckets:
    pair: Pair
    proxy: FaultProxy
    source: Uploads
    destination: Uploads

    def add(self, name: str, content: bytes, *, page: bool = True) -> None:
        document = {
            "_id": bson.ObjectId(),
            "fileName": name,
            "fileSize": len(content),
            "fileFormat": "image/png",
            "originalName": "絵.png",
            **({"page": bson.ObjectId()} if page else {}),
        }
        self.pair.source.database["attachments"].insert_one(document)
        self.source.put(f"{'attachment' if page else 'user'}/{name}", content)

    def fill(self) -> dict[str, str]:
        """Some files; their digests by path."""
        contents = {f"{n:032x}.png": bytes([n]) * (n * 1000) for n in range(12)}
        for name, content in contents.items():
            self.add(name, content)
        self.add("a b+日本.bin", b"odd", page=False)
        self.add("large.bin", bytes(LARGE))
        found = {f"attachment/{name}": content for name, content in contents.items()}
        found |= {"user/a b+日本.bin": b"odd", "attachment/large.bin": bytes(LARGE)}
        return {path: hashlib.sha256(content).hexdigest() for path, content in found.items()}

    def read_of(self, uploads: Uploads) -> int:
        """How many objects were read of a bucket."""
        return self.proxy.count(f"GET /{uploads.bucket}/(attachment|user)/")


@pytest.fixture
async def buckets(
    tmp_path: Path,
    mongo_uri: str,
    mongo_database_name: str,
    mongo_uri_destination: str,
    mongo_database_name_destination: str,
    aws_server: ObjectServer,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Buckets]:
    """Parameters: `other` (the destination's key sees its own bucket only), `same` (one bucket for both)."""
    kind = getattr(request, "param", "")
    names = [f"copy-{bson.ObjectId()}", f"{OTHER_BUCKETS}{bson.ObjectId()}"]
    names = [names[0]] * 2 if kind == "same" else names
    for name in dict.fromkeys(names):
        aws_server.make_bucket(name)
    sides = [(mongo_uri, mongo_database_name), (mongo_uri_destination, mongo_database_name_destination)]
    source, destination = (Uploads("aws", server=aws_server, bucket=name) for name in names)
    async with FaultProxy(aws_server.port) as proxy:
        with MongoClient[dict[str, Any]](mongo_uri) as one, MongoClient[dict[str, Any]](mongo_uri_destination) as two:
            source.configure(one[mongo_database_name], proxy.url)
            configs = two[mongo_database_name_destination]["configs"]
            destination.configure(two[mongo_database_name_destination], proxy.url)
            if kind == "other":
                for key, value in (("aws:s3AccessKeyId", OTHER_KEY), ("aws:s3SecretAccessKey", OTHER_SECRET)):
                    configs.update_one({"key": key}, {"$set": {"value": json.dumps(value)}})
            more = {"of_source": source.environment, "of_destination": destination.environment}
            async with open_pair(tmp_path, *sides, **more) as pair:
                yield Buckets(pair, proxy, source, destination)


async def test_the_store_copies_and_the_source_reads_nothing(buckets: Buckets) -> None:
    wanted = buckets.fill()
    row = await buckets.pair.push()
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    assert buckets.read_of(buckets.source) == 0
    # One look at the source's, one at the destination's for the plan and one for the proof.
    looks = [
        buckets.proxy.count(f"HEAD /{side.bucket}/attachment/{1:032x}")
        for side in (buckets.source, buckets.destination)
    ]
    assert looks == [1, 2]
    assert buckets.destination.digests() == wanted
    for role, services in (
        (Role.PUSHER, buckets.pair.from_source),
        (Role.RECEIVER, buckets.pair.to_destination),
    ):
        rows = [file async for file in services.ledger.files(role, row.id)]
        assert {file.path: file.digest.hex() for file in rows} == wanted
    answer = buckets.destination._store().get("attachment/large.bin")
    assert answer.attributes["Content-Type"] == "image/png"
    assert answer.attributes["Content-Disposition"] == "attachment;filename*=UTF-8''%E7%B5%B5.png"
    again = await buckets.pair.push()
    assert again.position.state is State.COMPLETED


@pytest.mark.parametrize("buckets", ["other"], indirect=True)
async def test_a_bucket_that_the_destination_may_not_read_is_sent(buckets: Buckets) -> None:
    wanted = buckets.fill()
    row = await buckets.pair.push()
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    assert buckets.read_of(buckets.source) >= len(wanted)
    assert buckets.destination.digests() == wanted


async def test_a_file_that_has_changed_is_sent_and_the_others_are_copied(buckets: Buckets) -> None:
    wanted = buckets.fill()
    copies = buckets.pair.from_source.storage.copies  # type: ignore[attr-defined]
    original = copies.offer

    def offer(file: StoredFile) -> Offer | None:
        buckets.source.put("attachment/large.bin", bytes(LARGE - 1) + b"x")
        return original(file)

    copies.offer = offer
    row = await buckets.pair.push()
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    changed = hashlib.sha256(bytes(LARGE - 1) + b"x").hexdigest()
    assert buckets.destination.digests() == {**wanted, "attachment/large.bin": changed}


async def test_a_store_that_does_not_look_at_etags_copies_nothing(
    buckets: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = buckets.fill()
    original = s3_objects._from

    def without_etag(source: str, offer: Offer) -> dict[str, str]:
        return {"x-amz-copy-source": original(source, offer)["x-amz-copy-source"]}

    monkeypatch.setattr(s3_objects, "_from", without_etag)
    row = await buckets.pair.push()
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    assert buckets.read_of(buckets.source) >= len(wanted)
    assert buckets.destination.digests() == wanted


@pytest.mark.parametrize("buckets", ["same"], indirect=True)
async def test_one_bucket_for_both_is_told_and_nothing_moves(buckets: Buckets) -> None:
    wanted = buckets.fill()
    pusher = buckets.pair.from_source.pusher
    assert pusher is not None
    report = await pusher.preflight(await buckets.pair.key(), PushOptions())
    assert "same_storage" in json.dumps(report)
    row = await buckets.pair.push()
    assert row.position.state is State.COMPLETED, row.facts.get("error")
    rows = [file async for file in buckets.pair.to_destination.ledger.files(Role.RECEIVER, row.id)]
    assert not any(file.facts.get("created") or file.facts.get("aside") for file in rows)
    assert buckets.source.digests() == wanted


@pytest.mark.parametrize(
    ("key", "etag"),
    [
        ("attachment/secret.bin", '"0123456789abcdef0123456789abcdef"'),
        ("backup/secret.bin", "right"),
        ("attachment/other.bin", "right"),
        ("attachment/../backup/secret.bin", "right"),
    ],
)
async def test_a_peer_can_have_nothing_copied_that_it_cannot_read(buckets: Buckets, key: str, etag: str) -> None:
    """The key must be the attachment's own, and its ETag be known."""
    for path in ("attachment/secret.bin", "backup/secret.bin", "attachment/other.bin"):
        buckets.source.put(path, b"secret")
    right = '"5ebe2294ecd0e0f08eab7690d2a6ee69"'
    receiver = buckets.pair.to_destination.receiver
    assert receiver is not None
    file = AttachmentFile(id=str(bson.ObjectId()), file_name="secret.bin", has_page=True, size=6)
    offer = CopyOffer(file=file, key=key, etag=right if etag == "right" else etag)
    (result,) = await receiver._attachments.copy("t" * 32, CopyPage(bucket=buckets.source.bucket, offers=(offer,)))
    assert (result["ok"], result.get("code")) == (False, "copy_refused")
    assert buckets.destination.names() == []
