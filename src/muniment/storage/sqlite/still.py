"""Whether nobody can write to the files of a database, because the file system that they are in is read-only."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from muniment.durable import DATABASE_FILES
from muniment.errors import StorageFailure

_LOGS: Final = sorted(name for name in DATABASE_FILES if name.endswith(("-wal", "-journal")))
# Those that only the machine which has them mounted can write to. Of others (NFS, what a host shares with a guest, the
# layers of a container) our side may be read-only while somebody else writes.
_LOCAL: Final = frozenset(
    "bcachefs btrfs erofs exfat ext2 ext3 ext4 f2fs iso9660 jfs ntfs3 squashfs tmpfs udf vfat xfs zfs".split()
)
_READ_ONLY: Final = frozenset(("ro", "emergency_ro"))  # the latter is how ext4 calls it after an error


class StillFiles:
    """The files of a database that nobody could write to when this was made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found = self._look()
        self.log = any(size for name, (_, _, size, _) in self._found.items() if name in _LOGS)

    def check(self) -> None:
        """Raises `StorageFailure` if one has changed since: what was read without locks is then not to be relied on."""
        if self._look() != self._found:
            raise StorageFailure(
                f"the disk of {self._folder} was read-only, and somebody has written to the database since",
                "do it again; if the disk can be written to now, what needs that works again too",
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

    That the folder is mounted read-only here is not enough, for it can be mounted elsewhere too: the file system
    itself must be read-only.
    """
    with suppress(OSError, ValueError, IndexError):
        if _file_system_is_read_only(folder):
            device = folder.stat().st_dev
            if all((folder / name).stat().st_dev == device for name in DATABASE_FILES if (folder / name).exists()):
                return StillFiles(folder)
    return None


def mounted_read_only(folder: Path) -> bool:
    """Whether this process can not write to the folder, whoever else can."""
    with suppress(OSError, ValueError):
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY) or _file_system_is_read_only(folder)
    return False


def _file_system_is_read_only(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        about = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
    finally:
        os.close(descriptor)
    mount = next(line.split()[1] for line in about.splitlines() if line.startswith("mnt_id:"))
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        here, _, behind = line.partition(b" - ")
        if here.split()[0] == mount.encode():
            kind, _, options = (field.decode(errors="replace") for field in behind.split(b" ")[:3])
            return kind in _LOCAL and not _READ_ONLY.isdisjoint(options.split(","))
    return False
