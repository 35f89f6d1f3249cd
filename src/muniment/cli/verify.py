"""`muniment verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from muniment.cli.keyring import OpeningOptions
from muniment.cli.options import JobOutput, KeyOptions, Keys, LimitOptions, ServerOptions, Source
from muniment.cli.output import count_text
from muniment.cli.point import PointOptions
from muniment.cli.report import Row, facts, notes, row
from muniment.progress import Progress

if TYPE_CHECKING:
    from muniment.backup.summary import VerificationSummary


def verify(
    source: Source,
    *,
    moment: PointOptions,
    no_record: Annotated[
        bool, typer.Option("--no-record", metavar="", help="Write no verification-TIME.json beside the backups.")
    ] = False,
    encryption: KeyOptions,
    opening: OpeningOptions,
    pace: LimitOptions,
    server: ServerOptions,
    keys: Keys,
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

    With --url a server does it, with backups in a folder of its machine and what its settings have to open them. It
    goes on when this command is stopped.

    $ muniment verify /mnt/backups/shop
    $ muniment verify /mnt/backups/shop --at 2026-11-22T17:18:03Z
    $ muniment verify /mnt/backups/shop --read-rate 20MB --niceness 10
    $ muniment verify /mnt/backups/shop --url http://127.0.0.1:8080
    """
    from muniment.backup.summary import VerificationSummary  # here: completing a line needs none of it

    point = moment.point()
    if server.wanted(keys):
        from muniment.cli.chores import Chore, accepting, check_here

        check_here({"--no-record": no_record}, "a server records what it has verified")
        accepted = accepting(opening, encryption)
        told, job, _ = Chore(f"the verification of {source}", server, keys, out).done(
            lambda store: store.schedules.start_verification(str(source), point=point, limits=pace.limits, **accepted),
            VerificationSummary,
        )
    else:
        from muniment.maintenance import MaintenanceActions

        progress, job = Progress(), []
        keyring = opening.keyring(encryption)
        with out.job(progress):
            verified = MaintenanceActions.verify(
                source, point=point, record=not no_record, keyring=keyring, progress=progress, limits=pace.here
            )
        told = VerificationSummary.proven(verified)
    _emit(told, job, str(source), out, named=point.named)


def _emit(told: VerificationSummary, job: list[Row], source: str, out: JobOutput, *, named: bool) -> None:
    from muniment.cli.state import moment_rows

    rows = [
        *job,
        row("moment" if named else "newest", told.backup, backup=told.backup),
        facts(verified=told.verified, record=told.record),
        *moment_rows(told, told.seconds),
        facts(unproven=told.unproven),
        Row({"unrecorded": told.unrecorded}, [("no record", told.unrecorded)] if told.unrecorded else []),
        notes(told.notes),
    ]
    proven = len(told.verified) - len(told.unproven)
    unproven = f"; of {count_text(len(told.unproven), 'other')} only the files" if told.unproven else ""
    out.emit(f"Verified {count_text(proven, 'backup')} in {source}{unproven}", rows)
