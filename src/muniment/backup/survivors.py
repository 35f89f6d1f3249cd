"""Which of a chain's revisions are the newest of their ids, decided on ids and etags before any document is read.

The ids that changed after the full backup are kept in a temporary database, which goes to disk when there are many, so
that memory does not grow with the chain.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Final

from muniment.document import fold
from muniment.storage.scratch import scratch_database

_ADD: Final = """
INSERT INTO newest VALUES(?, ?, ?) ON CONFLICT(kind, key) DO UPDATE SET etag = max(etag, excluded.etag)
"""
_FIND: Final = "SELECT key, etag FROM newest WHERE kind = ? AND key = ?"


class Survivors:
    """The newest etag of every id that was added."""

    def __init__(self) -> None:
        self._scratch = ExitStack()
        self._connection = self._scratch.enter_context(scratch_database())
        self._connection.execute("CREATE TABLE newest(kind, key, etag, PRIMARY KEY(kind, key)) WITHOUT ROWID; BEGIN")

    def add(self, kind: int, ids: Iterable[str], etags: Iterable[int]) -> None:
        """Take these revisions into account."""
        rows = ((kind, fold(id), etag) for id, etag in zip(ids, etags, strict=True))
        self._connection.executemany(_ADD, rows)

    def newest(self, kind: int, ids: Sequence[str]) -> list[int | None]:
        """For each id the newest etag that was added, None when none was."""
        keys = [fold(id) for id in ids]
        found = dict(self._connection.executemany(_FIND, ((kind, key) for key in keys)))
        return [found.get(key) for key in keys]

    def close(self) -> None:
        """Forget everything."""
        self._scratch.close()
