"""What a request says of a restore: which backups, which moment of them, and which part of that."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from muniment.backup.moment import RestorePoint, time_of
from muniment.backup.plan import RestorePlan
from muniment.backup.restore import dry_run
from muniment.backup.selection import Selection
from muniment.document import from_microseconds
from muniment.errors import BackupNotFound, InvalidInput
from muniment.maintenance import MaintenanceActions
from muniment.server.tenants import Databases
from muniment.storage.base import system_clock


class Part(msgspec.Struct):
    """A moment of the backups in a folder of the server's machine, the newest when none is named; whole, or parts."""

    source: str = msgspec.field(name="BackupLocation", default="")
    at: str | None = msgspec.field(name="At", default=None)
    etag: int | None = msgspec.field(name="Etag", default=None)
    backup: str | None = msgspec.field(name="Backup", default=None)
    lineage: str | None = msgspec.field(name="Lineage", default=None)
    collections: list[str] | None = msgspec.field(name="Collections", default=None)
    ids: list[str] | None = msgspec.field(name="Ids", default=None)
    prefixes: list[str] | None = msgspec.field(name="IdPrefixes", default=None)

    @property
    def selection(self) -> Selection | None:
        """The part to restore, None for all of it."""
        return Selection.of(*map(_names, (self.collections, self.ids, self.prefixes)))

    async def folder(self, databases: Databases, *, local: bool) -> Path:
        """Where the backups are; raises `Forbidden`, and `BackupNotFound` when there is no such folder."""
        if not self.source.strip():
            raise InvalidInput("BackupLocation is missing", 'send {"BackupLocation": "/a/folder/of/the/server"}')
        source = databases.backup_folder(self.source, local=local)
        if not await asyncio.to_thread(source.is_dir):
            raise BackupNotFound(f"there is no folder {source}", "give the folder that the backup was written to")
        return source

    async def plan(self, source: Path) -> tuple[RestorePlan, dict[str, Any]]:
        """What a restore of it reads, and the same as JSON; raises what makes it impossible."""
        # Nobody knows the zone of whoever asks, nor whether it is the server's: a time has to say it.
        at = None if self.at is None else time_of(self.at, None, from_microseconds(system_clock()))
        point = RestorePoint(at, self.etag, self.backup, self.lineage)

        def planned() -> tuple[RestorePlan, dict[str, Any]]:
            plan = MaintenanceActions.plan_restore(source, point=point)
            return plan, dry_run(plan, str(source))

        return await asyncio.to_thread(planned)


def _names(given: Iterable[str] | None) -> tuple[str, ...]:
    return tuple(given or ())
