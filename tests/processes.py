"""The processes that a process has started, asked of the system while they begin and end."""

import os
from collections import Counter
from contextlib import suppress
from pathlib import Path

from tests.starter import NURSERY


def children(process: int) -> list[int]:
    """
    Those that this one, in whichever of its threads, has started and not yet waited for.

    Each thread has a list of its own. One that ends while its list is read hands its children to another, whose list
    may have been read already: whoever waits for a child asks again, and whoever counts asks while nothing else ends.
    """
    found: list[int] = []
    for thread in Path(f"/proc/{process}/task").glob("*"):
        with suppress(OSError):
            for child in map(int, (thread / "children").read_text().split()):
                found += children(child) if _is_nursery(child) else [child]
    return found


def _is_nursery(process: int) -> bool:
    """Whether it forks the workers of another process, and does no work itself."""
    try:
        return Path(f"/proc/{process}/comm").read_text() == f"{NURSERY}\n"
    except OSError:
        return False


def niceness_of_children(process: int) -> list[int]:
    """How far the processes that this one has started stand back."""
    found = []
    for child in children(process):
        with suppress(OSError):
            found.append(os.getpriority(os.PRIO_PROCESS, child))
    return found


def locks(process: int) -> set[tuple[int, int]]:
    """By inode and first byte, the locks of POSIX that it holds for as long as this looks.

    The system gives its list in pieces, between which other processes take and release theirs: so one reading may miss
    some, and several hardly.
    """
    held: set[tuple[int, int]] = set()
    for _ in range(5):
        for line in Path("/proc/locks").read_text().splitlines():
            _, kind, _, _, owner, place, first, *_ = line.replace("-> ", "").split()
            if kind == "POSIX" and int(owner) == process:
                held.add((int(place.rpartition(":")[2]), int(first)))
    return held


def descriptors(process: int) -> Counter[str]:
    """What a process has open, but for sockets, of which each connection is one."""
    found: Counter[str] = Counter()
    for path in Path(f"/proc/{process}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            target = str(path.readlink())
            if not target.startswith("socket:"):
                found[target] += 1
    return found


def runs(process: int) -> bool:
    """Whether it has not ended; one that nobody has waited for yet has."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
