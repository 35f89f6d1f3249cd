"""`muniment rehearse`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from muniment.cli.bar import job
from muniment.cli.output import Dest, Json, Quiet, emit, note_rows, path_of, seconds_text
from muniment.cli.point import At, Etag, InLineage, Named, Utc, planned, point_of
from muniment.cli.state import state_facts, state_rows
from muniment.progress import Progress
from muniment.rehearsal import rehearse_plan


def rehearse(
    dest: Dest,
    at: At = None,
    etag: Etag = None,
    backup: Named = None,
    lineage: InLineage = None,
    utc: Utc = False,
    place: Annotated[
        Path | None,
        typer.Option(
            "--place",
            parser=path_of,
            metavar="FOLDER",
            help="Where to restore to, if not the system's temporary folder.",
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Really restore a state into a temporary folder, look at the database there, and delete it again.

    The database is checked against itself, and documents of every collection and attachments are read as an application
    would. "took" is the time to recover. What was found stands in DEST/rehearsal-TIME.json afterwards, damage too.
    Where that can not be written, the proof holds all the same, and it is said that there is no record of it. Exit code
    5 says that something is damaged.

    $ muniment rehearse /mnt/backups/shop
    $ muniment rehearse /mnt/backups/shop --at 2026-11-22T17:18:03Z --place /var/tmp
    """
    plan, progress = planned(dest, point_of(at, etag, backup, lineage, utc=utc)), Progress()
    with job(progress, quiet=quiet):
        done = rehearse_plan(dest, plan, place=place, progress=progress)
    shown = plan, done.restored.moment, done.restored.fingerprint, done.restored.seconds
    record = str(done.record) if done.record else None
    facts = {
        "backup": str(plan.backup.folder),
        **state_facts(*shown),
        "seconds_with_look": round(done.seconds, 3),
        "record": record,
        "unrecorded": done.unrecorded,
        "notes": plan.notes,
    }
    rows = [
        ("from", str(plan.backup.folder)),
        *state_rows(*shown),
        ("with a look at it", seconds_text(done.seconds)),
        ("record", record or f"none: {done.unrecorded}"),
        *note_rows(plan.notes),
    ]
    emit(f"{plan.manifest.database.name} can be recovered from {dest}", rows, facts, as_json=json)
