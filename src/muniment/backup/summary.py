"""What is told of a backup that was taken, whoever has taken it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from muniment.backup.copying import Copied
from muniment.backup.expire import Expired
from muniment.backup.manifest import Counts, Skipped
from muniment.backup.plan import RestorePlan
from muniment.backup.reader import Moment
from muniment.backup.repository import Backup
from muniment.backup.restore import Restored
from muniment.backup.verify import Verified
from muniment.document import from_microseconds, rfc3339
from muniment.errors import unicode
from muniment.fingerprint import Fingerprint
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


class MomentSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What was found at a moment of backups, and in how many `files` of how many backups, the `chain`.

    What is in it is None where nobody could look in.
    """

    backup: str
    kind: str
    reason: str
    name: str
    database_id: str
    etag: int
    time: str
    documents: int | None
    attachments: int | None
    bytes: int | None
    files: int
    file_bytes: int
    chain: int
    fingerprint: str | None

    @classmethod
    def of(cls, plan: RestorePlan, moment: Moment, found: Fingerprint | None) -> MomentSummary:
        """What there is to tell of this one."""
        return cls(**_moment(plan, moment, found))


class VerificationSummary(MomentSummary, frozen=True, kw_only=True):
    """The newest moment that was proven, or the one asked for, and all `backups` that were read for it."""

    backups: int
    verified: tuple[str, ...]
    unproven: tuple[str, ...]
    record: str | None
    unrecorded: str | None
    seconds: float
    notes: tuple[str, ...]

    @classmethod
    def proven(cls, done: Verified) -> VerificationSummary:
        """What there is to tell of this one."""
        return cls(
            **_moment(done.plan, done.moment, done.state),
            backups=len(done.backups),
            verified=_paths(each.folder for each in done.backups),
            unproven=_paths(each.folder for each in done.unproven),
            record=unicode(str(done.record)) if done.record else None,
            unrecorded=done.unrecorded,
            seconds=round(done.seconds, 3),
            notes=tuple(map(unicode, done.notes)),
        )


class RehearsalSummary(MomentSummary, frozen=True, kw_only=True):
    """The moment that was really restored in `recovery_seconds`, and with the look at it in `seconds`."""

    recovery_seconds: float
    seconds: float
    record: str | None
    unrecorded: str | None
    notes: tuple[str, ...]

    @classmethod
    def rehearsed(
        cls, plan: RestorePlan, restored: Restored, seconds: float, record: Path | None, unrecorded: str | None
    ) -> RehearsalSummary:
        """What there is to tell of this one."""
        return cls(
            **_moment(plan, restored.moment, restored.fingerprint),
            recovery_seconds=round(restored.seconds, 3),
            seconds=round(seconds, 3),
            record=unicode(str(record)) if record else None,
            unrecorded=unrecorded,
            notes=tuple(map(unicode, plan.notes)),
        )


class CopySummary(msgspec.Struct, frozen=True, kw_only=True):
    """Which backups were copied or were there already, and which files were repaired."""

    copied: tuple[str, ...]
    present: tuple[str, ...]
    repaired: tuple[str, ...]
    bytes: int
    seconds: float
    notes: tuple[str, ...]

    @classmethod
    def of(cls, done: Copied) -> CopySummary:
        """What there is to tell of this one."""
        return cls(
            copied=_paths(done.copied),
            present=_paths(done.present),
            repaired=_paths(done.repaired),
            bytes=done.bytes,
            seconds=done.seconds,
            notes=tuple(map(unicode, done.notes)),
        )


def _moment(plan: RestorePlan, moment: Moment, found: Fingerprint | None) -> dict[str, Any]:
    manifest = plan.manifest
    return {
        "backup": unicode(str(plan.backup.folder)),
        "kind": manifest.kind,
        "reason": manifest.reason,
        "name": manifest.database.name,
        "database_id": manifest.database.id,
        "etag": moment.etag,
        "time": rfc3339(from_microseconds(moment.modified)),
        "documents": None if found is None else found.count(DOCUMENT),
        "attachments": None if found is None else found.count(ATTACHMENT),
        "bytes": None if found is None else found.size(DOCUMENT) + found.size(ATTACHMENT),
        "files": len(plan.files),
        "file_bytes": plan.size,
        "chain": len(plan.chain),
        "fingerprint": None if found is None else found.short(),
    }


def _paths(found: Iterable[Path]) -> tuple[str, ...]:
    return tuple(unicode(str(each)) for each in found)


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
