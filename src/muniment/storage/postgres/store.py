"""A database in a schema of PostgreSQL, which several processes may have open and write to. See `base` for promises."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Final

import msgspec

from muniment.errors import NotEvaluated, StorageFailure
from muniment.query.model import Field, Query
from muniment.query.plan import IndexFault
from muniment.query.scan import Matches
from muniment.revision import Batch, Revision
from muniment.security.encryption import EncryptionKey
from muniment.storage.base import (
    BackupFacts,
    BackupPlace,
    Identity,
    KeptHistory,
    Snapshot,
    Upload,
    Waiting,
    Write,
    Written,
)
from muniment.storage.building import Builder
from muniment.storage.freeze import Freeze
from muniment.storage.indexes import Index
from muniment.storage.location import Address
from muniment.storage.postgres.check import check, lost
from muniment.storage.postgres.connection import Connection, Names, leave, mapped_errors, use
from muniment.storage.postgres.facts import KNOWN_BACKUPS, KNOWN_PLACES, read_state, write_facts
from muniment.storage.postgres.indexes import Indexes, read_faults, read_indexes
from muniment.storage.postgres.keeper import Keeper
from muniment.storage.postgres.migrate import check_current, upgrade
from muniment.storage.postgres.purge import forget_contents, last_etag_before
from muniment.storage.postgres.queries import Finder, collection_matches
from muniment.storage.postgres.reader import Reader
from muniment.storage.postgres.replica import Replica
from muniment.storage.postgres.rights import check_rights
from muniment.storage.postgres.schema import FORMAT, format_of
from muniment.storage.postgres.writer import Spool, Writer
from muniment.storage.retention import history_of
from muniment.storage.store import Asked, Reading, Store, awaited, kept_history, kept_since, uploaded

_LIMIT: Final = "SELECT coalesce(max(replaced_by), 0) FROM {s}.dead WHERE replaced_by <= %s"
_AFTER: Final = "SELECT modified FROM {s}.log WHERE etag > %s ORDER BY etag LIMIT 1"
_KEPT: Final = """
SELECT count(*), coalesce(sum(octet_length(metadata) + coalesce(octet_length(body), 0)), 0)::bigint
FROM {s}.dead d JOIN {s}.log l ON l.etag = d.etag AND l.key = d.key
"""


class PostgresStorage(Store[Connection]):
    """A database that this process has open, for writing or only for reading."""

    engine: Final = "postgresql"
    key: EncryptionKey | None = None

    folder: Address

    def __init__(self, address: Address, *, clock: Callable[[], int], read_only: bool = False) -> None:
        super().__init__(address, clock)
        self._names = Names(address)
        self._pool = use(address)
        self._writer: Writer | None = None
        self._replica: Replica | None = None
        self._indexes: Indexes | None = None
        self._told = 0
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
                if address.replica is not None:
                    self._replica = Replica(address.replica, address, self._keeper.token)
                if not read_only:
                    keeper = self._keeper
                    self._indexes = Indexes(self._reader, self._names, address, clock, keeper.owner, keeper.about)
                    self._writer = Writer(self._pool, self._names, address, clock, keeper.committed, self._indexes)
                    self._builder = Builder(self._indexes, self._reader, self.pin)
                    keeper.on_beat = self._indexes.definition_written  # another process may have written one
            except BaseException:
                if self._replica is not None:
                    self._replica.close()
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

    def submit_for(self, waiting: Waiting, writes: Sequence[Write]) -> None:
        """Like `submit`; the answer is given to this one."""
        self.writer.submit_for(waiting, self.admit(writes))

    def commit_all(self, batches: Iterable[Sequence[Write]]) -> int:
        """Carry out all batches in order as one transaction, which begins when all of them are there.

        Returns the last etag when they are on disk. An error while a batch is taken, or an interrupt of this thread,
        undoes everything.
        """
        writer, spool = self.writer, Spool()
        try:
            for writes in batches:
                spool.add(self.admit(writes))
            return awaited(writer.submit_all(spool), spool.stop)
        finally:
            spool.close()

    def upload(self, chunks: Iterable[bytes]) -> Upload:
        """Write the content of an attachment to disk, in constant memory, for a later `Write` to name."""
        _ = self.writer
        content = secrets.randbits(62)

        def store(place: int, parts: list[bytes]) -> None:
            query = "INSERT INTO {s}.part SELECT %s, * FROM unnest(%b::integer[], %b::bytea[])"
            self._write(query, content, list(range(place, place + len(parts))), parts)

        self._write("INSERT INTO {s}.content(content, size, sha256, staged) VALUES(%s, 0, ''::bytea, true)", content)
        try:
            size, sha256 = uploaded(chunks, store)
            query = "UPDATE {s}.content SET size = %s, sha256 = %s WHERE content = %s"
            self._write(query, size, sha256, content)
        except BaseException:
            self.discard(Upload(content, 0, b""))
            raise
        return Upload(content, size, sha256)

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
        found = self._reader.last_etag()
        self._told = max(self._told, found)
        return found

    @property
    def known_etag(self) -> int:
        """See `base.Storage`: other processes may have committed since."""
        return max(self._told, self._writer.last_etag if self._writer else 0)

    def snapshot(self) -> Snapshot:
        """The state after the last commit, without a pin."""
        return self._reader.facts().snapshot()

    def kept_history(self) -> KeptHistory:
        """The superseded revisions that have not been purged; reads all of them.

        `since` does not reach back to those that no backup waits for, which the next purge takes.
        """
        with self._reader.moment() as connection:
            state = read_state(connection, self._names)
            newest = connection.execute(self._names.sql("SELECT etag FROM {s}.muniment")).fetchall()[0][0]
            limit = kept_since(
                state.settings,
                backed_up=state.backed_up,
                newest=newest,
                now=self._clock(),
                last_before=lambda time: last_etag_before(connection, self._names, time, newest),
            )
            forgotten = connection.execute(self._names.sql(_LIMIT), (limit,)).fetchall()[0][0]
            since = max(state.history_from, forgotten)
            row = connection.execute(self._names.sql(_AFTER), (since,)).fetchone()
            count, size = connection.execute(self._names.sql(_KEPT)).fetchall()[0]
        return kept_history(since, row[0] if row else None, count, size)

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

    def _at(self, etag: int) -> Reader:
        """What reads the past up to this etag, for backups: the replica, where the address names one."""
        return self._replica.at(etag) if self._replica else self._reader

    def changes(self, after: int, upto: int, *, history: bool = False, through: int | None = None) -> Iterator[Batch]:
        """See `base.Storage`."""
        return self._at(upto).changes(after, upto, history=history, through=through)

    def attachment_changes(self, after: int, upto: int, *, history: bool = False) -> Iterator[Revision]:
        """See `base.Storage`."""
        return self._at(upto).attachment_changes(after, upto, history=history)

    def content(self, revision: Revision) -> Iterator[bytes]:
        """The content of an attachment's revision, in parts; it must stay pinned or current meanwhile."""
        if revision.content is None:
            return iter(())
        there = self._replica is not None and revision.etag <= self._replica.reached
        return (self._at(revision.etag) if there else self._reader).content(revision.content)

    def lost(self, after: int, upto: int) -> int:
        """See `base.Storage`."""
        with self._at(upto).moment() as connection:
            return lost(connection, self._names, after, upto)

    @property
    def _reads(self) -> Reading:
        return self._reader

    @contextmanager
    def _moment(self) -> Iterator[Connection]:
        with self._reader.moment() as connection, mapped_errors(self.folder):
            yield connection

    def _read(self, connection: Connection, etags: list[int]) -> list[Revision]:
        return self._reader.revisions_in(connection, etags)

    def _collection_matches(self, connection: Connection, query: Query, *, counted: bool) -> Matches:
        return collection_matches(connection, self._names, query, counted=counted)

    def _usable(self, connection: Connection, collection: str | None) -> dict[Field, Index]:
        found = read_indexes(connection, self._names)
        if self._indexes is not None:
            self._indexes.all = found
        return {index.field: index for index in found if index.ready and index.collection == collection}

    def _index_facts(self, connection: Connection) -> tuple[Sequence[Index], dict[int, tuple[IndexFault, ...]]]:
        return read_indexes(connection, self._names), read_faults(connection, self._names)

    def _find_in(self, connection: Connection, asked: Asked, used: Mapping[Field, Index]) -> Finder:
        return Finder(connection, self._names, asked.query, asked.test, used)

    def _use(self, indexes: Sequence[Index]) -> None:
        if self._indexes is not None:
            self._indexes.used(indexes)

    def drop_index(self, name: str) -> bool:
        """Drop the index with this name, in any case; returns whether there was one. The next query makes it anew."""
        _ = self.writer
        return self._indexes is not None and self._indexes.drop(name)

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
        if self._indexes is not None:
            self._indexes.stop()
        if self._builder is not None:
            self._builder.close()
        if self._writer is not None:
            self._writer.close()
        self._keeper.close()
        self._reader.close()
        if self._replica is not None:
            self._replica.close()
        leave(self._pool)
