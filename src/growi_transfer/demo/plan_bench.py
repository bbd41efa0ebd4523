"""How long it takes to find out that nothing is to be sent: the plan of a transfer whose files are all there.

A small wiki is transferred up to `ready`. Then both sides are given the attachments that such a transfer would have
left: documents at the source, rows in both ledgers, files in both storages. The files are hard links to a few, for a
plan looks at names and sizes only. One verification brings the documents over; the next one is measured: it reads
every document, row and file on both sides and sends nothing.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bson import ObjectId
from pymongo import MongoClient

from growi_transfer.demo.destination import make_destination
from growi_transfer.demo.servers import PASSWORD_SEED, Pair, open_pair
from growi_transfer.demo.timeline import Timeline
from growi_transfer.demo.wiki import WikiSize, make_wiki
from growi_transfer.ledger.base import FileRow, ItemState, Role
from growi_transfer.ledger.mongo import FILES, TRANSFERS
from growi_transfer.ledger.mongo_rows import file_document, transfer_row
from growi_transfer.mongo.embedded import DATABASE
from growi_transfer.protocol.errors import OperatorFault, TransferError

_LINKS = 30_000
"""Names of one file: ext4 allows 65,000."""
_CONTENT = b"x" * 100
_BATCH = 5_000
_FOLDER = "attachment"


class PlanBench:
    """Measures one plan below a folder. `say` is told what happens."""

    def __init__(self, folder: Path, rows: int, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._rows = rows
        self._say = say

    def run(self) -> dict[str, Any]:
        """Seconds of the plan and of what follows it, and the most memory of each role."""
        with open_pair(self._folder / "plan") as pair:
            make_wiki(
                pair.source.mongod.uri, pair.source.uploads, WikiSize(5, 1, 0, 0, 500), password_seed=PASSWORD_SEED
            )
            make_destination(pair.destination.mongod.uri, pair.destination.uploads, password_seed=PASSWORD_SEED)
            pair.start_servers()
            key = pair.destination.server.client.post("/generate-key")["transferKey"]
            options = {"accept_all_warnings": True, "commit": False}
            transfer_id = pair.source.server.client.post("/transfer", {"transferKey": key, "options": options})[
                "transferId"
            ]
            _until_ready(pair, transfer_id)
            self._fill(pair, transfer_id)
            self._say("The documents of the attachments are brought over ...")
            _verify(pair, transfer_id)
            # A process of its own, as of somebody who retries: what bringing the documents over took is not the plan's.
            pair.source.server.stop()
            pair.source.server.launch()
            pair.source.server.wait()
            pair.destination.server.forget_peak()
            timeline = _verify(pair, transfer_id)
            seconds = _facts(pair, transfer_id)["seconds"]
            peaks = {"pusher": pair.source.server.peak_rss_mib(), "receiver": pair.destination.server.peak_rss_mib()}
            began = time.monotonic()
            pair.source.server.client.post(f"/transfers/{transfer_id}/cancel")
            cancelled = time.monotonic() - began
            return {
                "rows": self._rows,
                "plan_seconds": round(seconds["attachments"], 2),
                "verify_seconds": round(seconds["verify"], 2),
                "seconds": round(timeline.seconds, 2),
                "cancel_seconds": round(cancelled, 2),
                "peak_rss_mib": peaks,
            }

    def _fill(self, pair: Pair, transfer_id: str) -> None:
        self._say(f"{self._rows:,} attachments are laid down on both sides ...")
        with (
            MongoClient[dict[str, Any]](pair.source.mongod.uri) as source,
            MongoClient[dict[str, Any]](pair.destination.mongod.uri) as destination,
        ):
            numbers = iter(range(self._rows))
            page, creator = ObjectId(), ObjectId()
            while part := list(itertools.islice(numbers, _BATCH)):
                source[DATABASE].attachments.insert_many([_document(number, page, creator) for number in part])
                for role, database in ((Role.PUSHER, source), (Role.RECEIVER, destination)):
                    rows = (_row(role, transfer_id, number) for number in part)
                    database[DATABASE][FILES].insert_many(map(file_document, rows))
        for instance in (pair.source, pair.destination):
            _link(instance.uploads / _FOLDER, self._rows)


def _id(number: int) -> ObjectId:
    return ObjectId(f"65f00000{number:016x}")


def _name(number: int) -> str:
    return f"{number:032x}.png"


def _document(number: int, page: ObjectId, creator: ObjectId) -> dict[str, Any]:
    return {
        "_id": _id(number),
        "page": page,
        "creator": creator,
        "fileName": _name(number),
        "fileFormat": "image/png",
        "originalName": f"スクリーンショット {number}.png",
        "fileSize": len(_CONTENT),
        "attachmentType": "WIKI_PAGE",
    }


def _row(role: Role, transfer_id: str, number: int) -> FileRow:
    return FileRow(
        role=role,
        transfer_id=transfer_id,
        attachment_id=str(_id(number)),
        path=f"{_FOLDER}/{_name(number)}",
        size=len(_CONTENT),
        state=ItemState.VERIFIED,
        digest=bytes(32),
        facts={"created": True, "aside": ""} if role is Role.RECEIVER else {},
    )


def _link(folder: Path, count: int) -> None:
    """`count` files of which only a few are not the same."""
    folder.mkdir(exist_ok=True)
    first = folder
    for number in range(count):
        path = folder / _name(number)
        if number % _LINKS == 0:
            path.write_bytes(_CONTENT)
            first = path
        else:
            os.link(first, path)


def _states(pair: Pair, transfer_id: str) -> Iterator[dict[str, Any]]:
    for event in pair.source.server.client.events(f"/transfers/{transfer_id}/events"):
        if "transfer" in event:
            yield event["transfer"]
    raise OperatorFault("The event stream ended early.")


def _until_ready(pair: Pair, transfer_id: str, timeline: Timeline | None = None) -> None:
    for shape in _states(pair, transfer_id):
        if timeline is not None:
            timeline.observe(shape, time.monotonic())
        if shape["state"] == "failed":
            raise TransferError(f"The transfer failed.\n{pair.source.server.log_end()}")
        if shape["state"] == "ready":
            return


def _verify(pair: Pair, transfer_id: str) -> Timeline:
    """Look at everything again. When the answer is there the transfer is back at copying."""
    timeline = Timeline(time.monotonic())
    pair.source.server.client.post(f"/transfers/{transfer_id}/verify")
    _until_ready(pair, transfer_id, timeline)
    return timeline


def _facts(pair: Pair, transfer_id: str) -> dict[str, Any]:
    """What the pusher's ledger knows, once the run has noted its seconds."""
    with MongoClient[dict[str, Any]](pair.source.mongod.uri, tz_aware=True) as client:
        while True:
            row = client[DATABASE][TRANSFERS].find_one({"_id": {"$regex": f"^{Role.PUSHER}/"}})
            assert row is not None
            facts = dict(transfer_row(row).facts)
            if "verify" in facts.get("seconds", {}):
                return facts
            time.sleep(0.02)
