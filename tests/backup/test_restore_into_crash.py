"""Killed at any step, a restore into a database leaves that as it was or as it should be, and can begin again."""

from __future__ import annotations

from pathlib import Path

from muniment import DocumentDatabase, Put
from tests.backup import child
from tests.backup.state import Seen, opened, seen_by_readers
from tests.clock import SECOND, START, Clock
from tests.sampled import count, torture

APART = count(4, whole=1)


def assert_whole(copies: list[str], source: Path, before: Seen, after: Seen) -> int:
    """Each copy is in one of the two states, and the next restore brings it to the second. Returns how many were."""
    done = 0
    for copy in map(Path, copies):
        with opened(copy, Clock(START + 900 * SECOND, step=SECOND)) as database:
            found = seen_by_readers(database)
            assert found in (before, after)
            done += found == after
            assert {path.name.partition("-")[0] for path in copy.iterdir()} <= {
                "muniment.db",
                "muniment.lock",
                "muniment.reach",
            }
            database.maintenance.restore_into(source, on_conflict="overwrite")
            assert seen_by_readers(database) == after
    return done


def changed(database: DocumentDatabase, place: Path) -> tuple[Seen, Seen]:
    """Back the database up and change it; what it holds now and what a restore makes of it."""
    database.maintenance.start_backup(place).wait()
    after = seen_by_readers(database)
    for document in database.by_prefix("", limit=6_000):
        database.submit([Put(document.id, {"changed": 1})])
    for attachment in database.attachments(limit=1):
        database.delete_attachment(attachment.key)
    database.put("new", {})
    before = seen_by_readers(database)
    database.close()
    return before, after


@torture
def test_killed_at_each_step(small: DocumentDatabase, tmp_path: Path) -> None:
    before, after = changed(small, tmp_path / "backups")
    copies = child.run(
        "kill_into_at_steps",
        database=small.path,
        source=tmp_path / "backups",
        places=tmp_path / "places",
        apart=APART,
    )
    assert len(copies) > 25 // APART
    assert 0 < assert_whole(copies, tmp_path / "backups", before, after) < len(copies) // 2


@torture
def test_killed_at_random(database: DocumentDatabase, tmp_path: Path) -> None:
    database.batch(
        [Put(f"orders/{n}", b'{"n":%d,"t":"%b"}' % (n, b"0123456789" * 20)) for n in range(count(3_000, whole=10_000))]
    )
    database.put_attachment("photos/1", b"0123456789abcdef" * 250_000)
    before, after = changed(database, tmp_path / "backups")
    source, places = tmp_path / "backups", tmp_path / "places"
    copies = child.run(
        "kill_into_at_random", database=database.path, source=source, places=places, count=count(2, whole=12), seed=3
    )
    assert_whole(copies, source, before, after)
