"""The seam between Muniment and an engine: what every storage promises. `tests/storage/test_contract.py` tests it.

A storage is a log of revisions ordered by etag, and knows which revision of each id is current.

- `commit` makes new revisions, all or nothing, and returns when they are on disk. The revisions of one commit share
  one `modified` time, later than that of every earlier commit, even when the clock goes back.
- `submit_documents` is `submit`, in less time, for documents that are new; the result is their etags then.
- `commit_all` is one commit of many batches, with one batch in memory at a time; the writer's thread takes them.
- a snapshot's `until` is how long it was the state: every later commit has a later time, even when the clock goes back.
- `pin` holds a snapshot: as long as it is held, every revision that was current at its etag can still be read.
- `changes(after, upto)` gives, in etag order, the revisions of documents that were current at `upto` and are later
  than `after`, tombstones included; with `after=0` that is the whole database. The caller holds a pin at `upto`.
  With `through`, only those up to that etag, so that several can read a part each. No lock or read transaction is held
  between batches. `attachment_changes` does the same for attachments.
  With `history`, the revisions that were superseded before `upto` come too, unless they have been purged; a pin with
  `keep=after` prevents that.
- `members` gives everything whose id begins with a prefix, by kind and folded id, as it was at the first `next`.
- `highest_number` is the highest N among the current documents whose id is the prefix and N, or the prefix, N, a dash
  and a letter (`orders/830`, `orders/830-A`); 0 where there is none.
- tombstones stay until they are older than the setting `Muniment/TombstoneWindow` and, if a backup was ever taken, one
  holds them; none is forgotten while there is a pin. A snapshot's `tombstones_from` rises as they are forgotten. An id
  whose tombstone is forgotten is new when it is written again, in its new spelling.
- `logged` gives the time of a row of the log, and the digest stored with it (`fingerprint.row_digest`).
- `find` gives the documents that a query asks for as they were at one moment, in its order, in constant memory but for
  what it takes to sort them; `group` gives the groups of a query that has them.
- `known_etag` is the last etag that this process knows of, without asking anybody: that of its last commit, or one that
  it was told of since.
- `lost` says how many rows the log has lost of those that it was given with about these etags; 0 when all is well.
- `take` lets one process at a time do something (`backup`): it gives who does it, if another does, and else None; what
  is taken is given back by `give_back`, or when the process dies. `holder` tells who has it. `note` keeps a few bytes
  beside the log, which are in no backup. Where the database is not `shared`, one process writes to it at a time;
  `alone` tells whether no other has it open now.
- `backed_up` notes that a backup holds everything through an etag, so that kept history may be purged.
- `freeze` has the files stand still: complete, of the state that it tells, and on disk. Reads go on; writes wait until
  it is ended, or its time is over. A process that is killed meanwhile leaves the files as they stand.
- `fingerprint` in a snapshot is exactly that of the documents and attachments that were current at its etag.

Ids are compared without case (`document.fold`); the spelling of the first revision is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import msgspec

from muniment.fingerprint import Fingerprint, Tally
from muniment.query.model import Query
from muniment.query.plan import FieldIndex, Plan, Wanted
from muniment.query.scan import Row
from muniment.revision import DOCUMENT, NO_METADATA, Batch, Packed, Revision
from muniment.security.encryption import EncryptionKey
from muniment.storage.freeze import Freeze
from muniment.storage.retention import History

PART_BYTES: Final = 1 << 20
"""In pieces of which size the contents of attachments are kept."""


def system_clock() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


class Upload(NamedTuple):
    """The content of an attachment, on disk, that no revision names yet."""

    content: int
    size: int
    sha256: bytes


class Write(NamedTuple):
    """One change to make. `body` None deletes; `upload` is the content of an attachment.

    `expected` is the etag that the current revision must have: 0 if it must not exist, None for any.
    """

    id: str
    body: bytes | None
    metadata: bytes = NO_METADATA
    collection: str | None = None
    expected: int | None = None
    kind: int = DOCUMENT
    upload: Upload | None = None


class Written(NamedTuple):
    """The result of a `Write`: the id as it is spelled in the database, and its new etag.

    `existed`: whether there was a document before. Deleting one that did not exist writes nothing; its etag is 0.
    """

    id: str
    etag: int
    existed: bool


class Documents(NamedTuple):
    """Documents to write whatever is there, in columns."""

    ids: Packed
    collections: Packed
    metadata: Packed
    bodies: Packed

    def writes(self) -> list[Write]:
        """The same one by one."""
        columns = self.ids.values(), self.bodies.values(), self.metadata.values(), self.collections
        return [
            Write(id.decode(), body, metadata, None if collection is None else collection.decode())
            for id, body, metadata, collection in zip(*columns, strict=True)
        ]


class Member(NamedTuple):
    """What is current under an id, by its digest (`fingerprint.member_digest`); `key` is the folded id."""

    kind: int
    key: str
    id: str
    collection: str | None
    etag: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A moment of a database: the last etag, the time of the last commit (microseconds), and what was there.

    The log holds what it takes to rebuild every state from the etag `history_from` on, and every deletion after the
    etag `tombstones_from`. Every later commit has a time after `until`, so this was the state until then. `rows` counts
    all rows of the log and sums their `fingerprint.row_digest`; its `bytes` is the number of the commit.
    """

    etag: int
    modified: int
    fingerprint: Fingerprint
    history_from: int = field(default=0, compare=False)
    tombstones_from: int = field(default=0, compare=False)
    until: int = field(default=0, compare=False)
    rows: Tally = field(default_factory=Tally, compare=False)


class Lineage(msgspec.Struct, frozen=True, omit_defaults=True):
    """One history of a database, and where it branched off: after the etag and transaction time of `parent`.

    `began` is when it began; None when an older version made it, which did not record that. Times are RFC 3339 with
    microseconds. In the first lineage `parent` and `time` are None and `etag` is 0. `part`: it began with only a part
    of what its parent had at that etag.
    """

    lineage: str
    parent: str | None
    etag: int
    time: str | None
    began: str | None
    part: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    """Which database this is, and which history of it. A restore keeps the database's id and begins a new lineage.

    `lineages` are the present lineage and its ancestors, the oldest first; empty when they are not known.
    """

    database_id: str
    lineage: str
    lineages: tuple[Lineage, ...] = ()


class KeptHistory(msgspec.Struct, frozen=True):
    """The superseded revisions that are kept: how many, and the bytes of their metadata and bodies.

    Every state from the etag `since` on can be rebuilt, until a backup holds it and the window has passed; `time` is
    that of the first transaction after `since`, RFC 3339.
    """

    since: int
    time: str | None
    revisions: int
    bytes: int


class BackupPlace(NamedTuple):
    """A folder that backups were written to: the last one's etag, its begin (microseconds), whether it is encrypted."""

    folder: str
    etag: int
    time: int
    encrypted: bool = False


class BackupFacts(NamedTuple):
    """What a database remembers: the SHA-256 of its backups' manifests, and the etag through which it forgot deletions.

    `places` are the folders that it was backed up to, the latest last. A database whose files were put back to an
    older state does not know the backups that were taken since.
    """

    known: frozenset[str]
    tombstones_from: int
    places: tuple[BackupPlace, ...] = ()

    @property
    def last(self) -> BackupPlace | None:
        """Where the last backup was written to; None when there was none."""
        return self.places[-1] if self.places else None


class Found(NamedTuple):
    """What a query found, all of one moment: the revisions come when they are asked for, until the block ends.

    `total` is how many match without skip and take, None unless it was asked for.
    """

    revisions: Iterator[Revision]
    total: int | None
    plan: Plan


class Groups(NamedTuple):
    """What a query with groups found."""

    rows: list[Row]
    plan: Plan


Arrived: TypeAlias = range | list[Written]
"""The new etags of documents none of which had been there before, or what was written."""

Admit: TypeAlias = Callable[[Sequence[Write]], Sequence[Write]]
"""Checks or changes writes before they are made; raises when one may not be made."""


class Waiting(Protocol):
    """Who waits for what was submitted. The thread that writes tells it, once; what is told must not raise."""

    def done(self) -> bool:
        """Whether that was told."""

    def set_result(self, result: Any) -> None:
        """It is on disk."""

    def set_exception(self, error: BaseException) -> None:
        """It was not stored."""


def everything(writes: Sequence[Write]) -> Sequence[Write]:
    """Admit all writes unchanged."""
    return writes


class Storage(Protocol):
    """What the rest of Muniment uses of an engine. See the module's docstring for the promises.

    `engine` is its name in manifests and statistics, `folder` where another process finds the same database, and
    `file_bytes` the size of its files there. All writes pass through `admit`.
    """

    admit: Admit

    @property
    def engine(self) -> str: ...

    @property
    def folder(self) -> Path: ...

    @property
    def file_bytes(self) -> int: ...

    @property
    def identity(self) -> Identity: ...

    @property
    def key(self) -> EncryptionKey | None: ...

    def submit(self, writes: Sequence[Write], replaced: dict[int, int] | None = None) -> Future[list[Written]]: ...

    def submit_documents(
        self, documents: Documents, replaced: dict[int, int]
    ) -> Future[list[Written]] | Future[Arrived]: ...

    def submit_for(self, waiting: Waiting, writes: Sequence[Write]) -> None: ...

    def commit(self, writes: Sequence[Write]) -> list[Written]: ...

    def commit_all(self, batches: Iterable[Sequence[Write]]) -> int: ...

    def upload(self, chunks: Iterable[bytes]) -> Upload: ...

    def discard(self, upload: Upload) -> None: ...

    @property
    def settings(self) -> dict[str, str]: ...

    def configure(self, settings: Mapping[str, str]) -> None: ...

    @property
    def history(self) -> History: ...

    def kept_history(self) -> KeptHistory: ...

    @property
    def last_etag(self) -> int: ...

    @property
    def known_etag(self) -> int: ...

    def snapshot(self) -> Snapshot: ...

    def pin(self, keep: int | None = None) -> AbstractContextManager[Snapshot]: ...

    def changes(
        self, after: int, upto: int, *, history: bool = False, through: int | None = None
    ) -> Iterator[Batch]: ...

    def attachment_changes(self, after: int, upto: int, *, history: bool = False) -> Iterator[Revision]: ...

    def backup_facts(self) -> BackupFacts: ...

    def remember_backup(
        self, sha256: str, place: BackupPlace | None = None, end: tuple[int, int] | None = None
    ) -> None: ...

    def backed_up(self, through: int) -> None: ...

    def versions(self, id: str) -> list[Revision]: ...

    def logged(self, etag: int) -> tuple[int, bytes] | None: ...

    def lost(self, after: int, upto: int) -> int: ...

    def content(self, revision: Revision) -> Iterator[bytes]: ...

    def get(self, kind: int, id: str) -> Revision | None: ...

    def members(self, prefixes: Sequence[str] = ("",)) -> Iterator[Member]: ...

    def highest_number(self, prefix: str) -> int: ...

    def by_prefix(self, kind: int, prefix: str, start: int, limit: int, after: str = "") -> list[Revision]: ...

    def by_collection(self, collection: str, after: int, limit: int) -> list[Revision]: ...

    def by_etag(self, kind: int, after: int, limit: int) -> list[Revision]: ...

    def find(self, query: Query, *, counted: bool = False) -> AbstractContextManager[Found]: ...

    def group(self, query: Query) -> Groups: ...

    def indexes(self) -> list[FieldIndex]: ...

    def keep_indexes(self, named: Callable[[], Mapping[str, Wanted]]) -> None: ...

    def drop_index(self, name: str) -> bool: ...

    def purge(self) -> int: ...

    @property
    def shared(self) -> bool: ...

    @property
    def alone(self) -> bool: ...

    def take(self, what: str) -> str | None: ...

    def holder(self, what: str) -> str | None: ...

    def give_back(self, what: str) -> None: ...

    def note(self, name: str) -> bytes | None: ...

    def write_note(self, name: str, note: bytes | None) -> None: ...

    def check(self) -> Iterable[str]: ...

    def freeze(self, seconds: float) -> Freeze[Snapshot]: ...

    @property
    def frozen(self) -> Freeze[Snapshot] | None: ...

    @property
    def waiting(self) -> int: ...

    def close(self) -> None: ...


class Loader(Protocol):
    """Takes in revisions with the etags and times that they have, each id at most once, and makes a database of them.

    Nobody sees the database until `finish`, which brings it to disk; `close` without it leaves files to be removed.
    """

    @property
    def fingerprint(self) -> Fingerprint: ...

    @property
    def rows(self) -> Tally: ...

    def apply(self, batch: Batch) -> None: ...

    def apply_attachment(self, revision: Revision, parts: Iterable[bytes]) -> None: ...

    def finish(
        self,
        last_etag: int,
        last_modified: int,
        settings: Mapping[str, str],
        *,
        lineages: Sequence[Lineage] = (),
        defrag: bool = False,
    ) -> Fingerprint: ...

    def close(self) -> None: ...
