"""Full backup, restore and verification, beside what the machine can do with the same bytes; and what grows how.

The limit of a backup is to read the database file, compress it with zstd level 1 on two threads, write and fsync; that
of a restore is to write the restored file's bytes and fsync; that of a verification is to decompress the backup and
make the SHA-256 of its documents, all at once, on two threads.

The second table is of the same jobs, of an import, an export and an incremental backup of 5 000 changes, for databases
of several sizes: what grows with the number of documents takes as many seconds for a million of them in each.
`--sizes 50000,500000,5000000` adds a large one.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import statistics
import tempfile
import threading
import time
from itertools import islice
from pathlib import Path

from _machine import Done, Report, alone, compress_seconds, read_seconds, timed, write_seconds

from muniment import DocumentDatabase, MaintenanceActions, Put, sample
from muniment.document import encode
from muniment.smuggler.importer import import_dump
from muniment.storage.sqlite.files import FILE

BATCH = 1000
CHANGES = 5000
BODY = b'{"Company":"companies/65","Freight":8.53,"Note":"' + b"durable " * 118 + b'"}'


def load(folder: Path, count: int) -> None:
    documents = sample.documents(count)
    with DocumentDatabase(folder) as database:
        while batch := [Put(id, body, metadata) for id, body, metadata in islice(documents, BATCH)]:
            database.batch(batch)


def step(name: str, source: str, target: str) -> None:
    """What `alone` runs: prints its seconds as JSON."""
    if name == "backup":
        with DocumentDatabase(source) as database:
            seconds = timed(lambda: database.maintenance.start_backup(target).wait())
    elif name == "restore":
        seconds = timed(lambda: MaintenanceActions.restore(source, target))
    elif name == "verify":
        seconds = timed(lambda: MaintenanceActions.verify(source))
    elif name == "incremental":
        with DocumentDatabase(source) as database:
            changed = [Put(f"changed/{number}", BODY) for number in range(CHANGES)]
            database.batch(changed)
            seconds = timed(lambda: database.maintenance.start_backup(target, incremental=True).wait())
    elif name == "export":
        with DocumentDatabase(source) as database:
            seconds = timed(lambda: database.export(target, compression="gzip"))
    else:
        with DocumentDatabase(target) as database:
            seconds = timed(lambda: import_dump(database.storage, source))
    print(json.dumps({"seconds": seconds}))


def puts_during_backup(folder: Path, destination: Path) -> tuple[float, float, float, float]:
    """Durable puts of one thread per second and their 99th percentile in ms: without a backup, and while one runs."""
    with DocumentDatabase(folder) as database:
        quiet = _puts(database, "quiet", threading.Event(), 3.0)
        done = threading.Event()
        operation = database.maintenance.start_backup(destination)

        def wait() -> None:
            operation.wait()
            done.set()

        waiter = threading.Thread(target=wait)
        waiter.start()
        busy = _puts(database, "busy", done, 60.0)
        waiter.join()
    return (*quiet, *busy)


def _puts(database: DocumentDatabase, prefix: str, stop: threading.Event, seconds: float) -> tuple[float, float]:
    times: list[float] = []
    started = time.perf_counter()
    while not stop.is_set() and time.perf_counter() - started < seconds:
        times.append(timed(lambda: database.put(f"{prefix}/{len(times)}", BODY)))
    return len(times) / (time.perf_counter() - started), statistics.quantiles(times, n=100)[98] * 1000


def write_dump(path: Path, count: int) -> None:
    """A dump as RavenDB 4 and later write it."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'{"BuildVersion":62028,"Docs":[')
        for number, (id, body, metadata) in enumerate(sample.documents(count)):
            collection = json.loads(metadata)["Raven-Entity-Name"]
            tail = encode({"@collection": collection, "@id": id, "@last-modified": "2018-07-27T12:11:53.0145929Z"})
            file.write((b"," if number else b"") + body[:-1] + b',"@metadata":' + tail + b"}")
        file.write(b"]}")


def growth(sizes: list[int], place: Path) -> Report:
    """Each job for databases of these sizes."""
    title = f"seconds for a million documents at {', '.join(f'{size:,}' for size in sizes)}; wanted: the same"
    report = Report("How cost grows", "muniment.sample", ("job", title, "peak of the largest process", "of all"))
    rows: dict[str, list[tuple[int, Done]]] = {}
    for size in sizes:
        folder = place / str(size)
        folder.mkdir()
        dump = folder / "sample.ravendbdump"
        write_dump(dump, size)
        database, backups = str(folder / "db"), str(folder / "backups")
        for job, source, target in (
            ("import", str(dump), database),
            ("backup", database, backups),
            ("verify", backups, ""),
            ("restore", backups, str(folder / "restored")),
            ("export", database, str(folder / "again.ravendbdump")),
            ("incremental", database, backups),
        ):
            rows.setdefault(job, []).append((size, alone(__file__, job, source, target)))
        shutil.rmtree(folder)
    for job, found in rows.items():
        largest, together = (max(getattr(done, which) for _, done in found) for which in ("largest", "together"))
        whole = job == "incremental"
        took = [f"{done.seconds:.2f} s" if whole else f"{done.seconds / size * 1e6:.1f}" for size, done in found]
        name = f"incremental of {CHANGES:,} changes (the whole)" if whole else job
        report.row(name, "   ".join(took), f"{largest:,.0f} MB", f"{together:,.0f} MB")
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=500_000)
    parser.add_argument("--sizes", default="50000,500000", help="of the databases of the second table")
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        step(*arguments.step)
        return
    count = arguments.documents
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as temporary:
        folder = Path(temporary)
        load(folder / "db", count)
        size = (folder / "db" / FILE).stat().st_size
        report = Report("Backup", f"{count:,} documents of muniment.sample, a file of {size / 1e6:,.0f} MB")
        done = {"full backup": alone(__file__, "backup", str(folder / "db"), str(folder / "backup"))}
        done["verify"] = alone(__file__, "verify", str(folder / "backup"), "")
        done["restore"] = alone(__file__, "restore", str(folder / "backup"), str(folder / "restored"))
        limits = {
            "full backup": (compress_seconds(folder / "db" / FILE, folder), "≤ 1.3"),
            "verify": (read_seconds(list((folder / "backup").rglob("documents-*"))), ""),
            "restore": (write_seconds(folder, (folder / "restored" / FILE).stat().st_size), "≤ 2"),
        }
        for name, each in done.items():
            limit, wanted = limits[name]
            report.add(name, f"{each.seconds:.2f} s", f"{limit:.2f} s", each.seconds / limit, wanted)
        written = sum(path.stat().st_size for path in (folder / "backup").rglob("*.parquet"))
        report.add("size of the backup", f"{written / 1e6:,.1f} MB")
        for name, each in done.items():
            memory = f"{each.largest:,.0f} MB, all {each.together:,.0f} MB"
            report.add(f"memory of {name}, peak of the largest process", memory, wanted="< 300 MB")
        quiet, quiet_p99, busy, busy_p99 = puts_during_backup(folder / "db", folder / "second")
        report.add("durable puts during a backup", f"{busy:,.0f}/s", f"without {quiet:,.0f}/s", busy / quiet, "≥ 0.85")
        p99 = busy_p99 / quiet_p99
        report.add("… their 99th percentile", f"{busy_p99:.2f} ms", f"without {quiet_p99:.2f} ms", p99, "≤ 2")
        report.print()
        growth([int(size) for size in arguments.sizes.split(",")], folder).print()


if __name__ == "__main__":
    main()
