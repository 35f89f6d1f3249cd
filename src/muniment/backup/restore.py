"""Restoring: the planned backup, checked as it is read, into a new folder that appears whole or not at all."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muniment.backup.lease import leased
from muniment.backup.plan import RestorePlan
from muniment.backup.reader import Destination, Moment, check_before_ranges, moment_of
from muniment.backup.repository import Backup
from muniment.backup.selection import Selection, read_part
from muniment.backup.staging import staged
from muniment.document import from_microseconds, rfc3339
from muniment.fingerprint import Fingerprint, Tally
from muniment.progress import Progress
from muniment.revision import Batch, Revision
from muniment.security.encryption import EncryptionKey
from muniment.storage import engines
from muniment.storage.base import Identity, Lineage, system_clock


@dataclass(frozen=True, slots=True)
class Restored:
    """A database that was restored: where, from which backup and moment, what is in it, and the seconds it took.

    `notes` are what whoever asked for it should know.
    """

    folder: Path
    backup: Backup
    moment: Moment
    fingerprint: Fingerprint
    seconds: float
    notes: tuple[str, ...] = ()


def restore(
    plan: RestorePlan,
    target: Path,
    *,
    selection: Selection | None = None,
    defrag: bool = False,
    new_id: bool = False,
    progress: Progress | None = None,
    clock: Callable[[], int] = system_clock,
    key: EncryptionKey | None = None,
) -> Restored:
    """Make a new database of the planned moment in the folder `target`, or the schema of PostgreSQL that it names.

    With a selection only that part of the moment is restored; `selection.read_part` says what is proven of it. When it
    returns, the database is on disk, and without a selection its fingerprint is the manifest's. When it raises,
    `target` is as it was. An existing database, or a folder with more in it than `lost+found`, is never written to. The
    restored database begins a new lineage. It keeps its id, unless `new_id` makes another database of it, which cannot
    be backed up to the folder of the first. With a `key` it is encrypted from its first byte on.
    """
    progress = progress or Progress()
    with staged(target, key) as staging, leased("restore", plan.chain, clock):
        source_id = plan.manifest.database.id
        identity = Identity(str(uuid.uuid4()) if new_id else source_id, str(uuid.uuid4()))
        loader = engines.loader(staging.folder, identity, key)
        try:
            moment = read_part(plan, selection, _Paced(loader, progress), progress)
            progress.stage = "finishing"
            lineages = _continued(plan, identity, moment, clock(), part=selection is not None)
            loader.finish(moment.etag, moment.modified, plan.backup.settings(), lineages=lineages, defrag=defrag)
        finally:
            loader.close()
        progress.check()  # whoever wanted it may have gone: then nobody would know of the database
        notes = (*plan.notes, *plan.elsewhere, *staging.publish())
    progress.finish()
    return Restored(staging.target, plan.backup, moment, loader.fingerprint, progress.seconds, notes)


class _Paced:
    """Passes on what is loaded, as fast as may be written."""

    def __init__(self, loader: Destination, progress: Progress) -> None:
        self._loader = loader
        self._progress = progress

    @property
    def fingerprint(self) -> Fingerprint:
        """Of everything that was loaded."""
        return self._loader.fingerprint

    @property
    def rows(self) -> Tally:
        """The same of their digests as rows."""
        return self._loader.rows

    def apply(self, batch: Batch) -> None:
        """Load documents."""
        self._loader.apply(batch)
        self._progress.pace(written=batch.bodies.size)

    def apply_attachment(self, revision: Revision, parts: Iterator[bytes]) -> None:
        """Load an attachment."""
        self._loader.apply_attachment(revision, self._each(parts))

    def _each(self, parts: Iterator[bytes]) -> Iterator[bytes]:
        for part in parts:
            self._progress.pace(written=len(part))
            yield part


def _continued(plan: RestorePlan, identity: Identity, moment: Moment, now: int, *, part: bool) -> list[Lineage]:
    """The lineages of the backup and the one that begins now, which never begins before the moment it comes from."""
    database = plan.manifest.database
    time, began = (rfc3339(from_microseconds(each)) for each in (moment.modified, max(now, moment.modified)))
    new = Lineage(identity.lineage, database.lineage, moment.etag, time, began, part)
    return [*(database.lineages or [Lineage(database.lineage, None, 0, None, None)]), new]


def dry_run(plan: RestorePlan, source: str) -> dict[str, Any]:
    """The plan as JSON; raises `UnreachablePoint` and `DamagedBackup` where the files show that it cannot be kept.

    Of the files, only the etags and times of the last backup are read, and those only for a moment inside it; they are
    compared with their SHA-256 first.
    """
    if plan.partial:
        check_before_ranges([(plan.backup, file) for file in plan.manifest.files], Progress())
    moment = moment_of(plan)
    return {
        "source": source,
        "name": plan.manifest.database.name,
        "database_id": plan.manifest.database.id,
        "etag": moment.etag,
        "time": rfc3339(from_microseconds(moment.modified)),
        "rows": plan.rows,
        "file_bytes": plan.size,
        "backups": [
            {
                "backup": str(backup.folder),
                "kind": backup.manifest.kind,
                "files": [{"name": file.name, "rows": file.rows, "bytes": file.size} for file in backup.manifest.files],
            }
            for backup in plan.chain
        ],
        "notes": list(plan.notes),
    }
