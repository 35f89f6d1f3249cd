"""What becomes of indexes with a name: while they are built, after restores and imports, and where they fail."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from muniment import DocumentDatabase, IndexField, Put, Selection, field
from muniment.query import words
from muniment.storage import building, indexes
from muniment.storage.sqlite.indexes import Indexes
from muniment.storage.sqlite.store import SqliteStorage
from tests.clock import Clock
from tests.waiting import PATIENCE, until

ORDERS = {"Raven-Entity-Name": "Orders"}
SEARCH = {"Company": "Company", "Notes": IndexField("Notes", search=True)}


def fill(database: DocumentDatabase, count: int = 30) -> None:
    commands = [
        Put(f"orders/{n}", {"Company": f"companies/{n % 3}", "Notes": f"red car {n}"}, ORDERS) for n in range(count)
    ]
    database.batch(commands)


@pytest.fixture
def shop(tmp_path: Path) -> Any:
    with DocumentDatabase(tmp_path / "shop") as database:
        fill(database)
        database.indexes.put("Orders/Search", "Orders", SEARCH)
        until(lambda: ready(database))
        yield database


def ready(database: DocumentDatabase) -> bool:
    found = database.indexes.get("Orders/Search")
    return found is not None and found.ready


def test_they_are_there_after_a_restore(shop: DocumentDatabase, tmp_path: Path) -> None:
    """The definition is part of the backup and its fingerprint; what it has is built when the database is opened."""
    shop.maintenance.start_backup(tmp_path / "backups").wait()
    shop.maintenance.restore(tmp_path / "backups", tmp_path / "restored")
    with DocumentDatabase(tmp_path / "restored") as restored:
        assert restored.statistics().fingerprint == shop.statistics().fingerprint
        until(lambda: ready(restored))
        found = restored.query("from index 'Orders/Search' where search(Notes, 'car') and Company = 'companies/1'")
        assert (found.total, found.plan.indexes) == (10, ("Orders/Search",))
        restored.indexes.drop("Orders/Search")
        until(lambda: restored.storage.indexes() == [])
        assert restored.statistics().fingerprint != shop.statistics().fingerprint


def test_they_are_there_after_dumps(shop: DocumentDatabase, tmp_path: Path) -> None:
    """In the words of every RavenDB, into a database that is in use."""
    for name in ("shop.ravendump", "shop.ravendbdump"):
        shop.export(tmp_path / name)
        with DocumentDatabase(tmp_path / name.replace(".", "-")) as other:
            other.import_dump(tmp_path / name)
            until(lambda: ready(other))
            found = other.query("from index 'Orders/Search' where search(Notes, 'car')")
            assert (found.total, found.plan.indexes) == (30, ("Orders/Search",))


def test_the_ones_that_are_named_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long nobody asks them, and however many others there are; those of their fields are not dropped."""
    clock = Clock()
    monkeypatch.setattr(indexes, "MOST", 1)
    with DocumentDatabase(tmp_path / "shop", clock=clock) as shop:
        fill(shop)
        assert isinstance(shop.storage, SqliteStorage)
        shop.storage.index_from = 0
        shop.indexes.put("Orders/Search", "Orders", SEARCH)
        until(lambda: ready(shop))
        for name in ("A", "B"):
            clock.now += (indexes.UNUSED_SECONDS + 10) * 1_000_000
            shop.query(f"from Orders where {name} = 1")
        assert [each.name for each in shop.indexes.list()] == ["Orders/Search", "Auto/orders/ByB"]
        shop.indexes.put("Orders/Search", "Orders", ["Company"])
        until(lambda: len(shop.storage.indexes()) == 2)
        assert [each.field.path for each in shop.storage.indexes()] == [("Company",), ("B",)]
        shop.delete("Raven/Indexes/Orders/Search")
        until(lambda: len(shop.storage.indexes()) == 1)


def test_a_query_says_how_far_an_index_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits a while, and then looks at every document; what it finds is right."""
    monkeypatch.setattr(building, "STEP", 10)
    monkeypatch.setattr("muniment.storage.store.INDEX_SECONDS", 0.0)
    go_on, fill_rows, steps = threading.Event(), Indexes.fill, []

    def slowly(self: Indexes, *rows: Any) -> None:
        fill_rows(self, *rows)
        steps.append(1)

    def waiting(self: building.Builder, *rest: Any) -> Any:
        for each in keys(self, *rest):
            yield each
            if len(steps) == 1:
                assert go_on.wait(PATIENCE)

    keys = building.Builder._keys
    monkeypatch.setattr(Indexes, "fill", slowly)
    monkeypatch.setattr(building.Builder, "_keys", waiting)
    with DocumentDatabase(tmp_path / "shop") as shop:
        fill(shop)
        shop.indexes.put("Orders/Search", "Orders", SEARCH)
        try:
            until(lambda: len(steps) == 1 and (told := shop.indexes.get("Orders/Search")) and told.progress)
            facts = shop.indexes.get("Orders/Search")
            assert facts is not None
            assert (facts.ready, 0 < facts.progress < 1) == (False, True)
            found = shop.query("from index 'Orders/Search' where search(Notes, 'car')")
            assert (found.total, found.plan.scanned) == (30, True)
            assert "the index on Notes as search is being built (33%)" in found.plan.why
            fill(shop)  # writes go on
        finally:
            go_on.set()
        until(lambda: ready(shop))
        assert shop.query("from index 'Orders/Search' where search(Notes, 'car')").total == 30
        assert shop.check() == []


def test_a_document_that_an_index_cannot_read(shop: DocumentDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault is kept with its id, the others are indexed, and the document is found by its other fields."""

    def failing(cut: Callable[..., Any], text: str, *, stems: bool) -> Any:
        if "boom" in text:
            raise ValueError("what a text")
        return cut(text, stems=stems)

    for name in ("in_order", "text_of"):  # as engines have the words of a text
        monkeypatch.setattr(words, name, partial(failing, getattr(words, name)))
    bad = {"Company": "companies/1", "Notes": "boom car"}
    shop.batch([Put("orders/bad", bad, ORDERS), Put("orders/good", {"Notes": "car"}, ORDERS)])
    facts = shop.indexes.get("Orders/Search")
    assert facts is not None
    assert [(each.id, each.reason) for each in facts.faults] == [("orders/bad", "ValueError: what a text")]
    for query, total in (("search(Notes, 'car')", 31), ("Company = 'companies/1'", 11)):
        assert shop.query(f"from index 'Orders/Search' where {query}").total == total
    shop.indexes.put("Orders/Stems", "Orders", {"Notes": IndexField("Notes", stem=True)})  # and while one is built
    until(lambda: len(shop.indexes.list()) == 2 and all(each.ready for each in shop.indexes.list()))
    assert [len(each.faults) for each in shop.indexes.list()] == [1, 1]
    assert shop.query("from index 'Orders/Stems' where search(Notes, 'cars')").total == 31
    assert shop.query("from Others where search(Notes, 'cars')").total == 0
    shop.put("orders/bad", {"Notes": "car"}, ORDERS)
    assert [each.faults for each in shop.indexes.list()] == [(), ()]
    assert shop.check() == []


def test_definitions_that_cannot_be_asked_say_why(shop: DocumentDatabase) -> None:
    reduce = b'{"definition":{"Map":"from o in docs.Orders select new { o.A }","Reduce":"x"},"name":"Sum"}'
    shop.put("Raven/Indexes/Sum", reduce, {"Raven-Smuggler-Section": "Indexes"})
    facts = shop.indexes.get("sum")
    assert facts is not None
    assert facts.problem is not None
    assert (facts.ready, "Reduce" in facts.problem) == (False, True)
    assert ready(shop)


def test_a_restore_of_one_collection_has_the_definitions_that_are_asked_for(
    shop: DocumentDatabase, tmp_path: Path
) -> None:
    shop.put("others/1", {}, {"Raven-Entity-Name": "Others"})
    shop.maintenance.start_backup(tmp_path / "backups").wait()
    for name, prefixes in (("without", []), ("with", ["raven/indexes/"])):
        selection = Selection.of(collections=["Orders"], prefixes=prefixes)
        shop.maintenance.restore(tmp_path / "backups", tmp_path / name, selection=selection)
        with DocumentDatabase(tmp_path / name) as restored:
            assert restored.get("others/1") is None
            until(lambda: ready(restored) == bool(prefixes))  # noqa: B023


def test_one_that_only_reads_uses_them_by_their_names(shop: DocumentDatabase) -> None:
    with DocumentDatabase(shop.path, read_only=True) as reader:
        session = reader.open_session()
        query = session.query(index="Orders/Search").search("Notes", "car").where(field("Company") == "companies/1")
        assert (query.count(), query.explain().indexes) == (10, ("Orders/Search",))
