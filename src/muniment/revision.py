"""The record that everything carries: a revision of a document or an attachment, alone or in batches of columns.

The log, a Parquet row, a dump line and a copy to another engine all hold revisions; their order is the etag.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from operator import sub
from typing import Final, NamedTuple, Protocol

DOCUMENT: Final = 0
ATTACHMENT: Final = 1
NO_METADATA: Final = b"{}"


class Revision(NamedTuple):
    """One version of a document or an attachment, or its deletion.

    `modified` is in microseconds since 1970 (UTC) and is shared by all revisions of one transaction. `body` is None
    for a tombstone; for an attachment it is the SHA-256 of the content, and `size` the content's length. `content` is
    the engine's own handle on an attachment's content; it means nothing elsewhere.
    """

    etag: int
    kind: int
    id: str
    collection: str | None
    modified: int
    metadata: bytes
    body: bytes | None
    size: int
    content: int | None = None


class Lent(Protocol):
    """Bytes that another library keeps for as long as this is there, as a buffer of Arrow does."""

    @property
    def address(self) -> int:
        """Where they are."""

    @property
    def size(self) -> int:
        """How many."""

    def to_pybytes(self) -> bytes:
        """A copy."""

    def __buffer__(self, flags: int, /) -> memoryview: ...


@dataclass(slots=True, frozen=True)
class Packed:
    """A column of byte strings in one piece: value i is `data[offsets[i]:offsets[i + 1]]`, or None if i is in `nulls`.

    `offsets` are signed 32-bit, one more than there are values, the layout of an Arrow string column.
    """

    offsets: array[int]
    memory: bytes | memoryview | Lent
    nulls: Sequence[int] = ()
    _copy: bytes | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def data(self) -> bytes:
        """The bytes of all values; those that are lent are copied once."""
        if isinstance(self.memory, bytes):
            return self.memory
        if self._copy is None:
            lent = self.memory
            object.__setattr__(self, "_copy", bytes(lent) if isinstance(lent, memoryview) else lent.to_pybytes())
        assert self._copy is not None
        return self._copy

    @property
    def size(self) -> int:
        """How many bytes they are."""
        return len(self.memory) if isinstance(self.memory, bytes | memoryview) else self.memory.size

    @classmethod
    def of_lengths(cls, lengths: Sequence[int], data: bytes) -> Packed:
        """From the lengths of the values, -1 where there is none, and their concatenation."""
        nulls: Sequence[int] = ()
        if -1 in lengths:
            nulls = [i for i, length in enumerate(lengths) if length < 0]
            lengths = [max(length, 0) for length in lengths]
        return cls(array("i", accumulate(lengths, initial=0)), data, nulls)

    @classmethod
    def of(cls, values: Iterable[bytes | None]) -> Packed:
        """From the values themselves."""
        values = list(values)
        return cls.of_lengths([-1 if v is None else len(v) for v in values], b"".join(v for v in values if v))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def first(self, rows: int) -> Packed:
        """The first so many values."""
        return Packed(self.offsets[: rows + 1], self.data[: self.offsets[rows]], [i for i in self.nulls if i < rows])

    def lengths(self) -> Iterator[int]:
        """The length of each value, 0 where there is none."""
        return map(sub, self.offsets[1:], self.offsets)

    def value(self, row: int) -> bytes | None:
        """The value in a row."""
        return None if row in self.nulls else self.data[self.offsets[row] : self.offsets[row + 1]]

    def values(self) -> list[bytes]:
        """The values of a column that has one in every row."""
        data = self.data
        return [data[start:end] for start, end in pairwise(self.offsets)]

    def views(self) -> list[memoryview]:
        """The same without copying them, empty where there is none."""
        data = memoryview(self.memory)
        return [data[start:end] for start, end in pairwise(self.offsets)]

    def __iter__(self) -> Iterator[bytes | None]:
        values: list[bytes | None] = list(self.values())
        for i in self.nulls:
            values[i] = None
        return iter(values)


@dataclass(slots=True, frozen=True)
class Batch:
    """Revisions of documents in etag order, in columns; iterating gives them one by one.

    Columns are what makes a backup as fast as its compression: no Python object is made for a row. `digests` are those
    that the log keeps of the rows (`fingerprint.batch_digests` gives those that they have), None where they come
    from elsewhere.
    """

    etags: array[int]
    ids: Packed
    collections: Packed
    modified: array[int]
    metadata: Packed
    bodies: Packed
    digests: Packed | None = None

    @classmethod
    def of(cls, revisions: Sequence[Revision]) -> Batch:
        """From revisions of documents."""
        ids = Packed.of(revision.id.encode() for revision in revisions)
        collections = Packed.of(None if (name := each.collection) is None else name.encode() for each in revisions)
        metadata = Packed.of(revision.metadata for revision in revisions)
        bodies = Packed.of(revision.body for revision in revisions)
        etags, modified = array("q", (r.etag for r in revisions)), array("q", (r.modified for r in revisions))
        return cls(etags, ids, collections, modified, metadata, bodies)

    def __len__(self) -> int:
        return len(self.etags)

    def size(self) -> int:
        """The bytes of all ids, metadata and bodies."""
        return self.ids.size + self.metadata.size + self.bodies.size

    def first(self, rows: int) -> Batch:
        """The batch of the first so many rows only."""
        if rows >= len(self):
            return self
        ids, collections, metadata, bodies = (column.first(rows) for column in self._packed())
        digests = self.digests and self.digests.first(rows)
        return Batch(self.etags[:rows], ids, collections, self.modified[:rows], metadata, bodies, digests)

    def take(self, rows: Sequence[int]) -> Batch:
        """The batch of these rows only, which must be in ascending order."""
        if len(rows) == len(self):
            return self
        columns = [Packed.of([values[row] for row in rows]) for values in map(list, self._packed())]
        etags, modified = (array("q", (numbers[row] for row in rows)) for numbers in (self.etags, self.modified))
        digests = None
        if self.digests:
            kept = self.digests.values()
            digests = Packed.of(kept[row] for row in rows)
        return Batch(etags, columns[0], columns[1], modified, columns[2], columns[3], digests)

    def _packed(self) -> tuple[Packed, Packed, Packed, Packed]:
        return self.ids, self.collections, self.metadata, self.bodies

    def __iter__(self) -> Iterator[Revision]:
        ids, metadata = self.ids.values(), self.metadata.values()
        columns = zip(self.etags, ids, self.collections, self.modified, metadata, self.bodies, strict=True)
        for etag, id, collection, modified, metadata, body in columns:
            yield Revision(
                etag,
                DOCUMENT,
                id.decode(),
                None if collection is None else collection.decode(),
                modified,
                metadata,
                body,
                0 if body is None else len(body),
            )
