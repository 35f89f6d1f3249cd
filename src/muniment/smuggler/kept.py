"""Sections of RavenDB's dumps that mean nothing here: each item is kept as a document, and an export gives it back.

The ids are documented in `docs/dump-formats.md`. What makes such a document one of these is its metadata as well, which
names the section, so that a user's own document with an id like that stays one.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgspec

from muniment import json_bytes
from muniment.document import check_body, check_id, decode, encode, fold
from muniment.errors import InvalidDocument, InvalidId
from muniment.revision import Revision
from muniment.smuggler.options import EXTENSIONS, WITHOUT_MEANING
from muniment.smuggler.split import split
from muniment.storage.base import Write

SECTION: Final = "Raven-Smuggler-Section"
INDEXES: Final = "Raven/Indexes/"
TRANSFORMERS: Final = "Raven/Transformers/"
OTHERS: Final = "Raven/Smuggler/"
CONTENTS: Final = "Raven/Smuggler/Contents/"  # of the attachments of revisions; the hash follows
RECORD: Final = "DatabaseRecord"
REVISIONS: Final = "RevisionDocuments"
FORGOTTEN: Final = "CompareExchangeTombstones"
MAX_BLOB_BYTES: Final = 32 << 20  # those of RavenDB's time series have 2 KB

_PLACES: Final = {"Indexes": INDEXES, "Transformers": TRANSFORMERS}
_PREFIXES: Final = tuple(fold(prefix) for prefix in (INDEXES, TRANSFORMERS, OTHERS))
_SECTIONS: Final = {name.lower(): name for name in WITHOUT_MEANING | EXTENSIONS}
_MARK: Final = f'"{SECTION}"'.encode()
_BLOB: Final = b',"@raven-blob":"'
_REVISION: Final = b'{"Revision":'


class _Named(msgspec.Struct):
    name: str = msgspec.field(name="Name", default="")


class _Values(msgspec.Struct):
    names: dict[str, Any] = msgspec.field(name="@names", default_factory=dict)


class _Item(msgspec.Struct, rename="pascal"):
    """The members of any item that tell it from all others of its section."""

    doc_id: str = ""
    name: str = ""
    key: str = ""
    subscription_name: str = ""
    hub: str = ""
    thumbprint: str = ""
    baseline: str = ""
    from_: str = msgspec.field(name="From", default="")
    to: str = ""
    index_definition: _Named | None = None
    values: _Values | None = None
    legacy_name: str = msgspec.field(name="name", default="")
    data: _Item | None = msgspec.field(name="@raven-data", default=None)

    def parts(self) -> list[str]:
        """What tells the item from the others, in an order that does not depend on how it is written."""
        if self.data:
            return self.data.parts()
        of_index = self.index_definition.name if self.index_definition else ""
        counters = min(self.values.names, default="") if self.values else ""
        named = (self.doc_id, self.key, self.subscription_name, of_index, self.legacy_name, self.name)
        others = (self.hub, self.thumbprint, self.baseline, self.from_, self.to, counters)
        return [part for part in named + others if part]


class Kept(NamedTuple):
    """An item that a document holds: its section, its bytes, and the raw bytes that follow it in a dump."""

    section: str
    item: bytes
    blob: bytes

    @property
    def legacy(self) -> bool:
        """Whether RavenDB 2 and 3 read it, and later versions do not."""
        if self.section == "Indexes":
            return json_bytes.member_value(self.item, "IndexDefinition") is None
        return self.section == "Transformers"


def kept_name(section: str) -> str | None:
    """The usual spelling of a section whose items can be kept; None for any other."""
    return _SECTIONS.get(section.lower())


def document_of(section: str, item: bytes, blob: bytes | None) -> Write:
    """The write of the document that keeps this item; raises `InvalidDocument` for one that cannot be kept.

    An item that says that another one is gone gives the deletion of that one's document.
    """
    name = kept_name(section)
    assert name is not None
    if item[:1] != b"{":
        raise InvalidDocument(f"an item of {section!r} is JSON, but not an object", "export the dump again")
    if name == FORGOTTEN:
        return Write(_id("CompareExchange", item), None)
    body = item
    if name == REVISIONS:
        body = _REVISION + item + b"}"  # its @metadata would be taken for the document's
    elif blob is not None:
        body = item.rstrip()[:-1] + _BLOB + base64.b64encode(blob) + b'"}'
    check_body(body, f"an item of {section!r}")
    return Write(_id(name, item), body, encode({SECTION: name}))


def _id(section: str, item: bytes) -> str:
    prefix = _PLACES.get(section, f"{OTHERS}{section}/")
    if section == RECORD:
        return OTHERS + RECORD
    parts = _revision_parts(item) if section == REVISIONS else _parts(item)
    id = prefix + "|".join(part.replace("%", "%25").replace("|", "%7C") if len(parts) > 1 else part for part in parts)
    try:
        if parts:
            check_id(id)
            return id
    except InvalidId:  # too long, for one
        pass
    told = "|".join(map(fold, parts)).encode("utf-8", "surrogatepass") if parts else item
    return f"{prefix}{hashlib.sha256(told).hexdigest()}"


def _parts(item: bytes) -> list[str]:
    try:
        return msgspec.json.decode(item, type=_Item).parts()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []


def _revision_parts(item: bytes) -> list[str]:
    found = split(item)
    vector = json_bytes.member_value(found.metadata, "@change-vector")
    return [found.id, json_bytes.text(vector)] if vector is not None else []


def content_key(hash: str) -> str:
    """Under which key the content of an attachment of a revision is kept."""
    return CONTENTS + hash.replace("/", "_").replace("+", "-")


def has_place(id: str) -> bool:
    """Whether this may be the id of a document that keeps an item."""
    return id[:6].lower() == "raven/" and fold(id).startswith(_PREFIXES)


def kept_in(revision: Revision) -> Kept | None:
    """The item that this document keeps; None for any other document."""
    if _MARK not in revision.metadata or not has_place(revision.id) or not revision.body:
        return None
    name = decode(revision.metadata).get(SECTION)
    section = _SECTIONS.get(name.lower()) if isinstance(name, str) else None
    if section is None:
        return None
    body = revision.body.strip()
    if section == REVISIONS:
        return Kept(section, body[len(_REVISION) : -1], b"") if body.startswith(_REVISION) else None
    item, found, blob = body.rpartition(_BLOB)
    if not found:
        return Kept(section, body, b"")
    try:
        return Kept(section, item + b"}", base64.b64decode(blob.removesuffix(b'"}'), validate=True))
    except ValueError:  # somebody has changed it
        return None


_ORDER: Final = (
    RECORD, REVISIONS, "Indexes", "Transformers", "CompareExchange", "CounterGroups", "Counters", "Subscriptions",
    "TimeSeriesDeletedRanges", "TimeSeries", "ReplicationHubCertificates",
)  # fmt: skip


def in_order(sections: Iterable[str]) -> list[str]:
    """These sections as RavenDB writes them, the database record first: it says whether there may be revisions."""
    return sorted(sections, key=_ORDER.index)
