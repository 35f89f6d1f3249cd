"""`muniment sample`: a database to try things out with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Annotated, Final

import typer

from muniment import sample as samples
from muniment.cli.options import JobOutput, KeyOptions, NewFolder
from muniment.cli.output import count_text, took_text
from muniment.cli.report import facts, row
from muniment.cli.state import statistics_rows
from muniment.command import Delete, Put
from muniment.database import DocumentDatabase
from muniment.errors import Conflict
from muniment.fresh import made
from muniment.progress import Progress

BATCH: Final = 1000


def sample(
    folder: NewFolder,
    *,
    documents: Annotated[
        int, typer.Option("--documents", metavar="NUMBER", min=0, help="How many documents.")
    ] = samples.NORTHWIND,
    attachments: Annotated[
        int, typer.Option("--attachments", metavar="NUMBER", min=0, help="How many attachments.")
    ] = 0,
    seed: Annotated[int, typer.Option("--seed", metavar="NUMBER", help="Another number gives other documents.")] = 1,
    encryption: KeyOptions,
    out: JobOutput,
) -> None:
    """Make a shop's database of any size, after RavenDB's sample Northwind.

    The same numbers give the same documents on every machine. They are written in transactions of 1000. If it is
    interrupted, what was written is removed again.

    $ muniment sample shop --documents 100000 --attachments 50
    """
    progress = Progress()
    with out.job(progress), made(folder, keep_if=lambda _: False, key=encryption.key()) as (database, new):
        _check_empty(database, folder)
        with nullcontext() if new else _empty_if_failing(database):
            fill(database, documents, attachments=attachments, seed=seed, progress=progress)
        progress.finish()
        found = database.statistics()
    seconds = progress.seconds
    rows = [
        facts(database=str(folder)),
        *statistics_rows(found),
        row("took", took_text(progress.bytes, seconds), seconds=round(seconds, 3)),
    ]
    out.emit(f"Made {found.name} in {folder}", rows)


def fill(
    database: DocumentDatabase, count: int, *, attachments: int = 0, seed: int = 1, progress: Progress | None = None
) -> None:
    """Write the sample of this size into a database; raises `Cancelled` between two transactions."""
    progress = progress or Progress()
    progress.total_documents = count
    progress.stage = "writing documents"
    made = samples.documents(count, seed=seed)
    while puts := [Put(*document) for document in islice(made, BATCH)]:
        database.batch(puts)
        progress.advance(documents=len(puts), bytes=sum(len(put.body) for put in puts))
    progress.stage = "writing attachments"
    for key, metadata, content in samples.attachments(attachments):
        database.put_attachment(key, content, metadata)
        progress.advance(attachments=1, bytes=len(content))


def _check_empty(database: DocumentDatabase, folder: Path) -> None:
    present = database.statistics()
    if present.documents or present.attachments:
        raise Conflict(
            f"the database in {folder} is not empty: it has {count_text(present.documents, 'document')}"
            f" and {count_text(present.attachments, 'attachment')}",
            "give a new folder",
        )


@contextmanager
def _empty_if_failing(database: DocumentDatabase) -> Iterator[None]:
    try:
        yield
    except BaseException:
        while documents := database.by_etag(limit=BATCH):
            database.batch([Delete(document.id) for document in documents])
        while attachments := database.attachments(limit=BATCH):
            for attachment in attachments:
                database.delete_attachment(attachment.key)
        raise
