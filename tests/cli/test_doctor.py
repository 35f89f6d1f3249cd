"""`muniment doctor` finds what is wrong with a machine, a folder, a database and its backups, and says what to do."""

from __future__ import annotations

import errno
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from muniment import DocumentDatabase
from muniment.doctor import Finding, exit_code, of_folder, worst
from tests.cli.process import muniment
from tests.cli.serving import serving
from tests.cli.test_commands import well


def found(*place: str | Path, code: int = 0, env: dict[str, str] | None = None) -> dict[str, Any]:
    """What the command says of each thing, by its name."""
    ended = muniment("doctor", *place, "--json", env=env)
    assert (ended.code, ended.err) == (code, "")
    return {each["name"]: each for each in ended.json["findings"]}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    with DocumentDatabase(tmp_path / "shop") as database:
        database.put("orders/1", {"n": 1})
    return tmp_path / "shop"


def test_a_database_from_its_first_backup_to_its_rehearsal(shop: Path, tmp_path: Path) -> None:
    seen = found(shop)
    assert seen["last backup"]["state"] == "warning"
    command = seen["last backup"]["advice"].partition(": ")[2]
    assert [seen[name]["state"] for name in ("versions", "open files", "clock", "database", "room")] == ["ok"] * 5
    assert seen["history"]["advice"].endswith(f"muniment settings {shop} Muniment/History=true")
    well(*shlex.split(command)[1:])
    seen = found(shop)
    assert (seen["last backup"]["state"], seen["last rehearsal"]["state"]) == ("ok", "warning")
    well(*shlex.split(seen["to do"]["text"].partition(": ")[2])[1:])
    well("verify", f"{shop}-backups")
    well("settings", shop, "Muniment/History=true")
    seen = found(shop)
    assert "to do" not in seen
    assert {each["state"] for each in seen.values()} - {seen["disk"]["state"], seen["fsync"]["state"]} <= {"ok"}
    assert seen["history"]["text"].startswith("kept, every state since etag ")
    assert found(f"{shop}-backups")["last rehearsal"]["state"] == "ok"
    said = well("doctor", shop).text
    assert said.startswith(f"{shop}: ")
    assert "\n  ok       last backup " in said
    shutil.rmtree(f"{shop}-backups")
    assert found(shop, code=3)["unreachable"]["state"] == "problem"


def test_what_is_damaged_missing_or_encrypted(shop: Path, tmp_path: Path) -> None:
    well("backup", shop, "--dest", tmp_path / "backups")
    [backup] = (tmp_path / "backups").iterdir()
    (backup / "manifest.json").write_bytes(b"{}")
    assert "cannot be used" in found(shop, code=5)["chain broken"]["text"]
    missing = found(tmp_path / "nothing", code=3)["database"]
    assert (missing["state"], bool(missing["advice"])) == ("problem", True)
    well("encryption", "generate-key", tmp_path / "key")
    well("create", tmp_path / "safe", "--key-file", tmp_path / "key")
    assert found(tmp_path / "safe", code=10)["database"]["state"] == "problem"
    assert found(tmp_path / "safe", "--key-file", tmp_path / "key")["database"]["state"] == "ok"
    (tmp_path / "file").touch()
    assert found(tmp_path / "file", code=8)["database"]["state"] == "problem"


def test_the_clock_was_put_back(tmp_path: Path) -> None:
    ahead = int((time.time() + 3600) * 1e6)
    with DocumentDatabase(tmp_path / "shop", clock=lambda: ahead) as database:
        database.put("orders/1", {})
    seen = found(tmp_path / "shop")["last change"]
    assert (seen["state"], seen["text"][:4]) == ("warning", "59 m") or seen["text"].startswith("1 h")


def test_fsync_that_is_left_out_is_a_problem(shop: Path) -> None:
    seen = found(shop, code=8, env={"LD_PRELOAD": "libeatmydata.so"})
    assert "not on disk" in seen["fsync"]["text"]


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a file system in memory")
def test_a_disk_that_goes_with_the_machine() -> None:
    disk = next(each for each in of_folder(Path("/dev/shm")) if each.name == "disk")
    assert (disk.state, "the memory" in disk.text) == ("warning", True)


def test_few_open_files() -> None:
    said = subprocess.run(
        ["sh", "-c", 'ulimit -n 256; exec "$0" -m muniment doctor', sys.executable],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "warning  open files" in said
    assert "ulimit -n 1024" in said


def test_a_server_and_each_of_its_databases(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with serving(data) as (url, _):
        well("databases", "create", "shop", "--url", url)
        names = [each["text"] for each in muniment("doctor", url, "--json").json["findings"]]
        assert names[0] == f"{url} answers"
        assert "shop: it was never backed up" in names
        seen = found(f"{url}/databases/shop")
        well(*shlex.split(seen["last backup"]["advice"].partition(": ")[2])[1:], "--quiet")
        assert found(f"{url}/databases/shop")["last backup"]["state"] == "ok"
        assert found(f"{url}/databases/none", code=3)["database"]["state"] == "problem"
        assert muniment("doctor", url, "--key-file", "x").code == 2
    assert muniment("doctor", url).code == 9
    gone = muniment("doctor", f"{url}/databases/shop")
    assert (gone.code, "answers" in gone.text, "start the server" in gone.err) == (9, False, True)
    assert found(data, code=3)["database"]["advice"].startswith("it is the data folder of a server")
    assert muniment("doctor", "--api-key", "a/b").code == 2


def test_a_backup_that_failed_on_a_server_is_a_problem(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as (url, _):
        well("databases", "create", "shop", "--url", url)
        (tmp_path / "file").write_text("no folder")
        line = ("backup", "--url", url, "--database", "shop", "--dest")
        assert muniment(*line, str(tmp_path / "file")).code
        for there in (False, True):  # whether it has another one
            seen = found(f"{url}/databases/shop", code=1)
            assert (seen["backup failed"]["state"], "last backup" in seen) == ("problem", True), there
            well(*line, tmp_path / "backups", "--quiet")
            assert "backup failed" not in found(f"{url}/databases/shop")
            assert muniment(*line, str(tmp_path / "file")).code


def test_all_together_are_as_bad_as_the_worst_of_them() -> None:
    ok, warning = (Finding(name="a", state=state, text="") for state in ("ok", "warning"))
    problem = Finding(name="a", state="problem", text="", exit_code=5)
    assert [worst(each) for each in ([ok], [ok, warning], [warning, problem, ok])] == ["ok", "warning", "problem"]
    assert [exit_code(each) for each in ([ok, warning], [warning, problem])] == [0, 5]


def test_a_folder_without_room_is_not_called_one_without_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("muniment.doctor._waited_for", full)
    [said] = [each.advice for each in of_folder(tmp_path, None) if each.name == "fsync"]
    assert said == "make room there"
