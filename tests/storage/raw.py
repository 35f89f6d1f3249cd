"""A database file looked at and changed behind Muniment's back, its disk made small, and its writer held up."""

from __future__ import annotations

import resource
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from muniment.storage.base import Written
from muniment.storage.sqlite.files import FILE
from muniment.storage.sqlite.store import SqliteStorage
from tests.waiting import PATIENCE


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


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """The system refuses every write beyond this size: to SQLite that is an I/O error in the middle of a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def at_once(store: SqliteStorage, *jobs: Callable[[], Future[list[Written]]]) -> list[Future[list[Written]]]:
    """Have these come to the writer together, as one group."""
    busy, gate = threading.Event(), threading.Event()

    def hold_up(transaction: object) -> None:
        busy.set()
        gate.wait(PATIENCE)

    waiting = store.writer.submit(hold_up)
    assert busy.wait(PATIENCE)
    futures = [job() for job in jobs]
    gate.set()
    waiting.result(PATIENCE)
    return futures
