"""`muniment verify`."""

from __future__ import annotations

from typing import Annotated

import typer

from muniment.cli.keyring import OpeningOptions
from muniment.cli.options import JobOutput, KeyOptions, Source
from muniment.cli.output import count_text
from muniment.cli.point import PointOptions
from muniment.cli.report import Row, facts, notes, row
from muniment.progress import Progress


def verify(
    source: Source,
    *,
    moment: PointOptions,
    no_record: Annotated[
        bool, typer.Option("--no-record", metavar="", help="Write no verification-TIME.json beside the backups.")
    ] = False,
    encryption: KeyOptions,
    opening: OpeningOptions,
    out: JobOutput,
) -> None:
    """Read all backups in a folder and check everything that a restore of any of them would need.

    That is every file's size and SHA-256, every page's checksum, the number and order of rows, every document's
    grammar, the links of the chains, and the fingerprint at the end of each backup. With a moment named it is what a
    restore of that moment would read. It needs no database, so it can run where the backups are kept, and what it
    found is written beside them as a new file, for `muniment status`. Exit code 5 says that something is damaged,
    0 that all that could be read is as it was written.

    Of encrypted backups that nothing was given to open only the files are compared with their SHA-256; that this is all
    is said, and no record is written.

    $ muniment verify /mnt/backups/shop
    $ muniment verify /mnt/backups/shop --at 2026-11-22T17:18:03Z
    """
    from muniment.cli.state import restored_rows  # here: completing a line needs none of it
    from muniment.maintenance import MaintenanceActions

    point, keyring, progress = moment.point(), opening.keyring(encryption), Progress()
    with out.job(progress):
        verified = MaintenanceActions.verify(
            source, point=point, record=not no_record, keyring=keyring, progress=progress
        )
    folder, backups = str(verified.backup.folder), [str(read.folder) for read in verified.backups]
    rows = [
        row("moment" if point.named else "newest", folder, backup=folder),
        facts(verified=backups, record=str(verified.record) if verified.record else None),
        *restored_rows(verified.plan, verified.moment, verified.state, verified.seconds),
        facts(unproven=[str(each.folder) for each in verified.unproven]),
        Row({"unrecorded": verified.unrecorded}, [("no record", verified.unrecorded)] if verified.unrecorded else []),
        notes(verified.notes),
    ]
    proven = len(backups) - len(verified.unproven)
    unproven = f"; of {count_text(len(verified.unproven), 'other')} only the files" if verified.unproven else ""
    out.emit(f"Verified {count_text(proven, 'backup')} in {source}{unproven}", rows)
