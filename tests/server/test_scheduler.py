"""What is due is done: once, one thing at a time for a database, and after a restart what was missed. No test waits."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from muniment.backup.alerts import Alert, Overdue
from muniment.backup.cron import Cron
from muniment.backup.repository import backups
from muniment.backup.retention import Policy
from muniment.backup.runs import Run
from muniment.backup.schedule import Schedule, Task
from muniment.command import Put
from muniment.errors import InvalidInput, NotFound
from muniment.raven3.names import DATABASES
from muniment.server.audit import Audit
from muniment.server.operations import Operations
from muniment.server.scheduler import Scheduler
from muniment.server.status import BackupStatus
from muniment.server.tenants import Databases, make
from muniment.server.watch import Watch
from muniment.settings import Settings
from tests.clock import SECOND, START, Clock

MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
Work = Callable[["Site"], Awaitable[None]]


class Site:
    """A scheduler with databases, in this process, and the time that it has."""

    def __init__(self, place: Path, clock: Clock) -> None:
        self.place, self.clock = place, clock
        settings = self.settings = Settings(data_dir=place / "data", backup_roots=(str(place),), jobs=4)
        self.databases = Databases(settings.data_dir, (), settings.backup_roots)
        self.operations = Operations(settings.jobs, Audit(place / "audit"))
        self.scheduler = Scheduler(settings, self.databases, self.operations, clock)
        self.scheduler.load()

    def create(self, name: str, **document: Any) -> None:
        make(self.databases.data_dir / name, [])
        self.databases.system.database.put(DATABASES + name, {"Settings": {"Raven/DataDir": f"~/{name}"}, **document})

    async def put(self, name: str, id: str) -> None:
        (await self.databases.get(name)).database.put(id, {})

    async def pass_(self, microseconds: int) -> None:
        """So much later, when all that was due by then has ended."""
        self.clock.now += microseconds
        await self.scheduler._advance()
        await self.scheduler._advance()
        while tasks := [*self.scheduler._tasks]:
            await asyncio.wait(tasks)
        for operation in self.operations.all():  # it tells its end a little earlier than its thread ends
            await asyncio.to_thread(operation.job.join)

    def told(self, database: str) -> list[tuple[str, str]]:
        """What was done with a database, the oldest first."""
        return [(run.task, run.state) for run in reversed(self.scheduler.runs.of(database))]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., None]:
    """Does this with a new site in the same place each time, as a server does that is started again."""
    clock = Clock(START - START % HOUR, step=0)

    def run(work: Work, *, kill: bool = False) -> None:
        async def done() -> None:
            site = Site(tmp_path, clock)
            try:
                await work(site)
            finally:
                site.scheduler.stopping = not kill
                await site.operations.stop()
                if not kill:
                    await site.scheduler.stop()
                await site.databases.close()

        asyncio.run(done())

    return run


def hourly(place: Path, *databases: str, **more: Any) -> Schedule:
    usual = {"destination": str(place / "b"), "databases": databases or ("*",), "incremental": "0 * * * *"}
    return Schedule(**usual | more)


def test_all_databases_new_ones_and_the_server_s_own(run: Callable[..., None]) -> None:
    async def work(site: Site) -> None:
        site.create("shop")
        site.create("off", Disabled=True)
        await site.scheduler.store("hourly", hourly(site.place))
        await site.pass_(HOUR)
        site.create("new")
        await site.put("shop", "orders/1")
        await site.pass_(HOUR)
        assert sorted(path.name for path in (site.place / "b").iterdir()) == ["System", "new", "shop"]
        assert [each.manifest.kind for each in backups(site.place / "b" / "shop")] == ["full", "incremental"]
        assert site.told("new") == [("incremental", "completed")]
        assert site.told("off") == []

    run(work)


def test_what_has_not_changed_is_not_backed_up_again_and_not_even_opened(run: Callable[..., None]) -> None:
    async def work(site: Site) -> None:
        site.create("shop")
        await site.put("shop", "orders/1")
        await site.scheduler.store("hourly", hourly(site.place, "shop"))
        await site.pass_(HOUR)
        assert await site.databases.close_idle(0)
        for _ in range(3):
            await site.pass_(HOUR)
        assert "shop" not in site.databases.open
        assert site.told("shop") == [("incremental", "completed"), ("incremental", "unchanged")]
        assert len(backups(site.place / "b")) == 1
        await site.put("shop", "orders/2")
        await site.pass_(HOUR)
        assert len(backups(site.place / "b")) == 2
        await site.databases.close_idle(0)
        await site.pass_(24 * HOUR)  # but once a day one is taken
        assert len(backups(site.place / "b")) == 3

    run(work)


def test_a_backup_that_was_deleted_is_not_taken_for_one(run: Callable[..., None]) -> None:
    async def work(site: Site) -> None:
        site.create("shop")
        await site.scheduler.store("hourly", hourly(site.place, "shop"))
        await site.pass_(HOUR)
        [only] = backups(site.place / "b")
        shutil.rmtree(only.folder)
        await site.pass_(HOUR)
        [*_, (_, state)] = site.told("shop")
        assert state == "failed"  # for the database remembers backups there, and none is: its disk may not be mounted
        [failed] = [each for each in site.scheduler.runs.of("shop") if each.state == "failed"]
        assert (failed.kind, bool(failed.hint)) == ("BackupNotFound", True)

    run(work)


def test_what_was_missed_while_no_server_ran_is_made_up_for_once(run: Callable[..., None]) -> None:
    async def first(site: Site) -> None:
        site.create("shop")
        await site.scheduler.store("hourly", hourly(site.place, "shop", incremental=None, full="0 * * * *"))
        await site.pass_(HOUR)
        with_grace = hourly(site.place, "shop", incremental=None, full="0 * * * *", grace="48h")
        await site.scheduler.store("hourly", with_grace)  # which changes no time
        site.clock.now += 5 * HOUR + MINUTE

    async def second(site: Site) -> None:
        assert site.told("shop") == [("full", "completed")]
        await site.pass_(0)
        assert site.told("shop") == [("full", "completed")] * 2
        await site.pass_(MINUTE)
        assert len(site.told("shop")) == 2

    run(first)
    run(second)


def test_a_run_that_was_killed_is_done_once_more(run: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    async def first(site: Site) -> None:
        site.create("shop")
        await site.scheduler.store("hourly", hourly(site.place, "shop"))

        begun = asyncio.Event()

        async def killed(*_: Any) -> Any:
            begun.set()
            await asyncio.Event().wait()

        with monkeypatch.context() as patch:
            patch.setattr(Scheduler, "_perform", killed)
            site.clock.now += HOUR
            await site.scheduler._advance()
            await site.scheduler._advance()
            await begun.wait()
            for task in [*site.scheduler._tasks]:
                task.cancel()

    async def second(site: Site) -> None:
        await site.pass_(0)
        assert site.told("shop") == [("incremental", "interrupted"), ("incremental", "completed")]
        assert site.scheduler.runs.left() == []
        await site.pass_(MINUTE)
        assert len(site.told("shop")) == 2

    run(first, kill=True)
    run(second)


def test_never_two_at_a_time_for_a_database(run: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(site: Site) -> None:
        for name in ("shop", "other"):
            site.create(name)
        await site.scheduler.store("a", hourly(site.place, "shop", "other"))
        await site.scheduler.store("b", hourly(site.place, "shop", destination=str(site.place / "c")))
        at_once: dict[str, int] = {}
        most: list[int] = []
        go_on = asyncio.Event()

        async def counted(self: Any, run: Run) -> Any:
            at_once[run.database] = at_once.get(run.database, 0) + 1
            most.append(at_once[run.database])
            await go_on.wait()
            at_once[run.database] -= 1
            return "completed", {}

        monkeypatch.setattr(Scheduler, "_perform", counted)
        late = []
        for _ in range(3):
            site.clock.now += HOUR
            await site.scheduler._advance()
            await site.scheduler._advance()
            site.clock.now += MINUTE
            late.append(sorted({name for name, each in site.scheduler.failures() if isinstance(each, Overdue)}))
        go_on.set()
        await site.pass_(0)
        assert max(most) == 1
        assert late == [[], ["other", "shop"], ["other", "shop"]]  # when the next one is due
        assert not list(site.scheduler.failures())
        states = [(run.schedule, run.state) for run in site.scheduler.runs.of("shop")]
        assert sorted(states) == [(name, how) for name in "ab" for how in ("completed", "skipped", "skipped")]

    run(work)


def test_a_database_that_is_gone_fails_and_the_others_go_on(run: Callable[..., None]) -> None:
    async def work(site: Site) -> None:
        site.create("shop")
        await site.scheduler.store("hourly", hourly(site.place, "shop", "gone"))
        await site.pass_(HOUR)
        assert site.told("shop") == [("incremental", "completed")]
        [failed] = site.scheduler.runs.of("gone")
        assert (failed.state, failed.kind) == ("failed", "DatabaseNotFound")
        assert "could not find a database named: gone" in (failed.error or "")

    run(work)


def test_a_failure_is_told_once_and_once_that_it_is_over(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def tell(begun: Iterable[Alert], over: Iterable[Alert]) -> None:
        told.extend(f"{alert.condition} in {Path(alert.destination).name}" for alert in begun)
        told.extend(f"{alert.condition} in {Path(alert.destination).name} is over" for alert in over)

    async def two_hours(site: Site) -> None:
        watch = Watch(site.databases, site.settings, tell, site.scheduler.failures)
        follow = BackupStatus.follow

        def followed(status: BackupStatus, *more: Any, **named: Any) -> None:
            follow(status, *more, **named)
            watch.look()  # while it runs

        monkeypatch.setattr(BackupStatus, "follow", followed)
        for _ in range(2):
            await site.put("shop", f"orders/{site.clock.now}")
            await site.pass_(HOUR)
            watch.look()
        monkeypatch.setattr(BackupStatus, "follow", follow)

    async def begin(site: Site) -> None:
        site.create("shop")
        site.create("other")
        for name, database in (("good", "shop"), ("bad", "other")):
            schedule = hourly(site.place, database, destination=str(site.place / name))
            await site.scheduler.store(name, schedule)
        await site.pass_(HOUR)
        await site.scheduler.store("bad", hourly(site.place, "shop", destination=str(site.place / "bad")))
        await two_hours(site)

    async def mend(site: Site) -> None:
        shutil.rmtree(site.place / "bad")
        await two_hours(site)

    run(begin)
    run(two_hours)
    assert told == ["backup-failed in bad"]
    run(mend)
    assert told == ["backup-failed in bad", "backup-failed in bad is over"]


def test_a_database_that_was_made_anew_is_another_one(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(site: Site) -> None:
        site.create("shop")
        await site.put("shop", "orders/1")
        watch = Watch(site.databases, site.settings, failures=site.scheduler.failures)
        times: dict[Task, str] = {
            "verify": "0 2 * * *",
            "rehearse": "0 3 * * *",
            "expire": "0 4 * * *",
            "incremental": "0 * * * *",
        }
        keeping = {"retention": Policy(keep_last=1), "grace": "0s"}
        await site.scheduler.store("all", hourly(site.place, "shop", **dict(times), **keeping))
        await site.scheduler.run_now("all", "incremental")
        await site.pass_(SECOND)
        shutil.move(site.place / "b", site.place / "kept")
        await site.scheduler.run_now("all", "verify")
        await site.pass_(SECOND)
        watch.look()
        assert [alert.condition for alert in watch.alerts] == ["unreachable", "verification-failed"]
        old = site.databases.open["shop"].database.storage.identity.database_id
        async with site.databases.offline("shop", "being removed"):
            shutil.rmtree(site.databases.data_dir / "shop")
            site.create("shop")
        await site.put("shop", "orders/1")
        watch.look()
        assert watch.alerts == []
        shutil.move(site.place / "kept", site.place / "b")
        for task in times:
            await site.scheduler.run_now("all", task)
            await site.pass_(SECOND)
        done = site.scheduler.runs.of("shop")
        assert [(each.task, each.kind) for each in done[:4]] == [(task, "ForeignBackup") for task in reversed(times)]
        assert {each.database_id == old for each in done[:4]} == {False}
        assert {each.database_id for each in done[4:]} == {old}
        shutil.move(site.place / "b", site.place / "kept")
        await site.pass_(HOUR)
        assert site.scheduler.runs.of("shop")[0].state == "completed"
        await site.scheduler.run_now("all", "rehearse")
        await site.pass_(SECOND)
        assert site.scheduler.runs.of("shop")[0].state == "completed"

    run(work)


def test_the_whole_round_by_hand(run: Callable[..., None]) -> None:
    async def work(site: Site) -> None:
        site.create("shop")
        await site.put("shop", "orders/1")
        times = {"full": "0 1 * * *", "verify": "0 2 * * *", "rehearse": "0 3 * * *", "expire": "0 4 * * *"}
        policy = {"retention": Policy(keep_last=1), "grace": "0s", "rehearsal_query": "SELECT count(*) FROM documents"}
        await site.scheduler.store("nightly", hourly(site.place, "shop", **times, **policy))
        for task in ("full", "full", "verify", "rehearse", "expire"):
            await site.scheduler.run_now("nightly", task)
            await site.pass_(SECOND)
        assert [state for _, state in site.told("shop")] == ["completed"] * 5
        assert len(backups(site.place / "b")) == 1
        rehearsal = site.scheduler.runs.last("shop", "rehearse")
        assert rehearsal
        assert rehearsal.result["recovery_seconds"] > 0
        assert (site.place / "b" / rehearsal.result["record"]).is_file()
        empty = {"rehearsal_query": "SELECT count(*) FROM documents WHERE id = 'none'"}
        await site.scheduler.store("nightly", hourly(site.place, "shop", **times, **(policy | empty)))
        await site.scheduler.run_now("nightly", "rehearse")
        await site.pass_(SECOND)
        failed = site.scheduler.runs.last("shop", "rehearse")
        assert failed
        assert (failed.state, failed.kind) == ("failed", "DamagedBackup")
        assert site.scheduler.runs.last("shop", "rehearse", good=True) == rehearsal

    run(work)


def test_a_schedule_that_is_paused_removed_or_unknown(run: Callable[..., None]) -> None:
    async def work(site: Site) -> None:
        site.create("shop")
        await site.scheduler.store("a", hourly(site.place, "shop", paused=True))
        await site.pass_(2 * HOUR)
        assert site.told("shop") == []
        await site.scheduler.store("a", hourly(site.place, "shop"))
        await site.pass_(MINUTE)
        assert site.told("shop") == []  # a pause is not made up for
        await site.pass_(HOUR)
        assert site.told("shop") == [("incremental", "completed")]
        await site.scheduler.remove("a")
        await site.pass_(5 * HOUR)
        assert len(site.told("shop")) == 1
        for work in (site.scheduler.remove("a"), site.scheduler.run_now("a")):
            with pytest.raises(NotFound):
                await work
        with pytest.raises(InvalidInput):
            await site.scheduler.store("a", hourly(site.place, "shop", incremental="never"))
        with pytest.raises(NotFound):
            await site.scheduler.run_now("b")

    run(work)


def test_a_folder_that_may_hold_no_backups(run: Callable[..., None]) -> None:
    async def work(site: Site) -> None:
        site.create("shop")
        await site.scheduler.store("a", hourly(site.place, "shop", destination="/etc"))
        await site.pass_(HOUR)
        [failed] = site.scheduler.runs.of("shop")
        assert failed.kind == "Forbidden"

    run(work)


def test_the_history_of_a_database_does_not_grow_for_ever(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muniment.server.runs.KEPT", 5)

    async def work(site: Site) -> None:
        time = "2026-09-21T14:00:{:02d}.000000Z"
        for number in range(20):
            task = "verify" if number == 0 else "full"
            state = "completed" if number < 2 else "failed"
            site.scheduler.runs.end(
                Run(schedule="a", task=task, database="shop", destination="b", due=time.format(number), state=state)  # type: ignore[arg-type]
            )
        left = site.scheduler.runs.of("shop")
        assert [run.due[17:19] for run in left] == ["19", "18", "17", "16", "15", "01", "00"]  # the last good ones stay
        assert site.scheduler.runs.last("shop", "verify", good=True) == left[-1]

    run(work)


def test_of_all_databases_the_last_that_ended_comes_first(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muniment.server.runs.KEPT", 10)
    monkeypatch.setattr("muniment.server.runs.PAGE", 8)  # etags that are looked through at once, to begin with

    async def work(site: Site) -> None:
        for number in range(60):
            due = f"2026-09-21T14:00:{number:02d}.000000Z"
            schedule, name = "ab"[number % 2], "zyx"[number % 3]
            failed = Run(schedule=schedule, task="full", database=name, destination="b", due=due, state="failed")
            site.scheduler.runs.end(failed)

        def found(start: int, size: int, schedule: str | None = None) -> list[int]:
            return [int(run.due[17:19]) for run in site.scheduler.runs.page(start, size, schedule)]

        assert found(0, 1000) == [*range(59, 29, -1)]
        assert found(2, 2) == [57, 56]
        assert found(1, 2, "a") == [56, 54]
        assert found(30, 10) == []

    run(work)


def test_runs_are_found_without_reading_the_same_documents_again_and_again(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that has run for long has written far more than it keeps."""
    monkeypatch.setattr("muniment.server.runs.PAGE", 8)
    monkeypatch.setattr("muniment.server.runs.MOST_ETAGS", 32)

    async def work(site: Site) -> None:
        due = "2026-09-21T14:00:00.000000Z"
        only = Run(schedule="a", task="full", database="shop", destination="b", due=due, state="failed")
        site.scheduler.runs.end(only)
        system = site.databases.system.database
        for number in range(200):
            system.batch([Put(f"states/{place}", {"Number": number}) for place in range(20)])
        read, by_etag = list[int](), type(system.storage).by_etag

        def counted(self: Any, *asked: Any) -> Any:
            found = by_etag(self, *asked)
            read.append(len(found))
            return found

        monkeypatch.setattr(type(system.storage), "by_etag", counted)
        assert site.scheduler.runs.page(0, 100) == [only]
        assert sum(read) < 100

    run(work)


def test_while_nothing_is_due_no_database_is_looked_at(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(site: Site) -> None:
        for number in range(1000):
            schedule = hourly(site.place, f"shop{number}", since="2026-09-21T14:00:00.000000Z")
            site.scheduler.agenda.put(f"s{number}", schedule, site.clock.now)
        monkeypatch.setattr(type(site.databases.system.database), "by_prefix", None)
        monkeypatch.setattr(type(site.databases.system.database), "get", None)
        monkeypatch.setattr(Cron, "after", None)
        for _ in range(59):
            site.clock.now += MINUTE
            await site.scheduler._advance()
        assert 59 < site.scheduler._sleep() <= 60.1

    run(work)
