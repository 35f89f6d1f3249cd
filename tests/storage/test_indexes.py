"""Indexes answer as a look at every document does, whatever is written meanwhile."""

from __future__ import annotations

import os
import signal
import threading
from decimal import Decimal
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import apsw
import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from muniment.errors import ConcurrencyConflict, InvalidInput, StorageFailure
from muniment.query import keys
from muniment.query.extract import Extractor
from muniment.query.model import (
    SCORE,
    And,
    Condition,
    Equal,
    Exists,
    Field,
    Group,
    In,
    Or,
    Order,
    Query,
    Range,
    Search,
    StartsWith,
    fields,
)
from muniment.query.plan import Wanted
from muniment.security.encryption import EncryptionKey
from muniment.storage import building, indexes
from muniment.storage.base import Storage, Write
from muniment.storage.postgres.store import PostgresStorage
from muniment.storage.sqlite.indexes import Indexes
from muniment.storage.sqlite.reader import Reader
from muniment.storage.sqlite.store import SqliteStorage
from muniment.storage.sqlite.transaction import Transaction
from muniment.storage.store import FEW_OF_ALL
from tests.clock import Clock
from tests.query import drawn, reference
from tests.sampled import some
from tests.storage.place import Place
from tests.storage.test_failures import limit_pages
from tests.storage.test_queries import found, put, together
from tests.waiting import PATIENCE

A, B = Field(("A",)), Field(("B",))
asked_both_ways = pytest.mark.parametrize("condition", [Equal(A, 3), Search(A, "3")], ids=["equal", "search"])


embedded = pytest.mark.parametrize("engine", ["sqlite", "sqlite-encrypted"], indirect=True)
"""What looks into the embedded engine."""


@pytest.fixture
def indexed(place: Place) -> Storage:
    """A storage whose queries make indexes however few documents there are."""
    return having_indexes(place.store)


def having_indexes(store: Storage) -> Storage:
    assert isinstance(store, SqliteStorage | PostgresStorage)
    store.index_from = 0
    return store


def plan_of(store: Storage, query: Query) -> Any:
    with store.find(query) as answer:
        return answer.plan


@together
@given(
    st.lists(drawn.bodies | drawn.wordy_bodies, max_size=6),
    st.lists(drawn.bodies | drawn.wordy_bodies, max_size=4),
    st.lists(drawn.queries | drawn.scored, min_size=1, max_size=3),
    st.sets(st.integers(0, 7)),
)
def test_they_find_what_plain_python_finds(
    indexed: Storage, before: list[bytes], after: list[bytes], queries: list[Query], gone: set[int]
) -> None:
    """Asked once so that there are indexes, and again when much has been written."""
    indexed.commit([Write(revision.id, None) for revision in indexed.by_collection("Orders", 0, 1000)])
    documents = put(indexed, "Orders", before)
    for query in queries:
        assert found(indexed, query) == reference.answer(query, documents), query
        assert not plan_of(indexed, query).scanned or not fields(query)
    documents = put(indexed, "Orders", after) + documents[len(after) :]
    deleted = [place for place in gone if place < len(documents)]
    indexed.commit([Write(f"orders/{place}", None) for place in deleted])
    left = [each for place, each in enumerate(documents) if place not in deleted]
    for query in queries:
        assert found(indexed, query) == reference.answer(query, left), query


@pytest.mark.parametrize("letter", ["q", "é", "日"])
def test_words_longer_than_an_engine_looks_at(indexed: Storage, letter: str) -> None:
    word = letter * 40_000
    documents = [f"{word}", f"a {word}z b", f"{word[:100]} b", f"{word[:9000]}"]
    put(indexed, "Orders", [msgspec.json.encode({"A": text}) for text in documents])
    for text in (word, f"{word}y", f"{word[:9000]}", f"{word[:100]}*", f'"{word} b"', "b"):
        query = Query("Orders", Search(A, text))
        indexed.index_from = 1 << 30  # type: ignore[attr-defined]
        looked = found(indexed, query)
        indexed.index_from = 0  # type: ignore[attr-defined]
        assert [found(indexed, query), found(indexed, query)] == [looked, looked]


@embedded
def test_a_check_of_words_sees_what_was_written(indexed: Storage) -> None:
    """The connection that reads has seen the index before others changed it: no damage is told of."""
    query = Query("Orders", Search(A, "red"))
    put(indexed, "Orders", [b'{"A":"red car"}'] * 4)
    for _ in range(8):
        assert found(indexed, query)[1] == 4
        for place in range(12):
            indexed.commit([Write(f"Orders/{place % 4}", b'{"A":"red"}', collection="Orders")])
        assert list(indexed.check()) == []
    assert not plan_of(indexed, query).scanned


@together
@given(st.lists(drawn.bodies, max_size=8))
def test_groups_are_those_of_a_look_at_every_document(indexed: Storage, bodies: list[bytes]) -> None:
    indexed.commit([Write(revision.id, None) for revision in indexed.by_collection("Orders", 0, 1000)])
    put(indexed, "Orders", bodies)
    rows = indexed.group(Query("Orders", group=Group((A,), (B,)))).rows
    everything = ~Equal(Field(("@id",)), "none")  # which has no index
    looked = indexed.group(Query("Orders", everything, group=Group((A,), (B,))))
    assert (rows, looked.plan.scanned) == (looked.rows, True)
    got = {keys.value_of(row.by[0]): (row.documents, row.sums[0]) for row in rows}
    assert {text: got[text] for text in got if isinstance(text, str)} == reference.groups(A, B, bodies)


@embedded
def test_words_of_jobs_in_one_commit(indexed: Storage) -> None:
    """What fails leaves none behind, and what is replaced in the same commit neither."""
    put(indexed, "Orders", [b'{"A":"red"}'])
    query = Query("Orders", Search(A, "red blue"), order=(Order(Field(("@score",))),))
    assert found(indexed, query)[1] == 1
    assert isinstance(indexed, SqliteStorage)
    blocked = threading.Event()
    indexed.writer.submit(lambda _: blocked.wait())
    done = [
        indexed.submit([Write("orders/1", b'{"A":"red"}', collection="Orders")]),
        indexed.submit([Write("orders/1", b'{"A":"blue"}', collection="Orders"), Write("orders/2", b"{}", expected=9)]),
        indexed.submit([Write("orders/1", b'{"A":"blue car"}', collection="Orders")]),
        indexed.submit([Write("orders/0", b'{"A":"blue"}', collection="Orders"), Write("orders/3", b"{}")]),
        indexed.submit([Write("orders/0", None), Write("orders/0", b'{"A":["red","blue"]}', collection="Orders")]),
    ]
    blocked.set()
    assert isinstance(done[1].exception(), ConcurrencyConflict)
    expected = [(each.etag, each.body or b"") for each in indexed.by_collection("orders", 0, 10)]
    assert len(expected) == 2
    assert found(indexed, query) == reference.answer(query, expected)
    assert found(indexed, Query("Orders", Search(A, '"red blue"')))[1] == 0  # these are two values
    assert not plan_of(indexed, query).scanned


def test_many_words_and_many_searches(indexed: Storage) -> None:
    fill(indexed, 20)
    best = (Order(Field(("@score",))),)
    documents = [(each.etag, each.body or b"") for each in indexed.by_collection("orders", 0, 5000)]
    many = " ".join(f"b{number}" for number in range(500))
    for where in (
        Search(B, many),
        Search(B, many, every=True),
        Search(B, f'"{many}"'),
        Or(tuple(Search(B, f"b{number} b7") for number in range(60))),
        And(tuple(Search(B, f"b{number} b7") for number in range(60))),
    ):
        query = Query("Orders", where, order=best, take=20)
        assert found(indexed, query) == reference.answer(query, documents)
        assert plan_of(indexed, query).scanned == isinstance(where, And | Or)


@embedded
def test_words_that_are_damaged(indexed: Storage) -> None:
    """What cannot be read makes no write fail; it is dropped, and made anew."""
    fill(indexed)
    query = Query("Orders", Search(A, "3"))
    assert found(indexed, query)[1] == 100
    assert isinstance(indexed, SqliteStorage)
    [index] = indexed.writer.indexes.all
    rows_of(indexed, f"UPDATE index_{index.number}_data SET block = x'00' WHERE id > 1")
    for place in range(3000):
        indexed.submit([Write(f"orders/{place % 7}", b'{"A":3}', collection="Orders")])
    indexed.commit([Write("orders/3", b'{"A":3}', collection="Orders")])
    assert indexed.indexes() == []
    assert found(indexed, query)[1] == 106


def test_groups_by_an_index(indexed: Storage) -> None:
    fill(indexed)
    found = indexed.group(Query("Orders", Range(A, low=3), group=Group((A,), (A,))))
    assert found.plan.indexes == ("Auto/orders/ByA",)
    assert [(keys.value_of(row.by[0]), row.documents, row.sums) for row in found.rows] == [
        (number, 100, (Decimal(number * 100),)) for number in range(3, 10)
    ]


def fill(store: Storage, count: int = 1000) -> None:
    bodies = [b'{"A":%d,"B":"b%d"}' % (number % 10, number) for number in range(count)]
    put(store, "Orders", bodies)


def test_an_index_is_named_and_explained(indexed: Storage) -> None:
    fill(indexed)
    plan = plan_of(indexed, Query("Orders", Equal(A, 3), order=(Order(B),), take=5))
    assert plan.indexes == ("Auto/orders/ByA", "Auto/orders/ByB")
    assert (plan.scanned, plan.unknown) == (False, ())
    assert plan_of(indexed, Query("orders", Equal(Field(("C",)), 3))).unknown == ("C",)
    assert plan_of(indexed, Query("Orders", take=3)).indexes == ("Raven/DocumentsByEntityName",)
    by_id = plan_of(indexed, Query("Orders", Equal(Field(("@id",)), "orders/1")))
    assert by_id.scanned
    assert "@id" in by_id.why


def test_few_documents_need_no_index(store: Storage) -> None:
    fill(store, 100)
    assert plan_of(store, Query("Orders", Equal(A, 3))).scanned


@some(2)
@pytest.mark.parametrize("take", [None, 7])
def test_ranges_orders_and_pages(indexed: Storage, take: int | None) -> None:
    fill(indexed)
    documents = [(each.etag, each.body or b"") for each in indexed.by_collection("orders", 0, 5000)]
    for query in (
        Query("Orders", Range(A, low=3, high=5), order=(Order(A, True),)),
        Query("Orders", Equal(A, 3), order=(Order(B, True),)),
        Query("Orders", order=(Order(A), Order(B, True))),
        Query("Orders", StartsWith(B, "B99"), order=(Order(A),)),
        Query("Orders", In(B, tuple(f"b{number}" for number in range(0, 900, 3)))),
        Query("Orders", ~Equal(A, 3) & (Equal(A, 4) | Equal(B, "b7"))),
    ):
        query = msgspec.structs.replace(query, skip=3, take=take)
        assert found(indexed, query) == reference.answer(query, documents), query
        assert not plan_of(indexed, query).scanned


def test_an_index_is_kept_over_reopening(place: Place) -> None:
    fill(having_indexes(place.store))
    query = Query("Orders", Equal(A, 3))
    expected = found(place.store, query)
    place.reopen()
    assert not plan_of(place.store, query).scanned
    assert found(place.store, query) == expected


def test_what_is_written_while_one_is_built_is_in_it(indexed: Storage) -> None:
    fill(indexed, 4000)
    begun, done = threading.Event(), threading.Event()

    def write() -> None:
        number = 0
        while not done.is_set():
            indexed.commit([Write(f"orders/{number % 4000}", b'{"A":77}', collection="Orders")])
            indexed.commit([Write(f"orders/{number % 4000 + 1}", None)])
            number += 7
            begun.set()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert begun.wait(PATIENCE)
        found(indexed, Query("Orders", Equal(A, 77)))
    finally:
        done.set()
        thread.join()
    query = Query("Orders", Equal(A, 77))
    documents = [(each.etag, each.body or b"") for each in indexed.by_collection("orders", 0, 5000)]
    assert not plan_of(indexed, query).scanned
    assert found(indexed, query) == reference.answer(query, documents)
    assert len(found(indexed, query)[0]) > 0


@embedded
@asked_both_ways
def test_a_program_without_indexes_has_written(
    place: Place, condition: Condition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then they are filled anew: what it wrote and deleted is found rightly."""
    fill(having_indexes(place.store))
    query = Query("Orders", condition)
    assert not plan_of(place.store, query).scanned
    place.reopen()
    store = place.store
    assert isinstance(store, SqliteStorage)
    store.writer.indexes.all = ()  # as an older program, which does not look for them
    store.commit([Write("orders/3", None), Write("orders/5000", b'{"A":3}', collection="Orders")])
    place.reopen()
    documents = [(each.etag, each.body or b"") for each in place.store.by_collection("orders", 0, 5000)]
    assert found(place.store, query) == reference.answer(query, documents)
    assert not plan_of(place.store, query).scanned


@asked_both_ways
def test_a_failed_write_leaves_the_index_as_it_was(indexed: Storage, condition: Condition) -> None:
    fill(indexed)
    query = Query("Orders", condition)
    expected = found(indexed, query)
    with pytest.raises(ConcurrencyConflict):
        indexed.commit([Write("orders/3", b'{"A":4}', collection="Orders"), Write("orders/4", b"{}", expected=1 << 40)])
    assert found(indexed, query) == expected


@embedded
def test_another_process_uses_them_too(place: Place) -> None:
    fill(having_indexes(place.store))
    query = Query("Orders", Equal(A, 3))
    expected = found(place.store, query)
    reader = SqliteStorage(place.folder, clock=place.clock, read_only=True, key=place.store.key)
    try:
        assert not plan_of(reader, query).scanned
        assert found(reader, query) == expected
        assert plan_of(reader, Query("Orders", Equal(B, "b1"))).scanned  # it can make none
    finally:
        reader.close()


REPEATED = (
    Query("Orders", Equal(A, 3), take=25),
    Query("orders", Equal(A, 3), skip=2, take=5),
    Query("Orders", Equal(A, "Red"), take=25),
    Query("Orders", Range(A, 2, 5), order=(Order(A),), take=25),
    Query("Orders", Range(A, low=2), order=(Order(A, True),), take=25),
    Query("Orders", Equal(B, "b3"), take=25),
    Query("Orders", Equal(A, 3)),
    Query("Orders", Range(A, 2, 5), order=(Order(A),)),
    Query("Orders", Search(A, "red"), take=25),
    Query("Orders", Search(B, "b3 b2"), skip=1, take=5),
    Query("Orders", Search(A, "red"), order=(Order(Field((SCORE,))),), take=25),
    Query("Orders", Search(A, "red 3"), order=(Order(Field((SCORE,)), True),)),
)


class Repeated:
    """Asks the same queries again and again, as another look at the documents would answer them."""

    def __init__(self) -> None:
        self.documents: dict[str, tuple[int, bytes]] = {}

    def put(self, store: Storage, *bodies: tuple[str, bytes | None]) -> None:
        writes = [Write(id, body, collection="Orders") for id, body in bodies]
        for (id, body), written in zip(bodies, store.commit(writes), strict=True):
            self.documents.pop(id, None)
            if body is not None:
                self.documents[id] = (written.etag, body)

    def holds(self, store: Storage) -> None:
        """Twice, so that what the first has made ready is asked too."""
        documents = [*self.documents.values()]
        for _ in range(2):
            for query in REPEATED:
                assert found(store, query) == reference.answer(query, documents), query
                with store.find(query) as answer:
                    assert [each.etag for each in answer.revisions] == reference.answer(query, documents)[0], query


@embedded
def test_all_that_is_found_again_and_again(indexed: Storage) -> None:
    """Without a page to be asked for: few come from one statement, and more than that in parts."""
    query = Query("Orders", Equal(A, 1))
    for count in (1, FEW_OF_ALL, FEW_OF_ALL + 1, FEW_OF_ALL + 2, 2 * FEW_OF_ALL):
        documents = put(indexed, "Orders", [b'{"A":1}', b'{"A":2}'] * count)
        for skip in (0, 1, 0):
            asked = msgspec.structs.replace(query, skip=skip)
            assert found(indexed, asked) == reference.answer(asked, documents)


@embedded
def test_equal_queries_while_indexes_come_and_go(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process and, for who has the database open to read, in another one."""
    store, repeated = having_indexes(place.store), Repeated()
    bodies = (b'{"A":%d,"B":"b%d"}' % (n % 7, n % 5) for n in range(60))
    repeated.put(store, ("orders/words", b'{"A":"a red car"}'))  # which fits less
    repeated.put(store, *((f"orders/{n}", body) for n, body in enumerate(bodies)), ("orders/small", b'{"A":"red"}'))
    repeated.holds(store)
    repeated.put(
        store, ("orders/3", None), ("orders/4", b'{"A":3}'), ("orders/large", b'{"A":"RED"}')
    )  # spelled both ways
    repeated.holds(store)
    store.drop_index("Auto/orders/ByA")
    repeated.put(store, ("orders/5", b'{"A":3}'))
    repeated.holds(store)
    repeated.put(store, ("orders/6", b'{"A":[3,4,"red"]}'))  # several keys
    repeated.holds(store)
    named = {"Mine": Wanted("Orders", (A,))}
    store.keep_indexes(lambda: named)
    assert plan_of(store, REPEATED[0]).indexes == ("Mine",)
    repeated.holds(store)
    store.keep_indexes(dict)
    assert plan_of(store, REPEATED[0]).indexes == ("Auto/orders/ByA",)
    for field in ("ByA", "ByB"):
        store.drop_index(f"Auto/orders/{field}")
    found(store, REPEATED[5])  # which is the first now
    repeated.holds(store)
    used = min(index.used for index in store.indexes())
    place.clock.now += 2 * 3600 * 1_000_000
    repeated.holds(store)
    repeated.holds(store)
    assert min(index.used for index in store.indexes()) > used
    store.drop_index("Auto/orders/ByA")
    monkeypatch.setattr(store, "index_from", 1 << 40)
    assert plan_of(store, REPEATED[0]).scanned
    repeated.holds(store)
    reader = SqliteStorage(place.folder, clock=place.clock, read_only=True, key=store.key)
    repeated.holds(reader)
    store.close()
    other = get_context("spawn").Process(target=_drop_and_write, args=(place.folder, store.key), daemon=True)
    other.start()
    other.join()
    assert other.exitcode == 0
    for etag, id in ((revision.etag, revision.id) for revision in reader.by_collection("Orders", 0, 1000)):
        repeated.documents.setdefault(id, (etag, b'{"A":3,"B":"b3"}'))
    assert "orders/other" in repeated.documents
    repeated.holds(reader)
    reader.close()
    place.reopen()
    repeated.holds(having_indexes(place.store))
    assert list(place.store.check()) == []


def _drop_and_write(folder: Path, key: EncryptionKey | None) -> None:
    store = having_indexes(SqliteStorage(folder, clock=Clock(), key=key))
    store.drop_index("Auto/orders/ByB")
    for query in REPEATED:
        found(store, query)
    store.commit([Write("orders/other", b'{"A":3,"B":"b3"}', collection="Orders")])
    store.close()


@embedded
def test_what_is_read_while_an_index_changes(indexed: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement that is ready is carried out, and what it reads is younger than what the writer knew before."""
    assert isinstance(indexed, SqliteStorage)
    repeated, told = Repeated(), Reader.told
    repeated.put(indexed, *((f"orders/{n}", b'{"A":%d,"B":"b3"}' % n) for n in range(8)))
    repeated.holds(indexed)
    changes = [("orders/1", b'{"A":[2,3,3.5]}'), ("orders/2", b'{"A":3}')]

    def late(self: Reader, query: str, bindings: tuple[Any, ...]) -> Any:
        if changes:
            repeated.put(indexed, changes.pop())
        if len(changes) == 1:
            indexed.drop_index("Auto/orders/ByA")
        return told(self, query, bindings)

    monkeypatch.setattr(Reader, "told", late)
    for _ in range(6):
        answer = found(indexed, REPEATED[3])
        assert answer == reference.answer(REPEATED[3], [*repeated.documents.values()])
    assert not changes


def test_unused_ones_are_dropped(place: Place) -> None:
    store = having_indexes(place.store)
    fill(store)
    found(store, Query("Orders", Equal(A, 3)))
    place.clock.now += (indexes.UNUSED_SECONDS + 10) * 1_000_000
    found(store, Query("Orders", Equal(B, "b3")))
    assert [index.field for index in store.indexes()] == [B]


@embedded
def test_an_index_that_is_not_right_is_found_out(indexed: Storage) -> None:
    fill(indexed, 10)
    found(indexed, Query("Orders", Equal(A, 3)))
    assert isinstance(indexed, SqliteStorage)
    [index] = indexed.writer.indexes.all
    table = f"index_{index.number}"
    lose = f"DELETE FROM {table} WHERE key = (SELECT max(key) FROM {table}) RETURNING etag, key"
    row = indexed.writer.submit(lambda transaction: transaction.connection.execute(lose).fetchall()).result()
    assert list(indexed.check()) == ["the index Auto/orders/ByA lacks the current documents: 1"]
    put_back = f"INSERT INTO {table} VALUES(?, ?)"
    indexed.writer.submit(lambda transaction: transaction.connection.execute(put_back, row[0])).result()


@embedded
def test_an_index_with_wrong_keys_is_found_out(indexed: Storage) -> None:
    fill(indexed, 300)
    found(indexed, Query("Orders", Equal(A, 3)))
    assert isinstance(indexed, SqliteStorage)
    writer = indexed.writer
    several = Write("orders/5", b'{"A":[1,2,2]}', collection="Orders")
    indexed.commit([several, Write("orders/6", None)])
    assert list(indexed.check()) == []

    def write(*statements: str) -> None:
        job = [statement.format(f"index_{writer.indexes.all[0].number}") for statement in statements]
        writer.submit(lambda transaction: [transaction.connection.execute(each) for each in job]).result()

    of_one = "WHERE etag = (SELECT etag FROM {0} ORDER BY etag LIMIT 1 OFFSET 270)"
    write(
        f"UPDATE {{0}} SET key = CAST(key || x'00' AS BLOB) {of_one}",
        "INSERT INTO {0} SELECT max(etag), x'00' FROM {0}",
    )
    assert list(indexed.check()) == ["the index Auto/orders/ByA has other keys than the current documents: 2"]
    write("DELETE FROM {0} WHERE key = x'00'", f"UPDATE {{0}} SET key = substr(key, 1, length(key) - 1) {of_one}")


def test_they_are_listed_and_dropped(indexed: Storage) -> None:
    assert (indexed.indexes(), indexed.drop_index("Auto/Orders/ByA")) == ([], False)
    fill(indexed)
    expected = found(indexed, Query("Orders", Equal(A, 3)))
    [facts] = indexed.indexes()
    assert (facts.name, facts.collection, facts.field, facts.ready) == ("Auto/orders/ByA", "orders", A, True)
    assert indexed.drop_index("AUTO/Orders/BYA")
    assert indexed.indexes() == []
    assert found(indexed, Query("Orders", Equal(A, 3))) == expected
    assert [each.ready for each in indexed.indexes()] == [True]


def test_at_most_so_many(indexed: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "MOST", 1)
    fill(indexed)
    assert not plan_of(indexed, Query("Orders", Equal(A, 3))).scanned
    assert plan_of(indexed, Query("Orders", Equal(B, "b3"))).scanned


@embedded
def test_one_whose_drop_was_undone_is_kept_on(indexed: Storage) -> None:
    fill(indexed)
    query = Query("Orders", Equal(A, 3))
    assert (name := plan_of(indexed, query).indexes[0]) == "Auto/orders/ByA"
    assert isinstance(indexed, SqliteStorage)
    writer, before = indexed.writer, found(indexed, query)

    def job(transaction: object) -> None:
        assert writer.indexes.drop(name)
        raise ConcurrencyConflict("a", 1, 2)

    with pytest.raises(ConcurrencyConflict):
        writer.submit(job).result()
    [written] = indexed.commit([Write("orders/new", b'{"A":3}', collection="Orders")])
    assert found(indexed, query) == ([*before[0], written.etag], 101)
    assert list(indexed.check()) == []


@pytest.mark.parametrize("name", ['a"b', "a\\b", "\0", "x\n", "__class__"])
def test_a_field_of_any_name(indexed: Storage, name: str) -> None:
    """Whoever may read asks for it: afterwards all can be written, and is found."""
    body = msgspec.json.encode({name: 1, "A": 2})
    put(indexed, "Orders", [body])
    asked = Field((name,))
    assert found(indexed, Query("Orders", Equal(asked, 1)))[1] == 1
    put(indexed, "Orders", [body, body])
    assert found(indexed, Query("Orders", Equal(asked, 1) & Equal(A, 2)))[1] == 2
    assert not plan_of(indexed, Query("Orders", Equal(asked, 1))).scanned


@pytest.mark.parametrize("path", [("\ud800",), ("A",) * 101, ("A" * 5000,), ()])
def test_a_path_that_none_is(indexed: Storage, path: tuple[str, ...]) -> None:
    for query in (Query("Orders", Equal(Field(path), 1)), Query("Orders", order=(Order(Field(path)),))):
        with pytest.raises(InvalidInput):
            found(indexed, query)
    assert indexed.indexes() == []


def test_a_value_nested_too_deeply_has_no_keys(indexed: Storage) -> None:
    put(indexed, "Orders", [b'{"A":1}'])
    found(indexed, Query("Orders", Equal(A, 1) & Equal(B, 1)))
    deep = b"[" * 2000 + b"1" + b"]" * 2000
    put(indexed, "Orders", [b'{"A":1,"B":' + deep + b"}", b'{"A":' + deep + b"}"])
    assert found(indexed, Query("Orders", Equal(A, 1)))[1] == 1
    assert found(indexed, Query("Orders", Exists(B)))[1] == 1
    assert found(indexed, Query("Orders", ~Equal(Field(("@id",)), "x") & Exists(A)))[1] == 2  # by looking at each


def rows_of(store: Storage, sql: str) -> Any:
    assert isinstance(store, SqliteStorage)
    return store.writer.submit(lambda transaction: transaction.connection.execute(sql).fetchall()).result()


@embedded
@asked_both_ways
def test_no_index_makes_a_write_fail(indexed: Storage, condition: Condition) -> None:
    """One that cannot be kept is dropped, and made anew."""
    fill(indexed)
    query = Query("Orders", condition)
    found(indexed, query)
    assert isinstance(indexed, SqliteStorage)
    [index] = indexed.writer.indexes.all
    rows_of(indexed, f"DROP TABLE index_{index.number}")
    indexed.commit([Write("orders/5", b'{"A":3}', collection="Orders")])
    assert indexed.indexes() == []
    assert found(indexed, query)[1] == 101
    [again] = indexed.writer.indexes.all
    assert (again.ready, again.number > index.number) == (True, True)


@embedded
def test_a_drop_that_is_undone(indexed: Storage) -> None:
    """What is written after it is in the index, which is there still."""
    fill(indexed)
    query = Query("Orders", Equal(A, 3))
    found(indexed, query)
    assert isinstance(indexed, SqliteStorage)

    def drop(transaction: Transaction) -> None:
        assert transaction.indexes is not None
        transaction.indexes.drop("Auto/orders/ByA")
        raise ZeroDivisionError

    def drop_and_fail(transaction: Transaction) -> None:
        assert transaction.indexes is not None
        transaction.indexes.drop("Auto/orders/ByA")
        transaction.connection.execute("ROLLBACK")  # as SQLite does where the disk is full
        raise apsw.FullError("disk full")

    for failing, error in ((drop, ZeroDivisionError), (drop_and_fail, StorageFailure)):
        with pytest.raises(error):
            indexed.writer.submit(failing).result()
        before = len(found(indexed, query)[0])
        indexed.commit([Write(f"new/{failing.__name__}", b'{"A":3}', collection="Orders")])
        assert not plan_of(indexed, query).scanned
        assert len(found(indexed, query)[0]) == before + 1
        found(indexed, Query("Orders", Equal(B, "b3")))  # which makes another one
        assert len(found(indexed, query)[0]) == before + 1


@embedded
def test_what_an_index_cannot_read_in_a_write_that_fails(indexed: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where faults are noted is undone with the first one; the index is kept all the same, and can be dropped."""
    fill(indexed)
    query = Query("Orders", Equal(A, 3))
    before = len(found(indexed, query)[0])
    assert isinstance(indexed, SqliteStorage)
    of_body = Extractor.of_body

    def failing(self: Extractor, body: bytes) -> list[list[keys.Key]]:
        if b"boom" in body:
            raise ValueError("what a text")
        return of_body(self, body)

    monkeypatch.setattr(Extractor, "of_body", failing)
    monkeypatch.setattr(Extractor, "keys", lambda self, document: failing(self, document.body))
    bad = [Write("orders/bad", b'{"A":"boom"}', collection="Orders")]

    def job(transaction: Transaction) -> None:
        transaction.write(bad)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        indexed.writer.submit(job).result()
    [index] = indexed.writer.indexes.all
    indexed.commit([Write("orders/3", b'{"A":4}', collection="Orders")])
    assert [each.number for each in indexed.writer.indexes.all] == [index.number]
    indexed.commit([*bad, Write("orders/13", b'{"A":4}', collection="Orders")])
    assert [each.id for each in indexed.indexes()[0].faults] == ["orders/bad"]
    assert len(found(indexed, query)[0]) == before - 2
    rows_of(indexed, f"DROP TABLE index_{index.number}")
    indexed.commit([Write("orders/23", b'{"A":4}', collection="Orders")])
    assert rows_of(indexed, "SELECT number FROM index_fault") == []  # of one that is no more
    assert len(found(indexed, query)[0]) == before - 3
    assert indexed.drop_index(index.name)
    indexed.commit([Write("orders/bad", None)])


@embedded
def test_one_that_is_dropped_while_it_is_filled(indexed: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fills it ends, and does not fill the one that is made in its place."""
    fill(indexed)
    assert isinstance(indexed, SqliteStorage)
    store, fill_rows = indexed, Indexes.fill

    def dropped_first(self: Indexes, filled: Any, documents: Any) -> None:
        monkeypatch.setattr(Indexes, "fill", fill_rows)
        self.drop("Auto/orders/ByA")
        self.want("orders", [B], store._clock(), store.last_etag)
        self.fill(filled, documents)

    monkeypatch.setattr(Indexes, "fill", dropped_first)
    assert found(store, Query("Orders", Equal(A, 3)))[1] == 100
    assert found(store, Query("Orders", Equal(B, "b3")))[1] == 1
    assert list(store.check()) == []


@embedded
def test_one_that_cannot_be_made_is_tried_again_later(indexed: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(indexed)
    tried = []

    def failing(*_: object) -> None:
        tried.append(1)
        raise RuntimeError("a bug")

    monkeypatch.setattr(Indexes, "fill", failing)
    for _ in range(2):
        assert found(indexed, Query("Orders", Equal(A, 3)))[1] == 100
    assert (len(tried), indexed.indexes()) == (1, [])
    monkeypatch.undo()
    monkeypatch.setattr(building, "RETRY_SECONDS", 0.0)
    assert found(indexed, Query("Orders", Equal(A, 3)))[1] == 100
    assert len(indexed.indexes()) == 1


def test_many_conditions_make_no_indexes(indexed: Storage) -> None:
    fill(indexed, 10)
    assert found(indexed, Query("Orders", Or(tuple(Equal(Field((f"F{n}",)), 1) for n in range(300)))))[1] == 0
    assert indexed.indexes() == []


def test_the_one_not_used_for_longest_makes_room(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "MOST", 1)
    store = having_indexes(place.store)
    fill(store, 10)
    found(store, Query("Orders", Equal(A, 3)))
    place.clock.now += (indexes.MAKES_ROOM_SECONDS + 10) * 1_000_000
    found(store, Query("Orders", Equal(B, "b3")))
    assert [each.field for each in store.indexes()] == [B]


def test_sums_and_groups_that_would_never_end(indexed: Storage) -> None:
    put(indexed, "Orders", [b'{"A":1,"B":1e2000000}', b'{"A":1,"B":1}'])
    with pytest.raises(InvalidInput, match="digits"):
        indexed.group(Query("Orders", group=Group((A,), (B,))))
    many = [Field((name,)) for name in "ABCDEFGH"]
    put(indexed, "Orders", [msgspec.json.encode({each.path[0]: list(range(100)) for each in many})])
    with pytest.raises(InvalidInput, match="groups"):
        indexed.group(Query("Orders", group=Group(tuple(many))))


@embedded
@asked_both_ways
def test_a_disk_that_is_full_while_one_is_made(
    indexed: Storage, condition: Condition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is none then, what is found is right, and it is made when there is room."""
    fill(indexed)
    assert isinstance(indexed, SqliteStorage)
    query = Query("Orders", condition)
    monkeypatch.setattr(building, "RETRY_SECONDS", 0.0)
    expected = [each.etag for each in indexed.by_collection("orders", 0, 5000) if b'"A":3' in (each.body or b"")], 100
    for pages in (0, 2, 5, 8, 12):
        limit_pages(indexed, pages)
        assert found(indexed, query) == expected
        assert list(indexed.check()) == []
        with pytest.raises(StorageFailure):
            indexed.commit([Write("large", b'{"A":3,"B":"%s"}' % (b"x" * 2_000_000), collection="Orders")])
        assert found(indexed, query) == expected
    limit_pages(indexed, 1 << 20)
    indexed.commit([Write("large", b'{"A":3,"B":"%s"}' % (b"x" * 2_000_000), collection="Orders")])
    assert found(indexed, query)[1] == 101
    assert not plan_of(indexed, query).scanned
    assert list(indexed.check()) == []


@embedded
@some(2)
@asked_both_ways
@pytest.mark.parametrize("step", ["fill", "filled"])
def test_a_process_killed_while_one_is_made(place: Place, step: str, condition: Condition) -> None:
    store = having_indexes(place.store)
    fill(store)
    query = Query("Orders", condition)
    expected = found(store, query)
    store.drop_index(store.indexes()[0].name)
    store.close()
    killed = get_context("spawn").Process(target=_die_at, args=(place.folder, store.key, step, condition), daemon=True)
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    place.reopen()
    store = having_indexes(place.store)
    store.commit([Write("orders/5000", b'{"A":3}', collection="Orders"), Write("orders/3", None)])
    assert found(store, query)[1] == expected[1]
    assert not plan_of(store, query).scanned
    assert list(store.check()) == []


def _die_at(folder: Path, key: EncryptionKey | None, step: str, condition: Condition) -> None:
    setattr(Indexes, step, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    store = having_indexes(SqliteStorage(folder, clock=Clock(), key=key))
    found(store, Query("Orders", condition))
