"""Builds zips of any honesty, field by field, without the product's own zip code."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from struct import pack


@dataclass
class Part:
    """One entry. `local` and `central` replace fields of one header only: name, flags, method, crc, packed, size,
    extra, offset, mode, comment, disk."""

    name: str | bytes
    data: bytes = b""
    deflate: bool = False
    flags: int = 0x800
    stored_as: bytes | None = None
    """The bytes in the zip, where they are not what `data` packs to."""
    before: bytes = b""
    after: bytes = b""
    local: Mapping[str, object] = field(default_factory=dict)
    central: Mapping[str, object] = field(default_factory=dict)


def deflated(data: bytes, level: int = 6) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def build(
    parts: Sequence[Part],
    *,
    comment: bytes = b"",
    end: Mapping[str, int] | None = None,
    wide: Mapping[str, int] | None = None,
    between: bytes = b"",
    behind: bytes = b"",
) -> bytes:
    """The zip. `end` replaces fields of the end record: disk, first_disk, here, count, size, offset, comment. With
    `wide` it has a zip64 end, where at, disk, first_disk, here, count, size, offset, rest, locator_disk, disks are
    replaced. `between` stands before the directory, `behind` is its last part."""
    body = b""
    directory = b""
    for part in parts:
        name = part.name.encode() if isinstance(part.name, str) else part.name
        packed = part.stored_as
        if packed is None:
            packed = deflated(part.data) if part.deflate else part.data
        body += part.before
        said: dict[str, object] = {
            "name": name,
            "flags": part.flags,
            "method": 8 if part.deflate else 0,
            "crc": zlib.crc32(part.data),
            "packed": len(packed),
            "size": len(part.data),
            "extra": b"",
            "offset": len(body),
            "mode": 0o100644,
            "comment": b"",
            "disk": 0,
        }
        body += _local({**said, **part.local}) + packed + part.after
        directory += _central({**said, **part.central})
    body += between
    directory += behind
    count = len(parts)
    told = {"disk": 0, "first_disk": 0, "here": count, "count": count, "size": len(directory), "offset": len(body)}
    tail = b""
    if wide is not None:
        more = {"rest": 44, "at": len(body) + len(directory), "locator_disk": 0, "disks": 1}
        w = {**told, **more, **wide}
        numbers = (w["disk"], w["first_disk"], w["here"], w["count"], w["size"], w["offset"])
        tail = pack("<4sQHHLLQQQQ", b"PK\6\6", w["rest"], 45, 45, *numbers)
        tail += pack("<4sLQL", b"PK\6\7", w["locator_disk"], w["at"], w["disks"])
        told.update(here=0xFFFF, count=0xFFFF, size=0xFFFFFFFF, offset=0xFFFFFFFF)
    told = {**told, "comment": len(comment), **(end or {})}
    return body + directory + tail + pack("<4s4H2LH", b"PK\5\6", *told.values()) + comment


def _local(said: Mapping[str, object]) -> bytes:
    name, extra = bytes(said["name"]), bytes(said["extra"])  # type: ignore[call-overload]
    values = (said["flags"], said["method"], 0, 33, said["crc"], said["packed"], said["size"], len(name), len(extra))
    return pack("<4s5H3L2H", b"PK\3\4", 20, *values) + name + extra


def _central(said: Mapping[str, object]) -> bytes:
    name, extra, comment = (bytes(said[key]) for key in ("name", "extra", "comment"))  # type: ignore[call-overload]
    attributes = int(said["mode"]) << 16  # type: ignore[call-overload]
    values = (said["flags"], said["method"], 0, 33, said["crc"], said["packed"], said["size"])
    lengths = (len(name), len(extra), len(comment), said["disk"], 0, attributes, said["offset"])
    return pack("<4s6H3L5H2L", b"PK\1\2", 0x314, 20, *values, *lengths) + name + extra + comment
