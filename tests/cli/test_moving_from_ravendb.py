"""What the page on moving from RavenDB says: its commands work in their order, and every option is in its table."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from muniment import DocumentDatabase
from muniment.cli import app
from muniment.cli.sample import fill
from tests.cli.process import environment, muniment
from tests.cli.serving import serving
from tests.shared import DATA, NORTHWIND
from tests.starter import ROOT

PAGE = (ROOT / "docs" / "moving-from-ravendb.md").read_text(encoding="utf-8")
REAL = DATA / NORTHWIND
MISSING = set(
    """
    --max-steps-for-transform-script --chunk-size --wait-for-indexing --strip-replication-information --skip-conflicted
    --disable-versioning-during-import --max-split-export-file-size --filesystem --filesystem2
    """.split()
)


def commands() -> list[str]:
    return "".join(re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)).splitlines()


def test_every_option_is_in_the_table() -> None:
    table = PAGE.partition("## Raven.Smuggler's options\n")[2]
    cells = re.findall(r"^\| (`--.*?) \|", table, re.MULTILINE)
    named = {flag for cell in cells for flag in re.findall(r"--[a-z0-9-]+", cell)}
    group = typer.main.get_command(app).commands["smuggler"]  # type: ignore[attr-defined]
    flags = {
        flag
        for command in group.commands.values()
        for parameter in command.params
        for flag in parameter.opts
        if flag.startswith("--")
    }
    assert named - flags == MISSING
    assert flags <= named


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the dumps that RavenDB is said to have written."""
    with DocumentDatabase(tmp_path / "raven") as database:
        if REAL.exists():
            shutil.copy(REAL, tmp_path / "northwind.ravendbdump")
            database.import_dump(REAL)
        else:
            fill(database, 1059, attachments=17)
            database.put("Raven/Replication/Destinations", {})
            database.export(tmp_path / "northwind.ravendbdump")
        database.put("Raven/Replication/Destinations", {})
        database.export(tmp_path / "northwind.ravendump")
    return tmp_path


def test_its_commands_work(folder: Path) -> None:
    [start, *lines] = commands()
    assert start == "muniment server --data-dir=data --port=8080"
    with serving(folder / "data") as (url, _):
        for line in lines:
            run(line.replace("http://127.0.0.1:8080", url).replace("/mnt", str(folder)), folder)
        listed = muniment("databases", "list", "--url", url, "--json").json["databases"]
        assert sorted(listed) == ["Copy", "FromFolder", "Northwind", "Northwind3"]
        fingerprints = {
            name: muniment("databases", "info", name, "--url", url, "--json").json["fingerprint"] for name in listed
        }
    local = muniment("statistics", folder / "northwind", "--json").json
    assert local["documents"] >= 1059
    assert fingerprints["Northwind"] == fingerprints["Copy"] == local["fingerprint"]
    for name in ("piped", "restored"):
        assert muniment("statistics", folder / name, "--json").json["fingerprint"] == local["fingerprint"]
    assert muniment("statistics", folder / "orders", "--json").json["documents"] > 800
    assert len((folder / "sample.ndjson").read_text().splitlines()) == 20
    assert len(list((folder / "exports").glob("*.ravendbdump"))) == 1


def run(line: str, folder: Path) -> None:
    """A line as a shell runs it, if it is a pipe; else a command."""
    if " | " in line:
        words = [shlex.split(part)[1:] for part in line.split(" | ")]
        first, second = ([sys.executable, "-m", "muniment", *part] for part in words)
        with subprocess.Popen(first, cwd=folder, env=environment(), stdout=subprocess.PIPE) as sending:
            done = subprocess.run(second, cwd=folder, env=environment(), stdin=sending.stdout, timeout=120)
        assert (done.returncode, sending.returncode) == (0, 0), line
        return
    ended = muniment(*shlex.split(line)[1:], cwd=folder)
    assert ended.code == 0, (line, ended.err)
