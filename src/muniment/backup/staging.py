"""Where a restored database is made until it is proven: beside a folder that is missing, inside one that is empty.

An empty folder may be a mount point, into which nothing can be renamed from outside, and which may hold only what its
file system has put there (`lost+found`). What a process that was killed has left is told by its names, and by a mark
among them that stays until the database is published: without it, a finished database looks like any other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from muniment.backup.destination import check_folder_name
from muniment.durable import LOST_AND_FOUND, make_folders, mapped_errors, name_anew, remove_folders, sync_folders
from muniment.errors import Busy, DatabaseLocked, InvalidInput, MunimentError, StorageFailure, TargetExists, unicode
from muniment.security.encryption import EncryptionKey
from muniment.storage import engines
from muniment.storage.engines import FILE, LOADER_FILES, LOADING, LOCK, RESTORING, lock
from muniment.storage.location import Address

if TYPE_CHECKING:
    from filelock import FileLock

NAME: Final = ".restoring"  # of the folder inside, and at the end of that beside
_OURS: Final = LOADER_FILES | {LOCK, RESTORING}  # no database that was ever written to has only these


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
            notes = sync_folders((self.target.parent, *(path.parent for path in self.made)))
        except OSError:
            self.target.rename(self.folder)
            raise
        with suppress(OSError):  # else whoever opens the database removes it
            (self.target / RESTORING).unlink()
        return notes

    def _move(self) -> list[str]:
        files = [path for path in self.folder.iterdir() if path.name not in (LOCK, RESTORING)]
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
            (self.folder / RESTORING).unlink()
            self.folder.rmdir()
        return notes


@dataclass(frozen=True, slots=True)
class StagedSchema:
    """The same in PostgreSQL: a schema that gets the name of the target."""

    folder: Path
    target: Path
    rename: Callable[[], None]

    def publish(self) -> list[str]:
        """The target holds the database; raises `TargetExists` when somebody has put something there meanwhile."""
        self.rename()
        return []


@contextmanager
def staged(target: Path, key: EncryptionKey | None = None) -> Iterator[Staging | StagedSchema]:
    """Within it, a database can be made for this place, encrypted if there is a key; when it fails, all is as it was.

    Raises at once `TargetExists` when something is there, `Busy` while another restore to it runs, and
    `StorageFailure` when it cannot be written.
    """
    if isinstance(target, Address):
        with engines.staged(target, key) as (schema, rename):
            yield StagedSchema(schema, target, rename)
        return
    with _staged(target) as staging:
        yield staging


@contextmanager
def _staged(target: Path) -> Iterator[Staging]:
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
            if not inside:
                folder.mkdir(exist_ok=True)
        held = _held(target if inside else folder, target)
    except BaseException:
        remove_folders(made)
        raise
    mine = False
    try:
        check_target(target)
        with mapped_errors(target):
            _check_staging(folder)  # again, now that nobody else works there
            mine = True
            folder.mkdir(exist_ok=True)  # inside, only with the lock of the target, by which others know of it
            _clear(folder)
            (folder / RESTORING).touch()
        yield Staging(folder, target, tuple(made), inside)
    except BaseException:
        with suppress(MunimentError, OSError):
            if mine:
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


def check_free(target: Path) -> None:
    """Raises what `staged` would raise at once, where there is something already or nothing may be written."""
    if isinstance(target, Address):
        engines.check_free(target)
    else:
        check_target(target)


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
        return _was_left(path)
    return (path.name == LOST_AND_FOUND and path.is_dir()) or (path.name == LOCK and path.stat().st_size == 0)


def forget_staging(folder: Path) -> None:
    """Remove what a restore into this folder has left that was killed at its end; nobody else may be using it."""
    staging = folder / NAME
    with suppress(OSError, MunimentError):
        (folder / RESTORING).unlink(missing_ok=True)
        if _was_left(staging):
            _clear(staging)
            staging.rmdir()


def forget_beside(staging: Path) -> bool:
    """Remove the folder beside a target, or inside it, in which a restore was killed; False if it may be another one.

    Raises `Busy` while a process works there.
    """
    if not _was_left(staging):
        return False
    inside = staging.name == NAME
    locked = staging.parent if inside else staging
    left = (locked / LOCK).exists()
    held = _held(locked, staging)
    try:
        if not _was_left(staging):  # any more
            return False
        _clear(staging)
        (staging / LOCK).unlink(missing_ok=True)
        staging.rmdir()
    finally:
        if inside and not left:
            (locked / LOCK).unlink()
        held.release()
    return True


def _exists(target: Path) -> TargetExists:
    return TargetExists(
        f"{target} already exists; a restore never writes over anything",
        "restore to a new folder, or say how to restore into this one (--on-conflict)",
    )


def _check_staging(staging: Path) -> None:
    """Raises `TargetExists` if there is anything but what a restore that was killed can have left."""
    if staging.exists() and not _was_left(staging):
        raise TargetExists(
            f"{staging}, where the restore would work, may not have been made by a restore",
            "move it away, or restore to another folder",
        )


def _was_left(staging: Path) -> bool:
    """Whether a restore surely was killed in this folder: a database that somebody has given such a name is none."""
    if not (staging.is_dir() and all(map(_is_ours, staging.iterdir()))):
        return False
    names = {path.name for path in staging.iterdir()}
    return names <= {LOCK} or LOADING in names or RESTORING in names


def _is_ours(path: Path) -> bool:
    return path.name in _OURS and path.is_file()


def _clear(staging: Path) -> None:
    """Remove what a restore has left, except for the lock; last that by which it is known."""
    with mapped_errors(staging):
        for path in sorted(staging.iterdir(), key=lambda path: path.name == RESTORING):
            if path.name != LOCK and _is_ours(path):
                path.unlink()
