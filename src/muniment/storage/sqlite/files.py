"""The files of a database in its folder: their names, who may write to them, and whether they are still the same."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from muniment.durable import DATABASE_FILES
from muniment.errors import DatabaseLocked, StorageFailure
from muniment.later import Later

if TYPE_CHECKING:
    import filelock
else:
    filelock = Later("filelock")  # whoever only reads locks nothing

FILE: Final = "muniment.db"
LOCK: Final = "muniment.lock"
REACH: Final = "muniment.reach"
RESTORING: Final = "muniment.restoring"  # stands in a database's folder until a restore has published it
CREATING: Final = f"{FILE}.creating"
COMPACTING: Final = f"{FILE}.compacting"
LOADING: Final = "muniment.loading"  # others may have a loading.tmp
DEFRAGMENTED: Final = f"{FILE}.defragmented"
DELETED: Final = f"{FILE}.deleted"

_OPENED: Final = (FILE, f"{FILE}-wal")
_LOGS: Final = sorted(name for name in DATABASE_FILES if name.endswith(("-wal", "-journal")))
# File systems that only the machine which has them mounted can write to. Others (NFS, a host's folder shared with a
# guest, the layers of a container) may be read-only on our side while somebody else writes.
_LOCAL: Final = frozenset(
    "bcachefs btrfs erofs exfat ext2 ext3 ext4 f2fs iso9660 jfs ntfs3 squashfs tmpfs udf vfat xfs zfs".split()
)
# Of those, the ones that give a folder a new time of change, which nobody can set, with each change of a name in it.
_TIMED: Final = frozenset("bcachefs btrfs ext2 ext3 ext4 f2fs tmpfs xfs zfs".split())
# How often the files of an open database are looked up by their names, and how long after a change in their folder that
# is done for each write: a file system may give two changes that are less than a tick apart the same time.
LOOK_SECONDS: Final = 1.0
SETTLED_SECONDS: Final = 2.0
_READ_ONLY: Final = frozenset(("ro", "emergency_ro"))  # ext4 sets the latter after an error
_held: WeakValueDictionary[str, filelock.FileLock] = (
    WeakValueDictionary()
)  # by folder, those that this process has locked


def lock(folder: Path) -> filelock.FileLock:
    """Lock the folder against other writers; raises `DatabaseLocked`. The system unlocks it when a process dies."""
    held = filelock.FileLock(folder / LOCK, timeout=0, thread_local=False)
    place = os.path.realpath(folder)
    try:
        held.acquire()
    except filelock.Timeout as error:
        mine = _held.get(place)
        if mine is not None and mine.is_locked:
            raise DatabaseLocked(
                f"this process already has the database in {folder} open",
                "use that one, which threads may share, or close it first; to only read it meanwhile, open it with"
                " read_only=True",
            ) from error
        who = f"process {holder}" if (holder := _holder(folder / LOCK)) else "another process"
        raise DatabaseLocked(
            f"{who} has the database in {folder} open for writing",
            "close it there, or talk to that process instead of opening the folder",
        ) from error
    except OSError as error:
        raise StorageFailure(
            f"{folder / LOCK} could not be written: {error.strerror}", "use a folder that you may write to"
        ) from error
    _held[place] = held
    return held


def _holder(file: Path) -> int | None:
    """The process that has locked a file, None where the system does not say, as in another container."""
    with suppress(OSError, ValueError):
        found = file.stat()
        locked = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            if words[1] == "FLOCK" and words[5] == locked and int(words[4]) > 0:
                return int(words[4])
    return None


class OpenFiles:
    """The files of a database as they were when SQLite opened them, by device and inode.

    When somebody deletes or replaces one of them, SQLite goes on writing to a file that nobody will find again. So it
    does when a program opens and closes one in this process: that ends the locks, and another process deletes the log.

    To look them up by their names takes a tenth of a durable write. Where the file system keeps the time of a folder's
    last change, that is looked at instead: it is another one when a name in the folder changes, or that of the folder.
    By their names they are looked up as well, at least once a second.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths = [str(folder / name) for name in _OPENED]
        self._found = [inode_of(path) for path in self._paths]
        self._problem: str | None = None
        self._descriptor = _folder_to_watch(folder)
        self._change = 0  # the time of the folder's last one
        self._since = 0.0  # since when that is known
        self._looked = 0.0  # when they were looked up last

    def check(self, *, by_name: bool = False) -> None:
        """Raises `StorageFailure` when one was deleted or replaced; so does `refuse` from then on.

        They are looked up `by_name` where something else is about to be.
        """
        if (
            self._problem is None
            and (by_name or not self._still())
            and [inode_of(path) for path in self._paths] != self._found
        ):
            self._problem = self._difference()
        self.refuse()

    def _still(self) -> bool:
        """Whether nothing can have changed since all was as it should be."""
        if self._descriptor is None:
            return False
        now = monotonic()
        try:
            change = os.fstat(self._descriptor).st_ctime_ns
        except OSError:  # somebody has closed it: the number may become another file's
            self._descriptor = None
            return False
        if change != self._change:
            self._change, self._since = change, now
        elif now - self._looked < LOOK_SECONDS and self._looked - self._since > SETTLED_SECONDS:
            return True
        self._looked = now
        return False

    def close(self) -> None:
        """Let the folder go."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            with suppress(OSError):
                os.close(descriptor)

    def replaced(self) -> bool:
        """Whether the database file was deleted or replaced, or its log replaced."""
        now = [inode_of(path) for path in self._paths]
        return now[0] != self._found[0] or now[1] not in (None, self._found[1])

    def refuse(self) -> None:
        """Raises `StorageFailure` if `check` has ever done so."""
        if self._problem is None:
            return
        raise StorageFailure(
            f"{self._problem} while the database was open: it takes no more writes, which would be lost",
            "close it, keep a copy of its folder, and open it again, which reports writes that are missing, if any; and"
            " find out what touches its files (a copying or cleaning program, a restore by hand)",
        )

    def _difference(self) -> str:
        for name, path, found in zip(_OPENED, self._paths, self._found, strict=True):
            now = inode_of(path)
            if now != found:
                return f"{name} in {self._folder} was {'deleted or moved away' if now is None else 'replaced'}"
        return f"a file in {self._folder} was missing for a moment"


def _folder_to_watch(folder: Path) -> int | None:
    """A descriptor of the folder, if its file system keeps the time of its last change."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    with suppress(OSError, ValueError, IndexError, StopIteration):
        if _mount(descriptor)[0] in _TIMED:
            return descriptor
    os.close(descriptor)
    return None


def inode_of(path: str) -> tuple[int, int] | None:
    """The device and inode of a file, None if there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - before every acknowledgement
    except OSError:
        return None
    return status.st_dev, status.st_ino


class StillFiles:
    """The files of a database, taken while nobody could write to them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found = self._look()
        self.log = any(size for name, (_, _, size, _) in self._found.items() if name in _LOGS)

    def check(self) -> None:
        """Raises `StorageFailure` if one has changed since: what was read without locks may then be wrong."""
        if self._look() != self._found:
            raise StorageFailure(
                f"the disk of {self._folder} was read-only, but the database has been written to since",
                "do it again; if the disk is writable now, operations that need to write work again too",
            )

    def _look(self) -> dict[str, tuple[int, int, int, int]]:
        found = {}
        for name in DATABASE_FILES:
            with suppress(FileNotFoundError):
                status = os.stat(self._folder / name)  # noqa: PTH116 - never opened: closing it would end SQLite's locks
                found[name] = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
        return found


def still_files(folder: Path) -> StillFiles | None:
    """The files of the database in this folder if nobody can write to them, None when somebody may.

    A folder mounted read-only here is not enough, since it can be mounted elsewhere too: the file system itself must be
    read-only.
    """
    with suppress(OSError, ValueError, IndexError):
        if _file_system_is_read_only(folder):
            device = folder.stat().st_dev
            if all((folder / name).stat().st_dev == device for name in DATABASE_FILES if (folder / name).exists()):
                return StillFiles(folder)
    return None


def mounted_read_only(folder: Path) -> bool:
    """Whether this process cannot write to the folder, whoever else can."""
    with suppress(OSError, ValueError):
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY) or _file_system_is_read_only(folder)
    return False


def _file_system_is_read_only(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        kind, options = _mount(descriptor)
    finally:
        os.close(descriptor)
    return kind in _LOCAL and not _READ_ONLY.isdisjoint(options)


def _mount(descriptor: int) -> tuple[str, list[str]]:
    """The kind of the file system that a file is on, and how that is mounted."""
    about = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
    mount = next(line.split()[1] for line in about.splitlines() if line.startswith("mnt_id:"))
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        here, _, behind = line.partition(b" - ")
        if here.split()[0] == mount.encode():
            kind, _, options = (field.decode(errors="replace") for field in behind.split(b" ")[:3])
            return kind, options.split(",")
    return "", []
