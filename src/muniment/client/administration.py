"""Databases, backups, restores and operations of a server, with threads and in asyncio."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Generic, TypeAlias, TypeVar, Unpack

from muniment.backup.moment import NEWEST, PointKeywords, RestorePoint
from muniment.backup.recoverability import Recoverability
from muniment.backup.restore_into import OnConflict
from muniment.backup.selection import Selection
from muniment.client import databases, jobs
from muniment.client.databases import START_TIMEOUT, Operation, Part
from muniment.client.jobs import Job, JobStatus
from muniment.client.transport import AsyncRemote, Remote
from muniment.client.wire import Flow
from muniment.faces import both

J = TypeVar("J")
OnStatus: TypeAlias = Callable[[JobStatus], object]


class BothJobs:
    """A backup, a restore or a compaction that a server is doing; it goes on when this program ends."""

    def __init__(self, job: Job, transport: Any) -> None:
        self.id = job.operation
        self._job = job
        self._transport = transport

    @both
    def changes(self) -> Flow[list[dict[str, Any]]]:
        """Of a restore into a database: the ids that differ, by kind and collection, as soon as that is known.

        Raises `NotFound` before, and when the server has forgotten them.
        """
        return (yield from jobs.changes(self._job))

    @both
    def cancel(self) -> Flow[None]:
        """Ask it to stop. `wait` then raises `Cancelled`, unless it was complete before that."""
        yield from jobs.cancel(self._job)

    @both
    def wait(self, timeout: float | None = None, on_status: OnStatus | None = None) -> Flow[JobStatus]:
        """Its status once it is complete; raises what it failed with, or `TimeoutError` after that many seconds.

        Asks every second, at first more often, and tells `on_status` each answer.
        """
        return (yield from jobs.wait(self._job, timeout, on_status))


class RemoteJob(BothJobs, Remote):
    __doc__ = BothJobs.__doc__

    @property
    def status(self) -> JobStatus:
        """How far it is now, as the server says."""
        return self._run(jobs.status(self._job))


class AsyncRemoteJob(BothJobs, AsyncRemote):
    """`RemoteJob` in asyncio."""

    async def status(self) -> JobStatus:
        """See `RemoteJob.status`."""
        return await self._run(jobs.status(self._job))


class BothAdministrations(Generic[J]):
    """What is done with databases as a whole. Paths are those of the server's machine."""

    _job: Callable[[Job, Any], J]

    def __init__(self, transport: Any, database: str) -> None:
        self._transport = transport
        self._database = database

    @both
    def start_backup(
        self,
        destination: str | os.PathLike[str],
        incremental: bool = False,
        *,
        new_chain: bool = False,
        skip_damaged: bool = False,
    ) -> Flow[J]:
        """Begin a backup of the store's database into a folder, and return at once.

        The flags are those of `MaintenanceActions.start_backup`. Raises `BackupRunning` while another one runs. What
        the server finds wrong with the folder is the job's failure.
        """
        flow = databases.start_backup(self._database, destination, incremental, new_chain, skip_damaged)
        return self._job((yield from flow), self._transport)

    @both
    def recoverability(self) -> Flow[Recoverability]:
        """How far the store's database could be recovered from the folders it was backed up to, and what to do next."""
        return (yield from databases.recoverability(self._database))

    @both
    def start_restore(
        self,
        backup_location: str | os.PathLike[str],
        database_name: str | None = None,
        location: str | os.PathLike[str] | None = None,
        defrag: bool = False,
        start_timeout: int = START_TIMEOUT,
        *,
        point: RestorePoint = NEWEST,
        selection: Selection | None = None,
        new_id: bool = False,
        **named: Unpack[PointKeywords],
    ) -> Flow[J]:
        """Begin the restore of a moment into a new database, named as in the backup when no name is given.

        The moment is the newest that the folder holds, or one named as for `MaintenanceActions.restore`; what can not
        be reached is refused at once. When another restore runs, its end is waited for up to `start_timeout` seconds.
        `new_id` makes another database of it, which the folder of these backups then refuses.
        """
        part = Part(backup_location, replace(point, **named), selection)
        flow = databases.start_restore(part, database_name, location, defrag, start_timeout, new_id)
        return self._job((yield from flow), self._transport)

    @both
    def plan_restore(
        self,
        backup_location: str | os.PathLike[str],
        database_name: str | None = None,
        *,
        point: RestorePoint = NEWEST,
        selection: Selection | None = None,
        **named: Unpack[PointKeywords],
    ) -> Flow[dict[str, Any]]:
        """What such a restore would read (files, rows, bytes), and the etag and time of the transaction it stops at.

        Raises what that restore would raise before it began.
        """
        part = Part(backup_location, replace(point, **named), selection)
        return (yield from databases.plan_restore(part, database_name))

    @both
    def start_restore_into(
        self,
        backup_location: str | os.PathLike[str],
        on_conflict: OnConflict | None = None,
        *,
        point: RestorePoint = NEWEST,
        selection: Selection | None = None,
        other_database: bool = False,
        dry_run: bool = False,
        **named: Unpack[PointKeywords],
    ) -> Flow[J]:
        """Begin to bring a moment of the backups, or a part of it, back into the store's database while it is used.

        `on_conflict` and the rest are as for `MaintenanceActions.restore_into`; the server works in the folder of the
        database. With `dry_run`, or without `on_conflict`, it only compares. The job's status has the `difference`,
        and its `changes` are the ids.
        """
        part = Part(backup_location, replace(point, **named), selection)
        only = dry_run or on_conflict is None
        flow = databases.start_restore_into(self._database, part, on_conflict, only, other_database)
        return self._job((yield from flow), self._transport)

    @both
    def compact(self, database: str | None = None) -> Flow[J]:
        """Begin to compact a database, by default the store's, which nobody can use meanwhile."""
        flow = databases.start_compact(database or self._database)
        return self._job((yield from flow), self._transport)

    @both
    def create_database(self, name: str, settings: Mapping[str, str] | None = None) -> Flow[None]:
        """Make a database. `settings` are RavenDB's, like `Raven/DataDir`. Raises when there is one of this name."""
        yield from databases.create_database(name, settings)

    @both
    def delete_database(self, name: str, *, hard: bool = False) -> Flow[None]:
        """Forget a database; with `hard`, delete its files too."""
        yield from databases.delete_database(name, hard)

    @both
    def settings(self) -> Flow[dict[str, str]]:
        """The settings of the store's database."""
        return (yield from databases.settings(self._database))

    @both
    def configure(self, settings: Mapping[str, str | None], *, replace: bool = False) -> Flow[dict[str, str]]:
        """Change settings of the store's database, as `DocumentDatabase.configure` does; nobody can use it meanwhile.

        The settings that say where its files are stay, also with `replace`.
        """
        return (yield from databases.configure(self._database, settings, replace))

    @both
    def databases(self) -> Flow[list[str]]:
        """The names of all databases but the system database."""
        return (yield from databases.databases())

    @both
    def build_version(self) -> Flow[dict[str, object]]:
        """`ProductVersion` and `BuildVersion` of the server."""
        return (yield from databases.build_version())


class Administration(BothAdministrations[RemoteJob], Remote):
    __doc__ = BothAdministrations.__doc__

    _job = RemoteJob


class AsyncAdministration(BothAdministrations[AsyncRemoteJob], AsyncRemote):
    """`Administration` in asyncio."""

    _job = AsyncRemoteJob


class BothOperations:
    """The jobs of a server, by their numbers."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    @both
    def status(self, id: int) -> Flow[JobStatus]:
        """How far an operation is; raises `NotFound` when the server does not know it (any more)."""
        return (yield from jobs.operation(id))

    @both
    def list(self) -> Flow[list[Operation]]:
        """The operations that the server knows."""
        return (yield from databases.operations())

    @both
    def kill(self, id: int) -> Flow[None]:
        """Ask an operation to stop."""
        yield from jobs.kill(id)


class Operations(BothOperations, Remote):
    __doc__ = BothOperations.__doc__


class AsyncOperations(BothOperations, AsyncRemote):
    """`Operations` in asyncio."""
