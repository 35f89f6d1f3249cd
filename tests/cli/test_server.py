"""The commands that talk to a server, each against `muniment server` in a process of its own."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from muniment import DocumentDatabase
from muniment.cli.remote import unseen
from muniment.client import DocumentStore
from tests.cli.conftest import SMALL
from tests.cli.process import Ended, interrupted, muniment, on_terminal
from tests.cli.serving import serving
from tests.sampled import some
from tests.starter import Forked
from tests.waiting import until


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with the databases `shop` and `big`."""
    roots = ("--data-root", str(tmp_path_factory.getbasetemp()))
    with serving(tmp_path_factory.mktemp("server") / "data", *roots) as (url, process):
        with DocumentStore(url) as store:
            store.admin.create_database("shop")
        with DocumentStore(url, "shop") as shop:
            for number in range(3):
                shop.put(f"orders/{number}", {"number": number}, {"Raven-Entity-Name": "Orders"})
        yield url
        process.terminate()
        assert process.wait(30) == 0


def well(*arguments: str | Path) -> Ended:
    ended = muniment(*arguments)
    assert ended.code == 0, ended.err
    return ended


def failed(ended: Ended, code: int, *parts: str) -> None:
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err
    for part in parts:
        assert part in ended.err


def fingerprint(url: str, name: str) -> str:
    with DocumentStore(url, name) as store:
        return store.statistics().fingerprint


def test_a_backup_with_the_flags_of_raven_backup(url: str, tmp_path: Path) -> None:
    ended = well("backup", f"--url={url}", "--database=shop", f"--dest={tmp_path / 'b'}", "--username=", "--readkey")
    assert ended.text.startswith(f"Backed up shop of {url} to {tmp_path / 'b'}\n")
    assert "Started backup of shop" in ended.err
    assert re.search(r"Backup completed: full \(first\), 3 of 3 documents, \d+ B, \d+ kB/s in ", ended.err)
    assert well("verify", tmp_path / "b", "--json").json["fingerprint"] == fingerprint(url, "shop")


def test_the_database_of_the_url_and_an_incremental_backup(url: str, tmp_path: Path) -> None:
    line = ("backup", f"--url={url}/databases/shop", f"--dest={tmp_path}", "--incremental", "--timeout=20000", "--json")
    first, second = (well(*line, "--quiet") for _ in range(2))
    assert (first.err, second.err) == ("", "")
    assert (first.json["database"], first.json["state"], first.json["documents"]) == ("shop", "completed", 3)
    assert (second.json["documents"], second.json["written"]["documents"]) == (3, 0)
    assert "incremental (asked for)" in second.json["messages"][-1]
    assert "full (asked for)" in well(*line[:3]).err


def test_the_system_database_and_its_restore_offline(url: str, tmp_path: Path) -> None:
    facts = well("backup", f"--url={url}", f"--dest={tmp_path / 'b'}", "--json").json
    assert facts["database"] == "<system>"
    flags = (f"--restore-source={tmp_path / 'b'}", f"--restore-destination={tmp_path / 'data'}")
    said = well("server", *flags, "--restore-system-database", "--restore-defrag").text
    assert said.startswith(f"Restored <system> to {tmp_path / 'data' / 'System'}\n")
    with serving(tmp_path / "data") as (again, _):
        failed(muniment("server", *flags, "--restore-system-database"), 7, "a server is using the system database")
        assert "shop" in well("databases", "list", "--url", again, "--json").json["databases"]
    failed(muniment("server", *flags, "--restore-system-database"), 4, "already exists")


def test_without_waiting(url: str, tmp_path: Path) -> None:
    facts = well("backup", f"--url={url}/databases/shop", f"--dest={tmp_path}", "--nowait", "--json").json
    assert facts["state"] == "running"
    with DocumentStore(url) as store:
        until(lambda: store.operations.status(facts["operation"]).state != "running")
    assert muniment("verify", tmp_path).code == 0


def test_all_databases_and_a_count_of_failures(url: str, tmp_path: Path) -> None:
    line = ("backup", f"--url={url}", f"--dest={tmp_path}", "--all-databases")
    (tmp_path / "shop").write_text("in the way")
    ended = muniment(*line, "--json", "--quiet")
    failed(ended, 1, "shop is a file")
    done = {facts["database"]: facts for facts in ended.json["backups"]}
    assert ended.json["failed"] == 1
    assert done["shop"]["type"] == "StorageFailure"
    assert done["<system>"]["state"] == "completed"
    assert muniment("verify", tmp_path / "System").code == 0
    (tmp_path / "shop").unlink()
    assert f"Backed up {len(done)} of {len(done)} databases" in well(*line, "--incremental").text


def test_a_restore_through_the_server(url: str, tmp_path: Path) -> None:
    well("backup", f"--url={url}", "--database=shop", f"--dest={tmp_path / 'b'}", "--quiet")
    line = ("restore", tmp_path / "b", "--server", url)
    ended = well(*line, "--name", "twin", "--location", tmp_path / "twin", "--defrag")
    assert "The new database twin was created" in ended.err
    assert ended.text.startswith(f"Restored {tmp_path / 'b'} as twin on {url}\n")
    assert fingerprint(url, "twin") == fingerprint(url, "shop")
    failed(muniment(*line), 4, "existing database")
    assert "--on-conflict" in muniment(*line).err
    flags = (f"--restore-source={tmp_path / 'b'}", f"--restore-database={url}")
    failed(muniment("server", *flags), 4, "existing database")
    taken = f"--restore-destination={tmp_path / 'b'}"
    failed(muniment("server", *flags, "--restore-database-name=third", taken), 4, "already exists")
    well("server", *flags, "--restore-database-name=third", "--restore-defrag", "--restore-start-timeout=30")
    assert fingerprint(url, "third") == fingerprint(url, "shop")
    facts = well("server", *flags, "--restore-database-name=fourth", "--restore-no-wait", "--json").json
    assert facts["state"] == "running"


def test_databases(url: str, tmp_path: Path) -> None:
    at = ("--url", url)
    said = well("databases", "create", "new", *at, "--setting", "Muniment/History=true", "--location", tmp_path / "n")
    assert said.text.startswith(f"Made new on {url}\n")
    assert (tmp_path / "n" / "muniment.db").is_file()
    assert "\n  new" in well("databases", "list", *at).text
    assert well("databases", "info", "new", *at, "--json").json["documents"] == 0
    assert "fingerprint" in well("databases", "info", "shop", *at).text
    removed = well("databases", "delete", "new", *at).text
    assert removed == f"Removed new from {url}; its files were kept in {tmp_path / 'n'}\n"
    assert (tmp_path / "n" / "muniment.db").is_file()
    well("databases", "create", "new", *at, "--location", tmp_path / "n")
    failed(muniment("databases", "delete", "new", *at, "--hard"), 2, "--yes")
    no = on_terminal("databases", "delete", "new", *at, "--hard", seen=lambda shown: "[y/N]" in shown, typed="n\n")
    assert (no.code, no.out) == (130, b"")
    assert (tmp_path / "n" / "muniment.db").is_file()
    assert "new" in well("databases", "list", *at, "--json").json["databases"]
    well("databases", "delete", "new", *at, "--hard", "--yes")
    assert not (tmp_path / "n" / "muniment.db").exists()
    assert "new" not in well("databases", "list", *at, "--json").json["databases"]


@some(9)
@pytest.mark.parametrize(
    ("line", "code", "part"),
    [
        ("databases create shop --url URL", 4, "exists already"),
        ("databases create a/b --url URL", 2, "cannot be the name"),
        ("databases create new --setting nonsense --url URL", 2, "'nonsense' is not a setting"),
        ("databases create new --setting Muniment/HistoryWindow=x --url URL", 2, "HistoryWindow"),
        ("databases delete nowhere --url URL", 3, "no database named: nowhere"),
        ("databases info nowhere --url URL", 3, "nowhere"),
        ("databases list --url http://127.0.0.1:1", 9, "does not answer"),
        ("databases list --url nonsense", 2, "is not the URL of a server"),
        ("backup --url URL --database nowhere --dest out", 3, "nowhere"),
        ("backup --url URL --api-key k --dest out", 2, "this is not a key"),
        ("backup --url http://127.0.0.1:1 --dest out", 9, "does not answer"),
        ("backup --url URL shop --dest out", 2, "each say which"),
        ("backup shop --database shop --dest out", 2, "--database is for"),
        ("backup shop --nowait --dest out", 2, "--nowait is for"),
        ("backup --url URL --all-databases --database shop --dest out", 2, "--all-databases goes with neither"),
        ("backup --url URL/databases/shop --all-databases --dest out", 2, "the URL names shop"),
        ("backup --url URL --database shop --dest ../out", 2, "is not below the server's data folder"),
        ("restore /nowhere --server URL --name x", 3, "there is no folder /nowhere"),
        ("restore /nowhere --server URL --name x --dry-run", 3, "there is no folder /nowhere"),
        ("restore /nowhere --server URL --name shop --on-conflict skip", 3, "there is no folder /nowhere"),
        ("server --config nowhere", 3, "there is no file nowhere"),
        ("server --restore-source x", 2, "it is not clear whether the system database"),
        ("server --restore-source x --restore-system-database --restore-database URL", 2, "give one of"),
        ("server --restore-destination x", 2, "give --restore-source"),
        ("server --restore-source nowhere --restore-system-database", 3, "there is no folder nowhere"),
        ("server --host 0.0.0.0", 2, "can be reached from other machines"),
        ("server --port 99999", 2, "port cannot be 99999: expected a number <= 65535"),
    ],
)
def test_bad_input(url: str, tmp_path: Path, line: str, code: int, part: str) -> None:
    ended = muniment(*line.replace("URL", url).split(), "--json", cwd=tmp_path)
    failed(ended, code, part)
    assert set(ended.json) == {"error", "hint", "type"}
    assert not list(tmp_path.iterdir())


@pytest.fixture
def slow(shop: Path, tmp_path: Path) -> Iterator[tuple[str, Forked, tuple[str | Path, ...]]]:
    """A server, its process, and the command for a backup there that stands still once it has read documents."""
    shutil.copytree(shop, tmp_path / "data" / "slow")
    with serving(tmp_path / "data") as (url, process):
        with DocumentStore(url) as store:
            store.admin.create_database("slow", {"Raven/DataDir": "~/slow"})
        yield url, process, ("backup", f"--url={url}/databases/slow", "--dest", tmp_path / "b", "--read-rate=1kB")


def test_ctrl_c_ends_the_command_and_not_the_backup(
    slow: tuple[str, Forked, tuple[str | Path, ...]], tmp_path: Path
) -> None:
    url, _, command = slow
    ended = interrupted(*command, stage="writing documents")
    failed(ended, 130, "the backup of slow goes on in the server", f"{url}/operation/kill?id=ID")
    with DocumentStore(url) as store:
        assert store.operations.list()[0].type == "backup"
        assert store.operations.status(1).state == "running"
        well("limit", "1", "--read-rate=none", "--url", url)
        until(lambda: store.operations.status(1).state != "running")
    assert well("verify", tmp_path / "b", "--json").json["documents"] == SMALL + 1


def test_a_server_that_is_gone(slow: tuple[str, Forked, tuple[str | Path, ...]], tmp_path: Path) -> None:
    url, process, command = slow
    ended = on_terminal(
        *command,
        seen=lambda shown: "writing documents" in shown,
        then=lambda _: process.send_signal(signal.SIGKILL),
    )
    failed(ended, 9, f"when {url} answers again, its status document tells")
    with serving(tmp_path / "data") as (again, _), DocumentStore(again, "slow") as store:
        status = store.get("Raven/Backup/Status")
        assert status is not None
        assert "interrupted" in json.loads(status.body)["Messages"][-1]["Message"]
        well("backup", f"--url={again}/databases/slow", "--dest", tmp_path / "b", "--quiet")


def test_the_folder_of_the_server_is_a_database_like_others(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as (url, _):
        well("databases", "create", "shop", "--url", url, "--location", "~/shop")
        with DocumentStore(url, "shop") as store:
            store.put("orders/1", b'{"price":1.10}')
    with DocumentDatabase(tmp_path / "data" / "shop", create=False) as database:
        document = database.get("orders/1")
        assert document is not None
        assert document.body == b'{"price":1.10}'


@pytest.mark.parametrize(
    ("seen", "messages", "new"),
    [
        ((), ("a", "b"), ("a", "b")),
        (("a",), ("a", "b"), ("b",)),
        (("a", "b"), ("a", "b"), ()),
        (("a", "b", "c", "d"), ("a", "b", "d", "e"), ("e",)),
        (("a", "b", "c"), ("x", "y"), ("x", "y")),
    ],
)
def test_only_what_is_new_is_said(seen: tuple[str, ...], messages: tuple[str, ...], new: tuple[str, ...]) -> None:
    assert unseen(messages, seen) == new


def test_a_dump_goes_into_a_server(tmp_path: Path) -> None:
    dump = tmp_path / "shop.ravendbdump"
    dump.write_bytes(b'{"BuildVersion":62028,"Docs":[{"n":1.10,"@metadata":{"@id":"a/1","@collection":"As"}}]}')
    with serving(tmp_path / "data") as (url, _):
        muniment("databases", "create", "shop", "--url", url)
        done = muniment("smuggler", "in", url, str(dump), "--database", "shop", "--json")
        assert done.code == 0, done.err
        assert json.loads(done.out)["documents"] == 1
        done = muniment("smuggler", "in", f"{url}/databases/shop", str(dump))
        assert (done.code, b"documents    1" in done.out) == (0, True)
        assert muniment("smuggler", "in", url, str(dump), "--database", "none").code == 3
        dump.write_bytes(dump.read_bytes()[:-1])
        assert muniment("smuggler", "in", url, str(dump), "--database", "shop").code == 5
        assert muniment("smuggler", "in", url, str(tmp_path / "none"), "--database", "shop").code == 3
    assert muniment("smuggler", "in", url, str(dump), "--database", "shop").code == 9
    assert muniment("smuggler", "in", str(tmp_path / "f"), str(dump), "--database", "shop").code == 2


BAD_SETTINGS = {
    "backup-recipients": ("--backup-recipient", "abc"),
    "backup-signers": ("--backup-signer", "abc"),
    "backup-passphrase-file": ("--backup-passphrase-file", "missing"),
    "backup-identity-file": ("--backup-identity-file", "not-it"),
    "backup-signing-key-file": ("--backup-signing-key-file", "not-it"),
}


@some(2)
@pytest.mark.parametrize("setting", BAD_SETTINGS)
def test_what_no_backup_could_be_taken_with_is_refused_when_the_server_starts(tmp_path: Path, setting: str) -> None:
    (tmp_path / "not-it").write_text("abc")
    flag, value = BAD_SETTINGS[setting]
    for given, environment in (([flag, value], {}), ([], {f"MUNIMENT_{setting.upper().replace('-', '_')}": value})):
        refused = muniment("server", "--data-dir", "data", "--port", "0", *given, cwd=tmp_path, env=environment)
        failed(refused, 2, setting)
        assert not (tmp_path / "data").exists()
