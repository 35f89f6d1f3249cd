"""What to write, what to read: decisions made of manifests alone. No file is touched here, so tests are tables."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from muniment.backup.manifest import File, Kind, Manifest
from muniment.backup.repository import Backup, Unusable, stamp, stamp_of, unusable_in
from muniment.document import to_microseconds
from muniment.errors import BackupNotFound, DamagedBackup, ForeignBackup, InvalidInput, MunimentError, UnreachablePoint


@dataclass(frozen=True, slots=True)
class Origin:
    """What a new backup needs to know of the database: who it is, and what its log can still tell.

    `known` are the SHA-256 of the manifests of its backups, `tombstones_from` the etag after which every deletion is in
    the log.
    """

    database_id: str
    lineage: str
    known: Collection[str] = ()
    tombstones_from: int = 0


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
    end. `notes` tell what beside these backups can not be used.
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
    def manifest(self) -> Manifest:
        """The manifest of the last backup to read."""
        return self.backup.manifest

    @property
    def partial(self) -> bool:
        """Whether to stop before the end of the last backup."""
        return self.upto is not None or self.at is not None

    @property
    def files(self) -> list[tuple[Backup, File]]:
        """All files to read."""
        return [(backup, file) for backup in self.chain for file in backup.manifest.files]

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
    return _plan_incremental(existing, origin) if incremental else BackupPlan("full", "asked for")


def _plan_incremental(existing: Sequence[Backup], origin: Origin) -> BackupPlan:
    same = [backup for backup in existing if backup.manifest.database.lineage == origin.lineage]
    if not same:
        return BackupPlan("full", "restored since: new lineage")
    # One that the database does not know was taken from a state that it was put back from, by copying its files: its
    # log has gone another way since.
    known = [backup for backup in same if {backup.sha256, backup.manifest.same_state_as} & {*origin.known}]
    if not known:
        return BackupPlan("full", "the database was put back to a state before its last backup")
    parent = max(known, key=lambda backup: (backup.manifest.through, backup.manifest.completed))
    if parent.manifest.through < origin.tombstones_from:
        return BackupPlan("full", f"history purged past {origin.tombstones_from}: a full backup was taken")
    if newer := newer_unusable(parent, existing):
        return BackupPlan("full", f"the chain is not whole: {newer.error.message}")
    try:
        chain_of(parent, existing)
    except DamagedBackup as error:
        return BackupPlan("full", f"the chain is not whole: {error.message}")
    return BackupPlan("incremental", "asked for", parent.manifest.through, parent)


def newer_unusable(newest: Backup, available: Sequence[Backup]) -> Unusable | None:
    """A backup that can not be used and was begun after this one, or may have been: its folder's name tells."""
    begun = stamp(datetime.fromisoformat(newest.manifest.started))
    last = max(begun, stamp_of(newest.name) or "")  # a merged backup has the times of the last that went into it
    newer = [bad for bad in unusable_in(available) if bad.ours and (bad.stamp is None or bad.stamp > last)]
    return newer[-1] if newer else None


def plan_restore(
    available: Sequence[Backup],
    where: str,
    *,
    at: datetime | None = None,
    etag: int | None = None,
    backup: str | None = None,
) -> RestorePlan:
    """The newest moment that these backups hold, or the one that is named: a time, an etag, or the end of a backup.

    Raises `BackupNotFound` when there is none, `UnreachablePoint` with the nearest moments that can be reached,
    `DamagedBackup` when a link of the chain is missing or was changed, and `InvalidInput` for two moments at once.
    """
    given = [name for name, value in (("time", at), ("etag", etag), ("backup", backup)) if value is not None]
    if len(given) > 1:
        raise InvalidInput(f"{' and '.join(given)} each name a moment", "give one of them")
    if backup is not None:
        backup = backup.rstrip("/")
    unusable = unusable_in(available)
    for bad in unusable:
        if backup == bad.folder.name or not available:
            raise _unusable(bad, available)
    if not available:
        raise BackupNotFound(
            f"there is no complete backup in {where}",
            "give the folder that backups were written to; one without a manifest.json was not finished",
        )
    if len({found.manifest.database.id for found in available}) > 1:
        raise BackupNotFound(f"{where} holds the backups of several databases", "give the folder of one of them")
    if backup is not None:
        named = [found for found in available if backup in (found.name, *found.aliases)]
        if not named:
            raise BackupNotFound(f"there is no complete backup {backup!r} in {where}", "give the name of its folder")
        return RestorePlan(chain_of(named[0], available))
    newest, *older = ends_of(available)
    if etag is not None:
        return _plan_etag(chain_of(newest, available), etag)
    if at is not None:
        return _plan_time(_chain_at(newest, older, available, to_microseconds(at)), to_microseconds(at))
    if newer := newer_unusable(newest, available):
        raise _unusable(newer, available)
    return RestorePlan(chain_of(newest, available))


def _unusable(bad: Unusable, available: Sequence[Backup]) -> MunimentError:
    """The error of one that is needed; its hint names what can be restored all the same."""
    error = type(bad.error)(f"{bad.folder.name} can not be used: {bad.error.message}", bad.error.hint)
    for end in ends_of(available):
        with suppress(DamagedBackup):
            chain_of(end, available)
            time = end.manifest.snapshot.time
            error.hint += f"; the newest state that can be restored without it is that of {time}: --backup {end.name}"
            break
    return error


def ends_of(available: Sequence[Backup]) -> list[Backup]:
    """The last backups of all chains, the one that was completed last first."""
    continued = {found.manifest.parent.sha256 for found in available if found.manifest.parent}
    ends = [found for found in available if not {found.sha256, found.manifest.same_state_as} & continued]
    return sorted(ends, key=lambda found: (found.manifest.completed, found.manifest.through), reverse=True)


def _chain_at(newest: Backup, older: Sequence[Backup], available: Sequence[Backup], at: int) -> tuple[Backup, ...]:
    """The newest chain that reaches this time from both sides; the newest of all when none does."""
    for end in (newest, *older):
        if at <= _time(end):
            chain = chain_of(end, available)
            if _time(chain[0]) <= at:
                return chain
    return chain_of(newest, available)


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


def _time(backup: Backup) -> int:
    return to_microseconds(datetime.fromisoformat(backup.manifest.snapshot.time))


def _plan_time(chain: tuple[Backup, ...], at: int) -> RestorePlan:
    if at > _time(chain[-1]):
        raise _unreachable("that time is after the last backup", [chain[-1]])
    length = next(number for number, backup in enumerate(chain, 1) if _time(backup) >= at)
    if _time(chain[length - 1]) == at:
        return RestorePlan(chain[:length])
    if length == 1:
        raise _unreachable("that time is before the first backup", [chain[0]])
    _check_history(chain[length - 1], chain[length - 2])
    return RestorePlan(chain[:length], at=at)


def _plan_etag(chain: tuple[Backup, ...], etag: int) -> RestorePlan:
    if etag > chain[-1].manifest.through:
        raise _unreachable("that etag is after the last backup", [chain[-1]])
    length = next(number for number, backup in enumerate(chain, 1) if backup.manifest.through >= etag)
    if chain[length - 1].manifest.through == etag:
        return RestorePlan(chain[:length])
    if length == 1:
        raise _unreachable("that etag is before the end of the first backup", [chain[0]])
    _check_history(chain[length - 1], chain[length - 2], etag)
    return RestorePlan(chain[:length], upto=etag)


def _check_history(backup: Backup, before: Backup, etag: int | None = None) -> None:
    """Raises `UnreachablePoint` when a moment inside this backup can not be told from it."""
    whole_from, through = backup.manifest.whole_from, backup.manifest.through
    if whole_from == through and through > backup.manifest.after:
        raise _unreachable(f"{backup.name} was taken without history", [before, backup])
    if etag is not None and etag < whole_from:
        raise _unreachable(f"the history in {backup.name} begins at etag {whole_from}", [before, backup])


def _unreachable(why: str, nearest: Sequence[Backup]) -> UnreachablePoint:
    points = " and ".join(f"{backup.manifest.snapshot.time} (etag {backup.manifest.through})" for backup in nearest)
    return UnreachablePoint(f"this moment can not be restored: {why}", f"the nearest that can: {points}")
