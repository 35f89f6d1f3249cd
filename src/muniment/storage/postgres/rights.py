"""Which rights in PostgreSQL the present role lacks for a database, and the `GRANT` that gives it exactly these."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from muniment.errors import AccessDenied
from muniment.storage.location import Address
from muniment.storage.postgres.connection import Connection, quoted

READING: Final = ("SELECT",)
WRITING: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
_USAGE: Final = """
SELECT has_schema_privilege(n.oid, 'USAGE') FROM pg_catalog.pg_namespace n WHERE n.nspname = %s
"""
_MISSING: Final = """
SELECT c.relname, p.name, has_table_privilege(c.oid, p.name) FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace CROSS JOIN unnest(%s::text[]) AS p(name)
WHERE n.nspname = %s AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1
"""


def check_rights(connection: Connection, address: Address, *, writes: bool) -> None:
    """Raises `AccessDenied`, with the statement that helps, when this role may not read, or write, the database."""
    wanted = WRITING if writes else READING
    usage = connection.execute(_USAGE, (address.schema,)).fetchone()
    rows = connection.execute(_MISSING, (list(wanted), address.schema)).fetchall()
    missing: dict[str, set[str]] = defaultdict(set)
    for table, right, there in rows:
        if not there:
            missing[table].add(right)
    if usage is None or (usage[0] and not missing):
        return
    who = _role(connection)
    schema = quoted(address.schema)
    grants = [] if usage[0] else [f"GRANT USAGE ON SCHEMA {schema} TO {who};"]
    tables = {table for table, _, _ in rows}
    for right in (right for right in wanted if all(right in missing[table] for table in tables)):
        for table in tables:
            missing[table].discard(right)
        grants.append(f"GRANT {right} ON ALL TABLES IN SCHEMA {schema} TO {who};")
    for table, rights in missing.items():
        if rights:
            few = ", ".join(right for right in wanted if right in rights)
            grants.append(f"GRANT {few} ON {schema}.{quoted(table)} TO {who};")
    what = "write to" if writes else "read"
    raise AccessDenied(f"the role {who} may not {what} the database in {address}", f"as its owner: {' '.join(grants)}")


def no_schema(connection: Connection, address: Address) -> AccessDenied:
    """Why this role cannot make tables there, and the statement that helps."""
    who = _role(connection)
    schema = quoted(address.schema)
    there = connection.execute(_USAGE, (address.schema,)).fetchone() is not None
    if there:
        what, grant = f"make tables in the schema {schema}", f"GRANT USAGE, CREATE ON SCHEMA {schema} TO {who};"
    else:
        database = quoted(connection.info.dbname)
        what, grant = "make a schema", f"GRANT CREATE ON DATABASE {database} TO {who};"
    return AccessDenied(f"the role {who} may not {what} for {address}", f"as the owner: {grant}")


def _role(connection: Connection) -> str:
    [(role,)] = connection.execute("SELECT current_user").fetchall()
    return quoted(role)
