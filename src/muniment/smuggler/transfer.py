"""Moving a dump into a storage: in batches, in constant memory, nothing left out in silence."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, Final

import msgspec

from muniment.document import (
    ENTITY_NAME,
    IDENTITIES,
    LAST_MODIFIED,
    check_id,
    check_size,
    collection_of,
    decode,
    encode,
)
from muniment.errors import Cancelled, DamagedDump, MunimentError
from muniment.progress import Progress
from muniment.revision import ATTACHMENT, DOCUMENT
from muniment.smuggler.attachment import FILES
from muniment.smuggler.dump import Dump, DumpAttachment, DumpDeletion, DumpDocument, DumpIdentity, DumpItem, open_dump
from muniment.smuggler.stream import Readable
from muniment.storage.base import Storage, Upload, Write, Written

BATCH_DOCUMENTS: Final = 1000
BATCH_BYTES: Final = 8 << 20
PENDING_BATCHES: Final = 2
NOT_IN_DUMP: Final = "attachments that documents name but the dump does not hold"
NOT_NAMED: Final = "attachments that no document names"

# RavenDB 4 and later keep these for themselves; what they say is in our etags and attachments, or means nothing here.
_INTERNAL: Final = frozenset(
    {"@id", "@etag", "@change-vector", "@flags", "@attachments", "@counters", "@timeseries", "@index-score"}
    | {"raven-last-modified", "non-authoritative-information"}
)
LEGACY_METADATA: Final = b'"@legacy-attachment-metadata"'
_NO_COLLECTION: Final = ("@empty", "@hilo")
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass
class Imported:
    """What an import did. `skipped` names and counts what the dump holds and Muniment has no place for."""

    documents: int = 0
    attachments: int = 0
    identities: int = 0
    deletions: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    seconds: float = 0.0
    compression: str = ""
    build_version: int | None = None


class _AttachmentName(msgspec.Struct):
    name: str = msgspec.field(name="Name")
    hash: str = msgspec.field(name="Hash")
    content_type: str = msgspec.field(name="ContentType", default="")
    metadata: dict[str, Any] | None = msgspec.field(name="Metadata", default=None)  # Muniment's own exports have it


class _Named(msgspec.Struct):
    attachments: list[_AttachmentName] = msgspec.field(name="@attachments", default_factory=list)
    metadata: dict[str, Any] | None = msgspec.field(name="@legacy-attachment-metadata", default=None)


def import_dump(
    storage: Storage, source: str | PathLike[str] | Readable, *, progress: Progress | None = None
) -> Imported:
    """Store everything that a RavenDB dump holds and Muniment has a place for; documents that exist are replaced.

    It is written in batches: when this raises, what came before in the dump has been stored, as the error says, and
    importing the same dump again completes it. Last-modified times are kept in the metadata.
    """
    progress = progress or Progress()
    progress.stage = "importing"
    with open_dump(source) as dump:
        work = _Import(storage, dump, progress)
        try:
            for item in dump:
                work.take(item)
            work.flush()
        except MunimentError as error:
            work.drain()
            if not isinstance(error, Cancelled):
                error.message += f"; {work.summary.documents:,} documents were imported before that"
            raise
        finally:
            work.discard_uploads()
            progress.finish()
        summary = work.summary
        summary.skipped = dict(work.skipped)
        summary.seconds = progress.seconds
        summary.compression, summary.build_version = dump.compression, dump.build_version
    return summary


class _Import:
    """The state of one import: documents that wait for their commit, and contents that wait for their documents."""

    def __init__(self, storage: Storage, dump: Dump, progress: Progress) -> None:
        self.summary = Imported()
        self.skipped: Counter[str] = Counter()
        self._storage = storage
        self._dump = dump
        self._progress = progress
        self._writes: list[Write] = []
        self._size = 0
        self._pending: deque[tuple[Future[list[Written]], int, int]] = deque()
        self._staged: dict[str, Upload] = {}
        self._placed: dict[str, tuple[str, bytes]] = {}

    def take(self, item: DumpItem) -> None:
        """Store one item of the dump, or count it as skipped."""
        if isinstance(item, DumpDocument):
            self._document(item)
        elif isinstance(item, DumpAttachment):
            self._attachment(item)
        elif isinstance(item, DumpIdentity):
            self._identity(item)
        elif isinstance(item, DumpDeletion):
            self._deletion(item)
        else:
            self._progress.check()
            self.skipped[item.section] += 1

    def _document(self, item: DumpDocument) -> None:
        if LEGACY_METADATA in item.metadata and item.id.startswith(FILES):
            return self._loose(item)
        check_id(item.id)
        check_size(item.body, f"document {item.id!r}")
        metadata = stored_metadata(item.metadata)
        self._writes.append(Write(item.id, item.body, metadata, collection_of(metadata)))
        self._size += len(item.body)
        if len(self._writes) >= BATCH_DOCUMENTS or self._size >= BATCH_BYTES:
            self._submit()
        if b'"@attachments"' in item.metadata:
            for named in _named(item).attachments:
                self._place(f"{item.id}/{named.name}", named, named.metadata)
        return None

    def _loose(self, item: DumpDocument) -> None:
        """A document that stands in for an attachment, which belongs to none."""
        of = _named(item)
        for named in of.attachments:
            self._place(named.name, named, of.metadata)

    def _deletion(self, item: DumpDeletion) -> None:
        check_id(item.id)
        self._writes.append(Write(item.id, None, kind=ATTACHMENT if item.attachment else DOCUMENT))
        self.summary.deletions += 1
        if len(self._writes) >= BATCH_DOCUMENTS:
            self._submit()

    def _submit(self) -> None:
        if self._writes:
            documents = sum(write.body is not None for write in self._writes)
            self._pending.append((self._storage.submit(self._writes), documents, self._size))
            self._writes, self._size = [], 0
        while len(self._pending) > PENDING_BATCHES:
            self._acknowledge()

    def _acknowledge(self) -> None:
        future, documents, size = self._pending.popleft()
        future.result()
        self.summary.documents += documents
        self.summary.bytes += size
        self._progress.advance(documents=documents, bytes=size)

    def flush(self) -> None:
        """Wait until everything taken so far is on disk."""
        self._submit()
        while self._pending:
            self._acknowledge()

    def drain(self) -> None:
        """Wait for what was submitted, whatever becomes of it, so that the summary counts what is stored."""
        for future, documents, size in self._pending:
            if future.exception() is None:
                self.summary.documents += documents
                self.summary.bytes += size
        self._pending.clear()

    def _attachment(self, item: DumpAttachment) -> None:
        if item.key is not None:  # RavenDB 2 and 3: attachments stand by themselves
            metadata = stored_metadata(item.metadata or b"{}")
            self._commit_attachment(item.key, metadata, self._storage.upload(self._counted(item)))
        elif item.hash is not None and item.hash not in self._staged and item.hash not in self._placed:
            self._staged[item.hash] = self._storage.upload(self._counted(item))

    def _counted(self, item: DumpAttachment) -> Any:
        for chunk in item.chunks:
            self._progress.advance(bytes=len(chunk))
            yield chunk

    def _place(self, key: str, named: _AttachmentName, metadata: dict[str, Any] | None) -> None:
        """Store the content that came under this hash as an attachment, that of a document as `ID/NAME`."""
        upload = self._staged.pop(named.hash, None) or self._copy(named.hash)
        if upload is None:
            self.skipped[NOT_IN_DUMP] += 1
            return
        type = {"Content-Type": named.content_type} if named.content_type else {}
        kept = encode({**type, "Hash": named.hash}) if metadata is None else stored_metadata(encode(metadata))
        self._commit_attachment(key, kept, upload)
        self._placed[named.hash] = (key, upload.sha256)

    def _copy(self, hash: str) -> Upload | None:
        """Another copy of a content that an earlier document of this dump named too."""
        key, sha256 = self._placed.get(hash, ("", b""))
        revision = self._storage.get(ATTACHMENT, key) if key else None
        if revision is None or revision.body != sha256:
            return None
        return self._storage.upload(self._storage.content(revision))

    def _commit_attachment(self, key: str, metadata: bytes, upload: Upload) -> None:
        try:
            check_id(key)
            self._storage.commit([Write(key, upload.sha256, metadata, None, None, ATTACHMENT, upload)])
        except BaseException:
            self._storage.discard(upload)
            raise
        self.summary.attachments += 1
        self.summary.bytes += upload.size
        self._progress.advance(attachments=1)

    def _identity(self, item: DumpIdentity) -> None:
        prefix = item.key[:-1] + "/" if item.key.endswith("|") else item.key
        id = IDENTITIES + prefix
        check_id(id)
        present = self._storage.get(DOCUMENT, id)
        value = max(item.value, int(decode(present.body or b"{}").get("Value", 0)) if present else 0)
        self._storage.commit([Write(id, encode({"Value": value}))])
        self.summary.identities += 1

    def discard_uploads(self) -> None:
        """Let go of contents that no document named."""
        if self._staged:
            self.skipped[NOT_NAMED] += len(self._staged)
        for upload in self._staged.values():
            self._storage.discard(upload)
        self._staged.clear()


def _named(item: DumpDocument) -> _Named:
    """The attachments that a document of a dump names."""
    try:
        return msgspec.convert(decode(item.metadata), _Named)
    except msgspec.ValidationError as error:
        raise DamagedDump(
            f"document {item.id!r} names its attachments in a way that makes no sense: {error}",
            "export the dump again",
        ) from error


def _members_of(metadata: bytes) -> Mapping[str, Any]:
    """The members with their values as they are written; with a lone surrogate somewhere, as Python reads them."""
    try:
        return _members.decode(metadata)
    except msgspec.DecodeError:
        members: dict[str, Any] = decode(metadata)
        return members


def stored_metadata(metadata: bytes) -> bytes:
    """The metadata of a dump as it is kept: `@collection` becomes `Raven-Entity-Name`, internals are left out."""
    kept: dict[str, Any] = {}
    for name, value in _members_of(metadata).items():
        match name.lower():
            case "@collection":
                if (decode(value) if isinstance(value, msgspec.Raw) else value) not in _NO_COLLECTION:
                    kept.setdefault(ENTITY_NAME, value)
            case "@last-modified":
                kept.setdefault(LAST_MODIFIED, value)
            case "@expires":
                kept.setdefault("Raven-Expiration-Date", value)
            case lowered if lowered not in _INTERNAL:
                kept[name] = value
    return encode(kept)
