"""Moving a dump into a storage: in batches, in constant memory, nothing left out in silence."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from os import PathLike
from threading import Event, Timer
from typing import Any, Final, NamedTuple

import msgspec

from muniment.document import IDENTITIES, check_id, collection_of, decode, encode
from muniment.errors import Cancelled, ConcurrencyConflict, DamagedDump, InvalidInput, MunimentError, UnknownFormat
from muniment.numbers import raise_numbers, series_of, store_number
from muniment.owner import deleted_content, find, owned_id, replacing, tombstone
from muniment.progress import Progress
from muniment.revision import ATTACHMENT, DOCUMENT, NO_METADATA, Revision
from muniment.smuggler import options as smuggler_options
from muniment.smuggler.attachments import FILES
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
    DumpUnknown,
)
from muniment.smuggler.resume import Continuation, Repeat, Repeats
from muniment.smuggler.stream import Readable
from muniment.smuggler.summary import TOLD, Imported
from muniment.storage.base import Storage, Upload, Write, Written, system_clock

BATCH_BYTES: Final = 8 << 20
PENDING_BATCHES: Final = 2
NOT_IN_DUMP: Final = "attachments that documents name but the dump does not hold"
NOT_NAMED: Final = "attachments that no document names"
LEFT_OUT: Final = "attachments of documents that were left out"
NOT_ASKED: Final = "that were not asked for"
LEGACY_METADATA: Final = b'"@legacy-attachment-metadata"'
NUMBERS_STAY: Final = "deletions of the last numbers given out, which stay"
CONFLICT: Final = b"Raven-Replication-Conflict"
MANY_NUMBERS: Final = 100_000
SUPERSEDED: Final = "documents that stand in the dump again later"

# Builds from this on export a snapshot, so that no document is in it twice; earlier ones exported while others wrote.
SNAPSHOT_BUILD: Final = 40_000
_HASH_LENGTH: Final = 44  # BLAKE2b-256 in base64; betas of RavenDB 4 had another, shorter one


class _AttachmentName(msgspec.Struct):
    name: str = msgspec.field(name="Name")
    hash: str = msgspec.field(name="Hash")
    content_type: str = msgspec.field(name="ContentType", default="")
    # Muniment's own exports have these two.
    metadata: dict[str, Any] | None = msgspec.field(name="Metadata", default=None)
    key: str | None = msgspec.field(name="Key", default=None)


class _Named(msgspec.Struct):
    attachments: list[_AttachmentName] = msgspec.field(name="@attachments", default_factory=list)
    metadata: dict[str, Any] | None = msgspec.field(name="@legacy-attachment-metadata", default=None)


class _Batch(NamedTuple):
    """Documents with their attachments, and deletions, on their way to disk; what stands before `last` is dealt with.

    `positions` are those of the documents in the dump, None for all else; `replaced` is as the storage tells it.
    """

    writes: list[Write]
    future: Future[list[Written]]
    positions: list[int | None]
    size: int
    last: DumpDocument | None
    replaced: dict[int, int]


def import_dump(
    storage: Storage,
    source: str | PathLike[str] | Readable,
    *,
    options: SmugglerOptions | None = None,
    clock: Callable[[], int] = system_clock,
    progress: Progress | None = None,
) -> Imported:
    """Store what a RavenDB dump holds and Muniment has a place for; documents that exist are replaced.

    It is written in batches: when this raises, what came before in the dump has been stored, as the error says, with
    the token to go on from there; importing the whole dump again completes it too. Last-modified times are kept in the
    metadata. `clock` gives microseconds since 1970, by which documents expire.
    """
    options = options or SmugglerOptions()
    if options.start_etag:
        raise InvalidInput("an import can not start at an etag, which dumps do not carry", "leave out the start etag")
    progress = progress or Progress()
    progress.stage = "importing"
    with (
        time_limit(options.timeout, progress),
        open_ahead(source, pass_faults=options.ignore_errors, progress=progress) as dump,
        Chooser(options, clock=clock) as chooser,
    ):
        work = _Import(storage, dump, options, chooser, progress)
        try:
            work.run()
        except MunimentError as error:
            work.drain()
            work.explain(error)
            with suppress(MunimentError):
                raise_numbers(storage)
            raise
        finally:
            work.discard_uploads()
            progress.finish()
        return work.result()


@contextmanager
def time_limit(seconds: float | None, progress: Progress) -> Iterator[None]:
    """Cancels the work when it takes longer."""
    if seconds is None:
        yield
        return
    expired = Event()

    def stop() -> None:
        expired.set()
        progress.cancel()

    timer = Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Cancelled as error:
        if expired.is_set():
            error.message = f"it did not end within its {seconds:g} s: {error.message}"
        raise
    finally:
        timer.cancel()


class _Import:
    """The state of one import: documents that wait for their commit, and contents that wait for their documents."""

    def __init__(
        self,
        storage: Storage,
        dump: Dump | DumpAhead,
        options: SmugglerOptions,
        chooser: Chooser,
        progress: Progress,
    ) -> None:
        self.summary = Imported()
        self.skipped: Counter[str] = Counter()
        self._storage = storage
        self._dump = dump
        self._options = options
        self._chooser = chooser
        self._choose = chooser.choose if DOCUMENTS in options.carried else self._not_asked
        self._with_attachments = ATTACHMENTS in options.carried
        self._batch_size = options.batch_size
        self._progress = progress
        self._room = options.limit if options.limit is not None else -1  # documents that may still be taken
        self._writes: list[Write] = []
        self._positions: list[int | None] = []
        self._size = 0
        self._pending: deque[_Batch] = deque()
        self._repeats = Repeats()
        self._last: DumpDocument | None = None  # of those that were taken
        self._stored: DumpDocument | None = None  # the last of those that are known to be on disk
        self._staged: dict[str, tuple[Upload, int]] = {}
        self._placed: dict[str, tuple[str, bytes]] = {}
        self._waiting: dict[str, Upload] = {}  # contents of attachments that may not be on disk, by their ids
        self._placing: deque[tuple[int, int]] = deque()  # a document that may not be on disk, and a content it took
        self._left_out: set[str] = set()
        self._numbers: list[Write] = []
        self._left_by_filters = DOCUMENTS in options.carried

    def run(self) -> None:
        """Take what the options ask for, from where they say."""
        if self._options.continuation is not None:
            self._resume(Continuation.parse(self._options.continuation))
        for item in self._dump:
            self.take(item)
            if not self._room:
                break
        self.flush()
        self._raise_numbers()
        self.summary.continuation = None if self._room else self._token()

    def _raise_numbers(self) -> None:
        """Bring the last numbers given out to what the documents need, with those in the dump that filters left out."""
        for write in self._numbers:
            series = series_of(write.id)
            if series and self._storage.highest_number(series.prefix):
                store_number(self._storage, write)
        raise_numbers(self._storage)

    def _resume(self, at: Continuation) -> None:
        """Read through to that place; only contents that documents after it may name are taken."""
        at.check_head(self._dump.head)
        for item in self._dump:
            self._progress.check()
            if isinstance(item, DumpDocument):
                if item.position >= at.position:
                    at.check_document(item)
                self._remember_placed(item)
                if item.position == at.position:
                    self._stored = item
                    return
            elif isinstance(item, DumpAttachment) and item.key is None and item.position >= at.contents:
                self.take(item)
        raise at.foreign()

    def take(self, item: DumpItem) -> None:
        """Store one item of the dump, or count it as skipped."""
        try:
            if isinstance(item, DumpDocument):
                self._document(item)
            elif isinstance(item, DumpAttachment):
                self._attachment(item)
            elif isinstance(item, DumpIdentity):
                self._identity(item)
            elif isinstance(item, DumpDeletion):
                self._deletion(item)
            elif isinstance(item, DumpUnknown):
                self._unknown(item)
            else:
                raise item.error
        except (InvalidInput, DamagedDump) as error:
            self._pass_over(item, error)

    def _pass_over(self, item: DumpItem, error: MunimentError) -> None:
        """Count an item that can not be stored; raises the error unless the options say to go on."""
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
                f"the dump holds {item.section!r}, for which Muniment has no place, at byte {item.position:,}",
                "name the types to carry, or let unknown sections be counted instead",
            )

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
        named = _named(item).attachments if self._with_attachments and b'"@attachments"' in item.metadata else ()
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
        self._last = item
        # In one transaction, so that neither a document nor its attachments are ever there alone.
        self._writes += [Write(item.id, body, metadata, collection), *placed]
        self._positions += [item.position, *[None] * len(placed)]
        self._size += len(body)
        self._room -= 1
        if len(self._writes) >= self._batch_size or self._size >= BATCH_BYTES or not self._room:
            self._submit()

    def _number(self, item: DumpDocument, write: Write, size: int) -> None:
        """A document that holds the last number given out, where there is one; it never goes back."""
        self.flush()  # what stands before it in the dump is stored before it
        store_number(self._storage, write)
        self._last = self._stored = item
        self._room -= 1
        self.summary.documents += 1
        self.summary.bytes += size
        self._progress.advance(documents=1, bytes=size)

    def _not_asked(self, id: str, metadata: bytes, body: bytes) -> None:
        self.skipped[f"documents {NOT_ASKED}"] += 1

    def _leave_out(self, item: DumpDocument) -> None:
        self._progress.check()
        if b'"@attachments"' in item.metadata:
            self._left_out.update(named.hash for named in _named(item).attachments)

    def _loose(self, item: DumpDocument) -> None:
        """A document that stands in for an attachment, which belongs to none."""
        of = _named(item)
        for named in of.attachments if self._with_attachments else ():
            check_id(named.name)
            if placed := self._placing_of(item, named.name, named, of.metadata):
                self._commit_attachment(placed)
                self._waiting.pop(placed.id, None)

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
        self._writes.append(Write(item.id, None))
        self._positions.append(None)
        self.summary.deletions += 1
        if len(self._writes) >= self._batch_size:
            self._submit()

    def _delete_attachment(self, item: DumpDeletion) -> None:
        """Delete an attachment, unless it has another content by now: RavenDB tells so of what was replaced."""
        self.summary.deletions += 1
        name = item.id[len(item.owner) + 1 :] if item.owner else item.id
        present = find(self._storage, name, item.owner)
        if present is None:
            return
        metadata = tombstone(self._storage, present)
        if item.hash and (item.hash, item.content_type) != deleted_content(metadata):
            return
        with suppress(ConcurrencyConflict):  # or somebody has replaced it right now
            self._storage.commit([Write(present.id, None, metadata, None, present.etag, ATTACHMENT)])

    def _submit(self) -> None:
        if self._writes:
            replaced: dict[int, int] = {}
            future = self._storage.submit(self._writes, replaced)
            self._pending.append(_Batch(self._writes, future, self._positions, self._size, self._last, replaced))
            self._writes, self._positions, self._size = [], [], 0
        while len(self._pending) > PENDING_BATCHES:
            self._acknowledge()

    def _acknowledge(self) -> None:
        batch = self._pending[0]
        batch.future.result()
        self._pending.popleft()
        repeats = self._count(batch)
        self._stored = batch.last
        while self._placing and batch.last and self._placing[0][0] <= batch.last.position:
            self._placing.popleft()
        for write in batch.writes:
            if write.upload and self._waiting.get(write.id) is write.upload:
                del self._waiting[write.id]
        attachments = sum(write.upload is not None for write in batch.writes)
        self._progress.advance(documents=_documents_in(batch), attachments=attachments, bytes=batch.size)
        if repeats:
            self._tell(repeats)

    def _count(self, batch: _Batch) -> list[Repeat]:
        repeats = self._repeats.add(batch.future.result(), batch.positions, batch.replaced)
        attachments = [write.upload for write in batch.writes if write.upload]
        size = sum(upload.size for upload in attachments)
        self.summary.documents += _documents_in(batch) - len(repeats)
        self.summary.attachments += len(attachments)
        self.summary.bytes += batch.size + size
        return repeats

    def _tell(self, repeats: list[Repeat]) -> None:
        """The later one has been stored. A snapshot can not hold both, so one of them may be another document."""
        if (self._dump.build_version or 0) < SNAPSHOT_BUILD:
            self.skipped[SUPERSEDED] += len(repeats)
            return
        for repeat in repeats:
            what = f"the dump holds document {repeat.id!r} at byte {repeat.position:,}, and before that {repeat.before}"
            error = DamagedDump(what, "export it again, or ignore errors: then the later one is kept")
            if not self._options.ignore_errors:
                raise error
            self._chooser.faults.add(repeat.id, repeat.position, error)

    def flush(self) -> None:
        """Wait until everything taken so far is on disk."""
        self._submit()
        while self._pending:
            self._acknowledge()

    def drain(self) -> None:
        """Wait for what was submitted, whatever becomes of it, so that the summary counts what is stored."""
        all_stored = True
        for batch in self._pending:
            if batch.future.exception() is None:
                self._count(batch)
                self._stored = batch.last if all_stored else self._stored
            else:
                all_stored = False
                self._discard(batch.writes)
        self._pending.clear()
        self._discard(self._writes)
        self._writes, self._positions, self._size = [], [], 0

    def _discard(self, writes: list[Write]) -> None:
        for upload in (write.upload for write in writes if write.upload):
            with suppress(MunimentError):  # opening the database anew forgets it too
                self._storage.discard(upload)

    def explain(self, error: MunimentError) -> None:
        """Add to an error what was imported before it, and how to go on."""
        attachments = f" and {self.summary.attachments:,} attachments" if self.summary.attachments else ""
        last = f", the last of them {self._stored.id!r}" if self._stored else ""
        error.message += f"; {self.summary.documents:,} documents{attachments} were imported before that{last}"
        if isinstance(error, Cancelled):
            error.hint = "import the same dump again to complete it; every document that is there is whole"
        if token := self._token():
            error.hint += f"; to go on from there, give the continuation token {token}"

    def _token(self) -> str | None:
        stored = self._stored
        if stored is None:
            return None
        needed = [position for _, position in self._staged.values()]
        needed += (content for document, content in self._placing if document > stored.position)
        return str(Continuation.after(self._dump.head, stored, min(needed, default=stored.position)))

    def result(self) -> Imported:
        """What was done, once all of it is."""
        summary, faults = self.summary, self._chooser.faults
        summary.skipped = dict(self.skipped + self._chooser.left_out)
        summary.failed, summary.faults = faults.count, faults.first
        summary.seconds = self._progress.seconds
        summary.compression, summary.build_version = self._dump.compression, self._dump.build_version
        summary.unfinished = self._dump.unfinished
        return summary

    def _attachment(self, item: DumpAttachment) -> None:
        if not self._with_attachments:
            self._progress.check()
            self.skipped[f"attachments {NOT_ASKED}"] += 1
        elif item.key is not None:  # RavenDB 2 and 3: attachments stand by themselves
            metadata = stored_metadata(item.metadata or b"{}", later=False)
            id = self._legacy_id(item.key, item.owner)
            upload = self._storage.upload(self._counted(item))
            self._commit_attachment(Write(id, upload.sha256, metadata, None, None, ATTACHMENT, upload))
        elif item.hash is not None and item.hash not in self._staged and item.hash not in self._placed:
            self._staged[item.hash] = self._storage.upload(self._counted(item)), item.position

    def _legacy_id(self, key: str, owner: str | None) -> str:
        """The id of an attachment of which a dump tells the key, and the owner if it is ours."""
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
        self, item: DumpDocument, id: str, named: _AttachmentName, metadata: dict[str, Any] | None
    ) -> Write | None:
        """What stores the content that came under this hash as an attachment; None if there is no such content."""
        upload, position = self._staged.pop(named.hash, None) or (self._copy(named.hash), None)
        if upload is None:
            self.skipped[NOT_IN_DUMP] += 1
            return None
        if position is not None:
            self._placing.append((item.position, position))
        type = {"Content-Type": named.content_type} if named.content_type else {}
        told = {**type, "Hash": named.hash} if metadata is None else metadata
        stored = stored_metadata(encode(told), later=False)
        self._placed[named.hash] = (id, upload.sha256)
        self._waiting[id] = upload
        return Write(id, upload.sha256, stored, None, None, ATTACHMENT, upload)

    def _remember_placed(self, item: DumpDocument) -> None:
        """A document that an earlier import has stored may have an attachment whose content later ones name too."""
        stands_in = LEGACY_METADATA in item.metadata and item.id.startswith(FILES)
        for named in _named(item).attachments if b'"@attachments"' in item.metadata else ():
            revision = find(self._storage, named.name, None if stands_in else item.id)
            if revision and revision.body:
                self._placed.setdefault(named.hash, (revision.id, revision.body))

    def _copy(self, hash: str) -> Upload | None:
        """Another copy of a content that an earlier document of this dump named too."""
        key, sha256 = self._placed.get(hash, ("", b""))
        revision = self._storage.get(ATTACHMENT, key) if key else None
        if upload := self._waiting.get(key):
            revision = Revision(0, ATTACHMENT, key, None, 0, NO_METADATA, upload.sha256, upload.size, upload.content)
        if revision is None or revision.body != sha256:
            return None
        digest = hashlib.blake2b(digest_size=32)

        def content() -> Iterator[bytes]:
            for chunk in self._storage.content(revision):
                digest.update(chunk)
                yield chunk

        upload = self._storage.upload(content())
        if len(hash) == _HASH_LENGTH and base64.b64encode(digest.digest()).decode() != hash:
            self._storage.discard(upload)
            return None
        return upload

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
        """Let go of contents that no document named."""
        for hash, (upload, _) in self._staged.items():
            if self._room:
                self.skipped[LEFT_OUT if hash in self._left_out else NOT_NAMED] += 1
            self._storage.discard(upload)
        self._staged.clear()


def _documents_in(batch: _Batch) -> int:
    return len(batch.positions) - batch.positions.count(None)


def _named(item: DumpDocument) -> _Named:
    """The attachments that a document of a dump names."""
    try:
        return msgspec.convert(decode(item.metadata), _Named)
    except msgspec.ValidationError as error:
        raise DamagedDump(
            f"document {item.id!r} names its attachments in a way that makes no sense: {error}",
            "export the dump again",
        ) from error
