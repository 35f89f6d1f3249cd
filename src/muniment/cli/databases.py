"""`muniment databases`: those of a server."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from muniment.cli.database import statistics_rows
from muniment.cli.output import Json, Yes, check_meant, confirm, count_text, emit
from muniment.errors import InvalidInput

Url: TypeAlias = Annotated[str, typer.Option("--url", metavar="URL", help="The address of the server.")]
Name: TypeAlias = Annotated[str, typer.Argument(metavar="NAME", help="The name of the database, in any case.")]
DEFAULT = "http://127.0.0.1:8080"


def list_databases(url: Url = DEFAULT, json: Json = False) -> None:
    """List the databases of a server.

    $ muniment databases list --url http://127.0.0.1:8080
    """
    from muniment.client import DocumentStore  # here: its HTTP client loads longer than most commands run

    with DocumentStore(url) as store:
        names = store.admin.databases()
    headline = f"{store.url} has {count_text(len(names), 'database')}"
    emit(headline, [(name, "") for name in names], {"url": store.url, "databases": names}, as_json=json)


def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the new database.")],
    url: Url = DEFAULT,
    location: Annotated[
        str | None,
        typer.Option("--location", metavar="FOLDER", help="Where its files go, on the server's machine."),
    ] = None,
    setting: Annotated[
        list[str],
        typer.Option("--setting", metavar="NAME=VALUE", help="A setting of the database; may be repeated."),
    ] = [],  # noqa: B006 - typer never changes it
    json: Json = False,
) -> None:
    """Make a database on a server.

    $ muniment databases create shop
    $ muniment databases create shop --setting Muniment/History=true --setting Muniment/HistoryWindow=7d
    """
    settings = dict(map(setting_of, setting))
    if location is not None:
        settings["Raven/DataDir"] = location
    from muniment.client import DocumentStore

    with DocumentStore(url) as store:
        store.admin.create_database(name, settings)
    facts = {"url": store.url, "database": name, "settings": settings}
    emit(f"Made {name} on {store.url}", settings.items(), facts, as_json=json)


def setting_of(text: str) -> tuple[str, str]:
    """The name and the value that `NAME=VALUE` says."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise InvalidInput(f"{text!r} is not a setting", "write it like Muniment/History=true")
    return name, value


def delete(
    name: Name,
    url: Url = DEFAULT,
    hard: Annotated[bool, typer.Option("--hard", metavar="", help="Delete its files too.")] = False,
    yes: Yes = False,
    json: Json = False,
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
    from muniment.client import DocumentStore

    with DocumentStore(url, name) as store:
        folder = store.admin.settings().get("Raven/DataDir", "their folder")
        store.admin.delete_database(name, hard=hard)
    done = f"Deleted {name} from {store.url} with its files in {folder}"
    if not hard:
        done = f"Removed {name} from {store.url}; its files were kept in {folder}"
    facts = {"url": store.url, "database": name, "hard": hard, "folder": folder}
    emit(done, [], facts, as_json=json)


def info(name: Name, url: Url = DEFAULT, json: Json = False) -> None:
    """Show what is in a database of a server: counts, sizes, collections, and the fingerprint.

    $ muniment databases info shop
    """
    from muniment.client import DocumentStore

    with DocumentStore(url, name) as store:
        found = store.statistics()
    emit(f"{found.name} on {store.url}", statistics_rows(found), found.as_json(), as_json=json)
