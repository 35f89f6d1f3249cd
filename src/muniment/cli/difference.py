"""What `muniment inspect --diff` prints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from muniment.backup.differences import Changes
from muniment.backup.reader import Moment
from muniment.backup.when import Zone
from muniment.cli.bar import job
from muniment.cli.output import emit
from muniment.cli.state import moment_text, time_text
from muniment.maintenance import MaintenanceActions
from muniment.progress import Progress
from muniment.revision import ATTACHMENT

SHOWN: Final = 10  # ids of each list; --json has all


def show_differences(
    source: Path, before: str, after: str, lineage: str | None, zone: Zone, *, as_json: bool, quiet: bool
) -> None:
    """Print what has to be done to the state at one moment to get that at another."""
    progress = Progress()
    with job(progress, quiet=quiet):
        found = MaintenanceActions.differences(source, before, after, lineage=lineage, zone=zone, progress=progress)
    counts = {name: sum(len(getattr(each, name)) for each in found.changes) for name in ("added", "changed", "deleted")}
    facts = {
        "folder": str(source),
        "before": _moment_facts(found.before),
        "after": _moment_facts(found.after),
        **counts,
        "changes": [changes.as_json() for changes in found.changes],
    }
    total = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    rows = [("before", moment_text(found.before)), ("after", moment_text(found.after))]
    rows += [row for changes in found.changes for row in change_rows(changes)]
    emit(f"{total} in {source}", rows, facts, as_json=as_json)


def _moment_facts(moment: Moment) -> dict[str, Any]:
    return {"etag": moment.etag, "time": time_text(moment.modified)}


def change_rows(
    changes: Changes, words: tuple[str, str, str] = ("added", "changed", "deleted")
) -> Iterator[tuple[str, str]]:
    """What changed in one collection, for people: counts, and the first ids of each list."""
    collection = changes.collection or "(no collection)"
    lists = dict(zip(words, (changes.added, changes.changed, changes.deleted), strict=True))
    counts = ", ".join(f"{len(ids):,} {what}" for what, ids in lists.items() if ids)
    yield collection if changes.kind != ATTACHMENT else f"attachments, {collection}", counts
    for what, ids in lists.items():
        for id in ids[:SHOWN]:
            yield f"  {what}", id
        if len(ids) > SHOWN:
            yield f"  {what}", f"and {len(ids) - SHOWN:,} more; --json names all"
