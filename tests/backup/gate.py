"""A backup that stands still where a test wants it to, while something else happens."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from muniment import DocumentDatabase, Progress
from muniment.backup import documents
from muniment.backup.repository import Backup
from muniment.backup.take import take_backup


class Gate(Progress):
    """At each of its first steps, one pause is called and waited for; nobody else comes through meanwhile."""

    def __init__(self, *pauses: Callable[[], object]) -> None:
        super().__init__()
        self.pauses = list(pauses)
        self.stages: list[str] = []
        self._gate = threading.Lock()

    def advance(self, *, documents: int = 0, attachments: int = 0, bytes: int = 0, written: int = 0) -> None:
        with self._gate:
            self.stages.append(self.stage)
            if self.pauses:
                self.pauses.pop(0)()
        super().advance(documents=documents, attachments=attachments, bytes=bytes)


def each_takes_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """However little there is, two write the documents of a backup: none takes a second range before each has one."""
    met, take, first = threading.Barrier(2), documents._Ranges.take, threading.local()

    def take_together(ranges: documents._Ranges) -> documents.Range:
        if not hasattr(first, "met"):
            first.met = True
            met.wait(60)
        return take(ranges)

    monkeypatch.setattr(documents, "ALONE_BYTES", 0)
    monkeypatch.setattr(documents, "RANGE_ETAGS", 1000)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(documents._Ranges, "take", take_together)


def take(database: DocumentDatabase, destination: Path, progress: Progress | None = None) -> Backup:
    """A backup in this thread, with a progress of the test's own."""
    return take_backup(
        database.storage,
        destination,
        name=database.name,
        database_document=b'{"Id":"shop","Settings":{}}',
        clock=database.clock,
        progress=progress,
    )
