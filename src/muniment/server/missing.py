"""What RavenDB 3 answers and Muniment does not: said by name, so that it is not taken for a mistyped address."""

from __future__ import annotations

from typing import Final

from muniment.server.wire import Refused

_QUERIES: Final = "ask indexes/dynamic/COLLECTION, or in RQL with POST query (docs/queries.md)"
_OTHERS: Final = "see docs/from-ravendb.md for what takes its place"

# By the first word of the path below a database or the server; `admin` and `debug` with the second.
_ENDPOINTS: Final = {
    "index": _QUERIES,
    "facets": _QUERIES,
    "suggest": _QUERIES,
    "morelikethis": _QUERIES,
    "terms": _QUERIES,
    "streams": "streams/docs and streams/query/INDEX are here",
    "transformers": _QUERIES,
    "changes": _OTHERS,
    "replication": _OTHERS,
    "sql-replication-stats": _OTHERS,
    "subscriptions": _OTHERS,
    "transaction": "send the commands to bulk_docs, which is one transaction",
    "logs": "read the server's stderr",
    "license": _OTHERS,
    "cluster": _OTHERS,
    "fs": _OTHERS,
    "cs": _OTHERS,
    "ts": _OTHERS,
    "counters": _OTHERS,
    "studio-tasks": _OTHERS,
    "admin/startindexing": _QUERIES,
    "admin/stopindexing": _QUERIES,
    "admin/indexingstatus": _QUERIES,
    "admin/gc": _OTHERS,
    "admin/changedbid": _OTHERS,
    "admin/ravendb-studio": _OTHERS,
    "debug": _OTHERS,
}


def refusal(path: str, shown: str) -> Refused | None:
    """The error (501) for an endpoint that only RavenDB has; None for what is none of those either."""
    words = path.lower().strip("/").split("/")
    hint = _ENDPOINTS.get(words[0]) or _ENDPOINTS.get("/".join(words[:2]))
    return Refused(501, f"{shown} is RavenDB's, and Muniment does not have it", hint) if hint else None
