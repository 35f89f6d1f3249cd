"""What is to be done again and again for the backups of databases, and what of it is due: values in, values out.

One heap has the next time of each task of each schedule, however many databases it is for, so that nothing is looked at
while nothing is due. The time is given, never asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from heapq import heappop, heappush
from itertools import count
from typing import Any, Final, Literal, get_args

import msgspec

from muniment.backup.cron import Cron
from muniment.backup.manifest import Time
from muniment.backup.retention import Policy
from muniment.document import fold, to_microseconds
from muniment.duration import duration_of
from muniment.errors import InvalidInput

Task = Literal["full", "incremental", "verify", "rehearse", "expire"]
TASKS: Final[tuple[Task, ...]] = get_args(Task)
BACKUPS: Final = frozenset({"full", "incremental"})
ALL: Final = "*"
SECOND: Final = 1_000_000
STEP: Final = 60 * SECOND  # a clock that goes back further was set back


class Schedule(
    msgspec.Struct, frozen=True, kw_only=True, rename="pascal", forbid_unknown_fields=True, omit_defaults=True
):
    """What is done when, for which databases, with backups in which place.

    `full`, `incremental`, `verify`, `rehearse` and `expire` are cron expressions by the clock of `time_zone`. A
    schedule for one database has its backups in `destination`; one for several, or for all (`*`), in a folder of each
    name there. Of several databases each begins up to `jitter` later than the time says, always by the same. What
    `retention` does not keep is removed when it was marked for `grace`. A rehearsal fails unless `rehearsal_query`, SQL
    over the documents, answers with what is true. What falls into a pause is not made up for.
    `since` is when it was made or changed: nothing before was missed. `anywhere` says that whoever made it might have
    named any folder of the machine.
    """

    destination: str
    databases: tuple[str, ...] = (ALL,)
    full: str | None = None
    incremental: str | None = None
    verify: str | None = None
    rehearse: str | None = None
    expire: str | None = None
    time_zone: str = "UTC"
    jitter: str = "0s"
    retention: Policy = Policy()
    rehearsal_query: str | None = None
    grace: str = "24h"
    paused: bool = False
    paused_until: Time | None = None
    since: Time | None = None
    anywhere: bool = False

    @property
    def crons(self) -> dict[Task, Cron]:
        """When each task is due."""
        told = {task: getattr(self, task) for task in TASKS}
        return {task: Cron(text, self.time_zone) for task, text in told.items() if text is not None}

    def check(self) -> None:
        """Raises `InvalidInput` where it makes no sense."""
        if not self.destination.strip():
            raise InvalidInput("a schedule without a destination has nowhere to put backups", "name a folder")
        if not self.databases or not all(name.strip() for name in self.databases):
            raise InvalidInput("a schedule for no database does nothing", f"name some, or {ALL} for all of them")
        if ALL in self.databases and len(self.databases) > 1:
            raise InvalidInput(f"{ALL} stands for all databases, and others are named beside it", "leave them out")
        if not self.crons:
            raise InvalidInput(
                "a schedule without a time does nothing",
                "say when, for example full '0 1 * * 0' and incremental '*/15 * * * *'",
            )
        if self.expire is not None and self.retention.keeps_all and not self.retention.merge_after:
            raise InvalidInput("nothing says which backups to keep", "give keep-last, keep-within or another, too")
        if self.expire is None and not self.retention.keeps_all:
            raise InvalidInput(
                "it says which backups to keep, but not when to remove the others", "give expire '30 4 * * *'"
            )
        duration_of(self.jitter, "jitter")
        duration_of(self.grace, "grace")
        if self.paused_until is not None:
            datetime.fromisoformat(self.paused_until)

    @property
    def single(self) -> str | None:
        """The one database that it is for, if it is for one that is named."""
        return self.databases[0] if len(self.databases) == 1 and self.databases[0] != ALL else None

    def place(self, folder: str) -> str:
        """Where the backups of a database go whose folder among others has this name."""
        return self.destination if self.single else f"{self.destination.rstrip('/')}/{folder}"

    def delay(self, name: str, database: str) -> int:
        """How many microseconds later than the time this database begins, so that not all do at once."""
        spread = 0 if self.single else duration_of(self.jitter, "jitter") * SECOND
        digest = hashlib.blake2b(f"{name}/{fold(database)}".encode(), digest_size=6).digest()
        return int.from_bytes(digest, "big") % spread if spread else 0


def check_name(name: str) -> None:
    """Raises `InvalidInput` unless a schedule may have this name."""
    if not name.strip() or "/" in name or not name.isprintable() or len(name) > 100:
        raise InvalidInput(f"{name!r} cannot be the name of a schedule", "give a short one without a slash")


@dataclass(frozen=True, slots=True)
class Due:
    """A task of a schedule, and the time (microseconds) at which it was due; of several that were missed, the last."""

    schedule: str
    task: Task
    at: int


class Agenda:
    """When what of all schedules is due next."""

    def __init__(self) -> None:
        self.schedules: dict[str, Schedule] = {}
        self._heap: list[tuple[int, int, str, Task, Cron]] = []
        self._numbers = count()
        self._valid: dict[str, set[int]] = {}
        self._now: int | None = None

    def put(self, name: str, schedule: Schedule, now: int, done: Mapping[str, int] | None = None) -> None:
        """A schedule is new or was changed. `done` has the times at which its tasks were due last, as far as known.

        What was due since then is due now, once.
        """
        self.remove(name)
        self.schedules[name] = schedule
        if schedule.paused:
            return
        since = _micros(schedule.since, 0)
        until = _micros(schedule.paused_until, 0)
        for task, cron in schedule.crons.items():
            last = min(
                max((done or {}).get(task, since or now), since), now
            )  # a time that is to come was of another clock
            self._push(name, task, cron, cron.after(max(last, until)))

    def remove(self, name: str) -> None:
        """Forget a schedule."""
        self.schedules.pop(name, None)
        self._valid.pop(name, None)
        if len(self._heap) > 64 + 4 * sum(map(len, self._valid.values())):
            self._heap = sorted(entry for entry in self._heap if entry[1] in self._valid.get(entry[2], ()))

    def _push(self, name: str, task: Task, cron: Cron, at: int) -> None:
        number = next(self._numbers)
        self._valid.setdefault(name, set()).add(number)
        heappush(self._heap, (at, number, name, task, cron))

    def due(self, now: int) -> Iterator[Due]:
        """What is due by now and was not given before, each task once, whatever was missed of it."""
        if self._now is not None and now < self._now - STEP:
            for name, schedule in list(self.schedules.items()):
                self.put(name, schedule, now, dict.fromkeys(TASKS, now))
        self._now = now
        while self._heap and self._heap[0][0] <= now:
            at, number, name, task, cron = heappop(self._heap)
            if number in self._valid.get(name, ()):
                self._valid[name].discard(number)
                self._push(name, task, cron, cron.after(now))
                yield Due(name, task, cron.last(at, now))

    def next(self) -> int | None:
        """When something is due next (microseconds), None for never."""
        while self._heap and self._heap[0][1] not in self._valid.get(self._heap[0][2], ()):
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def times(self, name: str) -> dict[Task, int]:
        """When each task of a schedule is due next."""
        valid = self._valid.get(name, ())
        return {task: at for at, number, of, task, _ in self._heap if of == name and number in valid}


def _micros(time: str | None, otherwise: int) -> int:
    return otherwise if time is None else to_microseconds(datetime.fromisoformat(time))


def from_periodic_setup(document: Mapping[str, Any], database: str) -> Schedule:
    """What RavenDB 3's `Raven/Backup/Periodic/Setup` asks for: intervals, and a folder, S3 bucket or Azure container.

    Of several places it is the first of these; credentials are not in it. Raises `InvalidInput` where that is none that
    backups can go to.
    """
    told = {name.lower(): value for name, value in document.items()}
    if told.get("localfoldername"):
        destination = str(told["localfoldername"])
    elif told.get("s3bucketname"):
        destination = _below(f"s3://{told['s3bucketname']}", told.get("s3remotefoldername"))
    elif told.get("azurestoragecontainer"):
        destination = _below(f"az://{told['azurestoragecontainer']}", told.get("azureremotefoldername"))
    else:
        other = " (Glacier is not supported)" if told.get("glaciervaultname") else ""
        raise InvalidInput(
            f"the periodic backup of {database} names no folder, S3 bucket or Azure container{other}",
            "give --dest, and say when with --full and --incremental",
        )
    full = _every(told.get("fullbackupintervalmilliseconds"))
    incremental = _every(told.get("intervalmilliseconds"))
    if full is None and incremental is None:
        raise InvalidInput(
            f"the periodic backup of {database} has no interval", "say when with --full and --incremental"
        )
    return Schedule(
        destination=destination,
        databases=(database,),
        full=full,
        incremental=incremental,
        paused=bool(told.get("disabled")),
    )


def _below(place: str, folder: Any) -> str:
    return f"{place}/{str(folder).strip('/')}" if folder else place


def _every(milliseconds: Any) -> str | None:
    """A cron expression for an interval: the longest one up to it that divides the hour, the day or the week."""
    if not isinstance(milliseconds, int | float) or milliseconds <= 0:
        return None
    minutes = max(1, int(milliseconds // 60_000))
    if minutes < 60:
        step = max(step for step in (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30) if step <= minutes)
        return f"*/{step} * * * *"
    hours = minutes // 60
    if hours < 24:
        return f"0 */{max(step for step in (1, 2, 3, 4, 6, 8, 12) if step <= hours)} * * *"
    return "0 1 * * *" if hours < 7 * 24 else "0 1 * * 0" if hours < 28 * 24 else "0 1 1 * *"
