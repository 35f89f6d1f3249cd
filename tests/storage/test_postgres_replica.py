"""A replica of PostgreSQL: backups that are read from it, and that it takes over when the primary dies."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from muniment import DocumentDatabase, MaintenanceActions
from muniment.errors import Busy, Forbidden, InvalidInput, MunimentError, StorageFailure
from muniment.revision import DOCUMENT
from muniment.server.places import Places
from muniment.storage import engines
from muniment.storage.base import system_clock
from muniment.storage.location import Address, location_of, server_and_replica
from muniment.storage.postgres.store import PostgresStorage
from tests.postgres_server import Postgres, postgres_server, replica_of
from tests.storage.postgres import made
from tests.storage.reference import attach, put
from tests.waiting import PATIENCE, until


@pytest.fixture(scope="module")
def primary() -> Iterator[Postgres]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="module")
def replica(primary: Postgres) -> Iterator[Postgres]:
    with replica_of(primary) as server:
        yield server


def read_from(primary: Postgres, server: Postgres) -> str:
    """A database of the primary whose backups are read from this server."""
    return f"{primary.address()}&backup_from={server.folder}:{server.port}"


def asked(server: Postgres, what: str) -> bool:
    """Whether a connection of ours has asked this last."""
    query = f"SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'muniment %' AND query LIKE '%{what}%'"
    return server.execute(query) != [(0,)]


def test_a_backup_is_read_from_the_replica_and_restores_the_same(
    primary: Postgres, replica: Postgres, tmp_path: Path
) -> None:
    place = made(read_from(primary, replica))
    with DocumentDatabase(place) as database:
        for n in range(50):
            database.put(f"orders/{n}", {"n": n}, {"Raven-Entity-Name": "Orders"})
        database.put_attachment("photo", bytes(range(256)) * 8000)
        database.maintenance.start_backup(tmp_path / "backups").wait()
        database.put("orders/1", {"n": "changed"})
        database.delete("orders/2")
        database.put_attachment("another", b"x")
        # As it lags behind, the incremental one waits for it.
        replica.execute("SELECT pg_wal_replay_pause()")
        database.put("orders/3", {"n": "changed"})
        backup = database.maintenance.start_backup(tmp_path / "backups", incremental=True)
        until(lambda: asked(replica, "FROM%pin WHERE id"))
        assert backup.state == "running"
        replica.execute("SELECT pg_wal_replay_resume()")
        taken = backup.wait()
        assert taken.manifest.kind == "incremental"
        fingerprint = database.snapshot().fingerprint
    assert MaintenanceActions.restore(tmp_path / "backups", tmp_path / "restored").fingerprint == fingerprint
    assert primary.execute(f'SELECT count(*) FROM "{place.schema}".pin') == [(0,)]


def test_what_a_backup_reads_is_asked_of_the_replica_alone(primary: Postgres, replica: Postgres) -> None:
    with closing(PostgresStorage(made(read_from(primary, replica)), clock=system_clock)) as store:
        store.commit([put("a", b"1"), put("b", b"2")])
        attach(store, "photo", [b"content"])
        with store.pin() as snapshot:
            assert [revision.id for batch in store.changes(0, snapshot.etag) for revision in batch] == ["a", "b"]
            assert asked(replica, "string_agg")
            assert not asked(primary, "string_agg")
            [photo] = store.attachment_changes(0, snapshot.etag)
            assert b"".join(store.content(photo)) == b"content"
            assert asked(replica, "SELECT data FROM")
            assert not asked(primary, "SELECT data FROM")
            assert store.lost(0, snapshot.etag) == 0
        store.commit([put("c", b"3")])
        assert store.get(DOCUMENT, "c") is not None


def test_a_replica_that_is_behind_or_of_another_server_is_told(
    primary: Postgres, replica: Postgres, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def impatient() -> Iterator[None]:
        with monkeypatch.context() as within:
            within.setenv("MUNIMENT_POSTGRESQL_REPLICA_SECONDS", "1")
            within.setenv("MUNIMENT_POSTGRESQL_RETRY_SECONDS", "0")
            yield

    with DocumentDatabase(made(read_from(primary, postgres))) as database:
        database.put("a", {})
        with impatient(), pytest.raises(Busy, match="has no such database") as caught:
            database.maintenance.start_backup(tmp_path / "backups").wait()
        assert "backup_from" in caught.value.hint
    with DocumentDatabase(made(read_from(primary, replica))) as database:
        database.put("a", {})
        database.maintenance.start_backup(tmp_path / "backups").wait()
        replica.execute("SELECT pg_wal_replay_pause()")
        try:
            database.put("b", {})
            with impatient(), pytest.raises(Busy, match="until etag 1, and not until etag 2 of") as caught:
                database.maintenance.start_backup(tmp_path / "backups").wait()
            assert "pg_stat_replication" in caught.value.hint
        finally:
            replica.execute("SELECT pg_wal_replay_resume()")
        database.maintenance.start_backup(tmp_path / "backups").wait()
    nowhere = f"{primary.address()}&backup_from={primary.folder}:1"
    with DocumentDatabase(made(nowhere)) as database:
        database.put("a", {})
        assert database.get("a")
        with impatient(), pytest.raises(MunimentError, match="not reachable"):
            database.maintenance.start_backup(tmp_path / "others").wait()


def test_addresses_of_replicas(tmp_path: Path) -> None:
    text = "postgresql://me@one,two:5433/shop?target_session_attrs=read-write&schema=a&backup_from=three:5434"
    place = location_of(f"{text}&partitions=4")
    assert isinstance(place, Address)
    assert str(place) == f"{text}&partitions=4"
    assert str(place.replica) == "postgresql://me@/shop?host=three&port=5434&schema=a"
    assert str(place.beside(".new").replica).endswith("schema=a.new")
    for wrong in ("", "a,b", "me:secret@host", "a&backup_from=b"):
        with pytest.raises(InvalidInput) as caught:
            location_of(f"postgresql://me@one/shop?schema=a&backup_from={wrong}")
        assert "secret" not in caught.value.hint
    # A server is told of one when it is started, and by nobody else.
    server = "postgresql://me@one/shop?backup_from=two"
    assert server_and_replica(server) == ("postgresql://me@one/shop", "two")
    places = Places(tmp_path, storage=server)
    assert str(places.system) == "postgresql://me@one/shop?schema=muniment_system&backup_from=two"
    assert places.usual("Shop") == "postgresql://me@one/shop?schema=shop"
    assert str(places.read_from(location_of(places.usual("Shop")))).endswith("backup_from=two")
    with pytest.raises(Forbidden, match="names a replica"):
        places.data("postgresql://me@one/shop?schema=shop&backup_from=three")


def test_a_replica_takes_over_with_all_that_was_acknowledged() -> None:
    with postgres_server() as old, replica_of(old, synchronous=True) as new:
        hosts = f"host={old.folder},{new.folder}&port={old.port},{new.port}&target_session_attrs=read-write"
        place = made(f"postgresql://muniment@/test?{hosts}&schema=shop")
        acknowledged: list[str] = []
        stop = threading.Event()

        def write(store: PostgresStorage) -> None:
            n = 0
            while not stop.is_set():
                acknowledged.append(store.commit([put(f"a/{n}")])[0].id)
                n += 1

        with closing(PostgresStorage(place, clock=system_clock)) as store:
            writing = threading.Thread(target=write, args=(store,))
            writing.start()
            until(lambda: len(acknowledged) >= 20)
            old.stop(signal.SIGQUIT)
            new.promote()
            before = len(acknowledged)
            until(lambda: len(acknowledged) >= before + 20 or not writing.is_alive())
            stop.set()
            writing.join(PATIENCE)
            assert len(acknowledged) >= before + 20
            assert store.last_etag == len(acknowledged)
            for id in acknowledged:
                assert store.get(DOCUMENT, id) is not None
            assert list(store.check()) == []


def test_a_replica_is_read_and_takes_no_writes(primary: Postgres, replica: Postgres) -> None:
    place = made(primary.address())
    text = str(place).replace(str(primary.folder), str(replica.folder))
    there = location_of(text.replace(f"port={primary.port}", f"port={replica.port}"))
    with DocumentDatabase(place) as database:
        for n in range(3):
            database.put(f"orders/{n}", {"n": n}, {"Raven-Entity-Name": "Orders"})
        until(lambda: engines.exists(there))
        with pytest.raises(StorageFailure, match="is a replica") as caught:
            engines.open(there)
        assert "target_session_attrs" in caught.value.hint
        with DocumentDatabase(there, create=False, read_only=True) as reading:
            until(lambda: reading.last_etag == database.last_etag)
            assert reading.get("orders/1")
            assert len(list(reading.query("from Orders"))) == 3
            assert len(list(reading.query("from Orders where n >= 1"))) == 2
            assert reading.check() == []
            # What is being read there holds nothing up in the primary, so it may be forgotten.
            pin = reading.storage.pin()
            pinned = pin.__enter__().etag
            database.put("orders/1", {"n": "again"})
            database.storage.purge()
            until(lambda: reading.snapshot().history_from > pinned)
            with pytest.raises(StorageFailure, match="has forgotten"):
                pin.__exit__(None, None, None)
            with reading.storage.pin() as snapshot:
                assert snapshot.etag == database.last_etag


def test_the_backup_after_a_failover_that_lost_commits_is_a_full_one(tmp_path: Path) -> None:
    """PostgreSQL acknowledges what a replica that is not synchronous does not have yet."""
    with postgres_server() as old, replica_of(old) as new:
        place = made(old.address())
        there = str(place).replace(str(old.folder), str(new.folder)).replace(f"port={old.port}", f"port={new.port}")
        with DocumentDatabase(place) as database:
            database.put("a", {"n": 1})
            database.maintenance.start_backup(tmp_path / "backups", incremental=True).wait()
            # The end of the backup, too: a server that takes over is told that one runs until its lease has lapsed.
            running = f"EXISTS (SELECT FROM \"{place.schema}\".lease WHERE name = 'backup')"
            until(lambda: new.execute(f'SELECT etag, {running} FROM "{place.schema}".muniment') == [(1, False)])
            new.stop()
            database.put("a", {"n": "lost"})
            database.maintenance.start_backup(tmp_path / "backups", incremental=True).wait()
        old.stop()
        new.start("-p", str(new.port))
        new.promote()
        with DocumentDatabase(there, create=False) as database:
            database.put("a", {"n": 2})
            database.put("b", {"n": 3})
            taken = database.maintenance.start_backup(tmp_path / "backups", incremental=True).wait()
            fingerprint = database.snapshot().fingerprint
        assert taken.manifest.kind == "full"
        assert "is not of its log" in taken.manifest.reason
        restored = MaintenanceActions.restore(tmp_path / "backups", tmp_path / "restored", backup=taken.name)
        assert restored.fingerprint == fingerprint
