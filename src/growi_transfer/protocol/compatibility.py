"""Whether a transfer can be made: facts of both sides in, blockers and warnings out.

First come GROWI's own findings, in GROWI's order, with GROWI's codes, texts and detail names, because its pages and
scripts know them; then ours (`own_findings`). One finding never hides another. What a side does not say (None) is
judged only where nothing else would be safe.
"""

from __future__ import annotations

from collections.abc import Iterator

from growi_transfer.protocol.findings import Finding, Judgement, grouped, plain
from growi_transfer.protocol.growi_info import GrowiInfo
from growi_transfer.protocol.own_findings import own_blockers, own_warnings
from growi_transfer.protocol.source_facts import SourceFacts


def judge(source: SourceFacts, destination: GrowiInfo) -> Judgement:
    """Everything that speaks against this transfer."""
    return Judgement(
        (*_growi_blockers(source, destination), *own_blockers(source, destination)),
        (*_growi_warnings(source, destination), *own_warnings(source, destination)),
    )


def _growi_blockers(source: SourceFacts, destination: GrowiInfo) -> Iterator[Finding]:
    if source.version is not None and source.version != destination.version:
        yield Finding(
            "version_mismatch",
            f"GROWI versions mismatch. src GROWI: {source.version} / dest GROWI: {destination.version}.",
            {"src": source.version, "dest": destination.version},
        )
    users = destination.user_upper_limit
    if users is not None and users < source.active_users:
        yield Finding(
            "user_upper_limit",
            f"The number of active users ({source.active_users} users) exceeds the limit of the destination GROWI"
            f" (up to {plain(users)} users).",
            {"activeUsers": source.active_users, "limit": users},
        )
    if not source.with_attachments:
        return
    if destination.file_upload_disabled:
        yield Finding(
            "file_upload_not_configured",
            "The file upload setting is disabled in the destination GROWI.",
            {"side": "dest"},
        )
    if source.file_upload_type == "none":
        yield Finding("file_upload_not_configured", "File upload is not configured for src GROWI.", {"side": "src"})
    if destination.attachment_info.type == "none" and not destination.file_upload_disabled:
        yield Finding("file_upload_not_configured", "File upload is not configured for dest GROWI.", {"side": "dest"})
    if not destination.attachment_info.writable:
        yield Finding("destination_storage_not_writable", "The storage of the destination GROWI is not writable.")
    total = destination.file_upload_total_limit
    if total is not None and total < source.attachment_bytes:
        yield Finding(
            "file_upload_total_limit",
            "The total file size of attachments exceeds the file upload limit of the destination GROWI."
            f" Requires {grouped(source.attachment_bytes)} bytes, but got {grouped(total)} bytes.",
            {"required": source.attachment_bytes, "limit": total},
        )


def _growi_warnings(source: SourceFacts, destination: GrowiInfo) -> Iterator[Finding]:
    seeds = (source.password_seed_fingerprint, destination.password_seed_fingerprint)
    if None not in seeds and seeds[0] != seeds[1]:
        yield Finding(
            "password_seed_mismatch",
            "PASSWORD_SEED differs: nobody of the source can log in with a password at the destination until it is"
            " set to the source's value there.",
        )
    if destination.loginable_admin_count == 0:
        yield Finding(
            "no_loginable_admin",
            "The destination has no active admin with a password who could be kept; after the transfer only accounts"
            " of the source can log in.",
        )
    if destination.session_store_supports_enumeration is False:
        yield Finding(
            "sessions_not_invalidatable",
            "The destination cannot end the sessions of users who are replaced; they stay logged in until their"
            " sessions expire.",
        )
    if source.local_login_enabled is False:
        yield Finding(
            "local_auth_disabled_at_source",
            "Log-in with a password is disabled at the source, and so it will be at the destination: admins of the"
            " destination who are kept cannot log in with their passwords.",
        )
