"""A temporary database for one job, on disk as soon as it is large, encrypted with a key that only the job has."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeAlias

import apsw
import msgspec

from muniment.security.encryption import EncryptionKey, new_key
from muniment.storage.sqlite.cipher import unlock
from muniment.storage.sqlite.schema import mapped_errors, run

Scratch: TypeAlias = apsw.Connection


class Shared(msgspec.Struct, frozen=True):
    """Where the database of a job is, and its key: for the processes of that job."""

    path: str
    key: EncryptionKey


@contextmanager
def scratch_database(cache_kib: int = 16_384) -> Iterator[Scratch]:
    """A connection to an empty database in the system's temporary folder, which leaves nothing behind.

    Its file has no name from the beginning, so that not even a killed process leaves it. SQLite's own unnamed
    databases would not do: as apsw builds SQLite, they stay in memory.
    """
    with scratch_errors():
        descriptor, path = tempfile.mkstemp(prefix="muniment-scratch-")
        os.close(descriptor)
        connection = apsw.Connection(path)
        try:
            _prepare(connection, cache_kib, new_key())
            run(connection, "PRAGMA locking_mode=EXCLUSIVE; CREATE TABLE opened(file)")
            Path(path).unlink()
            yield connection
        finally:
            connection.close()
            Path(path).unlink(missing_ok=True)


@contextmanager
def shared_scratch(cache_kib: int = 16_384) -> Iterator[tuple[Scratch, Shared]]:
    """The same for a job of several processes: a connection, and what the others need to read it between its commits.

    A process that is killed leaves its folder behind in the system's temporary folder.
    """
    with mapped_errors(Path(tempfile.gettempdir())), tempfile.TemporaryDirectory(prefix="muniment-scratch-") as folder:
        shared = Shared(f"{folder}/scratch.db", new_key())
        connection = apsw.Connection(shared.path)
        try:
            _prepare(connection, cache_kib, shared.key)
            yield connection, shared
        finally:
            connection.close()


def read_scratch(shared: Shared) -> Scratch:
    """A connection that reads another process's shared database, in one transaction until it is closed."""
    connection = apsw.Connection(shared.path, flags=apsw.SQLITE_OPEN_READONLY)
    unlock(connection, shared.key, shared.key.algorithm)
    connection.execute("BEGIN")  # otherwise every query would lock the file again
    return connection


def _prepare(connection: Scratch, cache_kib: int, key: EncryptionKey) -> None:
    unlock(connection, key, key.algorithm)
    run(connection, f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-{cache_kib}")
    run(connection, "PRAGMA temp_store=FILE")


def scratch_errors() -> AbstractContextManager[None]:
    """Within it, errors of such a database are raised as errors of ours."""
    return mapped_errors(Path(tempfile.gettempdir()))
