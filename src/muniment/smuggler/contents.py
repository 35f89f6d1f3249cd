"""The contents of attachments on their way in: each comes once, ahead of the documents that name its hash."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from muniment.document import decode
from muniment.errors import DamagedDump
from muniment.owner import ContentHash
from muniment.revision import ATTACHMENT, NO_METADATA, Revision
from muniment.smuggler.reader import DumpDocument
from muniment.storage.base import Storage, Upload, Write

NOT_NAMED: Final = "attachments that no document names"
LEFT_OUT: Final = "attachments of documents that were left out"


class NamedAttachment(msgspec.Struct):
    """What a document says about one attachment."""

    name: str = msgspec.field(name="Name")
    hash: str = msgspec.field(name="Hash")
    content_type: str = msgspec.field(name="ContentType", default="")
    # Muniment's own exports have these three; the last is that of an attachment whose document is not there.
    metadata: dict[str, Any] | None = msgspec.field(name="Metadata", default=None)
    key: str | None = msgspec.field(name="Key", default=None)
    owner: str | None = msgspec.field(name="Owner", default=None)


class Named(msgspec.Struct):
    """The attachments that a document of a dump names."""

    attachments: list[NamedAttachment] = msgspec.field(name="@attachments", default_factory=list)
    metadata: dict[str, Any] | None = msgspec.field(name="@legacy-attachment-metadata", default=None)


def named_by(document: DumpDocument) -> Named:
    """The attachments that this document names; raises `DamagedDump` when they cannot be read."""
    if b'"@attachments"' not in document.metadata:
        return Named()
    try:
        return msgspec.convert(decode(document.metadata), Named)
    except msgspec.ValidationError as error:
        raise DamagedDump(
            f"the @attachments of document {document.id!r} cannot be read: {error}",
            "export the dump again",
        ) from error


class Contents:
    """Contents that wait for the documents that name them, by their hashes, and those that documents have taken."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._staged: dict[str, tuple[Upload, int]] = {}  # not named by any document yet; with its place in the dump
        self._placed: dict[str, tuple[str, bytes]] = {}  # the id and the SHA-256 of an attachment that has it
        self._waiting: dict[
            str, Upload
        ] = {}  # contents of attachments that may not be on disk yet, by the attachments' ids
        self._placing: deque[tuple[int, int]] = deque()  # a document that may not be on disk, and a content it took
        self._left_out: set[str] = set()

    def add(self, hash: str, position: int, chunks: Iterator[bytes]) -> None:
        """Take in the content with this hash at this place in the dump, unless it is here already."""
        if hash not in self._staged and hash not in self._placed:
            self._staged[hash] = self._storage.upload(chunks), position

    def remember(self, hash: str, revision: Revision) -> None:
        """Note an attachment that is already stored: later documents may name its content too."""
        if revision.body:
            self._placed.setdefault(hash, (revision.id, revision.body))

    def take(self, hash: str, id: str, position: int) -> Upload | None:
        """The content for this attachment of the document at `position`; None if there is no such content."""
        upload, place = self._staged.pop(hash, None) or (self._copy(hash), None)
        if upload is None:
            return None
        if place is not None:
            self._placing.append((position, place))
        self._placed[hash] = (id, upload.sha256)
        self._waiting[id] = upload
        return upload

    def stored(self, writes: Sequence[Write], last: DumpDocument | None = None) -> None:
        """Note that these writes are on disk, and all documents of the dump through `last`."""
        while self._placing and last and self._placing[0][0] <= last.position:
            self._placing.popleft()
        for write in writes:
            if write.upload and self._waiting.get(write.id) is write.upload:
                del self._waiting[write.id]

    def needed_from(self, position: int) -> int:
        """The place of the first content that a document after `position` may still name."""
        needed = [place for _, place in self._staged.values()]
        needed += (content for document, content in self._placing if document > position)
        return min(needed, default=position)

    def leave_out(self, named: Named) -> None:
        """Note that these were named by a document that was left out."""
        self._left_out.update(each.hash for each in named.attachments)

    def discard(self) -> Counter[str]:
        """Discard the contents that no document has taken, and count them by reason."""
        unnamed: Counter[str] = Counter()
        for hash, (upload, _) in self._staged.items():
            unnamed[LEFT_OUT if hash in self._left_out else NOT_NAMED] += 1
            self._storage.discard(upload)
        self._staged.clear()
        return unnamed

    def _copy(self, hash: str) -> Upload | None:
        """A copy of a content that an earlier document of this dump has already taken."""
        key, sha256 = self._placed.get(hash, ("", b""))
        revision = self._storage.get(ATTACHMENT, key) if key else None
        if waiting := self._waiting.get(key):
            revision = Revision(0, ATTACHMENT, key, None, 0, NO_METADATA, waiting.sha256, waiting.size, waiting.content)
        if revision is None or revision.body != sha256:
            return None
        digest = ContentHash()
        upload = self._storage.upload(digest.passing(self._storage.content(revision)))
        if digest.refutes(hash):
            self._storage.discard(upload)
            return None
        return upload
