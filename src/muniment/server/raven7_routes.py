"""Every endpoint of RavenDB 4 and later: its path, its methods, and what answers it.

Where RavenDB 3 has the same path, the version in a client's header says which of the two it means.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from muniment.raven3.messages import Object
from muniment.raven7.messages import (
    AllToggled,
    AttachmentStored,
    BackupWanted,
    Batch,
    ClusterTopology,
    CollectionStatistics,
    Command,
    DatabaseNames,
    DatabaseShown,
    DatabaseStatistics,
    DatabaseStored,
    Deleted,
    Deletion,
    Documents,
    Done,
    ExportWanted,
    Failure,
    Ids,
    IndexChanged,
    IndexesMade,
    IndexesRunning,
    IndexesShown,
    IndexesWanted,
    JsonPatch,
    OperationNumber,
    OperationStatus,
    PatchDone,
    PatchWanted,
    QueryResult,
    QueryWanted,
    Range,
    RestoreWanted,
    Several,
    SeveralAnswers,
    Started,
    Stored,
    Terms,
    Toggling,
    Topology,
    UpdateWanted,
    Version,
)
from muniment.raven7.queries import (
    AttachmentNamed,
    ByQuery,
    DatabasesListed,
    DocumentNamed,
    DocumentsStreamed,
    DocumentsWanted,
    IndexesListed,
    IndexesNamed,
    Inserted,
    Named,
    NextRange,
    OperationWanted,
    PatchAsked,
    Queried,
    QueryStreamed,
    ReturnedRange,
    Smuggled,
    TermsWanted,
)
from muniment.server import openapi
from muniment.server.handlers.raven7 import (
    attachments,
    backups,
    batches,
    bulk,
    cluster,
    databases,
    documents,
    dumps,
    ids,
    indexes,
    operations,
    patches,
    queries,
    several,
    statistics,
)
from muniment.server.request import Request
from muniment.server.routes import (
    BACKUP,
    COMPACT_SOME,
    DELETED,
    DONE,
    EVERYTHING,
    JOB,
    MISSING,
    READ,
    RESTORE_SOME,
    SEE,
    SOME,
    UNCHANGED,
    WRITE,
)
from muniment.server.routing import BYTES, EVERYBODY, Answer, Endpoint, Handler, Permission, Route, Table
from muniment.server.wire import Response, json_response


async def describe(request: Request) -> Response:
    """This document."""
    return json_response(document())


@cache
def document() -> dict[str, Any]:
    """These endpoints as an OpenAPI document."""
    return openapi.document(ROUTES, "RavenDB 4 to 7's words, for clients that send their version", Failure)


LINES: Final = (Answer(200, media="application/x-ndjson"),)
STARTED: Final = (Answer(200, Started),)
KNOWN: Final = {"If-None-Match": "What the client has already, by the ETag that it was answered with."}
EXPECTED: Final = {"If-Match": "The change vector that there must be now."}


def _readable(endpoint: Endpoint) -> dict[str, Endpoint]:
    return {"GET": endpoint, "HEAD": endpoint}


def _answered(handler: Handler, may: Permission, type: Any) -> dict[str, Endpoint]:
    return {"GET": Endpoint(handler, (Answer(200, type),), may=may)}


def _toggling(handler: Handler) -> dict[str, Endpoint]:
    return {"POST": Endpoint(handler, (Answer(200, AllToggled),), body=Toggling, may=COMPACT_SOME)}


ROUTES: Final = (
    Route("topology", {"GET": Endpoint(cluster.topology, (Answer(200, Topology),), Named, may=SOME)}, tenant=False),
    Route(
        "cluster/topology",
        {"GET": Endpoint(cluster.cluster, (Answer(200, ClusterTopology),), may=EVERYBODY)},
        tenant=False,
    ),
    Route("build/version", {"GET": Endpoint(cluster.version, (Answer(200, Version),), may=EVERYBODY)}, tenant=False),
    Route(
        "docs",
        {
            "GET": Endpoint(
                documents.get, (Answer(200, Documents), UNCHANGED, MISSING), DocumentsWanted, headers=KNOWN, may=READ
            ),
            "POST": Endpoint(documents.post, (Answer(200, Documents), MISSING), DocumentsWanted, Ids, may=READ),
            "HEAD": Endpoint(
                documents.head,
                (Answer(200, media=None), UNCHANGED, MISSING),
                DocumentNamed,
                headers=KNOWN,
                may=READ,
            ),
            "PUT": Endpoint(documents.put, (Answer(201, Stored),), DocumentNamed, Object, EXPECTED, may=WRITE),
            "DELETE": Endpoint(documents.delete, DELETED, DocumentNamed, headers=EXPECTED, may=WRITE),
            "PATCH": Endpoint(
                patches.patch, (Answer(200, PatchDone), MISSING), PatchAsked, PatchWanted, EXPECTED, may=WRITE
            ),
        },
    ),
    Route(
        "json-patch",
        {"PATCH": Endpoint(patches.json_patch, (Answer(200, PatchDone), MISSING), DocumentNamed, JsonPatch, may=WRITE)},
    ),
    Route("bulk_docs", {"POST": Endpoint(batches.execute, (Answer(201, Done),), body=Batch, may=WRITE)}),
    Route("bulk_insert", {"POST": Endpoint(bulk.store, DONE, Inserted, list[Command], may=WRITE)}),
    Route("hilo/next", {"GET": Endpoint(ids.take, (Answer(200, Range),), NextRange, may=WRITE)}, acts=True),
    Route("hilo/return", {"PUT": Endpoint(ids.give_back, DONE, ReturnedRange, may=WRITE)}),
    Route(
        "attachments",
        {
            **_readable(
                Endpoint(
                    attachments.get,
                    (Answer(200, media="*/*"), UNCHANGED, MISSING),
                    AttachmentNamed,
                    headers=KNOWN,
                    may=READ,
                )
            ),
            "PUT": Endpoint(
                attachments.put, (Answer(201, AttachmentStored),), AttachmentNamed, bytes, EXPECTED, may=WRITE
            ),
            "DELETE": Endpoint(attachments.delete, DELETED, AttachmentNamed, headers=EXPECTED, may=WRITE),
        },
    ),
    Route(
        "queries",
        {
            "POST": Endpoint(queries.find, (Answer(200, QueryResult),), Queried, QueryWanted, may=READ),
            "DELETE": Endpoint(patches.delete_found, STARTED, ByQuery, QueryWanted, may=WRITE),
            "PATCH": Endpoint(patches.update_found, STARTED, ByQuery, UpdateWanted, may=WRITE),
        },
    ),
    Route(
        "admin/indexes",
        {"PUT": Endpoint(indexes.define, (Answer(201, IndexesMade),), body=IndexesWanted, may=WRITE)},
    ),
    Route(
        "indexes",
        {
            "GET": Endpoint(indexes.listing, (Answer(200, IndexesShown), MISSING), IndexesListed, may=READ),
            "DELETE": Endpoint(indexes.drop, DELETED, Named, may=WRITE),
            "RESET": Endpoint(indexes.reset, DONE, Named, may=WRITE),
        },
    ),
    Route(
        "indexes/has-changed",
        {"POST": Endpoint(indexes.changed, (Answer(200, IndexChanged),), body=Object, may=READ)},
    ),
    Route("indexes/stats", {"GET": Endpoint(indexes.stats, (Answer(200, IndexesShown),), IndexesNamed, may=READ)}),
    Route(
        "indexes/errors",
        {
            "GET": Endpoint(indexes.errors, (Answer(200, IndexesShown),), IndexesNamed, may=READ),
            "DELETE": Endpoint(indexes.forget_errors, DELETED, IndexesNamed, may=WRITE),
        },
    ),
    Route("indexes/terms", {"GET": Endpoint(indexes.terms, (Answer(200, Terms),), TermsWanted, may=READ)}),
    Route("indexes/status", _answered(indexes.running, READ, IndexesRunning)),
    Route("streams/queries", {"POST": Endpoint(queries.lines, LINES, QueryStreamed, QueryWanted, may=READ)}),
    Route("streams/docs", {"GET": Endpoint(documents.lines, LINES, DocumentsStreamed, may=READ)}),
    Route("multi_get", {"POST": Endpoint(several.answer, (Answer(200, SeveralAnswers),), body=Several, may=READ)}),
    Route("stats", _answered(statistics.database, SEE, DatabaseStatistics)),
    Route("collections/stats", _answered(statistics.collections, SEE, CollectionStatistics)),
    Route("operations/next-operation-id", _answered(operations.number, READ, OperationNumber), acts=True),
    Route(
        "operations/state",
        {"GET": Endpoint(operations.state, (Answer(200, OperationStatus), MISSING), OperationWanted, may=JOB)},
    ),
    Route("operations/kill", {"POST": Endpoint(operations.kill, (*DELETED, MISSING), OperationWanted, may=JOB)}),
    Route("admin/backup", {"POST": Endpoint(backups.start, STARTED, body=BackupWanted, may=BACKUP)}),
    Route(
        "admin/restore/database",
        {"POST": Endpoint(backups.restore, STARTED, body=RestoreWanted, may=RESTORE_SOME)},
        tenant=False,
    ),
    Route(
        "smuggler/export",
        {"POST": Endpoint(dumps.export, (Answer(200, media=BYTES),), Smuggled, ExportWanted, may=READ)},
    ),
    Route("smuggler/import", {"POST": Endpoint(dumps.import_, DONE, Smuggled, bytes, may=WRITE)}),
    Route(
        "databases",
        {"GET": Endpoint(databases.listing, (Answer(200, DatabaseNames),), DatabasesListed, may=SOME)},
        tenant=False,
    ),
    Route(
        "admin/databases",
        {
            "GET": Endpoint(databases.get, (Answer(200, DatabaseShown), MISSING), Named, may=COMPACT_SOME),
            "PUT": Endpoint(databases.put, (Answer(201, DatabaseStored),), Named, Object, may=EVERYTHING),
            "DELETE": Endpoint(databases.delete, (Answer(200, Deleted),), body=Deletion, may=COMPACT_SOME),
        },
        tenant=False,
    ),
    Route("admin/databases/disable", _toggling(databases.disable), tenant=False),
    Route("admin/databases/enable", _toggling(databases.enable), tenant=False),
    Route("openapi-raven7.json", {"GET": Endpoint(describe, (Answer(200, Object),), may=EVERYBODY)}, tenant=False),
)

TABLE: Final = Table(ROUTES)
