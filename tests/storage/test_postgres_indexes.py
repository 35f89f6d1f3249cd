"""Indexes in PostgreSQL: several processes make, keep and use the same ones. What they find, `test_indexes` says."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

import pytest

from muniment import DocumentDatabase
from muniment.errors import DatabaseLocked
from muniment.query.model import Equal, Field, Order, Query, Range, Search, StartsWith
from muniment.storage import engines
from muniment.storage.base import Storage, Write, system_clock
from muniment.storage.indexes import Index
from muniment.storage.location import Address, location_of
from muniment.storage.postgres import keeper, migrate, schema
from muniment.storage.postgres.indexes import HEAD_BYTES, Indexes
from muniment.storage.postgres.store import PostgresStorage
from tests.postgres_server import Postgres
from tests.storage.postgres import run
from tests.storage.test_indexes import fill, having_indexes, plan_of
from tests.storage.test_queries import found
from tests.waiting import PATIENCE, until

A, B = Field(("A",)), Field(("B",))
THREE = Query("Orders", Equal(A, 3))
RED = Query("Orders", Search(B, "red car"), order=(Order(Field(("@score",))),))


def opened(address: Address, *, read_only: bool = False) -> closing[PostgresStorage]:
    store = PostgresStorage(address, clock=system_clock, read_only=read_only)
    having_indexes(store)
    return closing(store)


@pytest.fixture
def store(address: Address) -> Iterator[PostgresStorage]:
    with opened(address) as store:
        yield store
        assert list(store.check()) == []


def matching(store: Storage, text: bytes) -> list[int]:
    return [each.etag for each in store.by_collection("orders", 0, 10_000) if text in (each.body or b"")]


def test_all_processes_keep_those_that_one_has_made(store: PostgresStorage, address: Address) -> None:
    with opened(address) as other, opened(address, read_only=True) as reader:
        fill(store, 50)
        found(store, THREE)
        found(store, RED)
        other.commit([Write("orders/3", None), Write("orders/x", b'{"A":3,"B":"red car"}', collection="Orders")])
        other.commit_all([[Write(f"orders/y{n}", b'{"A":3,"B":"car"}', collection="Orders")] for n in range(5)])
        other.commit_all([[Write("orders/y1", None)], [Write("orders/y2", b'{"A":4}', collection="Orders")]])
        for each in (store, other, reader):
            assert found(each, THREE) == (matching(store, b'"A":3'), len(matching(store, b'"A":3')))
            assert found(each, RED)[0][0] == matching(store, b"red car")[0]
            assert not plan_of(each, THREE).scanned
            assert not plan_of(each, RED).scanned
        assert plan_of(reader, Query("Orders", Equal(Field(("C",)), 1))).scanned  # it can make none
        assert other.drop_index("Auto/orders/ByA")
        store.commit([Write("orders/z", b'{"A":3}', collection="Orders")])
        assert plan_of(reader, THREE).scanned
        assert found(store, THREE)[1] == found(other, THREE)[1] == len(matching(store, b'"A":3'))
        assert not plan_of(reader, THREE).scanned
        assert list(reader.check()) == []


def test_two_that_want_the_same_one_make_it_once(
    store: PostgresStorage, address: Address, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, 300)
    asked, filled = threading.Event(), Indexes.filled

    def late(self: Indexes, indexes: object, upto: int) -> None:
        assert asked.wait(PATIENCE)
        filled(self, indexes, upto)  # type: ignore[arg-type]

    monkeypatch.setattr(Indexes, "filled", late)
    answers: list[int | None] = []
    with opened(address) as other:
        threads = [
            threading.Thread(target=lambda each=each: answers.append(found(each, THREE)[1])) for each in (store, other)
        ]
        for each in threads:
            each.start()
        until(lambda: run(postgres, address, "SELECT count(*) FROM {s}.index_key") != [(0,)])
        store.commit([Write("orders/3", None), Write("orders/13", b'{"A":4}', collection="Orders")])
        asked.set()
        for each in threads:
            each.join()
        assert found(other, THREE)[1] == found(store, THREE)[1] == 28
    assert len(answers) == 2
    assert run(postgres, address, "SELECT count(*) FROM {s}.index_definition") == [(1,)]


def test_one_is_filled_with_what_was_there_when_it_was_defined(
    store: PostgresStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What commits have added before the state is pinned that it is filled from comes no second time."""
    fill(store, 50)
    want = Indexes.want

    def early(self: Indexes, collection: str | None, fields: Sequence[Field]) -> Sequence[Index]:
        made = want(self, collection, fields)
        if made and not made[0].ready:
            store.commit([Write("orders/3", b'{"A":3,"B":"red red car"}', collection="Orders")])
            store.commit([Write("orders/x", b'{"A":3,"B":"red car"}', collection="Orders")])
        return made

    monkeypatch.setattr(Indexes, "want", early)
    for query in (THREE, RED):
        answers = [found(store, query) for _ in range(2)]
        assert not plan_of(store, query).scanned
        assert answers[0] == answers[1]


@pytest.mark.parametrize("step", ["fill", "filled"])
def test_one_is_made_anew_whose_maker_was_killed(address: Address, postgres: Postgres, step: str) -> None:
    with opened(address) as store:
        fill(store, 100)
    killed = get_context("spawn").Process(target=_die_at, args=(str(address), step), daemon=True)
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    run(postgres, address, "UPDATE {s}.lease SET expires = now() - interval '1 second'")
    with opened(address) as store:
        store.commit([Write("orders/3", None), Write("orders/x", b'{"A":3}', collection="Orders")])
        assert found(store, THREE)[1] == 10
        assert not plan_of(store, THREE).scanned
        assert list(store.check()) == []
        assert run(postgres, address, "SELECT count(*) FROM {s}.index_key") == [(100,)]


def _die_at(address: str, step: str) -> None:
    setattr(Indexes, step, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    place = location_of(address)
    assert isinstance(place, Address)
    with opened(place) as store:
        found(store, THREE)


def test_values_as_long_as_pages(store: PostgresStorage) -> None:
    """PostgreSQL indexes no more than a third of a page: they compare by all their bytes all the same."""
    sizes = [HEAD_BYTES + n for n in (-3, -2, -1, 0, 1)] + [9000]
    texts = [letter * size + end for size in sizes for letter in "xy" for end in ("", "a", "b")]
    bodies = [b'{"A":"%s"}' % text.encode() for text in texts]
    store.commit([Write(f"orders/{n}", body, collection="Orders") for n, body in enumerate(bodies)])
    etags = {text: n + 1 for n, text in enumerate(texts)}
    in_order = sorted(texts)
    for text in texts:
        assert found(store, Query("Orders", Equal(A, text.upper()))) == ([etags[text]], 1)
        below = [etags[each] for each in texts if each < text]
        assert found(store, Query("Orders", Range(A, high=text, high_open=True)))[0] == below
        starting = [etags[each] for each in texts if each.startswith(text)]
        assert found(store, Query("Orders", StartsWith(A, text)))[0] == starting
        searched = Query("Orders", Search(A, f"{text}*"))
        assert found(store, searched)[0] == starting
    for take in (None, 7):
        for descending in (False, True):
            wanted = [etags[each] for each in (reversed(in_order) if descending else in_order)][:take]
            assert found(store, Query("Orders", order=(Order(A, descending),), take=take))[0] == wanted
    assert not plan_of(store, Query("Orders", Equal(A, texts[0]))).scanned


@pytest.mark.parametrize("query", [THREE, RED], ids=["value", "words"])
def test_no_index_makes_a_write_fail(
    store: PostgresStorage, address: Address, postgres: Postgres, query: Query
) -> None:
    """Those that cannot be kept are dropped, and made anew."""
    fill(store, 20)
    found(store, query)
    for table in ("index_key", "index_text"):
        run(postgres, address, f"ALTER TABLE {{s}}.{table} ADD CONSTRAINT none CHECK (etag < 1) NOT VALID")
    body = b'{"A":3,"B":"red car"}'
    with opened(address) as other:  # which has not asked for indexes
        other.commit([Write("orders/x", body, collection="Orders"), Write("orders/3", None)])
    store.commit_all([[Write("orders/y", body, collection="Orders")]])
    assert store.indexes() == []
    for table in ("index_key", "index_text"):
        run(postgres, address, f"ALTER TABLE {{s}}.{table} DROP CONSTRAINT none")
    assert found(store, query)[1] == len(matching(store, b'"A":3' if query is THREE else b"red car"))
    assert not plan_of(store, query).scanned


def test_one_that_is_not_right_is_found_out(store: PostgresStorage, address: Address, postgres: Postgres) -> None:
    fill(store, 10)
    found(store, THREE)
    [row] = run(postgres, address, "DELETE FROM {s}.index_key WHERE etag = 4 RETURNING etag, number, place, head")
    assert list(store.check()) == ["the index Auto/orders/ByA lacks the current documents: 1"]
    run(
        postgres, address, f"INSERT INTO {{s}}.index_key SELECT 4, {row[1]}, 0, head, tail FROM {{s}}.index_key LIMIT 1"
    )


@pytest.mark.parametrize("query", [THREE, RED], ids=["value", "words"])
def test_what_goes_before_it_is_filled_in_is_not_in_it(
    store: PostgresStorage, monkeypatch: pytest.MonkeyPatch, query: Query
) -> None:
    """It was current when the filling began, and gone for all who commit when it is added."""
    store.commit([Write(f"orders/{n}", b'{"A":3,"B":"red car"}', collection="Orders") for n in range(9)])
    fill_rows = Indexes.fill

    def late(self: Indexes, *filled: object) -> None:
        monkeypatch.setattr(Indexes, "fill", fill_rows)
        store.commit([Write("orders/3", None), Write("orders/4", b'{"A":4,"B":"blue"}', collection="Orders")])
        store.purge()
        fill_rows(self, *filled)  # type: ignore[arg-type]

    monkeypatch.setattr(Indexes, "fill", late)
    assert found(store, query)[1] == 7
    assert found(store, query)[1] == 7
    assert not plan_of(store, query).scanned


def test_one_that_is_dropped_while_it_is_filled(
    store: PostgresStorage, address: Address, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fills it adds nothing any more."""
    fill(store, 100)
    fill_rows = Indexes.fill

    def dropped_first(self: Indexes, *filled: object) -> None:
        monkeypatch.setattr(Indexes, "fill", fill_rows)
        assert self.drop("Auto/orders/ByA")
        fill_rows(self, *filled)  # type: ignore[arg-type]

    monkeypatch.setattr(Indexes, "fill", dropped_first)
    assert found(store, THREE)[1] == 10
    assert run(postgres, address, "SELECT count(*) FROM {s}.index_key") == [(0,)]
    assert found(store, THREE)[1] == 10
    assert not plan_of(store, THREE).scanned


def test_indexes_with_a_name_are_kept_by_every_process(address: Address, tmp_path: Path) -> None:
    with DocumentDatabase(address) as shop:
        shop.put("orders/1", {"Company": "companies/1"}, {"Raven-Entity-Name": "Orders"})
        shop.indexes.put("Orders/Mine", "Orders", {"Customer": "Company"})
        until(lambda: (there := shop.indexes.get("Orders/Mine")) and there.ready)
        [order] = shop.query("from index 'Orders/Mine' where Customer = 'companies/1'")
        assert order.id == "orders/1"
        shop.maintenance.start_backup(tmp_path / "backups").wait()
    with DocumentDatabase(address) as again:
        again.put("orders/2", {"Company": "companies/1"}, {"Raven-Entity-Name": "Orders"})
        answer = again.query("from index 'Orders/Mine' where Customer = 'companies/1'")
        assert (answer.total, answer.plan.indexes) == (2, ("Orders/Mine",))
        assert again.check() == []


def used(database: DocumentDatabase) -> tuple[str, ...]:
    return tuple(database.query("from Orders where Company = 'companies/1'").plan.indexes)


def test_one_with_a_name_that_another_process_has_put(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is known by its name here too, after a while."""
    monkeypatch.setattr(keeper, "BEAT_SECONDS", 0.05)
    with DocumentDatabase(address) as shop, DocumentDatabase(address) as other:
        shop.put("orders/1", {"Company": "companies/1"}, {"Raven-Entity-Name": "Orders"})
        shop.indexes.put("Orders/Mine", "Orders", {"Customer": "Company"})
        until(lambda: used(other) == ("Orders/Mine",))
        other.indexes.drop("Orders/Mine")
        until(lambda: used(shop) != ("Orders/Mine",))


def test_a_database_without_tables_for_them_gets_them(address: Address, postgres: Postgres) -> None:
    """As the version before had it, whose format is 1."""
    with opened(address) as store:
        fill(store, 10)
    for table in ("index_definition", "index_key", "index_text", "index_fault"):
        run(postgres, address, f"DROP TABLE {{s}}.{table}")
    run(postgres, address, "UPDATE {s}.muniment SET format = 1")
    assert max(migrate.UPGRADES) + 1 == schema.FORMAT
    with opened(address) as store:
        with pytest.raises(DatabaseLocked):
            engines.remove(address)
        assert found(store, THREE)[1] == 1
        assert not plan_of(store, THREE).scanned
        assert list(store.check()) == []
    engines.remove(address)
    assert not engines.exists(address)
