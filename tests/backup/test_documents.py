"""The documents of a large backup are read, proven and written by several at once; here, those of small ones."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from muniment import DocumentDatabase, MaintenanceActions, Put
from muniment.backup import documents
from muniment.backup.repository import backups
from muniment.errors import Cancelled, DamagedDatabase, StorageFailure
from muniment.fingerprint import in_c
from muniment.progress import Progress
from muniment.security.encryption import new_key
from muniment.security.keyring import Protection
from muniment.security.recipients import Identity
from muniment.storage import engines
from muniment.workers import Worker
from tests.backup.gate import take
from tests.backup.state import opened, state_of
from tests.backup.test_proof import ROT, rot
from tests.clock import SECOND, Clock
from tests.sampled import some


@pytest.fixture(autouse=True, params=["processes", "threads"])
def several(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[Worker[documents.Said]]:
    """Two, whatever there is to write, and a range of etags for each few documents; gives those that are processes."""
    if request.param == "processes":
        monkeypatch.setattr(documents, "in_c", lambda: None)
    elif in_c() is None:
        pytest.skip("digests are made in Python here, so that threads would wait for each other")
    begun: list[Worker[documents.Said]] = []

    start = Worker.__init__

    def started(worker: Worker[documents.Said], *arguments: Any, **more: Any) -> None:
        start(worker, *arguments, **more)
        begun.append(worker)

    monkeypatch.setattr(documents, "ALONE_BYTES", 0)
    monkeypatch.setattr(documents, "RANGE_ETAGS", 2)
    monkeypatch.setattr(documents, "RANGES", 1 << 40)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(Worker, "__init__", started)
    return begun


@some(1)
def test_together_they_write_everything_once(
    small: DocumentDatabase, tmp_path: Path, several: list[Worker[documents.Said]], request: pytest.FixtureRequest
) -> None:
    small.configure({"Muniment/History": "true"})
    progress = Progress()
    full = take(small, tmp_path / "backups", progress)
    assert progress.documents == full.manifest.counts.documents == 6
    assert len({worker.pid for worker in several}) == (0 if "threads" in request.node.name else 2)
    for number in range(20):
        small.put(f"orders/{number % 3}", {"turn": number})
    small.delete("orders/2")
    incremental = small.maintenance.start_backup(tmp_path / "backups", incremental=True).wait()
    counts = incremental.manifest.counts
    assert (counts.documents, counts.document_tombstones) == (20, 1)
    assert all(file.name.startswith("documents-0000") for file in incremental.manifest.files)
    MaintenanceActions.verify(tmp_path / "backups")
    for number in range(13, 34, 5):
        restored = MaintenanceActions.restore(tmp_path / "backups", tmp_path / str(number), etag=number)
        assert restored.moment.etag == number
    with opened(tmp_path / "33") as copy:
        assert state_of(copy) == {key: each for key, each in state_of(small).items() if key in state_of(copy)}
        assert copy.snapshot().fingerprint == small.snapshot().fingerprint


@some(2)
@pytest.mark.parametrize("what", ["a body", "a deletion"])
def test_what_is_damaged_is_named_or_left_out(small: DocumentDatabase, tmp_path: Path, what: str) -> None:
    statement, _, id = ROT[what]
    small.close()
    folder = Path(shutil.copytree(small.path, tmp_path / "rotten"))
    rot(folder, statement)
    with DocumentDatabase(folder, create=False, clock=Clock(step=SECOND)) as database:
        with pytest.raises(DamagedDatabase, match=f"document '{id}'"):
            database.maintenance.start_backup(tmp_path / "backups").wait()
        assert not (tmp_path / "backups").exists()
        backup = database.maintenance.start_backup(tmp_path / "backups", skip_damaged=True).wait()
        assert [each.id for each in backup.manifest.skipped] == [id]
    MaintenanceActions.verify(tmp_path / "backups")


def test_an_encrypted_database_and_backup(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    key, owner = new_key(), Identity(os.urandom(32))
    engines.create(tmp_path / "shop", key=key)
    with DocumentDatabase(tmp_path / "shop", key=key) as database:
        database.batch([Put(f"orders/{number}", b'{"secret":"unreadable"}') for number in range(9)])
        sealed = Protection(recipients=(owner.recipient,))
        backup = database.maintenance.start_backup(tmp_path / "backups", protection=sealed).wait()
    assert backup.key is not None
    assert all(b"unreadable" not in path.read_bytes() for path in backup.folder.iterdir())
    assert backup.manifest.counts.documents == 9


@some(1)
@pytest.mark.parametrize("how", ["killed", "cancelled", "its folder is gone"])
def test_when_one_fails_there_is_no_backup(
    small: DocumentDatabase,
    tmp_path: Path,
    several: list[Worker[documents.Said]],
    how: str,
    request: pytest.FixtureRequest,
) -> None:
    if "threads" in request.node.name and how != "cancelled":
        pytest.skip("there is no process to be killed, or told of a folder")

    class Stopping(Progress):
        def advance(self, *, documents: int = 0, attachments: int = 0, bytes: int = 0, written: int = 0) -> None:
            if how == "cancelled":
                self.cancel()
            elif how == "killed":
                with suppress(ProcessLookupError):
                    os.kill(several[0].pid, signal.SIGKILL)
            super().advance(documents=documents, attachments=attachments, bytes=bytes)

    if how == "its folder is gone":
        old: Any = documents.Share

        def elsewhere(*values: Any) -> Any:
            return old(*values[:2], b"/nowhere", *values[3:])

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(documents, "Share", elsewhere)
            with pytest.raises(StorageFailure, match="/nowhere"):
                take(small, tmp_path / "backups")
    else:
        with pytest.raises(Cancelled if how == "cancelled" else StorageFailure):
            take(small, tmp_path / "backups", Stopping())
    assert not (tmp_path / "backups").exists()
    assert all(worker.ended for worker in several)
    take(small, tmp_path / "backups")
    assert len(backups(tmp_path / "backups")) == 1
