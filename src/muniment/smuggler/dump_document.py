"""A document as a dump has it: its own bytes, with its metadata put in. `muniment.smuggler.split` does the reverse."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from muniment import native
from muniment.document import encode, metadata_bytes
from muniment.errors import InvalidDocument
from muniment.revision import Batch, Packed, Revision
from muniment.smuggler.metadata import (
    HILO,
    LAST_MODIFIED_MARK,
    Words,
    bare,
    ids_json,
    members_of,
    time_json,
    words,
    words_of_kind,
)
from muniment.smuggler.split import cut_out

TOGETHER: Final = 512  # documents, so that memory does not hold all of a batch a second time
_OF_NONE: Final = b'"@collection":"@empty",'
_MAY_BE_EMPTY: Final = (b"{", b" ", b"\t", b"\r", b"\n")


def dumped(batch: Batch, separator: bytes, *, legacy: bool = False) -> Iterator[bytes]:
    """The documents of a batch as a dump has them, with a separator of one byte between them; in one or more pieces,
    between which one belongs too.

    None of them may have a member `@metadata` of its own.
    """
    whole = None if legacy else _in_c(batch, separator)
    if whole is not None:
        yield whole
        return
    documents = dump_documents(batch, legacy=legacy)
    while group := list(islice(documents, TOGETHER)):
        yield separator.join(group)


def _in_c(batch: Batch, separator: bytes) -> bytes | None:
    """The same as one piece, None where it is to be done in Python."""
    library = native.load()
    alike = library.alike(batch.metadata, LAST_MODIFIED_MARK) if library else None
    if library is None or alike is None:
        return None
    hilos, timeless = HILO.encode() in batch.ids.data.lower(), False
    words: list[tuple[bytes, bytes | None]] = []
    for row in alike.firsts:
        start, end = alike.strings[2 * row : 2 * row + 2]
        offsets = batch.metadata.offsets
        of = words_of_kind(batch.metadata.data[offsets[row] : offsets[row + 1]], start, end)
        if of is None or (hilos and not of.collection):
            return None
        timeless = timeless or not (end or of.last_modified)
        words.append((of.members + (b"" if of.collection else _OF_NONE), of.last_modified))
    ids, plain = batch.ids, bare(batch.ids.data)
    if not plain:
        ids = Packed.of(ids_json(ids.values(), ids.data))
    none = Packed(array("i", bytes(batch.ids.offsets.itemsize * (len(batch) + 1))), b"")
    times = Packed.of(map(time_json, batch.modified)) if timeless else none
    return library.dump((batch.bodies, ids, batch.metadata, times), alike, words, separator, bare=plain)


def dump_documents(batch: Batch, *, legacy: bool = False) -> Iterator[bytes]:
    """Each of the documents of a batch by itself."""
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
            id_name = b'"@collection":"@hilo","@id":' if hilo else _OF_NONE + id_name
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
