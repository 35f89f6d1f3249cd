"""`muniment status`: could the database be recovered?"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from muniment.backup.recoverability import DestinationState, Proof, Recoverability
from muniment.cli.output import Json, count_text, emit, path_of, seconds_text, size_text
from muniment.database import DocumentDatabase
from muniment.errors import InvalidInput

MOST_INTERVALS: Final = 3


def status(
    folder: Annotated[
        Path | None,
        typer.Argument(parser=path_of, metavar="FOLDER", help="The folder of the database, if it is not on a server."),
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="Ask this server; it may end in /databases/NAME.")
    ] = None,
    database: Annotated[
        str | None,
        typer.Option("--database", metavar="NAME", help="Which database of the server; its system database if none."),
    ] = None,
    json: Json = False,
) -> None:
    """Show how far a database could be recovered, and what to do next.

    For each folder that it was backed up to: from when to when it can be restored, the last backup, when that was last
    verified and rehearsed, and what is wrong there. Only manifests and records are read; verify and rehearse read the
    data. Another process may be using the database.

    $ muniment status shop
    $ muniment status --url http://127.0.0.1:8080 --database shop --json | jq -r .next
    """
    if (folder is None) == (url is None):
        raise InvalidInput("it is not said which database is meant", "give either its FOLDER or --url URL")
    found = _of_folder(folder) if folder is not None else _of_server(url or "", database)
    where = shlex.join(["--url", url, "--database", found.name] if url else [str(folder)])
    found = _addressed(found, where)
    rows = [row for state in found.destinations for row in _rows(state)]
    rows = [row for row in rows if row != ("  next", found.next)]
    rows.append(("next", found.next or "nothing: all of it is backed up, and proven"))
    held = count_text(len(found.destinations), "folder")
    emit(f"{found.name} at etag {found.etag:,} was backed up to {held}", rows, msgspec.to_builtins(found), as_json=json)


def _addressed(found: Recoverability, where: str) -> Recoverability:
    """The same with commands that name the database as this command did."""

    def whole(text: str | None) -> str | None:
        return text and text.replace("muniment backup …", f"muniment backup {where}")

    states = [msgspec.structs.replace(state, next=whole(state.next)) for state in found.destinations]
    return msgspec.structs.replace(found, next=whole(found.next), destinations=states)


def _of_folder(folder: Path) -> Recoverability:
    with DocumentDatabase(folder, create=False, read_only=True) as opened:
        return opened.maintenance.recoverability()


def _of_server(url: str, database: str | None) -> Recoverability:
    from muniment.client import DocumentStore  # here: its HTTP client loads longer than most commands run

    with DocumentStore(url, database) as store:
        return store.admin.recoverability()


def _rows(state: DestinationState) -> Iterator[tuple[str, str]]:
    yield state.destination, f"{count_text(state.backups, 'backup')} with {size_text(state.size)}"
    reach = state.restorable
    if len(reach) > MOST_INTERVALS:
        yield "  restorable", f"from {reach[0].first} to {reach[-1].last}, {len(reach)} moments or spans: see inspect"
    for each in reach if len(reach) <= MOST_INTERVALS else ():
        yield "  restorable", f"at {each.last}" if each.first == each.last else f"from {each.first} to {each.last}"
    if last := state.last_backup:
        since = "" if state.changes_since is None else f", {count_text(state.changes_since, 'change')} since"
        yield "  last backup", f"{last.completed} ({last.kind}: {last.reason}, {_age_text(last.age)} ago){since}"
    yield "  verified", _proof_text(state.last_verification)
    yield "  rehearsed", _proof_text(state.last_rehearsal)
    for folder in state.unfinished:
        yield "  unfinished", f"{folder}; it may be deleted if no backup is running"
    for problem in state.problems:
        yield "  problem", problem
    if state.next:
        yield "  next", state.next


def _proof_text(proof: Proof | None) -> str:
    if proof is None:
        return "never"
    older = "" if proof.of_last else f", of an earlier backup (etag {proof.etag:,})"
    return f"{proof.completed} in {seconds_text(proof.seconds)}{older}{f': {proof.problem}' if proof.problem else ''}"


def _age_text(seconds: float) -> str:
    """A duration in its largest unit, as people say it."""
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            return count_text(int(seconds // size), unit)
    return count_text(int(seconds), "second")
