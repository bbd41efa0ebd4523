"""obstore's client for a place. obstore itself never tries again, except inside one multipart upload."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from obstore.store import AzureStore, GCSStore, S3Store

from growi_transfer import __version__
from growi_transfer.protocol.errors import StorageNotConfigured
from growi_transfer.storage.object_store.s3_requests import address_of
from growi_transfer.storage.places import Place

if TYPE_CHECKING:
    from obstore.store import AzureConfig, ClientConfig, GCSConfig, RetryConfig, S3Config

Client = S3Store | AzureStore | GCSStore
_ONCE: RetryConfig = {"max_retries": 0}
_SOME: RetryConfig = {"max_retries": 4, "retry_timeout": timedelta(seconds=60)}


def open_client(place: Place, *, tries_again: bool = False) -> Client:
    """A client; nothing is asked of the store yet. Raises StorageNotConfigured when the settings cannot be right."""
    retry = _SOME if tries_again else _ONCE
    options: ClientConfig = {
        "allow_http": (place.endpoint or "").startswith("http://"),
        "connect_timeout": "10s",
        # A store that composes a large object may be silent for a while.
        "read_timeout": "120s",
        "timeout": "15min",
        "pool_max_idle_per_host": "64",
        "user_agent": f"growi-transfer/{__version__}",
    }
    try:
        match place.kind:
            case "aws":
                return _s3(place, options, retry)
            case "azure":
                return _azure(place, options, retry)
            case "gcs":
                return _gcs(place, options, retry)
    except Exception as error:  # noqa: BLE001 (obstore has no type for these; its text may hold a setting's value)
        raise StorageNotConfigured(
            f"The settings of the attachment storage ({place.kind}) are not accepted ({type(error).__name__})."
        ) from None


def _s3(place: Place, options: ClientConfig, retry: RetryConfig) -> S3Store:
    root, bucket_in_path = address_of(place)
    config: S3Config = {"region": place.region, "endpoint": root, "virtual_hosted_style_request": not bucket_in_path}
    # Not all stores that speak S3 can delete several objects in one request.
    config["disable_bulk_delete"] = True
    credentials: Any = None
    if place.access_key_id:
        # Through a provider and not as settings, so that no AWS_SESSION_TOKEN of the environment is mixed in.
        found = {
            "access_key_id": place.access_key_id,
            "secret_access_key": place.secret_access_key,
            "token": None,
            "expires_at": None,
        }
        credentials = lambda: found  # noqa: E731
    return S3Store(
        place.bucket, config=config, client_options=options, retry_config=retry, credential_provider=credentials
    )


def _azure(place: Place, options: ClientConfig, retry: RetryConfig) -> AzureStore:
    config: AzureConfig = {"account_name": place.account}
    if place.endpoint is not None:
        config["endpoint"] = place.endpoint
    if place.account_key:
        config["account_key"] = place.account_key
        config["credential_type"] = "access_key"
    elif place.client_secret:
        config["tenant_id"] = place.tenant_id
        config["client_id"] = place.client_id
        config["client_secret"] = place.client_secret
        config["credential_type"] = "client_secret"
    return AzureStore(place.bucket, config=config, client_options=options, retry_config=retry)


def _gcs(place: Place, options: ClientConfig, retry: RetryConfig) -> GCSStore:
    config: GCSConfig = {}
    if place.endpoint is not None:
        config["base_url"] = place.endpoint
    if place.key_file is not None:
        config["service_account"] = str(place.key_file)
    elif place.endpoint is not None:
        # An emulator, which asks for no credentials.
        config["skip_signature"] = True
    return GCSStore(place.bucket, config=config, client_options=options, retry_config=retry)
