from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from growi_transfer.protocol.errors import InvalidRequest, JsonInvalid
from growi_transfer.protocol.growi_info import (
    AttachmentInfo,
    DestinationCounts,
    GrowiInfo,
    TransferBlock,
    parse_growi_info,
)

GROWI_7_3 = (
    '{"growiInfo":{"userUpperLimit":null,"fileUploadDisabled":false,"fileUploadTotalLimit":null,'
    '"version":"7.3.0-RC.0","attachmentInfo":{"type":"local","writable":true}}}'
)
LEAST: dict[str, Any] = {"version": "8.0.0", "attachmentInfo": {"type": "gridfs", "writable": False}}
OURS = GrowiInfo(
    version="7.3.0",
    user_upper_limit=50,
    file_upload_disabled=False,
    attachment_info=AttachmentInfo(type="local", writable=True),
    destination_counts=DestinationCounts(users=1, user_groups=2, pages=3),
    password_seed_fingerprint="0" * 64,
    loginable_admin_count=1,
    session_store_supports_enumeration=True,
    transfer=TransferBlock(
        protocol=1,
        features=("bundles", "volumes"),
        limits={"volume_bytes": 80 << 20},
        instance_id="i",
        mongo_version="6.0.5",
        feature_compatibility_version="6.0",
        migrations=("1-first.js", "2-second.js"),
        free_bytes=123,
    ),
)


def answer(**fields: Any) -> str:
    return json.dumps({"growiInfo": {**LEAST, **fields}})


def test_what_a_real_growi_7_3_answers() -> None:
    info = parse_growi_info(GROWI_7_3)
    assert info.version == "7.3.0-RC.0"
    assert info.user_upper_limit is None
    assert info.file_upload_disabled is False
    assert info.attachment_info == AttachmentInfo(type="local", writable=True)
    assert info.loginable_admin_count is None
    assert info.dialect == "growi"
    assert not info.has_feature("volumes")
    assert {"growiInfo": info.to_json()} == json.loads(GROWI_7_3)


def test_what_a_growi_8_answers() -> None:
    info = parse_growi_info(
        answer(
            userUpperLimit=10,
            fileUploadTotalLimit=1_000.5,
            destinationCounts={"users": 1, "userGroups": 2, "pages": 3},
            passwordSeedFingerprint="ab" * 32,
            loginableAdminCount=0,
            sessionStoreSupportsEnumeration=True,
            attachmentInfo={"type": "aws", "writable": True, "bucket": "b", "customEndpoint": "http://minio:9000"},
        )
    )
    assert info.user_upper_limit == 10
    assert info.file_upload_total_limit == 1_000.5
    assert info.destination_counts == DestinationCounts(users=1, user_groups=2, pages=3)
    assert info.loginable_admin_count == 0
    assert info.attachment_info.custom_endpoint == "http://minio:9000"
    assert info.dialect == "growi"


def test_our_own_document_comes_back() -> None:
    document = OURS.to_json()
    assert document["transfer"]["feature_compatibility_version"] == "6.0"
    assert document["fileUploadTotalLimit"] is None
    assert document["destinationCounts"] == {"users": 1, "userGroups": 2, "pages": 3}
    again = parse_growi_info(json.dumps({"growiInfo": document}))
    assert again == OURS
    assert again.dialect == "native"
    assert again.has_feature("bundles")
    assert not again.has_feature("teleport")


def test_features_of_another_protocol_are_not_ours() -> None:
    info = parse_growi_info(answer(transfer={"protocol": 2, "features": ["bundles"]}))
    assert info.dialect == "native"
    assert not info.has_feature("bundles")


def test_unknown_fields_are_let_through_everywhere() -> None:
    info = parse_growi_info(
        '{"later":1,"growiInfo":{"version":"9","new":{"deep":[]},"attachmentInfo":{"type":"local","writable":true,"x":1},'
        '"transfer":{"protocol":1,"x":[1]}}}'
    )
    assert info == GrowiInfo(
        version="9",
        attachment_info=AttachmentInfo(type="local", writable=True),
        transfer=TransferBlock(protocol=1),
    )


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"version": None}, "version"),
        ({"version": 7}, "version"),
        ({"version": "7" * 3000}, "version"),
        ({"attachmentInfo": None}, "attachmentInfo"),
        ({"attachmentInfo": {"type": "local"}}, "attachmentInfo.writable"),
        ({"attachmentInfo": {"type": "local", "writable": 1}}, "attachmentInfo.writable"),
        ({"userUpperLimit": "10"}, "userUpperLimit"),
        ({"userUpperLimit": True}, "userUpperLimit"),
        ({"fileUploadTotalLimit": 1e300}, "fileUploadTotalLimit"),
        ({"destinationCounts": {"users": 1}}, "destinationCounts"),
        ({"destinationCounts": {"users": -1, "userGroups": 0, "pages": 0}}, "destinationCounts.users"),
        ({"passwordSeedFingerprint": "x" * 64}, "passwordSeedFingerprint"),
        ({"loginableAdminCount": "1"}, "loginableAdminCount"),
        ({"transfer": {}}, "transfer.protocol"),
        ({"transfer": {"protocol": "1"}}, "transfer.protocol"),
        ({"transfer": {"protocol": 1, "features": "all"}}, "transfer.features"),
        ({"transfer": {"protocol": 1, "features": ["f"] * 1000}}, "transfer.features"),
        ({"transfer": {"protocol": 1, "limits": {"a": -1}}}, "transfer.limits"),
        ({"transfer": []}, "transfer"),
    ],
)
def test_wrong_types_are_named(fields: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_growi_info(answer(**fields))
    assert where in caught.value.details["field"]
    assert where in caught.value.message


@pytest.mark.parametrize("body", ["", "<html>", "{", b"\xff\xfe", "[" * 100_000, '{"growiInfo":NaN1}'])
def test_what_is_no_json(body: str | bytes) -> None:
    with pytest.raises(JsonInvalid):
        parse_growi_info(body)


@pytest.mark.parametrize("body", ["[]", "null", "{}", '{"growiInfo":null}', '{"growiInfo":[]}', '{"growi_info_":{}}'])
def test_json_without_the_document(body: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_growi_info(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([*OURS.to_json(), "other"]), JSON))
def test_any_document_is_read_or_refused(document: dict[str, Any]) -> None:
    try:
        info = parse_growi_info(json.dumps({"growiInfo": {**LEAST, **document}}))
    except InvalidRequest:
        return
    assert parse_growi_info(json.dumps({"growiInfo": info.to_json()})) == info
