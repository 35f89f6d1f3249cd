"""The system database of a data folder that no server uses: restored from a backup."""

from __future__ import annotations

from pathlib import Path

from muniment.backup.plan import RestorePlan
from muniment.backup.restore import Restored
from muniment.errors import DatabaseLocked, TargetExists
from muniment.maintenance import MaintenanceActions
from muniment.progress import Progress
from muniment.raven3.names import SYSTEM_FOLDER
from muniment.security.secret_files import private
from muniment.storage import engines


def restore_system_database(
    source: Path | RestorePlan, data_dir: Path, *, defrag: bool = False, progress: Progress | None = None
) -> Restored:
    """Make the system database of a server's data folder from a backup, while no server uses that folder.

    It is in clear there, however the backup is encrypted.

    Raises `DatabaseLocked` while a server has it open, and `TargetExists` when there is one.
    """
    target = data_dir / SYSTEM_FOLDER
    try:
        engines.check_closed(target)
    except DatabaseLocked as error:
        raise DatabaseLocked(
            f"a server is using the system database in {target}", "stop it, and restore again"
        ) from error
    try:
        with private():
            return MaintenanceActions.restore(source, target, defrag=defrag, progress=progress)
    except TargetExists as error:
        raise TargetExists(
            f"{target} already exists; a restore never writes over anything",
            "move it away, or restore into another data folder",
        ) from error
