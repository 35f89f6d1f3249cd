"""`muniment freeze` and `thaw`: a database's files stand still while another tool copies them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeAlias

import msgspec
import typer

from muniment.cli.options import Keys, Output, ServerDatabase, folder_or_url, named
from muniment.cli.profile import address
from muniment.cli.report import Row, facts, row
from muniment.client import DocumentStore
from muniment.duration import duration_of
from muniment.errors import InvalidInput, NotEvaluated
from muniment.raven3.messages import Frozen
from muniment.storage import engines

Place: TypeAlias = Annotated[
    str | None, typer.Argument(metavar="URL", help="The server, or URL/databases/NAME of its database.")
]
Address: TypeAlias = Annotated[str | None, typer.Option("--url", metavar="URL", help="The same.")]


def freeze(
    place: Place = None,
    *,
    url: Address = None,
    database: ServerDatabase = None,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="TIME", help="After how long it thaws by itself: 90s, 10m, at most 24h.")
    ] = "60s",
    keys: Keys,
    out: Output,
) -> None:
    """Have the files of a database on a server stand still, for a tool that copies them.

    When this returns, its folder holds the state that is told, complete and on disk. Reads go on; writes wait until
    `muniment thaw`, or until the time is over. `thaw` fails with exit code 4 if it was over before: then discard the
    copy. A database that no process has open needs none of this.

    $ muniment freeze http://127.0.0.1:8080/databases/shop --timeout 10m
    $ restic backup /var/lib/muniment/shop
    $ muniment thaw http://127.0.0.1:8080/databases/shop
    """
    seconds = duration_of(timeout, "--timeout")
    with keys.store(_server(place, url), database) as store:
        _show(store, store.admin.freeze(seconds), lambda frozen: f"Froze {frozen.database} until {frozen.until}", out)


def thaw(
    place: Place = None,
    *,
    url: Address = None,
    database: ServerDatabase = None,
    freeze: Annotated[
        str | None,
        typer.Option(
            "--freeze", parser=named("the id of the freeze"), metavar="ID", help="End only the one of this id."
        ),
    ] = None,
    keys: Keys,
    out: Output,
) -> None:
    """Let a frozen database be written to again.

    Exit code 4 says that it was not frozen until now: it thawed by itself, or the server was stopped. What was copied
    may then be of several moments, and cannot be trusted.

    $ muniment thaw http://127.0.0.1:8080/databases/shop
    """
    with keys.store(_server(place, url), database) as store:
        _show(store, store.admin.thaw(freeze), lambda frozen: f"Thawed {frozen.database}", out)


def _server(place: str | None, url: str | None) -> str:
    folder, found = folder_or_url(place, url)
    if folder is not None and not engines.is_folder(folder):
        raise NotEvaluated(
            f"the files of the database in {folder} are PostgreSQL's, and cannot be frozen by Muniment",
            "take a backup of it, which waits for nobody; or copy the whole PostgreSQL with pg_basebackup",
        )
    if folder is not None:
        raise InvalidInput(
            f"{folder} is a folder, and only a server can freeze a database", "copy it while no process has it open"
        )
    return found or address()


def _show(store: DocumentStore, frozen: Frozen, headline: Callable[[Frozen], str], out: Output) -> None:
    told = {name.lower(): value for name, value in msgspec.to_builtins(frozen).items()}
    rows: list[Row] = [facts(url=store.url, **told), row("folder", frozen.folder)]
    rows += [row("state of", f"etag {frozen.etag:,}"), row("fingerprint", frozen.fingerprint), row("freeze", frozen.id)]
    out.emit(headline(frozen), rows)
