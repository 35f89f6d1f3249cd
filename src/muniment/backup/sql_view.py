"""Two views in DuckDB's SQL that show what was current at a moment: for whoever queries the files himself.

A glob over the files of a chain would count superseded and deleted rows, and files of other chains and lineages. The
views name the files that lead to one moment, and show of each id the newest row.
"""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Final

from muniment.backup.plan import RestorePlan
from muniment.backup.query import quoted, rows_in
from muniment.backup.reader import Moment, check_files, moment_of
from muniment.backup.repository import Backup
from muniment.document import from_microseconds, rfc3339
from muniment.progress import Progress

# The form in which ids are compared (`document.fold`): DuckDB's lower() is it, but for the capital I with a dot.
_KEY: Final = "array_to_string([lower(part) for part in string_split(id, 'İ')], 'İ')"
_VIEW: Final = """
CREATE OR REPLACE VIEW {name} AS
SELECT {shown}
FROM (
  SELECT *, row_number() OVER (PARTITION BY {key} ORDER BY etag DESC) AS newest
  FROM {rows}
  WHERE etag <= {etag}{one_row}
)
WHERE newest = 1 AND {alive};
"""
_NOTHING: Final = """
CREATE OR REPLACE VIEW {name} AS
SELECT {nothing} WHERE false;
"""
# DuckDB 2.0 fails at encrypted pages after one that a filter has had it skip, but not where it reads all of a file.
_COPY: Final = """
CREATE OR REPLACE TEMP TABLE {rows} AS
{selects};
"""
_SHOWN: Final = "id, collection, etag, modified, metadata"
_EMPTY: Final = (
    "''::VARCHAR AS id, ''::VARCHAR AS collection, 0::BIGINT AS etag, now() AS modified, ''::VARCHAR AS metadata"
)


def sql_view(plan: RestorePlan, source: str, progress: Progress | None = None) -> str:
    """SQL for DuckDB that makes the views `documents` and `attachments` of the planned moment.

    It names the present place of the files, which are compared with their SHA-256 now. A backup never changes, so the
    views stay true as long as the files are there; later backups are not in them. The SQL for encrypted backups has the
    keys of their files in it, and copies all of them into temporary tables.
    """
    progress = progress or Progress()
    for backup in plan.chain:
        backup.check_open()
    progress.stage = "checking files"
    check_files(plan.files, progress)
    moment = moment_of(plan)
    time = rfc3339(from_microseconds(moment.modified))
    lineage = plan.manifest.database.lineage
    where = " ".join(source.splitlines())  # a comment ends with its line
    head = f"-- What {where} held at {time}, etag {moment.etag}, in lineage {lineage}. For DuckDB.\n"
    progress.finish()
    return head + _keys(plan) + _documents(plan, moment) + _attachments(plan, moment)


def _keys(plan: RestorePlan) -> str:
    """Of encrypted backups, what DuckDB opens them with."""
    keys = [backup.key for backup in plan.chain if backup.key]
    pragmas = "".join(f"PRAGMA add_parquet_key('{key.id}', '{b64encode(key.parquet).decode()}');\n" for key in keys)
    return f"-- Secret: these keys open the backups.\n{pragmas}" if keys else ""


def _documents(plan: RestorePlan, moment: Moment) -> str:
    shown, empty = f"{_SHOWN}, document", f"{_EMPTY}, ''::VARCHAR AS document"
    return _view(plan, moment, "documents", shown, empty, "", "document IS NOT NULL")


def _attachments(plan: RestorePlan, moment: Moment) -> str:
    # An attachment of a document is compared by the document's id and its name, with U+001E between them.
    shown = f"replace(id, chr(30), '/') AS {_SHOWN}, size, lower(hex(sha256)) AS sha256"
    empty = f"{_EMPTY}, 0::BIGINT AS size, ''::VARCHAR AS sha256"
    return _view(plan, moment, "attachments", shown, empty, " AND part = 0", "sha256 IS NOT NULL")


def _view(plan: RestorePlan, moment: Moment, name: str, shown: str, nothing: str, one_row: str, alive: str) -> str:
    files = [(backup, backup.path(file.name)) for backup, file in plan.files if file.name.startswith(name)]
    if not files:
        return _NOTHING.format(name=name, nothing=nothing)
    before, rows = "", rows_in([path for _, path in files])
    if any(backup.key for backup in plan.chain):
        rows = f"{name}_rows"
        before = _COPY.format(rows=rows, selects=" UNION ALL BY NAME ".join(_opened(*each) for each in files))
    if name == "attachments" and any(backup.manifest.format > 1 for backup in plan.chain):
        rows = f"(SELECT * REPLACE (coalesce(owner || chr(30), '') || id AS id) FROM {rows})"
    return before + _VIEW.format(
        name=name, shown=shown, key=_KEY, rows=rows, etag=moment.etag, one_row=one_row, alive=alive
    )


def _opened(backup: Backup, path: Path) -> str:
    key = f", encryption_config = {{footer_key: '{backup.key.id}'}}" if backup.key else ""
    return f"SELECT * FROM read_parquet([{quoted(path)}], hive_partitioning = false{key})"
