"""Rewriting a database file without gaps. The new file takes the old one's place once it is proven to be the same."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import apsw

from muniment.durable import sync_folder
from muniment.errors import DamagedDatabase, StorageFailure
from muniment.progress import Progress
from muniment.security.encryption import EncryptionKey
from muniment.storage.sqlite.check import check
from muniment.storage.sqlite.cipher import algorithm_in_use, unlock, uri
from muniment.storage.sqlite.files import COMPACTING, FILE, lock
from muniment.storage.sqlite.migrate import migrate
from muniment.storage.sqlite.reach import check_reach
from muniment.storage.sqlite.schema import READABLE, check_there, connect, mapped_errors, outdated


def compact(folder: Path, *, key: EncryptionKey | None = None, progress: Progress | None = None) -> tuple[int, int]:
    """Rewrite the database in this folder; returns its bytes before and after. See `rekey` for the rest."""
    return _rewritten(folder, key, None, progress or Progress())


def rekey(
    folder: Path, key: EncryptionKey | None, new_key: EncryptionKey | None, *, progress: Progress | None = None
) -> tuple[int, int]:
    """Rewrite the database in this folder, which has `key`, so that it has `new_key`; None is for no encryption.

    Raises `DatabaseLocked` while it is open. When it raises, or the process dies, the database is as it was. Before the
    new file takes its place, all of it is read: every document against its digest, all against the fingerprint.
    """
    return _rewritten(folder, key, _Other(new_key), progress or Progress())


class _Other(NamedTuple):
    """The key that the rewritten database is to have."""

    key: EncryptionKey | None


def _rewritten(folder: Path, key: EncryptionKey | None, other: _Other | None, progress: Progress) -> tuple[int, int]:
    new = folder / COMPACTING
    check_there(folder)
    held = lock(folder)
    try:
        with mapped_errors(folder):
            new.unlink(missing_ok=True)
            before = _rewrite(folder, key, new, other, progress)
            progress.check()
            progress.stage = "publishing"
            if any((folder / f"{FILE}{end}").exists() for end in ("-wal", "-journal")):
                raise StorageFailure(f"another process is reading the database in {folder}", "close it there")
            after = new.stat().st_size
            new.rename(folder / FILE)
            sync_folder(folder)
    finally:
        new.unlink(missing_ok=True)
        held.release()
    return before, after


def _rewrite(folder: Path, key: EncryptionKey | None, new: Path, other: _Other | None, progress: Progress) -> int:
    """Write the new file; returns the size of the old one."""
    progress.stage = "rewriting"
    connection = connect(folder, key=key)
    try:
        if other is None:
            other = _Other(key and EncryptionKey(key.secret, algorithm_in_use(connection)))
        if outdated(connection, READABLE):
            migrate(connection, folder)
        check_reach(connection, folder)
        if outdated(connection):
            migrate(connection, folder)
        connection.set_progress_handler(lambda: _cancelled(progress), 100_000)
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            before = (folder / FILE).stat().st_size
            connection.execute("VACUUM INTO ?", (uri(new, other.key),))
        except apsw.InterruptError:
            progress.check()
            raise
        finally:
            connection.set_progress_handler(None)
        progress.stage = "checking"
        progress.check()
        _prove(connection, new, other.key)
    finally:
        connection.close()
    return before


def _cancelled(progress: Progress) -> bool:
    return progress._cancelled.is_set()


def _prove(old: apsw.Connection, new: Path, key: EncryptionKey | None) -> None:
    """Raises `DamagedDatabase` unless the new file agrees with itself and with the old one."""
    query = "SELECT * FROM fingerprint ORDER BY kind, collection"
    states = "SELECT name, value FROM state ORDER BY name"
    copy = apsw.Connection(str(new), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        if key:
            unlock(copy, key, key.algorithm)
        problems = list(check(copy))
        if any(copy.execute(what).fetchall() != old.execute(what).fetchall() for what in (query, states)):
            problems.append("the rewritten file differs from the old one")
    finally:
        copy.close()
    if problems:
        raise DamagedDatabase(
            f"the rewritten database is not whole, so the old one was kept: {problems[0]}",
            "run `muniment check` on the database; if it finds something, restore the last backup into a new folder",
        )
    with new.open("rb+") as file:
        os.fsync(file.fileno())
