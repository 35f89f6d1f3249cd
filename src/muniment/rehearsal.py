"""Proof that a backup restores: it is restored, read as an application would read it, and thrown away."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Unpack

from muniment.backup.child import restore_in_child
from muniment.backup.moment import NEWEST, PointKeywords, RestorePoint
from muniment.backup.plan import RestorePlan
from muniment.backup.query import query_backup
from muniment.backup.records import write_down
from muniment.backup.restore import Restored, restore
from muniment.backup.summary import RehearsalSummary
from muniment.database import DocumentDatabase
from muniment.durable import mapped_errors
from muniment.errors import Damaged, DamagedBackup, InvalidInput
from muniment.maintenance import MaintenanceActions
from muniment.program import run_program
from muniment.progress import Progress
from muniment.security.encryption import EncryptionKey, new_key
from muniment.security.keyring import NO_KEYS, Keyring
from muniment.storage.base import system_clock

PAGE: Final = 100
PREFIX: Final = "muniment-rehearsal-"
SCRIPT_SECONDS: Final = 600


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A restore that worked; `restored.seconds` is the time to recover, `seconds` that with the looking at it.

    `record` is the file beside the backups that says so. Where none can be written (the destination may be read-only),
    it is None, and `unrecorded` says why.
    """

    restored: Restored
    plan: RestorePlan
    seconds: float
    record: Path | None
    unrecorded: str | None = None

    def summary(self) -> RehearsalSummary:
        """What there is to tell of it."""
        return RehearsalSummary.rehearsed(self.plan, self.restored, self.seconds, self.record, self.unrecorded)


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
    query: str | None = None,
    script: Sequence[str] = (),
    in_child: bool = False,
    **named: Unpack[PointKeywords],
) -> Rehearsal:
    """Really restore the newest moment, one that is named, or a plan, into a folder in `place`, and delete it again.

    The restored database is checked against itself, and documents of every collection and attachments are read from it
    through `DocumentDatabase`; or `look` is given its folder, and returns what is wrong with it. When this returns, the
    restore worked, and a new object `rehearsal-….json` beside the backups says so, if one can be written there. Raises
    what the restore raises, and `DamagedBackup` when something was found; damage is written down in such a record too.
    What is restored of encrypted backups is encrypted on disk, unless somebody's own `look` is to open it.
    `place` is the system's folder for temporary files if it is not given.

    `query` is SQL over the documents of that moment, as for `MaintenanceActions.query`: it fails unless the first value
    of its answer is true, or a number that is not 0. `script` is a command that gets the folder of the restored
    database as its last argument, and fails when it ends with another code than 0, or not within ten minutes; then
    nothing of it is encrypted. With `in_child` a process of its own restores it.
    """
    if script and look:
        raise InvalidInput("both a script and a function were given to check it", "give one of them")
    if script:
        look = partial(_look_with, tuple(script))
    plan = MaintenanceActions.plan_restore(source, point=point, keyring=keyring, **named)
    progress = progress or Progress()
    try:
        restored = _try(plan, Path(place) if place else None, look, progress, in_child=in_child)
        _check_answer(plan, query)
    except Damaged as error:
        write_down("rehearsal", plan.chain, plan.backup, clock, progress.seconds, problem=error.message)
        raise
    proof = restored.moment, restored.fingerprint
    told = write_down("rehearsal", plan.chain, plan.backup, clock, restored.seconds, proven=proof)
    return Rehearsal(restored, plan, progress.seconds, *told)


def _try(
    plan: RestorePlan,
    place: Path | None,
    other: Callable[[Path], list[str]] | None,
    progress: Progress,
    *,
    in_child: bool,
) -> Restored:
    # What is encrypted in the backups is not in clear on this machine's disk either, not even for a moment.
    key = new_key() if plan.encrypted and other is None else None
    with mapped_errors(place or plan.place), tempfile.TemporaryDirectory(prefix=PREFIX, dir=place) as temporary:
        target = Path(temporary) / "restored"
        restored = (restore_in_child if in_child else restore)(plan, target, progress=progress, key=key)
        progress.stage = "looking at it"
        if problems := other(target) if other else look(target, key):
            raise DamagedBackup(
                f"the database restored from {restored.backup.folder} is not as it should be: {problems[0]}",
                "restore from another backup, or another copy of this one",
            )
    progress.finish()
    return restored


def _check_answer(plan: RestorePlan, query: str | None) -> None:
    """Raises `DamagedBackup` unless the query says that all is well."""
    if query is None:
        return
    rows = query_backup(plan, query).rows
    value = rows[0][0] if rows and rows[0] else None
    if not value:
        raise DamagedBackup(
            f"the query of the rehearsal of {plan.backup.folder} answered {value!r}", "see what is wrong with the data"
        )


def _look_with(script: Sequence[str], folder: Path) -> list[str]:
    """What is wrong with a restored database: what we find, and what somebody's script says of it."""
    if problems := look(folder):
        return problems
    try:
        code, said = run_program([*script, os.fspath(folder)], seconds=SCRIPT_SECONDS)
    except TimeoutError as error:
        return [str(error)]
    except OSError as error:
        raise InvalidInput(f"{script[0]} could not be run: {error.strerror}", "name a program") from error
    return [f"{script[0]} ended with {code}{f': {said}' if said else ''}"] if code else []


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
