"""Does a database agree with itself? Every structure against the log, and the log against its digests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

import apsw

from muniment.document import fold
from muniment.fingerprint import Fingerprint, member_digest
from muniment.revision import ATTACHMENT
from muniment.storage.schema import PART_BITS
from muniment.storage.state import read_fingerprint

_COUNTS: Final = (
    ("revisions in `current` that the log does not have", """SELECT count(*) FROM current
        LEFT JOIN log USING(etag, kind) WHERE log.etag IS NULL"""),
    ("dead revisions that the log does not have", """SELECT count(*) FROM dead LEFT JOIN log USING(etag)
        WHERE log.etag IS NULL"""),
    ("dead revisions that something else took the place of", """SELECT count(*) FROM dead JOIN (SELECT etag,
        lead(etag) OVER (PARTITION BY kind, id ORDER BY etag) AS next FROM log
        WHERE id IN (SELECT id FROM log JOIN dead USING(etag))) USING(etag) WHERE replaced_by IS NOT next"""),
    ("revisions that are both dead and current", "SELECT count(*) FROM dead JOIN current USING(etag)"),
    ("revisions in the log that are neither current nor dead", """SELECT (SELECT count(*) FROM log)
        - (SELECT count(*) FROM current) - (SELECT count(*) FROM dead)"""),
    ("attachments without content", """SELECT count(*) FROM log LEFT JOIN content USING(content)
        WHERE kind = 1 AND body IS NOT NULL AND (content.content IS NULL OR staged)"""),
    ("contents that no attachment has", """SELECT count(*) FROM content
        WHERE NOT staged AND content NOT IN (SELECT content FROM log WHERE kind = 1 AND content IS NOT NULL)"""),
    ("contents whose size or checksum is not their attachment's", """SELECT count(*) FROM log
        JOIN content USING(content) LEFT JOIN current USING(etag)
        WHERE content.sha256 IS NOT log.body OR content.size <> coalesce(current.size, content.size)"""),
    ("parts that no content has", """SELECT count(*) FROM part
        WHERE part >> 12 NOT IN (SELECT content FROM content)"""),
    ("revisions that are older than one before them", """SELECT count(*)
        FROM (SELECT modified < lag(modified) OVER (ORDER BY etag) AS older FROM log) WHERE older"""),
)  # fmt: skip
_CURRENT: Final = """
SELECT current.kind, key, spelling, current.collection, size, digest, id, log.collection, metadata, body, log.content
FROM current JOIN log USING(etag)
"""


def check(connection: apsw.Connection) -> Iterator[str]:
    """One sentence for each disagreement found, in one read transaction; none when all is well."""
    with connection:
        damaged = [row[0] for row in connection.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]
        yield from damaged
        if damaged:  # what follows would stumble over the same pages
            return
        for what, query in _COUNTS:
            if count := connection.execute(query).get:
                yield f"{count} {what}"
        found = Fingerprint()
        for row in connection.execute(_CURRENT):
            yield from _check_revision(connection, found, *row)
        yield from read_fingerprint(connection).differences(found)


def _check_revision(
    connection: apsw.Connection,
    found: Fingerprint,
    kind: int,
    key: str,
    spelling: str | None,
    collection: str | None,
    size: int,
    digest: bytes | None,
    id: str,
    logged_collection: str | None,
    metadata: bytes,
    body: bytes | None,
    content: int | None,
) -> Iterator[str]:
    if fold(id) != key or (spelling or key) != id or collection != logged_collection:
        yield f"{id!r}: the pointer to it is filed under {key!r} and collection {collection!r}"
    if body is None or digest is None:
        if (body is None) != (digest is None):
            yield f"{id!r}: the log and the pointer do not agree on whether it is deleted"
        return
    if kind == ATTACHMENT and content is not None:
        actual_size, sha256 = _read_content(connection, content)
        if sha256 != body or actual_size != size:
            yield f"attachment {id!r}: its content is not what was written"
    elif size != len(body):
        yield f"{id!r}: it has {len(body)} bytes where {size} were written"
    actual = member_digest(id.encode(), metadata, body)
    if actual != digest:
        yield f"{id!r}: its bytes are not what was written (the digest differs)"
    found.add((kind, collection or ""), 1, size, int.from_bytes(actual, "big"))


def _read_content(connection: apsw.Connection, content: int) -> tuple[int, bytes]:
    sha256, size, first = hashlib.sha256(), 0, content << PART_BITS
    query = "SELECT data FROM part WHERE part >= ? AND part < ? ORDER BY part"
    for (data,) in connection.execute(query, (first, first + (1 << PART_BITS))):
        sha256.update(data)
        size += len(data)
    return size, sha256.digest()
