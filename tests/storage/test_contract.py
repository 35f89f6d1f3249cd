"""What every storage promises about commits; with `test_snapshots`, `test_reading`, `test_contents` and
`test_fidelity` the contract of `muniment.storage.base`, which every engine in `place.ENGINES` has to keep."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise

import pytest

from muniment.errors import ConcurrencyConflict, DatabaseClosed
from muniment.revision import ATTACHMENT, DOCUMENT, NO_METADATA
from muniment.storage.base import Storage, Write, Written
from tests.clock import START, Clock
from tests.storage.place import Place
from tests.storage.reference import Row, attach, changes, delete, detach, live, put, row_of, state_now
from tests.waiting import PATIENCE, until


def current(store: Storage, id: str, kind: int = DOCUMENT) -> Row | None:
    revision = store.get(kind, id)
    return None if revision is None else row_of(store, revision)


def commit_one(store: Storage, write: Write) -> Written:
    [written] = store.commit([write])
    return written


# Etags


def test_an_empty_store_is_at_etag_zero(store: Storage) -> None:
    with store.pin() as snapshot:
        assert snapshot.etag == 0
        assert snapshot.fingerprint.occupied() == {}
        assert changes(store, 0, 0) == []
    assert store.get(DOCUMENT, "orders/1") is None
    assert list(store.check()) == []


def test_etags_follow_the_order_of_the_writes(store: Storage) -> None:
    written = store.commit([put(f"orders/{n}") for n in range(50)])
    written += store.commit([put("orders/7"), delete("orders/8"), put("orders/9"), put("new")])
    written.append(commit_one(store, delete("new")))
    written.append(attach(store, "photo", [b"x"]))
    written.append(commit_one(store, put("new")))
    assert all(earlier.etag < later.etag for earlier, later in pairwise(written))
    assert written[0].etag > 0
    with store.pin() as snapshot:
        assert snapshot.etag == written[-1].etag


def test_an_etag_is_never_given_twice(place: Place) -> None:
    given = [commit_one(place.store, put("a")).etag, commit_one(place.store, put("a")).etag]
    for _ in range(3):
        given.append(commit_one(place.store, delete("a")).etag)
        place.store.purge()
        place.reopen()
        with place.store.pin() as snapshot:
            assert snapshot.etag == given[-1]
        given.append(commit_one(place.store, put("a")).etag)
        with pytest.raises(ConcurrencyConflict):
            place.store.commit([put("b"), put("a", expected=0)])
    assert given == sorted(set(given))


def test_a_commit_of_nothing_is_nothing(store: Storage) -> None:
    commit_one(store, put("a"))
    with store.pin() as before:
        assert store.commit([]) == []
        with store.pin() as after:
            assert after == before


def test_ten_thousand_writes_are_one_commit(store: Storage) -> None:
    written = store.commit([put(f"orders/{n}", b'{"n":%d}' % n) for n in range(10_000)])
    assert [w.id for w in written] == [f"orders/{n}" for n in range(10_000)]
    assert not any(w.existed for w in written)
    state = state_now(store)
    assert len(state) == 10_000
    assert len({row.modified for row in state.values()}) == 1
    assert current(store, "orders/9999") == state[DOCUMENT, "orders/9999"]


# What is expected


@pytest.mark.parametrize("present", ["never", "now", "deleted"])
@pytest.mark.parametrize("expected", [None, "zero", "its etag", "an older etag", "a later etag"])
@pytest.mark.parametrize("deletes", [False, True], ids=["put", "delete"])
@pytest.mark.parametrize("kind", [DOCUMENT, ATTACHMENT], ids=["document", "attachment"])
def test_a_write_is_made_when_its_expectation_holds(
    store: Storage, kind: int, present: str, expected: str | None, deletes: bool
) -> None:
    def write(body: bytes | None, expected: int | None = None) -> Written:
        if kind == DOCUMENT:
            return commit_one(store, Write("Orders/1", body, expected=expected))
        if body is None:
            return commit_one(store, detach("Orders/1", expected))
        return attach(store, "Orders/1", [body], expected=expected)

    older = newest = 0
    if present != "never":
        older = write(b'{"v":1}').etag
        newest = write(b'{"v":2}').etag
    if present == "deleted":
        newest = write(None).etag
    actual = newest if present == "now" else 0
    number = {None: None, "zero": 0, "its etag": newest or 77, "an older etag": older or 76, "a later etag": newest + 9}
    wanted = number[expected]
    before = state_now(store)
    body = None if deletes else b'{"v":3}'

    if wanted is None or wanted == actual:
        written = write(body, wanted)
        assert written.existed == (present == "now")
        if deletes and present != "now":
            assert written.etag == 0
            assert state_now(store) == before
        else:
            assert written.etag > newest
            assert written.id == "Orders/1"
            row = current(store, "orders/1", kind)
            assert row is None if deletes else row is not None and row.content == body
    else:
        with pytest.raises(ConcurrencyConflict) as caught:
            write(body, wanted)
        assert (caught.value.id, caught.value.expected, caught.value.actual) == ("Orders/1", wanted, actual)
        assert state_now(store) == before


def test_deleting_what_is_not_there_writes_nothing(store: Storage) -> None:
    commit_one(store, put("kept"))
    commit_one(store, put("gone"))
    commit_one(store, delete("gone"))
    with store.pin() as before:
        written = store.commit([delete("Never"), delete("GONE"), delete("gone", expected=0), detach("kept")])
        assert written == [Written(id, 0, False) for id in ("Never", "GONE", "gone", "kept")]
        with store.pin() as after:
            assert after == before


# All or nothing


@pytest.mark.parametrize("position", [0, 1, 500, 999])
def test_a_commit_with_a_conflict_changes_nothing(store: Storage, position: int) -> None:
    store.commit([put("a", b'{"v":1}', collection="As"), put("b", b'{"v":1}', collection="Bs")])
    attach(store, "photo", [b"before"])
    before = state_now(store)
    writes = [put(f"new/{n}", collection="As") for n in range(994)]
    writes += [put("a", b'{"v":2}'), delete("b"), put("B"), delete("b"), detach("photo"), put("a")]
    writes[position] = put("a", b"{}", expected=12345)
    with store.pin() as snapshot:
        with pytest.raises(ConcurrencyConflict):
            store.commit(writes)
        with store.pin() as after:
            assert after == snapshot
    assert state_now(store) == before
    assert list(store.check()) == []


def test_an_attachment_of_a_refused_commit_can_be_stored_again(store: Storage) -> None:
    upload = store.upload([b"content"])
    named = Write("photo", upload.sha256, kind=ATTACHMENT, upload=upload)
    with pytest.raises(ConcurrencyConflict):
        store.commit([named, put("a", expected=5)])
    assert store.get(ATTACHMENT, "photo") is None
    store.commit([named, put("a")])
    row = current(store, "photo", ATTACHMENT)
    assert row is not None
    assert row.content == b"content"


# One id more than once


def test_the_last_write_of_a_commit_stands(store: Storage) -> None:
    first, second, third = store.commit([put("A", b'{"v":1}'), put("a", b'{"v":2}'), put("a", b'{"v":3}')])
    assert [w.existed for w in (first, second, third)] == [False, True, True]
    assert {w.id for w in (first, second, third)} == {"A"}
    row = current(store, "a")
    assert row is not None
    assert (row.etag, row.content) == (third.etag, b'{"v":3}')
    assert list(state_now(store)) == [(DOCUMENT, "a")]


def test_put_and_delete_in_one_commit(store: Storage) -> None:
    made, gone, again = store.commit([put("a"), delete("a"), delete("a")])
    assert (made.existed, gone.existed, again) == (False, True, Written("a", 0, False))
    assert current(store, "a") is None
    assert changes(store, 0, gone.etag)[-1].body is None


def test_delete_and_put_in_one_commit(store: Storage) -> None:
    commit_one(store, put("Spelled", b'{"v":1}'))
    gone, made = store.commit([delete("spelled"), put("SPELLED", b'{"v":2}', expected=0)])
    assert (gone.existed, made.existed, made.id) == (True, False, "Spelled")
    row = current(store, "spelled")
    assert row is not None
    assert (row.etag, row.id, row.content) == (made.etag, "Spelled", b'{"v":2}')


def test_a_write_sees_what_was_written_before_it_in_the_commit(store: Storage) -> None:
    etag = commit_one(store, put("a")).etag
    for writes in (
        [put("b"), put("B", expected=0)],
        [put("a"), put("a", expected=etag)],
        [delete("a"), put("a", expected=etag)],
    ):
        before = state_now(store)
        with pytest.raises(ConcurrencyConflict):
            store.commit(writes)
        assert state_now(store) == before


# Ids and their spelling


@pytest.mark.parametrize(
    ("first", "other"),
    [
        ("Orders/1", "oRDERS/1"),
        ("Straße/1", "STRAẞE/1"),
        ("ΣΟΦΟΣ", "σοφοσ"),
        ("Ǆ", "ǆ"),
        ("é/\U00010400", "É/\U00010428"),
        ("İİ", "İİ"),
        ("\N{KELVIN SIGN}", "k"),
        ("NUL\0x", "nul\0X"),
    ],
)
def test_the_first_spelling_of_an_id_is_kept(place: Place, first: str, other: str) -> None:
    store = place.store
    assert commit_one(store, put(first, b'{"v":1}')) == Written(first, 1, False)
    assert commit_one(store, put(other, b'{"v":2}')) == Written(first, 2, True)
    for _ in range(2):
        for spelling in (first, other):
            row = current(store, spelling)
            assert row is not None
            assert (row.id, row.content) == (first, b'{"v":2}')
        store = place.reopen()
    assert commit_one(store, delete(other)).existed
    store.purge()
    store = place.reopen()
    assert [revision.id for revision in changes(store, 0, 3)] == [first]
    assert commit_one(store, put(other, b'{"v":3}')) == Written(first, 4, False)
    assert [row.id for row in state_now(store).values()] == [first]


def test_ids_that_only_look_alike_are_two(store: Storage) -> None:
    ids = ["é", "e\u0301", "a", "а", "a ", "a\0", "ı", "i", "1", "01", "orders/1", "orders/1/", "İ", "i̇", "straße"]
    ids += ["STRASSE", "σοφος", "ΣΟΦΟΣ", "ſ", "s", "µ", "μ", "ﬁ", "fi", "ŉ", "ʼn", "ΐ", "ι\u0308\u0301"]
    store.commit([put(id, b'{"id":%d}' % n) for n, id in enumerate(ids)])
    for n, id in enumerate(ids):
        row = current(store, id)
        assert row is not None
        assert (row.id, row.content) == (id, b'{"id":%d}' % n)


def test_a_document_and_an_attachment_may_have_the_same_id(store: Storage) -> None:
    commit_one(store, put("Same", b'{"a":"document"}', collection="Things"))
    attach(store, "sAME", [b"attachment"], collection="Things")
    document, attachment = current(store, "same"), current(store, "same", ATTACHMENT)
    assert document is not None
    assert attachment is not None
    assert (document.id, document.content) == ("Same", b'{"a":"document"}')
    assert (attachment.id, attachment.content) == ("sAME", b"attachment")
    assert commit_one(store, delete("same")).existed
    assert current(store, "same") is None
    assert current(store, "same", ATTACHMENT) == attachment


# Tombstones


def test_a_delete_leaves_a_tombstone(store: Storage, clock: Clock) -> None:
    commit_one(store, put("Orders/1", b'{"v":1}', b'{"Raven-Entity-Name":"Orders"}', "Orders"))
    clock.now, clock.step = START + 1_000_000, 0
    gone = commit_one(store, delete("orders/1"))
    assert gone == Written("Orders/1", 2, True)
    store.purge()
    assert store.get(DOCUMENT, "Orders/1") is None
    assert store.by_prefix(DOCUMENT, "", 0, 10) == []
    assert store.by_collection("Orders", 0, 10) == []
    assert store.by_etag(DOCUMENT, 0, 10) == []
    [tombstone] = changes(store, 0, 2)
    assert tombstone == (2, DOCUMENT, "Orders/1", "Orders", START + 1_000_000, NO_METADATA, None, 0, None)
    with store.pin() as snapshot:
        assert snapshot.fingerprint.occupied() == {}


# Time


def test_the_revisions_of_a_commit_share_a_time_and_the_next_are_later(store: Storage, clock: Clock) -> None:
    clock.step = 0  # every reading is the same
    store.commit([put("a"), put("b"), put("c")])
    attach(store, "photo", [b"x"])
    store.commit([delete("a"), detach("photo"), put("d")])
    state = state_now(store)
    times = {key: row.modified for key, row in state.items()}
    assert times[DOCUMENT, "b"] == times[DOCUMENT, "c"]
    assert times[DOCUMENT, "a"] == times[ATTACHMENT, "photo"] == times[DOCUMENT, "d"]
    assert times[DOCUMENT, "b"] < times[DOCUMENT, "d"]


def test_time_does_not_go_back_with_the_clock(place: Place) -> None:
    clock, modified = place.clock, []
    clock.step = 0
    for n, now in enumerate([START, START - 10**12, START - 1, 0, -1, START + 5, START, START + 10**12, 1]):
        clock.now = now
        commit_one(place.store, put("a" if n % 2 else f"b/{n}"))
        with place.store.pin() as snapshot:
            modified.append(snapshot.modified)
            assert {row.etag: row.modified for row in state_now(place.store).values()}[snapshot.etag] == modified[-1]
        if n % 3 == 0:
            place.reopen()
    assert all(earlier < later for earlier, later in pairwise(modified))
    assert (modified[0], modified[5], modified[-2]) == (START, START + 5, START + 10**12)


def test_commits_that_are_grouped_have_times_of_their_own(store: Storage, clock: Clock) -> None:
    clock.step = 0
    waiting = [store.submit([put(f"{n}/a"), put(f"{n}/b")]) for n in range(200)]
    etags = [[written.etag for written in future.result(PATIENCE)] for future in waiting]
    times = {row.etag: row.modified for row in state_now(store).values()}
    commits = [{times[etag] for etag in pair} for pair in etags]
    assert all(len(commit) == 1 for commit in commits)
    assert all(max(earlier) < min(later) for earlier, later in pairwise(commits))


# Many at once


def test_a_failure_among_many_commits_is_its_own(store: Storage) -> None:
    etag = commit_one(store, put("contested", b'{"v":0}', collection="C")).etag
    waiting: dict[int, Future[list[Written]]] = {}
    for n in range(600):
        writes = [put(f"new/{n}", b'{"n":%d}' % n, collection=f"C{n % 3}")]
        if n % 3 == 0:
            writes.append(put("contested", expected=etag + 100_000))
        waiting[n] = store.submit(writes)
    for n, future in waiting.items():
        if n % 3 == 0:
            error = future.exception(PATIENCE)
            assert isinstance(error, ConcurrencyConflict)
            assert (error.id, error.expected, error.actual) == ("contested", etag + 100_000, etag)
        else:
            assert future.result(PATIENCE)[0].id == f"new/{n}"
    assert {id for _, id in state_now(store)} == {"contested", *(f"new/{n}" for n in range(600) if n % 3)}


def test_of_writers_who_expect_the_same_etag_one_succeeds(store: Storage) -> None:
    etag = commit_one(store, put("a", b'{"v":0}')).etag
    for _ in range(10):
        waiting = [store.submit([put("a", expected=etag), put(f"marker/{n}")]) for n in range(20)]
        winners = [future.result() for future in waiting if future.exception(PATIENCE) is None]
        assert len(winners) == 1
        etag = winners[0][0].etag
    assert len(live(state_now(store))) <= 1 + 20


def test_threads_that_conflict_lose_no_update(store: Storage) -> None:
    """Eight threads move money between accounts; whoever comes too late tries again with what is there then."""
    accounts = [f"accounts/{n}" for n in range(6)]
    store.commit([put(id, b"1000") for id in accounts])
    lost, lock, all_have_read = 0, threading.Lock(), threading.Barrier(8)

    def transfer(seed: int) -> None:
        nonlocal lost
        choose = random.Random(seed)
        for n in range(40):
            first = n == 0
            while True:
                source, target = (store.get(DOCUMENT, id) for id in choose.sample(accounts, 2))
                assert source is not None
                assert target is not None
                amount = choose.randrange(10)
                if first:  # with eight pairs of six accounts, so that one at least is taken twice
                    all_have_read.wait(PATIENCE)
                    first = False
                balances = int(source.body or b"") - amount, int(target.body or b"") + amount
                try:
                    store.commit(
                        [put(r.id, b"%d" % b, expected=r.etag) for r, b in zip((source, target), balances, strict=True)]
                    )
                except ConcurrencyConflict:
                    with lock:
                        lost += 1
                else:
                    break

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(transfer, range(8)))
    state = state_now(store)
    assert sum(int(row.content or b"") for row in state.values()) == 6000
    with store.pin() as snapshot:
        assert snapshot.etag == 6 + 8 * 40 * 2
    assert lost > 0


def test_a_future_that_is_cancelled_harms_nobody(store: Storage) -> None:
    waiting = [store.submit([put(f"orders/{n}")]) for n in range(300)]
    cancelled = {n for n, future in enumerate(waiting) if n % 2 and future.cancel()}
    for n, future in enumerate(waiting):
        if n not in cancelled:
            assert future.result(PATIENCE)[0].id == f"orders/{n}"
    store.submit([put("afterwards")]).result(PATIENCE)
    found = {id for _, id in state_now(store)}
    assert found == {"afterwards", *(f"orders/{n}" for n in range(300) if n not in cancelled)}


# Opening and closing


def test_reopening_keeps_everything(place: Place) -> None:
    store = place.store
    store.commit([put(f"Orders/{n}", b'{"n":%d}' % n, b'{"m":%d}' % n, f"C{n % 3}") for n in range(30)])
    store.commit([delete("orders/3"), put("orders/4", b'{"n":"again"}', collection="Moved")])
    attach(store, "Photo", [b"a" * 1_500_000], b'{"m":1}', "Photos")
    attach(store, "gone", [b"b"])
    commit_one(store, detach("gone"))
    identity, before = store.identity, state_now(store)
    with store.pin() as left:
        pass
    for _ in range(2):
        store = place.reopen()
        with store.pin() as found:
            assert found == left
        assert store.identity == identity
        assert state_now(store) == before
        assert current(store, "photo", ATTACHMENT) == before[ATTACHMENT, "photo"]
        store.purge()


def test_two_databases_are_not_the_same(place: Place, clock: Clock) -> None:
    other = Place(place.engine, place.folder.with_name("other"), clock)
    assert other.store.identity.database_id != place.store.identity.database_id
    assert other.store.identity.lineage != place.store.identity.lineage
    other.store.close()


def test_closing_finishes_what_was_submitted(place: Place) -> None:
    waiting = [place.store.submit([put(f"orders/{n}")]) for n in range(500)]
    place.store.close()
    assert [future.result(0)[0].id for future in waiting] == [f"orders/{n}" for n in range(500)]
    assert len(state_now(place.reopen())) == 500


def test_a_closed_store_says_so(place: Place) -> None:
    store = place.store
    commit_one(store, put("a"))
    attach(store, "photo", [b"x" * 3_000_000])
    photo = store.get(ATTACHMENT, "photo")
    assert photo is not None
    upload = store.upload([b"y"])
    parts = store.content(photo)
    next(parts)
    store.close()
    store.close()
    calls: list[Callable[[], object]] = [
        lambda: store.commit([put("a")]),
        lambda: store.submit([put("a")]),
        lambda: store.upload([b"x"]),
        lambda: store.discard(upload),
        lambda: store.pin().__enter__(),
        lambda: list(store.changes(0, 1)),
        lambda: list(store.attachment_changes(0, 1)),
        lambda: next(parts),
        lambda: store.get(DOCUMENT, "a"),
        lambda: store.by_prefix(DOCUMENT, "", 0, 1),
        lambda: store.by_collection("C", 0, 1),
        lambda: store.by_etag(DOCUMENT, 0, 1),
        lambda: store.purge(),
        lambda: list(store.check()),
    ]
    for call in calls:
        with pytest.raises(DatabaseClosed) as caught:
            call()
        assert caught.value.hint
    place.reopen()


def test_closing_while_others_write_and_read_leaves_what_was_acknowledged(place: Place) -> None:
    store, acknowledged = place.store, set[str]()
    started = threading.Barrier(5)

    def write(thread: int) -> None:
        started.wait(PATIENCE)
        for n in range(10_000):
            try:
                acknowledged.add(store.commit([put(f"{thread}/{n}")])[0].id)
            except DatabaseClosed:
                return

    def read() -> None:
        started.wait(PATIENCE)
        while True:
            try:
                store.by_etag(DOCUMENT, 0, 5)
                store.get(DOCUMENT, "0/1")
            except DatabaseClosed:
                return

    with ThreadPoolExecutor(4) as pool:
        tasks = [pool.submit(write, n) for n in range(2)] + [pool.submit(read) for _ in range(2)]
        started.wait(PATIENCE)
        until(lambda: len(acknowledged) >= 20)
        store.close()
        for task in tasks:
            task.result(PATIENCE)
    assert {id for _, id in state_now(place.reopen())} == acknowledged
