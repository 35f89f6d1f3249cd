"""What is an alert: a table of facts and what follows from them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from muniment.backup.alerts import Alert, Failure, Policy, alerts, worst
from muniment.backup.recoverability import DestinationState, LastBackup, Proof, Recoverability

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
DAY = 86_400
ALL = Policy(older=25 * 3600, unverified=7 * DAY, unrehearsed=30 * DAY)


def ago(days: float) -> str:
    return (NOW - timedelta(days=days)).isoformat().replace("+00:00", "Z")


def backup(days: float) -> LastBackup:
    return LastBackup(name="b", kind="full", reason="first", etag=7, time=ago(days), completed=ago(days), age=0)


def proof(days: float, problem: str | None = None) -> Proof:
    return Proof(etag=7, completed=ago(days), seconds=1, problem=problem, of_last=True)


def destination(name: str = "/b", **members: Any) -> DestinationState:
    whole: dict[str, Any] = {
        "destination": name,
        "there": True,
        "backups": 1,
        "size": 9,
        "restorable": [],
        "last_backup": backup(0.5),
        "changes_since": 3,
        "last_verification": proof(1),
        "last_rehearsal": proof(1),
        "unfinished": [],
        "problems": [],
        "notes": [],
        "next": None,
        "room": 1 << 40,
        "full_size": 1 << 30,
    }
    return DestinationState(**whole | members)


def found(*destinations: DestinationState) -> Recoverability:
    return Recoverability(
        name="shop", etag=10, time=ago(0), lineage="l", history=None, destinations=[*destinations], next=None
    )


def told(*destinations: DestinationState, policy: Policy = ALL, failures: list[Failure] | None = None) -> list[str]:
    return [
        f"{alert.severity} {alert.condition} {alert.destination}".strip()
        for alert in alerts(found(*destinations), policy, NOW, failures or [])
    ]


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, []),
        ({"last_backup": backup(1.1)}, ["critical backup-late"]),
        ({"last_backup": backup(1.1), "changes_since": 0}, []),  # nothing is missing
        ({"last_backup": backup(1.1), "changes_since": None}, ["critical backup-late"]),
        ({"last_backup": backup(-1)}, []),  # by a clock that is ahead
        ({"last_backup": None}, ["critical backup-missing"]),
        ({"last_verification": proof(8), "last_rehearsal": proof(8)}, ["warning unverified"]),
        ({"last_verification": proof(8)}, []),  # a rehearsal reads as much
        ({"last_rehearsal": proof(31)}, ["warning unrehearsed"]),
        ({"last_rehearsal": None}, ["warning unrehearsed"]),
        ({"last_verification": None, "last_rehearsal": None}, ["warning unverified", "warning unrehearsed"]),
        (
            {"last_verification": proof(0, "x is damaged"), "last_rehearsal": proof(2)},
            ["critical proof-failed /b"],
        ),
        ({"problems": ["a link is missing"]}, ["critical chain-broken /b"]),
        ({"room": (1 << 30) - 1}, ["warning little-room /b"]),
        ({"room": 1 << 30}, []),
        ({"room": 100 << 20, "full_size": 5}, ["warning little-room /b"]),
        ({"room": None}, []),
    ],
)
def test_one_destination(members: dict[str, Any], expected: list[str]) -> None:
    assert told(destination(**members)) == expected


def test_without_limits_only_what_is_wrong_is() -> None:
    old = destination(last_backup=backup(900), last_verification=None, last_rehearsal=None)
    assert told(old, policy=Policy()) == []
    assert told(destination(problems=["gap"]), policy=Policy()) == ["critical chain-broken /b"]
    assert told(policy=Policy()) == []


def test_no_backup_at_all() -> None:
    assert told() == ["critical backup-missing"]  # and not that it was never verified, too


def test_of_several_destinations_the_best_counts_and_only_the_last_is_critical() -> None:
    gone = destination("/old", there=False, last_backup=None, problems=["there is no folder /old"])
    late = destination("/late", last_backup=backup(9), last_verification=None, last_rehearsal=None)
    assert told(destination("/new"), gone, late) == ["warning unreachable /old"]
    assert told(gone, destination("/new")) == ["critical unreachable /old"]
    assert told(gone, late)[:2] == ["critical backup-late", "critical unreachable /old"]


@pytest.mark.parametrize(
    ("room", "takes", "expected"),
    [
        ((256 << 20) - 1, 1, ["warning little-room"]),
        (256 << 20, 1, []),
        (1 << 30, 11 << 30, ["warning little-room"]),  # a tenth of what it takes
        (1 << 30, 10 << 30, []),
        (None, 1, []),
    ],
)
def test_room_where_the_database_is(room: int | None, takes: int, expected: list[str]) -> None:
    state = msgspec.structs.replace(found(destination()), room=room, file_bytes=takes)
    assert [f"{each.severity} {each.condition}{each.destination}" for each in alerts(state, ALL, NOW)] == expected


def test_a_backup_that_failed_is_told_with_its_reason() -> None:
    [alert] = alerts(found(destination()), ALL, NOW, [Failure(what="backup", time=NOW, reason="the disk is full")])
    assert alert == Alert(
        condition="backup-failed",
        severity="critical",
        database="shop",
        destination="",
        text="the last backup failed at 2026-11-29 12:00:00 UTC: the disk is full",
    )


@pytest.mark.parametrize("what", ["verification", "rehearsal", "expiry"])
def test_what_a_schedule_could_not_do_is_told_with_its_destination(what: Any) -> None:
    failure = Failure(what=what, time=NOW, reason="the disk is full", destination="/new")
    [alert] = alerts(found(destination()), ALL, NOW, [failure])
    assert (alert.condition, alert.severity, alert.destination) == (f"{what}-failed", "warning", "/new")


def test_texts_say_how_long_and_how_long_it_may_be() -> None:
    [late] = alerts(found(destination(last_backup=backup(2))), ALL, NOW)
    assert late.text == "the last backup was 2 days ago, and one was asked for every 25 hours"


def test_the_worst_of_all() -> None:
    wrong = alerts(found(destination(last_rehearsal=None, problems=["x"])), ALL, NOW)
    assert worst(wrong) == "critical"
    assert worst(wrong[1:]) == "warning"
    assert worst([]) is None
