"""The processes that a process has started, asked of the system while they begin and end."""

import os
from contextlib import suppress
from pathlib import Path


def children(process: int) -> list[int]:
    """
    Those that this one, in whichever of its threads, has started and not yet waited for.

    Each thread has a list of its own. One that ends while its list is read hands its children to another, whose list
    may have been read already: whoever waits for a child asks again, and whoever counts asks while nothing else ends.
    """
    found: list[int] = []
    for thread in Path(f"/proc/{process}/task").glob("*"):
        with suppress(OSError):
            found += map(int, (thread / "children").read_text().split())
    return found


def niceness_of_children(process: int) -> list[int]:
    """How far the processes that this one has started stand back."""
    found = []
    for child in children(process):
        with suppress(OSError):
            found.append(os.getpriority(os.PRIO_PROCESS, child))
    return found


def runs(process: int) -> bool:
    """Whether it has not ended; one that nobody has waited for yet has."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
