"""From GROWI's settings to a bucket."""

from __future__ import annotations

import builtins
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from growi_transfer.protocol.errors import StorageNotConfigured
from growi_transfer.protocol.growi_config import merge
from growi_transfer.storage.object_store.clients import open_client
from growi_transfer.storage.object_store.s3_requests import address_of
from growi_transfer.storage.places import ObjectStoreSettings, Place, place_of
from growi_transfer.storage.registry import open_storage

AWS = {"aws:s3Bucket": "wiki", "aws:s3AccessKeyId": "AKIA", "aws:s3SecretAccessKey": "hidden-secret"}
AZURE = {
    "azure:storageAccountName": "acc",
    "azure:storageContainerName": "wiki",
    "azure:tenantId": "tenant",
    "azure:clientId": "client",
    "azure:clientSecret": "hidden-secret",
}


def settings(configs: dict[str, Any], environment: dict[str, str] | None = None, **ours: str) -> ObjectStoreSettings:
    """As wiring makes them."""
    stored = {key: json.dumps(value) for key, value in configs.items()}
    config = merge({"FILE_UPLOAD": "local"} | (environment or {}), stored)
    return ObjectStoreSettings(config.values, **ours)


def test_s3_as_growi_has_it() -> None:
    place = place_of("aws", settings(AWS))
    assert (place.bucket, place.region, place.endpoint, place.prefix) == ("wiki", "ap-northeast-1", None, "")
    assert address_of(place) == ("https://wiki.s3.ap-northeast-1.amazonaws.com", "")


@pytest.mark.parametrize(("set_to", "sent"), [("public-read", "public-read"), ("everybody", ""), ("private\nx: y", "")])
def test_only_the_canned_acls_that_growi_sends(set_to: str, sent: str) -> None:
    assert place_of("aws", settings({"aws:s3Bucket": "wiki"}, {"S3_OBJECT_ACL": set_to})).acl == sent


def test_a_custom_endpoint_is_asked_by_path() -> None:
    place = place_of("aws", settings(AWS | {"aws:s3CustomEndpoint": "http://minio.internal:9000/"}))
    assert address_of(place) == ("http://minio.internal:9000", "wiki")


@pytest.mark.parametrize(
    ("bucket", "region", "address"),
    [
        ("my.wiki", "eu-west-1", ("https://s3.eu-west-1.amazonaws.com", "my.wiki")),
        ("wiki", "cn-north-1", ("https://wiki.s3.cn-north-1.amazonaws.com.cn", "")),
    ],
)
def test_addresses_of_amazon(bucket: str, region: str, address: tuple[str, str]) -> None:
    assert address_of(place_of("aws", settings(AWS | {"aws:s3Bucket": bucket, "aws:s3Region": region}))) == address


def test_the_namespace_of_gcs_is_a_folder(tmp_path: Path) -> None:
    key = tmp_path / "key.json"
    key.write_text("{}")
    environment = {"GCS_BUCKET": "b", "GCS_UPLOAD_NAMESPACE": "my/wiki//", "GCS_API_KEY_JSON_PATH": str(key)}
    place = place_of("gcs", settings({}, environment))
    assert (place.bucket, place.prefix, place.key_file) == ("b", "my/wiki/", key)
    assert place_of("gcs", settings({"gcs:bucket": "b"})).prefix == ""


@pytest.mark.parametrize("namespace", ["/my/wiki", "/", "my//wiki"])
def test_a_namespace_with_which_growis_keys_are_no_paths(namespace: str) -> None:
    with pytest.raises(StorageNotConfigured, match="gcs:uploadNamespace"):
        open_storage("gcs", objects=settings({"gcs:bucket": "b", "gcs:uploadNamespace": namespace}))


def test_where_the_files_are_is_told_in_words() -> None:
    there = AWS | {"aws:s3CustomEndpoint": "http://minio:9000"}
    assert open_storage("aws", objects=settings(there)).features.place == "the bucket wiki at http://minio:9000"
    namespaced = settings({"gcs:bucket": "b", "gcs:uploadNamespace": "wiki"})
    assert open_storage("gcs", objects=namespaced).features.place == "the bucket b (below wiki/)"


def test_an_acl_that_cannot_be_set_is_told() -> None:
    acl = {"aws:s3ObjectCannedACL": "public-read"}
    assert open_storage("aws", objects=settings({"aws:s3Bucket": "wiki"} | acl)).features.unset_acl == "public-read"
    assert open_storage("aws", objects=settings(AWS | acl)).features.unset_acl == ""
    assert open_storage("aws", objects=settings({"aws:s3Bucket": "wiki"})).features.unset_acl == ""


def test_an_account_key_comes_before_the_service_principal() -> None:
    assert place_of("azure", settings(AZURE)).client_secret == "hidden-secret"
    assert place_of("azure", settings(AZURE, azure_account_key="k")).account_key == "k"


@pytest.mark.parametrize(
    ("kind", "configs", "named"),
    [
        ("aws", AWS | {"aws:s3Bucket": ""}, "aws:s3Bucket"),
        ("aws", AWS | {"aws:s3Region": " "}, "aws:s3Region"),
        ("aws", AWS | {"aws:s3AccessKeyId": ""}, "aws:s3AccessKeyId"),
        ("aws", AWS | {"aws:s3SecretAccessKey": ""}, "aws:s3SecretAccessKey"),
        ("aws", AWS | {"aws:s3Bucket": "a b"}, "aws:s3Bucket"),
        ("gcs", {}, "GCS_BUCKET"),
        ("gcs", {"gcs:bucket": "b", "gcs:apiKeyJsonPath": "/nowhere/key.json"}, "GCS_API_KEY_JSON_PATH"),
        ("azure", AZURE | {"azure:storageAccountName": None}, "AZURE_STORAGE_ACCOUNT_NAME"),
        ("azure", AZURE | {"azure:storageContainerName": None}, "AZURE_STORAGE_CONTAINER_NAME"),
        ("azure", AZURE | {"azure:tenantId": None}, "AZURE_TENANT_ID"),
        ("azure", AZURE | {"azure:clientSecret": None}, "AZURE_CLIENT_SECRET"),
    ],
)
def test_what_is_missing_is_named(kind: str, configs: dict[str, Any], named: str) -> None:
    with pytest.raises(StorageNotConfigured, match=named):
        open_storage(kind, objects=settings(configs))


@pytest.mark.parametrize(
    "endpoint",
    [
        "minio:9000",
        "ftp://minio",
        "http://",
        "http://u:hidden-secret@minio",
        "http://minio/?x=hidden-secret",
        "http://a b",
    ],
)
def test_an_endpoint_that_is_none(endpoint: str) -> None:
    with pytest.raises(StorageNotConfigured, match="aws:s3CustomEndpoint") as raised:
        place_of("aws", settings(AWS | {"aws:s3CustomEndpoint": endpoint}))
    assert "hidden-secret" not in raised.value.message


def test_no_secret_shows() -> None:
    places = [place_of("aws", settings(AWS)), place_of("azure", settings(AZURE, azure_account_key="hidden-secret-2"))]
    for shown in (*map(repr, places), *map(str, places), repr(settings(AWS, azure_account_key="hidden-secret"))):
        assert "hidden-secret" not in shown


def test_settings_that_the_library_refuses_are_told_without_their_values() -> None:
    place = Place("azure", "wiki", account="acc", account_key="hidden secret, not base64")
    with pytest.raises(StorageNotConfigured, match=r"\(azure\)") as raised:
        open_client(place)
    assert "hidden" not in raised.value.message


def test_without_the_extra_its_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_obstore(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "obstore":
            raise ModuleNotFoundError(f"No module named {name!r}", name="obstore")
        return real(name, *rest)

    for name in [name for name in sys.modules if "object_store" in name or name.partition(".")[0] == "obstore"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without_obstore)
    with pytest.raises(StorageNotConfigured, match=r"pip install 'growi-transfer\[object-storage\]'"):
        open_storage("aws", objects=settings(AWS))
