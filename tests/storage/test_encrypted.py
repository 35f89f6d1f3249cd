"""A database with a key: nothing of it can be read without, and whoever comes with another one changes nothing."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from contextlib import ExitStack, closing
from pathlib import Path
from time import sleep

import pytest

from muniment import DocumentDatabase
from muniment.errors import DamagedDatabase, InvalidInput, WrongKey
from muniment.revision import DOCUMENT
from muniment.security.encryption import Algorithm, EncryptionKey, new_key
from muniment.storage.sqlite.cipher import algorithm_in_use, is_encrypted
from muniment.storage.sqlite.compact import compact, rekey
from muniment.storage.sqlite.files import FILE
from muniment.storage.sqlite.schema import connect
from muniment.storage.sqlite.store import SqliteStorage, create_storage
from tests.clock import Clock
from tests.processes import locks
from tests.secret import SECRET, filled, holding_secret
from tests.storage.reference import put
from tests.storage.test_reach import LOCKS

ALGORITHMS = list(Algorithm)


def opened(folder: Path, key: EncryptionKey | None, *, read_only: bool = False) -> SqliteStorage:
    return SqliteStorage(folder, clock=Clock(), key=key, read_only=read_only)


def left_by_a_killed_process(folder: Path, key: EncryptionKey | None, place: Path) -> None:
    """In `place`, the files of a database as they are while it is open and its log is not empty."""
    folder.mkdir()
    create_storage(folder, key=key)
    with closing(opened(folder, key)) as store:
        store.commit([put(f"orders/{n}", b'{"text":"%s"}' % SECRET.encode()) for n in range(100)])
        shutil.copytree(folder, place)


def algorithm_of(folder: Path, key: EncryptionKey | None) -> Algorithm | None:
    """How the database there is encrypted with this key."""
    with closing(connect(folder, key=key, read_only=True)) as connection:
        return algorithm_in_use(connection) if key else None


def contents(folder: Path) -> dict[str, bytes]:
    """All but the index of the log, which SQLite may build anew whenever it likes."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith("-shm")}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_database_is_encrypted_as_its_key_says_and_tells_how_by_itself(tmp_path: Path, algorithm: Algorithm) -> None:
    key = new_key(algorithm)
    create_storage(tmp_path, key=key)
    assert algorithm_of(tmp_path, key) is algorithm
    for other in ALGORITHMS:
        with closing(opened(tmp_path, EncryptionKey(key.secret, other))) as store:
            store.commit([put(f"orders/{other}")])
    with closing(opened(tmp_path, key)) as store:
        assert list(store.check()) == []
        assert all(store.get(DOCUMENT, f"orders/{other}") for other in ALGORITHMS)


def test_a_database_without_a_key_says_that_it_is_not_encrypted(tmp_path: Path) -> None:
    create_storage(tmp_path)
    assert not is_encrypted(tmp_path / FILE)


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_key_or_another_one_is_refused_and_nothing_is_touched(
    tmp_path: Path, algorithm: Algorithm, read_only: bool
) -> None:
    key = new_key(algorithm)
    left_by_a_killed_process(tmp_path / "open", key, tmp_path / "left")
    before = contents(tmp_path / "left")
    assert before[f"{FILE}-wal"]
    for wrong, said in ((None, "no key was given"), (new_key(algorithm), "this is not the key")):
        with pytest.raises(WrongKey, match=said):
            opened(tmp_path / "left", wrong, read_only=read_only)
        assert {**contents(tmp_path / "left"), "muniment.lock": b""} == {**before, "muniment.lock": b""}
    with closing(opened(tmp_path / "left", key)) as store:
        assert store.last_etag == 100
        assert list(store.check()) == []


def test_a_key_for_a_database_that_has_none_is_refused_and_nothing_is_touched(tmp_path: Path) -> None:
    left_by_a_killed_process(tmp_path / "open", None, tmp_path / "left")
    before = contents(tmp_path / "left")
    with pytest.raises(WrongKey, match="is not encrypted"):
        opened(tmp_path / "left", new_key())
    assert contents(tmp_path / "left") == before


def test_damage_is_told_from_a_wrong_key(tmp_path: Path) -> None:
    key = new_key()
    left_by_a_killed_process(tmp_path / "open", key, tmp_path / "left")
    (tmp_path / "left" / f"{FILE}-wal").unlink()
    with closing(opened(tmp_path / "open", key)) as store:
        pages = len((tmp_path / "open" / FILE).read_bytes()) // 8192
        store.commit([put("orders/1", b'{"text":"%s"}' % (b"x" * 30_000))])
    data = bytearray((tmp_path / "open" / FILE).read_bytes())
    assert len(data) > pages * 8192
    data[-4000] ^= 1
    (tmp_path / "open" / FILE).write_bytes(data)
    with closing(opened(tmp_path / "open", key)) as store, pytest.raises(DamagedDatabase):
        store.get(DOCUMENT, "orders/1")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_nothing_is_readable_in_files_and_log(tmp_path: Path, algorithm: Algorithm) -> None:
    key, plain, encrypted = new_key(algorithm), tmp_path / "plain", tmp_path / "encrypted"
    with DocumentDatabase(plain) as database:
        filled(database)
        assert holding_secret(plain) == [f"{FILE}-wal"]  # so it would be found
    with DocumentDatabase(encrypted, key=key) as database:
        filled(database)
        assert holding_secret(encrypted) == []
    assert holding_secret(plain)
    assert holding_secret(encrypted) == []
    compact(encrypted, key=key)
    assert holding_secret(encrypted) == []
    assert algorithm_of(encrypted, key) is algorithm
    with DocumentDatabase(encrypted, key=key, create=False) as database:
        assert database.check() == []


KEYS = {
    "another key": (new_key(), new_key()),
    **{f"{old} to {new}": (new_key(old), new_key(new)) for old in Algorithm for new in Algorithm if old is not new},
    "a key where there was none": (None, new_key()),
    "none": (new_key(), None),
}


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
def test_a_rewritten_database_has_the_other_key_and_the_same_content(
    tmp_path: Path, keys: tuple[EncryptionKey | None, EncryptionKey | None]
) -> None:
    old, new = keys
    with DocumentDatabase(tmp_path / "shop", key=old) as database:
        filled(database)
        before = database.snapshot()
    rekey(tmp_path / "shop", old, new)
    with pytest.raises(WrongKey):
        DocumentDatabase(tmp_path / "shop", key=old, create=False)
    with DocumentDatabase(tmp_path / "shop", key=new, create=False) as database:
        assert database.snapshot() == before
        assert database.check() == []
        filled(database, "more")
    assert bool(holding_secret(tmp_path / "shop")) == (new is None)
    assert algorithm_of(tmp_path / "shop", new) is (new.algorithm if new else None)


def test_rewriting_with_a_wrong_key_changes_nothing(tmp_path: Path) -> None:
    with DocumentDatabase(tmp_path / "shop", key=new_key()) as database:
        filled(database)
    before = contents(tmp_path / "shop")
    for wrong in (None, new_key()):
        with pytest.raises(WrongKey):
            rekey(tmp_path / "shop", wrong, new_key())
        with pytest.raises(WrongKey):
            compact(tmp_path / "shop", key=wrong)
    assert contents(tmp_path / "shop") == before


def test_a_folder_that_looks_like_an_address_of_sqlite_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    key, folder = new_key(), Path("file:shop?mode=memory 100%")
    with DocumentDatabase(folder, key=key) as database:
        filled(database)
    compact(folder, key=key)
    rekey(folder, key, other := new_key())
    with DocumentDatabase(folder, create=False, key=other) as database:
        assert database.check() == []
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_the_key_of_an_embedded_database_is_bytes_base64_or_a_file(tmp_path: Path) -> None:
    key = new_key()
    (tmp_path / "key").write_text(f"{key.text}\n")
    for given in (key, key.secret, key.text):
        with DocumentDatabase(tmp_path / "shop", key=given) as database:
            database.put("orders/1", {})
    with DocumentDatabase(tmp_path / "shop", key_file=tmp_path / "key") as database:
        assert database.get("orders/1")
    with pytest.raises(InvalidInput, match="both a key and a file"):
        DocumentDatabase(tmp_path / "shop", key=key, key_file=tmp_path / "key")


@pytest.mark.skipif(not LOCKS.exists(), reason="there is no /proc/locks here")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_connections_that_come_later_leave_the_locks(tmp_path: Path, algorithm: Algorithm) -> None:
    """Also while they look how the file is encrypted: who closes it takes all locks of this process away."""
    key = new_key(algorithm)
    create_storage(tmp_path, key=key)
    with closing(opened(tmp_path, key)) as store:
        store.commit([put("orders/1")])

        def locked() -> set[str]:
            inodes = {path.stat().st_ino: path.name for path in tmp_path.iterdir()}
            return {inodes.get(inode, "") for inode, _ in locks(os.getpid())} & {FILE, f"{FILE}-shm"}

        assert locked() == {FILE, f"{FILE}-shm"}
        for _ in range(3):
            with closing(opened(tmp_path, key, read_only=True)) as reader:
                assert reader.get(DOCUMENT, "orders/1") is not None
            with pytest.raises(WrongKey):
                opened(tmp_path, None, read_only=True)
            assert locked() == {FILE, f"{FILE}-shm"}


def _rotate(folder: Path, key: EncryptionKey, new: EncryptionKey) -> None:
    rekey(folder, key, new)


def test_a_rotation_that_is_killed_at_any_moment_leaves_the_old_key_or_the_new_one(tmp_path: Path) -> None:
    old, new, original = new_key(), new_key(Algorithm.CHACHA20), tmp_path / "original"
    with DocumentDatabase(original, key=old) as database:
        filled(database)
        before = database.snapshot()
    seen = set()
    fork = multiprocessing.get_context("fork")
    for moment in range(24):
        folder = tmp_path / f"at-{moment}"
        shutil.copytree(original, folder)
        process = fork.Process(target=_rotate, args=(folder, old, new))
        process.start()
        sleep(moment * 0.004)
        process.kill()
        process.join()
        assert holding_secret(folder) == []
        for key in (old, new):
            try:
                with DocumentDatabase(folder, create=False, key=key) as database:
                    assert database.snapshot() == before
                    assert database.check() == []
                    seen.add(key is new)
            except WrongKey:
                continue
            break
        else:
            pytest.fail("neither key opens it")
        other = old if key is new else new
        with pytest.raises(WrongKey):
            DocumentDatabase(folder, create=False, key=other)
    assert seen


def test_an_encrypted_database_takes_no_more_descriptors_than_a_plain_one(tmp_path: Path) -> None:
    """SQLite cannot close one while this process has locks on the file, so none may be opened in passing."""

    def held(key: EncryptionKey | None) -> int:
        folder = tmp_path / ("encrypted" if key else "plain")
        folder.mkdir()
        create_storage(folder, key=key)
        with closing(opened(folder, key)) as store, ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(store._reader.connection())
            return sum(os.path.realpath(each.path).startswith(str(folder)) for each in os.scandir("/proc/self/fd"))

    assert held(new_key(Algorithm.CHACHA20)) == held(None)
