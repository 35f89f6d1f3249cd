"""Bringing a database that an earlier version has made up to the tables of this one: at its next opening for writing.

It is one transaction, while nobody has the database open: what dies in it leaves the old tables, and a process that is
about to open the database waits, and then finds the new ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from psycopg import errors as failures

from muniment.errors import AccessDenied, DatabaseLocked, UnknownFormat
from muniment.storage.location import Address
from muniment.storage.postgres.connection import Connection, Names, quoted
from muniment.storage.postgres.schema import FORMAT, INDEX_TABLES, LOCK_MILLISECONDS

UPGRADES: Final[dict[int, str]] = {1: INDEX_TABLES}
"""From each earlier format, the statements that make the next one of it."""

_OPEN: Final = "SELECT about FROM {s}.lease WHERE name LIKE 'open %' AND expires > now() LIMIT 1"


def check_current(found: int, address: Address) -> None:
    """Raises `UnknownFormat` for a database that is to be brought up first."""
    if found < FORMAT:
        raise UnknownFormat(
            f"the database in {address} has format {found}, and this version of Muniment works with {FORMAT}",
            f"open it once for writing while nobody uses it, as a backup does: muniment backup '{address}' --dest DEST",
        )


def upgrade(connection: Connection, address: Address, to: int = FORMAT, steps: Mapping[int, str] = UPGRADES) -> None:
    """Bring a database up to this format, if it is of an earlier one.

    Raises `DatabaseLocked` while a process has it open, and `AccessDenied` for a role that does not own the tables.
    """
    names = Names(address)
    with connection.transaction():
        connection.execute(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}; SET LOCAL statement_timeout = 0".encode())
        try:
            connection.execute(names.sql("LOCK TABLE {s}.lease IN EXCLUSIVE MODE"))
            [(found,)] = connection.execute(names.sql("SELECT format FROM {s}.muniment FOR UPDATE")).fetchall()
            if found >= to:
                return
            holder = connection.execute(names.sql(_OPEN)).fetchone()
            if holder is not None:
                raise DatabaseLocked(
                    f"{holder[0]} has the database in {address} open, which is to be brought from format {found} to"
                    f" {to}",
                    "close it there, which may be an earlier version of Muniment, and open it again",
                )
            for step in range(found, to):
                connection.execute(names.sql(steps[step]))
            connection.execute(names.sql("UPDATE {s}.muniment SET format = %s"), (to,))
        except failures.LockNotAvailable as error:
            raise DatabaseLocked(
                f"somebody uses the database in {address}, which is to be brought to format {to}", "close it there"
            ) from error
        except failures.InsufficientPrivilege as error:
            raise AccessDenied(
                f"this role may not bring the database in {address} to format {to}: {error.diag.message_primary}",
                f"open it once as the role that owns the tables of the schema {quoted(address.schema)}",
            ) from error
