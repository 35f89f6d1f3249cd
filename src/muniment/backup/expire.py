"""Removing backups that a policy does not keep, in two phases: first they are marked, and after a time removed.

A mark is an object beside the backups that names all that are to go; nothing there is written anew for it. A backup is
removed when each mark of the time of grace names it, and the policy still does not keep it. So another policy, another
server or a person can take a mark back, and whoever just begins to read a backup is not surprised.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from muniment.backup.beside import write_beside
from muniment.backup.lease import forget_ended, held_in
from muniment.backup.mark import KIND, Mark, Marked, marks
from muniment.backup.merge import merge_backups
from muniment.backup.moment import RestorePoint
from muniment.backup.plan import chain_of
from muniment.backup.records import records, records_with_paths, superseded
from muniment.backup.repository import Backup, Backups, backups, delete_backup, remove_rest
from muniment.backup.restore_plan import plan_restore
from muniment.backup.retention import Decision, Policy, Retention, doubted_in, proven_in, retention
from muniment.backup.verify import missing_ends, verify
from muniment.document import from_microseconds, rfc3339
from muniment.errors import Cancelled, DamagedBackup, InvalidInput, MunimentError, StorageFailure
from muniment.progress import Progress
from muniment.security.keyring import NO_KEYS, UNPROTECTED, Keyring, Protection

GRACE: Final = 86_400
AHEAD: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Expired:
    """What became of the backups of a folder: what was decided of each and why, and what was done.

    `waiting` are marked, with the time from which on they may be removed; `removed` are gone. `merged` are the full
    backups that were made out of chains. `notes` say what could not be done, and why.
    """

    place: Path
    decisions: tuple[Decision, ...]
    waiting: tuple[tuple[Backup, str], ...] = ()
    removed: tuple[Backup, ...] = ()
    merged: tuple[Backup, ...] = ()
    notes: tuple[str, ...] = ()
    dry_run: bool = False

    @property
    def freed(self) -> int:
        """The bytes of the files of what was removed, or with `dry_run` would be in the end."""
        gone = [each.backup for each in self.decisions if not each.kept] if self.dry_run else self.removed
        return sum(backup.manifest.size for backup in gone)


def expire(
    place: Path,
    policy: Policy,
    *,
    grace: int = GRACE,
    dry_run: bool = False,
    clock: Callable[[], int],
    keyring: Keyring = NO_KEYS,
    protection: Protection = UNPROTECTED,
    progress: Progress | None = None,
) -> Expired:
    """Mark the backups in a folder that the policy does not keep, and remove those marked for `grace` seconds.

    See `retention` for what is always kept. What somebody reads stays until he has done, and so does what may not be
    removed: that is said, and is no error. No key is needed, but to merge encrypted backups. With `dry_run` nothing is
    changed.
    """
    if grace < 0:
        raise InvalidInput(f"the grace period cannot be {grace} s", "give 0 or more")
    work = _Work(place, policy, grace, clock, keyring, protection, progress or Progress())
    return work.dry() if dry_run else work.done()


@dataclass
class _Work:
    place: Path
    policy: Policy
    grace: int
    clock: Callable[[], int]
    keyring: Keyring
    protection: Protection
    progress: Progress
    notes: list[str] = field(default_factory=list)
    merged: list[Backup] = field(default_factory=list)
    removed: list[Backup] = field(default_factory=list)

    def dry(self) -> Expired:
        """What would be done."""
        available, found = self._decide()
        self.notes += (f"{each.name} and those before it would be merged into a full backup" for each in found.merges)
        since = self._marked_since(available)
        return self._expired(found, since, dry_run=True)

    def done(self) -> Expired:
        """Do it."""
        self.progress.stage = "planning"
        available, found = self._decide()
        for last in found.merges:
            self._merge(last, available)
        if found.merges:
            available, found = self._decide()
        self._finish_removals(available)
        since = self._marked_since(available)
        due = [backup for backup in found.expired if self._is_due(since.get(backup.sha256, self._now))]
        self._mark(available, found.expired, due)
        if due:
            self.progress.stage = "removing"
            self._remove({backup.sha256 for backup in due})
        self._forget_records()
        self._forget_marks()
        forget_ended(self.place, self.clock())
        self.progress.finish()
        return self._expired(found, self._marked_since(available))

    @property
    def _now(self) -> datetime:
        return from_microseconds(self.clock())

    def _decide(self) -> tuple[Backups, Retention]:
        available = backups(self.place)
        now = self.clock()
        found, held = records(self.place), held_in(self.place, now)
        proven, doubted = proven_in(found), doubted_in(found)
        return available, retention(available, self.policy, now, proven=proven, doubted=doubted, held=held)

    def _expired(self, found: Retention, since: dict[str, datetime], *, dry_run: bool = False) -> Expired:
        gone = {backup.sha256 for backup in self.removed}
        waiting = tuple(
            (backup, rfc3339(since.get(backup.sha256, self._now) + timedelta(seconds=self.grace)))
            for backup in found.expired
            if backup.sha256 not in gone
        )
        return Expired(
            self.place, found.decisions, waiting, tuple(self.removed), tuple(self.merged), tuple(self.notes), dry_run
        )

    def _marks(self) -> list[tuple[Path, Mark]]:
        """The marks, the oldest first; one from the future, of a clock that was ahead, counts for nothing."""
        latest = self._now + AHEAD
        return [each for each in marks(self.place) if datetime.fromisoformat(each[1].decided) <= latest]

    def _marked_since(self, available: Sequence[Backup]) -> dict[str, datetime]:
        """Since when each backup has been named by all marks."""
        since: dict[str, datetime] = {}
        for _, mark in self._marks():
            decided = datetime.fromisoformat(mark.decided)
            since = {each.manifest: since.get(each.manifest, decided) for each in mark.backups}
        return {backup.sha256: since[backup.sha256] for backup in available if backup.sha256 in since}

    def _is_due(self, since: datetime) -> bool:
        return self._now >= since + timedelta(seconds=self.grace)

    def _mark(self, available: Sequence[Backup], expired: Sequence[Backup], due: Sequence[Backup]) -> None:
        """Have the last mark name what is to go and nothing else, and what is being removed."""
        marks = self._marks()
        there = {backup.sha256 for backup in available}
        last = {each.manifest for each in marks[-1][1].backups} & there if marks else set()
        if due or last != {backup.sha256 for backup in expired}:
            now = self._now
            going = tuple(Marked(backup.name, backup.sha256) for backup in expired)
            removing = tuple(Marked(backup.name, backup.sha256) for backup in due)
            write_beside(self.place, KIND, Mark(rfc3339(now), going, removing), now)

    def _remove(self, due: Collection[str]) -> None:
        """Remove these, as far as they are still not kept: somebody may have begun to read one, or to continue it."""
        available, found = self._decide()
        needed: set[str] = set()
        for backup in found.expired:
            self.progress.check()
            if backup.sha256 not in due or backup.sha256 in needed:
                needed |= _needed_by(backup, available)
                continue
            try:
                delete_backup(backup)
            except StorageFailure as error:
                self.notes.append(f"{backup.name} may not be removed now: {error.message}")
                needed |= _needed_by(backup, available)
            else:
                self.removed.append(backup)

    def _finish_removals(self, available: Backups) -> None:
        """Remove what is left of backups whose removal was interrupted: their manifests are gone."""
        begun = {each.backup for _, mark in self._marks() for each in mark.removing}
        for folder in available.unfinished:
            if folder.name in begun:
                try:
                    remove_rest(folder)
                except StorageFailure as error:
                    self.notes.append(f"what is left of {folder.name} may not be removed now: {error.message}")

    def _forget_records(self) -> None:
        """Remove the records of verifications and rehearsals that nothing relies on, but for the last of each kind.

        Before the marks: what a record has seen, and no backup reaches, has vanished unless a mark says otherwise.
        """
        with suppress(MunimentError):
            available = backups(self.place)
            if not available or available.unusable:
                return  # a record may be all that tells of what cannot be read
            found = records_with_paths(self.place)
            needed = [record for _, record in missing_ends(available, [record for _, record in found])]
            last = max(backup.manifest.snapshot.time for backup in available)
            for path in superseded(found, {backup.sha256 for backup in available}, needed, last):
                with suppress(MunimentError, OSError):
                    path.unlink(missing_ok=True)

    def _forget_marks(self) -> None:
        """Remove the marks that name nothing that is there, but for the last one, if they may be removed.

        Those stay without which a verification would miss what they say was removed.
        """
        with suppress(MunimentError):
            available = backups(self.place)
            needed = {backup.sha256 for backup in available}
            needed |= {end.manifest for end, _ in missing_ends(available, records(self.place))}
            for path, mark in self._marks()[:-1]:
                if not needed & {each.manifest for each in (*mark.backups, *mark.removing)}:
                    with suppress(MunimentError, OSError):
                        path.unlink(missing_ok=True)

    def _merge(self, last: Backup, available: Sequence[Backup]) -> None:
        """Make a full backup out of a chain, and prove it: only then it takes the place of that."""
        try:
            found = [each for each in available if each.manifest.same_state_as == last.sha256]
            merged = found[0] if found else self._merged(last)
            source = backups(self.place, self.keyring)
            plan = plan_restore(source, str(self.place), RestorePoint(backup=merged.name))
            verify(plan, clock=self.clock, keyring=self.keyring, progress=Progress())
        except Cancelled:
            raise
        except MunimentError as error:
            self.notes.append(f"the backups through {last.name} could not be merged: {error.message}")

    def _merged(self, last: Backup) -> Backup:
        merged = merge_backups(
            self.place,
            last.name,
            clock=self.clock,
            keyring=self.keyring,
            protection=self.protection,
            progress=self.progress,
        )
        self.merged.append(merged)
        return merged


def _needed_by(backup: Backup, available: Sequence[Backup]) -> set[str]:
    try:
        return {each.sha256 for each in chain_of(backup, available)}
    except DamagedBackup:
        return {each.sha256 for each in available}
