"""What is done with the databases of a server as a whole: making, configuring, backing up, restoring."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, Unpack

import msgspec

from muniment.backup.alerts import NO_POLICY, Alert, Policy
from muniment.backup.moment import NEWEST, PointKeywords, RestorePoint
from muniment.backup.recoverability import Recoverability
from muniment.backup.selection import Selection, check_selection
from muniment.client.documents import JSON
from muniment.client.failure import failure
from muniment.client.jobs import Job
from muniment.client.operations import AsyncRemoteJob, RemoteJob
from muniment.client.retry import call
from muniment.client.transport import AsyncRemote, Remote
from muniment.client.wire import Flow, Request, Response, parsed, root_of, target
from muniment.document import encode
from muniment.errors import DatabaseNotFound, InvalidInput, NotFound, TargetExists
from muniment.faces import both
from muniment.limits import NO_LIMITS, Limits
from muniment.raven3.encryption import SECURED, secured_settings_of, with_bundle
from muniment.raven3.messages import Accepted, Frozen, RestoreIntoWanted, RestoreWanted, RotationWanted
from muniment.raven3.names import (
    BACKUP_STATUS,
    COMPACT_STATUS,
    DATABASES,
    MAX_PAGE,
    RESTORE_STATUS,
    ROTATE_STATUS,
    SYSTEM,
)
from muniment.security.encryption import Algorithm, EncryptionKey, algorithm_in, given_key
from muniment.settings import is_confidential
from muniment.storage.freeze import SECONDS
from muniment.storage.retention import changed_settings

FREEZE_SECONDS: Final = 120.0  # the server first brings to disk what was written
COMPACT_SECONDS: Final = 120.0  # the server first waits until nobody uses the database
START_TIMEOUT: Final = 15
SLACK: Final = 15.0  # seconds that a server may need on top of what it was asked to wait

if TYPE_CHECKING:  # it brings the whole of restoring
    from muniment.backup.restore_into import OnConflict

J = TypeVar("J")


class BothAdministrations(Generic[J]):
    """What is done with databases as a whole. Paths are those of the server's machine."""

    _job: Callable[[Job, Any], J]

    def __init__(self, transport: Any, database: str) -> None:
        self._transport = transport
        self._database = database
        self._root = root_of(database)

    @both
    def start_backup(
        self,
        destination: str | os.PathLike[str],
        incremental: bool = False,
        *,
        also: Sequence[str | os.PathLike[str]] = (),
        new_chain: bool = False,
        skip_damaged: bool = False,
        recipients: Sequence[str] | None = None,
        in_clear: bool = False,
        include_encryption_key: bool = False,
        limits: Limits = NO_LIMITS,
    ) -> Flow[J]:
        """Begin a backup of the store's database into a folder, and into `also`, and return at once.

        The flags and `also` are those of `MaintenanceActions.start_backup`. Raises `BackupRunning` while another one
        runs. What the server finds wrong with the folder is the job's failure. `recipients` are public keys that it is
        encrypted for, instead of those that the server's settings name; a passphrase is never sent. They, `in_clear`
        and `include_encryption_key` need the right `admin` for the database, or raise `AccessDenied`.
        """
        wanted: dict[str, Any] = {"BackupLocation": _location(destination), "DatabaseDocument": None}
        if also:
            wanted["AlsoTo"] = [_location(each) for each in also]
        if recipients is not None:
            wanted["Recipients"] = list(recipients)
        body = encode({**wanted, "InClear": True} if in_clear else wanted)
        flags = {
            "incremental": incremental,
            "new-chain": new_chain,
            "skip-damaged": skip_damaged,
            "include-encryption-key": include_encryption_key,
        }
        query = [(flag, "true") for flag, value in flags.items() if value] + [*limits.texts().items()]
        path = target(*self._root, "admin", "backup", query=query)
        number = yield from _accepted(Request("POST", path, body, JSON))
        return self._job(Job("backup", number, self._root, BACKUP_STATUS), self._transport)

    @both
    def recoverability(self) -> Flow[Recoverability]:
        """How far the store's database could be recovered from the folders it was backed up to, and what to do next."""
        request = Request("GET", target(*self._root, "backups"), repeatable=True)
        return parsed((yield from call(request, 200)), Recoverability)

    @both
    def alerts(self, policy: Policy = NO_POLICY) -> Flow[list[Alert]]:
        """What is wrong with the backups of the store's database, the most urgent first.

        Where the policy says nothing, the server's settings say it.
        """
        query = [
            (name, f"{seconds}s") for name, seconds in msgspec.structs.asdict(policy).items() if seconds is not None
        ]
        request = Request("GET", target(*self._root, "alerts", query=query), repeatable=True)
        return parsed((yield from call(request, 200)), list[Alert])

    @both
    def start_restore(
        self,
        backup_location: str | os.PathLike[str],
        database_name: str | None = None,
        location: str | os.PathLike[str] | None = None,
        defrag: bool = False,
        start_timeout: int = START_TIMEOUT,
        *,
        point: RestorePoint = NEWEST,
        selection: Selection | None = None,
        new_id: bool = False,
        copies: Sequence[str | os.PathLike[str]] = (),
        limits: Limits = NO_LIMITS,
        require_signature: Sequence[str] = (),
        allow_clear: bool = False,
        key: EncryptionKey | str | bytes | None = None,
        plain_http: bool = False,
        **named: Unpack[PointKeywords],
    ) -> Flow[J]:
        """Begin the restore of a moment into a new database, named as in the backup when no name is given.

        The moment is the newest that the folder holds, or one named as for `MaintenanceActions.restore`; what cannot
        be reached is refused at once. `copies` are other places with the same backups: what is damaged or missing in
        the first is read from there, and the job's messages say so. `limits` say how fast it may be, and when. When
        another restore runs, its end is waited for up to `start_timeout` seconds.
        `new_id` makes another database of it, which the folder of these backups then refuses. `require_signature` names
        public keys of which one must have signed the backups; with `allow_clear` they may be in clear, which a server
        that has what opens encrypted ones refuses. With `key`, sent as for `create_database`, the new
        database is encrypted; it opens the backups of a database that had it. What opens others is in the server's
        settings.
        """
        wanted = RestoreWanted(
            **_part(backup_location, replace(point, **named), selection, require_signature, allow_clear, copies),
            database_name=database_name,
            database_location=None if location is None else _location(location),
            defrag=defrag,
            restore_start_timeout=start_timeout,
            generate_new_database_id=new_id or None,
            secured_settings=self._secured(key, plain_http=plain_http),
        )
        query = [("defrag", str(defrag).lower()), *limits.texts().items()]
        path = target("admin", "restore", query=query)
        request = Request("POST", path, encode(msgspec.to_builtins(wanted)), JSON, timeout=start_timeout + SLACK)
        number = yield from _accepted(request)
        return self._job(Job("restore", number, (), RESTORE_STATUS), self._transport)

    @both
    def plan_restore(
        self,
        backup_location: str | os.PathLike[str],
        database_name: str | None = None,
        *,
        point: RestorePoint = NEWEST,
        selection: Selection | None = None,
        copies: Sequence[str | os.PathLike[str]] = (),
        require_signature: Sequence[str] = (),
        allow_clear: bool = False,
        key: EncryptionKey | str | bytes | None = None,
        plain_http: bool = False,
        **named: Unpack[PointKeywords],
    ) -> Flow[dict[str, Any]]:
        """What such a restore would read (files, rows, bytes), and the etag and time of the transaction it stops at.

        Raises what that restore would raise before it began.
        """
        part = _part(backup_location, replace(point, **named), selection, require_signature, allow_clear, copies)
        secured = self._secured(key, plain_http=plain_http)
        wanted = RestoreWanted(**part, database_name=database_name, secured_settings=secured)
        body = encode(msgspec.to_builtins(wanted))
        request = Request("POST", target("admin", "restore", "plan"), body, JSON, repeatable=True)
        return parsed((yield from _answer(request)), dict[str, Any])

    @both
    def start_restore_into(
        self,
        backup_location: str | os.PathLike[str],
        on_conflict: OnConflict | None = None,
        *,
        point: RestorePoint = NEWEST,
        selection: Selection | None = None,
        other_database: bool = False,
        dry_run: bool = False,
        copies: Sequence[str | os.PathLike[str]] = (),
        limits: Limits = NO_LIMITS,
        require_signature: Sequence[str] = (),
        allow_clear: bool = False,
        **named: Unpack[PointKeywords],
    ) -> Flow[J]:
        """Begin to bring a moment of the backups, or a part of it, back into the store's database while it is used.

        `on_conflict` and the rest are as for `MaintenanceActions.restore_into`, `copies` and `limits` as for
        `start_restore`; the server works in the folder of the
        database. With `dry_run`, or without `on_conflict`, it only compares. The job's status has the `difference`,
        and its `changes` are the ids.
        """
        wanted = RestoreIntoWanted(
            **_part(backup_location, replace(point, **named), selection, require_signature, allow_clear, copies),
            on_conflict=on_conflict,
            dry_run=dry_run or on_conflict is None,
            other_database=other_database,
        )
        path = target(*self._root, "admin", "restore-into", query=[*limits.texts().items()])
        number = yield from _accepted(Request("POST", path, encode(msgspec.to_builtins(wanted)), JSON))
        return self._job(Job("restore", number), self._transport)

    @both
    def compact(self, database: str | None = None) -> Flow[J]:
        """Begin to compact a database, by default the store's, which nobody can use meanwhile."""
        name = database or self._database
        path = target("admin", "compact", query=[("database", name)])
        number = yield from _accepted(Request("POST", path, b"", timeout=COMPACT_SECONDS))
        return self._job(Job("compaction", number, (), COMPACT_STATUS + name), self._transport)

    @both
    def rotate_key(
        self,
        new_key: EncryptionKey | str | bytes,
        database: str | None = None,
        *,
        algorithm: Algorithm | str | None = None,
        plain_http: bool = False,
    ) -> Flow[J]:
        """Begin to give an encrypted database, by default the store's, another key; nobody can use it meanwhile.

        It is encrypted by the algorithm that it has, if none is named. The key is sent as for `create_database`.
        """
        name, key = database or self._database, given_key(new_key, None)
        assert key is not None
        self._check_private(plain_http=plain_http)
        wanted = RotationWanted(key.text, None if algorithm is None else algorithm_in(algorithm).value)
        path = target("admin", "encryption", "rotate", query=[("database", name)])
        number = yield from _accepted(Request("POST", path, encode(msgspec.to_builtins(wanted)), JSON))
        return self._job(Job("rotation", number, (), ROTATE_STATUS + name), self._transport)

    @both
    def freeze(self, seconds: int = SECONDS) -> Flow[Frozen]:
        """Have the files of the store's database stand still for up to so many seconds, for a tool that copies them.

        They hold the state that it tells, complete and on disk. Reads go on; writes are held until `thaw`. Raises
        `Conflict` while it is frozen already.
        """
        path = target(*self._root, "admin", "freeze", query=[("timeout", f"{seconds}s")])
        return parsed((yield from call(Request("POST", path, b"", JSON, timeout=FREEZE_SECONDS), 200)), Frozen)

    @both
    def thaw(self, freeze: str | None = None) -> Flow[Frozen]:
        """End a freeze, of any id if none is given.

        Raises `Conflict` when it is over already: then what was copied may be of several moments.
        """
        path = target(*self._root, "admin", "thaw", query=[] if freeze is None else [("freeze", freeze)])
        return parsed((yield from call(Request("POST", path, b"", JSON), 200)), Frozen)

    @both
    def create_database(
        self,
        name: str,
        settings: Mapping[str, str] | None = None,
        *,
        key: EncryptionKey | str | bytes | None = None,
        plain_http: bool = False,
    ) -> Flow[None]:
        """Make a database, encrypted if a key is given. `settings` are RavenDB's, like `Raven/DataDir`.

        The key is sent to the server, which keeps it wrapped: over https or to this machine, or with `plain_http` so
        that whoever is between can read it. Raises when there is a database of this name.
        """
        _check_name(name)
        document = {"Id": DATABASES + name, "Settings": dict(settings or {}), "Disabled": False}
        if secured := self._secured(key, plain_http=plain_http):
            document |= {"Settings": with_bundle(settings or {}, encrypted=True), SECURED: secured}
        body = encode(document)
        request = Request("PUT", target("admin", "databases", name), body, JSON, subjects=(name,))
        yield from _answer(request, 201)

    @both
    def delete_database(self, name: str, *, hard: bool = False) -> Flow[None]:
        """Forget a database; with `hard`, delete its files too."""
        _check_name(name)
        path = target("admin", "databases", name, query=[("hard-delete", str(hard).lower())])
        yield from _answer(Request("DELETE", path, subjects=(name,)), 204)

    @both
    def settings(self) -> Flow[dict[str, str]]:
        """The settings of the store's database."""
        return _settings_of((yield from _database_document(self._database))[0])

    @both
    def configure(self, settings: Mapping[str, str | None], *, replace: bool = False) -> Flow[dict[str, str]]:
        """Change settings of the store's database, as `DocumentDatabase.configure` does; nobody can use it meanwhile.

        The settings that say where its files are stay, also with `replace`.
        """
        while True:
            document, etag = yield from _database_document(self._database)
            present = _settings_of(document)
            others = {} if replace else {key: value for key, value in _all_of(document).items() if key not in present}
            body = encode({**document, "Settings": others | changed_settings(present, settings, replace=replace)})
            path, headers = target("admin", "databases", self._database), (*JSON, ("If-None-Match", etag))
            response = yield from call(Request("PUT", path, body, headers), 200, 409)
            if response.status == 200:
                return _settings_of((yield from _database_document(self._database))[0])

    @both
    def databases(self) -> Flow[list[str]]:
        """The names of all databases but the system database."""
        names: list[str] = []
        while True:
            query = [("start", str(len(names))), ("pageSize", str(MAX_PAGE))]
            request = Request("GET", target("databases", query=query), repeatable=True)
            page = parsed((yield from call(request, 200)), list[str])
            names += page
            if len(page) < MAX_PAGE:
                return names

    @both
    def build_version(self) -> Flow[dict[str, object]]:
        """`ProductVersion` and `BuildVersion` of the server."""
        request = Request("GET", target("build", "version"), repeatable=True)
        return parsed((yield from call(request, 200)), dict[str, object])

    def _secured(self, key: EncryptionKey | str | bytes | None, *, plain_http: bool) -> dict[str, str] | None:
        """What is sent of a key, None when there is none."""
        if (found := given_key(key, None)) is None:
            return None
        self._check_private(plain_http=plain_http)
        return secured_settings_of(found)

    def _check_private(self, *, plain_http: bool) -> None:
        """Raises `InvalidInput` where somebody between could read a key, unless that was said to be all right."""
        url: str = self._transport.url
        if not (plain_http or is_confidential(url)):
            raise InvalidInput(
                f"{url} would be sent the key of a database unencrypted, and nothing was sent",
                "use https, or if your network keeps strangers out, say so: --plain-http, in Python plain_http=True",
            )


class Administration(BothAdministrations[RemoteJob], Remote):
    __doc__ = BothAdministrations.__doc__

    _job = RemoteJob


class AsyncAdministration(BothAdministrations[AsyncRemoteJob], AsyncRemote):
    """`Administration` in asyncio."""

    _job = AsyncRemoteJob


def _part(
    folder: str | os.PathLike[str],
    point: RestorePoint,
    selection: Selection | None,
    signers: Sequence[str],
    allow_clear: bool,
    copies: Sequence[str | os.PathLike[str]],
) -> dict[str, Any]:
    """The members of `messages.MomentWanted` for a moment of the backups in a folder of the server, or a part of it."""
    check_selection(selection)
    part = selection or Selection()
    return {
        "backup_location": _location(folder),
        "at": None if point.at is None else point.at.isoformat(),
        "etag": point.etag,
        "backup": point.backup,
        "lineage": point.lineage,
        "require_signature": list(signers) or None,
        "allow_clear": allow_clear or None,
        "collections": sorted(part.collections) or None,
        "ids": sorted(part.ids) or None,
        "id_prefixes": list(part.prefixes) or None,
        "copies": [_location(each) for each in copies] or None,
    }


def _accepted(request: Request) -> Flow[int | None]:
    response = yield from _answer(request, 201, 202)
    return parsed(response, Accepted).operation_id if response.body.strip() else None


def _answer(request: Request, *others: int) -> Flow[Response]:
    """The answer, with 200 or one of these statuses; of what RavenDB has one status for, the error says what it is."""
    response = yield from call(request, 200, *others, 400, 404)
    if response.status < 400:
        return response
    error = failure(request, response)
    if type(error) is NotFound:
        raise DatabaseNotFound(error.message, "`muniment databases list` shows those that exist")
    if response.status == 400 and "existing database" in error.message:
        raise TargetExists(error.message, "give another name, or say how to restore into that one (--on-conflict)")
    if response.status == 400 and "already" in error.message:
        raise TargetExists(error.message, error.hint or "give another name, or delete that database")
    raise error


def _location(place: str | os.PathLike[str]) -> str:
    if isinstance(place, PurePath) and not place.is_absolute():
        raise InvalidInput(f"{place} is relative to this program's folder", "name a place on the server's machine")
    return os.fspath(place)


def _database_document(name: str) -> Flow[tuple[dict[str, Any], str]]:
    """What describes a database, and the etag of that."""
    _check_name(name)
    request = Request("GET", target("admin", "databases", name), repeatable=True)
    response = yield from _answer(request)
    return parsed(response, dict[str, Any]), response.headers["ETag"]


def _settings_of(document: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in _all_of(document).items() if isinstance(value, str)}


def _all_of(document: dict[str, Any]) -> dict[str, Any]:
    found = document.get("Settings")
    return found if isinstance(found, dict) else {}


def _check_name(name: str) -> None:
    if not name or name == SYSTEM:
        raise InvalidInput(f"{name!r} cannot be made or deleted", "name a database other than the system database")
