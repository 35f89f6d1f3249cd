"""Stores that fail: nothing is lost, mixed, or believed that is not whole, and what went wrong is named."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random

import pytest

from muniment import DocumentDatabase, MaintenanceActions, Progress, Put
from muniment.backup import destination, fetching, parquet
from muniment.backup.copying import copy_backups
from muniment.backup.destination import Remote, place_of, put_new, sizes_in
from muniment.backup.repository import backups
from muniment.backup.selection import Selection
from muniment.backup.versions import versions_of
from muniment.errors import DamagedBackup, ForeignBackup, MunimentError, StorageFailure
from muniment.rehearsal import rehearse
from muniment.storage.sqlite import reader
from tests.backup.state import live, opened, state_of
from tests.fault_proxy import Fault, Proxy, Rule, faulty
from tests.object_store import ObjectStore
from tests.sampled import some
from tests.storage.raw import files_no_larger_than
from tests.waiting import PATIENCE, until

DATA = "documents-00001.parquet"


@pytest.fixture
def proxy(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy before the store, which is reached through it."""
    with faulty(object_store.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        monkeypatch.setenv("MUNIMENT_STORE_RETRY_SECONDS", f"{PATIENCE:.0f}")
        yield proxy


FAULTS: list[Fault] = ["drop", "lose", "truncate", "delay", "429", "500", "503"]


@some(3)
@pytest.mark.parametrize("fault", FAULTS)
def test_what_passes_by_is_tried_again(
    small: DocumentDatabase, object_store: ObjectStore, proxy: Proxy, tmp_path: Path, fault: Fault
) -> None:
    place = object_store.place()
    proxy.rules += [Rule(f"{method} .*{name}", fault) for method in ("PUT", "GET") for name in (DATA, "manifest.json")]
    proxy.rules.append(Rule("GET .*list-type", fault))
    if fault in ("lose", "truncate"):
        proxy.rules = [rule for rule in proxy.rules if "PUT" not in rule.request]
    small.maintenance.start_backup(place).wait()
    small.put("more", {})
    small.maintenance.start_backup(place, incremental=True).wait()
    MaintenanceActions.verify(place)
    restored = MaintenanceActions.restore(place, tmp_path / "restored")
    with opened(restored.folder) as again:
        assert live(state_of(again)) == live(state_of(small))
    assert [rule.request for rule in proxy.rules if rule.times] == []


@some(2)
@pytest.mark.parametrize("fault", ["drop", "delay", "500", "503"])
def test_parts_are_sent_again(object_store: ObjectStore, proxy: Proxy, fault: Fault) -> None:
    path = place_of(object_store.place()) / "one"
    proxy.rules += [Rule("POST .*uploads", fault), Rule("PUT .*partNumber=2", fault), Rule("POST .*uploadId", fault)]
    content = Random(1).randbytes(20 << 20)
    file = destination.sink(path)
    for start in range(0, len(content), 1 << 20):
        file.write(content[start : start + (1 << 20)])
    file.finish()
    assert path.read_bytes() == content
    assert [rule.request for rule in proxy.rules if rule.times] == []


def test_how_long_it_is_tried_again_is_a_time_and_not_a_number_of_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that refuses at once was given up after 30 tries, which is less than a minute, whatever time was set."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for text, seconds in (("3600", 3600), ("86400", 86_400)):
        monkeypatch.setenv("MUNIMENT_STORE_RETRY_SECONDS", text)
        found = Remote("s3://backups/shop").store.retry_config
        shortest = found["backoff"]["init_backoff"].total_seconds()
        assert found["retry_timeout"].total_seconds() == seconds
        assert found["max_retries"] * shortest > seconds
    monkeypatch.setenv("MUNIMENT_STORE_RETRY_SECONDS", "0")
    assert Remote("s3://backups/shop").store.retry_config["max_retries"] == 0


def test_an_answer_that_is_lost_is_no_other_ones_object(
    small: DocumentDatabase, object_store: ObjectStore, proxy: Proxy
) -> None:
    place = object_store.place()
    for name in ("Database.Document", "repository.json", "manifest.json"):
        proxy.rules.append(Rule(f"PUT .*{name}", "lose"))
    try:
        small.maintenance.start_backup(place).wait()
    except StorageFailure:
        proxy.rules.clear()
        small.maintenance.start_backup(place, new_chain=True).wait()
    MaintenanceActions.verify(place)
    assert len(backups(place)) >= 1


def test_only_adding_is_needed(small: DocumentDatabase, object_store: ObjectStore, proxy: Proxy) -> None:
    """As with credentials that may neither delete nor overwrite, or where everything is locked."""
    place = object_store.place()
    there: set[str] = set()
    proxy.rules += [
        Rule("DELETE ", "refuse", 1000),
        Rule("POST .*delete", "refuse", 1000),
        Rule("PUT ", "refuse", 1000, when=lambda: any(proxy.asked[-1].endswith(name) for name in there)),
    ]
    small.maintenance.start_backup(place).wait()
    for number in range(3):
        there |= {f"{place[4:]}/{name}" for name in sizes_in(place_of(place))}
        small.put("more", {"n": number})
        small.maintenance.start_backup(place, incremental=True).wait()
    MaintenanceActions.verify(place)
    rehearse(place)
    copy_backups(place, object_store.place())
    assert not [request for request in proxy.asked if request.startswith("DELETE") and "lease" not in request]
    with pytest.raises(StorageFailure, match="may delete there, or it is locked"):
        MaintenanceActions.merge(place, backups(place)[-1].name, delete_merged=True)
    assert len(backups(place)) == 5  # all are there still, and the merged one
    MaintenanceActions.verify(place)


def test_a_store_that_goes_away_in_the_middle(
    small: DocumentDatabase, object_store: ObjectStore, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, other = object_store.place(), object_store.place()
    taken = small.maintenance.start_backup(place).wait()
    small.put("more", {})
    state = state_of(small)

    def fails(work: object, after: str) -> None:
        proxy.gone = False
        seen = len(proxy.asked)

        def begun() -> bool:
            proxy.gone = any(after in request for request in proxy.asked[seen:])
            return False

        proxy.rules[:] = [Rule("", "drop", when=begun)]
        with monkeypatch.context() as within:
            within.setenv("MUNIMENT_STORE_RETRY_SECONDS", "0")
            with pytest.raises(MunimentError) as caught:
                work()  # type: ignore[operator]
        assert type(caught.value) in (StorageFailure, DamagedBackup)
        assert "bug" not in f"{caught.value}"
        proxy.rules.clear()
        proxy.gone = False

    fails(lambda: small.maintenance.start_backup(place, incremental=True).wait(), DATA)
    fails(lambda: small.maintenance.start_backup(place, incremental=True).wait(), "Database.Document")
    fails(lambda: MaintenanceActions.restore(place, tmp_path / "restored"), "Database.Document")
    fails(lambda: MaintenanceActions.verify(place), "manifest.json")
    fails(lambda: MaintenanceActions.query(place, "SELECT 1"), "manifest.json")
    fails(lambda: rehearse(place), "manifest.json")
    fails(lambda: copy_backups(place, tmp_path / "copy"), "Database.Document")
    fails(lambda: copy_backups(place, other), "repository.json")
    fails(lambda: versions_of("orders/1", backups(place)), "manifest.json")
    assert not (tmp_path / "restored").exists()
    assert list(backups(place)) == [taken]
    assert state_of(small) == state
    more = small.maintenance.start_backup(place, incremental=True).wait()
    assert more.manifest.kind == "incremental"
    MaintenanceActions.verify(place)
    copy_backups(place, other)
    MaintenanceActions.verify(other)


def _has_asked_or_ended(process: subprocess.Popen[bytes], proxy: Proxy, seen: int, step: str) -> bool:
    return process.poll() is not None or any(step in request and request[0] == "P" for request in proxy.asked[seen:])


def test_one_that_is_killed_leaves_no_backup_and_the_next_goes_on(
    small: DocumentDatabase, object_store: ObjectStore, proxy: Proxy
) -> None:
    place = object_store.place()
    small.maintenance.start_backup(place).wait()
    small.put("more", {})
    small.close()
    for step in (DATA, "Database.Document"):
        seen = len(proxy.asked)
        proxy.rules[:] = [Rule(f"PUT .*{step}", "drop", 1000), Rule(f"POST .*{step}", "drop", 1000)]
        command = [sys.executable, "-m", "muniment", "backup", str(small.path), "--dest", place, "--incremental"]
        process = subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.DEVNULL)
        until(partial(_has_asked_or_ended, process, proxy, seen, step))
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(backups(place)) == 1
    proxy.rules.clear()
    with DocumentDatabase(small.path) as again:
        taken = again.maintenance.start_backup(place, incremental=True).wait()
    assert taken.manifest.kind == "incremental"
    MaintenanceActions.verify(place)


@pytest.fixture
def large(small: DocumentDatabase, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Remote:
    """A backup whose files are read by ranges, as large ones are."""
    monkeypatch.setattr(parquet, "WHOLE_BYTES", 0)
    monkeypatch.setattr(fetching, "WHOLE_BYTES", 0)
    monkeypatch.setattr(parquet, "END_BYTES", 2000)
    monkeypatch.setattr(reader, "BATCH_ROWS", 500)  # in a row group
    for start in range(0, 5_000, 1000):
        numbers = range(start, start + 1000)
        small.batch([Put(f"noise/{number}", {"text": Random(number).randbytes(200).hex()}) for number in numbers])
    place = place_of(object_store.place())
    assert isinstance(place, Remote)
    small.maintenance.start_backup(place).wait()
    return place


def test_little_is_read_for_one_document(
    large: Remote, small: DocumentDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    ranges = Remote.read_range

    def counted(path: Remote, start: int, size: int) -> bytes:
        read.append(size)
        return ranges(path, start, size)

    def whole(path: Path) -> Iterator[bytes]:
        raise AssertionError(f"all of {path} is read")

    monkeypatch.setattr(Remote, "read_range", counted)
    monkeypatch.setattr(destination, "blocks_of", whole)
    monkeypatch.setattr("muniment.backup.reader.blocks_of", whole)
    size = sum(file.size for backup in backups(large) for file in backup.manifest.files)
    assert [version.id for version in versions_of("Noise/77", backups(large))] == ["noise/77"]
    assert sum(read) < size / 2
    read.clear()
    assert MaintenanceActions.version(large, "noise/78") is not None
    MaintenanceActions.restore(large, tmp_path / "part", selection=Selection.of(ids=["noise/79"]))
    with DocumentDatabase(tmp_path / "part") as part:
        assert part.get("noise/79") == small.get("noise/79")
    assert sum(read) < size * 1.5


@some(2)
@pytest.mark.parametrize("room", ["enough", "for one at a time", "none"])
def test_a_restore_reads_every_object_once(
    large: Remote, small: DocumentDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: str
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    small.configure({"Muniment/History": "true"})
    small.batch([Put(f"noise/{number}", {"text": Random(-number).randbytes(200).hex()}) for number in range(2000)])
    etag = small.last_etag
    small.put("noise/1", {"later": True})
    small.maintenance.start_backup(large, incremental=True).wait()
    whole: list[Path] = []
    parts: list[int] = []
    ranges = Remote.read_range

    def part(path: Remote, start: int, size: int) -> bytes:
        parts.append(size)
        return ranges(path, start, size)

    def all_of(path: Path) -> Iterator[bytes]:
        whole.append(path)
        return destination.blocks_of(path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(Remote, "read_range", part)
    for module in ("fetching", "reader"):
        monkeypatch.setattr(f"muniment.backup.{module}.blocks_of", all_of)
    if room == "for one at a time":
        monkeypatch.setattr(fetching, "KEPT_BYTES", 0)
    elif room == "none":
        monkeypatch.setattr(fetching.Fetched, "_take_in", full)
    files = [backup.path(file.name) for backup in backups(large) for file in backup.manifest.files]
    size = sum(file.size for backup in backups(large) for file in backup.manifest.files)
    MaintenanceActions.restore(large, tmp_path / "restored")
    assert sorted(whole) == sorted(files)
    assert sum(parts) < size / 10 if room == "enough" else sum(parts) < size * 1.5
    assert not list(temporary.iterdir())
    with opened(tmp_path / "restored") as restored:
        assert live(state_of(restored)) == live(state_of(small))
    MaintenanceActions.restore(large, tmp_path / "earlier", etag=etag)
    with opened(tmp_path / "earlier") as earlier:
        assert earlier.last_etag == etag
    whole.clear()
    parts.clear()
    MaintenanceActions.verify(large, record=False)
    assert sorted(whole) == sorted(files)
    assert room == "none" or not parts


@some(1)
@pytest.mark.parametrize("where", ["footer", "pages"])
def test_what_is_read_of_an_object_is_proven(large: Remote, where: str) -> None:
    (backup,) = backups(large)
    for file in backup.manifest.files:
        path = backup.path(file.name)
        content = bytearray(path.read_bytes())
        for place in [len(content) - 100] if where == "footer" else range(100, len(content) - 20_000, 500):
            content[place] ^= 1
        path.unlink()
        put_new(path, bytes(content))
    said = "of its footer is not the manifest's" if where == "footer" else "cannot be read"
    with pytest.raises(DamagedBackup, match=said):
        versions_of("noise/77", backups(large))


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (403, "RequestTimeTooSkewed", "the clock of this machine differs too much"),
        (400, "AuthorizationHeaderMalformed", "the bucket is in another region"),
        (301, "PermanentRedirect", "the bucket is in another region"),
        (403, "ExpiredToken", "the credentials have expired"),
        (403, "AccessDenied", "nobody with these credentials may list"),
        (503, "SlowDown", "the store is overloaded"),
        (501, "NotImplemented", "the store does not do what was asked of it"),
    ],
)
def test_what_a_store_refuses_is_named(
    small: DocumentDatabase,
    object_store: ObjectStore,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    code: str,
    said: str,
) -> None:
    monkeypatch.setenv("MUNIMENT_STORE_RETRY_SECONDS", "0")
    proxy.rules.append(Rule("", (status, code), 1000))
    with pytest.raises(StorageFailure, match=said) as caught:
        small.maintenance.start_backup(object_store.place()).wait()
    assert code in caught.value.message or code == "PermanentRedirect"  # of which the library does not tell the code
    assert caught.value.hint


def test_a_file_that_there_is_half_the_room_for_is_not_taken_for_whole(large: Remote) -> None:
    """The system takes what there is room for, and says nothing."""
    [backup, *_] = backups(large)
    file = backup.manifest.files[0]
    with files_no_larger_than(file.size // 2), pytest.raises(OSError, match="File too large"):
        fetching.Fetched(backup.path(file.name), file, Progress())


def test_two_databases_that_begin_at_once_do_not_mix(
    small: DocumentDatabase, object_store: ObjectStore, tmp_path: Path
) -> None:
    place = object_store.place()
    with DocumentDatabase(tmp_path / "other") as other:
        running = [each.maintenance.start_backup(place) for each in (small, other)]
        for operation in running:
            operation.join()
    failed = [operation.error for operation in running if operation.error]
    assert [type(error) for error in failed] == [ForeignBackup]
    assert len(backups(place)) == 1
    MaintenanceActions.verify(place)


def test_two_copies_of_a_database_that_write_at_once_lose_nothing(
    small: DocumentDatabase, object_store: ObjectStore, tmp_path: Path
) -> None:
    place = object_store.place()
    small.close()
    shutil.copytree(small.path, tmp_path / "copy")
    names: dict[str, str] = {}
    with DocumentDatabase(small.path) as one, DocumentDatabase(tmp_path / "copy") as two:
        for number in range(3):
            for name, each in (("one", one), ("two", two)):
                each.put(f"{name}/{number}", {})
            running = {
                name: each.maintenance.start_backup(place, incremental=number > 0)
                for name, each in (("one", one), ("two", two))
            }
            names |= {operation.wait().name: name for name, operation in running.items()}
    assert len(names) == len(backups(place)) == 6
    MaintenanceActions.verify(place)
    for backup, name in names.items():
        restored = MaintenanceActions.restore(place, tmp_path / backup, backup=backup)
        with opened(restored.folder) as again:
            assert again.get(f"{name}/0") is not None
