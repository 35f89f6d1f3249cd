"""Leases: who reads backups says so beside them, so that they are not removed meanwhile.

A lease ends by itself, as its reader may be killed, so one that goes on for long is renewed by another object. Where
none can be written (a medium that is only read) there is none: nothing can be removed there either. A reader that may
write but not delete says at its end by one more object that it is over.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from muniment.backup.beside import read_beside, write_beside
from muniment.backup.manifest import Hex, Time
from muniment.backup.repository import Backup
from muniment.document import from_microseconds, rfc3339
from muniment.errors import MunimentError
from muniment.storage.base import system_clock
from muniment.telling import telling

KIND: Final = "lease"
MINUTES: Final = 60
RENEW_SECONDS: Final = 20 * 60.0
SLACK: Final = timedelta(minutes=10)  # two machines need not have the same time


class Lease(msgspec.Struct, frozen=True):
    """What reads backups until when, as the SHA-256 of their manifests; those of one reader have the same id.

    One without manifests says that this reader is done, however long its others go on.
    """

    what: str
    until: Time
    manifests: tuple[Hex, ...]
    id: str = ""


@contextmanager
def leased(what: str, read: Iterable[Backup], clock: Callable[[], int] = system_clock) -> Iterator[None]:
    """Within it, these backups are not removed by `expire`, wherever that runs."""
    places: dict[Path, list[str]] = {}
    for backup in read:
        places.setdefault(backup.folder.parent, []).append(backup.sha256)
    written: list[tuple[Path, Lease]] = []
    over, id = threading.Event(), str(uuid.uuid4())

    def write() -> None:
        now = from_microseconds(clock())
        for place, manifests in places.items():
            with suppress(MunimentError, OSError):
                lease = Lease(what, rfc3339(now + timedelta(minutes=MINUTES)), tuple(manifests), id)
                written.append((write_beside(place, KIND, lease, now), lease))

    def renew() -> None:
        while not over.wait(RENEW_SECONDS):
            with telling(f"that a {what} goes on reading"):
                write()

    write()
    if written:
        with suppress(RuntimeError):
            threading.Thread(target=renew, name="muniment lease", daemon=True).start()
    try:
        yield
    finally:
        over.set()
        left: dict[Path, Lease] = {}
        for path, lease in written:
            try:
                path.unlink(missing_ok=True)
            except (MunimentError, OSError):
                left[path.parent] = lease
        for place, lease in left.items():
            with suppress(MunimentError, OSError):  # it ends by itself
                write_beside(place, KIND, msgspec.structs.replace(lease, manifests=()), from_microseconds(clock()))


def held_in(place: Path, now: int) -> Mapping[str, str]:
    """The SHA-256 of the manifests of backups that somebody reads, and who."""
    there = read_beside(place, KIND, Lease)
    return {
        manifest: f"a {lease.what} reads it, at most until {lease.until}"
        for _, lease in _going_on(there, from_microseconds(now))
        for manifest in lease.manifests
    }


def forget_ended(place: Path, now: int) -> None:
    """Remove the leases of readers that were killed, if they may be removed."""
    there = read_beside(place, KIND, Lease)
    kept = {path for path, _ in _going_on(there, from_microseconds(now))}
    for path, _ in sorted(there, key=lambda each: not each[1].manifests):  # what says that others are over goes last
        if path not in kept:
            with suppress(MunimentError, OSError):
                path.unlink(missing_ok=True)


def _going_on(there: Iterable[tuple[Path, Lease]], time: datetime) -> list[tuple[Path, Lease]]:
    over = {lease.id for _, lease in there if not lease.manifests}
    return [
        (path, lease)
        for path, lease in there
        if lease.id not in over and datetime.fromisoformat(lease.until) + SLACK > time
    ]
