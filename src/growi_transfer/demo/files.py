"""Attachment files in the layout of GROWI's local storage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path

from growi_transfer.demo.identity import seeded

VIDEO_BYTES = (6 << 20) + 12_345
"""The least size of the one large attachment; it is of the kind that is sent by offset."""
_KINDS = (
    ("png", "image/png", "スクリーンショット {}.png"),
    ("pdf", "application/pdf", "Report {}.pdf"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "見積もり {}.xlsx"),
    ("txt", "text/plain", "notes-{}.txt"),
    ("zip", "application/zip", "logs {}.zip"),
    ("bin", "application/octet-stream", "データ {}.bin"),
)
_POOL_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class File:
    name: str
    original_name: str
    content_type: str
    size: int
    of_page: bool

    @property
    def path(self) -> str:
        return ("attachment/" if self.of_page else "user/") + self.name


def plan_files(count: int, size: int, profile_images: int, seed: int, *, exact: bool) -> list[File]:
    """`count` files. `exact`: all belong to pages and have exactly `size` bytes; otherwise they have half to one and
    a half times as many, one is empty, one is a video, and `profile_images` of them belong to users."""
    rng = seeded(f"files {seed}")
    files: list[File] = []
    for number in range(count):
        extension, content_type, pattern = rng.choice(_KINDS)
        name = f"{md5(f'{seed} {number}'.encode(), usedforsecurity=False).hexdigest()}.{extension}"
        length, of_page = size, True
        if not exact:
            length = int(size * (0.5 + rng.random()))
            of_page = number >= profile_images
            if number == count - 1 and count >= 10:
                length = 0
            elif number == count - 2 and count >= 10:
                length = max(length, VIDEO_BYTES)
        files.append(File(name, pattern.format(number), content_type, length, of_page))
    return files


def write_files(uploads: Path, files: Sequence[File], seed: int) -> int:
    """Write the files under `uploads`; returns the sum of their sizes in bytes. No two have the same content."""
    pool = seeded(f"content {seed}").randbytes(_POOL_BYTES)
    for folder in ("attachment", "user"):
        (uploads / folder).mkdir(parents=True, exist_ok=True)

    def write(numbered: tuple[int, File]) -> int:
        number, file = numbered
        with (uploads / file.path).open("wb") as target:
            target.writelines(_content(pool, number, file.size))
        return file.size

    with ThreadPoolExecutor(4) as threads:
        return sum(threads.map(write, enumerate(files)))


def _content(pool: bytes, number: int, size: int) -> Iterator[memoryview]:
    view = memoryview(pool)
    head = number.to_bytes(8, "big") + size.to_bytes(8, "big")
    yield memoryview(head)[:size]
    left = size - len(head)
    start = number * 104_729 % _POOL_BYTES
    while left > 0:
        piece = view[start : start + left]
        yield piece
        left -= len(piece)
        start = (start + len(piece) + 8191) % _POOL_BYTES if start + len(piece) < _POOL_BYTES else 8191 * (left % 97)
