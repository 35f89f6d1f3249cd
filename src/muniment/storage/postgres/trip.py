"""Statements that go to PostgreSQL together and are waited for once, with all values in binary.

psycopg's pipeline does that too, and takes several times the processor's time for it: each statement is a cursor there,
and each value of an array is looked at for its type. Here a value has the type that the statement gives it, as in
`%b::bigint[]`.
"""

from __future__ import annotations

import re
import select
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import count, repeat
from operator import attrgetter
from struct import Struct
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg
from psycopg import errors as failures
from psycopg.adapt import Transformer
from psycopg.pq import ConnStatus, ExecStatus, Format
from psycopg.pq.abc import PGconn, PGresult

from muniment.storage.postgres.connection import Connection

MOST_PREPARED: Final = 200  # on one connection, by which a process writes to many databases
UNSENT_BYTES: Final = 1 << 20  # of much more, libpq moves all the rest whenever the system has taken a part
_BOUND: Final = re.compile(r"%b::(\w+(?:\[\])?)")
_DONE: Final = ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK
_number: Final = count()
_length: Final = Struct(">i").pack
_head: Final = Struct(">iiIii").pack
_ABSENT: Final = _length(-1)
_LENGTHS: Final = tuple(map(_length, range(4096)))  # to make one takes as long as all else of a value

_Encode: TypeAlias = Callable[[Any], bytes]


class _Statement(NamedTuple):
    text: bytes
    encode: Sequence[_Encode]
    formats: Sequence[Format]


class Answer:
    """What a statement has given, when the trip is over."""

    def __init__(self) -> None:
        self._result: PGresult | None = None

    def take(self, result: PGresult) -> None:
        """This is it."""
        self._result = result

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """Its rows."""
        assert self._result is not None
        transformer = Transformer()
        transformer.set_pgresult(self._result)
        return transformer.load_rows(0, self._result.ntuples, tuple)


class Trip:
    """Statements for one connection, in the order in which `run` executes them.

    With `prepare`, PostgreSQL knows those that it has executed before. It may have forgotten them, which is a
    `psycopg.errors.InvalidSqlStatementName`; then they are prepared again the next time.
    """

    def __init__(self, connection: Connection, *, prepare: bool = False) -> None:
        self._connection = connection
        self._prepare = prepare
        self._asked: list[tuple[_Statement, Sequence[bytes | None], Answer]] = []

    def execute(self, statement: str, bound: Sequence[Any] = ()) -> Answer:
        """Add a statement, and the values that it binds."""
        compiled, answer = _compiled(statement), Answer()
        pairs = zip(compiled.encode, bound, strict=True)
        values = [None if value is None else encode(value) for encode, value in pairs]
        self._asked.append((compiled, values, answer))
        return answer

    def run(self) -> None:
        """Execute them; raises what the first of them fails with, after which none is."""
        connection, failed = self._connection, None
        try:
            connection.pgconn.enter_pipeline_mode()
            takers = self._send(connection.pgconn, connection.prepared)
            results = _results(connection.pgconn)
            connection.pgconn.exit_pipeline_mode()
        except BaseException:
            connection.close()  # nobody knows what it would say next
            raise
        for take, result in zip(takers, results, strict=True):
            if result.status in _DONE:
                take(result)
            elif failed is None:
                failed = failures.error_from_result(result)
        if failed is not None:
            if isinstance(failed, failures.InvalidSqlStatementName):
                connection.prepared.clear()
            raise failed

    def _send(self, pgconn: PGconn, prepared: dict[bytes, bytes]) -> list[Callable[[PGresult], None]]:
        """Send all; gives what takes each result."""
        asked, self._asked = self._asked, []
        takers: list[Callable[[PGresult], None]] = []
        while len(prepared) > MOST_PREPARED:
            pgconn.send_query_params(b'DEALLOCATE "%s"' % prepared.pop(next(iter(prepared))), None)
            takers.append(lambda _: None)
        new: dict[bytes, bytes] = {}
        unsent = 0
        for (text, _, formats), values, answer in asked:
            if self._prepare:
                name = prepared.get(text) or new.get(text)
                if name is None:
                    name = new[text] = b"%d %s" % (next(_number), text.split(maxsplit=1)[0])
                    pgconn.send_prepare(name, text)
                    takers.append(partial(_note, prepared, text, name))
                pgconn.send_query_prepared(name, values, formats, Format.BINARY)
            else:
                pgconn.send_query_params(text, values, None, formats, Format.BINARY)
            takers.append(answer.take)
            unsent += sum(len(value) for value in values if value)
            if unsent > UNSENT_BYTES:
                while pgconn.flush():
                    _wait(pgconn, sending=True)
                unsent = 0
        pgconn.pipeline_sync()
        return takers


def _note(prepared: dict[bytes, bytes], text: bytes, name: bytes, _: PGresult) -> None:
    prepared[text] = name


def _results(pgconn: PGconn) -> list[PGresult]:
    """What was sent has come to, up to the sync."""
    found: list[PGresult] = []
    while True:
        while pgconn.is_busy():
            _wait(pgconn, sending=bool(pgconn.flush()))
        result = pgconn.get_result()
        if result is None:
            if pgconn.status == ConnStatus.BAD:
                raise failures.error_from_result(found[-1]) if found else psycopg.OperationalError("connection lost")
        elif result.status == ExecStatus.PIPELINE_SYNC:
            return found
        else:
            found.append(result)


def _wait(pgconn: PGconn, *, sending: bool) -> None:
    """Until PostgreSQL has said something, or takes more while something is to be sent to it."""
    poll = select.poll()
    poll.register(pgconn.socket, select.POLLIN | (select.POLLOUT if sending else 0))
    poll.poll()
    pgconn.consume_input()


# Values in PostgreSQL's binary format: arrays have a head, and before each value its length.


def _array(element: int, absent: bool, count: int, values: bytes) -> bytes:
    return _head(1, absent, element, count, 1) + values if count else _head(0, 0, element, 0, 0)[:12]


def _byte_strings(values: Sequence[bytes | None]) -> bytes:
    parts: list[bytes] = []
    for value in values:
        if value is None:
            parts.append(_ABSENT)
        else:
            size = len(value)
            parts += (_LENGTHS[size] if size < len(_LENGTHS) else _length(size), value)
    return _array(17, None in values, len(values), b"".join(parts))


def _integers(element: int, code: str) -> tuple[_Encode, _Encode]:
    """For one whole number, and for an array of them."""
    alone, within = Struct(f">{code}"), Struct(f">i{code}").pack

    def many(values: Sequence[int | None]) -> bytes:
        if None in values:
            parts = [_ABSENT if value is None else within(alone.size, value) for value in values]
        else:
            parts = list(map(within, repeat(alone.size), values))
        return _array(element, None in values, len(values), b"".join(parts))

    return alone.pack, many


def _encoders() -> dict[str, _Encode]:
    found: dict[str, _Encode] = {"bytea": bytes, "bytea[]": _byte_strings, "uuid": attrgetter("bytes")}
    for name, element, code in (("smallint", 21, "h"), ("integer", 23, "i"), ("bigint", 20, "q")):
        found[name], found[f"{name}[]"] = _integers(element, code)
    return found


_ENCODERS: Final = _encoders()


@lru_cache(1024)
def _compiled(statement: str) -> _Statement:
    types = _BOUND.findall(statement)
    places = count(1)
    text = _BOUND.sub(lambda found: f"${next(places)}::{found[1]}", statement)
    return _Statement(text.encode(), [_ENCODERS[type] for type in types], [Format.BINARY] * len(types))
