"""What could be recovered of a database by its backups' manifests, when that was last tried, and what to do next.

Only manifests and records are read, no data: whether the data is undamaged is for verifying and rehearsing to find.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Final

import msgspec

from muniment.backup.destination import place_of
from muniment.backup.lineages import Branch, Span, Tree, past_of
from muniment.backup.plan import chain_of, ends_of
from muniment.backup.proof import missing_note
from muniment.backup.records import Record, RecordKind, records
from muniment.backup.repository import Backup, Backups, backups
from muniment.backup.restore_plan import plan_latest
from muniment.document import from_microseconds, rfc3339
from muniment.errors import DamagedBackup, MunimentError, StorageFailure
from muniment.security.recipients import ForKey, ForPassphrase, ForRecipient, Wrapped
from muniment.storage.base import BackupFacts, BackupPlace, Identity, KeptHistory, Lineage, Snapshot

REHEARSE_DAYS: Final = 30
_OPTIONS: Final = {ForKey: "--key-file", ForPassphrase: "--passphrase-file", ForRecipient: "--identity"}


class LastBackup(msgspec.Struct, frozen=True, kw_only=True):
    """The last backup of a destination; `age` in seconds, from its end to now, `size` in bytes, `seconds` it took."""

    name: str
    kind: str
    reason: str
    etag: int
    time: str
    completed: str
    age: float
    size: int = 0
    seconds: float = 0.0


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

    `there` says whether there is such a folder. `changes_since` is how many changes the last backup does not hold, None
    when that cannot be told. `notes` say what else is there that is not this database's. `unfinished` are
    folders without a manifest: of a backup that is being written, or of one that was killed, which may be deleted.
    `room` is how much can be written there, None where nobody knows, and `full_size` what the last full backup took.
    """

    destination: str
    there: bool
    backups: int
    size: int
    restorable: list[Span]
    last_backup: LastBackup | None
    changes_since: int | None
    last_verification: Proof | None
    last_rehearsal: Proof | None
    unfinished: list[str]
    problems: list[str]
    notes: list[str]
    next: str | None
    room: int | None = None
    full_size: int | None = None


class Recoverability(msgspec.Struct, frozen=True, kw_only=True):
    """A database and the destinations it was backed up to, the last one first; `next` is what to do now.

    Its commands have `…` for what names the database, FOLDER for a new folder where none can be told from here, and
    FILE for one with a secret, and RECIPIENT for whom it is to be.

    `history` tells of the superseded revisions that it keeps, None when it is not set to keep any. `file_bytes` is what
    its own files take, and `room` how much more can be written where they are; None where nobody knows.
    """

    name: str
    etag: int
    time: str | None
    lineage: str
    history: KeptHistory | None
    destinations: list[DestinationState]
    next: str | None
    file_bytes: int | None = None
    room: int | None = None


def recoverability(
    name: str, identity: Identity, snapshot: Snapshot, facts: BackupFacts, now: int, history: KeptHistory | None = None
) -> Recoverability:
    """What can be recovered of the database from the folders it was backed up to; nothing in them is changed."""
    time = from_microseconds(now)
    states = [_destination(place, identity, snapshot.etag, facts.known, time) for place in reversed(facts.places)]
    return Recoverability(
        name=name,
        etag=snapshot.etag,
        time=rfc3339(from_microseconds(snapshot.modified)) if snapshot.etag else None,
        lineage=identity.lineage,
        history=history,
        destinations=states,
        next=states[0].next if states else _first(identity),
    )


def of_backups(folder: Path, now: int) -> list[Recoverability]:
    """What can be recovered from the backups in a folder, of each database that has some there, by their names.

    Of their databases nothing is known: neither what has changed there since, nor what is to be done next. Raises what
    is wrong with the backups there where none can be used.
    """
    found, told = backups(folder), []
    if found.unusable and not found:
        plan_latest(found, str(folder))
    for id in {backup.manifest.database.id for backup in found}:
        same = [backup for backup in found if backup.manifest.database.id == id]
        last = max(same, key=_age).manifest
        identity = Identity(id, last.database.lineage, last.database.lineages)
        known = {backup.manifest.same_state_as or backup.sha256 for backup in same} | {each.sha256 for each in same}
        place = BackupPlace(str(folder), last.through, 0)
        state = _destination(place, identity, None, known, from_microseconds(now))
        told.append(
            Recoverability(
                name=last.database.name,
                etag=last.through,
                time=last.snapshot.time,
                lineage=last.database.lineage,
                history=None,
                destinations=[msgspec.structs.replace(state, next=None)],
                next=None,
            )
        )
    return sorted(told, key=lambda each: each.name)


def _first(identity: Identity) -> str:
    restored = identity.lineages and identity.lineages[-1].parent
    what = "it has no backup since it was restored: take one into the folder it came from, or into a new one"
    return f"{what if restored else 'take a first backup'}: muniment backup … --dest FOLDER"


def _destination(
    place: BackupPlace, identity: Identity, etag: int | None, known: Collection[str], now: datetime
) -> DestinationState:
    folder = Path(place.folder)
    there, problems = True, []
    try:
        folder = place_of(place.folder)
        found = backups(folder)
        problems += [str(bad) for bad in found.unusable]
    except MunimentError as error:
        there, found, problems = False, Backups(folder), [error.message]
    same = [backup for backup in found if backup.manifest.database.id == identity.database_id]
    problems += _gaps(same)
    line = list(_line(same, identity, known))
    own = [backup for branch in line for backup in branch.backups]
    last = max(line[0].backups or own, key=_age, default=None)
    begun = max((backup.manifest.through for backup in same), default=-1)
    if there and begun < place.etag and not found.unfinished:
        problems.append(f"the last backup that was begun there, of etag {place.etag:,}, is not there")
    changes = None
    if etag is not None and last and last in line[0].backups:
        changes = max(etag - last.manifest.through, 0)
    reach = past_of(line)
    newest = Tree(same).newest()
    if last:
        problems += missing_note(last.manifest.skipped, last.name)
    proofs = _proofs(folder, own, last)
    return DestinationState(
        destination=place.folder,
        there=there,
        backups=len(own),
        size=sum(backup.manifest.size for backup in own),
        restorable=reach,
        last_backup=_last(last, now) if last else None,
        changes_since=changes,
        last_verification=proofs.get("verification"),
        last_rehearsal=proofs.get("rehearsal"),
        unfinished=[str(path) for path in found.unfinished],
        problems=problems,
        notes=list(_notes(found, same, own, identity)),
        next=_next(place.folder, last, changes, proofs, [] if reach else problems, now, alone=len(newest) < 2)
        if there
        else f"check that {place.folder} is mounted, or take a backup elsewhere: muniment backup … --dest FOLDER",
        room=room_in(folder) if there else None,
        full_size=next(
            (each.manifest.size for each in sorted(own, key=_age)[::-1] if each.manifest.kind == "full"), None
        ),
    )


def room_in(folder: Path) -> int | None:
    """How many bytes can be written in a folder, None where nobody knows."""
    with suppress(OSError, TypeError):  # the latter: it is in no file system
        return shutil.disk_usage(folder).free
    return None


def _age(backup: Backup) -> tuple[str, int]:
    return backup.manifest.completed, backup.manifest.through


def _line(same: Sequence[Backup], identity: Identity, known: Collection[str]) -> Iterator[Branch]:
    """The database's history and those that it came from, each with the backups that hold what is this one's past.

    Of the present one these are only the backups that the database knows: another copy of it may take others.
    """
    limit: int | None = None
    for lineage in reversed(identity.lineages or (Lineage(identity.lineage, None, 0, None, None),)):
        held = [backup for backup in same if backup.manifest.database.lineage == lineage.lineage]
        if limit is None:
            held = [backup for backup in held if {backup.sha256, backup.manifest.same_state_as} & {*known}]
        else:
            held = [backup for backup in held if backup.manifest.after < limit]
        yield Branch(lineage.lineage, lineage, tuple(sorted(held, key=_age)))
        limit = lineage.etag
        if lineage.part:
            return  # what was there before is not what this one began with


def _gaps(own: Sequence[Backup]) -> Iterator[str]:
    for end in reversed(ends_of(own)):
        try:
            chain_of(end, own)
        except DamagedBackup as error:
            yield error.message


def _notes(found: Sequence[Backup], same: Sequence[Backup], own: Sequence[Backup], identity: Identity) -> Iterator[str]:
    """What is there beside the backups of this history."""
    if len(same) < len(found):
        yield "it holds backups of other databases too"
    others = [backup for backup in same if backup not in own]
    strange = [backup for backup in others if backup.manifest.database.lineage == identity.lineage]
    if strange:
        count = _count(len(strange), "backup")
        yield f"{count} there that this database does not know: it is a copy, or was put back to an earlier state"
    if others := [backup for backup in others if backup not in strange]:
        yield f"{_count(len(others), 'backup')} there of other histories of this database: see inspect"


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{' is' if count == 1 else 's are'}"


def _last(backup: Backup, now: datetime) -> LastBackup:
    manifest = backup.manifest
    return LastBackup(
        name=backup.name,
        kind=manifest.kind,
        reason=manifest.reason,
        etag=manifest.through,
        time=manifest.snapshot.time,
        completed=manifest.completed,
        age=round(max((now - _time(manifest.completed)).total_seconds(), 0.0), 3),
        size=manifest.size,
        seconds=round(max((_time(manifest.completed) - _time(manifest.started)).total_seconds(), 0.0), 3),
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


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
    *,
    alone: bool,
) -> str | None:
    """The most urgent thing to do, in plain words, None when there is nothing.

    Where this history is not `alone` in the folder, the newest backup to rehearse has to be named.
    """
    place = shlex.quote(folder)
    encrypted = last is not None and last.manifest.encryption is not None
    wrapped = _wrapped_for(last) if last and encrypted else ()
    again, opening = _sealing_again(wrapped), _opening(wrapped)
    bad = [proof.problem for proof in proofs.values() if proof.problem]
    for problem in (*bad, *problems):
        command = f"muniment backup … --dest {shlex.quote(_beside(folder))}{again}"
        return f"take a full backup into a new folder, for this one cannot be continued ({problem}): {command}"
    if last is None:
        return f"take a backup: muniment backup … --dest {place}"
    if changes is None:
        return (
            f"take a backup, for the database was restored since: muniment backup … --dest {place} --incremental{again}"
        )
    if changes:
        count = f"{changes:,} {'change' if changes == 1 else 'changes'} since {last.manifest.snapshot.time}"
        return f"take an incremental backup: {count}: muniment backup … --dest {place} --incremental{again}"
    rehearsal, rehearse = proofs.get("rehearsal"), f"muniment rehearse {place}{opening}"
    if not alone:
        rehearse += f" --backup {shlex.quote(last.name)}"
    if rehearsal is None:
        return f"no rehearsal yet: {rehearse}"
    if not any(proof.of_last for proof in proofs.values()):
        return f"the last backup was never verified: muniment verify {place}{opening}"
    if now - datetime.fromisoformat(rehearsal.completed) > timedelta(days=REHEARSE_DAYS):
        return f"the last rehearsal is more than {REHEARSE_DAYS} days ago: {rehearse}"
    return None


def _wrapped_for(last: Backup) -> Sequence[Wrapped]:
    try:
        return last.wrapped_keys().recipients
    except MunimentError:  # what reads the backup tells it better
        return ()


def _opening(wrapped: Sequence[Wrapped]) -> str:
    """What a command takes that reads such a backup: one that opens it is enough."""
    for kind, option in _OPTIONS.items():
        if any(isinstance(each, kind) for each in wrapped):
            return f" {option} FILE"
    return ""


def _sealing_again(wrapped: Sequence[Wrapped]) -> str:
    """What the next backup takes to be for the same: all passphrases and keys, or else somebody who has to be named.

    Not whom the folder names: whoever may write there can have written himself into it.
    """
    secrets = [f" {_OPTIONS[kind]} FILE" for kind in (ForKey, ForPassphrase) for each in wrapped if type(each) is kind]
    named = any(isinstance(each, ForRecipient) for each in wrapped)
    return "".join(secrets) or (" --recipient RECIPIENT" if named else "")


def _beside(folder: str) -> str:
    """A folder next to this one that is not there yet."""
    return next(name for number in count(2) if not os.path.lexists(name := f"{folder}-{number}"))
