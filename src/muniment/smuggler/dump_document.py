"""A document as a dump has it: its own bytes, with its metadata put in. `muniment.smuggler.split` does the reverse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from muniment.document import encode, metadata_bytes
from muniment.errors import InvalidDocument
from muniment.revision import Batch, Revision
from muniment.smuggler.metadata import HILO, Words, ids_json, members_of, time_json, words
from muniment.smuggler.split import cut_out

_MAY_BE_EMPTY: Final = (b"{", b" ", b"\t", b"\r", b"\n")


def dump_documents(batch: Batch, *, legacy: bool = False) -> Iterator[bytes]:
    """The documents of a batch as a dump has them; none may have a member `@metadata` of its own."""
    ids = ids_json(batch.ids.values(), batch.ids.data)
    columns = zip(ids, batch.metadata.values(), batch.modified, batch.bodies.values(), strict=True)
    for id, metadata, modified, body in columns:
        yield _joined(id, words(metadata, legacy), modified, body, legacy)


def dump_document(revision: Revision, named: list[dict[str, Any]], *, legacy: bool = False) -> bytes:
    """A document as a dump has it, with the `named` attachments in its metadata."""
    metadata, body = with_own_metadata(repr(revision.id), revision.metadata, revision.body or b"")
    id = encode(revision.id)
    of = words(metadata, legacy)
    if named:
        members = b'"@attachments":' + encode(named) + b"," + of.members + b'"@flags":"HasAttachments",'
        of = Words(members, of.last_modified, of.collection)
    return _joined(id, of, revision.modified, body, legacy)


def _joined(id: bytes, of: Words, modified: int, body: bytes, legacy: bool) -> bytes:
    members, last_modified, collection = of
    if legacy:
        # RavenDB 3 shows the second, later versions keep the first.
        time = last_modified or time_json(modified)
        id_name, time_name = b'"@id":', b',"Raven-Last-Modified":' + time + b',"Last-Modified":'
    else:
        id_name, time_name = b'"@id":', b',"@last-modified":'
        if not collection:
            hilo = id[1 : len(HILO) + 1].lower() == HILO.encode()
            id_name = b'"@collection":"@hilo","@id":' if hilo else b'"@collection":"@empty","@id":'
    time = last_modified or time_json(modified)
    head = body[:-1]
    if body[-1:] != b"}" or body[-2:-1] in _MAY_BE_EMPTY:
        head = body.rstrip()[:-1]
        name = b'"@metadata":{' if head.strip() == b"{" else b',"@metadata":{'
    else:
        name = b',"@metadata":{'
    return b"".join((head, name, members, id_name, id, time_name, time, b"}}"))


def with_own_metadata(id: str, metadata: bytes, body: bytes) -> tuple[bytes, bytes]:
    """The metadata and body to write of a document, whose body may have a member `@metadata` of its own.

    Such a member is merged into the metadata, as for documents that are stored now. Raises `InvalidDocument` for one
    that is not an object.
    """
    rest, own = cut_out(body)
    if own is None:
        return metadata, body
    if not own.startswith(b"{"):
        raise InvalidDocument(
            f"document {id} has a member @metadata that is not an object, which a dump cannot hold",
            "rename the member, or leave the document out",
        )
    return encode({**members_of(metadata_bytes(own)), **members_of(metadata)}), rest
