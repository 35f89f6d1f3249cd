"""Puts, gets and scans of an encrypted database beside the same in clear: each algorithm, in turns on the same disk.

Each figure is the best of several rounds, in which all databases take turns; the ratio is the time of the encrypted one
to that of the plain one, and 1.2 is wanted.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from _machine import Report, fdatasync_rate, timed

from muniment import DocumentDatabase, Put, sample
from muniment.security.encryption import Algorithm, new_key

BATCH = 1000
WANTED = "1.2 times"


def load(database: DocumentDatabase, batches: list[list[Put]]) -> float:
    """Seconds to insert all of these, a transaction for each batch."""
    return timed(lambda: [database.batch(batch) for batch in batches])


def put_each(database: DocumentDatabase, bodies: list[bytes], prefix: str) -> float:
    """Seconds to store these one after the other, each durable before the next."""
    return timed(lambda: [database.put(f"{prefix}/{n}", body) for n, body in enumerate(bodies)])


def scan(database: DocumentDatabase) -> float:
    """Seconds to read every document, as a backup does."""

    def work() -> None:
        with database.storage.pin() as snapshot:
            assert sum(map(len, database.storage.changes(0, snapshot.etag)))

    return timed(work)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    count = arguments.documents
    documents = [Put(id, body, metadata) for id, body, metadata in islice(sample.documents(count), count)]
    batches = [documents[first : first + BATCH] for first in range(0, count, BATCH)]
    size = sum(len(document.body) for document in documents)
    bodies = [document.body for document in documents[:1000]]
    wanted = random.Random(3).choices([document.id for document in documents], k=20_000)
    keys = {"plain": None, **{str(algorithm): new_key(algorithm) for algorithm in Algorithm}}
    best: dict[tuple[str, str], float] = {}

    def note(what: str, name: str, seconds: float) -> None:
        best[what, name] = min(seconds, best.get((what, name), seconds))

    with tempfile.TemporaryDirectory(dir=Path.cwd()) as temporary:
        limit = fdatasync_rate(Path(temporary), 8192 * 5)
        for turn in range(arguments.rounds):
            for name, key in random.Random(turn).sample([*keys.items()], len(keys)):
                folder = Path(temporary) / f"{name}-{turn}"
                with DocumentDatabase(folder, key=key) as database:
                    note("inserts, 1 000 a transaction", name, load(database, batches))
                    note("single durable puts", name, put_each(database, bodies, "puts"))
                opened = DocumentDatabase(folder, key=key, create=False)
                note("reads by id, from the system's cache", name, timed(read(opened, wanted)))
                note("reads by id, from our own too", name, timed(read(opened, wanted)))
                note("a scan of all documents", name, scan(opened))
                opened.close()
                note("opening and closing", name, timed(reopen(folder, key)))
                for path in folder.iterdir():
                    path.unlink()
    report = Report("Encryption", f"{count:,} documents of muniment.sample, {size / 1e6:,.0f} MB of JSON")
    operations = {
        "inserts, 1 000 a transaction": count,
        "single durable puts": len(bodies),
        "reads by id, from the system's cache": len(wanted),
        "reads by id, from our own too": len(wanted),
        "a scan of all documents": count + len(bodies),
        "opening and closing": 1,
    }
    for what, operated in operations.items():
        plain = best[what, "plain"]
        for name in keys:
            ours = operated / best[what, name]
            ratio = best[what, name] / plain if name != "plain" else None
            told = f"fdatasync of 40 KiB {limit:,.0f}/s" if what == "single durable puts" and name == "plain" else ""
            told = told if name == "plain" else f"plain {operated / plain:,.0f}/s"
            report.add(f"{what}: {name}", f"{ours:,.0f}/s", told, ratio, WANTED if name == Algorithm.AEGIS else "")
    report.print()


def read(database: DocumentDatabase, ids: list[str]) -> Callable[[], object]:
    """Reads these documents."""
    return lambda: [database.get(id) for id in ids]


def reopen(folder: Path, key: object) -> Callable[[], object]:
    """Opens the database and closes it."""
    return lambda: DocumentDatabase(folder, key=key, create=False).close()  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
