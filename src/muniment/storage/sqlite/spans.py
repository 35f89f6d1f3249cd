"""How many rows the log has, counted for each span of 4096 etags as they are written and purged.

So whoever reads a part of the log knows how many rows to expect in it, and notices those that a damaged file has lost.
The fingerprint tells that of the whole log only. A file of an older format is counted from its last span on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final

import apsw
import msgspec

from muniment.storage.sqlite.state import SPAN_KIND, read_state, readable, write_fact

SPAN_BITS: Final = 12
_COUNT: Final = f"""
INSERT INTO fingerprint VALUES({SPAN_KIND}, ?, ?, 0, x'')
ON CONFLICT DO UPDATE SET count = count + excluded.count
"""
_EXPECTED: Final = f"""
SELECT ifnull(sum(count), 0) FROM fingerprint WHERE kind = {SPAN_KIND} AND collection >= ? AND collection <= ?
"""
_COUNTED: Final = f"SELECT count FROM fingerprint WHERE kind = {SPAN_KIND} AND collection = ?"
_FOUND: Final = "SELECT count(*) FROM log WHERE etag >= ? AND etag < ?"
_DIFFERENT: Final = f"""
WITH found AS (
  SELECT format('%013x', etag >> {SPAN_BITS}) AS span, count(*) AS rows FROM log WHERE etag >= ? GROUP BY 1
)
SELECT ifnull(span, collection), ifnull(rows, 0), ifnull(count, 0)
FROM found FULL JOIN (SELECT * FROM fingerprint WHERE kind = {SPAN_KIND}) ON span = collection
WHERE ifnull(rows, 0) <> ifnull(count, 0) ORDER BY 1
"""


def begin_counting(connection: apsw.Connection, last_etag: int) -> None:
    """Count from now on, and what the last span has already; part of the transaction that makes the file what it is."""
    span = last_etag >> SPAN_BITS
    count: int = connection.execute(_FOUND, (span << SPAN_BITS, (span + 1) << SPAN_BITS)).get
    if count:
        connection.execute(_COUNT, (_name(span), count))
    write_fact(connection, "counted_from", span << SPAN_BITS)


class Spans:
    """What the spans have to which rows come, for who writes a file and so need not read that for each commit."""

    def __init__(self) -> None:
        self._name = ""
        self._count = 0
        self._last = -1  # etag of this span

    def grown(self, run: apsw.Cursor, after: int, through: int) -> list[tuple[str, int]]:
        """The name of each span of the etags later than `after`, up to `through`, and how many rows it has then."""
        found = []
        while after < through:
            if after >= self._last:
                self._begin(run, (after + 1) >> SPAN_BITS)
            end = min(through, self._last)
            self._count += end - after
            found.append((self._name, self._count))
            after = end
        return found

    def _begin(self, run: apsw.Cursor, span: int) -> None:
        name = _name(span)
        with readable():
            self._count = msgspec.convert(run.execute(_COUNTED, (name,)).get or 0, int)
        self._name, self._last = name, ((span + 1) << SPAN_BITS) - 1

    def forget(self) -> None:
        """Read it again next time: rows were purged, or what was counted was undone."""
        self._last = -1


def count_purged(connection: apsw.Connection, etags: Iterable[int]) -> None:
    """Count rows with these etags out."""
    counted_from = read_state(connection).counted_from
    if counted_from is None:
        return
    gone = Counter(etag >> SPAN_BITS for etag in etags if etag >= counted_from)
    connection.executemany(_COUNT, [(_name(span), -count) for span, count in gone.items()])
    connection.execute(f"DELETE FROM fingerprint WHERE kind = {SPAN_KIND} AND count = 0")


def lost(connection: apsw.Connection, after: int, through: int) -> int:
    """How many rows are missing in the spans with the etags later than `after`, up to `through`, that were counted."""
    with connection:  # one transaction
        counted_from = read_state(connection).counted_from
        if counted_from is None or through <= max(after, counted_from - 1):
            return 0
        first, last = max(after + 1, counted_from) >> SPAN_BITS, through >> SPAN_BITS
        expected: int = connection.execute(_EXPECTED, (_name(first), _name(last))).get
        found: int = connection.execute(_FOUND, (first << SPAN_BITS, (last + 1) << SPAN_BITS)).get
    return expected - found


def lost_at_the_end(connection: apsw.Connection) -> int:
    """How many rows are missing in the newest span."""
    newest = connection.execute(f"SELECT max(collection) FROM fingerprint WHERE kind = {SPAN_KIND}").get
    if newest is None:
        return 0
    first = _number(newest) << SPAN_BITS
    return max(0, lost(connection, first - 1, first))


def check_spans(connection: apsw.Connection) -> Iterator[str]:
    """One sentence for each span with more or fewer rows than were counted."""
    counted_from = read_state(connection).counted_from
    if counted_from is None:
        return
    for name, found, expected in connection.execute(_DIFFERENT, (counted_from,)):
        span = _number(name)
        first, last = span << SPAN_BITS, ((span + 1) << SPAN_BITS) - 1
        yield f"of the etags {first} to {last} the log holds {found} revisions, not the {expected} that were counted"


def _name(span: int) -> str:
    """In an order of text that is theirs."""
    return f"{span:013x}"


def _number(name: Any) -> int:
    """The span of a name; raises `DamagedDatabase` for what is none."""
    with readable():
        return int(msgspec.convert(name, str), 16)
