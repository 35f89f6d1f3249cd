"""Queries in RavenDB's language, answered as clients of RavenDB 4 and later read it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from muniment.answer import answer, query_of, stream
from muniment.definitions import id_of, resolved, without_definitions
from muniment.document import encode, raven_time
from muniment.errors import InvalidInput
from muniment.query import rql
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


class Asked(NamedTuple):
    """A query of documents, and the index that it was asked of by a name."""

    query: Query
    name: str | None


async def find(request: Request) -> Response:
    """What a query finds, of one moment, and the documents that it refers to where the query includes them."""
    asked, of = request.asked(Queried), await read(request, await request.message(QueryWanted))
    if asked.debug is not None:
        raise Refused(501, f"debug={asked.debug} is not here: there are no entries of indexes", "leave debug out")
    body = await looked(request, lambda: _answered(request.tenant, of, asked.metadata_only))
    return Response(200, [JSON, BUILD_HEADER], body)


async def lines(request: Request) -> Lines:
    """All that a query finds, a document a line, after a line that says what was found."""
    check_format(request.asked(QueryStreamed).format)
    of = await read(request, await request.message(QueryWanted))
    if of.query.include:
        raise Refused(501, "a stream brings no other documents along", "leave include out")
    return Lines(request, lambda: _lines(request.tenant, of))


async def read(request: Request, wanted: QueryWanted) -> Asked:
    """The query that is wanted; raises `InvalidQuery`, `IndexNotFound` or `NotEvaluated` if it cannot be answered."""
    if not wanted.query:
        raise InvalidInput("there is no query", 'send {"Query": "from \'Orders\'"}')
    query = rql.parse(wanted.query, wanted.query_parameters)
    index = query.index
    if index is not None:
        query = await asyncio.to_thread(resolved, request.tenant.database.get, query)
    elif query.collection is None:  # to RavenDB, definitions of indexes are no documents
        query = await asyncio.to_thread(_of_documents, request.tenant, query)
    takes = [take for take in (query.take, wanted.page_size) if take is not None]
    # Clients say both in the text and beside it where a page begins and ends.
    skip, take = max(query.skip, wanted.start or 0), max(min(takes), 0) if takes else None
    return Asked(query_of(replace(query, skip=skip, take=take)), index)


def _of_documents(tenant: Tenant, query: Query) -> Query:
    if not tenant.database.by_prefix(id_of(""), limit=1):
        return query
    return replace(query, where=without_definitions(query.where))


def _answered(tenant: Tenant, of: Asked, metadata_only: bool) -> bytes:
    began, query = monotonic(), of.query
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
        **_of(tenant, of, found.plan),
        **({"Highlightings": found.highlights} if found.highlights else {}),
    }
    includes = included_object(tenant, includes_of(tenant, found, query))
    return joined(encode(told), b'"Results":' + array(results) + b',"Includes":' + includes)


def _projection(row: bytes) -> bytes:
    return joined(row, _PROJECTION)


def _of(tenant: Tenant, asked: Asked, plan: Plan) -> dict[str, object]:
    """What is told of how it was found: nothing is ever stale."""
    now, query = raven_time(datetime.now(UTC)), asked.query
    of = f"collection/{query.collection}" if query.collection else "AllDocs"  # RavenDB's word for no index of fields
    used = () if query.where == EVERYTHING and not query.order else plan.indexes
    return {
        "IndexName": asked.name or ", ".join(used) or of,
        "IsStale": False,
        "IndexTimestamp": now,
        "LastQueryTime": now,
        "ResultEtag": tenant.database.last_etag,
        "NodeTag": NODE,
    }


def _lines(tenant: Tenant, asked: Asked) -> Iterator[bytes]:
    query = asked.query
    with stream(tenant.database.storage, query, counted=True) as found:
        told = {"TotalResults": found.total or 0, **_of(tenant, asked, found.plan)}
        yield msgspec.json.encode({"Stats": told})
        items: Iterator[Any] = found.items
        for item in map(_projection, items) if query.select or query.group else shown(tenant, items):
            yield b'{"Item":' + item + b"}"
