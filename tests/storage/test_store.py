"""The embedded engine's own promises: what is in the file, who may open it, and which file it refuses."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from pathlib import Path

import apsw
import pytest

from muniment import DocumentDatabase
from muniment.errors import (
    DamagedDatabase,
    DatabaseLocked,
    DatabaseNotFound,
    InvalidDocument,
    MunimentError,
    StorageFailure,
    UnknownFormat,
)
from muniment.revision import ATTACHMENT, DOCUMENT
from muniment.storage.sqlite.files import FILE, LOCK, REACH
from muniment.storage.sqlite.schema import PAGE_BYTES
from muniment.storage.sqlite.store import SqliteStorage
from muniment.storage.sqlite.transaction import Writes
from muniment.storage.sqlite.writer import PURGE_ROWS, TOGETHER, _runs
from tests.clock import Clock
from tests.storage.raw import at_once, number, raw, rows
from tests.storage.reference import attach, delete, detach, put, state_now
from tests.waiting import PATIENCE, until

MIB = 1 << 20
COUNT = "SELECT count(*) FROM "


@pytest.fixture
def store(folder: Path, clock: Clock) -> Iterator[SqliteStorage]:
    store = SqliteStorage(folder, clock=clock)
    yield store
    assert list(store.check()) == []
    store.close()


# What a commit stands on


def test_an_acknowledged_write_is_synced_to_a_write_ahead_log(store: SqliteStorage) -> None:
    def settings(name: str) -> object:
        return store.writer.submit(lambda transaction: transaction.connection.execute(f"PRAGMA {name}").get).result()

    assert settings("journal_mode") == "wal"
    assert settings("synchronous") == 2  # FULL: the log is synced at every commit
    assert settings("wal_autocheckpoint") == 4000
    assert settings("cache_size") == -65_536
    assert settings("page_size") == PAGE_BYTES
    assert settings("encoding") == "UTF-8"
    assert settings("application_id") == 0x4D756E69
    assert settings("user_version") == 3


def test_writes_that_come_together_share_a_commit(store: SqliteStorage) -> None:
    commits = 0

    def count() -> bool:
        nonlocal commits
        commits += 1
        return False

    store.writer.submit(lambda transaction: transaction.connection.set_commit_hook(count)).result()
    commits = 0
    futures = at_once(store, *(partial(store.submit, [put(f"orders/{n}")]) for n in range(50)))
    assert [future.result(PATIENCE)[0].id for future in futures] == [f"orders/{n}" for n in range(50)]
    assert commits <= 3
    assert len({row.modified for row in state_now(store).values()}) == 50


def test_many_large_batches_that_come_together_are_stored_in_parts(store: SqliteStorage) -> None:
    count = TOGETHER // 4 + 1
    jobs = [partial(store.submit, [put(f"{job}/{n}") for n in range(count)]) for job in range(7)]
    futures = at_once(store, *jobs, lambda: store.submit([put("0/0"), delete("3/3")]))
    etags = [written.etag for future in futures for written in future.result(PATIENCE)]
    assert etags == list(range(1, 7 * count + 3))
    assert len(state_now(store)) == 7 * count
    assert [len(writes) for writes, _ in _runs([(Writes([put("a")] * count), Future()) for _ in range(7)])] == [3, 3, 1]
    [(alone, _)] = _runs([(Writes([put("a")] * 2 * TOGETHER), Future())])
    assert len(alone) == 1


def test_readers_can_not_write(store: SqliteStorage) -> None:
    with store._reader.connection() as connection:
        assert connection.execute("PRAGMA query_only").get == 1


def test_the_write_ahead_log_does_not_grow_while_a_snapshot_is_read(folder: Path, store: SqliteStorage) -> None:
    store.commit([put(f"old/{n}") for n in range(20_000)])
    with store.pin() as snapshot:
        batches = store.changes(0, snapshot.etag)
        read = len(next(batches))
        for n in range(60):
            store.commit([put(f"orders/{n}", b'{"a":"' + b"x" * MIB + b'"}')])
        assert (folder / f"{FILE}-wal").stat().st_size < 45 * MIB
        assert read + sum(map(len, batches)) == 20_000


# What purging leaves


def test_purging_removes_the_rows(folder: Path, store: SqliteStorage) -> None:
    store.commit([put(f"orders/{n}", b'{"secret":"%d"}' % n) for n in range(2 * PURGE_ROWS + 5)])
    store.commit([put(f"orders/{n}", b'{"public":"%d"}' % n) for n in range(2 * PURGE_ROWS + 5)])
    store.commit([delete(f"orders/{n}") for n in range(100)])
    store.purge()
    assert number(folder, COUNT + "dead") == 0
    assert number(folder, COUNT + "log") == number(folder, COUNT + "current") == 2 * PURGE_ROWS + 5
    assert number(folder, COUNT + "log WHERE body IS NULL") == 100
    assert number(folder, COUNT + "log WHERE instr(body, 'secret')") == 0


def test_purging_removes_contents_with_their_revisions(folder: Path, store: SqliteStorage) -> None:
    for n in range(3):
        attach(store, "photo", [b"%d" % n * 2 * MIB])
    with store.pin():
        attach(store, "photo", [b"kept" * MIB])
        store.commit([detach("photo")])
        store.purge()
        assert number(folder, COUNT + "content") == 2
        assert number(folder, COUNT + "part") == 2 + 4
    store.purge()
    for table in ("content", "part", "dead"):
        assert number(folder, COUNT + table) == 0
    assert rows(folder, "SELECT kind, body FROM log") == [(ATTACHMENT, None)]


def test_an_idle_moment_purges(folder: Path, store: SqliteStorage) -> None:
    for n in range(20):
        store.commit([put("a", b'{"n":%d}' % n)])
    until(lambda: number(folder, COUNT + "log") == 1)
    with store.pin():
        store.commit([put("a")])
    until(lambda: number(folder, COUNT + "log") == 1)


def test_what_was_left_to_purge_is_purged_after_reopening(folder: Path, clock: Clock) -> None:
    store = SqliteStorage(folder, clock=clock)
    with store.pin():
        store.commit([put(f"{n}") for n in range(10)])
        store.commit([put(f"{n}") for n in range(10)])
        store.close()
    assert number(folder, COUNT + "dead") == 10
    again = SqliteStorage(folder, clock=clock)
    until(lambda: number(folder, COUNT + "dead") == 0)
    assert list(again.check()) == []
    again.close()


# What uploads leave


def staged(folder: Path) -> tuple[int, int]:
    return number(folder, COUNT + "content WHERE staged"), number(folder, COUNT + "part")


def test_a_discarded_upload_leaves_nothing(folder: Path, store: SqliteStorage) -> None:
    upload = store.upload([b"x" * (3 * MIB)])
    assert staged(folder) == (1, 3)
    store.discard(upload)
    assert staged(folder) == (0, 0)


def test_a_stream_that_fails_leaves_nothing(folder: Path, store: SqliteStorage) -> None:
    def broken() -> Iterator[bytes]:
        yield b"x" * (20 * MIB)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.upload(broken())
    assert staged(folder) == (0, 0)


def test_an_upload_that_is_too_large_leaves_nothing(
    folder: Path, store: SqliteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muniment.storage.store.MAX_ATTACHMENT_BYTES", 9 * MIB)  # in place of 2 GiB
    store.discard(store.upload([b"x" * MIB] * 9))
    with pytest.raises(InvalidDocument, match="larger than 9,437,184 bytes") as caught:
        store.upload(b"x" * MIB for _ in range(1_000_000))
    assert caught.value.hint
    assert staged(folder) == (0, 0)


def test_an_upload_that_nobody_named_is_forgotten_on_opening(folder: Path, clock: Clock) -> None:
    store = SqliteStorage(folder, clock=clock)
    store.upload([b"x" * (3 * MIB)])
    attach(store, "photo", [b"y" * (2 * MIB)])
    store.close()
    assert staged(folder) == (1, 5)
    again = SqliteStorage(folder, clock=clock)
    assert staged(folder) == (0, 2)
    assert state_now(again)[ATTACHMENT, "photo"].content == b"y" * (2 * MIB)
    assert list(again.check()) == []
    again.close()


# Closing


def open_files(folder: Path) -> list[Path]:
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [target for target in (link.readlink() for link in links) if target.is_relative_to(folder)]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are only listed on Linux")
def test_closing_closes_every_file(folder: Path, clock: Clock) -> None:
    store = SqliteStorage(folder, clock=clock)
    store.commit([put(f"{n}") for n in range(100)])
    with raw(folder) as connection:
        connection.execute("UPDATE fingerprint SET count = 5")
    sentences = store.check()
    assert next(sentences)  # half a check holds on to a connection
    store.get(DOCUMENT, "1")
    assert open_files(folder)
    store.close()
    list(sentences)
    assert open_files(folder) == []


def test_closing_leaves_one_file(folder: Path, clock: Clock) -> None:
    store = SqliteStorage(folder, clock=clock)
    store.commit([put("a")])
    store.get(DOCUMENT, "a")
    store.close()
    assert {path.name for path in folder.iterdir()} <= {FILE, LOCK, REACH}


# A second process


held: list[DocumentDatabase] = []  # by the process in which these functions run


def hold(folder: Path) -> str:
    """Open a database for writing and keep it open; the error that is raised, if one is."""
    try:
        held.append(DocumentDatabase(folder))
    except MunimentError as error:
        return type(error).__name__
    return ""


def let_go() -> None:
    while held:
        held.pop().close()


def read_in(folder: Path, id: str) -> tuple[object, ...]:
    with DocumentDatabase(folder, read_only=True) as database:
        document = database.get(id)
        attachment = database.get_attachment("photo")
        assert document is not None
        assert attachment is not None
        refused = ""
        try:
            database.put("a", {})
        except MunimentError as error:
            refused = type(error).__name__
        found = [found.id for found in database.by_prefix("orders/")]
        snapshot = database.snapshot()
        return document.body, attachment.read(), found, snapshot, database.statistics(), database.check(), refused


def test_a_second_writer_is_refused(folder: Path, store: SqliteStorage, other_process: ProcessPoolExecutor) -> None:
    assert other_process.submit(hold, folder).result() == "DatabaseLocked"
    with pytest.raises(DatabaseLocked) as caught:
        DocumentDatabase(folder)
    assert caught.value.hint
    store.commit([put("still writing")])


def test_the_next_writer_may_open_what_was_closed(folder: Path, other_process: ProcessPoolExecutor) -> None:
    for _ in range(2):
        with DocumentDatabase(folder) as database:
            database.put("a", {})
            assert other_process.submit(hold, folder).result() == "DatabaseLocked"
        assert other_process.submit(hold, folder).result() == ""
        with pytest.raises(DatabaseLocked):
            DocumentDatabase(folder)
        other_process.submit(let_go).result()


def test_a_second_process_reads_while_the_first_writes(
    folder: Path, store: SqliteStorage, other_process: ProcessPoolExecutor
) -> None:
    attach(store, "photo", [b"p" * (2 * MIB)])
    for n in range(5):
        store.commit([put(f"orders/{n}", b'{"n":%d}' % n, collection="Orders")])
        body, photo, found, snapshot, statistics, problems, refused = other_process.submit(
            read_in, folder, f"ORDERS/{n}"
        ).result()
        assert (body, photo, found) == (b'{"n":%d}' % n, b"p" * (2 * MIB), [f"orders/{m}" for m in range(n + 1)])
        assert snapshot == store.snapshot()
        assert getattr(statistics, "documents") == n + 1  # noqa: B009
        assert (problems, refused) == ([], "StorageFailure")


def hammer(folder: Path, enough: Path) -> int:
    """Read until somebody has made this file whatever is there, and count how often; every document says its own id."""
    reads = 0
    with DocumentDatabase(folder, read_only=True) as database:
        while not (enough.exists() and reads):
            for document in database.by_etag(limit=1000):
                assert document.json()["id"] == document.id
                reads += 1
            assert database.check() == []
            enough.with_name("begun").touch()
    return reads


def test_a_second_process_reads_consistently_while_everything_changes(
    folder: Path, store: SqliteStorage, other_process: ProcessPoolExecutor, tmp_path: Path
) -> None:
    reading = other_process.submit(hammer, folder, tmp_path / "enough")
    n, left = 0, 20  # rounds since it has begun
    while not reading.done():
        store.commit([put(f"orders/{m}", b'{"id":"orders/%d","n":%d}' % (m, n)) for m in range(n % 7, 200, 3)])
        store.commit([delete(f"orders/{m}") for m in range(n % 5, 200, 11)])
        n += 1
        store.purge()
        if (tmp_path / "begun").exists() and not (left := left - 1):
            (tmp_path / "enough").touch()
    assert reading.result() > 0
    assert n >= 20


# Which file is opened


def test_a_folder_without_a_database(tmp_path: Path, clock: Clock) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        for read_only in (True, False):
            with pytest.raises(DatabaseNotFound):
                DocumentDatabase(folder, create=False, read_only=read_only)
        with pytest.raises(DatabaseNotFound):
            DocumentDatabase(folder, read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_a_database_is_not_made_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageFailure) as caught:
            DocumentDatabase(path)
        assert caught.value.hint
    assert (tmp_path / "file").read_text() == "mine"


def test_what_a_crash_in_the_making_left_does_no_harm(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / f"{FILE}.creating").write_bytes(b"half a database" * 1000)
    (tmp_path / f"{FILE}.creating-journal").write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + b"\0" * 5000)
    with DocumentDatabase(tmp_path, clock=clock) as database:
        database.put("a", {})
        assert database.check() == []
    assert not (tmp_path / f"{FILE}.creating").exists()


@pytest.mark.parametrize("size", [0, 1, 100, 5_000, 100_000])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, size: int) -> None:
    content = (b"This is not a database. " * 5_000)[:size]
    (tmp_path / FILE).write_bytes(content)
    for read_only in (False, True):
        with pytest.raises((UnknownFormat, DamagedDatabase)) as caught:
            DocumentDatabase(tmp_path, read_only=read_only)
        assert str(tmp_path) in str(caught.value)
        assert caught.value.hint
    assert (tmp_path / FILE).read_bytes() == content


@pytest.mark.parametrize(
    ("edit", "error", "says"),
    [
        ("PRAGMA application_id=7", UnknownFormat, "not a database of Muniment"),
        ("PRAGMA user_version=4", UnknownFormat, "format 4; this software reads up to 3"),
        ("PRAGMA user_version=999", UnknownFormat, "format 999"),
        ("DROP TABLE state", DamagedDatabase, "no such table: state"),
        ("DROP TABLE log", DamagedDatabase, "no such table"),
        ("DELETE FROM state WHERE name='database_id'", DamagedDatabase, "the digest of settings, identity and water"),
        (
            "UPDATE state SET value=lower(hex(randomblob(16))) WHERE name='database_id'",
            DamagedDatabase,
            "the digest of",
        ),
        ("INSERT INTO state VALUES('backed_up', 7)", DamagedDatabase, "the digest of settings"),
        ("INSERT INTO state VALUES('settings', NULL)", DamagedDatabase, "keeps about itself are damaged"),
        ("INSERT INTO state VALUES('settings', x'ff')", DamagedDatabase, "keeps about itself are damaged"),
        ("DELETE FROM state WHERE name='digest'", DamagedDatabase, "the digest of settings"),
    ],
)
def test_a_file_that_can_not_be_read_is_refused_and_left_alone(
    folder: Path, clock: Clock, edit: str, error: type[MunimentError], says: str
) -> None:
    SqliteStorage(folder, clock=clock).close()
    with raw(folder) as connection:
        connection.execute(edit)
    before = (folder / FILE).read_bytes()
    for _ in range(2):
        with pytest.raises(error, match=says) as caught:
            SqliteStorage(folder, clock=clock)
        assert caught.value.hint
        assert (folder / FILE).read_bytes() == before


def test_a_file_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    connection = apsw.Connection(str(tmp_path / FILE))
    connection.execute("CREATE TABLE state(name, value); INSERT INTO state VALUES('database_id', 'x')")
    connection.close()
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(UnknownFormat):
        DocumentDatabase(tmp_path)
    assert (tmp_path / FILE).read_bytes() == before


def test_a_folder_can_be_moved(folder: Path, clock: Clock, tmp_path: Path) -> None:
    store = SqliteStorage(folder, clock=clock)
    store.commit([put("a")])
    before = state_now(store)
    store.close()
    shutil.move(folder, tmp_path / "elsewhere")
    moved = SqliteStorage(tmp_path / "elsewhere", clock=clock)
    assert state_now(moved) == before
    assert moved.identity == store.identity
    moved.close()
