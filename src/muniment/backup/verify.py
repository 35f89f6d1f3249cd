"""Proving backups without restoring them: every file is examined, and every chain must lead to its fingerprints.

Files are examined side by side, each for itself. What the proof of a chain needs beside the fingerprints of whole files
are the revisions that replaced others; those are put together in a temporary database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import apsw

from muniment.backup.examine import Group, Task, Whole, examine_all
from muniment.backup.manifest import Manifest
from muniment.backup.plan import RestorePlan, chain_of, plan_restore
from muniment.backup.reading import HINT, Moment, moment_of
from muniment.backup.repository import Backup, Record, backups, write_down
from muniment.document import from_microseconds, rfc3339
from muniment.errors import Damaged, DamagedBackup, MunimentError
from muniment.failed import Failed
from muniment.fingerprint import Fingerprint
from muniment.progress import Progress
from muniment.revision import DOCUMENT
from muniment.storage.scratch import shared_scratch

NAMED_FILES: Final = 5

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
    """

    backup: Backup
    moment: Moment
    fingerprint: Fingerprint
    backups: tuple[Backup, ...]
    seconds: float
    record: Path | None = None
    unrecorded: str | None = None


def verify_backup(
    source: Path,
    progress: Progress | None = None,
    plan: RestorePlan | None = None,
    clock: Callable[[], int] | None = None,
) -> Verified:
    """Read and check all backups in a folder, or all that the planned moment needs, and prove the end of each.

    Raises `DamagedBackup` when something is not as it was written, naming the files. With a clock, a new object
    `verification-….json` beside the backups tells of the result, good or bad.
    """
    progress = progress or Progress()
    progress.stage = "planning"
    available = backups(source) if plan is None else plan.chain
    wanted = plan or plan_restore(available, str(source))
    try:
        verified = _verify(available, wanted, [plan.chain] if plan else _chains(available), progress)
    except Damaged as error:
        if clock:
            write_down(source, _record(available, wanted, clock, progress, problem=error.message))
        raise
    if clock is None:
        return verified
    path, problem = write_down(source, _record(available, wanted, clock, progress, verified))
    return replace(verified, record=path, unrecorded=problem)


def _verify(
    available: Sequence[Backup], plan: RestorePlan, chains: Sequence[tuple[Backup, ...]], progress: Progress
) -> Verified:
    progress.stage = "verifying"
    progress.total_documents = sum(backup.manifest.counts.documents for backup in available)
    progress.total_bytes = sum(backup.manifest.counts.bytes for backup in available)
    with shared_scratch() as (connection, path):
        account = _Account(connection, path, progress)
        account.read(available)
        progress.stage = "proving"
        moment = moment_of(plan)  # not before: it opens files, which is safe only with those that are as written
        for chain in chains:
            if chain != plan.chain:
                account.prove(chain, moment)
        found = account.prove(plan.chain, moment)
    progress.finish()
    return Verified(plan.backup, moment, found, tuple(available), progress.seconds)


def _record(
    read: Sequence[Backup],
    plan: RestorePlan,
    clock: Callable[[], int],
    progress: Progress,
    verified: Verified | None = None,
    problem: str | None = None,
) -> Record:
    snapshot = plan.manifest.snapshot
    return Record(
        kind="verification",
        backup=plan.backup.name,
        etag=verified.moment.etag if verified else snapshot.etag,
        time=rfc3339(from_microseconds(verified.moment.modified)) if verified else snapshot.time,
        manifests=tuple(backup.sha256 for backup in read),
        completed=rfc3339(from_microseconds(clock())),
        seconds=round(progress.seconds, 3),
        fingerprint=verified.fingerprint.as_json() if verified else None,
        problem=problem,
    )


def _chains(available: Sequence[Backup]) -> list[tuple[Backup, ...]]:
    """Chains that together have every backup; raises `DamagedBackup` at a gap."""
    chains: list[tuple[Backup, ...]] = []
    seen: set[Path] = set()
    for backup in reversed(available):
        if backup.folder not in seen:
            chain = chain_of(backup, available)
            chains.append(chain)
            seen |= {part.folder for part in chain}
    return chains


class _Account:
    """What the files of some backups were found to hold, by their folders: two may have the same manifest."""

    def __init__(self, connection: apsw.Connection, path: Path, progress: Progress) -> None:
        self._connection = connection
        self._path = path
        self._progress = progress
        self._whole: dict[str, Fingerprint] = {}
        self._counts: dict[str, dict[str, int]] = {}
        self._spans: dict[str, list[tuple[int, int]]] = {}
        connection.execute("ATTACH ? AS base", (str(path.with_name("base.db")),))
        connection.execute("PRAGMA base.journal_mode=OFF; PRAGMA base.synchronous=OFF").fetchall()
        connection.execute("CREATE TABLE chain(backup TEXT PRIMARY KEY)")
        for name in ("main", "base"):
            connection.execute(_TABLE.format(name))

    def read(self, found: Sequence[Backup]) -> None:
        """Examine all files; the incrementals first, since they tell which revisions of the full ones were replaced."""
        for backup in found:
            backup.settings()
            self._whole[_key(backup)] = Fingerprint()
            self._counts[_key(backup)] = dict.fromkeys(backup.manifest.counts.__struct_fields__, 0)
            self._spans[_key(backup)] = []
        parts = [backup for backup in found if backup.manifest.kind == "incremental"]
        self._examine("main", _tasks(parts, None))
        self._connection.execute("CREATE INDEX main.revision_key ON revision(kind, key)")
        fulls = [backup for backup in found if backup.manifest.kind == "full"]
        self._examine("base", _tasks(fulls, str(self._path) if parts else None))
        for backup in found:
            self._check_counts(backup)

    def _examine(self, into: str, tasks: Sequence[Task]) -> None:
        failed: list[tuple[Task, Failed]] = []
        with self._connection:
            for task, finding in examine_all(tasks):
                match finding:
                    case Group():
                        self._take(into, task, finding)
                    case Whole():
                        self._whole[task.backup].merge(Fingerprint.from_json(finding.fingerprint))
                    case Failed():
                        failed.append((task, finding))
        if failed:
            raise _failure(failed)

    def _take(self, into: str, task: Task, group: Group) -> None:
        kind = "documents" if task.kind == DOCUMENT else "attachments"
        counts = self._counts[task.backup]
        counts[kind] += group.alive
        counts[f"{kind[:-1]}_tombstones"] += group.tombstones
        counts["bytes"] += group.bytes
        if task.kind == DOCUMENT:  # attachments are read one by one, in order
            self._spans[task.backup].append((group.first, group.last))
        rows = ((task.backup, task.kind, *member) for member in group.members)
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

    def prove(self, chain: Sequence[Backup], moment: Moment) -> Fingerprint:
        """Compare the state at the end of every backup of a chain with its manifest; gives that at the moment."""
        reached, at_moment = self._whole[_key(chain[0])].copy(), None
        _compare(reached, chain[0])
        self._connection.execute("DELETE FROM chain")
        self._connection.executemany("INSERT INTO chain VALUES(?)", [(_key(backup),) for backup in chain])
        ends = iter(chain[1:])
        backup = next(ends, None)
        for folder, kind, etag, *new_and_old in self._connection.execute(_REPLACED):
            if folder == _key(chain[0]):
                continue
            while backup is not None and etag > backup.manifest.through:
                _compare(reached, backup)
                backup = next(ends, None)
            if at_moment is None and etag > moment.etag:
                at_moment = reached.copy()
            _replace(reached, kind, *new_and_old)
        for rest in (backup, *ends) if backup else ():
            _compare(reached, rest)
        return at_moment or reached


def _replace(fingerprint: Fingerprint, kind: int, *new_and_old: Any) -> None:
    """Count a revision in, and the one that it replaced out: collection, size and digest of each, None without one."""
    collection, size, digest, old_collection, old_size, old_digest = new_and_old
    if digest is not None:
        fingerprint.add((kind, collection or ""), 1, size, int.from_bytes(digest, "big"))
    if old_digest is not None:
        fingerprint.add((kind, old_collection or ""), -1, -old_size, -int.from_bytes(old_digest, "big"))


def _compare(reached: Fingerprint, backup: Backup) -> None:
    expected = backup.manifest.fingerprint_at_snapshot()
    if reached != expected:
        differences = "; ".join(expected.differences(reached))
        raise DamagedBackup(f"the fingerprint of {backup.folder} is not the manifest's: {differences}", HINT)


def _key(backup: Backup) -> str:
    """Its folder, also where that is not Unicode."""
    return ascii(str(backup.folder))


def _tasks(found: Iterable[Backup], changed: str | None) -> list[Task]:
    return [task for backup in found for task in _tasks_of(backup.manifest, backup, changed)]


def _tasks_of(manifest: Manifest, backup: Backup, changed: str | None) -> list[Task]:
    more = manifest.after, manifest.through, changed, manifest.kind == "incremental"
    return [Task(_key(backup), str(backup.folder), file, *more) for file in manifest.files]


def _failure(failed: list[tuple[Task, Failed]]) -> MunimentError:
    """The first failure, with the names of the other files that are not as they should be."""
    failed.sort(key=lambda pair: (pair[0].folder, pair[0].file.name))
    (_, first), *rest = failed
    error = first.error()
    if rest:
        names = ", ".join(f"{task.folder}/{task.file.name}" for task, _ in rest[:NAMED_FILES])
        more = f" and {len(rest) - NAMED_FILES} more" if len(rest) > NAMED_FILES else ""
        error.message += f"; so are {names}{more}"
    return error
