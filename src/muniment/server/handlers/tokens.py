"""Tokens, which stand for a key for a while."""

from __future__ import annotations

from muniment.raven3.messages import AccessToken
from muniment.server.old_clients import MAX_ANSWER
from muniment.server.request import Request
from muniment.server.wire import Refused, Response, json_response


async def give(request: Request) -> Response:
    """A token with the rights of the key that this was sent with, which ends by itself."""
    token, seconds = request.server.callers.token(request.caller)
    return json_response(AccessToken(token, seconds), headers=[("cache-control", "no-store")])


async def exchange(request: Request) -> Response:
    """A token for an old client of RavenDB: without a body a challenge, and for the right answer to one the token."""
    old_clients = request.server.old_clients
    if old_clients is None:
        raise Refused(
            404, "OAuth/API-Key is switched off", "send the key itself, or start the server with oauth-api-key = true"
        )
    if (request.content_length or 0) > MAX_ANSWER or len(body := await request.body(MAX_ANSWER)) > MAX_ANSWER:
        raise Refused(400, f"the answer to a challenge has more than {MAX_ANSWER:,} bytes", "ask for another challenge")
    return await old_clients.answer(body, request.source) if body.strip() else await old_clients.challenge()
