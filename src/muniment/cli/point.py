"""The options that name a moment of the backups."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, TypeAlias, TypedDict

import typer

from muniment.backup.moment import NEWEST, RestorePoint
from muniment.backup.plan import RestorePlan
from muniment.backup.selection import Selection
from muniment.backup.when import LOCAL, Zone, both_readings, time_of
from muniment.cli.output import note
from muniment.document import from_microseconds
from muniment.errors import MunimentError
from muniment.maintenance import MaintenanceActions
from muniment.storage.base import system_clock

NAMING: Final = ("--at", "--etag", "--backup", "--lineage")

At: TypeAlias = Annotated[
    str | None,
    typer.Option("--at", metavar="TIME", help="The state at this time, as 2026-11-22T17:18Z, 14:03 or 2 hours ago."),
]
Etag: TypeAlias = Annotated[
    int | None, typer.Option("--etag", metavar="NUMBER", min=0, help="The state after the transaction of this etag.")
]
Named: TypeAlias = Annotated[
    str | None, typer.Option("--backup", metavar="NAME", help="The state at the end of this backup in SOURCE.")
]
InLineage: TypeAlias = Annotated[
    str | None,
    typer.Option("--lineage", metavar="LETTERS", help="The state in this lineage, where several have the moment."),
]
Utc: TypeAlias = Annotated[
    bool, typer.Option("--utc", metavar="", help="Read times that have no zone as UTC, not in this machine's zone.")
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


class Part(TypedDict):
    """The moment that options name and the part of it, as the library takes them."""

    point: RestorePoint
    selection: Selection | None


NEWEST_STATE: Final = Part(point=NEWEST, selection=None)


@dataclass(frozen=True, slots=True)
class NewDatabase:
    """How a server is to make the new database: its name and folder if not those that it has, and the rest."""

    name: str | None = None
    location: str | None = None
    defrag: bool = False
    new_id: bool = False


def point_of(at: str | None, etag: int | None, backup: str | None, lineage: str | None, *, utc: bool) -> RestorePoint:
    """The moment that options name; how a time without a zone was read is said on stderr."""
    return RestorePoint(None if at is None else time_said(at, utc=utc), etag, backup, lineage)


def time_said(text: str, *, utc: bool) -> datetime:
    """The time of an option; one that has no zone is one of this machine's, and both readings of it are said."""
    zone = zone_of(utc=utc)
    found = time_of(text, zone, from_microseconds(system_clock()))
    if not _has_zone(text):
        note(f"{text} is read as {both_readings(found, zone)}")
    return found


def zone_of(*, utc: bool) -> Zone:
    """The zone of times that do not say theirs."""
    return UTC if utc else LOCAL


def _has_zone(text: str) -> bool:
    try:
        return datetime.fromisoformat(text.strip()).tzinfo is not None
    except ValueError:
        return False


def planned(source: Path, point: RestorePoint) -> RestorePlan:
    """What to read for this moment, the newest one when none is named."""
    return MaintenanceActions.plan_restore(source, point=point)


def instead(error: MunimentError, line: Sequence[str]) -> str:
    """The hint of an error with whole commands in it: this command line, for each moment that it could name instead."""
    found: Sequence[Sequence[str]] = getattr(error, "instead", ())
    if not found or "--diff" in line:
        return error.hint
    options = {"--lineage"} if all(option[0] == "--lineage" for option in found) else NAMING
    rest = _without(line, options)
    commands = [shlex.join(["muniment", *rest, *option]) for option in found]
    return f"{error.hint}; that is {' or '.join(f'`{command}`' for command in commands)}"


def _without(line: Sequence[str], options: Collection[str]) -> list[str]:
    """A command line without these options and their values."""
    kept, words = [], iter(line)
    for word in words:
        if word in options:
            next(words, None)
        elif word.partition("=")[0] not in options:
            kept.append(word)
    return kept
