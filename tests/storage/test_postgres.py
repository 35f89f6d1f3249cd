"""What only PostgreSQL has: several processes that write, connections that break, servers that die, and leases."""

from __future__ import annotations

import random
import re
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import psycopg
import pytest

from muniment.errors import (
    AccessDenied,
    DatabaseLocked,
    DatabaseNotFound,
    InvalidInput,
    MunimentError,
    NotEvaluated,
    ServerUnavailable,
    StorageFailure,
    TargetExists,
    UnknownFormat,
)
from muniment.revision import DOCUMENT
from muniment.security.encryption import new_key
from muniment.storage import engines
from muniment.storage.base import Identity, Storage
from muniment.storage.location import Address, location_of, server_of
from muniment.storage.postgres import connection, keeper, writer
from muniment.storage.postgres.facts import fold
from muniment.storage.postgres.holding import has_died, new_holder
from muniment.storage.postgres.schema import LARGE, statements
from muniment.storage.postgres.store import PostgresStorage
from tests.postgres_server import Postgres, postgres_server
from tests.sampled import count
from tests.storage.postgres import made, opened, run
from tests.storage.reference import attach, delete, fingerprint_of, put, state_of, tallies
from tests.waiting import PATIENCE, until

# Several at once


def test_etags_are_in_the_order_of_commits_whoever_commits(address: Address) -> None:
    """Three that write, two threads each; a snapshot has everything up to its etag, and nothing after."""
    stop = threading.Event()

    def write(store: Storage, seed: int) -> int:
        choose, made = random.Random(seed), 0
        while not stop.is_set():
            n, value = choose.randrange(10), b"%d" % choose.randrange(1 << 30)
            store.commit([put(f"left/{n}", value), put(f"right/{n}", value)])
            made += 2
        return made

    with opened(address) as one, opened(address) as two, opened(address) as three, ThreadPoolExecutor(6) as pool:
        writers = [pool.submit(write, store, seed) for seed, store in enumerate((one, two, three) * 2)]
        try:
            for n in range(count(15, whole=200)):
                with (one, two, three)[n % 3].pin() as snapshot:
                    state = state_of(two, snapshot.etag)
                    assert tallies(snapshot.fingerprint) == fingerprint_of(state)
                    assert max((row.etag for row in state.values()), default=0) == snapshot.etag
        finally:
            stop.set()
        made = sum(writer.result(PATIENCE) for writer in writers)
        assert made == one.last_etag == two.last_etag
        assert list(three.check()) == []


def test_a_pin_of_one_process_keeps_another_from_purging(
    address: Address, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "BEAT_SECONDS", 10 * PATIENCE)  # or the pin that has lapsed could be renewed
    with opened(address) as one, opened(address) as two:
        one.commit([put("a", b'{"v":1}')])
        with one.pin() as snapshot:
            two.commit([put("a", b'{"v":2}')])
            assert two.purge() == 0
            assert [row.content for row in state_of(two, snapshot.etag).values()] == [b'{"v":1}']
        pin = one.pin()
        pin.__enter__()
        run(postgres, address, "UPDATE {s}.pin SET expires = now() - interval '1 second'")
        two.commit([put("a", b'{"v":3}')])
        two.purge()
        with pytest.raises(StorageFailure, match="was lost"):
            pin.__exit__(None, None, None)
        assert [each.body for each in two.versions("a")] == [b'{"v":3}']


def test_a_tombstone_is_not_forgotten_while_a_commit_may_write_its_id_again(
    address: Address, postgres: Postgres
) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%muniment FOR UPD%'"
    with opened(address) as store, ThreadPoolExecutor(1) as pool, psycopg.connect(postgres.server) as writer:
        store.commit([put("a"), put("b")])
        store.commit([delete("a")])
        store.commit([put("b")])
        writer.execute(f'SELECT etag FROM "{address.schema}".muniment FOR UPDATE'.encode())
        store.configure({"Muniment/TombstoneWindow": "0s"})
        purging = pool.submit(store.purge)
        until(lambda: purging.done() or postgres.execute(waiting) != [(0,)])
        assert not purging.done()
        writer.rollback()
        purging.result(PATIENCE)
        store.purge()
        assert store.snapshot().tombstones_from == 3
        assert list(store.check()) == []


def test_pins_and_leases_are_renewed(address: Address, postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "BEAT_SECONDS", 0.05)
    with opened(address) as store, store.pin():
        before = run(postgres, address, "SELECT max(expires) FROM {s}.pin")
        until(lambda: run(postgres, address, "SELECT max(expires) FROM {s}.pin") != before)


def test_a_database_that_is_open_elsewhere_is_not_removed(address: Address) -> None:
    with opened(address), pytest.raises(DatabaseLocked, match="process"):
        engines.remove(address)
    assert engines.exists(address)

    def refuse() -> None:
        raise InvalidInput("no")

    with pytest.raises(InvalidInput):
        engines.remove(address, refuse)
    assert engines.exists(address)
    assert engines.remove(address)
    assert not engines.exists(address)
    with pytest.raises(DatabaseNotFound):
        engines.open(address)


# Connections that break


class Cut:
    """A port in front of PostgreSQL, which cuts connections where it is told: at the n-th COMMIT."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.at = -1
        self.how = ""
        self.cuts = 0
        self._commits = 0
        self._deaf: set[socket.socket] = set()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._begin(self._accept)

    def arm(self, how: str) -> None:
        """Cut at the next COMMIT: before it went to PostgreSQL, which hears of that or not, or before its answer."""
        self.how, self.at = how, self._commits

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                self._sockets += [client, server]
                self._begin(self._up, client, server)
                self._begin(self._down, server, client)

    def _begin(self, target: Callable[..., None], *args: socket.socket) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                if b"COMMIT\0" in data:
                    self._commits += 1
                    if self.at == self._commits - 1:
                        self.cuts += 1
                        if self.how == "before its answer":
                            self._deaf.add(server)
                            server.sendall(data)
                            continue
                        client.shutdown(socket.SHUT_RDWR)
                        if self.how == "unheard":
                            return
                        break
                server.sendall(data)
            server.shutdown(socket.SHUT_RDWR)

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while (data := server.recv(1 << 16)) and server not in self._deaf:
                client.sendall(data)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for each in (self._listener, *self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in (self._listener, *self._sockets):
            each.close()


@pytest.mark.parametrize("how", ["before it arrived", "unheard", "before its answer"])
def test_a_commit_whose_connection_breaks_is_made_once(postgres: Postgres, how: str) -> None:
    address = made(postgres.address(postgres.by_network))
    with closing(Cut(postgres.port)) as cut:
        through = location_of(str(address).replace(f":{postgres.port}/", f":{cut.port}/"))
        assert isinstance(through, Address)
        with opened(through) as store:
            store.commit([put("a", b"1")])
            for n in range(3):
                cut.arm(how)
                [written] = store.commit([put("a", b"%d" % (n + 2)), put(f"b/{n}")])[:1]
                assert written.etag == 2 * n + 2
                assert cut.cuts == n + 1
            cut.arm(how)  # of many batches, which are sent again
            assert store.commit_all([[put("c/1"), put("c/2")], [put("c/1", b"2")]]) == 10
            assert (cut.cuts, store.last_etag) == (4, 10)
            assert store.get(DOCUMENT, "c/2") is not None
            attach(store, "photo", [b"x"])
            assert list(store.check()) == []


def test_backends_that_are_terminated_lose_nothing(address: Address, postgres: Postgres) -> None:
    acknowledged: list[str] = []
    with opened(address) as store, ThreadPoolExecutor(2) as pool:
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'muniment %'"

        def write(thread: int) -> None:
            for n in range(count(60, whole=1000)):
                acknowledged.append(store.commit([put(f"{thread}/{n}")])[0].id)
                assert store.get(DOCUMENT, f"{thread}/{n}") is not None

        writing = [pool.submit(write, thread) for thread in range(2)]

        def go_on(number: int) -> bool:
            """Whether so many are acknowledged, or all there will be."""
            return len(acknowledged) >= number or all(each.done() for each in writing)

        while not all(each.done() for each in writing):
            until(partial(go_on, len(acknowledged) + 5))
            postgres.execute(end)
        for each in writing:
            each.result(PATIENCE)
        assert store.last_etag == len(acknowledged)
        assert list(store.check()) == []


WRITES = """
import sys
from muniment.storage.base import Write, system_clock
from muniment.storage.location import location_of
from muniment.storage.postgres.store import PostgresStorage
store = PostgresStorage(location_of(sys.argv[1]), clock=system_clock)
with store.pin():
    for n in range(1_000_000):
        store.commit([Write(f"left/{n}", b"{}"), Write(f"right/{n}", b"{}")])
        print(n, flush=True)
"""


def test_a_client_that_is_killed_leaves_what_was_acknowledged(address: Address, postgres: Postgres) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITES, str(address)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(30):
        process.stdout.readline()
    process.kill()
    told = [int(line) for line in process.stdout]
    process.stdout.close()
    process.wait()
    with opened(address) as store:
        for n in range(max(told, default=29) + 1):
            assert store.get(DOCUMENT, f"left/{n}") is not None
        assert store.last_etag % 2 == 0
        assert list(store.check()) == []
        assert run(postgres, address, "SELECT count(*) FROM {s}.pin") == [(0,)]
        elsewhere = (
            "INSERT INTO {s}.pin(id, owner, etag, expires) VALUES(gen_random_uuid(), gen_random_uuid(), 1, now())"
        )
        run(postgres, address, elsewhere)  # by a process of another machine
        store.commit([put("left/0", b"again")])
        assert store.purge() >= 0
        assert run(postgres, address, "SELECT count(*) FROM {s}.pin") == [(0,)]


HOLDS = """
import sys
from muniment.storage.base import system_clock
from muniment.storage.location import location_of
from muniment.storage.postgres.store import PostgresStorage
store = PostgresStorage(location_of(sys.argv[1]), clock=system_clock)
assert store.take("backup") is None
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("elsewhere", [False, True])
def test_what_a_killed_process_of_this_machine_held_is_free_at_once(
    address: Address, postgres: Postgres, elsewhere: bool
) -> None:
    with (
        opened(address) as store,
        subprocess.Popen(
            [sys.executable, "-c", HOLDS, str(address)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        holder = store.take("backup")
        assert holder is not None
        assert holder.startswith(f"process {process.pid} of ")
        if elsewhere:  # of which nothing can be known here
            run(postgres, address, "UPDATE {s}.lease SET owner = gen_random_uuid() WHERE name = 'backup'")
        process.kill()
        process.wait()
        assert store.take("backup") == (holder if elsewhere else None)
        assert store.alone


def test_only_a_process_that_was_of_this_machine_is_known_to_have_died() -> None:
    mine = new_holder()
    assert mine != new_holder()
    assert not has_died(mine)
    began_earlier = uuid.UUID(bytes=bytes([*mine.bytes[:13], mine.bytes[13] ^ 1, *mine.bytes[14:]]))
    assert has_died(began_earlier)  # and its number was given to this one
    elsewhere = uuid.UUID(bytes=bytes([mine.bytes[0] ^ 1, *began_earlier.bytes[1:]]))
    assert not has_died(elsewhere)
    assert not has_died(uuid.uuid4())


def reached(store: Storage, etag: int) -> bool:
    return store.last_etag >= etag


def test_a_server_that_crashes_has_what_was_acknowledged() -> None:
    with postgres_server() as server:
        address = made(server.address())
        stop = threading.Event()

        def write(store: Storage, thread: int) -> int:
            n = 0
            while not stop.is_set():
                store.commit([put(f"{thread}/{n}"), put(f"{thread}/last", b"%d" % n)])
                n += 1
            return n

        with opened(address) as store, ThreadPoolExecutor(2) as pool:
            writing = [pool.submit(write, store, thread) for thread in range(2)]
            for _ in range(count(2, whole=10)):
                until(partial(reached, store, store.last_etag + 40))
                server.stop(signal.SIGQUIT)
                server.start()
            attach(store, "photo", [b"x"])  # on a connection that has died meanwhile
            stop.set()
            made_by = [each.result(PATIENCE) for each in writing]
            assert store.last_etag == 2 * sum(made_by) + 1
            for thread, n in enumerate(made_by):
                last = store.get(DOCUMENT, f"{thread}/last")
                assert last is not None
                assert last.body == b"%d" % (n - 1)
            assert list(store.check()) == []


# Damage


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("DELETE FROM {s}.log WHERE etag = 5", "log does not have"),
        ("DELETE FROM {s}.log WHERE etag = 5; DELETE FROM {s}.current WHERE etag = 5", "are not the"),
        ("UPDATE {s}.log SET body = '{}1' WHERE etag = 5", "bytes are not what was written"),
        ("UPDATE {s}.current SET etag = 6 WHERE etag = 5", "log does not have"),
        ("UPDATE {s}.log SET collection = 'X' WHERE etag = 5", "filed under"),
        ("DELETE FROM {s}.part", "content is not what was written"),
        ("DELETE FROM {s}.dead", "neither current nor dead"),
        ("UPDATE {s}.tally SET count = count + 1 WHERE kind = 0", "are expected"),
        ("UPDATE {s}.muniment SET etag = 3", "later etag than the last"),
        ("UPDATE {s}.state SET value = '1' WHERE name = 'lineages'", "damaged"),
    ],
)
def test_damage_is_found(address: Address, postgres: Postgres, damage: str, said: str) -> None:
    with opened(address) as store:
        store.commit([put(f"orders/{n}", b'{"n":%d}' % n, collection="Orders") for n in range(10)])
        attach(store, "photo", [b"content"])
        with store.pin():  # which keeps the dead
            store.commit([put("orders/1"), delete("orders/2")])
            assert list(store.check()) == []
            add_up(store)
            for statement in damage.split(";"):
                run(postgres, address, statement)
            found = list(store.check())
            assert any(said in sentence for sentence in found), found
            lost = store.lost(0, store.last_etag) if "muniment" not in damage and "state" not in damage else 0
            assert lost == (1 if "DELETE FROM {s}.log" in damage else 0)


def add_up(store: PostgresStorage) -> None:
    """Have the tallies added up, so that they are where they can be damaged."""
    with store._pool.connection() as held:
        fold(held, store._names)


# What is asked of PostgreSQL


ALLOWED = """
CREATE TABLE INDEX ON PRIMARY KEY NOT NULL DEFAULT WHERE IS PARTITION OF BY HASH FOR VALUES WITH MODULUS REMAINDER ALTER
ADD smallint bigint integer text bytea uuid boolean timestamptz now AND
"""


def test_the_schema_uses_only_what_other_engines_of_the_protocol_have() -> None:
    """No sequence, trigger, function, inheritance, jsonb, domain, foreign key, collation, or index of another kind."""
    names = set("s muniment state note turn tally delta mark pin lease content part log current dead".split())
    names |= set(
        "log_collection log_attachment log_tombstone content_staged one format etag modified told_until".split()
    )
    names |= set(
        "commits name value kind collection count bytes digest id tallies made owner expires about size".split()
    )
    names |= set("index_definition index_key index_text index_fault index_key_head index_key_tail".split())
    names |= set("path state several used place head tail words reason".split())
    names |= set("sha256 staged number data key spelling folded metadata body replaced_by".split())
    for partitions in (0, 4):
        text = statements(partitions)
        words = set(re.findall(r"[A-Za-z_][A-Za-z_0-9]*", text))
        tables = {f"{table}_{n}" for table in LARGE for n in range(partitions)}
        assert words - set(ALLOWED.split()) - names - tables == set()
    for table in LARGE:  # the partition key is part of each primary key
        assert re.search(rf"\.{table}\([^;]*PRIMARY KEY\([^)]*\bkey\)", statements(4))


def test_partitions(postgres: Postgres) -> None:
    address = made(f"{postgres.address()}&partitions=4")
    with opened(address) as store:
        store.commit([put(f"orders/{n}", collection="Orders") for n in range(100)])
        store.commit([put(f"orders/{n}") for n in range(50)])
        store.purge()
        with store.pin() as snapshot:
            assert tallies(snapshot.fingerprint) == fingerprint_of(state_of(store, snapshot.etag))
        assert list(store.check()) == []
    for n in range(4):
        [(rows,)] = run(postgres, address, f"SELECT count(*) FROM {{s}}.log_{n}")
        assert isinstance(rows, int)
        assert rows > 0
    for wrong in ("1", "257", "x"):
        with pytest.raises(InvalidInput):
            engines.create(location_of(f"{postgres.address()}&partitions={wrong}"))


# Bad input


def test_addresses(postgres: Postgres) -> None:
    text = "postgresql://me@host:5433/shop?sslmode=require&schema=Orders"
    place = location_of(text)
    assert isinstance(place, Address)
    assert str(place) == text
    assert (place.server, place.schema, place.name) == (text[: text.index("&")], "Orders", "Orders")
    assert location_of(str(place)) == place == location_of(place)
    assert location_of("postgres:///shop?schema=a&host=/tmp/x") == location_of(
        "postgresql:///shop?host=/tmp/x&schema=a"
    )
    assert location_of("shop") == Path("shop")
    assert server_of("postgresql://host/shop") == "postgresql://host/shop"
    with pytest.raises(TypeError):
        open(place)  # noqa: PTH123, SIM115
    for wrong in (
        "postgresql://me:secret@host/shop?schema=a",
        "postgresql://me@host/shop?schema=a&password=secret",
        "postgresql://host/shop",
        "postgresql://host/shop?schema=",
        "postgresql://host/shop?schema=pg_toast",
        "postgresql://host/shop?schema=a&schema=b",
        f"postgresql://host/shop?schema={'a' * 51}",
        "postgresql://host/shop?schema=a#b",
    ):
        with pytest.raises(InvalidInput) as caught:
            location_of(wrong)
        assert "secret" not in f"{caught.value} {caught.value.hint}"
        assert caught.value.hint


def test_what_cannot_be_reached_or_used_is_said(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUNIMENT_POSTGRESQL_RETRY_SECONDS", "0")

    def error(text: str, kind: type[MunimentError], call: Callable[[Address], object] = engines.open) -> MunimentError:
        place = location_of(text)
        assert isinstance(place, Address)
        with pytest.raises(kind) as caught:
            call(place)
        assert caught.value.hint
        return caught.value

    nobody = postgres.address().replace(f"port={postgres.port}", "port=1")
    assert "not reachable" in str(error(nobody, ServerUnavailable))
    assert "createdb" in error(postgres.address().replace("/test?", "/none?"), DatabaseNotFound).hint
    assert "make the role" in error(postgres.address().replace("muniment@", "nobody@"), AccessDenied).hint
    error(postgres.address(), DatabaseNotFound)

    postgres.execute("CREATE SCHEMA foreigners; CREATE TABLE foreigners.things(a int)")
    foreign = f"{postgres.server}&schema=foreigners"
    assert "things" in str(error(foreign, TargetExists, engines.create))

    newer = made(postgres.address())
    run(postgres, newer, "UPDATE {s}.muniment SET format = 99")
    assert "99" in str(error(str(newer), UnknownFormat))

    postgres.execute("CREATE ROLE guest LOGIN")
    guest = postgres.address().replace("muniment@", "guest@")
    assert 'GRANT CREATE ON DATABASE "test" TO "guest";' in error(guest, AccessDenied, engines.create).hint
    server = postgres.server.replace("/test?", "/postgres?")
    postgres.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0", server)
    latin = postgres.address().replace("/test?", "/latin?")
    assert "createdb --encoding=UTF8" in error(latin, InvalidInput, engines.create).hint

    there = made(postgres.address())
    with pytest.raises(NotEvaluated, match="does not encrypt"):
        engines.open(there, key=new_key())
    for call in (engines.compact, lambda place: engines.rekey(place, None, None)):
        with pytest.raises(NotEvaluated):
            call(there)
    with opened(there) as store, pytest.raises(NotEvaluated, match="cannot be frozen"):
        store.freeze(5)


@pytest.mark.parametrize("setting", ["fsync", "synchronous_commit"])
def test_settings_that_lose_writes_are_said_loudly(capsys: pytest.CaptureFixture[str], setting: str) -> None:
    with postgres_server() as server:
        address = made(server.address())
        server.stop()
        server.start("-c", f"{setting}=off")
        with opened(address) as store:
            assert "WARNING" in (said := capsys.readouterr().err)
            assert f"{setting}=off" in said
            [(value,)] = store._reader.rows("SELECT current_setting('synchronous_commit')")
            assert value == "on"


def test_a_wrong_password_is_told_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with postgres_server() as server:
        server.execute("CREATE ROLE clerk LOGIN SUPERUSER PASSWORD 'right-secret'")
        (server.folder / "data" / "pg_hba.conf").write_text(
            "local all muniment trust\nhost all clerk 127.0.0.1/32 scram-sha-256\n"
        )
        server.execute("SELECT pg_reload_conf()")
        text = server.address(server.by_network.replace("muniment@", "clerk@"))
        monkeypatch.setenv("PGPASSWORD", "wrong-secret")
        place = location_of(text)
        with pytest.raises(AccessDenied) as caught:
            engines.create(place)
        assert "secret" not in f"{caught.value}{caught.value.hint}"
        monkeypatch.delenv("PGPASSWORD")
        (tmp_path / "pgpass").write_text("*:*:*:clerk:right-secret\n")
        (tmp_path / "pgpass").chmod(0o600)
        monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pgpass"))
        engines.create(place)
        assert engines.exists(place)


def test_too_many_connections_are_told(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUNIMENT_POSTGRESQL_CONNECTIONS", "2")
    monkeypatch.setenv("MUNIMENT_POSTGRESQL_RETRY_SECONDS", "0")
    address = made(f"{postgres.address()}&options=-cgeqo%3Don")  # another server, so that the pool is a new one
    with opened(address) as store:
        store.commit([put("a")])
        reading = [store.members() for _ in range(2)]
        for each in reading:
            next(each)
        monkeypatch.setattr(connection, "WAIT_SECONDS", 0.5)
        with pytest.raises(MunimentError, match="connections") as caught:
            store.get(DOCUMENT, "a")
        assert "MUNIMENT_POSTGRESQL_CONNECTIONS" in caught.value.hint
        monkeypatch.setattr(connection, "WAIT_SECONDS", PATIENCE)  # for the keeper may want one as well
        for each in reading:
            assert isinstance(each, Iterator)
            list(each)
        assert store.get(DOCUMENT, "a") is not None


# Loading


def test_a_load_that_fails_leaves_nothing(postgres: Postgres) -> None:
    target = location_of(postgres.address())
    assert isinstance(target, Address)
    with (
        pytest.raises(ZeroDivisionError),
        engines.staged(target) as (schema, _),
        closing(engines.loader(schema, Identity("a", "b"))),
    ):
        raise ZeroDivisionError
    left = f"SELECT count(*) FROM pg_namespace WHERE nspname LIKE '{target.schema}%'"
    assert postgres.execute(left) == [(0,)]
    mine = "FROM pg_stat_activity WHERE application_name LIKE 'muniment %'"

    def cut_off() -> None:
        postgres.execute(f"SELECT pg_terminate_backend(pid) {mine}")
        until(lambda: postgres.execute(f"SELECT count(*) {mine}") == [(0,)])
        raise ZeroDivisionError

    with (
        pytest.raises(ZeroDivisionError),
        engines.staged(target) as (schema, _),
        closing(engines.loader(schema, Identity("a", "b"))),
    ):
        cut_off()
    with pytest.raises(ZeroDivisionError), engines.taking(target):
        cut_off()
    assert postgres.execute(left) == [(0,)]
    with engines.staged(target) as (schema, publish):  # after one that was killed had left it
        engines.create(schema)
        publish()
    assert engines.exists(target)


def test_those_who_write_again_at_once_share_a_commit(
    address: Address, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer waits for as many as it has just answered: here as long as it takes."""
    monkeypatch.setattr(writer, "GATHER_SHARE", 1e6)
    monkeypatch.setattr(writer, "GATHER_SECONDS", PATIENCE)
    commits = "SELECT commits FROM {s}.muniment"
    with opened(address) as store, psycopg.connect(postgres.server) as other:
        other.execute(f'SELECT etag FROM "{address.schema}".muniment FOR UPDATE'.encode())
        first = store.submit([put("a")])
        taken(store)  # by a commit, which the lock keeps from its end
        two = [store.submit([put("b")]), store.submit([put("c")])]
        other.rollback()
        for future in (first, *two):
            future.result(PATIENCE)
        assert run(postgres, address, commits) == [(2,)]
        again = store.submit([put("b")])
        taken(store)
        assert not again.done()
        store.submit([put("c")]).result(PATIENCE)
        assert again.result(0)[0].etag == 4
        assert run(postgres, address, commits) == [(3,)]


def taken(store: Storage) -> None:
    """Wait until the writer has taken what was submitted."""
    until(lambda: not store.waiting)
