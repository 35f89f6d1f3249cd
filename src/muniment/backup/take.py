"""Taking a backup: a pin, the changes up to it, Parquet files, and last the manifest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Final

import msgspec

from muniment.backup.destination import Remote, disk_places, place_of, sizes_in, spelled
from muniment.backup.documents import Written, write_documents
from muniment.backup.manifest import (
    Counts,
    DatabaseIdentity,
    Manifest,
    Parent,
    Skipped,
    SnapshotRecord,
    digest,
    encode,
)
from muniment.backup.parquet import FILE_BYTES, AttachmentFile
from muniment.backup.plan import BackupPlan, Origin, chain_of, plan_backup
from muniment.backup.proof import Proof, damage, missing_note
from muniment.backup.repository import Backup, Backups, NewBackup, backups, check_destination, claim, time_of
from muniment.backup.sealing import Sealing
from muniment.document import from_microseconds, rfc3339, to_microseconds
from muniment.durable import mapped_errors
from muniment.errors import BackupNotFound, Cancelled, DamagedDatabase, MunimentError, StorageFailure
from muniment.fingerprint import Fingerprint
from muniment.owner import key_of
from muniment.progress import Progress
from muniment.revision import ATTACHMENT, DOCUMENT, Revision
from muniment.security.keyring import UNPROTECTED, Protection
from muniment.storage.base import BackupFacts, BackupPlace, Identity, Lineage, Snapshot, Storage
from muniment.telling import telling
from muniment.version import VERSION

_NOT_THERE: Final = "the log has no such revision any more"


class _DamagedSince(Exception):
    """What changed is damaged, so that only a full backup can leave it out."""


def take_backup(
    storage: Storage,
    destination: str | Path,
    *,
    name: str,
    database_document: bytes,
    clock: Callable[[], int],
    incremental: bool = False,
    new_chain: bool = False,
    skip_damaged: bool = False,
    protection: Protection = UNPROTECTED,
    progress: Progress | None = None,
    pinned: Callable[[Snapshot], object] = lambda snapshot: None,
) -> Backup:
    """Write the state of this moment into a new folder in the destination, while others read and write.

    The destination is a folder, or a prefix of a store: see `destination.place_of`.

    An incremental backup holds what changed since the newest backup of this lineage there; where it might miss
    something, or there is none, a full one is taken, and the manifest says why. When it returns, the backup is complete
    and on disk. When it raises (`Cancelled` too), there is none, and what was written is removed.

    Everything is proven as it is read. Raises `DamagedDatabase`, which names it, when something is not what was
    written; with `skip_damaged` that is left out of a full backup, and the manifest says what. Raises `BackupNotFound`
    where the database remembers backups and none is there, unless `new_chain` says that this is meant. `pinned` is told
    the moment that the backup will hold.

    It is encrypted and signed as the protection says: see `sealing.Sealing`. Where it is to be encrypted and cannot be
    there is no backup, and `WrongKey` is raised if a key is missing.
    """
    progress = progress or Progress()
    progress.stage = "planning"
    destination = place_of(destination)
    check_destination(destination)
    existing = backups(destination) if destination.exists() else Backups(destination)
    facts = storage.backup_facts()
    if not new_chain:
        _check_mounted(destination, existing, facts)
    sealing = Sealing(protection, existing, storage.identity.database_id, facts)
    known = {*facts.known, *_of_this_log(storage, existing)}
    origin = Origin(
        storage.identity.database_id, storage.identity.lineage, known, facts.tombstones_from, sealing.encrypts
    )
    plan = _onto_whole_files(plan_backup(existing, origin, str(destination), incremental=incremental), existing)
    if plan.parent and not sealing.continues(plan.parent):
        plan = BackupPlan("full", f"the database has another key than {plan.parent.name}")
    if not existing:
        claim(destination, storage.identity.database_id)
    taker = _Taker(
        storage, destination, existing, origin, name, database_document, clock, progress, skip_damaged, pinned, sealing
    )
    try:
        return taker.take(plan)
    except _DamagedSince:
        return taker.take(BackupPlan("full", "what is damaged can only be left out of a full backup"))


@dataclass(frozen=True, slots=True)
class _Taker:
    """Takes a backup as planned."""

    storage: Storage
    destination: Path
    existing: Backups
    origin: Origin
    name: str
    database_document: bytes
    clock: Callable[[], int]
    progress: Progress
    skip_damaged: bool
    pinned: Callable[[Snapshot], object]
    sealing: Sealing

    def take(self, plan: BackupPlan) -> Backup:
        storage, progress, existing = self.storage, self.progress, self.existing
        started = _time(self.clock, existing)
        with storage.pin(plan.after if plan.parent else None) as snapshot:
            if plan.parent and snapshot.tombstones_from > plan.after:  # they expired between the plan and the pin
                origin = replace(self.origin, tombstones_from=snapshot.tombstones_from)
                plan = plan_backup(existing, origin, str(self.destination), incremental=True)
            with telling("the moment that a backup will hold"):
                self.pinned(snapshot)
            seal = self.sealing.seal(plan.parent)
            database_document = seal.settings(self.database_document)
            new = NewBackup(self.destination, plan.kind, started, database_document, seal)
            try:
                if plan.kind == "full":
                    progress.total_documents = snapshot.fingerprint.count(DOCUMENT)
                    progress.total_bytes = snapshot.fingerprint.size(DOCUMENT) + snapshot.fingerprint.size(ATTACHMENT)
                history = plan.parent is not None and storage.history.kept
                proof = Proof(storage.logged, skip=self.skip_damaged)
                with mapped_errors(new.folder):
                    written = _write_files(storage, plan, snapshot, new, progress, proof, history=history)
                skipped = _proven(storage, plan, snapshot, proof)
                if plan.parent:
                    _check_whole(storage, plan, snapshot, written, proof, history=history)
                progress.stage = "publishing"
                progress.check()
                history_from = max(plan.after, snapshot.history_from) if history else None
                manifest = _manifest(
                    plan,
                    _identity(storage.identity, self.name),
                    storage.engine,
                    snapshot,
                    written,
                    started,
                    max(started, _time(self.clock, existing)),
                    history_from=history_from,
                    database_document=digest(database_document),
                    fingerprint=proof.fingerprint if skipped else snapshot.fingerprint,
                    skipped=skipped,
                )
                text = encode(manifest, seal.key)
                notes = _remembered(storage, digest(text), None, snapshot)  # before it exists: it may continue at once
                if notes:  # opened anew, it would not know up to when it has said that nothing was written
                    text = encode(_only_then(manifest), seal.key)
                published = new.publish(text)
            except BaseException:
                new.abandon()
                raise
        place = _place(self.destination, snapshot, started, encrypted=seal.key is not None)
        with suppress(Cancelled):  # too late: it exists, and so nobody is told that there is none
            notes = notes or _remembered(storage, digest(text), place, snapshot)
        with suppress(MunimentError):  # the backup is there; what may be forgotten now will be after the next one
            self._let_go(plan, snapshot, manifest)
        missing = missing_note(manifest.skipped, published.name)
        return replace(published, notes=(*existing.notes, *missing, *published.notes, *notes))

    def _let_go(self, plan: BackupPlan, snapshot: Snapshot, manifest: Manifest) -> None:
        """Tell through where a backup holds everything: without history, only what no chain elsewhere waits for."""
        if manifest.skipped:
            return
        here = spelled(self.destination)
        elsewhere = [place.etag for place in self.storage.backup_facts().places if place.folder != here]
        waits = self.storage.history.kept and plan.kind == "full"
        self.storage.backed_up(min(snapshot.etag, *elsewhere) if waits and elsewhere else snapshot.etag)


def _onto_whole_files(plan: BackupPlan, existing: Backups) -> BackupPlan:
    """The plan, or a full backup where a file of the chain that it continues is missing or has another size."""
    chain = chain_of(plan.parent, existing) if plan.parent else ()
    there = sizes_in(existing.place) if chain and isinstance(existing.place, Remote) else None
    for backup in chain:
        for file in backup.manifest.files:
            path = backup.path(file.name)
            try:
                size = path.stat().st_size if there is None else there.get(f"{backup.name}/{file.name}")
            except OSError as error:
                return BackupPlan("full", f"the chain is not whole: {path} cannot be read: {error.strerror}")
            if size is None:
                return BackupPlan("full", f"the chain is not whole: {path} is missing")
            if size != file.size:
                return BackupPlan("full", f"the chain is not whole: {path} has {size:,} bytes instead of {file.size:,}")
    return plan


def _check_mounted(destination: Path, existing: Backups, facts: BackupFacts) -> None:
    """
    Raises `BackupNotFound` where the database remembers backups and there are none, and where there are none because
    the disk is not mounted that belongs there: they would be written below its place, and out of sight once it is.
    """
    if existing or existing.unfinished or any(bad.ours for bad in existing.unusable):
        return
    if not isinstance(destination, Remote):
        disks = disk_places()
        for disk in (whole := Path(os.path.realpath(destination)), *whole.parents):  # `resolve` refuses loops
            if disk in disks and not disk.is_mount():
                raise BackupNotFound(
                    f"no disk is mounted at {disk}, where /etc/fstab says that one belongs",
                    f"mount it: mount {disk}; to write below it all the same, use --new-chain",
                )
    folder = spelled(destination)
    for place in facts.places:
        if place.folder == folder:
            raise BackupNotFound(
                f"{destination} has no backup, but the database was backed up there, through etag {place.etag:,}",
                "check that its disk is mounted; to begin a new chain there, use --new-chain",
            )


def _of_this_log(storage: Storage, existing: Backups) -> Iterator[str]:
    """The manifests of backups that end with a transaction of this log, whether or not the database remembers them.

    It could not note them down if its disk was full. A state that was put back has gone on with other transactions:
    never one with the same etag and time.
    """
    for backup in existing:
        manifest = backup.manifest
        if manifest.database.lineage == storage.identity.lineage:
            row = storage.logged(manifest.through)
            if row and row[0] == to_microseconds(datetime.fromisoformat(manifest.snapshot.time)):
                yield backup.sha256


def _remembered(storage: Storage, sha256: str, place: BackupPlace | None, snapshot: Snapshot) -> tuple[str, ...]:
    """Have the database note a backup down; says why if it cannot."""
    try:
        storage.remember_backup(sha256, place, (snapshot.etag, snapshot.modified))
    except StorageFailure as error:
        return (f"the database could not record this backup, so `muniment status` may not know of it: {error.message}",)
    return ()


def _only_then(manifest: Manifest) -> Manifest:
    """The manifest of a backup that says of its moment only that it was the state then, not until when it still was."""
    return msgspec.structs.replace(
        manifest, snapshot=msgspec.structs.replace(manifest.snapshot, until=manifest.snapshot.time)
    )


def _proven(storage: Storage, plan: BackupPlan, snapshot: Snapshot, proof: Proof) -> tuple[Skipped, ...]:
    """What is not in the backup; raises `DamagedDatabase` for that unless it is to be left out."""
    found = list(proof.damaged)
    expected, proven = snapshot.fingerprint, proof.fingerprint
    if plan.kind == "full" and (differences := list(expected.differences(proven))):
        found += _absent(storage, snapshot, plan.after)
        missing = sum(expected.count(kind) - proven.count(kind) for kind in (DOCUMENT, ATTACHMENT))
        if missing > len(found) - proof.dead or not found:
            if not (found or proof.skip):
                raise DamagedDatabase(
                    f"the rows of the log do not agree with the fingerprint: {'; '.join(differences)}",
                    "run `muniment check` on the database; --skip-damaged takes what there is",
                )
            found.append(Skipped("document", "", 0, "; ".join(differences)))
    if found and not proof.skip:
        raise damage(found)
    if found and plan.kind == "incremental":
        raise _DamagedSince
    return tuple(sorted(found, key=lambda each: (each.kind, each.id, each.etag)))


def _check_whole(
    storage: Storage, plan: BackupPlan, snapshot: Snapshot, written: Written, proof: Proof, *, history: bool
) -> None:
    """Raises `DamagedDatabase` for an incremental backup that lacks what the log has lost since its parent.

    With history it has a revision for each etag, unless later ones were forgotten. Without, the log knows how many.
    """
    found = written.documents + written.document_tombstones + written.attachments + written.attachment_tombstones
    gap = snapshot.etag - plan.after - found if history and snapshot.history_from <= plan.after else 0
    if not gap and not (lost := storage.lost(plan.after, snapshot.etag)):
        return
    if proof.skip:
        raise _DamagedSince
    if named := list(_absent(storage, snapshot, plan.after)):
        raise damage(named)
    told = f"{found:,} revisions instead of {found + gap:,}" if gap else f"lost {lost:,} revisions"
    raise DamagedDatabase(
        f"since etag {plan.after:,} the log has {told}",
        "run `muniment check` on the database; a full backup holds what is current, and begins a new chain",
    )


def _absent(storage: Storage, snapshot: Snapshot, after: int) -> Iterator[Skipped]:
    """What is current, and was at the snapshot and not before `after`, and has no row in the log."""
    for member in storage.members():
        if after < member.etag <= snapshot.etag and storage.logged(member.etag) is None:
            if member.kind == DOCUMENT:
                yield Skipped("document", member.id, member.etag, _NOT_THERE)
            else:
                yield Skipped("attachment", key_of(member.id), member.etag, _NOT_THERE)


def _identity(identity: Identity, name: str) -> DatabaseIdentity:
    lineages = identity.lineages or (Lineage(identity.lineage, None, 0, None, None),)
    return DatabaseIdentity(identity.database_id, identity.lineage, name, lineages)


def _time(clock: Callable[[], int], existing: Backups) -> datetime:
    """Now, but never before the backups that are there: the one that was taken last is the newest to a restore."""
    now = from_microseconds(clock())
    ends = [datetime.fromisoformat(backup.manifest.completed) for backup in existing]
    ends += [time_of(bad.stamp) for bad in existing.unusable if bad.stamp]
    return max(now, max(ends) + timedelta(microseconds=1)) if ends else now


def _place(destination: Path, snapshot: Snapshot, started: datetime, *, encrypted: bool) -> BackupPlace | None:
    """What the database remembers of the destination; nothing of one whose name is not Unicode."""
    folder = spelled(destination)
    if folder != os.fsencode(folder).decode(errors="replace"):
        return None
    return BackupPlace(folder, snapshot.etag, to_microseconds(started), encrypted)


def _write_files(
    storage: Storage,
    plan: BackupPlan,
    snapshot: Snapshot,
    new: NewBackup,
    progress: Progress,
    proof: Proof,
    *,
    history: bool,
) -> Written:
    written = Written()
    progress.stage = "writing documents"
    write_documents(storage, plan.after, snapshot, new, written, progress, proof, history=history)
    progress.stage = "writing attachments"
    attachments = storage.attachment_changes(plan.after, snapshot.etag, history=history)
    _write_attachments(attachments, storage, new, written, progress, proof)
    rows = written.documents + written.document_tombstones
    rows += sum(each.kind == "document" for each in proof.damaged)
    if written.read != rows:
        raise DamagedDatabase(
            f"of {written.read} revisions, {rows} were written",
            "take the backup again, and please report this as a bug",
        )
    written.files.sort(key=lambda file: file.name)
    return written


def _write_attachments(
    revisions: Iterator[Revision],
    storage: Storage,
    new: NewBackup,
    written: Written,
    progress: Progress,
    proof: Proof,
) -> None:
    numbers = count(1)
    file: AttachmentFile | None = None
    try:
        for revision in revisions:
            row = proof.attachment(revision, lambda revision=revision: storage.content(revision))  # type: ignore[misc]
            if row is None:
                continue
            file = file or AttachmentFile(new.path(f"attachments-{next(numbers):05d}.parquet"), new.seal.parquet_key)
            before = file.size
            for size in file.append(revision, proof.content(revision, storage.content(revision)), row):
                progress.advance(bytes=size, written=file.size - before)
                before = file.size
            tombstone = revision.body is None
            written.attachments += not tombstone
            written.attachment_tombstones += tombstone
            written.bytes += revision.size
            progress.advance(attachments=not tombstone)
            if file.size >= FILE_BYTES:
                finished, file = file, None
                written.files.append(finished.close())
        if file:
            written.files.append(file.close())
            file = None
    finally:
        if file:
            file.abandon()


def _manifest(
    plan: BackupPlan,
    identity: DatabaseIdentity,
    engine: str,
    snapshot: Snapshot,
    written: Written,
    started: datetime,
    completed: datetime,
    *,
    history_from: int | None,
    database_document: str,
    fingerprint: Fingerprint,
    skipped: tuple[Skipped, ...],
) -> Manifest:
    parent = plan.parent
    return Manifest(
        software=f"muniment {VERSION}",
        kind=plan.kind,
        reason=plan.reason,
        database=identity,
        engine=engine,
        started=rfc3339(started),
        completed=rfc3339(completed),
        snapshot=SnapshotRecord(
            snapshot.etag, *(rfc3339(from_microseconds(time)) for time in (snapshot.modified, snapshot.until))
        ),
        after=plan.after,
        through=snapshot.etag,
        history_from=history_from,
        parent=Parent(parent.name, parent.sha256) if parent else None,
        counts=Counts(
            written.documents,
            written.document_tombstones,
            written.attachments,
            written.attachment_tombstones,
            written.bytes,
        ),
        fingerprint=fingerprint.as_json(),
        database_document=database_document,
        files=tuple(written.files),
        skipped=skipped,
    )
