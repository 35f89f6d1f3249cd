"""Writing the documents of a backup: when there are many, by several threads at once, or by several processes.

Each reads, proves and compresses ranges of etags, whichever is next when it is free, into files of its own. So all
processors work on the whole way from the database to the file. Threads need Python's global lock for little of it where
digests are made in C (`native`). Without that they would wait for each other, and the program that takes the backup for
them; so processes do it, each of which takes as long to start as to write 25 000 documents.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

import msgspec

from muniment.backup.destination import decoded, encoded
from muniment.backup.manifest import File, Skipped
from muniment.backup.parquet import DOCUMENTS, FILE_BYTES, ParquetFile, document_columns, give_back
from muniment.backup.proof import Proof
from muniment.backup.repository import NewBackup
from muniment.durable import mapped_errors
from muniment.fingerprint import Fingerprint, in_c
from muniment.progress import Progress
from muniment.revision import DOCUMENT, Batch
from muniment.security.encryption import EncryptionKey
from muniment.storage import engines
from muniment.storage.base import Snapshot, Storage
from muniment.workers import GRACE_SECONDS, Parent, Worker

PROCESSES: Final = 4
THREADS: Final = 3  # each takes 40 MB
ALONE_BYTES: Final = 32 << 20  # below, other processes would take longer to start than to work
RANGES: Final = 16  # for each writer, so that all end at about the same time
RANGE_ETAGS: Final = 16_384
BACKUP_NICENESS: Final = 15
SWITCH_SECONDS: Final = 0.0002


@dataclass
class Written:
    """What has gone into the files, and how many revisions were read for it. Threads may share it."""

    documents: int = 0
    document_tombstones: int = 0
    attachments: int = 0
    attachment_tombstones: int = 0
    bytes: int = 0
    files: list[File] = field(default_factory=list)
    read: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def merge(self, part: Written) -> None:
        """Count in what somebody else has written."""
        with self.lock:
            self.documents += part.documents
            self.document_tombstones += part.document_tombstones
            self.bytes += part.bytes
            self.files += part.files
            self.read += part.read


class Share(msgspec.Struct, frozen=True):
    """What a process needs to know to write a part; `destination.encoded` says what the folders are.

    Its files are numbered from `first` in steps of `step`.
    """

    database: bytes
    key: EncryptionKey | None
    into: bytes
    parquet_key: bytes | None
    snapshot: int
    history: bool
    skip: bool
    first: int
    step: int


class Range(msgspec.Struct, frozen=True):
    """The next etags to write: those later than `after`, up to `through`. After an empty one there is none."""

    after: int
    through: int


class Wrote(msgspec.Struct, frozen=True, tag=True):
    """A row group has been written: so many documents, with so many bytes, as so many bytes of a file."""

    documents: int
    bytes: int
    written: int


class Ready(msgspec.Struct, frozen=True, tag=True):
    """A range has been written."""


class Finished(msgspec.Struct, frozen=True, tag=True):
    """All files are on disk: what is in them, and what was found damaged, with the number of tombstones among it."""

    read: int
    documents: int
    tombstones: int
    bytes: int
    files: list[File]
    fingerprint: dict[str, Any]
    damaged: list[Skipped]
    dead: int


Said = Wrote | Ready | Finished


def write_documents(
    storage: Storage,
    after: int,
    snapshot: Snapshot,
    new: NewBackup,
    written: Written,
    progress: Progress,
    proof: Proof,
    *,
    history: bool,
) -> None:
    """Write the revisions of documents later than `after` that a backup of the snapshot has."""
    span = snapshot.etag - after
    documents = snapshot.fingerprint.count(DOCUMENT)
    size = span * snapshot.fingerprint.size(DOCUMENT) // max(documents, 1)
    writers = min(THREADS if in_c() else PROCESSES, os.cpu_count() or 1)
    if writers == 1 or min(size, snapshot.fingerprint.size(DOCUMENT)) < ALONE_BYTES:
        batches = storage.changes(after, snapshot.etag, history=history)
        with _turns:
            _write(batches, new.path, new.seal.parquet_key, count(1), written, progress, proof)
        return
    step = max(RANGE_ETAGS, -(-span // (writers * RANGES)))
    ranges = _Ranges(Range(low, min(low + step, snapshot.etag)) for low in range(after, snapshot.etag, step))
    places = encoded(storage.folder), storage.key, encoded(new.folder), new.seal.parquet_key

    def batches_of_ranges() -> Iterator[Batch]:
        while (next := ranges.take()).through:
            yield from storage.changes(next.after, snapshot.etag, history=history, through=next.through)

    def write(first: int) -> None:
        _stand_back()
        part = Written()
        numbers = count(first, writers)
        _write(batches_of_ranges(), new.path, new.seal.parquet_key, numbers, part, progress, proof)
        written.merge(part)

    def have_written(first: int) -> None:
        share = Share(*places, snapshot.etag, history, proof.skip, first, writers)
        _have_written(share, ranges, written, progress, proof)

    with _turns, ThreadPoolExecutor(writers, "muniment backup") as pool:
        tasks = [pool.submit(write if in_c() else have_written, first) for first in range(1, writers + 1)]
        try:
            for task in wait(tasks, return_when=FIRST_EXCEPTION).done:
                task.result()
        except BaseException:
            progress.cancel()  # the others need not finish
            raise
    give_back()


class _Ranges:
    """Gives each thread that asks the next range, an empty one at the end."""

    def __init__(self, ranges: Iterator[Range]) -> None:
        self._ranges = ranges
        self._lock = threading.Lock()

    def take(self) -> Range:
        """The next range."""
        with self._lock:
            return next(self._ranges, Range(0, 0))


def _have_written(share: Share, ranges: _Ranges, written: Written, progress: Progress, proof: Proof) -> None:
    """Let another process write a share."""
    does = "writes documents of the backup"
    with Worker[Said](
        write_share, Said, does=does, progress=progress, grace=GRACE_SECONDS, niceness=BACKUP_NICENESS
    ) as worker:
        worker.tell(share)
        worker.tell(ranges.take())
        while not isinstance(said := worker.hear(), Finished):
            if isinstance(said, Wrote):
                progress.advance(documents=said.documents, bytes=said.bytes, written=said.written)
            else:
                worker.tell(ranges.take())
    written.merge(Written(said.documents, said.tombstones, bytes=said.bytes, files=said.files, read=said.read))
    with written.lock:
        proof.fingerprint.merge(Fingerprint.from_json(said.fingerprint))
        proof.damaged += said.damaged
        proof.dead += said.dead


class _Telling(Progress):
    """The progress in another process, each step of which its parent is told."""

    def __init__(self, parent: Parent) -> None:
        super().__init__()
        self._parent = parent

    def advance(self, *, documents: int = 0, attachments: int = 0, bytes: int = 0, written: int = 0) -> None:
        """See `Progress`."""
        self._parent.progress.check()
        self._parent.say(Wrote(documents, bytes, written))


def write_share(parent: Parent) -> None:
    """The work of a child: ranges of etags, one after the other, as it is told."""
    share = parent.hear(Share)
    into, written = decoded(share.into), Written()
    with closing(engines.open(decoded(share.database), read_only=True, key=share.key)) as storage, mapped_errors(into):
        proof = Proof(storage.logged, skip=share.skip)

        def batches() -> Iterator[Batch]:
            while (next := parent.hear(Range)).through:
                yield from storage.changes(next.after, share.snapshot, history=share.history, through=next.through)
                parent.say(Ready())

        numbers = count(share.first, share.step)
        _write(batches(), into.joinpath, share.parquet_key, numbers, written, _Telling(parent), proof)
    counts = written.read, written.documents, written.document_tombstones, written.bytes
    parent.say(Finished(*counts, written.files, proof.fingerprint.as_json(), proof.damaged, proof.dead))


def _write(
    batches: Iterable[Batch],
    path: Callable[[str], Path],
    key: bytes | None,
    numbers: Iterator[int],
    written: Written,
    progress: Progress,
    proof: Proof,
) -> None:
    """Write these batches into files, as many as it takes, each on disk before the next one is begun."""
    file: ParquetFile | None = None
    try:
        for read in batches:
            written.read += len(read)
            batch, rows = proof.documents(read)
            if not batch.etags:
                continue
            file = file or ParquetFile(path(f"documents-{next(numbers):05d}.parquet"), DOCUMENTS, key)
            before = file.size
            file.write(document_columns(batch), batch.etags, rows)
            grown = file.size - before
            tombstones, size = len(batch.bodies.nulls), batch.bodies.size
            written.documents += len(batch) - tombstones
            written.document_tombstones += tombstones
            written.bytes += size
            if file.size >= FILE_BYTES:
                finished, file = file, None
                written.files.append(finished.close())
            progress.advance(documents=len(batch) - tombstones, bytes=size, written=grown)
            del read, batch  # before the next one needs as much memory
        if file:
            written.files.append(file.close())
            file = None
    finally:
        if file:
            file.abandon()


def _stand_back() -> None:
    """Have this thread leave the processor to others, where a thread may do so for itself."""
    if sys.platform == "linux":
        with suppress(OSError):
            niceness = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness + BACKUP_NICENESS)


class _Turns:
    """While some backup is being written here, whoever holds Python's global lock hands it over soon.

    A thread that makes digests needs it all the time. Whoever comes back from what needs none (reading, a commit) would
    wait for the usual 5 ms each time: every write of the program.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._backups = 0
        self._usual = 0.0

    def __enter__(self) -> None:
        with self._lock:
            if not self._backups:
                self._usual = sys.getswitchinterval()
                sys.setswitchinterval(min(self._usual, SWITCH_SECONDS))
            self._backups += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._backups -= 1
            if not self._backups:
                sys.setswitchinterval(self._usual)


_turns: Final = _Turns()
