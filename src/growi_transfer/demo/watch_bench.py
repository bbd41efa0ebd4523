"""What many watchers cost: the same transfer with and without them, in turns."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from growi_transfer.demo.bench import REVISIONS_PER_PAGE, clear, settle
from growi_transfer.demo.destination import make_destination
from growi_transfer.demo.run import push
from growi_transfer.demo.servers import PASSWORD_SEED, Pair, Server, open_pair
from growi_transfer.demo.wiki import WikiSize, make_wiki
from growi_transfer.protocol.errors import OperatorFault

STREAMS_PER_SOCKET = 0.25


@dataclass(slots=True)
class _Timed:
    seconds: list[float] = field(default_factory=list)
    processor_seconds: list[float] = field(default_factory=list)
    """Of the source's server, which everybody watches."""


class WatchBench:
    """Measures below a folder. `say` is told what happens."""

    def __init__(
        self, folder: Path, watchers: int, documents: int, body_size: int, repeat: int, say: Callable[[str], None]
    ) -> None:
        self._folder = folder
        self._sockets = watchers
        self._streams = round(watchers * STREAMS_PER_SOCKET)
        self._documents = documents
        self._body_size = body_size
        self._repeat = repeat
        self._say = say

    def run(self) -> dict[str, Any]:
        """Medians of seconds and of processor seconds of both, and how often a watcher was told something. A ratio
        above 1: slower with watchers."""
        pages = max(1, self._documents // REVISIONS_PER_PAGE)
        wiki = WikiSize(pages, REVISIONS_PER_PAGE, 0, 0, self._body_size, plugin=False)
        timed = {"alone": _Timed(), "watched": _Timed()}
        told: list[dict[str, int]] = []
        with open_pair(self._folder / "watch") as pair:
            made = make_wiki(pair.source.mongod.uri, pair.source.uploads, wiki, password_seed=PASSWORD_SEED)
            self._say(f"{made.documents:,} documents; {self._sockets} on Socket.IO and {self._streams} on events")
            for turn in range(self._repeat):
                for name in sorted(timed, reverse=bool(turn % 2)):
                    told += self._transfer(pair, name, timed[name])
        alone, watched = timed["alone"], timed["watched"]
        return {
            "sockets": self._sockets,
            "streams": self._streams,
            "documents": made.documents,
            "bytes": made.document_bytes,
            **{
                name: {
                    "seconds": round(median(one.seconds), 3),
                    "processor_seconds": round(median(one.processor_seconds), 3),
                }
                for name, one in timed.items()
            },
            "ratio": round(median(watched.seconds) / max(median(alone.seconds), 0.001), 3),
            "told": {name: sum(one[name] for one in told) for name in told[0]},
        }

    def _transfer(self, pair: Pair, name: str, timed: _Timed) -> list[dict[str, int]]:
        clear(pair)
        make_destination(pair.destination.mongod.uri, pair.destination.uploads, password_seed=PASSWORD_SEED)
        pair.start_servers()
        settle(pair)
        told: list[dict[str, int]] = []
        try:
            server = pair.source.server
            with self._watchers(server, told) if name == "watched" else contextlib.nullcontext():
                before = _processor_seconds(server.pid)
                pushed = push(pair, lambda _: None)
                timed.processor_seconds.append(_processor_seconds(server.pid) - before)
        finally:
            pair.stop_servers()
        timed.seconds.append(pushed.timeline.seconds)
        self._say(f"  {name}: {pushed.timeline.seconds:.2f} s")
        return told

    @contextlib.contextmanager
    def _watchers(self, server: Server, told: list[dict[str, int]]) -> Iterator[None]:
        command = [sys.executable, "-m", "growi_transfer.demo.watchers"]
        with subprocess.Popen(
            [*command, server.url, str(self._sockets), str(self._streams)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{server.admin_token}\n")
            process.stdin.flush()
            if process.stdout.readline() != "ready\n":
                raise OperatorFault("The watchers could not connect; their error is above.")
            yield
            process.stdin.close()
            told.append(json.loads(process.stdout.readline()))


def _processor_seconds(pid: int) -> float:
    """Of all threads of a process so far; 0 where the kernel does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
