"""Proving backups without restoring them: every file is examined, and every chain must lead to its fingerprints.

Files are examined side by side, each for itself. What the proof of a chain needs beside the fingerprints of whole files
are the revisions that replaced others; those are put together in a temporary database.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any, Final

from muniment.backup.destination import encoded, place_of
from muniment.backup.examine import Faulty, Group, Task, Whole, examine_all
from muniment.backup.lease import leased
from muniment.backup.manifest import Manifest
from muniment.backup.mark import removed_in
from muniment.backup.plan import RestorePlan, chain_of
from muniment.backup.proof import missing_note
from muniment.backup.reader import HINT, Moment, check_files, moment_of
from muniment.backup.records import End, Record, records, write_down
from muniment.backup.repository import Backup, Backups, backups, unusable_in
from muniment.backup.restore_plan import plan_latest
from muniment.errors import DamagedBackup, MunimentError, StorageFailure, UnknownFormat
from muniment.fingerprint import Fingerprint
from muniment.progress import Progress
from muniment.revision import DOCUMENT
from muniment.security.keyring import NO_KEYS, Keyring
from muniment.storage.base import system_clock
from muniment.storage.scratch import Scratch, Shared, shared_scratch

NAMED_FAULTS: Final = 5
CHECK_STEPS: Final = 100_000  # of SQLite's machine: some milliseconds

_TABLE: Final = """
CREATE TABLE {0}.revision(backup TEXT, kind INTEGER, key TEXT, etag INTEGER, collection TEXT, size INTEGER, digest BLOB)
"""
# Each revision of a chain beside the one that it replaced.
_REPLACED: Final = """
SELECT backup, kind, etag, collection, size, digest, lag(collection) OVER history, lag(size) OVER history,
  lag(digest) OVER history
FROM (SELECT * FROM main.revision UNION ALL SELECT * FROM base.revision) JOIN chain USING(backup)
WINDOW history AS (PARTITION BY kind, key ORDER BY etag) ORDER BY etag
"""
_WHOLE: Final = "SELECT count(DISTINCT etag) FROM main.revision WHERE backup = ? AND etag > ?"


@dataclass(frozen=True, slots=True)
class Verified:
    """Backups that would restore: all that were read, and of the newest moment, or the one asked for, what it holds.

    `record` is the file beside the backups that says so, if one was asked for. Where none can be written (they may be
    on a medium that is only read), it is None, and `unrecorded` says why.

    Of the encrypted backups that nothing was given to open, `unproven`, only the files were compared with their
    manifests, and the links of the chains; where the newest moment is in one of those, its `state` is None.
    """

    backup: Backup
    moment: Moment
    state: Fingerprint | None
    backups: tuple[Backup, ...]
    plan: RestorePlan
    seconds: float
    record: Path | None = None
    unrecorded: str | None = None
    unproven: tuple[Backup, ...] = ()

    @property
    def fingerprint(self) -> Fingerprint:
        """The state that was read; raises `WrongKey` where it is encrypted and nothing opened it."""
        for backup in self.plan.chain:
            backup.check_open()
        assert self.state is not None
        return self.state

    @property
    def notes(self) -> tuple[str, ...]:
        """What whoever asked should know: what else is there, and what backups were taken without."""
        missing = (note for backup in self.backups for note in missing_note(backup.manifest.skipped, backup.name))
        closed = (f"{backup.locked}: only its files were compared with its manifest" for backup in self.unproven)
        return tuple(dict.fromkeys((*self.plan.notes, *missing, *closed)))


@dataclass(frozen=True, slots=True)
class _Fault:
    """What is wrong with a backup; `itself` when those that continue it need nothing of what is wrong."""

    folder: Path
    error: MunimentError
    itself: bool = False


def verify(
    wanted: str | Path | RestorePlan,
    *,
    progress: Progress | None = None,
    clock: Callable[[], int] | None = None,
    keyring: Keyring = NO_KEYS,
) -> Verified:
    """Read and check all backups in a folder, or all that the planned moment needs, and prove the end of each.

    Everything is read, whatever is found on the way. Raises `DamagedBackup` when something is not as it was written:
    it names what, and its hint what can be restored all the same. With a clock, a new object `verification-….json`
    beside the backups tells of the result, good or bad; of a good one only when everything was proven.

    Raises `WrongKey` when the keyring has keys that open none of them.
    """
    progress = progress or Progress()
    progress.stage = "planning"
    plan = wanted if isinstance(wanted, RestorePlan) else None
    source = wanted.place if isinstance(wanted, RestorePlan) else place_of(wanted)
    available: Sequence[Backup] = plan.chain if plan else backups(source, keyring)
    if keyring.identities and not any(backup.key for backup in available):
        for backup in reversed(available):
            backup.check_open()  # who gives a key wants more than files compared
    faults = [_Fault(bad.folder, bad.error) for bad in unusable_in(available)]
    with ExitStack() as stack:
        if available:  # what is wrong with some of them is told with the rest; that there are none is told now
            stack.enter_context(suppress(DamagedBackup, UnknownFormat))
        newest = plan or plan_latest(available, str(source))
    progress.stage = "verifying"
    progress.total_documents = sum(backup.manifest.counts.documents for backup in available)
    progress.total_bytes = sum(backup.manifest.counts.bytes for backup in available)
    good, gaps = _chains(available) if plan is None else ([plan.chain], [])
    open_chains = [chain for chain in good if not any(backup.locked for backup in chain)]
    opened = {backup.folder for chain in open_chains for backup in chain}
    unproven = tuple(backup for chain in good for backup in chain if backup.folder not in opened)
    with leased("verification", available, clock or system_clock), shared_scratch() as (connection, shared):
        account = _Account(connection, shared, progress)
        faults += account.read([backup for backup in available if not backup.locked])
        faults += _compared(unproven, progress)
        progress.stage = "proving"
        faults += gaps
        proven: list[_Proven] = []
        for chain in open_chains:
            proven.append(account.prove(_whole_part(chain, faults), plan))
            faults += proven[-1].faults
    progress.finish()
    if plan is None:
        faults += _vanished(source, available)
    if faults:
        whole = _whole(faults, proven)
        error = _failure(faults, whole, source)
        if clock:
            last, ends = plan.backup if plan else available[-1], _ends(available)
            write_down(
                "verification", available, last, clock, progress.seconds, problem=error.message, ends=ends, whole=whole
            )
        raise error
    if newest.backup in unproven:
        end = _Proven(moment=moment_of(newest))
    else:
        end = next(each for each in proven if each.last == newest.backup)
    assert end.moment is not None
    seconds, read = progress.seconds, tuple(available)
    verified = Verified(newest.backup, end.moment, end.fingerprint, read, newest, seconds, unproven=unproven)
    if clock is None:
        return verified
    if unproven or end.fingerprint is None:
        return replace(verified, unrecorded="not everything was proven: no key was given for encrypted backups")
    proof = end.moment, end.fingerprint
    record, unrecorded = write_down(
        "verification", available, newest.backup, clock, progress.seconds, proven=proof, ends=_ends(available)
    )
    return replace(verified, record=record, unrecorded=unrecorded)


def _compared(unproven: Sequence[Backup], progress: Progress) -> Iterator[_Fault]:
    """What of these is not as its manifest says, as far as that can be told without their keys."""
    for backup in unproven:
        try:
            backup.stored_database_document()
            check_files([(backup, file) for file in backup.manifest.files], progress)
        except (DamagedBackup, StorageFailure) as error:
            yield _Fault(backup.folder, error)


def _ends(read: Sequence[Backup]) -> tuple[End, ...]:
    """The newest backup of each lineage."""
    found: dict[str, End] = {}
    for backup in read:
        lineage, time = backup.manifest.database.lineage, backup.manifest.snapshot.time
        if lineage not in found or found[lineage].time <= time:
            found[lineage] = End(lineage=lineage, backup=backup.name, time=time, manifest=backup.sha256)
    return tuple(found.values())


def _chains(available: Sequence[Backup]) -> tuple[list[tuple[Backup, ...]], list[_Fault]]:
    """Chains that together have every backup that has one, and what is wrong with those that have a gap."""
    chains: list[tuple[Backup, ...]] = []
    faults: list[_Fault] = []
    seen: set[Path] = set()
    for backup in reversed(available):
        if backup.folder not in seen:
            try:
                chain = chain_of(backup, available)
            except DamagedBackup as error:
                faults.append(_Fault(backup.folder, error))
                continue
            chains.append(chain)
            seen |= {part.folder for part in chain}
    return chains, faults


def _whole_part(chain: tuple[Backup, ...], faults: Sequence[_Fault]) -> tuple[Backup, ...]:
    """The beginning of a chain, before the first backup with a fault."""
    bad = {fault.folder for fault in faults if not fault.itself}
    return tuple(takewhile(lambda backup: backup.folder not in bad, chain))


def _vanished(source: Path, available: Sequence[Backup]) -> Iterator[_Fault]:
    """Of moments that a record has seen restorable, and that no backup reaches any more: the newest."""
    place = available.place if isinstance(available, Backups) else source
    if place != source:  # one backup was asked for, and those that it continues: the records know the others too
        available = backups(place)
    last = max(backup.manifest.snapshot.time for backup in available)
    known = {backup.sha256 for backup in available}
    there, removed = records(place), removed_in(place)
    later = [record for record in there if record.time > last and not {*record.manifests} <= known | removed]
    if later:
        record = max(later, key=lambda record: record.time)
        error = DamagedBackup(
            f"the newest backup has vanished: {record.backup}, with the state of {record.time}, was there at the"
            f" {record.kind} of {record.completed}",
            f"put it back; if it was deleted on purpose, delete {record.kind}-*.json from {place} too",
        )
        yield _Fault(place / record.backup, error)
        return
    for end, record in missing_ends(available, there):
        if end.manifest not in removed:
            error = DamagedBackup(
                f"the newest backup of the lineage {end.lineage} has vanished: {end.backup}, with the state of"
                f" {end.time}, was there at the {record.kind} of {record.completed}",
                f"put it back; if it was deleted on purpose, delete {record.kind}-*.json from {place} too",
            )
            yield _Fault(place / end.backup, error)


def missing_ends(available: Sequence[Backup], there: Sequence[Record]) -> Iterator[tuple[End, Record]]:
    """What these records have seen as the newest backup of a lineage, and that no backup of it reaches any more."""
    known = {backup.sha256 for backup in available}
    reached = {end.lineage: end.time for end in _ends(available)}
    gone = {end.backup: (end, record) for record in there for end in record.ends if end.manifest not in known}
    for end, record in gone.values():
        reach = reached.get(end.lineage) or max(
            # All of a lineage may be deleted once backups of one that came from it go on.
            (each.manifest.snapshot.time for each in available if _came_from(each, end.lineage)),
            default="",
        )
        if end.time > reach:
            yield end, record


def _came_from(backup: Backup, lineage: str) -> bool:
    return any(each.lineage == lineage for each in backup.manifest.database.lineages or ())


def _whole(faults: Sequence[_Fault], proven: Sequence[_Proven]) -> list[Backup]:
    """What can be restored whatever is wrong with others."""
    not_these = {fault.folder for fault in faults}
    good = {backup.folder: backup for each in proven for backup in each.backups if backup.folder not in not_these}
    return list(good.values())


def _failure(faults: Sequence[_Fault], whole: Sequence[Backup], source: Path) -> MunimentError:
    """All that was found wrong, and what can be restored all the same."""
    faults = sorted(faults, key=lambda fault: str(fault.folder))
    told = list(dict.fromkeys(fault.error.message for fault in faults))
    more = f"; and {len(told) - NAMED_FAULTS} more" if len(told) > NAMED_FAULTS else ""
    message = "; ".join(told[:NAMED_FAULTS]) + more
    kind = StorageFailure if all(isinstance(fault.error, StorageFailure) for fault in faults) else DamagedBackup
    if not whole:
        return kind(message, HINT)
    newest = max(whole, key=lambda backup: (backup.manifest.snapshot.time, backup.manifest.completed))
    return kind(
        message,
        f"{len(whole)} of the backups there can be restored all the same; the newest has the state of"
        f" {newest.manifest.snapshot.time}: muniment restore {shlex.quote(str(source))} --backup {newest.name} --to …",
    )


@dataclass(frozen=True, slots=True)
class _Proven:
    """The backups of a chain whose ends were proven, the state at the moment in it, and what is wrong with the rest."""

    backups: tuple[Backup, ...] = ()
    moment: Moment | None = None
    fingerprint: Fingerprint | None = None
    faults: tuple[_Fault, ...] = ()

    @property
    def last(self) -> Backup | None:
        """The last of them."""
        return self.backups[-1] if self.backups else None


class _Account:
    """What the files of some backups were found to hold, by their folders: two may have the same manifest."""

    def __init__(self, connection: Scratch, shared: Shared, progress: Progress) -> None:
        self._connection = connection
        self._shared = shared
        self._progress = progress
        self._whole: dict[str, Fingerprint] = {}
        self._counts: dict[str, dict[str, int]] = {}
        self._spans: dict[str, list[tuple[int, int]]] = {}
        connection.execute("ATTACH ? AS base", (str(Path(shared.path).with_name("base.db")),))
        connection.execute("PRAGMA base.journal_mode=OFF; PRAGMA base.synchronous=OFF").fetchall()
        connection.execute("CREATE TABLE chain(backup TEXT PRIMARY KEY)")
        for name in ("main", "base"):
            connection.execute(_TABLE.format(name))

    def read(self, found: Sequence[Backup]) -> list[_Fault]:
        """Examine all files; the incrementals first, since they tell which revisions of the full ones were replaced.

        Returns what is wrong with them.
        """
        faults: list[_Fault] = []
        for backup in found:
            self._whole[_key(backup)] = Fingerprint()
            self._counts[_key(backup)] = dict.fromkeys(backup.manifest.counts.__struct_fields__, 0)
            self._spans[_key(backup)] = []
            try:
                backup.settings()
            except MunimentError as error:
                faults.append(_Fault(backup.folder, error, itself=True))
        parts = [backup for backup in found if backup.manifest.kind == "incremental"]
        faults += self._examine("main", _tasks(parts, None))
        self._connection.execute("CREATE INDEX main.revision_key ON revision(kind, key)")
        fulls = [backup for backup in found if backup.manifest.kind == "full"]
        faults += self._examine("base", _tasks(fulls, self._shared if parts else None))
        bad = {fault.folder for fault in faults}
        for backup in found:
            if backup.folder not in bad:
                try:
                    self._check_counts(backup)
                except DamagedBackup as error:
                    faults.append(_Fault(backup.folder, error))
        return faults

    def _examine(self, into: str, tasks: Sequence[Task]) -> list[_Fault]:
        faults = []
        with self._connection:
            for task, finding in examine_all(tasks, self._progress):
                match finding:
                    case Group():
                        self._take(into, task, finding)
                    case Whole():
                        self._whole[task.backup].merge(Fingerprint.from_json(finding.fingerprint))
                    case Faulty():
                        faults.append(_Fault(task.path.parent, finding.error.error()))
        return faults

    def _take(self, into: str, task: Task, group: Group) -> None:
        kind = "documents" if task.file.kind == DOCUMENT else "attachments"
        counts = self._counts[task.backup]
        counts[kind] += group.alive
        counts[f"{kind[:-1]}_tombstones"] += group.tombstones
        counts["bytes"] += group.bytes
        if task.file.kind == DOCUMENT:  # attachments are read one by one, in order
            self._spans[task.backup].append((group.first, group.last))
        rows = ((task.backup, task.file.kind, *member) for member in group.members)
        self._connection.executemany(f"INSERT INTO {into}.revision VALUES(?, ?, ?, ?, ?, ?, ?)", rows)
        self._progress.advance(**{kind: group.alive, "bytes": group.bytes})

    def _check_counts(self, backup: Backup) -> None:
        manifest, counts = backup.manifest, self._counts[_key(backup)]
        for name, found in counts.items():
            if found != (expected := getattr(manifest.counts, name)):
                raise DamagedBackup(
                    f"{backup.folder} has {found:,} {name.replace('_', ' ')}, where its manifest says {expected:,}",
                    HINT,
                )
        if any(later[0] <= earlier[1] for earlier, later in pairwise(sorted(self._spans[_key(backup)]))):
            raise DamagedBackup(f"the etags in the files of {backup.folder} are out of order", HINT)
        if manifest.history_from is not None:
            # Every change has an etag of its own, so that a history without a gap has every one of them.
            found = self._connection.execute(_WHOLE, (_key(backup), manifest.history_from)).get
            if found != manifest.through - manifest.history_from:
                raise DamagedBackup(
                    f"the history in {backup.folder} has {found:,} changes after etag {manifest.history_from:,}, where"
                    f" there were {manifest.through - manifest.history_from:,}",
                    HINT,
                )

    def prove(self, chain: tuple[Backup, ...], plan: RestorePlan | None) -> _Proven:
        """Compare the state at the end of every backup of a chain with its manifest.

        What is given back has the state at the planned moment; without a plan, at the end of the chain.
        """
        if not chain:
            return _Proven()
        # Only now: it opens files, which is safe only with those that are as written.
        moment = moment_of(plan if plan and chain == plan.chain else RestorePlan(chain))
        reached, at_moment = self._whole[_key(chain[0])].copy(), None
        self._connection.execute("DELETE FROM chain")
        self._connection.executemany("INSERT INTO chain VALUES(?)", [(_key(backup),) for backup in chain])
        ends = list(chain)
        proven = 0

        def differs() -> _Proven | None:
            nonlocal proven
            if fault := _compare(reached, ends[proven]):
                return _Proven(chain[:proven], faults=(fault,))
            proven += 1
            return None

        # The sort behind it can take long before it gives a row.
        self._connection.set_progress_handler(self._check, CHECK_STEPS)
        try:
            for folder, kind, etag, *new_and_old in self._connection.execute(_REPLACED):
                if folder == _key(chain[0]):
                    continue
                while proven < len(ends) and etag > ends[proven].manifest.through:
                    if found := differs():
                        return found
                if at_moment is None and etag > moment.etag:
                    at_moment = reached.copy()
                _replace(reached, kind, *new_and_old)
        finally:
            self._connection.set_progress_handler(None)
        while proven < len(ends):
            if found := differs():
                return found
        return _Proven(chain, moment, at_moment or reached)

    def _check(self) -> bool:
        self._progress.check()
        return False


def _replace(fingerprint: Fingerprint, kind: int, *new_and_old: Any) -> None:
    """Count a revision in, and the one that it replaced out: collection, size and digest of each, None without one."""
    collection, size, digest, old_collection, old_size, old_digest = new_and_old
    if digest is not None:
        fingerprint.add((kind, collection or ""), 1, size, int.from_bytes(digest, "big"))
    if old_digest is not None:
        fingerprint.add((kind, old_collection or ""), -1, -old_size, -int.from_bytes(old_digest, "big"))


def _compare(reached: Fingerprint, backup: Backup) -> _Fault | None:
    expected = backup.manifest.fingerprint_at_snapshot()
    if reached == expected:
        return None
    differences = "; ".join(expected.differences(reached))
    error = DamagedBackup(f"the fingerprint of {backup.folder} is not the manifest's: {differences}", HINT)
    return _Fault(backup.folder, error)


def _key(backup: Backup) -> str:
    """Its folder, also where that is not Unicode."""
    return ascii(str(backup.folder))


def _tasks(found: Iterable[Backup], changed: Shared | None) -> list[Task]:
    return [task for backup in found for task in _tasks_of(backup.manifest, backup, changed)]


def _tasks_of(manifest: Manifest, backup: Backup, changed: Shared | None) -> list[Task]:
    key = backup.key.parquet if backup.key else None
    more = manifest.after, manifest.through, changed, manifest.kind == "incremental", key
    return [Task(_key(backup), encoded(backup.folder), file, *more) for file in manifest.files]
