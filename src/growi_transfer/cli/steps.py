"""How the commands of `cli.steer` get a step of a transfer done: by whoever has it, else by the server, else here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import typer

from growi_transfer.cli.follow import Following
from growi_transfer.cli.session import Pusher, Services, Session, UsageFault, find_transfer, session_of
from growi_transfer.ledger.base import Role, TransferRow
from growi_transfer.protocol.errors import StateConflict
from growi_transfer.pusher.options import options_of
from growi_transfer.web.services import ReceiverService

Action = Callable[[Session, Services, TransferRow], Awaitable[dict[str, Any]]]


def act(
    context: typer.Context,
    transfer: str,
    json: bool,
    action: Action,
    told: Callable[[TransferRow, dict[str, Any]], str] | None = None,
) -> None:
    session = session_of(context)
    session.output.json = json

    async def work(services: Services) -> tuple[TransferRow, dict[str, Any]]:
        row = await find_transfer(services.ledger, transfer)
        return row, await action(session, services, row)

    row, answer = session.with_services("both", work)
    tell(session, row, answer, told)


def tell(
    session: Session,
    row: TransferRow,
    answer: dict[str, Any],
    told: Callable[[TransferRow, dict[str, Any]], str] | None = None,
) -> None:
    if session.output.json:
        session.output.last(answer)
    elif told is not None:
        session.output.result(told(row, answer))
    else:
        session.output.result(f"{row.id[:12]} is {answer['transfer']['state'].replace('_', ' ')}.")


def at_source(verb: str, **arguments: Any) -> Action:
    async def action(_: Session, services: Services, row: TransferRow) -> dict[str, Any]:
        return await _of_source(services, row, verb, arguments)

    return action


def either(verb: str, **of_receiver: Any) -> Action:
    async def action(session: Session, services: Services, row: TransferRow) -> dict[str, Any]:
        if row.role is Role.RECEIVER:
            return await at_destination(session, services, row, verb, of_receiver)
        return await _of_source(services, row, verb, {})

    return action


async def _of_source(services: Services, row: TransferRow, verb: str, arguments: dict[str, Any]) -> dict[str, Any]:
    check_is_source(row, verb)
    assert services.pusher is not None
    done: dict[str, Any] = await getattr(services.pusher, verb)(row.id, **arguments)
    return done


async def at_destination(
    session: Session, services: Services, row: TransferRow, verb: str, arguments: dict[str, Any]
) -> dict[str, Any]:
    """Data may be coming in: the server that takes them has to do it, if there is one."""
    if session.has_server(Role.RECEIVER):
        done = await services.orders.to_server(Role.RECEIVER, row.id, verb, arguments)
        if done is not None:
            return done
    receiver: ReceiverService | None = services.receiver
    assert receiver is not None
    answer: dict[str, Any] = await getattr(receiver, verb)(row.id, **arguments)
    return answer


def check_is_source(row: TransferRow, verb: str) -> None:
    if row.role is not Role.PUSHER:
        raise StateConflict(f"This transfer comes in from elsewhere: {verb} is for its source.", role=row.role.value)


async def begin(
    session: Session, services: Services, pusher: Pusher, row: TransferRow, verb: str, **arguments: Any
) -> None:
    """A step after which the transfer runs: where it runs already, else in the server, which stays, else here."""
    done: dict[str, Any] | None = None
    if not await services.orders.is_owned(Role.PUSHER, row.id) and session.has_server(Role.PUSHER):
        done = await services.orders.to_server(Role.PUSHER, row.id, verb, arguments)
    if done is None:
        await getattr(pusher, verb)(row.id, **arguments)


def begun(
    context: typer.Context, transfer: str, json: bool, verb: str, *, commit: bool | None = None, **arguments: Any
) -> None:
    session = session_of(context)
    session.output.json = json

    async def work(services: Services, pusher: Pusher, row: TransferRow) -> None:
        await begin(session, services, pusher, row, verb, **arguments)

    followed(session, transfer, work, commit=commit)


def followed(
    session: Session,
    transfer: str,
    work: Callable[[Services, Pusher, TransferRow], Awaitable[None]],
    *,
    commit: bool | None = None,
) -> None:
    async def run(services: Services) -> None:
        row = await find_transfer(services.ledger, transfer)
        check_is_source(row, "this")
        assert services.pusher is not None
        following = Following(services, session.output, commit=options_of(row).commit if commit is None else commit)
        await work(services, services.pusher, row)
        await following.to_the_end(row.id)

    session.with_services("both", run)


def confirm(context: typer.Context, yes: bool, question: str) -> None:
    session = session_of(context)
    if yes:
        return
    if not session.output.interactive:
        raise UsageFault("This needs --yes where nobody can be asked.")
    typer.confirm(question, abort=True, err=True)
