"""What a server is asked to do: it is followed until its end, with the server's messages and a bar."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from muniment.cli.bar import showing
from muniment.cli.interrupts import Stopped, interrupts
from muniment.cli.into import Into, show_difference, show_written
from muniment.cli.output import (
    Failure,
    complain,
    count_text,
    emit,
    seconds_text,
    size_text,
    took_text,
)
from muniment.cli.point import NEWEST_STATE, NewDatabase, Part
from muniment.client import DocumentStore, JobStatus, RemoteJob, split_url
from muniment.client.databases import START_TIMEOUT
from muniment.client.store import TIMEOUT
from muniment.errors import Cancelled, InvalidInput, MunimentError, ServerUnavailable
from muniment.progress import Progress
from muniment.raven3.names import SYSTEM

SHORTEST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 0.5
MOST_FAILURES: Final = 100
SYSTEM_FOLDER: Final = "System"


@dataclass(frozen=True, slots=True)
class BackupWanted:
    """What the options of `muniment backup --url` say; `timeout` is in milliseconds."""

    url: str
    database: str | None
    dest: str
    incremental: bool
    new_chain: bool
    skip_damaged: bool
    nowait: bool
    timeout: int | None

    def open(self) -> DocumentStore:
        """The database on the server."""
        return DocumentStore(self.url, self.database, timeout=TIMEOUT if self.timeout is None else self.timeout / 1000)


@dataclass(frozen=True, slots=True)
class _Ended:
    """A job that is complete, or has only begun (`seconds` is then None)."""

    id: int | None
    status: JobStatus | None
    seconds: float | None

    def facts(self) -> dict[str, Any]:
        status = asdict(self.status) if self.status else {"state": "running"}
        kept = ("state", "messages", "documents", "attachments", "bytes")
        seconds = None if self.seconds is None else round(self.seconds, 3)
        return {"operation": self.id, **{name: status.get(name) for name in kept}, "seconds": seconds}

    def rows(self) -> list[tuple[str, str]]:
        status = self.status
        if status is None or self.seconds is None:
            return [("operation", str(self.id))]
        rows = [("documents", status.documents), ("attachments", status.attachments)]
        told = [(label, f"{count:,}") for label, count in rows if count is not None]
        took = seconds_text(self.seconds)
        if status.bytes is not None:
            told.append(("content", size_text(status.bytes)))
            took = took_text(status.bytes, self.seconds)
        return [*told, ("took", took)]


def back_up(wanted: BackupWanted, *, as_json: bool, quiet: bool) -> None:
    """Have a server back a database up, and say what came of it."""
    with wanted.open() as store:
        ended = _backup_of(store, wanted, quiet=quiet)
        facts = {"url": store.url, "database": store.name, "dest": wanted.dest, **ended.facts()}
        done = "The server has begun to back up" if wanted.nowait else "Backed up"
        emit(f"{done} {store.name} of {store.url} to {wanted.dest}", ended.rows(), facts, as_json=as_json)


def back_up_all(wanted: BackupWanted, *, as_json: bool, quiet: bool) -> int:
    """Have a server back up all its databases, one after the other; returns how many failed, 100 for more."""
    url, named = split_url(wanted.url)
    if named:
        raise InvalidInput(f"--all-databases, but the URL names {named}", f"give --url {url}")
    with wanted.open() as store:
        names = [SYSTEM, *store.admin.databases()]
    told: list[dict[str, Any]] = []
    rows = []
    for name in names:
        dest = f"{wanted.dest}/{SYSTEM_FOLDER if name == SYSTEM else name}"
        facts = {"database": name, "dest": dest}
        try:
            with replace(wanted, database=name, dest=dest).open() as store:
                ended = _backup_of(store, replace(wanted, dest=dest), quiet=quiet)
            told.append({**facts, **ended.facts()})
            rows.append((name, ", ".join(f"{value} {label}" for label, value in ended.rows()[:1]) + f" to {dest}"))
        except MunimentError as error:
            if interrupts.received is not None:
                raise
            complain(Failure.of(error))
            told.append({**facts, "error": error.message, "hint": error.hint, "kind": type(error).__name__})
            rows.append((name, f"failed: {error}"))
    failed = sum("error" in facts for facts in told)
    headline = f"Backed up {len(names) - failed} of {count_text(len(names), 'database')} of {url} to {wanted.dest}"
    emit(headline, rows, {"url": url, "failed": failed, "backups": told}, as_json=as_json)
    return min(failed, MOST_FAILURES)


def _backup_of(store: DocumentStore, wanted: BackupWanted, *, quiet: bool) -> _Ended:
    with _going_on(f"the backup of {store.name}", store):
        job = store.admin.start_backup(
            wanted.dest, wanted.incremental, new_chain=wanted.new_chain, skip_damaged=wanted.skip_damaged
        )
        if wanted.nowait:
            return _Ended(job.id, None, None)
        return _followed(job, quiet=quiet)


def restore_on_server(
    url: str,
    source: str,
    new: NewDatabase,
    part: Part = NEWEST_STATE,
    *,
    wait: bool = True,
    start_timeout: int = START_TIMEOUT,
    as_json: bool = False,
    quiet: bool = False,
) -> None:
    """Have a server restore a backup as a new database, and say what came of it."""
    with DocumentStore(url) as store, _going_on("the restore", store):
        job = store.admin.start_restore(
            source, new.name, new.location, new.defrag, start_timeout, new_id=new.new_id, **part
        )
        ended = _followed(job, quiet=quiet) if wait else _Ended(job.id, None, None)
    facts = {"url": store.url, "source": source, "name": new.name, "location": new.location, **ended.facts()}
    share = " a part of" if part["selection"] else ""
    done = f"Restored{share}" if wait else "The server has begun to restore"
    emit(f"{done} {source} as {new.name or 'it was named'} on {store.url}", ended.rows(), facts, as_json=as_json)


def plan_on_server(url: str, source: str, name: str | None, part: Part) -> dict[str, Any]:
    """What a server would read for a restore."""
    with DocumentStore(url) as store:
        return store.admin.plan_restore(source, name, **part)


def into_server(into: Into, part: Part, *, as_json: bool, quiet: bool) -> None:
    """Have a server restore into one of its databases; how that differs is said as soon as the server knows it."""
    if not into.asks(part):
        _into_server(into, part, as_json=as_json, quiet=quiet)
        return
    only = replace(into, dry_run=True)
    into.confirm(_into_server(only, part, as_json=as_json, quiet=quiet, show=not as_json))
    _into_server(into, part, as_json=as_json, quiet=quiet, show=False)


def _into_server(into: Into, part: Part, *, as_json: bool, quiet: bool, show: bool = True) -> dict[str, Any]:
    """How the database differed from the moment that it was restored to; `show` says it before anything is written."""
    assert into.server is not None
    with DocumentStore(into.server, into.name) as store, _going_on("the restore", store):
        job = store.admin.start_restore_into(
            into.source,
            into.policy,
            **part,
            other_database=into.other_database,
            dry_run=into.dry_run,
        )
        compared = _followed(job, quiet=quiet, until=lambda status: status.difference is not None)
        assert compared.status is not None
        if compared.status.difference is None:
            raise ServerUnavailable("the server does not say how its database differs", "see its log")
        difference = {**compared.status.difference, "changes": job.changes()}
        if show:
            show_difference(into, difference, compared.status.seconds or 0, as_json=as_json)
        ended = _followed(job, quiet=quiet)
        if not into.dry_run and ended.status:
            status = ended.status
            show_written(into, difference, status.written or 0, status.etag, status.seconds or 0, as_json=as_json)
        return difference


def _followed(job: RemoteJob, *, quiet: bool, until: Callable[[JobStatus], bool] = lambda status: False) -> _Ended:
    """Its status at its end, or as soon as it satisfies `until`; raises what it failed with."""
    progress = Progress()
    seen: tuple[str, ...] = ()
    pause = SHORTEST_PAUSE
    with showing(progress, quiet=quiet) as say:
        while True:
            status = _status(job)
            for message in unseen(status.messages, seen):
                say(message)
            seen = status.messages
            _show(status, progress)
            wanted = until(status)
            if wanted or status.state != "running":
                if not wanted:
                    status.raise_failure()
                progress.finish()
                return _Ended(job.id, status, progress.seconds)
            time.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)


def _status(job: RemoteJob) -> JobStatus:
    try:
        return job.status
    except ServerUnavailable as error:
        raise ServerUnavailable(
            error.message,
            "the job had begun; when the server answers again, its status document tells what became of it",
        ) from error


def unseen(messages: tuple[str, ...], seen: tuple[str, ...]) -> tuple[str, ...]:
    """What a server has said since; of very many messages it forgets some in the middle."""
    if messages[: len(seen)] == seen:
        return messages[len(seen) :]
    last = max((place for place, message in enumerate(messages) if message == seen[-1]), default=-1)
    return messages[last + 1 :]


def _show(status: JobStatus, progress: Progress) -> None:
    progress.stage, progress.counts = status.stage, status.counts


@contextmanager
def _going_on(what: str, store: DocumentStore) -> Iterator[None]:
    """Within it, a signal ends the command and not what the server does, and says so."""
    try:
        yield
    except Stopped as error:
        raise Cancelled(
            f"stopped; {what} goes on in the server if it had begun",
            f"see {store.url}/operations for its Id, and stop it with"
            f" curl -X POST -H 'Muniment-Request: 1' '{store.url}/operation/kill?id=ID'",
        ) from error
