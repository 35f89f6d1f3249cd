"""`muniment schedule`, `muniment cron` and `muniment backup --if-older-than` as users run them."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from muniment import DocumentDatabase, DocumentStore
from muniment.backup.repository import backups
from tests.cli.process import muniment
from tests.cli.serving import serving
from tests.receiver import Receiver
from tests.sampled import some


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("schedules") / "data") as (url, _):
        with DocumentStore(url, "shop") as store:
            store.admin.create_database("shop")
            store.put("orders/1", {"lines": 1})
        yield url


def test_a_schedule_from_its_making_to_its_end(url: str, tmp_path: Path) -> None:
    at = ["--url", url]
    times = ["--full", "0 1 * * 0", "--verify", "30 2 * * *", "--expire", "0 4 * * *", "--keep-last", "3"]
    made = muniment("schedule", "add", "a", "--database", "shop", "--dest", str(tmp_path / "b"), *times, *at)
    assert made.code == 0, made.err
    assert made.text.count("T01:00:00Z") == 5
    assert muniment("schedule", "add", "a", "--dest", "b", "--full", "@daily", *at).code == 2
    edited = muniment("schedule", "edit", "a", "--verify", "none", "--incremental", "*/5 * * * *", "--json", *at)
    assert (edited.json["full"], edited.json["incremental"], edited.json["verify"]) == (
        "0 1 * * 0",
        "*/5 * * * *",
        None,
    )
    assert {name: value for name, value in edited.json["retention"].items() if value} == {
        "keep_last": 3,
        "time_zone": "UTC",
    }
    ran = muniment("schedule", "run", "a", "--task", "full", *at)
    assert ran.code == 0, ran.err
    [backup] = backups(tmp_path / "b")
    assert str(backup.folder) in ran.text
    assert "paused until" in muniment("schedule", "pause", "a", "--for", "2h", *at).text
    assert "paused" in muniment("schedule", "pause", "a", *at).text
    assert "next full" in muniment("schedule", "resume", "a", *at).text
    zoned = json.loads(muniment("schedule", "edit", "a", "--time-zone", "Asia/Tokyo", "--json", *at).text)
    assert [zoned["due"]["full"], *zoned["times"]["full"]][:2] == [zoned["times"]["full"][0]] * 2
    assert zoned["due"]["full"].endswith("T01:00:00+09:00")
    listed = json.loads(muniment("schedule", "list", "--json", *at).text)
    assert [each["name"] for each in listed["schedules"]] == ["a"]
    shown = muniment("schedule", "history", "a", "--database", "shop", *at)
    assert "a full completed in" in shown.text
    assert muniment("schedule", "remove", "a", *at).code == 2
    assert muniment("schedule", "remove", "a", "--yes", *at).code == 0
    assert muniment("schedule", "remove", "a", "--yes", *at).code == 3


def test_a_place_that_cannot_be_written_is_told_at_once(url: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    times: tuple[str, ...] = ("--full", "@yearly", "--url", url)
    made = muniment("schedule", "add", "file", "--dest", tmp_path / "file", *times)
    assert made.code == 0, made.err
    assert f"is now: {tmp_path / 'file'} is a file" in made.text
    good = muniment("schedule", "edit", "file", "--dest", tmp_path / "new" / "folder", *times, "--json")
    assert good.json["notes"] == []


def test_a_run_that_fails_ends_with_1(url: str, tmp_path: Path) -> None:
    made = muniment(
        "schedule", "add", "b", "--database", "none", "--dest", str(tmp_path), "--full", "@daily", "--url", url
    )
    assert (made.code, "there is no database 'none' on" in made.err) == (0, True)
    ran = muniment("schedule", "run", "b", "--url", url)
    assert (ran.code, "could not find a database named: none" in ran.text) == (1, True)


@some(3)
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--full", "daily", "--dest", "b"], "would next be at"),
        (["--full", "@daily"], "it is not said where backups go"),
        (["--dest", "b"], "without a time"),
        (["--dest", "b", "--full", "@daily", "--keep-last", "3"], "not when to remove the others"),
        (["--dest", "b", "--full", "@daily", "--time-zone", "Mars"], "there is no time zone 'Mars'"),
        (["--from-periodic-setup"], "it is not said whose periodic backup is meant"),
    ],
)
def test_what_makes_no_sense(url: str, options: list[str], said: str) -> None:
    refused = muniment("schedule", "add", "c", *options, "--url", url)
    assert (refused.code, said in refused.err) == (2, True), refused.err


def test_ravendb_s_periodic_backup_is_taken_over(url: str) -> None:
    add = ("schedule", "add", "periodic", "--database", "shop", "--from-periodic-setup", "--json", "--url", url)
    assert muniment(*add).code == 3
    with DocumentStore(url, "shop") as store:
        setup = {"LocalFolderName": "~/Periodic", "IntervalMilliseconds": 900_000, "Disabled": True}
        store.put("Raven/Backup/Periodic/Setup", setup)
    told = json.loads(muniment(*add).text)
    assert (told["destination"], told["incremental"], told["paused"]) == ("~/Periodic", "*/15 * * * *", True)


def test_a_backup_only_if_the_last_one_is_older(tmp_path: Path) -> None:
    with DocumentDatabase(tmp_path / "shop") as database:
        database.put("orders/1", {})
    take = ("backup", str(tmp_path / "shop"), "--dest", str(tmp_path / "b"), "--incremental", "--if-older-than")
    assert "Backed up" in muniment(*take, "6h").text
    again = muniment(*take, "6h")
    assert (again.code, "Nothing to do" in again.text) == (0, True)
    assert len(backups(tmp_path / "b")) == 1
    assert "Backed up" in muniment(*take, "0s").text
    assert len(backups(tmp_path / "b")) == 2
    assert muniment(*take, "often").code == 2
    assert muniment("backup", "--url", "http://127.0.0.1:1", "--dest", "b", "--if-older-than", "6h").code == 2


def test_the_line_for_cron_runs(tmp_path: Path) -> None:
    folder, dest = tmp_path / "a shop", tmp_path / "100%"
    with DocumentDatabase(folder) as database:
        database.put("orders/1", {})
    line = muniment("cron", str(folder), "--dest", str(dest), "--every", "6h").text
    assert line.count("\n") == 1
    minute, *rest = line.split(" ", 5)
    assert (minute.isdigit(), rest[:4]) == (True, ["*"] * 4)
    words = shlex.split(rest[4].replace("\\%", "%"))
    assert muniment(*words[words.index("backup") : words.index(">/dev/null")]).code == 0
    assert len(backups(dest)) == 1
    assert muniment("cron", str(folder), "--dest", str(dest), "--every", "15m").text.startswith("*/2 * * * * ")
    units = muniment("cron", str(folder), "--dest", str(dest), "--systemd").text
    assert "OnUnitActiveSec=60min\n" in units
    assert "100%%" in units
    assert muniment("cron", str(folder), "--dest", str(dest), "--every", "5s").code == 2


def test_the_units_of_systemd_run_a_command_that_there_is(tmp_path: Path) -> None:
    with DocumentDatabase(tmp_path / "shop") as database:
        database.put("orders/1", {})
    deploy = Path(__file__).parents[2] / "deploy"
    [line] = re.findall(r"^ExecStart=(.+)$", (deploy / "muniment-backup@.service").read_text(), re.MULTILINE)
    for name, value in (("FOLDER", tmp_path / "shop"), ("DEST", tmp_path / "b"), ("EVERY", "6h")):
        line = line.replace(f"${{{name}}}", str(value))
    assert muniment(*line.split()[1:]).code == 0
    assert len(list((tmp_path / "b").glob("*.full"))) == 1
    if not (analyze := shutil.which("systemd-analyze")):
        pytest.skip("systemd-analyze is not here to look at the units")
    units = sorted(deploy.glob("muniment*.*"))
    said = subprocess.run([analyze, "verify", *units], capture_output=True, text=True, check=False).stderr
    assert [line for line in said.splitlines() if "is not executable" not in line] == []


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


def test_a_backup_tells_a_url_how_it_goes(tmp_path: Path, receiver: Receiver) -> None:
    with DocumentDatabase(tmp_path / "shop") as database:
        database.put("a", {})
    take = ("backup", str(tmp_path / "shop"), "--dest", str(tmp_path / "b"), "--incremental")
    assert muniment(*take, "--ping-url", f"{receiver.url}/ping/very-secret").code == 0
    assert receiver.paths() == ["/ping/very-secret/start", "/ping/very-secret"]
    (tmp_path / "file").write_text("no folder")
    bad = muniment("backup", str(tmp_path / "shop"), "--dest", str(tmp_path / "file"),
                   env={"MUNIMENT_PING_URL": f"{receiver.url}/ping"})  # fmt: skip
    assert bad.code == 8
    assert receiver.paths()[2:] == ["/ping/start", "/ping/fail"]
    assert b"is a file" in receiver.got[3][2]
    deaf = muniment(*take, "--ping-url", "http://127.0.0.1:9/very-secret")
    assert deaf.code == 0
    assert "note: the ping at 127.0.0.1 was not told" in deaf.err
    assert "very-secret" not in deaf.err
    assert muniment(*take, "--ping-url", "very-secret").code == 2
