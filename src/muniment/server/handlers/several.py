"""Several requests in one, as RavenDB 3's clients send what is lazy: `multi_get`."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from muniment.document import fold
from muniment.errors import InvalidInput, MunimentError
from muniment.raven3.headers import VERSION
from muniment.raven3.messages import SeveralAnswer, SeveralWanted
from muniment.raven3.queries import DocumentsIncluding, DocumentsListed, DocumentsWanted, IndexAsked
from muniment.raven7.messages import Inner
from muniment.security.access import Right
from muniment.server.handlers import documents, indexes, queries
from muniment.server.handlers.raven7.several import MOST, InnerRequest
from muniment.server.request import Request
from muniment.server.routing import Endpoint, Permission, Route, Table
from muniment.server.wire import Refused, Response, error_response, json_response

_READ: Final = Permission((Right.READ,))  # which is what several need, too
_TABLE: Final = Table(
    (
        Route("docs/{id}", {"GET": Endpoint(documents.get, (), may=_READ)}),
        Route("docs", {"GET": Endpoint(queries.listing, (), DocumentsListed, may=_READ)}),
        Route(
            "queries",
            {
                "GET": Endpoint(queries.get_many, (), DocumentsWanted, may=_READ),
                "POST": Endpoint(queries.post_many, (), DocumentsIncluding, list[str], may=_READ),
            },
        ),
        Route(
            "indexes/{name}",
            {
                "GET": Endpoint(indexes.find, (), IndexAsked, may=_READ),
                "POST": Endpoint(indexes.find, (), IndexAsked, bytes, may=_READ),
            },
        ),
    )
)


async def answer(request: Request) -> Response:
    """Answer several requests for documents and queries of this database, in their order."""
    wanted = await request.message(list[SeveralWanted | None])
    if len(wanted) > MOST:
        raise InvalidInput(f"{len(wanted):,} requests are too many for one", f"send at most {MOST:,} at once")
    return json_response([each and await _answered(request, each) for each in wanted])


async def _answered(outer: Request, wanted: SeveralWanted) -> SeveralAnswer:
    try:
        inner = _InnerRequest(outer, wanted)
        response: Response = await inner.endpoint.handler(inner)
    except MunimentError as error:
        response = error_response(error, wanted.url)
    return SeveralAnswer(response.status, dict(response.headers), msgspec.Raw(response.body or b"null"))


class _InnerRequest(InnerRequest):
    """A request in another, whose address begins below the database."""

    __slots__ = ()

    def __init__(self, outer: Request, wanted: SeveralWanted) -> None:
        content = msgspec.UNSET if wanted.content is None else msgspec.Raw(wanted.content.encode())
        headers = {VERSION: outer.headers.get(VERSION), **(wanted.headers or {})}
        super().__init__(outer, Inner(wanted.url, wanted.query, wanted.method, headers, content))

    def _found(self) -> Endpoint:
        path, root = self.path.lstrip("/"), f"databases/{self.name}/"
        if self.name and fold(path).startswith(fold(root)):
            path = path[len(root) :]
        found: Any = _TABLE.resolve(path)
        endpoint: Endpoint | None = found[0].methods.get(self.method) if found else None
        if endpoint is None:
            hint = "send it by itself: docs, queries and indexes can"
            raise Refused(501, f"{self.method} {self.path} cannot be one of several requests", hint)
        self.argument = found[1]
        return endpoint
