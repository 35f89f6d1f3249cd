"""The one way to an engine: find, open, make, load, rewrite and remove a database.

Where it is says which engine has it: a folder the embedded one, an address PostgreSQL. Nothing outside `storage` names
an engine, or reaches past this module into one. What is about files is about folders: `is_folder` tells.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from muniment.errors import InvalidInput, NotEvaluated, WrongKey
from muniment.later import Later
from muniment.progress import Progress
from muniment.security.encryption import EncryptionKey
from muniment.storage.base import Identity, Loader, Storage, system_clock
from muniment.storage.location import Address
from muniment.storage.retention import PARTITIONS
from muniment.storage.sqlite import compact as rewriting
from muniment.storage.sqlite import files, rows, schema, store
from muniment.storage.sqlite import loader as sqlite_loader
from muniment.storage.sqlite import remove as removing
from muniment.storage.sqlite.files import DEFRAGMENTED, FILE, LOADING, LOCK, RESTORING, lock
from muniment.storage.sqlite.schema import mapped_errors

if TYPE_CHECKING:
    from muniment.storage.postgres import engine as postgres
    from muniment.storage.postgres.engine import Taking as Taking
else:
    postgres = Later("muniment.storage.postgres.engine", extra="postgresql", needs="psycopg")

__all__ = [
    "FILE",
    "LOADER_FILES",
    "LOADING",
    "LOCK",
    "RESTORING",
    "check_closed",
    "check_free",
    "check_outside",
    "check_partitions",
    "compact",
    "create",
    "database_around",
    "exists",
    "finish_removing",
    "is_being_removed",
    "is_folder",
    "loader",
    "lock",
    "mounted_read_only",
    "open",
    "opens",
    "rekey",
    "remove",
    "remove_unfinished",
    "rows_in_c",
    "staged",
    "taking",
]
LOADER_FILES: Final = frozenset(
    f"{name}{end}" for name in (FILE, DEFRAGMENTED, LOADING) for end in ("", "-journal", "-wal", "-shm")
)
"""The names of the files that a loader makes in its folder; `LOADING` is there only until it has finished."""


def is_folder(place: Path) -> bool:
    """Whether a database there has files of its own, which can be locked, frozen, rewritten and copied."""
    return not isinstance(place, Address)


def exists(place: Path) -> bool:
    """Whether there is a database in this place."""
    if isinstance(place, Address):
        return postgres.exists(place)
    with mapped_errors(place):
        return (place / FILE).is_file()


def open(
    place: Path,
    *,
    clock: Callable[[], int] = system_clock,
    read_only: bool = False,
    accept_loss: bool = False,
    key: EncryptionKey | None = None,
) -> Storage:
    """The database in this place, for writing or only for reading, with its key if it is encrypted.

    Raises `DatabaseNotFound`, `WrongKey`, `LostWrites` when acknowledged writes are missing (`accept_loss` goes on
    without them, as a new lineage), and `DatabaseLocked` while another process has it open for writing, where only one
    may.
    """
    if isinstance(place, Address):
        postgres.check_no_key(key, place)
        return postgres.PostgresStorage(place, clock=clock, read_only=read_only)
    return store.SqliteStorage(place, clock=clock, read_only=read_only, accept_loss=accept_loss, key=key)


def opens(place: Path, key: EncryptionKey) -> bool:
    """Whether this is the key of the database in this place; raises what `open` raises, except `WrongKey`."""
    if isinstance(place, Address):
        return False
    try:
        schema.connect(place, key=key, read_only=True).close()
    except WrongKey:
        return False
    return True


def database_around(place: Path) -> Path | None:
    """The folder of a database that this place is inside of, all links followed; None where there is none."""
    if isinstance(place, Address):
        return None
    with suppress(ValueError, OSError):  # it is no path, or in a folder that is gone, which whoever uses it tells
        above = Path(os.path.realpath(place)).parents  # resolve() fails at a loop of links
        return next((folder for folder in above if os.path.isfile(folder / FILE)), None)  # noqa: PTH113 - may be closed
    return None


def check_outside(place: Path) -> None:
    """Raises `InvalidInput` where a new database would be inside the folder of another one, and be lost with it."""
    if around := database_around(place):
        raise InvalidInput(
            f"{place} is inside the database in {around}: a database there would be lost with it",
            "give a folder outside of it",
        )


def check_closed(place: Path) -> None:
    """Raises `DatabaseLocked` while a process that keeps others away uses a database there, or makes one."""
    if not isinstance(place, Address) and (place / LOCK).exists():
        lock(place).release()


def create(place: Path, clock: Callable[[], int] = system_clock, key: EncryptionKey | None = None) -> None:
    """Make a new, empty database in this existing folder or this schema, unless another process has made one there.

    A crash leaves none or a whole one. Raises `StorageFailure` next to what may be the remains of a lost database, and
    `TargetExists` where something else is.
    """
    if isinstance(place, Address):
        postgres.check_no_key(key, place)
        postgres.create(place, clock, place.partitions)
        return
    with lock(place):
        if not exists(place):
            removing.clear_removed(place)
            store.create_storage(place, clock, key)


def loader(place: Path, identity: Identity, key: EncryptionKey | None = None) -> Loader:
    """A loader of revisions into a new database in this place, which holds none and which nobody else uses."""
    if isinstance(place, Address):
        return postgres.Loader(place, identity)
    return sqlite_loader.Loader(place, identity, key)


def check_partitions(place: Path, wanted: int, before: int = 0) -> None:
    """Raises `InvalidInput` where a database is to have so many partitions, not `before` any more, and has not.

    They are made with it, in PostgreSQL alone.
    """
    if wanted == before:
        return
    there = postgres.partitions(place) if isinstance(place, Address) else None
    if there is None:
        raise InvalidInput(
            f"{PARTITIONS} is {wanted}, and the database in {place} is in a folder, which has none",
            "leave it out, or make the database in PostgreSQL (docs/scale.md)",
        )
    if there != wanted:
        raise InvalidInput(
            f"{PARTITIONS} is {wanted}, and the database in {place} was made with {there or 'none'}",
            "leave it as it is; or take a backup, and restore that to a new schema with partitions=N in its address",
        )


@contextmanager
def staged(target: Address, key: EncryptionKey | None = None) -> Iterator[tuple[Address, Callable[[], None]]]:
    """Within it, a place for a loader, and what makes it the target whole and at once; see `postgres.engine.staged`."""
    postgres.check_no_key(key, target)
    with postgres.staged(target) as made:
        yield made


@contextmanager
def taking(target: Address) -> Iterator[Taking]:
    """Within it, a database can be taken over for this schema while it is in use; see `postgres.moving`."""
    with postgres.taking(target) as taken:
        yield taken


def check_free(target: Address) -> None:
    """Raises `TargetExists` if there is anything in this schema."""
    postgres.check_free(target)


def remove(
    place: Path,
    forget: Callable[[], object] = lambda: None,
    *,
    also: Iterable[str] = (),
    key: EncryptionKey | None = None,
) -> bool:
    """Delete a database: see `sqlite.remove.remove_database` and `postgres.schema.remove`."""
    if isinstance(place, Address):
        return postgres.remove(place, forget)
    return removing.remove_database(place, forget, also=also, key=key)


def is_being_removed(place: Path) -> bool:
    """Whether the deletion of a database in this place has begun and was not finished; PostgreSQL does it at once."""
    return not isinstance(place, Address) and removing.is_being_removed(place)


def finish_removing(place: Path, *, also: Iterable[str] = ()) -> bool:
    """Finish the deletion of a database that another process began; returns whether the folder is gone."""
    return isinstance(place, Address) or removing.finish_removing(place, also=also)


def remove_unfinished(place: Path) -> list[str]:
    """Remove what a process left that was killed while it made or rewrote this database; returns the names."""
    return [] if isinstance(place, Address) else removing.remove_unfinished(place)


def rows_in_c() -> bool:
    """Whether rows go into SQLite and out of it by what was compiled."""
    return rows.in_c() is not None


def mounted_read_only(place: Path) -> bool:
    """Whether this process cannot write to the folder, whoever else can."""
    return not isinstance(place, Address) and files.mounted_read_only(place)


def compact(place: Path, *, key: EncryptionKey | None = None, progress: Progress | None = None) -> tuple[int, int]:
    """Rewrite a database without gaps; see `sqlite.compact.compact`."""
    if isinstance(place, Address):
        raise NotEvaluated(
            f"the database in {place} is not compacted by Muniment",
            "autovacuum makes room for what is written next; to give room back to the disk, restore a backup to a new"
            " schema, or VACUUM FULL its tables, each of which nobody can use meanwhile",
        )
    return rewriting.compact(place, key=key, progress=progress)


def rekey(
    place: Path, key: EncryptionKey | None, new_key: EncryptionKey | None, *, progress: Progress | None = None
) -> tuple[int, int]:
    """Give a database another key; see `sqlite.compact.rekey`."""
    if isinstance(place, Address):
        raise NotEvaluated(
            f"the database in {place} has no key of Muniment's, as its pages are PostgreSQL's",
            "encrypt the disk of PostgreSQL; backups of it can be encrypted as any other",
        )
    return rewriting.rekey(place, key, new_key, progress=progress)
