"""Export and import of dumps, beside the time that compressing or decompressing the same bytes takes alone."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from itertools import islice
from pathlib import Path

from _machine import Done, Report, alone, timed

from muniment import DocumentDatabase, Put, sample
from muniment.smuggler.importer import import_dump
from muniment.smuggler.options import Compression
from muniment.smuggler.sink import Sink
from muniment.smuggler.stream import DumpStream

BATCH = 1000
BLOCK = 1 << 20
# File, compression, and what is wanted of its export and import, in documents per second.
DUMPS: list[tuple[str, Compression, str, str]] = [
    ("dump.ravendbdump", "gzip", "100 000/s", "60 000/s"),
    ("zstd.ravendbdump", "zstd", "", ""),
    ("dump.ravendump", "gzip", "", ""),
]


def load(folder: Path, count: int) -> int:
    """Fill a database, and return the bytes of its documents."""
    documents, size = sample.documents(count), 0
    with DocumentDatabase(folder) as database:
        while batch := [Put(id, body, metadata) for id, body, metadata in islice(documents, BATCH)]:
            database.batch(batch)
            size += sum(len(put.body) for put in batch)
    return size


def step(name: str, folder: str, file: str, compression: Compression) -> None:
    """What `alone` runs: prints its seconds as JSON."""
    with DocumentDatabase(folder) as database:
        if name == "export":
            seconds = timed(lambda: database.export(file, compression=compression, overwrite=True))
        else:
            seconds = timed(lambda: import_dump(database.storage, file))
    print(json.dumps({"seconds": seconds}))


def decompress(file: Path) -> bytes:
    """The dump in plain, a block at a time; what is returned is the last of them."""
    with file.open("rb") as opened:
        stream = DumpStream(opened, block_size=BLOCK, bomb_size=1 << 40, bomb_ratio=1000)
        last = b""
        while block := stream.read(BLOCK):
            last = block
    return last


def recompress(file: Path, plain: Path, compression: Compression) -> float:
    """Seconds to compress what is in the dump and write it, without the time to decompress it before."""
    with file.open("rb") as opened, plain.open("wb") as target:
        stream = DumpStream(opened, block_size=BLOCK, bomb_size=1 << 40, bomb_ratio=1000)
        while block := stream.read(BLOCK):
            target.write(block)
    again = plain.with_suffix(".again")
    with plain.open("rb") as source, again.open("wb") as target:
        sink = Sink(target, compression)

        def work() -> None:
            while block := source.read(BLOCK):
                sink.write(block)
            sink.finish()
            target.flush()
            os.fsync(target.fileno())

        seconds = timed(work)
        sink.close()
    for path in (plain, again):
        path.unlink()
    return seconds


def add(report: Report, what: str, count: int, done: Done, limit: tuple[Compression, float], wanted: str) -> None:
    """Two lines: documents per second beside those of the compression alone, and memory."""
    compression, least = limit
    peer = f"{compression} alone {count / least:,.0f}/s"
    report.add(what, f"{count / done.seconds:,.0f}/s, {done.seconds:.1f} s", peer, least / done.seconds, wanted)
    report.add("… memory, peak of all processes", f"{done.together:,.0f} MB", wanted="< 200 MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=500_000)
    parser.add_argument("--step", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        name, folder, file, compression = arguments.step
        step(name, folder, file, compression)
        return
    count = arguments.documents
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as temporary:
        place = Path(temporary)
        size = load(place / "db", count)
        report = Report("Smuggler", f"{count:,} documents of muniment.sample, {size / count:,.0f} bytes each")
        for name, compression, export_wanted, import_wanted in DUMPS:
            dump = place / name
            out = alone(__file__, "export", str(place / "db"), str(dump), compression)
            limit = recompress(dump, place / "plain", compression)
            report.add(f"size of {name}", f"{dump.stat().st_size / 1e6:,.1f} MB")
            add(report, f"export, {name}", count, out, (compression, limit), export_wanted)
            back = alone(__file__, "import", str(place / f"copy of {name}"), str(dump), compression)
            limit = timed(lambda dump=dump: decompress(dump))  # type: ignore[misc]
            add(report, f"import, {name}", count, back, (compression, limit), import_wanted)
        report.print()


if __name__ == "__main__":
    main()
