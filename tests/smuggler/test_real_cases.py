"""Dumps as real servers of RavenDB wrote them, each for what once went wrong: they come in whole and go out equal."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from muniment import DocumentDatabase
from muniment.document import decode
from muniment.errors import InvalidInput, UnknownFormat
from muniment.smuggler.folder import dumps_in, import_folder
from muniment.smuggler.reader import DumpAttachment, DumpDeletion, DumpDocument, DumpIdentity, open_dump
from tests.shared import shared

CASES = (
    "attachment-names-with-slash",
    "attachment-replaced",
    "ids-apart-by-case-rule",
    "own-metadata-entity-name",
    "own-metadata-last-modified",
)
_INTERNAL = {"@change-vector", "@flags", "@etag"}


def content_of(dump: bytes | Path) -> dict[str, Any]:
    """What a dump says of documents, attachments and identities, without what every export makes anew."""
    found: dict[str, Any] = {"documents": {}, "contents": set(), "identities": {}, "deletions": 0}
    with open_dump(dump if isinstance(dump, Path) else io.BytesIO(dump)) as opened:
        for item in opened:
            match item:
                case DumpDocument():
                    metadata = {n: v for n, v in decode(item.metadata).items() if n not in _INTERNAL}
                    assert item.id not in found["documents"]
                    found["documents"][item.id] = (item.body, metadata)
                case DumpAttachment():
                    found["contents"].add((item.hash, b"".join(item.chunks)))
                case DumpIdentity():
                    found["identities"][item.key.lower()] = item.value
                case DumpDeletion():
                    found["deletions"] += 1
    return found


def exported(database: DocumentDatabase) -> bytes:
    dump = io.BytesIO()
    database.export(dump, format="ravendbdump")
    return dump.getvalue()


@pytest.mark.parametrize("name", CASES)
def test_a_case_comes_in_whole_and_goes_out_equal(database: DocumentDatabase, name: str) -> None:
    path = shared(f"cases/{name}.ravendbdump")
    was = content_of(path)
    found = database.import_dump(path)
    assert (found.documents, found.failed) == (len(was["documents"]), 0)
    assert found.attachments == len(was["contents"])
    is_now = content_of(exported(database))
    if name in ("attachment-names-with-slash", "attachment-replaced"):  # written by hand, without a time
        for _, metadata in is_now["documents"].values():
            del metadata["@last-modified"]
    assert is_now | {"deletions": 0} == was | {"deletions": 0}


@pytest.mark.parametrize("name", CASES)
def test_a_case_comes_back_from_the_form_of_ravendb_3(database: DocumentDatabase, tmp_path: Path, name: str) -> None:
    database.import_dump(shared(f"cases/{name}.ravendbdump"))
    database.export(tmp_path / "a.ravendump")
    with DocumentDatabase(tmp_path / "copy") as copy:
        copy.import_dump(tmp_path / "a.ravendump")
        assert content_of(exported(copy)) == content_of(exported(database))


BACKUP = "ravendb-6.2-backup"
FULL, SECOND, THIRD = (
    "2026-11-27-06-36-01.ravendb-full-backup",
    "2026-11-27-06-36-03.ravendb-incremental-backup",
    "2026-11-27-06-36-04.ravendb-incremental-backup",
)


def test_a_folder_of_backups_gives_what_the_server_itself_exports(database: DocumentDatabase, tmp_path: Path) -> None:
    folder = shared(BACKUP)
    found = import_folder(folder, database.import_dump)
    assert found.unfinished
    assert found.failed == 0
    assert found.skipped["RevisionDocuments"] == 3
    assert content_of(exported(database)) == content_of(folder / "expected.ravendbdump")
    with DocumentDatabase(tmp_path / "other") as other:
        other.import_dump(folder / "expected.ravendbdump")
        assert exported_text(other) == exported_text(database)


def exported_text(database: DocumentDatabase) -> list[bytes]:
    lines = io.BytesIO()
    database.export(lines, format="ndjson")
    timed = (b"Raven/Identities/", b"Raven/Smuggler/")  # these have the time at which they came
    return sorted(line for line in lines.getvalue().splitlines() if not any(name in line for name in timed))


@pytest.mark.parametrize(
    ("until", "id", "body"),
    [
        (FULL, "Docs/4", b'{"v":1}'),
        ("2026-11-27T06:36:01Z", "Docs/4", b'{"v":1}'),
        (SECOND, "Docs/4", None),
        ("2026-11-27 06:36:03", "Docs/5", b'{"v":2}'),
        (THIRD, "Docs/4", b'{"v":"again"}'),
        ("2026-11-27", "Docs/4", b'{"v":"again"}'),
    ],
)
def test_a_folder_of_backups_until(database: DocumentDatabase, until: str, id: str, body: bytes | None) -> None:
    import_folder(shared(BACKUP), database.import_dump, until=until)
    document = database.get(id)
    assert (document and document.body) == body


def test_the_folder_above_the_backups(database: DocumentDatabase, tmp_path: Path) -> None:
    folder = shared(BACKUP)
    older, newer = "2026-11-27-05-00-00.ravendb-Shop-A-backup", "2026-11-27-06-36-01.ravendb-Shop-A-backup"
    for name, files in ((older, [FULL]), (newer, [FULL, SECOND, THIRD])):
        (tmp_path / "backups" / name).mkdir(parents=True)
        for file in files:
            (tmp_path / "backups" / name / file).write_bytes((folder / file).read_bytes())
    (tmp_path / "backups" / "zzz").mkdir()
    place = tmp_path / "backups"
    assert [path.name for path in dumps_in(place)] == [FULL, SECOND, THIRD]
    assert [path.name for path in dumps_in(place, backup=older)] == [FULL]
    with pytest.raises(InvalidInput, match="no backup 'none'") as caught:
        dumps_in(place, backup="none")
    assert older in caught.value.hint
    import_folder(place, database.import_dump)
    assert content_of(exported(database)) == content_of(folder / "expected.ravendbdump")


# What a folder of backups cannot be, told by names alone


def folder_of(tmp_path: Path, *names: str) -> Path:
    for name in names:
        (tmp_path / name).write_bytes(b'{"Docs":[]}')
    return tmp_path


def test_incremental_backups_without_their_full_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="that it continues are missing"):
        dumps_in(folder_of(tmp_path, SECOND, THIRD))
    with pytest.raises(InvalidInput, match="that it continues are missing"):
        dumps_in(folder_of(tmp_path, "2026-11-27-05-00-00.ravendb-incremental-backup"), until="2026-11-27T05")
    assert len(dumps_in(folder_of(tmp_path, FULL))) == 3


@pytest.mark.parametrize(
    ("name", "what", "hint"),
    [
        ("2026-11-27-06-36-01.ravendb-encrypted-full-backup", "is encrypted", "key"),
        ("2026-11-27-06-36-03.ravendb-encrypted-incremental-backup", "is encrypted", "key"),
        ("2026-11-27-06-36-01.ravendb-full-snapshot", "is a snapshot", "restore it with RavenDB"),
        ("2026-11-27-06-36-01.ravendb-snapshot", "is a snapshot", "restore it with RavenDB"),
        ("2026-11-27-06-36-01.ravendb-encrypted-full-snapshot", "is encrypted", "key"),
    ],
)
def test_what_only_ravendb_reads(tmp_path: Path, name: str, what: str, hint: str) -> None:
    for place in (tmp_path, tmp_path / "above"):
        (place / "backup" if place != tmp_path else place).mkdir(parents=True, exist_ok=True)
        folder_of(place / "backup" if place != tmp_path else place, name)
        with pytest.raises(UnknownFormat, match=what) as caught:
            dumps_in(place)
        assert hint in caught.value.hint


@pytest.mark.parametrize("until", ["", "tomorrow", "2026", "2026-11-26", "none.ravendbdump"])
def test_an_end_that_there_is_not(tmp_path: Path, until: str) -> None:
    with pytest.raises(InvalidInput):
        dumps_in(folder_of(tmp_path, FULL, SECOND), until=until)
