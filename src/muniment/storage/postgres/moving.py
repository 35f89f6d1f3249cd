"""Taking over a database that is in use elsewhere: first all of it, then what has changed since, as often as need be.

It is made in a schema of its own beside the target, which gets the target's name when all is there and proven. What was
taken over stays there when the process ends, so that the next one goes on with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from muniment.document import fold, to_microseconds
from muniment.errors import Busy, ForeignBackup
from muniment.revision import Batch, Revision
from muniment.storage.base import Identity, Lineage, Snapshot
from muniment.storage.location import Address
from muniment.storage.postgres.connection import Connection, Names, Pool, mapped_errors, pooled
from muniment.storage.postgres.facts import read_facts, write_facts
from muniment.storage.postgres.loader import store_content
from muniment.storage.postgres.locking import locked
from muniment.storage.postgres.schema import drop, exists, identity_facts, rename
from muniment.storage.postgres.trip import Trip
from muniment.storage.postgres.writing import Key, Rows, newest_of, newest_query

STAGING: Final = ".moving"
_NOTE: Final = "moving"
_DELTA: Final = "INSERT INTO {s}.delta(id, tallies) VALUES(gen_random_uuid(), %s)"


class Origin(msgspec.Struct, frozen=True):
    """Which history of which database is taken over."""

    database_id: str
    lineage: str


@dataclass(frozen=True, slots=True)
class Taking:
    """What has been taken over so far, in the schema `place`."""

    place: Address
    target: Address
    _pool: Pool
    _held: Connection

    @property
    def _names(self) -> Names:
        return Names(self.place)

    @property
    def dropping(self) -> str:
        """The statement by which somebody gives it up."""
        return self._names.sql("DROP SCHEMA {s} CASCADE")

    def begun(self, identity: Identity) -> Snapshot | None:
        """The state that was taken over, None if there is none yet; raises `ForeignBackup` for another database."""
        if not exists(self.place):
            return None
        with self._pool.connection() as connection, mapped_errors(self.target):
            query = "SELECT value FROM {s}.note WHERE name = %s"
            note = connection.execute(self._names.sql(query), (_NOTE,), binary=True).fetchone()
            if note is None:  # it had not been taken over when the process ended
                return None
            if msgspec.json.decode(note[0], type=Origin) != _origin(identity):
                raise ForeignBackup(
                    f"{self.target} is about to become another database, whose move was begun before",
                    f"move that one to its end, or drop the schema {self.place.schema}",
                )
            return read_facts(connection, self._names).snapshot()

    def forget(self) -> None:
        """Have nothing taken over."""
        with mapped_errors(self.target), self._held.transaction():
            drop(self._held, self._names, self.place.schema)

    def note(self, identity: Identity) -> None:
        """All of it has been loaded: from now on it is added to."""
        with self._pool.connection() as connection, mapped_errors(self.target):
            query = "INSERT INTO {s}.note VALUES(%s, %s)"
            connection.execute(self._names.sql(query), (_NOTE, msgspec.json.encode(_origin(identity))))

    def add(
        self, batches: Iterable[Batch], attachments: Iterable[tuple[Revision, Iterable[bytes]]], upto: Snapshot
    ) -> None:
        """Take over what has changed, through this state, as one transaction."""
        names = self._names
        with self._pool.connection() as connection, mapped_errors(self.target), connection.transaction():
            rows = Rows()
            for batch in batches:
                self._apply(connection, rows, [(revision, None) for revision in batch])
            for revision, parts in attachments:
                content = None if revision.body is None else store_content(connection, names, revision, parts)
                self._apply(connection, rows, [(revision, content)])
            if rows.sums.groups:
                connection.execute(names.sql(_DELTA), (rows.sums.delta(),))
            query = "UPDATE {s}.muniment SET etag = %s, modified = %s, commits = commits + 1"
            connection.execute(names.sql(query), (upto.etag, upto.modified))

    def _apply(self, connection: Connection, rows: Rows, revisions: Sequence[tuple[Revision, int | None]]) -> None:
        keys = [Key(revision.kind, fold(revision.id).encode()) for revision, _ in revisions]
        trip = Trip(connection)
        query, bound = newest_query(keys)
        found = trip.execute(self._names.sql(query), bound)
        trip.run()
        rows.newest = newest_of(found.rows)
        for (revision, content), key in zip(revisions, keys, strict=True):
            rows.take_over(revision, key, content)
        rows.send(trip, self._names)
        trip.run()

    def snapshot(self) -> Snapshot:
        """What is there now."""
        with self._pool.connection() as connection, mapped_errors(self.target):
            return read_facts(connection, self._names).snapshot()

    def finish(self, settings: Mapping[str, str], identity: Identity, lineages: Sequence[Lineage], upto: int) -> None:
        """Make it the target, as the lineage that is last of these."""
        facts: dict[str, Any] = identity_facts(Identity(identity.database_id, lineages[-1].lineage, tuple(lineages)))
        facts |= {"settings": dict(settings), "history_from": upto, "tombstones_from": upto, "purged_to": 0}
        with mapped_errors(self.target):
            with self._held.transaction():
                write_facts(self._held, self._names, facts)
                if began := lineages[-1].began:  # so that every later commit has a later time
                    told = to_microseconds(datetime.fromisoformat(began))
                    self._held.execute(self._names.sql("UPDATE {s}.muniment SET told_until = %s"), (told,))
                self._held.execute(self._names.sql("DELETE FROM {s}.note WHERE name = %s"), (_NOTE,))
            rename(self._held, self.place, self.target)


def _origin(identity: Identity) -> Origin:
    return Origin(identity.database_id, identity.lineage)


@contextmanager
def taking(target: Address) -> Iterator[Taking]:
    """Within it, a database is taken over for this target, by nobody else at the same time: raises `Busy`."""
    place = target.beside(STAGING)
    with pooled(target) as pool, locked(pool, place) as held:
        if held is None:
            raise Busy(f"a database is being moved to {target} already", "wait for it, or move to another schema")
        yield Taking(place, target, pool, held)
