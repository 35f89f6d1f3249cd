"""What a storage promises of `members`, and of `commit_all`; part of the contract of `muniment.storage.base`."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from muniment.errors import ConcurrencyConflict
from muniment.fingerprint import member_digest
from muniment.revision import ATTACHMENT, DOCUMENT
from muniment.storage.base import Member, Storage, Write
from tests.storage.reference import attach, delete, put, state_now


def keys(store: Storage, *prefixes: str) -> list[tuple[int, str]]:
    return [(member.kind, member.key) for member in (store.members(prefixes) if prefixes else store.members())]


def test_members_have_what_the_fingerprint_is_made_of(store: Storage) -> None:
    assert list(store.members()) == []
    [written] = store.commit([put("Orders/1", b'{"n":1.10}', b'{"a":1}', "Orders")])
    digest = member_digest(b"Orders/1", b'{"a":1}', b'{"n":1.10}')
    assert list(store.members()) == [Member(DOCUMENT, "orders/1", "Orders/1", "Orders", written.etag, digest)]
    attached = attach(store, "photo", [b"x"])
    revision = store.get(ATTACHMENT, "photo")
    assert revision is not None
    assert revision.body is not None
    [_, member] = store.members()
    assert member == Member(
        ATTACHMENT, "photo", "photo", None, attached.etag, member_digest(b"photo", b"{}", revision.body)
    )


def test_members_are_those_of_some_prefixes_once_and_in_order(store: Storage) -> None:
    store.commit([put(id) for id in ("b", "A/1", "a/10", "a", "c", "\U0010ffff", "é", "zz")])
    store.commit([delete("c")])
    attach(store, "a/1/photo", [b"x"])
    everything = [(DOCUMENT, key) for key in ("a", "a/1", "a/10", "b", "zz", "é", "\U0010ffff")]
    assert keys(store) == [*everything, (ATTACHMENT, "a/1/photo")]
    assert keys(store, "A/1") == [(DOCUMENT, "a/1"), (DOCUMENT, "a/10"), (ATTACHMENT, "a/1/photo")]
    assert keys(store, "zz", "a/1", "a/10", "b", "a/1", "none") == [
        *((DOCUMENT, key) for key in ("a/1", "a/10", "b", "zz")),
        (ATTACHMENT, "a/1/photo"),
    ]
    assert keys(store, "\U0010ffff") == [(DOCUMENT, "\U0010ffff")]


def test_members_are_of_one_moment(store: Storage) -> None:
    store.commit([put(f"a/{n}") for n in range(5)])
    members = store.members()
    first = next(members)
    store.commit([put("a/3", b'{"new":1}'), delete("a/4"), put("a/9")])
    assert [first.id, *(member.id for member in members)] == [f"a/{n}" for n in range(5)]


def test_batches_are_one_commit(store: Storage) -> None:
    [first] = store.commit([put("a")])
    taken = []

    def batches() -> Iterator[list[Write]]:
        for number in range(3):
            assert store.get(DOCUMENT, "b") is None  # nobody sees any of it yet
            taken.append(number)
            yield [put("b", b'{"n":%d}' % number), put(f"c/{number}")]
        yield [delete("a", expected=first.etag)]

    assert store.commit_all(batches()) == first.etag + 7
    assert taken == [0, 1, 2]
    state = state_now(store)
    assert len({row.modified for row in state.values()}) == 1
    assert state[DOCUMENT, "b"].content == b'{"n":2}'
    assert state[DOCUMENT, "a"].content is None
    assert store.commit_all([]) == first.etag + 7


def test_a_batch_that_fails_takes_all_of_them_back(store: Storage) -> None:
    store.commit([put("a")])
    before = state_now(store)

    def broken() -> Iterator[list[Write]]:
        yield [put("b")]
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        store.commit_all(broken())
    with pytest.raises(ConcurrencyConflict):
        store.commit_all([[put("b")], [put("a", expected=99)]])
    assert state_now(store) == before
    assert store.commit([put("b")])[0].etag == 2


def test_an_interruption_of_the_waiting_thread_takes_all_back(store: Storage) -> None:
    main = threading.get_ident()
    taken: list[int] = []

    def batches() -> Iterator[list[Write]]:
        for number in range(1_000_000):
            taken.append(number)
            if number == 3:
                signal.pthread_kill(main, signal.SIGINT)
            yield [put(f"a/{number}")]

    with pytest.raises(KeyboardInterrupt):
        store.commit_all(batches())
    count = len(taken)
    assert count < 1_000_000
    assert state_now(store) == {}
    assert store.commit([put("a")])[0].etag == 1
    assert len(taken) == count
