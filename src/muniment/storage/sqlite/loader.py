"""Loading a whole database in one go, into a file that nobody else sees until it is finished.

There is no journal and no index while rows come in: a load that fails is thrown away, so nothing needs to be undone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final

import apsw
import msgspec

from muniment.document import fold
from muniment.durable import sync_file, sync_folder
from muniment.errors import DamagedBackup
from muniment.fingerprint import Digests, Fingerprint, Totals
from muniment.revision import ATTACHMENT, DOCUMENT, Batch, Revision
from muniment.security.encryption import EncryptionKey
from muniment.storage.base import Identity, Lineage
from muniment.storage.loading import began, check_numbers, folded, whole
from muniment.storage.sqlite.files import DEFRAGMENTED, FILE, LOADING
from muniment.storage.sqlite.rows import Gathered, Rows, Texts
from muniment.storage.sqlite.schema import INDEXES, PART_BITS, create, mapped_errors, run
from muniment.storage.sqlite.spans import begin_counting
from muniment.storage.sqlite.state import LOG_ROWS, identity_facts, write_facts, write_tallies

SYNC_BYTES: Final = 64 << 20  # brought to disk while more comes, so that there is less to wait for in the end
LOG: Final = f"INSERT INTO log VALUES(?, {DOCUMENT}, ?, ?, ?, ?, ?, NULL, ?)"
_POINTER: Final = (
    f"INSERT INTO scratch.pointer VALUES({DOCUMENT}, ?1, nullif(?2, ?1), ?3, ?4, ifnull(length(?5), 0), ?6)"
)


class Loader(Totals):
    """Takes in revisions, each id at most once, and makes a database of them in a folder that has none."""

    def __init__(self, folder: Path, identity: Identity, key: EncryptionKey | None = None) -> None:
        super().__init__()
        self.folder = folder
        self._identity = identity
        self._pool = ThreadPoolExecutor(2, "muniment loader")
        self._storing: Future[None] | None = None
        self._connection = create(folder / FILE, key)
        self._syncing: Future[None] | None = None
        self._unsynced = 0
        with mapped_errors(folder):
            run(
                self._connection,
                "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA locking_mode=EXCLUSIVE;"
                " PRAGMA cache_size=-16384; PRAGMA temp_store=FILE",
            )
            # `current` is filled at the end, in the order of its keys; until then the pointers wait in a scratch file.
            self._connection.execute("ATTACH ? AS scratch", (str(folder / LOADING),))
            run(self._connection, "PRAGMA scratch.journal_mode=OFF; PRAGMA scratch.synchronous=OFF")
            self._connection.execute(INDEXES)
            self._connection.execute(
                "CREATE TABLE scratch.pointer(kind, key, spelling, etag, collection, size, digest); BEGIN"
            )
            self._gathered = None if key else Gathered(self._connection)  # encrypted ones are written page by page
        self._rows = Rows(self._connection)

    def apply(self, batch: Batch) -> None:
        """Take in revisions of documents with the etags and times that they have; fast when etags ascend.

        They are stored by another thread, which outside Python's global lock is another processor, while the caller
        goes on; what it fails with is raised by a later call.
        """
        if not len(batch):
            return
        check_numbers(batch)
        digests = self.count(batch)
        self._wait()
        self._storing = self._pool.submit(self._store, batch, digests)

    def _store(self, batch: Batch, digests: Digests) -> None:
        ids, collections, rows = Texts(batch.ids), Texts(batch.collections), len(batch)
        modified, metadata, bodies = batch.modified, batch.metadata, batch.bodies
        with mapped_errors(self.folder):
            try:
                columns = batch.etags, ids, collections, modified, metadata, bodies, digests.rows
                self._rows.insert(LOG, rows, *columns)
            except apsw.ConstraintError as error:
                raise _twice(error) from error
            keys = Texts(folded(batch.ids))
            self._rows.insert(_POINTER, rows, keys, ids, batch.etags, collections, bodies, digests.members)
            self._unsynced += batch.size()
            if self._unsynced >= SYNC_BYTES:
                self._sync_beside()

    def _sync_beside(self) -> None:
        """Have what is in the file brought to disk while more comes, unless that is being done."""
        if self._syncing is None or self._syncing.done():
            self._synced()
            # Nobody else can open this file, so it does not matter that closing it there ends SQLite's locks.
            self._unsynced, self._syncing = 0, self._pool.submit(sync_file, self.folder / FILE)

    def _synced(self) -> None:
        """Wait for what is being brought to disk; raises what that has failed with, which the system tells only once:
        a later one of the same file would say that all is on disk."""
        syncing, self._syncing = self._syncing, None
        if syncing is not None:
            syncing.result()

    def _wait(self) -> None:
        """Until what was given to the other thread is stored; raises what that has failed with."""
        storing, self._storing = self._storing, None
        if storing is not None:
            storing.result()

    def apply_attachment(self, revision: Revision, parts: Iterable[bytes]) -> None:
        """Take in a revision of an attachment; raises `DamagedBackup` if the content is not the one it names."""
        self._wait()
        content = None
        if revision.body is not None:
            content = self._store_content(revision, parts)
        member, row = self.count_attachment(revision)
        key = fold(revision.id)
        spelling = None if key == revision.id else revision.id
        size, digest = (0, None) if revision.body is None else (revision.size, member)
        log = revision.etag, ATTACHMENT, *revision[2:7], content, row
        pointer = ATTACHMENT, key, spelling, revision.etag, revision.collection, size, digest
        with mapped_errors(self.folder):
            try:
                self._connection.execute("INSERT INTO log VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)", log)
            except apsw.ConstraintError as error:
                raise _twice(error) from error
            self._connection.execute("INSERT INTO scratch.pointer VALUES(?, ?, ?, ?, ?, ?, ?)", pointer)

    def _store_content(self, revision: Revision, parts: Iterable[bytes]) -> int:
        with mapped_errors(self.folder):
            query = "INSERT INTO content(size, sha256, staged) VALUES(?, ?, 0) RETURNING content"
            content: int = self._connection.execute(query, (revision.size, revision.body)).get
            for number, part in whole(revision, parts, 1 << PART_BITS):
                self._connection.execute("INSERT INTO part VALUES(?, ?)", ((content << PART_BITS) + number, part))
        return content

    def finish(
        self,
        last_etag: int,
        last_modified: int,
        settings: Mapping[str, str],
        *,
        lineages: Sequence[Lineage] = (),
        defrag: bool = False,
    ) -> Fingerprint:
        """Build the pointers and indexes and bring everything to disk; returns the fingerprint of what is there.

        `lineages` are the database's: known only now, since the last one begins at the moment that was restored.
        """
        self._wait()
        run = self._connection.execute
        with mapped_errors(self.folder):
            self._sync_beside()
            try:
                run("INSERT INTO current SELECT * FROM scratch.pointer ORDER BY kind, key")
            except apsw.ConstraintError as error:
                raise DamagedBackup(f"an id occurs twice: {error}", "restore from another backup") from error
            facts = identity_facts(replace(self._identity, lineages=tuple(lineages)))
            if (told := began(lineages)) is not None:
                facts["told_until"] = told
            facts |= {"last_etag": last_etag, "last_modified": last_modified}
            facts["settings"] = msgspec.json.encode(dict(settings)).decode()
            # This log does not have what came before this moment.
            write_facts(self._connection, facts | {"history_from": last_etag, "tombstones_from": last_etag})
            write_tallies(self._connection, {LOG_ROWS: self.rows, **self.fingerprint.occupied()})
            begin_counting(self._connection, last_etag)
            run("COMMIT; DETACH scratch")
            if self._gathered:
                self._gathered.end()
            self._synced()
            if defrag:  # next to the file: plain VACUUM would put its copy where temporary files go
                run("PRAGMA cache_size=-16384")  # the copy uses the same size
                run("VACUUM INTO ?", (str(self.folder / DEFRAGMENTED),))
        self.close()
        if defrag:
            with mapped_errors(self.folder):
                (self.folder / DEFRAGMENTED).replace(self.folder / FILE)
        with mapped_errors(self.folder):
            sync_file(self.folder / FILE)
            sync_folder(self.folder)
        return self.fingerprint

    def close(self) -> None:
        """Close the file, finished or not."""
        self._pool.shutdown()
        with mapped_errors(self.folder):
            self._connection.close()
            (self.folder / LOADING).unlink(missing_ok=True)


def _twice(error: apsw.ConstraintError) -> DamagedBackup:
    return DamagedBackup(f"an etag occurs twice: {error}", "restore from another backup")
