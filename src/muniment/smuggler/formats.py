"""The formats that an export can have. Each writer is given everything in the order in which its format has it.

`docs/dump-formats.md` says what each format carries. The shape of a `.ravendbdump` is that of the files which RavenDB
6.2 writes, member for member.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any, Final, Protocol

import msgspec

from muniment.backup.parquet import DocumentTable
from muniment.document import SEPARATOR, encode, fold, metadata_bytes
from muniment.errors import DamagedDatabase, InvalidDocument
from muniment.owner import content_type, key_of, split_id
from muniment.revision import Batch, Revision
from muniment.smuggler.attachments import FILES
from muniment.smuggler.options import DOCUMENTS, KEPT_TYPES, Format
from muniment.smuggler.pending import Deletion, Owned
from muniment.smuggler.reader import FILES_COLLECTION
from muniment.smuggler.sink import Sink
from muniment.smuggler.split import cut_out
from muniment.smuggler.words import HILO, Words, ids_json, members_of, time_json, words

BUILD_VERSION: Final = 62028
LEGACY_METADATA: Final = "@legacy-attachment-metadata"
IN_MEMORY: Final = 4 << 20
TOGETHER: Final = 512  # documents of a batch that are joined at once

BATCH_BYTES: Final = 8 << 20  # of Parquet

Content = Callable[[Revision], Iterator[bytes]]


class Writer(Protocol):
    """A format being written.

    `inline` says that attachments are written with the documents that own them, before `loose` is asked to write the
    others. `carries` are the types of items that the format has a place for.
    """

    inline: bool
    carries: frozenset[str]

    def begin(self) -> None: ...

    def batch(self, batch: Batch) -> None:
        """Write documents that are neither changed nor left out and have no attachments."""

    def document(self, revision: Revision, owned: list[Owned]) -> None:
        """Write a document; raises `InvalidDocument`, having written nothing, if it has no place in the format."""

    def loose(self, attachments: Iterable[Revision]) -> None:
        """Write attachments that no document has taken; called once, after the last document."""

    def identities(self, identities: Iterable[tuple[str, int]]) -> None: ...

    def deletions(self, documents: Iterable[Deletion], attachments: Iterable[Deletion]) -> None: ...

    def end(self) -> None: ...


class DumpWriter:
    """A `.ravendbdump`, as RavenDB 4 and later have it."""

    inline = True
    carries = KEPT_TYPES

    def __init__(self, sink: Sink, content: Content) -> None:
        self._write = sink.write
        self._content = content
        self._comma = b""
        self._written: set[bytes] = set()

    def begin(self) -> None:
        """The sections before the documents."""
        self._write(b'{"BuildVersion":%d,"Docs":[' % BUILD_VERSION)

    def batch(self, batch: Batch) -> None:
        """See `Writer`."""
        for piece in _pieces(b",", dump_documents(batch)):
            self._write(self._comma + piece)
            self._comma = b","

    def document(self, revision: Revision, owned: list[Owned]) -> None:
        """See `Writer`; contents that have not been written before come first."""
        with_own_metadata(repr(revision.id), revision.metadata, revision.body or b"")  # before anything is written
        named = [self._attachment(each.revision, revision.id, each.name) for each in owned]
        self._write(self._comma + dump_document(revision, named))
        self._comma = b","

    def loose(self, attachments: Iterable[Revision]) -> None:
        """Documents stand in for the attachments that belong to none, as RavenDB makes them of its own old dumps."""
        for revision in attachments:
            id = FILES + revision.id
            named = self._attachment(revision, id, revision.id)
            metadata = {
                "@attachments": [{name: value for name, value in named.items() if name != "Metadata"}],
                "@collection": FILES_COLLECTION,
                "@flags": "HasAttachments",
                "@id": id,
                "@last-modified": msgspec.Raw(time_json(revision.modified)),
                LEGACY_METADATA: msgspec.Raw(revision.metadata),
            }
            self._write(b',{"@metadata":' + encode(metadata) + b"}")

    def _attachment(self, revision: Revision, id: str, name: str) -> dict[str, Any]:
        """Write the content unless this dump has it already; returns what a document says of the attachment."""
        kept = read_whole(revision, self._content) if revision.size <= IN_MEMORY else None
        digest = hashlib.blake2b(digest_size=32)
        for part in (kept,) if kept is not None else self._content(revision):
            digest.update(part)
        hash = base64.b64encode(digest.digest()).decode()
        type = content_type(revision.metadata)
        if digest.digest() not in self._written:
            self._written.add(digest.digest())
            tag = f"{fold(id)}|d|{fold(name)}|{hash}|{type}"
            header = {"@metadata": {"@export-type": "Attachment"}, "Hash": hash, "Size": revision.size, "Tag": tag}
            self._write(self._comma + encode(header))
            for part in (kept,) if kept is not None else checked(revision, self._content):
                self._write(part)
            self._comma = b","
        named: dict[str, Any] = {"Name": name, "Hash": hash, "ContentType": type, "Size": revision.size}
        implied = {"Content-Type": type, "Hash": hash} if type else {"Hash": hash}
        if SEPARATOR not in revision.id and not id.startswith(FILES):
            named["Key"] = revision.id  # which our own import stores it under again
        if revision.metadata != encode(implied):
            named["Metadata"] = msgspec.Raw(revision.metadata)
        return named

    def deletions(self, documents: Iterable[Deletion], attachments: Iterable[Deletion]) -> None:
        """The section of tombstones."""
        self._write(b'],"Tombstones":[')
        kinds = chain((("Document", each) for each in documents), (("Attachment", each) for each in attachments))
        comma = b""
        for type, deletion in kinds:
            for tombstone in _tombstones(type, deletion):
                self._write(comma + encode(tombstone))
                comma = b","

    def identities(self, identities: Iterable[tuple[str, int]]) -> None:
        """The section of identities, whose keys end in a bar."""
        keyed = [
            {"Key": prefix[:-1] + "|" if prefix.endswith("/") else prefix, "Value": str(value)}
            for prefix, value in identities
        ]
        self._write(b'],"Identities":' + encode(keyed)[:-1])

    def end(self) -> None:
        """The end of the last section and of the dump."""
        self._write(b"]}")


class LegacyDumpWriter:
    """A `.ravendump`, as RavenDB 2 and 3 have it: attachments stand by themselves, in base64."""

    inline = False
    carries = KEPT_TYPES

    def __init__(self, sink: Sink, content: Content) -> None:
        self._write = sink.write
        self._content = content
        self._comma = b""

    def begin(self) -> None:
        """The sections before the documents."""
        self._write(b'{"Indexes":[],"Docs":[')

    def batch(self, batch: Batch) -> None:
        """See `Writer`."""
        for piece in _pieces(b",", dump_documents(batch, legacy=True)):
            self._write(self._comma + piece)
            self._comma = b","

    def document(self, revision: Revision, owned: list[Owned]) -> None:
        """See `Writer`."""
        self._write(self._comma + dump_document(revision, [], legacy=True))
        self._comma = b","

    def loose(self, attachments: Iterable[Revision]) -> None:
        """The section of attachments."""
        self._write(b'],"Attachments":[')
        for number, revision in enumerate(attachments):
            self._write((b"," if number else b"") + b'{"Data":"')
            for piece in _base64(checked(revision, self._content)):
                self._write(piece)
            self._write(b'","Metadata":' + revision.metadata + b"," + encode(_key_members(revision.id))[1:])
        self._write(b'],"Transformers":[')

    def deletions(self, documents: Iterable[Deletion], attachments: Iterable[Deletion]) -> None:
        """The two sections of deletions."""
        for section, deleted in ((b"DocsDeletions", documents), (b"AttachmentsDeletions", attachments)):
            self._write(b'],"%s":[' % section)
            for number, deletion in enumerate(deleted):
                self._write((b"," if number else b"") + encode(_key_members(deletion.id)))

    def identities(self, identities: Iterable[tuple[str, int]]) -> None:
        """The section of identities."""
        self._write(b'],"Identities":' + encode([{"Key": key, "Value": str(value)} for key, value in identities])[:-1])

    def end(self) -> None:
        """The end of the last section and of the dump."""
        self._write(b"]}")


class LinesWriter:
    """NDJSON: a document a line, with its metadata as in a `.ravendbdump`. It has no place for anything else."""

    inline = False
    carries = frozenset({DOCUMENTS})

    def __init__(self, sink: Sink) -> None:
        self._write = sink.write

    def begin(self) -> None:
        """Nothing comes before the documents."""

    def batch(self, batch: Batch) -> None:
        """See `Writer`."""
        documents = dump_documents(batch)
        if any(end in data for data in (batch.bodies.data, batch.metadata.data) for end in (b"\n", b"\r")):
            documents = map(_one_line, documents)
        for piece in _pieces(b"\n", documents):
            self._write(piece + b"\n")

    def document(self, revision: Revision, owned: list[Owned]) -> None:
        """See `Writer`."""
        self._write(_one_line(dump_document(revision, [])) + b"\n")

    def loose(self, attachments: Iterable[Revision]) -> None:
        """Attachments have no place."""

    def identities(self, identities: Iterable[tuple[str, int]]) -> None:
        """Identities have no place."""

    def deletions(self, documents: Iterable[Deletion], attachments: Iterable[Deletion]) -> None:
        """Deletions have no place."""

    def end(self) -> None:
        """Nothing comes after the documents."""


class ParquetWriter:
    """Documents in the columns that a backup gives them."""

    inline = False
    carries = frozenset({DOCUMENTS})

    def __init__(self, sink: Sink) -> None:
        self._table = DocumentTable(sink.write)
        self._waiting: list[Revision] = []
        self._size = 0

    def begin(self) -> None:
        """The file begins by itself."""

    def batch(self, batch: Batch) -> None:
        """See `Writer`."""
        self._flush()
        self._table.write(batch)

    def document(self, revision: Revision, owned: list[Owned]) -> None:
        """See `Writer`."""
        self._waiting.append(revision)
        self._size += revision.size
        if self._size >= BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._table.write(Batch.of(self._waiting))
        self._waiting, self._size = [], 0

    def loose(self, attachments: Iterable[Revision]) -> None:
        """Attachments have no place."""

    def identities(self, identities: Iterable[tuple[str, int]]) -> None:
        """Identities are documents like others here."""

    def deletions(self, documents: Iterable[Deletion], attachments: Iterable[Deletion]) -> None:
        """Deletions have no place."""

    def end(self) -> None:
        """The end of the file, which tells a reader where everything is."""
        self._flush()
        self._table.close()


def writer_of(format: Format, sink: Sink, content: Content) -> Writer:
    """What writes this format."""
    if format == "ravendbdump":
        return DumpWriter(sink, content)
    if format == "ravendump":
        return LegacyDumpWriter(sink, content)
    return LinesWriter(sink) if format == "ndjson" else ParquetWriter(sink)


def _pieces(separator: bytes, documents: Iterator[bytes]) -> Iterator[bytes]:
    """The documents of a batch in pieces of a few hundred, so that all of them are not in memory once more."""
    while group := list(islice(documents, TOGETHER)):
        yield separator.join(group)


def _one_line(document: bytes) -> bytes:
    """Outside its strings JSON may be broken into lines anywhere, and inside them nowhere."""
    return document.replace(b"\n", b" ").replace(b"\r", b" ")


def dump_documents(batch: Batch, *, legacy: bool = False) -> Iterator[bytes]:
    """The documents of a batch as a dump has them."""
    ids = ids_json(batch.ids.values(), batch.ids.data)
    own = b'"@metadata"' in batch.bodies.data or b"\\u0040" in batch.bodies.data
    for id, metadata, modified, body in zip(
        ids, batch.metadata.values(), batch.modified, batch.bodies.values(), strict=True
    ):
        if own:
            metadata, body = with_own_metadata(repr(msgspec.json.decode(id)), metadata, body)
        yield _joined(id, words(metadata, legacy), modified, body, legacy)


def dump_document(revision: Revision, named: list[dict[str, Any]], *, legacy: bool = False) -> bytes:
    """A document as a dump has it, with what it says of its attachments."""
    metadata, body = with_own_metadata(repr(revision.id), revision.metadata, revision.body or b"")
    id = encode(revision.id)
    of = words(metadata, legacy)
    if named:
        members = b'"@attachments":' + encode(named) + b"," + of.members + b'"@flags":"HasAttachments",'
        of = Words(members, of.last_modified, of.collection)
    return _joined(id, of, revision.modified, body, legacy)


def _joined(id: bytes, of: Words, modified: int, body: bytes, legacy: bool) -> bytes:
    members, last_modified, collection = of
    if legacy:
        # RavenDB 3 shows the second, later ones keep the first.
        time = last_modified or time_json(modified)
        id_name, time_name = b'"@id":', b',"Raven-Last-Modified":' + time + b',"Last-Modified":'
    else:
        id_name, time_name = b'"@id":', b',"@last-modified":'
        if not collection:
            hilo = id[1 : len(HILO) + 1].lower() == HILO.encode()
            id_name = b'"@collection":"@hilo","@id":' if hilo else b'"@collection":"@empty","@id":'
    time = last_modified or time_json(modified)
    head = body[:-1]
    if body[-1:] != b"}" or body[-2:-1] in _MAY_BE_EMPTY:
        head = body.rstrip()[:-1]
        name = b'"@metadata":{' if head.strip() == b"{" else b',"@metadata":{'
    else:
        name = b',"@metadata":{'
    return b"".join((head, name, members, id_name, id, time_name, time, b"}}"))


_MAY_BE_EMPTY: Final = (b"{", b" ", b"\t", b"\r", b"\n")


def with_own_metadata(id: str, metadata: bytes, body: bytes) -> tuple[bytes, bytes]:
    """The metadata and body to write of a document, whose body may have a member `@metadata` of its own.

    Such a member joins the metadata, as it does in documents that are stored now. Raises `InvalidDocument` for one that
    can not.
    """
    rest, own = cut_out(body)
    if own is None:
        return metadata, body
    if not own.startswith(b"{"):
        raise InvalidDocument(
            f"document {id} has a member @metadata that is not an object, which has no place in a dump",
            "rename it, or leave the document out",
        )
    return encode({**members_of(metadata_bytes(own)), **members_of(metadata)}), rest


def _tombstones(type: str, deletion: Deletion) -> Iterator[dict[str, Any]]:
    """A deletion as RavenDB writes it; that of an attachment without a document deletes what stands in for one too."""
    key, collection = fold(deletion.id), deletion.collection or "@empty"
    if type == "Attachment":
        stand_in = FILES + deletion.id if deletion.owner is None else deletion.owner
        key = SEPARATOR.join((fold(stand_in), "d", fold(deletion.name), deletion.hash, deletion.type))
        if deletion.owner is None:
            yield _tombstone(fold(stand_in), "Document", FILES_COLLECTION, deletion.modified)
        # RavenDB tells of each content that is deleted or replaced, we of the name that has none at this moment.
        yield {**_tombstone(key, type, None, deletion.modified), "Gone": deletion.id}
        return
    yield _tombstone(key, type, collection, deletion.modified)


def _tombstone(key: str, type: str, collection: str | None, modified: int) -> dict[str, Any]:
    return {
        "Key": key,
        "Type": type,
        "Collection": collection,
        "Flags": "None",
        "ChangeVector": None,
        "DeletedEtag": 0,
        "Etag": 0,
        "LastModified": msgspec.Raw(time_json(modified)),
    }


def _key_members(id: str) -> dict[str, Any]:
    """What a dump for RavenDB 2 and 3, which has keys alone, says of an attachment; our own import reads the owner."""
    owner, _ = split_id(id)
    return {"Key": key_of(id), **({"Owner": owner} if owner else {})}


def read_whole(revision: Revision, content: Content) -> bytes:
    """The content of an attachment in one piece, checked."""
    return b"".join(checked(revision, content))


def checked(revision: Revision, content: Content) -> Iterator[bytes]:
    """The content of an attachment; raises `DamagedDatabase` at its end if it is not what was stored."""
    sha256, size = hashlib.sha256(), 0
    for part in content(revision):
        sha256.update(part)
        size += len(part)
        yield part
    if sha256.digest() != revision.body or size != revision.size:
        raise DamagedDatabase(f"the content of attachment {revision.id!r} was changed", "restore it from a backup")


def _base64(parts: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for part in parts:
        rest += part
        whole = len(rest) - len(rest) % 3
        yield base64.b64encode(rest[:whole])
        rest = rest[whole:]
    yield base64.b64encode(rest)
