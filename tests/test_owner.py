"""Attachments of documents: two that have the same key are two, and each is found by its key and by its owner."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest

from muniment import DocumentDatabase, MaintenanceActions
from muniment.backup.selection import Selection
from muniment.document import encode
from muniment.errors import ConcurrencyConflict, InvalidId
from muniment.exporting import export_backup
from muniment.owner import ids_of
from muniment.smuggler.folder import import_folder
from tests.backup.state import opened
from tests.smuggler.dumps import attachment, blake2b, docs

SAME_KEY = (("a", "b/c", b"1"), ("a/b", "c", b"2"))


def contents(database: DocumentDatabase) -> list[tuple[str | None, str, bytes]]:
    return [(each.owner, each.name, each.read()) for each in database.attachments(limit=999)]


def named(id: str, **contents: bytes) -> bytes:
    """A document with attachments of these names, `_` standing for a slash, and their contents before it."""
    told = [
        {"Name": name.replace("_", "/"), "Hash": blake2b(content), "ContentType": "t/1", "Size": len(content)}
        for name, content in contents.items()
    ]
    document = encode({"@metadata": {"@collection": "D", "@id": id, "@attachments": told}})
    return b",".join([*map(attachment, contents.values()), document])


def tombstone(owner: str, name: str, content: bytes | None, type: str = "t/1") -> bytes:
    hash = "" if content is None else blake2b(content)
    key = "\x1e".join((owner.lower(), "d", name.lower(), hash, "" if content is None else type))
    return encode(
        {"Key": key, "Type": "Attachment", "Collection": None, "LastModified": "2026-11-27T06:00:00.0000000Z"}
    )


def tombstones(*items: bytes) -> bytes:
    return b',"Tombstones":[%s]' % b",".join(items)


@pytest.fixture
def slashes(database: DocumentDatabase) -> DocumentDatabase:
    for owner, name, content in SAME_KEY:
        database.put(owner, {}, {"Raven-Entity-Name": "D"})
        database.put_attachment(name, content, owner=owner)
    return database


def test_ids_of_a_key() -> None:
    assert ids_of("a/b/c") == ["a/b/c", "a/b\x1ec", "a\x1eb/c"]
    assert ids_of("a") == ["a"]
    assert ids_of("/a") == ["/a"]


def test_two_attachments_with_one_key(slashes: DocumentDatabase) -> None:
    database = slashes
    assert contents(database) == [("a", "b/c", b"1"), ("a/b", "c", b"2")]
    assert [each.key for each in database.attachments("A/b/")] == ["a/b/c", "a/b/c"]
    found = database.get_attachment("a/b/c")
    assert found is not None
    assert (found.owner, found.name, found.read()) == ("a/b", "c", b"2")
    assert database.put_attachment("A/B/c", b"new").id == "a/b/c"
    assert contents(database) == [("a", "b/c", b"1"), ("a/b", "c", b"new")]
    assert database.delete_attachment("a/b/c")
    assert database.get_attachment("a/b/c").read() == b"1"  # type: ignore[union-attr]
    assert not database.delete_attachment("c", owner="a/b")
    assert database.delete_attachment("b/c", owner="A")
    assert database.get_attachment("a/b/c") is None


def test_an_attachment_that_was_stored_by_its_key_becomes_that_of_its_document(database: DocumentDatabase) -> None:
    database.put("a", {})
    database.put_attachment("a/x", b"1")
    assert contents(database) == [(None, "a/x", b"1")]
    assert database.get_attachment("x", owner="a").read() == b"1"  # type: ignore[union-attr]
    database.put_attachment("x", b"2", owner="a")
    assert contents(database) == [("a", "x", b"2")]


def test_ids_from_outside_have_no_separator(database: DocumentDatabase) -> None:
    for write in (lambda id: database.put(id, {}), lambda id: database.put_attachment(id, b"")):
        with pytest.raises(InvalidId, match=r"U\+001E"):
            write("a\x1eb")  # type: ignore[no-untyped-call]
    with pytest.raises(InvalidId):
        database.put_attachment("b", b"", owner="")
    with pytest.raises(InvalidId, match="at most 512"):
        database.put_attachment("b" * 300, b"", owner="a" * 300)


def test_etags_are_those_of_the_attachment(slashes: DocumentDatabase) -> None:
    with pytest.raises(ConcurrencyConflict):
        slashes.put_attachment("a/b/c", b"x", etag=0)
    with pytest.raises(ConcurrencyConflict):
        slashes.delete_attachment("b/c", owner="a", etag=1)
    assert contents(slashes) == list(SAME_KEY)


@pytest.mark.parametrize("format", ["ravendbdump", "ravendump"])
def test_they_come_through_dumps(slashes: DocumentDatabase, tmp_path: Path, format: Any) -> None:
    slashes.put_attachment("loose/x", b"3")
    slashes.put("later", {})
    slashes.put_attachment("later/y", b"4")
    slashes.put_attachment("sub/dir/z.txt", b"5", owner="later")
    before = contents(slashes)
    slashes.export(tmp_path / f"d.{format}")
    with DocumentDatabase(tmp_path / "copy") as copy:
        copy.import_dump(tmp_path / f"d.{format}")
        assert contents(copy) == before
        copy.import_dump(tmp_path / f"d.{format}")
        assert contents(copy) == before
        assert copy.check() == []


def test_ravendb_sees_them_with_their_documents(slashes: DocumentDatabase) -> None:
    dump = io.BytesIO()
    slashes.put_attachment("sub/dir/x.txt", b"3", owner="a/b")
    slashes.export(dump, format="ravendbdump", compression="none")
    text = dump.getvalue()
    for part in (b'"@attachments":[{"Name":"b/c"', b'"@attachments":[{"Name":"c"', b'{"Name":"sub/dir/x.txt"'):
        assert part in text
    assert b'"Key"' not in text


def test_they_come_through_backups(slashes: DocumentDatabase, tmp_path: Path) -> None:
    slashes.maintenance.start_backup(tmp_path / "backups").wait()
    MaintenanceActions.restore(tmp_path / "backups", tmp_path / "whole")
    MaintenanceActions.restore(tmp_path / "backups", tmp_path / "part", selection=Selection.of(ids=("A",)))
    export_backup(tmp_path / "backups", tmp_path / "d.ravendbdump")
    with (
        opened(tmp_path / "whole") as whole,
        opened(tmp_path / "part") as part,
        DocumentDatabase(tmp_path / "c") as copy,
    ):
        assert contents(whole) == list(SAME_KEY)
        assert contents(part) == [("a", "b/c", b"1")]
        copy.import_dump(tmp_path / "d.ravendbdump")
        assert contents(copy) == list(SAME_KEY)
    slashes.delete_attachment("c", owner="a/b")
    selection = Selection.of(ids=("a/b/c",))
    restored = slashes.maintenance.restore_into(tmp_path / "backups", selection=selection, on_conflict="skip")
    assert [changes.added for changes in restored.difference.changes] == [["a/b/c"]]
    assert contents(slashes) == list(SAME_KEY)


def test_a_backup_that_knows_keys_alone_is_compared_by_them(database: DocumentDatabase, tmp_path: Path) -> None:
    """As earlier versions took it, before the same attachments came in again with their owners."""
    database.put("a", {})
    for name in ("x", "y", "z"):
        database.put_attachment(f"a/{name}", b"old", {"Content-Type": "t/1"})
    database.maintenance.start_backup(tmp_path / "backups").wait()
    for name, content in (("x", b"old"), ("y", b"new"), ("w", b"new")):
        database.put_attachment(name, content, {"Content-Type": "t/1"}, owner="a")
    database.delete_attachment("a/z")
    assert contents(database) == [("a", "w", b"new"), ("a", "x", b"old"), ("a", "y", b"new")]
    skipped = database.maintenance.restore_into(tmp_path / "backups", on_conflict="skip")
    assert [(each.added, each.changed, each.deleted) for each in skipped.difference.changes] == [
        (["a/z"], ["a/y"], ["a/w"])
    ]
    assert contents(database) == [("a", "w", b"new"), ("a", "x", b"old"), ("a", "y", b"new"), (None, "a/z", b"old")]
    database.maintenance.restore_into(tmp_path / "backups", on_conflict="overwrite")
    assert contents(database) == [("a", "x", b"old"), ("a", "y", b"old"), (None, "a/z", b"old")]
    assert database.maintenance.restore_into(tmp_path / "backups", on_conflict="fail").written == 0


# Deletions


def test_a_tombstone_of_what_was_replaced_deletes_nothing(database: DocumentDatabase) -> None:
    """RavenDB writes one whenever an attachment is replaced, in incremental backups and in exports."""
    dump = docs(named("D/1", x=b"new"), more=tombstones(tombstone("D/1", "x", b"old")))
    found = database.import_dump(dump)
    assert (found.documents, found.attachments, found.deletions) == (1, 1, 1)
    assert contents(database) == [("D/1", "x", b"new")]
    database.import_dump(docs(more=tombstones(tombstone("D/1", "X", b"new", "t/2"))))
    assert contents(database) == [("D/1", "x", b"new")]
    database.import_dump(docs(more=tombstones(tombstone("D/1", "X", b"new"))))
    assert contents(database) == []


def test_the_hash_is_that_of_the_content_whatever_the_metadata_says(database: DocumentDatabase) -> None:
    """A program that stores another content with the metadata that it has read stores the old hash with it."""
    database.put("d", {})
    database.put_attachment("x", b"new", {"Content-Type": "t/1", "Hash": blake2b(b"old")}, owner="d")
    database.import_dump(docs(more=tombstones(tombstone("d", "x", b"old"))))
    assert contents(database) == [("d", "x", b"new")]
    database.import_dump(docs(more=tombstones(tombstone("d", "x", b"new"))))
    assert contents(database) == []


def test_a_tombstone_that_tells_no_content_deletes_what_has_the_name(database: DocumentDatabase) -> None:
    """As our own exports wrote them before."""
    database.import_dump(docs(named("d/1", x=b"1", y=b"2")))
    database.import_dump(docs(more=tombstones(tombstone("d/1", "x", None))))
    assert contents(database) == [("d/1", "y", b"2")]


def test_tombstones_of_revisions_delete_nothing(database: DocumentDatabase) -> None:
    database.import_dump(docs(named("d/1", x=b"1")))
    of_a_revision = tombstone("d/1", "x", b"1").replace(b"\\u001ed\\u001e", b"\\u001er\\u001e")
    found = database.import_dump(docs(more=tombstones(of_a_revision)))
    assert found.skipped == {"Tombstones/RevisionAttachment": 1}
    assert contents(database) == [("d/1", "x", b"1")]


def test_a_name_is_spelled_as_the_document_spells_it_now(database: DocumentDatabase) -> None:
    database.import_dump(docs(named("d/1", **{"Upper.BIN": b"1"})))
    database.import_dump(docs(named("d/1", **{"upper.bin": b"2"})))
    assert contents(database) == [("d/1", "upper.bin", b"2")]


def test_our_own_deletions_tell_hash_and_type(database: DocumentDatabase, tmp_path: Path) -> None:
    database.import_dump(docs(named("D/1", X=b"1", y=b"2")))
    database.export_incremental(tmp_path)
    database.put_attachment("X", b"replaced", {"Content-Type": "t/1"}, owner="d/1")
    database.delete_attachment("X", owner="d/1")
    database.delete_attachment("D/1/y")
    exported = database.export_incremental(tmp_path, compression="none")
    told = json.loads(Path(exported.file or "").read_bytes())["Tombstones"]
    assert [(each["Type"], each["Key"].split("\x1e")) for each in told] == [
        ("Attachment", ["d/1", "d", "x", blake2b(b"replaced"), "t/1"]),
        ("Attachment", ["d/1", "d", "y", blake2b(b"2"), "t/1"]),
    ]
    with DocumentDatabase(tmp_path / "copy") as copy:
        import_folder(tmp_path, copy.import_dump)
        assert contents(copy) == []
    assert base64.b64decode(told[0]["Key"].split("\x1e")[3])
