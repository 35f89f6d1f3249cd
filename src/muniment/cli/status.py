"""`muniment status`: could the database be recovered?"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from muniment.backup.recoverability import DestinationState, Proof, Recoverability
from muniment.cli.options import KeyOptions, Keys, Output, ServerDatabase, path_of
from muniment.cli.output import count_text, seconds_text, size_text
from muniment.cli.report import Line, Row
from muniment.database import DocumentDatabase
from muniment.duration import duration_text
from muniment.errors import BackupNotFound, DamagedBackup, InvalidInput
from muniment.security.encryption import EncryptionKey

if TYPE_CHECKING:
    from muniment.client import DocumentStore

MOST_SPANS: Final = 3


def status(
    folder: Annotated[
        str | None, typer.Argument(metavar="FOLDER|URL", help="The folder of the database, or the URL of a server.")
    ] = None,
    *,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="Ask this server; it may end in /databases/NAME.")
    ] = None,
    database: ServerDatabase = None,
    encryption: KeyOptions,
    keys: Keys,
    out: Output,
) -> None:
    """Show how far a database could be recovered, and what to do next.

    For each folder that it was backed up to: from when to when it can be restored, the last backup, when that was last
    verified and rehearsed, and what is wrong there. Only manifests and records are read; verify and rehearse read the
    data. Another process may be using the database. Exit code 3 says that the last folder it was backed up to is not
    there, 5 that something in that folder is missing or damaged.

    $ muniment status shop
    $ muniment status http://127.0.0.1:8080 --database shop --json | jq -r .next
    """
    if (folder is None) == (url is None):
        raise InvalidInput("no database was named", "give either its FOLDER or --url URL")
    if folder is not None and folder.lower().startswith(("http://", "https://")):
        folder, url = None, folder
    if folder is not None and database is not None:
        raise InvalidInput("--database is for a server", "give its URL instead of FOLDER, or leave out --database")
    key_file = ["--key-file", str(encryption.key_file)] if encryption.key_file else []
    if folder is not None:
        keys.check_unused()
        found = _of_folder(path_of(folder), encryption.key())
    else:
        encryption.check_for_server()
        found = _of_server(keys.store(url or "", database))
    found = _with_secrets(found, shlex.join(key_file), local=url is None)
    where = shlex.join(["--url", url, "--database", found.name] if url else [str(folder), *key_file])
    new = _new_folder(Path(folder)) if folder is not None else f"Backups/{found.name.strip('<>')}"
    found = _addressed(found, where, shlex.quote(new))
    lines = [*_history_lines(found), *(line for state in found.destinations for line in _lines(state))]
    lines = [line for line in lines if line != ("  next", found.next)]
    lines.append(("next", found.next or "nothing: all of it is backed up, and proven"))
    held = f"was backed up to {count_text(len(found.destinations), 'folder')}"
    held = held if found.destinations else "has no backup of its own yet"
    out.emit(f"{found.name} at etag {found.etag:,} {held}", [Row(msgspec.to_builtins(found), lines)])
    for state in found.destinations[:1]:
        if state.problems:
            raise typer.Exit(DamagedBackup.exit_code if state.there else BackupNotFound.exit_code)


def _history_lines(found: Recoverability) -> Iterator[Line]:
    """Whether every transaction is kept for the next backup, and what that costs."""
    if (history := found.history) is None:
        yield "history", "not kept: only the ends of backups can be restored; `muniment settings` switches it on"
    else:
        cost = f"{count_text(history.revisions, 'superseded revision')} with {size_text(history.bytes)}"
        yield "history", f"kept, every state since etag {history.since:,}; {cost} in the database"


def _new_folder(database: Path) -> str:
    """Where a database can be backed up to if no folder is known: one beside it that is not there yet."""
    name = f"{database.resolve()}-backups"
    return next(path for number in count(1) if not os.path.lexists(path := name if number == 1 else f"{name}-{number}"))


def _with_secrets(found: Recoverability, key_file: str, *, local: bool) -> Recoverability:
    """The same with the key that was given here; a server is sent no secret, for it has its own."""

    def whole(text: str | None) -> str | None:
        if not text:
            return text
        before, backup, command = text.partition("muniment backup ")
        if backup:
            command = command.replace(" --key-file FILE", "") if key_file or not local else command
            command = command if local else command.replace(" --passphrase-file FILE", "")
            return before + backup + command
        return text.replace("--key-file FILE", key_file or "--key-file FILE")

    return _with_next(found, whole)


def _addressed(found: Recoverability, where: str, new: str) -> Recoverability:
    """The same with commands that name the database as this command did, and a `new` folder."""

    def whole(text: str | None) -> str | None:
        return text and text.replace("muniment backup …", f"muniment backup {where}").replace(
            "--dest FOLDER", f"--dest {new}"
        )

    return _with_next(found, whole)


def _with_next(found: Recoverability, whole: Callable[[str | None], str | None]) -> Recoverability:
    states = [msgspec.structs.replace(state, next=whole(state.next)) for state in found.destinations]
    return msgspec.structs.replace(found, next=whole(found.next), destinations=states)


def _of_folder(folder: Path, key: EncryptionKey | None) -> Recoverability:
    with DocumentDatabase(folder, create=False, read_only=True, key=key) as opened:
        return opened.maintenance.recoverability()


def _of_server(store: DocumentStore) -> Recoverability:
    with store:
        return store.admin.recoverability()


def _lines(state: DestinationState) -> Iterator[Line]:
    yield state.destination, f"{count_text(state.backups, 'backup')} with {size_text(state.size)}"
    reach = state.restorable
    if len(reach) > MOST_SPANS:
        more = f"{len(reach) - MOST_SPANS:,} more before these"
        yield "  restorable", f"{more}: see muniment inspect {shlex.quote(state.destination)}"
    for span in reach[-MOST_SPANS:]:
        yield "  restorable", str(span)
    if last := state.last_backup:
        since = "" if state.changes_since is None else f", {count_text(state.changes_since, 'change')} since"
        yield "  last backup", f"{last.completed} ({last.kind}: {last.reason}, {duration_text(last.age)} ago){since}"
    yield "  verified", _proof_text(state.last_verification)
    yield "  rehearsed", _proof_text(state.last_rehearsal)
    for folder in state.unfinished:
        yield "  unfinished", f"{folder}; it may be deleted if no backup is running"
    for text in state.notes:
        yield "  note", text
    for problem in state.problems:
        yield "  problem", problem
    if state.next:
        yield "  next", state.next


def _proof_text(proof: Proof | None) -> str:
    if proof is None:
        return "never"
    older = "" if proof.of_last else f", of an earlier backup (etag {proof.etag:,})"
    return f"{proof.completed} in {seconds_text(proof.seconds)}{older}{f': {proof.problem}' if proof.problem else ''}"
