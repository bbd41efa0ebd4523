"""GROWI's settings as GROWI reads them: which source wins, and what a damaged database means."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from growi_transfer.protocol.errors import SettingInvalid
from growi_transfer.protocol.growi_config import (
    BY_ENVIRONMENT,
    BY_KEY,
    ENVIRONMENT_NAMES,
    SETTINGS,
    UPLOAD_TYPES,
    check_environment,
    merge,
    password_seed_fingerprint,
)


def test_a_bare_growi_has_growis_defaults() -> None:
    config = merge({}, {})
    assert config.file_upload_type == "aws"
    assert not config.file_upload_configured
    assert not config.file_upload_disabled
    assert (config.max_file_size, config.file_upload_total_limit, config.user_upper_limit) == (None, None, None)
    assert (config.app_site_url, config.app_title, config.service_instance_id) == (None, None, "")
    assert config.local_login_enabled
    assert not config.installed
    assert not config.maintenance_mode
    assert config.broken == ()


def test_the_configs_of_a_real_growi_7_3() -> None:
    # Documents of samples/growi-7.3/destination-after: nulls written by GROWI's own import stand for "not set".
    config = merge(
        {"FILE_UPLOAD": "local"},
        {
            "app:serviceInstanceId": '"4b52cdd5-4596-4c12-a8c0-e7a3013d9abb"',
            "google:clientSecret": "null",
            "app:installed": "true",
            "app:fileUpload": "true",
            "app:fileUploadType": None,
            "env:useOnlyEnvVars:app:fileUploadType": None,
            "gcs:bucket": None,
        },
    )
    assert config.file_upload_type == "local"
    assert config.file_upload_configured
    assert config.installed
    assert config.service_instance_id == "4b52cdd5-4596-4c12-a8c0-e7a3013d9abb"
    assert config.values["app:fileUpload"] is True
    assert config.broken == ()


@pytest.mark.parametrize(("word", "kind"), UPLOAD_TYPES.items())
def test_every_word_for_a_storage(word: str, kind: str) -> None:
    assert merge({"FILE_UPLOAD": word}, {}).file_upload_type == kind
    assert merge({}, {"app:fileUploadType": json.dumps(word)}).file_upload_type == kind


@pytest.mark.parametrize(
    ("environment", "configs"),
    [({"FILE_UPLOAD": "ftp"}, {}), ({}, {"app:fileUploadType": '"ftp"'}), ({"FILE_UPLOAD": ""}, {})],
)
def test_an_unknown_storage_is_refused_wherever_it_stands(environment: dict[str, str], configs: dict[str, str]) -> None:
    with pytest.raises(SettingInvalid) as caught:
        merge(environment, configs)
    assert caught.value.details["setting"] == "FILE_UPLOAD"


def test_a_wrong_storage_that_does_not_count_does_not_hurt() -> None:
    assert merge({"FILE_UPLOAD": ""}, {"app:fileUploadType": '"local"'}).file_upload_type == "local"


def test_the_database_wins_over_the_environment() -> None:
    config = merge(
        {"FILE_UPLOAD": "local", "USER_UPPER_LIMIT": "10", "APP_SITE_URL": "https://env.example.com/"},
        {
            "app:fileUploadType": '"mongodb"',
            "security:userUpperLimit": "25",
            "app:siteUrl": '"https://db.example.com/"',
        },
    )
    assert config.file_upload_type == "gridfs"
    assert config.user_upper_limit == 25
    assert config.app_site_url == "https://db.example.com"


def test_null_in_the_database_leaves_the_environment() -> None:
    assert merge({"USER_UPPER_LIMIT": "10"}, {"security:userUpperLimit": "null"}).user_upper_limit == 10


@pytest.mark.parametrize(
    ("flag", "name", "key", "stored", "ours"),
    [
        ("APP_SITE_URL_USES_ONLY_ENV_VARS", "APP_SITE_URL", "app:siteUrl", "http://db", "http://env"),
        ("FILE_UPLOAD_USES_ONLY_ENV_VAR_FOR_FILE_UPLOAD_TYPE", "FILE_UPLOAD", "app:fileUploadType", "aws", "local"),
        ("GCS_USES_ONLY_ENV_VARS_FOR_SOME_OPTIONS", "GCS_BUCKET", "gcs:bucket", "db", "env"),
        ("AZURE_USES_ONLY_ENV_VARS_FOR_SOME_OPTIONS", "AZURE_CLIENT_ID", "azure:clientId", "db", "env"),
    ],
)
def test_a_flag_makes_the_environment_the_only_source(flag: str, name: str, key: str, stored: str, ours: str) -> None:
    configs = {key: json.dumps(stored)}
    assert merge({name: ours}, configs).values[key] == stored
    assert merge({name: ours, flag: "false"}, configs).values[key] == stored
    assert merge({name: ours, flag: "true"}, configs).values[key] == ours
    assert merge({flag: "1"}, configs).values[key] == BY_KEY[key].default


def test_a_flag_counts_only_from_the_environment() -> None:
    configs = {"env:useOnlyEnvVars:app:fileUploadType": "true", "app:fileUploadType": '"gridfs"'}
    config = merge({"FILE_UPLOAD": "local"}, configs)
    assert config.file_upload_type == "gridfs"
    assert config.values["env:useOnlyEnvVars:app:fileUploadType"] is True


def test_a_group_leaves_its_neighbours_alone() -> None:
    environment = {"AZURE_USES_ONLY_ENV_VARS_FOR_SOME_OPTIONS": "true", "AZURE_REFERENCE_FILE_WITH_RELAY_MODE": "false"}
    assert merge(environment, {"azure:referenceFileWithRelayMode": "true"}).values["azure:referenceFileWithRelayMode"]


@pytest.mark.parametrize("text", ["{", "", "nul", "NaN", "Infinity", '"open', "[" * 100_000, "1" * 5000])
def test_broken_json_is_not_set_and_is_named(text: str) -> None:
    config = merge({"USER_UPPER_LIMIT": "10"}, {"security:userUpperLimit": text, "not:ours": "{"})
    assert config.user_upper_limit == 10
    assert config.broken == ("security:userUpperLimit",)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("app:installed", '"true"'),
        ("app:title", "17"),
        ("security:userUpperLimit", "true"),
        ("app:maxFileSize", '"many"'),
        ("app:maxFileSize", "1e999"),
        ("app:siteUrl", "[1]"),
    ],
)
def test_a_value_of_another_type_is_not_set_and_is_named(key: str, text: str) -> None:
    config = merge({}, {key: text})
    assert config.values[key] == BY_KEY[key].default
    assert config.broken == (key,)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("USER_UPPER_LIMIT", "ten"),
        ("USER_UPPER_LIMIT", "-1"),
        ("MAX_FILE_SIZE", "10MB"),
        ("MAX_FILE_SIZE", "1e6"),
        ("FILE_UPLOAD_TOTAL_LIMIT", "9" * 19),
        ("MONGO_GRIDFS_TOTAL_LIMIT", "0x10"),
        ("LOCAL_STRATEGY_ENABLED", "yes"),
        ("GCS_USES_ONLY_ENV_VARS_FOR_SOME_OPTIONS", "on"),
        ("FILE_UPLOAD", "ftp"),
    ],
)
def test_a_wrong_environment_value_names_its_variable(name: str, text: str) -> None:
    with pytest.raises(SettingInvalid) as caught:
        check_environment(name, text)
    assert name in caught.value.message
    assert caught.value.details["setting"] == name
    if name != "GCS_USES_ONLY_ENV_VARS_FOR_SOME_OPTIONS":
        with pytest.raises(SettingInvalid):
            merge({name: text}, {})


def test_empty_environment_values_are_no_limit() -> None:
    config = merge({"USER_UPPER_LIMIT": "", "MAX_FILE_SIZE": " ", "LOCAL_STRATEGY_ENABLED": ""}, {})
    assert (config.user_upper_limit, config.max_file_size) == (None, None)
    assert config.local_login_enabled is False
    for name in ENVIRONMENT_NAMES:
        check_environment(name, "")


def test_the_limit_of_gridfs_wins_only_there() -> None:
    environment = {"MONGO_GRIDFS_TOTAL_LIMIT": "5", "FILE_UPLOAD_TOTAL_LIMIT": "9"}
    assert merge({**environment, "FILE_UPLOAD": "mongodb"}, {}).file_upload_total_limit == 5
    assert merge({**environment, "FILE_UPLOAD": "local"}, {}).file_upload_total_limit == 9
    assert merge({"FILE_UPLOAD": "gridfs", "FILE_UPLOAD_TOTAL_LIMIT": "9"}, {}).file_upload_total_limit == 9
    assert merge({"FILE_UPLOAD": "gridfs", "MONGO_GRIDFS_TOTAL_LIMIT": "0"}, {}).file_upload_total_limit == 0


@pytest.mark.parametrize(
    ("kind", "needed"),
    [
        ("aws", ("aws:s3AccessKeyId", "aws:s3SecretAccessKey")),
        ("gcs", ("gcs:apiKeyJsonPath", "gcs:bucket")),
        ("azure", ("azure:storageAccountName", "azure:storageContainerName")),
    ],
)
def test_an_object_store_is_configured_with_all_it_needs(kind: str, needed: tuple[str, ...]) -> None:
    configs = dict.fromkeys(needed, '"x"')
    assert merge({"FILE_UPLOAD": kind}, configs).file_upload_configured
    for missing in needed:
        assert not merge({"FILE_UPLOAD": kind}, {**configs, missing: "null"}).file_upload_configured


def test_none_is_never_configured() -> None:
    config = merge({"FILE_UPLOAD": "none"}, {})
    assert (config.file_upload_type, config.file_upload_configured) == ("none", False)


def test_the_fingerprint_is_growis() -> None:
    assert password_seed_fingerprint(None) == hashlib.sha256(b"undefined").hexdigest()
    assert password_seed_fingerprint("") == hashlib.sha256(b"").hexdigest()
    assert merge({"PASSWORD_SEED": "鍵"}, {}).password_seed_fingerprint == hashlib.sha256("鍵".encode()).hexdigest()


def test_the_representation_holds_no_secret() -> None:
    environment = {"PASSWORD_SEED": "pepper-1", "AZURE_CLIENT_SECRET": "pepper-2"}
    config = merge(environment, {"aws:s3SecretAccessKey": '"pepper-3"'})
    assert "pepper" not in repr(config)
    assert "pepper" not in str(config)


def test_the_table_is_consistent() -> None:
    assert len(BY_KEY) == len(SETTINGS)
    assert all(setting.help for setting in BY_ENVIRONMENT.values())
    for setting in SETTINGS:
        if setting.only_environment_if:
            assert BY_ENVIRONMENT[setting.only_environment_if].kind == "boolean"
            assert setting.environment


texts = st.text(alphabet='0159eE+-."[]{}\\ \n\x00truefalsNIy日\ud800', max_size=12)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
stored_texts = json_values.map(json.dumps) | texts | st.none()
configs_strategy = st.dictionaries(st.sampled_from([setting.key for setting in SETTINGS]), stored_texts)
environments = st.dictionaries(
    st.sampled_from(ENVIRONMENT_NAMES), st.sampled_from(["", "true", "0", "17", "local", "mongodb"]) | texts
)


@given(environments, configs_strategy)
def test_only_setting_invalid_ever_comes_out(environment: dict[str, str], configs: dict[str, str | None]) -> None:
    refusal = None
    try:
        config = merge(environment, configs)
    except SettingInvalid as error:
        refusal = error
    if refusal is not None:
        assert refusal.details["setting"] in ENVIRONMENT_NAMES
        return
    assert set(config.values) == set(BY_KEY)
    assert set(config.broken) <= set(configs)
    for limit in (config.max_file_size, config.file_upload_total_limit, config.user_upper_limit):
        assert limit is None or type(limit) is int


@given(configs_strategy.filter(lambda configs: "app:fileUploadType" not in configs), st.integers(0, 10**6))
def test_the_order_of_sources(configs: dict[str, str | None], limit: int) -> None:
    """An oracle of its own for one number: the database if it has one, else the environment."""
    config = merge({"USER_UPPER_LIMIT": str(limit)}, configs)
    try:
        stored = json.loads(configs.get("security:userUpperLimit") or "null")
    except ValueError:
        stored = None
    if isinstance(stored, (int, float)) and not isinstance(stored, bool) and abs(stored) < float("inf"):
        assert config.user_upper_limit == int(stored)
    elif not isinstance(stored, str):
        assert config.user_upper_limit == limit
