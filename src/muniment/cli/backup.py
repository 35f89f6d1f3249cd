"""`muniment backup`, `restore` and `verify`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from muniment.backup.manifest import Manifest
from muniment.backup.repository import Backup
from muniment.cli.bar import job
from muniment.cli.output import Folder, Json, Quiet, emit, seconds_text, size_text, speed_text
from muniment.database import DocumentDatabase
from muniment.fingerprint import Fingerprint
from muniment.maintenance import BackupOperation, MaintenanceActions
from muniment.progress import Progress
from muniment.revision import ATTACHMENT, DOCUMENT

Source: TypeAlias = Annotated[
    Path, typer.Argument(metavar="SOURCE", help="The folder that backups were written to, or one of them in it.")
]


def backup(
    folder: Folder,
    dest: Annotated[
        Path, typer.Option("--dest", metavar="FOLDER", help="Where to put the backup; the folder is made if need be.")
    ],
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a full backup of a database into a folder.

    The backup is the state of the moment at which it starts. It is a folder of Parquet files and a manifest, which is
    written last: a backup that was interrupted does not exist. Nothing that is already in the destination is touched.

    $ muniment backup shop --dest /mnt/backups/shop
    $ muniment backup shop --dest /mnt/backups/shop --json | jq .fingerprint
    """
    with DocumentDatabase(folder, create=False) as database:
        operation = database.maintenance.start_backup(dest)
        with job(operation.progress, quiet=quiet):
            taken = _finished(operation)
    seconds = operation.progress.seconds
    shown = taken.manifest, taken.manifest.fingerprint_at_snapshot(), seconds
    facts = {"backup": str(taken.folder), **_facts(*shown)}
    emit(f"Backed up {folder} to {taken.folder}", _rows(*shown), facts, as_json=json)


def _finished(operation: BackupOperation) -> Backup:
    # Python acts on a signal in the main thread, which a wait without end may keep from it: when two signals come at
    # once, Linux can give both to another thread, and the main thread is not woken.
    while operation.running:
        with suppress(TimeoutError):
            return operation.wait(0.1)
    return operation.wait()


def restore(
    source: Source,
    to: Annotated[
        Path,
        typer.Option("--to", metavar="FOLDER", help="The new database's folder, which must not exist or be empty."),
    ],
    defrag: Annotated[
        bool, typer.Option("--defrag", metavar="", help="Rewrite the new database file without gaps.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a new database from the newest backup in a folder.

    Every file is checked against its SHA-256 before it is used and the whole database against the fingerprint in the
    manifest. The new folder appears when all of that is true and it is on disk, or not at all. An existing database is
    never written to.

    $ muniment restore /mnt/backups/shop --to shop-restored
    $ muniment restore backups/2026-11-22T171803.417Z.full --to shop-restored
    """
    progress = Progress()
    with job(progress, quiet=quiet):
        restored = MaintenanceActions.restore(source, to, defrag=defrag, progress=progress)
    manifest = restored.backup.manifest
    shown = manifest, restored.fingerprint, restored.seconds
    facts = {"database": str(to), "backup": str(restored.backup.folder), **_facts(*shown)}
    rows = [("from", str(restored.backup.folder)), *_rows(*shown)]
    emit(f"Restored {manifest.database.name} to {to}", rows, facts, as_json=json)


def verify(source: Source, json: Json = False, quiet: Quiet = False) -> None:
    """Read the newest backup in a folder and check all that a restore would need.

    That is every file's SHA-256, every page's checksum, every document's grammar, and the fingerprint of the whole. It
    writes nothing and needs no database, so it can run where the backups are kept. Exit code 5 says that it is damaged.

    $ muniment verify /mnt/backups/shop
    """
    progress = Progress()
    with job(progress, quiet=quiet):
        verified = MaintenanceActions.verify(source, progress=progress)
    shown = verified.backup.manifest, verified.fingerprint, verified.seconds
    facts = {"backup": str(verified.backup.folder), **_facts(*shown)}
    emit(f"Verified {verified.backup.folder}", _rows(*shown), facts, as_json=json)


def _facts(manifest: Manifest, found: Fingerprint, seconds: float) -> dict[str, Any]:
    size = _size(found)
    return {
        "kind": manifest.kind,
        "reason": manifest.reason,
        "name": manifest.database.name,
        "database_id": manifest.database.id,
        "etag": manifest.snapshot.etag,
        "time": manifest.snapshot.time,
        "documents": found.count(DOCUMENT),
        "attachments": found.count(ATTACHMENT),
        "bytes": size,
        "files": len(manifest.files),
        "file_bytes": manifest.size,
        "seconds": round(seconds, 3),
        "bytes_per_second": round(size / seconds) if seconds else None,
        "fingerprint": found.short(),
    }


def _rows(manifest: Manifest, found: Fingerprint, seconds: float) -> list[tuple[str, str]]:
    size = _size(found)
    return [
        ("state of", f"{manifest.snapshot.time}, etag {manifest.snapshot.etag:,}"),
        ("documents", f"{found.count(DOCUMENT):,}"),
        ("attachments", f"{found.count(ATTACHMENT):,}"),
        ("content", size_text(size)),
        ("files", f"{len(manifest.files)} with {size_text(manifest.size)}"),
        ("took", f"{seconds_text(seconds)}, {speed_text(size, seconds)}"),
        ("fingerprint", found.short()),
    ]


def _size(found: Fingerprint) -> int:
    return found.size(DOCUMENT) + found.size(ATTACHMENT)
