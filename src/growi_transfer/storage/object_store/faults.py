"""What the errors of obstore mean, and what is said of them.

obstore has types for a few of them; the rest is told apart by the status and the `<Code>` that the store has answered,
which obstore puts into the text (asked for in obstore 0.12; the contract tests look at all of them on real stores).
Nothing of that text but the code is shown: it holds addresses and whole answers.
"""

from __future__ import annotations

import re

from obstore import exceptions

from growi_transfer.protocol.errors import (
    FileNotFound,
    StorageFull,
    StorageNotWritable,
    StorageRefused,
    StorageUnavailable,
    TransferError,
)
from growi_transfer.storage.object_store.s3_requests import S3Refusal, S3Silence
from growi_transfer.storage.places import Place
from growi_transfer.storage.retry import Fault

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>|\(code: (\w{1,60})\)")
_NO_BUCKET = {"NoSuchBucket", "ContainerNotFound", "InvalidBucketName", "ContainerBeingDeleted"}
_CREDENTIALS = {
    "AuthenticationFailed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "NoAuthenticationInformation",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}
_FULL = {"InsufficientStorage", "QuotaExceeded", "StorageQuotaExceeded", "XMinioStorageFull", "AccountQuotaExceeded"}
_THROTTLED = {"SlowDown", "ServerBusy", "TooManyRequests", "RequestLimitExceeded", "Throttling", "OperationTimedOut"}
_PASSING = {"BadDigest", "IncompleteBody", "OperationAborted", "RequestTimeout", "XAmzContentSHA256Mismatch"}
"""Refusals with a status of 400 or 409 that are about this one request on its way, and not about what it asks for."""
_REGION = {"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"}
_REDIRECTED = "incorrectly configured region"
"""obstore's words for a redirect of Amazon's, which has no address in it."""
_KEY = re.compile(r'Path "(.{1,200}?)"(?::| contained)', re.DOTALL)
_DENIED = {"AccessDenied", "AllAccessDisabled", "AuthorizationFailure", "AuthorizationPermissionMismatch"}
_NO_CREDENTIALS = ("169.254.169.254", "metadata.google.internal", "metadata/identity", "az account get-access-token")


def status_and_code(error: BaseException) -> tuple[int, str]:
    """What the store has answered; 0 and empty where it has not."""
    text = str(error)
    status, code = _STATUS.search(text), _CODE.search(text)
    return int(status[1]) if status else 0, (code[1] or code[2]) if code else ""


def fault_of(error: Exception) -> Fault:
    status, code = status_and_code(error)
    if code in _NO_BUCKET:
        return Fault.NO_BUCKET
    if code in _CREDENTIALS:
        return Fault.CREDENTIALS
    if code in _REGION or _REDIRECTED in str(error):
        return Fault.REGION
    if code in _PASSING:
        return Fault.NETWORK
    if code in _FULL or status == 507:
        return Fault.FULL
    if code in _THROTTLED or status == 429:
        return Fault.THROTTLED
    if isinstance(error, FileNotFoundError) or (isinstance(error, S3Refusal) and status == 404):
        return Fault.NOT_FOUND
    conditions = exceptions.PreconditionError | exceptions.AlreadyExistsError | exceptions.NotModifiedError
    if isinstance(error, conditions) or status == 412:
        return Fault.CHANGED
    if isinstance(error, exceptions.UnauthenticatedError) or status == 401:
        return Fault.CREDENTIALS
    if isinstance(error, exceptions.PermissionDeniedError) or code in _DENIED or status == 403:
        return Fault.DENIED
    if any(sign in str(error) for sign in _NO_CREDENTIALS):
        return Fault.CREDENTIALS
    if "token request" in str(error).lower() and 400 <= status < 500:
        return Fault.CREDENTIALS
    if isinstance(error, S3Silence | OSError | TimeoutError):
        return Fault.NETWORK
    if isinstance(error, exceptions.GenericError | S3Refusal) and (status >= 500 or status in (0, 408)):
        return Fault.NETWORK
    return Fault.OTHER


def told(error: Exception, place: Place, path: str, *, writing: bool) -> TransferError:
    """The error of the interface, with what to do about it."""
    status, code = status_and_code(error)
    answer = f" ({code or status})" if code or status else ""
    refused = StorageNotWritable if writing else StorageRefused
    match fault_of(error):
        case Fault.NOT_FOUND:
            return FileNotFound(path=path)
        case Fault.CHANGED:
            return StorageUnavailable("The file has changed in the attachment storage meanwhile.", path=path)
        case Fault.CREDENTIALS if code == "RequestTimeTooSkewed":
            return refused(
                f"The {place} does not accept requests from this machine{answer}: its clock is wrong by more than a"
                " quarter of an hour. Set it, best by NTP."
            )
        case Fault.CREDENTIALS:
            return refused(f"The {place} does not accept the credentials{answer}: {_CREDENTIALS_OF[place.kind]}")
        case Fault.DENIED:
            verb = "write to" if writing else "read"
            where = _CREDENTIALS_OF[place.kind]
            return refused(
                f"The credentials do not allow to {verb} the {place}{answer}. Give them that right, or {where}"
            )
        case Fault.NO_BUCKET:
            return refused(f"There is no {place}{answer}. Make it, or set {_BUCKET_OF[place.kind]} to the right one.")
        case Fault.REGION:
            return refused(f"The {place} is not in the region {place.region}{answer}. Set aws:s3Region to its own.")
        case Fault.THROTTLED:
            return StorageUnavailable(f"The {place} asks for fewer requests{answer}.")
        case Fault.FULL:
            return StorageFull(f"The {place} is full{answer}.")
        case Fault.NETWORK:
            return StorageUnavailable(f"The {place} does not answer{answer or ' (no connection)'}.")
        case _ if isinstance(error, exceptions.InvalidPathError) and (key := _KEY.search(str(error))):
            return refused(
                f"The {place} has an object that cannot be listed, since its key is no path: {key[1]!r}. GROWI makes "
                "none such; rename or delete it.",
                path=path,
            )
        case _:
            return refused(f"The {place} refuses the request{answer or f' ({type(error).__name__})'}.", path=path)


_CREDENTIALS_OF = {
    "aws": "look at aws:s3AccessKeyId and aws:s3SecretAccessKey, or those of this machine if GROWI has none.",
    "azure": "look at AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or GROWI_TRANSFER_AZURE_ACCOUNT_KEY.",
    "gcs": "look at the key file that GCS_API_KEY_JSON_PATH names.",
}
_BUCKET_OF = {"aws": "aws:s3Bucket", "azure": "AZURE_STORAGE_CONTAINER_NAME", "gcs": "GCS_BUCKET"}
