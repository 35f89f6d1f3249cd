"""A unit of work in asyncio: what a `Session` is, where loading and saving is awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, TypeVar, overload

from muniment.command import Command, Put
from muniment.document import Document, texts_in
from muniment.errors import ConcurrencyConflict
from muniment.hilo import reserve, tag_of
from muniment.session import UnitOfWork, collection_of_entity
from muniment.storage.base import Written

T = TypeVar("T")


class AsyncDatabase(Protocol):
    """What an asynchronous session needs of a database."""

    async def get(self, id: str) -> Document | None: ...

    async def get_many(self, ids: Iterable[str]) -> list[Document | None]: ...

    async def batch(self, commands: Sequence[Command]) -> list[Written]: ...

    async def next_id(self, collection: str) -> str: ...


class AsyncSession(UnitOfWork):
    """See `muniment.Session`. A session belongs to one task."""

    def __init__(self, database: AsyncDatabase, *, optimistic_concurrency: bool = False) -> None:
        super().__init__(optimistic_concurrency=optimistic_concurrency)
        self._database = database

    async def __aenter__(self) -> AsyncSession:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave without saving what was not saved."""

    @overload
    async def load(self, id: str) -> dict[str, Any] | None: ...

    @overload
    async def load(self, id: str, type: type[T]) -> T | None: ...

    async def load(self, id: str, type: Any = None) -> Any:
        """See `muniment.Session.load`."""
        self._found(await self._database.get_many(self._unknown([id])), type)
        return self._entities([id], type or dict)[0]

    async def load_many(self, ids: Iterable[str], type: Any = None) -> list[Any]:
        """See `muniment.Session.load_many`."""
        wanted = texts_in(ids, "ids")
        self._found(await self._database.get_many(self._unknown(wanted)), type)
        return self._entities(wanted, type)

    async def store(
        self,
        entity: Any,
        id: str | None = None,
        *,
        collection: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        etag: int | None = None,
    ) -> str:
        """See `muniment.Session.store`."""
        if known := self._stored_again(entity, id, etag):
            return known
        collection = collection_of_entity(entity) if collection is None else collection
        if id is None:
            id = await self._database.next_id(collection or "")
            return self._store(entity, id, collection, metadata, etag, new=True)
        return self._store(entity, id, collection, metadata, etag)

    async def save_changes(self) -> None:
        """See `muniment.Session.save_changes`."""
        changes = self._changes()
        if changes.commands:
            with self._named_conflicts():
                written = await self._database.batch(changes.commands)
            self._saved(changes, written)


class AsyncHiLo:
    """See `muniment.hilo.HiLo`."""

    def __init__(self, documents: AsyncDatabase) -> None:
        self._documents = documents
        self._lock = asyncio.Lock()
        self._ranges: dict[str, range] = {}

    async def next_id(self, collection: str) -> str:
        """A new id for a document of this collection."""
        tag = tag_of(collection)
        async with self._lock:
            left = self._ranges.get(tag) or await self._reserve(tag)
            self._ranges[tag] = left[1:]
        return f"{tag}/{left[0]}"

    async def forget(self, id: str) -> None:
        """See `muniment.hilo.HiLo.forget`."""
        async with self._lock:
            self._ranges.pop(id.rpartition("/")[0], None)

    async def _reserve(self, tag: str) -> range:
        reserving = reserve(tag)
        try:
            asked = next(reserving)
            while True:
                try:
                    answer: Any = await self._documents.get_many(asked) if isinstance(asked, list) else None
                    if isinstance(asked, Put):
                        await self._documents.batch([asked])
                except ConcurrencyConflict as error:
                    asked = reserving.throw(error)
                else:
                    asked = reserving.send(answer)
        except StopIteration as end:
            reserved: range = end.value
            return reserved
