"""`growi-transfer export` and `import`: a whole wiki in one file, laid out like a mongodump directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from growi_transfer.cli.output import count, size
from growi_transfer.cli.session import Services, UsageFault, session_of

Json = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]


def export_wiki(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE.zip", help="The file to make.", dir_okay=False, show_default=False)
    ],
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude-collection", metavar="NAME", help="Leave a collection out; may be repeated.", show_default=False
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    json: Json = False,
) -> None:
    """Write the database of this wiki to one zip file.

    After unzip, `mongorestore` can read it too. Attachments are not in it; those in GridFS neither.

    \b
    Examples:
      growi-transfer export wiki.zip
      growi-transfer export wiki.zip --exclude-collection activities
    """
    session = session_of(context)
    session.output.json = json
    if file.exists() and not force:
        raise UsageFault(f"{file} is there already; --force replaces it.")

    async def work(services: Services) -> dict[str, Any]:
        assert services.pusher is not None
        return await services.pusher.export_archive(file, exclude_collections=tuple(exclude or ()))

    answer = session.with_services("pusher", work)
    if json:
        session.output.last({"ok": True, "file": str(file), **answer})
    else:
        session.output.result(f"{file}: {_told(answer)}.")


def import_wiki(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.zip", help="A file that `export` made.", exists=True, dir_okay=False, show_default=False
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Replace the database of this wiki by that of a file.

    The data are staged, read back and compared before anything is swapped. The former data are kept for a rollback:
    see `transfers rollback`.

    \b
    Examples:
      growi-transfer import wiki.zip
      growi-transfer import wiki.zip --yes --json
    """
    session = session_of(context)
    session.output.json = json
    if not yes:
        if not session.output.interactive:
            raise UsageFault("This replaces the wiki; it needs --yes where nobody can be asked.")
        typer.confirm("Replace the database of this wiki by that of the file?", abort=True, err=True)

    async def work(services: Services) -> dict[str, Any]:
        assert services.receiver is not None
        return await services.receiver.import_archive(file)

    answer = session.with_services("receiver", work)
    if json:
        session.output.last({"ok": True, "file": str(file), **answer})
        return
    transfer = answer.get("transfer", {})
    done = transfer.get("documents", {}).get("done", 0)
    session.output.result(f"{file}: {count(done)} documents are in place.")
    if "id" in transfer:
        session.output.note(f"Undo it with: growi-transfer transfers rollback {transfer['id'][:8]}")


def _told(answer: Mapping[str, Any]) -> str:
    told = [
        f"{count(answer[name])} {name}" for name in ("collections", "documents") if isinstance(answer.get(name), int)
    ]
    if isinstance(answer.get("bytes"), int):
        told.append(size(answer["bytes"]))
    return ", ".join(told) or "written"
