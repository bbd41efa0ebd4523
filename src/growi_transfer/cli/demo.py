"""`growi-transfer demo`: two generated wikis on this machine, a real transfer between them, an independent judge."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from growi_transfer.cli.output import Output, count, duration, size, table
from growi_transfer.cli.render import reporter
from growi_transfer.cli.scratch import until_stopped, work_folder
from growi_transfer.cli.session import session_of
from growi_transfer.demo.damage import DAMAGES
from growi_transfer.demo.findings import Comparison
from growi_transfer.demo.run import Pushed, fill, judge, push, result_of
from growi_transfer.demo.servers import Pair, open_pair
from growi_transfer.demo.wiki import WikiSize
from growi_transfer.protocol.errors import VerificationFailed
from growi_transfer.protocol.shape import from_json

_SIZE = WikiSize()


def demo(
    context: typer.Context,
    pages: Annotated[int, typer.Option("--pages", metavar="N", min=1, help="Pages with content.")] = _SIZE.pages,
    revisions: Annotated[
        int, typer.Option("--revisions", metavar="N", min=1, help="Revisions of each page.")
    ] = _SIZE.revisions,
    attachments: Annotated[int, typer.Option("--attachments", metavar="N", min=0, help="Files.")] = _SIZE.attachments,
    attachment_size: Annotated[
        int, typer.Option("--attachment-size", metavar="BYTES", min=0, help="Average size of a file.")
    ] = _SIZE.attachment_size,
    body_size: Annotated[
        int, typer.Option("--body-size", metavar="BYTES", min=1, help="Average size of a revision's text.")
    ] = _SIZE.body_size,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="The same seed makes the same wiki.")] = _SIZE.seed,
    volumes: Annotated[
        int | None,
        typer.Option(
            "--volumes",
            metavar="N",
            min=1,
            max=32,
            help="Database volumes in flight; left out, the number adapts.",
            show_default=False,
        ),
    ] = None,
    parallel: Annotated[
        int | None,
        typer.Option(
            "--parallel-attachments",
            metavar="N",
            min=1,
            max=64,
            help="Attachment requests in flight; left out, the number adapts.",
            show_default=False,
        ),
    ] = None,
    work_dir: Annotated[
        Path | None,
        typer.Option("--work-dir", metavar="FOLDER", help="Where to work.", show_default="a temporary folder"),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave both servers running until Ctrl-C.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON value a line; the last one is the result.")] = False,
    damages: Annotated[list[str] | None, typer.Option("--break", hidden=True)] = None,
) -> None:
    """Move a generated wiki between two servers on this machine, and check it.

    Needs nothing: two private MongoDB servers are started, a wiki is made in one
    of them (with attachments, of which one is a video of at least 6 MiB), and a
    receiver and a pusher run as two processes. Afterwards every document, index
    and file is compared by code that shares nothing with the transfer.

    \b
    Examples:
      growi-transfer demo
      growi-transfer demo --pages 10000 --revisions 9      about 350 MiB
      growi-transfer demo --attachments 3000 --attachment-size 50000
      growi-transfer demo --keep                           look around afterwards
      growi-transfer demo --json | tail -n 1               for scripts

    Exit code 0 only if both wikis are identical.
    """
    if not DAMAGES.keys() >= {*(damages or ())}:
        raise typer.BadParameter(f"--break is one of {', '.join(DAMAGES)}.")
    output = session_of(context).output
    output.json = json
    wiki = WikiSize(pages, revisions, attachments, attachment_size, body_size, seed)
    with until_stopped(), work_folder("demo", work_dir, output.note) as folder, open_pair(folder) as pair:
        comparison = _move(pair, wiki, output, damages or (), {"volumes": volumes, "attachments": parallel})
        if keep:
            _stay(pair, folder, output)
    if not comparison.identical:
        raise VerificationFailed(f"{count(comparison.mismatch_count)} differences between the two wikis.")


def _move(
    pair: Pair, wiki: WikiSize, output: Output, damages: Sequence[str], parallelism: Mapping[str, int | None]
) -> Comparison:
    began = time.monotonic()
    _say(output, "Generating a wiki ...")
    counts, former = fill(pair, wiki)
    made = f"{count(counts.documents)} documents ({size(counts.document_bytes)})"
    made += f" and {count(counts.attachments)} attachments ({size(counts.attachment_bytes)})"
    _say(output, f"Generated {made} in {duration(time.monotonic() - began)}.")
    pair.start_servers()
    _say(output, f"Receiver at {pair.destination.server.url}, pusher at {pair.source.server.url}.")
    shown = reporter(output)
    try:
        pushed = push(pair, lambda shape: shown.show(from_json(shape)), parallelism=dict(parallelism))
    finally:
        shown.close()
    _say(output, "Comparing both wikis ...")
    began = time.monotonic()
    comparison = judge(pair, pushed, former, damages)
    _say(output, f"Compared in {duration(time.monotonic() - began)}.\n")
    if output.json:
        result = result_of(pushed, comparison)
        output.last(result if comparison.identical else {**result, "differences": comparison.mismatches})
        return comparison
    for line in _summary(pushed, comparison):
        output.result(line)
    return comparison


def _summary(pushed: Pushed, comparison: Comparison) -> Iterator[str]:
    mongo, files = pushed.mongo_seconds, pushed.timeline.attachment_seconds
    yield from table(
        ["", "count", "size", "time", "rate"],
        [
            [
                "documents",
                count(comparison.documents),
                size(comparison.document_bytes),
                duration(mongo),
                f"{size(comparison.document_bytes / max(mongo, 0.001))}/s",
            ],
            [
                "attachments",
                count(comparison.attachments),
                size(comparison.attachment_bytes),
                duration(files),
                f"{size(comparison.attachment_bytes / max(files, 0.001))}/s",
            ],
            ["read back", "", "", duration(pushed.verify_seconds), ""],
            ["altogether", "", "", duration(pushed.timeline.seconds), ""],
        ],
    )
    yield ""
    for warning in pushed.shape["warnings"]:
        yield f"warning: {warning['message']} ({warning['code']})"
    yield f"{count(comparison.collections)} collections and {count(comparison.indexes)} indexes compared."
    if comparison.rewritten:
        yield f"{count(comparison.rewritten)} documents are not the source's by GROWI's rules, each exactly as told."
    for role, mebibytes in pushed.peak_rss_mib.items():
        if mebibytes is not None:
            yield f"Most memory of the {role}: {mebibytes:,.0f} MiB."
    for text in comparison.mismatches:
        yield f"DIFFERENT: {text}"
    if comparison.identical:
        yield "Both wikis are identical."


def _stay(pair: Pair, folder: Path, output: Output) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        for name, instance in (("source", pair.source), ("destination", pair.destination)):
            output.note(f"{name}: {instance.server.url}  admin token {instance.server.admin_token}")
            output.note(f"  database {instance.mongod.uri}")
            output.note(f"  files    {instance.uploads}")
        output.note(f"Everything is in {folder}. Ctrl-C stops both servers and removes it.")
        threading.Event().wait()


def _say(output: Output, text: str) -> None:
    if not output.json:
        output.note(text)
