"""What a batch is made of: documents to put and to delete, all of them or none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from muniment.document import check_body, check_id, collection_of, encode, metadata_bytes
from muniment.errors import InvalidDocument, InvalidInput
from muniment.smuggler.metadata import members_of
from muniment.smuggler.split import cut_out
from muniment.storage.base import Write


@dataclass(frozen=True, slots=True)
class Put:
    """Store a document. A body of bytes is kept exactly as it is; anything else is written as JSON.

    A member `@metadata` of the body, as RavenDB shows documents, is no part of it: what it says is metadata, unless
    `metadata` says otherwise.

    `etag` is the etag that the document must have now, 0 for "it must not exist", None for "whatever it is".
    """

    id: str
    body: Any
    metadata: Mapping[str, Any] | bytes | None = None
    etag: int | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a document; one that does not exist stays so. `etag` is as in `Put`."""

    id: str
    etag: int | None = None


Command: TypeAlias = Put | Delete
_COMMANDS: Final = Put, Delete  # a union would be made anew each time


def write_of(command: object) -> Write:
    """The command as a storage takes it; raises `InvalidInput` for one that may not be carried out, or is none."""
    if not isinstance(command, _COMMANDS):
        raise InvalidInput(f"a batch is made of Put and Delete, not of {type(command).__name__}", "use muniment.Put")
    check_id(command.id)
    check_etag(command.etag)
    if isinstance(command, Delete):
        return Write(command.id, None, expected=command.etag)
    body = body_bytes(command.body)
    check_body(body, f"document {command.id!r}")
    metadata = metadata_bytes(command.metadata)
    body, shown = cut_out(body)
    if shown is not None:
        metadata = _merged(command.id, shown, metadata)
    return Write(command.id, body, metadata, collection_of(metadata), command.etag)


def _merged(id: str, shown: bytes, metadata: bytes) -> bytes:
    if not shown.startswith(b"{"):
        raise InvalidDocument(
            f"document {id!r} has a member @metadata that is not an object",
            "give the metadata apart, or rename the member",
        )
    return encode({**members_of(metadata_bytes(shown)), **members_of(metadata)})


def body_bytes(body: Any) -> bytes:
    """Bytes as they are, text in UTF-8, anything else as JSON."""
    if isinstance(body, bytes):
        return body
    if isinstance(body, bytearray | memoryview):
        return bytes(body)
    if isinstance(body, str):
        try:
            return body.encode()
        except UnicodeEncodeError as error:
            raise InvalidDocument(f"the document is not Unicode text: {error.reason}", "pass UTF-8 bytes") from error
    return encode(body)


def check_etag(etag: int | None) -> None:
    """Raises `InvalidInput` unless this is None or a number that an etag can be."""
    if etag is not None and (type(etag) is not int or not 0 <= etag < 1 << 63):
        raise InvalidInput(f"{etag!r} is not an etag", "pass the etag of a document that was read, or 0")
