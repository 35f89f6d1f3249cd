"""What backups hold, before anything is restored: lists of them, and what one document was in each."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from muniment.backup.listing import Listing
from muniment.backup.repository import Backups, backups
from muniment.backup.versions import Version
from muniment.document import from_microseconds, rfc3339
from muniment.errors import BackupNotFound, DocumentNotFound, InvalidInput, MunimentError
from muniment.raven3.messages import KeptVersion, MomentWanted, Versions
from muniment.raven3.queries import BackupsListed, VersionsWanted
from muniment.security.access import Right
from muniment.server.keyring import keyring_of
from muniment.server.permission import refusal, require
from muniment.server.request import Request
from muniment.server.wire import Response, json_response

_RIGHTS = (Right.BACKUP, Right.RESTORE)


async def listing(request: Request) -> Response:
    """The backups in a folder of the server's machine, as chains, and the histories that they are of."""
    location = request.asked(BackupsListed).location
    if not location.strip():
        raise InvalidInput("location is missing", "add ?location=/a/folder/of/the/server")
    found = await asyncio.to_thread(_backups, request, request.backup_folder(location))
    return json_response(Listing.of(location, found))


def _backups(request: Request, folder: Path) -> Backups:
    """What is in this folder; who may not see all of it is refused in the same words whatever there is."""
    anything = request.caller.access.allows(None, _RIGHTS)
    try:
        if not folder.is_dir():
            raise BackupNotFound(f"there is no folder {folder}", "give the folder that backups were written to")
        found = backups(folder, keyring_of(request.server.settings, MomentWanted()))
    except MunimentError:
        if anything:
            raise
        raise refusal(request) from None
    if not found and not anything:
        raise refusal(request)
    for backup in found:
        require(request, backup.manifest.database.name, *_RIGHTS)
    return found


async def versions(request: Request) -> Response:
    """The versions of a document, oldest first: those in the backups that the database remembers, and its own."""
    asked = request.asked(VersionsWanted)
    if not asked.id:
        raise InvalidInput("id is missing", "add ?id=orders/830")
    return json_response(await asyncio.to_thread(_versions, request, asked))


def _versions(request: Request, asked: VersionsWanted) -> Versions:
    database = request.tenant.database
    keyring = keyring_of(request.server.settings, MomentWanted(), database.storage.key)
    found, notes = database.maintenance.versions(asked.id, keyring=keyring)
    wanted = [
        version
        for version in found
        if asked.etag in (None, version.etag) and version.lineage.startswith(asked.lineage or "")
    ]
    if not wanted:
        where = "; ".join(["neither the database nor its backups have it", *notes])
        raise DocumentNotFound(
            f"no version of {asked.id!r} was found: {where}", "give the whole id; case does not matter"
        )
    now = max((version.etag for version in found if version.logged), default=None)
    told = [_told(version, now, content=asked.etag is not None) for version in wanted]
    return Versions(wanted[-1].id, told, notes)


def _told(version: Version, current: int | None, *, content: bool) -> KeptVersion:
    told = KeptVersion(
        version.etag,
        version.lineage,
        rfc3339(from_microseconds(version.modified)),
        version.size,
        version.logged and version.etag == current,
        version.logged,
        list(version.backups),
        version.deleted,
    )
    if content:
        told.metadata = msgspec.Raw(version.metadata)
        told.document = msgspec.UNSET if version.body is None else msgspec.Raw(version.body)
    return told
