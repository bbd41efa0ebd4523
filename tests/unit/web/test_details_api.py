"""What a page shows beside the snapshot: for the admin only."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from tests.fakes.asgi import AsgiClient
from tests.fakes.web import ADMIN_TOKEN, OTHER, TRANSFER, World

from growi_transfer.ledger.base import CollectionRow, FileRow, ItemState, RangeRow, Role, TransferRow
from growi_transfer.protocol.machine import Position, State
from growi_transfer.protocol.wire import EPOCH_HEADER, KEY_HEADER, PREFIX
from growi_transfer.pusher.options import PushOptions

ADMIN = {"authorization": f"Bearer {ADMIN_TOKEN}"}
ONE = f"{PREFIX}/transfers/{TRANSFER}"


async def told(client: AsgiClient, path: str) -> Any:
    answer = await client("GET", path, headers=ADMIN)
    assert answer.status == 200, answer.json()
    return answer.json()


def collection(number: int, name: str, documents: int) -> CollectionRow:
    facts = {"documents": documents, "bytes": documents * 10}
    return CollectionRow(Role.PUSHER, TRANSFER, number, name, "collection", "", "{}", facts=facts)


def stored(collection_number: int, number: int, documents: int) -> RangeRow:
    return RangeRow(
        Role.PUSHER, TRANSFER, collection_number, number, None, None, documents, documents * 10, b"", ItemState.STORED
    )


async def test_details_tell_what_was_agreed_and_no_more(client: AsgiClient, world: World) -> None:
    options = PushOptions(volumes=3, bandwidth=1 << 20, commit=False, follow=True)
    facts = {
        "options": asdict(options),
        "plan": {"counts": {"documents": 5}},
        "accepted_warnings": [{"code": "password_seed_mismatch"}],
        "error": {"code": "peer_unavailable", "message": "It is away."},
        "told": {"rewritten": [{"collection": "configs"}], "inner": "not for pages"},
        "growi_key": "what no page may show",
    }
    setup = {"destination": "https://new.example", "preset": "replace", "excluded_collections": ["activities"]}
    now = world.clock()
    position = Position(State.PAUSED, State.COPYING)
    await world.ledger.create_transfer(TransferRow(Role.PUSHER, TRANSFER, position, setup, now, now, facts=facts))
    body = await told(client, f"{ONE}/details")
    assert body["transfer"]["state"] == "paused"
    assert (body["came_from"], body["destination"]) == ("copying", "https://new.example")
    assert body["excluded_collections"] == ["activities"]
    assert body["options"]["parallelism"] == {"volumes": 3, "attachments": None}
    assert (body["options"]["bandwidth_bytes_per_second"], body["options"]["commit"]) == (1 << 20, False)
    assert body["plan"] == {"counts": {"documents": 5}}
    assert body["accepted_warnings"] == [{"code": "password_seed_mismatch"}]
    assert body["error"]["code"] == "peer_unavailable"
    assert body["told"] == {"rewritten": [{"collection": "configs"}]}
    assert "no page may show" not in str(body)


async def test_the_receiver_knows_no_options(client: AsgiClient, world: World) -> None:
    await world.row(Role.RECEIVER)
    body = await told(client, f"{ONE}/details")
    assert (body["options"], body["told"], body["error"], body["accepted_warnings"]) == (None, None, None, [])


async def test_collections_with_what_has_arrived(client: AsgiClient, world: World) -> None:
    await world.row(Role.PUSHER)
    await world.ledger.put_collections([collection(0, "revisions", 100), collection(1, "pages", 7)])
    await world.ledger.put_ranges([stored(0, 0, 30), stored(0, 1, 20), stored(1, 0, 9)])
    assert (await told(client, f"{ONE}/collections"))["collections"] == [
        # More came than was announced: a source in use.
        {
            "name": "pages",
            "kind": "collection",
            "documents": {"done": 9, "total": 9},
            "bytes": {"done": 90, "total": 90},
        },
        {
            "name": "revisions",
            "kind": "collection",
            "documents": {"done": 50, "total": 100},
            "bytes": {"done": 500, "total": 1000},
        },
    ]


async def test_before_the_first_row_the_plan_is_shown(client: AsgiClient, world: World) -> None:
    plan = {"collections": [{"name": "pages", "kind": "collection", "documents": 3, "bytes": 33}]}
    await world.row(Role.PUSHER, plan=plan)
    [one] = (await told(client, f"{ONE}/collections"))["collections"]
    assert (one["name"], one["documents"]) == ("pages", {"done": 0, "total": 3})


async def test_failures_by_page(client: AsgiClient, world: World) -> None:
    await world.row(Role.PUSHER)
    rows = [
        FileRow(
            Role.PUSHER,
            TRANSFER,
            f"{number:024x}",
            f"attachment/{number}.png",
            10,
            ItemState.FAILED if number % 2 else ItemState.STORED,
            tries=2,
            reason="file_not_found" if number == 1 else "storage_full",
        )
        for number in range(10)
    ]
    await world.ledger.put_files(rows)
    first = await told(client, f"{ONE}/failures?limit=3")
    assert [one["item"] for one in first["failures"]] == ["attachment/1.png", "attachment/3.png", "attachment/5.png"]
    assert first["failures"][0] == {
        "item": "attachment/1.png",
        "kind": "file",
        "attachment_id": f"{1:024x}",
        "bytes": 10,
        "code": "file_not_found",
        "message": "The file is not in the storage.",
        "tries": 2,
    }
    assert first["total"] == 5
    second = await told(client, f"{ONE}/failures?limit=3&after={first['next']}")
    assert [one["item"] for one in second["failures"]] == ["attachment/7.png", "attachment/9.png"]
    assert second["next"] is None


async def test_the_list_by_page_role_and_state(client: AsgiClient, world: World) -> None:
    for number in range(5):
        world.clock.advance(seconds=1)
        state = State.COMPLETED if number % 2 else State.FAILED
        await world.row(Role.PUSHER, f"{number:032x}", state)
    await world.row(Role.RECEIVER, OTHER, State.COMPLETED)

    async def ids(query: str) -> tuple[list[str], int]:
        body = await told(client, f"{PREFIX}/transfers?{query}")
        return [one["id"][-1] for one in body["transfers"]], body["total"]

    assert await ids("role=pusher&limit=2") == (["4", "3"], 5)
    assert await ids("role=pusher&limit=2&skip=4") == (["0"], 5)
    assert await ids("role=pusher&state=completed") == (["3", "1"], 2)
    assert await ids("state=completed,rolled_back") == (["0", "3", "1"], 3)
    assert await ids("state=paused") == ([], 0)


@pytest.mark.parametrize(
    "path",
    [
        "/transfers?state=lost",
        "/transfers?skip=-1",
        f"/transfers/{TRANSFER}/failures?limit=501",
        f"/transfers/{TRANSFER}/failures?after=../..",
        f"/transfers/{TRANSFER}/details?role=x",
    ],
)
async def test_wrong_questions(client: AsgiClient, world: World, path: str) -> None:
    await world.row(Role.PUSHER)
    answer = await client("GET", PREFIX + path, headers=ADMIN)
    assert (answer.status, answer.code) == (400, "invalid_request")


@pytest.mark.parametrize("path", ["details", "collections", "failures"])
async def test_for_the_admin_only(client: AsgiClient, world: World, path: str) -> None:
    await world.row(Role.RECEIVER)
    own = {KEY_HEADER: await world.key(claimed_by=TRANSFER), EPOCH_HEADER: "1"}
    assert (await client("GET", f"{ONE}/{path}")).status == 403
    assert (await client("GET", f"{ONE}/{path}", headers=own)).status == 403
    assert (await client("GET", f"{PREFIX}/transfers/{OTHER}/{path}", headers=ADMIN)).status == 404


async def test_many_watchers_cost_what_one_does(client: AsgiClient, world: World) -> None:
    await world.row(Role.PUSHER)
    await world.ledger.put_collections([collection(0, "pages", 5)])
    asked = 0
    sums = world.ledger.stored_by_collection

    async def counted(role: Role, transfer_id: str) -> Any:
        nonlocal asked
        asked += 1
        return await sums(role, transfer_id)

    world.ledger.stored_by_collection = counted  # type: ignore[method-assign]
    for _ in range(5):
        await told(client, f"{ONE}/collections")
    assert asked < 5


async def test_what_is_told_after_the_last_state_is_not_from_before(client: AsgiClient, world: World) -> None:
    await world.row(Role.PUSHER)
    await world.ledger.put_collections([collection(0, "pages", 9)])
    [one] = (await told(client, f"{ONE}/collections"))["collections"]
    assert one["documents"] == {"done": 0, "total": 9}
    await world.ledger.put_ranges([stored(0, 0, 9)])
    at, done = Position(State.COPYING), Position(State.COMPLETED)
    assert await world.ledger.move_transfer(Role.PUSHER, TRANSFER, at, done, world.clock())
    [one] = (await told(client, f"{ONE}/collections"))["collections"]
    assert one["documents"] == {"done": 9, "total": 9}
