"""Every version of a document over all backups."""

from __future__ import annotations

from pathlib import Path

from muniment import DocumentDatabase
from muniment.backup.repository import backups
from muniment.backup.versions import versions_of


def test_every_version_with_the_backups_that_hold_it(database: DocumentDatabase, tmp_path: Path) -> None:
    database.configure({"Muniment/History": "true"})
    folder = tmp_path / "backups"

    def back_up(place: Path = folder) -> str:
        return database.maintenance.start_backup(place, incremental=True).wait().name

    database.put("Orders/1", b'{"n":1.10}', {"by": "Anna"})
    first = back_up()
    database.put("other", {})
    database.put("orders/1", {"n": 2})
    database.put("orders/1", {"n": 3})
    second = back_up()
    database.delete("orders/1")
    third = back_up()
    found = versions_of("ORDERS/1", backups(folder))
    assert [(version.etag, version.body, version.deleted, version.backups) for version in found] == [
        (1, b'{"n":1.10}', False, (first,)),
        (3, b'{"n":2}', False, (second,)),
        (4, b'{"n":3}', False, (second,)),
        (5, None, True, (third,)),
    ]
    assert found[0].metadata == b'{"by":"Anna"}'
    assert [version.id for version in found] == ["Orders/1"] * 4
    assert found[0].modified < found[1].modified < found[2].modified
    assert versions_of("orders", backups(folder)) == []


def test_attachments_have_versions_too(small: DocumentDatabase, tmp_path: Path) -> None:
    small.put_attachment("photos/1", bytes(3_000_000))
    for place in ("one", "two"):
        small.maintenance.start_backup(tmp_path / place).wait()
    (version,) = versions_of("PHOTOS/1", [*backups(tmp_path / "one"), *backups(tmp_path / "two")])
    assert (version.kind, version.size, version.body, len(version.backups)) == (1, 3_000_000, None, 2)
