"""`muniment rehearse`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from muniment.cli.keyring import OpeningOptions
from muniment.cli.options import Dest, JobOutput, KeyOptions, Keys, LimitOptions, ServerOptions, path_of
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
    pace: LimitOptions,
    server: ServerOptions,
    keys: Keys,
    out: JobOutput,
) -> None:
    """Really restore a state into a temporary folder, look at the database there, and delete it again.

    The database is checked against itself, and documents of every collection and attachments are read as an application
    would. "took" is the time to recover. What was found stands in DEST/rehearsal-TIME.json afterwards, damage too.
    Where that cannot be written, the proof holds all the same, and it is said that there is no record of it. Exit code
    5 says that something is damaged.

    With --query or --script it fails too when these say that something is wrong with the data.

    What is restored of encrypted backups is encrypted too, with a key that nobody keeps.

    With --url a server does it, in its data folder and with the script in its settings. It goes on when this command is
    stopped.

    $ muniment rehearse /mnt/backups/shop
    $ muniment rehearse /mnt/backups/shop --at 2026-11-22T17:18:03Z --place /var/tmp
    $ muniment rehearse /mnt/backups/shop --url http://127.0.0.1:8080
    """
    from muniment.backup.summary import RehearsalSummary  # here: completing a line needs none of it
    from muniment.cli.state import moment_rows

    point = moment.point()
    if server.wanted(keys):
        from muniment.cli.chores import Chore, accepting, check_here

        given = {"--place": place, "--script": script}
        check_here(given, "a server rehearses in its data folder, with the script in its settings")
        accepted = accepting(opening, encryption)
        told, job, _ = Chore(f"the rehearsal of {dest}", server, keys, out).done(
            lambda store: store.schedules.start_rehearsal(
                str(dest), point=point, query=query, limits=pace.limits, **accepted
            ),
            RehearsalSummary,
        )
    else:
        from muniment.maintenance import MaintenanceActions
        from muniment.rehearsal import rehearse as really_restore

        progress, job = Progress(limits=pace.here), []
        plan = MaintenanceActions.plan_restore(dest, point=point, keyring=opening.keyring(encryption))
        with out.job(progress):
            progress.hold()  # until its hours begin
            done = really_restore(plan, place=place, query=query, script=script, progress=progress)
        told = done.summary()
    rows = [
        *job,
        row("from", told.backup, backup=told.backup),
        *moment_rows(told, told.recovery_seconds),
        row("with a look at it", seconds_text(told.seconds), seconds_with_look=told.seconds),
        row("record", told.record or f"none: {told.unrecorded}", record=told.record, unrecorded=told.unrecorded),
        notes(told.notes),
    ]
    out.emit(f"{told.name} can be recovered from {dest}", rows)
