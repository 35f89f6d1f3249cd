"""Reading a backup so that everything in it is checked: presence, size, SHA-256, Parquet pages, rows, fingerprint."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

from muniment.backup.files import ATTACHMENTS, DOCUMENTS, Source, attachments_of, batch_of
from muniment.backup.manifest import File
from muniment.backup.plan import RestorePlan, plan_restore
from muniment.backup.repository import Backup, backups, mapped_errors
from muniment.document import check_body
from muniment.errors import DamagedBackup, InvalidDocument
from muniment.fingerprint import Fingerprint, batch_digests, member_digest
from muniment.progress import Progress
from muniment.revision import ATTACHMENT, Batch, Revision

READ_AHEAD: Final = 2
_HINT = "restore from another backup, or another copy of this one"


class Destination(Protocol):
    """What a backup can be read into."""

    def apply(self, batch: Batch) -> None:
        """Take in documents."""

    def apply_attachment(self, revision: Revision, parts: Iterator[bytes]) -> None:
        """Take in an attachment; its parts are to be read before this returns."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A backup that would restore: what it holds, and how long reading all of it took, in seconds."""

    backup: Backup
    fingerprint: Fingerprint
    seconds: float


def verify_backup(source: Path, progress: Progress | None = None) -> Verified:
    """Read everything that a restore would read and check it; raises `DamagedBackup` with the first thing wrong."""
    progress = progress or Progress()
    plan = plan_restore(backups(source), str(source))
    tally = _Tally()
    read_backup(plan, tally, progress)
    compare(plan.manifest.fingerprint_at_snapshot(), tally.fingerprint, plan.backup)
    progress.finish()
    return Verified(plan.backup, tally.fingerprint, progress.seconds)


def read_backup(plan: RestorePlan, destination: Destination, progress: Progress) -> None:
    """Give the destination everything in a plan's files, documents in etag order, after checking each file."""
    counts = plan.manifest.counts
    progress.total_documents = counts.documents
    progress.total_bytes = counts.bytes
    progress.stage = "checking files"
    for file in plan.manifest.files:
        _check_file(plan.backup.folder / file.name, file, progress)
    progress.stage = "reading documents"
    for batch in _documents(plan, progress):
        destination.apply(batch)
        size = len(batch.bodies.data)
        progress.advance(documents=len(batch) - len(batch.bodies.nulls), bytes=size)
    progress.stage = "reading attachments"
    for revision, parts in _attachments(plan):
        destination.apply_attachment(revision, _counted(parts, progress))
        progress.advance(attachments=revision.body is not None)


def compare(expected: Fingerprint, found: Fingerprint, backup: Backup) -> None:
    """Raises `DamagedBackup` unless what was read is what the manifest says."""
    if found != expected:
        raise DamagedBackup(
            f"the fingerprint of {backup.folder} is not the manifest's: " + "; ".join(expected.differences(found)),
            _HINT,
        )


def _check_file(path: Path, file: File, progress: Progress) -> None:
    if not path.is_file():
        raise DamagedBackup(f"{path} is missing", _HINT)
    with mapped_errors(path):
        size = path.stat().st_size
        if size != file.size:
            raise DamagedBackup(f"{path} has {size:,} bytes; the manifest says {file.size:,}", _HINT)
        sha256 = hashlib.sha256()
        with path.open("rb", buffering=0) as opened:
            while block := opened.read(4 << 20):
                sha256.update(block)
                progress.check()
    if sha256.hexdigest() != file.sha256:
        raise DamagedBackup(f"{path} was changed: its SHA-256 is not the manifest's", _HINT)


def _documents(plan: RestorePlan, progress: Progress) -> Iterator[Batch]:
    """The batches of all files in the order of their first etags."""
    with ExitStack() as stack:
        groups = []
        for file in plan.documents:
            source = Source(plan.backup.folder / file.name, file, DOCUMENTS)
            stack.callback(source.close)
            groups += [(first, group, source) for first, group in source.groups()]
        groups.sort(key=lambda item: item[0])
        # A thread reads ahead: decompressing needs no Python, so it goes on while rows are put into the database.
        pool = stack.enter_context(ThreadPoolExecutor(1, "muniment reader"))
        waiting = iter(groups)
        ahead = deque(pool.submit(source.read, group) for _, group, source in islice(waiting, READ_AHEAD))
        while ahead:
            progress.check()
            table = ahead.popleft().result()
            ahead.extend(pool.submit(source.read, group) for _, group, source in islice(waiting, 1))
            yield batch_of(table)


def _attachments(plan: RestorePlan) -> Iterator[tuple[Revision, Iterator[bytes]]]:
    for file in plan.attachments:
        source = Source(plan.backup.folder / file.name, file, ATTACHMENTS)
        try:
            yield from attachments_of(source.read(group) for _, group in source.groups())
        finally:
            source.close()


def _counted(parts: Iterator[bytes], progress: Progress) -> Iterator[bytes]:
    for part in parts:
        progress.advance(bytes=len(part))
        yield part


class _Tally:
    """A destination that keeps nothing but the fingerprint, and checks that documents are JSON."""

    def __init__(self) -> None:
        self.fingerprint = Fingerprint()

    def apply(self, batch: Batch) -> None:
        ids, bodies = batch.ids.values(), list(batch.bodies)
        self.fingerprint.add_batch(batch, batch_digests(ids, batch.metadata.values(), bodies))
        for id, body in zip(ids, bodies, strict=True):
            if body is not None:
                try:
                    check_body(body)
                except InvalidDocument as error:
                    raise DamagedBackup(f"document {id!r} in the backup: {error}", _HINT) from error

    def apply_attachment(self, revision: Revision, parts: Iterator[bytes]) -> None:
        sha256 = hashlib.sha256()
        size = 0
        for part in parts:
            sha256.update(part)
            size += len(part)
        if revision.body is None:
            return
        if sha256.digest() != revision.body or size != revision.size:
            raise DamagedBackup(f"the content of attachment {revision.id!r} was changed", _HINT)
        digest = member_digest(revision.id.encode(), revision.metadata, revision.body)
        self.fingerprint.add((ATTACHMENT, revision.collection or ""), 1, size, int.from_bytes(digest, "big"))
