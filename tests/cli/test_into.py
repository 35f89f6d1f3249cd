"""Moments and parts through a server, and restores into databases that there are: in a folder, and on a server."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from muniment import Delete, DocumentDatabase, DocumentStore, Put
from tests.cli.process import interrupted, muniment, on_terminal
from tests.cli.serving import serving
from tests.cli.test_commands import well
from tests.once import copy_of_once
from tests.sampled import some

ODD = b'{"price": 1.10 ,\n "name":"S\xc3\xa3o Paulo"}'
ORDERS = {"Raven-Entity-Name": "Orders"}


@dataclass(frozen=True)
class Place:
    """A folder with `shop`, which has lost one document, changed one and got one since its backup in `backups`."""

    folder: Path
    etag: int
    time: str

    @property
    def shop(self) -> Path:
        return self.folder / "shop"

    @property
    def backups(self) -> Path:
        return self.folder / "backups"

    def bodies(self) -> dict[str, bytes]:
        with DocumentDatabase(self.shop, create=False) as database:
            assert database.check() == []
            return {document.id: document.body for document in database.by_prefix("")}


def made(folder: Path) -> Place:
    """A place in this folder."""
    with DocumentDatabase(folder / "shop") as database:
        database.configure({"Muniment/History": "true"})
        database.put("orders/1", {"version": 1}, ORDERS)
        database.put("orders/2", ODD, ORDERS)
        database.maintenance.start_backup(folder / "backups").wait()
        database.put("orders/1", {"version": 2}, ORDERS)
        middle = database.get("orders/1")
        database.put("orders/1", {"version": 3}, ORDERS)
        database.maintenance.start_backup(folder / "backups", incremental=True).wait()
        database.delete("orders/2")
        database.put("orders/1", {"version": 4}, ORDERS)
        database.put("new", {})
    assert middle is not None
    return Place(folder, middle.etag, middle.last_modified)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return made(tmp_path)


@contextmanager
def serving_a_copy(place: Place, data: Path) -> Iterator[str]:
    """The URL of a server with a copy of `shop`, and an empty database `other`."""
    well("restore", place.backups, "--to", data / "shop")
    with serving(data) as (url, _), DocumentStore(url) as store:
        store.admin.create_database("shop", {"Raven/DataDir": "~/shop"})
        store.admin.create_database("other")
        yield url


def test_the_difference_comes_before_what_was_written(place: Place) -> None:
    said = well("restore", place.backups, "--to", place.shop, "--on-conflict=overwrite", "--yes").text
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert re.fullmatch(rf"To return {place.shop} to its state at \S+Z, etag 4: (.*)", lines[0])
    assert lines[1:8] == [
        *("(no collection) 1 to delete", "to delete new", "Orders 1 to add, 1 to change", "to add orders/2"),
        *("to change orders/1", f"Restored into {place.shop}", "written 1 added, 1 changed, 1 deleted"),
    ]
    assert place.bodies() == {"orders/1": b'{"version":3}', "orders/2": ODD}
    again = well("restore", place.backups, "--to", place.shop, "--on-conflict=fail").text
    assert f"{place.shop} is as it was at " in again
    assert "written      nothing" in again


def question(shown: str) -> bool:
    return "[y/N]" in shown


def test_overwriting_everything_is_asked_about(place: Place) -> None:
    line = ("restore", place.backups, "--to", place.shop, "--on-conflict=overwrite")
    before = place.bodies()
    refused = muniment(*line)
    assert (refused.code, refused.out) == (2, b"")
    assert "--yes" in refused.err
    no = on_terminal(*line, seen=question, typed="n\n")
    assert no.code == 130
    assert "Orders" in no.text  # the difference comes before the question
    assert f"Overwrite {place.shop}, 1 to be changed, 1 to be deleted? [y/N]" in no.err
    assert "nothing was changed" in no.err
    assert (
        on_terminal(*line, seen=question, then=lambda process: process.send_signal(signal.SIGINT), typed="").code == 130
    )
    assert place.bodies() == before
    yes = on_terminal(*line, "--json", seen=question, typed="y\n")
    assert (yes.code, yes.json["written"]) == (0, 3)
    assert place.bodies() == {"orders/1": b'{"version":3}', "orders/2": ODD}
    same = on_terminal(*line, seen=question, typed="")
    assert (same.code, question(same.err)) == (0, False)  # nothing would be lost


def test_a_part_and_a_dry_run_are_not_asked_about(place: Place) -> None:
    line = ("restore", place.backups, "--to", place.shop, "--on-conflict=overwrite")
    well(*line, "--dry-run")
    well(*line, "--id", "orders/1")


def test_a_dry_run_says_all_and_writes_nothing(place: Place) -> None:
    before = place.bodies()
    line = ("restore", place.backups, "--to", place.shop, "--on-conflict=fail", "--dry-run", "--etag", str(place.etag))
    facts = well(*line, "--json").json
    with DocumentDatabase(place.shop):  # another process has it open
        assert well(*line, "--json").json["difference"] == facts["difference"]
    assert facts["difference"]["changes"][1]["changed"] == ["orders/1"]
    assert (facts["dry_run"], facts["written"], facts["difference"]["etag"]) == (True, None, place.etag)
    assert "Restored" not in well(*line).text
    assert place.bodies() == before


def test_fail_says_what_differs_and_ends_with_4(place: Place) -> None:
    before = place.bodies()
    ended = muniment("restore", place.backups, "--to", place.shop, "--on-conflict", "fail")
    assert ended.code == 4
    assert "orders/1 was changed, new was deleted" in ended.err
    assert "1 to add, 1 to change" in ended.text
    assert place.bodies() == before


def test_an_id_that_is_nowhere_and_a_part_of_a_moment(place: Place) -> None:
    line = ("restore", place.backups, "--to", place.shop, "--on-conflict=overwrite", "--id=orders/1", "--id=none")
    before = place.bodies()
    ended = muniment(*line, "--at", place.time)
    assert ended.code == 3
    assert "there is neither document nor attachment 'none'" in ended.err
    assert place.bodies() == before
    well(*line[:-1], "--at", place.time)
    assert place.bodies() == {"orders/1": b'{"version":2}', "new": b"{}"}


def test_long_lists_are_cut_in_text_and_whole_in_json(tmp_path: Path) -> None:
    with DocumentDatabase(tmp_path / "shop") as database:
        database.put("a", {})
        database.maintenance.start_backup(tmp_path / "b").wait()
        for number in range(30):
            database.put(f"n/{number}", {})
    line = ("restore", tmp_path / "b", "--to", tmp_path / "shop", "--on-conflict=skip")
    assert "and 20 more" in well(*line).text
    assert len(well(*line, "--json").json["difference"]["changes"][0]["deleted"]) == 30


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, str]]:
    """A place and the URL of its server, for commands that change nothing."""
    place = made(tmp_path_factory.mktemp("untouched"))
    with serving_a_copy(place, tmp_path_factory.mktemp("server") / "data") as url:
        yield place, url


@some(6)
@pytest.mark.parametrize(
    ("options", "code", "part"),
    [
        ("--to SHOP --on-conflict=maybe", 2, "'maybe' is not a way to treat differences"),
        ("--on-conflict=skip --dry-run", 2, "no database to restore into was named"),
        ("--on-conflict=skip", 2, "no place to restore to was named"),
        ("--to none --on-conflict=skip", 3, "no database in"),
        ("--to SHOP --on-conflict=skip --defrag", 2, "--defrag, --new-id, --new-key-file, --in-clear and --location"),
        ("--to new --other-database", 2, "--other-database is for"),
        ("--to SHOP --on-conflict=skip --etag 99", 3, "after the last backup"),
        ("--to SHOP --on-conflict=skip --id=", 2, "is empty"),
        ("--to SHOP", 4, "already exists"),
        ("--to SHOP --dry-run", 4, "already exists"),
        ("--server URL --on-conflict=skip", 2, "give --name"),
        ("--server URL --name none --on-conflict=skip", 3, "none"),
        ("--server URL --name shop --on-conflict=skip --backup none", 3, "no complete backup 'none'"),
        ("--server URL --name shop --on-conflict=maybe", 2, "'maybe' is not a way to treat differences"),
        ("--server URL --name then --etag 99", 3, "after the last backup"),
        ("--server URL --name shop --dry-run", 4, "existing database"),
        ("--server URL --name new --dry-run --at 2020-01-01T00:00:00Z", 3, "before the first backup"),
        ("--server URL --name new --etag 3 --at 2020-01-01T00:00:00Z", 2, "each name a moment"),
        ("--server URL --name other --on-conflict=skip", 4, "another database"),
    ],
)
def test_what_can_not_be(untouched: tuple[Place, str], options: str, code: int, part: str) -> None:
    place, url = untouched
    words = options.replace("SHOP", str(place.shop)).replace("URL", url).split()
    left = {path.name for path in place.folder.iterdir()}
    ended = muniment("restore", place.backups, *words, cwd=place.folder)
    assert ended.code == code, ended.err
    assert part in ended.err
    assert "Traceback" not in ended.err
    assert len(ended.err.splitlines()) == 2
    assert ended.out == b""
    assert {path.name for path in place.folder.iterdir()} == left


@pytest.fixture
def served(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving_a_copy(place, tmp_path_factory.mktemp("server") / "data") as url:
        yield url


def test_a_server_restores_a_moment_and_a_part(served: str, place: Place) -> None:
    local = well("restore", place.backups, "--etag", str(place.etag), "--dry-run", "--json").json
    line = ("restore", place.backups, "--server", served, "--name", "then", "--etag", str(place.etag))
    assert well(*line, "--dry-run", "--json").json == local
    assert f"etag {place.etag}" in well(*line, "--dry-run").text
    said = well(*line, "--id", "orders/1", "--quiet").text
    assert said.startswith(f"Restored a part of {place.backups} as then on {served}\n")
    with DocumentStore(served, "then") as store:
        document = store.get("orders/1")
        assert document is not None
        assert document.json() == {"version": 2}
        assert store.get("orders/2") is None


def test_into_a_database_of_a_server(served: str, place: Place) -> None:
    with DocumentStore(served, "shop") as store:
        store.delete("orders/2")
        store.put("orders/1", {"version": 9})
        line = ("restore", place.backups, "--server", served, "--name", "shop", "--on-conflict")
        compared = well(*line, "overwrite", "--dry-run").text
        assert "orders/2" in compared
        assert "Restored" not in compared
        facts = well(*line, "skip", "--json", "--quiet").json
        assert facts["difference"]["changes"][0]["added"] == ["orders/2"]
        assert (facts["written"], facts["on_conflict"], facts["database"]) == (1, "skip", "shop")
        failed = muniment(*line, "fail", "--quiet")
        assert (failed.code, "orders/1" in failed.text, "was changed" in failed.err) == (4, True, True)
        refused = muniment(*line, "overwrite")
        assert (refused.code, refused.out) == (2, b"")
        no = on_terminal(*line, "overwrite", seen=question, typed="\n")
        assert (no.code, no.text.count("orders/1"), "Restored" in no.text) == (130, 1, False)
        asked = on_terminal(*line, "overwrite", "--id-prefix=orders/2", "--json", seen=question, typed="")
        assert (asked.code, asked.json["written"]) == (0, 0)
        said = well(*line, "overwrite", "--quiet", "--yes").text
        assert said.index("1 to change") < said.index(f"Restored into shop on {served}")
        documents = store.get_many(["orders/1", "orders/2"])
        assert [document.body if document else None for document in documents] == [b'{"version":3}', ODD]
        assert documents[1] is not None
        assert documents[1].etag == facts["transaction"]


def _make_emptied(folder: Path) -> None:
    with DocumentDatabase(folder / "shop") as database:
        database.batch([Put(f"n/{n}", {"n": n, "text": "x" * 500}) for n in range(5_000)])
        database.maintenance.start_backup(folder / "b").wait()
        database.batch([Delete(f"n/{n}") for n in range(5_000)])


@some(1)
@pytest.mark.parametrize("stage", ["reading documents", "writing"])
def test_ctrl_c_leaves_the_database_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, stage: str
) -> None:
    copy_of_once(tmp_path_factory, "emptied", _make_emptied, tmp_path)
    with DocumentDatabase(tmp_path / "shop", create=False) as database:
        before = database.snapshot()
    ended = interrupted("restore", tmp_path / "b", "--to", tmp_path / "shop", "--on-conflict=skip", stage=stage)
    assert ended.code == 130
    with DocumentDatabase(tmp_path / "shop", create=False) as database:
        assert database.snapshot() == before
        assert database.maintenance.restore_into(tmp_path / "b", on_conflict="skip").written == 5_000
    assert not list((tmp_path / "shop").glob("restoring-*"))
