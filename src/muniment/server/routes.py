"""Every endpoint: its path, its methods, and what answers it. The OpenAPI document is made of this table."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from muniment.backup.alerts import Alert
from muniment.backup.listing import Listing
from muniment.backup.recoverability import Recoverability
from muniment.backup.runs import Run
from muniment.backup.schedule import Schedule
from muniment.document import fold
from muniment.patching import PatchCommand
from muniment.raven3.messages import (
    Accepted,
    AccessToken,
    AttachmentListed,
    AttachmentVersions,
    BackupWanted,
    BuildVersion,
    Command,
    CommandResult,
    CopyWanted,
    DatabaseListed,
    DatabaseStatistics,
    DestinationListed,
    Documents,
    ExpiryWanted,
    Frozen,
    Health,
    IndexDefined,
    IndexesMade,
    IndexListed,
    IndexMade,
    IndexReset,
    KeyAction,
    KeyListed,
    KeyMade,
    KeyWanted,
    MergeWanted,
    MomentWanted,
    Object,
    OldToken,
    OldTokenRefusal,
    OperationListed,
    OperationState,
    OperationStatus,
    Patched,
    PlannedRestore,
    QueryResults,
    RehearsalWanted,
    RestoreIntoWanted,
    RestoreWanted,
    RotationWanted,
    ScheduleAction,
    ScheduleDone,
    ScheduleListed,
    ServerStatistics,
    SettingListed,
    SeveralAnswer,
    SeveralWanted,
    SingleToken,
    Stored,
    VerificationWanted,
    Versions,
    Wanted,
)
from muniment.raven3.names import BACKUP_STATUS
from muniment.raven3.queries import (
    AlertsWanted,
    AttachmentOf,
    AttachmentsListed,
    AttachmentVersion,
    AttachmentVersionsWanted,
    AuditListed,
    BackupOptions,
    BackupsListed,
    BulkInserted,
    CompactionWanted,
    DatabasesListed,
    Deletion,
    Deletions,
    DocumentsIncluding,
    DocumentsListed,
    DocumentsStreamed,
    DocumentsWanted,
    Exported,
    ExportedMoment,
    FreezeWanted,
    Imported,
    IndexAsked,
    IndexesListed,
    IndexStreamed,
    LimitsWanted,
    OperationLimits,
    OperationWanted,
    Query,
    RestoreOptions,
    RunsListed,
    ScriptAsked,
    StatusWanted,
    TermsWanted,
    ThawWanted,
    Toggle,
    VersionsWanted,
)
from muniment.scripting import Script
from muniment.security.access import Right
from muniment.server import openapi
from muniment.server.audit import Entry
from muniment.server.handlers import (
    alerts,
    attachments,
    backups,
    batches,
    bulk_insert,
    by_query,
    compaction,
    databases,
    documents,
    dumps,
    encryption,
    figures,
    finding,
    freezes,
    indexes,
    keys,
    operations,
    queries,
    restore_into,
    restores,
    schedules,
    server,
    several,
    statistics,
    streams,
    studio,
    tokens,
    versions,
)
from muniment.server.request import Request
from muniment.server.routing import BYTES, EVERYBODY, Answer, Endpoint, Handler, Permission, Route, Table, Where
from muniment.server.wire import Response, json_response
from muniment.smuggler.summary import Imported as Carried


async def describe(request: Request) -> Response:
    """This document."""
    return json_response(document())


@cache
def document() -> dict[str, Any]:
    """The whole API as an OpenAPI document."""
    return openapi.document(ROUTES, "RavenDB 3.x's words")


TEXT: Final = "text/plain"
KNOWN: Final = {"If-None-Match": "The etag of what the client has already."}
EXPECTED: Final = {"If-None-Match": "The etag that there must be now; all zeros if there must be none."}
UNCHANGED: Final = Answer(304, media=None, said="The client has it already.")
LINES: Final = "application/x-ndjson"
MISSING: Final = Answer(404, media=None, said="There is none.")
DONE: Final = (Answer(media=None),)
ENTRANCE: Final = "studio"
PAGE: Final = (Answer(200, media="*/*"), Answer(302, media=None, said="It is below that."), UNCHANGED)
DUMP: Final = (Answer(200, media=BYTES), Answer(204, media=None, said="Nothing has changed since the last dump."))
DELETED: Final = (Answer(204, media=None),)
ACCEPTED: Final = (Answer(202, Accepted),)
STORED: Final = Answer(200, Stored)
CHANGED: Final = (Answer(200, Stored, said="Changed; or made, and then without a body."),)

EVERYTHING: Final = Permission((Right.ADMIN,), Where.SERVER)
READ: Final = Permission((Right.READ,))
WRITE: Final = Permission((Right.WRITE,))
PROTECTION: Final = ("recipients", "in_clear", "include_encryption_key")  # who will be able to read a backup
BACKUP: Final = Permission((Right.BACKUP,), members=dict.fromkeys(PROTECTION, Right.ADMIN))
RESTORE: Final = Permission((Right.RESTORE,))
SEE: Final = Permission((Right.READ, Right.BACKUP))
SEE_ANY: Final = Permission((Right.READ, Right.WRITE))
SEE_BACKUPS: Final = Permission((Right.BACKUP, Right.RESTORE))
DOCUMENT: Final = Permission((Right.READ,), also={fold(BACKUP_STATUS): Right.BACKUP})
OWN: Final = Permission((Right.ADMIN,), Where.NAMED)
JOB: Final = Permission(tuple(Right), Where.JOB)
SOME: Final = Permission(tuple(Right), Where.LATER)
RESTORE_SOME: Final = Permission((Right.RESTORE,), Where.LATER)
PLAN_SOME: Final = Permission((Right.BACKUP, Right.RESTORE), Where.LATER)
COMPACT_SOME: Final = Permission((Right.ADMIN,), Where.LATER)

KILL: Final = Endpoint(operations.kill, (Answer(200, OperationState),), OperationWanted, may=JOB)


_STREAM: Final = (Answer(200, Object, said="An object whose `Results` come one by one."),)
_FOUND: Final = (Answer(200, Object, said="What was found, or the definition."), UNCHANGED)


def _readable(endpoint: Endpoint, **others: Endpoint) -> dict[str, Endpoint]:
    return {"GET": endpoint, "HEAD": endpoint, **others}


def _answered(handler: Handler, may: Permission, type: Any) -> dict[str, Endpoint]:
    return {"GET": Endpoint(handler, (Answer(200, type),), may=may)}


def _listed(handler: Handler, query: type[Query], may: Permission, type: Any, *others: Answer) -> Endpoint:
    return Endpoint(handler, (Answer(200, type), *others), query, may=may)


ROUTES: Final = (
    Route(
        "docs/{id}",
        _readable(
            Endpoint(documents.get, (Answer(200, Object), UNCHANGED, MISSING), headers=KNOWN, may=DOCUMENT),
            PUT=Endpoint(documents.put, (Answer(201, Stored),), body=Object, headers=EXPECTED, may=WRITE),
            DELETE=Endpoint(documents.delete, DELETED, headers=EXPECTED, may=WRITE),
            PATCH=Endpoint(
                documents.patch, (Answer(200, Patched),), body=list[PatchCommand], headers=EXPECTED, may=WRITE
            ),
            EVAL=Endpoint(
                documents.evaluate, (Answer(200, Patched),), ScriptAsked, Script, headers=EXPECTED, may=WRITE
            ),
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
                may=READ,
            ),
            POST=Endpoint(documents.post, (STORED,), body=Object, may=WRITE),
        ),
    ),
    Route(
        "bulk_docs",
        {"POST": Endpoint(batches.execute, (Answer(200, list[CommandResult]),), body=list[Command], may=WRITE)},
    ),
    Route(
        "bulk_docs/{index}",
        {
            "DELETE": Endpoint(by_query.delete, ACCEPTED, IndexAsked, may=WRITE),
            "PATCH": Endpoint(by_query.patch, ACCEPTED, IndexAsked, list[PatchCommand], may=WRITE),
            "EVAL": Endpoint(by_query.evaluate, ACCEPTED, IndexAsked, Script, may=WRITE),
        },
    ),
    Route(
        "bulkinsert",
        {"POST": Endpoint(bulk_insert.store, (Answer(202, Accepted), *DONE), BulkInserted, bytes, may=WRITE)},
    ),
    Route("singleauthtoken", _answered(bulk_insert.token, SEE_ANY, SingleToken), acts=True),
    Route(
        "queries",
        {
            "GET": Endpoint(
                queries.get_many, (Answer(200, Documents), UNCHANGED), DocumentsWanted, headers=KNOWN, may=READ
            ),
            "POST": Endpoint(
                queries.post_many, (Answer(200, Documents), UNCHANGED), DocumentsIncluding, list[str], KNOWN, may=READ
            ),
        },
    ),
    Route(
        "indexes/{name}",
        _readable(
            Endpoint(indexes.find, _FOUND, IndexAsked, headers=KNOWN, may=READ),
            POST=Endpoint(indexes.find, _FOUND, IndexAsked, bytes, KNOWN, may=READ),
            PUT=Endpoint(indexes.define, (Answer(201, IndexMade),), body=Object, may=WRITE),
            DELETE=Endpoint(indexes.drop, DELETED, may=WRITE),
            RESET=Endpoint(indexes.reset, (Answer(200, IndexReset),), may=WRITE),
        ),
    ),
    Route(
        "streams/query/{index}",
        _readable(
            Endpoint(streams.of_query, _STREAM, IndexStreamed, may=READ),
            POST=Endpoint(streams.of_query, _STREAM, IndexStreamed, bytes, may=READ),
        ),
    ),
    Route(
        "terms/{index}",
        {"GET": Endpoint(indexes.terms, (Answer(200, list[str]),), TermsWanted, may=READ)},
    ),
    Route("streams/docs", _readable(Endpoint(streams.of_documents, _STREAM, DocumentsStreamed, may=READ))),
    Route(
        "indexes",
        _readable(
            _listed(indexes.listing, IndexesListed, READ, list[IndexListed | str]),
            PUT=Endpoint(indexes.define_many, (Answer(201, IndexesMade),), body=list[IndexDefined], may=WRITE),
        ),
    ),
    Route("query/lines", {"POST": Endpoint(finding.lines, (Answer(200, media=LINES),), body=Wanted, may=READ)}),
    Route(
        "multi_get",
        {
            "POST": Endpoint(
                several.answer, (Answer(200, list[SeveralAnswer | None]),), body=list[SeveralWanted | None], may=READ
            )
        },
    ),
    Route("query", {"POST": Endpoint(finding.find, (Answer(200, QueryResults),), body=Wanted, may=READ)}),
    Route(
        "static/{key}",
        _readable(
            Endpoint(
                attachments.get, (Answer(200, media="*/*"), UNCHANGED, MISSING), AttachmentOf, headers=KNOWN, may=READ
            ),
            PUT=Endpoint(attachments.put, (Answer(201, media=None),), AttachmentOf, bytes, EXPECTED, may=WRITE),
            POST=Endpoint(attachments.post, DONE, AttachmentOf, headers=EXPECTED, may=WRITE),
            DELETE=Endpoint(attachments.delete, DELETED, AttachmentOf, headers=EXPECTED, may=WRITE),
        ),
    ),
    Route("static", _readable(_listed(attachments.listing, AttachmentsListed, READ, list[AttachmentListed]))),
    Route("stats", _readable(Endpoint(statistics.database_statistics, (Answer(200, DatabaseStatistics),), may=SEE))),
    Route("operation/status", {"GET": _listed(operations.status, StatusWanted, JOB, OperationStatus, MISSING)}),
    Route("operation/kill", {"GET": KILL, "POST": KILL}, acts=True),
    Route("operation/limits", {"POST": _listed(operations.limit, OperationLimits, JOB, dict[str, str])}),
    Route("operations", _answered(operations.listing, SOME, list[OperationListed])),
    Route("replication/topology", {"GET": Endpoint(statistics.topology, (MISSING,), may=EVERYBODY)}),
    Route("build/version", _answered(statistics.build_version, EVERYBODY, BuildVersion)),
    Route("backups", _readable(Endpoint(backups.status, (Answer(200, Recoverability),), may=SEE_BACKUPS))),
    Route("versions", {"GET": _listed(versions.versions, VersionsWanted, RESTORE, Versions)}),
    Route(
        "versions/attachments/{key}",
        {"GET": Endpoint(versions.attachment, (Answer(200, media="*/*"),), AttachmentVersion, may=RESTORE)},
    ),
    Route(
        "versions/attachments",
        {"GET": _listed(versions.attachments, AttachmentVersionsWanted, RESTORE, AttachmentVersions)},
    ),
    Route("alerts", {"GET": _listed(alerts.wrong, AlertsWanted, SEE_BACKUPS, list[Alert])}),
    Route("admin/backup", {"POST": Endpoint(backups.start, ACCEPTED, BackupOptions, BackupWanted, may=BACKUP)}),
    Route(
        "admin/restore-into",
        {"POST": Endpoint(restore_into.start, ACCEPTED, LimitsWanted, RestoreIntoWanted, may=RESTORE)},
    ),
    Route("admin/freeze", {"POST": _listed(freezes.freeze, FreezeWanted, BACKUP, Frozen)}),
    Route("admin/thaw", {"POST": _listed(freezes.thaw, ThawWanted, BACKUP, Frozen)}),
    Route(
        "smuggler/export",
        {
            "GET": Endpoint(dumps.export, DUMP, Exported, may=READ),
            "POST": Endpoint(dumps.export, DUMP, Exported, dumps.Options, may=READ),
        },
    ),
    Route("smuggler/import", {"POST": Endpoint(dumps.import_, (Answer(200, Carried),), Imported, bytes, may=WRITE)}),
    Route(
        "admin/restore",
        {"POST": Endpoint(restores.start, ACCEPTED, RestoreOptions, RestoreWanted, may=RESTORE_SOME)},
        tenant=False,
    ),
    Route("admin/backups", {"GET": _listed(versions.listing, BackupsListed, PLAN_SOME, Listing)}, tenant=False),
    Route(
        "admin/restore/plan",
        {"POST": Endpoint(restores.plan, (Answer(200, PlannedRestore),), body=RestoreWanted, may=PLAN_SOME)},
        tenant=False,
    ),
    Route(
        "admin/restore/export",
        {"POST": Endpoint(dumps.export_backup, DUMP[:1], ExportedMoment, MomentWanted, may=RESTORE_SOME)},
        tenant=False,
    ),
    Route(
        "admin/encryption/rotate",
        {"POST": Endpoint(encryption.rotate, ACCEPTED, CompactionWanted, RotationWanted, may=COMPACT_SOME)},
        tenant=False,
    ),
    Route(
        "admin/compact",
        {"POST": Endpoint(compaction.start, ACCEPTED, CompactionWanted, may=COMPACT_SOME)},
        tenant=False,
    ),
    Route("metrics", {"GET": Endpoint(figures.metrics, (Answer(200, media=TEXT),), may=EVERYBODY)}, tenant=False),
    Route(
        "admin/schedules/{name}",
        _readable(
            Endpoint(schedules.get, (Answer(200, ScheduleListed),), may=EVERYTHING),
            PUT=Endpoint(schedules.put, (Answer(200, ScheduleListed),), body=Schedule, may=EVERYTHING),
            POST=Endpoint(schedules.act, (Answer(200, ScheduleDone),), body=ScheduleAction, may=EVERYTHING),
            DELETE=Endpoint(schedules.delete, DELETED, may=EVERYTHING),
        ),
        tenant=False,
    ),
    Route("admin/schedules", _answered(schedules.listing, EVERYTHING, list[ScheduleListed]), tenant=False),
    Route("admin/runs", {"GET": _listed(schedules.runs, RunsListed, EVERYTHING, list[Run])}, tenant=False),
    Route(
        "admin/verify",
        {"POST": Endpoint(schedules.verify, ACCEPTED, LimitsWanted, VerificationWanted, may=EVERYTHING)},
        tenant=False,
    ),
    Route(
        "admin/rehearse",
        {"POST": Endpoint(schedules.rehearse, ACCEPTED, LimitsWanted, RehearsalWanted, may=EVERYTHING)},
        tenant=False,
    ),
    Route(
        "admin/merge",
        {"POST": Endpoint(schedules.merge, ACCEPTED, LimitsWanted, MergeWanted, may=EVERYTHING)},
        tenant=False,
    ),
    Route(
        "admin/copy",
        {"POST": Endpoint(schedules.copy, ACCEPTED, LimitsWanted, CopyWanted, may=EVERYTHING)},
        tenant=False,
    ),
    Route(
        "admin/expire",
        {"POST": Endpoint(schedules.expire, ACCEPTED, body=ExpiryWanted, may=EVERYTHING)},
        tenant=False,
    ),
    Route("admin/alerts", _answered(alerts.on_server, EVERYTHING, list[Alert]), tenant=False),
    Route("admin/destinations", _answered(alerts.destinations, EVERYTHING, list[DestinationListed]), tenant=False),
    Route(
        "admin/keys",
        {
            "GET": Endpoint(keys.listing, (Answer(200, list[KeyListed]),), may=EVERYTHING),
            "POST": Endpoint(keys.make, (Answer(200, KeyMade),), body=KeyWanted, may=EVERYTHING),
        },
        tenant=False,
    ),
    Route(
        "admin/keys/{name}",
        {"POST": Endpoint(keys.act, (Answer(200, KeyMade),), body=KeyAction, may=EVERYTHING)},
        tenant=False,
    ),
    Route("admin/settings", _answered(server.settings, EVERYTHING, list[SettingListed]), tenant=False),
    Route("admin/audit", {"GET": _listed(server.audit, AuditListed, EVERYTHING, list[Entry])}, tenant=False),
    Route("admin/stats", _answered(statistics.server_statistics, EVERYTHING, ServerStatistics), tenant=False),
    Route(
        "admin/databases/{name}",
        _readable(
            Endpoint(databases.get_database, (Answer(200, Object),), may=OWN),
            PUT=Endpoint(databases.put_database, CHANGED, body=Object, headers=EXPECTED, may=EVERYTHING),
            POST=Endpoint(databases.toggle_database, DONE, Toggle, may=OWN),
            DELETE=Endpoint(databases.delete_database, DONE, Deletion, may=OWN),
        ),
        tenant=False,
    ),
    Route(
        "admin/databases/batch-delete",
        {"DELETE": _listed(databases.delete_databases, Deletions, EVERYTHING, list[str])},
        tenant=False,
    ),
    Route(
        "databases",
        {"GET": _listed(databases.list_databases, DatabasesListed, SOME, list[str | DatabaseListed])},
        tenant=False,
    ),
    Route("access-token", {"POST": Endpoint(tokens.give, (Answer(200, AccessToken),), may=SOME)}, tenant=False),
    Route(
        "oauth/api-key",
        {
            "POST": Endpoint(
                tokens.exchange,
                (
                    Answer(200, OldToken),
                    Answer(401, OldTokenRefusal, said="The answer is wrong, or the key is not for old clients."),
                    Answer(412, media=None, said="A challenge, in the header WWW-Authenticate."),
                ),
                may=EVERYBODY,
            )
        },
        tenant=False,
        harmless=True,
    ),
    Route("health/live", _readable(Endpoint(statistics.live, (Answer(200, Health),), may=EVERYBODY)), tenant=False),
    Route(
        "health/ready",
        _readable(Endpoint(statistics.ready, (Answer(200, Health), Answer(503, Health)), may=EVERYBODY)),
        tenant=False,
    ),
    Route(ENTRANCE, _readable(Endpoint(studio.enter, PAGE, headers=KNOWN, may=EVERYBODY)), tenant=False),
    Route("studio/{file}", _readable(Endpoint(studio.file, PAGE, headers=KNOWN, may=EVERYBODY)), tenant=False),
    Route("openapi.json", _answered(describe, EVERYBODY, Object), tenant=False),
)

TABLE: Final = Table(ROUTES, ENTRANCE)
