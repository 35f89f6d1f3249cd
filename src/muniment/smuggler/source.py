"""What can be exported: a database, embedded or on a server, or a moment in backups."""

from __future__ import annotations

from pathlib import Path
from typing import Generic, TypeVar

from muniment.progress import Progress
from muniment.smuggler.options import Compression, ExportOptions, Format, SmugglerOptions
from muniment.smuggler.sink import Writable

R = TypeVar("R", covariant=True)


class Source(Generic[R]):
    """What has a state to export: a database, embedded or on a server, or backups.

    R is what its methods return: an `Exported`, or in asyncio an awaitable of one.
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

        The file gets its name only when it is complete and on disk; an existing one is replaced then, if `overwrite`
        is set. When this raises, `Cancelled` too, no file is left, and a stream, which is never closed, is cut short.
        For a database on a server it raises the server's error, and `ServerUnavailable` when the connection breaks.
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
        records how far the last export went. The first export is a full one, and so is one that would otherwise miss
        something; `reason` says why. When nothing has changed, no file is written.
        `muniment.smuggler.folder.import_folder` applies them all. Raises `ForeignBackup` when the folder holds another
        database's exports, and `Busy` while another export into it runs.
        """
        asked = ExportOptions.incremental(format, compression, options)
        return self._export_incremental(Path(folder), asked, progress or Progress())

    def _export(self, destination: str | Path | Writable, options: ExportOptions, progress: Progress) -> R:
        raise NotImplementedError

    def _export_incremental(self, folder: Path, options: ExportOptions, progress: Progress) -> R:
        raise NotImplementedError
