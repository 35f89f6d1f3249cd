"""Database files that earlier versions have written: everything in them is found as it was."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from muniment import DocumentDatabase
from muniment.storage.sqlite.files import FILE
from tests.clock import Clock

DATA = Path(__file__).parent.parent / "data"


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_database_of_each_format_is_taken_over_whole(number: int, tmp_path: Path, clock: Clock) -> None:
    (tmp_path / FILE).write_bytes(gzip.decompress((DATA / f"database-format-{number}.db.gz").read_bytes()))
    with DocumentDatabase(tmp_path, clock=clock) as database:
        assert database.check() == []
        assert database.settings == {"Muniment/History": "true", "Colour": "grün"}
        bodies = {id: found.body for id in ("ORDERS/1", "orders/3", "large") if (found := database.get(id))}
        assert bodies == {
            "ORDERS/1": b'{"after":"the backup"}',
            "orders/3": b'{"back":true}',
            "large": b'{"text":"%s"}' % (b"x" * 20_000),
        }
        assert database.get("orders/5") is None
        photo = database.get_attachment("PHOTOS/1")
        assert photo is not None
        assert b"".join(photo.chunks()) == b"replaced"
        database.put("orders/20", b"{}")
        backup = database.maintenance.start_backup(tmp_path.with_name(f"{tmp_path.name}-backups")).wait()
        assert backup.manifest.fingerprint_at_snapshot() == database.snapshot().fingerprint


def test_ids_and_owners_of_format_2(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / FILE).write_bytes(gzip.decompress((DATA / "database-format-2.db.gz").read_bytes()))
    with DocumentDatabase(tmp_path, clock=clock) as database:
        assert database.snapshot().fingerprint.short() == "89c6391da3cf1252"
        assert {id: found.body for id in ("a/ß", "A/SS") if (found := database.get(id))} == {
            "a/ß": b'{"first":0}',
            "A/SS": b'{"a":2}',
        }
        owned = database.get_attachment("a/photo.png", owner="orders/7")
        assert owned is not None
        assert b"".join(owned.chunks()) == b"owned"
