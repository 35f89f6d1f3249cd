"""RavenDB 3's queries, in Lucene's syntax: `indexes/dynamic/COLLECTION`, and indexes by their names."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final, NamedTuple

import msgspec

from muniment import definitions
from muniment.answer import Answer, answer, query_of
from muniment.command import Delete
from muniment.definitions import Index
from muniment.document import Document, decode, encode, raven_time
from muniment.errors import IndexNotFound, InvalidInput, InvalidQuery, NotEvaluated
from muniment.indexes import IndexFacts
from muniment.query import keys, lucene, model
from muniment.query.lucene import Compared
from muniment.query.maps import Joined, Path, Several, Unknown, Value
from muniment.query.model import ID, Column, Field, Highlight, Order, Query
from muniment.query.project import at
from muniment.raven3.documents import array, joined, only_metadata, with_metadata
from muniment.raven3.etags import combined_etag
from muniment.raven3.headers import BUILD_HEADER, JSON
from muniment.raven3.messages import IndexDefined, IndexesMade, IndexListed, IndexMade, IndexReset, IndexShown
from muniment.raven3.names import MAX_PAGE
from muniment.raven3.queries import IndexAsked, IndexesListed, TermsWanted
from muniment.server.handlers import documents
from muniment.server.handlers.queries import includes_of
from muniment.server.looking import looked
from muniment.server.request import Request
from muniment.server.tenants import Tenant
from muniment.server.wire import Refused, Response, empty_response, json_response
from muniment.terms import terms as terms_of

_ANALYZED: dict[str, Any] = {
    "analyzed": "words",
    "search": "words",
    "stems": "stems",
    "notanalyzed": "exact",
    "exact": "exact",
}
_highlight: Final = re.compile(r"([^:]+):(\d{1,9}),(\d{1,9})(?:,(.+))?", re.ASCII)


class Asked(NamedTuple):
    """A query, the index that it is asked of, and what RavenDB would call that."""

    query: Query
    of: Index
    name: str


async def find(request: Request) -> Response:
    """What a query in Lucene's syntax finds; a POST may have it as its body. With `definition`, the definition."""
    asked = request.asked(IndexAsked)
    if asked.definition.lower() in ("yes", "true"):
        return await asyncio.to_thread(_definition, request)
    return await asyncio.to_thread(_answered, request, await with_text(request, asked))


async def with_text(request: Request, asked: IndexAsked) -> IndexAsked:
    """What is asked, with the query in the body, where there is one; pyravendb sends it as a JSON string."""
    text = (await request.body()).decode(errors="replace").strip() if request.method == "POST" else ""
    if text[:1] == '"' == text[-1:] and isinstance(said := decode(text.encode()), str):
        text = said
    return asked if text in ("", "null") else msgspec.structs.replace(asked, query=text)


def _definition(request: Request) -> Response:
    found = definitions.find(request.tenant.database.get, request.argument)
    if found is None:
        raise _missing(request.argument)
    return json_response(IndexShown(index=msgspec.Raw(found.given)))


async def listing(request: Request) -> Response:
    """The definitions that are kept, and the indexes that queries have made."""
    asked, database = request.asked(IndexesListed), request.tenant.database

    def all() -> list[IndexListed]:
        given = {each.name: msgspec.Raw(each.given) for each in definitions.listed(database)}
        return [
            IndexListed(**_facts(each), definition=given.get(each.name, msgspec.UNSET))
            for each in database.indexes.list()
        ]

    found = (await asyncio.to_thread(all))[asked.start :][: asked.size]
    return json_response([each.name for each in found] if asked.names_only else found)


def _facts(facts: IndexFacts) -> dict[str, Any]:
    return {name: getattr(facts, name) for name in facts.__struct_fields__}


async def define(request: Request) -> Response:
    """Keep a definition, exactly as it is."""
    await documents.write(request, [definitions.put_of(request.argument, await request.body())])
    return json_response(IndexMade(request.argument), 201)


async def define_many(request: Request) -> Response:
    """Keep several definitions, all of them or none."""
    given = await request.message(list[IndexDefined])
    await documents.write(request, [definitions.put_of(each.name, bytes(each.definition)) for each in given])
    return json_response(IndexesMade([each.name for each in given]), 201)


async def drop(request: Request) -> Response:
    """Forget a definition, and drop an index that queries have made; one that a query wants is made anew."""
    database = request.tenant.database
    if await asyncio.to_thread(definitions.is_kept, database.get, request.argument):
        await documents.write(request, [Delete(definitions.id_of(request.argument))])
    else:
        await asyncio.to_thread(database.indexes.drop, request.argument)
    return empty_response(204)


async def reset(request: Request) -> Response:
    """An index is never behind what is stored, so there is nothing to do anew."""
    if await asyncio.to_thread(definitions.find, request.tenant.database.get, request.argument) is None:
        raise _missing(request.argument)
    return json_response(IndexReset(request.argument))


async def terms(request: Request) -> Response:
    """The values that documents have in a field of an index, each once."""
    asked, database, index = request.asked(TermsWanted), request.tenant.database, request.argument
    most = min(asked.size, MAX_PAGE)
    return json_response(
        await looked(request, lambda: terms_of(database, index, asked.name, after=asked.after, most=most))
    )


def _missing(name: str) -> IndexNotFound:
    return IndexNotFound(f"there is no definition of an index {name!r}", "GET indexes lists those that there are")


def _answered(request: Request, asked: IndexAsked) -> Response:
    begun = monotonic()
    wanted = asked_of(request.tenant, request.argument, asked)
    entries = _entries(wanted.of, asked)
    found = answer(request.tenant.database.storage, wanted.query, most=MAX_PAGE)
    etag = combined_etag([found.total, *(document.etag for document in found.documents)])
    if request.has(etag):
        return empty_response(304, [("etag", f'"{etag}"')])
    show = entries or shown_as(wanted.of, asked)
    rows = (joined(row, b'"@metadata":{}') for row in found.rows)
    results = array(rows if found.rows else map(show, found.documents))
    included = array(map(with_metadata, includes_of(request.tenant, found, wanted.query)))
    rest = _said(request.tenant, wanted.name, found, etag, len(results), begun)
    body = b'{"Results":%s,"Includes":%s,%s' % (results, included, encode(rest)[1:])
    return Response(200, [JSON, BUILD_HEADER, ("etag", f'"{etag}"')], body)


def _said(tenant: Tenant, index: str, found: Answer, etag: str, size: int, begun: float) -> dict[str, object]:
    now = raven_time(datetime.now(UTC))
    highlights: dict[str, dict[str, list[str]]] = {}
    for name, pieces in found.highlights.items():
        for id in pieces:
            highlights.setdefault(id, {})[name] = pieces[id]
    return {
        "IsStale": False,
        "IndexTimestamp": now,
        "TotalResults": found.total,
        "SkippedResults": 0,
        "IndexName": index,
        "IndexEtag": combined_etag([tenant.database.last_etag]),
        "ResultEtag": etag,
        "Highlightings": highlights,
        "NonAuthoritativeInformation": False,
        "LastQueryTime": now,
        "DurationMilliseconds": int((monotonic() - begun) * 1000),
        "ScoreExplanations": {},
        "TimingsInMilliseconds": {},
        "ResultSize": size,
    }


def shown_as(index: Index, asked: IndexAsked) -> Callable[[Document], bytes]:
    """How documents are answered: whole, only their metadata, or only the fields that are fetched."""
    if asked.metadata_only:
        return only_metadata
    if not asked.fetch:
        return with_metadata
    names = [name for name in dict.fromkeys(asked.fetch) if name != "__document_id"]
    fields = {name: _fetched(index, name) for name in names}
    return lambda document: with_metadata(replace(document, body=_members(document, fields)))


def _fetched(index: Index, name: str) -> Value:
    value = (index.fields or {}).get(name) or Path(definitions.path_of(name))
    if isinstance(value, Unknown):
        raise index.computed(name, value)
    return value


def _entries(index: Index, asked: IndexAsked) -> Callable[[Document], bytes] | None:
    """What is in the index of a document, where that is asked for."""
    if not asked.debug:
        return None
    if asked.debug.lower() != "entries" or index.fields is None:
        raise NotEvaluated(f"debug={asked.debug} is not answered", "ask for the documents")
    fields = {name: value for name, value in index.fields.items() if not isinstance(value, Unknown)}
    return lambda document: _members(document, fields)


def _members(document: Document, fields: Mapping[str, Value]) -> bytes:
    members = [(name, _json_of(document, value)) for name, value in fields.items()]
    members.append(("__document_id", encode(document.id)))
    return b"{" + b",".join(encode(name) + b":" + value for name, value in members if value is not None) + b"}"


def _json_of(document: Document, value: Value) -> bytes | None:
    if isinstance(value, Path):
        return at(document, value.path)
    if isinstance(value, Several):
        found = [_json_of(document, item) for item in value.items]
        return b"[" + b",".join(each for each in found if each is not None) + b"]"
    assert isinstance(value, Joined)
    texts = [item if isinstance(item, str) else _text(at(document, item.path)) for item in value.items]
    return None if None in texts else encode("".join(map(str, texts)))


def _text(value: bytes | None) -> str | None:
    """What C# makes of a value that is joined to a text."""
    if value is None:
        return None
    found = keys.decoded(value)
    return "" if found is None else str(found)


def asked_of(tenant: Tenant, name: str, asked: IndexAsked) -> Asked:
    """The query that is asked of the index with this name; raises `IndexNotFound` where there is none."""
    if asked.transformer:
        raise Refused(400, f"there is no transformer {asked.transformer!r}", "use what it makes of the documents")
    index = definitions.index(tenant.database.get, name)

    def naming(field: str) -> Compared:
        return Compared(index.paths(field), _ANALYZED.get(index.how(field), "folded"))

    every = asked.operator.upper() == "AND"
    where = lucene.parse(asked.query, every=every, default=asked.default_field or "", naming=naming)
    where = index.entries(where)
    if index.collection is None and tenant.database.by_prefix(definitions.id_of(""), limit=1):
        where = definitions.without_definitions(where)
    query = Query(
        index.collection,
        where=where,
        order=tuple(order for each in asked.sort if each.strip("+-") for order in _orders(each, index)),
        skip=asked.start,
        take=asked.size,
        include=tuple(asked.include),
        highlight=tuple(_highlights(asked, index)),
    )
    if asked.distinct and asked.fetch:
        query = msgspec.structs.replace(query, select=tuple(_columns(index, asked.fetch)), distinct=True, include=())
    return Asked(query_of(query), index, _named(name, index.collection, query))


def _columns(index: Index, names: Sequence[str]) -> Iterator[Column]:
    for name in dict.fromkeys(names):
        value = _fetched(index, name)
        if not isinstance(value, Path):
            raise NotEvaluated(f"the field {name!r} of the index {index.name!r} is not one field of documents", "")
        yield Column(name, value.path)


def _highlights(asked: IndexAsked, index: Index) -> Iterator[Highlight]:
    """The fields of which pieces are wanted; a mark is the same for all words."""
    for text in asked.highlight:
        said = _highlight.fullmatch(text)
        if said is None:
            raise InvalidInput(
                f"{text!r} says no field to highlight", "write FIELD:LENGTH,COUNT: highlight=Notes:128,2"
            )
        name, length, count, into = said.groups()
        if into:
            raise NotEvaluated(f"pieces of texts are not put into documents, as {into}", "read them in Highlightings")
        marks = [found[0] if found else default for found, default in ((asked.before, "<b>"), (asked.after, "</b>"))]
        for path in index.paths(name)[:1]:
            yield Highlight(name, path, int(length), int(count), *marks)


def _orders(text: str, index: Index) -> Iterator[Order]:
    name = text.lstrip("+-")
    if name in ("Temp-Index-Score", "__score") or name.startswith("__rand"):
        raise InvalidQuery(f"documents are not sorted by {name}", "sort by a field")
    if index.fields is None or name not in index.fields:
        name = lucene.number_field(name)
    for path in index.paths(name)[:1]:
        yield Order(Field(path), text.startswith("-"))


def _named(name: str, collection: str | None, query: Query) -> str:
    if name.partition("/")[0].lower() != "dynamic":
        return name
    used = sorted({",".join(field.path) for field in model.fields(query) if field.path[0] != ID})
    by = f"/By{'And'.join(used)}" if used else ""
    return f"Auto/{collection or 'AllDocs'}{by}"
