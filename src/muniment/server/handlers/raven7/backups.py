"""Backups and restores, for clients of RavenDB 4 and later: into folders of the server's machine, and from them."""

from __future__ import annotations

from muniment.errors import InvalidInput
from muniment.raven3 import messages as raven3
from muniment.raven3.queries import BackupOptions
from muniment.raven7.messages import BackupWanted, RestoreWanted, Started
from muniment.server.handlers import backups, restores
from muniment.server.request import Request
from muniment.server.wire import Refused, Response, json_response


async def start(request: Request) -> Response:
    """Begin a full backup of this database into the folder of `LocalSettings`."""
    wanted = await request.message(BackupWanted)
    if wanted.backup_type not in (None, "Backup"):
        raise Refused(501, f"a backup of the type {wanted.backup_type} is not here", "say Backup, or leave it out")
    for name in ("s3", "glacier", "azure", "ftp", "google_cloud"):
        settings = getattr(wanted, f"{name}_settings")
        if settings and not settings.get("Disabled"):
            raise Refused(501, f"the settings of {name} are not taken from a client", "name a folder: LocalSettings")
    encryption = wanted.backup_encryption_settings
    if encryption and encryption.get("EncryptionMode") not in (None, "None"):
        raise Refused(
            501, "no key is taken for a backup", "configure recipients: docs/security.md tells of encrypted backups"
        )
    local = wanted.local_settings
    if local is None or local.disabled or not local.folder_path:
        raise InvalidInput("no folder is named", 'send {"LocalSettings": {"FolderPath": "/a/folder/of/the/server"}}')
    if local.get_backup_configuration_script:
        raise Refused(501, "no script is run to find out the folder", "name it: FolderPath")
    number = await backups.begin(request, raven3.BackupWanted(local.folder_path), BackupOptions())
    return json_response(Started(number))


async def restore(request: Request) -> Response:
    """Begin to restore the newest state of a folder, or that of one backup in it, into a new database."""
    wanted = await request.message(RestoreWanted)
    if wanted.type not in (None, "Local"):
        raise Refused(
            501, f"nothing is restored from {wanted.type} here", "name a folder of the server: BackupLocation"
        )
    encryption = wanted.backup_encryption_settings
    if wanted.encryption_key or (encryption and encryption.get("EncryptionMode") not in (None, "None")):
        raise Refused(501, "no key is taken for a restore", "`muniment restore` takes one")
    if not wanted.database_name:
        raise InvalidInput("the name of the new database is missing", 'send {"DatabaseName": "NAME"}')
    if wanted.last_file_name_to_restore:
        raise Refused(
            501, "backups here are folders, so that no file is the last one", "name the folder of one: BackupLocation"
        )
    of = raven3.RestoreWanted(
        backup_location=wanted.backup_location,
        database_name=wanted.database_name,
        database_location=wanted.data_directory,
    )
    return json_response(Started(await restores.begin(request, of)))
