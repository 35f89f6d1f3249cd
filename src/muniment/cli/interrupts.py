"""Ctrl-C and its kin: a job is asked to stop and ends cleanly by itself, anything else is left at once."""

from __future__ import annotations

import atexit
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from muniment.progress import Progress

SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # the last is not known on Windows


class Stopped(BaseException):
    """A signal asked the command to stop while no job was running that could be asked in its turn."""


class Interrupts:
    """What the signals of this process do. There is one, `interrupts`, because signals belong to the process."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._job: Progress | None = None
        self._ended = self._late = False

    def install(self) -> None:
        """Take the signals over, but for those that whoever started the process wants ignored (`nohup`)."""
        self.received, self._ended = None, False
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._receive)
        atexit.register(_ignore)

    @contextmanager
    def cancel(self, progress: Progress) -> Iterator[None]:
        """Within it, a signal cancels this job, and the library ends it so that nothing half done is left.

        A second signal changes nothing: the cleaning up is never broken off.
        """
        self._job = progress
        if self.received is not None:  # what it raised got lost, in a callback say
            progress.cancel()
        try:
            yield
        finally:
            self._job = None

    def end(self) -> None:
        """The command is over, and a signal changes nothing any more; a second one ends what still closes."""
        self._ended = True

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that a signal has ended."""
        return 128 + (self.received or signal.SIGINT)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._ended:
            if self._late:
                os._exit(128 + number)
            self._late = True
        if self._ended or self.received is not None:
            return
        self.received = number
        if self._job is None:
            raise Stopped
        self._job.cancel()


def _ignore() -> None:
    """When all else is over, Python would give the signals back to the system, which ends a process by them."""
    for number in SIGNALS:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_IGN)


interrupts: Final = Interrupts()
