"""Tombstones are forgotten when they are old, when a backup holds them, and when nobody is looking."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from muniment.document import fold
from muniment.revision import ATTACHMENT, DOCUMENT
from muniment.storage.sqlite.store import SqliteStorage
from tests.clock import START, Clock
from tests.storage.reference import attach, changes, delete, detach, put, state_now
from tests.waiting import until

SECOND = 1_000_000
MINUTE = {"Muniment/TombstoneWindow": "60s"}
AT_ONCE = {"Muniment/TombstoneWindow": "0s"}


@pytest.fixture
def store(folder: Path, clock: Clock) -> Iterator[SqliteStorage]:
    store = SqliteStorage(folder, clock=clock)
    yield store
    assert list(store.check()) == []
    store.close()


def tombstones(store: SqliteStorage) -> list[int]:
    """The etags of those that are still there."""
    return sorted(row.etag for row in state_now(store).values() if row.content is None)


def delete_some(store: SqliteStorage, count: int) -> None:
    store.commit([put(f"Gone/{n}") for n in range(count)] + [delete(f"gone/{n}") for n in range(count)])
    store.commit([put("last")])


def test_they_stay_unless_it_is_asked_for(store: SqliteStorage, clock: Clock) -> None:
    delete_some(store, 3)
    clock.now += 1_000_000 * SECOND
    store.purge()
    assert tombstones(store) == [4, 5, 6]
    assert store.snapshot().tombstones_from == 0


def test_they_expire_when_they_are_older_than_the_window(store: SqliteStorage, clock: Clock) -> None:
    store.configure(MINUTE)
    clock.step = 0
    for n in range(4):
        clock.now = START + n * 30 * SECOND
        store.commit([put("a")])
        store.commit([delete("a"), put("b")])
        store.commit([put(f"{n}")])
        store.commit([delete(f"{n}")])
    before = store.snapshot()
    clock.now = START + 100 * SECOND  # so those of second 0 and 30 are old enough
    store.purge()
    assert tombstones(store) == [15, 17, 20]
    assert store.snapshot() == before
    assert store.snapshot().tombstones_from == 10
    clock.now = START + 10_000 * SECOND
    store.purge()
    assert tombstones(store) == [20]  # the newest revision says which etag comes next
    assert store.snapshot().tombstones_from == 17


def test_attachments_too(store: SqliteStorage) -> None:
    store.configure(AT_ONCE)
    attach(store, "Photo", [b"x" * 3_000_000])
    store.commit([detach("photo")])
    store.commit([put("last")])
    store.purge()
    assert tombstones(store) == []
    assert store.get(ATTACHMENT, "photo") is None


def test_they_expire_only_when_a_backup_holds_them(store: SqliteStorage) -> None:
    store.configure(AT_ONCE)
    store.remember_backup("ab" * 32)
    delete_some(store, 3)
    store.purge()
    assert tombstones(store) == [4, 5, 6]
    store.backed_up(5)
    store.purge()
    assert tombstones(store) == [6]
    assert store.snapshot().tombstones_from == 5


def test_a_database_that_was_never_backed_up_need_not_wait(store: SqliteStorage) -> None:
    store.configure(AT_ONCE)
    delete_some(store, 3)
    store.purge()
    assert tombstones(store) == []


def test_kept_history_keeps_its_tombstones(store: SqliteStorage) -> None:
    store.configure({**AT_ONCE, "Muniment/History": "true"})
    delete_some(store, 3)
    store.purge()
    assert tombstones(store) == [4, 5, 6]
    store.backed_up(7)
    store.purge()
    assert tombstones(store) == []


def test_none_expires_while_there_is_a_pin(store: SqliteStorage) -> None:
    delete_some(store, 3)
    with store.pin() as snapshot:
        store.configure(AT_ONCE)
        store.purge()
        assert snapshot.tombstones_from == 0
        assert sorted(row.etag for row in changes(store, 0, snapshot.etag)) == [4, 5, 6, 7]
    store.purge()
    assert tombstones(store) == []


def test_many_expire_in_small_steps(store: SqliteStorage) -> None:
    delete_some(store, 2_500)
    store.purge()
    with store.pin():  # so that the writer does not begin by itself
        store.configure(AT_ONCE)
    assert store.purge() <= 2_500
    assert tombstones(store) == []
    assert store.snapshot().tombstones_from == 5_000


def test_the_writer_does_it_by_itself(store: SqliteStorage) -> None:
    delete_some(store, 3)
    store.configure(AT_ONCE)
    until(lambda: store.snapshot().tombstones_from >= 6)
    store.commit([])  # the watermark rises before the commit that makes it true
    assert tombstones(store) == []


def test_an_id_that_was_forgotten_is_new(store: SqliteStorage) -> None:
    store.configure(AT_ONCE)
    delete_some(store, 1)
    store.purge()
    [written] = store.commit([put("GONE/0", b"[1]", expected=0)])
    assert (written.id, written.existed) == ("GONE/0", False)
    found = store.get(DOCUMENT, fold("Gone/0"))
    assert found is not None
    assert found.id == "GONE/0"


def test_what_is_forgotten_is_remembered(folder: Path, clock: Clock) -> None:
    store = SqliteStorage(folder, clock=clock)
    store.configure(AT_ONCE)
    delete_some(store, 3)
    store.purge()
    left = store.snapshot()
    store.close()
    for read_only in (False, True):
        store = SqliteStorage(folder, clock=clock, read_only=read_only)
        assert (store.snapshot(), store.snapshot().tombstones_from) == (left, 6)
        assert store.backup_facts().tombstones_from == 6
        store.close()
