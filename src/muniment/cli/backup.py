"""`muniment backup`: of a database in a folder, or of those of a server."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from muniment.cli.groups import Typed
from muniment.cli.keyring import PANEL, PassphraseFile, SealingOptions
from muniment.cli.options import (
    JobOutput,
    KeyOptions,
    Keys,
    LimitOptions,
    ServerDatabase,
    Url,
    check_stays_here,
    folder_or_url,
    place_of,
)
from muniment.cli.ping import pinged
from muniment.cli.report import Line, Row, facts, members, row
from muniment.duration import duration_of
from muniment.errors import BackupNotFound, Cancelled, InvalidInput, MunimentError, WrongKey

if TYPE_CHECKING:
    from muniment.backup.repository import Backup
    from muniment.database import DocumentDatabase
    from muniment.security.encryption import EncryptionKey

AHEAD = 3600.0  # seconds that another machine's clock may be ahead


def backup(
    dest: Annotated[
        list[Path],
        typer.Option(
            "--dest",
            parser=place_of,
            metavar="DEST",
            help="Where to put the backup: a folder, which is made if need be, or s3://BUCKET/PREFIX; may be repeated.",
        ),
    ],
    *,
    place: Annotated[
        str | None,
        typer.Argument(metavar="FOLDER|URL", help="The folder of the database, or URL/databases/NAME of a server."),
    ] = None,
    incremental: Annotated[
        bool,
        typer.Option("--incremental", metavar="", help="Write only what changed since the last backup in the folder."),
    ] = False,
    new_chain: Annotated[
        bool,
        typer.Option(
            "--new-chain",
            metavar="",
            help="Begin a new chain where the folder is empty and the database remembers backups in it.",
        ),
    ] = False,
    skip_damaged: Annotated[
        bool,
        typer.Option("--skip-damaged", metavar="", help="Leave out what is damaged in the database, and name it."),
    ] = False,
    if_older_than: Annotated[
        str | None,
        typer.Option(
            "--if-older-than",
            metavar="TIME",
            help="Only if the last backup there is older, such as 6h.",
        ),
    ] = None,
    ping_url: Annotated[
        str | None,
        typer.Option(
            "--ping-url",
            metavar="URL",
            envvar="MUNIMENT_PING_URL",
            help="Tell this URL, as healthchecks has them, that it begins, is done or has failed.",
        ),
    ] = None,
    encryption: KeyOptions,
    passphrase_file: PassphraseFile = None,
    sealing: SealingOptions,
    in_clear: Annotated[
        bool,
        typer.Option(
            "--in-clear",
            metavar="",
            help="Do not encrypt it, even if the database or the backups there are.",
            rich_help_panel=PANEL,
        ),
    ] = False,
    include_encryption_key: Annotated[
        bool,
        typer.Option(
            "--include-encryption-key",
            metavar="",
            help="Keep the database's key in the backup, as RavenDB does.",
            rich_help_panel=PANEL,
        ),
    ] = False,
    url: Url = None,
    database: ServerDatabase = None,
    all_databases: Annotated[
        bool,
        typer.Option(
            "--all-databases", metavar="", help="All databases of the server, each into its own folder in --dest."
        ),
    ] = False,
    nowait: Annotated[
        bool, typer.Option("--nowait", metavar="", help="Return as soon as the server has begun.")
    ] = False,
    timeout: Annotated[
        int | None,
        typer.Option(
            "--timeout", metavar="MS", min=1, help="How long one answer of the server may take; 60000 if not given."
        ),
    ] = None,
    readkey: Annotated[
        bool, typer.Option("--readkey", metavar="", help="Wait for a key at the end, so that a window stays open.")
    ] = False,
    pace: LimitOptions,
    keys: Keys,
    typed: Typed,
    out: JobOutput,
) -> None:
    """Write a backup of a database into a folder.

    The backup is the state of the moment at which it starts. It is a folder of Parquet files and a manifest, which is
    written last: a backup that was interrupted does not exist. Nothing that is already in the destination is touched.
    With several --dest a backup is put into each, one after the other: each has a chain of its own, and what fails in
    one does not keep it from the next. An incremental backup holds what changed since the last one in the folder; where
    there is none, something might be missed, or the chain is not whole, a full one is taken, and it is said why. A full
    one begins a chain of its own.

    All that is read is proven to be what was written. Where it is not the backup fails (exit code 5) and names it;
    with --skip-damaged the rest is taken, and the manifest and this command say what is missing.

    It is encrypted for everybody who is named by --recipient, --passphrase-file and --key-file. A passphrase or a key
    alone stands for all whom the last backup that it opens is for; recipients are named each time. Without any, it is
    encrypted with the key of an encrypted database, and refused beside backups that are encrypted; --in-clear
    says that it is not to be. Whoever loses all that opens it has lost the backup. See `muniment identity`.

    With a URL the options are those of Raven.Backup. --dest is then a path on the server's machine, below its data
    folder if it is relative. Exit code 0 says that the backup is complete, or with --nowait that it has begun; with
    --all-databases the exit code is the number of those that failed. Ctrl-C ends the command, not the backup: the
    server goes on with it. A key for the server needs the right `admin` for --recipient, --in-clear and
    --include-encryption-key.

    $ muniment backup shop --dest /mnt/backups/shop
    $ muniment backup shop --dest /mnt/backups/shop --incremental --json | jq .fingerprint
    $ muniment backup shop --dest /mnt/backups/shop --read-rate 20MB --niceness 10
    $ muniment backup shop --dest /mnt/backups/shop --passphrase-file ~/.backup-passphrase
    $ muniment backup shop --dest /mnt/backups/shop --incremental --if-older-than 6h
    $ muniment backup http://127.0.0.1:8080/databases/shop --dest /mnt/backups/shop
    $ muniment backup --url http://127.0.0.1:8080 --database shop --dest /mnt/backups/shop
    $ muniment backup --url http://127.0.0.1:8080 --all-databases --dest /mnt/backups --incremental
    """
    folder, url = folder_or_url(place, url)
    if url is None:
        remote = {"--database": database, "--all-databases": all_databases, "--nowait": nowait, "--timeout": timeout}
        for option in [*(name for name, value in remote.items() if value), *keys.given]:
            raise InvalidInput(f"{option} is for the databases of a server", "give --url URL")
        if folder is None:
            raise InvalidInput("no database to back up was named", "give the FOLDER of a database, or --url URL")
        asked: dict[str, Any] = {
            "limits": pace.here,
            "incremental": incremental,
            "new_chain": new_chain,
            "skip_damaged": skip_damaged,
            "in_clear": in_clear,
            "include_encryption_key": include_encryption_key,
        }
        with pinged(ping_url), _opened(folder, encryption.key()) as opened:
            # The key of an encrypted database is given to open that. Any other can be meant for the backup alone.
            key_file = None if opened.storage.key or in_clear else encryption.key_file
            asked["protection"] = sealing.protection(passphrase_file, key_file)
            places = _overdue(opened, dest, if_older_than)
            if not places:
                rows = [facts(backup=None), row("not older than", if_older_than or "")]
                out.emit(f"Nothing to do: {opened.path} was backed up already", rows)
                return
            _back_up_to_all(opened, places, asked, out)
        return
    if "--ping-url" in typed:
        raise InvalidInput("--ping-url is for a database in a folder", "a server has ping-urls in its settings")
    if if_older_than is not None:
        raise InvalidInput("--if-older-than is for a database in a folder", "give the server a schedule instead")
    if database is not None and not database.strip():
        raise InvalidInput("the name in --database is empty", "give one, or leave it out for the system database")
    if all_databases and (database or nowait):
        raise InvalidInput("--all-databases goes with neither --database nor --nowait", "leave one of them out")
    from muniment.cli import remote as servers  # here: its HTTP client loads longer than most commands run

    check_stays_here(
        (option for option in ("--passphrase-file", "--key-file", "--sign-with") if option in typed),
        "a server takes the key of an encrypted database that it has; name other files in its settings:"
        " backup-passphrase-file or backup-signing-key-file",
    )
    flags = incremental, new_chain, skip_damaged, nowait, timeout
    recipients = sealing.recipient or None
    wanted = servers.BackupWanted(
        url, database, [*map(str, dest)], *flags, keys, recipients, in_clear, include_encryption_key, pace.limits
    )
    if all_databases:
        raise typer.Exit(servers.back_up_all(wanted, out))
    servers.back_up(wanted, out)


def _opened(folder: Path, key: EncryptionKey | None) -> DocumentDatabase:
    """The database, with this key if it is encrypted."""
    from muniment.database import open_to_read  # here: completing a line needs none of it

    try:
        return open_to_read(folder, key)
    except WrongKey:
        if key is not None:
            with suppress(WrongKey):
                return open_to_read(folder)
        raise


def _back_up_to_all(database: DocumentDatabase, places: list[Path], asked: dict[str, Any], out: JobOutput) -> None:
    from muniment.backup.summary import BackupSummary  # here too
    from muniment.cli.state import backup_rows

    if len(places) == 1:
        taken, seconds = _back_up(database, places[0], asked, out)
        rows = [facts(backup=str(taken.folder)), *backup_rows(BackupSummary.of(taken), seconds)]
        out.emit(f"Backed up {database.path} to {taken.folder}", rows)
        return
    lines: list[Line] = []
    told: list[dict[str, Any]] = []
    failed: list[MunimentError] = []
    for place in places:
        try:
            taken, seconds = _back_up(database, place, asked, out)
        except (Cancelled, InvalidInput):
            raise
        except MunimentError as error:
            failed.append(error)
            told.append(
                {
                    "destination": str(place),
                    "error": error.message,
                    "hint": error.hint,
                    "type": type(error).__name__,
                }
            )
            lines += [("failed", f"{place}: {error}"), ("", f"→ {error.hint}")]
        else:
            summary = backup_rows(BackupSummary.of(taken), seconds)
            told.append({"destination": str(place), "backup": str(taken.folder), **members(summary)})
            lines.append(("backup", f"{taken.folder}, {taken.manifest.kind}, in {seconds:.1f} s"))
    done = f"{len(places) - len(failed)} of {len(places)} places"
    out.emit(f"Backed up {database.path} to {done}", [Row({"backups": told}, lines)])
    if failed:
        raise typer.Exit(failed[0].exit_code)


def _overdue(database: DocumentDatabase, places: list[Path], length: str | None) -> list[Path]:
    """Those places whose last backup of the database is older than that; one from the future counts for nothing."""
    from muniment.backup.repository import backups  # here too

    if length is None:
        return places
    seconds, lineage, now = duration_of(length, "--if-older-than"), database.storage.identity.lineage, datetime.now(UTC)

    def is_young(place: Path) -> bool:
        try:
            own = [each.manifest for each in backups(place) if each.manifest.database.lineage == lineage]
        except BackupNotFound:
            return False
        ages = ((now - datetime.fromisoformat(manifest.completed)).total_seconds() for manifest in own)
        return any(-AHEAD <= age <= seconds for age in ages)

    return [place for place in places if not is_young(place)]


def _back_up(database: DocumentDatabase, dest: Path, asked: dict[str, Any], out: JobOutput) -> tuple[Backup, float]:
    operation = database.maintenance.start_backup(dest, **asked)
    with out.job(operation.progress):
        return operation.wait(), operation.progress.seconds
