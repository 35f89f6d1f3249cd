"""Documents inside an answer: their bytes as they were stored, with `@metadata` put in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from muniment.document import Document, decode, encode, is_reserved, raven_time
from muniment.server.wire import etag_text

_LAST_MODIFIED: Final = b"Last-Modified"
_OWN: Final = (
    b'"@id":%s,"@etag":"%s","Last-Modified":"%s","Raven-Last-Modified":"%s","Non-Authoritative-Information":false'
)


def with_metadata(document: Document) -> bytes:
    """The document's JSON object with the member `@metadata` at its end."""
    return _joined(document.body, b'"@metadata":' + _metadata(document))


def only_metadata(document: Document) -> bytes:
    """An object that has nothing but `@metadata`."""
    return b'{"@metadata":' + _metadata(document) + b"}"


def array(items: Iterable[bytes]) -> bytes:
    """A JSON array of what is JSON already."""
    return b"[" + b",\n".join(items) + b"]"


def _metadata(document: Document) -> bytes:
    stored = document.metadata_json
    if _LAST_MODIFIED in stored:  # kept from where the document was imported; told once, at the end
        members = decode(stored)
        stored = encode({name: value for name, value in members.items() if not is_reserved(name)})
    changed = raven_time(document.changed)
    own = (
        b'"@id":%s,"@etag":"%s","Last-Modified":"%s","Raven-Last-Modified":"%s","Non-Authoritative-Information":false'
        % (
            msgspec.json.encode(document.id),
            etag_text(document.etag).encode(),
            document.last_modified.encode(),
            changed.encode(),
        )
    )
    return _joined(stored, own)


def _joined(value: bytes, members: bytes) -> bytes:
    """A JSON object with more members at its end."""
    head = value.rstrip(b" \t\r\n")[:-1]
    if head.endswith((b"{", b" ", b"\t", b"\r", b"\n")) and head.strip(b" \t\r\n") == b"{":
        return head + members + b"}"
    return head + b"," + members + b"}"
