"""`muniment server`: databases over HTTP, and the restores that Raven.Server's flags ask for."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from muniment.cli.keyring import PANEL, OpeningOptions
from muniment.cli.options import JobOutput, KeyOptions, Keys, path_of
from muniment.cli.report import facts, row
from muniment.cli.state import restored_rows
from muniment.errors import InvalidInput
from muniment.maintenance import MaintenanceActions
from muniment.progress import Progress
from muniment.security.keyring import Keyring
from muniment.settings import Settings, Value, load_settings, table

_START_SECONDS = 15
_MORE: Final = "What a server does, and how much of it at once"
_TOLD: Final = "Who is told of what is wrong with backups"


def _one(setting: str, metavar: str, panel: str) -> Any:
    """The option of this setting, with what the documentation says of it."""
    return typer.Option(f"--{setting}", metavar=metavar, rich_help_panel=panel, help=_about(setting))


def _several(setting: str, metavar: str, panel: str) -> Any:
    """The same for one that may be given several times, each under the name of one."""
    help = f"{_about(setting)} May be repeated."
    return typer.Option(f"--{setting.removesuffix('s')}", metavar=metavar, rich_help_panel=panel, help=help)


def _about(setting: str) -> str:
    return next(row.description for row in table() if row.name == setting)


@dataclass(frozen=True, slots=True)
class SettingOptions:
    """The settings of a server that flags say."""

    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir", parser=path_of, metavar="FOLDER", help="The folder of all databases; `data` if not given."
        ),
    ] = None
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage", metavar="ADDRESS", help="PostgreSQL to keep databases in: postgresql://HOST/DATABASE."
        ),
    ] = None
    data_root: Annotated[
        list[str],
        typer.Option("--data-root", metavar="FOLDER", help="Another folder that databases may be in; may be repeated."),
    ] = field(default_factory=list)
    backup_root: Annotated[
        list[str],
        typer.Option("--backup-root", metavar="FOLDER", help="A folder that backups may be in; may be repeated."),
    ] = field(default_factory=list)
    master_key_file: Annotated[
        Path | None,
        typer.Option(
            "--master-key-file",
            parser=path_of,
            metavar="FILE",
            help="What wraps the keys of encrypted databases; beside the data folder if not given.",
        ),
    ] = None
    host: Annotated[
        str | None, typer.Option("--host", metavar="ADDRESS", help="The address to listen on; 127.0.0.1 if not given.")
    ] = None
    port: Annotated[
        int | None,
        typer.Option(
            "--port", metavar="NUMBER", help="The port to listen on; 8080 if not given, and 0 takes a free one."
        ),
    ] = None
    host_name: Annotated[
        list[str],
        typer.Option(
            "--host-name", metavar="NAME", help="A name that clients use besides its address; may be repeated."
        ),
    ] = field(default_factory=list)
    page_origin: Annotated[
        list[str],
        typer.Option("--page-origin", metavar="ORIGIN", help="A site whose pages may use it; may be repeated."),
    ] = field(default_factory=list)
    anonymous_access: Annotated[
        str | None,
        typer.Option(
            "--anonymous-access", metavar="WHO", help="What may be done without a key: none, get, all, admin or local."
        ),
    ] = None
    tls_certificate: Annotated[
        str | None, typer.Option("--tls-certificate", metavar="FILE", help="Speak TLS with this certificate (PEM).")
    ] = None
    tls_key: Annotated[str | None, typer.Option("--tls-key", metavar="FILE", help="Its private key (PEM).")] = None
    tls_client_ca: Annotated[
        str | None, typer.Option("--tls-client-ca", metavar="FILE", help="Clients need a certificate of these (PEM).")
    ] = None
    plain_http: Annotated[
        bool | None, typer.Option("--plain-http", metavar="", help="Listen beyond this machine without TLS.")
    ] = None
    oauth_api_key: Annotated[
        bool | None,
        typer.Option("--oauth-api-key", metavar="", help="Let RavenDB's old clients get tokens, which rest on SHA-1."),
    ] = None
    backup_recipient: Annotated[list[str], _several("backup-recipients", "RECIPIENT", PANEL)] = field(
        default_factory=list
    )
    backup_passphrase_file: Annotated[str | None, _one("backup-passphrase-file", "FILE", PANEL)] = None
    backup_identity_file: Annotated[str | None, _one("backup-identity-file", "FILE", PANEL)] = None
    backup_signing_key_file: Annotated[str | None, _one("backup-signing-key-file", "FILE", PANEL)] = None
    backup_signer: Annotated[list[str], _several("backup-signers", "SIGNER", PANEL)] = field(default_factory=list)
    metrics_access: Annotated[str | None, _one("metrics-access", "WHO", _TOLD)] = None
    alert_if_older: Annotated[str | None, _one("alert-if-older", "TIME", _TOLD)] = None
    alert_if_unverified: Annotated[str | None, _one("alert-if-unverified", "TIME", _TOLD)] = None
    alert_if_unrehearsed: Annotated[str | None, _one("alert-if-unrehearsed", "TIME", _TOLD)] = None
    rehearsal_script: Annotated[list[str], _several("rehearsal-script", "WORD", _TOLD)] = field(default_factory=list)
    hooks_file: Annotated[str | None, _one("hooks-file", "FILE", _TOLD)] = None
    alert_webhook: Annotated[list[str], _several("alert-webhooks", "URL", _TOLD)] = field(default_factory=list)
    alert_webhook_secret_file: Annotated[str | None, _one("alert-webhook-secret-file", "FILE", _TOLD)] = None
    alert_apprise_file: Annotated[str | None, _one("alert-apprise-file", "FILE", _TOLD)] = None
    ping_url: Annotated[list[str], _several("ping-urls", "URL", _TOLD)] = field(default_factory=list)
    access_log: Annotated[bool | None, _one("access-log", "", _MORE)] = None
    idle_seconds: Annotated[int | None, _one("idle-seconds", "NUMBER", _MORE)] = None
    stop_seconds: Annotated[int | None, _one("stop-seconds", "NUMBER", _MORE)] = None
    body_memory: Annotated[int | None, _one("body-memory", "NUMBER", _MORE)] = None
    body_seconds: Annotated[int | None, _one("body-seconds", "NUMBER", _MORE)] = None
    batch_commands: Annotated[int | None, _one("batch-commands", "NUMBER", _MORE)] = None
    uploads: Annotated[int | None, _one("uploads", "NUMBER", _MORE)] = None
    transfers: Annotated[int | None, _one("transfers", "NUMBER", _MORE)] = None
    open_databases: Annotated[int | None, _one("open-databases", "NUMBER", _MORE)] = None
    jobs: Annotated[int | None, _one("jobs", "NUMBER", _MORE)] = None
    backup_niceness: Annotated[int | None, _one("backup-niceness", "NUMBER", _MORE)] = None
    backup_read_rate: Annotated[str | None, _one("backup-read-rate", "RATE", _MORE)] = None
    backup_write_rate: Annotated[str | None, _one("backup-write-rate", "RATE", _MORE)] = None
    backup_hours: Annotated[str | None, _one("backup-hours", "HOURS", _MORE)] = None
    config: Annotated[
        Path | None,
        typer.Option("--config", parser=path_of, metavar="FILE", help="A TOML file of settings, or MUNIMENT_CONFIG."),
    ] = None

    def load(self) -> Settings:
        """The settings, of which flags say more than the environment, and that more than a file."""
        flags: dict[str, Value | None] = {}
        for setting in table():
            name = setting.name.replace("-", "_")
            if isinstance(setting.default, tuple):
                flags[name] = tuple(getattr(self, name.removesuffix("s"))) or None
            else:
                flags[name] = getattr(self, name)
        return load_settings(flags, environment=os.environ, config=self.config)


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """What Raven.Server says of a restore: for old scripts, and so not in the help."""

    source: Annotated[
        str,
        typer.Option("--restore-source", hidden=True, metavar="FOLDER", help="Restore this backup, and do not serve."),
    ] = ""
    system_database: Annotated[
        bool,
        typer.Option(
            "--restore-system-database",
            hidden=True,
            metavar="",
            help="The backup is one of the system database; its server is stopped.",
        ),
    ] = False
    database: Annotated[
        str,
        typer.Option(
            "--restore-database", hidden=True, metavar="URL", help="Have the server at this address restore it."
        ),
    ] = ""
    destination: Annotated[
        str,
        typer.Option(
            "--restore-destination",
            hidden=True,
            metavar="FOLDER",
            help="Where to restore to; the data folder if not given.",
        ),
    ] = ""
    database_name: Annotated[
        str,
        typer.Option(
            "--restore-database-name", hidden=True, metavar="NAME", help="Its new name; the backup's if not given."
        ),
    ] = ""
    defrag: Annotated[
        bool,
        typer.Option("--restore-defrag", hidden=True, metavar="", help="Rewrite the new database file without gaps."),
    ] = False
    no_wait: Annotated[
        bool, typer.Option("--restore-no-wait", hidden=True, metavar="", help="Return as soon as the server has begun.")
    ] = False
    start_timeout: Annotated[
        int,
        typer.Option(
            "--restore-start-timeout",
            hidden=True,
            metavar="SECONDS",
            min=0,
            help="How long to wait for another restore.",
        ),
    ] = _START_SECONDS


def server(
    *,
    settings: SettingOptions,
    restore: RestoreOptions,
    encryption: KeyOptions,
    opening: OpeningOptions,
    keys: Keys,
    out: JobOutput,
) -> None:
    """Serve databases over HTTP, in RavenDB 3.x's words, until Ctrl-C or SIGTERM.

    Settings are read from a file, the environment (`MUNIMENT_PORT`) and flags, and the last one counts. The server
    listens on this machine only; for others it wants --host, --tls-certificate and --tls-key, and keys. Its URL is
    printed when it is ready. A stop finishes what is being answered; a second signal ends it at once.

    With --restore-source it restores a backup instead, as Raven.Server does: that of a system database into the data
    folder of a server that is stopped, or with --restore-database any other through a server that runs. The second is
    what `muniment restore --server` does.

    --key-file, --passphrase-file and --identity open an encrypted backup of a system database, which is in clear once
    it is restored. What opens the others is in the settings of the server that restores them.

    $ muniment server --data-dir /var/lib/muniment --port 8080
    """
    if not restore.database:
        keys.check_unused()
    if not restore.source:
        if restore.system_database or restore.database or restore.destination or restore.database_name:
            raise InvalidInput("no backup to restore was named", "give --restore-source")
        for option in (*encryption.given, *opening.given):
            raise InvalidInput(f"{option} is for a backup, and none to restore was named", "give --restore-source")
        _serve(settings)
    elif restore.system_database == bool(restore.database):
        raise InvalidInput(
            "it is not clear whether the system database is to be restored, or another through a server",
            "give one of --restore-system-database and --restore-database=URL",
        )
    elif restore.system_database:
        _restore_system(settings, restore, opening.keyring(encryption), out)
    else:
        encryption.check_for_server()
        opening.for_server()
        _restore_through(restore, opening, keys, out)


def _serve(settings: SettingOptions) -> None:
    found = settings.load()
    from muniment.server.run import serve  # here: a server loads longer than most commands run

    serve(found, lambda url: print(url, flush=True))


def _restore_through(restore: RestoreOptions, opening: OpeningOptions, keys: Keys, out: JobOutput) -> None:
    from muniment.cli.remote import NewDatabase, restore_on_server  # here too

    new = NewDatabase(restore.database_name or None, restore.destination or None, restore.defrag)
    restore_on_server(
        keys.store(restore.database),
        restore.source,
        new,
        out,
        wait=not restore.no_wait,
        start_timeout=restore.start_timeout,
        require_signature=opening.require_signature,
        allow_clear=opening.allow_clear,
    )


def _restore_system(settings: SettingOptions, restore: RestoreOptions, keyring: Keyring, out: JobOutput) -> None:
    from muniment.server.system import restore_system_database  # here too

    source, progress = Path(restore.source), Progress()
    data_dir = Path(restore.destination) if restore.destination else settings.data_dir
    data_dir = load_settings({"data_dir": data_dir}, environment=os.environ, config=settings.config).data_dir
    plan = MaintenanceActions.plan_restore(source, keyring=keyring)
    with out.job(progress):
        restored = restore_system_database(plan, data_dir, defrag=restore.defrag, progress=progress)
    folder = str(restored.backup.folder)
    rows = [
        facts(database=str(restored.folder)),
        row("from", folder, backup=folder),
        *restored_rows(plan, restored.moment, restored.fingerprint, restored.seconds),
    ]
    out.emit(f"Restored {plan.manifest.database.name} to {restored.folder}", rows)
