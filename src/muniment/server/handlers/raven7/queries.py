"""Queries in RavenDB's language, answered as clients of RavenDB 4 and later read it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from muniment.answer import answer, query_of, stream
from muniment.document import encode, raven_time
from muniment.errors import InvalidInput
from muniment.query.model import EVERYTHING, Query
from muniment.query.plan import Plan
from muniment.raven3.documents import array, joined
from muniment.raven3.headers import BUILD_HEADER, JSON
from muniment.raven7.messages import QueryWanted
from muniment.raven7.names import NODE
from muniment.raven7.queries import Queried, QueryStreamed
from muniment.server.handlers.queries import includes_of
from muniment.server.handlers.raven7.documents import included_object, shown
from muniment.server.handlers.raven7.streams import check_format
from muniment.server.lines import Lines
from muniment.server.looking import looked
from muniment.server.request import Request
from muniment.server.tenants import Tenant
from muniment.server.wire import Refused, Response

_PROJECTION: Final = b'"@metadata":{"@projection":true,"@change-vector":null}'


async def find(request: Request) -> Response:
    """What a query finds, of one moment, and the documents that it refers to where the query includes them."""
    asked, query = request.asked(Queried), _query(await request.message(QueryWanted))
    if asked.debug is not None:
        raise Refused(501, f"debug={asked.debug} is not here: there are no entries of indexes", "leave debug out")
    body = await looked(request, lambda: _answered(request.tenant, query, asked.metadata_only))
    return Response(200, [JSON, BUILD_HEADER], body)


async def lines(request: Request) -> Lines:
    """All that a query finds, a document a line, after a line that says what was found."""
    check_format(request.asked(QueryStreamed).format)
    query = _query(await request.message(QueryWanted))
    if query.include:
        raise Refused(501, "a stream brings no other documents along", "leave include out")
    return Lines(request, lambda: _lines(request.tenant, query))


def _query(wanted: QueryWanted) -> Query:
    if not wanted.query:
        raise InvalidInput("there is no query", 'send {"Query": "from \'Orders\'"}')
    query = query_of(wanted.query, wanted.query_parameters)
    takes = [take for take in (query.take, wanted.page_size) if take is not None]
    # Clients say both in the text and beside it where a page begins and ends.
    return replace(query, skip=max(query.skip, wanted.start or 0), take=max(min(takes), 0) if takes else None)


def _answered(tenant: Tenant, query: Query, metadata_only: bool) -> bytes:
    began = monotonic()
    found = answer(tenant.database.storage, query)
    results = (
        shown(tenant, found.documents, metadata_only=metadata_only) if found.documents else map(_projection, found.rows)
    )
    told = {
        "TotalResults": found.total,
        "LongTotalResults": found.total,
        "SkippedResults": 0,
        "IncludedPaths": list(query.include) or None,
        "DurationInMs": round(1000 * (monotonic() - began)),
        **_of(tenant, query, found.plan),
    }
    includes = included_object(tenant, includes_of(tenant, found, query))
    return joined(encode(told), b'"Results":' + array(results) + b',"Includes":' + includes)


def _projection(row: bytes) -> bytes:
    return joined(row, _PROJECTION)


def _of(tenant: Tenant, query: Query, plan: Plan) -> dict[str, object]:
    """What is told of how it was found: nothing is ever stale."""
    now = raven_time(datetime.now(UTC))
    of = f"collection/{query.collection}" if query.collection else "AllDocs"  # RavenDB's word for no index of fields
    used = () if query.where == EVERYTHING and not query.order else plan.indexes
    return {
        "IndexName": ", ".join(used) or of,
        "IsStale": False,
        "IndexTimestamp": now,
        "LastQueryTime": now,
        "ResultEtag": tenant.database.last_etag,
        "NodeTag": NODE,
    }


def _lines(tenant: Tenant, query: Query) -> Iterator[bytes]:
    with stream(tenant.database.storage, query, counted=True) as found:
        told = {"TotalResults": found.total or 0, **_of(tenant, query, found.plan)}
        yield msgspec.json.encode({"Stats": told})
        items: Iterator[Any] = found.items
        for item in map(_projection, items) if query.select or query.group else shown(tenant, items):
            yield b'{"Item":' + item + b"}"
