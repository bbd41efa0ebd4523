"""What the operator agreed to: the report he saw, the warnings he accepted, what he left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from growi_transfer.protocol.errors import Blocked, SetupDiffers
from growi_transfer.protocol.findings import Finding
from growi_transfer.protocol.wire import SourceInfo
from growi_transfer.pusher.options import PushOptions, wanted_merge
from growi_transfer.pusher.plan import Report
from growi_transfer.pusher.preflight import normal_paths

FRESH = timedelta(minutes=10)
"""How long a report stands for the wiki it describes: long enough to read it and to answer."""

_UNIMPORTANT = (
    "volumes",
    "attachments",
    "bandwidth",
    "deflate",
    "patience",
    "accept_warnings",
    "accept_all",
    "commit",
    "deep",
    "follow",
    "freeze",
    "attachments_first",
)
"""Options that change nothing in a report."""


class LastReport:
    """The last preflight's report. A start soon after it uses it, so that a wiki is looked at once, and the operator
    starts what he saw."""

    def __init__(self) -> None:
        self._about = b""
        self._report: Report | None = None
        self._at: datetime | None = None

    def keep(self, key_string: str, options: PushOptions, report: Report, now: datetime) -> None:
        self._about, self._report, self._at = _fingerprint(key_string, options), report, now

    def take(self, key_string: str, options: PushOptions, now: datetime) -> Report | None:
        """The report, if it is about just this; it serves once."""
        report, at, about = self._report, self._at, self._about
        self._report = None
        is_fresh = at is not None and timedelta() <= now - at <= FRESH
        return report if is_fresh and about == _fingerprint(key_string, options) else None


def _fingerprint(key_string: str, options: PushOptions) -> bytes:
    """Of the destination and of what moves; what is accepted, and how fast it goes, changes no report. No secret is
    kept: it is a hash."""
    about = asdict(options)
    for name in _UNIMPORTANT:
        about.pop(name, None)
    return sha256(repr((key_string, about)).encode()).digest()


def unaccepted(report: Report, options: PushOptions) -> tuple[Finding, ...]:
    """Blockers, or else the warnings that are not accepted."""
    judgement = report.judgement
    if judgement.blockers:
        return judgement.blockers
    return () if options.accept_all else judgement.unaccepted(options.accept_warnings)


def refuse_unaccepted(report: Report, options: PushOptions) -> None:
    """Raises Blocked, which lists the blockers or the warnings that need consent."""
    judgement = report.judgement
    found = unaccepted(report, options)
    if judgement.blockers:
        raise Blocked(
            judgement.reason or "The transfer cannot be made.", blockers=[finding.to_json() for finding in found]
        )
    if found:
        raise Blocked(
            "Warnings need consent: " + ", ".join(finding.code for finding in found),
            warnings=[finding.to_json() for finding in found],
        )


def refuse_other_exclusions(setup: Mapping[str, Any], options: PushOptions) -> None:
    """A transfer goes on under the exclusions it was begun with. Raises SetupDiffers, which names what differs."""
    wanted = {
        "excluded_collections": sorted(set(options.exclude_collections)),
        "excluded_paths": list(normal_paths(options)),
    }
    different = [name for name, value in wanted.items() if list(setup.get(name, ())) != value]
    if different:
        began = "; ".join(f"{name.replace('_', ' ')}: {', '.join(setup.get(name, ())) or 'none'}" for name in different)
        raise SetupDiffers(
            f"The transfer was begun with other exclusions ({began}). Go on with the same ones, or cancel it.",
            different=different,
        )
    if setup.get("merge") != wanted_merge(options):
        raise SetupDiffers(
            "The transfer was begun with other rules for merging, or without. Go on with the same ones, or cancel it.",
            different=["merge"],
        )


_OF_THE_SOURCE = ("version", "password_seed_fingerprint", "file_upload_type", "instance_id")
"""What must not change under a transfer. A new patch of MongoDB may come."""


def refuse_other_source(setup: Mapping[str, Any], present: SourceInfo) -> None:
    """A transfer goes on from the wiki that it was begun from. Raises SetupDiffers, which names what differs; what is
    not known now (a shell without GROWI's variables) does not differ."""
    began, now = setup["source"], present.model_dump(mode="json")
    different = [
        name for name in _OF_THE_SOURCE if None not in (began.get(name), now[name]) and began[name] != now[name]
    ]
    if different:
        names = ", ".join(name.replace("_", " ") for name in different)
        raise SetupDiffers(
            f"The source is not what it was when the transfer began: another {names}. Put that back, or cancel the "
            "transfer and begin a new one.",
            different=[f"source.{name}" for name in different],
        )
