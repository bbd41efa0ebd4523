"""The swap of a commit and its way back, decided by UUIDs.

A rename keeps a collection's UUID, so whoever comes back after a crash sees from the UUIDs alone which steps are done:
every function here may be called again at any time and ends in the same place.
"""

from __future__ import annotations

from dataclasses import dataclass

from growi_transfer.mongo.client import Database
from growi_transfer.mongo.collections import rename, uuids
from growi_transfer.protocol.errors import CommitFailed, DatabaseRefused, NotRestorable

_NAMESPACE_EXISTS = 48
_ATTEMPTS = 20
_STRAY = ".stray"


@dataclass(frozen=True, slots=True)
class Swap:
    """One collection to be swapped. An empty `live_uuid`: the destination had none of this name. An empty `staging`:
    the destination's collection only goes aside, because the source has none of this name."""

    live: str
    live_uuid: str
    staging: str
    staging_uuid: str
    former: str


async def swap_in(database: Database, swap: Swap) -> list[str]:
    """live -> former, then staging -> live. Returns the names under which stray collections were put aside, those that
    appeared under the live name between the two steps. Raises CommitFailed when a UUID is nowhere to be found."""
    for _ in range(_ATTEMPTS):
        now = await uuids(database)
        if swap.staging and now.get(swap.live) == swap.staging_uuid:
            return _strays(swap, now)
        if swap.live_uuid and now.get(swap.live) == swap.live_uuid:
            await _rename(database, swap.live, swap.former)
            continue
        if swap.live_uuid and now.get(swap.former) != swap.live_uuid:
            raise CommitFailed(
                f"The collection {swap.live} was replaced by another one during the commit.", collection=swap.live
            )
        if not swap.staging:
            return _strays(swap, now)
        if now.get(swap.staging) != swap.staging_uuid:
            raise CommitFailed(f"The staged copy of {swap.live} is gone.", collection=swap.live)
        if swap.live in now:
            await _rename(database, swap.live, _free_name(swap.former + _STRAY, now))
        await _rename(database, swap.staging, swap.live)
    raise CommitFailed(f"Something keeps writing to {swap.live}; the swap could not be made.", collection=swap.live)


async def swap_out(database: Database, swap: Swap) -> None:
    """The way back: live -> staging, then former -> live; nothing where `swap_in` had done nothing. Raises
    NotRestorable when the former one is not there."""
    for _ in range(_ATTEMPTS):
        now = await uuids(database)
        if swap.former not in now and (not swap.staging or now.get(swap.live) != swap.staging_uuid):
            return  # not begun, or all back
        if swap.live_uuid and now.get(swap.live) == swap.live_uuid:
            return
        if swap.staging and now.get(swap.live) == swap.staging_uuid:
            if swap.live_uuid and now.get(swap.former) != swap.live_uuid:
                raise NotRestorable(f"The former collection {swap.live} is no longer kept.", collection=swap.live)
            await _rename(database, swap.live, swap.staging)
            continue
        if not swap.live_uuid:
            return
        if now.get(swap.former) != swap.live_uuid:
            raise NotRestorable(f"The former collection {swap.live} is no longer kept.", collection=swap.live)
        if swap.live in now:
            await _rename(database, swap.live, _free_name(swap.former + _STRAY, now))
        await _rename(database, swap.former, swap.live)
    raise CommitFailed(f"Something keeps writing to {swap.live}; it could not be restored.", collection=swap.live)


def _strays(swap: Swap, now: dict[str, str]) -> list[str]:
    """From the catalogue, so that one which was put aside before a crash is told too."""
    return sorted(name for name in now if name.startswith(swap.former + _STRAY))


def _free_name(wanted: str, taken: dict[str, str]) -> str:
    number = 1
    name = wanted
    while name in taken:
        number += 1
        name = f"{wanted}{number}"
    return name


async def _rename(database: Database, source: str, target: str) -> None:
    try:
        await rename(database, source, target)
    except DatabaseRefused as error:
        # Somebody was faster under that name; the caller looks at the UUIDs again.
        if error.details["code"] not in (_NAMESPACE_EXISTS, 26):
            raise
