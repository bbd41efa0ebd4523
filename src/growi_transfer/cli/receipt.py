"""`transfers receipt` and `receipt verify`: the proof of a transfer, and the check of one that was kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from growi_transfer.cli.merge_options import merged_lines
from growi_transfer.cli.output import count, size
from growi_transfer.cli.session import Services, UsageFault, find_transfer, session_of
from growi_transfer.ledger.base import Role
from growi_transfer.protocol.errors import ReceiptDataChanged
from growi_transfer.protocol.receipt import RECEIPT_LIMIT

app = typer.Typer(no_args_is_help=True, help="Check a receipt that was kept.")
_CHANGED_SHOWN = 20


def receipt(
    context: typer.Context,
    transfer: Annotated[
        str, typer.Argument(metavar="ID", help="Id of the transfer, or its first digits.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the document to a file.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the document itself.")] = False,
) -> None:
    """Show the signed receipt of a transfer: what moved, what was proved, what was left out and why.

    A transfer has one from `ready` on; it is final when the transfer is completed or rolled back. Keep the file:
    `growi-transfer receipt verify FILE` checks it on either side at any time.

    \b
    Examples:
      growi-transfer transfers receipt 1f3a
      growi-transfer transfers receipt 1f3a --output receipt.json
    """
    session = session_of(context)
    session.output.json = json

    async def work(services: Services) -> dict[str, Any]:
        row = await find_transfer(services.ledger, transfer)
        side = services.receiver if row.role is Role.RECEIVER else services.pusher
        assert side is not None
        return await side.receipt(row.id)

    document = session.with_services("both", work)
    if output is not None:
        try:
            output.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        except OSError as error:
            raise UsageFault(f"{output} cannot be written: {error.strerror}.") from None
    if json:
        session.output.last(document)
        return
    for line in _told(document):
        session.output.fact(line)
    if output is not None:
        session.output.result(f"Written to {output}.")


@app.command()
def verify(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The receipt.", show_default=False)],
    data: Annotated[
        bool, typer.Option("--data", help="Read this side's collections and files again, and compare them too.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
) -> None:
    """Check a receipt: whether it is as this instance signed it, and with --data whether the data are still the same.

    Exit code 0: genuine (and the data the same); 1: not genuine, or the data have changed since. A wiki in use
    changes; what has changed is listed.

    \b
    Examples:
      growi-transfer receipt verify receipt.json
      growi-transfer receipt verify receipt.json --data
    """
    session = session_of(context)
    session.output.json = json
    body = _read(file)

    async def work(services: Services) -> dict[str, Any]:
        return await services.recheck.check(body, data=data)

    verdict = session.with_services("both", work)
    if json:
        session.output.last(verdict)
    else:
        for line in _verdict(verdict):
            session.output.result(line)
    if not verdict["ok"]:
        found = verdict["data"]
        raise ReceiptDataChanged(
            f"The receipt is genuine; {len(found['collections_changed'])} collections and "
            f"{found['attachments_changed_total']} attachments have changed since."
        )


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(RECEIPT_LIMIT + 1)
    except OSError as error:
        raise UsageFault(f"{file} cannot be read: {error.strerror}.") from None


def _told(document: Mapping[str, Any]) -> Iterable[str]:
    told = document["receipt"]
    attachments = told["attachments"]
    yield f"transfer     {told['transfer']}"
    state = told["state"].replace("_", " ")
    yield f"state        {state}, version {told['version']}{', final' if told['final'] else ''}"
    yield f"source       {_side(told['source'])}"
    yield f"destination  {_side(told['destination'])}"
    yield (
        f"documents    {count(told['documents'])} in {count(len(told['collections']))} collections, "
        f"{size(told['document_bytes'])}"
    )
    how = "every file read again" if attachments["deep"] else "by size, hashed on arrival"
    yield f"attachments  {count(attachments['files'])}, {size(attachments['bytes'])} ({how})"
    for name in ("skipped", "failed"):
        if told[f"{name}_files"]:
            reasons = sorted({one["reason"] for one in told[name]})
            yield f"{name:<12} {count(told[f'{name}_files'])} attachments: {', '.join(reasons)}"
    for warning in told["accepted_warnings"]:
        yield f"accepted     {warning['code']}"
    if told["differences"]:
        yield f"mended       {count(len(told['differences']))} differences were found and sent again"
    if told["rewritten"]:
        yield f"rewritten    {count(len(told['rewritten']))} documents by GROWI's rules"
    yield from (f"merged       {line}" for line in merged_lines(told.get("merged") or {}))
    for word, moment in (("verified", "verified_at"), ("committed", "committed_at"), ("rolled back", "rolled_back_at")):
        if told["times"][moment]:
            yield f"{word:<12} {told['times'][moment]}"
    signed = ", ".join(f"{mark['role']} {mark['instance_id'][:12]}" for mark in document["signatures"])
    yield f"signed by    {signed}"


def _side(side: Mapping[str, Any]) -> str:
    parts = (
        side["instance_id"][:12],
        side["origin"],
        f"GROWI {side['growi_version']}" if side["growi_version"] else "",
    )
    return ", ".join(part for part in parts if part)


def _verdict(verdict: Mapping[str, Any]) -> Iterable[str]:
    words = {"good": "good", "not_ours": "of the other side, which can check it"}
    yield f"The receipt of {verdict['transfer'][:12]} ({verdict['state'].replace('_', ' ')}) is genuine."
    for role, mark in verdict["signatures"].items():
        yield f"  signature of the {role}: {words[mark]}"
    if verdict["newest_version"] > verdict["version"]:
        yield f"  there is a newer version of it: {verdict['newest_version']} (this one is {verdict['version']})"
    found = verdict["data"]
    if found is None:
        return
    same = found["collections"] - len(found["collections_changed"])
    yield f"  collections: {count(same)} of {count(found['collections'])} are as it says"
    for one in found["collections_changed"][:_CHANGED_SHOWN]:
        now = f", {count(one['documents'])} then, {count(one['documents_now'])} now" if "documents_now" in one else ""
        yield f"    changed: {one['collection']} ({one['what']}{now})"
    if not found["attachments_checked"]:
        yield "  attachments: not checked, because their list was purged"
        return
    good = found["attachments"] - found["attachments_changed_total"]
    yield f"  attachments: {count(good)} of {count(found['attachments'])} are as it says"
    for path in found["attachments_changed"][:_CHANGED_SHOWN]:
        yield f"    changed: {path}"
