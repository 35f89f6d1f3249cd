"""Every endpoint: its path, its methods, and what answers it. The OpenAPI document is made of this table."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from muniment.backup.recoverability import Recoverability
from muniment.raven3.messages import (
    Accepted,
    AttachmentListed,
    BackupWanted,
    BuildVersion,
    Command,
    CommandResult,
    DatabaseListed,
    DatabaseStatistics,
    Documents,
    Error,
    Health,
    Object,
    OperationListed,
    OperationState,
    OperationStatus,
    PlannedRestore,
    RestoreIntoWanted,
    RestoreWanted,
    ServerStatistics,
    Stored,
)
from muniment.raven3.queries import (
    AttachmentOf,
    AttachmentsListed,
    BackupOptions,
    CompactionWanted,
    DatabasesListed,
    Deletion,
    Deletions,
    DocumentsIncluding,
    DocumentsListed,
    DocumentsWanted,
    Exported,
    Imported,
    OperationWanted,
    Query,
    RestoreOptions,
    StatusWanted,
    Toggle,
)
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
from muniment.server.routing import BYTES, Answer, Endpoint, Handler, Route
from muniment.server.wire import Response, json_response
from muniment.smuggler.summary import Imported as Carried


async def describe(request: Request) -> Response:
    """This document."""
    return json_response(document())


@cache
def document() -> dict[str, Any]:
    """The whole API as an OpenAPI document."""
    return openapi.document(ROUTES)


KNOWN: Final = {"If-None-Match": "The etag of what the client has already."}
EXPECTED: Final = {"If-None-Match": "The etag that there must be now; all zeros if there must be none."}
UNCHANGED: Final = Answer(304, media=None, said="The client has it already.")
MISSING: Final = Answer(404, media=None, said="There is none.")
DONE: Final = (Answer(media=None),)
DUMP: Final = (Answer(200, media=BYTES), Answer(204, media=None, said="Nothing has changed since the last dump."))
DELETED: Final = (Answer(204, media=None),)
ACCEPTED: Final = (Answer(202, Accepted),)
STORED: Final = Answer(200, Stored)
CHANGED: Final = (Answer(200, Stored, said="Changed; or made, and then without a body."),)
UNSUPPORTED: Final = Endpoint(documents.unsupported, (Answer(501, Error),))
KILL: Final = Endpoint(operations.kill, (Answer(200, OperationState),), OperationWanted)


def _readable(endpoint: Endpoint, **others: Endpoint) -> dict[str, Endpoint]:
    return {"GET": endpoint, "HEAD": endpoint, **others}


def _answered(handler: Handler, *types: Any) -> dict[str, Endpoint]:
    return {"GET": Endpoint(handler, tuple(Answer(200, type) for type in types))}


def _listed(handler: Handler, query: type[Query], type: Any, *others: Answer) -> Endpoint:
    return Endpoint(handler, (Answer(200, type), *others), query)


ROUTES: Final = (
    Route(
        "docs/{id}",
        _readable(
            Endpoint(documents.get, (Answer(200, Object), UNCHANGED, MISSING), headers=KNOWN),
            PUT=Endpoint(documents.put, (Answer(201, Stored),), body=Object, headers=EXPECTED),
            DELETE=Endpoint(documents.delete, DELETED, headers=EXPECTED),
            PATCH=UNSUPPORTED,
            EVAL=UNSUPPORTED,
        ),
    ),
    Route(
        "docs",
        _readable(
            Endpoint(
                queries.listing,
                (Answer(200, list[Object] | Object), UNCHANGED, MISSING),
                DocumentsListed,
                headers=KNOWN,
            ),
            POST=Endpoint(documents.post, (STORED,), body=Object),
        ),
    ),
    Route("bulk_docs", {"POST": Endpoint(batches.execute, (Answer(200, list[CommandResult]),), body=list[Command])}),
    Route("bulk_docs/{index}", {"DELETE": UNSUPPORTED, "PATCH": UNSUPPORTED, "EVAL": UNSUPPORTED}),
    Route(
        "queries",
        {
            "GET": Endpoint(queries.get_many, (Answer(200, Documents), UNCHANGED), DocumentsWanted, headers=KNOWN),
            "POST": Endpoint(
                queries.post_many, (Answer(200, Documents), UNCHANGED), DocumentsIncluding, list[str], KNOWN
            ),
        },
    ),
    Route(
        "static/{key}",
        _readable(
            Endpoint(attachments.get, (Answer(200, media="*/*"), UNCHANGED, MISSING), AttachmentOf, headers=KNOWN),
            PUT=Endpoint(attachments.put, (Answer(201, media=None),), AttachmentOf, bytes, EXPECTED),
            POST=Endpoint(attachments.post, DONE, AttachmentOf, headers=EXPECTED),
            DELETE=Endpoint(attachments.delete, DELETED, AttachmentOf, headers=EXPECTED),
        ),
    ),
    Route("static", _readable(_listed(attachments.listing, AttachmentsListed, list[AttachmentListed]))),
    Route("stats", _readable(Endpoint(statistics.database_statistics, (Answer(200, DatabaseStatistics),)))),
    Route("operation/status", {"GET": _listed(operations.status, StatusWanted, OperationStatus, MISSING)}),
    Route("operation/kill", {"GET": KILL, "POST": KILL}, acts=True),
    Route("operations", _answered(operations.listing, list[OperationListed])),
    Route("replication/topology", {"GET": Endpoint(statistics.topology, (MISSING,))}),
    Route("build/version", _answered(statistics.build_version, BuildVersion)),
    Route("backups", _readable(Endpoint(backups.status, (Answer(200, Recoverability),)))),
    Route("admin/backup", {"POST": Endpoint(backups.start, ACCEPTED, BackupOptions, BackupWanted)}),
    Route("admin/restore-into", {"POST": Endpoint(restore_into.start, ACCEPTED, body=RestoreIntoWanted)}),
    Route(
        "smuggler/export",
        {
            "GET": Endpoint(dumps.export, DUMP, Exported),
            "POST": Endpoint(dumps.export, DUMP, Exported, dumps.Options),
        },
    ),
    Route("smuggler/import", {"POST": Endpoint(dumps.import_, (Answer(200, Carried),), Imported, bytes)}),
    Route("admin/restore", {"POST": Endpoint(restores.start, ACCEPTED, RestoreOptions, RestoreWanted)}, tenant=False),
    Route(
        "admin/restore/plan",
        {"POST": Endpoint(restores.plan, (Answer(200, PlannedRestore),), body=RestoreWanted)},
        tenant=False,
    ),
    Route("admin/compact", {"POST": Endpoint(compaction.start, ACCEPTED, CompactionWanted)}, tenant=False),
    Route("admin/stats", _answered(statistics.server_statistics, ServerStatistics), tenant=False),
    Route(
        "admin/databases/{name}",
        _readable(
            Endpoint(databases.get_database, (Answer(200, Object),)),
            PUT=Endpoint(
                databases.put_database,
                CHANGED,
                body=Object,
                headers=EXPECTED,
            ),
            POST=Endpoint(databases.toggle_database, DONE, Toggle),
            DELETE=Endpoint(databases.delete_database, DONE, Deletion),
        ),
        tenant=False,
    ),
    Route(
        "admin/databases/batch-delete",
        {"DELETE": _listed(databases.delete_databases, Deletions, list[str])},
        tenant=False,
    ),
    Route(
        "databases",
        {"GET": _listed(databases.list_databases, DatabasesListed, list[str | DatabaseListed])},
        tenant=False,
    ),
    Route("health/live", _readable(Endpoint(statistics.live, (Answer(200, Health),))), tenant=False),
    Route(
        "health/ready", _readable(Endpoint(statistics.ready, (Answer(200, Health), Answer(503, Health)))), tenant=False
    ),
    Route("openapi.json", _answered(describe, Object), tenant=False),
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
