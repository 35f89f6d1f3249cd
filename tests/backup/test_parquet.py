"""The files can be read without Muniment, and their fingerprint is what its definition says."""

from __future__ import annotations

import hashlib
import json
import random
import struct
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from muniment import Delete, DocumentDatabase, Put
from muniment.backup.parquet import DOCUMENTS, batch_of, document_columns
from muniment.backup.repository import Backup
from muniment.fingerprint import batch_digests
from muniment.revision import DOCUMENT, Batch, Revision
from muniment.sample import documents

duckdb = pytest.importorskip("duckdb")

DELETED = [f"orders/{n}" for n in range(1, 200, 3)]


@pytest.fixture
def shop(database: DocumentDatabase, tmp_path: Path) -> Backup:
    """3 000 documents of the sample, some deleted, and attachments of more than one part."""
    database.batch([Put(id, body, metadata) for id, body, metadata in documents(3_000)])
    database.batch([Put(f"loose/{n}", {"n": n}) for n in range(10)])
    database.batch([Delete(id) for id in DELETED])
    chance = random.Random(8)
    for number, size in enumerate([0, 1, 1 << 20, 2_500_000]):
        database.put_attachment(f"photos/{number}", chance.randbytes(size), {"Raven-Entity-Name": "Photos"})
    database.put_attachment("loose", b"x", {"type": "text/plain"})
    database.delete_attachment("photos/0")
    return database.maintenance.start_backup(tmp_path / "backups").wait()


def test_columns_that_arrow_keeps_are_those_that_were_written() -> None:
    bodies = [b"{}", None, b'{"a":"\xc3\xa4"}', b""]
    revisions = [
        Revision(n, DOCUMENT, f"Ä/{n}", ["A", None][n % 2], n, b"{}", body, len(body or b""))
        for n, body in enumerate(bodies)
    ]
    for some in (revisions, revisions[1:2], []):
        given = Batch.of(some)
        table = pa.table(document_columns(given), schema=DOCUMENTS.arrow)
        halves = pa.concat_tables([table.slice(0, 1), table.slice(1)])
        for read in map(batch_of, (table, halves)):
            assert list(read) == some
            assert batch_digests(read) == batch_digests(given)
            assert read.size() == given.size()
            assert b"".join(read.bodies.views()) == read.bodies.data == given.bodies.data
            assert read.bodies.data is read.bodies.data


def rows(query: str, files: Path, *arguments: object) -> list[tuple[Any, ...]]:
    """What DuckDB finds; `FILES` in the query stands for the files."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found: list[tuple[Any, ...]] = connection.execute(query.replace("FILES", f"'{files}'"), arguments).fetchall()
    return found


def test_counts(shop: Backup) -> None:
    query = "SELECT count(document), count(*), count(DISTINCT id), count(DISTINCT etag) FROM FILES"
    [(live, total, ids, etags)] = rows(query, shop.folder / "documents-*.parquet")
    counts = shop.manifest.counts
    assert (live, total) == (counts.documents, counts.documents + counts.document_tombstones) == (2943, 3010)
    assert ids == etags == total
    query = "SELECT count(DISTINCT id), count(DISTINCT id) FILTER (size IS NULL) FROM FILES"
    assert rows(query, shop.folder / "attachments-*.parquet") == [(5, 1)]


def test_documents_can_be_asked_without_a_restore(shop: Backup) -> None:
    query = """
        SELECT json_extract_string(document, '$.ShipTo.Country') AS country, count(*),
            sum(json_extract(document, '$.Freight')::DECIMAL(18, 2))
        FROM FILES WHERE document IS NOT NULL AND collection = 'Orders' GROUP BY country
    """
    expected: dict[str, tuple[int, Decimal]] = {}
    for id, body, _ in documents(3_000):
        if id.startswith("orders/") and id not in DELETED:
            order = json.loads(body, parse_float=Decimal)
            count, freight = expected.get(order["ShipTo"]["Country"], (0, Decimal(0)))
            expected[order["ShipTo"]["Country"]] = count + 1, freight + order["Freight"]
    found = rows(query, shop.folder / "documents-*.parquet")
    assert {country: (count, freight) for country, count, freight in found} == expected


def test_every_byte_is_there(shop: Backup) -> None:
    query = "SELECT id, metadata, document FROM FILES WHERE document IS NOT NULL AND NOT id LIKE 'loose/%'"
    found = rows(query, shop.folder / "documents-*.parquet")
    assert {id: (metadata.encode(), document.encode()) for id, metadata, document in found} == {
        id: (metadata, body) for id, body, metadata in documents(3_000) if id not in DELETED
    }


def test_columns_and_types(shop: Backup) -> None:
    described = rows("DESCRIBE SELECT * FROM FILES", shop.folder / "documents-*.parquet")
    assert [(name, type) for name, type, *_ in described] == [
        ("etag", "BIGINT"),
        ("id", "VARCHAR"),
        ("collection", "VARCHAR"),
        ("modified", "TIMESTAMP WITH TIME ZONE"),
        ("metadata", "VARCHAR"),
        ("document", "VARCHAR"),
    ]
    described = rows("DESCRIBE SELECT * FROM FILES", shop.folder / "attachments-*.parquet")
    assert [(name, type) for name, type, *_ in described] == [
        ("etag", "BIGINT"),
        ("owner", "VARCHAR"),
        ("id", "VARCHAR"),
        ("collection", "VARCHAR"),
        ("modified", "TIMESTAMP WITH TIME ZONE"),
        ("metadata", "VARCHAR"),
        ("size", "BIGINT"),
        ("sha256", "BLOB"),
        ("part", "INTEGER"),
        ("data", "BLOB"),
    ]


def test_files_are_compressed_and_in_etag_order(shop: Backup) -> None:
    for file in shop.manifest.files:
        path = shop.folder / file.name
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256
        assert path.stat().st_size == file.size
        assert {codec for (codec,) in rows("SELECT compression FROM parquet_metadata(FILES)", path)} == {"ZSTD"}
        etags = [etag for (etag,) in rows("SELECT etag FROM FILES ORDER BY file_row_number", path)]
        assert etags == sorted(etags)
        assert (len(etags), etags[0], etags[-1]) == (file.rows, file.first_etag, file.last_etag)


def tally(members: list[tuple[str | None, str, str, int, bytes]]) -> dict[str, dict[str, object]]:
    """The definition, in a few lines of its own: for each collection the count, the bytes, and the sum of digests.

    The digest of a member is SHA-256 over two little-endian 32-bit lengths (of id and metadata), id, metadata, body.
    """
    groups: dict[str, tuple[int, int, int]] = {}
    for collection, id, metadata, size, body in members:
        head = struct.pack("<II", len(id.encode()), len(metadata.encode()))
        digest = hashlib.sha256(head + id.encode() + metadata.encode() + body).digest()
        count, total, digests = groups.get(collection or "", (0, 0, 0))
        groups[collection or ""] = count + 1, total + size, (digests + int.from_bytes(digest, "big")) % 2**256
    return {
        collection: {"count": count, "bytes": size, "digest": f"{digests:064x}"}
        for collection, (count, size, digests) in groups.items()
    }


def test_the_fingerprint_is_what_its_definition_says(shop: Backup) -> None:
    query = "SELECT collection, id, metadata, strlen(document), document FROM FILES WHERE document IS NOT NULL"
    found = rows(query, shop.folder / "documents-*.parquet")
    fingerprint = {"documents": tally([(*row[:4], row[4].encode()) for row in found])}
    query = "SELECT collection, id, metadata, size, sha256 FROM FILES WHERE part = 0 AND size IS NOT NULL"
    fingerprint["attachments"] = tally(
        [(*row[:4], row[4]) for row in rows(query, shop.folder / "attachments-*.parquet")]
    )
    assert fingerprint == json.loads((shop.folder / "manifest.json").read_bytes())["fingerprint"]
    assert set(fingerprint["documents"]) > {"Orders", "Companies", "Employees", ""}
    assert set(fingerprint["attachments"]) == {"Photos", ""}


def test_the_parts_of_an_attachment_are_its_content(shop: Backup) -> None:
    query = "SELECT id, size, sha256, part, data FROM FILES WHERE size IS NOT NULL ORDER BY id, part"
    contents: dict[str, bytes] = {}
    for id, size, sha256, part, data in rows(query, shop.folder / "attachments-*.parquet"):
        contents[id] = contents.get(id, b"") + data
        assert part == (len(contents[id]) - len(data)) >> 20
        if len(contents[id]) == size:
            assert hashlib.sha256(contents[id]).digest() == sha256
    assert {id: len(content) for id, content in contents.items()} == {
        "photos/1": 1, "photos/2": 1 << 20, "photos/3": 2_500_000, "loose": 1
    }  # fmt: skip
