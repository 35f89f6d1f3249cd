"""Tokens, which stand for a key for a while."""

from __future__ import annotations

from muniment.raven3.messages import AccessToken
from muniment.server.request import Request
from muniment.server.wire import Response, json_response


async def give(request: Request) -> Response:
    """A token with the rights of the key that this was sent with, which ends by itself."""
    token, seconds = request.server.callers.token(request.caller)
    return json_response(AccessToken(token, seconds), headers=[("cache-control", "no-store")])
