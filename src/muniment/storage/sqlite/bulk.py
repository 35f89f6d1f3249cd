"""A batch of columns into a table with one statement, in which SQLite takes the rows apart by itself.

It takes as long as a statement for each row, but does all of it outside Python's global lock, so that another thread
can make the digests of the next batch meanwhile. SQLite can do no arithmetic on bytes, so numbers are given to it as
text in which each has the same width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import apsw
import msgspec

from muniment.revision import Packed

FEW: Final = 16
_DIGITS: Final = 18
_FEWER_DIGITS: Final = 10  # of places and lengths in a column
_encode = msgspec.json.Encoder().encode


class Columns:
    """Some columns with as many values each. What its methods return stands for them in the `SELECT` of `insert`."""

    def __init__(self, rows: int) -> None:
        self._bindings: dict[str, Any] = {"rows": rows}

    def insert(self, connection: apsw.Connection, into: str, *values: str) -> None:
        """Insert the rows."""
        connection.execute(
            "WITH RECURSIVE row(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM row WHERE n + 1 < :rows)"
            f" INSERT INTO {into} SELECT {', '.join(values)} FROM row",
            self._bindings,
        )

    def numbers(self, values: Iterable[int], digits: int = _DIGITS) -> str:
        """A column of numbers from 0 to less than `LARGEST`, or of so many digits."""
        base = 10**digits  # so that they have no leading zeros
        name = self._bind(_encode([base + value for value in values]))
        return f"CAST(substr(:{name}, n * {digits + 2} + 3, {digits}) AS INTEGER)"

    def blobs(self, column: Packed) -> str:
        """A column of bytes."""
        start = self.numbers(column.offsets[:-1], _FEWER_DIGITS)
        length = self.numbers(column.lengths(), _FEWER_DIGITS)
        return self.unless(column.nulls, f"substr(:{self._bind(column.data)}, {start} + 1, {length})")

    def texts(self, column: Packed) -> str:
        """A column of text."""
        return f"CAST({self.blobs(column)} AS TEXT)"

    def names(self, column: Packed) -> str:
        """A column of text in which few values are different."""
        values = list(column)
        different = list(dict.fromkeys(values))
        if len(different) > FEW:
            return self.texts(column)
        number = {value: place for place, value in enumerate(different)}
        which = self._bind(bytes(map(number.__getitem__, values)))
        bound = [self._bind(None if value is None else value.decode()) for value in different]
        cases = " ".join(f"WHEN x'{place:02x}' THEN :{name}" for place, name in enumerate(bound))
        return f"CASE substr(:{which}, n + 1, 1) {cases} END" if len(bound) > 1 else f":{bound[0]}"

    def same_size(self, data: bytes, size: int) -> str:
        """A column of bytes that are as many in each row."""
        return f"substr(:{self._bind(data)}, n * {size} + 1, {size})"

    def unless(self, nulls: Sequence[int], value: str) -> str:
        """This value, but none in these rows."""
        if not nulls:
            return value
        present = bytearray(b"1") * self._bindings["rows"]
        for row in nulls:
            present[row] = ord("0")
        return f"CASE substr(:{self._bind(bytes(present))}, n + 1, 1) WHEN x'31' THEN {value} END"

    def _bind(self, value: bytes | str | None) -> str:
        name = f"c{len(self._bindings)}"
        self._bindings[name] = value
        return name
