"""Incremental backups, chains of them, and looking into one, beside full backups of the same states.

The limit of a verification is to read all files of the chain and compute their SHA-256, with all cores. That does not
look into them; to prove what is in them they have to be decompressed first, which is the second limit.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import islice
from pathlib import Path

import pyarrow.parquet as pq
from _machine import Report, timed

from muniment import DocumentDatabase, MaintenanceActions, Put, sample
from muniment.backup.repository import backups
from muniment.backup.versions import versions_of

BATCH = 1000
CHAIN = 100


def load(folder: Path, count: int) -> list[str]:
    """Make a database of so many documents, and return their ids."""
    documents = sample.documents(count)
    ids: list[str] = []
    with DocumentDatabase(folder) as database:
        while batch := [Put(id, body, metadata) for id, body, metadata in islice(documents, BATCH)]:
            database.batch(batch)
            ids += [put.id for put in batch]
    return ids


def change(folder: Path, ids: list[str], seed: int) -> None:
    """Give these documents other bytes, in transactions of a hundred."""
    with DocumentDatabase(folder) as database:
        for start in range(0, len(ids), 100):
            found = [document for document in database.get_many(ids[start : start + 100]) if document]
            database.batch([Put(d.id, b'{"Changed":%d,' % seed + d.body.lstrip()[1:], d.metadata_json) for d in found])


def alone(*arguments: str) -> float:
    """Seconds of one step in a process of its own."""
    command = [sys.executable, __file__, "--step", *arguments]
    seconds: float = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return seconds


def step(name: str, source: str, target: str) -> None:
    """What `alone` runs: prints its seconds."""
    if name in ("full", "incremental"):
        with DocumentDatabase(source) as database:
            start = database.maintenance.start_backup
            seconds = timed(lambda: start(target, incremental=name == "incremental").wait())
    elif name == "restore":
        seconds = timed(lambda: MaintenanceActions.restore(source, target))
    elif name == "verify":
        seconds = timed(lambda: MaintenanceActions.verify(source))
    elif name == "one":
        from muniment.backup.selection import Selection

        selection = Selection.of(ids=(target,))
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as temporary:
            place = Path(temporary) / "one"
            seconds = timed(lambda: MaintenanceActions.restore(source, place, selection=selection))
    else:
        seconds = timed(lambda: versions_of(target, backups(Path(source))))
    print(json.dumps(seconds))


def hash_seconds(folder: Path) -> float:
    """Read all data files in a folder and compute their SHA-256, with all cores."""

    def digest(path: Path) -> None:
        found = sha256()
        with path.open("rb", buffering=0) as file:
            while block := file.read(4 << 20):
                found.update(block)

    return in_parallel(digest, folder)


def content_seconds(folder: Path) -> float:
    """Read all data files in a folder, decompress them and compute the SHA-256 of their columns, with all cores."""

    def digest(path: Path) -> None:
        found = sha256()
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for group in range(file.metadata.num_row_groups):
                for column in file.read_row_group(group, use_threads=False).columns:
                    for buffer in (buffer for chunk in column.chunks for buffer in chunk.buffers() if buffer):
                        found.update(buffer)

    return in_parallel(digest, folder)


def in_parallel(work: Callable[[Path], None], folder: Path) -> float:
    """Seconds that it takes with all data files in a folder, with all cores."""

    def everything() -> None:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(work, sorted(folder.glob("*/*.parquet"), key=lambda path: -path.stat().st_size)))

    return timed(everything)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*/*.parquet"))


def first_incremental(place: Path, count: int, changes: int) -> tuple[float, float, int, int, list[str]]:
    """Seconds and bytes of a full backup, and of an incremental one after so many changes; and the ids."""
    ids = load(place / "db", count)
    full = alone("full", str(place / "db"), str(place / "backups"))
    full_bytes = size_of(place / "backups")
    change(place / "db", random.Random(1).sample(ids, changes), 0)
    incremental = alone("incremental", str(place / "db"), str(place / "backups"))
    return full, incremental, full_bytes, size_of(place / "backups") - full_bytes, ids


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=500_000)
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        step(*arguments.step)
        return
    count, changes = arguments.documents, arguments.documents // 100
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as temporary:
        report = Report("Incremental", f"{count:,} documents of muniment.sample, {changes:,} changed at random")
        (small := Path(temporary) / "small").mkdir()
        (large := Path(temporary) / "large").mkdir()
        _, tenth, _, _, _ = first_incremental(small, count // 10, changes)
        full, incremental, full_bytes, bytes_, ids = first_incremental(large, count, changes)
        report.add("incremental", f"{incremental:.3f} s", f"full {full:.2f} s", incremental / full, "≤ 0.04")
        sizes = f"{bytes_ / 1e6:.2f} MB", f"full {full_bytes / 1e6:.1f} MB"
        report.add("… its bytes", *sizes, bytes_ / full_bytes, "≤ 0.04")
        report.add(
            "… of 10 times the documents", f"{incremental:.3f} s", f"{tenth:.3f} s", incremental / tenth, "≤ 1.3"
        )

        chance = random.Random(2)
        for number in range(1, CHAIN):
            change(large / "db", chance.sample(ids, changes // 10), number)
            with DocumentDatabase(large / "db") as database:
                database.maintenance.start_backup(large / "backups", incremental=True).wait()
        alone("full", str(large / "db"), str(large / "again"))
        whole = alone("restore", str(large / "again"), str(large / "restored"))
        chain = alone("restore", str(large / "backups"), str(large / "restored-chain"))
        report.add(f"restore of a full and {CHAIN} incrementals", f"{chain:.2f} s", f"full {whole:.2f} s",
                   chain / whole, "≤ 1.5")  # fmt: skip
        inspect = alone("inspect", str(large / "backups"), ids[count // 2])
        report.add("inspect --id over it", f"{inspect:.2f} s", wanted="≤ 1 s")
        one = alone("one", str(large / "backups"), ids[count // 2])
        report.add("restore --id out of it", f"{one:.2f} s")
        verify = alone("verify", str(large / "backups"), "")
        for what, limit in (
            ("files", hash_seconds(large / "backups")),
            ("content", content_seconds(large / "backups")),
        ):
            report.add("verify it", f"{verify:.2f} s", f"SHA-256 of {what} {limit:.2f} s", verify / limit, "≤ 1.25")
        report.print()


if __name__ == "__main__":
    main()
