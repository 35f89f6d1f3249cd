"""What a server is asked to do: it is followed until its end, with the server's messages and a bar."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from muniment.backup.moment import NEWEST, RestorePoint
from muniment.backup.selection import Selection
from muniment.backup.summary import BackupSummary
from muniment.cli.interrupts import Stopped, interrupts
from muniment.cli.options import JobOutput, Keys
from muniment.cli.output import Failure, complain, count_text, size_text, took_text
from muniment.cli.report import Row, facts, listed, members, number, row
from muniment.cli.restore_into import Into, show_difference, show_written
from muniment.cli.state import backup_rows, encryption_row
from muniment.client import DocumentStore, JobStatus, RemoteJob, split_url
from muniment.client.databases import START_TIMEOUT
from muniment.errors import Cancelled, InvalidInput, MunimentError, ServerUnavailable
from muniment.limits import NO_LIMITS, Limits
from muniment.progress import Progress
from muniment.raven3.names import SYSTEM, SYSTEM_FOLDER
from muniment.security.encryption import EncryptionKey

SHORTEST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 0.5
MOST_FAILURES: Final = 100


@dataclass(frozen=True, slots=True)
class BackupWanted:
    """What the options of `muniment backup --url` say; `timeout` is in milliseconds."""

    url: str
    database: str | None
    dests: list[str]
    incremental: bool
    new_chain: bool
    skip_damaged: bool
    nowait: bool
    timeout: int | None
    keys: Keys
    recipients: list[str] | None = None
    in_clear: bool = False
    include_encryption_key: bool = False
    limits: Limits = NO_LIMITS

    @property
    def dest(self) -> str:
        """Where it goes, for people."""
        return " and ".join(self.dests)

    def open(self) -> DocumentStore:
        """The database on the server."""
        return self.keys.store(self.url, self.database, milliseconds=self.timeout)


@dataclass(frozen=True, slots=True)
class NewDatabase:
    """How a server is to make the new database: its name and folder if not those that it has, and the rest."""

    name: str | None = None
    location: str | None = None
    defrag: bool = False
    new_id: bool = False
    key: EncryptionKey | None = None
    plain_http: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that is complete, or has only begun (`seconds` is then None)."""

    id: int | None
    status: JobStatus | None
    seconds: float | None

    def rows(self) -> list[Row]:
        """Where it stands; of one that has only begun, its number."""
        if self.status is None or self.seconds is None:
            unknown = dict.fromkeys(("messages", "documents", "attachments", "bytes", "seconds"))
            return [row("operation", str(self.id), operation=self.id), facts(state="running", **unknown)]
        status, size = self.status, self.status.bytes
        told = facts(operation=self.id, state=status.state, messages=status.messages)
        if status.result:
            taken = msgspec.convert(status.result, BackupSummary)
            others = [Row({}, [("and to", each["backup"])]) for each in status.result.get("also", ())]
            also = facts(also=status.result["also"]) if others else Row({})
            return [told, facts(backup=taken.backup), *backup_rows(taken, self.seconds), also, *others]
        return [
            told,
            number("documents", status.documents),
            number("attachments", status.attachments),
            Row({"bytes": size}, [] if size is None else [("content", size_text(size))]),
            row("took", took_text(size or 0, self.seconds), seconds=round(self.seconds, 3)),
        ]


def back_up(wanted: BackupWanted, out: JobOutput) -> None:
    """Have a server back a database up, and say what came of it."""
    with wanted.open() as store:
        ended = _backup_of(store, wanted, out)
        done = "The server has begun to back up" if wanted.nowait else "Backed up"
        rows = [facts(url=store.url, database=store.name, dest=wanted.dest), *ended.rows()]
        out.emit(f"{done} {store.name} of {store.url} to {wanted.dest}", rows)


def back_up_all(wanted: BackupWanted, out: JobOutput) -> int:
    """Have a server back up all its databases, one after the other; returns how many failed, 100 for more."""
    url, named = split_url(wanted.url)
    if named:
        raise InvalidInput(f"--all-databases, but the URL names {named}", f"give --url {url}")
    with wanted.open() as store:
        names = [SYSTEM, *store.admin.databases()]
    backups: list[Row] = []
    failed = 0
    for name in names:
        own = replace(wanted, dests=[f"{each}/{SYSTEM_FOLDER if name == SYSTEM else name}" for each in wanted.dests])
        dest = own.dest
        try:
            with replace(own, database=name).open() as store:
                ended = members(_backup_of(store, own, out).rows())
            text = f"{count_text(ended['documents'] or 0, 'document')} to {dest}"
        except MunimentError as error:
            if interrupts.received is not None:
                raise
            failed += 1
            complain(Failure.of(error))
            ended = {"error": error.message, "hint": error.hint, "type": type(error).__name__}
            text = f"failed: {error}"
        backups.append(row(name, text, database=name, dest=dest, **ended))
    headline = f"Backed up {len(names) - failed} of {count_text(len(names), 'database')} of {url} to {wanted.dest}"
    out.emit(headline, [facts(url=url, failed=failed), listed("backups", backups)])
    return min(failed, MOST_FAILURES)


def _backup_of(store: DocumentStore, wanted: BackupWanted, out: JobOutput) -> Ended:
    with going_on(f"the backup of {store.name}", store):
        job = store.admin.start_backup(
            wanted.dests[0],
            wanted.incremental,
            also=wanted.dests[1:],
            new_chain=wanted.new_chain,
            skip_damaged=wanted.skip_damaged,
            recipients=wanted.recipients,
            in_clear=wanted.in_clear,
            include_encryption_key=wanted.include_encryption_key,
            limits=wanted.limits,
        )
        return Ended(job.id, None, None) if wanted.nowait else followed(job, store, out)


def restore_on_server(
    store: DocumentStore,
    source: str,
    new: NewDatabase,
    out: JobOutput,
    point: RestorePoint = NEWEST,
    selection: Selection | None = None,
    *,
    copies: Sequence[str] = (),
    limits: Limits = NO_LIMITS,
    wait: bool = True,
    start_timeout: int = START_TIMEOUT,
    require_signature: Sequence[str] = (),
    allow_clear: bool = False,
) -> None:
    """Have a server restore a backup as a new database, and say what came of it."""
    with store, going_on("the restore", store):
        job = store.admin.start_restore(
            source,
            new.name,
            new.location,
            new.defrag,
            start_timeout,
            new_id=new.new_id,
            copies=copies,
            limits=limits,
            point=point,
            selection=selection,
            require_signature=require_signature,
            allow_clear=allow_clear,
            key=new.key,
            plain_http=new.plain_http,
        )
        ended = followed(job, store, out) if wait else Ended(job.id, None, None)
    part = " a part of" if selection else ""
    done = f"Restored{part}" if wait else "The server has begun to restore"
    rows = [facts(url=store.url, source=source, name=new.name, location=new.location), *ended.rows()]
    out.emit(f"{done} {source} as {new.name or 'it was named'} on {store.url}", rows)


def rotate_on_server(store: DocumentStore, key: EncryptionKey, out: JobOutput, *, plain_http: bool) -> None:
    """Have a server give a database another key, and say what came of it."""
    with store, going_on(f"the rotation of the key of {store.name}", store):
        job = store.admin.rotate_key(key, algorithm=key.algorithm, plain_http=plain_http)
        ended = followed(job, store, out)
    rows = [facts(url=store.url, database=store.name), encryption_row(key), *ended.rows()]
    out.emit(f"{store.name} of {store.url} has another key now", rows)


def compact_on_server(store: DocumentStore, out: JobOutput) -> None:
    """Have a server rewrite the file of a database, and say what came of it."""
    with store, going_on(f"the compaction of {store.name}", store):
        ended = followed(store.admin.compact(), store, out)
    rows = [facts(url=store.url, database=store.name), *ended.rows()]
    out.emit(f"Compacted {store.name} of {store.url}", rows)


def into_server(into: Into, keys: Keys, out: JobOutput) -> None:
    """Have a server restore into one of its databases; how that differs is said as soon as the server knows it."""
    if not into.asks:
        _into_server(into, keys, out)
        return
    into.confirm(_into_server(replace(into, dry_run=True), keys, out, show=not out.json))
    _into_server(into, keys, out, show=False)


def _into_server(into: Into, keys: Keys, out: JobOutput, *, show: bool = True) -> dict[str, Any]:
    """How the database differed from the moment that it was restored to; `show` says it before anything is written."""
    assert into.server is not None
    with keys.store(into.server, into.name) as store, going_on("the restore", store):
        job = store.admin.start_restore_into(
            into.source,
            into.policy,
            point=into.point,
            require_signature=into.keyring.signers,
            allow_clear=into.keyring.allow_clear,
            selection=into.selection,
            other_database=into.other_database,
            dry_run=into.dry_run,
            copies=into.copies,
            limits=into.limits,
        )
        compared = followed(job, store, out, until=lambda status: status.difference is not None).status
        if compared is None or compared.difference is None:
            raise ServerUnavailable("the server does not say how its database differs", "see its log")
        difference = {**compared.difference, "changes": job.changes()}
        if show:
            show_difference(into, difference, compared.seconds or 0, out)
        ended = followed(job, store, out).status
        if not into.dry_run and ended:
            show_written(into, difference, ended.written or 0, ended.etag, ended.seconds or 0, out)
        return difference


def followed(
    job: RemoteJob, store: DocumentStore, out: JobOutput, until: Callable[[JobStatus], bool] = lambda status: False
) -> Ended:
    """Its status at its end, or as soon as it satisfies `until`; raises what it failed with."""
    progress = Progress()
    seen: tuple[str, ...] = ()
    pause = SHORTEST_PAUSE
    with out.showing(progress) as say:
        while True:
            status = _status(job, store)
            for message in unseen(status.messages, seen):
                say(message)
            seen = status.messages
            _show(status, progress)
            wanted = until(status)
            if wanted or status.state != "running":
                if not wanted:
                    status.raise_failure()
                progress.finish()
                return Ended(job.id, status, progress.seconds)
            time.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)


def _status(job: RemoteJob, store: DocumentStore) -> JobStatus:
    try:
        return job.status
    except ServerUnavailable as error:
        raise ServerUnavailable(
            error.message,
            f"the job had begun; when {store.url} answers again, its status document tells what became of it",
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
def going_on(what: str, store: DocumentStore) -> Iterator[None]:
    """Within it, a signal ends the command and not what the server does, and says so."""
    try:
        yield
    except Stopped as error:
        raise Cancelled(
            f"stopped; {what} goes on in the server if it had begun",
            f"see {store.url}/operations for its Id, and stop it with"
            f" curl -X POST -H 'Muniment-Request: 1' '{store.url}/operation/kill?id=ID'",
        ) from error
