"""How jobs stand, as documents: a database's last backup in `Raven/Backup/Status`, which is in no log and no backup,
and others in documents of the system database.

All of it is in memory first, and on disk as soon as it can be: whether a job runs is no question of a disk."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from muniment.backup.alerts import Failure
from muniment.command import Delete, Put
from muniment.database import DocumentDatabase
from muniment.document import Document, raven_time
from muniment.errors import MunimentError
from muniment.raven3.names import BACKUP_STATUS
from muniment.security.data_key import derived, sealed, unsealed
from muniment.server.operations import Operation
from muniment.storage.base import Storage
from muniment.telling import telling

FILE: Final = "Backup.Status"


class BackupStatus:
    """How the last backup of a database stands. It is kept in a note beside the database, not in its log.

    The note of an encrypted database is encrypted too, with a key that is derived from the database's. With another
    key it is as if there had been no backup. Where several servers use the database, it is that of all of them.
    """

    def __init__(self, storage: Storage) -> None:
        self.operation: Operation | None = None
        self._storage = storage
        key = storage.key
        self._key = key and derived(key.secret, "status of the last backup")
        self._lock = threading.Lock()
        self._before: dict[str, Any] | None = None  # what a server before this one has told
        self._unsaved = False
        self._scheduled = False  # then what fails is told of the schedule, and not here
        self._failure_before: Failure | None = None
        self._read()

    def _read(self) -> None:
        """Read what was told last, by a server before this one, or by another one."""
        self._before = None
        with suppress(OSError, MunimentError, msgspec.MsgspecError):  # there was none
            kept = self._storage.note(FILE) or b""
            text = unsealed(self._key, kept, b"") if self._key else kept
            self._before = msgspec.json.decode(text or b"", type=dict[str, Any])
        if self._before:
            self._scheduled = self._before.pop("Scheduled", None) is True
        if self._before and self._before.get("IsRunning") and not self._storage.holder("backup"):
            lost = _interrupted("backup")
            message = _message(f"Failed: {lost['Error']}", datetime.now(UTC), failure=True)
            ended = {"IsRunning": False, "Completed": message["Timestamp"]}
            self._before |= {**ended, **lost, "Messages": [*_messages(self._before), message]}
            self._save()

    @property
    def running(self) -> bool:
        """Whether a backup is being taken now."""
        return self.operation is not None and self.operation.job.running

    def join(self) -> None:
        """Wait until the backup that is being taken has ended."""
        if self.operation:
            self.operation.job.join()

    def follow(self, operation: Operation, *, scheduled: bool = False) -> None:
        """From now on the status is that of this backup."""
        self._failure_before = self.failure()
        self.operation, self._scheduled = operation, scheduled
        operation.job.on_change = self._save

    def settle(self) -> None:
        """Write what could not be written before."""
        if self._unsaved:
            self._save()

    def _save(self) -> None:
        with telling(f"beside {self._storage.folder}, how the backup stands,"), self._lock:
            self._unsaved = True
            if told := self._told():
                text = msgspec.json.encode(told | {"Scheduled": True} if self._scheduled else told)
                self._storage.write_note(FILE, sealed(self._key, text, b"") if self._key else text)
            self._unsaved = False

    def failure(self) -> Failure | None:
        """How the last backup that was asked for failed, None when it did not, or was stopped on purpose.

        While another one runs, nothing is over.
        """
        if self.operation is not None and self.operation.job.state == "running":
            return self._failure_before
        if self._scheduled:
            return None
        if self.operation is not None:
            job = self.operation.job
            failed = job.state == "faulted" and job.ended and job.error
            return Failure(what="backup", time=job.ended, reason=str(job.error)) if failed and job.ended else None
        messages = _messages(self._before or {})
        last = messages[-1] if messages and isinstance(messages[-1], dict) else {}
        with suppress(ValueError):
            if last.get("Severity") == "Error":
                time = datetime.fromisoformat(str(last.get("Timestamp")))
                return Failure(what="backup", time=time, reason=str(last.get("Message")))
        return None

    def forget(self) -> bool:
        """Forget the last backup, if none is running; returns whether there was one."""
        if self.running or (self.operation is None and self._before is None):
            return False
        self.operation, self._before, self._unsaved = None, None, False
        self._storage.write_note(FILE, None)
        return True

    def document(self) -> Document | None:
        """The status as a document, None if there never was a backup."""
        if self._storage.shared and not (self.running or self._unsaved):
            self.operation = None
            self._read()
        told = self._told()
        if told is None:
            return None
        elsewhere = bool(told.get("IsRunning")) and self._storage.shared
        body = msgspec.json.encode(
            told | {"IsRunning": self.running or elsewhere}
        )  # to the last: another one may begin after it
        etag = int.from_bytes(hashlib.blake2b(body, digest_size=6).digest(), "big")
        return Document(BACKUP_STATUS, etag, datetime.now(UTC), b"{}", body)

    def _told(self) -> dict[str, Any] | None:
        operation = self.operation
        if operation is None:
            return self._before
        job = operation.job
        return {
            "Started": raven_time(job.began),
            "Completed": raven_time(job.ended) if job.ended else None,
            "IsRunning": job.state == "running",
            "Messages": [_message(each.text, each.time, failure=each.failure) for each in list(job.messages)],
            **_counts(operation),
        }


def _message(text: str, time: datetime, *, failure: bool) -> dict[str, Any]:
    severity = "Error" if failure else "Informational"
    return {"Message": text, "Timestamp": raven_time(time), "Severity": severity, "Details": None}


def _counts(operation: Operation) -> dict[str, Any]:
    return {name: value for name, value in msgspec.to_builtins(operation.progress()).items() if value is not None}


class Notes:
    """Documents of the system database that tell of jobs. Nothing waits for them, and none is lost while this lives."""

    def __init__(self, system: DocumentDatabase) -> None:
        self._system = system
        self._lock = threading.Lock()
        self._unwritten: dict[str, dict[str, Any] | None] = {}

    def follow(self, id: str, operation: Operation) -> None:
        """From now on this document tells how the job stands; while it runs, other servers see that it does."""

        def changed() -> None:
            ended = operation.job.state != "running"
            if not ended:
                self.take(id)
            self.tell({id: _status(operation)})
            if ended:
                self.give_back(id)

        operation.job.on_change = changed

    def take(self, id: str) -> str | None:
        """Run what this document tells of; returns who does it, if another server does, and then it is not taken."""
        return self._system.storage.take(id)

    def holder(self, id: str) -> str | None:
        """Who runs it."""
        return self._system.storage.holder(id)

    def give_back(self, id: str) -> None:
        """It is over."""
        self._system.storage.give_back(id)

    def tell(self, documents: Mapping[str, dict[str, Any] | None]) -> None:
        """Write these, or delete those that are None; what cannot be written now is by `settle`."""
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


def _status(operation: Operation) -> dict[str, Any]:
    job = operation.job
    state = {"running": "Running", "completed": "Completed"}.get(job.state, "Faulted")
    messages = list(job.messages)
    return {
        "State": state,
        "Messages": [each.text for each in messages],
        "LastProgressMessage": messages[-1].text,
        "LastProgressMessageTime": raven_time(messages[-1].time),
        **_counts(operation),
    }


def interrupted(what: str, told: dict[str, Any]) -> dict[str, Any]:
    """What a document told of a job that ran when the server ended, and that it was interrupted."""
    lost = _interrupted(what)
    message = f"Error: {lost['Error']}"
    last = {"LastProgressMessage": message, "LastProgressMessageTime": raven_time(datetime.now(UTC))}
    return {**told, "State": "Faulted", "Messages": [*map(str, _messages(told)), message], **last, **lost}


def _interrupted(what: str) -> dict[str, Any]:
    error = f"the {what} was interrupted, because the server was ended while it ran"
    hint = "begin it again; nothing half done is left"
    return {"Error": error, "Hint": hint, "Waiting": False, "Position": None}


def _messages(told: dict[str, Any]) -> list[Any]:
    messages = told.get("Messages")
    return messages if isinstance(messages, list) else []
