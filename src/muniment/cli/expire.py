"""`muniment expire`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from muniment.cli.keyring import OpeningOptions
from muniment.cli.options import Dest, JobOutput, KeyOptions, Keys, ServerOptions, Yes
from muniment.cli.output import check_meant, confirm, count_text, size_text
from muniment.cli.policy import PolicyOptions
from muniment.cli.report import Row, lines, note_lines
from muniment.duration import duration_of, duration_text
from muniment.progress import Progress

if TYPE_CHECKING:
    from muniment.backup.summary import DecisionSummary, ExpirySummary

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
    server: ServerOptions,
    keys: Keys,
    out: JobOutput,
) -> None:
    """Remove the backups in a folder that a policy does not keep, after a time of grace.

    A backup is kept when any of the options wants it, and with it those that it continues. What none wants is marked
    first, by a new file expiry-TIME.json beside the backups, and removed by a later run, when it has been marked for
    --grace. Times end with the newest backup, so that nothing goes because no new ones come.

    Always kept: the newest backup of each history that goes on, the newest that a verification or a rehearsal has
    proven, what a restore, a verification or a copy reads now, and whatever a backup may need that cannot be read. What
    may not be removed, as under an object lock, is named, and is no error. No key is needed, but for --merge-after.

    With --url a server does it in a folder of its machine, and goes on when this command is stopped.

    $ muniment expire /mnt/backups/shop --keep-daily 7 --keep-weekly 4 --keep-monthly 12 --dry-run
    $ muniment expire /mnt/backups/shop --restorable-within 7d --keep-weekly 8 --grace 48h --yes
    $ muniment expire /mnt/backups/shop --keep-last 7 --yes --url http://127.0.0.1:8080
    """
    from muniment.backup.summary import ExpirySummary  # here: completing a line needs none of it

    policy, seconds = keeping.wanted(), duration_of(grace, "--grace")
    job: list[Row] = []
    if server.wanted(keys):
        from muniment.cli.chores import Chore, accepting  # here: its HTTP client loads longer than most commands run

        accepted, chore = accepting(opening, encryption), Chore(f"the expiry of {dest}", server, keys, out)

        def expired(*, dry_run: bool, wait: bool = False) -> ExpirySummary:
            nonlocal job
            done, job, _ = chore.done(
                lambda store: store.schedules.start_expiry(str(dest), policy, grace=grace, dry_run=dry_run, **accepted),
                ExpirySummary,
                wait=wait,
            )
            return done
    else:
        from muniment.maintenance import MaintenanceActions

        keyring = opening.keyring(encryption)

        def expired(*, dry_run: bool, wait: bool = False) -> ExpirySummary:
            progress = Progress()
            with out.job(progress):
                done = MaintenanceActions.expire(
                    dest, policy, grace=seconds, dry_run=dry_run, keyring=keyring, progress=progress
                )
            return ExpirySummary.of(done)

    if not dry_run and not yes:
        check_meant("backups are to be removed", yes=yes)
        planned = expired(dry_run=True, wait=True).decisions
        gone = sum(not each.kept for each in planned)
        confirm(f"Of {count_text(len(planned), 'backup')} in {dest}, let {gone:,} expire?")
    told = expired(dry_run=dry_run)
    would = "would be removed in the end" if dry_run else "removed"
    count = sum(not each.kept for each in told.decisions) if dry_run else told.removed
    kept = sum(each.kept for each in told.decisions)
    headline = f"{dest}: {kept:,} of {count_text(len(told.decisions), 'backup')} kept, {count:,} {would}"
    out.emit(
        headline,
        [
            *job,
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
