"""A folder of dumps that continue each other: where the last export ended, and which files an import applies.

The names alone give the order, also those that RavenDB gives its incremental exports (2 and 3) and its periodic backups
(4 and later), which are dumps. The state file only says where the next export must begin.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec
from filelock import FileLock, Timeout

from muniment.durable import new_file
from muniment.errors import Busy, ForeignBackup, InvalidInput, StorageFailure, UnknownFormat
from muniment.smuggler.summary import Imported
from muniment.storage.base import Identity, Snapshot

STATE: Final = "export-state.json"
LOCK: Final = "export.lock"
_dump = re.compile(r".+\.(ravendbdump|ravendump|ravendb-(full|incremental)-(dump|backup))", re.IGNORECASE)
_full = re.compile(r".+\.full\.\w+|.+\.ravendb-full-\w+|.+\.ravendbdump\.full", re.IGNORECASE)
_backup = re.compile(r".+\.ravendb-(?:full|incremental)-backup", re.IGNORECASE)
_incremental = re.compile(r".+\.incremental\.\w+|.+\.ravendb-incremental-backup", re.IGNORECASE)
# What RavenDB 4 to 7 write that is not a dump: encrypted backups, and snapshots of their own files.
_of_ravendb = re.compile(r".+\.ravendb-(?:(encrypted)-(?:full|incremental)-\w+|(?:\w+-)?snapshot)", re.IGNORECASE)
_DECRYPT: Final = "restore it with RavenDB and its key, and export the database from there"
_EXPORT: Final = "restore it with RavenDB, and export the database from there"
_digits = re.compile(r"(\d+)")

Kind = Literal["full", "incremental"]


class State(msgspec.Struct, frozen=True):
    """What the last export into a folder held: everything through `etag` of this lineage of this database.

    Of that it carried what was chosen (`SmugglerOptions.choice`), which older versions did not write down.
    """

    database: str
    lineage: str
    etag: int
    file: str
    choice: str | None = None


class Begin(NamedTuple):
    """Where an export must begin: after this etag, 0 for the beginning; and if it is a full one, the reason."""

    after: int
    reason: str


def begin(state: State | None, there: bool, identity: Identity, snapshot: Snapshot) -> Begin:
    """Where the next export into a folder begins; `there`: whether the last file is still there.

    Raises `ForeignBackup` for another database, because an import of the folder would mix the two.
    """
    if state is None:
        return Begin(0, "the first export")
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


def read_state(folder: Path, choice: str) -> State | None:
    """The state in this folder, None when nothing was exported into it; raises `UnknownFormat` if it is unreadable.

    Raises `InvalidInput` where the last export carried others than are chosen now: what it left out would be missed.
    """
    try:
        text = (folder / STATE).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(folder / STATE, error) from error
    try:
        state = msgspec.json.decode(text, type=State)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnknownFormat(
            f"{folder / STATE} is not the state of an export: {error}",
            "delete it, so that the next export is a full one",
        ) from error
    if state.choice not in (None, choice):
        raise InvalidInput(
            f"the exports in {folder} carry another part of the database than is asked for now",
            "ask for the same collections, ids, filters, types and transform, or give this export a folder of its own",
        )
    return state


def write_state(folder: Path, state: State) -> None:
    """Replace the present state with this one; on disk when this returns."""
    with new_file(folder / STATE, overwrite=True) as path:
        path.write_bytes(msgspec.json.encode(state) + b"\n")


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Create the folder if need be, and lock it against other exports; raises `Busy` during another one."""
    lock = FileLock(folder / LOCK, timeout=0, thread_local=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise Busy(f"another export into {folder} is running", "wait for it, or give another folder") from error
    except OSError as error:
        raise _unreadable(folder, error) from error
    except ValueError as error:  # a zero byte in the path
        raise InvalidInput(f"{str(folder)!r} cannot be the name of a folder", "give another") from error
    try:
        yield
    finally:
        lock.release()


def dumps_in(folder: str | Path, *, backup: str | None = None, until: str | None = None) -> list[Path]:
    """The dumps in a folder in the order in which an import applies them, from the last full one on.

    The folder may also be one to which RavenDB 4 to 7 wrote its backups, each into a folder of its own: then the newest
    of them is taken, or the one named by `backup`. `until` is the last file to take, by its name or by the time in the
    name. Raises `InvalidInput` when there is no dump, or no full one to begin with, and `UnknownFormat` for files that
    only RavenDB reads.
    """
    folder = Path(folder)
    found = _dumps(folder)
    if backup is not None or not found:
        folder = _backup_in(folder, backup)
        found = _dumps(folder)
    if until is not None:
        found = _until(found, until, folder)
    first = max((number for number, path in enumerate(found) if _full.fullmatch(path.name)), default=None)
    if first is None and _incremental.fullmatch(found[0].name):
        raise InvalidInput(
            f"{folder} begins with the incremental {found[0].name}; the dumps that it continues are missing",
            "put the full dump and all incremental ones after it into the folder",
        )
    return found[first or 0 :]


def _dumps(folder: Path) -> list[Path]:
    try:
        names = [path for path in folder.iterdir() if path.is_file()]
    except OSError as error:
        raise _unreadable(folder, error) from error
    for path in names:
        if found := _of_ravendb.fullmatch(path.name):
            kind, hint = ("encrypted", _DECRYPT) if found[1] else ("a snapshot", _EXPORT)
            raise UnknownFormat(f"{path.name} in {folder} is {kind}, which only RavenDB reads", hint)
    dumps = sorted((path for path in names if _dump.fullmatch(path.name)), key=_order)
    return [
        path for path in dumps if _backup.fullmatch(path.name)
    ] or dumps  # an export next to backups is not one of them


def _backup_in(folder: Path, name: str | None) -> Path:
    """One of RavenDB's backup folders in this folder."""
    try:
        inside = sorted((path for path in folder.iterdir() if path.is_dir()), key=_order)
    except OSError as error:
        raise _unreadable(folder, error) from error
    found = [path for path in inside if (path.name == name if name else _holds_backups(path))]
    if found:
        return found[-1]
    if name:
        names = ", ".join(path.name for path in inside if _holds_backups(path))
        hint = f"name one of these: {names}" if names else "leave --backup out: no folder in it holds backups"
        raise InvalidInput(f"there is no backup {name!r} in {folder}", hint)
    raise InvalidInput(f"there is no dump in {folder}", "give a folder of .ravendbdump or .ravendump files")


def _holds_backups(folder: Path) -> bool:
    try:
        return any(_of_ravendb.fullmatch(path.name) or _dump.fullmatch(path.name) for path in folder.iterdir())
    except OSError:
        return False


def _until(found: list[Path], until: str, folder: Path) -> list[Path]:
    names = [path.name for path in found]
    if until in names:
        return found[: names.index(until) + 1]
    digits = "".join(_digits.findall(until.partition(".")[0]))
    if not (8 <= len(digits) <= 14):
        raise InvalidInput(
            f"{until!r} is neither a file in {folder} nor a time", "give the name of a file, or 2026-11-27T06:36:03"
        )
    last = int(digits.ljust(14, "9"))
    kept = [path for path in found if int("".join(_digits.findall(path.name))[:14].ljust(14, "0")) <= last]
    if not kept:
        raise InvalidInput(f"every file in {folder} is newer than {until}", f"the first one is {names[0]}")
    return kept


def _order(path: Path) -> list[str | int]:
    """By the numbers in the name as numbers: RavenDB's `…-10.ravendb-incremental-dump` comes after `…-9`."""
    return [int(part) if part.isdigit() else part for part in _digits.split(path.name)]


def new_name(folder: Path, kind: Kind, time: datetime, format: str) -> Path:
    """A file name with this time, or a later millisecond, so that it sorts after all dumps in the folder."""
    present = [path for path in folder.iterdir() if _dump.fullmatch(path.name)]
    while True:
        path = folder / f"{time:%Y-%m-%dT%H%M%S}.{time.microsecond // 1000:03d}Z.{kind}.{format}"
        if all(_order(other) < _order(path) for other in present):
            return path
        last = max(present, key=_order).name
        known = re.match(r"(\d{4}-\d\d-\d\dT\d{6}\.\d{3})Z", last)
        later = datetime.strptime(known[1] + "+0000", "%Y-%m-%dT%H%M%S.%f%z") if known else time
        time = max(time, later) + timedelta(milliseconds=1)


def import_folder(
    folder: str | Path,
    import_file: Callable[[Path], Imported],
    *,
    backup: str | None = None,
    until: str | None = None,
) -> Imported:
    """Import the dumps that `dumps_in` finds in their order, with a function that imports one; returns the sum."""
    total = Imported()
    for path in dumps_in(folder, backup=backup, until=until):
        total.add(import_file(path))
    return total


def _unreadable(path: Path, error: OSError) -> StorageFailure:
    reason = error.strerror or error
    return StorageFailure(
        f"{path} could not be read or written: {reason}", "check that it is there and that you may read and write it"
    )
