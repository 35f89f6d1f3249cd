"""A database for the time of one job, on disk as soon as it is large."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from muniment.storage.schema import mapped_errors, run


@contextmanager
def scratch_database(cache_kib: int = 16_384) -> Iterator[apsw.Connection]:
    """A connection to an empty database in the system's temporary folder, of which nothing is left afterwards.

    Its file has no name from the beginning, so that not even a killed process leaves it. SQLite's own nameless
    databases would not do: as apsw builds it, they stay in memory.
    """
    with mapped_errors(Path(tempfile.gettempdir())):
        descriptor, path = tempfile.mkstemp(prefix="muniment-scratch-")
        os.close(descriptor)
        connection = apsw.Connection(path)
        try:
            run(connection, "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF")
            run(connection, f"PRAGMA temp_store=FILE; PRAGMA cache_size=-{cache_kib}; CREATE TABLE opened(file)")
            Path(path).unlink()
            yield connection
        finally:
            connection.close()
            Path(path).unlink(missing_ok=True)
