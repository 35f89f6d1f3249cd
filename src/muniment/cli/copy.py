"""`muniment copy`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from muniment.cli.options import JobOutput, Keys, LimitOptions, ServerOptions, Source, place_of
from muniment.cli.output import count_text, size_text
from muniment.cli.report import Row, facts, notes, row
from muniment.progress import Progress


def copy(
    source: Source,
    dest: Annotated[
        Path,
        typer.Argument(parser=place_of, metavar="DEST", help="Where to bring them: a folder, or s3://BUCKET/PREFIX."),
    ],
    *,
    repair: Annotated[
        bool,
        typer.Option("--repair", metavar="", help="Read what is there already, and write anew what is damaged."),
    ] = False,
    pace: LimitOptions,
    server: ServerOptions,
    keys: Keys,
    out: JobOutput,
) -> None:
    """Bring backups to another place as they are, or heal there what is damaged and whole here.

    Every file is compared with its SHA-256 as it is read, and of each backup the manifest comes last. What is there
    already is not sent again, so that a copy that was interrupted goes on, and one that is repeated brings what is new.
    No key is needed for encrypted backups. Records of verifications and rehearsals stay where they were made.

    With --repair all that is in DEST of these backups is read too, and each file that is not what its manifest says is
    written anew from SOURCE. Nothing else is ever overwritten. If something in SOURCE is damaged, the rest is copied
    and the exit code is 5.

    With --url a server does it, between places of its machine or stores that it reaches, and goes on when this command
    is stopped.

    $ muniment copy /mnt/backups/shop s3://backups/shop
    $ muniment copy s3://backups/shop /mnt/backups/shop --repair
    $ muniment copy /mnt/backups/shop s3://backups/shop --url http://127.0.0.1:8080
    """
    from muniment.backup.summary import CopySummary  # here: completing a line needs none of it

    job: list[Row] = []
    if server.wanted(keys):
        from muniment.cli.chores import Chore  # here: its HTTP client loads longer than most commands run

        done, job, _ = Chore(f"the copy of {source}", server, keys, out).done(
            lambda store: store.schedules.start_copy(str(source), str(dest), repair=repair, limits=pace.limits),
            CopySummary,
        )
    else:
        from muniment.maintenance import MaintenanceActions

        with out.job(progress := Progress()):
            copied = MaintenanceActions.copy(source, dest, repair=repair, progress=progress, limits=pace.here)
        done = CopySummary.of(copied)
    rows = [
        *job,
        facts(source=str(source), destination=str(dest)),
        row("copied", count_text(len(done.copied), "backup"), copied=done.copied),
        row("there already", count_text(len(done.present), "backup"), present=done.present),
        row("repaired", count_text(len(done.repaired), "file"), repaired=done.repaired),
        row("sent", f"{size_text(done.bytes)} in {done.seconds:.1f} s", bytes=done.bytes, seconds=done.seconds),
        notes(done.notes),
    ]
    out.emit(f"Copied {source} to {dest}", rows)
