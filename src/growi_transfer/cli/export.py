"""`growi-transfer export` and `import`: a whole wiki in one file, laid out like a mongodump directory."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from growi_transfer.cli.output import count, size
from growi_transfer.cli.session import Services, UsageFault, session_of
from growi_transfer.cli.steps import confirm

ArchiveFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE.zip",
        help="A file that `export` or a GROWI made.",
        exists=True,
        dir_okay=False,
        show_default=False,
    ),
]
"""What is imported."""


class Format(StrEnum):
    """How documents are written."""

    BSON = "bson"
    GROWI = "growi"


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
    form: Annotated[
        Format, typer.Option("--format", help="bson: nothing is lost. growi: what GROWI's own importer takes.")
    ] = Format.BSON,
    attachments: Annotated[bool, typer.Option("--attachments/--no-attachments", help="With the files.")] = True,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    json: Json = False,
) -> None:
    """Write this wiki, database and attachments, to one zip file.

    After unzip, `mongorestore` can read the database too. With `--format growi` the file is one for GROWI's own page
    "Import Archived Data": the database only, in plain JSON, without what GROWI never exports. It needs GROWI_VERSION.

    \b
    Examples:
      growi-transfer export wiki.zip
      growi-transfer export wiki.zip --exclude-collection activities
      growi-transfer export database.zip --no-attachments
      growi-transfer export wiki.growi.zip --format growi
    """
    session = session_of(context)
    session.output.json = json
    if file.exists() and not force:
        raise UsageFault(f"{file} is there already; --force replaces it.")

    async def work(services: Services) -> dict[str, Any]:
        assert services.pusher is not None
        if form is Format.GROWI:
            return await services.pusher.export_growi_archive(file, exclude_collections=tuple(exclude or ()))
        return await services.pusher.export_archive(
            file, exclude_collections=tuple(exclude or ()), with_attachments=attachments
        )

    answer = session.with_services("pusher", work)
    if json:
        session.output.last({"ok": True, "file": str(file), **answer})
        return
    session.output.result(f"{file}: {_told(answer)}.")
    if answer.get("not_exported"):
        session.output.note(f"GROWI never exports: {', '.join(answer['not_exported'])}.")
    missing = answer.get("attachments_missing", 0)
    if missing:
        session.output.note(f"warning: the wiki itself has no file for {count(missing)} of its attachments.")


def import_wiki(
    context: typer.Context,
    file: ArchiveFile,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Replace this wiki by the one in a file.

    The data are staged, read back and compared before anything is swapped. The former data are kept for a rollback:
    see `transfers rollback`. An archive that a GROWI exported replaces the collections that it has, and nothing else.

    \b
    Examples:
      growi-transfer import wiki.zip
      growi-transfer import wiki.zip --yes --json
      growi-transfer import wiki-1763750416758.growi.zip
    """
    session = session_of(context)
    session.output.json = json
    confirm(context, yes, "Replace this wiki by the one in the file?")

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
    if answer.get("ignored"):
        session.output.note(f"Not brought in: {', '.join(answer['ignored'])}.")
    for kind, number in answer.get("losses", {}).items():
        session.output.note(f"warning: {count(number)} values were {kind} once; GROWI's format cannot carry that type.")
    for name, number in answer.get("duplicates", {}).items():
        session.output.note(
            f"warning: {name}: {count(number)} left out, because an earlier document has the same _id or unique value."
        )
    if "id" in transfer:
        session.output.note(f"Undo it with: growi-transfer transfers rollback {transfer['id'][:8]}")


def _told(answer: Mapping[str, Any]) -> str:
    counted = ((name, answer[name]) for name in ("collections", "documents", "attachments") if name in answer)
    total = answer.get("bytes", 0) + answer.get("attachment_bytes", 0)
    return ", ".join([*(f"{count(number)} {name}" for name, number in counted), size(total)])
