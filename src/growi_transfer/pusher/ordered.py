"""Steps that only the process may take which has the transfer: it is told, if that is another one than this."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from growi_transfer.ledger.base import Role
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.protocol.errors import TransferError, TransferOwned, code_of
from growi_transfer.protocol.progress import Noted

_ATTEMPTS = 3
_WORDS = {"proceed": "resume"}
"""How people call a step, where that is not its name."""


class Owners(Protocol):
    """Who has which transfer."""

    @property
    def actor(self) -> str:
        """Who asks for the step that is taken now, for people."""

    async def to_owner(
        self, role: Role, transfer_id: str, verb: str, arguments: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """Have the process do it that has the transfer; None when that is this one, or nobody."""


class _Steered(Protocol):
    @property
    def owners(self) -> Owners: ...

    @property
    def board(self) -> ProgressBoard: ...


S = TypeVar("S", bound=_Steered)
P = ParamSpec("P")
_Step = Callable[Concatenate[S, str, P], Awaitable[dict[str, Any]]]


def ordered(step: _Step[S, P]) -> _Step[S, P]:
    """A step that is taken by the owner of the transfer, whoever is asked for it; its log says who asked.

    Further arguments are JSON values, given by name. Raises OwnerSilent, and what the step raises.
    """
    verb = step.__name__

    @functools.wraps(step)
    async def by_owner(steered: S, transfer_id: str, /, *args: P.args, **arguments: P.kwargs) -> dict[str, Any]:
        assert not args, "arguments of an order are given by name"
        for attempt in range(1, _ATTEMPTS + 1):
            done = await steered.owners.to_owner(Role.PUSHER, transfer_id, verb, arguments)
            if done is not None:
                return done
            given = ", ".join(f"{name} {'none' if value is None else value}" for name, value in arguments.items())
            asked = f"{_WORDS.get(verb, verb)}{': ' + given if given else ''}, by {steered.owners.actor}"
            details = {
                "verb": verb,
                "by": steered.owners.actor,
                **({"arguments": dict(arguments)} if arguments else {}),
            }
            steered.board.apply(Role.PUSHER, transfer_id, Noted("asked", asked, details))
            try:
                return await step(steered, transfer_id, *args, **arguments)
            except TransferOwned:
                # Another process took it over just now: it is the one to tell.
                if attempt == _ATTEMPTS:
                    raise
            except TransferError as error:
                refused = f"{_WORDS.get(verb, verb)} was refused: {error.message}"
                details = {"verb": verb, "code": code_of(error), "message": error.message[:2000]}
                told = Noted("refused", refused[:2000], details, "warning")
                steered.board.apply(Role.PUSHER, transfer_id, told)
                raise
        raise AssertionError("unreachable")

    return by_owner
