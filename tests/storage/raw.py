"""A database file looked at, and changed, behind Muniment's back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from muniment.storage.schema import FILE


@contextmanager
def raw(folder: Path) -> Iterator[apsw.Connection]:
    """The file of a database, as SQLite alone sees it."""
    connection = apsw.Connection(str(folder / FILE), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        yield connection
    finally:
        connection.close()


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    with raw(folder) as connection:
        return list(connection.execute(query))


def number(folder: Path, query: str) -> int:
    """What a query for one number gives."""
    [(value,)] = rows(folder, query)
    assert isinstance(value, int)
    return value
