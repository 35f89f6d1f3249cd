"""An attachment as a reader sees it: what is known about it, and its content as a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, BinaryIO, Final

from muniment.document import decode, from_microseconds, without_time_kept
from muniment.errors import DamagedDatabase, DocumentNotFound, InvalidInput
from muniment.fingerprint import ContentDigest
from muniment.owner import key_of, split_id
from muniment.revision import ATTACHMENT, Revision
from muniment.storage.base import Storage

CHUNK_BYTES: Final = 1 << 20


@dataclass(slots=True, frozen=True)
class Attachment:
    """An attachment as it was when it was asked for; `size` is in bytes, `sha256` in hexadecimal.

    `owner` is the document that it was stored with, None for one that was stored by its key alone.
    """

    key: str
    etag: int
    changed: datetime
    metadata_json: bytes
    size: int
    sha256: str
    owner: str | None
    name: str
    _id: str = field(repr=False)
    _storage: Storage = field(repr=False, compare=False)

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata as a new dict."""
        value: dict[str, Any] = decode(self.metadata_json)
        return value

    def chunks(self) -> Iterator[bytes]:
        """The content in pieces of at most 1 MiB, whatever others write meanwhile.

        Raises `DocumentNotFound` when the attachment was replaced or deleted before this began, and `DamagedDatabase`
        at the end when the bytes are not those that were stored.
        """
        with self._storage.pin():
            revision = self._storage.get(ATTACHMENT, self._id)
            if revision is None or revision.etag != self.etag:
                raise DocumentNotFound(f"attachment {self.key!r} was replaced or deleted meanwhile", "get it again")
            digest = ContentDigest()
            yield from digest.passing(self._storage.content(revision))
            if not digest.is_of(revision):
                raise DamagedDatabase(f"the content of attachment {self.key!r} was changed", "restore it from a backup")

    def read(self) -> bytes:
        """The whole content."""
        return b"".join(self.chunks())


def attachment_of(revision: Revision, storage: Storage) -> Attachment:
    """The current revision of an attachment as its reader sees it."""
    metadata, changed = without_time_kept(revision.metadata, revision.modified)
    sha256 = (revision.body or b"").hex()
    time = from_microseconds(changed)
    key, (owner, name) = key_of(revision.id), split_id(revision.id)
    return Attachment(key, revision.etag, time, metadata, revision.size, sha256, owner, name, revision.id, storage)


def content_chunks(content: bytes | BinaryIO | Iterable[bytes]) -> Iterator[bytes]:
    """Bytes, an open binary file or anything that gives bytes, as a stream."""
    if isinstance(content, bytes | bytearray | memoryview):
        yield bytes(content)
        return
    read = getattr(content, "read", None)
    chunks = iter(lambda: read(CHUNK_BYTES), b"") if read else content
    if not isinstance(chunks, Iterable):
        raise InvalidInput(f"an attachment is bytes or a stream of bytes, not {type(content).__name__}", "pass bytes")
    for chunk in chunks:
        if not isinstance(chunk, bytes | bytearray | memoryview):
            raise InvalidInput(f"an attachment is made of bytes, not of {type(chunk).__name__}", "open it as binary")
        yield bytes(chunk)
