"""Reading what a backup holds from a replica, which is as far as the backup's moment before anything is read of it.

How far it is, and that it is a replica of this very database, is seen by one row: a pin that is set in the primary for
that, and looked for in the replica. Nothing is ever written there.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from time import monotonic, sleep
from typing import Final

from muniment.errors import Busy, DatabaseNotFound
from muniment.storage.location import Address
from muniment.storage.postgres.connection import Names, leave, number_from, use
from muniment.storage.postgres.reader import Reader

SECONDS: Final = "MUNIMENT_POSTGRESQL_REPLICA_SECONDS"
USUAL_SECONDS: Final = 60
_SEEN: Final = "SELECT etag, EXISTS(SELECT 1 FROM {s}.pin WHERE id = %s) FROM {s}.muniment"

Token = Callable[[int], AbstractContextManager[uuid.UUID]]


class Replica:
    """A replica of a database. `token` sets a pin at an etag in the primary, for as long as its block lasts."""

    def __init__(self, address: Address, primary: Address, token: Token) -> None:
        self._address = address
        self._primary = primary
        self._token = token
        self._names = Names(address)
        self._pool = use(address)
        self._reader = Reader(self._pool, self._names, address)
        self._lock = threading.Lock()
        self.reached = 0

    def at(self, etag: int) -> Reader:
        """What reads it, once it has everything through this etag.

        Raises `Busy` when it has not got there in time, and what the connection to it fails with.
        """
        with self._lock:
            if etag > self.reached:
                with self._token(etag) as id:
                    self._wait(id, etag)
                self.reached = etag
        return self._reader

    def _wait(self, id: uuid.UUID, etag: int) -> None:
        seconds = number_from(SECONDS, USUAL_SECONDS)
        deadline, pause = monotonic() + seconds, 0.02
        while True:
            found, seen = self._look(id)
            if seen:
                return
            if monotonic() + pause > deadline:
                there = "has no such database" if found is None else f"has it until etag {found:,}"
                raise Busy(
                    f"the replica {self._address} {there}, and not until etag {etag:,} of {self._primary} after"
                    f" {seconds} s",
                    "see pg_stat_replication on the primary whether it is a replica of it and how far behind;"
                    f" wait longer with {SECONDS}, or leave backup_from out",
                )
            sleep(pause)
            pause = min(1.0, pause * 2)

    def _look(self, id: uuid.UUID) -> tuple[int | None, bool]:
        """The last etag there, None without a database, and whether the pin is there."""
        try:
            [(etag, seen)] = self._reader.rows(_SEEN, (id,))
        except DatabaseNotFound:
            return None, False
        return int(etag), bool(seen)

    def close(self) -> None:
        """Whoever goes on reading gets `DatabaseClosed`."""
        self._reader.close()
        leave(self._pool)
