"""Spreading tables over machines, where the extension Citus is there and a database is to be in parts.

Of Citus there is only what its documentation says: no test has it. What it is told is tested.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from muniment.storage.postgres.connection import Connection, Names

SPREAD: Final = {"log": "key", "current": "key", "dead": "key", "part": "content"}
"""By which column the tables that grow are spread: what is joined by its key is on one machine. All others are small,
or are joined with these by something else, and are on each machine."""

_CITUS: Final = """
SELECT count(DISTINCT proname) = 2 FROM pg_catalog.pg_proc
WHERE proname IN ('create_distributed_table', 'create_reference_table')
"""
_EVERYWHERE: Final = "SELECT create_reference_table(%s::regclass)"
_ALONE: Final = "SELECT create_distributed_table(%s::regclass, %s, colocate_with => %s, shard_count => %s)"
_BESIDE: Final = "SELECT create_distributed_table(%s::regclass, %s, colocate_with => %s)"


def can_spread(connection: Connection) -> bool:
    """Whether Citus is there."""
    return connection.execute(_CITUS).fetchone() == (True,)


def spread(connection: Connection, names: Names, tables: Iterable[str], shards: int) -> None:
    """Spread these tables, which are empty; part of the transaction that makes them."""
    for query, bound in distribution(names, tables, shards):
        connection.execute(query, bound)


def distribution(names: Names, tables: Iterable[str], shards: int) -> list[tuple[str, tuple[object, ...]]]:
    """The statements by which Citus spreads these tables, and what they bind."""
    named = {table: names.sql(f"{{s}}.{table}") for table in tables}
    found: list[tuple[str, tuple[object, ...]]] = [
        (_EVERYWHERE, (name,)) for table, name in named.items() if table not in SPREAD
    ]
    found += [(_ALONE, (named[table], SPREAD[table], "none", shards)) for table in ("log", "part")]
    return found + [(_BESIDE, (named[table], SPREAD[table], named["log"])) for table in ("current", "dead")]
