"""Several requests in one: what the client calls lazy."""

from __future__ import annotations

import asyncio
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from muniment.document import fold
from muniment.errors import InvalidInput, MunimentError
from muniment.raven7.messages import Ids, Inner, InnerAnswer, QueryWanted, Several, SeveralAnswers
from muniment.raven7.queries import DocumentsWanted, Queried
from muniment.security.access import Right
from muniment.server.handlers.raven7 import documents, queries
from muniment.server.request import Request
from muniment.server.routing import Endpoint, Permission
from muniment.server.wire import Refused, Response, error_response, json_response

MOST: Final = 1000
_READ: Final = Permission((Right.READ,))  # which is what several need, too
_ENDPOINTS: Final = {
    ("GET", "docs"): Endpoint(documents.get, (), DocumentsWanted, may=_READ),
    ("POST", "docs"): Endpoint(documents.post, (), DocumentsWanted, Ids, may=_READ),
    ("POST", "queries"): Endpoint(queries.find, (), Queried, QueryWanted, may=_READ),
}


async def answer(request: Request) -> Response:
    """Answer several requests for documents and queries of this database, in their order."""
    wanted = (await request.message(Several)).requests
    if len(wanted) > MOST:
        raise InvalidInput(f"{len(wanted):,} requests are too many for one", f"send at most {MOST:,} at once")
    return json_response(SeveralAnswers([await _answered(request, each) for each in wanted]))


async def _answered(request: Request, wanted: Inner) -> InnerAnswer:
    inner = InnerRequest(request, wanted)
    try:
        response: Response = await inner.endpoint.handler(inner)
    except asyncio.CancelledError:
        raise
    except MunimentError as error:
        response = error_response(error, inner.path, later=request.name or "")
    return InnerAnswer(response.status, dict(response.headers), msgspec.Raw(response.body or b"null"))


class InnerRequest(Request):
    """A request in another, of the same caller for the same database."""

    __slots__ = ("_content",)

    def __init__(self, outer: Request, wanted: Inner) -> None:
        super().__init__(outer.server, outer.scope, outer.proto)
        self.name, self.caller, self.tenant, self.later = outer.name, outer.caller, outer.tenant, outer.later
        self.method, self.path, self.ended = (wanted.method or "GET").upper(), wanted.url, True
        self.headers: Any = {name.lower(): value for name, value in (wanted.headers or {}).items() if value is not None}
        self._pairs = parse_qsl((wanted.query or "").removeprefix("?"), keep_blank_values=True)
        self._content = bytes(wanted.content) if isinstance(wanted.content, msgspec.Raw) else b""
        self.endpoint = self._found()

    def _found(self) -> Endpoint:
        root, _, path = self.path.strip("/").rpartition("/")
        if fold(root) == (f"databases/{fold(self.name)}" if self.name else "") and (
            endpoint := _ENDPOINTS.get((self.method, path.lower()))
        ):
            return endpoint
        raise Refused(
            501,
            f"{self.method} {self.path} cannot be one of several requests",
            "send it by itself: docs and queries can",
        )

    async def body(self, limit: int = 0) -> bytes:
        """What was sent for this one."""
        return self._content
