"""What `engines` needs of PostgreSQL, in one module that is loaded when an address is first used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import psycopg

from muniment.errors import Busy, MunimentError, NotEvaluated, TargetExists
from muniment.security.encryption import EncryptionKey
from muniment.storage.location import Address
from muniment.storage.postgres.connection import Connection, Names, Pool, mapped_errors, pooled
from muniment.storage.postgres.loader import Loader
from muniment.storage.postgres.locking import locked
from muniment.storage.postgres.moving import Taking, taking
from muniment.storage.postgres.schema import create, drop, exists, is_free, partitions, remove, rename
from muniment.storage.postgres.store import PostgresStorage

__all__ = [
    "Loader",
    "PostgresStorage",
    "Taking",
    "check_free",
    "check_no_key",
    "create",
    "exists",
    "partitions",
    "remove",
    "staged",
    "taking",
]
STAGING: Final = ".restoring"


def check_free(address: Address) -> None:
    """Raises `TargetExists` if there is anything in this schema."""
    if not is_free(address):
        raise TargetExists(
            f"{address} already exists; a restore never writes over anything",
            "restore to a new schema, or say how to restore into this one (--on-conflict)",
        )


@contextmanager
def staged(target: Address) -> Iterator[tuple[Address, Callable[[], None]]]:
    """Within it, a schema in which nobody else works, and what makes it the target, whole and at once.

    What a process that was killed has left there is removed. When the block fails, so is what it made. Raises `Busy`
    while another restore to this target runs, and `TargetExists` when there is something.
    """
    check_free(target)
    staging, published = target.beside(STAGING), False
    names = Names(staging)
    with pooled(target) as pool, locked(pool, staging) as held, mapped_errors(target):
        if held is None:
            raise Busy(f"a restore to {target} is already running", "wait for it, or restore to another schema")

        def publish() -> None:
            nonlocal published
            check_free(target)
            rename(held, staging, target)
            published = True

        try:
            with held.transaction():
                drop(held, names, staging.schema)
            yield staging, publish
        finally:
            if not published:
                _remove(pool, held, staging)


def _remove(pool: Pool, held: Connection, staging: Address) -> None:
    """Remove what was made there, by another connection if the one that holds the lock has broken.

    What cannot be removed now, the next restore removes; what made this one fail is to be told, and not that.
    """
    names = Names(staging)
    with suppress(psycopg.Error):
        with held.transaction():
            drop(held, names, staging.schema)
        return
    with suppress(psycopg.Error, MunimentError), locked(pool, staging) as again:
        if again is not None:  # else somebody may be restoring there by now
            with again.transaction():
                drop(again, names, staging.schema)


def check_no_key(key: EncryptionKey | None, address: Address) -> None:
    """Raises `NotEvaluated` for a key: PostgreSQL keeps the pages."""
    if key is not None:
        raise NotEvaluated(
            f"Muniment does not encrypt the database in {address}, whose pages are PostgreSQL's",
            "leave the key out, and encrypt the disk of PostgreSQL; backups of it can be encrypted as any other",
        )
