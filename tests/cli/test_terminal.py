"""What a terminal gets to see, and that nothing but a terminal does."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from rich.console import Console

from muniment import DocumentDatabase, Put
from muniment.cli.bar import Bar
from muniment.progress import Progress
from tests.cli.process import COMMAND, environment, muniment, on_terminal
from tests.sampled import some
from tests.starter import PATIENCE

ESCAPE = "\x1b"
COLOUR = f"{ESCAPE}[3"


def test_a_terminal_shows_the_bar(tmp_path: Path) -> None:
    with DocumentDatabase(tmp_path / "shop") as database:
        for number in range(8):  # a step of the job for each backup
            database.batch([Put(f"n/{number}/{each}", {"text": os.urandom(10_000).hex()}) for each in range(30)])
            database.maintenance.start_backup(tmp_path / "b", incremental=True).wait()
    ended = on_terminal("verify", tmp_path / "b", "--json", "--read-rate=2MB")
    assert ended.code == 0
    for part in ("verifying", "/240 documents", " MB/s", " left", "━", COLOUR):
        assert part in ended.err
    assert ended.json["documents"] == 240


def test_without_a_terminal_there_is_no_bar_and_no_escape_code(backups: Path, tmp_path: Path) -> None:
    ended = muniment("verify", backups)
    assert (ended.code, ended.err) == (0, "")
    assert ESCAPE not in ended.text
    for ended in (muniment("--help"), muniment("verify", "--help"), muniment("verify", tmp_path / "nowhere")):
        assert ESCAPE not in ended.text + ended.err


@some(2)
@pytest.mark.parametrize(
    ("options", "env"), [(["--quiet"], {}), (["-q"], {}), ([], {"TERM": "dumb"}), ([], {"TERM": ""})]
)
def test_no_bar_when_it_is_not_wanted(backups: Path, options: list[str], env: dict[str, str]) -> None:
    ended = on_terminal("verify", backups, *options, env=env)
    assert ended.code == 0
    assert ended.err == ""


def test_no_colour_when_it_is_not_wanted(backups: Path, tmp_path: Path) -> None:
    ended = on_terminal("verify", backups, env={"NO_COLOR": "1"})
    assert "documents" in ended.err
    assert COLOUR not in ended.err
    assert COLOUR not in on_terminal("verify", tmp_path / "nowhere", env={"NO_COLOR": "1"}).err


def test_an_error_is_coloured_on_a_terminal(tmp_path: Path) -> None:
    assert f"{ESCAPE}[1;31merror: {ESCAPE}[0m" in on_terminal("verify", tmp_path / "nowhere").err


def test_a_document_ends_its_line_only_on_a_terminal(shop: Path) -> None:
    document = muniment("get", shop, "orders/1").text
    assert not document.endswith("\n")
    assert on_terminal("get", shop, "orders/1", stdout=True).err == document + "\r\n"


@some(1)
@pytest.mark.parametrize("code", [0, 3])
def test_readkey_waits_for_a_key_after_the_last_word(shop: Path, tmp_path: Path, code: int) -> None:
    ours, theirs = pty.openpty()
    folder = shop if code == 0 else tmp_path
    process = subprocess.Popen(
        [*COMMAND, "backup", str(folder), "--dest", str(tmp_path / "b"), "--readkey", "--quiet"],
        env=environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while b"press any key" not in shown:
        shown += os.read(ours, 1 << 16)
    assert (b"Backed up" if code == 0 else b"hint: ") in shown
    assert process.poll() is None
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:  # the first key can come before it listens
        os.write(ours, b"x")
        time.sleep(0.05)
    os.close(ours)
    assert process.wait(PATIENCE) == code


def test_a_terminal_shows_local_times_beside_those_in_utc(backups: Path) -> None:
    told = muniment("inspect", backups, env={"TZ": "Asia/Kolkata"}).text
    shown = on_terminal("inspect", backups, env={"TZ": "Asia/Kolkata"}, stdout=True).err
    assert "+0530" not in told
    [utc, local] = re.findall(r"at ([0-9T:-]{19})[0-9.]*Z \(([0-9: -]{19}) \+0530\)", shown)[0]
    zone = timezone(timedelta(hours=5, minutes=30))
    assert datetime.fromisoformat(f"{utc}Z").astimezone(zone).strftime("%Y-%m-%d %H:%M:%S") == local
    assert "(20" not in on_terminal("inspect", backups, env={"TZ": "UTC"}, stdout=True).err


def test_a_time_without_a_zone_is_said_in_both_readings(backups: Path, tmp_path: Path) -> None:
    line = ("restore", backups, "--to", tmp_path / "new", "--at")
    ended = on_terminal(*line, "2020-01-01T12:00", env={"TZ": "Asia/Kolkata"})
    assert ended.code == 3
    assert "2020-01-01T12:00 is read as 2020-01-01T12:00:00+05:30, 2020-01-01T06:30:00Z" in ended.err
    ended = on_terminal(*line, "2020-01-01T12:00", "--utc", env={"TZ": "Asia/Kolkata"})
    assert "is read as 2020-01-01T12:00:00Z" in ended.err
    assert "note: " not in muniment(*line, "2020-01-01T12:00Z").err
    assert "is read as" in muniment(*line, "2 hours ago").err


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_line_fits_the_terminal(width: int) -> None:
    progress = Progress(stage="reading attachments")
    progress.total_documents = 1_500_000
    console = Console(width=width, file=io.StringIO(), record=True)
    bar = Bar(progress, console.width)
    for _ in range(3):
        progress.advance(documents=400_000, bytes=300_000_000)
        console.print(bar)
        time.sleep(0.02)
    lines = console.export_text().splitlines()
    assert len(lines) == 3
    assert "1,200,000/1,500,000 documents" in lines[2]
    assert re.search(r"\d:\d\d left", lines[2])
    assert max(map(len, lines)) <= width


def test_one_document_is_one() -> None:
    progress = Progress(stage="verifying")
    progress.advance(documents=1)
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(Bar(progress, console.width))
    progress.total_documents = 1
    console.print(Bar(progress, console.width))
    without, known = console.export_text().splitlines()
    assert without.rstrip().endswith("1 document")
    assert known.rstrip().endswith("1/1 document")
    assert "/s" not in without + known
