"""`muniment move`: a database from a folder into PostgreSQL, or back."""

from __future__ import annotations

from typing import Annotated

import typer

from muniment.cli.options import Folder, JobOutput, KeyOptions, path_of
from muniment.cli.output import seconds_text
from muniment.cli.report import facts, number, row
from muniment.moving import move as move_database
from muniment.progress import Progress
from muniment.revision import ATTACHMENT, DOCUMENT


def move(
    folder: Folder,
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="A new schema, postgresql://HOST/DATABASE?schema=NAME, or a folder for the way back.",
        ),
    ],
    *,
    wait: Annotated[
        float,
        typer.Option("--wait", metavar="SECONDS", min=0, help="How long to follow a process that still writes."),
    ] = 0,
    encryption: KeyOptions,
    out: JobOutput,
) -> None:
    """Move a database from a folder into PostgreSQL, while it is in use, or back while it is not.

    All of it is loaded while others read and write, then what they change meanwhile. When nobody has the folder open
    for writing any more (stop the program that has), the rest follows, both are compared by their fingerprints, and the
    database is there: start the program again with the address. Without --wait it ends with exit code 7 if somebody
    still writes; the same command then goes on where it was. The folder is left as it is: use it no more.

    The way back needs a database that no other process has open, from its begin to its end.

    $ muniment move shop 'postgresql://app@db.example/shop?schema=orders' --wait 600
    $ muniment move 'postgresql://app@db.example/shop?schema=orders' shop-again
    """
    progress = Progress()
    with out.job(progress):
        moved = move_database(folder, path_of(target), key=encryption.key(), wait=wait, progress=progress)
    documents, attachments = (moved.fingerprint.count(kind) for kind in (DOCUMENT, ATTACHMENT))
    rows = [
        facts(database=str(moved.target), etag=moved.etag, documents=documents, attachments=attachments),
        facts(rounds=moved.rounds, pause=round(moved.pause, 3), seconds=round(moved.seconds, 3)),
        facts(fingerprint=moved.fingerprint.short()),
        number("documents", documents),
        number("attachments", attachments),
        row("took", seconds_text(moved.seconds)),
        row("pause", seconds_text(moved.pause)),
        row("fingerprint", moved.fingerprint.short()),
    ]
    out.emit(f"Moved {folder} to {moved.target}", rows)
