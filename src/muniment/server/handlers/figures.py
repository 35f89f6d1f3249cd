"""Figures for Prometheus."""

from __future__ import annotations

import asyncio
from typing import Final

from muniment.security.access import EVERY, Right
from muniment.server.metrics import MEDIA, Metrics
from muniment.server.permission import admit, refusal
from muniment.server.request import Request
from muniment.server.routing import Permission, Where
from muniment.server.wire import Refused, Response

SOMEBODY: Final = Permission(tuple(Right), Where.LATER)


async def metrics(request: Request) -> Response:
    """Figures of the server and of the databases that it has open, and how their backups are."""
    access = request.server.settings.metrics_access
    if access == "nobody":
        raise Refused(404, "metrics are not to be had here", "start the server with --metrics-access")
    if access != "everybody":
        await admit(request, SOMEBODY)
        has = request.caller.access
        if EVERY not in has.databases or Right(access) not in has.rights:
            raise refusal(request)
    text = await asyncio.to_thread(Metrics(request.server).text)
    return Response(200, [("content-type", MEDIA), ("cache-control", "no-store")], text)
