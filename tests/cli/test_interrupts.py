"""Ctrl-C and SIGTERM in the middle of every command: a clean end, and nothing half done left."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from muniment import DocumentDatabase
from muniment.cli.interrupts import Interrupts, Stopped
from muniment.errors import Cancelled
from muniment.progress import Progress
from muniment.sample import documents
from tests.cli.conftest import SMALL
from tests.cli.process import COMMAND, Ended, environment, held, interrupted, muniment, on_terminal
from tests.sampled import some
from tests.starter import PATIENCE, Forked

DUMPED = 60_000  # more than is on its way to the disk when the first are counted
NUMBERS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


def stopped(ended: Ended, code: int, hint: str = "nothing half done was left") -> None:
    """Whether this is how a command ends when somebody stops it."""
    assert ended.code == code
    assert "Traceback" not in ended.err
    assert "error: " in ended.err
    assert hint in ended.err
    assert ended.out == b""


@some(1)
@pytest.mark.parametrize(("number", "code"), NUMBERS)
def test_backup(shop: Path, tmp_path: Path, number: signal.Signals, code: int) -> None:
    stopped(interrupted("backup", shop, "--dest", tmp_path / "new", stage="writing documents", number=number), code)
    assert not list(tmp_path.iterdir())
    with DocumentDatabase(shop, create=False) as database:
        assert database.statistics().documents == SMALL + 1


@some(1)
@pytest.mark.parametrize(("number", "code"), NUMBERS)
def test_restore(backups: Path, tmp_path: Path, number: signal.Signals, code: int) -> None:
    command = ("restore", backups, "--to", tmp_path / "new")
    stopped(interrupted(*command, stage="reading documents", number=number), code)
    assert not list(tmp_path.iterdir())


def test_verify(backups: Path) -> None:
    before = set(backups.iterdir())
    stopped(interrupted("verify", backups, stage="verifying"), 130)
    assert set(backups.iterdir()) == before


@some(1)
@pytest.mark.parametrize(("number", "code"), NUMBERS)
def test_a_sample_in_a_new_folder_is_removed(tmp_path: Path, number: signal.Signals, code: int) -> None:
    command = ("sample", tmp_path / "new" / "shop", "--documents", "3000")
    stopped(interrupted(*command, stage="writing documents", number=number), code)
    assert not list(tmp_path.iterdir())


def test_a_sample_in_an_empty_database_leaves_it_empty(tmp_path: Path) -> None:
    DocumentDatabase(tmp_path / "shop").close()
    command = ("sample", tmp_path / "shop", "--documents", "3000")
    stopped(interrupted(*command, stage="writing documents"), 130)
    with DocumentDatabase(tmp_path / "shop", create=False) as database:
        assert database.statistics().documents == 0
        assert database.check() == []
    assert muniment("sample", tmp_path / "shop", "--documents", "10").code == 0


def write_dump(path: Path, count: int) -> None:
    with path.open("wb") as dump:
        dump.write(b'{"BuildVersion":62028,"Docs":[')
        for number, (id, body, _) in enumerate(documents(count)):
            separator = b",\n" if number else b""
            dump.write(b'%b%b,"@metadata":{"@id":"%b"}}' % (separator, body[:-1], id.encode()))
        dump.write(b"]}")


def test_an_import_says_how_far_it_got_and_can_be_completed(tmp_path: Path) -> None:
    write_dump(tmp_path / "big.ravendbdump", DUMPED)
    command = ("smuggler", "in", tmp_path / "shop", tmp_path / "big.ravendbdump", "--create")
    ended = interrupted(*command, stage="importing")
    stopped(ended, 130, "import the same dump again to complete it")
    with DocumentDatabase(tmp_path / "shop", create=False) as database:
        assert 0 < database.statistics().documents < DUMPED
        assert database.check() == []
    again = muniment(*command, "--json")
    assert again.json["documents"] == DUMPED
    with DocumentDatabase(tmp_path / "shop", create=False) as database:
        assert database.statistics().documents == DUMPED


ENDLESSLY = """
from muniment import DocumentDatabase
check = DocumentDatabase.check
DocumentDatabase.check = lambda self: [check(self) for _ in iter(int, 1)]
"""


def test_check(shop: Path) -> None:
    ended = on_terminal(
        *("check", shop),
        seen=lambda shown: "checking" in shown,
        then=lambda process: process.send_signal(signal.SIGINT),
        before=ENDLESSLY,
    )
    stopped(ended, 130)


def test_a_second_signal_does_not_break_off_the_cleaning_up(shop: Path, tmp_path: Path) -> None:
    def insist(process: Forked) -> None:
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            process.send_signal(number)

    ended = on_terminal(
        *("backup", shop, "--dest", tmp_path / "new"),
        seen=lambda shown: "writing documents" in shown,
        then=insist,
        before=held("writing documents"),
    )
    assert ended.code in (130, 143)  # the first that was delivered, and Linux may choose any
    stopped(ended, ended.code)
    assert not list(tmp_path.iterdir())


def test_a_terminal_that_is_closed(shop: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "backup", str(shop), "--dest", str(tmp_path / "new"), "--read-rate=1kB"],
        env=environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    shown = b""
    while b"writing documents" not in shown:
        shown += os.read(ours, 1 << 16)
    os.close(ours)
    assert process.wait(PATIENCE) == 129
    assert not list(tmp_path.iterdir())


SLOWLY = """
import sys, time
from muniment.__main__ import main

class Slowly:
    def find_spec(self, name, *_):
        if name == {loaded!r}:
            print("now", flush=True)
            time.sleep(60)

sys.meta_path.insert(0, Slowly())
sys.exit(main())
"""


@some(1)
@pytest.mark.parametrize("loaded", ["msgspec", "apsw", "isal"])
def test_ctrl_c_while_the_command_is_loading_is_no_traceback(loaded: str, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLOWLY.format(loaded=loaded), "check", tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (130, "", "error: stopped\nhint: nothing had begun; run it again\n")


AT_ITS_END = """
import os, sys
from muniment.__main__ import main

class Late:
    def __del__(self, write=os.write, read=os.read):
        write(2, b"now\\n")
        read(0, 1)

late = Late()
sys.exit(main())
"""


def test_ctrl_c_when_all_is_done_and_said_changes_nothing(shop: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", AT_ITS_END, "get", shop, "odd/one"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stderr is not None
    assert process.stderr.readline() == b"now\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(b".", timeout=PATIENCE)
    assert (process.returncode, err) == (0, b"")
    assert out.startswith(b'{"price": 1.10')


def test_a_job_that_begins_after_a_signal_that_got_lost_is_stopped() -> None:
    """What a handler raises in a callback, Python may only print."""
    interrupts, progress = Interrupts(), Progress()
    with pytest.raises(Stopped):
        interrupts._receive(signal.SIGINT, None)
    with interrupts.cancel(progress), pytest.raises(Cancelled):
        progress.check()
