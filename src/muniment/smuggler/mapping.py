"""The metadata of a dump and the metadata that is kept: RavenDB 4 and later have other words for some of it."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from muniment.document import ENTITY_NAME, LAST_MODIFIED, decode, encode
from muniment.smuggler.words import EXPIRES, members_of

# RavenDB 4 and later keep these for themselves; what they say is in our etags and attachments, or means nothing here.
INTERNAL: Final = frozenset(
    {"@id", "@etag", "@change-vector", "@flags", "@attachments", "@counters", "@timeseries", "@index-score"}
    | {"raven-last-modified", "non-authoritative-information"}
)
_NO_COLLECTION: Final = ("@empty", "@hilo")


def stored_metadata(metadata: bytes) -> bytes:
    """The metadata of a dump as it is kept: `@collection` becomes `Raven-Entity-Name`, internals are left out."""
    kept: dict[str, Any] = {}
    for name, value in members_of(metadata).items():
        match name.lower():
            case "@collection":
                if (decode(value) if isinstance(value, msgspec.Raw) else value) not in _NO_COLLECTION:
                    kept.setdefault(ENTITY_NAME, value)
            case "@last-modified":
                kept.setdefault(LAST_MODIFIED, value)
            case "@expires":
                kept.setdefault(EXPIRES, value)
            case lowered if lowered not in INTERNAL:
                kept[name] = value
    return encode(kept)
