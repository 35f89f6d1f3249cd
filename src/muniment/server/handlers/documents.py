"""One document: reading it with its metadata as headers, storing, patching and deleting it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from typing import Final

import msgspec

from muniment.command import Command, Delete, Put
from muniment.document import Document, fold
from muniment.errors import MunimentError
from muniment.patching import Patch, PatchCommand, missing, patch_commands
from muniment.raven3.etags import etag_text
from muniment.raven3.headers import document_headers, revision_headers
from muniment.raven3.messages import Patched, Stored
from muniment.raven3.names import BACKUP_STATUS, DATABASES
from muniment.raven3.queries import ScriptAsked
from muniment.revision import Revision
from muniment.scripting import Script, Scripted
from muniment.server.admission import subject_of
from muniment.server.request import Request
from muniment.server.tenants import Tenant
from muniment.server.wire import Refused, Response, empty_response, is_version, json_response
from muniment.storage.base import Write, Written

_STATUS: Final = fold(BACKUP_STATUS)
_PREFIX: Final = fold(DATABASES)


def find(tenant: Tenant, id: str) -> Document | None:
    """A document, or what the server itself tells under this id."""
    return _status(tenant, id) or tenant.database.get(id)


def _status(tenant: Tenant, id: str) -> Document | None:
    """What the server itself tells under this id."""
    return tenant.backup.document() if len(id) == len(_STATUS) and fold(id) == _STATUS else None


async def get(request: Request) -> Response:
    """A document: its bytes as they were stored, its metadata as headers."""
    return await request.read(shown, request.tenant, request.argument, request.headers.get("if-none-match"))


def shown(tenant: Tenant, id: str, known: str | None) -> Response:
    """What is answered for this id to a client that says it has the version `known`. Any thread may call it."""
    found = _status(tenant, id) or tenant.database.revision(id)
    if found is None:
        return empty_response(404)
    etag = etag_text(found.etag)
    if is_version(known, etag):
        return empty_response(304, [("etag", f'"{etag}"')])
    headers = revision_headers(found, etag) if isinstance(found, Revision) else document_headers(found, etag)
    return Response(200, headers, found.body or b"")


async def put(request: Request) -> Response:
    """Store a document; the request's headers are its metadata. An id that ends in "/" gets the next number."""
    return stored(await _put(request, request.argument), 201)


async def post(request: Request) -> Response:
    """Store a document under a new id."""
    return stored(await _put(request, str(uuid.uuid4()), new=True), 200)


def stored(written: Written, status: int) -> Response:
    """What is answered when a document is on disk."""
    return json_response(Stored(written.id, etag_text(written.etag)), status)


async def _put(request: Request, id: str, *, new: bool = False) -> Written:
    body = await request.body()
    put = Put(id, body, request.metadata, 0 if new else request.expected)
    if not request.tenant.is_system and not id.endswith("/") and len(body) <= _LARGE:  # nearly always
        [written] = await request.server.completions.wait(request.tenant.database.submit([put]))
    else:
        [written] = await write(request, [put])
    return written


async def delete(request: Request) -> Response:
    """Delete a document, whether or not there is one."""
    if fold(request.argument) == _STATUS:
        request.tenant.backup.forget()
    await write(request, [Delete(request.argument, request.expected)])
    return empty_response(204)


async def patch(request: Request) -> Response:
    """Change a document by commands; what they do not touch keeps its bytes."""
    commands = patch_commands(await request.message(list[PatchCommand]))
    [written] = await write(request, [Patch(request.argument, commands, request.expected)])
    if not written.existed:
        raise missing(request.argument)
    return json_response(Patched(), headers=[("etag", f'"{etag_text(written.etag)}"')])


async def evaluate(request: Request) -> Response:
    """Change a document by a script; with `test`, only answer what it would be."""
    asked, script = request.asked(ScriptAsked), await request.message(Script)
    if asked.test:
        return await asyncio.to_thread(_tried, request, script)
    change = Patch(request.argument, script, request.expected)
    [written] = await write(request, [change])
    if not written.existed:
        raise missing(request.argument)
    told = {"Info": change.told} if change.told else None
    return json_response(Patched(debug=told), headers=[("etag", f'"{etag_text(written.etag)}"')])


def _tried(request: Request, script: Script) -> Response:
    found = find(request.tenant, request.argument)
    if found is None:
        raise missing(request.argument)
    with Scripted(script) as ready:
        done = ready.run(request.tenant.database.get, found.id, found.metadata_json, found.body)
    return json_response(Patched(debug={"Info": done.told}, document=msgspec.Raw(done.body)))


async def write(request: Request, commands: Sequence[Command | Patch | Write]) -> list[Written]:
    """Carry out commands as one transaction, together with whatever other requests write at this moment."""
    if not request.tenant.is_system:
        return await _written(request, commands)
    subjects = [(what, command) for command in commands if (what := subject_of(command.id))]
    outcome, error = "unknown", None
    try:
        with request.server.databases.within(request.caller.data_roots):
            written = await _written(request, commands)
        outcome = "completed"
        return written
    except MunimentError as failed:
        outcome, error = "faulted", failed.message
        raise
    finally:
        for what, command in subjects:
            done = f"{what} {'stored' if _stores(command) else 'deleted'}"
            await asyncio.to_thread(
                request.server.audit.note, done, outcome, request.who, subject=command.id, error=error
            )


async def _written(request: Request, commands: Sequence[Command | Patch | Write]) -> list[Written]:
    database = request.tenant.database
    if request.tenant.is_system:
        for command in commands:
            if isinstance(command, Patch) and any(
                isinstance(each, Script) for each in (command.commands, command.if_missing)
            ):
                raise Refused(400, "scripts do not change documents of the system database", "PATCH or PUT them")
            if fold(command.id).startswith(_PREFIX):
                request.server.databases.check_online(command.id[len(DATABASES) :])
    if any(isinstance(command, Patch) or command.id.endswith("/") for command in commands):
        # What is patched is read first, and a number for a prefix takes a transaction of its own; both are done anew
        # when somebody else has changed the document, or used the number, meanwhile.
        written = await asyncio.to_thread(database.batch, commands)
    else:
        # Much to check takes long, and a key may have to be read first; others need not wait.
        plain = [command for command in commands if not isinstance(command, Patch)]
        slow = request.tenant.is_system or sum(map(_size, plain)) > _LARGE
        future = await asyncio.to_thread(database.submit, plain) if slow else database.submit(plain)
        written = await request.server.completions.wait(future)
    if request.tenant.is_system:
        for id in {result.id for result in written if fold(result.id).startswith(_PREFIX)}:
            await request.server.databases.forget(id)
        for command, result in zip(commands, written, strict=True):
            if _stores(command) and result.etag and not result.existed and fold(result.id).startswith(_PREFIX):
                await request.server.databases.make(result.id)
    return written


_LARGE: Final = 256 << 10


def _stores(command: Command | Patch | Write) -> bool:
    return isinstance(command, Put | Patch) or (isinstance(command, Write) and command.body is not None)


def _size(command: Command | Write) -> int:
    return len(command.body or b"") if isinstance(command, Put | Write) else 0
