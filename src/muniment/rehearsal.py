"""Proof that a backup restores: it is restored, and read as an application would read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Unpack

from muniment.backup.moment import NEWEST, PointKeywords, RestorePoint
from muniment.backup.plan import RestorePlan
from muniment.backup.rehearse import Rehearsal, rehearse_restore
from muniment.database import DocumentDatabase
from muniment.maintenance import MaintenanceActions
from muniment.progress import Progress
from muniment.storage.base import system_clock

PAGE: Final = 100


def rehearse(
    source: str | Path,
    *,
    point: RestorePoint = NEWEST,
    place: str | Path | None = None,
    progress: Progress | None = None,
    clock: Callable[[], int] = system_clock,
    **named: Unpack[PointKeywords],
) -> Rehearsal:
    """Really restore the newest moment, or the one that is named, into a temporary folder in `place`; then delete it.

    The restored database is checked against itself, and documents of every collection and attachments are read from it
    through `DocumentDatabase`. See `muniment.backup.rehearse.rehearse_restore` for what holds afterwards.
    """
    plan = MaintenanceActions.plan_restore(source, point=point, **named)
    return rehearse_plan(source, plan, place=place, progress=progress, clock=clock)


def rehearse_plan(
    source: str | Path,
    plan: RestorePlan,
    *,
    place: str | Path | None = None,
    progress: Progress | None = None,
    clock: Callable[[], int] = system_clock,
) -> Rehearsal:
    """The same for what was planned already."""
    folder = Path(place) if place else None
    return rehearse_restore(Path(source), plan, look=look, clock=clock, place=folder, progress=progress)


def look(folder: Path) -> list[str]:
    """What is wrong with a restored database: all of it is checked, and the first page of everything is read."""
    with DocumentDatabase(folder, create=False, read_only=True) as database:
        return database.check() or list(_unread(database))


def _unread(database: DocumentDatabase) -> Iterator[str]:
    found = database.statistics()
    for collection, count in found.collections.items():
        documents = database.by_collection(collection, limit=PAGE) if collection else database.by_etag(limit=PAGE)
        if len(documents) < min(count, PAGE):
            yield f"of {count} documents in {collection!r}, {len(documents)} were found"
        for document in documents:
            if database.get(document.id) != document:
                yield f"{document.id!r} is not the same by id and in {collection!r}"
    attachments = database.attachments(limit=PAGE)
    if len(attachments) < min(found.attachments, PAGE):
        yield f"of {found.attachments} attachments, {len(attachments)} were found"
    for attachment in attachments:
        if sum(map(len, attachment.chunks())) != attachment.size:
            yield f"the content of {attachment.key!r} is not whole"
