"""`muniment server`: databases over HTTP, and the restores that Raven.Server's flags ask for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from muniment.cli.bar import job
from muniment.cli.output import Json, Quiet, emit, path_of
from muniment.cli.point import NewDatabase
from muniment.cli.state import state_facts, state_rows
from muniment.errors import InvalidInput
from muniment.maintenance import MaintenanceActions
from muniment.progress import Progress
from muniment.settings import Value, load_settings

_START_SECONDS = 15


def server(
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir", parser=path_of, metavar="FOLDER", help="The folder of all databases; `data` if not given."
        ),
    ] = None,
    data_root: Annotated[
        list[str],
        typer.Option("--data-root", metavar="FOLDER", help="Another that databases may be in; may be repeated."),
    ] = [],  # noqa: B006 - typer never changes it
    backup_root: Annotated[
        list[str],
        typer.Option("--backup-root", metavar="FOLDER", help="One that backups may be in; may be repeated."),
    ] = [],  # noqa: B006
    host: Annotated[str | None, typer.Option("--host", metavar="ADDRESS", help="127.0.0.1 if not given.")] = None,
    port: Annotated[
        int | None, typer.Option("--port", metavar="NUMBER", help="8080 if not given; 0 takes a free one.")
    ] = None,
    host_name: Annotated[
        list[str],
        typer.Option(
            "--host-name", metavar="NAME", help="A name it is asked by, besides its address; may be repeated."
        ),
    ] = [],  # noqa: B006
    page_origin: Annotated[
        list[str],
        typer.Option("--page-origin", metavar="ORIGIN", help="A site whose pages may use it; may be repeated."),
    ] = [],  # noqa: B006
    anonymous_access: Annotated[
        str | None,
        typer.Option(
            "--anonymous-access", metavar="WHO", help="`admin` lets everybody do everything who reaches the address."
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", parser=path_of, metavar="FILE", help="A TOML file of settings, or MUNIMENT_CONFIG."),
    ] = None,
    restore_source: Annotated[
        str, typer.Option("--restore-source", metavar="FOLDER", help="Restore this backup, and do not serve.")
    ] = "",
    restore_system_database: Annotated[
        bool,
        typer.Option("--restore-system-database", metavar="", help="It is one of the system database; no server runs."),
    ] = False,
    restore_database: Annotated[
        str, typer.Option("--restore-database", metavar="URL", help="Have the server at this address restore it.")
    ] = "",
    restore_destination: Annotated[
        str, typer.Option("--restore-destination", metavar="FOLDER", help="Where to; the data folder if not given.")
    ] = "",
    restore_database_name: Annotated[
        str, typer.Option("--restore-database-name", metavar="NAME", help="Its new name; the backup's if not given.")
    ] = "",
    restore_defrag: Annotated[
        bool, typer.Option("--restore-defrag", metavar="", help="Rewrite the new database file without gaps.")
    ] = False,
    restore_no_wait: Annotated[
        bool, typer.Option("--restore-no-wait", metavar="", help="Return as soon as the server has begun.")
    ] = False,
    restore_start_timeout: Annotated[
        int,
        typer.Option("--restore-start-timeout", metavar="SECONDS", min=0, help="How long to wait for another restore."),
    ] = _START_SECONDS,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Serve databases over HTTP, in RavenDB 3.x's words, until Ctrl-C or SIGTERM.

    Settings are read from a file, the environment (`MUNIMENT_PORT`) and flags, and the last one counts. The server
    listens on this machine only, unless --anonymous-access=admin says that its network keeps strangers out. Its URL is
    printed when it is ready. A stop finishes what is being answered; a second signal ends it at once.

    With --restore-source it restores a backup instead, as Raven.Server does: that of a system database into the data
    folder of a server that is stopped, or with --restore-database any other through a server that runs. The second is
    what `muniment restore --server` does.

    $ muniment server --data-dir /var/lib/muniment --port 8080
    $ muniment server --restore-source=/mnt/backups/System --restore-destination=data --restore-system-database
    $ muniment server --restore-source=/mnt/backups/shop --restore-database=http://127.0.0.1:8080
    """
    if not restore_source:
        if restore_system_database or restore_database or restore_destination or restore_database_name:
            raise InvalidInput("no backup to restore was named", "give --restore-source")
        flags: dict[str, Value | None] = {"data_dir": data_dir, "host": host, "port": port}
        flags |= {"data_roots": tuple(data_root) or None, "backup_roots": tuple(backup_root) or None}
        flags |= {"host_names": tuple(host_name) or None, "page_origins": tuple(page_origin) or None}
        flags |= {"anonymous_access": anonymous_access}
        settings = load_settings(flags, environment=os.environ, config=config)
        from muniment.server.run import serve  # here: a server loads longer than most commands run

        serve(settings, lambda url: print(url, flush=True))
    elif restore_system_database == bool(restore_database):
        raise InvalidInput(
            "it is not clear whether the system database is to be restored, or another through a server",
            "give one of --restore-system-database and --restore-database=URL",
        )
    elif restore_system_database:
        folder = Path(restore_destination) if restore_destination else data_dir
        settings = load_settings({"data_dir": folder}, environment=os.environ, config=config)
        _restore_system(Path(restore_source), settings.data_dir, restore_defrag, as_json=json, quiet=quiet)
    else:
        from muniment.cli.remote import restore_on_server  # here too

        restore_on_server(
            restore_database,
            restore_source,
            NewDatabase(restore_database_name or None, restore_destination or None, restore_defrag),
            wait=not restore_no_wait,
            start_timeout=restore_start_timeout,
            as_json=json,
            quiet=quiet,
        )


def _restore_system(source: Path, data_dir: Path, defrag: bool, *, as_json: bool, quiet: bool) -> None:
    from muniment.server.system import restore_system_database  # here too

    progress = Progress()
    plan = MaintenanceActions.plan_restore(source)
    with job(progress, quiet=quiet):
        restored = restore_system_database(source, data_dir, defrag=defrag, progress=progress)
    shown = plan, restored.moment, restored.fingerprint, restored.seconds
    facts = {"database": str(restored.folder), "backup": str(restored.backup.folder), **state_facts(*shown)}
    rows = [("from", str(restored.backup.folder)), *state_rows(*shown)]
    emit(f"Restored {plan.manifest.database.name} to {restored.folder}", rows, facts, as_json=as_json)
