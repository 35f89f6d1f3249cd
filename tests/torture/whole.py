"""Everything that a database holds, as plain values: every revision that its log has, contents, and settings."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar

from muniment import DocumentDatabase, MaintenanceActions, MunimentError
from muniment.revision import ATTACHMENT
from tests.torture.verdict import Defect, Outcome

SECONDS = 120.0

P = ParamSpec("P")
T = TypeVar("T")
Row = tuple[int, str, str | None, int, bytes, bytes | None]  # kind, id, collection, modified, metadata, content


class Whole(NamedTuple):
    """Rows by etag: what is current, tombstones, and what has been superseded as far as it is kept."""

    rows: dict[int, Row]
    settings: dict[str, str]


class Looked(NamedTuple):
    """What the roads out of a database gave: the text of an error where there was one."""

    told: list[str]
    """By `check`, or instead of it."""
    whole: Whole | None
    """As reading gave it, None when that failed."""
    restored: Whole | None
    """Out of a backup of it that was completed and verified, None when there is none."""
    crude: str = ""
    """Any exception that is none of ours."""


def whole(folder: Path) -> Whole:
    """Everything in a database, superseded revisions too."""
    with DocumentDatabase(folder, create=False) as database:
        storage = database.storage
        with storage.pin() as snapshot:
            revisions = [r for batch in storage.changes(0, snapshot.etag, history=True) for r in batch]
            revisions += storage.attachment_changes(0, snapshot.etag, history=True)
            rows: dict[int, Row] = {}
            for revision in revisions:
                content = revision.body
                if revision.kind == ATTACHMENT and content is not None:
                    content = b"".join(storage.content(revision))
                fields = (revision.kind, revision.id, revision.collection, revision.modified, revision.metadata)
                rows[revision.etag] = (*fields, content)
        return Whole(rows, database.settings)


def current_of(found: Whole) -> Whole:
    """The same without what has been superseded."""
    last = {(row[0], row[1].lower()): etag for etag, row in sorted(found.rows.items())}
    return Whole({etag: found.rows[etag] for etag in sorted(last.values())}, found.settings)


def check(folder: Path) -> list[str]:
    """What `check` says of a database, or how opening it was refused."""
    try:
        with DocumentDatabase(folder, create=False) as database:
            return database.check()
    except MunimentError as error:
        return [f"{type(error).__name__}: {error}"]


def look(folder: Path, place: Path) -> Looked:
    """Take every road out of a database, with what is made on the way in `place`. In a process of its own: `apart`."""
    told: list[str] = []
    read = restored = None
    crude = ""
    try:
        told += check(folder)
        try:
            read = whole(folder)
        except MunimentError as error:
            told.append(f"reading: {type(error).__name__}: {error}")
        try:
            with DocumentDatabase(folder, create=False) as database:
                backup = database.maintenance.start_backup(place / "backups").wait()
            MaintenanceActions.verify(place / "backups")
            MaintenanceActions.restore(backup.folder, place / "restored")
            restored = whole(place / "restored")
        except MunimentError as error:
            told.append(f"backup: {type(error).__name__}: {error}")
    except Exception as error:
        crude = f"{type(error).__name__}: {error}"
    return Looked(told, read, restored, crude)


def must_equal(expected: Whole, found: Whole, what: str, older: Whole | None = None) -> None:
    """Raises `Defect` where something is missing (lost), or is there as it never was (wrong).

    A row of `older` in the place of one that is missing is no more than that.
    """
    missing = sorted(expected.rows.keys() - found.rows.keys())
    for etag, row in found.rows.items():
        right = expected.rows.get(etag)
        if row != right and not (missing and row == (older or expected).rows.get(etag)):
            raise Defect(Outcome.WRONG, f"{what}: at etag {etag} {_short(row)} instead of {_short(right)}")
    if missing:
        first = _short(expected.rows[missing[0]])
        raise Defect(Outcome.LOST, f"{what}: {len(missing)} rows are not there, the first {first}")
    if expected.settings != found.settings:
        raise Defect(Outcome.WRONG, f"{what}: settings {found.settings} instead of {expected.settings}")


def _short(row: Row | None) -> str:
    return "nothing" if row is None else repr(row)[:300]


class Apart:
    """A process in which what a damaged file breaks is broken; a new one follows when it dies."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def __call__(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """The result; raises `Defect` when the process dies or does not answer."""
        self._pool = self._pool or ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        try:
            return self._pool.submit(work, *arguments, **named).result(SECONDS)
        except BrokenProcessPool:
            self._pool = None
            raise Defect(Outcome.CRUDE, "the process died") from None
        except TimeoutError:
            self.close()
            raise Defect(Outcome.CRUDE, f"no answer after {SECONDS:.0f} s") from None

    def close(self) -> None:
        """End the process, also in the middle of something."""
        if self._pool:
            for process in list((self._pool._processes or {}).values()):
                process.kill()
            self._pool.shutdown()
            self._pool = None
