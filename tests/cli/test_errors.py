"""Every mistake a user can make: two lines in plain words, one JSON object if wanted, and the right exit code."""

from __future__ import annotations

import errno
import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from muniment import DocumentDatabase
from tests.cli.process import COMMAND, Ended, environment, muniment
from tests.sampled import some


@pytest.fixture
def here(tmp_path: Path, shop: Path, backups: Path) -> Path:
    """A folder with a bit of everything that can be wrong."""
    shutil.copytree(shop, tmp_path / "shop")
    shutil.copytree(backups, tmp_path / "backups")
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut.ravendbdump").write_bytes(b'{"BuildVersion":62028,"Docs":[{"A":1,"@metadata":{"@id":"a/1"}},{"A"')
    return tmp_path


def failed(ended: Ended, code: int, *parts: str) -> None:
    """Whether this is how a command fails."""
    assert ended.code == code
    assert "Traceback" not in ended.err
    message, hint = ended.err.splitlines()
    assert message.startswith("error: ")
    assert hint.startswith("hint: ")
    for part in parts:
        assert part in ended.err


@some(24)
@pytest.mark.parametrize(
    ("line", "code", "part"),
    [
        ("backup nowhere --dest out", 3, "there is no database in nowhere"),
        ("backup empty --dest out", 3, "there is no database in empty"),
        ("backup file --dest out", 8, "file is a file"),
        ("backup shop --dest file", 8, "file is a file"),
        ("backup shop --dest file/out", 8, "file is a file"),
        ("backup other --dest backups", 4, "backups of another database"),
        ("restore nowhere --to out", 3, "there is no folder nowhere"),
        ("restore empty --to out", 3, "no complete backup in empty"),
        ("restore file --to out", 3, "file is a file"),
        ("restore backups --to shop", 4, "shop already exists"),
        ("restore backups --to file", 4, "file already exists"),
        ("restore backups --to file/out", 8, "Not a directory"),
        ("verify nowhere", 3, "there is no folder nowhere"),
        ("verify file", 3, "file is a file"),
        ("check nowhere", 3, "there is no database in nowhere"),
        ("check file", 8, "file is a file"),
        ("statistics empty", 3, "there is no database in empty"),
        ("get shop orders/0", 3, "there is no document 'orders/0' in shop"),
        ("get nowhere orders/0", 3, "there is no database in nowhere"),
        ("sample shop --documents 10", 4, "not empty: it has 1,052 documents and 8 attachments"),
        ("sample file --documents 10", 8, "file is a file"),
        ("sample file/out --documents 10", 8, "Not a directory"),
        ("sample out --documents -1", 2, "--documents"),
        ("sample out --documents ten", 2, "--documents"),
        ("smuggler in out nowhere --create", 3, "there is no file nowhere"),
        ("smuggler in out empty --create", 2, "no dump in empty"),
        ("smuggler in out file --create", 6, "not a dump"),
        ("smuggler in out file", 3, "there is no database in out"),
        ("smuggler in shop file/x", 3, "there is no file file/x"),
        ("smuggler out shop new.ndjson --transform-file nowhere", 3, "there is no file nowhere"),
        ("backup --url http://127.0.0.1:1 --database= --dest out", 2, "the name in --database is empty"),
        ("backup shop --dest=", 2, "the name of a folder or file is empty"),
        ("backup= --dest=out", 2, "backup="),
        ("sample http://127.0.0.1:8080 --documents 1", 2, "is the address of a server"),
        ("check http://127.0.0.1:8080", 2, "is the address of a server"),
        ("restore backups --to https://server/x", 2, "names no database"),
        (f"sample {'x' * 300} --documents 1", 8, "name too long"),
        (f"smuggler out {'x' * 300} new.ndjson", 8, "name too long"),
        (f"smuggler in shop {'x' * 300}", 8, "name too long"),
        ("backup shop", 2, "missing option '--dest'"),
        ("backup --dest out", 2, "no database to back up was named"),
        ("backup shop --dest out --full", 2, "no such option: --full"),
        ("backup shop more --dest out", 2, "more"),
        ("bakup shop --dest out", 2, "did you mean 'backup'"),
        ("smuggler about shop file", 2, "no such command 'about'"),
        ("smuggler out nowhere new.ndjson", 3, "neither a database nor a backup in nowhere"),
        ("smuggler out empty new.ndjson", 3, "neither a database nor a backup in empty"),
        ("smuggler out shop new", 2, "does not say which format"),
        ("smuggler out shop new.ndjson --compression lz4", 2, "--compression"),
        ("smuggler out shop file --format ndjson", 4, "file exists already"),
        ("smuggler out shop empty --format ndjson", 4, "empty is a folder"),
        ("smuggler out shop file/new.ndjson", 8, "Not a directory"),
        ("smuggler out shop new.ndjson --etag 5", 2, "only its present state"),
        ("smuggler out shop new.ndjson --database x", 2, "shop is a folder"),
        ("smuggler out shop -", 2, "stdout cannot have both"),
        ("smuggler out backups new.ndjson --at yesterday", 2, "'yesterday' is not a time"),
        ("smuggler out backups new.ndjson --etag 1 --backup x", 2, "backup"),
        ("smuggler out backups new.ndjson --backup x", 3, "x"),
        ("smuggler out http://127.0.0.1:1 new.ndjson", 2, "no database of http://127.0.0.1:1 was named"),
        ("smuggler in http://127.0.0.1:1 dump.ravendbdump", 2, "name it with --database,"),
        ("smuggler in http://127.0.0.1:1 dump.ravendbdump --create", 2, "no database of http://127.0.0.1:1 was named"),
        ("smuggler between shop http://127.0.0.1:1", 2, "name it with --database2,"),
        ("smuggler out http://127.0.0.1:1 new.ndjson --database x", 9, "does not answer"),
        ("smuggler in shop none.ravendbdump", 3, "there is no file none.ravendbdump"),
        ("smuggler in new none.ravendbdump --create", 3, "there is no file none.ravendbdump"),
        ("smuggler in shop file --until 2026-11-27", 2, "is not a folder"),
        ("smuggler in shop empty", 2, "there is no dump in empty"),
        ("smuggler in shop empty --backup x", 2, "there is no backup 'x' in empty"),
        ("smuggler out http:// new.ndjson", 2, "is not the URL of a server"),
        ("--nonsense", 2, "no such option: --nonsense"),
        ("restore backups --to new --etag abc", 2, "invalid value for '--etag': 'abc' is not a whole number"),
        ("restore backups --to new --etag -1", 2, "invalid value for '--etag': -1 is less than 0"),
        ("smuggler out shop new --format foo", 2, "invalid value for '--format': 'foo' is not one of"),
    ],
)
def test_bad_input(here: Path, line: str, code: int, part: str) -> None:
    if "other" in line:
        DocumentDatabase(here / "other").close()
    before = sorted(here.rglob("*"))
    ended = muniment(*line.split(), "--json", cwd=here)
    assert part.lower() in ended.err.lower()
    failed(ended, code)
    assert ended.err.splitlines() == [f"error: {ended.json['error']}", f"hint: {ended.json['hint']}"]
    assert set(ended.json) == {"error", "hint", "type"}
    unchanged = [path for path in sorted(here.rglob("*")) if not path.name.startswith("muniment.db-")]
    assert unchanged == [path for path in before if not path.name.startswith("muniment.db-")]


def test_without_json_an_error_leaves_stdout_alone(here: Path) -> None:
    ended = muniment("check", here / "nowhere")
    failed(ended, 3, f"there is no database in {here / 'nowhere'}")
    assert ended.out == b""


def test_a_name_that_is_not_unicode_can_be_complained_about(here: Path) -> None:
    ended = muniment("check", here / "\udcff", "--json")
    failed(ended, 3, "there is no database in ")
    assert ended.json["error"] == f"there is no database in {here}/\udcff"


@pytest.mark.parametrize("line", ["", "smuggler"])
def test_without_a_command_there_is_help(line: str) -> None:
    ended = muniment(*line.split())
    assert ended.code == 2
    assert "Usage:" in ended.text
    assert ended.err == ""


def test_a_dump_that_is_cut_short_says_how_far_it_got(here: Path) -> None:
    failed(
        muniment("smuggler", "in", here / "out", here / "cut.ravendbdump", "--create"),
        5,
        "cut short",
        "after document 'a/1'",
    )


def the_file(folder: Path, name: str) -> Path:
    (found,) = folder.rglob(name)
    return found


def test_a_damaged_backup(here: Path) -> None:
    file = the_file(here / "backups", "documents-00001.parquet")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    failed(muniment("verify", here / "backups"), 5, "SHA-256")
    failed(muniment("restore", here / "backups", "--to", here / "out"), 5, "SHA-256")
    assert not list(here.glob("out*"))
    assert muniment("verify", here / "backups", "--json").json["type"] == "DamagedBackup"


def test_a_backup_without_one_of_its_files(here: Path) -> None:
    the_file(here / "backups", "attachments-00001.parquet").unlink()
    failed(muniment("verify", here / "backups"), 5, "is missing")


def test_a_backup_of_a_newer_format(here: Path) -> None:
    file = the_file(here / "backups", "manifest.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 99}))
    failed(muniment("restore", here / "backups", "--to", here / "out"), 6, "has format 99")
    failed(muniment("verify", here / "backups"), 6)


def test_a_database_of_a_newer_format(here: Path) -> None:
    with closing(apsw.Connection(str(here / "shop" / "muniment.db"))) as connection:
        connection.execute("PRAGMA user_version = 99")
    for line in ("statistics shop", "check shop", "get shop orders/1", "backup shop --dest out"):
        failed(muniment(*line.split(), cwd=here), 6, "has format 99")


def test_a_database_that_does_not_agree_with_itself(here: Path) -> None:
    with closing(apsw.Connection(str(here / "shop" / "muniment.db"))) as connection:
        connection.execute("UPDATE log SET body = x'7b7d' WHERE id IN ('orders/1', 'orders/2')")
    ended = muniment("check", here / "shop")
    failed(ended, 5, "is damaged in ")
    assert "'orders/1'" in ended.text
    facts = muniment("check", here / "shop", "--json").json
    assert facts["type"] == "DamagedDatabase"
    assert len(facts["problems"]) >= 2


def test_a_database_file_that_is_none(here: Path) -> None:
    (here / "shop" / "muniment.db").write_bytes(b"nothing of the kind" * 1000)
    failed(muniment("check", here / "shop"), 5, "damaged")


@pytest.fixture
def held(here: Path) -> Iterator[Path]:
    """A database that another process has open for writing."""
    code = "import sys, muniment; muniment.DocumentDatabase(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(here / "shop")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"open\n"
        yield here / "shop"
        process.communicate()


def test_a_database_that_another_process_holds(held: Path, tmp_path: Path) -> None:
    failed(muniment("sample", held), 7, "open for writing")
    assert (held / "muniment.db").is_file()
    assert muniment("settings", held, "Mine=1", "--json").json["type"] == "DatabaseLocked"
    assert muniment("backup", held, "--dest", tmp_path / "out", "--json").json["kind"] == "full"


def test_a_reader_who_goes_away_is_no_error(shop: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        [*COMMAND, "statistics", str(shop)], stdout=writing, stderr=subprocess.PIPE, env=environment(), check=False
    )
    os.close(writing)
    assert (process.returncode, process.stderr) == (0, b"")


@some(2)
@pytest.mark.parametrize("line", ["--help", "restore --help", "smuggler --help", "--version"])
def test_a_reader_of_help_who_goes_away_is_no_error(line: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        [*COMMAND, *line.split()], stdout=writing, stderr=subprocess.PIPE, env=environment(), check=False
    )
    os.close(writing)
    assert (process.returncode, process.stderr) == (0, b"")


@pytest.mark.parametrize(
    "words",
    [
        ("restore", "backups", "--to", "new", "--backup", ""),
        ("verify", "backups", "--backup", " "),
        ("inspect", "backups", "--id", ""),
        ("restore", "backups", "--server", "http://127.0.0.1:1", "--name", ""),
    ],
)
def test_an_option_that_names_nothing_is_refused(here: Path, words: tuple[str, ...]) -> None:
    failed(muniment(*words, cwd=here), 2, "is empty", "leave out the option")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_an_output_that_is_full(shop: Path) -> None:
    command = [*COMMAND, "get", str(shop), "orders/1", "--json"]
    with Path("/dev/full").open("wb") as full:
        process = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=environment(), check=False)
    failed(Ended(process.returncode, b"", process.stderr.decode()), 8, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_output_that_becomes_full_in_the_middle(tmp_path: Path, unbuffered: str) -> None:
    """The system takes what there is room for, and says nothing; without Python's buffer, nobody wrote the rest."""
    most = 1 << 20
    with DocumentDatabase(tmp_path / "shop") as database:
        database.put("orders/1", {"text": "x" * 2 * most})
    limited = ["prlimit", f"--fsize={most}", *COMMAND, "get", str(tmp_path / "shop"), "orders/1"]
    env = environment(PYTHONUNBUFFERED=unbuffered)
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.run(limited, stdout=out, stderr=subprocess.PIPE, env=env, check=False)
    assert (tmp_path / "out").stat().st_size == most
    failed(Ended(process.returncode, b"", process.stderr.decode()), 8, os.strerror(errno.EFBIG))


def test_closed_streams(shop: Path, tmp_path: Path) -> None:
    line = [*COMMAND, "backup", str(shop), "--dest", str(tmp_path / "backups")]
    closed = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh"]
    assert subprocess.run([*closed, *line], env=environment(), check=False).returncode == 0
    missing = [*COMMAND, "check", str(tmp_path / "nowhere")]
    assert subprocess.run([*closed, *missing], env=environment(), check=False).returncode == 3
    assert muniment("verify", tmp_path / "backups").code == 0


@pytest.mark.parametrize("debug", [False, True])
def test_what_nobody_foresaw(debug: bool) -> None:
    code = f"from muniment.cli.outcome import outcome; exit(outcome(lambda: 1 // 0, as_json=True, debug={debug}))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment(), check=False)
    assert process.returncode == 1
    assert b"please report this" in process.stderr
    assert (b"Traceback" in process.stderr) == debug
    assert json.loads(process.stdout)["type"] == "Unexpected"


@pytest.mark.parametrize(("options", "env"), [(["--debug"], {}), ([], {"MUNIMENT_DEBUG": "1"})])
def test_debug_shows_where_an_error_was_raised(tmp_path: Path, options: list[str], env: dict[str, str]) -> None:
    ended = muniment(*options, "check", tmp_path / "nowhere", env=env)
    assert ended.code == 3
    assert "Traceback" in ended.err
    assert ended.err.splitlines()[-2].startswith("error: there is no database in ")


@some(1)
@pytest.mark.parametrize("stderr", ["closed", "full"])
def test_what_can_not_be_said_changes_no_outcome(shop: Path, tmp_path: Path, stderr: str) -> None:
    if stderr == "closed":
        reading, descriptor = os.pipe()
        os.close(reading)
    else:
        descriptor = os.open("/dev/full", os.O_WRONLY)

    def code(*arguments: str | Path) -> int:
        command = [*COMMAND, *map(str, arguments)]
        nowhere = subprocess.DEVNULL
        return subprocess.run(command, env=environment(), check=False, stdout=nowhere, stderr=descriptor).returncode

    try:
        assert code("check", tmp_path / "nowhere") == 3
        assert code("--debug", "check", tmp_path / "nowhere") == 3
        assert code("no-such-command") == 2
        assert code("backup", shop, "--dest", tmp_path / "backups") == 0
        assert code("smuggler", "out", shop, "-") == 0
    finally:
        os.close(descriptor)


def test_a_terminal_that_is_closed_changes_no_outcome(shop: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [*COMMAND, "backup", str(shop), "--dest", str(tmp_path / "backups"), "--read-rate=1MB"]
    nowhere = subprocess.DEVNULL
    process = subprocess.Popen(command, env=environment(), stdin=nowhere, stdout=nowhere, stderr=theirs)
    os.close(theirs)
    assert os.read(ours, 1000)
    os.close(ours)
    assert process.wait(60) == 0
    assert muniment("verify", tmp_path / "backups").code == 0


@pytest.mark.parametrize(
    "words",
    [
        ("check", ""),
        ("backup", "shop", "--dest", " "),
        ("restore", "backups", "--to", ""),
        ("smuggler", "out", "", "new.ndjson"),
        ("smuggler", "in", "", "file", "--create"),
        ("settings", ""),
        ("sample", ""),
    ],
)
def test_a_name_that_is_empty_is_not_the_present_folder(here: Path, words: tuple[str, ...]) -> None:
    before = sorted(here.iterdir())
    failed(muniment(*words, cwd=here), 2)
    assert sorted(here.iterdir()) == before
