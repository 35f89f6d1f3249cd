"""Restoring into an existing database: the difference is printed first, and then what was written."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from muniment.backup.differences import Changes
from muniment.backup.restore_into import OnConflict, check_policy
from muniment.cli.bar import job
from muniment.cli.difference import change_rows
from muniment.cli.output import check_meant, confirm, emit, seconds_text
from muniment.cli.point import Part
from muniment.database import DocumentDatabase
from muniment.errors import InvalidInput
from muniment.progress import Progress

ACTIONS: Final = ("added", "changed", "deleted")
TO_DO: Final = ("to add", "to change", "to delete")


@dataclass(frozen=True, slots=True)
class Into:
    """What the options say: from where, into which folder or which database of a server, and how."""

    source: str
    to: Path | None
    server: str | None
    name: str | None
    on_conflict: str
    other_database: bool
    dry_run: bool
    yes: bool

    @property
    def policy(self) -> OnConflict:
        """What to do where something differs; raises `InvalidInput`."""
        return check_policy(self.on_conflict)

    def check_meant(self, part: Part) -> None:
        """Raises `InvalidInput` when a whole database would be overwritten and nobody could be asked about it."""
        if self._overwrites_all(part):
            check_meant(f"--on-conflict=overwrite would replace all of {self.database}", yes=self.yes)

    def asks(self, part: Part) -> bool:
        """Whether somebody is to be asked when the difference is known."""
        return self._overwrites_all(part) and not self.yes

    def confirm(self, difference: dict[str, Any]) -> None:
        """Ask whether what is changed and deleted by it may be; raises `Cancelled` if not."""
        if lost := _counts(difference, ACTIONS[1:], "to be "):
            confirm(f"Overwrite {self.database}, {lost}?")

    def _overwrites_all(self, part: Part) -> bool:
        return self.policy == "overwrite" and part["selection"] is None and not self.dry_run

    @property
    def database(self) -> str:
        """Which database that is, for people."""
        return str(self.to) if self.server is None else f"{self.name} on {self.server}"

    def facts(
        self, difference: dict[str, Any], written: int | None, etag: int | None, seconds: float
    ) -> dict[str, Any]:
        """For `--json`: the whole difference, how much was written, and the last etag of the transaction."""
        return {
            "source": self.source,
            "database": str(self.to) if self.server is None else self.name,
            **({} if self.server is None else {"url": self.server}),
            "on_conflict": self.on_conflict,
            "dry_run": self.dry_run,
            "difference": difference,
            "written": written,
            "transaction": etag,
            "seconds": round(seconds, 3),
        }


def into_folder(into: Into, part: Part, *, as_json: bool, quiet: bool) -> None:
    """Compare, say how the database differs, and write what the policy says."""
    if into.to is None:
        raise InvalidInput("no database to restore into was named", "give --to FOLDER, or --server and --name")
    progress = Progress()
    with ExitStack() as stack:
        database = stack.enter_context(DocumentDatabase(into.to, create=False, read_only=into.dry_run))
        compared = database.maintenance.compare(
            into.source, **part, other_database=into.other_database, progress=progress
        )
        with job(progress, quiet=quiet):
            comparison = stack.enter_context(compared)
        difference = comparison.difference.as_json()
        show_difference(into, difference, progress.seconds, as_json=as_json)
        if into.asks(part):
            into.confirm(difference)
        if not into.dry_run:
            with job(progress, quiet=quiet):
                restored = comparison.write(into.policy, progress)
            show_written(into, difference, restored.written, restored.etag, restored.seconds, as_json=as_json)


def show_difference(into: Into, difference: dict[str, Any], seconds: float, *, as_json: bool) -> None:
    """Say how the database differs, before anything is written; as JSON it comes at the end, with what was written."""
    if into.dry_run or not as_json:
        moment = f"{difference['time']}, etag {difference['etag']:,}"
        headline = f"To return {into.database} to its state at {moment}"
        if not difference["changes"]:
            headline = f"{into.database} is as it was at {moment}"
        facts = into.facts(difference, None, None, seconds)
        rows = [row for changes in difference["changes"] for row in change_rows(Changes.from_json(changes), TO_DO)]
        emit(headline, rows, facts, as_json=as_json)


def show_written(
    into: Into, difference: dict[str, Any], written: int, etag: int | None, seconds: float, *, as_json: bool
) -> None:
    """Say what was written, and what was not."""
    done = ACTIONS if into.policy == "overwrite" else ACTIONS[:1]
    rows = [
        ("written", _counts(difference, done) or "nothing"),
        ("left alone", _counts(difference, [action for action in ACTIONS if action not in done]) or "nothing"),
        ("transaction", f"etag {etag:,}" if etag else "none"),
        ("took", seconds_text(seconds)),
    ]
    facts = into.facts(difference, written, etag, seconds)
    emit(f"Restored into {into.database}", rows, facts, as_json=as_json)


def _counts(difference: dict[str, Any], actions: Iterable[str], how: str = "") -> str:
    return ", ".join(f"{difference[action]:,} {how}{action}" for action in actions if difference[action])
