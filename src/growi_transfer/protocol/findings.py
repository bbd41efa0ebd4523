"""What a preflight says: findings with stable codes, told apart into blockers and warnings, and what was accepted.

A blocker stops a transfer; a warning has to be accepted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SHOWN = 20
"""Names listed in one finding; the count is always of all."""


@dataclass(frozen=True, slots=True)
class Finding:
    code: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)
    """Plain JSON values. Never a secret, an e-mail address or a person's name."""

    def to_json(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message, "details": dict(self.details)}


@dataclass(frozen=True, slots=True)
class Judgement:
    blockers: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()

    @property
    def reason(self) -> str | None:
        """GROWI's one reason: the message of the first blocker."""
        return self.blockers[0].message if self.blockers else None

    def unaccepted(self, accepted: Sequence[str]) -> tuple[Finding, ...]:
        """Warnings whose code is not among `accepted`."""
        return tuple(warning for warning in self.warnings if warning.code not in accepted)

    def to_json(self) -> dict[str, Any]:
        return {
            "blockers": [finding.to_json() for finding in self.blockers],
            "warnings": [finding.to_json() for finding in self.warnings],
        }


def accepted_warnings(
    warnings: Sequence[Mapping[str, Any]],
    before: Sequence[Mapping[str, Any]],
    *,
    codes: Sequence[str],
    accept_all: bool,
    now: str,
) -> list[dict[str, Any]]:
    """What the operator has accepted: `{code, message, details, accepted_at}` as it was told to him then, in order.

    `warnings` are findings as JSON; `before` is what he accepted earlier, which stays as it was; `now` is the time.
    """
    known = {one["code"] for one in before}
    fresh = [one for one in warnings if (accept_all or one["code"] in codes) and one["code"] not in known]
    return [dict(one) for one in before] + [
        {
            "code": one["code"],
            "message": one["message"],
            "details": dict(one.get("details") or {}),
            "accepted_at": now,
        }
        for one in fresh
    ]


def consented(before: Sequence[Mapping[str, Any]], codes: Sequence[str], now: str) -> list[dict[str, Any]]:
    """What was accepted, and now also faults of single files that came up on the way, by their codes."""
    known = {one["code"] for one in before}
    message = "Files that failed by this code stay behind."
    return [dict(one) for one in before] + [
        {"code": code, "message": message, "details": {}, "accepted_at": now} for code in codes if code not in known
    ]


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def plain(number: int | float) -> str:
    return str(int(number)) if number == int(number) else str(number)


def grouped(number: int | float) -> str:
    """As JavaScript's `toLocaleString` in English: groups of three digits, at most three decimals."""
    return f"{number:,.3f}".rstrip("0").rstrip(".") if isinstance(number, float) else f"{number:,}"
