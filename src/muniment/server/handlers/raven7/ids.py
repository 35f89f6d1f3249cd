"""Ranges of numbers for new ids, which the server gives out to clients of RavenDB 4 and later."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from muniment.document import raven_time
from muniment.errors import InvalidInput
from muniment.raven7.messages import Range
from muniment.raven7.names import NODE
from muniment.raven7.queries import NextRange, ReturnedRange
from muniment.server.request import Request
from muniment.server.wire import Refused, Response, empty_response, json_response


async def take(request: Request) -> Response:
    """Reserve numbers that no document has, and nobody else is given."""
    asked = request.asked(NextRange)
    tag = _checked(asked.tag)
    if asked.separator != "/":
        raise Refused(501, f"{asked.separator!r} cannot stand between the parts of ids here", 'leave it at "/"')
    found = await asyncio.to_thread(request.tenant.database.hilo.reserve, tag, f"-{NODE}")
    return json_response(Range(f"{tag}/", found[0], found[-1], len(found), raven_time(datetime.now(UTC))))


async def give_back(request: Request) -> Response:
    """Say which numbers were not used; they are given out again where nobody has got later ones."""
    asked = request.asked(ReturnedRange)
    await asyncio.to_thread(request.tenant.database.hilo.give_back, _checked(asked.tag), asked.end, asked.last)
    return empty_response(200)


def _checked(tag: str) -> str:
    if not tag:
        raise InvalidInput("the tag is missing", "pass ?tag=orders")
    return tag
