"""Changing and deleting all documents that a query finds, as an operation: `bulk_docs/{index}`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, TypeAlias

from msgspec.structs import replace

from muniment.answer import answer, stream
from muniment.backup.job import Job
from muniment.command import Delete
from muniment.document import Document
from muniment.errors import ConcurrencyConflict, IndexNotFound
from muniment.patching import Patch, PatchCommand, patch_commands
from muniment.query.model import ID, And, Equal, Field, Query
from muniment.raven3.messages import Accepted
from muniment.raven3.queries import IndexAsked
from muniment.scripting import Script, Scripted
from muniment.server.handlers.indexes import asked_of
from muniment.server.request import Request
from muniment.server.tenants import Tenant
from muniment.server.wire import Refused, Response, json_response
from muniment.storage.base import Write

BATCH: Final = 128

Change: TypeAlias = Callable[[Document], Sequence[Patch | Delete | Write]]
Changed: TypeAlias = Job[dict[str, int]]


async def delete(request: Request) -> Response:
    """Delete all documents that a query finds."""
    query = await asyncio.to_thread(_query, request)
    return _accepted(start(request, "deletion by query", lambda job: changed(request.tenant, query, _delete, job)))


async def patch(request: Request) -> Response:
    """Patch all documents that a query finds by commands."""
    commands = patch_commands(await request.message(list[PatchCommand]))

    def change(document: Document) -> list[Patch | Delete | Write]:
        return [Patch(document.id, commands, document.etag)]

    return await _patch(request, lambda query, job: changed(request.tenant, query, change, job))


async def evaluate(request: Request) -> Response:
    """Run a script on all documents that a query finds."""
    script = await request.message(Script)

    def work(query: Query, job: Changed) -> dict[str, int]:
        return scripted(request.tenant, query, script, job)

    return await _patch(request, work)


def scripted(tenant: Tenant, query: Query, script: Script, job: Changed) -> dict[str, int]:
    """Run a script on all that is found."""
    with Scripted(script) as ready:
        return changed(tenant, query, lambda found: [Patch(found.id, ready, found.etag)], job)


async def _patch(request: Request, work: Callable[[Query, Changed], dict[str, int]]) -> Response:
    try:
        query = await asyncio.to_thread(_query, request)
    except IndexNotFound as error:  # RavenDB 3 says so in the operation, and its client expects it there
        missing = error

        def fail(job: Changed) -> dict[str, int]:
            raise missing

        return _accepted(start(request, "patch by query", fail))
    return _accepted(start(request, "patch by query", lambda job: work(query, job)))


def _query(request: Request) -> Query:
    asked = request.asked(IndexAsked)
    return replace(asked_of(request.tenant, request.argument, asked).query, skip=0, take=None, order=(), include=())


def start(request: Request, what: str, work: Callable[[Changed], dict[str, int]]) -> int:
    """Begin this as an operation; gives its number."""
    server, tenant = request.server, request.tenant
    if tenant.is_system:
        raise Refused(400, "documents of the system database are not changed by queries", "change them one by one")
    loop = asyncio.get_running_loop()
    operation = server.operations.new(Job(what, work), tenant.name, request.who)
    operation.result = _as_result
    operation.on_end = lambda: loop.call_soon_threadsafe(tenant.leave)
    tenant.active += 1
    server.operations.start(operation)
    return operation.id


def _accepted(operation: int) -> Response:
    return json_response(Accepted(operation), 202)


def _as_result(result: dict[str, int]) -> dict[str, Any]:
    return dict(result)


def _delete(document: Document) -> list[Patch | Delete | Write]:
    return [Delete(document.id, document.etag)]


def changed(tenant: Tenant, query: Query, change: Change, job: Changed) -> dict[str, int]:
    """Change what is found at this moment, some at once; what others change meanwhile only if it is still found."""
    storage, database, progress = tenant.database.storage, tenant.database, job.progress
    count = 0
    with stream(storage, query, counted=True) as found:
        progress.total_documents = found.total
        items = (item for item in found.items if isinstance(item, Document))
        while documents := list(islice(items, BATCH)):
            progress.check()
            try:
                database.batch([each for document in documents for each in change(document)])
                count += len(documents)
            except ConcurrencyConflict:
                count += sum(_one(tenant, query, change, document) for document in documents)
            progress.documents += len(documents)
    return {"Found": progress.documents, "Changed": count}


def _one(tenant: Tenant, query: Query, change: Change, document: Document) -> bool:
    for current in _as_it_is(tenant, query, document):
        try:
            tenant.database.batch(change(current))
            return True
        except ConcurrencyConflict:
            continue
    return False


def _as_it_is(tenant: Tenant, query: Query, document: Document) -> Iterator[Document]:
    """The document as it is now, again and again, as long as the query finds it."""
    only = replace(query, where=And((query.where, Equal(Field((ID,)), document.id))))
    while found := answer(tenant.database.storage, only).documents:
        yield found[0]
