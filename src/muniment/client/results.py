"""Documents out of the JSON of an answer, with the very bytes that were stored.

A server answers with a document's bytes, into which it has put a member `@metadata`: what is stored as metadata, and
then what the server itself says of the document. Both are cut apart where they were joined, and never written anew.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

import msgspec

from muniment.client.wire import Response, etag_number, unexpected
from muniment.document import LAST_MODIFIED, Document, encode, is_reserved
from muniment.smuggler import grammar
from muniment.smuggler.grammar import Malformed, Member

# RavenDB's times have seven digits of a second, Python's at most six.
_time = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,6})\d*)?(Z|[+-]\d\d:?\d\d)?")
_ID: Final = b'"@id":'


class _Joined(msgspec.Struct, gc=False):
    metadata: msgspec.Raw = msgspec.field(name="@metadata", default=msgspec.Raw(b""))


class _Said(msgspec.Struct, gc=False):
    """What the server says of a document, in its metadata."""

    id: str = msgspec.field(name="@id", default="")
    etag: str = msgspec.field(name="@etag", default="")
    modified: str = msgspec.field(name="Last-Modified", default="")
    raven_modified: str = msgspec.field(name="Raven-Last-Modified", default="")


_joined = msgspec.json.Decoder(_Joined).decode
_said = msgspec.json.Decoder(_Said).decode
_names = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


def results_of(response: Response) -> list[Document | None]:
    """The documents of an answer to a multi-get, None for each that does not exist."""
    try:
        results = grammar.member_value(response.body, "Results")
        if results is None:
            raise unexpected("the server's answer has no Results")
        return documents_of(results)
    except (IndexError, Malformed) as error:
        raise unexpected(f"the server's answer can not be understood: {error}") from error


def documents_of(array: bytes) -> list[Document | None]:
    """The documents of a JSON array, None for each null in it."""
    try:
        grammar.check(array)
        if array[:1] != b"[":
            raise Malformed("is not an array")
        return [None if item == b"null" else document_of(item) for item in _items(array)]
    except (IndexError, ValueError, Malformed, msgspec.DecodeError) as error:
        raise unexpected(f"the server's answer can not be understood: {error}") from error


def _items(array: bytes) -> list[bytes]:
    try:
        return [bytes(item) for item in _list(array)]
    except msgspec.DecodeError:  # half a surrogate pair, which JSON allows and msgspec does not
        return list(_scanned_items(array))


def _scanned_items(array: bytes) -> list[bytes]:
    items: list[bytes] = []
    start = grammar.skip_space(array, 1)
    while array[start : start + 1] not in (b"]", b""):
        end = grammar.value_end(array, start)
        items.append(array[start:end])
        after = grammar.skip_space(array, end)
        start = grammar.skip_space(array, after + 1) if array[after] == grammar.COMMA else after
    return items


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
        metadata = bytes(_joined(item).metadata)
    except msgspec.DecodeError:
        metadata = grammar.member_value(item, "@metadata") or b""
    if not metadata:
        raise unexpected("the server's answer has a document without @metadata")
    tail = b'"@metadata":' + metadata + b"}"
    if item.endswith(tail):
        body = item[: -len(tail)]
        return (body[:-1] if body.endswith(b",") else body) + b"}", metadata
    [*_, member] = [member for member in grammar.members(item) if member.name == "@metadata"]
    return _without(item, member), metadata


def _without(item: bytes, member: Member) -> bytes:
    before = item[: member.start].rstrip(b" \t\r\n")
    if before.endswith(b","):
        return before[:-1] + item[member.end :]
    after = grammar.skip_space(item, member.end)
    return item[: member.start] + item[after + 1 if item[after] == grammar.COMMA else member.end :]


def _stored(metadata: bytes) -> tuple[bytes, _Said]:
    """The metadata as it is stored, and what the server has added to it.

    `"@id":` is nothing that stands inside a JSON string, where a quote has a backslash before it; so if all that comes
    after its last place is the server's, the rest is what was stored.
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
    members = list(grammar.members(metadata))
    stored = b",".join(metadata[m.start : m.end] for m in members if not is_reserved(m.name))
    said = b",".join(metadata[m.start : m.end] for m in members if is_reserved(m.name))
    return b"{" + stored + b"}", _said(b"{" + said + b"}")


def _with_time(stored: bytes, modified: str) -> bytes:
    """The metadata of an imported document keeps the time that it came with; a server tells it among its own."""
    comma = b"," if stored[1:-1].strip() else b""
    return stored[:-1] + comma + b'"%s":%s}' % (LAST_MODIFIED.encode(), encode(modified))


def time_of(text: str) -> datetime:
    """A time as RavenDB writes it, taken as UTC where it names no zone; raises `ValueError` if it is none."""
    found = _time.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is not a time")
    seconds, fraction, zone = found.groups()
    return datetime.fromisoformat(f"{seconds}.{(fraction or '').ljust(6, '0')}{zone or '+00:00'}")
