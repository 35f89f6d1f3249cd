"""The embedded engine: one SQLite file in a folder of its own. `base` states what it promises."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import apsw
import msgspec

from muniment.document import MAX_ATTACHMENT_BYTES, Document, fold_collection, from_microseconds, rfc3339
from muniment.durable import sync_folder
from muniment.errors import Cancelled, InvalidDocument, LostWrites, StorageFailure
from muniment.fingerprint import ContentDigest
from muniment.query.match import All, Test, Within, searched, test_of
from muniment.query.model import Field, Query, by_score, fields
from muniment.query.plan import FieldIndex, Plan, Wanted
from muniment.query.scan import Matches, grouped, matching, scan
from muniment.revision import Batch, Revision
from muniment.security.encryption import EncryptionKey
from muniment.storage.base import (
    Admit,
    BackupFacts,
    BackupPlace,
    Found,
    Groups,
    Identity,
    KeptHistory,
    Lineage,
    Member,
    Snapshot,
    Upload,
    Write,
    Written,
    everything,
    system_clock,
)
from muniment.storage.freeze import Freeze
from muniment.storage.retention import History, history_of, purge_limit
from muniment.storage.sqlite.building import Builder
from muniment.storage.sqlite.check import check
from muniment.storage.sqlite.cipher import algorithm_in_use
from muniment.storage.sqlite.files import CREATING, FILE, lock, mounted_read_only, still_files
from muniment.storage.sqlite.indexes import (
    Index,
    Named,
    by_field,
    has_indexes,
    indexable,
    read_faults,
    read_indexes,
    usable,
)
from muniment.storage.sqlite.migrate import migrate
from muniment.storage.sqlite.notes import Note, believed, leave_note, note_files, read_notes
from muniment.storage.sqlite.pins import outside_pin
from muniment.storage.sqlite.queries import MOST_SCORES, MOST_TESTS, Finder, collection_matches, size_of
from muniment.storage.sqlite.reach import check_reach, go_on_without
from muniment.storage.sqlite.reader import Reader, read_revisions
from muniment.storage.sqlite.schema import (
    INDEXES,
    PART_BITS,
    PART_BYTES,
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

if TYPE_CHECKING:
    from filelock import FileLock

UPLOAD_PARTS: Final = 8  # parts a staged upload writes in one commit
WAIT_SECONDS: Final = 0.1
FEW_ROWS: Final = 1024  # found rows that are read in one transaction where a page is asked for
FEW_OF_ALL: Final = 128  # and where everything is: bodies may be large
USE_SECONDS: Final = 3600  # how often it is noted that an index is used
INDEX_SECONDS: Final = 30.0  # how long a query waits for the indexes that it wants
BY_COLLECTION: Final = "Raven/DocumentsByEntityName"


class _Asked(NamedTuple):
    """A query, its fields, what it says of their keys, and its kind where a statement may be ready for it."""

    query: Query
    fields: tuple[Field, ...]
    test: Test
    kind: Kind | None = None


class SqliteStorage:
    """A database file that this process has open, for writing or only for reading.

    Raises `LostWrites` when acknowledged writes are missing; `accept_loss` goes on without them, as a new lineage.
    """

    engine: Final = "sqlite"
    index_from = 500
    """How many documents a collection needs, so that a query makes indexes for it."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], int],
        read_only: bool = False,
        accept_loss: bool = False,
        key: EncryptionKey | None = None,
    ) -> None:
        self.folder = folder
        self.key = key
        self.admit: Admit = everything
        self._clock = clock
        self._lock: FileLock | None = None
        self._writer: Writer | None = None
        self._builder: Builder | None = None
        self._note: Note | None = None
        self._named: Named = {}
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
                    self._builder = Builder(self._writer, self._reader, self.pin)
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
        return self.writer.do(Writes(self.admit(writes)))

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

        future = self.writer.submit(job)
        try:
            while not wait([future], WAIT_SECONDS).done:
                pass  # in short waits: a signal just before a wait does not end it
            return future.result()
        except BaseException:
            interrupted.set()
            wait([future])
            raise

    def upload(self, chunks: Iterable[bytes]) -> Upload:
        """Write the content of an attachment to disk, in constant memory, for a later `Write` to name."""
        content: int = self.writer.submit(_new_content).result()
        digest, position = ContentDigest(), 0
        try:
            for parts in _grouped(digest.passing(_parts(chunks)), UPLOAD_PARTS):
                if digest.size > MAX_ATTACHMENT_BYTES:
                    raise InvalidDocument(
                        f"the attachment is larger than {MAX_ATTACHMENT_BYTES:,} bytes", "split it into several"
                    )
                first = (content << PART_BITS) + position
                self.writer.submit(_insert_parts(first, parts)).result()
                position += len(parts)
            self.writer.submit(_complete_content(content, digest.size, digest.sha256)).result()
        except BaseException:
            self.discard(Upload(content, 0, b""))
            raise
        return Upload(content, digest.size, digest.sha256)

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

    def snapshot(self) -> Snapshot:
        """The state after the last commit, without a pin."""
        if self._writer is not None:
            return self._writer.snapshot()
        with self._reader.connection() as connection:
            return read_snapshot(connection)

    @property
    def history(self) -> History:
        """Whether superseded revisions are kept."""
        return history_of(self.settings)

    def kept_history(self) -> KeptHistory:
        """The superseded revisions that have not been purged; reads all of them.

        `since` does not reach back to those that no backup waits for, which the next purge takes.
        """
        history = self.history
        with self._reader.connection() as connection:
            state, newest = read_state(connection), read_snapshot(connection).etag
            old = newest
            if history.window:
                old = last_etag_before(connection, self._clock() - history.window * 1_000_000, newest)
            limit = purge_limit(history, newest=newest, pins=(), backed_up=state.backed_up, before_window=old)
            query = "SELECT ifnull(max(replaced_by), 0) FROM dead WHERE replaced_by <= ?"
            since = max(state.history_from, connection.execute(query, (limit,)).get)
            query = "SELECT modified FROM log WHERE etag > ? ORDER BY etag LIMIT 1"
            row = connection.execute(query, (since,)).fetchone()
            query = "SELECT count(*), total(length(metadata) + ifnull(length(body), 0)) FROM dead JOIN log USING(etag)"
            count, size = connection.execute(query).fetchone() or (0, 0)
        return KeptHistory(since, rfc3339(from_microseconds(row[0])) if row else None, count, int(size))

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

    def changes(self, after: int, upto: int, *, history: bool = False, through: int | None = None) -> Iterator[Batch]:
        """See `base.Storage`."""
        return self._reader.changes(after, upto, history=history, through=through)

    def attachment_changes(self, after: int, upto: int, *, history: bool = False) -> Iterator[Revision]:
        """See `base.Storage`."""
        return self._reader.attachment_changes(after, upto, history=history)

    def versions(self, id: str) -> list[Revision]:
        """All revisions of this document that the log has, deletions too, oldest first."""
        return self._reader.versions(id)

    def logged(self, etag: int) -> tuple[int, bytes] | None:
        """See `base.Storage`."""
        return self._reader.logged(etag)

    def lost(self, after: int, upto: int) -> int:
        """See `base.Storage`."""
        with self._reader.connection() as connection:
            return lost(connection, after, upto)

    def content(self, revision: Revision) -> Iterator[bytes]:
        """The content of an attachment's revision, in parts; it must stay pinned or current meanwhile."""
        return iter(()) if revision.content is None else self._reader.content(revision.content)

    def get(self, kind: int, id: str) -> Revision | None:
        """The current revision of this id, None when there is none or it is deleted."""
        return self._reader.get(kind, id)

    def members(self, prefixes: Sequence[str] = ("",)) -> Iterator[Member]:
        """What is current and whose id begins with one of these, by kind and folded id; all of one moment."""
        return self._reader.members(prefixes)

    def highest_number(self, prefix: str) -> int:
        """The highest number that a current document has after this prefix; 0 when none has one."""
        return self._reader.highest_number(prefix)

    def by_prefix(self, kind: int, prefix: str, start: int, limit: int, after: str = "") -> list[Revision]:
        """Current revisions whose ids begin with the prefix, in the order of their folded ids."""
        return self._reader.by_prefix(kind, prefix, start, limit, after)

    def by_collection(self, collection: str, after: int, limit: int) -> list[Revision]:
        """Current documents of a collection in the order of their etags, from the one after `after`."""
        return self._reader.by_collection(collection, after, limit)

    def by_etag(self, kind: int, after: int, limit: int) -> list[Revision]:
        """Current documents or attachments in the order of their etags, from the one after `after`."""
        return self._reader.by_etag(kind, after, limit)

    @contextmanager
    def find(self, query: Query, *, counted: bool = False) -> Iterator[Found]:
        """See `base.Storage`."""
        compared, test = fields(query), test_of(query.where)
        asked = _Asked(query, compared, test, kind_of(query, test, counted=counted))
        if (found := self._found_by_one(asked)) is not None:
            yield found
            return
        self._want_indexes(asked)
        if (found := self._found_at_once(asked, counted)) is not None:
            yield found
            return
        with self.pin() as snapshot:
            with self._reader.connection() as connection, connection:  # one transaction
                plan, matches = self._by_indexes(connection, asked, counted)
            if matches is None:
                matches = scan(query, self._documents(query, snapshot.etag))
                if not matches.etags:
                    plan = msgspec.structs.replace(plan, unknown=matches.unknown)
            yield Found(self._reader.revisions(matches.etags), matches.total if counted else None, plan)

    def _found_by_one(self, asked: _Asked) -> Found | None:
        """What one index finds by a statement that is ready; None where it finds nothing, or is not ready."""
        query, test, writer = asked.query, asked.test, self._writer
        known = self._prepared.get(asked.kind) if asked.kind else None
        if known is None or writer is None or query.take is None or query.take > FEW_ROWS:
            return None
        if not isinstance(test, Within) or not known.is_good(writer.indexes) or self._is_late(known.of):
            return None
        revisions, total = self._reader.told(known.sql, (*test.intervals[0], query.take, query.skip))
        if not revisions or not known.is_good(writer.indexes):
            return None
        return Found(iter(revisions), None if total < 0 else total, known.plan)

    def _found_at_once(self, asked: _Asked, counted: bool) -> Found | None:
        """What indexes find, read in one transaction, without a pin; None without them, or if it is too much."""
        most = FEW_ROWS if asked.query.take is not None else FEW_OF_ALL
        if asked.query.take is None or asked.query.take > most:
            asked = asked._replace(query=msgspec.structs.replace(asked.query, take=most + 1))
        with self._reader.connection() as connection, connection:
            plan, matches = self._by_indexes(connection, asked, counted)
            if matches is None or len(matches.etags) > most:
                return None
            revisions, total = read_revisions(connection, matches.etags), matches.total if counted else None
        return Found(iter(revisions), total, plan)

    def _by_indexes(self, connection: apsw.Connection, asked: _Asked, counted: bool) -> tuple[Plan, Matches | None]:
        if not asked.fields and isinstance(asked.test, All) and not asked.test.items:
            return Plan((BY_COLLECTION,)), collection_matches(connection, asked.query, counted=counted)
        plan, finder = self._finder(connection, asked)
        if finder is None:
            return plan, None
        matches = finder.matches(counted=counted)
        if not matches.etags:
            plan = msgspec.structs.replace(plan, unknown=finder.unknown())
        return plan, matches

    def _finder(self, connection: apsw.Connection, asked: _Asked) -> tuple[Plan, Finder | None]:
        known = self._writer.indexes.all if self._writer else ()
        indexes, collection = usable(connection, asked.query.collection), fold_collection(asked.query.collection)
        missing = [field for field in asked.fields if field not in indexes]
        if missing or not asked.fields:
            why = self._why_not(collection, missing)
            return Plan(scanned=True, why=f"{why}: every document was looked at"), None
        if size_of(asked.test) > MOST_TESTS:
            return Plan(scanned=True, why=f"it has more than {MOST_TESTS} conditions"), None
        if by_score(asked.query) and len([*searched(asked.test)]) > MOST_SCORES:
            return Plan(scanned=True, why=f"more than {MOST_SCORES} searches have a part in the score"), None
        used = {field: indexes[field] for field in asked.fields}
        self._note_use(used.values())
        named = self._names
        names = [named.get((collection, field), index.name) for field, index in used.items()]
        had = ", ".join(f"{field} in {name}" for field, name in zip(used, names, strict=True))
        plan = Plan(tuple(dict.fromkeys(names)), why=f"there is an index on each field: {had}")
        if asked.kind and (statement := prepared(asked.kind, used[asked.kind.field], plan, known, named)):
            if len(self._prepared) >= MOST:
                self._prepared.clear()
            self._prepared[asked.kind] = statement
        return plan, Finder(connection, asked.query, asked.test, used)

    def _why_not(self, collection: str | None, missing: Sequence[Field]) -> str:
        if not missing:
            return "the condition names no field"
        built = {field: self._progress(collection, field) for field in missing}
        begun = [
            f"the index on {field} is being built ({part:.0%})" for field, part in built.items() if part is not None
        ]
        if others := [str(field) for field, part in built.items() if part is None]:
            begun.insert(0, f"there is no index on {', '.join(others)}")
        return ", and ".join(begun)

    def _note_use(self, indexes: Iterable[Index]) -> None:
        if self._writer is not None and (late := list(filter(self._is_late, indexes))):
            self._writer.use_indexes(late)

    def _is_late(self, index: Index) -> bool:
        """Whether it is to be noted anew that an index is used."""
        return index.used < self._clock() - USE_SECONDS * 1_000_000

    def _want_indexes(self, asked: _Asked) -> None:
        """Have an index on each field that is asked for, if that is worth it; wait for them a while."""
        if self._builder is None or self._writer is None:
            return
        collection = fold_collection(asked.query.collection)
        ready = {index.field for index in self._writer.indexes.all if index.collection == collection and index.ready}
        missing = [field for field in asked.fields if field not in ready]
        if not missing or size_of(asked.test) > MOST_TESTS:
            return
        wanted = all((collection, field) in self._names for field in missing)
        if all(map(indexable, asked.fields)) and (wanted or self._writer.documents(collection) >= self.index_from):
            self._builder.want(collection, missing, INDEX_SECONDS)

    def group(self, query: Query) -> Groups:
        """See `base.Storage`."""
        assert query.group is not None
        asked = _Asked(query, fields(query), test_of(query.where))
        self._want_indexes(asked)
        with self._reader.connection() as connection, connection:
            plan, finder = self._finder(connection, asked)
            rows = finder.groups(query.group) if finder else None
        if rows is not None:
            return Groups(rows, plan)
        with self.pin() as snapshot:
            found = matching(query, self._documents(query, snapshot.etag))
            plan = plan if plan.scanned else Plan(scanned=True, why="no index says enough of these groups")
            return Groups(grouped(query.group, (keys for _, keys in found)), plan)

    def indexes(self) -> list[FieldIndex]:
        """The indexes on fields that queries have made, or that an index with a name has."""
        with self._reader.connection() as connection, connection:
            found = read_indexes(connection) if has_indexes(connection) else ()
            faults = read_faults(connection)
        return [
            FieldIndex(
                each.name,
                each.collection,
                each.field,
                each.ready,
                from_microseconds(each.used),
                1.0 if each.ready else self._progress(each.collection, each.field) or 0.0,
                faults.get(each.number, ()),
            )
            for each in found
        ]

    def keep_indexes(self, named: Callable[[], Mapping[str, Wanted]]) -> None:
        """Have these indexes, now and whenever a definition of one has been written, however seldom they are used.

        `named` reads the definitions, in a thread of its own. Where this is open only for reading, they are known by
        their names, and not made.
        """
        if self._builder is not None:
            self._builder.keep(named)
        else:
            self._named = by_field(named())

    @property
    def _names(self) -> Named:
        return self._named if self._writer is None else self._writer.indexes.named

    def _progress(self, collection: str | None, field: Field) -> float | None:
        return None if self._builder is None else self._builder.progress(collection, field)

    def drop_index(self, name: str) -> bool:
        """Drop the index with this name, in any case; returns whether there was one. The next query makes it anew."""
        writer = self.writer
        return writer.submit(lambda _: writer.indexes.drop(name)).result()

    def _documents(self, query: Query, upto: int) -> Iterator[Document]:
        return map(Document.of, self._reader.documents(query.collection, upto))

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


def _parts(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of exactly 1 MiB, except the last."""
    waiting = bytearray()
    for chunk in chunks:
        waiting += chunk
        while len(waiting) >= PART_BYTES:
            yield bytes(waiting[:PART_BYTES])
            del waiting[:PART_BYTES]
    if waiting:
        yield bytes(waiting)


def _grouped(items: Iterable[bytes], count: int) -> Iterator[list[bytes]]:
    group: list[bytes] = []
    for item in items:
        group.append(item)
        if len(group) == count:
            yield group
            group = []
    if group:
        yield group
