"""How a moment of the backups is named: a time, an etag, or a backup; and the history that it is a moment of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, TypedDict

from muniment.errors import InvalidInput


class PointKeywords(TypedDict, total=False):
    """The keywords that name a moment where a user calls: `RestorePoint(**named)`."""

    at: datetime | None
    etag: int | None
    backup: str | None
    lineage: str | None


@dataclass(frozen=True, slots=True)
class RestorePoint:
    """The state at a time, after the transaction of an etag, or at the end of a backup; the newest if none is named.

    `lineage` says of which history, by the first letters of its id; without it, that has to be certain. Raises
    `InvalidInput` for two moments at once, and for what names none: a time without a zone, say, which could be
    anybody's.
    """

    at: datetime | None = None
    etag: int | None = None
    backup: str | None = None
    lineage: str | None = None

    def __post_init__(self) -> None:
        given = {"time": self.at, "etag": self.etag, "backup": self.backup}
        named = [name for name, value in given.items() if value is not None]
        if len(named) > 1:
            raise InvalidInput(f"{' and '.join(named)} each name a moment", "give one of them")
        _check(self.at, self.etag)
        for name in ("backup", "lineage"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise InvalidInput(f"{name} is {value!r}, which is no text", f"give the name of the {name} as a str")
        if self.lineage is not None and not self.lineage.strip():
            raise InvalidInput("the lineage is empty", "give the first letters of its id, as inspect shows it")

    @property
    def named(self) -> bool:
        """Whether it is any other than the newest moment."""
        return self != NEWEST

    def of(self, lineage: str) -> RestorePoint:
        """The same moment of this history."""
        return replace(self, lineage=lineage)

    def options(self) -> list[str]:
        """How the command line names it."""
        at = None if self.at is None else self.at.isoformat()
        given = {"--at": at, "--etag": self.etag, "--backup": self.backup, "--lineage": self.lineage}
        return [part for name, value in given.items() if value is not None for part in (name, str(value))]


def _check(at: Any, etag: Any) -> None:
    if at is not None and not isinstance(at, datetime):
        raise InvalidInput(
            f"at is {at!r}, not a datetime", "write at=datetime.fromisoformat('2026-11-22T17:18:03+00:00')"
        )
    if at is not None and at.tzinfo is None:
        raise InvalidInput(
            f"{at.isoformat()} has no zone, so that it is another moment in every country",
            "say which: at.astimezone() for this machine's, at.replace(tzinfo=UTC) for UTC",
        )
    if etag is not None and (type(etag) is not int or not 0 <= etag < 1 << 63):
        raise InvalidInput(f"etag is {etag!r}, not the etag of a transaction", "give a whole number from 0 to 2^63-1")


NEWEST: Final = RestorePoint()
