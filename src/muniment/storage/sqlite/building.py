"""The indexes of the embedded engine, for who fills them: each step is a job of the one writer."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from muniment.query.model import Field
from muniment.storage.building import Filled
from muniment.storage.indexes import Fault, Index, Named
from muniment.storage.sqlite.writer import Writer


class Submitted:
    """What `building.Kept` asks for, submitted to the writer and waited for."""

    texts = True

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.documents = writer.documents

    @property
    def all(self) -> Sequence[Index]:
        return self._writer.indexes.all

    @property
    def named(self) -> Named:
        return self._writer.indexes.named

    @named.setter
    def named(self, named: Named) -> None:
        self._writer.indexes.named = named

    @property
    def on_definition(self) -> Callable[[], object] | None:
        return self._writer.indexes.on_definition

    @on_definition.setter
    def on_definition(self, called: Callable[[], object] | None) -> None:
        self._writer.indexes.on_definition = called

    def want(self, collection: str | None, fields: Sequence[Field]) -> Sequence[Index]:
        """See `building.Kept`."""
        want = self._writer.want_indexes
        return self._writer.submit(lambda transaction: want(transaction, collection, fields)).result()

    def fill(self, indexes: Sequence[Index], documents: Filled, faults: Sequence[Fault]) -> None:
        """See `building.Kept`."""
        self._writer.submit(lambda _: self._writer.indexes.fill(indexes, documents, faults)).result()

    def filled(self, indexes: Sequence[Index], upto: int) -> None:
        """See `building.Kept`."""
        self._writer.submit(lambda _: self._writer.indexes.filled(indexes)).result()

    def abandon(self, indexes: Sequence[Index]) -> None:
        """See `building.Kept`."""
        self._writer.submit(lambda _: self._writer.indexes.abandon(indexes)).result()

    def drop_fields(self, fields: Container[tuple[str | None, Field]]) -> None:
        """See `building.Kept`."""
        self._writer.submit(lambda _: self._writer.indexes.drop_fields(fields)).result()
