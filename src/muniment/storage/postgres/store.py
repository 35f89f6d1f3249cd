"""A database in a schema of PostgreSQL, which several processes may have open and write to. See `base` for promises.

Queries look at every document of their collection: there are no indexes on fields here yet, and answers say so.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import Final

import msgspec

from muniment.document import MAX_ATTACHMENT_BYTES, Document, from_microseconds, rfc3339
from muniment.errors import InvalidDocument, NotEvaluated, StorageFailure
from muniment.fingerprint import ContentDigest
from muniment.query.match import All, test_of
from muniment.query.model import Query, fields
from muniment.query.plan import FieldIndex, Plan, Wanted
from muniment.query.scan import Matches, grouped, matching, scan
from muniment.revision import DOCUMENT, Batch, Revision
from muniment.security.encryption import EncryptionKey
from muniment.storage.base import (
    Admit,
    BackupFacts,
    BackupPlace,
    Found,
    Groups,
    Identity,
    KeptHistory,
    Member,
    Snapshot,
    Upload,
    Write,
    Written,
    everything,
)
from muniment.storage.freeze import Freeze
from muniment.storage.location import Address
from muniment.storage.postgres.check import check, lost
from muniment.storage.postgres.connection import Connection, Names, leave, mapped_errors, use
from muniment.storage.postgres.facts import KNOWN_BACKUPS, KNOWN_PLACES, read_state, write_facts
from muniment.storage.postgres.keeper import Keeper
from muniment.storage.postgres.migrate import check_current, upgrade
from muniment.storage.postgres.purge import forget_contents, last_etag_before
from muniment.storage.postgres.reader import Reader
from muniment.storage.postgres.rights import check_rights
from muniment.storage.postgres.schema import FORMAT, PART_BYTES, format_of
from muniment.storage.postgres.writer import Spool, Writer
from muniment.storage.postgres.writing import fold_collection
from muniment.storage.retention import History, history_of, purge_limit

UPLOAD_PARTS: Final = 8  # parts that are sent at once
WAIT_SECONDS: Final = 0.1
BY_COLLECTION: Final = "Raven/DocumentsByEntityName"
SCANNED: Final = Plan(scanned=True, why="in PostgreSQL there are no indexes on fields: every document was looked at")
_LIMIT: Final = "SELECT coalesce(max(replaced_by), 0) FROM {s}.dead WHERE replaced_by <= %s"
_AFTER: Final = "SELECT modified FROM {s}.log WHERE etag > %s ORDER BY etag LIMIT 1"
_KEPT: Final = """
SELECT count(*), coalesce(sum(octet_length(metadata) + coalesce(octet_length(body), 0)), 0)::bigint
FROM {s}.dead d JOIN {s}.log l ON l.etag = d.etag AND l.key = d.key
"""


class PostgresStorage:
    """A database that this process has open, for writing or only for reading."""

    engine: Final = "postgresql"
    key: EncryptionKey | None = None

    def __init__(self, address: Address, *, clock: Callable[[], int], read_only: bool = False) -> None:
        self.folder = address
        self.admit: Admit = everything
        self._clock = clock
        self._names = Names(address)
        self._pool = use(address)
        self._writer: Writer | None = None
        self._closed = False
        try:
            self._reader = Reader(self._pool, self._names, address)
            found = self._reader.read(lambda connection: self._looked_at(connection, writes=not read_only))
            if found < FORMAT and not read_only:
                with self._reader.connection() as connection:
                    upgrade(connection, address)
            self._keeper = Keeper(self._pool, self._names, address, clock, writes=not read_only)
            self._keeper.start()
            try:
                # Now that whoever would bring it up sees that it is open.
                check_current(self._reader.read(lambda connection: format_of(connection, address)), address)
                self.identity: Identity = self._reader.state().identity
                if not read_only:
                    self._writer = Writer(self._pool, self._names, address, clock, self._keeper.committed)
            except BaseException:
                self._keeper.close()
                raise
        except BaseException:
            leave(self._pool)
            raise

    def _looked_at(self, connection: Connection, *, writes: bool) -> int:
        """The format that the database has, if this role may use it."""
        check_rights(connection, self.folder, writes=writes)
        return format_of(connection, self.folder)

    @property
    def file_bytes(self) -> int:
        """The size of the database's tables and indexes in PostgreSQL."""
        query = """SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_catalog.pg_class c
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relkind = 'r'"""
        return int(self._reader.rows(query, (self.folder.schema,))[0][0])

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
        return self.writer.submit(self.admit(writes), replaced)

    def commit(self, writes: Sequence[Write]) -> list[Written]:
        """Carry out the writes in order as one transaction, or change nothing; they are on disk when this returns."""
        return self.submit(writes).result()

    def commit_all(self, batches: Iterable[Sequence[Write]]) -> int:
        """Carry out all batches in order as one transaction, which begins when all of them are there.

        Returns the last etag when they are on disk. An error while a batch is taken, or an interrupt of this thread,
        undoes everything.
        """
        writer, spool = self.writer, Spool()
        try:
            for writes in batches:
                spool.add(self.admit(writes))
            future = writer.submit_all(spool)
            try:
                while not wait([future], WAIT_SECONDS).done:
                    pass  # in short waits: a signal just before a wait does not end it
                return future.result()
            except BaseException:
                spool.stopped = True
                wait([future])
                raise
        finally:
            spool.close()

    def upload(self, chunks: Iterable[bytes]) -> Upload:
        """Write the content of an attachment to disk, in constant memory, for a later `Write` to name."""
        _ = self.writer
        content = secrets.randbits(62)
        digest, number = ContentDigest(), 0
        self._write("INSERT INTO {s}.content(content, size, sha256, staged) VALUES(%s, 0, ''::bytea, true)", content)
        try:
            for parts in _grouped(digest.passing(_parts(chunks)), UPLOAD_PARTS):
                if digest.size > MAX_ATTACHMENT_BYTES:
                    raise InvalidDocument(
                        f"the attachment is larger than {MAX_ATTACHMENT_BYTES:,} bytes", "split it into several"
                    )
                query = "INSERT INTO {s}.part SELECT %s, * FROM unnest(%b::integer[], %b::bytea[])"
                self._write(query, content, list(range(number, number + len(parts))), parts)
                number += len(parts)
            query = "UPDATE {s}.content SET size = %s, sha256 = %s WHERE content = %s"
            self._write(query, digest.size, digest.sha256, content)
        except BaseException:
            self.discard(Upload(content, 0, b""))
            raise
        return Upload(content, digest.size, digest.sha256)

    def discard(self, upload: Upload) -> None:
        """Forget an upload that no revision will name."""
        _ = self.writer

        def forget(connection: Connection) -> None:
            with connection.transaction():
                query = "SELECT content FROM {s}.content WHERE content = %s AND staged FOR UPDATE"
                staged = connection.execute(self._names.sql(query), (upload.content,)).fetchall()
                forget_contents(connection, self._names, [content for (content,) in staged])

        self._changed(forget)

    def _write(self, query: str, *bound: object) -> None:
        self._changed(lambda connection: connection.execute(self._names.sql(query), bound))

    def _changed(self, what: Callable[[Connection], object]) -> None:
        with self._reader.connection() as connection:
            what(connection)

    @contextmanager
    def pin(self, keep: int | None = None) -> Iterator[Snapshot]:
        """A snapshot of this moment: until the block ends, what is current now can be read.

        With `keep`, so can what was current at that etag or later. It is a row that is renewed while this process runs.
        """
        with self._keeper.pin(keep) as snapshot:
            yield snapshot

    @property
    def last_etag(self) -> int:
        return self._reader.last_etag()

    def snapshot(self) -> Snapshot:
        """The state after the last commit, without a pin."""
        return self._reader.facts().snapshot()

    @property
    def history(self) -> History:
        """Whether superseded revisions are kept."""
        return history_of(self.settings)

    def kept_history(self) -> KeptHistory:
        """The superseded revisions that have not been purged; reads all of them.

        `since` does not reach back to those that no backup waits for, which the next purge takes.
        """
        with self._reader.moment() as connection:
            state = read_state(connection, self._names)
            history = history_of(state.settings)
            newest = connection.execute(self._names.sql("SELECT etag FROM {s}.muniment")).fetchall()[0][0]
            old = newest
            if history.window:
                past = self._clock() - history.window * 1_000_000
                old = last_etag_before(connection, self._names, past, newest)
            limit = purge_limit(history, newest=newest, pins=(), backed_up=state.backed_up, before_window=old)
            forgotten = connection.execute(self._names.sql(_LIMIT), (limit,)).fetchall()[0][0]
            since = max(state.history_from, forgotten)
            row = connection.execute(self._names.sql(_AFTER), (since,)).fetchone()
            count, size = connection.execute(self._names.sql(_KEPT)).fetchall()[0]
        return KeptHistory(since, rfc3339(from_microseconds(row[0])) if row else None, count, size)

    @property
    def settings(self) -> dict[str, str]:
        """The database's settings, a copy."""
        return dict(self._reader.state().settings)

    def configure(self, settings: Mapping[str, str]) -> None:
        """Replace the present settings with these; raises `InvalidInput` when one is not valid."""
        _ = self.writer
        history_of(settings)
        self._changed(lambda connection: write_facts(connection, self._names, {"settings": dict(settings)}))
        self._keeper.changed()

    def backup_facts(self) -> BackupFacts:
        """What the database remembers of its backups and of what it has forgotten."""
        state = self._reader.state()
        return BackupFacts(frozenset(state.backups), state.tombstones_from, state.places)

    def remember_backup(
        self, sha256: str, place: BackupPlace | None = None, end: tuple[int, int] | None = None
    ) -> None:
        """Remember that a backup with this manifest is about to be published there; on disk when this returns."""

        def remember(connection: Connection) -> None:
            with connection.transaction():
                query = "SELECT 1 FROM {s}.state WHERE name = 'backups' FOR UPDATE"
                connection.execute(self._names.sql(query))
                state = read_state(connection, self._names)
                known = [*(other for other in state.backups if other != sha256), sha256][-KNOWN_BACKUPS:]
                places = [*state.places]
                if place is not None:
                    places = [*(other for other in places if other.folder != place.folder), place][-KNOWN_PLACES:]
                write_facts(connection, self._names, {"backups": known, "places": places})

        self._changed(remember)

    def backed_up(self, through: int) -> None:
        """Note that a backup holds everything through this etag, so that kept history may be purged."""

        def note(connection: Connection) -> None:
            with connection.transaction():
                query = "SELECT value FROM {s}.state WHERE name = 'backed_up' FOR UPDATE"
                [(value,)] = connection.execute(self._names.sql(query)).fetchall()
                if through > msgspec.json.decode(value, type=int):
                    write_facts(connection, self._names, {"backed_up": through})

        self._changed(note)
        self._keeper.changed()

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
        with self._reader.moment() as connection:
            return lost(connection, self._names, after, upto)

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
        test = test_of(query.where)
        with self.pin() as snapshot:
            if not fields(query) and isinstance(test, All) and not test.items:
                plan, matches = Plan((BY_COLLECTION,)), self._of_collection(query, snapshot)
            else:
                plan, matches = SCANNED, scan(query, self._documents(query, snapshot.etag))
                if not matches.etags:
                    plan = msgspec.structs.replace(plan, unknown=matches.unknown)
            yield Found(self._reader.revisions(matches.etags), matches.total if counted else None, plan)

    def _of_collection(self, query: Query, snapshot: Snapshot) -> Matches:
        name = query.collection
        etags = self._reader.collection_etags(name, query.take, query.skip, snapshot.etag)
        folded = None if name is None else fold_collection(name.encode())
        total = sum(
            tally.count
            for (kind, of), tally in snapshot.fingerprint.tallies.items()
            if kind == DOCUMENT and (folded is None or fold_collection(of.encode()) == folded)
        )
        return Matches(etags, total)

    def group(self, query: Query) -> Groups:
        """See `base.Storage`."""
        assert query.group is not None
        with self.pin() as snapshot:
            found = matching(query, self._documents(query, snapshot.etag))
            return Groups(grouped(query.group, (keys for _, keys in found)), SCANNED)

    def indexes(self) -> list[FieldIndex]:
        """There are none on fields."""
        self._reader.last_etag()  # so that a closed database says so
        return []

    def keep_indexes(self, named: Callable[[], Mapping[str, Wanted]]) -> None:
        """There are none: queries of those that have a name look at every document."""

    def drop_index(self, name: str) -> bool:
        """There is none to drop."""
        _ = self.writer
        return False

    def _documents(self, query: Query, upto: int) -> Iterator[Document]:
        return map(Document.of, self._reader.documents(query.collection, upto))

    shared: Final = True
    """Any number of processes may write to it."""

    @property
    def alone(self) -> bool:
        """Whether no other process has it open."""
        query = "SELECT 1 FROM {s}.lease WHERE name LIKE 'open %%' AND owner <> %s AND expires > now() LIMIT 1"
        return not self._reader.rows(query, (self._keeper.owner,))

    def take(self, what: str) -> str | None:
        """See `base.Storage`; a lease that is renewed while this process runs."""
        return self._keeper.take(what)

    def holder(self, what: str) -> str | None:
        """See `base.Storage`."""
        rows = self._reader.rows("SELECT about FROM {s}.lease WHERE name = %s AND expires > now()", (what,))
        return str(rows[0][0]) if rows else None

    def give_back(self, what: str) -> None:
        """See `base.Storage`."""
        self._keeper.give_back(what)

    def note(self, name: str) -> bytes | None:
        """See `base.Storage`."""
        rows = self._reader.rows("SELECT value FROM {s}.note WHERE name = %s", (name,))
        return rows[0][0] if rows else None

    def write_note(self, name: str, note: bytes | None) -> None:
        """See `base.Storage`."""
        if note is None:
            self._write("DELETE FROM {s}.note WHERE name = %s", name)
        else:
            query = "INSERT INTO {s}.note VALUES(%s, %s) ON CONFLICT(name) DO UPDATE SET value = excluded.value"
            self._write(query, name, note)

    def purge(self) -> int:
        """Forget now what no pin needs; returns the number of revisions."""
        _ = self.writer
        total = 0
        while step := self._keeper.purge():
            total += step
        return total

    def check(self) -> Iterator[str]:
        """One sentence for each way in which the database does not agree with itself; none when all is well."""
        with self._reader.moment() as connection, mapped_errors(self.folder):
            yield from check(connection, self._names)

    def freeze(self, seconds: float) -> Freeze[Snapshot]:
        """Its files are PostgreSQL's own, which it does not let stand still: raises `NotEvaluated`."""
        raise NotEvaluated(
            f"the files of the database in {self.folder} are PostgreSQL's, and cannot be frozen by Muniment",
            "take a backup of it, which waits for nobody; or copy the whole PostgreSQL with pg_basebackup",
        )

    @property
    def frozen(self) -> Freeze[Snapshot] | None:
        """Never: see `freeze`."""
        return None

    @property
    def waiting(self) -> int:
        """About how many jobs of this process wait for its writer."""
        return 0 if self._writer is None else self._writer.waiting

    def close(self) -> None:
        """Finish what was submitted, and give back what this process holds."""
        if self._closed:
            return
        self._closed = True
        if self._writer is not None:
            self._writer.close()
        self._keeper.close()
        self._reader.close()
        leave(self._pool)


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
