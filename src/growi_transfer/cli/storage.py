"""`growi-transfer storage`: this wiki's attachment storage, tried, listed, summed, and held against the documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from growi_transfer.cli.output import Output, clean, count, size, table
from growi_transfer.cli.session import Services, StoredFile, UsageFault, session_of

app = typer.Typer(no_args_is_help=True, help="Try this wiki's attachment storage, and see what is in it.")
_DAYS = 7
_MIB = 1 << 20

Json = Annotated[bool, typer.Option("--json", help="One JSON value a line; the last one is the result.")]
Prefix = Annotated[str, typer.Argument(metavar="PREFIX", help="Only paths that begin so.", show_default=False)]

_WHAT = {
    "file_without_document": "file without document",
    "document_without_file": "document without file",
    "size_differs": "other size than its document says",
    "stored_twice": "stored more than once",
    "leftover": "parts of a file never finished",
}
_KEPT = {
    "young": "younger than --older-than",
    "age_unknown": "age not known",
    "name_not_growi": "not a name of GROWI's",
    "user_image": "a user's image",
    "audit_log": "in a folder for exports of the audit log",
}


@app.command()
def check(
    context: typer.Context,
    megabytes: Annotated[
        int,
        typer.Option("--size", metavar="MIB", min=0, max=1024, help="Size of the file that throughput is measured by."),
    ] = 8,
    tries: Annotated[
        int, typer.Option("--tries", metavar="N", min=1, max=100, help="Small operations of each kind.")
    ] = 5,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON value.")] = False,
) -> None:
    """Try the storage that GROWI's settings name: write, read, list and delete, and how fast each is.

    Files of the check lie in a folder of their own, and are gone afterwards, also when it fails or is stopped. Exit
    code 0 only if every step went well.

    \b
    Examples:
      growi-transfer storage check
      growi-transfer storage check --size 64 --json
    """
    session = session_of(context)
    session.output.json = json

    async def work(services: Services) -> tuple[str, Sequence[Any], int | None]:
        files = services.stored_files
        steps = await files.check(size=megabytes * _MIB, tries=tries)
        free = await files.free_bytes() if all(step.error is None for step in steps) else None
        return files.kind, steps, free

    kind, steps, free = session.with_services("pusher", work)
    fault = next((step.error for step in steps if step.error is not None), None)
    if json:
        session.output.last(
            {"ok": fault is None, "kind": kind, "free_bytes": free, "steps": [_step(step) for step in steps]}
        )
    else:
        rows = [[step.name, _verdict(step, fault), *_figures(step)] for step in steps]
        session.output.result(f"storage: {kind}" + (f", {size(free)} free" if free is not None else ""))
        for line in table(["STEP", "RESULT", "MEDIAN", "WORST", "THROUGHPUT"], rows):
            session.output.result(line)
    if fault is not None:
        raise fault


@app.command("list")
def list_files(
    context: typer.Context,
    prefix: Prefix = "",
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="Stop after so many.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """List the files in the storage by path, in order.

    \b
    Examples:
      growi-transfer storage list
      growi-transfer storage list user/ --limit 20
      growi-transfer storage list --json | head -n 1000
    """
    session = session_of(context)
    output = session.output
    output.json = json

    async def work(services: Services) -> tuple[int, int, bool]:
        files = total = 0
        async with aclosing(services.stored_files.pages(prefix)) as pages:
            async for page in pages:
                some = page if limit is None else page[: limit - files]
                files += len(some)
                total += sum(file.size for file in some)
                _print_files(output, some)
                if len(some) < len(page):
                    return files, total, True
        return files, total, False

    files, total, more = session.with_services("pusher", work)
    if json:
        output.last({"ok": True, "files": files, "bytes": total, "more": more})
    else:
        output.note(f"{count(files)} files, {size(total)}" + (", and there are more" if more else ""))


@app.command()
def du(context: typer.Context, prefix: Prefix = "", json: Json = False) -> None:
    """Sum up the files in the storage: how many, and how many bytes, by kind.

    \b
    Kinds:
      attachment              of pages (in GridFS: all of them)
      user                    profile images, the logo, exports of the audit log
      page-bulk-export        exports of pages (S3 and GCS)
      audit-log-bulk-export   named by GROWI 8, not used yet
      legacy                  of GROWI 3.3 and older, in folders by page
      probe                   with which GROWI tries its storage
      growi-transfer          what transfers keep aside
      other                   what GROWI does not make

    \b
    Examples:
      growi-transfer storage du
      growi-transfer storage du attachment/0
    """
    session = session_of(context)
    session.output.json = json
    sums = session.with_services("pusher", lambda services: services.stored_files.usage(prefix))
    files, total = sum(one.files for one in sums.values()), sum(one.bytes for one in sums.values())
    if json:
        kinds = {name: {"files": one.files, "bytes": one.bytes} for name, one in sums.items()}
        session.output.last({"ok": True, "kinds": kinds, "files": files, "bytes": total})
        return
    rows = [[name, count(one.files), size(one.bytes)] for name, one in sums.items()]
    for line in table(["KIND", "FILES", "SIZE"], [*rows, ["all", count(files), size(total)]]):
        session.output.result(line)


@app.command()
def orphans(
    context: typer.Context,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete the files that are proved to be nobody's; see above.")
    ] = False,
    days: Annotated[
        int, typer.Option("--older-than", metavar="DAYS", min=1, max=36500, help="What is younger is never deleted.")
    ] = _DAYS,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before deleting.")] = False,
    json: Json = False,
) -> None:
    """Hold the storage against the attachments' documents: files without a document, documents without a file.

    Also told: sizes that differ, files that GridFS has more than once, and parts of files that were never finished.

    --delete removes files without a document, and parts of files, that are older than --older-than and have a name
    that only GROWI gives. It refuses while a transfer into this wiki is under way or may still be rolled back, and
    where the database has no attachment at all. It asks before it deletes, with the bucket's name and the number of
    files. What other applications keep in the bucket is left alone; but where two wikis share one, the files of the
    one look like orphans to the other: do not delete there.

    \b
    Examples:
      growi-transfer storage orphans
      growi-transfer storage orphans --delete --older-than 30
      growi-transfer storage orphans --json | tail -n 1
    """
    session = session_of(context)
    output = session.output
    output.json = json
    if delete and not yes and not output.interactive:
        raise UsageFault("This deletes files; it needs --yes where nobody can be asked.")
    older_than = timedelta(days=days)

    async def look(services: Services) -> tuple[Any, str]:
        if delete:
            await services.stored_files.check_deletable()
        outcome = services.stored_files.outcome()
        async with aclosing(services.stored_files.findings(outcome, older_than=older_than)) as found:
            async for finding in found:
                if json:
                    output.value(_shape(finding))
                else:
                    output.result(_line(finding, delete=delete))
        return outcome, services.stored_files.place

    async def remove(services: Services) -> Any:
        done = services.stored_files.outcome()
        async with aclosing(services.stored_files.delete_orphans(done, older_than=older_than)) as pages:
            async for page in pages:
                for finding in page:
                    if json:
                        output.value({"deleted": finding.path, "bytes": finding.size})
                    else:
                        output.result(f"deleted {clean(finding.path)}")
        return done

    outcome, place = session.with_services("pusher", look)
    if not json:
        _sum_up(output, outcome)
    deleted = None
    if delete and not outcome.deletable.files and not json:
        output.note("Nothing is proved to be nobody's; nothing is deleted.")
    if delete and outcome.deletable.files:
        what = f"{count(outcome.deletable.files)} files of {size(outcome.deletable.bytes)}"
        if not yes:
            rest = "What other applications keep there is left alone. This cannot be undone."
            typer.confirm(f"Delete {what} from {clean(place)}? {rest}", abort=True, err=True)
        deleted = session.with_services("pusher", remove).deleted
        if not json:
            output.note(f"Deleted {count(deleted.files)} files of {size(deleted.bytes)} from {clean(place)}.")
    if json:
        found = {name: {"count": one.files, "bytes": one.bytes} for name, one in outcome.found.items()}
        may = {"files": outcome.deletable.files, "bytes": outcome.deletable.bytes}
        done = {"files": deleted.files, "bytes": deleted.bytes} if deleted is not None else None
        output.last({"ok": True, "found": found, "deletable": may, "deleted": done})


def _sum_up(output: Output, outcome: Any) -> None:
    if not outcome.found:
        output.note("Every file has its document, and every document its file.")
    for name, one in outcome.found.items():
        output.note(f"{_WHAT[name]}: {count(one.files)}" + (f", {size(one.bytes)}" if one.bytes else ""))
    if outcome.deletable.files:
        output.note(f"May be deleted: {count(outcome.deletable.files)} files, {size(outcome.deletable.bytes)}.")


def _print_files(output: Output, files: Sequence[StoredFile]) -> None:
    """A page at once: a million lines that are written one by one take a minute."""
    if not files:
        return
    if output.json:
        output.values({"path": file.path, "size": file.size, "modified": _moment(file.modified)} for file in files)
        return
    lines = (f"{file.size:>15,}  {_moment(file.modified) or '-':<25}  {clean(file.path)}" for file in files)
    output.shown("\n".join(lines), result=True)


def _step(step: Any) -> dict[str, Any]:
    error = step.error
    return {
        "step": step.name,
        "ok": error is None and bool(step.seconds),
        "tries": len(step.seconds),
        "median_ms": None if step.median is None else round(step.median * 1000, 3),
        "worst_ms": None if step.worst is None else round(step.worst * 1000, 3),
        "bytes_per_second": None if step.bytes_per_second is None else round(step.bytes_per_second),
        "error": None if error is None else {"code": error.code, "message": error.message},
    }


def _verdict(step: Any, fault: BaseException | None) -> str:
    if step.error is not None:
        return f"failed ({step.error.code})"
    return "ok" if step.seconds or fault is None else "not tried"


def _figures(step: Any) -> list[str]:
    times = ["-" if one is None else f"{one * 1000:,.1f} ms" for one in (step.median, step.worst)]
    rate = step.bytes_per_second
    return [*times, "" if rate is None else f"{size(rate)}/s"]


def _shape(finding: Any) -> dict[str, Any]:
    found: Mapping[str, Any] = {
        "what": finding.what,
        "path": finding.path,
        "size": finding.size,
        "modified": _moment(finding.modified),
        "attachment": finding.attachment_id or None,
        "document_size": finding.document_size,
        "kept": finding.kept or None,
    }
    return {key: value for key, value in found.items() if value is not None}


def _line(finding: Any, *, delete: bool) -> str:
    parts = [f"{_WHAT[finding.what]}:", clean(finding.path)]
    if finding.attachment_id:
        parts.append(f"(attachment {finding.attachment_id})")
    if finding.what == "size_differs":
        parts.append(f"has {count(finding.size)} bytes, the document says {finding.document_size}")
    elif finding.size:
        parts.append(f"{count(finding.size)} bytes")
    if finding.kept and delete:
        parts.append(f"- stays: {_KEPT[finding.kept]}")
    return " ".join(parts)


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
