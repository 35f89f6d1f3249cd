"""`muniment rehearse`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from muniment.cli.keyring import OpeningOptions
from muniment.cli.options import Dest, JobOutput, KeyOptions, path_of
from muniment.cli.output import seconds_text
from muniment.cli.point import PointOptions
from muniment.cli.report import notes, row
from muniment.progress import Progress


def rehearse(
    dest: Dest,
    *,
    moment: PointOptions,
    place: Annotated[
        Path | None,
        typer.Option(
            "--place",
            parser=path_of,
            metavar="FOLDER",
            help="Where to restore to, if not the system's temporary folder.",
        ),
    ] = None,
    query: Annotated[
        str | None,
        typer.Option(
            "--query", metavar="SQL", help="SQL over its documents: the first value of the answer has to be true."
        ),
    ] = None,
    script: Annotated[
        list[str],
        typer.Option(
            "--script",
            metavar="WORD",
            help="A command that gets the folder of the restored database, and has to end with 0; once for each word.",
        ),
    ] = [],  # noqa: B006 - typer never changes it
    encryption: KeyOptions,
    opening: OpeningOptions,
    out: JobOutput,
) -> None:
    """Really restore a state into a temporary folder, look at the database there, and delete it again.

    The database is checked against itself, and documents of every collection and attachments are read as an application
    would. "took" is the time to recover. What was found stands in DEST/rehearsal-TIME.json afterwards, damage too.
    Where that cannot be written, the proof holds all the same, and it is said that there is no record of it. Exit code
    5 says that something is damaged.

    With --query or --script it fails too when these say that something is wrong with the data.

    What is restored of encrypted backups is encrypted too, with a key that nobody keeps.

    $ muniment rehearse /mnt/backups/shop
    $ muniment rehearse /mnt/backups/shop --at 2026-11-22T17:18:03Z --place /var/tmp
    """
    from muniment.cli.state import restored_rows  # here: completing a line needs none of it
    from muniment.maintenance import MaintenanceActions
    from muniment.rehearsal import rehearse as really_restore

    progress = Progress()
    plan = MaintenanceActions.plan_restore(dest, point=moment.point(), keyring=opening.keyring(encryption))
    with out.job(progress):
        done = really_restore(plan, place=place, query=query, script=script, progress=progress)
    restored, folder, record = done.restored, str(plan.backup.folder), str(done.record) if done.record else None
    rows = [
        row("from", folder, backup=folder),
        *restored_rows(plan, restored.moment, restored.fingerprint, restored.seconds),
        row("with a look at it", seconds_text(done.seconds), seconds_with_look=round(done.seconds, 3)),
        row("record", record or f"none: {done.unrecorded}", record=record, unrecorded=done.unrecorded),
        notes(plan.notes),
    ]
    out.emit(f"{plan.manifest.database.name} can be recovered from {dest}", rows)
