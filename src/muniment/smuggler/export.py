"""Exports: a state of a database, open or in a backup, to a file or stream in a format that other programs read."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from muniment.backup.matches import ids_of
from muniment.backup.moment import RestorePoint
from muniment.backup.plan import RestorePlan
from muniment.backup.reader import read_backup
from muniment.backup.repository import backups
from muniment.backup.restore_plan import plan_restore
from muniment.document import fold, from_microseconds
from muniment.durable import new_file
from muniment.errors import DamagedDatabase
from muniment.owner import present_owner, split_id
from muniment.progress import Progress
from muniment.revision import ATTACHMENT, DOCUMENT, Batch, Revision
from muniment.security.keyring import NO_KEYS, Keyring
from muniment.smuggler.exporter import Exporter
from muniment.smuggler.folder import Kind, State, begin, held, new_name, read_state, write_state
from muniment.smuggler.formats import writer_of
from muniment.smuggler.options import ExportOptions, SmugglerOptions
from muniment.smuggler.pending import Pending
from muniment.smuggler.pick import Chooser, Named, check_met, check_named
from muniment.smuggler.revisions import revisions_in
from muniment.smuggler.sink import Sink, Writable
from muniment.smuggler.summary import Exported
from muniment.smuggler.writer import Writer
from muniment.storage.base import Snapshot, Storage, system_clock


def export_state(
    storage: Storage,
    destination: str | Path | Writable,
    options: ExportOptions,
    *,
    clock: Callable[[], int] = system_clock,
    progress: Progress,
) -> Exported:
    """Write the state of this moment, while others read and write. See `Source.export`."""
    with (
        _begun(options.part, clock, progress) as chooser,
        storage.pin() as snapshot,
        _opened(destination, options) as output,
    ):
        writer = writer_of(options.format, output.sink, storage.content)
        summary = _export_snapshot(storage, snapshot, writer, options.part, chooser, progress)
    return output.described(summary, progress)


def export_into_folder(
    storage: Storage,
    folder: Path,
    options: ExportOptions,
    *,
    clock: Callable[[], int] = system_clock,
    progress: Progress,
) -> Exported:
    """Write what changed since the last export into this folder, deletions too. See `Source.export_incremental`."""
    with held(folder):
        state = read_state(folder, options.part.choice)

        def place(kind: Kind) -> Path:
            return new_name(folder, kind, from_microseconds(clock()), options.format)

        lost = state is not None and not (folder / state.file).exists()
        summary = export_changes(storage, place, state, options, lost=lost, clock=clock, progress=progress)
        if summary.file:
            identity = storage.identity
            name = Path(summary.file).name
            choice = options.part.choice
            write_state(folder, State(identity.database_id, identity.lineage, summary.etag, name, choice))
    return summary


def export_changes(
    storage: Storage,
    destination: Callable[[Kind], str | Path | Writable],
    state: State | None,
    options: ExportOptions,
    *,
    lost: bool = False,
    clock: Callable[[], int] = system_clock,
    progress: Progress,
) -> Exported:
    """Write what changed since the export that left this state, or everything, to where `destination` says.

    `lost`: the dump of that export is gone, so that a full one must take its place. `destination` is not called when
    nothing has changed. See `export_into_folder`.
    """
    options.check_incremental()
    with _begun(options.part, clock, progress) as chooser, storage.pin() as snapshot:
        after, reason = begin(state, not lost, storage.identity, snapshot)
        if after == snapshot.etag > 0:
            return Exported(kind="incremental", reason="nothing has changed", etag=after, time=snapshot.modified)
        kind: Kind = "incremental" if after else "full"
        with _opened(destination(kind), options) as output:
            writer = writer_of(options.format, output.sink, storage.content)
            summary = _export_snapshot(storage, snapshot, writer, options.part, chooser, progress, after)
    summary.kind, summary.reason = kind, reason
    return output.described(summary, progress)


def export_moment(
    folder: Path,
    point: RestorePoint,
    destination: str | Path | Writable,
    options: ExportOptions,
    *,
    keyring: Keyring = NO_KEYS,
    clock: Callable[[], int] = system_clock,
    progress: Progress,
) -> Exported:
    """Write a moment that the backups in this folder hold, without restoring it. See `Source.export`."""
    progress.stage = "planning"
    plan = plan_restore(backups(folder, keyring), str(folder), point)
    return export_plan(plan, destination, options, clock=clock, progress=progress)


def export_plan(
    plan: RestorePlan,
    destination: str | Path | Writable,
    options: ExportOptions,
    *,
    clock: Callable[[], int] = system_clock,
    progress: Progress,
) -> Exported:
    """Write the planned moment, without restoring it.

    Everything is read and proven as in a restore before the file gets its name. The contents of attachments wait in the
    system's temporary folder meanwhile.
    """
    with (
        _begun(options.part, clock, progress) as chooser,
        closing(Pending(lambda _: False)) as aside,
        _opened(destination, options) as output,
    ):
        writer = writer_of(options.format, output.sink, aside.content)
        export = Exporter(writer, aside, options.part, chooser, Progress(), account=True)
        moment = read_backup(plan, export, progress, attachments_first=True)
        summary = export.finish()
        check_named(options.part, export.named, export.fingerprint, lambda: ids_of(plan))
        check_met(options.part, summary.documents, export.seen, export.fingerprint)
    output.notes.extend(plan.notes)
    summary.etag, summary.time = moment.etag, moment.modified
    return output.described(summary, progress)


def _export_snapshot(
    storage: Storage,
    snapshot: Snapshot,
    writer: Writer,
    options: SmugglerOptions,
    chooser: Chooser,
    progress: Progress,
    after: int = 0,
) -> Exported:
    attachments = snapshot.fingerprint.count(ATTACHMENT) > 0 or after > 0
    if not after:  # before the first byte is written
        check_named(options, Named(options.filters), snapshot.fingerprint)
    with closing(Pending(lambda id: storage.get(DOCUMENT, id) is not None)) as aside:
        if not after:
            progress.total_documents = snapshot.fingerprint.count(DOCUMENT)
            progress.total_bytes = snapshot.fingerprint.size(DOCUMENT) + snapshot.fingerprint.size(ATTACHMENT)
        export = Exporter(writer, aside, options, chooser, progress, after=after)
        progress.stage = "looking for attachments"
        for revision in storage.attachment_changes(0, snapshot.etag) if attachments else ():
            export.apply_attachment(revision)
        progress.stage = "exporting"
        start = after or (0 if attachments else options.start_etag)
        with closing(_read_ahead(storage.changes(start, snapshot.etag))) as batches:
            for batch in batches:
                export.apply(batch)
                if export.full:
                    break
        expected = snapshot.fingerprint.count(DOCUMENT)
        if export.seen != expected and not (start or export.full):
            raise DamagedDatabase(
                f"{export.seen:,} documents were read, but the fingerprint counts {expected:,}",
                "if another process is writing to the database, export it there; otherwise run `muniment check`",
            )
        if after and writer.inline:
            for owner in _owners_of_changed(storage, aside, after, snapshot.etag):
                export.take(owner)
        place = export.revisions
        found = revisions_in(storage, place, after, snapshot.etag) if place else iter(())
        summary = export.finish(found)
        if not after:
            check_named(options, export.named, snapshot.fingerprint, lambda: _ids_in(storage, snapshot))
            check_met(options, summary.documents, export.seen, snapshot.fingerprint)
    summary.etag, summary.time = snapshot.etag, snapshot.modified
    return summary


def _ids_in(storage: Storage, snapshot: Snapshot) -> Iterator[str]:
    for batch in storage.changes(0, snapshot.etag):
        yield from (revision.id for revision in batch if revision.body is not None)


def _read_ahead(batches: Iterator[Batch]) -> Generator[Batch, None, None]:
    """The same, each read by a thread of its own while the one before is written: SQLite works beside Python."""
    with ThreadPoolExecutor(1, "muniment reader") as pool:
        reading = pool.submit(next, batches, None)
        while (batch := reading.result()) is not None:
            reading = pool.submit(next, batches, None)
            yield batch


@contextmanager
def _begun(options: SmugglerOptions, clock: Callable[[], int], progress: Progress) -> Iterator[Chooser]:
    """The chooser of documents; within it, the time limit of the options holds."""
    with progress.within(options.timeout), Chooser(options, clock=clock) as chooser:
        yield chooser


def _owners_of_changed(storage: Storage, aside: Pending, after: int, upto: int) -> Iterator[Revision]:
    """Unchanged documents one of whose attachments changed or is gone.

    RavenDB takes attachments only with their document, and leaves one that is gone in a document's list of them.
    """
    given: set[str] = set()
    for revision in storage.attachment_changes(after, upto):
        if revision.body is not None and not aside.waits(revision):
            continue
        owner, key = split_id(revision.id)
        id = owner or present_owner(storage, key)
        found = storage.get(DOCUMENT, id) if id else None
        if found is None or found.etag > upto or (revision.body is None and found.etag > after):
            continue  # the next export has it, or this one already
        if fold(found.id) not in given:
            given.add(fold(found.id))
            yield found


@dataclass(frozen=True, slots=True)
class _Output:
    """Where an export is written, and what of it could not be synced to disk."""

    sink: Sink
    options: ExportOptions
    file: str | None
    notes: list[str]

    def described(self, summary: Exported, progress: Progress) -> Exported:
        """The summary with the facts of the file and the time it took."""
        progress.finish()
        summary.bytes, summary.size, summary.seconds = self.sink.plain, self.sink.written, progress.seconds
        summary.format, summary.compression = self.options.format, self.options.compression
        summary.file, summary.notes = self.file, self.notes
        return summary


@contextmanager
def _opened(destination: str | Path | Writable, options: ExportOptions) -> Iterator[_Output]:
    """The output. It is finished when the block ends; only then does a file get its name."""
    notes: list[str] = []
    with ExitStack() as stack:
        name = file = None
        if isinstance(destination, str | Path):
            name, file = str(destination), Path(destination)
            path = stack.enter_context(new_file(file, overwrite=options.overwrite, notes=notes))
            destination = stack.enter_context(path.open("xb"))
        with closing(Sink(destination, options.compression, file)) as sink:
            yield _Output(sink, options, name, notes)
            sink.finish()
