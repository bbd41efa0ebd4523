"""Transfer keys: made, checked, claimed, renewed, revoked. Knows nothing of HTTP.

A token is an itsdangerous URL-safe timed token: key id, audience and issue time, signed with HMAC-SHA-512 under the
newest secret; older secrets still verify, so that secrets can be rotated while transfers run. A signature alone lets
nobody in: the ledger must have a row for the id with the SHA-256 of this very token, not revoked, inside its lease.
The token itself is never stored.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets as randomness
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from itsdangerous import BadData, TimestampSigner, URLSafeTimedSerializer

from growi_transfer.ledger.base import KeyRow, Ledger
from growi_transfer.protocol.errors import KeyNotFound, SettingInvalid, TransferKeyInvalid
from growi_transfer.protocol.transfer_key import format_key, normalise_origin

IDLE = timedelta(minutes=30)
CEILING = timedelta(days=7)
TOUCH_EVERY = timedelta(seconds=30)
"""A use that follows another one this closely is not written down: every write is journaled, every request a use."""

_PURPOSE = "growi-transfer/transfer-key/1"
_SECRET_LENGTH = 16

_audit = structlog.get_logger("growi_transfer.audit")


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key. `key_string` is shown once and never again."""

    key_string: str = field(repr=False)
    row: KeyRow


class _Sha512Signer(TimestampSigner):
    """A timestamp signer that reads the clock it is given."""

    default_digest_method = staticmethod(hashlib.sha512)
    default_key_derivation = "hmac"

    def __init__(self, secret_key: Any, *, clock: Callable[[], datetime], **options: Any) -> None:
        super().__init__(secret_key, **options)
        self._clock = clock

    def get_timestamp(self) -> int:
        return int(self._clock().timestamp())


class Keys:
    """All transfer keys of one instance.

    `secrets`: newest last. `audience`: our own origin; a key for another one is refused even when the secret is
    shared; without one (None) keys can neither be issued nor pass. `clock` gives aware UTC times. A key ends after
    `idle` without use, and at `ceiling` in any case.
    """

    def __init__(
        self,
        ledger: Ledger,
        secrets: Sequence[bytes | str],
        audience: str | None,
        clock: Callable[[], datetime],
        *,
        idle: timedelta = IDLE,
        ceiling: timedelta = CEILING,
    ) -> None:
        if not secrets or any(len(secret) < _SECRET_LENGTH for secret in secrets):
            raise SettingInvalid(
                f"GROWI_TRANSFER_SECRETS needs at least one secret, each of {_SECRET_LENGTH} characters or more."
            )
        self._ledger = ledger
        self._clock = clock
        self._idle = idle
        self._ceiling = ceiling
        self.audience = "" if audience is None else normalise_origin(audience)
        self._serializer = URLSafeTimedSerializer(
            [secret.encode() if isinstance(secret, str) else secret for secret in secrets],
            salt=_PURPOSE,
            signer=_Sha512Signer,
            signer_kwargs={"clock": clock},
        )

    async def issue(self, origin: str | None = None) -> IssuedKey:
        """A new key. `origin`: under which other address of this instance the peer shall come, if not the audience."""
        if not self.audience:
            raise SettingInvalid(
                "GROWI_TRANSFER_ORIGIN is needed: the address under which the source reaches this server.",
                setting="GROWI_TRANSFER_ORIGIN",
            )
        now = self._clock()
        key_id = randomness.token_hex(8)
        token = self._serializer.dumps({"k": key_id, "a": self.audience})
        row = KeyRow(
            id=key_id,
            token_hash=_hash(token),
            audience=self.audience,
            issued_at=now,
            expires_at=min(now + self._idle, now + self._ceiling),
            ceiling_at=now + self._ceiling,
        )
        key_string = format_key(token, origin or self.audience)
        await self._ledger.add_key(row)
        _audit.info("transfer key issued", key_id=key_id, expires_at=row.expires_at.isoformat())
        return IssuedKey(key_string, row)

    async def check(self, token: str) -> KeyRow:
        """The row of a valid token; notes the use and renews the lease.

        Raises TransferKeyInvalid, alike for every reason; the reason goes to the audit log.
        """
        reason, key_id = self._read(token)
        row = await self._ledger.get_key(key_id) if key_id else None
        if not reason:
            reason = self._refusal(row, token)
        if reason or row is None:
            _audit.warning("transfer key refused", reason=reason, key_id=key_id)
            raise TransferKeyInvalid()
        if self._clock() - (row.last_used_at or row.issued_at) >= TOUCH_EVERY:
            await self._touch(row)
            return await self._ledger.get_key(row.id) or row
        return row

    async def claim(self, key_id: str, transfer_id: str) -> str:
        """The id of the transfer that has the key: `transfer_id`, unless another one came first.

        The same transfer may claim again. Raises KeyNotFound.
        """
        owner = await self._ledger.claim_key(key_id, transfer_id)
        if owner is None:
            raise KeyNotFound()
        _audit.info("transfer key claimed", key_id=key_id, transfer_id=transfer_id, granted=owner == transfer_id)
        return owner

    async def renew(self, key_id: str) -> KeyRow:
        """Move the lease forward now, never past the ceiling; a key that has ended stays ended. Raises KeyNotFound."""
        row = await self._ledger.get_key(key_id)
        if row is None:
            raise KeyNotFound()
        if row.revoked_at is None and self._clock() < min(row.expires_at, row.ceiling_at):
            await self._touch(row)
            return await self._ledger.get_key(key_id) or row
        return row

    async def revoke(self, key_id: str) -> None:
        """End a key. Twice has one effect. Raises KeyNotFound."""
        if not await self._ledger.revoke_key(key_id, self._clock()):
            raise KeyNotFound()
        _audit.info("transfer key revoked", key_id=key_id)

    async def list(self) -> list[KeyRow]:
        """All keys that were ever issued, newest first."""
        return await self._ledger.list_keys()

    def _read(self, token: str) -> tuple[str, str]:
        """Reason for refusing (empty: none) and the key id, if the signature vouches for it."""
        if not token.isascii():
            return "bad signature", ""
        try:
            payload: object = self._serializer.loads(token)
        except BadData:
            return "bad signature", ""
        if not isinstance(payload, dict) or not isinstance(payload.get("k"), str):
            return "bad payload", ""
        if payload.get("a") != self.audience:
            return "foreign audience", payload["k"]
        return "", payload["k"]

    def _refusal(self, row: KeyRow | None, token: str) -> str:
        now = self._clock()
        if row is None:
            return "unknown"
        if not hmac.compare_digest(row.token_hash, _hash(token)):
            return "another token of this id"
        if row.audience != self.audience:
            return "foreign audience"
        if row.revoked_at is not None:
            return "revoked"
        if now >= row.ceiling_at:
            return "past its ceiling"
        if now >= row.expires_at:
            return "lease expired"
        return ""

    async def _touch(self, row: KeyRow) -> None:
        now = self._clock()
        await self._ledger.touch_key(row.id, now, min(now + self._idle, row.ceiling_at))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("ascii")).hexdigest()
