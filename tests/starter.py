"""Processes by forking one that has loaded Muniment already, each of which so begins ten times as fast as by `exec`.

Each is a process of its own nevertheless, with its own streams, folder, environment, session and exit code. So is each
worker (`muniment.workers`) of a server, which is forked by a nursery that the server has made at its very beginning,
when it had no threads; and each worker of a test, which the starter forks. So it is where `FORKED` is in the
environment, as in tests that `make test` runs: elsewhere, and within `real_workers`, workers begin as users' do.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import gc
import io
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from muniment import workers

ROOT: Final = Path(__file__).parents[1]
PATIENCE: Final = 120.0
FORKED: Final = "FORKED_WORKERS"
NURSERY: Final = "nursery"  # how a process that forks another one's workers is called
_SET_CHILD_SUBREAPER: Final = 36
_nurseries: Final[list[socket.socket]] = []  # of this process, if it was forked itself
_LOADED: Final = ("pyarrow.compute", "pyarrow.parquet", "rich.progress", "typer.rich_utils")


class Forked:
    """A process that was forked, with what `subprocess.Popen` has: it runs `code` as `python -c code arguments` does.

    `into`, `out` and `err` are descriptors; without `out`, `stdout` is what it says, without `into` it is told nothing.
    With a `nursery`, its workers may be forked, too: it costs as much as a process, and saves ten times that for each.
    """

    def __init__(
        self,
        code: str,
        arguments: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        into: int | None = None,
        out: int | None = None,
        err: int = 2,
        nursery: bool = False,
    ) -> None:
        told = os.open(os.devnull, os.O_RDONLY) if into is None else os.dup(into)
        reading, writing = os.pipe() if out is None else (None, os.dup(out))
        self.stdout = None if reading is None else os.fdopen(reading, encoding="utf-8")
        self._told, telling = os.pipe()
        inherited = str(cwd or Path.cwd()), dict(os.environ if env is None else env), _umask()
        asked = json.dumps([nursery, code, list(arguments), *inherited])
        socket.send_fds(_nurseries[-1] if _nurseries else _starter(), [asked.encode()], [told, writing, err, telling])
        os.close(told)
        os.close(writing)
        os.close(telling)
        self.returncode: int | None = None
        self.pid = self._next(PATIENCE)

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            return self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, when it has ended."""
        if self.returncode is None:
            self.returncode = self._next(timeout)
            os.close(self._told)
        return self.returncode

    def _next(self, timeout: float | None) -> int:
        if not select.select([self._told], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("a process that was forked", timeout or 0.0)
        told = b""
        while not told.endswith(b"\n"):
            part = os.read(self._told, 1)
            assert part, "the starter has died"
            told += part
        return int(told)

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has ended just now, and that is not told yet
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


def _umask() -> int:
    """That of this process, read without setting another one, with which a thread could make a file meanwhile."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("Umask:")[2].split()[0], 8)


class _Worker:
    """A worker that was forked, with what `muniment.workers` has of `subprocess.Popen`."""

    def __init__(self, code: str, arguments: Sequence[str], env: Mapping[str, str] | None, err: int) -> None:
        into, telling = os.pipe()
        hearing, out = os.pipe()
        self.stdin, self.stdout = os.fdopen(telling, "wb"), os.fdopen(hearing, "rb")
        try:
            self._process = Forked(code, arguments, env=env, into=into, out=out, err=err)
        finally:
            os.close(into)
            os.close(out)
        self.pid, self.poll, self.wait = self._process.pid, self._process.poll, self._process.wait
        self.kill = self._process.kill


def fork_workers() -> None:
    """Have workers of this process forked from now on, and those of the processes that it starts."""
    os.environ[FORKED] = "yes"
    workers.subprocess = SimpleNamespace(PIPE=subprocess.PIPE, Popen=_begin)  # type: ignore[assignment, attr-defined]


@contextmanager
def real_workers() -> Iterator[None]:
    """Within it, workers of this process, and of those that are started now, begin by `exec`."""
    forked, before = os.environ.pop(FORKED, None), vars(workers)["subprocess"]
    workers.subprocess = subprocess  # type: ignore[attr-defined]
    try:
        yield
    finally:
        workers.subprocess = before  # type: ignore[attr-defined]
        if forked:
            os.environ[FORKED] = forked


def _begin(command: Sequence[str], **more: Any) -> Any:
    if command[3:4] != [workers._START]:  # it is no worker, but runs a script
        return subprocess.Popen(command, **more)
    return _Worker(command[3], command[4:], more["env"], 2 if more["stderr"] is None else more["stderr"])


@functools.cache
def _starter() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    program = f"from tests.starter import serve; serve({theirs.fileno()})"
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, pass_fds=[theirs.fileno()])
    theirs.close()

    def close() -> None:
        ours.close()
        process.wait(PATIENCE)

    atexit.register(close)
    return ours


def serve(number: int) -> None:
    """Start what is asked for on this socket, until nobody asks any more."""
    import muniment

    for module in pkgutil.walk_packages(muniment.__path__, "muniment."):
        if module.name != "muniment.__main__":
            import_module(module.name)
    for name in _LOADED:
        import_module(name)
    gc.freeze()
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1)  # whatever a process that is killed leaves is waited for here
    _fork_on(number)


def _fork_on(number: int) -> None:
    running: dict[int, tuple[int, int]] = {}  # by the descriptor of a process, its number and where its end is told
    poll = select.poll()
    poll.register(number, select.POLLIN)
    with socket.socket(fileno=number) as asking:
        while True:
            for descriptor, _ in poll.poll():
                if descriptor != number:
                    poll.unregister(descriptor)
                    _tell_end(descriptor, *running.pop(descriptor))
                    _wait_for_others({process for process, _ in running.values()})
                    continue
                asked, (*streams, telling), _, _ = _asked(asking)
                if not asked:
                    return
                child = os.fork()
                if child == 0:
                    for other in (number, telling, *running, *(told for _, told in running.values())):
                        os.close(other)
                    os._exit(_run(*json.loads(asked), *streams))
                os.write(telling, f"{child}\n".encode())
                ended = os.pidfd_open(child)
                running[ended] = child, telling
                poll.register(ended, select.POLLIN)
                for stream in streams:
                    os.close(stream)


def _asked(asking: socket.socket) -> tuple[bytes, list[int], int, object]:
    asked, descriptors, flags, address = socket.recv_fds(asking, 1 << 20, 4)
    return asked, descriptors or [-1], flags, address


def _tell_end(descriptor: int, process: int, telling: int) -> None:
    _, status = os.waitpid(process, 0)
    with suppress(BrokenPipeError):  # nobody waits for it any more
        os.write(telling, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os.close(telling)
    os.close(descriptor)


@contextmanager
def _nursery() -> Iterator[None]:
    """Within it, workers of this process are forked by a process that this one has made for that."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    nursery = os.fork()
    if nursery == 0:
        Path("/proc/self/comm").write_text(NURSERY)
        ours.close()
        nothing = os.open(os.devnull, os.O_RDWR)
        for own in range(3):  # or whoever reads what this process says would wait for the nursery too
            os.dup2(nothing, own)
        try:
            _fork_on(theirs.detach())
        finally:
            os._exit(0)
    theirs.close()
    _nurseries.append(ours)
    fork_workers()
    try:
        yield
    finally:
        ours.close()
        os.waitpid(nursery, 0)


def _wait_for_others(known: set[int]) -> None:
    """Have an end of the processes that have ended and were left to this one."""
    with suppress(FileNotFoundError):  # not every system lists them
        for child in map(int, Path("/proc/thread-self/children").read_text().split()):
            if child not in known:
                os.waitpid(child, os.WNOHANG)


def _run(
    nursery: bool, code: str, arguments: list[str], cwd: str, env: dict[str, str], umask: int, *streams: int
) -> int:
    Path("/proc/self/comm").write_text("python")
    for own, stream in enumerate(streams):
        os.dup2(stream, own)
        os.close(stream)
    os.setsid()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=os.isatty(1))  # as it would have found out itself
    os.umask(umask)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    sys.argv = ["-c", *arguments]
    try:
        with _nursery() if nursery and FORKED in env else nullcontext():
            exec(code, {"__name__": "__main__"})
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0
