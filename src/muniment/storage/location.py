"""Where a database is: in a folder of this machine, or in a schema of PostgreSQL, which has an address.

An address is a path too, so that whoever passes on where a database is need not know which of the two it is. What needs
a file of this machine cannot be done with one by accident: the operating system has no name for it. There is never a
password in one: those come from `PGPASSWORD`, from `~/.pgpass`, or from a service file.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PosixPath
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from muniment.errors import InvalidInput

SCHEMES: Final = ("postgresql://", "postgres://")
MOST_BYTES: Final = 50  # PostgreSQL has 63, of which a restore's own schema needs some
_SECRETS: Final = frozenset(("password", "sslpassword"))
_OURS: Final = ("schema", "partitions", "backup_from")
_ONE_HOST: Final = frozenset(("host", "hostaddr", "port", "target_session_attrs", "load_balance_hosts"))
_HINT: Final = "write postgresql://HOST/DATABASE?schema=NAME; the password comes from PGPASSWORD or ~/.pgpass"


class Address(PosixPath):
    """A schema of a PostgreSQL database: `postgresql://host/database?schema=NAME`; made by `location_of`."""

    def __str__(self) -> str:
        server = self.server
        schema = f"{server}{'&' if '?' in server else '?'}schema={quote(self.schema, safe='')}"
        replica = f"&backup_from={quote(self.backup_from, safe='/:')}" if self.backup_from else ""
        return f"{schema}{replica}&partitions={self.partitions}" if self.partitions else schema + replica

    def __repr__(self) -> str:
        return f"Address({str(self)!r})"

    def __fspath__(self) -> str:
        raise TypeError(f"{self} is not a folder of this machine")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[str, str]:
        return self.server, self.schema

    def __reduce__(self) -> tuple[Any, ...]:
        return location_of, (str(self),)

    @property
    def server(self) -> str:
        """The address of the PostgreSQL database, as its own programs take it."""
        return unquote(self.parts[1])

    @property
    def schema(self) -> str:
        """The name of the schema in it."""
        return unquote(self.parts[2])

    @property
    def partitions(self) -> int:
        """How many partitions its tables are to have when it is made; 0 for none."""
        return int(self.parts[3]) if len(self.parts) > 3 else 0

    @property
    def backup_from(self) -> str:
        """The host and port of the replica that backups are read from, empty for none."""
        return unquote(self.parts[4]) if len(self.parts) > 4 else ""

    @property
    def replica(self) -> Address | None:
        """The same database at the replica that backups are read from."""
        if not self.backup_from:
            return None
        host, _, port = _replica(self.backup_from)
        parts = urlsplit(self.server)
        user, at, _ = parts.netloc.rpartition("@")
        options = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in _ONE_HOST]
        options += [("host", host)] + ([("port", port)] if port else [])
        query = urlencode(options, safe="/,:", quote_via=quote)
        return _address(f"postgresql://{user}{at}{parts.path}?{query}", self.schema, 0)

    def read_from(self, replica: str) -> Address:
        """The same, whose backups are read from this host and port."""
        return _address(self.server, self.schema, self.partitions, replica)

    @property
    def name(self) -> str:
        """What the database is called where it is given no other name."""
        return self.schema

    @property
    def parents(self) -> Sequence[Path]:  # type: ignore[override]
        """Nothing contains it that could be given to anybody."""
        return ()

    def absolute(self) -> Address:
        """An address is whole."""
        return self

    def resolve(self, strict: bool = False) -> Address:
        """It has no links."""
        return self

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """No folder is there; whether a database is, `engines.exists` tells."""
        return False

    def is_dir(self) -> bool:
        """It is no folder."""
        return False

    def is_file(self) -> bool:
        """Nor a file."""
        return False

    def beside(self, end: str) -> Address:
        """The schema with this at the end of its name."""
        return _address(self.server, self.schema + end, self.partitions, self.backup_from)


def is_address(text: str) -> bool:
    """Whether this is the address of a database in PostgreSQL, and not a folder or the address of something else."""
    return text.lower().startswith(SCHEMES)


def location_of(place: str | os.PathLike[str]) -> Path:
    """The folder, or the schema of PostgreSQL, that this names.

    Raises `InvalidInput` for an address that names no schema, or has a password in it, which it does not repeat.
    """
    if isinstance(place, Path):
        return place
    text = str(place)
    if not is_address(text):
        return Path(place)
    server, schema, partitions, replica = _split(text)
    if schema is None:
        raise InvalidInput(f"{server} names no schema of PostgreSQL", _HINT)
    return address(server, schema, partitions).read_from(replica)


def server_of(text: str) -> str:
    """The address of a PostgreSQL database, which names no schema; raises `InvalidInput` for anything else."""
    return server_and_replica(text)[0]


def server_and_replica(text: str) -> tuple[str, str]:
    """The same, and the host and port that it says backups are read from, empty for none."""
    if not is_address(text):
        raise InvalidInput(f"{text!r} is not the address of a PostgreSQL database", "write postgresql://HOST/DATABASE")
    server, schema, _, replica = _split(text)
    if schema is not None:
        raise InvalidInput(f"{server} is given with a schema", "leave it out: each database gets one of its own")
    return server, replica


def address(server: str, schema: str, partitions: int = 0) -> Address:
    """The schema of this name, to be made with so many partitions; raises `InvalidInput` where there can be none."""
    if not schema or schema.lower().startswith("pg_") or schema.lower() == "information_schema":
        raise InvalidInput(f"{schema!r} is not the name of a schema of your own", "give another")
    if "\0" in schema or "%" in schema or len(schema.encode(errors="replace")) > MOST_BYTES:
        raise InvalidInput(
            f"{schema!r} is too long for a schema, or has a % or NUL in it", f"give up to {MOST_BYTES} bytes"
        )
    return _address(server, schema, partitions)


def _address(server: str, schema: str, partitions: int, replica: str = "") -> Address:
    end = f"/{partitions}/{quote(replica, safe='')}" if replica else f"/{partitions}" if partitions else ""
    return Address(f"postgresql:/{quote(server, safe='')}/{quote(schema, safe='')}{end}")


def _replica(text: str) -> tuple[str, str, str]:
    """The host, or the folder of a socket, and the port."""
    host, colon, port = text.rpartition(":")
    if colon and port.isdecimal() and host and "," not in host:
        return host.strip("[]"), colon, port
    return text.strip("[]"), "", ""


def _split(text: str) -> tuple[str, str | None, int, str]:
    """The address of the database, in one spelling, the schema, its partitions, and the replica for backups."""
    try:
        parts = urlsplit(text)
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise InvalidInput("this address of a PostgreSQL database cannot be read", _HINT) from error
    user, at, hosts = parts.netloc.rpartition("@")
    if ":" in user or _SECRETS & {name.lower() for name, _ in options}:
        raise InvalidInput(
            "an address of a database has no password in it (it is not repeated here)",
            "leave it out: it is taken from PGPASSWORD, ~/.pgpass or a service file, which nobody else sees",
        )
    if parts.fragment:
        raise InvalidInput("an address of a PostgreSQL database has no #", _HINT)
    named, partitions, replica = ([value for name, value in options if name == each] for each in _OURS)
    if max(len(named), len(partitions), len(replica)) > 1:
        raise InvalidInput("an address names two schemas, or partitions or a replica twice", "leave one of them out")
    if partitions and not partitions[0].isdecimal():
        raise InvalidInput(f"{partitions[0]!r} is not a number of partitions", "give one, as partitions=16")
    if replica and (not replica[0] or set(replica[0]) & set("@?&%\0, ")):
        raise InvalidInput(
            f"backup_from is {replica[0]!r}, not the host of a replica",
            "write backup_from=HOST or backup_from=HOST:PORT",
        )
    libpq = [(name, value) for name, value in options if name not in _OURS]
    rest = urlencode(libpq, safe="/,:", quote_via=quote)
    server = f"postgresql://{user}{at}{hosts}/{parts.path.lstrip('/')}{'?' if rest else ''}{rest}"
    many = int(partitions[0]) if partitions else 0
    return server, named[0] if named else None, many, replica[0] if replica else ""
