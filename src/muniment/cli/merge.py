"""`muniment merge`."""

from __future__ import annotations

from typing import Annotated

import typer

from muniment.cli.keyring import OpeningOptions, SealingOptions
from muniment.cli.options import Dest, JobOutput, KeyOptions, Keys, LimitOptions, ServerOptions
from muniment.cli.report import Row, facts
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
    server: ServerOptions,
    keys: Keys,
    out: JobOutput,
) -> None:
    """Make one full backup out of a chain, without the database.

    It holds the state at the end of the backup that is named. Everything is checked as in a restore and the fingerprint
    proven before the new backup exists. The old ones stay until --delete-merged removes them; a backup that continues
    the last of them continues the new one then. Moments between the old ones cannot be restored any more after that.

    Out of encrypted backups comes one that is encrypted for those who may open all of them, or for --recipient.

    With --url a server does it in a folder of its machine, encrypts as its settings say, and goes on when this command
    is stopped.

    $ muniment merge backups --through 2026-11-22T181500.002Z.incremental
    $ muniment merge backups --through 2026-11-22T181500.002Z.incremental --delete-merged
    $ muniment merge backups --through 2026-11-22T181500.002Z.incremental --url http://127.0.0.1:8080
    """
    from muniment.backup.summary import BackupSummary  # here: completing a line needs none of it
    from muniment.cli.state import backup_rows

    job: list[Row] = []
    if server.wanted(keys):
        from muniment.cli.chores import Chore, accepting, check_here  # here: its HTTP client loads long

        given = {"--recipient": sealing.recipient, "--sign-with": sealing.sign_with}
        check_here(given, "a server encrypts and signs as its settings say")
        accepted = accepting(opening, encryption)
        told, job, seconds = Chore(f"the merge of {dest}", server, keys, out).done(
            lambda store: store.schedules.start_merge(
                str(dest), through, delete_merged=delete_merged, limits=pace.limits, **accepted
            ),
            BackupSummary,
        )
    else:
        from muniment.maintenance import MaintenanceActions

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
        told, seconds = BackupSummary.of(merged), progress.seconds
    rows = [
        *job,
        facts(backup=told.backup, through=through, deleted_merged=delete_merged),
        *backup_rows(told, seconds),
    ]
    out.emit(f"Merged {dest} through {through} into {told.backup}", rows)
