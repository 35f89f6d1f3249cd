"""Inserts, updates, single durable puts and reads of the embedded database, beside plain SQLite and the disk.

The peer is one SQLite table with the same pragmas, updated in place: no log, no fingerprint, no collections.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from itertools import islice
from pathlib import Path

import apsw
from _machine import Report, fdatasync_rate, timed

from muniment import DocumentDatabase, Put, sample

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


def put_rate(database: DocumentDatabase, bodies: list[bytes], count: int) -> float:
    """Durable puts of new documents per second, one after the other."""
    metadata = b'{"Raven-Entity-Name":"Puts"}'
    return count / timed(lambda: [database.put(f"puts/{i}", bodies[i % len(bodies)], metadata) for i in range(count)])


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
            put = put_rate(database, bodies, 4000)
            limit = fdatasync_rate(folder, 8192 * 5)
            report.add("single durable puts", f"{put:,.0f}/s", f"fdatasync of 40 KiB {limit:,.0f}/s", put / limit,
                       "0.8 of the limit")  # fmt: skip
            choose = random.Random(3)
            wanted = choose.choices(ids, k=20_000)
            get = len(wanted) / timed(lambda: [database.get(id) for id in wanted])
            report.add("reads by id", f"{get:,.0f}/s")
            check = timed(database.check)
            report.add("check of everything", f"{check:.1f} s")
        report.print()


if __name__ == "__main__":
    main()
