"""Does what schedules say when it is due: one timer for all databases, and never two things at a time with one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from heapq import heappop, heappush
from itertools import count
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from muniment.backup.alerts import Failure, Overdue
from muniment.backup.manifest import NAME as MANIFEST
from muniment.backup.repository import backups, read
from muniment.backup.runs import Run, RunState
from muniment.backup.schedule import ALL, BACKUPS, Agenda, Due, Schedule, Task, check_name
from muniment.backup.summary import BackupSummary
from muniment.command import Delete, Put
from muniment.document import decode, fold, from_microseconds, rfc3339, to_microseconds
from muniment.duration import duration_of
from muniment.errors import (
    BackupNotFound,
    Cancelled,
    DatabaseNotFound,
    ForeignBackup,
    MunimentError,
    NotFound,
    StorageFailure,
)
from muniment.maintenance import BackupOperation
from muniment.raven3.messages import BackupWanted, MomentWanted
from muniment.raven3.names import DATABASES, SCHEDULES, SYSTEM, SYSTEM_FOLDER
from muniment.server.audit import Who
from muniment.server.chores import expiry, rehearsal, verification
from muniment.server.keyring import keyring_of, protection_of
from muniment.server.operations import Operation, Operations
from muniment.server.places import check_unmoved
from muniment.server.runs import Runs
from muniment.server.tenants import Databases, Tenant, described, is_system
from muniment.server.wire import Refused
from muniment.settings import Settings
from muniment.storage.base import system_clock
from muniment.telling import log, telling

LONGEST_SLEEP: Final = 60.0  # after which the clock is looked at again, which somebody may have set
SHARED_SLEEP: Final = 10.0  # after which a server looks what others with the same system database have changed
TURN: Final = "schedules"
DAY: Final = timedelta(days=1)
_WHAT: Final[Mapping[Task, Literal["backup", "verification", "rehearsal", "expiry"]]] = {
    "full": "backup",
    "incremental": "backup",
    "verify": "verification",
    "rehearse": "rehearsal",
    "expire": "expiry",
}


@dataclass
class _Queue:
    """What is to be done with one database: one thing at a time."""

    running: Run | None = None
    waiting: deque[Run] = field(default_factory=deque)


class Scheduler:
    """The schedules of a server, and the runs that they come to."""

    def __init__(
        self,
        settings: Settings,
        databases: Databases,
        operations: Operations,
        clock: Callable[[], int] = system_clock,
    ) -> None:
        self.runs = Runs(databases.system.database)
        self.agenda = Agenda()
        self.stopping = False
        self._mine = False
        self.on_end: Callable[[str], object] = lambda database: None
        self._settings = settings
        self._all = databases
        self._operations = operations
        self._clock = clock
        self._changed = asyncio.Event()
        self._later: list[tuple[int, int, Run]] = []
        self._numbers = count()
        self._queues: dict[str, _Queue] = {}
        self._at_once = asyncio.Semaphore(settings.jobs)
        self._tasks: set[asyncio.Task[None]] = set()
        self._opened: dict[str, object] = {}
        self._ids: dict[str, tuple[int, str]] = {}

    def load(self) -> None:
        """Read the schedules, and what was being done when a server before this one ended: it is done once more."""
        now = self._clock()
        for name, schedule in self._stored():
            self.agenda.put(name, schedule, now, self.runs.due_last(name))
        if self._take_over():
            self._load_runs(now)

    def _take_over(self) -> bool:
        """Whether this server does what is due: of several with one system database, one at a time does."""
        self._mine = self._all.system.database.storage.take(TURN) is None
        return self._mine

    def _look_again(self) -> bool:
        """Whether it is this server's turn; where others may have changed schedules, they are read again."""
        system = self._all.system.database
        if not system.storage.shared:
            return True
        before, now = self._mine, self._clock()
        there = set()
        for name, schedule in list(self._stored()):
            there.add(name)
            if self.agenda.schedules.get(name) != schedule:
                self.agenda.put(name, schedule, now, self.runs.due_last(name))
        for name in set(self.agenda.schedules) - there:
            self.agenda.remove(name)
        if self._take_over() and not before:  # whoever did it before has ended, or died
            for name, schedule in list(self.agenda.schedules.items()):
                self.agenda.put(name, schedule, now, self.runs.due_last(name))
            self._load_runs(now)
        return self._mine

    def _load_runs(self, now: int) -> None:
        left = self.runs.left()
        again: dict[tuple[str, Task, str], Run] = {}
        for run in left:
            if run.state == "running":
                error = "the server was ended while it ran"
                self.runs.end(self._ended(run, "interrupted", error=error, hint="it is done once more"))
            if run.schedule in self.agenda.schedules:
                again[run.schedule, run.task, fold(run.database)] = run
        self.runs.forget(left)
        self._enqueue(
            msgspec.structs.replace(
                run, due=rfc3339(from_microseconds(max(now, _micros(run.due) + 1))), state="waiting", started=None
            )
            for run in again.values()
        )

    def _stored(self) -> Iterator[tuple[str, Schedule]]:
        """The schedules that there are, by name."""
        start = 0
        while page := self._all.system.database.by_prefix(SCHEDULES, start=start, limit=1024):
            start += len(page)
            for document in page:
                name = document.id[len(SCHEDULES) :]
                with telling(f"that the schedule {name} cannot be read,"):
                    yield name, msgspec.json.decode(document.body, type=Schedule)

    def get(self, name: str) -> Schedule:
        """A schedule; raises `NotFound`."""
        if name not in self.agenda.schedules:
            raise NotFound(f"there is no schedule {name!r}", "`muniment schedule list` shows those that there are")
        return self.agenda.schedules[name]

    async def store(self, name: str, schedule: Schedule) -> Schedule:
        """Make a schedule, or change one; raises `InvalidInput` where it makes no sense."""
        check_name(name)
        schedule.check()
        before = self.agenda.schedules.get(name)
        same = before is not None and _timing(before) == _timing(schedule)
        schedule = msgspec.structs.replace(schedule, since=before.since if before and same else self._time())
        await asyncio.to_thread(self._write, [Put(SCHEDULES + name, msgspec.to_builtins(schedule))])
        done = await asyncio.to_thread(self.runs.due_last, name)
        self.agenda.put(name, schedule, self._clock(), done)
        self._changed.set()
        return schedule

    async def remove(self, name: str) -> None:
        """Forget a schedule; what it has begun goes on."""
        self.get(name)
        await asyncio.to_thread(self._write, [Delete(SCHEDULES + name)])
        self.agenda.remove(name)
        self._changed.set()

    def _write(self, commands: list[Put | Delete]) -> None:
        with self._all.admission.own():
            self._all.system.database.batch(commands)

    async def run_now(self, name: str, task: Task | None = None, database: str | None = None) -> list[Run]:
        """Begin a task of a schedule for its databases, or for one; its first one if none is named."""
        schedule = self.get(name)
        [found, *_] = [task] if task else schedule.crons
        databases = self._databases(schedule)
        if database is not None:
            databases = [each for each in databases if fold(each) == fold(database)]
            if not databases:
                raise DatabaseNotFound(f"the schedule {name} is for no database {database!r}", "see `schedule list`")
        due = self._time()
        runs = [self._run(name, schedule, found, each, due, by_hand=True) for each in databases]
        await asyncio.to_thread(self.runs.begin, runs)
        self._enqueue(runs)
        return runs

    @property
    def unended(self) -> list[Run]:
        """What waits or runs now. Any thread may ask."""
        queues = list(self._queues.values())
        running = [run for queue in queues if (run := queue.running)]
        waiting = [run for queue in queues for run in list(queue.waiting)]
        return [*running, *waiting, *(run for _, _, run in list(self._later))]

    def failures(self) -> Iterator[tuple[str, Failure | Overdue]]:
        """What failed when it was done last and is to be done again, and what is late, with the database of each."""
        yield from self._overdue()
        for run in self.runs.failed:
            schedule = self.agenda.schedules.get(run.schedule)
            due = schedule and run.task in schedule.crons and self._is_for(schedule, run.database)
            if due and run.ended and run.is_of(self._known_id(run.database)):
                time = datetime.fromisoformat(run.ended)
                yield (
                    run.database,
                    Failure(what=_WHAT[run.task], time=time, reason=run.error or "", destination=run.destination),
                )

    def places(self) -> list[tuple[str, str, Path]]:
        """Where schedules put the backups of which databases: the name of each, the database and the place."""
        found = []
        for name, schedule in list(self.agenda.schedules.items()):
            for database in self._databases(schedule):
                run = self._run(name, schedule, "full", database, "")
                with suppress(MunimentError):  # which a run tells better
                    place = self._all.backup_folder(run.destination, local=schedule.anywhere)
                    found.append((name, database, place))
        return found

    def _overdue(self) -> Iterator[tuple[str, Overdue]]:
        """Backups that wait or run still, though their schedule would have had the next one begin."""
        now = self._clock()
        for run in self.unended:
            schedule = self.agenda.schedules.get(run.schedule)
            cron = schedule.crons.get(run.task) if schedule and run.task in BACKUPS and not run.by_hand else None
            if schedule and cron and now > cron.after(_micros(run.due)) + schedule.delay(run.schedule, run.database):
                due = datetime.fromisoformat(run.due)
                yield run.database, Overdue(schedule=run.schedule, due=due, destination=run.destination)

    def _is_for(self, schedule: Schedule, database: str) -> bool:
        if ALL not in schedule.databases:
            return fold(database) in map(fold, schedule.databases)
        return is_system(database) or self._all.document(database) is not None

    async def run(self) -> None:
        """Do what is due, for as long as the server runs."""
        while True:
            with telling("what schedules say"):
                if await asyncio.to_thread(self._look_again):
                    await self._advance()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), self._sleep())
            self._changed.clear()

    def _sleep(self) -> float:
        times = [time for time in (self.agenda.next(), self._later[0][0] if self._later else None) if time is not None]
        wait = (min(times) - self._clock()) / 1e6 if times else LONGEST_SLEEP
        shared = self._all.system.database.storage.shared
        least, most = (SHARED_SLEEP, SHARED_SLEEP) if shared and not self._mine else (0.0, LONGEST_SLEEP)
        return min(max(wait, least) + 0.001, SHARED_SLEEP if shared else most)

    async def _advance(self) -> None:
        now = self._clock()
        if due := list(self.agenda.due(now)):
            await self._dispatch(due)
        ready = []
        while self._later and self._later[0][0] <= now:
            ready.append(heappop(self._later)[2])
        self._enqueue(ready)

    async def _dispatch(self, due: list[Due]) -> None:
        """What is due becomes a run of each database. They are written down first, and so survive this server."""
        runs: list[tuple[int, Run]] = []
        done: dict[str, dict[str, int]] = {}
        for each in due:
            schedule, time = self.agenda.schedules[each.schedule], rfc3339(from_microseconds(each.at))
            if each.schedule not in done:
                done[each.schedule] = await asyncio.to_thread(self.runs.due_last, each.schedule)
            done[each.schedule][each.task] = each.at
            for database in await asyncio.to_thread(self._databases, schedule):
                at = each.at + schedule.delay(each.schedule, database)
                runs.append((at, self._run(each.schedule, schedule, each.task, database, time)))
        await asyncio.to_thread(self.runs.begin, [run for _, run in runs], done)
        for at, run in runs:
            heappush(self._later, (at, next(self._numbers), run))

    def _databases(self, schedule: Schedule) -> list[str]:
        """Whom it is for: of all those that are not disabled, the server's own too."""
        if ALL not in schedule.databases:
            return list(schedule.databases)
        system = self._all.system.database
        names = [
            document.id[len(DATABASES) :]
            for document in described(system)
            if decode(document.body).get("Disabled") is not True
        ]
        return [SYSTEM, *names]

    def _run(self, name: str, schedule: Schedule, task: Task, database: str, due: str, *, by_hand: bool = False) -> Run:
        folder = SYSTEM_FOLDER if is_system(database) else database
        place = schedule.place(folder)
        return Run(schedule=name, task=task, database=database, destination=place, due=due, by_hand=by_hand)

    def _enqueue(self, runs: Iterable[Run]) -> None:
        for run in runs:
            queue = self._queues.setdefault(fold(run.database), _Queue())
            same = [each for each in (queue.running, *queue.waiting) if each and _what(each) == _what(run)]
            if same:
                self._told(self._ended(run, "skipped", error="the one before it had not ended"))
            else:
                queue.waiting.append(run)
                self._next(fold(run.database))

    def _next(self, key: str) -> None:
        queue = self._queues[key]
        if queue.running is None and queue.waiting:
            queue.running = queue.waiting.popleft()
            task = asyncio.get_running_loop().create_task(self._do(key, queue.running))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif queue.running is None:
            del self._queues[key]

    async def _do(self, key: str, run: Run) -> None:
        try:
            async with self._at_once:
                if self._ends:
                    return
                run = await self._done(msgspec.structs.replace(run, state="running", started=self._time()))
            if run.state != "cancelled" or not self._ends:  # or else the next server does it once more
                await asyncio.to_thread(self.runs.end, run)
                self.on_end(run.database)
        finally:
            if key in self._queues:
                self._queues[key].running = None
                if not self._ends:
                    self._next(key)

    async def _done(self, run: Run) -> Run:
        """The run when it has ended, in whatever way."""
        await asyncio.to_thread(self.runs.begin, [run])
        try:
            run = msgspec.structs.replace(run, database_id=await self._id(run.database))
            state, result = await self._perform(run)
        except Cancelled as error:
            return self._ended(run, "cancelled", error=error.message)
        except MunimentError as error:
            log(f"{run.task} of {run.database} by the schedule {run.schedule} failed: {error}")
            kind = (error.kind if isinstance(error, Refused) and error.kind else type(error)).__name__
            return self._ended(run, "failed", error=error.message, hint=error.hint, kind=kind)
        except Exception as error:
            log(f"{run.task} of {run.database} by the schedule {run.schedule} failed: unexpected error: {error!r}")
            return self._ended(run, "failed", error=f"unexpected error: {error!r}", hint="please report this as a bug")
        return self._ended(run, state, result=result)

    def _ended(self, run: Run, state: RunState, **more: Any) -> Run:
        now, seconds = self._clock(), None
        if run.started:
            seconds = round((now - _micros(run.started)) / 1e6, 3)
        return msgspec.structs.replace(run, state=state, ended=rfc3339(from_microseconds(now)), seconds=seconds, **more)

    def _told(self, run: Run) -> None:
        task = asyncio.get_running_loop().create_task(asyncio.to_thread(self.runs.end, run))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _perform(self, run: Run) -> tuple[RunState, dict[str, Any]]:
        schedule = self.get(run.schedule)
        databases = self._all
        place = await asyncio.to_thread(databases.backup_folder, run.destination, local=schedule.anywhere)
        if run.task in BACKUPS:
            return await self._back_up(run, place)
        await asyncio.to_thread(_check_own, run, place)
        job, told = await asyncio.to_thread(self._chore, run, schedule, place)
        operation = self._operations.new(job, run.database, _who(run))
        operation.place, operation.result = str(place), told
        await self._operations.follow(operation)
        return "completed", told(job.result)

    def _chore(self, run: Run, schedule: Schedule, place: Path) -> Any:
        keyring = self._keyring(run.database)
        if run.task == "verify":
            return verification(place, keyring)
        if run.task == "expire":
            return expiry(place, schedule.retention, duration_of(schedule.grace, "grace"), keyring)
        named = {}
        last = self.runs.of(run.database, run.schedule)
        taken = next((each for each in last if each.task in BACKUPS and each.good), None)
        if taken and taken.is_of(run.database_id):
            backup = Path(taken.result["backup"])
            if (place / backup.name / MANIFEST).is_file():
                named["backup"] = backup.name  # of several histories in the folder, it is this one
        return rehearsal(self._settings, self._all.data_dir, place, keyring, query=schedule.rehearsal_query, **named)

    def _keyring(self, database: str) -> Any:
        databases = self._all
        document = None if is_system(database) else databases.document(database)
        key = databases.key(document) if document else None
        return keyring_of(self._settings, MomentWanted(allow_clear=True), key)

    async def _back_up(self, run: Run, place: Path) -> tuple[RunState, dict[str, Any]]:
        databases, settings = self._all, self._settings
        key = fold(run.database)
        last = None
        if run.task == "incremental" and not run.by_hand:
            last = await asyncio.to_thread(self._last_taken, run, place)
        files = self._files(run.database)
        if last and files and key not in databases.open and self._opened.get(key) == files:
            return "unchanged", last[0].result  # nobody has opened it since
        tenant = databases.system if is_system(run.database) else await databases.get(run.database)
        tenant.active += 1
        try:
            while tenant.backup.running:
                await asyncio.to_thread(tenant.backup.join)
            files = self._files(run.database)
            if last and _holds_all(last, tenant):
                self._opened[key] = files
                return "unchanged", last[0].result
            protection = await asyncio.to_thread(protection_of, settings, BackupWanted())
            ended = asyncio.get_running_loop().create_future()
            begin = partial(self._begin, run, tenant, place, ended)
            job = tenant.database.maintenance.start_backup(
                place,
                incremental=run.task == "incremental",
                document=databases.settings(tenant),
                protection=protection,
                in_child=True,
                niceness=settings.backup_niceness,
                limits=settings.backup_limits,
                begin=begin,
            )
            await ended
            taken = msgspec.to_builtins(BackupSummary.of(job.result))
            if taken["etag"] == tenant.database.storage.snapshot().etag:
                self._opened[key] = files
            return "completed", taken
        finally:
            tenant.active -= 1

    def _begin(self, run: Run, tenant: Tenant, place: Path, ended: asyncio.Future[None], job: BackupOperation) -> None:
        loop = ended.get_loop()
        operation: Operation = self._operations.new(job, tenant.name, _who(run))
        operation.place = str(place)
        operation.check = partial(check_unmoved, place)
        operation.result = lambda backup: msgspec.to_builtins(BackupSummary.of(backup))
        operation.on_end = lambda: loop.call_soon_threadsafe(ended.set_result, None)
        tenant.backup.follow(operation, scheduled=True)
        self._operations.start(operation)

    async def _id(self, database: str) -> str | None:
        """Which database has this name now, None if that cannot be found out; it is opened where nobody knows yet."""
        if (known := self._known_id(database)) is None:
            with suppress(MunimentError):  # what is done with it tells what is wrong
                await self._all.get(database)
                known = self._known_id(database)
        return known

    def _known_id(self, database: str) -> str | None:
        """The same, as far as it is known without opening it."""
        key = fold(database)
        tenant = self._all.system if is_system(database) else self._all.open.get(key)
        document = None if is_system(database) else self._all.document(database)
        if tenant is None:
            etag, id = self._ids.get(key, (None, None))
            return id if document and etag == document.etag else None
        id = tenant.database.storage.identity.database_id
        if document:
            self._ids[key] = document.etag, id
        return id

    def _files(self, database: str) -> object:
        """What is another one when the database was opened, or is not the same any more; None of the server's own."""
        document = None if is_system(database) else self._all.document(database)
        return document and (document.etag, self._all.opens.get(fold(database), 0))

    def _last_taken(self, run: Run, place: Path) -> tuple[Run, str] | None:
        """The last backup by this schedule and its manifest's SHA-256, if it is there and was taken within a day."""
        for each in self.runs.of(run.database, run.schedule):
            if each.task in BACKUPS and each.state == "completed" and each.destination == run.destination:
                if not each.is_of(run.database_id):
                    return None
                if from_microseconds(self._clock()) - from_microseconds(_micros(each.due)) < DAY:
                    with suppress(MunimentError, OSError):
                        return each, read(place / Path(each.result["backup"]).name).sha256
                return None
        return None

    @property
    def _ends(self) -> bool:
        return self.stopping

    def _time(self) -> str:
        return rfc3339(from_microseconds(self._clock()))

    async def stop(self) -> None:
        """Wait until what was begun has ended; what waits is done by the next server."""
        for queue in self._queues.values():
            queue.waiting.clear()
        if self._tasks:
            await asyncio.wait(self._tasks)


def _check_own(run: Run, place: Path) -> None:
    """Raises `ForeignBackup` where there are backups of other databases alone, such as the one of this name before."""
    with suppress(BackupNotFound, StorageFailure):  # which what is done there tells better
        found = {backup.manifest.database.id for backup in backups(place)}
        if found and run.database_id not in (None, *found):
            raise ForeignBackup(
                f"{place} has no backup of {run.database}, but of another database, which had this name before",
                "move those away, or give the schedule another destination",
            )


def _holds_all(last: tuple[Run, str], tenant: Tenant) -> bool:
    """Whether this backup holds all that is in the database, and is of its log."""
    storage, (run, sha256) = tenant.database.storage, last
    return run.result.get("etag") == storage.snapshot().etag and sha256 in storage.backup_facts().known


def _what(run: Run) -> tuple[str, str]:
    return run.schedule, run.task


def _who(run: Run) -> Who:
    return Who(None, True, f"schedule {run.schedule}")


def _micros(time: str) -> int:
    return to_microseconds(datetime.fromisoformat(time))


def _timing(schedule: Schedule) -> Mapping[str, Any]:
    """What of a schedule says when something is due."""
    told: dict[str, Any] = msgspec.to_builtins(schedule)
    return {name: value for name, value in told.items() if name not in ("Retention", "Grace", "Since", "Anywhere")}
