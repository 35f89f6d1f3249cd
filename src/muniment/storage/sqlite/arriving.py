"""Many documents at once into a database that has none of them yet: an import's.

Nothing is looked up and no object is made for a row. Whether one of the documents is there is what the key of `current`
tells when they come to it; then all are written as any others are.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Final

import apsw

from muniment.fingerprint import Totals, members_digests
from muniment.revision import DOCUMENT, Batch
from muniment.storage.base import Arrived, Documents
from muniment.storage.indexes import DEFINITIONS
from muniment.storage.loading import folded
from muniment.storage.sqlite.loader import LOG
from muniment.storage.sqlite.rows import Rows, Texts
from muniment.storage.sqlite.transaction import Transaction, Writes

_POINTER: Final = f"INSERT INTO current VALUES({DOCUMENT}, ?1, nullif(?2, ?1), ?3, ?4, length(?5), ?6)"


class Arrivals:
    """A job that writes these documents. It gives their etags if none had been there, or else what was written.

    `replaced` is filled as that of `Writes`; `rows` gives what fills the tables.
    """

    __slots__ = "_documents", "_keys", "_members", "_replaced", "_rows"

    def __init__(self, documents: Documents, replaced: dict[int, int], rows: Callable[[], Rows]) -> None:
        self._documents = documents
        self._keys = folded(documents.ids)  # here, for the thread of the writer has the most to do
        self._members = members_digests(documents.ids, documents.metadata, documents.bodies)
        self._replaced = replaced
        self._rows = rows

    def __call__(self, transaction: Transaction) -> Arrived:
        """Write them, as a part of the transaction."""
        if not self._plain(transaction) or (etags := self._store(transaction)) is None:
            return transaction.carry_out(Writes(self._documents.writes(), self._replaced))
        return etags

    def _plain(self, transaction: Transaction) -> bool:
        """Whether nothing is to be done but to store them: no index is there, and none of them defines one."""
        if DEFINITIONS.encode() in self._keys.data:
            return False
        return transaction.indexes is None or not transaction.indexes.all

    def _store(self, transaction: Transaction) -> range | None:
        """Their etags, None if there is something with one of their ids: then nothing is stored."""
        ids, collections, metadata, bodies = self._documents
        etags = range(transaction.etag + 1, transaction.etag + 1 + len(ids))
        modified = array("q", [transaction.modified]) * len(ids)
        batch, totals = Batch(array("q", etags), ids, collections, modified, metadata, bodies), Totals()
        digests = totals.count(batch, self._members)
        execute, insert = transaction.connection.execute, self._rows().insert
        id, name = Texts(ids), Texts(collections)
        execute("SAVEPOINT arriving")
        try:
            insert(_POINTER, len(ids), Texts(self._keys), id, batch.etags, name, bodies, digests.members)
        except apsw.ConstraintError:
            execute("ROLLBACK TO arriving; RELEASE arriving")
            return None
        insert(LOG, len(ids), batch.etags, id, name, modified, metadata, bodies, digests.rows)
        execute("RELEASE arriving")
        transaction.etag = etags[-1]
        transaction.rows.add(totals.rows.count, 0, totals.rows.digest)
        transaction.fingerprint.merge(totals.fingerprint)
        return etags
