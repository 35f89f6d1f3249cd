"""Processes of ours: what passes between them, and what becomes of them."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Timer
from typing import Any

import msgspec
import pytest

from muniment import DocumentDatabase, workers
from muniment.errors import Cancelled, ConcurrencyConflict, StorageFailure
from muniment.limits import Limits
from muniment.progress import Progress
from muniment.workers import Child, Parent, Worker, speaking
from tests import work
from tests.processes import children, runs
from tests.waiting import until
from tests.work import Content, Text

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.usefixtures("real_workers")


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A worker finds what is in the tests too, and leaves no process behind."""
    monkeypatch.setattr(workers, "_PLACE", str(ROOT))
    before = set(children(os.getpid()))
    yield
    assert set(children(os.getpid())) <= before


def worker(function: Callable[[Parent], None], progress: Progress | None = None, **more: Any) -> Worker[Text | Content]:
    return Worker(function, Text | Content, does="is tried", progress=progress or Progress(), **more)


def test_what_is_told_is_said_again() -> None:
    messages = [Text(""), Text("é\n"), Content(bytes(range(256)) * 40_000), Text("x" * 300_000)]
    with worker(work.echo) as echo:
        for message in messages:
            echo.tell(message)
            assert echo.hear() == message


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_nothing_is_lost_by_one_that_is_stopped_while_it_speaks(
    monkeypatch: pytest.MonkeyPatch, unbuffered: str
) -> None:
    """The system takes a part of what is written then; without Python's buffer nobody wrote the rest."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    content = Content(random.Random(1).randbytes(4 * workers.PIPE_BYTES))
    with worker(work.say_again) as it:
        it.tell(content)
        until(lambda: _unread(it) > 1 << 15)  # it goes on to write, or waits for room
        os.kill(it.pid, signal.SIGSTOP)
        until(lambda: workers._is_stopped(it.pid))
        os.kill(it.pid, signal.SIGCONT)
        assert it.hear() == content


def _unread(child: Child) -> int:
    """How many bytes it has said that nobody has heard yet."""
    return struct.unpack("i", fcntl.ioctl(child.fileno(), termios.FIONREAD, bytes(4)))[0]  # type: ignore[no-any-return]


def test_one_that_was_stopped_is_named_and_given_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parent waited for ever, and nobody knew for what."""
    monkeypatch.setattr(workers, "SILENT_SECONDS", 0.0)
    monkeypatch.setattr(workers, "LOOK_SECONDS", 0.01)

    class Looking(Progress):
        """Continues it as soon as the stage tells of it."""

        def check(self) -> None:
            stages.add(self.stage)
            if "SIGSTOP" in self.stage and continued:
                os.kill(echo.pid, signal.SIGCONT)

    stages, continued, progress = set[str](), True, Looking(stage="echoing")
    with worker(work.echo, progress) as echo:
        echo.tell(Text("a"))
        assert echo.hear() == Text("a")
        os.kill(echo.pid, signal.SIGSTOP)
        echo.tell(Text("b"))
        assert echo.hear() == Text("b")
        assert f"waiting for process {echo.pid}, which was stopped (SIGSTOP): kill -CONT {echo.pid}" in stages
        assert progress.stage == "echoing"
        continued = False
        monkeypatch.setattr(workers, "STOPPED_SECONDS", 0.0)
        os.kill(echo.pid, signal.SIGSTOP)
        with pytest.raises(StorageFailure, match=rf"that is tried \({echo.pid}\) was stopped \(SIGSTOP\), and not"):
            echo.hear()


def test_limits_hold_before_the_work_is_told() -> None:
    progress = Progress()
    progress.limits = Limits(read_rate=5)
    with worker(work.tell_the_rate, progress) as it:
        it.tell(Text("begin"))
        assert msgspec.msgpack.decode(it.receive() or b"", type=Text) == Text("5")


def test_nothing_is_inherited_but_three_descriptors(tmp_path: Path) -> None:
    inheritable = os.open(tmp_path / "other", os.O_CREAT)
    os.set_inheritable(inheritable, True)
    with DocumentDatabase(tmp_path / "shop") as database:
        database.put("a", {})
        with worker(work.tell_of_itself, niceness=3) as it:
            assert it.hear() == Text(f"0,1,2 {os.nice(0) + 3} True")
    os.close(inheritable)


def test_an_error_comes_back_as_itself_behind_what_was_said() -> None:
    with worker(work.conflict) as it:
        assert it.hear() == Text("so far")
        with pytest.raises(ConcurrencyConflict, match="expected at etag 3") as caught:
            it.hear()
    assert (caught.value.id, caught.value.expected, caught.value.actual) == ("a/1", 3, 4)


def test_an_error_that_nobody_expected() -> None:
    with worker(work.break_down) as it, pytest.raises(StorageFailure, match="boom"):
        it.hear()


@pytest.mark.parametrize("death", [work.die, work.die_in_a_frame])
def test_a_worker_that_dies_is_told(death: Callable[[Parent], None]) -> None:
    with worker(death) as it, pytest.raises(StorageFailure, match="that is tried was ended with code -9") as caught:
        it.hear()
    assert caught.value.hint


def test_what_is_sent_to_one_that_has_died_is_no_error() -> None:
    with worker(work.die) as it:
        it.wait()
        for _ in range(3):
            it.tell(Content(bytes(1 << 20)))
        assert it.ended


def test_one_that_can_not_be_started() -> None:
    with pytest.raises(StorageFailure, match=r"the process that is tried could not be started: .*No such file"):
        Child([str(ROOT / "nothing")], does="is tried")


def test_a_worker_that_hangs_can_be_given_up() -> None:
    progress = Progress()
    Timer(0.5, progress.cancel).start()
    with worker(work.hang_in_a_frame, progress) as it, pytest.raises(Cancelled):
        it.hear()


def test_those_that_speak_are_found_among_many() -> None:
    with worker(work.echo) as silent, worker(work.echo) as first, worker(work.echo) as second:
        first.tell(Text("1"))
        second.tell(Text("2"))
        heard: set[object] = set()
        while len(heard) < 2:
            for it in speaking({silent, first, second}, lambda: None):
                heard.add(getattr(it.hear(), "text", None))
        assert heard == {"1", "2"}


def test_its_progress_is_shown() -> None:
    progress = Progress()
    with worker(work.count, progress) as it:
        time.sleep(2 * workers.REPORT_SECONDS)
        it.tell(Text("go on"))
        assert it.hear() == Text("done")
    assert (progress.stage, progress.documents, progress.bytes, progress.total_documents) == ("counting", 7, 5, 7)


def test_one_that_is_cancelled_has_time_to_clean_up(tmp_path: Path) -> None:
    progress, made = Progress(), tmp_path / "made"
    with worker(work.clean_up, progress, grace=60) as it:
        it.tell(Text(str(made)))
        assert it.hear() == Text("made")
        assert made.exists()
        progress.cancel()
        with pytest.raises(Cancelled):
            it.hear()
        assert not made.exists()


def test_but_not_for_ever() -> None:
    progress = Progress()
    with worker(work.hang_in_a_frame, progress, grace=0.3) as it:
        progress.cancel()
        with pytest.raises(Cancelled):
            it.hear()


def test_it_ends_with_its_parent_and_cleans_up(tmp_path: Path) -> None:
    program = (
        "import sys; from tests.test_workers import *; workers._PLACE = str(ROOT)\n"
        "it = worker(work.clean_up); it.tell(Text(sys.argv[1])); it.hear(); print(it.pid, flush=True); sys.stdin.read()"
    )
    made, pipe = tmp_path / "made", subprocess.PIPE
    command = [sys.executable, "-c", program, str(made)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=ROOT) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert made.exists()
        parent.send_signal(signal.SIGKILL)
    until(lambda: not runs(pid))
    assert not made.exists()
