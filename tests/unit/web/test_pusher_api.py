from __future__ import annotations

from typing import Any

import pytest
from tests.fakes.asgi import AsgiClient
from tests.fakes.web import ADMIN_TOKEN, OTHER, TRANSFER, World

from growi_transfer.ledger.base import Role
from growi_transfer.protocol.errors import Blocked, Incompatible, TransferKeyMalformed
from growi_transfer.protocol.machine import Position, State
from growi_transfer.protocol.progress import Snapshot
from growi_transfer.protocol.shape import to_json
from growi_transfer.protocol.wire import MergeRules
from growi_transfer.pusher.options import PushOptions

API = "/_api/v3/g2g-transfer"
ADMIN = {"authorization": f"Bearer {ADMIN_TOKEN}"}


async def test_transferable_collections(client: AsgiClient) -> None:
    answer = await client("GET", f"{API}/transferable-collections", headers=ADMIN)
    assert answer.json() == {"collections": ["configs", "pages", "revisions", "users"]}


async def test_transfer_takes_growis_body(client: AsgiClient, world: World) -> None:
    body = {
        "transferKey": "key",
        "collections": ["pages", "revisions", "sessions"],
        "optionsMap": {"pages": {"mode": "flushAndInsert", "isOverwriteAuthorWithCurrentUser": True}},
    }
    answer = await client("POST", f"{API}/transfer", json_body=body, headers=ADMIN)
    assert answer.json() == {"message": "Successfully requested auto transfer.", "transferId": TRANSFER}
    assert world.pusher.calls == [
        ("start", {"key_string": "key", "options": PushOptions(exclude_collections=("configs", "users"))})
    ]


async def test_transfer_takes_our_options(client: AsgiClient, world: World) -> None:
    options = {
        "parallelism": {"volumes": 5, "attachments": 9},
        "bandwidth_bytes_per_second": 1_000_000,
        "deflate": True,
        "exclude_collections": ["activities"],
        "exclude_paths": ["/trash/", "/user/*/drafts"],
        "accept_warnings": ["password_seed_mismatch"],
        "commit": False,
        "merge": {"pages": "rename"},
    }
    for path, name in (("transfer", "start"), ("preflight", "preflight")):
        world.pusher.calls.clear()
        body = {"transferKey": "key", "options": options}
        answer = await client("POST", f"{API}/{path}", json_body=body, headers=ADMIN)
        assert answer.status == 200
        assert world.pusher.calls == [
            (
                name,
                {
                    "key_string": "key",
                    "options": PushOptions(
                        volumes=5,
                        attachments=9,
                        bandwidth=1_000_000,
                        deflate=True,
                        exclude_collections=("activities",),
                        exclude_paths=("/trash", "/user/*/drafts"),
                        accept_warnings=("password_seed_mismatch",),
                        commit=False,
                        merge=MergeRules(pages="rename").model_dump(mode="json"),
                    ),
                },
            )
        ]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "transferKey"),
        ({"transferKey": 1}, "transferKey"),
        ({"transferKey": "k", "collections": "pages"}, "collections"),
        ({"transferKey": "k", "force": True}, "force"),
        ({"transferKey": "k", "optionsMap": {"pages": {"mode": "upsert"}}}, "optionsMap.pages.mode"),
        ({"transferKey": "k", "optionsMap": {"pages": {"mode": "insert"}}}, "optionsMap.pages.mode"),
        (
            {"transferKey": "k", "optionsMap": {"pages": {"makePublicForGrant4": True}}},
            "optionsMap.pages.makePublicForGrant4",
        ),
        ({"transferKey": "k", "options": {"parallelism": {"volumes": 0}}}, "options.parallelism.volumes"),
        ({"transferKey": "k", "options": {"parallelism": {"attachments": 65}}}, "options.parallelism.attachments"),
        ({"transferKey": "k", "options": {"bandwidth_bytes_per_second": 1}}, "options.bandwidth_bytes_per_second"),
        ({"transferKey": "k", "options": {"commit": "no"}}, "options.commit"),
        ({"transferKey": "k", "options": {"merge": {"pages": "map"}}}, "options.merge.pages"),
        ({"transferKey": "k", "options": {"exclude_paths": ["trash"]}}, "options.exclude_paths.0"),
    ],
)
async def test_a_wrong_field_is_named(client: AsgiClient, world: World, body: Any, field: str) -> None:
    for path in ("transfer", "preflight"):
        answer = await client("POST", f"{API}/{path}", json_body=body, headers=ADMIN)
        assert answer.status == 400
        assert answer.json()["errors"][0]["details"]["field"] == field
    assert world.pusher.calls == []


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (TransferKeyMalformed(), 400, "transfer_key_invalid"),
        (Incompatible("GROWI versions mismatch."), 400, "growi_incompatible_to_transfer"),
        (Blocked(), 409, "blocked"),
    ],
)
async def test_growis_statuses_of_a_transfer_that_cannot_start(
    client: AsgiClient, world: World, error: Exception, status: int, code: str
) -> None:
    world.pusher.fails = error
    answer = await client("POST", f"{API}/transfer", json_body={"transferKey": "k"}, headers=ADMIN)
    assert (answer.status, answer.code) == (status, code)


@pytest.mark.parametrize(
    ("body", "changes"),
    [
        ({"parallelism": {"volumes": 4}}, {"volumes": 4}),
        ({"parallelism": {"attachments": 4}}, {"attachments": 4}),
        ({"parallelism": {"volumes": None, "attachments": "auto"}}, {"volumes": None, "attachments": None}),
        ({"bandwidth_bytes_per_second": None}, {"bandwidth": None}),
        ({"bandwidth_bytes_per_second": 5000}, {"bandwidth": 5000}),
        ({}, {}),
    ],
)
async def test_tune_changes_only_what_is_given(client: AsgiClient, world: World, body: Any, changes: Any) -> None:
    await world.row(Role.PUSHER)
    answer = await client("PATCH", f"{API}/transfers/{TRANSFER}", json_body=body, headers=ADMIN)
    assert answer.status == 200
    unchanged = dict.fromkeys(("volumes", "attachments", "bandwidth"), "unchanged")
    assert world.pusher.calls == [("tune", {"transfer_id": TRANSFER, **unchanged, **changes})]


async def test_tune_is_for_transfers_of_the_pusher(client: AsgiClient, world: World) -> None:
    await world.row(Role.RECEIVER)
    answer = await client("PATCH", f"{API}/transfers/{TRANSFER}", json_body={}, headers=ADMIN)
    assert (answer.status, answer.code) == (404, "transfer_not_found")


# paths that both roles share


@pytest.mark.parametrize("action", ["pause", "retry", "verify", "cancel", "commit", "rollback"])
async def test_the_admin_acts_on_a_row_of_the_pusher(client: AsgiClient, world: World, action: str) -> None:
    await world.row(Role.PUSHER)
    answer = await client("POST", f"{API}/transfers/{TRANSFER}/{action}", headers=ADMIN)
    assert answer.json() == {"did": action}
    assert world.pusher.calls == [(action, {"transfer_id": TRANSFER})]
    assert world.receiver.calls == []


async def test_a_deep_verification_is_asked_for_in_the_body(client: AsgiClient, world: World) -> None:
    await world.row(Role.PUSHER)
    path = f"{API}/transfers/{TRANSFER}/verify"
    assert (await client("POST", path, json_body={"deep": True}, headers=ADMIN)).status == 200
    assert world.pusher.calls == [("verify", {"transfer_id": TRANSFER, "deep": True})]


@pytest.mark.parametrize("role", [Role.PUSHER, Role.RECEIVER])
async def test_the_admin_gets_the_receipt_of_either_side(client: AsgiClient, world: World, role: Role) -> None:
    await world.row(role)
    assert (await client("GET", f"{API}/transfers/{TRANSFER}/receipt")).status == 403
    assert (await client("GET", f"{API}/transfers/{TRANSFER}/receipt", headers=ADMIN)).json() == {"did": "receipt"}


async def test_resume_takes_a_new_key(client: AsgiClient, world: World) -> None:
    await world.row(Role.PUSHER)
    path = f"{API}/transfers/{TRANSFER}/resume"
    assert (await client("POST", path, headers=ADMIN)).status == 200
    assert (await client("POST", path, json_body={"transferKey": "new"}, headers=ADMIN)).status == 200
    assert [call["key_string"] for _, call in world.pusher.calls] == [None, "new"]


async def test_resume_may_leave_behind_what_failed(client: AsgiClient, world: World) -> None:
    await world.row(Role.PUSHER)
    path = f"{API}/transfers/{TRANSFER}/resume"
    body = {"accept_warnings": ["storage_full"]}
    assert (await client("POST", path, json_body=body, headers=ADMIN)).status == 200
    assert world.pusher.calls[0][1]["accept"] == ("storage_full",)
    answer = await client("POST", path, json_body={"accept_warnings": ["no such code!"]}, headers=ADMIN)
    assert (answer.status, answer.code) == (400, "invalid_request")


@pytest.mark.parametrize("action", ["commit", "rollback", "cancel"])
async def test_the_destinations_admin_ends_a_transfer_that_came_in(
    client: AsgiClient, world: World, action: str
) -> None:
    await world.row(Role.RECEIVER)
    answer = await client("POST", f"{API}/transfers/{TRANSFER}/{action}", headers=ADMIN)
    assert answer.json() == {"did": action}
    assert world.receiver.calls == [(action, {"transfer_id": TRANSFER, "epoch": None})]


@pytest.mark.parametrize("action", ["pause", "retry", "verify", "resume"])
async def test_what_only_the_source_can_do_is_refused_at_the_destination(
    client: AsgiClient, world: World, action: str
) -> None:
    await world.row(Role.RECEIVER)
    answer = await client("POST", f"{API}/transfers/{TRANSFER}/{action}", headers=ADMIN)
    assert (answer.status, answer.code) == (409, "state_conflict")
    assert world.receiver.calls == world.pusher.calls == []


async def test_maintenance_is_released_at_the_side_that_has_the_transfer(client: AsgiClient, world: World) -> None:
    await world.row(Role.RECEIVER)
    await world.row(Role.PUSHER, OTHER)
    answer = await client("POST", f"{API}/transfers/{TRANSFER}/release-maintenance", headers=ADMIN)
    assert answer.json() == {"did": "release_maintenance"}
    answer = await client("POST", f"{API}/transfers/{OTHER}/release-maintenance", headers=ADMIN)
    assert answer.json() == {"did": "release"}


async def test_actions_on_nothing(client: AsgiClient) -> None:
    for action in ("pause", "commit", "release-maintenance", "resume"):
        answer = await client("POST", f"{API}/transfers/{TRANSFER}/{action}", headers=ADMIN)
        assert (answer.status, answer.code) == (404, "transfer_not_found")


async def test_an_action_with_a_word_it_does_not_know_is_not_done(client: AsgiClient, world: World) -> None:
    await world.row(Role.PUSHER)
    answer = await client("POST", f"{API}/transfers/{TRANSFER}/commit", json_body={"dry_run": True}, headers=ADMIN)
    assert answer.status == 400
    assert world.pusher.calls == []


# one shape


async def test_a_transfer_is_shown_from_the_board_then_from_its_row(client: AsgiClient, world: World) -> None:
    saved = to_json(Snapshot(TRANSFER, "receiver", documents_done=7, documents_total=9))
    await world.row(Role.RECEIVER, TRANSFER, State.READY, progress=saved)
    await world.row(Role.PUSHER, OTHER, State.CHECKED)
    path = f"{API}/transfers/{TRANSFER}"
    shown = (await client("GET", path, headers=ADMIN)).json()["transfer"]
    saved = to_json(Snapshot(TRANSFER, "receiver", position=Position(State.READY), documents_done=7, documents_total=9))
    more = {"created_at": "2026-11-21T12:00:00+00:00", "rollback_until": None, "actions": ["receipt", "cancel"]}
    more["interrupted"] = False
    assert shown == {**saved, **more}
    await world.board.put(Snapshot(TRANSFER, "receiver", position=Position(State.VERIFYING), documents_done=8))
    shown = (await client("GET", path, headers=ADMIN)).json()["transfer"]
    # Newer numbers; the state is the ledger's, because a step of another process does not reach this board.
    assert (shown["state"], shown["documents"]["done"]) == ("ready", 8)
    bare = (await client("GET", f"{API}/transfers/{OTHER}", headers=ADMIN)).json()["transfer"]
    assert (bare["id"], bare["role"], bare["state"]) == (OTHER, "pusher", "checked")
    assert bare.keys() == shown.keys()


async def test_transfers_are_listed(client: AsgiClient, world: World) -> None:
    await world.row(Role.RECEIVER, TRANSFER)
    world.clock.advance(seconds=1)
    await world.row(Role.PUSHER, OTHER)

    async def listed(query: str) -> list[str]:
        answer = await client("GET", f"{API}/transfers{query}", headers=ADMIN)
        return [transfer["id"] for transfer in answer.json()["transfers"]]

    assert await listed("") == [OTHER, TRANSFER]
    assert await listed("?role=receiver") == [TRANSFER]
    assert await listed("?limit=1") == [OTHER]
    for wrong in ("?role=both", "?limit=0", "?limit=x", "?limit=1001", "?limit=", "?limit=99999999999"):
        answer = await client("GET", f"{API}/transfers{wrong}", headers=ADMIN)
        assert (answer.status, answer.code) == (400, "invalid_request")
