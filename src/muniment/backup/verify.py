"""Proving a backup without restoring it: a restore in every respect, but for keeping what it reads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from muniment.backup.plan import RestorePlan, plan_restore
from muniment.backup.reading import HINT, read_backup
from muniment.backup.repository import Backup, backups
from muniment.document import check_body
from muniment.errors import DamagedBackup, InvalidDocument
from muniment.fingerprint import Fingerprint, batch_digests, member_digest
from muniment.progress import Progress
from muniment.revision import ATTACHMENT, Batch, Revision


@dataclass(frozen=True, slots=True)
class Verified:
    """A backup that would restore: what it holds, and how long reading all of it took, in seconds."""

    backup: Backup
    fingerprint: Fingerprint
    seconds: float


def verify_backup(source: Path, progress: Progress | None = None, plan: RestorePlan | None = None) -> Verified:
    """Read everything that a restore would read and check it; raises `DamagedBackup` with the first thing wrong."""
    progress = progress or Progress()
    plan = plan or plan_restore(backups(source), str(source))
    tally = Tally()
    read_backup(plan, tally, progress)
    progress.finish()
    return Verified(plan.backup, tally.fingerprint, progress.seconds)


class Tally:
    """A destination that keeps nothing but the fingerprint, and checks that documents are JSON."""

    def __init__(self) -> None:
        self.fingerprint = Fingerprint()

    def apply(self, batch: Batch) -> None:
        """Count these documents in."""
        ids, bodies = batch.ids.values(), list(batch.bodies)
        self.fingerprint.add_batch(batch, batch_digests(ids, batch.metadata.values(), bodies))
        for id, body in zip(ids, bodies, strict=True):
            if body is not None:
                try:
                    check_body(body)
                except InvalidDocument as error:
                    raise DamagedBackup(f"document {id!r} in the backup: {error}", HINT) from error

    def apply_attachment(self, revision: Revision, parts: Iterator[bytes]) -> None:
        """Count an attachment in, after reading its content."""
        sha256 = hashlib.sha256()
        size = 0
        for part in parts:
            sha256.update(part)
            size += len(part)
        if revision.body is not None and (sha256.digest() != revision.body or size != revision.size):
            raise DamagedBackup(f"the content of attachment {revision.id!r} was changed", HINT)
        self.count_attachment(revision)

    def count_attachment(self, revision: Revision) -> None:
        """Count an attachment in whose content somebody else checks."""
        if revision.body is not None:
            digest = member_digest(revision.id.encode(), revision.metadata, revision.body)
            group = (ATTACHMENT, revision.collection or "")
            self.fingerprint.add(group, 1, revision.size, int.from_bytes(digest, "big"))
