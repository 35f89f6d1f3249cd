"""Documents on their way between databases, wherever these are: on a server, in a folder, or in backups."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, TypeAlias, Unpack

from muniment.backup.destination import is_stored, place_of
from muniment.backup.moment import NEWEST, PointKeywords, RestorePoint
from muniment.backup.repository import backups
from muniment.client import DocumentStore
from muniment.client.wire import split_url
from muniment.database import DocumentDatabase, open_to_read
from muniment.document import fold
from muniment.errors import Cancelled, DatabaseNotFound, InvalidInput, MunimentError, TargetExists
from muniment.fresh import made
from muniment.progress import Progress
from muniment.raven3.names import SYSTEM
from muniment.security.encryption import EncryptionKey
from muniment.security.keyring import NO_KEYS, Keyring
from muniment.smuggler.export import export_moment
from muniment.smuggler.folder import import_folder
from muniment.smuggler.options import BATCH_DOCUMENTS, Compression, ExportOptions, Format, SmugglerOptions
from muniment.smuggler.rows import Plain, dump_of
from muniment.smuggler.sink import Writable
from muniment.smuggler.source import Source
from muniment.smuggler.summary import Exported, Imported
from muniment.statistics import Statistics
from muniment.storage import engines
from muniment.storage.location import is_address, location_of

Connect: TypeAlias = Callable[[str, str | None], DocumentStore]
"""Opens the database of this name on the server at this address, with the key or certificate that it wants to see."""


class Target(Protocol):
    """What can be imported into; see `DocumentDatabase.import_dump`."""

    def import_dump(
        self,
        source: str | Path | BinaryIO | Iterable[bytes],
        *,
        options: SmugglerOptions | None = None,
        progress: Progress | None = None,
    ) -> Imported: ...

    def statistics(self) -> Statistics: ...


@dataclass(frozen=True)
class Backups(Source[Exported]):
    """A moment in a folder of backups, the newest one when none is named; it is read without restoring it."""

    folder: Path
    point: RestorePoint = NEWEST
    keyring: Keyring = NO_KEYS

    def _export(self, destination: str | Path | Writable, options: ExportOptions, progress: Progress) -> Exported:
        return export_moment(self.folder, self.point, destination, options, keyring=self.keyring, progress=progress)

    def _export_incremental(self, folder: Path, options: ExportOptions, progress: Progress) -> Exported:
        raise InvalidInput(
            f"{self.folder} holds backups, which cannot be exported incrementally", "export a database, or a moment"
        )


@contextmanager
def source(
    place: str,
    database: str | None = None,
    *,
    point: RestorePoint = NEWEST,
    key: EncryptionKey | None = None,
    connect: Connect = DocumentStore,
    keyring: Keyring = NO_KEYS,
    **named: Unpack[PointKeywords],
) -> Iterator[Source[Exported]]:
    """What is at this place: a URL is a server, and of a folder its content says whether it is a database or backups.

    `database` names the one on a server, which `connect` opens; `at`, `etag` or `backup` the moment in backups, and
    `lineage` its history. `key` is that of an encrypted database in a folder, `keyring`
    opens encrypted backups.
    """
    point = replace(point, **named)
    if is_url(place) and not is_stored(place):
        if point.named:
            raise InvalidInput(f"{place} is a server, which has only its present state", "leave out the moment")
        check_named(place, database)
        with connect(place, database) as store:
            yield store
        return
    check_folder(place, database)
    folder = place_of(place) if is_stored(place) else location_of(place)
    if engines.exists(folder):
        if point.named:
            raise InvalidInput(f"{place} is a database, which has only its present state", "leave out the moment")
        with open_to_read(folder, key) as opened:
            yield opened
    elif folder.is_dir() and ((found := backups(folder)) or found.unusable):
        yield Backups(folder, point, keyring)
    else:
        raise DatabaseNotFound(
            f"there is neither a database nor a backup in {place}",
            "give the folder that holds muniment.db, one that backups were written to, or the URL of a server",
        )


@contextmanager
def target(
    place: str,
    database: str | None = None,
    *,
    create: bool = False,
    flag: str = "--database",
    key: EncryptionKey | None = None,
    connect: Connect = DocumentStore,
) -> Iterator[Target]:
    """The database at this place to import into; raises `DatabaseNotFound` when there is none, unless it may be made.

    One in a folder is opened, and made, with the `key`.

    Of a server the database has to be named, by the URL or with `flag`: `InvalidInput`. If the block fails, a database
    that was made for it is removed again when nothing has come into it.
    """
    if is_url(place):
        check_named(place, database, flag)
    try:
        with _target(place, database, create, key, connect) as opened:
            yield opened
    except DatabaseNotFound as error:
        if not create:
            error.hint = "make it first, or say that it may be made (--create)"
        raise


@contextmanager
def _target(
    place: str, database: str | None, create: bool, key: EncryptionKey | None, connect: Connect
) -> Iterator[Target]:
    if is_url(place):
        with connect(place, database) as store, _made(store) if create else nullcontext():
            store.statistics()  # a dump should not be on its way before it is known that there is a database
            yield store
        return
    check_folder(place, database)
    if create:
        with made(location_of(place), keep_if=_has_content, key=key) as (new, _):
            yield new
    else:
        with DocumentDatabase(place, create=False, key=key) as present:
            yield present


@contextmanager
def _made(store: DocumentStore) -> Iterator[None]:
    """Make the database on the server if there is none, and remove it if the block fails and it is empty."""
    if store.name == SYSTEM or fold(store.name) in map(fold, store.admin.databases()):
        yield
        return
    store.admin.create_database(store.name)
    try:
        yield
    except BaseException:
        with suppress(MunimentError):
            if not _has_content(store):
                store.admin.delete_database(store.name, hard=True)
        raise


def _has_content(database: DocumentDatabase | DocumentStore) -> bool:
    found = database.statistics()
    return found.documents + found.attachments > 0


def import_from(
    source: str | Path | BinaryIO,
    target: Target,
    *,
    options: SmugglerOptions | None = None,
    progress: Progress | None = None,
    backup: str | None = None,
    until: str | None = None,
    id_field: str | None = None,
    collection: str | None = None,
) -> Imported:
    """Import a dump, or all dumps of a folder in their order; see `muniment.smuggler.folder.dumps_in` for those.

    NDJSON and Parquet are taken too; of plain objects `id_field` names the member that is the id, and `collection` is
    theirs. See `muniment.smuggler.rows.dump_of`.
    """
    if isinstance(source, str | Path) and Path(source).is_dir():

        def import_file(path: Path) -> Imported:
            return target.import_dump(path, options=options, progress=progress)

        return import_folder(source, import_file, backup=backup, until=until)
    if backup is not None or until is not None:
        raise InvalidInput(
            f"{source} is not a folder, so there is nothing in it to choose from", "give the folder of the backups"
        )
    dump = dump_of(source, plain := Plain(id_field, collection))
    if dump is not None:
        return target.import_dump(dump, options=options, progress=progress)
    if plain:
        raise InvalidInput(
            f"{source} is a dump, which has ids and collections already",
            "leave out --id-field and --collection, in Python id_field and collection",
        )
    return target.import_dump(source, options=options, progress=progress)


def export_for_ravendb(
    source: Source[Exported],
    file: str | Path,
    *,
    format: Format | None = None,
    compression: Compression | None = None,
    options: SmugglerOptions | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Write a `.ravendbdump` that RavenDB does not refuse: see `muniment.smuggler.refused`.

    The documents for which it would are in a second dump beside it, `shop.refused.ravendbdump` for `shop.ravendbdump`;
    if there are none, so is no file. The two are of two moments: a note says when what RavenDB refuses was changed
    between them.
    """
    options = options or SmugglerOptions()
    path = Path(file)
    beside = path.with_name(f"{path.name.removesuffix('.ravendbdump')}.refused.ravendbdump")
    if not overwrite and beside.exists():
        raise TargetExists(f"{beside} exists already", "name another file, or replace both of them (--overwrite)")
    without, only = replace(options, for_ravendb="without"), replace(options, for_ravendb="only")
    exported = source.export(
        path, format=format, compression=compression, options=without, overwrite=overwrite, progress=progress
    )
    if exported.refused:
        left = source.export(beside, compression=compression, options=only, overwrite=overwrite)
        exported.notes.append(f"what RavenDB refuses is in {beside}")
        if left.documents != exported.refused:
            exported.notes.append("some of what RavenDB refuses was changed meanwhile: export it again")
    return exported


class Moved(NamedTuple):
    """What left the source, and what came into the target."""

    exported: Exported
    imported: Imported


def between(
    source: Source[Exported],
    target: Target,
    *,
    options: SmugglerOptions | None = None,
    progress: Progress | None = None,
) -> Moved:
    """Bring the state of this moment from one database into another, without a file in between, in constant memory.

    Documents that exist in the target are replaced. When it raises, what came before has been stored, and doing it
    again is harmless. `progress` is that of the source; the options that say which part to carry are applied there.
    """
    options, progress = options or SmugglerOptions(), progress or Progress()
    at_source = replace(options, batch_size=BATCH_DOCUMENTS, fail_on_unknown=False)
    at_target = SmugglerOptions(
        keep_extensions=True,  # what the source has kept
        batch_size=options.batch_size,
        ignore_errors=options.ignore_errors,
        fail_on_unknown=options.fail_on_unknown,
    )
    reading, writing = os.pipe()
    with ThreadPoolExecutor(1, "muniment export") as pool:
        exporting = pool.submit(_export, source, writing, at_source, progress)
        try:
            with os.fdopen(reading, "rb") as dump:
                imported = target.import_dump(dump, options=at_target)
                while dump.read(1 << 16):  # the end of the compression
                    pass
        except MunimentError as error:
            raise _cause(exporting, error) from error
        return Moved(exporting.result(), imported)


def _export(source: Source[Exported], writing: int, options: SmugglerOptions, progress: Progress) -> Exported:
    dump = os.fdopen(writing, "wb")
    try:
        exported = source.export(dump, format="ravendbdump", compression="zstd", options=options, progress=progress)
        dump.flush()
        return exported
    finally:
        with suppress(BrokenPipeError):
            dump.close()


def _cause(exporting: Future[Exported], error: MunimentError) -> MunimentError:
    """Which error is the first: an import ends with one of its own when the export does, and the other way round."""
    first = exporting.exception()
    if not isinstance(first, MunimentError) or isinstance(first.__cause__, BrokenPipeError):
        return error
    first.message += f"; the import then ended: {error.message}"
    if isinstance(first, Cancelled):
        first.hint = "run it again to complete it; what has been brought over stays"
    return first


def is_url(place: str) -> bool:
    """Whether this is a server, and no folder."""
    return "://" in place and not is_address(place)


def check_named(place: str, database: str | None, flag: str = "--database") -> None:
    """Raises `InvalidInput` when no database of a server is named: its own, the system database, is not meant."""
    if not database and not split_url(place)[1]:
        raise InvalidInput(
            f"no database of {place} was named",
            f"name it with {flag}, or {SYSTEM} for the one with the server's own documents",
        )


def check_folder(place: str, database: str | None) -> None:
    """Raises `InvalidInput` when a database is named and the place is a folder."""
    if not place.strip():
        raise InvalidInput("the name of a folder is empty", "give the folder of a database, or the URL of a server")
    if database:
        raise InvalidInput(f"{place} is a folder, which is one database", "leave out the database, or give a URL")
