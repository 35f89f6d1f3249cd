"""Bringing files and their names to disk, so that each is there whole or not at all.

Some shares can sync a file but not a folder (`fsync` of one gives EINVAL, EACCES or EOPNOTSUPP). What is
written there is used all the same, and whoever asked is told: only the file server knows when the names are on disk.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import RawIOBase
from pathlib import Path
from typing import IO, Final

from muniment.errors import InvalidInput, StorageFailure, TargetExists

_NO_SUCH_THING: Final = {
    *(errno.EINVAL, errno.EACCES, errno.EPERM, errno.ENOSYS, errno.EBADF, errno.EISDIR),
    *(errno.ENOTSUP, errno.EOPNOTSUPP),
}
DATABASE_FILES: Final = {f"muniment.db{end}" for end in ("", "-wal", "-shm", "-journal")}
LOST_AND_FOUND: Final = "lost+found"  # at the root of a disk; only root may look into it
_numbers = itertools.count()


@contextmanager
def mapped_errors(place: Path) -> Iterator[None]:
    """Within it, what the operating system refuses becomes a `StorageFailure` that names the place."""
    try:
        yield
    except OSError as error:
        raise StorageFailure(
            f"{error.filename or place} could not be read or written: {error.strerror or error}",
            "check that there is room, that the folder is there and that you may write to it",
        ) from error


def check_no_database(path: str | os.PathLike[str], hint: str) -> None:
    """Raises `InvalidInput` for a file of a database.

    Whoever opens and closes one in a process that has the database open takes SQLite's locks away, and then another
    process can delete the write-ahead log in use.
    """
    try:
        name = os.path.basename(os.path.realpath(path))  # noqa: PTH119 - a path that is none would fail
    except (OSError, ValueError):
        return
    if name in DATABASE_FILES:
        raise InvalidInput(f"{os.fspath(path)} is a file of a database", hint)


def sync_file(path: Path) -> None:
    """Bring the content of a file to disk."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> bool:
    """Bring the names in a folder to disk: a rename is there only after this. False where there is no such thing."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in _NO_SUCH_THING:
            return False
        raise
    return True


def sync_folders(folders: Iterable[Path]) -> list[str]:
    """The same for several; a sentence for each that cannot be synced, for whoever asked for what was written."""
    return [
        f"{folder} cannot be synced, as on some shares: all content is on disk, but the names in it only when the file"
        " server says so"
        for folder in dict.fromkeys(folders)
        if not sync_folder(folder)
    ]


def write_all(file: IO[bytes] | RawIOBase, data: bytes) -> None:
    """All of it is written to this file, or an OSError is raised, also where no buffer of Python's sees to that.

    A file without one (all of a process's output has none with PYTHONUNBUFFERED) takes with each write what the system
    takes at once: less, when the process was stopped meanwhile or there is room only for a part.
    """
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def write_new(path: Path, content: bytes) -> None:
    """Write a new file and bring its content to disk; raises `FileExistsError`. The folder is not synced."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def name_anew(unnamed: Path, path: Path) -> None:
    """Give a file this name; raises `FileExistsError` if something has it, which a rename would replace."""
    try:
        path.hardlink_to(unnamed)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if path.exists():
            raise FileExistsError(errno.EEXIST, "it exists", str(path)) from None
        unnamed.rename(path)
    else:
        unnamed.unlink()


@contextmanager
def new_file(path: Path, *, overwrite: bool = False, notes: list[str] | None = None) -> Iterator[Path]:
    """Gives a path to write to in the same folder, which becomes `path` when the block ends without an error.

    It is on disk then, and what could not be synced stands in `notes`. After an error nothing of it is left, and what
    was at `path` before is as it was. Raises `TargetExists` for something that exists, unless `overwrite` says to
    replace it when the new one is complete.
    """
    if not path.name or "\0" in str(path):
        raise InvalidInput(f"{str(path)!r} is not the name of a file", "give a path to write to")
    check_no_database(path, "give another name")
    unfinished = path.with_name(f"{path.name}.{os.getpid()}-{next(_numbers)}.unfinished")
    named = False
    try:
        if path.is_dir():
            raise TargetExists(f"{path} is a folder", "give the name of a file in it")
        if path.exists() and not overwrite:
            raise _exists(path)
        yield unfinished
        sync_file(unfinished)
        if overwrite:
            unfinished.replace(path)
        else:
            name_anew(unfinished, path)
            named = True
        unsynced = sync_folders([path.parent])
    except BaseException as error:
        with suppress(OSError):
            if named:
                path.unlink()
        if isinstance(error, FileExistsError):
            raise _exists(path) from error
        if isinstance(error, OSError):
            raise cannot_write(error, path) from error
        raise
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
    if notes is not None:
        notes += unsynced


def cannot_write(error: OSError, path: Path | None = None) -> StorageFailure:
    """Says what the operating system said."""
    place = path or error.filename or "the export"
    return StorageFailure(
        f"{place} could not be written: {error.strerror or error}",
        "check that there is room and that you may write to the folder",
    )


def _exists(path: Path) -> TargetExists:
    return TargetExists(f"{path} exists already", "give another name, or say that it may be replaced")


def make_folders(folder: Path) -> list[Path]:
    """Make a folder and its parents; returns those that were missing, the innermost first."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    try:
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
    except OSError:
        remove_folders(missing)
        raise
    return missing


def remove_folders(made: list[Path]) -> None:
    """Remove the folders that `make_folders` made, unless somebody has put something into them."""
    for folder in made:
        with suppress(OSError):
            folder.rmdir()
