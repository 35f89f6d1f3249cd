"""The histories that the backups of a folder are of, as a tree, and when each is known to have been alive.

A restore begins a history, and the one that it left may go on: in the production database, when a copy was restored
beside it. What tells of that are the manifests: when a history began, and when a backup of it was last begun. What they
do not tell is not guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from muniment.backup.plan import PUT_BACK, chain_of, ends_of
from muniment.backup.repository import Backup
from muniment.document import to_microseconds
from muniment.errors import BackupNotFound, DamagedBackup, InvalidInput
from muniment.storage.base import Lineage

SHORT: Final = 8  # letters of a lineage's id that are shown
ALWAYS: Final = -(1 << 62)
NEVER: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class Branch:
    """One history: what is known of its beginning, and its backups, in the order in which they were completed.

    Its own transactions have etags after `lineage.etag`; what came before is its parent's.
    """

    id: str
    lineage: Lineage
    backups: tuple[Backup, ...] = ()

    @property
    def origin_known(self) -> bool:
        """Whether it is known where it began."""
        return self.lineage.began is not None

    @property
    def certain_from(self) -> int:
        """From when on (microseconds) the database certainly had this history."""
        if self.lineage.began is not None:
            return ALWAYS if self.lineage.parent is None else micros(self.lineage.began)
        return min((micros(backup.manifest.started) for backup in self.backups), default=NEVER)

    @property
    def seen(self) -> int:
        """Through when (microseconds) it is known to have been alive: not before it began, whatever the clocks said."""
        return max([self.certain_from, *(_seen(backup) for backup in self.backups)])

    @property
    def first_etag(self) -> int:
        """The first etag whose state is its own; 0 when that is not known."""
        whole = self.lineage.parent is None or self.lineage.part
        return self.lineage.etag if whole else self.lineage.etag + 1

    @property
    def last_etag(self) -> int:
        """The last etag that a backup of it holds; -1 when there is none."""
        return max((backup.manifest.through for backup in self.backups), default=-1)

    def chains(self) -> Iterator[tuple[Backup, ...]]:
        """Its chains that are whole, the one that was completed last first."""
        for end in ends_of(self.backups):
            try:
                yield chain_of(end, self.backups)
            except DamagedBackup:
                continue


def micros(time: str) -> int:
    """A time in a manifest as microseconds."""
    return to_microseconds(datetime.fromisoformat(time))


def _seen(backup: Backup) -> int:
    snapshot = backup.manifest.snapshot
    if snapshot.until is not None:
        return micros(snapshot.until)
    return max(micros(snapshot.time), micros(backup.manifest.started))


class Tree:
    """All histories of one database in a folder."""

    def __init__(self, available: Sequence[Backup]) -> None:
        """`available` are backups of one database."""
        known: dict[str, Lineage] = {}
        for backup in available:
            database = backup.manifest.database
            for lineage in database.lineages or (Lineage(database.lineage, None, 0, None, None),):
                if lineage.lineage not in known or known[lineage.lineage].began is None:
                    known[lineage.lineage] = lineage
        self.branches = [branch for lineage in known.values() for branch in _branches(lineage, available)]
        self.branches.sort(key=lambda branch: (branch.certain_from, branch.seen))
        self._by_id = {branch.id: branch for branch in self.branches}

    @property
    def held(self) -> list[Branch]:
        """Those that there are backups of, in the order in which they began."""
        return [branch for branch in self.branches if branch.backups]

    def parent(self, branch: Branch) -> Branch | None:
        """The history that this one left; None for the first, and when that is not known."""
        return self._by_id.get(branch.lineage.parent or "")

    def line(self, branch: Branch) -> list[Branch]:
        """This history and those that it came from, the oldest last."""
        line = [branch]
        while (before := self.parent(line[-1])) and before not in line:
            line.append(before)
        return line

    def named(self, letters: str) -> Branch:
        """The history whose id begins so; raises `BackupNotFound` for none, `InvalidInput` for more than one."""
        letters = letters.strip().lower()
        found = [branch for branch in self.branches if branch.id.lower().startswith(letters)]
        exact = [branch for branch in found if branch.id.lower() == letters]
        if not found:
            ids = ", ".join(self.short(branch) for branch in self.held)
            raise BackupNotFound(f"no backup is of a lineage {letters!r}", f"there are {ids}")
        if len(found) > 1 and not exact:
            ids = " or ".join(self.short(branch) for branch in found)
            raise InvalidInput(f"{letters!r} begins the ids of {len(found)} lineages", f"give more letters: {ids}")
        return (exact or found)[0]

    def short(self, branch: Branch) -> str:
        """As few letters of its id as name it, at least 8."""
        for length in range(SHORT, len(branch.id)):
            if sum(other.id.startswith(branch.id[:length]) for other in self.branches) == 1:
                return branch.id[:length]
        return branch.id

    def alive(self, at: int) -> list[Branch]:
        """The histories that the database certainly had at this time (microseconds); more than one if it was copied."""
        return [branch for branch in self.held if branch.certain_from <= at <= branch.seen]

    def newest(self) -> list[Branch]:
        """The histories that none is known to have taken the place of: one, unless a copy is backed up here too."""
        held = self.held
        return [
            branch for branch in held if not any(branch.seen < other.certain_from < NEVER for other in self.branches)
        ]


def _branches(lineage: Lineage, available: Sequence[Backup]) -> Iterator[Branch]:
    """One branch; another one from each backup on that was taken after the database's files had been put back.

    Its etags after that are others than those with the same numbers before, and where it went back to is not known.
    """
    own = [backup for backup in available if backup.manifest.database.lineage == lineage.lineage]
    own.sort(key=lambda backup: (backup.manifest.completed, backup.manifest.through))
    starts = [place for place, backup in enumerate(own) if backup.manifest.reason.startswith(PUT_BACK)]
    parts = [own[begin:end] for begin, end in zip([0, *starts], [*starts, len(own)], strict=True)]
    for number, part in enumerate(parts, 1):
        if number == 1:
            yield Branch(lineage.lineage, lineage, tuple(part))
        else:
            unknown = Lineage(lineage.lineage, None, 0, None, None)
            yield Branch(f"{lineage.lineage}.{number}", unknown, tuple(part))
