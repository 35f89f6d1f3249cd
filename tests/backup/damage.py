"""Doing damage to a backup: to its files, or to what is in them with a manifest that has been made to agree."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from muniment import MaintenanceActions
from muniment.backup.repository import Backup
from muniment.document import to_microseconds
from muniment.errors import DamagedBackup
from muniment.fingerprint import MODULUS, Fingerprint, member_digest, row_digest
from muniment.revision import ATTACHMENT, DOCUMENT
from tests.backup.state import tree

DOCUMENTS = "documents-00001.parquet"
ATTACHMENTS = "attachments-00001.parquet"

Rows = list[dict[str, Any]]


def copy_of(backup: Backup, folder: Path) -> Path:
    """A copy of a backup to be damaged."""
    return Path(shutil.copytree(backup.folder, folder))


def flip(file: Path, position: int, bit: int = 0) -> None:
    """Change one bit."""
    content = bytearray(file.read_bytes())
    content[position] ^= 1 << bit
    file.write_bytes(content)


def manifest_of(folder: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_bytes())
    return manifest


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """As somebody would who knows of the checksum too."""
    text = json.dumps(manifest | {"checksum": "0" * 64}).encode()
    (folder / "manifest.json").write_bytes(text.replace(b"0" * 64, hashlib.sha256(text).hexdigest().encode()))


def seal(folder: Path, *, rows: bool = True, fingerprint: bool = False) -> None:
    """Make the manifest agree with files that were changed: size and SHA-256; and what else is asked for."""
    manifest = manifest_of(folder)
    for file in manifest["files"]:
        content = (folder / file["name"]).read_bytes()
        file |= {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        if rows:
            etags = pq.read_table(folder / file["name"], columns=["etag"]).column("etag").to_pylist()
            file |= {"rows": len(etags), "first_etag": min(etags), "last_etag": max(etags)}
            file["rows_digest"] = rows_digest_of(folder / file["name"])
    documents = read_rows(folder / DOCUMENTS) if rows else []
    if rows:
        live = sum(row["document"] is not None for row in documents)
        manifest["counts"] |= {"documents": live, "document_tombstones": len(documents) - live}
    if fingerprint:
        computed = fingerprint_of(documents, read_rows(folder / ATTACHMENTS))
        manifest["fingerprint"] = computed.as_json()
        manifest["counts"]["attachments"] = computed.count(ATTACHMENT)
        manifest["counts"]["bytes"] = computed.size(DOCUMENT) + computed.size(ATTACHMENT)
    write_manifest(folder, manifest)


def rows_digest_of(file: Path) -> str:
    """The sum of the digests of all rows in a data file."""
    total = 0
    for row in read_rows(file):
        if row.get("part"):
            continue
        kind = DOCUMENT if "document" in row else ATTACHMENT
        id = row["id"] if kind == DOCUMENT or row["owner"] is None else f"{row['owner']}\x1e{row['id']}"
        content = row["sha256"] if kind == ATTACHMENT else row["document"] and row["document"].encode()
        member = member_digest(id.encode(), row["metadata"].encode(), content or b"")
        collection = None if row["collection"] is None else row["collection"].encode()
        modified = to_microseconds(row["modified"])
        digest = row_digest(row["etag"], kind, modified, collection, member, tombstone=content is None)
        total += int.from_bytes(digest, "big")
    return f"{total % MODULUS:064x}"


def fingerprint_of(documents: Rows, attachments: Rows) -> Fingerprint:
    """What a manifest would say of these rows."""
    fingerprint = Fingerprint()
    members = [(DOCUMENT, row, (row["document"] or "").encode()) for row in documents if row["document"] is not None]
    members += [(ATTACHMENT, row, row["sha256"]) for row in attachments if row["part"] == 0 and row["sha256"]]
    for kind, row, body in members:
        digest = member_digest(row["id"].encode(), row["metadata"].encode(), body)
        size = len(body) if kind == DOCUMENT else row["size"]
        fingerprint.add((kind, row["collection"] or ""), 1, size, int.from_bytes(digest, "big"))
    return fingerprint


def read_rows(file: Path) -> Rows:
    rows: Rows = pq.read_table(file).to_pylist()
    return rows


def rewrite(folder: Path, name: str, change: Callable[[Any], Any], **options: Any) -> None:
    """Put another table into a data file, written as Muniment writes them."""
    file = folder / name
    table = change(pq.read_table(file))
    settings = {"compression": "zstd", "write_page_checksum": True, "use_dictionary": ["collection", "metadata"]}
    pq.write_table(table, file, **(settings | options))


def rewrite_rows(folder: Path, name: str, change: Callable[[Rows], Rows | None]) -> None:
    """The same row by row; the schema stays."""

    def changed(table: Any) -> Any:
        rows = table.to_pylist()
        replaced = change(rows)
        return pa.Table.from_pylist(rows if replaced is None else replaced, schema=table.schema)

    rewrite(folder, name, changed)


def assert_restore_refused(
    folder: Path, scratch: Path, match: str | None = None, defrag: bool = False
) -> DamagedBackup:
    """A restore fails with `DamagedBackup`, and nothing is left of it; neither was the backup touched."""
    before = tree(folder)
    scratch.mkdir(exist_ok=True)
    with pytest.raises(DamagedBackup, match=match) as caught:
        MaintenanceActions.restore(folder, scratch / "target", defrag=defrag)
    assert list(scratch.iterdir()) == []
    assert tree(folder) == before
    return caught.value


def assert_refused(folder: Path, scratch: Path, match: str | None = None) -> None:
    """Neither verify nor restore accepts this backup; both say so in words of their own, with a hint."""
    with pytest.raises(DamagedBackup, match=match) as caught:
        MaintenanceActions.verify(folder)
    errors = [caught.value, assert_restore_refused(folder, scratch, match)]
    assert all(error.hint and str(error) for error in errors)
