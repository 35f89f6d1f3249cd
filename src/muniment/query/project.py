"""What is answered of a document: some members, each exactly as it is written there."""

from __future__ import annotations

from collections.abc import Sequence

from muniment import json_bytes
from muniment.document import Document, encode
from muniment.query.extract import metadata_of
from muniment.query.model import ID, METADATA, Column


def projected(document: Document, columns: Sequence[Column]) -> bytes:
    """A JSON object with these columns; one that the document does not have is left out."""
    members = ((column.name, at(document, column.path)) for column in columns)
    return b"{" + b",".join(encode(name) + b":" + value for name, value in members if value is not None) + b"}"


def at(document: Document, path: tuple[str, ...]) -> bytes | None:
    """The JSON that stands at a path of a document; None if it does not have it."""
    if path[0] == ID:
        return encode(document.id)
    body = encode(metadata_of(document)) if path[0] == METADATA else document.body
    return value_at(body, path[1:] if path[0] == METADATA else path)


def value_at(value: bytes, path: tuple[str, ...]) -> bytes | None:
    """The JSON that stands at a path; through an array, an array of what stands there in each element that has it."""
    if not path:
        return value
    value = value.lstrip(b" \t\r\n")
    if value[:1] == b"[":
        found = (value_at(item, path) for item in json_bytes.elements(value))
        return b"[" + b",".join(each for each in found if each is not None) + b"]"
    if value[:1] != b"{":
        return None
    member = json_bytes.member_value(value, path[0])
    return None if member is None else value_at(member, path[1:])
