"""Examining the data files of backups, one by one: in several processes at once when there is much to read.

A file passes if it exists and has the size and SHA-256 in its manifest, its pages match their checksums, its rows are
as many as recorded and in the order of their etags, and its documents and metadata are JSON.
"""

from __future__ import annotations

import gc
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from muniment.backup.destination import Remote, decoded
from muniment.backup.fetching import Fetched
from muniment.backup.manifest import File
from muniment.backup.parquet import ATTACHMENTS, DOCUMENTS, Source, attachments_of, batch_of
from muniment.backup.reader import HINT, check_etags, check_file
from muniment.backup.tally import check_content, check_json
from muniment.document import fold
from muniment.errors import Cancelled, DamagedBackup, ErrorRecord, MunimentError
from muniment.fingerprint import Totals
from muniment.progress import Progress
from muniment.revision import DOCUMENT, Batch
from muniment.storage.scratch import Scratch, Shared, read_scratch
from muniment.workers import Parent, Worker, speaking

ALONE_BYTES: Final = 16 << 20  # below, a process would take longer to start than to work
CHANGED: Final = "SELECT key FROM revision WHERE kind = ? AND key = ? LIMIT 1"

Member = tuple[str, int, str | None, int, bytes | None]
"""What the proof of a chain needs of a revision: key, etag, collection, size, digest (None for a tombstone)."""


class Task(msgspec.Struct, frozen=True):
    """A file to examine; of a full backup only the members whose keys are in the database `changed` are told.

    The folder is what the operating system calls it, which need not be Unicode. `key` opens a file that is encrypted.
    """

    backup: str
    folder: bytes
    file: File
    after: int
    through: int
    changed: Shared | None = None
    incremental: bool = False
    key: bytes | None = None

    @property
    def path(self) -> Path:
        """Where it is."""
        return decoded(self.folder) / self.file.name


class Group(msgspec.Struct, frozen=True, tag=True):
    """An undamaged row group: its etags, how much is in it, and the members that were asked for."""

    first: int
    last: int
    alive: int
    tombstones: int
    bytes: int
    members: list[Member]


class Whole(msgspec.Struct, frozen=True, tag=True):
    """The end of an undamaged file: the fingerprint of all its rows that are not tombstones."""

    fingerprint: dict[str, Any]


class Faulty(msgspec.Struct, frozen=True, tag=True):
    """The end of a damaged file, with the reason."""

    error: ErrorRecord


Finding = Group | Whole | Faulty


def examine(task: Task, progress: Progress) -> Iterator[Finding]:
    """What there is in a file, row group by row group; the last finding is `Whole`, or `Faulty`."""
    path = task.path
    try:
        with ExitStack() as stack:
            here = brought(path, task.file, progress, stack)
            chooser = stack.enter_context(closing(_Chooser(task)))
            schema = DOCUMENTS if task.file.kind == DOCUMENT else ATTACHMENTS
            source = stack.enter_context(closing(Source(here, task.file, schema, task.key)))
            totals = Totals()
            groups = _documents if task.file.kind == DOCUMENT else _attachments
            yield from groups(source, task, totals, chooser)
            if task.file.rows_digest and totals.rows.digest != int(task.file.rows_digest, 16):
                raise DamagedBackup(f"the rows of {path} are not those that were written: their digests differ", HINT)
            yield Whole(totals.fingerprint.as_json())
    except Cancelled:
        raise
    except MunimentError as error:
        yield Faulty(ErrorRecord.of(error))


def brought(path: Path, file: File, progress: Progress, stack: ExitStack) -> Path:
    """Where to read a file that is what its manifest says: one of a store comes here once, if there is room."""
    if isinstance(path, Remote):
        with suppress(OSError):
            return stack.enter_context(closing(Fetched(path, file, progress))).path
    check_file(path, file, progress)
    return path


class _Chooser:
    """Chooses the revisions to report: all of an incremental backup, and those of a full one that changed later."""

    def __init__(self, task: Task) -> None:
        self._kind = task.file.kind
        self._all = task.incremental
        self._connection: Scratch | None = None
        if not self._all and task.changed:
            self._connection = read_scratch(task.changed)

    @property
    def chooses(self) -> bool:
        """Whether any revision may be part of the proof."""
        return self._all or self._connection is not None

    def rows(self, ids: Sequence[bytes]) -> Sequence[int]:
        """The places of the ids that are part of the proof."""
        if self._all:
            return range(len(ids))
        if self._connection is None:
            return ()
        keys = [fold(id.decode()) for id in ids]
        changed = {key for (key,) in self._connection.executemany(CHANGED, ((self._kind, key) for key in keys))}
        return [row for row, key in enumerate(keys) if key in changed] if changed else ()

    def close(self) -> None:
        """Let go of the database."""
        if self._connection is not None:
            self._connection.close()


def _documents(source: Source, task: Task, totals: Totals, chooser: _Chooser) -> Iterator[Group]:
    previous = task.after
    for _, number in source.groups():
        batch = batch_of(source.read(number))
        if not batch.etags:
            continue
        check_etags(batch.etags, previous, task.through, task.path.parent)
        previous = batch.etags[-1]
        check_json(batch)
        digests = totals.count(batch).members
        ids = batch.ids.values() if chooser.chooses else ()
        wanted = chooser.rows(ids)
        members = _members(batch, ids, list(digests), wanted) if wanted else []
        dead = len(batch.bodies.nulls)
        yield Group(batch.etags[0], previous, len(batch) - dead, dead, batch.bodies.size, members)


def _members(batch: Batch, ids: Sequence[bytes], digests: Sequence[bytes | None], rows: Iterable[int]) -> list[Member]:
    collections = [None if name is None else name.decode() for name in batch.collections]
    sizes = list(batch.bodies.lengths())
    return [(fold(ids[row].decode()), batch.etags[row], collections[row], sizes[row], digests[row]) for row in rows]


def _attachments(source: Source, task: Task, totals: Totals, chooser: _Chooser) -> Iterator[Group]:
    previous = task.after
    tables = (source.read(number) for _, number in source.groups())
    for revision, parts in attachments_of(tables):
        check_etags([revision.etag], previous, task.through, task.path.parent)
        previous, alive = revision.etag, revision.body is not None
        check_content(revision, parts)
        digest: bytes | None = totals.count_attachment(revision)[0]
        if revision.body is None:
            digest = None
        member = (fold(revision.id), revision.etag, revision.collection, revision.size, digest)
        members = [member for _ in chooser.rows([revision.id.encode()])]
        yield Group(previous, previous, int(alive), int(not alive), revision.size, members)


def examine_all(tasks: Sequence[Task], progress: Progress) -> Iterator[tuple[Task, Finding]]:
    """The findings of all these files, in any order of the files; by as many processes as there are processors.

    Raises `Cancelled`, and ends the processes, when somebody asks for that.
    """
    if len(tasks) < 2 or sum(task.file.size for task in tasks) < ALONE_BYTES:
        for task in tasks:
            yield from ((task, finding) for finding in examine(task, progress))
        return
    waiting = deque(sorted(tasks, key=lambda task: -task.file.size))
    with ExitStack() as stack:
        busy: dict[Worker[Finding], Task] = {}

        def give(worker: Worker[Finding]) -> None:
            busy[worker] = task = waiting.popleft()
            worker.does = f"reads {task.path}"
            worker.tell(task)

        def look() -> None:
            for worker in busy:
                worker.check()

        for _ in range(min(os.cpu_count() or 1, len(tasks))):
            give(stack.enter_context(Worker(examine_files, Finding, does="reads backups", progress=progress)))
        while busy:
            for worker in speaking(busy, look):
                task, finding = busy[worker], worker.hear()
                if not isinstance(finding, Group):
                    del busy[worker]
                    if waiting:
                        give(worker)
                yield task, finding


def examine_files(parent: Parent) -> None:
    """The work of a child: examines one file after the other, as it is told."""
    gc.disable()  # it makes no circles, and looking for them takes time for each document
    while True:
        for finding in examine(parent.hear(Task), parent.progress):
            parent.say(finding)
