"""What is wrong with the backups of a database: facts, what was asked for and a time in, alerts out. Nothing is read.

The command line, HTTP, metrics, webhooks and messages all show what is decided here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

import msgspec

from muniment.backup.recoverability import DestinationState, Proof, Recoverability
from muniment.duration import duration_text

LEAST_ROOM: Final = 256 << 20
OF_OWN: Final = 10  # of its own files, a tenth

Severity: TypeAlias = Literal["warning", "critical"]
Condition: TypeAlias = Literal[
    "backup-failed",
    "verification-failed",
    "rehearsal-failed",
    "expiry-failed",
    "backup-missing",
    "backup-late",
    "chain-broken",
    "proof-failed",
    "unverified",
    "unrehearsed",
    "unreachable",
    "little-room",
]

_FAILED: Final[dict[str, Condition]] = {
    "backup": "backup-failed",
    "verification": "verification-failed",
    "rehearsal": "rehearsal-failed",
    "expiry": "expiry-failed",
}


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong, in plain words; `destination` is empty where it is wrong with all of them.

    It is the same as another one, only later, when all but `text` is the same.
    """

    condition: Condition
    severity: Severity
    database: str
    destination: str
    text: str

    @property
    def subject(self) -> tuple[str, str, str]:
        """What it is about."""
        return self.condition, self.database, self.destination


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """After how many seconds it is wrong that there was no backup, verification or rehearsal; None: never."""

    older: int | None = None
    unverified: int | None = None
    unrehearsed: int | None = None


NO_POLICY: Final = Policy()


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A job that failed: what it was, when, why, and of one that a schedule has done, in which destination."""

    what: Literal["backup", "verification", "rehearsal", "expiry"]
    time: datetime
    reason: str
    destination: str = ""


class Overdue(msgspec.Struct, frozen=True, kw_only=True):
    """A backup that a schedule has asked for, and that had not ended when the next one was due."""

    schedule: str
    due: datetime
    destination: str


def alerts(
    found: Recoverability, policy: Policy, now: datetime, failures: Sequence[Failure | Overdue] = ()
) -> list[Alert]:
    """What is wrong with the backups of a database, the most urgent first.

    A database that has not changed since its last backup is not late. Of several destinations the best one counts,
    except for what is wrong with one: that is critical in the one that was backed up to last, and else a warning.
    """
    wrong = [
        *failed(found.name, failures),
        *_late(found, policy.older, now),
        *_unproven(found, policy, now),
        *_no_room(found),
        *(alert for place, state in enumerate(found.destinations) for alert in _of(found, state, last=place == 0)),
    ]
    return sorted(wrong, key=lambda alert: alert.severity)  # "critical" comes before "warning"


def worst(found: Sequence[Alert]) -> Severity | None:
    """The severity of all of them together, None when there is none."""
    return min((alert.severity for alert in found), default=None)


def failed(database: str, failures: Sequence[Failure | Overdue]) -> Iterator[Alert]:
    """What is wrong where nothing but these failures is known of a database."""
    for failure in failures:
        if isinstance(failure, Overdue):
            text = f"the backup that the schedule {failure.schedule} asked for at {failure.due:%Y-%m-%d %H:%M:%S} UTC"
            yield Alert(
                condition="backup-late",
                severity="critical",
                database=database,
                destination=failure.destination,
                text=f"{text} has not ended, and the next one was due since",
            )
            continue
        yield Alert(
            condition=_FAILED[failure.what],
            severity="critical" if failure.what == "backup" else "warning",
            database=database,
            destination=failure.destination,
            text=f"the last {failure.what} failed at {failure.time:%Y-%m-%d %H:%M:%S} UTC: {failure.reason}",
        )


def _late(found: Recoverability, limit: int | None, now: datetime) -> Iterator[Alert]:
    if limit is None:
        return
    last = [(state.last_backup, state) for state in found.destinations if state.there and state.last_backup]
    if not last:
        yield _alert(found, "backup-missing", "critical", "there is no backup")
        return
    if any(state.changes_since == 0 for _, state in last):
        return
    age = min(_since(backup.completed, now) for backup, _ in last)
    if age > timedelta(seconds=limit):
        text = f"the last backup was {_text(age)} ago, and one was asked for every {duration_text(limit)}"
        yield _alert(found, "backup-late", "critical", text)


def _unproven(found: Recoverability, policy: Policy, now: datetime) -> Iterator[Alert]:
    for state in found.destinations:
        for what, proof in (("verification", state.last_verification), ("rehearsal", state.last_rehearsal)):
            if proof and proof.problem:
                text = f"the last {what}, {_text(_since(proof.completed, now))} ago, failed: {proof.problem}"
                yield _alert(found, "proof-failed", "critical", text, state)
    if not any(state.last_backup for state in found.destinations):
        return
    rehearsals = [state.last_rehearsal for state in found.destinations]
    verifications = [state.last_verification for state in found.destinations] + rehearsals  # which read as much
    if old := _too_old("verified", verifications, policy.unverified, now):
        yield _alert(found, "unverified", "warning", old)
    if old := _too_old("rehearsed", rehearsals, policy.unrehearsed, now):
        yield _alert(found, "unrehearsed", "warning", old)


def _too_old(done: str, proofs: Sequence[Proof | None], limit: int | None, now: datetime) -> str | None:
    if limit is None:
        return None
    ages = [_since(proof.completed, now) for proof in proofs if proof and not proof.problem]
    if not ages:
        return f"the backups were never {done}"
    if min(ages) <= timedelta(seconds=limit):
        return None
    return f"the backups were last {done} {_text(min(ages))} ago, and that was asked for every {duration_text(limit)}"


def _of(found: Recoverability, state: DestinationState, *, last: bool) -> Iterator[Alert]:
    """What is wrong in one destination."""
    severity: Severity = "critical" if last else "warning"
    if not state.there:
        yield _alert(found, "unreachable", severity, "; ".join(state.problems) or "it is not there", state)
        return
    if state.problems:
        yield _alert(found, "chain-broken", severity, "; ".join(state.problems), state)
    least = max(LEAST_ROOM, state.full_size or 0)
    if state.room is not None and state.room < least:
        text = f"there is room for {state.room / 1e6:,.0f} MB, and {least / 1e6:,.0f} MB are needed for a full backup"
        yield _alert(found, "little-room", "warning", text, state)


def _no_room(found: Recoverability) -> Iterator[Alert]:
    """What is wrong where the database's own files are: without room, nothing can be written to it."""
    least = max(LEAST_ROOM, (found.file_bytes or 0) // OF_OWN)
    if found.room is not None and found.room < least:
        text = f"there is room for {found.room / 1e6:,.0f} MB where the database is: less than {least / 1e6:,.0f} MB"
        yield _alert(found, "little-room", "warning", text)


def _alert(
    found: Recoverability,
    condition: Condition,
    severity: Severity,
    text: str,
    state: DestinationState | None = None,
) -> Alert:
    place = state.destination if state else ""
    return Alert(condition=condition, severity=severity, database=found.name, destination=place, text=text)


def _since(time: str, now: datetime) -> timedelta:
    return now - datetime.fromisoformat(time)


def _text(age: timedelta) -> str:
    return duration_text(max(age.total_seconds(), 0))
