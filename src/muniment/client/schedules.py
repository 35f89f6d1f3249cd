"""The schedules of a server, what they came to, and the jobs that keep backups in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, Generic, Literal, TypedDict, TypeVar, Unpack

import msgspec

from muniment.backup.moment import NEWEST, PointKeywords, RestorePoint
from muniment.backup.retention import Policy
from muniment.backup.runs import Run
from muniment.backup.schedule import Schedule, Task
from muniment.client.documents import JSON
from muniment.client.jobs import Job
from muniment.client.operations import AsyncRemoteJob, RemoteJob
from muniment.client.retry import call
from muniment.client.transport import AsyncRemote, Remote
from muniment.client.wire import Flow, Request, parsed, target
from muniment.document import encode
from muniment.faces import both
from muniment.limits import NO_LIMITS, Limits
from muniment.raven3.messages import (
    Accepted,
    ChoreWanted,
    CopyWanted,
    DestinationListed,
    ExpiryWanted,
    MergeWanted,
    RehearsalWanted,
    ScheduleAction,
    ScheduleDone,
    ScheduleListed,
    VerificationWanted,
)

J = TypeVar("J")
_CALLED: Final = {
    "verify": "verification",
    "rehearse": "rehearsal",
    "merge": "merge",
    "copy": "copy",
    "expire": "expiry",
}


class Accepting(TypedDict, total=False):
    """Which backups are taken: signed by one of these public keys, and also in clear where the server has keys."""

    require_signature: Sequence[str]
    allow_clear: bool


def _accepting(*, require_signature: Sequence[str] = (), allow_clear: bool = False) -> dict[str, Any]:
    return {"require_signature": list(require_signature) or None, "allow_clear": allow_clear or None}


class Proving(Accepting, PointKeywords, total=False):
    """Which backups are taken, and the moment of them."""


def _proving(
    point: RestorePoint,
    *,
    require_signature: Sequence[str] = (),
    allow_clear: bool = False,
    **moment: Unpack[PointKeywords],
) -> dict[str, Any]:
    point = replace(point, **moment)
    at = None if point.at is None else point.at.isoformat()
    accepted = _accepting(require_signature=require_signature, allow_clear=allow_clear)
    return {"at": at, "etag": point.etag, "backup": point.backup, "lineage": point.lineage, **accepted}


class BothSchedules(Generic[J]):
    """What a server does by itself to keep backups, and the same by hand. Paths are those of the server's machine."""

    _job: Callable[[Job, Any], J]

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    @both
    def all(self) -> Flow[list[ScheduleListed]]:
        """All schedules, with when each of their tasks is due next."""
        request = Request("GET", target("admin", "schedules"), repeatable=True)
        return parsed((yield from call(request, 200)), list[ScheduleListed])

    @both
    def get(self, name: str) -> Flow[ScheduleListed]:
        """One schedule; raises `NotFound`."""
        request = Request("GET", target("admin", "schedules", name), repeatable=True)
        return parsed((yield from call(request, 200)), ScheduleListed)

    @both
    def put(self, name: str, schedule: Schedule) -> Flow[ScheduleListed]:
        """Make a schedule, or change one; raises `InvalidInput` where it makes no sense."""
        body = encode(msgspec.to_builtins(schedule))
        request = Request("PUT", target("admin", "schedules", name), body, JSON, repeatable=True)
        return parsed((yield from call(request, 200)), ScheduleListed)

    @both
    def delete(self, name: str) -> Flow[None]:
        """Forget a schedule; what it has begun goes on. Raises `NotFound`."""
        yield from call(Request("DELETE", target("admin", "schedules", name)), 204)

    @both
    def run(self, name: str, task: Task | None = None, database: str | None = None) -> Flow[ScheduleDone]:
        """Begin a task of a schedule now, for all its databases or for one, and return at once."""
        return (yield from self._act(name, "run", task=task, database=database))

    @both
    def pause(self, name: str, until: str | None = None) -> Flow[ScheduleDone]:
        """Have a schedule do nothing until a time (ISO 8601, with a zone), or until `resume`."""
        return (yield from self._act(name, "pause", until=until))

    @both
    def resume(self, name: str) -> Flow[ScheduleDone]:
        """Have a schedule go on that was paused."""
        return (yield from self._act(name, "resume"))

    def _act(self, name: str, action: Literal["run", "pause", "resume"], **more: Any) -> Flow[ScheduleDone]:
        body = encode(msgspec.to_builtins(ScheduleAction(action=action, **more)))
        response = yield from call(Request("POST", target("admin", "schedules", name), body, JSON), 200)
        return parsed(response, ScheduleDone)

    @both
    def runs(
        self, database: str | None = None, schedule: str | None = None, start: int = 0, size: int = 100
    ) -> Flow[list[Run]]:
        """What waits or runs now, and what has ended; of a database the newest first."""
        asked = {"database": database, "schedule": schedule, "start": str(start), "pageSize": str(size)}
        query = [(name, value) for name, value in asked.items() if value is not None]
        request = Request("GET", target("admin", "runs", query=query), repeatable=True)
        return parsed((yield from call(request, 200)), list[Run])

    @both
    def destinations(self) -> Flow[list[DestinationListed]]:
        """All places with backups of the server's databases, and how each is, as far as that is known."""
        request = Request("GET", target("admin", "destinations"), repeatable=True)
        return parsed((yield from call(request, 200)), list[DestinationListed])

    @both
    def start_verification(
        self,
        place: str | os.PathLike[str],
        *,
        point: RestorePoint = NEWEST,
        limits: Limits = NO_LIMITS,
        **named: Unpack[Proving],
    ) -> Flow[J]:
        """Begin to read and check all backups in a folder, or with a moment named, all that a restore would need."""
        wanted = VerificationWanted(backup_location=os.fspath(place), **_proving(point, **named))
        return (yield from self._begun("verify", wanted, limits))

    @both
    def start_rehearsal(
        self,
        place: str | os.PathLike[str],
        *,
        point: RestorePoint = NEWEST,
        query: str | None = None,
        limits: Limits = NO_LIMITS,
        **named: Unpack[Proving],
    ) -> Flow[J]:
        """Begin to really restore the newest moment, or one that is named, which is looked at and deleted again."""
        wanted = RehearsalWanted(backup_location=os.fspath(place), query=query, **_proving(point, **named))
        return (yield from self._begun("rehearse", wanted, limits))

    @both
    def start_merge(
        self,
        place: str | os.PathLike[str],
        through: str,
        *,
        delete_merged: bool = False,
        limits: Limits = NO_LIMITS,
        **accepted: Unpack[Accepting],
    ) -> Flow[J]:
        """Begin to make one full backup out of a chain: see `MaintenanceActions.merge`."""
        wanted = MergeWanted(
            backup_location=os.fspath(place), through=through, delete_merged=delete_merged, **_accepting(**accepted)
        )
        return (yield from self._begun("merge", wanted, limits))

    @both
    def start_copy(
        self,
        place: str | os.PathLike[str],
        destination: str | os.PathLike[str],
        *,
        repair: bool = False,
        limits: Limits = NO_LIMITS,
    ) -> Flow[J]:
        """Begin to bring backups to another place, or to heal them there: see `MaintenanceActions.copy`."""
        wanted = CopyWanted(backup_location=os.fspath(place), destination=os.fspath(destination), repair=repair)
        return (yield from self._begun("copy", wanted, limits))

    @both
    def start_expiry(
        self,
        place: str | os.PathLike[str],
        policy: Policy,
        *,
        grace: str = "24h",
        dry_run: bool = False,
        **accepted: Unpack[Accepting],
    ) -> Flow[J]:
        """Begin to let backups expire that a policy does not keep: see `MaintenanceActions.expire`.

        The `result` of the job's status has the decisions, and why.
        """
        wanted = ExpiryWanted(
            backup_location=os.fspath(place), policy=policy, grace=grace, dry_run=dry_run, **_accepting(**accepted)
        )
        return (yield from self._begun("expire", wanted))

    def _begun(self, what: str, wanted: ChoreWanted, limits: Limits = NO_LIMITS) -> Flow[J]:
        path, body = target("admin", what, query=[*limits.texts().items()]), encode(msgspec.to_builtins(wanted))
        response = yield from call(Request("POST", path, body, JSON), 202)
        number = parsed(response, Accepted).operation_id
        return self._job(Job(_CALLED.get(what, what), number), self._transport)


class Schedules(BothSchedules[RemoteJob], Remote):
    __doc__ = BothSchedules.__doc__

    _job = RemoteJob


class AsyncSchedules(BothSchedules[AsyncRemoteJob], AsyncRemote):
    """`Schedules` in asyncio."""

    _job = AsyncRemoteJob
