"""Restoring into an existing database: the difference is printed first, and then what was written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from muniment.backup.differences import Changes
from muniment.backup.moment import RestorePoint
from muniment.backup.plan import RestorePlan
from muniment.backup.restore_into import OnConflict
from muniment.backup.selection import Selection
from muniment.cli.difference import change_lines
from muniment.cli.options import JobOutput
from muniment.cli.output import check_meant, confirm, count_text, note, seconds_text
from muniment.cli.report import Line, Row
from muniment.database import DocumentDatabase
from muniment.errors import InvalidInput, WrongKey
from muniment.limits import NO_LIMITS, Limits
from muniment.maintenance import MaintenanceActions
from muniment.progress import Progress
from muniment.revision import ATTACHMENT
from muniment.security.encryption import EncryptionKey
from muniment.security.keyring import NO_KEYS, Keyring

ACTIONS: Final = ("added", "changed", "deleted")
_VERBS: Final = {"added": ("add", "to"), "changed": ("change", "in"), "deleted": ("delete", "from")}
MOST_PARTS: Final = 3
TO_DO: Final = ("to add", "to change", "to delete")


@dataclass(frozen=True, slots=True)
class Into:
    """What the options say: what of which backups, into which folder or which database of a server, and how."""

    source: str
    point: RestorePoint
    selection: Selection | None
    to: Path | None
    server: str | None
    name: str | None
    policy: OnConflict
    other_database: bool
    dry_run: bool
    yes: bool
    key: EncryptionKey | None = None
    keyring: Keyring = NO_KEYS
    copies: tuple[str, ...] = ()
    limits: Limits = NO_LIMITS

    def plan(self) -> RestorePlan:
        """What is to be read of the backups in a folder, and of their copies."""
        return MaintenanceActions.plan_restore(self.source, point=self.point, keyring=self.keyring, copies=self.copies)

    def check_meant(self) -> None:
        """Raises `InvalidInput` when a whole database would be overwritten and nobody could be asked about it."""
        if self._overwrites_all:
            check_meant(f"--on-conflict=overwrite would replace all of {self.database}", yes=self.yes)

    @property
    def asks(self) -> bool:
        """Whether somebody is to be asked when the difference is known."""
        return self._overwrites_all and not self.yes

    def confirm(self, difference: dict[str, Any]) -> None:
        """Ask whether what is changed and deleted by it may be; raises `Cancelled` if not."""
        if lost := _counts(difference, ACTIONS[1:], "to be "):
            confirm(f"Overwrite {self.database}, {lost}?")

    @property
    def _overwrites_all(self) -> bool:
        return self.policy == "overwrite" and self.selection is None and not self.dry_run

    @property
    def database(self) -> str:
        """Which database that is, for people."""
        return str(self.to) if self.server is None else f"{self.name} on {self.server}"

    def row(
        self,
        difference: dict[str, Any],
        lines: Iterable[Line],
        seconds: float,
        written: int | None = None,
        etag: int | None = None,
    ) -> Row:
        """These lines, and for programs the whole difference, how much was written, and the transaction's last etag."""
        facts = {
            "source": self.source,
            "database": str(self.to) if self.server is None else self.name,
            **({} if self.server is None else {"url": self.server}),
            "on_conflict": self.policy,
            "dry_run": self.dry_run,
            "difference": difference,
            "written": written,
            "transaction": etag,
            "seconds": round(seconds, 3),
        }
        return Row(facts, lines)


def into_folder(into: Into, out: JobOutput) -> None:
    """Compare, say how the database differs, and write what the policy says."""
    if into.to is None:
        raise InvalidInput("no database to restore into was named", "give --to FOLDER, or --server and --name")
    progress = Progress(limits=into.limits)
    with ExitStack() as stack:
        database = stack.enter_context(_opened(into, into.to))
        compared = database.maintenance.compare(
            plan := into.plan(),
            selection=into.selection,
            other_database=into.other_database,
            progress=progress,
        )
        with out.job(progress):
            comparison = stack.enter_context(compared)
        for told in plan.elsewhere:
            note(told)
        difference = comparison.difference.as_json()
        show_difference(into, difference, progress.seconds, out)
        if into.asks:
            into.confirm(difference)
        if not into.dry_run:
            with out.job(progress):
                restored = comparison.write(into.policy, progress)
            show_written(into, difference, restored.written, restored.etag, restored.seconds, out)


def _opened(into: Into, folder: Path) -> DocumentDatabase:
    """The database with the key, or one in clear without it where the key can be meant for the backups alone."""
    try:
        return DocumentDatabase(folder, create=False, read_only=into.dry_run, key=into.key)
    except WrongKey:
        if into.key is not None and into.plan().encrypted:
            with suppress(WrongKey):
                return DocumentDatabase(folder, create=False, read_only=into.dry_run)
        raise


def show_difference(into: Into, difference: dict[str, Any], seconds: float, out: JobOutput) -> None:
    """Say how the database differs, before anything is written; as JSON it comes at the end, with what was written."""
    if into.dry_run or not out.json:
        moment = f"{difference['time']}, etag {difference['etag']:,}"
        headline = f"To return {into.database} to its state at {moment}: {_to_do(difference['changes'])}"
        if not difference["changes"]:
            headline = f"{into.database} is as it was at {moment}"
        lines = [line for changes in difference["changes"] for line in change_lines(Changes.from_json(changes), TO_DO)]
        out.emit(headline, [into.row(difference, lines, seconds)])


def _to_do(changes: Sequence[dict[str, Any]]) -> str:
    """What has to be done, in one sentence; only the sums where that would be a long one."""
    parts, sums = [], dict.fromkeys(ACTIONS, 0)
    for each in map(Changes.from_json, changes):
        noun = "attachment" if each.kind == ATTACHMENT else "document"
        for action, (verb, where) in _VERBS.items():
            if count := len(getattr(each, action)):
                place = f" {where} {each.collection}" if each.collection else ""
                parts.append(f"{verb} {count_text(count, noun)}{place}")
                sums[action] += count
    if len(parts) > MOST_PARTS:
        parts = [f"{_VERBS[action][0]} {count:,}" for action, count in sums.items() if count]
    return ", ".join(parts)


def show_written(
    into: Into, difference: dict[str, Any], written: int, etag: int | None, seconds: float, out: JobOutput
) -> None:
    """Say what was written, and what was not."""
    done = ACTIONS if into.policy == "overwrite" else ACTIONS[:1]
    lines = [
        ("written", _counts(difference, done) or "nothing"),
        ("left alone", _counts(difference, [action for action in ACTIONS if action not in done]) or "nothing"),
        ("transaction", f"etag {etag:,}" if etag else "none"),
        ("took", seconds_text(seconds)),
    ]
    out.emit(f"Restored into {into.database}", [into.row(difference, lines, seconds, written, etag)])


def _counts(difference: dict[str, Any], actions: Sequence[str], how: str = "") -> str:
    return ", ".join(f"{difference[action]:,} {how}{action}" for action in actions if difference[action])
