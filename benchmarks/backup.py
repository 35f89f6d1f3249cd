"""Full backup, restore, verification and import, beside what the machine can do with the same bytes.

The limit of a backup is to read the database file, compress it with zstd level 1 on two threads, write and fsync; that
of a restore is to write the restored file's bytes and fsync.
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from itertools import islice
from pathlib import Path

from _machine import Report, compress_seconds, timed, write_seconds

from muniment import DocumentDatabase, MaintenanceActions, Put, sample
from muniment.smuggler.importer import import_dump
from muniment.storage.sqlite.files import FILE

BATCH = 1000
BODY = b'{"Company":"companies/65","Freight":8.53,"Note":"' + b"durable " * 118 + b'"}'


def load(folder: Path, count: int) -> None:
    documents = sample.documents(count)
    with DocumentDatabase(folder) as database:
        while batch := [Put(id, body, metadata) for id, body, metadata in islice(documents, BATCH)]:
            database.batch(batch)


def alone(*arguments: str) -> dict[str, float]:
    """One step in a process of its own, so that its memory is known: seconds and the peak in MB."""
    command = [sys.executable, __file__, "--step", *arguments]
    result: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return result


def step(name: str, source: str, target: str) -> None:
    """What `alone` runs: prints its seconds and peak memory as JSON."""
    if name == "backup":
        with DocumentDatabase(source) as database:
            seconds = timed(lambda: database.maintenance.start_backup(target).wait())
    elif name == "restore":
        seconds = timed(lambda: MaintenanceActions.restore(source, target))
    elif name == "verify":
        seconds = timed(lambda: MaintenanceActions.verify(source))
    else:
        with DocumentDatabase(target) as database:
            seconds = timed(lambda: import_dump(database.storage, source))
    print(json.dumps({"seconds": seconds, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


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
            tail = json.dumps({"@collection": collection, "@id": id, "@last-modified": "2018-07-27T12:11:53.0145929Z"})
            file.write((b"," if number else b"") + body[:-1] + b',"@metadata":' + tail.encode() + b"}")
        file.write(b"]}")


def decompress(path: Path) -> None:
    with gzip.open(path) as file:
        while file.read(1 << 20):
            pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=500_000)
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

        backup = alone("backup", str(folder / "db"), str(folder / "backup"))
        limit = compress_seconds(folder / "db" / FILE, folder)
        report.add("full backup", f"{backup['seconds']:.2f} s", f"{limit:.2f} s", backup["seconds"] / limit, "≤ 1.3")
        verify = alone("verify", str(folder / "backup"), "")
        report.add("verify", f"{verify['seconds']:.2f} s")
        restore = alone("restore", str(folder / "backup"), str(folder / "restored"))
        limit = write_seconds(folder, (folder / "restored" / FILE).stat().st_size)
        report.add("restore", f"{restore['seconds']:.2f} s", f"{limit:.2f} s", restore["seconds"] / limit, "≤ 2")
        for name, result in (("backup", backup), ("verify", verify), ("restore", restore)):
            report.add(f"memory of {name}, peak", f"{result['memory']:,.0f} MB", wanted="< 300 MB")
        quiet, quiet_p99, busy, busy_p99 = puts_during_backup(folder / "db", folder / "second")
        report.add("durable puts during a backup", f"{busy:,.0f}/s", f"without {quiet:,.0f}/s", busy / quiet, "≥ 0.7")
        report.add("… their 99th percentile", f"{busy_p99:.2f} ms", f"without {quiet_p99:.2f} ms", busy_p99 / quiet_p99)

        write_dump(folder / "sample.ravendbdump", count)
        imported = alone("import", str(folder / "sample.ravendbdump"), str(folder / "imported"))
        limit = timed(lambda: decompress(folder / "sample.ravendbdump"))
        rate, alone_rate = count / imported["seconds"], count / limit
        report.add("import of a gzip dump", f"{rate:,.0f}/s", f"gunzip alone {alone_rate:,.0f}/s", rate / alone_rate,
                   "30 000/s")  # fmt: skip
        report.add("memory of import, peak", f"{imported['memory']:,.0f} MB", wanted="< 300 MB")
        report.print()


if __name__ == "__main__":
    main()
