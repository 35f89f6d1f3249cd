"""The histories in the backups of a folder, as a tree: when each was alive, and which of its moments can be restored.

A restore begins a history, and the one that it left may go on: in the production database, when a copy was restored
beside it. What tells of that are the manifests: when a history began, and when a backup of it was last begun. What they
do not tell is not guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from operator import itemgetter
from typing import Final, TypeAlias

import msgspec

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
            ids = ", ".join(self.short(branch.id) for branch in self.held)
            raise BackupNotFound(f"no backup has a lineage that begins with {letters!r}", f"there are {ids}")
        if len(found) > 1 and not exact:
            ids = " or ".join(self.short(branch.id) for branch in found)
            raise InvalidInput(f"{letters!r} begins the ids of {len(found)} lineages", f"give more letters: {ids}")
        return (exact or found)[0]

    def short(self, id: str) -> str:
        """The shortest beginning of a history's id that is unique, at least 8 letters."""
        for length in range(SHORT, len(id)):
            if sum(other.id.startswith(id[:length]) for other in self.branches) == 1:
                return id[:length]
        return id

    def alive(self, at: int) -> list[Branch]:
        """The histories that the database certainly had at this time (microseconds); more than one if it was copied."""
        return [branch for branch in self.held if branch.certain_from <= at <= branch.seen]

    def newest(self) -> list[Branch]:
        """The histories that none is known to have taken the place of: one, unless a copy is backed up here too.

        None has the place of one that came from it, though where a clock was set back it seems to have begun later.
        """
        return [branch for branch in self.held if not any(map(partial(self._took_its_place, branch), self.branches))]

    def _took_its_place(self, branch: Branch, other: Branch) -> bool:
        return branch.seen < other.certain_from < NEVER and other not in self.line(branch)


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


class Point(msgspec.Struct, frozen=True):
    """A moment that can be restored; its time is known when it is the end of a backup."""

    etag: int
    time: str | None = None

    def __str__(self) -> str:
        return f"{self.time} (etag {self.etag:,})" if self.time else f"etag {self.etag:,}"


Found: TypeAlias = tuple[str, Point] | None  # the id of a lineage, and a moment of it


class Span(msgspec.Struct, frozen=True, kw_only=True, rename={"first": "from", "last": "to"}):
    """Every transaction from the first point to the last can be restored; when they are the same, only that one.

    `until` is how long the last one is known to have been the state, None when that is not known.
    """

    first: Point
    last: Point
    until: str | None = None
    lineage: str = ""

    @property
    def single(self) -> bool:
        """Whether it is a single moment."""
        return self.first.etag == self.last.etag

    def through(self, limit: Point | None) -> Span | None:
        """The part of it up to this point, None when it begins after that."""
        if limit is None or self.last.etag <= limit.etag:
            return self
        if self.first.etag > limit.etag:
            return None
        return Span(first=self.first, last=limit, lineage=self.lineage)

    def __str__(self) -> str:
        span = f"at {self.last}" if self.single else f"from {self.first} to {self.last}"
        kept = self.until is not None and self.last.time is not None and self.until > self.last.time
        return f"{span}, the state until {self.until}" if kept else span


def restorable(chain: Sequence[Backup], lineage: str = "") -> list[Span]:
    """From where to where every transaction can be restored; the end of a backup without history stands for itself."""
    reach: list[Span] = []
    for backup in chain:
        manifest = backup.manifest
        end, until = Point(manifest.through, manifest.snapshot.time), manifest.snapshot.until
        first = end
        if reach and manifest.whole_from == manifest.after:
            first = reach.pop().first
        elif reach and manifest.whole_from < manifest.through:
            first = Point(manifest.whole_from)
        reach.append(Span(first=first, last=end, until=until, lineage=lineage))
    return reach


def spans_of(branch: Branch) -> list[Span]:
    """What can be restored of a history, from all its chains, each moment once, in the order of the etags."""
    return list(_joined(span for chain in branch.chains() for span in restorable(chain, branch.id)))


def _joined(spans: Iterable[Span]) -> Iterator[Span]:
    last: Span | None = None
    for span in sorted(spans, key=lambda span: (span.first.etag, -span.last.etag)):
        if last is not None and span.first.etag <= last.last.etag:
            last = _both(last, span)
            continue
        if last is not None:
            yield last
        last = span
    if last is not None:
        yield last


def _both(one: Span, other: Span) -> Span:
    """Two spans with a moment in common, as one."""
    newest = max(one.last.etag, other.last.etag)
    ends = [span for span in (one, other) if span.last.etag == newest]
    until = max((span.until for span in ends if span.until), default=None)
    first = one.first if one.first.time or one.first.etag < other.first.etag else other.first
    return Span(first=first, last=ends[0].last, until=until, lineage=one.lineage)


def past_of(line: Sequence[Branch]) -> list[Span]:
    """What can be restored of a history and of those that it came from, until it left them; the oldest first.

    `line` begins with the history itself.
    """
    past: list[Span] = []
    limit: Point | None = None
    for branch in line:
        past += [cut for span in reversed(spans_of(branch)) if (cut := span.through(limit))]
        limit = Point(branch.lineage.etag, branch.lineage.time)
    return past[::-1]


def nearest(
    tree: Tree, meant: Iterable[Branch], place: Callable[[Point], int | None], limit: int
) -> tuple[Found, Found]:
    """The last moment up to this place that can be restored, and the first one after it.

    They are of the histories that are meant; where these have none, of any.
    """
    own = [span for branch in meant for span in past_of(tree.line(branch))]
    any_ = [span for branch in tree.held for span in spans_of(branch)]
    before, after = zip(*(_around(spans, place, limit) for spans in (own, any_)), strict=True)
    return before[0] or before[1], after[0] or after[1]


def _around(spans: Iterable[Span], place: Callable[[Point], int | None], limit: int) -> tuple[Found, Found]:
    ends = [(span.lineage, point) for span in spans for point in (span.first, span.last)]
    known = [(at, lineage, point) for lineage, point in ends if (at := place(point)) is not None]
    known.sort(key=itemgetter(0))
    before = [(lineage, point) for at, lineage, point in known if at <= limit]
    after = [(lineage, point) for at, lineage, point in known if at > limit]
    return before[-1] if before else None, after[0] if after else None
