"""`muniment smuggler`: documents from and to other databases, named after RavenDB's tool for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, BinaryIO, Final, TypeAlias

import typer

from muniment.backup.point import time_of
from muniment.cli.bar import job
from muniment.cli.fresh import made
from muniment.cli.output import Json, Quiet, emit, labelled, seconds_text, size_text, speed_text
from muniment.cli.point import At, Etag, Named
from muniment.cli.state import time_text
from muniment.client import DocumentStore
from muniment.database import DocumentDatabase
from muniment.errors import InvalidInput
from muniment.exporting import Format
from muniment.progress import Progress
from muniment.smuggler.export import Exported
from muniment.smuggler.sink import Compression, cannot_write
from muniment.smuggler.transfer import Imported
from muniment.smuggling import source as opened_source

Database: TypeAlias = Annotated[
    str | None, typer.Option("--database", metavar="NAME", help="The database on the server, if the URL names none.")
]

DEFAULT: Final[Format] = "ravendbdump"
STREAM: Final = "-"


def smuggler_out(
    source: Annotated[
        str, typer.Argument(metavar="URL|FOLDER", help="A server, the folder of a database, or one with backups.")
    ],
    file: Annotated[str, typer.Argument(metavar="FILE", help="What to write, `-` for stdout.")],
    database: Database = None,
    at: At = None,
    etag: Etag = None,
    backup: Named = None,
    format: Annotated[
        Format | None,
        typer.Option(
            "--format", metavar="NAME", help="ravendbdump, ravendump, ndjson or parquet; FILE's end may say it."
        ),
    ] = None,
    compression: Annotated[
        Compression | None,
        typer.Option("--compression", metavar="NAME", help="gzip, zstd or none; a dump is gzip if nothing says so."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", metavar="", help="Replace FILE, when the new one is complete.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Export a database, or a moment in backups, into a file that RavenDB and others read.

    The export is the state of one moment, whatever is written meanwhile; its etag and time are said. The end of FILE
    says what it is: .ravendbdump (RavenDB 4 to 7), .ravendump (2 and 3), .ndjson, .ndjson.gz, .ndjson.zst
    or .parquet. FILE appears when it is complete and on disk, or not at all. Backups are read and proven as in a
    restore, but nothing is restored.

    With `-` the dump goes to stdout, as .ravendbdump unless --format says otherwise, and what is said goes to stderr.

    $ muniment smuggler out shop shop.ravendbdump
    $ muniment smuggler out http://127.0.0.1:8080 shop.ndjson.zst --database shop
    $ muniment smuggler out /mnt/backups/shop shop.ravendump --at 2026-11-22T17:18:03Z
    $ muniment smuggler out shop - --compression zstd | ssh elsewhere muniment smuggler in copy -
    """
    if file == STREAM and json:
        raise InvalidInput("stdout can not have both the dump and --json", "write the dump to a file")
    progress = Progress()
    moment = None if at is None else time_of(at)
    with (
        opened_source(source, database, at=moment, etag=etag, backup=backup) as opened,
        _destination(file) as destination,
        job(progress, quiet=quiet),
    ):
        exported = opened.export(
            destination,
            format=format or (DEFAULT if file == STREAM else None),
            compression=compression,
            overwrite=overwrite,
            progress=progress,
        )
    facts = {"source": source, **asdict(exported), "time": time_text(exported.time)}
    headline, rows = f"Exported {source} to {exported.file or 'stdout'}", _exported_rows(exported)
    if file != STREAM:
        emit(headline, rows, facts, as_json=json)
    elif not quiet:
        print(labelled(headline, rows), end="", file=sys.stderr)


@contextmanager
def _destination(file: str) -> Iterator[str | BinaryIO]:
    if file != STREAM:
        yield file
        return
    if sys.stdout.isatty():
        raise InvalidInput("a dump is nothing for a terminal", "name a file, or send it on to another program")
    stream = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    try:
        yield stream
        stream.close()
    except OSError as error:
        raise cannot_write(error) from error
    finally:
        with suppress(OSError):
            stream.close()


def _exported_rows(exported: Exported) -> list[tuple[str, str]]:
    compressed = "" if exported.compression == "none" else f", {exported.compression}"
    return [
        ("format", f"{exported.format}{compressed}"),
        ("state of", f"{time_text(exported.time)}, etag {exported.etag:,}"),
        ("documents", f"{exported.documents:,}"),
        ("attachments", f"{exported.attachments:,}"),
        ("identities", f"{exported.identities:,}"),
        *(("skipped", f"{count:,} {what}") for what, count in sorted(exported.skipped.items())),
        ("size", f"{size_text(exported.size)}, {size_text(exported.bytes)} before compression"),
        ("took", f"{seconds_text(exported.seconds)}, {speed_text(exported.bytes, exported.seconds)}"),
    ]


def smuggler_in(
    target: Annotated[
        str, typer.Argument(metavar="FOLDER|URL", help="The database's folder (a new one is made), or a server.")
    ],
    file: Annotated[str, typer.Argument(metavar="FILE", help="A .ravendbdump or .ravendump, `-` for stdin.")],
    database: Database = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Import a dump that RavenDB has exported (versions 2 to 7) into a database.

    Documents keep their bytes, metadata, collection and last-modified time; a document with the same id is replaced.
    What the dump holds and Muniment has no place for is counted and named, not left out in silence. It is written in
    whole transactions: after an interruption, importing the same dump again completes it.

    $ muniment smuggler in shop northwind.ravendbdump
    $ muniment smuggler in http://127.0.0.1:8080 northwind.ravendbdump --database shop
    """
    progress = Progress()
    remote = "://" in target
    if database and not remote:
        raise InvalidInput(f"{target} is a folder, which is one database", "leave out --database, or give a URL")
    imported, fingerprint = (_into_server if remote else _into_folder)(target, file, database, progress, quiet)
    facts = {"database": target, "dump": file, **asdict(imported), "fingerprint": fingerprint}
    rows = [*_rows(imported), *([("fingerprint", fingerprint)] if fingerprint else [])]
    emit(f"Imported {'stdin' if file == STREAM else file} into {target}", rows, facts, as_json=json)


def _into_folder(target: str, file: str, _: str | None, progress: Progress, quiet: bool) -> tuple[Imported, str | None]:
    with job(progress, quiet=quiet), made(Path(target), keep_if=_has_content) as (database, _new):
        imported = database.import_dump(_dump(file), progress=progress)
        return imported, database.statistics().fingerprint


def _into_server(
    target: str, file: str, name: str | None, progress: Progress, quiet: bool
) -> tuple[Imported, str | None]:
    with job(progress, quiet=quiet), DocumentStore(target, name) as store:
        return store.import_dump(_dump(file), progress=progress), None


def _dump(file: str) -> str | BinaryIO:
    return sys.stdin.buffer if file == STREAM else file


def _has_content(database: DocumentDatabase) -> bool:
    found = database.statistics()
    return found.documents + found.attachments > 0


def _rows(imported: Imported) -> list[tuple[str, str]]:
    build = "" if imported.build_version is None else f" of RavenDB build {imported.build_version}"
    return [
        ("dump", f"{imported.compression} compression{build}"),
        ("documents", f"{imported.documents:,}"),
        ("attachments", f"{imported.attachments:,}"),
        ("identities", f"{imported.identities:,}"),
        ("content", size_text(imported.bytes)),
        *(("skipped", f"{count:,} {what}") for what, count in sorted(imported.skipped.items())),
        ("took", f"{seconds_text(imported.seconds)}, {speed_text(imported.bytes, imported.seconds)}"),
    ]
