"""Schedules, what they came to, and jobs that keep backups in order: verifying, rehearsing, merging, expiring."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from muniment.backup.repository import check_destination
from muniment.backup.runs import Run
from muniment.backup.schedule import Schedule
from muniment.document import from_microseconds, rfc3339, to_microseconds
from muniment.duration import duration_of
from muniment.errors import InvalidInput, MunimentError
from muniment.limits import NO_LIMITS, Limits
from muniment.raven3.messages import (
    Accepted,
    BackupWanted,
    ChoreWanted,
    CopyWanted,
    ExpiryWanted,
    MergeWanted,
    MomentWanted,
    RehearsalWanted,
    ScheduleAction,
    ScheduleDone,
    ScheduleListed,
    VerificationWanted,
)
from muniment.raven3.names import MAX_PAGE, SYSTEM
from muniment.raven3.queries import LimitsWanted, RunsListed
from muniment.server.chores import Told, copying, expiry, merging, rehearsal, verification
from muniment.server.keyring import keyring_of, protection_of
from muniment.server.points import point_of
from muniment.server.request import Request
from muniment.server.wire import Response, empty_response, json_response
from muniment.storage.base import system_clock

LOOK_SECONDS: Final = 10


async def listing(request: Request) -> Response:
    """All schedules, and when each of their tasks is due next."""
    return json_response([_listed(request, name) for name in sorted(request.server.scheduler.agenda.schedules)])


async def get(request: Request) -> Response:
    """A schedule, and when its tasks are due next."""
    request.server.scheduler.get(request.argument)
    return json_response(_listed(request, request.argument))


async def put(request: Request) -> Response:
    """Make a schedule, or change one; answers with the next five times of its tasks, and what its place lacks now."""
    schedule, scheduler = await request.message(Schedule), request.server.scheduler
    schedule.check()
    place = request.backup_folder(schedule.place("x"))  # which refuses one where there may be none
    schedule = msgspec.structs.replace(schedule, anywhere=request.is_local, since=None)
    await scheduler.store(request.argument, schedule)
    await _note(request, "schedule stored")
    listed = _listed(request, request.argument)
    return json_response(msgspec.structs.replace(listed, notes=await _lacking(place, schedule.destination)))


async def delete(request: Request) -> Response:
    """Forget a schedule; what it has begun goes on."""
    await request.server.scheduler.remove(request.argument)
    await _note(request, "schedule deleted")
    return empty_response(204)


async def act(request: Request) -> Response:
    """Run a task of a schedule now, or pause the schedule, until a time or until it is resumed."""
    wanted, scheduler = await request.message(ScheduleAction), request.server.scheduler
    schedule = scheduler.get(request.argument)
    runs: list[Run] = []
    match wanted.action:
        case "run":
            runs = await scheduler.run_now(request.argument, wanted.task, wanted.database)
        case "pause":
            until = rfc3339(_time(wanted.until)) if wanted.until else None
            paused = msgspec.structs.replace(schedule, paused=until is None, paused_until=until)
            await scheduler.store(request.argument, paused)
        case "resume":
            await scheduler.store(request.argument, msgspec.structs.replace(schedule, paused=False, paused_until=None))
    await _note(request, f"schedule {wanted.action}")
    return json_response(ScheduleDone(_listed(request, request.argument), runs))


async def runs(request: Request) -> Response:
    """What schedules came to: what waits or runs now, and the last hundred runs of each database, the latest first."""
    asked, scheduler = request.asked(RunsListed), request.server.scheduler
    size = min(asked.size, MAX_PAGE)
    if asked.database is None:
        ended = await asyncio.to_thread(scheduler.runs.page, asked.start, size, asked.schedule)
    else:
        of_database = await asyncio.to_thread(scheduler.runs.of, asked.database, asked.schedule)
        ended = of_database[asked.start : asked.start + size]
    unended = scheduler.unended if asked.start == 0 else []
    wanted = [
        run
        for run in (*unended, *ended)
        if asked.schedule in (None, run.schedule) and asked.database in (None, run.database)
    ]
    return json_response(wanted)


async def verify(request: Request) -> Response:
    """Begin to read and check all backups in a folder of the server's machine, or all that a named moment needs."""
    wanted = await request.message(VerificationWanted)
    point = point_of(wanted)
    return await _begun(request, wanted, lambda place, keyring: verification(place, keyring, point), _limits(request))


async def rehearse(request: Request) -> Response:
    """Begin to really restore a moment of the backups in a folder, which is looked at and deleted again."""
    wanted, app = await request.message(RehearsalWanted), request.server
    point = point_of(wanted)
    return await _begun(
        request,
        wanted,
        lambda place, keyring: rehearsal(
            app.settings, app.databases.data_dir, place, keyring, point=point, query=wanted.query
        ),
        _limits(request),
    )


async def expire(request: Request) -> Response:
    """Begin to let backups expire that a policy does not keep; with `DryRun`, only say what would be done and why."""
    wanted = await request.message(ExpiryWanted)
    if wanted.policy.keeps_all and not wanted.policy.merge_after:
        raise InvalidInput("nothing says which backups to keep", 'send {"Policy": {"KeepLast": 7}} or another')
    grace = duration_of(wanted.grace, "Grace")
    return await _begun(
        request, wanted, lambda place, keyring: expiry(place, wanted.policy, grace, keyring, dry_run=wanted.dry_run)
    )


async def merge(request: Request) -> Response:
    """Begin to make one full backup out of a chain, which is proven before anything is deleted."""
    wanted, settings = await request.message(MergeWanted), request.server.settings
    if not wanted.through.strip():
        raise InvalidInput("Through is missing", "send the name of the last backup to merge, an incremental one")
    protection = await asyncio.to_thread(protection_of, settings, BackupWanted())
    return await _begun(
        request,
        wanted,
        lambda place, keyring: merging(place, wanted.through, keyring, protection, delete_merged=wanted.delete_merged),
        _limits(request),
    )


async def copy(request: Request) -> Response:
    """Begin to bring backups to another place that the server may write to, or to heal what is damaged there."""
    wanted = await request.message(CopyWanted)
    if not wanted.destination.strip():
        raise InvalidInput("Destination is missing", 'send {"Destination": "s3://bucket/prefix"}, or a folder')
    destination = request.backup_folder(wanted.destination)
    return await _begun(
        request,
        wanted,
        lambda place, keyring: copying(place, destination, keyring, repair=wanted.repair),
        _limits(request),
    )


async def _lacking(place: Path, named: str) -> list[str]:
    """Why no backup could be written there now: it may be made, or be reached, until the first one is due."""
    try:
        await asyncio.wait_for(asyncio.to_thread(check_destination, place), LOOK_SECONDS)
    except TimeoutError:
        return [f"{named} did not answer within {LOOK_SECONDS} s, and no backup is written while that is so"]
    except MunimentError as error:
        return [f"no backup can be written to {named} as it is now: {error.message}; {error.hint}"]
    return []


async def _begun(request: Request, wanted: ChoreWanted, make: Any, limits: Limits = NO_LIMITS) -> Response:
    if not wanted.backup_location.strip():
        raise InvalidInput("BackupLocation is missing", 'send {"BackupLocation": "/a/folder/of/the/server"}')
    app = request.server
    place = request.backup_folder(wanted.backup_location)
    keyring = await asyncio.to_thread(keyring_of, app.settings, _signed(wanted))
    job, told = make(place, keyring)
    result: Told = told
    job.limits = limits
    operation = app.operations.new(job, wanted.database or SYSTEM, request.who)
    operation.place, operation.result = str(place), result
    app.operations.start(operation)
    return json_response(Accepted(operation.id), 202)


def _limits(request: Request) -> Limits:
    return request.asked(LimitsWanted).on(NO_LIMITS)


def _signed(wanted: ChoreWanted) -> MomentWanted:
    return MomentWanted(require_signature=wanted.require_signature, allow_clear=wanted.allow_clear)


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(f"{text!r} is not a time", "write it like 2026-11-22T17:18:03Z") from error
    if found.tzinfo is None:
        raise InvalidInput(f"{text!r} does not say its time zone", "write it like 2026-11-22T17:18:03Z")
    return found.astimezone(UTC)


def _listed(request: Request, name: str) -> ScheduleListed:
    scheduler = request.server.scheduler
    schedule = scheduler.get(name)
    until, crons = schedule.paused_until, schedule.crons
    now = max(system_clock(), to_microseconds(datetime.fromisoformat(until)) if until else 0)
    due = {task: crons[task].text(from_microseconds(at)) for task, at in scheduler.agenda.times(name).items()}
    times = {task: [cron.text(time) for time in cron.next_times(now)] for task, cron in crons.items()}
    return ScheduleListed(name, schedule, due, times)


async def _note(request: Request, what: str) -> None:
    audit = request.server.audit
    await asyncio.to_thread(audit.note, what, "completed", request.who, subject=request.argument)
