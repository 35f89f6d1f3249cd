"""The options that name a moment of the backups."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from muniment.backup.plan import RestorePlan
from muniment.backup.point import time_of
from muniment.errors import InvalidInput
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


def planned(source: Path, at: str | None, etag: int | None, backup: str | None) -> RestorePlan:
    """What to read for this moment, the newest one when none is named."""
    check_one_point(at, etag, backup)
    time = None if at is None else time_of(at)
    return MaintenanceActions.plan_restore(source, at=time, etag=etag, backup=backup)


def check_one_point(at: str | None, etag: int | None, backup: str | None) -> None:
    """Raises `InvalidInput` when more than one moment is named."""
    given = [name for name, value in (("--at", at), ("--etag", etag), ("--backup", backup)) if value is not None]
    if len(given) > 1:
        raise InvalidInput(f"{' and '.join(given)} each name a moment", "give one of them")
