"""Backups and restores in a child process, so that whoever serves requests meanwhile keeps its processor and memory.

The child reads the same file and writes the backup. What only the writer of a database can do (hold a snapshot, note
down a backup) it asks of its parent, in JSON lines on its stdout that are answered on its stdin; there it also says how
far it is. It stops, and removes what it wrote, as soon as its stdin ends: when the parent closes it, or dies.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from time import monotonic, time_ns
from typing import IO, Any, Final

import msgspec

from muniment.backup.plan import RestorePlan, chain_of
from muniment.backup.reader import Moment
from muniment.backup.repository import Backup, read
from muniment.backup.restore import restore
from muniment.backup.selection import Selection
from muniment.backup.take import take_backup
from muniment.errors import Cancelled, ErrorRecord, MunimentError, StorageFailure, unicode
from muniment.fingerprint import Fingerprint
from muniment.progress import Counts, Progress
from muniment.revision import ATTACHMENT, DOCUMENT
from muniment.storage.base import BackupPlace, Snapshot
from muniment.storage.sqlite.compact import compact
from muniment.storage.sqlite.store import SqliteStorage
from muniment.telling import telling

REPORT_SECONDS: Final = 0.2
GRACE_SECONDS: Final = 20.0


class _Job(msgspec.Struct, tag=True, tag_field="job"):
    """What a child is to do. Folders are what the operating system calls them, which need not be Unicode."""


class _Backup(_Job, tag="backup"):
    folder: bytes
    destination: bytes
    name: str
    database_document: bytes
    incremental: bool
    new_chain: bool
    skip_damaged: bool
    niceness: int


class _Restore(_Job, tag="restore"):
    """A plan, as the folders of its backups and where to stop in the last of them, and what to take of it."""

    chain: list[bytes]
    upto: int | None
    at: int | None
    target: bytes
    selection: Selection | None
    defrag: bool
    new_id: bool
    niceness: int

    def plan(self) -> RestorePlan:
        """The same plan again, from the manifests as they are now."""
        chain = [read(_path(folder)) for folder in self.chain]
        return RestorePlan(chain_of(chain[-1], chain), self.upto, self.at)


class _Compact(_Job, tag="compact"):
    folder: bytes
    niceness: int


_AnyJob = _Backup | _Restore | _Compact


def _path(folder: bytes) -> Path:
    return Path(os.fsdecode(folder))


class _Answered(msgspec.Struct):
    """What the parent says of what it was asked, or why it could not."""

    answer: msgspec.Raw = msgspec.Raw(b"null")
    error: ErrorRecord | None = None


class _Told(msgspec.Struct):
    """A snapshot, as the parent tells it."""

    etag: int
    modified: int
    fingerprint: dict[str, Any]
    history_from: int
    tombstones_from: int
    until: int


def backup_in_child(
    storage: SqliteStorage,
    destination: Path,
    *,
    name: str,
    database_document: bytes,
    incremental: bool = False,
    new_chain: bool = False,
    skip_damaged: bool = False,
    progress: Progress | None = None,
    niceness: int = 0,
    pinned: Callable[[Snapshot], object] = lambda snapshot: None,
) -> Backup:
    """`take.take_backup` in a process of its own; `pinned` is told the moment that the backup will hold."""
    folders = os.fsencode(storage.folder), os.fsencode(destination)
    job = _Backup(*folders, name, database_document, incremental, new_chain, skip_damaged, niceness)
    with ExitStack() as held:

        def answer(ask: str, value: Any) -> Any:
            if ask == "pin":
                snapshot = held.enter_context(storage.pin(value))
                with telling("the moment that a backup will hold"):
                    pinned(snapshot)
                return _told(snapshot)
            actions: dict[str, Callable[[Any], None]] = {
                "remember_backup": lambda told: storage.remember_backup(
                    told[0], told[1] and BackupPlace(*told[1]), told[2] and (told[2][0], told[2][1])
                ),
                "backed_up": storage.backed_up,
            }
            actions[ask](value)
            return None

        done = _run(job, progress or Progress(), answer)
    return replace(read(_path(b64decode(done["backup"]))), notes=tuple(done["notes"]))


def _told(snapshot: Snapshot) -> _Told:
    fingerprint = snapshot.fingerprint.as_json()
    watermarks = snapshot.history_from, snapshot.tombstones_from
    return _Told(snapshot.etag, snapshot.modified, fingerprint, *watermarks, snapshot.until)


def restore_in_child(
    plan: RestorePlan,
    target: Path,
    *,
    selection: Selection | None = None,
    defrag: bool = False,
    new_id: bool = False,
    progress: Progress | None = None,
    niceness: int = 0,
) -> Moment:
    """`restore.restore` of this plan in a process of its own; returns the moment that was reached.

    The progress then tells what is in the new database, where before it told what was read.
    """
    progress = progress or Progress()
    chain = [os.fsencode(backup.folder) for backup in plan.chain]
    job = _Restore(chain, plan.upto, plan.at, os.fsencode(target), selection, defrag, new_id, niceness)
    result = _run(job, progress)
    progress.counts = Counts(**result["counts"])
    return Moment(result["etag"], result["modified"])


def compact_in_child(folder: Path, *, progress: Progress | None = None, niceness: int = 0) -> tuple[int, int]:
    """`storage.compacting.compact` in a process of its own; returns the bytes before and after."""
    result = _run(_Compact(os.fsencode(folder), niceness), progress or Progress())
    return result["before"], result["after"]


Answer = Callable[[str, Any], Any]


def _no_answer(ask: str, value: Any) -> Any:
    raise AssertionError(ask)


def _run(job: _AnyJob, progress: Progress, answer: Answer = _no_answer) -> dict[str, Any]:
    """Run the job, mirror its progress and answer it; raises what it failed with, or `Cancelled`."""
    progress.check()
    command = [sys.executable, "-P", "-c", "from muniment.backup.child import main; main()"]
    # A session of its own, because Ctrl-C is for the parent, which tells the child.
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        with _cancelling(child, progress):
            result = _follow(child, msgspec.json.encode(job), progress, answer)
        code = child.wait(GRACE_SECONDS)
    finally:
        _close(child.stdin)
        child.stdout.close()
        if child.poll() is None:
            child.kill()
        child.wait()
    progress.finish()
    if result is None:
        progress.check()
        raise StorageFailure(f"the process that did the work ended with code {code}", "see the server's stderr")
    if "error" in result:
        raise msgspec.convert(result["error"], ErrorRecord).error()
    return result


def _follow(child: subprocess.Popen[bytes], job: bytes, progress: Progress, answer: Answer) -> dict[str, Any] | None:
    """Take over and answer what the child says until it is done; None when it ended without a result."""
    assert child.stdin is not None
    assert child.stdout is not None
    _tell(child.stdin, job)
    for line in child.stdout:
        said: dict[str, Any] = msgspec.json.decode(line)
        if "ask" in said:
            _tell(child.stdin, msgspec.json.encode(_answered(answer, said["ask"], said["value"])))
        elif "stage" in said:
            progress.stage, progress.counts = said["stage"], Counts(**said["counts"])
        else:
            return said
    return None


def _answered(answer: Answer, ask: str, value: Any) -> _Answered:
    """What the child is told; that it could not be done is for the child to act upon."""
    try:
        return _Answered(msgspec.Raw(msgspec.json.encode(answer(ask, value))))
    except MunimentError as error:
        return _Answered(error=ErrorRecord.of(error))


def _tell(stdin: IO[bytes], line: bytes) -> None:
    try:
        stdin.write(line + b"\n")
        stdin.flush()
    except (BrokenPipeError, ValueError):
        pass  # it died, or it was told to stop; what it says or its exit code tells more


def _close(stdin: IO[bytes]) -> None:
    with suppress(BrokenPipeError):
        stdin.close()


@contextmanager
def _cancelling(child: subprocess.Popen[bytes], progress: Progress) -> Iterator[None]:
    """Within it, a wish to stop ends the child's stdin, and the child itself when it does not stop soon."""
    ended = threading.Event()

    def watch() -> None:
        asked: float | None = None
        while not ended.wait(0.05):
            try:
                progress.check()
            except Cancelled:
                assert child.stdin is not None
                if asked is None:
                    asked = monotonic()
                    _close(child.stdin)
                elif monotonic() - asked > GRACE_SECONDS:
                    child.kill()
                    return

    watcher = threading.Thread(target=watch, name="muniment child watcher", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


class _Parent:
    """The child's end of the talk with its parent."""

    def __init__(self, progress: Progress) -> None:
        self.done = threading.Event()
        self._progress = progress
        self._answers: SimpleQueue[bytes] = SimpleQueue()
        self._lock = threading.Lock()
        for task in (self._listen, self._report):
            threading.Thread(target=task, daemon=True).start()

    def say(self, what: dict[str, Any]) -> None:
        """Tell the parent, if it is still there."""
        with self._lock:
            try:
                sys.stdout.buffer.write(msgspec.json.encode(what) + b"\n")
                sys.stdout.buffer.flush()
            except OSError:
                pass  # stdin has ended too, which stops the job

    def ask(self, what: str, value: Any) -> bytes:
        """Have the parent do something, and get its answer; raises what it raised, and `Cancelled` when it has gone."""
        self.say({"ask": what, "value": value})
        answer = self._answers.get()
        if not answer:
            self._answers.put(b"")
            self._progress.check()
        told = msgspec.json.decode(answer, type=_Answered)
        if told.error:
            raise told.error.error()
        return bytes(told.answer)

    def counts(self) -> None:
        """Say how far the job is."""
        self.say({"stage": self._progress.stage, "counts": self._progress.counts})

    def _listen(self) -> None:
        for line in sys.stdin.buffer:
            self._answers.put(line)
        self._progress.cancel()
        self._answers.put(b"")
        if not self.done.wait(GRACE_SECONDS):
            os._exit(1)

    def _report(self) -> None:
        while not self.done.wait(REPORT_SECONDS):
            self.counts()


class _SharedStorage:
    """A storage that is read here, and for which the parent does what only its writer can."""

    def __init__(self, storage: SqliteStorage, parent: _Parent) -> None:
        self._storage = storage
        self._parent = parent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    @contextmanager
    def pin(self, keep: int | None = None) -> Iterator[Snapshot]:
        """The parent holds it, until this process ends."""
        told = msgspec.json.decode(self._parent.ask("pin", keep), type=_Told)
        fingerprint = Fingerprint.from_json(told.fingerprint)
        yield Snapshot(told.etag, told.modified, fingerprint, told.history_from, told.tombstones_from, told.until)

    def remember_backup(
        self, sha256: str, place: BackupPlace | None = None, end: tuple[int, int] | None = None
    ) -> None:
        """See `base.Storage`."""
        self._parent.ask("remember_backup", (sha256, place, end))

    def backed_up(self, through: int) -> None:
        """See `base.Storage`."""
        self._parent.ask("backed_up", through)


def main() -> None:
    """The child's side: one job from stdin, progress and the result to stdout."""
    job: _AnyJob = msgspec.json.decode(sys.stdin.buffer.readline(), type=_AnyJob)
    os.nice(job.niceness)
    progress = Progress()
    parent = _Parent(progress)
    try:
        result = _do(job, progress, parent)
    except Exception as error:
        result = {"error": ErrorRecord.of(error)}
    parent.done.set()
    parent.counts()
    parent.say(result)
    os._exit(0)  # the thread that listens to stdin would be waited for


def _do(job: _AnyJob, progress: Progress, parent: _Parent) -> dict[str, Any]:
    match job:
        case _Backup():
            taken = _take(job, progress, parent)
            return {"backup": os.fsencode(taken.folder), "notes": list(map(unicode, taken.notes))}
        case _Restore():
            plan, target = job.plan(), _path(job.target)
            restored = restore(
                plan, target, selection=job.selection, defrag=job.defrag, new_id=job.new_id, progress=progress
            )
            held = restored.fingerprint
            documents, size = held.count(DOCUMENT), held.size(DOCUMENT) + held.size(ATTACHMENT)
            counts = Counts(documents, held.count(ATTACHMENT), size, documents, size)
            return {"counts": counts, "etag": restored.moment.etag, "modified": restored.moment.modified}
        case _Compact():
            before, after = compact(_path(job.folder), progress=progress)
            return {"before": before, "after": after}


def _take(job: _Backup, progress: Progress, parent: _Parent) -> Backup:
    storage = SqliteStorage(_path(job.folder), clock=_clock, read_only=True)
    try:
        return take_backup(
            _SharedStorage(storage, parent),
            _path(job.destination),
            name=job.name,
            database_document=job.database_document,
            clock=_clock,
            incremental=job.incremental,
            new_chain=job.new_chain,
            skip_damaged=job.skip_damaged,
            progress=progress,
        )
    finally:
        storage.close()


def _clock() -> int:
    return time_ns() // 1000
