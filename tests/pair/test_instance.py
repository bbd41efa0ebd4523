"""What the destination's page asks for, of real instances: the summary, the steps on offer, the check of a receipt."""

from __future__ import annotations

from typing import Any

import aiohttp
import orjson
from tests.pair.instances import ADMIN_TOKEN, Pair

API = "/_api/v3/g2g-transfer"


class Admin:
    def __init__(self, pair: Pair, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._at = pair.url + API

    async def __call__(self, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {ADMIN_TOKEN}"}
        async with self._session.request(method, self._at + path, data=body, headers=headers) as answer:
            told: dict[str, Any] = await answer.json()
            return told


async def test_the_summary_is_of_now(pair: Pair) -> None:
    there = pair.destination
    there.add_attachment(b"12345")
    there.database["pages"].insert_one({"path": "/"})
    there.database["users"].insert_many([{"username": "a", "status": 2}, {"username": "b", "status": 3}])
    there.database["configs"].insert_many(
        [{"key": "app:title", "value": '"Wiki"'}, {"key": "security:userUpperLimit", "value": "25"}]
    )
    async with aiohttp.ClientSession() as session:
        told = (await Admin(pair, session)("GET", "/instance"))["instance"]
        assert (told["roles"], told["title"], told["growi_version"]) == (["receiver"], "Wiki", "7.3.0")
        assert told["origin"] == {"url": "http://127.0.0.1:3400", "is_set": False, "only_this_machine": True}
        database = told["database"]
        assert database["free_bytes"] > 0
        assert {name: database[name] for name in ("name", "replica_set", "pages", "users")} == {
            "name": there.database.name,
            "replica_set": True,
            "pages": 1,
            "users": 2,
        }
        storage = told["storage"]
        assert storage["free_bytes"] > 0
        assert (storage["type"], storage["writable"], storage["attachments"], storage["bytes"]) == ("local", True, 1, 5)
        assert (told["limits"]["users"], told["limits"]["active_users"]) == (25, 1)
        assert told["limits"]["attachment_bytes"] is None

        # A file stands where the storage needs its folder.
        there.uploads.rename(there.uploads.with_name("away"))
        there.uploads.write_bytes(b"")
        storage = (await Admin(pair, session)("GET", "/instance"))["instance"]["storage"]
        assert not storage["writable"]
        assert storage["fault"]["code"].startswith("storage_")


async def test_a_transfer_from_ready_to_its_end(pair: Pair) -> None:
    pair.source.database["pages"].insert_many([{"path": f"/{number}"} for number in range(5)])
    pair.source.database["configs"].insert_one({"key": "app:title", "value": '"Wiki"'})
    pair.source.add_attachment(b"content")
    row = await pair.push(commit=False)
    path = f"/transfers/{row.id}"
    async with aiohttp.ClientSession() as session:
        admin = Admin(pair, session)

        async def offered() -> list[str]:
            actions: list[str] = (await admin("GET", path))["transfer"]["actions"]
            return actions

        assert await offered() == ["commit", "receipt", "cancel"]
        receipt = orjson.dumps(await admin("GET", f"{path}/receipt"))
        staged = await admin("POST", "/receipts/verify?data=true", receipt)
        assert (staged["ok"], staged["data"]["same"], staged["state"]) == (True, True, "ready")
        await admin("POST", f"{path}/commit")
        assert await offered() == ["release-maintenance", "rollback", "purge", "receipt"]
        assert (await admin("GET", "/instance"))["instance"]["maintenance_mode"]
        await admin("POST", f"{path}/release-maintenance")
        assert await offered() == ["rollback", "purge", "receipt"]
        assert not (await admin("GET", "/instance"))["instance"]["maintenance_mode"]

        receipt = orjson.dumps(await admin("GET", f"{path}/receipt"))
        pair.destination.database["pages"].delete_one({})
        verdict = await admin("POST", "/receipts/verify?data=true", receipt)
        changed = {one["collection"]: one["what"] for one in verdict["data"]["collections_changed"]}
        assert not verdict["ok"]
        assert changed["pages"] == "documents"
        forged = receipt.replace(b'"documents":5', b'"documents":6', 1)
        assert forged != receipt
        refused = await admin("POST", "/receipts/verify", forged)
        assert refused["errors"][0]["code"] == "receipt_invalid"

        await admin("POST", f"{path}/rollback")
        assert await offered() == ["purge", "receipt"]
        await admin("POST", f"{path}/purge")
        assert await offered() == ["receipt"]
