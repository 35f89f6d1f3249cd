"""Files that stand still, for tools that copy them: until a request says that they have, or the time is over."""

from __future__ import annotations

import asyncio
from datetime import datetime

from muniment.document import raven_time
from muniment.duration import duration_of
from muniment.errors import Conflict
from muniment.raven3.messages import Frozen
from muniment.raven3.queries import FreezeWanted, ThawWanted
from muniment.server.request import Request
from muniment.server.tenants import Tenant
from muniment.server.wire import Response, json_response
from muniment.storage.base import Snapshot
from muniment.storage.freeze import Freeze


async def freeze(request: Request) -> Response:
    """Have the files of this database stand still and be complete: it is answered when they are."""
    tenant, server = request.tenant, request.server
    begun = tenant.database.storage.freeze(duration_of(request.asked(FreezeWanted).timeout, "timeout"))
    tenant.freeze = begun
    try:
        await server.completions.wait(begun.begun)
    except BaseException:
        begun.end()
        raise
    await asyncio.to_thread(server.audit.note, "freeze", "started", request.who, database=tenant.name)
    return json_response(_told(tenant, begun, begun.until))


async def thaw(request: Request) -> Response:
    """End a freeze: writes that waited go on. 409 says that it was over before, so that the copy cannot be trusted."""
    tenant, id = request.tenant, request.asked(ThawWanted).freeze
    present = tenant.database.storage.frozen
    if present is None or id not in (None, present.id):
        last = tenant.freeze
        if last is not None and last is not present and id in (None, last.id):
            raise last.conflict()
        which = f"the freeze {id} of {tenant.name} is over, or there was none" if id else f"{tenant.name} is not frozen"
        raise Conflict(which, "if you have copied its files, discard the copy, freeze it, and copy them again")
    await request.server.completions.wait(present.begun)
    present.thaw()
    await asyncio.to_thread(request.server.audit.note, "freeze", "completed", request.who, database=tenant.name)
    return json_response(_told(tenant, present, present.ended or present.until))


def _told(tenant: Tenant, freeze: Freeze[Snapshot], until: datetime) -> Frozen:
    return Frozen(
        id=freeze.id,
        database=tenant.name,
        folder=str(freeze.folder),
        etag=freeze.state.etag,
        fingerprint=freeze.state.fingerprint.short(),
        since=raven_time(freeze.since),
        until=raven_time(until),
    )
