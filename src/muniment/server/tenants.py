"""The databases of a server: opened when first asked for, closed when idle, made and deleted by their documents."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from functools import lru_cache
from pathlib import Path
from time import monotonic
from typing import Any, Final, TypeVar

from muniment.api_keys import ApiKeys
from muniment.backup.staging import NAME as STAGING
from muniment.database import DocumentDatabase
from muniment.document import Document, decode, fold
from muniment.durable import make_folders, mapped_errors
from muniment.errors import DatabaseNotFound, Forbidden, InvalidInput, WrongKey
from muniment.raven3.encryption import SECURED
from muniment.raven3.names import DATA_DIR, DATABASES, SYSTEM, SYSTEM_FOLDER
from muniment.security.encryption import EncryptionKey
from muniment.server.admission import Admission, plain_settings
from muniment.server.bodies import RETRY
from muniment.server.places import Places, resolve_folder, resolve_location
from muniment.server.secured import MasterKey, has_secrets, is_rotating, keys_of, with_key
from muniment.server.status import BackupStatus, Notes
from muniment.server.wire import Refused
from muniment.storage import engines
from muniment.storage.base import Snapshot
from muniment.storage.freeze import Freeze
from muniment.storage.location import Address, address
from muniment.storage.retention import partitions_of
from muniment.telling import telling

T = TypeVar("T")
SYSTEM_HOLDS: Final = (
    "It holds the hashes of the server's keys, and which databases there are and where:"
    " keep it as you keep the server's own files"
)
LEAVE_SECONDS: Final = 30.0
ROOM_SECONDS: Final = 5.0

_FORBIDDEN: Final = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')
_RESERVED: Final = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


class Tenant:
    """A database that is open, and who is using it."""

    __slots__ = ("active", "backup", "database", "folder", "freeze", "name", "used")

    def __init__(self, name: str, database: DocumentDatabase) -> None:
        self.name = name
        self.folder = database.path
        self.database = database
        self.backup = BackupStatus(database.storage)
        self.freeze: Freeze[Snapshot] | None = None  # the last one
        self.active = 0
        self.used = monotonic()

    def leave(self) -> None:
        """A request or a job has stopped using it."""
        self.active -= 1

    @property
    def is_unused(self) -> bool:
        """Whether no request and no job is using it, and nobody copies its files."""
        return not self.active and not self.backup.running and not self.database.storage.frozen

    @property
    def lineage(self) -> str:
        """Which history of the database this is."""
        return self.database.storage.identity.lineage

    @property
    def is_system(self) -> bool:
        """Whether it is the database of the server itself."""
        return self.name == SYSTEM


class Databases:
    """All databases of a server, by name; names are compared without case."""

    def __init__(
        self,
        data_dir: Path,
        data_roots: Sequence[str] = (),
        backup_roots: Sequence[str] = (),
        most: int = 100,
        master_key_file: Path | None = None,
        *,
        old_clients: bool = False,
        storage: str = "",
    ) -> None:
        """`master_key_file` is beside the data folder if it is not given; `old_clients` lets keys be made for these."""
        self.places = Places(data_dir, data_roots, backup_roots, storage)
        self.data_dir = self.places.data_dir
        if storage:  # no database makes it then
            with mapped_errors(self.data_dir):
                make_folders(self.data_dir)
        self.system = Tenant(SYSTEM, DocumentDatabase(self.places.system, name=SYSTEM))
        self.master = MasterKey(_outside(master_key_file, self.data_dir), self._has_secrets)
        self.admission = Admission(self.system.database, self.master, old_clients=old_clients)
        self.system.database.storage.admit = self.admission
        self.open: dict[str, Tenant] = {}
        self.opens: dict[str, int] = {}  # how often each was opened
        self._most = most
        self._opening = 0
        self._making_room = asyncio.Lock()
        self._locks: dict[str, asyncio.Lock] = {}
        self._offline: dict[str, str] = {}
        self._taken: dict[str, Path] = {}
        self.notes = Notes(self.system.database)

    def document(self, name: str) -> Document | None:
        """The document that describes a database."""
        return self.system.database.get(DATABASES + name)

    def _has_secrets(self) -> bool:
        if any(has_secrets(decode(document.body)) for document in described(self.system.database)):
            return True
        return any(key is not None and key.old_clients for _, key in ApiKeys(self.system.database))

    def keys(self, document: Document) -> list[EncryptionKey]:
        """The key of the database that this document describes, and the one that it may have got meanwhile."""
        return keys_of(self.master, document.id[len(DATABASES) :], decode(document.body))

    def key(self, document: Document) -> EncryptionKey | None:
        """The key that the database has now, None when it is not encrypted; raises `WrongKey` when it has another."""
        if not (keys := self.keys(document)):
            return None
        folder = self.folder_of(document)
        if key := next((key for key in keys if engines.opens(folder, key)), None):
            return key
        raise WrongKey(f"the key of the database in {folder} is not the one in its document", "bring back that one")

    def settle_key(self, name: str) -> None:
        """Keep the one key that the database has, where its rotation was begun."""
        document = self.document(name)
        if document and is_rotating(decode(document.body)) and (key := self.key(document)):
            value = with_key(self.master, document.id[len(DATABASES) :], decode(document.body), key)
            self.store_keys(document, value)

    def store_keys(self, document: Document, value: dict[str, Any]) -> None:
        """Store what describes a database with other keys, which are wrapped, in place of this document."""
        with self.admission.own():
            self.system.database.put(document.id, value, etag=document.etag)

    @contextmanager
    def within(self, roots: Sequence[str]) -> Iterator[None]:
        """Within it, documents that this thread writes name no folders but below these roots, if there are any.

        What they name otherwise raises `Forbidden`.
        """

        def check(name: str, document: dict[str, Any]) -> None:
            self.places.data(folder_text(document) or f"~/{name}", within=roots)

        with self.admission.placed(check) if roots else nullcontext():
            yield

    def names(self, start: int = 0, limit: int = 1024) -> list[str]:
        """The names of all databases, in their order."""
        documents = self.system.database.by_prefix(DATABASES, start=start, limit=limit)
        return [document.id[len(DATABASES) :] for document in documents]

    def all_names(self) -> Iterator[str]:
        """The names of all databases, in their order, read as they are taken."""
        return (document.id[len(DATABASES) :] for document in described(self.system.database))

    async def get(self, name: str) -> Tenant:
        """The open database of this name; raises `Refused` (503) when there is none or it may not be used now."""
        key = fold(name)
        if tenant := self.open.get(key):
            return tenant
        self.check_online(name)
        document = await self._soon(self.known, name)
        async with self._lock(key):
            if tenant := self.open.get(key):
                return tenant
            self.check_online(name)
            settings = decode(document.body)
            if settings.get("Disabled") is True:
                raise Refused(503, f"the database {name} is disabled", "enable it through /admin/databases")
            folder = self.folder_of(document)
            self.places.check_data(folder, f"the folder of the database {name}")
            spelled = document.id[len(DATABASES) :]
            async with self._room():
                database = await asyncio.to_thread(
                    _open, self.places.read_from(folder), spelled, plain_settings(settings), self.keys(document)
                )
                tenant = self.open[key] = await asyncio.to_thread(Tenant, spelled, database)
                self.opens[key] = self.opens.get(key, 0) + 1
            return tenant

    @asynccontextmanager
    async def _room(self) -> AsyncIterator[None]:
        """Within it, one more may be opened; the one that was unused for longest is closed for it, if need be."""
        async with self._making_room:
            until = monotonic() + ROOM_SECONDS
            while len(self.open) + self._opening >= self._most:
                if await self._close_one():
                    continue
                if monotonic() > until:
                    hint = "nothing was done: try again in a second, or start the server with more open-databases"
                    raise Refused(503, f"all {self._most} databases that may be open are in use", hint, headers=[RETRY])
                await asyncio.sleep(0.01)
            self._opening += 1
        try:
            yield
        finally:
            self._opening -= 1

    async def _close_one(self) -> bool:
        """Close the database that was unused for longest, if one is unused; returns whether that is so."""
        for key, tenant in sorted(self.open.items(), key=lambda each: each[1].used):
            if tenant.is_unused and not self._lock(key).locked():
                async with self._lock(key):
                    await self._close(key)
                return True
        return False

    async def _soon(self, read: Callable[..., T], *args: Any) -> T:
        """What this reads of the system database: in a thread where that takes a while."""
        if not self.system.database.storage.shared:
            return read(*args)
        return await asyncio.to_thread(read, *args)

    def known(self, name: str) -> Document:
        """The document that describes a database; raises `Refused` (503) when there is none."""
        document = self.document(name) if name and len(name) <= 200 else None
        if document is None:
            raise Refused(
                503,
                f"could not find a database named: {name}",
                "see /databases for those that exist",
                kind=DatabaseNotFound,
            )
        return document

    def _lock(self, key: str) -> asyncio.Lock:
        return self._locks.setdefault(key, asyncio.Lock())

    @asynccontextmanager
    async def offline(self, name: str, reason: str) -> AsyncIterator[None]:
        """Within it, the database is closed and requests for it get 503 with this reason."""
        await self.take_offline(name, reason)
        try:
            yield
        finally:
            self.give_back(name)

    async def take_offline(self, name: str, reason: str) -> None:
        """Close the database; requests for it get 503 with this reason until `give_back`."""
        key = fold(name)
        self.check_online(name)
        self._offline[key] = reason
        try:
            async with self._lock(key):
                await self._close(key)
        except BaseException:
            self.give_back(name)
            raise

    def take(self, name: str, folder: Path, reason: str) -> None:
        """Nobody else can have this name or folder for a database until `give_back`, and requests for it get 503.

        Raises `Refused` when somebody else has one of them, or works with it.
        """
        self.check_online(name)
        self.check_folder(name, folder)
        self._offline[fold(name)] = reason
        self._taken[fold(name)] = folder

    def give_back(self, name: str) -> None:
        """What was taken can be used again. Any thread may call it."""
        self._offline.pop(fold(name), None)
        self._taken.pop(fold(name), None)

    def check_online(self, name: str) -> None:
        """Raises `Refused` (503) while somebody works with the database, or makes it."""
        if reason := self._offline.get(fold(name)):
            raise Refused(503, f"the database {name} is {reason}", "try again later")

    async def _close(self, key: str) -> None:
        """Close a database when nobody uses it any more; new requests have been kept out before."""
        tenant = self.open.get(key)
        if tenant is None:
            return
        if tenant.backup.running:
            raise Refused(503, f"a backup of {tenant.name} is running", "wait for it, or cancel it")
        if freeze := tenant.database.storage.frozen:
            hint = f"thaw it, or wait until {freeze.until:%Y-%m-%d %H:%M:%S} UTC"
            raise Refused(503, f"{tenant.name} is frozen, and somebody copies its files", hint)
        del self.open[key]
        until = monotonic() + LEAVE_SECONDS
        while tenant.active:
            if monotonic() > until:
                self.open[key] = tenant
                raise Refused(503, f"{tenant.name} is still being used", "try again later")
            await asyncio.sleep(0.005)
        await asyncio.to_thread(tenant.database.close)

    async def close_idle(self, seconds: float) -> list[str]:
        """Close what nobody has used for so long; returns the names."""
        before = monotonic() - seconds
        closed = []
        for key, tenant in list(self.open.items()):
            if tenant.is_unused and tenant.used < before:
                async with self._lock(key):
                    if self.open.get(key) is tenant and not tenant.active:
                        await self._close(key)
                        closed.append(tenant.name)
        return closed

    async def make(self, id: str) -> None:
        """Make the database whose document has just been written by itself; whoever opens it is told why there is none.

        Only then: files that are missing later are lost, or on a disk that is not mounted.
        """
        document = self.document(id[len(DATABASES) :])
        if document:
            with telling(f"that {id} cannot be made,"):
                folder = self.folder_of(document)
                self.places.check_data(folder, f"the folder of the database {id[len(DATABASES) :]}")
                await asyncio.to_thread(make, folder, self.keys(document))

    async def forget(self, id: str) -> None:
        """The document with this id, of a database, was written or deleted: what it says is looked up anew."""
        name = id[len(DATABASES) :]
        if fold(name) in self.open:
            async with self.offline(name, "being changed"):
                pass

    def settle(self) -> None:
        """Write what is told of jobs and could not be written before."""
        for tenant in (*self.open.values(), self.system):
            tenant.backup.settle()
        self.notes.settle()

    def thaw(self) -> None:
        """End every freeze: whoever copies files finds out when he is about to end it himself."""
        for tenant in (*self.open.values(), self.system):
            if freeze := tenant.database.storage.frozen:
                freeze.end()

    async def close(self) -> None:
        """Close everything."""
        await asyncio.to_thread(self.settle)
        for tenant in (*self.open.values(), self.system):
            await asyncio.to_thread(tenant.database.close)
        self.open.clear()

    def folder_of(self, document: Document) -> Path:
        """Where the database that this document describes has its files."""
        return folder_in(self.data_dir, document)

    def backup_folder(self, text: str, *, local: bool, within: Sequence[str] = ()) -> Path:
        """The folder with backups that this names, for somebody who is `local` or not; none of a database's own.

        It is below one of `within`, if there are any.

        Raises `InvalidInput` and `Forbidden`.
        """
        folder = self.places.backups(text, local=local, within=within)
        for name, taken in self.folders():
            if taken in (folder, *folder.parents):
                raise Forbidden(f"{text!r} belongs to the database {name}", "give another folder for its backups")
        return folder

    def settings(self, tenant: Tenant) -> dict[str, Any]:
        """What a backup keeps in `Database.Document`: the database's document, with its name as `Id`."""
        document = None if tenant.is_system else self.document(tenant.name)
        told: dict[str, Any] = decode(document.body) if document else {}
        told.pop(SECURED, None)
        return {**told, "Settings": plain_settings(told), "Id": tenant.name}

    def check_folder(self, name: str, folder: Path) -> None:
        """Raises `Refused` when another database has this folder, or one above or below it."""
        if folder.name.endswith(STAGING):
            raise Refused(400, f"restores work in folders with names like {folder}", "give another folder", bare=True)
        for other, taken in self.folders():
            if fold(other) != fold(name) and (folder == taken or folder in taken.parents or taken in folder.parents):
                raise Refused(400, f"{folder} belongs to the database {other}", "give another folder", bare=True)

    def folders(self) -> list[tuple[str, Path]]:
        """All databases and those that are being made, and where they are."""
        found = [(SYSTEM, self.system.folder), *self._taken.items()]
        for document in described(self.system.database):
            with suppress(InvalidInput):  # it names no folder that could be anybody's
                found.append((document.id[len(DATABASES) :], self.folder_of(document)))
        return found


def owner_of(folder: Path) -> tuple[Path, str] | None:
    """The data folder of the server whose database this is, running or not, and the name there.

    Only servers whose data folder is above it are found.
    """
    folder = folder.resolve()
    for data_dir in folder.parents:
        if engines.exists(data_dir / SYSTEM_FOLDER):
            with DocumentDatabase(data_dir / SYSTEM_FOLDER, create=False, read_only=True) as system:
                for document in described(system):
                    with suppress(InvalidInput):  # it names no folder that could be this one
                        if folder_in(data_dir, document) == folder:
                            return data_dir, document.id[len(DATABASES) :]
    return None


def described(system: DocumentDatabase) -> Iterator[Document]:
    """The documents of all databases of the server with this system database."""
    start = 0
    while page := system.by_prefix(DATABASES, start=start, limit=1024):
        yield from page
        start += len(page)


def folder_in(data_dir: Path, document: Document) -> Path:
    """Where the database that this document of a server describes has its files."""
    told = decode(document.body)
    folder = resolve_location(data_dir, folder_text(told) or f"~/{document.id[len(DATABASES) :]}")
    return partitioned(folder, partitions_of(plain_settings(told)))


def partitioned(folder: Path, partitions: int) -> Path:
    """The same place, in which a database that is made has so many partitions, if it is in PostgreSQL."""
    return address(folder.server, folder.schema, partitions) if isinstance(folder, Address) and partitions else folder


def _outside(file: Path | None, data_dir: Path) -> Path:
    """Where the master key is; raises `InvalidInput` for a file in the data folder: copies would have both."""
    if file is None:
        return data_dir.with_name(f"{data_dir.name}.master-key")
    file = file.absolute()
    if data_dir in resolve_folder(data_dir, str(file)).parents:
        raise InvalidInput(f"the master key {file} would be in the data folder", "give a file outside of it")
    return file


def make(folder: Path, keys: Sequence[EncryptionKey]) -> None:
    """Have a database in this folder, one that is there already or a new one, which has the first of these keys."""
    DocumentDatabase(folder, key=next(iter(keys), None)).close()


def _open(folder: Path, name: str, settings: dict[str, str], keys: Sequence[EncryptionKey]) -> DocumentDatabase:
    try:
        key = next((key for key in keys[1:] if engines.opens(folder, key)), next(iter(keys), None))
        database = DocumentDatabase(folder, name=name, create=False, key=key)
    except DatabaseNotFound as error:  # not 404, which clients take for a document that is not there
        raise Refused(
            503,
            f"the files of this database are missing: {error}",
            "see whether its disk is mounted; if they are lost, delete the database and restore its last backup",
        ) from error
    try:
        if database.storage.settings != settings:
            database.storage.configure(settings)
    except BaseException:
        database.close()
        raise
    return database


@lru_cache(1024)
def is_system(name: str | None) -> bool:
    """Whether the database of the server itself has this name, or is meant by none."""
    return name is None or name == SYSTEM or fold(name) == "system"


def folder_text(document: dict[str, Any]) -> str | None:
    """What a database's document says of its folder."""
    settings = plain_settings(document)
    return next((value for key, value in settings.items() if key.lower() == DATA_DIR.lower() and value), None)


def check_name(name: str) -> None:
    """Raises `Refused` unless a database may have this name."""
    if fold(name) in ("system", SYSTEM):
        raise Refused(403, f"{name} is the server's own database", "give another name", bare=True)
    problem = None
    if not name.strip():
        problem = "it is empty"
    elif _FORBIDDEN.search(name):
        problem = 'it has one of / \\ : * ? " < > | or a control character'
    elif _RESERVED.fullmatch(name):
        problem = "Windows reserves it"
    elif name != name.strip() or name.endswith(".") or name in (".", ".."):
        problem = "it begins or ends with a blank or ends with a dot"
    elif fold(name).endswith(STAGING):
        problem = "restores work in folders of such names"
    elif len(name.encode(errors="replace")) > 150:
        problem = "it has more than 150 bytes"
    if problem:
        raise Refused(400, f"{name!r} cannot be the name of a database: {problem}", bare=True)
