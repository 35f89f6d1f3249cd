"""What a query finds is what plain Python finds, on every engine."""

from __future__ import annotations

from itertools import count

import hypothesis.strategies as st
import msgspec
from hypothesis import HealthCheck, given, settings

from muniment.query import keys
from muniment.query.model import Equal, Field, Group, Query
from muniment.storage.base import Storage, Write
from tests.query import drawn, reference
from tests.sampled import WHOLE

_numbers = count()
together = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60 if WHOLE else 20
)


def put(store: Storage, collection: str | None, bodies: list[bytes]) -> list[tuple[int, bytes]]:
    writes = [Write(f"{collection}/{place}", body, collection=collection) for place, body in enumerate(bodies)]
    return [(written.etag, body) for written, body in zip(store.commit(writes), bodies, strict=True)]


def found(store: Storage, query: Query) -> tuple[list[int], int | None]:
    with store.find(query, counted=True) as answer:
        return [revision.etag for revision in answer.revisions], answer.total


@together
@given(
    st.lists(drawn.bodies | drawn.wordy_bodies, max_size=6),
    st.lists(drawn.queries | drawn.scored, min_size=1, max_size=4),
)
def test_it_finds_what_plain_python_finds(store: Storage, bodies: list[bytes], queries: list[Query]) -> None:
    collection = f"C{next(_numbers)}"
    documents = put(store, collection, bodies)
    for query in queries:
        query = msgspec.structs.replace(query, collection=collection.lower())
        assert found(store, query) == reference.answer(query, documents), query


@together
@given(st.lists(drawn.bodies, max_size=8))
def test_groups_are_those_of_plain_python(store: Storage, bodies: list[bytes]) -> None:
    collection = f"C{next(_numbers)}"
    put(store, collection, bodies)
    by, total = Field(("A",)), Field(("B",))
    rows = store.group(Query(collection, group=Group((by,), (total,)))).rows
    got = {keys.value_of(row.by[0]): (row.documents, row.sums[0]) for row in rows}
    assert {text: got.get(text) for text in got if isinstance(text, str)} == reference.groups(by, total, bodies)


def test_only_what_is_current_is_found(store: Storage) -> None:
    put(store, "Orders", [b'{"A":1}', b'{"A":2}', b'{"A":3}'])
    store.commit([Write("orders/0", b'{"A":2}', collection="Orders"), Write("orders/1", None)])
    put(store, "Others", [b'{"A":2}'])
    query = Query("Orders", Equal(Field(("A",)), 2))
    with store.find(query) as answer:
        assert [revision.id for revision in answer.revisions] == ["Orders/0"]
        assert answer.total is None
    with store.find(msgspec.structs.replace(query, collection=None)) as answer:
        assert [revision.id for revision in answer.revisions] == ["Orders/0", "Others/0"]


def test_an_answer_is_of_one_moment(store: Storage) -> None:
    put(store, "Orders", [b'{"A":%d}' % number for number in range(300)])
    with store.find(Query("Orders")) as answer:
        first = next(answer.revisions)
        store.commit([Write(f"orders/{number}", None) for number in range(300)])
        store.purge()
        assert len([first, *answer.revisions]) == 300
    assert found(store, Query("Orders")) == ([], 0)
