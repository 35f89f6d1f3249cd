"""`muniment help recover`: the page is in the package, and each of its commands does what it says."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from muniment import DocumentDatabase
from tests.cli.process import muniment
from tests.cli.serving import serving
from tests.cli.test_commands import well

AT = "2026-11-24 14:03"
SERVER = "http://127.0.0.1:8080"


def commands() -> list[str]:
    return re.findall(r"^    ((?:muniment|mv) .*)$", well("help", "recover").text, re.MULTILINE)


def test_the_page_fits_the_terminal_and_its_commands_can_be_copied() -> None:
    narrow = muniment("help", "recover", env={"COLUMNS": "60"}).text
    assert all(len(line) <= 60 for line in narrow.splitlines() if not line.startswith("    m"))
    assert "\n    muniment restore backups --to shop --id orders/830 " in narrow
    assert "](" not in narrow
    assert narrow.startswith("3 A.M.")


def test_help_of_a_command_is_its_help() -> None:
    assert well("help", "smuggler", "out").text == well("smuggler", "out", "--help").text
    assert well("help").text == well("--help").text
    assert muniment("help", "nothing").code == 2
    misspelt = muniment("help", "recovr")
    assert (misspelt.code, "`muniment help recover`" in misspelt.err) == (2, True)
    assert muniment("help", "recover", "now").code == 2


@pytest.fixture
def lost(tmp_path: Path) -> str:
    """A database that has lost an order since the moment that is given back, and its backups."""
    with DocumentDatabase(tmp_path / "shop") as database:
        database.put("orders/830", {"n": 1}, {"Raven-Entity-Name": "Orders"})
        database.put("orders/831", {"n": 1}, {"Raven-Entity-Name": "Orders"})
        at = database.statistics().last_changed.isoformat()
        database.maintenance.start_backup(tmp_path / "backups").wait()
        database.delete("orders/830")
        database.put("orders/831", {"n": 2}, {"Raven-Entity-Name": "Orders"})
        database.maintenance.start_backup(tmp_path / "backups", incremental=True).wait()
    return at


def test_every_command_of_the_page_works(lost: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    ran, told = 0, ""
    with serving(data, "--backup-root", str(tmp_path)) as (url, _):
        for line in commands():
            words = shlex.split(line.replace(AT, lost).replace(SERVER, url))
            if words[0] == "mv":
                shutil.move(tmp_path / words[1], tmp_path / words[2])
                continue
            if words[:3] == ["muniment", "server", "--data-dir"]:
                with serving(tmp_path / words[3]) as (again, _):
                    assert well("get", f"{again}/databases/shop", "orders/830").out == b'{"n":1}'
                ran += 1
                continue
            if "--restore-system-database" in words:
                well("backup", "--url", url, "--all-databases", "--dest", tmp_path / "all", "--quiet")
            if "--server" in words:
                words[2] = str(tmp_path / "backups")
                if words[words.index("--name") + 1] == "shop":
                    well("restore", tmp_path / "backups", "--server", url, "--name", "shop", "--quiet")
            if "all/shop" in words:  # it was restored above, and so is not where the page has it
                words[4] = json.loads(told)["Settings"]["Raven/DataDir"].replace("~", "new")
            ended = muniment(*words[1:], cwd=tmp_path)
            assert ended.code == 0, (line, ended.err)
            ran, told = ran + 1, ended.text
            if "orders/830" in words and "--to" in words:
                with DocumentDatabase(tmp_path / "shop") as database:
                    found = database.get("orders/830")
                    assert found
                    assert found.json() == {"n": 1}
    assert ran >= 12
    with DocumentDatabase(tmp_path / "shop") as database:
        found = database.get("orders/831")
        assert found
        assert found.json() == {"n": 1}
    assert (tmp_path / "shop-damaged").is_dir()
