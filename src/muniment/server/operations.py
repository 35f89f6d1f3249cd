"""Long jobs of the server: each has a number, a progress that any request may look at, and can be cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from muniment.errors import Cancelled, MunimentError, StorageFailure
from muniment.progress import Progress
from muniment.server.turns import Turns
from muniment.server.wire import Refused
from muniment.telling import log, telling

KEPT: Final = 1000
IN_TURN: Final = frozenset({"backup", "restore", "compaction"})  # each has a child process
WITH_CHANGES: Final = 10  # their ids take memory


@dataclass(eq=False)
class Operation:
    """A job that runs in a thread of its own. While it waits for its turn, `position` is its place among those that do.

    `told` is what its kind alone has to tell, `changes` the ids of a comparison, which are told when asked for.
    """

    id: int
    kind: str
    database: str
    progress: Progress = field(default_factory=Progress)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    ended: bool = False
    error: MunimentError | None = None
    result: dict[str, Any] | None = None
    told: dict[str, Any] = field(default_factory=dict)
    changes: list[Any] | None = None
    position: int = 0

    @property
    def state(self) -> str:
        """How it stands, in RavenDB's words."""
        if not self.ended:
            return "Waiting" if self.position else "Running"
        if self.error is None:
            return "Completed"
        return "Canceled" if isinstance(self.error, Cancelled) else "Faulted"

    def counts(self) -> dict[str, Any]:
        """How far it is."""
        progress, error = self.progress, self.error
        return {
            "Progress": progress.stage,
            "Waiting": bool(self.position),
            "Position": self.position or None,
            "Documents": progress.documents,
            "Attachments": progress.attachments,
            "Bytes": progress.bytes,
            "TotalDocuments": progress.total_documents,
            "TotalBytes": progress.total_bytes,
            "Seconds": round(progress.seconds, 3),
            "Error": error.message if error else None,
            "Hint": error.hint if error else None,
            "Kind": type(error).__name__ if error else None,
            "Result": self.result,
            **self.told,
        }


class Operations:
    """The jobs of a server, the last thousand of them."""

    def __init__(self, at_once: int) -> None:
        self.turns = Turns(at_once)
        self._known: dict[int, Operation] = {}
        self._threads: dict[int, threading.Thread] = {}
        self._last = 0

    def new(self, kind: str, database: str) -> Operation:
        """A job that is about to begin; raises `Refused` (503) when too many wait already."""
        self.turns.check()
        self._last += 1
        operation = self._known[self._last] = Operation(self._last, kind, database)
        for ended in [known for known in self._known.values() if known.ended][:-WITH_CHANGES]:
            ended.changes = None
        for id in [id for id, known in self._known.items() if known.ended][: max(0, len(self._known) - KEPT)]:
            del self._known[id]
        return operation

    def forget(self, operation: Operation) -> None:
        """It did not begin."""
        del self._known[operation.id]

    def run(
        self,
        operation: Operation,
        work: Callable[[Operation], None],
        on_end: Callable[[], object] | None = None,
        on_wait: Callable[[str], object] | None = None,
    ) -> None:
        """Begin it, in a thread, which calls `on_end` last; raises `StorageFailure` when there can be no thread.

        It may have to wait for its turn, which `on_wait` is told. One that is cancelled meanwhile is begun at once, to
        end as it would have ended.
        """
        thread = threading.Thread(
            target=self._run, args=(operation, work, on_end, on_wait), name=f"muniment {operation.kind}"
        )
        self._threads[operation.id] = thread
        if operation.kind in IN_TURN:
            self.turns.enter(operation)
        what = f"waits as number {operation.position}" if operation.position else "started"
        log(f"{operation.kind} of {operation.database} {what}, operation {operation.id}")
        try:
            thread.start()
        except RuntimeError as error:
            operation.error = StorageFailure(f"no thread could be started: {error}", "try again when less is running")
            self._end(operation)
            raise operation.error from error

    def start(self, operation: Operation, work: Callable[[Operation], None]) -> asyncio.Future[None]:
        """Begin it, and give what is done when it has ended, in whatever way."""
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        self.run(operation, work, lambda: loop.call_soon_threadsafe(ended.set_result, None))
        return ended

    def _run(
        self,
        operation: Operation,
        work: Callable[[Operation], None],
        on_end: Callable[[], object] | None,
        on_wait: Callable[[str], object] | None,
    ) -> None:
        try:
            if (position := operation.position) and on_wait:
                with telling("that a job waits"):
                    on_wait(f"Waiting for other jobs to end; it is number {position} of those that wait")
            self.turns.wait(operation)
            work(operation)
        except MunimentError as error:
            operation.error = error
        except Exception as error:
            operation.error = StorageFailure(f"unexpected error: {error!r}", "please report this")
            operation.error.__cause__ = error
        finally:
            self._end(operation)
            if on_end:
                on_end()

    def _end(self, operation: Operation) -> None:
        self.turns.leave(operation)
        operation.progress.finish()
        operation.ended = True
        del self._threads[operation.id]
        seconds, reason = operation.progress.seconds, f": {operation.error}" if operation.error else ""
        log(f"{operation.kind} of {operation.database} {operation.state.lower()} after {seconds:.1f} s{reason}")

    def find(self, text: str | None) -> Operation:
        """The job with this number; raises `Refused` (400, 404)."""
        try:
            number = int(text or "")
        except ValueError as error:
            raise Refused(400, f"{text!r} is not the number of an operation", "pass ?id=NUMBER") from error
        if number not in self._known:
            raise Refused(404, f"there is no operation {number}", "it ended long ago, or before the server was started")
        return self._known[number]

    def all(self) -> list[Operation]:
        """All that are known, the newest first."""
        return list(self._known.values())[::-1]

    async def stop(self) -> None:
        """Cancel what is running and wait for its end."""
        threads = list(self._threads.items())
        for id, _ in threads:
            self._known[id].progress.cancel()
        for _, thread in threads:
            await asyncio.to_thread(thread.join)
