"""Documents inside an answer: joined with their metadata by a server, and cut apart by a client.

A server puts a member `@metadata` into a document's bytes: the stored metadata, followed by the server's own members.
A client cuts them apart where they were joined, so that no byte of either is rewritten.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Final

import msgspec

from muniment import json_bytes
from muniment.document import LAST_MODIFIED, Document, decode, encode, is_reserved, raven_time
from muniment.json_bytes import Malformed
from muniment.raven3.etags import etag_number, etag_text
from muniment.raven3.times import time_of

_ID: Final = b'"@id":'
_LAST_MODIFIED: Final = LAST_MODIFIED.encode()
_SHORT: Final = 2048  # bytes of metadata that is remembered


class _Joined(msgspec.Struct, gc=False):
    metadata: msgspec.Raw = msgspec.field(name="@metadata", default=msgspec.Raw(b""))


class _Said(msgspec.Struct, gc=False):
    """What the server says of a document, in its metadata."""

    id: str = msgspec.field(name="@id", default="")
    etag: str = msgspec.field(name="@etag", default="")
    modified: str = msgspec.field(name="Last-Modified", default="")
    raven_modified: str = msgspec.field(name="Raven-Last-Modified", default="")


_decode_joined = msgspec.json.Decoder(_Joined).decode
_said = msgspec.json.Decoder(_Said).decode
_names = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def with_metadata(document: Document) -> bytes:
    """The document's JSON object with the member `@metadata` at its end."""
    return joined(document.body, b'"@metadata":' + _metadata(document))


def only_metadata(document: Document) -> bytes:
    """An object that has nothing but `@metadata`."""
    return b'{"@metadata":' + _metadata(document) + b"}"


def array(items: Iterable[bytes]) -> bytes:
    """A JSON array of values that are JSON already."""
    return b"[" + b",\n".join(items) + b"]"


def _metadata(document: Document) -> bytes:
    stored = document.metadata_json
    changed = modified = raven_time(document.changed)
    if _LAST_MODIFIED in stored:
        modified = document.last_modified
    begin = _begin(stored) if len(stored) < _SHORT else _begin.__wrapped__(stored)
    rest = f'"@etag":"{etag_text(document.etag)}","Last-Modified":"{modified}","Raven-Last-Modified":"{changed}"'
    return b'%s"@id":%s,%s,"Non-Authoritative-Information":false}' % (
        begin,
        msgspec.json.encode(document.id),
        rest.encode(),
    )


@lru_cache(2048)
def _begin(stored: bytes) -> bytes:
    """Stored metadata up to where the server's members follow: many documents have the same."""
    if _LAST_MODIFIED in stored:  # kept from where the document was imported; told once, at the end
        members = decode(stored)
        stored = encode({name: value for name, value in members.items() if not is_reserved(name)})
    return _open_end(stored)


def joined(value: bytes, members: bytes) -> bytes:
    """A JSON object with more members at its end."""
    return b"%s%s}" % (_open_end(value), members)


def _open_end(value: bytes) -> bytes:
    """A JSON object up to where more members can follow."""
    head = value.rstrip(b" \t\r\n")[:-1]
    if head.endswith((b"{", b" ", b"\t", b"\r", b"\n")) and head.strip(b" \t\r\n") == b"{":
        return head
    return head + b","


def results_of(answer: bytes) -> list[Document | None]:
    """The documents of an answer to a multi-get, None for each that does not exist; raises `Malformed`."""
    with _told_as_malformed():
        results = json_bytes.member_value(answer, "Results")
        if results is None:
            raise Malformed("has no Results")
        return documents_of(results)


def documents_of(array: bytes) -> list[Document | None]:
    """The documents of a JSON array, None for each null in it; raises `Malformed`."""
    with _told_as_malformed():
        json_bytes.check(array)
        if array[:1] != b"[":
            raise Malformed("is not an array")
        return [None if item == b"null" else document_of(item) for item in json_bytes.elements(array)]


@contextmanager
def _told_as_malformed() -> Iterator[None]:
    try:
        yield
    except (IndexError, ValueError, msgspec.DecodeError) as error:
        raise Malformed(str(error)) from error


def document_of(item: bytes) -> Document:
    """The document of one result."""
    body, metadata = _cut(item)
    stored, said = _stored(metadata)
    changed = time_of(said.raven_modified or said.modified)
    if said.modified and time_of(said.modified) != changed and LAST_MODIFIED.encode() not in stored:
        stored = _with_time(stored, said.modified)
    return Document(said.id, etag_number(said.etag), changed, stored, body)


def _cut(item: bytes) -> tuple[bytes, bytes]:
    """Body and metadata: nearly always the metadata stands last, where it needs no search."""
    try:
        metadata = bytes(_decode_joined(item).metadata)
    except msgspec.DecodeError:
        metadata = json_bytes.member_value(item, "@metadata") or b""
    if not metadata:
        raise Malformed("has a document without @metadata")
    tail = b'"@metadata":' + metadata + b"}"
    if item.endswith(tail):
        body = item[: -len(tail)]
        return (body[:-1] if body.endswith(b",") else body) + b"}", metadata
    [*_, member] = [member for member in json_bytes.members(item) if member.name == "@metadata"]
    return json_bytes.without_member(item, member), metadata


def _stored(metadata: bytes) -> tuple[bytes, _Said]:
    """The stored metadata, and what the server has added to it.

    `"@id":` cannot be inside a JSON string, where a quote has a backslash before it; so if all that follows its last
    occurrence is the server's, the rest is what was stored.
    """
    if (start := metadata.rfind(_ID)) > 0:
        tail = b"{" + metadata[start:]
        try:
            if all(map(is_reserved, _names(tail))) and metadata[start - 1] in b"{,":
                return (metadata[: start - 1] if start > 1 else b"{") + b"}", _said(tail)
        except msgspec.DecodeError:
            pass
    return _rebuilt(metadata)


def _rebuilt(metadata: bytes) -> tuple[bytes, _Said]:
    members = list(json_bytes.members(metadata))
    stored = b",".join(metadata[m.start : m.end] for m in members if not is_reserved(m.name))
    said = b",".join(metadata[m.start : m.end] for m in members if is_reserved(m.name))
    return b"{" + stored + b"}", _said(b"{" + said + b"}")


def _with_time(stored: bytes, modified: str) -> bytes:
    """Put back the time that an imported document keeps in its metadata; the server sends it among its own members."""
    comma = b"," if stored[1:-1].strip() else b""
    return stored[:-1] + comma + b'"%s":%s}' % (LAST_MODIFIED.encode(), encode(modified))
