"""BSON as RavenDB 3's client writes it, for tests."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID


def bson_of(members: Mapping[str, Any]) -> bytes:
    """The BSON of an object."""
    content = b"".join(_member(name, value) for name, value in members.items())
    return struct.pack("<i", len(content) + 5) + content + b"\0"


def _member(name: str, value: Any) -> bytes:
    kind, data = _typed(value)
    return bytes([kind]) + name.encode() + b"\0" + data


def _typed(value: Any) -> tuple[int, bytes]:
    match value:
        case None:
            return 0x0A, b""
        case bool():
            return 0x08, bytes([value])
        case int() if abs(value) < 1 << 31:
            return 0x10, struct.pack("<i", value)
        case int():
            return 0x12, struct.pack("<q", value)
        case float():
            return 0x01, struct.pack("<d", value)
        case str():
            return 0x02, struct.pack("<i", len(value.encode()) + 1) + value.encode() + b"\0"
        case Mapping():
            return 0x03, bson_of(value)
        case list():
            return 0x04, bson_of({str(place): each for place, each in enumerate(value)})
        case UUID():
            return 0x05, struct.pack("<i", 16) + b"\x03" + value.bytes_le
        case bytes():
            return 0x05, struct.pack("<i", len(value)) + b"\0" + value
        case datetime():
            return 0x09, struct.pack("<q", round((value - datetime(1970, 1, 1)).total_seconds() * 1000))  # noqa: DTZ001
    raise TypeError(value)


def document(id: str, body: Mapping[str, Any], **metadata: Any) -> bytes:
    """A document as a bulk insert has it."""
    return bson_of({**body, "@metadata": {**metadata, "@id": id}})


def segment(documents: Iterable[bytes], *, packed: bool = True, count: int | None = None) -> bytes:
    """These documents with their number and the length of it all."""
    documents = list(documents)
    content = struct.pack("<i", len(documents) if count is None else count) + b"".join(documents)
    content = gzip.compress(content) if packed else content
    return struct.pack("<i", len(content)) + content
