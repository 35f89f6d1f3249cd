"""What is wrong with the backups of a database."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import msgspec

from muniment.backup.alerts import alerts
from muniment.raven3.queries import AlertsWanted
from muniment.server.request import Request
from muniment.server.watch import policy_of
from muniment.server.wire import Response, json_response


async def on_server(request: Request) -> Response:
    """What is wrong with the backups of the databases that were open since the server began, or were told of before."""
    return json_response(request.server.watch.alerts)


async def wrong(request: Request) -> Response:
    """What is wrong with the backups of this database, the most urgent first."""
    tenant, asked, settings = request.tenant, request.asked(AlertsWanted), request.server.settings
    policy = policy_of(settings, **msgspec.structs.asdict(asked))
    found = await asyncio.to_thread(tenant.database.maintenance.recoverability)
    return json_response(alerts(found, policy, datetime.now(UTC), request.server.watch.failures_of(tenant)))
