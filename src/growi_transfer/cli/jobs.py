"""`growi-transfer jobs`: exports and imports that the server of this wiki does in the background. See docs/jobs.md."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from growi_transfer.cli.export import ArchiveFile, Format
from growi_transfer.cli.jobs_server import JobsServer
from growi_transfer.cli.output import FACT_COLUMN, Output, clean, count, size, table
from growi_transfer.cli.render import of
from growi_transfer.cli.session import Session, UsageFault, session_of
from growi_transfer.cli.steps import confirm
from growi_transfer.protocol.errors import JobNotFound, StateConflict, recalled

app = typer.Typer(
    no_args_is_help=True,
    help="Exports and imports that this wiki's server does in the background.",
)
LOOK_SECONDS = 0.5
"""Between two looks at a job that is waited for."""
_LIVE = ("queued", "running")
_LISTED = 100

Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the job, or its first digits.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one value a line.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the end.")]


class Type(StrEnum):
    EXPORT = "export"
    IMPORT = "import"
    TRANSFER = "transfer"


@app.command("list")
def list_jobs(
    context: typer.Context,
    kind: Annotated[
        Type | None, typer.Option("--type", help="These only: export, import or transfer.", show_default=False)
    ] = None,
    status: Annotated[
        str | None,
        typer.Option("--status", metavar="STATES", help="Some states, with commas between.", show_default=False),
    ] = None,
    page: Annotated[int, typer.Option("--page", metavar="N", min=1, max=1000, help="Which hundred.")] = 1,
    json: Json = False,
) -> None:
    """List jobs, newest first; transfers appear among them.

    \b
    Examples:
      growi-transfer jobs list
      growi-transfer jobs list --type export --status queued,running
    """
    session, server = _opened(context, json)
    answer = server.page(type=kind.value if kind else None, status=status, page=page, size=_LISTED)
    if json:
        session.output.last(answer)
        return
    cells = [
        [
            job["id"][:8],
            job["type"],
            job["state"].replace("_", " "),
            f"{job['percent']} %",
            of(job["progress"]["documents"]["done"], job["progress"]["documents"]["total"]),
            of(job["progress"]["files"]["done"], job["progress"]["files"]["total"]),
            job["created_at"][:16].replace("T", " "),
        ]
        for job in answer["jobs"]
    ]
    head = ["ID", "TYPE", "STATE", "DONE", "DOCUMENTS", "FILES", "CREATED"]
    for line in table(head, cells) if cells else ["There are no such jobs."]:
        session.output.result(line)


@app.command()
def show(context: typer.Context, job: Id, json: Json = False) -> None:
    """Show one job: state, counts, errors, and its file.

    \b
    Examples:
      growi-transfer jobs show 1f3a
    """
    session, server = _opened(context, json)
    _tell(session.output, _find(server, job))


@app.command()
def export(
    context: typer.Context,
    form: Annotated[
        Format, typer.Option("--format", help="bson: nothing is lost. growi: what GROWI's own importer takes.")
    ] = Format.BSON,
    collections: Annotated[
        list[str] | None,
        typer.Option("--collection", metavar="NAME", help="These only; may be repeated.", show_default=False),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude-collection", metavar="NAME", help="Leave a collection out; may be repeated.", show_default=False
        ),
    ] = None,
    attachments: Annotated[
        bool | None,
        typer.Option("--attachments/--no-attachments", help="With the files; bson has them.", show_default=False),
    ] = None,
    go_on: Annotated[bool, typer.Option("--continue-on-error", help="Leave out what cannot be had.")] = False,
    wait: Wait = False,
    json: Json = False,
) -> None:
    """Have the server write this wiki to a zip file, which `jobs download` fetches.

    \b
    Examples:
      growi-transfer jobs export
      growi-transfer jobs export --wait --json
      growi-transfer jobs export --collection pages --no-attachments
    """
    session, server = _opened(context, json)
    wanted = {
        "format": form.value,
        "collections": collections or None,
        "exclude_collections": exclude or [],
        "attachments": attachments,
        "on_error": "continue" if go_on else "fail",
    }
    _begun(session, server, server.export(wanted), wait=wait)


@app.command("import")
def import_archive(
    context: typer.Context,
    file: ArchiveFile,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    wait: Wait = False,
    json: Json = False,
) -> None:
    """Have the server replace this wiki by the one in a file.

    It is staged, verified and committed like a transfer; `transfers rollback` brings the former data back.

    \b
    Examples:
      growi-transfer jobs import wiki.zip
      growi-transfer jobs import wiki.zip --yes --wait
    """  # fmt: skip
    session, server = _opened(context, json)
    confirm(context, yes, "Replace this wiki by the one in the file?")
    _begun(session, server, server.import_(file), wait=wait)


@app.command()
def cancel(context: typer.Context, job: Id, json: Json = False) -> None:
    """Stop an export or import. Nothing of it is left.

    \b
    Examples:
      growi-transfer jobs cancel 1f3a
    """
    session, server = _opened(context, json)
    found = _find(server, job)
    if found["type"] == Type.TRANSFER:
        raise UsageFault(f"That is a transfer: growi-transfer transfers cancel {found['id'][:8]}")
    _tell(session.output, server.cancel(found["type"], found["id"]), short=True)


@app.command()
def download(
    context: typer.Context,
    job: Id,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE.zip]", help="Where to; its own name here otherwise.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    json: Json = False,
) -> None:
    """Fetch the file of a finished export, and check its SHA-256.

    \b
    Examples:
      growi-transfer jobs download 1f3a
      growi-transfer jobs download 1f3a wiki.zip --force
    """
    session, server = _opened(context, json)
    found = _find(server, job)
    if found["type"] != Type.EXPORT:
        raise UsageFault("Only an export has a file.")
    made = found["file"]
    if found["state"] != "completed" or made is None:
        raise StateConflict(f"The export is {found['state']}: there is nothing to download.", state=found["state"])
    # The name is the server's: nothing of it may lead elsewhere.
    to = file or Path(Path(made["name"]).name)
    if to.is_dir():
        to /= Path(made["name"]).name
    if to.exists() and not force:
        raise UsageFault(f"{to} is there already; --force replaces it.")
    written = server.download(found["id"], made["sha256"], to)
    if json:
        session.output.last({"ok": True, "file": str(to), "bytes": written, "sha256": made["sha256"]})
    else:
        session.output.result(f"{to}: {size(written)}.")


def _opened(context: typer.Context, json: bool) -> tuple[Session, JobsServer]:
    session = session_of(context)
    session.output.json = json
    return session, JobsServer.find(session)


def _find(server: JobsServer, text: str) -> dict[str, Any]:
    """The job whose id is, or begins with, `text`. Raises JobNotFound."""
    found: dict[str, dict[str, Any]] = {}
    number = 1
    while text:
        answer = server.page(page=number, size=_LISTED)
        found |= {job["id"]: job for job in answer["jobs"] if job["id"].startswith(text.lower())}
        if number * _LISTED >= answer["total"]:
            break
        number += 1
    if not found:
        raise JobNotFound(f"There is no job {text}.")
    if len(found) > 1:
        raise JobNotFound(f"{len(found)} jobs begin with {text}; give more of the id.")
    [job] = found.values()
    return job


def _begun(session: Session, server: JobsServer, job: dict[str, Any], *, wait: bool) -> None:
    """Tell what was queued; or wait, and tell how it ended. Raises what a failed job failed with."""
    while wait and job["state"] in _LIVE:
        time.sleep(LOOK_SECONDS)
        job = server.job(job["type"], job["id"])
    _tell(session.output, job, short=not wait)
    if wait and job["state"] == "failed":
        [*_, last] = job["errors"] or [{"code": "internal_error", "message": "The job failed."}]
        raise recalled(last["code"], last["message"])
    if wait and job["state"] == "cancelled":
        raise StateConflict("The job was cancelled by somebody else.", state="cancelled")


def _tell(output: Output, job: dict[str, Any], *, short: bool = False) -> None:
    if output.json:
        output.last({"job": job})
        return
    if short:
        output.result(f"{job['id'][:12]}: {job['type']} {job['state']}.")
        return
    progress = job["progress"]
    facts: dict[str, str] = {
        "job": job["id"],
        "type": job["type"],
        "state": f"{job['state'].replace('_', ' ')}, {job['percent']} %",
        "created": job["created_at"],
        "finished": job["finished_at"] or "",
        "documents": of(progress["documents"]["done"], progress["documents"]["total"]),
        "files": of(progress["files"]["done"], progress["files"]["total"]),
        "bytes": f"{size(progress['bytes']['done'])} of {size(progress['bytes']['total'])}",
        "server": job["node"],
        "transfer": job["transfer_id"] or "",
    }
    if job["file"]:
        facts["file"] = f"{job['file']['name']}, {size(job['file']['bytes'])}"
        facts["sha256"] = job["file"]["sha256"]
        facts["kept until"] = job["file"]["expires_at"] or "for ever"
    for name, value in facts.items():
        if value:
            output.fact(f"{name:<{FACT_COLUMN - 1}} {clean(value)}")
    for error in job["errors"]:
        where = f"{error['kind']} {error['item']}: " if error["item"] else ""
        output.fact(f"{'error':<{FACT_COLUMN - 1}} {clean(where + error['message'])} ({error['code']})")
    if job["errors_total"] > len(job["errors"]):
        output.fact(f"{'':<{FACT_COLUMN}}{count(job['errors_total'] - len(job['errors']))} more")
