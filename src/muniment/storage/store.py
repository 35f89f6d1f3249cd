"""What storages do the same way on every engine: what their readers say, queries, transactions of many batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from muniment.document import MAX_ATTACHMENT_BYTES, Document, fold_collection, from_microseconds, rfc3339
from muniment.errors import InvalidDocument
from muniment.fingerprint import ContentDigest
from muniment.query.match import All, Test, searched, test_of
from muniment.query.model import Field, Query, by_score, fields
from muniment.query.plan import FieldIndex, IndexFault, Plan, Wanted
from muniment.query.scan import Matches, grouped, matching, scan
from muniment.revision import Batch, Revision
from muniment.storage.base import (
    PART_BYTES,
    Admit,
    Arrived,
    Documents,
    Found,
    Groups,
    KeptHistory,
    Member,
    Snapshot,
    Waiting,
    Write,
    Written,
    everything,
)
from muniment.storage.building import Builder
from muniment.storage.indexes import Index, Named, by_field, indexable
from muniment.storage.queries import MOST_SCORES, MOST_TESTS, Finder, size_of
from muniment.storage.retention import History, history_of, purge_limit

C = TypeVar("C")
UPLOAD_PARTS: Final = 8  # parts that an upload writes at once
WAIT_SECONDS: Final = 0.1
FEW_ROWS: Final = 1024  # found rows that are read in one transaction where a page is asked for
FEW_OF_ALL: Final = 128  # and where everything is: bodies may be large
USE_SECONDS: Final = 3600  # how often it is noted that an index is used
INDEX_SECONDS: Final = 30.0  # how long a query waits for the indexes that it wants
BY_COLLECTION: Final = "Raven/DocumentsByEntityName"


class Reading(Protocol):
    """What reads an engine's committed rows; `base.Storage` says of each what it gives."""

    def changes(
        self, after: int, upto: int, *, history: bool = False, through: int | None = None
    ) -> Iterator[Batch]: ...

    def attachment_changes(self, after: int, upto: int, *, history: bool = False) -> Iterator[Revision]: ...

    def versions(self, id: str) -> list[Revision]: ...

    def logged(self, etag: int) -> tuple[int, bytes] | None: ...

    def content(self, content: int) -> Iterator[bytes]: ...

    def get(self, kind: int, id: str) -> Revision | None: ...

    def members(self, prefixes: Sequence[str]) -> Iterator[Member]: ...

    def highest_number(self, prefix: str) -> int: ...

    def by_prefix(self, kind: int, prefix: str, start: int, limit: int, after: str) -> list[Revision]: ...

    def by_collection(self, collection: str, after: int, limit: int) -> list[Revision]: ...

    def by_etag(self, kind: int, after: int, limit: int) -> list[Revision]: ...

    def documents(self, collection: str | None, upto: int) -> Iterator[Revision]: ...

    def revisions(self, etags: list[int]) -> Iterator[Revision]: ...


class Asked(NamedTuple):
    """A query, its fields, what it says of their keys, and whether it is asked how many match."""

    query: Query
    fields: tuple[Field, ...]
    test: Test
    counted: bool = False


class Store(ABC, Generic[C]):
    """A database that this process has open. `C` is a connection on which one moment is read."""

    index_from = 500
    """How many documents a collection needs, so that a query makes indexes for it."""

    def __init__(self, folder: Path, clock: Callable[[], int]) -> None:
        self.folder = folder
        self.admit: Admit = everything
        self._clock = clock
        self._builder: Builder | None = None
        self._named: Named = {}

    # What the engine says.

    @property
    @abstractmethod
    def _reads(self) -> Reading: ...

    @abstractmethod
    def submit(self, writes: Sequence[Write], replaced: dict[int, int] | None = None) -> Future[list[Written]]:
        """Like `commit`, without waiting: the future is done when the writes are on disk.

        Then `replaced`, if given, maps each new etag that replaced an older revision to the etag of that one.
        """

    @abstractmethod
    def pin(self, keep: int | None = None) -> AbstractContextManager[Snapshot]: ...

    @property
    @abstractmethod
    def settings(self) -> dict[str, str]: ...

    @abstractmethod
    def _moment(self) -> AbstractContextManager[C]:
        """A connection in a transaction that reads one moment."""

    @abstractmethod
    def _read(self, connection: C, etags: list[int]) -> list[Revision]:
        """The revisions with these etags, in their order."""

    @abstractmethod
    def _collection_matches(self, connection: C, query: Query, *, counted: bool) -> Matches:
        """The documents of a collection, or all, in the order of their etags."""

    @abstractmethod
    def _usable(self, connection: C, collection: str | None) -> Mapping[Field, Index]:
        """The indexes that have all documents of a collection (folded) at this moment."""

    @abstractmethod
    def _index_facts(self, connection: C) -> tuple[Sequence[Index], Mapping[int, tuple[IndexFault, ...]]]:
        """All indexes, and what they could not read, by their numbers."""

    @abstractmethod
    def _find_in(self, connection: C, asked: Asked, used: Mapping[Field, Index]) -> Finder:
        """What answers a query by these indexes."""

    @abstractmethod
    def _use(self, indexes: Sequence[Index]) -> None:
        """Note, some time, that these have answered a query."""

    # Transactions.

    def submit_documents(
        self, documents: Documents, replaced: dict[int, int]
    ) -> Future[list[Written]] | Future[Arrived]:
        """`submit` for documents in columns."""
        return self.submit(documents.writes(), replaced)

    @abstractmethod
    def submit_for(self, waiting: Waiting, writes: Sequence[Write]) -> None:
        """Like `submit`; the answer is given to this one."""

    def commit(self, writes: Sequence[Write]) -> list[Written]:
        """Carry out the writes in order as one transaction, or change nothing; they are on disk when this returns."""
        return self.submit(writes).result()

    @property
    def history(self) -> History:
        """Whether superseded revisions are kept."""
        return history_of(self.settings)

    # What the reader says.

    def changes(self, after: int, upto: int, *, history: bool = False, through: int | None = None) -> Iterator[Batch]:
        """See `base.Storage`."""
        return self._reads.changes(after, upto, history=history, through=through)

    def attachment_changes(self, after: int, upto: int, *, history: bool = False) -> Iterator[Revision]:
        """See `base.Storage`."""
        return self._reads.attachment_changes(after, upto, history=history)

    def versions(self, id: str) -> list[Revision]:
        """All revisions of this document that the log has, deletions too, oldest first."""
        return self._reads.versions(id)

    def logged(self, etag: int) -> tuple[int, bytes] | None:
        """See `base.Storage`."""
        return self._reads.logged(etag)

    def content(self, revision: Revision) -> Iterator[bytes]:
        """The content of an attachment's revision, in parts; it must stay pinned or current meanwhile."""
        return iter(()) if revision.content is None else self._reads.content(revision.content)

    def get(self, kind: int, id: str) -> Revision | None:
        """The current revision of this id, None when there is none or it is deleted."""
        return self._reads.get(kind, id)

    def members(self, prefixes: Sequence[str] = ("",)) -> Iterator[Member]:
        """What is current and whose id begins with one of these, by kind and folded id; all of one moment."""
        return self._reads.members(prefixes)

    def highest_number(self, prefix: str) -> int:
        """The highest number that a current document has after this prefix; 0 when none has one."""
        return self._reads.highest_number(prefix)

    def by_prefix(self, kind: int, prefix: str, start: int, limit: int, after: str = "") -> list[Revision]:
        """Current revisions whose ids begin with the prefix, in the order of their folded ids."""
        return self._reads.by_prefix(kind, prefix, start, limit, after)

    def by_collection(self, collection: str, after: int, limit: int) -> list[Revision]:
        """Current documents of a collection in the order of their etags, from the one after `after`."""
        return self._reads.by_collection(collection, after, limit)

    def by_etag(self, kind: int, after: int, limit: int) -> list[Revision]:
        """Current documents or attachments in the order of their etags, from the one after `after`."""
        return self._reads.by_etag(kind, after, limit)

    # Queries.

    @contextmanager
    def find(self, query: Query, *, counted: bool = False) -> Iterator[Found]:
        """See `base.Storage`."""
        asked = Asked(query, fields(query), test_of(query.where), counted)
        if (found := self._found_by_one(asked)) is not None:
            yield found
            return
        self._want_indexes(asked)
        if (found := self._found_at_once(asked)) is not None:
            yield found
            return
        with self.pin() as snapshot:
            with self._moment() as connection:
                plan, matches = self._by_indexes(connection, asked)
            if matches is None:
                matches = scan(query, self._documents(query, snapshot.etag))
                if not matches.etags:
                    plan = msgspec.structs.replace(plan, unknown=matches.unknown)
            yield Found(self._reads.revisions(matches.etags), matches.total if counted else None, plan)

    def _found_by_one(self, asked: Asked) -> Found | None:
        """What one index finds by a statement that is ready; None where it finds nothing, or is not ready."""
        return None

    def _found_at_once(self, asked: Asked) -> Found | None:
        """What indexes find, read in one transaction, without a pin; None without them, or if it is too much."""
        most = FEW_ROWS if asked.query.take is not None else FEW_OF_ALL
        if asked.query.take is None or asked.query.take > most:
            asked = asked._replace(query=msgspec.structs.replace(asked.query, take=most + 1))
        with self._moment() as connection:
            plan, matches = self._by_indexes(connection, asked)
            if matches is None or len(matches.etags) > most:
                return None
            revisions, total = self._read(connection, matches.etags), matches.total if asked.counted else None
        return Found(iter(revisions), total, plan)

    def _by_indexes(self, connection: C, asked: Asked) -> tuple[Plan, Matches | None]:
        if not asked.fields and isinstance(asked.test, All) and not asked.test.items:
            return Plan((BY_COLLECTION,)), self._collection_matches(connection, asked.query, counted=asked.counted)
        plan, finder = self._finder(connection, asked)
        if finder is None:
            return plan, None
        matches = finder.matches(counted=asked.counted)
        if not matches.etags:
            plan = msgspec.structs.replace(plan, unknown=finder.unknown())
        return plan, matches

    def _finder(self, connection: C, asked: Asked) -> tuple[Plan, Finder | None]:
        collection = fold_collection(asked.query.collection)
        indexes = self._usable(connection, collection)
        missing = [field for field in asked.fields if field not in indexes]
        if missing or not asked.fields:
            why = self._why_not(collection, missing)
            return Plan(scanned=True, why=f"{why}: every document was looked at"), None
        if size_of(asked.test) > MOST_TESTS:
            return Plan(scanned=True, why=f"it has more than {MOST_TESTS} conditions"), None
        if by_score(asked.query) and len([*searched(asked.test)]) > MOST_SCORES:
            return Plan(scanned=True, why=f"more than {MOST_SCORES} searches have a part in the score"), None
        used = {field: indexes[field] for field in asked.fields}
        if late := [*filter(self._is_late, used.values())]:
            self._use(late)
        named = self._given
        names = [named.get((collection, field), index.name) for field, index in used.items()]
        had = ", ".join(f"{field} in {name}" for field, name in zip(used, names, strict=True))
        plan = Plan(tuple(dict.fromkeys(names)), why=f"there is an index on each field: {had}")
        return plan, self._find_in(connection, asked, used)

    def _why_not(self, collection: str | None, missing: Sequence[Field]) -> str:
        if not missing:
            return "the condition names no field"
        built = {field: self._progress(collection, field) for field in missing}
        begun = [
            f"the index on {field} is being built ({part:.0%})" for field, part in built.items() if part is not None
        ]
        if others := [str(field) for field, part in built.items() if part is None]:
            begun.insert(0, f"there is no index on {', '.join(others)}")
        return ", and ".join(begun)

    def _is_late(self, index: Index) -> bool:
        """Whether it is to be noted anew that an index is used."""
        return index.used < self._clock() - USE_SECONDS * 1_000_000

    def _want_indexes(self, asked: Asked) -> None:
        """Have an index on each field that is asked for, if that is worth it; wait for them a while."""
        if self._builder is None:
            return
        kept, collection = self._builder.kept, fold_collection(asked.query.collection)
        ready = {index.field for index in kept.all if index.collection == collection and index.ready}
        missing = [field for field in asked.fields if field not in ready]
        if not missing or size_of(asked.test) > MOST_TESTS:
            return
        wanted = all((collection, field) in self._given for field in missing)
        if all(map(indexable, asked.fields)) and (wanted or kept.documents(collection) >= self.index_from):
            self._builder.want(collection, missing, INDEX_SECONDS)

    def group(self, query: Query) -> Groups:
        """See `base.Storage`."""
        assert query.group is not None
        asked = Asked(query, fields(query), test_of(query.where))
        self._want_indexes(asked)
        with self._moment() as connection:
            plan, finder = self._finder(connection, asked)
            rows = finder.groups(query.group) if finder else None
        if rows is not None:
            return Groups(rows, plan)
        with self.pin() as snapshot:
            found = matching(query, self._documents(query, snapshot.etag))
            plan = plan if plan.scanned else Plan(scanned=True, why="no index says enough of these groups")
            return Groups(grouped(query.group, (keys for _, keys in found)), plan)

    def _documents(self, query: Query, upto: int) -> Iterator[Document]:
        return map(Document.of, self._reads.documents(query.collection, upto))

    # Indexes.

    def indexes(self) -> list[FieldIndex]:
        """The indexes on fields that queries have made, or that an index with a name has."""
        with self._moment() as connection:
            found, faults = self._index_facts(connection)
        return [
            FieldIndex(
                each.name,
                each.collection,
                each.field,
                each.ready,
                from_microseconds(each.used),
                1.0 if each.ready else self._progress(each.collection, each.field) or 0.0,
                faults.get(each.number, ()),
            )
            for each in found
        ]

    def keep_indexes(self, named: Callable[[], Mapping[str, Wanted]]) -> None:
        """Have these indexes, now and whenever a definition of one has been written, however seldom they are used.

        `named` reads the definitions, in a thread of its own. Where this is open only for reading, they are known by
        their names, and not made.
        """
        if self._builder is not None:
            self._builder.keep(named)
        else:
            self._named = by_field(named())

    @property
    def _given(self) -> Named:
        return self._named if self._builder is None else self._builder.kept.named

    def _progress(self, collection: str | None, field: Field) -> float | None:
        return None if self._builder is None else self._builder.progress(collection, field)


def awaited(future: Future[int], stop: Callable[[], object]) -> int:
    """What a future gives; an error or an interrupt of this thread meanwhile stops it first, and waits for its end."""
    try:
        while not wait([future], WAIT_SECONDS).done:
            pass  # in short waits: a signal just before a wait does not end it
        return future.result()
    except BaseException:
        stop()
        wait([future])
        raise


def uploaded(chunks: Iterable[bytes], store: Callable[[int, list[bytes]], object]) -> tuple[int, bytes]:
    """The size and SHA-256 of a content whose parts, and their place, have been stored; raises `InvalidDocument`."""
    digest, place = ContentDigest(), 0
    for parts in _grouped(digest.passing(_parts(chunks)), UPLOAD_PARTS):
        if digest.size > MAX_ATTACHMENT_BYTES:
            raise InvalidDocument(
                f"the attachment is larger than {MAX_ATTACHMENT_BYTES:,} bytes", "split it into several"
            )
        store(place, parts)
        place += len(parts)
    return digest.size, digest.sha256


def kept_since(
    settings: Mapping[str, str],
    *,
    backed_up: int,
    newest: int,
    now: int,
    last_before: Callable[[int], int],
) -> int:
    """Through which etag superseded revisions are those that no backup waits for, which the next purge takes."""
    history = history_of(settings)
    old = last_before(now - history.window * 1_000_000) if history.window else newest
    return purge_limit(history, newest=newest, pins=(), backed_up=backed_up, before_window=old)


def kept_history(since: int, time: int | None, revisions: int, size: int) -> KeptHistory:
    """What `base.Storage.kept_history` gives."""
    return KeptHistory(since, None if time is None else rfc3339(from_microseconds(time)), revisions, size)


def _parts(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of exactly 1 MiB, except the last."""
    waiting = bytearray()
    for chunk in chunks:
        waiting += chunk
        while len(waiting) >= PART_BYTES:
            yield bytes(waiting[:PART_BYTES])
            del waiting[:PART_BYTES]
    if waiting:
        yield bytes(waiting)


def _grouped(items: Iterable[bytes], count: int) -> Iterator[list[bytes]]:
    group: list[bytes] = []
    for item in items:
        group.append(item)
        if len(group) == count:
            yield group
            group = []
    if group:
        yield group
