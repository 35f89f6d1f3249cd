"""Errors of the operating system at the Nth call, from a small library that is preloaded into real processes."""

from __future__ import annotations

import errno
import functools
import os
import shutil
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CALLS: Final = ("fsync", "fdatasync", "pwrite", "write", "rename", "ftruncate", "open")
ERRORS: Final = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC}
FOREVER: Final = 1 << 40
SOURCE: Final = Path(__file__).with_name("faults.c")
COMPILER: Final = shutil.which(os.environ.get("CC", "cc"))


@functools.cache
def library() -> Path:
    """The library, built anew in a temporary folder."""
    assert COMPILER, "needs a C compiler"
    built = Path(tempfile.mkdtemp(prefix="muniment-torture-")) / "faults.so"
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", str(built), str(SOURCE), "-ldl"], check=True)
    return built


@dataclass(frozen=True)
class Fault:
    """The call that fails: the `first` of its name on a file below `under` (0: none), and so many from there on."""

    call: str
    under: Path
    first: int = 0
    times: int = 1
    error: str = "EIO"

    def __str__(self) -> str:
        after = {1: "", FOREVER: " and all after it"}.get(self.times, f" and {self.times - 1} after it")
        return f"{self.error} at {self.call} number {self.first}{after}"

    def environment(self, state: Path) -> dict[str, str]:
        """What a process is to be started with; `state` then says what happened in it and in its children."""
        state.write_bytes(bytes(4096))
        return {
            "LD_PRELOAD": str(library()),
            "TORTURE_STATE": str(state),
            "TORTURE_UNDER": str(self.under),
            "TORTURE_CALL": self.call,
            "TORTURE_FIRST": str(self.first),
            "TORTURE_TIMES": str(self.times),
            "TORTURE_ERRNO": str(ERRORS[self.error]),
        }


@dataclass(frozen=True)
class Happened:
    """How many calls of each name there were, how many failed, and the file of the first that did."""

    calls: dict[str, int]
    failed: int
    path: str


def happened(state: Path) -> Happened:
    """What the processes did that shared this state."""
    content = state.read_bytes()
    failed, *calls = struct.unpack_from(f"={1 + len(CALLS)}q", content)
    path = content[8 * (1 + len(CALLS)) :].rstrip(b"\0").decode(errors="replace")
    return Happened(dict(zip(CALLS, calls, strict=True)), failed, path)
