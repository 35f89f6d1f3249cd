"""What `muniment inspect --diff` prints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from muniment.backup.differences import Changes
from muniment.cli.options import JobOutput
from muniment.cli.point import PointOptions
from muniment.cli.report import Line, Row, facts
from muniment.cli.state import moment_row
from muniment.maintenance import MaintenanceActions
from muniment.progress import Progress
from muniment.revision import ATTACHMENT
from muniment.security.keyring import Keyring

SHOWN: Final = 10  # ids of each list; --json has all


def show_differences(
    source: Path, before: str, after: str, moment: PointOptions, keyring: Keyring, out: JobOutput
) -> None:
    """Print what has to be done to the state at one moment to get that at another."""
    progress = Progress()
    with out.job(progress):
        found = MaintenanceActions.differences(
            source, before, after, lineage=moment.lineage, keyring=keyring, zone=moment.zone, progress=progress
        )
    counts = {name: sum(len(getattr(each, name)) for each in found.changes) for name in ("added", "changed", "deleted")}
    changes = [each.as_json() for each in found.changes]
    rows = [
        facts(folder=str(source)),
        moment_row("before", found.before),
        moment_row("after", found.after),
        Row({**counts, "changes": changes}, [line for each in found.changes for line in change_lines(each)]),
    ]
    total = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    out.emit(f"{total} in {source}", rows)


def change_lines(changes: Changes, words: tuple[str, str, str] = ("added", "changed", "deleted")) -> Iterator[Line]:
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
