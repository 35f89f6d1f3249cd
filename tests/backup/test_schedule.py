"""What is due when: no test waits, and no clock is asked."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from muniment.backup.cron import Cron
from muniment.backup.retention import Policy
from muniment.backup.schedule import Agenda, Schedule, check_name, from_periodic_setup
from muniment.document import from_microseconds, rfc3339, to_microseconds
from muniment.errors import InvalidInput

MINUTE = 60_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def at(*time: int) -> int:
    return to_microseconds(datetime(*time, tzinfo=UTC))  # type: ignore[misc,arg-type]


NOW = at(2026, 3, 1, 12, 0)
HOURLY = Schedule(destination="b", incremental="0 * * * *", since=rfc3339(from_microseconds(NOW)))


def due(agenda: Agenda, now: int) -> list[tuple[str, str, str]]:
    return [(each.schedule, each.task, f"{from_microseconds(each.at):%m-%d %H:%M}") for each in agenda.due(now)]


def test_each_task_comes_at_its_time_and_once() -> None:
    agenda = Agenda()
    agenda.put("a", msgspec.structs.replace(HOURLY, full="30 12 * * *"), NOW)
    assert agenda.next() == NOW + 30 * MINUTE
    assert due(agenda, NOW + 29 * MINUTE) == []
    assert due(agenda, NOW + 30 * MINUTE) == [("a", "full", "03-01 12:30")]
    assert due(agenda, NOW + 30 * MINUTE) == []
    assert due(agenda, NOW + HOUR) == [("a", "incremental", "03-01 13:00")]
    assert agenda.times("a") == {"incremental": NOW + 2 * HOUR, "full": NOW + DAY + 30 * MINUTE}


def test_what_was_missed_is_made_up_for_once() -> None:
    agenda = Agenda()
    agenda.put("a", HOURLY, NOW + 5 * HOUR + MINUTE, {"incremental": NOW})
    assert due(agenda, NOW + 5 * HOUR + MINUTE) == [("a", "incremental", "03-01 17:00")]
    assert due(agenda, NOW + 6 * HOUR) == [("a", "incremental", "03-01 18:00")]


def test_of_a_schedule_that_does_not_say_since_when_the_last_time_counts() -> None:
    agenda = Agenda()
    agenda.put("a", msgspec.structs.replace(HOURLY, since=None), NOW + 5 * HOUR, {"incremental": NOW})
    assert due(agenda, NOW + 5 * HOUR) == [("a", "incremental", "03-01 17:00")]


def test_a_new_schedule_has_missed_nothing() -> None:
    agenda = Agenda()
    agenda.put("a", HOURLY, NOW, {"incremental": NOW - DAY})
    assert due(agenda, NOW + MINUTE) == []


def test_a_clock_that_is_set_back() -> None:
    agenda = Agenda()
    agenda.put("a", HOURLY, NOW)
    assert due(agenda, NOW + HOUR) == [("a", "incremental", "03-01 13:00")]
    back = NOW - 3 * DAY
    assert due(agenda, back) == []
    assert agenda.next() == back + HOUR
    assert due(agenda, back + HOUR) == [("a", "incremental", "02-26 13:00")]
    agenda.put("b", msgspec.structs.replace(HOURLY, since=None), back, {"incremental": NOW})  # after a restart
    assert agenda.times("b") == {"incremental": back + HOUR}


def test_a_clock_that_is_set_forward() -> None:
    agenda = Agenda()
    agenda.put("a", HOURLY, NOW)
    assert due(agenda, NOW + 400 * DAY) == [("a", "incremental", "04-05 12:00")]
    assert due(agenda, NOW + 400 * DAY + MINUTE) == []


def test_a_pause_is_not_made_up_for() -> None:
    agenda = Agenda()
    agenda.put("a", msgspec.structs.replace(HOURLY, paused=True), NOW)
    assert agenda.next() is None
    until = rfc3339(from_microseconds(NOW + 3 * HOUR + MINUTE))
    agenda.put("a", msgspec.structs.replace(HOURLY, paused_until=until), NOW)
    assert agenda.next() == NOW + 4 * HOUR


def test_a_schedule_that_is_changed_or_removed() -> None:
    agenda = Agenda()
    for number in range(500):
        agenda.put("a", msgspec.structs.replace(HOURLY, incremental=f"{number % 60} * * * *"), NOW)
    assert len(list(agenda.times("a"))) == 1
    assert len(agenda._heap) < 100
    agenda.remove("a")
    assert (agenda.next(), due(agenda, NOW + DAY)) == (None, [])


@pytest.mark.parametrize(
    ("expression", "begin", "times"),
    [  # Berlin skips 02:00 to 03:00 on 2026-03-29, and has it twice on 2026-10-25
        ("30 2 * * *", at(2026, 3, 28, 12), ["03-29 01:00", "03-30 00:30"]),
        ("30 2 * * *", at(2026, 10, 24, 12), ["10-25 00:30", "10-26 01:30"]),
        ("0 * * * *", at(2026, 3, 28, 23), ["03-29 00:00", "03-29 01:00", "03-29 02:00"]),
        ("*/30 * * * *", at(2026, 10, 25, 0), ["10-25 00:30", "10-25 01:00", "10-25 01:30"]),
    ],
)
def test_summer_time(expression: str, begin: int, times: list[str]) -> None:
    agenda, found = Agenda(), []
    schedule = Schedule(
        destination="b", full=expression, time_zone="Europe/Berlin", since=rfc3339(from_microseconds(begin))
    )
    agenda.put("a", schedule, begin)
    for step in range(1, 2 * 24 * 6):
        found += [time for _, _, time in due(agenda, begin + step * 10 * MINUTE)]
    assert found[: len(times)] == times


def test_of_many_databases_each_begins_a_little_later_and_always_the_same() -> None:
    schedule = msgspec.structs.replace(HOURLY, jitter="5m")
    delays = [schedule.delay("a", f"shop{number}") for number in range(200)]
    assert max(delays) < 5 * MINUTE
    assert len(set(delays)) > 190
    assert delays == [schedule.delay("a", f"SHOP{number}") for number in range(200)]
    assert msgspec.structs.replace(schedule, databases=("shop",)).delay("a", "shop") == 0


def test_where_backups_go() -> None:
    assert HOURLY.place("shop") == "b/shop"
    assert msgspec.structs.replace(HOURLY, databases=("a", "b"), destination="s3://x/y/").place("b") == "s3://x/y/b"
    assert msgspec.structs.replace(HOURLY, databases=("a",)).place("a") == "b"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"full": "* * *"}, "'* * *' says no time: wrong number of fields"),
        ({"full": "0 0 31 2 *"}, "says no time"),
        ({"full": "0 1 * * *", "time_zone": "Mars"}, "there is no time zone 'Mars'"),
        ({}, "without a time"),
        ({"full": "0 1 * * *", "destination": " "}, "without a destination"),
        ({"full": "0 1 * * *", "databases": ()}, "for no database"),
        ({"full": "0 1 * * *", "databases": ("*", "shop")}, "stands for all"),
        ({"full": "0 1 * * *", "jitter": "some"}, "jitter is 'some'"),
        ({"expire": "0 1 * * *"}, "nothing says which backups to keep"),
        ({"full": "0 1 * * *", "retention": Policy(keep_last=3)}, "not when to remove the others"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said.replace("*", r"\*")):
        Schedule(**{"destination": "b", **wrong}).check()


def test_an_expression_that_is_none_is_answered_with_one_and_its_next_five_times() -> None:
    with pytest.raises(InvalidInput) as refused:
        Cron("daily at one")
    assert refused.value.hint.count(":30") == 5


@pytest.mark.parametrize("name", ["", " ", "a/b", "x" * 101, "a\nb"])
def test_names(name: str) -> None:
    with pytest.raises(InvalidInput):
        check_name(name)


PERIODIC = {"Disabled": False, "IntervalMilliseconds": 6 * 3_600_000, "FullBackupIntervalMilliseconds": 7 * 86_400_000}


@pytest.mark.parametrize(
    ("document", "place", "times"),
    [
        ({"LocalFolderName": "/var/b", **PERIODIC}, "/var/b", ("0 1 * * 0", "0 */6 * * *")),
        ({"S3BucketName": "x", "S3RemoteFolderName": "a/b", **PERIODIC}, "s3://x/a/b", ("0 1 * * 0", "0 */6 * * *")),
        ({"AzureStorageContainer": "x", "IntervalMilliseconds": 420_000}, "az://x", (None, "*/6 * * * *")),
    ],
)
def test_ravendb_s_periodic_backup(document: dict[str, Any], place: str, times: tuple[str | None, str]) -> None:
    schedule = from_periodic_setup(document, "shop")
    schedule.check()
    assert (schedule.destination, schedule.databases) == (place, ("shop",))
    assert (schedule.full, schedule.incremental) == times


@pytest.mark.parametrize("document", [{}, {"GlacierVaultName": "x", **PERIODIC}, {"LocalFolderName": "/b"}], ids=str)
def test_a_periodic_backup_that_cannot_be_taken_over(document: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        from_periodic_setup(document, "shop")


def test_a_thousand_schedules_cost_nothing_while_nothing_is_due() -> None:
    agenda = Agenda()
    for number in range(1000):
        agenda.put(f"s{number}", msgspec.structs.replace(HOURLY, databases=(f"shop{number}",)), NOW)
    looked = 0

    class Counting(list[Any]):
        def __getitem__(self, index: Any) -> Any:
            nonlocal looked
            looked += 1
            return super().__getitem__(index)

    agenda._heap = Counting(agenda._heap)
    assert list(agenda.due(NOW + 59 * MINUTE)) == []
    assert looked == 1
