"""The engine in PostgreSQL beside the same work in plain SQL on the same server, which it starts itself.

Plain SQL is COPY into the same tables with the same indexes, `pg_dump -Fd -j2` of the same rows where it is installed,
and upserts of the same bodies grouped alike. A ratio above 1 says that Muniment is slower.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from itertools import islice
from multiprocessing import Queue, get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from time import monotonic

import psycopg
from _machine import Report, timed
from incremental import load

from muniment import DocumentDatabase, MaintenanceActions, Put, sample
from muniment.storage import engines
from muniment.storage.location import Address, location_of
from muniment.storage.postgres.connection import Names
from muniment.storage.postgres.schema import LARGE, keys_and_indexes, statements

sys.path.append(str(Path(__file__).parents[1]))  # for the PostgreSQL that the tests start
from tests.postgres_server import Postgres, postgres_server

WRITERS = 32
SECONDS = 3.0
ROUNDS = 3  # of which the best counts, as whatever else the machine does makes them slower


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=500_000)
    count = parser.parse_args().documents
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as temporary, postgres_server() as server:
        folder = Path(temporary)
        report = Report("PostgreSQL", f"{count:,} documents of muniment.sample, a server with durable settings")
        load(folder / "db", count)
        with DocumentDatabase(folder / "db") as database:
            database.maintenance.start_backup(folder / "backup").wait()
        restored = location_of(server.address())
        assert isinstance(restored, Address)
        seconds = timed(lambda: MaintenanceActions.restore(folder / "backup", restored))
        copied = _copied(server, restored)
        report.add("restore", f"{seconds:.2f} s", f"COPY {copied:.2f} s", seconds / copied, "≤ 1.3")
        with DocumentDatabase(restored) as database:
            taken = timed(lambda: database.maintenance.start_backup(folder / "from-postgresql").wait())
        dumped = _dumped(server, restored, folder)
        report.add("full backup", f"{taken:.2f} s", f"pg_dump -Fd -j2 {dumped:.2f} s", taken / dumped, "< 1, ≤ 3 s")
        filled = location_of(server.address())
        seconds = timed(lambda: _fill(filled, count // 5))
        report.add(f"{count // 5:,} puts, 1 000 in a commit", f"{count // 5 / seconds:,.0f}/s")
        rounds = [(_puts(filled), _upserts(server), _puts_of_two(filled)) for _ in range(ROUNDS)]
        mine, plain, two = (max(column) for column in zip(*rounds, strict=True))
        report.add(
            f"durable puts of {WRITERS} threads", f"{mine:,.0f}/s", f"upserts {plain:,.0f}/s", plain / mine, "≤ 1.4"
        )
        report.add("the same in two processes", f"{two:,.0f}/s", f"in one {mine:,.0f}/s", mine / two, "≤ 0.67")
        looked, asked = _asked(restored)
        report.add("a customer's orders, by an index", f"{asked * 1000:.1f} ms", f"looking at all {looked:.2f} s")
        engines.remove(restored)
        report.print()


def _copied(server: Postgres, source: Address) -> float:
    """Seconds of COPY of the same rows into tables with the same keys and indexes."""
    target = location_of(server.address())
    assert isinstance(target, Address)
    names = Names(target)
    with psycopg.connect(server.server, autocommit=True) as one, psycopg.connect(server.server) as two:
        one.execute(f'CREATE SCHEMA "{target.schema}"'.encode())
        one.execute(names.sql(statements(0, keys=False)).encode())
        rows = {}
        for table in ("log", "current"):
            with two.cursor().copy(f'COPY "{source.schema}".{table} TO STDOUT (FORMAT BINARY)'.encode()) as copy:
                rows[table] = b"".join(copy)

        def work() -> None:
            for table, copied in rows.items():
                statement = f'COPY "{target.schema}".{table} FROM STDIN (FORMAT BINARY)'
                with one.cursor().copy(statement.encode()) as copy:
                    copy.write(copied)
            one.execute(names.sql("".join(map(keys_and_indexes, LARGE))).encode())

        return timed(work)


def _dumped(server: Postgres, source: Address, folder: Path) -> float:
    """Seconds of `pg_dump` of the tables."""
    program = shutil.which("pg_dump")
    if program is None:
        return float("nan")
    command = [program, "-Fd", "-j2", "-f", str(folder / "dump"), "-n", source.schema, "-d", server.server]
    return timed(lambda: subprocess.run(command, check=True))


def _fill(place: Path, count: int) -> None:
    documents = sample.documents(count)
    with DocumentDatabase(place) as database:
        while batch := [Put(id, body, metadata) for id, body, metadata in islice(documents, 1000)]:
            database.batch(batch)


def _together(work: Callable[[int, int], object]) -> float:
    """How many times a second this is done by so many threads."""
    done, until = [0] * WRITERS, monotonic() + SECONDS

    def run(thread: int) -> None:
        while monotonic() < until:
            work(thread, done[thread])
            done[thread] += 1

    threads = [threading.Thread(target=run, args=(thread,)) for thread in range(WRITERS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return sum(done) / SECONDS


def _puts(place: Path) -> float:
    body = b'{"text":"' + b"x" * 1000 + b'"}'
    with DocumentDatabase(place) as database:
        return _together(lambda thread, n: database.put(f"puts/{thread}/{n % 100}", body))


def _put_in(place: str, ready: Barrier, done: Queue[float]) -> None:
    """What one of several processes does."""
    ready.wait()
    done.put(_puts(location_of(place)))


def _puts_of_two(place: Path) -> float:
    """Puts a second of two processes at the same time."""
    context = get_context("spawn")
    ready, done = context.Barrier(2), context.Queue()
    processes = [context.Process(target=_put_in, args=(str(place), ready, done)) for _ in range(2)]
    for each in processes:
        each.start()
    puts: float = sum(done.get() for _ in processes)
    for each in processes:
        each.join()
    return puts


def _asked(place: Path) -> tuple[float, float]:
    """Seconds of a query that looks at every document, and of one by an index."""
    asked = "from Orders where Company = 'companies/1'"
    with DocumentDatabase(place) as database:
        database.storage.index_from = 1 << 40  # type: ignore[attr-defined]
        looked = timed(lambda: database.query(asked))
        database.storage.index_from = 0  # type: ignore[attr-defined]
        while database.query(asked).plan.scanned:
            pass
        return looked, timed(lambda: [database.query(asked) for _ in range(100)]) / 100


def _upserts(server: Postgres) -> float:
    """Upserts a second in groups of as many as threads wait: one row in each of two tables, in one transaction."""
    body = b"x" * 1011
    with psycopg.connect(server.server, autocommit=True) as one:
        one.execute("CREATE TABLE IF NOT EXISTS plain(key bytea PRIMARY KEY, body bytea NOT NULL)")
        upsert = """INSERT INTO plain SELECT * FROM unnest(%b::bytea[], %b::bytea[])
            ON CONFLICT(key) DO UPDATE SET body = excluded.body"""
        done, until = 0, monotonic() + SECONDS
        while monotonic() < until:
            keys = [b"puts/%d/%d" % (thread, done // WRITERS % 100) for thread in range(WRITERS)]
            one.execute(upsert, (keys, [body] * WRITERS))
            done += WRITERS
        return done / SECONDS


if __name__ == "__main__":
    main()
