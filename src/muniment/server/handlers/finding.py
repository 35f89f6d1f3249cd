"""Finding documents by what is in them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import msgspec
from msgspec.structs import replace

from muniment import definitions
from muniment.answer import answer, stream
from muniment.document import Document, ExactFloat, encode
from muniment.errors import InvalidDocument, InvalidInput
from muniment.query import rql
from muniment.query.model import Query
from muniment.raven3.documents import array, with_metadata
from muniment.raven3.headers import BUILD_HEADER, JSON
from muniment.raven3.messages import Wanted
from muniment.raven3.names import MAX_PAGE
from muniment.server.handlers.queries import includes_of
from muniment.server.lines import Lines
from muniment.server.looking import looked
from muniment.server.request import Request
from muniment.server.tenants import Tenant
from muniment.server.wire import Response

_decode = msgspec.json.Decoder(Wanted, float_hook=ExactFloat).decode


async def find(request: Request) -> Response:
    """What a query finds, of one moment, and the documents that it refers to where the query includes them."""
    query, wanted = await _asked(request)
    take = min(wanted.take, MAX_PAGE)
    if query.take is not None:
        take = min(query.take, take)
    query = replace(query, take=take)
    return Response(200, [JSON, BUILD_HEADER], await looked(request, lambda: _answered(request.tenant, query)))


async def lines(request: Request) -> Lines:
    """All that a query finds, of one moment, one a line, however many they are."""
    query, _ = await _asked(request)
    return Lines(request, lambda: _lines(request.tenant, query))


def _lines(tenant: Tenant, query: Query) -> Iterator[bytes]:
    """Each as JSON; in a string of JSON, where there are ends of lines in it."""
    with stream(tenant.database.storage, query) as found:
        for item in found.items:
            line = with_metadata(item) if isinstance(item, Document) else item
            yield encode(line.decode()) if b"\n" in line or b"\r" in line else line


async def _asked(request: Request) -> tuple[Query, Wanted]:
    body = await request.body()
    try:
        wanted = _decode(body)
        query = _query(wanted)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidDocument(f"the query cannot be read: {error}", "see docs/queries.md") from error
    if query.index is None:
        return definitions.read(request.tenant.database.get, query), wanted
    return await asyncio.to_thread(definitions.read, request.tenant.database.get, query), wanted


def _query(wanted: Wanted) -> Query:
    """The query without what is skipped beside it."""
    if (wanted.rql is None) == (wanted.query is None):
        raise InvalidInput("a query is a text in Rql, or a tree in Query", "give one of them")
    query = rql.parse(wanted.rql, wanted.parameters) if wanted.rql is not None else msgspec.convert(wanted.query, Query)
    left = None if query.take is None else max(query.take - wanted.skip, 0)
    return replace(query, skip=query.skip + wanted.skip, take=left)


def _answered(tenant: Tenant, query: Query) -> bytes:
    found = answer(tenant.database.storage, query)
    includes = includes_of(tenant, found, query)
    marked = b',"Highlightings":' + encode(found.highlights) if found.highlights else b""
    return b'{"Results":%s,"Includes":%s,"TotalResults":%d,"Plan":%s%s}' % (
        array(map(with_metadata, found.documents) if found.documents else found.rows),
        array(map(with_metadata, includes)),
        found.total,
        encode(found.plan),
        marked,
    )
