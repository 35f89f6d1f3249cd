"""A time says its zone, or is in one that is said; what names none, or two, is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from muniment import MaintenanceActions
from muniment.backup.moment import LOCAL, RestorePoint, Zone, both_readings, time_of
from muniment.errors import InvalidInput

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 22, 23, 30, tzinfo=UTC)  # the 23rd in Berlin, at half past midnight


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("2026-11-22T17:18:03Z", BERLIN, "2026-11-22T17:18:03"),
        ("2026-11-22T17:18:03+02:00", None, "2026-11-22T15:18:03"),
        ("2026-11-22T17:18", BERLIN, "2026-11-22T16:18:00"),
        ("2026-07-22 17:18", BERLIN, "2026-07-22T15:18:00"),
        ("2026-11-22", BERLIN, "2026-11-21T23:00:00"),
        ("2026-11-22T17:18", UTC, "2026-11-22T17:18:00"),
        ("14:03", UTC, "2026-11-22T14:03:00"),
        ("0:03", BERLIN, "2026-11-22T23:03:00"),
        ("14:03:07.5", UTC, "2026-11-22T14:03:07.500000"),
        ("today 14:03", BERLIN, "2026-11-23T13:03:00"),
        ("yesterday 14:03", BERLIN, "2026-11-22T13:03:00"),
        (" Yesterday  14:03 ", UTC, "2026-11-21T14:03:00"),
        ("2 hours ago", None, "2026-11-22T21:30:00"),
        ("an hour ago", BERLIN, "2026-11-22T22:30:00"),
        ("90 min ago", None, "2026-11-22T22:00:00"),
        ("30s ago", None, "2026-11-22T23:29:30"),
        ("1 week ago", None, "2026-11-15T23:30:00"),
        ("3d ago", None, "2026-11-19T23:30:00"),
    ],
)
def test_what_people_write(text: str, zone: Zone, expected: str) -> None:
    found = time_of(text, zone, NOW)
    assert found.astimezone(UTC).isoformat() == f"{expected}+00:00"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "tomorrow 14:03",
        "14",
        "25:00",
        "14:3",
        "2 fortnights ago",
        "hours ago",
        "999999 weeks ago",
        "٣:٠٠",
    ],
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not a time") as caught:
        time_of(text, UTC, NOW)
    assert "2 hours ago" in caught.value.hint


@pytest.mark.parametrize("text", ["2026-11-22T17:18", "2026-11-22", "14:03", "yesterday 14:03"])
def test_nobody_s_zone_is_not_guessed(text: str) -> None:
    with pytest.raises(InvalidInput, match="has no zone"):
        time_of(text, None, NOW)


def test_a_time_that_the_clocks_showed_twice_or_never_is_refused() -> None:
    with pytest.raises(InvalidInput, match="twice"):
        time_of("2026-10-25T02:30", BERLIN, NOW)
    with pytest.raises(InvalidInput, match="never"):
        time_of("2026-03-29T02:30", BERLIN, NOW)
    assert time_of("2026-10-25T02:30+01:00", BERLIN, NOW).astimezone(UTC).hour == 1


def test_both_readings_are_said() -> None:
    found = time_of("2026-11-22T17:18", BERLIN, NOW)
    assert both_readings(found, BERLIN) == "2026-11-22T17:18:00+01:00, 2026-11-22T16:18:00Z"
    assert both_readings(found, UTC) == "2026-11-22T16:18:00Z"
    here = time_of("2026-11-22T17:18", LOCAL, NOW)
    assert here == datetime(2026, 11, 22, 17, 18).astimezone()


def test_python_refuses_a_time_without_a_zone(tmp_path: Path) -> None:
    naive = datetime(2026, 11, 22, 17, 18)  # noqa: DTZ001 - that is what is refused
    with pytest.raises(InvalidInput, match="has no zone"):
        RestorePoint(at=naive)
    with pytest.raises(InvalidInput, match="has no zone"):
        MaintenanceActions.plan_restore(tmp_path, at=naive)
