"""The embedded database: documents and attachments in a folder, or in PostgreSQL where several processes write."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from muniment import definitions
from muniment.answer import answer, stream
from muniment.attachment import Attachment, attachment_of, content_chunks
from muniment.command import Command, Delete, Put, check_etag, write_of
from muniment.document import (
    IDENTITIES,
    Document,
    check_id,
    collection_of,
    decode,
    encode,
    fold,
    metadata_bytes,
    texts_in,
)
from muniment.durable import make_folders, mapped_errors, sync_folders
from muniment.errors import (
    ConcurrencyConflict,
    DatabaseLocked,
    DatabaseNotFound,
    InvalidDocument,
    InvalidInput,
    StorageFailure,
)
from muniment.finding import Results
from muniment.hilo import HiLo
from muniment.indexes import Indexes
from muniment.numbers import free_after
from muniment.owner import by_prefix, find, key_of, owned_id, replacing, tombstone
from muniment.page import PAGE, Page, check_page, one_more
from muniment.patching import Patch, PatchCommand, missing, resolved
from muniment.progress import Progress
from muniment.query.model import Query
from muniment.revision import ATTACHMENT, DOCUMENT, NO_METADATA, Revision
from muniment.scripting import Script
from muniment.security.encryption import EncryptionKey, given_key
from muniment.session import Session
from muniment.smuggler.options import ExportOptions, SmugglerOptions
from muniment.smuggler.sink import Writable
from muniment.smuggler.source import Source
from muniment.smuggler.stream import Incoming
from muniment.smuggler.summary import Exported, Imported
from muniment.statistics import Statistics
from muniment.storage import engines
from muniment.storage.base import Snapshot, Waiting, Write, Written, system_clock
from muniment.storage.freeze import SECONDS, Freeze
from muniment.storage.location import location_of
from muniment.storage.retention import changed_settings, partitions_of

if TYPE_CHECKING:
    from muniment.maintenance import MaintenanceActions

NUMBERS_TRIED: Final = 100


class DocumentDatabase(Source[Exported]):
    """A database in a folder, or at `postgresql://host/database?schema=NAME`, which is made when it is not there.

    Threads may share it. Another process may open a folder at the same time only with `read_only=True`; a second writer
    gets `DatabaseLocked`. PostgreSQL lets any number write. What a method that writes has returned from is on disk. One
    that does not have all that was acknowledged is refused with `LostWrites`, unless `accept_loss` says to go on with
    what it has, as a new lineage. `clock` gives microseconds since 1970. Backups and messages call the database by its
    `name`, which is that of the folder, or of the schema, if it is not given.

    A database that is made with a `key`, or with what is in `key_file`, is encrypted, and is opened with that: 32
    bytes, or these in base64. Raises `WrongKey` for another, for none, and for one to a database that has none.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        create: bool = True,
        read_only: bool = False,
        accept_loss: bool = False,
        clock: Callable[[], int] = system_clock,
        key: EncryptionKey | str | bytes | None = None,
        key_file: str | Path | None = None,
    ) -> None:
        if isinstance(path, str) and not path.strip():
            raise InvalidInput("the name of the database's folder is empty", "give a folder; the current one is '.'")
        self.path = location_of(path)
        self.clock = clock
        used = given_key(key, key_file)
        if not engines.exists(self.path):
            _create(self.path, create and not read_only, clock, used)
        # Whole, so that it stays the same one when the program goes to another folder.
        folder = check_path(self.path) if engines.is_folder(self.path) else self.path
        self.storage = engines.open(folder, clock=clock, read_only=read_only, accept_loss=accept_loss, key=used)
        if not read_only and engines.is_folder(self.path):
            from muniment.backup.restore_into import forget_unfinished  # here: who reads restores nothing

            forget_unfinished(folder)
        self.name: Final = self.path.resolve().name if name is None else name
        self._folder = folder if engines.is_folder(folder) and not read_only else None
        self._maintenance: MaintenanceActions | None = None
        self._closed = False
        self._once = threading.Lock()
        self._hilo = HiLo(self)
        self._configuring = threading.Lock()
        self.storage.keep_indexes(lambda: definitions.wanted(self))

    @property
    def maintenance(self) -> MaintenanceActions:
        """Backups of this database, restores into it, and what is known of both."""
        from muniment.maintenance import MaintenanceActions  # here: half of what there is, and most processes only read

        with self._once:
            if self._maintenance is None:
                self._maintenance = MaintenanceActions(self.storage, self.name, self.clock, self._folder)
                if self._closed:
                    self._maintenance.close()
            return self._maintenance

    def __enter__(self) -> DocumentDatabase:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop a running backup, finish what was written, and let other processes open the folder."""
        with self._once:
            self._closed = True
        if self._maintenance is not None:
            self._maintenance.close()
        self.storage.close()

    def open_session(self, *, optimistic_concurrency: bool = False) -> Session:
        """A unit of work: load, change and store objects, then `save_changes` as one transaction."""
        return Session(self, optimistic_concurrency=optimistic_concurrency)

    def get(self, id: str) -> Document | None:
        """The document with this id, in any case; None when there is none."""
        revision = self.revision(id)
        return None if revision is None else Document.of(revision)

    def revision(self, id: str) -> Revision | None:
        """The revision that the document with this id is; None when there is none."""
        check_id(id)
        return self.storage.get(DOCUMENT, id)

    def get_many(self, ids: Iterable[str]) -> list[Document | None]:
        """The documents with these ids, in their order, None for each that does not exist."""
        return [self.get(id) for id in texts_in(ids, "ids")]

    def put(
        self,
        id: str,
        body: Any,
        metadata: Mapping[str, Any] | bytes | None = None,
        *,
        etag: int | None = None,
    ) -> Written:
        """Store a document and return its id and new etag once it is on disk. See `Put` for the arguments.

        An id that ends in "/" gets the next number of that prefix: "orders/" becomes "orders/831".
        """
        return self._batch([Put(id, body, metadata, etag)])[0]

    def delete(self, id: str, *, etag: int | None = None) -> bool:
        """Delete a document; returns whether there was one."""
        return self._batch([Delete(id, etag)])[0].existed

    def patch(
        self, id: str, commands: Sequence[PatchCommand | Mapping[str, Any]] | Script, *, etag: int | None = None
    ) -> Written:
        """Change a document by commands, as RavenDB 3's patches, or by a `Script`; what is not touched keeps its bytes.

        See `PatchCommand` for what they do. Raises `DocumentNotFound`, and `PatchConflict` when a member has not the
        value that a command expects. With `etag`, the document must have that etag; without, it is patched as it is.
        """
        [written] = self.batch([Patch(id, commands, etag)])
        if not written.existed:
            raise missing(id)
        return written

    def batch(self, commands: Sequence[Command | Patch | Write]) -> list[Written]:
        """Carry out all commands in order as one transaction, or none when one of them cannot be.

        A `Patch` of a document that does not exist does nothing; its etag is 0.
        """
        _check_list(commands)
        if any(isinstance(command, Patch) for command in commands):
            return self._patch(commands)
        return self._batch(commands)

    def _patch(self, commands: Sequence[Command | Patch | Write]) -> list[Written]:
        free = {fold(each.id) for each in commands if isinstance(each, Patch) and each.etag is None}
        while True:
            done = resolved(self.get, commands)
            try:
                written = iter(self._batch([command for command in done if command is not None]))
            except ConcurrencyConflict as error:
                if fold(error.id) not in free:
                    raise
                continue  # somebody has changed it since it was read
            return [
                Written(given.id, 0, False) if command is None else next(written)
                for given, command in zip(commands, done, strict=False)  # what scripts put beside comes after them
            ]

    def _batch(self, commands: Sequence[Command | Patch | Write]) -> list[Written]:
        writes = _writes(commands)
        while True:
            numbered = [self._numbered(write) for write in writes]
            try:
                return self.storage.commit(numbered)
            except ConcurrencyConflict as error:
                given = [new.id for new, asked in zip(numbered, writes, strict=True) if new is not asked]
                if error.id not in given:  # else somebody has used that number meanwhile, and there are others
                    raise

    def submit(self, commands: Sequence[Command | Write]) -> Future[list[Written]]:
        """Like `batch`, without waiting until it is on disk: the future is answered then, from another thread.

        Raises at once what is wrong with a command; that the present state does not allow it is the future's answer.
        """
        return self.storage.submit([self._numbered(write) for write in _writes(commands)])

    def submit_for(self, waiting: Waiting, commands: Sequence[Command | Write]) -> None:
        """Like `submit`; the answer is given to this one."""
        self.storage.submit_for(waiting, [self._numbered(write) for write in _writes(commands)])

    def by_prefix(self, prefix: str, *, start: int = 0, limit: int = PAGE, after: str = "") -> Page[Document]:
        """Documents whose ids begin so (in any case), in the order of their ids; `more` says if there are others.

        From the first one on, or from that `after` an id: the same time wherever that is, where `start` counts.
        """
        check_text(prefix)
        check_text(after)
        check_page(start, limit)
        return _page(self.storage.by_prefix(DOCUMENT, prefix, start, one_more(limit), after), limit)

    def by_collection(self, collection: str, *, after: int = 0, limit: int = PAGE) -> Page[Document]:
        """Documents of a collection (in any case) in the order of their etags; `after` is the last etag seen."""
        check_text(collection)
        check_page(after, limit)
        return _page(self.storage.by_collection(collection, after, one_more(limit)), limit)

    def by_etag(self, *, after: int = 0, limit: int = PAGE) -> Page[Document]:
        """Documents in the order of their etags, oldest change first; `after` is the last etag seen."""
        check_page(after, limit)
        return _page(self.storage.by_etag(DOCUMENT, after, one_more(limit)), limit)

    def query(self, query: Query | str, /, **parameters: Any) -> Results:
        """What a query finds, all of one moment, in RQL: `"from Orders where Company = $c"` with `c="companies/1"`.

        Without a limit it gives all there is. See docs/queries.md for what it understands.
        """
        found = answer(self.storage, definitions.read(self.get, query, parameters))
        return Results(found.documents or map(decode, found.rows), found.total, found.plan, found.highlights)

    def stream(self, query: Query | str, /, **parameters: Any) -> Iterator[Any]:
        """What a query finds one by one, all of one moment, in constant memory: documents, or dicts where it selects.

        Until it has ended or is closed, nothing of that moment is purged.
        """
        with stream(self.storage, definitions.read(self.get, query, parameters)) as found:
            for item in found.items:
                yield item if isinstance(item, Document) else decode(item)

    @property
    def indexes(self) -> Indexes:
        """The indexes that have been put, and those that queries have made."""
        return Indexes(self)

    def put_attachment(
        self,
        key: str,
        content: bytes | BinaryIO | Iterable[bytes],
        metadata: Mapping[str, Any] | bytes | None = None,
        *,
        etag: int | None = None,
        owner: str | None = None,
    ) -> Written:
        """Store an attachment of up to 2 GiB from bytes, an open file or a stream, in constant memory.

        `owner` is the id of the document that it belongs to, and `key` then its name there. Without it, the key
        `orders/830/photo.png` is that of an attachment of `orders/830`, if there is one with this name or none of it.
        """
        check_id(key)
        check_etag(etag)
        meta = metadata_bytes(metadata)
        collection = collection_of(meta)
        upload = self.storage.upload(content_chunks(content))
        try:
            id = self._attachment_id(key, owner)
            write = Write(id, upload.sha256, meta, collection, etag, ATTACHMENT, upload)
            written = self.storage.commit(replacing(self.storage, write))[0]
            return written._replace(id=key_of(written.id))
        except BaseException:
            self.storage.discard(upload)
            raise

    def _attachment_id(self, key: str, owner: str | None) -> str:
        """The id that an attachment with this key has, or gets."""
        if owner is not None:
            return owned_id(owner, key)
        present = find(self.storage, key)
        return present.id if present else key

    def get_attachment(self, key: str, *, owner: str | None = None) -> Attachment | None:
        """The attachment with this key, in any case; None when there is none. Its content is read when asked for.

        With `owner`, the id of a document, it is the one with the name `key` there.
        """
        check_id(key)
        revision = find(self.storage, key, owner)
        return None if revision is None else attachment_of(revision, self.storage)

    def delete_attachment(self, key: str, *, etag: int | None = None, owner: str | None = None) -> bool:
        """Delete an attachment; returns whether there was one. See `get_attachment` for the arguments."""
        check_id(key)
        check_etag(etag)
        while True:
            with self.storage.pin():
                present = find(self.storage, key, owner)
                metadata = tombstone(self.storage, present) if present else NO_METADATA
            id = present.id if present else self._attachment_id(key, owner)
            expected = present.etag if present and etag is None else etag
            try:
                return self.storage.commit([Write(id, None, metadata, None, expected, ATTACHMENT)])[0].existed
            except ConcurrencyConflict:  # it was replaced meanwhile, and the deletion has to say what it deletes
                if etag is not None or present is None:
                    raise

    def attachments(self, prefix: str = "", *, start: int = 0, limit: int = PAGE) -> Page[Attachment]:
        """Attachments whose keys begin so (in any case), in the order of their owners and names."""
        check_text(prefix)
        check_page(start, limit)
        found = by_prefix(self.storage, prefix, start, one_more(limit))
        return Page.cut([attachment_of(revision, self.storage) for revision in found], limit)

    def _export(self, destination: str | Path | Writable, options: ExportOptions, progress: Progress) -> Exported:
        from muniment.smuggler.export import export_state

        return export_state(self.storage, destination, options, clock=self.clock, progress=progress)

    def _export_incremental(self, folder: Path, options: ExportOptions, progress: Progress) -> Exported:
        from muniment.smuggler.export import export_into_folder

        return export_into_folder(self.storage, folder, options, clock=self.clock, progress=progress)

    def import_dump(
        self,
        source: str | Path | bytes | BinaryIO | Iterable[bytes],
        *,
        options: SmugglerOptions | None = None,
        progress: Progress | None = None,
    ) -> Imported:
        """Store what a dump holds, from a file or a stream, in constant memory; documents that exist are replaced.

        When this raises, what came before in the dump has been stored, as the error says; importing the same dump again
        completes it. `options` say which part to take, and how. See `muniment.smuggler.importer.import_dump`.
        """
        from muniment.smuggler.importer import import_dump

        dump = source if isinstance(source, str | Path) else Incoming(content_chunks(source))
        return import_dump(self.storage, dump, options=options, clock=self.clock, progress=progress)

    @property
    def settings(self) -> dict[str, str]:
        """The database's settings, a copy."""
        return self.storage.settings

    def configure(self, settings: Mapping[str, str | None], *, replace: bool = False) -> dict[str, str]:
        """Change these settings, of which None removes one, and return all that hold now; the others stay.

        With `replace` they are all there are afterwards. `docs/backup-guide.md` lists those that mean something; others
        are kept for those who know them. Raises `InvalidInput` for what would do nothing: an unknown `Muniment/` name,
        a value that makes no sense, a window for a history that is not kept, partitions, which are made with a
        database. Nothing is changed then.
        """
        with self._configuring:
            present = self.storage.settings
            changed = changed_settings(present, settings, replace=replace)
            engines.check_partitions(self.path, partitions_of(changed), partitions_of(present))
            self.storage.configure(changed)
            return changed

    def statistics(self) -> Statistics:
        """Counts, sizes and the fingerprint of this moment."""
        return Statistics.of(self.storage, self.name)

    @property
    def last_etag(self) -> int:
        """The etag of the last commit; 0 before the first."""
        return self.storage.last_etag

    def snapshot(self) -> Snapshot:
        """The last etag, its time and the whole fingerprint of this moment."""
        return self.storage.snapshot()

    def check(self) -> list[str]:
        """One sentence for each way in which the database does not agree with itself; empty when all is well.

        Reads everything: the structures, every document and attachment against its digest, all against the fingerprint.
        """
        return list(self.storage.check())

    def freeze(self, seconds: float = SECONDS) -> Freeze[Snapshot]:
        """Have the database's files stand still, for a tool that copies them; returns when they do.

        They hold the `state` that it gives, complete and on disk. Reads go on; writes wait until it is over, at the end
        of a `with` block, with `thaw`, or after so many seconds by itself. Ending it raises `Conflict` when it was over
        before: then what was copied may be of several moments. So does a second freeze at a time.
        """
        frozen = self.storage.freeze(seconds)
        try:
            frozen.begun.result()
        except BaseException:
            frozen.end()
            raise
        return frozen

    def next_id(self, collection: str) -> str:
        """A new id for a document of this collection, `orders/33`, from a range this database has reserved."""
        while True:
            id = self._hilo.next_id(collection)
            if self.storage.get(DOCUMENT, id) is None:  # it may have come since its range was reserved
                return id

    @property
    def hilo(self) -> HiLo:
        """The ranges of numbers from which `next_id` takes."""
        return self._hilo

    def next_identity(self, prefix: str) -> int:
        """The next number of a prefix, consecutive over all processes; it is used up even if nobody stores with it.

        A number that a document has already, `PREFIX` and the number being its id, is passed over.
        """
        check_text(prefix)
        id = IDENTITIES + prefix
        while True:
            present = self.get(id)
            try:
                number = self._free_number(prefix, int(present.json()["Value"]) if present else 0)
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                raise InvalidDocument(f"{id} does not hold a number", 'store {"Value": LAST} in it') from error
            try:
                self.storage.commit([Write(id, encode({"Value": number}), expected=present.etag if present else 0)])
            except ConcurrencyConflict:
                continue
            return number

    def _free_number(self, prefix: str, last: int) -> int:
        """The next number after `last` that no document has; where many follow each other, it jumps behind them."""
        for number in range(last + 1, last + NUMBERS_TRIED + 1):
            if self.storage.get(DOCUMENT, f"{prefix}{number}") is None:
                return number
        search = free_after(last + NUMBERS_TRIED, 1)
        try:
            after = next(search)
            while True:
                id = f"{prefix}{after + 1}"
                after = search.send(bool(self.storage.get(DOCUMENT, id)))
        except StopIteration as end:
            free: int = end.value
            return free + 1

    def _numbered(self, write: Write) -> Write:
        """A write to a prefix gets an id of its own, one that no document has; any other write stays as it is."""
        if not _is_numbered(write):
            return write
        id = f"{write.id}{self.next_identity(write.id)}"
        check_id(id)
        return write._replace(id=id, expected=0)


def _is_numbered(write: Write) -> bool:
    """Whether this is a document that wants a number of a prefix."""
    return (
        write.kind == DOCUMENT
        and write.body is not None
        and write.id.endswith("/")
        and not write.id.startswith(IDENTITIES)
    )


def _check_list(commands: object) -> None:
    if type(commands) is not list and not isinstance(commands, Iterable):  # which takes long to find out
        raise InvalidInput(f"a batch is a list of commands, not {type(commands).__name__}", "write [muniment.Put(…)]")


def _writes(commands: Iterable[Command | Patch | Write]) -> list[Write]:
    _check_list(commands)
    return [command if isinstance(command, Write) else write_of(command) for command in commands]


def check_text(text: str) -> None:
    """Raises `InvalidInput` unless this is Unicode text, as every id and every collection is."""
    if not isinstance(text, str):
        raise InvalidInput(f"{text!r} is not text", "pass a str, for example 'orders/'")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{text!r} is not Unicode text: {error.reason}", "remove the lone surrogate") from error


def _page(found: Sequence[Revision], limit: int) -> Page[Document]:
    return Page.cut([Document.of(revision) for revision in found], limit)


def open_to_read(folder: Path, key: EncryptionKey | None = None) -> DocumentDatabase:
    """A database that is opened to be read, also while another process writes to it.

    What a backup of it leaves to be remembered, that process takes over; what is read is pinned there too. A folder
    that cannot be written to is opened only for reading.
    """
    if engines.mounted_read_only(folder):
        return DocumentDatabase(folder, create=False, read_only=True, key=key)
    try:
        return DocumentDatabase(folder, create=False, key=key)
    except DatabaseLocked:
        return DocumentDatabase(folder, create=False, read_only=True, key=key)


def check_path(folder: Path) -> Path:
    """The folder by its whole path; raises `InvalidInput` for one that SQLite cannot take."""
    try:
        whole = folder.absolute()
        str(whole).encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"the path {str(folder)!r} is not Unicode, which SQLite wants", "use another") from error
    except FileNotFoundError as error:
        raise StorageFailure(
            f"{folder} is in the current folder, and that is there no more",
            "go to another folder, or give a whole path",
        ) from error
    return whole


def _create(folder: Path, allowed: bool, clock: Callable[[], int], key: EncryptionKey | None) -> None:
    if not engines.is_folder(folder):
        if not allowed:
            raise DatabaseNotFound(f"there is no database in {folder}", "give the schema that holds one")
        engines.create(folder, clock, key)
        return
    if re.match(r"https?:/", str(folder), re.IGNORECASE):
        raise InvalidInput(f"{folder} is the address of a server, not a folder", "open it with muniment.DocumentStore")
    if folder.exists() and not folder.is_dir():
        raise StorageFailure(f"{folder} is a file, so no database can be in it", "give a folder")
    if not allowed:
        raise DatabaseNotFound(f"there is no database in {folder}", "give the folder that holds muniment.db")
    from muniment.backup.destination import check_folder_name  # here: most databases are there already

    check_folder_name(folder)
    check_path(folder)
    engines.check_outside(folder)
    try:
        made = make_folders(folder)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise StorageFailure(
            f"the folder {str(folder)!r} cannot be created: {reason}", "give a folder that you may write to"
        ) from error
    engines.create(folder, clock, key)
    with mapped_errors(folder):  # or a power failure could take the folder away, with all that was acknowledged
        sync_folders(path.parent for path in made)
