"""The manifest of a backup: everything that a plan needs to know, as one JSON object. Format version 2.

`docs/backup-format.md` describes every member. The manifest is written last: a backup without one does not exist. That
of an encrypted backup has format 3: what tells of the content is encrypted in it, and bound to all the rest.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from muniment.document import to_microseconds
from muniment.errors import DamagedBackup, UnknownFormat
from muniment.fingerprint import Fingerprint
from muniment.revision import ATTACHMENT, DOCUMENT
from muniment.security.data_key import DataKey
from muniment.storage.base import Lineage

FORMAT: Final = 2
ENCRYPTED: Final = 3
NAME: Final = "manifest.json"
_BLANK: Final = "0" * 64

Kind = Literal["full", "incremental"]
Number: TypeAlias = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Hex: TypeAlias = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Time: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{6}Z$")]
FileName: TypeAlias = Annotated[str, Meta(pattern=r"^(documents|attachments)-[0-9]+\.parquet$")]
Uuid: TypeAlias = Annotated[str, Meta(min_length=1)]


class File(msgspec.Struct, frozen=True, omit_defaults=True):
    """One data file of a backup. Its rows are in etag order; the etags of two files may interleave.

    `rows_digest` is the sum of the digests of all its rows (`fingerprint.row_digest`), those of superseded revisions
    and deletions too; format 1 had none. `footer` is the SHA-256 of the end of the file, from Parquet's metadata on:
    what is read before anything else where not all of it is. Older software did not write it.
    """

    name: FileName
    size: Number
    sha256: Hex
    rows: Number
    first_etag: Number
    last_etag: Number
    rows_digest: Hex | None = None
    footer: Hex | None = None

    @property
    def kind(self) -> int:
        """Whether its rows are documents or attachments."""
        return DOCUMENT if self.name.startswith("documents") else ATTACHMENT


class Skipped(msgspec.Struct, frozen=True):
    """A revision that was damaged in the database and was left out, as the caller asked."""

    kind: Literal["document", "attachment"]
    id: str
    etag: Number
    problem: str


class DatabaseIdentity(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which database a backup is of, and which history of it.

    `lineages` are that history and those that it came from, the oldest first; format 1 could have none.
    """

    id: Uuid
    lineage: Uuid
    name: str
    lineages: tuple[Lineage, ...] = ()


class SnapshotRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """The moment that a backup holds: the last etag and the time of its transaction, RFC 3339 with microseconds.

    `until` says how long that was the state: nothing else was committed up to then. At first format 1 did not have it.
    """

    etag: Number
    time: Time
    until: Time | None = None


class Parent(msgspec.Struct, frozen=True):
    """The backup that an incremental one continues: its folder's name and the SHA-256 of its manifest."""

    backup: str
    sha256: Hex


class Counts(msgspec.Struct, frozen=True):
    """What is in the files of this backup. Bytes are those of bodies and contents, before compression."""

    documents: Number
    document_tombstones: Number
    attachments: Number
    attachment_tombstones: Number
    bytes: Number


class Encryption(msgspec.Struct, frozen=True):
    """How a backup is encrypted: the id of its data key, and what only that opens of the manifest, in base64.

    `sealed` is empty in a manifest that was opened: then everything is in its place.
    """

    key: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    algorithm: Literal["AES_GCM_V1"] = "AES_GCM_V1"
    sealed: Annotated[str, Meta(pattern="^[A-Za-z0-9+/=]*$")] = ""


class _Sealed(msgspec.Struct, frozen=True):
    """What of a manifest tells of the content: names of collections and ids, and digests that prove a guess."""

    fingerprint: dict[str, Any]
    skipped: tuple[Skipped, ...]
    rows_digests: dict[str, Hex]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A whole backup. `after` and `through` are the etags between which its files hold what changed.

    Every moment from the etag `history_from` through the end can be restored; without it, only the end can.
    `database_document` is the SHA-256 of the file with the settings. `same_state_as` is the SHA-256 of the manifest of
    the incremental backup whose state a merged one repeats, so that what continues that one continues this one too.
    `skipped` is what the database had and the backup has not; the fingerprint is that of what is in the backup.
    `checksum` is the SHA-256 of the manifest itself, taken while 64 zeros stand in its place; the first manifests of
    format 1 had none.
    """

    format: int = FORMAT
    software: str
    kind: Kind
    reason: str
    database: DatabaseIdentity
    engine: str
    started: Time
    completed: Time
    snapshot: SnapshotRecord
    after: Number
    through: Number
    history_from: Number | None = None
    parent: Parent | None = None
    same_state_as: Hex | None = None
    counts: Counts
    fingerprint: dict[str, Any]
    encryption: Encryption | None = None
    database_document: Hex
    files: tuple[File, ...]
    skipped: tuple[Skipped, ...] = ()
    checksum: Hex | None = None

    @property
    def closed(self) -> bool:
        """Whether it is encrypted, and was not opened: then it has no fingerprint, and no ids."""
        return self.encryption is not None and self.encryption.sealed != ""

    def fingerprint_at_snapshot(self) -> Fingerprint:
        """What a restore to the end of this backup must reproduce; nothing while it is closed."""
        return Fingerprint.from_json(self.fingerprint)

    @property
    def whole_from(self) -> int:
        """The first etag that can be restored from this backup and its parents, other than the parents' own."""
        return self.through if self.history_from is None else self.history_from

    def files_of(self, kind: int) -> list[File]:
        """The files with documents or with attachments."""
        return [file for file in self.files if file.kind == kind]

    @property
    def size(self) -> int:
        """The bytes of all data files."""
        return sum(file.size for file in self.files)


class _Tally(msgspec.Struct):
    count: Number
    bytes: Number
    digest: Hex


class _Fingerprint(msgspec.Struct):
    documents: dict[str, _Tally]
    attachments: dict[str, _Tally]


class _Version(msgspec.Struct):
    format: Annotated[int, Meta(ge=1)]
    software: str = "an unknown version"


_MEMBERS: Final = frozenset(Manifest.__struct_fields__)


_NOTHING: Final[dict[str, Any]] = {"documents": {}, "attachments": {}}
_OPENED: Final = b'"sealed": ""'


# Made once and here: a process crashes where two threads have msgspec look at a type for the first time.
_decode_sealed: Final = msgspec.json.Decoder(_Sealed).decode
_decode_version: Final = msgspec.json.Decoder(_Version).decode
_decode_manifest: Final = msgspec.json.Decoder(Manifest).decode
msgspec.json.Decoder(_Fingerprint)


def encode(manifest: Manifest, key: DataKey | None = None) -> bytes:
    """The manifest as it is written, with its checksum: indented JSON, for people read it too.

    With a data key, what tells of the content is encrypted.
    """
    blank = msgspec.structs.replace(manifest, checksum=_BLANK, **(_hidden(manifest, key) if key else {}))
    text = msgspec.json.format(msgspec.json.encode(blank), indent=2) + b"\n"
    if key:
        content = _Sealed(
            manifest.fingerprint,
            manifest.skipped,
            {file.name: file.rows_digest for file in manifest.files if file.rows_digest},
        )
        sealed = b64encode(key.seal("manifest", msgspec.json.encode(content), text))
        text = text.replace(_OPENED, b'"sealed": "%s"' % sealed, 1)
    return _with_checksum(text, _BLANK, digest(text))


def _hidden(manifest: Manifest, key: DataKey) -> dict[str, Any]:
    """The members of an encrypted backup's manifest for which others stand in those of a plain one."""
    return {
        "format": ENCRYPTED,
        "fingerprint": _NOTHING,
        "encryption": Encryption(key.id),
        "files": tuple(msgspec.structs.replace(file, rows_digest=None) for file in manifest.files),
        "skipped": tuple(msgspec.structs.replace(each, id="", problem="encrypted") for each in manifest.skipped),
    }


def opened(manifest: Manifest, text: bytes, key: DataKey, where: str) -> Manifest:
    """The manifest with its encrypted part opened; raises `DamagedBackup` if any of it was changed."""
    assert manifest.encryption is not None
    sealed = manifest.encryption.sealed.encode()
    bound = _with_checksum(text, manifest.checksum or "", _BLANK).replace(b'"sealed": "%s"' % sealed, _OPENED, 1)
    try:
        content = key.unseal("manifest", b64decode(sealed), bound)
        if content is None:
            raise ValueError("it was changed by somebody who does not have its data key")
        found = _decode_sealed(content)
        whole = msgspec.structs.replace(
            manifest,
            fingerprint=found.fingerprint,
            skipped=found.skipped,
            files=tuple(
                msgspec.structs.replace(file, rows_digest=found.rows_digests.get(file.name)) for file in manifest.files
            ),
            encryption=msgspec.structs.replace(manifest.encryption, sealed=""),
        )
        _check(whole)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise _untrusted(where, error) from error
    return whole


def _with_checksum(text: bytes, old: str, new: str) -> bytes:
    """The text with another checksum in the last place where the old one stands."""
    head, found, tail = text.rpartition(old.encode())
    return head + new.encode() + tail if found else text


def decode(text: bytes, where: str) -> Manifest:
    """Read a manifest; raises `UnknownFormat` for a newer format and `DamagedBackup` for a malformed one.

    Members that this version does not know are passed over: a newer version of the same format may have added them.
    """
    try:
        text.decode()  # msgspec does not look into the names of members that it passes over
        members = msgspec.json.decode(text, type=dict[str, msgspec.Raw]).keys()
        if not members & _MEMBERS:
            raise ValueError("it has no member of a backup's manifest, so it is not one of ours")
        version = _decode_version(text)
        if version.format > ENCRYPTED:
            raise UnknownFormat(
                f"the backup in {where} has format {version.format}, written by {version.software};"
                f" this software reads up to {ENCRYPTED}",
                f"restore it with {version.software} or newer",
            )
        manifest = _decode_manifest(text)
        if manifest.checksum is None and manifest.format > 1:
            raise ValueError("it has no checksum")
        if manifest.checksum is None:
            # Only the first manifests had none, and no members but these: another may be the checksum, misspelled.
            for name in sorted(members - _MEMBERS):
                raise ValueError(f"it has no checksum, but a member {name!r} that none without one has")
        elif digest(_with_checksum(text, manifest.checksum, _BLANK)) != manifest.checksum:
            raise ValueError("it was changed after it was written: its checksum does not agree")
        if (manifest.format == ENCRYPTED) != (manifest.encryption is not None) or (
            manifest.encryption and not manifest.closed
        ):
            raise ValueError(f"format {ENCRYPTED} is for encrypted backups, and for no others")
        _check(manifest)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise _untrusted(where, error) from error
    return manifest


def _check(manifest: Manifest) -> None:
    msgspec.convert(manifest.fingerprint, _Fingerprint)
    for contradiction in _contradictions(manifest):
        raise ValueError(contradiction)


def _untrusted(where: str, error: Exception) -> DamagedBackup:
    return DamagedBackup(
        f"the manifest in {where} cannot be trusted: {error}", "use another backup, or another copy of this one"
    )


def was_one(text: bytes) -> bool:
    """Whether this is what is left of a manifest, and not a file of the same name that Muniment did not write."""
    return b'"software": "muniment' in text or b'"database_document"' in text


def _contradictions(manifest: Manifest) -> Iterator[str]:
    """The contradictions in a manifest, from a changed byte or an edit by hand."""
    snapshot = manifest.snapshot
    for time in (manifest.started, manifest.completed, snapshot.time, snapshot.until or snapshot.time):
        datetime.fromisoformat(time)
    if snapshot.until and snapshot.until < snapshot.time:
        yield "the snapshot ends before it begins"
    yield from _broken_line(manifest.database)
    counts, files, through = manifest.counts, manifest.files, manifest.through
    if not manifest.after <= through == manifest.snapshot.etag:
        yield "the etags of the snapshot do not agree"
    fingerprint = manifest.fingerprint_at_snapshot()
    size = fingerprint.size(DOCUMENT) + fingerprint.size(ATTACHMENT)
    expected = (fingerprint.count(DOCUMENT), fingerprint.count(ATTACHMENT), size)
    counted = (counts.documents, counts.attachments, counts.bytes)
    if manifest.kind == "full" and not manifest.closed and expected != counted:
        yield "the counts are not those of the fingerprint"
    if sum(file.rows for file in manifest.files_of(DOCUMENT)) != counts.documents + counts.document_tombstones:
        yield "the rows of the files are not as many as the counts"
    if sum(file.rows for file in manifest.files_of(ATTACHMENT)) < counts.attachments + counts.attachment_tombstones:
        yield "the attachments have fewer rows than the counts"
    if (manifest.kind == "incremental") != (manifest.parent is not None):
        yield "an incremental backup has a parent, and a full one has none"
    if not manifest.after <= manifest.whole_from <= through:
        yield "the history begins outside the backup"
    if manifest.format > 1 and not manifest.closed and not all(file.rows_digest for file in files):
        yield "a file has no digest of its rows"
    lineages = manifest.database.lineages
    if manifest.format > 1 and (not lineages or lineages[-1].lineage != manifest.database.lineage):
        yield "the last lineage is not the database's"
    if manifest.skipped and manifest.kind != "full":
        yield "an incremental backup leaves nothing out"
    if len({file.name for file in files}) < len(files):
        yield "a file is named twice"
    if not all(manifest.after < file.first_etag <= file.last_etag <= through for file in files):
        yield "the etags of a file are not those of the backup"


def _broken_line(database: DatabaseIdentity) -> Iterator[str]:
    """What is wrong with the lineages: each comes from the one before, and the last one is the backup's."""
    parent = None
    for lineage in database.lineages:
        for time in (lineage.time, lineage.began):
            if time is not None:
                to_microseconds(datetime.fromisoformat(time))
        if lineage.parent != parent or lineage.etag < 0:
            yield "the lineages do not come from each other"
        parent = lineage.lineage
    if database.lineages and parent != database.lineage:
        yield "the last lineage is not the backup's"


def digest(text: bytes) -> str:
    """What a child writes down of its parent's manifest."""
    return hashlib.sha256(text).hexdigest()
