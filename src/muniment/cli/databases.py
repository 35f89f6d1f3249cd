"""`muniment databases`: those of a server."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from muniment.cli.complete import database_names
from muniment.cli.options import AlgorithmOption, KeyOptions, Keys, Output, PlainHttp, Yes
from muniment.cli.output import check_meant, confirm, count_text
from muniment.cli.profile import LOCAL, URL, address
from muniment.cli.report import Row, facts
from muniment.cli.state import encryption_row, statistics_rows
from muniment.errors import InvalidInput
from muniment.security.encryption import Algorithm

Address: TypeAlias = Annotated[
    str,
    typer.Option(
        "--url",
        metavar="URL",
        default_factory=address,
        show_default=False,
        help=f"The address of the server; what {URL} or the file of the command line says, or {LOCAL}.",
    ),
]
Name: TypeAlias = Annotated[
    str,
    typer.Argument(metavar="NAME", autocompletion=database_names, help="The name of the database, in any case."),
]


def list_databases(*, url: Address, keys: Keys, out: Output) -> None:
    """List the databases of a server.

    $ muniment databases list --url http://127.0.0.1:8080
    """
    with keys.store(url) as store:
        names = store.admin.databases()
    headline = f"{store.url} has {count_text(len(names), 'database')}"
    out.emit(headline, [Row({"url": store.url, "databases": names}, [(name, "") for name in names])])


def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the new database.")],
    *,
    url: Address,
    location: Annotated[
        str | None,
        typer.Option("--location", metavar="FOLDER", help="Where its files go, on the server's machine."),
    ] = None,
    setting: Annotated[
        list[str],
        typer.Option("--setting", metavar="NAME=VALUE", help="A setting of the database; may be repeated."),
    ] = [],  # noqa: B006 - typer never changes it
    encryption: KeyOptions,
    algorithm: AlgorithmOption = Algorithm.AEGIS,
    plain_http: PlainHttp = False,
    keys: Keys,
    out: Output,
) -> None:
    """Make a database on a server.

    With --key-file it is encrypted with that key, which goes to the server, over https or to this machine.

    $ muniment databases create shop
    $ muniment databases create shop --setting Muniment/History=true --setting Muniment/HistoryWindow=7d
    $ muniment databases create safe --key-file safe.key
    """
    settings = dict(map(setting_of, setting))
    if location is not None:
        settings["Raven/DataDir"] = location
    with keys.store(url) as store:
        key = encryption.key(algorithm)
        store.admin.create_database(name, settings, key=key, plain_http=plain_http)
    row = Row({"url": store.url, "database": name, "settings": settings}, settings.items())
    out.emit(f"Made {name} on {store.url}", [row, encryption_row(key)])


def setting_of(text: str) -> tuple[str, str]:
    """The name and the value that `NAME=VALUE` says."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise InvalidInput(f"{text!r} is not a setting", "write it like Muniment/History=true")
    return name, value


def delete(
    name: Name,
    *,
    url: Address,
    hard: Annotated[bool, typer.Option("--hard", metavar="", help="Delete its files too.")] = False,
    yes: Yes = False,
    keys: Keys,
    out: Output,
) -> None:
    """Remove a database from a server.

    Its files stay where they are, and `databases create` with the same folder brings it back, unless --hard deletes
    them too. Before that a terminal is asked, and anything else has to say --yes. Backups are never touched.

    $ muniment databases delete shop
    $ muniment databases delete shop --hard --yes
    """
    if hard:
        check_meant(f"--hard deletes the files of {name} for good", yes=yes)
        if not yes:
            confirm(f"Delete {name} on {url} with all its files? Backups are kept.")
    with keys.store(url, name) as store:
        folder = store.admin.settings().get("Raven/DataDir", "their folder")
        store.admin.delete_database(name, hard=hard)
    done = f"Deleted {name} from {store.url} with its files in {folder}"
    if not hard:
        done = f"Removed {name} from {store.url}; its files were kept in {folder}"
    out.emit(done, [facts(url=store.url, database=name, hard=hard, folder=folder)])


def info(name: Name, *, url: Address, keys: Keys, out: Output) -> None:
    """Show what is in a database of a server: counts, sizes, collections, and the fingerprint.

    $ muniment databases info shop
    """
    with keys.store(url, name) as store:
        found = store.statistics()
    out.emit(f"{found.name} on {store.url}", statistics_rows(found))
