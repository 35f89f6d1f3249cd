"""`muniment smuggler`: documents from and to other databases, named after RavenDB's tool for it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from muniment.cli.bar import job
from muniment.cli.fresh import made
from muniment.cli.output import Json, Quiet, count_text, emit, seconds_text, size_text, speed_text
from muniment.database import DocumentDatabase
from muniment.errors import Cancelled
from muniment.progress import Progress
from muniment.smuggler.transfer import Imported, import_dump


def smuggler_in(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of the database; a new one is made.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .ravendbdump or .ravendump.")],
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Import a dump that RavenDB has exported (versions 2 to 7) into a database.

    Documents keep their bytes, metadata, collection and last-modified time; a document with the same id is replaced.
    What the dump holds and Muniment has no place for is counted and named, not left out in silence. It is written in
    whole transactions: after an interruption, importing the same dump again completes it.

    $ muniment smuggler in shop northwind.ravendbdump
    """
    progress = Progress()
    with job(progress, quiet=quiet), made(folder, keep_if=_has_content) as (database, _):
        try:
            imported = import_dump(database.storage, file, progress=progress)
        except Cancelled as error:
            raise Cancelled(
                f"{error.message}; {count_text(progress.documents, 'document')} had been imported",
                "import the same dump again to complete it; every document that is there is whole",
            ) from error
        fingerprint = database.statistics().fingerprint
    facts = {"database": str(folder), "dump": str(file), **asdict(imported), "fingerprint": fingerprint}
    emit(f"Imported {file} into {folder}", [*_rows(imported), ("fingerprint", fingerprint)], facts, as_json=json)


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
