"""Superseded revisions that are kept until a backup holds them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.errors import InvalidInput
from muniment.revision import ATTACHMENT
from muniment.storage.retention import History
from muniment.storage.sqlite.store import SqliteStorage
from muniment.storage.sqlite.writer import last_etag_before
from tests.clock import START, Clock
from tests.storage.reference import Row, attach, delete, detach, put, row_of, state_now

SECOND = 1_000_000
KEPT = {"Muniment/History": "true"}


@pytest.fixture
def store(folder: Path, clock: Clock) -> Iterator[SqliteStorage]:
    store = SqliteStorage(folder, clock=clock)
    yield store
    assert list(store.check()) == []
    store.close()


def history(store: SqliteStorage, after: int = 0) -> list[Row]:
    """Every revision that is still known, in the order of etags."""
    with store.pin(0) as snapshot:
        documents = [r for batch in store.changes(after, snapshot.etag, history=True) for r in batch]
        revisions = [*documents, *store.attachment_changes(after, snapshot.etag, history=True)]
        return sorted(row_of(store, revision) for revision in revisions)


def etags(store: SqliteStorage) -> list[int]:
    return [row.etag for row in history(store)]


def test_history_is_kept_until_it_is_backed_up(store: SqliteStorage) -> None:
    store.configure(KEPT)
    for n in range(5):
        store.commit([put("a", b'{"n":%d}' % n)])
    store.commit([delete("a"), put("b")])
    store.purge()
    assert [row.content for row in history(store)] == [*(b'{"n":%d}' % n for n in range(5)), None, b"{}"]
    store.backed_up(3)
    store.purge()
    assert etags(store) == [3, 4, 5, 6, 7]  # at 3 the third was current, so it is told too
    assert store.snapshot().history_from == 3
    store.backed_up(2)  # an older backup takes nothing back
    store.backed_up(7)
    store.purge()
    assert etags(store) == [6, 7]


def test_history_is_not_kept_unless_it_is_asked_for(store: SqliteStorage) -> None:
    store.commit([put("a")])
    store.commit([put("a")])
    store.purge()
    assert etags(store) == [2]
    assert store.snapshot().history_from == 2
    store.configure(KEPT)
    store.commit([put("a")])
    store.purge()
    assert etags(store) == [2, 3]
    store.configure({})
    store.purge()
    assert etags(store) == [3]


def test_history_of_attachments_is_kept_with_their_contents(store: SqliteStorage) -> None:
    store.configure(KEPT)
    for n in range(3):
        attach(store, "photo", [b"%d" % n * 1_500_000])
    store.commit([detach("photo")])
    store.purge()
    assert [row.content for row in history(store)] == [*(b"%d" % n * 1_500_000 for n in range(3)), None]
    store.backed_up(4)
    store.purge()
    assert [row.content for row in history(store)] == [None]


def test_every_moment_of_a_kept_history_can_be_told(store: SqliteStorage) -> None:
    store.configure(KEPT)
    moments = {}
    for n in range(30):
        store.commit([put(f"{m}", b'{"n":%d}' % n) for m in range(n % 4, 12, 3)] + [delete(f"{n % 7}")])
        if n % 5 == 0:
            attach(store, "photo", [b"%d" % n])
        moments[store.snapshot().etag] = state_now(store)
    rows = history(store)
    for etag, state in moments.items():
        newest = {row.id: row for row in rows if row.etag <= etag}
        assert sorted(newest.values()) == sorted(state.values())


def test_a_window_keeps_history_for_a_time(store: SqliteStorage, clock: Clock) -> None:
    store.configure({**KEPT, "Muniment/HistoryWindow": "60s"})
    clock.step = 0
    for n in range(5):
        clock.now = START + n * 20 * SECOND
        store.commit([put("a", b'{"n":%d}' % n)])
    store.backed_up(5)
    clock.now = START + 100 * SECOND
    store.purge()
    assert etags(store) == [3, 4, 5]  # the third, of second 40, was current a minute ago
    clock.now = START + 1000 * SECOND
    store.purge()
    assert etags(store) == [5]


def test_a_window_without_a_backup_forgets_nothing(store: SqliteStorage, clock: Clock) -> None:
    store.configure({**KEPT, "Muniment/HistoryWindow": "1s"})
    store.commit([put("a")])
    store.commit([put("a")])
    clock.now += 1000 * SECOND
    store.purge()
    assert etags(store) == [1, 2]


def test_a_pin_may_keep_more_than_its_own_moment(store: SqliteStorage) -> None:
    for n in range(4):
        store.commit([put("a", b'{"n":%d}' % n)])
    with store.pin(keep=99) as snapshot:  # no later moment than its own
        store.purge()
        assert snapshot.etag == 4
        assert etags(store) == [4]
    with store.pin(keep=4):
        for n in range(3):
            store.commit([put("a", b'{"n":%d}' % n)])
        with store.pin() as later:
            store.commit([put("a")])
            store.purge()
            assert etags(store) == [4, 5, 6, 7, 8]
    with store.pin(keep=later.etag):
        store.purge()
        assert etags(store) == [7, 8]


def test_what_is_kept_is_remembered(folder: Path, clock: Clock) -> None:
    store = SqliteStorage(folder, clock=clock)
    store.configure({**KEPT, "Muniment/HistoryWindow": "1s", "Other": "kept as it is"})
    for _ in range(3):
        store.commit([put("a")])
    store.backed_up(2)
    store.remember_backup("ab" * 32)
    for _ in range(2):
        store.close()
        store = SqliteStorage(folder, clock=clock)
        assert store.settings == {**KEPT, "Muniment/HistoryWindow": "1s", "Other": "kept as it is"}
        assert store.history == History(True, 1)
        assert store.backup_facts().known == {"ab" * 32}
    assert etags(store) == [1, 2, 3]
    clock.now += 10 * SECOND
    store.purge()
    assert etags(store) == [2, 3]
    assert list(store.check()) == []
    store.close()
    reader = SqliteStorage(folder, clock=clock, read_only=True)
    assert reader.history == History(True, 1)
    assert reader.snapshot().history_from == 2
    reader.close()


def test_settings_that_make_no_sense_change_nothing(store: SqliteStorage) -> None:
    store.configure(KEPT)
    with pytest.raises(InvalidInput):
        store.configure({"Muniment/History": "perhaps"})
    assert store.settings == KEPT
    assert store.history == History(True)


def test_content_of_superseded_attachments_is_read_while_it_is_kept(store: SqliteStorage) -> None:
    store.configure(KEPT)
    attach(store, "photo", [b"first"])
    attach(store, "photo", [b"second"])
    [old] = [r for r in store.attachment_changes(0, 2, history=True) if r.etag == 1]
    assert (old.kind, old.size, b"".join(store.content(old))) == (ATTACHMENT, 5, b"first")


@given(
    gaps=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3)), max_size=30),
    offset=st.integers(-3, 60),
)
def test_the_last_etag_before_a_time(gaps: list[tuple[int, int]], offset: int) -> None:
    """Etags with gaps, as purging leaves them, and times that several share."""
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE TABLE log(etag INTEGER PRIMARY KEY, modified)")
    etag, modified, rows = 0, 0, []
    for etag_gap, time_gap in gaps:
        etag, modified = etag + etag_gap, modified + time_gap
        rows.append((etag, modified))
    connection.executemany("INSERT INTO log VALUES(?, ?)", rows)
    expected = max((etag for etag, modified in rows if modified <= offset), default=0)
    assert last_etag_before(connection, offset, etag) == expected
    connection.close()
