"""`muniment restore` and `verify`."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Annotated, Any, TypeAlias

import typer

from muniment.backup.dry_run import dry_run as told_only
from muniment.backup.restore import restore_backup
from muniment.backup.selection import Selection
from muniment.backup.verify import verify_backup
from muniment.cli.bar import job
from muniment.cli.into import Into, into_folder
from muniment.cli.output import Json, Quiet, Yes, count_text, emit, note_rows, path_of, size_text
from muniment.cli.point import (
    At,
    Collections,
    Etag,
    Ids,
    InLineage,
    Named,
    NewDatabase,
    Part,
    Prefixes,
    Utc,
    planned,
    point_of,
)
from muniment.cli.state import state_facts, state_rows
from muniment.errors import InvalidInput
from muniment.progress import Progress
from muniment.storage.base import system_clock

Source: TypeAlias = Annotated[
    Path,
    typer.Argument(
        parser=path_of, metavar="SOURCE", help="The folder that backups were written to, or one of them in it."
    ),
]


def restore(
    source: Source,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            parser=path_of,
            metavar="FOLDER",
            help="The new database's folder, missing or empty; with --on-conflict, that of one.",
        ),
    ] = None,
    at: At = None,
    etag: Etag = None,
    backup: Named = None,
    lineage: InLineage = None,
    utc: Utc = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", metavar="", help="Print what would be done, and write nothing.")
    ] = False,
    collection: Collections = [],  # noqa: B006 - typer never changes it
    id: Ids = [],  # noqa: B006
    id_prefix: Prefixes = [],  # noqa: B006
    on_conflict: Annotated[
        str | None,
        typer.Option(
            "--on-conflict",
            metavar="POLICY",
            help="Restore into an existing database: skip, overwrite or fail where something differs.",
        ),
    ] = None,
    other_database: Annotated[
        bool,
        typer.Option(
            "--other-database", metavar="", help="With --on-conflict: the backups may be of another database."
        ),
    ] = False,
    defrag: Annotated[
        bool, typer.Option("--defrag", metavar="", help="Rewrite the new database file without gaps.")
    ] = False,
    new_id: Annotated[
        bool,
        typer.Option("--new-id", metavar="", help="Make another database of it, for folders of backups of its own."),
    ] = False,
    server: Annotated[
        str | None, typer.Option("--server", metavar="URL", help="Have this server restore it, as a new database.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="With --server: its name, if not the backup's.")
    ] = None,
    location: Annotated[
        str | None, typer.Option("--location", metavar="FOLDER", help="With --server: where its files go.")
    ] = None,
    yes: Yes = False,
    json: Json = False,
    quiet: Quiet = False,
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

    With --server, SOURCE and --location are paths on the server's machine, and the server goes on with the restore
    when this command is stopped.

    $ muniment restore /mnt/backups/shop --to shop-restored
    $ muniment restore backups --at 2026-11-22T17:18:03Z --to earlier --dry-run
    $ muniment restore backups --id orders/830 --to shop --on-conflict=skip
    $ muniment restore /mnt/backups/shop --server http://127.0.0.1:8080 --name shop-restored
    $ muniment restore /mnt/backups/shop --server URL --name shop --id orders/830 --on-conflict=overwrite --dry-run
    """
    _check_place(to, server, name, location, dry_run=dry_run)
    point = point_of(at, etag, backup, lineage, utc=utc)
    part = Part(point=point, selection=Selection.of(tuple(collection), tuple(id), tuple(id_prefix)))
    if on_conflict is not None:
        if defrag or new_id or location is not None:
            raise InvalidInput(
                "--defrag, --new-id and --location are for a new database", "leave out --on-conflict, or them"
            )
        into = Into(str(source), to, server, name, on_conflict, other_database=other_database, dry_run=dry_run, yes=yes)
        _into_database(into, part, as_json=json, quiet=quiet)
    elif other_database:
        raise InvalidInput(
            "--other-database is for restoring into an existing database", "give --on-conflict too, or leave it out"
        )
    elif server is not None:
        new = NewDatabase(name, location, defrag=defrag, new_id=new_id)
        _on_server(server, str(source), new, part, dry_run, as_json=json, quiet=quiet)
    else:
        _to_folder(source, to, part, dry_run, defrag, new_id, as_json=json, quiet=quiet)


def _check_place(to: Path | None, server: str | None, name: str | None, location: str | None, *, dry_run: bool) -> None:
    if server is not None and to is not None:
        raise InvalidInput("--to and --server each say where to restore to", "give one of them")
    if server is None and (name is not None or location is not None):
        raise InvalidInput("--name and --location are for a server", "give --server URL, or --to FOLDER alone")
    if server is None and to is None and not dry_run:
        raise InvalidInput("no place to restore to was named", "give --to FOLDER, or --server URL")


def _into_database(into: Into, part: Part, *, as_json: bool, quiet: bool) -> None:
    into.check_meant(part)
    if into.server is None:
        into_folder(into, part, as_json=as_json, quiet=quiet)
        return
    from muniment.cli.remote import into_server  # here: its HTTP client loads longer than most commands run

    if not into.name:
        raise InvalidInput("no database of the server to restore into was named", "give --name NAME")
    into_server(into, part, as_json=as_json, quiet=quiet)


def _on_server(
    url: str, source: str, new: NewDatabase, part: Part, dry_run: bool, *, as_json: bool, quiet: bool
) -> None:
    from muniment.cli.remote import plan_on_server, restore_on_server  # here: its HTTP client loads longer than most

    if dry_run:
        _show(plan_on_server(url, source, new.name, part), as_json=as_json)
    else:
        restore_on_server(url, source, new, part, as_json=as_json, quiet=quiet)


def _to_folder(
    source: Path,
    to: Path | None,
    part: Part,
    dry_run: bool,
    defrag: bool,
    new_id: bool,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    selection, plan = part["selection"], planned(source, part["point"])
    if dry_run:
        _show(told_only(plan, str(source)), as_json=as_json)
        return
    assert to is not None
    progress = Progress()
    with job(progress, quiet=quiet):
        restored = restore_backup(
            source, to, defrag=defrag, progress=progress, plan=plan, selection=selection, new_id=new_id
        )
    shown = plan, restored.moment, restored.fingerprint, restored.seconds
    facts = {"database": str(to), "backup": str(restored.backup.folder), **state_facts(*shown), "notes": restored.notes}
    done = "Restored a part of" if selection else "Restored"
    rows = [("from", str(restored.backup.folder)), *state_rows(*shown), *note_rows(restored.notes)]
    emit(f"{done} {plan.manifest.database.name} to {to}", rows, facts, as_json=as_json)


def _show(plan: dict[str, Any], *, as_json: bool) -> None:
    rows = []
    files = [file for backup in plan["backups"] for file in backup["files"]]
    for backup in plan["backups"]:
        rows.append((PurePath(backup["backup"]).name, count_text(len(backup["files"]), "file")))
        rows += [
            (f"  {file['name']}", f"  {count_text(file['rows'], 'row')}, {size_text(file['bytes'])}")
            for file in backup["files"]
        ]
    total = f"{count_text(len(files), 'file')}, {count_text(plan['rows'], 'row')}, {size_text(plan['file_bytes'])}"
    rows += [("in all", total), ("stops at", f"{plan['time']}, etag {plan['etag']:,}")]
    rows += note_rows(plan.get("notes") or ())
    emit(f"A restore from {plan['source']} would read", rows, plan, as_json=as_json)


def verify(
    source: Source,
    at: At = None,
    etag: Etag = None,
    backup: Named = None,
    lineage: InLineage = None,
    utc: Utc = False,
    no_record: Annotated[
        bool, typer.Option("--no-record", metavar="", help="Write no verification-TIME.json beside the backups.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read all backups in a folder and check everything that a restore of any of them would need.

    That is every file's size and SHA-256, every page's checksum, the number and order of rows, every document's
    grammar, the links of the chains, and the fingerprint at the end of each backup. With a moment named it is what a
    restore of that moment would read. It needs no database, so it can run where the backups are kept, and what it
    found is written beside them as a new file, for `muniment status`. Exit code 5 says that something is damaged.

    $ muniment verify /mnt/backups/shop
    $ muniment verify /mnt/backups/shop --at 2026-11-22T17:18:03Z
    """
    point = point_of(at, etag, backup, lineage, utc=utc)
    plan, named = planned(source, point) if point.named else None, point.named
    progress = Progress()
    with job(progress, quiet=quiet):
        verified = verify_backup(source, progress, plan, None if no_record else system_clock)
    shown = verified.plan, verified.moment, verified.fingerprint, verified.seconds
    facts = {
        "backup": str(verified.backup.folder),
        "verified": [str(read.folder) for read in verified.backups],
        "record": str(verified.record) if verified.record else None,
        "unrecorded": verified.unrecorded,
        **state_facts(*shown),
        "notes": verified.notes,
    }
    rows = [("newest" if not named else "moment", str(verified.backup.folder)), *state_rows(*shown)]
    if verified.unrecorded:
        rows.append(("no record", verified.unrecorded))
    rows += note_rows(verified.notes)
    emit(f"Verified {count_text(len(verified.backups), 'backup')} in {source}", rows, facts, as_json=json)
