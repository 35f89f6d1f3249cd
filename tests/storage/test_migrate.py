"""A database of format 1 is brought over when it is opened for writing: exactly, and safely when it is killed."""

from __future__ import annotations

import gzip
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from muniment import DocumentDatabase
from muniment.document import fold
from muniment.errors import DamagedDatabase, UnknownFormat
from muniment.storage.base import BackupPlace
from muniment.storage.sqlite.compact import compact
from muniment.storage.sqlite.files import FILE
from muniment.storage.sqlite.pins import outside_pin
from muniment.storage.sqlite.store import SqliteStorage
from tests.clock import Clock
from tests.data.make_database_sample import IDS
from tests.sampled import some
from tests.storage.raw import number, raw, rows
from tests.waiting import until

SAMPLE = Path(__file__).parent.parent / "data" / "database-format-1.db.gz"
# Everything of a row but the digest, which format 1 did not have.
LOG = "SELECT etag, kind, id, collection, modified, metadata, body, content FROM log ORDER BY etag"
CURRENT = "SELECT kind, ifnull(spelling, key), etag, collection, size, digest FROM current ORDER BY etag"
KEPT = (
    *(LOG, CURRENT, "SELECT * FROM dead ORDER BY etag", "SELECT * FROM content", "SELECT * FROM part"),
    "SELECT * FROM fingerprint WHERE kind >= 0 ORDER BY kind, collection",
    "SELECT name, value FROM state WHERE name NOT IN ('lineage', 'lineages', 'counted_from', 'digest') ORDER BY name",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / FILE).write_bytes(gzip.decompress(SAMPLE.read_bytes()))
    return folder


def kept(folder: Path) -> list[list[tuple[Any, ...]]]:
    return [rows(folder, query) for query in KEPT]


def test_nothing_is_changed_but_what_format_1_lacks(folder: Path, clock: Clock) -> None:
    before = kept(folder)
    assert number(folder, "PRAGMA user_version") == 1
    [(lineage,)] = rows(folder, "SELECT value FROM state WHERE name = 'lineage'")
    # Pinned, or the history that is in a backup is purged meanwhile.
    with outside_pin(folder), DocumentDatabase(folder, clock=clock) as database:
        assert database.check() == []
        assert database.settings == {"Muniment/History": "true", "Colour": "grün"}
        identity = database.storage.identity
        assert identity.lineage == lineage
        assert identity.lineages == ()  # where it came from is not known
        assert database.storage.backup_facts().last == BackupPlace("/srv/backups", 48, 1_790_002_400_000_000)
        assert database.snapshot().rows.count == number(folder, "SELECT count(*) FROM log") == 50
    assert number(folder, "PRAGMA user_version") == 3
    assert kept(folder) == before
    with DocumentDatabase(folder, create=False, read_only=True) as again:
        assert again.check() == []


def test_the_tables_are_those_of_a_new_database(folder: Path, tmp_path: Path) -> None:
    SqliteStorage(folder, clock=Clock()).close()
    DocumentDatabase(tmp_path / "new").close()
    query = "SELECT type, name, tbl_name FROM sqlite_schema ORDER BY name"
    assert rows(folder, query) == rows(tmp_path / "new", query)
    for _, name, _ in rows(folder, query):
        columns = f"SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_info('{name}')"
        assert rows(folder, columns) == rows(tmp_path / "new", columns)


def test_ids_are_found_by_the_rule_of_now(folder: Path, clock: Clock) -> None:
    with DocumentDatabase(folder, clock=clock) as database:
        for id in IDS:
            found = database.get(id)
            assert (found is None) == (id == "ﬁ")  # which is deleted
            assert found is None or found.id == id
        assert database.get("a/ss") is None  # in format 1 it was "a/ß"
        assert database.get("STRASSE") is None
        assert database.get("ünÏ/ö") is not None
        assert database.put("A/SS", {}).existed is False
        assert database.put("A/ß", {}).id == "a/ß"
        assert database.put("ﬁ", {}).existed is False
        photo = database.get_attachment("PHOTOS/ß")
        assert photo is not None
        assert photo.key == "Photos/ß"
        assert database.check() == []
    keys = dict(rows(folder, "SELECT ifnull(spelling, key), key FROM current WHERE kind = 0"))
    assert all(key == fold(id) for id, key in keys.items())


def test_reading_alone_does_not_change_the_file(folder: Path) -> None:
    before = (folder / FILE).read_bytes()
    with pytest.raises(UnknownFormat) as caught:
        DocumentDatabase(folder, create=False, read_only=True)
    assert "muniment backup FOLDER" in caught.value.hint
    assert (folder / FILE).read_bytes() == before
    compact(folder)
    with DocumentDatabase(folder, create=False, read_only=True) as database:
        assert database.check() == []


def test_a_rotten_document_is_still_told_afterwards(folder: Path, clock: Clock) -> None:
    with raw(folder) as connection:
        connection.execute("UPDATE log SET body = x'7b7d' WHERE id = 'Orders/7'")
    with DocumentDatabase(folder, clock=clock) as database:
        assert any("'Orders/7'" in sentence for sentence in database.check())


def test_damage_is_an_error_of_ours(folder: Path) -> None:
    with raw(folder) as connection:
        connection.execute("UPDATE log SET kind = 7 WHERE id = 'Orders/7'")
    before = kept(folder)
    with pytest.raises(DamagedDatabase):
        SqliteStorage(folder, clock=Clock())
    assert kept(folder) == before
    assert number(folder, "PRAGMA user_version") == 1


def migrate_slowly(folder: Path) -> None:
    SqliteStorage(folder, clock=Clock()).close()


def many(folder: Path) -> None:
    """So much that bringing it over takes a while."""
    with raw(folder) as connection, connection:
        [last] = connection.execute("SELECT max(etag) FROM log").fetchone() or (0,)
        query = """WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)
            INSERT INTO {} FROM n"""
        body = "CAST('{\"text\":\"' || hex(zeroblob(400)) || '\"}' AS BLOB)"
        modified = 1_790_010_000_000_000
        log = query.format(
            f"log SELECT {last} + i, 0, 'many/ß' || i, NULL, {modified}, CAST('{{}}' AS BLOB), {body}, NULL"
        )
        connection.execute(log)
        current = f"current SELECT 0, 'many/ss' || i, 'many/ß' || i, {last} + i, NULL, 811, zeroblob(32)"
        connection.execute(query.format(current))


@some(2)
@pytest.mark.parametrize("after", [0.02, 0.15, 0.3, 0.5])
def test_killed_in_the_middle(folder: Path, after: float) -> None:
    many(folder)
    before = kept(folder)
    process = multiprocessing.get_context("spawn").Process(target=migrate_slowly, args=(folder,))
    process.start()
    assert process.pid
    until(lambda: (folder / f"{FILE}-wal").exists() or not process.is_alive())
    time.sleep(after)
    process.kill()  # if it has not ended
    process.join()
    version = number(folder, "PRAGMA user_version")
    assert kept(folder) == before
    missing = Counter(rows(folder, "SELECT name FROM pragma_table_info('log') WHERE name = 'digest'"))
    assert sum(missing.values()) == (version == 2)
    SqliteStorage(folder, clock=Clock()).close()
    assert kept(folder) == before
    assert number(folder, "PRAGMA user_version") == 3
    assert number(folder, "SELECT count(*) FROM log WHERE octet_length(digest) = 32") == 40_050


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    yield
    assert apsw.connections() == []
