"""A pipe from a thread that makes an answer to granian, which reads it only as fast as the client takes it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import select
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from muniment.errors import Cancelled
from muniment.progress import Progress
from muniment.raven3.headers import Headers

OPEN_SECONDS: Final = 20.0
STALL_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.2
PIPE_BYTES: Final = 1 << 20  # where the system can be told; fewer wakings of both sides
_HINT: Final = "ask for it again"


class Pipe:
    """What a thread writes an answer to. Its first write calls `begin`, and waits until somebody answers with `send`.

    A write raises `Cancelled` when the client has gone, takes nothing for a minute, or `progress` says so.
    """

    def __init__(self, begin: Callable[[], object], progress: Progress) -> None:
        self._begin: Callable[[], object] | None = begin
        self._progress = progress
        self._descriptor: int | None = None
        self._opened = threading.Event()

    def write(self, data: bytes) -> None:
        """Pass all of this on."""
        if self._begin:
            self._begin()
            self._begin = None
        self._wait(self._opened.wait)
        descriptor = self._descriptor
        if descriptor is None:
            raise Cancelled("the client went away before the first byte", _HINT)
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        rest = memoryview(data)
        try:
            while rest:
                self._wait(lambda seconds: poll.poll(seconds * 1000))
                with contextlib.suppress(BlockingIOError):
                    rest = rest[os.write(descriptor, rest) :]
        except BrokenPipeError as error:
            raise Cancelled("the client went away", _HINT) from error

    def _wait(self, waited: Callable[[float], object]) -> None:
        for _ in range(int(STALL_SECONDS / LOOK_SECONDS)):
            self._progress.check()
            if waited(LOOK_SECONDS):
                return
        raise Cancelled(f"the client took nothing for {STALL_SECONDS:.0f} s", _HINT)

    async def send(self, proto: Any, status: int, headers: Headers) -> None:
        """Give what comes out of it to the connection."""
        with tempfile.TemporaryDirectory(prefix="muniment-") as folder:
            path = Path(folder) / "answer"
            os.mkfifo(path, 0o600)
            proto.response_file(status, headers, str(path))
            self._descriptor = await opened(path)
        if self._descriptor is not None and hasattr(fcntl, "F_SETPIPE_SZ"):
            with contextlib.suppress(OSError):
                fcntl.fcntl(self._descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._opened.set()

    def close(self) -> None:
        """The end of the answer; nothing may be written any more."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


async def opened(pipe: Path) -> int | None:
    """The end of a pipe to write to, when somebody has opened the other; None if nobody does."""
    until = asyncio.get_running_loop().time() + OPEN_SECONDS
    while asyncio.get_running_loop().time() < until:
        with contextlib.suppress(OSError):
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        await asyncio.sleep(0.002)
    return None
