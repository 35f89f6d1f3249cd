"""A backup that runs in a thread of its own: one at a time, watched, cancelled, failing, and closed under its feet."""

from __future__ import annotations

import os
import random
import re
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from muniment import BackupStatus, DocumentDatabase, MaintenanceActions, Progress, Put, rehearse
from muniment.backup import job
from muniment.backup.records import records
from muniment.backup.repository import backups
from muniment.backup.take import take_backup
from muniment.document import encode
from muniment.errors import (
    BackupRunning,
    Cancelled,
    DamagedBackup,
    DamagedDatabase,
    DatabaseClosed,
    DatabaseLocked,
    DatabaseNotFound,
    InvalidInput,
    StorageFailure,
    TargetExists,
    WrongKey,
)
from muniment.limits import NO_LIMITS
from muniment.revision import DOCUMENT, Batch
from muniment.security.encryption import new_key
from muniment.storage.base import BackupPlace
from muniment.storage.sqlite.store import SqliteStorage
from tests.backup.state import opened, state_of
from tests.clock import SECOND, START, Clock
from tests.once import copy_of_once
from tests.sampled import count, some, torture
from tests.waiting import PATIENCE, until


class Pausing(Clock):
    """A clock that makes a backup stand still: at its first reading, before it begins, or at its last, the third."""

    def __init__(self, reading: int) -> None:
        super().__init__()
        self.reading = reading
        self.reached = threading.Event()
        self.go_on = threading.Event()

    def __call__(self) -> int:
        if threading.current_thread().name == "muniment backup":
            self.reading -= 1
            if self.reading == 0:
                self.reached.set()
                assert self.go_on.wait(PATIENCE)
        return super().__call__()


STANDING = NO_LIMITS.changed(read_rate="1kB")  # a job with these stands still until they are changed


def fill(database: DocumentDatabase, count: int = 25_000) -> DocumentDatabase:
    for start in range(0, count, 5_000):
        database.batch([Put(f"orders/{n}", b'{"n":%d,"t":"0123456789"}' % n) for n in range(start, start + 5_000)])
    for number in range(8):
        database.put_attachment(f"photos/{number}", bytes([number]) * 1_500_000)
    return database


def _make_filled(folder: Path) -> None:
    with DocumentDatabase(folder / "shop", clock=Clock(step=SECOND)) as database:
        fill(database)


@pytest.fixture
def database(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Iterator[DocumentDatabase]:
    copy_of_once(tmp_path_factory, "filled-for-maintenance", _make_filled, tmp_path)
    with DocumentDatabase(tmp_path / "shop", create=False, clock=Clock(START + 100 * SECOND, SECOND)) as database:
        yield database
    with opened(tmp_path / "shop"):
        pass


@pytest.fixture(params=[1, 3], ids=["at its beginning", "at its end"])
def paused(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[DocumentDatabase, Pausing]]:
    """A small database whose backup stands still until the clock is told to go on."""
    clock = Pausing(request.param)
    with DocumentDatabase(tmp_path / "shop", clock=clock) as database:
        database.put("orders/1", {"n": 1})
        yield database, clock
        clock.go_on.set()
    with opened(tmp_path / "shop"):
        pass


def test_one_backup_at_a_time(paused: tuple[DocumentDatabase, Pausing], tmp_path: Path) -> None:
    database, clock = paused
    first = database.maintenance.start_backup(tmp_path / "first")
    assert clock.reached.wait(PATIENCE)
    for _ in range(2):
        with pytest.raises(BackupRunning) as caught:
            database.maintenance.start_backup(tmp_path / "second")
        assert caught.value.hint
    assert not (tmp_path / "second").exists()
    assert {first.status.state} == {"running"}
    clock.go_on.set()
    assert first.wait(PATIENCE) == backups(tmp_path / "first")[0]
    assert not first.running
    assert first.status.state == "completed"
    database.maintenance.start_backup(tmp_path / "second").wait(PATIENCE)


def test_waiting_has_a_limit(paused: tuple[DocumentDatabase, Pausing], tmp_path: Path) -> None:
    database, clock = paused
    operation = database.maintenance.start_backup(tmp_path / "backups")
    with pytest.raises(TimeoutError):
        operation.wait(0.05)
    with pytest.raises(TimeoutError):
        operation.wait(0)
    assert operation.running  # waiting in vain does not end it
    clock.go_on.set()
    assert operation.wait(PATIENCE).manifest.counts.documents == 1
    assert operation.wait() == operation.wait(0)


def test_two_databases_are_backed_up_at_once(paused: tuple[DocumentDatabase, Pausing], tmp_path: Path) -> None:
    database, clock = paused
    first = database.maintenance.start_backup(tmp_path / "first")
    assert clock.reached.wait(PATIENCE)
    with DocumentDatabase(tmp_path / "other", clock=Clock(step=SECOND)) as other:
        other.maintenance.start_backup(tmp_path / "second").wait(PATIENCE)
    assert first.running


def test_writing_goes_on_while_it_stands_still(paused: tuple[DocumentDatabase, Pausing], tmp_path: Path) -> None:
    database, clock = paused
    operation = database.maintenance.start_backup(tmp_path / "backups")
    assert clock.reached.wait(PATIENCE)
    database.put("orders/2", {"n": 2})
    assert database.get("orders/2") is not None
    clock.go_on.set()
    operation.wait(PATIENCE)


def test_its_status_only_ever_moves_on(
    database: DocumentDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[BackupStatus] = []

    class Watched(Progress):
        """Stays in each stage until that was seen."""

        def check(self) -> None:
            super().check()
            until(lambda: any(status.stage == self.stage for status in seen))

    monkeypatch.setattr(job, "Progress", Watched)
    operation = database.maintenance.start_backup(tmp_path / "backups")
    while operation.running:
        seen.append(operation.status)
        sleep(0.002)
    seen.append(operation.status)
    for before, after in pairwise(seen):
        assert before.documents <= after.documents
        assert before.attachments <= after.attachments
        assert before.bytes <= after.bytes
        assert before.seconds <= after.seconds
        assert before.total_documents in (None, after.total_documents)
        assert before.total_bytes in (None, after.total_bytes)
    stages = list(dict.fromkeys(status.stage for status in seen))
    order = ["", "planning", "writing documents", "writing attachments", "publishing"]
    assert [stage for stage in stages if stage in order] == [stage for stage in order if stage in stages]
    assert {"writing documents", "writing attachments"} <= set(stages)
    assert {status.state for status in seen[:-1]} <= {"running", "completed"}
    last = seen[-1]
    assert last.state == "completed"
    assert (last.documents, last.attachments) == (last.total_documents, 8) == (25_000, 8)
    assert last.bytes == last.total_bytes == database.statistics().bytes
    assert (last.error, last.hint) == (None, None)
    assert last.seconds > 0


def test_the_clock_stops_at_the_end(database: DocumentDatabase, tmp_path: Path) -> None:
    operation = database.maintenance.start_backup(tmp_path / "backups")
    operation.wait(PATIENCE)
    seconds = operation.status.seconds
    sleep(0.01)
    assert operation.status.seconds == seconds


@some(1)
@pytest.mark.parametrize("action", ["verify", "restore"])
def test_the_progress_of_reading_ends_at_its_totals(database: DocumentDatabase, tmp_path: Path, action: str) -> None:
    class Watched(Progress):
        def advance(self, *, documents: int = 0, attachments: int = 0, bytes: int = 0, written: int = 0) -> None:
            before = (self.documents, self.attachments, self.bytes)
            super().advance(documents=documents, attachments=attachments, bytes=bytes)
            assert before <= (self.documents, self.attachments, self.bytes)
            assert self.total_documents is not None
            assert self.total_bytes is not None
            assert self.documents <= self.total_documents
            assert self.bytes <= self.total_bytes
            stages.append(self.stage)

    database.maintenance.start_backup(tmp_path / "backups").wait(PATIENCE)
    progress, stages = Watched(), list[str]()
    if action == "verify":
        MaintenanceActions.verify(tmp_path / "backups", progress=progress)
    else:
        MaintenanceActions.restore(tmp_path / "backups", tmp_path / "restored", progress=progress)
    assert (progress.documents, progress.attachments) == (25_000, 8)
    assert progress.documents == progress.total_documents
    assert progress.bytes == progress.total_bytes == database.statistics().bytes
    reading = ["verifying"] if action == "verify" else ["reading documents", "reading attachments"]
    assert list(dict.fromkeys(stages)) == reading
    assert progress.finished is not None


@torture
def test_cancelled_at_any_moment_it_leaves_nothing(database: DocumentDatabase, tmp_path: Path) -> None:
    begun = monotonic()
    database.maintenance.start_backup(tmp_path / "whole").wait(PATIENCE)
    whole = monotonic() - begun
    chance = random.Random(3)
    states = []
    for number in range(count(8, whole=40)):
        place = tmp_path / "places" / str(number) / "deep"
        limits = NO_LIMITS if number % 4 else STANDING  # of which one in four at least is not complete
        operation = database.maintenance.start_backup(place, limits=limits)
        sleep(whole * chance.random() * 1.1)
        operation.cancel()
        with suppress(Cancelled):
            operation.wait(PATIENCE)
        states.append(operation.status.state)
        if states[-1] == "completed":
            assert backups(place) == [operation.wait(0)]
            continue
        assert states[-1] == "cancelled"
        with pytest.raises(Cancelled) as caught:
            operation.wait(0)
        assert operation.status.error == str(caught.value)
        assert operation.status.hint == caught.value.hint
        assert not (tmp_path / "places" / str(number)).exists()
    assert states.count("cancelled") >= count(2, whole=10)
    database.maintenance.start_backup(tmp_path / "after").wait(PATIENCE)
    assert MaintenanceActions.verify(tmp_path / "after").fingerprint == database.snapshot().fingerprint


@some(1)
@pytest.mark.parametrize("action", ["verify", "restore"])
def test_reading_can_be_cancelled_at_any_moment(database: DocumentDatabase, tmp_path: Path, action: str) -> None:
    database.maintenance.start_backup(tmp_path / "backups").wait(PATIENCE)
    chance = random.Random(4)
    for _ in range(6):
        progress = Progress()
        timer = threading.Timer(chance.random() * 0.15, progress.cancel)
        timer.start()
        try:
            if action == "verify":
                MaintenanceActions.verify(tmp_path / "backups", progress=progress)
            else:
                MaintenanceActions.restore(tmp_path / "backups", tmp_path / "a" / "restored", progress=progress)
        except Cancelled:
            assert not (tmp_path / "a").exists()
        else:
            break
        finally:
            timer.cancel()
            timer.join()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "a") == ["backups", "shop"]


def test_closing_the_database_ends_its_backup(database: DocumentDatabase, tmp_path: Path) -> None:
    chance = random.Random(5)
    states = set()
    for number in range(8):
        with DocumentDatabase(database.path, clock=Clock(step=SECOND)) if number else database as opened_again:
            limits = NO_LIMITS if number else STANDING  # of which one at least is not complete
            operation = opened_again.maintenance.start_backup(tmp_path / str(number), limits=limits)
            sleep(chance.random() * 0.1)
            opened_again.close()
            assert not operation.running
        states.add(operation.status.state)
        if operation.status.state == "completed":
            assert backups(tmp_path / str(number)) == [operation.wait(0)]
        else:
            with pytest.raises(Cancelled):
                operation.wait(0)
            assert not (tmp_path / str(number)).exists()
    assert "cancelled" in states


def test_closing_while_it_stands_still(paused: tuple[DocumentDatabase, Pausing], tmp_path: Path) -> None:
    database, clock = paused
    operation = database.maintenance.start_backup(tmp_path / "backups")
    assert clock.reached.wait(PATIENCE)
    closing = threading.Thread(target=database.close)
    closing.start()
    closing.join(0.05)
    assert closing.is_alive()  # it waits until the backup has cleaned up
    clock.go_on.set()
    closing.join(PATIENCE)
    assert not closing.is_alive()
    assert not operation.running
    assert operation.status.state in {"cancelled", "completed"}
    assert (tmp_path / "backups").exists() == (operation.status.state == "completed")


def test_a_closed_database_takes_no_backup(database: DocumentDatabase, tmp_path: Path) -> None:
    database.close()
    with pytest.raises(DatabaseClosed):
        database.maintenance.start_backup(tmp_path / "backups").wait(PATIENCE)
    assert not (tmp_path / "backups").exists()


def test_a_backup_of_a_database_opened_for_reading_is_remembered(database: DocumentDatabase, tmp_path: Path) -> None:
    with DocumentDatabase(database.path, read_only=True) as reader:
        taken = reader.maintenance.start_backup(tmp_path / "backups").wait(PATIENCE)
    facts = database.storage.backup_facts()
    assert facts.known == {taken.sha256}
    assert [place.folder for place in facts.places] == [str(tmp_path / "backups")]


def test_an_error_comes_to_whoever_waits(database: DocumentDatabase, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    operation = database.maintenance.start_backup(tmp_path / "file")
    with pytest.raises(StorageFailure, match="is a file") as caught:
        operation.wait(PATIENCE)
    with pytest.raises(StorageFailure, match="is a file"):
        operation.wait(PATIENCE)
    status = operation.status
    assert status.state == "faulted"
    assert status.error == str(caught.value)
    assert status.hint == caught.value.hint
    assert not operation.running


class Stumbling(SqliteStorage):
    """A storage that raises after the first batch of documents."""

    error: Callable[[], BaseException]

    def changes(self, *arguments: Any, **options: Any) -> Iterator[Batch]:
        batches = super().changes(*arguments, **options)
        yield next(batches)
        raise self.error()


@some(2)
@pytest.mark.parametrize(
    ("error", "expected", "state"),
    [
        pytest.param(lambda: DamagedDatabase("a page is damaged", "restore"), DamagedDatabase, "faulted", id="ours"),
        pytest.param(lambda: ValueError("unforeseen"), StorageFailure, "faulted", id="a bug"),
        pytest.param(lambda: OSError(5, "Input/output error"), StorageFailure, "faulted", id="the disk"),
        pytest.param(lambda: MemoryError(), StorageFailure, "faulted", id="no memory"),
    ],
)
def test_an_error_in_the_middle_leaves_nothing(
    database: DocumentDatabase,
    tmp_path: Path,
    error: Callable[[], BaseException],
    expected: type[Exception],
    state: str,
) -> None:
    folder = database.path
    database.close()
    storage = Stumbling(folder, clock=Clock(step=SECOND))
    storage.error = error
    try:
        operation = MaintenanceActions(storage, "shop", Clock(step=SECOND)).start_backup(tmp_path / "new" / "backups")
        with pytest.raises(expected) as caught:
            operation.wait(PATIENCE)
    finally:
        storage.close()
    assert operation.status.state == state
    assert operation.status.error == str(caught.value)
    assert operation.status.hint
    if expected is not DamagedDatabase:
        assert caught.value.__cause__ is not None  # what really happened is not lost
    assert not (tmp_path / "new").exists()


def test_a_backup_that_is_complete_is_not_called_failed(tmp_path: Path) -> None:
    """When only the note that what it holds may be purged cannot be made, there is a backup all the same."""

    class Full(SqliteStorage):
        def backed_up(self, through: int) -> None:
            raise StorageFailure("the disk of the database is full", "make room")

    with DocumentDatabase(tmp_path / "shop", clock=Clock(step=SECOND)) as database:
        fill(database, 5_000)
    storage = Full(tmp_path / "shop", clock=Clock(step=SECOND))
    try:
        operation = MaintenanceActions(storage, "shop", Clock(step=SECOND)).start_backup(tmp_path / "backups")
        assert [operation.wait(PATIENCE)] == backups(tmp_path / "backups")
        assert operation.status.state == "completed"
    finally:
        storage.close()


def test_a_log_that_lost_rows_is_not_backed_up(tmp_path: Path) -> None:
    """A backup counts what it writes: a database that does not agree with its own fingerprint gives none."""

    class Forgetful(SqliteStorage):
        def changes(self, *arguments: Any, **options: Any) -> Iterator[Batch]:
            yield from list(super().changes(*arguments, **options))[:-1]

    with DocumentDatabase(tmp_path / "shop", clock=Clock(step=SECOND)) as database:
        fill(database, 10_000)
    storage = Forgetful(tmp_path / "shop", clock=Clock(step=SECOND))
    try:
        with pytest.raises(DamagedDatabase, match=r"documents: \d+ where 10000 are expected"):
            MaintenanceActions(storage, "shop", Clock(step=SECOND)).start_backup(tmp_path / "backups").wait(PATIENCE)
    finally:
        storage.close()
    assert not (tmp_path / "backups").exists()


def test_restore_and_verify_need_no_database(database: DocumentDatabase, tmp_path: Path) -> None:
    expected = state_of(database)
    backup = database.maintenance.start_backup(tmp_path / "backups").wait(PATIENCE)
    verified = MaintenanceActions.verify(str(tmp_path / "backups"))
    restored = MaintenanceActions.restore(str(backup.folder), str(tmp_path / "restored"))
    assert verified.fingerprint == restored.fingerprint
    assert restored.folder == tmp_path / "restored"
    assert restored.seconds > 0 < verified.seconds
    with opened(tmp_path / "restored") as copy:
        assert state_of(copy) == expected
    (backup.folder / "documents-00001.parquet").unlink()
    with pytest.raises(DamagedBackup, match=r"documents-00001\.parquet is missing"):
        database.maintenance.verify(backup.folder)


def test_a_plan_stands_for_its_folder(tmp_path: Path) -> None:
    with DocumentDatabase(tmp_path / "shop") as shop:
        for number in range(2):
            shop.put(f"orders/{number}", {"n": number})
            shop.maintenance.start_backup(tmp_path / "backups", incremental=True).wait()
    first, last = backups(tmp_path / "backups")
    plan = MaintenanceActions.plan_restore(tmp_path / "backups", backup=first.name)
    assert MaintenanceActions.plan_restore(plan) is plan
    assert MaintenanceActions.restore(plan, tmp_path / "restored").backup == first
    assert MaintenanceActions.verify(plan).backups == (first,)
    assert rehearse(plan).restored.backup == first
    assert len(records(tmp_path / "backups")) == 2
    assert MaintenanceActions.restore(tmp_path / "backups", tmp_path / "newest").backup == last
    for named in (MaintenanceActions.plan_restore, MaintenanceActions.verify, rehearse):
        with pytest.raises(InvalidInput, match="a moment already"):
            named(plan, etag=1)


def processes() -> set[int]:
    """Those that this one has started, and that have not ended."""
    found = set()
    for each in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            state, parent = (each / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(parent) == os.getpid() and state != "Z":
                found.add(int(each.name))
    return found


def child_of(before: set[int]) -> int:
    """The process that has been started since."""
    return min(until(lambda: processes() - before))


@pytest.mark.usefixtures("real_workers")
def test_a_child_takes_the_same_backup(database: DocumentDatabase, tmp_path: Path) -> None:
    before = processes()
    operation = database.maintenance.start_backup(tmp_path / "child", in_child=True, niceness=0, limits=STANDING)
    child_of(before)
    with pytest.raises(BackupRunning):
        database.maintenance.start_backup(tmp_path / "other")
    until(lambda: any("will hold the state" in message.text for message in operation.messages))
    database.put("meanwhile", {"n": 1})
    operation.limits = NO_LIMITS
    taken = operation.wait(PATIENCE)
    status = operation.status
    assert (status.state, status.documents, status.attachments) == ("completed", 25_000, 8)
    assert status.documents == status.total_documents
    database.delete("meanwhile")
    assert database.snapshot().fingerprint == taken.manifest.fingerprint_at_snapshot()
    assert MaintenanceActions.verify(tmp_path / "child").fingerprint == database.snapshot().fingerprint
    assert [place.folder for place in database.storage.backup_facts().places] == [str(tmp_path / "child")]
    following = database.maintenance.start_backup(tmp_path / "child", incremental=True, in_child=True).wait(PATIENCE)
    assert following.manifest.parent is not None
    assert following.manifest.parent.sha256 == taken.sha256
    assert processes() <= before


def test_both_say_the_same(database: DocumentDatabase, tmp_path: Path) -> None:
    told = []
    for in_child in (False, True):
        operation = database.maintenance.start_backup(tmp_path / "backups" / str(in_child), in_child=in_child)
        operation.wait(PATIENCE)
        told.append([re.sub(r"\d+\.\d+ s|[\d.,]+ MB(/s)?|/\S+|at \S+", "…", each.text) for each in operation.messages])
    assert told[0] == told[1]
    assert [text.split()[0] for text in told[0]] == ["Started", "The", "Backup"]


@pytest.mark.usefixtures("real_workers")
def test_a_child_that_is_killed_leaves_a_database_that_can_be_backed_up(
    database: DocumentDatabase, tmp_path: Path
) -> None:
    before = processes()
    operation = database.maintenance.start_backup(tmp_path / "backups", in_child=True, niceness=0, limits=STANDING)
    os.kill(child_of(before), signal.SIGKILL)
    with pytest.raises(StorageFailure, match="-9"):
        operation.wait(PATIENCE)
    assert operation.status.state == "faulted"
    assert not backups(tmp_path / "backups") if (tmp_path / "backups").exists() else True
    database.put("later", {"n": 1})
    database.maintenance.start_backup(tmp_path / "backups", in_child=True).wait(PATIENCE)
    assert MaintenanceActions.verify(tmp_path / "backups").fingerprint == database.snapshot().fingerprint
    assert processes() <= before


def test_what_is_cancelled_once_the_backup_exists_comes_too_late(database: DocumentDatabase, tmp_path: Path) -> None:
    class Left:
        """The storage as a child has it, whose parent was there until the backup was."""

        def __getattr__(self, name: str) -> Any:
            return getattr(database.storage, name)

        def remember_backup(self, sha256: str, place: BackupPlace | None, end: tuple[int, int]) -> None:
            if place is not None:
                raise Cancelled("cancelled", "")
            database.storage.remember_backup(sha256, place, end)

    storage: Any = Left()
    document = encode(database.settings)
    taken = take_backup(storage, tmp_path / "b", name="shop", database_document=document, clock=database.clock)
    assert [backup.name for backup in backups(tmp_path / "b")] == [taken.name]


@pytest.mark.usefixtures("real_workers")
def test_a_child_can_be_cancelled_and_ends_with_the_database(database: DocumentDatabase, tmp_path: Path) -> None:
    before, chance = processes(), random.Random(7)
    for number in range(4):
        operation = database.maintenance.start_backup(tmp_path / str(number), in_child=True, niceness=0)
        child_of(before)
        sleep(chance.random() * 0.3)
        if number < 3:
            operation.cancel()
        else:
            database.close()
            assert not operation.running
        with suppress(Cancelled):
            operation.wait(PATIENCE)
        assert operation.status.state in {"cancelled", "completed"}
        assert (tmp_path / str(number)).exists() == (operation.status.state == "completed")
        assert processes() <= before


@pytest.mark.usefixtures("real_workers")
@some(2)
@pytest.mark.parametrize("in_child", [False, True])
@pytest.mark.parametrize("encrypted", [False, True])
def test_a_closed_database_is_compacted(tmp_path: Path, in_child: bool, encrypted: bool) -> None:
    key, progress, before = new_key() if encrypted else None, Progress(), processes()
    with DocumentDatabase(tmp_path / "shop", key=key) as database:
        fill(database, 5_000)
        for number in range(8):
            database.delete_attachment(f"photos/{number}")
        database.storage.purge()
        held = database.snapshot().fingerprint
    size = (tmp_path / "shop" / "muniment.db").stat().st_size
    if encrypted:
        with pytest.raises(WrongKey):
            MaintenanceActions.compact(tmp_path / "shop", key=new_key(), in_child=in_child)
    told = MaintenanceActions.compact(str(tmp_path / "shop"), key=key, in_child=in_child, progress=progress)
    assert told == (size, (tmp_path / "shop" / "muniment.db").stat().st_size)
    assert told[1] < size - 8 * 1_000_000
    assert progress.stage
    assert processes() <= before
    with DocumentDatabase(tmp_path / "shop", create=False, key=key) as database:
        assert database.snapshot().fingerprint == held


@pytest.mark.parametrize("in_child", [False, True])
def test_what_is_open_or_missing_or_cancelled_is_not_compacted(tmp_path: Path, in_child: bool) -> None:
    with DocumentDatabase(tmp_path / "shop") as database:
        database.put("orders/1", {"n": 1})
        with pytest.raises(DatabaseLocked, match="open") as caught:
            MaintenanceActions.compact(tmp_path / "shop", in_child=in_child)
        assert "close it" in caught.value.hint
        database.put("orders/2", {"n": 2})
    cancelled = Progress()
    cancelled.cancel()
    content = (tmp_path / "shop" / "muniment.db").read_bytes()
    with pytest.raises(Cancelled):
        MaintenanceActions.compact(tmp_path / "shop", in_child=in_child, progress=cancelled)
    assert (tmp_path / "shop" / "muniment.db").read_bytes() == content
    with pytest.raises(DatabaseNotFound):
        MaintenanceActions.compact(tmp_path / "none", in_child=in_child)


@pytest.mark.usefixtures("real_workers")
def test_a_child_compacts_with_the_priority_that_was_asked_for(tmp_path: Path) -> None:
    with DocumentDatabase(tmp_path / "shop") as database:
        fill(database)
    before, seen = processes(), threading.Event()

    class Held(Progress):
        """Nobody waits for the child before it was seen: so it is there, though it may have ended."""

        def check(self) -> None:
            super().check()
            assert not processes() - before or seen.wait(PATIENCE)

    ours = os.getpriority(os.PRIO_PROCESS, 0)
    with ThreadPoolExecutor(1) as pool:
        compacting = pool.submit(
            MaintenanceActions.compact, tmp_path / "shop", in_child=True, niceness=7, progress=Held()
        )
        child = child_of(before)
        until(lambda: os.getpriority(os.PRIO_PROCESS, child) == min(ours + 7, 19))
        seen.set()
        compacting.result(PATIENCE)
    assert os.getpriority(os.PRIO_PROCESS, 0) == ours


def test_a_priority_that_nothing_would_have_is_refused(database: DocumentDatabase, tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    for refused in (-1, 20):
        with pytest.raises(InvalidInput, match=f"no niceness {refused}"):
            database.maintenance.start_backup(tmp_path / "b", in_child=True, niceness=refused)
        with pytest.raises(InvalidInput, match=f"no niceness {refused}"):
            MaintenanceActions.compact(folder, in_child=True, niceness=refused)
    with pytest.raises(InvalidInput, match="child process"):
        database.maintenance.start_backup(tmp_path / "b", niceness=3)
    with pytest.raises(InvalidInput, match="child process"):
        MaintenanceActions.compact(folder, niceness=3)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("in_child", [False, True])
def test_a_key_is_given_changed_and_taken_away(tmp_path: Path, in_child: bool) -> None:
    folder, rotate = tmp_path / "shop", partial(MaintenanceActions.rotate_key, in_child=in_child)
    with DocumentDatabase(folder) as database:
        database.put("a/1", {"n": 1})
        fingerprint = database.statistics().fingerprint
    keys = [None, new_key(), new_key(), None]
    for key, other in pairwise(keys):
        rotate(folder, key=key, new_key=other)
        if other != key:
            with pytest.raises(WrongKey):
                DocumentDatabase(folder, create=False, key=key)
        with DocumentDatabase(folder, create=False, key=other) as database:
            assert database.statistics().fingerprint == fingerprint
            assert database.check() == []
    with pytest.raises(InvalidInput, match="niceness"):
        MaintenanceActions.rotate_key(folder, key=None, new_key=None, niceness=5)


@pytest.mark.usefixtures("real_workers")
@some(1)
@pytest.mark.parametrize("encrypted", [False, True])
def test_a_child_restores_what_this_process_would(tmp_path: Path, encrypted: bool) -> None:
    key, progress, before = new_key() if encrypted else None, Progress(), processes()
    with DocumentDatabase(tmp_path / "shop") as database:
        fill(database)
        database.maintenance.start_backup(tmp_path / "backups").wait(PATIENCE)
    here = MaintenanceActions.restore(tmp_path / "backups", tmp_path / "here", key=key)
    there = MaintenanceActions.restore(
        tmp_path / "backups", tmp_path / "there", key=key, in_child=True, niceness=0, progress=progress
    )
    assert (there.fingerprint, there.moment, there.backup) == (here.fingerprint, here.moment, here.backup)
    assert progress.counts.documents == here.fingerprint.count(DOCUMENT)
    assert processes() <= before
    with DocumentDatabase(tmp_path / "there", create=False, key=key) as database:
        assert database.check() == []
    with pytest.raises(InvalidInput, match="niceness"):
        MaintenanceActions.restore(tmp_path / "backups", tmp_path / "none", niceness=3)
    with pytest.raises(TargetExists):
        MaintenanceActions.restore(tmp_path / "backups", tmp_path / "there", in_child=True)
    cancelled = Progress()
    cancelled.cancel()
    with pytest.raises(Cancelled):
        MaintenanceActions.restore(tmp_path / "backups", tmp_path / "none", in_child=True, progress=cancelled)
    assert not (tmp_path / "none").exists()
