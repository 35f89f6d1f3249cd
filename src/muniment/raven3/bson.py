"""BSON, in which RavenDB 3's bulk inserts bring documents, as the JSON that RavenDB makes of it.

No library does this: those that there are make values of Python, in which a number and a date have lost how RavenDB
would write them. What is in BSON, and RavenDB reads nowhere (regular expressions, code with a scope), is refused.
"""

from __future__ import annotations

import base64
import struct
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from muniment.document import encode
from muniment.errors import InvalidDocument

MAX_DEPTH: Final = 150
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - BSON has no zone
_ids: Final = {3, 4}  # of binary data that is a GUID, the older of which .NET writes too
_int32: Final = struct.Struct("<i")
_int64: Final = struct.Struct("<q")
_double: Final = struct.Struct("<d")


class Member(NamedTuple):
    """A member of an object: its name, and its value as JSON."""

    name: str
    value: bytes


def members(data: bytes) -> list[Member]:
    """The members of a document; raises `InvalidDocument` for what is none, or would not be one of RavenDB's."""
    try:
        reader = _Reader(data)
        found = list(reader.members(0))
    except (IndexError, struct.error, UnicodeDecodeError, OverflowError) as error:
        raise InvalidDocument(f"it is not BSON: {error}", "send it again") from error
    if reader.at != len(data):
        raise InvalidDocument(f"it is not BSON: it ends after {reader.at:,} of {len(data):,} bytes", "send it again")
    return found


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def _take(self, count: int) -> bytes:
        end = self.at + count
        if count < 0 or end > len(self._data):
            raise IndexError(f"what begins at byte {self.at:,} is longer than the document")
        found, self.at = self._data[self.at : end], end
        return found

    def _number(self, kind: struct.Struct) -> Any:
        return kind.unpack(self._take(kind.size))[0]

    def _name(self) -> str:
        start, end = self.at, self._data.find(0, self.at)
        if end < 0:
            raise IndexError(f"the name at byte {start:,} has no end")
        self.at = end + 1
        return self._data[start:end].decode()

    def _text(self) -> str:
        return self._take(self._number(_int32))[:-1].decode()

    def members(self, depth: int) -> Iterator[Member]:
        if depth > MAX_DEPTH:
            raise InvalidDocument(f"it is nested more than {MAX_DEPTH} deep", "store it flatter")
        end = self.at + self._number(_int32)
        while (kind := self._take(1)[0]) != 0:
            name = self._name()
            yield Member(name, self._value(kind, name, depth))
        if self.at != end:
            raise IndexError(f"an object ends at byte {self.at:,}, and not at {end:,}")

    def _value(self, kind: int, name: str, depth: int) -> bytes:
        match kind:
            case 0x03:
                return json_of(self.members(depth + 1))
            case 0x04:
                return b"[" + b",".join(each.value for each in self.members(depth + 1)) + b"]"
        if (read := _VALUES.get(kind)) is None:
            raise InvalidDocument(f"{name!r} is of BSON's type {kind:#04x}, which RavenDB has not", "leave it out")
        return read(self)

    def double(self) -> bytes:
        return _double_text(self._number(_double))

    def int32(self) -> bytes:
        return b"%d" % self._number(_int32)

    def int64(self) -> bytes:
        return b"%d" % self._number(_int64)

    def text(self) -> bytes:
        return encode(self._text())

    def boolean(self) -> bytes:
        return b"true" if self._take(1) != b"\0" else b"false"

    def object_id(self) -> bytes:
        return encode(base64.b64encode(self._take(12)).decode())

    def date(self) -> bytes:
        """Without a zone: what BSON has is milliseconds, and RavenDB takes them as they are."""
        text = (_EPOCH + timedelta(milliseconds=self._number(_int64))).isoformat(timespec="microseconds")
        return b'"%s0"' % text.encode()

    def binary(self) -> bytes:
        size, kind = self._number(_int32), self._take(1)[0]
        if kind == 2:  # which says its length twice
            size = self._number(_int32)
        data = self._take(size)
        return encode(str(uuid.UUID(bytes_le=data)) if kind in _ids and size == 16 else base64.b64encode(data).decode())


_VALUES: Final[dict[int, Callable[[_Reader], bytes]]] = {
    0x01: _Reader.double,
    0x02: _Reader.text,
    0x05: _Reader.binary,
    0x06: lambda _: b"null",
    0x07: _Reader.object_id,
    0x08: _Reader.boolean,
    0x09: _Reader.date,
    0x0A: lambda _: b"null",
    0x0D: _Reader.text,
    0x0E: _Reader.text,
    0x10: _Reader.int32,
    0x11: _Reader.int64,
    0x12: _Reader.int64,
}


def _double_text(number: float) -> bytes:
    """A number as .NET writes it: 15 digits where these are enough to read the same again, and else 17."""
    if number != number or number in (float("inf"), float("-inf")):  # JSON has no such number
        return {"nan": b'"NaN"', "inf": b'"Infinity"', "-inf": b'"-Infinity"'}[str(number)]
    text = f"{number:.15g}"
    if float(text) != number:
        text = f"{number:.17g}"
    return (text.upper() if "." in text or "e" in text else text + ".0").encode()


def json_of(members: Iterator[Member] | list[Member]) -> bytes:
    """These members as a JSON object."""
    return b"{" + b",".join(encode(name) + b":" + value for name, value in members) + b"}"
