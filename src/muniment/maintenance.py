"""What keeps a database safe: backups while it is in use, restores, and verification."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Final, Literal, Unpack

from muniment.backup.differences import Differences, differences
from muniment.backup.merge import merge_backups
from muniment.backup.moment import NEWEST, PointKeywords, RestorePoint
from muniment.backup.plan import RestorePlan
from muniment.backup.point import point_of
from muniment.backup.query import LIMIT, Answer, query_backup
from muniment.backup.recoverability import Recoverability, recoverability
from muniment.backup.repository import Backup, backups, check_folder_name
from muniment.backup.restore import Restored, restore_backup
from muniment.backup.restore_into import Comparison, OnConflict, RestoredInto, check_database, check_policy, compared
from muniment.backup.restore_plan import plan_restore
from muniment.backup.selection import Selection, check_selection
from muniment.backup.take import take_backup
from muniment.backup.verify import Verified, verify_backup
from muniment.backup.versions import Version, version_at
from muniment.backup.when import Zone
from muniment.document import encode, from_microseconds
from muniment.errors import BackupRunning, Cancelled, MunimentError, StorageFailure
from muniment.progress import Progress
from muniment.storage.base import Storage, system_clock

WAIT_SECONDS: Final = 0.1
State = Literal["running", "completed", "faulted", "cancelled"]


@dataclass(frozen=True, slots=True)
class BackupStatus:
    """A moment of a backup: its state, what it is doing, what was written so far, and the error if it failed."""

    state: State
    stage: str
    documents: int
    attachments: int
    bytes: int
    total_documents: int | None
    total_bytes: int | None
    seconds: float
    error: str | None = None
    hint: str | None = None


class BackupOperation:
    """A backup that runs in a thread of its own."""

    def __init__(self, take: Callable[[Progress], Backup]) -> None:
        self.progress = Progress()
        self._take = take
        self._backup: Backup | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="muniment backup", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._backup = self._take(self.progress)
        except MunimentError as error:
            self._error = error
        except Exception as error:
            self._error = StorageFailure(f"the backup failed: {error!r}", "please report this as a bug")
            self._error.__cause__ = error
        finally:
            self.progress.finish()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._thread.is_alive()

    @property
    def status(self) -> BackupStatus:
        """How far it is."""
        error, progress = self._error, self.progress
        state: State = "completed" if self._backup else "running"
        if error:
            state = "cancelled" if isinstance(error, Cancelled) else "faulted"
        return BackupStatus(
            state,
            progress.stage,
            progress.documents,
            progress.attachments,
            progress.bytes,
            progress.total_documents,
            progress.total_bytes,
            progress.seconds,
            str(error) if error else None,
            getattr(error, "hint", None),
        )

    def cancel(self) -> None:
        """Ask it to stop. `wait` then raises `Cancelled`, unless the backup was complete before that."""
        self.progress.cancel()

    def wait(self, timeout: float | None = None) -> Backup:
        """The complete backup; raises what it failed with, or `TimeoutError` after that many seconds."""
        # In slices: of two signals that come at once, Linux may give both to other threads, and then only a main thread
        # that wakes by itself acts on them.
        deadline = None if timeout is None else monotonic() + timeout
        while self._thread.is_alive() and (deadline is None or monotonic() < deadline):
            self._thread.join(WAIT_SECONDS if deadline is None else min(WAIT_SECONDS, max(0, deadline - monotonic())))
        if self._error:
            raise self._error
        if self._backup is None:
            raise TimeoutError("the backup is still running")
        return self._backup


class MaintenanceActions:
    """Backups of one database; `restore` and `verify` need no database and are called on the class itself."""

    def __init__(self, storage: Storage, name: str, clock: Callable[[], int], folder: Path | None = None) -> None:
        """`folder` is where a moment is restored to be compared, the system's temporary one if it is not given."""
        self._storage = storage
        self._name = name
        self._clock = clock
        self._place = folder or Path(tempfile.gettempdir())
        self._lock = threading.Lock()
        self._backup: BackupOperation | None = None

    def start_backup(
        self,
        destination: str | Path,
        *,
        incremental: bool = False,
        new_chain: bool = False,
        skip_damaged: bool = False,
    ) -> BackupOperation:
        """Begin a backup of the state of this moment into a folder, and return at once.

        An incremental one holds what changed since the last backup in that folder; where there is none, or something
        might be missed, or the chain is not whole, it is a full one, and the manifest's `reason` says why. A full one
        begins a chain of its own. Reading and writing go on; the backup
        is the state at its start. Raises `BackupRunning` while another one runs.

        All that is read is proven to be what was written, and the backup fails where it is not, unless `skip_damaged`
        says to leave that out, which the manifest's `skipped` tells then. `new_chain` says that a folder where the
        database remembers backups may have none. See `muniment.backup.take.take_backup`.
        """

        check_folder_name(destination)

        def take(progress: Progress) -> Backup:
            return take_backup(
                self._storage,
                Path(destination),
                name=self._name,
                database_document=encode({"Id": self._name, "Settings": self._storage.settings}),
                clock=self._clock,
                incremental=incremental,
                new_chain=new_chain,
                skip_damaged=skip_damaged,
                progress=progress,
            )

        with self._lock:
            if self._backup and self._backup.running:
                raise BackupRunning(f"a backup of {self._name} is already running", "wait for it, or cancel it")
            self._backup = BackupOperation(take)
            return self._backup

    def close(self) -> None:
        """Cancel a backup that is running, and wait until it has ended."""
        with self._lock:
            if self._backup and self._backup.running:
                self._backup.cancel()
                self._backup._thread.join()

    @contextmanager
    def compare(
        self,
        source: str | Path,
        *,
        point: RestorePoint = NEWEST,
        selection: Selection | None = None,
        other_database: bool = False,
        progress: Progress | None = None,
        **named: Unpack[PointKeywords],
    ) -> Iterator[Comparison]:
        """Within it, this database is compared with a moment of its backups, or with the selected part of that.

        The `difference` of what it gives says what restoring would add, change and delete; `write` does it. The moment
        is named as for `restore`, and read and proven as there. Raises `ForeignBackup` when the backups are those of
        another database, unless `other_database` says that this is meant.
        """
        check_selection(selection)
        plan = self.plan_restore(source, point=point, **named)
        if not other_database:
            check_database(plan, self._storage, self._name)
        with compared(self._storage, plan, self._place, selection=selection, progress=progress) as comparison:
            yield comparison

    def restore_into(
        self,
        source: str | Path,
        *,
        on_conflict: OnConflict,
        point: RestorePoint = NEWEST,
        selection: Selection | None = None,
        other_database: bool = False,
        progress: Progress | None = None,
        **named: Unpack[PointKeywords],
    ) -> RestoredInto:
        """Bring a moment of the backups, or the selected part of it, back into this database, as one transaction.

        `skip` adds what is missing and leaves the rest alone, `overwrite` makes the part exactly what it was, deletions
        included, and `fail` adds, but raises `Conflict` when anything was changed or deleted since. When this raises,
        nothing was written. Reading and writing go on meanwhile; what somebody writes to the same ids after they were
        compared is never overwritten, but raises `Conflict`. See `compare` for the rest.
        """
        check_policy(on_conflict)
        progress = progress or Progress()
        with self.compare(
            source,
            point=replace(point, **named),
            selection=selection,
            other_database=other_database,
            progress=progress,
        ) as comparison:
            return comparison.write(on_conflict, progress)

    def recoverability(self) -> Recoverability:
        """How far the database could be recovered from the folders it was backed up to, and what to do next.

        See `muniment.backup.recoverability`: manifests and records are read, nothing is changed.
        """
        snapshot, facts = self._storage.snapshot(), self._storage.backup_facts()
        history = self._storage.kept_history() if self._storage.history.kept else None
        return recoverability(self._name, self._storage.identity, snapshot, facts, self._clock(), history)

    @staticmethod
    def restore(
        source: str | Path,
        destination: str | Path,
        *,
        point: RestorePoint = NEWEST,
        selection: Selection | None = None,
        defrag: bool = False,
        new_id: bool = False,
        progress: Progress | None = None,
        clock: Callable[[], int] = system_clock,
        **named: Unpack[PointKeywords],
    ) -> Restored:
        """Make a new database in a new folder from the newest moment in `source`, or the one that is named.

        `at` is a time with a zone, `etag` a transaction's last etag, `backup` the name of a backup whose end is meant;
        `lineage` says of which history, by the first letters of its id, where several have that moment. `selection`
        says which part of it to restore. With `new_id` it becomes another database, as RavenDB's
        `GenerateNewDatabaseId` says. See `muniment.backup.restore.restore_backup` for what holds afterwards.
        """
        check_selection(selection)
        plan = MaintenanceActions.plan_restore(source, point=point, **named)
        return restore_backup(
            Path(source),
            Path(destination),
            defrag=defrag,
            progress=progress,
            plan=plan,
            selection=selection,
            new_id=new_id,
            clock=clock,
        )

    @staticmethod
    def plan_restore(
        source: str | Path,
        *,
        point: RestorePoint = NEWEST,
        **named: Unpack[PointKeywords],
    ) -> RestorePlan:
        """Which backups a restore of this moment would read; raises what that restore would raise before it began."""
        found = backups(Path(source))
        plan = plan_restore(found, str(source), replace(point, **named))
        return replace(plan, notes=(*found.notes, *plan.missing))

    @staticmethod
    def differences(
        source: str | Path,
        before: str,
        after: str,
        *,
        lineage: str | None = None,
        zone: Zone = None,
        progress: Progress | None = None,
        clock: Callable[[], int] = system_clock,
    ) -> Differences:
        """What was added, changed and deleted between two moments, which are named as `point_of` reads them.

        `zone` is that of times without one, which are refused unless it is given. See
        `muniment.backup.differences.differences`. Nothing is restored.
        """
        available, now = backups(Path(source)), from_microseconds(clock())
        points = [point_of(text, available, str(source), lineage, zone, now) for text in (before, after)]
        plans = [plan_restore(available, str(source), point) for point in points]
        return differences(plans[0], plans[1], progress)

    @staticmethod
    def version(
        source: str | Path,
        id: str,
        *,
        point: RestorePoint = NEWEST,
        progress: Progress | None = None,
        **named: Unpack[PointKeywords],
    ) -> Version | None:
        """One document as it was at a moment of the backups, or its deletion: see `backup.versions.version_at`."""
        plan = MaintenanceActions.plan_restore(source, point=point, **named)
        return version_at(plan, id, progress)

    @staticmethod
    def query(
        source: str | Path,
        sql: str,
        *,
        point: RestorePoint = NEWEST,
        limit: int = LIMIT,
        progress: Progress | None = None,
        **named: Unpack[PointKeywords],
    ) -> Answer:
        """See `muniment.backup.query.query_backup`: SQL over the documents of a moment, without restoring it."""
        plan = MaintenanceActions.plan_restore(source, point=point, **named)
        return query_backup(plan, sql, limit=limit, progress=progress)

    @staticmethod
    def merge(
        source: str | Path,
        through: str,
        *,
        delete_merged: bool = False,
        progress: Progress | None = None,
        clock: Callable[[], int] = system_clock,
    ) -> Backup:
        """See `muniment.backup.merge.merge_backups`: one full backup out of a chain, without the database."""
        return merge_backups(Path(source), through, clock=clock, delete_merged=delete_merged, progress=progress)

    @staticmethod
    def verify(
        source: str | Path,
        *,
        point: RestorePoint = NEWEST,
        record: bool = True,
        progress: Progress | None = None,
        clock: Callable[[], int] = system_clock,
        **named: Unpack[PointKeywords],
    ) -> Verified:
        """Read and check all backups in a folder, or with a moment named all that a restore of it would need.

        See `muniment.backup.verify.verify_backup`. Its result is written as a new object beside the backups, unless
        `record` is False or nothing can be written there.
        """
        point = replace(point, **named)
        plan = MaintenanceActions.plan_restore(source, point=point) if point.named else None
        return verify_backup(Path(source), progress, plan, clock if record else None)
