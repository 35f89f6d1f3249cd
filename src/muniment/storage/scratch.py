"""A database for the time of one job, on disk as soon as it is large."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeAlias

import apsw

from muniment.storage.sqlite.schema import mapped_errors, run

Scratch: TypeAlias = apsw.Connection


@contextmanager
def scratch_database(cache_kib: int = 16_384) -> Iterator[Scratch]:
    """A connection to an empty database in the system's temporary folder, of which nothing is left afterwards.

    Its file has no name from the beginning, so that not even a killed process leaves it. SQLite's own nameless
    databases would not do: as apsw builds it, they stay in memory.
    """
    with scratch_errors():
        descriptor, path = tempfile.mkstemp(prefix="muniment-scratch-")
        os.close(descriptor)
        connection = apsw.Connection(path)
        try:
            _prepare(connection, cache_kib)
            run(connection, "PRAGMA locking_mode=EXCLUSIVE; CREATE TABLE opened(file)")
            Path(path).unlink()
            yield connection
        finally:
            connection.close()
            Path(path).unlink(missing_ok=True)


@contextmanager
def shared_scratch(cache_kib: int = 16_384) -> Iterator[tuple[Scratch, Path]]:
    """The same for a job of several processes: a connection, and the file, which others may read between its commits.

    A process that is killed leaves its folder in the system's temporary one.
    """
    with mapped_errors(Path(tempfile.gettempdir())), tempfile.TemporaryDirectory(prefix="muniment-scratch-") as folder:
        path = Path(folder) / "scratch.db"
        connection = apsw.Connection(str(path))
        try:
            _prepare(connection, cache_kib)
            yield connection, path
        finally:
            connection.close()


def read_scratch(path: str) -> Scratch:
    """A connection that reads the shared one of another process, in one transaction until it is closed."""
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
    connection.execute("BEGIN")  # or every look into it would lock the file anew
    return connection


def _prepare(connection: Scratch, cache_kib: int) -> None:
    run(connection, f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-{cache_kib}")
    run(connection, "PRAGMA temp_store=FILE")


def scratch_errors() -> AbstractContextManager[None]:
    """Within it, what goes wrong with such a database is an error of ours."""
    return mapped_errors(Path(tempfile.gettempdir()))
