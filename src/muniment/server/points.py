"""What a request says of a restore: which backups, which moment of them, and which part of that."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from muniment.backup.moment import RestorePoint, time_of
from muniment.backup.plan import RestorePlan
from muniment.backup.restore import dry_run
from muniment.backup.selection import Selection
from muniment.document import from_microseconds
from muniment.errors import BackupNotFound, InvalidInput
from muniment.maintenance import MaintenanceActions
from muniment.raven3.messages import MomentWanted
from muniment.security.encryption import EncryptionKey
from muniment.server.keyring import keyring_of
from muniment.server.request import Request
from muniment.settings import Settings
from muniment.storage.base import system_clock


def selection_of(wanted: MomentWanted) -> Selection | None:
    """The part to restore, None for all of it."""
    return Selection.of(*(tuple(names or ()) for names in (wanted.collections, wanted.ids, wanted.id_prefixes)))


async def folder_of(wanted: MomentWanted, request: Request) -> Path:
    """Where the backups are; raises `Forbidden`, and `BackupNotFound` when there is no such folder."""
    if not wanted.backup_location.strip():
        raise InvalidInput("BackupLocation is missing", 'send {"BackupLocation": "/a/folder/of/the/server"}')
    source = request.backup_folder(wanted.backup_location)
    if not await asyncio.to_thread(source.is_dir):
        raise BackupNotFound(f"there is no folder {source}", "give the folder that the backup was written to")
    return source


async def plan_of(
    wanted: MomentWanted, source: Path, settings: Settings, key: EncryptionKey | None = None
) -> tuple[RestorePlan, dict[str, Any]]:
    """What a restore of it reads, and the same as JSON; raises what makes it impossible.

    `key` is that of the database to restore into.
    """
    # Nobody knows the zone of whoever asks, nor whether it is the server's: a time has to say it.
    at = None if wanted.at is None else time_of(wanted.at, None, from_microseconds(system_clock()))
    point = RestorePoint(at, wanted.etag, wanted.backup, wanted.lineage)

    def planned() -> tuple[RestorePlan, dict[str, Any]]:
        plan = MaintenanceActions.plan_restore(source, point=point, keyring=keyring_of(settings, wanted, key))
        return plan, dry_run(plan, str(source))

    return await asyncio.to_thread(planned)
