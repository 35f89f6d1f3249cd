"""A disk that refuses: what fails leaves the old state, says so, and does not stop what comes after."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import apsw
import pytest

from muniment.errors import ConcurrencyConflict, DamagedDatabase, MunimentError, StorageFailure
from muniment.revision import ATTACHMENT, DOCUMENT
from muniment.storage.base import Snapshot, Written
from muniment.storage.sqlite.files import FILE
from muniment.storage.sqlite.store import SqliteStorage, create_storage
from muniment.storage.sqlite.transaction import Transaction, Writes
from muniment.storage.sqlite.writer import Writer
from tests.clock import Clock
from tests.sampled import some
from tests.storage.raw import at_once, files_no_larger_than, number
from tests.storage.reference import State, attach, delete, put, state_now
from tests.waiting import PATIENCE

MIB = 1 << 20


def whole(store: SqliteStorage) -> tuple[Snapshot, State]:
    return store.snapshot(), state_now(store)


def noise(size: int, seed: int = 0) -> bytes:
    return b'{"a":"' + random.Random(seed).randbytes(size // 2).hex().encode() + b'"}'


def fill_up(folder: Path, kind: str, room: int) -> list[str]:
    """In a process of its own: write beyond what the disk takes, and return the hints of what was raised."""
    store = SqliteStorage(folder, clock=Clock())
    store.commit([put(f"orders/{n}", noise(500, n), collection="Orders") for n in range(100)])
    attach(store, "photo", [noise(3 * MIB)])
    before = whole(store)
    largest = max(path.stat().st_size for path in folder.iterdir())
    writes: dict[str, Callable[[], object]] = {
        "put": lambda: store.commit([put("orders/1", noise(2 * MIB))]),
        "batch": lambda: store.commit([put(f"new/{n}", noise(20_000, n), collection="New") for n in range(100)]),
        "attachment": lambda: attach(store, "photo", [noise(MIB, n) for n in range(20)]),
        "delete": lambda: store.commit([delete(f"orders/{n}") for n in range(100)] + [put("new", noise(2 * MIB))]),
    }
    raised: list[str] = []
    with files_no_larger_than(largest + room):
        for _ in range(3):
            with pytest.raises(StorageFailure, match=str(folder)) as caught:
                writes[kind]()
            raised.append(caught.value.hint)
            assert whole(store) == before
            assert list(store.check()) == []
        with store.pin() as snapshot:
            assert snapshot == before[0]
    writes[kind]()
    after = whole(store)
    assert after[0].etag > before[0].etag
    assert list(store.check()) == []
    store.close()
    with_another_look = SqliteStorage(folder, clock=Clock())
    assert whole(with_another_look) == after
    assert list(with_another_look.check()) == []
    with_another_look.close()
    assert number(folder, "SELECT count(*) FROM content WHERE staged") == 0
    return raised


@some(4)
@pytest.mark.parametrize("room", [0, 5_000, 300_000])
@pytest.mark.parametrize("kind", ["put", "batch", "attachment", "delete"])
def test_a_write_that_the_disk_refuses_changes_nothing(
    folder: Path, other_process: ProcessPoolExecutor, kind: str, room: int
) -> None:
    hints = other_process.submit(fill_up, folder, kind, room).result(PATIENCE)
    assert len(hints) == 3
    assert all(hints)


def purge_on_full_disk(folder: Path) -> tuple[int, int]:
    """How many revisions are in the log after purging on a full disk, and after purging when there is room again."""
    store = SqliteStorage(folder, clock=Clock())
    with store.pin():
        for n in range(3):
            store.commit([put(f"orders/{m}", b'{"n":%d}' % n) for m in range(300)])
        before = whole(store)
        limit = files_no_larger_than(1000)
        limit.__enter__()
    try:
        with pytest.raises(StorageFailure):
            store.purge()
        assert whole(store) == before
        full = number(folder, "SELECT count(*) FROM log")
    finally:
        limit.__exit__(None, None, None)
    store.purge()
    assert whole(store) == before
    assert list(store.check()) == []
    left = number(folder, "SELECT count(*) FROM log")
    store.close()
    return full, left


def test_a_purge_that_the_disk_refuses_can_be_repeated(folder: Path, other_process: ProcessPoolExecutor) -> None:
    assert other_process.submit(purge_on_full_disk, folder).result(PATIENCE) == (900, 300)


def open_on_full_disk(folder: Path) -> str:
    with files_no_larger_than(1000):
        try:
            SqliteStorage(folder, clock=Clock()).close()
        except MunimentError as error:
            return f"{type(error).__name__}: {error.hint}"
    return "opened"


def make_on_full_disk(folder: Path) -> str:
    folder.mkdir()
    with files_no_larger_than(1000):
        try:
            create_storage(folder)
        except MunimentError as error:
            return f"{type(error).__name__}: {error.hint}"
    return "made"


def test_opening_and_making_on_a_full_disk(folder: Path, clock: Clock, other_process: ProcessPoolExecutor) -> None:
    told = other_process.submit(open_on_full_disk, folder).result(PATIENCE)
    assert told == "opened" or told.startswith("StorageFailure: raise that limit")
    told = other_process.submit(make_on_full_disk, folder.with_name("new")).result(PATIENCE)
    assert told.startswith("StorageFailure: ")
    assert not (folder.with_name("new") / FILE).exists()
    create_storage(folder.with_name("new"))
    for place in (folder, folder.with_name("new")):
        store = SqliteStorage(place, clock=clock)
        store.commit([put("a")])
        assert list(store.check()) == []
        store.close()


# SQLite's own limit is what it says when a disk is full


@pytest.fixture
def store(folder: Path, clock: Clock) -> Iterator[SqliteStorage]:
    store = SqliteStorage(folder, clock=clock)
    yield store
    assert list(store.check()) == []
    store.close()


def limit_pages(store: SqliteStorage, more: int) -> None:
    """Let the database grow by so many pages only."""

    def job(transaction: object) -> None:
        connection = store.writer._connection
        pages = connection.execute("PRAGMA page_count").get
        connection.execute(f"PRAGMA max_page_count={pages + more}")

    store.writer.submit(job).result(PATIENCE)


def test_a_full_disk_says_so(store: SqliteStorage) -> None:
    store.commit([put("a", b'{"v":1}')])
    before = whole(store)
    limit_pages(store, 10)
    for _ in range(2):
        with pytest.raises(StorageFailure, match="full; this write was not stored") as caught:
            store.commit([put("a", b'{"v":2}'), put("large", noise(MIB))])
        assert caught.value.hint == "make room and write again"
        assert whole(store) == before
    limit_pages(store, 10_000)
    store.commit([put("large", noise(MIB))])


def test_a_group_on_a_full_disk(store: SqliteStorage) -> None:
    """SQLite may take the whole group back; each of it is told the truth about its own write."""
    etag = store.commit([put("a", b'{"v":1}')])[0].etag
    limit_pages(store, 20)
    jobs = {
        "first": lambda: store.submit([put("first")]),
        "large": lambda: store.submit([put("large", noise(MIB)), put("a", b"{}")]),
        "conflict": lambda: store.submit([put("conflict"), put("a", expected=etag + 5)]),
        "last": lambda: store.submit([put("last"), put("a", b'{"v":2}', expected=etag)]),
    }
    futures = dict(zip(jobs, at_once(store, *jobs.values()), strict=True))
    assert isinstance(futures["large"].exception(PATIENCE), StorageFailure)
    assert isinstance(futures["conflict"].exception(PATIENCE), ConcurrencyConflict | StorageFailure)
    done = {name for name, future in futures.items() if future.exception(PATIENCE) is None}
    assert {id for _, id in state_now(store)} == {"a", *done}
    for name in {"first", "last"} - done:
        jobs[name]().result(PATIENCE)
    assert state_now(store)[DOCUMENT, "a"].content == b'{"v":2}'


def test_each_of_a_group_that_fails_is_told_by_an_error_of_its_own(store: SqliteStorage) -> None:
    """Whoever gets it may add what it means to him, as a bulk insert does, and nobody else reads that."""
    limit_pages(store, 10)
    futures = at_once(store, *[lambda: store.submit([put("a", noise(MIB))])] * 3)
    errors = [future.exception(PATIENCE) for future in futures]
    assert len({id(error) for error in errors}) == 3
    for error in errors:
        assert isinstance(error, StorageFailure)
        assert (error.message.endswith("this write was not stored"), error.hint) == (True, "make room and write again")
        assert str(error) == error.message
        error.message += "; 1000 documents before it were"
    assert store.get(DOCUMENT, "a") is None
    conflict = ConcurrencyConflict("a", 1, 2)

    def passed_on(_: object) -> list[Written]:
        store.writer._connection.execute("ROLLBACK")  # as SQLite does where the disk is full
        raise conflict

    futures = at_once(store, lambda: store.writer.submit(passed_on), lambda: store.submit([put("b")]))
    first, second = (future.exception(PATIENCE) for future in futures)
    assert first is not second
    assert isinstance(second, ConcurrencyConflict)
    assert (second.message, second.expected, second.actual) == (conflict.message, 1, 2)


def test_an_upload_on_a_full_disk_leaves_nothing(store: SqliteStorage, folder: Path) -> None:
    attach(store, "photo", [b"before"])
    limit_pages(store, 300)
    with pytest.raises(StorageFailure):
        attach(store, "photo", [noise(MIB, n) for n in range(20)])
    assert number(folder, "SELECT count(*) FROM content") == 1
    assert state_now(store)[ATTACHMENT, "photo"].content == b"before"
    limit_pages(store, 10_000)
    attach(store, "photo", [noise(MIB)])


def test_reading_goes_on_when_writing_can_not(store: SqliteStorage) -> None:
    store.commit([put(f"orders/{n}") for n in range(100)])
    limit_pages(store, 0)
    for _ in range(5):
        with pytest.raises(StorageFailure):
            store.commit([put("large", noise(MIB))])
        assert store.get(DOCUMENT, "orders/7") is not None
        assert len(store.by_etag(DOCUMENT, 0, 1000)) == 100


def test_a_job_that_fails_in_any_way_fails_alone(store: SqliteStorage) -> None:
    def broken(transaction: object) -> list[Written]:
        raise ZeroDivisionError("a bug")

    first, bug, last = at_once(
        store,
        lambda: store.submit([put("first")]),
        lambda: store.writer.submit(broken),
        lambda: store.submit([put("last")]),
    )
    assert first.result(PATIENCE)
    assert isinstance(bug.exception(PATIENCE), ZeroDivisionError)
    assert last.result(PATIENCE)


class Stubborn:
    """A connection whose disk takes no commit and gives nothing back."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)

    def execute(self, query: str, *bindings: Any) -> apsw.Cursor:
        if query in ("COMMIT", "ROLLBACK"):
            raise apsw.IOError("disk I/O error")
        return self.connection.execute(query, *bindings)


def test_what_can_not_be_taken_back_is_the_last(folder: Path) -> None:
    store = SqliteStorage(folder, clock=Clock())
    store.commit([put("a")])
    before = whole(store)
    writer: Any = store.writer
    connection, cursor = writer._connection, writer._cursor
    writer._connection = writer._cursor = Stubborn(connection)
    with pytest.raises(StorageFailure, match="disk I/O error"):
        store.submit([put("b")]).result(PATIENCE)
    writer._connection, writer._cursor = connection, cursor
    for _ in range(2):  # also when the disk is well again: what was taken for failed would come with it
        with pytest.raises(StorageFailure, match=r"takes no more writes: .* could not be rolled back"):
            store.submit([put("c")]).result(PATIENCE)
    assert whole(store) == before
    store.close()
    again = SqliteStorage(folder, clock=Clock())
    assert whole(again) == before
    again.commit([put("d")])
    assert list(again.check()) == []
    again.close()


@pytest.mark.parametrize("company", ["alone", "after a job of another kind"])
@pytest.mark.parametrize("damaged", [False, True], ids=["", "one cannot be stored"])
def test_of_writes_that_come_together_each_fails_for_itself(
    folder: Path, damaged: bool, company: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStorage(folder, clock=Clock())
    store.commit([put(id, collection="Old") for id in ("a", "b", "c")])
    store.writer.submit(lambda transaction: transaction.connection.execute("INSERT INTO dead VALUES(2, 99)")).result()
    replaced: dict[int, int] = {}
    apart: list[object] = []
    do = Writer._do

    def do_apart(self: Writer, job: Any, *rest: Any) -> None:
        apart.append(job)
        do(self, job, *rest)

    monkeypatch.setattr(Writer, "_do", do_apart)
    jobs = [
        lambda: store.submit([put("a", b'{"v":1}', collection="New"), put("x"), put("A", b'{"v":2}')], replaced),
        lambda: store.submit([put("x", b'{"v":3}'), delete("a"), put("y"), put("c", expected=77)]),
        lambda: store.submit([put("b", b'{"v":4}')]) if damaged else store.submit([put("B", expected=1)]),
        lambda: store.submit([delete("nothing")]),
        lambda: store.submit([put("x", b'{"v":5}', expected=5)]),
    ]
    if company != "alone":
        jobs = [lambda: store.writer.submit(lambda transaction: transaction.write([delete("nothing")])), *jobs]
    first, conflict, broken, nothing, last = at_once(store, *jobs)[-5:]
    assert [each.etag for each in first.result(PATIENCE)] == [4, 5, 6]
    with pytest.raises(ConcurrencyConflict, match="'c'"):
        conflict.result(PATIENCE)
    with pytest.raises(DamagedDatabase if damaged else ConcurrencyConflict):
        broken.result(PATIENCE)
    assert nothing.result(PATIENCE) == [Written("nothing", 0, False)]
    assert last.result(PATIENCE) == [Written("x", 7, True)]
    assert replaced == {4: 1, 6: 4}
    assert len([job for job in apart if isinstance(job, Writes)]) == (5 if damaged else 0)
    state = state_now(store)
    assert {id: (row.etag, row.content) for (_, id), row in state.items()} == {
        "a": (6, b'{"v":2}'),
        "b": (2, b"{}"),
        "c": (3, b"{}"),
        "x": (7, b'{"v":5}'),
    }
    assert state[DOCUMENT, "a"].modified < state[DOCUMENT, "x"].modified
    store.writer.submit(lambda transaction: transaction.connection.execute("DELETE FROM dead WHERE etag = 2")).result()
    assert list(store.check()) == []
    assert store.snapshot().etag == 7
    store.close()
    again = SqliteStorage(folder, clock=Clock())
    assert state_now(again) == state
    again.close()


class Taken:
    """Who has taken the answer at once, and says that nothing is there."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def done(self) -> bool:
        return False

    def set_result(self, result: Any) -> None:
        self.told.append(result)

    def set_exception(self, error: BaseException) -> None:
        self.told.append(error)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_was_acknowledged_is_not_told_as_failed_when_the_writer_fails_later(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    store = SqliteStorage(folder, clock=Clock())
    store.commit([put("a")])
    taken = Taken()
    monkeypatch.setattr(store.writer, "_sync_reach", broken)  # after each commit
    store.submit_for(taken, [put("b")])
    store.writer._thread.join(PATIENCE)
    [[written]] = taken.told
    assert written.etag == 2
    store.close()
    again = SqliteStorage(folder, clock=Clock())
    assert again.last_etag == 2
    again.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nobody_waits_for_a_writer_that_has_failed(folder: Path) -> None:
    def broken() -> None:
        raise ZeroDivisionError("a bug")

    def job(transaction: Transaction) -> list[Written]:
        transaction.afterwards.append(broken)
        return transaction.write([put("b")])

    store = SqliteStorage(folder, clock=Clock())
    store.commit([put("a")])
    futures = at_once(store, lambda: store.submit([put("c")]), lambda: store.writer.submit(job))
    for future in futures:
        with pytest.raises(StorageFailure, match="its writer has failed"):
            future.result(PATIENCE)
    with pytest.raises(StorageFailure, match="its writer has failed"):
        store.submit([put("d")])
    store.close()
    again = SqliteStorage(folder, clock=Clock())
    assert again.get(DOCUMENT, "a") is not None
    assert list(again.check()) == []
    again.close()


def test_a_clock_that_fails_fails_the_writes_and_no_more(folder: Path) -> None:
    clock = Clock()
    broken = False

    def failing() -> int:
        if broken:
            raise ZeroDivisionError("no time")
        return clock()

    store = SqliteStorage(folder, clock=failing)
    store.commit([put("a")])
    before = whole(store)
    broken = True
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            store.commit([put("a", b'{"v":2}')])
    broken = False
    assert whole(store) == before
    store.commit([put("a", b'{"v":2}')])
    assert list(store.check()) == []
    store.close()
