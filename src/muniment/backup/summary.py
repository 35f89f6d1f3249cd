"""What is told of a backup that was taken, whoever has taken it."""

from __future__ import annotations

import msgspec

from muniment.backup.manifest import Counts, Skipped
from muniment.backup.repository import Backup
from muniment.errors import unicode
from muniment.revision import ATTACHMENT, DOCUMENT


class BackupSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The state that a backup holds, and with `written`, `files` and `file_bytes` what was written for it.

    `bytes` are those of bodies and contents, `fingerprint` the first letters of one. `notes` are for whoever took it.
    """

    backup: str
    kind: str
    reason: str
    name: str
    database_id: str
    etag: int
    time: str
    documents: int
    attachments: int
    bytes: int
    written: Counts
    files: int
    file_bytes: int
    fingerprint: str
    encrypted: bool
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, backup: Backup) -> BackupSummary:
        """What there is to tell of this one, which is not encrypted or was opened."""
        manifest, found = backup.manifest, backup.manifest.fingerprint_at_snapshot()
        return cls(
            backup=unicode(str(backup.folder)),
            kind=manifest.kind,
            reason=manifest.reason,
            name=manifest.database.name,
            database_id=manifest.database.id,
            etag=manifest.snapshot.etag,
            time=manifest.snapshot.time,
            documents=found.count(DOCUMENT),
            attachments=found.count(ATTACHMENT),
            bytes=found.size(DOCUMENT) + found.size(ATTACHMENT),
            written=manifest.counts,
            files=len(manifest.files),
            file_bytes=manifest.size,
            fingerprint=found.short(),
            encrypted=manifest.encryption is not None,
            skipped=manifest.skipped,
            notes=tuple(map(unicode, backup.notes)),
        )
