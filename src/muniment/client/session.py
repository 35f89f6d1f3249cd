"""A unit of work in asyncio: what a `Session` is, where loading and saving is awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Protocol, Self, TypeVar, overload

from muniment.command import Command
from muniment.document import Document
from muniment.faces import Awaiting
from muniment.finding import AsyncDocumentQuery, Results, asked_of
from muniment.hilo import Ranges
from muniment.query.model import Query
from muniment.session import UnitOfWork
from muniment.storage.base import Written

T = TypeVar("T")


class AsyncDatabase(Protocol):
    """What an asynchronous session needs of a database."""

    async def get_many(self, ids: Iterable[str]) -> list[Document | None]: ...

    async def batch(self, commands: Sequence[Command]) -> list[Written]: ...

    async def next_id(self, collection: str) -> str: ...

    async def query(self, query: Query, /) -> Results: ...

    def stream(self, query: Query, /) -> AsyncIterator[Any]: ...


class AsyncSession(UnitOfWork[AsyncDatabase], Awaiting):
    """`Session` in asyncio: the same methods, of which those that load, store and save are awaited. One task has it."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        """Leave without saving what was not saved."""

    @overload
    async def load(self, id: str) -> dict[str, Any] | None: ...

    @overload
    async def load(self, id: str, type: type[T]) -> T | None: ...

    async def load(self, id: str, type: Any = None) -> Any:
        """See `muniment.Session.load`."""
        return await self._run(self._load(id, type))

    @overload
    def query(
        self, collection: str | None = None, *, index: str | None = None
    ) -> AsyncDocumentQuery[dict[str, Any]]: ...

    @overload
    def query(self, collection: str | None, type: type[T], *, index: str | None = None) -> AsyncDocumentQuery[T]: ...

    def query(self, collection: str | None = None, type: Any = None, *, index: str | None = None) -> Any:
        """See `muniment.Session.query`."""
        return AsyncDocumentQuery(self, asked_of(collection, index), type)


class AsyncHiLo(Ranges, Awaiting):
    """See `muniment.hilo.HiLo`."""

    def __init__(self, documents: AsyncDatabase) -> None:
        super().__init__(documents)
        self._lock = asyncio.Lock()

    async def next_id(self, collection: str) -> str:
        """A new id for a document of this collection."""
        async with self._lock:
            return await self._run(self._next_id(collection))
