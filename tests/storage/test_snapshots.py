"""What every storage promises about snapshots: pins, changes, purging, and the fingerprint."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from muniment.revision import ATTACHMENT, DOCUMENT
from muniment.storage.base import Snapshot, Storage, Write
from muniment.storage.sqlite import reader
from muniment.storage.sqlite.reader import BATCH_BYTES, BATCH_ROWS, SPARE_BYTES
from tests.clock import Clock
from tests.sampled import some
from tests.storage.awkward import BODIES, IDS, METADATA
from tests.storage.place import Place
from tests.storage.reference import (
    Row,
    State,
    attach,
    changes,
    delete,
    detach,
    fingerprint_of,
    key_of,
    put,
    state_now,
    state_of,
    tallies,
)


class Ledger:
    """Commits to a store and keeps in plain dicts what it must hold, with every revision there has been."""

    def __init__(self, store: Storage, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self.state: State = {}

    def commit(self, *writes: Write, contents: dict[str, bytes] | None = None) -> None:
        before = dict(self.state)
        written = self.store.commit(writes)
        with self.store.pin() as snapshot:
            modified = snapshot.modified
        for write, result in zip(writes, written, strict=True):
            key = key_of(write.kind, write.id)
            old = self.state.get(key)
            if write.body is None and (old is None or old.content is None):
                continue
            content = write.body if write.upload is None else (contents or {})[write.id]
            collection = old.collection if write.body is None and old else write.collection
            spelling = old.id if old else write.id
            self.state[key] = Row(result.etag, spelling, collection, modified, write.metadata, content)
        assert self.state.keys() >= before.keys()

    def attach(self, key: str, content: bytes, collection: str | None = None) -> None:
        upload = self.store.upload([content])
        write = Write(key, upload.sha256, b'{"about":1}', collection, None, ATTACHMENT, upload)
        self.commit(write, contents={key: content})


@pytest.fixture
def ledger(store: Storage, clock: Clock) -> Ledger:
    return Ledger(store, clock)


def history(ledger: Ledger) -> Iterator[None]:
    """Everything that can become of a document or an attachment, a moment at each `yield`."""
    yield
    ledger.commit(*(put(f"Orders/{n}", b'{"n":%d}' % n, b'{"m":1}', "Orders") for n in range(20)))
    ledger.attach("Photo/1", b"one" * 500_000, "Photos")
    ledger.attach("Photo/2", b"two")
    yield
    ledger.commit(put("orders/1", b'{"n":"updated"}', b'{"m":2}', "Orders"), delete("orders/2"))
    ledger.attach("photo/1", b"one again" * 200_000, "Pictures")
    yield
    ledger.commit(put("ORDERS/2", b'{"n":"again"}', collection="Others"), delete("orders/3"), delete("orders/1"))
    ledger.commit(detach("photo/2"))
    yield
    ledger.commit(*(delete(f"orders/{n}") for n in range(20)), detach("photo/1"))
    yield
    ledger.commit(*(put(f"orders/{n}", b"{}") for n in range(0, 20, 2)), put("new"), put("new"), delete("new"))
    ledger.attach("photo/2", b"")
    yield


# Pins


def test_a_pin_keeps_what_was_current(ledger: Ledger) -> None:
    store = ledger.store
    with ExitStack() as pins:
        held: list[tuple[Snapshot, State]] = []
        for _ in history(ledger):
            held.append((pins.enter_context(store.pin()), dict(ledger.state)))
            store.purge()
            for snapshot, state in held:
                assert state_of(store, snapshot.etag) == state
                assert tallies(snapshot.fingerprint) == fingerprint_of(state)
    store.purge()
    assert state_now(store) == ledger.state


@pytest.mark.parametrize("order", ["oldest first", "newest first", "shuffled"])
def test_pins_may_be_let_go_in_any_order(ledger: Ledger, order: str) -> None:
    store = ledger.store
    held = []
    for _ in history(ledger):
        pin = store.pin()
        held.append((pin, pin.__enter__(), dict(ledger.state)))
    if order == "shuffled":
        random.Random(7).shuffle(held)
    elif order == "newest first":
        held.reverse()
    while held:
        pin, _, _ = held.pop()
        pin.__exit__(None, None, None)
        store.purge()
        for _, snapshot, state in held:
            assert state_of(store, snapshot.etag) == state
    assert state_now(store) == ledger.state


def test_two_pins_of_one_moment_are_two(store: Storage) -> None:
    store.commit([put("a", b'{"v":1}')])
    with store.pin() as first:
        with store.pin() as second:
            assert second == first
            store.commit([put("a", b'{"v":2}')])
        store.purge()
        assert [revision.body for revision in changes(store, 0, first.etag)] == [b'{"v":1}']


def test_a_pin_ends_with_its_block_even_when_that_fails(store: Storage) -> None:
    store.commit([put("a", b'{"v":1}')])
    pin = store.pin()
    snapshot = pin.__enter__()
    store.commit([put("a", b'{"v":2}')])
    failure = ZeroDivisionError()
    assert not pin.__exit__(ZeroDivisionError, failure, None)
    store.purge()
    assert changes(store, 0, snapshot.etag) == []


def test_a_snapshot_does_not_change(store: Storage) -> None:
    store.commit([put("a", collection="As")])
    with store.pin() as snapshot:
        before = tallies(snapshot.fingerprint)
        store.commit([put("b", collection="As"), put("a", b'{"v":2}', collection="Bs")])
        assert tallies(snapshot.fingerprint) == before


def test_a_store_does_not_change_with_what_is_done_to_a_snapshot(store: Storage) -> None:
    store.commit([put("a", collection="As")])
    with store.pin() as snapshot, store.pin() as other:
        snapshot.fingerprint.add((DOCUMENT, "As"), 5, 5, 5)
        assert tallies(other.fingerprint) == fingerprint_of(state_now(store))
        store.commit([put("b", collection="As")])
    with store.pin() as later:
        assert tallies(later.fingerprint) == fingerprint_of(state_now(store))


# Changes


def test_changes_between_two_moments_are_what_was_written_between_them(ledger: Ledger) -> None:
    store = ledger.store
    with ExitStack() as pins:
        moments = [(pins.enter_context(store.pin()), dict(ledger.state)) for _ in history(ledger)]
        store.purge()
        for n, (earlier, base) in enumerate(moments):
            for later, state in moments[n:]:
                changed = state_of(store, later.etag, earlier.etag)
                assert changed == {key: row for key, row in state.items() if row.etag > earlier.etag}
                assert {**base, **changed} == state  # what an incremental backup rests on
        tombstones = [row for row in moments[4][1].values() if row.content is None]
        assert len(tombstones) == 20 + 2


def test_changes_from_any_etag(ledger: Ledger) -> None:
    for _ in history(ledger):
        pass
    with ledger.store.pin() as snapshot:
        for after in range(snapshot.etag + 2):
            expected = sorted(
                row.etag for (kind, _), row in ledger.state.items() if kind == DOCUMENT and row.etag > after
            )
            assert [revision.etag for revision in changes(ledger.store, after, snapshot.etag)] == expected


@some(3)
@pytest.mark.parametrize("count", [BATCH_ROWS - 1, BATCH_ROWS, BATCH_ROWS + 1, 2 * BATCH_ROWS + 1])
def test_changes_come_in_batches_of_limited_rows(store: Storage, count: int) -> None:
    store.commit([put(f"orders/{n}", b'{"n":%d}' % n) for n in range(count)])
    with store.pin() as snapshot:
        batches = list(store.changes(0, snapshot.etag))
        assert [len(batch) for batch in batches[:-1]] == [BATCH_ROWS] * (len(batches) - 1)
        assert 0 < len(batches[-1]) <= BATCH_ROWS
        found = [revision.id for batch in batches for revision in batch]
        assert found == [f"orders/{n}" for n in range(count)]


@some(3)
@pytest.mark.parametrize(
    ("sizes", "most"),
    [
        ([1_000_000] * 20, 3),
        ([BATCH_BYTES - 6, 2, 2, BATCH_BYTES - 2, 2], 4),
        ([3 * BATCH_BYTES, 3 * BATCH_BYTES], 2),
        ([2, 2, 3 * BATCH_BYTES, 2], 3),
    ],
    ids=["many", "about the limit", "each too large", "one too large"],
)
def test_changes_come_in_batches_of_limited_bytes(store: Storage, sizes: list[int], most: int) -> None:
    """One that is larger comes alone."""
    bodies = [b'{"a":"' + b"x" * (size - 8) + b'"}' if size > 8 else b"{}" for size in sizes]
    store.commit([put(f"orders/{n}", body) for n, body in enumerate(bodies)])
    with store.pin() as snapshot:
        batches = list(store.changes(0, snapshot.etag))
        assert len(batches) <= most
        for batch in batches:
            size = len(batch.metadata.data) + len(batch.bodies.data)
            assert size <= BATCH_BYTES + SPARE_BYTES or len(batch) == 1
        assert [(r.id, r.body) for batch in batches for r in batch] == [
            (f"orders/{n}", b) for n, b in enumerate(bodies)
        ]


def test_changes_are_the_same_where_nothing_was_compiled(store: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies, metadata = [*BODIES.values()], [*METADATA.values()]
    store.commit(
        [put(id, bodies[n % len(bodies)], metadata[n % len(metadata)], collection=id) for n, id in enumerate(IDS)]
    )
    store.commit([delete(id) for id in IDS[::7]])
    store.commit([put(f"orders/{n}", b'{"a":"' + b"x" * size + b'"}') for n, size in enumerate((BATCH_BYTES, 9, 9))])
    with store.pin() as snapshot:
        found = [revision for batch in store.changes(0, snapshot.etag) for revision in batch]
        digests = [digest for batch in store.changes(0, snapshot.etag) for digest in batch.digests or ()]
        monkeypatch.setattr(reader, "in_c", lambda: None)
        gathered = list(store.changes(0, snapshot.etag))
        assert [revision for batch in gathered for revision in batch] == found
        assert [digest for batch in gathered for digest in batch.digests or ()] == digests


def test_batches_of_tombstones(store: Storage) -> None:
    count = BATCH_ROWS + 10
    store.commit([put(f"orders/{n}", collection="Orders") for n in range(count)])
    store.commit([delete(f"orders/{n}") for n in range(count)])
    with store.pin() as snapshot:
        batches = list(store.changes(0, snapshot.etag))
        assert [len(batch) for batch in batches] == [BATCH_ROWS, 10]
        assert all(revision.body is None and revision.collection == "Orders" for batch in batches for revision in batch)


def test_metadata_counts_for_a_batch(store: Storage) -> None:
    metadata = b'{"m":"' + b"x" * 500_000 + b'"}'
    store.commit([put(f"orders/{n}", b"{}", metadata) for n in range(40)])
    with store.pin() as snapshot:
        batches = list(store.changes(0, snapshot.etag))
        assert all(len(batch.metadata.data) <= BATCH_BYTES for batch in batches)
        assert [revision.metadata for batch in batches for revision in batch] == [metadata] * 40


def test_more_than_a_page_of_attachment_changes(ledger: Ledger) -> None:
    for n in range(250):
        ledger.attach(f"Photo/{n}", b"%d" % n, f"C{n % 2}")
    ledger.commit(*(detach(f"photo/{n}") for n in range(0, 250, 3)))
    assert state_now(ledger.store) == ledger.state


@some(1)
def test_reading_a_snapshot_waits_for_nobody_and_sees_nobody(store: Storage) -> None:
    """Between its batches everything is written anew and purged; what is read is still the moment of the pin."""
    store.commit([put(f"orders/{n}", b'{"n":%d}' % n, collection="Orders") for n in range(2 * BATCH_ROWS + 500)])
    store.commit([delete(f"orders/{n}") for n in range(0, 3000, 7)])
    with store.pin() as snapshot:
        before = state_of(store, snapshot.etag)
        found: State = {}
        for number, batch in enumerate(store.changes(0, snapshot.etag)):
            for r in batch:
                found[DOCUMENT, r.id] = Row(r.etag, r.id, r.collection, r.modified, r.metadata, r.body)
            store.commit([put(f"orders/{n}", b'{"again":%d}' % number) for n in range(0, 2 * BATCH_ROWS, 2)])
            store.commit([delete(f"orders/{n}") for n in range(1, 2 * BATCH_ROWS, 2)])
            store.commit([put(f"new/{number}")])
            store.purge()
        assert found == before
        assert tallies(snapshot.fingerprint) == fingerprint_of(found)


def test_snapshots_taken_while_others_write_are_whole(store: Storage) -> None:
    """Writers keep pairs of documents equal, each in one commit; no snapshot may see one without the other."""
    store.commit([put(f"{side}/{n}", b"0") for side in ("left", "right") for n in range(10)])
    stop = threading.Event()

    def write(seed: int) -> None:
        choose = random.Random(seed)
        while not stop.is_set():
            n, value = choose.randrange(10), b"%d" % choose.randrange(1 << 30)
            if choose.random() < 0.2:
                store.commit([delete(f"left/{n}"), delete(f"right/{n}")])
            else:
                store.commit([put(f"left/{n}", value), put(f"right/{n}", value)])

    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(write, seed) for seed in range(3)]
        try:
            for _ in range(60):
                with store.pin() as snapshot:
                    state = state_of(store, snapshot.etag)
                    assert tallies(snapshot.fingerprint) == fingerprint_of(state)
                    assert max(row.etag for row in state.values()) == snapshot.etag
                    assert max(row.modified for row in state.values()) == snapshot.modified
                    for n in range(10):
                        left, right = state[DOCUMENT, f"left/{n}"], state[DOCUMENT, f"right/{n}"]
                        assert (left.content, left.modified) == (right.content, right.modified)
        finally:
            stop.set()
        for writer in writers:
            writer.result()


# Purging


def test_purging_forgets_only_what_nobody_can_see(ledger: Ledger) -> None:
    for _ in history(ledger):
        ledger.store.purge()
        assert ledger.store.purge() == 0
        assert state_now(ledger.store) == ledger.state


def test_what_is_purged_is_gone_for_an_older_snapshot(store: Storage) -> None:
    store.commit([put("a", b'{"v":1}'), put("b")])
    with store.pin() as old:
        store.commit([put("a", b'{"v":2}')])
        assert store.purge() == 0
    store.purge()
    assert [revision.id for revision in changes(store, 0, old.etag)] == ["b"]


def test_a_pin_keeps_all_that_dies_after_it(store: Storage) -> None:
    with store.pin() as first:
        for n in range(2500):
            store.submit([put("a", b'{"v":%d}' % n)])
        store.commit([delete("a")])
        assert store.purge() == 0
    assert 0 <= store.purge() <= 2500  # an idle moment may have come before
    assert store.purge() == 0
    with store.pin() as last:
        assert last.etag == first.etag + 2501
        assert [revision.etag for revision in changes(store, 0, last.etag)] == [last.etag]


# The fingerprint


def test_the_fingerprint_follows_every_change(ledger: Ledger) -> None:
    for _ in history(ledger):
        with ledger.store.pin() as snapshot:
            assert tallies(snapshot.fingerprint) == fingerprint_of(ledger.state)


def test_the_fingerprint_does_not_depend_on_the_way(place: Place, clock: Clock) -> None:
    other = Place(place.engine, place.folder.with_name("other"), clock)
    writes = [put(f"Orders/{n}", b'{"n":%d}' % n, b'{"m":%d}' % n, f"C{n % 4}") for n in range(100)]
    place.store.commit(writes)
    attach(place.store, "photo", [b"abc" * 400_000])
    attach(other.store, "photo", [b"other"])
    other.store.commit([put("orders/5"), put("gone", collection="Gone"), delete("orders/5"), delete("gone")])
    attach(other.store, "photo", [b"a", b"bc" + b"abc" * 399_999])
    random.Random(1).shuffle(writes)
    for write in writes:
        other.store.commit([write if write.id != "Orders/5" else write._replace(id="orders/5")])
    with place.store.pin() as one, other.store.pin() as two:
        assert one.fingerprint != two.fingerprint  # the spelling of an id is part of it
        place.store.commit([delete("orders/5")])
        other.store.commit([delete("orders/5")])
    with place.store.pin() as one, other.store.pin() as two:
        assert one.fingerprint == two.fingerprint
        assert one.etag != two.etag
    assert list(other.store.check()) == []
    other.store.close()


@pytest.mark.parametrize(
    "change",
    [
        lambda write: write._replace(body=b'{"a":1 }'),
        lambda write: write._replace(metadata=b'{"m":1 }'),
        lambda write: write._replace(collection="Others"),
        lambda write: write._replace(collection=None),
        lambda write: write._replace(id="a2"),
        lambda write: write._replace(body=b"}", metadata=b'{"m":1}{"a":1'),
    ],
)
def test_the_fingerprint_tells_any_two_states_apart(store: Storage, change: Callable[[Write], Write]) -> None:
    write = put("a1", b'{"a":1}', b'{"m":1}', "Things")
    store.commit([write])
    with store.pin() as one:
        store.commit([delete("a1"), change(write)])
        with store.pin() as two:
            assert one.fingerprint != two.fingerprint
        store.commit([delete("a2"), write])
        with store.pin() as three:
            assert three.fingerprint == one.fingerprint


def test_nothing_is_committed_up_to_the_time_until_which_a_snapshot_was_the_state(place: Place, clock: Clock) -> None:
    place.store.commit([put("a")])
    clock.now += 3_600_000_000
    with place.store.pin() as snapshot:
        assert snapshot.until > snapshot.modified + 3_000_000_000
        place.store.remember_backup("0" * 64)
    clock.now -= 86_400_000_000
    place.reopen().commit([put("b")])
    assert place.store.snapshot().modified > snapshot.until


def test_a_commit_in_progress_is_later_than_the_snapshot_says(store: Storage, clock: Clock) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slowly() -> Iterator[list[Write]]:
        begun.set()
        assert go_on.wait(60)
        yield [put("a")]

    store.commit([put("b")])
    with ThreadPoolExecutor(1) as pool:
        committing = pool.submit(store.commit_all, slowly())
        assert begun.wait(60)
        clock.now += 3_600_000_000
        with store.pin() as snapshot:
            go_on.set()
            committing.result()
    assert snapshot.modified <= snapshot.until < store.snapshot().modified
