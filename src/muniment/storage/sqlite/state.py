"""The facts that a database file keeps about itself, next to its revisions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import apsw
import msgspec

from muniment.errors import DamagedDatabase
from muniment.fingerprint import Fingerprint, Group, Tally
from muniment.storage.base import BackupPlace, Identity, Lineage, Snapshot

LOG_ROWS: Final[Group] = -1, ""  # the group that stands for all rows of the log in the table `fingerprint`
SPAN_KIND: Final = -2  # and the kind of those that stand for spans of its rows (`spans`)
KNOWN_BACKUPS: Final = 1000
KNOWN_PLACES: Final = 20
_DAMAGE: Final = (LookupError, TypeError, ValueError, OverflowError, msgspec.DecodeError, apsw.SQLError)
_TallyRow = tuple[int, str, int, int, bytes]


@dataclass(frozen=True, slots=True)
class State:
    """The database's identity and settings, and what it has forgotten.

    `history_from`: the state at this etag, and at every later one, can be rebuilt from the log. `tombstones_from`:
    every deletion after this etag is in the log. `backed_up`: the last etag that some backup holds. `backups`: the
    SHA-256 of the manifests of the latest backups. `places`: the folders that they were written to. `told_until`: every
    later commit must have a later time (microseconds), since a backup has promised that nothing changed until then.
    `open`: it was written to and not closed since, so that the file without its log may not be complete.
    `counted_from`: rows of the log with this etag or a later one are counted by spans, if any are.
    """

    identity: Identity
    settings: Mapping[str, str] = field(default_factory=dict)
    backups: tuple[str, ...] = ()
    places: tuple[BackupPlace, ...] = ()
    history_from: int = 0
    tombstones_from: int = 0
    backed_up: int = 0
    last_etag: int = 0
    last_modified: int = 0
    told_until: int = 0
    open: int = 0
    counted_from: int | None = None


def read_state(connection: apsw.Connection) -> State:
    """The facts in the file; one that an older version did not know has its default.

    Raises `DamagedDatabase` unless they match their digest.
    """
    with readable():
        facts: dict[str, Any] = dict(connection.execute("SELECT name, value FROM state"))
        if facts.pop("digest", None) != _digest(facts):
            raise ValueError("the digest of settings, identity and watermarks differs")
        lineages = msgspec.json.decode(facts.pop("lineages", "[]"), type=tuple[Lineage, ...])
        identity = Identity(str(facts.pop("database_id")), str(facts.pop("lineage")), lineages)
        settings = msgspec.json.decode(facts.pop("settings", "{}"), type=dict[str, str])
        backups = msgspec.json.decode(facts.pop("backups", "[]"), type=tuple[str, ...])
        places = msgspec.json.decode(facts.pop("places", "[]"), type=tuple[BackupPlace, ...])
        numbers = {name: int(facts[name]) for name in State.__slots__ if name in facts}
        return State(identity, settings, backups, places, **numbers)


@contextmanager
def readable() -> Iterator[None]:
    """Within it, a value of a wrong type raises `DamagedDatabase`."""
    try:
        yield
    except _DAMAGE as error:
        raise _damaged(error) from error


def _damaged(error: Exception) -> DamagedDatabase:
    return DamagedDatabase(
        f"the facts that the database file keeps about itself are damaged: {error!r}",
        "restore it from its last backup into a new folder",
    )


def write_fact(connection: apsw.Connection, name: str, value: int | str) -> None:
    """Write one fact down; part of the transaction that makes it true."""
    write_facts(connection, {name: value})


def write_facts(connection: apsw.Connection, changed: Mapping[str, int | str]) -> None:
    """Write these facts down, and the digest of all; part of the transaction that makes them true."""
    connection.executemany("REPLACE INTO state VALUES(?, ?)", changed.items())
    facts: dict[str, Any] = dict(connection.execute("SELECT name, value FROM state WHERE name <> 'digest'"))
    connection.execute("REPLACE INTO state VALUES('digest', ?)", (_digest(facts),))


def _digest(facts: Mapping[str, Any]) -> str:
    """SHA-256 over the facts as JSON without spaces, in the order of their names."""
    return hashlib.sha256(msgspec.json.encode(dict(facts), order="sorted")).hexdigest()


def identity_facts(identity: Identity) -> dict[str, int | str]:
    """An identity as facts of the table `state`."""
    lineages = msgspec.json.encode(identity.lineages).decode()
    return {"database_id": identity.database_id, "lineage": identity.lineage, "lineages": lineages}


def remember_backup(connection: apsw.Connection, sha256: str, place: BackupPlace | None = None) -> None:
    """Add a backup's manifest and folder to those that the database knows; only the latest are kept."""
    state = read_state(connection)
    known = [*(other for other in state.backups if other != sha256), sha256][-KNOWN_BACKUPS:]
    write_fact(connection, "backups", msgspec.json.encode(known).decode())
    if place is not None:
        others = [other for other in state.places if other.folder != place.folder]
        write_fact(connection, "places", msgspec.json.encode([*others, place][-KNOWN_PLACES:]).decode())


def read_snapshot(connection: apsw.Connection) -> Snapshot:
    """The state after the last commit, from the tables, in one read transaction."""
    with connection, readable():
        state = read_state(connection)
        newest = connection.execute("SELECT etag, modified FROM log ORDER BY etag DESC LIMIT 1").fetchone()
        fingerprint, rows = read_tallies(connection)
        etag, modified = msgspec.convert(newest or (0, 0), tuple[int, int])
        last = max(etag, state.last_etag), max(modified, state.last_modified)
    return Snapshot(*last, fingerprint, state.history_from, state.tombstones_from, last[1], rows)


def read_tallies(connection: apsw.Connection) -> tuple[Fingerprint, Tally]:
    """The running fingerprint, and the tally of all rows of the log."""
    tallies, rows = {}, Tally()
    with readable():
        for row in connection.execute(
            f"SELECT kind, collection, count, bytes, digest FROM fingerprint WHERE kind <> {SPAN_KIND}"
        ):
            kind, collection, count, size, digest = msgspec.convert(row, _TallyRow)
            tally = Tally(count, size, int.from_bytes(digest, "big"))
            if kind == LOG_ROWS[0]:
                rows = tally
            else:
                tallies[kind, collection] = tally
    return Fingerprint(tallies), rows


_ROW: Final = "(?,?,?,?,?)"
# What a commit of documents of one collection, or of two, writes: in one statement, which takes half of the time.
_TOGETHER: Final = {rows: f"REPLACE INTO fingerprint VALUES{','.join([_ROW] * rows)}" for rows in range(1, 5)}


def write_tallies(
    run: apsw.Connection | apsw.Cursor, tallies: Mapping[Group, Tally], spans: Iterable[tuple[str, int]] = ()
) -> None:
    """Write the tallies of these groups, and how many rows spans have, by their names.

    `LOG_ROWS` is the group of all rows of the log.
    """
    values: list[int | str | bytes] = []
    for group, tally in tallies.items():
        values += (*group, tally.count, tally.bytes, tally.digest.to_bytes(32, "big"))
    for name, count in spans:
        values += (SPAN_KIND, name, count, 0, b"")
    rows = len(values) // 5
    try:
        if rows in _TOGETHER:
            run.execute(_TOGETHER[rows], values)
        else:
            run.executemany(_TOGETHER[1], zip(*[iter(values)] * 5, strict=True))
    except _DAMAGE as error:  # damaged sizes may be too large for SQLite
        raise _damaged(error) from error
