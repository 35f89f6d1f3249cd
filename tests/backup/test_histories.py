"""Which history a moment is of, as tables: manifests in, plans out. Nothing is guessed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from muniment.backup.lineages import Tree, spans_of
from muniment.backup.manifest import DatabaseIdentity, Manifest, Parent, SnapshotRecord
from muniment.backup.moment import RestorePoint
from muniment.backup.repository import Backup
from muniment.backup.restore_plan import plan_restore
from muniment.document import rfc3339
from muniment.errors import AmbiguousPoint, BackupNotFound, DamagedBackup, InvalidInput, MunimentError, UnreachablePoint
from muniment.storage.base import Lineage
from tests.backup.test_manifest import VALID

ID = VALID["database"]["id"]
FIRST = Lineage("aaaa-first", None, 0, None, rfc3339(datetime(2026, 11, 22, tzinfo=UTC)))


def clock(hour: float) -> datetime:
    return datetime(2026, 11, 22, tzinfo=UTC) + timedelta(hours=hour)


def begun(name: str, parent: Lineage, etag: int, time: float, at: float, *, part: bool = False) -> Lineage:
    """A lineage that was begun at this hour with the state of another one after an etag, of another hour."""
    return Lineage(name, parent.lineage, etag, rfc3339(clock(time)), rfc3339(clock(at)), part)


def taken(
    *line: Lineage,
    etag: int,
    time: float,
    at: float,
    parent: Backup | None = None,
    history_from: int | None = None,
    known: bool = True,
    reason: str = "asked for",
    digest: str = "",
) -> Backup:
    """A backup begun at the hour `at`, whose last transaction has this etag and was made at the hour `time`."""
    until = rfc3339(clock(at)) if known else None
    kind = "incremental" if parent else "full"
    lineages = line if known else ()
    manifest = msgspec.structs.replace(
        msgspec.convert(VALID, Manifest),
        kind=kind,
        reason=reason,
        database=DatabaseIdentity(ID, line[-1].lineage, "shop", lineages),
        snapshot=SnapshotRecord(etag, rfc3339(clock(time)), until),
        started=rfc3339(clock(at)),
        completed=rfc3339(clock(at + 0.01)),
        after=parent.manifest.through if parent else 0,
        through=etag,
        history_from=history_from,
        parent=Parent(parent.name, parent.sha256) if parent else None,
        fingerprint={"documents": {"": {"count": etag, "bytes": etag, "digest": f"{digest:0>64}"}}, "attachments": {}},
    )
    name = f"{kind} {etag} {at} of {line[-1].lineage}"
    return Backup(Path("backups") / name, manifest, name)


# The shop: a full backup at 8, an incremental one with history at 10. At 12 it is restored to the state of 9 (etag 5),
# and goes on: a full backup at 14, an incremental one at 16.
A = taken(FIRST, etag=3, time=7, at=8)
B = taken(FIRST, etag=8, time=9.5, at=10, parent=A, history_from=3)
SECOND = begun("bbbb-second", FIRST, 5, 9, 12)
C = taken(FIRST, SECOND, etag=7, time=13, at=14)
D = taken(FIRST, SECOND, etag=9, time=15, at=16, parent=C, history_from=7)
SHOP = [A, B, C, D]
WHOLE = taken(FIRST, SECOND, etag=9, time=13, at=14)
PARTLY = taken(FIRST, etag=8, time=9.5, at=9.8, parent=A, history_from=5)
# A restore that nobody has written to: its first backup has the old snapshot's time.
EARLY = taken(FIRST, SECOND, etag=5, time=9, at=13)
# A copy of the shop, made at 9, that is backed up beside it from 11 on; the shop itself lives until 16.
COPY = begun("cccc-copy", FIRST, 3, 7, 9)
E = taken(FIRST, COPY, etag=6, time=10.5, at=11)
LATE = taken(FIRST, etag=11, time=15, at=16, parent=B, history_from=8)
BOTH = [A, B, E, LATE]
# After that it is restored once more, from its first history.
THIRD = begun("dddd-third", FIRST, 8, 9.5, 17)
F = taken(FIRST, THIRD, etag=8, time=9.5, at=18)


@pytest.mark.parametrize(
    ("available", "moment", "expected"),
    [
        pytest.param(SHOP, {}, [C, D], id="the newest is that of the history that goes on"),
        pytest.param([A, B, EARLY], {}, [EARLY], id="also where nothing was written since"),
        pytest.param([*SHOP, F], {}, [F], id="also when it was restored from the first once more"),
        pytest.param(SHOP, {"at": 8.5}, [A, B], id="before the restore it is the first history"),
        pytest.param(SHOP, {"at": 9.7}, [A, B], id="also between its last write and its last backup"),
        pytest.param([A, B, EARLY], {"at": 9.2}, [A, B], id="and not the restored state, whose time is older"),
        pytest.param([A, B, EARLY], {"at": 12.5}, [EARLY], id="after the restore it is the restored state"),
        pytest.param([A, B, EARLY], {"at": 13}, [EARLY], id="until the backup was begun"),
        pytest.param([A, B, EARLY], {"at": 13.2}, "after the last backup", id="and not longer"),
        pytest.param([A, B, EARLY], {"at": 11}, "no backup tells", id="between the two nothing is known"),
        pytest.param(SHOP, {"at": 12.5}, "only the end is known", id="before the end of a full backup"),
        pytest.param(SHOP, {"at": 14.5}, [C, D], id="inside the second history"),
        pytest.param(SHOP, {"at": 15.9}, [C, D], id="after its last write"),
        pytest.param(SHOP, {"at": 7.5}, [A], id="a quiet time after the first backup's last write"),
        pytest.param(SHOP, {"at": 6}, "before the first backup", id="before everything"),
        pytest.param([*SHOP, F], {"at": 17.5}, [F], id="in the third history, the state of the first"),
        pytest.param([*SHOP, F], {"at": 15}, [C, D], id="in the second, while the third was not begun"),
        pytest.param(SHOP, {"etag": 5}, [A, B], id="an etag that both have in common"),
        pytest.param([A, C, D], {"etag": 4}, "only the end is known", id="one that only the first could have"),
        pytest.param([A, EARLY], {"etag": 5}, [EARLY], id="the state that a history began with, read from it"),
        pytest.param(SHOP, {"etag": 7}, AmbiguousPoint, id="an etag of both"),
        pytest.param(SHOP, {"etag": 7, "lineage": "b"}, [C], id="of the second"),
        pytest.param(SHOP, {"etag": 7, "lineage": "aaaa"}, [A, B], id="of the first"),
        pytest.param(SHOP, {"etag": 4, "lineage": "bbbb"}, [A, B], id="of the second, which has it from the first"),
        pytest.param(SHOP, {"etag": 9}, [C, D], id="an etag that only the second reached"),
        pytest.param(SHOP, {"etag": 10}, "after the last backup", id="an etag that none reached"),
        pytest.param(SHOP, {"lineage": "aaaa"}, [A, B], id="the end of the first history"),
        pytest.param(SHOP, {"at": 9.7, "lineage": "bbbb"}, [A, B], id="along the second: where it left the first"),
        pytest.param(SHOP, {"at": 8, "lineage": "bbbb"}, [A], id="along the second: before that"),
        pytest.param(SHOP, {"backup": C.name}, [C], id="a backup by its name"),
        pytest.param(SHOP, {"backup": C.name, "lineage": "aaaa"}, BackupNotFound, id="which is of another lineage"),
        pytest.param(SHOP, {"lineage": "x"}, BackupNotFound, id="no such lineage"),
        pytest.param(SHOP, {"lineage": " "}, InvalidInput, id="no letters"),
        pytest.param(BOTH, {}, AmbiguousPoint, id="two that live: the newest"),
        pytest.param(BOTH, {"at": 10.7}, AmbiguousPoint, id="two that live: a time"),
        pytest.param(BOTH, {"at": 9.9}, AmbiguousPoint, id="two that live: also before the copy's first backup"),
        pytest.param(BOTH, {"at": 8.9}, [A, B], id="before the copy was made"),
        pytest.param(BOTH, {"at": 12}, [A, B, LATE], id="after the copy was last seen"),
        pytest.param(BOTH, {"at": 10.7, "lineage": "cccc"}, [E], id="the copy's state then"),
        pytest.param(BOTH, {"at": 10.7, "lineage": "a"}, [A, B, LATE], id="the shop's state then"),
        pytest.param(BOTH, {"lineage": "cccc"}, [E], id="the copy's newest"),
        pytest.param([A, B, WHOLE], {"etag": 7}, AmbiguousPoint, id="also where only the first can show it"),
    ],
)
def test_the_history_of_a_moment(
    available: Sequence[Backup], moment: dict[str, Any], expected: list[Backup] | str | type[MunimentError]
) -> None:
    at = clock(moment["at"]) if "at" in moment else None
    if expected is InvalidInput:
        with pytest.raises(InvalidInput):
            RestorePoint(**{**moment, "at": at})
        return
    wanted = RestorePoint(**{**moment, "at": at})
    if isinstance(expected, list):
        plan = plan_restore(available, "backups", wanted)
        assert list(plan.chain) == expected
        return
    kind = UnreachablePoint if isinstance(expected, str) else expected
    with pytest.raises(kind, match=expected if isinstance(expected, str) else None) as caught:
        plan_restore(available, "backups", wanted)
    assert caught.value.hint
    if isinstance(caught.value, UnreachablePoint | AmbiguousPoint):
        assert caught.value.instead
        for options in caught.value.instead:
            check_options(available, wanted, options)


def check_options(available: Sequence[Backup], wanted: RestorePoint, options: Sequence[str]) -> None:
    """What a hint names can be restored, if it names a moment."""
    named = dict(zip(options[::2], options[1::2], strict=True))
    lineage = named.pop("--lineage", None)
    if "--etag" in named:
        plan_restore(available, "backups", RestorePoint(etag=int(named["--etag"]), lineage=lineage))
    else:
        assert lineage
        assert not named
        Tree(available).named(lineage)
        assert wanted.lineage is None


def test_a_part_is_not_what_it_was_taken_from() -> None:
    part = begun("pppp-part", FIRST, 8, 9.5, 12, part=True)
    alone = taken(FIRST, part, etag=8, time=9.5, at=13, digest="1")
    with pytest.raises(AmbiguousPoint):
        plan_restore([A, B, alone], "", RestorePoint(etag=8))
    assert plan_restore([A, B, alone], "", RestorePoint(etag=8, lineage="p")).backup is alone
    assert plan_restore([A, B, alone], "", RestorePoint(etag=8, lineage="a")).backup is B
    assert plan_restore([A, B, alone], "", RestorePoint(etag=7, lineage="p")).backup is B


def test_what_backups_without_lineages_tell_is_not_stretched() -> None:
    """Format 1 said neither when a history began nor how long a state was the state."""
    one, two = (Lineage(name, None, 0, None, None) for name in ("one", "two"))
    a = taken(one, etag=3, time=7, at=8, known=False)
    b = taken(one, etag=8, time=9.5, at=10, parent=a, history_from=3, known=False)
    c = taken(two, etag=5, time=9, at=13, known=False, digest="1")
    d = taken(two, etag=9, time=14, at=15, parent=c, history_from=5, known=False)
    everything = [a, b, c, d]
    assert plan_restore(everything, "").backup is d
    assert plan_restore(everything, "", RestorePoint(at=clock(8.5))).chain == (a, b)
    assert plan_restore(everything, "", RestorePoint(at=clock(13.5))).chain == (c, d)
    assert plan_restore(everything, "", RestorePoint(etag=9)).chain == (c, d)
    moments: list[dict[str, Any]] = [{"etag": 5}, {"at": clock(9)}, {"etag": 8}]
    for moment in moments:
        with pytest.raises(AmbiguousPoint):
            plan_restore(everything, "", RestorePoint(**moment))
        plan_restore(everything, "", RestorePoint(**moment, lineage="two"))
    for hour in (7.5, 11.0, 9.7):
        with pytest.raises(AmbiguousPoint, match="a moment of"):
            plan_restore(everything, "", RestorePoint(at=clock(hour)))
    assert plan_restore([a, b], "", RestorePoint(at=clock(7.5))).chain == (a, b)
    with pytest.raises(UnreachablePoint, match="no backup tells"):
        plan_restore([a, b], "", RestorePoint(at=clock(9.7)))
    # The same state under the same etag and time is the same, whoever backed it up.
    same = taken(two, etag=8, time=9.5, at=13, known=False)
    plan_restore([a, b, same], "", RestorePoint(etag=8))


def test_a_database_that_was_put_back_has_two_histories_under_one_name() -> None:
    back = taken(FIRST, etag=6, time=11, at=12, reason="the database was put back to a state before its last backup")
    on = taken(FIRST, etag=8, time=13, at=14, parent=back, digest="1")
    available = [A, B, back, on]
    assert plan_restore(available, "").backup is on
    with pytest.raises(AmbiguousPoint) as caught:
        plan_restore(available, "", RestorePoint(etag=8))
    first, second = (options[1] for options in caught.value.instead)
    assert plan_restore(available, "", RestorePoint(etag=8, lineage=first)).backup is B
    assert plan_restore(available, "", RestorePoint(etag=8, lineage=second)).backup is on
    assert plan_restore(available, "", RestorePoint(at=clock(9.2))).chain == (A, B)


def test_moments_before_and_after_a_missing_link_stay_reachable() -> None:
    last = taken(FIRST, etag=12, time=11, at=12, parent=B, history_from=8)
    other = taken(FIRST, etag=14, time=13, at=14)
    available = [A, last, other]
    assert plan_restore(available, "", RestorePoint(etag=3)).backup is A
    assert plan_restore(available, "", RestorePoint(at=clock(7.5))).backup is A
    assert plan_restore(available, "", RestorePoint(etag=14)).backup is other
    moments: list[dict[str, Any]] = [{"etag": 10}, {"etag": 12}, {"at": clock(10)}]
    for moment in moments:
        with pytest.raises(DamagedBackup, match="missing") as caught:
            plan_restore(available, "", RestorePoint(**moment))
        assert caught.value.instead == (("--etag", "3"), ("--etag", "14"))
        assert "etag 3" in caught.value.hint


def test_letters_of_a_lineage() -> None:
    tree = Tree(BOTH)
    assert tree.named("AAAA").id == FIRST.lineage
    assert tree.named(COPY.lineage).id == COPY.lineage
    twin = begun("aaaa-other", FIRST, 8, 9.5, 12)
    tree = Tree([A, B, taken(FIRST, twin, etag=9, time=13, at=14)])
    with pytest.raises(InvalidInput, match="2 lineages"):
        tree.named("aaaa")
    assert tree.named("aaaa-f").id == FIRST.lineage


@pytest.mark.parametrize(
    ("available", "expected"),
    [
        ([A], {"aaaa-first": [(3, 3, 8)]}),
        ([A, B], {"aaaa-first": [(3, 8, 10)]}),
        ([A, taken(FIRST, etag=3, time=7, at=9, parent=A)], {"aaaa-first": [(3, 3, 9)]}),
        ([A, taken(FIRST, etag=8, time=9.5, at=9.8), B], {"aaaa-first": [(3, 8, 10)]}),
        ([A, taken(FIRST, etag=8, time=9.5, at=9.8, parent=A)], {"aaaa-first": [(3, 3, 8), (8, 8, 9.8)]}),
        ([A, PARTLY], {"aaaa-first": [(3, 3, 8), (5, 8, 9.8)]}),
        (SHOP, {"aaaa-first": [(3, 8, 10)], "bbbb-second": [(7, 9, 16)]}),
    ],
)
def test_each_moment_is_listed_once(
    available: Sequence[Backup], expected: dict[str, list[tuple[int, int, float]]]
) -> None:
    found = {
        branch.id: [(span.first.etag, span.last.etag, span.until) for span in spans_of(branch)]
        for branch in Tree(available).branches
    }
    assert found == {
        id: [(first, last, rfc3339(clock(until))) for first, last, until in spans] for id, spans in expected.items()
    }


@pytest.mark.parametrize(
    ("moment", "nearest"),
    [
        ({"at": 12.5}, [("5", "aaaa"), ("7", "bbbb")]),
        ({"at": 12.5, "lineage": "bbbb"}, [("5", "aaaa"), ("7", "bbbb")]),
        ({"etag": 6, "lineage": "bbbb"}, [("5", "aaaa"), ("7", "bbbb")]),
        ({"etag": 9, "lineage": "aaaa"}, [("8", "aaaa")]),
        ({"etag": 10}, [("9", "bbbb")]),
    ],
)
def test_the_nearest_moment_is_one_of_the_history_that_was_meant(
    moment: dict[str, Any], nearest: list[tuple[str, str]]
) -> None:
    """What the shop did after the second history had left it is none of that one's past."""
    at = clock(moment["at"]) if "at" in moment else None
    with pytest.raises(UnreachablePoint) as caught:
        plan_restore(SHOP, "backups", RestorePoint(**{**moment, "at": at}))
    assert [(etag, lineage[:4]) for _, etag, _, lineage in caught.value.instead] == nearest
    for options in caught.value.instead:
        check_options(SHOP, RestorePoint(), options)
