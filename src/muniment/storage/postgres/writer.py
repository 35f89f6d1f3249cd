"""The one thread of a process that commits to a database in PostgreSQL: it groups waiting writes into one transaction.

Etags are given in the order of commits, over all processes: whoever commits locks the row that has the last one, reads
what its writes replace, sends the rows and commits, in two round trips. Whoever comes next sees all of that. Nothing is
held while a caller thinks: a commit of many batches is put together first, on a disk of this machine if it is large.

When the connection breaks in the middle of a commit, nobody knows what became of it. So each leaves a mark, by an id of
its own: whoever can write the same mark afterwards knows that the commit can never come true, and whoever cannot, that
it is there.
"""

from __future__ import annotations

import tempfile
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from time import monotonic, sleep
from typing import Any, Final

import msgspec
import psycopg
from psycopg import errors as failures

from muniment.errors import Cancelled, DatabaseClosed, MunimentError, StorageFailure
from muniment.storage.base import Waiting, Write, Written
from muniment.storage.location import Address
from muniment.storage.postgres.connection import Connection, Lost, Names, Pool, mapped, name_of, retry_seconds
from muniment.storage.postgres.facts import HEAD
from muniment.storage.postgres.indexes import DEFINED, Indexes, defined, is_of_an_index
from muniment.storage.postgres.trip import Trip
from muniment.storage.postgres.writing import Key, Rows, check_uploads, keys_of, newest_of, newest_query

GROUP_JOBS: Final = 256
GROUP_BYTES: Final = 16 << 20
GATHER_SHARE: Final = 0.25  # of the time that a commit takes
GATHER_SECONDS: Final = 0.01  # at most: one that was tried again while a server failed over took many seconds
SPOOLED_BYTES: Final = 8 << 20
TRIES: Final = 20  # of a transaction that another one was in the way of
_MARK: Final = "INSERT INTO {s}.mark(id) VALUES(%b::uuid)"
_DELTA: Final = "INSERT INTO {s}.delta(id, tallies) VALUES(%b::uuid, %b::bytea)"
_END: Final = "UPDATE {s}.muniment SET etag = %b::bigint, modified = %b::bigint, commits = commits + 1"
_AGAIN: Final = failures.SerializationFailure, failures.DeadlockDetected, failures.InvalidSqlStatementName


class Spool:
    """Batches of writes, put aside until all are there; they can be gone through again, when a connection is lost.

    Once it is `stopped`, whoever goes through it gets `Cancelled`.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._file = tempfile.SpooledTemporaryFile(SPOOLED_BYTES)  # noqa: SIM115 (closed by `close`)
        self._sizes: list[int] = []

    def add(self, writes: Sequence[Write]) -> None:
        """Put one more batch aside."""
        self._sizes.append(self._file.write(msgspec.msgpack.encode(writes)))

    def __iter__(self) -> Iterator[list[Write]]:
        self._file.seek(0)
        for size in self._sizes:
            if self.stopped:
                raise Cancelled("stopped while writing", "write it again; nothing was stored")
            yield msgspec.msgpack.decode(self._file.read(size), type=list[Write])

    def stop(self) -> None:
        """Whoever goes through it gets `Cancelled` from now on."""
        self.stopped = True

    def close(self) -> None:
        """Give its room back."""
        self._file.close()


@dataclass(slots=True)
class Job:
    """What one caller wants committed, and whom to tell."""

    batches: Iterable[Sequence[Write]]
    waiting: Waiting
    replaced: dict[int, int] | None = None
    whole: bool = False  # it is a transaction of its own, and told only the last etag
    size: int = 0
    keys: list[Key] = field(default_factory=list)
    found: dict[int, int] = field(default_factory=dict)  # for `replaced`, once it is sure


_Answer = tuple[Job, Any, BaseException | None]


class Writer:
    """Commits what it is given, in order. `committed` hears how many revisions were made dead, and written."""

    def __init__(
        self,
        pool: Pool,
        names: Names,
        address: Address,
        clock: Callable[[], int],
        committed: Callable[[int, int], None],
        indexes: Indexes,
    ) -> None:
        self._pool = pool
        self._names = names
        self._address = address
        self._clock = clock
        self._committed = committed
        self._indexes = indexes
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._left: Job | None = None
        self.last_etag = 0  # of this process's own commits
        self._answered = 0  # by the last commit
        self._took = 0.0  # seconds, for that
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"muniment writer {address.schema}", daemon=True)
        self._thread.start()

    def submit(self, writes: Sequence[Write], replaced: dict[int, int] | None = None) -> Future[list[Written]]:
        """Commit these as one; the future, which cannot be cancelled, is done when they are on disk."""
        future = _future()
        self.submit_for(future, writes, replaced)
        return future

    def submit_for(self, waiting: Waiting, writes: Sequence[Write], replaced: dict[int, int] | None = None) -> None:
        """Commit these as one, and tell this one when they are on disk."""
        size = sum(len(write.body or b"") + len(write.metadata) for write in writes)
        self._put(Job((writes,), waiting, replaced, False, size, keys_of(writes)))

    def submit_all(self, batches: Spool) -> Future[int]:
        """Commit all of these as one; the future gives the last etag."""
        future = _future()
        self._put(Job(batches, future, whole=True))
        return future

    def _put(self, job: Job) -> None:
        with self._lock:
            if self._closed:
                raise DatabaseClosed(f"the database in {self._address} is closed", "open it again")
            self._jobs.put(job)

    @property
    def waiting(self) -> int:
        """About how many jobs wait."""
        return self._jobs.qsize()

    def close(self) -> None:
        """Finish what was submitted, then end the thread."""
        with self._lock:
            already, self._closed = self._closed, True
        if not already:
            self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            group, last = self._next_group()
            if group:
                try:
                    self._commit(group)
                except BaseException as error:
                    for job in group:
                        if not job.waiting.done():
                            job.waiting.set_exception(mapped(error, self._address))
                    if not isinstance(error, Exception):
                        raise
            if last:
                return

    def _next_group(self) -> tuple[list[Job], bool]:
        """Wait for a job and take those that wait too; and whether there will be no more.

        Whoever has just had an answer often writes again at once. It waits for as many as had one, a part of the time
        that a commit takes: else they would miss this commit, and of two commits one would have nearly nothing in it.
        """
        first, self._left = self._left or self._jobs.get(), None
        if first is None or first.whole:
            return ([first] if first else []), first is None
        group, size = [first], first.size
        expected = self._jobs.qsize() + self._answered
        until = monotonic() + min(GATHER_SHARE * self._took, GATHER_SECONDS)
        while len(group) < GROUP_JOBS and size < GROUP_BYTES:
            try:
                job = self._jobs.get(timeout=max(0.0, until - monotonic()) if len(group) < expected else 0.0)
            except Empty:
                break
            if job is None:
                return group, True
            if job.whole:
                self._left = job
                break
            group.append(job)
            size += job.size
        return group, False

    def _commit(self, group: list[Job]) -> None:
        began, tries = monotonic(), 0
        deadline = began + retry_seconds()
        while True:
            mark = uuid.uuid4()
            answers: list[_Answer] = []
            tries += 1
            try:
                rows = self._tried(group, mark, answers)
            except Lost:
                self._pool.forget()
                if monotonic() > deadline:
                    raise
                sleep(0.1)
                continue
            except _AGAIN:
                if tries == TRIES:
                    raise
                sleep(0.005 * tries)
                continue
            except MunimentError as error:
                # An index makes no write fail: none is kept any more, and the next query makes it anew.
                if tries == TRIES or not is_of_an_index(error.__cause__):
                    raise
                self._indexes.abandon_all()
                continue
            break
        self.last_etag = max(self.last_etag, rows.etag)
        self._answered, self._took = len(answers), monotonic() - began
        for job, result, failed in answers:
            if failed is None:
                if job.replaced is not None:
                    job.replaced |= job.found
                job.waiting.set_result(result)
            else:
                job.waiting.set_exception(failed)
        self._committed(rows.dead, rows.written)
        if rows.defines:
            self._indexes.definition_written()

    def _tried(self, group: list[Job], mark: uuid.UUID, answers: list[_Answer]) -> Rows:
        """One try of the transaction; returns what it stored. Raises `Lost` if that is not there."""
        rows, name = Rows(), ""
        try:
            with self._pool.connection() as connection:
                name = name_of(connection)
                if group[0].whole:
                    self._perform_whole(connection, group[0], mark, answers, rows)
                else:
                    self._perform(connection, group, mark, answers, rows)
        except _AGAIN:
            raise
        except psycopg.Error as error:
            known = mapped(error, self._address)
            if not isinstance(known, Lost) or not self._is_there(mark, known, name):
                raise known from error
        return rows

    def _is_there(self, mark: uuid.UUID, lost: Lost, name: str) -> bool:
        """Whether a commit came true whose connection of this name broke; once this has said no, it never will.

        While its transaction may still be going on, PostgreSQL has whoever writes the same mark wait for it.
        """
        self._pool.forget()
        self._pool.end(name)
        deadline = monotonic() + retry_seconds()
        while True:
            try:
                with self._pool.connection() as connection:
                    connection.execute(self._names.sql(_MARK), (mark,))
            except failures.UniqueViolation:
                return True
            except (psycopg.Error, Lost) as error:
                self._pool.forget()
                if not isinstance(known := mapped(error, self._address), Lost) or monotonic() > deadline:
                    raise StorageFailure(
                        f"the connection to {self._address} broke while this was committed, and does not come back"
                        f" ({known}): nobody knows whether it was stored",
                        "when PostgreSQL is there again, read what you wrote before you write it again",
                    ) from lost
                sleep(0.1)
            else:
                return False

    def _perform(
        self, connection: Connection, group: list[Job], mark: uuid.UUID, answers: list[_Answer], rows: Rows
    ) -> None:
        writes = [write for job in group for batch in job.batches for write in batch]
        keys = [key for job in group for key in job.keys]
        if not writes:
            answers += [(job, [], None) for job in group]
            return
        modified = self._begin(connection, keys, rows)
        check = check_uploads(connection, self._names, writes)
        first = rows.etag
        for job in group:
            before = rows.etag
            [batch] = job.batches
            try:
                check(batch)
                written = rows.write(batch, job.keys, modified + 1)
            except Exception as error:
                answers.append((job, None, error))
                continue
            if rows.etag > before:
                modified += 1
            if job.replaced is not None:
                job.found = rows.replaced_after(before)
            answers.append((job, written, None))
        if rows.etag == first:
            _roll_back(connection)
            return
        trip = Trip(connection, prepare=True)
        rows.send(trip, self._names)
        self._end(trip, mark, rows, modified)

    def _perform_whole(
        self, connection: Connection, job: Job, mark: uuid.UUID, answers: list[_Answer], rows: Rows
    ) -> None:
        """A commit of many batches: all share one time."""
        modified = self._begin(connection, [], rows) + 1
        before = rows.etag
        try:
            for batch in job.batches:
                keys = keys_of(batch)
                trip = Trip(connection)
                query, bound = newest_query(keys)
                found = trip.execute(self._names.sql(query), bound)
                trip.run()
                rows.newest = newest_of(found.rows)
                check_uploads(connection, self._names, batch)(batch)
                rows.write(batch, keys, modified)
                rows.send(trip, self._names)  # so that the next batch finds what this one wrote
                trip.run()
        except psycopg.Error:
            raise
        except Exception as error:
            _roll_back(connection)
            rows.dead = rows.written = 0
            answers.append((job, None, error))
            return
        answers.append((job, rows.etag, None))
        if rows.etag == before:
            _roll_back(connection)
        else:
            self._end(Trip(connection), mark, rows, modified)

    def _begin(self, connection: Connection, keys: Sequence[Key], rows: Rows) -> int:
        """Begin a transaction with the lock; gives the time that all later ones exceed.

        The rows know then the last etag, what is there, and which indexes are to be kept.
        """
        sql, trip = self._names.sql, Trip(connection, prepare=True)
        trip.execute("BEGIN")
        head = trip.execute(sql(f"{HEAD} FOR UPDATE"))
        query, bound = newest_query(keys)
        found = trip.execute(sql(query), bound)
        indexes = trip.execute(sql(DEFINED))
        trip.run()
        [(rows.etag, modified, told_until, _)] = head.rows
        rows.newest, rows.indexes = newest_of(found.rows), defined(indexes.rows)
        return max(self._clock() - 1, int(modified), int(told_until))

    def _end(self, trip: Trip, mark: uuid.UUID, rows: Rows, modified: int) -> None:
        sql = self._names.sql
        trip.execute(sql(_DELTA), (mark, rows.sums.delta()))
        trip.execute(sql(_MARK), (mark,))
        trip.execute(sql(_END), (rows.etag, modified))
        trip.execute("COMMIT")
        trip.run()


def _roll_back(connection: Connection) -> None:
    trip = Trip(connection, prepare=True)
    trip.execute("ROLLBACK")  # by psycopg, all that is prepared would be forgotten too
    trip.run()


def _future() -> Future[Any]:
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    return future
