"""What is wrong with the backups of a database."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from muniment.backup.alerts import Policy, alerts
from muniment.duration import duration_of
from muniment.raven3.queries import AlertsWanted
from muniment.server.request import Request
from muniment.server.wire import Response, json_response


async def wrong(request: Request) -> Response:
    """What is wrong with the backups of this database, the most urgent first."""
    tenant, asked, settings = request.tenant, request.asked(AlertsWanted), request.server.settings
    policy = Policy(
        older=_seconds(asked.older or settings.alert_if_older, "older"),
        unverified=_seconds(asked.unverified or settings.alert_if_unverified, "unverified"),
        unrehearsed=_seconds(asked.unrehearsed or settings.alert_if_unrehearsed, "unrehearsed"),
    )
    found = await asyncio.to_thread(tenant.database.maintenance.recoverability)
    failure = tenant.backup.failure()
    return json_response(alerts(found, policy, datetime.now(UTC), [failure] if failure else []))


def _seconds(text: str, what: str) -> int | None:
    return duration_of(text, what) if text else None
