"""Processes of ours that work beside this one: how they are started, spoken to, and ended.

A child gets its stdin and stdout to talk to its parent, its stderr, and no other descriptor; so none of a database. It
runs in a session of its own, because Ctrl-C is for the parent, and ends with its parent, however that ends.

They talk in frames: a length in four bytes, and so many bytes. `multiprocessing` has connections with frames too, which
wait for the rest of one without looking up, so that nobody could give up on a child that hangs. Importing them takes as
long as starting Python, and the processes of `multiprocessing` import the embedding program again.
"""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from time import monotonic, sleep
from typing import Any, BinaryIO, Final, Generic, NoReturn, Self, TypeVar

import msgspec

from muniment.durable import write_all
from muniment.errors import Cancelled, ErrorRecord, StorageFailure
from muniment.limits import NO_LIMITS, Limits
from muniment.progress import Counts, Progress

LOOK_SECONDS: Final = 0.1
REPORT_SECONDS: Final = 0.2
GRACE_SECONDS: Final = 20.0  # for a child that was told to stop
SILENT_SECONDS: Final = 2.0  # after which it is looked at whether a child has been stopped (SIGSTOP)
STOPPED_SECONDS: Final = 60.0  # for which one may be
PIPE_BYTES: Final = 1 << 20
_HEAD_BYTES: Final = 4
_CONTROL: Final = b"\xc1"  # with which no message begins, in msgpack
# A program that has found the package in a place of its own need not have told that to its processes.
_PLACE: Final = str(Path(__file__).parents[1])
# Work on batches of some megabytes gives memory back to the system and gets it again, each page cleared, all the time:
# a tenth of the processor time. A process of ours ends soon enough to keep what it has had. For glibc and Arrow.
_MEMORY: Final = {
    "MALLOC_MMAP_THRESHOLD_": str(64 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
_START: Final = "import sys; sys.path.append(sys.argv[1]); from muniment.workers import main; main(*sys.argv[2:])"
_HINT: Final = "check that there is enough memory, look at stderr, and try it again"

Said = TypeVar("Said")
Told = TypeVar("Told")
AnyChild = TypeVar("AnyChild", bound="Child")

_encode = msgspec.msgpack.Encoder().encode


def _framed(frame: bytes) -> bytes:
    return len(frame).to_bytes(_HEAD_BYTES, "big") + frame


class Child:
    """A process that was started, and frames between it and this one. To be closed, which ends it wherever it is.

    `does` is what it does, as in "the process that … could not be started".
    """

    def __init__(
        self, command: Sequence[str], *, does: str, stderr: int | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        """Raises `StorageFailure` when the operating system has no room for another process."""
        self.does = does
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=stderr, start_new_session=True, env=env
            )
        except OSError as error:
            raise StorageFailure(f"the process that {does} could not be started: {error}", _HINT) from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        if sys.platform == "linux":
            with suppress(OSError):  # there is a limit to how much the pipes of one user may hold
                fcntl.fcntl(self._stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._poll = select.poll()
        self._poll.register(self._stdout, select.POLLIN)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether there is no such process any more."""
        return self._process.poll() is not None

    def fileno(self) -> int:
        """Where there is something to read when the child has said something or has ended."""
        return self._stdout.fileno()

    def send(self, *frames: bytes) -> None:
        """Give it these frames. One that has ended takes none: what it has said last, or its exit code, tells more."""
        with suppress(BrokenPipeError, ValueError):  # ValueError: it was told to stop
            self._stdin.write(b"".join(map(_framed, frames)))
            self._stdin.flush()

    def receive(self, check: Callable[[], None] = lambda: None) -> bytes | bytearray | None:
        """The next frame from it, None when it says no more. While nothing comes, `check` is called again and again."""
        head = self._take(_HEAD_BYTES, check)
        return None if head is None else self._take(int.from_bytes(head, "big"), check)

    def _take(self, size: int, check: Callable[[], None]) -> bytearray | None:
        taken = bytearray(size)
        rest = memoryview(taken)
        while rest:
            while not self._poll.poll(LOOK_SECONDS * 1000):
                check()
            count = os.readv(self._stdout.fileno(), [rest])
            if not count:
                return None
            rest = rest[count:]
        return taken

    def stop(self) -> None:
        """Ask it to stop, which it may take some time to do."""
        with suppress(BrokenPipeError):
            self._stdin.close()

    def wait(self) -> int:
        """Its exit code; negative for the signal that has ended it."""
        return self._process.wait()

    def close(self) -> None:
        """End it. Closing again does nothing."""
        self._process.kill()
        self.stop()
        self._stdout.close()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def speaking(children: Collection[AnyChild], check: Callable[[], None]) -> list[AnyChild]:
    """Those that have something to say, or have ended; waits for the first, and calls `check` again and again."""
    poll = select.poll()
    by_descriptor = {child.fileno(): child for child in children}
    for descriptor in by_descriptor:
        poll.register(descriptor, select.POLLIN)
    while not (found := poll.poll(LOOK_SECONDS * 1000)):
        check()
    return [by_descriptor[descriptor] for descriptor, _ in found]


class _Reached(msgspec.Struct, frozen=True, tag=True):
    """How far the work is."""

    stage: str
    counts: Counts


class Worker(Child, Generic[Said]):
    """A process that runs a function of ours, which is given its `Parent`, and what they say to each other.

    `says` is what the function says: a `msgspec.Struct` with a tag, or several. When `progress` is cancelled it is
    asked to stop, and has `grace` seconds to clean up. A higher `niceness` leaves the processor to others.
    """

    def __init__(
        self,
        function: Callable[[Parent], None],
        says: Any,
        *,
        does: str,
        progress: Progress,
        grace: float = 0.0,
        niceness: int = 0,
    ) -> None:
        where = [function.__module__, function.__name__, str(niceness)]
        super().__init__([sys.executable, "-P", "-c", _START, _PLACE, *where], does=does, env={**_MEMORY, **os.environ})
        self._decode = msgspec.msgpack.Decoder(says | _Reached | ErrorRecord).decode
        self._progress = progress
        self._grace = grace
        self._until: float | None = None
        self._heard = monotonic()
        self._stopped: tuple[float, str] | None = None  # since when, and what the stage was
        self._limits = NO_LIMITS

    def tell(self, message: object) -> None:
        """Tell the function this, for which it has to ask; the limits that there are hold before it knows."""
        self._tell_limits()
        self.send(_encode(message))

    def hear(self) -> Said:
        """The next thing that the function says; what it reports is shown in the progress.

        Raises what the function has raised, `Cancelled` when the progress says so and the worker has stopped or has had
        the time for it, and `StorageFailure` when it died, or was stopped (SIGSTOP) and not continued for a minute. The
        stage of the progress tells of that meanwhile.
        """
        while True:
            self.check()
            frame = self.receive(self.check)
            self._heard = monotonic()
            self._went_on()
            if frame is None:
                self._died()
            said: Said | _Reached | ErrorRecord = self._decode(frame)
            if isinstance(said, ErrorRecord):
                raise said.error()
            if not isinstance(said, _Reached):
                return said
            self._progress.stage, self._progress.counts = said.stage, said.counts

    def check(self) -> None:
        """What is to be done again and again while nothing is heard. Raises as `hear` does."""
        self._tell_limits()
        try:
            self._progress.check()
        except Cancelled:
            if self._until is None:
                self._until = monotonic() + self._grace
                self.stop()
            if monotonic() >= self._until:
                raise

        self._look_whether_stopped()

    def _tell_limits(self) -> None:
        if self._progress.limits is not self._limits:
            self._limits = self._progress.limits
            self.send(_CONTROL + _encode(self._limits))

    def _look_whether_stopped(self) -> None:
        """Tell of a process that stands still because somebody has stopped it, and give up on it after a while."""
        now = monotonic()
        if now - self._heard < SILENT_SECONDS:
            return
        if not _is_stopped(self.pid):
            self._went_on()
            return
        if self._stopped is None:
            self._stopped = now, self._progress.stage
            self._progress.stage = self._waits
        if now - self._stopped[0] >= STOPPED_SECONDS:
            raise StorageFailure(
                f"the process that {self.does} ({self.pid}) was stopped (SIGSTOP), and not continued", _HINT
            )

    @property
    def _waits(self) -> str:
        return f"waiting for process {self.pid}, which was stopped (SIGSTOP): kill -CONT {self.pid}"

    def _went_on(self) -> None:
        if self._stopped is not None:
            if self._progress.stage == self._waits:
                self._progress.stage = self._stopped[1]
            self._stopped = None

    def _died(self) -> NoReturn:
        code = self.wait()
        self._progress.check()
        raise StorageFailure(f"the process that {self.does} was ended with code {code}", _HINT)


class Parent:
    """Whoever has started this process, as the function that runs in it sees it.

    `progress` is cancelled when the parent asks for that or dies; a function that does not stop then is ended.
    """

    def __init__(self) -> None:
        self.progress = Progress()
        self._told: SimpleQueue[bytes | None] = SimpleQueue()
        self._stdout = sys.stdout.buffer
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, args=(sys.stdin.buffer,), daemon=True).start()

    def say(self, message: object) -> None:
        """Tell the parent this, if it is still there; if not, the work is to stop."""
        frame = _framed(_encode(message))
        with self._lock:
            try:
                write_all(self._stdout, frame)
                self._stdout.flush()
            except OSError:
                self.progress.cancel()

    def hear(self, kind: type[Told]) -> Told:
        """The next thing that the parent tells; raises `Cancelled` when it tells no more."""
        frame = self._told.get()
        if frame is None:
            self._told.put(None)
            self.progress.check()
        return msgspec.msgpack.decode(frame or b"", type=kind)

    @contextmanager
    def reporting(self) -> Iterator[Progress]:
        """The progress, which within this is shown to the parent from time to time, and in the end."""
        done = threading.Event()

        def report() -> None:
            self.say(_Reached(self.progress.stage, self.progress.counts))

        def report_on() -> None:
            while not done.wait(REPORT_SECONDS):
                report()

        reporter = threading.Thread(target=report_on, daemon=True)
        reporter.start()
        try:
            yield self.progress
        finally:
            done.set()
            reporter.join()
            report()

    def _limit(self, limits: Limits) -> None:
        self.progress.limits = limits
        if limits.niceness is not None:
            renice(limits.niceness)

    def _listen(self, stdin: BinaryIO) -> None:
        while len(head := stdin.read(_HEAD_BYTES)) == _HEAD_BYTES:
            frame = stdin.read(int.from_bytes(head, "big"))
            if frame.startswith(_CONTROL):
                self._limit(msgspec.msgpack.decode(frame[len(_CONTROL) :], type=Limits))
            else:
                self._told.put(frame)
        self.progress.cancel()
        self._told.put(None)
        sleep(GRACE_SECONDS)
        os._exit(1)


def _is_stopped(process: int) -> bool:
    """Whether a process stands still until it is told to go on; False where that cannot be known."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except (OSError, IndexError):
        return False


def renice(niceness: int) -> None:
    """Have all threads of this process stand back so far for others; less than before only if the system allows it."""
    threads = os.listdir("/proc/self/task") if sys.platform == "linux" else ["0"]  # noqa: PTH208
    for thread in threads:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, int(thread), niceness)


def main(module: str, function: str, niceness: str) -> None:
    """The process of a `Worker`."""
    os.nice(int(niceness))
    parent = Parent()
    try:
        getattr(import_module(module), function)(parent)
    except Exception as error:
        parent.say(ErrorRecord.of(error))
    os._exit(0)  # the thread that listens would be waited for, and what nobody reads be written again
