"""A database on a server, in asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from muniment.client import attachments, documents, dumps, statistics
from muniment.client.administration import AsyncAdministration, AsyncOperations
from muniment.client.attachments import AsyncRemoteAttachment, Content, chunks_of
from muniment.client.session import AsyncHiLo, AsyncSession
from muniment.client.store import CONNECTIONS, TIMEOUT
from muniment.client.transport import AsyncTransport, Broken
from muniment.client.wire import root_of, split_url
from muniment.command import Command, Delete, Put
from muniment.database import PAGE, Statistics
from muniment.document import Document, metadata_bytes
from muniment.errors import ConcurrencyConflict
from muniment.page import Page
from muniment.progress import Progress
from muniment.raven3.names import SYSTEM
from muniment.smuggler.options import ExportOptions, SmugglerOptions
from muniment.smuggler.sink import Writable
from muniment.smuggler.source import Exported, Source
from muniment.smuggler.transfer import Imported
from muniment.storage.base import Written


class AsyncDocumentStore(Source[Coroutine[Any, Any, Exported]]):
    """`DocumentStore` in asyncio: the same methods, to be awaited. Tasks of one event loop may share it."""

    def __init__(
        self, url: str, database: str | None = None, *, timeout: float = TIMEOUT, connections: int = CONNECTIONS
    ) -> None:
        self.url, named = split_url(url)
        self.name = database or named or SYSTEM
        self._root = root_of(self.name)
        self._transport = AsyncTransport(self.url, timeout, connections)
        self._hilo = AsyncHiLo(self)
        self.admin = AsyncAdministration(self._transport, self.name)
        self.operations = AsyncOperations(self._transport)

    async def __aenter__(self) -> AsyncDocumentStore:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """See `DocumentStore.close`."""
        await self._transport.close()

    def open_session(self, *, optimistic_concurrency: bool = False) -> AsyncSession:
        """See `DocumentStore.open_session`."""
        return AsyncSession(self, optimistic_concurrency=optimistic_concurrency)

    async def get(self, id: str) -> Document | None:
        """See `DocumentStore.get`."""
        return (await self.get_many([id]))[0]

    async def get_many(self, ids: Iterable[str]) -> list[Document | None]:
        """See `DocumentStore.get_many`."""
        return await self._transport.run(documents.get_many(self._root, ids))

    async def put(
        self, id: str, body: Any, metadata: Mapping[str, Any] | bytes | None = None, *, etag: int | None = None
    ) -> Written:
        """See `DocumentStore.put`."""
        return (await self.batch([Put(id, body, metadata, etag)]))[0]

    async def delete(self, id: str, *, etag: int | None = None) -> bool:
        """See `DocumentStore.delete`."""
        return (await self.batch([Delete(id, etag)]))[0].existed

    async def batch(self, commands: Sequence[Command]) -> list[Written]:
        """See `DocumentStore.batch`."""
        try:
            return await self._transport.run(documents.batch(self._root, commands))
        except ConcurrencyConflict as error:
            if error.expected == 0:
                self._hilo.forget(error.id)
            raise

    async def by_prefix(self, prefix: str, *, start: int = 0, limit: int = PAGE) -> Page[Document]:
        """See `DocumentStore.by_prefix`."""
        return await self._transport.run(documents.by_prefix(self._root, prefix, start, limit))

    async def by_etag(self, *, after: int = 0, limit: int = PAGE) -> Page[Document]:
        """See `DocumentStore.by_etag`."""
        return await self._transport.run(documents.by_etag(self._root, after, limit))

    async def put_attachment(
        self,
        key: str,
        content: Content | AsyncIterable[bytes],
        metadata: Mapping[str, Any] | bytes | None = None,
        *,
        etag: int | None = None,
        owner: str | None = None,
    ) -> Written:
        """See `DocumentStore.put_attachment`; an asynchronous stream will do too."""
        body = content if isinstance(content, bytes) else chunks_of(content)
        return await self._transport.run(attachments.put(self._root, key, body, metadata_bytes(metadata), etag, owner))

    async def get_attachment(self, key: str, *, owner: str | None = None) -> AsyncRemoteAttachment | None:
        """See `DocumentStore.get_attachment`."""
        found = await self._transport.run(attachments.find(self._root, key, owner))
        return AsyncRemoteAttachment(found, self._root, self._transport) if found else None

    async def delete_attachment(self, key: str, *, etag: int | None = None, owner: str | None = None) -> bool:
        """See `DocumentStore.delete_attachment`."""
        return await self._transport.run(attachments.delete(self._root, key, etag, owner))

    async def attachments(self, prefix: str = "", *, start: int = 0, limit: int = PAGE) -> Page[AsyncRemoteAttachment]:
        """See `DocumentStore.attachments`."""
        found = await self._transport.run(attachments.listing(self._root, prefix, start, limit))
        return Page([AsyncRemoteAttachment(listed, self._root, self._transport) for listed in found], more=found.more)

    async def _export(self, destination: str | Path | Writable, options: ExportOptions, progress: Progress) -> Exported:
        flow = dumps.export(self._root, options)
        async with (
            dumps.in_thread(dumps.written_to(destination, options.overwrite)) as file,
            self._transport.stream(flow) as (head, chunks),
        ):
            taking = dumps.Taking(head, progress)
            broken = await self._take(taking, chunks, file)
            return await self._transport.run(taking.end(destination, broken))

    async def _take(self, taking: dumps.Taking, chunks: AsyncIterator[bytes], file: Writable) -> Broken | None:
        try:
            async for chunk in chunks:
                await asyncio.to_thread(file.write, chunk)
                if taking.add(chunk):
                    await self._transport.run(taking.look())
        except Broken as error:
            return error
        return None

    async def _export_incremental(self, folder: Path, options: ExportOptions, progress: Progress) -> Exported:
        with dumps.next_in(folder) as since:
            flow = dumps.export(self._root, options, *since)
            async with self._transport.stream(flow) as (head, chunks):
                taking, path = dumps.Taking(head, progress), dumps.new_dump(folder, head, options)
                async with dumps.in_thread(dumps.written_to(path, False)) as file:
                    broken = await self._take(taking, chunks, file)
                    exported = await self._transport.run(taking.end(path, broken))
            taking.remember(folder, exported)
            return exported

    async def import_dump(
        self,
        source: str | Path | Content | AsyncIterable[bytes],
        *,
        options: SmugglerOptions | None = None,
        progress: Progress | None = None,
    ) -> Imported:
        """See `DocumentStore.import_dump`; an asynchronous stream will do too."""
        if isinstance(source, AsyncIterable):
            return await self._transport.run(
                dumps.import_dump(self._root, dumps.counted(chunks_of(source), progress), options)
            )
        with dumps.read_from(source, progress) as pieces:
            return await self._transport.run(dumps.import_dump(self._root, chunks_of(pieces), options))

    async def statistics(self) -> Statistics:
        """See `DocumentStore.statistics`."""
        return await self._transport.run(statistics.statistics(self._root, self.name))

    async def next_id(self, collection: str) -> str:
        """See `DocumentStore.next_id`."""
        return await self._hilo.next_id(collection)
