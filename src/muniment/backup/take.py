"""Taking a backup: a pin, the changes up to it, Parquet files, and last the manifest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Final

from muniment.backup.files import DOCUMENTS, FILE_BYTES, AttachmentFile, ParquetFile, document_columns
from muniment.backup.manifest import Counts, DatabaseIdentity, File, Manifest, SnapshotRecord
from muniment.backup.plan import BackupPlan, plan_backup
from muniment.backup.repository import Backup, NewBackup, backups, check_destination, mapped_errors
from muniment.document import from_microseconds
from muniment.errors import DamagedDatabase
from muniment.progress import Progress
from muniment.revision import ATTACHMENT, DOCUMENT, Batch
from muniment.storage.base import Snapshot, Storage
from muniment.version import VERSION

WRITERS: Final = 2


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
    progress: Progress | None = None,
) -> Backup:
    """Write the state of this moment into a new folder in the destination, while others read and write.

    When it returns the backup is complete and on disk. When it raises (`Cancelled` too), there is none, and what was
    written is removed.
    """
    progress = progress or Progress()
    progress.stage = "planning"
    check_destination(destination)
    existing = backups(destination) if destination.exists() else []
    plan = plan_backup([backup.manifest for backup in existing], storage.identity.database_id, str(destination))
    started = from_microseconds(clock())
    new = NewBackup(destination, plan.kind, started)
    try:
        with storage.pin() as snapshot, mapped_errors(new.folder):
            progress.total_documents = snapshot.fingerprint.count(DOCUMENT)
            progress.total_bytes = snapshot.fingerprint.size(DOCUMENT) + snapshot.fingerprint.size(ATTACHMENT)
            written = _write_files(storage, plan, snapshot, new, progress)
        progress.stage = "publishing"
        progress.check()
        identity = DatabaseIdentity(storage.identity.database_id, storage.identity.lineage, name)
        manifest = _manifest(plan, identity, snapshot, written, started, from_microseconds(clock()))
        return new.publish(manifest, database_document)
    except BaseException:
        new.abandon()
        raise


def _write_files(
    storage: Storage, plan: BackupPlan, snapshot: Snapshot, new: NewBackup, progress: Progress
) -> _Written:
    written = _Written()
    progress.stage = "writing documents"
    _write_documents(_shared(storage.changes(plan.after, snapshot.etag)), new, written, progress)
    progress.stage = "writing attachments"
    _write_attachments(storage, plan, snapshot, new, written, progress)
    expected = (snapshot.fingerprint.count(DOCUMENT), snapshot.fingerprint.count(ATTACHMENT))
    if plan.kind == "full" and expected != (written.documents, written.attachments):
        raise DamagedDatabase(
            f"the log gave {written.documents} documents and {written.attachments} attachments, where the fingerprint"
            f" has {expected[0]} and {expected[1]}",
            "run `muniment check` on the database",
        )
    written.files.sort(key=lambda file: file.name)
    return written


def _shared(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches for several threads, each of which gets the next."""
    lock = threading.Lock()

    def take() -> Batch | None:
        with lock:
            return next(batches, None)

    return iter(take, None)


def _write_documents(batches: Iterator[Batch], new: NewBackup, written: _Written, progress: Progress) -> None:
    """Two threads compress, each into its own files, so that both cores work and no order is waited for."""
    numbers = count(1)
    with ThreadPoolExecutor(WRITERS, "muniment backup") as pool:
        tasks = [pool.submit(_write_share, batches, new, numbers, written, progress) for _ in range(WRITERS)]
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


def _write_attachments(
    storage: Storage, plan: BackupPlan, snapshot: Snapshot, new: NewBackup, written: _Written, progress: Progress
) -> None:
    numbers = count(1)
    file: AttachmentFile | None = None
    try:
        for revision in storage.attachment_changes(plan.after, snapshot.etag):
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
) -> Manifest:
    return Manifest(
        software=f"muniment {VERSION}",
        kind=plan.kind,
        reason=plan.reason,
        database=identity,
        engine="sqlite",
        started=rfc3339(started),
        completed=rfc3339(completed),
        snapshot=SnapshotRecord(snapshot.etag, rfc3339(from_microseconds(snapshot.modified))),
        after=plan.after,
        through=snapshot.etag,
        counts=Counts(
            written.documents,
            written.document_tombstones,
            written.attachments,
            written.attachment_tombstones,
            written.bytes,
        ),
        fingerprint=snapshot.fingerprint.as_json(),
        files=tuple(written.files),
    )


def rfc3339(time: datetime) -> str:
    """UTC with microseconds, `2026-11-22T17:18:03.417000Z`."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
