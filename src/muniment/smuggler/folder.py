"""A folder of dumps that continue each other: what the last export left off at, and which files an import applies.

The names alone give the order, and those of RavenDB do too: its incremental exports (2 and 3), and its periodic backups
(4 and later), which are dumps. The state file only says where the next export has to begin.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec
from filelock import FileLock, Timeout

from muniment.durable import new_file
from muniment.errors import Busy, ForeignBackup, InvalidInput, StorageFailure, UnknownFormat
from muniment.smuggler.transfer import Imported
from muniment.storage.base import Identity, Snapshot

STATE: Final = "export-state.json"
LOCK: Final = "export.lock"
_dump = re.compile(r".+\.(ravendbdump|ravendump|ravendb-(full|incremental)-(dump|backup))", re.IGNORECASE)
_full = re.compile(r".+\.full\.\w+|.+\.ravendb-full-\w+|.+\.ravendbdump\.full", re.IGNORECASE)
_digits = re.compile(r"(\d+)")

Kind = Literal["full", "incremental"]


class State(msgspec.Struct, frozen=True):
    """What the last export into a folder held: everything through `etag` of this lineage of this database."""

    database: str
    lineage: str
    etag: int
    file: str


class Begin(NamedTuple):
    """Where an export has to begin: after this etag, 0 for the beginning; and why it is a full one if it is."""

    after: int
    reason: str


def begin(state: State | None, there: bool, identity: Identity, snapshot: Snapshot) -> Begin:
    """What the next export into a folder is; `there` says whether the last file still is.

    Raises `ForeignBackup` for another database, because an import of the folder would mix both.
    """
    if state is None:
        return Begin(0, "the first one")
    if state.database != identity.database_id:
        raise ForeignBackup(
            f"this folder holds the exports of database {state.database}, not {identity.database_id}",
            "give each database a folder of its own",
        )
    if state.lineage != identity.lineage:
        return Begin(0, "the database was restored since the last export")
    if state.etag > snapshot.etag:
        return Begin(0, f"the database was put back to before etag {state.etag}")
    if state.etag < snapshot.tombstones_from:
        return Begin(0, f"deletions through etag {snapshot.tombstones_from} are forgotten")
    if not there:
        return Begin(0, f"{state.file} is not there any more")
    return Begin(state.etag, "")


def read_state(folder: Path) -> State | None:
    """The state in this folder, None where nothing was exported to; raises `UnknownFormat` for one that is none."""
    try:
        text = (folder / STATE).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(folder / STATE, error) from error
    try:
        return msgspec.json.decode(text, type=State)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnknownFormat(
            f"{folder / STATE} is not the state of an export: {error}",
            "delete it, so that the next export is a full one",
        ) from error


def write_state(folder: Path, state: State) -> None:
    """Keep this state instead of the present one; on disk when this returns."""
    with new_file(folder / STATE, overwrite=True) as path:
        path.write_bytes(msgspec.json.encode(state) + b"\n")


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make the folder if need be, and let nobody else export into it meanwhile; raises `Busy`."""
    lock = FileLock(folder / LOCK, timeout=0, thread_local=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise Busy(f"another export into {folder} is running", "wait for it, or give another folder") from error
    except OSError as error:
        raise _unreadable(folder, error) from error
    except ValueError as error:  # a zero byte in the path
        raise InvalidInput(f"{str(folder)!r} is not the name of a folder", "give another") from error
    try:
        yield
    finally:
        lock.release()


def dumps_in(folder: str | Path) -> list[Path]:
    """The dumps in a folder in the order in which an import applies them, from the last full one on.

    Raises `InvalidInput` where there is none.
    """
    try:
        found = sorted((path for path in Path(folder).iterdir() if _dump.fullmatch(path.name)), key=_order)
    except OSError as error:
        raise _unreadable(Path(folder), error) from error
    if not found:
        raise InvalidInput(f"there is no dump in {folder}", "give a folder of .ravendbdump or .ravendump files")
    first = max((number for number, path in enumerate(found) if _full.fullmatch(path.name)), default=0)
    return found[first:]


def _order(path: Path) -> list[str | int]:
    """By the numbers in the name as numbers: RavenDB's `…-10.ravendb-incremental-dump` comes after `…-9`."""
    return [int(part) if part.isdigit() else part for part in _digits.split(path.name)]


def new_name(folder: Path, kind: Kind, time: datetime, format: str) -> Path:
    """A name of this time, or of a later millisecond, so that it comes after all dumps that are there."""
    present = [path for path in folder.iterdir() if _dump.fullmatch(path.name)]
    while True:
        path = folder / f"{time:%Y-%m-%dT%H%M%S}.{time.microsecond // 1000:03d}Z.{kind}.{format}"
        if all(_order(other) < _order(path) for other in present):
            return path
        last = max(present, key=_order).name
        known = re.match(r"(\d{4}-\d\d-\d\dT\d{6}\.\d{3})Z", last)
        later = datetime.strptime(known[1] + "+0000", "%Y-%m-%dT%H%M%S.%f%z") if known else time
        time = max(time, later) + timedelta(milliseconds=1)


def import_folder(folder: str | Path, import_file: Callable[[Path], Imported]) -> Imported:
    """Import the dumps of a folder one after the other, with what imports one; returns the sum of what was done."""
    total = Imported()
    for path in dumps_in(folder):
        found = import_file(path)
        for name in (field.name for field in fields(Imported)):
            value, old = getattr(found, name), getattr(total, name)
            if isinstance(value, dict):
                value = {key: old.get(key, 0) + value.get(key, 0) for key in old | value}
            elif isinstance(value, int | float) and not isinstance(value, bool) and name != "build_version":
                value += old
            setattr(total, name, value)
    return total


def _unreadable(path: Path, error: OSError) -> StorageFailure:
    reason = error.strerror or error
    return StorageFailure(
        f"{path} could not be read or written: {reason}", "check that it is there and that you may read and write it"
    )
