"""Connections to PostgreSQL: a few for each process and server, which all databases there share.

They are made when they are wanted, and thrown away when they are lost. What only reads is asked again then; a commit
finds out first what became of it (`writer`).
"""

from __future__ import annotations

import asyncio
import os
import select
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from time import monotonic, sleep
from typing import Any, Final, TypeVar

import psycopg
from psycopg import errors as failures
from psycopg.pq import TransactionStatus

from muniment.errors import (
    AccessDenied,
    Busy,
    DamagedDatabase,
    DatabaseNotFound,
    InvalidInput,
    MunimentError,
    ServerUnavailable,
    StorageFailure,
    UnknownFormat,
)
from muniment.storage.location import Address
from muniment.telling import log

T = TypeVar("T")
APPLICATION: Final = "muniment"
CONNECT_SECONDS: Final = 10
WAIT_SECONDS: Final = 30.0  # for a connection that another thread of this process uses
LOOP_SECONDS: Final = 1.0  # where an event loop waits for that
IDLE_MILLISECONDS: Final = 15_000  # after which PostgreSQL ends the transaction of a client that says nothing more
OLDEST: Final = 150_000
_MOST: Final = "MUNIMENT_POSTGRESQL_CONNECTIONS"
_RETRY: Final = "MUNIMENT_POSTGRESQL_RETRY_SECONDS"
_SETTINGS: Final = """
SELECT current_setting('server_encoding'), current_setting('server_version_num')::int, current_setting('fsync'),
  current_setting('synchronous_commit')
"""
_PASSWORD: Final = ("password authentication failed", "no password supplied", "authentication failed for user")


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection, which knows under what names statements are prepared that go by it together (`trip`)."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.prepared: dict[bytes, bytes] = {}


class Lost(ServerUnavailable):
    """PostgreSQL did not answer, or the connection to it broke: the same may be tried again."""


def retry_seconds() -> float:
    """How long to wait for a PostgreSQL that has gone away (it is restarted, or another takes over)."""
    return number_from(_RETRY, 20)


def number_from(name: str, usual: int) -> int:
    """The whole number that this variable of the environment has."""
    text = os.environ.get(name, "")
    if text and not text.isdecimal():
        raise InvalidInput(f"{name} is {text!r}, not a number", "give a whole number")
    return int(text) if text else usual


class Pool:
    """Connections of this process to one PostgreSQL database, at most `most` at once."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.users = 0
        self.most = max(2, number_from(_MOST, 12))
        self.process = os.getpid()
        self._free: deque[Connection] = deque()
        self._room = threading.BoundedSemaphore(self.most)
        self._known: tuple[str, int, str, str] | None = None

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection that nobody else uses meanwhile, outside of a transaction; one is rolled back that is left.

        Raises `Busy` when all are in use for long, and `Lost` when PostgreSQL does not answer.
        """
        if not self._room.acquire(timeout=LOOP_SECONDS if _is_in_loop() else WAIT_SECONDS):
            raise Busy(
                f"all {self.most} connections to {self.server} are in use",
                f"try again, or set {_MOST} to a higher number",
            )
        try:
            connection = self._taken()
            try:
                yield connection
            finally:
                self._give_back(connection)
        finally:
            self._room.release()

    def _taken(self) -> Connection:
        with suppress(IndexError):
            while True:
                connection = self._free.pop()
                if not connection.closed and not _has_news(connection):
                    return connection
                connection.close()
        return self._connected()

    def _connected(self) -> Connection:
        try:
            connection = Connection.connect(
                self.server,
                autocommit=True,
                connect_timeout=CONNECT_SECONDS,
                client_encoding="utf-8",
                application_name=f"{APPLICATION} {uuid.uuid4().hex}",
                keepalives_idle=30,
                keepalives_interval=10,
                keepalives_count=3,
            )
        except psycopg.Error as error:
            raise mapped(error, self.server) from error
        try:
            self._prepare(connection)
        except BaseException as error:
            connection.close()
            raise mapped(error, self.server) from error
        return connection

    def _prepare(self, connection: Connection) -> None:
        connection.prepare_threshold = 2
        encoding, version, fsync, sync = connection.execute(_SETTINGS).fetchall()[0]
        if self._known != (encoding, version, fsync, sync):
            self._check(encoding, version, fsync, sync)
            self._known = encoding, version, fsync, sync
        on = "SET synchronous_commit = on; " if sync == "off" else ""
        connection.execute(f"{on}SET idle_in_transaction_session_timeout = {IDLE_MILLISECONDS}".encode())

    def _check(self, encoding: str, version: int, fsync: str, sync: str) -> None:
        if version < OLDEST:
            raise UnknownFormat(
                f"{self.server} is PostgreSQL {version // 10_000}, which is too old", "use PostgreSQL 15 or newer"
            )
        if encoding != "UTF8":
            raise InvalidInput(
                f"the database {self.server} has the encoding {encoding}, not UTF8",
                "make one with: createdb --encoding=UTF8 --template=template0 NAME",
            )
        if fsync == "off":
            log(
                f"WARNING: {self.server} runs with fsync=off: what is acknowledged is NOT on disk, and a crash of its"
                " machine can lose or damage all of it; set fsync=on in postgresql.conf"
            )
        if sync == "off":
            log(
                f"WARNING: {self.server} has synchronous_commit=off, with which an acknowledged write is not on disk"
                " yet; Muniment's own connections set it to on"
            )

    def _give_back(self, connection: Connection) -> None:
        if connection.closed or connection.info.transaction_status is not TransactionStatus.IDLE:
            with suppress(psycopg.Error):
                if not connection.closed and connection.info.transaction_status in (
                    TransactionStatus.INTRANS,
                    TransactionStatus.INERROR,
                ):
                    connection.rollback()
        if connection.closed or connection.info.transaction_status is not TransactionStatus.IDLE or not self.users:
            connection.close()
        else:
            self._free.append(connection)

    def end(self, name: str) -> None:
        """Have PostgreSQL end the connection of this name, which broke, if it has not heard of that."""
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
        with suppress(psycopg.Error, MunimentError), self.connection() as connection:
            connection.execute(query, (name,))

    def forget(self) -> None:
        """Close those that nobody uses: PostgreSQL has gone away, or nobody wants them any more."""
        with suppress(IndexError):
            while True:
                self._free.pop().close()

    def patiently(self, what: Callable[[], T]) -> T:
        """What this gives, which must be safe to do again: tried until PostgreSQL answers, for some time.

        Where an event loop waits for it, it is tried once: everything else there would wait too.
        """
        deadline, pause = monotonic() + (0 if _is_in_loop() else retry_seconds()), 0.05
        while True:
            try:
                return what()
            except Lost:
                self.forget()
                if monotonic() + pause > deadline:
                    raise
                sleep(pause)
                pause = min(1.0, pause * 2)


_pools: Final[dict[str, Pool]] = {}
_pooling: Final = threading.Lock()


@contextmanager
def pooled(address: Address) -> Iterator[Pool]:
    """Within it, the connections to the PostgreSQL of this address."""
    pool = use(address)
    try:
        yield pool
    finally:
        leave(pool)


def use(address: Address) -> Pool:
    """The connections to the PostgreSQL of this address, until `leave`."""
    with _pooling:
        pool = _pools.get(address.server)
        if pool is None or pool.process != os.getpid():  # those of the process that this one was forked from
            pool = _pools[address.server] = Pool(address.server)
        pool.users += 1
    return pool


def leave(pool: Pool) -> None:
    """The last to leave closes them."""
    with _pooling:
        pool.users -= 1
        last = not pool.users
        if last and _pools.get(pool.server) is pool:
            del _pools[pool.server]
    if last:
        pool.forget()


def _is_in_loop() -> bool:
    """Whether this thread runs an event loop, in which everything else stands still meanwhile."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def quoted(name: str) -> str:
    """A name as SQL has it."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _has_news(connection: Connection) -> bool:
    """Whether PostgreSQL has said something that nobody asked: that it ends the connection, as when it is restarted."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def name_of(connection: Connection) -> str:
    """By which PostgreSQL knows a connection."""
    return connection.info.parameter_status("application_name") or ""


class Names:
    """The SQL of a schema: in a statement, `{s}` stands for its name."""

    def __init__(self, address: Address) -> None:
        self.quoted = quoted(address.schema)
        self.sql = lru_cache(256)(self._sql)

    def _sql(self, statement: str) -> str:
        return statement.replace("{s}", self.quoted)


@contextmanager
def mapped_errors(place: object) -> Iterator[None]:
    """Within it, errors of PostgreSQL become errors of ours that name the place."""
    try:
        yield
    except psycopg.Error as error:
        raise mapped(error, place) from error


def mapped(error: BaseException, place: object) -> BaseException:
    """The error of ours for one of PostgreSQL's. What PostgreSQL says never has a password in it."""
    if isinstance(error, MunimentError) or not isinstance(error, psycopg.Error):
        return error
    said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    match error:
        case failures.DiskFull():
            return StorageFailure(
                f"the disk of the PostgreSQL of {place} is full; this was not stored", "make room there and write again"
            )
        case failures.InsufficientPrivilege():
            return AccessDenied(f"{place}: {said}", f"see which right is missing: muniment check '{place}'")
        case failures.TooManyConnections() | failures.ConfigurationLimitExceeded():
            return _too_many(place)
        case failures.InvalidCatalogName():
            return _no_database(place)
        case failures.QueryCanceled():
            return Busy(
                f"{place}: PostgreSQL ended a statement that took too long ({said})",
                "raise statement_timeout of the role, or try again when there is less to do",
            )
        case failures.SerializationFailure() if "recovery" in said:
            return Lost(
                f"the replica {place} ended a statement, to take over what the primary has cleaned up",
                "set hot_standby_feedback=on there, or a longer max_standby_streaming_delay",
            )
        case failures.LockNotAvailable():
            return Busy(f"{place}: somebody else holds a lock there ({said})", "try again when that has ended")
        case failures.ReadOnlySqlTransaction():
            return StorageFailure(
                f"{place} is a replica, or set to be read only", "name the primary: target_session_attrs=read-write"
            )
        case failures.UndefinedTable() | failures.InvalidSchemaName():
            return DatabaseNotFound(
                f"there is no database in {place} any more ({said})", "see whether somebody has deleted it"
            )
        case failures.UndefinedColumn() | failures.DataCorrupted() | failures.IndexCorrupted():
            return DamagedDatabase(f"the database in {place} is damaged: {said}", "restore it from its last backup")
        case psycopg.OperationalError() | psycopg.InterfaceError():
            return _unreachable(error, place, said)
    return StorageFailure(f"{place}: PostgreSQL refused it: {said}", "see its log; `muniment check` reads everything")


def _unreachable(error: psycopg.Error, place: object, said: str) -> MunimentError:
    text = str(error)
    if any(each in text for each in _PASSWORD):
        return AccessDenied(
            f"PostgreSQL does not let this user in at {place}: {said}",
            "give the password in PGPASSWORD, in ~/.pgpass or by a service file; it is never part of an address",
        )
    if "no pg_hba.conf entry" in text or ("role" in text and "does not exist" in text):
        return AccessDenied(f"PostgreSQL does not let this user in at {place}: {said}", "make the role, and let it in")
    if "too many clients" in text or "too many connections" in text or "remaining connection slots" in text:
        return _too_many(place)
    if "database" in text and "does not exist" in text:
        return _no_database(place)
    if isinstance(error, failures.OutOfMemory | failures.IoError):
        return StorageFailure(f"{place}: PostgreSQL refused it: {said}", "see its log")
    return Lost(
        f"PostgreSQL is not reachable at {place}: {said}",
        "see whether it runs (if not, its log says why: a full disk, say), and which host and port it has",
    )


def _too_many(place: object) -> Busy:
    return Busy(
        f"the PostgreSQL of {place} takes no more connections",
        f"raise its max_connections, or lower {_MOST} of those who use it",
    )


def _no_database(place: object) -> DatabaseNotFound:
    return DatabaseNotFound(f"PostgreSQL has no such database: {place}", "make it with: createdb --encoding=UTF8 NAME")
