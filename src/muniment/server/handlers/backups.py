"""Backups of a database while it is in use: begun by a request, told of in the document `Raven/Backup/Status`."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from muniment.backup.destination import place_of
from muniment.backup.summary import BackupSummary
from muniment.errors import InvalidInput
from muniment.maintenance import BackupOperation
from muniment.raven3.encryption import SECURED
from muniment.raven3.messages import Accepted, BackupWanted
from muniment.raven3.queries import BackupOptions, LimitsWanted
from muniment.server.admission import check_document, plain_settings
from muniment.server.keyring import protection_of
from muniment.server.permission import check_members
from muniment.server.places import check_unmoved
from muniment.server.request import Request
from muniment.server.tenants import SYSTEM_HOLDS
from muniment.server.wire import Response, json_response


async def start(request: Request) -> Response:
    """Begin a backup of this database into a folder of the server's machine."""
    wanted, asked = await request.message(BackupWanted), request.asked(BackupOptions)
    return json_response(Accepted(await begin(request, wanted, asked)), 202)


async def begin(request: Request, wanted: BackupWanted, asked: BackupOptions) -> int:
    """Begin a backup of this database; gives the number of the job."""
    check_members(request, wanted, asked)
    tenant, app = request.tenant, request.server
    destination, *others = [_place(request, each) for each in (wanted.backup_location, *(wanted.also_to or ()))]
    document = app.databases.settings(tenant)
    if wanted.database_document is not None:
        check_document(wanted.database_document)  # which a restore would refuse when all else is done
        given = {name: value for name, value in wanted.database_document.items() if name != SECURED}
        document = {**given, "Settings": plain_settings(given), "Id": tenant.name}

    def beginning(job: BackupOperation) -> None:
        operation = app.operations.new(job, tenant.name, request.who)
        operation.place = str(destination)
        operation.check = partial(check_unmoved, destination, *others)
        operation.result = lambda backup: _told(job)
        tenant.backup.follow(operation)
        if tenant.is_system:
            job.say(f"Note: {SYSTEM_HOLDS}")
        app.operations.start(operation)

    flags = msgspec.structs.asdict(asked)
    flags = {name: flags[name] for name in flags if name not in LimitsWanted.__struct_fields__}
    limits = asked.on(app.settings.backup_limits)
    tenant.database.maintenance.start_backup(
        destination,
        also=others,
        **flags,
        limits=limits,
        document=document,
        protection=await asyncio.to_thread(protection_of, app.settings, wanted),
        in_child=True,
        niceness=app.settings.backup_niceness,
        begin=beginning,
    )
    assert tenant.backup.operation is not None
    return tenant.backup.operation.id


def _place(request: Request, location: str) -> Path:
    if not location.strip():
        raise InvalidInput("BackupLocation is missing", 'send {"BackupLocation": "/a/folder/of/the/server"}')
    if not location.startswith("~"):  # which is the server's data folder
        place_of(location)
    return request.backup_folder(location)


def _told(job: BackupOperation) -> dict[str, Any]:
    """What the backup holds, and where there are several, all of them."""
    first, *others = [msgspec.to_builtins(BackupSummary.of(backup)) for backup in job.backups]
    return {**first, "also": others} if others else first


async def status(request: Request) -> Response:
    """How far the database could be recovered from the folders it was backed up to, and what to do next."""
    found = await asyncio.to_thread(request.tenant.database.maintenance.recoverability)
    return json_response(found)
