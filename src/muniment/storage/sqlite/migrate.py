"""Migrating a database file of an older format to the present one, when it is opened for writing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

import apsw
import msgspec

from muniment.document import fold
from muniment.fingerprint import Tally, member_digest, row_digest
from muniment.storage.sqlite.schema import FORMAT, mapped_errors, run
from muniment.storage.sqlite.spans import begin_counting
from muniment.storage.sqlite.state import LOG_ROWS, write_facts, write_tallies

_DIGESTS: Final = """
ALTER TABLE log ADD COLUMN digest BLOB NOT NULL DEFAULT x'';
UPDATE log SET digest = row_digest(etag, kind, modified, collection, id, metadata, body);
"""
# All ids that simple case folding makes equal, full case folding made equal too: no two of the keys become one.
_KEYS: Final = """
CREATE TEMP TABLE moved AS SELECT kind, key AS old, fold(ifnull(spelling, key)) AS key, ifnull(spelling, key) AS id,
  etag, collection, size, digest FROM current WHERE fold(ifnull(spelling, key)) <> key;
DELETE FROM current WHERE (kind, key) IN (SELECT kind, old FROM moved);
INSERT INTO current SELECT kind, key, nullif(id, key), etag, collection, size, digest FROM moved ORDER BY kind, key;
DROP TABLE moved;
"""


_Row = tuple[int, Literal[0, 1], int, str | None, str, bytes, bytes | None]


def migrate(connection: apsw.Connection, folder: Path) -> None:
    """Bring the file to the present format in one transaction: a process that dies leaves it as it was.

    Nobody else may write meanwhile. Until it is checkpointed, the write-ahead log is as large as the database.
    """
    with mapped_errors(folder):
        run(connection, "BEGIN IMMEDIATE")
        try:
            if connection.execute("PRAGMA user_version").get == 1:
                _from_1(connection)
            begin_counting(connection, connection.execute("SELECT ifnull(max(etag), 0) FROM log").get)
            run(connection, f"PRAGMA user_version={FORMAT}; COMMIT")
        except BaseException:
            if connection.in_transaction:
                run(connection, "ROLLBACK")
            raise
        run(connection, "PRAGMA wal_checkpoint(TRUNCATE)")


def _from_1(connection: apsw.Connection) -> None:
    """Format 1 compared ids after full case folding, and had neither digests of rows nor lineages."""
    rows = Tally()

    def digest(*values: Any) -> bytes:
        etag, kind, modified, collection, id, metadata, body = msgspec.convert(values, _Row)
        member = member_digest(id.encode(), metadata, body or b"")
        name = None if collection is None else collection.encode()
        row = row_digest(etag, kind, modified, name, member, tombstone=body is None)
        rows.add(1, 0, int.from_bytes(row, "big"))
        return row

    def folded(*ids: Any) -> str:
        return fold(*ids)

    connection.create_scalar_function("row_digest", digest, 7)
    connection.create_scalar_function("fold", folded, 1, deterministic=True)
    run(connection, _DIGESTS)
    write_tallies(connection, {LOG_ROWS: rows})
    run(connection, _KEYS)
    write_facts(connection, {})  # and with them their digest
