"""A database on a server, with the same session as the embedded one, for threads and in asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Generic, Self, TypeVar

from muniment.attachment import content_chunks
from muniment.client import attachments, documents, dumps, queries, statistics
from muniment.client.attachments import AsyncRemoteAttachment, Content, RemoteAttachment, chunks_of
from muniment.client.credentials import Credentials, Verify
from muniment.client.databases import Administration, AsyncAdministration
from muniment.client.indexes import AsyncIndexes, Indexes
from muniment.client.keys import AsyncKeys, Keys
from muniment.client.operations import AsyncOperations, Operations
from muniment.client.schedules import AsyncSchedules, Schedules
from muniment.client.session import AsyncHiLo, AsyncSession
from muniment.client.transport import AsyncRemote, AsyncTransport, Broken, Remote, Server, Transport
from muniment.client.wire import Flow, Rows, root_of, split_url
from muniment.command import Command, Delete, Put
from muniment.document import Document, metadata_bytes
from muniment.errors import ConcurrencyConflict
from muniment.faces import both
from muniment.finding import Results
from muniment.hilo import HiLo, Ranges
from muniment.page import PAGE, Page
from muniment.patching import PatchCommand
from muniment.progress import Progress
from muniment.query.model import Query
from muniment.raven3.names import SYSTEM
from muniment.scripting import Script
from muniment.session import Session
from muniment.smuggler.options import ExportOptions, SmugglerOptions
from muniment.smuggler.sink import Writable
from muniment.smuggler.source import Source
from muniment.smuggler.summary import Exported, Imported
from muniment.statistics import Statistics
from muniment.storage.base import Written

TIMEOUT: Final = 60.0
CONNECTIONS: Final = 32
A = TypeVar("A")


class BothStores(Generic[A]):
    """What is the same in both stores; A is the class of their attachments."""

    _hilo: Ranges
    _attachment: Callable[[attachments.Listed, tuple[str, ...], Any], A]
    _transport: Any

    def __init__(
        self,
        url: str,
        database: str | None = None,
        *,
        api_key: str | None = None,
        auth: tuple[str, str] | None = None,
        verify: Verify = True,
        certificate: str | Path | None = None,
        timeout: float = TIMEOUT,
        connections: int = CONNECTIONS,
    ) -> None:
        self.url, named = split_url(url)
        self.name = database or named or SYSTEM
        self._root = root_of(self.name)
        self._connect(Server(self.url, timeout, connections, Credentials.of(api_key, auth, verify, certificate)))

    def _connect(self, server: Server) -> None:
        raise NotImplementedError

    @both
    def get(self, id: str) -> Flow[Document | None]:
        """The document with this id, in any case; None when there is none."""
        return (yield from documents.get_many(self._root, [id]))[0]

    @both
    def get_many(self, ids: Iterable[str]) -> Flow[list[Document | None]]:
        """The documents with these ids, in their order, None for each that does not exist."""
        return (yield from documents.get_many(self._root, ids))

    @both
    def put(
        self, id: str, body: Any, metadata: Mapping[str, Any] | bytes | None = None, *, etag: int | None = None
    ) -> Flow[Written]:
        """Store a document and return its id and new etag once it is on disk. See `Put` for the arguments.

        An id that ends in "/" gets the next number of that prefix: "orders/" becomes "orders/831".
        """
        return (yield from self._batch([Put(id, body, metadata, etag)]))[0]

    @both
    def patch(
        self, id: str, commands: Sequence[PatchCommand | Mapping[str, Any]] | Script, *, etag: int | None = None
    ) -> Flow[Written]:
        """Change a document by commands, as RavenDB 3's patches, or by a `Script`; what is not touched keeps its bytes.

        See `PatchCommand` for what they do. Raises `DocumentNotFound`, and `PatchConflict` when a member has not the
        value that a command expects. With `etag`, the document must have that etag; without, it is patched as it is.
        """
        return (yield from documents.patch(self._root, id, commands, etag))

    @both
    def delete(self, id: str, *, etag: int | None = None) -> Flow[bool]:
        """Delete a document; returns whether there was one."""
        return (yield from self._batch([Delete(id, etag)]))[0].existed

    @both
    def batch(self, commands: Sequence[Command]) -> Flow[list[Written]]:
        """Carry out all commands in order as one transaction, or none when one of them cannot be."""
        return (yield from self._batch(commands))

    def _batch(self, commands: Sequence[Command]) -> Flow[list[Written]]:
        try:
            return (yield from documents.batch(self._root, commands))
        except ConcurrencyConflict as error:
            if error.expected == 0:
                self._hilo.forget(error.id)
            raise

    @both
    def by_prefix(self, prefix: str, *, start: int = 0, limit: int = PAGE, after: str = "") -> Flow[Page[Document]]:
        """Documents whose ids begin so (in any case), in the order of their ids. The prefix cannot be empty.

        From the first one on, or from that `after` an id, which takes the same time wherever that is.
        """
        return (yield from documents.by_prefix(self._root, prefix, start, limit, after))

    @both
    def by_etag(self, *, after: int = 0, limit: int = PAGE) -> Flow[Page[Document]]:
        """Documents in the order of their etags, oldest change first; `after` is the last etag seen."""
        return (yield from documents.by_etag(self._root, after, limit))

    @both
    def query(self, query: Query | str, /, **parameters: Any) -> Flow[Results]:
        """What a query finds, in RQL: `"from Orders where Company = $c"` with `c="companies/1"`.

        Without a limit it gives all there is. See docs/queries.md for what it understands.
        """
        return (yield from queries.query(self._root, query, parameters))

    @both
    def get_attachment(self, key: str, *, owner: str | None = None) -> Flow[A | None]:
        """The attachment with this key, in any case; None when there is none. Its content is read when asked for."""
        found = yield from attachments.find(self._root, key, owner)
        return self._attachment(found, self._root, self._transport) if found else None

    @both
    def delete_attachment(self, key: str, *, etag: int | None = None, owner: str | None = None) -> Flow[bool]:
        """Delete an attachment; returns whether there was one."""
        return (yield from attachments.delete(self._root, key, etag, owner))

    @both
    def attachments(self, prefix: str = "", *, start: int = 0, limit: int = PAGE) -> Flow[Page[A]]:
        """Attachments whose keys begin so (in any case), in the order of their owners and names."""
        found = yield from attachments.listing(self._root, prefix, start, limit)
        return Page([self._attachment(listed, self._root, self._transport) for listed in found], more=found.more)

    @both
    def statistics(self) -> Flow[Statistics]:
        """Counts, sizes and the fingerprint of this moment."""
        return (yield from statistics.statistics(self._root, self.name))


class DocumentStore(BothStores[RemoteAttachment], Remote, Source[Exported]):
    """A database on a server: `DocumentStore("http://127.0.0.1:8080", "shop")`. Threads may share it.

    The database is the one named, or the one of a URL that ends in `/databases/NAME`, or else the system database.
    `api_key` is a key as `muniment keys add` printed it, `NAME/SECRET`; `auth` is a name (`DOMAIN\\user` for a user of
    a domain) and password. The certificate of an https server is checked. `verify` names the PEM file of the authority
    that signed it, if that is your own; with False nothing is checked, and somebody between could read and change all.
    `certificate` names a PEM file with a certificate and its private key, for a server that asks clients for one.

    What a method that writes has returned from is on the server's disk. Every failure is a `MunimentError`: the one
    that the embedded database raises, or `ServerUnavailable` when no answer came within `timeout` seconds.

    A request is sent again, up to three times within 1.3 seconds, when that is safe: when the server cannot have got
    it, and, when the connection broke, if it only reads or names the etag that it expects.
    """

    _attachment = RemoteAttachment

    def _connect(self, server: Server) -> None:
        self._transport = Transport(server)
        self._hilo: HiLo = HiLo(self)
        self.admin = Administration(self._transport, self.name)
        self.operations = Operations(self._transport)
        self.schedules = Schedules(self._transport)
        self.keys = Keys(self._transport)
        self.indexes = Indexes(self._transport, self._root)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def open_session(self, *, optimistic_concurrency: bool = False) -> Session:
        """A unit of work: load, change and store objects, then `save_changes` as one transaction."""
        return Session(self, optimistic_concurrency=optimistic_concurrency)

    def next_id(self, collection: str) -> str:
        """A new id for a document of this collection, `orders/33`, from a range this store has reserved."""
        return self._hilo.next_id(collection)

    def stream(self, query: Query | str, /, **parameters: Any) -> Iterator[Any]:
        """What a query finds one by one, in constant memory: documents, or dicts where it selects.

        All of it is of one moment, and comes as fast as it is taken, within a minute or so for each piece.
        """
        if queries.is_page(query):
            yield from self._run(queries.page(self._root, query, parameters, 0))
            return
        rows = Rows()
        with self._transport.stream(queries.lines(self._root, query, parameters)) as (_, chunks):
            try:
                for chunk in chunks:
                    yield from rows.of(chunk)
            except Broken as error:
                raise queries.broken(error) from error
        rows.end()

    def put_attachment(
        self,
        key: str,
        content: Content,
        metadata: Mapping[str, Any] | bytes | None = None,
        *,
        etag: int | None = None,
        owner: str | None = None,
    ) -> Written:
        """Store an attachment of up to 2 GiB from bytes, an open file or a stream, in constant memory.

        `owner` is as in `DocumentDatabase.put_attachment`.
        """
        body = content if isinstance(content, bytes) else content_chunks(content)
        return self._run(attachments.put(self._root, key, body, metadata_bytes(metadata), etag, owner))

    def _export(self, destination: str | Path | Writable, options: ExportOptions, progress: Progress) -> Exported:
        flow = dumps.export(self._root, options)
        with (
            dumps.written_to(destination, options.overwrite) as file,
            self._transport.stream(flow) as (head, chunks),
        ):
            taking = dumps.Taking(head, progress)
            broken = self._take(taking, chunks, file)
            return self._run(taking.end(destination, broken))

    def _take(self, taking: dumps.Taking, chunks: Iterator[bytes], file: Writable) -> Broken | None:
        try:
            for chunk in chunks:
                file.write(chunk)
                if taking.add(chunk):
                    self._run(taking.look())
        except Broken as error:
            return error
        return None

    def _export_incremental(self, folder: Path, options: ExportOptions, progress: Progress) -> Exported:
        with dumps.next_in(folder, options) as since:
            flow = dumps.export(self._root, options, *since)
            with self._transport.stream(flow) as (head, chunks):
                taking, path = dumps.Taking(head, progress), dumps.new_dump(folder, head, options)
                with dumps.written_to(path, False) as file:
                    broken = self._take(taking, chunks, file)
                    exported = self._run(taking.end(path, broken))
            taking.remember(folder, exported, options)
            return exported

    def import_dump(
        self,
        source: str | Path | Content,
        *,
        options: SmugglerOptions | None = None,
        progress: Progress | None = None,
    ) -> Imported:
        """Have the server import a dump that this streams to it, in constant memory, and wait until it has.

        Documents that exist are replaced. When this raises, what came before in the dump has been stored, as the error
        says where the server could still tell; importing the same dump again completes it.
        """
        with dumps.read_from(source, progress) as pieces:
            return self._run(dumps.import_dump(self._root, pieces, options))


class AsyncDocumentStore(BothStores[AsyncRemoteAttachment], AsyncRemote, Source[Coroutine[Any, Any, Exported]]):
    """`DocumentStore` in asyncio: the same methods, to be awaited. Tasks of one event loop may share it."""

    _attachment = AsyncRemoteAttachment

    def _connect(self, server: Server) -> None:
        self._transport = AsyncTransport(server)
        self._hilo: AsyncHiLo = AsyncHiLo(self)
        self.admin = AsyncAdministration(self._transport, self.name)
        self.operations = AsyncOperations(self._transport)
        self.schedules = AsyncSchedules(self._transport)
        self.keys = AsyncKeys(self._transport)
        self.indexes = AsyncIndexes(self._transport, self._root)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """See `DocumentStore.close`."""
        await self._transport.close()

    def open_session(self, *, optimistic_concurrency: bool = False) -> AsyncSession:
        """See `DocumentStore.open_session`."""
        return AsyncSession(self, optimistic_concurrency=optimistic_concurrency)

    async def next_id(self, collection: str) -> str:
        """See `DocumentStore.next_id`."""
        return await self._hilo.next_id(collection)

    async def stream(self, query: Query | str, /, **parameters: Any) -> AsyncIterator[Any]:
        """See `DocumentStore.stream`."""
        if queries.is_page(query):
            for each in await self._run(queries.page(self._root, query, parameters, 0)):
                yield each
            return
        rows = Rows()
        async with self._transport.stream(queries.lines(self._root, query, parameters)) as (_, chunks):
            try:
                async for chunk in chunks:
                    for each in rows.of(chunk):
                        yield each
            except Broken as error:
                raise queries.broken(error) from error
        rows.end()

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
        return await self._run(attachments.put(self._root, key, body, metadata_bytes(metadata), etag, owner))

    async def _export(self, destination: str | Path | Writable, options: ExportOptions, progress: Progress) -> Exported:
        flow = dumps.export(self._root, options)
        async with (
            dumps.in_thread(dumps.written_to(destination, options.overwrite)) as file,
            self._transport.stream(flow) as (head, chunks),
        ):
            taking = dumps.Taking(head, progress)
            broken = await self._take(taking, chunks, file)
            return await self._run(taking.end(destination, broken))

    async def _take(self, taking: dumps.Taking, chunks: AsyncIterator[bytes], file: Writable) -> Broken | None:
        try:
            async for chunk in chunks:
                await asyncio.to_thread(file.write, chunk)
                if taking.add(chunk):
                    await self._run(taking.look())
        except Broken as error:
            return error
        return None

    async def _export_incremental(self, folder: Path, options: ExportOptions, progress: Progress) -> Exported:
        with dumps.next_in(folder, options) as since:
            flow = dumps.export(self._root, options, *since)
            async with self._transport.stream(flow) as (head, chunks):
                taking, path = dumps.Taking(head, progress), dumps.new_dump(folder, head, options)
                async with dumps.in_thread(dumps.written_to(path, False)) as file:
                    broken = await self._take(taking, chunks, file)
                    exported = await self._run(taking.end(path, broken))
            taking.remember(folder, exported, options)
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
            return await self._run(dumps.import_dump(self._root, dumps.counted(chunks_of(source), progress), options))
        with dumps.read_from(source, progress) as pieces:
            return await self._run(dumps.import_dump(self._root, chunks_of(pieces), options))
