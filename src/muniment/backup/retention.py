"""Which backups of a folder to keep: manifests, a policy and a time in, decisions with their reasons out. No I/O here.

A backup is restored with those that it continues, so whatever is kept keeps these. What cannot be read may be anything:
it is never a reason to remove something, and what it may need is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from muniment.backup.cron import zone_named
from muniment.backup.lineages import Branch, Tree, micros
from muniment.backup.plan import chain_of
from muniment.backup.records import Record
from muniment.backup.repository import Backup, Backups, Unusable, stamp, unusable_in
from muniment.document import from_microseconds
from muniment.duration import duration_of, duration_text
from muniment.errors import DamagedBackup, InvalidInput

SECOND: Final = 1_000_000
_Bucket: TypeAlias = Callable[[datetime], object]
_PERIODS: Final[dict[str, tuple[str, _Bucket]]] = {
    "keep_hourly": (
        "hour",
        lambda time: (time.date(), time.hour, time.utcoffset()),
    ),  # of a night in autumn, two have one name
    "keep_daily": ("day", lambda time: time.date()),
    "keep_weekly": ("week", lambda time: time.isocalendar()[:2]),
    "keep_monthly": ("month", lambda time: (time.year, time.month)),
    "keep_yearly": ("year", lambda time: time.year),
}


class Policy(
    msgspec.Struct, frozen=True, kw_only=True, rename="pascal", forbid_unknown_fields=True, omit_defaults=True
):
    """What to keep. A backup is kept when any of these wants it; one that asks for nothing keeps everything.

    `keep_last` counts backups. `keep_within` is a time as in `30d`: all backups that were begun in it. `keep_hourly` to
    `keep_yearly` keep the newest backup of so many hours, days, ISO weeks, months or years that have one, by the clock
    of `time_zone`. `restorable_within` keeps all that is needed to restore any moment of this time that can be restored
    now. Times end with the newest backup, so that nothing is removed because no new ones come.

    `merge_after`: where a chain has more than so many incremental backups that nothing but the later ones needs, they
    are to be merged into a full one.
    """

    keep_last: int = 0
    keep_within: str | None = None
    keep_hourly: int = 0
    keep_daily: int = 0
    keep_weekly: int = 0
    keep_monthly: int = 0
    keep_yearly: int = 0
    restorable_within: str | None = None
    merge_after: int = 0
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        for name in ("keep_last", *_PERIODS, "merge_after"):
            if getattr(self, name) < 0:
                raise InvalidInput(f"{_option(name)} cannot be {getattr(self, name)}", "give 1 or more")
        zone_named(self.time_zone)
        for name in ("keep_within", "restorable_within"):
            if (text := getattr(self, name)) is not None and not duration_of(text, _option(name)):
                raise InvalidInput(f"{_option(name)} is {text!r}, so that nothing would be in it", "give a longer time")

    @property
    def keeps_all(self) -> bool:
        """Whether it asks for nothing, so that nothing is to be removed."""
        counts = (self.keep_last, *(getattr(self, name) for name in _PERIODS))
        return not any(counts) and self.keep_within is None and self.restorable_within is None


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a backup is kept, and why."""

    backup: Backup
    kept: bool
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return f"{'keep' if self.kept else 'expire'} {self.backup.name}: {'; '.join(self.reasons)}"


@dataclass(frozen=True, slots=True)
class Retention:
    """What a policy comes to: a decision for each backup that can be read, in the order of the backups.

    `merges` are the last of those backups that are to be merged with the ones before them.
    """

    decisions: tuple[Decision, ...]
    merges: tuple[Backup, ...] = ()

    @property
    def expired(self) -> tuple[Backup, ...]:
        """What is not kept, those that continue others before these."""
        return tuple(decision.backup for decision in reversed(self.decisions) if not decision.kept)


def proven_in(records: Sequence[Record]) -> frozenset[str]:
    """The SHA-256 of the manifests of backups with which nothing was wrong in their last rehearsal or verification."""
    return frozenset(sha256 for sha256, whole in _found(records).items() if whole)


def doubted_in(records: Sequence[Record]) -> frozenset[str]:
    """The SHA-256 of the manifests of those with which something may be wrong, as it was found last."""
    return frozenset(sha256 for sha256, whole in _found(records).items() if not whole)


def _found(records: Sequence[Record]) -> dict[str, bool]:
    """Whether each backup that was ever rehearsed or verified was whole the last time."""
    found: dict[str, bool] = {}
    for record in sorted(records, key=lambda record: record.completed):
        found |= dict.fromkeys(record.manifests, record.problem is None) | dict.fromkeys(record.whole, True)
    return found


def retention(
    available: Sequence[Backup],
    policy: Policy,
    now: int,
    *,
    proven: Collection[str] = (),
    doubted: Collection[str] = (),
    held: Mapping[str, str] | None = None,
) -> Retention:
    """What to keep of the backups of a folder at the time `now` (microseconds).

    `proven` and `doubted` are the SHA-256 of manifests as `proven_in` and `doubted_in` give them; `held` says of others
    why they must stay. The newest backup of each history that goes on is always kept, and the newest that is proven to
    restore. One that is doubted counts for no rule, so that it never takes the place of a good one.
    """
    held = held or {}
    kept: dict[str, list[str]] = {}
    merges: list[Backup] = []
    for id in dict.fromkeys(backup.manifest.database.id for backup in available):
        own = [backup for backup in available if backup.manifest.database.id == id]
        choice = _Choice(own, policy, now, proven, doubted)
        choice.choose(unusable_in(available), available.unfinished if isinstance(available, Backups) else ())
        for backup in own:
            if reason := held.get(backup.sha256):
                choice.keep(backup, reason)
        choice.keep_chains()
        kept |= choice.kept
        merges += choice.merges(held)
    decisions = (
        Decision(backup, backup.sha256 in kept, tuple(kept.get(backup.sha256, ["no rule keeps it"])))
        for backup in available
    )
    return Retention(tuple(decisions), tuple(merges))


@dataclass
class _Choice:
    """What is kept of one database's backups, while that is found out."""

    own: Sequence[Backup]
    policy: Policy
    now: int
    proven: Collection[str]
    doubted: Collection[str]
    kept: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # A full backup that was merged out of a chain stands for its last one when it is proven, and not before.
        merged = {state: each for each in self.own if (state := each.manifest.same_state_as)}
        self.replaced = {state for state, each in merged.items() if each.sha256 in self.proven}
        short = [backup for backup in self.own if backup.sha256 not in self.replaced]
        self.chains: dict[str, tuple[Backup, ...]] = {}
        for backup in self.own:
            if chain := _chain(backup, self.own):
                self.chains[backup.sha256] = _chain(backup, short) or chain
        self.usable = {
            sha256 for sha256, chain in self.chains.items() if not any(link.sha256 in self.doubted for link in chain)
        }
        self.alone: set[str] = set()  # kept for what continues them, and nothing else

    def keep(self, backup: Backup, reason: str) -> None:
        """Keep it, for this reason too."""
        reasons = self.kept.setdefault(backup.sha256, [])
        if reason not in reasons:
            reasons.append(reason)

    def choose(self, unusable: Sequence[Unusable], unfinished: Sequence[Path]) -> None:
        """Keep what the policy asks for, and what nobody can say that it is not needed."""
        tree = Tree(self.own)
        for backup in self.own:
            if backup.sha256 not in self.chains:
                self.keep(backup, f"it cannot be restored, and so is not touched: {_gap(backup, self.own)}")
            elif backup.sha256 not in self.usable:
                self.keep(
                    backup, "something was wrong when it was last verified or rehearsed, and so it is not touched"
                )
            elif self.policy.keeps_all:
                self.keep(backup, "the policy removes nothing")
        for branches in _groups(tree):
            self._choose(branches)
        self._keep_for(tree, unusable, unfinished)

    def _choose(self, branches: Sequence[Branch]) -> None:
        """Keep what the policy asks for of one history, which is first, and those that it came from."""
        all_ = sorted(
            (backup for branch in branches for backup in branch.backups if backup.sha256 in self.usable),
            key=lambda backup: (backup.manifest.started, backup.manifest.through, backup.manifest.kind == "full"),
            reverse=True,
        )
        if not all_:
            return
        states = [backup for backup in all_ if backup.sha256 not in self.replaced]
        head = [backup for backup in states if backup in branches[0].backups]
        self.keep((head or states)[0], "it is the newest that can be restored")
        good = (each for each in states if all(link.sha256 in self.proven for link in self.chains[each.sha256]))
        if newest := next(good, None):
            self.keep(newest, "it is the newest that is proven to restore")
        for backup in states[: self.policy.keep_last]:
            self.keep(backup, f"it is one of the last {self.policy.keep_last}")
        end = min(self.now, micros(states[0].manifest.started))
        if self.policy.keep_within:
            length = duration_of(self.policy.keep_within, "keep-within")
            for backup in all_:
                if micros(backup.manifest.started) >= end - length * SECOND:
                    self.keep(backup, f"it is of the last {duration_text(length)}")
        if self.policy.restorable_within:
            self._keep_moments(branches, duration_of(self.policy.restorable_within, "restorable-within"), end)
        self._keep_periods(states)

    def _keep_moments(self, branches: Sequence[Branch], length: int, end: int) -> None:
        """Keep what can restore a moment since then: also the last state before, which was the state for a while."""
        since = end - length * SECOND
        reason = f"a moment of the last {duration_text(length)} is restored from it"
        for branch in branches:
            own = [backup for backup in branch.backups if backup.sha256 in self.usable]
            for backup in own:
                if _last_moment(backup) >= since:
                    self.keep(backup, reason)
            before = [backup for backup in own if _last_moment(backup) < since]
            if before and branch.seen >= since:
                last = max(before, key=lambda backup: (backup.manifest.through, backup.manifest.started))
                self.keep(last, f"it is the state at the beginning of the last {duration_text(length)}")

    def _keep_periods(self, states: Sequence[Backup]) -> None:
        zone = zone_named(self.policy.time_zone)
        for name, (period, bucket) in _PERIODS.items():
            wanted, seen = getattr(self.policy, name), set[object]()
            for backup in states:
                of = bucket(datetime.fromisoformat(backup.manifest.started).astimezone(zone))
                if len(seen) < wanted and of not in seen:
                    seen.add(of)
                    self.keep(backup, f"it is the newest of its {period}, and one of {wanted} {period}s")

    def _keep_for(self, tree: Tree, unusable: Sequence[Unusable], unfinished: Sequence[Path]) -> None:
        """Keep what a backup may continue whose manifest cannot be read, or is not there yet."""
        for bad in unusable:
            if bad.ours:
                self._keep_before(tree, bad.stamp, bad.folder.name, "which cannot be read")
        today = stamp(from_microseconds(self.now) - timedelta(days=1))
        for path in unfinished:
            begun = path.name.partition(".full")[0].partition(".incremental")[0]
            if begun >= today:  # or else whatever wrote it was killed
                self._keep_before(tree, begun, path.name, "which is being written")

    def _keep_before(self, tree: Tree, begun: str | None, name: str, what: str) -> None:
        if name.endswith(".full"):
            return
        for branch in tree.held:
            before = [
                backup
                for backup in branch.backups
                if begun is None or stamp(datetime.fromisoformat(backup.manifest.started)) <= begun
            ]
            for backup in before if begun is None else before[-1:]:
                self.keep(backup, f"{name}, {what}, may continue it")

    def keep_chains(self) -> None:
        """Keep what is needed to restore what is kept."""
        newest_first = sorted(self.own, key=lambda backup: (backup.manifest.through, backup.manifest.started))[::-1]
        for backup in [each for each in newest_first if each.sha256 in self.kept]:
            for needed in self.chains.get(backup.sha256, ())[:-1]:
                if needed.sha256 not in self.kept:
                    self.alone.add(needed.sha256)
                    self.keep(needed, f"{backup.name} needs it")
        for backup in self.own:
            if backup.manifest.same_state_as in self.alone and backup.sha256 not in self.proven:
                self.keep(backup, "it takes the place of those that it was merged from when it is proven")

    def merges(self, held: Mapping[str, str]) -> Iterator[Backup]:
        """The last of those backups of each chain that only later ones need, where there are too many of them."""
        found: dict[str, Backup] = {}
        for sha256 in self.kept if self.policy.merge_after else ():
            idle: list[Backup] = []
            for backup in self.chains.get(sha256, ())[:-1]:
                if backup.sha256 not in self.alone or backup.sha256 in held:
                    break
                idle.append(backup)
            if len(idle) - 1 > self.policy.merge_after:
                found.setdefault(idle[0].sha256, idle[-1])
        yield from found.values()


def _chain(backup: Backup, among: Sequence[Backup]) -> tuple[Backup, ...] | None:
    try:
        return chain_of(backup, among)
    except DamagedBackup:
        return None


def _gap(backup: Backup, among: Sequence[Backup]) -> str:
    try:
        chain_of(backup, among)
    except DamagedBackup as error:
        return error.message
    return "its chain is not whole"


def _last_moment(backup: Backup) -> int:
    """Until when it is known to have been the state."""
    manifest = backup.manifest
    return max(micros(manifest.snapshot.until or manifest.snapshot.time), micros(manifest.started))


def _groups(tree: Tree) -> Iterator[list[Branch]]:
    """Each history that goes on, with those that it came from and that ended, and those that nothing came from."""
    heads = tree.newest()
    lines = [[head, *(branch for branch in tree.line(head) if branch not in heads)] for head in heads]
    claimed = {branch.id for line in lines for branch in line}
    others = [branch for branch in tree.held if branch.id not in claimed]
    for line in lines:
        yield [*line, *others]
    if not lines and others:
        yield others
