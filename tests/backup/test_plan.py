"""What to write and what to read, as tables: manifests in, decisions out."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from muniment import DocumentDatabase, MaintenanceActions, MunimentError
from muniment.backup.manifest import FORMAT, DatabaseIdentity, Manifest, Parent, SnapshotRecord
from muniment.backup.moment import RestorePoint
from muniment.backup.plan import PUT_BACK, BackupPlan, Origin, plan_backup
from muniment.backup.repository import Backup, backups
from muniment.backup.restore_plan import plan_restore
from muniment.errors import BackupNotFound, DamagedBackup, ForeignBackup, UnreachablePoint
from tests.backup.state import opened
from tests.backup.test_manifest import VALID

ID = VALID["database"]["id"]


def second(etag: int) -> datetime:
    """In these tables the transaction of an etag is that many seconds after midnight."""
    return datetime(2026, 11, 22, 0, etag // 60, etag % 60, tzinfo=UTC)


def full(
    through: int, *, id: str = ID, lineage: str = "one", parent: Backup | None = None, history_from: int | None = None
) -> Backup:
    """A backup whose SHA-256 is its name; with a parent, an incremental one."""
    kind = "incremental" if parent else "full"
    manifest = msgspec.structs.replace(
        msgspec.convert(VALID, Manifest),
        format=FORMAT,
        kind=kind,
        database=DatabaseIdentity(id, lineage, "shop"),
        snapshot=SnapshotRecord(through, f"{second(through):%Y-%m-%dT%H:%M:%S}.000000Z"),
        after=parent.manifest.through if parent else 0,
        through=through,
        history_from=history_from,
        parent=Parent(parent.name, parent.sha256) if parent else None,
        started=f"2026-11-22T23:{through // 60:02d}:{through % 60:02d}.000000Z",
        completed=f"2026-11-22T23:{through // 60:02d}:{through % 60:02d}.000000Z",
    )
    name = f"{kind} {through} of {id} {lineage}"
    return Backup(Path("backups") / name, manifest, name)


def after(parent: Backup, through: int, history_from: int | None = None) -> Backup:
    """An incremental backup; with history, every moment from `history_from` on can be restored."""
    database = parent.manifest.database
    return full(through, id=database.id, lineage=database.lineage, parent=parent, history_from=history_from)


A = full(7)
B = after(A, 9)
C = after(B, 12)
OTHER = full(9, id="other")
OLD = full(30, lineage="before a restore")


def origin(*known: Backup, lineage: str = "one", tombstones_from: int = 0) -> Origin:
    return Origin(ID, lineage, [backup.sha256 for backup in known], tombstones_from)


@pytest.mark.parametrize(
    ("existing", "expected"),
    [
        pytest.param([], BackupPlan("full", "first", 0), id="the first"),
        pytest.param([A], BackupPlan("full", "asked for"), id="a full one is there"),
        pytest.param([A, B], BackupPlan("full", "asked for"), id="a chain is there"),
        pytest.param([A, C], BackupPlan("full", "asked for"), id="a chain with a gap is there"),
        pytest.param([OLD], BackupPlan("full", "asked for"), id="one of an older lineage is there"),
        pytest.param([OTHER], ForeignBackup, id="of another database"),
        pytest.param([A, OTHER], ForeignBackup, id="of this and another database"),
        pytest.param([OTHER, A], ForeignBackup, id="of another database and this"),
        pytest.param([full(7, id=ID + " ")], ForeignBackup, id="an id that is not quite the same"),
    ],
)
def test_plan_of_a_full_backup(existing: Sequence[Backup], expected: BackupPlan | type[MunimentError]) -> None:
    if isinstance(expected, BackupPlan):
        assert plan_backup(existing, origin(*existing), "backups") == expected
        return
    with pytest.raises(expected, match="backups") as caught:
        plan_backup(existing, origin(*existing), "backups")
    assert caught.value.hint


@pytest.mark.parametrize("known", [(), (A,), (A, B)])
def test_a_full_backup_says_that_the_database_was_put_back(known: Sequence[Backup]) -> None:
    assert plan_backup([A, B, C], origin(*known), "backups").reason.startswith(PUT_BACK)


@pytest.mark.parametrize(
    ("existing", "origin", "expected"),
    [
        pytest.param([], origin(), BackupPlan("full", "first"), id="the first"),
        pytest.param([A], origin(A), BackupPlan("incremental", "asked for", 7, A), id="onto a full one"),
        pytest.param([A, B], origin(A, B), BackupPlan("incremental", "asked for", 9, B), id="onto a chain"),
        pytest.param([B, C, A], origin(A, B, C), BackupPlan("incremental", "asked for", 12, C), id="in any order"),
        pytest.param([A, B, C], origin(A, B), "put back, or copied: incremental 12", id="put back to B"),
        pytest.param([A, B], origin(), "put back to a state before its last backup", id="put back to before A"),
        pytest.param([OLD], origin(lineage="two"), "new lineage", id="restored since"),
        pytest.param([OLD, A], origin(A), BackupPlan("incremental", "asked for", 7, A), id="onto its own lineage"),
        pytest.param(
            [A], origin(A, tombstones_from=7), BackupPlan("incremental", "asked for", 7, A), id="tombstones are kept"
        ),
        pytest.param([A], origin(A, tombstones_from=8), "history purged past 8", id="tombstones were purged"),
        pytest.param([A, C], origin(A, B, C), "the chain is not whole: incremental 12", id="a link is missing"),
        pytest.param([B, C], origin(A, B, C), "the chain is not whole: incremental 9", id="the full one is missing"),
        pytest.param([A, B], origin(A, B, C), BackupPlan("incremental", "asked for", 9, B), id="the newest is missing"),
        pytest.param([A, OTHER], origin(A), ForeignBackup, id="another database's is there"),
    ],
)
def test_plan_of_an_incremental_backup(
    existing: Sequence[Backup], origin: Origin, expected: BackupPlan | str | type[MunimentError]
) -> None:
    if isinstance(expected, type):
        with pytest.raises(expected) as caught:
            plan_backup(existing, origin, "backups", incremental=True)
        assert caught.value.hint
        return
    plan = plan_backup(existing, origin, "backups", incremental=True)
    if isinstance(expected, BackupPlan):
        assert plan == expected
    else:  # a full one instead, which says why
        assert (plan.kind, plan.after, plan.parent) == ("full", 0, None)
        assert expected in plan.reason


def test_a_refusal_names_what_is_in_the_way() -> None:
    with pytest.raises(ForeignBackup, match="'shop'"):
        plan_backup([OTHER], origin(), "backups")


def test_plan_restore_tells_what_it_will_read() -> None:
    plan = plan_restore([A, B], "backups")
    assert plan.backup is B
    assert plan.manifest is B.manifest
    assert [(backup, file.name) for backup, file in plan.files] == [
        (A, "attachments-00001.parquet"),
        (A, "documents-00001.parquet"),
        (B, "attachments-00001.parquet"),
        (B, "documents-00001.parquet"),
    ]
    assert (plan.size, plan.rows, plan.partial) == (60, 10, False)


# With history from the first etag on, from a later one on, and without.
KEPT = after(A, 10, history_from=7)
LATER = after(A, 10, history_from=9)
LONG = after(KEPT, 14, history_from=10)


@pytest.mark.parametrize(
    ("available", "moment", "expected"),
    [
        pytest.param([A], {}, [A], id="the only one"),
        pytest.param([C, A, B], {}, [A, B, C], id="a chain"),
        pytest.param([A, OLD], {}, [OLD], id="the one completed last"),
        pytest.param([A, B, C], {"backup": B.name}, [A, B], id="a backup by name"),
        pytest.param([A, B, C], {"backup": A.name}, [A], id="the first by name"),
        pytest.param([A, B, C], {"backup": "B"}, BackupNotFound, id="no such name"),
        pytest.param([A, B, C], {"etag": 12}, [A, B, C], id="the last etag"),
        pytest.param([A, B, C], {"etag": 9}, [A, B], id="the end of a link"),
        pytest.param([A, B, C], {"etag": 7}, [A], id="the end of the first"),
        pytest.param([A, B, C], {"etag": 8}, UnreachablePoint, id="inside, without history"),
        pytest.param([A, B, C], {"etag": 6}, UnreachablePoint, id="before the end of the first"),
        pytest.param([A, B, C], {"etag": 13}, UnreachablePoint, id="after the last"),
        pytest.param([A, KEPT], {"etag": 8}, ([A, KEPT], 8, None), id="inside, with history"),
        pytest.param([A, LATER], {"etag": 9}, ([A, LATER], 9, None), id="where the history begins"),
        pytest.param([A, LATER], {"etag": 8}, UnreachablePoint, id="before the history begins"),
        pytest.param([A, KEPT, LONG], {"etag": 9}, ([A, KEPT], 9, None), id="inside a link in the middle"),
        pytest.param([A, KEPT, LONG], {"etag": 13}, ([A, KEPT, LONG], 13, None), id="inside the last link"),
        pytest.param([A, B, C], {"at": second(12)}, [A, B, C], id="the last time"),
        pytest.param([A, B, C], {"at": second(9)}, [A, B], id="the time of a link"),
        pytest.param([A, B, C], {"at": second(7)}, [A], id="the time of the first"),
        pytest.param([A, B, C], {"at": second(8)}, UnreachablePoint, id="a time inside, without history"),
        pytest.param([A, B, C], {"at": second(6)}, UnreachablePoint, id="a time before the first"),
        pytest.param([A, B, C], {"at": second(13)}, UnreachablePoint, id="a time after the last"),
        pytest.param([A, KEPT], {"at": second(8)}, ([A, KEPT], None, second(8)), id="a time inside, with history"),
        pytest.param([A, B, OLD], {"at": second(9)}, [A, B], id="a time that the newest chain does not reach"),
        pytest.param([A, C], {}, DamagedBackup, id="a link is missing"),
        pytest.param([B, C], {}, DamagedBackup, id="the full one is missing"),
        pytest.param([A, C], {"backup": A.name}, [A], id="before the missing link"),
        pytest.param([], {}, BackupNotFound, id="nothing"),
        pytest.param([A, OTHER], {}, BackupNotFound, id="of several databases"),
    ],
)
def test_plan_restore(
    available: Sequence[Backup],
    moment: dict[str, object],
    expected: list[Backup] | tuple[list[Backup], int | None, datetime | None] | type[MunimentError],
) -> None:
    if isinstance(expected, type):
        with pytest.raises(expected) as caught:
            plan_restore(available, "backups", RestorePoint(**moment))  # type: ignore[arg-type]
        assert caught.value.hint
        return
    plan = plan_restore(available, "backups", RestorePoint(**moment))  # type: ignore[arg-type]
    chain, upto, at = expected if isinstance(expected, tuple) else (expected, None, None)
    assert list(plan.chain) == chain
    assert plan.upto == upto
    assert plan.at == (None if at is None else int(at.timestamp() * 1_000_000))
    assert plan.partial == isinstance(expected, tuple)


def test_what_can_not_be_reached_names_the_nearest() -> None:
    with pytest.raises(UnreachablePoint) as caught:
        plan_restore([A, B, C], "backups", RestorePoint(etag=11))
    assert "etag 9" in caught.value.hint
    assert "etag 12" in caught.value.hint


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param(msgspec.structs.replace(B.manifest, after=8), id="a gap between the etags"),
        pytest.param(msgspec.structs.replace(B.manifest, after=6), id="etags that overlap"),
        pytest.param(
            msgspec.structs.replace(B.manifest, database=DatabaseIdentity(ID, "two", "shop")), id="another lineage"
        ),
        pytest.param(
            msgspec.structs.replace(B.manifest, snapshot=SnapshotRecord(9, "2026-11-21T00:00:00.000000Z")),
            id="a time before its parent",
        ),
        pytest.param(msgspec.structs.replace(B.manifest, parent=Parent(A.name, "changed")), id="another SHA-256"),
    ],
)
def test_links_that_do_not_fit_are_damage(forged: Manifest) -> None:
    link = Backup(B.folder, forged, B.sha256)
    with pytest.raises(DamagedBackup) as caught:
        plan_restore([A, link], "backups", RestorePoint(backup=link.name))
    assert caught.value.hint


def test_where_nothing_was_finished() -> None:
    with pytest.raises(BackupNotFound, match="no complete backup in backups") as caught:
        plan_restore([], "backups")
    assert "manifest.json" in caught.value.hint


def three(tmp_path: Path, database: DocumentDatabase) -> Path:
    """Three backups of one database side by side, as somebody who copies them together would have them."""
    together = tmp_path / "together"
    together.mkdir()
    for number in range(3):
        database.put(f"orders/{number}", {"n": number})
        backup = database.maintenance.start_backup(tmp_path / f"backup {number}").wait()
        shutil.copytree(backup.folder, together / f"{3 - number} {backup.name}")
    return together


def test_the_newest_of_several_is_restored(database: DocumentDatabase, tmp_path: Path) -> None:
    together = three(tmp_path, database)
    assert [backup.manifest.through for backup in backups(together)] == [1, 2, 3]
    restored = MaintenanceActions.restore(together, tmp_path / "newest")
    assert restored.backup.folder == together / f"1 {restored.backup.name[2:]}"
    with opened(tmp_path / "newest") as newest:
        assert newest.snapshot().fingerprint == database.snapshot().fingerprint
    # An older one is chosen by giving its own folder.
    older = MaintenanceActions.restore(next(together.glob("2 *")), tmp_path / "older")
    assert older.backup.manifest.through == 2
    with opened(tmp_path / "older") as copy:
        assert [document.id for document in copy.by_etag()] == ["orders/0", "orders/1"]


def test_a_backup_is_found_by_its_manifest_alone(backup: Backup, tmp_path: Path) -> None:
    (backup.folder.parent / "notes.txt").write_text("not a folder")
    (backup.folder.parent / "empty").mkdir()
    (backup.folder.parent / "2099-01-01T000000.000Z.full").mkdir()
    (backup.folder.parent / "2099-01-01T000000.000Z.full" / "manifest.json.unfinished").write_bytes(b"{")
    (backup.folder.parent / "odd").mkdir()
    (backup.folder.parent / "odd" / "manifest.json").mkdir()
    assert backups(backup.folder.parent) == [backup]
    renamed = backup.folder.rename(tmp_path / "any name at all")
    assert [found.folder for found in backups(renamed)] == [renamed]
    assert MaintenanceActions.verify(renamed).fingerprint == backup.manifest.fingerprint_at_snapshot()


def test_a_damaged_manifest_in_the_folder_is_never_passed_over(backup: Backup, tmp_path: Path) -> None:
    """It could be that of the newest backup, so an older one must not silently take its place."""
    (backup.folder.parent / "broken").mkdir()
    (backup.folder.parent / "broken" / "manifest.json").write_bytes(
        (backup.folder / "manifest.json").read_bytes()[:900]
    )
    with pytest.raises(DamagedBackup, match="broken"):
        MaintenanceActions.restore(backup.folder.parent, tmp_path / "restored")
    assert MaintenanceActions.restore(backup.folder, tmp_path / "restored").backup == backup


@pytest.mark.parametrize("name", ["nothing", "file", "empty"])
def test_where_there_is_no_backup(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("hello")
    (tmp_path / "empty").mkdir()
    for use in (MaintenanceActions.verify, lambda source: MaintenanceActions.restore(source, tmp_path / "x")):
        with pytest.raises(BackupNotFound, match=name) as caught:
            use(tmp_path / name)
        assert caught.value.hint
    assert {path.name for path in tmp_path.iterdir()} == {"file", "empty"}
