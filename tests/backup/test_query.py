"""SQL over a moment of the backups gives what a restore of that moment would hold, and can reach nothing else."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from muniment import DocumentDatabase, MaintenanceActions, Progress
from muniment.backup.repository import Backup
from muniment.errors import Cancelled, DamagedBackup, InvalidInput
from tests.backup.state import opened, tree

pytest.importorskip("duckdb")

DOCUMENTS = "SELECT id, collection, etag, modified, metadata, document FROM documents"
ATTACHMENTS = "SELECT id, collection, etag, modified, metadata, size, sha256 FROM attachments"
# Two spellings of one id each: what Python folds and DuckDB's lower() does not.
SPELLINGS = [("straße/1", "STRASSE/1"), ("İ/1", "i̇/1"), ("ΣΑΣ", "σας"), ("ﬁle", "FILE"), ("a\0B", "A\0b")]


def ask(source: Path, sql: str, **options: Any) -> list[tuple[Any, ...]]:
    answer = MaintenanceActions.query(source, sql, **options)
    assert answer.whole
    return answer.rows


def assert_like_a_restore(source: Path, place: Path, **moment: Any) -> None:
    """The views show what a database restored from there has."""
    restored = MaintenanceActions.restore(source, place, **moment)
    with opened(restored.folder) as database:
        documents = database.by_etag(limit=10_000)
        attachments = sorted(database.attachments(limit=10_000), key=lambda found: found.etag)
    answer = MaintenanceActions.query(source, f"{DOCUMENTS} ORDER BY etag", **moment)
    assert answer.moment == restored.moment
    assert answer.rows == [
        (
            found.id,
            found.metadata.get("Raven-Entity-Name"),
            found.etag,
            found.changed.replace(tzinfo=None),
            found.metadata_json.decode(),
            found.body.decode(),
        )
        for found in documents
    ]
    assert ask(source, f"{ATTACHMENTS} ORDER BY etag", **moment) == [
        (
            found.key,
            found.metadata.get("Raven-Entity-Name"),
            found.etag,
            found.changed.replace(tzinfo=None),
            found.metadata_json.decode(),
            found.size,
            found.sha256,
        )
        for found in attachments
    ]


def test_a_full_backup(backup: Backup, tmp_path: Path) -> None:
    assert_like_a_restore(backup.folder.parent, tmp_path / "restored")


def test_every_transaction_of_a_chain(small: DocumentDatabase, tmp_path: Path) -> None:
    backups, moments = tmp_path / "we[i]rd * 'a=1'?", []
    small.configure({"Muniment/History": "true"})
    for one, other in SPELLINGS:
        small.put(one, {"spelling": 1})
        small.put_attachment(other, b"1" * 3_000_000)
    small.maintenance.start_backup(backups).wait()
    for one, other in SPELLINGS:
        small.put(other, {"spelling": 2}, {"Raven-Entity-Name": "Odd"})
        small.delete_attachment(one)
        moments.append(small.snapshot().etag)
    small.delete("orders/1")
    small.maintenance.start_backup(backups, incremental=True).wait()
    small.put("orders/1", b'{"n":1e400,"lone":"\\ud800"}')
    small.put_attachment("photos/3", b"back")
    moments.append(small.snapshot().etag)
    small.maintenance.start_backup(backups, incremental=True).wait()
    for number, etag in enumerate(moments):
        assert_like_a_restore(backups, tmp_path / f"restored {number}", etag=etag)


def test_two_lineages_in_one_folder(small: DocumentDatabase, backup: Backup, tmp_path: Path) -> None:
    source = backup.folder.parent
    MaintenanceActions.restore(source, tmp_path / "again")
    with opened(tmp_path / "again") as again:
        again.put("orders/1", {"lines": "after the restore"})
        again.maintenance.start_backup(source, incremental=True).wait()
    small.put("orders/1", {"lines": "in the old lineage"})
    assert_like_a_restore(source, tmp_path / "newest")
    assert_like_a_restore(source, tmp_path / "old", backup=backup.name)


def test_a_database_without_attachments_or_documents(database: DocumentDatabase, tmp_path: Path) -> None:
    database.maintenance.start_backup(tmp_path / "backups").wait()
    assert ask(tmp_path / "backups", "SELECT (SELECT count(*) FROM documents), * FROM attachments") == []
    database.put("orders/1", {})
    database.maintenance.start_backup(tmp_path / "backups", incremental=True).wait()
    assert ask(tmp_path / "backups", "SELECT count(*) FROM documents") == [(1,)]
    assert_like_a_restore(tmp_path / "backups", tmp_path / "restored")


def test_documents_are_looked_into(backup: Backup) -> None:
    query = (
        "SELECT id, (document->>'$.price')::DECIMAL(9, 2) * 2 FROM documents WHERE collection = 'Orders' ORDER BY id"
    )
    assert [(id, str(price)) for id, price in ask(backup.folder, query)][:2] == [
        ("orders/1", "2.20"),
        ("orders/2", "2.20"),
    ]


def test_a_limit_is_kept_and_told(backup: Backup) -> None:
    query = "SELECT id FROM documents ORDER BY id"
    answer = MaintenanceActions.query(backup.folder, query, limit=2)
    assert (answer.columns, answer.rows, answer.whole) == (["id"], [("companies/1",), ("loose",)], False)
    assert MaintenanceActions.query(backup.folder, query, limit=6).whole
    for limit in (0, -1, 10**9 + 1, 1 << 64):
        with pytest.raises(InvalidInput, match=f"{limit} rows"):
            MaintenanceActions.query(backup.folder, query, limit=limit)
    assert MaintenanceActions.query(backup.folder, query, limit=10**9).whole


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('{secret}')",
        "SELECT * FROM read_csv('{secret}')",
        "SELECT * FROM '{secret}'",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM 'http://127.0.0.1:9/a.parquet'",
        "SELECT * FROM query('SELECT * FROM read_text(''{secret}'')')",
        "COPY (SELECT 1) TO '{file}'",
        "COPY (SELECT 1) TO '{folder}/new.csv'",
        "ATTACH '{folder}/new.db'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SELECT 1; COPY (SELECT 1) TO '{file}'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{file}'",
        "EXPORT DATABASE '{folder}'",
        "CREATE TABLE t AS SELECT 1",
        "",
        "-- nothing",
        "SELEKT 1",
        "SELECT nothing FROM documents",
        "SELECT document::INTEGER FROM documents",
        "SELECT now() AS at",
        "SELECT \0",
        "SELECT '\udcff'",
    ],
)
def test_nothing_else_is_reached_and_nothing_written(backup: Backup, tmp_path: Path, sql: str) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("secret\n1\n")
    before = tree(tmp_path / "backups")
    file = next(backup.folder.glob("*.parquet"))
    with pytest.raises(InvalidInput) as refused:
        MaintenanceActions.query(backup.folder.parent, sql.format(secret=secret, folder=tmp_path, file=file))
    assert refused.value.hint
    assert "\n" not in refused.value.message
    assert tree(tmp_path / "backups") == before
    assert not (tmp_path / "new.csv").exists()


def test_damage_is_found_before_anything_is_shown(backup: Backup) -> None:
    file = next(backup.folder.glob("attachments-*.parquet"))
    file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:])
    with pytest.raises(DamagedBackup, match="SHA-256"):
        ask(backup.folder, "SELECT 1")


def test_a_query_is_cancelled(backup: Backup) -> None:
    progress = Progress()
    threading.Timer(0.3, progress.cancel).start()
    with pytest.raises(Cancelled):
        ask(
            backup.folder,
            "SELECT sum(hash(a.range * b.range)) FROM range(10000000) a, range(10000000) b",
            progress=progress,
        )


def test_without_duckdb_it_is_said_how_to_get_it(backup: Backup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(InvalidInput, match="not installed") as refused:
        ask(backup.folder, "SELECT 1")
    assert refused.value.hint == "pip install 'muniment[duckdb]'"
