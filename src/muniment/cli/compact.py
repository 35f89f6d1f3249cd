"""`muniment compact`: a database file without gaps."""

from __future__ import annotations

from muniment.cli.options import Database, FolderOrUrl, JobOutput, KeyOptions, Keys, store_of
from muniment.cli.output import seconds_text, size_text
from muniment.cli.report import facts, row
from muniment.maintenance import MaintenanceActions
from muniment.progress import Progress
from muniment.storage.location import location_of


def compact(
    place: FolderOrUrl,
    *,
    database: Database = None,
    encryption: KeyOptions,
    keys: Keys,
    out: JobOutput,
) -> None:
    """Rewrite the file of a database without gaps.

    What was deleted and purged leaves gaps, which later writes fill again; the file becomes smaller only by this.
    Nobody may have the database open, and it needs as much room again meanwhile. The new file takes the old one's place
    when every document is proven to be the same; if it is interrupted, even by a power failure, the database is as it
    was.

    With a URL the server does it, and nobody can use the database meanwhile. It goes on when this command is stopped.

    $ muniment compact shop
    $ muniment compact safe --key-file shop.key
    $ muniment compact http://127.0.0.1:8080/databases/shop
    """
    if (store := store_of(place, encryption, keys, database)) is not None:
        from muniment.cli.remote import compact_on_server  # here: its HTTP client loads longer than most commands run

        compact_on_server(store, out)
        return
    folder, progress = location_of(place), Progress()
    with out.job(progress):
        before, after = MaintenanceActions.compact(folder, key=encryption.key(), progress=progress)
    rows = [
        facts(database=str(folder), file_bytes_before=before, file_bytes=after, seconds=round(progress.seconds, 3)),
        row("file", f"{size_text(after)}, before {size_text(before)}"),
        row("took", seconds_text(progress.seconds)),
    ]
    out.emit(f"Compacted {folder}", rows)
