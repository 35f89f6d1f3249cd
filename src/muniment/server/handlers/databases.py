"""Making, changing and deleting databases."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from muniment.backup.restore_into import forget_unfinished
from muniment.command import Delete, Put
from muniment.document import Document, decode, encode
from muniment.errors import ConcurrencyConflict, InvalidDocument, MunimentError, NotFound, WrongKey
from muniment.raven3.etags import etag_text
from muniment.raven3.headers import document_headers
from muniment.raven3.messages import DatabaseListed, Stored
from muniment.raven3.names import DATA_DIR, DATABASES, MAX_PAGE
from muniment.raven3.queries import DatabasesListed, Deletion, Deletions, Toggle
from muniment.security.access import EVERY
from muniment.security.encryption import EncryptionKey
from muniment.server.admission import check_document, plain_settings
from muniment.server.leftovers import ALSO, BEING_REMOVED
from muniment.server.request import Request
from muniment.server.secured import keys_of, wrapped
from muniment.server.tenants import Databases, check_name, folder_text, make, partitioned
from muniment.server.wire import Refused, Response, empty_response, json_response
from muniment.storage import engines
from muniment.storage.retention import check_settings, partitions_of
from muniment.telling import log


async def get_database(request: Request) -> Response:
    """The document that describes a database."""
    document = request.server.databases.document(request.argument)
    if document is None:
        raise _unknown(request.argument)
    return Response(200, document_headers(document, etag_text(document.etag)), document.body)


async def put_database(request: Request) -> Response:
    """Make a database, or with its document's etag change its settings."""
    name, databases = request.argument, request.server.databases
    check_name(name)
    given = await request.message(dict[str, Any])
    settings = given.setdefault("Settings", {})
    if not isinstance(settings, dict):
        raise InvalidDocument("Settings is not an object", 'send {"Settings": {"Raven/DataDir": "~/Name"}}')
    expected = request.expected
    present = databases.document(name)
    if present and not expected:
        raise Refused(400, f"the database {name} exists already", bare=True)
    if present is None:
        await create(request, name, given, expected)
        return empty_response(200)
    if folder_text(given) is None:
        settings[DATA_DIR] = folder_text(decode(present.body)) or databases.places.usual(name)
    folder = databases.places.data(folder_text(given) or "", within=request.caller.data_roots)
    if folder != databases.folder_of(present):
        raise Refused(400, f"the database {name} cannot be moved to {folder}", bare=True)
    check_document(given)
    before = _partitions({"Settings": plain_settings(decode(present.body))})
    await asyncio.to_thread(engines.check_partitions, folder, _partitions(given), before)
    given = await asyncio.to_thread(wrapped, databases.master, name, given, decode(present.body))
    databases.check_folder(name, folder)
    async with databases.offline(name, "being changed"):
        written = await _store(request, databases, name, given, expected)
    return json_response(Stored(DATABASES + name, etag_text(written)))


async def create(request: Request, name: str, given: dict[str, Any], expected: int | None = None) -> int:
    """Make the database that this document describes, which there is not; gives the etag of the document."""
    databases = request.server.databases
    if folder_text(given) is None:
        given = {
            **given,
            "Settings": {**given.get("Settings", {}), DATA_DIR: databases.places.usual(name, _partitions(given))},
        }
    folder = databases.places.data(folder_text(given) or "", within=request.caller.data_roots)
    check_document(given)
    partitions = _partitions(given)
    if engines.is_folder(folder):
        engines.check_partitions(folder, partitions)
    value = await asyncio.to_thread(wrapped, databases.master, name, given, None)
    databases.take(name, folder, "being created")
    try:
        await _make(partitioned(folder, partitions), keys_of(databases.master, name, value))
        await asyncio.to_thread(engines.check_partitions, folder, partitions)
        etag = await _store(request, databases, name, value, expected)
    finally:
        databases.give_back(name)
    log(f"database {name} created in {folder}")
    return etag


def _partitions(given: dict[str, Any]) -> int:
    """How many partitions the tables of a new database are to have in PostgreSQL; 0 for none."""
    settings = plain_settings(given)
    check_settings(settings)
    return partitions_of(settings)


async def _make(folder: Path, keys: Sequence[EncryptionKey]) -> None:
    """See that a database can be made there, or is there already."""
    try:
        await asyncio.to_thread(make, folder, keys)
    except MunimentError as error:
        raise Refused(400, f"the database cannot be made: {error}", error.hint, bare=True) from error


async def _store(request: Request, databases: Databases, name: str, value: dict[str, Any], expected: int | None) -> int:
    put = Put(DATABASES + name, encode(value), None, expected or 0)
    try:
        [written] = await request.server.completions.wait(databases.system.database.submit([put]))
    except ConcurrencyConflict:
        if expected:
            raise
        raise Refused(400, f"the database {name} exists already", bare=True) from None
    await _note(request, "database stored", name)
    return written.etag


async def _note(request: Request, what: str, name: str) -> None:
    await asyncio.to_thread(request.server.audit.note, what, "completed", request.who, subject=DATABASES + name)


async def delete_database(request: Request) -> Response:
    """Forget a database; with `hard-delete=true`, delete its files too."""
    await delete(request, request.argument, hard=request.asked(Deletion).hard_delete)
    return empty_response(200)


async def delete_databases(request: Request) -> Response:
    """Forget several databases; answers the names of those that there were."""
    names = request.asked(Deletions).ids
    if not names:
        raise Refused(400, "no ids were given", "pass ?ids=NAME&ids=NAME", bare=True)
    deleted = []
    for name in names:
        try:
            await delete(request, name, hard=request.asked(Deletions).hard_delete)
            deleted.append(name)
        except Refused as error:
            if error.status != 404:
                raise
    return json_response(deleted)


async def delete(request: Request, name: str, *, hard: bool) -> None:
    """Forget a database, and with `hard`, delete its files."""
    check_name(name)
    databases = request.server.databases
    document = databases.document(name)
    if document is None:
        raise _unknown(name)
    folder = databases.folder_of(document)
    if hard:
        databases.places.check_data(folder, f"the folder of the database {name}")
    gone = True
    async with databases.offline(name, "being deleted"):
        if hard:
            gone = await asyncio.to_thread(_remove, databases, document, folder)
        else:
            await request.server.completions.wait(databases.system.database.submit([Delete(document.id)]))
    await _note(request, "database deleted", name)
    log(f"database {name} deleted{f' with its files in {folder}' if hard else ''}")
    if not gone:
        log(f"{folder} was kept, because there are other files in it")


def _remove(databases: Databases, document: Document, folder: Path) -> bool:
    """Forget a database and delete its files; returns whether its folder has gone."""
    mark = BEING_REMOVED + document.id[len(DATABASES) :]

    key = None
    with suppress(WrongKey, NotFound):  # what nobody can read any more can be deleted all the same
        key = databases.key(document)

    def forget() -> None:
        databases.system.database.batch([Delete(document.id), Put(mark, {"Folder": str(folder)})])
        forget_unfinished(folder)

    gone = engines.remove(folder, forget, also=ALSO, key=key)
    databases.notes.tell({mark: None})
    return gone


async def toggle_database(request: Request) -> Response:
    """Disable a database (`isSettingDisabled=true`), or enable it again."""
    name, databases = request.argument, request.server.databases
    document = databases.document(name)
    if document is None:
        raise _unknown(name)
    if not await disable(request, document, disabled=(disabled := request.asked(Toggle).disabled)):
        raise Refused(400, f"the database {name} is {'disabled' if disabled else 'enabled'} already", bare=True)
    return empty_response(200)


async def disable(request: Request, document: Document, *, disabled: bool) -> bool:
    """Disable or enable the database that this document describes; returns whether it was not so before."""
    name, value = document.id[len(DATABASES) :], decode(document.body)
    if bool(value.get("Disabled")) == disabled:
        return False
    async with request.server.databases.offline(name, "being changed"):
        await _store(request, request.server.databases, name, value | {"Disabled": disabled}, document.etag)
    return True


async def list_databases(request: Request) -> Response:
    """The names of the databases that the caller has a right for; with `getAdditionalData=true`, more about each."""
    databases = request.server.databases
    asked = request.asked(DatabasesListed)
    names = names_for(request, asked.start, min(asked.size, MAX_PAGE))
    if not asked.additional:
        return json_response(names)
    return json_response([_described(databases, name) for name in names])


def names_for(request: Request, start: int, size: int) -> list[str]:
    """The names of so many databases that the caller has a right for, after so many."""
    databases, access = request.server.databases, request.caller.access
    if EVERY in access.databases:
        return databases.names(start, size)
    return list(islice((name for name in databases.all_names() if access.covers(name)), start, start + size))


def _described(databases: Databases, name: str) -> DatabaseListed:
    document = databases.document(name)
    return DatabaseListed(name, disabled=bool(document and decode(document.body).get("Disabled")))


def _unknown(name: str) -> Refused:
    return Refused(404, f"there is no database named: {name}", bare=True)
