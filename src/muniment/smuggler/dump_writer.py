"""The dumps of RavenDB, on their way out: `.ravendbdump` and `.ravendump`.

`docs/dump-formats.md` says what each carries. The shape of a `.ravendbdump` is that of the files which RavenDB 6.2
writes, member for member.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, ClassVar, Final

import msgspec

from muniment.document import SEPARATOR, decode, encode, fold
from muniment.errors import DamagedDatabase
from muniment.fingerprint import ContentDigest
from muniment.owner import content_hash, content_type, key_of, split_id
from muniment.revision import Batch, Revision
from muniment.smuggler.attachments import FILES
from muniment.smuggler.dump_document import dump_document, dumped, with_own_metadata
from muniment.smuggler.kept import RECORD
from muniment.smuggler.metadata import time_json
from muniment.smuggler.options import KEPT_TYPES
from muniment.smuggler.pending import Deletion, Owned
from muniment.smuggler.reader import FILES_COLLECTION
from muniment.smuggler.sink import Sink
from muniment.smuggler.writer import Content, Writer

BUILD_VERSION: Final = 62028
LEGACY_METADATA: Final = "@legacy-attachment-metadata"
IN_MEMORY: Final = 4 << 20


class _SectionsWriter(Writer):
    """What both formats share: an object of sections, each an array."""

    legacy: ClassVar[bool]  # never None here
    carries = KEPT_TYPES

    def __init__(self, sink: Sink, content: Content) -> None:
        self._write = sink.write
        self._content = content
        self._comma = b""
        self._close = b"]"  # what ends the section that is being written
        self._written: set[str] = set()  # hashes of contents

    def batch(self, batch: Batch) -> None:
        """See `Writer`."""
        for piece in dumped(batch, b",", legacy=self.legacy):
            self._item(piece)

    def _item(self, data: bytes) -> None:
        self._write(self._comma)
        self._write(data)
        self._comma = b","

    def _section(self, name: str, items: Iterable[dict[str, Any]]) -> None:
        """End the section before, and begin this one with these items."""
        self._begin(name)
        for item in items:
            self._item(encode(item))

    def _begin(self, name: str) -> None:
        self._write(self._close + b',"%s":[' % name.encode())
        self._comma, self._close = b"", b"]"

    def section(self, name: str, items: Iterable[bytes], contents: Iterable[Revision] = ()) -> None:
        """See `Writer`."""
        if name == RECORD:
            for item in items:
                self._write(self._close + b',"%s":' % name.encode() + item)
                self._close = b""
            return
        self._begin(name)
        for revision in contents:
            self._content_of(revision)
        for item in items:
            self._item(item)

    def _content_of(self, revision: Revision) -> None:
        """Write the content of an attachment of a revision, where the format has a place for it."""

    def end(self) -> None:
        """The end of the last section and of the dump."""
        self._write(self._close + b"}")


class DumpWriter(_SectionsWriter):
    """A `.ravendbdump`, as RavenDB 4 and later have it."""

    legacy = False
    inline = True
    refusable = True

    def begin(self) -> None:
        """The sections before the documents."""
        self._write(b'{"BuildVersion":%d,"Docs":[' % BUILD_VERSION)

    def document(self, revision: Revision, owned: list[Owned]) -> None:
        """See `Writer`; contents that have not been written before come first."""
        with_own_metadata(repr(revision.id), revision.metadata, revision.body or b"")  # before anything is written
        named = [self._attachment(each.revision, revision.id, each.name) for each in owned]
        self._item(dump_document(revision, named))

    def loose(self, attachments: Iterable[Revision]) -> None:
        """Write a document for each attachment that belongs to none, as RavenDB does with its own old dumps."""
        for revision in attachments:
            (owner, _), key = split_id(revision.id), key_of(revision.id)
            id = FILES + key
            named = self._attachment(revision, id, key)
            named.pop("Metadata", None)
            metadata = {
                "@attachments": [named if owner is None else {**named, "Owner": owner}],
                "@collection": FILES_COLLECTION,
                "@flags": "HasAttachments",
                "@id": id,
                "@last-modified": msgspec.Raw(time_json(revision.modified)),
                LEGACY_METADATA: msgspec.Raw(revision.metadata),
            }
            self._item(encode({"@metadata": metadata}))

    def _attachment(self, revision: Revision, id: str, name: str) -> dict[str, Any]:
        """Write the content unless this dump has it already; returns the attachment's entry in the document."""
        kept = b"".join(checked(revision, self._content)) if revision.size <= IN_MEMORY else None
        hash = content_hash((kept,) if kept is not None else self._content(revision))
        type = content_type(revision.metadata)
        if hash not in self._written:
            self._written.add(hash)
            tag = f"{fold(id)}|d|{fold(name)}|{hash}|{type}"
            header = {"@metadata": {"@export-type": "Attachment"}, "Hash": hash, "Size": revision.size, "Tag": tag}
            self._item(encode(header))
            for part in (kept,) if kept is not None else checked(revision, self._content):
                self._write(part)
        named: dict[str, Any] = {"Name": name, "Hash": hash, "ContentType": type, "Size": revision.size}
        implied = {"Content-Type": type, "Hash": hash} if type else {"Hash": hash}
        if SEPARATOR not in revision.id and not id.startswith(FILES):
            named["Key"] = revision.id  # under which our own import stores it again
        if revision.metadata != encode(implied):
            named["Metadata"] = msgspec.Raw(revision.metadata)
        return named

    def _content_of(self, revision: Revision) -> None:
        parts = list(checked(revision, self._content)) if revision.size <= IN_MEMORY else None
        hash = content_hash(self._content(revision) if parts is None else parts)
        told = {"Hash": hash, "Size": revision.size, "Tag": decode(revision.metadata).get("Tag", "")}
        self._item(encode({"@metadata": {"@export-type": "Attachment"}, **told}))
        for part in checked(revision, self._content) if parts is None else parts:
            self._write(part)

    def deletions(self, documents: Iterable[Deletion], attachments: Iterable[Deletion]) -> None:
        """The section of tombstones."""
        kinds = chain((("Document", each) for each in documents), (("Attachment", each) for each in attachments))
        self._section("Tombstones", (tombstone for type, each in kinds for tombstone in _tombstones(type, each)))

    def identities(self, identities: Iterable[tuple[str, int]]) -> None:
        """The section of identities, whose keys end in a bar."""
        keys = ((prefix[:-1] + "|" if prefix.endswith("/") else prefix, value) for prefix, value in identities)
        self._section("Identities", ({"Key": key, "Value": str(value)} for key, value in keys))


class LegacyDumpWriter(_SectionsWriter):
    """A `.ravendump`, as RavenDB 2 and 3 have it: attachments stand by themselves, in base64."""

    legacy = True

    def begin(self) -> None:
        """The sections before the documents."""
        self._write(b'{"Indexes":[],"Docs":[')

    def document(self, revision: Revision, owned: list[Owned]) -> None:
        """See `Writer`."""
        self._item(dump_document(revision, [], legacy=True))

    def loose(self, attachments: Iterable[Revision]) -> None:
        """The section of attachments."""
        self._section("Attachments", ())
        for revision in attachments:
            self._item(b'{"Data":"')
            for piece in _base64(checked(revision, self._content)):
                self._write(piece)
            self._write(b'","Metadata":' + revision.metadata + b"," + encode(_key_members(revision.id))[1:])
        self._section("Transformers", ())

    def deletions(self, documents: Iterable[Deletion], attachments: Iterable[Deletion]) -> None:
        """The two sections of deletions."""
        self._section("DocsDeletions", (_key_members(each.id) for each in documents))
        self._section("AttachmentsDeletions", (_key_members(each.id) for each in attachments))

    def identities(self, identities: Iterable[tuple[str, int]]) -> None:
        """The section of identities."""
        self._section("Identities", ({"Key": key, "Value": str(value)} for key, value in identities))


def _tombstones(type: str, deletion: Deletion) -> Iterator[dict[str, Any]]:
    """A deletion as RavenDB writes it; for an attachment without a document, also that of its stand-in document."""
    key, collection = fold(deletion.id), deletion.collection or "@empty"
    if type == "Attachment":
        stand_in = FILES + deletion.id if deletion.owner is None else deletion.owner
        key = SEPARATOR.join((fold(stand_in), "d", fold(deletion.name), deletion.hash, deletion.type))
        if deletion.owner is None:
            yield _tombstone(fold(stand_in), "Document", FILES_COLLECTION, deletion.modified)
        # RavenDB writes each content that is deleted or replaced; we write each name that has no content now.
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
    """An attachment's names in a dump for RavenDB 2 and 3, which know only the key; our import also reads the owner."""
    owner, _ = split_id(id)
    return {"Key": key_of(id), **({"Owner": owner} if owner else {})}


def checked(revision: Revision, content: Content) -> Iterator[bytes]:
    """The content of an attachment; raises `DamagedDatabase` at its end if it is not what was stored."""
    digest = ContentDigest()
    yield from digest.passing(content(revision))
    if not digest.is_of(revision):
        raise DamagedDatabase(f"the content of attachment {revision.id!r} was changed", "restore it from a backup")


def _base64(parts: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for part in parts:
        rest += part
        whole = len(rest) - len(rest) % 3
        yield base64.b64encode(rest[:whole])
        rest = rest[whole:]
    yield base64.b64encode(rest)
