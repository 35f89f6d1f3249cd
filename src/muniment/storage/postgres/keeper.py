"""What a process keeps in a database while it has it open: its pins and leases, which lapse when it dies.

A thread of its own renews them, adds up what commits have changed of the tallies, and purges when there is time.
"""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from time import monotonic, sleep
from typing import Final, TypeVar

import psycopg
from psycopg import errors as failures

from muniment.errors import DatabaseClosed, MunimentError, StorageFailure
from muniment.storage.base import Snapshot
from muniment.storage.location import Address
from muniment.storage.postgres.connection import Connection, Names, Pool, mapped, mapped_errors
from muniment.storage.postgres.facts import HEAD, fold, read_facts
from muniment.storage.postgres.holding import has_died, new_holder
from muniment.storage.postgres.purge import Step, purge_step
from muniment.storage.postgres.schema import LARGE

T = TypeVar("T")
LEASE_SECONDS: Final = 60
BEAT_SECONDS: Final = 15.0
IDLE_SECONDS: Final = 0.05  # without a commit, after which purging begins
POLL_SECONDS: Final = 5.0  # how often to look whether the pins of others are gone
EXPIRY_SECONDS: Final = 600.0
FOLD_COMMITS: Final = 64
COUNTED: Final = 2000  # revisions after which PostgreSQL counts what is there, so as to find the shortest way to it
LOCK_TRIES: Final = 10
_EXPIRES: Final = f"now() + interval '{LEASE_SECONDS} seconds'"
_PIN: Final = f"INSERT INTO {{s}}.pin(id, owner, etag, expires) VALUES(%s, %s, %s, {_EXPIRES})"
_LEASE: Final = f"""
INSERT INTO {{s}}.lease(name, owner, expires, about) VALUES(%s, %s, {_EXPIRES}, %s)
ON CONFLICT(name) DO UPDATE SET owner = excluded.owner, expires = excluded.expires, about = excluded.about
WHERE lease.expires < now() OR lease.owner = excluded.owner RETURNING 1
"""
_TURN: Final = "SELECT 1 FROM {s}.turn WHERE name = 'purge' FOR SHARE"


class _OnReplica(Exception):
    """Nothing can be written where this reads."""


class Keeper:
    """Keeps the pins and leases of this process in one database."""

    def __init__(self, pool: Pool, names: Names, address: Address, clock: Callable[[], int], *, writes: bool) -> None:
        self._pool = pool
        self._names = names
        self._address = address
        self._clock = clock
        self._writes = writes
        self.owner: Final = new_holder()
        self.on_beat: Callable[[], object] = lambda: None
        """Called now and then, to see what other processes have changed."""
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._closed = False
        self._commits = 0
        self._dead = True  # there may be something to forget
        self._more = False  # that nobody holds
        self._expiring = False
        self._written_at = 0.0
        self._written, self._counted_at = 0, COUNTED
        self.about = f"process {os.getpid()} of {socket.gethostname()}"
        self._thread = threading.Thread(target=self._run, name=f"muniment keeper {address.schema}", daemon=True)

    def start(self) -> None:
        """Say that the database is open here, if it is written to, and begin."""
        if self._writes:
            self._forget_dead()
            self.take(f"open {self.owner}")
        self._thread.start()

    # Pins

    @contextmanager
    def pin(self, keep: int | None = None) -> Iterator[Snapshot]:
        """See `base.Storage`. Raises `StorageFailure` at the end if it did not hold: this process was stopped long."""
        id = uuid.uuid4()
        try:
            snapshot = self._pool.patiently(lambda: self._pinned(id, keep))
        except _OnReplica:
            with self._unheld(keep) as snapshot:
                yield snapshot
            return
        try:
            yield snapshot
        except BaseException:
            with suppress(MunimentError):
                self._unpinned(id)
            raise
        if not self._unpinned(id):
            raise StorageFailure(
                f"a snapshot of {self._address} was lost: this process has not renewed it for {LEASE_SECONDS} seconds",
                "do it again; see why it, or its connection, stood still so long",
            )

    @contextmanager
    def _unheld(self, keep: int | None) -> Iterator[Snapshot]:
        """The same on a replica, where no row can be set: at the end it is looked whether anything was forgotten."""
        before = self._now()
        yield before
        after = self._now()
        oldest = max(before.history_from, before.etag if keep is None else min(keep, before.etag))
        if after.history_from > oldest or after.tombstones_from > before.tombstones_from:
            raise StorageFailure(
                f"the primary has forgotten what was being read of its replica {self._address}",
                "do it again; or read the primary, which keeps what is being read",
            )

    def _now(self) -> Snapshot:
        return self._pool.patiently(lambda: self._do(lambda held: read_facts(held, self._names))).snapshot()

    def _pinned(self, id: uuid.UUID, keep: int | None) -> Snapshot:
        """Pin the state of this moment, and see to it that every later commit has a later time than now.

        Where a commit is going on and lasts, its time is not known yet: then the state is known until its own time.
        """
        self._check_open()
        for attempt in range(LOCK_TRIES):
            try:
                return self._pinned_once(id, keep, lock=attempt < LOCK_TRIES - 1)
            except failures.LockNotAvailable:
                sleep(0.005)
        raise AssertionError("the last attempt takes no lock")

    def _pinned_once(self, id: uuid.UUID, keep: int | None, *, lock: bool) -> Snapshot:
        now = self._clock()
        sql = self._names.sql
        with self._pool.connection() as connection:
            try:
                with connection.transaction():
                    connection.execute(sql(_TURN))
                    if lock:
                        connection.execute(sql(f"{HEAD} FOR UPDATE NOWAIT"))
                    facts = read_facts(connection, self._names)
                    until = facts.modified
                    if lock:
                        until = max(now, facts.modified)
                        if until > facts.told_until:
                            connection.execute(sql("UPDATE {s}.muniment SET told_until = %s"), (until,))
                    etag = facts.etag if keep is None else min(keep, facts.etag)
                    connection.execute(sql(_PIN), (id, self.owner, etag))
            except psycopg.Error as error:
                if isinstance(error, failures.LockNotAvailable):
                    raise
                if isinstance(error, failures.ReadOnlySqlTransaction) and not self._writes:
                    raise _OnReplica from error
                raise mapped(error, self._address) from error
        return facts.snapshot(until)

    @contextmanager
    def token(self, etag: int) -> Iterator[uuid.UUID]:
        """A pin at an etag that is pinned already, and by which it can be seen how far a replica is."""
        id = uuid.uuid4()
        self._do(lambda connection: connection.execute(self._names.sql(_PIN), (id, self.owner, etag)))
        try:
            yield id
        finally:
            with suppress(MunimentError):
                self._unpinned(id)

    def _unpinned(self, id: uuid.UUID) -> bool:
        def gone(connection: Connection) -> bool:
            return connection.execute(self._names.sql("DELETE FROM {s}.pin WHERE id = %s"), (id,)).rowcount == 1

        held = self._do(gone)
        with self._lock:
            self._more = True
        self._wake.set()
        return held

    # Leases

    def take(self, name: str) -> str | None:
        """Hold a lease of this name; returns who holds it, if somebody else does."""

        def taken(connection: Connection) -> str | None:
            got = connection.execute(self._names.sql(_LEASE), (name, self.owner, self.about)).fetchone()
            if got is not None:
                return None
            row = connection.execute(
                self._names.sql("SELECT about, owner FROM {s}.lease WHERE name = %s"), (name,)
            ).fetchone()
            return str(row[0]) if row else "somebody"

        holder = self._do(taken)
        return self._do(taken) if holder is not None and self._forget_dead() else holder

    def _forget_dead(self) -> bool:
        """Forget what processes of this machine hold that surely have died; returns whether there were any."""

        def forget(connection: Connection) -> bool:
            query = "SELECT owner FROM {s}.lease UNION SELECT owner FROM {s}.pin"
            owners = [owner for (owner,) in connection.execute(self._names.sql(query)).fetchall()]
            if dead := list(filter(has_died, owners)):
                for table in ("pin", "lease"):
                    connection.execute(self._names.sql(f"DELETE FROM {{s}}.{table} WHERE owner = ANY(%s)"), (dead,))
            return bool(dead)

        return self._do(forget)

    def give_back(self, name: str) -> None:
        """Let others have a lease."""
        query = "DELETE FROM {s}.lease WHERE name = %s AND owner = %s"
        self._do(lambda connection: connection.execute(self._names.sql(query), (name, self.owner)))

    def _do(self, what: Callable[[Connection], T]) -> T:
        with self._pool.connection() as connection, mapped_errors(self._address):
            return what(connection)

    def _check_open(self) -> None:
        if self._closed:
            raise DatabaseClosed(f"the database in {self._address} is closed", "open it again")

    # Its thread

    def committed(self, dead: int, written: int) -> None:
        """A commit of this process has written so many revisions, and made so many dead."""
        with self._lock:
            looks = self._dead and self._more  # now and then, by itself: to wake it each time would hold up writers
            self._commits += 1
            self._written += written
            self._written_at = monotonic()
            self._dead = self._dead or dead > 0 or self._expiring
            self._more = True
            wake = self._dead and not looks
            wake = wake or self._commits >= FOLD_COMMITS or self._written >= self._counted_at
        if wake:
            self._wake.set()

    def changed(self) -> None:
        """What may be forgotten has changed."""
        with self._lock:
            self._dead = self._more = True
        self._wake.set()

    def purge(self) -> int:
        """Forget up to 1000; returns how many there were."""
        self._check_open()
        return self._step().forgotten

    def _step(self) -> Step:
        return self._do(lambda connection: purge_step(connection, self._names, self._clock))

    def _run(self) -> None:
        beat = monotonic() + BEAT_SECONDS
        while True:
            self._wake.wait(max(0.0, min(beat - monotonic(), self._patience())))
            self._wake.clear()
            if self._closed:
                return
            with suppress(Exception):  # PostgreSQL has gone away, its disk is full: what was not done is done later
                if monotonic() >= beat:
                    beat = monotonic() + BEAT_SECONDS
                    self._renew()
                    self.on_beat()
                    with self._lock:
                        self._more = self._more or self._dead
                if self._writes:
                    self._tidy()

    def _patience(self) -> float:
        return IDLE_SECONDS if self._dead and self._more else BEAT_SECONDS

    def _tidy(self) -> None:
        if self._commits >= FOLD_COMMITS:
            self._commits = 0
            self._do(lambda connection: fold(connection, self._names))
        if self._written >= self._counted_at:
            self._counted_at *= 4
            for table in LARGE:
                self._do(partial(_execute, self._names.sql(f"ANALYZE {{s}}.{table}"), ()))
        while self._dead and self._more and not self._closed and monotonic() - self._written_at > IDLE_SECONDS:
            step = self._step()
            with self._lock:
                self._more = step.more
                if not step.forgotten and not step.more:
                    self._dead = self._left()

    def _left(self) -> bool:
        """Whether there is something that may be forgotten later."""
        query = "SELECT EXISTS(SELECT 1 FROM {s}.dead)"
        return bool(self._do(lambda connection: connection.execute(self._names.sql(query)).fetchall()[0][0]))

    def _renew(self) -> None:
        for table in ("pin", "lease"):
            query = self._names.sql(f"UPDATE {{s}}.{table} SET expires = {_EXPIRES} WHERE owner = %s")
            self._do(partial(_execute, query, (self.owner,)))

    def close(self) -> None:
        """Give everything back."""
        with self._lock:
            already, self._closed = self._closed, True
        self._wake.set()
        if already:
            return
        if self._thread.ident is not None:
            self._thread.join()
        if self._writes:
            with suppress(MunimentError):
                self.give_back(f"open {self.owner}")


def _execute(query: str, bound: tuple[object, ...], connection: Connection) -> None:
    connection.execute(query, bound)
