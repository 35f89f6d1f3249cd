"""Where in a folder of backups a moment is, decided from manifests alone: in which history, and in which chain.

No file is touched here, so that tests are tables. Nothing is guessed: a moment that two histories have is refused.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from muniment.backup.lineages import Branch, Found, Tree, micros, nearest
from muniment.backup.moment import NEWEST, RestorePoint
from muniment.backup.plan import RestorePlan, chain_of, ends_of, newer_unusable
from muniment.backup.repository import Backup, Unusable, unusable_in
from muniment.document import from_microseconds, rfc3339, to_microseconds
from muniment.errors import AmbiguousPoint, BackupNotFound, DamagedBackup, MunimentError, UnreachablePoint

EARLIEST: Final = -62_135_596_800_000_000  # the first microsecond of the year 1, before which Python has no time


def plan_restore(available: Sequence[Backup], where: str, point: RestorePoint = NEWEST) -> RestorePlan:
    """What to read for the newest moment that these backups hold, or for the one that is named.

    Raises `BackupNotFound` when there is none, `AmbiguousPoint` when several histories have it, `UnreachablePoint` with
    the nearest moments that can be reached, and `DamagedBackup` when a link of the chain is missing or was changed.
    """
    plan = _plan(available, where, point)
    return replace(plan, notes=(*map(str, unusable_in(available)), *plan.missing))


def _plan(available: Sequence[Backup], where: str, point: RestorePoint) -> RestorePlan:
    name = point.backup and point.backup.rstrip("/")
    for bad in unusable_in(available):
        if name == bad.folder.name or not available:
            raise _unusable(bad, available)
    tree = tree_of(available, where)
    branch = tree.named(point.lineage) if point.lineage is not None else None
    if name is not None:
        return RestorePlan(chain_of(_backup_named(name, branch.backups if branch else available, where), available))
    search = _Search(tree, available)
    if point.etag is not None:
        return search.etag(point.etag, branch)
    if point.at is not None:
        return search.time(to_microseconds(point.at), branch)
    return search.newest(branch)


def tree_of(available: Sequence[Backup], where: str) -> Tree:
    """The histories of these backups; raises `BackupNotFound` when there is none, or of more than one database."""
    if not available:
        raise BackupNotFound(
            f"there is no complete backup in {where}",
            "give the folder that backups were written to; a schedule for all databases has one below it for each. "
            "A backup without a manifest.json was not finished",
        )
    if len({found.manifest.database.id for found in available}) > 1:
        raise BackupNotFound(f"{where} holds the backups of several databases", "give the folder of one of them")
    return Tree(available)


def plan_latest(available: Sequence[Backup], where: str) -> RestorePlan:
    """The end of the chain that was completed last, of whatever history it is."""
    if not available:
        return plan_restore(available, where)  # which says why there is none
    tree_of(available, where)
    return RestorePlan(chain_of(ends_of(available)[0], available))


def _backup_named(name: str, available: Sequence[Backup], where: str) -> Backup:
    for found in available:
        if name in (found.name, *found.aliases):
            return found
    raise BackupNotFound(f"there is no complete backup {name!r} in {where}", "give the name of its folder")


def _unusable(bad: Unusable, available: Sequence[Backup]) -> MunimentError:
    """The error of one that is needed; its hint names what can be restored all the same."""
    error = type(bad.error)(f"{bad.folder.name} cannot be used: {bad.error.message}", bad.error.hint)
    for end in ends_of(available):
        with suppress(DamagedBackup):
            chain_of(end, available)
            time = end.manifest.snapshot.time
            error.hint += f"; the newest state that can be restored without it is that of {time}: --backup {end.name}"
            break
    return error


class _Search:
    """Looks for moments in all chains of all histories of a folder."""

    def __init__(self, tree: Tree, available: Sequence[Backup]) -> None:
        self._tree = tree
        self._available = available

    def newest(self, branch: Branch | None) -> RestorePlan:
        """The last state that is known of this history, or of the only one that none took the place of."""
        found = [branch] if branch else self._tree.newest()
        if len(found) > 1:
            raise self._ambiguous("the newest state could be that of", found)
        if not found[0].backups:
            raise BackupNotFound(f"no backup is of the lineage {found[0].id}", "name a moment of one that has backups")
        end = ends_of(found[0].backups)[0]
        if newer := newer_unusable(end, self._available):
            raise _unusable(newer, self._available)
        return RestorePlan(chain_of(end, self._available))

    def etag(self, etag: int, branch: Branch | None) -> RestorePlan:
        """The state after the transaction with this etag."""
        holding = [branch] if branch else [held for held in self._tree.held if etag <= held.last_etag]
        owners = {owner.id: owner for owner in (self._owner(held, etag) for held in holding)}
        plans = {id: self._read_etag(owner, etag, branch) for id, owner in owners.items()}
        if len(owners) > 1:  # where a history began may not be known: then only what can be read of it counts
            owners = {id: owner for id, owner in owners.items() if owner.origin_known or plans[id]} or owners
        plan = self._only(f"etag {etag:,} is a moment of", [(owner, plans[id]) for id, owner in owners.items()])
        if plan is None:
            raise self._no_etag(etag, branch, [*owners.values()])
        return plan

    def _owner(self, branch: Branch, etag: int) -> Branch:
        """The history whose transaction this etag is, on the way from this one to where it came from."""
        line = self._tree.line(branch)
        return next((each for each in line if etag >= each.first_etag), line[-1])

    def _read_etag(self, owner: Branch, etag: int, branch: Branch | None) -> RestorePlan | None:
        """A plan to read it, from the history that made it, or from one that began with that state."""
        others = [held for held in self._tree.held if held is not owner and self._owner(held, etag) is owner]
        preferred = [owner, *sorted(others, key=lambda held: held is not branch)]
        plans = (_etag_in(chain, etag) for held in preferred for chain in held.chains())
        return next((plan for plan in plans if plan), None)

    def time(self, at: int, branch: Branch | None) -> RestorePlan:
        """The state at this time (microseconds) of the history that the database had then, or of the named one."""
        if branch is not None:
            plan = self._time_along(branch, at)
        else:
            found = [(each, _time_in(each, at)) for each in self._tree.alive(at)]
            # Of a history whose beginning is not known, what can be read from before its first backup may count too.
            unsure = [each for each in self._tree.held if not each.origin_known and at < each.certain_from]
            early = [(each, plan) for each in unsure if (plan := _time_in(each, at))]
            exact = [each for each, plan in early if not plan.partial and _time(plan.backup) == at]
            if early and not (found or exact) and len(self._tree.held) > 1:
                raise self._ambiguous(f"{_text(at)} may be a moment of others than", [each for each, _ in early])
            plan = self._only(f"{_text(at)} is a moment of", [*found, *early])
        if plan is None:
            raise self._no_time(at, branch, self._tree.alive(at))
        return plan

    def _time_along(self, branch: Branch, at: int) -> RestorePlan | None:
        """The state at this time of this history; before it began, of its ancestors."""
        for each in self._tree.line(branch):
            if each.certain_from <= at or not each.lineage.parent:
                return _time_in(each, at)
            if at >= micros(each.lineage.time or ""):
                parent, etag = self._tree.parent(each), each.lineage.etag
                return self._read_etag(self._owner(parent, etag), etag, branch) if parent else None
        return None

    def _only(self, what: str, found: Sequence[tuple[Branch, RestorePlan | None]]) -> RestorePlan | None:
        """The plan of the only history, or of several that have the same state; raises `AmbiguousPoint`."""
        plans = [plan for _, plan in found]
        if len({_state(plan) for plan in plans}) > 1 or (len(plans) > 1 and None in plans):
            raise self._ambiguous(what, [branch for branch, _ in found])
        return plans[0] if plans else None

    def _ambiguous(self, what: str, found: Sequence[Branch]) -> AmbiguousPoint:
        names = [self._tree.short(branch.id) for branch in found]
        told = " and ".join(
            f"{name} (backed up through {_text(branch.seen)})" for name, branch in zip(names, found, strict=True)
        )
        count = f"{len(found)} histories" if len(found) > 1 else "one history"
        error = AmbiguousPoint(
            f"{what} {count} of this database, {told}",
            f"say which one: {' or '.join(f'--lineage {name}' for name in names)}; `muniment inspect` shows them all",
        )
        error.instead = tuple(("--lineage", name) for name in names)
        return error

    def _no_etag(self, etag: int, branch: Branch | None, owners: Sequence[Branch]) -> MunimentError:
        found = nearest(self._tree, [branch] if branch else owners, lambda point: point.etag, etag)
        histories = self._tree.line(branch) if branch else owners
        if etag > max(each.last_etag for each in ([branch] if branch and branch.backups else self._tree.held)):
            return self._unreachable("that etag is after the last backup", *found)
        later = self._next(_etag, etag, histories) or self._next(_etag, etag, self._tree.held)
        return self._between("etag", later, *found)

    def _no_time(self, at: int, branch: Branch | None, alive: Sequence[Branch]) -> MunimentError:
        histories = self._tree.line(branch) if branch else alive
        found = nearest(
            self._tree, [branch] if branch else alive, lambda point: micros(point.time) if point.time else None, at
        )
        if at > max(branch.seen for branch in histories or self._tree.held):
            return self._unreachable("that time is after the last backup", *found)
        later = self._next(_time, at, histories)
        if later is None or not self._of_its_history(later, at):
            return self._unreachable("no backup tells what was there then", *found)
        return self._between("time", later, *found)

    def _next(self, place: Callable[[Backup], int], moment: int, histories: Collection[Branch]) -> Backup | None:
        """The first backup at or after this moment, which could have been expected to hold it."""
        backups = [backup for branch in histories or self._tree.held for backup in branch.backups]
        later = [backup for backup in backups if place(backup) >= moment]
        return min(later, key=lambda backup: (place(backup), backup.manifest.completed), default=None)

    def _of_its_history(self, backup: Backup, at: int) -> bool:
        """Whether the database may have had the history of this backup at this time."""
        branch = next(branch for branch in self._tree.held if backup in branch.backups)
        return branch.certain_from <= at or not branch.origin_known

    def _between(self, what: str, later: Backup | None, before: Found, after: Found) -> MunimentError:
        """Why a moment before the end of a backup cannot be told from it."""
        try:
            chain = chain_of(later, self._available) if later else ()
        except DamagedBackup as damage:
            error = self._unreachable("", before, after)
            damage.hint = f"{damage.hint}; {error.hint}"
            damage.instead = error.instead
            return damage
        if later is None or (len(chain) == 1 and before is None):
            end = "the end of " if what == "etag" else ""
            return self._unreachable(f"that {what} is before {end}the first backup", before, after)
        manifest = later.manifest
        if len(chain) == 1:
            why = f"of a full backup like {later.name} only the end is known"
        elif manifest.whole_from == manifest.through:
            why = f"{later.name} was taken without history"
        else:
            why = f"the history in {later.name} begins at etag {manifest.whole_from}"
        return self._unreachable(why, before, after)

    def _unreachable(self, why: str, before: Found, after: Found) -> UnreachablePoint:
        found = [each for each in (before, after) if each is not None]
        several = len(self._tree.held) > 1
        options = [
            RestorePoint(etag=point.etag, lineage=self._tree.short(id) if several else None).options()
            for id, point in found
        ]
        told = [f"{point}: {' '.join(option)}" for (_, point), option in zip(found, options, strict=True)]
        hint = f"the nearest that can: {' and '.join(told)}" if told else "see `muniment inspect` for what can"
        error = UnreachablePoint(f"this moment cannot be restored: {why}", hint)
        error.instead = tuple(map(tuple, options))
        return error


def _etag_in(chain: Sequence[Backup], etag: int) -> RestorePlan | None:
    """The plan for the state after this etag's transaction, if this chain holds it."""
    for length, backup in enumerate(chain, 1):
        manifest = backup.manifest
        if manifest.through == etag:
            return RestorePlan(tuple(chain[:length]))
        if manifest.through > etag:
            inside = length > 1 and max(manifest.whole_from, manifest.after + 1) <= etag
            return RestorePlan(tuple(chain[:length]), upto=etag) if inside else None
    return None


def _time_in(branch: Branch, at: int) -> RestorePlan | None:
    """The plan for the state of this history at this time, if it is known: from a chain that tells it for certain."""
    plans = [plan for chain in branch.chains() if (plan := _time_in_chain(chain, branch, at))]
    return next((plan for plan in plans if not _doubtful(plan)), plans[0] if plans else None)


def _time_in_chain(chain: Sequence[Backup], branch: Branch, at: int) -> RestorePlan | None:
    times = [_time(backup) for backup in chain]
    last = bisect_right(times, at) - 1
    if last < 0:
        return None
    backup = chain[last]
    end = RestorePlan(tuple(chain[: times.index(times[last]) + 1]))
    if times[last] == at:
        return end
    quiet = [other.manifest.snapshot.until for other in branch.backups if _etag(other) == _etag(backup)]
    if branch.certain_from <= at and any(until and at <= micros(until) for until in quiet):
        return end
    inside = RestorePlan(tuple(chain[: last + 2]), at=at) if last + 1 < len(chain) else None
    return inside if inside and _with_history(inside.backup) else None


def _with_history(backup: Backup) -> bool:
    return backup.manifest.whole_from < backup.manifest.through


def _doubtful(plan: RestorePlan) -> bool:
    """Whether only reading can tell that the moment is in it: the first transactions of its last backup are not."""
    return plan.at is not None and plan.manifest.whole_from > plan.manifest.after


def _state(plan: RestorePlan | None) -> object:
    """A value that is equal for two plans of the same state; for a moment inside a backup, the plan itself.

    Nor is it known of a backup that is closed.
    """
    if plan is None or plan.partial or plan.manifest.closed:
        return plan and (tuple(backup.sha256 for backup in plan.chain), plan.upto, plan.at)
    manifest = plan.manifest
    return manifest.through, manifest.snapshot.time, manifest.fingerprint_at_snapshot().short()


def _etag(backup: Backup) -> int:
    return backup.manifest.through


def _time(backup: Backup) -> int:
    return micros(backup.manifest.snapshot.time)


def _text(at: int) -> str:
    return rfc3339(from_microseconds(max(at, EARLIEST)))
