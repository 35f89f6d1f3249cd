"""What became of each task of a schedule, as documents of the system database; nothing waits for them to be told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

import msgspec

from muniment.backup.runs import Run
from muniment.backup.schedule import Task
from muniment.command import Delete, Put
from muniment.database import DocumentDatabase
from muniment.document import Document, fold
from muniment.revision import DOCUMENT
from muniment.telling import telling

RUNS: Final = "Muniment/Runs/"
OPEN: Final = "Muniment/Runs.Open/"
STATE: Final = "Muniment/Schedules.State/"
KEPT: Final = 100  # of each database
PAGE: Final = 1024
MOST_ETAGS: Final = 16 * PAGE  # that are looked through at once, before all runs are


class Runs:
    """The runs of a server: those that are to be ended, and the last hundred of each database that have ended."""

    def __init__(self, system: DocumentDatabase) -> None:
        self._system = system
        self._failed: dict[str, dict[tuple[str, Task], Run]] = {}
        for document in self._all(RUNS):
            with telling(f"what {document.id} was,"):
                self._note(_run(document))

    @property
    def failed(self) -> list[Run]:
        """Of each task of each schedule for each database the last run, if that failed."""
        return [run for runs in list(self._failed.values()) for run in list(runs.values())]

    def _note(self, run: Run) -> None:
        runs, task = self._failed.setdefault(fold(run.database), {}), (run.schedule, run.task)
        if run.state == "failed":
            runs[task] = run
        elif run.good:
            runs.pop(task, None)

    def begin(self, runs: Sequence[Run], done: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """These wait or run now; `done` says of schedules when their tasks were due last."""
        with telling("what is being done by a schedule"):
            states = [Put(STATE + name, dict(times)) for name, times in (done or {}).items()]
            self._system.batch([*(Put(OPEN + run.id, _body(run)) for run in runs), *states])

    def end(self, run: Run) -> None:
        """It has ended; the oldest runs of its database are forgotten."""
        self._note(run)
        with telling("what was done by a schedule"):
            before = self.of(run.database)
            same = [each for each in before if (each.schedule, each.task) == (run.schedule, run.task)]
            old = before[KEPT - 1 :]
            if run.state == "unchanged" and same and same[0].state == "unchanged":
                old = [*old, same[0]]
            last: dict[tuple[str, str], Run] = {}
            for each in (run, *before):
                if each.good:
                    last.setdefault((each.schedule, each.task), each)
            gone = {each.id for each in old if last.get((each.schedule, each.task)) is not each}
            deletes = [Delete(OPEN + run.id), *(Delete(RUNS + id) for id in gone)]
            self._system.batch([*deletes, Put(RUNS + run.id, _body(run))])

    def of(self, database: str, schedule: str | None = None) -> list[Run]:
        """The runs of a database that have ended, and of this schedule if one is named; the newest first."""
        runs = [_run(document) for document in self._all(f"{RUNS}{database}/")]
        return [run for run in reversed(runs) if schedule in (None, run.schedule)]

    def last(self, database: str, task: Task, *, schedule: str | None = None, good: bool = False) -> Run | None:
        """The last run of this task, or the last that did what it was for."""
        runs = self.of(database, schedule)
        return next((run for run in runs if run.task == task and (run.good or not good)), None)

    def page(self, start: int, size: int, schedule: str | None = None) -> list[Run]:
        """Runs of all databases, or of this schedule, the last that has ended first."""
        found: list[Run] = []
        upto, step = self._system.storage.last_etag, PAGE
        while upto > 0 and len(found) < start + size:  # what was written last, and then what was before that
            after = upto - step if step <= MOST_ETAGS else 0
            written = sorted(self._written(after, upto), key=attrgetter("etag"), reverse=True)
            found += [run for run in map(_run, written) if schedule in (None, run.schedule)]
            upto, step = after, 2 * step
        return found[start : start + size]

    def _written(self, after: int, upto: int) -> Iterator[Document]:
        """The runs that were stored after this etag and through that one."""
        if after <= 0:  # of the many etags before, few may be there still
            found = self._all(RUNS)
        else:
            found = map(Document.of, self._system.storage.by_etag(DOCUMENT, after, upto - after))
        return (each for each in found if each.etag <= upto and each.id.startswith(RUNS))

    def left(self) -> list[Run]:
        """Those that had not ended when a server did."""
        return [_run(document) for document in self._all(OPEN)]

    def forget(self, runs: Sequence[Run]) -> None:
        """These need not be ended."""
        self._system.batch([Delete(OPEN + run.id) for run in runs])

    def due_last(self, schedule: str) -> dict[str, int]:
        """When the tasks of a schedule were due last, in microseconds."""
        document = self._system.get(STATE + schedule)
        return msgspec.json.decode(document.body, type=dict[str, int]) if document else {}

    def _all(self, prefix: str) -> Iterator[Document]:
        start = 0
        while page := self._system.by_prefix(prefix, start=start, limit=PAGE):
            yield from page
            start += len(page)


def _run(document: Document) -> Run:
    return msgspec.json.decode(document.body, type=Run)


def _body(run: Run) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.to_builtins(run)
    return body
