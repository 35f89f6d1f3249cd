"""No file is opened as Parquet before it is known to be as it was written: a damaged footer can end the process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from muniment import DocumentDatabase, MaintenanceActions, Progress, Put
from muniment.backup.repository import Backup, backups
from muniment.backup.restore import dry_run
from muniment.backup.verify import verify
from muniment.backup.versions import versions_of
from muniment.errors import Cancelled, DamagedBackup
from tests.backup.damage import DOCUMENTS, flip


@pytest.fixture
def place(small: DocumentDatabase, tmp_path: Path) -> Path:
    """A full backup and an incremental one with history, whose footer is damaged."""
    small.configure({"Muniment/History": "true"})
    small.maintenance.start_backup(tmp_path / "backups").wait()
    small.put("orders/1", {"n": 1})
    small.put("orders/1", {"n": 2})
    backup: Backup = small.maintenance.start_backup(tmp_path / "backups", incremental=True).wait()
    file = backup.folder / DOCUMENTS
    flip(file, file.stat().st_size - 60, 3)
    return tmp_path / "backups"


LOOKS: dict[str, Callable[[Path], object]] = {
    "inspect --id": lambda place: versions_of("orders/1", backups(place)),
    "inspect --diff": lambda place: MaintenanceActions.differences(place, "13", "newest"),
    "restore --dry-run": lambda place: dry_run(MaintenanceActions.plan_restore(place, etag=13), str(place)),
    "inspect --query": lambda place: MaintenanceActions.query(place, "SELECT 1"),
    "verify": lambda place: MaintenanceActions.verify(place, record=False),
    "restore": lambda place: MaintenanceActions.restore(place, place.parent / "restored"),
}


@pytest.mark.parametrize("look", LOOKS)
def test_a_damaged_footer_is_never_parsed(place: Path, look: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []
    source = pq.ParquetFile

    def noted(path: Path, **options: object) -> object:
        opened.append(Path(path))
        return source(path, **options)

    monkeypatch.setattr(pq, "ParquetFile", noted)
    with pytest.raises(DamagedBackup, match="was changed"):
        LOOKS[look](place)
    damaged = backups(place)[-1].folder / DOCUMENTS
    assert damaged not in opened


def test_proving_can_be_cancelled(small: DocumentDatabase, tmp_path: Path) -> None:
    """Its sort runs in SQLite, which asks now and then."""
    small.configure({"Muniment/History": "true"})
    small.maintenance.start_backup(tmp_path / "backups").wait()
    for turn in range(3):
        small.batch([Put(f"many/{number}", {"turn": turn}) for number in range(4_000)])
    small.maintenance.start_backup(tmp_path / "backups", incremental=True).wait()

    class Impatient(Progress):
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if name == "stage" and value == "proving":
                self.cancel()

    with pytest.raises(Cancelled, match="proving"):
        verify(tmp_path / "backups", progress=Impatient())
