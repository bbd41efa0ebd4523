"""Who may begin a transfer into this wiki, or go on with one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from growi_transfer.ledger.base import Role, TransferRow
from growi_transfer.protocol.errors import DestinationBusy, KeyClaimed, SameInstance, SetupDiffers
from growi_transfer.protocol.machine import Position, State
from growi_transfer.protocol.wire import SetUp
from growi_transfer.receiver.endings import Endings
from growi_transfer.receiver.keys import Keys
from growi_transfer.receiver.transfers import Transfers


class Beginnings:
    """One transfer at a time comes into a wiki, with one set-up from its beginning to its end."""

    def __init__(self, keys: Keys, transfers: Transfers, endings: Endings, *, instance_id: str) -> None:
        self._keys = keys
        self._transfers = transfers
        self._endings = endings
        self._instance_id = instance_id

    async def begin(
        self, transfer_id: str, setup: SetUp, *, key_id: str | None, epoch: int, facts: Mapping[str, Any]
    ) -> None:
        """Give a transfer its row, with these facts, if it has none.

        Raises SameInstance, KeyClaimed, DestinationBusy, SetupDiffers, and what `Endings.refuse_taken_names` raises.
        """
        if setup.source.instance_id == self._instance_id:
            raise SameInstance()
        if key_id is not None:
            await self._claim(key_id, transfer_id)
        wanted = setup.model_dump(mode="json")
        ledger = self._transfers.ledger
        known = await ledger.get_transfer(Role.RECEIVER, transfer_id)
        if known is None:
            await self._take_the_wiki(transfer_id)
            now = self._transfers.clock()
            known = await ledger.create_transfer(
                TransferRow(Role.RECEIVER, transfer_id, Position(State.CHECKED), wanted, now, now, epoch, dict(facts))
            )
            self._transfers.board.start(known)
        _refuse_other(known, wanted)

    async def take_over(self, transfer_id: str, setup: SetUp, *, key_id: str) -> None:
        """Let a new key have a transfer. Raises TransferNotFound, SetupDiffers, KeyClaimed."""
        _refuse_other(await self._transfers.get(transfer_id), setup.model_dump(mode="json"))
        await self._claim(key_id, transfer_id)

    async def _claim(self, key_id: str, transfer_id: str) -> None:
        if await self._keys.claim(key_id, transfer_id) != transfer_id:
            raise KeyClaimed()

    async def _take_the_wiki(self, transfer_id: str) -> None:
        claim = self._transfers.ledger.claim_destination
        await self._endings.refuse_taken_names(transfer_id)
        owner = await claim(transfer_id)
        if owner != transfer_id and await self._endings.clear_abandoned(owner):
            owner = await claim(transfer_id)
        if owner != transfer_id:
            raise DestinationBusy(
                f"The transfer {owner} into this wiki is not finished. Let it end, or cancel it here.", transfer=owner
            )


def _refuse_other(known: TransferRow, wanted: Mapping[str, Any]) -> None:
    different = sorted(key for key in wanted if known.setup.get(key) != wanted[key])
    if different:
        raise SetupDiffers(f"The transfer was begun with another {', '.join(different)}.", different=different)
