"""The files of the pages, and addresses of theirs that a browser may keep for ever.

A page names its files below `/static/<digest>/`, the digest of all of them; scripts import each other by relative
addresses, so the digest goes on to everything that they load. Another version has another digest: what a browser has
kept is never mixed with what is new. The same files below `/static/` alone are asked for anew each time (`ETag`).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

STATIC = Path(__file__).parent / "static"
PREFIX = "/static/"
_FOR_EVER = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"
_KINDS = (".css", ".js", ".json", ".svg")
"""Pages are served by `web.pages`, which fills them in."""


def _digest() -> str:
    whole = hashlib.sha256()
    for path in sorted(STATIC.rglob("*")):
        if path.suffix in _KINDS:
            whole.update(f"{path.relative_to(STATIC)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()[:16]


DIGEST = _digest()


def page_text(name: str) -> str:
    """A page, naming its files for ever."""
    return (STATIC / name).read_text(encoding="utf-8").replace(f'"{PREFIX}', f'"{PREFIX}{DIGEST}/')


class PageFiles(StaticFiles):
    def __init__(self) -> None:
        super().__init__(directory=STATIC)

    async def get_response(self, path: str, scope: Scope) -> Response:
        kept = path.startswith(f"{DIGEST}/")
        if kept:
            path = path.removeprefix(f"{DIGEST}/")
        if not path.endswith(_KINDS):
            raise HTTPException(404)
        answer = await super().get_response(path, scope)
        answer.headers["cache-control"] = _FOR_EVER if kept else _ASK_AGAIN
        return answer
