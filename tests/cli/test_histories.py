"""Two histories in one folder: what is refused names commands that work, and inspect draws them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest

from muniment import DocumentDatabase
from tests.cli.process import muniment
from tests.cli.test_commands import well
from tests.sampled import some


@dataclass(frozen=True)
class Two:
    """A shop with history (etags 1 to 3) and a copy of its state at etag 1, which made an etag 2 too."""

    folder: Path
    backups: Path
    shop: str
    copy: str
    time: str


def put(folder: Path, text: str) -> str:
    with DocumentDatabase(folder) as database:
        database.put("orders/1", {"says": text})
        found = database.get("orders/1")
        assert found is not None
        return found.last_modified


def lineage_of(folder: Path) -> str:
    with DocumentDatabase(folder, create=False, read_only=True) as database:
        return database.statistics().lineage


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Two:
    place = tmp_path_factory.mktemp("two")
    shop, copy, backups = place / "shop", place / "copy", place / "backups"
    with DocumentDatabase(shop) as database:
        database.configure({"Muniment/History": "true"})
    put(shop, "first")
    well("backup", shop, "--dest", backups, "--incremental")
    well("restore", backups, "--to", copy)
    put(copy, "in the copy")
    put(shop, "second")
    well("backup", copy, "--dest", backups, "--incremental")
    time = put(shop, "third")
    well("backup", shop, "--dest", backups, "--incremental")
    return Two(place, backups, lineage_of(shop), lineage_of(copy), time)


def says(folder: Path) -> str:
    with DocumentDatabase(folder, create=False) as database:
        assert database.check() == []
        found = database.get("orders/1")
        assert found is not None
        return str(found.json()["says"])


def commands_in(hint: str) -> list[list[str]]:
    return [shlex.split(command)[1:] for command in re.findall(r"`(muniment [^`]*)`", hint)]


@some(1)
@pytest.mark.parametrize("moment", [[], ["--etag", "2"], ["--at", "TIME"]])
def test_what_two_histories_have_is_refused_with_commands_that_work(
    two: Two, tmp_path: Path, moment: list[str]
) -> None:
    with DocumentDatabase(two.folder / "copy", read_only=True) as database:
        time = database.statistics().last_changed.isoformat()
    line = [option.replace("TIME", time) for option in moment]
    ended = muniment("restore", str(two.backups), *line, "--to", str(tmp_path / "new"))
    assert (ended.code, ended.out) == (2, b"")
    commands = [command for command in commands_in(ended.err) if command[0] == "restore"]
    assert len(commands) == 2
    expected = {two.shop: "third" if not moment else "second", two.copy: "in the copy"}
    if moment and moment[0] == "--at":
        expected[two.shop] = "first"
    for number, command in enumerate(commands):
        target = tmp_path / str(number)
        well(*[str(target) if word == str(tmp_path / "new") else word for word in command])
        [lineage] = [id for id in expected if id.startswith(command[-1])]
        assert says(target) == expected[lineage]
    for other in ("rehearse", "verify") if moment else ("rehearse",):
        assert "--lineage" in muniment(other, str(two.backups), *line).err
    query = muniment("inspect", str(two.backups), "--query", "SELECT 1", *line)
    assert (query.code, "--lineage" in query.err) == (2, True)
    assert muniment("smuggler", "out", str(two.backups), str(tmp_path / "x.ndjson"), *line).code == 2


def test_differences_name_the_history_of_each_moment(two: Two) -> None:
    ended = muniment("inspect", str(two.backups), "--diff", "1", "2")
    assert (ended.code, "--lineage" in ended.err) == (2, True)
    points = (f"2@{two.copy[:8]}", f"2@{two.shop[:8]}")
    assert well("inspect", two.backups, "--diff", *points, "--json").json["changed"] == 1
    facts = well("inspect", two.backups, "--diff", "1", "2", "--lineage", two.copy[:9], "--json").json
    assert facts["changed"] == 1


def test_a_moment_of_one_of_them_is_found(two: Two, tmp_path: Path) -> None:
    well("restore", two.backups, "--at", two.time, "--to", tmp_path / "at")
    assert says(tmp_path / "at") == "third"
    well("restore", two.backups, "--etag", "1", "--to", tmp_path / "etag")
    assert says(tmp_path / "etag") == "first"
    ended = muniment("restore", str(two.backups), "--etag", "9", "--to", str(tmp_path / "never"))
    assert ended.code == 3
    [command] = commands_in(ended.err)
    well(*command)
    assert says(tmp_path / "never") == "third"


def test_inspect_draws_the_tree(two: Two) -> None:
    said = well("inspect", two.backups).text
    first, second = said.index(f"lineage {two.shop[:8]}"), said.index(f"└─ lineage {two.copy[:8]}")
    assert first < second
    assert f"with {two.shop[:8]} at etag 1" in said[second:]
    told = {each["lineage"]: each for each in well("inspect", two.backups, "--json").json["lineages"]}
    assert [(span["from"]["etag"], span["to"]["etag"]) for span in told[two.shop]["restorable"]] == [(1, 3)]
    assert [(span["from"]["etag"], span["to"]["etag"]) for span in told[two.copy]["restorable"]] == [(2, 2)]
    assert (told[two.copy]["parent"], told[two.copy]["etag"]) == (two.shop, 1)
    assert said.count("restorable") == 2


def test_status_says_only_what_is_true_of_each(two: Two) -> None:
    facts = well("status", two.folder / "shop", "--json").json
    [state] = facts["destinations"]
    assert (state["backups"], state["changes_since"]) == (2, 0)
    assert [(span["from"]["etag"], span["to"]["etag"]) for span in state["restorable"]] == [(1, 3)]
    assert "1 backup is there of other histories" in state["notes"][0]
    facts = well("status", two.folder / "copy", "--json").json
    [state] = facts["destinations"]
    assert state["last_backup"]["etag"] == 2
    assert [(span["from"]["etag"], span["to"]["etag"]) for span in state["restorable"]] == [(1, 1), (2, 2)]
    assert "history" in well("status", two.folder / "shop").text
