"""Tombstones that nobody needs any more: finding them, and removing them from the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import apsw
import msgspec

from muniment.document import fold

# Created when tombstones expire for the first time: few databases need it.
_INDEX: Final = "CREATE INDEX IF NOT EXISTS log_tombstone ON log(etag) WHERE body IS NULL"
_FIND: Final = """
SELECT etag, kind, id FROM log WHERE body IS NULL AND etag <= ?
AND NOT EXISTS (SELECT * FROM dead WHERE dead.etag = log.etag) ORDER BY etag LIMIT ?
"""


class Tombstone(NamedTuple):
    """The newest revision of an id that is deleted."""

    etag: int
    kind: int
    id: str


def tombstones(connection: apsw.Connection, through: int, count: int) -> list[Tombstone]:
    """The oldest tombstones through this etag, at most `count`."""
    connection.execute(_INDEX)
    return [msgspec.convert(row, Tombstone) for row in connection.execute(_FIND, (through, count))]


def forget_tombstones(connection: apsw.Connection, found: Sequence[Tombstone]) -> list[bytes]:
    """Remove them from the log, and with them all that the database knows of their ids; returns their digests."""
    keys = [(each.kind, fold(each.id), each.etag) for each in found]
    connection.executemany("DELETE FROM current WHERE kind = ? AND key = ? AND etag = ?", keys)
    query, etags = "DELETE FROM log WHERE etag = ? RETURNING digest", [(each.etag,) for each in found]
    return [msgspec.convert(digest, bytes) for (digest,) in connection.executemany(query, etags).fetchall()]
