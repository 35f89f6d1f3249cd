"""Deleting a database: what Muniment made in its folder, and nothing else.

The file gets a name that nothing opens first, and only then is anything removed. A process that dies between leaves the
name, by which the deletion is known and finished.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

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
_ENDS: Final = ("-wal", "-shm", "-journal", "")  # the file itself last: as long as it is there, so is the database


def own_files(folder: Path) -> list[Path]:
    """The files that are there and are Muniment's own by their whole names, the lock as the last one."""
    named = [folder / f"{name}{end}" for name in (*_WORK, FILE) for end in _ENDS]
    there = [path for path in (folder / REACH, folder / RESTORING, *named, folder / LOCK) if path.exists()]
    return [*pin_files(folder), *note_files(folder), *there]


def unfinished_files(folder: Path) -> list[Path]:
    """Those that a process left which was killed while it made or rewrote a database."""
    return [path for name in _WORK for end in _ENDS if (path := folder / f"{name}{end}").exists()]


def remove_database(
    folder: Path,
    forget: Callable[[], object] = lambda: None,
    *,
    also: Iterable[str] = (),
    key: EncryptionKey | None = None,
) -> bool:
    """Delete a database's own files, those in its folder that are named in `also`, and the folder if it is empty then.

    `forget` is called when nobody can open the database any more, and before anything is removed; when that raises, the
    database is as it was. Raises `DatabaseLocked` while a process has it open, and changes nothing then. Returns
    whether the folder has gone.
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
    """Whether there was a database in this folder whose deletion has begun and was not finished."""
    return (folder / DELETED).exists() and not (folder / FILE).exists()


def finish_removing(folder: Path, *, also: Iterable[str] = ()) -> bool:
    """Finish the deletion of a database that a process has begun and not finished; returns whether the folder has gone.

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
    """Remove what could be taken for a part of the database that is about to be made here; the caller has the lock.

    Raises `StorageFailure` for what may be the last of a database that somebody misses: its write-ahead log, or the
    file that says how far it reached.
    """
    if is_being_removed(folder):
        _remove_files(folder)
    elif left := [name for name in (f"{FILE}-wal", REACH) if (folder / name).exists()]:
        names = " and ".join(left)
        raise StorageFailure(
            f"there is {names} in {folder}, but not the {FILE} that belongs to it",
            f"bring that back, or if nobody misses it move {names} away",
        )


def remove_unfinished(folder: Path) -> list[str]:
    """Remove what a process that was killed while it made or rewrote this database has left; returns the names.

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
    """Raises `DatabaseLocked` when another process reads the database: whoever is the last takes its log with it."""
    log = folder / f"{FILE}-wal"
    if not log.exists():
        return
    try:
        connect(folder, key=key).close()
    except MunimentError:
        return  # one that cannot be read can be deleted all the same
    if log.exists():
        raise DatabaseLocked(f"another process is reading the database in {folder}", "close it there")


def _remove(folder: Path, also: Iterable[str]) -> bool:
    """Remove all, and the lock last, by which others are kept away."""
    for name in also:
        (folder / name).unlink(missing_ok=True)
    _remove_files(folder)
    empty = [path.name for path in folder.iterdir()] == [LOCK]
    (folder / LOCK).unlink()
    if empty:
        folder.rmdir()
    return empty


def _remove_files(folder: Path) -> None:
    """Remove all but the lock; `DELETED` as the last one, by which it is known what goes on."""
    for path in own_files(folder):
        if path.name != LOCK:
            path.unlink()
    (folder / DELETED).unlink(missing_ok=True)
