"""Patches of one document, and of all that a query finds, for clients of RavenDB 4 and later."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from muniment.command import Delete
from muniment.document import Document
from muniment.errors import ConcurrencyConflict, InvalidInput, MunimentError
from muniment.patching import Patch
from muniment.query import updates
from muniment.query.model import Query
from muniment.raven7.messages import Command, JsonPatch, PatchDone, PatchWanted, QueryWanted, Started, UpdateWanted
from muniment.raven7.queries import ByQuery, DocumentNamed, PatchAsked
from muniment.raven7.scripts import script_of
from muniment.server.handlers import by_query
from muniment.server.handlers.raven7.batches import Changes
from muniment.server.handlers.raven7.queries import read
from muniment.server.handlers.raven7.transaction import deletion, write
from muniment.server.request import Request
from muniment.server.wire import Refused, Response, empty_response, json_response
from muniment.storage.base import Write

_ALL: Final = (1 << 31) - 1  # which clients send as the size of a page that has all


async def patch(request: Request) -> Response:
    """Change a document by a script; one that there is not, by another one."""
    asked, wanted = request.asked(PatchAsked), await request.message(PatchWanted)
    if asked.test:
        raise Refused(501, "a patch is not only tried", "patch a copy of the document")
    vector = request.headers.get("if-match")
    command = Command("PATCH", asked.id, vector, patch=wanted.patch, patch_if_missing=wanted.patch_if_missing)
    try:
        return await _patched(request, command)
    except ConcurrencyConflict:
        if not asked.skip_mismatch:
            raise
        return json_response(PatchDone("Skipped"))


async def json_patch(request: Request) -> Response:
    """Change a document as RFC 6902 says."""
    id, wanted = request.asked(DocumentNamed).id, await request.message(JsonPatch)
    return await _patched(request, Command("JsonPatch", id, json_patch=wanted))


async def _patched(request: Request, command: Command) -> Response:
    if not command.id:
        raise InvalidInput("the id of the document is missing", "pass ?id=ID")
    command.return_document = True
    try:
        with Changes(request.tenant, [command], []) as changes:
            written = await write(request, changes.prepare)
    except MunimentError as error:
        error.message = error.message.removeprefix(f"command 0 ({command.type}): ")
        raise
    done = changes.answers[0](written)
    status = done.pop("PatchStatus")
    if status == "DocumentDoesNotExist":
        return empty_response(404)
    told = {name: value for name, value in done.items() if name not in ("Type", "Id")}
    return json_response({"Status": status, "Debug": None, **told})


async def delete_found(request: Request) -> Response:
    """Delete all documents that a query finds, with their attachments."""
    query = _whole((await read(request, await request.message(QueryWanted))).query, "a deletion")
    request.asked(ByQuery)
    tenant = request.tenant

    def change(document: Document) -> list[Patch | Delete | Write]:
        return [*deletion(tenant, document.id, document.etag).writes]

    number = by_query.start(request, "deletion by query", lambda job: by_query.changed(tenant, query, change, job))
    return json_response(Started(number))


async def update_found(request: Request) -> Response:
    """Run the script of a query on all that it finds."""
    wanted = (await request.message(UpdateWanted)).query
    request.asked(ByQuery)
    update = updates.parse(wanted.query or "")
    query = _whole((await read(request, replace(wanted, query=update.query))).query, "a patch")
    script = script_of(update.script, wanted.query_parameters, update.alias)
    tenant = request.tenant
    number = by_query.start(request, "patch by query", lambda job: by_query.scripted(tenant, query, script, job))
    return json_response(Started(number))


def _whole(query: Query, what: str) -> Query:
    """The query of all that is found, in no order; raises `InvalidInput` for one of a part, or of something else."""
    if query.skip or (query.take is not None and query.take < _ALL) or query.select or query.group or query.include:
        raise InvalidInput(
            f"{what} by query is of all documents that are found", "leave limit, select, group by and include out"
        )
    return replace(query, skip=0, take=None, order=())
