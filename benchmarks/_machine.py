"""What this machine can do at most, measured in the same run as the thing that is compared with it."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
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


class Report:
    """A table of what was measured beside its limit or peer."""

    def __init__(self, title: str, data: str) -> None:
        self._table = Table(title=f"{title} — {platform.machine()}, {os.cpu_count()} cores, Python "
                            f"{platform.python_version()}; {data}")  # fmt: skip
        for name in ("measured", "ours", "limit or peer", "ratio", "wanted"):
            self._table.add_column(name)

    def add(self, what: str, ours: str, limit: str = "", ratio: float | None = None, wanted: str = "") -> None:
        """One line of the table."""
        self._table.add_row(what, ours, limit, "" if ratio is None else f"{ratio:.2f}", wanted)

    def print(self) -> None:
        """Print it, in full width even into a file."""
        Console(width=130).print(self._table)
