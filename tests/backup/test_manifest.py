"""The manifest: what it says, what is refused, and what a newer Muniment may add to it."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from muniment import DocumentDatabase, MaintenanceActions
from muniment.backup import manifest as manifests
from muniment.backup.manifest import Manifest, Parent
from muniment.backup.repository import Backup, backups
from muniment.errors import DamagedBackup, UnknownFormat
from muniment.revision import ATTACHMENT, DOCUMENT
from muniment.version import VERSION
from tests.backup.damage import rows_digest_of

SHA256 = "0123456789abcdef" * 4
VALID: dict[str, Any] = {
    "format": 1,
    "software": "muniment 0.1.0",
    "kind": "full",
    "reason": "first",
    "database": {"id": "11111111-2222-3333-4444-555555555555", "lineage": "6", "name": "shop"},
    "engine": "sqlite",
    "started": "2026-11-22T17:18:03.417000Z",
    "completed": "2026-11-22T17:18:04.000000Z",
    "snapshot": {"etag": 7, "time": "2026-11-22T17:18:03.000001Z"},
    "after": 0,
    "through": 7,
    "history_from": None,
    "same_state_as": None,
    "parent": None,
    "counts": {"documents": 3, "document_tombstones": 1, "attachments": 1, "attachment_tombstones": 0, "bytes": 70},
    "fingerprint": {
        "documents": {
            "Orders": {"count": 2, "bytes": 30, "digest": SHA256},
            "": {"count": 1, "bytes": 35, "digest": SHA256},
        },
        "attachments": {"": {"count": 1, "bytes": 5, "digest": SHA256}},
    },
    "encryption": None,
    "database_document": SHA256,
    "files": [
        {"name": "attachments-00001.parquet", "size": 20, "sha256": SHA256, "rows": 1, "first_etag": 2, "last_etag": 2},
        {"name": "documents-00001.parquet", "size": 10, "sha256": SHA256, "rows": 4, "first_etag": 1, "last_etag": 7},
    ],
}


def decode(value: object) -> Manifest:
    return manifests.decode(json.dumps(value).encode(), "backups/one")


def changed(path: str, value: object) -> dict[str, Any]:
    """The valid manifest with another value at a path such as `files.0.size`; `...` removes the member."""
    manifest = copy.deepcopy(VALID)
    at: Any = manifest
    *parents, last = (int(step) if step.isdigit() else step for step in path.split("."))
    for step in parents:
        at = at[step]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return manifest


def paths(value: object, prefix: str = "") -> list[str]:
    """Every member of an object and everything in it, as paths."""
    if isinstance(value, dict):
        members = list(value.items())
    elif isinstance(value, list):
        members = list(enumerate(value))
    else:
        return []
    return [
        path
        for name, member in members
        for path in (f"{prefix}{name}", *paths(member, f"{prefix}{name}."))
        if name != ""
    ]


def written(manifest: Manifest) -> Manifest:
    """What is read of a manifest that was written, but for its checksum."""
    return msgspec.structs.replace(manifests.decode(manifests.encode(manifest), ""), checksum=None)


def test_what_is_written_is_what_is_read() -> None:
    manifest = decode(VALID)
    text = manifests.encode(manifest)
    checksum = json.loads(text)["checksum"]
    assert json.loads(text) == VALID | {"skipped": [], "checksum": checksum}
    assert written(manifest) == manifest
    assert hashlib.sha256(text.replace(checksum.encode(), b"0" * 64)).hexdigest() == checksum
    fingerprint = manifest.fingerprint_at_snapshot()
    assert (fingerprint.count(DOCUMENT), fingerprint.count(ATTACHMENT)) == (3, 1)
    assert fingerprint.as_json() == VALID["fingerprint"]
    assert [file.name for file in manifest.files_of(DOCUMENT)] == ["documents-00001.parquet"]
    assert [file.name for file in manifest.files_of(ATTACHMENT)] == ["attachments-00001.parquet"]
    assert manifest.size == 30


def test_it_is_written_for_people_too() -> None:
    text = manifests.encode(decode(VALID)).decode()
    assert text.startswith('{\n  "format": 1,\n  "software": "muniment 0.1.0",\n')
    assert text.endswith("\n}\n")


def test_a_parent_is_kept() -> None:
    manifest = msgspec.structs.replace(decode(VALID), kind="incremental", parent=Parent("2026-11-22", SHA256))
    assert written(manifest) == manifest


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ('"name": "shop"', '"name": "show"'),
        ('"2026-11-22T17:18:03.000001Z"', '"2026-11-22T17:18:03.000002Z"'),
        ('"reason": "first"', '"reason": "asked for"'),
        ("{\n", "{ \n"),
    ],
)
def test_one_that_was_edited_by_hand_is_damage(member: str, value: str) -> None:
    text = manifests.encode(decode(VALID)).decode()
    with pytest.raises(DamagedBackup, match="changed after it was written"):
        manifests.decode(text.replace(member, value, 1).encode(), "backups/one")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\0" * 400, id="zeros"),
        pytest.param(b"\xff\xfe{}", id="not UTF-8"),
        pytest.param(b"not JSON", id="text"),
        pytest.param(b"[]", id="an array"),
        pytest.param(b"null", id="null"),
        pytest.param(b"{}", id="no members"),
        pytest.param(b'"\\ud800"', id="half a character"),
        pytest.param(b"[" * 100_000, id="nested too deeply"),
        pytest.param(b'{"format":1,"x":' + b"[" * 100_000, id="a member nested too deeply"),
        pytest.param(json.dumps(VALID).encode()[:-1], id="cut by one byte"),
        pytest.param(json.dumps(VALID).encode()[:300], id="cut"),
        pytest.param(json.dumps(VALID).encode() + b"}", id="extended"),
    ],
)
def test_what_is_not_a_manifest_is_damage(text: bytes) -> None:
    with pytest.raises(DamagedBackup, match="backups/one") as caught:
        manifests.decode(text, "backups/one")
    assert caught.value.hint


OPTIONAL = {"parent", "encryption", "history_from", "same_state_as"}


@pytest.mark.parametrize("path", [path for path in paths(VALID) if path not in OPTIONAL and not path[-1].isdigit()])
def test_a_member_that_is_missing_is_damage(path: str) -> None:
    with pytest.raises(DamagedBackup):
        decode(changed(path, ...))


@pytest.mark.parametrize("path", paths(VALID))
@pytest.mark.parametrize("value", [None, True, 1.5, "x", -1, [], {}, 10**30], ids=repr)
def test_a_member_of_the_wrong_type_is_damage(path: str, value: object) -> None:
    if path in OPTIONAL and value is None:
        return
    text = {"software", "reason", "engine", "id", "lineage", "name"}
    if isinstance(value, str) and path.split(".")[-1] in text and not path.startswith("files"):
        return  # a text like any other
    with pytest.raises(UnknownFormat if (path, value) == ("format", 10**30) else DamagedBackup):
        decode(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("format", 0),
        ("kind", "differential"),
        ("database.id", ""),
        ("snapshot.time", "yesterday"),
        ("snapshot.time", "2026-11-22T17:18:03.000001"),
        ("snapshot.time", "2026-13-22T17:18:03.000001Z"),
        ("started", "2026-11-22"),
        ("completed", ""),
        ("snapshot.etag", 6),
        ("through", 8),
        ("after", 8),
        ("history_from", 8),
        ("kind", "incremental"),
        ("parent", {"backup": "2026-11-22T171803.417Z.full", "sha256": SHA256}),
        ("counts.documents", 2),
        ("counts.attachments", 2),
        ("counts.bytes", 69),
        ("fingerprint.documents.Orders.count", 3),
        ("fingerprint.documents.Orders.digest", "no digest"),
        ("fingerprint.documents.Orders.bytes", 31),
        ("files.0.name", "../other/attachments-00001.parquet"),
        ("files.0.name", "/etc/passwd"),
        ("files.0.name", "attachments/00001"),
        ("files.0.name", ".."),
        ("files.0.name", ""),
        ("files.0.name", "nul\0"),
        ("files.0.name", "documents-00001.parquet"),
        ("files.0.sha256", SHA256[:-1]),
        ("files.0.last_etag", 8),
        ("files.1.first_etag", 8),
        ("files.1.rows", 5),
    ],
)
def test_values_that_contradict_the_others_are_damage(path: str, value: object) -> None:
    with pytest.raises(DamagedBackup):
        decode(changed(path, value))


@pytest.mark.parametrize(
    "extra",
    [
        {"pages": 7},
        {"database": VALID["database"] | {"region": "eu"}},
        {"snapshot": VALID["snapshot"] | {"transaction": "b7"}},
        {"counts": VALID["counts"] | {"revisions": 9}},
        {"files": [file | {"kms": "x"} for file in VALID["files"]]},
        {"fingerprint": VALID["fingerprint"] | {"counters": {}}},
        {"z": {"deep": [1, {"a": None}]}},
    ],
    ids=lambda extra: next(iter(extra)),
)
def test_members_of_a_newer_version_of_format_1_are_passed_over(extra: dict[str, Any]) -> None:
    text = json.dumps(VALID | extra | {"checksum": "0" * 64}).encode()
    newer = manifests.decode(text.replace(b"0" * 64, manifests.digest(text).encode()), "here")
    manifest = msgspec.structs.replace(decode(VALID), checksum=newer.checksum)
    assert newer.fingerprint_at_snapshot() == manifest.fingerprint_at_snapshot()
    assert msgspec.structs.replace(newer, fingerprint=manifest.fingerprint) == manifest


@pytest.mark.parametrize(
    ("value", "named"),
    [
        pytest.param(VALID | {"format": 4, "software": "muniment 3.1.4"}, "muniment 3.1.4", id="one more"),
        pytest.param({"format": 4, "software": "muniment 3.1.4", "rows": []}, "muniment 3.1.4", id="of other members"),
        pytest.param({"format": 900}, "an unknown version", id="no version"),
    ],
)
def test_a_newer_format_names_the_version_that_reads_it(value: dict[str, Any], named: str) -> None:
    with pytest.raises(UnknownFormat, match=f"format {value['format']}, written by {named};.* up to 3") as caught:
        decode(value)
    assert named in caught.value.hint


def test_a_newer_backup_in_the_folder_is_never_passed_over(backup: Backup, tmp_path: Path) -> None:
    newer = backup.folder.parent / "2027-01-01T000000.000Z.full"
    newer.mkdir()
    (newer / "manifest.json").write_bytes(b'{"format": 4, "software": "muniment 9"}')
    with pytest.raises(UnknownFormat, match="muniment 9") as caught:
        MaintenanceActions.restore(backup.folder.parent, tmp_path / "x")
    assert f"--backup {backup.name}" in caught.value.hint
    with pytest.raises(DamagedBackup, match="muniment 9"):
        MaintenanceActions.verify(backup.folder.parent)
    assert [bad.folder for bad in backups(backup.folder.parent).unusable] == [newer]
    assert not (tmp_path / "x").exists()
    MaintenanceActions.restore(backup.folder, tmp_path / "x")


def footer_digest_of(path: Path) -> str:
    """Parquet ends with its metadata, their length in four bytes, and `PAR1`."""
    content = path.read_bytes()
    return hashlib.sha256(content[-8 - int.from_bytes(content[-8:-4], "little") :]).hexdigest()


def test_it_says_what_the_backup_holds(small: DocumentDatabase, backup: Backup) -> None:
    manifest = backup.manifest
    snapshot, identity = small.snapshot(), small.storage.identity
    assert json.loads((backup.folder / "manifest.json").read_bytes()) == {
        "format": 2,
        "software": f"muniment {VERSION}",
        "kind": "full",
        "reason": "first",
        "database": {
            "id": identity.database_id,
            "lineage": identity.lineage,
            "name": "shop",
            "lineages": [msgspec.to_builtins(lineage) for lineage in identity.lineages],
        },
        "engine": "sqlite",
        "started": manifest.started,
        "completed": manifest.completed,
        "snapshot": {"etag": 12, "time": manifest.snapshot.time, "until": manifest.snapshot.until},
        "after": 0,
        "through": 12,
        "history_from": None,
        "parent": None,
        "same_state_as": None,
        "counts": {
            "documents": 6,
            "document_tombstones": 1,
            "attachments": 2,
            "attachment_tombstones": 1,
            "bytes": manifest.counts.bytes,
        },
        "fingerprint": snapshot.fingerprint.as_json(),
        "encryption": None,
        "database_document": hashlib.sha256((backup.folder / "Database.Document").read_bytes()).hexdigest(),
        "files": [
            {
                "name": file.name,
                "size": file.size,
                "sha256": file.sha256,
                "rows": file.rows,
                "first_etag": file.first_etag,
                "last_etag": file.last_etag,
                "rows_digest": rows_digest_of(backup.folder / file.name),
                "footer": footer_digest_of(backup.folder / file.name),
            }
            for file in manifest.files
        ],
        "skipped": [],
        "checksum": manifest.checksum,
    }
    assert manifest.counts.bytes == snapshot.fingerprint.size(DOCUMENT) + snapshot.fingerprint.size(ATTACHMENT)
    assert [(file.name, file.rows, file.first_etag, file.last_etag) for file in manifest.files] == [
        ("attachments-00001.parquet", 3, 9, 12),
        ("documents-00001.parquet", 7, 1, 8),
    ]
    assert manifest.started < manifest.completed
    time = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
    assert all(time.fullmatch(text) for text in (manifest.started, manifest.completed, manifest.snapshot.time))
    assert manifest.started.replace(":", "").startswith(backup.name.split("Z.")[0])
    assert backup.name.endswith(".full")
