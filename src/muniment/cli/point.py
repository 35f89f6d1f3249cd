"""The options that name a moment of the backups."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, TypeAlias, TypedDict

import typer

from muniment.backup.plan import RestorePlan
from muniment.backup.point import time_of
from muniment.backup.selection import Selection
from muniment.maintenance import MaintenanceActions

At: TypeAlias = Annotated[
    str | None,
    typer.Option("--at", metavar="TIME", help="The state at this time, in ISO 8601; UTC if it has no zone."),
]
Etag: TypeAlias = Annotated[
    int | None, typer.Option("--etag", metavar="NUMBER", min=0, help="The state after the transaction of this etag.")
]
Named: TypeAlias = Annotated[
    str | None, typer.Option("--backup", metavar="NAME", help="The state at the end of this backup in SOURCE.")
]


Collections: TypeAlias = Annotated[
    list[str], typer.Option("--collection", metavar="NAME", help="Only this collection; may be repeated.")
]
Ids: TypeAlias = Annotated[
    list[str], typer.Option("--id", metavar="ID", help="Only this document, with its attachments; may be repeated.")
]
Prefixes: TypeAlias = Annotated[
    list[str], typer.Option("--id-prefix", metavar="PREFIX", help="Only ids that begin so; may be repeated.")
]


class Point(TypedDict, total=False):
    """The moment and the part that options name, as the library takes them."""

    at: datetime | None
    etag: int | None
    backup: str | None
    selection: Selection | None


@dataclass(frozen=True, slots=True)
class NewDatabase:
    """How a server is to make the new database: its name and folder if not those that it has, and the rest."""

    name: str | None = None
    location: str | None = None
    defrag: bool = False
    new_id: bool = False


def planned(source: Path, at: str | None, etag: int | None, backup: str | None) -> RestorePlan:
    """What to read for this moment, the newest one when none is named."""
    time = None if at is None else time_of(at)
    return MaintenanceActions.plan_restore(source, at=time, etag=etag, backup=backup)
