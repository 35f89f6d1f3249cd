"""Revisions to Parquet and back. The only module that knows pyarrow, which is loaded when a file is read or written.

`docs/backup-format.md` describes the columns. A row group is one batch, so that a reader needs no more memory than the
writer did, and its statistics tell the etags in it, so that the files of a backup can be read in etag order.
"""

from __future__ import annotations

import errno
import hashlib
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from muniment.backup.destination import Ranges, Remote, sink
from muniment.backup.manifest import File
from muniment.backup.repository import Backup
from muniment.document import SEPARATOR
from muniment.errors import DamagedBackup, MunimentError, StorageFailure, UnknownFormat
from muniment.fingerprint import MODULUS, groups_of
from muniment.later import Later
from muniment.owner import split_id
from muniment.revision import ATTACHMENT, DOCUMENT, Batch, Packed, Revision

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq
    import pyarrow.parquet.encryption as pe
else:
    pa, pc, pq = Later("pyarrow"), Later("pyarrow.compute"), Later("pyarrow.parquet")
    ds, pe = Later("pyarrow.dataset"), Later("pyarrow.parquet.encryption")

# Arrow reads this when it is loaded. It would give the memory of all row groups back to the system every second, and
# get it again, each page cleared: a tenth of the processor time of a backup or a restore. `give_back` does it instead.
os.environ.setdefault("MIMALLOC_PURGE_DELAY", "60000")

FILE_BYTES: Final = 128 << 20
ZSTD_LEVEL: Final = 2  # 2 % smaller than 1 for a third of a microsecond a document; 3 saves 3 % more for twice that
ATTACHMENT_GROUP_BYTES: Final = 8 << 20
PAGE_BYTES: Final = 4 << 20  # of a column, compressed together: larger ones save little more, and take memory to read
# What differs little from row to row is smaller so.
_ENCODINGS: Final = {
    "etag": "DELTA_BINARY_PACKED",
    "id": "DELTA_BYTE_ARRAY",
    "modified": "DELTA_BINARY_PACKED",
    "document": "DELTA_LENGTH_BYTE_ARRAY",
}
WHOLE_BYTES: Final = 4 << 20  # of an object of a store: up to that, to read all of it takes no longer
END_BYTES: Final = 64 << 10  # in which most footers fit
_HINT: Final = "restore from another backup, or another copy of this one"


def give_back() -> None:
    """Give the system the memory that Arrow keeps for row groups, when there are no more to come."""
    pa.default_memory_pool().release_unused()


class Schema:
    """The columns of the data files of one kind."""

    def __init__(self, fields: Callable[[], list[pa.Field]]) -> None:
        self._fields = fields

    @cached_property
    def arrow(self) -> pa.Schema:
        """As pyarrow wants them."""
        return pa.schema(self._fields())


def _document_fields() -> list[pa.Field]:
    return [
        pa.field("etag", pa.int64(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("collection", pa.dictionary(pa.int32(), pa.string())),
        pa.field("modified", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("metadata", pa.string(), nullable=False),
        pa.field("document", pa.string()),
    ]


def _attachment_fields() -> list[pa.Field]:
    return [
        pa.field("etag", pa.int64(), nullable=False),
        pa.field("owner", pa.string()),
        pa.field("id", pa.string(), nullable=False),
        pa.field("collection", pa.string()),
        pa.field("modified", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("metadata", pa.string(), nullable=False),
        pa.field("size", pa.int64()),
        pa.field("sha256", pa.binary()),
        pa.field("part", pa.int32(), nullable=False),
        pa.field("data", pa.binary()),
    ]


DOCUMENTS: Final = Schema(_document_fields)
# An owned attachment has its name as its id here. What is read has the id that it is stored under.
ATTACHMENTS: Final = Schema(_attachment_fields)
_ATTACHMENTS_1: Final = Schema(lambda: [field for field in _attachment_fields() if field.name != "owner"])  # format 1


class _HashingSink:
    """A file that knows the SHA-256 and size of what was written to it; pyarrow writes only forwards."""

    closed = False

    def __init__(self, path: Path) -> None:
        self._sink = sink(path)
        self.sha256 = hashlib.sha256()
        self.size = 0
        self.end: bytearray | None = None  # what is written from when it is set on

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self.sha256.update(view)
        self.size += view.nbytes
        if self.end is not None:
            self.end += view
        self._sink.write(view)
        return view.nbytes

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        self._sink.flush()

    def close(self) -> None:
        pass  # pyarrow's end is not ours: it is on disk after this

    def finish(self) -> None:
        self._sink.finish()

    def abandon(self) -> None:
        self._sink.abandon()


def _writer(sink: Any, schema: pa.Schema, key: bytes | None = None) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        pa.PythonFile(sink, mode="w"),
        schema,
        compression="zstd",
        compression_level=ZSTD_LEVEL,
        use_dictionary=["collection", "metadata"],
        column_encoding={name: encoding for name, encoding in _ENCODINGS.items() if name in schema.names},
        data_page_size=PAGE_BYTES,
        write_statistics=["etag", "id"],
        write_page_checksum=True,
        encryption_properties=pe.create_encryption_properties(key) if key else None,
    )


class _Forwards:
    """The file that pyarrow wants, where there is only something to pass bytes on to."""

    closed = False

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._size = 0

    def write(self, data: Any) -> int:
        block = bytes(memoryview(data))
        self._write(block)
        self._size += len(block)
        return len(block)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


class DocumentTable:
    """Documents as one Parquet file with the columns that a backup has, passed on while they come."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._writer = _writer(_Forwards(write), DOCUMENTS.arrow)

    def write(self, batch: Batch) -> None:
        """Append a row group."""
        columns = pa.record_batch(document_columns(batch), schema=DOCUMENTS.arrow)
        self._writer.write_batch(columns, row_group_size=max(len(batch), 1))

    def close(self) -> None:
        """Write the end of the file."""
        self._writer.close()


def footer_in(end: bytes | bytearray) -> bytes:
    """The end of a file, from its metadata on: their length follows them, in four bytes, and `PAR1` or `PARE`."""
    return bytes(end[-(int.from_bytes(end[-8:-4], "little") + 8) :])


class ParquetFile:
    """One data file being written. `close` brings it to disk and returns what the manifest says of it."""

    def __init__(self, path: Path, schema: Schema, key: bytes | None = None) -> None:
        """With a key of 32 bytes, everything in it is encrypted (Parquet modular encryption, footer too)."""
        self._path = path
        self._schema = schema.arrow
        self._sink = _HashingSink(path)
        self._writer = _writer(self._sink, schema.arrow, key)
        self._rows = 0
        self._digest = 0
        self._first: int | None = None
        self._last = 0

    @property
    def size(self) -> int:
        """The bytes written so far."""
        return self._sink.size

    def write(self, columns: list[Any], etags: array[int], digest: int) -> None:
        """Append a row group; `digest` is the sum of the digests of its rows."""
        self._digest += digest
        self._writer.write_batch(pa.record_batch(columns, schema=self._schema), row_group_size=max(len(etags), 1))
        self._rows += len(etags)
        self._first = etags[0] if self._first is None else self._first
        self._last = etags[-1]

    def close(self) -> File:
        """End the file and bring it to disk."""
        self._sink.end = bytearray()
        self._writer.close()
        self._sink.finish()
        return File(
            name=self._path.name,
            size=self._sink.size,
            sha256=self._sink.sha256.hexdigest(),
            rows=self._rows,
            first_etag=self._first or 0,
            last_etag=self._last,
            rows_digest=f"{self._digest % MODULUS:064x}",
            footer=hashlib.sha256(footer_in(self._sink.end)).hexdigest(),
        )

    def abandon(self) -> None:
        """Close without finishing; the caller removes the file."""
        self._writer.is_open = False  # or pyarrow's finalizer would write the end of the file into the closed sink
        self._sink.abandon()


def document_columns(batch: Batch) -> list[Any]:
    """A batch as the columns of `DOCUMENTS`, without copying the bytes."""
    return [
        _integers(batch.etags, pa.int64()),
        _strings(batch.ids),
        _coded(batch.collections),
        _integers(batch.modified, DOCUMENTS.arrow.field("modified").type),
        _strings(batch.metadata),
        _strings(batch.bodies),
    ]


def _coded(column: Packed) -> Any:
    """A column as a dictionary of its values, of which there are few."""
    groups = groups_of(column)
    if column.nulls or len(groups) != 1:
        return _strings(column).dictionary_encode()
    ((numbers, names),) = groups
    return pa.DictionaryArray.from_arrays(
        _integers(array("i", iter(numbers)), pa.int32()), pa.array(names, pa.string())
    )


def _integers(values: array[int], type: Any) -> Any:
    return pa.Array.from_buffers(type, len(values), [None, pa.py_buffer(values)])


def _strings(column: Packed) -> Any:
    validity = None
    if column.nulls:
        bits = bytearray(b"\xff") * ((len(column) + 7) // 8)
        for i in column.nulls:
            bits[i >> 3] &= ~(1 << (i & 7)) & 0xFF
        validity = pa.py_buffer(bytes(bits))
    buffers = [validity, pa.py_buffer(column.offsets), pa.py_buffer(column.memory)]
    return pa.StringArray.from_buffers(len(column), buffers[1], buffers[2], buffers[0], len(column.nulls))


class AttachmentFile:
    """A data file of attachments being written: a row for each part of a content, everything but the data repeated."""

    def __init__(self, path: Path, key: bytes | None = None) -> None:
        self._file = ParquetFile(path, ATTACHMENTS, key)
        self._rows: list[tuple[Any, ...]] = []
        self._digest = 0
        self._waiting = 0

    @property
    def size(self) -> int:
        """The bytes written so far, and those that wait to be."""
        return self._file.size + self._waiting

    def append(self, revision: Revision, parts: Iterable[bytes], digest: bytes) -> Iterator[int]:
        """Append an attachment, or its tombstone, with its row's digest.

        Gives the size of each part when it has been taken in.
        """
        size = None if revision.body is None else revision.size
        self._digest += int.from_bytes(digest, "big")
        head = (
            revision.etag,
            *split_id(revision.id),
            revision.collection,
            revision.modified,
            revision.metadata.decode(),
        )
        position = -1
        for position, part in enumerate(parts):
            self._append((*head, size, revision.body, position, part), len(part))
            yield len(part)
        if position < 0:
            self._append((*head, size, revision.body, 0, None if size is None else b""), 0)

    def _append(self, row: tuple[Any, ...], size: int) -> None:
        self._rows.append(row)
        self._waiting += size + 200
        if self._waiting >= ATTACHMENT_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            columns = zip(zip(*self._rows, strict=True), ATTACHMENTS.arrow, strict=True)
            etags = array("q", [row[0] for row in self._rows])
            self._file.write([pa.array(values, field.type) for values, field in columns], etags, self._digest)
        self._rows, self._waiting, self._digest = [], 0, 0

    def close(self) -> File:
        """End the file and bring it to disk."""
        self._flush()
        return self._file.close()

    def abandon(self) -> None:
        """Close without finishing; the caller removes the file."""
        self._file.abandon()


class Source:
    """A data file of a backup, opened for reading. Every error in it is one of ours that names it."""

    @classmethod
    def of(cls, backup: Backup, file: File, here: Path | None = None) -> Source:
        """A file of this backup, or what came of it; raises `WrongKey` where that is encrypted and was not opened."""
        backup.check_open()
        schema = DOCUMENTS if file.kind == DOCUMENT else ATTACHMENTS
        key = backup.key.parquet if backup.key else None
        return backup.choose(file.name, lambda path: cls(here or path, file, schema, key))

    def __init__(self, path: Path, file: File, schema: Schema, key: bytes | None = None) -> None:
        self._where = path
        self._etags = (file.first_etag, file.last_etag)
        try:
            self._parquet = pq.ParquetFile(
                _object(path, file) if isinstance(path, Remote) else _openable(path),
                page_checksum_verification=True,
                pre_buffer=isinstance(path, Remote),  # columns that lie beside each other, in one request
                decryption_properties=pe.create_decryption_properties(key) if key else None,
            )
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(error) from error
        found = self._parquet.schema_arrow
        self._owners = schema is ATTACHMENTS and found.equals(ATTACHMENTS.arrow)
        known = found.equals(schema.arrow) or (schema is ATTACHMENTS and found.equals(_ATTACHMENTS_1.arrow))
        if not known or self._parquet.metadata.num_rows != file.rows:
            self.close()
            raise self._damaged("its columns or rows are not those of the manifest")

    def _damaged(self, error: object) -> MunimentError:
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):  # pyarrow's own have no number
            reason = os.strerror(error.errno or 0)
            return StorageFailure(
                f"{self._where} could not be read: {reason}", "check that the disk is there and that you may read it"
            )
        return DamagedBackup(f"{self._where} cannot be read: {error}", _HINT)

    def groups(self) -> list[tuple[int, int]]:
        """For each row group its first etag and its number."""
        metadata = self._parquet.metadata
        try:
            etags = [metadata.row_group(i).column(0).statistics for i in range(metadata.num_row_groups)]
            found = (min(group.min for group in etags), max(group.max for group in etags))
        except (AttributeError, TypeError, ValueError) as error:
            raise self._damaged(f"a row group has no statistics ({error})") from error
        if found != self._etags:
            raise self._damaged("its etags are not those of the manifest")
        return [(group.min, i) for i, group in enumerate(etags)]

    def read(self, group: int, columns: list[str] | None = None) -> Any:
        """One row group as a table, whole or only these columns."""
        try:
            if self._owners and columns and "id" in columns:
                columns = ["owner", *columns]
            table = self._parquet.read_row_group(group, columns, use_threads=False)
            table.validate(full=True)  # that its text is Unicode: 4 GB/s
            table = _with_whole_ids(table) if "owner" in table.column_names else table
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(error) from error
        return table

    def close(self) -> None:
        """Close the file."""
        self._parquet.close(force=True)


def dataset_of(files: Sequence[tuple[Backup, File]], kind: str) -> Any:
    """All files of a kind as one Arrow dataset, for a query engine; those that are encrypted are opened.

    An owned attachment has only its name as its id. None when there is no file.
    """
    schema = (DOCUMENTS if kind == "documents" else ATTACHMENTS).arrow
    parts = []
    for backup, file in files:
        if file.name.startswith(kind):
            backup.check_open()
            opened = pe.create_decryption_properties(backup.key.parquet) if backup.key else None
            scan = ds.ParquetFragmentScanOptions(decryption_properties=opened)
            read = ds.ParquetFileFormat(default_fragment_scan_options=scan)
            path = backup.path(file.name)
            if isinstance(path, Remote):
                fragment = read.make_fragment(path.open("rb"))
                parts.append(ds.FileSystemDataset([fragment], schema, read))
            else:
                parts.append(ds.dataset([str(path)], schema=schema, format=read))
    return ds.UnionDataset(schema, parts) if parts else None


def _object(path: Remote, file: File) -> Any:
    """An object to read ranges of, or all of a small one: its SHA-256, or that of its footer, is the manifest's.

    Of a large one, the rest is proven by what Parquet has for each page: a checksum, or where it is encrypted, a tag.
    """
    if file.size <= WHOLE_BYTES:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != file.sha256:
            raise DamagedBackup(f"{path} was changed: its SHA-256 is not the manifest's", _HINT)
        return pa.BufferReader(content)
    size = path.stat().st_size
    if size != file.size:
        raise DamagedBackup(f"{path} has {size:,} bytes; the manifest says {file.size:,}", _HINT)
    end = path.read_range(size - END_BYTES, END_BYTES)
    length = int.from_bytes(end[-8:-4], "little") + 8
    if END_BYTES < length <= size:
        end = path.read_range(size - length, length)
    if file.footer and hashlib.sha256(footer_in(end)).hexdigest() != file.footer:
        raise DamagedBackup(f"{path} was changed: the SHA-256 of its footer is not the manifest's", _HINT)
    return Ranges(path, size, end)


def _openable(path: Path) -> Any:
    """What pyarrow can open: the path, or a file, through which it reads more slowly.

    That is where the path is not Unicode.
    """
    unicode = str(path).encode(errors="replace").decode() == str(path)
    return path if unicode else path.open("rb")


def _with_whole_ids(table: Any) -> Any:
    """The table without owners, which are part of the ids then."""
    owners, ids = table.column("owner"), table.column("id")
    whole = pc.if_else(pc.is_valid(owners), pc.binary_join_element_wise(owners, ids, SEPARATOR), ids)
    return table.set_column(table.column_names.index("id"), "id", whole).drop_columns(["owner"])


PARQUET: Final = b"PAR1"  # how such a file begins, and ends


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of any Parquet file, by the names of its columns; raises `UnknownFormat` for what is none."""
    try:
        with closing(pq.ParquetFile(path, page_checksum_verification=True)) as file:
            for batch in file.iter_batches(batch_size=1024, use_threads=False):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UnknownFormat(f"{path} cannot be read as Parquet: {error}", "copy or write it again") from error


def batch_of(table: Any) -> Batch:
    """A row group of documents as a batch, whose bytes stay where Arrow has them."""
    return Batch(
        _numbers(table.column("etag")),
        _packed(table.column("id")),
        _packed(table.column("collection").cast(pa.string())),
        _numbers(table.column("modified")),
        _packed(table.column("metadata")),
        _packed(table.column("document")),
    )


def _one_array(column: Any) -> Any:
    if isinstance(column, pa.ChunkedArray) and column.num_chunks == 1:
        return column.chunk(0)  # which to combine would copy it
    combined = column.combine_chunks()
    if isinstance(combined, pa.ChunkedArray):
        combined = combined.chunk(0) if combined.num_chunks else pa.array([], combined.type)
    return combined


def numbers_of(table: Any, column: str) -> array[int]:
    """A column of integers or times."""
    return _numbers(table.column(column))


def texts_of(table: Any, column: str) -> list[str]:
    """A column of strings without nulls."""
    texts: list[str] = table.column(column).to_pylist()
    return texts


def _numbers(column: Any) -> array[int]:
    """Integers or times of 64 bits."""
    values = _one_array(column)
    if values.null_count:
        return array("q", values.to_pylist())  # which says so
    numbers: array[int] = array("q")
    start = 8 * values.offset
    numbers.frombytes(memoryview(values.buffers()[1])[start : start + 8 * len(values)])
    return numbers


def _packed(column: Any) -> Packed:
    values = _one_array(column)
    _, offsets_buffer, data = values.buffers()
    offsets: array[int] = array("i")
    start = 4 * values.offset
    offsets.frombytes(memoryview(offsets_buffer)[start : start + 4 * (len(values) + 1)])
    nulls = [i for i, present in enumerate(values.is_valid().to_pylist()) if not present] if values.null_count else ()
    return Packed(offsets, data if data is not None and data.size else b"", nulls)


def attachments_of(tables: Iterable[Any]) -> Iterator[tuple[Revision, Iterator[bytes]]]:
    """Attachments with their parts from the row groups of a file; parts that are not asked for are passed over."""
    for _, rows in groupby(_attachment_rows(tables), key=itemgetter(0)):
        first = next(rows)
        etag, id, collection, modified, metadata, size, sha256, _, _ = first
        revision = Revision(etag, ATTACHMENT, id, collection, modified, metadata.encode(), sha256, size or 0)
        yield revision, (row[8] for row in chain([first], rows) if row[8])


def _attachment_rows(tables: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    for table in tables:
        columns = [
            (column.cast(pa.int64()) if field.name == "modified" else column).to_pylist()
            for column, field in zip(table.columns, _ATTACHMENTS_1.arrow, strict=True)
        ]
        yield from zip(*columns, strict=True)
