"""SQL over a moment of the backups, without restoring it. The only module that knows DuckDB, which is an extra.

DuckDB gets two views over the backup's files and, before the user's query is run, loses the right to reach anything
else: other files, the network, and its own settings. Only a SELECT is run, for another statement could write to the
files that it may read.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from muniment.backup.destination import Remote
from muniment.backup.parquet import dataset_of
from muniment.backup.plan import RestorePlan
from muniment.backup.reader import Moment, check_copies, moment_of
from muniment.document import fold
from muniment.durable import mapped_errors
from muniment.errors import Cancelled, InvalidInput, StorageFailure
from muniment.progress import Progress

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

T = TypeVar("T")
LIMIT: Final = 1000
MOST: Final = 10**9  # rows at once; an answer is in memory
_CHECK_SECONDS: Final = 0.1
_BATCH: Final = 10_000
_COMMON: Final = "etag BIGINT, id VARCHAR, collection VARCHAR, modified TIMESTAMPTZ, metadata VARCHAR"
_SHOWN: Final = "id, collection, etag, modified::TIMESTAMP AS modified, metadata"


@dataclass(frozen=True, slots=True)
class _View:
    """A view over the files of one kind: what it shows, which rows stand for a revision, and which are not deleted."""

    name: str
    columns: str
    shown: str
    one_row: str
    alive: str


_VIEWS: Final = (
    _View("documents", f"{_COMMON}, document VARCHAR", f"{_SHOWN}, document", "true", "document IS NOT NULL"),
    _View(
        "attachments",
        f"{_COMMON}, size BIGINT, sha256 BLOB, part INTEGER, data BLOB",
        f"replace(id, chr(30), '/') AS {_SHOWN}, size, lower(hex(sha256)) AS sha256",
        "part = 0",
        "sha256 IS NOT NULL AND part = 0",
    ),
)
# DuckDB's lower() is ours only for ASCII: what other ids are folded to is looked up.
_NEWEST: Final = """
CREATE TABLE newest_{name} AS SELECT max(etag) AS etag FROM {rows} LEFT JOIN folded USING(id)
WHERE etag <= {etag} AND {one_row} GROUP BY coalesce(folded.key, lower(id))
"""
_OTHER_IDS: Final = "SELECT DISTINCT id FROM {rows} WHERE strlen(id) <> length(id)"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a query gave: the names of its columns, and its rows as Python values.

    `whole` is False when there were more rows than the limit let through.
    """

    moment: Moment
    columns: list[str]
    rows: list[tuple[Any, ...]]
    whole: bool


def query_backup(plan: RestorePlan, sql: str, *, limit: int = LIMIT, progress: Progress | None = None) -> Answer:
    """Run a SELECT over the views `documents` and `attachments` of what was current at the planned moment.

    Every file is compared with its SHA-256 first. Raises `DamagedBackup` when one is not what was written, and
    `InvalidInput` for what DuckDB refuses, or when it is not installed.
    """
    progress = progress or Progress()
    if type(limit) is not int or not 1 <= limit <= MOST:
        raise InvalidInput(f"{limit!r} rows cannot be shown", f"give a limit from 1 to {MOST:,}")
    if not isinstance(sql, str):
        raise InvalidInput(f"a query is text, not {type(sql).__name__}", "write it in SQL")
    try:
        sql.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"the query is not Unicode text: {error.reason}", "write it in Unicode") from error
    with _connection() as connection:
        select = _checked(connection, sql)
        progress.stage = "checking files"
        for backup in plan.chain:
            backup.check_open()
        for backup, file in plan.files:
            check_copies(backup, file, progress)
        progress.stage = "asking"
        moment = moment_of(plan)
        columns, rows = _waited(connection, lambda: _asked(connection, plan, moment, select, limit), progress)
    progress.finish()
    return Answer(moment, columns, rows[:limit], len(rows) <= limit)


@contextmanager
def _connection() -> Iterator[DuckDBPyConnection]:
    """Within it, what DuckDB refuses is an error of ours; what it keeps on disk is gone afterwards."""
    try:
        import duckdb  # here: it is an extra
    except ImportError as error:
        raise InvalidInput("SQL needs DuckDB, which is not installed", "pip install 'muniment[duckdb]'") from error
    place = Path(tempfile.gettempdir())
    with mapped_errors(place), tempfile.TemporaryDirectory(prefix="muniment-query-", dir=place) as spill:
        config: dict[str, Any] = {"temp_directory": spill, "autoinstall_known_extensions": False}
        try:
            with duckdb.connect(":memory:", config=config) as connection:
                yield connection
        except duckdb.InterruptException as error:
            raise Cancelled("stopped while asking", "run it again; nothing was written") from error
        except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
            raise StorageFailure(
                f"DuckDB could not go on: {error}", "check that there is room, and ask for less"
            ) from error
        except duckdb.Error as error:
            hint = "the views are `documents` and `attachments`; see docs/backup-guide.md for their columns"
            raise InvalidInput(f"DuckDB refuses this: {_first_line(error)}", hint) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _checked(connection: DuckDBPyConnection, sql: str) -> str:
    """The one SELECT that this is; raises `InvalidInput` for anything else."""
    statements = connection.extract_statements(sql)
    if [statement.type.name for statement in statements] != ["SELECT"]:
        raise InvalidInput("only one SELECT can be run over backups", "backups are never written to; ask for rows")
    query: str = statements[0].query
    return query


def _asked(
    connection: DuckDBPyConnection, plan: RestorePlan, moment: Moment, select: str, limit: int
) -> tuple[list[str], list[tuple[Any, ...]]]:
    connection.execute("SET TimeZone = 'UTC'; CREATE TABLE folded(id VARCHAR, key VARCHAR)")
    encrypted = any(backup.key for backup in plan.chain)
    passed = encrypted or any(isinstance(backup.folder, Remote) for backup in plan.chain)  # on by pyarrow
    if encrypted:
        connection.execute("SET temp_file_encryption = true")
    allowed: list[str] = []
    for view in _VIEWS:
        owners = view.name == "attachments" and any(backup.manifest.format > 1 for backup in plan.chain)
        files = [backup.path(file.name) for backup, file in plan.files if file.name.startswith(view.name)]
        rows = f"rows_of_{view.name}" if passed else rows_in(files)
        held = {}
        if files and passed:  # DuckDB 2.0 fails at encrypted pages after one that a filter has had it skip
            held = {rows: dataset_of(plan.files, view.name)}
            connection.register(rows, held[rows])
        newest = moment if len(plan.chain) > 1 else None
        _create_view(connection, view, rows if files else None, newest, held, owners=owners)
        allowed += [] if passed else map(quoted, files)
    connection.execute(f"SET allowed_paths = [{', '.join(allowed)}]")
    connection.execute("SET enable_external_access = false; SET lock_configuration = true")
    answer = connection.execute(select)
    columns = answer.description or []
    for name, kind, *_ in columns:
        if "TIME ZONE" in str(kind):  # Python would need another package for these
            raise InvalidInput(f"the column {name} has times with a zone", f"ask for {name}::TIMESTAMP, which is UTC")
    return [column[0] for column in columns], answer.fetchmany(limit + 1)


def _create_view(
    connection: DuckDBPyConnection,
    view: _View,
    rows: str | None,
    moment: Moment | None,
    held: Mapping[str, Any],
    *,
    owners: bool,
) -> None:
    """Of a chain the view shows, at this moment, the newest of each id. `held` are datasets, by their names in SQL."""
    name, current = view.name, ""
    if rows:
        if owners:  # an owned attachment has only its name as its id
            rows = f"(SELECT * REPLACE (coalesce(owner || chr(30), '') || id AS id) FROM {rows})"
    else:
        rows = f"no_{name}"
        connection.execute(f"CREATE TABLE {rows}({view.columns})")
    if moment is not None:
        _fold(connection, rows, held)
        connection.execute(_NEWEST.format(name=name, rows=rows, etag=moment.etag, one_row=view.one_row))
        current = f"SEMI JOIN newest_{name} USING(etag)"
    connection.execute(f"CREATE VIEW {name} AS SELECT {view.shown} FROM {rows} {current} WHERE {view.alive}")


def _fold(connection: DuckDBPyConnection, rows: str, held: Mapping[str, Any]) -> None:
    connection.execute("DELETE FROM folded")
    cursor = connection.cursor()
    for name, dataset in held.items():  # which are a connection's own
        cursor.register(name, dataset)
    reading = cursor.execute(_OTHER_IDS.format(rows=rows))
    while found := [id for (id,) in reading.fetchmany(_BATCH)]:
        connection.execute("INSERT INTO folded SELECT unnest(?), unnest(?)", [found, list(map(fold, found))])


def rows_in(files: Sequence[Path]) -> str:
    """What stands for the rows of these files in DuckDB's SQL."""
    return f"read_parquet([{', '.join(map(quoted, files))}], hive_partitioning = false, union_by_name = true)"


def quoted(path: Path) -> str:
    """A file's path in SQL."""
    return "'" + str(path.resolve()).replace("'", "''") + "'"


def _waited(connection: DuckDBPyConnection, work: Callable[[], T], progress: Progress) -> T:
    """The result of this function, which is interrupted when the job is cancelled."""
    with ThreadPoolExecutor(1, "muniment query") as pool:
        working = pool.submit(work)
        while True:
            try:
                return working.result(_CHECK_SECONDS)
            except TimeoutError:
                try:
                    progress.check()
                except Cancelled:
                    connection.interrupt()
