"""A database that stands still: its files are complete, reads go on, writes wait."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from muniment import DocumentDatabase, Put
from muniment.errors import Conflict, DatabaseClosed, InvalidInput, StorageFailure
from muniment.storage.base import Snapshot
from muniment.storage.freeze import Freeze
from muniment.storage.sqlite.store import SqliteStorage
from muniment.storage.sqlite.writer import GROUP_JOBS
from tests.waiting import PATIENCE, until


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[DocumentDatabase]:
    with DocumentDatabase(tmp_path / "shop") as shop:
        shop.batch([Put(f"items/{n}", {"n": n, "text": "x" * 500}, {"Raven-Entity-Name": "Items"}) for n in range(500)])
        shop.put_attachment("photo", b"1234" * 50_000)
        yield shop


def copied(frozen: Freeze[Snapshot], target: Path) -> Snapshot:
    """The state in a copy of the files, which agrees with itself; made by another process, as tools are."""
    subprocess.run(["cp", "-r", frozen.folder, target], check=True)
    with DocumentDatabase(target, create=False) as copy:
        assert copy.check() == []
        return copy.snapshot()


def test_a_copy_is_of_the_moment_of_the_freeze_while_others_read_and_writes_wait(
    shop: DocumentDatabase, tmp_path: Path
) -> None:
    with shop.freeze() as frozen:
        later = shop.submit([Put("late", {})])
        upload = threading.Thread(target=shop.put_attachment, args=("late photo", b"late"))
        upload.start()
        assert shop.get("items/3")
        assert shop.get("late") is None
        assert shop.by_prefix("items/", limit=10)
        state = copied(frozen, tmp_path / "copy")
        assert state == frozen.state
        assert not later.done()
        assert upload.is_alive()
    assert later.result(PATIENCE)[0].etag == frozen.state.etag + 1
    upload.join(PATIENCE)
    assert shop.get("late")
    assert shop.get_attachment("late photo")
    assert shop.snapshot().fingerprint != state.fingerprint


def held_up(shop: DocumentDatabase) -> threading.Event:
    """The writer is busy until this is set."""
    busy, gate = threading.Event(), threading.Event()

    def hold_up(transaction: object) -> None:
        busy.set()
        assert gate.wait(PATIENCE)

    assert isinstance(shop.storage, SqliteStorage)
    shop.storage.writer.submit(hold_up)
    assert busy.wait(PATIENCE)
    return gate


def test_everything_submitted_before_is_in_it_however_much_waits(shop: DocumentDatabase) -> None:
    gate = held_up(shop)
    before = [shop.submit([Put(f"before/{n}", {})]) for n in range(3 * GROUP_JOBS)]
    frozen = shop.storage.freeze(PATIENCE)  # without waiting until it has begun
    after = shop.submit([Put("after", {})])
    gate.set()
    assert frozen.begun.result(PATIENCE).etag == before[0].result()[0].etag + len(before) - 1
    assert all(each.done() for each in before)
    assert not after.done()
    frozen.thaw()
    assert after.result(PATIENCE)


def test_one_that_is_ended_before_it_begins_is_over_too(shop: DocumentDatabase) -> None:
    gate = held_up(shop)
    first = shop.storage.freeze(PATIENCE)
    first.thaw()
    second = shop.storage.freeze(PATIENCE)
    gate.set()
    assert first.over.result(PATIENCE) is None
    assert second.begun.result(PATIENCE).etag == shop.snapshot().etag
    second.thaw()
    assert shop.put("after", {})


def test_nothing_is_in_the_log_so_that_the_file_alone_has_all(shop: DocumentDatabase) -> None:
    with shop.freeze() as frozen:
        assert (frozen.folder / "muniment.db-wal").stat().st_size == 0


def test_what_somebody_reads_stays_in_the_log_and_is_copied_with_it(shop: DocumentDatabase, tmp_path: Path) -> None:
    members = shop.storage.members()
    next(members)  # it reads the state of this moment until it has ended
    shop.put("items/1", {"changed": True})
    with shop.freeze() as frozen:
        assert (frozen.folder / "muniment.db-wal").stat().st_size > 0
        assert copied(frozen, tmp_path / "copy") == frozen.state
    assert len(list(members)) == 500


def test_it_thaws_by_itself_and_whoever_thaws_too_late_is_told(shop: DocumentDatabase) -> None:
    frozen = shop.freeze(0.05)
    shop.put("late", {})
    assert frozen.expired
    with pytest.raises(
        Conflict, match=r"has ended by itself, after 0\.05 s: what was copied may be of several"
    ) as told:
        frozen.thaw()
    assert "discard the copy" in told.value.hint
    with pytest.raises(Conflict, match="by itself"), shop.freeze(0.05):
        shop.put("later", {})
    with pytest.raises(FileNotFoundError), shop.freeze(0.05):  # and what has failed is not hidden by that
        shop.path.rename(shop.put("latest", {}).id + "/none/x")


def test_a_second_freeze_is_refused_and_the_first_goes_on(shop: DocumentDatabase) -> None:
    with shop.freeze() as frozen:
        with pytest.raises(Conflict, match=f"is frozen already, by {frozen.id}") as refused:
            shop.freeze()
        assert f"{frozen.until:%H:%M:%S}" in refused.value.hint
    with pytest.raises(Conflict, match="has ended before"):
        frozen.thaw()
    with shop.freeze() as again:
        assert again.id != frozen.id


@pytest.mark.parametrize("seconds", [0, -1, 86_401, float("nan"), float("inf")])
def test_a_time_that_makes_no_sense(shop: DocumentDatabase, seconds: float) -> None:
    with pytest.raises(InvalidInput, match="cannot be frozen for"):
        shop.freeze(seconds)
    shop.put("a", {})


def test_closing_ends_it_after_what_was_held_is_written(shop: DocumentDatabase) -> None:
    frozen = shop.freeze()
    held = shop.submit([Put("held", {})])
    shop.close()
    assert held.result(0)
    with pytest.raises(Conflict, match="has ended before"):
        frozen.thaw()
    with pytest.raises(DatabaseClosed):
        shop.freeze()
    with DocumentDatabase(shop.path, create=False) as again:
        assert again.get("held")


def test_who_only_reads_freezes_nothing(shop: DocumentDatabase) -> None:
    with DocumentDatabase(shop.path, read_only=True) as reader, pytest.raises(StorageFailure, match="only for reading"):
        reader.freeze()


def test_a_backup_meanwhile_reads_on_and_ends_after_the_thaw(shop: DocumentDatabase, tmp_path: Path) -> None:
    with shop.freeze() as frozen:
        backup = shop.maintenance.start_backup(tmp_path / "backups")
        assert not backup.join(0.3)
        assert copied(frozen, tmp_path / "copy") == frozen.state
    assert backup.wait(PATIENCE).manifest.through == frozen.state.etag


def test_files_that_are_gone_are_not_taken_for_a_good_copy(shop: DocumentDatabase) -> None:
    shutil.move(shop.path / "muniment.db", shop.path / "elsewhere")
    with pytest.raises(StorageFailure, match=r"muniment\.db in .* was deleted or moved away"):
        shop.freeze()
    with pytest.raises(StorageFailure):
        shop.put("a", {})


_FROZEN = """
import signal, sys, muniment
shop = muniment.DocumentDatabase(sys.argv[1])
shop.put("before", {})
frozen = shop.freeze()
shop.submit([muniment.Put("after", {})])
print(frozen.state.fingerprint.short(), flush=True)
signal.pause()
"""


def test_a_process_that_is_killed_meanwhile_leaves_the_files_of_that_moment(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _FROZEN, tmp_path / "shop"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        fingerprint = process.stdout.readline().strip()
        os.kill(process.pid, signal.SIGKILL)
    with DocumentDatabase(tmp_path / "shop", create=False) as shop:
        assert shop.check() == []
        assert shop.snapshot().fingerprint.short() == fingerprint
        assert shop.get("before")
        assert shop.get("after") is None


def there_are(written: list[str], number: int) -> bool:
    return len(written) >= number


def test_freezing_again_and_again_under_load_loses_nothing(shop: DocumentDatabase, tmp_path: Path) -> None:
    stop, written = threading.Event(), list[str]()

    def write() -> None:
        while not stop.is_set():
            written.append(shop.put("more/", {}).id)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            with shop.freeze() as frozen:
                before = len(written)
                assert copied(frozen, tmp_path / f"copy{number}") == frozen.state
                assert len(written) <= before + 1
            until(partial(there_are, written, before + 5))
    finally:
        stop.set()
        writer.join()
    assert all(shop.get(id) for id in written)
