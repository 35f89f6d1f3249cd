"""`muniment restore` and `verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from muniment.backup.plan import RestorePlan
from muniment.backup.reading import Moment, moment_of
from muniment.backup.restore import restore_backup
from muniment.backup.selection import Selection
from muniment.backup.verify import verify_backup
from muniment.cli.bar import job
from muniment.cli.output import Json, Quiet, count_text, emit, size_text
from muniment.cli.point import At, Etag, Named, planned
from muniment.cli.state import moment_text, state_facts, state_rows, time_text
from muniment.errors import InvalidInput
from muniment.progress import Progress
from muniment.storage.base import system_clock

Source: TypeAlias = Annotated[
    Path, typer.Argument(metavar="SOURCE", help="The folder that backups were written to, or one of them in it.")
]


def restore(
    source: Source,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FOLDER", help="The new database's folder, which must not exist or be empty."),
    ] = None,
    at: At = None,
    etag: Etag = None,
    backup: Named = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", metavar="", help="Print what would be read, and write nothing.")
    ] = False,
    collection: Annotated[
        list[str], typer.Option("--collection", metavar="NAME", help="Only this collection; may be repeated.")
    ] = [],  # noqa: B006 - typer never changes it
    id: Annotated[
        list[str],
        typer.Option("--id", metavar="ID", help="Only this document, with its attachments; may be repeated."),
    ] = [],  # noqa: B006
    id_prefix: Annotated[
        list[str], typer.Option("--id-prefix", metavar="PREFIX", help="Only ids that begin so; may be repeated.")
    ] = [],  # noqa: B006
    defrag: Annotated[
        bool, typer.Option("--defrag", metavar="", help="Rewrite the new database file without gaps.")
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
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a new database from the backups in a folder.

    It is the newest state, or the last one at or before the moment that is named; a transaction is never split. Every
    file is checked against its SHA-256 before it is used and the whole against the fingerprint in the manifest, also
    when only a part of it is wanted. The new folder appears when all of that is true and it is on disk, or not at all.
    An existing database is never written to.

    With --server, SOURCE and --location are paths on the server's machine, and the server goes on with the restore
    when this command is stopped.

    $ muniment restore /mnt/backups/shop --to shop-restored
    $ muniment restore backups --at 2026-11-22T17:18:03Z --to earlier --dry-run
    $ muniment restore backups --id orders/830 --to found
    $ muniment restore /mnt/backups/shop --server http://127.0.0.1:8080 --name shop-restored
    """
    if server is not None:
        _check_for_server(to, at, etag, backup, dry_run, collection, id, id_prefix)
        from muniment.cli.remote import restore_on_server  # here: its HTTP client loads longer than most commands run

        restore_on_server(server, str(source), name, location, defrag=defrag, as_json=json, quiet=quiet)
        return
    if name is not None or location is not None:
        raise InvalidInput("--name and --location are for a server", "give --server URL, or --to FOLDER alone")
    if to is None and not dry_run:
        raise InvalidInput("it is not said where to restore to", "give --to FOLDER, or --server URL")
    selection = Selection.of(tuple(collection), tuple(id), tuple(id_prefix))
    plan = planned(source, at, etag, backup)
    if dry_run:
        _show(plan, source, as_json=json)
        return
    assert to is not None
    progress = Progress()
    with job(progress, quiet=quiet):
        restored = restore_backup(source, to, defrag=defrag, progress=progress, plan=plan, selection=selection)
    shown = plan, restored.moment, restored.fingerprint, restored.seconds
    facts = {"database": str(to), "backup": str(restored.backup.folder), **state_facts(*shown)}
    part = "Restored a part of" if selection else "Restored"
    rows = [("from", str(restored.backup.folder)), *state_rows(*shown)]
    emit(f"{part} {plan.manifest.database.name} to {to}", rows, facts, as_json=json)


def _check_for_server(to: Path | None, *options: Any) -> None:
    if to is not None:
        raise InvalidInput("--to and --server each say where to restore to", "give one of them")
    if any(option not in (None, False, []) for option in options):
        raise InvalidInput(
            "a server restores the newest state, whole",
            "restore with --to FOLDER for another moment or a part, or give it the folder of one full backup",
        )


def _show(plan: RestorePlan, source: Path, *, as_json: bool) -> None:
    moment = moment_of(plan)
    rows = []
    for backup in plan.chain:
        rows.append((backup.name, f"{count_text(len(backup.manifest.files), 'file')}"))
        rows += [
            (f"  {file.name}", f"  {count_text(file.rows, 'row')}, {size_text(file.size)}")
            for file in backup.manifest.files
        ]
    total = f"{count_text(len(plan.files), 'file')}, {count_text(plan.rows, 'row')}, {size_text(plan.size)}"
    rows += [("in all", total), ("stops at", moment_text(moment))]
    emit(f"A restore from {source} would read", rows, _plan_facts(plan, moment, source), as_json=as_json)


def _plan_facts(plan: RestorePlan, moment: Moment, source: Path) -> dict[str, Any]:
    return {
        "source": str(source),
        "name": plan.manifest.database.name,
        "database_id": plan.manifest.database.id,
        "etag": moment.etag,
        "time": time_text(moment.modified),
        "rows": plan.rows,
        "file_bytes": plan.size,
        "backups": [
            {
                "backup": str(backup.folder),
                "kind": backup.manifest.kind,
                "files": [{"name": file.name, "rows": file.rows, "bytes": file.size} for file in backup.manifest.files],
            }
            for backup in plan.chain
        ],
    }


def verify(
    source: Source,
    at: At = None,
    etag: Etag = None,
    backup: Named = None,
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
    plan = planned(source, at, etag, backup)
    named = (at, etag, backup) != (None, None, None)
    progress = Progress()
    with job(progress, quiet=quiet):
        verified = verify_backup(source, progress, plan if named else None, None if no_record else system_clock)
    shown = plan, verified.moment, verified.fingerprint, verified.seconds
    facts = {
        "backup": str(verified.backup.folder),
        "verified": [str(read.folder) for read in verified.backups],
        "record": str(verified.record) if verified.record else None,
        "unrecorded": verified.unrecorded,
        **state_facts(*shown),
    }
    rows = [("newest" if not named else "moment", str(verified.backup.folder)), *state_rows(*shown)]
    if verified.unrecorded:
        rows.append(("no record", verified.unrecorded))
    emit(f"Verified {count_text(len(verified.backups), 'backup')} in {source}", rows, facts, as_json=json)
