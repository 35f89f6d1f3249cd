"""The engine in PostgreSQL beside the same work in plain SQL on the same server, which it starts itself.

Plain SQL is COPY into the same tables with the same indexes, `pg_dump -Fd -j2` of the same rows where it is installed,
and for puts upserts into one table that holds the same documents: key, number, body, no log, no digests, no history. A
ratio above 1 says that Muniment is slower.

Puts have two peers, and each is durable. The one by which they are judged gets the same requests by the same HTTP over
as many connections, with the same Python, and groups what waits as Muniment does (`_bare.py`). The other is one
connection that sends 32 rows at a time, ready in memory: what PostgreSQL itself can do, if nobody had to bring them.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from multiprocessing import Queue, get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from time import monotonic

import psycopg
import server as http
from _bare import PLAIN, UPSERT
from _load import Result
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
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--turns", type=int, default=3, help="of which the middle one counts, over HTTP")
    options = parser.parse_args()
    count = options.documents
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as temporary, postgres_server() as server:
        folder = Path(temporary)
        report = Report("PostgreSQL", f"{count:,} documents of muniment.sample, a server with durable settings")
        load(folder / "db", count)
        with DocumentDatabase(folder / "db") as database:
            database.maintenance.start_backup(folder / "backup").wait()
        restored = location_of(f"{server.server}&schema={http.NAME}")  # where a server looks for it
        assert isinstance(restored, Address)
        loads = [_loaded(server, folder / "backup", restored, keep=not left) for left in reversed(range(ROUNDS))]
        seconds, copied = (min(column) for column in zip(*loads, strict=True))
        report.add("restore", f"{seconds:.2f} s", f"COPY {copied:.2f} s", seconds / copied, "≤ 1.3")
        with DocumentDatabase(restored) as database:
            taken = timed(lambda: database.maintenance.start_backup(folder / "from-postgresql").wait())
        dumped = _dumped(server, restored, folder)
        report.add("full backup", f"{taken:.2f} s", f"pg_dump -Fd -j2 {dumped:.2f} s", taken / dumped, "< 1, ≤ 3 s")
        _measure_http(server, folder, restored, options, report)
        filled = location_of(server.address())
        seconds = timed(lambda: _fill(filled, count // 5))
        report.add(f"{count // 5:,} puts, 1 000 in a commit", f"{count // 5 / seconds:,.0f}/s")
        rounds = [(_puts(filled), _upserts(server), _puts_of_two(filled)) for _ in range(ROUNDS)]
        mine, plain, two = (max(column) for column in zip(*rounds, strict=True))
        report.add(
            f"durable puts of {WRITERS} threads", f"{mine:,.0f}/s", f"one connection {plain:,.0f}/s", plain / mine
        )
        report.add("the same in two processes", f"{two:,.0f}/s", f"in one {mine:,.0f}/s", mine / two, "≤ 0.67")
        looked, asked = _asked(restored)
        report.add("a customer's orders, by an index", f"{asked * 1000:.1f} ms", f"looking at all {looked:.2f} s")
        engines.remove(restored)
        report.print()


def _measure_http(server: Postgres, folder: Path, stored: Address, options: argparse.Namespace, report: Report) -> None:
    """Durable puts among the documents that are stored: by one server, by two of them, and by the bare handler."""
    server.execute(PLAIN)
    rows = "SELECT key, etag, body FROM {s}.log JOIN {s}.current USING (kind, key, etag) WHERE body IS NOT NULL"
    server.execute(Names(stored).sql(f"INSERT INTO plain {rows}"))
    server.execute("ANALYZE plain")
    with ExitStack() as stack:

        def started(*arguments: str) -> http.Target:
            return http.Target(stack.enter_context(http.process(*arguments)), options.seconds)

        one, two = (started("-c", http._SERVE, str(folder / name), server.server) for name in ("one", "two"))
        bare = started(str(http._BARE), server.server)
        one.client.put(f"/admin/databases/{http.NAME}", json={"Settings": {}}).raise_for_status()
        ours, most, both = http.in_turns(options.turns, one.put, bare.put, lambda: _put_by_both(one, two))
    alone, together = ours.load.rate, both.load.rate
    report.add(
        "durable PUT over HTTP, 32 connections", str(ours), f"bare handler {most}", most.load.rate / alone, "≤ 1.43"
    )
    report.add("the same by two servers, 32 each", str(both), f"by one {alone:,.0f}/s", alone / together, "≤ 0.67")


def _put_by_both(*targets: http.Target) -> http.Measured:
    with ThreadPoolExecutor(len(targets)) as pool:
        loads = [found.load for found in pool.map(http.Target.put, targets)]
    rate, failures = sum(load.rate for load in loads), sum(load.failures for load in loads)
    p50, p99, processor = (max(getattr(load, name) for load in loads) for name in ("p50", "p99", "processor"))
    return http.Measured(Result(rate, p50, p99, processor, failures), 0)


def _loaded(server: Postgres, backup: Path, target: Address, *, keep: bool) -> tuple[float, float]:
    """Seconds of a restore, and of COPY of the same rows, each when what was before has been written to the disk."""
    server.execute("CHECKPOINT")
    seconds = timed(lambda: MaintenanceActions.restore(backup, target))
    server.execute("CHECKPOINT")
    copied = _copied(server, target)
    if not keep:
        engines.remove(target)
    return seconds, copied


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

        seconds = timed(work)
        one.execute(f'DROP SCHEMA "{target.schema}" CASCADE'.encode())
        return seconds


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
    """Upserts a second of one connection, as many rows at a time as threads wait."""
    body = b"x" * 1011
    with psycopg.connect(server.server, autocommit=True) as one:
        one.prepare_threshold = 0
        done, until = 0, monotonic() + SECONDS
        while monotonic() < until:
            keys = [b"puts/%d/%d" % (thread, done // WRITERS % 100) for thread in range(WRITERS)]
            one.execute(UPSERT, (keys, [*range(done, done + WRITERS)], [body] * WRITERS))
            done += WRITERS
        return done / SECONDS


if __name__ == "__main__":
    main()
