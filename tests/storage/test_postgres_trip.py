"""Statements that go to PostgreSQL together, and what a transaction makes of what several callers write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from uuid import UUID

import pytest
from psycopg import errors as failures

from muniment.errors import ConcurrencyConflict
from muniment.storage.base import Write
from muniment.storage.location import Address
from muniment.storage.postgres import trip
from muniment.storage.postgres.connection import Connection, pooled
from muniment.storage.postgres.trip import Trip
from muniment.storage.postgres.writing import Rows, keys_of
from tests.postgres_server import Postgres
from tests.storage.postgres import opened
from tests.storage.reference import delete, put
from tests.waiting import until


@pytest.fixture
def connection(postgres: Postgres) -> Iterator[Connection]:
    with Connection.connect(postgres.server, autocommit=True) as held:
        yield held


def test_values_come_back_as_they_went(connection: Connection) -> None:
    columns: dict[str, list[object]] = {
        "bytea": [b"", b"\x00\xff", None, b"x" * 100_000],
        "bigint": [-(1 << 63), (1 << 63) - 1, None, 0],
        "integer": [-(1 << 31), None, (1 << 31) - 1, 1],
        "smallint": [None, -(1 << 15), (1 << 15) - 1, 0],
    }
    for prepare in (False, True, True):
        asked = Trip(connection, prepare=prepare)
        arrays = ", ".join(f"%b::{name}[]" for name in columns)
        found = asked.execute(f"SELECT * FROM unnest({arrays})", list(columns.values()))
        alone = [asked.execute(f"SELECT %b::{name}", (each[-1],)) for name, each in columns.items()]
        empty = [asked.execute(f"SELECT * FROM unnest(%b::{name}[])", ((),)) for name in columns]
        rest = asked.execute("SELECT %b::uuid, %b::bigint, true", (UUID(int=7), None))
        asked.run()
        assert found.rows == list(zip(*columns.values(), strict=True))
        assert [each.rows for each in alone] == [[(each[-1],)] for each in columns.values()]
        assert [each.rows for each in empty] == [[]] * len(columns)
        assert rest.rows == [(UUID(int=7), None, True)]


def test_more_goes_there_and_comes_back_than_any_buffer_holds(connection: Connection) -> None:
    asked, values = Trip(connection), [b"%d" % n + b"x" * 100_000 for n in range(100)]
    found = [asked.execute("SELECT unnest(%b::bytea[])", (values,)) for _ in range(3)]
    asked.run()
    assert all(each.rows == [(value,) for value in values] for each in found)


class Watched:
    """What libpq does for a connection, and the most bytes that it had to send at any time."""

    def __init__(self, pgconn: Any) -> None:
        self._pgconn = pgconn
        self._unsent = self.most = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pgconn, name)

    def send_query_params(self, text: bytes, values: list[bytes], *rest: Any) -> None:
        self._unsent += sum(map(len, values))
        self.most = max(self.most, self._unsent)
        self._pgconn.send_query_params(text, values, *rest)

    def flush(self) -> int:
        left: int = self._pgconn.flush()
        self._unsent = self._unsent if left else 0
        return left


def test_what_is_sent_does_not_pile_up(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    watched, value = Watched(connection.pgconn), b"x" * (trip.UNSENT_BYTES // 2)
    with monkeypatch.context() as patch:
        patch.setattr(connection, "pgconn", watched)
        asked = Trip(connection)
        found = [asked.execute("SELECT length(%b::bytea), %b::bytea", (value, value)) for _ in range(20)]
        asked.run()
    assert all(each.rows == [(len(value), value)] for each in found)
    assert watched.most <= 3 * trip.UNSENT_BYTES


def test_nothing_is_executed_after_what_fails(connection: Connection) -> None:
    connection.execute("CREATE TEMPORARY TABLE made(n bigint PRIMARY KEY)")
    for prepare in (True, True, False):
        asked = Trip(connection, prepare=prepare)
        for statement, bound in (
            ("BEGIN", ()),
            ("INSERT INTO made VALUES(%b::bigint)", (1,)),
            ("INSERT INTO made VALUES(%b::bigint)", (1,)),
            ("SELECT nothing FROM nowhere", ()),
            ("COMMIT", ()),
        ):
            asked.execute(statement, bound)
        with pytest.raises(failures.UniqueViolation, match="made_pkey"):
            asked.run()
        connection.rollback()
        assert connection.execute("SELECT * FROM made").fetchall() == []


def test_what_postgresql_has_forgotten_is_prepared_again(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(*numbers: int) -> list[int]:
        asked = Trip(connection, prepare=True)
        found = [asked.execute(f"SELECT %b::bigint + {n}", (1,)) for n in numbers]
        asked.run()
        return [each.rows[0][0] for each in found]

    assert ask(1, 1, 2) == ask(1, 1, 2) == [2, 2, 3]
    connection.execute("DEALLOCATE ALL")
    with pytest.raises(failures.InvalidSqlStatementName):
        ask(1)
    assert ask(1) == [2]
    monkeypatch.setattr(trip, "MOST_PREPARED", 3)
    for n in range(10):
        assert ask(n, n + 1) == [n + 1, n + 2]
        assert len(connection.prepared) <= 5
    assert ask(0, 5, 9) == [1, 6, 10]
    for n in range(0, 50, 5):  # of each database that a process writes to, a trip has several
        assert ask(*range(n, n + 5)) == list(range(n + 1, n + 6))
        assert len(connection.prepared) <= 3 + 5
    [(there,)] = connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchall()
    assert there == len(connection.prepared)


def test_a_writer_prepares_again_what_was_forgotten(address: Address) -> None:
    with opened(address) as store:
        for n in range(3):
            store.commit([put("a", b"%d" % n)])
            until(lambda: _forgotten(address))
        assert store.last_etag == 3
        assert list(store.check()) == []


def _forgotten(address: Address) -> bool:
    """Whether PostgreSQL has forgotten what was prepared; another thread may just use the writer's connection."""
    found = False
    with pooled(address) as pool, ExitStack() as held:
        for each in [held.enter_context(pool.connection()) for _ in range(4)]:
            if each.prepared:
                each.execute("DEALLOCATE ALL")
                found = True
    return found


def test_a_connection_that_breaks_is_closed(connection: Connection, postgres: Postgres) -> None:
    asked = Trip(connection)
    asked.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    asked.execute("SELECT 1")
    with pytest.raises(failures.OperationalError):
        asked.run()
    assert connection.closed


def test_what_a_caller_writes_is_there_as_a_whole_or_not_at_all() -> None:
    rows = Rows()

    def write(*writes: Write) -> list[int]:
        return [written.etag for written in rows.write(writes, keys_of(writes), 1)]

    assert write(put("a"), put("b")) == [1, 2]
    before = dict(rows.newest)
    with pytest.raises(ConcurrencyConflict):
        write(put("new"), put("a", b"2"), put("A", b"3"), delete("b"), put("b", expected=2))
    assert (rows.etag, rows.newest) == (2, before)
    assert write(put("B", b"2"), delete("a"), delete("none")) == [3, 4, 0]
    assert rows.replaced_after(2) == {3: 2, 4: 1}
