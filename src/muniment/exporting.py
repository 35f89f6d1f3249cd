"""Exports: a state of a database, open or in a backup, into a file or stream of a format that others read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Final, Literal

from muniment.backup.matches import MANY, collections_of, ids_of, near, near_hint
from muniment.backup.moment import RestorePoint
from muniment.backup.parquet import DocumentTable
from muniment.backup.reader import read_backup
from muniment.backup.repository import backups
from muniment.backup.restore_plan import plan_restore
from muniment.document import from_microseconds
from muniment.durable import new_file
from muniment.errors import DamagedDatabase, DocumentNotFound, InvalidInput
from muniment.fingerprint import Fingerprint
from muniment.owner import present_owner, split_id
from muniment.progress import Progress
from muniment.revision import ATTACHMENT, DOCUMENT, Batch, Revision
from muniment.smuggler.export import Export, Exported
from muniment.smuggler.filter import COLLECTION
from muniment.smuggler.folder import Kind, State, begin, held, new_name, read_state, write_state
from muniment.smuggler.formats import Content, DumpWriter, LegacyDumpWriter, LinesWriter, Writer
from muniment.smuggler.named import Named
from muniment.smuggler.options import DOCUMENTS, SmugglerOptions
from muniment.smuggler.pending import Aside, Deletion, Owned
from muniment.smuggler.pick import Chooser
from muniment.smuggler.sink import Compression, Sink, Writable
from muniment.smuggler.transfer import time_limit
from muniment.storage.base import Snapshot, Storage, system_clock

Format = Literal["ravendbdump", "ravendump", "ndjson", "parquet"]

BATCH_BYTES: Final = 8 << 20
_COMPRESSIONS: Final[dict[str, Compression]] = {".gz": "gzip", ".zst": "zstd"}
_FORMATS: Final[dict[str, Format]] = {
    ".ravendbdump": "ravendbdump",
    ".ravendump": "ravendump",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """What a file is to look like: its format and its compression."""

    format: Format
    compression: Compression

    @classmethod
    def of(cls, name: str | None, format: Format | None = None, compression: Compression | None = None) -> Shape:
        """From what is asked for, else from the end of the file's name; raises `InvalidInput` if that says nothing.

        Dumps are compressed with gzip, which every RavenDB reads, and NDJSON as `.gz` or `.zst` say.
        """
        path = Path(name or "")
        by_name = _COMPRESSIONS.get(path.suffix.lower())
        suffix = Path(path.stem).suffix if by_name else path.suffix
        found = format or _FORMATS.get(suffix.lower())
        if found is None:
            raise InvalidInput(
                f"{name or 'a stream'} does not say which format to write",
                f"end the name in one of {', '.join(_FORMATS)}, or name the format",
            )
        if found not in _FORMATS.values():
            raise InvalidInput(
                f"{found!r} is no format that can be written",
                f"name one of {', '.join(dict.fromkeys(_FORMATS.values()))}",
            )
        if compression not in (None, "gzip", "zstd", "none"):
            raise InvalidInput(f"{compression!r} is not a compression that can be written", "name gzip, zstd or none")
        usual: Compression = "gzip" if found in ("ravendbdump", "ravendump") else "none"
        return cls(found, compression or by_name or usual)

    @classmethod
    def to(cls, destination: str | Path | Writable, format: Format | None, compression: Compression | None) -> Shape:
        """The same for a path or a stream, which has no name."""
        name = str(destination) if isinstance(destination, str | Path) else None
        return cls.of(name, format, compression)


def export_storage(
    storage: Storage,
    destination: str | Path | Writable,
    *,
    format: Format | None = None,
    compression: Compression | None = None,
    options: SmugglerOptions | None = None,
    overwrite: bool = False,
    clock: Callable[[], int] = system_clock,
    progress: Progress | None = None,
) -> Exported:
    """Write the state of this moment to a file or a binary stream, while others read and write.

    The file has its name only when it is complete and on disk; one that exists is replaced only if `overwrite` says so,
    and only then. A stream is not closed. When it raises, `Cancelled` too, no file is left.
    """
    progress, options = progress or Progress(), _checked(options)
    notes: list[str] = []
    shape = Shape.to(destination, format, compression)
    with (
        _begun(options, clock, progress) as chooser,
        storage.pin() as snapshot,
        _opened(destination, shape, notes, overwrite=overwrite) as sink,
    ):
        writer = writer_of(shape, sink, storage.content)
        summary = _export_state(storage, snapshot, writer, options, chooser, progress)
    return _described(summary, shape, sink, progress, destination, notes)


def export_incremental(
    storage: Storage,
    folder: str | Path,
    *,
    format: Format = "ravendbdump",
    compression: Compression | None = None,
    options: SmugglerOptions | None = None,
    clock: Callable[[], int] = system_clock,
    progress: Progress | None = None,
) -> Exported:
    """Write what changed since the last export into this folder, deletions too, as a new dump there.

    A state file in the folder keeps how far that one went. The first export is a full one, and so is one that might
    miss something, as `reason` says. Where nothing has changed no file is written. `import_folder` applies them all.
    Raises `ForeignBackup` when the folder holds another database's exports, and `Busy` while another one runs.
    """
    folder = Path(folder)
    incremental_shape(format, compression, options)  # before anything is made
    with held(folder):
        state = read_state(folder)

        def place(kind: Kind) -> Path:
            return new_name(folder, kind, from_microseconds(clock()), format)

        lost = state is not None and not (folder / state.file).exists()
        summary = export_changes(
            storage,
            place,
            state,
            lost=lost,
            format=format,
            compression=compression,
            options=options,
            clock=clock,
            progress=progress,
        )
        if summary.file:
            identity = storage.identity
            name = Path(summary.file).name
            write_state(folder, State(identity.database_id, identity.lineage, summary.etag, name))
    return summary


def export_changes(
    storage: Storage,
    destination: Callable[[Kind], str | Path | Writable],
    state: State | None,
    *,
    lost: bool = False,
    format: Format = "ravendbdump",
    compression: Compression | None = None,
    options: SmugglerOptions | None = None,
    clock: Callable[[], int] = system_clock,
    progress: Progress | None = None,
) -> Exported:
    """Write what changed since the export that this state is of, or everything, to where `destination` says.

    `lost` says that the dump of that export is gone, so that a full one has to take its place. `destination` is not
    asked where nothing has changed. See `export_incremental`.
    """
    progress, options = progress or Progress(), _checked(options)
    notes: list[str] = []
    shape = incremental_shape(format, compression, options)
    with _begun(options, clock, progress) as chooser, storage.pin() as snapshot:
        after, reason = begin(state, not lost, storage.identity, snapshot)
        if after == snapshot.etag > 0:
            return Exported(kind="incremental", reason="nothing has changed", etag=after, time=snapshot.modified)
        kind: Kind = "incremental" if after else "full"
        place = destination(kind)
        with _opened(place, shape, notes) as sink:
            writer = writer_of(shape, sink, storage.content)
            summary = _export_state(storage, snapshot, writer, options, chooser, progress, after)
    summary.kind, summary.reason = kind, reason
    return _described(summary, shape, sink, progress, place, notes)


def incremental_shape(format: Format, compression: Compression | None, options: SmugglerOptions | None) -> Shape:
    """What the files of incremental exports look like; raises `InvalidInput` for what there can be none of."""
    shape = Shape.of(None, format, compression)
    if format not in ("ravendbdump", "ravendump"):
        raise InvalidInput(f"{format} has no place for deletions", "export incrementally as ravendbdump or ravendump")
    if options and (options.start_etag or options.limit is not None):
        raise InvalidInput("an incremental export begins where the last one ended, and has no limit", "leave them out")
    return shape


def _export_state(
    storage: Storage,
    snapshot: Snapshot,
    writer: Writer,
    options: SmugglerOptions,
    chooser: Chooser,
    progress: Progress,
    after: int = 0,
) -> Exported:
    attachments = snapshot.fingerprint.count(ATTACHMENT) > 0 or after > 0
    if not after:  # before the first byte is on its way
        _check_named(options, Named(options.filters), snapshot.fingerprint)
    with closing(Aside(lambda id: storage.get(DOCUMENT, id) is not None)) as aside:
        if not after:
            progress.total_documents = snapshot.fingerprint.count(DOCUMENT)
            progress.total_bytes = snapshot.fingerprint.size(DOCUMENT) + snapshot.fingerprint.size(ATTACHMENT)
        export = Export(writer, aside, options, chooser, progress, after=after)
        progress.stage = "looking for attachments"
        for revision in storage.attachment_changes(0, snapshot.etag) if attachments else ():
            export.apply_attachment(revision)
        progress.stage = "exporting"
        start = after or (0 if attachments else options.start_etag)
        for batch in storage.changes(start, snapshot.etag):
            export.apply(batch)
            if export.full:
                break
        expected = snapshot.fingerprint.count(DOCUMENT)
        if export.seen != expected and not (start or export.full):
            raise DamagedDatabase(
                f"the log gave {export.seen:,} documents where the fingerprint has {expected:,}",
                "if another process is writing to the database, export it there; else run `muniment check`",
            )
        if after and writer.inline:
            for owner in _owners_of_changed(storage, aside, after, snapshot.etag):
                export.take(owner)
        summary = export.finish()
        if not after:
            _check_named(options, export.named, snapshot.fingerprint, lambda: _ids_in(storage, snapshot))
            _check_met(options, summary, export.seen, snapshot.fingerprint)
    summary.etag, summary.time = snapshot.etag, snapshot.modified
    return summary


def _check_met(options: SmugglerOptions, summary: Exported, seen: int, found: Fingerprint) -> None:
    """Raises `DocumentNotFound` when there were documents, and none met the filters."""
    if options.filters and DOCUMENTS in options.carried and seen and not summary.documents:
        told = ", ".join(repr(filter.text) for filter in options.filters)
        values = [value for filter in options.filters for value in filter.text.partition("=")[2].split(",")]
        alike = [name for value in values for name in near(value.strip().strip("'"), collections_of(found))]
        raise DocumentNotFound(
            f"none of the {seen:,} documents meets {told}, so nothing was exported", near_hint(alike)
        )


def _check_named(
    options: SmugglerOptions, named: Named, found: Fingerprint, ids: Callable[[], Iterator[str]] | None = None
) -> None:
    """Raises `DocumentNotFound` for collections and ids that the filters name and that are not there.

    `ids` are all that there are, for those that the export had no need to see, and to find one that is like a name;
    without them only collections are looked at.
    """
    if DOCUMENTS not in options.carried:
        return
    collections = collections_of(found)
    for collection in collections:
        named.note_collection(collection)
    for id in ids() if ids and named.seeks_ids else ():
        named.note_id(id)
    told, alike = [], []
    for name in named.missing:
        if name.member == COLLECTION:
            told.append(f"no document in a collection {name.text!r}")
            alike += near(name.text, collections)
        elif ids:
            told.append(f"no document {name.text!r}")
            alike += near(name.text, islice(ids(), MANY))
    if told:
        raise DocumentNotFound(f"there is {' and '.join(told)}, so nothing was exported", near_hint(alike))


def _ids_in(storage: Storage, snapshot: Snapshot) -> Iterator[str]:
    for batch in storage.changes(0, snapshot.etag):
        yield from (revision.id for revision in batch if revision.body is not None)


@contextmanager
def _begun(options: SmugglerOptions, clock: Callable[[], int], progress: Progress) -> Iterator[Chooser]:
    """What chooses documents, within the time that the options allow."""
    with time_limit(options.timeout, progress), Chooser(options, clock=clock) as chooser:
        yield chooser


def _checked(options: SmugglerOptions | None) -> SmugglerOptions:
    if options and options.continuation is not None:
        raise InvalidInput("an export can not be continued: each is one state", "leave out the continuation token")
    return options or SmugglerOptions()


def _owners_of_changed(storage: Storage, aside: Aside, after: int, upto: int) -> Iterator[Revision]:
    """Documents that did not change themselves, but one of their attachments did: RavenDB takes them only together."""
    for revision in storage.attachment_changes(after, upto):
        if revision.body is not None and aside.waits(revision):
            owner, key = split_id(revision.id)
            id = owner or present_owner(storage, key)
            found = storage.get(DOCUMENT, id) if id else None
            if found and found.etag <= upto:  # else the next export has it
                yield found


def export_backup(
    source: str | Path,
    destination: str | Path | Writable,
    *,
    at: datetime | None = None,
    etag: int | None = None,
    backup: str | None = None,
    lineage: str | None = None,
    format: Format | None = None,
    compression: Compression | None = None,
    options: SmugglerOptions | None = None,
    overwrite: bool = False,
    clock: Callable[[], int] = system_clock,
    progress: Progress | None = None,
) -> Exported:
    """Write the newest moment that the backups in `source` hold, or the one that is named, without restoring it.

    Everything is read and proven as in a restore before the file gets its name; see `export_storage` for that. The
    contents of attachments wait in the system's temporary folder meanwhile. A stream is cut short by an error.
    """
    progress, options = progress or Progress(), _checked(options)
    notes: list[str] = []
    shape = Shape.to(destination, format, compression)
    progress.stage = "planning"
    found = backups(Path(source))
    plan = plan_restore(found, str(source), RestorePoint(at, etag, backup, lineage))
    with (
        _begun(options, clock, progress) as chooser,
        closing(Aside(lambda _: False)) as aside,
        _opened(destination, shape, notes, overwrite=overwrite) as sink,
    ):
        writer = writer_of(shape, sink, aside.content)
        export = Export(writer, aside, options, chooser, Progress(), account=True)
        moment = read_backup(plan, export, progress, attachments_first=True)
        summary = export.finish()
        _check_named(options, export.named, export.fingerprint, lambda: ids_of(plan))
        _check_met(options, summary, export.seen, export.fingerprint)
    notes += (*found.notes, *plan.missing)
    summary.etag, summary.time = moment.etag, moment.modified
    return _described(summary, shape, sink, progress, destination, notes)


def writer_of(shape: Shape, sink: Sink, content: Content) -> Writer:
    """What writes this format."""
    if shape.format == "ravendbdump":
        return DumpWriter(sink, content)
    if shape.format == "ravendump":
        return LegacyDumpWriter(sink, content)
    return LinesWriter(sink) if shape.format == "ndjson" else ParquetWriter(sink)


def _described(
    summary: Exported,
    shape: Shape,
    sink: Sink,
    progress: Progress,
    destination: str | Path | Writable,
    notes: list[str],
) -> Exported:
    """The summary with what is known of the file and the time it took."""
    progress.finish()
    summary.bytes, summary.size, summary.seconds = sink.plain, sink.written, progress.seconds
    summary.format, summary.compression = shape.format, shape.compression
    summary.file = str(destination) if isinstance(destination, str | Path) else None
    summary.notes = notes
    return summary


@contextmanager
def _opened(
    destination: str | Path | Writable, shape: Shape, notes: list[str], *, overwrite: bool = False
) -> Iterator[Sink]:
    """What to write to. It is finished when the block ends, and a file only then gets its name.

    What could not be brought to disk is added to the notes.
    """
    with ExitStack() as stack:
        file: Writable
        if isinstance(destination, str | Path):
            path = stack.enter_context(new_file(Path(destination), overwrite=overwrite, notes=notes))
            file = stack.enter_context(path.open("xb"))
        else:
            file = destination
        with closing(Sink(file, shape.compression)) as sink:
            yield sink
            sink.finish()


class ParquetWriter:
    """Documents in the columns that a backup gives them."""

    inline = False
    carries = frozenset({DOCUMENTS})

    def __init__(self, sink: Sink) -> None:
        self._table = DocumentTable(sink.write)
        self._waiting: list[Revision] = []
        self._size = 0

    def begin(self) -> None:
        """The file begins by itself."""

    def batch(self, batch: Batch) -> None:
        """See `Writer`."""
        self._flush()
        self._table.write(batch)

    def document(self, revision: Revision, owned: list[Owned]) -> None:
        """See `Writer`."""
        self._waiting.append(revision)
        self._size += revision.size
        if self._size >= BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._table.write(Batch.of(self._waiting))
        self._waiting, self._size = [], 0

    def loose(self, attachments: Iterable[Revision]) -> None:
        """Attachments have no place."""

    def identities(self, identities: Iterable[tuple[str, int]]) -> None:
        """Identities are documents like others here."""

    def deletions(self, documents: Iterable[Deletion], attachments: Iterable[Deletion]) -> None:
        """Deletions have no place."""

    def end(self) -> None:
        """The end of the file, which tells a reader where everything is."""
        self._flush()
        self._table.close()
