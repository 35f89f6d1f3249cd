"""How far a database could be recovered, from what its backups say, when that was last tried, and what to do next.

Only manifests and records are read, no data: whether that is as it was written is what verifying and rehearsing tell.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from muniment.backup.plan import chain_of, ends_of
from muniment.backup.reach import Point, restorable
from muniment.backup.repository import Backup, Backups, Record, RecordKind, backups, records
from muniment.document import from_microseconds, rfc3339
from muniment.errors import DamagedBackup, MunimentError, StorageFailure
from muniment.storage.base import BackupPlace, Identity, Snapshot

REHEARSE_DAYS: Final = 30


class Interval(msgspec.Struct, frozen=True, rename={"first": "from", "last": "to"}):
    """Every transaction from the first point to the last can be restored; when they are the same, only that one."""

    first: Point
    last: Point


class LastBackup(msgspec.Struct, frozen=True, kw_only=True):
    """The last backup of a destination; `age` in seconds, from its end to now."""

    name: str
    kind: str
    reason: str
    etag: int
    time: str
    completed: str
    age: float


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """The last rehearsal or verification: when it ended, how long it took, what was wrong (None: nothing).

    `of_last` says whether it read the last backup of the destination.
    """

    etag: int
    completed: str
    seconds: float
    problem: str | None
    of_last: bool


class DestinationState(msgspec.Struct, frozen=True, kw_only=True):
    """What can be restored from one destination; sizes in bytes.

    `changes_since` is how many changes the last backup does not hold, None when that can not be told. `unfinished` are
    folders without a manifest: of a backup that is being written, or of one that was killed, which may be deleted.
    """

    destination: str
    backups: int
    size: int
    restorable: list[Interval]
    last_backup: LastBackup | None
    changes_since: int | None
    last_verification: Proof | None
    last_rehearsal: Proof | None
    unfinished: list[str]
    problems: list[str]
    next: str | None


class Recoverability(msgspec.Struct, frozen=True, kw_only=True):
    """A database and the destinations it was backed up to, the last one first; `next` is what to do now."""

    name: str
    etag: int
    time: str | None
    destinations: list[DestinationState]
    next: str | None


def recoverability(
    name: str, identity: Identity, snapshot: Snapshot, places: Sequence[BackupPlace], now: int
) -> Recoverability:
    """What these places hold of the database in this state; nothing in them is changed."""
    states = [_destination(place, identity, snapshot, from_microseconds(now)) for place in reversed(places)]
    return Recoverability(
        name=name,
        etag=snapshot.etag,
        time=rfc3339(from_microseconds(snapshot.modified)) if snapshot.etag else None,
        destinations=states,
        next=states[0].next if states else "take a first backup: muniment backup … --dest FOLDER",
    )


def _destination(place: BackupPlace, identity: Identity, snapshot: Snapshot, now: datetime) -> DestinationState:
    folder = Path(place.folder)
    try:
        found, problems = backups(folder), []
        problems += [str(bad) for bad in found.unusable]
    except MunimentError as error:
        found, problems = Backups(folder), [error.message]
    own = [backup for backup in found if backup.manifest.database.id == identity.database_id]
    if len(own) < len(found):
        problems.append("it holds backups of other databases too")
    reach: list[Interval] = []
    for end in reversed(ends_of(own)):
        try:
            reach += [Interval(*points) for points in restorable(chain_of(end, own))]
        except DamagedBackup as error:
            problems.append(error.message)
    last = max(own, key=lambda backup: (backup.manifest.completed, backup.manifest.through), default=None)
    if (last.manifest.through if last else -1) < place.etag and not found.unfinished:
        problems.append(f"the last backup that was begun there, of etag {place.etag:,}, is not there")
    changes = None
    if last and last.manifest.database.lineage == identity.lineage:
        changes = max(snapshot.etag - last.manifest.through, 0)
    proofs = _proofs(folder, own, last)
    return DestinationState(
        destination=place.folder,
        backups=len(own),
        size=sum(backup.manifest.size for backup in own),
        restorable=reach,
        last_backup=_last(last, now) if last else None,
        changes_since=changes,
        last_verification=proofs.get("verification"),
        last_rehearsal=proofs.get("rehearsal"),
        unfinished=[str(path) for path in found.unfinished],
        problems=problems,
        next=_next(place.folder, last, changes, proofs, [] if reach else problems, now),
    )


def _last(backup: Backup, now: datetime) -> LastBackup:
    manifest = backup.manifest
    return LastBackup(
        name=backup.name,
        kind=manifest.kind,
        reason=manifest.reason,
        etag=manifest.through,
        time=manifest.snapshot.time,
        completed=manifest.completed,
        age=max((now - datetime.fromisoformat(manifest.completed)).total_seconds(), 0.0),
    )


def _proofs(folder: Path, own: Sequence[Backup], last: Backup | None) -> dict[RecordKind, Proof]:
    """The last record of each kind that is about one of these backups."""
    known = {backup.sha256 for backup in own}
    found: dict[RecordKind, Proof] = {}
    for record in _records(folder):
        if known & {*record.manifests}:
            found[record.kind] = Proof(
                etag=record.etag,
                completed=record.completed,
                seconds=record.seconds,
                problem=record.problem,
                of_last=last is not None and last.sha256 in record.manifests,
            )
    return found


def _records(folder: Path) -> list[Record]:
    try:
        return records(folder)
    except StorageFailure:  # which the survey has told already
        return []


def _next(
    folder: str,
    last: Backup | None,
    changes: int | None,
    proofs: dict[RecordKind, Proof],
    problems: Sequence[str],
    now: datetime,
) -> str | None:
    """The most urgent thing to do, in plain words, None when there is nothing."""
    place = shlex.quote(folder)
    bad = [proof.problem for proof in proofs.values() if proof.problem]
    for problem in (*bad, *problems):
        return f"take a full backup into a new folder, for this one is no good: {problem}"
    if last is None:
        return f"take a backup: muniment backup … --dest {place}"
    if changes is None:
        return f"take a backup, for the database was restored since: muniment backup … --dest {place} --incremental"
    if changes:
        count = f"{changes:,} {'change' if changes == 1 else 'changes'} since {last.manifest.snapshot.time}"
        return f"take an incremental backup: {count}: muniment backup … --dest {place} --incremental"
    rehearsal = proofs.get("rehearsal")
    if rehearsal is None:
        return f"no rehearsal yet: muniment rehearse {place}"
    if not any(proof.of_last for proof in proofs.values()):
        return f"the last backup was never verified: muniment verify {place}"
    if now - datetime.fromisoformat(rehearsal.completed) > timedelta(days=REHEARSE_DAYS):
        return f"the last rehearsal is more than {REHEARSE_DAYS} days ago: muniment rehearse {place}"
    return None
