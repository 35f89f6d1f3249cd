"""What is told of jobs: of a database's last backup in `Raven/Backup/Status`, which is in no log and no backup, and of
others in documents of the system database.

All of it is in memory first, and on disk as soon as it can be: whether a job runs is no question of a disk."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, Final

import msgspec

from muniment.command import Delete, Put
from muniment.database import DocumentDatabase
from muniment.document import Document, decode, raven_time
from muniment.errors import BackupRunning, MunimentError
from muniment.progress import Progress
from muniment.raven3.names import BACKUP_STATUS, RESTORE_IN_PROGRESS, RESTORE_STATUS
from muniment.server.operations import Operation
from muniment.telling import telling

FILE: Final = "Backup.Status"
MESSAGES: Final = 200
TELL_SECONDS: Final = 1.0


class _Message(msgspec.Struct):
    text: str = msgspec.field(name="Message")
    time: str = msgspec.field(name="Timestamp")
    severity: str = msgspec.field(name="Severity")
    details: str | None = msgspec.field(name="Details", default=None)


class _Status(msgspec.Struct):
    started: str = msgspec.field(name="Started")
    completed: str | None = msgspec.field(name="Completed", default=None)
    running: bool = msgspec.field(name="IsRunning", default=True)
    messages: list[_Message] = msgspec.field(name="Messages", default_factory=list)


class BackupStatus:
    """What is told of the last backup of a database. It is kept in a file beside the database, not in its log."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._lock = threading.Lock()
        self._status: _Status | None = None
        self._unsaved = False
        self._operation: Operation | None = None
        with suppress(OSError, msgspec.MsgspecError):  # there was none
            self._status = msgspec.json.decode(self._path.read_bytes(), type=_Status)
        if self._status and self._status.running:
            self.end("Failed: the backup was interrupted, because the server was ended while it ran", "Error")

    @property
    def running(self) -> bool:
        """Whether a backup is being taken now."""
        ended = self._operation is not None and self._operation.ended
        return self._status is not None and self._status.running and not ended

    def begin(self, operation: Operation, message: str) -> None:
        """Raises `BackupRunning` if one runs already."""
        with self._lock:
            if self.running:
                raise BackupRunning("a backup of this database is already running", "wait for it, or cancel it")
            self._status = _Status(_now())
            self._operation = operation
        self.say(message)

    def say(self, text: str, severity: str = "Informational") -> None:
        """Add a message. Of very many, the oldest are forgotten, but not the first two."""
        status = self._status
        assert status is not None
        with self._lock:
            status.messages.append(_Message(text, _now(), severity))
            if len(status.messages) > MESSAGES:
                del status.messages[2]
        self._save()

    def end(self, text: str, severity: str = "Informational") -> None:
        """Say the last message: nothing runs any more."""
        status = self._status
        assert status is not None
        status.completed = _now()
        status.running = False
        self.say(text, severity)

    def settle(self) -> None:
        """Write what could not be written before."""
        if self._unsaved:
            self._save()

    def _save(self) -> None:
        unnamed = self._path.with_name(f"{FILE}.new")
        with telling(f"in {self._path}, how the backup stands,"), self._lock:
            self._unsaved = True
            if self._status:
                unnamed.write_bytes(msgspec.json.encode(self._status))
                unnamed.replace(self._path)
            self._unsaved = False

    def forget(self) -> bool:
        """Forget the last backup, if none is running; returns whether there was one."""
        if self._status is None or self.running:
            return False
        self._status, self._unsaved = None, False
        self._path.unlink(missing_ok=True)
        return True

    def document(self) -> Document | None:
        """The status as a document, None if there never was a backup."""
        status = self._status
        if status is None:
            return None
        with self._lock:
            told: dict[str, Any] = msgspec.to_builtins(status) | {"IsRunning": self.running}
        if self._operation:
            told |= {name: value for name, value in self._operation.counts().items() if value is not None}
        body = msgspec.json.encode(told)
        etag = int.from_bytes(hashlib.blake2b(body, digest_size=6).digest(), "big")
        return Document(BACKUP_STATUS, etag, datetime.now(UTC), b"{}", body)


class Notes:
    """Documents of the system database that tell of jobs. Nothing waits for them, and none is lost while this lives."""

    def __init__(self, system: DocumentDatabase) -> None:
        self._system = system
        self._lock = threading.Lock()
        self._unwritten: dict[str, dict[str, Any] | None] = {}

    def tell(self, documents: Mapping[str, dict[str, Any] | None]) -> None:
        """Write these, or delete those that are None; what can not be written now is by `settle`."""
        with self._lock:
            self._unwritten.update(documents)
        self.settle()

    def settle(self) -> None:
        """Write what could not be written before."""
        with telling("in the system database, how jobs stand,"), self._lock:
            if self._unwritten:
                told = self._unwritten.items()
                self._system.batch([Delete(id) if value is None else Put(id, value) for id, value in told])
                self._unwritten.clear()


class RestoreStatus:
    """What is told of the last restore, in a document of the system database."""

    def __init__(self, system: DocumentDatabase, notes: Notes) -> None:
        self._system = system
        self._notes = notes
        self._lock = threading.Lock()
        self._messages: list[str] = []

    def recover(self) -> None:
        """What was running when the server ended was interrupted."""
        status = self._system.get(RESTORE_STATUS)
        told = decode(status.body) if status else {}
        if told.get("State") == "Running" or self._system.get(
            RESTORE_IN_PROGRESS
        ):  # the mark comes before the first message
            self._messages = [str(message) for message in told.get("Messages") or []]
            self.say("Error: the restore was interrupted, because the server was ended while it ran", "Faulted")
        self.end()

    def begin(self, name: str) -> None:
        """Forget the last restore; from now on this one runs."""
        self._messages = []
        self._notes.tell({RESTORE_STATUS: None, RESTORE_IN_PROGRESS: {"Resource": name}})

    def say(self, message: str, state: str = "Running", operation: Operation | None = None) -> None:
        """Add a message."""
        with self._lock:
            self._messages = [*self._messages[:100], *self._messages[100:][-100:], message]
            told: dict[str, Any] = {"State": state, "Messages": self._messages}
            if operation:
                told |= {key: value for key, value in operation.counts().items() if value is not None}
            self._notes.tell({RESTORE_STATUS: told})

    def end(self) -> None:
        """Another restore may begin."""
        self._notes.tell({RESTORE_IN_PROGRESS: None})


@contextmanager
def progress_told(progress: Progress, say: Callable[[str], object]) -> Iterator[None]:
    """Within it, `say` is given a message about the progress every second."""
    ended = threading.Event()

    def tell() -> None:
        told = monotonic()
        while not ended.wait(0.1):
            if monotonic() - told >= TELL_SECONDS and progress.stage:
                told = monotonic()
                with telling("how far a job is"):
                    say(f"{progress.stage[:1].upper()}{progress.stage[1:]}: {amount(progress)}")

    teller = threading.Thread(target=tell, name="muniment teller", daemon=True)
    with telling("how far a job will be"):
        teller.start()
    try:
        yield
    finally:
        ended.set()
        if teller.ident is not None:
            teller.join()


def with_hint(error: BaseException) -> str:
    """What an error says, with what to do next."""
    hint = error.hint if isinstance(error, MunimentError) else ""
    return f"{error} ({hint})" if hint else f"{error}"


def amount(progress: Progress) -> str:
    """What a job has done so far, for people."""
    total = f" of {progress.total_documents:,}" if progress.total_documents else ""
    attachments = f" and {progress.attachments:,} attachments" if progress.attachments else ""
    size = f", {_size(progress.bytes)}, {_size(progress.rate)}/s" if progress.bytes else ""
    return f"{progress.documents:,}{total} documents{attachments}{size}"


def _size(bytes: float) -> str:
    return f"{bytes / 1e6:,.1f} MB" if bytes >= 1e6 else f"{bytes / 1e3:,.1f} kB"


def _now() -> str:
    return raven_time(datetime.now(UTC))
