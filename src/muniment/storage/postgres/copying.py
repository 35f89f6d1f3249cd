"""Rows of a batch of columns, or one by one, into a table by COPY in PostgreSQL's binary format.

In C (`copies.c`), where that was compiled, the rows of a batch are made without an object for each value, outside
Python's global lock.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg

from muniment import native
from muniment.native import Values
from muniment.revision import Packed

_BEGIN: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END: Final = b"\xff\xff"


class Same(NamedTuple):
    """A column that has one value in every row: none, or a number of two bytes."""

    value: int | None


Column: TypeAlias = "array[int] | Packed | Same"
"""Numbers of eight bytes, bytes, or always the same."""


class Copying:
    """A COPY that has begun, whose columns have these types."""

    def __init__(self, copy: psycopg.Copy, types: Sequence[str]) -> None:
        self._copy = copy
        self._by_row = False
        self._native = native.load()
        copy.set_types(list(types))
        copy.write(_BEGIN)

    def rows(self, rows: int, *columns: Column) -> None:
        """Give the rows of these columns."""
        if self._native is None:
            for row in zip(*(_objects(column, rows) for column in columns), strict=True):
                self.row(row)
        else:
            values = [_values(column, rows) for column in columns]
            self._copy.write(self._native.copies(rows, [each for each, _ in values]))

    def row(self, row: Sequence[Any]) -> None:
        """Give one row."""
        self._by_row = True
        self._copy.write_row(row)

    def end(self) -> None:
        """There are no more."""
        if not self._by_row:  # psycopg ends what it was given row by row
            self._copy.write(_END)


def _values(column: Column, rows: int) -> tuple[Values, object]:
    """The column, and what has its memory."""
    if not isinstance(column, Same):
        return Values.of(column, rows), column
    numbers = array("q", [column.value or 0]) * rows
    values = Values.of(numbers, rows)
    values.text = True
    if column.value is None:
        values.absent = b"\x01" * rows
    return values, numbers


def _objects(column: Column, rows: int) -> Iterable[int | bytes | None]:
    return [column.value] * rows if isinstance(column, Same) else column
