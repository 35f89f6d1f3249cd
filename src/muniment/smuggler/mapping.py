"""The metadata of a dump and the metadata that is kept: RavenDB 4 and later have other words for some of it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from muniment.document import ENTITY_NAME, LAST_MODIFIED, collection_of, decode, encode
from muniment.smuggler.words import COLLECTION, EXPIRES, HILO, OWN, is_own, members_of

# RavenDB 4 and later keep these for themselves; what they say is in our etags and attachments, or means nothing here.
INTERNAL: Final = frozenset(
    {"@id", "@etag", "@change-vector", "@flags", "@attachments", "@counters", "@timeseries", "@index-score"}
    | {"raven-last-modified", "non-authoritative-information"}
)
_OF_NONE: Final = "@empty"
_OF_HILO: Final = "@hilo"
_LATER: Final = frozenset({COLLECTION, "@last-modified", "@change-vector"})  # what only RavenDB 4 and later write

_CACHED_BYTES: Final = 2048
_ANY: Final = b'"\x7f"'  # stands for a value that differs from document to document
_varying = re.compile(rb'"@(id|change-vector|last-modified)":"[^"\\]*"')
_of_hilo = re.compile(rb'"@id":"%s' % HILO.encode(), re.IGNORECASE).search
_last_modified = re.compile(rb'"@last-modified":("[^"\\]*")')


class Kept(NamedTuple):
    """The metadata of a dump as it is kept, and the collection that it names."""

    metadata: bytes
    collection: str | None


class _Template(NamedTuple):
    """What is kept of metadata, but for the last-modified time, which comes between the two parts."""

    before: bytes
    after: bytes | None
    collection: str | None


def kept_metadata(metadata: bytes) -> Kept:
    """`stored_metadata` and the collection that it names, for many documents that differ in little."""
    template = None
    if len(metadata) <= _CACHED_BYTES:
        template = _template(tuple(_varying.split(metadata)), _of_hilo(metadata) is not None)
    if template is None:
        stored = stored_metadata(metadata)
        return Kept(stored, collection_of(stored))
    before, after, collection = template
    if after is None:
        return Kept(before, collection)
    time = _last_modified.search(metadata)
    assert time is not None
    return Kept(before + time[1] + after, collection)


@lru_cache(4096)
def _template(pieces: tuple[bytes, ...], hilo: bool) -> _Template | None:
    """Metadata with names in the place of members that vary; None unless these members are its own, and each once."""
    names = pieces[1::2]
    members = [b'"@%s":%s' % (name, _ANY) for name in names]
    metadata = b"".join(piece for pair in zip(pieces[::2], [*members, b""], strict=True) for piece in pair)
    own = members_of(metadata)
    if len(set(names)) < len(names) or any(own.get(f"@{name.decode()}") != msgspec.Raw(_ANY) for name in names):
        return None
    if metadata.count(_ANY) != len(names):
        return None
    stored = stored_metadata(metadata, hilo=hilo)
    before, found, after = stored.partition(_ANY)
    return _Template(before, after if found else None, collection_of(stored))


def stored_metadata(metadata: bytes, *, later: bool | None = None, hilo: bool | None = None) -> bytes:
    """The metadata of a dump as it is kept: `@collection` becomes `Raven-Entity-Name`, internals are left out.

    `later` says that it is of RavenDB 4 or later, in which our names for these are ordinary words of users, and `hilo`
    that it is that of a document in `Raven/Hilo/`; both are found out of the metadata if nobody says so.
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
            case lowered if later and is_own(lowered):
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
    """A name becomes our own; what RavenDB calls the lack of one needs not be kept, and anything else stays."""
    text = _text(value)
    if text and text not in (_OF_NONE, _OF_HILO):
        kept.setdefault(ENTITY_NAME, value)
    elif text != usual:
        kept[COLLECTION] = value


def _text(value: Any) -> str:
    found = decode(value) if isinstance(value, msgspec.Raw) else value
    return found if isinstance(found, str) else ""
