"""`muniment statistics`, `check` and `get`: what is in a database."""

from __future__ import annotations

import sys
from pathlib import Path
from time import monotonic
from typing import Annotated, Any, Final

import msgspec
import typer

from muniment.backup.moment import RestorePoint
from muniment.cli.keyring import OpeningOptions
from muniment.cli.options import (
    AlgorithmOption,
    Folder,
    FolderOrUrl,
    JobOutput,
    KeyOptions,
    Keys,
    Output,
    database_or_backups,
    is_url,
    store_of,
)
from muniment.cli.output import Failure, complain, count_text, size_text, took_text, write
from muniment.cli.point import PointOptions
from muniment.cli.report import Row, facts, number, row
from muniment.cli.state import encryption_row, statistics_rows
from muniment.database import DocumentDatabase
from muniment.document import Document
from muniment.errors import DamagedDatabase, DocumentNotFound, InvalidInput, TargetExists
from muniment.fresh import made
from muniment.progress import Progress
from muniment.raven3.names import SYSTEM
from muniment.security.encryption import Algorithm, EncryptionKey
from muniment.storage import engines
from muniment.storage.location import location_of

_WHOLE: Final = "give the whole id; its case does not matter"


def statistics(place: FolderOrUrl, *, encryption: KeyOptions, keys: Keys, out: Output) -> None:
    """Show what is in a database: counts, sizes, collections, and the fingerprint.

    Two databases with the same fingerprint hold the same documents and attachments, byte for byte. Another process may
    be using the database.

    $ muniment statistics shop
    $ muniment statistics http://127.0.0.1:8080/databases/shop
    """
    if (served := store_of(place, encryption, keys)) is not None:
        with served as store:
            found = store.statistics()
        out.emit(f"{found.name} on {store.url}", statistics_rows(found))
        return
    folder, key = location_of(place), encryption.key()
    with DocumentDatabase(folder, create=False, read_only=True, key=key) as database:
        found = database.statistics()
    encrypted = Row({"encrypted": key is not None}, [("encrypted", "yes")] if key else [])
    out.emit(f"{found.name} in {folder}", [*statistics_rows(found), encrypted])


def create(
    place: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER|URL", help="A new folder, that of an empty database, or URL/databases/NAME of a server."
        ),
    ],
    *,
    encryption: KeyOptions,
    algorithm: AlgorithmOption = Algorithm.AEGIS,
    keys: Keys,
    out: Output,
) -> None:
    """Make an empty database, encrypted if a key is given.

    Most commands make one by themselves when they write the first document. Whoever loses the key of an encrypted
    database has lost the database: keep it apart from the database and from its backups, and in two places. With a
    URL it is made by a server, which is sent the key, over https or on this machine.

    $ muniment create shop
    $ muniment create http://127.0.0.1:8080/databases/shop
    $ muniment encryption generate-key shop.key
    $ muniment create safe --key-file shop.key
    """
    key = encryption.key(algorithm)
    if (served := store_of(place, encryption, keys, keys_stay=False)) is not None:
        with served as store:
            if store.name == SYSTEM:
                raise InvalidInput(f"{place} names no database", "give URL/databases/NAME")
            store.admin.create_database(store.name, {}, key=key)
            found = store.statistics()
        out.emit(f"Made {found.name} on {store.url}", [facts(**found.as_json()), encryption_row(key)])
        return
    folder = location_of(place)
    with made(folder, keep_if=lambda _: False, key=key) as (database, new):
        if not new:
            raise TargetExists(f"there is a database in {folder} already", "give a new folder")
        found = database.statistics()
    out.emit(f"Made {found.name} in {folder}", [facts(**found.as_json()), encryption_row(key)])


def check(
    folder: Folder,
    *,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Go on without the acknowledged writes that are missing.")
    ] = False,
    encryption: KeyOptions,
    out: JobOutput,
) -> None:
    """Read a whole database and check that it is consistent.

    That is the structure of the file, every document and attachment against the digest it was written with, and all of
    them against the fingerprint. It changes nothing. Exit code 5 says that something is wrong, and stdout says what.
    A database that has lost acknowledged writes is refused here as everywhere; --accept-loss lets it go on with what it
    has, as a new lineage.

    $ muniment check shop
    """
    started = monotonic()
    with DocumentDatabase(
        folder, create=False, read_only=not accept_loss, accept_loss=accept_loss, key=encryption.key()
    ) as database:
        with out.showing(Progress(stage="checking")):
            problems = database.check()
        seconds = monotonic() - started
        told = {"database": str(folder), "problems": problems, "seconds": round(seconds, 3)}
        if problems:
            raise typer.Exit(_report(folder, problems, told, out))
        found = database.statistics()
    rows = [
        facts(**found.as_json()),
        number("documents", found.documents),
        number("attachments", found.attachments),
        row("content", size_text(found.bytes)),
        row("took", took_text(found.bytes, seconds), **told),
        row("fingerprint", found.fingerprint),
    ]
    out.emit(f"{folder} is consistent", rows)


def _report(folder: Path, problems: list[str], told: dict[str, Any], out: JobOutput) -> int:
    error = DamagedDatabase(
        f"{folder} is damaged in {count_text(len(problems), 'way')}",
        "restore its last backup into a new folder, and keep this one until that is done",
    )
    if not out.json:
        write("".join(f"{problem}\n" for problem in problems).encode())
    complain(Failure.of(error), facts=told, as_json=out.json)
    return error.exit_code


def get(
    place: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER|URL",
            help="The folder of the database, URL/databases/NAME of a server, or a place with backups.",
        ),
    ],
    id: Annotated[str, typer.Argument(metavar="ID", help="The id of the document, in any case.")],
    *,
    metadata: Annotated[
        bool, typer.Option("--metadata", metavar="", help="Print the metadata instead of the document.")
    ] = False,
    json: Annotated[
        bool,
        typer.Option("--json", metavar="", help="Print an object with id, etag, last_modified, metadata and document."),
    ] = False,
    moment: PointOptions,
    encryption: KeyOptions,
    opening: OpeningOptions,
    keys: Keys,
) -> None:
    """Print a document: exactly the bytes that were stored.

    Nothing is added but, on a terminal, a line end. Another process may be using the database. From backups it is the
    document as it was in the newest state, or at the moment that is named; all files that lead to it are compared with
    their SHA-256 first, but nothing is restored.

    $ muniment get shop orders/830 > order.json
    $ muniment get http://127.0.0.1:8080/databases/shop orders/830
    $ muniment get backups orders/830 --at "yesterday 14:03"
    $ muniment get shop orders/830 --json | jq .metadata
    """
    point = moment.point()
    if is_url(place):
        document = _served(place, id, point, encryption, opening, keys)
        _print(document, metadata=metadata, json=json)
        return
    keys.check_unused()
    folder = database_or_backups(place)
    if point.named or (not engines.exists(folder) and _holds_backups(folder)):
        from muniment.cli.version import document_in  # here: a database needs nothing of what reads backups

        document = document_in(folder, id, point, opening.keyring(encryption), JobOutput(quiet=True))
    else:
        document = _present(folder, id, encryption.key())
    _print(document, metadata=metadata, json=json)


def _served(
    url: str, id: str, point: RestorePoint, encryption: KeyOptions, opening: OpeningOptions, keys: Keys
) -> Document:
    if point.named:
        raise InvalidInput("a moment is one of backups", "give the place of the backups, or leave it out")
    encryption.check_for_server()
    opening.for_server()
    with keys.store(url) as store:
        document = store.get(id)
    if document is None:
        raise DocumentNotFound(f"there is no document {id!r} in {url}", _WHOLE)
    return document


def _print(document: Document, *, metadata: bool, json: bool) -> None:
    if json:
        write(_as_json(document) + b"\n")
    else:
        end = b"\n" if sys.stdout.isatty() else b""
        write((document.metadata_json if metadata else document.body) + end)


def _holds_backups(folder: Path) -> bool:
    from muniment.backup.repository import Backups, backups

    found = backups(folder) if folder.is_dir() else Backups(folder)
    return bool(found or found.unusable)


def _present(folder: Path, id: str, key: EncryptionKey | None) -> Document:
    with DocumentDatabase(folder, create=False, read_only=True, key=key) as database:
        document = database.get(id)
    if document is None:
        raise DocumentNotFound(f"there is no document {id!r} in {folder}", _WHOLE)
    return document


def _as_json(document: Document) -> bytes:
    """The stored bytes stand in it as they are, so that a number keeps its spelling (`1.10`)."""
    return msgspec.json.encode(
        {
            "id": document.id,
            "etag": document.etag,
            "last_modified": document.last_modified,
            "metadata": msgspec.Raw(document.metadata_json),
            "document": msgspec.Raw(document.body),
        }
    )
