"""The embedded database as a user has it."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from muniment import Attachment, Delete, Document, DocumentDatabase, Put, Written
from muniment.document import MAX_BODY_BYTES
from muniment.errors import (
    ConcurrencyConflict,
    DatabaseClosed,
    DatabaseNotFound,
    InvalidDocument,
    InvalidId,
    InvalidInput,
    StorageFailure,
)
from muniment.page import PAGE
from muniment.revision import ATTACHMENT, DOCUMENT
from tests.clock import START, Clock
from tests.sampled import only_in_folders

ORDERS = {"Raven-Entity-Name": "Orders"}


def everything(database: DocumentDatabase) -> dict[str, bytes]:
    return {document.id: document.body for document in database.by_etag(limit=100_000)}


# One document


def test_put_and_get(database: DocumentDatabase, clock: Clock) -> None:
    clock.now, clock.step = START, 0  # it was read when the database was made
    written = database.put("Orders/1", {"price": 1.5}, ORDERS)
    assert written == Written("Orders/1", 1, False)
    found = database.get("orders/1")
    assert found == Document(
        "Orders/1", 1, datetime.fromtimestamp(START / 1e6, UTC), b'{"Raven-Entity-Name":"Orders"}', b'{"price":1.5}'
    )
    assert found.json() == {"price": 1.5}
    assert found.collection == "Orders"
    assert database.put("ORDERS/1", b'{ "price" : 1.50 }') == Written("Orders/1", 2, True)
    found = database.get("orders/1")
    assert found is not None
    assert (found.id, found.body, found.metadata, found.collection) == ("Orders/1", b'{ "price" : 1.50 }', {}, None)
    assert database.get("orders/2") is None


@pytest.mark.parametrize(
    "body",
    [b'{"n": 1.10}', bytearray(b'{"n": 1.10}'), memoryview(b'{"n": 1.10}'), '{"n": 1.10}'],
    ids=lambda b: type(b).__name__,
)
def test_text_and_bytes_are_kept_as_they_are(database: DocumentDatabase, body: Any) -> None:
    database.put("a", body)
    assert everything(database) == {"a": b'{"n": 1.10}'}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"1",
        "null",
        None,
        5,
        [],
        "\ud800",
        b'{"a":NaN}',
        {"a": float("nan")},
        object(),
        b'{"a":"\xff"}',
        {1, 2},
    ],
)
def test_what_is_not_a_json_object_is_refused(database: DocumentDatabase, body: Any) -> None:
    with pytest.raises(InvalidDocument) as caught:
        database.put("a", body)
    assert caught.value.hint
    assert everything(database) == {}
    assert database.snapshot().etag == 0


@pytest.mark.parametrize("id", ["", "x" * 513, "é" * 257, "\ud800", None, 7, b"a"])
def test_bad_ids_are_refused_everywhere(database: DocumentDatabase, id: Any) -> None:
    for call in (
        lambda: database.get(id),
        lambda: database.get_many(["a", id]),
        lambda: database.put(id, {}),
        lambda: database.delete(id),
        lambda: database.batch([Put("a", {}), Delete(id)]),
        lambda: database.put_attachment(id, b""),
        lambda: database.get_attachment(id),
        lambda: database.delete_attachment(id),
    ):
        with pytest.raises(InvalidId):
            call()
    assert database.snapshot().etag == 0


@pytest.mark.parametrize("etag", [-1, 1 << 63, 1.0, "1", True, b"1"])
def test_bad_etags_are_refused_everywhere(database: DocumentDatabase, etag: Any) -> None:
    for call in (
        lambda: database.put("a", {}, etag=etag),
        lambda: database.delete("a", etag=etag),
        lambda: database.batch([Put("b", {}), Put("a", {}, etag=etag)]),
        lambda: database.put_attachment("a", b"", etag=etag),
        lambda: database.delete_attachment("a", etag=etag),
    ):
        with pytest.raises(InvalidInput, match="is not an etag"):
            call()
    assert database.snapshot().etag == 0


def test_large_documents(database: DocumentDatabase) -> None:
    largest = b'{"a":"' + b"x" * (MAX_BODY_BYTES - 8) + b'"}'
    database.put("large", largest)
    assert everything(database) == {"large": largest}
    with pytest.raises(InvalidDocument, match="at most 67,108,864"):
        database.put("large", largest + b" ")
    with pytest.raises(InvalidDocument, match="at most 67,108,864"):
        database.put("large", {"a": "x" * (MAX_BODY_BYTES - 7)})
    assert everything(database) == {"large": largest}


def test_ids_of_512_bytes(database: DocumentDatabase) -> None:
    for id in ("a" * 512, "é" * 256, "/" + "😀" * 127 + "abc"):
        assert database.put(id, {}).id == id
        assert database.get(id.upper()) is not None


def test_etags_decide_who_may_write(database: DocumentDatabase) -> None:
    first = database.put("a", {}, etag=0).etag
    with pytest.raises(ConcurrencyConflict):
        database.put("a", {"lost": 1}, etag=0)
    second = database.put("A", {"n": 2}, etag=first).etag
    for stale in (first, second + 1):
        with pytest.raises(ConcurrencyConflict, match=f"expected at etag {stale}, but its etag is {second}"):
            database.put("a", {}, etag=stale)
        with pytest.raises(ConcurrencyConflict):
            database.delete("a", etag=stale)
    assert database.delete("a", etag=second)
    assert not database.delete("a")
    with pytest.raises(ConcurrencyConflict, match="there is no such document"):
        database.delete("a", etag=second)
    assert database.put("a", {}, etag=0).etag > second


# Several


def test_get_many_keeps_the_order(database: DocumentDatabase) -> None:
    database.batch([Put(f"{n}", {"n": n}) for n in range(5)])
    found = database.get_many(iter(["3", "x", "1", "3"]))
    assert [document and document.id for document in found] == ["3", None, "1", "3"]
    assert database.get_many([]) == []


def test_a_batch_is_one_transaction(database: DocumentDatabase) -> None:
    database.put("a", {})
    written = database.batch([Put("b", {}, ORDERS), Delete("A"), Delete("never"), Put("a", {"again": 1}, etag=0)])
    assert written == [
        Written("b", 2, False),
        Written("a", 3, True),
        Written("never", 0, False),
        Written("a", 4, False),
    ]
    assert len({document.changed for document in database.by_etag()}) == 1
    before = everything(database)
    for bad in (
        Put("b", {}, etag=99),
        Put("", {}),
        Put("c", b"[]"),
        Delete("a", etag=1),
        Put("c", {}, {"a": object()}),
    ):
        with pytest.raises((ConcurrencyConflict, InvalidInput)):
            database.batch([Put("new", {}), Delete("b"), bad, Put("newer", {})])
        assert everything(database) == before
    assert database.batch([]) == []


@pytest.mark.parametrize("command", [None, "a", ("a", {}), {"id": "a"}])
def test_a_batch_is_made_of_commands(database: DocumentDatabase, command: Any) -> None:
    with pytest.raises(InvalidInput, match="made of Put and Delete"):
        database.batch([Put("a", {}), command])
    assert everything(database) == {}


def test_a_submitted_batch_is_answered_when_it_is_written(database: DocumentDatabase) -> None:
    futures: list[Future[list[Written]]] = [database.submit([Put(f"{n}", {})]) for n in range(100)]
    late = database.submit([Put("late", {}, etag=7)])
    assert [future.result(60)[0].id for future in futures] == [f"{n}" for n in range(100)]
    assert isinstance(late.exception(60), ConcurrencyConflict)
    with pytest.raises(InvalidDocument):
        database.submit([Put("a", b"[]")])
    told = threading.Event()
    database.submit([Put("a", {})]).add_done_callback(lambda future: told.set())
    assert told.wait(60)
    refused = [database.submit([Put("b", {})]) for _ in range(50)]
    assert not any(future.cancel() for future in refused)
    assert database.put("still writing", {}).etag


# Pages


@pytest.fixture
def shop(database: DocumentDatabase) -> DocumentDatabase:
    database.batch([Put(f"Orders/{n:03}", {"n": n}, ORDERS) for n in range(60)])
    database.batch([Put(f"companies/{n}", {"n": n}, {"Raven-Entity-Name": "Companies"}) for n in range(5)])
    database.batch([Put("orders/007", {"n": "again"}, ORDERS), Delete("orders/008"), Put("loose", {})])
    return database


def test_pages(shop: DocumentDatabase) -> None:
    orders = [f"Orders/{n:03}" for n in range(60) if n != 8]
    assert [document.id for document in shop.by_prefix("orders/")] == orders[:PAGE]
    assert [document.id for document in shop.by_prefix("ORDERS/0", start=50, limit=100)] == orders[50:]
    assert [document.id for document in shop.by_prefix("", limit=100)] == [
        *(f"companies/{n}" for n in range(5)),
        "loose",
        *orders,
    ]
    by_change = [*(id for id in orders if id != "Orders/007"), "Orders/007"]
    assert [document.id for document in shop.by_collection("orders", limit=100)] == by_change
    page = shop.by_collection("Orders", limit=10)
    assert [document.id for document in shop.by_collection("Orders", after=page[-1].etag, limit=10)] == by_change[10:20]
    assert [document.id for document in shop.by_etag(after=60, limit=3)] == [f"companies/{n}" for n in range(3)]
    assert [document.id for document in shop.by_etag(after=65)] == ["Orders/007", "loose"]
    assert len(shop.by_etag()) == PAGE
    assert shop.by_collection("none") == shop.by_prefix("none") == shop.by_etag(after=1000) == []


@pytest.mark.parametrize("page", [(-1, 5), (0, -1), (1 << 63, 5), (0, 1 << 63)])
def test_pages_that_can_not_be(shop: DocumentDatabase, page: tuple[int, int]) -> None:
    first, limit = page
    for call in (
        lambda: shop.by_prefix("", start=first, limit=limit),
        lambda: shop.by_collection("Orders", after=first, limit=limit),
        lambda: shop.by_etag(after=first, limit=limit),
        lambda: shop.attachments(start=first, limit=limit),
    ):
        with pytest.raises(InvalidInput) as caught:
            call()
        assert caught.value.hint


def test_the_largest_page(shop: DocumentDatabase) -> None:
    most = (1 << 63) - 1
    assert len(shop.by_prefix("", limit=most)) == 65
    assert shop.by_prefix("", start=most, limit=most) == shop.by_etag(after=most, limit=most) == []


def test_what_is_looked_for_is_unicode(shop: DocumentDatabase) -> None:
    for call in (
        lambda: shop.by_prefix("\ud800"),
        lambda: shop.by_collection("Ord\udfffers"),
        lambda: shop.attachments("\ud800"),
    ):
        with pytest.raises(InvalidInput, match="not Unicode"):
            call()


# Numbered ids


def test_an_id_that_ends_in_a_slash_gets_a_number(database: DocumentDatabase) -> None:
    assert [database.put("orders/", {}).id for _ in range(3)] == ["orders/1", "orders/2", "orders/3"]
    assert database.put("ORDERS/", {}).id == "ORDERS/4"
    assert [w.id for w in database.batch([Put("a/", {}), Put("b/", {}), Put("a/", {})])] == ["a/1", "b/1", "a/2"]
    assert database.next_identity("orders/") == 5
    assert database.put("orders/", {}).id == "orders/6"
    assert not database.delete("orders/")


def test_a_numbered_id_never_takes_the_place_of_a_document(database: DocumentDatabase) -> None:
    database.batch([Put(f"orders/{n}", {"mine": n}) for n in (1, 2, 4)])
    database.put("Orders/6", {"mine": 6})
    ids = [database.put("orders/", {"new": True}).id for _ in range(4)]
    assert ids == ["orders/3", "orders/5", "orders/7", "orders/8"]
    assert database.get("orders/6").json() == {"mine": 6}  # type: ignore[union-attr]
    assert database.get("orders/1").json() == {"mine": 1}  # type: ignore[union-attr]


def test_a_number_jumps_behind_many_documents(database: DocumentDatabase) -> None:
    database.batch([Put(f"orders/{n}", {"mine": n}) for n in range(1, 3001)])
    before = database.snapshot().etag
    assert database.put("orders/", {}).id == "orders/3001"
    assert database.next_identity("orders/") == 3002
    assert database.snapshot().etag == before + 3  # no number was tried on disk


def test_a_conflict_about_another_document_of_the_batch_is_told(database: DocumentDatabase) -> None:
    database.put("mine", {})
    with pytest.raises(ConcurrencyConflict, match="'mine'"):
        database.batch([Put("orders/", {}), Put("mine", {}, etag=0)])
    assert database.get("orders/1") is None


def test_a_numbered_id_never_takes_the_place_of_a_document_in_its_own_batch(database: DocumentDatabase) -> None:
    batch = [Put("orders/1", {"mine": 1}), Put("orders/", {"new": True})]
    assert [written.id for written in database.batch(batch)] == ["orders/1", "orders/2"]
    assert database.get("orders/1").json() == {"mine": 1}  # type: ignore[union-attr]


def test_numbers_are_consecutive_over_threads_and_reopening(tmp_path: Path, clock: Clock) -> None:
    ids: list[str] = []
    for _ in range(2):
        with DocumentDatabase(tmp_path, clock=clock) as database:
            with ThreadPoolExecutor(4) as pool:
                ids += pool.map(lambda n: database.put("orders/", {"n": n}).id, range(40))
            assert database.check() == []
    assert sorted(ids) == sorted(f"orders/{n}" for n in range(1, 81))


def test_a_prefix_is_too_long_when_its_number_would_not_fit(database: DocumentDatabase) -> None:
    fits = "a" * 400 + "/"
    assert database.put(fits, {}).id == fits + "1"
    for length in (500, 511):
        with pytest.raises(InvalidId):
            database.put("a" * length + "/", {})
    assert set(everything(database)) == {fits + "1", f"Raven/Identities/{fits}"}


@pytest.mark.parametrize("value", [b"{}", b'{"Value":"x"}', b'{"Value":null}', b'{"Value":1e400}', b'{"Value":[]}'])
def test_a_number_that_somebody_spoiled(database: DocumentDatabase, value: bytes) -> None:
    database.put("Raven/Identities/orders/", value)
    before = everything(database)
    with pytest.raises(InvalidDocument, match="Raven/Identities/orders/") as caught:
        database.put("orders/", {})
    assert caught.value.hint
    assert everything(database) == before


# What is told of a database


@only_in_folders
def test_statistics(shop: DocumentDatabase, tmp_path: Path) -> None:
    shop.put_attachment("photo", b"12345")
    told = shop.statistics()
    assert told.name == "shop"
    assert (told.documents, told.attachments) == (65, 1)
    assert told.collections == {"": 1, "Companies": 5, "Orders": 59}
    assert told.bytes == 5 + sum(len(document.body) for document in shop.by_etag(limit=1000))
    assert told.file_bytes == sum(path.stat().st_size for path in (tmp_path / "shop").glob("muniment.db*"))
    assert told.last_etag == shop.snapshot().etag == 69
    assert told.last_changed == shop.get_attachment("photo").changed  # type: ignore[union-attr]
    assert told.fingerprint == shop.snapshot().fingerprint.short()
    assert told.as_json()["collections"] == told.collections
    identity = shop.storage.identity
    assert (told.database_id, told.lineage) == (identity.database_id, identity.lineage)


def test_snapshot(shop: DocumentDatabase) -> None:
    fingerprint = shop.snapshot().fingerprint
    assert (fingerprint.count(DOCUMENT), fingerprint.count(ATTACHMENT)) == (65, 0)


def test_the_clock_is_the_system_s_unless_another_is_given(tmp_path: Path) -> None:
    with DocumentDatabase(tmp_path) as database:
        before = datetime.now(UTC)
        database.put("a", {})
        assert before - timedelta(seconds=1) <= database.statistics().last_changed <= datetime.now(UTC)


# Opening and closing


def test_a_database_is_made_where_none_is(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "below"
    with DocumentDatabase(str(folder)) as database:
        assert database.name == "below"
        assert database.statistics().documents == 0
        database.put("a", {})
    with DocumentDatabase(folder, create=False) as database:
        assert everything(database) == {"a": b"{}"}


def test_the_name_is_the_folder_s_whatever_path_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop").mkdir()
    monkeypatch.chdir(tmp_path / "shop")
    with DocumentDatabase(".") as database:
        assert database.name == "shop"


def test_only_what_was_asked_for_is_made(tmp_path: Path) -> None:
    for create, read_only in ((False, False), (False, True), (True, True)):
        with pytest.raises(DatabaseNotFound) as caught:
            DocumentDatabase(tmp_path / "none", create=create, read_only=read_only)
        assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_closing(tmp_path: Path) -> None:
    database = DocumentDatabase(tmp_path)
    database.put("a", {})
    database.put_attachment("photo", b"x")
    attachment = database.get_attachment("photo")
    session = database.open_session()
    database.close()
    database.close()
    assert isinstance(attachment, Attachment)
    for call in (
        lambda: database.get("a"),
        lambda: database.put("a", {}),
        lambda: database.submit([]),
        lambda: database.by_prefix(""),
        lambda: database.put_attachment("photo", b""),
        lambda: attachment.read(),
        lambda: database.statistics(),
        lambda: database.snapshot(),
        lambda: database.check(),
        lambda: database.next_id("Orders"),
        lambda: session.load("a"),
        lambda: database.maintenance.start_backup(tmp_path / "backups").wait(),
    ):
        with pytest.raises(DatabaseClosed):
            call()
    with DocumentDatabase(tmp_path, create=False) as again:
        assert everything(again) == {"a": b"{}"}


def test_a_block_that_fails_closes_too(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), DocumentDatabase(tmp_path) as database:
        raise ZeroDivisionError
    with pytest.raises(DatabaseClosed):
        database.put("a", {})


@only_in_folders
def test_a_database_that_is_only_read(shop: DocumentDatabase, tmp_path: Path) -> None:
    shop.put_attachment("photo", b"x" * 2_000_000)
    with DocumentDatabase(tmp_path / "shop", read_only=True) as reader:
        assert everything(reader) == everything(shop)
        assert reader.get_attachment("photo").read() == b"x" * 2_000_000  # type: ignore[union-attr]
        assert reader.statistics() == shop.statistics()
        assert reader.check() == []
        for call in (
            lambda: reader.put("a", {}),
            lambda: reader.delete("loose"),
            lambda: reader.put_attachment("photo", b""),
            lambda: reader.delete_attachment("photo"),
            lambda: reader.next_id("Orders"),
            lambda: reader.put("orders/", {}),
        ):
            with pytest.raises(StorageFailure, match="only for reading") as caught:
                call()
            assert caught.value.hint
        shop.put("later", {})
        assert reader.get("later") is not None


# Threads and processes


def test_threads_share_a_database(database: DocumentDatabase) -> None:
    def work(thread: int) -> None:
        for n in range(40):
            database.put(f"{thread}/{n}", {"n": n}, {"Raven-Entity-Name": f"C{thread}"})
            assert database.get(f"{thread}/{n}").json() == {"n": n}  # type: ignore[union-attr]
            if n % 4 == 0:
                database.put_attachment(f"{thread}/{n}", b"%d" % n * 1000)
                assert database.get_attachment(f"{thread}/{n}").read() == b"%d" % n * 1000  # type: ignore[union-attr]
            if n % 5 == 0:
                assert database.delete(f"{thread}/{n}")
        assert len(database.by_collection(f"C{thread}", limit=100)) == 32

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert database.statistics().documents == 6 * 32


def numbered(folder: Path, count: int) -> list[str]:
    """In a process of its own: ids of both kinds, each time with the database to itself."""
    ids: list[str] = []
    for _ in range(count):
        with DocumentDatabase(folder) as database:
            ids += [database.next_id("Orders"), database.put("things/", {}).id]
    return ids


def test_ids_of_two_processes_are_never_the_same(tmp_path: Path, other_process: ProcessPoolExecutor) -> None:
    ids: list[str] = []
    for _ in range(3):
        ids += other_process.submit(numbered, tmp_path, 3).result(60)
        ids += numbered(tmp_path, 3)
    assert len(set(ids)) == len(ids) == 36
    assert {id for id in ids if id.startswith("things")} == {f"things/{n}" for n in range(1, 19)}


def test_settings_are_changed_one_by_one(tmp_path: Path) -> None:
    with DocumentDatabase(tmp_path / "shop") as database:
        assert database.configure({"Muniment/History": "true", "Mine": "kept"}) == database.settings
        assert database.configure({"Muniment/HistoryWindow": "7d"}) == {
            "Muniment/History": "true",
            "Mine": "kept",
            "Muniment/HistoryWindow": "7d",
        }
        for wrong in ({"Muniment/Histroy": "true"}, {"Muniment/History": True}, {"Muniment/History": None}, {"x": 1}):
            with pytest.raises(InvalidInput) as caught:
                database.configure(wrong)  # type: ignore[arg-type]
            assert caught.value.hint
        assert len(database.settings) == 3
    with DocumentDatabase(tmp_path / "shop") as database:
        assert database.settings["Muniment/HistoryWindow"] == "7d"
        assert database.configure({"Other": "alone"}, replace=True) == database.settings == {"Other": "alone"}
        assert database.configure({"Other": None}) == database.settings == {}


def test_a_database_whose_settings_an_older_version_took_can_be_opened(tmp_path: Path) -> None:
    old = {"Muniment/Histroy": "true", "Muniment/HistoryWindow": "7d"}
    with DocumentDatabase(tmp_path / "shop") as database:
        database.storage.configure(old)
    with DocumentDatabase(tmp_path / "shop") as database:
        assert database.settings == old
        with pytest.raises(InvalidInput):
            database.configure({"Mine": "new"})
        assert database.configure({"Muniment/Histroy": None, "Muniment/History": "true"})["Muniment/HistoryWindow"]


def test_threads_change_settings_without_losing_any(database: DocumentDatabase) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: database.configure({f"Mine/{number}": "x"}), range(40)))
    assert len(database.settings) == 40


def test_a_folder_whose_name_is_not_unicode(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is not Unicode"):
        DocumentDatabase(tmp_path / "\udcff")
    assert not list(tmp_path.iterdir())
    with DocumentDatabase(tmp_path / "shop"):
        pass
    (tmp_path / "shop").rename(tmp_path / "\udcff")
    for read_only in (False, True):
        with pytest.raises(InvalidInput, match="is not Unicode"):
            DocumentDatabase(tmp_path / "\udcff", read_only=read_only)


@pytest.mark.parametrize("place", ["", "  ", "http://127.0.0.1:8080", Path("https://server/databases/shop")])
def test_what_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for create in (True, False):
        with pytest.raises(InvalidInput) as caught:
            DocumentDatabase(place, create=create)
        assert caught.value.hint
    assert not list(tmp_path.iterdir())


def test_a_query_says_that_there_is_no_such_collection(database: DocumentDatabase) -> None:
    database.put("orders/1", {"Company": "c", "Freight": 1}, ORDERS)
    database.put("employees/1", {}, {"Raven-Entity-Name": "Employees"})
    database.delete("employees/1")
    for query in (
        "from Ordres",
        "from Ordres where Company = 'c'",
        "from Ordres group by Company select key(), count()",
    ):
        found = database.query(query)
        assert (found, found.total) == ([], 0)
        assert found.plan.why == "there is no document in a collection 'Ordres': did you mean Orders?"
    assert database.query("from Employees").plan.why == "there is no document in a collection 'Employees'"
    with database.open_session() as session:
        assert "did you mean Orders?" in session.query("Ordres").where(Freight=1).explain().why
    for query in ("from orders", "from Orders where Company = 'x'", "from Orders where Compny = 'c'", "from @all_docs"):
        assert "collection" not in database.query(query).plan.why
