"""What RavenDB 3 answers and Muniment does not: said by name, so that it is not taken for a mistyped address."""

from __future__ import annotations

from typing import Final

from muniment.server.wire import Refused

_QUERIES: Final = "ask indexes/dynamic/COLLECTION, or in RQL with POST query (docs/queries.md)"
_GROUPS: Final = "count by groups: POST query with `group by` (docs/queries.md)"
_WORDS: Final = "search for the beginning of words: Name:wor*, or search(Name, 'wor*') in RQL (docs/queries.md)"
_FIELDS: Final = "fetch fields (`fetch=` of indexes/…), or make more of them where they are used"
_NUMBERS: Final = "keep a number in a document, and increase it by a patch (docs/patches.md)"
_VALUES: Final = "keep the values in documents of their own"
_UNIQUE: Final = "store a document under that id with an empty change vector: it must not be there yet"
_BEHIND: Final = "an index is never behind, and there is nothing to start, stop or tune"
_VERSIONS: Final = "GET versions?id=ID answers the versions that the database and its backups have (docs/http-api.md)"
_OTHERS: Final = "see docs/from-ravendb.md for what takes its place"

# By the first word of the path below a database or the server; `admin` and `debug` with the second.
_ENDPOINTS: Final = {
    "index": _QUERIES,
    "facets": _GROUPS,
    "suggest": _WORDS,
    "morelikethis": _WORDS,
    "terms": "terms/INDEX?field=NAME is here",
    "streams": "streams/docs and streams/query/INDEX are here",
    "transformers": _FIELDS,
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
    "counters": _NUMBERS,
    "studio-tasks": _OTHERS,
    "admin/startindexing": _BEHIND,
    "admin/stopindexing": _BEHIND,
    "admin/indexingstatus": _BEHIND,
    "admin/gc": _OTHERS,
    "admin/changedbid": _OTHERS,
    "admin/ravendb-studio": _OTHERS,
    "debug": _OTHERS,
}


# The same of RavenDB 4 and later.
_LATER: Final = {
    "counters": _NUMBERS,
    "timeseries": _VALUES,
    "cmpxchg": _UNIQUE,
    "revisions": _VERSIONS,
    "admin/revisions": _VERSIONS,
    "indexes/set-lock": _BEHIND,
    "indexes/set-priority": _BEHIND,
    "admin/indexes": _BEHIND,
    "indexes/suggest": _WORDS,
    "subscriptions": "read on after the last etag: GET docs?etag=… of RavenDB 3's words (docs/http-api.md)",
    "changes": "read on after the last etag: GET docs?etag=… of RavenDB 3's words (docs/http-api.md)",
    "identity": "store a document whose id ends in / or |",
    "identities": "store a document whose id ends in / or |",
    "admin/periodic-backup": "schedules are the server's: docs/schedules.md",
}


def hint_of_later(path: str) -> str:
    """What to do instead of asking this of RavenDB 4 or later."""
    words = path.lower().strip("/").split("/")
    found = _LATER.get("/".join(words[:2])) or _LATER.get(words[0])
    return found or "docs/ravendb-clients.md says what there is"


def refusal(path: str, shown: str) -> Refused | None:
    """The error (501) for an endpoint that only RavenDB has; None for what is none of those either."""
    words = path.lower().strip("/").split("/")
    hint = _ENDPOINTS.get(words[0]) or _ENDPOINTS.get("/".join(words[:2]))
    return Refused(501, f"{shown} is RavenDB's, and Muniment does not have it", hint) if hint else None
