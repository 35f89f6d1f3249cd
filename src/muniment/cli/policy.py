"""The options that say which backups to keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from muniment.errors import InvalidInput

if TYPE_CHECKING:
    from muniment.backup.retention import Policy

_PANEL = "Which backups to keep"


@dataclass(frozen=True, slots=True)
class PolicyOptions:
    """What to keep: a backup stays if any of these wants it."""

    keep_last: Annotated[
        int, typer.Option("--keep-last", metavar="N", rich_help_panel=_PANEL, help="The last N backups.")
    ] = 0
    keep_within: Annotated[
        str | None,
        typer.Option("--keep-within", metavar="TIME", rich_help_panel=_PANEL, help="All of the last 30d, 12h or 8w."),
    ] = None
    keep_hourly: Annotated[
        int,
        typer.Option("--keep-hourly", metavar="N", rich_help_panel=_PANEL, help="The newest of each of N hours."),
    ] = 0
    keep_daily: Annotated[
        int, typer.Option("--keep-daily", metavar="N", rich_help_panel=_PANEL, help="The newest of each of N days.")
    ] = 0
    keep_weekly: Annotated[
        int,
        typer.Option("--keep-weekly", metavar="N", rich_help_panel=_PANEL, help="The newest of each of N ISO weeks."),
    ] = 0
    keep_monthly: Annotated[
        int,
        typer.Option("--keep-monthly", metavar="N", rich_help_panel=_PANEL, help="The newest of each of N months."),
    ] = 0
    keep_yearly: Annotated[
        int, typer.Option("--keep-yearly", metavar="N", rich_help_panel=_PANEL, help="The newest of each of N years.")
    ] = 0
    restorable_within: Annotated[
        str | None,
        typer.Option(
            "--restorable-within",
            metavar="TIME",
            rich_help_panel=_PANEL,
            help="What any moment of the last 7d, say, is restored from.",
        ),
    ] = None
    merge_after: Annotated[
        int,
        typer.Option(
            "--merge-after",
            metavar="N",
            rich_help_panel=_PANEL,
            help="Merge old incremental backups into a full one where more than N are kept for later ones alone.",
        ),
    ] = 0
    time_zone: Annotated[
        str,
        typer.Option(
            "--time-zone", metavar="ZONE", rich_help_panel=_PANEL, help="Whose days these are, as Europe/Berlin."
        ),
    ] = "UTC"

    def policy(self) -> Policy:
        """What to keep; raises `InvalidInput` where it makes no sense."""
        from muniment.backup.retention import Policy  # here: completing a line needs none of it

        return Policy(**{name: getattr(self, name) for name in Policy.__struct_fields__})

    def wanted(self) -> Policy:
        """The same; raises `InvalidInput` where it would keep everything, too."""
        policy = self.policy()
        if policy.keeps_all and not policy.merge_after:
            raise InvalidInput("nothing says which backups to keep", "give --keep-last 7, --keep-within 30d or another")
        return policy
