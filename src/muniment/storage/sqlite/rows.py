"""Rows into a table from a batch of columns, and rows of a query as columns, by C where that was compiled.

In C (`rows.c`) it takes as long as SQLite does, outside Python's global lock. Without, Python makes objects of the
values of each row, and `reader` has SQLite gather the columns.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from array import array
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import apsw

from muniment import native
from muniment.native import BLOB, INTEGER, Native, Room, Values
from muniment.revision import Packed

_ENTRY: Final = "muniment_rows_init"


class Texts(NamedTuple):
    """A column of bytes that are text."""

    values: Packed


Column: TypeAlias = "array[int] | Packed | Texts"
"""Numbers, bytes or text, all without a value in some rows but the first."""


def in_c() -> Native | None:
    """The library if it calls the SQLite inside of apsw, else None."""
    library = native.load()
    return library if library and _extends(library, native.LIBRARY) else None


@cache
def _extends(library: Native, path: Path) -> bool:
    with closing(apsw.Connection(":memory:")) as connection:
        try:
            connection.enable_load_extension(True)
            connection.load_extension(str(path), _ENTRY)
        except (apsw.Error, UnicodeError, AttributeError):  # the last where apsw was made without extensions
            return False
        # Not where the file is no longer the one that was loaded before: then SQLite has loaded it a second time.
        return library.rows(connection.sqlite3_pointer(), "SELECT 1", 0, []) == apsw.SQLITE_OK


class Rows:
    """What fills tables through a connection, on which nothing else is done meanwhile."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._native = in_c()

    def insert(self, statement: str, rows: int, *columns: Column) -> None:
        """Execute a statement for each row, with a value of each column; raises what apsw does."""
        if self._native is None:
            self._connection.executemany(statement, zip(*map(_objects, columns), strict=True))
            return
        values = [
            Values.of(column.values, rows, text=True) if isinstance(column, Texts) else Values.of(column, rows)
            for column in columns
        ]
        if code := self._native.rows(self._connection.sqlite3_pointer(), statement, rows, values):
            raise _error(self._native, self._connection, code)


class Gathered:
    """While it lasts, pages that lie beside each other in a connection's file are written together, by C.

    For a file that nobody else sees. Only after `end` is all of it written.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._native = in_c()
        if self._native and (code := self._native.gather(_file_of(connection))):
            raise apsw.exception_for(code)

    def end(self) -> None:
        """Everything is written; raises what apsw does if it could not be."""
        if self._native and (code := self._native.gathered(_file_of(self._connection))):
            raise apsw.exception_for(code)


def _file_of(connection: apsw.Connection) -> int | None:
    file = ctypes.c_void_p()
    connection.file_control("main", apsw.SQLITE_FCNTL_FILE_POINTER, ctypes.addressof(file))
    return file.value


def _error(library: Native, connection: apsw.Connection, code: int) -> Exception:
    """What apsw would raise."""
    error = apsw.exception_for(code)
    error.args = (library.error(connection.sqlite3_pointer()),)
    return error


def _objects(column: Column) -> Iterable[int | str | bytes | None]:
    if isinstance(column, Texts):
        return (None if value is None else value.decode() for value in column.values)
    return column


class Numbers:
    """Memory for a column of numbers that is read, in so many rows."""

    def __init__(self, rows: int) -> None:
        self._numbers = array("q", bytes(8 * rows))
        self.room = Room(numbers=self._numbers.buffer_info()[0], type=INTEGER)

    def taken(self, rows: int) -> array[int]:
        """The values of the first rows."""
        return self._numbers[:rows]


class Strings:
    """Memory for a column of blobs or text that is read, in so many rows and of so many bytes together."""

    def __init__(self, rows: int, size: int, type: int = BLOB, *, absent: bool = False) -> None:
        """Rows may have no value where some may be `absent`."""
        self._offsets = array("i", bytes(4 * (rows + 1)))
        self._absent = array("B", bytes(rows if absent else 0))
        self._memory = _memory(size)
        self._room = Room(
            offsets=self._offsets.buffer_info()[0],
            size=size,
            absent=self._absent.buffer_info()[0] if absent else None,
            type=type,
        )

    @property
    def room(self) -> Room:
        """The memory, another where somebody still has what was read into it before."""
        try:
            self._memory.resize(self._room.size)
        except (BufferError, SystemError):  # the second where memory cannot be resized at all
            self._memory = _memory(self._room.size)
        self._room.data = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        return self._room

    def taken(self, rows: int) -> Packed:
        """The values of the first rows, which stay where they are."""
        offsets = self._offsets[: rows + 1]
        nulls = [row for row, absent in enumerate(self._absent[:rows]) if absent] if 1 in self._absent else ()
        return Packed(offsets, memoryview(self._memory)[: offsets[-1]], nulls)


def _memory(size: int) -> mmap.mmap:
    """Memory that takes room only as far as it is used, in large pages, which are there sooner than many small ones."""
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if sys.platform == "linux":
        with suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def take(
    library: Native,
    connection: apsw.Connection,
    query: str,
    bindings: Sequence[int],
    rows: int,
    columns: Sequence[Numbers | Strings],
) -> tuple[int, bool]:
    """Read the next rows of a query into the memory of these columns, and return how many, and whether there are more.

    Those of which one has no room, or is of another type than its column, wait. Raises what apsw does. Nothing else is
    done with the connection meanwhile.
    """
    database = connection.sqlite3_pointer()
    found, code = library.columns(database, query, bindings, rows, [column.room for column in columns])
    if code not in (apsw.SQLITE_ROW, apsw.SQLITE_DONE):
        raise _error(library, connection, code)
    return found, code == apsw.SQLITE_ROW
