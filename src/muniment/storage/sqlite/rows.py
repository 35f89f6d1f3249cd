"""Rows into a table from a batch of columns: by C where that was compiled, outside Python's global lock, or by Python.

In C (`rows.c`) it takes as long as SQLite does to store them. In Python the values of each row are objects first.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

import apsw

from muniment import native
from muniment.native import Native, Values
from muniment.revision import Packed

_ENTRY: Final = "muniment_rows_init"


class Texts(NamedTuple):
    """A column of bytes that are text."""

    values: Packed


Column: TypeAlias = "array[int] | Packed | Texts"
"""Numbers, bytes or text, all without a value in some rows but the first."""


class Rows:
    """What fills tables through a connection, on which nothing else is done meanwhile."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._native = native.load()
        if self._native and not self._extends(self._native):
            self._native = None

    def _extends(self, library: Native) -> bool:
        """Whether the library calls the SQLite of this connection."""
        self._connection.enable_load_extension(True)
        try:
            self._connection.load_extension(str(native.LIBRARY), _ENTRY)
        except (apsw.Error, UnicodeError):
            return False
        finally:
            self._connection.enable_load_extension(False)
        # Not where the file is no longer the one that was loaded before: then SQLite has loaded it a second time.
        return library.rows(self._connection.sqlite3_pointer(), "SELECT 1", 0, []) == apsw.SQLITE_OK

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
            raise apsw.exception_for(code)


def _objects(column: Column) -> Iterable[int | str | bytes | None]:
    if isinstance(column, Texts):
        return (None if value is None else value.decode() for value in column.values)
    return column
