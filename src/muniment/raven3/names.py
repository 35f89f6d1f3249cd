"""The names, numbers and ids that the protocol gives meaning to."""

from __future__ import annotations

from typing import Final

from muniment.version import VERSION

SYSTEM: Final = "<system>"  # the database that describes the others
SYSTEM_FOLDER: Final = "System"  # its folder, in the data folder of a server and in a folder of all backups
DATABASES: Final = "Raven/Databases/"  # in it, the ids of the documents that do so
DATA_DIR: Final = "Raven/DataDir"  # among a database's settings, its folder

BACKUP_STATUS: Final = "Raven/Backup/Status"  # in each database; those of the other jobs are in the system database
RESTORE_STATUS: Final = "Raven/Restore/Status"
RESTORE_IN_PROGRESS: Final = "Raven/Restore/InProgress"
COMPACT_STATUS: Final = "Raven/Database/Compact/Status/"
SCHEDULES: Final = "Muniment/Schedules/"  # in the system database, those of the server
ROTATE_STATUS: Final = "Muniment/Encryption/Rotate/Status/"

DEFAULT_PAGE: Final = 25
MAX_PAGE: Final = 1024

CLIENT_VERSION: Final = "3.5.0.0"  # of the protocol; with none, a server answers as to a client of version 2
BUILD: Final = "35300"
PRODUCT: Final = f"3.5.3 / muniment {VERSION} / "
