"""Loading a whole database into a schema that nobody else uses, by COPY in PostgreSQL's binary format.

The log and the pointers go there at the same time, over a connection each. Keys and indexes are made over these when
all rows are there, each in one go. A load that fails is thrown away with its schema.
"""

from __future__ import annotations

import secrets
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from itertools import pairwise
from typing import Final

import psycopg
from psycopg import errors as failures
from psycopg.types.string import BytesBinaryDumper

from muniment.document import fold
from muniment.errors import DamagedBackup
from muniment.fingerprint import Digests, Fingerprint, Totals
from muniment.revision import ATTACHMENT, DOCUMENT, Batch, Packed, Revision
from muniment.storage.base import Identity, Lineage
from muniment.storage.loading import began, check_numbers, folded, whole
from muniment.storage.location import Address
from muniment.storage.postgres.connection import Connection, Names, leave, mapped_errors, use
from muniment.storage.postgres.copying import Copying, Same
from muniment.storage.postgres.facts import (
    LOG_ROWS,
    SPAN_BITS,
    SPAN_KIND,
    Sums,
    fold_collection,
    span_name,
    write_tallies,
)
from muniment.storage.postgres.schema import fill, keys_and_indexes, make_schema, make_tables

_COPIES: Final = {
    "log": """COPY {s}.log(etag, key, kind, spelling, collection, folded, modified, metadata, body, content, size,
  digest) FROM STDIN (FORMAT BINARY)""",
    "current": """COPY {s}.current(kind, key, spelling, etag, collection, size, digest) FROM STDIN (FORMAT BINARY)""",
}
_TYPES: Final = {
    "log": "int8 bytea int2 bytea bytea bytea int8 bytea bytea int8 int8 bytea".split(),
    "current": "int2 bytea bytea int8 bytea int8 bytea".split(),
}
_SETTINGS: Final = "SET statement_timeout = 0; SET maintenance_work_mem = '128MB'; SET default_statistics_target = 20"
_ANALYZE: Final = {
    "log": "ANALYZE {s}.log(etag, key, kind, folded)",  # what queries compare; the bodies would take the longest
    "current": "ANALYZE {s}.current(kind, key, etag)",
}
_TWICE: Final = "SELECT etag FROM {s}.log GROUP BY etag HAVING count(*) > 1 LIMIT 1"


class Loader(Totals):
    """Takes in revisions, each id at most once, and makes a database of them in a schema that has none."""

    def __init__(self, address: Address, identity: Identity) -> None:
        super().__init__()
        self._address = address
        self._names = Names(address)
        self._identity = identity
        self._pool = use(address)
        self._held = ExitStack()
        self._held.callback(leave, self._pool)
        self._threads = self._held.enter_context(ThreadPoolExecutor(2, "muniment loader"))
        self._storing: list[Future[None]] = []
        self._spans: Counter[int] = Counter()
        self._last = 0
        self._ascending = True
        self._contents = 0
        try:
            with mapped_errors(address):
                self._begin()
        except BaseException:
            self._held.close()
            raise

    def _begin(self) -> None:
        self._connection = self._held.enter_context(self._pool.connection())
        with self._connection.transaction():
            make_schema(self._connection, self._address)
            make_tables(self._connection, self._names, self._address.partitions, keys=False)
        self._log, self._pointers = self._table("log"), self._table("current")

    def _table(self, name: str) -> _Table:
        connection = self._held.enter_context(self._pool.connection())
        return self._held.enter_context(_Table(connection, self._names, name))

    def apply(self, batch: Batch) -> None:
        """Take in revisions of documents with the etags and times that they have.

        They are stored by other threads while the caller goes on; what they fail with is raised by a later call.
        """
        if not len(batch):
            return
        check_numbers(batch)
        self._spans.update(etag >> SPAN_BITS for etag in batch.etags)
        ascending = batch.etags[0] > self._last and all(one < next for one, next in pairwise(batch.etags))
        self._ascending, self._last = self._ascending and ascending, batch.etags[-1]
        digests = self.count(batch)
        self._wait()
        self._storing = [
            self._threads.submit(self._store_log, batch, digests),
            self._threads.submit(self._store_pointers, batch, digests),
        ]

    def _store_log(self, batch: Batch, digests: Digests) -> None:
        keys, collections = folded(batch.ids), batch.collections
        of = Packed(collections.offsets, collections.data.lower(), collections.nulls)  # as `fold_collection` does
        with mapped_errors(self._address):
            self._log.copying.rows(
                len(batch),
                *(batch.etags, keys, Same(DOCUMENT), _spellings(batch.ids, keys), collections, of),
                *(batch.modified, batch.metadata, batch.bodies, Same(None), _sizes(batch), digests.rows),
            )

    def _store_pointers(self, batch: Batch, digests: Digests) -> None:
        keys = folded(batch.ids)
        with mapped_errors(self._address):
            self._pointers.copying.rows(
                len(batch),
                *(Same(DOCUMENT), keys, _spellings(batch.ids, keys), batch.etags),
                *(batch.collections, _sizes(batch), digests.members),
            )

    def _wait(self) -> None:
        """Until what was given to the other threads is stored; raises what that has failed with."""
        storing, self._storing = self._storing, []
        for each in storing:
            each.result()

    def apply_attachment(self, revision: Revision, parts: Iterable[bytes]) -> None:
        """Take in a revision of an attachment; raises `DamagedBackup` if the content is not the one it names."""
        self._wait()
        content = None
        if revision.body is not None:
            with mapped_errors(self._address):
                content = store_content(self._connection, self._names, revision, parts)
        member, row = self.count_attachment(revision)
        self._spans[revision.etag >> SPAN_BITS] += 1
        self._ascending = False  # they come beside documents
        id, key = revision.id.encode(), fold(revision.id).encode()
        spelling = None if key == id else id
        collection = None if revision.collection is None else revision.collection.encode()
        size, digest = (0, None) if revision.body is None else (revision.size, member)
        with mapped_errors(self._address):
            self._log.copying.row(
                (
                    *(revision.etag, key, ATTACHMENT, spelling, collection, fold_collection(collection)),
                    *(revision.modified, revision.metadata, revision.body, content, size, row),
                )
            )
            self._pointers.copying.row((ATTACHMENT, key, spelling, revision.etag, collection, size, digest))

    def finish(
        self,
        last_etag: int,
        last_modified: int,
        settings: Mapping[str, str],
        *,
        lineages: Sequence[Lineage] = (),
        defrag: bool = False,
    ) -> Fingerprint:
        """Make keys and indexes; returns the fingerprint of what is there. It is all on disk then.

        `lineages` are the database's. Rows that were loaded have no gaps, whether or not to `defrag`.
        """
        self._wait()
        connection, names = self._connection, self._names
        with mapped_errors(self._address):
            told = began(lineages) or last_modified
            try:
                pointers = self._threads.submit(self._pointers.finish)
                try:
                    self._log.finish()
                finally:
                    pointers.result()
                with connection.transaction():
                    connection.execute("SET LOCAL statement_timeout = 0")
                    connection.execute(names.sql(keys_and_indexes("dead")))
                    if not self._ascending and (twice := connection.execute(names.sql(_TWICE)).fetchone()):
                        raise DamagedBackup(f"the etag {twice[0]} occurs twice", "restore from another backup")
                    identity = replace(self._identity, lineages=tuple(lineages))
                    # This log does not have what came before this moment.
                    known = {"history_from": last_etag, "tombstones_from": last_etag, "purged_to": last_etag}
                    fill(connection, names, identity, {**known, "settings": dict(settings)})
                    query = "UPDATE {s}.muniment SET etag = %s, modified = %s, told_until = %s, commits = 1"
                    connection.execute(names.sql(query), (last_etag, last_modified, told))
                    write_tallies(connection, names, self._sums())
            except failures.UniqueViolation as error:
                raise DamagedBackup("an id or an etag occurs twice", "restore from another backup") from error
        self.close()
        return self.fingerprint

    def _sums(self) -> Sums:
        sums = Sums()
        sums.add_fingerprint(self.fingerprint)
        sums.add(*LOG_ROWS, self.rows.count, 0, self.rows.digest)
        for span, count in self._spans.items():
            sums.add(SPAN_KIND, span_name(span), count, 0, 0)
        return sums

    def close(self) -> None:
        """Give the connections back, finished or not."""
        with suppress(Exception):
            self._wait()
        self._held.close()


class _Table:
    """A table that is filled over a connection of its own."""

    def __init__(self, connection: Connection, names: Names, name: str) -> None:
        self._connection, self._names, self._name = connection, names, name
        self._copy = ExitStack()

    def __enter__(self) -> _Table:
        self._connection.execute(_SETTINGS)
        self._connection.adapters.register_dumper(bytes, BytesBinaryDumper)  # in C, where the usual one is in Python
        cursor = self._copy.enter_context(self._connection.cursor())
        copy = self._copy.enter_context(cursor.copy(self._names.sql(_COPIES[self._name])))
        self.copying = Copying(copy, _TYPES[self._name])
        return self

    def finish(self) -> None:
        """There are no more rows: make keys and indexes."""
        self.copying.end()
        self._copy.close()
        self._connection.execute(self._names.sql(keys_and_indexes(self._name)))
        self._connection.execute(self._names.sql(_ANALYZE[self._name]))

    def __exit__(self, *error: object) -> None:
        """End what is not finished, and the connection, whose settings are of no use to others."""
        with suppress(psycopg.Error, OSError):
            self._copy.__exit__(Exception, Exception("not finished"), None)
        self._connection.close()


def store_content(connection: Connection, names: Names, revision: Revision, parts: Iterable[bytes]) -> int:
    """Store the content of an attachment; raises `DamagedBackup` if it is not the one that the revision names."""
    content, execute = secrets.randbits(62), connection.execute
    query = "INSERT INTO {s}.content(content, size, sha256, staged) VALUES(%s, %s, %s, false)"
    execute(names.sql(query), (content, revision.size, revision.body))
    for number, part in whole(revision, parts):
        execute(names.sql("INSERT INTO {s}.part VALUES(%s, %s, %s)"), (content, number, part))
    return content


def _spellings(ids: Packed, keys: Packed) -> Packed | Same:
    """The ids where they differ from their keys."""
    if ids.data == keys.data:
        return Same(None)
    return Packed(
        ids.offsets, ids.data, [row for row, (id, key) in enumerate(zip(ids, keys, strict=True)) if id == key]
    )


def _sizes(batch: Batch) -> array[int]:
    return array("q", batch.bodies.lengths())
