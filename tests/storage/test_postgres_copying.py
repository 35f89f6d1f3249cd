"""Rows that a restore copies into PostgreSQL are the same by C and by Python."""

from __future__ import annotations

from array import array
from typing import Any

import psycopg
import pytest

from muniment import native
from muniment.fingerprint import Fingerprint
from muniment.revision import ATTACHMENT, DOCUMENT, Batch, Packed, Revision
from muniment.storage import engines
from muniment.storage.base import system_clock
from muniment.storage.location import Address, location_of
from muniment.storage.postgres.copying import Copying, Same
from muniment.storage.postgres.schema import new_identity
from muniment.storage.postgres.store import PostgresStorage
from tests.postgres_server import Postgres

TYPES = ["int8", "bytea", "bytea", "int2", "int8"]


def both() -> list[bool]:
    """With C, if it is there, and without."""
    return [True, False] if native.load() else [False]


def copied(connection: psycopg.Connection[Any], rows: int) -> list[tuple[Any, ...]]:
    numbers = array("q", [-1, 0, (1 << 63) - 1][:rows])
    column = Packed.of([b"\0a\xff", None, b""][:rows])
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE found(a int8, b bytea, c bytea, d int2, e int8)")
        with cursor.copy("COPY found FROM STDIN (FORMAT BINARY)") as copy:
            copying = Copying(copy, TYPES)
            copying.rows(rows, numbers, column, Packed.of([b"x" * 100_000] * rows), Same(-7), Same(None))
            if rows == 3:
                copying.row((5, b"one", None, 1, 2))
                copying.rows(1, array("q", [6]), Packed.of([b""]), Packed.of([None]), Same(2), Same(None))
            copying.end()
        found = cursor.execute("SELECT a, b, length(c), d, e FROM found ORDER BY a").fetchall()
        cursor.execute("DROP TABLE found")
    return found


@pytest.mark.parametrize("rows", [0, 2, 3])
def test_rows_are_those_of_the_columns(postgres: Postgres, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected: list[tuple[Any, ...]] = [(-1, b"\0a\xff", 100_000, -7, None), (0, None, 100_000, -7, None)]
    if rows == 3:
        expected += [(5, b"one", None, 1, 2), (6, b"", None, 2, None), ((1 << 63) - 1, b"", 100_000, -7, None)]
    for in_c in both():
        if not in_c:
            monkeypatch.setattr(native, "load", lambda: None)
        with psycopg.connect(postgres.server, autocommit=True) as connection:
            assert copied(connection, rows) == (expected if rows else [])


def test_columns_that_are_too_short_are_refused() -> None:
    library = native.load()
    if library is None:
        pytest.skip("it was not compiled")
    for column in (Packed(array("i", [0, 5]), b"abc"), Packed(array("i", [2, 1]), b"abc")):
        with pytest.raises(ValueError, match="shorter"):
            library.copies(1, [native.Values.of(column, 1)])
    with pytest.raises(ValueError, match="not 2"):
        native.Values.of(array("q", [1]), 2)


def test_a_load_gives_the_same_database(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    revisions = [
        Revision(1, DOCUMENT, "Orders/Ä1", "Orders", 5, b"{}", b'{"a":1}', 7),
        Revision(2, DOCUMENT, "orders/2", None, 5, b'{"m":1}', b"{}", 2),
        Revision(4, DOCUMENT, "orders/3", "Orders", 6, b"{}", None, 0),
    ]
    content = Revision(3, ATTACHMENT, "Photo", None, 5, b"{}", None, 0)
    states: list[tuple[Fingerprint, list[tuple[object, ...]]]] = []
    for in_c in both():
        if not in_c:
            monkeypatch.setattr(native, "load", lambda: None)
        place = location_of(postgres.address())
        assert isinstance(place, Address)
        loader = engines.loader(place, new_identity(0))
        loader.apply(Batch.of(revisions[:2]))
        loader.apply_attachment(content, [])
        loader.apply(Batch.of(revisions[2:]))
        fingerprint = loader.finish(4, 6, {})
        store = PostgresStorage(place, clock=system_clock)
        assert list(store.check()) == []
        query = 'SELECT etag, key, kind, spelling, folded, size, digest, body FROM "{}".log ORDER BY 1'
        current = 'SELECT etag, key, kind, spelling, collection, size, digest, NULL FROM "{}".current ORDER BY 1'
        rows = [row for each in (query, current) for row in postgres.execute(each.format(place.schema))]
        states.append((fingerprint, rows))
        store.close()
    assert all(state == states[0] for state in states)
