"""Restoring a moment of the backups, or a part of it, into a database that goes on being used."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import get_args

from muniment.backup.child import restore_in_child
from muniment.backup.job import Job
from muniment.backup.plan import RestorePlan
from muniment.backup.restore_into import OnConflict, check_database, compared
from muniment.backup.selection import Selection
from muniment.errors import InvalidInput
from muniment.limits import NO_LIMITS
from muniment.progress import Progress
from muniment.raven3.messages import Accepted, RestoreIntoWanted
from muniment.raven3.queries import LimitsWanted
from muniment.security.access import Right
from muniment.security.encryption import EncryptionKey
from muniment.server.operations import Operation
from muniment.server.places import check_unmoved
from muniment.server.points import plan_for, selection_of
from muniment.server.request import Request
from muniment.server.tenants import Tenant
from muniment.server.wire import Refused, Response, json_response


async def start(request: Request) -> Response:
    """Begin to restore a moment of the backups in a folder, or a part of it, into this database; or only to compare."""
    wanted, limits = await request.message(RestoreIntoWanted), request.asked(LimitsWanted).on(NO_LIMITS)
    app, tenant = request.server, request.tenant
    if tenant.is_system:
        raise Refused(400, "the system database cannot be restored while it is used", "see muniment server --help")
    if wanted.on_conflict is None and not wanted.dry_run:
        raise InvalidInput("OnConflict is missing", f"send one of {', '.join(get_args(OnConflict))}")
    selection = selection_of(wanted)
    key = tenant.database.storage.key
    places, plan, _ = await plan_for(request, wanted, Right.RESTORE, key=key)
    origin = plan.manifest.database.name
    if not wanted.other_database:
        check_database(plan, tenant.database.storage, tenant.name)
    loop = asyncio.get_running_loop()

    def work(job: Job[None]) -> None:
        check_unmoved(*places)
        _restore(tenant, plan, selection, wanted, operation)

    job = Job("restore", work)
    job.limits = limits
    operation = app.operations.new(job, tenant.name, request.who, origin=origin)
    operation.on_end = lambda: loop.call_soon_threadsafe(tenant.leave)
    tenant.active += 1
    app.operations.start(operation)
    return json_response(Accepted(operation.id), 202)


def _restore(
    tenant: Tenant, plan: RestorePlan, selection: Selection | None, wanted: RestoreIntoWanted, operation: Operation
) -> None:
    def read(
        plan: RestorePlan, target: Path, selection: Selection | None, progress: Progress, key: EncryptionKey | None
    ) -> None:
        for note in restore_in_child(plan, target, selection=selection, progress=progress, key=key).notes:
            operation.job.say(f"Note: {note}")

    storage, progress = tenant.database.storage, operation.job.progress
    with compared(storage, plan, tenant.folder, selection=selection, progress=progress, read=read) as comparison:
        difference = comparison.difference.as_json()
        operation.changes = difference.pop("changes")
        operation.told["difference"] = difference
        if wanted.on_conflict and not wanted.dry_run:
            restored = comparison.write(wanted.on_conflict, progress)
            operation.told |= {"written": restored.written, "etag": restored.etag}
