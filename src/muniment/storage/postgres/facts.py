"""What a database in PostgreSQL keeps about itself, read in one statement, so that all of it is of one moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from muniment.errors import DamagedDatabase
from muniment.fingerprint import Fingerprint, Group, Tally
from muniment.storage.base import BackupPlace, Identity, Lineage, Snapshot
from muniment.storage.postgres.connection import Connection, Names

LOG_ROWS: Final[Group] = -1, ""  # the group that stands for all rows of the log
SPAN_KIND: Final = -2  # and the kind of those that stand for spans of its rows, which the collection names
SPAN_BITS: Final = 12
KNOWN_BACKUPS: Final = 1000
KNOWN_PLACES: Final = 20
HEAD: Final = "SELECT etag, modified, told_until, commits FROM {s}.muniment"
_FACTS: Final = f"""
SELECT 0, 0, ''::bytea, etag, modified, told_until, commits, ''::bytea FROM {{s}}.muniment UNION ALL
SELECT 1, 0, convert_to(name, 'UTF8'), 0, 0, 0, 0, value FROM {{s}}.state UNION ALL
SELECT 2, kind, collection, count, bytes, 0, 0, digest FROM {{s}}.tally WHERE kind <> {SPAN_KIND} UNION ALL
SELECT 3, 0, ''::bytea, 0, 0, 0, 0, tallies FROM {{s}}.delta
"""


class Counted(msgspec.Struct, array_like=True, frozen=True):
    """What a commit has changed of one group."""

    kind: int
    name: bytes
    count: int
    size: int
    digest: bytes


_decode = msgspec.msgpack.Decoder(list[Counted]).decode


@dataclass(frozen=True, slots=True)
class State:
    """The database's identity and settings, and what it has forgotten; see the embedded engine's of the same names."""

    identity: Identity
    settings: dict[str, str]
    backups: tuple[str, ...]
    places: tuple[BackupPlace, ...]
    history_from: int
    tombstones_from: int
    purged_to: int
    backed_up: int


_TYPES: Final[dict[str, Any]] = {
    "database_id": str,
    "lineage": str,
    "lineages": tuple[Lineage, ...],
    "settings": dict[str, str],
    "backups": tuple[str, ...],
    "places": tuple[BackupPlace, ...],
}


@dataclass(frozen=True, slots=True)
class Facts:
    """All of one moment: the state, what was last committed, and what the log has."""

    state: State
    etag: int
    modified: int
    told_until: int
    fingerprint: Fingerprint
    rows: Tally

    def snapshot(self, until: int | None = None) -> Snapshot:
        """The moment."""
        known = self.state.history_from, self.state.tombstones_from
        last = max(until or 0, self.modified)
        return Snapshot(self.etag, self.modified, self.fingerprint, *known, until=last, rows=self.rows)


def read_facts(connection: Connection, names: Names) -> Facts:
    """The facts of this moment."""
    state: dict[str, Any] = {}
    sums, head = Sums(), None
    with connection.cursor(binary=True) as cursor:
        cursor.execute(names.sql(_FACTS), prepare=True)
        for what, kind, name, etag, modified, told_until, commits, value in cursor:
            if what == 0:
                head = etag, modified, told_until, commits
            elif what == 1:
                state[name.decode()] = value
            elif what == 2:
                sums.add(kind, name.decode(), etag, modified, int.from_bytes(value, "big"))
            else:
                sums.add_delta(value)
    if head is None:
        raise DamagedDatabase("the row with the last etag is missing", "restore the database from its last backup")
    log = sums.groups.pop(LOG_ROWS, Tally())
    rows = Tally(log.count, head[3], log.digest)
    found = {group: tally for group, tally in sums.groups.items() if group[0] != SPAN_KIND}
    return Facts(state_of(state), *head[:3], Fingerprint(found), rows)


def state_of(facts: Mapping[str, bytes]) -> State:
    """The state from the rows of its table; raises `DamagedDatabase` when one is missing or of a wrong type."""
    try:
        values = {name: msgspec.json.decode(value, type=_TYPES.get(name, int)) for name, value in facts.items()}
        identity = Identity(values.pop("database_id"), values.pop("lineage"), values.pop("lineages"))
        return State(identity, **values)
    except (TypeError, KeyError, msgspec.MsgspecError) as error:
        raise DamagedDatabase(
            f"the facts that the database keeps about itself are damaged: {error!r}",
            "restore it from its last backup into a new schema",
        ) from error


def read_state(connection: Connection, names: Names) -> State:
    """The state alone."""
    return state_of(dict(connection.execute(names.sql("SELECT name, value FROM {s}.state")).fetchall()))


def write_facts(connection: Connection, names: Names, changed: Mapping[str, Any]) -> None:
    """Write these down; part of the transaction that makes them true."""
    for name, value in changed.items():
        connection.execute(
            names.sql("UPDATE {s}.state SET value = %s WHERE name = %s"), (msgspec.json.encode(value), name)
        )


class Sums:
    """Counts by group, of which some may be taken away again."""

    def __init__(self) -> None:
        self.groups: dict[Group, Tally] = {}

    def add(self, kind: int, name: str, count: int, size: int, digest: int) -> None:
        """Count in, or out where they are negative."""
        tally = self.groups.get((kind, name))
        if tally is None:
            tally = self.groups[kind, name] = Tally()
        tally.add(count, size, digest)

    def add_delta(self, tallies: bytes) -> None:
        """Count in what a commit has changed."""
        for each in _decode(tallies):
            self.add(each.kind, each.name.decode(), each.count, each.size, int.from_bytes(each.digest, "big"))

    def add_fingerprint(self, fingerprint: Fingerprint) -> None:
        """Count in all of its groups."""
        for (kind, name), tally in fingerprint.tallies.items():
            self.add(kind, name, tally.count, tally.bytes, tally.digest)

    def add_rows(self, etags: Iterable[int], digest: int, sign: int) -> None:
        """Count rows of the log with these etags and this sum of digests in (1) or out (-1)."""
        spans = Counter(etag >> SPAN_BITS for etag in etags)
        for span, count in spans.items():
            self.add(SPAN_KIND, span_name(span), sign * count, 0, 0)
        self.add(*LOG_ROWS, sign * spans.total(), 0, sign * digest)

    def delta(self) -> bytes:
        """As a row of the table `delta`."""
        rows = [
            Counted(kind, name.encode(), tally.count, tally.bytes, tally.digest.to_bytes(32, "big"))
            for (kind, name), tally in self.groups.items()
        ]
        return msgspec.msgpack.encode(rows)


def fold_collection(collection: bytes | None) -> bytes | None:
    """The form in which collections are compared: ASCII letters without case."""
    return None if collection is None else collection.lower()


def span_name(span: int) -> str:
    """In an order of bytes that is theirs."""
    return f"{span:013x}"


def fold(connection: Connection, names: Names) -> None:
    """Add up in `tally` what commits have changed since, unless somebody else is at it; nobody waits for this."""
    with connection.transaction():
        query = "SELECT 1 FROM {s}.turn WHERE name = 'fold' FOR UPDATE SKIP LOCKED"
        if connection.execute(names.sql(query)).fetchone() is None:
            return
        connection.execute(names.sql("DELETE FROM {s}.mark WHERE made < now() - interval '10 minutes'"))
        sums = Sums()
        with connection.cursor(binary=True) as cursor:
            for (tallies,) in cursor.execute(names.sql("DELETE FROM {s}.delta RETURNING tallies")):
                sums.add_delta(tallies)
            if not sums.groups:
                return
            kinds = [kind for kind, _ in sums.groups]
            collections = [name.encode() for _, name in sums.groups]
            query = """SELECT t.kind, t.collection, t.count, t.bytes, t.digest FROM {s}.tally t
                JOIN unnest(%b::bigint[], %b::bytea[]) AS w(kind, collection)
                ON t.kind = w.kind AND t.collection = w.collection"""
            for kind, name, count, size, digest in cursor.execute(names.sql(query), (kinds, collections)):
                sums.add(kind, name.decode(), count, size, int.from_bytes(digest, "big"))
        write_tallies(connection, names, sums)


def write_tallies(connection: Connection, names: Names, sums: Sums) -> None:
    """Write these tallies in place of those that there are of these groups; empty ones of spans are forgotten."""
    gone = [name.encode() for (kind, name), tally in sums.groups.items() if kind == SPAN_KIND and not tally.count]
    if gone:
        query = f"DELETE FROM {{s}}.tally WHERE kind = {SPAN_KIND} AND collection = ANY(%b)"
        connection.execute(names.sql(query), (gone,))
    kept = [(group, tally) for group, tally in sums.groups.items() if group[0] != SPAN_KIND or tally.count]
    if not kept:
        return
    query = """INSERT INTO {s}.tally(kind, collection, count, bytes, digest)
        SELECT * FROM unnest(%b::smallint[], %b::bytea[], %b::bigint[], %b::bigint[], %b::bytea[])
        ON CONFLICT(kind, collection) DO UPDATE
        SET count = excluded.count, bytes = excluded.bytes, digest = excluded.digest"""
    columns = (
        [kind for (kind, _), _ in kept],
        [name.encode() for (_, name), _ in kept],
        [tally.count for _, tally in kept],
        [tally.bytes for _, tally in kept],
        [tally.digest.to_bytes(32, "big") for _, tally in kept],
    )
    connection.execute(names.sql(query), columns)
