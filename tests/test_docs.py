"""The documentation is run: its sessions give what they show, and its tables name everything that there is."""

from __future__ import annotations

import doctest
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer

from docs import json_schema
from muniment import DocumentStore, errors
from muniment.cli import app
from muniment.limits import NO_LIMITS
from muniment.settings import InvalidSetting
from tests.cli.process import muniment
from tests.cli.serving import serving
from tests.postgres_server import Postgres
from tests.schema import wrong

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
# What differs from run to run: times, durations, rates, sizes on disk, and the ids of databases.
VARYING = [
    (r"\d{4}-\d\d-\d\dT\d{6}\.\d{3}Z", "FOLDER"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", "TIME"),
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID"),
    (r"\d+(\.\d+)? s\b", "SECONDS"),
    (r"\d+ seconds? ago", "AGO"),
    (r"[\d,.]+ [kM]B(/s)?", "SIZE"),
    (r"(?<=\S) {2,}", "  "),  # columns are as wide as what varies
]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def settled(text: str) -> list[str]:
    for pattern, name in VARYING:
        text = re.sub(pattern, name, text)
    return [line.rstrip() for line in text.strip().splitlines()]


def steps(session: str) -> Iterator[tuple[str, str]]:
    for step in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]:
        command, _, output = step.partition("\n")
        yield command, output


def run(command: str, folder: Path) -> str:
    words = shlex.split(command)
    if words[:2] == ["rm", "-r"]:
        shutil.rmtree(folder / words[2])
        return ""
    assert words[0] in ("muniment", "python"), command
    if words[0] == "muniment":
        ended = muniment(*words[1:], cwd=folder, env={"COLUMNS": "80"})
        return (ended.text + ended.err).replace(str(folder), "/srv")
    done = subprocess.run(
        [sys.executable, *words[1:]], cwd=folder, capture_output=True, text=True, encoding="utf-8", timeout=120
    )
    return (done.stdout + done.stderr).replace(str(folder), "/srv")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_console_sessions_print_what_the_page_shows(page: Path, tmp_path: Path) -> None:
    for session in blocks(page, "console"):
        for command, expected in steps(session):
            assert settled(run(command, tmp_path)) == settled(expected), command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_sessions_give_what_the_page_shows(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2 if page.name == "README.md" else 1):  # who tries it out may well do so again
        session = doctest.DocTestParser().get_doctest("\n".join(blocks(page, "python")), {}, page.name, str(page), 0)
        told: list[str] = []
        assert doctest.DocTestRunner().run(session, out=told.append).failed == 0, "".join(told)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith("reference/"):  # those are made with the site
            assert (page.parent / target).exists(), target


def every_error(root: type[errors.MunimentError] = errors.MunimentError) -> Iterator[type[errors.MunimentError]]:
    yield root
    for leaf in root.__subclasses__():
        if leaf.__module__ in (errors.__name__, InvalidSetting.__module__):
            yield from every_error(leaf)


def test_every_error_is_in_the_table_with_its_codes() -> None:
    table = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\|[ ―]*`(\w+)` \| (\d+) \| (\d+) \|", table, re.MULTILINE)
    assert rows == [(error.__name__, str(error.exit_code), str(error.status)) for error in every_error()]


def test_the_format_page_names_every_member_of_a_manifest_and_every_column() -> None:
    from muniment.backup.manifest import Counts, File, Manifest
    from muniment.backup.parquet import ATTACHMENTS, DOCUMENTS

    page = (ROOT / "docs" / "backup-format.md").read_text(encoding="utf-8")
    names = {*Manifest.__struct_fields__, *Counts.__struct_fields__, *File.__struct_fields__}
    for name in names | {*DOCUMENTS.arrow.names, *ATTACHMENTS.arrow.names}:
        assert re.search(rf"`({name}|\w+\.{name}|{name}\.\w+)`", page), name


def test_every_setting_is_in_the_table() -> None:
    from muniment.settings import table

    page = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")
    for row in table():
        default = "none" if row.default in ("", Path()) else row.default
        assert f"| `{row.name}` | `{row.environment}` | `{default}` | {row.description} |" in page, row.name


def test_every_route_is_in_the_table() -> None:
    from muniment.server.routes import ROUTES

    page = (ROOT / "docs" / "http-api.md").read_text(encoding="utf-8")
    for route in ROUTES:
        assert f"`{route.path}`" in page, route.path


def test_every_route_of_later_clients_is_in_their_table() -> None:
    from muniment.server.raven7_routes import ROUTES

    page = (ROOT / "docs" / "ravendb-clients.md").read_text(encoding="utf-8")
    for route in ROUTES:
        assert f"`{route.path}`" in page, route.path


def test_every_page_is_in_the_site_once() -> None:
    told = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [page.name for page in PAGES if page.parent.name == "docs" and told.count(f"- {page.name}\n") != 1] == []


def test_the_page_on_python_names_every_method_of_admin() -> None:
    from muniment.client.databases import BothAdministrations

    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    for name in (name for name in dir(BothAdministrations) if not name.startswith("_")):
        assert f"`{name}(" in page, name


def test_every_command_with_json_is_on_its_page() -> None:
    def found(command: Any, path: str = "") -> Iterator[str]:
        for name, each in getattr(command, "commands", {}).items():
            yield from found(each, f"{path}{name} ")
        if any("--json" in each.opts for each in command.params):
            yield path.strip()

    told = {json_schema.named(line) for line, _ in json_schema.commands()}
    assert {*found(typer.main.get_command(app))} - told == set()


def _asking(url: str, command: str) -> dict[str, str]:
    return {"MUNIMENT_URL": url} if command in dict(json_schema.of_server()) else {}


def _filled(command: str, told: dict[str, Any], url: str) -> list[str]:
    """The words of a command, with what others have printed; a job that is to be limited waits for its hours."""
    words = shlex.split(command)
    if "OPERATION" in words:
        later = [datetime.now().astimezone() + timedelta(hours=hours) for hours in (2, 3)]
        hours = "-".join(f"{time:%H:%M}" for time in later)
        with DocumentStore(url) as store:
            told["operation"] = store.admin.start_backup("Waiting", limits=NO_LIMITS.changed(hours=hours)).id
    if "BACKUP" in words:
        told["backup"] = Path(told["backup"]).name
    return [str(told[word.lower()]) if word in ("BACKUP", "RECIPIENT", "OPERATION") else word for word in words]


def test_json_is_as_its_page_and_its_schema_say(tmp_path: Path) -> None:
    document = json_schema.schema()
    assert len(json_schema.commands()) > 25
    printed: dict[str, Any] = {}
    with serving(tmp_path / "server") as (url, _):
        for command, members in json_schema.commands():
            if "ADDRESS" in command:
                continue  # there need be no PostgreSQL here
            ended = muniment(*_filled(command, printed, url), "--json", cwd=tmp_path, env=_asking(url, command))
            assert ended.code == 0, (command, ended.err)
            printed |= ended.json
            assert ended.json.keys() == set(members), command
            told = document["$defs"][json_schema.named(command)]
            assert not list(wrong(ended.json, told, command, document=document))
            assert list(wrong(ended.json | {next(iter(ended.json)): {"no": []}}, told, document=document)), command
    failed = muniment("check", "nowhere", "--json", cwd=tmp_path).json
    assert not list(wrong(failed, document["$defs"]["error"], document=document))


def test_json_of_a_move_is_as_its_page_and_its_schema_say(tmp_path: Path, postgres: Postgres) -> None:
    document = json_schema.schema()
    [(command, members)] = [each for each in json_schema.commands() if "ADDRESS" in each[0]]
    assert muniment("sample", "shop", "--documents", "50", cwd=tmp_path).code == 0
    ended = muniment(*shlex.split(command.replace("ADDRESS", shlex.quote(postgres.address()))), "--json", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert ended.json.keys() == set(members)
    assert not list(wrong(ended.json, document["$defs"]["move"], document=document))
