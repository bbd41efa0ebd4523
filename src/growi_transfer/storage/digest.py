"""The digest of a file that is in a storage."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from hashlib import sha256

from growi_transfer.storage.base import Storage


async def digest_of(storage: Storage, path: str) -> bytes:
    """SHA-256 of a file. Raises FileNotFound. The file is closed at once, also when the caller is cancelled."""
    hasher = sha256()
    digesting: asyncio.Task[None] | None = None
    try:
        async with aclosing(storage.open(path)) as chunks:
            async for chunk in chunks:
                # The next one is read meanwhile.
                if digesting is not None:
                    await digesting
                digesting = asyncio.ensure_future(asyncio.to_thread(hasher.update, chunk))
        if digesting is not None:
            await digesting
    finally:
        if digesting is not None:
            digesting.cancel()
    return hasher.digest()
