"""`muniment settings`: what a database is told to keep."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from muniment.cli.databases import setting_of
from muniment.cli.options import Database, FolderOrUrl, KeyOptions, Keys, Output, store_of
from muniment.cli.report import Row, facts
from muniment.database import DocumentDatabase
from muniment.errors import InvalidInput
from muniment.raven3.names import SYSTEM
from muniment.security.encryption import EncryptionKey
from muniment.storage.location import location_of
from muniment.storage.retention import DEFAULTS, history_of

if TYPE_CHECKING:
    from muniment.client import DocumentStore


def settings(
    place: FolderOrUrl,
    setting: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="What to change; KEY= removes a setting.")
    ] = None,
    *,
    database: Database = None,
    encryption: KeyOptions,
    keys: Keys,
    out: Output,
) -> None:
    """Show the settings of a database, or change some of them; the others stay.

    Muniment/History=true keeps superseded revisions, so that backups can be restored to any transaction.
    Muniment/HistoryWindow is for how long at least, backed up or not (7d, 12h, 30m, 45s), Muniment/TombstoneWindow for
    how long deletions are remembered. A name or a value that would do nothing is refused. The settings of a server's
    database are changed on the server, not in its folder.

    $ muniment settings shop
    $ muniment settings shop Muniment/History=true Muniment/HistoryWindow=7d
    $ muniment settings shop Muniment/TombstoneWindow=
    $ muniment settings http://127.0.0.1:8080/databases/shop Muniment/History=true
    """
    changes = {name: value or None for name, value in map(setting_of, setting or [])}
    if (store := store_of(place, encryption, keys, database)) is not None:
        _on_server(store, changes, out)
    else:
        _in_folder(location_of(place), changes, encryption.key(), out)


def _in_folder(folder: Path, changes: Mapping[str, str | None], key: EncryptionKey | None, out: Output) -> None:
    if changes:
        _check_own(folder)
    with DocumentDatabase(folder, create=False, read_only=not changes, key=key) as opened:
        found = opened.configure(changes) if changes else opened.settings
    where = facts(database=str(folder))
    out.emit(f"{_done(changes)} {folder}", [where, _found(found, changes)])


def _check_own(folder: Path) -> None:
    """Raises `InvalidInput` for a database of a server, which would put back what its own document says."""
    from muniment.server.tenants import owner_of  # here: most commands need no server

    if owner := owner_of(folder):
        data_dir, name = owner
        raise InvalidInput(
            f"{folder} is the database {name} of the server with the data folder {data_dir}, which keeps its settings",
            f"change them there, while it runs: muniment settings URL --database {shlex.quote(name)} KEY=VALUE",
        )


def _on_server(store: DocumentStore, changes: Mapping[str, str | None], out: Output) -> None:
    with store:
        if store.name == SYSTEM:
            raise InvalidInput("the URL names no database", "give --database NAME, or URL/databases/NAME")
        found = store.admin.configure(changes) if changes else store.admin.settings()
    where = facts(database=store.name, url=store.url)
    out.emit(f"{_done(changes)} {store.name} on {store.url}", [where, _found(found, changes)])


def _done(changes: Mapping[str, str | None]) -> str:
    return "Changed the settings of" if changes else "Settings of"


def _found(found: Mapping[str, str], changes: Mapping[str, str | None]) -> Row:
    given, history = {name.lower() for name in found}, history_of(found)
    defaults = [(name, f"{value} (default)") for name, value in DEFAULTS.items() if name.lower() not in given]
    kept = {"kept": history.kept, "window_seconds": history.window, "tombstone_seconds": history.tombstones}
    told = {"settings": dict(found), "changed": bool(changes), "history": kept}
    return Row(told, [*sorted(found.items()), *defaults])
