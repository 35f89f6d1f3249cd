"""Backups and what is done with them, in a child process: a server keeps its processor and memory for requests.

The child reads the same file and writes the backup. What only the writer of a database can do (hold a snapshot, note
down a backup) it asks of its parent. It stops, and removes what it wrote, when its parent cancels the work, or dies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from muniment.backup.copying import Copied, copy_backups
from muniment.backup.destination import decoded, encoded, place_of
from muniment.backup.manifest import Manifest
from muniment.backup.merge import merge_backups
from muniment.backup.plan import RestorePlan, chain_of
from muniment.backup.reader import Moment
from muniment.backup.repository import Backup, read
from muniment.backup.restore import Restored, restore
from muniment.backup.selection import Selection
from muniment.backup.take import take_backup
from muniment.errors import DamagedBackup, ErrorRecord, MunimentError, unicode
from muniment.fingerprint import Fingerprint
from muniment.progress import Counts, Progress
from muniment.revision import ATTACHMENT, DOCUMENT
from muniment.security.encryption import EncryptionKey
from muniment.security.keyring import NO_KEYS, UNPROTECTED, Keyring, Protection
from muniment.security.recipients import Opened
from muniment.storage import engines
from muniment.storage.base import BackupPlace, Snapshot, Storage, system_clock
from muniment.telling import telling
from muniment.workers import GRACE_SECONDS, Parent, Worker

_Folder: TypeAlias = bytes  # as the operating system calls it, which need not be Unicode, or an address


class _Backup(msgspec.Struct):
    """A backup that is to be taken."""

    folder: _Folder
    destination: _Folder
    name: str
    database_document: bytes
    incremental: bool
    new_chain: bool
    skip_damaged: bool
    key: EncryptionKey | None
    protection: Protection


class _Restore(msgspec.Struct):
    """A plan, as the folders of its backups and where to stop in the last of them, and what to make of it."""

    chain: list[_Folder]
    copies: list[list[_Folder]]
    upto: int | None
    at: int | None
    target: _Folder
    selection: Selection | None
    defrag: bool
    new_id: bool
    key: EncryptionKey | None
    manifests: list[str]
    keys: Keyring

    def plan(self) -> RestorePlan:
        """The same plan again; raises `DamagedBackup` when it is no longer the same, for who made it was checked."""
        chain = [read(decoded(folder), self.keys) for folder in self.chain]
        for backup, sha256 in zip(chain, self.manifests, strict=True):
            if backup.sha256 != sha256:
                raise DamagedBackup(f"the manifest in {backup.folder} was changed meanwhile", "see who changed it")
        copies = [tuple(map(decoded, folders)) for folders in self.copies]
        chain = [replace(backup, copies=others) for backup, others in zip(chain, copies, strict=True)]
        return RestorePlan(chain_of(chain[-1], chain), self.upto, self.at)


class _Compact(msgspec.Struct):
    """A database that is to be rewritten; if `rekeyed`, it is to have `new_key` afterwards, which may be none."""

    folder: _Folder
    key: EncryptionKey | None
    rekeyed: bool = False
    new_key: EncryptionKey | None = None


class _Merge(msgspec.Struct):
    """A chain that is to become one full backup."""

    source: _Folder
    through: str
    delete_merged: bool
    keys: Keyring
    protection: Protection


class _Copy(msgspec.Struct):
    """Backups that are to be brought to another place, or healed there."""

    source: _Folder
    destination: _Folder
    repair: bool
    keys: Keyring


class _Pin(msgspec.Struct, tag=True):
    keep: int | None


class _Pinned(msgspec.Struct, tag=True):
    """A snapshot that the parent holds until the child has ended."""

    etag: int
    modified: int
    fingerprint: dict[str, Any]
    history_from: int
    tombstones_from: int
    until: int


class _Remember(msgspec.Struct, tag=True):
    sha256: str
    place: BackupPlace | None
    end: tuple[int, int] | None


class _BackedUp(msgspec.Struct, tag=True):
    through: int


class _Noted(msgspec.Struct, tag=True):
    """The parent has done what it was asked for."""


class _Taken(msgspec.Struct, tag=True):
    """The backup; what is encrypted of its manifest is open in this one."""

    folder: _Folder
    manifest: Manifest
    notes: list[str]


class _Restored(msgspec.Struct, tag=True):
    etag: int
    modified: int
    notes: list[str]


class _Copied(msgspec.Struct, tag=True):
    copied: list[_Folder]
    present: list[_Folder]
    repaired: list[_Folder]
    bytes: int
    seconds: float
    notes: list[str]


class _Compacted(msgspec.Struct, tag=True):
    before: int
    after: int


_Asked: TypeAlias = _Pin | _Remember | _BackedUp
_ANSWERS: Final = _Pinned | _Noted | ErrorRecord


def backup_in_child(
    storage: Storage,
    destination: str | Path,
    *,
    name: str,
    database_document: bytes,
    incremental: bool = False,
    new_chain: bool = False,
    skip_damaged: bool = False,
    protection: Protection = UNPROTECTED,
    progress: Progress | None = None,
    niceness: int = 0,
    pinned: Callable[[Snapshot], object] = lambda snapshot: None,
) -> Backup:
    """`take.take_backup` in a process of its own; `pinned` is told the moment that the backup will hold."""
    folders = encoded(storage.folder), encoded(place_of(destination))
    wanted = _Backup(*folders, name, database_document, incremental, new_chain, skip_damaged, storage.key, protection)
    with ExitStack() as held, _working(_back_up, _Asked | _Taken, "takes the backup", progress, niceness) as worker:
        worker.tell(wanted)
        while not isinstance(said := worker.hear(), _Taken):
            worker.tell(_answered(said, storage, held, pinned))
    return replace(read(decoded(said.folder)), manifest=said.manifest, notes=tuple(said.notes))


def _answered(
    asked: _Asked, storage: Storage, held: ExitStack, pinned: Callable[[Snapshot], object]
) -> _Pinned | _Noted | ErrorRecord:
    """What the child is told; that it could not be done is for the child to act upon."""
    try:
        match asked:
            case _Pin():
                snapshot = held.enter_context(storage.pin(asked.keep))
                with telling("the moment that a backup will hold"):
                    pinned(snapshot)
                watermarks = snapshot.history_from, snapshot.tombstones_from
                fingerprint = snapshot.fingerprint.as_json()
                return _Pinned(snapshot.etag, snapshot.modified, fingerprint, *watermarks, snapshot.until)
            case _Remember():
                storage.remember_backup(asked.sha256, asked.place, asked.end)
            case _BackedUp():
                storage.backed_up(asked.through)
    except MunimentError as error:
        return ErrorRecord.of(error)
    return _Noted()


def restore_in_child(
    plan: RestorePlan,
    target: Path,
    *,
    selection: Selection | None = None,
    defrag: bool = False,
    new_id: bool = False,
    progress: Progress | None = None,
    niceness: int = 0,
    key: EncryptionKey | None = None,
) -> Restored:
    """`restore.restore` in a process of its own.

    The progress then tells what is in the new database, where before it told what was read.
    """
    progress = progress or Progress()
    chain = [encoded(backup.folder) for backup in plan.chain]
    copies = [list(map(encoded, backup.copies)) for backup in plan.chain]
    wanted = _Restore(
        chain, copies, plan.upto, plan.at, encoded(target), selection, defrag, new_id, key, *_proven(plan)
    )
    with _working(_restore, _Restored, "restores", progress, niceness) as worker:
        worker.tell(wanted)
        told = worker.hear()
    seconds = progress.seconds
    with closing(engines.open(target, read_only=True, key=key)) as storage:
        fingerprint = storage.snapshot().fingerprint
    notes = tuple(dict.fromkeys((*plan.notes, *plan.elsewhere, *told.notes)))
    return Restored(target, plan.backup, Moment(told.etag, told.modified), fingerprint, seconds, notes)


def _proven(plan: RestorePlan) -> tuple[list[str], Keyring]:
    """The manifests that a plan was made from, and the keys that open them. Raises `WrongKey` without one."""
    for backup in plan.chain:
        backup.check_open()
    keys = tuple(Opened(backup.key.secret) for backup in plan.chain if backup.key)
    return [backup.sha256 for backup in plan.chain], Keyring(keys)


def merge_in_child(
    source: str | Path,
    through: str,
    *,
    delete_merged: bool = False,
    keyring: Keyring = NO_KEYS,
    protection: Protection = UNPROTECTED,
    progress: Progress | None = None,
    niceness: int = 0,
) -> Backup:
    """`merge.merge_backups` in a process of its own."""
    wanted = _Merge(encoded(place_of(source)), through, delete_merged, keyring, protection)
    with _working(_merge, _Taken, "merges backups", progress, niceness) as worker:
        worker.tell(wanted)
        told = worker.hear()
    folder = decoded(told.folder)
    return Backup(folder, told.manifest, read(folder, keyring).sha256, notes=tuple(told.notes))


def copy_in_child(
    source: str | Path,
    destination: str | Path,
    *,
    repair: bool = False,
    keyring: Keyring = NO_KEYS,
    progress: Progress | None = None,
    niceness: int = 0,
) -> Copied:
    """`copying.copy_backups` in a process of its own."""
    wanted = _Copy(encoded(place_of(source)), encoded(place_of(destination)), repair, keyring)
    with _working(_copy, _Copied, "copies backups", progress, niceness) as worker:
        worker.tell(wanted)
        told = worker.hear()
    copied, present, repaired = (tuple(map(decoded, folders)) for folders in (told.copied, told.present, told.repaired))
    return Copied(copied, present, repaired, told.bytes, told.seconds, tuple(told.notes))


def compact_in_child(
    folder: Path,
    *,
    key: EncryptionKey | None = None,
    progress: Progress | None = None,
    niceness: int = 0,
) -> tuple[int, int]:
    """`engines.compact` in a process of its own."""
    return _rewritten(_Compact(encoded(folder), key), "compacts the database", progress, niceness)


def rekey_in_child(
    folder: Path,
    key: EncryptionKey | None,
    new_key: EncryptionKey | None,
    *,
    progress: Progress | None = None,
    niceness: int = 0,
) -> tuple[int, int]:
    """`engines.rekey` in a process of its own."""
    wanted = _Compact(encoded(folder), key, rekeyed=True, new_key=new_key)
    return _rewritten(wanted, "gives the database another key", progress, niceness)


def _rewritten(wanted: _Compact, does: str, progress: Progress | None, niceness: int) -> tuple[int, int]:
    with _working(_compact, _Compacted, does, progress, niceness) as worker:
        worker.tell(wanted)
        compacted = worker.hear()
    return compacted.before, compacted.after


@contextmanager
def _working(
    function: Callable[[Parent], None], says: Any, does: str, progress: Progress | None, niceness: int
) -> Iterator[Worker[Any]]:
    progress = progress or Progress()
    progress.check()
    with Worker[Any](function, says, does=does, progress=progress, grace=GRACE_SECONDS, niceness=niceness) as worker:
        yield worker
    progress.finish()


class _SharedStorage:
    """A storage that is read here; the parent does for it what only the writing process can."""

    def __init__(self, storage: Storage, parent: Parent) -> None:
        self._storage = storage
        self._parent = parent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def _ask(self, asked: _Asked) -> Any:
        """Ask the parent to do it; raises what it raised there, and `Cancelled` when the parent is gone."""
        self._parent.say(asked)
        answer: Any = self._parent.hear(_ANSWERS)  # type: ignore[arg-type]
        if isinstance(answer, ErrorRecord):
            raise answer.error()
        return answer

    @contextmanager
    def pin(self, keep: int | None = None) -> Iterator[Snapshot]:
        """The parent holds it, until this process ends."""
        told: _Pinned = self._ask(_Pin(keep))
        fingerprint = Fingerprint.from_json(told.fingerprint)
        yield Snapshot(told.etag, told.modified, fingerprint, told.history_from, told.tombstones_from, told.until)

    def remember_backup(
        self, sha256: str, place: BackupPlace | None = None, end: tuple[int, int] | None = None
    ) -> None:
        """See `base.Storage`."""
        self._ask(_Remember(sha256, place, end))

    def backed_up(self, through: int) -> None:
        """See `base.Storage`."""
        self._ask(_BackedUp(through))


def _back_up(parent: Parent) -> None:
    wanted = parent.hear(_Backup)
    with (
        closing(engines.open(decoded(wanted.folder), clock=system_clock, read_only=True, key=wanted.key)) as storage,
        parent.reporting() as progress,
    ):
        taken = take_backup(
            _SharedStorage(storage, parent),
            decoded(wanted.destination),
            name=wanted.name,
            database_document=wanted.database_document,
            clock=system_clock,
            incremental=wanted.incremental,
            new_chain=wanted.new_chain,
            skip_damaged=wanted.skip_damaged,
            protection=wanted.protection,
            progress=progress,
        )
    parent.say(_Taken(encoded(taken.folder), taken.manifest, list(map(unicode, taken.notes))))


def _restore(parent: Parent) -> None:
    wanted = parent.hear(_Restore)
    with parent.reporting() as progress:
        restored = restore(
            wanted.plan(),
            decoded(wanted.target),
            selection=wanted.selection,
            defrag=wanted.defrag,
            new_id=wanted.new_id,
            progress=progress,
            key=wanted.key,
        )
        held = restored.fingerprint
        documents, size = held.count(DOCUMENT), held.size(DOCUMENT) + held.size(ATTACHMENT)
        progress.counts = Counts(documents, held.count(ATTACHMENT), size, documents, size)
    parent.say(_Restored(restored.moment.etag, restored.moment.modified, list(map(unicode, restored.notes))))


def _merge(parent: Parent) -> None:
    wanted = parent.hear(_Merge)
    with parent.reporting() as progress:
        merged = merge_backups(
            decoded(wanted.source),
            wanted.through,
            clock=system_clock,
            delete_merged=wanted.delete_merged,
            keyring=wanted.keys,
            protection=wanted.protection,
            progress=progress,
        )
    parent.say(_Taken(encoded(merged.folder), merged.manifest, list(map(unicode, merged.notes))))


def _copy(parent: Parent) -> None:
    wanted = parent.hear(_Copy)
    with parent.reporting() as progress:
        done = copy_backups(
            decoded(wanted.source),
            decoded(wanted.destination),
            repair=wanted.repair,
            keyring=wanted.keys,
            progress=progress,
        )
    copied, present, repaired = (list(map(encoded, folders)) for folders in (done.copied, done.present, done.repaired))
    parent.say(_Copied(copied, present, repaired, done.bytes, done.seconds, list(map(unicode, done.notes))))


def _compact(parent: Parent) -> None:
    wanted = parent.hear(_Compact)
    folder, key = decoded(wanted.folder), wanted.key
    with parent.reporting() as progress:
        if wanted.rekeyed:
            before, after = engines.rekey(folder, key, wanted.new_key, progress=progress)
        else:
            before, after = engines.compact(folder, key=key, progress=progress)
    parent.say(_Compacted(before, after))
