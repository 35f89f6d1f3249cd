"""A rehearsal restores, looks, deletes, and writes down how it went."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

import muniment
from muniment import DocumentDatabase, MaintenanceActions
from muniment.backup.records import records, write_record
from muniment.backup.repository import Backup, backups
from muniment.backup.restore_plan import plan_restore
from muniment.errors import BackupNotFound, DamagedBackup, InvalidInput, StorageFailure
from muniment.rehearsal import look
from muniment.storage.sqlite.schema import connect
from tests.clock import Clock


def test_a_rehearsal_restores_and_leaves_only_its_record(
    small: DocumentDatabase, backup: Backup, clock: Clock, tmp_path: Path
) -> None:
    (tmp_path / "place").mkdir()
    looked: list[int] = []

    def look(folder: Path) -> list[str]:
        with DocumentDatabase(folder, read_only=True) as database:
            looked.append(database.statistics().documents)
        return []

    source = backup.folder.parent
    plan = plan_restore(backups(source), "backups")
    now = clock.now
    done = [muniment.rehearse(plan, look=look, clock=lambda: now, place=tmp_path / "place") for _ in range(2)]
    assert looked == [small.statistics().documents] * 2
    assert list((tmp_path / "place").iterdir()) == []
    written = [rehearsal.record for rehearsal in done]
    assert len({*written}) == 2
    assert written[0] is not None
    record = json.loads(written[0].read_bytes())
    assert (record["kind"], record["backup"], record["manifests"]) == ("rehearsal", backup.name, [backup.sha256])
    assert record["fingerprint"] == backup.manifest.fingerprint
    assert (record["etag"], record["time"]) == (backup.manifest.through, backup.manifest.snapshot.time)
    assert record["problem"] is None
    assert [found.name for found in backups(source)] == [backup.name]
    assert [found.seconds for found in records(source)] == [round(each.restored.seconds, 3) for each in done]


def test_what_is_found_by_looking_fails_the_rehearsal(backup: Backup, clock: Clock, tmp_path: Path) -> None:
    source = backup.folder.parent
    with pytest.raises(DamagedBackup, match="not as it should be: no orders"):
        muniment.rehearse(plan_restore([backup], ""), look=lambda _: ["no orders"], clock=clock, place=tmp_path)
    [record] = records(source)
    assert record.problem is not None
    assert "no orders" in record.problem
    assert record.fingerprint is None


def test_damage_is_written_down(backup: Backup) -> None:
    [file, *_] = backup.folder.glob("*.parquet")
    file.write_bytes(file.read_bytes() + b"!")
    with pytest.raises(DamagedBackup):
        muniment.rehearse(backup.folder.parent)
    [record] = records(backup.folder.parent)
    assert file.name in str(record.problem)


def test_what_is_not_the_backups_fault_is_not_written_down(backup: Backup, tmp_path: Path) -> None:
    with pytest.raises(StorageFailure, match="nowhere"):
        muniment.rehearse(backup.folder.parent, place=tmp_path / "nowhere")
    with pytest.raises(BackupNotFound):
        muniment.rehearse(tmp_path)
    assert records(backup.folder.parent) == []


def test_a_record_that_is_not_whole_is_passed_over(backup: Backup) -> None:
    source = backup.folder.parent
    first = muniment.rehearse(source).record
    assert first is not None
    for name, text in (("cut", first.read_bytes()[:40]), ("empty", b""), ("other", b'{"kind": "party"}')):
        (source / f"rehearsal-{name}.json").write_bytes(text)
    assert [record.backup for record in records(source)] == [backup.name]


def test_records_come_in_the_order_of_their_ends(backup: Backup) -> None:
    source = backup.folder.parent
    muniment.rehearse(source)
    [record] = records(source)
    earlier = replace(record, kind="verification", completed="2020-01-01T00:00:00.000000Z")
    assert write_record(source, earlier).name == "verification-2020-01-01T000000.000Z.json"
    assert records(source) == [earlier, record]


def test_the_library_looks_at_everything(small: DocumentDatabase, backup: Backup) -> None:
    rehearsal = muniment.rehearse(backup.folder.parent)
    assert rehearsal.restored.fingerprint == backup.manifest.fingerprint_at_snapshot()
    assert not rehearsal.restored.folder.exists()
    assert rehearsal.seconds >= rehearsal.restored.seconds


def test_looking_finds_a_database_that_does_not_agree_with_itself(backup: Backup, tmp_path: Path) -> None:
    folder = MaintenanceActions.restore(backup.folder, tmp_path / "restored").folder
    assert look(folder) == []
    with closing(connect(folder)) as connection:
        connection.execute("UPDATE fingerprint SET count = count + 1 WHERE collection = 'Orders'")
    assert "Orders" in look(folder)[0]


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("SELECT count(*) FROM documents WHERE collection = 'Orders'", None),
        ("SELECT true", None),
        ("SELECT count(*) FROM documents WHERE id = 'none'", "answered 0"),
        ("SELECT id FROM documents WHERE id = 'none'", "answered None"),
        ("SELECT false, true", "answered False"),
    ],
)
def test_a_query_says_whether_all_is_well(backup: Backup, query: str, wrong: str | None) -> None:
    source = backup.folder.parent
    if wrong is None:
        assert muniment.rehearse(source, query=query).record
        return
    with pytest.raises(DamagedBackup, match=wrong):
        muniment.rehearse(source, query=query)
    assert wrong in (records(source)[-1].problem or "")


def test_a_query_that_is_none_damages_nothing(backup: Backup) -> None:
    with pytest.raises(InvalidInput):
        muniment.rehearse(backup.folder.parent, query="SELEC")
    assert records(backup.folder.parent) == []


def test_a_script_looks_at_the_restored_database(backup: Backup, tmp_path: Path) -> None:
    source, script = backup.folder.parent, ["/bin/sh", "-c", 'test -s "$1/muniment.db" && echo "$0 $1"; exit $0']
    assert muniment.rehearse(source, script=[*script, "0"]).record
    with pytest.raises(DamagedBackup, match=r"/bin/sh ended with 3: 3 .*/restored"):
        muniment.rehearse(source, script=[*script, "3"])
    assert "ended with 3" in (records(source)[-1].problem or "")
    with pytest.raises(InvalidInput, match="could not be run"):
        muniment.rehearse(source, script=["/no/such/program"])
    with pytest.raises(InvalidInput, match="both a script and a function"):
        muniment.rehearse(source, script=script, look=lambda folder: [])


def test_a_script_that_does_not_end(backup: Backup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muniment.rehearsal.SCRIPT_SECONDS", 0.2)
    with pytest.raises(DamagedBackup, match="did not end within"):
        muniment.rehearse(backup.folder.parent, script=["/bin/sh", "-c", "sleep 60"])


def test_a_process_of_its_own_restores_the_same(backup: Backup) -> None:
    here, there = (muniment.rehearse(backup.folder.parent, in_child=child) for child in (False, True))
    assert here.restored.fingerprint == there.restored.fingerprint
    assert here.restored.moment == there.restored.moment
    assert there.restored.seconds > 0
