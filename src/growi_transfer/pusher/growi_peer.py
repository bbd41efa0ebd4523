"""What a source asks of an unmodified GROWI, besides `growi-info`: its own routes, over the same client."""

from __future__ import annotations

from typing import Any

from growi_transfer.pusher.growi_forms import FileForm
from growi_transfer.pusher.peer import Peer
from growi_transfer.pusher.timeouts import PeerTimeouts

LISTING_LIMIT = 512 << 20
"""Bytes of a GROWI's list of its files: some four million of them."""


class GrowiPeer:
    """One GROWI. Errors as those of `Peer`; nothing is tried again here."""

    def __init__(self, peer: Peer, timeouts: PeerTimeouts | None = None) -> None:
        self._peer = peer
        self._timeouts = timeouts or PeerTimeouts()

    async def import_archive(self, form: FileForm) -> dict[str, Any]:
        """`POST /`: the answer comes when all of the archive is imported."""
        return await self._post("/", form, self._timeouts.growi_import)

    async def attachment(self, form: FileForm) -> None:
        """`POST /attachment`: one file."""
        await self._post("/attachment", form, None)

    async def files(self) -> bytes:
        """The answer to `GET files`, which names every file of its storage."""
        return (await self._peer.send("GET", "/files", limit=LISTING_LIMIT))[1]

    async def keep_alive(self) -> None:
        """Renew the key. GROWI 8.x has this; a GROWI 7.3 refuses it."""
        await self._peer.send("POST", "/keep-alive")

    async def _post(self, path: str, form: FileForm, answer: float | None) -> dict[str, Any]:
        body = self._peer.body(form.chunks, form.length)
        headers = {"content-type": form.content_type}
        return self._peer.object_of((await self._peer.send("POST", path, body=body, headers=headers, answer=answer))[1])
