"""How far a database must reach: what was acknowledged last, kept beside the file that holds it.

A write-ahead log that is damaged, cut short or missing reads as one that ends earlier. So after each commit, and before
it is acknowledged, its number is written to a small separate file; a database that does not reach that far has lost
something. What is written there survives the process at once, and a power failure as soon as the system or `sync` has
brought it to disk: after one it can name too early a commit, never too late a one.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

import apsw

from muniment.document import from_microseconds, rfc3339
from muniment.durable import sync_folder
from muniment.errors import LostWrites
from muniment.storage.base import Identity, Lineage, Snapshot
from muniment.storage.sqlite.files import REACH
from muniment.storage.sqlite.spans import lost_at_the_end
from muniment.storage.sqlite.state import State, identity_facts, read_snapshot, read_state, write_facts

_SLOT: Final = Struct("<8sQ16sQQq8s")  # magic, turn, lineage, commits, etag, time, checksum
_SUMMED: Final = Struct("<8sQ16sQQq")  # all before the checksum
_MAGIC: Final = b"MunReach"
_APART: Final = 4096  # so that a write cut off by a power failure spoils only one of the two slots
_HINT: Final = (
    "restore the last backup into a new folder; or if its files were copied or put back by hand, do that again with all"
    " of them while the database is closed; or keep a copy of the folder and go on without what is missing:"
    " `muniment check FOLDER --accept-loss`"
)


class Reached(NamedTuple):
    """The last commit that was acknowledged: its number, and the last etag and its time (microseconds)."""

    lineage: bytes
    commits: int
    etag: int
    modified: int

    @classmethod
    def of(cls, lineage: str, snapshot: Snapshot) -> Reached:
        """The reach of this snapshot."""
        return cls(lineage_key(lineage), snapshot.rows.bytes, snapshot.etag, snapshot.modified)


class Reach:
    """The file, open for writing; made if it is not there."""

    def __init__(self, folder: Path) -> None:
        new = not (folder / REACH).exists()
        self._descriptor = os.open(folder / REACH, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            slots = _slots(os.pread(self._descriptor, 2 * _APART, 0))
            self._turn = max((turn for turn, _ in slots), default=0)
            if os.fstat(self._descriptor).st_size < 2 * _APART:
                os.pwrite(self._descriptor, bytes(2 * _APART), 0)
            os.fsync(self._descriptor)
            if new:
                sync_folder(folder)
        except BaseException:
            self.close()
            raise

    def write(self, reached: Reached) -> None:
        """Record this. A failure is ignored: the commit itself is on disk, and the next one is recorded again."""
        self._turn += 1
        try:
            os.pwrite(self._descriptor, _packed(self._turn, reached), self._turn % 2 * _APART)
        except OSError:
            return

    def sync(self) -> None:
        """Bring it to disk."""
        with suppress(OSError):
            os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


@lru_cache(16)
def lineage_key(lineage: str) -> bytes:
    """The bytes that stand for a lineage in the file."""
    return hashlib.blake2b(lineage.encode(), digest_size=16).digest()


def _packed(turn: int, reached: Reached) -> bytes:
    summed = _SUMMED.pack(_MAGIC, turn, *reached)
    return summed + hashlib.blake2b(summed, digest_size=8).digest()


def _slots(data: bytes) -> list[tuple[int, Reached]]:
    """The slots that are whole, each with its turn."""
    found = []
    for start in (0, _APART):
        slot = data[start : start + _SLOT.size]
        if len(slot) == _SLOT.size:
            magic, turn, lineage, commits, etag, modified, _ = _SLOT.unpack(slot)
            reached = Reached(lineage, commits, etag, modified)
            if magic == _MAGIC and _packed(turn, reached) == slot:
                found.append((turn, reached))
    return found


def read_reach(folder: Path) -> Reached | None:
    """What was recorded last; None when there is nothing, or it cannot be read."""
    try:
        data = (folder / REACH).read_bytes()
    except FileNotFoundError:
        return None
    return max(_slots(data), default=(0, None))[1]


def check_reach(connection: apsw.Connection, folder: Path) -> None:
    """Raises `LostWrites` if the database does not have everything that was acknowledged.

    Then it leaves a damaged write-ahead log as it is, since something in it may still be rescued.
    """
    try:
        _check(connection, folder)
    except LostWrites:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        raise


def _check(connection: apsw.Connection, folder: Path) -> None:
    reached = read_reach(folder)  # read before the database, which is always ahead of it
    state, snapshot = read_state(connection), read_snapshot(connection)
    if reached is None and state.open:  # another process may have made it meanwhile, just before its first commit
        reached = read_reach(folder)
        state, snapshot = read_state(connection), read_snapshot(connection)
    if reached is None:
        if state.open:
            raise LostWrites(
                f"the database in {folder} was copied while it was open, without {REACH}: it reaches etag"
                f" {snapshot.etag} of {_time(snapshot.modified)}, and what was written after that may be missing",
                _HINT,
            )
        if missing := lost_at_the_end(connection):  # a closed database is one file, which may have been copied alone
            raise LostWrites(
                f"{missing} acknowledged writes are missing in the database in {folder}: of the latest ones, which"
                f" reach etag {snapshot.etag} of {_time(snapshot.modified)}",
                _HINT,
                missing,
            )
    elif reached.lineage == lineage_key(state.identity.lineage):
        if reached.commits > snapshot.rows.bytes or reached.etag > snapshot.etag:  # the log itself may have lost a row
            raise LostWrites(_missing(folder, reached, snapshot), _HINT, max(0, reached.etag - snapshot.etag))
    elif reached.lineage not in _parents(state):
        raise LostWrites(
            f"{folder} held a later or another history of the database, through etag {reached.etag} of"
            f" {_time(reached.modified)}; the file there now, at etag {snapshot.etag} of {_time(snapshot.modified)}, is"
            " not part of it",
            _HINT,
        )


def go_on_without(connection: apsw.Connection, folder: Path, now: int) -> None:
    """Begin a new lineage of a database that has lost writes, at what it has; its etags go on after the lost ones."""
    reached, state, snapshot = read_reach(folder), read_state(connection), read_snapshot(connection)
    old, new = state.identity, str(uuid.uuid4())
    time, began = (rfc3339(from_microseconds(each)) for each in (snapshot.modified, max(now, snapshot.modified)))
    before = old.lineages or (Lineage(old.lineage, None, 0, None, None),)
    lineages = (*before, Lineage(new, old.lineage, snapshot.etag, time, began))
    facts = identity_facts(Identity(old.database_id, new, lineages))
    facts["last_etag"] = max(snapshot.etag, reached.etag if reached else snapshot.etag + lost_at_the_end(connection))
    facts["last_modified"] = max(snapshot.modified, reached.modified if reached else 0)
    facts["told_until"] = max(now, state.told_until)
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
    with connection:
        write_facts(connection, facts)
    reach = Reach(folder)
    reach.write(Reached.of(new, read_snapshot(connection)))
    reach.sync()
    reach.close()


def _parents(state: State) -> Sequence[bytes]:
    return [lineage_key(each.lineage) for each in state.identity.lineages[:-1]]


def _missing(folder: Path, reached: Reached, snapshot: Snapshot) -> str:
    lost = reached.etag - snapshot.etag
    if lost <= 0:
        return (
            f"{reached.commits - snapshot.rows.bytes} acknowledged changes are missing in the database in {folder}: to"
            " its settings, to uploads or to what it remembers of backups; no document is missing"
        )
    return (
        f"{lost} acknowledged writes are missing in the database in {folder}: those after etag {snapshot.etag} of"
        f" {_time(snapshot.modified)}, through etag {reached.etag} of {_time(reached.modified)}"
    )


def _time(modified: int) -> str:
    return f"{from_microseconds(modified):%Y-%m-%d %H:%M:%S} UTC" if modified else "its beginning"
