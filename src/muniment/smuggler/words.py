"""Stored metadata in RavenDB's words: the inverse of what an import makes of the metadata in a dump.

RavenDB 4 and later name things with `@`; RavenDB 2 and 3 have the names under which Muniment stores them. Values keep
their bytes. Most documents of a collection differ only in id and time, so what is made of the rest is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from muniment.document import (
    ENTITY_NAME,
    LAST_MODIFIED,
    decode,
    encode,
    from_microseconds,
    raven_time,
    without_time_kept,
)

EXPIRES: Final = "Raven-Expiration-Date"
COLLECTION: Final = "@collection"  # kept under this name if it is not the name of one
# Before what users of RavenDB 4 and later have called as we call what is RavenDB's.
OWN: Final = "Own-"
HILO: Final = "raven/hilo/"
_LAST_MODIFIED: Final = f'"{LAST_MODIFIED}":"'.encode()
_CACHED_BYTES: Final = 2048
_ESCAPED: Final = bytes(range(32)) + b'"\\'
_RENAMED: Final = {ENTITY_NAME.lower(): "@collection", EXPIRES.lower(): "@expires"}
_own = re.compile(
    "(?:own-)*(?:raven-entity-name|raven-expiration-date|last-modified|raven-last-modified|non-authoritative-information)"
).fullmatch
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.encode


class Words(NamedTuple):
    """Metadata without the id: its members, each before a comma, and the JSON of its last-modified time if it has one.

    `collection` says whether it names a collection.
    """

    members: bytes
    last_modified: bytes | None
    collection: bool


def members_of(metadata: bytes) -> Mapping[str, Any]:
    """The members with their values as they are written; with a lone surrogate somewhere, as Python reads them."""
    try:
        return _members.decode(metadata)
    except msgspec.DecodeError:
        members: dict[str, Any] = decode(metadata)
        return members


def is_own(name: str) -> bool:
    """Whether a name in lower case is one that users of RavenDB 4 and later may give, and that means something here."""
    return _own(name) is not None


def words(metadata: bytes, legacy: bool) -> Words:
    """What a document's metadata is called in a dump of RavenDB 4 and later, or of 2 and 3 (`legacy`)."""
    metadata, kept = without_time_kept(metadata, 0)
    if kept:
        of = words(metadata, legacy)
        return of if of.last_modified else of._replace(last_modified=time_json(kept))
    if len(metadata) > _CACHED_BYTES:
        return _words(metadata, legacy)
    at = metadata.find(_LAST_MODIFIED)
    if at < 0:
        return _cached(metadata, legacy)
    # The time is cut out, so that what is left is the same for many documents.
    start = at + len(_LAST_MODIFIED)
    end = metadata.find(b'"', start)
    time = metadata[start - 1 : end + 1]
    if b"\\" not in time:
        rest = _cached(metadata[:start] + metadata[end:], legacy)
        if rest.last_modified == b'""':
            return Words(rest.members, time, rest.collection)
    return _words(metadata, legacy)  # what looked like the time belongs to something else


@lru_cache(4096)
def _cached(metadata: bytes, legacy: bool) -> Words:
    return _words(metadata, legacy)


def _words(metadata: bytes, legacy: bool) -> Words:
    kept: dict[str, Any] = {}
    last_modified, collection = None, False
    for name, value in members_of(metadata).items():
        lowered = name.lower()
        if lowered == LAST_MODIFIED.lower() and last_modified is None:
            last_modified = encode(value)
            continue
        renamed = None if legacy else _RENAMED.get(lowered)
        if renamed == COLLECTION and not _is_name(value):
            renamed = None
        if name == COLLECTION:
            collection = not legacy
            if legacy or _is_null(value):
                continue
        if not legacy and lowered.startswith(OWN.lower()) and is_own(lowered[len(OWN) :]):
            renamed = name[len(OWN) :]
        collection = collection or renamed == COLLECTION
        kept[name if renamed is None or renamed in kept else renamed] = value
    members = encode(kept)[1:-1] + b"," if kept else b""
    return Words(members, last_modified, collection)


def _is_null(value: Any) -> bool:
    return (decode(value) if isinstance(value, msgspec.Raw) else value) is None


def _is_name(value: Any) -> bool:
    text = decode(value) if isinstance(value, msgspec.Raw) else value
    return isinstance(text, str) and bool(text)


@lru_cache(4096)
def time_json(modified: int) -> bytes:
    """A time in microseconds as the JSON string that RavenDB writes."""
    return b'"' + raven_time(from_microseconds(modified)).encode() + b'"'


def ids_json(ids: Iterable[bytes], column: bytes) -> list[bytes]:
    """The JSON string of each id; `column` is all of them in one piece, which can be looked at once."""
    if len(column.translate(None, _ESCAPED)) == len(column):
        return [b'"' + id + b'"' for id in ids]
    return [_encode(id.decode()) for id in ids]
