"""Orders between the processes of one wiki: whoever is asked to steer a transfer lets the process do it that has it.

A transfer has one owner: a server, or a command. Another process that is asked to pause it, to cancel it or to change
its speed writes an order into the ledger; the owner looks there twice a second, carries it out and writes the answer.
So it does not matter where a person gives an order: on the page of a server, at a command line, for a transfer that
runs in either. An order that nobody takes within some seconds is withdrawn, so none is ever carried out late.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any

import structlog

from growi_transfer.ledger.base import Ledger, OrderRow, Role
from growi_transfer.protocol.errors import OwnerSilent, TransferError, code_of, is_retryable, recalled

LOOK_SECONDS = 0.5
"""Between two looks for orders."""
ANSWER_SECONDS = 0.1
TAKE_SECONDS = 6.0
"""How long an order waits to be taken: much longer than a look, and than a busy machine needs for one."""
_CLOSING_SECONDS = 10.0
_KEPT = timedelta(days=1)
SERVER = ""
"""The addressee of what any process may do, and the server should: it stays."""
PUSHER_ORDERS = ("proceed", "retry", "pause", "cancel", "verify", "commit", "rollback", "release", "tune", "purge")
RECEIVER_ORDERS = ("cancel", "commit", "rollback", "release_maintenance", "purge")
"""What one process may have another one do: methods of the two roles."""
_WITHDRAWN = "withdrawn"

_log = structlog.get_logger(__name__)
_given_by: ContextVar[str | None] = ContextVar("given_by", default=None)


class Orders:
    """Gives orders to other processes, and carries out those of others.

    `owner` names this process, `actor` says to people what it is; `is_gone` tells whether the process of a name is
    known to have ended. `serving`: this is the server, to which orders without an addressee go.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        owner: str,
        actor: str,
        clock: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]],
        is_gone: Callable[[str], bool],
        new_id: Callable[[], str],
        serving: bool,
    ) -> None:
        self._ledger = ledger
        self._owner = owner
        self._actor = actor
        self._clock = clock
        self._sleep = sleep
        self._is_gone = is_gone
        self._new_id = new_id
        self._serving = serving
        self._services: dict[Role, tuple[Any, frozenset[str]]] = {}
        self._has: Callable[[str], bool] = lambda _: False
        self._under_way: set[asyncio.Task[None]] = set()

    @property
    def actor(self) -> str:
        """Who gives the order that is carried out now, for people."""
        return _given_by.get() or self._actor

    # giving

    async def to_owner(
        self, role: Role, transfer_id: str, verb: str, arguments: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """Have the process do it that has the transfer; None when that is this one, or nobody.

        Raises OwnerSilent, and what the owner's own attempt raised.
        """
        owner = await self._ledger.lease_owner(role, transfer_id)
        if owner is None or owner == self._owner or self._is_gone(owner):
            return None
        answer = await self._give(role, transfer_id, verb, arguments, owner)
        if answer is None and await self._ledger.lease_owner(role, transfer_id) == owner:
            raise OwnerSilent(owner=owner)
        return answer

    async def to_server(
        self, role: Role, transfer_id: str, verb: str, arguments: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """Have the server of this wiki do it; None when none takes it. Raises like `to_owner`."""
        return await self._give(role, transfer_id, verb, arguments, SERVER)

    async def is_owned(self, role: Role, transfer_id: str) -> bool:
        """Whether a process that may be alive has the transfer."""
        owner = await self._ledger.lease_owner(role, transfer_id)
        return owner is not None and not self._is_gone(owner)

    async def is_elsewhere(self, role: Role, transfer_id: str) -> bool:
        """Whether another process than this one has the transfer."""
        owner = await self._ledger.lease_owner(role, transfer_id)
        return owner is not None and owner != self._owner and not self._is_gone(owner)

    async def _give(
        self, role: Role, transfer_id: str, verb: str, arguments: Mapping[str, Any], to: str
    ) -> dict[str, Any] | None:
        until = self._clock() + timedelta(seconds=TAKE_SECONDS)
        order = OrderRow(self._new_id(), role, transfer_id, verb, arguments, to, self._actor, until)
        await self._ledger.put_order(order)
        try:
            return await self._answer(order)
        finally:
            with suppress(TransferError):
                # One that is being carried out stays: its answer is thrown away a day later.
                if await self._ledger.take_order(order.id, _WITHDRAWN) or (
                    (known := await self._ledger.get_order(order.id)) is not None and known.answer is not None
                ):
                    await self._ledger.delete_order(order.id)

    async def _answer(self, order: OrderRow) -> dict[str, Any] | None:
        while True:
            known = await self._ledger.get_order(order.id)
            if known is None:
                return None
            if known.answer is not None:
                return _read(known.answer)
            if known.taken_by is None:
                late = self._clock() >= order.expires_at or (order.to != SERVER and self._is_gone(order.to))
                if late and await self._ledger.take_order(order.id, _WITHDRAWN):
                    return None
            elif self._is_gone(known.taken_by):
                raise OwnerSilent("The process that was carrying this out has ended; try again.")
            await self._sleep(ANSWER_SECONDS)

    # carrying out

    def serve(
        self, role: Role, service: object, verbs: Sequence[str], has: Callable[[str], bool] | None = None
    ) -> None:
        """Carry out these verbs, which are methods of `service`, for transfers of a role. `has` tells whether a
        transfer is at work in this process."""
        self._services[role] = (service, frozenset(verbs))
        if has is not None:
            self._has = has

    @asynccontextmanager
    async def carried_out(self) -> AsyncIterator[None]:
        """While inside, orders of others are carried out. On the way out what was begun is ended first."""
        watching = asyncio.ensure_future(self._watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await self.settled(_CLOSING_SECONDS)
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)

    async def settled(self, seconds: float | None = None) -> None:
        """Wait until every order that was taken is answered, but not longer than that."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=seconds)

    async def _watch(self) -> None:
        with suppress(TransferError):
            await self._ledger.expire_orders(self._clock() - _KEPT)
        while True:
            await self._sleep(LOOK_SECONDS)
            try:
                for order in await self._ledger.open_orders():
                    if self._is_for_us(order) and await self._ledger.take_order(order.id, self._owner):
                        task = asyncio.ensure_future(self._carry_out(order))
                        self._under_way.add(task)
                        task.add_done_callback(self._under_way.discard)
            except TransferError as error:
                _log.warning("orders_not_read", code=code_of(error), message=error.message)

    def _is_for_us(self, order: OrderRow) -> bool:
        _, verbs = self._services.get(order.role, (None, frozenset()))
        if order.verb not in verbs or order.expires_at <= self._clock():
            return False
        if order.to == SERVER:
            return self._serving
        # A command ends with its transfer: what it has no longer at work, it could not finish.
        return order.to == self._owner and (self._serving or self._has(order.transfer_id))

    async def _carry_out(self, order: OrderRow) -> None:
        service, _ = self._services[order.role]
        _given_by.set(order.by)
        _log.info("order", transfer=order.transfer_id, verb=order.verb, by=order.by)
        answer: dict[str, Any]
        try:
            result = await getattr(service, order.verb)(order.transfer_id, **order.arguments)
            answer = {"ok": True, "result": result}
        except TransferError as error:
            answer = _told(error)
        except Exception as error:  # noqa: BLE001 (whoever waits must be answered)
            _log.exception("order_failed", transfer=order.transfer_id, verb=order.verb)
            answer = _told(TransferError(f"Unexpected: {type(error).__name__}"))
        with suppress(TransferError):
            await self._ledger.answer_order(order.id, answer)


def _told(error: TransferError) -> dict[str, Any]:
    told = {"code": code_of(error), "message": error.message, "retryable": is_retryable(error)}
    return {"ok": False, "error": {**told, "details": dict(error.details)}}


def _read(answer: Mapping[str, Any]) -> dict[str, Any]:
    if answer["ok"]:
        result: dict[str, Any] = answer["result"]
        return result
    error = answer["error"]
    raise recalled(error["code"], error["message"], error["details"], retryable=error["retryable"])
