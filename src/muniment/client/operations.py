"""The jobs of a server, those that this program has begun and those that it knows by their numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, TypedDict, Unpack

import msgspec

from muniment.client import jobs
from muniment.client.documents import JSON
from muniment.client.jobs import Job, JobStatus
from muniment.client.retry import call
from muniment.client.transport import AsyncRemote, Remote
from muniment.client.wire import Flow, Request, parsed, target
from muniment.faces import both

OnStatus: TypeAlias = Callable[[JobStatus], object]


class LimitKeywords(TypedDict, total=False):
    """The limits of an operation that are to be changed; what is not named stays."""

    read_rate: str
    write_rate: str
    niceness: int
    hours: str


class BothJobs:
    """A backup, a restore or a compaction that a server is doing; it goes on when this program ends."""

    def __init__(self, job: Job, transport: Any) -> None:
        self.id = job.operation
        self._job = job
        self._transport = transport

    @both
    def changes(self) -> Flow[list[dict[str, Any]]]:
        """Of a restore into a database: the ids that differ, by kind and collection, as soon as that is known.

        Raises `NotFound` before, and when the server has forgotten them.
        """
        return (yield from jobs.changes(self._job))

    @both
    def cancel(self) -> Flow[None]:
        """Ask it to stop. `wait` then raises `Cancelled`, unless it was complete before that."""
        yield from jobs.cancel(self._job)

    @both
    def wait(self, timeout: float | None = None, on_status: OnStatus | None = None) -> Flow[JobStatus]:
        """Its status once it is complete; raises what it failed with, or `TimeoutError` after that many seconds.

        Asks every second, at first more often, and tells `on_status` each answer.
        """
        return (yield from jobs.wait(self._job, timeout, on_status))


class RemoteJob(BothJobs, Remote):
    __doc__ = BothJobs.__doc__

    @property
    def status(self) -> JobStatus:
        """How far it is now, as the server says."""
        return self._run(jobs.status(self._job))


class AsyncRemoteJob(BothJobs, AsyncRemote):
    """`RemoteJob` in asyncio."""

    async def status(self) -> JobStatus:
        """See `RemoteJob.status`."""
        return await self._run(jobs.status(self._job))


@dataclass(frozen=True, slots=True)
class Operation:
    """A job that a server is doing or has done."""

    id: int
    status: str
    type: str
    description: str
    error: str


class _Task(msgspec.Struct):
    id: int = msgspec.field(name="Id")
    status: str = msgspec.field(name="Status", default="")
    type: str = msgspec.field(name="TaskType", default="")
    description: str | None = msgspec.field(name="Description", default=None)
    error: str | None = msgspec.field(name="ExceptionText", default=None)


class BothOperations:
    """The jobs of a server, by their numbers."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    @both
    def status(self, id: int) -> Flow[JobStatus]:
        """How far an operation is; raises `NotFound` when the server does not know it (any more)."""
        return (yield from jobs.operation(id))

    @both
    def list(self) -> Flow[list[Operation]]:
        """The operations that the server knows."""
        tasks = parsed((yield from call(Request("GET", target("operations"), repeatable=True), 200)), list[_Task])
        return [Operation(task.id, task.status, task.type, task.description or "", task.error or "") for task in tasks]

    @both
    def limit(self, id: int, **limits: Unpack[LimitKeywords]) -> Flow[dict[str, str]]:
        """Change how fast an operation may be, and when: `read_rate="20MB"`, `hours="22:00-06:00"`, `"none"` for none.

        Returns all the limits that it has now.
        """
        query = [("id", str(id)), *((name.replace("_", "-"), str(value)) for name, value in limits.items())]
        request = Request("POST", target("operation", "limits", query=query), b"", JSON)
        return parsed((yield from call(request, 200)), dict[str, str])

    @both
    def kill(self, id: int) -> Flow[None]:
        """Ask an operation to stop."""
        yield from jobs.kill(id)


class Operations(BothOperations, Remote):
    __doc__ = BothOperations.__doc__


class AsyncOperations(BothOperations, AsyncRemote):
    """`Operations` in asyncio."""
