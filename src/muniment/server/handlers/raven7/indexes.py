"""Definitions of indexes, for clients of RavenDB 4 and later: kept, shown, compared, and what can be told of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from muniment import definitions, json_bytes
from muniment.command import Delete
from muniment.definitions import Definition, Index
from muniment.document import raven_time
from muniment.errors import IndexNotFound, NotEvaluated
from muniment.query.maps import Unknown
from muniment.raven7.messages import (
    IndexChanged,
    IndexesMade,
    IndexesRunning,
    IndexesShown,
    IndexesWanted,
    IndexMade,
    Terms,
)
from muniment.raven7.queries import IndexesListed, IndexesNamed, Named, TermsWanted
from muniment.server.handlers import documents
from muniment.server.looking import looked
from muniment.server.request import Request, decode_json
from muniment.server.tenants import Tenant
from muniment.server.wire import Response, empty_response, json_response
from muniment.smuggler.indexes import shown_later
from muniment.terms import terms as terms_of


async def define(request: Request) -> Response:
    """Keep definitions exactly as they are, all of them or none."""
    body = await request.body()
    wanted = decode_json(body, IndexesWanted)
    given = json_bytes.elements(json_bytes.member_value(body, "Indexes") or b"[]")
    names = [_named(each) for each in wanted.indexes]
    puts = [definitions.put_of_later(name, each) for name, each in zip(names, given, strict=True)]
    if puts:
        await documents.write(request, puts)
    return json_response(IndexesMade([IndexMade(name) for name in names]), 201)


async def listing(request: Request) -> Response:
    """The definitions that are kept, each as these clients read it, or their names."""
    asked = request.asked(IndexesListed)
    found = await asyncio.to_thread(_kept, request.tenant, [asked.name] if asked.name else [])
    if asked.name and not found:
        return empty_response(404)
    page = found[asked.start :][: asked.size]
    return json_response(IndexesShown([each.name if asked.names_only else _shown(each) for each in page]))


async def drop(request: Request) -> Response:
    """Forget a definition, whether or not there is one."""
    name = request.asked(Named).name or ""
    if await asyncio.to_thread(definitions.is_kept, request.tenant.database.get, name):
        await documents.write(request, [Delete(definitions.id_of(name))])
    return empty_response(204)


async def reset(request: Request) -> Response:
    """An index is never behind what is stored, so there is nothing to do anew."""
    await asyncio.to_thread(_kept, request.tenant, [request.asked(Named).name or ""], must=True)
    return empty_response(200)


async def changed(request: Request) -> Response:
    """Whether a definition is another one than that of its name, in what these clients compare."""
    given = await request.body()
    name = _named(decode_json(given, dict[str, Any]))
    found = await asyncio.to_thread(_kept, request.tenant, [name])
    other = _compared(shown_later(name, given, later=True))
    return json_response(IndexChanged(not found or _compared(_shown(found[0])) != other))


async def stats(request: Request) -> Response:
    """What these clients ask of an index: of one that is never behind, most is the same for all."""
    return json_response(IndexesShown(await asyncio.to_thread(_stats, request)))


async def errors(request: Request) -> Response:
    """What of each index cannot be evaluated."""
    names = request.asked(IndexesNamed).name

    def all() -> list[Any]:
        return [{"Name": each.name, "Errors": _errors(each)} for each in _kept(request.tenant, names, must=True)]

    return json_response(IndexesShown(await asyncio.to_thread(all)))


async def forget_errors(request: Request) -> Response:
    """They are of the definitions, and go with these."""
    return empty_response(204)


async def running(request: Request) -> Response:
    """Every index runs."""
    found = await asyncio.to_thread(_kept, request.tenant, [])
    return json_response(IndexesRunning([{"Name": each.name, "Status": "Running"} for each in found]))


async def terms(request: Request) -> Response:
    """The values that documents have in a field of an index, each once."""
    asked, database = request.asked(TermsWanted), request.tenant.database

    def look() -> Terms:
        found = terms_of(database, asked.index, asked.name, after=asked.after, most=asked.size)
        return Terms(found, database.last_etag, asked.index)

    return json_response(await looked(request, look))


def _named(definition: dict[str, Any]) -> str:
    name = definition.get("Name")
    return name if isinstance(name, str) else ""


def _kept(tenant: Tenant, names: list[str], *, must: bool = False) -> list[Definition]:
    """All definitions, or those with these names; raises `IndexNotFound` where there `must` be one."""
    if not names:
        return [*definitions.listed(tenant.database)]
    found = [definitions.find(tenant.database.get, name) for name in names]
    if must and None in found:
        name = names[found.index(None)]
        raise IndexNotFound(f"there is no definition of an index {name!r}", "GET indexes lists those that there are")
    return [each for each in found if each]


def _shown(definition: Definition) -> dict[str, Any]:
    return shown_later(definition.name, definition.given, later=definition.later)


def _compared(shown: dict[str, Any]) -> dict[str, Any]:
    fields = {
        name: {member: value for member, value in field.items() if value not in (None, "Default", "No")}
        for name, field in shown["Fields"].items()
        if isinstance(field, dict)
    }
    left_out = {"Type", "IndexType", "SourceType", "IndexSourceType"}
    said = {name: value for name, value in shown.items() if name not in left_out and value not in (None, {}, [])}
    return {**said, "Maps": sorted(map(str, shown["Maps"])), "Fields": fields}


def _index(definition: Definition) -> Index | NotEvaluated:
    try:
        return definitions.evaluated(definition)
    except NotEvaluated as error:
        return error


def _errors(definition: Definition) -> list[dict[str, Any]]:
    return [
        {
            "Error": f"{error.message}; {error.hint}",
            "Timestamp": raven_time(definition.changed or datetime.now(UTC)),
            "Document": "",
            "Action": "Map",
        }
        for error in _wrong(definition)
    ]


def _wrong(definition: Definition) -> Iterator[NotEvaluated]:
    index = _index(definition)
    if isinstance(index, NotEvaluated):
        yield index
        return
    for name, value in (index.fields or {}).items():
        if isinstance(value, Unknown):
            yield index.computed(name, value)


def _stats(request: Request) -> list[Any]:
    tenant = request.tenant
    found = tenant.database.statistics()
    return [
        _stats_of(each, found.documents, found.collections, found.last_etag, found.last_changed)
        for each in _kept(tenant, request.asked(IndexesNamed).name, must=True)
    ]


def _stats_of(
    definition: Definition, documents: int, collections: dict[str, int], last_etag: int, last: datetime
) -> dict[str, Any]:
    index, now = _index(definition), raven_time(datetime.now(UTC))
    wrong = isinstance(index, NotEvaluated)
    collection = None if isinstance(index, NotEvaluated) else index.collection
    counts = {name.lower(): count for name, count in collections.items()}
    count = 0 if wrong else documents if collection is None else counts.get(collection.lower(), 0)
    lag = {"LastProcessedDocumentEtag": last_etag, "LastProcessedTombstoneEtag": last_etag}
    none = ("MapReferenceAttempts", "MapReferenceSuccesses", "MapReferenceErrors", "ReduceAttempts", "ReduceSuccesses",
            "ReduceErrors", "ReduceOutputCollection", "ReduceOutputReferencePattern",
            "PatternReferencesCollectionName")  # fmt: skip
    return {
        "Name": definition.name,
        "MapAttempts": count,
        "MapSuccesses": count,
        "MapErrors": 0,
        **dict.fromkeys(none),
        "MappedPerSecondRate": 0.0,
        "ReducedPerSecondRate": 0.0,
        "MaxNumberOfOutputsPerDocument": 1,
        "Collections": {collection or "@all_docs": {**lag, "DocumentLag": 0, "TombstoneLag": 0}},
        "LastQueryingTime": now,
        "State": "Error" if wrong else "Normal",
        "Priority": "Normal",
        "CreatedTimestamp": raven_time(definition.changed or last),
        "LastIndexingTime": raven_time(last),
        "IsStale": False,
        "LockMode": "Unlock",
        "Type": _shown(definition)["Type"],
        "Status": "Running",
        "EntriesCount": count,
        "ErrorsCount": len(_errors(definition)),
        "SourceType": "Documents",
        "IsTestIndex": False,
    }
