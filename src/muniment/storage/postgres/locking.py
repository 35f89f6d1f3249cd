"""A lock on a schema, for who makes something in it: PostgreSQL gives it back when its holder dies."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from muniment.storage.location import Address
from muniment.storage.postgres.connection import Connection, Pool


@contextmanager
def locked(pool: Pool, address: Address) -> Iterator[Connection | None]:
    """Within it, nobody else has this lock; gives the connection that holds it, None if somebody else does."""
    digest = hashlib.blake2b(address.schema.encode(), digest_size=8).digest()
    number = int.from_bytes(digest, "big", signed=True)
    with pool.connection() as held:
        [(mine,)] = held.execute("SELECT pg_try_advisory_lock(%s)", (number,)).fetchall()
        if not mine:
            yield None
            return
        try:
            yield held
        finally:
            try:
                held.execute("SELECT pg_advisory_unlock(%s)", (number,))
            except psycopg.Error:
                held.close()  # it broke, and the lock is gone with it
