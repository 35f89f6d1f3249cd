"""Documents that are given in columns, as an import gives them, become what they become one by one, on every engine."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

import pytest

from muniment.errors import InvalidInput
from muniment.query.model import Equal, Field, Query
from muniment.revision import DOCUMENT, Packed
from muniment.storage.base import Arrived, Documents, Storage, Write
from muniment.storage.sqlite.store import SqliteStorage
from tests.clock import Clock
from tests.storage.awkward import BODIES, IDS
from tests.storage.place import Place
from tests.storage.reference import changes, delete, put, state_now

MANY = [put(f"orders/{n}", b'{"A":%d}' % n, b'{"n":%d}' % n, "Orders" if n % 3 else None) for n in range(300)]
SHORT = cycle(body for body in BODIES.values() if len(body) < 10_000)
AWKWARD = [put(id, next(SHORT), b'{"a":1}', "Ö" if n % 2 else "o") for n, id in enumerate(IDS)]


def columns(writes: Sequence[Write]) -> Documents:
    return Documents(
        Packed.of(write.id.encode() for write in writes),
        Packed.of(None if write.collection is None else write.collection.encode() for write in writes),
        Packed.of(write.metadata for write in writes),
        Packed.of(write.body for write in writes),
    )


def etags(arrived: Arrived) -> list[int]:
    return list(arrived) if isinstance(arrived, range) else [each.etag for each in arrived]


def write(store: Storage, batch: Sequence[Write], replaced: dict[int, int]) -> Arrived:
    return store.submit_documents(columns(batch), replaced).result()


@pytest.mark.parametrize(
    "batches",
    [
        [MANY, [put("new")], MANY[:3]],
        [[put("A"), put("b")], [put("c"), put("a", b'{"x":1}'), put("d")]],
        [[put("a"), put("A", b'{"x":1}'), put("ß"), put("SS"), put("ss")]],
        [[put("a")], [delete("a")], [put("A"), put("b")]],
        [AWKWARD, AWKWARD[::-1]],
    ],
    ids=["many", "some are there", "twice in a batch", "deleted", "awkward"],
)
def test_they_are_written_as_they_would_be_one_by_one(place: Place, batches: list[list[Write]]) -> None:
    other = Place(place.engine, place.folder.with_name("other"), Clock())
    try:
        for batch in batches:
            told: list[dict[int, int]] = [{}, {}]
            if any(each.body is None for each in batch):
                assert place.store.commit(batch) == other.store.commit(batch)
                continue
            arrived = write(place.store, batch, told[0])
            written = other.store.submit(batch, told[1]).result()
            assert etags(arrived) == [each.etag for each in written]
            assert isinstance(arrived, range) or arrived == written
            assert told[0] == told[1]
        for here, there in zip(place.before_and_after_reopening(), other.before_and_after_reopening(), strict=True):
            mine, others = state_now(here), state_now(there)
            assert [row._replace(modified=0) for row in mine.values()] == [
                row._replace(modified=0) for row in others.values()
            ]
            assert here.snapshot().fingerprint == there.snapshot().fingerprint
    finally:
        other.store.close()


def test_new_ones_are_told_by_their_etags_alone(store: Storage) -> None:
    if not isinstance(store, SqliteStorage):
        pytest.skip("in PostgreSQL all are written one by one")
    replaced: dict[int, int] = {}
    assert write(store, MANY, replaced) == range(1, 301)
    assert write(store, [put("x/1"), put("x/2")], replaced) == range(301, 303)
    assert replaced == {}


def test_the_revisions_of_a_batch_share_a_time_and_the_next_are_later(store: Storage) -> None:
    write(store, MANY[:150], {})
    write(store, MANY[150:], {})
    times = [revision.modified for revision in changes(store, 0, store.last_etag)]
    assert len(set(times[:150])) == len(set(times[150:])) == 1
    assert times[0] < times[-1]


def test_they_come_into_the_indexes(store: Storage) -> None:
    if not isinstance(store, SqliteStorage):
        pytest.skip("in PostgreSQL there are no indexes on fields")
    store.index_from = 0
    store.commit([put("orders/x", b'{"A":7}', collection="Orders")])
    query = Query("Orders", Equal(Field(("A",)), 7))
    for expected in (["orders/x"], ["orders/x", "orders/7"]):
        with store.find(query) as found:
            assert [revision.id for revision in found.revisions] == expected
            assert not found.plan.scanned
        write(store, MANY, {})


def test_a_storage_that_admits_writes_is_asked(store: Storage) -> None:
    def refuse(writes: Sequence[Write]) -> Sequence[Write]:
        raise InvalidInput(f"{len(writes)} are refused", "write others")

    store.admit = refuse
    with pytest.raises(InvalidInput, match="300 are refused"):
        write(store, MANY, {})
    assert store.get(DOCUMENT, "orders/1") is None
