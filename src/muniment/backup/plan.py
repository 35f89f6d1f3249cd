"""What to write, what to read: decisions made of manifests alone. No file is touched here, so tests are tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from muniment.backup.manifest import File, Kind, Manifest
from muniment.backup.repository import Backup
from muniment.errors import BackupNotFound, ForeignBackup, TargetExists


@dataclass(frozen=True, slots=True)
class BackupPlan:
    """What kind of backup to take, and why; it holds what changed after the etag `after`."""

    kind: Kind
    reason: str
    after: int = 0


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """Which backup to read to get which moment back."""

    backup: Backup

    @property
    def manifest(self) -> Manifest:
        """The manifest of the moment that will be restored."""
        return self.backup.manifest

    @property
    def documents(self) -> list[File]:
        """The files with documents."""
        return self.manifest.files_of("documents")

    @property
    def attachments(self) -> list[File]:
        """The files with attachments."""
        return self.manifest.files_of("attachments")

    @property
    def size(self) -> int:
        """The bytes of all files to read."""
        return self.manifest.size


def plan_backup(existing: Sequence[Manifest], database_id: str, where: str) -> BackupPlan:
    """A full backup into a folder that has none yet; raises `ForeignBackup` or `TargetExists`."""
    for manifest in existing:
        if manifest.database.id != database_id:
            raise ForeignBackup(
                f"{where} holds the backups of another database, {manifest.database.name!r}",
                "give each database a folder of its own",
            )
    if existing:
        raise TargetExists(
            f"{where} already holds a full backup of this database, taken at {existing[-1].snapshot.time}",
            "give a new folder for every full backup",
        )
    return BackupPlan("full", "first")


def plan_restore(available: Sequence[Backup], where: str) -> RestorePlan:
    """The newest moment that these backups hold; raises `BackupNotFound` when there is none, or they are of several."""
    if not available:
        raise BackupNotFound(
            f"there is no complete backup in {where}", "a backup without a manifest.json was not finished; take another"
        )
    if len({backup.manifest.database.id for backup in available}) > 1:
        raise BackupNotFound(f"{where} holds the backups of several databases", "give the folder of one of them")
    return RestorePlan(available[-1])
