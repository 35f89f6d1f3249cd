"""The one way to an engine: find, open, make, load, rewrite and remove a database.

There is one engine so far. Nothing outside `storage` names it, or reaches past this module into it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from muniment.errors import WrongKey
from muniment.security.encryption import EncryptionKey
from muniment.storage.base import Identity, Loader, Storage, system_clock
from muniment.storage.sqlite import loader as sqlite_loader
from muniment.storage.sqlite import schema, store
from muniment.storage.sqlite.compact import compact, rekey
from muniment.storage.sqlite.files import DEFRAGMENTED, FILE, LOADING, LOCK, RESTORING, lock, mounted_read_only
from muniment.storage.sqlite.remove import (
    clear_removed,
    finish_removing,
    is_being_removed,
    remove_database,
    remove_unfinished,
)
from muniment.storage.sqlite.schema import mapped_errors

__all__ = [
    "FILE",
    "LOADER_FILES",
    "LOADING",
    "LOCK",
    "RESTORING",
    "check_closed",
    "compact",
    "create",
    "exists",
    "finish_removing",
    "is_being_removed",
    "loader",
    "lock",
    "mounted_read_only",
    "open",
    "opens",
    "rekey",
    "remove",
    "remove_unfinished",
]
LOADER_FILES: Final = frozenset(
    f"{name}{end}" for name in (FILE, DEFRAGMENTED, LOADING) for end in ("", "-journal", "-wal", "-shm")
)
"""The names of the files that a loader makes in its folder; `LOADING` is there only until it has finished."""

remove = remove_database


def exists(folder: Path) -> bool:
    """Whether there is a database in this folder."""
    with mapped_errors(folder):
        return (folder / FILE).is_file()


def open(
    folder: Path,
    *,
    clock: Callable[[], int] = system_clock,
    read_only: bool = False,
    accept_loss: bool = False,
    key: EncryptionKey | None = None,
) -> Storage:
    """The database in this folder, for writing or only for reading, with its key if it is encrypted.

    Raises `DatabaseNotFound`, `WrongKey`, `DatabaseLocked` while another process has it open for writing, and
    `LostWrites` when acknowledged writes are missing; `accept_loss` goes on without them, as a new lineage.
    """
    return store.SqliteStorage(folder, clock=clock, read_only=read_only, accept_loss=accept_loss, key=key)


def opens(folder: Path, key: EncryptionKey) -> bool:
    """Whether this is the key of the database in this folder; raises what `open` raises, except `WrongKey`."""
    try:
        schema.connect(folder, key=key, read_only=True).close()
    except WrongKey:
        return False
    return True


def check_closed(folder: Path) -> None:
    """Raises `DatabaseLocked` while a process writes or makes a database in this folder; there need not be one."""
    if (folder / LOCK).exists():
        lock(folder).release()


def create(folder: Path, clock: Callable[[], int] = system_clock, key: EncryptionKey | None = None) -> None:
    """Make a new, empty database in this existing folder, unless another process has made one there meanwhile.

    A crash leaves none or a whole one. Raises `StorageFailure` next to what may be the remains of a lost database.
    """
    with lock(folder):
        if not exists(folder):
            clear_removed(folder)
            store.create_storage(folder, clock, key)


def loader(folder: Path, identity: Identity, key: EncryptionKey | None = None) -> Loader:
    """A loader of revisions into a new database in this folder, which holds none and which nobody else uses."""
    return sqlite_loader.Loader(folder, identity, key)
