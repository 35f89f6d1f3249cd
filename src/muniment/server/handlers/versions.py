"""What backups hold, before anything is restored: lists of them, and what one document was in each."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from muniment.attachment import attachment_of
from muniment.backup.listing import Listing
from muniment.backup.repository import Backups, backups
from muniment.backup.versions import Version
from muniment.document import fold, from_microseconds, rfc3339
from muniment.errors import BackupNotFound, DocumentNotFound, InvalidInput, MunimentError
from muniment.raven3.messages import AttachmentVersions, KeptAttachment, KeptVersion, MomentWanted, Versions
from muniment.raven3.queries import AttachmentVersion, AttachmentVersionsWanted, BackupsListed, VersionsWanted
from muniment.security.access import Right
from muniment.security.keyring import Keyring
from muniment.server.handlers.attachments import Stream, answer
from muniment.server.keyring import keyring_of
from muniment.server.permission import require_all
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
    try:
        if not folder.is_dir():
            raise BackupNotFound(f"there is no folder {folder}", "give the folder that backups were written to")
        found = backups(folder, keyring_of(request.server.settings, MomentWanted()))
    except MunimentError:
        require_all(request, (), *_RIGHTS)
        raise
    require_all(request, [backup.manifest.database.name for backup in found], *_RIGHTS)
    return found


async def versions(request: Request) -> Response:
    """The versions of a document, oldest first: those in the backups that the database remembers, and its own."""
    asked = request.asked(VersionsWanted)
    if not asked.id:
        raise InvalidInput("id is missing", "add ?id=orders/830")
    return json_response(await asyncio.to_thread(_versions, request, asked))


def _versions(request: Request, asked: VersionsWanted) -> Versions:
    found, notes = request.tenant.database.maintenance.versions(asked.id, keyring=_keyring(request))
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


def _keyring(request: Request) -> Keyring:
    """What opens the backups of the database that is asked."""
    return keyring_of(request.server.settings, MomentWanted(), request.tenant.database.storage.key)


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


async def attachments(request: Request) -> Response:
    """The versions of a document's attachments, oldest first: in the remembered backups, and in the database itself."""
    owner = request.asked(AttachmentVersionsWanted).owner
    if not owner:
        raise InvalidInput("owner is missing", "add ?owner=orders/830")
    maintenance, keyring = request.tenant.database.maintenance, _keyring(request)
    found, notes = await asyncio.to_thread(maintenance.attachment_versions, owner, keyring=keyring)
    newest = {fold(version.id): version.etag for version in found if version.logged}
    told = [
        KeptAttachment(
            key=version.id,
            name=version.id[len(owner) + 1 :],
            etag=version.etag,
            lineage=version.lineage,
            time=rfc3339(from_microseconds(version.modified)),
            bytes=version.size,
            backups=list(version.backups),
            deleted=version.deleted,
            current=version.logged and version.etag == newest[fold(version.id)],
            logged=version.logged,
        )
        for version in found
    ]
    return json_response(AttachmentVersions(told, notes))


async def attachment(request: Request) -> Response | Stream:
    """The content of a version of an attachment, out of the database or a backup that has it."""
    asked, maintenance = request.asked(AttachmentVersion), request.tenant.database.maintenance
    kept, parts = await asyncio.to_thread(
        maintenance.attachment_content, request.argument, asked.etag, asked.lineage, keyring=_keyring(request)
    )
    return await answer(request, attachment_of(kept, request.tenant.database.storage), parts)
