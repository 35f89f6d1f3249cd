"""Dumps into a database: what is kept, what is mapped, and what is said of the rest."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from muniment import DocumentDatabase
from muniment.document import encode
from muniment.errors import Cancelled, DamagedDump, InvalidDocument, InvalidId
from muniment.progress import Progress
from muniment.smuggler import batches
from muniment.smuggler.batches import WRITE_BYTES, Batch, Batches
from muniment.smuggler.contents import NOT_NAMED
from muniment.smuggler.importer import NOT_IN_DUMP, import_dump
from muniment.smuggler.metadata import stored_metadata
from muniment.smuggler.options import SmugglerOptions
from muniment.smuggler.summary import Imported
from muniment.storage.base import Write
from muniment.storage.sqlite.store import SqliteStorage
from tests.sampled import some
from tests.shared import shared
from tests.smuggler.dumps import attachment, blake2b, docs, document, source_of

pytestmark = pytest.mark.usefixtures("both_ways")

PICTURE = b"\x89PNG" * 1000


@pytest.fixture
def database(tmp_path: Path) -> Iterator[DocumentDatabase]:
    with DocumentDatabase(tmp_path / "db") as database:
        yield database
        assert database.check() == []


def load(database: DocumentDatabase, dump: bytes, progress: Progress | None = None) -> Imported:
    return import_dump(database.storage, source_of(dump, database.storage.folder.parent), progress=progress)


def naming(id: str, *contents: bytes) -> bytes:
    named = [{"Name": f"{n}.png", "Hash": blake2b(each), "ContentType": "image/png"} for n, each in enumerate(contents)]
    return b'{"n":1.10,"@metadata":' + encode({"@id": id, "@collection": "As", "@attachments": named}) + b"}"


@pytest.mark.parametrize(
    ("metadata", "stored"),
    [
        (b'{"@collection":"Orders","@id":"a","@change-vector":"A:1"}', b'{"Raven-Entity-Name":"Orders"}'),
        (b'{"@collection":"@empty","@id":"a"}', b"{}"),
        (b'{"@collection":"@hilo","@id":"Raven/Hilo/As"}', b"{}"),
        # What is not as RavenDB would have it for this id is kept, so that it goes out as it came in.
        (b'{"@collection":"@hilo","@id":"a"}', b'{"@collection":"@hilo"}'),
        (b'{"@collection":"@empty","@id":"RAVEN/hilo/a"}', b'{"@collection":"@empty"}'),
        (b'{"@collection":"","@id":"a"}', b'{"@collection":""}'),
        (b'{"@collection":1.10,"@id":"a"}', b'{"@collection":1.10}'),
        (b'{"@last-modified":"2018-07-27"}', b'{"Last-Modified":"2018-07-27","@collection":null}'),
        (b'{"Last-Modified":"2018-07-27","@id":"a"}', b'{"Last-Modified":"2018-07-27"}'),
        (
            b'{"Raven-Last-Modified":"2018","Raven-Entity-Name":"As"}',
            b'{"Raven-Entity-Name":"As","Last-Modified":"2018"}',
        ),
        (b'{"Last-Modified":"2018","Raven-Last-Modified":"2019"}', b'{"Last-Modified":"2018"}'),
        # In RavenDB 4 and later, our names for these are ordinary words.
        (
            b'{"Raven-Entity-Name":"Own","@collection":"As","last-modified":1.10,"Own-Last-Modified":"x"}',
            b'{"Own-Raven-Entity-Name":"Own","Raven-Entity-Name":"As","Own-last-modified":1.10,"Own-Own-Last-Modified":"x"}',
        ),
        (b'{"Raven-Expiration-Date":"tomorrow","@collection":"@empty"}', b'{"Own-Raven-Expiration-Date":"tomorrow"}'),
        (b'{"@expires":"2030-01-01","@refresh":"x"}', b'{"Raven-Expiration-Date":"2030-01-01","@refresh":"x"}'),
        (b'{"Raven-Clr-Type":"A.B","n":1.10,"@flags":"HasAttachments"}', b'{"Raven-Clr-Type":"A.B","n":1.10}'),
        (b'{"n":null,"m":{"a":[null]},"@id":"a"}', b'{"n":null,"m":{"a":[null]}}'),
        (b'{"half":"\\ud800","n":1.10,"@collection":"As"}', b'{"half":"\\ud800","n":1.10,"Raven-Entity-Name":"As"}'),
    ],
)
def test_metadata(metadata: bytes, stored: bytes) -> None:
    assert stored_metadata(metadata) == stored


@some(10)
@pytest.mark.parametrize("id", ["a", "Raven/Hilo/as"])
@pytest.mark.parametrize(
    "metadata",
    [
        b'"@collection":"@empty"',
        b'"@collection":"@hilo"',
        b'"@collection":""',
        b'"@collection":"As"',
        b'"@collection":null',
        b'"@collection":5',
        b'"@change-vector":"A:1"',
        b'"@collection":"As","Raven-Entity-Name":"Bs","Last-Modified":"x","Own-Last-Modified":1,"Raven-Expiration-Date":null',
    ],
)
def test_what_came_in_goes_out(database: DocumentDatabase, id: str, metadata: bytes) -> None:
    """Also where a document names no collection, or names what is none."""
    time = b'"@last-modified":"2018-07-27T12:11:53.0145929Z"'
    load(database, docs(b'{"n":1,"@metadata":{%s,"@id":"%s",%s}}' % (metadata, id.encode(), time)))
    dump = io.BytesIO()
    database.export(dump, format="ravendbdump", compression="none")
    [document] = json.loads(dump.getvalue())["Docs"]
    expected = json.loads(b'{%s,"@id":"%s",%s}' % (metadata, id.encode(), time))
    expected.pop("@change-vector", None)
    if expected.get("@collection", "") is None:
        del expected["@collection"]  # which says as much
    assert document["@metadata"] == expected


def test_attachments_belong_to_the_documents_that_name_them(database: DocumentDatabase) -> None:
    """Each content is in the dump once, before the first of the documents that share it."""
    found = load(database, docs(attachment(PICTURE), naming("a/1", PICTURE), document("b/1"), naming("A/2", PICTURE)))
    assert (found.documents, found.attachments, found.skipped) == (3, 2, {})
    for key in ("a/1/0.png", "A/2/0.png"):
        stored = database.get_attachment(key)
        assert stored is not None
        assert stored.read() == PICTURE
        assert stored.metadata == {"Content-Type": "image/png", "Hash": blake2b(PICTURE)}


def test_what_has_no_place_is_named_and_counted(database: DocumentDatabase) -> None:
    dump = docs(attachment(b"nobody's"), naming("a/1", b"missing"), more=b',"CounterGroups":[{},{}],"New":[1]')
    assert load(database, dump).skipped == {"CounterGroups": 2, "New": 1, NOT_IN_DUMP: 1, NOT_NAMED: 1}
    assert database.attachments() == []


def test_identities_never_go_back(database: DocumentDatabase) -> None:
    database.put("b/", {})
    dump = docs(more=b',"Identities":[{"Key":"a|","Value":"7"},{"Key":"b/","Value":0}]')
    assert load(database, dump).identities == 2
    assert database.put("a/", {}).id == "a/8"
    assert database.put("b/", {}).id == "b/2"


def test_identities_below_zero(database: DocumentDatabase) -> None:
    load(database, docs(more=b',"Identities":[{"Key":"a|","Value":"-7"}]'))
    assert database.get("Raven/Identities/a/").json() == {"Value": -7}  # type: ignore[union-attr]
    load(database, docs(more=b',"Identities":[{"Key":"a|","Value":-3},{"Key":"A|","Value":-9}]'))
    assert database.get("Raven/Identities/a/").json() == {"Value": -3}  # type: ignore[union-attr]


def test_conflicts_that_were_not_resolved_are_named(database: DocumentDatabase) -> None:
    """RavenDB 2 and 3 export a stub for each, with the versions beside it."""
    stub = b'{"Conflicts":["a/1/conflicts/x"],"@metadata":{"@id":"a/%d","Raven-Replication-Conflict":true}}'
    version = b'{"@metadata":{"@id":"a/1/conflicts/x","Raven-Replication-Conflict-Document":true}}'
    solved = b'{"@metadata":{"@id":"b","Raven-Replication-Conflict":false}}'
    found = load(database, b'{"Docs":[%s]}' % b",".join([*(stub % n for n in range(25)), version, solved]))
    assert (found.documents, found.conflicts) == (27, 25)
    assert found.conflicting == [f"a/{n}" for n in range(20)]


def test_importing_again_changes_nothing(database: DocumentDatabase) -> None:
    dump = docs(attachment(PICTURE), naming("a/1", PICTURE), document("b/1"))
    load(database, dump)
    before = database.snapshot().fingerprint
    load(database, dump)
    assert database.snapshot().fingerprint == before


def test_a_broken_dump_says_what_was_imported_and_leaves_whole_documents(database: DocumentDatabase) -> None:
    dump = docs(*(document(f"a/{number}") for number in range(2500)))
    with pytest.raises(DamagedDump, match=r"2,\d\d\d documents were imported before|2,000 documents were imported"):
        load(database, dump[:-10])
    assert database.statistics().documents >= 2000
    load(database, dump)
    assert database.statistics().documents == 2500


@pytest.mark.parametrize(
    ("item", "error"),
    [
        (document("x" * 513), InvalidId),
        (b'{"@metadata":{"@id":"a","@attachments":[{"Name":1}]}}', DamagedDump),
        (b'{"@metadata":{"@id":"a","@collection":"\\ud800"}}', InvalidDocument),
    ],
)
def test_items_that_can_not_be_stored(database: DocumentDatabase, item: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        load(database, docs(item))
    assert database.statistics().documents == 0


def test_a_cancelled_import_keeps_whole_batches(database: DocumentDatabase) -> None:
    progress = Progress()
    progress.cancel()
    with pytest.raises(Cancelled):
        load(database, docs(attachment(PICTURE), naming("a/1", PICTURE)), progress)
    assert database.attachments() == []


def test_the_real_dump_is_byte_identical(database: DocumentDatabase) -> None:
    path = shared()
    import gzip

    found = import_dump(database.storage, path)
    assert (found.documents, found.attachments, found.build_version) == (1059, 17, 62028)
    plain = gzip.decompress(path.read_bytes())
    checked = 0
    for found_document in database.by_etag(limit=2000):
        if found_document.id.startswith(("Raven/Indexes/", "Raven/Smuggler/")):
            continue
        inner = found_document.body.removesuffix(b"}")
        assert inner in plain, found_document.id
        checked += 1
    assert checked == 1059
    for stored in database.attachments(limit=100):
        content = stored.read()
        assert content in plain
        assert blake2b(content) == stored.metadata["Hash"]


BEFORE = b",".join([attachment(b"1"), naming("a/1", b"1"), attachment(b"2"), naming("a/2", b"2")])


@some(8)
@pytest.mark.parametrize("batch_size", [1, 2, 1000])
@pytest.mark.parametrize(
    "tail",
    [
        b"",
        attachment(b"3"),
        attachment(b"3") + b"," + naming("a/3", b"3")[:-20],
        attachment(b"3") + b"," + naming("a/3", b"3") + b',{"broken":tru,"@metadata":{"@id":"a/4"}}]}',
    ],
)
def test_an_import_that_fails_leaves_no_attachment_without_its_document(
    database: DocumentDatabase, tail: bytes, batch_size: int
) -> None:
    """Contents wait for the document that names them, and are stored with it or not at all."""
    dump = source_of(b'{"Docs":[%s,%s' % (BEFORE, tail), database.path.parent)
    with pytest.raises(DamagedDump) as caught:
        import_dump(database.storage, dump, options=SmugglerOptions.of(batch_size=batch_size))
    documents = [document.id for document in database.by_etag()]
    assert [each.key for each in database.attachments()] == [f"{id}/0.png" for id in documents]
    assert f"{len(documents)} documents" in caught.value.message
    assert documents[:2] == (["a/1", "a/2"] if batch_size < 1000 else [])


def test_a_document_that_can_not_be_stored_takes_its_attachments_along(database: DocumentDatabase) -> None:
    dump = b'{"Docs":[%s,%s,%s]}' % (BEFORE, attachment(b"3"), naming("a" * 600, b"3"))
    options = SmugglerOptions.of(ignore_errors=True)
    found = import_dump(database.storage, source_of(dump, database.path.parent), options=options)
    assert (found.documents, found.attachments, found.failed) == (2, 2, 1)
    assert [each.key for each in database.attachments()] == ["a/1/0.png", "a/2/0.png"]


def test_contents_that_documents_of_one_batch_share(database: DocumentDatabase) -> None:
    dump = docs(attachment(b"1"), *(naming(f"a/{n}", b"1") for n in range(20)), naming("b", b"1", b"1"))
    found = load(database, dump)
    assert (found.documents, found.attachments, found.skipped) == (21, 22, {})
    assert {each.read() for each in database.attachments(limit=99)} == {b"1"}


@pytest.mark.parametrize("format", ["ravendbdump", "ravendump"])
def test_identities_below_zero_go_round(database: DocumentDatabase, format: Any, tmp_path: Path) -> None:
    """RavenDB lets them begin anywhere."""
    dump = b'{"BuildVersion":62028,"Docs":[],"Identities":[{"Key":"orders|","Value":"-3"},{"Key":"x|","Value":%d}]}'
    least = -(1 << 63)
    assert database.import_dump(io.BytesIO(dump % least)).identities == 2
    out = io.BytesIO()
    database.export(out, format=format)
    with DocumentDatabase(tmp_path / "copy") as copy:
        assert copy.import_dump(io.BytesIO(out.getvalue())).identities == 2
        assert [each.json() for each in copy.by_prefix("Raven/Identities/")] == [{"Value": -3}, {"Value": least}]
        assert [copy.put("orders/", {}).id for _ in range(4)] == ["orders/-2", "orders/-1", "orders/0", "orders/1"]
        assert copy.import_dump(io.BytesIO(dump % least)).identities == 2
        assert copy.put("orders/", {}).id == "orders/2"


class Meddling(Progress):
    """Whenever documents of a dump have been stored, somebody writes what comes later in it, and other documents."""

    def __init__(self, database: DocumentDatabase) -> None:
        super().__init__()
        self.database = database
        self.rounds = 0

    def advance(self, *, documents: int = 0, attachments: int = 0, bytes: int = 0, written: int = 0) -> None:
        super().advance(documents=documents, attachments=attachments, bytes=bytes)
        self.rounds += 1
        for n in (1999, 1000 + 97 * self.rounds % 1000):
            self.database.put(f"A/{n}", {"mine": self.rounds})
        self.database.put(f"others/{self.rounds}", {"mine": self.rounds})
        self.database.put("a/0", {"mine": self.rounds})  # which the dump has brought already
        if self.rounds == 10:
            self.database.query("from As where n = 5")  # which makes an index


def test_writes_without_a_document_do_not_wait_in_memory_for_the_end(
    database: DocumentDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "PENDING_BYTES", 100 * (WRITE_BYTES + len(b"{}")))
    acknowledged: list[Batch] = []
    pending = Batches(database.storage, 10, acknowledged.append)
    for number in range(500):
        pending.add([Write(f"none/{number}", None)])
    assert len(acknowledged) == 40
    pending.flush()
    assert len(acknowledged) == 50


def test_others_write_meanwhile(database: DocumentDatabase) -> None:
    dump = docs(*(document(f"a/{n}", b'"n":%d' % n) for n in range(2000)))
    progress = Meddling(database)
    path = database.storage.folder.parent / "large"
    path.write_bytes(dump)
    options = SmugglerOptions(batch_size=50)
    assert isinstance(database.storage, SqliteStorage)
    database.storage.index_from = 0
    imported = import_dump(database.storage, path, progress=progress, options=options)
    assert (imported.documents, imported.skipped) == (2000, {})
    assert progress.rounds >= 2000 // 50
    assert database.statistics().documents == 2000 + progress.rounds
    assert database.storage.indexes()
    for n in range(1, 2000):
        found = database.get(f"a/{n}")
        assert found is not None
        if found.body == b'{"n":%d}' % n and n % 100 == 0:
            assert [each.id for each in database.query(f"from As where n = {n}")] == [found.id]
        assert found.body == b'{"n":%d}' % n or json.loads(found.body)["mine"], n
    mine = database.get("a/0")
    assert mine is not None
    assert mine.json() == {"mine": progress.rounds}


@pytest.mark.parametrize("damage", ["cut", "cut gzip", "broken"])
def test_what_stands_before_damage_is_stored(database: DocumentDatabase, damage: str) -> None:
    rest = b',"x":"%s"' % (b"x" * 1000)
    good = docs(*(document(f"a/{n}", b'"n":%d%s' % (n, rest)) for n in range(3000)))
    place = good.index(b'{"n":2000,')
    bad = {
        "cut": good[: place + 3],
        "cut gzip": gzip.compress(good)[:-9000],
        "broken": good[:place] + b"[" + good[place + 1 :],
    }[damage]
    with pytest.raises(DamagedDump, match="documents were imported before") as caught:
        load(database, bad)
    stored = database.statistics().documents
    assert 0 < stored < 3000
    assert f"; {stored:,} documents were imported" in caught.value.message
    for n in range(stored):
        found = database.get(f"a/{n}")
        assert found is not None
        assert found.body == b'{"n":%d%s}' % (n, rest)
    options = SmugglerOptions(continuation=caught.value.hint.rpartition("continuation token ")[2])
    path = database.storage.folder.parent / "good"
    path.write_bytes(gzip.compress(good) if damage == "cut gzip" else good)
    gone_on = import_dump(database.storage, path, options=options)
    assert (gone_on.documents, database.statistics().documents) == (3000 - stored, 3000)
