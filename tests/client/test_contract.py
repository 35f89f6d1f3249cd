"""The same scenarios on the embedded database, on a server, and on a server in asyncio: they give the same."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from muniment import Delete, DocumentStore, Progress, Put
from muniment.errors import (
    Cancelled,
    ConcurrencyConflict,
    DamagedDump,
    InvalidDocument,
    InvalidId,
    InvalidInput,
    InvalidScript,
    NotFound,
    PatchConflict,
    StorageFailure,
    TargetExists,
)
from muniment.smuggler.options import SmugglerOptions
from tests.client.test_wire import AWKWARD
from tests.raven3.test_documents import BODIES, METADATA
from tests.sampled import count, some, torture

pytestmark = some(2)  # of the forms, which are in most tests all the parameters


@dataclass
class Order:
    customer: str
    total: float = 0.0


def test_documents(any_database: Any) -> None:
    first = any_database.put("orders/1", b'{"total":1.10,"big":1e400}', {"Raven-Entity-Name": "Orders"})
    second = any_database.put("Orders/2", {"total": 2})
    again = any_database.put("ORDERS/1", b'{ "total" : 3 }')
    assert (first.id, first.existed, second.existed, again.existed) == ("orders/1", False, False, True)
    assert again.id == "orders/1"
    assert first.etag < second.etag < again.etag
    document = any_database.get("oRDERS/1")
    assert (document.id, document.etag, document.body) == ("orders/1", again.etag, b'{ "total" : 3 }')
    assert any_database.get("orders/3") is None
    found = any_database.get_many(["orders/2", "orders/3", "orders/1", "ORDERS/2"])
    assert [document and document.id for document in found] == ["Orders/2", None, "orders/1", "Orders/2"]
    assert any_database.delete("orders/2") is True
    assert any_database.delete("orders/2") is False
    assert any_database.get("orders/2") is None


@some(9)
@pytest.mark.parametrize("metadata", METADATA)
def test_bytes_are_kept(any_database: Any, metadata: bytes) -> None:
    for number, body in enumerate(BODIES):
        any_database.put(f"a/{number}", body, metadata)
    for number, body in enumerate(BODIES):
        document = any_database.get(f"a/{number}")
        assert document.body == body
        assert document.metadata_json == (b"{}" if b"Last-Modified" in metadata else metadata) or (
            b"Last-Modified" in metadata and document.metadata == {"a": 1}
        )
    assert [document.body for document in any_database.by_etag()] == BODIES


@some(2)
def test_ids_are_kept(any_database: Any) -> None:
    """Those that end in a slash get a number."""
    ids = [id for id in AWKWARD if not id.endswith("/")]
    for id in ids:
        any_database.put(id, {"id": id})
    for id in ids:
        document = any_database.get(id)
        assert document is not None, id
        assert (document.id, document.json()) == (id, {"id": id})
    assert [document.id for document in any_database.get_many(ids)] == ids
    assert {document.id for document in any_database.by_etag(limit=1000)} == set(ids)
    for id in ids:
        etag = any_database.get(id).etag
        with pytest.raises(ConcurrencyConflict):
            any_database.delete(id, etag=etag + 1)
        written = any_database.put(id, {"again": id}, etag=etag)
        assert (written.id, written.existed) == (id, True)
        assert any_database.delete(id, etag=written.etag) is True
        assert any_database.put(id, {}, etag=0).existed is False
        assert any_database.delete(id) is True
    assert any_database.by_etag() == []


def test_numbered_ids(any_database: Any) -> None:
    assert [any_database.put("orders/", {}).id for _ in range(3)] == ["orders/1", "orders/2", "orders/3"]
    assert any_database.put("orders/", {}, {"Raven-Entity-Name": "Orders"}, etag=0).id == "orders/4"


def test_patches(any_database: Any) -> None:
    any_database.put("orders/1", b'{"n": 1.10,  "l":[]}')
    written = any_database.patch("Orders/1", [{"Type": "Inc", "Name": "n", "Value": 1}])
    found = any_database.get("orders/1")
    assert (written.id, written.etag, written.existed) == ("orders/1", found.etag, True)
    assert found.body == b'{"n": 2.10,  "l":[]}'
    any_database.patch("orders/1", [{"Type": "Add", "Name": "l", "Value": None}], etag=found.etag)
    with pytest.raises(ConcurrencyConflict):
        any_database.patch("orders/1", [{"Type": "Unset", "Name": "l"}], etag=found.etag)
    with pytest.raises(PatchConflict, match="is not there"):
        any_database.patch("orders/1", [{"Type": "Unset", "Name": "x", "PrevVal": None}])
    with pytest.raises(NotFound, match="no document 'none' to patch"):
        any_database.patch("none", [])
    with pytest.raises(InvalidInput, match="no type"):
        any_database.patch("orders/1", [{"Type": "Put", "Name": "x"}])
    assert any_database.get("orders/1").body == b'{"n": 2.10,  "l":[null]}'


def test_batches_are_all_or_nothing(any_database: Any) -> None:
    written = any_database.batch([Put("a", {"n": 1}), Put("b", {"n": 1}), Delete("c")])
    assert [(each.id, each.existed) for each in written] == [("a", False), ("b", False), ("c", False)]
    with pytest.raises(ConcurrencyConflict) as error:
        any_database.batch([Put("a", {"n": 2}), Put("it's", {"n": 2}, etag=7), Delete("a")])
    assert (error.value.id, error.value.expected, error.value.actual) == ("it's", 7, 0)
    assert any_database.get("a").json() == {"n": 1}
    assert any_database.batch([]) == []
    written = any_database.batch([Delete("A"), Put("a", {"n": 3})])
    assert [(each.id, each.existed) for each in written] == [("a", True), ("a", False)]


@pytest.mark.parametrize("metadata", [None, {"Raven-Entity-Name": "Things"}])
def test_conflicts(any_database: Any, metadata: dict[str, Any] | None) -> None:
    written = any_database.put("a", {}, metadata, etag=0)
    for etag, actual in ((0, written.etag), (written.etag + 5, written.etag)):
        with pytest.raises(ConcurrencyConflict) as error:
            any_database.put("A", {"x": 1}, metadata, etag=etag)
        assert (error.value.id.lower(), error.value.expected, error.value.actual) == ("a", etag, actual)
        assert error.value.hint
        with pytest.raises(ConcurrencyConflict):
            any_database.delete("a", etag=etag)
    with pytest.raises(ConcurrencyConflict) as error:
        any_database.delete("missing", etag=written.etag)
    assert error.value.actual == 0
    assert any_database.delete("missing", etag=0) is False
    assert any_database.delete("a", etag=written.etag) is True


@pytest.mark.parametrize(
    ("id", "body", "error"),
    [
        ("", {}, InvalidId),
        ("é" * 257, {}, InvalidId),
        ("a", b"", InvalidDocument),
        ("a", b"[]", InvalidDocument),
        ("a", b'{"a":1}{', InvalidDocument),
        ("a", b'{"a":"\xff"}', InvalidDocument),
        ("a", {"a": float("inf")}, InvalidDocument),
    ],
)
def test_bad_input(any_database: Any, id: str, body: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as raised:
        any_database.put(id, body)
    assert getattr(raised.value, "hint", "")
    assert any_database.by_etag() == []


def test_pages(any_database: Any) -> None:
    any_database.batch([Put(f"a/{number:04}", {"n": number}) for number in range(1100)])
    any_database.put("b", {})
    any_database.put("a/0003", {"n": "changed"})
    ids = [f"a/{number:04}" for number in range(1100)]
    assert [document.id for document in any_database.by_prefix("A/")] == ids[:25]
    assert [document.id for document in any_database.by_prefix("a/", start=20, limit=1050)] == ids[20:1070]
    assert [document.id for document in any_database.by_prefix("a/", start=1090)] == ids[1090:]
    assert [document.id for document in any_database.by_prefix("a/", after="A/1", start=1, limit=3)] == [
        id for id in ids if id > "a/1"
    ][1:4]
    assert any_database.by_prefix("x") == any_database.by_prefix("a", limit=0) == []
    everything = any_database.by_etag(limit=5000)
    assert len(everything) == 1101
    cut = [any_database.by_prefix("a/"), any_database.by_prefix("a/", limit=0), any_database.by_etag(limit=1100)]
    whole = [everything, any_database.by_prefix("a/", start=1075), any_database.by_etag(after=everything[-2].etag)]
    whole += [any_database.by_prefix("a/", limit=1100), any_database.by_etag(limit=(1 << 63) - 1)]
    assert [page.more for page in cut + whole] == [True] * 3 + [False] * 5
    assert [document.id for document in everything][-2:] == ["b", "a/0003"]
    assert any_database.by_etag(after=everything[-2].etag) == everything[-1:]
    with pytest.raises(InvalidInput):
        any_database.by_prefix("a", start=-1)
    with pytest.raises(InvalidInput):
        any_database.by_etag(after=-1)
    assert [document.id for document in any_database.get_many(reversed(ids))] == ids[::-1]


def test_sessions(any_database: Any) -> None:
    with any_database.open_session() as session:
        order = Order("alice", 1.5)
        assert session.store(order) == "orders/1"
        session.store({"a": 1}, "things/1", collection="Things", metadata={"Owner": "bob"})
        assert session.load("orders/1", Order) is order
        with pytest.raises(InvalidInput, match="is a Order in this session"):
            session.load("orders/1")
        session.save_changes()
        assert session.etag(order) is not None
        order.total = 2.5
        session.delete("things/1")
        session.save_changes()
    with any_database.open_session(optimistic_concurrency=True) as session:
        order = session.load("ORDERS/1", Order)
        assert (order.customer, order.total, session.id(order)) == ("alice", 2.5, "orders/1")
        assert session.metadata(order) == {"Raven-Entity-Name": "Orders"}
        assert session.load("things/1") is None
        assert session.load_many(["things/1", "orders/1"], Order) == [None, order]
        any_database.put("orders/1", {"customer": "carol"})
        order.total = 9.0
        with pytest.raises(ConcurrencyConflict) as error:
            session.save_changes()
        assert error.value.id == "orders/1"
    assert any_database.get("orders/1").json() == {"customer": "carol"}


def test_numbers_keep_their_spelling_in_sessions(any_database: Any) -> None:
    any_database.put("a", b'{"price":1.10,"n":1}')
    with any_database.open_session() as session:
        session.load("a")["n"] = 2
        session.save_changes()
    assert any_database.get("a").body == b'{"price":1.10,"n":2}'


def test_ids_made_by_hilo(any_database: Any) -> None:
    assert [any_database.next_id("Orders") for _ in range(33)] == [f"orders/{number}" for number in range(1, 34)]
    assert any_database.next_id("LastFms") == "LastFms/1"
    assert any_database.get("Raven/Hilo/orders").json() == {"Max": 64}
    with pytest.raises(InvalidInput):
        any_database.next_id("")


def test_attachments(any_database: Any) -> None:
    content = bytes(range(256)) * 20000
    first = any_database.put_attachment("photos/1.png", content, {"Owner": "bob"})
    assert (first.id, first.existed) == ("photos/1.png", False)
    attachment = any_database.get_attachment("PHOTOS/1.png")
    assert (attachment.key, attachment.etag, attachment.size) == ("photos/1.png", first.etag, len(content))
    assert attachment.metadata_json == b'{"Owner":"bob"}'
    assert attachment.read() == content == b"".join(attachment.chunks())
    again = any_database.put_attachment("Photos/1.png", io.BytesIO(b"x" * 3_000_000), etag=first.etag)
    assert (again.id, again.existed) == ("photos/1.png", True)
    with pytest.raises(ConcurrencyConflict) as error:
        any_database.put_attachment("photos/1.png", b"y", etag=first.etag)
    assert (error.value.id, error.value.expected, error.value.actual) == ("photos/1.png", first.etag, again.etag)
    with pytest.raises(Exception, match="replaced or deleted"):
        attachment.read()
    any_database.put_attachment("photos/10", b"")
    any_database.put_attachment("other", (bytes([n]) for n in range(5)))
    assert [(each.key, each.size) for each in any_database.attachments("photos/")] == [
        ("photos/1.png", 3_000_000),
        ("photos/10", 0),
    ]
    assert [each.key for each in any_database.attachments(start=1, limit=1)] == ["photos/1.png"]
    assert [any_database.attachments(limit=limit).more for limit in (0, 1, 25)] == [True, True, False]
    assert any_database.get_attachment("photos/10").read() == b""
    assert any_database.get_attachment("other").read() == b"\0\1\2\3\4"
    assert any_database.get_attachment("photos/") is None
    with pytest.raises(ConcurrencyConflict):
        any_database.delete_attachment("other", etag=1)
    assert any_database.delete_attachment("OTHER") is True
    assert any_database.delete_attachment("other") is False
    assert any_database.get_attachment("other") is None


@pytest.mark.parametrize(
    "metadata",
    [
        {"Raven-Entity-Name": "Photos", "Content-Type": "image/png", "Owner": "bob"},
        {
            "Owner": "Zoë 日本 🎉",
            "Note": ' 100%, "it\'s" ',
            "MyKey": "a\nb",
            "Ärger": "{x}",
            "Date": "2026-11-22T14:03:00Z",
        },
        {"Tags": ["a", "ü"], "Of": {"a": [1.5, None]}, "Empty": ""},
    ],
)
def test_metadata_of_attachments(any_database: Any, metadata: dict[str, Any]) -> None:
    any_database.put_attachment("a", b"x", metadata)
    assert any_database.get_attachment("a").metadata == metadata


@some(2)
def test_awkward_keys_of_attachments(any_database: Any) -> None:
    keys = [key for key in AWKWARD if key.strip("/")]
    for key in keys:
        any_database.put_attachment(key, key.encode())
        attachment = any_database.get_attachment(key)
        assert attachment is not None, key
        assert (attachment.key, attachment.read()) == (key, key.encode())
    for key in keys:
        assert any_database.delete_attachment(key) is True


def test_what_a_stream_raises_comes_out(any_database: Any) -> None:
    def content() -> Iterator[bytes]:
        yield b"x" * 100_000
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        any_database.put_attachment("a", content())
    assert any_database.get_attachment("a") is None
    with pytest.raises(InvalidInput):
        any_database.put_attachment("a", "text")


def test_statistics(any_database: Any) -> None:
    any_database.put("orders/1", b'{"a":1}', {"Raven-Entity-Name": "Orders"})
    last = any_database.put_attachment("a", b"xyz")
    found = any_database.statistics()
    assert (found.documents, found.attachments, found.collections) == (1, 1, {"Orders": 1})
    assert found.last_etag == last.etag
    assert found.bytes > 0
    assert found.file_bytes > 0
    assert found.fingerprint
    assert found.database_id != found.lineage


def _put_and_get(database: Any, size: int) -> None:
    body = b'{"a":"' + b"x" * (size - 8) + b'"}'
    written = database.put("a", body)
    assert database.get("a").body == body
    database.put("a", body, etag=written.etag)


def test_large_documents(any_database: Any) -> None:
    _put_and_get(any_database, 1 << 20)


@torture
def test_the_largest_documents(store: DocumentStore) -> None:
    size = count(16 << 20, whole=(64 << 20) - 100)
    _put_and_get(store, size)  # the limit is the server's, so one kind of client will do


def test_too_large_a_document(any_database: Any) -> None:
    with pytest.raises(InvalidDocument):
        any_database.put("a", b'{"a":"' + b"x" * (64 << 20) + b'"}')


def test_dumps_go_out_and_in(any_database: Any, tmp_path: Path) -> None:
    any_database.put("orders/1", b'{"total":1.10}', {"Raven-Entity-Name": "Orders"})
    any_database.put("orders/2", {})
    any_database.put_attachment("orders/1/a", b"x" * 3_000_000)
    path, stream, progress = tmp_path / "new.ravendbdump", io.BytesIO(), Progress()
    exported = any_database.export(path, progress=progress)
    assert (exported.documents, exported.attachments, exported.etag) == (2, 1, 3)
    assert (exported.file, exported.size, exported.format) == (str(path), path.stat().st_size, "ravendbdump")
    assert (progress.documents, progress.total_documents, progress.finished is None) == (2, 2, False)
    with pytest.raises(TargetExists):
        any_database.export(path)
    options = SmugglerOptions.of(operate_on_types="Documents", start_document_etag=1)
    exported = any_database.export(stream, format="ndjson", compression="none", options=options)
    assert (exported.documents, exported.file) == (1, None)
    assert json.loads(stream.getvalue())["@metadata"]["@id"] == "orders/2"
    any_database.export(path, overwrite=True)
    any_database.delete("orders/1")
    for source in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), iter([path.read_bytes()])):
        imported = any_database.import_dump(source)
        assert (imported.documents, imported.attachments) == (2, 1)
    assert any_database.get("orders/1").body == b'{"total":1.10}'
    options = SmugglerOptions.of(filter=["total=1.10,7", "total=1.1*"], metadata_filter=["@id=orders/*"], limit=5)
    assert any_database.import_dump(path, options=options).documents == 1
    with pytest.raises(NotFound, match="none"):
        any_database.import_dump(tmp_path / "none")
    with pytest.raises(DamagedDump, match="cut short"):
        any_database.import_dump(path.read_bytes()[:-100])
    with pytest.raises(InvalidInput, match="which format"):
        any_database.export(tmp_path / "new")
    with pytest.raises(StorageFailure, match="could not be written"):
        any_database.export(tmp_path / "none" / "new.ravendump")
    assert [found.name for found in tmp_path.glob("*ump*")] == [path.name]


@some(1)
def test_an_export_that_fails_leaves_nothing(any_database: Any, tmp_path: Path) -> None:
    """Neither when it fails before anything came, nor in the middle."""
    text = "x" * 100_000
    any_database.batch([Put(f"a/{n}", {"n": f"{n}{text}"}) for n in range(50)])
    any_database.put("odd", {"odd": True})
    options = SmugglerOptions(transform="function(doc) { if (doc.odd) throw 'no'; return doc; }")
    for format in ("ravendbdump", "ndjson"):
        with pytest.raises(InvalidScript, match="odd"):
            any_database.export(tmp_path / "new", format=format, compression="none", options=options)
    progress = Progress()
    progress.cancel()
    with pytest.raises(Cancelled):
        any_database.export(tmp_path / "new.ndjson", progress=progress)
    assert list(tmp_path.glob("new*")) == []


def test_an_import_that_is_stopped(any_database: Any, tmp_path: Path) -> None:
    any_database.put("a", {})
    any_database.export(tmp_path / "new.ravendump")
    progress = Progress()
    progress.cancel()
    with pytest.raises(Cancelled) as stopped:
        any_database.import_dump(tmp_path / "new.ravendump", progress=progress)
    assert any(words in stopped.value.hint for words in ("continuation token", "has stored by now stays"))


def test_new_objects_never_take_the_place_of_documents(any_database: Any) -> None:
    """Whatever `Raven/Hilo/…` says, which is nothing after a restore of one collection."""
    any_database.batch([Put(f"orders/{n}", {"mine": n}) for n in (1, 2, 33, 70)])
    with any_database.open_session() as session:
        assert session.store(Order("new"), collection="Orders") == "orders/97"
        session.save_changes()
    any_database.put("orders/98", {"mine": 98})
    for _ in range(3):
        with any_database.open_session() as session:
            session.store(Order("again"), collection="Orders")
            with suppress(ConcurrencyConflict):  # of a range that was reserved before
                session.save_changes()
    expected = {f"orders/{n}": {"mine": n} for n in (1, 2, 33, 70, 98)}
    assert {id: any_database.get(id).json() for id in expected} == expected
    stored = [document.json().get("customer") for document in any_database.by_prefix("orders/")]
    assert stored.count("new") == 1
    assert stored.count("again") >= 2


def test_numbered_documents_never_take_the_place_of_others(any_database: Any) -> None:
    any_database.batch([Put(f"orders/{n}", {"mine": n}) for n in (1, 2, 4)])
    ids = [any_database.put("orders/", {"new": True}).id for _ in range(2)]
    assert ids == ["orders/3", "orders/5"]
    written = any_database.batch([Put("orders/6", {"mine": 6}), Put("orders/", {"new": True})])
    assert [each.id for each in written] == ["orders/6", "orders/7"]


@pytest.mark.parametrize(
    ("body", "stored"),
    [
        (b'{"@metadata":{"@id":"other","Owner":"me"},"a":1.10}', b'{"a":1.10}'),
        (b'{"a":1.10,"\\u0040metadata":{"Owner":"me"}}', b'{"a":1.10}'),
        (b'{"a":1.10,"@met\\u0061data":{"Owner":"me"}}', b'{"a":1.10}'),
        ({"a": 1, "@metadata": {"Owner": "me", "Last-Modified": "x"}}, b'{"a":1}'),
        ({"@metadata": {"Owner": "me", "Raven-Entity-Name": "no"}}, b"{}"),
    ],
)
def test_metadata_in_a_body_is_metadata(any_database: Any, body: Any, stored: bytes) -> None:
    """As RavenDB shows documents in answers, and takes them back."""
    any_database.put("a", body, {"Raven-Entity-Name": "As"})
    document = any_database.get("a")
    assert (document.body, document.metadata) == (stored, {"Owner": "me", "Raven-Entity-Name": "As"})
    any_database.batch([Put("b", body, {"Raven-Entity-Name": "As", "Owner": "you"}), Put("c", {})])
    assert any_database.get("b").metadata == {"Raven-Entity-Name": "As", "Owner": "you"}
    with pytest.raises(InvalidDocument, match="@metadata"):
        any_database.put("d", b'{"@metadata":"text"}')
