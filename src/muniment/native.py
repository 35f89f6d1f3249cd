"""What is done for a whole batch in one call to C, outside Python's global lock, where that was compiled.

It is compiled when Muniment is installed, if there is a compiler. `digests.c` calls SHA-256 in the libcrypto that
Python's `hashlib` uses, `rows.c` the SQLite in apsw, `pages.c` what that writes a file with, and `dumps.c` and
`export.c` nothing. `fingerprint`, `storage.sqlite.rows`, `smuggler.reader` and `smuggler.dump_document` do the same in
Python, and use this where it is there; without it, SQLite writes page by page.
"""

from __future__ import annotations

import ctypes
import hashlib
from array import array
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from muniment.revision import Batch, Packed

LIBRARY: Final = Path(__file__).with_name("native.shared")  # not .so: that would be a module of Python's
SEAL: Final = LIBRARY.with_suffix(".sha256")  # of the library, and of what calls it with memory laid out as it was then
CALLERS: Final = (Path(__file__), Path(__file__).parent / "smuggler" / "cut.py")
DIGEST_BYTES: Final = 32
UNCOUNTED: Final = 255  # the group of what is in none, and how many groups there may be
_FUNCTIONS: Final = ("SHA256_Init", "SHA256_Update", "SHA256_Final")
INTEGER, TEXT, BLOB = 1, 3, 4  # as SQLite numbers its types
_WORDS: Final = 5
KINDS: Final = 255  # of metadata in a batch
_POINTER, _NUMBER = ctypes.c_void_p, ctypes.c_int64

_new_bytes: Any = ctypes.pythonapi.PyBytes_FromStringAndSize
_new_bytes.restype, _new_bytes.argtypes = ctypes.py_object, [ctypes.c_char_p, ctypes.c_ssize_t]


class _Column(ctypes.Structure):
    _fields_ = (("offsets", _POINTER), ("data", _POINTER), ("size", _NUMBER))


class Values(ctypes.Structure):
    """A column for `Native.rows`: the memory of another, which must outlive it."""

    _fields_ = (
        *(("numbers", _POINTER), ("bytes", _Column)),
        *(("absent", ctypes.c_char_p), ("text", _NUMBER)),
    )

    @classmethod
    def of(cls, column: array[int] | Packed, rows: int, *, text: bool = False) -> Values:
        """Numbers of 64 bits, or bytes, which may be text."""
        if isinstance(column, array):
            return cls(numbers=_address(column, rows, 8))
        return cls(bytes=_column(column, rows), absent=_marks(rows, column.nulls), text=text)


class Room(ctypes.Structure):
    """Room for a column of `Native.columns`, in the memory of another, which must outlive it."""

    _fields_ = (
        *(("numbers", _POINTER), ("offsets", _POINTER), ("data", _POINTER), ("size", _NUMBER)),
        *(("absent", _POINTER), ("type", _NUMBER)),
    )


class _Words(ctypes.Structure):
    _fields_ = (
        ("before", ctypes.c_char_p),
        ("before_size", _NUMBER),
        ("time", ctypes.c_char_p),
        ("time_size", _NUMBER),
    )


class Alike(NamedTuple):
    """Of some metadata in each row the string that was looked for, which may not be there, and the kind of the rest.

    `strings` are the places where one starts and ends, with its quotes, both 0 where there is none; `firsts` are the
    first rows of each kind.
    """

    strings: array[int]
    kinds: bytes
    firsts: Sequence[int]


class Native:
    """The functions of the library. What they are given and give is as in `fingerprint`."""

    def __init__(self, library: ctypes.CDLL, sha256: Any) -> None:
        self._sha256 = sha256
        self._digests, self._sums = library.muniment_digests, library.muniment_sums
        self._digests.argtypes = [_POINTER, _NUMBER, *[_POINTER] * 7, ctypes.c_int]
        self._sums.argtypes = [_NUMBER, ctypes.c_char_p, _POINTER, ctypes.c_char_p, _NUMBER, *[_POINTER] * 3]
        self.cut = library.muniment_cut  # by `smuggler.cut` alone
        self.cut.argtypes, self.cut.restype = [ctypes.c_char_p, *[_NUMBER] * 5, _POINTER, _POINTER], _NUMBER
        self._groups = library.muniment_groups
        self._groups.argtypes = [_NUMBER, _POINTER, ctypes.c_char_p, _NUMBER, _POINTER, _POINTER]
        self._groups.restype = _NUMBER
        self._rows = library.muniment_rows
        self._rows.argtypes = [_POINTER, ctypes.c_char_p, _NUMBER, _POINTER, ctypes.c_int]
        self.gather, self.gathered = (
            library.muniment_gather,
            library.muniment_gathered,
        )  # by `storage.sqlite.rows` alone
        self.gather.argtypes = self.gathered.argtypes = [_POINTER]
        self._error = library.muniment_error
        self._error.argtypes, self._error.restype = [_POINTER], ctypes.c_char_p
        self._columns = library.muniment_columns
        self._copies = library.muniment_copies
        self._copies.argtypes = [_NUMBER, _POINTER, ctypes.c_int, _POINTER, _NUMBER]
        self._copies.restype = _NUMBER
        self._columns.argtypes = [
            *(_POINTER, ctypes.c_char_p, _POINTER, ctypes.c_int, _NUMBER),
            *(_POINTER, ctypes.c_int, _POINTER),
        ]
        self._objects = library.muniment_objects
        self._objects.argtypes, self._objects.restype = [_NUMBER, _POINTER, ctypes.c_char_p], _NUMBER
        self._alike, self._dump = library.muniment_alike, library.muniment_dump
        self._alike.argtypes = [_NUMBER, _POINTER, ctypes.c_char_p, _NUMBER, _NUMBER, *[_POINTER] * 3]
        self._dump.argtypes = [_NUMBER, _POINTER, ctypes.c_char_p, _POINTER, _POINTER, _NUMBER, _NUMBER, _POINTER]
        self._signs = library.muniment_signs
        self._signs.argtypes = [_POINTER, _NUMBER]
        self._alike.restype = self._dump.restype = _NUMBER

    def members(self, ids: Packed, metadata: Packed, bodies: Packed) -> bytes:
        """The digests of members in one piece."""
        rows = len(ids)
        members = ctypes.create_string_buffer(max(rows * DIGEST_BYTES, 1))
        columns = _columns(rows, ids, metadata, bodies, ids)
        _check(self._digests(self._sha256, rows, columns, None, None, None, None, members, None, False))
        return members.raw[: rows * DIGEST_BYTES]

    def digests(self, batch: Batch, members: bytes | None = None) -> tuple[bytes, bytes]:
        """The digests of all members, those of tombstones too, and of all rows, each in one piece."""
        rows = len(batch)
        if members is not None and len(members) != rows * DIGEST_BYTES:
            raise ValueError("these are not as many as there are rows")
        columns = _columns(rows, batch.ids, batch.metadata, batch.bodies, batch.collections)
        dead, unnamed = _marks(rows, batch.bodies.nulls), _marks(rows, batch.collections.nulls)
        made, found = (ctypes.create_string_buffer(max(rows * DIGEST_BYTES, 1)) for _ in range(2))
        numbers = [_address(each, rows, 8) for each in (batch.etags, batch.modified)]
        given = members is not None
        _check(self._digests(self._sha256, rows, columns, *numbers, dead, unnamed, members or made, found, given))
        return members or made.raw[: rows * DIGEST_BYTES], found.raw[: rows * DIGEST_BYTES]

    def sums(self, digests: bytes, bodies: Packed, group: bytes, groups: int) -> list[tuple[int, int, int]]:
        """For each group how many of these digests it has, the bytes of their bodies, and their sum."""
        rows = len(bodies)
        if len(group) != rows or len(digests) != rows * DIGEST_BYTES or not groups <= UNCOUNTED:
            raise ValueError("these are not as many as there are rows")
        sums, counts, sizes = array("Q", bytes(8 * _WORDS * groups)), *(array("q", bytes(8 * groups)) for _ in range(2))
        outcome = [each.buffer_info()[0] for each in (sums, counts, sizes)]
        _check(self._sums(rows, digests, _columns(rows, bodies), group, groups, *outcome))
        numbers = (sums[start : start + _WORDS] for start in range(0, len(sums), _WORDS))
        totals = [sum(word << (64 * place) for place, word in enumerate(words)) for words in numbers]
        return list(zip(counts, sizes, totals, strict=True))

    def groups(self, column: Packed) -> tuple[bytearray, list[int]] | None:
        """The number of each row's value among the different ones, and a row for each of these, in their order.

        None when they are more than can be numbered.
        """
        rows = len(column)
        group, firsts = bytearray(rows), array("q", bytes(8 * UNCOUNTED))
        given = (ctypes.c_char * rows).from_buffer(group)
        marks = _marks(rows, column.nulls)
        found = self._groups(rows, _columns(rows, column), marks, UNCOUNTED, firsts.buffer_info()[0], given)
        _check(found == -2)
        return None if found < 0 else (group, firsts[:found].tolist())

    def rows(self, database: int, statement: str, rows: int, columns: Sequence[Values]) -> int:
        """Execute a statement for each row with the values of the columns; returns SQLite's code, 0 if all went well.

        The database is a pointer to SQLite's own, which must have loaded this library as an extension.
        """
        code: int = self._rows(database, statement.encode(), rows, (Values * len(columns))(*columns), len(columns))
        return code

    def copies(self, rows: int, columns: Sequence[Values]) -> bytes:
        """The rows of these columns as PostgreSQL's COPY takes them in binary; of numbers, `text` have two bytes."""
        size = rows * (2 + 12 * len(columns)) + sum(column.bytes.size for column in columns)
        copied = bytearray(max(size, 1))
        given = (ctypes.c_char * len(copied)).from_buffer(copied)
        written = self._copies(rows, (Values * len(columns))(*columns), len(columns), given, size)
        _check(written < 0)
        return bytes(memoryview(copied)[:written])

    def error(self, database: int) -> str:
        """What SQLite says of the last error in the database."""
        said: bytes = self._error(database)
        return said.decode(errors="replace")

    def columns(
        self, database: int, query: str, bindings: Sequence[int], rows: int, rooms: Sequence[Room]
    ) -> tuple[int, int]:
        """Take the rows of a query, at most so many; returns how many there were, and SQLite's code.

        That is `SQLITE_DONE` when it has no more, and `SQLITE_ROW` when there was no room for the next one, or it has
        a value of another type. The database is as for `rows`.
        """
        found, bound = _NUMBER(), (_NUMBER * len(bindings))(*bindings)
        given = (Room * len(rooms))(*rooms)
        code: int = self._columns(
            database, query.encode(), bound, len(bound), rows, given, len(rooms), ctypes.byref(found)
        )
        return found.value, code

    def objects(self, column: Packed) -> bool:
        """Whether all of these are certain to be JSON objects from their first bytes on, where there are any."""
        rows = len(column)
        count: int = self._objects(rows, _columns(rows, column), _marks(rows, column.nulls))
        return count == rows

    def alike(self, metadata: Packed, mark: bytes) -> Alike | None:
        """Which metadata differ only in the string after this mark, which ends in its opening quote.

        None where there are many kinds, or some are long or have an escape in that string.
        """
        rows = len(metadata)
        strings, kinds, firsts = array("i", bytes(8 * rows)), bytes(rows), array("q", bytes(8 * KINDS))
        places = strings.buffer_info()[0], ctypes.c_char_p(kinds), firsts.buffer_info()[0]
        count = self._alike(rows, _columns(rows, metadata), mark, len(mark), KINDS, *places)
        return None if count < 0 else Alike(strings, kinds, firsts[:count])

    def signs(self, column: Packed) -> tuple[bool, bool]:
        """Whether there may be in JSON a member `@metadata`, and a number that no double can hold."""
        found: int = self._signs(_start(column), column.size)
        return bool(found & 1), bool(found & 2)

    def dump(
        self,
        columns: tuple[Packed, Packed, Packed, Packed],
        alike: Alike,
        words: Sequence[tuple[bytes, bytes | None]],
        separator: bytes,
        *,
        bare: bool,
    ) -> bytes | None:
        """Documents as a dump has them, from their bodies, ids, metadata and times, with a separator between them.

        Ids and times are JSON, or the ids, being `bare`, have no quotes yet. The words of a kind of metadata are what
        is written before the id, and its time; where that is None, it is the string in the row's metadata, or if there
        is none in `times`. None where a body is no object.
        """
        rows, own = len(columns[0]), _columns(len(columns[0]), *columns)
        of = (_Words * len(words))(*(_Words(before, len(before), time, len(time or b"")) for before, time in words))
        given = rows, own, alike.kinds, of, alike.strings.buffer_info()[0], bare, separator[0]
        size = self._dump(*given, None)
        if size < 0:
            return None
        found: bytes = _new_bytes(None, size)  # a bytes object that nobody else has yet, for C to write to
        self._dump(*given, ctypes.c_char_p(found))
        return found


def load() -> Native | None:
    """The library, None where there is none or a damaged one, or no libcrypto with what it calls."""
    found = look()
    return found if isinstance(found, Native) else None


@cache
def look() -> Native | str:
    """The library, or why it cannot be used.

    Loading a library of which a part is missing would end the process; so would calling that of another version, which
    an upgrade leaves that was interrupted, and a checkout in which nothing was compiled after a change.
    """
    try:
        sealed = SEAL.read_bytes().split()
    except OSError:
        return "nothing was compiled when Muniment was installed: there was no C compiler, or it failed"
    try:
        import _hashlib

        found = [hashlib.sha256(path.read_bytes()).hexdigest().encode() for path in (LIBRARY, *CALLERS)]
        if found != sealed:
            return "what was compiled is damaged, or of another version: install Muniment again"
        library, libcrypto = ctypes.CDLL(str(LIBRARY)), ctypes.CDLL(getattr(_hashlib, "__file__", None))
        functions = [ctypes.cast(libcrypto[name], _POINTER) for name in _FUNCTIONS]
        return Native(library, (_POINTER * len(functions))(*functions))
    except (ImportError, OSError, AttributeError) as error:
        return f"what was compiled cannot be loaded: {error}"


def _columns(rows: int, *columns: Packed) -> Any:
    return (_Column * len(columns))(*(_column(each, rows) for each in columns))


def _column(column: Packed, rows: int) -> _Column:
    return _Column(_address(column.offsets, rows + 1, 4), _start(column), column.size)


def _start(column: Packed) -> int | None:
    """Where the bytes of a column are; never nowhere, which SQLite would take for no value instead of an empty one."""
    memory = column.memory if column.size else b""
    if isinstance(memory, bytes):
        return ctypes.cast(ctypes.c_char_p(memory), _POINTER).value
    if isinstance(memory, memoryview):
        return ctypes.addressof(ctypes.c_char.from_buffer(memory))
    return memory.address


def _address(numbers: array[int], count: int, size: int) -> int:
    address, length = numbers.buffer_info()
    if length != count or numbers.itemsize != size:
        raise ValueError(f"a column has {length} numbers of {numbers.itemsize} bytes, not {count} of {size}")
    return address


def _marks(rows: int, marked: Sequence[int]) -> bytes | None:
    if not marked:
        return None
    marks = bytearray(rows)
    for row in marked:
        marks[row] = 1
    return bytes(marks)


def _check(code: int) -> None:
    if code:
        raise ValueError("a column is shorter than it should be" if code == 1 else "libcrypto made no digest")
