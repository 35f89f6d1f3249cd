"""Who holds a lease or a pin: a number that tells which process of which machine, so that one that is dead is known.

A process is known by its number and the moment it began, among those of one kernel since it began and of one container.
Nothing is concluded about a process elsewhere, or where the system does not tell.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import uuid
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

_MACHINE_BYTES: Final = 6
_numbers = itertools.count()


def new_holder() -> uuid.UUID:
    """One of this process; random where the system does not tell what it is among others."""
    machine, process, began = _machine(), os.getpid(), _began(os.getpid())
    if machine is None or began is None:
        return uuid.uuid4()
    return uuid.UUID(bytes=b"".join((machine, process.to_bytes(4), began, (next(_numbers) % (1 << 16)).to_bytes(2))))


def has_died(holder: uuid.UUID) -> bool:
    """Whether its process surely has ended: it was one of this machine, and is there no more."""
    machine, process, began = holder.bytes[:_MACHINE_BYTES], int.from_bytes(holder.bytes[6:10]), holder.bytes[10:14]
    if machine != _machine() or not process:
        return False
    try:
        os.kill(process, 0)  # a folder in /proc may be hidden from other users
    except ProcessLookupError:
        return True
    except OSError:
        pass  # it is somebody else's
    return _began(process) not in (began, None)


@cache
def _machine() -> bytes | None:
    """This kernel since it began, and in which container of it."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
        return hashlib.sha256(boot + os.fsencode(Path("/proc/self/ns/pid").readlink())).digest()[:_MACHINE_BYTES]
    return None


def _began(process: int) -> bytes | None:
    """When it began, in ticks of the kernel: proc(5), after the name, which may have brackets in it."""
    with suppress(OSError, IndexError, ValueError):
        words = Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return (int(words[19]) % (1 << 32)).to_bytes(4)
    return None
