"""Taking a backup: a pin, the changes up to it, Parquet files, and last the manifest."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Final

from muniment.backup.files import DOCUMENTS, FILE_BYTES, AttachmentFile, ParquetFile, document_columns
from muniment.backup.manifest import Counts, DatabaseIdentity, File, Manifest, Parent, SnapshotRecord, digest, encode
from muniment.backup.plan import BackupPlan, Origin, plan_backup
from muniment.backup.repository import Backup, Backups, NewBackup, backups, check_destination, time_of
from muniment.document import from_microseconds, rfc3339, to_microseconds
from muniment.durable import mapped_errors
from muniment.errors import DamagedDatabase, MunimentError
from muniment.progress import Progress
from muniment.revision import ATTACHMENT, DOCUMENT, Batch, Revision
from muniment.storage.base import BackupPlace, Identity, Snapshot, Storage
from muniment.version import VERSION

WRITERS: Final = 2
BACKUP_NICENESS: Final = 15


@dataclass
class _Written:
    """What has gone into the files; the threads that write them share it."""

    documents: int = 0
    document_tombstones: int = 0
    attachments: int = 0
    attachment_tombstones: int = 0
    bytes: int = 0
    files: list[File] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def take_backup(
    storage: Storage,
    destination: Path,
    *,
    name: str,
    database_document: bytes,
    clock: Callable[[], int],
    incremental: bool = False,
    progress: Progress | None = None,
) -> Backup:
    """Write the state of this moment into a new folder in the destination, while others read and write.

    An incremental backup holds what changed since the newest backup of this lineage there; where it might miss
    something, or there is none, a full one is taken, and the manifest says why. When it returns, the backup is complete
    and on disk. When it raises (`Cancelled` too), there is none, and what was written is removed.
    """
    progress = progress or Progress()
    progress.stage = "planning"
    check_destination(destination)
    existing = backups(destination) if destination.exists() else Backups(destination)
    facts = storage.backup_facts()
    origin = Origin(storage.identity.database_id, storage.identity.lineage, facts.known, facts.tombstones_from)
    plan = plan_backup(existing, origin, str(destination), incremental=incremental)
    started = _time(clock, existing)
    with storage.pin(plan.after if plan.parent else None) as snapshot:
        if plan.parent and snapshot.tombstones_from > plan.after:  # they expired between the plan and the pin
            origin = replace(origin, tombstones_from=snapshot.tombstones_from)
            plan = plan_backup(existing, origin, str(destination), incremental=True)
        new = NewBackup(destination, plan.kind, started)
        try:
            if plan.kind == "full":
                progress.total_documents = snapshot.fingerprint.count(DOCUMENT)
                progress.total_bytes = snapshot.fingerprint.size(DOCUMENT) + snapshot.fingerprint.size(ATTACHMENT)
            history = plan.parent is not None and storage.history.kept
            with mapped_errors(new.folder):
                written = _write_files(storage, plan, snapshot, new, progress, history=history)
            progress.stage = "publishing"
            progress.check()
            identity = _identity(storage.identity, name)
            history_from = max(plan.after, snapshot.history_from) if history else None
            times = started, max(started, _time(clock, existing))
            settings = digest(database_document)
            manifest = _manifest(
                plan, identity, snapshot, written, *times, history_from=history_from, database_document=settings
            )
            text = encode(manifest)
            storage.remember_backup(digest(text), _place(destination, snapshot, started))
            published = new.publish(text, database_document)
        except BaseException:
            new.abandon()
            raise
    with suppress(MunimentError):  # the backup is there; what may be forgotten now will be after the next one
        storage.backed_up(snapshot.etag)
    return replace(published, notes=(*existing.notes, *published.notes))


def _identity(identity: Identity, name: str) -> DatabaseIdentity:
    return DatabaseIdentity(identity.database_id, identity.lineage, name, identity.lineages)


def _time(clock: Callable[[], int], existing: Backups) -> datetime:
    """Now, but never before the backups that are there: the one that was taken last is the newest to a restore."""
    now = from_microseconds(clock())
    ends = [datetime.fromisoformat(backup.manifest.completed) for backup in existing]
    ends += [time_of(bad.stamp) for bad in existing.unusable if bad.stamp]
    return max(now, max(ends) + timedelta(microseconds=1)) if ends else now


def _place(destination: Path, snapshot: Snapshot, started: datetime) -> BackupPlace | None:
    """What the database remembers of the destination; nothing of one whose name is not Unicode."""
    folder = os.path.abspath(destination)  # noqa: PTH100 - a link stays one, for it may lead elsewhere later
    if folder != os.fsencode(folder).decode(errors="replace"):
        return None
    return BackupPlace(folder, snapshot.etag, to_microseconds(started))


def _write_files(
    storage: Storage, plan: BackupPlan, snapshot: Snapshot, new: NewBackup, progress: Progress, *, history: bool
) -> _Written:
    written = _Written()
    progress.stage = "writing documents"
    documents = _Shared(storage.changes(plan.after, snapshot.etag, history=history))
    _write_documents(documents.take, new, written, progress)
    progress.stage = "writing attachments"
    attachments = storage.attachment_changes(plan.after, snapshot.etag, history=history)
    _write_attachments(attachments, storage, new, written, progress)
    if documents.rows != written.documents + written.document_tombstones:
        raise DamagedDatabase(
            f"of {documents.rows} revisions, {written.documents + written.document_tombstones} were written",
            "take the backup again, and please report this as a bug",
        )
    expected = (snapshot.fingerprint.count(DOCUMENT), snapshot.fingerprint.count(ATTACHMENT))
    if plan.kind == "full" and expected != (written.documents, written.attachments):
        raise DamagedDatabase(
            f"the log gave {written.documents} documents and {written.attachments} attachments, where the fingerprint"
            f" has {expected[0]} and {expected[1]}",
            "run `muniment check` on the database",
        )
    written.files.sort(key=lambda file: file.name)
    return written


class _Shared:
    """Gives each thread that asks the next batch, None at the end, and counts the rows that it gave.

    Not an iterator: two threads that end `iter(call, None)` at once can lose what the other one has just been given.
    """

    def __init__(self, batches: Iterator[Batch]) -> None:
        self.rows = 0
        self._batches = batches
        self._lock = threading.Lock()

    def take(self) -> Batch | None:
        """The next batch."""
        with self._lock:
            batch = next(self._batches, None)
            self.rows += len(batch) if batch else 0
            return batch


def _write_documents(take: Callable[[], Batch | None], new: NewBackup, written: _Written, progress: Progress) -> None:
    """Two threads compress, each into its own files, so that both cores work and no order is waited for."""
    numbers = count(1)
    with ThreadPoolExecutor(WRITERS, "muniment backup") as pool:
        tasks = [pool.submit(_write_share, iter(take, None), new, numbers, written, progress) for _ in range(WRITERS)]
        try:
            for task in wait(tasks, return_when=FIRST_EXCEPTION).done:
                task.result()
        except BaseException:
            progress.cancel()  # the other thread need not finish
            raise


def _write_share(
    batches: Iterator[Batch], new: NewBackup, numbers: Iterator[int], written: _Written, progress: Progress
) -> None:
    file: ParquetFile | None = None
    _stand_back()
    try:
        for batch in batches:
            file = file or ParquetFile(new.path(f"documents-{next(numbers):05d}.parquet"), DOCUMENTS)
            file.write(document_columns(batch), batch.etags)
            tombstones, size = len(batch.bodies.nulls), len(batch.bodies.data)
            with written.lock:
                written.documents += len(batch) - tombstones
                written.document_tombstones += tombstones
                written.bytes += size
            if file.size >= FILE_BYTES:
                finished, file = file, None
                written.files.append(finished.close())
            progress.advance(documents=len(batch) - tombstones, bytes=size)
        if file:
            written.files.append(file.close())
            file = None
    finally:
        if file:
            file.abandon()


def _stand_back() -> None:
    """Give this thread the processor only when writers and readers of the database leave it some, where that exists."""
    if sys.platform == "linux":  # elsewhere the priority is that of the whole process
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), BACKUP_NICENESS)


def _write_attachments(
    revisions: Iterator[Revision], storage: Storage, new: NewBackup, written: _Written, progress: Progress
) -> None:
    numbers = count(1)
    file: AttachmentFile | None = None
    try:
        for revision in revisions:
            file = file or AttachmentFile(new.path(f"attachments-{next(numbers):05d}.parquet"))
            for size in file.append(revision, storage.content(revision)):
                progress.advance(bytes=size)
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
    snapshot: Snapshot,
    written: _Written,
    started: datetime,
    completed: datetime,
    *,
    history_from: int | None,
    database_document: str,
) -> Manifest:
    parent = plan.parent
    return Manifest(
        software=f"muniment {VERSION}",
        kind=plan.kind,
        reason=plan.reason,
        database=identity,
        engine="sqlite",
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
        fingerprint=snapshot.fingerprint.as_json(),
        database_document=database_document,
        files=tuple(written.files),
    )
