"""`muniment restore`: into a new folder, onto a server, or into an existing database of either."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from muniment.backup.moment import RestorePoint
from muniment.backup.plan import RestorePlan
from muniment.backup.restore import Restored
from muniment.backup.restore import dry_run as told_only
from muniment.backup.restore_into import check_policy
from muniment.backup.selection import Selection
from muniment.cli.complete import policies
from muniment.cli.keyring import OpeningOptions
from muniment.cli.options import (
    JobOutput,
    KeyOptions,
    Keys,
    LimitOptions,
    PlainHttp,
    Source,
    Yes,
    is_url,
    named,
    path_of,
    place_of,
)
from muniment.cli.output import count_text, size_text
from muniment.cli.point import PartOptions, PointOptions
from muniment.cli.report import Line, Row, facts, note_lines, notes, row
from muniment.cli.restore_into import Into, into_folder
from muniment.cli.state import encryption_row, restored_rows
from muniment.errors import InvalidInput
from muniment.maintenance import MaintenanceActions
from muniment.progress import Progress
from muniment.security.encryption import EncryptionKey, given_key

if TYPE_CHECKING:
    from muniment.client import DocumentStore


@dataclass(frozen=True, slots=True)
class ExistingOptions:
    """How to restore into a database that exists already."""

    on_conflict: Annotated[
        str | None,
        typer.Option(
            "--on-conflict",
            metavar="POLICY",
            autocompletion=policies,
            help="Restore into an existing database: skip, overwrite or fail where something differs.",
        ),
    ] = None
    other_database: Annotated[
        bool,
        typer.Option(
            "--other-database", metavar="", help="With --on-conflict: the backups may be of another database."
        ),
    ] = False


@dataclass(frozen=True, slots=True)
class NewOptions:
    """How to make a new database."""

    defrag: Annotated[
        bool, typer.Option("--defrag", metavar="", help="Rewrite the new database file without gaps.")
    ] = False
    new_id: Annotated[
        bool,
        typer.Option(
            "--new-id", metavar="", help="Make another database of it, with an id and a folder of backups of its own."
        ),
    ] = False
    new_key_file: Annotated[
        Path | None,
        typer.Option(
            "--new-key-file",
            parser=path_of,
            metavar="FILE",
            help="Encrypt the new database with this key instead.",
        ),
    ] = None
    in_clear: Annotated[
        bool,
        typer.Option("--in-clear", metavar="", help="Do not encrypt the new database."),
    ] = False

    @property
    def given(self) -> bool:
        """Whether any of them says something."""
        return self.defrag or self.new_id or self.in_clear or self.new_key_file is not None

    def key(self, encryption: KeyOptions) -> EncryptionKey | None:
        """The key of the new database, None for none; raises `InvalidInput` for two answers."""
        if self.in_clear and self.new_key_file:
            raise InvalidInput("--in-clear and --new-key-file exclude each other", "give one of them")
        if self.in_clear:
            return None
        return given_key(None, self.new_key_file) if self.new_key_file else encryption.key()

    def key_for_server(self, encryption: KeyOptions) -> EncryptionKey | None:
        """The same where a server makes it, which opens the backups with the key of the new database alone."""
        if (self.in_clear or self.new_key_file) and encryption.given:
            other = "--in-clear" if self.in_clear else "--new-key-file"
            raise InvalidInput(
                f"a server opens backups with the key of the new database, so {other} does not go with --key-file",
                "restore with --key-file, and give it another key afterwards: muniment encryption rotate --url",
            )
        return self.key(encryption)


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """The server that restores, and how it names what it makes."""

    url: Annotated[
        str | None, typer.Option("--server", metavar="URL", help="Have this server restore it, as a new database.")
    ] = None
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            parser=named("the name in --name"),
            metavar="NAME",
            help="With --server: its name, if not the backup's.",
        ),
    ] = None
    location: Annotated[
        str | None, typer.Option("--location", metavar="FOLDER", help="With --server: where its files go.")
    ] = None
    plain_http: PlainHttp = False


def restore(
    source: Source,
    *,
    target: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="FOLDER|URL",
            help="The new database: a new folder or URL/databases/NAME; an existing one with --on-conflict.",
        ),
    ] = None,
    moment: PointOptions,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", metavar="", help="Print what would be done, and write nothing.")
    ] = False,
    part: PartOptions,
    copies: Annotated[
        list[Path],
        typer.Option(
            "--copy",
            parser=place_of,
            metavar="PLACE",
            help="Another place with these backups, for what is damaged or missing in SOURCE; may be repeated.",
        ),
    ] = [],  # noqa: B006 - typer makes a new one
    existing: ExistingOptions,
    new: NewOptions,
    server: ServerOptions,
    encryption: KeyOptions,
    opening: OpeningOptions,
    pace: LimitOptions,
    keys: Keys,
    yes: Yes = False,
    out: JobOutput,
) -> None:
    """Make a new database from the backups in a folder, or bring back into one what was lost or changed.

    It is the newest state, or the last one at or before the moment that is named; a transaction is never split. Every
    file is checked against its SHA-256 before it is used and the whole against the fingerprint in the manifest, also
    when only collections or prefixes are wanted, but not for single ids. The new folder appears when all of that is
    true and it is on disk, or not at all.

    An existing database is never written to, unless --on-conflict says how. Then the moment, or the part of it that is
    selected, is compared with the database in --to or on the server, the difference is printed, and what the policy
    says is written as one transaction: skip adds what is missing, overwrite also puts back what was changed and deletes
    what was not there, and fail does nothing if there is any of that. --dry-run only prints the difference. Before all
    of a database is overwritten, a terminal is asked, and anything else has to say --yes.

    With --key-file the new database is encrypted with that key; an existing one is opened with it unless it is in
    clear, and so are backups that are encrypted for it. --new-key-file gives the new database another key,
    --in-clear none.

    With --copy, which `muniment copy` makes, each file is read from the first place that has it whole, and it is said
    what was read elsewhere.

    With a URL in --to, or --server, SOURCE, --copy and --location are paths on the server's machine, and the server
    goes on when this command is stopped. The key in --key-file or --new-key-file goes there, over https or to this
    machine. It opens the backups of a database that had it, too; what opens others is in the settings of the server.

    $ muniment restore /mnt/backups/shop --to shop-restored
    $ muniment restore backups --at 2026-11-22T17:18:03Z --to earlier --dry-run
    $ muniment restore backups --id orders/830 --to shop --on-conflict=skip
    $ muniment restore /mnt/backups/shop --to http://127.0.0.1:8080/databases/shop-restored
    $ muniment restore /mnt/backups/shop --server URL --name shop --id orders/830 --on-conflict=overwrite --dry-run
    """
    to, server = _target(target, server)
    _check_place(to, server, keys, dry_run=dry_run)
    wanted = _Wanted(source, moment.point(), part.selection(), encryption, opening, tuple(copies), pace)
    if existing.on_conflict is not None:
        _check_existing(new, server)
        if server.url is not None:
            encryption.check_for_server()
        into = Into(
            *(str(source), wanted.point, wanted.selection),
            *(to, server.url, server.name),
            check_policy(existing.on_conflict),
            other_database=existing.other_database,
            dry_run=dry_run,
            yes=yes,
            key=encryption.key() if server.url is None else None,
            keyring=opening.keyring(encryption) if server.url is None else opening.for_server(),
            copies=tuple(map(str, copies)),
            limits=pace.here if server.url is None else pace.limits,
        )
        _into_database(into, keys, out)
    elif existing.other_database:
        raise InvalidInput(
            "--other-database is for restoring into an existing database", "give --on-conflict too, or leave it out"
        )
    elif server.url is not None:
        opening.for_server()
        if dry_run:
            _plan_on_server(wanted, keys.store(server.url), server, new, out)
        else:
            _new_on_server(wanted, keys.store(server.url), server, new, out)
    elif to is None or dry_run:
        _show(told_only(wanted.plan(), str(source)), out)
    else:
        _new_folder(wanted, to, new, out)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is to be restored, and what opens it."""

    source: Path
    point: RestorePoint
    selection: Selection | None
    encryption: KeyOptions
    opening: OpeningOptions
    copies: tuple[Path, ...]
    pace: LimitOptions

    def plan(self) -> RestorePlan:
        """Which backups in the folder that is."""
        keyring = self.opening.keyring(self.encryption)
        return MaintenanceActions.plan_restore(self.source, point=self.point, keyring=keyring, copies=self.copies)


def _target(to: str | None, server: ServerOptions) -> tuple[Path | None, ServerOptions]:
    """The folder in --to; a URL there is the same as --server and --name."""
    if to is None or not is_url(to):
        return (None if to is None else path_of(to)), server
    if server.url is not None or server.name is not None:
        raise InvalidInput("--to names a server, and --server and --name do too", "give one of them")
    from muniment.client import split_url  # here: its HTTP client loads longer than most commands run

    url, name = split_url(to)
    if name is None:
        raise InvalidInput(f"{to} names no database", "give URL/databases/NAME, or a folder")
    return None, replace(server, url=url, name=name)


def _check_place(to: Path | None, server: ServerOptions, keys: Keys, *, dry_run: bool) -> None:
    if server.url is not None and to is not None:
        raise InvalidInput("--to and --server each say where to restore to", "give one of them")
    if server.url is None and (server.name is not None or server.location is not None):
        raise InvalidInput("--name and --location are for a server", "give --server URL, or --to FOLDER alone")
    if server.url is None and to is None and not dry_run:
        raise InvalidInput("no place to restore to was named", "give --to FOLDER, or --server URL")
    if server.url is None and server.plain_http:
        raise InvalidInput("--plain-http is for a server", "leave it out, or give --server URL")
    if server.url is None:
        keys.check_unused()


def _check_existing(new: NewOptions, server: ServerOptions) -> None:
    if new.given or server.location is not None:
        raise InvalidInput(
            "--defrag, --new-id, --new-key-file, --in-clear and --location are for a new database",
            "leave out --on-conflict, or them",
        )


def _into_database(into: Into, keys: Keys, out: JobOutput) -> None:
    into.check_meant()
    if into.server is None:
        into_folder(into, out)
        return
    from muniment.cli.remote import into_server  # here: its HTTP client loads longer than most commands run

    if not into.name:
        raise InvalidInput("no database of the server to restore into was named", "give --name NAME")
    into_server(into, keys, out)


def _plan_on_server(
    wanted: _Wanted, store: DocumentStore, server: ServerOptions, new: NewOptions, out: JobOutput
) -> None:
    with store:
        plan = store.admin.plan_restore(
            str(wanted.source),
            server.name,
            point=wanted.point,
            selection=wanted.selection,
            copies=list(map(str, wanted.copies)),
            require_signature=wanted.opening.require_signature,
            allow_clear=wanted.opening.allow_clear,
            key=new.key_for_server(wanted.encryption),
            plain_http=server.plain_http,
        )
    _show(plan, out)


def _new_on_server(
    wanted: _Wanted, store: DocumentStore, server: ServerOptions, new: NewOptions, out: JobOutput
) -> None:
    from muniment.cli.remote import NewDatabase, restore_on_server  # here too

    key = new.key_for_server(wanted.encryption)
    made = NewDatabase(server.name, server.location, new.defrag, new.new_id, key, server.plain_http)
    restore_on_server(
        store,
        str(wanted.source),
        made,
        out,
        wanted.point,
        wanted.selection,
        copies=list(map(str, wanted.copies)),
        limits=wanted.pace.limits,
        require_signature=wanted.opening.require_signature,
        allow_clear=wanted.opening.allow_clear,
    )


def _new_folder(wanted: _Wanted, to: Path, new: NewOptions, out: JobOutput) -> None:
    with out.job(progress := Progress()):
        plan = wanted.plan()
        restored = MaintenanceActions.restore(
            plan,
            to,
            selection=wanted.selection,
            defrag=new.defrag,
            new_id=new.new_id,
            key=new.key(wanted.encryption),
            progress=progress,
            limits=wanted.pace.here,
        )
    encrypted = new.key(wanted.encryption)
    _show_restored(plan, restored, to, out, encrypted, part=wanted.selection is not None)


def _show_restored(
    plan: RestorePlan, restored: Restored, to: Path, out: JobOutput, key: EncryptionKey | None, *, part: bool
) -> None:
    folder = str(restored.backup.folder)
    rows = [
        facts(database=str(to)),
        row("from", folder, backup=folder),
        *restored_rows(plan, restored.moment, restored.fingerprint, restored.seconds),
        *([encryption_row(key)] if key else []),
        notes(restored.notes),
    ]
    done = "Restored a part of" if part else "Restored"
    out.emit(f"{done} {plan.manifest.database.name} to {to}", rows)


def _show(plan: dict[str, Any], out: JobOutput) -> None:
    out.emit(f"A restore from {plan['source']} would read", [Row(plan, _plan_lines(plan))])


def _plan_lines(plan: dict[str, Any]) -> Iterator[Line]:
    for backup in plan["backups"]:
        yield PurePath(backup["backup"]).name, count_text(len(backup["files"]), "file")
        for file in backup["files"]:
            yield f"  {file['name']}", f"  {count_text(file['rows'], 'row')}, {size_text(file['bytes'])}"
    files = sum(len(backup["files"]) for backup in plan["backups"])
    yield "in all", f"{count_text(files, 'file')}, {count_text(plan['rows'], 'row')}, {size_text(plan['file_bytes'])}"
    yield "stops at", f"{plan['time']}, etag {plan['etag']:,}"
    yield from note_lines(plan.get("notes") or ())
