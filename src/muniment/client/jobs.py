"""Long jobs on a server (backup, restore, compaction): how far they are, waiting for their end, and stopping them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from muniment.client.documents import get_json
from muniment.client.failure import error_class
from muniment.client.retry import call
from muniment.client.wire import Flow, Pause, Request, parsed, target
from muniment.errors import Cancelled, InvalidInput, MunimentError, NotFound
from muniment.progress import Counts

State = Literal["running", "completed", "faulted", "cancelled"]
SHORTEST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A moment of a job on a server: its state, what the server has said, and what is done where that is counted.

    `error` and `hint` are those of a job that has failed; `kind` is the class of the error in `muniment.errors`. Of a
    restore into a database, `difference` has the counts of what differs as soon as they are known (the ids have to be
    asked for: `RemoteJob.changes`), and `written` and `etag` are how much was written and in which transaction. Of one
    that is complete, `result` is what it has to tell: of a backup, what that holds.
    """

    state: State
    messages: tuple[str, ...] = ()
    stage: str = ""
    documents: int | None = None
    attachments: int | None = None
    bytes: int | None = None
    total_documents: int | None = None
    total_bytes: int | None = None
    seconds: float | None = None
    error: str | None = None
    hint: str = ""
    kind: str = ""
    difference: dict[str, Any] | None = None
    written: int | None = None
    etag: int | None = None
    result: dict[str, Any] | None = None

    @property
    def counts(self) -> Counts:
        """What is done, as far as the server counts it."""
        done = self.documents or 0, self.attachments or 0, self.bytes or 0
        return Counts(*done, self.total_documents, self.total_bytes)

    def raise_failure(self) -> None:
        """Raises the error of a job that has failed or was cancelled."""
        if self.state in ("running", "completed"):
            return
        usual = Cancelled if self.state == "cancelled" else MunimentError
        raise (error_class(self.kind) or usual)(self.error or f"the job was {self.state}", self.hint)


@dataclass(frozen=True, slots=True)
class Job:
    """Where to ask about a job: the server's number for it, and the document, if any, that it writes about it."""

    what: str
    operation: int | None
    root: tuple[str, ...] = ()
    document: str | None = None


def status(job: Job) -> Flow[JobStatus]:
    """How far it is: the document has the server's messages, the operation how it ended."""
    known = None if job.operation is None else (yield from _operation(job.operation))
    # After it, so that the last messages are there.
    told = None if job.document is None else (yield from get_json(job.root, job.document))
    written = document_status(told) if told else None
    if known and written:
        return replace(known, messages=written.messages, error=known.error or written.error)
    if found := known or written:
        return found
    raise NotFound(f"the server no longer knows of the {job.what}", "it was restarted since, or the job ended long ago")


def changes(job: Job) -> Flow[list[dict[str, Any]]]:
    """The ids that differ, by kind and collection."""
    request = Request("GET", target("operation", "status", query=[("id", str(job.operation)), ("changes", "true")]))
    told = parsed((yield from call(replace(request, repeatable=True), 200)), dict[str, Any])
    found = told.get("Changes")
    if not isinstance(found, list):
        raise NotFound(
            "the server does not have these ids, or no longer", "compare again: it keeps those of a few jobs"
        )
    return found


def operation(id: int) -> Flow[JobStatus]:
    """How far an operation is, by its number."""
    found = yield from _operation(id)
    if found is None:
        raise NotFound(f"the server knows no operation {id}", "it ended long ago, or before the server was restarted")
    return found


def _operation(id: int) -> Flow[JobStatus | None]:
    request = Request("GET", target("operation", "status", query=[("id", str(id))]), repeatable=True)
    response = yield from call(request, 200, 404)
    return operation_status(parsed(response, dict[str, Any])) if response.status == 200 else None


def wait(
    job: Job,
    timeout: float | None,
    on_status: Callable[[JobStatus], object] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Flow[JobStatus]:
    """The status at its end; raises what it failed with, or `TimeoutError` after that many seconds.

    Each status that was asked for on the way, the last too, is told to `on_status`.
    """
    deadline = None if timeout is None else clock() + timeout
    pause = SHORTEST_PAUSE
    while True:
        now = yield from status(job)
        if on_status:
            on_status(now)
        if now.state != "running":
            now.raise_failure()
            return now
        left = LONGEST_PAUSE if deadline is None else deadline - clock()
        if left <= 0:
            raise TimeoutError(f"the {job.what} is still running")
        yield Pause(min(pause, left))
        pause = min(pause * 1.5, LONGEST_PAUSE)


def cancel(job: Job) -> Flow[None]:
    """Asks it to stop; a job that has ended stays as it is."""
    if job.operation is None:
        raise InvalidInput(f"this server cannot stop a {job.what}", "wait for it")
    yield from kill(job.operation)


def kill(operation: int) -> Flow[None]:
    """Asks an operation to stop."""
    path = target("operation", "kill", query=[("id", str(operation))])
    yield from call(Request("GET", path, repeatable=True), 200, 204)


def operation_status(told: dict[str, Any]) -> JobStatus:
    """What `operation/status` says: `Completed`, `Faulted`, `Canceled`, `State` and, of Muniment, counts in it."""
    state = told.get("State")
    counts = state if isinstance(state, dict) else {}
    now: State = "completed" if told.get("Completed") else "running"
    now = "faulted" if told.get("Faulted") else now
    now = "cancelled" if told.get("Canceled") else now
    return _status(now, counts, (), _text(counts, "Error") or _text(told, "Exception", "ExceptionText"))


def document_status(told: dict[str, Any]) -> JobStatus:
    """What `Raven/Backup/Status` (`IsRunning`) or `Raven/Restore/Status` (`State`) says."""
    messages = [entry if isinstance(entry, dict) else {"Message": str(entry)} for entry in told.get("Messages") or ()]
    texts = tuple(_text(message, "Message") or "" for message in messages)
    failures = [text for text, entry in zip(texts, messages, strict=True) if entry.get("Severity") in ("Error", 1)]
    named = str(told.get("State", "")).lower()
    now: State = "completed"
    if told.get("IsRunning") or named == "running":
        now = "running"
    elif named in ("canceled", "cancelled"):
        now = "cancelled"
    elif failures or named == "faulted":
        now = "faulted"
    error = next(reversed(failures or texts), None) if now in ("faulted", "cancelled") else None
    return _status(now, told, texts, error)


def _status(now: State, told: dict[str, Any], messages: tuple[str, ...], error: str | None) -> JobStatus:
    return JobStatus(
        state=now,
        messages=messages,
        stage=_text(told, "Stage", "Progress") or "",
        documents=_number(told, "Documents"),
        attachments=_number(told, "Attachments"),
        bytes=_number(told, "Bytes"),
        total_documents=_number(told, "TotalDocuments"),
        total_bytes=_number(told, "TotalBytes"),
        seconds=seconds if isinstance(seconds := told.get("Seconds"), int | float) else None,
        error=error,
        hint=_text(told, "Hint") or "",
        kind=_text(told, "Kind") or "",
        difference=difference if isinstance(difference := told.get("Difference"), dict) else None,
        written=_number(told, "Written"),
        etag=_number(told, "Etag"),
        result=result if isinstance(result := told.get("Result"), dict) else None,
    )


def _number(told: dict[str, Any], name: str) -> int | None:
    value = told.get(name)
    return value if isinstance(value, int) else None


def _text(told: dict[str, Any], *names: str) -> str | None:
    return next((told[name] for name in names if isinstance(told.get(name), str) and told[name]), None)
