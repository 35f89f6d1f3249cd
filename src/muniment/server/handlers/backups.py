"""Backups of a database while it is in use: begun by a request, told of in the document `Raven/Backup/Status`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from muniment.backup.child import backup_in_child
from muniment.backup.repository import check_folder_name
from muniment.document import encode
from muniment.errors import InvalidInput
from muniment.revision import ATTACHMENT, DOCUMENT
from muniment.server.operations import Operation
from muniment.server.places import check_unmoved
from muniment.server.request import Request
from muniment.server.status import amount, progress_told, with_hint
from muniment.server.tenants import Tenant, plain_settings
from muniment.server.wire import Response, json_response
from muniment.storage.base import Snapshot


class _Wanted(msgspec.Struct):
    location: str = msgspec.field(name="BackupLocation", default="")
    document: dict[str, Any] | None = msgspec.field(name="DatabaseDocument", default=None)


async def start(request: Request) -> Response:
    """Begin a backup of this database into a folder of the server's machine."""
    wanted: _Wanted = await request.json(_Wanted)
    if not wanted.location.strip():
        raise InvalidInput("BackupLocation is missing", 'send {"BackupLocation": "/a/folder/of/the/server"}')
    tenant, app = request.tenant, request.server
    if not wanted.location.startswith("~"):  # which is the server's data folder
        check_folder_name(wanted.location)
    destination = app.databases.backup_folder(wanted.location, local=request.is_local)
    document = app.databases.settings(tenant)
    if wanted.document is not None:
        document = {**wanted.document, "Settings": plain_settings(wanted.document), "Id": tenant.name}
    kept = encode(document)
    flags = {"incremental": "incremental", "new_chain": "new-chain", "skip_damaged": "skip-damaged"}
    asked = {name: request.flag(flag) for name, flag in flags.items()}
    incremental = asked["incremental"]
    operation = app.operations.new("backup", tenant.name)
    started = f"Started {'incremental ' if incremental else ''}backup of {tenant.name}. Destination: {destination}"
    try:
        tenant.backup.begin(operation, started)
    except BaseException:
        app.operations.forget(operation)
        raise

    def work(operation: Operation) -> None:
        _take(tenant, destination, kept, asked, operation, app.settings.backup_niceness)

    try:
        app.operations.run(operation, work, on_wait=tenant.backup.say)
    except BaseException as error:
        tenant.backup.end(f"Failed to begin the backup because: {with_hint(error)}", "Error")
        raise
    return json_response({"OperationId": operation.id}, 202)


async def status(request: Request) -> Response:
    """How far the database could be recovered from the folders it was backed up to, and what to do next."""
    found = await asyncio.to_thread(request.tenant.database.maintenance.recoverability)
    return json_response(msgspec.to_builtins(found))


def _take(
    tenant: Tenant, destination: Path, document: bytes, asked: dict[str, bool], operation: Operation, niceness: int
) -> None:
    status, progress = tenant.backup, operation.progress

    def pinned(snapshot: Snapshot) -> None:
        counts = f"{snapshot.fingerprint.count(DOCUMENT):,} documents, {snapshot.fingerprint.count(ATTACHMENT):,}"
        status.say(f"The backup will hold the state at etag {snapshot.etag:,}: {counts} attachments")

    try:
        with progress_told(progress, status.say):
            check_unmoved(destination)
            backup = backup_in_child(
                tenant.database.storage,
                destination,
                name=tenant.name,
                database_document=document,
                **asked,
                progress=progress,
                niceness=niceness,
                pinned=pinned,
            )
    except BaseException as error:
        status.end(f"Failed to complete the backup because: {with_hint(error)}", "Error")
        raise
    manifest = backup.manifest
    for note in backup.notes:
        status.say(f"Note: {note}")
    status.end(
        f"Backup completed: {manifest.kind} ({manifest.reason}), {amount(progress)}"
        f" in {progress.seconds:.1f} s, in {backup.folder}"
    )
