"""The options that name a moment of the backups, and the part of it."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from muniment.backup.moment import LOCAL, RestorePoint, Zone, both_readings, time_of
from muniment.cli.complete import backup_names
from muniment.cli.options import named
from muniment.cli.output import note
from muniment.document import from_microseconds
from muniment.errors import MunimentError

if TYPE_CHECKING:
    from muniment.backup.selection import Selection

NAMING: Final = ("--at", "--etag", "--backup", "--lineage")


@dataclass(frozen=True, slots=True)
class PointOptions:
    """The moment of the backups that is meant; the newest if none is named."""

    at: Annotated[
        str | None,
        typer.Option(
            "--at", metavar="TIME", help="The state at this time, as 2026-11-22T17:18Z, 14:03 or 2 hours ago."
        ),
    ] = None
    etag: Annotated[
        int | None,
        typer.Option("--etag", metavar="NUMBER", min=0, help="The state after the transaction of this etag."),
    ] = None
    backup: Annotated[
        str | None,
        typer.Option(
            "--backup",
            parser=named("the name of the backup"),
            metavar="NAME",
            autocompletion=backup_names,
            help="The state at the end of this backup in SOURCE.",
        ),
    ] = None
    lineage: Annotated[
        str | None,
        typer.Option("--lineage", metavar="LETTERS", help="The state in this lineage, where several have the moment."),
    ] = None
    utc: Annotated[
        bool, typer.Option("--utc", metavar="", help="Read times that have no zone as UTC, not in this machine's zone.")
    ] = False

    def point(self) -> RestorePoint:
        """The moment; how a time without a zone was read is said on stderr."""
        at = None if self.at is None else time_said(self.at, self.zone)
        return RestorePoint(at, self.etag, self.backup, self.lineage)

    @property
    def zone(self) -> Zone:
        """The zone of times that do not say theirs."""
        return UTC if self.utc else LOCAL


@dataclass(frozen=True, slots=True)
class PartOptions:
    """The part of a database that is meant; all of it if none is named."""

    collection: Annotated[
        list[str], typer.Option("--collection", metavar="NAME", help="Only this collection; may be repeated.")
    ] = field(default_factory=list)
    id: Annotated[
        list[str], typer.Option("--id", metavar="ID", help="Only this document, with its attachments; may be repeated.")
    ] = field(default_factory=list)
    id_prefix: Annotated[
        list[str], typer.Option("--id-prefix", metavar="PREFIX", help="Only ids that begin so; may be repeated.")
    ] = field(default_factory=list)

    def selection(self) -> Selection | None:
        """The part, None for all; raises `InvalidInput`."""
        from muniment.backup.selection import Selection  # here: what it reads backups with is not for every command

        return Selection.of(tuple(self.collection), tuple(self.id), tuple(self.id_prefix))


def time_said(text: str, zone: Zone) -> datetime:
    """The time of an option; of one that does not say its zone, both readings are said."""
    from muniment.storage.base import system_clock  # here: completing a line needs no clock

    found = time_of(text, zone, from_microseconds(system_clock()))
    if not _has_zone(text):
        note(f"{text} is read as {both_readings(found, zone)}")
    return found


def _has_zone(text: str) -> bool:
    try:
        return datetime.fromisoformat(text.strip()).tzinfo is not None
    except ValueError:
        return False


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
