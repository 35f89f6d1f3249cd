"""How far a long job is, and the wish that it should stop. One thread works, any other may look or cancel."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from time import monotonic

from muniment.errors import Cancelled


@dataclass
class Progress:
    """Counts of what is done and, where known, of what there is to do. Bytes are those of bodies and contents."""

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

    def check(self) -> None:
        """Raises `Cancelled` when somebody asked for that."""
        if self._cancelled.is_set():
            raise Cancelled(f"stopped while {self.stage or 'starting'}", "run it again; nothing half done was left")

    def cancel(self) -> None:
        """Ask the job to stop at its next step."""
        self._cancelled.set()

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
