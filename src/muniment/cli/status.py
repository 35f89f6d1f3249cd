"""`muniment status`: could the database be recovered?"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from muniment.cli.options import (
    KeyOptions,
    Keys,
    Output,
    ServerDatabase,
    database_or_backups,
    folder_or_url,
    is_url,
)
from muniment.cli.output import count_text, seconds_text, size_text
from muniment.cli.profile import URL
from muniment.cli.report import Line, Row, listed
from muniment.duration import duration_of, duration_text
from muniment.errors import BackupNotFound, DamagedBackup, InvalidInput

if TYPE_CHECKING:
    from muniment.backup.alerts import Alert, Policy
    from muniment.backup.recoverability import DestinationState, Proof, Recoverability
    from muniment.security.encryption import EncryptionKey

MOST_SPANS: Final = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """After how long what is wrong: with any of them, the exit code is that of a plug-in for monitoring."""

    older: Annotated[
        str | None,
        typer.Option("--fail-if-older", metavar="TIME", help="Critical, if the last backup is older: 25h."),
    ] = None
    unverified: Annotated[
        str | None,
        typer.Option("--fail-if-unverified", metavar="TIME", help="A warning, if not verified for so long: 7d."),
    ] = None
    unrehearsed: Annotated[
        str | None,
        typer.Option("--fail-if-unrehearsed", metavar="TIME", help="A warning, if not rehearsed for so long: 30d."),
    ] = None

    @property
    def given(self) -> bool:
        """Whether any is."""
        return any(getattr(self, each.name) is not None for each in fields(self))

    def policy(self) -> Policy:
        """What they say; raises `InvalidInput`."""
        from muniment.backup.alerts import Policy

        said = {each.name: getattr(self, each.name) for each in fields(self)}
        return Policy(
            **{name: None if text is None else duration_of(text, f"--fail-if-{name}") for name, text in said.items()}
        )


def status(
    folder: Annotated[
        str | None, typer.Argument(metavar="FOLDER|URL", help="The folder of the database, or the URL of a server.")
    ] = None,
    *,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="Ask this server; it may end in /databases/NAME.")
    ] = None,
    database: ServerDatabase = None,
    limits: Limits,
    encryption: KeyOptions,
    keys: Keys,
    out: Output,
) -> None:
    """Show how far a database could be recovered, and what to do next.

    For each folder that it was backed up to: from when to when it can be restored, the last backup, when that was last
    verified and rehearsed, and what is wrong there. Only manifests and records are read; verify and rehearse read the
    data. Another process may be using the database. Exit code 3 says that the last folder it was backed up to is not
    there, 5 that something in that folder is missing or damaged, or was when it was last verified or rehearsed. FOLDER
    may also be one with backups.

    With any of --fail-if-…, it is a plug-in for monitoring: the first line and the exit code say that all is well (0),
    there is a warning (1), something is critical (2), or that this cannot be found out (3).

    $ muniment status shop
    $ muniment status shop --fail-if-older 25h --fail-if-unverified 7d --fail-if-unrehearsed 30d
    $ muniment status http://127.0.0.1:8080/databases/shop --json | jq -r .next
    """
    if folder is None or is_url(folder) or url is not None:
        _, url = folder_or_url(folder, url)
        folder = None
    if folder is None and url is None:
        raise InvalidInput("no database was named", f"give its FOLDER or URL/databases/NAME; {URL} names a server too")
    if folder is not None and database is not None:
        raise InvalidInput("--database is for a server", "give its URL instead of FOLDER, or leave out --database")
    from muniment.backup.alerts import alerts  # here: completing a line needs none of it
    from muniment.storage import engines

    policy, now, address = limits.policy(), datetime.now(UTC), ""
    if folder is not None:
        keys.check_unused()
        place = database_or_backups(folder)
        stored = "://" in folder and engines.is_folder(place)  # where there are no databases
        held = [] if not stored and engines.exists(place) else _of_backups(place)
        if stored and not held:
            raise BackupNotFound(f"there are no backups in {place}", "give the prefix that they were written to")
        if held:
            wrong = [alert for each in held for alert in alerts(each, policy, now)]
            rows = [Row(msgspec.to_builtins(each), _all_lines(each)) for each in held]
            about = " and ".join(f"{each.name} at etag {each.etag:,}" for each in held)
            told = rows[0] if len(rows) == 1 else listed("databases", rows)
            _tell(f"{folder} has backups of {about}", told, wrong, limits, out)
            return _exit(held[0])
        found = _of_folder(place, encryption.key())
        wrong = alerts(found, policy, now)
    else:
        encryption.check_for_server()
        with keys.store(url or "", database) as store:
            found, address = store.admin.recoverability(), store.url
            wrong = store.admin.alerts(policy) if limits.given else []
    key_file = ["--key-file", str(encryption.key_file)] if encryption.key_file else []
    found = _with_secrets(found, shlex.join(key_file), local=url is None)
    where = shlex.join(["--url", address, "--database", found.name] if url else [str(folder), *key_file])
    new = (
        new_folder(Path(folder))
        if folder is not None and "://" not in str(folder)
        else f"Backups/{found.name.strip('<>')}"
    )
    found = _addressed(found, where, shlex.quote(new))
    lines = [*_history_lines(found), *(line for line in _all_lines(found) if line != ("  next", found.next))]
    lines.append(("next", found.next or "nothing: all of it is backed up, and proven"))
    did = f"was backed up to {count_text(len(found.destinations), 'folder')}"
    did = did if found.destinations else "has no backup of its own yet"
    _tell(f"{found.name} at etag {found.etag:,} {did}", Row(msgspec.to_builtins(found), lines), wrong, limits, out)
    return _exit(found)


def _tell(headline: str, told: Row, wrong: Sequence[Alert], limits: Limits, out: Output) -> None:
    """Print it; where limits were given, as a plug-in for monitoring does, which ends with that one's exit code."""
    if not limits.given:
        out.emit(headline, [told])
        return
    from muniment.backup.alerts import worst

    severity = worst(wrong)
    state = "OK" if severity is None else severity.upper()
    text = "; ".join(f"{alert.database}: {alert.text}" for alert in wrong) or headline
    lines = [(alert.severity, f"{alert.condition} {alert.destination}".rstrip()) for alert in wrong]
    alerted = Row({"state": state.lower(), "alerts": msgspec.to_builtins(list(wrong))}, lines)
    out.emit(f"{state} - {' '.join(text.split())}".replace("|", "/"), [alerted, told])
    raise typer.Exit({None: 0, "warning": 1, "critical": 2}[severity])


def _exit(found: Recoverability) -> None:
    for state in found.destinations[:1]:
        proofs = state.last_verification, state.last_rehearsal
        if state.problems or any(proof and proof.problem for proof in proofs):
            raise typer.Exit(DamagedBackup.exit_code if state.there else BackupNotFound.exit_code)


def _all_lines(found: Recoverability) -> list[Line]:
    return [line for state in found.destinations for line in _lines(state)]


def _history_lines(found: Recoverability) -> Iterator[Line]:
    """Whether every transaction is kept for the next backup, and what that costs."""
    if (history := found.history) is None:
        yield "history", "not kept: only the ends of backups can be restored; `muniment settings` switches it on"
    else:
        cost = f"{count_text(history.revisions, 'superseded revision')} with {size_text(history.bytes)}"
        yield "history", f"kept, every state since etag {history.since:,}; {cost} in the database"


def new_folder(database: Path) -> str:
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

    return _with_next(found, lambda text: text and addressed(text, where, new))


def addressed(text: str, where: str, new: str) -> str:
    """Advice with commands that say where the database is, and a `new` folder."""
    return text.replace("muniment backup …", f"muniment backup {where}").replace("--dest FOLDER", f"--dest {new}")


def _with_next(found: Recoverability, whole: Callable[[str | None], str | None]) -> Recoverability:
    states = [msgspec.structs.replace(state, next=whole(state.next)) for state in found.destinations]
    return msgspec.structs.replace(found, next=whole(found.next), destinations=states)


def _of_folder(folder: Path, key: EncryptionKey | None) -> Recoverability:
    from muniment.database import DocumentDatabase

    with DocumentDatabase(folder, create=False, read_only=True, key=key) as opened:
        return opened.maintenance.recoverability()


def _of_backups(folder: Path) -> list[Recoverability]:
    from muniment.backup.recoverability import of_backups
    from muniment.storage.base import system_clock

    return of_backups(folder, system_clock()) if folder.is_dir() else []


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
