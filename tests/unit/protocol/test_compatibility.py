from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from growi_transfer.protocol.compatibility import judge
from growi_transfer.protocol.findings import Finding, accepted_warnings
from growi_transfer.protocol.growi_info import AttachmentInfo, DestinationCounts, GrowiInfo, TransferBlock
from growi_transfer.protocol.source_facts import SourceFacts, UnstorableDocument, UnsupportedCollection

SEED, OTHER_SEED = "a" * 64, "b" * 64
SOURCE = SourceFacts(
    version="7.3.0-RC.0",
    active_users=3,
    file_upload_type="local",
    attachment_bytes=3020,
    password_seed_fingerprint=SEED,
    local_login_enabled=True,
    instance_id="source",
    mongo_version="6.0.5",
    feature_compatibility_version="6.0",
    migrations=("1.js", "2.js"),
)
DESTINATION = GrowiInfo(
    version="7.3.0-RC.0",
    attachment_info=AttachmentInfo(type="gridfs", writable=True),
    destination_counts=DestinationCounts(users=0, user_groups=0, pages=0),
    password_seed_fingerprint=SEED,
    loginable_admin_count=1,
    session_store_supports_enumeration=True,
    transfer=TransferBlock(
        protocol=1,
        instance_id="destination",
        mongo_version="6.0.5",
        feature_compatibility_version="6.0",
        migrations=("1.js", "2.js"),
        free_bytes=1 << 40,
    ),
)
REAL_GROWI = GrowiInfo(
    version="7.3.0-RC.0",
    file_upload_disabled=False,
    attachment_info=AttachmentInfo(type="local", writable=True),
)


def info(base: GrowiInfo = DESTINATION, **changes: Any) -> GrowiInfo:
    return base.model_copy(update=changes)


def block(**changes: Any) -> GrowiInfo:
    assert DESTINATION.transfer is not None
    return info(transfer=DESTINATION.transfer.model_copy(update=changes))


def storage(type_: str, *, writable: bool = True) -> dict[str, Any]:
    return {"attachment_info": AttachmentInfo(type=type_, writable=writable)}


def blockers(source: SourceFacts, destination: GrowiInfo = DESTINATION) -> list[tuple[str, str]]:
    judgement = judge(source, destination)
    assert judgement.warnings == ()
    return [(finding.code, finding.message) for finding in judgement.blockers]


def warning(source: SourceFacts, destination: GrowiInfo = DESTINATION) -> Finding:
    judgement = judge(source, destination)
    assert judgement.blockers == ()
    (finding,) = judgement.warnings
    return finding


def test_nothing_speaks_against_an_empty_equal_destination() -> None:
    judgement = judge(SOURCE, DESTINATION)
    assert judgement.blockers == ()
    assert judgement.warnings == ()
    assert judgement.reason is None


@pytest.mark.parametrize(
    ("source", "destination", "code", "text", "details"),
    [
        (
            {},
            {"version": "7.2.9"},
            "version_mismatch",
            "GROWI versions mismatch. src GROWI: 7.3.0-RC.0 / dest GROWI: 7.2.9.",
            {"src": "7.3.0-RC.0", "dest": "7.2.9"},
        ),
        (
            {},
            {"user_upper_limit": 2},
            "user_upper_limit",
            "The number of active users (3 users) exceeds the limit of the destination GROWI (up to 2 users).",
            {"activeUsers": 3, "limit": 2},
        ),
        (
            {},
            {"file_upload_disabled": True},
            "file_upload_not_configured",
            "The file upload setting is disabled in the destination GROWI.",
            {"side": "dest"},
        ),
        (
            {"file_upload_type": "none"},
            {},
            "file_upload_not_configured",
            "File upload is not configured for src GROWI.",
            {"side": "src"},
        ),
        (
            {},
            storage("none"),
            "file_upload_not_configured",
            "File upload is not configured for dest GROWI.",
            {"side": "dest"},
        ),
        (
            {},
            storage("local", writable=False),
            "destination_storage_not_writable",
            "The storage of the destination GROWI is not writable.",
            {},
        ),
        (
            {},
            {"file_upload_total_limit": 10},
            "file_upload_total_limit",
            (
                "The total file size of attachments exceeds the file upload limit of the destination GROWI. "
                "Requires 3,020 bytes, but got 10 bytes."
            ),
            {"required": 3020, "limit": 10},
        ),
        (
            {"attachment_bytes": 1_234_567_890},
            {"file_upload_total_limit": 1234.5},
            "file_upload_total_limit",
            (
                "The total file size of attachments exceeds the file upload limit of the destination GROWI. "
                "Requires 1,234,567,890 bytes, but got 1,234.5 bytes."
            ),
            {"required": 1_234_567_890, "limit": 1234.5},
        ),
    ],
)
def test_growis_own_reasons(
    source: dict[str, Any], destination: dict[str, Any], code: str, text: str, details: dict[str, Any]
) -> None:
    judgement = judge(replace(SOURCE, **source), info(**destination))
    assert [finding.to_json() for finding in judgement.blockers] == [
        {"code": code, "message": text, "details": details}
    ]
    assert judgement.reason == text


def test_limits_that_are_just_reached_are_kept() -> None:
    assert blockers(SOURCE, info(user_upper_limit=3, file_upload_total_limit=3020)) == []


def test_the_order_is_growis() -> None:
    source = replace(SOURCE, version="7.3.1", file_upload_type="none", instance_id="destination")
    destination = info(
        user_upper_limit=0, file_upload_disabled=True, file_upload_total_limit=0, **storage("none", writable=False)
    )
    judgement = judge(source, destination)
    assert [(finding.code, finding.details.get("side")) for finding in judgement.blockers] == [
        ("version_mismatch", None),
        ("user_upper_limit", None),
        ("file_upload_not_configured", "dest"),
        ("file_upload_not_configured", "src"),
        ("destination_storage_not_writable", None),
        ("file_upload_total_limit", None),
        ("same_instance", None),
    ]
    assert judgement.reason == "GROWI versions mismatch. src GROWI: 7.3.1 / dest GROWI: 7.3.0-RC.0."
    enabled = judge(replace(source, version="7.3.0-RC.0", active_users=0), info(**storage("none")))
    assert [finding.message for finding in enabled.blockers[:2]] == [
        "File upload is not configured for src GROWI.",
        "File upload is not configured for dest GROWI.",
    ]


def test_without_attachments_the_storages_do_not_matter() -> None:
    source = replace(SOURCE, with_attachments=False, file_upload_type="none", missing_file_count=1)
    destination = info(
        file_upload_disabled=True,
        file_upload_total_limit=0,
        transfer=TransferBlock(protocol=1, free_bytes=0),
        **storage("none", writable=False),
    )
    assert blockers(source, destination) == []


def test_pushing_to_oneself() -> None:
    assert [code for code, _ in blockers(replace(SOURCE, instance_id="destination"))] == ["same_instance"]
    assert blockers(replace(SOURCE, instance_id=""), block(instance_id="")) == []


def test_another_protocol() -> None:
    ((code, message),) = blockers(SOURCE, block(protocol=2))
    assert code == "protocol_unsupported"
    assert "version 2" in message


@pytest.mark.parametrize(
    ("source", "destination", "side"),
    [("4.4.29", "6.0.5", "source"), ("6.0.5", "5.0.31", "destination"), ("6.0.5", "5.0", "destination")],
)
def test_a_mongodb_that_is_too_old(source: str, destination: str, side: str) -> None:
    judgement = judge(replace(SOURCE, mongo_version=source), block(mongo_version=destination))
    (finding,) = judgement.blockers
    assert finding.code == "server_version_too_old"
    assert finding.details["side"] == side
    assert finding.message.startswith(f"The {side}'s MongoDB {finding.details['version']} is too old; ")


@pytest.mark.parametrize("version", ["5.1.0", "6.0.5", "8.0.0-rc3", "10.0", ""])
def test_a_mongodb_that_is_new_enough(version: str) -> None:
    assert judge(replace(SOURCE, mongo_version=version), block(mongo_version=version)).blockers == ()


def test_collections_that_cannot_move() -> None:
    names = tuple(UnsupportedCollection(f"ts{number}", "timeseries") for number in range(25))
    (finding,) = judge(replace(SOURCE, unsupported_collections=names), DESTINATION).blockers
    assert finding.code == "collection_kind_unsupported"
    assert "ts0 (timeseries), ts1 (timeseries)" in finding.message
    assert finding.details["count"] == 25
    assert len(finding.details["collections"]) == 20


def test_documents_that_cannot_be_stored() -> None:
    document = UnstorableDocument("pages", "6b01ecf0afe6dd931e5220f5", "nested deeper than 180 levels")
    (finding,) = judge(replace(SOURCE, unstorable_documents=(document,)), DESTINATION).blockers
    assert finding.code == "document_not_storable"
    assert finding.message == (
        "1 document cannot be stored by the destination's MongoDB; the first one is 6b01ecf0afe6dd931e5220f5 in pages:"
        " nested deeper than 180 levels"
    )
    assert finding.details["documents"] == [
        {"collection": "pages", "id": "6b01ecf0afe6dd931e5220f5", "reason": "nested deeper than 180 levels"}
    ]


@pytest.mark.parametrize(
    ("source", "destination", "code"),
    [
        ({"password_seed_fingerprint": OTHER_SEED}, DESTINATION, "password_seed_mismatch"),
        ({}, info(loginable_admin_count=0), "no_loginable_admin"),
        ({}, info(session_store_supports_enumeration=False), "sessions_not_invalidatable"),
        ({"local_login_enabled": False}, DESTINATION, "local_auth_disabled_at_source"),
        ({"version": None}, DESTINATION, "version_unknown"),
        ({"password_seed_fingerprint": None}, DESTINATION, "password_seed_unknown"),
        ({"is_replica_set": False}, DESTINATION, "source_not_replica_set"),
        ({"mongo_version": "7.0.2"}, DESTINATION, "server_version_older"),
        ({"feature_compatibility_version": "6.1"}, DESTINATION, "feature_compatibility_version_older"),
    ],
)
def test_warnings(source: dict[str, Any], destination: GrowiInfo, code: str) -> None:
    finding = warning(replace(SOURCE, **source), destination)
    assert finding.code == code
    assert finding.message.endswith(".")
    json.dumps(finding.to_json())


def test_what_would_be_replaced_is_counted() -> None:
    counts = DestinationCounts(users=1, user_groups=0, pages=12_345)
    finding = warning(SOURCE, info(destination_counts=counts))
    assert finding.to_json() == {
        "code": "destination_not_empty",
        "message": "The destination is not empty: 1 user, 0 user groups and 12,345 pages would be replaced.",
        "details": {"users": 1, "userGroups": 0, "pages": 12_345},
    }


def test_files_that_are_missing_are_named() -> None:
    one = warning(replace(SOURCE, missing_file_count=1, missing_files=("a.png",)))
    assert one.code == "attachment_file_missing"
    assert one.message == "1 attachment of the source has no file in its storage and will be skipped: a.png."
    assert one.details == {"count": 1, "files": ["a.png"]}
    many = warning(replace(SOURCE, missing_file_count=30, missing_files=tuple(f"{n}.png" for n in range(30))))
    assert many.message.startswith("30 attachments of the source have no file")
    assert many.message.endswith("skipped: 0.png, 1.png, 2.png, ...")
    assert many.details["count"] == 30
    assert len(many.details["files"]) == 20


def test_migrations_that_differ() -> None:
    finding = warning(SOURCE, block(migrations=("1.js", "3.js", "4.js")))
    assert finding.code == "migrations_differ"
    assert finding.details == {"missing": ["2.js"], "ahead": ["3.js", "4.js"]}


def codes(source: SourceFacts, destination: GrowiInfo) -> list[str]:
    judgement = judge(source, destination)
    return [finding.code for finding in (*judgement.blockers, *judgement.warnings)]


HEAVY = replace(SOURCE, document_bytes=3000, document_disk_bytes=1000, index_bytes=500, file_bytes=10_000)


def with_space(files: int | None, database: int | None, stored: int = 0, kind: str = "local") -> GrowiInfo:
    there = block(free_bytes=files, database_free_bytes=database, attachment_bytes=stored)
    return there.model_copy(update=storage(kind))


FAR = 1 << 40
"""Free on another disk."""


@pytest.mark.parametrize(
    ("files", "database", "stored", "expected"),
    [
        (FAR, 1499, 0, ["destination_space_insufficient"]),
        (FAR, 1500, 0, ["destination_space_low"]),
        (FAR, 3849, 0, ["destination_space_low"]),
        (FAR, 3850, 0, []),
        (9_999, FAR, 0, ["destination_space_insufficient"]),
        (10_999, FAR, 0, ["destination_space_low"]),
        (11_000, FAR, 0, []),
        (0, FAR, 10_000, ["destination_space_low"]),
        (0, FAR, 9_999, ["destination_space_insufficient"]),
        (None, 1499, 0, ["destination_space_insufficient"]),
        (9_999, None, 0, ["destination_space_insufficient"]),
        (None, None, 0, []),
    ],
)
def test_space_by_disk(files: int | None, database: int | None, stored: int, expected: list[str]) -> None:
    assert codes(HEAVY, with_space(files, database, stored)) == expected


def test_one_disk_has_to_hold_both() -> None:
    (finding,) = judge(HEAVY, with_space(11_499, 11_499)).blockers
    assert finding.details == {"what": "database and attachments", "required": 11_500, "free": 11_499}
    assert codes(HEAVY, with_space(11_500, 11_500)) == ["destination_space_low"]
    # GridFS is in the database, whatever else is said to be free.
    assert codes(HEAVY, with_space(FAR, 11_499, kind="gridfs")) == ["destination_space_insufficient"]
    assert codes(HEAVY, with_space(FAR, FAR, kind="gridfs")) == []


def test_a_merge_copies_what_the_destination_has() -> None:
    there = with_space(FAR, 3850)
    assert there.transfer is not None
    filled = there.model_copy(update={"transfer": there.transfer.model_copy(update={"database_bytes": 5000})})
    assert codes(HEAVY, filled) == [], "what is replaced is renamed, not copied"
    merging = replace(HEAVY, merges=True)
    [finding] = judge(merging, filled).warnings
    assert (finding.code, finding.details["required"]) == ("destination_space_low", 8500)
    assert codes(merging, there) == [], "an older destination does not tell"


def test_the_sources_own_disk() -> None:
    assert codes(replace(SOURCE, free_bytes=(256 << 20) - 1), DESTINATION) == ["source_space_low"]
    assert codes(replace(SOURCE, free_bytes=256 << 20), DESTINATION) == []


@pytest.mark.parametrize(("seconds", "word"), [(61.0, "ahead of"), (-3600.0, "behind")])
def test_clocks_that_differ(seconds: float, word: str) -> None:
    finding = warning(replace(SOURCE, clock_difference=seconds))
    assert (finding.code, finding.details) == ("clock_difference", {"seconds": seconds})
    assert word in finding.message
    assert codes(replace(SOURCE, clock_difference=seconds / abs(seconds) * 60), DESTINATION) == []


def test_an_acl_that_files_will_not_get() -> None:
    block = DESTINATION.transfer
    assert block is not None
    there = DESTINATION.model_copy(update={"transfer": block.model_copy(update={"unset_acl": "public-read"})})
    [finding] = judge(SOURCE, there).warnings
    assert (finding.code, finding.details) == ("object_acl_not_set", {"acl": "public-read"})


def test_a_proxy_that_refuses_large_bodies() -> None:
    finding = warning(replace(SOURCE, refused_bytes=8 << 20))
    assert (finding.code, finding.details) == ("line_refuses_large_bodies", {"bytes": 8 << 20})


def test_what_does_not_fit_together_in_the_storage() -> None:
    source = replace(
        SOURCE,
        duplicate_names=("a.png",),
        duplicate_name_count=1,
        illegal_names=("'..'", "'x:y'"),
        illegal_name_count=2,
        orphans=tuple(f"attachment/{number}" for number in range(20)),
        orphan_count=2000,
        orphan_bytes=5000,
        other_sizes=("b.png",),
        other_size_count=1,
        stored_twice=("attachment/c.png",),
        stored_twice_count=1,
        older_copies=4,
    )
    told = {finding.code: finding for finding in judge(source, DESTINATION).warnings}
    assert told["attachment_name_duplicate"].details == {"count": 1, "files": ["a.png"]}
    assert told["name_illegal"].details["count"] == 2
    assert "2,000 files of 5,000 bytes" in told["file_without_attachment"].message
    assert told["file_without_attachment"].details["count"] == 2000
    assert len(told["file_without_attachment"].details["files"]) == 20
    assert told["attachment_size_differs"].details == {"count": 1, "files": ["b.png"]}
    assert told["file_stored_twice"].details == {"count": 1, "older": 4, "files": ["attachment/c.png"]}
    assert "4 older ones" in told["file_stored_twice"].message
    assert set(told) == {
        "attachment_name_duplicate",
        "attachment_size_differs",
        "file_stored_twice",
        "file_without_attachment",
        "name_illegal",
    }


def test_an_older_server_hides_its_older_compatibility_version() -> None:
    newer = replace(SOURCE, mongo_version="7.0.1", feature_compatibility_version="7.0")
    assert warning(newer).code == "server_version_older"
    assert judge(replace(SOURCE, mongo_version="6.0.4"), DESTINATION).warnings == ()


def test_a_real_growi_tells_less() -> None:
    judgement = judge(SOURCE, REAL_GROWI)
    assert judgement.blockers == ()
    assert [finding.code for finding in judgement.warnings] == ["destination_is_growi", "password_seed_unknown"]
    assert judgement.warnings[1].details == {"side": "destination"}


def test_warnings_are_accepted_by_code() -> None:
    judgement = judge(replace(SOURCE, is_replica_set=False, local_login_enabled=False), DESTINATION)
    assert [finding.code for finding in judgement.unaccepted(["source_not_replica_set"])] == [
        "local_auth_disabled_at_source"
    ]
    assert judgement.unaccepted(["source_not_replica_set", "local_auth_disabled_at_source"]) == ()
    assert [finding["code"] for finding in judgement.to_json()["warnings"]] == [
        "local_auth_disabled_at_source",
        "source_not_replica_set",
    ]


def test_what_was_accepted_is_kept_as_it_was_told() -> None:
    first = {"code": "a", "message": "Five files.", "details": {"count": 5}}
    other = {"code": "b", "message": "Old.", "details": {}}
    kept = accepted_warnings([first, other], (), codes=("a", "never_told"), accept_all=False, now="monday")
    assert kept == [{**first, "accepted_at": "monday"}]
    later = [{**first, "message": "Six files.", "details": {"count": 6}}, other]
    again = accepted_warnings(later, kept, codes=(), accept_all=True, now="tuesday")
    assert again == [*kept, {**other, "accepted_at": "tuesday"}]
