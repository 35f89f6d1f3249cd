"""Metadata in a dump and metadata as it is stored: RavenDB 4 and later have other names for some of it.

They use names with `@`; RavenDB 2 and 3 use the names under which Muniment stores metadata. Both directions are here:
`stored_metadata` turns a dump's metadata into stored metadata, `words` the reverse. Values keep their bytes. Most
documents of a collection differ only in id and time, so the conversion of the rest is cached.
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
    collection_of,
    decode,
    encode,
    from_microseconds,
    raven_time,
    without_time_kept,
)

EXPIRES: Final = "Raven-Expiration-Date"
COLLECTION: Final = "@collection"  # stored under this name if its value is not the name of a collection
# Prefixes a user's member in RavenDB 4 and later that has the name of one of RavenDB 3's own members.
OWN: Final = "Own-"
HILO: Final = "raven/hilo/"
# Internals of RavenDB 4 and later; our etags and attachments hold the same, or they mean nothing here.
INTERNAL: Final = frozenset(
    {"@id", "@etag", "@change-vector", "@flags", "@attachments", "@counters", "@timeseries", "@index-score"}
    | {"raven-last-modified", "non-authoritative-information"}
)
_OF_NONE: Final = "@empty"
_OF_HILO: Final = "@hilo"
_LATER: Final = frozenset({COLLECTION, "@last-modified", "@change-vector"})  # only RavenDB 4 and later write these
_RENAMED: Final = {ENTITY_NAME.lower(): COLLECTION, EXPIRES.lower(): "@expires"}

_CACHED_BYTES: Final = 2048
_ANY: Final = b'"\x7f"'  # stands for a value that differs from document to document
LAST_MODIFIED_MARK: Final = f'"{LAST_MODIFIED}":"'.encode()
_ESCAPED: Final = bytes(range(32)) + b'"\\'
_escaped_any = re.compile(rb"\\u007f", re.IGNORECASE).search  # a member's name is stored without escapes
_varying = re.compile(rb'"@(id|change-vector|last-modified)": ?"[^"\\]*"')
_of_hilo = re.compile(rb'"@id": ?"%s' % HILO.encode(), re.IGNORECASE).search
_last_modified = re.compile(rb'"@last-modified": ?("[^"\\]*")')
_is_own = re.compile(
    "(?:own-)*(?:raven-entity-name|raven-expiration-date|last-modified|raven-last-modified|non-authoritative-information)"
).fullmatch  # a lower-case name that users of RavenDB 4 and later may give a member, but that has a meaning here
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.encode


def members_of(metadata: bytes) -> Mapping[str, Any]:
    """The members with their values as raw JSON; if there is a lone surrogate, with the values that Python reads."""
    try:
        return _members.decode(metadata)
    except msgspec.DecodeError:
        members: dict[str, Any] = decode(metadata)
        return members


def _value(value: Any) -> Any:
    return decode(value) if isinstance(value, msgspec.Raw) else value


def _text(value: Any) -> str:
    found = _value(value)
    return found if isinstance(found, str) else ""


class Kept(NamedTuple):
    """The metadata of a dump as it is stored, and the collection that it names."""

    metadata: bytes
    collection: str | None


class Template(NamedTuple):
    """Stored metadata without the last-modified time, which comes between the two parts."""

    before: bytes
    after: bytes | None
    collection: str | None


def kept_metadata(metadata: bytes) -> Kept:
    """`stored_metadata` and the collection that it names, cached for documents that differ only in id and time."""
    template = template_of(metadata)
    if template is None:
        stored = stored_metadata(metadata)
        return Kept(stored, collection_of(stored))
    before, after, collection = template
    if after is None:
        return Kept(before, collection)
    time = _last_modified.search(metadata)
    assert time is not None
    return Kept(before + time[1] + after, collection)


def template_of(metadata: bytes) -> Template | None:
    """That of metadata that differ from these only in id, change vector and time; None where each has its own."""
    if len(metadata) > _CACHED_BYTES:
        return None
    return _template(tuple(_varying.split(metadata)), _of_hilo(metadata) is not None)


@lru_cache(4096)
def _template(pieces: tuple[bytes, ...], hilo: bool) -> Template | None:
    """The template for metadata that varies only between the pieces; None unless each varying member occurs once."""
    names = pieces[1::2]
    members = [b'"@%s":%s' % (name, _ANY) for name in names]
    metadata = b"".join(piece for pair in zip(pieces[::2], [*members, b""], strict=True) for piece in pair)
    own = members_of(metadata)
    if len(set(names)) < len(names) or any(own.get(f"@{name.decode()}") != msgspec.Raw(_ANY) for name in names):
        return None
    if metadata.count(_ANY) != len(names) or _escaped_any(metadata):
        return None
    stored = stored_metadata(metadata, hilo=hilo)
    before, found, after = stored.partition(_ANY)
    return Template(before, after if found else None, collection_of(stored))


def stored_metadata(metadata: bytes, *, later: bool | None = None, hilo: bool | None = None) -> bytes:
    """The metadata of a dump as it is stored: `@collection` becomes `Raven-Entity-Name`, internals are left out.

    `later`: it is from RavenDB 4 or later, where users may use our names for members of their own. `hilo`: it is that
    of a document in `Raven/Hilo/`. When None, both are found from the metadata.
    """
    members = members_of(metadata)
    if later is None:
        later = any(name.lower() in _LATER for name in members)
    if hilo is None:
        hilo = _text(members.get("@id")).lower().startswith(HILO)
    kept: dict[str, Any] = {}
    reserve = None
    for name, value in members.items():
        match name.lower():
            case "@collection":
                _keep_collection(kept, value, _OF_HILO if hilo else _OF_NONE)
            case "@last-modified":
                kept.setdefault(LAST_MODIFIED, value)
            case "@expires":
                kept.setdefault(EXPIRES, value)
            case lowered if later and _is_own(lowered):
                kept[OWN + name] = value
            case "raven-last-modified":
                reserve = value
            case lowered if lowered not in INTERNAL:
                kept[name] = value
    if later and "@collection" not in members:
        kept[COLLECTION] = None
    if reserve is not None and not any(name.lower() == LAST_MODIFIED.lower() for name in kept):
        kept[LAST_MODIFIED] = reserve
    return encode(kept)


def _keep_collection(kept: dict[str, Any], value: Any, usual: str) -> None:
    """Store a collection's name under our name; drop RavenDB's name for none; keep anything else as it is."""
    text = _text(value)
    if text and text not in (_OF_NONE, _OF_HILO):
        kept.setdefault(ENTITY_NAME, value)
    elif text != usual:
        kept[COLLECTION] = value


class Words(NamedTuple):
    """Metadata without the id: its members, each followed by a comma, and its last-modified time as JSON, if any.

    `collection`: whether it names a collection.
    """

    members: bytes
    last_modified: bytes | None
    collection: bool


def words(metadata: bytes, legacy: bool) -> Words:
    """A document's metadata as written in a dump of RavenDB 4 and later, or of 2 and 3 (`legacy`)."""
    metadata, kept = without_time_kept(metadata, 0)
    if kept:
        of = words(metadata, legacy)
        return of if of.last_modified else of._replace(last_modified=time_json(kept))
    if len(metadata) > _CACHED_BYTES:
        return _words(metadata, legacy)
    at = metadata.find(LAST_MODIFIED_MARK)
    if at < 0:
        return _cached(metadata, legacy)
    # The time is cut out, so that the rest is the same for many documents.
    start = at + len(LAST_MODIFIED_MARK)
    end = metadata.find(b'"', start)
    time = metadata[start - 1 : end + 1]
    if b"\\" not in time and (rest := _around(metadata[: start - 1], metadata[end + 1 :], legacy)):
        return rest._replace(last_modified=time)
    return _words(metadata, legacy)  # what looked like the time belongs to something else


def words_of_kind(metadata: bytes, start: int, end: int) -> Words | None:
    """The words for RavenDB 4 and later of all metadata that have any other string from `start` to `end`, if any there.

    There is no time in them where it is that string. None where the words may depend on the string in another way.
    """
    if without_time_kept(metadata, 0)[1]:
        return None
    if not end:
        return _cached(metadata, legacy=False)
    of = _around(metadata[:start], metadata[end:], legacy=False)
    return of and of._replace(last_modified=None)


@lru_cache(4096)
def _around(before: bytes, after: bytes, legacy: bool) -> Words | None:
    """The words of metadata with any time between these; None where what stands there is not the time, or not only."""
    metadata = before + _ANY + after
    if metadata.count(_ANY) > 1 or _escaped_any(metadata):
        return None
    of = _words(metadata, legacy)
    return of if of.last_modified == _ANY else None


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
        if renamed == COLLECTION and not _text(value):
            renamed = None
        if name == COLLECTION:
            collection = not legacy
            if legacy or _value(value) is None:
                continue
        if not legacy and lowered.startswith(OWN.lower()) and _is_own(lowered[len(OWN) :]):
            renamed = name[len(OWN) :]
        collection = collection or renamed == COLLECTION
        kept[name if renamed is None or renamed in kept else renamed] = value
    members = encode(kept)[1:-1] + b"," if kept else b""
    return Words(members, last_modified, collection)


@lru_cache(4096)
def time_json(modified: int) -> bytes:
    """A time in microseconds as the JSON string that RavenDB writes."""
    return b'"' + raven_time(from_microseconds(modified)).encode() + b'"'


def ids_json(ids: Iterable[bytes], column: bytes) -> list[bytes]:
    """The JSON string of each id; `column` is all ids in one piece, to check them at once for escapes."""
    if bare(column):
        return [b'"' + id + b'"' for id in ids]
    return [_encode(id.decode()) for id in ids]


def bare(column: bytes) -> bool:
    """Whether these are strings that JSON has without an escape."""
    return len(column.translate(None, _ESCAPED)) == len(column)
