"""Proof that a backup restores: it is restored, read as an application would read it, and thrown away."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Unpack

from muniment.backup.moment import NEWEST, PointKeywords, RestorePoint
from muniment.backup.plan import RestorePlan
from muniment.backup.records import write_down
from muniment.backup.restore import Restored, restore
from muniment.database import DocumentDatabase
from muniment.durable import mapped_errors
from muniment.errors import Damaged, DamagedBackup
from muniment.maintenance import MaintenanceActions
from muniment.progress import Progress
from muniment.security.encryption import EncryptionKey, new_key
from muniment.security.keyring import NO_KEYS, Keyring
from muniment.storage.base import system_clock

PAGE: Final = 100
PREFIX: Final = "muniment-rehearsal-"


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A restore that worked; `restored.seconds` is the time to recover, `seconds` that with the looking at it.

    `record` is the file beside the backups that says so. Where none can be written (the destination may be read-only),
    it is None, and `unrecorded` says why.
    """

    restored: Restored
    seconds: float
    record: Path | None
    unrecorded: str | None = None


def look(folder: Path, key: EncryptionKey | None = None) -> list[str]:
    """What is wrong with a restored database: all of it is checked, and the first page of everything is read."""
    with DocumentDatabase(folder, create=False, read_only=True, key=key) as database:
        return database.check() or list(_unread(database))


def rehearse(
    source: str | Path | RestorePlan,
    *,
    point: RestorePoint = NEWEST,
    place: str | Path | None = None,
    look: Callable[[Path], list[str]] | None = None,
    keyring: Keyring = NO_KEYS,
    progress: Progress | None = None,
    clock: Callable[[], int] = system_clock,
    **named: Unpack[PointKeywords],
) -> Rehearsal:
    """Really restore the newest moment, one that is named, or a plan, into a folder in `place`, and delete it again.

    The restored database is checked against itself, and documents of every collection and attachments are read from it
    through `DocumentDatabase`; or `look` is given its folder, and returns what is wrong with it. When this returns, the
    restore worked, and a new object `rehearsal-….json` beside the backups says so, if one can be written there. Raises
    what the restore raises, and `DamagedBackup` when something was found; damage is written down in such a record too.
    What is restored of encrypted backups is encrypted on disk, unless somebody's own `look` is to open it.
    `place` is the system's folder for temporary files if it is not given.
    """
    plan = MaintenanceActions.plan_restore(source, point=point, keyring=keyring, **named)
    progress = progress or Progress()
    try:
        restored = _try(plan, Path(place) if place else None, look, progress)
    except Damaged as error:
        write_down("rehearsal", plan.chain, plan.backup, clock, progress.seconds, problem=error.message)
        raise
    proof = restored.moment, restored.fingerprint
    told = write_down("rehearsal", plan.chain, plan.backup, clock, restored.seconds, proven=proof)
    return Rehearsal(restored, progress.seconds, *told)


def _try(
    plan: RestorePlan, place: Path | None, other: Callable[[Path], list[str]] | None, progress: Progress
) -> Restored:
    # What is encrypted in the backups is not in clear on this machine's disk either, not even for a moment.
    key = new_key() if plan.encrypted and other is None else None
    with mapped_errors(place or plan.place), tempfile.TemporaryDirectory(prefix=PREFIX, dir=place) as temporary:
        target = Path(temporary) / "restored"
        restored = restore(plan, target, progress=progress, key=key)
        progress.stage = "looking at it"
        if problems := other(target) if other else look(target, key):
            raise DamagedBackup(
                f"the database restored from {restored.backup.folder} is not as it should be: {problems[0]}",
                "restore from another backup, or another copy of this one",
            )
    progress.finish()
    return restored


def _unread(database: DocumentDatabase) -> Iterator[str]:
    found = database.statistics()
    for collection, count in found.collections.items():
        documents = database.by_collection(collection, limit=PAGE) if collection else database.by_etag(limit=PAGE)
        if len(documents) < min(count, PAGE):
            yield f"of {count} documents in {collection!r}, {len(documents)} were found"
        for document in documents:
            if database.get(document.id) != document:
                yield f"{document.id!r} is not the same by id and in {collection!r}"
    attachments = database.attachments(limit=PAGE)
    if len(attachments) < min(found.attachments, PAGE):
        yield f"of {found.attachments} attachments, {len(attachments)} were found"
    for attachment in attachments:
        if sum(map(len, attachment.chunks())) != attachment.size:
            yield f"the content of {attachment.key!r} is not whole"
