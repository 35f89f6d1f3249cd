"""Reading what was planned: every file checked, the revisions that make up the moment given out, and the proof of it.

Every backup has the fingerprint of its end. A moment inside it is proven by replaying the rest of the backup onto it:
the result must have that fingerprint.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from operator import lt
from pathlib import Path
from typing import Any, Final, Protocol

from muniment.backup.destination import Remote, blocks_of
from muniment.backup.fetching import Coming, Fetcher
from muniment.backup.manifest import File
from muniment.backup.parquet import Source, attachments_of, batch_of, give_back, numbers_of, texts_of
from muniment.backup.plan import RestorePlan
from muniment.backup.repository import Backup
from muniment.document import fold, to_microseconds
from muniment.durable import mapped_errors
from muniment.errors import DamagedBackup, UnreachablePoint
from muniment.fingerprint import (
    MODULUS,
    Fingerprint,
    Tally,
    attachment_digests,
    batch_digests,
    member_digest,
    rows_sum,
)
from muniment.progress import Progress
from muniment.revision import ATTACHMENT, DOCUMENT, Batch, Revision
from muniment.storage.scratch import scratch_database

READ_AHEAD: Final = 1
HINT: Final = "restore from another backup, or another copy of this one"

_ADD: Final = """
INSERT INTO newest VALUES(?, ?, ?) ON CONFLICT(kind, key) DO UPDATE SET etag = max(etag, excluded.etag)
"""
_FIND: Final = "SELECT key, etag FROM newest WHERE kind = ? AND key = ?"


class Destination(Protocol):
    """What a backup can be read into."""

    @property
    def fingerprint(self) -> Fingerprint:
        """The fingerprint of everything that was taken in."""

    @property
    def rows(self) -> Tally:
        """The sum of the digests of all rows that were taken in."""

    def apply(self, batch: Batch) -> None:
        """Take in documents, each id once."""

    def apply_attachment(self, revision: Revision, parts: Iterator[bytes]) -> None:
        """Take in an attachment; its parts are to be read before this returns."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The transaction at which a plan stops: its last etag, and its time in microseconds."""

    etag: int
    modified: int


def read_backup(
    plan: RestorePlan, destination: Destination, progress: Progress, *, attachments_first: bool = False
) -> Moment:
    """Give the destination everything that was current at the planned moment, and prove it against the fingerprint.

    Documents come before attachments by default.

    Raises `DamagedBackup` when a file is not the one that was written or the fingerprint is not the recorded one.
    """
    progress.total_documents = sum(backup.manifest.counts.documents for backup in plan.chain)
    progress.total_bytes = sum(backup.manifest.counts.bytes for backup in plan.chain)
    progress.stage = "checking files"
    for backup in plan.chain:
        backup.check_open()
    plan.backup.settings()
    check_files([each for each in plan.files if not Fetcher.fetches(*each)], progress)
    with ExitStack() as stack:
        fetcher = stack.enter_context(Fetcher(check_file, progress))
        fetcher.keep((backup, file) for backup in plan.chain[1:] for file in backup.manifest.files)
        moment = moment_of(plan, fetcher.columns)
        reader = _Reader(plan, moment, stack, fetcher)
        steps = [_read_documents, _read_attachments]
        for step in reversed(steps) if attachments_first else steps:
            step(plan, reader, destination, progress)
        reader.prove(destination.fingerprint, destination.rows)
    return moment


def _read_documents(plan: RestorePlan, reader: _Reader, destination: Destination, progress: Progress) -> None:
    progress.stage = "reading documents"
    for batch in _batches(plan, progress, reader.fetcher):
        if kept := reader.documents(batch):
            destination.apply(kept)
        progress.advance(documents=len(batch) - len(batch.bodies.nulls), bytes=batch.bodies.size)
    give_back()  # for what sorts the keys now


def _read_attachments(plan: RestorePlan, reader: _Reader, destination: Destination, progress: Progress) -> None:
    progress.stage = "reading attachments"
    for revision, parts in _attachments(plan, reader.fetcher):
        if reader.attachment(revision):
            destination.apply_attachment(revision, _counted(parts, progress))
            progress.advance(attachments=revision.body is not None)


def moment_of(plan: RestorePlan, opened: Callable[[Backup, File], Source] = Source.of) -> Moment:
    """The exact transaction at which a plan stops, which never lies inside one; reads the files only if it must."""
    manifest = plan.manifest
    end = Moment(manifest.through, to_microseconds(datetime.fromisoformat(manifest.snapshot.time)))
    if not plan.partial:
        return end
    before, after = Moment(manifest.after, 0), end
    for etag, modified in _transactions(plan, opened):
        wanted = etag <= plan.upto if plan.upto is not None else modified <= (plan.at or 0)
        if wanted and etag > before.etag:
            before = Moment(etag, modified)
        elif not wanted and etag < after.etag:
            after = Moment(etag, modified)
    if before.modified == after.modified:  # the etag lies inside a transaction: stop before that one
        split = before.modified
        earlier = ((etag, modified) for etag, modified in _transactions(plan, opened) if modified < split)
        before = Moment(*max(earlier, default=(manifest.after, 0)))
    if before.etag < manifest.whole_from:
        raise UnreachablePoint(
            f"this moment cannot be restored: the history in {plan.backup.name} begins at etag {manifest.whole_from}",
            f"restore etag {manifest.after}, or one from {manifest.whole_from} on",
        )
    if before.etag == manifest.after:
        parent = plan.chain[-2].manifest.snapshot
        return Moment(parent.etag, to_microseconds(datetime.fromisoformat(parent.time)))
    return before


def _transactions(plan: RestorePlan, opened: Callable[[Backup, File], Source]) -> Iterator[tuple[int, int]]:
    """The etag and time of every revision in the last backup of a plan."""
    for file in plan.backup.manifest.files:
        with closing(opened(plan.backup, file)) as source:
            for _, group in source.groups():
                table = source.read(group, ["etag", "modified"])
                yield from zip(numbers_of(table, "etag"), numbers_of(table, "modified"), strict=True)


class _Reader:
    """Chooses the revisions of a moment and keeps the account that proves them."""

    def __init__(self, plan: RestorePlan, moment: Moment, stack: ExitStack, fetcher: Fetcher) -> None:
        self.fetcher = fetcher
        self._plan = plan
        self._moment = moment
        # Ids that changed in the incrementals: through the moment, and after it.
        self._changed: Survivors | None = None
        self._later: Survivors | None = None
        self._on = Fingerprint()
        self._passed_over = 0  # the sum of the digests of rows that were
        if len(plan.chain) > 1:
            self._changed = stack.enter_context(closing(Survivors()))
            self._later = stack.enter_context(closing(Survivors())) if plan.partial else None
            for backup in plan.chain[1:]:
                for file in backup.manifest.files:
                    self._note(backup, file)

    def _note(self, backup: Backup, file: File) -> None:
        assert self._changed is not None
        with closing(self.fetcher.columns(backup, file)) as source:
            for _, group in source.groups():
                table = source.read(group, ["etag", "id"])
                etags, ids = numbers_of(table, "etag"), texts_of(table, "id")
                through = [(id, etag) for id, etag in zip(ids, etags, strict=True) if etag <= self._moment.etag]
                self._changed.add(file.kind, (id for id, _ in through), (etag for _, etag in through))
                if self._later is not None and len(through) < len(etags):
                    rest = [(id, etag) for id, etag in zip(ids, etags, strict=True) if etag > self._moment.etag]
                    self._later.add(file.kind, (id for id, _ in rest), (etag for _, etag in rest))

    def documents(self, batch: Batch) -> Batch | None:
        """The part of a batch that was current at the moment, None when nothing was."""
        if self._changed is None:
            return batch
        ids = [id.decode() for id in batch.ids.values()]
        newest = self._changed.newest(DOCUMENT, ids)
        kept = [
            row
            for row, (etag, best) in enumerate(zip(batch.etags, newest, strict=True))
            if etag <= self._moment.etag and (best is None or best == etag)
        ]
        if self._later is not None:
            later = self._later.newest(DOCUMENT, ids)
            self._account(batch, [row for row in kept if later[row] is not None], -1)
            self._account(batch, [row for row, etag in enumerate(batch.etags) if etag == later[row]], 1)
        if len(kept) < len(batch):
            dropped = set(range(len(batch))).difference(kept)
            self._passed_over += rows_sum(passed := batch.take(sorted(dropped)), batch_digests(passed).rows)
        return batch.take(kept) if kept else None

    def _account(self, batch: Batch, rows: list[int], sign: int) -> None:
        """Add these documents to, or take them from, the changes that lead from the moment to the end of its backup."""
        if rows:
            part, counted = batch.take(rows), Fingerprint()
            counted.add_batch(part, batch_digests(part).members)
            for group, tally in counted.tallies.items():
                self._on.add(group, sign * tally.count, sign * tally.bytes, sign * tally.digest)

    def attachment(self, revision: Revision) -> bool:
        """Whether this attachment was current at the moment."""
        if self._changed is None:
            return True
        (best,) = self._changed.newest(ATTACHMENT, [revision.id])
        kept = revision.etag <= self._moment.etag and (best is None or best == revision.etag)
        if self._later is not None:
            (later,) = self._later.newest(ATTACHMENT, [revision.id])
            if (kept and later is not None) or later == revision.etag:
                self._account_attachment(revision, -1 if kept else 1)
        if not kept:
            self._passed_over += int.from_bytes(attachment_digests(revision)[1], "big")
        return kept

    def _account_attachment(self, revision: Revision, sign: int) -> None:
        if revision.body is not None:
            digest = int.from_bytes(member_digest(revision.id.encode(), revision.metadata, revision.body), "big")
            group = (ATTACHMENT, revision.collection or "")
            self._on.add(group, sign, sign * revision.size, sign * digest)

    def prove(self, found: Fingerprint, rows: Tally) -> None:
        """Raises `DamagedBackup` unless what was read leads to the fingerprint and the rows that the manifests have."""
        reached = found.copy()
        reached.merge(self._on)
        expected = self._plan.manifest.fingerprint_at_snapshot()
        if reached != expected:
            differences = "; ".join(expected.differences(reached))
            raise DamagedBackup(
                f"the fingerprint of {self._plan.backup.folder} is not the manifest's: {differences}", HINT
            )
        digests = [file.rows_digest for _, file in self._plan.files]
        if None in digests:
            return  # format 1
        total = sum(int(digest, 16) for digest in digests if digest)
        if (rows.digest + self._passed_over - total) % MODULUS:
            raise DamagedBackup(
                f"the revisions in {', '.join(backup.name for backup in self._plan.chain)} are not those that were"
                " written: a time, or one that was superseded or deleted, differs",
                HINT,
            )


def check_files(files: Iterable[tuple[Backup, File]], progress: Progress) -> None:
    """Raises `DamagedBackup` unless every one of these is as its manifest says; with all processors.

    Every file is hashed before any is parsed: Parquet footers and page headers have no checksum.
    """
    with ThreadPoolExecutor(os.cpu_count(), "muniment checker") as pool:
        checks = [pool.submit(check_copies, backup, file, progress) for backup, file in files]
        try:
            for check in checks:
                check.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def check_before_ranges(files: Iterable[tuple[Backup, File]], progress: Progress) -> None:
    """The same for who reads little of each file: of one in a store, `Source` then proves what is read of it."""
    check_files([each for each in files if not isinstance(each[0].folder, Remote)], progress)


def check_copies(backup: Backup, file: File, progress: Progress) -> None:
    """The same of the first copy that is whole, from which the file is then read."""
    backup.choose(file.name, lambda path: check_file(path, file, progress))


def check_file(path: Path, file: File, progress: Progress) -> None:
    """Raises `DamagedBackup` unless a file is there and has the size and SHA-256 of its manifest."""
    with mapped_errors(path):
        if not path.is_file():
            raise DamagedBackup(f"{path} is missing", HINT)
        size = path.stat().st_size
        if size != file.size:
            raise DamagedBackup(f"{path} has {size:,} bytes; the manifest says {file.size:,}", HINT)
        sha256 = hashlib.sha256()
        for block in blocks_of(path):
            sha256.update(block)
            progress.pace(len(block))
    if sha256.hexdigest() != file.sha256:
        raise DamagedBackup(f"{path} was changed: its SHA-256 is not the manifest's", HINT)


def _batches(plan: RestorePlan, progress: Progress, fetcher: Fetcher) -> Iterator[Batch]:
    """The batches of all files, those of one backup in the order of their first etags."""
    # A thread reads ahead: decompressing needs no Python, so it goes on while rows are put into the database.
    with ExitStack() as files, ThreadPoolExecutor(1, "muniment reader") as pool:
        groups = _row_groups(plan, files, fetcher)
        ahead = deque((pool.submit(group.read), group) for group in islice(groups, READ_AHEAD))
        previous = 0
        while ahead:
            progress.check()
            reading, group = ahead.popleft()
            batch = batch_of(reading.result())
            del reading  # with its columns, which the batch has copied
            check_etags(
                batch.etags,
                max(previous, group.backup.manifest.after),
                group.backup.manifest.through,
                group.backup.folder,
            )
            previous = batch.etags[-1] if batch.etags else previous
            if group.last:
                group.last.close()
            ahead.extend((pool.submit(following.read), following) for following in islice(groups, 1))
            yield batch


@dataclass(frozen=True, slots=True)
class _RowGroup:
    """One to read; the last one of a backup carries what closes its files when it has been read."""

    backup: Backup
    source: Source | Coming
    number: int
    last: ExitStack | None

    def read(self) -> Any:
        return self.source.read(self.number)


def _row_groups(plan: RestorePlan, files: ExitStack, fetcher: Fetcher) -> Iterator[_RowGroup]:
    for backup in plan.chain:
        opened = files.enter_context(ExitStack())
        groups = []
        own = sorted(backup.manifest.files_of(DOCUMENT), key=lambda file: file.first_etag)
        fetcher.expect([(backup, file) for file in own])
        for file in own:
            source = opened.enter_context(closing(fetcher.source(backup, file)))
            groups += [(first, number, source) for first, number in source.groups()]
        groups.sort(key=lambda item: item[0])
        for position, (_, number, source) in enumerate(groups, 1):
            yield _RowGroup(backup, source, number, opened if position == len(groups) else None)


def check_etags(etags: Sequence[int], previous: int, through: int, folder: Path) -> None:
    """Raises `DamagedBackup` unless these follow what was read before, in order and within the backup."""
    if not etags:
        return
    ascending = all(map(lt, etags, islice(etags, 1, None)))
    if not ascending or etags[0] <= previous or etags[-1] > through:
        raise DamagedBackup(f"the etags in the files of {folder} are out of order", HINT)


def _attachments(plan: RestorePlan, fetcher: Fetcher) -> Iterator[tuple[Revision, Iterator[bytes]]]:
    for backup in plan.chain:
        previous = backup.manifest.after
        own = backup.manifest.files_of(ATTACHMENT)
        fetcher.expect([(backup, file) for file in own])
        for file in own:
            with closing(fetcher.source(backup, file)) as source:
                for revision, parts in attachments_of(source.read(number) for _, number in source.groups()):
                    check_etags([revision.etag], previous, backup.manifest.through, backup.folder)
                    previous = revision.etag
                    yield revision, parts


def _counted(parts: Iterator[bytes], progress: Progress) -> Iterator[bytes]:
    for part in parts:
        progress.advance(bytes=len(part))
        yield part


class Survivors:
    """The newest etag of every id that was added: decided before any document is read.

    They are in a temporary database, which goes to disk when there are many, so that memory does not grow with a chain.
    """

    def __init__(self) -> None:
        self._scratch = ExitStack()
        self._connection = self._scratch.enter_context(scratch_database())
        self._connection.execute("CREATE TABLE newest(kind, key, etag, PRIMARY KEY(kind, key)) WITHOUT ROWID; BEGIN")

    def add(self, kind: int, ids: Iterable[str], etags: Iterable[int]) -> None:
        """Take these revisions into account."""
        rows = ((kind, fold(id), etag) for id, etag in zip(ids, etags, strict=True))
        self._connection.executemany(_ADD, rows)

    def newest(self, kind: int, ids: Sequence[str]) -> list[int | None]:
        """For each id the newest etag that was added, None when none was."""
        keys = [fold(id) for id in ids]
        found = dict(self._connection.executemany(_FIND, ((kind, key) for key in keys)))
        return [found.get(key) for key in keys]

    def close(self) -> None:
        """Forget everything."""
        self._scratch.close()
