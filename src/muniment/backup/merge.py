"""Merging a chain into one full backup, from the backups alone: neither the database nor its server is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import msgspec

from muniment.backup.manifest import Counts, File, Manifest, SnapshotRecord, digest, encode
from muniment.backup.moment import RestorePoint
from muniment.backup.parquet import DOCUMENTS, FILE_BYTES, AttachmentFile, ParquetFile, document_columns
from muniment.backup.plan import RestorePlan
from muniment.backup.reader import HINT, Moment, read_backup
from muniment.backup.repository import Backup, Backups, NewBackup, Seal, backups, delete_backup
from muniment.backup.restore_plan import plan_restore
from muniment.backup.sealing import Sealing, seal_like
from muniment.backup.tally import Tally
from muniment.document import from_microseconds
from muniment.durable import mapped_errors
from muniment.errors import Conflict, DamagedBackup, InvalidInput, TargetExists
from muniment.fingerprint import ContentDigest, attachment_digests
from muniment.progress import Progress
from muniment.revision import ATTACHMENT, DOCUMENT, Batch, Revision
from muniment.security.keyring import NO_KEYS, UNPROTECTED, Keyring, Protection
from muniment.storage.base import BackupFacts, Lineage
from muniment.version import VERSION


def merge_backups(
    source: str | Path,
    through: str,
    *,
    clock: Callable[[], int],
    delete_merged: bool = False,
    keyring: Keyring = NO_KEYS,
    protection: Protection = UNPROTECTED,
    progress: Progress | None = None,
) -> Backup:
    """Write a new full backup with the state at the end of the backup `through`, and return it.

    Everything is checked as in a restore, and the fingerprint proven, before the new backup exists. The old ones stay
    as they are, and incremental backups that continue them can be restored; with `delete_merged` those that the new one
    replaces are deleted, and what continued the last of them continues the new one. Raises `Conflict`, and deletes
    nothing, when another backup continues one before the last, or the last where not both would be encrypted; and
    `TargetExists` when it was merged already, unless those are to be deleted now, for which the merged one is proven
    once more.

    It is encrypted and signed as the protection says; where that names nobody, for those who may open all of them.
    """
    progress = progress or Progress()
    available = backups(source, keyring)
    plan = plan_restore(available, str(source), RestorePoint(backup=through))
    if len(plan.chain) == 1:
        raise InvalidInput(f"{through} is a full backup: there is nothing to merge", "name an incremental backup")
    if delete_merged:
        _check_unused(plan, available)
    merged = next((each for each in available if each.manifest.same_state_as == plan.backup.sha256), None)
    if merged and not delete_merged:
        raise TargetExists(
            f"{through} was merged already, into {merged.name}",
            "restore or verify that one; --delete-merged deletes those that it replaces",
        )
    if merged:
        read_backup(plan_restore(available, str(source), RestorePoint(backup=merged.name)), Tally(), progress)
    else:
        named = protection.recipients or protection.in_clear
        seal = (
            Sealing(protection, [], plan.manifest.database.id, BackupFacts(frozenset(), 0)).seal(None)
            if named
            else seal_like(plan.chain, keyring, protection.signing_key)
        )
        if delete_merged and (seal.key is not None) != plan.encrypted:
            _check_end(plan, available)
        merged = _write_merged(plan, available, seal, clock, progress)
    if delete_merged:
        for backup in reversed(plan.chain):
            delete_backup(backup)
    progress.finish()
    return replace(merged, notes=(*available.notes, *merged.notes))


def _write_merged(
    plan: RestorePlan, available: Backups, seal: Seal, clock: Callable[[], int], progress: Progress
) -> Backup:
    settings = plan.backup.read_database_document()
    stored = seal.settings(settings)
    new = NewBackup(available.place, "full", from_microseconds(clock()), stored, seal)
    writer = _Writer(new, progress)
    try:
        with mapped_errors(new.folder):
            moment = read_backup(plan, writer, progress)
            writer.close()
        manifest = _manifest(plan, moment, writer, digest(stored))
        return new.publish(encode(manifest, seal.key))
    except BaseException:
        writer.abandon()
        new.abandon()
        raise


def _check_unused(plan: RestorePlan, available: Sequence[Backup]) -> None:
    merged = {backup.sha256 for backup in plan.chain}
    # What continued a backup that was merged before names that one as its parent.
    inner = {state: backup for backup in plan.chain[:-1] for state in (backup.sha256, backup.manifest.same_state_as)}
    for backup in available:
        parent = backup.manifest.parent
        if parent and parent.sha256 in inner and backup.sha256 not in merged:
            raise Conflict(
                f"{backup.name} continues {inner[parent.sha256].name}, which would be deleted",
                "merge without deleting, or delete that backup first",
            )


def _check_end(plan: RestorePlan, available: Sequence[Backup]) -> None:
    """Raises `Conflict` when another backup continues the chain, which then would be of two kinds."""
    ends = {plan.backup.sha256, plan.manifest.same_state_as}
    for backup in available:
        if backup.manifest.parent and backup.manifest.parent.sha256 in ends:
            raise Conflict(
                f"{backup.name} continues {plan.backup.name}: a chain is encrypted as a whole or not at all",
                "merge without deleting, or through the last backup of the chain",
            )


class _Writer(Tally):
    """A destination that writes what it is given into the files of a new backup, and keeps its fingerprint."""

    def __init__(self, new: NewBackup, progress: Progress) -> None:
        super().__init__()
        self._progress = progress
        self.files: list[File] = []
        self.tombstones = [0, 0]
        self._new = new
        self._numbers = count(1)
        self._attachment_numbers = count(1)
        self._documents: ParquetFile | None = None
        self._attachments: AttachmentFile | None = None

    def apply(self, batch: Batch) -> None:
        """Write documents."""
        before = self.rows.digest
        super().apply(batch)
        if self._documents is None:
            path = self._new.path(f"documents-{next(self._numbers):05d}.parquet")
            self._documents = ParquetFile(path, DOCUMENTS, self._new.seal.parquet_key)
        size = self._documents.size
        self._documents.write(document_columns(batch), batch.etags, self.rows.digest - before)
        self._progress.pace(written=self._documents.size - size)
        self.tombstones[0] += len(batch.bodies.nulls)
        if self._documents.size >= FILE_BYTES:
            self.close()

    def apply_attachment(self, revision: Revision, parts: Iterator[bytes]) -> None:
        """Write an attachment."""
        if self._attachments is None:
            path = self._new.path(f"attachments-{next(self._attachment_numbers):05d}.parquet")
            self._attachments = AttachmentFile(path, self._new.seal.parquet_key)
        digest, size = ContentDigest(), self._attachments.size
        for _ in self._attachments.append(revision, digest.passing(parts), attachment_digests(revision)[1]):
            self._progress.pace(written=self._attachments.size - size)
            size = self._attachments.size
        if revision.body is not None and not digest.is_of(revision):
            raise DamagedBackup(f"the content of attachment {revision.id!r} was changed", HINT)
        self.count_attachment(revision)
        self.tombstones[1] += revision.body is None
        if self._attachments.size >= FILE_BYTES:
            self.close()

    def close(self) -> None:
        """Bring the files that are open to disk."""
        for file in (self._documents, self._attachments):
            if file is not None:
                self.files.append(file.close())
        self._documents = self._attachments = None

    def abandon(self) -> None:
        """Close what is open; the caller removes the files."""
        for file in (self._documents, self._attachments):
            if file is not None:
                file.abandon()


def _manifest(plan: RestorePlan, moment: Moment, writer: _Writer, database_document: str) -> Manifest:
    """That of the last backup, but for what a full one has: its times too, for the state is no newer than it was."""
    last = plan.manifest
    found = writer.fingerprint
    documents, attachments = found.count(DOCUMENT), found.count(ATTACHMENT)
    size = found.size(DOCUMENT) + found.size(ATTACHMENT)
    lineages = last.database.lineages or (Lineage(last.database.lineage, None, 0, None, None),)
    database = msgspec.structs.replace(last.database, lineages=lineages)
    return Manifest(
        software=f"muniment {VERSION}",
        kind="full",
        reason=f"merged from {len(plan.chain)} backups, {plan.chain[0].name} through {plan.backup.name}",
        database=database,
        engine=last.engine,
        started=last.started,
        completed=last.completed,
        snapshot=SnapshotRecord(moment.etag, last.snapshot.time, last.snapshot.until),
        after=0,
        through=moment.etag,
        same_state_as=plan.backup.sha256,
        counts=Counts(documents, writer.tombstones[0], attachments, writer.tombstones[1], size),
        fingerprint=found.as_json(),
        database_document=database_document,
        files=tuple(sorted(writer.files, key=lambda file: file.name)),
    )
