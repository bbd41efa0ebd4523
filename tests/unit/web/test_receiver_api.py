from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import pytest
from tests.fakes.asgi import CUT, AsgiClient
from tests.fakes.web import ADMIN_TOKEN, ATTACHMENT, ORIGIN, OTHER, TRANSFER, World

from growi_transfer.ledger.base import Role
from growi_transfer.protocol.errors import DestinationBusy, StorageUnavailable
from growi_transfer.protocol.wire import AttachmentFile, PutTransfer, Verify
from growi_transfer.storage.base import StoredFile

API = "/_api/v3/g2g-transfer"
ADMIN = {"authorization": f"Bearer {ADMIN_TOKEN}"}
SETUP = {"setup": {"source": {"version": "7.3.0"}}, "collections": []}
FILE = {"id": ATTACHMENT, "file_name": "a.png", "has_page": True, "size": 3}


async def keyed(world: World, claimed_by: str | None = TRANSFER, epoch: int = 4) -> dict[str, str]:
    return {
        "x-growi-transfer-key": await world.key(claimed_by=claimed_by),
        "x-growi-transfer-epoch": str(epoch),
    }


# keys


async def test_generate_key_gives_a_key_for_this_server(client: AsgiClient, world: World) -> None:
    for body in (None, b"{}", b'{"appSiteUrl":null}', b'{"appSiteUrl":"https://wiki.test/some/path"}'):
        answer = await client("POST", f"{API}/generate-key", body, headers=ADMIN)
        assert answer.status == 200
        token, origin = answer.json()["transferKey"].split("__grw_internal_tranferkey__")
        assert origin == ORIGIN
        row = await world.keys.check(token)
        assert answer.json()["key"]["id"] == row.id
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("url", ["not a url", "", "ftp://a", "http://", "http://a:0", "http://[", "http://a:port"])
async def test_generate_key_answers_as_growi_does_to_what_is_no_url(client: AsgiClient, url: str) -> None:
    answer = await client("POST", f"{API}/generate-key", json_body={"appSiteUrl": url}, headers=ADMIN)
    assert answer.status == 400
    assert answer.json() == {
        "errors": [{"code": "failed_to_generate_key_string", "message": "appSiteUrl may be wrong"}]
    }


async def test_the_admin_lists_and_revokes_keys(client: AsgiClient, world: World) -> None:
    first, second = await world.keys.issue(), await world.keys.issue()
    await world.keys.claim(second.row.id, TRANSFER)
    assert (await client("DELETE", f"{API}/keys/{first.row.id}", headers=ADMIN)).status == 204
    missing = await client("DELETE", f"{API}/keys/unknown", headers=ADMIN)
    assert (missing.status, missing.code) == (404, "key_not_found")
    keys = {key["id"]: key for key in (await client("GET", f"{API}/keys", headers=ADMIN)).json()["keys"]}
    assert keys[first.row.id]["state"] == "revoked"
    assert keys[second.row.id]["state"] == "valid"
    assert keys[second.row.id]["claimed_by"] == TRANSFER
    world.clock.advance(minutes=31)
    keys = {key["id"]: key for key in (await client("GET", f"{API}/keys", headers=ADMIN)).json()["keys"]}
    assert keys[second.row.id]["state"] == "expired"
    assert "hash" not in json.dumps(list(keys.values()))


# what GROWI asks


async def test_growi_info_and_files(client: AsgiClient, world: World) -> None:
    headers = await keyed(world, None)
    assert (await client("GET", f"{API}/growi-info", headers=headers)).json() == {"growiInfo": {"did": "growi_info"}}
    assert (await client("GET", f"{API}/files", headers=headers)).json() == {"files": []}
    world.receiver.pages = [
        [StoredFile("attachment/あ.png", 3), StoredFile("user/b", 0)],
        [],
        [StoredFile("user/c", 1 << 40)],
    ]
    assert (await client("GET", f"{API}/files", headers=headers)).json() == {
        "files": [
            {"name": "attachment/あ.png", "size": 3},
            {"name": "user/b", "size": 0},
            {"name": "user/c", "size": 1 << 40},
        ]
    }


@pytest.mark.parametrize("sizes", [[[], [1]], [[1], []], [[], []], [[1, 2], [3]], [[], [], [1], [], [2]]])
async def test_files_are_one_list_however_the_pages_fall(
    client: AsgiClient, world: World, sizes: list[list[int]]
) -> None:
    world.receiver.pages = [[StoredFile(f"user/{size}", size) for size in page] for page in sizes]
    answer = await client("GET", f"{API}/files", headers=await keyed(world, None))
    assert [file["size"] for file in answer.json()["files"]] == [size for page in sizes for size in page]


async def test_files_of_a_storage_that_does_not_answer(client: AsgiClient, world: World) -> None:
    world.receiver.fails = StorageUnavailable()
    answer = await client("GET", f"{API}/files", headers=await keyed(world, None))
    assert (answer.status, answer.code) == (503, "storage_unavailable")


async def test_a_sample_of_the_line_is_counted_and_thrown_away(client: AsgiClient, world: World) -> None:
    headers = await keyed(world, None)
    answer = await client("POST", f"{API}/preflight-probe", body=b"x" * 70_000, headers=headers)
    assert (answer.status, answer.json()) == (200, {"bytes": 70_000})
    refused = await client("POST", f"{API}/preflight-probe", body=b"x", headers={})
    assert (refused.status, refused.code) == (403, "invalid_transfer_key")
    long = await client("POST", f"{API}/preflight-probe", body=b"x" * ((8 << 20) + 1), headers=headers)
    assert (long.status, long.code) == (413, "body_too_large")


@pytest.mark.parametrize("path", ["/keep-alive", f"/transfers/{TRANSFER}/keep-alive"])
async def test_keep_alive_renews_the_lease_each_time(client: AsgiClient, world: World, path: str) -> None:
    headers = await keyed(world)
    for seconds in (5, 5, 25 * 60):
        world.clock.advance(seconds=seconds)
        answer = await client("POST", API + path, headers=headers)
        assert (answer.status, answer.body) == (204, b"")
        [row] = await world.keys.list()
        assert row.expires_at == world.clock() + timedelta(minutes=30)
    known = [call for name, call in world.receiver.calls if name == "keep_alive"]
    assert known == ([] if path == "/keep-alive" else [{"transfer_id": TRANSFER, "epoch": 4}] * 3)


# transfers


async def test_put_transfer_hands_over_the_set_up(client: AsgiClient, world: World) -> None:
    headers = await keyed(world, None)
    answer = await client("PUT", f"{API}/transfers/{TRANSFER}", json_body=SETUP, headers=headers)
    assert answer.json() == {"did": "put_transfer"}
    [(_, call)] = world.receiver.calls
    assert call["transfer_id"] == TRANSFER
    assert call["epoch"] == 4
    assert call["body"] == PutTransfer.model_validate_json(json.dumps(SETUP))
    assert call["key_id"] == (await world.keys.check(headers["x-growi-transfer-key"])).id


async def test_put_transfer_with_a_key_of_another_transfer(client: AsgiClient, world: World) -> None:
    answer = await client(
        "PUT", f"{API}/transfers/{TRANSFER}", json_body=SETUP, headers=await keyed(world, claimed_by=OTHER)
    )
    assert (answer.status, answer.code) == (409, "key_claimed")
    again = await client("PUT", f"{API}/transfers/{TRANSFER}", json_body=SETUP, headers=await keyed(world))
    assert again.status == 200


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b"{", "json_invalid", None),
        (b"\xff\xfe", "json_invalid", None),
        (b"", "invalid_request", "setup"),
        (b"[]", "invalid_request", "body"),
        (json.dumps({**SETUP, "more": 1}).encode(), "invalid_request", "more"),
        (json.dumps({**SETUP, "files_total": "3"}).encode(), "invalid_request", "files_total"),
        (json.dumps({**SETUP, "files_total": -3}).encode(), "invalid_request", "files_total"),
    ],
)
async def test_put_transfer_names_what_is_wrong(
    client: AsgiClient, world: World, body: bytes, code: str, field: str | None
) -> None:
    answer = await client("PUT", f"{API}/transfers/{TRANSFER}", body, headers=await keyed(world))
    assert (answer.status, answer.code) == (400, code)
    assert answer.json()["errors"][0].get("details", {}).get("field") == field
    assert world.receiver.calls == []


@pytest.mark.parametrize("transfer_id", ["x", TRANSFER.upper(), TRANSFER[:-1], TRANSFER + "0", "..", "%2e%2e"])
async def test_ids_are_checked(client: AsgiClient, world: World, transfer_id: str) -> None:
    answer = await client("PUT", f"{API}/transfers/{transfer_id}", json_body=SETUP, headers=await keyed(world))
    assert answer.status == 400
    assert world.receiver.calls == []


async def test_a_refusal_of_the_receiver_is_the_answer(client: AsgiClient, world: World) -> None:
    world.receiver.fails = DestinationBusy(transfer=OTHER)
    answer = await client("PUT", f"{API}/transfers/{TRANSFER}", json_body=SETUP, headers=await keyed(world))
    assert (answer.status, answer.code) == (409, "destination_busy")
    assert answer.json()["errors"][0]["details"] == {"transfer": OTHER}


WRITES: list[tuple[str, str, Any]] = [
    ("PUT", "", SETUP),
    ("PUT", "/volumes/pages/0", {}),
    ("POST", "/attachments/plan", {"files": []}),
    ("POST", "/attachments", {}),
    ("PATCH", f"/attachments/{ATTACHMENT}", {}),
    ("POST", "/verify", {"collections": [], "files": 0}),
    ("POST", "/commit", {}),
    ("POST", "/rollback", {}),
    ("POST", "/cancel", {}),
    ("POST", "/keep-alive", {}),
]


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
async def test_what_changes_a_transfer_carries_the_epoch(
    client: AsgiClient, world: World, method: str, path: str, body: Any
) -> None:
    headers = {**await keyed(world), "upload-offset": "0", "upload-complete": "?0"}
    epoch = headers.pop("x-growi-transfer-epoch")
    for wrong in ({}, {"x-growi-transfer-epoch": "-1"}):
        answer = await client(method, f"{API}/transfers/{TRANSFER}{path}", json_body=body, headers={**headers, **wrong})
        assert (answer.status, answer.code) == (400, "invalid_request")
        assert answer.json()["errors"][0]["details"] == {"field": "x-growi-transfer-epoch"}
    assert world.receiver.calls == []
    answer = await client(
        method,
        f"{API}/transfers/{TRANSFER}{path}",
        json_body=body,
        headers={**headers, "x-growi-transfer-epoch": epoch},
    )
    assert answer.status in (200, 204)
    assert world.receiver.calls[0][1]["epoch"] == 4


# volumes


@pytest.mark.parametrize(
    ("path", "collection", "number"),
    [
        ("pages/0", "pages", 0),
        ("a.b-c/12", "a.b-c", 12),
        ("with/slash/7/3", "with/slash/7", 3),
        ("ページ/1", "ページ", 1),
        ("with space/2", "with space", 2),
    ],
)
async def test_put_volume(client: AsgiClient, world: World, path: str, collection: str, number: int) -> None:
    headers = await keyed(world)
    body = bytes(range(256)) * 5000
    answer = await client("PUT", f"{API}/transfers/{TRANSFER}/volumes/{path}", body, headers=headers)
    assert answer.json() == {"did": "put_volume"}
    [(_, call)] = world.receiver.calls
    assert (call["collection"], call["number"], call["epoch"]) == (collection, number, 4)
    assert type(call["body"]) is bytes
    assert call["body"] == body


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("system.users/0", 400),
        ("growi_transfer_keys/0", 400),
        ("sessions/0", 400),
        ("a$b/0", 400),
        (".x/0", 400),
        (f"pages/{1 << 31}", 400),
        ("pages/-1", 400),
        ("pages/x", 400),
        ("0", 405),
    ],
)
async def test_volumes_of_illegal_names(client: AsgiClient, world: World, path: str, status: int) -> None:
    answer = await client("PUT", f"{API}/transfers/{TRANSFER}/volumes/{path}", b"x", headers=await keyed(world))
    assert answer.status == status
    assert world.receiver.calls == []


async def test_volumes_are_listed(client: AsgiClient, world: World) -> None:
    answer = await client("GET", f"{API}/transfers/{TRANSFER}/volumes/a/b", headers=await keyed(world))
    assert answer.json() == {"volumes": [{"did": "volumes"}]}
    assert world.receiver.calls == [("volumes", {"transfer_id": TRANSFER, "collection": "a/b"})]


async def test_verify_hands_over_the_proofs(client: AsgiClient, world: World) -> None:
    await world.row(Role.RECEIVER)
    expected = {"collections": [{"number": 0, "documents": 3, "digest": "0" * 64}], "files": 2, "seconds": 20.5}
    answer = await client("POST", f"{API}/transfers/{TRANSFER}/verify", json_body=expected, headers=await keyed(world))
    assert answer.json() == {"did": "verify"}
    [(_, call)] = world.receiver.calls
    assert call["expected"] == Verify.model_validate_json(json.dumps(expected))


# attachments


async def test_plan_and_bundle(client: AsgiClient, world: World) -> None:
    headers = await keyed(world)
    answer = await client(
        "POST", f"{API}/transfers/{TRANSFER}/attachments/plan", json_body={"files": [FILE]}, headers=headers
    )
    assert answer.json() == {"did": "plan_attachments"}
    wrong = {"files": [{**FILE, "file_name": "../a.png"}]}
    answer = await client("POST", f"{API}/transfers/{TRANSFER}/attachments/plan", json_body=wrong, headers=headers)
    assert (answer.status, answer.code) == (400, "name_illegal")
    answer = await client("POST", f"{API}/transfers/{TRANSFER}/attachments", b"\0frames", headers=headers)
    assert answer.json() == {"did": "put_bundle"}
    assert world.receiver.calls[-1][1]["body"] == b"\0frames"


def described(**changes: Any) -> str:
    return base64.b64encode(json.dumps({**FILE, **changes}).encode()).decode()


async def test_a_large_file_by_offset(client: AsgiClient, world: World) -> None:
    path = f"{API}/transfers/{TRANSFER}/attachments/{ATTACHMENT}"
    headers = {**await keyed(world), "upload-complete": "?0", "upload-offset": "0"}
    answer = await client("PATCH", path, b"abc", headers={**headers, "x-growi-transfer-file": described()})
    assert (answer.status, answer.body) == (204, b"")
    assert (answer.headers["upload-offset"], answer.headers["upload-complete"]) == ("3", "?0")
    assert world.receiver.calls[0][1]["file"] == AttachmentFile.model_validate_json(json.dumps(FILE))
    wrong = await client("PATCH", path, b"abc", headers=headers)
    assert (wrong.status, wrong.code, wrong.headers["upload-offset"]) == (409, "offset_mismatch", "3")
    head = await client("HEAD", path, headers=headers)
    assert (head.status, head.headers["upload-offset"], head.headers["upload-length"]) == (204, "3", "100")
    last = {**headers, "upload-offset": "3", "upload-complete": "?1", "x-growi-transfer-sha256": "a" * 64}
    answer = await client("PATCH", path, [b"de", b"f"], headers=last)
    assert (answer.status, answer.headers["upload-offset"], answer.headers["upload-complete"]) == (204, "6", "?1")
    call = world.receiver.calls[-1][1]
    assert (call["complete"], call["sha256"], call["file"], call["epoch"]) == (True, "a" * 64, None, 4)
    assert b"".join(world.receiver.received) == b"abcdef"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"upload-offset": None}, "upload-offset"),
        ({"upload-offset": "-1"}, "upload-offset"),
        ({"upload-offset": "9" * 19}, "upload-offset"),
        ({"upload-complete": None}, "upload-complete"),
        ({"upload-complete": "true"}, "upload-complete"),
        ({"x-growi-transfer-sha256": "A" * 64}, "x-growi-transfer-sha256"),
        ({"x-growi-transfer-sha256": "a" * 63}, "x-growi-transfer-sha256"),
        ({"x-growi-transfer-file": "not base64!"}, "x-growi-transfer-file"),
        ({"x-growi-transfer-file": described(file_name="a/b")}, "file_name"),
        ({"x-growi-transfer-file": described(id="f" * 24)}, "id"),
    ],
)
async def test_wrong_headers_of_a_large_file(
    client: AsgiClient, world: World, changes: dict[str, str | None], field: str
) -> None:
    usual = {**await keyed(world), "upload-complete": "?0", "upload-offset": "0", **changes}
    headers = {name: value for name, value in usual.items() if value is not None}
    answer = await client("PATCH", f"{API}/transfers/{TRANSFER}/attachments/{ATTACHMENT}", b"abc", headers=headers)
    assert answer.status == 400
    assert answer.json()["errors"][0]["details"]["field"] == field
    assert world.receiver.calls == []


async def test_what_arrived_before_a_cut_reaches_the_receiver(client: AsgiClient, world: World) -> None:
    headers = {**await keyed(world), "upload-complete": "?1", "upload-offset": "0", "content-length": "1000"}
    await client("PATCH", f"{API}/transfers/{TRANSFER}/attachments/{ATTACHMENT}", [b"a" * 600, CUT], headers=headers)
    assert world.receiver.received == [b"a" * 600]
    assert getattr(world.receiver.stream_error, "code", None) == "body_cut"


# archives


async def test_an_archive_is_spooled_and_imported(client: AsgiClient, world: World) -> None:
    answer = await client("POST", f"{API}/mongo", [b"PK" + b"z" * 100, b"end"], headers=await keyed(world, None))
    assert answer.json() == {"did": "import_archive"}
    assert world.receiver.spooled == b"PK" + b"z" * 100 + b"end"
    assert world.receiver.spool_path is not None
    assert not world.receiver.spool_path.exists()


async def test_an_archive_with_a_claimed_key_is_refused(client: AsgiClient, world: World) -> None:
    answer = await client("POST", f"{API}/mongo", b"PK", headers=await keyed(world, OTHER))
    assert (answer.status, answer.code) == (409, "key_claimed")


async def test_the_dry_run_of_a_merge_needs_a_key_and_a_right_body(client: AsgiClient, world: World) -> None:
    body = {"merge": {"pages": "rename"}, "pages": [{"id": "0" * 24, "path": "/a"}]}
    assert (await client("POST", f"{API}/merge-plan", json_body=body)).status == 403
    answer = await client("POST", f"{API}/merge-plan", json_body=body, headers=await keyed(world, None))
    assert answer.json() == {"did": "plan_merge"}
    [(_, arguments)] = [call for call in world.receiver.calls if call[0] == "plan_merge"]
    assert arguments["part"].pages[0].path == "/a"
    for wrong in ({}, {"merge": {}, "pages": [{"id": "0" * 24}]}, {"merge": {"pages": "map"}}, {"merge": {}, "x": 1}):
        answer = await client("POST", f"{API}/merge-plan", json_body=wrong, headers=await keyed(world, None))
        assert (answer.status, answer.json()["errors"][0]["code"]) == (400, "invalid_request")
