"""What a request says of a restore: which backups, which moment of them, and which part of that."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from muniment.backup.destination import Remote
from muniment.backup.moment import RestorePoint, time_of
from muniment.backup.plan import RestorePlan
from muniment.backup.repository import backups
from muniment.backup.restore import dry_run
from muniment.backup.selection import Selection
from muniment.document import from_microseconds
from muniment.errors import BackupNotFound, InvalidInput, MunimentError
from muniment.maintenance import MaintenanceActions
from muniment.raven3.messages import MomentWanted, VerificationWanted
from muniment.security.access import Right
from muniment.security.encryption import EncryptionKey
from muniment.server.keyring import keyring_of
from muniment.server.permission import require, require_all
from muniment.server.request import Request
from muniment.settings import Settings
from muniment.storage.base import system_clock


def selection_of(wanted: MomentWanted) -> Selection | None:
    """The part to restore, None for all of it."""
    return Selection.of(*(tuple(names or ()) for names in (wanted.collections, wanted.ids, wanted.id_prefixes)))


def point_of(wanted: MomentWanted | VerificationWanted) -> RestorePoint:
    """The moment, the newest when none is named; raises `InvalidInput` for what names none."""
    # Nobody knows the zone of whoever asks, nor whether it is the server's: a time has to say it.
    at = None if wanted.at is None else time_of(wanted.at, None, from_microseconds(system_clock()))
    return RestorePoint(at, wanted.etag, wanted.backup, wanted.lineage)


async def plan_for(
    request: Request, wanted: MomentWanted, *any_of: Right, key: EncryptionKey | None = None
) -> tuple[list[Path], RestorePlan, dict[str, Any]]:
    """The places with the backups, what a restore reads of them, and the same as JSON.

    Raises what makes it impossible.

    Who has none of these rights for the database that the backups are of is refused in the same words whatever there
    is, also nothing. `key` is that of the database to restore into.
    """
    if not wanted.backup_location.strip():
        raise InvalidInput("BackupLocation is missing", 'send {"BackupLocation": "/a/folder/of/the/server"}')
    places = [request.backup_folder(place) for place in (wanted.backup_location, *(wanted.copies or ()))]
    source = places[0]
    try:
        if len(places) == 1 and not await asyncio.to_thread(source.is_dir):
            what = "nothing in" if isinstance(source, Remote) else "no folder"
            raise BackupNotFound(f"there is {what} {source}", "give the place that the backup was written to")
        plan, told = await _plan_of(wanted, places, request.server.settings, key)
    except MunimentError:
        await asyncio.to_thread(_check_may_be_told, request, places, any_of)
        raise
    require(request, plan.manifest.database.name, *any_of)
    return places, plan, told


def _check_may_be_told(request: Request, places: Sequence[Path], any_of: Sequence[Right]) -> None:
    """Raises `Refused` unless one of these rights is held for the databases that these backups are of."""
    names: set[str] = set()
    for place in places:
        with suppress(MunimentError):
            names |= {backup.manifest.database.name for backup in backups(place)}
    require_all(request, names, *any_of)


async def _plan_of(
    wanted: MomentWanted, places: Sequence[Path], settings: Settings, key: EncryptionKey | None = None
) -> tuple[RestorePlan, dict[str, Any]]:
    point = point_of(wanted)

    def planned() -> tuple[RestorePlan, dict[str, Any]]:
        source, *copies = places
        keyring = keyring_of(settings, wanted, key)
        plan = MaintenanceActions.plan_restore(source, point=point, keyring=keyring, copies=copies)
        return plan, dry_run(plan, str(source))

    return await asyncio.to_thread(planned)
