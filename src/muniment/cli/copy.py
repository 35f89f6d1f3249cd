"""`muniment copy`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from muniment.cli.options import JobOutput, LimitOptions, Source, place_of
from muniment.cli.output import count_text, size_text
from muniment.cli.report import facts, notes, row
from muniment.maintenance import MaintenanceActions
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
    out: JobOutput,
) -> None:
    """Bring backups to another place as they are, or heal there what is damaged and whole here.

    Every file is compared with its SHA-256 as it is read, and of each backup the manifest comes last. What is there
    already is not sent again, so that a copy that was interrupted goes on, and one that is repeated brings what is new.
    No key is needed for encrypted backups. Records of verifications and rehearsals stay where they were made.

    With --repair all that is in DEST of these backups is read too, and each file that is not what its manifest says is
    written anew from SOURCE. Nothing else is ever overwritten. If something in SOURCE is damaged, the rest is copied
    and the exit code is 5.

    $ muniment copy /mnt/backups/shop s3://backups/shop
    $ muniment copy s3://backups/shop /mnt/backups/shop --repair
    """
    with out.job(progress := Progress()):
        done = MaintenanceActions.copy(source, dest, repair=repair, progress=progress, limits=pace.here)
    rows = [
        facts(source=str(source), destination=str(dest)),
        row("copied", count_text(len(done.copied), "backup"), copied=list(map(str, done.copied))),
        row("there already", count_text(len(done.present), "backup"), present=list(map(str, done.present))),
        row("repaired", count_text(len(done.repaired), "file"), repaired=list(map(str, done.repaired))),
        row("sent", f"{size_text(done.bytes)} in {done.seconds:.1f} s", bytes=done.bytes, seconds=done.seconds),
        notes(done.notes),
    ]
    out.emit(f"Copied {source} to {dest}", rows)
