"""Cuts the `@metadata` member out of a document's bytes and leaves every other byte of it as it was.

Nearly every document of a dump ends with `,"@metadata":{...}}`, so that is searched for first, without scanning the
document. What the search finds could be inside a string, so it counts only if both parts prove to be JSON objects:
`{...}`, and the rest of the document. No JSON object is the beginning of another, so there is no other way to divide
the document. Anything else is scanned member by member.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from muniment import json_bytes
from muniment.json_bytes import OPEN_OBJECT, WHITESPACE, Malformed

_NAME: Final = b'"@metadata"'
_ESCAPED: Final = (rb"\u004", rb"\u006", rb"\u007")  # how a character of it begins that is written as an escape
_NOTHING: Final = (b"", b"{", b" ", b"\t", b"\r", b"\n")
_to_object = re.compile(rb"%s:%s(?=\{)" % (WHITESPACE, WHITESPACE)).match
_to_end = re.compile(rb"%s\}" % WHITESPACE).match


class Split(msgspec.Struct, gc=False):
    """A document in two parts: the body without its `@metadata` member, and that member's JSON object.

    `id` is the `@id` of the metadata and `kind` its `@export-type`, empty when there is none. `end` is where the
    document ends in the bytes that were searched.
    """

    body: bytes
    metadata: bytes
    id: str
    kind: str
    end: int


class _Body(msgspec.Struct, gc=False):
    metadata: msgspec.Raw | msgspec.UnsetType = msgspec.field(name="@metadata", default=msgspec.UNSET)


class _Names(msgspec.Struct, gc=False):
    id: str = msgspec.field(name="@id", default="")
    kind: str = msgspec.field(name="@export-type", default="")


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_names = msgspec.json.Decoder(_Names).decode


def search(data: bytes, start: int) -> Split | None:
    """Splits the document that begins at `start`, if its metadata comes last; None does not mean that it is malformed.

    It looks no further than the metadata, so the result does not depend on how much follows.
    """
    name = data.find(_NAME, start)
    if name < 0 or not (colon := _to_object(data, name + len(_NAME))):
        return None
    head = data[start:name]
    if head[-1:] != b",":
        head = head.rstrip(b" \t\r\n")
    # A comma with nothing before it would go unnoticed once it is cut out.
    if head[-1:] != b"," or head[-2:-1] in _NOTHING:
        return None
    opening = colon.end()
    if not (closing := _last_member_end(data, opening)):
        return None
    middle, end = closing.span()
    return _proved(head[:-1] + data[middle:end], data[opening:middle], end)


def _last_member_end(data: bytes, opening: int) -> re.Match[bytes] | None:
    """The match from the end of the object that begins at `opening` to the end of the document, if it is its last."""
    brace = data.find(b"}", opening)  # mostly it contains no object, and this is its end
    if brace >= 0 and (found := _to_end(data, brace + 1)):
        return found
    try:
        end = json_bytes.value_end(data, opening)
    except Malformed:
        return None
    return _to_end(data, end) if end >= 0 else None


def _proved(body: bytes, metadata: bytes, end: int) -> Split | None:
    try:
        if _decode_body(body).metadata is not msgspec.UNSET:
            return None
        names = _decode_names(metadata)
        if not (body.isascii() and metadata.isascii()):
            body.decode()
            metadata.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return Split(body, metadata, names.id, names.kind, end) if names.id or names.kind else None


def split(document: bytes) -> Split:
    """Splits these bytes, which must be valid JSON; raises `Malformed` unless they are a whole document."""
    if document[0] != OPEN_OBJECT:
        raise Malformed("is not an object")
    found = [member for member in json_bytes.members(document) if member.name == "@metadata"]
    if len(found) != 1:
        raise Malformed("has more than one @metadata" if found else "has no @metadata")
    [member] = found
    metadata = document[member.value : member.end]
    if metadata[0] != OPEN_OBJECT:
        raise Malformed("has @metadata that is not an object")
    names = _names(metadata)
    if not names.id and not names.kind:
        raise Malformed("has no @id in its @metadata")
    return Split(json_bytes.without_member(document, member), metadata, names.id, names.kind, len(document))


def may_have_metadata(json: bytes) -> bool:
    """Whether there may be a member `@metadata` in it, at any depth."""
    if b"@" in json and b"@metadata" in json:  # to look for one byte alone takes a tenth of the time
        return True
    return b"\\" in json and rb"\u00" in json and any(escape in json for escape in _ESCAPED)


def cut_out(document: bytes) -> tuple[bytes, bytes | None]:
    """A JSON object without its member `@metadata`, and that member's value; without one, the same bytes and None."""
    if not may_have_metadata(document):
        return document, None
    value = None
    start = len(document) - len(document.lstrip(b" \t\r\n"))
    rest = document[start:]
    while found := next((member for member in json_bytes.members(rest) if member.name == "@metadata"), None):
        value = rest[found.value : found.end]
        rest = json_bytes.without_member(rest, found)
    return (document, None) if value is None else (rest, value)


def kind(item: bytes) -> str:
    """The `@export-type` of a JSON value; empty when it has none."""
    try:
        return split(item).kind
    except Malformed:
        return ""


def _names(metadata: bytes) -> _Names:
    try:
        return _decode_names(metadata)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # or there is a lone surrogate somewhere else
        return _Names(_string_member(metadata, "@id"), _string_member(metadata, "@export-type"))


def _string_member(data: bytes, name: str) -> str:
    value = json_bytes.member_value(data, name)
    try:
        return "" if value is None else json_bytes.text(value)
    except Malformed as error:
        raise Malformed(f"has an {name} that {error}") from error
