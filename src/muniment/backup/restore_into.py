"""Restoring into a database that is in use: what differs from a moment of the backups, and one transaction to undo it.

The selected part of the moment is restored and proven beside the database first, in a folder that is deleted at the
end. Then the two are compared by the digests that both keep, so that only what differs is read. What is to be written
waits in a scratch database; the writer takes it in batches, each change with the etag that the comparison has seen.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast, get_args

from muniment.backup.compare import Account, Action, Difference
from muniment.backup.plan import RestorePlan
from muniment.backup.reader import moment_of
from muniment.backup.restore import restore
from muniment.backup.selection import Selection
from muniment.backup.staging import NAME as STAGING
from muniment.backup.staging import forget_staging
from muniment.document import from_microseconds, rfc3339, with_time_kept, without_time_kept
from muniment.durable import mapped_errors
from muniment.errors import ConcurrencyConflict, Conflict, ForeignBackup, InvalidInput, MunimentError
from muniment.numbers import number_documents, raise_numbers, store_number
from muniment.owner import find, key_of, tombstone
from muniment.progress import Progress
from muniment.revision import ATTACHMENT, DOCUMENT, Revision
from muniment.security.encryption import EncryptionKey, new_key
from muniment.storage import engines
from muniment.storage.base import Storage, Upload, Write
from muniment.storage.scratch import Scratch, scratch_database, scratch_errors

OnConflict: TypeAlias = Literal["skip", "overwrite", "fail"]
Read: TypeAlias = Callable[[RestorePlan, Path, Selection | None, Progress, EncryptionKey | None], object]

FOLDER_PREFIX: Final = "restoring-"
_MOMENTS: Final = {f"{name}{end}" for name in ("moment", "elsewhere") for end in ("", STAGING)}
BATCH_ROWS: Final = 1000
BATCH_BYTES: Final = 8 << 20
NAMED: Final = 5  # ids in the message of a conflict

_UPLOADED: Final = "CREATE TABLE uploaded(number INTEGER PRIMARY KEY, content, size, sha256); BEGIN"
_TODO: Final = "SELECT number, kind, id, action, expected FROM todo WHERE action IN ({}) AND number > ?"


@dataclass(frozen=True, slots=True)
class RestoredInto:
    """The result of a restore into a database: how it differed, how much was written, and the transaction that did so.

    `etag` is the last one of that transaction, None when nothing had to be written.
    """

    difference: Difference
    written: int
    etag: int | None
    seconds: float


class Comparison:
    """A database compared with a moment; `write` does what the policy says about the difference."""

    def __init__(self, storage: Storage, moments: Sequence[Storage], scratch: Scratch, difference: Difference) -> None:
        self.difference = difference
        self._storage = storage
        self._moments = moments
        self._scratch = scratch

    def write(self, on_conflict: OnConflict, progress: Progress | None = None) -> RestoredInto:
        """Write what is missing (`skip`), or make the selected part what it was (`overwrite`), as one transaction.

        Raises `Conflict` and writes nothing when `fail` is asked for and something was changed or deleted, or when
        somebody has written meanwhile to what would be written.
        """
        progress = progress or Progress()
        check_policy(on_conflict)
        if on_conflict == "fail":
            self._check_only_added()
        actions = get_args(Action) if on_conflict == "overwrite" else ("added",)
        count = sum(self.difference.count(action) for action in actions)
        progress.stage = "writing"
        documents = [changes for changes in self.difference.changes if changes.kind == DOCUMENT]
        progress.total_documents = sum(len(getattr(changes, action)) for changes in documents for action in actions)
        progress.total_bytes = None
        progress.documents = progress.attachments = progress.bytes = 0
        etag = None
        if count:
            self._raise_numbers()  # before the documents that need them are there
            etag = self._written(actions, progress)
            raise_numbers(self._storage)
        progress.finish()
        return RestoredInto(self.difference, count, etag, progress.seconds)

    def _raise_numbers(self) -> None:
        """Bring the last numbers given out to what they were at the moment, where they are lower now."""
        for revision in number_documents(self._moments[0]):
            present = self._storage.get(DOCUMENT, revision.id)
            query = "SELECT 1 FROM todo WHERE kind = ? AND id = ?"
            waits = self._scratch.execute(query, (DOCUMENT, revision.id)).fetchone()  # as one that is missing
            if not waits and (present is None or present.body != revision.body):
                metadata, changed = without_time_kept(revision.metadata, revision.modified)
                kept = with_time_kept(metadata, changed)
                store_number(self._storage, Write(revision.id, revision.body, kept, revision.collection))

    def _check_only_added(self) -> None:
        found = [(action, id) for action in ("changed", "deleted") for id in self._ids(action)]
        if found:
            named = ", ".join(f"{id} was {action}" for action, id in found[:NAMED])
            more = f" and {len(found) - NAMED:,} more" if len(found) > NAMED else ""
            raise Conflict(
                f"{len(found):,} of the documents and attachments differ from what they were: {named}{more}",
                "restore with `skip` to add only what is missing, or with `overwrite` to make everything what it was",
            )

    def _ids(self, action: str) -> Iterator[str]:
        return (id for changes in self.difference.changes for id in getattr(changes, action))

    def _written(self, actions: Sequence[str], progress: Progress) -> int:
        try:
            with scratch_errors():
                self._scratch.execute("DELETE FROM uploaded")  # by an earlier call
                self._upload(actions, progress)
            return self._storage.commit_all(self._batches(actions, progress))
        except BaseException as error:
            with suppress(MunimentError):  # a database that was closed forgets them when it is opened again
                for _, *upload in self._rows("SELECT * FROM uploaded WHERE number > ?"):
                    self._storage.discard(Upload(*upload))
            if isinstance(error, ConcurrencyConflict):
                raise Conflict(
                    f"{error.id!r} was written by somebody else after it had been compared; nothing was restored",
                    "restore again, which compares again",
                ) from error
            raise

    def _upload(self, actions: Sequence[str], progress: Progress) -> None:
        """Put the contents of attachments on disk, where the transaction only has to name them."""
        for number, kind, id, action, _ in self._todo(actions):
            if kind == ATTACHMENT and action != "deleted":
                moment, was = self._was(kind, id)
                upload = self._storage.upload(_counted(moment.content(was), progress))
                self._scratch.execute("INSERT INTO uploaded VALUES(?, ?, ?, ?)", (number, *upload))

    def _was(self, kind: int, id: str) -> tuple[Storage, Revision]:
        for moment in self._moments:
            was = moment.get(kind, id) or (find(moment, key_of(id)) if kind == ATTACHMENT else None)
            if was:
                return moment, was
        raise AssertionError(f"{id} was found before")

    def _batches(self, actions: Sequence[str], progress: Progress) -> Iterator[list[Write]]:
        batch: list[Write] = []
        size = 0
        for number, kind, id, action, expected in self._todo(actions):
            write = Write(id, None, expected=expected, kind=kind)
            if action != "deleted":
                write = self._restoring(number, write)
            elif kind == ATTACHMENT and (present := self._storage.get(kind, id)):
                write = write._replace(metadata=tombstone(self._storage, present))
            batch.append(write)
            size += len(write.body or b"") + len(write.metadata)
            if len(batch) == BATCH_ROWS or size >= BATCH_BYTES:
                yield batch
                _advance(batch, size, progress)
                batch, size = [], 0
        if batch:
            yield batch
            _advance(batch, size, progress)

    def _restoring(self, number: int, write: Write) -> Write:
        _, was = self._was(write.kind, write.id)
        metadata, changed = without_time_kept(was.metadata, was.modified)
        upload = None
        if write.kind == ATTACHMENT:
            query = "SELECT content, size, sha256 FROM uploaded WHERE number = ?"
            rows: list[Any] = self._scratch.execute(query, (number,)).fetchall()
            upload = Upload(*rows[0])
        kept = with_time_kept(metadata, changed)
        return write._replace(body=was.body, metadata=kept, collection=was.collection, upload=upload)

    def _todo(self, actions: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        wanted = ", ".join(f"'{action}'" for action in actions)
        return self._rows(_TODO.format(wanted))

    def _rows(self, query: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a query in the order of their numbers; no statement is open while one is worked on."""
        rows: list[Any] = [(0,)]
        while rows := self._scratch.execute(f"{query} ORDER BY number LIMIT {BATCH_ROWS}", rows[-1][:1]).fetchall():
            yield from rows


def check_policy(text: str) -> OnConflict:
    """The policy of this name; raises `InvalidInput` when there is none."""
    if text not in get_args(OnConflict):
        policies = " or ".join(get_args(OnConflict))
        raise InvalidInput(f"{text!r} is not a way to treat differences", f"use {policies}")
    return cast(OnConflict, text)


def check_database(plan: RestorePlan, storage: Storage, where: str) -> None:
    """Raises `ForeignBackup` when the backups are not of this database."""
    database = plan.manifest.database
    if database.id != storage.identity.database_id:
        raise ForeignBackup(
            f"{plan.place} holds the backups of another database, {database.name!r}, and not of {where}",
            "give the folder of its own backups, or say that another's are meant (--other-database)",
        )


def _read(
    plan: RestorePlan, target: Path, selection: Selection | None, progress: Progress, key: EncryptionKey | None
) -> None:
    restore(plan, target, selection=selection, progress=progress, key=key)


@contextmanager
def compared(
    storage: Storage,
    plan: RestorePlan,
    place: Path,
    *,
    selection: Selection | None = None,
    progress: Progress | None = None,
    read: Read = _read,
) -> Iterator[Comparison]:
    """Within it, the database is compared with the selected part of the planned moment.

    `read` restores that part into a new folder in `place`, of which nothing is left afterwards; it has the database's
    key meanwhile, or one that nobody keeps where only the backups are encrypted.
    """
    progress = progress or Progress()
    if not engines.is_folder(place):
        place = Path(tempfile.gettempdir())
    with ExitStack() as making:
        comparison = _compare(storage, plan, place, selection, progress, read, making)
        made = making.pop_all()
    try:
        yield comparison
    finally:
        made.close()


def _compare(
    storage: Storage,
    plan: RestorePlan,
    place: Path,
    selection: Selection | None,
    progress: Progress,
    read: Read,
    stack: ExitStack,
) -> Comparison:
    """The comparison, and on the stack what it needs."""
    with mapped_errors(place):
        work = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=place))
    stack.callback(shutil.rmtree, work, ignore_errors=True)

    # What is encrypted in the backups is not in clear on this disk either before it is written to a database in clear.
    key = storage.key or (new_key() if plan.encrypted else None)

    def restored(name: str, part: Selection | None) -> Storage:
        read(plan, work / name, part, progress, key)
        progress.stage = "comparing"
        return stack.enter_context(closing(engines.open(work / name, read_only=True, key=key)))

    part = selection and replace(selection, wanted_if_there=True)  # it may be only in the database, and go from there
    moments = [restored("moment", part)]
    scratch = stack.enter_context(scratch_database())
    scratch.execute(_UPLOADED)
    account = Account(storage, selection, scratch)
    for _ in account.take_all(moments[0]):
        progress.check()
    moment = moment_of(plan)
    if account.matches:
        time = rfc3339(from_microseconds(moment.modified))
        account.matches.check(plan, f"in the database and in the state of {time}")
    if account.moved:
        moments.append(restored("elsewhere", Selection(ids=frozenset(account.moved), wanted_if_there=True)))
        account.take_moved(moments[1])
    progress.finish()
    return Comparison(storage, moments, scratch, account.difference(moment))


def forget_unfinished(place: Path) -> None:
    """Remove what restores and comparisons of a killed process have left; nobody else may be using this database."""
    if not engines.is_folder(place):
        return
    forget_staging(place)
    for left in place.glob(f"{FOLDER_PREFIX}????????"):  # as tempfile names them
        if left.is_dir() and all(path.name in _MOMENTS for path in left.iterdir()):
            shutil.rmtree(left, ignore_errors=True)


def _counted(parts: Iterator[bytes], progress: Progress) -> Iterator[bytes]:
    for part in parts:
        progress.advance(bytes=len(part))
        yield part


def _advance(batch: list[Write], size: int, progress: Progress) -> None:
    documents = sum(write.kind == DOCUMENT for write in batch)
    progress.advance(documents=documents, attachments=len(batch) - documents, bytes=size)
