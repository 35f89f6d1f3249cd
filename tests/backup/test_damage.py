"""A backup that was changed in any way is refused, by verify and by restore, and nothing is left of the attempt."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from muniment import DocumentDatabase, MaintenanceActions, Progress, Put
from muniment.backup import manifest as manifests
from muniment.backup.reader import check_file
from muniment.backup.repository import Backup
from muniment.errors import DamagedBackup, UnknownFormat
from tests.backup.damage import (
    ATTACHMENTS,
    DOCUMENTS,
    Rows,
    assert_refused,
    assert_restore_refused,
    copy_of,
    flip,
    manifest_of,
    rewrite,
    rewrite_rows,
    seal,
    write_manifest,
)
from tests.backup.gate import each_takes_a_part
from tests.backup.state import opened, state_of
from tests.sampled import count, some, torture


@pytest.fixture
def folder(backup: Backup, tmp_path: Path) -> Path:
    return copy_of(backup, tmp_path / "damaged")


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path / "scratch"


def test_the_copy_alone_is_no_damage(folder: Path, small: DocumentDatabase, tmp_path: Path) -> None:
    seal(folder, fingerprint=True)
    for name in (DOCUMENTS, ATTACHMENTS):
        rewrite(folder, name, lambda table: table)
    seal(folder, fingerprint=True)
    MaintenanceActions.verify(folder)
    MaintenanceActions.restore(folder, tmp_path / "restored")
    with opened(tmp_path / "restored") as restored:
        assert state_of(restored) == state_of(small)


@some(1)
@torture
@pytest.mark.parametrize("name", [DOCUMENTS, ATTACHMENTS])
def test_no_byte_can_change_unnoticed(backup: Backup, folder: Path, scratch: Path, name: str) -> None:
    """Each is seen by what is done to every file first of all; of the whole of a verification, some are enough here."""
    [entry] = [entry for entry in backup.manifest.files if entry.name == name]
    file, content = folder / name, (folder / name).read_bytes()
    chance = random.Random(5)
    verified = set(chance.sample(range(len(content)), count(100, whole=len(content))))
    restored = set(chance.sample(sorted(verified), 20))
    for position in range(len(content)):
        flip(file, position, chance.randrange(8))
        with pytest.raises(DamagedBackup, match=rf"{name} was changed"):
            check_file(file, entry, Progress())
        if position in verified:
            with pytest.raises(DamagedBackup, match=rf"{name} was changed"):
                MaintenanceActions.verify(folder)
        if position in restored:
            assert_restore_refused(folder, scratch, rf"{name} was changed", defrag=position % 2 == 0)
        file.write_bytes(content)
    MaintenanceActions.verify(folder)


def test_no_byte_of_a_large_backup_can_change_unnoticed(
    database: DocumentDatabase, tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    each_takes_a_part(monkeypatch)
    chance = random.Random(6)
    database.batch([Put(f"orders/{n}", {"n": n, "text": chance.randbytes(20).hex()}) for n in range(12_000)])
    database.put_attachment("photos/1", chance.randbytes(1_500_000))
    folder = database.maintenance.start_backup(tmp_path / "backups").wait().folder
    files = sorted(path for path in folder.iterdir() if path.suffix == ".parquet")
    assert [file.name for file in files] == [ATTACHMENTS, DOCUMENTS, "documents-00002.parquet"]
    for number in range(12):
        file = chance.choice(files)
        content = file.read_bytes()
        flip(file, chance.randrange(len(content)), chance.randrange(8))
        assert_restore_refused(folder, scratch, "was changed", defrag=number % 2 == 0)
        with pytest.raises(DamagedBackup, match="was changed"):
            MaintenanceActions.verify(folder)
        file.write_bytes(content)
    MaintenanceActions.verify(folder)


def _remove(file: Path) -> None:
    file.unlink()


def _make_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def _halve(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _empty(file: Path) -> None:
    file.write_bytes(b"")


def _extend(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\0")


def _extend_in_front(file: Path) -> None:
    file.write_bytes(b"\0" + file.read_bytes())


def _zero_the_end(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:-512] + b"\0" * 512)


def _swap_two_bytes(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[100], content[101] = content[101] ^ 1, content[100]
    file.write_bytes(content)


@some(8)
@pytest.mark.parametrize("name", [DOCUMENTS, ATTACHMENTS])
@pytest.mark.parametrize(
    "damage",
    [_remove, _make_a_folder, _cut, _halve, _empty, _extend, _extend_in_front, _zero_the_end, _swap_two_bytes],
)
def test_files(folder: Path, scratch: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(folder / name)
    assert_refused(folder, scratch, name)


@pytest.mark.parametrize("damage", [_remove, _cut, _empty, _extend, _zero_the_end])
def test_the_settings(folder: Path, scratch: Path, damage: Callable[[Path], None]) -> None:
    damage(folder / "Database.Document")
    assert_refused(folder, scratch, "Database.Document")


def test_files_that_were_swapped(folder: Path, scratch: Path) -> None:
    (folder / DOCUMENTS).rename(folder / "x")
    (folder / ATTACHMENTS).rename(folder / DOCUMENTS)
    (folder / "x").rename(folder / ATTACHMENTS)
    assert_refused(folder, scratch)
    seal(folder, rows=False)
    assert_refused(folder, scratch)


def test_files_of_another_backup(small: DocumentDatabase, folder: Path, tmp_path: Path, scratch: Path) -> None:
    small.put("orders/1", {"lines": 2, "price": 1.10}, {"Raven-Entity-Name": "Orders"})
    other = small.maintenance.start_backup(tmp_path / "other").wait()
    shutil.copyfile(other.folder / DOCUMENTS, folder / DOCUMENTS)
    assert_refused(folder, scratch, DOCUMENTS)
    seal(folder, rows=False)
    assert_refused(folder, scratch)
    # The whole of it is a backup again: the newer one.
    shutil.copyfile(other.folder / "manifest.json", folder / "manifest.json")
    assert MaintenanceActions.verify(folder).fingerprint == small.snapshot().fingerprint


def test_a_manifest_of_another_backup(small: DocumentDatabase, folder: Path, tmp_path: Path, scratch: Path) -> None:
    small.delete("orders/1")
    other = small.maintenance.start_backup(tmp_path / "other").wait()
    shutil.copyfile(other.folder / "manifest.json", folder / "manifest.json")
    assert_refused(folder, scratch)


def test_files_that_the_manifest_does_not_name_are_not_read(folder: Path, small: DocumentDatabase) -> None:
    shutil.copyfile(folder / DOCUMENTS, folder / "documents-00002.parquet")
    (folder / "documents-00003.parquet").write_bytes(b"damage")
    assert MaintenanceActions.verify(folder).fingerprint == small.snapshot().fingerprint


def first(rows: Rows, id: str) -> dict[str, Any]:
    return next(row for row in rows if row["id"] == id)


def _body(rows: Rows) -> None:
    first(rows, "orders/1")["document"] = first(rows, "orders/1")["document"].replace("1.1", "1.2")


def _body_spelling(rows: Rows) -> None:
    first(rows, "loose")["document"] = '{"n":1.1}'


def _body_not_json(rows: Rows) -> None:
    first(rows, "orders/1")["document"] = "{"


def _metadata(rows: Rows) -> None:
    first(rows, "orders/1")["metadata"] += " "


def _collection(rows: Rows) -> None:
    first(rows, "orders/1")["collection"] = "Companies"


def _no_collection(rows: Rows) -> None:
    first(rows, "orders/1")["collection"] = None


def _id(rows: Rows) -> None:
    first(rows, "orders/1")["id"] = "orders/6"


def _id_spelling(rows: Rows) -> None:
    first(rows, "orders/1")["id"] = "Orders/1"


def _swap_bodies(rows: Rows) -> None:
    one, two = first(rows, "orders/1"), first(rows, "orders/2")
    one["document"], two["document"] = two["document"], one["document"]


def _drop(rows: Rows) -> Rows:
    return [row for row in rows if row["id"] != "orders/1"]


def _bury(rows: Rows) -> None:
    first(rows, "orders/1")["document"] = None


def _dig_up(rows: Rows) -> None:
    first(rows, "orders/5")["document"] = "{}"


def _add(rows: Rows) -> Rows:
    return [*rows, first(rows, "orders/1") | {"etag": 12, "id": "orders/9"}]


def _same_row_twice(rows: Rows) -> Rows:
    return [rows[0], *rows]


def _same_id_instead(rows: Rows) -> None:
    first(rows, "orders/2").update(id="orders/1")


DOCUMENT_CHANGES = [
    _body, _body_spelling, _body_not_json, _metadata, _collection, _no_collection, _id, _id_spelling, _swap_bodies,
    _drop, _bury, _dig_up, _add, _same_row_twice, _same_id_instead,
]  # fmt: skip


@some(10)
@pytest.mark.parametrize("change", DOCUMENT_CHANGES)
@pytest.mark.parametrize("rows", [True, False], ids=["rows counted anew", "rows as they were"])
def test_the_fingerprint_notices_what_hashes_no_longer_can(
    folder: Path, scratch: Path, change: Callable[[Rows], Rows | None], rows: bool
) -> None:
    """Somebody changed a document and put the right SHA-256 and counts into the manifest."""
    rewrite_rows(folder, DOCUMENTS, change)
    seal(folder, rows=rows)
    assert_refused(folder, scratch)


def _part(rows: Rows) -> None:
    first(rows, "photos/1")["data"] = b"\x89PNG" * 19 + b"\x89PNg"


def _no_part(rows: Rows) -> None:
    first(rows, "photos/1")["data"] = None


def _short_part(rows: Rows) -> None:
    first(rows, "photos/1")["data"] = b"\x89PNG" * 19


def _part_too_many(rows: Rows) -> Rows:
    extra = first(rows, "photos/1") | {"part": 1, "data": b"more"}
    return [*rows[: rows.index(first(rows, "photos/2"))], extra, *rows[rows.index(first(rows, "photos/2")) :]]


def _part_for_the_empty_one(rows: Rows) -> None:
    first(rows, "photos/2")["data"] = b"x"


def _size(rows: Rows) -> None:
    first(rows, "photos/1")["size"] -= 1


def _size_and_part(rows: Rows) -> None:
    first(rows, "photos/1").update(size=76, data=b"\x89PNG" * 19)


def _no_size(rows: Rows) -> None:
    first(rows, "photos/1")["size"] = None


def _negative_size(rows: Rows) -> None:
    first(rows, "photos/1")["size"] = -1


def _sha256(rows: Rows) -> None:
    first(rows, "photos/1")["sha256"] = bytes(32)


def _short_sha256(rows: Rows) -> None:
    first(rows, "photos/1")["sha256"] = first(rows, "photos/1")["sha256"][:31]


def _no_sha256(rows: Rows) -> None:
    first(rows, "photos/1")["sha256"] = None


def _huge_part(rows: Rows) -> None:
    first(rows, "photos/1")["data"] = bytes(3 << 20)


ATTACHMENT_CHANGES = [
    _part, _no_part, _short_part, _part_too_many, _part_for_the_empty_one, _size, _size_and_part, _no_size,
    _negative_size, _sha256, _short_sha256, _no_sha256, _huge_part,
]  # fmt: skip


@pytest.mark.parametrize("change", ATTACHMENT_CHANGES)
def test_the_content_of_an_attachment(folder: Path, scratch: Path, change: Callable[[Rows], Rows | None]) -> None:
    rewrite_rows(folder, ATTACHMENTS, change)
    seal(folder)
    assert_refused(folder, scratch)


def _attachment_metadata(rows: Rows) -> None:
    first(rows, "photos/1")["metadata"] = "{}"


def _attachment_key(rows: Rows) -> None:
    first(rows, "photos/1")["id"] = "photos/9"


def _attachment_collection(rows: Rows) -> None:
    first(rows, "photos/2")["collection"] = None


def _drop_attachment(rows: Rows) -> Rows:
    return [row for row in rows if row["id"] != "photos/1"]


def _bury_attachment(rows: Rows) -> None:
    first(rows, "photos/1").update(size=None, sha256=None, data=None)


@pytest.mark.parametrize(
    "change",
    [_attachment_metadata, _attachment_key, _attachment_collection, _drop_attachment, _bury_attachment],
)
def test_the_fingerprint_covers_attachments(folder: Path, scratch: Path, change: Callable[[Rows], Rows | None]) -> None:
    rewrite_rows(folder, ATTACHMENTS, change)
    seal(folder)
    assert_refused(folder, scratch)


def test_parts_in_another_order(database: DocumentDatabase, tmp_path: Path, scratch: Path) -> None:
    database.put("orders/1", {})
    database.put_attachment("photos/1", random.Random(1).randbytes(3 << 20))
    folder = database.maintenance.start_backup(tmp_path / "backups").wait().folder

    def swap(rows: Rows) -> None:
        rows[0]["data"], rows[1]["data"] = rows[1]["data"], rows[0]["data"]

    rewrite_rows(folder, ATTACHMENTS, swap)
    seal(folder)
    assert_refused(folder, scratch)
    rewrite_rows(folder, ATTACHMENTS, lambda rows: rows[1:])
    seal(folder)
    assert_refused(folder, scratch)


# From here on even the fingerprint in the manifest has been made to agree: what is left are the structures.


def _same_etag(rows: Rows) -> None:
    first(rows, "orders/2")["etag"] = first(rows, "orders/1")["etag"]


def _etag_zero(rows: Rows) -> None:
    first(rows, "orders/1")["etag"] = 0


def _etag_after_the_snapshot(rows: Rows) -> None:
    first(rows, "loose")["etag"] = 13


def _in_another_order(rows: Rows) -> Rows:
    return [rows[1], rows[0], *rows[2:]]


@pytest.mark.parametrize("change", [_same_etag, _etag_zero, _etag_after_the_snapshot, _in_another_order])
@pytest.mark.parametrize("rows", [True, False], ids=["rows counted anew", "rows as they were"])
def test_etags_that_can_not_be(folder: Path, scratch: Path, change: Callable[[Rows], Rows | None], rows: bool) -> None:
    rewrite_rows(folder, DOCUMENTS, change)
    seal(folder, rows=rows, fingerprint=True)
    assert_refused(folder, scratch)


def test_an_etag_that_a_document_and_an_attachment_share(folder: Path, scratch: Path) -> None:
    """Only a restore, which builds the log, can know this when everything else was forged."""

    def change(rows: Rows) -> None:
        first(rows, "photos/1")["etag"] = 8

    rewrite_rows(folder, ATTACHMENTS, change)
    seal(folder, fingerprint=True)
    assert_restore_refused(folder, scratch, "an etag occurs twice")


@pytest.mark.parametrize("id", ["orders/1", "ORDERS/1"])
def test_an_id_that_occurs_twice(folder: Path, scratch: Path, id: str) -> None:
    """Only a restore, which builds the index of ids, can know this when the fingerprint was forged too."""
    rewrite_rows(folder, DOCUMENTS, lambda rows: [*rows, first(rows, "orders/1") | {"etag": 12, "id": id}][-99:])
    rewrite_rows(folder, ATTACHMENTS, lambda rows: [row for row in rows if row["etag"] != 12])
    seal(folder, fingerprint=True)
    manifest = manifest_of(folder)
    manifest["counts"]["attachment_tombstones"] = 0
    write_manifest(folder, manifest)
    assert_restore_refused(folder, scratch, "an id occurs twice")


def _rename(table: Any) -> Any:
    return table.rename_columns(["body" if name == "document" else name for name in table.column_names])


def _without_a_column(table: Any) -> Any:
    return table.drop_columns(["collection"])


def _with_a_column(table: Any) -> Any:
    return table.append_column("extra", pa.array([1] * len(table)))


def _columns_in_another_order(table: Any) -> Any:
    return table.select(list(reversed(table.column_names)))


def _retyped(column: str, type: Any) -> Callable[[Any], Any]:
    def change(table: Any) -> Any:
        at = table.column_names.index(column)
        return table.set_column(at, pa.field(column, type), table.column(column).cast(type))

    return change


COLUMN_CHANGES = {
    "renamed": _rename,
    "missing": _without_a_column,
    "one too many": _with_a_column,
    "in another order": _columns_in_another_order,
    "ids as large strings": _retyped("id", pa.large_string()),
    "ids as bytes": _retyped("id", pa.binary()),
    "documents as string views": _retyped("document", pa.string_view()),
    "metadata as a dictionary": _retyped("metadata", pa.dictionary(pa.int32(), pa.string())),
    "etags as small numbers": _retyped("etag", pa.int32()),
    "etags as text": _retyped("etag", pa.string()),
    "times in nanoseconds": _retyped("modified", pa.timestamp("ns", "UTC")),
    "times without a zone": _retyped("modified", pa.timestamp("us")),
}


@pytest.mark.parametrize("change", COLUMN_CHANGES.values(), ids=COLUMN_CHANGES.keys())
def test_columns(folder: Path, scratch: Path, change: Callable[[Any], Any]) -> None:
    rewrite(folder, DOCUMENTS, change)
    seal(folder, rows=False)
    assert_refused(folder, scratch, DOCUMENTS)


@pytest.mark.parametrize("column", ["etag", "id", "modified", "metadata"])
def test_a_value_that_is_missing(folder: Path, scratch: Path, column: str) -> None:
    def nullable(table: Any) -> Any:
        rows = table.to_pylist()
        rows[0][column] = None
        fields = [field.with_nullable(True) for field in table.schema]
        return pa.Table.from_pylist(rows, schema=pa.schema(fields))

    rewrite(folder, DOCUMENTS, nullable)
    seal(folder, rows=False)
    assert_refused(folder, scratch, DOCUMENTS)


@pytest.mark.parametrize("column", ["id", "collection", "metadata", "document"])
def test_text_that_is_not_unicode(folder: Path, scratch: Path, column: str) -> None:
    def spoil(table: Any) -> Any:
        values = [value and value.encode() for value in table.column(column).to_pylist()]
        values[0] = b'{"a":"\xff"}'
        spoiled = pa.array(values, pa.binary()).view(pa.string())
        if column == "collection":
            spoiled = spoiled.dictionary_encode()
        at = table.column_names.index(column)
        return table.set_column(at, table.schema.field(at), spoiled)

    rewrite(folder, DOCUMENTS, spoil)
    seal(folder, rows=False)
    assert_refused(folder, scratch)


def test_a_file_without_statistics(folder: Path, scratch: Path) -> None:
    rewrite(folder, DOCUMENTS, lambda table: table, write_statistics=False)
    seal(folder)
    assert_refused(folder, scratch, "statistics")


@pytest.mark.parametrize("name", [DOCUMENTS, ATTACHMENTS])
def test_the_page_checksums_are_looked_at(folder: Path, scratch: Path, name: str) -> None:
    """Where a SHA-256 was made to agree with a changed page, the page's own checksum does not."""
    file = folder / name
    content = file.read_bytes()
    group = pq.ParquetFile(file).metadata.row_group(0)
    chunks = [group.column(number) for number in range(group.num_columns)]
    ends = [(chunk.dictionary_page_offset or chunk.data_page_offset) + chunk.total_compressed_size for chunk in chunks]
    assert len(ends) >= 6
    for end in ends:
        flip(file, end - 1)
        seal(folder, rows=False)
        assert_refused(folder, scratch, "(?i)crc checksum")
        file.write_bytes(content)


def differing(one: object, other: object, path: str = "") -> set[str]:
    """The paths of all members in which two JSON values differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {
            deeper
            for name in one.keys() | other.keys()
            for deeper in differing(one.get(name, ...), other.get(name, ...), f"{path}.{name}".lstrip("."))
        }
    if isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
        return {
            deeper for n, (a, b) in enumerate(zip(one, other, strict=True)) for deeper in differing(a, b, f"{path}.{n}")
        }
    return set() if one == other and type(one) is type(other) else {path}


def test_a_flipped_bit_in_the_manifest_is_refused_or_harmless(folder: Path, scratch: Path) -> None:
    """It does not verify, or it says the same."""
    file = folder / "manifest.json"
    text = file.read_bytes()
    chance = random.Random(7)

    def changes() -> set[str]:
        return differing(*(msgspec.to_builtins(manifests.decode(t, "")) for t in (text, file.read_bytes())))

    unnoticed: set[str] = set()
    for position in range(len(text)):
        flip(file, position, chance.randrange(8))
        try:
            MaintenanceActions.verify(folder)
            unnoticed |= changes()
        except (DamagedBackup, UnknownFormat):
            pass
        file.write_bytes(text)
    assert unnoticed == set()
    for position in chance.sample(range(len(text)), 40):
        flip(file, position, chance.randrange(8))
        try:
            MaintenanceActions.restore(folder, scratch / "target")
            assert changes() <= {"checksum"}
            shutil.rmtree(scratch)
        except (DamagedBackup, UnknownFormat):
            assert not scratch.exists() or list(scratch.iterdir()) == []
        file.write_bytes(text)
