"""Importing a dump into a storage: in batches, in constant memory; whatever is left out is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from os import PathLike
from typing import Any, Final

from muniment.amounts import count_text
from muniment.document import IDENTITIES, check_id, collection_of, decode, encode
from muniment.errors import (
    Cancelled,
    ConcurrencyConflict,
    DamagedDump,
    InvalidInput,
    MunimentError,
    UnknownFormat,
    WrongKey,
)
from muniment.json_bytes import Malformed
from muniment.numbers import raise_numbers, series_of, store_number
from muniment.owner import deleted_content, find, owned_id, replacing, split_id, tombstone
from muniment.progress import Progress
from muniment.revision import ATTACHMENT, DOCUMENT
from muniment.smuggler import kept as kept_items
from muniment.smuggler import options as smuggler_options
from muniment.smuggler.attachments import FILES
from muniment.smuggler.batches import Batch, Batches
from muniment.smuggler.contents import Contents, NamedAttachment, named_by
from muniment.smuggler.metadata import stored_metadata
from muniment.smuggler.options import ATTACHMENTS, DOCUMENTS, SmugglerOptions
from muniment.smuggler.pick import Chooser
from muniment.smuggler.read_ahead import DumpAhead, ReadyDocument, kept, open_ahead
from muniment.smuggler.reader import (
    Dump,
    DumpAttachment,
    DumpDeletion,
    DumpDocument,
    DumpIdentity,
    DumpItem,
    DumpKept,
    DumpUnknown,
    ReadyDocuments,
)
from muniment.smuggler.resume import Continuation, Repeat, Repeats
from muniment.smuggler.revisions import Revisions
from muniment.smuggler.stream import Readable
from muniment.smuggler.summary import TOLD, Imported
from muniment.storage.base import Storage, Write, system_clock

NOT_IN_DUMP: Final = "attachments that documents name but the dump does not hold"
NOT_ASKED: Final = "that were not asked for"
LEGACY_METADATA: Final = b'"@legacy-attachment-metadata"'
NUMBERS_STAY: Final = "deletions of the last numbers given out, which stay"
WITHOUT_DOCUMENT: Final = "revisions of documents that are not here"
OF_REVISIONS: Final = "attachments of revisions"
CONFLICT: Final = b"Raven-Replication-Conflict"
MANY_NUMBERS: Final = 100_000
SUPERSEDED: Final = "documents that stand in the dump again later"

# Builds from this on export a snapshot, so that no document is in it twice; earlier ones exported while others wrote.
SNAPSHOT_BUILD: Final = 40_000


def import_dump(
    storage: Storage,
    source: str | PathLike[str] | Readable,
    *,
    options: SmugglerOptions | None = None,
    clock: Callable[[], int] = system_clock,
    progress: Progress | None = None,
) -> Imported:
    """Store what a RavenDB dump holds and Muniment has a place for; documents that exist are replaced.

    It is written in batches: when this raises, what came before in the dump is stored, and the error gives its count
    and the token to go on from there; importing the whole dump again completes it too. Last-modified times are kept in
    the metadata. `clock` gives microseconds since 1970, by which documents expire.
    """
    options = options or SmugglerOptions()
    if options.start_etag:
        raise InvalidInput("an import cannot start at an etag, which dumps do not carry", "leave out the start etag")
    progress = progress or Progress()
    progress.stage = "importing"
    with (
        progress.within(options.timeout),
        Revisions.wanted(storage, options) as revisions,
        open_ahead(
            source,
            pass_faults=options.ignore_errors,
            keep=options.kept_sections | ({kept_items.REVISIONS} if revisions else set()),
            columns=options.batch_size if options.takes_all_documents else 0,
            progress=progress,
        ) as dump,
        Chooser(options, clock=clock) as chooser,
    ):
        work = _Import(storage, dump, options, chooser, revisions, progress)
        try:
            work.run()
        except MunimentError as error:
            work.explain(error)
            with suppress(MunimentError):
                raise_numbers(storage)
            raise
        finally:
            work.discard_uploads()
            progress.finish()
        return work.result()


class _Import:
    """One import: what happens to each item of the dump, and the summary."""

    def __init__(
        self,
        storage: Storage,
        dump: Dump | DumpAhead,
        options: SmugglerOptions,
        chooser: Chooser,
        revisions: Revisions | None,
        progress: Progress,
    ) -> None:
        self.summary = Imported()
        self.skipped: Counter[str] = Counter()
        self._kept: Counter[str] = Counter()
        self._revisions = revisions
        self._storage = storage
        self._dump = dump
        self._options = options
        self._chooser = chooser
        self._choose = chooser.choose if DOCUMENTS in options.carried else self._not_asked
        self._with_attachments = ATTACHMENTS in options.carried
        self._progress = progress
        self._room = options.limit if options.limit is not None else -1  # documents still to be taken; -1 for all
        self._batches = Batches(storage, options.batch_size, self._acknowledged)
        self._contents = Contents(storage)
        self._repeats = Repeats()
        self._numbers: list[Write] = []
        self._left_by_filters = DOCUMENTS in options.carried

    def run(self) -> None:
        """Import what the options ask for, from the continuation on if they give one."""
        if self._options.continuation is not None:
            self._resume(Continuation.parse(self._options.continuation))
        for item in self._dump:
            self.take(item)
            if not self._room:
                break
        self._batches.flush()
        self._raise_numbers()
        if self._revisions and (lost := self._revisions.store(self._storage, self._progress)):
            self.skipped[WITHOUT_DOCUMENT] += lost
            self._kept[kept_items.REVISIONS] -= lost
        self.summary.continuation = None if self._room else self._token()

    def _raise_numbers(self) -> None:
        """Raise the last numbers given out to what the documents need, also by those that filters left out."""
        for write in self._numbers:
            series = series_of(write.id)
            if series and self._storage.highest_number(series.prefix):
                store_number(self._storage, write)
        raise_numbers(self._storage)

    def _resume(self, at: Continuation) -> None:
        """Read up to that place; take only the contents that documents after it may name."""
        at.check_head(self._dump.head)
        for item in self._dump:
            self._progress.check()
            if isinstance(item, DumpDocument):
                if item.position >= at.position:
                    at.check_document(item)
                self._remember_placed(item)
                if item.position == at.position:
                    self._batches.pass_by(item)
                    return
            elif isinstance(item, DumpAttachment) and item.key is None and item.position >= at.contents:
                self.take(item)
        raise at.foreign()

    def take(self, item: DumpItem) -> None:
        """Store one item of the dump, or count it as skipped; or many documents at once."""
        if isinstance(item, ReadyDocuments):
            self._progress.check()
            self._batches.add_documents(*item)
            return
        try:
            if isinstance(item, DumpDocument):
                self._document(item)
            elif isinstance(item, DumpAttachment):
                self._attachment(item)
            elif isinstance(item, DumpIdentity):
                self._identity(item)
            elif isinstance(item, DumpDeletion):
                self._deletion(item)
            elif isinstance(item, DumpKept):
                self._keep(item)
            elif isinstance(item, DumpUnknown):
                self._unknown(item)
            else:
                raise item.error
        except (InvalidInput, DamagedDump, WrongKey) as error:
            self._pass_over(item, error)

    def _pass_over(self, item: DumpItem, error: MunimentError) -> None:
        """Count an item that cannot be stored; raises the error unless errors are to be ignored."""
        position = None if isinstance(item, DumpIdentity) else item.position
        if position is not None and " at byte " not in error.message:
            error.message += f", at byte {position:,}"
        if not self._options.ignore_errors:
            raise error
        self._progress.check()
        id = getattr(item, "id", None) or getattr(item, "key", None)
        self._chooser.faults.add(id, position, error)

    def _unknown(self, item: DumpUnknown) -> None:
        self._progress.check()
        self.skipped[item.section] += 1
        if self._options.fail_on_unknown and self._options.expects(item.section):
            raise UnknownFormat(
                f"the dump holds {item.section!r}, which Muniment cannot store, at byte {item.position:,}",
                "name the types to carry, or do not fail on unknown sections: then they are counted",
            )

    def _keep(self, item: DumpKept) -> None:
        """Store an item that means nothing here as a document, or a revision as history."""
        try:
            if self._revisions and item.section.lower() == kept_items.REVISIONS.lower():
                self._revisions.add(item.item)
            else:
                self._batches.add([kept_items.document_of(item.section, item.item, item.blob)])
        except Malformed as error:
            raise DamagedDump(f"the dump holds a revision that {error}", "copy or export it again") from error
        self._kept[kept_items.kept_name(item.section) or item.section] += 1

    def _document(self, item: DumpDocument) -> None:
        if LEGACY_METADATA in item.metadata and item.id.startswith(FILES):
            self._loose(item)
            return
        metadata, collection = (item.kept, item.collection) if isinstance(item, ReadyDocument) else kept(item)
        body = item.body
        if self._choose:
            self._chooser.position = item.position
            chosen = self._choose(item.id, metadata, body)
            if chosen is None:
                self._leave_out(item)
                if self._left_by_filters and series_of(item.id) and len(self._numbers) < MANY_NUMBERS:
                    self._numbers.append(Write(item.id, body, metadata, collection))
                return
            metadata, body = chosen
            collection = collection_of(metadata)
        named = named_by(item).attachments if self._with_attachments else ()
        if CONFLICT in metadata and decode(metadata).get(CONFLICT.decode()) is True:
            self.summary.conflicts += 1
            self.summary.conflicting += [item.id] if len(self.summary.conflicting) < TOLD else []
        if series_of(item.id) and self._storage.get(DOCUMENT, item.id):
            self._number(item, Write(item.id, body, metadata, collection), len(body))
            return
        placed: list[Write] = []
        for each in named:
            try:
                id = self._legacy_id(each.key, None) if each.key else owned_id(item.id, each.name)
                if write := self._placing_of(item, id, each, each.metadata):
                    placed += replacing(self._storage, write)
            except InvalidInput as error:
                self._pass_over(item, error)
        admitted = self._storage.admit([Write(item.id, body, metadata, collection), *placed])
        self._batches.add(list(admitted), item)
        self._room -= 1

    def _number(self, item: DumpDocument, write: Write, size: int) -> None:
        """Store a document with the last number given out over an existing one; the number never goes back."""
        self._batches.flush()  # what stands before it in the dump is stored before it
        store_number(self._storage, write)
        self._batches.pass_by(item)
        self._room -= 1
        self.summary.documents += 1
        self.summary.bytes += size
        self._progress.advance(documents=1, bytes=size)

    def _not_asked(self, id: str, metadata: bytes, body: bytes) -> None:
        self.skipped[f"documents {NOT_ASKED}"] += 1

    def _leave_out(self, item: DumpDocument) -> None:
        self._progress.check()
        self._contents.leave_out(named_by(item))

    def _loose(self, item: DumpDocument) -> None:
        """Take a document that stands in for an attachment without a document."""
        of = named_by(item)
        for named in of.attachments if self._with_attachments else ():
            if placed := self._placing_of(item, _loose_id(named), named, of.metadata):
                self._commit_attachment(placed)
                self._contents.stored([placed])

    def _deletion(self, item: DumpDeletion) -> None:
        if (ATTACHMENTS if item.attachment else DOCUMENTS) not in self._options.carried:
            self.skipped[f"deletions {NOT_ASKED}"] += 1
            return
        check_id(item.id)
        if item.attachment:
            self._delete_attachment(item)
            return
        if series_of(item.id):
            self.skipped[NUMBERS_STAY] += 1
            return
        self._batches.add([Write(item.id, None)])
        self.summary.deletions += 1

    def _delete_attachment(self, item: DumpDeletion) -> None:
        """Delete an attachment, unless it has another content now: RavenDB writes one for a replaced content too."""
        self.summary.deletions += 1
        name = item.id[len(item.owner) + 1 :] if item.owner else item.id
        present = find(self._storage, name, item.owner)
        if present is None:
            return
        metadata = tombstone(self._storage, present)
        if item.hash and (item.hash, item.content_type) != deleted_content(metadata):
            return
        with suppress(ConcurrencyConflict):  # somebody has just replaced it
            self._storage.commit([Write(present.id, None, metadata, None, present.etag, ATTACHMENT)])

    def _acknowledged(self, batch: Batch) -> None:
        repeats = self._count(batch)
        self._contents.stored(batch.writes, batch.last)
        self._progress.advance(documents=batch.documents, attachments=len(batch.uploads), bytes=batch.size)
        if repeats:
            self._tell(repeats)

    def _count(self, batch: Batch) -> list[Repeat]:
        repeats = self._repeats.add(batch.future.result(), batch.positions, batch.replaced)
        self.summary.documents += batch.documents - len(repeats)
        self.summary.attachments += len(batch.uploads)
        self.summary.bytes += batch.size + sum(upload.size for upload in batch.uploads)
        return repeats

    def _tell(self, repeats: list[Repeat]) -> None:
        """Report repeated ids; the later document is stored. A snapshot has no id twice, so one may be misnamed."""
        if (self._dump.build_version or 0) < SNAPSHOT_BUILD:
            self.skipped[SUPERSEDED] += len(repeats)
            return
        for repeat in repeats:
            what = f"the dump holds document {repeat.id!r} twice: {repeat.before}, and at byte {repeat.position:,}"
            error = DamagedDump(what, "export it again, or ignore errors: then the later one is kept")
            if not self._options.ignore_errors:
                raise error
            self._chooser.faults.add(repeat.id, repeat.position, error)

    def explain(self, error: MunimentError) -> None:
        """Wait for pending writes, and add to an error what was imported before it, and how to go on."""
        for batch in self._batches.drain():
            self._count(batch)
        stored = self._batches.stored
        done = count_text(self.summary.documents, "document")
        if self.summary.attachments:
            done += f" and {count_text(self.summary.attachments, 'attachment')}"
        last = f", the last of them {stored.id!r}" if stored else ""
        error.message += f"; {done} {'was' if done == '1 document' else 'were'} imported before that{last}"
        if isinstance(error, Cancelled):
            error.hint = "import the same dump again to complete it; every stored document is whole"
        if token := self._token():
            error.hint += f"; to go on from there, give the continuation token {token}"

    def _token(self) -> str | None:
        stored = self._batches.stored
        if stored is None:
            return None
        return str(Continuation.after(self._dump.head, stored, self._contents.needed_from(stored.position)))

    def result(self) -> Imported:
        """The summary, once everything is on disk."""
        summary, faults = self.summary, self._chooser.faults
        summary.kept, summary.skipped = dict(+self._kept), dict(self.skipped + self._chooser.left_out)
        summary.failed, summary.faults = faults.count, faults.first
        summary.seconds = self._progress.seconds
        summary.compression, summary.build_version = self._dump.compression, self._dump.build_version
        summary.unfinished = self._dump.unfinished
        return summary

    def _attachment(self, item: DumpAttachment) -> None:
        if self._revisions and item.key is not None and item.key.startswith(kept_items.CONTENTS):
            self._progress.check()
            self.skipped[OF_REVISIONS] += 1
        elif not self._with_attachments:
            self._progress.check()
            self.skipped[f"attachments {NOT_ASKED}"] += 1
        elif item.key is not None:  # RavenDB 2 and 3: attachments stand by themselves
            metadata = stored_metadata(item.metadata or b"{}", later=False)
            id = self._legacy_id(item.key, item.owner)
            upload = self._storage.upload(self._counted(item))
            self._commit_attachment(Write(id, upload.sha256, metadata, None, None, ATTACHMENT, upload))
        elif item.hash is not None:
            self._contents.add(item.hash, item.position, self._counted(item))

    def _legacy_id(self, key: str, owner: str | None) -> str:
        """The id of an attachment with this key in a dump, and with this owner if the dump is ours."""
        check_id(key)
        if owner and key.startswith(f"{owner}/"):
            return owned_id(owner, key[len(owner) + 1 :])
        present = find(self._storage, key)
        return present.id if present else key

    def _counted(self, item: DumpAttachment) -> Iterator[bytes]:
        for chunk in item.chunks:
            self._progress.advance(bytes=len(chunk))
            yield chunk

    def _placing_of(
        self, item: DumpDocument, id: str, named: NamedAttachment, metadata: dict[str, Any] | None
    ) -> Write | None:
        """The write that stores the content with this hash as an attachment; None if there is no such content."""
        upload = self._contents.take(named.hash, id, item.position)
        if upload is None:
            self.skipped[NOT_IN_DUMP] += 1
            return None
        type = {"Content-Type": named.content_type} if named.content_type else {}
        told = {**type, "Hash": named.hash} if metadata is None else metadata
        return Write(id, upload.sha256, stored_metadata(encode(told), later=False), None, None, ATTACHMENT, upload)

    def _remember_placed(self, item: DumpDocument) -> None:
        """Note the attachments of a document that an earlier import stored: later ones may name their contents too."""
        stands_in = LEGACY_METADATA in item.metadata and item.id.startswith(FILES)
        for named in named_by(item).attachments:
            if revision := find(self._storage, named.name, None if stands_in else item.id):
                self._contents.remember(named.hash, revision)

    def _commit_attachment(self, write: Write) -> None:
        upload = write.upload
        assert upload is not None
        try:
            self._storage.commit(replacing(self._storage, write))
        except BaseException:
            self._storage.discard(upload)
            raise
        self.summary.attachments += 1
        self.summary.bytes += upload.size
        self._progress.advance(attachments=1)

    def _identity(self, item: DumpIdentity) -> None:
        if smuggler_options.IDENTITIES not in self._options.carried:
            self.skipped[f"identities {NOT_ASKED}"] += 1
            return
        prefix = item.key[:-1] + "/" if item.key.endswith("|") else item.key
        id = IDENTITIES + prefix
        check_id(id)
        present = self._storage.get(DOCUMENT, id)
        value = max(item.value, int(decode(present.body or b"{}").get("Value", 0))) if present else item.value
        self._storage.commit([Write(id, encode({"Value": value}))])
        self.summary.identities += 1

    def discard_uploads(self) -> None:
        """Discard and count contents that no document named."""
        unnamed = self._contents.discard()
        if self._room:
            self.skipped += unnamed


def _loose_id(named: NamedAttachment) -> str:
    """What an attachment is stored under that belongs to no document of the dump, but perhaps to one elsewhere."""
    owner, name = split_id(named.name)  # our exports had that once
    if named.owner is not None and named.name.startswith(f"{named.owner}/"):
        owner, name = named.owner, named.name[len(named.owner) + 1 :]
    if owner is not None:
        return owned_id(owner, name)
    check_id(name)
    return name
