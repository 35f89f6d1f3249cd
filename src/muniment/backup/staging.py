"""Where a restored database is made until it is proven: beside a folder that is missing, inside one that is empty.

An empty folder may be a mount point, into which nothing can be renamed from outside, and which may hold only what its
file system has put there (`lost+found`). What a process that was killed has left is told by its names and taken over.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock

from muniment.backup.repository import check_folder_name
from muniment.durable import LOST_AND_FOUND, make_folders, mapped_errors, name_anew, remove_folders, sync_folders
from muniment.errors import Busy, DatabaseLocked, InvalidInput, MunimentError, StorageFailure, TargetExists
from muniment.failed import unicode
from muniment.storage.loading import DEFRAGMENTED, SCRATCH
from muniment.storage.reach import REACH
from muniment.storage.schema import FILE
from muniment.storage.sqlite import LOCK, lock

NAME: Final = ".restoring"  # of the folder inside, and at the end of that beside
_OURS: Final = {
    f"{name}{end}" for name in (FILE, DEFRAGMENTED, SCRATCH) for end in ("", "-journal", "-wal", "-shm")
} | {LOCK, REACH}


@dataclass(frozen=True, slots=True)
class Staging:
    """A folder in which nobody else works; `publish` makes its content that of the target."""

    folder: Path
    target: Path
    made: tuple[Path, ...]
    inside: bool

    def publish(self) -> list[str]:
        """The target holds the database, on disk; returns a sentence for each folder that could not be synced.

        Raises `TargetExists` when somebody has put something there meanwhile.
        """
        check_target(self.target)
        with mapped_errors(self.target):
            if not self.inside:
                if self.target.exists() and any(self.target.iterdir()):
                    raise _exists(self.target)
                return self._rename()
            try:
                return self._move()
            except FileExistsError as error:
                raise _exists(self.target) from error

    def _rename(self) -> list[str]:
        self.folder.rename(self.target)  # with its lock, so that nobody else can have begun to work in it
        try:
            return sync_folders((self.target.parent, *(path.parent for path in self.made)))
        except OSError:
            self.target.rename(self.folder)
            raise

    def _move(self) -> list[str]:
        files = [path for path in self.folder.iterdir() if path.name != LOCK]
        moved = []
        try:
            for path in sorted(files, key=lambda path: path.name == FILE):  # with it, the database exists
                name_anew(path, self.target / path.name)
                moved.append(self.target / path.name)
            notes = sync_folders([self.target])
        except OSError:
            for path in moved:
                path.unlink()
            raise
        with suppress(OSError):  # its name tells what it is, and whoever opens the database removes it
            self.folder.rmdir()
        return notes


@contextmanager
def staged(target: Path) -> Iterator[Staging]:
    """Within it, a database can be made for this folder; when it fails, everything is as it was.

    Raises at once `TargetExists` when the folder is not empty, `Busy` while another restore to it runs, and
    `StorageFailure` when it can not be written.
    """
    check_folder_name(target)
    check_target(target)
    target = Path(os.path.realpath(target))  # "." has no name of its own, and a link stands for another folder
    with mapped_errors(target):
        inside = target.exists()
        folder = target / NAME if inside else target.with_name(f"{target.name}{NAME}")
        _check_staging(folder)
        made = make_folders(folder.parent)
    try:
        with mapped_errors(target):
            locked = target / LOCK if inside else folder / LOCK
            left = locked.exists()  # by a process that was killed
            folder.mkdir(exist_ok=True)
        held = _held(target if inside else folder, target)
    except BaseException:
        remove_folders([folder, *made] if inside else made)
        raise
    try:
        check_target(target)
        _clear(folder)
        yield Staging(folder, target, tuple(made), inside)
    except BaseException:
        with suppress(MunimentError, OSError):
            _clear(folder)
        with suppress(OSError):
            if not (inside and left):
                locked.unlink()
        remove_folders([folder, *made])
        raise
    finally:
        held.release()


def _held(folder: Path, target: Path) -> FileLock:
    try:
        return lock(folder)
    except DatabaseLocked as error:
        raise Busy(f"a restore to {target} is already running", "wait for it, or restore to another folder") from error


def check_target(target: Path) -> None:
    """Raises `TargetExists` if there is anything in it but what a killed restore, or its file system, has left."""
    with mapped_errors(target):
        if "\0" in str(target):
            raise StorageFailure(f"{str(target)!r} is not the name of a folder", "give another")
        if unicode(os.path.realpath(target)) != os.path.realpath(target):
            raise InvalidInput(f"the path {str(target)!r} is not Unicode, which SQLite wants", "restore elsewhere")
        if not target.exists():
            return
        if not target.is_dir() or not all(map(_is_nothing, target.iterdir())):
            raise _exists(target)
        if not os.access(target, os.W_OK | os.X_OK):
            raise StorageFailure(
                f"{target} may not be written to", "give a folder that you may write to, or change its permissions"
            )


def _is_nothing(path: Path) -> bool:
    """Whether this in the target is none of anybody's content."""
    if path.name == NAME:
        return path.is_dir() and all(map(_is_ours, path.iterdir()))
    return (path.name == LOST_AND_FOUND and path.is_dir()) or (path.name == LOCK and path.stat().st_size == 0)


def forget_staging(folder: Path) -> None:
    """Remove what a restore into this folder has left that was killed at its end; nobody else may be using it."""
    staging = folder / NAME
    with suppress(OSError, MunimentError):
        if staging.is_dir() and all(map(_is_ours, staging.iterdir())):
            _clear(staging)
            staging.rmdir()


def forget_beside(staging: Path) -> bool:
    """Remove the folder beside a target in which a restore was killed; returns whether it surely was one.

    Raises `Busy` while a process works there.
    """
    names = {path.name for path in staging.iterdir()}
    if not (names <= _OURS and (SCRATCH in names or FILE not in names)):  # else it may be a database of that name
        return False
    held = _held(staging, staging)
    try:
        _clear(staging)
        (staging / LOCK).unlink()
        staging.rmdir()
    finally:
        held.release()
    return True


def _exists(target: Path) -> TargetExists:
    return TargetExists(
        f"{target} already exists; a restore never writes over anything",
        "restore to a new folder, or say how to restore into this one (--on-conflict)",
    )


def _check_staging(staging: Path) -> None:
    """Raises `TargetExists` if there is anything but what a restore that was killed can have left."""
    if staging.exists() and not (staging.is_dir() and all(map(_is_ours, staging.iterdir()))):
        raise TargetExists(
            f"{staging}, where the restore would work, was not made by a restore",
            "move it away, or restore to another folder",
        )


def _is_ours(path: Path) -> bool:
    return path.name in _OURS and path.is_file()


def _clear(staging: Path) -> None:
    """Remove what a restore has left, except for the lock."""
    with mapped_errors(staging):
        for path in staging.iterdir():
            if path.name != LOCK and _is_ours(path):
                path.unlink()
