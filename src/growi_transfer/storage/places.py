"""From GROWI's settings to the place where an object store keeps the attachments. Nothing is asked of the store."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from growi_transfer.protocol.errors import StorageNotConfigured

ObjectKind = Literal["aws", "gcs", "azure"]
_ACLS = {
    *("authenticated-read", "aws-exec-read", "bucket-owner-full-control", "bucket-owner-read"),
    *("private", "public-read", "public-read-write"),
}
"""The canned ACLs that GROWI sends; with any other word it sends none."""
_TEXT = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class ObjectStoreSettings:
    """What decides where the attachments are: GROWI's settings in force, and our own."""

    values: Mapping[str, Any] = field(repr=False)
    """`InstanceConfig.values`."""
    azure_account_key: str | None = field(default=None, repr=False)
    azure_endpoint: str | None = None
    gcs_endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """One bucket, and how to get there. Empty credentials stand for what the store's own chain finds (environment,
    instance role). Secrets do not show in its representation."""

    kind: ObjectKind
    bucket: str
    """Name of the bucket, or container."""
    prefix: str = ""
    """What every key begins with: empty, or a folder with a slash at its end."""
    endpoint: str | None = None
    """Address of a store that is not the provider's own, without a slash at its end."""
    region: str = ""
    access_key_id: str = field(default="", repr=False)
    secret_access_key: str = field(default="", repr=False)
    account: str = ""
    account_key: str = field(default="", repr=False)
    tenant_id: str = ""
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    key_file: Path | None = None
    acl: str = ""
    """Canned ACL of new objects."""

    @property
    def unset_acl(self) -> str:
        """The canned ACL that is wanted and cannot be set: only requests that are signed here have one."""
        return "" if self.access_key_id else self.acl

    def __str__(self) -> str:
        at = f" at {self.endpoint}" if self.endpoint else f" of account {self.account}" if self.account else ""
        return f"{'container' if self.kind == 'azure' else 'bucket'} {self.bucket}{at}"


def place_of(kind: ObjectKind, settings: ObjectStoreSettings) -> Place:
    """The place GROWI means. Raises StorageNotConfigured, which names the setting that is missing or wrong."""
    return {"aws": _aws, "gcs": _gcs, "azure": _azure}[kind](settings)


def _aws(settings: ObjectStoreSettings) -> Place:
    values = settings.values
    key, secret = _text(values, "aws:s3AccessKeyId"), _text(values, "aws:s3SecretAccessKey")
    acl = _text(values, "aws:s3ObjectCannedACL")
    if bool(key) != bool(secret):
        missing = "aws:s3SecretAccessKey" if key else "aws:s3AccessKeyId"
        raise _lacks("aws", missing, " Without both, the credentials of the environment or the instance are used.")
    return Place(
        kind="aws",
        bucket=_needed("aws", values, "aws:s3Bucket"),
        endpoint=_endpoint("aws:s3CustomEndpoint", _text(values, "aws:s3CustomEndpoint")),
        region=_needed("aws", values, "aws:s3Region"),
        access_key_id=key,
        secret_access_key=secret,
        acl=acl if acl in _ACLS else "",
    )


def _gcs(settings: ObjectStoreSettings) -> Place:
    values = settings.values
    namespace = _text(values, "gcs:uploadNamespace")
    if namespace.startswith("/") or "//" in namespace.rstrip("/"):
        # GROWI keeps all slashes but those at the end (url-join 4), so its keys have an empty segment.
        raise StorageNotConfigured(
            "gcs:uploadNamespace (GCS_UPLOAD_NAMESPACE) begins with a slash or has two together, so the keys of GROWI's"
            " objects cannot be reached as paths. Move them to keys without, and set it without.",
            setting="gcs:uploadNamespace",
        )
    namespace = namespace.rstrip("/")
    path = _text(values, "gcs:apiKeyJsonPath")
    if path and not Path(path).is_file():
        raise StorageNotConfigured(
            "The key file of GCS cannot be read; set GCS_API_KEY_JSON_PATH (gcs:apiKeyJsonPath) to where it is on "
            "this machine.",
            setting="gcs:apiKeyJsonPath",
        )
    return Place(
        kind="gcs",
        bucket=_needed("gcs", values, "gcs:bucket", "GCS_BUCKET"),
        prefix=f"{namespace}/" if namespace else "",
        endpoint=_endpoint("GROWI_TRANSFER_GCS_ENDPOINT", settings.gcs_endpoint or ""),
        key_file=Path(path) if path else None,
    )


def _azure(settings: ObjectStoreSettings) -> Place:
    values = settings.values
    tenant, client = _text(values, "azure:tenantId"), _text(values, "azure:clientId")
    secret = _text(values, "azure:clientSecret")
    if not settings.azure_account_key and any((tenant, client, secret)):
        for key, name in (("tenantId", "TENANT_ID"), ("clientId", "CLIENT_ID"), ("clientSecret", "CLIENT_SECRET")):
            _needed("azure", values, f"azure:{key}", f"AZURE_{name}")
    return Place(
        kind="azure",
        bucket=_needed("azure", values, "azure:storageContainerName", "AZURE_STORAGE_CONTAINER_NAME"),
        account=_needed("azure", values, "azure:storageAccountName", "AZURE_STORAGE_ACCOUNT_NAME"),
        account_key=settings.azure_account_key or "",
        endpoint=_endpoint("GROWI_TRANSFER_AZURE_ENDPOINT", settings.azure_endpoint or ""),
        tenant_id=tenant,
        client_id=client,
        client_secret=secret,
    )


def _text(values: Mapping[str, Any], key: str) -> str:
    return str(values.get(key) or "").strip()


def _needed(kind: str, values: Mapping[str, Any], key: str, environment: str = "") -> str:
    text = _text(values, key)
    if not text:
        raise _lacks(kind, key, f" {environment} sets it, too." if environment else "")
    if not _TEXT.fullmatch(text):
        raise StorageNotConfigured(f"{key} has characters that it cannot have.", setting=key)
    return text


def _lacks(kind: str, key: str, more: str) -> StorageNotConfigured:
    return StorageNotConfigured(f"FILE_UPLOAD is {kind}, and GROWI's setting {key} is not set.{more}", setting=key)


def _endpoint(setting: str, text: str) -> str | None:
    if not text:
        return None
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        parts, good = urlsplit(""), False
    if not good or parts.username or parts.password or parts.query or parts.fragment or not _TEXT.fullmatch(text):
        raise StorageNotConfigured(
            f"{setting} must be an address such as https://storage.example.com, without user, password and query.",
            setting=setting,
        )
    return text.rstrip("/")
