"""Who had what done: a line of JSON for each job, key and database, in a file to which lines are only ever added."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from muniment.document import rfc3339
from muniment.errors import unreadable
from muniment.telling import log

FILE: Final = "audit.jsonl"
TAIL: Final = 4 << 20  # bytes of the file that are looked at; whoever wants more has the file


class Who(NamedTuple):
    """Who asked: by which key, None for none; as the user whose files the server's are, or not; from which address."""

    key: str | None
    local: bool
    source: str


class Entry(msgspec.Struct, omit_defaults=True):
    """A line. `outcome` is `started` or how it ended, `subject` the id of a key's or a database's document."""

    time: str
    what: str
    outcome: str
    database: str = ""
    subject: str = ""
    operation: int = 0
    key: str | None = None
    local: bool = False
    source: str = ""
    error: str | None = None


class Audit:
    """The file of a server. What cannot be written there is a line of the log and decides nothing: it is counted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unwritten = 0
        self._lock = threading.Lock()

    def note(self, what: str, outcome: str, who: Who | None = None, **more: str | int | None) -> None:
        """Add a line, which is on disk when this returns, unless it cannot be. Never raises; not for an event loop."""
        told = {"time": rfc3339(datetime.now(UTC)), "what": what, "outcome": outcome, **(who._asdict() if who else {})}
        entry = msgspec.convert(told | more, Entry)
        try:
            with self._lock:
                self._add(msgspec.json.encode(entry) + b"\n")
        except Exception as error:
            self.unwritten += 1
            log(f"{self.path} could not be written: {error}; it lacks {msgspec.json.encode(entry).decode()}")

    def latest(self, start: int, size: int) -> list[Entry]:
        """The last lines of the file, the latest first; what is no line, as the first one of the tail, is left out."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
                text = file.read()
        except FileNotFoundError:  # renamed away, and nothing was noted since
            return []
        except OSError as error:
            raise unreadable(self.path, error, "see who may read it") from error
        found = []
        for line in reversed(text.splitlines()):
            with suppress(msgspec.MsgspecError):
                found.append(msgspec.json.decode(line, type=Entry))
            if len(found) == start + size:
                break
        return found[start:]

    def _add(self, line: bytes) -> None:
        # Opened anew each time, so that it may be renamed away; in one write, so that no other one is inside it.
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            if os.write(descriptor, line) < len(line):
                raise OSError("the disk is full")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
