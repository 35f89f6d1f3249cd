"""`muniment schedule`: what a server does by itself, and when."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import msgspec
import typer

from muniment.backup.runs import Run
from muniment.backup.schedule import ALL, TASKS, Schedule, Task, from_periodic_setup
from muniment.cli.databases import Address
from muniment.cli.options import Keys, Output, Yes
from muniment.cli.output import check_meant, confirm, count_text, note, seconds_text
from muniment.cli.policy import PolicyOptions
from muniment.cli.report import Line, Row, facts, lines, listed, notes, plain
from muniment.document import decode, rfc3339
from muniment.duration import duration_of
from muniment.errors import InvalidInput, NotFound
from muniment.raven3.messages import ScheduleListed
from muniment.raven3.names import SYSTEM

if TYPE_CHECKING:
    from muniment.client import DocumentStore

SETUP = "Raven/Backup/Periodic/Setup"
PAUSE = 0.2
FAILED = 1
Name: TypeAlias = Annotated[str, typer.Argument(metavar="NAME", help="The name of the schedule.")]
TaskOption: TypeAlias = Annotated[
    str | None, typer.Option("--task", metavar="TASK", help=f"Which task: {', '.join(TASKS)}; the first if none.")
]


@dataclass(frozen=True, slots=True)
class Times:
    """When what is done, as cron expressions."""

    full: Annotated[str | None, typer.Option("--full", metavar="CRON", help="Take a full backup.")] = None
    incremental: Annotated[
        str | None, typer.Option("--incremental", metavar="CRON", help="Back up what changed since the last one.")
    ] = None
    verify: Annotated[str | None, typer.Option("--verify", metavar="CRON", help="Verify all backups.")] = None
    rehearse: Annotated[str | None, typer.Option("--rehearse", metavar="CRON", help="Rehearse a restore.")] = None
    expire: Annotated[
        str | None, typer.Option("--expire", metavar="CRON", help="Let backups expire that --keep-… does not keep.")
    ] = None
    database: Annotated[
        list[str] | None,
        typer.Option("--database", metavar="NAME", help="For this database; repeated for several. For all if none."),
    ] = None
    jitter: Annotated[
        str | None,
        typer.Option("--jitter", metavar="TIME", help="Of several databases each begins up to so much later."),
    ] = None
    grace: Annotated[
        str | None, typer.Option("--grace", metavar="TIME", help="How long a marked backup stays; 24h if not given.")
    ] = None
    rehearsal_query: Annotated[
        str | None,
        typer.Option("--rehearsal-query", metavar="SQL", help="A rehearsal fails unless this answers what is true."),
    ] = None

    def changed(self, schedule: Schedule, keeping: PolicyOptions) -> Schedule:
        """The schedule with what is said here; `none` in place of an expression takes a task out."""
        told: dict[str, Any] = {}
        for name in (*TASKS, "jitter", "grace", "rehearsal_query"):
            if (value := getattr(self, name)) is not None:
                told[name] = None if value == "none" else value
        if self.database:
            told["databases"] = tuple(self.database)
        policy, said = keeping.policy(), {}
        for name in policy.__struct_fields__:
            value = getattr(policy, name)
            if value != getattr(type(policy)(), name):
                said[name] = value
        if zone := said.get("time_zone"):
            told["time_zone"] = zone
        if said:
            told["retention"] = msgspec.structs.replace(schedule.retention, **said)
        return msgspec.structs.replace(schedule, **told)


Dest: TypeAlias = Annotated[
    str | None,
    typer.Option("--dest", metavar="PLACE", help="Where backups go: a folder of the server's machine, or a store."),
]


def list_schedules(*, url: Address, keys: Keys, out: Output) -> None:
    """List the schedules of a server, and when each task is due next.

    $ muniment schedule list
    """
    with keys.store(url) as store:
        found = store.schedules.all()
    rows = [Row(_told(each), _lines(each)) for each in found]
    out.emit(f"{store.url} has {count_text(len(found), 'schedule')}", [facts(url=store.url), listed("schedules", rows)])


def add(
    name: Name,
    *,
    dest: Dest = None,
    times: Times,
    keeping: PolicyOptions,
    periodic_setup: Annotated[
        bool,
        typer.Option(
            "--from-periodic-setup",
            metavar="",
            help=f"Take over what the document {SETUP} of the --database says, as RavenDB 3 has it.",
        ),
    ] = False,
    url: Address,
    keys: Keys,
    out: Output,
) -> None:
    """Have a server do something again and again; prints the next five times of each task.

    The place is looked at, and what keeps backups from being written there is said; the schedule is made all the same.

    A time is a cron expression: minute, hour, day of the month, month, day of the week; six have seconds in front. For
    all databases, new ones too, unless --database names some: then each has its backups in a folder of its name in
    --dest, and a single one in --dest itself.

    $ muniment schedule add nightly --dest /var/backups/muniment --full '0 1 * * 0' --incremental '*/15 * * * *'
    $ muniment schedule add shop --database shop --dest Backups/shop --full '0 1 * * *'
    """
    with keys.store(url) as store:
        if any(each.name == name for each in store.schedules.all()):
            raise InvalidInput(f"there is a schedule {name!r} already", "change it with `muniment schedule edit`")
        if periodic_setup:
            schedule = _taken_over(url, keys, times)
        elif dest is None:
            raise InvalidInput("it is not said where backups go", "give --dest")
        else:
            schedule = Schedule(destination=dest, databases=(ALL,))
        if dest is not None:
            schedule = msgspec.structs.replace(schedule, destination=dest)
        made = store.schedules.put(name, times.changed(schedule, keeping))
        _note_unknown(store, made.schedule)
        _emit(store, made, "Made", out)


def edit(
    name: Name,
    *,
    dest: Dest = None,
    times: Times,
    keeping: PolicyOptions,
    url: Address,
    keys: Keys,
    out: Output,
) -> None:
    """Change some of a schedule; the rest stays. `none` in place of a time takes the task out.

    $ muniment schedule edit nightly --incremental '*/5 * * * *' --full none
    """
    with keys.store(url) as store:
        schedule = store.schedules.get(name).schedule
        if dest is not None:
            schedule = msgspec.structs.replace(schedule, destination=dest)
        changed = store.schedules.put(name, times.changed(schedule, keeping))
        _note_unknown(store, changed.schedule)
        _emit(store, changed, "Changed", out)


def remove(name: Name, *, yes: Yes = False, url: Address, keys: Keys, out: Output) -> None:
    """Forget a schedule; its backups stay, and what it has begun goes on.

    $ muniment schedule remove nightly --yes
    """
    check_meant(f"the schedule {name} is to be forgotten", yes=yes)
    with keys.store(url) as store:
        store.schedules.get(name)
        if not yes:
            confirm(f"Forget the schedule {name} of {store.url}?")
        store.schedules.delete(name)
    out.emit(f"Removed the schedule {name} from {store.url}", [facts(url=store.url, name=name)])


def run(
    name: Name,
    *,
    task: TaskOption = None,
    database: Annotated[str | None, typer.Option("--database", metavar="NAME", help="For this one alone.")] = None,
    nowait: Annotated[bool, typer.Option("--nowait", metavar="", help="Return as soon as it has begun.")] = False,
    url: Address,
    keys: Keys,
    out: Output,
) -> None:
    """Do a task of a schedule now, and say what came of it. Exit code 1 says that it failed for a database.

    $ muniment schedule run nightly --task rehearse --database shop
    """
    with keys.store(url) as store:
        begun = store.schedules.run(name, _task(task), database).runs
        ended = begun if nowait else [_ended(store, each) for each in begun]
    _emit_runs(store, f"{name}: {count_text(len(ended), 'run')}", ended, out)
    if any(each.state in ("failed", "skipped", "cancelled", "interrupted") for each in ended):
        raise typer.Exit(FAILED)


def pause(
    name: Name,
    *,
    length: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="For so long, as 2h; until `resume` if it is not said.")
    ] = None,
    url: Address,
    keys: Keys,
    out: Output,
) -> None:
    """Have a schedule do nothing for a time; what falls into that is not made up for.

    $ muniment schedule pause nightly --for 2h
    """
    until = None
    if length is not None:
        until = rfc3339(datetime.now(UTC) + timedelta(seconds=duration_of(length, "--for")))
    with keys.store(url) as store:
        _emit(store, store.schedules.pause(name, until).schedule, "Paused", out)


def resume(name: Name, *, url: Address, keys: Keys, out: Output) -> None:
    """Have a schedule go on that was paused.

    $ muniment schedule resume nightly
    """
    with keys.store(url) as store:
        _emit(store, store.schedules.resume(name).schedule, "Resumed", out)


def history(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Only of this schedule.")] = None,
    *,
    database: Annotated[str | None, typer.Option("--database", metavar="NAME", help="Only of this one.")] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=1024, help="How many.")] = 100,
    url: Address,
    keys: Keys,
    out: Output,
) -> None:
    """Show what waits and runs now, and what schedules came to; of a database the newest first.

    $ muniment schedule history nightly --database shop --limit 10
    """
    with keys.store(url) as store:
        found = store.schedules.runs(database, name, 0, limit)
    _emit_runs(store, f"{store.url}: {count_text(len(found), 'run')}", found, out)


def _taken_over(url: str, keys: Keys, times: Times) -> Schedule:
    if not times.database or len(times.database) != 1:
        raise InvalidInput("it is not said whose periodic backup is meant", "give one --database")
    [database] = times.database
    with keys.store(url, database) as other:
        document = other.get(SETUP)
    if document is None:
        raise NotFound(f"{database} has no document {SETUP}", "say when and where with --full and --dest")
    return from_periodic_setup(decode(document.body), database)


def _task(text: str | None) -> Task | None:
    if text is None:
        return None
    for task in TASKS:
        if text == task:
            return task
    raise InvalidInput(f"there is no task {text!r}", f"give one of {', '.join(TASKS)}")


def _ended(store: DocumentStore, begun: Run) -> Run:
    """The run when it has ended."""
    while True:
        found = store.schedules.runs(begun.database, begun.schedule, 0, 1024)
        same = [each for each in found if (each.due, each.task) == (begun.due, begun.task)]
        if not same or same[0].state not in ("waiting", "running"):
            return same[0] if same else begun
        time.sleep(PAUSE)


def _note_unknown(store: DocumentStore, schedule: Schedule) -> None:
    """Say which databases of a schedule there are not: they may come later, or be misspelt."""
    there = {name.lower() for name in (ALL, SYSTEM, *store.admin.databases())}
    for name in schedule.databases:
        if name.lower() not in there:
            note(f"there is no database {name!r} on {store.url} now: until there is, its runs fail")


def _emit(store: DocumentStore, listed_: ScheduleListed, done: str, out: Output) -> None:
    rows = [
        facts(url=store.url),
        Row(_told(listed_), _lines(listed_, due=False)),
        lines((f"next {task}", ", ".join(times)) for task, times in listed_.times.items()),
        notes(listed_.notes),
    ]
    out.emit(f"{done} the schedule {listed_.name}", rows)


def _told(listed_: ScheduleListed) -> dict[str, Any]:
    return {"name": listed_.name, **plain(listed_.schedule), "due": listed_.due, "times": listed_.times}


def _lines(listed_: ScheduleListed, *, due: bool = True) -> Iterator[Line]:
    schedule = listed_.schedule
    names = "all databases" if ALL in schedule.databases else ", ".join(schedule.databases)
    if schedule.paused:
        names += ", paused"
    elif schedule.paused_until:
        names += f", paused until {schedule.paused_until}"
    yield listed_.name, f"{names}, to {schedule.destination}"
    for task, cron in schedule.crons.items():
        next_ = f", next at {listed_.due[task]}" if due and task in listed_.due else ""
        yield f"  {task}", f"{cron.expression} ({schedule.time_zone}){next_}"


def _emit_runs(store: DocumentStore, headline: str, runs: list[Run], out: Output) -> None:
    rows = [Row(plain(run), [(run.database, _run_text(run))]) for run in runs]
    out.emit(headline, [facts(url=store.url), listed("runs", rows)])


def _run_text(run: Run) -> str:
    took = f" in {seconds_text(run.seconds)}" if run.seconds is not None else ""
    why = f": {run.error}" if run.error else ""
    came = run.result.get("backup") or run.result.get("record")
    came = f": {came}" if came and not why else ""
    return f"{run.due} {run.schedule} {run.task} {run.state}{took}{why}{came}"
