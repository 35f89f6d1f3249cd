"""`muniment merge`."""

from __future__ import annotations

from typing import Annotated

import typer

from muniment.backup.summary import BackupSummary
from muniment.cli.keyring import OpeningOptions, SealingOptions
from muniment.cli.options import Dest, JobOutput, KeyOptions, LimitOptions
from muniment.cli.report import facts
from muniment.cli.state import backup_rows
from muniment.maintenance import MaintenanceActions
from muniment.progress import Progress


def merge(
    dest: Dest,
    *,
    through: Annotated[
        str, typer.Option("--through", metavar="NAME", help="The last of the backups to merge, an incremental one.")
    ],
    delete_merged: Annotated[
        bool, typer.Option("--delete-merged", metavar="", help="Then delete the backups that the new one replaces.")
    ] = False,
    encryption: KeyOptions,
    opening: OpeningOptions,
    sealing: SealingOptions,
    pace: LimitOptions,
    out: JobOutput,
) -> None:
    """Make one full backup out of a chain, without the database.

    It holds the state at the end of the backup that is named. Everything is checked as in a restore and the fingerprint
    proven before the new backup exists. The old ones stay until --delete-merged removes them; a backup that continues
    the last of them continues the new one then. Moments between the old ones cannot be restored any more after that.

    Out of encrypted backups comes one that is encrypted for those who may open all of them, or for --recipient.

    $ muniment merge backups --through 2026-11-22T181500.002Z.incremental
    $ muniment merge backups --through 2026-11-22T181500.002Z.incremental --delete-merged
    """
    progress = Progress()
    with out.job(progress):
        merged = MaintenanceActions.merge(
            dest,
            through,
            delete_merged=delete_merged,
            keyring=opening.keyring(encryption),
            protection=sealing.protection(),
            progress=progress,
            limits=pace.here,
        )
    rows = [
        facts(backup=str(merged.folder), through=through, deleted_merged=delete_merged),
        *backup_rows(BackupSummary.of(merged), progress.seconds),
    ]
    out.emit(f"Merged {dest} through {through} into {merged.folder}", rows)
