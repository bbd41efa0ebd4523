from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from itsdangerous import URLSafeTimedSerializer

from growi_transfer.ledger.memory import MemoryLedger
from growi_transfer.protocol.errors import KeyNotFound, SettingInvalid, TransferKeyInvalid, TransferKeyMalformed
from growi_transfer.protocol.transfer_key import parse_key
from growi_transfer.receiver.keys import Keys

ORIGIN = "https://wiki.example.com"
OLD, NEW = b"an older secret of the wiki", b"the newest secret of the wiki"
TRANSFER, OTHER_TRANSFER = "0" * 32, "1" * 32


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> None:
        self.now += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger()


@pytest.fixture
def keys(ledger: MemoryLedger, clock: Clock) -> Keys:
    return Keys(ledger, [NEW], ORIGIN, clock)


async def issue(keys: Keys) -> tuple[str, str]:
    """Token and id of a new key."""
    issued = await keys.issue()
    return parse_key(issued.key_string).token, issued.row.id


async def refused(keys: Keys, token: str) -> str:
    """The reason that went to the audit log."""
    with structlog.testing.capture_logs() as lines, pytest.raises(TransferKeyInvalid) as caught:
        await keys.check(token)
    assert caught.value.message == "Invalid transfer key"
    assert not caught.value.details
    assert not token or token not in repr(lines)
    return str(lines[-1]["reason"])


async def test_a_new_key_is_valid(keys: Keys, clock: Clock) -> None:
    issued = await keys.issue()
    parsed = parse_key(issued.key_string)
    assert parsed.origin == ORIGIN
    row = await keys.check(parsed.token)
    assert row == issued.row
    assert row.expires_at == clock.now + timedelta(minutes=30)
    assert row.ceiling_at == clock.now + timedelta(days=7)


async def test_the_row_does_not_have_the_token(keys: Keys) -> None:
    with structlog.testing.capture_logs() as lines:
        issued = await keys.issue()
    token = parse_key(issued.key_string).token
    assert token not in repr(issued)
    assert token not in repr(await keys.list())
    assert token not in repr(lines)


async def test_a_key_may_be_reached_under_another_address(keys: Keys) -> None:
    issued = await keys.issue("http://10.0.0.5:3000/")
    parsed = parse_key(issued.key_string)
    assert parsed.origin == "http://10.0.0.5:3000"
    assert (await keys.check(parsed.token)).audience == ORIGIN
    with pytest.raises(TransferKeyMalformed):
        await keys.issue("http://10.0.0.5/growi")
    assert len(await keys.list()) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda token: "",
        lambda token: token[:-1],
        lambda token: token[1:],
        lambda token: token[: len(token) // 2],
        lambda token: ("A" if token[0] != "A" else "B") + token[1:],
        lambda token: token + "A",
        lambda token: token.replace(".", ""),
        lambda token: "6b01ed7e98f83b3b157ddcd8",
        lambda token: "nope",
        lambda token: "\u00e9" + token,
        lambda token: "..." * 1000,
    ],
)
async def test_a_wrong_or_truncated_token(keys: Keys, damage: Callable[[str], str]) -> None:
    token, _ = await issue(keys)
    assert await refused(keys, damage(token)) == "bad signature"


async def test_the_whole_key_string_is_no_token(keys: Keys) -> None:
    issued = await keys.issue()
    assert await refused(keys, issued.key_string) == "bad signature"


async def test_a_token_signed_for_another_purpose(keys: Keys) -> None:
    _, key_id = await issue(keys)
    forged = URLSafeTimedSerializer(NEW, salt="another purpose").dumps({"k": key_id, "a": ORIGIN})
    assert await refused(keys, str(forged)) == "bad signature"


async def test_a_key_unknown_to_the_ledger(keys: Keys, clock: Clock) -> None:
    token, _ = await issue(Keys(MemoryLedger(), [NEW], ORIGIN, clock))
    assert await refused(keys, token) == "unknown"


async def test_a_second_token_for_the_id_of_a_key(keys: Keys, clock: Clock) -> None:
    token, key_id = await issue(keys)
    clock.forward(seconds=1)
    again = str(keys._serializer.dumps({"k": key_id, "a": ORIGIN}))
    assert again != token
    assert await refused(keys, again) == "another token of this id"


async def test_a_signed_token_with_another_payload(keys: Keys) -> None:
    for payload in ([], "text", {"k": 5, "a": ORIGIN}, {"a": ORIGIN}, None):
        assert await refused(keys, str(keys._serializer.dumps(payload))) == "bad payload"


async def test_a_key_for_another_instance_that_shares_secret_and_ledger(
    keys: Keys, ledger: MemoryLedger, clock: Clock
) -> None:
    elsewhere = Keys(ledger, [NEW], "https://other.example.com", clock)
    token, _ = await issue(elsewhere)
    assert (await elsewhere.check(token)).audience == "https://other.example.com"
    assert await refused(keys, token) == "foreign audience"


async def test_the_lease_ends_without_use(keys: Keys, clock: Clock) -> None:
    token, _ = await issue(keys)
    clock.forward(minutes=29, seconds=59)
    await keys.check(token)
    clock.forward(minutes=30)
    assert await refused(keys, token) == "lease expired"


async def test_use_renews_the_lease_up_to_the_ceiling(keys: Keys, clock: Clock) -> None:
    token, _ = await issue(keys)
    start = clock.now
    while clock.now + timedelta(minutes=29) < start + timedelta(days=7):
        clock.forward(minutes=29)
        row = await keys.check(token)
        assert row.expires_at == min(clock.now + timedelta(minutes=30), start + timedelta(days=7))
    clock.now = start + timedelta(days=7)
    assert await refused(keys, token) == "past its ceiling"


async def test_a_burst_of_uses_is_written_once(keys: Keys, clock: Clock) -> None:
    token, _ = await issue(keys)
    for _ in range(29):
        clock.forward(seconds=1)
        assert (await keys.check(token)).last_used_at is None
    clock.forward(seconds=1)
    assert (await keys.check(token)).last_used_at == clock.now


async def test_renew_moves_the_lease_of_a_living_key_only(keys: Keys, clock: Clock) -> None:
    token, key_id = await issue(keys)
    clock.forward(minutes=20)
    assert (await keys.renew(key_id)).expires_at == clock.now + timedelta(minutes=30)
    clock.forward(minutes=30)
    await keys.renew(key_id)
    assert await refused(keys, token) == "lease expired"
    with pytest.raises(KeyNotFound):
        await keys.renew("none")


async def test_a_revoked_key(keys: Keys, clock: Clock) -> None:
    token, key_id = await issue(keys)
    await keys.revoke(key_id)
    assert await refused(keys, token) == "revoked"
    revoked_at = clock.now
    clock.forward(minutes=1)
    await keys.revoke(key_id)
    assert [row.revoked_at for row in await keys.list()] == [revoked_at]
    assert (await keys.renew(key_id)).last_used_at is None
    with pytest.raises(KeyNotFound):
        await keys.revoke("none")


async def test_one_transfer_claims_a_key(keys: Keys) -> None:
    token, key_id = await issue(keys)
    assert await keys.claim(key_id, TRANSFER) == TRANSFER
    assert await keys.claim(key_id, OTHER_TRANSFER) == TRANSFER
    assert await keys.claim(key_id, TRANSFER) == TRANSFER
    assert (await keys.check(token)).claimed_by == TRANSFER
    with pytest.raises(KeyNotFound):
        await keys.claim("none", TRANSFER)


async def test_secrets_are_rotated(ledger: MemoryLedger, clock: Clock) -> None:
    before = Keys(ledger, [OLD], ORIGIN, clock)
    during = Keys(ledger, [OLD, NEW], ORIGIN, clock)
    after = Keys(ledger, [NEW], ORIGIN, clock)
    old_token, _ = await issue(before)
    new_token, _ = await issue(during)
    await before.check(old_token)
    await during.check(old_token)
    await during.check(new_token)
    await after.check(new_token)
    assert await refused(before, new_token) == "bad signature"
    assert await refused(after, old_token) == "bad signature"


async def test_keys_are_listed_newest_first(keys: Keys, clock: Clock) -> None:
    _, first = await issue(keys)
    clock.forward(seconds=1)
    _, second = await issue(keys)
    assert [row.id for row in await keys.list()] == [second, first]


@pytest.mark.parametrize("secrets", [[], ["short"], [b"long enough secret", ""]])
def test_secrets_that_are_none(ledger: MemoryLedger, clock: Clock, secrets: list[str | bytes]) -> None:
    with pytest.raises(SettingInvalid) as caught:
        Keys(ledger, secrets, ORIGIN, clock)
    assert "GROWI_TRANSFER_SECRETS" in caught.value.message
