"""The seam between Muniment and an engine: what every storage promises. `tests/storage/test_contract.py` states it.

A storage is a log of revisions ordered by etag, and knows which revision of each id is current.

- `commit` makes new revisions, all or nothing, and returns when they are on disk. The revisions of one commit share
  one `modified` time, later than that of every earlier commit, even when the clock goes back.
- `commit_all` is one commit of many batches, in memory for one; it takes them from the writer's thread, one by one.
- a snapshot says until when it was the state: no later commit has a time up to then, even when the clock goes back.
- `pin` holds a snapshot: as long as it is held, every revision that was current at its etag can still be read.
- `changes(after, upto)` gives, in etag order, the revisions of documents that were current at `upto` and are later
  than `after`, tombstones included; with `after=0` that is the whole database. The caller holds a pin at `upto`.
  No lock or read transaction is held between batches. `attachment_changes` does the same for attachments.
  With `history`, the revisions that were superseded before `upto` come too, as far as they have not been purged; a
  pin that keeps the etag `after` lets none of them be purged meanwhile.
- `members` gives everything whose id begins so, by kind and folded id, as it was when the first one was asked for.
- `highest_number` is the highest number that a current document has after this prefix, and nothing else after it but
  perhaps a dash and a letter (`orders/830`, `orders/830-A`); 0 where none has one.
- tombstones stay until they are older than the setting `Muniment/TombstoneWindow` and, if a backup was ever taken, one
  holds them; none is forgotten while there is a pin. `tombstones_from` in a snapshot is raised with it. An id whose
  tombstone is forgotten is new when it comes again, in its new spelling.
- `logged` gives the time of a row of the log, and the digest that is kept of it (`fingerprint.row_digest`).
- `backed_up` tells that a backup holds everything through an etag, so that kept history may be purged.
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
from typing import NamedTuple, Protocol, TypeAlias

import msgspec

from muniment.fingerprint import Fingerprint, Tally
from muniment.revision import DOCUMENT, NO_METADATA, Batch, Revision
from muniment.security.encryption import EncryptionKey
from muniment.storage.retention import History


def system_clock() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


class Upload(NamedTuple):
    """The content of an attachment that is on disk but that no revision names yet."""

    content: int
    size: int
    sha256: bytes


class Write(NamedTuple):
    """One change to make. `body` None deletes; `upload` is the content of an attachment.

    `expected` is the etag that the current revision must have, 0 for "does not exist", None for "whatever it is".
    """

    id: str
    body: bytes | None
    metadata: bytes = NO_METADATA
    collection: str | None = None
    expected: int | None = None
    kind: int = DOCUMENT
    upload: Upload | None = None


class Written(NamedTuple):
    """What became of a `Write`: the id as it is spelled in the database, and its etag now.

    `existed` tells whether there was a document before; deleting one that did not exist writes nothing, and has etag 0.
    """

    id: str
    etag: int
    existed: bool


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

    Every earlier moment from the etag `history_from` on can be told from the log, and every deletion after the etag
    `tombstones_from`. Every later commit has a time after `until`, so that this was the state until then. `rows` are
    all rows of the log: how many, and the sum of their `fingerprint.row_digest`; its bytes are the commit's number.
    """

    etag: int
    modified: int
    fingerprint: Fingerprint
    history_from: int = field(default=0, compare=False)
    tombstones_from: int = field(default=0, compare=False)
    until: int = field(default=0, compare=False)
    rows: Tally = field(default_factory=Tally, compare=False)


class Lineage(msgspec.Struct, frozen=True, omit_defaults=True):
    """One history of a database, and where it left the one before: after the etag and transaction time of `parent`.

    `began` is when it was begun; None when that is not known, since software that did not note it down made it. Times
    are RFC 3339 with microseconds. Of the first lineage `parent` and `time` are None and `etag` is 0. `part` says that
    it began with a part of what its parent had at that etag.
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

    `lineages` are the present lineage and those that it came from, the oldest first; empty when that is not known.
    """

    database_id: str
    lineage: str
    lineages: tuple[Lineage, ...] = ()


class KeptHistory(msgspec.Struct, frozen=True):
    """The superseded revisions that are kept: how many, and the bytes of their metadata and bodies.

    Every state from the etag `since` on can be told, and waits for a backup or the end of the window; `time` is that of
    the first transaction after it, RFC 3339.
    """

    since: int
    time: str | None
    revisions: int
    bytes: int


class BackupPlace(NamedTuple):
    """A folder that backups were written to, and of the last one the etag and when it was begun (microseconds)."""

    folder: str
    etag: int
    time: int


class BackupFacts(NamedTuple):
    """What a database remembers: the manifests of its backups by SHA-256, and through where deletions are forgotten.

    `places` are the folders that it was backed up to, the last one last. A database whose files were put back to an
    older state does not know the backups that were taken since.
    """

    known: frozenset[str]
    tombstones_from: int
    places: tuple[BackupPlace, ...] = ()

    @property
    def last(self) -> BackupPlace | None:
        """Where the last backup was written to, None when none was."""
        return self.places[-1] if self.places else None


Admit: TypeAlias = Callable[[Sequence[Write]], Sequence[Write]]
"""What is to be written as it may be kept; raises why it may not be."""


def everything(writes: Sequence[Write]) -> Sequence[Write]:
    """Admit all of it as it is."""
    return writes


class Storage(Protocol):
    """What the rest of Muniment uses of an engine. See the module's text for the promises.

    `engine` is its name in manifests and statistics, `folder` where another process finds the same database, and
    `file_bytes` what its files take there. All writes pass through `admit`.
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

    def snapshot(self) -> Snapshot: ...

    def pin(self, keep: int | None = None) -> AbstractContextManager[Snapshot]: ...

    def changes(self, after: int, upto: int, *, history: bool = False) -> Iterator[Batch]: ...

    def attachment_changes(self, after: int, upto: int, *, history: bool = False) -> Iterator[Revision]: ...

    def backup_facts(self) -> BackupFacts: ...

    def remember_backup(
        self, sha256: str, place: BackupPlace | None = None, end: tuple[int, int] | None = None
    ) -> None: ...

    def backed_up(self, through: int) -> None: ...

    def logged(self, etag: int) -> tuple[int, bytes] | None: ...

    def content(self, revision: Revision) -> Iterator[bytes]: ...

    def get(self, kind: int, id: str) -> Revision | None: ...

    def members(self, prefixes: Sequence[str] = ("",)) -> Iterator[Member]: ...

    def highest_number(self, prefix: str) -> int: ...

    def by_prefix(self, kind: int, prefix: str, start: int, limit: int) -> list[Revision]: ...

    def by_collection(self, collection: str, after: int, limit: int) -> list[Revision]: ...

    def by_etag(self, kind: int, after: int, limit: int) -> list[Revision]: ...

    def purge(self) -> int: ...

    def check(self) -> Iterable[str]: ...

    def close(self) -> None: ...


class Loader(Protocol):
    """Takes in revisions with the etags and times that they have, each id at most once, and makes a database of them.

    Nobody sees the database until `finish`, which brings it to disk; `close` without it leaves a part to be removed.
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
