"""What is wrong with the backups of a database."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import msgspec

from muniment.backup.alerts import alerts
from muniment.document import fold
from muniment.raven3.messages import DestinationListed
from muniment.raven3.queries import AlertsWanted
from muniment.server.request import Request
from muniment.server.state import ServerState
from muniment.server.watch import policy_of
from muniment.server.wire import Response, json_response


async def on_server(request: Request) -> Response:
    """What is wrong with the backups of the databases that were open since the server began, or were told of before."""
    return json_response(request.server.watch.alerts)


async def destinations(request: Request) -> Response:
    """Where the backups of the server's databases are, and how they are there, as it was found when last looked."""
    return json_response(await asyncio.to_thread(_destinations, request.server))


def _destinations(server: ServerState) -> list[DestinationListed]:
    known = {key: each.found for key, each in list(server.watch.known.items())}
    wanted: dict[tuple[str, str], list[str]] = {}
    for schedule, database, place in server.scheduler.places():
        wanted.setdefault((fold(database), str(place)), []).append(schedule)
    names = {fold(found.name): found.name for found in known.values()} | {
        fold(name): name for _, name, _ in server.scheduler.places()
    }
    states = {(key, state.destination): state for key, found in known.items() for state in found.destinations}
    return [
        DestinationListed(place, names[key], wanted.get((key, place), []), states.get((key, place)))
        for key, place in sorted({*states, *wanted})
    ]


async def wrong(request: Request) -> Response:
    """What is wrong with the backups of this database, the most urgent first."""
    tenant, asked, settings = request.tenant, request.asked(AlertsWanted), request.server.settings
    policy = policy_of(settings, **msgspec.structs.asdict(asked))
    found = await asyncio.to_thread(tenant.database.maintenance.recoverability)
    return json_response(alerts(found, policy, datetime.now(UTC), request.server.watch.failures_of(tenant)))
