"""The formats of exports. `docs/dump-formats.md` says what each of them carries."""

from __future__ import annotations

from typing import Final

from muniment.backup.parquet import DocumentTable
from muniment.revision import Batch, Revision
from muniment.smuggler.dump_document import dump_document, dump_documents, dumped
from muniment.smuggler.dump_writer import DumpWriter, LegacyDumpWriter
from muniment.smuggler.options import DOCUMENTS, Format
from muniment.smuggler.pending import Owned
from muniment.smuggler.sink import Sink
from muniment.smuggler.writer import Content, Writer

BATCH_BYTES: Final = 8 << 20  # of Parquet


def writer_of(format: Format, sink: Sink, content: Content) -> Writer:
    """The writer of this format."""
    if format == "ravendbdump":
        return DumpWriter(sink, content)
    if format == "ravendump":
        return LegacyDumpWriter(sink, content)
    return LinesWriter(sink) if format == "ndjson" else ParquetWriter(sink)


class LinesWriter(Writer):
    """NDJSON: one document per line, with its metadata as in a `.ravendbdump`, and nothing else."""

    carries = frozenset({DOCUMENTS})

    def __init__(self, sink: Sink) -> None:
        self._write = sink.write

    def batch(self, batch: Batch) -> None:
        """See `Writer`."""
        if any(end in data for data in (batch.bodies.data, batch.metadata.data) for end in (b"\n", b"\r")):
            for each in dump_documents(batch):
                self._write(_one_line(each) + b"\n")
            return
        for piece in dumped(batch, b"\n"):
            self._write(piece)
            self._write(b"\n")

    def document(self, revision: Revision, owned: list[Owned]) -> None:
        """See `Writer`."""
        self._write(_one_line(dump_document(revision, [])) + b"\n")


def _one_line(document: bytes) -> bytes:
    """The document on one line: in JSON, line breaks stand only between tokens, never in strings."""
    return document.replace(b"\n", b" ").replace(b"\r", b" ")


class ParquetWriter(Writer):
    """Parquet: documents in the same columns as in a backup."""

    carries = frozenset({DOCUMENTS})

    def __init__(self, sink: Sink) -> None:
        self._table = DocumentTable(sink.write)
        self._waiting: list[Revision] = []
        self._size = 0

    def batch(self, batch: Batch) -> None:
        """See `Writer`."""
        self._flush()
        self._table.write(batch)

    def document(self, revision: Revision, owned: list[Owned]) -> None:
        """See `Writer`."""
        self._waiting.append(revision)
        self._size += revision.size
        if self._size >= BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._table.write(Batch.of(self._waiting))
        self._waiting, self._size = [], 0

    def end(self) -> None:
        """Write what waits, and the footer, which tells a reader where everything is."""
        self._flush()
        self._table.close()
