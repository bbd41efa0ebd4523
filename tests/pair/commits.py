"""A wiki with everything that a commit touches, what people see of it, and how a process dies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.pair.instances import Pair

from growi_transfer.receiver.receiver import Receiver


class Crash(Exception):
    """What `kill -9` is to a process."""


def fill(pair: Pair) -> None:
    source, destination = pair.source.database, pair.destination.database
    source["pages"].insert_many([{"_id": number} for number in range(50)])
    source["pages"].create_index("at", expireAfterSeconds=1_000_000)
    source["users"].insert_one({"username": "admin", "admin": True, "status": 2, "password": "theirs"})
    source["configs"].insert_one({"key": "app:siteUrl", "value": '"http://theirs"'})
    source.create_collection("seen", viewOn="pages", pipeline=[])
    pair.source.add_attachment(b"theirs", name="same.bin")
    destination["pages"].insert_one({"_id": "former"})
    destination["users"].insert_one({"username": "admin", "admin": True, "status": 2, "password": "ours"})
    destination["configs"].insert_one({"key": "app:siteUrl", "value": '"http://ours"'})
    destination["only_here"].insert_one({"_id": 1})
    destination.create_collection("their_view", viewOn="pages", pipeline=[{"$match": {"_id": "former"}}])
    path = pair.destination.uploads / "attachment" / "same.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"former")


def picture(pair: Pair) -> Mapping[str, Any]:
    """Everything of the destination that people see."""
    database = pair.destination.database
    names = [name for name in database.list_collection_names() if not name.startswith(("growi_transfer_", "system."))]
    return {
        "documents": {name: pair.destination.documents(name) for name in sorted(names)},
        "options": {name: pair.destination.options(name) for name in sorted(names)},
        "files": pair.destination.files(),
    }


def receiver_of(pair: Pair) -> Receiver:
    assert pair.to_destination.receiver is not None
    return pair.to_destination.receiver
