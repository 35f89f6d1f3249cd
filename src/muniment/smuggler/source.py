"""What can be exported, wherever it is, and what an export tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from muniment.progress import Progress
from muniment.smuggler.faults import Fault
from muniment.smuggler.options import Compression, ExportOptions, Format, SmugglerOptions
from muniment.smuggler.sink import Writable

R = TypeVar("R", covariant=True)


@dataclass
class Exported:
    """What an export wrote.

    `skipped` names and counts what was there and was not written: what the format has no place for, and the documents
    that the options left out. `failed` documents were passed over, and the first of them are in `faults`. `etag` and
    `time` (microseconds) are those of the state that was exported, `bytes` those before compression and `size` those
    written. `kind` is "full" or "incremental", and `reason` says why an incremental export became a full one, or wrote
    no `file`. `notes` are what whoever asked for it should know.
    """

    documents: int = 0
    attachments: int = 0
    identities: int = 0
    deletions: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    failed: int = 0
    faults: list[Fault] = field(default_factory=list)
    etag: int = 0
    time: int = 0
    bytes: int = 0
    size: int = 0
    seconds: float = 0.0
    format: str = ""
    compression: str = ""
    kind: str = "full"
    reason: str = ""
    file: str | None = None
    notes: list[str] = field(default_factory=list)


class Source(Generic[R]):
    """What has a state to export: a database, embedded or on a server, or backups.

    R is what its methods give: an `Exported`, or in asyncio what has to be awaited to get one.
    """

    def export(
        self,
        destination: str | Path | Writable,
        *,
        format: Format | None = None,
        compression: Compression | None = None,
        options: SmugglerOptions | None = None,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> R:
        """Write the state of this moment to a file or a binary stream as a dump, as NDJSON or as Parquet.

        The end of the file's name says the format, unless `format` does: `.ravendbdump`, `.ravendump`, `.ndjson` or
        `.parquet`. `options` say which part to write. Others read and write meanwhile, and memory does not depend on
        the size of the database.

        The file has its name only when it is complete and on disk; one that exists is replaced only if `overwrite` says
        so, and only then. When this raises, `Cancelled` too, no file is left, and a stream, which is never closed, is
        cut short. Of a database on a server it raises what the server failed with, and `ServerUnavailable` when the
        connection breaks.
        """
        asked = ExportOptions.of(destination, format, compression, options, overwrite=overwrite)
        return self._export(destination, asked, progress or Progress())

    def export_incremental(
        self,
        folder: str | Path,
        *,
        format: Format | None = None,
        compression: Compression | None = None,
        options: SmugglerOptions | None = None,
        progress: Progress | None = None,
    ) -> R:
        """Write what changed since the last export into this folder, deletions too, as a new dump in it.

        It is a `ravendbdump` unless `format` says otherwise. The folder is on this machine, and a state file in it
        keeps how far the last export went. The first export is a full one, and so is one that might miss something, as
        `reason` says. Where nothing has changed no file is written. `muniment.smuggler.folder.import_folder` applies
        them all. Raises `ForeignBackup` when the folder holds another database's exports, and `Busy` while another
        export into it runs.
        """
        asked = ExportOptions.incremental(format, compression, options)
        return self._export_incremental(Path(folder), asked, progress or Progress())

    def _export(self, destination: str | Path | Writable, options: ExportOptions, progress: Progress) -> R:
        raise NotImplementedError

    def _export_incremental(self, folder: Path, options: ExportOptions, progress: Progress) -> R:
        raise NotImplementedError
