"""The rows of the log are counted by spans of etags, so that a part of it from which some are missing is noticed."""

from __future__ import annotations

import gzip
from pathlib import Path

from muniment import Delete, DocumentDatabase, Put
from muniment.storage.sqlite.files import FILE
from muniment.storage.sqlite.spans import SPAN_BITS
from tests.storage.raw import number, raw, rows

SPAN = 1 << SPAN_BITS
COUNTS = "SELECT collection, count FROM fingerprint WHERE kind = -2 ORDER BY collection"


def test_each_row_is_counted_once_until_it_is_purged(tmp_path: Path) -> None:
    with DocumentDatabase(tmp_path / "shop") as database:
        database.batch([Put(f"a/{n}", {}) for n in range(2 * SPAN + 10)])
        for _ in range(3):
            database.put("a/0", {})
        database.storage.purge()
        assert database.check() == []
        assert [count for _, count in rows(tmp_path / "shop", COUNTS)] == [SPAN - 2, SPAN, 12]
        assert database.storage.lost(0, 2 * SPAN + 13) == 0
        database.batch([Delete(f"a/{n}") for n in range(SPAN, 2 * SPAN)])
        database.storage.purge()
        assert database.check() == []
        assert [count for _, count in rows(tmp_path / "shop", COUNTS)] == [SPAN - 2, 1, SPAN - 3, 14]
    with raw(tmp_path / "shop") as connection:
        connection.execute("DELETE FROM log WHERE etag = 10")
    with DocumentDatabase(tmp_path / "shop", create=False) as database:
        assert [database.storage.lost(after, 3 * SPAN) for after in (0, 100, SPAN - 1, SPAN)] == [1, 1, 0, 0]
        assert any("etags 0 to 4095" in sentence for sentence in database.check())


def test_a_span_that_is_empty_is_forgotten(tmp_path: Path) -> None:
    with DocumentDatabase(tmp_path / "shop") as database:
        for _ in range(3):
            database.batch([Put(f"a/{n}", {}) for n in range(SPAN)])
        database.storage.purge()
        assert database.check() == []
    assert sum(count for _, count in rows(tmp_path / "shop", COUNTS)) == SPAN
    assert number(tmp_path / "shop", "SELECT count(*) FROM fingerprint WHERE kind = -2 AND count = 0") == 0


def test_a_file_of_format_2_is_counted_from_its_last_span_on(tmp_path: Path) -> None:
    data = Path(__file__).parents[1] / "data" / "database-format-2.db.gz"
    (tmp_path / FILE).write_bytes(gzip.decompress(data.read_bytes()))
    with DocumentDatabase(tmp_path, create=False, read_only=True) as database:  # which changes nothing
        assert database.check() == []
        assert database.storage.lost(0, database.storage.last_etag) == 0
    assert number(tmp_path, "PRAGMA user_version") == 2
    with DocumentDatabase(tmp_path, create=False) as database:
        database.put("new", {})
        database.storage.purge()
        assert database.check() == []
        held = number(tmp_path, "SELECT count(*) FROM log")
    assert number(tmp_path, "PRAGMA user_version") == 3
    assert [count for _, count in rows(tmp_path, COUNTS)] == [held]
    with raw(tmp_path) as connection:
        connection.execute("DELETE FROM log WHERE etag IN (SELECT etag FROM log ORDER BY etag DESC LIMIT 1 OFFSET 1)")
    with DocumentDatabase(tmp_path, create=False) as database:
        assert database.storage.lost(0, 10**6) == 1
