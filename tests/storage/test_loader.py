"""Loading a whole database: what comes out of one store goes into another, with etags, times and fingerprint."""

from __future__ import annotations

import errno
import hashlib
from array import array
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, wait
from pathlib import Path

import pytest

from muniment import native
from muniment.errors import DamagedBackup, MunimentError, StorageFailure
from muniment.revision import ATTACHMENT, DOCUMENT, Batch, Packed, Revision
from muniment.storage.base import Identity
from muniment.storage.sqlite.files import FILE, LOADING, LOCK
from muniment.storage.sqlite.loader import Loader
from muniment.storage.sqlite.store import SqliteStorage, create_storage
from tests.clock import Clock
from tests.storage.awkward import BODIES, IDS
from tests.storage.raw import files_no_larger_than
from tests.storage.reference import attach, delete, detach, fingerprint_of, put, state_now, tallies

MIB = 1 << 20


@pytest.fixture
def source(tmp_path: Path, clock: Clock) -> Iterator[SqliteStorage]:
    folder = tmp_path / "source"
    folder.mkdir()
    create_storage(folder)
    store = SqliteStorage(folder, clock=clock)
    store.commit([put(id, b'{"n":%d}' % n, collection=["A", "B", None][n % 3]) for n, id in enumerate(IDS)])
    store.commit([put(f"Orders/{name}", body, b'{"m":1.10}', "Orders") for name, body in BODIES.items()])
    store.commit([put(f"many/{n}") for n in range(9000)])
    store.commit([delete(f"many/{n}") for n in range(0, 9000, 7)] + [delete("orders/deep"), put("MANY/1", b'{"a":1}')])
    for n, size in enumerate([0, 1, MIB, 3 * MIB + 1]):
        attach(store, f"Photo/{n}", [b"%d" % n * size], b'{"m":1}', ["Photos", None][n % 2])
    attach(store, "gone", [b"x"], collection="Photos")
    store.commit([detach("gone")])
    yield store
    store.close()


def load(source: SqliteStorage, folder: Path) -> Loader:
    """A loader that has taken in everything."""
    folder.mkdir()
    loader = Loader(folder, Identity("the id", "the lineage"))
    with source.pin() as snapshot:
        for batch in source.changes(0, snapshot.etag):
            loader.apply(batch)
        for revision in source.attachment_changes(0, snapshot.etag):
            loader.apply_attachment(revision, source.content(revision))
    return loader


@pytest.mark.parametrize("defrag", [False, True])
def test_what_was_loaded_is_what_was_there(source: SqliteStorage, tmp_path: Path, clock: Clock, defrag: bool) -> None:
    before, snapshot = state_now(source), source.snapshot()
    loader = load(source, tmp_path / "copy")
    assert loader.finish(snapshot.etag, snapshot.modified, {"Colour": "blue"}, defrag=defrag) == snapshot.fingerprint
    assert {path.name for path in (tmp_path / "copy").iterdir()} <= {FILE, LOCK}
    clock.now = 0
    copy = SqliteStorage(tmp_path / "copy", clock=clock)
    assert state_now(copy) == before
    assert copy.snapshot() == snapshot
    assert tallies(copy.snapshot().fingerprint) == fingerprint_of(before)
    assert copy.identity == Identity("the id", "the lineage")
    assert copy.settings == {"Colour": "blue"}
    assert list(copy.check()) == []
    assert [r.id for r in copy.by_collection("Orders", 0, 99)] == [r.id for r in source.by_collection("Orders", 0, 99)]
    assert copy.by_prefix(DOCUMENT, "", 0, 99) == source.by_prefix(DOCUMENT, "", 0, 99)

    [written] = copy.commit([put("ORDERS/EMPTY", b'{"a":1}')])
    assert (written.id, written.existed, written.etag) == ("Orders/empty", True, snapshot.etag + 1)
    assert copy.snapshot().modified > snapshot.modified
    [written] = copy.commit([put("orders/DEEP")])
    assert (written.id, written.existed) == ("Orders/deep", False)
    assert list(copy.check()) == []
    copy.close()


def test_loading_is_without_journal_and_sync_until_the_end(tmp_path: Path) -> None:
    loader = Loader(tmp_path, Identity("the id", "the lineage"))
    for place in ("", "scratch."):
        found = [loader._connection.execute(f"PRAGMA {place}{name}").get for name in ("journal_mode", "synchronous")]
        assert found == ["off", 0]
    assert loader._connection.execute("PRAGMA cache_size").get == -16_384
    loader.close()


def test_etags_go_on_after_the_last_that_was_loaded(tmp_path: Path, clock: Clock) -> None:
    loader = Loader(tmp_path, Identity("the id", "the lineage"))
    loader.apply(batch(Revision(7, DOCUMENT, "a", None, 70, b"{}", b"{}", 2)))
    loader.finish(100, 10**15, {})
    clock.now = 0
    store = SqliteStorage(tmp_path, clock=clock)
    assert (store.snapshot().etag, store.snapshot().modified) == (100, 10**15)
    assert store.commit([put("b")])[0].etag == 101
    assert store.snapshot().modified > 10**15
    assert list(store.check()) == []
    store.close()


def batch(*revisions: Revision) -> Batch:
    return Batch(
        array("q", [r.etag for r in revisions]),
        Packed.of(r.id.encode() for r in revisions),
        Packed.of(None if r.collection is None else r.collection.encode() for r in revisions),
        array("q", [r.modified for r in revisions]),
        Packed.of(r.metadata for r in revisions),
        Packed.of(r.body for r in revisions),
    )


def document(etag: int, id: str) -> Revision:
    return Revision(etag, DOCUMENT, id, None, 1, b"{}", b"{}", 2)


@pytest.mark.parametrize(
    "batches",
    [
        [batch(document(1, "a"), document(1, "b"))],
        [batch(document(1, "a")), batch(document(1, "b"))],
        [batch(document(1, "a"), document(2, "a"))],
        [batch(document(1, "straße")), batch(document(2, "STRAẞE"))],
    ],
    ids=["an etag", "an etag later", "an id", "an id in another spelling"],
)
def test_nothing_may_come_twice(tmp_path: Path, batches: list[Batch]) -> None:
    loader = Loader(tmp_path, Identity("the id", "the lineage"))

    def apply_all() -> None:
        for one in batches:
            loader.apply(one)
        loader.finish(2, 2, {})

    with pytest.raises(DamagedBackup, match="occurs twice") as caught:
        apply_all()
    assert caught.value.hint
    loader.close()
    loader.close()


@pytest.mark.parametrize(
    ("size", "parts"),
    [
        (3, [b"abd"]),
        (4, [b"abc"]),
        (2, [b"abc"]),
        (3, []),
        (3, [b"abc", b"d"]),
        (MIB + 1, [b"x" * (MIB + 1)]),
    ],
)
def test_a_content_must_be_what_its_revision_says(tmp_path: Path, size: int, parts: list[bytes]) -> None:
    loader = Loader(tmp_path, Identity("the id", "the lineage"))
    sha256 = hashlib.sha256(b"abc" if size < MIB else b"x" * (MIB + 1)).digest()
    with pytest.raises(DamagedBackup, match="'photo'") as caught:
        loader.apply_attachment(Revision(1, ATTACHMENT, "photo", None, 1, b"{}", sha256, size), parts)
    assert caught.value.hint
    loader.close()


def load_on_full_disk(source: Path, folder: Path) -> list[str]:
    store = SqliteStorage(source, clock=Clock())
    raised = []
    for room in (1000, 100_000, 1_000_000):
        with files_no_larger_than(room):
            try:
                loader = load(store, folder / str(room))
                loader.finish(1, 1, {})
            except MunimentError as error:
                raised.append(type(error).__name__)
    store.close()
    return raised


def test_a_full_disk_while_loading(source: SqliteStorage, tmp_path: Path, other_process: ProcessPoolExecutor) -> None:
    source.close()
    raised = other_process.submit(load_on_full_disk, tmp_path / "source", tmp_path).result(60)
    assert raised == ["StorageFailure"] * 3


def load_without_room_for_the_last_page(source: Path, folder: Path) -> str:
    store = SqliteStorage(source, clock=Clock())
    load(store, folder / "whole").finish(1, 1, {})
    with files_no_larger_than((folder / "whole" / FILE).stat().st_size - 1):
        loader = load(store, folder / "short")
        try:
            loader.finish(1, 1, {})
        except MunimentError as error:
            return type(error).__name__
        finally:
            loader.close()
            store.close()
    return "nothing"


def test_a_disk_without_room_for_the_last_page(
    source: SqliteStorage, tmp_path: Path, other_process: ProcessPoolExecutor
) -> None:
    """Which is written when all statements were executed: closing the file would not tell of it."""
    source.close()
    raised = other_process.submit(load_without_room_for_the_last_page, tmp_path / "source", tmp_path).result(60)
    assert raised == "StorageFailure"


def test_a_load_that_is_given_up_leaves_no_scratch_file(source: SqliteStorage, tmp_path: Path) -> None:
    loader = load(source, tmp_path / "copy")
    assert (tmp_path / "copy" / LOADING).exists()
    loader.close()
    assert not (tmp_path / "copy" / LOADING).exists()


@pytest.mark.parametrize("which", [1, 5, 9, 10])
def test_a_disk_that_failed_once_while_more_was_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    """The system tells whoever syncs a file of a write that failed once: who asks again is told that all is well."""
    synced: list[Path] = []
    (tmp_path / "copy").mkdir()

    def sync(path: Path) -> None:
        synced.append(path)
        if len(synced) == which:
            raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr("muniment.storage.sqlite.loader.sync_file", sync)
    monkeypatch.setattr("muniment.storage.sqlite.loader.SYNC_BYTES", 1)
    loader = Loader(tmp_path / "copy", Identity("the id", "the lineage"))

    def load_all() -> None:
        for number in range(1, 10):
            loader.apply(batch(document(number, f"orders/{number}")))
            loader._wait()  # or what is still being synced is not synced again
            assert loader._syncing is not None
            wait([loader._syncing])
        loader.finish(9, 9, {})

    with pytest.raises(StorageFailure, match="Input/output error"):
        load_all()
    assert len(synced) in (which, which + 1)
    loader.close()


def revisions(count: int, collections: int) -> list[Revision]:
    """Documents and tombstones in so many collections, and some in none."""
    names = [None, *(f"Gruppe {number}ß" for number in range(collections))]
    bodies = [None, b"", b"{}", b'{"n":"\xc3\xbc"}']
    return [
        Revision(n, DOCUMENT, f"Ä/{n}", names[n % len(names)], n, b"{}" * (n % 3), body, len(body or b""))
        for n in range(1, count)
        for body in [bodies[n % 4]]
    ]


@pytest.mark.parametrize("by", ["C", "Python"])
def test_documents_and_tombstones_in_several_collections(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    if by == "Python":
        monkeypatch.setattr(native, "load", lambda: None)
    loader = Loader(tmp_path, Identity("the id", "the lineage"))
    given = revisions(200, 15)
    loader.apply(Batch.of(given))
    loader.finish(200, 200, {})
    store = SqliteStorage(tmp_path, clock=clock)
    try:
        assert list(store.check()) == []
        assert [each for batch in store.changes(0, 200) for each in batch] == given
        found = store.get(DOCUMENT, "ä/3")
        assert found is not None
        assert found.id == "Ä/3"
    finally:
        store.close()


@pytest.mark.parametrize("number", [-1, 10**18, (1 << 63) - 1])
@pytest.mark.parametrize("what", ["etag", "modified"])
def test_numbers_that_no_database_gives_are_damage(tmp_path: Path, what: str, number: int) -> None:
    loader = Loader(tmp_path, Identity("the id", "the lineage"))
    with pytest.raises(DamagedBackup, match="out of range"):
        loader.apply(Batch.of([revisions(2, 1)[0]._replace(**{what: number})]))  # type: ignore[arg-type]
    loader.close()
