"""How far a long job is, and the wish that it should stop. One thread works, any other may look or cancel."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic

from muniment.errors import Cancelled


@dataclass(frozen=True, slots=True)
class Counts:
    """What is done and, where known, what there is to do. Bytes are those of bodies and contents."""

    documents: int = 0
    attachments: int = 0
    bytes: int = 0
    total_documents: int | None = None
    total_bytes: int | None = None


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
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _cancelled: threading.Event = field(default_factory=threading.Event, repr=False)

    def advance(self, *, documents: int = 0, attachments: int = 0, bytes: int = 0) -> None:
        """Count what was done; raises `Cancelled` when somebody asked for that, so a job stops at its next step."""
        self.check()
        with self._lock:
            self.documents += documents
            self.attachments += attachments
            self.bytes += bytes

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
