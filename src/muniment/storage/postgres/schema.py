"""The tables of a database in PostgreSQL, how they are made, found, renamed and removed.

Ids, collections and bodies are `bytea`: PostgreSQL's text takes no NUL, and its order of text is that of some language.
Every primary key but those of small tables has the key that `log`, `current` and `dead` can be partitioned by. Of SQL
there is only what engines that speak PostgreSQL's protocol have too; `tests/storage/test_postgres.py` lists it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import psycopg
from psycopg import errors as failures

from muniment.document import from_microseconds, rfc3339
from muniment.errors import DatabaseLocked, DatabaseNotFound, InvalidInput, TargetExists, UnknownFormat
from muniment.storage.base import Identity, Lineage
from muniment.storage.location import Address
from muniment.storage.postgres.connection import Connection, Names, mapped_errors, pooled
from muniment.storage.postgres.distribution import can_spread, spread
from muniment.storage.postgres.rights import no_schema

FORMAT: Final = 2
MOST_PARTITIONS: Final = 256
SHARDS: Final = "Muniment.Shards"  # the note of a database that Citus has spread
LOCK_MILLISECONDS: Final = 5_000
SMALL: Final = """
CREATE TABLE {s}.muniment(
  one smallint PRIMARY KEY, format integer NOT NULL, etag bigint NOT NULL, modified bigint NOT NULL,
  told_until bigint NOT NULL, commits bigint NOT NULL
);
CREATE TABLE {s}.state(name text PRIMARY KEY, value bytea NOT NULL);
CREATE TABLE {s}.note(name text PRIMARY KEY, value bytea NOT NULL);
CREATE TABLE {s}.turn(name text PRIMARY KEY);
CREATE TABLE {s}.tally(
  kind smallint NOT NULL, collection bytea NOT NULL, count bigint NOT NULL, bytes bigint NOT NULL,
  digest bytea NOT NULL, PRIMARY KEY(kind, collection)
);
CREATE TABLE {s}.delta(id uuid PRIMARY KEY, tallies bytea NOT NULL);
CREATE TABLE {s}.mark(id uuid PRIMARY KEY, made timestamptz NOT NULL DEFAULT now());
CREATE TABLE {s}.pin(id uuid PRIMARY KEY, owner uuid NOT NULL, etag bigint NOT NULL, expires timestamptz NOT NULL);
CREATE TABLE {s}.lease(name text PRIMARY KEY, owner uuid NOT NULL, expires timestamptz NOT NULL, about text NOT NULL);
CREATE TABLE {s}.content(
  content bigint PRIMARY KEY, size bigint NOT NULL, sha256 bytea NOT NULL, staged boolean NOT NULL,
  made timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE {s}.part(
  content bigint NOT NULL, number integer NOT NULL, data bytea NOT NULL, PRIMARY KEY(content, number)
);
CREATE INDEX content_staged ON {s}.content(made) WHERE staged;
"""
"""One row in `muniment` has the last etag: who commits locks it. `mark` has what was committed, by its client's own id.
`delta` has what commits have changed of `tally` since somebody has last added it up there."""

INDEX_TABLES: Final = """
CREATE TABLE {s}.index_definition(
  number integer PRIMARY KEY, collection bytea, path bytea NOT NULL, kind text NOT NULL, state smallint NOT NULL,
  several boolean NOT NULL, used bigint NOT NULL
);
CREATE TABLE {s}.index_key(
  etag bigint NOT NULL, number integer NOT NULL, place integer NOT NULL, head bytea NOT NULL, tail bytea NOT NULL,
  PRIMARY KEY(etag, number, place)
);
CREATE TABLE {s}.index_text(
  etag bigint NOT NULL, number integer NOT NULL, words integer NOT NULL, PRIMARY KEY(etag, number)
);
CREATE TABLE {s}.index_fault(
  etag bigint NOT NULL, number integer NOT NULL, id bytea NOT NULL, reason bytea NOT NULL, PRIMARY KEY(etag, number)
);
CREATE INDEX index_key_head ON {s}.index_key(number, head, etag);
CREATE INDEX index_key_tail ON {s}.index_key(number) WHERE tail <> '';
"""
"""New in format 2: the keys of documents in indexes on fields; or the words of a text with their places, and how many
words it has."""

LARGE: Final = {
    "log": """etag bigint NOT NULL, key bytea NOT NULL, kind smallint NOT NULL, spelling bytea, collection bytea,
  folded bytea, modified bigint NOT NULL, metadata bytea NOT NULL, body bytea, content bigint, size bigint NOT NULL,
  digest bytea NOT NULL""",
    "current": """kind smallint NOT NULL, key bytea NOT NULL, spelling bytea, etag bigint NOT NULL, collection bytea,
  size bigint NOT NULL, digest bytea""",
    "dead": "etag bigint NOT NULL, key bytea NOT NULL, replaced_by bigint NOT NULL",
}
"""The columns of the tables that grow: the log; the newest revision of each id, whose digest is NULL where that is a
tombstone; and what is no longer current. The spelling is there when it differs from the key, the folded id."""

PRIMARY_KEYS: Final = {"log": "etag, key", "current": "kind, key", "dead": "etag, key"}
INDEXES: Final = {
    "log": """CREATE INDEX log_collection ON {s}.log(folded, etag) WHERE folded IS NOT NULL;
CREATE INDEX log_attachment ON {s}.log(etag) WHERE kind = 1;
CREATE INDEX log_tombstone ON {s}.log(etag) WHERE body IS NULL;
""",
    "current": "",
    "dead": "",
}
TABLES: Final = (
    *"muniment state note turn tally delta mark pin lease content part log current dead".split(),
    *"index_definition index_key index_text index_fault".split(),
)
_EXISTS: Final = "SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = %s AND tablename = 'muniment'"
_OTHERS: Final = "SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = %s ORDER BY 1 LIMIT 1"
_PARTITIONS: Final = """
SELECT count(*) FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhparent
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = 'log'
"""
_SCHEMA: Final = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = %s"
_MAY_MAKE: Final = """
SELECT coalesce((SELECT has_schema_privilege(oid, 'CREATE') AND has_schema_privilege(oid, 'USAGE')
  FROM pg_catalog.pg_namespace WHERE nspname = %s), has_database_privilege(current_database(), 'CREATE'))
"""


def statements(partitions: int, *, keys: bool = True) -> str:
    """All that makes the tables; without `keys`, the large ones have neither primary keys nor indexes yet."""
    made = [SMALL, INDEX_TABLES]
    for table, columns in LARGE.items():
        key = f", PRIMARY KEY({PRIMARY_KEYS[table]})" if keys else ""
        by = " PARTITION BY HASH (key)" if partitions else ""
        made.append(f"CREATE TABLE {{s}}.{table}({columns}{key}){by};\n")
        made += [
            f"CREATE TABLE {{s}}.{table}_{number} PARTITION OF {{s}}.{table}"
            f" FOR VALUES WITH (MODULUS {partitions}, REMAINDER {number});\n"
            for number in range(partitions)
        ]
    return "".join([*made, *(INDEXES.values() if keys else ())])


def keys_and_indexes(table: str) -> str:
    """What `statements` leaves out without `keys`."""
    return f"ALTER TABLE {{s}}.{table} ADD PRIMARY KEY({PRIMARY_KEYS[table]});\n{INDEXES[table]}"


def make_tables(connection: Connection, names: Names, partitions: int, *, keys: bool = True) -> None:
    """Make the tables, in so many parts if that is not 0; part of a transaction. See `statements` for `keys`."""
    spreads = partitions > 0 and can_spread(connection)
    connection.execute(names.sql(statements(0 if spreads else partitions, keys=keys)))
    if spreads:
        spread(connection, names, TABLES, partitions)
        connection.execute(names.sql("INSERT INTO {s}.note VALUES(%s, %s)"), (SHARDS, b"%d" % partitions))


def check_partitions(partitions: int) -> None:
    """Raises `InvalidInput` for a number of partitions that makes no sense."""
    if partitions == 1 or not 0 <= partitions <= MOST_PARTITIONS:
        raise InvalidInput(
            f"Muniment/Partitions is {partitions}", f"give a number from 2 to {MOST_PARTITIONS}, or leave it out"
        )


def exists(address: Address) -> bool:
    """Whether there is a database in this schema."""
    with pooled(address) as pool:

        def look() -> bool:
            with pool.connection() as connection, mapped_errors(address):
                return connection.execute(_EXISTS, (address.schema,)).fetchone() is not None

        return look()


def partitions(address: Address) -> int:
    """In how many parts the log of the database in this schema is; 0 if it is in one."""
    shards = Names(address).sql("SELECT value FROM {s}.note WHERE name = %s")
    with pooled(address) as pool, pool.connection() as connection, mapped_errors(address):
        [(parts,)] = connection.execute(_PARTITIONS, (address.schema,)).fetchall()
        note = connection.execute(shards, (SHARDS,)).fetchone()
    return int(parts) or (int(note[0]) if note else 0)


def format_of(connection: Connection, address: Address) -> int:
    """The format of the database; raises `DatabaseNotFound`, and `UnknownFormat` for a newer one or no database."""
    if connection.execute(_EXISTS, (address.schema,)).fetchone() is None:
        raise DatabaseNotFound(
            f"there is no database in {address}", "give the schema that holds one, or make it: muniment create"
        )
    try:
        row = connection.execute(Names(address).sql("SELECT format FROM {s}.muniment")).fetchone()
    except failures.UndefinedColumn as error:
        raise UnknownFormat(f"the schema of {address} is not a database of Muniment", "give another schema") from error
    if row is None or row[0] > FORMAT:
        version = row[0] if row else "none"
        raise UnknownFormat(
            f"the database in {address} has format {version}; this software reads up to {FORMAT}",
            "open it with a newer version of Muniment",
        )
    return int(row[0])


def new_identity(now: int) -> Identity:
    """That of a database which has just begun."""
    lineage = Lineage(str(uuid.uuid4()), None, 0, None, rfc3339(from_microseconds(now)))
    return Identity(str(uuid.uuid4()), lineage.lineage, (lineage,))


def identity_facts(identity: Identity) -> dict[str, Any]:
    """An identity as facts of the table `state`."""
    return {"database_id": identity.database_id, "lineage": identity.lineage, "lineages": identity.lineages}


_NO_FACTS: Final[dict[str, Any]] = {
    "settings": {},
    "backups": (),
    "places": (),
    "history_from": 0,
    "tombstones_from": 0,
    "purged_to": -1,
    "backed_up": 0,
}


def fill(connection: Connection, names: Names, identity: Identity, changed: Mapping[str, Any] | None = None) -> None:
    """The rows that every database has; part of the transaction that makes it."""
    facts = {**_NO_FACTS, **identity_facts(identity), **(changed or {})}
    connection.execute(names.sql("INSERT INTO {s}.muniment VALUES(1, %s, 0, 0, 0, 0)"), (FORMAT,))
    rows = [(name, msgspec.json.encode(value)) for name, value in facts.items()]
    with connection.cursor() as cursor:
        cursor.executemany(names.sql("INSERT INTO {s}.state VALUES(%s, %s)"), rows)
        cursor.executemany(names.sql("INSERT INTO {s}.turn VALUES(%s)"), [("purge",), ("fold",)])


def create(address: Address, clock: Callable[[], int], partitions: int = 0) -> None:
    """Make a new, empty database in this schema, which is made too if it is not there; all of it or nothing.

    Where another process has made one there meanwhile, nothing is done. Raises `TargetExists` for a schema that holds
    tables of somebody else.
    """
    check_partitions(partitions)
    names = Names(address)
    with pooled(address) as pool, pool.connection() as connection, mapped_errors(address):
        try:
            with connection.transaction():
                make_schema(connection, address)
                make_tables(connection, names, partitions)
                fill(connection, names, new_identity(clock()))
        except (failures.DuplicateTable, failures.UniqueViolation, failures.DuplicateSchema):
            if connection.execute(_EXISTS, (address.schema,)).fetchone() is None:
                raise
            format_of(connection, address)  # raises, if it is only called as one


def make_schema(connection: Connection, address: Address) -> None:
    """Have the schema, with nothing in it; part of a transaction. Raises `AccessDenied` where that is not allowed."""
    if connection.execute(_MAY_MAKE, (address.schema,)).fetchone() != (True,):
        raise no_schema(connection, address)
    if connection.execute(_SCHEMA, (address.schema,)).fetchone() is None:
        connection.execute(Names(address).sql("CREATE SCHEMA {s}"))
        return
    other = connection.execute(_OTHERS, (address.schema,)).fetchone()
    mine = other is not None and connection.execute(_EXISTS, (address.schema,)).fetchone() is not None
    if other is not None and not mine:
        raise TargetExists(
            f"the schema of {address} belongs to somebody else: it has a table {other[0]}",
            "give another schema, or for all of a server another database of PostgreSQL",
        )


def is_free(address: Address) -> bool:
    """Whether nothing is in this schema, or there is none of that name."""
    with pooled(address) as pool, pool.connection() as connection, mapped_errors(address):
        return connection.execute(_OTHERS, (address.schema,)).fetchone() is None


def drop(connection: Connection, names: Names, schema: str) -> None:
    """Remove the database's tables, and the schema if nothing else is in it; part of a transaction."""
    for table in TABLES:
        connection.execute(names.sql(f"DROP TABLE IF EXISTS {{s}}.{table}"))
    if connection.execute(_OTHERS, (schema,)).fetchone() is None:
        connection.execute(names.sql("DROP SCHEMA IF EXISTS {s}"))


def remove(address: Address, forget: Callable[[], object] = lambda: None) -> bool:
    """Delete the database in this schema, and the schema if nothing else is in it; returns whether that is gone.

    `forget` is called when nobody else can use the database any more; when it raises, the database is as it was. Raises
    `DatabaseLocked`, and changes nothing, while a process has it open.
    """
    names = Names(address)
    with pooled(address) as pool, pool.connection() as connection, mapped_errors(address):
        if connection.execute(_EXISTS, (address.schema,)).fetchone() is None:
            forget()
            return True
        query = "SELECT about FROM {s}.lease WHERE name LIKE 'open %' AND expires > now() LIMIT 1"
        with connection.transaction():
            connection.execute(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}".encode())
            try:
                connection.execute(names.sql("LOCK TABLE {s}.muniment IN ACCESS EXCLUSIVE MODE"))
            except failures.LockNotAvailable as error:
                raise DatabaseLocked(f"somebody uses the database in {address}", "close it there") from error
            if holder := connection.execute(names.sql(query)).fetchone():
                raise DatabaseLocked(f"{holder[0]} has the database in {address} open", "close it there")
            forget()
            drop(connection, names, address.schema)
        return connection.execute(_SCHEMA, (address.schema,)).fetchone() is None


def rename(connection: Connection, old: Address, new: Address) -> None:
    """Give a schema another name, which no other has, but an empty one that makes room; raises `TargetExists`."""
    try:
        with connection.transaction():
            if connection.execute(_OTHERS, (new.schema,)).fetchone() is None:
                connection.execute(Names(new).sql("DROP SCHEMA IF EXISTS {s}"))
            connection.execute(Names(old).sql(f"ALTER SCHEMA {{s}} RENAME TO {Names(new).quoted}"))
    except (failures.DuplicateSchema, psycopg.errors.DependentObjectsStillExist) as error:
        raise TargetExists(f"there is something in {new} already", "give another schema") from error
