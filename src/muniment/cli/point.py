"""The options that name a moment of the backups."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from muniment.backup.plan import RestorePlan
from muniment.document import to_microseconds
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


def time_of(text: str) -> datetime:
    """A time from a command line; raises `InvalidInput` when it is none."""
    hint = "write it like 2026-11-22T17:18:03Z or 2026-11-22T18:18:03+01:00; without a zone it is UTC"
    try:
        time = datetime.fromisoformat(text.strip())
        to_microseconds(time)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"{text!r} is not a time", hint) from error
    return time
