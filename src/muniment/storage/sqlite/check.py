"""Does a database agree with itself? Every row of the log against its digest, and every structure against the log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import apsw
import msgspec

from muniment.document import fold
from muniment.errors import DamagedDatabase
from muniment.fingerprint import ContentDigest, Fingerprint, Tally, member_digest, row_digest
from muniment.revision import ATTACHMENT, DOCUMENT
from muniment.storage.sqlite.indexes import check_indexes, look_at_words
from muniment.storage.sqlite.schema import parts_of
from muniment.storage.sqlite.spans import check_spans
from muniment.storage.sqlite.state import read_state, read_tallies

_COUNTS: Final = (
    ("revisions in `current` that the log does not have", """SELECT count(*) FROM current
        LEFT JOIN log USING(etag, kind) WHERE log.etag IS NULL"""),
    ("dead revisions that the log does not have", """SELECT count(*) FROM dead LEFT JOIN log USING(etag)
        WHERE log.etag IS NULL"""),
    ("dead revisions with a wrong `replaced_by`", """SELECT count(*) FROM dead JOIN (SELECT etag,
        lead(etag) OVER (PARTITION BY kind, iif(kind = 1, fold(id), id) ORDER BY etag) AS next FROM log
        WHERE kind = 1 OR id IN (SELECT id FROM log JOIN dead USING(etag))) USING(etag)
        WHERE replaced_by IS NOT next"""),
    ("revisions that are both dead and current", "SELECT count(*) FROM dead JOIN current USING(etag)"),
    ("revisions in the log that are neither current nor dead", """SELECT (SELECT count(*) FROM log)
        - (SELECT count(*) FROM current) - (SELECT count(*) FROM dead)"""),
    ("attachments without content", """SELECT count(*) FROM log LEFT JOIN content USING(content)
        WHERE kind = 1 AND body IS NOT NULL AND (content.content IS NULL OR staged)"""),
    ("contents that belong to no attachment", """SELECT count(*) FROM content
        WHERE NOT staged AND content NOT IN (SELECT content FROM log WHERE kind = 1 AND content IS NOT NULL)"""),
    ("contents whose size or checksum differs from their attachment's", """SELECT count(*) FROM log
        JOIN content USING(content) LEFT JOIN current USING(etag)
        WHERE content.sha256 IS NOT log.body OR content.size <> coalesce(current.size, content.size)"""),
    ("parts that belong to no content", """SELECT count(*) FROM part
        WHERE part >> 12 NOT IN (SELECT content FROM content)"""),
    ("revisions with an earlier time than the one before", """SELECT count(*)
        FROM (SELECT modified < lag(modified) OVER (ORDER BY etag) AS older FROM log) WHERE older"""),
)  # fmt: skip
_LOG: Final = """
SELECT etag, kind, id, log.collection, modified, metadata, body, log.content, digest, content.size
FROM log LEFT JOIN content ON content.content = log.content ORDER BY etag
"""
# The bodies in the log are not read again: their digests, already proven, show whether the pointer's are right.
_CURRENT: Final = """
SELECT current.kind, key, spelling, current.collection, current.size, current.digest, etag, id, log.collection,
  modified, body IS NULL, coalesce(content.size, octet_length(body), 0), log.digest
FROM current JOIN log USING(etag) LEFT JOIN content ON content.content = log.content
"""


class _Logged(msgspec.Struct, array_like=True, frozen=True):
    etag: int
    kind: int
    id: str
    collection: str | None
    modified: int
    metadata: bytes
    body: bytes | None
    content: int | None
    digest: bytes
    content_size: int | None


class _Pointer(msgspec.Struct, array_like=True, frozen=True):
    kind: int
    key: str
    spelling: str | None
    collection: str | None
    size: int
    digest: bytes | None
    etag: int
    id: str
    logged_collection: str | None
    modified: int
    deleted: bool
    logged_size: int
    row_digest: bytes


def _fold(*values: object) -> str:
    return fold(str(values[0]))


def check(connection: apsw.Connection) -> Iterator[str]:
    """One sentence for each disagreement found, in one read transaction; none when all is well."""
    connection.create_scalar_function("fold", _fold, 1, deterministic=True)  # attachments' ids change their spelling
    with connection:
        look_at_words(connection)
        damaged = [row[0] for row in connection.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]
        yield from damaged
        if damaged:  # the checks below would fail on the same pages
            return
        for what, query in _COUNTS:
            if count := connection.execute(query).get:
                yield f"{count} {what}"
        try:
            read_state(connection)
        except DamagedDatabase as error:
            yield str(error)
        fingerprint, rows = read_tallies(connection)
        found = Tally()
        for values in connection.execute(_LOG):
            yield from _check_row(connection, found, msgspec.convert(values, _Logged))
        if (found.count, found.digest) != (rows.count, rows.digest):
            yield f"the log holds {found.count} revisions, which are not the {rows.count} that were written"
        yield from check_spans(connection)
        yield from check_indexes(connection)
        current = Fingerprint()
        for values in connection.execute(_CURRENT):
            yield from _check_pointer(current, _pointer(values))
        yield from fingerprint.differences(current)


def _pointer(values: tuple[Any, ...]) -> _Pointer:
    return msgspec.convert((*values[:10], bool(values[10]), *values[11:]), _Pointer)


def _check_row(connection: apsw.Connection, found: Tally, row: _Logged) -> Iterator[str]:
    if row.kind == ATTACHMENT and row.content is not None:
        content = _read_content(connection, row.content)
        if content.sha256 != row.body or content.size != row.content_size:
            yield f"attachment {row.id!r}: its content is not what was written"
    found.add(1, 0, int.from_bytes(row.digest, "big"))
    member = member_digest(row.id.encode(), row.metadata, row.body or b"")
    if row.digest != _row_digest(row, row.collection, member, row.body is None):
        yield f"{row.id!r}: its bytes are not what was written (the digest at etag {row.etag} differs)"


def _check_pointer(found: Fingerprint, row: _Pointer) -> Iterator[str]:
    id = row.id
    if fold(id) != row.key or (row.spelling or row.key) != id or row.collection != row.logged_collection:
        yield f"{id!r}: the pointer to it is filed under {row.key!r} and collection {row.collection!r}"
    if row.deleted or row.digest is None:
        if row.deleted != (row.digest is None):
            yield f"{id!r}: the log and the pointer do not agree on whether it is deleted"
        return
    if row.size != row.logged_size:
        yield f"{id!r}: it has {row.logged_size} bytes where {row.size} were written"
    if _row_digest(row, row.collection, row.digest, False) != row.row_digest:
        yield f"{id!r}: the pointer's digest is not that of what was written"
    found.add((row.kind, row.collection or ""), 1, row.size, int.from_bytes(row.digest, "big"))


def _row_digest(row: _Logged | _Pointer, collection: str | None, member: bytes, tombstone: bool) -> bytes | None:
    """The digest that this row of the log should have, None when there is no such kind."""
    if row.kind not in (DOCUMENT, ATTACHMENT):
        return None
    name = None if collection is None else collection.encode()
    return row_digest(row.etag, row.kind, row.modified, name, member, tombstone=tombstone)


def _read_content(connection: apsw.Connection, content: int) -> ContentDigest:
    digest = ContentDigest()
    query = "SELECT data FROM part WHERE part >= ? AND part < ? ORDER BY part"
    for (data,) in connection.execute(query, parts_of(content)):
        digest.add(data)
    return digest
