"""What the page for those who come from RavenDB says: every flag is there, and its commands work in their order."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from muniment.cli import app
from tests.cli.process import muniment
from tests.cli.serving import serving
from tests.starter import ROOT

PAGE = (ROOT / "docs" / "from-ravendb.md").read_text(encoding="utf-8")
MISSING = {"--filesystem"}


@pytest.mark.parametrize(("tool", "command"), [("Raven.Backup", "backup"), ("Raven.Server", "server")])
def test_every_flag_of_the_tables_is_there(tool: str, command: str) -> None:
    section = PAGE.partition(f"## {tool}\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`--.*?) \|", section, re.MULTILINE)
    named = {flag for cell in cells for flag in re.findall(r"--[a-z-]+", cell)}
    known = typer.main.get_command(app).commands[command].params  # type: ignore[attr-defined]
    flags = {flag for parameter in known for flag in parameter.opts if flag.startswith("--")}
    assert len(named) >= 8
    assert named - flags == MISSING & named
    if command == "backup":
        assert flags <= named
    else:
        assert {flag for flag in flags if flag.startswith("--restore")} <= named


def test_its_commands_work(tmp_path: Path) -> None:
    session = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    [start, *commands] = "".join(session).splitlines()
    assert start == "muniment server --data-dir=data --port=8080"
    with serving(tmp_path / "data") as (url, _):
        for line in commands:
            words = shlex.split(line.replace("http://127.0.0.1:8080", url).replace("/mnt", str(tmp_path)))
            ended = muniment(*words[1:], cwd=tmp_path)
            assert ended.code == 0, (line, ended.err)
        listed = muniment("databases", "list", "--url", url, "--json").json["databases"]
        assert sorted(listed) == ["Copy", "Northwind"]
    chains = muniment("inspect", tmp_path / "backups" / "Northwind", "--json").json["chains"]
    assert [backup["kind"] for backup in chains[0]["backups"]] == ["full", "incremental"]
    assert (tmp_path / "other" / "System" / "muniment.db").is_file()
