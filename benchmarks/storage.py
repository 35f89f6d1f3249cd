"""Inserts, updates, single durable puts and reads of the embedded database, beside plain SQLite and the disk.

The peer is one SQLite table with the same pragmas, updated in place: no log, no fingerprint, no collections. That of
durable puts is a loop that does what they do to the same tables of a file of its own, in turns with them: no digests,
no other thread, and nothing is noted beside the file.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import apsw
from _machine import Report, fdatasync_rate, timed

from muniment import DocumentDatabase, Put, sample
from muniment.storage.sqlite.schema import connect
from muniment.storage.sqlite.store import create_storage

BATCH = 1000


def load(database: DocumentDatabase, count: int) -> float:
    """Documents per second when inserted in batches of 1 000; making the documents is not counted."""
    documents = sample.documents(count)
    seconds = 0.0
    while batch := [Put(id, body, metadata) for id, body, metadata in islice(documents, BATCH)]:
        seconds += timed(lambda batch=batch: database.batch(batch))  # type: ignore[misc]
    return count / seconds


def update(database: DocumentDatabase, ids: list[str], bodies: list[bytes], batches: int) -> float:
    """Documents per second when random ones are replaced, 1 000 in a transaction."""
    choose = random.Random(2)
    work = [
        [Put(id, choose.choice(bodies), b'{"Raven-Entity-Name":"Orders"}') for id in choose.sample(ids, BATCH)]
        for _ in range(batches)
    ]
    return batches * BATCH / timed(lambda: [database.batch(commands) for commands in work])


def peer(folder: Path, count: int, batches: int) -> tuple[float, float]:
    """The same inserts and updates with one table of plain SQLite."""
    connection = apsw.Connection(str(folder / "peer.db"))
    connection.execute("PRAGMA page_size=8192; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
    connection.execute("PRAGMA cache_size=-65536; PRAGMA wal_autocheckpoint=4000")
    connection.execute("CREATE TABLE document(id TEXT PRIMARY KEY, metadata BLOB, body BLOB)")
    documents = sample.documents(count)
    ids: list[str] = []
    bodies: list[bytes] = []
    seconds = 0.0

    def insert(rows: list[tuple[str, bytes, bytes]]) -> None:
        with connection:
            connection.executemany("INSERT INTO document VALUES(?, ?, ?)", rows)

    while batch := [(id, metadata, body) for id, body, metadata in islice(documents, BATCH)]:
        seconds += timed(lambda batch=batch: insert(batch))  # type: ignore[misc]
        ids += [row[0] for row in batch]
        bodies = [row[2] for row in batch]
    choose = random.Random(2)

    def replace() -> None:
        for _ in range(batches):
            with connection:
                rows = [(choose.choice(bodies), id) for id in choose.sample(ids, BATCH)]
                connection.executemany("UPDATE document SET body = ? WHERE id = ?", rows)

    rates = count / seconds, batches * BATCH / timed(replace)
    connection.close()
    (folder / "peer.db").unlink()
    return rates


METADATA = b'{"Raven-Entity-Name":"Puts"}'
TURN = 20


@contextmanager
def bare_puts(folder: Path, bodies: list[bytes], together: int) -> Iterator[Callable[[], None]]:
    """The statements of so many puts in one transaction, on the tables of a database in a folder that is to be made."""
    folder.mkdir()
    create_storage(folder)
    connection = connect(folder)
    digest, etag = bytes(32), 0

    def put() -> None:
        nonlocal etag
        execute, run = connection.execute, connection.executemany
        execute("BEGIN IMMEDIATE")
        log, current = [], []
        for _ in range(together):
            etag += 1
            id, body = f"puts/{etag}", bodies[etag % len(bodies)]
            log.append((etag, 0, id, "Puts", etag, METADATA, body, None, digest))
            current.append((0, id, None, etag, "Puts", len(body), digest))
        run("SELECT etag FROM current WHERE kind = ? AND key = ?", [row[:2] for row in current]).fetchall()
        run("INSERT INTO log VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)", log)
        run("REPLACE INTO current VALUES(?, ?, ?, ?, ?, ?, ?)", current)
        tallies = [(kind, name, etag, etag, digest) for kind, name in ((0, "Puts"), (-1, ""), (-2, "0"))]
        run("REPLACE INTO fingerprint VALUES(?, ?, ?, ?, ?)", tallies)
        execute("COMMIT")

    try:
        yield put
    finally:
        connection.close()


def put_rates(
    database: DocumentDatabase, folder: Path, bodies: list[bytes], count: int, together: int
) -> tuple[float, float]:
    """Durable puts of new documents per second, as many under way at a time; and those of the bare loop."""
    under_way, done = deque[Future[Any]](), 0
    ours = theirs = 0.0

    def put() -> None:
        nonlocal done
        for _ in range(TURN * together):
            done += 1
            command = Put(f"puts/{together}/{done}", bodies[done % len(bodies)], METADATA)
            if together == 1:
                database.put(command.id, command.body, command.metadata)
                continue
            under_way.append(database.submit([command]))
            if len(under_way) == together:
                under_way.popleft().result()
        while under_way:
            under_way.popleft().result()

    with bare_puts(folder, bodies, together) as bare:
        while done < count:
            ours += timed(put)
            theirs += timed(lambda: [bare() for _ in range(TURN)])
    return done / ours, done / theirs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=500_000)
    arguments = parser.parse_args()
    count = arguments.documents
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as temporary:
        folder = Path(temporary)
        batches = min(100, max(1, count // BATCH // 2))
        peer_insert, peer_update = peer(folder, count, batches)
        report = Report("Storage", f"{count:,} documents of muniment.sample")
        with DocumentDatabase(folder / "db") as database:
            insert = load(database, count)
            report.add("inserts, 1 000 a transaction", f"{insert:,.0f}/s", f"SQLite {peer_insert:,.0f}/s",
                       insert / peer_insert, "60 000/s")  # fmt: skip
            some = list(islice(sample.documents(count), count - min(count, 5000), None))
            bodies = [body for _, body, _ in some]
            ids = [id for id, _, _ in sample.documents(count)]
            rate = update(database, ids, bodies, batches)
            report.add("random updates, 1 000 a transaction", f"{rate:,.0f}/s", f"SQLite {peer_update:,.0f}/s",
                       rate / peer_update, "20 000/s")  # fmt: skip
            purge = timed(database.storage.purge)
            report.add(
                "… with the purge of what they replaced", f"{batches * BATCH / (batches * BATCH / rate + purge):,.0f}/s"
            )
            for together, what in ((1, "single durable puts"), (32, "durable puts, 32 under way")):
                puts = 4000 if together == 1 else 20_000
                put, bare = put_rates(database, folder / f"bare-{together}", bodies, puts, together)
                report.add(what, f"{put:,.0f}/s", f"SQLite {bare:,.0f}/s", put / bare)
            limit = fdatasync_rate(folder, 8192 * 5)
            report.add("… beside the disk", "", f"fdatasync of 40 KiB {limit:,.0f}/s")
            choose = random.Random(3)
            wanted = choose.choices(ids, k=20_000)
            get = len(wanted) / timed(lambda: [database.get(id) for id in wanted])
            report.add("reads by id", f"{get:,.0f}/s")
            check = timed(database.check)
            report.add("check of everything", f"{check:.1f} s")
        report.print()


if __name__ == "__main__":
    main()
