"""Restoring a backup into a new database while the others go on being served."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any, Final

from muniment.backup.child import restore_in_child
from muniment.backup.job import Job, amount, with_hint
from muniment.backup.plan import RestorePlan
from muniment.backup.reader import Moment
from muniment.backup.repository import Backup
from muniment.document import decode, fold, from_microseconds, rfc3339
from muniment.errors import (
    BackupNotFound,
    Forbidden,
    InvalidDocument,
    InvalidInput,
    MunimentError,
    TargetExists,
)
from muniment.limits import NO_LIMITS, Limits
from muniment.raven3.encryption import KEY, SECURED, with_bundle
from muniment.raven3.messages import Accepted, RestoreWanted
from muniment.raven3.names import DATA_DIR, DATABASES, RESTORE_IN_PROGRESS, RESTORE_STATUS
from muniment.raven3.queries import RestoreOptions
from muniment.security.access import Right
from muniment.security.encryption import EncryptionKey
from muniment.server.permission import require
from muniment.server.places import Places, check_unmoved
from muniment.server.points import plan_for, selection_of
from muniment.server.request import Request
from muniment.server.secured import is_secret, key_in_settings, keys_of, wrapped
from muniment.server.tenants import Databases, check_name
from muniment.server.wire import Refused, Response, json_response
from muniment.storage import engines
from muniment.storage.location import Address
from muniment.storage.retention import PARTITIONS
from muniment.telling import telling

POLL_SECONDS: Final = 0.1


async def start(request: Request) -> Response:
    """Begin to restore a moment of the backups in a folder, or a part of it, into a new database."""
    wanted, asked = await _wanted(request), request.asked(RestoreOptions)
    begun = await begin(request, wanted, defrag=asked.defrag, limits=asked.on(NO_LIMITS))
    return json_response(Accepted(begun), 202)


async def begin(request: Request, wanted: RestoreWanted, *, defrag: bool = False, limits: Limits = NO_LIMITS) -> int:
    """Begin to restore into a new database; gives the number of the job."""
    app, databases = request.server, request.server.databases
    selection = selection_of(wanted)
    places, plan, name, target = await _planned(request, wanted)
    secured = wanted.secured_settings
    key = _key(databases, name, secured) if secured else None
    await _wait_for_other(request, wanted.restore_start_timeout)
    _check_new(databases, name)
    if app.restoring is not None:  # another request was quicker
        raise _in_progress(app.restoring)
    databases.take(name, target, "being restored")
    app.restoring = name
    try:
        if other := await asyncio.to_thread(databases.notes.take, RESTORE_STATUS):  # as was another server
            raise _in_progress(other)
    except BaseException:
        databases.give_back(name)
        app.restoring = None
        raise
    defrag = bool(wanted.defrag) or defrag
    new_id = bool(wanted.generate_new_database_id)

    notes = list(plan.notes)

    def work(job: Job[Moment]) -> Moment:
        job.say(f"Starting to restore {name} from {plan.backup.folder} to {target}")
        check_unmoved(*places)
        restored = restore_in_child(
            plan, target, selection=selection, defrag=defrag, new_id=new_id, progress=job.progress, key=key
        )
        moment, notes[:] = restored.moment, restored.notes
        state = f"the state of {rfc3339(from_microseconds(moment.modified))}, etag {moment.etag:,}"
        part = ", a part of it" if selection else "; its fingerprint was proven"
        job.say(f"Restored {amount(job.progress)} of {state}{part}")
        _list(databases, plan.backup, target, name, secured)
        return moment

    def closing(job: Job[Moment]) -> Iterator[str]:
        if isinstance(job.error, TargetExists):
            yield from (f"Error: {job.error}", "Error: Restore Canceled")
        elif job.error:
            yield f"Error: Unable to restore database {name} because: {with_hint(job.error)}"
        else:
            yield from (f"Note: {note}" for note in notes)
            if plan.encrypted and key is None:
                yield f"Note: the backups are encrypted, and {name} is in clear: {SECURED} had no key for it"
            yield f"The new database {name} was created"

    def release() -> None:
        databases.give_back(name)
        app.restoring = None
        databases.notes.tell({RESTORE_IN_PROGRESS: None})
        databases.notes.give_back(RESTORE_STATUS)

    try:
        origin = plan.manifest.database.name
        job = Job("restore", work, closing)
        job.limits = limits
        operation = app.operations.new(job, name, request.who, origin=origin)
        operation.place, operation.on_end = str(places[0]), release
        await asyncio.to_thread(databases.notes.tell, {RESTORE_STATUS: None, RESTORE_IN_PROGRESS: {"Resource": name}})
        databases.notes.follow(RESTORE_STATUS, operation)
        app.operations.start(operation)
    except BaseException:
        release()
        raise
    return operation.id


async def _planned(request: Request, wanted: RestoreWanted) -> tuple[list[Path], RestorePlan, str, Path]:
    """Where the backups are and copies of them, the plan, and the name and folder of the new database.

    Raises `Refused` without a right.

    Who names the database needs the right for it before anything is read; another has the name that the backup has.
    """
    name, databases = wanted.database_name, request.server.databases
    opening = await asyncio.to_thread(_opening, databases, wanted)
    if name:
        require(request, name, Right.RESTORE)
        target = _new_place(request, name, wanted.database_location)
        places, plan, _ = await plan_for(request, wanted, Right.RESTORE, key=opening)
    else:
        try:
            places, plan, _ = await plan_for(request, wanted, Right.RESTORE, key=opening)
        except BackupNotFound as error:
            if wanted.backup is not None or wanted.lineage is not None:
                raise
            raise await asyncio.to_thread(_nameless, databases, str(error)) from error
        name = await _name_in(plan.backup, databases)
        require(request, name, Right.RESTORE)
        target = _new_place(request, name, wanted.database_location)
    return places, plan, name, target


async def plan(request: Request) -> Response:
    """What a restore would read, and the exact transaction at which it would stop; nothing is written."""
    wanted = await _wanted(request)
    opening = await asyncio.to_thread(_opening, request.server.databases, wanted)
    selection_of(wanted)
    if wanted.database_name:
        require(request, wanted.database_name, Right.BACKUP, Right.RESTORE)
        _new_place(request, wanted.database_name, wanted.database_location)
    _, _, told = await plan_for(request, wanted, Right.BACKUP, Right.RESTORE, key=opening)
    return json_response(told)


async def _wanted(request: Request) -> RestoreWanted:
    if request.name is not None:
        raise Refused(400, "a restore is asked of the server, not of a database", bare=True)
    return await request.message(RestoreWanted)


def _new_place(request: Request, name: str, location: str | None) -> Path:
    """The folder for a new database; raises `Refused` when the name or the folder is taken or cannot be had."""
    databases = request.server.databases
    check_name(name)
    _check_new(databases, name)
    target = databases.places.data(location or databases.places.restored(name), within=request.caller.data_roots)
    databases.check_folder(name, target)
    engines.check_outside(target)
    usual = (databases.data_dir, (databases.data_dir / "Databases").resolve())
    if (
        target.parent in usual
        and fold(target.name) != fold(name)
        and not request.caller.access.allows(None, (Right.ADMIN,))
    ):
        raise Forbidden(f"{location!r} is where a database {target.name} would be", "use the folder of its own name")
    return target


def _check_new(databases: Databases, name: str) -> None:
    if databases.document(name):
        message = f"Cannot do an online restore for an existing database, delete the database {name} and restore again."
        raise Refused(400, message, bare=True)


async def _name_in(backup: Backup, databases: Databases) -> str:
    """The name that a backup has kept; raises `Refused` when there is none."""

    def read() -> str:
        try:
            name = decode(backup.read_database_document()).get("Id")
        except (MunimentError, AttributeError) as error:
            raise _nameless(databases, str(error)) from error
        if not isinstance(name, str) or not name:
            raise _nameless(databases, "the backup location has no Database.Document")
        return name.removeprefix(DATABASES)

    return await asyncio.to_thread(read)


def _nameless(databases: Databases, why: str) -> Refused:
    """RavenDB's answer to a restore without a name, when the backup has none either."""
    message = f"A database name must be supplied if the backup has none: {why}"
    databases.notes.tell({RESTORE_STATUS: {"State": "Faulted", "Messages": [f"Error: {message}"]}})
    return Refused(400, message, bare=True)


def _in_progress(name: str) -> Refused:
    """RavenDB's answer to a second restore."""
    return Refused(503, f"Another restore is still in progress for database named {name}", bare=True)


async def _wait_for_other(request: Request, seconds: int | None) -> None:
    """Wait until no restore runs, up to so many seconds; raises `Refused` (503)."""
    app = request.server
    until = monotonic() + (seconds or 0)
    notes = app.databases.notes
    while (running := app.restoring or await asyncio.to_thread(notes.holder, RESTORE_STATUS)) is not None:
        if seconds is None:
            raise _in_progress(running)
        if monotonic() >= until:
            waited = f"Waited for {seconds} seconds"
            message = f"{waited}; another restore is still in progress for database named {running}"
            raise Refused(503, message, bare=True)
        await asyncio.sleep(POLL_SECONDS)


def _list(databases: Databases, backup: Backup, target: Path, name: str, secured: dict[str, str] | None) -> None:
    """List the database that was restored; where that cannot be done, nothing is left of it."""
    try:
        document = wrapped(databases.master, name, _document(backup, databases.places, target, secured), None)
        databases.system.database.put(DATABASES + name, {**document, "Id": DATABASES + name}, etag=0)
    except BaseException:
        if all(target != taken for other, taken in databases.folders() if fold(other) != fold(name)):
            with telling(f"that {target} is no database of this server"):
                engines.remove(target)
        raise


def _opening(databases: Databases, wanted: RestoreWanted) -> EncryptionKey | None:
    """The key for the new database, which opens the backups of one that had it; raises `InvalidInput` for none."""
    if not (secured := wanted.secured_settings):
        return None
    if (key := key_in_settings(databases.master, wanted.database_name or "", secured)) is None:
        raise InvalidInput(f"there is no {KEY} in {SECURED}", "give it, or leave them out for a database in clear")
    return key


def _key(databases: Databases, name: str, secured: dict[str, str]) -> EncryptionKey:
    """The key of the new database; raises `InvalidInput` when there is none."""
    settings = with_bundle({}, encrypted=True)
    kept = wrapped(databases.master, name, {"Settings": settings, SECURED: secured}, None)
    return keys_of(databases.master, name, kept)[0]


def _document(backup: Backup, places: Places, target: Path, secured: dict[str, str] | None) -> dict[str, Any]:
    """The database's document of the backup, for its new place; whatever key it has is left there."""
    try:
        found = decode(backup.read_database_document())
    except InvalidDocument:
        found = None
    told: dict[str, Any] = found if isinstance(found, dict) else {}
    told = {name: value for name, value in told.items() if name.lower() != SECURED.lower()}
    others = (
        "raven/datadir",
        "raven/indexstoragepath",
        "raven/esent/logspath",
        "raven/transactionjournalspath",
        PARTITIONS.lower(),
    )
    kept = told.get("Settings") or {}
    settings = {key: value for key, value in kept.items() if key.lower() not in others and not is_secret(key)}
    if isinstance(target, Address) and target.partitions:
        settings[PARTITIONS] = str(target.partitions)
    settings = with_bundle({**settings, DATA_DIR: places.spelled(target)}, encrypted=bool(secured))
    return {**told, "Settings": settings, SECURED: secured, "Disabled": False}
