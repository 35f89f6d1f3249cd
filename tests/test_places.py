"""Where databases may be: never inside another one's folder, by whatever way or spelling somebody comes there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from shutil import copytree

import pytest

from muniment import DocumentDatabase, MaintenanceActions
from muniment.errors import InvalidInput
from muniment.moving import move
from muniment.storage.location import location_of
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
