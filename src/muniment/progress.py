"""How far a long job is, and the wish that it should stop. One thread works, any other may look or cancel."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic, sleep
from typing import Final

from muniment.errors import Cancelled
from muniment.limits import NO_LIMITS, Limits

LOOK_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Counts:
    """What is done and, where known, what there is to do. Bytes are those of bodies and contents."""

    documents: int = 0
    attachments: int = 0
    bytes: int = 0
    total_documents: int | None = None
    total_bytes: int | None = None


class _Pace:
    """When the next bytes may be taken so that all together keep a rate."""

    def __init__(self) -> None:
        self._free = 0.0

    def after(self, size: int, rate: int | None) -> float:
        """When it may go on, after so many bytes at so many a second."""
        self._free = max(self._free, monotonic()) + size / rate if rate else 0.0
        return self._free


@dataclass
class Progress:
    """How far a job is: it sets the stage and counts on, others look at `counts` or at its members."""

    stage: str = ""
    documents: int = 0
    attachments: int = 0
    bytes: int = 0
    total_documents: int | None = None
    total_bytes: int | None = None
    started: float = field(default_factory=monotonic)
    finished: float | None = None
    limits: Limits = NO_LIMITS
    _kept: Limits = field(default=NO_LIMITS, repr=False)
    _read: _Pace = field(default_factory=_Pace, repr=False)
    _written: _Pace = field(default_factory=_Pace, repr=False)
    _outside: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _cancelled: threading.Event = field(default_factory=threading.Event, repr=False)

    def advance(self, *, documents: int = 0, attachments: int = 0, bytes: int = 0, written: int = 0) -> None:
        """Count what was done, and wait for as long as the limits ask for after so many bytes, and so many written.

        Raises `Cancelled` when somebody asked for that, so a job stops at its next step.
        """
        self.count(documents=documents, attachments=attachments, bytes=bytes)
        self.pace(bytes, written)

    def count(self, *, documents: int = 0, attachments: int = 0, bytes: int = 0) -> None:
        """Count what was done, or need not be done, and took no bytes that limits are about."""
        self.check()
        with self._lock:
            self.documents += documents
            self.attachments += attachments
            self.bytes += bytes

    def pace(self, read: int = 0, written: int = 0) -> None:
        """Wait for as long as the limits ask for after so many bytes. Raises `Cancelled`."""
        self.check()
        if self.limits is not NO_LIMITS:
            self.hold(read, written)

    def hold(self, read: int = 0, written: int = 0) -> None:
        """Wait until the limits let it go on; they may be changed meanwhile. Raises `Cancelled`.

        Several threads that do one job keep the limits together.
        """
        limits = self.limits
        with self._lock:
            if limits is not self._kept:
                self._kept, self._read, self._written = limits, _Pace(), _Pace()
            until = max(self._read.after(read, limits.read_rate), self._written.after(written, limits.write_rate))
        while limits is self.limits and (left := until - monotonic()) > 0:
            sleep(min(left, LOOK_SECONDS))
            self.check()
        if self.limits.hours is not None:
            with self._outside:
                self._wait_for_hours()

    def _wait_for_hours(self) -> None:
        stage = self.stage
        try:
            while opens := self.limits.opens(datetime.now().astimezone()):
                self.stage = f"waiting until {opens:%H:%M}"
                sleep(LOOK_SECONDS)
                self.check()
        finally:
            self.stage = stage

    @property
    def counts(self) -> Counts:
        """What is done by now."""
        with self._lock:
            return Counts(self.documents, self.attachments, self.bytes, self.total_documents, self.total_bytes)

    @counts.setter
    def counts(self, counts: Counts) -> None:
        with self._lock:
            self.documents, self.attachments, self.bytes = counts.documents, counts.attachments, counts.bytes
            self.total_documents, self.total_bytes = counts.total_documents, counts.total_bytes

    def check(self) -> None:
        """Raises `Cancelled` when somebody asked for that."""
        if self._cancelled.is_set():
            raise Cancelled(f"stopped while {self.stage or 'starting'}", "run it again; nothing half done was left")

    def cancel(self) -> None:
        """Ask the job to stop at its next step."""
        self._cancelled.set()

    @contextmanager
    def within(self, seconds: float | None) -> Iterator[None]:
        """Cancels what the block does when it takes longer; None is no limit."""
        if seconds is None:
            yield
            return
        expired = threading.Event()

        def stop() -> None:
            expired.set()
            self.cancel()

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            yield
        except Cancelled as error:
            if expired.is_set():
                error.message = f"it did not end within its {seconds:g} s: {error.message}"
            raise
        finally:
            timer.cancel()

    def finish(self) -> None:
        """The job has ended, in whatever way: the clock stops."""
        self.finished = monotonic()

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return (self.finished or monotonic()) - self.started

    @property
    def rate(self) -> float:
        """Bytes per second so far."""
        return self.bytes / self.seconds if self.seconds else 0.0
