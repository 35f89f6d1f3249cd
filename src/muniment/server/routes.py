"""Every endpoint: its path, its methods, and what answers it. The OpenAPI document is made of this table."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from muniment.server import openapi
from muniment.server.handlers import (
    attachments,
    backups,
    batches,
    compaction,
    databases,
    documents,
    dumps,
    operations,
    queries,
    restore_into,
    restores,
    statistics,
)
from muniment.server.request import Request
from muniment.server.routing import Handler, Route
from muniment.server.wire import Response, json_response


def _readable(handler: Handler, **others: Handler) -> dict[str, Handler]:
    return {"GET": handler, "HEAD": handler, **others}


async def describe(request: Request) -> Response:
    """This document."""
    return json_response(document())


@cache
def document() -> dict[str, Any]:
    """The whole API as an OpenAPI document."""
    return openapi.document(ROUTES)


ROUTES: Final = (
    Route(
        "docs/{id}",
        _readable(
            documents.get,
            PUT=documents.put,
            DELETE=documents.delete,
            PATCH=documents.unsupported,
            EVAL=documents.unsupported,
        ),
    ),
    Route("docs", _readable(queries.listing, POST=documents.post)),
    Route("bulk_docs", {"POST": batches.execute}),
    Route(
        "bulk_docs/{index}",
        {"DELETE": documents.unsupported, "PATCH": documents.unsupported, "EVAL": documents.unsupported},
    ),
    Route("queries", {"GET": queries.get_many, "POST": queries.post_many}),
    Route(
        "static/{key}",
        _readable(attachments.get, PUT=attachments.put, POST=attachments.post, DELETE=attachments.delete),
    ),
    Route("static", _readable(attachments.listing)),
    Route("stats", _readable(statistics.database_statistics)),
    Route("operation/status", {"GET": operations.status}),
    Route("operation/kill", {"GET": operations.kill, "POST": operations.kill}, acts=True),
    Route("operations", {"GET": operations.listing}),
    Route("replication/topology", {"GET": statistics.topology}),
    Route("build/version", {"GET": statistics.build_version}),
    Route("backups", _readable(backups.status)),
    Route("admin/backup", {"POST": backups.start}),
    Route("admin/restore-into", {"POST": restore_into.start}),
    Route("smuggler/export", {"GET": dumps.export, "POST": dumps.export}),
    Route("smuggler/import", {"POST": dumps.import_}),
    Route("admin/restore", {"POST": restores.start}, tenant=False),
    Route("admin/restore/plan", {"POST": restores.plan}, tenant=False),
    Route("admin/compact", {"POST": compaction.start}, tenant=False),
    Route("admin/stats", {"GET": statistics.server_statistics}, tenant=False),
    Route(
        "admin/databases/{name}",
        _readable(
            databases.get_database,
            PUT=databases.put_database,
            POST=databases.toggle_database,
            DELETE=databases.delete_database,
        ),
        tenant=False,
    ),
    Route("admin/databases/batch-delete", {"DELETE": databases.delete_databases}, tenant=False),
    Route("databases", {"GET": databases.list_databases}, tenant=False),
    Route("health/live", _readable(statistics.live), tenant=False),
    Route("health/ready", _readable(statistics.ready), tenant=False),
    Route("openapi.json", {"GET": describe}, tenant=False),
)

_EXACT: Final = {route.path: route for route in ROUTES if "{" not in route.path}
_BELOW: Final = {route.path.partition("{")[0]: route for route in ROUTES if "{" in route.path}


def resolve(path: str) -> tuple[Route, str] | None:
    """The route of a path below a database or the server, and the argument in it; None when there is none.

    The words of a route are compared without case. An id may have slashes in it.
    """
    end = path.find("/") + 1
    if 0 < end < len(path) and (route := _BELOW.get(path[:end])):  # nearly always
        return route, path[end:]
    return _resolve(path, path) or _resolve(path, path.lower())


def _resolve(path: str, folded: str) -> tuple[Route, str] | None:
    if route := _EXACT.get(folded.rstrip("/")):
        return route, ""
    end = -1
    for _ in range(2):
        end = folded.find("/", end + 1)
        if end < 0:
            break
        if (route := _BELOW.get(folded[: end + 1])) and len(path) > end + 1:
            return route, path[end + 1 :]
    return None
