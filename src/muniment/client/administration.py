"""Databases, backups, restores and operations of a server, with threads and in asyncio."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias, Unpack

from muniment.backup.moment import NEWEST, PointKeywords, RestorePoint
from muniment.backup.recoverability import Recoverability
from muniment.backup.restore_into import OnConflict
from muniment.backup.selection import Selection
from muniment.client import databases, jobs
from muniment.client.databases import START_TIMEOUT, Operation, Part
from muniment.client.jobs import Job, JobStatus
from muniment.client.transport import AsyncTransport, Transport

OnStatus: TypeAlias = Callable[[JobStatus], object]


class RemoteJob:
    """A backup, a restore or a compaction that a server is doing; it goes on when this program ends."""

    def __init__(self, job: Job, transport: Transport) -> None:
        self.id = job.operation
        self._job = job
        self._transport = transport

    @property
    def status(self) -> JobStatus:
        """How far it is now, as the server says."""
        return self._transport.run(jobs.status(self._job))

    def changes(self) -> list[dict[str, Any]]:
        """Of a restore into a database: the ids that differ, by kind and collection, as soon as that is known.

        Raises `NotFound` before, and when the server has forgotten them.
        """
        return self._transport.run(jobs.changes(self._job))

    def cancel(self) -> None:
        """Ask it to stop. `wait` then raises `Cancelled`, unless it was complete before that."""
        self._transport.run(jobs.cancel(self._job))

    def wait(self, timeout: float | None = None, on_status: OnStatus | None = None) -> JobStatus:
        """Its status once it is complete; raises what it failed with, or `TimeoutError` after that many seconds.

        Asks every second, at first more often, and tells `on_status` each answer.
        """
        return self._transport.run(jobs.wait(self._job, timeout, on_status))


class Administration:
    """What is done with databases as a whole. Paths are those of the server's machine."""

    def __init__(self, transport: Transport, database: str) -> None:
        self._transport = transport
        self._database = database

    def start_backup(
        self,
        destination: str | os.PathLike[str],
        incremental: bool = False,
        *,
        new_chain: bool = False,
        skip_damaged: bool = False,
    ) -> RemoteJob:
        """Begin a backup of the store's database into a folder, and return at once.

        The flags are those of `MaintenanceActions.start_backup`. Raises `BackupRunning` while another one runs. What
        the server finds wrong with the folder is the job's failure.
        """
        flow = databases.start_backup(self._database, destination, incremental, new_chain, skip_damaged)
        return RemoteJob(self._transport.run(flow), self._transport)

    def recoverability(self) -> Recoverability:
        """How far the store's database could be recovered from the folders it was backed up to, and what to do next."""
        return self._transport.run(databases.recoverability(self._database))

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
    ) -> RemoteJob:
        """Begin the restore of a moment into a new database, named as in the backup when no name is given.

        The moment is the newest that the folder holds, or one named as for `MaintenanceActions.restore`; what can not
        be reached is refused at once. When another restore runs, its end is waited for up to `start_timeout` seconds.
        `new_id` makes another database of it, which the folder of these backups then refuses.
        """
        part = Part(backup_location, replace(point, **named), selection)
        flow = databases.start_restore(part, database_name, location, defrag, start_timeout, new_id)
        return RemoteJob(self._transport.run(flow), self._transport)

    def plan_restore(
        self,
        backup_location: str | os.PathLike[str],
        database_name: str | None = None,
        *,
        point: RestorePoint = NEWEST,
        selection: Selection | None = None,
        **named: Unpack[PointKeywords],
    ) -> dict[str, Any]:
        """What such a restore would read (files, rows, bytes), and the etag and time of the transaction it stops at.

        Raises what that restore would raise before it began.
        """
        part = Part(backup_location, replace(point, **named), selection)
        return self._transport.run(databases.plan_restore(part, database_name))

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
    ) -> RemoteJob:
        """Begin to bring a moment of the backups, or a part of it, back into the store's database while it is used.

        `on_conflict` and the rest are as for `MaintenanceActions.restore_into`; the server works in the folder of the
        database. With `dry_run`, or without `on_conflict`, it only compares. The job's status has the `difference`,
        and its `changes` are the ids.
        """
        part = Part(backup_location, replace(point, **named), selection)
        only = dry_run or on_conflict is None
        flow = databases.start_restore_into(self._database, part, on_conflict, only, other_database)
        return RemoteJob(self._transport.run(flow), self._transport)

    def compact(self, database: str | None = None) -> RemoteJob:
        """Begin to compact a database, by default the store's, which nobody can use meanwhile."""
        return RemoteJob(self._transport.run(databases.start_compact(database or self._database)), self._transport)

    def create_database(self, name: str, settings: Mapping[str, str] | None = None) -> None:
        """Make a database. `settings` are RavenDB's, like `Raven/DataDir`. Raises when there is one of this name."""
        self._transport.run(databases.create_database(name, settings))

    def delete_database(self, name: str, *, hard: bool = False) -> None:
        """Forget a database; with `hard`, delete its files too."""
        self._transport.run(databases.delete_database(name, hard))

    def settings(self) -> dict[str, str]:
        """The settings of the store's database."""
        return self._transport.run(databases.settings(self._database))

    def configure(self, settings: Mapping[str, str | None], *, replace: bool = False) -> dict[str, str]:
        """Change settings of the store's database, as `DocumentDatabase.configure` does; nobody can use it meanwhile.

        The settings that say where its files are stay, also with `replace`.
        """
        return self._transport.run(databases.configure(self._database, settings, replace))

    def databases(self) -> list[str]:
        """The names of all databases but the system database."""
        return self._transport.run(databases.databases())

    def build_version(self) -> dict[str, object]:
        """`ProductVersion` and `BuildVersion` of the server."""
        return self._transport.run(databases.build_version())


class Operations:
    """The jobs of a server, by their numbers."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def status(self, id: int) -> JobStatus:
        """How far an operation is; raises `NotFound` when the server does not know it (any more)."""
        return self._transport.run(jobs.operation(id))

    def list(self) -> list[Operation]:
        """The operations that the server knows."""
        return self._transport.run(databases.operations())

    def kill(self, id: int) -> None:
        """Ask an operation to stop."""
        self._transport.run(jobs.kill(id))


class AsyncRemoteJob:
    """`RemoteJob` in asyncio."""

    def __init__(self, job: Job, transport: AsyncTransport) -> None:
        self.id = job.operation
        self._job = job
        self._transport = transport

    async def status(self) -> JobStatus:
        """See `RemoteJob.status`."""
        return await self._transport.run(jobs.status(self._job))

    async def changes(self) -> list[dict[str, Any]]:
        """See `RemoteJob.changes`."""
        return await self._transport.run(jobs.changes(self._job))

    async def cancel(self) -> None:
        """See `RemoteJob.cancel`."""
        await self._transport.run(jobs.cancel(self._job))

    async def wait(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 (as in the twin)
        on_status: OnStatus | None = None,
    ) -> JobStatus:
        """See `RemoteJob.wait`."""
        return await self._transport.run(jobs.wait(self._job, timeout, on_status))


class AsyncAdministration:
    """`Administration` in asyncio."""

    def __init__(self, transport: AsyncTransport, database: str) -> None:
        self._transport = transport
        self._database = database

    async def start_backup(
        self,
        destination: str | os.PathLike[str],
        incremental: bool = False,
        *,
        new_chain: bool = False,
        skip_damaged: bool = False,
    ) -> AsyncRemoteJob:
        """See `Administration.start_backup`."""
        flow = databases.start_backup(self._database, destination, incremental, new_chain, skip_damaged)
        return AsyncRemoteJob(await self._transport.run(flow), self._transport)

    async def recoverability(self) -> Recoverability:
        """See `Administration.recoverability`."""
        return await self._transport.run(databases.recoverability(self._database))

    async def start_restore(
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
    ) -> AsyncRemoteJob:
        """See `Administration.start_restore`."""
        part = Part(backup_location, replace(point, **named), selection)
        flow = databases.start_restore(part, database_name, location, defrag, start_timeout, new_id)
        return AsyncRemoteJob(await self._transport.run(flow), self._transport)

    async def plan_restore(
        self,
        backup_location: str | os.PathLike[str],
        database_name: str | None = None,
        *,
        point: RestorePoint = NEWEST,
        selection: Selection | None = None,
        **named: Unpack[PointKeywords],
    ) -> dict[str, Any]:
        """See `Administration.plan_restore`."""
        part = Part(backup_location, replace(point, **named), selection)
        return await self._transport.run(databases.plan_restore(part, database_name))

    async def start_restore_into(
        self,
        backup_location: str | os.PathLike[str],
        on_conflict: OnConflict | None = None,
        *,
        point: RestorePoint = NEWEST,
        selection: Selection | None = None,
        other_database: bool = False,
        dry_run: bool = False,
        **named: Unpack[PointKeywords],
    ) -> AsyncRemoteJob:
        """See `Administration.start_restore_into`."""
        part = Part(backup_location, replace(point, **named), selection)
        only = dry_run or on_conflict is None
        flow = databases.start_restore_into(self._database, part, on_conflict, only, other_database)
        return AsyncRemoteJob(await self._transport.run(flow), self._transport)

    async def compact(self, database: str | None = None) -> AsyncRemoteJob:
        """See `Administration.compact`."""
        flow = databases.start_compact(database or self._database)
        return AsyncRemoteJob(await self._transport.run(flow), self._transport)

    async def create_database(self, name: str, settings: Mapping[str, str] | None = None) -> None:
        """See `Administration.create_database`."""
        await self._transport.run(databases.create_database(name, settings))

    async def delete_database(self, name: str, *, hard: bool = False) -> None:
        """See `Administration.delete_database`."""
        await self._transport.run(databases.delete_database(name, hard))

    async def settings(self) -> dict[str, str]:
        """See `Administration.settings`."""
        return await self._transport.run(databases.settings(self._database))

    async def configure(self, settings: Mapping[str, str | None], *, replace: bool = False) -> dict[str, str]:
        """See `Administration.configure`."""
        return await self._transport.run(databases.configure(self._database, settings, replace))

    async def databases(self) -> list[str]:
        """See `Administration.databases`."""
        return await self._transport.run(databases.databases())

    async def build_version(self) -> dict[str, object]:
        """See `Administration.build_version`."""
        return await self._transport.run(databases.build_version())


class AsyncOperations:
    """`Operations` in asyncio."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def status(self, id: int) -> JobStatus:
        """See `Operations.status`."""
        return await self._transport.run(jobs.operation(id))

    async def list(self) -> list[Operation]:
        """See `Operations.list`."""
        return await self._transport.run(databases.operations())

    async def kill(self, id: int) -> None:
        """See `Operations.kill`."""
        await self._transport.run(jobs.kill(id))
