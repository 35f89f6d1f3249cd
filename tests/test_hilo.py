"""Ids from reserved ranges."""

from __future__ import annotations

import json
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from muniment import DocumentDatabase, Put
from muniment.errors import InvalidDocument, InvalidId, InvalidInput
from muniment.hilo import CAPACITY, HiLo, collection_for, tag_of
from muniment.numbers import free_after


def maximum(database: DocumentDatabase, tag: str) -> int:
    document = database.get(f"Raven/Hilo/{tag}")
    assert document is not None
    value = document.json()["Max"]
    assert isinstance(value, int)
    return value


def test_ids_count_up(database: DocumentDatabase) -> None:
    assert [database.next_id("Orders") for _ in range(100)] == [f"orders/{n}" for n in range(1, 101)]
    assert [database.next_id("Companies"), database.next_id("orders")] == ["companies/1", "orders/101"]
    assert maximum(database, "orders") == 4 * CAPACITY
    assert maximum(database, "companies") == CAPACITY


def test_a_range_is_on_disk_before_its_first_id_is_given(tmp_path: Path) -> None:
    given = []
    for _ in range(3):
        with DocumentDatabase(tmp_path) as database:
            given += [database.next_id("Orders") for _ in range(3)]
            assert maximum(database, "orders") >= int(given[-1].split("/")[1])
    assert given == [f"orders/{n}" for n in (1, 2, 3, 33, 34, 35, 65, 66, 67)]


def test_threads_never_get_the_same_id(database: DocumentDatabase) -> None:
    others = [HiLo(database) for _ in range(3)]  # as clients in other places have them
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda n: (others[n % 4] if n % 4 < 3 else database).next_id("Orders"), range(800)))
    assert len(set(ids)) == 800
    assert maximum(database, "orders") >= 800


def ids_in(folder: Path, count: int) -> list[str]:
    with DocumentDatabase(folder) as database:
        return [database.next_id("Orders") for _ in range(count)]


def test_processes_never_get_the_same_id(tmp_path: Path, other_process: ProcessPoolExecutor) -> None:
    ids: list[str] = []
    for count in (1, 31, 32, 33, 5):
        ids += other_process.submit(ids_in, tmp_path, count).result(60)
        ids += ids_in(tmp_path, count)
    assert len(set(ids)) == len(ids) == 2 * (1 + 31 + 32 + 33 + 5)


def test_a_range_goes_on_from_what_was_imported(database: DocumentDatabase) -> None:
    database.put("Raven/Hilo/orders", b'{"Max": 830, "Comment": 1.10}', {"Origin": "RavenDB"})
    assert database.next_id("Orders") == "orders/831"
    document = database.get("raven/hilo/orders")
    assert document is not None
    assert json.loads(document.body) == {"Max": 862, "Comment": 1.1}
    assert b"1.10" in document.body
    assert document.metadata == {"Origin": "RavenDB"}


@pytest.mark.parametrize("body", [b"{}", b'{"Max":"x"}', b'{"Max":null}', b'{"Max":[]}', b'{"Max":1e400}'])
def test_a_range_that_somebody_spoiled(database: DocumentDatabase, body: bytes) -> None:
    database.put("Raven/Hilo/orders", body)
    with pytest.raises(InvalidDocument, match="Raven/Hilo/orders") as caught:
        database.next_id("Orders")
    assert caught.value.hint
    assert database.get("Raven/Hilo/orders").body == body  # type: ignore[union-attr]


def test_a_range_that_somebody_deleted_begins_again(database: DocumentDatabase) -> None:
    assert database.next_id("Orders") == "orders/1"
    database.delete("Raven/Hilo/orders")
    assert database.next_id("Orders") == "orders/2"
    assert HiLo(database).next_id("Orders") == "orders/1"


@pytest.mark.parametrize(
    ("collection", "tag"),
    [
        ("Orders", "orders"),
        ("orders", "orders"),
        ("LastFms", "LastFms"),
        ("ABC", "ABC"),
        ("Étage", "étage"),
        ("a b", "a b"),
    ],
)
def test_the_tag_of_a_collection(database: DocumentDatabase, collection: str, tag: str) -> None:
    assert tag_of(collection) == tag
    assert database.next_id(collection) == f"{tag}/1"


def test_collections_without_a_tag(database: DocumentDatabase) -> None:
    with pytest.raises(InvalidInput, match="needs a collection"):
        database.next_id("")
    for collection in ("x" * 502, "\ud800"):
        with pytest.raises(InvalidId):
            database.next_id(collection)
    assert database.statistics().documents == 0


@pytest.mark.parametrize(
    ("name", "collection"),
    [
        ("Order", "Orders"),
        ("Company", "Companies"),
        ("Day", "Days"),
        ("Address", "Addresses"),
        ("Box", "Boxes"),
        ("Branch", "Branches"),
        ("Dish", "Dishes"),
        ("LastFm", "LastFms"),
    ],
)
def test_the_collection_of_a_class(name: str, collection: str) -> None:
    kind: type[Any] = type(name, (), {})
    assert collection_for(kind) == collection


def test_ids_that_are_taken_are_skipped_whatever_the_number_says(database: DocumentDatabase) -> None:
    database.batch([Put(f"orders/{n}", {"mine": n}) for n in range(1, 1001)])
    assert database.next_id("Orders") == f"orders/{32 * CAPACITY + 1}"
    assert maximum(database, "orders") == 33 * CAPACITY
    database.put("Raven/Hilo/companies", {"Max": 64})
    database.put("COMPANIES/70", {})
    assert database.next_id("Companies") == "companies/97"


def test_an_id_that_was_taken_after_its_range_was_reserved_is_skipped(database: DocumentDatabase) -> None:
    assert database.next_id("Orders") == "orders/1"
    database.batch([Put("orders/2", {"mine": 2}), Put("orders/4", {"mine": 4})])
    assert [database.next_id("Orders") for _ in range(3)] == ["orders/3", "orders/5", "orders/6"]


@pytest.mark.parametrize(
    ("used", "after"), [(0, 0), (1, 32), (32, 32), (33, 64), (100, 128), (1024, 1024), (9999, 10016)]
)
def test_the_first_free_range_is_found_in_a_few_steps(used: int, after: int) -> None:
    asked = []

    def find() -> Generator[int, bool, None]:
        found = yield from free_after(0, CAPACITY)
        asked.append(found)

    search = find()
    start: int | None = next(search)
    while start is not None:
        asked.append(start)
        try:
            start = search.send(start < used)
        except StopIteration:
            start = None
    assert asked[-1] == after
    assert len(asked) <= 20
