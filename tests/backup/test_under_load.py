"""A backup holds exactly the state at its start, whatever is written while it runs, and nobody waits for it."""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic, sleep
from types import FrameType
from typing import Any, TypeAlias

import apsw
import pytest

from muniment import Delete, DocumentDatabase, MaintenanceActions, Put
from muniment.backup import documents
from muniment.backup.repository import Backup
from muniment.document import fold
from muniment.errors import Cancelled
from muniment.limits import NO_LIMITS
from muniment.progress import Progress
from muniment.revision import ATTACHMENT, DOCUMENT
from tests.backup.gate import Gate, take
from tests.backup.state import State, live, opened, state_of
from tests.sampled import some

TraceFunction: TypeAlias = Callable[[FrameType, str, Any], Any]
DOCUMENTS = 17_000  # in three batches, of 8192
STANDING = NO_LIMITS.changed(read_rate="1kB")  # until the limits are changed
PATIENCE = 30.0  # seconds until a writer counts as blocked


class Journal:
    """Every write that was acknowledged, by etag: the model that a restored database is compared with."""

    def __init__(self, database: DocumentDatabase) -> None:
        self.database = database
        self.writes: dict[int, tuple[tuple[int, str], bytes | None]] = {}
        for key, item in state_of(database).items():
            self.writes[item.etag] = (key, item.content)
        self.count = 0
        self.last = 0
        self._lock = threading.Lock()

    def _acknowledged(self, kind: int, id: str, etag: int, content: bytes | None) -> None:
        if etag:
            with self._lock:
                self.writes[etag] = ((kind, fold(id)), content)
                self.last = max(self.last, etag)
        self.count += 1

    def put(self, id: str, body: bytes) -> None:
        self._acknowledged(DOCUMENT, id, self.database.put(id, body).etag, body)

    def delete(self, id: str) -> None:
        self._acknowledged(DOCUMENT, id, self.database.batch([Delete(id)])[0].etag, None)

    def batch(self, puts: list[Put]) -> None:
        for put, written in zip(puts, self.database.batch(puts), strict=True):
            self._acknowledged(DOCUMENT, put.id, written.etag, put.body)

    def attach(self, key: str, content: bytes) -> None:
        self._acknowledged(ATTACHMENT, key, self.database.put_attachment(key, content).etag, content)

    def at(self, etag: int) -> dict[tuple[int, str], tuple[int, bytes]]:
        """What was there after this etag: for each id its last write up to then, unless that deleted it."""
        newest: dict[tuple[int, str], tuple[int, bytes | None]] = {}
        for written, (key, content) in sorted(self.writes.items()):
            if written <= etag:
                newest[key] = (written, content)
        return {key: (written, content) for key, (written, content) in newest.items() if content is not None}


def contents(state: State) -> dict[tuple[int, str], tuple[int, bytes]]:
    return {key: (item.etag, item.content or b"") for key, item in live(state).items()}


def assert_holds(backup: Backup, journal: Journal, target: Path) -> None:
    """The backup verifies, and what it restores to is the journal up to its etag: each id, etag and byte."""
    MaintenanceActions.verify(backup.folder)
    MaintenanceActions.restore(backup.folder, target)
    with opened(target) as restored:
        assert contents(state_of(restored)) == journal.at(backup.manifest.snapshot.etag)


def write_at_random(journal: Journal, seed: int, begun: threading.Barrier, stop: threading.Event) -> int:
    """Put, replace, delete and attach until told to stop."""
    chance = random.Random(seed)
    done = 0
    while not stop.is_set():
        if done == 1:
            begun.wait(PATIENCE)
        number = chance.randrange(15_000)
        done += 1
        match chance.randrange(10):
            case 0 | 1:
                journal.delete(f"orders/{number}")
            case 2:
                journal.attach(f"photos/{number % 12}/{seed}", chance.randbytes(chance.choice([0, 10, 100_000])))
            case 3:
                journal.batch([Put(f"orders/{number + n}", b'{"by":%d,"n":%d}' % (seed, done)) for n in range(40)])
            case 4:
                journal.put(f"new/{seed}/{done}", b'{"new":%d}' % done)
            case _:
                journal.put(f"Orders/{number}", b'{"by":%d,"done":%d}' % (seed, done))
    return done


@contextmanager
def writers(journal: Journal, count: int = 3) -> Iterator[None]:
    """So many threads write while the block runs, and before; an error in one of them is raised at its end."""
    begun, stop = threading.Barrier(count + 1), threading.Event()
    with ThreadPoolExecutor(count) as pool:
        tasks = [pool.submit(write_at_random, journal, seed, begun, stop) for seed in range(count)]
        try:
            begun.wait(PATIENCE)
            yield
        finally:
            stop.set()
        assert all(task.result() > 0 for task in tasks)


def fill(database: DocumentDatabase) -> None:
    """Several batches of documents, and attachments."""
    for start in range(0, DOCUMENTS, 1_000):
        database.batch([Put(f"orders/{n}", b'{"n":%d,"text":"0123456789"}' % n) for n in range(start, start + 1_000)])
    for number in range(24):
        database.put_attachment(f"photos/{number % 12}/{number // 12}", random.Random(number).randbytes(50_000))


def test_backups_while_threads_write(database: DocumentDatabase, tmp_path: Path) -> None:
    fill(database)
    journal = Journal(database)
    backups: list[Backup] = []
    with writers(journal):
        for number in range(3):
            acknowledged = journal.last
            operation = database.maintenance.start_backup(tmp_path / f"backup {number}", limits=STANDING)
            before, deadline = journal.count, monotonic() + PATIENCE
            while journal.count < before + 50:
                assert monotonic() < deadline, "nobody wrote while the backup ran"
                sleep(0.001)
            operation.progress.limits = NO_LIMITS
            backup = operation.wait(PATIENCE)
            assert acknowledged <= backup.manifest.snapshot.etag <= database.snapshot().etag
            backups.append(backup)
    assert backups[0].manifest.snapshot.etag < backups[1].manifest.snapshot.etag < backups[2].manifest.snapshot.etag
    for backup in backups:
        assert_holds(backup, journal, tmp_path / f"restored {backup.manifest.snapshot.etag}")


def test_nobody_waits_for_a_backup(database: DocumentDatabase, tmp_path: Path) -> None:
    """The backup is held in the middle of every stage until the others have written, read and purged."""
    fill(database)
    journal = Journal(database)

    def others_work() -> None:
        before, deadline = journal.count, monotonic() + PATIENCE
        while journal.count < before + 100:
            assert monotonic() < deadline, "the writers are blocked while the backup stands still"
            sleep(0.001)
        assert len(database.by_etag(limit=10)) == 10
        database.storage.purge()

    gate = Gate(*[others_work] * 12)
    with writers(journal):
        backup = take(database, tmp_path / "backups", gate)
    assert not gate.pauses
    assert set(gate.stages) == {"writing documents", "writing attachments"}
    assert journal.last > backup.manifest.snapshot.etag + 1000
    assert_holds(backup, journal, tmp_path / "restored")


def test_everything_is_replaced_and_purged_while_the_backup_stands_still(
    database: DocumentDatabase, tmp_path: Path
) -> None:
    """The hardest case: between the first batch and the last, every row of the backup dies."""
    fill(database)
    before = state_of(database)
    purged = 0

    def replace_everything() -> None:
        nonlocal purged
        for start in range(0, DOCUMENTS, 1_000):
            database.batch([Delete(f"orders/{n}") for n in range(start, start + 1_000, 2)])
            database.batch([Put(f"orders/{n}", b"{}") for n in range(start + 1, start + 1_000, 2)])
        for number in range(24):
            if number % 2:
                database.put_attachment(f"photos/{number % 12}/{number // 12}", b"other")
            else:
                database.delete_attachment(f"photos/{number % 12}/{number // 12}")
        purged += database.storage.purge()

    backup = take(database, tmp_path / "backups", Gate(replace_everything))
    assert purged == 0  # a pin keeps all of it
    MaintenanceActions.restore(backup.folder, tmp_path / "restored")
    with opened(tmp_path / "restored") as restored:
        assert state_of(restored) == before
    database.storage.purge()
    assert database.storage.purge() == 0
    with database.storage.pin() as snapshot:
        rows = sum(len(batch) for batch in database.storage.changes(0, snapshot.etag))
    assert rows == DOCUMENTS  # the tombstones among them
    assert len(list(database.attachments(limit=100))) == 12


@pytest.fixture
def hesitant() -> Iterator[None]:
    """New threads wait before they return anything from a function that takes backups, so that others overtake them."""

    def hesitate(frame: FrameType, event: str, value: object) -> TraceFunction:
        if event == "return" and value is not None and frame.f_code.co_filename == documents.__file__:
            sleep(0.005)
        return hesitate

    before = threading.gettrace()
    threading.settrace(hesitate)
    yield
    threading.settrace(before)


@pytest.mark.usefixtures("hesitant")
def test_the_threads_that_have_it_written_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part got lost when one thread came to the end of them just as the other had been given the last."""
    monkeypatch.setattr(documents, "ALONE_BYTES", 0)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    with DocumentDatabase(tmp_path / "shop") as database:
        for number in range(3):
            database.put("orders/1", {"n": number})
            full = database.maintenance.start_backup(tmp_path / str(number)).wait()
            incremental = database.maintenance.start_backup(tmp_path / "chain", incremental=True).wait()
            assert full.manifest.counts.documents == incremental.manifest.counts.documents == 1


@some(2)
@pytest.mark.parametrize("stage", ["writing documents", "writing attachments"])
def test_a_failed_backup_lets_go_of_its_pin(database: DocumentDatabase, tmp_path: Path, stage: str) -> None:
    fill(database)
    progress = Gate()

    def stop() -> None:
        if progress.stage == stage:
            progress.cancel()
        else:
            progress.pauses.append(stop)

    progress.pauses.append(stop)
    with pytest.raises(Cancelled, match=f"stopped while {stage}"):
        take(database, tmp_path / "backups", progress)
    assert not (tmp_path / "backups").exists()
    database.batch([Put(f"orders/{n}", {}) for n in range(100)])
    database.storage.purge()
    with closing(apsw.Connection(str(database.path / "muniment.db"))) as connection:
        assert connection.execute("SELECT count(*) FROM dead").get == 0


def test_the_lock_of_python_is_handed_over_sooner_while_backups_are_written(
    small: DocumentDatabase, tmp_path: Path
) -> None:
    """And as before when the last one has ended, however it ended."""
    usual = sys.getswitchinterval()
    met: list[float] = []

    class Looking(Progress):
        def advance(self, *, documents: int = 0, attachments: int = 0, bytes: int = 0, written: int = 0) -> None:
            met.append(sys.getswitchinterval())
            if len(met) == 1:
                take(small, tmp_path / "meanwhile")
                met.append(sys.getswitchinterval())
                raise Cancelled("enough")

    with pytest.raises(Cancelled):
        take(small, tmp_path / "backups", Looking())
    assert met
    assert max(met) < usual
    assert sys.getswitchinterval() == usual
