"""Queries over the tables in PostgreSQL."""

from __future__ import annotations

from muniment.query.model import Query
from muniment.query.scan import Matches
from muniment.revision import DOCUMENT
from muniment.storage.postgres.connection import Connection, Names
from muniment.storage.postgres.facts import read_facts
from muniment.storage.postgres.reader import ALIVE
from muniment.storage.postgres.writing import fold_collection


def collection_matches(connection: Connection, names: Names, query: Query, *, counted: bool) -> Matches:
    """The documents of a collection, or all, in the order of their etags."""
    folded = None if query.collection is None else fold_collection(query.collection.encode())
    named = "" if folded is None else "AND log.folded = %(collection)s"
    sql = f"""SELECT log.etag FROM {{s}}.log WHERE log.kind = {DOCUMENT} {named} AND {ALIVE}
        ORDER BY log.etag LIMIT %(take)s OFFSET %(skip)s"""
    bound = {"collection": folded, "take": query.take, "skip": query.skip}
    etags = [etag for (etag,) in connection.execute(names.sql(sql), bound)]
    total = -1
    if counted:
        tallies = read_facts(connection, names).fingerprint.tallies
        total = sum(
            tally.count
            for (kind, of), tally in tallies.items()
            if kind == DOCUMENT and (folded is None or fold_collection(of.encode()) == folded)
        )
    return Matches(etags, total)
