"""What means nothing here of RavenDB's dumps is kept, and an export gives it back as it was."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from muniment import DocumentDatabase, SmugglerOptions
from muniment.document import decode
from muniment.errors import DamagedDump
from muniment.smuggler import read_ahead
from muniment.smuggler.folder import import_folder
from muniment.smuggler.options import EXTENSIONS, WITHOUT_MEANING
from muniment.smuggler.reader import DumpAttachment, DumpKept, open_dump
from muniment.smuggling import between
from tests.sampled import some
from tests.shared import shared
from tests.smuggler.dumps import blake2b
from tests.smuggler.test_real_cases import BACKUP, CASES, content_of, exported

ALL = SmugglerOptions(keep_extensions=True)
NORTHWIND = "northwind-ravendb-6.2.ravendbdump"
EXPECTED = f"{BACKUP}/expected.ravendbdump"


def sections_of(dump: bytes | Path) -> dict[str, list[Any]]:
    """The items of the other sections, and what is in them of attachments."""
    found: dict[str, list[Any]] = {}
    with open_dump(dump if isinstance(dump, Path) else io.BytesIO(dump), keep=WITHOUT_MEANING | EXTENSIONS) as opened:
        for item in opened:
            if isinstance(item, DumpKept):
                found.setdefault(item.section, []).append((item.item, item.blob))
            elif isinstance(item, DumpAttachment) and item.key:
                found.setdefault("contents", []).append((item.key, item.metadata, b"".join(item.chunks)))
    return found


@some(3)
@pytest.mark.parametrize("name", [*(f"cases/{name}.ravendbdump" for name in CASES), EXPECTED, NORTHWIND])
def test_a_dump_goes_out_with_all_it_had(database: DocumentDatabase, name: str, tmp_path: Path) -> None:
    path = shared(name)
    was = sections_of(path)
    found = database.import_dump(path, options=ALL)
    assert found.skipped == {}
    assert found.kept == {name: len(items) for name, items in was.items()}
    dump = exported(database)
    assert sections_of(dump) == was
    with DocumentDatabase(tmp_path / "again") as again:
        again.import_dump(io.BytesIO(dump), options=ALL)
        assert sections_of(exported(again)) == was


def test_a_folder_of_backups_goes_out_with_all_it_had(database: DocumentDatabase) -> None:
    folder = shared(BACKUP)
    import_folder(folder, lambda path: database.import_dump(path, options=ALL))
    dump = exported(database)
    assert sections_of(dump) == sections_of(folder / "expected.ravendbdump")
    assert content_of(dump) == content_of(folder / "expected.ravendbdump")


def test_without_being_asked_to_indexes_and_the_record_are_kept_and_the_rest_is_counted(
    database: DocumentDatabase,
) -> None:
    found = database.import_dump(shared(NORTHWIND))
    assert found.kept == {"DatabaseRecord": 1, "Indexes": 7}
    assert found.skipped == {"RevisionDocuments": 5475, "CompareExchange": 77, "CounterGroups": 77, "TimeSeries": 864}
    index = database.get("Raven/Indexes/Orders/ByCompany")
    assert index is not None
    assert index.metadata == {"Raven-Smuggler-Section": "Indexes"}
    assert index.json()["IndexDefinition"]["Name"] == "Orders/ByCompany"
    assert database.get("Raven/Smuggler/DatabaseRecord") is not None
    only = io.BytesIO()
    told = database.export(only, format="ravendbdump", options=SmugglerOptions.of(operate_on_types="Indexes"))
    assert (told.documents, told.kept) == (0, {"Indexes": 7})


# Revisions become history, where that is kept


def revisions_of(dump: bytes | Path) -> list[Any]:
    found = [decode(item) for item, _ in sections_of(dump).get("RevisionDocuments", [])]
    return sorted(found, key=lambda item: (item["@metadata"]["@id"].lower(), item["@metadata"]["@last-modified"]))


@some(1)
@pytest.mark.parametrize("name", [BACKUP, NORTHWIND])
def test_revisions_become_history_and_go_out_again(database: DocumentDatabase, name: str) -> None:
    path = shared(name)
    database.configure({"Muniment/History": "true"})
    if name == BACKUP:
        import_folder(path, database.import_dump)
        path = path / "expected.ravendbdump"
    else:
        assert database.import_dump(path).kept["RevisionDocuments"] == 5475
    assert [*database.check()] == []
    dump = exported(database)
    assert revisions_of(dump) == revisions_of(path)
    internal = {"@counters", "@timeseries"}
    for id, (body, metadata) in content_of(path)["documents"].items():
        now = content_of(dump)["documents"][id] if name == BACKUP else None
        if now:
            assert now == (body, {n: v for n, v in metadata.items() if n not in internal})
    kept = database.storage.kept_history().revisions
    assert kept >= len(revisions_of(path))


def test_a_revision_of_a_document_that_is_not_here_is_counted(database: DocumentDatabase) -> None:
    database.configure({"Muniment/History": "true"})
    options = SmugglerOptions.of(metadata_filter=["@collection=Docs"])
    found = database.import_dump(shared(f"{BACKUP}/2026-11-27-06-36-01.ravendb-full-backup"), options=options)
    assert found.skipped["revisions of documents that are not here"] == 1
    assert "RevisionDocuments" not in found.kept
    assert database.get("odd/1") is None


def test_a_document_that_another_writes_meanwhile_stays(database: DocumentDatabase) -> None:
    """The present version is put behind its revisions, whatever it has become."""
    database.configure({"Muniment/History": "true"})
    storage = database.storage
    admit, again = storage.admit, iter([True])

    def meddling(writes: Any) -> Any:
        if len(writes) > 1 and writes[0].expected and next(again, False):
            database.put("odd/1", {"v": "mine"})
        return admit(writes)

    storage.admit = meddling
    database.import_dump(shared(f"{BACKUP}/2026-11-27-06-36-01.ravendb-full-backup"))
    assert not next(again, False)
    found = database.get("odd/1")
    assert found is not None
    assert found.body == b'{"v":"mine"}'
    assert len(revisions_of(exported(database))) == 1


# What items are kept as


def dump_of(**sections: bytes) -> io.BytesIO:
    named = b",".join(b'"%s":%s' % (name.encode(), items) for name, items in sections.items())
    return io.BytesIO(b'{"BuildVersion":62028,"Docs":[],' + named + b"}")


def test_items_that_look_alike_stay_apart(database: DocumentDatabase) -> None:
    segments = b"".join(
        b'%s{"@raven-data":{"DocId":"%s","Name":"%s","Baseline":"2020"},"@raven-blob-size":3}]}"'
        % (b"," if number else b"", id, name)
        for number, (id, name) in enumerate([(b"a|b", b"c"), (b"a", b"b|c"), (b"a%7Cb", b"c")])
    )
    long = b'{"Key":"%s","Value":"1"}' % (b"k" * 512)
    dump = dump_of(TimeSeries=b"[" + segments + b"]", CompareExchange=b"[" + long + b',{"Value":"no key"}]').getvalue()
    found = database.import_dump(io.BytesIO(dump), options=ALL)
    assert found.kept == {"TimeSeries": 3, "CompareExchange": 2}
    assert database.statistics().documents == 5
    assert sections_of(exported(database)) == sections_of(dump)


def test_what_is_gone_in_a_later_dump_is_gone_here(database: DocumentDatabase) -> None:
    database.import_dump(dump_of(CompareExchange=b'[{"Key":"a","Value":"1"},{"Key":"b","Value":"2"}]'), options=ALL)
    database.import_dump(dump_of(CompareExchangeTombstones=b'[{"Key":"A"}]'), options=ALL)
    assert sections_of(exported(database)) == {"CompareExchange": [(b'{"Key":"b","Value":"2"}', None)]}


def test_contents_of_revisions(database: DocumentDatabase) -> None:
    hash = blake2b(b"old/+").encode()
    header = b'{"@metadata":{"@export-type":"Attachment"},"Hash":"%s","Size":5,"Tag":"a/1|r|x|%s|a/b"}' % (hash, hash)
    named = b'"@attachments":[{"Name":"x","Hash":"%s","ContentType":"a/b","Size":5}]' % hash
    revision = b'{"v":1,"@metadata":{"@id":"a/1","@change-vector":"A:1-x","@flags":"Revision",%s}}' % named
    dump = dump_of(RevisionDocuments=b"[" + header + b"old/+," + revision + b"]").getvalue()
    found = database.import_dump(io.BytesIO(dump), options=ALL)
    assert (found.attachments, found.kept) == (1, {"RevisionDocuments": 1})
    out = io.BytesIO()
    told = database.export(out, format="ravendbdump")
    assert (told.attachments, told.documents) == (0, 0)
    assert sections_of(out.getvalue()) == sections_of(dump)


def test_the_indexes_of_ravendb_3_go_back_to_ravendb_3(database: DocumentDatabase) -> None:
    indexes = b'[{"name":"Orders/ByTotal","definition":{"Map":"from o in docs.Orders select new {o.Total}"}}]'
    transformers = b'[{"name":"Short","definition":{"TransformResults":"from o in results select o"}}]'
    legacy = io.BytesIO(b'{"Indexes":%s,"Docs":[],"Attachments":[],"Transformers":%s}' % (indexes, transformers))
    assert database.import_dump(legacy).kept == {"Indexes": 1, "Transformers": 1}
    assert database.get("Raven/Transformers/Short") is not None
    out = io.BytesIO()
    assert database.export(out, format="ravendump", compression="none").kept == {"Indexes": 1, "Transformers": 1}
    told = Counter(name for name, items in sections_of(out.getvalue()).items() for _ in items)
    assert told == {"Indexes": 1, "Transformers": 1}
    # Later versions get the same index in their words, for it is a projection.
    out = io.BytesIO()
    database.export(out, format="ravendbdump")
    [item] = [decode(each) for each, _ in sections_of(out.getvalue())["Indexes"]]
    assert (item["Type"], item["IndexDefinition"]["Name"]) == ("Map", "Orders/ByTotal")
    assert item["IndexDefinition"]["Maps"] == ["from o in docs.Orders select new {o.Total}"]


def test_definitions_that_are_projections_go_to_the_other_versions(database: DocumentDatabase, tmp_path: Path) -> None:
    """Where both evaluate the same map; the others stay, and are counted."""
    text = "from o in docs.Orders select new { o.Company, Notes = o.Text }"
    own = {"Map": text, "Indexes": {"Notes": "Analyzed", "Company": "NotAnalyzed"}, "Stores": {"Notes": "Yes"}}
    reducing = own | {"Reduce": "from r in results group r by r.Company into g select new { Company = g.Key }"}
    of = {"Raven-Smuggler-Section": "Indexes"}
    for name, definition in (("A", own), ("B", reducing), ("C", {"Maps": [text, text]}), ("D", {"Map": "nonsense"})):
        database.put(f"Raven/Indexes/{name}", {"name": name, "definition": definition}, of)
    out = io.BytesIO()
    assert database.export(out, format="ravendbdump").skipped["Indexes that this format has no place for"] == 3
    [(item, _)] = sections_of(out.getvalue())["Indexes"]
    definition = decode(item)["IndexDefinition"]
    assert (definition["Maps"], definition["Reduce"], definition["Priority"]) == ([text], None, "Normal")
    fields = {"Notes": {"Indexing": "Search", "Storage": "Yes"}, "Company": {"Indexing": "Exact"}}
    assert definition["Fields"] == fields
    with DocumentDatabase(tmp_path / "later") as later:
        later.import_dump(io.BytesIO(out.getvalue()))
        script = {"Name": "J", "Maps": ["map('Orders', o => ({ Company: o.Company }))"]}
        later.put("Raven/Indexes/J", {"Type": "JavaScriptMap", "IndexDefinition": script}, of)
        back = io.BytesIO()
        told = later.export(back, format="ravendump", compression="none")
        assert told.skipped["Indexes that this format has no place for"] == 1
        [(item, _)] = sections_of(back.getvalue())["Indexes"]
        assert decode(item) == {"name": "A", "definition": own}


def test_a_document_of_a_user_with_such_an_id_stays_a_document(database: DocumentDatabase) -> None:
    database.put("Raven/Indexes/mine", {"a": 1})
    database.put("Raven/Indexes/other", {"a": 1}, {"Raven-Smuggler-Section": "Nothing"})
    dump = exported(database)
    assert sections_of(dump) == {}
    assert len(content_of(dump)["documents"]) == 2


def test_an_item_that_is_no_object_is_counted(database: DocumentDatabase) -> None:
    found = database.import_dump(dump_of(Indexes=b'[null,"x",{"IndexDefinition":{"Name":"i"}}]', DatabaseRecord=b"7"))
    assert (found.kept, found.skipped) == ({"Indexes": 1}, {"Indexes": 2, "DatabaseRecord": 1})


@pytest.mark.parametrize("options", [None, ALL])
def test_a_damaged_revision_is_named(database: DocumentDatabase, options: SmugglerOptions | None) -> None:
    database.configure({"Muniment/History": "true"})
    with pytest.raises(DamagedDump, match="a revision that has no @metadata, at byte 53"):
        database.import_dump(dump_of(RevisionDocuments=b'[{"v":1}]'), options=options)


def test_between_databases_all_of_it_goes_along(database: DocumentDatabase, tmp_path: Path) -> None:
    path = shared(EXPECTED)
    database.import_dump(path, options=ALL)
    with DocumentDatabase(tmp_path / "copy") as copy:
        between(database, copy)
        assert sections_of(exported(copy)) == sections_of(path)


def test_an_incremental_export_has_what_was_kept_since(database: DocumentDatabase, tmp_path: Path) -> None:
    database.import_dump(dump_of(CompareExchange=b'[{"Key":"a","Value":"1"}]'), options=ALL)
    database.export_incremental(tmp_path / "exports")
    database.import_dump(dump_of(CompareExchange=b'[{"Key":"b","Value":"2"}]'), options=ALL)
    told = database.export_incremental(tmp_path / "exports")
    assert (told.documents, told.kept) == (0, {"CompareExchange": 1})
    with DocumentDatabase(tmp_path / "copy") as copy:
        import_folder(tmp_path / "exports", lambda path: copy.import_dump(path, options=ALL))
        assert sections_of(exported(copy)) == sections_of(exported(database))


@pytest.mark.parametrize("name", [EXPECTED, NORTHWIND])
def test_what_another_process_reads_is_kept_too(
    database: DocumentDatabase, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_ahead, "AHEAD_BYTES", 0)
    path = shared(name)
    database.import_dump(path, options=ALL)
    assert sections_of(exported(database)) == sections_of(path)
