"""What to write and what to read, decided from manifests alone. No file is touched here, so tests are tables."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from muniment.backup.manifest import FORMAT, File, Kind, Manifest
from muniment.backup.proof import missing_note
from muniment.backup.repository import Backup, Unusable, stamp, stamp_of, unusable_in
from muniment.errors import DamagedBackup, ForeignBackup

PUT_BACK: Final = "the database was put back"  # so begins the reason of a backup that was taken after that


@dataclass(frozen=True, slots=True)
class Origin:
    """What a new backup needs to know about the database: its identity, and what its log still holds.

    `known` are the SHA-256 of the manifests of its backups, `tombstones_from` the etag after which every deletion is in
    the log. `encrypted` says that the new backup is to be; a chain is as a whole or not at all.
    """

    database_id: str
    lineage: str
    known: Collection[str] = ()
    tombstones_from: int = 0
    encrypted: bool = False


@dataclass(frozen=True, slots=True)
class BackupPlan:
    """What kind of backup to take, and why; it holds what changed after the etag `after`."""

    kind: Kind
    reason: str
    after: int = 0
    parent: Backup | None = None


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """Which backups to read, oldest first, to get which moment back.

    `upto` is the etag, or `at` the time in microseconds, at which to stop inside the last of them; both None for its
    end. `notes` tell what beside these backups cannot be used.
    """

    chain: tuple[Backup, ...]
    upto: int | None = None
    at: int | None = None
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def backup(self) -> Backup:
        """The last backup to read."""
        return self.chain[-1]

    @property
    def place(self) -> Path:
        """The folder that the backups are in."""
        return self.backup.folder.parent

    @property
    def manifest(self) -> Manifest:
        """The manifest of the last backup to read."""
        return self.backup.manifest

    @property
    def encrypted(self) -> bool:
        """Whether the backups are, so that nothing of them should be in clear anywhere in passing."""
        return any(backup.manifest.encryption for backup in self.chain)

    @property
    def partial(self) -> bool:
        """Whether to stop before the end of the last backup."""
        return self.upto is not None or self.at is not None

    @property
    def files(self) -> list[tuple[Backup, File]]:
        """All files to read."""
        return [(backup, file) for backup in self.chain for file in backup.manifest.files]

    @property
    def missing(self) -> tuple[str, ...]:
        """A sentence for each backup that left out damaged revisions."""
        return tuple(note for each in self.chain for note in missing_note(each.manifest.skipped, each.name))

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """A sentence for each file that was read from another copy, when it has been."""
        return tuple(told for each in self.chain for told in each.elsewhere)

    @property
    def size(self) -> int:
        """The bytes of all files to read."""
        return sum(backup.manifest.size for backup in self.chain)

    @property
    def rows(self) -> int:
        """The rows in all files to read."""
        return sum(file.rows for _, file in self.files)


def plan_backup(existing: Sequence[Backup], origin: Origin, where: str, *, incremental: bool = False) -> BackupPlan:
    """A full backup, which begins a chain, or an incremental one onto the newest of this lineage.

    Raises `ForeignBackup` when the folder holds another database's. Where an incremental backup could miss something,
    or the chain is not whole, the plan is a full one, with the reason.
    """
    for backup in existing:
        if backup.manifest.database.id != origin.database_id:
            raise ForeignBackup(
                f"{where} holds the backups of another database, {backup.manifest.database.name!r}",
                "give each database a folder of its own",
            )
    unusable = [bad for bad in unusable_in(existing) if bad.ours]
    if not existing and incremental and unusable:
        return BackupPlan("full", f"no backup there can be used: {unusable[-1].error.message}")
    if not existing and not unusable:
        return BackupPlan("full", "first")
    same = [backup for backup in existing if backup.manifest.database.lineage == origin.lineage]
    # One that the database does not know was taken from a state that it was put back from, by copying its files, or by
    # a copy of it: its log has gone another way since.
    known = [backup for backup in same if {backup.sha256, backup.manifest.same_state_as} & {*origin.known}]
    if same and not known:
        return BackupPlan("full", f"{PUT_BACK} to a state before its last backup")
    last = max((backup.manifest.completed for backup in known), default="")
    if others := [backup for backup in same if backup not in known and backup.manifest.completed > last]:
        return BackupPlan("full", f"{PUT_BACK}, or copied: {others[-1].name} is not of its log")
    if not incremental:
        return BackupPlan("full", "asked for")
    return _plan_incremental(existing, known, origin) if same else BackupPlan("full", "restored since: new lineage")


def _plan_incremental(existing: Sequence[Backup], known: Sequence[Backup], origin: Origin) -> BackupPlan:
    parent = max(known, key=lambda backup: (backup.manifest.through, backup.manifest.completed))
    if parent.manifest.through < origin.tombstones_from:
        return BackupPlan("full", f"history purged past {origin.tombstones_from}: a full backup was taken")
    if parent.manifest.format < FORMAT:
        return BackupPlan("full", f"format {FORMAT}: the backups there have format {parent.manifest.format}")
    if origin.encrypted and not parent.manifest.encryption:
        return BackupPlan("full", "to be encrypted, which the backups there are not")
    if parent.manifest.encryption and not origin.encrypted:
        return BackupPlan("full", "not to be encrypted, as was asked for, which the backups there are")
    if parent.manifest.skipped:
        return BackupPlan("full", f"{parent.name} was taken without what was damaged")
    if newer := newer_unusable(parent, existing):
        return BackupPlan("full", f"the chain is not whole: {newer.error.message}")
    try:
        chain_of(parent, existing)
    except DamagedBackup as error:
        return BackupPlan("full", f"the chain is not whole: {error.message}")
    return BackupPlan("incremental", "asked for", parent.manifest.through, parent)


def newer_unusable(newest: Backup, available: Sequence[Backup]) -> Unusable | None:
    """A backup that cannot be used and was begun after this one, or may have been: its folder's name tells."""
    begun = stamp(datetime.fromisoformat(newest.manifest.started))
    last = max(begun, stamp_of(newest.name) or "")  # a merged backup has the times of the last that went into it
    newer = [bad for bad in unusable_in(available) if bad.ours and (bad.stamp is None or bad.stamp > last)]
    return newer[-1] if newer else None


def ends_of(available: Sequence[Backup]) -> list[Backup]:
    """The last backups of all chains, the one that was completed last first."""
    continued = {found.manifest.parent.sha256 for found in available if found.manifest.parent}
    ends = [found for found in available if not {found.sha256, found.manifest.same_state_as} & continued]
    return sorted(ends, key=lambda found: (found.manifest.completed, found.manifest.through), reverse=True)


def chain_of(last: Backup, available: Iterable[Backup]) -> tuple[Backup, ...]:
    """The full backup and the incrementals that lead to this one; raises `DamagedBackup` at a gap."""
    unusable = unusable_in(available) if isinstance(available, Sequence) else ()
    available = list(available)
    by_digest = {state: backup for backup in available if (state := backup.manifest.same_state_as)}
    by_digest |= {backup.sha256: backup for backup in available}
    chain = [last]
    while parent := chain[-1].manifest.parent:
        found = by_digest.get(parent.sha256)
        if found is None:
            bad = [str(bad.error) for bad in unusable if bad.folder.name == parent.backup]
            raise DamagedBackup(
                f"{chain[-1].name} continues {parent.backup}, which is missing or was changed"
                + (f": {bad[0]}" if bad else ""),
                "put that backup back beside it, or restore an earlier moment with --backup",
            )
        older, newer = found.manifest, chain[-1].manifest
        if (older.encryption is None) != (newer.encryption is None):
            clear, other = (chain[-1], found) if newer.encryption is None else (found, chain[-1])
            raise DamagedBackup(
                f"the manifest in {clear.folder} is in clear, and that of {other.name}, of the same chain, is"
                " encrypted: a chain is of one kind",
                "see who has written it; restore an earlier moment with --backup",
            )
        if (
            older.through != newer.after
            or _history(older) != _history(newer)
            or older.snapshot.time > newer.snapshot.time
        ):
            raise DamagedBackup(f"{chain[-1].name} does not continue {found.name}", "restore an earlier moment")
        chain.append(found)
    return tuple(reversed(chain))


def _history(manifest: Manifest) -> tuple[str, str]:
    """Which history a backup is of; the database's name is only its folder's, which may be given another."""
    return manifest.database.id, manifest.database.lineage
