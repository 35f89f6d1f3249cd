"""Finding documents by what is in them."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from msgspec.structs import replace

from muniment.answer import Answer, answer, query_of
from muniment.document import MAX_ID_BYTES, Document, ExactFloat, encode
from muniment.errors import InvalidDocument, InvalidInput
from muniment.finding import included
from muniment.query.model import Query
from muniment.raven3.documents import array, with_metadata
from muniment.raven3.headers import BUILD_HEADER, JSON
from muniment.raven3.messages import Wanted
from muniment.raven3.names import MAX_PAGE
from muniment.server.request import Request
from muniment.server.tenants import Tenant
from muniment.server.wire import Response

_decode = msgspec.json.Decoder(Wanted, float_hook=ExactFloat).decode
_MOST_INCLUDED = 100_000


async def find(request: Request) -> Response:
    """What a query finds, of one moment, and the documents that it refers to where the query includes them."""
    body = await request.body()
    try:
        query = _query(_decode(body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidDocument(f"the query cannot be read: {error}", "see docs/queries.md") from error
    return Response(200, [JSON, BUILD_HEADER], await asyncio.to_thread(_answered, request.tenant, query))


def _query(wanted: Wanted) -> Query:
    if (wanted.rql is None) == (wanted.query is None):
        raise InvalidInput("a query is a text in Rql, or a tree in Query", "give one of them")
    query = query_of(wanted.rql, wanted.parameters) if wanted.rql is not None else _tree(wanted.query)
    skip, take = wanted.skip, min(wanted.take, MAX_PAGE)
    if query.take is not None:
        take = min(max(query.take - skip, 0), take)
    return replace(query, skip=query.skip + skip, take=take)


def _tree(tree: Any) -> Query:
    return query_of(msgspec.convert(tree, Query))


def _answered(tenant: Tenant, query: Query) -> bytes:
    found = answer(tenant.database.storage, query)
    includes = includes_of(tenant, found, query)
    return b'{"Results":%s,"Includes":%s,"TotalResults":%d,"Plan":%s}' % (
        array(map(with_metadata, found.documents) if found.documents else found.rows),
        array(map(with_metadata, includes)),
        found.total,
        encode(found.plan),
    )


def includes_of(tenant: Tenant, found: Answer, query: Query) -> list[Document]:
    """The documents that what was found refers to by the paths that the query includes."""
    if not query.include:
        return []
    known = {document.id.lower() for document in found.documents}
    ids = [id for id in included(found.documents, query.include) if id and id.lower() not in known]
    short = (id for id in ids[:_MOST_INCLUDED] if len(id.encode(errors="replace")) <= MAX_ID_BYTES)
    return [document for document in tenant.database.get_many(short) if document]
