"""Snapshots that another process holds while this one writes: a file for each in the database's folder.

Its holder has the file locked, so that the pin ends when the process dies. The process that writes looks for them
inside the transaction that would forget something, so it needs no message, and may be restarted meanwhile.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_NAME: Final = re.compile(r"muniment\.pin-[0-9]+-[0-9a-f]{8}")
_BYTES: Final = 8


class OutsidePin:
    """A pin of this process in the folder of a database that another one may write to."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def move(self, etag: int) -> None:
        """From now on, keep what was current at this etag or later."""
        os.pwrite(self._descriptor, etag.to_bytes(_BYTES, "little"), 0)


@contextmanager
def outside_pin(folder: Path) -> Iterator[OutsidePin]:
    """Within it, the process that writes purges nothing; once the pin is moved, nothing that the pin keeps."""
    path = folder / f"muniment.pin-{os.getpid()}-{secrets.token_hex(4)}"
    descriptor = _locked(path)
    try:
        yield OutsidePin(descriptor)
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)


def _locked(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.pwrite(descriptor, bytes(_BYTES), 0)
            with suppress(FileNotFoundError):  # the writer took it for the pin of a dead process
                if path.stat().st_ino == os.fstat(descriptor).st_ino:
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def pin_files(folder: Path) -> list[Path]:
    """The pins in this folder, including those that nobody holds any more."""
    return [Path(entry.path) for entry in os.scandir(folder) if _NAME.fullmatch(entry.name)]


def outside_pins(folder: Path) -> list[int]:
    """The etags that other processes hold; removes the pins of dead ones."""
    return [etag for path in pin_files(folder) if (etag := _held(path)) is not None]


def _held(path: Path) -> int | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int.from_bytes(os.pread(descriptor, _BYTES, 0), "little")
    else:
        path.unlink(missing_ok=True)
        return None
    finally:
        os.close(descriptor)
