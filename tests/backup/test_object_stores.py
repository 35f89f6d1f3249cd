"""Backups in a real object store: everything that works with a folder works there, and nothing is overwritten."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import obstore
import pytest

from muniment import DocumentDatabase, MaintenanceActions
from muniment.backup.destination import Remote, place_of, put_new, sizes_in
from muniment.backup.recipients import add_recipients, recipients_of, remove_recipient
from muniment.backup.repository import NewBackup, backups, delete_backup
from muniment.backup.versions import versions_of
from muniment.errors import BackupNotFound, ForeignBackup, InvalidInput, StorageFailure, WrongKey
from muniment.rehearsal import rehearse
from muniment.security.keyring import Keyring, Protection
from muniment.security.recipients import Identity
from tests.backup.state import live, opened, state_of
from tests.object_store import ADMIN, READER, ObjectStore


def remote(place: str) -> Remote:
    """The same as the library sees it."""
    found = place_of(place)
    assert isinstance(found, Remote)
    return found


def objects(place: Path) -> dict[str, bytes]:
    """Everything below it."""
    return {name: (place / name).read_bytes() for name in sizes_in(place)}


def test_a_chain_is_taken_and_everything_is_read_from_it(
    small: DocumentDatabase, object_store: ObjectStore, tmp_path: Path
) -> None:
    place = object_store.place()
    full = small.maintenance.start_backup(place).wait()
    small.put("orders/1", {"lines": 100})
    more = small.maintenance.start_backup(place, incremental=True).wait()
    small.delete("orders/2")
    last = small.maintenance.start_backup(place, incremental=True, in_child=True).wait()
    assert str(full.folder) == f"{place}/{full.name}"
    assert [backup.manifest.kind for backup in (full, more, last)] == ["full", "incremental", "incremental"]
    assert list(backups(place)) == [full, more, last]
    restored = MaintenanceActions.restore(place, tmp_path / "restored")
    with opened(restored.folder) as again:
        assert live(state_of(again)) == live(state_of(small))
    verified = MaintenanceActions.verify(place)
    assert verified.backups == (full, more, last)
    assert verified.record
    assert str(verified.record).startswith(f"{place}/verification-")
    assert rehearse(place).record
    answer = MaintenanceActions.query(place, "SELECT id, document FROM documents WHERE id = 'orders/1'")
    assert answer.rows == [("orders/1", '{"lines":100}')]
    assert MaintenanceActions.query(place, "SELECT count(*) FROM attachments").rows == [(2,)]
    assert [version.deleted for version in versions_of("ORDERS/2", backups(place))] == [False, True]
    (changes,) = MaintenanceActions.differences(place, full.name, last.name).changes
    assert (changes.changed, changes.deleted) == (["orders/1"], ["orders/2"])
    told = small.maintenance.recoverability().destinations
    assert [(each.destination, each.there, each.backups, each.problems) for each in told] == [(place, True, 3, [])]
    merged = MaintenanceActions.merge(place, last.name, delete_merged=True)
    assert list(backups(place)) == [merged]
    assert {name.split("/")[0] for name in sizes_in(remote(place)) if "/" in name} == {merged.name}
    MaintenanceActions.verify(place)
    delete_backup(merged)
    assert not [name for name in sizes_in(remote(place)) if "/" in name]


def test_one_backup_can_be_named_by_its_own_place(
    small: DocumentDatabase, object_store: ObjectStore, tmp_path: Path
) -> None:
    place = object_store.place()
    full = small.maintenance.start_backup(place).wait()
    small.put("later", {})
    small.maintenance.start_backup(place, incremental=True).wait()
    assert list(backups(full.folder)) == [full]
    restored = MaintenanceActions.restore(str(full.folder), tmp_path / "restored")
    with opened(restored.folder) as again:
        assert again.get("later") is None
    with pytest.raises(InvalidInput, match="is a backup itself"):
        small.maintenance.start_backup(str(full.folder)).wait()


def test_nothing_that_is_there_is_overwritten(small: DocumentDatabase, object_store: ObjectStore) -> None:
    place = object_store.place()
    small.maintenance.start_backup(place).wait()
    before = objects(remote(place))
    small.put("later", {})
    small.maintenance.start_backup(place, incremental=True).wait()
    MaintenanceActions.verify(place)
    after = objects(remote(place))
    assert {name: after[name] for name in before} == before
    with pytest.raises(FileExistsError):
        put_new(remote(place) / next(iter(before)), b"something else")
    put_new(remote(place) / next(iter(before)), next(iter(before.values())))  # its own, whose answer was lost
    assert objects(remote(place)) == after


def test_what_does_not_succeed_leaves_nothing(
    small: DocumentDatabase, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = object_store.place()

    def fail(*_: object, **__: object) -> None:
        raise StorageFailure("the database's disk is gone", "mount it")

    monkeypatch.setattr("muniment.backup.take._manifest", fail)
    with pytest.raises(StorageFailure, match="disk is gone"):
        small.maintenance.start_backup(place).wait()
    assert set(sizes_in(remote(place))) == {"repository.json"}
    with pytest.raises(BackupNotFound, match="no complete backup"):
        MaintenanceActions.verify(place)
    with pytest.raises(BackupNotFound, match="there is nothing in"):
        MaintenanceActions.verify(object_store.place())


def test_whoever_may_only_read_reads_everything_and_writes_nothing(
    small: DocumentDatabase, object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = object_store.place()
    small.maintenance.start_backup(place).wait()
    before = objects(remote(place))
    for name, value in object_store.environment(READER).items():
        monkeypatch.setenv(name, value)
    MaintenanceActions.restore(place, tmp_path / "restored")
    verified = MaintenanceActions.verify(place)
    assert verified.record is None
    assert "AccessDenied" in (verified.unrecorded or "")
    with pytest.raises(StorageFailure, match=r"nobody with these credentials may write there.*AccessDenied"):
        small.maintenance.start_backup(place).wait()
    assert objects(remote(place)) == before


def test_what_is_wrong_with_a_store_is_named(
    small: DocumentDatabase, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = object_store.place()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(StorageFailure, match=r"does not accept the credentials \(SignatureDoesNotMatch\)") as caught:
        small.maintenance.start_backup(place).wait()
    assert "another" not in f"{caught.value} {caught.value.__cause__} {caught.value.hint}"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    with pytest.raises(StorageFailure, match=r"does not accept the credentials \(InvalidAccessKeyId\)"):
        backups(place)
    for name, value in object_store.environment(ADMIN).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StorageFailure, match=r"there is no such bucket \(NoSuchBucket\)"):
        backups("s3://no-such-bucket/shop")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("MUNIMENT_STORE_RETRY_SECONDS", "0")
    with pytest.raises(StorageFailure, match="the store cannot be reached"):
        backups(place)
    told = small.maintenance.recoverability().destinations
    assert told == []  # nothing was ever written


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ("s3://key:secret@bucket/shop", "neither a password nor options"),
        ("s3://bucket/shop?X-Amz-Signature=secret", "neither a password nor options"),
        ("s3:///shop", "names no place"),
        ("s3://bucket/../other", "names no place"),
        ("ftp://host/shop", "an address (ftp)"),
        ("https://host/shop", "an address (https)"),
        ("C:\\backups", "a place on Windows"),
        ("  ", "is empty"),
        ("~/backups", "your home"),
    ],
)
def test_what_names_no_place_is_refused_without_its_secret(place: str, problem: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(problem)) as caught:
        place_of(place)
    assert "secret" not in str(caught.value)
    assert caught.value.hint


def test_the_names_of_places() -> None:
    place = place_of("s3a://Bucket/a//b/")
    assert isinstance(place, Remote)
    assert str(place) == "s3://Bucket/a/b"
    assert str(place / "c.json") == "s3://Bucket/a/b/c.json"
    assert str((place / "c.json").parent) == "s3://Bucket/a/b"
    assert place_of(Path("s3://Bucket/a/b")) == place  # a path keeps one slash of two
    assert pickle.loads(pickle.dumps(place)) == place
    assert place_of("file:///var/backups") == Path("/var/backups")
    assert type(place_of("backups/shop")) is type(Path())
    with pytest.raises(TypeError, match="not a file of this machine"):
        os.fspath(place)


def test_plain_http_is_for_this_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://user:secret@192.0.2.1:9000")
    with pytest.raises(InvalidInput, match="would read what is sent") as caught:
        backups("s3://bucket/shop")
    assert "secret" not in str(caught.value)


def test_credentials_come_from_a_named_profile(
    small: DocumentDatabase, object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = object_store.place()
    there = object_store.environment()
    for name in there:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    (tmp_path / "credentials").write_text(
        f"[vault]\naws_access_key_id = {there['AWS_ACCESS_KEY_ID']}\n"
        f"aws_secret_access_key = {there['AWS_SECRET_ACCESS_KEY']}\n"
    )
    (tmp_path / "config").write_text(
        f"[profile vault]\nregion = us-east-1\nendpoint_url = {there['AWS_ENDPOINT_URL']}\n"
    )
    named = place.replace("s3://", "s3://vault@")
    taken = small.maintenance.start_backup(named).wait()
    assert [str(backup.folder) for backup in backups(named)] == [str(taken.folder)]
    everything = b"".join(objects(remote(named)).values())
    assert there["AWS_SECRET_ACCESS_KEY"].encode() not in everything
    with pytest.raises(InvalidInput, match="there is no profile 'nobody'"):
        backups(place.replace("s3://", "s3://nobody@"))


@pytest.mark.parametrize("command", ["backup shop --dest s3://b/p", "inspect s3://b/p", "restore s3://b/p --to x"])
def test_without_the_extra_it_says_how_to_install_it(command: str, small: DocumentDatabase, tmp_path: Path) -> None:
    program = "import sys; sys.modules['obstore'] = None; from muniment.cli import main; sys.exit(main())"
    words = command.replace("shop", str(small.storage.folder)).split()
    environment = os.environ | {"AWS_REGION": "x"}
    ended = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    assert ended.returncode == 2, ended.stderr
    assert "obstore is needed for this, which is not installed" in ended.stderr
    assert "pip install 'muniment[s3]'" in ended.stderr


def test_a_store_holds_only_whole_objects(object_store: ObjectStore) -> None:
    from muniment.backup.destination import sink

    path = remote(object_store.place()) / "one"
    left = sink(path)
    left.write(b"x" * (20 << 20))
    left.abandon()
    assert not path.is_file()
    whole = sink(path)
    for _ in range(5):
        whole.write(b"x" * (5 << 20))
    whole.finish()
    assert path.stat().st_size == 25 << 20
    assert obstore.get_range(path.store, path.key, start=0, length=3) == b"xxx"


def test_recipients_change_without_anything_being_overwritten(
    small: DocumentDatabase, object_store: ObjectStore, tmp_path: Path
) -> None:
    place = remote(object_store.place())
    mine, theirs = Identity(b"m" * 32), Identity(b"t" * 32)
    sealed = Protection((mine.recipient,))
    small.maintenance.start_backup(place, protection=sealed).wait()
    taken = small.maintenance.start_backup(place, incremental=True, protection=sealed).wait()
    before = objects(place)
    add_recipients(place, Protection((theirs.recipient,)), Keyring((mine,)))
    after = objects(place)
    assert {name for name in after if name not in before} == {
        name.replace("keys.json", "keys-2.json") for name in before if name.endswith("keys.json")
    }
    assert {name: after.get(name) for name in before if "keys" not in name} == {
        name: content for name, content in before.items() if "keys" not in name
    }
    for who in (mine, theirs):
        assert MaintenanceActions.verify(place, keyring=Keyring((who,))).backups
    put_new(taken.folder / "keys.json", before[f"{taken.name}/keys.json"])  # as where nothing may be deleted
    remove_recipient(place, str(mine.recipient), Keyring((theirs,)))
    assert [each.name for each in recipients_of(place)] == [str(theirs.recipient)]
    with pytest.raises(WrongKey):
        MaintenanceActions.restore(place, tmp_path / "restored", keyring=Keyring((mine,)))
    MaintenanceActions.restore(place, tmp_path / "restored", keyring=Keyring((theirs,)))


def test_a_prefix_is_for_one_database(small: DocumentDatabase, object_store: ObjectStore, tmp_path: Path) -> None:
    place = object_store.place()
    small.maintenance.start_backup(place).wait()
    with DocumentDatabase(tmp_path / "other") as other:
        with pytest.raises(ForeignBackup, match="holds the backups of another database"):
            other.maintenance.start_backup(place).wait()
        delete_backup(backups(place)[0])
        with pytest.raises(ForeignBackup, match="is for the backups of another database"):
            other.maintenance.start_backup(place).wait()  # as if both had begun at once
    assert set(sizes_in(remote(place))) == {"repository.json"}


def test_two_that_begin_in_the_same_millisecond_write_beside_each_other(
    small: DocumentDatabase, object_store: ObjectStore
) -> None:
    place = remote(object_store.place())
    time = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
    with ThreadPoolExecutor(8) as pool:
        begun = list(pool.map(lambda _: NewBackup(place, "full", time, b"{}"), range(8)))
    assert len({new.folder for new in begun}) == 8
    assert len(sizes_in(place)) == 8


def test_objects_of_others_below_the_prefix_are_left_alone(
    small: DocumentDatabase, object_store: ObjectStore, tmp_path: Path
) -> None:
    place = remote(object_store.place())
    others = {"notes.txt": b"not ours", "photos/1.png": b"\x89PNG", "2026.full/manifest.json": b"{}"}
    others["manifest.json"] = b"of a web page"
    for name, content in others.items():
        put_new(place / name, content)
    taken = small.maintenance.start_backup(place).wait()
    found = backups(place)
    assert list(found) == [taken]
    assert [bad.folder.name for bad in found.unusable] == ["shop", "2026.full"]
    MaintenanceActions.restore(place, tmp_path / "restored")
    after = objects(place)
    assert {name: after[name] for name in others} == others
