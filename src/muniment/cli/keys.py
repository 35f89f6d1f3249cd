"""`muniment keys`: who may ask a server, and for what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec
import typer

from muniment.api_keys import ApiKeys
from muniment.cli.options import ASK, Keys, Output, Yes, path_of
from muniment.cli.output import ask_new_secret, check_meant, confirm, count_text, note
from muniment.cli.profile import address_or_none
from muniment.cli.report import Line, Row, facts, lines, listed, row
from muniment.errors import AccessDenied, DatabaseLocked, DatabaseNotFound, InvalidInput, Unauthorized
from muniment.raven3.names import DATABASES, SYSTEM, SYSTEM_FOLDER
from muniment.security.access import EVERY, Right
from muniment.security.keys import MIN_PASSWORD, Key
from muniment.security.secret_files import private, read_passphrase
from muniment.settings import is_confidential

Name: TypeAlias = Annotated[str, typer.Argument(metavar="NAME", help="The name of the key, in any case.")]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the keys are kept: in the system database of a server that is stopped, or of one that runs."""

    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir", parser=path_of, metavar="FOLDER", help="The data folder of a server that is stopped."
        ),
    ] = None
    url: Annotated[
        str | None,
        typer.Option(
            "--url", metavar="URL", help="The address of a server that runs; it wants a key with the right `admin`."
        ),
    ] = None

    @contextmanager
    def keys(self, shown: Keys, *, create: bool = False) -> Iterator[ApiKeys]:
        """The keys that are kept there; of a server its system database may be made for the first."""
        url = self.url or (address_or_none() if self.data_dir is None else None)
        if (self.data_dir is None) == (url is None):
            raise InvalidInput("it is not clear which server's keys are meant", "give one of --data-dir and --url")
        if url is not None:
            try:
                with shown.store(url, SYSTEM) as store:
                    yield ApiKeys(store, confidential=is_confidential(url))
            except Unauthorized:
                raise
            except AccessDenied as error:
                raise AccessDenied(
                    f"this key may not see or change the keys of {url}",
                    "that needs a key with the right `admin` for all databases",
                ) from error
            return
        shown.check_unused()
        assert self.data_dir is not None
        from muniment.database import DocumentDatabase  # here: with --url there is no need of it

        try:
            with private():
                system = DocumentDatabase(self.data_dir / SYSTEM_FOLDER, create=create)
        except DatabaseLocked as error:
            raise DatabaseLocked(
                f"a server is using the data folder {self.data_dir}",
                "ask the server with --url URL and a key that has the right `admin`, or stop it first",
            ) from error
        except DatabaseNotFound as error:
            raise DatabaseNotFound(
                f"there is no server's data in {self.data_dir}", "give the folder that the server has as --data-dir"
            ) from error
        with private(), system:
            yield ApiKeys(system)


@dataclass(frozen=True, slots=True)
class NewPassword:
    """The password of a user, in place of a secret that is made for him."""

    new_password: Annotated[
        str,
        typer.Option(
            "--new-password",
            metavar="-",
            help=f"`-` asks, twice, for the user's password: {MIN_PASSWORD} characters or more, and printed nowhere.",
        ),
    ] = field(default="", repr=False)
    new_password_file: Annotated[
        Path | None,
        typer.Option(
            "--new-password-file", parser=path_of, metavar="FILE", help="A file with nothing but the user's password."
        ),
    ] = None

    def chosen(self) -> str | None:
        """The password, None if the secret is to be made."""
        if self.new_password and self.new_password_file:
            raise InvalidInput("both --new-password and --new-password-file were given", "give one of them")
        if self.new_password_file is not None:
            return read_passphrase(self.new_password_file, "password")
        if self.new_password not in ("", ASK):
            raise InvalidInput(
                "a password does not belong on a command line, where other users of the machine see it",
                "choose another one, and give --new-password - to be asked for it, or --new-password-file FILE",
            )
        return ask_new_secret("--new-password") if self.new_password else None


def add(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What the key is called, after its holder or its purpose.")
    ],
    *,
    right: Annotated[
        list[str],
        typer.Option("--right", metavar="RIGHT", help=f"{', '.join(Right)}; may be repeated."),
    ],
    database: Annotated[
        list[str],
        typer.Option("--database", metavar="NAME", help="Only for this database; may be repeated. All if not given."),
    ] = [],  # noqa: B006 - typer never changes it
    data_root: Annotated[
        list[str],
        typer.Option("--data-root", metavar="FOLDER", help="Only databases below this folder; may be repeated."),
    ] = [],  # noqa: B006 - nor this
    backup_root: Annotated[
        list[str],
        typer.Option("--backup-root", metavar="FOLDER", help="Only backups below this folder; may be repeated."),
    ] = [],  # noqa: B006 - nor this
    password: NewPassword,
    old_clients: Annotated[
        bool,
        typer.Option(
            "--old-clients",
            metavar="",
            help="Also for RavenDB's clients with OAuth: the server keeps the secret if oauth-api-key is on.",
        ),
    ] = False,
    place: Place,
    keys: Keys,
    out: Output,
) -> None:
    """Make a key for a server, and print it once: NAME/SECRET; or let a user in with a password.

    The server keeps only a hash of the secret, so nobody can print it again. Of a user, the password is asked for.
    `read` lets its holder read documents, `write` change them too; `backup` takes backups without reading a
    document through the API, `restore` makes databases out of backups, and `admin` does all of that, and manages
    databases and keys. The first key is made with --data-dir, before the server is started.

    $ muniment keys add boss --right admin --data-dir /var/lib/muniment
    $ muniment keys add nightly --right backup --database shop --url https://db.example.org:8080 --api-key-file boss.key
    $ muniment keys add 'OFFICE\\anna' --right read --new-password - --data-dir /var/lib/muniment
    """
    chosen = password.chosen()
    with place.keys(keys, create=True) as stored:
        others = next(iter(stored), None)
        key, api_key = stored.add(
            name,
            right,
            database,
            data_roots=data_root,
            backup_roots=backup_root,
            password=chosen,
            old_clients=old_clients,
        )
        unknown = stored.without(DATABASES, key.databases)
    for each in unknown:
        note(f"there is no database {each} yet; the key is for one of that name")
    if others is None:
        note("from now on the server answers nobody without a key, unless its setting anonymous-access says otherwise")
        if "admin" not in right:
            note(
                "no key may make others yet: stop the server, and `muniment keys add NAME --right admin --data-dir DIR`"
            )
    if chosen is None:
        out.emit(f"Made the key {key.name}; this is the only time that it is shown", [_shown(api_key), *_rows(key)])
    else:
        out.emit(f"Made {key.name}, with the password that was given", _rows(key))


def list_keys(*, place: Place, keys: Keys, out: Output) -> None:
    """List the keys of a server, with their rights and without their secrets.

    $ muniment keys list --data-dir /var/lib/muniment
    $ muniment keys list --url https://db.example.org:8080 --api-key-file boss.key
    """
    with place.keys(keys) as stored:
        found = [_line(name, key) for name, key in stored]
    out.emit(count_text(len(found), "key"), [listed("keys", found)])


def disable(name: Name, *, place: Place, keys: Keys, yes: Yes = False, out: Output) -> None:
    """Have a key open nothing any more, from the next request on; `keys enable` takes that back.

    Before that is done to the last key with `admin` for all databases, a terminal is asked, and anything else has to
    say --yes: from then on keys are changed only with --data-dir, while the server is stopped.

    $ muniment keys disable nightly --url https://db.example.org:8080 --api-key-file boss.key
    """
    with place.keys(keys) as stored:
        if stored.is_last_admin(name):
            check_meant(
                f"{name} is the last key that may change keys; then --data-dir alone does, of a server that is stopped",
                yes=yes,
            )
            if not yes:
                confirm(f"Disable {name}, the last key that may change keys?")
        key = stored.disable(name)
    out.emit(f"The key {key.name} opens nothing any more", _rows(key))


def enable(name: Name, *, place: Place, keys: Keys, out: Output) -> None:
    """Have a key that was disabled open again what it did, with the secret that it had.

    $ muniment keys enable nightly --url https://db.example.org:8080 --api-key-file boss.key
    """
    with place.keys(keys) as stored:
        key = stored.enable(name)
    out.emit(f"The key {key.name} opens again what it did", _rows(key))


def rotate(name: Name, *, password: NewPassword, place: Place, keys: Keys, out: Output) -> None:
    """Give a key another secret and print it once; the old one opens nothing from the next request on.

    A user gets the password that is asked for, or in a file.

    $ muniment keys rotate nightly --url https://db.example.org:8080 --api-key-file boss.key
    """
    chosen = password.chosen()
    with place.keys(keys) as stored:
        key, api_key = stored.rotate(name, chosen)
    if chosen is not None:
        out.emit(f"{key.name} has the password that was given", _rows(key))
        return
    done = f"The key {key.name} has another secret; this is the only time that it is shown"
    out.emit(done, [_shown(api_key), *_rows(key)])


def _shown(api_key: str) -> Row:
    return row("key", api_key, api_key=api_key)


def _rows(key: Key) -> list[Row]:
    return [
        facts(name=key.name, enabled=key.enabled, created=key.created),
        row("rights", ", ".join(key.rights), rights=key.rights),
        row("databases", _databases(key), databases=key.databases),
        Row({"data_roots": key.data_roots, "backup_roots": key.backup_roots}, _roots(key)),
        Row({"old_clients": bool(key.old_clients)}, [("old clients", "yes")] if key.old_clients else []),
        lines([] if key.enabled else [("disabled", "yes")]),
    ]


def _line(name: str, key: Key | None) -> Row:
    if key is None:
        text = "cannot be read, and opens nothing; make a new one of another name"
        nothing: dict[str, list[str]] = {each: [] for each in ("rights", "databases", "data_roots", "backup_roots")}
        return row(name, text, name=name, enabled=False, created=None, old_clients=False, **nothing)
    more = ("; for old clients, too" if key.old_clients else "") + ("" if key.enabled else "; disabled")
    text = f"{', '.join(key.rights)} for {_databases(key)}, since {key.created}{more}"
    folders = "".join(f"; {label} {where}" for label, where in _roots(key))
    members = msgspec.structs.asdict(key)
    del members["hash"]
    return Row({**members, "name": name, "old_clients": bool(key.old_clients)}, [(name, text + folders)])


def _roots(key: Key) -> list[Line]:
    roots = [("data below", key.data_roots), ("backups below", key.backup_roots)]
    return [(label, ", ".join(folders)) for label, folders in roots if folders]


def _databases(key: Key) -> str:
    return "all databases" if EVERY in key.databases else ", ".join(key.databases)
