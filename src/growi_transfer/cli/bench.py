"""`growi-transfer bench`: how fast a transfer is on this machine, beside programs that people use for the same."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from growi_transfer.cli.scratch import until_stopped, work_folder
from growi_transfer.cli.session import session_of
from growi_transfer.demo.bench import Bench, BenchSize
from growi_transfer.demo.plan_bench import PlanBench
from growi_transfer.demo.watch_bench import WatchBench

_SIZE = BenchSize()


class Workload(StrEnum):
    REVISIONS = "revisions"
    SMALL_FILES = "small_files"
    LARGE_FILE = "large_file"


def bench(
    context: typer.Context,
    only: Annotated[
        list[Workload] | None,
        typer.Option(
            "--only",
            metavar="WORKLOAD",
            help=f"Measure this only; may be repeated: {', '.join(Workload)}.",
            show_default=False,
        ),
    ] = None,
    documents: Annotated[
        int, typer.Option("--documents", metavar="N", min=50, help="Revisions in the database.")
    ] = _SIZE.documents,
    body_size: Annotated[
        int, typer.Option("--body-size", metavar="BYTES", min=1, help="Average size of a revision's text.")
    ] = _SIZE.body_size,
    files: Annotated[int, typer.Option("--files", metavar="N", min=1, help="Small files.")] = _SIZE.files,
    file_size: Annotated[
        int, typer.Option("--file-size", metavar="BYTES", min=0, help="Size of each small file.")
    ] = _SIZE.file_size,
    large_file_size: Annotated[
        int, typer.Option("--large-file-size", metavar="BYTES", min=0, help="Size of the large file.")
    ] = _SIZE.large_file_size,
    repeat: Annotated[
        int, typer.Option("--repeat", metavar="N", min=1, help="Measure so often, and take the median.")
    ] = _SIZE.repeat,
    plan_rows: Annotated[
        int | None,
        typer.Option(
            "--plan-rows",
            metavar="N",
            min=1,
            help="Instead: time the plan of a transfer whose N attachments have all arrived.",
            show_default=False,
        ),
    ] = None,
    watchers: Annotated[
        int | None,
        typer.Option(
            "--watchers",
            metavar="N",
            min=1,
            help="Instead: time a transfer that N browsers watch over Socket.IO and N/4 over events, beside one alone.",
            show_default=False,
        ),
    ] = None,
    work_dir: Annotated[
        Path | None,
        typer.Option("--work-dir", metavar="FOLDER", help="Where to work.", show_default="a temporary folder"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result only.")] = False,
) -> None:
    """Time transfers on this machine, and other programs on the same work.

    Peers are mongodump and mongorestore, rclone, tar and cp, as far as they are
    on PATH; the result names the missing ones. A ratio below 1 means that we are
    faster. "copy" includes index builds; reading back is timed apart. Files count
    when their SHA-256 was checked and they are on the disk, so for peers the time
    until everything is on the disk counts. The result is one line of JSON.

    \b
    Examples:
      growi-transfer bench
      growi-transfer bench --only revisions --documents 200000
      growi-transfer bench --documents 5000 --files 200 --large-file-size 50000000
      growi-transfer bench --plan-rows 1000000
      growi-transfer bench --watchers 200 --repeat 3
    """
    output = session_of(context).output
    output.json = json
    size = BenchSize(documents, body_size, files, file_size, large_file_size, repeat)
    wanted = {workload.value: not only or workload in only for workload in Workload}
    say = (lambda _: None) if json else output.note
    with until_stopped(), work_folder("bench", work_dir, output.note) as folder:
        if plan_rows is not None:
            result = {"plan": PlanBench(folder, plan_rows, say).run()}
        elif watchers is not None:
            result = {"watchers": WatchBench(folder, watchers, documents, body_size, repeat, say).run()}
        else:
            result = Bench(folder, size, say).run(wanted)
    output.last(result)
