"""A dump that a child process reads ahead, while this process writes what came before.

In one process the reader and the writer of the database would fight for Python's global lock, which costs more time
than either of them needs. The child gives what `open_dump` gives, in the same order, and for documents also what is to
be stored, so that this process does little but write. The child is never further ahead than the pipe can hold.
"""

from __future__ import annotations

import os
import stat
from array import array
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, Self

import msgspec

from muniment.document import MAX_BODY_BYTES, check_id, check_size
from muniment.errors import ErrorRecord, MunimentError
from muniment.progress import Progress
from muniment.revision import Packed
from muniment.smuggler.attachments import Chunks
from muniment.smuggler.metadata import Kept, kept_metadata
from muniment.smuggler.reader import (
    Dump,
    DumpAttachment,
    DumpDeletion,
    DumpDocument,
    DumpFault,
    DumpIdentity,
    DumpItem,
    DumpKept,
    DumpUnknown,
    ReadyDocuments,
    open_dump,
)
from muniment.smuggler.stream import Readable
from muniment.storage.base import Documents
from muniment.workers import Parent, Worker

AHEAD_BYTES: Final = 4 << 20  # of the file; below, a process would take longer to start than it would save
ITEMS_BYTES: Final = 256 << 10
_ITEM_BYTES: Final = 100  # about what an item takes in addition to its text


class _Source(msgspec.Struct, frozen=True):
    """What to read. The path is the operating system's bytes, which need not be Unicode."""

    path: bytes
    pass_faults: bool
    keep: frozenset[str]
    columns: int


class ReadyDocument(DumpDocument, frozen=True, gc=False, tag=True, array_like=True):
    """A document whose id, size and metadata can be stored, with the metadata to store and the collection it names."""

    kept: bytes
    collection: str | None


class _Fault(msgspec.Struct, frozen=True, tag=True, array_like=True):
    error: ErrorRecord
    position: int


_Item = ReadyDocument | DumpDocument | DumpIdentity | DumpDeletion | DumpKept | DumpUnknown | _Fault


class _Opened(msgspec.Struct, frozen=True, tag=True):
    compression: str
    head: str
    build_version: int | None


class _Items(msgspec.Struct, frozen=True, tag=True):
    items: list[_Item]


class _Column(msgspec.Struct, frozen=True, array_like=True):
    offsets: bytes
    data: bytes
    nulls: list[int]

    @classmethod
    def of(cls, column: Packed) -> Self:
        return cls(column.offsets.tobytes(), column.data, list(column.nulls))

    def packed(self) -> Packed:
        return Packed(array("i", self.offsets), self.data, self.nulls)


class _Documents(msgspec.Struct, frozen=True, tag=True):
    """`ReadyDocuments`: the columns of `Documents`, and of the last document the metadata as they are in the dump."""

    columns: tuple[_Column, _Column, _Column, _Column]
    positions: bytes
    last: bytes

    @classmethod
    def of(cls, found: ReadyDocuments) -> Self:
        ids, collections, metadata, bodies = map(_Column.of, found.documents)
        return cls((ids, collections, metadata, bodies), found.positions.tobytes(), found.last.metadata)

    def ready(self) -> ReadyDocuments:
        documents, positions = Documents(*(each.packed() for each in self.columns)), array("q", self.positions)
        id, body = (column.data[column.offsets[-2] :] for column in (documents.ids, documents.bodies))
        return ReadyDocuments(documents, positions, DumpDocument(id.decode(), body, self.last, positions[-1]))


class _BuildVersion(msgspec.Struct, frozen=True, tag=True):
    """The RavenDB build that wrote the dump, when it comes after the items so far."""

    version: int | None


class _Attachment(msgspec.Struct, frozen=True, tag=True):
    """The beginning of an attachment: its chunks follow, then `_Whole`, or why they cannot be read."""

    hash: str | None
    key: str | None
    size: int
    content_type: str | None
    metadata: bytes | None
    position: int
    owner: str | None


class _Chunk(msgspec.Struct, frozen=True, tag=True):
    content: bytes


class _Whole(msgspec.Struct, frozen=True, tag=True):
    """The end of an attachment or of the dump, whose compressed stream may have no end."""

    unfinished: bool = False


_Said = _Opened | _Items | _Documents | _BuildVersion | _Attachment | _Chunk | _Whole


def open_ahead(
    source: str | os.PathLike[str] | Readable,
    *,
    pass_faults: bool,
    keep: frozenset[str] = frozenset(),
    columns: int = 0,
    progress: Progress,
) -> Dump | DumpAhead:
    """`open_dump`, but in a child process for a large file; the reader sees no other difference.

    Waiting for that process raises `Cancelled` when `progress` says so, and `StorageFailure` when it dies.
    """
    if isinstance(source, str | os.PathLike) and _size(source) >= AHEAD_BYTES:
        return DumpAhead(source, pass_faults=pass_faults, keep=keep, columns=columns, progress=progress)
    return open_dump(source, pass_faults=pass_faults, keep=keep, columns=columns)


def _size(path: str | os.PathLike[str]) -> int:
    with suppress(OSError, ValueError):  # opening it will report what is wrong
        status = os.stat(path)  # noqa: PTH116 - an invalid path would fail before
        if stat.S_ISREG(status.st_mode):
            return status.st_size
    return -1


def kept(document: DumpDocument) -> Kept:
    """What is stored of a document's metadata; raises `InvalidInput` for a document that cannot be stored."""
    check_id(document.id)
    if len(document.body) > MAX_BODY_BYTES:
        check_size(document.body, f"document {document.id!r}")
    return kept_metadata(document.metadata)


class DumpAhead:
    """A dump that another process reads; used like a `Dump`. Must be closed, which ends the process."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        pass_faults: bool,
        keep: frozenset[str] = frozenset(),
        columns: int = 0,
        progress: Progress,
    ) -> None:
        self._worker: Worker[_Said] = Worker(tell_dump, _Said, does="reads the dump", progress=progress)
        self._worker.tell(_Source(os.fsencode(path), pass_faults, keep, columns))
        try:
            opened = self._worker.hear()
        except BaseException:
            self.close()
            raise
        assert isinstance(opened, _Opened)
        self.compression, self.head, self.build_version = opened.compression, opened.head, opened.build_version
        self.unfinished = False
        self._items = self._read()

    def __iter__(self) -> Iterator[DumpItem]:
        return self._items

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process, even before the end of the dump. Closing again does nothing."""
        self._worker.close()

    def _read(self) -> Iterator[DumpItem]:
        while not isinstance(frame := self._worker.hear(), _Whole):
            match frame:
                case _Items(items):
                    for item in items:
                        yield DumpFault(item.error.error(), item.position) if isinstance(item, _Fault) else item
                case _Documents():
                    yield frame.ready()
                case _Attachment():
                    yield from self._attachment(frame)
                case _BuildVersion(version):
                    self.build_version = version
        self.unfinished = frame.unfinished

    def _attachment(self, begun: _Attachment) -> Iterator[DumpAttachment]:
        chunks = Chunks(self._chunks())
        yield DumpAttachment(
            begun.hash, begun.key, begun.size, begun.content_type, begun.metadata, chunks, begun.position, begun.owner
        )
        chunks.skip()

    def _chunks(self) -> Iterator[bytes]:
        while isinstance(frame := self._worker.hear(), _Chunk):
            yield frame.content
        assert isinstance(frame, _Whole)


def tell_dump(parent: Parent) -> None:
    """The work of the child: reads the dump that the parent names, and sends its items."""
    source = parent.hear(_Source)
    with open_dump(
        os.fsdecode(source.path), pass_faults=source.pass_faults, keep=source.keep, columns=source.columns
    ) as dump:
        _Teller(dump, parent).tell()


class _Teller:
    """The child's side: sends what is read, many items at once."""

    def __init__(self, dump: Dump, parent: Parent) -> None:
        self._dump = dump
        self._parent = parent
        self._build_version = dump.build_version
        self._items: list[_Item] = []
        self._size = 0

    def tell(self) -> None:
        """Send all of the dump."""
        self._say(_Opened(self._dump.compression, self._dump.head, self._build_version))
        try:
            for item in self._dump:
                self._keep_up()
                if isinstance(item, ReadyDocuments):
                    self._flush()
                    self._say(_Documents.of(item))
                elif isinstance(item, DumpAttachment):
                    self._flush()
                    self._attachment(item)
                else:
                    self._add(item)
        except MunimentError:
            self._flush()  # what was read before an error is sent before it
            raise
        self._keep_up()
        self._flush()
        self._say(_Whole(self._dump.unfinished))

    def _keep_up(self) -> None:
        if self._dump.build_version != self._build_version:
            self._flush()
            self._build_version = self._dump.build_version
            self._say(_BuildVersion(self._build_version))

    def _add(self, item: DumpDocument | DumpIdentity | DumpDeletion | DumpKept | DumpUnknown | DumpFault) -> None:
        self._size += _ITEM_BYTES
        if isinstance(item, DumpDocument):
            self._size += len(item.body) + 2 * len(item.metadata)
            self._items.append(_ready(item))
        elif isinstance(item, DumpKept):
            self._size += len(item.item) + len(item.blob or b"")
            self._items.append(item)
        elif isinstance(item, DumpFault):
            self._items.append(_Fault(ErrorRecord.of(item.error), item.position))
        else:
            self._items.append(item)
        if self._size >= ITEMS_BYTES:
            self._flush()

    def _flush(self) -> None:
        self._say(_Items(self._items))
        self._items, self._size = [], 0

    def _attachment(self, item: DumpAttachment) -> None:
        about = item.hash, item.key, item.size, item.content_type, item.metadata, item.position, item.owner
        self._say(_Attachment(*about))
        try:
            for content in item.chunks:
                self._say(_Chunk(content))
        except MunimentError as error:
            self._say(ErrorRecord.of(error))  # its content is damaged; what follows may still be read
        else:
            self._say(_Whole())

    def _say(self, message: _Said | ErrorRecord) -> None:
        self._parent.progress.check()
        self._parent.say(message)


def _ready(document: DumpDocument) -> DumpDocument:
    """The document with what is to be stored; one that cannot be stored is sent as it is, for the parent to refuse."""
    try:
        metadata, collection = kept(document)
    except MunimentError:
        return document
    return ReadyDocument(document.id, document.body, document.metadata, document.position, metadata, collection)
