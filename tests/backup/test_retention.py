"""What a policy keeps, as tables, and what holds of every policy over every folder of backups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.backup.lineages import Tree, micros, spans_of
from muniment.backup.manifest import FORMAT, DatabaseIdentity, Manifest, Parent, SnapshotRecord
from muniment.backup.plan import chain_of
from muniment.backup.records import Record
from muniment.backup.repository import Backup, Backups, Unusable, stamp
from muniment.backup.retention import Policy, doubted_in, proven_in, retention
from muniment.document import rfc3339, to_microseconds
from muniment.errors import DamagedBackup, InvalidInput
from muniment.storage.base import Lineage
from tests.backup.test_manifest import VALID

BEGIN = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ID = VALID["database"]["id"]
ONE = Lineage("one", None, 0, None, rfc3339(BEGIN - DAY))


def taken(
    day: float,
    parent: Backup | None = None,
    *,
    history: bool = False,
    line: Sequence[Lineage] = (ONE,),
    id: str = ID,
    merged: Backup | None = None,
) -> Backup:
    """A backup of that day, whose state is of that day too: etag 10 on the first, 20 on the second; its name tells."""
    time, through = BEGIN + day * DAY, round(day * 10) + 10
    kind = "incremental" if parent else "full"
    after = parent.manifest.through if parent else 0
    manifest = msgspec.structs.replace(
        msgspec.convert(VALID, Manifest),
        format=FORMAT,
        kind=kind,
        database=DatabaseIdentity(id, line[-1].lineage, "shop", tuple(line)),
        snapshot=SnapshotRecord(through, rfc3339(time)),
        after=after,
        through=through,
        history_from=after if history and parent else None,
        parent=Parent(parent.name, parent.sha256) if parent else None,
        same_state_as=merged.sha256 if merged else None,
        started=rfc3339(time),
        completed=rfc3339(time + timedelta(minutes=1)),
    )
    name = f"{stamp(time)}.{kind}"
    return Backup(Path("backups") / name, manifest, f"{name} {line[-1].lineage} {'merged' if merged else ''}")


def chain(*days: float, history: bool = False) -> list[Backup]:
    """A full backup and those that continue it."""
    found: list[Backup] = []
    for day in days:
        found.append(taken(day, found[-1] if found else None, history=history))
    return found


def kept(available: Sequence[Backup], policy: Policy, *, at: float = 400, **more: Any) -> list[float]:
    """The days of the backups that are kept."""
    made = retention(Backups(Path("backups"), available), policy, to_microseconds(BEGIN + at * DAY), **more)
    return [day_of(each.backup) for each in made.decisions if each.kept]


def day_of(backup: Backup) -> float:
    return (datetime.fromisoformat(backup.manifest.started) - BEGIN) / DAY


FULLS = [taken(day) for day in range(10)]


@pytest.mark.parametrize(
    ("policy", "days"),
    [
        (Policy(), list(range(10))),
        (Policy(keep_last=3), [7, 8, 9]),
        (Policy(keep_last=30), list(range(10))),
        (Policy(keep_within="36h"), [8, 9]),
        (Policy(restorable_within="36h"), [7, 8, 9]),  # that of the seventh day was the state until the eighth
        (Policy(keep_daily=2), [8, 9]),
        (Policy(keep_weekly=2), [3, 9]),  # 2026-01-01 is a Thursday, and the first week ends with the fourth
        (Policy(keep_monthly=5), [9]),
        (Policy(keep_last=1, keep_weekly=2), [3, 9]),
    ],
    ids=str,
)
def test_full_backups_stand_for_themselves(policy: Policy, days: list[float]) -> None:
    assert kept(FULLS, policy) == days


def test_the_newest_of_each_hour_by_the_clock_of_a_zone() -> None:
    hours = [taken(hour / 24) for hour in (0, 0.25, 0.75, 1, 1.5)]
    assert kept(hours, Policy(keep_hourly=9)) == [pytest.approx(0.75 / 24), pytest.approx(1.5 / 24)]
    days = [taken(hour / 24) for hour in (0, 10.5, 11.5)]  # 22:30 and 23:30 in UTC, 23:30 and 00:30 in Berlin
    assert len(kept(days, Policy(keep_daily=9))) == 1
    assert len(kept(days, Policy(keep_daily=9, time_zone="Europe/Berlin"))) == 2


def test_an_hour_that_comes_twice_is_two() -> None:
    first = (datetime(2026, 10, 25, 0, 30, tzinfo=UTC) - BEGIN) / DAY
    twice = [taken(first), taken(first + 1 / 24)]
    assert len(kept(twice, Policy(keep_hourly=2, time_zone="Europe/Berlin"))) == 2


def test_what_is_kept_keeps_what_it_continues() -> None:
    old, new = chain(0, 1, 2, 3), chain(4, 5, 6)
    assert kept([*old, *new], Policy(keep_last=2)) == [4, 5, 6]
    assert kept([*old, *new], Policy(keep_last=4)) == [0, 1, 2, 3, 4, 5, 6]
    made = retention(old, Policy(keep_last=1), to_microseconds(BEGIN + 9 * DAY))
    assert [each.reasons for each in made.decisions[:2]] == [(f"{old[3].name} needs it",)] * 2


def test_nothing_is_removed_because_no_new_ones_come() -> None:
    assert kept(FULLS, Policy(keep_within="36h"), at=10_000) == [8, 9]


def test_a_clock_that_was_ahead_when_a_backup_was_taken() -> None:
    assert kept([*FULLS, taken(5000)], Policy(keep_within="36h"), at=9) == [8, 9, 5000]


def test_the_last_one_that_is_proven_stays() -> None:
    one, two = chain(0, 1), chain(2, 3)
    proven = {backup.sha256 for backup in one}
    assert kept([*one, *two], Policy(keep_last=1), proven=proven) == [0, 1, 2, 3]
    assert kept([*one, *two], Policy(keep_last=1), proven=proven | {two[0].sha256, two[1].sha256}) == [2, 3]
    assert kept([*one, *two], Policy(keep_last=1), proven={one[1].sha256}) == [2, 3]  # its full one was not proven


def test_a_later_record_of_damage_takes_the_proof_away() -> None:
    def record(sha256: str, day: int, problem: str | None) -> Record:
        time = rfc3339(BEGIN + day * DAY)
        return Record(
            kind="rehearsal", backup="x", etag=1, time=time, manifests=(sha256,), completed=time, seconds=1.0,
            problem=problem,
        )  # fmt: skip

    records = [record("a", 1, None), record("b", 1, None), record("a", 2, "damaged"), record("c", 2, "damaged")]
    assert proven_in(records) == {"b"}
    assert proven_in([*records, record("a", 3, None)]) == {"a", "b"}


def test_one_that_was_found_damaged_takes_the_place_of_no_good_one() -> None:
    all_ = tuple(backup.sha256 for backup in FULLS)
    record = Record(
        kind="verification", backup="x", etag=1, time=rfc3339(BEGIN), completed=rfc3339(BEGIN), seconds=1.0,
        manifests=all_, problem="damaged", whole=all_[:-1],
    )  # fmt: skip
    proven, doubted = proven_in([record]), doubted_in([record])
    assert doubted == {FULLS[-1].sha256}
    assert kept(FULLS, Policy(keep_last=2), proven=proven, doubted=doubted) == [7, 8, 9]
    assert kept(FULLS, Policy(keep_daily=1), proven=proven, doubted=doubted) == [8, 9]
    of_old = msgspec.structs.replace(record, whole=())  # it does not say which ones
    assert kept(FULLS, Policy(keep_last=1), doubted=doubted_in([of_old])) == list(range(10))


def test_what_somebody_reads_stays() -> None:
    assert kept(FULLS, Policy(keep_last=1), held={FULLS[2].sha256: "a restore reads it"}) == [2, 9]


def test_what_cannot_be_restored_is_not_touched_and_counts_for_nothing() -> None:
    old = chain(0, 1, 2, 3)
    broken = [old[0], old[2], old[3]]  # the second was lost
    new = taken(5)
    assert kept([*broken, new], Policy(keep_last=1)) == [2, 3, 5]
    assert kept([*broken, taken(-1)], Policy(keep_last=2)) == [-1, 0, 2, 3]


@pytest.mark.parametrize(
    ("name", "days"),
    [
        (f"{stamp(BEGIN + 4.5 * DAY)}.incremental", [0, 3, 4, 9]),  # it may continue the newest before it
        (f"{stamp(BEGIN + 4.5 * DAY)}.full", [9]),
        ("renamed", [0, 3, 4, *range(5, 10)]),
    ],
)
def test_what_a_damaged_one_may_need_is_kept(name: str, days: list[float]) -> None:
    bad = Unusable(Path("backups") / name, DamagedBackup("the manifest cannot be trusted", ""), ours=True)
    available = Backups(Path("backups"), [*chain(0, 3, 4), *FULLS[5:]], [bad])
    made = retention(available, Policy(keep_last=1), to_microseconds(BEGIN + 20 * DAY))
    assert [day_of(each.backup) for each in made.decisions if each.kept] == days


@pytest.mark.parametrize(("hours", "days"), [(1, [0, 1, 2]), (25, [2])])
def test_what_one_that_is_being_written_may_continue_is_kept(hours: float, days: list[float]) -> None:
    now = BEGIN + 2.5 * DAY
    unfinished = Path("backups") / f"{stamp(now - timedelta(hours=hours))}.incremental"
    made = retention(
        Backups(Path("backups"), [*chain(0, 1), taken(2)], (), [unfinished]), Policy(keep_last=1), to_microseconds(now)
    )
    assert [day_of(each.backup) for each in made.decisions if each.kept] == ([2] if hours == 1 else days)


def test_two_histories_that_go_on_are_kept_each_by_itself() -> None:
    copy = Lineage("two", "one", 10, rfc3339(BEGIN), rfc3339(BEGIN + DAY))
    mine = [taken(day) for day in (0, 2, 4, 6)]
    other = [taken(day, line=(ONE, copy)) for day in (1.5, 3, 5)]
    assert kept([*mine, *other], Policy(keep_last=2)) == [3, 4, 5, 6]


def test_a_history_that_ended_is_of_the_one_that_took_its_place() -> None:
    restored = Lineage("two", "one", 30, rfc3339(BEGIN + 2 * DAY), rfc3339(BEGIN + 5 * DAY))
    before = [taken(day) for day in (0, 1, 2, 3)]
    since = [taken(day, line=(ONE, restored)) for day in (6, 7, 8)]
    assert kept([*before, *since], Policy(keep_last=2)) == [7, 8]
    assert kept([*before, *since], Policy(keep_last=4)) == [3, 6, 7, 8]


def test_databases_in_one_folder_do_not_count_for_each_other() -> None:
    assert kept([*FULLS, taken(3.5, id="another")], Policy(keep_last=1)) == [3.5, 9]


def test_a_merged_one_takes_the_place_of_a_chain_when_it_is_proven() -> None:
    old = chain(0, 1, 2, 3, 4)
    merged = taken(3, merged=old[3])
    assert kept([*old, merged], Policy(keep_last=1)) == [0, 1, 2, 3, 3, 4]
    made = retention(
        Backups(Path("backups"), [*old, merged]),
        Policy(keep_last=1),
        to_microseconds(BEGIN + 9 * DAY),
        proven={merged.sha256},
    )
    assert [each.backup for each in made.decisions if each.kept] == [merged, old[4]]
    assert list(made.expired) == old[3::-1]


@pytest.mark.parametrize(("after", "days"), [(0, []), (1, [5]), (4, [5]), (5, [])])
def test_incremental_for_ever_is_merged_where_only_later_ones_need_it(after: int, days: list[float]) -> None:
    made = retention(chain(*range(8)), Policy(keep_last=2, merge_after=after), to_microseconds(BEGIN + 9 * DAY))
    assert [day_of(each) for each in made.merges] == days


@pytest.mark.parametrize(
    "wrong",
    [{"keep_last": -1}, {"keep_within": "soon"}, {"keep_within": "0d"}, {"time_zone": "Mars/Base"}],
    ids=str,
)
def test_a_policy_that_makes_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Policy(**wrong)


DURATIONS = st.none() | st.sampled_from(["6h", "1d", "3d", "2w"])
COUNTS = st.integers(0, 3)
POLICIES = st.builds(
    Policy,
    keep_last=COUNTS,
    keep_within=DURATIONS,
    keep_hourly=COUNTS,
    keep_daily=COUNTS,
    keep_weekly=COUNTS,
    keep_monthly=COUNTS,
    keep_yearly=COUNTS,
    restorable_within=DURATIONS,
    merge_after=COUNTS,
    time_zone=st.sampled_from(["UTC", "Europe/Berlin"]),
)


@st.composite
def folders(draw: Any) -> tuple[list[Backup], set[str]]:
    """Backups of two histories, of which the second began with a restore; some lost, some merged, some proven."""
    found: list[Backup] = []
    day = 0.0
    lines: list[tuple[Lineage, ...]] = [(ONE,)]
    for _ in range(draw(st.integers(1, 14))):
        day += draw(st.sampled_from([0.1, 0.5, 1, 7]))
        if len(lines) == 1 and found and draw(st.integers(0, 9)) == 0:
            at = draw(st.sampled_from(found)).manifest
            lines.append(
                (ONE, Lineage("two", "one", at.through, at.snapshot.time, rfc3339(BEGIN + (day - 0.05) * DAY)))
            )
        line = draw(st.sampled_from(lines))
        parents = [each for each in found if each.manifest.database.lineage == line[-1].lineage]
        parent = parents[-1] if parents and draw(st.booleans()) else None
        found.append(taken(day, parent, history=draw(st.booleans()), line=line))
    ends = [each for each in found if each.manifest.parent]
    if ends and draw(st.booleans()):
        end = draw(st.sampled_from(ends))
        line = end.manifest.database.lineages
        found.append(taken(day_of(end), line=line, merged=end))
    proven = draw(st.sets(st.sampled_from([each.sha256 for each in found])))
    for _ in range(draw(st.integers(0, 1)) if len(found) > 1 else 0):
        found.remove(draw(st.sampled_from(found)))
    return found, proven


def restorable(backups: Sequence[Backup]) -> dict[str, Backup]:
    def whole(backup: Backup) -> bool:
        try:
            return bool(chain_of(backup, backups))
        except DamagedBackup:
            return False

    return {backup.sha256: backup for backup in backups if whole(backup)}


@given(folders(), POLICIES, st.integers(0, 400))
def test_what_holds_of_every_policy(folder: tuple[list[Backup], set[str]], policy: Policy, at: int) -> None:
    available, proven = folder
    now = to_microseconds(BEGIN + at * DAY)
    made = retention(Backups(Path("backups"), available), policy, now, proven=proven)
    left = [each.backup for each in made.decisions if each.kept]
    before, after = restorable(available), restorable(left)

    # Nothing that is kept has lost what it continues, and what could not be restored is not touched.
    assert {each.sha256 for each in left} & before.keys() == after.keys()
    assert {each.sha256 for each in available} - before.keys() <= {each.sha256 for each in left}
    if before:
        newest = max(before.values(), key=lambda each: each.manifest.started)
        assert newest.manifest.through in {each.manifest.through for each in after.values()}
    good = [each for each in before.values() if {link.sha256 for link in chain_of(each, available)} <= proven]
    assert bool(good) <= any({link.sha256 for link in chain_of(each, left)} <= proven for each in after.values())
    if policy.keeps_all:
        assert left == list(Backups(Path("backups"), available)) or proven

    # What is left is what another look leaves, and one rule more removes nothing more.
    again = retention(Backups(Path("backups"), left), policy, now, proven=proven)
    assert all(each.kept for each in again.decisions)
    more = msgspec.structs.replace(policy, keep_last=policy.keep_last + 1)
    if not policy.keeps_all:
        wider = {each.backup.sha256 for each in retention(available, more, now, proven=proven).decisions if each.kept}
        assert wider >= {each.sha256 for each in left}


@given(folders(), st.sampled_from(["6h", "3d", "2w"]), st.integers(0, 60))
def test_every_moment_of_the_window_can_be_restored_as_before(
    folder: tuple[list[Backup], set[str]], window: str, at: int
) -> None:
    available = [backup for backup in folder[0] if backup.manifest.same_state_as is None]
    now = to_microseconds(BEGIN + at * DAY)
    made = retention(available, Policy(restorable_within=window), now)
    left = [each.backup for each in made.decisions if each.kept]
    after = moments(left)
    newest = max((micros(each.manifest.started) for each in restorable(available).values()), default=now)
    since = min(now, newest) - {"6h": 6, "3d": 72, "2w": 336}[window] * 3_600_000_000
    for lineage, etag in moments(available):
        if to_microseconds(BEGIN + (etag - 10) / 10 * DAY) >= since:
            assert (lineage, etag) in after


def moments(backups: Sequence[Backup]) -> set[tuple[str, int]]:
    return {
        (branch.id, etag)
        for branch in Tree(backups).held
        for span in spans_of(branch)
        for etag in range(span.first.etag, span.last.etag + 1)
    }


def test_a_copy_of_a_manifest_is_no_other_backup() -> None:
    twin = replace(FULLS[9], folder=Path("backups/copy"))
    assert kept([*FULLS, twin], Policy(keep_last=1)) == [9, 9]
