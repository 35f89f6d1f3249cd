"""A job: work in a thread of its own, whose progress anybody may see, and which anybody may stop or wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Final, Generic, Literal, TypeVar, cast

from muniment.amounts import count_text, size_text, speed_text
from muniment.errors import Cancelled, MunimentError, StorageFailure
from muniment.limits import Limits
from muniment.progress import Counts, Progress
from muniment.telling import telling

MESSAGES: Final = 200
WAIT_SECONDS: Final = 0.1
State = Literal["running", "completed", "faulted", "cancelled"]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus(Counts):
    """A moment of a job: its state, what it is doing, how much is done so far, and the error if it failed."""

    state: State
    stage: str
    seconds: float
    error: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a job, and its time; the last message of a job that failed has `failure` set."""

    text: str
    time: datetime
    failure: bool = False


class Job(Generic[Result]):
    """Work that `start` begins. It is given the job, to say something of itself and to show its progress.

    `closing` says the last words, when it has ended in whatever way. Who starts it may set `before`, which the thread
    calls first and which may raise as the work may, and `after`, which is called when the work has ended in whatever
    way, and whose error is the job's if that has none; `on_change`, which is called after each message and at the end;
    and `on_end`, which is called after that: then nothing runs any more. What these two raise changes nothing.
    """

    def __init__(
        self,
        what: str,
        work: Callable[[Job[Result]], Result],
        closing: Callable[[Job[Result]], Iterable[str]] = lambda job: (),
    ) -> None:
        self.what = what
        self.progress = Progress()
        self.began = datetime.now(UTC)
        self.ended: datetime | None = None
        self.error: MunimentError | None = None
        self.messages: list[Message] = []
        self.before: Callable[[], object] = _nothing
        self.after: Callable[[], object] = _nothing
        self.on_change: Callable[[], object] = _nothing
        self.on_end: Callable[[], object] = _nothing
        self._work = work
        self._closing = closing
        self._result: Result | None = None
        self._saying = threading.Lock()
        self._over = threading.Event()

    def start(self) -> None:
        """Begin it. Raises `StorageFailure`, with which the job has failed, when there can be no thread."""
        thread = threading.Thread(target=self._run, name=f"muniment {self.what}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self.error = StorageFailure(f"no thread could be started: {error}", "try again when less is running")
            self._end()
            raise self.error from error

    def _run(self) -> None:
        begun = self._tried(self.before)
        if begun:
            self._tried(self._do)
            self._tried(self.after)
        self._end()

    def _do(self) -> None:
        self.progress.hold()
        self._result = self._work(self)

    def _tried(self, part: Callable[[], object]) -> bool:
        """Do a part of it; the first error of all is the job's. Returns whether there was none."""
        try:
            part()
        except BaseException as raised:
            error = raised if isinstance(raised, MunimentError) else None
            if error is None:
                error = StorageFailure(f"unexpected error: {raised!r}", "please report this as a bug")
                error.__cause__ = raised
            self.error = self.error or error
            return False
        return True

    def _end(self) -> None:
        self.progress.finish()
        with self._saying:
            self.ended = datetime.now(UTC)
            with telling(f"how a {self.what} has ended"):
                self.messages += [Message(text, self.ended, self.error is not None) for text in self._closing(self)]
        self._changed()
        with telling(f"that a {self.what} has ended"):
            self.on_end()
        self._over.set()

    def say(self, text: str) -> None:
        """Add a message, while it runs; of very many, some in the middle are forgotten."""
        with self._saying:
            if self.ended:
                return
            self.messages.append(Message(text, datetime.now(UTC)))
            if len(self.messages) > MESSAGES:
                del self.messages[MESSAGES // 2]
        self._changed()

    def _changed(self) -> None:
        with telling(f"how a {self.what} stands"):
            self.on_change()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet, or its end has not been reported."""
        return not self._over.is_set()

    @property
    def state(self) -> State:
        """Whether the work goes on, or how it has ended."""
        if self.ended is None:
            return "running"
        if self.error is None:
            return "completed"
        return "cancelled" if isinstance(self.error, Cancelled) else "faulted"

    @property
    def status(self) -> JobStatus:
        """How far it is."""
        state, error, progress = self.state, self.error, self.progress
        return JobStatus(
            **asdict(progress.counts),
            state=state,
            stage=progress.stage,
            seconds=progress.seconds,
            error=str(error) if error else None,
            hint=error.hint if error else None,
        )

    @property
    def limits(self) -> Limits:
        """How fast it may be, and when; what is set here holds at once, also in a child process."""
        return self.progress.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self.progress.limits = limits

    def cancel(self) -> None:
        """Ask it to stop. `wait` then raises `Cancelled`, unless it was complete before that."""
        self.progress.cancel()

    def wait(self, timeout: float | None = None) -> Result:
        """Wait for its result; raises what it failed with, or `TimeoutError` after `timeout` seconds."""
        # In slices: of two signals that come at once, Linux may give both to other threads, and then only a main thread
        # that wakes by itself acts on them.
        deadline = None if timeout is None else monotonic() + timeout
        while self.running and (deadline is None or monotonic() < deadline):
            self.join(WAIT_SECONDS if deadline is None else min(WAIT_SECONDS, max(0, deadline - monotonic())))
        if self.running:
            raise TimeoutError(f"the {self.what} is still running")
        return self.result

    def join(self, seconds: float | None = None) -> bool:
        """Wait until it has ended, in whatever way, or the time is over; returns whether it has ended."""
        return self._over.wait(seconds)

    @property
    def has_result(self) -> bool:
        """Whether its work is done; it may not have ended yet."""
        return self._result is not None

    @property
    def result(self) -> Result:
        """Its result, once it has ended; raises what it failed with."""
        if self.error:
            raise self.error
        return cast("Result", self._result)


def _nothing() -> None:
    pass


def with_hint(error: MunimentError) -> str:
    """What an error says, with what to do next."""
    return f"{error} ({error.hint})" if error.hint else f"{error}"


def amount(progress: Progress) -> str:
    """What a job has done so far, for people."""
    documents = count_text(progress.documents, "document")
    if total := progress.total_documents:
        documents = f"{progress.documents:,} of {count_text(total, 'document')}"
    attachments = f" and {count_text(progress.attachments, 'attachment')}" if progress.attachments else ""
    size = f", {size_text(progress.bytes)}, {speed_text(progress.bytes, progress.seconds)}" if progress.bytes else ""
    return f"{documents}{attachments}{size}"
