"""`muniment settings`, on a folder and on a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from muniment import DocumentDatabase
from muniment.client import DocumentStore
from tests.cli.process import muniment
from tests.cli.serving import serving
from tests.sampled import some

KEPT = ["Muniment/History=true", "Muniment/HistoryWindow=7d"]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("settings") / "data") as (url, _):
        with DocumentStore(url) as store:
            store.admin.create_database("shop", {"Mine": "kept"})
        yield url


@pytest.fixture(params=["folder", "url", "option"])
def place(request: pytest.FixtureRequest, url: str, tmp_path: Path) -> list[str]:
    """How a command names a database, with one setting that is nobody's."""
    if request.param == "folder":
        with DocumentDatabase(tmp_path / "shop") as database:
            database.configure({"Mine": "kept"})
        return [str(tmp_path / "shop")]
    with DocumentStore(url, "shop") as store:
        store.admin.configure({"Mine": "kept"}, replace=True)
    return [f"{url}/databases/shop"] if request.param == "url" else [url, "--database", "shop"]


def shown(place: list[str], *changes: str) -> dict[str, str]:
    ended = muniment("settings", *place, *changes, "--json")
    assert ended.code == 0, ended.err
    settings: dict[str, str] = ended.json["settings"]
    settings.pop("Raven/DataDir", None)
    return settings


@some(1)
def test_they_are_shown_and_changed(place: list[str]) -> None:
    text = muniment("settings", *place).text
    assert text.startswith("Settings of ")
    assert [line.split() for line in text.splitlines() if "Muniment/History " in line] == [
        ["Muniment/History", "false", "(default)"]
    ]
    assert shown(place) == {"Mine": "kept"}
    changed = muniment("settings", *place, *KEPT, "--json").json
    assert changed["changed"] is True
    assert changed["history"] == {"kept": True, "window_seconds": 7 * 86400, "tombstone_seconds": None}
    assert shown(place) == {"Mine": "kept", "Muniment/History": "true", "Muniment/HistoryWindow": "7d"}
    assert shown(place, "muniment/historywindow=") == {"Mine": "kept", "Muniment/History": "true"}
    assert "  Muniment/History  " in muniment("settings", *place, "Mine=").text
    assert shown(place) == {"Muniment/History": "true"}


@some(6)
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ("Muniment/Histroy=true", "did you mean Muniment/History?"),
        ("Muniment/HistoryWindow=7d", "set Muniment/History=true too"),
        ("Muniment/History=yes", "true or false"),
        ("Muniment/History", "'Muniment/History' is not a setting"),
        ("=true", "is not a setting"),
    ],
)
def test_what_would_do_nothing_is_refused(place: list[str], changes: str, said: str) -> None:
    ended = muniment("settings", *place, changes, "Mine=new", "--json")
    assert ended.code == 2, ended.err
    assert said in ended.err
    assert set(json.loads(ended.out)) == {"error", "hint", "type"}
    assert shown(place) == {"Mine": "kept"}


def test_what_is_switched_on_here_keeps_history(tmp_path: Path) -> None:
    with DocumentDatabase(tmp_path / "shop") as database:
        database.put("a", {"n": 1})
    assert muniment("settings", tmp_path / "shop", "Muniment/History=true").code == 0
    assert muniment("backup", tmp_path / "shop", "--dest", tmp_path / "b").code == 0
    with DocumentDatabase(tmp_path / "shop") as database:
        database.put("a", {"n": 2})
        database.put("a", {"n": 3})
    assert muniment("backup", tmp_path / "shop", "--dest", tmp_path / "b", "--incremental").code == 0
    assert muniment("restore", tmp_path / "b", "--to", tmp_path / "old", "--etag", "2").code == 0
    with DocumentDatabase(tmp_path / "old") as old:
        found = old.get("a")
        assert found is not None
        assert found.json() == {"n": 2}


@some(3)
@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("nowhere", 3, "there is no database in nowhere"),
        ("nowhere Muniment/History=true", 3, "there is no database in nowhere"),
        ("nowhere --database shop", 2, "--database is for"),
        ("URL", 2, "names no database"),
        ("URL/databases/nowhere", 3, "nowhere"),
        ("URL/databases/nowhere Mine=1", 3, "nowhere"),
        ("http://127.0.0.1:1 --database shop", 9, "does not answer"),
    ],
)
def test_places_that_are_none(url: str, tmp_path: Path, line: str, code: int, said: str) -> None:
    ended = muniment("settings", *line.replace("URL", url).split(), cwd=tmp_path)
    assert (ended.code, ended.out) == (code, b""), ended.err
    assert said in ended.err
    assert not list(tmp_path.iterdir())


def test_somebody_else_may_have_it_open_to_look_and_not_to_change(tmp_path: Path) -> None:
    with DocumentDatabase(tmp_path / "shop"):
        assert muniment("settings", tmp_path / "shop").code == 0
        assert muniment("settings", tmp_path / "shop", "Mine=1").code == 7


def test_those_of_a_servers_database_are_not_changed_behind_its_back(tmp_path: Path) -> None:
    """A server puts back what its own document says when it next opens the database."""
    data = tmp_path / "data"
    with serving(data) as (url, _), DocumentStore(url) as store:
        store.admin.create_database("my shop", {"Mine": "kept"})
        store.admin.create_database("moved", {"Raven/DataDir": "~/elsewhere/it"})
        for name in ("my shop", "moved"):
            with DocumentStore(url, name) as database:
                database.put("a", {})
    for folder, name in ((data / "Databases" / "my shop", "'my shop'"), (data / "elsewhere" / "it", "moved")):
        ended = muniment("settings", folder, "Mine=new")
        assert ended.code == 2, ended.text
        assert f"muniment settings URL --database {name} KEY=VALUE" in ended.err
        assert f"data folder {data}" in ended.err
        assert muniment("settings", folder, "--json").json["settings"].get("Mine") != "new"
    with DocumentDatabase(data / "mine"):  # that no server knows
        pass
    assert shown([str(data / "mine")], "Mine=new") == {"Mine": "new"}
