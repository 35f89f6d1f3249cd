"""What every storage promises about the contents of attachments."""

from __future__ import annotations

import hashlib
import random
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from muniment.errors import ConcurrencyConflict
from muniment.revision import ATTACHMENT, DOCUMENT
from muniment.storage.base import Storage, Write
from tests.sampled import some
from tests.storage.place import Place
from tests.storage.reference import attach, detach, fingerprint_of, put, state_now, state_of, tallies

MIB = 1 << 20
SIZES = [0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB, 5 * MIB, 8 * MIB, 9 * MIB + 17]


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def pieces(content: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


@some(6)
@pytest.mark.parametrize("size", SIZES)
def test_contents_of_any_size_are_kept(place: Place, size: int) -> None:
    content = noise(size)
    attach(place.store, "before", [noise(100, 1)])
    written = attach(place.store, "Photo", pieces(content, 100_003), b'{"type":"image/png"}', "Photos")
    attach(place.store, "after", [noise(100, 2)])
    for store in place.before_and_after_reopening():
        revision = store.get(ATTACHMENT, "photo")
        assert revision is not None
        assert (revision.etag, revision.kind, revision.id) == (written.etag, ATTACHMENT, "Photo")
        assert (revision.collection, revision.metadata) == ("Photos", b'{"type":"image/png"}')
        assert (revision.size, revision.body) == (size, hashlib.sha256(content).digest())
        parts = list(store.content(revision))
        assert b"".join(parts) == content
        assert all(0 < len(part) <= MIB for part in parts)
        with store.pin() as snapshot:
            assert revision in store.attachment_changes(0, snapshot.etag)
            assert tallies(snapshot.fingerprint) == fingerprint_of(state_of(store, snapshot.etag))


@some(5)
@pytest.mark.parametrize("step", [1, 7, MIB - 1, MIB, MIB + 1, 3 * MIB, 100 * MIB])
def test_how_a_stream_is_cut_does_not_matter(store: Storage, step: int) -> None:
    content = noise(3 * MIB + 5 if step > 7 else 5_000)
    attach(store, "a", pieces(content, step))
    attach(store, "b", [b"", *pieces(content, step), b"", b""])
    state = state_now(store)
    assert state[ATTACHMENT, "a"].content == state[ATTACHMENT, "b"].content == content


def test_nothing_is_an_attachment_too(store: Storage) -> None:
    attach(store, "a", [])
    attach(store, "b", [b"", b""])
    for key in "ab":
        revision = store.get(ATTACHMENT, key)
        assert revision is not None
        assert (revision.size, revision.body) == (0, hashlib.sha256().digest())
        assert list(store.content(revision)) == []


def test_a_large_content_does_not_pass_through_memory(store: Storage) -> None:
    piece = noise(MIB)
    tracemalloc.start()
    try:
        attach(store, "large", (piece for _ in range(64)))
        revision = store.get(ATTACHMENT, "large")
        assert revision is not None
        assert sum(map(len, store.content(revision))) == 64 * MIB
        assert tracemalloc.get_traced_memory()[1] < 30 * MIB
    finally:
        tracemalloc.stop()


def test_replacing_keeps_the_old_content_for_who_reads_it(store: Storage) -> None:
    old, new = noise(5 * MIB, 1), noise(3 * MIB, 2)
    attach(store, "photo", [old])
    with store.pin() as snapshot:
        revision = store.get(ATTACHMENT, "photo")
        assert revision is not None
        parts = store.content(revision)
        read = next(parts)
        attach(store, "photo", [new])
        store.commit([detach("photo")])
        store.purge()
        read += b"".join(parts)
        assert read == old
        assert state_of(store, snapshot.etag)[ATTACHMENT, "photo"].content == old
    attach(store, "photo", [new])
    assert state_now(store)[ATTACHMENT, "photo"].content == new


def test_replacing_by_the_same_content(store: Storage) -> None:
    content = noise(2 * MIB)
    first = attach(store, "photo", [content])
    second = attach(store, "photo", [content])
    attach(store, "copy", [content])
    store.purge()
    assert second.etag > first.etag
    state = state_now(store)
    assert state[ATTACHMENT, "photo"].content == state[ATTACHMENT, "copy"].content == content


def test_a_stream_that_fails_leaves_nothing(store: Storage) -> None:
    def broken() -> Iterator[bytes]:
        yield noise(3 * MIB)
        raise ZeroDivisionError

    attach(store, "photo", [b"before"])
    before = state_now(store)
    with pytest.raises(ZeroDivisionError):
        attach(store, "photo", broken())
    with pytest.raises(ZeroDivisionError):
        attach(store, "photo", (noise(9 * MIB) if n else b"" for n in range(2) if n or 1 / n > 0))
    assert state_now(store) == before


def test_an_upload_does_not_change_anything_until_it_is_named(store: Storage) -> None:
    attach(store, "photo", [b"before"])
    with store.pin() as before:
        upload = store.upload([noise(2 * MIB)])
        assert (upload.size, upload.sha256) == (2 * MIB, hashlib.sha256(noise(2 * MIB)).digest())
        with store.pin() as after:
            assert after == before
        assert list(store.attachment_changes(before.etag, before.etag + 10)) == []
    store.discard(upload)
    store.discard(upload)
    with store.pin() as after:
        assert after == before


def test_a_conflict_is_told_before_the_content_is_named(store: Storage) -> None:
    attach(store, "photo", [b"before"])
    upload = store.upload([b"after"])
    with pytest.raises(ConcurrencyConflict):
        store.commit([Write("photo", upload.sha256, expected=0, kind=ATTACHMENT, upload=upload)])
    store.discard(upload)
    assert state_now(store)[ATTACHMENT, "photo"].content == b"before"


def test_an_upload_of_a_refused_commit_can_be_discarded(store: Storage) -> None:
    upload = store.upload([b"content"])
    named = Write("photo", upload.sha256, kind=ATTACHMENT, upload=upload)
    with pytest.raises(ConcurrencyConflict):
        store.commit([named, put("a", expected=5)])
    store.discard(upload)
    assert state_now(store) == {}
    assert list(store.check()) == []  # no content that nobody has


def test_discarding_does_not_touch_a_content_that_is_in_use(store: Storage) -> None:
    upload = store.upload([b"content"])
    store.commit([Write("photo", upload.sha256, kind=ATTACHMENT, upload=upload)])
    store.discard(upload)
    assert state_now(store)[ATTACHMENT, "photo"].content == b"content"


def test_several_attachments_and_documents_in_one_commit(store: Storage) -> None:
    uploads = [store.upload([b"%d" % n * 1000]) for n in range(5)]
    writes = [Write(f"photo/{n}", u.sha256, kind=ATTACHMENT, upload=u) for n, u in enumerate(uploads)]
    store.commit([put("a"), *writes, put("b")])
    state = state_now(store)
    assert [state[ATTACHMENT, f"photo/{n}"].content for n in range(5)] == [b"%d" % n * 1000 for n in range(5)]
    assert len({row.modified for row in state.values()}) == 1


def test_many_uploads_at_once(store: Storage) -> None:
    def send(n: int) -> None:
        attach(store, f"photo/{n}", pieces(noise(700_000 + n, n), 50_000))
        store.commit([put(f"document/{n}")])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(24)))
    state = state_now(store)
    assert len(state) == 48
    for n in range(24):
        assert state[ATTACHMENT, f"photo/{n}"].content == noise(700_000 + n, n)
        assert state[DOCUMENT, f"document/{n}"].content == b"{}"
