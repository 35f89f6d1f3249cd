"""What is told of a backup that was taken, whoever has taken it."""

from __future__ import annotations

import msgspec

from muniment.backup.expire import Expired
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


class DecisionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided of a backup, and why; `after` is from when on it may be removed, if it is to go and is there."""

    backup: str
    kind: str
    completed: str
    bytes: int
    kept: bool
    reasons: tuple[str, ...]
    after: str | None = None
    removed: bool = False


class ExpirySummary(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the backups in a folder by a policy, or with `dry_run` would; `freed` in bytes."""

    place: str
    dry_run: bool
    decisions: tuple[DecisionSummary, ...]
    removed: int
    freed: int
    merged: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, done: Expired) -> ExpirySummary:
        """What there is to tell of this one."""
        after = {backup.folder: time for backup, time in done.waiting}
        gone = {backup.folder for backup in done.removed}
        return cls(
            place=unicode(str(done.place)),
            dry_run=done.dry_run,
            decisions=tuple(
                DecisionSummary(
                    backup=each.backup.name,
                    kind=each.backup.manifest.kind,
                    completed=each.backup.manifest.completed,
                    bytes=each.backup.manifest.size,
                    kept=each.kept,
                    reasons=tuple(map(unicode, each.reasons)),
                    after=after.get(each.backup.folder),
                    removed=each.backup.folder in gone,
                )
                for each in done.decisions
            ),
            removed=len(done.removed),
            freed=done.freed,
            merged=tuple(backup.name for backup in done.merged),
            notes=tuple(map(unicode, done.notes)),
        )
