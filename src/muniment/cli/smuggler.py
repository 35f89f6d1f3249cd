"""`muniment smuggler`: documents from and to other databases, named after RavenDB's tool for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import typer

from muniment.cli.bar import job
from muniment.cli.fresh import made
from muniment.cli.output import Json, Quiet, emit, seconds_text, size_text, speed_text
from muniment.client import DocumentStore
from muniment.database import DocumentDatabase
from muniment.errors import InvalidInput, StorageFailure
from muniment.progress import Progress
from muniment.smuggler.transfer import Imported, import_dump

SENT_BYTES: Final = 1 << 20


def smuggler_in(
    target: Annotated[
        str, typer.Argument(metavar="FOLDER|URL", help="The database's folder (a new one is made), or a server.")
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .ravendbdump or .ravendump.")],
    database: Annotated[
        str | None,
        typer.Option("--database", metavar="NAME", help="The database on the server, if the URL names none."),
    ] = None,
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
    facts = {"database": target, "dump": str(file), **asdict(imported), "fingerprint": fingerprint}
    rows = [*_rows(imported), *([("fingerprint", fingerprint)] if fingerprint else [])]
    emit(f"Imported {file} into {target}", rows, facts, as_json=json)


def _into_folder(
    target: str, file: Path, _: str | None, progress: Progress, quiet: bool
) -> tuple[Imported, str | None]:
    with job(progress, quiet=quiet), made(Path(target), keep_if=_has_content) as (database, _new):
        imported = import_dump(database.storage, file, progress=progress)
        return imported, database.statistics().fingerprint


def _into_server(
    target: str, file: Path, name: str | None, progress: Progress, quiet: bool
) -> tuple[Imported, str | None]:
    progress.stage = "sending"
    try:
        progress.total_bytes = file.stat().st_size
        opened = file.open("rb")
    except OSError as error:
        raise StorageFailure(f"{file} can not be read: {error.strerror}", "give the path of a dump") from error
    with opened, job(progress, quiet=quiet), DocumentStore(target, name) as store:
        return store.import_dump(_sent(opened, progress)), None


def _sent(file: BinaryIO, progress: Progress) -> Iterator[bytes]:
    while block := file.read(SENT_BYTES):
        progress.advance(bytes=len(block))
        yield block
    progress.stage = "waiting for the server"


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
