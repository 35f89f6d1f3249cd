"""RavenDB 3's queries: `indexes/dynamic/COLLECTION` and the names of the indexes that it makes, in Lucene's syntax."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from muniment.answer import answer, query_of
from muniment.document import Document, encode, raven_time
from muniment.errors import InvalidQuery
from muniment.later import Later
from muniment.query import model
from muniment.query.model import ID, METADATA, Column, Field, Order, Query
from muniment.query.project import projected
from muniment.raven3.documents import array, only_metadata, with_metadata
from muniment.raven3.etags import combined_etag
from muniment.raven3.headers import BUILD_HEADER, JSON
from muniment.raven3.names import MAX_PAGE
from muniment.raven3.queries import IndexAsked
from muniment.server.handlers.finding import includes_of
from muniment.server.request import Request
from muniment.server.tenants import Tenant
from muniment.server.wire import Refused, Response, empty_response, json_response

if TYPE_CHECKING:
    from muniment.query import lucene
else:
    lucene = Later("muniment.query.lucene")  # its parser takes long to load

BY_ENTITY_NAME: Final = "Raven/DocumentsByEntityName"
_automatic: Final = re.compile(r"Auto/([^/]+)(?:/By.*)?", re.IGNORECASE | re.DOTALL)


class Asked(NamedTuple):
    """A query, and what RavenDB would call the index that answers it."""

    query: Query
    name: str


async def find(request: Request) -> Response:
    """What a query in Lucene's syntax finds; a POST may have it as its body."""
    asked = request.asked(IndexAsked)
    text = (await request.body()).decode(errors="replace").strip() if request.method == "POST" else ""
    if text and text != "null":
        asked = msgspec.structs.replace(asked, query=text)
    return await asyncio.to_thread(_answered, request, asked)


async def listing(request: Request) -> Response:
    """The indexes that queries have made."""
    return json_response(await asyncio.to_thread(request.tenant.database.indexes))


async def drop(request: Request) -> Response:
    """Drop an index, whether or not there is one; a query that wants it makes it anew."""
    await asyncio.to_thread(request.tenant.database.drop_index, request.argument)
    return empty_response(204)


async def define(request: Request) -> Response:
    """A definition of an index: there are none."""
    raise Refused(
        501,
        f"{request.path} by {request.method} is RavenDB's, and Muniment does not have it",
        "queries make the indexes that they need",
    )


def _answered(request: Request, asked: IndexAsked) -> Response:
    begun = monotonic()
    wanted = asked_of(request.argument, asked)
    query = wanted.query
    plain = msgspec.structs.replace(query, select=()) if query.select and not query.distinct else query
    found = answer(request.tenant.database.storage, plain, most=MAX_PAGE)
    etag = combined_etag([found.total, *(document.etag for document in found.documents)])
    if request.has(etag):
        return empty_response(304, [("etag", f'"{etag}"')])
    documents = [_shown(document, query.select) for document in found.documents]
    show = only_metadata if asked.metadata_only else with_metadata
    results = array(map(show, documents) if not found.rows else map(_with_no_metadata, found.rows))
    included = array(map(with_metadata, includes_of(request.tenant, found, query)))
    rest = _said(request.tenant, wanted.name, found.total, etag, len(results), begun)
    body = b'{"Results":%s,"Includes":%s,%s' % (results, included, encode(rest)[1:])
    return Response(200, [JSON, BUILD_HEADER, ("etag", f'"{etag}"')], body)


def _said(tenant: Tenant, index: str, total: int, etag: str, size: int, begun: float) -> dict[str, object]:
    now = raven_time(datetime.now(UTC))
    return {
        "IsStale": False,
        "IndexTimestamp": now,
        "TotalResults": total,
        "SkippedResults": 0,
        "IndexName": index,
        "IndexEtag": combined_etag([tenant.database.last_etag]),
        "ResultEtag": etag,
        "Highlightings": {},
        "NonAuthoritativeInformation": False,
        "LastQueryTime": now,
        "DurationMilliseconds": int((monotonic() - begun) * 1000),
        "ScoreExplanations": {},
        "TimingsInMilliseconds": {},
        "ResultSize": size,
    }


def _shown(document: Document, select: Sequence[Column]) -> Document:
    """The document with only the fields that are fetched; its metadata stays."""
    return replace(document, body=projected(document, select)) if select else document


def _with_no_metadata(row: bytes) -> bytes:
    return row[:-1] + (b"" if row == b"{}" else b",") + b'"@metadata":{}}'


def asked_of(name: str, asked: IndexAsked) -> Asked:
    """The query that is asked of the index with this name; raises `Refused` (404) where there is none."""
    if asked.transformer:
        raise Refused(400, f"there is no transformer {asked.transformer!r}", "use what it makes of the documents")
    if asked.debug:
        raise Refused(400, f"debug={asked.debug} is not answered", "ask for the documents")
    collection, fields = _source(name)
    where = lucene.parse(asked.query, default=asked.default_field, both=asked.operator.upper() == "AND", fields=fields)
    query = Query(
        collection,
        where=where,
        order=tuple(_order(each, fields) for each in asked.sort if each.strip("+-")),
        skip=asked.start,
        take=asked.size,
        select=_columns(asked.fetch),
        distinct=asked.distinct and bool(asked.fetch),
        include=tuple(asked.include),
    )
    query = query_of(query)
    return Asked(query, _named(name, collection, query))


def _source(name: str) -> tuple[str | None, lucene.Fields]:
    """The collection of an index, and what its fields are in the documents."""
    head, _, rest = name.partition("/")
    if head.lower() == "dynamic":
        return rest or None, lucene.field_of
    if name.lower() == BY_ENTITY_NAME.lower():
        return None, _by_entity_name
    if found := _automatic.fullmatch(name):
        return None if found[1].lower() == "alldocs" else found[1], lucene.field_of
    raise Refused(
        404,
        f"there is no index {name!r}",
        "ask indexes/dynamic/COLLECTION, or by POST query; definitions of indexes are not kept here",
    )


def _by_entity_name(name: str) -> Field:
    fields = {"Tag": "@collection", "LastModified": "@last-modified"}
    if name in fields:
        return Field((METADATA, fields[name]))
    return lucene.field_of(name)


def _order(text: str, fields: lucene.Fields) -> Order:
    name = text.lstrip("+-")
    if name in ("Temp-Index-Score", "__score") or name.startswith("__rand"):
        raise InvalidQuery(f"documents are not sorted by {name}", "sort by a field")
    return Order(fields(name), text.startswith("-"))


def _columns(names: Sequence[str]) -> tuple[Column, ...]:
    if not names:
        return ()
    columns = [Column(name, lucene.field_of(name).path) for name in dict.fromkeys(names)]
    return (*columns, Column("__document_id", (ID,)))


def _named(name: str, collection: str | None, query: Query) -> str:
    if name.partition("/")[0].lower() != "dynamic":
        return name
    used = sorted({",".join(field.path) for field in model.fields(query)})
    by = f"/By{'And'.join(used)}" if used else ""
    return f"Auto/{collection or 'AllDocs'}{by}"
