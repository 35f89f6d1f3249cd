"""Moving a database that is in use from a folder into PostgreSQL, with a pause only at the end, and back.

First all of it is loaded while others read and write, then what they have changed meanwhile, round after round. When
nobody writes any more, because whoever did has closed the folder, the last round is taken, both are compared, and only
then is there a database in the target. A move that is interrupted goes on where it was.

The way back is one round, which begins when nobody else has the database open: a folder cannot be added to by halves.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from muniment.backup.staging import check_free, staged
from muniment.database import DocumentDatabase
from muniment.document import from_microseconds, rfc3339
from muniment.errors import Cancelled, DamagedDatabase, DatabaseLocked, MunimentError, NotEvaluated, TargetExists
from muniment.fingerprint import Fingerprint
from muniment.progress import Progress
from muniment.revision import Batch, Revision
from muniment.security.encryption import EncryptionKey
from muniment.storage import engines
from muniment.storage.base import Identity, Lineage, Snapshot, Storage, system_clock
from muniment.storage.location import Address
from muniment.storage.retention import PARTITIONS

if TYPE_CHECKING:
    from muniment.storage.engines import Taking

LOOK_SECONDS: Final = 0.2
ROUND_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Moved:
    """A database that was moved: where it is, its last etag and fingerprint, in how many rounds, and its pause."""

    target: Path
    etag: int
    fingerprint: Fingerprint
    rounds: int
    pause: float
    seconds: float


def move(
    source: Path,
    target: Path,
    *,
    key: EncryptionKey | None = None,
    wait: float = 0,
    progress: Progress | None = None,
    clock: Callable[[], int] = system_clock,
) -> Moved:
    """Bring the database `source` to `target`, as a new lineage of the same database: a folder and a schema, or back.

    `key` is that of the folder, whose database is in clear in PostgreSQL. While another process has the source open for
    writing, it is followed, or waited for, for `wait` seconds; then `DatabaseLocked` is raised, and what was taken over
    into PostgreSQL stays for the next call. The source is left as it is. Raises `DamagedDatabase` unless both have the
    same fingerprint.
    """
    progress = progress or Progress()
    if isinstance(source, Address) and not isinstance(target, Address):
        _check_free(target)
        return _MoveBack(source, target, key, wait, progress, clock).move()
    if isinstance(source, Address) or not isinstance(target, Address):
        raise NotEvaluated(
            f"a database is moved from a folder into PostgreSQL or back, not from {source} to {target}",
            "copy a folder while no process has it open; else take a backup, and restore that: muniment backup,"
            " muniment restore --to",
        )
    _check_free(target)
    return _Move(source, target, key, wait, progress, clock).move()


def _check_free(target: Path) -> None:
    try:
        check_free(target)
    except TargetExists as error:
        raise TargetExists(
            f"{target} already exists; a move never writes over anything",
            "if it was moved there before, use it there; else move it to another place",
        ) from error


T = TypeVar("T", bound=Path)


class _Moving(Generic[T]):
    def __init__(
        self,
        source: Path,
        target: T,
        key: EncryptionKey | None,
        wait: float,
        progress: Progress,
        clock: Callable[[], int],
    ) -> None:
        self._source = source
        self._target = target
        self._key = key
        self._until = monotonic() + wait
        self._progress = progress
        self._clock = clock

    def _counted(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        for batch in batches:
            self._progress.check()
            yield batch
            self._progress.advance(documents=len(batch), bytes=batch.size())

    def _attachments(self, storage: Storage, after: int, upto: int) -> Iterator[tuple[Revision, Iterable[bytes]]]:
        for revision in storage.attachment_changes(after, upto):
            self._progress.check()
            yield revision, storage.content(revision)
            self._progress.advance(attachments=revision.body is not None, bytes=revision.size)

    def _lineages(self, old: Identity, snapshot: Snapshot) -> list[Lineage]:
        """Those of the database, and the one that begins with the move."""
        time = rfc3339(from_microseconds(snapshot.modified))
        began = rfc3339(from_microseconds(max(self._clock(), snapshot.modified)))
        new = Lineage(str(uuid.uuid4()), old.lineage, snapshot.etag, time, began)
        return [*(old.lineages or (Lineage(old.lineage, None, 0, None, None),)), new]

    def _moved(self, upto: Snapshot, rounds: int, pause: float) -> Moved:
        self._progress.finish()
        return Moved(self._target, upto.etag, upto.fingerprint, rounds, pause, self._progress.seconds)


class _MoveBack(_Moving[Path]):
    def move(self) -> Moved:
        engines.check_outside(self._target)
        with staged(self._target, self._key) as staging:
            with closing(DocumentDatabase(self._source, create=False, clock=self._clock)) as database:
                self._wait(database.storage)
                paused = monotonic()
                with database.storage.pin() as snapshot:
                    self._load(database, staging.folder, snapshot)
                if not database.storage.alone or database.last_etag != snapshot.etag:
                    raise DatabaseLocked(
                        f"somebody has opened {self._source} meanwhile; nothing was moved",
                        "stop whoever did, and do this again",
                    )
                staging.publish()
            return self._moved(snapshot, 1, monotonic() - paused)

    def _wait(self, storage: Storage) -> None:
        self._progress.stage = "waiting until nobody else has the database open"
        while not storage.alone:
            if monotonic() >= self._until:
                raise DatabaseLocked(
                    f"another process has {self._source} open",
                    "stop it (one that was killed on another machine counts for a minute), and do this again;"
                    " --wait waits for that",
                )
            self._progress.check()
            sleep(LOOK_SECONDS)

    def _load(self, database: DocumentDatabase, place: Path, snapshot: Snapshot) -> None:
        self._progress.stage = "loading"
        storage, old = database.storage, database.storage.identity
        lineages = self._lineages(old, snapshot)
        identity = Identity(old.database_id, lineages[-1].lineage)
        with closing(engines.loader(place, identity, self._key)) as loader:
            for batch in self._counted(storage.changes(0, snapshot.etag)):
                loader.apply(batch)
            for revision, parts in self._attachments(storage, 0, snapshot.etag):
                loader.apply_attachment(revision, parts)
            if differences := [*snapshot.fingerprint.differences(loader.fingerprint)]:
                raise DamagedDatabase(
                    f"what was read of {self._source} is not what was written: {'; '.join(differences)}",
                    "run `muniment check` on it",
                )
            settings = {name: value for name, value in database.settings.items() if name.lower() != PARTITIONS.lower()}
            loader.finish(snapshot.etag, snapshot.modified, settings, lineages=lineages)


class _Move(_Moving[Address]):
    _rounds = 0
    _last = -ROUND_SECONDS
    _taken = 0  # the etag through which all is there

    def move(self) -> Moved:
        with engines.taking(self._target) as taking:
            try:
                return self._move(taking)
            except Cancelled as error:
                if self._taken:
                    place = taking.place.schema
                    error.hint = (
                        f"all through etag {self._taken:,} is kept in the schema {place}, and the same command goes on"
                        f" there; to give the move up, have PostgreSQL do: {taking.dropping}"
                    )
                raise

    def _move(self, taking: Taking) -> Moved:
        while True:
            paused = monotonic()
            try:
                database = DocumentDatabase(self._source, create=False, key=self._key, clock=self._clock)
            except DatabaseLocked:
                self._follow(taking)
                continue
            with closing(database):
                if not self._rounds:
                    self._round(database.storage, taking)
                    paused = monotonic()
                return self._finish(database, taking, paused)

    def _follow(self, taking: Taking) -> None:
        """A round now and then while another process writes; raises `DatabaseLocked` when that was long enough."""
        if monotonic() - self._last >= ROUND_SECONDS:
            with closing(engines.open(self._source, read_only=True, key=self._key)) as storage:
                self._round(storage, taking)
        if monotonic() >= self._until:
            raise DatabaseLocked(
                f"another process still writes to {self._source}; all of it until now is in PostgreSQL",
                "stop that one and do this again, which goes on where this was; --wait has it follow meanwhile",
            )
        self._progress.stage = "waiting until nobody writes to the folder"
        self._progress.check()
        sleep(LOOK_SECONDS)

    def _round(self, storage: Storage, taking: Taking) -> Snapshot:
        """Take over what there is now; returns the state."""
        begun = taking.begun(storage.identity)
        self._taken = 0 if begun is None else begun.etag
        with storage.pin(None if begun is None else begun.etag) as snapshot:
            if begun is None or begun.etag < snapshot.tombstones_from:  # deletions since are no longer known
                self._taken = 0
                try:
                    self._load(storage, taking, snapshot)
                    taking.note(storage.identity)
                except BaseException:  # nobody can go on with a part
                    with suppress(MunimentError):
                        taking.forget()
                    raise
            elif begun.etag < snapshot.etag:
                self._progress.stage = "taking over what has changed"
                changes = self._counted(storage.changes(begun.etag, snapshot.etag))
                taking.add(changes, self._attachments(storage, begun.etag, snapshot.etag), snapshot)
        self._taken = snapshot.etag
        self._rounds += 1
        self._last = monotonic()
        return snapshot

    def _load(self, storage: Storage, taking: Taking, snapshot: Snapshot) -> None:
        self._progress.stage = "loading"
        taking.forget()
        with closing(engines.loader(taking.place, storage.identity)) as loader:
            for batch in self._counted(storage.changes(0, snapshot.etag)):
                loader.apply(batch)
            for revision, parts in self._attachments(storage, 0, snapshot.etag):
                loader.apply_attachment(revision, parts)
            lineages = storage.identity.lineages
            loader.finish(snapshot.etag, snapshot.modified, storage.settings, lineages=lineages)

    def _finish(self, database: DocumentDatabase, taking: Taking, paused: float) -> Moved:
        """The last round, while nobody else can write; then it is proven, and there."""
        storage = database.storage
        snapshot = self._round(storage, taking)
        there = taking.snapshot()
        differences = [*snapshot.fingerprint.differences(there.fingerprint)]
        if differences or there.etag != snapshot.etag:
            taking.forget()
            raise DamagedDatabase(
                f"what is in PostgreSQL is not what is in {self._source}: {'; '.join(differences) or 'another etag'}",
                "run `muniment check` on the folder, and move it again",
            )
        old = storage.identity
        taking.finish(database.settings, old, self._lineages(old, snapshot), snapshot.etag)
        return self._moved(there, self._rounds, monotonic() - paused)
