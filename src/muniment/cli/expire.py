"""`muniment expire`."""

from __future__ import annotations

from typing import Annotated

import typer

from muniment.backup.summary import DecisionSummary, ExpirySummary
from muniment.cli.keyring import OpeningOptions
from muniment.cli.options import Dest, JobOutput, KeyOptions, Yes
from muniment.cli.output import check_meant, confirm, count_text, size_text
from muniment.cli.policy import PolicyOptions
from muniment.cli.report import Row, lines, note_lines
from muniment.duration import duration_of, duration_text
from muniment.maintenance import MaintenanceActions
from muniment.progress import Progress

Grace = Annotated[
    str,
    typer.Option("--grace", metavar="TIME", help="How long a backup stays after it was marked, before it is removed."),
]


def expire(
    dest: Dest,
    *,
    keeping: PolicyOptions,
    grace: Grace = "24h",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", metavar="", help="Say what would be done with each backup and why; do nothing.")
    ] = False,
    yes: Yes = False,
    encryption: KeyOptions,
    opening: OpeningOptions,
    out: JobOutput,
) -> None:
    """Remove the backups in a folder that a policy does not keep, after a time of grace.

    A backup is kept when any of the options wants it, and with it those that it continues. What none wants is marked
    first, by a new file expiry-TIME.json beside the backups, and removed by a later run, when it has been marked for
    --grace. Times end with the newest backup, so that nothing goes because no new ones come.

    Always kept: the newest backup of each history that goes on, the newest that a verification or a rehearsal has
    proven, what a restore, a verification or a copy reads now, and whatever a backup may need that cannot be read. What
    may not be removed, as under an object lock, is named, and is no error. No key is needed, but for --merge-after.

    $ muniment expire /mnt/backups/shop --keep-daily 7 --keep-weekly 4 --keep-monthly 12 --dry-run
    $ muniment expire /mnt/backups/shop --restorable-within 7d --keep-weekly 8 --grace 48h --yes
    """
    policy, seconds = keeping.wanted(), duration_of(grace, "--grace")
    keyring, progress = opening.keyring(encryption), Progress()
    if not dry_run and not yes:
        check_meant("backups are to be removed", yes=yes)
        planned = MaintenanceActions.expire(dest, policy, grace=seconds, dry_run=True)
        gone = sum(not each.kept for each in planned.decisions)
        confirm(f"Of {count_text(len(planned.decisions), 'backup')} in {dest}, let {gone:,} expire?")
    with out.job(progress):
        done = MaintenanceActions.expire(
            dest, policy, grace=seconds, dry_run=dry_run, keyring=keyring, progress=progress
        )
    told = ExpirySummary.of(done)
    would = "would be removed in the end" if dry_run else "removed"
    count = sum(not each.kept for each in told.decisions) if dry_run else told.removed
    kept = sum(each.kept for each in told.decisions)
    headline = f"{dest}: {kept:,} of {count_text(len(told.decisions), 'backup')} kept, {count:,} {would}"
    out.emit(
        headline,
        [
            _row(told, duration_text(seconds)),
            lines([("freed", size_text(told.freed))] if told.freed else []),
            lines([("merged", name) for name in told.merged]),
            lines(note_lines(told.notes)),
        ],
    )


def _row(told: ExpirySummary, grace: str) -> Row:
    facts = {name: getattr(told, name) for name in told.__struct_fields__}
    return Row(facts, [(_word(each), f"{each.backup}: {_why(each, grace)}") for each in told.decisions])


def _word(decision: DecisionSummary) -> str:
    return "keep" if decision.kept else "removed" if decision.removed else "expire"


def _why(decision: DecisionSummary, grace: str) -> str:
    reasons = "; ".join(decision.reasons)
    return f"{reasons}; it goes after {decision.after}" if decision.after else reasons
