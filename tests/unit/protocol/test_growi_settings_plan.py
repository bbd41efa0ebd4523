from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from growi_transfer.protocol.growi_rules import (
    ADDRESS_KEYS,
    MAINTENANCE_KEY,
    UPLOAD_SETTING_KEYS,
    SettingChange,
    end_maintenance,
    is_storage_setting,
    plan_settings,
)

Configs = dict[str, str | None]


def carry_out(incoming: Configs, changes: list[SettingChange]) -> Configs:
    after = dict(incoming)
    for change in changes:
        if change.action == "remove":
            del after[change.key]
        else:
            after[change.key] = change.value
    return after


def plan(
    destination: Configs, incoming: Configs, upload_type: str = "local", **upload: object
) -> dict[str, tuple[str, object, str]]:
    changes = plan_settings(
        destination, incoming, destination_upload_type=upload_type, source_upload_settings=upload.get("upload", {})
    )
    return {change.key: (change.action, change.value, change.reason) for change in changes}


def test_the_storage_of_the_destination_is_kept() -> None:
    changes = plan(
        {"app:fileUploadType": '"aws"', "aws:s3Bucket": '"ours"', "aws:s3SecretAccessKey": '"our secret"'},
        {"app:fileUploadType": '"azure"', "azure:tenantId": '"theirs"', "aws:s3Bucket": '"theirs"', "app:title": '"W"'},
    )
    assert changes == {
        "app:fileUploadType": ("set", '"aws"', "storage"),
        "aws:s3Bucket": ("set", '"ours"', "storage"),
        "aws:s3SecretAccessKey": ("set", '"our secret"', "storage"),
        "azure:tenantId": ("remove", None, "storage"),
        "app:isMaintenanceMode": ("set", "true", "maintenance"),
    }


@pytest.mark.parametrize(
    "key",
    [
        *UPLOAD_SETTING_KEYS,
        "aws:s3Bucket",
        "aws:s3Region",
        "aws:s3AccessKeyId",
        "aws:s3SecretAccessKey",
        "aws:s3CustomEndpoint",
        "aws:s3ObjectCannedACL",
        "azure:tenantId",
        "azure:clientId",
        "azure:clientSecret",
        "gridfs:totalLimit",
        "fileUpload:local:useInternalRedirect",
        "app:fileUploadTotalLimit",
    ],
)
def test_a_setting_of_the_source_storage_does_not_come_along(key: str) -> None:
    assert is_storage_setting(key)
    assert plan({}, {key: '"theirs"'})[key] == ("remove", None, "storage")
    assert plan({key: '"ours"'}, {key: '"theirs"'})[key] == ("set", '"ours"', "storage")
    assert plan({key: '"ours"'}, {})[key] == ("set", '"ours"', "storage")
    assert key not in plan({key: '"same"'}, {key: '"same"'})


@pytest.mark.parametrize("key", ["app:title", "app:maxFileSize", "app:serviceInstanceId", "security:userUpperLimit"])
def test_a_setting_of_the_wiki_comes_along(key: str) -> None:
    assert not is_storage_setting(key)
    assert key not in plan({key: '"ours"'}, {key: '"theirs"'})
    assert key not in plan({key: '"ours"'}, {})


def test_a_document_without_a_value_is_kept_as_one() -> None:
    assert plan({"gcs:bucket": None}, {"gcs:bucket": '"theirs"'})["gcs:bucket"] == ("set", None, "storage")
    assert plan({"gcs:bucket": None}, {})["gcs:bucket"] == ("set", None, "storage")
    assert "gcs:bucket" not in plan({"gcs:bucket": None}, {"gcs:bucket": None})


@pytest.mark.parametrize("upload_type", ["local", "none"])
def test_the_address_is_kept_whatever_the_storage_is(upload_type: str) -> None:
    theirs: Configs = {"app:siteUrl": '"https://source.example.com"'}
    ours: Configs = {"app:siteUrl": '"https://wiki.example.com"'}
    assert plan(ours, theirs, upload_type)["app:siteUrl"] == ("set", '"https://wiki.example.com"', "address")
    assert plan({}, theirs, upload_type)["app:siteUrl"] == ("remove", None, "address")


def test_a_destination_without_storage_takes_the_settings_of_the_source() -> None:
    changes = plan(
        {"app:fileUploadType": '"none"', "aws:s3Bucket": '"ours"'},
        {"gcs:bucket": '"theirs"', "gcs:uploadNamespace": '"old"'},
        "none",
        upload={
            "app:fileUploadType": "gcs",
            "gcs:bucket": "theirs",
            "gcs:uploadNamespace": "wiki/日本",
            "gcs:referenceFileWithRelayMode": False,
            "aws:lifetimeSecForTemporaryUrl": 120,
            "azure:storageAccountName": None,
            "app:siteUrl": "https://evil.example.com",
            "security:registrationMode": "Open",
        },
    )
    assert changes == {
        "app:fileUploadType": ("set", '"gcs"', "storage"),
        "gcs:uploadNamespace": ("set", '"wiki/日本"', "storage"),
        "gcs:referenceFileWithRelayMode": ("set", "false", "storage"),
        "aws:lifetimeSecForTemporaryUrl": ("set", "120", "storage"),
        "app:isMaintenanceMode": ("set", "true", "maintenance"),
    }


@pytest.mark.parametrize(("incoming", "changed"), [({}, True), ({MAINTENANCE_KEY: "false"}, True)])
def test_maintenance_mode_is_on_after_a_commit(incoming: Configs, changed: bool) -> None:
    assert (MAINTENANCE_KEY in plan({}, incoming)) is changed
    assert MAINTENANCE_KEY not in plan({}, {MAINTENANCE_KEY: "true"})
    assert carry_out({MAINTENANCE_KEY: "true"}, [end_maintenance()]) == {MAINTENANCE_KEY: "false"}


def test_values_are_not_in_repr() -> None:
    assert "hidden" not in repr(SettingChange("aws:s3SecretAccessKey", "set", '"hidden"'))


KEYS = st.sampled_from(
    [*UPLOAD_SETTING_KEYS, *ADDRESS_KEYS, MAINTENANCE_KEY, "aws:s3Bucket", "azure:tenantId", "app:title", "app:new"]
)
VALUES = st.none() | st.sampled_from(['"a"', '"b"', "true", "false", "1"])


@given(st.dictionaries(KEYS, VALUES), st.dictionaries(KEYS, VALUES))
def test_after_the_plan_each_key_is_that_of_its_owner(destination: Configs, incoming: Configs) -> None:
    changes = plan_settings(destination, incoming, destination_upload_type="gridfs", source_upload_settings={})
    after = carry_out(incoming, changes)
    for key in {*destination, *incoming, *after}:
        owner = destination if is_storage_setting(key) or key in ADDRESS_KEYS else incoming
        if key == MAINTENANCE_KEY:
            assert after[key] == "true"
        else:
            assert after.get(key, "absent") == owner.get(key, "absent")
    assert [change.key for change in changes] == sorted({change.key for change in changes})
    assert plan_settings(destination, after, destination_upload_type="gridfs", source_upload_settings={}) == []


@given(st.dictionaries(KEYS, VALUES), st.dictionaries(KEYS, st.none() | st.booleans() | st.text(max_size=5)))
def test_taking_the_source_storage_is_repeatable(incoming: Configs, upload: dict[str, object]) -> None:
    changes = plan_settings({}, incoming, destination_upload_type="none", source_upload_settings=upload)
    after = carry_out(incoming, changes)
    for key in UPLOAD_SETTING_KEYS:
        if upload.get(key) is not None:
            assert json.loads(after[key] or "null") == upload[key]
        else:
            assert after.get(key, "absent") == incoming.get(key, "absent")
    assert plan_settings({}, after, destination_upload_type="none", source_upload_settings=upload) == []
