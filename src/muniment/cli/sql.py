"""What `muniment inspect --query` prints."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from muniment.backup.moment import RestorePoint
from muniment.backup.query import Answer
from muniment.backup.sql_view import sql_view
from muniment.cli.options import JobOutput
from muniment.cli.output import count_text, write
from muniment.cli.state import moment_text, time_text
from muniment.maintenance import MaintenanceActions
from muniment.progress import Progress
from muniment.security.keyring import Keyring

WIDEST: Final = 60  # characters of a value; --json has all

_json = msgspec.json.Encoder(decimal_format="number", enc_hook=str)


def show_answer(source: Path, sql: str, point: RestorePoint, keyring: Keyring, limit: int, out: JobOutput) -> None:
    """Print the rows that a query gave, as a table or as one JSON object."""
    progress = Progress()
    with out.job(progress):
        answer = MaintenanceActions.query(source, sql, point=point, limit=limit, keyring=keyring, progress=progress)
    write(_object(source, answer) if out.json else _table(answer))


def show_view(source: Path, point: RestorePoint, keyring: Keyring, out: JobOutput) -> None:
    """Print the SQL that makes views of a moment."""
    progress = Progress()
    with out.job(progress):
        text = sql_view(MaintenanceActions.plan_restore(source, point=point, keyring=keyring), str(source), progress)
    write(text.encode(errors="surrogateescape"))


def _object(source: Path, answer: Answer) -> bytes:
    facts = {
        "folder": str(source).encode(errors="surrogateescape").decode(errors="backslashreplace"),
        "etag": answer.moment.etag,
        "time": time_text(answer.moment.modified),
        "columns": answer.columns,
        "rows": answer.rows,
        "whole": answer.whole,
    }
    return _json.encode(facts) + b"\n"


def _table(answer: Answer) -> bytes:
    rows = [[_cell(value) for value in row] for row in answer.rows]
    columns = [_cell(name) for name in answer.columns]
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    lines = [_line(columns, widths), _line(["-" * width for width in widths], widths)]
    lines += [_line(row, widths) for row in rows]
    count = count_text(len(rows), "row")
    more = "" if answer.whole else "; there are more, --limit N shows N"
    lines += ["", f"{count} at {moment_text(answer.moment)}{more}"]
    return "".join(f"{line}\n" for line in lines).encode(sys.stdout.encoding, "backslashreplace")


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def _cell(value: Any) -> str:
    """A value on one line, cut when it is long."""
    text = "" if value is None else value if isinstance(value, str) else str(value)
    text = "".join(character if character.isprintable() else " " for character in text[: WIDEST + 1])
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"
