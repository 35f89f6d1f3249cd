"""Deleting a database: what Muniment made in its folder, and nothing else.

The file is first renamed to a name that nothing opens, and only then is anything removed. A process that dies between
leaves that name, from which the deletion is recognised and finished.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import apsw

from muniment.durable import sync_folder
from muniment.errors import DatabaseLocked, MunimentError, StorageFailure
from muniment.security.encryption import EncryptionKey
from muniment.storage.sqlite.files import (
    COMPACTING,
    CREATING,
    DEFRAGMENTED,
    DELETED,
    FILE,
    LOADING,
    LOCK,
    REACH,
    RESTORING,
    lock,
)
from muniment.storage.sqlite.notes import note_files
from muniment.storage.sqlite.pins import pin_files
from muniment.storage.sqlite.schema import connect, mapped_errors

_WORK: Final = (CREATING, COMPACTING, DEFRAGMENTED, LOADING)
_ENDS: Final = ("-wal", "-shm", "-journal", "")  # the file itself last: while it is there, the database is


def own_files(folder: Path) -> list[Path]:
    """The existing files whose full names are Muniment's own, the lock last."""
    named = [folder / f"{name}{end}" for name in (*_WORK, FILE) for end in _ENDS]
    there = [path for path in (folder / REACH, folder / RESTORING, *named, folder / LOCK) if path.exists()]
    return [*pin_files(folder), *note_files(folder), *there]


def unfinished_files(folder: Path) -> list[Path]:
    """Those left by a process that was killed while it made or rewrote a database."""
    return [path for name in _WORK for end in _ENDS if (path := folder / f"{name}{end}").exists()]


def remove_database(
    folder: Path,
    forget: Callable[[], object] = lambda: None,
    *,
    also: Iterable[str] = (),
    key: EncryptionKey | None = None,
) -> bool:
    """Delete a database's own files, those in its folder that `also` names, and then the folder if it is empty.

    `forget` is called when nobody can open the database any more, before anything is removed; when it raises, the
    database is as it was. Raises `DatabaseLocked`, and changes nothing, while a process has it open. Returns whether
    the folder is gone.
    """
    if not (folder / FILE).exists():
        forget()
        return not folder.exists()
    held = lock(folder)
    try:
        _check_unread(folder, key)
        with mapped_errors(folder):
            (folder / FILE).rename(folder / DELETED)
            try:
                sync_folder(folder)
                forget()
            except BaseException:
                (folder / DELETED).rename(folder / FILE)
                raise
            return _remove(folder, also)
    finally:
        held.release()


def is_being_removed(folder: Path) -> bool:
    """Whether the deletion of a database in this folder has begun and was not finished."""
    return (folder / DELETED).exists() and not (folder / FILE).exists()


def finish_removing(folder: Path, *, also: Iterable[str] = ()) -> bool:
    """Finish the deletion of a database that another process began; returns whether the folder is gone.

    Raises `DatabaseLocked` while a process works there.
    """
    held = lock(folder)
    try:
        if not is_being_removed(folder):
            return False
        with mapped_errors(folder):
            return _remove(folder, also)
    finally:
        held.release()


def clear_removed(folder: Path) -> None:
    """Remove leftovers that could be taken for a part of the database about to be made here; the caller has the lock.

    Raises `StorageFailure` for what may be the remains of a lost database: its write-ahead log, or the file that
    records how far it reached.
    """
    if is_being_removed(folder):
        _remove_files(folder)
    elif left := [name for name in (f"{FILE}-wal", REACH) if (folder / name).exists()]:
        names = " and ".join(left)
        raise StorageFailure(
            f"there is {names} in {folder}, but not the {FILE} that belongs to it",
            f"put {FILE} back; or if nobody needs that database any more, move {names} away",
        )


def remove_unfinished(folder: Path) -> list[str]:
    """Remove what a process left that was killed while it made or rewrote this database; returns the names.

    Raises `DatabaseLocked` while a process works there.
    """
    if not unfinished_files(folder):
        return []
    held = lock(folder)
    try:
        with mapped_errors(folder):
            found = unfinished_files(folder)
            for path in found:
                path.unlink(missing_ok=True)
            if [path.name for path in folder.iterdir()] == [LOCK]:  # there was never a database in it
                (folder / LOCK).unlink()
                folder.rmdir()
            return [path.name for path in found]
    finally:
        held.release()


def _check_unread(folder: Path, key: EncryptionKey | None) -> None:
    """Raises `DatabaseLocked` when another process reads the database: the last to close it would remove its log."""
    log = folder / f"{FILE}-wal"
    if not log.exists():
        return
    try:
        connect(folder, key=key).close()
    except MunimentError:
        return  # an unreadable database can still be deleted
    if log.exists() and _is_open(folder):  # on a full disk the log stays, though nobody has it open
        raise DatabaseLocked(f"another process is reading the database in {folder}", "close it there")


def _is_open(folder: Path) -> bool:
    """Whether anybody has the database open. Nothing is written, and no key is needed: locks come before any page."""
    connection = apsw.Connection(str(folder / FILE), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.pragma("locking_mode", "exclusive")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    except apsw.BusyError:
        return True
    except apsw.Error:
        return False
    finally:
        connection.close()
    return False


def _remove(folder: Path, also: Iterable[str]) -> bool:
    """Remove everything, and last the lock, which keeps others away meanwhile."""
    for name in also:
        (folder / name).unlink(missing_ok=True)
    _remove_files(folder)
    empty = [path.name for path in folder.iterdir()] == [LOCK]
    (folder / LOCK).unlink()
    if empty:
        folder.rmdir()
    return empty


def _remove_files(folder: Path) -> None:
    """Remove all but the lock; `DELETED` last, since it marks that a deletion is going on."""
    for path in own_files(folder):
        if path.name != LOCK:
            path.unlink()
    (folder / DELETED).unlink(missing_ok=True)
