"""Databases that are moved from a folder into PostgreSQL while they are in use."""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any

import pytest

from muniment import DocumentDatabase, MaintenanceActions
from muniment.errors import Busy, Cancelled, DatabaseLocked, ForeignBackup, NotEvaluated, TargetExists
from muniment.moving import move
from muniment.progress import Progress
from muniment.security.encryption import new_key
from muniment.storage import engines
from muniment.storage.location import Address, location_of
from muniment.storage.sqlite.loader import Loader
from tests.postgres_server import Postgres
from tests.waiting import PATIENCE

HISTORY = {"Muniment/History": "true"}


def new_schema(postgres: Postgres) -> Address:
    """A schema that is not there."""
    target = location_of(postgres.address())
    assert isinstance(target, Address)
    return target


def filled(folder: Path, count: int = 300) -> DocumentDatabase:
    """A database with what there can be in one."""
    database = DocumentDatabase(folder)
    for n in range(count):
        database.put(f"Orders/{n}", {"n": n}, {"Raven-Entity-Name": "Orders"})
    database.put_attachment("photo", b"x" * 2_500_000)
    database.delete("orders/7")
    database.configure(HISTORY)
    return database


def change(database: DocumentDatabase, seed: int) -> None:
    """Everything that may happen to a document or an attachment."""
    choose = random.Random(seed)
    for n in choose.sample(range(320), 40):
        database.put(f"orders/{n}", {"again": seed}, {"Raven-Entity-Name": "Orders"})
    for n in choose.sample(range(320), 20):
        database.delete(f"orders/{n}")
    database.put_attachment("photo", b"%d" % seed)
    database.put_attachment(f"photo/{seed}", b"new")
    database.delete_attachment(f"photo/{seed - 1}")


def test_a_database_in_use_is_moved_and_goes_on_there(tmp_path: Path, postgres: Postgres) -> None:
    target = new_schema(postgres)
    database = filled(tmp_path / "shop")
    with pytest.raises(DatabaseLocked, match="still writes") as caught:
        move(tmp_path / "shop", target)
    assert "goes on" in caught.value.hint
    assert not engines.exists(target)
    for seed in range(3):  # each move that ends too early takes over what has changed
        change(database, seed)
        with pytest.raises(DatabaseLocked):
            move(tmp_path / "shop", target)
    change(database, 3)

    def stop() -> None:
        for seed in range(4, 8):
            change(database, seed)
        database.close()

    stopping = threading.Timer(0.2, stop)
    stopping.start()
    moved = move(tmp_path / "shop", target, wait=PATIENCE)
    stopping.join()
    with DocumentDatabase(tmp_path / "shop", read_only=True) as before, DocumentDatabase(target, create=False) as after:
        left, found = before.snapshot(), after.snapshot()
        assert (left.etag, left.modified, left.fingerprint) == (found.etag, found.modified, found.fingerprint)
        assert moved.fingerprint == left.fingerprint
        assert after.check() == []
        assert after.settings == HISTORY
        old, new = before.storage.identity, after.storage.identity
        assert new.database_id == old.database_id
        assert [each.lineage for each in new.lineages][:-1] == [each.lineage for each in old.lineages]
        assert new.lineages[-1].parent == old.lineage
        etag = after.put("orders/1", {"n": "there"}).etag
        assert etag == left.etag + 1
        after.storage.purge()
        assert after.check() == []
        after.maintenance.start_backup(tmp_path / "backups").wait()
        last = after.snapshot().fingerprint
    assert MaintenanceActions.restore(tmp_path / "backups", tmp_path / "back").fingerprint == last
    with pytest.raises(TargetExists, match="a move never writes over anything"):
        move(tmp_path / "shop", target)


def test_what_cannot_be_moved_is_said(tmp_path: Path, postgres: Postgres) -> None:
    target = new_schema(postgres)
    with filled(tmp_path / "shop", 3), pytest.raises(DatabaseLocked):
        move(tmp_path / "shop", target)
    with filled(tmp_path / "other", 3), pytest.raises(ForeignBackup, match="another database"):
        move(tmp_path / "other", target)
    with pytest.raises(NotEvaluated, match="from a folder into PostgreSQL or back"):
        move(tmp_path / "shop", tmp_path / "elsewhere")
    with engines.taking(target), pytest.raises(Busy, match="being moved"):
        move(tmp_path / "shop", target)
    assert move(tmp_path / "shop", target).etag > 0


def test_a_move_that_is_stopped_says_what_it_leaves(tmp_path: Path, postgres: Postgres) -> None:
    target, stopped = new_schema(postgres), Progress()
    stopped.cancel()
    with filled(tmp_path / "shop", 30) as database:
        with pytest.raises(Cancelled, match="while loading") as caught:
            move(tmp_path / "shop", target, progress=stopped)
        assert "nothing half done" in caught.value.hint
        assert schemas(postgres, target) == []
        with pytest.raises(DatabaseLocked):
            move(tmp_path / "shop", target)
        etag = database.last_etag
        database.put("orders/1", {"n": "later"})
        with pytest.raises(Cancelled, match="taking over") as caught:
            move(tmp_path / "shop", target, progress=stopped)
    assert f"all through etag {etag:,} is kept" in caught.value.hint
    assert "the same command goes on there" in caught.value.hint
    assert schemas(postgres, target) == [f"{target.schema}.moving"]
    postgres.execute(caught.value.hint.rpartition(": ")[2])
    assert schemas(postgres, target) == []
    assert move(tmp_path / "shop", target).etag == etag + 1


def schemas(postgres: Postgres, target: Address) -> list[str]:
    """That of the target, and those beside it."""
    names = postgres.execute("SELECT nspname FROM pg_namespace")
    return [str(name) for (name,) in names if str(name).startswith(target.schema)]


def test_a_database_is_moved_back_when_nobody_else_has_it_open(tmp_path: Path, postgres: Postgres) -> None:
    source, folder, key = new_schema(postgres), tmp_path / "back", new_key()
    with filled(tmp_path / "shop") as database:
        change(database, 1)
    move(tmp_path / "shop", source)
    with DocumentDatabase(source, create=False) as database:
        change(database, 2)
        with pytest.raises(DatabaseLocked, match="another process has") as caught:
            move(source, folder)
        assert "--wait" in caught.value.hint
        assert not folder.exists()
        left, old = database.snapshot(), database.storage.identity
    moved = move(source, folder, key=key)
    assert (moved.etag, moved.fingerprint) == (left.etag, left.fingerprint)
    with DocumentDatabase(folder, create=False, key=key) as after:
        found, new = after.snapshot(), after.storage.identity
        assert (found.etag, found.modified, found.fingerprint) == (left.etag, left.modified, left.fingerprint)
        assert after.check() == []
        assert after.settings == HISTORY
        assert (new.database_id, new.lineages[-1].parent) == (old.database_id, old.lineage)
        assert after.put("orders/1", {"n": "there"}).etag == left.etag + 1
    with pytest.raises(TargetExists, match="a move never writes over anything"):
        move(source, folder)
    with pytest.raises(NotEvaluated, match="or back"):
        move(source, new_schema(postgres))


def test_a_database_that_is_written_to_while_it_is_moved_back_is_not(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = new_schema(postgres)
    with DocumentDatabase(source) as database:
        database.put("a", {})
    finish = Loader.finish

    def written(loader: Loader, *args: Any, **options: Any) -> Any:
        with DocumentDatabase(source, create=False) as other:
            other.put("b", {})
        return finish(loader, *args, **options)

    monkeypatch.setattr(Loader, "finish", written)
    with pytest.raises(DatabaseLocked, match="meanwhile"):
        move(source, tmp_path / "back")
    assert list(tmp_path.iterdir()) == []


def test_a_load_that_was_interrupted_begins_again(tmp_path: Path, postgres: Postgres) -> None:
    target = new_schema(postgres)
    with filled(tmp_path / "shop", 20) as database:
        identity = database.storage.identity
    with engines.taking(target) as taking:  # as a process that was killed while it loaded leaves it
        engines.loader(taking.place, identity).close()
    assert move(tmp_path / "shop", target).rounds == 2
    with DocumentDatabase(target, create=False) as database:
        assert database.check() == []
