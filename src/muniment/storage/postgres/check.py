"""Does a database agree with itself? Every row of the log against its digest, and every structure against the log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from muniment.document import fold
from muniment.errors import DamagedDatabase
from muniment.fingerprint import ContentDigest, Fingerprint, Tally, member_digest, row_digest
from muniment.revision import ATTACHMENT, DOCUMENT
from muniment.storage.postgres.connection import Connection, Names
from muniment.storage.postgres.facts import SPAN_BITS, SPAN_KIND, Facts, Sums, read_facts
from muniment.storage.postgres.indexes import check_indexes

ROWS: Final = 2000
_COUNTS: Final = (
    ("revisions in `current` that the log does not have", """SELECT count(*) FROM {s}.current c
        LEFT JOIN {s}.log l ON l.etag = c.etag AND l.key = c.key AND l.kind = c.kind WHERE l.etag IS NULL"""),
    ("dead revisions that the log does not have", """SELECT count(*) FROM {s}.dead d
        LEFT JOIN {s}.log l ON l.etag = d.etag AND l.key = d.key WHERE l.etag IS NULL"""),
    ("dead revisions with a wrong `replaced_by`", """SELECT count(*) FROM {s}.dead d JOIN (SELECT etag, key,
        lead(etag) OVER (PARTITION BY kind, key ORDER BY etag) AS next FROM {s}.log
        WHERE key IN (SELECT key FROM {s}.dead)) n ON n.etag = d.etag AND n.key = d.key
        WHERE d.replaced_by IS DISTINCT FROM n.next"""),
    ("revisions that are both dead and current", """SELECT count(*) FROM {s}.dead d
        JOIN {s}.current c ON c.etag = d.etag AND c.key = d.key"""),
    ("revisions in the log that are neither current nor dead", """SELECT (SELECT count(*) FROM {s}.log)
        - (SELECT count(*) FROM {s}.current) - (SELECT count(*) FROM {s}.dead)"""),
    ("etags that the log has more than once", """SELECT count(*) FROM (SELECT 1 FROM {s}.log
        GROUP BY etag HAVING count(*) > 1) twice"""),
    ("attachments without content", """SELECT count(*) FROM {s}.log l LEFT JOIN {s}.content c ON c.content = l.content
        WHERE l.kind = 1 AND l.body IS NOT NULL AND (c.content IS NULL OR c.staged)"""),
    ("contents that belong to no attachment", """SELECT count(*) FROM {s}.content c
        WHERE NOT staged AND NOT EXISTS (SELECT 1 FROM {s}.log l WHERE l.kind = 1 AND l.content = c.content)"""),
    ("contents whose size or checksum differs from their attachment's", """SELECT count(*) FROM {s}.log l
        JOIN {s}.content c ON c.content = l.content WHERE c.sha256 IS DISTINCT FROM l.body OR c.size <> l.size"""),
    ("parts that belong to no content", """SELECT count(*) FROM {s}.part p
        WHERE NOT EXISTS (SELECT 1 FROM {s}.content c WHERE c.content = p.content)"""),
    ("revisions with an earlier time than the one before", """SELECT count(*) FROM (SELECT modified
        < lag(modified) OVER (ORDER BY etag) AS older FROM {s}.log) ordered WHERE older"""),
    ("revisions with a later etag than the last one that was given", """SELECT count(*) FROM {s}.log
        WHERE etag > (SELECT etag FROM {s}.muniment)"""),
)  # fmt: skip
_LOG: Final = """
SELECT etag, key, kind, spelling, collection, folded, modified, metadata, body, content, size, digest
FROM {s}.log ORDER BY etag
"""
_CURRENT: Final = """
SELECT c.kind, c.key, c.spelling, c.collection, c.size, c.digest, c.etag, l.spelling, l.collection, l.modified,
  l.body IS NULL, l.size, l.digest
FROM {s}.current c JOIN {s}.log l ON l.etag = c.etag AND l.key = c.key
"""
_SPANS: Final = f"SELECT collection, count FROM {{s}}.tally WHERE kind = {SPAN_KIND}"
_PARTS: Final = "SELECT data FROM {s}.part WHERE content = %s ORDER BY number"


def check(connection: Connection, names: Names) -> Iterator[str]:
    """One sentence for each disagreement found, in one transaction that sees one moment; none when all is well."""
    for what, query in _COUNTS:
        if count := connection.execute(names.sql(query)).fetchall()[0][0]:
            yield f"{count} {what}"
    try:
        facts = read_facts(connection, names)
    except (DamagedDatabase, msgspec.MsgspecError) as error:
        yield str(error)
        return
    yield from _check_log(connection, names, facts)
    current = Fingerprint()
    for row in _stream(connection, names, _CURRENT):
        yield from _check_pointer(current, row)
    yield from facts.fingerprint.differences(current)
    yield from check_indexes(connection, names)


def _stream(connection: Connection, names: Names, query: str) -> Iterator[tuple[Any, ...]]:
    with connection.cursor("checked", scrollable=False) as cursor:
        cursor.itersize = ROWS
        cursor.execute(names.sql(query), binary=True)
        yield from cursor


def _check_log(connection: Connection, names: Names, facts: Facts) -> Iterator[str]:
    found, spans = Tally(), dict[int, int]()
    for row in _stream(connection, names, _LOG):
        etag, key, kind, spelling, collection, folded, modified, metadata, body, content, size, digest = row
        id = spelling or key
        name = id.decode(errors="replace")
        if kind == ATTACHMENT and content is not None:
            held = _content(connection, names, content)
            if (held.sha256, held.size) != (body, size):
                yield f"attachment {name!r}: its content is not what was written"
        if fold(name).encode() != key or folded != (collection and collection.lower()):
            yield f"{name!r}: it is filed under {key!r} and collection {folded!r}"
        if kind == DOCUMENT and size != len(body or b""):
            yield f"{name!r}: it has {len(body or b'')} bytes where {size} were written"
        found.add(1, 0, int.from_bytes(digest, "big"))
        spans[etag >> SPAN_BITS] = spans.get(etag >> SPAN_BITS, 0) + 1
        member = member_digest(id, metadata, body or b"")
        known = kind in (DOCUMENT, ATTACHMENT)
        if not known or digest != row_digest(etag, kind, modified, collection, member, tombstone=body is None):
            yield f"{name!r}: its bytes are not what was written (the digest at etag {etag} differs)"
    if (found.count, found.digest) != (facts.rows.count, facts.rows.digest):
        yield f"the log holds {found.count} revisions, which are not the {facts.rows.count} that were written"
    counted = counted_spans(connection, names)
    for span in sorted(spans.keys() | counted.keys()):
        if spans.get(span, 0) != counted.get(span, 0):
            first, last = span << SPAN_BITS, ((span + 1) << SPAN_BITS) - 1
            yield (
                f"of the etags {first} to {last} the log holds {spans.get(span, 0)} revisions, not the"
                f" {counted.get(span, 0)} that were counted"
            )


def counted_spans(connection: Connection, names: Names) -> dict[int, int]:
    """How many rows the log was given in each span and has not forgotten; part of a transaction of one moment."""
    sums = Sums()
    for name, count in connection.execute(names.sql(_SPANS), binary=True):
        sums.add(SPAN_KIND, name.decode(), count, 0, 0)
    for (tallies,) in connection.execute(names.sql("SELECT tallies FROM {s}.delta"), binary=True):
        sums.add_delta(tallies)
    return {int(name, 16): tally.count for (kind, name), tally in sums.groups.items() if kind == SPAN_KIND}


def lost(connection: Connection, names: Names, after: int, through: int) -> int:
    """How many rows are missing in the spans with the etags later than `after`, up to `through`."""
    if through <= after:
        return 0
    first, last = (after + 1) >> SPAN_BITS, through >> SPAN_BITS
    expected = sum(count for span, count in counted_spans(connection, names).items() if first <= span <= last)
    query = "SELECT count(*) FROM {s}.log WHERE etag >= %s AND etag < %s"
    bound = first << SPAN_BITS, (last + 1) << SPAN_BITS
    return expected - int(connection.execute(names.sql(query), bound).fetchall()[0][0])


def _check_pointer(found: Fingerprint, row: tuple[Any, ...]) -> Iterator[str]:
    kind, key, spelling, collection, size, digest, etag, logged, of, modified, deleted, logged_size, logged_row = row
    id = (spelling or key).decode(errors="replace")
    if spelling != logged or collection != of:
        yield f"{id!r}: the pointer to it is filed under {key!r} and collection {collection!r}"
    if deleted or digest is None:
        if deleted != (digest is None):
            yield f"{id!r}: the log and the pointer do not agree on whether it is deleted"
        return
    if size != logged_size:
        yield f"{id!r}: it has {logged_size} bytes where {size} were written"
    if row_digest(etag, kind, modified, collection, digest, tombstone=False) != logged_row:
        yield f"{id!r}: the pointer's digest is not that of what was written"
    found.add((kind, (collection or b"").decode()), 1, size, int.from_bytes(digest, "big"))


def _content(connection: Connection, names: Names, content: int) -> ContentDigest:
    digest = ContentDigest()
    for (data,) in connection.execute(names.sql(_PARTS), (content,), binary=True):
        digest.add(data)
    return digest
