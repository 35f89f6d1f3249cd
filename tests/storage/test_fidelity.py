"""What every storage promises about bytes: they come back exactly as they went in, on every road."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muniment.document import check_body, check_id, collection_of, fold, metadata_bytes
from muniment.revision import ATTACHMENT, DOCUMENT, Revision
from muniment.storage.base import Storage
from tests.sampled import count, some
from tests.storage.awkward import BODIES, IDS, METADATA
from tests.storage.place import Place
from tests.storage.reference import attach, changes, put


def every_road(store: Storage, id: str, collection: str | None) -> list[Revision]:
    """The revision as each way of reading gives it."""
    with store.pin() as snapshot:
        changed = [revision for revision in changes(store, 0, snapshot.etag) if revision.id == id]
    found = [store.get(DOCUMENT, id), store.get(DOCUMENT, fold(id)), store.get(DOCUMENT, id.upper().lower())]
    if fold(id.upper().lower()) != fold(id):  # as with "ẞ" and "ΐ" in some versions of Unicode
        found.pop()
    ways = [
        [revision for revision in found if revision is not None],
        [revision for revision in store.by_prefix(DOCUMENT, id, 0, 10_000) if revision.id == id],
        [revision for revision in store.by_etag(DOCUMENT, 0, 10_000) if revision.id == id],
        changed,
    ]
    if collection:
        ways.append([revision for revision in store.by_collection(collection, 0, 10_000) if revision.id == id])
    assert all(ways)
    return [revision for way in ways for revision in way]


@some(10)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_bytes_are_kept_as_they_came(place: Place, body: bytes) -> None:
    check_body(body)
    metadata = {f"Orders/{name}": metadata for name, metadata in METADATA.items()}
    assert all(metadata_bytes(value) == value for value in metadata.values())
    place.store.commit([put(id, body, value, collection_of(value)) for id, value in metadata.items()])
    place.store.commit([put("orders/ none", b"{}")])
    for store in place.before_and_after_reopening():
        for id, value in metadata.items():
            for revision in every_road(store, id, collection_of(value)):
                assert (revision.body, revision.metadata, revision.collection) == (body, value, collection_of(value))
                assert revision.size == len(body)


def test_any_id_is_kept_as_it_came(place: Place) -> None:
    for n, id in enumerate(IDS):
        check_id(id)
        place.store.commit([put(id, b'{"n":%d}' % n)])
        attach(place.store, id, [b"%d" % n])
    for store in place.before_and_after_reopening():
        for n, id in enumerate(IDS):
            for revision in every_road(store, id, None):
                assert (revision.id, revision.body) == (id, b'{"n":%d}' % n)
            attachment = store.get(ATTACHMENT, id)
            assert attachment is not None
            assert attachment.id == id
            assert b"".join(store.content(attachment)) == b"%d" % n
        assert [revision.id for revision in store.by_etag(ATTACHMENT, 0, 10_000)] == IDS
        with store.pin() as snapshot:
            assert [revision.id for revision in store.attachment_changes(0, snapshot.etag)] == IDS


@settings(max_examples=count(20, whole=1000), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    id=st.text(min_size=1, max_size=12),
    body=st.binary(max_size=200),
    metadata=st.binary(max_size=60),
    collection=st.none()
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8),
)
def test_a_storage_takes_any_bytes(
    store: Storage, id: str, body: bytes, metadata: bytes, collection: str | None
) -> None:
    """Even what is not JSON: a storage does not look inside."""
    [written] = store.commit([put(id, body, metadata, collection)])
    for revision in every_road(store, written.id, collection):
        assert (revision.etag, revision.body, revision.metadata) == (written.etag, body, metadata)
        assert revision.collection == collection


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=count(20, whole=1000), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=st.dictionaries(st.text(max_size=5), json_values, max_size=5),
    ascii=st.booleans(),
    indent=st.sampled_from([None, 1]),
)
def test_any_json_is_kept(store: Storage, value: dict[str, object], ascii: bool, indent: int | None) -> None:
    body = json.dumps(value, ensure_ascii=ascii, indent=indent).encode()
    check_body(body)
    store.commit([put("a", body)])
    revision = store.get(DOCUMENT, "a")
    assert revision is not None
    assert revision.body == body
