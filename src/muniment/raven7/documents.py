"""Documents as clients of RavenDB 4 and later see and send them: with a member `@metadata`, whose names begin with `@`.

What such a client stores, one of RavenDB 3 reads with `Raven-Entity-Name`, and the other way round: the names are
translated as they are in dumps.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import msgspec

from muniment.attachment import Attachment
from muniment.document import (
    LAST_MODIFIED,
    Document,
    check_body,
    check_id,
    collection_of,
    encode,
    fold,
    metadata_bytes,
    raven_time,
)
from muniment.errors import InvalidDocument
from muniment.owner import content_type
from muniment.raven3.documents import joined
from muniment.raven7.change_vectors import change_vector
from muniment.smuggler.metadata import COLLECTION, HILO, members_of, stored_metadata, words
from muniment.smuggler.split import cut_out
from muniment.storage.base import Write

_SHORT: Final = 2048  # bytes of metadata that is remembered
_EMPTY: Final = b'"@collection":"@empty",'
_OF_HILO: Final = b'"@collection":"@hilo",'


class AttachmentShown(msgspec.Struct, rename="pascal"):
    """An attachment, as the metadata of its document tells of it."""

    name: str
    hash: str
    content_type: str
    size: int


def shown_attachment(attachment: Attachment) -> AttachmentShown:
    """What is told of an attachment; the hash is its SHA-256, in base64."""
    hash = base64.b64encode(bytes.fromhex(attachment.sha256)).decode()
    return AttachmentShown(attachment.name, hash, content_type(attachment.metadata_json), attachment.size)


def with_metadata(document: Document, lineage: str, attachments: Sequence[Attachment] = ()) -> bytes:
    """The document's JSON object with the member `@metadata` at its end."""
    return joined(document.body, b'"@metadata":' + _metadata(document, lineage, attachments))


def only_metadata(document: Document, lineage: str, attachments: Sequence[Attachment] = ()) -> bytes:
    """An object that has nothing but `@metadata`."""
    return b'{"@metadata":' + _metadata(document, lineage, attachments) + b"}"


def _metadata(document: Document, lineage: str, attachments: Sequence[Attachment]) -> bytes:
    of = words(document.metadata_json, legacy=False)
    files = b""
    if attachments:
        listed = msgspec.json.encode([shown_attachment(each) for each in attachments])
        files = b'"@flags":"HasAttachments","@attachments":' + listed + b","
    none = b"" if of.collection else _OF_HILO if fold(document.id).startswith(HILO) else _EMPTY
    return b'{%s%s%s"@change-vector":"%s","@id":%s,"@last-modified":%s}' % (
        of.members,
        none,
        files,
        change_vector(document.etag, lineage).encode(),
        msgspec.json.encode(document.id),
        of.last_modified or msgspec.json.encode(raven_time(document.changed)),
    )


def write_of(id: str, sent: bytes, expected: int | None) -> Write:
    """The write of a document that a client has sent, with `@metadata` in it or not; raises as `command.write_of`."""
    id = numbered(id)
    check_id(id)
    check_body(sent, f"document {id!r}")
    body, shown = cut_out(sent)
    if shown is not None and not shown.startswith(b"{"):
        raise InvalidDocument(f"document {id!r} has @metadata that is not an object", "send an object, or none")
    shown, hilo = shown or b"{}", fold(id).startswith(HILO)
    metadata = kept(shown, hilo) if len(shown) < _SHORT else kept.__wrapped__(shown, hilo)
    return Write(id, body, metadata, collection_of(metadata), expected)


def numbered(id: str) -> str:
    """The id; in place of `|` at its end, by which RavenDB is asked for the next number, what asks for it here."""
    return f"{id[:-1].rstrip('/')}/" if id.endswith("|") else id


@lru_cache(4096)
def kept(shown: bytes, hilo: bool) -> bytes:
    """The metadata to store for what a client shows; what the server tells of documents itself is left out."""
    metadata_bytes(shown)  # raises for what is none
    stored = members_of(stored_metadata(shown, later=True, hilo=hilo))
    left_out = {LAST_MODIFIED.lower(), COLLECTION}
    return encode({name: value for name, value in stored.items() if name.lower() not in left_out})
