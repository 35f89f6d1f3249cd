"""Long jobs of the server: each has a number, may have to wait for its turn, and any request may look at it."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from time import monotonic
from typing import Any, Final

from muniment.backup.job import Job, amount
from muniment.errors import Cancelled
from muniment.raven3.messages import OperationState
from muniment.server.audit import Audit, Who
from muniment.server.bodies import RETRY
from muniment.server.hooks import Hooks
from muniment.server.wire import Refused
from muniment.telling import log, telling

KEPT: Final = 1000
IN_TURN: Final = frozenset(
    {"backup", "restore", "compaction", "rehearsal", "merge", "copy"}
)  # each has a child process
WITH_CHANGES: Final = 10  # their ids take memory
TELL_SECONDS: Final = 1.0
LONGEST: Final = 1000
LOOK_SECONDS: Final = 0.2


@dataclass(eq=False)
class Operation:
    """A job of the server. While it waits for its turn, `position` is its place among those that do.

    A restore has also an `origin`: the name of the database that the backups are of. `told` is what its kind alone has
    to tell, `place` is where the backups are, `result` tells what a job came to, and `changes` are the ids of a
    comparison, which are told when asked for.
    `check` is called when it has its turn, and may raise; `on_end` when it has ended.
    """

    id: int
    job: Job[Any]
    database: str
    who: Who
    origin: str | None = None
    told: dict[str, Any] = field(default_factory=dict)
    result: Callable[[Any], dict[str, Any]] | None = None
    changes: list[Any] | None = None
    position: int = 0
    place: str | None = None
    check: Callable[[], object] | None = None
    on_end: Callable[[], object] | None = None

    @property
    def state(self) -> str:
        """How it stands, in RavenDB's words."""
        states = {"running": "Running", "completed": "Completed", "cancelled": "Canceled", "faulted": "Faulted"}
        return "Waiting" if self.position and self.job.running else states[self.job.state]

    def facts(self) -> dict[str, Any]:
        """What is told of it to whatever is run before and after it."""
        facts: dict[str, Any] = {"operation": self.id, "database": self.database, "place": self.place}
        if self.job.error is None and self.job.has_result and self.result:
            facts["result"] = self.result(self.job.result)
        return facts

    def progress(self) -> OperationState:
        """How far it is, or the error with which it has failed."""
        progress, error = self.job.progress, self.job.error
        result = self.result(self.job.result) if self.result and self.job.state == "completed" else None
        return OperationState(
            **asdict(progress.counts),
            progress=progress.stage,
            waiting=bool(self.position),
            position=self.position or None,
            seconds=round(progress.seconds, 3),
            error=error.message if error else None,
            hint=error.hint if error else None,
            kind=type(error).__name__ if error else None,
            **{"result": result, **self.told},
        )


class Turns:
    """Lets so many jobs run at once, in the order in which they came; each that waits does so in its own thread."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._changed = threading.Condition()
        self._running: list[Operation] = []
        self._waiting: list[Operation] = []

    @property
    def running(self) -> int:
        """How many have their turn."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many wait for it."""
        return len(self._waiting)

    @property
    def are_taken(self) -> bool:
        """Whether a job that comes now has to wait."""
        return len(self._running) >= self._number

    def check(self) -> None:
        """Raises `Refused` (503) when too many wait already."""
        if len(self._waiting) >= LONGEST:
            hint = "nothing was done: try again when some have ended"
            raise Refused(503, f"{LONGEST:,} jobs wait for their turn already", hint, headers=[RETRY])

    def enter(self, operation: Operation) -> None:
        """Give it its turn, or a place behind those that wait."""
        with self._changed:
            self._waiting.append(operation)
            self._advance()

    def know(self, operation: Operation) -> bool:
        """Whether it has a turn, or waits for one."""
        with self._changed:
            return operation in self._running or operation in self._waiting

    def wait(self, operation: Operation) -> None:
        """Return when it has its turn, or was cancelled: it need not wait to find that out."""
        with self._changed:
            while operation in self._waiting:
                try:
                    operation.job.progress.check()
                except Cancelled:
                    self._waiting.remove(operation)
                    operation.position = 0
                    self._advance()
                else:
                    self._changed.wait(LOOK_SECONDS)

    def leave(self, operation: Operation) -> None:
        """It has ended; the next has its turn."""
        with self._changed:
            for jobs in (self._running, self._waiting):
                if operation in jobs:
                    jobs.remove(operation)
            self._advance()

    def _advance(self) -> None:
        while self._waiting and not self.are_taken:
            first = self._waiting.pop(0)
            self._running.append(first)
            first.position = 0
            first.job.progress.stage = ""
            first.job.progress.started = monotonic()
        for position, operation in enumerate(self._waiting, 1):
            operation.position = position
            operation.job.progress.stage = f"waiting for its turn, as number {position}"
        self._changed.notify_all()


class Operations:
    """The jobs of a server, the last thousand of them."""

    def __init__(self, at_once: int, audit: Audit, hooks: Hooks | None = None) -> None:
        self._audit = audit
        self._hooks = hooks or Hooks()
        self.turns = Turns(at_once)
        self.ended: Counter[tuple[str, str]] = Counter()  # jobs by what they did and how they ended
        self.failures: Counter[tuple[str, str]] = Counter()  # by the kind of the error
        self.observers: list[Callable[[Operation, str], object]] = []  # are told that one has started, and how it ended
        self._known: dict[int, Operation] = {}
        self._reserved: dict[int, Who] = {}
        self._last = 0

    def reserve(self, who: Who) -> int:
        """A number for a job that this caller is going to begin; the last thousand of those are kept for it."""
        self._last += 1
        self._reserved[self._last] = who
        for number in list(self._reserved)[:-KEPT]:
            del self._reserved[number]
        return self._last

    def new(
        self, job: Job[Any], database: str, who: Who, *, origin: str | None = None, number: int | None = None
    ) -> Operation:
        """Number a job that is about to begin, or take the number that was reserved for it.

        Raises `Refused`: 503 when too many wait already, 400 when the number is not the caller's.
        """
        self.turns.check()
        if number is None:
            self._last += 1
            number = self._last
        elif (of := self._reserved.get(number)) is None or of.key != who.key:
            raise Refused(
                400, f"the number {number} of an operation was not reserved, or is used", "ask for another one"
            )
        else:
            del self._reserved[number]
        operation = self._known[number] = Operation(number, job, database, who, origin)
        ended = [known for known in self._known.values() if not known.job.running]
        for one in ended[:-WITH_CHANGES]:
            one.changes = None
        for one in ended[: max(0, len(self._known) - KEPT)]:
            del self._known[one.id]
        return operation

    def forget(self, operation: Operation) -> None:
        """It did not begin."""
        del self._known[operation.id]

    def start(self, operation: Operation) -> None:
        """Begin it, in a thread; raises `StorageFailure` when there can be none.

        It may have to wait for its turn. One that is cancelled meanwhile is begun at once, to end as it would have.
        """
        job = operation.job
        job.before, job.on_end = (lambda: self._wait(operation)), (lambda: self._end(operation))
        self._hooks.attach(job, operation.facts)
        waits = job.limits.opens(datetime.now().astimezone())
        if job.what in IN_TURN and not waits:  # else it would keep a turn from others until its hours begin
            self.turns.enter(operation)
        what = f"waits as number {operation.position}" if operation.position else "started"
        log(f"{job.what} of {operation.database} {what}, operation {operation.id}")
        job.start()

    def follow(self, operation: Operation) -> asyncio.Future[None]:
        """Begin it, and give what is done when it has ended, in whatever way."""
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        operation.on_end = lambda: loop.call_soon_threadsafe(ended.set_result, None)
        self.start(operation)
        return ended

    def _wait(self, operation: Operation) -> None:
        self._note(operation, "started")
        self._observe(operation, "started")
        if operation.job.what in IN_TURN and not self.turns.know(operation):
            operation.job.say("Waiting for its hours")
            operation.job.progress.hold()
            self.turns.enter(operation)
        if position := operation.position:
            operation.job.say(f"Waiting for other jobs to end; it is number {position} of those that wait")
        self.turns.wait(operation)
        if operation.check:
            operation.check()
        with telling("how far a job will be"):
            threading.Thread(target=_narrate, args=(operation.job,), name="muniment teller", daemon=True).start()

    def _end(self, operation: Operation) -> None:
        self.turns.leave(operation)
        job = operation.job
        reason = f": {job.error}" if job.error else ""
        log(f"{job.what} of {operation.database} {operation.state.lower()} after {job.progress.seconds:.1f} s{reason}")
        self._note(operation, operation.state.lower(), error=job.error.message if job.error else None)
        self.ended[job.what, operation.state.lower()] += 1
        if job.state == "faulted":
            self.failures[job.what, type(job.error).__name__] += 1
        self._observe(operation, operation.state.lower())
        if operation.on_end:
            operation.on_end()

    def _observe(self, operation: Operation, outcome: str) -> None:
        for observe in self.observers:
            with telling(f"that a {operation.job.what} of {operation.database} has {outcome}"):
                observe(operation, outcome)

    def _note(self, operation: Operation, outcome: str, **more: str | None) -> None:
        what, database = operation.job.what, operation.database
        self._audit.note(what, outcome, operation.who, database=database, operation=operation.id, **more)

    def find(self, text: str | None, may_see: Callable[[Operation], bool]) -> Operation:
        """The job with this number; raises `Refused` (400, 404), in the same words for one that nobody may see here."""
        try:
            number = int(text or "")
        except ValueError as error:
            raise Refused(400, f"{text!r} is not the number of an operation", "pass ?id=NUMBER") from error
        if number not in self._known or not may_see(self._known[number]):
            raise Refused(404, f"there is no operation {number}", "it ended long ago, or before the server was started")
        return self._known[number]

    def all(self) -> list[Operation]:
        """All that are known, the newest first."""
        return list(self._known.values())[::-1]

    async def stop(self) -> None:
        """Cancel what is running and wait for its end."""
        running = [operation.job for operation in self.all() if operation.job.running]
        for job in running:
            job.cancel()
        for job in running:
            await asyncio.to_thread(job.join)


def _narrate(job: Job[Any]) -> None:
    """Say every second how far the job is, until it has ended."""
    last = ""
    while not job.join(TELL_SECONDS):
        stage, counted = job.progress.stage, job.progress.documents or job.progress.bytes
        text = f"{stage[:1].upper()}{stage[1:]}{f': {amount(job.progress)}' if counted else ''}"
        if stage and text != last:
            job.say(text)
            last = text
