"""`muniment inspect`: what is in a folder of backups, without restoring anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from muniment.cli.keyring import OpeningOptions
from muniment.cli.options import Dest, JobOutput, KeyOptions, named
from muniment.cli.point import PointOptions
from muniment.errors import InvalidInput

if TYPE_CHECKING:
    from muniment.security.keyring import Keyring


def inspect(
    dest: Dest,
    *,
    id: Annotated[
        str | None,
        typer.Option(
            "--id",
            parser=named("the id"),
            metavar="ID",
            help="Every version of this document or attachment instead.",
        ),
    ] = None,
    content: Annotated[bool, typer.Option("--content", metavar="", help="With --id: print the documents too.")] = False,
    diff: Annotated[
        tuple[str, str] | None,
        typer.Option("--diff", metavar="POINT POINT", help="What was added, changed and deleted between two moments."),
    ] = None,
    query: Annotated[
        str | None, typer.Option("--query", metavar="SQL", help="The result of this SELECT, run by DuckDB.")
    ] = None,
    sql_view: Annotated[
        bool, typer.Option("--sql-view", metavar="", help="Print SQL that makes views of a moment, for DuckDB.")
    ] = False,
    moment: PointOptions,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", min=1, help="With --query: at most so many rows; 1000 if not given."),
    ] = None,
    encryption: KeyOptions,
    opening: OpeningOptions,
    out: JobOutput,
) -> None:
    """List the backups in a folder as chains, or look into them without restoring anything.

    A chain is a full backup and the incrementals that continue it. A lineage is one history of the database: a restore
    begins one, with the state of the lineage above it. "restorable" says from where to where every transaction of it
    can be restored, and the single moments that can.

    --id prints every version of one document; with --content, and with --json, the documents are there too.
    `muniment get` prints the one of a moment.

    --diff compares two moments, each of them an etag (830 or etag:830), a time (2026-11-22T17:18:03Z), the name of a
    backup, or newest. With --id it prints how that document differs, line by line.

    --query runs one SELECT over the views documents and attachments of the newest state, or of the one that --at,
    --etag or --backup names. Their columns are id, collection, etag, modified, metadata and document, or size and
    sha256. Every file is compared with its SHA-256 first. It needs DuckDB: pip install 'muniment\\[duckdb]'.
    --sql-view prints SQL that makes such views in a DuckDB of your own; a glob over the files of a chain would count
    what was replaced and deleted since. Of encrypted backups it holds the keys of their files.

    $ muniment inspect backups
    $ muniment inspect backups --id orders/830
    $ muniment inspect backups --id orders/830 --json | jq -r '.versions[-1].document'
    $ muniment inspect backups --diff 830 newest
    $ muniment inspect backups --diff "yesterday 14:00" newest --id orders/830
    $ muniment inspect backups --query "SELECT id, document->>'$.Company' FROM documents" --at 2026-11-22T17:18Z
    $ muniment inspect backups --sql-view > views.sql; duckdb -init views.sql
    """
    questions = {"--id": id if diff is None else None, "--diff": diff, "--query": query, "--sql-view": sql_view or None}
    asked = [name for name, value in questions.items() if value is not None]
    if len(asked) > 1:
        raise InvalidInput(f"{' and '.join(asked)} are different questions", "ask one of them")
    points = {"--at": moment.at, "--etag": moment.etag, "--backup": moment.backup, "--limit": limit}
    of_moment = query is not None or sql_view
    for option in (name for name, value in points.items() if value is not None and not of_moment):
        raise InvalidInput(f"{option} is for --query and --sql-view", "give --query SQL, or leave it out")
    if moment.lineage is not None and not of_moment and diff is None:
        raise InvalidInput("--lineage is for --query, --sql-view and --diff", "ask for one of them, or leave it out")
    if content and (id is None or diff is not None):
        raise InvalidInput("--content is for --id", "give --id ID, or leave it out")
    from muniment.backup.query import LIMIT  # here: completing a line needs none of it
    from muniment.cli.difference import show_differences
    from muniment.cli.sql import show_answer, show_view
    from muniment.cli.version import show_version_difference

    keyring = opening.keyring(encryption)
    if query is not None:
        show_answer(dest, query, moment.point(), keyring, limit or LIMIT, out)
    elif sql_view:
        show_view(dest, moment.point(), keyring, out)
    elif diff is None:
        _show_folder(dest, id, keyring, out, content=content)
    elif id is None:
        show_differences(dest, *diff, moment, keyring, out)
    else:
        show_version_difference(dest, id, diff, moment, keyring, out)


def _show_folder(dest: Path, id: str | None, keyring: Keyring, out: JobOutput, *, content: bool) -> None:
    from muniment.backup.repository import backups  # here too
    from muniment.backup.restore_plan import plan_restore
    from muniment.cli.listing import show_backups
    from muniment.cli.version import show_versions

    found = backups(dest, keyring)
    if not found:
        plan_restore(found, str(dest))  # which says why there is nothing to list
    if id is None:
        show_backups(dest, found, out)
    else:
        show_versions(dest, id, found, out, content=content)
