"""Rows from columns, and columns from rows: the same by C and by Python, and SQLite's errors from both."""

from __future__ import annotations

import ctypes
import errno
import mmap
import shutil
from array import array
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import apsw
import pytest

from muniment import DocumentDatabase, native
from muniment.errors import StorageFailure
from muniment.native import TEXT, Values
from muniment.revision import Packed
from muniment.storage.sqlite import rows as sqlite_rows
from muniment.storage.sqlite.rows import Numbers, Rows, Strings, Texts, _extends, in_c, take

NUMBERS = array("q", [0, -1, (1 << 63) - 1, -(1 << 63)])
TEXTS = Packed.of([b"", "Ä\0ß".encode(), None, b"x" * 9000])
BLOBS = Packed.of([None, b"\0\xff", b"", b"y" * 9000])


@pytest.fixture
def connection() -> Iterator[apsw.Connection]:
    with closing(apsw.Connection(":memory:")) as connection:
        yield connection


@pytest.fixture(params=["C", "Python"])
def rows(connection: apsw.Connection, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Rows:
    connection.execute("CREATE TABLE found(number INTEGER PRIMARY KEY, text TEXT, blob BLOB, size INTEGER) STRICT")
    if request.param == "Python":
        monkeypatch.setattr(native, "load", lambda: None)
    elif native.load() is None:
        pytest.skip("it was not compiled")
    made = Rows(connection)
    assert (made._native is None) == (request.param == "Python")
    return made


def found(rows: Rows) -> list[tuple[apsw.SQLiteValue, ...]]:
    return list(rows._connection.execute("SELECT * FROM found ORDER BY number"))


def test_every_value_arrives_as_it_is(rows: Rows) -> None:
    rows.insert("INSERT INTO found VALUES(?1, ?2, ?3, length(?3))", 4, NUMBERS, Texts(TEXTS), BLOBS)
    columns = NUMBERS, ["", "Ä\0ß", None, "x" * 9000], BLOBS, [None, 2, 0, 9000]
    assert found(rows) == sorted(zip(*columns, strict=True))


def test_empty_values_are_values_wherever_their_bytes_would_be(rows: Rows) -> None:
    nothing: list[bytes | memoryview] = [b"", memoryview(bytearray())]
    for number, memory in enumerate(nothing):
        empty = Packed(array("i", [0, 0]), memory)
        statement = "INSERT INTO found(number, text, blob) VALUES(?, ?, ?)"
        rows.insert(statement, 1, array("q", [number]), Texts(empty), empty)
    assert [row[1:3] for row in found(rows)] == [("", b"")] * 2


def test_what_sqlite_refuses_is_raised_and_those_before_are_there(rows: Rows) -> None:
    with pytest.raises(apsw.ConstraintError, match="UNIQUE constraint failed"):
        rows.insert("INSERT INTO found(number) VALUES(?)", 3, array("q", [1, 2, 1]))
    assert [row[0] for row in found(rows)] == [1, 2]
    with pytest.raises(apsw.ConstraintError):
        rows.insert(
            "INSERT INTO found(number, size) VALUES(?, ?)", 1, array("q", [3]), Texts(Packed.of([b"no number"]))
        )
    with pytest.raises(apsw.SQLError, match="no such table: nowhere"):
        rows.insert("INSERT INTO nowhere VALUES(?)", 1, array("q", [1]))
    rows._connection.close()


def test_columns_that_are_none_are_refused(rows: Rows) -> None:
    if rows._native is None:
        pytest.skip("Python reads no memory of others")
    short = Packed(array("i", [0, 1, 9]), b"abc")
    with pytest.raises(apsw.MisuseError):
        rows.insert("INSERT INTO found(blob) VALUES(?)", 2, short)
    with pytest.raises(ValueError, match="numbers"):
        rows.insert("INSERT INTO found(number) VALUES(?)", 2, array("q", [1]))


def test_extensions_are_not_to_be_loaded_afterwards(rows: Rows) -> None:
    with pytest.raises(apsw.SQLError, match="not authorized"):
        rows._connection.execute("SELECT load_extension(?)", (str(native.LIBRARY),))


def test_a_library_that_was_replaced_since_it_was_loaded_is_not_called(
    tmp_path: Path, connection: apsw.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (loaded := native.load()) is None:
        pytest.skip("it was not compiled")
    copies = [tmp_path / f"{name}.shared" for name in ("first", "second")]
    for copy in copies:
        shutil.copy(native.LIBRARY, copy)
    first = native.Native(ctypes.CDLL(str(copies[0])), loaded._sha256)
    monkeypatch.setattr(native, "load", lambda: first)
    monkeypatch.setattr(native, "LIBRARY", copies[1])
    assert first.rows(connection.sqlite3_pointer(), "SELECT ?", 1, [Values.of(NUMBERS[:1], 1)]) == apsw.SQLITE_MISUSE
    assert Rows(connection)._native is None
    monkeypatch.setattr(native, "LIBRARY", tmp_path / "none.shared")
    assert Rows(connection)._native is None


def test_an_sqlite_that_loads_no_extensions_is_not_called(
    connection: apsw.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Without(apsw.Connection):
        enable_load_extension = property()

    _extends.cache_clear()
    monkeypatch.setattr(apsw, "Connection", Without)
    try:
        assert Rows(connection)._native is None
    finally:
        _extends.cache_clear()


QUERY = "SELECT number, text, blob FROM found WHERE number > ? ORDER BY number"


def test_rows_are_taken_as_they_are_as_many_as_there_is_room_for(rows: Rows) -> None:
    if (library := rows._native) is None:
        pytest.skip("SQLite gathers them for Python")
    rows.insert("INSERT INTO found VALUES(?1, ?2, ?3, length(?3))", 4, NUMBERS, Texts(TEXTS), BLOBS)
    connection, first = rows._connection, -(1 << 63)
    columns = Numbers(3), Strings(3, 9000, TEXT, absent=True), Strings(3, 9000, absent=True)

    def taken(after: int, count: int = 3) -> tuple[list[tuple[int, bytes | None, bytes | None]], bool]:
        found, more = take(library, connection, QUERY, (after,), count, columns)
        return list(zip(*(column.taken(found) for column in columns), strict=True)), more

    stored = sorted(zip(NUMBERS, TEXTS, BLOBS, strict=True))
    assert taken(first) == (stored[1:], False)
    assert taken(first, 2) == (stored[1:3], True)
    assert taken(1 << 62) == (stored[3:], False)
    small = Numbers(3), Strings(3, 9000, TEXT, absent=True), Strings(3, 1, absent=True)
    assert take(library, connection, QUERY, (first,), 3, small) == (0, True)
    assert take(library, connection, QUERY, (-1,), 3, small) == (2, False)
    present = Numbers(3), Strings(3, 9000, TEXT, absent=True), Strings(3, 9000)
    other = Numbers(3), Strings(3, 9000, absent=True), Strings(3, 9000, absent=True)
    assert take(library, connection, QUERY, (first,), 3, present) == (1, True)
    assert take(library, connection, QUERY, (first,), 3, other) == (0, True)
    with pytest.raises(apsw.SQLError, match="syntax error"):
        take(library, connection, "SELECT nothing", (), 3, columns)


def test_what_was_read_stays_as_it_is_while_somebody_has_it(rows: Rows) -> None:
    if (library := rows._native) is None:
        pytest.skip("SQLite gathers them for Python")
    rows.insert(
        "INSERT INTO found(number, blob) VALUES(?1, ?2)", 3, array("q", [1, 2, 3]), Packed.of([b"a", b"b", b"c"])
    )
    columns = Numbers(1), Strings(1, 1)
    query = "SELECT number, blob FROM found WHERE number > ?"

    def taken(after: int) -> Packed:
        assert take(library, rows._connection, query, (after,), 1, columns)[0] == 1
        return columns[1].taken(1)

    kept, (view,) = taken(0), taken(1).views()
    assert (kept.data, bytes(view), taken(2).data, kept.data) == (b"a", b"b", b"c", b"a")
    del kept, view
    address = columns[1].room.data
    assert (taken(0).data, taken(1).data, columns[1].room.data) == (b"a", b"b", address)


@pytest.mark.parametrize("there", [0, 3])
def test_memory_that_there_is_not_is_told_as_what_the_system_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: int
) -> None:
    """Of the columns of a batch, the system has memory for some."""
    if in_c() is None:
        pytest.skip("it was not compiled")
    memory, given = sqlite_rows._memory, count()

    def refused(size: int) -> mmap.mmap:
        if next(given) >= there:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        return memory(size)

    with DocumentDatabase(tmp_path / "shop") as database:
        database.put("a", {})
        monkeypatch.setattr(sqlite_rows, "_memory", refused)
        with pytest.raises(StorageFailure, match="Cannot allocate memory"):
            list(database.storage.changes(0, 1))
        monkeypatch.undo()
        assert [batch.etags.tolist() for batch in database.storage.changes(0, 1)] == [[1]]
