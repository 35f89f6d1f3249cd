"""The manifest of a backup: everything that a plan needs to know, as one JSON object. Format version 1.

`docs/backup-format.md` describes every member. The manifest is written last: a backup without one does not exist.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, Literal

import msgspec

from muniment.errors import DamagedBackup, UnknownFormat
from muniment.fingerprint import Fingerprint

FORMAT: Final = 1
NAME: Final = "manifest.json"

Kind = Literal["full", "incremental"]


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One data file of a backup. Its rows are in etag order; the etags of two files may interleave."""

    name: str
    size: int
    sha256: str
    rows: int
    first_etag: int
    last_etag: int


class DatabaseIdentity(msgspec.Struct, frozen=True):
    """Which database a backup is of, and which history of it."""

    id: str
    lineage: str
    name: str


class SnapshotRecord(msgspec.Struct, frozen=True):
    """The moment that a backup holds: the last etag and the time of its transaction, RFC 3339 with microseconds."""

    etag: int
    time: str


class Parent(msgspec.Struct, frozen=True):
    """The backup that an incremental one continues: its folder's name and the SHA-256 of its manifest."""

    backup: str
    sha256: str


class Counts(msgspec.Struct, frozen=True):
    """What is in the files of this backup. Bytes are those of bodies and contents, before compression."""

    documents: int
    document_tombstones: int
    attachments: int
    attachment_tombstones: int
    bytes: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A whole backup. `after` and `through` are the etags between which its files hold what changed."""

    format: int = FORMAT
    software: str
    kind: Kind
    reason: str
    database: DatabaseIdentity
    engine: str
    started: str
    completed: str
    snapshot: SnapshotRecord
    after: int
    through: int
    parent: Parent | None = None
    counts: Counts
    fingerprint: dict[str, Any]
    encryption: None = None
    files: tuple[File, ...]

    def fingerprint_at_snapshot(self) -> Fingerprint:
        """What a restore to the end of this backup must reproduce."""
        return Fingerprint.from_json(self.fingerprint)

    def files_of(self, kind: str) -> list[File]:
        """The files with documents or with attachments."""
        return [file for file in self.files if file.name.startswith(kind)]

    @property
    def size(self) -> int:
        """The bytes of all data files."""
        return sum(file.size for file in self.files)


class _Version(msgspec.Struct):
    format: int
    software: str = "an unknown version"


def encode(manifest: Manifest) -> bytes:
    """The manifest as it is written: indented JSON, for people read it too."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode(text: bytes, where: str) -> Manifest:
    """Read a manifest; raises `UnknownFormat` for a newer format and `DamagedBackup` for one that makes no sense."""
    try:
        version = msgspec.json.decode(text, type=_Version)
        if version.format > FORMAT:
            raise UnknownFormat(
                f"the backup in {where} has format {version.format}, written by {version.software};"
                f" this software reads up to {FORMAT}",
                f"restore it with {version.software} or newer",
            )
        manifest = msgspec.json.decode(text, type=Manifest)
        manifest.fingerprint_at_snapshot()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DamagedBackup(
            f"the manifest in {where} is not one: {error}", "use another backup, or another copy of this one"
        ) from error
    return manifest


def digest(text: bytes) -> str:
    """What a child writes down of its parent's manifest."""
    return hashlib.sha256(text).hexdigest()
