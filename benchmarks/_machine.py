"""What this machine can do at most, measured in the same run as the thing that is compared with it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

MIB = 1 << 20


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def fdatasync_rate(folder: Path, size: int, count: int = 2000) -> float:
    """Writes of this size into a preallocated file, each made durable, per second: what a write-ahead log has to do."""
    path = folder / "limit.bin"
    block, room = os.urandom(size), 64 * MIB
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_TRUNC)
    try:
        for _ in range(room // MIB):
            os.write(descriptor, os.urandom(MIB))
        os.fsync(descriptor)

        def work() -> None:
            for i in range(count):
                os.pwrite(descriptor, block, i * size % (room - size))
                os.fdatasync(descriptor)

        return count / timed(work)
    finally:
        os.close(descriptor)
        path.unlink()


def write_seconds(folder: Path, size: int) -> float:
    """Write this many bytes to one new file in pieces of 1 MiB, and bring them to disk."""
    path = folder / "limit.bin"
    block = os.urandom(MIB)

    def work() -> None:
        with path.open("wb", buffering=0) as file:
            for _ in range(-(-size // MIB)):
                file.write(block)
            os.fsync(file.fileno())

    try:
        return timed(work)
    finally:
        path.unlink()


def compress_seconds(source: Path, folder: Path) -> float:
    """Read a file, compress it with zstd level 1 on two threads, write the result and bring it to disk."""
    size = source.stat().st_size

    def share(number: int) -> None:
        with source.open("rb", buffering=0) as file, (folder / f"limit-{number}.bin").open("wb", buffering=0) as output:
            codec = pa.Codec("zstd", compression_level=1)
            file.seek(number * size // 2)
            left = size // 2
            while left > 0:
                block = file.read(min(MIB, left))
                left -= len(block)
                output.write(codec.compress(block, asbytes=True))
            os.fsync(output.fileno())

    def work() -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(share, range(2)))

    try:
        return timed(work)
    finally:
        for number in range(2):
            (folder / f"limit-{number}.bin").unlink()


def read_seconds(files: list[Path]) -> float:
    """Decompress Parquet files on two threads, and make the SHA-256 of all their documents as if they were one."""

    def share(work: tuple[Path, int]) -> None:
        path, group = work
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read_row_group(group, use_threads=False)
        for chunk in table.column("document").chunks:
            hashlib.sha256(chunk.buffers()[2])

    groups = [(path, group) for path in files for group in range(pq.read_metadata(path).num_row_groups)]

    def work() -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(share, groups))

    return timed(work)


class Done(NamedTuple):
    """Seconds that a step took, and the peaks in MB of its largest process and of all its processes together."""

    seconds: float
    largest: float
    together: float


def alone(program: str, *arguments: str) -> Done:
    """A step of a benchmark in a process of its own, which prints its seconds as JSON."""
    peaks: dict[int, int] = {}
    with subprocess.Popen([sys.executable, program, "--step", *arguments], stdout=subprocess.PIPE) as process:
        while process.poll() is None:
            for pid in (process.pid, *_descendants(process.pid)):
                with suppress(OSError, TypeError):  # it has just ended
                    status = Path(f"/proc/{pid}/status").read_text()
                    peaks[pid] = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])  # type: ignore[index]
            time.sleep(0.02)
        assert process.stdout is not None
        seconds = json.loads(process.stdout.read())["seconds"]
    return Done(seconds, max(peaks.values()) / 1024, sum(peaks.values()) / 1024)


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, thread.read_text().split())
    return [*found, *(each for child in found for each in _descendants(child))]


class Report:
    """A table of what was measured beside its limit or peer."""

    def __init__(
        self,
        title: str,
        data: str,
        columns: tuple[str, ...] = ("measured", "ours", "limit or peer", "ratio", "wanted"),
    ) -> None:
        self._table = Table(title=f"{title} — {platform.machine()}, {os.cpu_count()} cores, Python "
                            f"{platform.python_version()}; {data}")  # fmt: skip
        for name in columns:
            self._table.add_column(name)

    def add(self, what: str, ours: str, limit: str = "", ratio: float | None = None, wanted: str = "") -> None:
        """One line of a table with the usual columns."""
        self.row(what, ours, limit, "" if ratio is None else f"{ratio:.2f}", wanted)

    def row(self, *cells: str) -> None:
        """One line of the table."""
        self._table.add_row(*cells)

    def print(self) -> None:
        """Print it, in full width even into a file."""
        Console(width=130).print(self._table)
