"""Reads the dumps of RavenDB: `.ravendbdump` (RavenDB 4 to 7) and `.ravendump` (RavenDB 2 and 3).

Both are one JSON object whose members are the sections of the export, compressed with gzip or zstd or not at all. It
is read once from beginning to end, item by item. A `.ravendbdump` has raw bytes between its JSON: those of an
attachment follow an item with `"@export-type":"Attachment"`, those of a time series one with `"@raven-blob-size"`.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO, Final, NamedTuple, Self, TypeVar

import msgspec

from muniment import json_bytes
from muniment.document import encode
from muniment.durable import check_no_database
from muniment.errors import MunimentError, unreadable
from muniment.json_bytes import OPEN_ARRAY, OPEN_OBJECT, Malformed
from muniment.owner import key_of, split_id
from muniment.smuggler import attachments, split
from muniment.smuggler.attachments import DumpAttachment, StoredKey
from muniment.smuggler.cut import Cutter
from muniment.smuggler.kept import MAX_BLOB_BYTES, content_key
from muniment.smuggler.scanner import Scanner, build_version
from muniment.smuggler.stream import DumpStream, Readable
from muniment.storage.base import Documents

__all__ = [
    "Dump",
    "DumpAttachment",
    "DumpDeletion",
    "DumpDocument",
    "DumpFault",
    "DumpIdentity",
    "DumpItem",
    "DumpKept",
    "DumpUnknown",
    "ReadyDocuments",
    "open_dump",
]

_ATTACHMENT: Final = "Attachment"
FILES_COLLECTION: Final = "@files"  # of the documents that stand in for attachments
_LEGACY_DELETIONS: Final = {"docsdeletions": "Document", "attachmentsdeletions": _ATTACHMENT}

T = TypeVar("T")
_id = re.compile(rb'"@id"\s*:\s*"([^"\\\0-\x1f]{1,512})"')


class DumpDocument(msgspec.Struct, frozen=True, gc=False, tag=True, array_like=True):
    """A document: its body without the `@metadata` member, and the JSON object that was this member's value.

    Apart from the member that was cut out, every byte is as in the dump. Both parts are valid JSON objects in UTF-8.
    `position` is where the document begins, in bytes of the decompressed dump.
    """

    id: str
    body: bytes
    metadata: bytes
    position: int


class DumpIdentity(msgspec.Struct, frozen=True, gc=False, tag=True, array_like=True):
    """The last number given to ids that begin with this key, for example `orders|` (RavenDB 4) or `orders/` (3)."""

    key: str
    value: int


class DumpUnknown(msgspec.Struct, frozen=True, gc=False, tag=True, array_like=True):
    """An item that Muniment cannot store, the `count`-th of its section; it has been skipped."""

    section: str
    count: int
    position: int


class DumpKept(msgspec.Struct, frozen=True, gc=False, tag=True, array_like=True):
    """An item of a section that was asked for to be kept as it is, and the raw bytes that follow it, if any do."""

    section: str
    item: bytes
    blob: bytes | None
    position: int


class DumpDeletion(msgspec.Struct, frozen=True, gc=False, tag=True, array_like=True):
    """The deletion of a document (`id`), or of an attachment with this key. Only incremental exports have them.

    If it gives the `hash` and `content_type` of an attachment, it deletes the attachment only with that content. It may
    name the document that is the attachment's `owner`.
    """

    id: str
    attachment: bool
    position: int
    owner: str | None = None
    hash: str = ""
    content_type: str = ""


class DumpFault(msgspec.Struct, frozen=True):
    """A malformed item whose end is certain, so that the rest of the dump can be read."""

    error: MunimentError
    position: int


class ReadyDocuments(NamedTuple):
    """Documents that follow each other and of which an import wants to know nothing, as they are to be stored.

    `positions` are their places in the dump; the `last` one is as it is there.
    """

    documents: Documents
    positions: array[int]
    last: DumpDocument

    @property
    def position(self) -> int:
        """The place of the first one."""
        return self.positions[0]


DumpItem = (
    ReadyDocuments | DumpDocument | DumpAttachment | DumpIdentity | DumpDeletion | DumpKept | DumpUnknown | DumpFault
)


class _BlobHeader(msgspec.Struct):
    size: attachments.Size = msgspec.field(name="@raven-blob-size", default=0)


class _Identity(msgspec.Struct):
    key: str = msgspec.field(name="Key")
    value: Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)] = msgspec.field(name="Value")


class _Tombstone(msgspec.Struct):
    key: str = msgspec.field(name="Key")
    type: str = msgspec.field(name="Type", default="")
    owner: str | None = msgspec.field(name="Owner", default=None)
    collection: str | None = msgspec.field(name="Collection", default=None)
    gone: str = msgspec.field(name="Gone", default="")  # in our own exports: nothing has this id any more


class Dump:
    """A dump that is being read; iterating over it gives its items once, in their order.

    `compression` is "gzip", "zstd" or "none", `build_version` the RavenDB build that wrote it if the dump names it, and
    `compressed_size` the size of the file if it is one. `sections` counts the items read so far by section, and those
    with an `@export-type` by section and type, such as `Docs/Attachment`. `head` is the SHA-256 of the first block.

    Only an iteration that has come to its end without an error has seen a whole dump.
    """

    def __init__(
        self,
        stream: DumpStream,
        scanner: Scanner,
        *,
        check_hashes: bool,
        pass_faults: bool,
        keep: frozenset[str],
        columns: int,
        file: BinaryIO | None,
    ) -> None:
        self.sections: Counter[str] = Counter()
        self.compression = stream.compression
        self.compressed_size = _size(file) if file else None
        self.build_version = build_version(scanner.buffer[scanner.offset :])
        self._stream = stream
        self._scanner = scanner
        self.head = hashlib.sha256(scanner.buffer).hexdigest()
        self._check_hashes = check_hashes
        self._pass_faults = pass_faults
        self._keep = {name.lower() for name in keep}
        self._cutter = Cutter.of(columns)
        self._file = file
        self._items = self._read()

    @property
    def position(self) -> int:
        """How many bytes of the decompressed dump have been read."""
        return self._scanner.position

    @property
    def compressed_position(self) -> int:
        """How many bytes have been taken from the file or stream."""
        return self._stream.compressed_position

    @property
    def unfinished(self) -> bool:
        """Whether its compressed stream has no end, as with RavenDB's zstd; known when all has been read."""
        return self._stream.unfinished

    def __iter__(self) -> Iterator[DumpItem]:
        return self._items

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file if the dump was opened by its path; a stream is left open."""
        self._stream.close()
        if self._file:
            self._file.close()

    def _read(self) -> Iterator[DumpItem]:
        for section in self._scanner.members():
            yield from self._section(section)
        self._scanner.finish()

    def _section(self, section: str) -> Iterator[DumpItem]:
        match section.lower():
            case name if name in self._keep:
                return self._kept(section)
            case "docs" | "results":  # RavenDB's endpoint that streams documents answers with the latter
                return self._documents(section)
            case "revisiondocuments":
                return self._revisions(section)
            case "attachments":
                return self._legacy_attachments(section)
            case "identities":
                return self._identities(section)
            case "tombstones" | "docsdeletions" | "attachmentsdeletions":
                return self._deletions(section)
            case "buildversion":
                return self._later_build_version()
        return self._others(section)

    def _documents(self, section: str) -> Iterator[DumpItem]:
        scanner, sections, cutter = self._scanner, self.sections, self._cutter
        for position in scanner.items():
            if cutter and (run := cutter.cut(scanner)):
                documents, positions, metadata = run
                id, body = (column.data[column.offsets[-2] :] for column in (documents.ids, documents.bodies))
                last = DumpDocument(id.decode(), body, metadata, positions[-1])
                sections[section] += len(positions)
                scanner.after = last.id
                yield ReadyDocuments(documents, positions, last)
                continue
            split = self._split_next(position)
            if isinstance(split, DumpFault):
                yield split
            elif not split.kind:
                sections[section] += 1
                scanner.after = split.id
                yield DumpDocument(split.id, split.body, split.metadata, position)
            elif split.kind == _ATTACHMENT:
                yield from self._attachment(f"{section}/{_ATTACHMENT}", split.body, position)
            else:
                yield self._unknown(f"{section}/{split.kind}", position)

    def _revisions(self, section: str) -> Iterator[DumpItem]:
        for position in self._scanner.items():
            split = self._split_next(position)
            if isinstance(split, DumpFault):
                yield split
                continue
            if split.kind == _ATTACHMENT:
                self._skip_attachment(split.body, position)
            yield self._unknown(f"{section}/{split.kind}" if split.kind else section, position)

    def _split_next(self, position: int) -> split.Split | DumpFault:
        scanner = self._scanner
        while True:
            if found := split.search(scanner.buffer, scanner.offset):
                scanner.move(found.end)
                return found
            if (item := self._unproved_here(position)) is not None:
                break
        try:
            json_bytes.check(item)
            return split.split(item)
        except Malformed as error:
            return self._fault(f"holds {_named(item)} {error}", position, error)

    def _unproved(self, position: int) -> bytes:
        while (item := self._unproved_here(position)) is None:
            pass
        return item

    def _unproved_here(self, position: int) -> bytes | None:
        try:
            return self._scanner.unproved_here()
        except Malformed as error:
            raise self._scanner.damaged(f"holds an item that {error}", position) from error

    def _fault(self, what: str, position: int, cause: Exception) -> DumpFault:
        """Raises the error, unless faults are passed on; the scanner has moved past the item."""
        error = self._scanner.damaged(what, position)
        if not self._pass_faults:
            raise error from cause
        return DumpFault(error, position)

    def _attachment(self, section: str, item: bytes, position: int, key: str | None = None) -> Iterator[DumpItem]:
        header = self._decode(attachments.Header, item, position)
        pieces = attachments.pieces(self._scanner, header, position, check_hash=self._check_hashes)
        chunks = attachments.Chunks(pieces)
        self.sections[section] += 1
        metadata = None if key is None else encode({"Tag": header.tag})
        yield DumpAttachment(header.hash, key, header.size, header.content_type, metadata, chunks, position)
        chunks.skip()

    def _skip_attachment(self, item: bytes, position: int) -> None:
        header = self._decode(attachments.Header, item, position)
        for _ in attachments.pieces(self._scanner, header, position, check_hash=self._check_hashes):
            pass

    def _legacy_attachments(self, section: str) -> Iterator[DumpItem]:
        for position in self._scanner.items():
            item = self._unproved(position)
            try:
                json_bytes.check(item)
                found = attachments.legacy(item, position)
            except Malformed as error:
                yield self._fault(f"holds an attachment that {error}", position, error)
            else:
                self.sections[section] += 1
                yield found

    def _identities(self, section: str) -> Iterator[DumpItem]:
        for position in self._scanner.items():
            identity = self._decode_next(_Identity, position)
            if isinstance(identity, DumpFault):
                yield identity
                continue
            self.sections[section] += 1
            yield DumpIdentity(identity.key, identity.value)

    def _deletions(self, section: str) -> Iterator[DumpItem]:
        for position in self._scanner.items():
            tombstone = self._decode_next(_Tombstone, position)
            if isinstance(tombstone, DumpFault):
                yield tombstone
                continue
            kind = tombstone.type or _LEGACY_DELETIONS.get(section.lower(), "")
            if kind not in ("Document", _ATTACHMENT):
                yield self._unknown(f"{section}/{kind}", position)
                continue
            deletion = _deletion(tombstone, kind == _ATTACHMENT, position)
            if deletion is None:
                yield self._unknown(f"{section}/Revision{kind}", position)
            elif tombstone.collection != FILES_COLLECTION or deletion.attachment:
                self.sections[section] += 1
                yield deletion

    def _later_build_version(self) -> Iterator[DumpItem]:
        position = self._scanner.position
        version = self._decode(int, self._scanner.value(), position)
        if abs(version) >= 1 << 63:
            raise self._scanner.damaged("holds a build version that is out of range", position)
        self.build_version = version
        return iter(())

    def _others(self, section: str) -> Iterator[DumpItem]:
        scanner = self._scanner
        if scanner.peek() == OPEN_ARRAY:
            for position in scanner.items():
                self._skip_raw(scanner.value(), position)
                yield self._unknown(section, position)
        else:
            position = scanner.position
            scanner.value()
            yield self._unknown(section, position)

    def _kept(self, section: str) -> Iterator[DumpItem]:
        scanner = self._scanner
        if scanner.peek() != OPEN_ARRAY:
            position = scanner.position
            yield self._kept_item(section, scanner.value(), None, position)
            return
        for position in scanner.items():
            item = scanner.value()
            if b'"@raven-blob-size"' in item:
                size = self._decode(_BlobHeader, item, position).size
                if size > MAX_BLOB_BYTES:
                    self._skip_raw(item, position)
                    yield self._unknown(section, position)
                    continue
                yield self._kept_item(section, item, b"".join(scanner.raw(size)), position)
            elif b'"@export-type"' in item and split.kind(item) == _ATTACHMENT:
                key = content_key(self._decode(attachments.Header, item, position).hash)
                yield from self._attachment(f"{section}/{_ATTACHMENT}", item, position, key)
            else:
                yield self._kept_item(section, item, None, position)

    def _kept_item(self, section: str, item: bytes, blob: bytes | None, position: int) -> DumpItem:
        if item[0] != OPEN_OBJECT:
            return self._unknown(section, position)
        self.sections[section] += 1
        return DumpKept(section, item, blob, position)

    def _skip_raw(self, item: bytes, position: int) -> None:
        """Moves past the raw bytes that follow an item of an unknown section, if there are any."""
        if b'"@raven-blob-size"' in item:
            for _ in self._scanner.raw(self._decode(_BlobHeader, item, position).size):
                pass
        elif b'"@export-type"' in item and split.kind(item) == _ATTACHMENT:
            self._skip_attachment(item, position)

    def _unknown(self, section: str, position: int) -> DumpUnknown:
        self.sections[section] += 1
        return DumpUnknown(section, self.sections[section], position)

    def _decode(self, wanted: type[T], item: bytes, position: int) -> T:
        try:
            return _decoded(wanted, item)
        except Malformed as error:
            raise self._scanner.damaged(f"holds an item that {error}", position) from error

    def _decode_next(self, wanted: type[T], position: int) -> T | DumpFault:
        item = self._unproved(position)
        try:
            json_bytes.check(item)
            return _decoded(wanted, item)
        except Malformed as error:
            return self._fault(f"holds an item that {error}", position, error)


def _deletion(tombstone: _Tombstone, of_attachment: bool, position: int) -> DumpDeletion | None:
    """The deletion in this tombstone; None for that of an attachment that only a revision of a document had."""
    if not of_attachment or not tombstone.type:
        return DumpDeletion(tombstone.key, of_attachment, position, tombstone.owner)
    stored = StoredKey.parse(tombstone.key)
    if stored is None or stored.type != "d":
        return None
    if tombstone.gone:
        return DumpDeletion(key_of(tombstone.gone), True, position, split_id(tombstone.gone)[0])
    if stored.stands_in:
        return DumpDeletion(stored.name, True, position, None, stored.hash, stored.content_type)
    key = f"{stored.owner}/{stored.name}"
    return DumpDeletion(key, True, position, stored.owner, stored.hash, stored.content_type)


def _decoded(wanted: type[T], item: bytes) -> T:
    try:
        return msgspec.json.decode(item, type=wanted, strict=False)  # numbers may stand in quotes
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"is malformed ({error})") from error


def _named(item: bytes) -> str:
    """What to call a damaged item: by its id, if something in it looks like one."""
    found = _id.search(item)
    return f"document {found[1].decode('utf-8', 'replace')!r}, which" if found else "an item that"


def open_dump(
    source: str | os.PathLike[str] | Readable,
    *,
    block_size: int = 1 << 20,
    max_item: int = 80 << 20,
    bomb_size: int = 1 << 30,
    bomb_ratio: int = 1000,
    check_hashes: bool = True,
    pass_faults: bool = False,
    keep: frozenset[str] = frozenset(),
    columns: int = 0,
) -> Dump:
    """Opens a dump, by its path or from a binary stream, which need not be seekable, and reads its first block.

    Memory stays within a few times `block_size` or the largest item; an item of more than `max_item` bytes is refused.
    So is one that decompresses to more than `bomb_size` bytes and more than `bomb_ratio` times its own size.
    `check_hashes` compares each attachment with the hash that the dump gives for it, whether it is read or skipped.
    `pass_faults` gives a `DumpFault` for a malformed item whose end is certain, instead of raising an error. The items
    of the sections in `keep` are given as they are (`DumpKept`), and contents of attachments in them with a key. With
    `columns`, documents of which an import wants to know nothing may come together, at most so many (`ReadyDocuments`).

    Opening raises `UnknownFormat` for a file that is not a dump. Opening, iterating and reading the chunks of an
    attachment raise `DamagedDump` for a dump that is cut short, malformed or contradicts itself, and `StorageFailure`
    when the file or stream cannot be read.
    """
    readable, file = _open(source)
    try:
        stream = DumpStream(readable, block_size=block_size, bomb_size=bomb_size, bomb_ratio=bomb_ratio)
        return Dump(
            stream,
            Scanner(stream, block_size, max_item),
            check_hashes=check_hashes,
            pass_faults=pass_faults,
            keep=keep,
            columns=columns,
            file=file,
        )
    except BaseException:
        if file:
            file.close()
        raise


def _open(source: str | os.PathLike[str] | Readable) -> tuple[Readable, BinaryIO | None]:
    """What to read from, and the file to close in the end if it was opened here."""
    if not isinstance(source, str | os.PathLike):
        return source, None
    check_no_database(source, "export the database, or bring its documents over with `smuggler between`")
    try:
        file = Path(source).open("rb", buffering=0)  # noqa: SIM115 - the dump closes it
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise unreadable(source, error, "give the path of a dump") from error
    return file, file


def _size(file: BinaryIO) -> int | None:
    status = os.fstat(file.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None
