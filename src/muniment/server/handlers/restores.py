"""Restoring a backup into a new database while the others go on being served."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Final

import msgspec

from muniment.backup.child import restore_in_child
from muniment.backup.plan import RestorePlan
from muniment.backup.reader import Moment
from muniment.backup.repository import DATABASE_DOCUMENT, Backup
from muniment.document import decode, fold, from_microseconds, rfc3339
from muniment.durable import mapped_errors
from muniment.errors import (
    BackupNotFound,
    InvalidDocument,
    MunimentError,
    TargetExists,
)
from muniment.raven3.names import DATA_DIR, DATABASES
from muniment.server.operations import Operation
from muniment.server.places import check_unmoved
from muniment.server.points import Part
from muniment.server.request import Request
from muniment.server.status import RestoreStatus, amount, progress_told, with_hint
from muniment.server.tenants import Databases, check_name
from muniment.server.wire import Refused, Response, json_response
from muniment.storage.sqlite.remove import remove_database
from muniment.telling import telling

POLL_SECONDS: Final = 0.1


class _Wanted(Part):
    name: str | None = msgspec.field(name="DatabaseName", default=None)
    location: str | None = msgspec.field(name="DatabaseLocation", default=None)
    defrag: bool | None = msgspec.field(name="Defrag", default=None)
    timeout: int | None = msgspec.field(name="RestoreStartTimeout", default=None)
    new_id: bool | None = msgspec.field(name="GenerateNewDatabaseId", default=None)


async def start(request: Request) -> Response:
    """Begin to restore a moment of the backups in a folder, or a part of it, into a new database."""
    wanted = await _wanted(request)
    app, databases = request.server, request.server.databases
    source, selection = await wanted.folder(databases, local=request.is_local), wanted.selection
    if wanted.name:
        name = wanted.name
        target = _new_place(databases, name, wanted.location)
        plan, _ = await wanted.plan(source)
    else:
        try:
            plan, _ = await wanted.plan(source)
        except BackupNotFound as error:
            if wanted.backup is not None or wanted.lineage is not None:
                raise
            raise await asyncio.to_thread(_nameless, app.restore_status, str(error)) from error
        name = await _name_in(plan.backup, app.restore_status)
        target = _new_place(databases, name, wanted.location)
    await _wait_for_other(request, wanted.timeout)
    _check_new(databases, name)
    databases.take(name, target, "being restored")
    app.restoring = name

    def release() -> None:
        databases.give_back(name)
        app.restoring = None

    def work(operation: Operation) -> None:
        try:
            defrag, new_id = bool(wanted.defrag) or request.flag("defrag"), bool(wanted.new_id)
            restore = partial(_from_there, source, plan, target, selection=selection, defrag=defrag, new_id=new_id)
            _restore(databases, app.restore_status, plan, restore, target, name, operation, selection is None)
        finally:
            release()
            app.restore_status.end()

    try:
        await asyncio.to_thread(app.restore_status.begin, name)
        operation = app.operations.new("restore", name)
        app.operations.run(operation, work, on_wait=lambda text: app.restore_status.say(text, operation=operation))
    except BaseException:
        release()
        raise
    return json_response({"OperationId": operation.id}, 202)


def _from_there(source: Path, *args: Any, **options: Any) -> Moment:
    check_unmoved(source)
    return restore_in_child(*args, **options)


async def plan(request: Request) -> Response:
    """What a restore would read, and the exact transaction at which it would stop; nothing is written."""
    wanted = await _wanted(request)
    databases = request.server.databases
    source, _ = await wanted.folder(databases, local=request.is_local), wanted.selection
    if wanted.name:
        _new_place(databases, wanted.name, wanted.location)
    _, told = await wanted.plan(source)
    return json_response(told)


async def _wanted(request: Request) -> _Wanted:
    if request.name is not None:
        raise Refused(400, "a restore is asked of the server, not of a database", bare=True)
    wanted: _Wanted = await request.json(_Wanted)
    return wanted


def _new_place(databases: Databases, name: str, location: str | None) -> Path:
    """The folder for a new database; raises `Refused` when the name or the folder is taken or can not be had."""
    check_name(name)
    _check_new(databases, name)
    target = databases.places.data(location or f"~/{name}")
    databases.check_folder(name, target)
    return target


def _check_new(databases: Databases, name: str) -> None:
    if databases.document(name):
        message = f"Cannot do an online restore for an existing database, delete the database {name} and restore again."
        raise Refused(400, message, bare=True)


async def _name_in(backup: Backup, status: RestoreStatus) -> str:
    """The name that a backup has kept; raises `Refused` when there is none."""

    def read() -> str:
        try:
            name = decode(database_document(backup)).get("Id")
        except (MunimentError, AttributeError) as error:
            raise _nameless(status, str(error)) from error
        if not isinstance(name, str) or not name:
            raise _nameless(status, "the backup location has no Database.Document")
        return name.removeprefix(DATABASES)

    return await asyncio.to_thread(read)


def _nameless(status: RestoreStatus, why: str) -> Refused:
    """RavenDB's answer to a restore without a name, when the backup has none either."""
    message = f"A database name must be supplied if the backup has none: {why}"
    status.say(f"Error: {message}", "Faulted")
    return Refused(400, message, bare=True)


def database_document(backup: Backup) -> bytes:
    """The document of the database as the backup has kept it."""
    backup.settings()  # which checks the file
    with mapped_errors(backup.folder):
        return (backup.folder / DATABASE_DOCUMENT).read_bytes()


async def _wait_for_other(request: Request, seconds: int | None) -> None:
    """Wait until no restore runs, up to so many seconds; raises `Refused` (503)."""
    app = request.server
    until = monotonic() + (seconds or 0)
    while app.restoring is not None:
        if seconds is None:
            raise Refused(503, f"Another restore is still in progress for database named {app.restoring}", bare=True)
        if monotonic() >= until:
            waited = f"Waited for {seconds} seconds"
            message = f"{waited}; another restore is still in progress for database named {app.restoring}"
            raise Refused(503, message, bare=True)
        await asyncio.sleep(POLL_SECONDS)


def _restore(
    databases: Databases,
    status: RestoreStatus,
    plan: RestorePlan,
    restore: Callable[..., Moment],
    target: Path,
    name: str,
    operation: Operation,
    whole: bool,
) -> None:
    status.say(f"Starting to restore {name} from {plan.backup.folder} to {target}", operation=operation)
    try:
        with progress_told(operation.progress, partial(status.say, operation=operation)):
            moment = restore(progress=operation.progress)
        state = f"the state of {rfc3339(from_microseconds(moment.modified))}, etag {moment.etag:,}"
        part = "; its fingerprint was proven" if whole else ", a part of it"
        status.say(f"Restored {amount(operation.progress)} of {state}{part}", operation=operation)
        _list(databases, plan.backup, target, name)
    except Exception as error:
        operation.error = error if isinstance(error, MunimentError) else None
        if isinstance(error, TargetExists):
            status.say(f"Error: {error}", operation=operation)
            status.say("Error: Restore Canceled", "Faulted", operation)
        else:
            status.say(f"Error: Unable to restore database {name} because: {with_hint(error)}", "Faulted", operation)
        raise
    for note in plan.notes:
        status.say(f"Note: {note}", operation=operation)
    status.say(f"The new database {name} was created", "Completed", operation)


def _list(databases: Databases, backup: Backup, target: Path, name: str) -> None:
    """List the database that was restored; where that can not be done, nothing is left of it."""
    try:
        document = _document(backup, target)
        databases.system.database.put(DATABASES + name, {**document, "Id": DATABASES + name}, etag=0)
    except BaseException:
        if all(target != taken for other, taken in databases.folders() if fold(other) != fold(name)):
            with telling(f"that {target} is no database of this server"):
                remove_database(target)
        raise


def _document(backup: Backup, target: Path) -> dict[str, Any]:
    """The database's document of the backup, for its new place."""
    try:
        document = decode(database_document(backup))
    except InvalidDocument:
        document = {}
    kept = document.get("Settings") if isinstance(document, dict) else None
    paths = ("raven/datadir", "raven/indexstoragepath", "raven/esent/logspath", "raven/transactionjournalspath")
    settings = {key: value for key, value in (kept or {}).items() if key.lower() not in paths}
    told = document if isinstance(document, dict) else {}
    return {**told, "Settings": {**settings, DATA_DIR: str(target)}, "Disabled": False}
