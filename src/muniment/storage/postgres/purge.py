"""Forgetting what no pin needs: superseded revisions, old tombstones, uploads and pins that nobody came back for.

Of all processes that use a database one at a time does it, with the turn that whoever pins waits for: so a pin either
is seen by it, or sees what it has left. Only while it forgets tombstones, a thousand at a time, commits wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from muniment.fingerprint import digest_sum
from muniment.storage.postgres.connection import Connection, Names
from muniment.storage.postgres.facts import HEAD, Sums, read_state, write_facts
from muniment.storage.retention import History, expiry_limit, history_of, purge_limit

PURGE_ROWS: Final = 1000
STAGED_HOURS: Final = 24  # after which an upload that no revision names belongs to a process that is gone
_TURN: Final = "SELECT 1 FROM {s}.turn WHERE name = 'purge' FOR UPDATE"
_LAST: Final = "SELECT etag, modified FROM {s}.log WHERE etag > %s ORDER BY etag LIMIT 1"
_DEAD: Final = "SELECT etag, key, replaced_by FROM {s}.dead WHERE replaced_by <= %s ORDER BY etag LIMIT %s"
_TOMBSTONES: Final = """
SELECT etag, key, kind FROM {s}.log WHERE body IS NULL AND etag <= %s
AND NOT EXISTS (SELECT 1 FROM {s}.dead WHERE dead.etag = log.etag AND dead.key = log.key) ORDER BY etag LIMIT %s
"""
_FORGET_LOG: Final = """
DELETE FROM {s}.log USING unnest(%b::bigint[], %b::bytea[]) AS w(etag, key)
WHERE log.etag = w.etag AND log.key = w.key RETURNING log.etag, log.content, log.digest
"""
_FORGET_DEAD: Final = """
DELETE FROM {s}.dead USING unnest(%b::bigint[], %b::bytea[]) AS w(etag, key)
WHERE dead.etag = w.etag AND dead.key = w.key
"""
_FORGET_CURRENT: Final = """
DELETE FROM {s}.current USING unnest(%b::bigint[], %b::bytea[], %b::smallint[]) AS w(etag, key, kind)
WHERE current.kind = w.kind AND current.key = w.key AND current.etag = w.etag
"""
_LEFT: Final = f"""
SELECT content FROM {{s}}.content WHERE staged AND made < now() - interval '{STAGED_HOURS} hours' LIMIT 100
"""


class Step(NamedTuple):
    """How many were forgotten, and whether there may be more that could be."""

    forgotten: int
    more: bool


def purge_step(connection: Connection, names: Names, clock: Callable[[], int]) -> Step:
    """Forget up to 1000 dead revisions that no pin needs, or old tombstones."""
    with connection.transaction():
        connection.execute(names.sql(_TURN))
        connection.execute(names.sql("DELETE FROM {s}.pin WHERE expires < now()"))
        state = read_state(connection, names)
        pins = [etag for (etag,) in connection.execute(names.sql("SELECT etag FROM {s}.pin")).fetchall()]
        newest, modified, _, _ = connection.execute(names.sql(HEAD)).fetchall()[0]
        history, now = history_of(state.settings), max(clock(), modified + 1)
        limit = purge_limit(
            history,
            newest=newest,
            pins=pins,
            backed_up=state.backed_up,
            before_window=_before_window(connection, names, history, now, newest),
        )
        sums = Sums()
        found = connection.execute(names.sql(_DEAD), (limit, PURGE_ROWS), binary=True).fetchall()
        if found:
            _forget(connection, names, sums, found)
            connection.execute(names.sql(_FORGET_DEAD), _columns(found, 2))
            reached = max(replaced_by for _, _, replaced_by in found)
            write_facts(connection, names, {"history_from": max(state.history_from, reached)})
        forgotten, whole = len(found), len(found) < PURGE_ROWS
        if whole and limit != state.purged_to:
            write_facts(connection, names, {"purged_to": limit})
        if whole and history.tombstones is not None and not pins:
            connection.execute(names.sql(f"{HEAD} FOR UPDATE"))  # a commit may be about to write one of the ids again
            before = last_etag_before(connection, names, now - history.tombstones * 1_000_000, newest)
            old = expiry_limit(
                purged_to=limit,
                newest=newest,
                backed_up=state.backed_up if state.backups else None,
                before_window=before,
            )
            gone = connection.execute(names.sql(_TOMBSTONES), (old, PURGE_ROWS), binary=True).fetchall()
            if gone:
                _forget(connection, names, sums, gone)
                connection.execute(names.sql(_FORGET_CURRENT), _columns(gone, 3))
                write_facts(connection, names, {"tombstones_from": max(state.tombstones_from, gone[-1][0])})
            forgotten, whole = forgotten + len(gone), len(gone) < PURGE_ROWS
        left = [content for (content,) in connection.execute(names.sql(_LEFT)).fetchall()]
        forget_contents(connection, names, left)
        if sums.groups:
            query = "INSERT INTO {s}.delta(id, tallies) VALUES(gen_random_uuid(), %s)"
            connection.execute(names.sql(query), (sums.delta(),))
    return Step(forgotten, not whole)


def _before_window(connection: Connection, names: Names, history: History, now: int, newest: int) -> int:
    if not (history.kept and history.window):
        return newest
    return last_etag_before(connection, names, now - history.window * 1_000_000, newest)


def _columns(rows: Sequence[Sequence[Any]], count: int) -> list[list[Any]]:
    return [[row[place] for row in rows] for place in range(count)]


def _forget(connection: Connection, names: Names, sums: Sums, rows: Sequence[Sequence[Any]]) -> None:
    """Remove these rows, which begin with etag and key, from the log, with the contents that only they name."""
    gone = connection.execute(names.sql(_FORGET_LOG), _columns(rows, 2), binary=True).fetchall()
    sums.add_rows((etag for etag, _, _ in gone), digest_sum([digest for _, _, digest in gone]), -1)
    forget_contents(connection, names, [content for _, content, _ in gone if content is not None])


def forget_contents(connection: Connection, names: Names, contents: Sequence[int]) -> None:
    """Remove contents of attachments and all their parts."""
    if contents:
        for table in ("part", "content"):
            connection.execute(names.sql(f"DELETE FROM {{s}}.{table} WHERE content = ANY(%b)"), (list(contents),))


def last_etag_before(connection: Connection, names: Names, modified: int, newest: int) -> int:
    """The last etag committed at this time or before; a binary search, since times ascend with etags."""
    low, high = 0, newest  # everything through `low` is old enough, nothing after `high` is
    while low < high:
        middle = (low + high) // 2
        row = connection.execute(names.sql(_LAST), (middle,)).fetchone()
        etag, time = row or (newest + 1, 0)
        if etag > high or time > modified:
            high = middle
        else:
            low = int(etag)
    return low
