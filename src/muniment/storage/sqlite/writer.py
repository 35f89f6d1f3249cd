"""The one thread that writes to a database file: it groups waiting writes into one commit, and purges.

Every job of a group has its own savepoint, so that a job that fails (a concurrency conflict, say) undoes only itself.
A job's future is done after the commit that contains it is on disk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, Final, Literal, TypeAlias, TypeVar

import apsw
import msgspec

from muniment.document import fold_collection
from muniment.durable import sync_folder
from muniment.errors import Conflict, DatabaseClosed, StorageFailure
from muniment.fingerprint import Fingerprint, Tally
from muniment.query.model import Field
from muniment.revision import DOCUMENT
from muniment.storage.base import BackupPlace, Snapshot, Waiting
from muniment.storage.freeze import Freeze
from muniment.storage.indexes import Index
from muniment.storage.retention import expiry_limit, history_of, purge_limit
from muniment.storage.sqlite.files import OpenFiles
from muniment.storage.sqlite.indexes import Indexes, Words
from muniment.storage.sqlite.notes import believed, read_notes, remove_note
from muniment.storage.sqlite.pins import outside_pins
from muniment.storage.sqlite.purge import forget_tombstones, tombstones
from muniment.storage.sqlite.reach import Reach, Reached
from muniment.storage.sqlite.rows import Rows
from muniment.storage.sqlite.schema import BUSY_MILLISECONDS, mapped, parts_of
from muniment.storage.sqlite.spans import Spans, count_purged
from muniment.storage.sqlite.state import (
    LOG_ROWS,
    read_snapshot,
    read_state,
    remember_backup,
    write_fact,
    write_tallies,
)
from muniment.storage.sqlite.transaction import Changes, Transaction, Writes

T = TypeVar("T")
GROUP_JOBS: Final = 64  # jobs in one commit: a job can be a batch of thousands, and a caller must not wait for too many
TOGETHER: Final = 4096  # writes that are stored together: what is decided of them is in memory until then
PURGE_ROWS: Final = 1000
# Seconds without a write after which purging begins: rows that die together are cheaper to forget together.
IDLE_SECONDS: Final = 0.05
# With more dead rows than this, purging does not wait for an idle moment, so that the file stops growing.
DEAD_ROWS: Final = 100_000
# How often to look whether the pin of another process is gone, since nothing announces that.
OUTSIDE_SECONDS: Final = 5.0
# After how long the reach is brought to disk: when nobody writes, and under continuous writing.
BEAT_SECONDS: Final = 1.0
BUSY_BEAT_SECONDS: Final = 5.0
# How long the log's beginning may be read before it is copied as it is, rather than emptied.
FREEZE_MILLISECONDS: Final = 1_000
# How often to look for expired tombstones in a database that nobody writes to.
EXPIRY_SECONDS: Final = 600

Job: TypeAlias = Callable[["Transaction"], Any]
_Asked: TypeAlias = tuple[Job, Waiting]
_Answer: TypeAlias = tuple[Waiting, Any, BaseException | None]
_STOP: Final = "stop"
_Order: TypeAlias = Freeze[Snapshot] | Literal["stop"]  # for when everything submitted before it is done


class _Waiter:
    """A future for one thread that waits for it at once: it takes a fraction of the time."""

    __slots__ = "_error", "_result", "_told", "_untold"

    def __init__(self) -> None:
        self._error: BaseException | None = None
        self._result: Any = None
        self._told = False
        self._untold = threading.Lock()
        self._untold.acquire()

    def set_result(self, result: Any) -> None:
        self._result = result
        self._told = True
        self._untold.release()

    def set_exception(self, error: BaseException) -> None:
        self._error = error
        self._told = True
        self._untold.release()

    def done(self) -> bool:
        return self._told

    def result(self) -> Any:
        """Wait for it, once."""
        self._untold.acquire()
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # or it would hold the frame that holds it
        return self._result


class _Commit:
    """What a commit has come to so far."""

    __slots__ = "afterwards", "answers", "dead", "earliest", "etag", "fingerprint", "modified", "rows", "words"

    def __init__(self, state: Snapshot) -> None:
        self.etag = state.etag
        self.modified = state.modified
        self.earliest = 0  # the time that it can have
        self.dead = 0
        self.fingerprint = Fingerprint()  # what changes in it
        self.rows = Tally()
        self.words: list[Words] = []  # to be indexed at its end
        self.answers: list[_Answer] = []
        self.afterwards: list[Callable[[], object]] = []


def _number(digest: bytes) -> int:
    return int.from_bytes(digest, "big")


class Writer:
    """Owns the connection that writes, the counters and the fingerprint. `clock` gives microseconds since 1970."""

    def __init__(self, connection: apsw.Connection, folder: Path, clock: Callable[[], int]) -> None:
        self._connection = connection
        self._cursor = connection.cursor()  # one for all: to make one takes as long as a small statement
        self._folder = folder
        self._clock = clock
        self._jobs: SimpleQueue[_Asked | _Order] = SimpleQueue()
        self._lock = threading.Lock()  # guards the three below, which readers see, and the pins
        self._state = read_snapshot(connection)
        facts = read_state(connection)
        # Snapshots have promised that nothing changes until here: every commit gets a later time, whatever the clock.
        self._told_until = facts.told_until
        self._working_from: int | None = None  # the earliest time that the commit in progress can have
        self.history = history_of(facts.settings)
        self._backed_up = facts.backed_up
        self._purged_to = -1  # a purge up to this limit or a lower one would find nothing
        self._pins: dict[object, int] = {}
        self._outside: list[int] = []  # the pins of other processes, as the last purge found them
        self._closed = False
        self._freeze: Freeze[Snapshot] | None = None
        self._stuck: str | None = None  # why nothing can be written any more
        self._group: list[_Asked] = []  # in progress
        self.indexes = Indexes(connection, self._state.etag)
        self._rows: Rows | None = None  # it takes time to make
        self._spans = Spans()
        self._undone = False  # a commit, which may have made or dropped indexes
        self._dead = int(connection.execute("SELECT count(*) FROM dead").get)
        self._purgeable = self._may_purge()
        self._lineage = facts.identity.lineage
        self._files = OpenFiles(folder)
        self._reach: Reach | None = None
        self._noted_at: float | None = None  # since when the reach may not be on disk
        self._open = facts.open == 1
        self._open_on_disk = False  # in the file itself, not only in its write-ahead log
        self._thread = threading.Thread(target=self._run, name=f"muniment writer {folder.name}", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[Transaction], T]) -> Future[T]:
        """Do this job in the next commit; the future, which cannot be cancelled, is done after that."""
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        self.submit_for(future, job)
        return future

    def submit_for(self, waiting: Waiting, job: Job) -> None:
        """Do this job in the next commit, and tell this one when it is on disk."""
        with self._lock:
            self._check_open()
            self._jobs.put((job, waiting))

    def do(self, job: Callable[[Transaction], T]) -> T:
        """Do this job in the next commit; it is on disk when this returns."""
        waiter = _Waiter()
        self.submit_for(waiter, job)
        return waiter.result()  # type: ignore[no-any-return]

    def rows(self) -> Rows:
        """What fills tables through the connection; for jobs."""
        if self._rows is None:
            self._rows = Rows(self._connection)
        return self._rows

    def _check_open(self) -> None:
        if self._closed:
            self._refuse()
            raise DatabaseClosed(f"the database in {self._folder} is closed", "open it again")

    @property
    def last_etag(self) -> int:
        """The etag of the last commit."""
        return self._state.etag

    def snapshot(self, pin: object | None = None, keep: int | None = None) -> Snapshot:
        """The state after the last commit; with a pin, nothing that is current in it is purged until `unpin`.

        With `keep`, nothing that was current at that etag or later is purged either.
        """
        now = 0 if pin is None else self._clock()
        with self._lock:
            self._check_open()
            fingerprint, rows = self._state.fingerprint.copy(), replace(self._state.rows)
            state = replace(self._state, fingerprint=fingerprint, until=self._state.modified, rows=rows)
            if pin is not None:
                self._pins[pin] = state.etag if keep is None else min(keep, state.etag)
                until = now if self._working_from is None else self._working_from - 1
                self._told_until = max(self._told_until, until)
                state = replace(state, until=max(until, state.modified))
        return state

    def unpin(self, pin: object) -> None:
        """Release a snapshot; the next idle moment purges what only it kept."""
        with self._lock:
            self._pins.pop(pin, None)
            self._wake_to_purge()

    def _may_purge(self) -> bool:
        """Whether there may be something to forget, now or as soon as it is old enough."""
        return self._dead > 0 or self.history.tombstones is not None

    def _wake_to_purge(self) -> None:
        self._purgeable = self._may_purge()
        if self._purgeable and not self._closed:
            self._jobs.put((lambda _: None, Future()))  # wakes the thread

    def freeze(self, seconds: float) -> Freeze[Snapshot]:
        """Stand still when what was submitted before this is on disk; what comes later is done after the freeze."""
        freeze = Freeze[Snapshot](self._folder, seconds)
        with self._lock:
            self._check_open()
            if present := self.frozen:
                raise Conflict(
                    f"the database in {self._folder} is frozen already, by {present.id}",
                    f"wait until it is thawed, at the latest at {present.until:%Y-%m-%d %H:%M:%S} UTC",
                )
            self._freeze = freeze
            self._jobs.put(freeze)
        return freeze

    @property
    def waiting(self) -> int:
        """About how many jobs wait."""
        return self._jobs.qsize()

    @property
    def frozen(self) -> Freeze[Snapshot] | None:
        """The freeze that has begun, or is about to, and has not ended."""
        present = self._freeze
        return present if present is not None and present.ended is None else None

    def close(self) -> None:
        """Finish what was submitted, then end the thread and close the connection. Closing again does nothing.

        A freeze is over then.
        """
        with self._lock:
            already, self._closed = self._closed, True
            if self._freeze is not None:
                self._freeze.end()
        if not already:
            self._jobs.put(_STOP)
        self._thread.join()

    def _refuse(self) -> None:
        """Raises `StorageFailure` when nothing can be written any more."""
        if self._stuck is not None:
            raise StorageFailure(
                f"the database in {self._folder} takes no more writes: {self._stuck}",
                "close it, check its disk, and open it again: acknowledged writes are there, others may be",
            )

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # a bug, or out of memory: no caller may wait for ever
            with self._lock:
                self._closed, self._stuck = True, f"its writer has failed ({error!r})"
            self._give_up()
            raise

    def _give_up(self) -> None:
        """Fail every waiting future, and close what is open."""
        waiting: list[_Asked | _Order] = [*self._group]
        with suppress(Empty):
            while True:
                waiting.append(self._jobs.get(block=False))
        for each in waiting:
            if isinstance(each, Freeze):
                each.end()
                each.begun.set_exception(DatabaseClosed(f"{self._stuck}", "open the database again"))
                each.over.set_result(None)
            elif isinstance(each, tuple) and not each[1].done():
                try:
                    self._refuse()
                except StorageFailure as error:
                    each[1].set_exception(error)
        with suppress(Exception):
            self._close()

    def _work(self) -> None:
        idle = stopping = False
        while not stopping:
            group, order = self._next_group(idle)
            stopping = order == _STOP
            if group:
                self._commit(group)
            if isinstance(order, Freeze):
                self._stand_still(order)
            idle = not group and order is None
            if self._purgeable and (idle or self._dead > DEAD_ROWS) and not stopping:
                self._purge_idly()
            self._sync_reach(BEAT_SECONDS if idle else BUSY_BEAT_SECONDS)
        self._finish()

    def _next_group(self, idle: bool) -> tuple[list[_Asked], _Order | None]:
        """Wait for a job and take the others that wait too, up to an order; none when it is time to purge."""
        group: list[_Asked] = []
        patience: float | None = None if self.history.tombstones is None else EXPIRY_SECONDS
        if self._outside:
            patience = OUTSIDE_SECONDS
        if self._noted_at is not None:
            patience = BEAT_SECONDS
        if self._purgeable:
            patience = 0 if idle else IDLE_SECONDS
        try:
            found = self._jobs.get(timeout=patience)
            while isinstance(found, tuple):
                group.append(found)
                if len(group) == GROUP_JOBS or self._jobs.empty():
                    return group, None
                found = self._jobs.get(block=False)
            return group, found
        except Empty:
            self._purgeable = self._purgeable or self._may_purge()
        return group, None

    def _stand_still(self, freeze: Freeze[Snapshot]) -> None:
        """Bring all to disk, into the file itself if nobody reads an older state there, and write nothing more."""
        try:
            self._refuse()
            self._files.check()
            self._connection.set_busy_timeout(FREEZE_MILLISECONDS)
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # what it leaves was synced before
            if self._reach is not None:
                self._reach.sync()
            sync_folder(self._folder)
            state = self.snapshot()
        except Exception as error:
            freeze.end()
            freeze.begun.set_exception(mapped(error, self._folder))
        else:
            freeze.stand(state)
        finally:
            self._connection.set_busy_timeout(BUSY_MILLISECONDS)
            with self._lock:
                if self._freeze is freeze:  # and no other one has begun
                    self._freeze = None
            freeze.over.set_result(None)

    def _commit(self, group: list[_Asked]) -> None:
        self._group = group
        commit = _Commit(self._state)
        try:
            state = self._perform(group, commit)
        except BaseException as error:  # every caller of the group is told of it, whatever it is
            failure = mapped(error, self._folder)
            with suppress(apsw.Error):
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            if self._connection.in_transaction:  # the next commit would store what callers were told had failed
                self._stuck = f"a failed write could not be rolled back ({failure})"
            self._undone = True
            self._spans.forget()
            self._purged_to = -1  # a purge may be among what was rolled back
            with self._lock:
                self._working_from = None
            commit.answers = [(future, None, _another(failure)) for _, future in group]
        else:
            with self._lock:
                written, self._state = state.etag > self._state.etag, state
                self._working_from = None
                self._dead += commit.dead
                self._purgeable = self._purgeable or commit.dead > 0 or (written and self._may_purge())
            for done in commit.afterwards:
                with suppress(OSError):
                    done()
        for future, result, failed in commit.answers:
            if failed is None:
                future.set_result(result)
            else:
                future.set_exception(failed)
        self._group = []

    def _perform(self, group: list[_Asked], commit: _Commit) -> Snapshot:
        execute = self._cursor.execute
        self._files.refuse()
        self._refuse()
        before = self._connection.total_changes()
        with self._lock:
            commit.earliest = max(self._clock(), commit.modified + 1, self._told_until + 1)
            self._working_from = commit.earliest
        execute("BEGIN IMMEDIATE")
        if self._undone:
            self.indexes.read()
            self._undone = False
        for writes, jobs in _runs(group):
            if writes:
                self._write(writes, commit, first=not commit.answers)
            for job, future in jobs:
                self._do(job, future, commit)
        etag = commit.etag
        fingerprint, log = self._state.fingerprint, self._state.rows
        if written := self._connection.total_changes() != before:
            self._say_open()
            fingerprint, log = self._save(commit)
            if commit.words:
                self.indexes.change_words(commit.words)
            if self.indexes.all and etag > self._state.etag:
                self.indexes.reached(etag)
        execute("COMMIT")
        known = self._state.history_from, self._state.tombstones_from
        state = Snapshot(etag, commit.modified, fingerprint, *known, rows=log)
        if written:
            self._note(state)
        return state

    def _do(self, job: Job, future: Waiting, commit: _Commit) -> None:
        """Do a job as a part of the commit; one that fails undoes only itself."""
        execute, modified = self._cursor.execute, self._time(commit)
        transaction = Transaction(self._connection, commit.etag, modified, self.indexes)
        execute("SAVEPOINT job")
        try:
            result = job(transaction)
        except Exception as error:
            if not self._connection.in_transaction:  # SQLite itself rolled everything back: the disk is full
                raise
            self._undo("ROLLBACK TO job; RELEASE job")
            commit.answers.append((future, None, mapped(error, self._folder)))
            return
        execute("RELEASE job")
        commit.dead += transaction.dead
        commit.afterwards += transaction.afterwards
        commit.words += transaction.words
        commit.rows.add(transaction.rows.count, 0, transaction.rows.digest)
        if transaction.etag > commit.etag:
            commit.etag, commit.modified = transaction.etag, modified
            commit.fingerprint.merge(transaction.fingerprint)
        commit.answers.append((future, result, None))

    def _write(self, jobs: list[tuple[Writes, Waiting]], commit: _Commit, *, first: bool) -> None:
        """Do jobs that only write as a part of the commit: together, or if that fails one by one.

        The `first` ones need no savepoint, for nothing before them is to be kept.
        """
        execute, before = self._cursor.execute, commit.modified
        if not first:
            execute("SAVEPOINT job")
        answers: list[_Answer] = []
        try:
            changes = Changes(self._cursor, [job for job, _ in jobs], commit.etag)
            for job, future in jobs:
                answers.append((future, *self._decided(job, changes, commit)))
            changes.store(self.indexes)
        except Exception:
            if not self._connection.in_transaction:
                raise
            self._undo("ROLLBACK; BEGIN IMMEDIATE" if first else "ROLLBACK TO job; RELEASE job")
            commit.modified = before
            for job, future in jobs:
                self._do(job, future, commit)
            return
        if not first:
            execute("RELEASE job")
        changes.count(commit.fingerprint, commit.rows)
        commit.etag = changes.etag
        commit.dead += changes.dead
        commit.words += changes.words
        if changes.defines:
            commit.afterwards.append(self.indexes.definition_written)
        commit.answers += answers

    def _decided(self, job: Writes, changes: Changes, commit: _Commit) -> tuple[Any, BaseException | None]:
        etag, modified = changes.etag, self._time(commit)
        try:
            written = changes.decide(job, modified)
        except Exception as error:
            return None, mapped(error, self._folder)
        if changes.etag > etag:
            commit.modified = modified
        return written, None

    def _undo(self, statements: str) -> None:
        """Undo a part of the commit, after an error in it."""
        self._connection.execute(statements)
        self.indexes.read()  # which may have been made or dropped

    def _time(self, commit: _Commit) -> int:
        """Of the next job in it: later than that of every one before, and than the job was submitted."""
        return max(commit.modified + 1, commit.earliest)

    def want_indexes(
        self, transaction: Transaction, collection: str | None, fields: Sequence[Field]
    ) -> tuple[Index, ...]:
        """Begin to keep indexes on these fields; see `Indexes.want`."""
        return self.indexes.want(collection, fields, self._clock(), transaction.etag)

    def use_indexes(self, indexes: Iterable[Index]) -> None:
        """Note, some time, that these have answered a query."""
        self.submit(lambda _: self.indexes.used(indexes, self._clock()))

    def documents(self, collection: str | None) -> int:
        """How many documents a collection has, or all have."""
        folded = fold_collection(collection)
        return sum(
            tally.count
            for (kind, name), tally in self._state.fingerprint.tallies.items()
            if kind == DOCUMENT and (folded is None or fold_collection(name) == folded)
        )

    def _say_open(self) -> None:
        """Before the first commit: record that the file may not be complete without its log, and write the reach."""
        if self._reach is None:
            self._files.check(by_name=True)  # or it would be that of another database, which is in this folder now
            self._reach = Reach(self._folder)
            self._reach.write(Reached.of(self._lineage, self._state))
            self._reach.sync()
        if not self._open:
            write_fact(self._connection, "open", 1)

    def _note(self, state: Snapshot) -> None:
        """After a commit, before it is acknowledged: check that it can be found again, and record it in the reach."""
        self._open = True
        if not self._open_on_disk:
            with suppress(apsw.Error):  # tried again after the next commit
                busy, frames, moved = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()[0]
                self._open_on_disk = busy == 0 and frames == moved
        self._files.check()
        if self._reach is not None:
            self._reach.write(Reached.of(self._lineage, state))
            self._noted_at = self._noted_at or monotonic()

    def _sync_reach(self, seconds: float) -> None:
        if self._reach is not None and self._noted_at is not None and monotonic() - self._noted_at >= seconds:
            self._noted_at = None
            self._reach.sync()

    def _finish(self) -> None:
        """Close the connection; if nobody else reads the file, record in it first that it is complete."""
        if self._open:
            self._commit([(_say_closed, Future())])
        self._close()

    def _close(self) -> None:
        if self._files.replaced():  # the write-ahead log belongs to a file that is gone
            self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self._files.close()
        self._connection.close(True)  # even with a query that an error has left unfinished
        if self._reach is not None:
            reach, self._reach = self._reach, None
            reach.sync()
            reach.close()

    def _save(self, commit: _Commit) -> tuple[Fingerprint, Tally]:
        """Write the tallies that changed; return the whole new fingerprint and the new tally of the log."""
        whole, before = self._state.fingerprint, self._state.rows
        log = Tally(before.count, before.bytes, before.digest)
        log.add(commit.rows.count, 1, commit.rows.digest)
        tallies = {LOG_ROWS: log}
        if commit.fingerprint.tallies:
            whole = whole.changed(commit.fingerprint)
            tallies |= {group: whole.tallies[group] for group in commit.fingerprint.tallies}
        write_tallies(self._cursor, tallies, self._spans.grown(self._cursor, self._state.etag, commit.etag))
        return whole, log

    def _purge_idly(self) -> None:
        """Purge one step; one that fails (the disk is full) loses nothing and is tried again after the next commit."""
        answer: Future[int] = Future()
        self._commit([(self._purge, answer)])
        if answer.exception() is not None:
            self._purgeable = False

    def purge(self) -> int:
        """Forget up to 1000 dead revisions that no pin needs, or old tombstones; returns how many there were."""
        return self.submit(self._purge).result()

    def _purge(self, transaction: Transaction) -> int:
        self._outside = outside_pins(self._folder)
        self.take_over_notes(transaction)
        forgotten = self._purge_dead(transaction)
        if forgotten < PURGE_ROWS and self.history.tombstones is not None:
            forgotten += self._expire(transaction, self.history.tombstones)
        return forgotten

    def _purge_dead(self, transaction: Transaction) -> int:
        limit = self._purge_limit(transaction)
        self._purgeable = limit > self._purged_to
        if not self._purgeable:
            return 0
        execute = transaction.connection.execute
        # In etag order, so that neighbours in the file are removed together.
        query = "SELECT etag, replaced_by FROM dead WHERE replaced_by <= ? ORDER BY etag LIMIT ?"
        found: list[tuple[Any, ...]] = execute(query, (limit, PURGE_ROWS)).fetchall()
        if not self._raise(history_from=max((replaced_by for _, replaced_by in found), default=0)):
            return 0  # a newer pin needs one of them; the next step tries again
        if len(found) < PURGE_ROWS:
            self._purged_to, self._purgeable = limit, False
        if not found:
            return 0
        etags = [(etag,) for etag, _ in found]
        query = "DELETE FROM log WHERE etag = ? RETURNING content, digest"
        rows = [msgspec.convert(row, tuple[int | None, bytes]) for each in etags for row in execute(query, each)]
        for content, _ in rows:
            if content is not None:
                delete_content(transaction.connection, content)
        transaction.rows.add(-len(rows), 0, -sum(_number(digest) for _, digest in rows))
        count_purged(transaction.connection, (etag for etag, _ in found))
        self._spans.forget()
        transaction.connection.executemany("DELETE FROM dead WHERE etag = ?", etags)
        transaction.dead = -len(etags)
        write_fact(transaction.connection, "history_from", self._state.history_from)
        return len(etags)

    def _expire(self, transaction: Transaction, window: int) -> int:
        """Forget tombstones older than `window` seconds that a backup holds and no pin needs."""
        connection, newest = transaction.connection, self._state.etag
        limit = expiry_limit(
            purged_to=self._purged_to,
            newest=newest,
            backed_up=self._backed_up if read_state(connection).backups else None,
            before_window=last_etag_before(connection, transaction.modified - window * 1_000_000, newest),
        )
        found = tombstones(connection, limit, PURGE_ROWS)
        if not found or not self._raise(tombstones_from=found[-1].etag):
            return 0
        digests = forget_tombstones(connection, found)
        transaction.rows.add(-len(digests), 0, -sum(map(_number, digests)))
        count_purged(connection, (each.etag for each in found))
        self._spans.forget()
        write_fact(connection, "tombstones_from", self._state.tombstones_from)
        self._purgeable = len(found) == PURGE_ROWS
        return len(found)

    def _raise(self, *, history_from: int = 0, tombstones_from: int = 0) -> bool:
        """Raise the watermarks, unless a pin needs what is before them.

        This is before the commit that makes them true, so that a pin taken meanwhile does not rely on what is going.
        """
        with self._lock:
            pins = [*self._pins.values(), *self._outside]
            if pins and (tombstones_from or min(pins) < history_from):
                return False
            self._state = replace(
                self._state,
                history_from=max(self._state.history_from, history_from),
                tombstones_from=max(self._state.tombstones_from, tombstones_from),
            )
        return True

    def _purge_limit(self, transaction: Transaction) -> int:
        with self._lock:
            pins = [*self._pins.values(), *self._outside]
        newest, before_window = self._state.etag, self._state.etag
        if self.history.kept and self.history.window:
            past = transaction.modified - self.history.window * 1_000_000
            before_window = last_etag_before(transaction.connection, past, newest)
        return purge_limit(
            self.history, newest=newest, pins=pins, backed_up=self._backed_up, before_window=before_window
        )

    def remember_backup(self, sha256: str, place: BackupPlace | None) -> None:
        """Record a backup, and until when it states that nothing was written after it."""

        def job(transaction: Transaction) -> None:
            remember_backup(transaction.connection, sha256, place)
            write_fact(transaction.connection, "told_until", self._told_until)

        self.submit(job).result()

    def take_over_notes(self, transaction: Transaction) -> None:
        """Remember the backups that other processes have taken; their notes are removed when that is on disk.

        So are notes of backups of another history, before this log reaches the etags that they name.
        """
        for path, note in read_notes(self._folder):
            if believed(transaction.connection, read_state(transaction.connection), note):
                remember_backup(transaction.connection, note.sha256, note.place)
                if note.through > self._backed_up:
                    write_fact(transaction.connection, "backed_up", note.through)
                    self._backed_up = note.through
            transaction.afterwards.append(partial(remove_note, path, note))

    def backed_up(self, through: int) -> None:
        """Note that a backup holds everything through this etag."""

        def job(transaction: Transaction) -> None:
            if through > self._backed_up:
                write_fact(transaction.connection, "backed_up", through)

        self.submit(job).result()
        with self._lock:
            self._backed_up = max(self._backed_up, through)
            self._wake_to_purge()

    def configure(self, settings: Mapping[str, str]) -> None:
        """Replace the present settings with these; from now on history is kept as they say."""
        history = history_of(settings)
        text = msgspec.json.encode(dict(settings)).decode()
        self.submit(lambda transaction: write_fact(transaction.connection, "settings", text)).result()
        with self._lock:
            self.history = history
            self._wake_to_purge()


def _runs(group: Iterable[_Asked]) -> Iterator[tuple[list[tuple[Writes, Waiting]], list[_Asked]]]:
    """The jobs in order: some that only write, as many as are written together, or one of another kind."""
    run: list[tuple[Writes, Waiting]] = []
    size = 0
    for job, future in group:
        more = len(job.writes) if isinstance(job, Writes) else TOGETHER + 1
        if run and size + more > TOGETHER:
            yield run, []
            run, size = [], 0
        if isinstance(job, Writes):
            run.append((job, future))
            size += more
        else:
            yield [], [(job, future)]
    if run:
        yield run, []


def _another(error: BaseException) -> BaseException:
    """An equal error for one caller alone, who may add to it what it means for what he does."""
    try:
        return copy(error).with_traceback(error.__traceback__)
    except Exception:  # it is not ours
        return error


def _say_closed(transaction: Transaction) -> None:
    write_fact(transaction.connection, "open", 0)


def last_etag_before(connection: apsw.Connection, modified: int, newest: int) -> int:
    """The last etag committed at this time or before; a binary search, since times ascend with etags."""
    query = "SELECT etag, modified FROM log WHERE etag > ? ORDER BY etag LIMIT 1"
    low, high = 0, newest  # everything through `low` is old enough, nothing after `high` is
    while low < high:
        middle = (low + high) // 2
        row = connection.execute(query, (middle,)).fetchone()
        etag, time = (newest + 1, 0) if row is None else msgspec.convert(row, tuple[int, int])
        if etag > high or time > modified:
            high = middle
        else:
            low = etag
    return low


def delete_content(connection: apsw.Connection, content: int) -> None:
    """Remove the content of an attachment and all its parts."""
    connection.execute("DELETE FROM part WHERE part >= ? AND part < ?", parts_of(content))
    connection.execute("DELETE FROM content WHERE content = ?", (content,))
