"""BSON, in which RavenDB 3's bulk inserts bring documents, as the JSON that RavenDB makes of it.

No library does this: those that there are make values of Python, in which a number and a date have lost how RavenDB
would write them. What is in BSON, and RavenDB reads nowhere (regular expressions, code with a scope), is refused.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

import msgspec

from muniment.errors import InvalidDocument

MAX_DEPTH: Final = 150
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - BSON has no zone
_GUIDS: Final = {3, 4}  # of binary data; the older of the two .NET writes
_int32: Final = struct.Struct("<i").unpack_from
_int64: Final = struct.Struct("<q").unpack_from
_float64: Final = struct.Struct("<d").unpack_from
_quoted: Final[Callable[[str], bytes]] = msgspec.json.encode
_Read: TypeAlias = tuple[bytes, int]  # a value as JSON, and where what follows it begins


class Member(NamedTuple):
    """A member of an object: its name, and its value as JSON."""

    name: str
    value: bytes


def members(data: bytes) -> list[Member]:
    """The members of a document; raises `InvalidDocument` for what is none, or would not be one of RavenDB's."""
    try:
        found, end = _members(data, 0, 0)
    except (LookupError, ValueError, struct.error, OverflowError) as error:
        raise InvalidDocument(f"it is not BSON: {error}", "send it again") from error
    if end != len(data):
        raise InvalidDocument(f"it is not BSON: it ends after {end:,} of {len(data):,} bytes", "send it again")
    return found


def _members(data: bytes, at: int, depth: int) -> tuple[list[Member], int]:
    """The members of the object that begins here, and where it ends."""
    if depth > MAX_DEPTH:
        raise InvalidDocument(f"it is nested more than {MAX_DEPTH} deep", "store it flatter")
    end = at + _int32(data, at)[0]
    if not at + 4 < end <= len(data):
        raise LookupError(f"the object at byte {at:,} is longer than the document")
    at, found = at + 4, list[Member]()
    while kind := data[at]:
        stop = data.index(0, at + 1, end)
        name, at = _name(data[at + 1 : stop]), stop + 1
        match kind:
            case 0x03:
                inside, at = _members(data, at, depth + 1)
                value = json_of(inside)
            case 0x04:
                inside, at = _members(data, at, depth + 1)
                value = b"[" + b",".join([each.value for each in inside]) + b"]"
            case 0x02 | 0x0D | 0x0E:
                value, at = _text(data, at)
            case _:
                if (read := _VALUES.get(kind)) is None:
                    raise InvalidDocument(
                        f"{name!r} is of BSON's type {kind:#04x}, which RavenDB has not", "leave it out"
                    )
                value, at = read(data, at)
        if at >= end:
            raise LookupError(f"{name!r} goes beyond its object, which ends at byte {end:,}")
        found.append(Member(name, value))
    if at + 1 != end:
        raise LookupError(f"an object ends at byte {at + 1:,}, and not at {end:,}")
    return found, end


@lru_cache(4096)
def _name(name: bytes) -> str:
    return name.decode()


def _text(data: bytes, at: int) -> _Read:
    end = at + 4 + _int32(data, at)[0]
    if end <= at + 4 or data[end - 1]:
        raise LookupError(f"the text at byte {at:,} has no end")
    return _quoted(data[at + 4 : end - 1].decode()), end


def _double(data: bytes, at: int) -> _Read:
    return _double_text(_float64(data, at)[0]), at + 8


def _whole(data: bytes, at: int) -> _Read:
    return str(_int32(data, at)[0]).encode(), at + 4


def _long(data: bytes, at: int) -> _Read:
    return str(_int64(data, at)[0]).encode(), at + 8


def _boolean(data: bytes, at: int) -> _Read:
    return b"true" if data[at] else b"false", at + 1


def _null(data: bytes, at: int) -> _Read:
    return b"null", at


def _object_id(data: bytes, at: int) -> _Read:
    return _quoted(base64.b64encode(data[at : at + 12]).decode()), at + 12


def _date(data: bytes, at: int) -> _Read:
    """Without a zone: what BSON has is milliseconds, and RavenDB takes them as they are."""
    text = (_EPOCH + timedelta(milliseconds=_int64(data, at)[0])).isoformat(timespec="microseconds")
    return b'"%s0"' % text.encode(), at + 8


def _binary(data: bytes, at: int) -> _Read:
    size, kind = _int32(data, at)[0], data[at + 4]
    at += 5
    if kind == 2:  # which says its length twice
        size, at = _int32(data, at)[0], at + 4
    if size < 0:
        raise LookupError(f"there are {size:,} bytes at byte {at:,}")
    found = data[at : at + size]
    guid = kind in _GUIDS and size == 16 == len(found)
    return _quoted(str(UUID(bytes_le=found)) if guid else base64.b64encode(found).decode()), at + size


_VALUES: Final[dict[int, Callable[[bytes, int], _Read]]] = {
    0x01: _double,
    0x05: _binary,
    0x06: _null,
    0x07: _object_id,
    0x08: _boolean,
    0x09: _date,
    0x0A: _null,
    0x10: _whole,
    0x11: _long,
    0x12: _long,
}


def _double_text(number: float) -> bytes:
    """A number as .NET writes it: 15 digits where these are enough to read the same again, and else 17."""
    if number != number or number in (float("inf"), float("-inf")):  # JSON has no such number
        return {"nan": b'"NaN"', "inf": b'"Infinity"', "-inf": b'"-Infinity"'}[str(number)]
    text = f"{number:.15g}"
    if float(text) != number:
        text = f"{number:.17g}"
    return (text.upper() if "." in text or "e" in text else text + ".0").encode()


def json_of(members: Iterable[Member]) -> bytes:
    """These members as a JSON object."""
    return b"{" + b",".join([_key(name) + value for name, value in members]) + b"}"


@lru_cache(4096)
def _key(name: str) -> bytes:
    return _quoted(name) + b":"
