"""Limits: what texts say, which hours are open, and that jobs keep to them, in threads and in children."""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from muniment import BackupOperation, DocumentDatabase, Put
from muniment.backup.job import JobStatus
from muniment.errors import Cancelled, InvalidInput
from muniment.limits import NO_LIMITS, Limits
from muniment.progress import Progress
from tests.object_store import ObjectStore
from tests.sampled import some
from tests.waiting import PATIENCE, until


@pytest.mark.parametrize(
    ("text", "rate"),
    [("1", 1), ("500kB", 500_000), ("20 MB/s", 20_000_000), ("3g", 3 * 10**9), ("none", None), ("", None)],
)
def test_rates(text: str, rate: int | None) -> None:
    assert Limits(read_rate=7, write_rate=8).changed(read_rate=text) == Limits(read_rate=rate, write_rate=8)


@pytest.mark.parametrize("text", ["0", "-1", "fast", "1.5MB", "1TB", "MB", "1MB/h"])
def test_rates_that_make_no_sense(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"the write rate is .*, no rate"):
        NO_LIMITS.changed(write_rate=text)


@pytest.mark.parametrize("text", ["22", "22:00", "24:00-06:00", "22:60-06:00", "6:00-6:00", "22:00-06:00-07:00", "a-b"])
def test_hours_that_make_no_sense(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"the hours are .*, no hours of a day"):
        NO_LIMITS.changed(hours=text)


@pytest.mark.parametrize("niceness", [-1, 20])
def test_niceness_that_there_is_not(niceness: int) -> None:
    with pytest.raises(InvalidInput, match=f"there is no niceness {niceness}"):
        NO_LIMITS.changed(niceness=niceness)


def test_what_is_not_said_stays_and_texts_are_read_again() -> None:
    limits = NO_LIMITS.changed("20MB", "500kB", 7, "22:00-6:30")
    assert limits.texts() == {"read-rate": "20000000", "write-rate": "500000", "niceness": "7", "hours": "22:00-06:30"}
    again = NO_LIMITS.changed("20000000", "500000", 7, limits.texts()["hours"])
    assert again == limits == limits.changed()
    assert limits.changed(hours="none", read_rate="none") == Limits(write_rate=500_000, niceness=7)


@pytest.mark.parametrize(
    ("hours", "now", "opens"),
    [
        ("22:00-06:00", "23:59", None),
        ("22:00-06:00", "05:59", None),
        ("22:00-06:00", "06:00", "22:00"),
        ("22:00-06:00", "21:59", "22:00"),
        ("09:00-17:00", "09:00", None),
        ("09:00-17:00", "17:00", "+09:00"),
        ("09:00-17:00", "03:00", "09:00"),
    ],
)
def test_hours(hours: str, now: str, opens: str | None) -> None:
    day = datetime(2026, 11, 29, tzinfo=UTC)

    def at(text: str) -> datetime:
        hour, minute = map(int, text.removeprefix("+").split(":"))
        return day + timedelta(days=text.startswith("+"), hours=hour, minutes=minute)

    assert NO_LIMITS.changed(hours=hours).opens(at(now)) == (at(opens) if opens else None)


def closed() -> Limits:
    """Hours in which this test does not run."""
    now = datetime.now().astimezone()  # of the machine, as hours are
    hours = [(now + timedelta(hours=hour)).strftime("%H:%M") for hour in (2, 3)]
    return NO_LIMITS.changed(hours="-".join(hours))


def test_a_rate_is_kept_by_several_threads_together() -> None:
    progress = Progress(limits=Limits(read_rate=1_000_000))
    began = time.monotonic()

    def work() -> None:
        for _ in range(5):
            progress.advance(bytes=10_000)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert progress.bytes == 200_000
    assert time.monotonic() - began > 0.19


def _waits(job: Progress | JobStatus) -> bool:
    return job.stage.startswith("waiting until ")


def test_limits_are_changed_while_it_waits_and_it_can_be_cancelled() -> None:
    for way in ("changed", "cancelled"):
        for limits in (Limits(read_rate=1), closed()):
            progress = Progress(stage="writing", limits=limits)
            ended: list[str] = []

            def work(progress: Progress = progress, ended: list[str] = ended) -> None:
                try:
                    progress.advance(bytes=1000)
                    ended.append("changed")
                except Cancelled:
                    ended.append("cancelled")

            thread = threading.Thread(target=work)
            thread.start()
            if limits.hours:
                until(partial(_waits, progress))
            else:
                time.sleep(0.05)
            assert ended == []
            if way == "changed":
                progress.limits = NO_LIMITS
            else:
                progress.cancel()
            thread.join(PATIENCE)
            assert ended == [way]
            assert progress.stage == "writing"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("limits") / "shop"
    with DocumentDatabase(place) as shop:
        for first in range(0, 40_000, 4000):
            shop.batch([Put(f"items/{n}", {"n": n, "text": os.urandom(30).hex()}) for n in range(first, first + 4000)])
        shop.put_attachment("photo", os.urandom(2_000_000))
    return place


def assert_slow(backup: BackupOperation) -> None:
    """It does not end in two seconds, and has by then done no more than 300 kB a second allow."""
    began = time.monotonic()
    assert not backup.join(2)
    done = backup.status.bytes
    assert done < 3_900_000 + 300_000 * (time.monotonic() - began)


@some(2)
@pytest.mark.parametrize("in_child", [False, True])
@pytest.mark.parametrize("limit", ["read_rate", "write_rate"])
def test_a_backup_keeps_a_rate_that_is_changed_while_it_runs(
    shop: Path, tmp_path: Path, in_child: bool, limit: str
) -> None:
    with DocumentDatabase(shop) as database:
        slow = NO_LIMITS.changed(**{limit: "300kB"})  # type: ignore[arg-type]
        backup = database.maintenance.start_backup(tmp_path / "b", in_child=in_child, limits=slow)
        assert_slow(backup)
        backup.limits = NO_LIMITS
        taken = backup.wait(PATIENCE)
        assert taken.manifest.through == database.last_etag


def test_an_upload_to_an_object_store_keeps_a_rate(shop: Path, object_store: ObjectStore) -> None:
    with DocumentDatabase(shop) as database:
        slow = NO_LIMITS.changed(write_rate="300kB")
        backup = database.maintenance.start_backup(object_store.place(), in_child=True, limits=slow)
        assert_slow(backup)
        backup.limits = NO_LIMITS
        assert backup.wait(PATIENCE).manifest.through == database.last_etag


def test_a_backup_waits_for_its_hours_and_reads_nothing_before(shop: Path, tmp_path: Path) -> None:
    with DocumentDatabase(shop) as database:
        backup = database.maintenance.start_backup(tmp_path / "b", limits=closed())
        until(lambda: _waits(backup.status))
        assert not backup.join(0.2)
        assert not (tmp_path / "b").exists()
        backup.limits = NO_LIMITS
        assert backup.wait(PATIENCE).manifest.through == database.last_etag


@pytest.mark.usefixtures("real_workers")
def test_niceness_is_changed_in_the_child_and_refused_without_one(shop: Path, tmp_path: Path) -> None:
    with DocumentDatabase(shop) as database:
        with pytest.raises(InvalidInput, match="niceness is that of a child process"):
            database.maintenance.start_backup(tmp_path / "b", limits=Limits(niceness=3))
        slow = Limits(read_rate=100_000, niceness=6)
        backup = database.maintenance.start_backup(tmp_path / "b", in_child=True, limits=slow)
        until(lambda: 6 in priorities())
        backup.limits = Limits(read_rate=100_000, niceness=12)
        until(lambda: 12 in priorities())
        backup.cancel()
        with pytest.raises(Cancelled):
            backup.wait(PATIENCE)


def priorities() -> set[int]:
    """The niceness of the children of this process."""
    found = set()
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            try:
                fields = (each / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == os.getpid():
                found.add(int(fields[16]))
    return found
