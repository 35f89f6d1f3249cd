"""What is asked of a server as a whole: databases, backups, restores, operations."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

import msgspec

from muniment.backup.moment import NEWEST, RestorePoint
from muniment.backup.recoverability import Recoverability
from muniment.backup.restore_into import OnConflict
from muniment.backup.selection import Selection, check_selection
from muniment.client.documents import JSON
from muniment.client.failure import failure
from muniment.client.jobs import Job
from muniment.client.retry import call
from muniment.client.wire import Flow, Request, parsed, root_of, target
from muniment.document import encode
from muniment.errors import DatabaseNotFound, InvalidInput, MunimentError, NotFound, TargetExists
from muniment.raven3.names import BACKUP_STATUS, COMPACT_STATUS, DATABASES, MAX_PAGE, RESTORE_STATUS, SYSTEM
from muniment.storage.retention import changed_settings

COMPACT_SECONDS: Final = 120.0  # the server first waits until nobody uses the database
START_TIMEOUT: Final = 15
SLACK: Final = 15.0  # seconds that a server may need on top of what it was asked to wait


class _Accepted(msgspec.Struct):
    operation: int | None = msgspec.field(name="OperationId", default=None)


@dataclass(frozen=True, slots=True)
class Operation:
    """A job that a server is doing or has done."""

    id: int
    status: str
    type: str
    description: str
    error: str


class _Task(msgspec.Struct):
    id: int = msgspec.field(name="Id")
    status: str = msgspec.field(name="Status", default="")
    type: str = msgspec.field(name="TaskType", default="")
    description: str | None = msgspec.field(name="Description", default=None)
    error: str | None = msgspec.field(name="ExceptionText", default=None)


def start_backup(
    name: str,
    destination: str | os.PathLike[str],
    incremental: bool,
    new_chain: bool = False,
    skip_damaged: bool = False,
) -> Flow[Job]:
    """Begins a backup of a database into a folder of the server."""
    root = root_of(name)
    body = encode({"BackupLocation": _location(destination), "DatabaseDocument": None})
    flags = {"incremental": incremental, "new-chain": new_chain, "skip-damaged": skip_damaged}
    query = [(flag, "true") for flag, value in flags.items() if value]
    path = target(*root, "admin", "backup", query=query)
    accepted = yield from _accepted(Request("POST", path, body, JSON))
    return Job("backup", accepted, root, BACKUP_STATUS)


def recoverability(name: str) -> Flow[Recoverability]:
    """How far a database could be recovered."""
    request = Request("GET", target(*root_of(name), "backups"), repeatable=True)
    return parsed((yield from call(request, 200)), Recoverability)


@dataclass(frozen=True, slots=True)
class Part:
    """The backups in a folder of the server, a moment of them (the newest when none is named), and a part of that."""

    source: str | os.PathLike[str]
    point: RestorePoint = NEWEST
    selection: Selection | None = None

    def __post_init__(self) -> None:
        check_selection(self.selection)

    def members(self) -> dict[str, Any]:
        """For the body of a request; what is not said is left out, as RavenDB's servers do not know it."""
        part = self.selection or Selection()
        told = {
            "BackupLocation": _location(self.source),
            "At": None if self.point.at is None else self.point.at.isoformat(),
            "Etag": self.point.etag,
            "Backup": self.point.backup,
            "Lineage": self.point.lineage,
            "Collections": sorted(part.collections),
            "Ids": sorted(part.ids),
            "IdPrefixes": list(part.prefixes),
        }
        return {name: value for name, value in told.items() if value is not None and value != []}


def start_restore(
    part: Part,
    name: str | None,
    location: str | os.PathLike[str] | None,
    defrag: bool,
    start_timeout: int,
    new_id: bool = False,
) -> Flow[Job]:
    """Begins a restore into a new database."""
    body = {
        **part.members(),
        "DatabaseName": name,
        "DatabaseLocation": None if location is None else _location(location),
        "Defrag": defrag,
        "RestoreStartTimeout": start_timeout,
        **({"GenerateNewDatabaseId": True} if new_id else {}),
    }
    path = target("admin", "restore", query=[("defrag", str(defrag).lower())])
    request = Request("POST", path, encode(body), JSON, timeout=start_timeout + SLACK)
    return Job("restore", (yield from _accepted(request)), (), RESTORE_STATUS)


def plan_restore(part: Part, name: str | None) -> Flow[dict[str, Any]]:
    """What a restore would read."""
    body = encode({**part.members(), "DatabaseName": name})
    request = Request("POST", target("admin", "restore", "plan"), body, JSON, repeatable=True)
    response = yield from call(request, 200, 400)
    if response.status == 400:
        raise _existing(failure(request, response))
    return parsed(response, dict[str, Any])


def start_restore_into(
    name: str, part: Part, on_conflict: OnConflict | None, dry_run: bool, other_database: bool
) -> Flow[Job]:
    """Begins a restore into a database that there is, or a comparison with it."""
    told = {"OnConflict": on_conflict, "DryRun": dry_run, "OtherDatabase": other_database}
    path = target(*root_of(name), "admin", "restore-into")
    request = Request("POST", path, encode({**part.members(), **told}), JSON)
    return Job("restore", (yield from _accepted(request)))


def start_compact(name: str) -> Flow[Job]:
    """Begins to compact a database."""
    request = Request("POST", target("admin", "compact", query=[("database", name)]), b"", timeout=COMPACT_SECONDS)
    return Job("compaction", (yield from _accepted(request)), (), COMPACT_STATUS + name)


def _accepted(request: Request) -> Flow[int | None]:
    response = yield from call(request, 200, 201, 202, 400, 404)
    if response.status == 400:
        raise _existing(failure(request, response))
    if response.status == 404:
        error = failure(request, response)
        if type(error) is NotFound:  # which is all that RavenDB says
            error = DatabaseNotFound(error.message, "`muniment databases list` shows those that exist")
        raise error
    return parsed(response, _Accepted).operation if response.body.strip() else None


def _location(place: str | os.PathLike[str]) -> str:
    if isinstance(place, PurePath) and not place.is_absolute():
        raise InvalidInput(f"{place} is relative to this program's folder", "name a place on the server's machine")
    return os.fspath(place)


def create_database(name: str, settings: Mapping[str, str] | None) -> Flow[None]:
    """Makes a database; its settings are those of RavenDB's database document."""
    _check_name(name)
    body = encode({"Id": DATABASES + name, "Settings": dict(settings or {}), "Disabled": False})
    request = Request("PUT", target("admin", "databases", name), body, JSON, subjects=(name,))
    response = yield from call(request, 200, 201, 400)
    if response.status == 400:
        raise _existing(failure(request, response))


def settings(name: str) -> Flow[dict[str, str]]:
    """The settings of a database."""
    return _settings_of((yield from _database_document(name))[0])


def configure(name: str, changes: Mapping[str, str | None], replace: bool) -> Flow[dict[str, str]]:
    """Changes settings of a database, and again when somebody else has changed them meanwhile."""
    while True:
        document, etag = yield from _database_document(name)
        present = _settings_of(document)
        others = {} if replace else {key: value for key, value in _all_of(document).items() if key not in present}
        body = encode({**document, "Settings": others | changed_settings(present, changes, replace=replace)})
        headers = (*JSON, ("If-None-Match", etag))
        response = yield from call(Request("PUT", target("admin", "databases", name), body, headers), 200, 409)
        if response.status == 200:
            return (yield from settings(name))


def _database_document(name: str) -> Flow[tuple[dict[str, Any], str]]:
    """What describes a database, and the etag of that."""
    _check_name(name)
    request = Request("GET", target("admin", "databases", name), repeatable=True)
    response = yield from call(request, 200, 404)
    if response.status == 404:
        raise DatabaseNotFound(failure(request, response).message, "`muniment databases list` shows those that exist")
    return parsed(response, dict[str, Any]), response.headers["ETag"]


def _settings_of(document: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in _all_of(document).items() if isinstance(value, str)}


def _all_of(document: dict[str, Any]) -> dict[str, Any]:
    found = document.get("Settings")
    return found if isinstance(found, dict) else {}


def _existing(error: MunimentError) -> MunimentError:
    """RavenDB's protocol has one status for a name that is taken and for one that is not allowed."""
    taken = "already" in error.message or "existing database" in error.message
    return TargetExists(error.message, error.hint or "give another name, or delete that database") if taken else error


def delete_database(name: str, hard: bool) -> Flow[None]:
    """Forgets a database, and deletes its files when that is asked for."""
    _check_name(name)
    path = target("admin", "databases", name, query=[("hard-delete", str(hard).lower())])
    request = Request("DELETE", path, subjects=(name,))
    response = yield from call(request, 200, 204, 404)
    if response.status == 404:
        raise DatabaseNotFound(failure(request, response).message, "`muniment databases list` shows those that exist")


def databases() -> Flow[list[str]]:
    """The names of all databases but the system database."""
    names: list[str] = []
    while True:
        query = [("start", str(len(names))), ("pageSize", str(MAX_PAGE))]
        request = Request("GET", target("databases", query=query), repeatable=True)
        page = parsed((yield from call(request, 200)), list[str])
        names += page
        if len(page) < MAX_PAGE:
            return names


def _check_name(name: str) -> None:
    if not name or name == SYSTEM:
        raise InvalidInput(f"{name!r} can not be made or deleted", "name a database other than the system database")


def operations() -> Flow[list[Operation]]:
    """The jobs that the server knows of."""
    tasks = parsed((yield from call(Request("GET", target("operations"), repeatable=True), 200)), list[_Task])
    return [Operation(task.id, task.status, task.type, task.description or "", task.error or "") for task in tasks]


def build_version() -> Flow[dict[str, Any]]:
    """`ProductVersion` and `BuildVersion` of the server."""
    return parsed((yield from call(Request("GET", target("build", "version"), repeatable=True), 200)), dict[str, Any])
