"""The embedded engine: one SQLite file in a folder of its own. `base` states what it promises."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import apsw
import msgspec

from muniment.document import from_microseconds, rfc3339
from muniment.durable import sync_folder
from muniment.errors import Cancelled, LostWrites, StorageFailure
from muniment.query.match import Within, Words
from muniment.query.model import Field, Query
from muniment.query.plan import IndexFault, Plan
from muniment.query.scan import Matches
from muniment.revision import Revision
from muniment.security.encryption import EncryptionKey
from muniment.storage import queries
from muniment.storage.base import (
    Arrived,
    BackupFacts,
    BackupPlace,
    Documents,
    Found,
    Identity,
    KeptHistory,
    Lineage,
    Snapshot,
    Upload,
    Waiting,
    Write,
    Written,
    everything,
    system_clock,
)
from muniment.storage.building import Builder
from muniment.storage.freeze import Freeze
from muniment.storage.indexes import Index
from muniment.storage.sqlite.arriving import Arrivals
from muniment.storage.sqlite.building import Submitted
from muniment.storage.sqlite.check import check
from muniment.storage.sqlite.cipher import algorithm_in_use
from muniment.storage.sqlite.files import CREATING, FILE, lock, mounted_read_only, still_files
from muniment.storage.sqlite.indexes import has_indexes, read_faults, read_indexes, usable
from muniment.storage.sqlite.migrate import migrate
from muniment.storage.sqlite.notes import Note, believed, leave_note, note_files, read_notes
from muniment.storage.sqlite.pins import outside_pin
from muniment.storage.sqlite.queries import Finder, collection_matches, matching
from muniment.storage.sqlite.reach import check_reach, go_on_without
from muniment.storage.sqlite.reader import Reader, read_revisions
from muniment.storage.sqlite.schema import (
    INDEXES,
    PART_BITS,
    READABLE,
    connect,
    create,
    mapped,
    mapped_errors,
    outdated,
    unsure,
    wait_for_commit,
)
from muniment.storage.sqlite.single import MOST, Kind, Prepared, kind_of, prepared
from muniment.storage.sqlite.spans import begin_counting, lost
from muniment.storage.sqlite.state import identity_facts, read_snapshot, read_state, write_facts
from muniment.storage.sqlite.transaction import Transaction, Writes
from muniment.storage.sqlite.writer import Writer, delete_content, last_etag_before
from muniment.storage.store import FEW_OF_ALL, FEW_ROWS, Asked, Store, awaited, kept_history, kept_since, uploaded

if TYPE_CHECKING:
    from filelock import FileLock


class SqliteStorage(Store[apsw.Connection]):
    """A database file that this process has open, for writing or only for reading.

    Raises `LostWrites` when acknowledged writes are missing; `accept_loss` goes on without them, as a new lineage.
    """

    engine: Final = "sqlite"

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], int],
        read_only: bool = False,
        accept_loss: bool = False,
        key: EncryptionKey | None = None,
    ) -> None:
        super().__init__(folder, clock)
        self.key = key
        self._lock: FileLock | None = None
        self._writer: Writer | None = None
        self._note: Note | None = None
        self._prepared: dict[Kind, Prepared] = {}
        self._still = still_files(folder) if read_only else None
        if not read_only:
            self._lock = lock(folder)
        try:
            self._open(clock, read_only, accept_loss)
        except BaseException:
            self._release()
            raise

    def _open(self, clock: Callable[[], int], read_only: bool, accept_loss: bool) -> None:
        connection = connect(self.folder, key=self.key, read_only=read_only, still=self._still)
        try:
            with mapped_errors(self.folder):
                if self.key:  # so that readers need not find it out again
                    self.key = EncryptionKey(self.key.secret, algorithm_in_use(connection))
                if not read_only and outdated(connection, READABLE):  # what lost writes show in is not there yet
                    migrate(connection, self.folder)
                try:
                    check_reach(connection, self.folder)
                except LostWrites:
                    if not accept_loss:
                        raise
                    if not read_only:
                        go_on_without(connection, self.folder, clock())
                if not read_only and outdated(connection):  # now, since it empties a log that may be damaged
                    migrate(connection, self.folder)
                self.identity = read_state(connection).identity
                self._reader = Reader(self.folder, self._still, self.key)
                if not read_only:
                    _forget_staged(connection)
                    self._writer = Writer(connection, self.folder, clock)
                    self._builder = Builder(Submitted(self._writer), self._reader, self.pin)
                    if note_files(self.folder):
                        self._writer.submit(self._writer.take_over_notes).result()
        finally:
            if self._writer is None:
                connection.close()

    @property
    def file_bytes(self) -> int:
        """The size of the database file and of the files that SQLite and Muniment keep next to it."""
        with mapped_errors(self.folder):
            return sum(path.stat().st_size for path in self.folder.glob(f"{FILE}*"))

    @property
    def writer(self) -> Writer:
        """The writer; raises `StorageFailure` when the database was opened read-only."""
        if self._writer is None:
            raise StorageFailure(f"the database in {self.folder} was opened only for reading", "open it for writing")
        return self._writer

    def submit(self, writes: Sequence[Write], replaced: dict[int, int] | None = None) -> Future[list[Written]]:
        """Like `commit`, without waiting: the future is done when the writes are on disk.

        Then `replaced`, if given, maps each new etag that replaced an older revision to the etag of that one.
        """
        return self.writer.submit(Writes(self.admit(writes), replaced))

    def commit(self, writes: Sequence[Write]) -> list[Written]:
        """Carry out the writes in order as one transaction, or change nothing; they are on disk when this returns."""
        return self.writer.do(Writes(self.admit(writes)))  # a future would take a tenth of the time of a single put

    def submit_for(self, waiting: Waiting, writes: Sequence[Write]) -> None:
        """Like `submit`; the answer is given to this one."""
        self.writer.submit_for(waiting, Writes(self.admit(writes)))

    def submit_documents(
        self, documents: Documents, replaced: dict[int, int]
    ) -> Future[list[Written]] | Future[Arrived]:
        """`submit` for documents in columns, in less time if all of them are new: then the result is their etags."""
        if self.admit is everything:
            return self.writer.submit(Arrivals(documents, replaced, self.writer.rows))
        return super().submit_documents(documents, replaced)

    def commit_all(self, batches: Iterable[Sequence[Write]]) -> int:
        """Carry out all batches in order as one transaction; each is taken when the one before it is done.

        Returns the last etag when they are on disk. An error while a batch is taken, or an interrupt of this thread,
        undoes everything. No batch is taken after this has returned or raised.
        """
        interrupted = threading.Event()

        def job(transaction: Transaction) -> int:
            for writes in batches:
                if interrupted.is_set():
                    raise Cancelled("stopped while writing", "write it again; nothing was stored")
                transaction.write(self.admit(writes))
            return transaction.etag

        return awaited(self.writer.submit(job), interrupted.set)

    def upload(self, chunks: Iterable[bytes]) -> Upload:
        """Write the content of an attachment to disk, in constant memory, for a later `Write` to name."""
        content: int = self.writer.submit(_new_content).result()

        def store(place: int, parts: list[bytes]) -> None:
            self.writer.submit(_insert_parts((content << PART_BITS) + place, parts)).result()

        try:
            size, sha256 = uploaded(chunks, store)
            self.writer.submit(_complete_content(content, size, sha256)).result()
        except BaseException:
            self.discard(Upload(content, 0, b""))
            raise
        return Upload(content, size, sha256)

    def discard(self, upload: Upload) -> None:
        """Forget an upload that no revision will name."""
        self.writer.submit(lambda transaction: _delete_staged(transaction, upload.content)).result()

    @contextmanager
    def pin(self, keep: int | None = None) -> Iterator[Snapshot]:
        """A snapshot of this moment: until the block ends, what is current now can be read.

        With `keep`, so can what was current at that etag or later. A process that has the database open read-only keeps
        the process that writes from purging by a file in the folder (see `pins`), unless nobody can write there.
        """
        if self._writer is None:
            with self._pin_outside(keep) as snapshot:
                yield snapshot
            return
        pin = object()
        try:
            yield self._writer.snapshot(pin, keep)
        finally:
            self._writer.unpin(pin)

    @contextmanager
    def _pin_outside(self, keep: int | None) -> Iterator[Snapshot]:
        if self._still:
            yield self.snapshot()
            return
        with ExitStack() as stack:
            try:
                pin = stack.enter_context(outside_pin(self.folder))
            except OSError as error:
                raise (unsure(self.folder) if mounted_read_only(self.folder) else mapped(error, self.folder)) from error
            if keep is not None:  # a purge that began before has not seen the pin: wait for what it takes
                with self._reader.connection() as connection:
                    wait_for_commit(connection)
            snapshot = self.snapshot()
            pin.move(snapshot.etag if keep is None else min(keep, snapshot.etag))
            yield snapshot

    @property
    def last_etag(self) -> int:
        return self._writer.last_etag if self._writer is not None else self.snapshot().etag

    @property
    def known_etag(self) -> int:
        """The same: nobody else writes."""
        return self.last_etag

    def snapshot(self) -> Snapshot:
        """The state after the last commit, without a pin."""
        if self._writer is not None:
            return self._writer.snapshot()
        with self._reader.connection() as connection:
            return read_snapshot(connection)

    def kept_history(self) -> KeptHistory:
        """The superseded revisions that have not been purged; reads all of them.

        `since` does not reach back to those that no backup waits for, which the next purge takes.
        """
        with self._moment() as connection:
            state, newest = read_state(connection), read_snapshot(connection).etag
            limit = kept_since(
                state.settings,
                backed_up=state.backed_up,
                newest=newest,
                now=self._clock(),
                last_before=lambda time: last_etag_before(connection, time, newest),
            )
            query = "SELECT ifnull(max(replaced_by), 0) FROM dead WHERE replaced_by <= ?"
            since = max(state.history_from, connection.execute(query, (limit,)).get)
            time = connection.execute("SELECT modified FROM log WHERE etag > ? ORDER BY etag LIMIT 1", (since,)).get
            query = "SELECT count(*), total(length(metadata) + ifnull(length(body), 0)) FROM dead JOIN log USING(etag)"
            count, size = connection.execute(query).fetchone() or (0, 0)
        return kept_history(since, time, count, int(size))

    @property
    def settings(self) -> dict[str, str]:
        """The database's settings, a copy."""
        with self._reader.connection() as connection:
            return dict(read_state(connection).settings)

    def configure(self, settings: Mapping[str, str]) -> None:
        """Replace the present settings with these; raises `InvalidInput` when one is not valid."""
        self.writer.configure(settings)

    def backup_facts(self) -> BackupFacts:
        """What the database remembers of its backups and of what it has forgotten."""
        with mapped_errors(self.folder):
            left = [note for _, note in read_notes(self.folder)]  # before the state, which takes them over
        with self._reader.connection() as connection:
            state = read_state(connection)
            notes = [note for note in left if believed(connection, state, note)]
        places = {place.folder: place for place in state.places}
        for place in (note.place for note in notes if note.place):
            places.pop(place.folder, None)  # it comes last now
            places[place.folder] = place
        known = frozenset((*state.backups, *(note.sha256 for note in notes)))
        return BackupFacts(known, state.tombstones_from, tuple(places.values()))

    def remember_backup(
        self, sha256: str, place: BackupPlace | None = None, end: tuple[int, int] | None = None
    ) -> None:
        """Remember that a backup with this manifest is about to be published there; on disk when this returns.

        `end` is the last etag of the state that it holds and the time of its transaction (microseconds). Where the
        database is open read-only, a note is left for the process that writes to it (see `notes`).
        """
        if self._writer is not None:
            self._writer.remember_backup(sha256, place)
            return
        etag, modified = end or (-1, 0)
        self._note = Note(sha256, self.identity.lineage, place, etag=etag, modified=modified)
        with mapped_errors(self.folder):
            leave_note(self.folder, self._note)

    def backed_up(self, through: int) -> None:
        """Note that a backup holds everything through this etag, so that kept history may be purged."""
        if self._writer is not None:
            self._writer.backed_up(through)
        elif self._note is not None:
            with mapped_errors(self.folder):
                leave_note(self.folder, msgspec.structs.replace(self._note, through=through))

    def lost(self, after: int, upto: int) -> int:
        """See `base.Storage`."""
        with self._reader.connection() as connection:
            return lost(connection, after, upto)

    def _found_by_one(self, asked: Asked) -> Found | None:
        query, test, writer = asked.query, asked.test, self._writer
        kind = kind_of(query, test, counted=asked.counted)
        known = self._prepared.get(kind) if kind else None
        take = FEW_OF_ALL + 1 if query.take is None else query.take
        if known is None or writer is None or take > FEW_ROWS:
            return None
        if not isinstance(test, Within | Words) or not known.is_good(writer.indexes) or self._is_late(known.of):
            return None
        asked_for = test.intervals[0] if isinstance(test, Within) else (matching(test),)
        revisions, total = self._reader.told(known.sql, (*asked_for, take, query.skip))
        if not revisions or (query.take is None and len(revisions) > FEW_OF_ALL) or not known.is_good(writer.indexes):
            return None
        return Found(iter(revisions), None if total < 0 else total, known.plan)

    def _finder(self, connection: apsw.Connection, asked: Asked) -> tuple[Plan, queries.Finder | None]:
        known, named = self._writer.indexes.all if self._writer else (), self._given
        plan, finder = super()._finder(connection, asked)
        kind = None if asked.query.group else kind_of(asked.query, asked.test, counted=asked.counted)
        if kind and finder and (statement := prepared(kind, finder.indexes[kind.field], plan, known, named)):
            if len(self._prepared) >= MOST:
                self._prepared.clear()
            self._prepared[kind] = statement
        return plan, finder

    @property
    def _reads(self) -> Reader:
        return self._reader

    @contextmanager
    def _moment(self) -> Iterator[apsw.Connection]:
        with self._reader.connection() as connection, connection:
            yield connection

    def _read(self, connection: apsw.Connection, etags: list[int]) -> list[Revision]:
        return read_revisions(connection, etags)

    def _collection_matches(self, connection: apsw.Connection, query: Query, *, counted: bool) -> Matches:
        return collection_matches(connection, query, counted=counted)

    def _usable(self, connection: apsw.Connection, collection: str | None) -> dict[Field, Index]:
        return usable(connection, collection)

    def _index_facts(self, connection: apsw.Connection) -> tuple[Sequence[Index], dict[int, tuple[IndexFault, ...]]]:
        return read_indexes(connection) if has_indexes(connection) else (), read_faults(connection)

    def _find_in(self, connection: apsw.Connection, asked: Asked, used: Mapping[Field, Index]) -> Finder:
        return Finder(connection, asked.query, asked.test, used)

    def _use(self, indexes: Sequence[Index]) -> None:
        if self._writer is not None:
            self._writer.use_indexes(indexes)

    def drop_index(self, name: str) -> bool:
        """Drop the index with this name, in any case; returns whether there was one. The next query makes it anew."""
        writer = self.writer
        return writer.submit(lambda _: writer.indexes.drop(name)).result()

    shared: Final = False
    """One process writes to a folder at a time, so nobody else can do there what this one does."""

    alone: Final = True

    def take(self, what: str) -> str | None:
        """See `base.Storage`."""
        return None

    def holder(self, what: str) -> str | None:
        """See `base.Storage`."""
        return None

    def give_back(self, what: str) -> None:
        """See `base.Storage`."""

    def note(self, name: str) -> bytes | None:
        """What is in the file of this name beside the database; None when there is none."""
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def write_note(self, name: str, note: bytes | None) -> None:
        """Have this in that file, or no such file."""
        path = self.folder / name
        if note is None:
            path.unlink(missing_ok=True)
        else:
            unnamed = path.with_name(f"{name}.new")
            unnamed.write_bytes(note)
            unnamed.replace(path)

    def purge(self) -> int:
        """Forget now what no pin needs; returns the number of revisions."""
        total = 0
        while step := self.writer.purge():
            total += step
        return total

    def check(self) -> Iterator[str]:
        """One sentence for each way in which the database does not agree with itself; none when all is well."""
        with self._reader.connection() as connection:
            yield from check(connection)

    def freeze(self, seconds: float) -> Freeze[Snapshot]:
        """Have the files stand still for up to so many seconds, as soon as what was submitted is on disk.

        Raises `Conflict` while they are to stand still already.
        """
        return self.writer.freeze(seconds)

    @property
    def frozen(self) -> Freeze[Snapshot] | None:
        """The freeze that has begun or is about to, None when there is none."""
        return None if self._writer is None else self._writer.frozen

    @property
    def waiting(self) -> int:
        """About how many jobs wait for the writer."""
        return 0 if self._writer is None else self._writer.waiting

    def close(self) -> None:
        """Finish what was submitted, and close the files, so that others can open the database."""
        if self._builder is not None:
            self._builder.close()
        self._reader.close()
        self._release()

    def _release(self) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._lock is not None:
            self._lock.release()


def create_storage(folder: Path, clock: Callable[[], int] = system_clock, key: EncryptionKey | None = None) -> None:
    """Make a new, empty database in this folder, which must hold none. A crash leaves none or a whole one."""
    lineage = Lineage(str(uuid.uuid4()), None, 0, None, rfc3339(from_microseconds(clock())))
    identity = Identity(str(uuid.uuid4()), lineage.lineage, (lineage,))
    unfinished = folder / CREATING
    with mapped_errors(folder):
        unfinished.unlink(missing_ok=True)
        connection = create(unfinished, key)
        connection.execute(INDEXES)
        with connection:
            write_facts(connection, identity_facts(identity))
            begin_counting(connection, 0)
        connection.close()
        unfinished.rename(folder / FILE)
        sync_folder(folder)


def _forget_staged(connection: apsw.Connection) -> None:
    """Remove the uploads that a crash left without a revision."""
    with connection:
        staged: list[tuple[Any, ...]] = connection.execute("SELECT content FROM content WHERE staged = 1").fetchall()
        for (content,) in staged:
            delete_content(connection, content)


def _new_content(transaction: Transaction) -> int:
    query = "INSERT INTO content(size, sha256, staged) VALUES(0, x'', 1) RETURNING content"
    content: int = transaction.connection.execute(query).get
    return content


def _insert_parts(first: int, parts: Sequence[bytes]) -> Callable[[Transaction], None]:
    rows = list(enumerate(parts, first))

    def job(transaction: Transaction) -> None:
        transaction.connection.executemany("INSERT INTO part VALUES(?, ?)", rows)

    return job


def _complete_content(content: int, size: int, sha256: bytes) -> Callable[[Transaction], None]:
    def job(transaction: Transaction) -> None:
        query = "UPDATE content SET size = ?, sha256 = ? WHERE content = ?"
        transaction.connection.execute(query, (size, sha256, content))

    return job


def _delete_staged(transaction: Transaction, content: int) -> None:
    staged = transaction.connection.execute("SELECT staged FROM content WHERE content = ?", (content,)).get
    if staged == 1:
        delete_content(transaction.connection, content)
