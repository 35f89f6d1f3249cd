"""What keeps a database safe: backups while it is in use, restores, and verification."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Unpack

import msgspec

from muniment.backup.alerts import NO_POLICY, Alert, alerts
from muniment.backup.alerts import Policy as AlertPolicy
from muniment.backup.child import (
    backup_in_child,
    compact_in_child,
    copy_in_child,
    merge_in_child,
    rekey_in_child,
    restore_in_child,
)
from muniment.backup.copying import Copied, copy_backups
from muniment.backup.destination import place_of
from muniment.backup.differences import Differences, differences
from muniment.backup.expire import GRACE, Expired, expire
from muniment.backup.job import Job, JobStatus, amount, with_hint
from muniment.backup.merge import merge_backups
from muniment.backup.moment import NEWEST, PointKeywords, RestorePoint, Zone, point_of
from muniment.backup.plan import RestorePlan
from muniment.backup.query import LIMIT, Answer, query_backup
from muniment.backup.recoverability import Recoverability, recoverability, room_in
from muniment.backup.repository import Backup, backups, backups_in
from muniment.backup.restore import Restored, restore
from muniment.backup.restore_into import Comparison, OnConflict, RestoredInto, check_database, check_policy, compared
from muniment.backup.restore_plan import plan_restore
from muniment.backup.retention import Policy
from muniment.backup.selection import Selection, check_selection
from muniment.backup.take import take_backup
from muniment.backup.verify import Verified, verify
from muniment.backup.versions import Version, attachment_content, attachments_in, version_at, versions_in
from muniment.document import encode, from_microseconds
from muniment.errors import BackupRunning, Cancelled, InvalidInput, MunimentError
from muniment.fingerprint import Fingerprint
from muniment.limits import LEAST_PRIORITY, NO_LIMITS, Limits
from muniment.progress import Progress
from muniment.revision import ATTACHMENT, DOCUMENT, Revision
from muniment.security.encryption import EncryptionKey
from muniment.security.keyring import NO_KEYS, UNPROTECTED, Keyring, Protection
from muniment.security.recipients import Key
from muniment.storage import engines
from muniment.storage.base import Snapshot, Storage, system_clock
from muniment.storage.location import location_of

NICENESS: Final = 5
_KEY_IS_IN_IT: Final = "warning: the key of the database is in the backup, for whoever can open or read that"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupStatus(JobStatus):
    """A moment of a backup. See `JobStatus`."""


class BackupOperation(Job[Backup]):
    """A backup that runs. See `Job`. `backups` are those that are complete: of several places, one in each."""

    def __init__(self, *told: Any) -> None:
        super().__init__(*told)
        self.backups: list[Backup] = []

    @property
    def status(self) -> BackupStatus:
        """How far it is."""
        return BackupStatus(**asdict(super().status))


class MaintenanceActions:
    """Backups of one database; `restore`, `verify`, `compact` and others need none and are called on the class."""

    def __init__(self, storage: Storage, name: str, clock: Callable[[], int], folder: Path | None = None) -> None:
        """`folder` is where a moment is restored to be compared, the system's temporary one if it is not given."""
        self._storage = storage
        self._name = name
        self._clock = clock
        self._place = folder or Path(tempfile.gettempdir())
        self._lock = threading.Lock()
        self._backup: BackupOperation | None = None

    def start_backup(
        self,
        destination: str | Path,
        *,
        also: Iterable[str | Path] = (),
        incremental: bool = False,
        new_chain: bool = False,
        skip_damaged: bool = False,
        protection: Protection = UNPROTECTED,
        in_child: bool = False,
        niceness: int | None = None,
        in_clear: bool = False,
        include_encryption_key: bool = False,
        document: Mapping[str, Any] | None = None,
        limits: Limits = NO_LIMITS,
        begin: Callable[[BackupOperation], object] = Job.start,
    ) -> BackupOperation:
        """Begin a backup of the state of this moment into a folder, or a prefix of a store, and return at once.

        An incremental one holds what changed since the last backup in that folder; where there is none, or something
        might be missed, or the chain is not whole, it is a full one, and the manifest's `reason` says why. A full one
        begins a chain of its own. Reading and writing go on; the backup is the state at its start, and one of its
        `messages` names the etag. Raises `BackupRunning` while another one runs.

        All that is read is proven to be what was written, and the backup fails where it is not, unless `skip_damaged`
        says to leave that out, which the manifest's `skipped` tells then. `new_chain` says that a folder where the
        database remembers backups may have none. See `muniment.backup.take.take_backup`.

        `also` are further places, each with a chain of its own. A backup is put into each, one after the other, and
        what fails in one does not keep it from the next; but then the job has failed. Its result is the first backup,
        its `backups` are all.

        `protection` says whom it is encrypted for, and who signs it. Where it says nothing, one of an encrypted
        database is encrypted with the database's key, and beside one that is encrypted there is none (`WrongKey`);
        `in_clear` says that it is not to be encrypted. The key of an encrypted database is in no backup, unless
        `include_encryption_key` asks for it, as RavenDB has it: then whoever opens the backup has the key too.

        It works in a thread of this process, or with `in_child` in a process of its own, which leaves this one its
        processor and memory and has this `niceness` (0 to 19, 5 if it is not given); it takes the system's time, not
        the database's `clock`.
        `limits` say how many bytes a second it reads and writes, and in which hours it works; the `limits` of the job
        may be set while it runs.
        `document` is what the backup keeps as the database's document, its settings if it is not given. A server has
        `begin` start the backup, when its turn comes.
        """
        places = [place_of(each) for each in (destination, *also)]
        given_way = _niceness(niceness if limits.niceness is None else limits.niceness, in_child=in_child)
        if in_clear and protection.recipients:
            raise InvalidInput("a backup in clear is for anybody, and has no recipients", "leave one of the two out")
        own = self._storage.key and Key(self._storage.key.secret)
        protection = msgspec.structs.replace(protection, database_key=own, in_clear=in_clear or protection.in_clear)
        kept = encode(self._document(document, include_encryption_key=include_encryption_key))
        kind = "incremental backup" if incremental else "backup"

        def pinned(snapshot: Snapshot) -> None:
            found = snapshot.fingerprint
            counts = f"{_counted(found, DOCUMENT, 'document')}, {_counted(found, ATTACHMENT, 'attachment')}"
            operation.say(f"The backup will hold the state at etag {snapshot.etag:,}: {counts}")

        def take(job: Job[Backup]) -> Backup:
            if holder := self._storage.take("backup"):
                raise BackupRunning(
                    f"{holder} takes a backup of {self._name} already",
                    "wait for it, or cancel it there; if it was killed, this is held for a minute at most",
                )
            try:
                return take_all(job)
            finally:
                with suppress(MunimentError):
                    self._storage.give_back("backup")

        def take_all(job: Job[Backup]) -> Backup:
            failed: list[MunimentError] = []
            for place in places:
                try:
                    backup = take_into(place, job)
                except MunimentError as error:
                    if len(places) == 1 or isinstance(error, Cancelled):
                        raise
                    failed.append(error)
                    job.say(f"Failed to complete the backup to {place} because: {with_hint(error)}")
                else:
                    operation.backups.append(backup)
                    for text in _completed(backup, job.progress) if len(places) > 1 else ():
                        job.say(text)
            if failed:
                raise failed[0]
            return operation.backups[0]

        def take_into(place: Path, job: Job[Backup]) -> Backup:
            take = partial(backup_in_child, niceness=given_way) if in_child else partial(take_backup, clock=self._clock)
            taken = take(
                self._storage,
                place,
                name=self._name,
                database_document=kept,
                incremental=incremental,
                new_chain=new_chain,
                skip_damaged=skip_damaged,
                protection=protection,
                progress=job.progress,
                pinned=pinned,
            )
            return replace(taken, notes=(*taken.notes, _KEY_IS_IN_IT)) if include_encryption_key else taken

        with self._lock:
            if self._backup and self._backup.running:
                raise BackupRunning(f"a backup of {self._name} is already running", "wait for it, or cancel it")
            operation = BackupOperation("backup", take, partial(_closing, places))
            operation.limits = limits
            operation.say(f"Started {kind} of {self._name}. Destination: {', '.join(map(str, places))}")
            begin(operation)
            self._backup = operation
        return operation

    def _document(self, given: Mapping[str, Any] | None, *, include_encryption_key: bool) -> dict[str, Any]:
        """What a backup keeps as the database's document."""
        document = dict(given if given is not None else {"Id": self._name, "Settings": self._storage.settings})
        if include_encryption_key:
            key = self._storage.key
            if key is None:
                raise InvalidInput(f"the database {self._name} has no key to include", "leave it out")
            secured = {"Raven/Encryption/Key": key.text, "Raven/Encryption/Algorithm": key.algorithm.value}
            document["SecuredSettings"] = secured
        return document

    def close(self) -> None:
        """Cancel a backup that is running, and wait until it has ended."""
        with self._lock:
            if self._backup:
                self._backup.cancel()
                self._backup.join()

    @contextmanager
    def compare(
        self,
        source: str | Path | RestorePlan,
        *,
        point: RestorePoint = NEWEST,
        selection: Selection | None = None,
        other_database: bool = False,
        keyring: Keyring = NO_KEYS,
        progress: Progress | None = None,
        **named: Unpack[PointKeywords],
    ) -> Iterator[Comparison]:
        """Within it, this database is compared with a moment of its backups, or with the selected part of that.

        The `difference` of what it gives says what restoring would add, change and delete; `write` does it. The moment
        is named as for `restore`, and read and proven as there. Raises `ForeignBackup` when the backups are those of
        another database, unless `other_database` says that this is meant.
        """
        check_selection(selection)
        plan = self.plan_restore(source, point=point, keyring=keyring, **named)
        if not other_database:
            check_database(plan, self._storage, self._name)
        with compared(self._storage, plan, self._place, selection=selection, progress=progress) as comparison:
            yield comparison

    def restore_into(
        self,
        source: str | Path | RestorePlan,
        *,
        on_conflict: OnConflict,
        point: RestorePoint = NEWEST,
        selection: Selection | None = None,
        other_database: bool = False,
        keyring: Keyring = NO_KEYS,
        progress: Progress | None = None,
        **named: Unpack[PointKeywords],
    ) -> RestoredInto:
        """Bring a moment of the backups, or the selected part of it, back into this database, as one transaction.

        `skip` adds what is missing and leaves the rest alone, `overwrite` makes the part exactly what it was, deletions
        included, and `fail` adds, but raises `Conflict` when anything was changed or deleted since. When this raises,
        nothing was written. Reading and writing go on meanwhile; what somebody writes to the same ids after they were
        compared is never overwritten, but raises `Conflict`. See `compare` for the rest.
        """
        check_policy(on_conflict)
        progress = progress or Progress()
        with self.compare(
            source,
            point=replace(point, **named),
            selection=selection,
            other_database=other_database,
            keyring=keyring,
            progress=progress,
        ) as comparison:
            return comparison.write(on_conflict, progress)

    def recoverability(self) -> Recoverability:
        """How far the database could be recovered from the folders it was backed up to, and what to do next.

        See `muniment.backup.recoverability`: manifests and records are read, nothing is changed.
        """
        snapshot, facts = self._storage.snapshot(), self._storage.backup_facts()
        history = self._storage.kept_history() if self._storage.history.kept else None
        found = recoverability(self._name, self._storage.identity, snapshot, facts, self._clock(), history)
        size, room = self._storage.file_bytes, room_in(self._storage.folder)
        return msgspec.structs.replace(found, file_bytes=size, room=room)

    def alerts(self, policy: AlertPolicy = NO_POLICY) -> list[Alert]:
        """What is wrong with the backups of the database, the most urgent first; the policy says what is asked for.

        Which jobs have failed is what their operations tell: no database remembers it.
        """
        return alerts(self.recoverability(), policy, from_microseconds(self._clock()))

    @staticmethod
    def restore(
        source: str | Path | RestorePlan,
        destination: str | Path,
        *,
        point: RestorePoint = NEWEST,
        selection: Selection | None = None,
        defrag: bool = False,
        new_id: bool = False,
        keyring: Keyring = NO_KEYS,
        progress: Progress | None = None,
        clock: Callable[[], int] = system_clock,
        key: EncryptionKey | None = None,
        in_child: bool = False,
        niceness: int | None = None,
        limits: Limits = NO_LIMITS,
        **named: Unpack[PointKeywords],
    ) -> Restored:
        """Make a new database in a new folder from the newest moment in `source`, or the one that is named.

        `at` is a time with a zone, `etag` a transaction's last etag, `backup` the name of a backup whose end is meant;
        `lineage` says of which history, by the first letters of its id, where several have that moment. `selection`
        says which part of it to restore. With `new_id` it becomes another database, as RavenDB's
        `GenerateNewDatabaseId` says, with a `key` an encrypted one. `keyring` has what opens encrypted backups, and
        whom to trust. A plan in the place of the folder is restored as it is. See `muniment.backup.restore.restore` for
        what holds afterwards. `in_child`, `niceness` and `limits` are those of `start_backup`; those of the
        `progress` may be set while it runs. Raises `InvalidInput` for a folder inside that of another database.
        """
        check_selection(selection)
        given_way = _niceness(niceness if limits.niceness is None else limits.niceness, in_child=in_child)
        progress = _limited(progress, limits)
        target = location_of(destination)
        engines.check_outside(target)
        plan = MaintenanceActions.plan_restore(source, point=point, keyring=keyring, **named)
        restoring = partial(restore_in_child, niceness=given_way) if in_child else partial(restore, clock=clock)
        return restoring(
            plan,
            target,
            selection=selection,
            defrag=defrag,
            new_id=new_id,
            progress=progress,
            key=key,
        )

    @staticmethod
    def compact(
        folder: str | Path,
        *,
        key: EncryptionKey | None = None,
        in_child: bool = False,
        niceness: int | None = None,
        progress: Progress | None = None,
    ) -> tuple[int, int]:
        """Rewrite the database in this folder, which has `key`, without gaps; returns its bytes before and after.

        It needs as much room again meanwhile. The new file takes the old one's place when it is proven to be the same:
        when this raises, or the process dies, the database is as it was. Raises `DatabaseLocked` while it is open,
        in this process too: close it first. `in_child` and `niceness` are those of `start_backup`.
        """
        given_way = _niceness(niceness, in_child=in_child)
        if in_child:
            return compact_in_child(location_of(folder), key=key, progress=progress, niceness=given_way)
        return engines.compact(location_of(folder), key=key, progress=progress)

    @staticmethod
    def rotate_key(
        folder: str | Path,
        *,
        key: EncryptionKey | None,
        new_key: EncryptionKey | None,
        in_child: bool = False,
        niceness: int | None = None,
        progress: Progress | None = None,
    ) -> tuple[int, int]:
        """Give the database in this folder another key in place of `key`; returns its bytes before and after.

        Without `key` it was in clear, and without `new_key` it is that afterwards. It is rewritten beside itself and
        proven to be the same, so that after a failure, or a process that was killed, it is whole and has one of the two
        keys: keep both until this has returned. Raises `DatabaseLocked` while it is open. `in_child` and `niceness` are
        those of `start_backup`.
        """
        given_way = _niceness(niceness, in_child=in_child)
        if in_child:
            return rekey_in_child(location_of(folder), key, new_key, progress=progress, niceness=given_way)
        return engines.rekey(location_of(folder), key, new_key, progress=progress)

    @staticmethod
    def plan_restore(
        source: str | Path | RestorePlan,
        *,
        point: RestorePoint = NEWEST,
        keyring: Keyring = NO_KEYS,
        copies: Iterable[str | Path] = (),
        **named: Unpack[PointKeywords],
    ) -> RestorePlan:
        """Which backups a restore of this moment would read; raises what that restore would raise before it began.

        `copies` are other places with the same backups: what is damaged or missing in the first is read from there, and
        `Restored.notes` say so.

        But a plan can be made of backups that are encrypted and that the keyring does not open. A plan is given back as
        it is; raises `InvalidInput` when a moment is named beside it.
        """
        point = replace(point, **named)
        if not isinstance(source, RestorePlan):
            available = backups_in(source, copies, keyring)
            return plan_restore(available, str(source), point)
        if point.named:
            raise InvalidInput("a plan is of a moment already", "leave the moment out, or give the folder")
        return source

    @staticmethod
    def differences(
        source: str | Path,
        before: str,
        after: str,
        *,
        lineage: str | None = None,
        zone: Zone = None,
        keyring: Keyring = NO_KEYS,
        progress: Progress | None = None,
        clock: Callable[[], int] = system_clock,
    ) -> Differences:
        """What was added, changed and deleted between two moments, which are named as `point_of` reads them.

        `zone` is that of times without one, which are refused unless it is given. See
        `muniment.backup.differences.differences`. Nothing is restored.
        """
        available, now = backups(source, keyring), from_microseconds(clock())
        points = [point_of(text, available, str(source), lineage, zone, now) for text in (before, after)]
        plans = [plan_restore(available, str(source), point) for point in points]
        return differences(plans[0], plans[1], progress)

    def versions(self, id: str, *, keyring: Keyring = NO_KEYS) -> tuple[list[Version], list[str]]:
        """Every version of a document, in the log and in the backups that are remembered: see `versions_in`."""
        return versions_in(self._storage, id, keyring)

    def attachment_versions(self, owner: str, *, keyring: Keyring = NO_KEYS) -> tuple[list[Version], list[str]]:
        """Every version of each attachment of a document, in the log and in known backups: see `attachments_in`."""
        return attachments_in(self._storage, owner, keyring)

    def attachment_content(
        self, key: str, etag: int, lineage: str = "", *, keyring: Keyring = NO_KEYS
    ) -> tuple[Revision, Iterator[bytes]]:
        """A version of an attachment, and its content in parts; raises `DocumentNotFound` when there is none."""
        return attachment_content(self._storage, key, etag, lineage, keyring)

    @staticmethod
    def version(
        source: str | Path | RestorePlan,
        id: str,
        *,
        point: RestorePoint = NEWEST,
        keyring: Keyring = NO_KEYS,
        progress: Progress | None = None,
        **named: Unpack[PointKeywords],
    ) -> Version | None:
        """One document as it was at a moment of the backups, or its deletion: see `backup.versions.version_at`."""
        plan = MaintenanceActions.plan_restore(source, point=point, keyring=keyring, **named)
        return version_at(plan, id, progress)

    @staticmethod
    def query(
        source: str | Path | RestorePlan,
        sql: str,
        *,
        point: RestorePoint = NEWEST,
        limit: int = LIMIT,
        keyring: Keyring = NO_KEYS,
        progress: Progress | None = None,
        **named: Unpack[PointKeywords],
    ) -> Answer:
        """See `muniment.backup.query.query_backup`: SQL over the documents of a moment, without restoring it."""
        plan = MaintenanceActions.plan_restore(source, point=point, keyring=keyring, **named)
        return query_backup(plan, sql, limit=limit, progress=progress)

    @staticmethod
    def merge(
        source: str | Path,
        through: str,
        *,
        delete_merged: bool = False,
        keyring: Keyring = NO_KEYS,
        protection: Protection = UNPROTECTED,
        progress: Progress | None = None,
        clock: Callable[[], int] = system_clock,
        in_child: bool = False,
        limits: Limits = NO_LIMITS,
    ) -> Backup:
        """See `muniment.backup.merge.merge_backups`: one full backup out of a chain, without the database.

        `in_child` and `limits` are those of `start_backup`; those of the `progress` may be set while it runs.
        """
        given_way = _niceness(limits.niceness, in_child=in_child)
        merging = partial(merge_in_child, niceness=given_way) if in_child else partial(merge_backups, clock=clock)
        return merging(
            source,
            through,
            delete_merged=delete_merged,
            keyring=keyring,
            protection=protection,
            progress=_limited(progress, limits),
        )

    @staticmethod
    def expire(
        source: str | Path,
        policy: Policy,
        *,
        grace: int = GRACE,
        dry_run: bool = False,
        keyring: Keyring = NO_KEYS,
        protection: Protection = UNPROTECTED,
        progress: Progress | None = None,
        clock: Callable[[], int] = system_clock,
    ) -> Expired:
        """See `muniment.backup.expire.expire`: mark what the policy does not keep, and remove what was marked long ago.

        `grace` is that time in seconds.
        """
        return expire(
            place_of(source),
            policy,
            grace=grace,
            dry_run=dry_run,
            clock=clock,
            keyring=keyring,
            protection=protection,
            progress=progress,
        )

    @staticmethod
    def copy(
        source: str | Path,
        destination: str | Path,
        *,
        repair: bool = False,
        keyring: Keyring = NO_KEYS,
        progress: Progress | None = None,
        in_child: bool = False,
        limits: Limits = NO_LIMITS,
    ) -> Copied:
        """See `muniment.backup.copying.copy_backups`: backups brought to another place, or healed there.

        `in_child` and `limits` are those of `start_backup`; those of the `progress` may be set while it runs.
        """
        given_way = _niceness(limits.niceness, in_child=in_child)
        copying = partial(copy_in_child, niceness=given_way) if in_child else copy_backups
        progress = _limited(progress, limits)
        return copying(source, destination, repair=repair, keyring=keyring, progress=progress)

    @staticmethod
    def verify(
        source: str | Path | RestorePlan,
        *,
        point: RestorePoint = NEWEST,
        record: bool = True,
        keyring: Keyring = NO_KEYS,
        progress: Progress | None = None,
        clock: Callable[[], int] = system_clock,
        limits: Limits = NO_LIMITS,
        **named: Unpack[PointKeywords],
    ) -> Verified:
        """Read and check all backups in a folder, or with a moment named, or a plan, all that a restore would need.

        See `muniment.backup.verify.verify`. Its result is written as a new object beside the backups, unless
        `record` is False or nothing can be written there. `limits` are those of `start_backup`; its niceness is that of
        the processes that read, where there are any.
        """
        point = replace(point, **named)
        wanted: str | Path | RestorePlan
        if point.named or isinstance(source, RestorePlan):
            wanted = MaintenanceActions.plan_restore(source, point=point, keyring=keyring)
        else:
            wanted = source
        return verify(wanted, progress=_limited(progress, limits), clock=clock if record else None, keyring=keyring)


def _niceness(given: int | None, *, in_child: bool) -> int:
    """How far a child process stands back; raises `InvalidInput` where there is no child, or no such priority."""
    if given is None:
        return NICENESS
    if not in_child:
        raise InvalidInput("niceness is that of a child process", "pass in_child=True too, or leave it out")
    if not 0 <= given <= LEAST_PRIORITY:
        raise InvalidInput(f"there is no niceness {given}", f"pass a number from 0 to {LEAST_PRIORITY}")
    return given


def _limited(progress: Progress | None, limits: Limits) -> Progress:
    """The progress with these limits; without any it keeps those that it has."""
    progress = progress or Progress()
    if limits is not NO_LIMITS:
        progress.limits = limits
        progress.hold()  # until its hours begin
    return progress


def _closing(places: Sequence[Path], job: Job[Backup]) -> Iterator[str]:
    if job.error:
        yield f"Failed to complete the backup because: {with_hint(job.error)}"
    elif len(places) == 1:
        yield from _completed(job.result, job.progress)
    else:
        yield f"The backups to all {len(places)} places are complete"


def _completed(backup: Backup, progress: Progress) -> Iterator[str]:
    yield from (f"Note: {note}" for note in backup.notes)
    kind = f"{backup.manifest.kind} ({backup.manifest.reason})"
    yield f"Backup completed: {kind}, {amount(progress)} in {progress.seconds:.1f} s, in {backup.folder}"


def _counted(found: Fingerprint, kind: int, noun: str) -> str:
    number = found.count(kind)
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
