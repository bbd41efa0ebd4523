"""GROWI's own settings: one table, and the rule by which environment and database become one value.

Source: the config manager of GROWI 7.3 and 8.x. A setting has a key (in the `configs` collection, as JSON text) and
perhaps an environment name. The database wins over the environment, except for the keys of a group whose control
flag (`env:useOnlyEnvVars:*`) is true; the flag itself counts only when it is set in the environment. JSON `null`, and
text that is not JSON, is the same as no document at all: GROWI reads it so, and so do we (`InstanceConfig.broken` names
such keys, for a warning). A wrong number or flag in the environment, which GROWI takes as NaN or false, is refused:
`SettingInvalid` names the variable.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, cast

from growi_transfer.protocol.errors import SettingInvalid

FileUploadType = Literal["local", "gridfs", "aws", "gcs", "azure", "none"]

UPLOAD_TYPES: Mapping[str, FileUploadType] = MappingProxyType(
    {
        "local": "local",
        "gridfs": "gridfs",
        "mongo": "gridfs",
        "mongodb": "gridfs",
        "aws": "aws",
        "gcs": "gcs",
        "gcp": "gcs",
        "azure": "azure",
        "none": "none",
    }
)
"""Every word GROWI takes for `FILE_UPLOAD`, and the storage it means."""

PASSWORD_SEED = "PASSWORD_SEED"  # noqa: S105 (the name of a variable)
"""Environment only; it is never stored, never sent, and compared by fingerprint."""


@dataclass(frozen=True, slots=True)
class Setting:
    key: str
    """In the `configs` collection."""
    environment: str | None = None
    kind: Literal["text", "number", "boolean"] = "text"
    default: str | int | bool | None = None
    """GROWI's; None stands for "not set", and for "no limit" of a number."""
    only_environment_if: str | None = None
    """Environment name of the flag that makes the environment the only source."""
    help: str = ""
    secret: bool = False


_SITE_URL_FLAG = "APP_SITE_URL_USES_ONLY_ENV_VARS"
_UPLOAD_FLAG = "FILE_UPLOAD_USES_ONLY_ENV_VAR_FOR_FILE_UPLOAD_TYPE"
_GCS_FLAG = "GCS_USES_ONLY_ENV_VARS_FOR_SOME_OPTIONS"
_AZURE_FLAG = "AZURE_USES_ONLY_ENV_VARS_FOR_SOME_OPTIONS"
_LOCAL_LOGIN_FLAG = "LOCAL_STRATEGY_USES_ONLY_ENV_VARS_FOR_SOME_OPTIONS"


def _flag(key: str, environment: str, what: str) -> Setting:
    return Setting(key, environment, "boolean", False, help=f"Whether {what} come from the environment alone.")


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "app:fileUploadType",
        "FILE_UPLOAD",
        "text",
        "aws",
        _UPLOAD_FLAG,
        "Where attachments are: local, gridfs (or mongodb), aws, gcs, azure, none.",
    ),
    Setting("app:siteUrl", "APP_SITE_URL", "text", None, _SITE_URL_FLAG, "Address of the wiki itself."),
    Setting("app:maxFileSize", "MAX_FILE_SIZE", "number", help="Bytes one attachment may have."),
    Setting("app:fileUploadTotalLimit", "FILE_UPLOAD_TOTAL_LIMIT", "number", help="Bytes all attachments may have."),
    Setting(
        "gridfs:totalLimit",
        "MONGO_GRIDFS_TOTAL_LIMIT",
        "number",
        help="The same for GridFS, where it wins over FILE_UPLOAD_TOTAL_LIMIT.",
    ),
    Setting("security:userUpperLimit", "USER_UPPER_LIMIT", "number", help="How many active users there may be."),
    Setting(
        "security:passport-local:isEnabled",
        "LOCAL_STRATEGY_ENABLED",
        "boolean",
        True,
        _LOCAL_LOGIN_FLAG,
        "Whether users log in with a password kept by the wiki.",
    ),
    Setting("app:title"),
    Setting("app:serviceInstanceId"),
    Setting("app:installed", kind="boolean", default=False),
    Setting("app:isV5Compatible", kind="boolean", default=False),
    Setting("app:isMaintenanceMode", kind="boolean", default=False),
    Setting("app:fileUpload", kind="boolean", default=False),
    Setting("app:fileUploadDisabled", kind="boolean", default=False),
    Setting("aws:s3Bucket", default="growi"),
    Setting("aws:s3Region", default="ap-northeast-1"),
    Setting("aws:s3AccessKeyId"),
    Setting("aws:s3SecretAccessKey", secret=True),
    Setting("aws:s3CustomEndpoint"),
    Setting("aws:s3ObjectCannedACL", "S3_OBJECT_ACL", help="Canned ACL of new S3 objects."),
    Setting(
        "aws:referenceFileWithRelayMode",
        "S3_REFERENCE_FILE_WITH_RELAY_MODE",
        "boolean",
        False,
        help="Whether the wiki relays S3 downloads.",
    ),
    Setting(
        "aws:lifetimeSecForTemporaryUrl",
        "S3_LIFETIME_SEC_FOR_TEMPORARY_URL",
        "number",
        120,
        help="Seconds for which a temporary S3 address works.",
    ),
    Setting("gcs:apiKeyJsonPath", "GCS_API_KEY_JSON_PATH", "text", None, _GCS_FLAG, "Path of the key file for GCS."),
    Setting("gcs:bucket", "GCS_BUCKET", "text", None, _GCS_FLAG, "Name of the GCS bucket."),
    Setting("gcs:uploadNamespace", "GCS_UPLOAD_NAMESPACE", "text", "", _GCS_FLAG, "Folder inside the GCS bucket."),
    Setting(
        "gcs:referenceFileWithRelayMode",
        "GCS_REFERENCE_FILE_WITH_RELAY_MODE",
        "boolean",
        False,
        help="Whether the wiki relays GCS downloads.",
    ),
    Setting("azure:tenantId", "AZURE_TENANT_ID", "text", None, _AZURE_FLAG, "Tenant of the Azure storage."),
    Setting("azure:clientId", "AZURE_CLIENT_ID", "text", None, _AZURE_FLAG, "Client id for the Azure storage."),
    Setting(
        "azure:clientSecret",
        "AZURE_CLIENT_SECRET",
        "text",
        None,
        _AZURE_FLAG,
        "Client secret for the Azure storage.",
        secret=True,
    ),
    Setting(
        "azure:storageAccountName",
        "AZURE_STORAGE_ACCOUNT_NAME",
        "text",
        None,
        _AZURE_FLAG,
        "Name of the Azure storage account.",
    ),
    Setting(
        "azure:storageContainerName",
        "AZURE_STORAGE_CONTAINER_NAME",
        "text",
        None,
        _AZURE_FLAG,
        "Name of the Azure blob container.",
    ),
    Setting(
        "azure:referenceFileWithRelayMode",
        "AZURE_REFERENCE_FILE_WITH_RELAY_MODE",
        "boolean",
        False,
        help="Whether the wiki relays Azure downloads.",
    ),
    _flag("env:useOnlyEnvVars:app:siteUrl", _SITE_URL_FLAG, "the site's address should"),
    _flag("env:useOnlyEnvVars:app:fileUploadType", _UPLOAD_FLAG, "the kind of storage should"),
    _flag("env:useOnlyEnvVars:security:passport-local", _LOCAL_LOGIN_FLAG, "LOCAL_STRATEGY_ENABLED should"),
    _flag("env:useOnlyEnvVars:gcs", _GCS_FLAG, "key file, bucket and folder of GCS should"),
    _flag("env:useOnlyEnvVars:azure", _AZURE_FLAG, "the account and container of Azure should"),
)

BY_KEY: Mapping[str, Setting] = MappingProxyType({setting.key: setting for setting in SETTINGS})
BY_ENVIRONMENT: Mapping[str, Setting] = MappingProxyType(
    {setting.environment: setting for setting in SETTINGS if setting.environment}
)
ENVIRONMENT_NAMES: tuple[str, ...] = (*BY_ENVIRONMENT, PASSWORD_SEED)
"""Every environment variable of GROWI's that is read here."""


@dataclass(frozen=True, slots=True)
class InstanceConfig:
    """One wiki's settings as GROWI itself would see them. Limits: None is "no limit"."""

    file_upload_type: FileUploadType
    file_upload_disabled: bool
    """GROWI 7.3's own switch; in 8.x the type `none` says the same."""
    file_upload_configured: bool
    """Whether the storage has all the settings it needs (GROWI's rule for each kind)."""
    app_site_url: str | None
    app_title: str | None
    service_instance_id: str
    installed: bool
    maintenance_mode: bool
    local_login_enabled: bool
    max_file_size: int | None
    file_upload_total_limit: int | None
    user_upper_limit: int | None
    password_seed_fingerprint: str
    values: Mapping[str, Any]
    """Every key of the table with its value in force; None is "not set". Holds secrets: never show or send it whole."""
    broken: tuple[str, ...] = ()
    """Keys whose text in the database is not JSON or not of the right type, and which therefore count as not set."""

    def __repr__(self) -> str:
        return f"InstanceConfig(file_upload_type={self.file_upload_type!r}, broken={self.broken!r})"


def merge(environment: Mapping[str, str], configs: Mapping[str, Any]) -> InstanceConfig:
    """The settings in force. `configs`: key -> `value` of the documents of the `configs` collection.

    Raises SettingInvalid for a wrong value in the environment, and for a kind of storage nobody knows.
    """
    broken: list[str] = []
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        stored = _from_database(setting, configs.get(setting.key), broken)
        flag = BY_ENVIRONMENT[setting.only_environment_if] if setting.only_environment_if else None
        if stored is None or (flag is not None and _from_environment(flag, environment) is True):
            values[setting.key] = _from_environment(setting, environment)
        else:
            values[setting.key] = stored
    return InstanceConfig(
        file_upload_type=(upload_type := _upload_type(values["app:fileUploadType"])),
        file_upload_disabled=values["app:fileUploadDisabled"],
        file_upload_configured=_is_configured(upload_type, values),
        app_site_url=_site_url(values["app:siteUrl"]),
        app_title=values["app:title"] or None,
        service_instance_id=values["app:serviceInstanceId"] or "",
        installed=values["app:installed"],
        maintenance_mode=values["app:isMaintenanceMode"],
        local_login_enabled=values["security:passport-local:isEnabled"],
        max_file_size=values["app:maxFileSize"],
        file_upload_total_limit=_total_limit(upload_type, values),
        user_upper_limit=values["security:userUpperLimit"],
        password_seed_fingerprint=password_seed_fingerprint(environment.get(PASSWORD_SEED)),
        values=MappingProxyType(values),
        broken=tuple(broken),
    )


def check_environment(name: str, text: str) -> None:
    """Raises SettingInvalid, which names the variable, when `text` is a wrong value of a GROWI variable. Empty text is
    no value at all."""
    setting = BY_ENVIRONMENT.get(name)
    if setting is None or not text:
        return
    _from_environment(setting, {name: text})
    if name == "FILE_UPLOAD":
        _upload_type(text)


def password_seed_fingerprint(seed: str | None) -> str:
    """SHA-256, hex, of the seed's text, as GROWI 8 tells it. A wiki without a seed hashes the word `undefined`."""
    return hashlib.sha256(("undefined" if seed is None else seed).encode("utf-8", "surrogateescape")).hexdigest()


def _from_environment(setting: Setting, environment: Mapping[str, str]) -> Any:
    text = environment.get(setting.environment) if setting.environment else None
    if text is None:
        return setting.default
    if setting.kind == "text":
        return text
    if not text.strip():
        # GROWI reads an empty number as NaN, which is no limit in every comparison, and an empty flag as false.
        return False if setting.kind == "boolean" else setting.default
    if setting.kind == "number":
        if not re.fullmatch(r"\s*[0-9]{1,18}\s*", text):
            raise SettingInvalid(
                f"{setting.environment} must be a whole number without a unit; leave it out for no limit.",
                setting=setting.environment,
            )
        return int(text)
    word = text.strip().lower()
    if word not in ("true", "1", "false", "0"):
        raise SettingInvalid(f"{setting.environment} must be true or false.", setting=setting.environment)
    return word in ("true", "1")


def _from_database(setting: Setting, value: Any, broken: list[str]) -> Any:
    """The value in the database, or None for "not set". A wrong one is noted in `broken`."""
    if isinstance(value, str):
        try:
            value = json.loads(value, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            broken.append(setting.key)
            return None
    if value is None:
        return None
    if setting.kind == "boolean" and isinstance(value, bool):
        return value
    if setting.kind == "text" and isinstance(value, str):
        return value
    if setting.kind == "number" and not isinstance(value, bool):
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value):
            return int(value)
        if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
            return int(value)
    broken.append(setting.key)
    return None


def _refuse_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def _upload_type(word: str) -> FileUploadType:
    if word not in UPLOAD_TYPES:
        raise SettingInvalid(
            f"FILE_UPLOAD (or app:fileUploadType in the database) must be one of {', '.join(UPLOAD_TYPES)}.",
            setting="FILE_UPLOAD",
        )
    return UPLOAD_TYPES[word]


def _is_configured(upload_type: FileUploadType, values: Mapping[str, Any]) -> bool:
    needed: dict[FileUploadType, tuple[str, ...]] = {
        "aws": ("aws:s3AccessKeyId", "aws:s3SecretAccessKey", "aws:s3Bucket"),
        "gcs": ("gcs:apiKeyJsonPath", "gcs:bucket"),
        "azure": ("azure:storageAccountName", "azure:storageContainerName"),
    }
    return upload_type != "none" and all(values[key] for key in needed.get(upload_type, ()))


def _total_limit(upload_type: FileUploadType, values: Mapping[str, Any]) -> int | None:
    own = values["gridfs:totalLimit"] if upload_type == "gridfs" else None
    return cast("int | None", own if own is not None else values["app:fileUploadTotalLimit"])


def _site_url(text: str | None) -> str | None:
    return text.rstrip("/") or None if text else None
