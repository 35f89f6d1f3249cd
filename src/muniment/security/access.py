"""What a right lets its holder do, and with which databases."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from muniment.document import fold
from muniment.errors import InvalidInput

SYSTEM: Final = "<system>"
EVERY: Final = "*"


class Right(StrEnum):
    """A right of a key. `admin` includes all others, and `write` includes `read`: changing implies reading.

    `backup` starts, lists and plans backups and sees their progress, but reads no document; `restore` makes
    databases from backups, brings documents back, and sees what can be restored.
    """

    READ = "read"
    WRITE = "write"
    BACKUP = "backup"
    RESTORE = "restore"
    ADMIN = "admin"


_HAS: Final = {
    Right.READ: frozenset({Right.READ}),
    Right.WRITE: frozenset({Right.READ, Right.WRITE}),
    Right.BACKUP: frozenset({Right.BACKUP}),
    Right.RESTORE: frozenset({Right.RESTORE}),
    Right.ADMIN: frozenset(Right),
}


def rights_in(words: Iterable[str]) -> tuple[Right, ...]:
    """These rights, in the order in which they stand above; raises `InvalidInput` for any other word, and for none."""
    given = {word.lower() for word in words}
    if unknown := sorted(given.difference(Right)):
        raise InvalidInput(f"there is no right {unknown[0]!r}", f"give one of {', '.join(Right)}")
    if not given:
        raise InvalidInput("no right was given", f"give one or more of {', '.join(Right)}")
    return tuple(right for right in Right if right in given)


@dataclass(frozen=True, slots=True)
class Access:
    """Rights, and the databases that they hold for: names, or `*` for all and the server itself.

    The system database (the keys, and the databases' folders) is for `admin` alone.
    """

    rights: frozenset[Right]
    databases: frozenset[str]

    @classmethod
    def of(cls, rights: Iterable[Right], databases: Iterable[str] = (EVERY,)) -> Access:
        """These rights, with all that they include."""
        return cls(
            frozenset[Right]().union(*(_HAS[right] for right in rights)), frozenset(fold(each) for each in databases)
        )

    def allows(self, database: str | None, any_of: Iterable[Right]) -> bool:
        """Whether one of these rights is held for a database; None is the server itself."""
        if database is None or fold(database) == SYSTEM:
            return EVERY in self.databases and Right.ADMIN in self.rights
        return self.covers(database) and not self.rights.isdisjoint(any_of)

    def covers(self, database: str) -> bool:
        """Whether any right is held for this database."""
        return EVERY in self.databases or fold(database) in self.databases


ALL: Final = Access.of([Right.ADMIN])
NONE: Final = Access.of([], [])
