"""Exports: what is imported again is what was exported, whatever the format says of it on the way."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from muniment import DocumentDatabase, DocumentStore, Put
from muniment.errors import (
    Cancelled,
    DamagedBackup,
    DamagedDatabase,
    DocumentNotFound,
    InvalidInput,
    InvalidScript,
    StorageFailure,
    TargetExists,
)
from muniment.exporting import export_backup, export_storage
from muniment.maintenance import MaintenanceActions
from muniment.progress import Progress
from muniment.smuggler.importer import import_dump
from muniment.smuggler.options import ExportOptions, SmugglerOptions
from muniment.smuggler.pick import FILTERED
from muniment.smuggler.reader import open_dump
from muniment.smuggler.summary import Exported
from muniment.storage.base import Write
from tests.sampled import some
from tests.server.running import running
from tests.shared import shared
from tests.smuggler.dumps import blake2b, plain
from tests.storage.raw import files_no_larger_than

PICTURE = b"\x89PNG" * 1000
DUMPS = ["ravendbdump", "ravendump"]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[DocumentDatabase]:
    with DocumentDatabase(tmp_path / "db", clock=lambda: 1_700_000_000_000_000) as database:
        yield database


def fill(database: DocumentDatabase) -> None:
    """One of everything that could get lost."""
    database.put(
        "orders/1", b' { "n" : 1.10 , "text":"M\xc3\xbcnster\\u0000" } \n', {"Raven-Entity-Name": "Orders", "x": [1.10]}
    )
    database.put("Orders/2", b"{}", b'{"Raven-Entity-Name":"Orders","Raven-Clr-Type":"A.B, C","@half":"x"}')
    database.put("empty", b"{ \n}", {"Raven-Expiration-Date": "2030-01-01T00:00:00.0000000Z"})
    database.put('quote"\\\u2028', {"Name": "@metadata"})
    database.put("Raven/Hilo/orders", {"Max": 64})
    database.put("Raven/Identities/odd", {"Value": "no number"})
    database.put("people/", {})
    database.put("gone", {})
    database.delete("gone")
    database.put_attachment("orders/1/a.png", PICTURE, {"Content-Type": "image/png"})
    database.put_attachment("orders/1/b.png", PICTURE, {"Content-Type": "image/png", "Hash": blake2b(PICTURE)})
    database.put_attachment("orders/1/deep/c", b"", {"Author": "x"})
    database.put_attachment("logo", PICTURE[:-1], {"Size": 1.10})
    database.put_attachment("nobody/5/large", b"large " * 1_000_000)


def exported(database: DocumentDatabase, **options: Any) -> tuple[bytes, Exported]:
    stream = io.BytesIO()
    summary = export_storage(database.storage, stream, **options)
    return stream.getvalue(), summary


def contents(database: DocumentDatabase) -> dict[str, Any]:
    """Everything but the times at which it was stored, and the white space around documents, which no dump holds."""
    documents = {d.id: (d.body.strip(), without_time(d.metadata_json)) for d in database.by_prefix("", limit=9999)}
    attachments = {a.key: (a.read(), a.metadata_json) for a in database.attachments(limit=9999)}
    return {"documents": documents, "attachments": attachments}


def without_time(metadata: bytes) -> dict[str, Any]:
    return {name: value for name, value in json.loads(metadata).items() if name != "Last-Modified"}


def copy_of(dump: bytes | Path, folder: Path) -> DocumentDatabase:
    database = DocumentDatabase(folder)
    found = import_dump(database.storage, io.BytesIO(dump) if isinstance(dump, bytes) else dump)
    assert found.skipped == {}
    assert database.check() == []
    return database


@some(2)
@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
@pytest.mark.parametrize("format", DUMPS)
def test_a_dump_holds_everything(database: DocumentDatabase, tmp_path: Path, format: Any, compression: Any) -> None:
    fill(database)
    dump, summary = exported(database, format=format, compression=compression)
    assert (summary.documents, summary.attachments, summary.identities, summary.skipped) == (7, 5, 1, {})
    assert (summary.size, summary.compression) == (len(dump), compression)
    with copy_of(dump, tmp_path / "copy") as copy:
        assert contents(copy) == contents(database)
        assert {d.last_modified for d in copy.by_prefix("orders/")} == {
            d.last_modified for d in database.by_prefix("orders/")
        }
        again, _ = exported(copy, format=format, compression=compression)
        with copy_of(again, tmp_path / "again") as third:
            assert third.snapshot().fingerprint == copy.snapshot().fingerprint


KEPT = ("DatabaseRecord", "Indexes")
PROJECTIONS = ["Raven/Indexes/Product/Search"]  # of the seven


@pytest.mark.parametrize("format", DUMPS)
def test_the_real_dump_goes_round(tmp_path: Path, format: Any) -> None:
    real_dump = shared()
    with DocumentDatabase(tmp_path / "first") as first:
        import_dump(first.storage, real_dump)
        summary = first.export(tmp_path / f"second.{format}")
        if format == "ravendump":  # whose indexes have another form, into which those go that are projections
            assert set(summary.skipped) == {f"{name} that this format has no place for" for name in KEPT}
            for kept in [*first.by_prefix("Raven/Indexes/"), *first.by_prefix("Raven/Smuggler/")]:
                first.delete(kept.id)
        with copy_of(tmp_path / f"second.{format}", tmp_path / "second") as second:
            if format == "ravendump":
                carried = [each.id for each in second.by_prefix("Raven/Indexes/")]
                assert carried == PROJECTIONS
                for id in carried:
                    second.delete(id)
            assert second.snapshot().fingerprint == first.snapshot().fingerprint


def test_the_shape_is_that_of_the_real_dump(tmp_path: Path) -> None:
    """What RavenDB wrote and what we write of the same documents differs in nothing that we know of."""
    real_dump = shared()
    with DocumentDatabase(tmp_path / "db") as database:
        import_dump(database.storage, real_dump)
        ours, _ = exported(database, format="ravendbdump")
    with open_dump(real_dump) as real:
        theirs = [item for item in map(plain, real) if kind(item)]
    with open_dump(io.BytesIO(ours)) as dump:
        mine = list(map(plain, dump))
        assert dump.build_version == real.build_version
    assert [kind(item) for item in mine if kind(item)] == [kind(item) for item in theirs]
    assert [described(item) for item in mine if kind(item)] == [described(item) for item in theirs]
    digest = b"S5Opbm22FH1LW5SAC3wRb3HA64QM7odd26djlt5cAkM="
    header = b'{"@metadata":{"@export-type":"Attachment"},"Hash":"%s","Size":16958,' % digest
    assert header + b'"Tag":"categories/1-a|d|image.jpg|%s|image/jpeg"}\xff\xd8' % digest in gzip.decompress(ours)


def kind(item: Any) -> str:
    if isinstance(item, tuple):
        return "attachment"
    return "document" if type(item).__name__ == "DumpDocument" else ""


def described(item: Any) -> Any:
    """Without positions, and without what RavenDB alone can know."""
    if isinstance(item, tuple):
        return item[:-1]
    metadata = json.loads(item.metadata)
    for name in ("@change-vector", "@counters", "@timeseries"):
        metadata.pop(name, None)
    flags = [flag for flag in metadata.pop("@flags", "").split(", ") if flag == "HasAttachments"]
    return item.id, item.body, metadata, flags


def items(dump: bytes) -> list[Any]:
    with open_dump(io.BytesIO(dump)) as opened:
        return list(map(plain, opened))


def test_attachments_come_before_their_documents_and_once(database: DocumentDatabase) -> None:
    database.put("a", {})
    database.put("a/1", {})
    for key in ("a/1/x", "a/1/y", "a/2/z", "a/b"):
        database.put_attachment(key, PICTURE if key != "a/b" else b"b")
    dump, _ = exported(database, format="ravendbdump", compression="none")
    found = items(dump)
    assert [item[5] if isinstance(item, tuple) else item.id for item in found] == [PICTURE, b"b", "a", "a/1"]
    named = [[each["Name"] for each in json.loads(item.metadata)["@attachments"]] for item in found[2:]]
    assert named == [["2/z", "b"], ["x", "y"]]
    assert dump.count(PICTURE) == 1


def test_an_attachment_of_no_document_has_a_stand_in(database: DocumentDatabase) -> None:
    """In the form in which RavenDB itself imports what it calls legacy attachments."""
    database.put_attachment("logo", b"x", {"n": 1.10})
    dump, _ = exported(database, format="ravendbdump")
    content, document = items(dump)
    metadata = json.loads(document.metadata)
    assert content[5] == b"x"
    assert (document.id, document.body, metadata["@collection"]) == ("files/logo", b"{}", "@files")
    assert metadata["@legacy-attachment-metadata"] == {"n": 1.10}


def test_lines(database: DocumentDatabase) -> None:
    fill(database)
    lines, summary = exported(database, format="ndjson")
    found = [json.loads(line) for line in lines.splitlines()]
    assert {each["@metadata"]["@id"] for each in found} == {d.id for d in database.by_prefix("", limit=99)}
    assert summary.skipped == {"attachments that this format has no place for": 5}
    assert b'{"n" : 1.10 , "text"' in lines.replace(b" { ", b"{")


def test_parquet(database: DocumentDatabase, tmp_path: Path) -> None:
    fill(database)
    for options in (None, SmugglerOptions(ignore_errors=True)):
        export_storage(database.storage, tmp_path / "x.parquet", options=options, overwrite=True)
        rows = pq.read_table(tmp_path / "x.parquet").to_pylist()
        assert {row["id"]: row["document"].encode() for row in rows} == {
            d.id: d.body for d in database.by_prefix("", limit=99)
        }
        assert {row["collection"] for row in rows} == {None, "Orders"}


def test_documents_that_are_left_out_take_their_attachments_along(database: DocumentDatabase, tmp_path: Path) -> None:
    fill(database)
    script = "function(doc) { doc.New = doc['@metadata']['@id']; return doc; }"
    options = SmugglerOptions.of(negative_metadata_filter=["@id=orders/1"], transform=script)
    for format in DUMPS:
        dump, summary = exported(database, format=format, options=options)
        assert (summary.documents, summary.attachments, summary.skipped) == (6, 2, {FILTERED: 1})
        with copy_of(dump, tmp_path / format) as copy:
            assert copy.get("orders/1") is None
            assert [each.key for each in copy.attachments()] == ["logo", "nobody/5/large"]
            found = copy.get("Orders/2")
            assert found is not None
            assert found.json() == {"New": "Orders/2"}


@pytest.mark.parametrize("options", [SmugglerOptions(), SmugglerOptions(ignore_errors=True)])
def test_any_document_that_the_database_holds(database: DocumentDatabase, options: SmugglerOptions) -> None:
    """Earlier versions stored a member @metadata as a part of the body."""
    bodies = {
        "object": b'{"a":1,"@metadata":{"Raven-Entity-Name":"As","mine":1.10,"both":"no","@id":"other"},"b":2}',
        "escaped": b' {"\\u0040metadata" : {"mine":2} , "b" : 2 } ',
        "within": b'{"@m\\u0065tad\\u0061ta":{"mine":3}}',
        "twice": b'{"@metadata":{"mine":3},"@metadata":{"mine":4}}',
        "bad": b'{"@metadata":null}',
        "inner": b'{"a":{"@metadata":5}}',
    }
    database.storage.commit([Write(id, body, b'{"both":"yes"}') for id, body in bodies.items()])
    for format in DUMPS:
        dump, summary = exported(database, format=format, compression="none", options=options)
        assert (summary.documents, summary.failed, summary.faults[0].id) == (5, 1, "bad")
        found = {each["@metadata"]["@id"]: each for each in json.loads(dump)["Docs"]}
        mine = {"object": 1.1, "escaped": 2, "within": 3, "twice": 4, "inner": None}
        assert {id: found[id]["@metadata"].get("mine") for id in mine} == mine
        assert {each["@metadata"]["both"] for each in found.values()} == {"yes"}
        assert {name: value for name, value in found["object"].items() if name != "@metadata"} == {"a": 1, "b": 2}
        assert found["inner"]["a"] == {"@metadata": 5}


@some(4)
@pytest.mark.parametrize(
    ("options", "documents", "attachments", "identities"),
    [
        (SmugglerOptions(types=frozenset({"Documents"})), 7, 0, 0),
        (SmugglerOptions(types=frozenset({"Attachments"})), 0, 5, 0),
        (SmugglerOptions(types=frozenset({"Identities"})), 0, 0, 1),
        (SmugglerOptions(limit=2), 2, 5, 1),
        (SmugglerOptions(start_etag=2), 5, 2, 1),
    ],
)
@pytest.mark.parametrize("format", DUMPS)
def test_parts(
    database: DocumentDatabase, format: Any, options: SmugglerOptions, documents: int, attachments: int, identities: int
) -> None:
    fill(database)
    dump, summary = exported(database, format=format, options=options)
    assert (summary.documents, summary.attachments, summary.identities) == (documents, attachments, identities)
    with open_dump(io.BytesIO(dump)) as opened:
        assert sum(1 for _ in opened)


def test_a_limit_ends_the_reading(database: DocumentDatabase) -> None:
    for batch in range(3):
        database.batch([Put(f"a/{batch}/{n}", b"{}") for n in range(5000)])
    dump, summary = exported(database, format="ndjson", options=SmugglerOptions(limit=10, start_etag=4999))
    assert (dump.count(b"\n"), summary.documents) == (10, 10)


def test_the_state_is_that_of_the_beginning(database: DocumentDatabase, tmp_path: Path) -> None:
    """Writers go on, and nothing of what they do is in the export."""
    for n in range(5):
        database.put(f"a/{n}", {"n": n})

    class Meddler(io.BytesIO):
        def write(self, data: Any) -> int:
            database.put("a/1", {"n": "later"})
            database.put("a/9", {})
            database.delete("a/2")
            return super().write(data)

    stream = Meddler()
    summary = export_storage(database.storage, stream, format="ravendbdump", compression="none")
    assert (summary.documents, summary.etag) == (5, 5)
    assert [f'{{"n":{n},'.encode() in stream.getvalue() for n in range(5)] == [True] * 5


def test_backups_are_exported_without_a_restore(database: DocumentDatabase, tmp_path: Path) -> None:
    fill(database)
    MaintenanceActions(database.storage, "db", lambda: 1).start_backup(tmp_path / "backups").wait()
    before, full = contents(database), database.snapshot().etag
    database.put("orders/1", {"later": True})
    database.delete_attachment("logo")
    MaintenanceActions(database.storage, "db", lambda: 2).start_backup(tmp_path / "backups", incremental=True).wait()
    for format in DUMPS:
        summary = export_backup(tmp_path / "backups", tmp_path / f"first.{format}", etag=full)
        assert (summary.documents, summary.attachments, summary.etag) == (7, 5, full)
        export_backup(tmp_path / "backups", tmp_path / f"last.{format}")
        with copy_of(tmp_path / f"first.{format}", tmp_path / f"1{format}") as copy:
            assert contents(copy) == before
        with copy_of(tmp_path / f"last.{format}", tmp_path / f"2{format}") as copy:
            assert contents(copy) == contents(database)


def test_a_damaged_backup_is_not_exported(database: DocumentDatabase, tmp_path: Path) -> None:
    fill(database)
    backup = MaintenanceActions(database.storage, "db", lambda: 1).start_backup(tmp_path / "backups").wait()
    data = backup.folder / "documents-00001.parquet"
    data.write_bytes(data.read_bytes()[:-9] + b"123456789")
    with pytest.raises(DamagedBackup):
        export_backup(tmp_path / "backups", tmp_path / "x.ravendbdump")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backups", "db"]


def test_an_existing_file_is_replaced_only_when_asked(database: DocumentDatabase, tmp_path: Path) -> None:
    file = tmp_path / "x.ravendbdump"
    file.write_bytes(b"precious")
    with pytest.raises(TargetExists):
        export_storage(database.storage, file)
    assert file.read_bytes() == b"precious"
    database.put("any", {})
    options = SmugglerOptions.of(transform="function(doc) { throw 'bad'; }")
    with pytest.raises(InvalidScript, match="bad"):
        export_storage(database.storage, file, overwrite=True, options=options)
    assert file.read_bytes() == b"precious"
    export_storage(database.storage, file, overwrite=True)
    assert file.read_bytes()[:2] == b"\x1f\x8b"


def test_a_file_that_appears_meanwhile_stays(database: DocumentDatabase, tmp_path: Path) -> None:
    file = tmp_path / "x.ravendbdump"

    class Meddler(Progress):
        def advance(self, **counts: int) -> None:
            file.write_bytes(b"precious")

    database.put("a", {})
    with pytest.raises(TargetExists):
        database.export(file, progress=Meddler())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["db", "x.ravendbdump"]
    assert file.read_bytes() == b"precious"


@pytest.mark.parametrize("bad", ["missing/x.ravendbdump", "db", "db/muniment.db/x.ravendbdump", "x\0.ravendbdump", ""])
def test_places_that_can_not_be_written(database: DocumentDatabase, tmp_path: Path, bad: str) -> None:
    with pytest.raises((StorageFailure, InvalidInput, TargetExists)):
        export_storage(database.storage, tmp_path / bad if bad else "", format="ravendbdump")
    assert [path.name for path in tmp_path.iterdir()] == ["db"]


def export_while_it_is_replaced(database: DocumentDatabase, file: Path, meddle: Callable[[], object]) -> None:
    """Export as another process would, which only reads, while documents are replaced and purged."""
    database.batch([Put(f"a/{n}", b"{}") for n in range(25_000)])

    class Meddler(Progress):
        def advance(self, **counts: int) -> None:
            meddle()
            database.put("a/24999", {"later": True})
            database.storage.purge()

    with DocumentDatabase(database.path, read_only=True) as reader:
        reader.export(file, progress=Meddler())


def test_a_reader_exports_the_state_at_its_start(database: DocumentDatabase, tmp_path: Path) -> None:
    export_while_it_is_replaced(database, tmp_path / "x.ravendbdump", lambda: None)
    now = database.get("a/24999")
    assert now is not None
    assert now.json() == {"later": True}
    with DocumentDatabase(tmp_path / "again") as again:
        again.import_dump(tmp_path / "x.ravendbdump")
        then = again.get("a/24999")
    assert then is not None
    assert then.body == b"{}"


def test_a_reader_whose_pin_was_removed_says_what_it_missed(database: DocumentDatabase, tmp_path: Path) -> None:
    def unpin() -> None:
        for pin in database.path.glob("muniment.pin-*"):
            pin.unlink()

    with pytest.raises(DamagedDatabase, match="but the fingerprint counts 25,000"):
        export_while_it_is_replaced(database, tmp_path / "x.ravendbdump", unpin)
    assert [path.name for path in tmp_path.iterdir()] == ["db"]


def test_a_killed_export_leaves_no_file_of_that_name(database: DocumentDatabase, tmp_path: Path) -> None:
    code = """if True:
        import sys, time
        from muniment import DocumentDatabase, Progress

        class Slow(Progress):
            def advance(self, **counts):
                print("writing", flush=True)
                time.sleep(60)

        DocumentDatabase(sys.argv[1]).export(sys.argv[2], progress=Slow())
    """
    database.put("a", {})
    database.close()
    file = tmp_path / "x.ravendbdump"
    command = [sys.executable, "-c", code, str(database.path), str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        process.kill()
    assert not file.exists()
    with DocumentDatabase(database.path) as again:
        assert again.export(file).documents == 1


def test_a_cancelled_export_leaves_nothing(database: DocumentDatabase, tmp_path: Path) -> None:
    database.put("a", {})
    progress = Progress()
    progress.cancel()
    with pytest.raises(Cancelled):
        export_storage(database.storage, tmp_path / "x.ravendbdump", progress=progress)
    assert [path.name for path in tmp_path.iterdir()] == ["db"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")  # noqa: PTH110
@pytest.mark.parametrize("format", [*DUMPS, "ndjson", "parquet"])
def test_a_full_disk(database: DocumentDatabase, format: Any) -> None:
    database.put("a", {})
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(StorageFailure, match="No space left"):
        export_storage(database.storage, full, format=format)


@pytest.mark.parametrize("format", ["ravendbdump", "ndjson", "parquet"])
def test_a_file_that_there_is_no_room_for(database: DocumentDatabase, tmp_path: Path, format: Any) -> None:
    """The file that was asked for is named, and nothing of it is left."""
    database.put("a", {"Noise": os.urandom(400_000).hex()})
    file = tmp_path / f"shop.{format}"
    with files_no_larger_than(200_000), pytest.raises(StorageFailure, match="File too large") as caught:
        export_storage(database.storage, file)
    assert caught.value.message.startswith(f"{file} could not be written: ")
    assert [path.name for path in tmp_path.iterdir()] == ["db"]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("x.ravendbdump", ExportOptions("ravendbdump", "gzip")),
        ("X.RavenDump", ExportOptions("ravendump", "gzip")),
        ("x.ndjson", ExportOptions("ndjson", "none")),
        ("x.jsonl.gz", ExportOptions("ndjson", "gzip")),
        ("x.ndjson.zst", ExportOptions("ndjson", "zstd")),
        ("x.parquet", ExportOptions("parquet", "none")),
    ],
)
def test_the_name_says_the_format(name: str, shape: ExportOptions) -> None:
    assert ExportOptions.of(name) == shape


@pytest.mark.parametrize("options", [{}, {"format": "csv"}, {"format": "ndjson", "compression": "lz4"}])
def test_formats_that_make_no_sense(database: DocumentDatabase, options: Any) -> None:
    with pytest.raises(InvalidInput):
        export_storage(database.storage, io.BytesIO(), **options)


def test_an_export_has_no_continuation(database: DocumentDatabase) -> None:
    with pytest.raises(InvalidInput):
        exported(database, format="ndjson", options=SmugglerOptions(continuation="x"))


def test_a_time_limit(database: DocumentDatabase, tmp_path: Path) -> None:
    for n in range(3):
        database.put(f"a/{n}", {})
    slow = "function(doc) { var until = Date.now() + 300; while (Date.now() < until); return doc; }"
    with pytest.raises(Cancelled, match=r"within its 0\.1 s"):
        database.export(tmp_path / "x.ndjson", options=SmugglerOptions(transform=slow, timeout=0.1))
    assert [path.name for path in tmp_path.iterdir()] == ["db"]


@pytest.mark.parametrize("source", ["database", "backups"])
def test_filters_that_nothing_meets_export_nothing(database: DocumentDatabase, tmp_path: Path, source: str) -> None:
    database.put("orders/1", {"Freight": 1}, {"Raven-Entity-Name": "Orders"})
    database.maintenance.start_backup(tmp_path / "backups").wait()

    def export(*filters: str) -> Exported:
        options = SmugglerOptions.of(metadata_filter=filters)
        file = tmp_path / "new.ndjson"
        if source == "database":
            return database.export(file, options=options)
        return export_backup(tmp_path / "backups", file, options=options)

    with pytest.raises(DocumentNotFound, match="no document in a collection 'Order'") as caught:
        export("Raven-Entity-Name=Order")
    assert caught.value.hint == "did you mean Orders?"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backups", "db"]
    with pytest.raises(DocumentNotFound, match="none of the 1 documents meets 'Raven-Clr-Type=Order'"):
        export("Raven-Clr-Type=Order")
    assert export("Raven-Entity-Name=Orders").documents == 1


@pytest.mark.parametrize("source", ["database", "backups", "server"])
def test_each_id_and_collection_that_filters_name_has_to_be_there(
    database: DocumentDatabase, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, source: str
) -> None:
    if source == "server":
        with (
            running(tmp_path_factory.mktemp("named") / "data") as server,
            DocumentStore(server.url, server.create("shop").name) as store,
        ):
            check_named(store, tmp_path, source)
    else:
        check_named(database, tmp_path, source)


def check_named(filled: DocumentDatabase | DocumentStore, tmp_path: Path, source: str) -> None:
    for n in range(1, 4):
        filled.put(f"orders/{n}", {"n": n}, {"Raven-Entity-Name": "Orders"})
    filled.put("users/1", {"n": 1}, {"Raven-Entity-Name": "Users"})
    filled.put("users/2", {"n": 1}, {"Raven-Entity-Name": "Users"})
    filled.delete("users/2")
    if isinstance(filled, DocumentDatabase):
        filled.maintenance.start_backup(tmp_path / "backups").wait()
    before = sorted(path.name for path in tmp_path.iterdir())

    def export(*filters: str, **others: Any) -> Exported:
        options = SmugglerOptions.of(metadata_filter=filters, **others)
        file = tmp_path / "new.ndjson"
        if source == "backups":
            return export_backup(tmp_path / "backups", file, options=options, overwrite=True)
        return filled.export(file, options=options, overwrite=True)

    for filters, others, message, hint in (
        (["@collection=Orders,Ordrs"], {}, "no document in a collection 'Ordrs'", "did you mean Orders?"),
        (["Raven-Entity-Name=Orders|Ordrs"], {}, "no document in a collection 'Ordrs'", "did you mean Orders?"),
        (["@id=orders/1,orders/33"], {}, "no document 'orders/33'", "did you mean orders/3"),
        (["@id=ORDERS/*,usrs/*"], {}, "no document 'usrs/*'", ""),
        (["@id=orders/1,orders/9", "@collection=Orders,X"], {}, "no document in a collection 'X'", ""),
        ([], {"filter": ["n=1", "@metadata.@collection=Orders,Ordrs"]}, "no document in a collection 'Ordrs'", ""),
        (["@collection=Orders,Ordrs"], {"limit": 1}, "no document in a collection 'Ordrs'", ""),
        (["@id=orders/1,orders/9"], {"limit": 1}, "no document 'orders/9'", ""),
    ):
        with pytest.raises(DocumentNotFound, match=re.escape(message)) as caught:
            export(*filters, **others)
        assert (caught.value.hint or "").startswith(hint)
        assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert export("@collection=orders,'USERS'").documents == 4
    assert export("@id=orders/1,Users/?", limit=1).documents == 1
    assert export("@id=orders/1,users/1", "@collection=Orders").documents == 1  # both are there: judged together
    assert export(negative_metadata_filter=["@collection=Orders,Ordrs"]).documents == 1
    assert export(filter=["n=1,99"]).documents == 2
    if source != "backups":  # a deleted one is not there
        with pytest.raises(DocumentNotFound, match="users/2"):
            export("@id=users/1,users/2")


def test_a_collection_that_is_not_there_is_refused_before_the_first_byte(database: DocumentDatabase) -> None:
    database.put("orders/1", {}, {"Raven-Entity-Name": "Orders"})
    stream = io.BytesIO()
    options = SmugglerOptions.of(metadata_filter=["@collection=Orders,Ordrs"])
    with pytest.raises(DocumentNotFound):
        database.export(stream, format="ndjson", compression="none", options=options)
    assert stream.getvalue() == b""


@pytest.mark.parametrize("name", ["all.ravendbdump", "all.ravendump"])
def test_an_attachment_of_a_document_that_is_not_there_stays_that_of_it(tmp_path: Path, name: str) -> None:
    """It was exported with U+001E in its name, and so the whole dump was refused."""
    with DocumentDatabase(tmp_path / "shop") as shop, DocumentDatabase(tmp_path / "copy") as copy:
        shop.put_attachment("kept/a", b"1", {"Content-Type": "text/plain"}, owner="orders/1")
        shop.put_attachment("orders/2/kept", b"2")
        shop.export(tmp_path / name)
        assert b"\\u001e" not in gzip.decompress((tmp_path / name).read_bytes())
        assert import_dump(copy.storage, tmp_path / name).attachments == 2
        assert [member.id for member in copy.storage.members()] == ["orders/1\x1ekept/a", "orders/2/kept"]
        assert copy.snapshot().fingerprint == shop.snapshot().fingerprint
        if name == "all.ravendbdump":  # as exports were before
            dump = gzip.decompress((tmp_path / name).read_bytes()).replace(b',"Owner":"orders/1"', b"")
            (tmp_path / name).write_bytes(dump.replace(b"orders/1/kept/a", b"orders/1\\u001ekept/a"))
            with DocumentDatabase(tmp_path / "old") as old:
                import_dump(old.storage, tmp_path / name)
                assert old.snapshot().fingerprint == shop.snapshot().fingerprint
