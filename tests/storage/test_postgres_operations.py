"""What those who run PostgreSQL do to a database there: rights, limits, full disks, and versions that come and go."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest

from muniment import DocumentDatabase, MaintenanceActions
from muniment.errors import (
    AccessDenied,
    Busy,
    DatabaseLocked,
    InvalidInput,
    MunimentError,
    ServerUnavailable,
    StorageFailure,
    UnknownFormat,
)
from muniment.revision import DOCUMENT
from muniment.storage import engines
from muniment.storage.location import Address, location_of
from muniment.storage.location import address as address_in
from muniment.storage.postgres import migrate, schema, store
from muniment.storage.postgres.distribution import SPREAD
from muniment.storage.postgres.store import PostgresStorage
from tests.postgres_server import Postgres, postgres_server
from tests.storage.postgres import made, opened, run
from tests.storage.reference import put
from tests.waiting import until

T = TypeVar("T")


def by(address: Address, role: str, options: str = "") -> Address:
    """The same database, as this role."""
    server, _, rest = str(address).replace("muniment@", f"{role}@").rpartition("&schema=")
    place = location_of(f"{server}{options}&schema={rest}")
    assert isinstance(place, Address)
    return place


def role(postgres: Postgres, options: str = "") -> str:
    """A role that may do nothing, of this run."""
    name = f"r{id(object()):x}{threading.get_ident():x}"
    with suppress(psycopg.errors.UndefinedObject):
        postgres.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")
    postgres.execute(f"CREATE ROLE {name} LOGIN {options}")
    return name


# Rights


def test_the_grants_that_an_error_names_are_those_that_are_missing(address: Address, postgres: Postgres) -> None:
    guest = role(postgres)
    as_guest = by(address, guest)

    def refused(*, read_only: bool) -> str:
        with pytest.raises(AccessDenied) as caught, opened(as_guest, read_only=read_only):
            pass
        return caught.value.hint

    def grant(hint: str) -> None:
        assert hint.startswith("as its owner: ")
        for statement in hint.removeprefix("as its owner: ").split("; "):
            postgres.execute(statement)

    hint = refused(read_only=True)
    schema = f'"{address.schema}"'
    assert f'GRANT USAGE ON SCHEMA {schema} TO "{guest}";' in hint
    assert f'GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO "{guest}";' in hint
    assert "INSERT" not in hint
    grant(hint)
    with opened(as_guest, read_only=True) as reading:
        assert reading.get(DOCUMENT, "a") is None
        assert list(reading.check()) == []
    hint = refused(read_only=False)
    assert "SELECT" not in hint
    grant(hint)
    with opened(as_guest) as writing:
        writing.commit([put("a"), put("b")])
        with writing.pin():
            assert list(writing.check()) == []
        run(postgres, address, f"REVOKE INSERT ON {{s}}.log FROM {guest}")
        with pytest.raises(AccessDenied, match="log") as caught:
            writing.commit([put("c")])
        assert "muniment check" in caught.value.hint
    assert refused(read_only=False) == f'as its owner: GRANT INSERT ON {schema}."log" TO "{guest}";'
    grant(f'as its owner: GRANT INSERT ON {schema}."log" TO "{guest}";')
    with opened(as_guest) as writing:
        assert writing.commit([put("c")])[0].etag == 3
    with pytest.raises(AccessDenied, match="owner"):
        engines.remove(as_guest)
    assert engines.exists(address)


def test_a_schema_that_a_role_may_not_make_or_fill_is_refused_with_the_grant(postgres: Postgres) -> None:
    guest = role(postgres)
    place = location_of(postgres.address().replace("muniment@", f"{guest}@"))
    assert isinstance(place, Address)
    for grant in (f'GRANT CREATE ON DATABASE "test" TO "{guest}";', ""):
        if grant:
            with pytest.raises(AccessDenied) as caught:
                engines.create(place)
            assert caught.value.hint == f"as the owner: {grant}"
            postgres.execute(grant)
        else:
            engines.create(place)
    other = location_of(postgres.address().replace("muniment@", f"{guest}@"))
    assert isinstance(other, Address)
    postgres.execute(f'CREATE SCHEMA "{other.schema}"')
    with pytest.raises(AccessDenied) as caught:
        engines.create(other)
    assert caught.value.hint == f'as the owner: GRANT USAGE, CREATE ON SCHEMA "{other.schema}" TO "{guest}";'
    postgres.execute(f'GRANT USAGE, CREATE ON SCHEMA "{other.schema}" TO "{guest}"')
    engines.create(other)
    assert engines.exists(other)
    postgres.execute(f"DROP OWNED BY {guest}")


# Versions


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> int:
    """As a later version of this software, whose format is the next one."""
    later = schema.FORMAT + 1
    steps = {schema.FORMAT: "ALTER TABLE {s}.note ADD made bigint; CREATE INDEX note_made ON {s}.note(made)"}
    for module in (schema, migrate, store):
        monkeypatch.setattr(module, "FORMAT", later)
    monkeypatch.setattr(store, "upgrade", lambda held, address: migrate.upgrade(held, address, later, steps))
    return later


def test_an_earlier_format_is_brought_up_when_nobody_has_it_open(
    postgres: Postgres, request: pytest.FixtureRequest
) -> None:
    address = made(postgres.address())
    before = opened(address)
    with before as old:
        old.commit([put("a", b"1")])
        later = request.getfixturevalue("newer")
        with pytest.raises(UnknownFormat, match="has format") as caught, opened(address, read_only=True):
            pass
        assert "muniment backup" in caught.value.hint
        with pytest.raises(DatabaseLocked, match="has the database"), opened(address):
            pass
        old.commit([put("b", b"2")])
    guest = role(postgres)
    postgres.execute(f'GRANT USAGE ON SCHEMA "{address.schema}" TO {guest}')
    rights = f'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "{address.schema}" TO {guest}'
    postgres.execute(rights)
    with pytest.raises(AccessDenied, match="format"), opened(by(address, guest)):
        pass
    assert run(postgres, address, "SELECT format FROM {s}.muniment") == [(later - 1,)]
    with opened(address) as store:
        assert [store.get(DOCUMENT, id) is not None for id in "ab"] == [True, True]
        assert list(store.check()) == []
    assert run(postgres, address, "SELECT format FROM {s}.muniment") == [(later,)]
    assert run(postgres, address, "SELECT count(made) FROM {s}.note") == [(0,)]
    with opened(address, read_only=True), opened(by(address, guest)):
        pass


def test_an_upgrade_that_fails_leaves_what_there_was(
    address: Address, newer: int, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = {newer - 1: "ALTER TABLE {s}.note ADD made bigint; SELECT 1/0"}
    monkeypatch.setattr(store, "upgrade", lambda held, address: migrate.upgrade(held, address, newer, steps))
    with pytest.raises(StorageFailure, match="division"), opened(address):
        pass
    assert run(postgres, address, "SELECT format FROM {s}.muniment") == [(newer - 1,)]
    with pytest.raises(psycopg.errors.UndefinedColumn):
        run(postgres, address, "SELECT made FROM {s}.note")


def test_a_table_of_somebody_else_is_no_database(postgres: Postgres) -> None:
    address = location_of(postgres.address())
    assert isinstance(address, Address)
    run(postgres, address, "CREATE SCHEMA {s}; CREATE TABLE {s}.muniment(a int)")
    for call in (opened, engines.create):
        with pytest.raises(UnknownFormat, match="not a database of Muniment"):
            call(address)
    assert run(postgres, address, "SELECT count(*) FROM {s}.muniment") == [(0,)]


# Partitions


def test_partitions_are_not_given_to_a_database_that_is_there(tmp_path: Path, postgres: Postgres) -> None:
    with DocumentDatabase(tmp_path / "shop") as database, pytest.raises(InvalidInput, match="in a folder"):
        database.configure({"Muniment/Partitions": "4"})
    with DocumentDatabase(f"{postgres.address()}&partitions=4") as database:
        assert database.configure({"Muniment/Partitions": "4"}) == {"Muniment/Partitions": "4"}
        for wrong in ("2", "0"):
            with pytest.raises(InvalidInput, match="was made with 4") as caught:
                database.configure({"muniment/partitions": wrong})
            assert "restore" in caught.value.hint
        database.configure({"Muniment/History": "true"})
    with DocumentDatabase(postgres.address()) as database:
        with pytest.raises(InvalidInput, match="was made with none"):
            database.configure({"Muniment/Partitions": "4"})
        assert database.settings == {}


CITUS = """
CREATE TABLE told(id serial, what text);
CREATE FUNCTION create_reference_table(name regclass) RETURNS void LANGUAGE sql AS
$$ INSERT INTO told(what) VALUES(name::text || ' everywhere') $$;
CREATE FUNCTION create_distributed_table(name regclass, by text, colocate_with text, shard_count int DEFAULT 0)
RETURNS void LANGUAGE sql AS $$ INSERT INTO told(what) VALUES(name::text || ' by ' || by || ' ' || shard_count) $$;
"""


def test_tables_are_spread_where_citus_is_there_and_parts_are_asked_for(postgres: Postgres, tmp_path: Path) -> None:
    """Citus itself is not: what it would be told is."""
    server = postgres.new_database()
    postgres.execute(CITUS, server)
    with DocumentDatabase(address_in(server, "plain")):
        assert postgres.execute("SELECT count(*) FROM told", server) == [(0,)]
    spread = address_in(server, "it's", 8)
    with DocumentDatabase(spread) as database:
        database.put("a", {})
        told = {str(what) for (what,) in postgres.execute("SELECT what FROM told", server)}
        place = '"it\'s"'
        large = {f"{place}.log by key 8", f"{place}.current by key 0", f"{place}.dead by key 0"}
        large.add(f"{place}.part by content 8")
        assert told == large | {f"{place}.{table} everywhere" for table in set(schema.TABLES) - set(SPREAD)}
        engines.check_partitions(spread, 8)
        database.configure({"Muniment/Partitions": "8"})
        database.maintenance.start_backup(tmp_path / "backups").wait()
    MaintenanceActions.restore(tmp_path / "backups", address_in(server, "again", 4))
    assert postgres.execute("SELECT count(*) FROM told WHERE what LIKE '%.log by key 4'", server) == [(1,)]


def test_what_is_spread_has_its_column_in_each_key() -> None:
    text = schema.statements(0)
    for table, column in SPREAD.items():
        assert re.search(rf"\.{table}\([^;]*PRIMARY KEY\([^)]*\b{column}\b", text)


# Limits


def checked(store: PostgresStorage) -> list[str]:
    with store.pin():
        return list(store.check())


def at_last(what: Callable[[], T]) -> T:
    """What this gives, done again where a machine that has much else to do took too long for the limit of a role."""

    def tried() -> list[T]:
        try:
            return [what()]
        except Busy:
            return []

    return until(tried)[0]


def test_limits_of_a_role_are_told_and_keep_what_there_is(
    address: Address, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUNIMENT_POSTGRESQL_RETRY_SECONDS", "0")
    limited = role(postgres, "SUPERUSER")
    postgres.execute(f"ALTER ROLE {limited} SET statement_timeout = '150ms'")
    with at_last(lambda: opened(by(address, limited))) as store:
        at_last(lambda: store.commit([put("a", b"1")]))
        with psycopg.connect(postgres.server) as holding:
            holding.execute(f'SELECT 1 FROM "{address.schema}".muniment FOR UPDATE'.encode())
            with pytest.raises(Busy, match="took too long") as caught:
                store.commit([put("a", b"2")])
            assert "statement_timeout" in caught.value.hint
        at_last(lambda: store.commit([put("a", b"3")]))
        assert at_last(lambda: checked(store)) == []

    few = role(postgres, "CONNECTION LIMIT 1")  # superusers have none
    with psycopg.connect(postgres.server.replace("muniment@", f"{few}@")):
        with pytest.raises(Busy, match="no more connections") as caught, opened(by(address, few)):
            pass
        assert "max_connections" in caught.value.hint


# A disk that is full


MIB = 1 << 20


def fill(store: PostgresStorage) -> tuple[list[str], MunimentError]:
    """Write until it fails: what was acknowledged, and how it failed."""
    acknowledged: list[str] = []
    choose = random.Random(1)
    for n in range(200):
        try:
            acknowledged += [each.id for each in store.commit([put(f"a/{n}", choose.randbytes(MIB))])]
        except MunimentError as error:
            assert acknowledged
            return acknowledged, error
    raise AssertionError("it never was full")


def prove(store: PostgresStorage, acknowledged: list[str]) -> None:
    for id in acknowledged:
        assert store.get(DOCUMENT, id) is not None
    assert store.commit([put("again")])
    assert list(store.check()) == []


def test_a_full_disk_of_the_server_is_told_and_loses_nothing() -> None:
    with postgres_server(disk=24 * MIB) as server:
        assert server.disk
        ballast = server.disk.path / "ballast"
        ballast.write_bytes(bytes(8 * MIB))
        server.execute(f"CREATE TABLESPACE small LOCATION '{server.folder / 'disk'}'")
        server.execute("ALTER DATABASE test SET default_tablespace = small")
        address = made(server.address())
        with opened(address) as store:
            acknowledged, error = fill(store)
            assert isinstance(error, StorageFailure), error
            assert "the disk of the PostgreSQL" in error.message
            assert "is full" in error.message
            assert "make room" in error.hint
            assert list(store.check()) == []  # and it can be read
            with pytest.raises(StorageFailure, match="is full"):
                store.upload([bytes(MIB)] * 20)
            ballast.unlink()
            prove(store, acknowledged)


def test_a_full_disk_of_the_log_of_the_server_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL stops then, and nobody can say what became of the commit that it stopped in."""
    monkeypatch.setenv("MUNIMENT_POSTGRESQL_RETRY_SECONDS", "1")
    with postgres_server("restart_after_crash = off", disk=64 * MIB) as server:
        assert server.disk
        server.stop()
        ballast = server.disk.path / "ballast"
        ballast.write_bytes(bytes(24 * MIB))
        log = server.folder / "data" / "pg_wal"
        subprocess.run(["cp", "-a", log, server.disk.path], check=True)
        shutil.rmtree(log)
        log.symlink_to(server.folder / "disk" / "pg_wal")
        server.start()
        address = made(server.address())
        with opened(address) as store:
            acknowledged, error = fill(store)
            assert isinstance(error, StorageFailure | ServerUnavailable)
            assert str(address) in error.message
        ballast.unlink()
        server.stop()
        server.start()
        with opened(address) as store:
            prove(store, acknowledged)
