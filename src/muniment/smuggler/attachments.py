"""The attachments of a dump: raw bytes behind an item (RavenDB 4 and later), or base64 inside one (RavenDB 2 and 3)."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Annotated, Final, Self

import msgspec

from muniment import json_bytes
from muniment.document import SEPARATOR
from muniment.json_bytes import OPEN_OBJECT, Malformed
from muniment.owner import ContentHash
from muniment.smuggler.scanner import Scanner

Size = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class DumpAttachment(msgspec.Struct, frozen=True):
    """The bytes of an attachment, in `chunks` that must be read before the next item is asked for.

    RavenDB 4 and later writes them once for each `hash` (BLAKE2b-256 in base64), ahead of the first document whose
    metadata names that hash under `@attachments`; `key` and `metadata` are None. RavenDB 2 and 3 give each of them its
    `key` and its `metadata`, and no hash; our own exports in that form name the `owner` as well. `position` is where
    the item begins in the dump, compression aside.
    """

    hash: str | None
    key: str | None
    size: int
    content_type: str | None
    metadata: bytes | None
    chunks: Iterator[bytes]
    position: int
    owner: str | None = None


class Header(msgspec.Struct):
    """The item that raw bytes follow."""

    hash: str = msgspec.field(name="Hash")
    size: Size = msgspec.field(name="Size")
    tag: str = msgspec.field(name="Tag", default="")

    @property
    def content_type(self) -> str | None:
        parts = StoredKey.parse(self.tag)
        return parts.content_type or None if parts else None


FILES: Final = "files/"
"""Where RavenDB 4 and later put the attachments of RavenDB 3, which belong to no document, below their own keys."""


class StoredKey(msgspec.Struct, frozen=True):
    """RavenDB's key of an attachment: document id, "d" (another letter for a revision), name, hash and content type.

    The id and the name are in lower case.
    """

    owner: str
    type: str
    name: str
    hash: str
    content_type: str

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Parse its text, in which bars may stand for U+001E; None for any other text."""
        if SEPARATOR in text:
            parts = text.split(SEPARATOR)
        else:  # an id or a name may also contain bars
            head, *tail = text.rsplit("|", 2)
            owner, found, name = head.partition("|d|")
            parts = [owner, "d", name, *tail] if found else text.split("|")
        return cls(*parts) if len(parts) == 5 else None

    @property
    def stands_in(self) -> bool:
        """Whether the document is one that RavenDB 4 and later make for an attachment that belongs to none."""
        return self.owner == FILES + self.name


class Chunks:
    """An attachment's bytes as they are read. Once the reader has moved on they are gone; reading them then raises."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._gone = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        if self._gone:
            raise RuntimeError("the chunks of an attachment must be read before the next item of the dump")
        return next(self._pieces)

    def skip(self) -> None:
        """Reads past the chunks that were not asked for."""
        for _ in self._pieces:
            self._gone = True


def pieces(scanner: Scanner, header: Header, position: int, *, check_hash: bool) -> Iterator[bytes]:
    """Moves over the raw bytes behind this header; raises `DamagedDump` at their end if they do not have its hash."""
    digest = ContentHash()
    yield from digest.passing(scanner.raw(header.size))
    if check_hash and digest.refutes(header.hash):
        what = f"holds an attachment whose {header.size:,} bytes do not have the hash that the dump gives"
        raise scanner.damaged(what, position)


def legacy(item: bytes, position: int) -> DumpAttachment:
    """The attachment in an item of RavenDB 2 or 3; raises `Malformed` for any other JSON value."""
    if item[0] != OPEN_OBJECT:
        raise Malformed("is not an object")
    key, data = (_required(item, name) for name in ("Key", "Data"))
    metadata = json_bytes.member_value(item, "Metadata") or b"{}"
    if metadata[0] != OPEN_OBJECT:
        raise Malformed("has Metadata that is not an object")
    try:
        content = base64.b64decode(data, validate=True)
    except ValueError as error:
        raise Malformed(f"has Data that is not base64 ({error})") from error
    chunks = iter([content] if content else [])
    owner = None if (named := json_bytes.member_value(item, "Owner")) is None else json_bytes.text(named)
    return DumpAttachment(None, key, len(content), _legacy_type(metadata), metadata, chunks, position, owner)


def _required(item: bytes, name: str) -> str:
    value = json_bytes.member_value(item, name)
    if value is None:
        raise Malformed(f"has no {name}")
    try:
        return json_bytes.text(value)
    except Malformed as error:
        raise Malformed(f"has a {name} that {error}") from error


def _legacy_type(metadata: bytes) -> str | None:
    try:
        return json_bytes.text(json_bytes.member_value(metadata, "Content-Type") or b"null")
    except Malformed:
        return None
