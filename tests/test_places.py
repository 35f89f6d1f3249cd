"""Where databases may be: never inside another one's folder, by whatever way or spelling somebody comes there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from shutil import copytree, rmtree

import pytest

from muniment import DocumentDatabase, MaintenanceActions
from muniment.errors import InvalidInput, StorageFailure
from muniment.moving import move
from muniment.storage.location import location_of
from muniment.storage.sqlite.store import SqliteStorage
from tests.cli.process import muniment
from tests.once import copy_of_once
from tests.postgres_server import Postgres
from tests.server.running import running


def _make(folder: Path) -> None:
    with DocumentDatabase(folder / "shop") as shop:
        shop.put("orders/1", {"n": 1})
        shop.maintenance.start_backup(folder / "backups").wait()


@pytest.fixture
def shop(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database in `shop`, its backups in `backups`, and ways to come into it."""
    copy_of_once(tmp_path_factory, "places", _make, tmp_path)
    (tmp_path / "shop" / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "shop")
    (tmp_path / "to-inner").symlink_to(tmp_path / "shop" / "inner")
    return tmp_path / "shop"


def _names(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.name != "muniment.lock"}


INSIDE = ["shop/inner", "shop/deep/er", "shop/new/../other", "shop/empty", "link/inner", "to-inner"]


@pytest.mark.parametrize("spelled", INSIDE)
def test_no_database_is_made_inside_another(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelled: str
) -> None:
    monkeypatch.chdir(tmp_path)
    before = _names(tmp_path)
    ways: list[Callable[[str | Path], object]] = [DocumentDatabase, partial(MaintenanceActions.restore, "backups")]
    for way in ways:
        for place in (spelled, tmp_path / spelled):
            with pytest.raises(InvalidInput, match="inside the database") as caught:
                way(place)
            assert str(shop) in caught.value.message
            assert "outside" in caught.value.hint
    assert _names(tmp_path) == before


def test_a_database_may_be_above_others_beside_them_and_where_it_is_already(shop: Path, tmp_path: Path) -> None:
    DocumentDatabase(shop / ".." / "beside").close()
    MaintenanceActions.restore(tmp_path / "backups", shop / ".." / "shop-again")
    inner = tmp_path / "group" / "inner"
    DocumentDatabase(inner).close()
    DocumentDatabase(tmp_path / "group").close()  # as some have them already
    with DocumentDatabase(inner) as database:
        database.put("a", {})
    with pytest.raises(InvalidInput, match="inside the database"):
        DocumentDatabase(tmp_path / "group" / "second")


@pytest.mark.parametrize("name", ["~/shop", "s3://bucket/shop", "C:\\shop", "file:///shop"])
def test_no_database_is_made_in_a_folder_that_has_the_name_of_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput):
        DocumentDatabase(name)
    assert not list(tmp_path.iterdir())


def test_no_command_makes_one_there(shop: Path, tmp_path: Path) -> None:
    before = _names(tmp_path)
    for command in (["create"], ["restore", tmp_path / "backups", "--to"], ["sample"]):
        ended = muniment(*command, shop / "inner")
        assert (ended.code, "inside the database" in ended.err) == (2, True), ended.err
    assert _names(tmp_path) == before


def test_a_move_makes_none_there(shop: Path, tmp_path: Path, postgres: Postgres) -> None:
    schema = location_of(postgres.address())
    with DocumentDatabase(schema) as database:
        database.put("a", {})
    before = _names(tmp_path)
    with pytest.raises(InvalidInput, match="inside the database"):
        move(schema, tmp_path / "link" / "back")
    assert _names(tmp_path) == before


def test_a_server_makes_none_there_whoever_the_database_around_belongs_to(shop: Path, tmp_path: Path) -> None:
    """An embedded one in the data folder, of which no document tells."""
    with running(tmp_path / "data") as server:
        copytree(shop, tmp_path / "data" / "embedded")
        shop_there = server.create("shop")
        shop_there.put("a")
        assert not shop_there.backup("~/Backups")["Faulted"]
        before = _names(tmp_path / "data" / "embedded")
        for folder in ("~/embedded/inner", "~/embedded/x/../inner"):
            answer = server.client.put("/admin/databases/inner", json={"Settings": {"Raven/DataDir": folder}})
            assert answer.status_code == 400
            assert "inside the database" in answer.text
            wanted = {"BackupLocation": "~/Backups", "DatabaseName": "inner", "DatabaseLocation": folder}
            for way in ("/admin/restore", "/admin/restore/plan"):
                answer = server.client.post(way, json=wanted)
                assert answer.status_code == 400
                assert "inside the database" in answer.text
        assert _names(tmp_path / "data" / "embedded") == before
        assert server.client.get("/databases").json() == ["shop"]


def test_no_server_begins_in_the_folder_of_a_database(shop: Path) -> None:
    ended = muniment("server", "--data-dir", shop, "--port", "0")
    assert (ended.code, "inside the database" in ended.err) == (2, True), ended.err
    assert not (shop / "System").exists()


def test_an_open_database_stays_the_same_wherever_the_program_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it goes there is another one of the same name."""
    for place in ("here", "there"):
        with DocumentDatabase(tmp_path / place / "shop") as shop:
            shop.put("orders/1", {"in": place})
    monkeypatch.chdir(tmp_path / "here")
    with DocumentDatabase("shop") as shop:
        assert isinstance(shop.storage, SqliteStorage)
        monkeypatch.chdir(tmp_path / "there")
        shop.put("orders/2", {})
        with shop.storage._reads.connection():  # so that another one is opened
            assert [each.json() for each in shop.by_prefix("orders/")] == [{"in": "here"}, {}]
        shop.put_attachment("photo", b"x" * 3_000_000)
        assert shop.check() == []
        taken = shop.maintenance.start_backup(tmp_path / "backups").wait()
        assert taken.manifest.fingerprint_at_snapshot() == shop.snapshot().fingerprint
        shop.delete("orders/2")
        shop.maintenance.restore_into(tmp_path / "backups", on_conflict="overwrite")
        assert shop.maintenance.recoverability().name == "shop"
    assert not (tmp_path / "there" / "backups").exists()
    with DocumentDatabase("shop") as other:
        assert [each.json() for each in other.by_etag()] == [{"in": "there"}]


def test_a_current_folder_that_is_there_no_more_is_said(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    code = "import os, sys; os.rmdir(os.getcwd()); from muniment.__main__ import main; sys.exit(main())"
    for command in (["create", "shop"], ["statistics", "shop"]):
        (tmp_path / "gone").mkdir(exist_ok=True)
        ended = subprocess.run(
            [sys.executable, "-c", code, *command], cwd=tmp_path / "gone", capture_output=True, text=True
        )
        assert ended.returncode in (3, 8), ended.stderr
        assert "there is no database in shop" in ended.stderr or "there no more" in ended.stderr


@pytest.mark.parametrize("moved", ["the folder", "one above it", "removed"])
def test_a_database_whose_folder_became_another_ones_leaves_that_one_alone(tmp_path: Path, moved: str) -> None:
    """Its first write comes only then."""
    folder = tmp_path / "above" / "shop"
    with DocumentDatabase(folder) as shop:
        for n in range(9):
            shop.put(f"orders/{n}", {})
    shop = DocumentDatabase(folder)
    if moved == "removed":
        rmtree(folder)
    else:
        gone = folder if moved == "the folder" else folder.parent
        gone.rename(tmp_path / "moved")
    with DocumentDatabase(folder) as new:
        new.put("mine", {})
    for _ in range(2):
        with pytest.raises(StorageFailure, match="was replaced while the database was open"):
            shop.put("late", {})
    shop.close()
    with DocumentDatabase(folder) as new:
        assert [each.id for each in new.by_etag()] == ["mine"]
        assert new.check() == []


@pytest.mark.parametrize("read_only", [False, True])
def test_nothing_is_read_of_a_database_that_took_the_place_of_an_open_one(tmp_path: Path, read_only: bool) -> None:
    folder = tmp_path / "shop"
    with DocumentDatabase(folder) as shop:
        shop.put("orders/1", {"in": "old"})
    with DocumentDatabase(folder, read_only=read_only) as shop:
        assert isinstance(shop.storage, SqliteStorage)
        assert shop.get("orders/1") is not None
        folder.rename(tmp_path / "moved")
        with DocumentDatabase(folder) as new:
            new.put("orders/1", {"in": "new"})
        with (
            shop.storage._reads.connection(),  # so that another one is opened
            pytest.raises(StorageFailure, match="was replaced while the database was open"),
        ):
            shop.by_prefix("orders/")
        assert [each.json() for each in shop.by_prefix("orders/")] == [{"in": "old"}]
    with DocumentDatabase(folder) as new:
        assert [each.json() for each in new.by_etag()] == [{"in": "new"}]
