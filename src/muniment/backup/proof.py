"""The proof of what a backup reads of a database: every row against its digest in the log, and the sum of it all.

Otherwise a document damaged on disk would enter the backup as if it had been written so. A damaged one is noted, with
its id, and does not enter the files.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from muniment.backup.manifest import Skipped
from muniment.errors import DamagedDatabase
from muniment.fingerprint import ContentDigest, Fingerprint, attachment_digests, batch_digests, rows_sum
from muniment.owner import key_of
from muniment.revision import ATTACHMENT, Batch, Revision

NAMED: Final = 5
_NOT_AS_WRITTEN: Final = "its bytes are not what was written"
_CONTENT: Final = "its content is not what was written"


class Proof:
    """What was proven, as a fingerprint, and what was found damaged. Threads may share it.

    `skip` says that what is damaged will be left out.
    """

    def __init__(self, logged: Callable[[int], tuple[int, bytes] | None], *, skip: bool) -> None:
        """`logged` gives the time and digest that the log keeps of the row with an etag; see `Storage`."""
        self.fingerprint = Fingerprint()
        self.damaged: list[Skipped] = []
        self.dead = 0  # tombstones among them
        self.skip = skip
        self._logged = logged
        self._lock = threading.Lock()

    def documents(self, batch: Batch) -> tuple[Batch, int]:
        """Those of these revisions that are undamaged, and the sum of their digests."""
        members, rows = batch_digests(batch)
        if batch.digests is not None and rows.data != batch.digests.data:
            found = rows.values()
            kept = [row for row, told in enumerate(batch.digests.values()) if told == found[row]]
            bad = set(range(len(batch))).difference(kept)
            with self._lock:
                for revision in batch.take(sorted(bad)):
                    self.dead += revision.body is None
                    self.damaged.append(Skipped("document", revision.id, revision.etag, _NOT_AS_WRITTEN))
            batch = batch.take(kept)
            members, rows = batch_digests(batch)
        counted = Fingerprint()
        counted.add_batch(batch, members)
        with self._lock:
            self.fingerprint.merge(counted)
        return batch, rows_sum(batch, rows)

    def attachment(self, revision: Revision, parts: Callable[[], Iterable[bytes]]) -> bytes | None:
        """The row's digest if it is as it was written; None, and a note of it, if it is not.

        Its content is read here only where damaged ones are to be left out; else `content` proves it on its way.
        """
        member, row = attachment_digests(revision)
        told = self._logged(revision.etag)
        if told is not None and told[1] != row:
            self._note(revision, _NOT_AS_WRITTEN)
            return None
        if self.skip and revision.body is not None:
            for _ in self.content(revision, parts()):
                pass
            if self.damaged and self.damaged[-1].etag == revision.etag:
                return None
        if revision.body is not None:
            group = (ATTACHMENT, revision.collection or "")
            self.fingerprint.add(group, 1, revision.size, int.from_bytes(member, "big"))
        return row

    def content(self, revision: Revision, parts: Iterable[bytes]) -> Iterator[bytes]:
        """These parts again; at their end it is noted if they are not the content that was written."""
        digest = ContentDigest()
        yield from digest.passing(parts)
        if revision.body is not None and not digest.is_of(revision):
            self._note(revision, _CONTENT)

    def _note(self, revision: Revision, problem: str) -> None:
        self.dead += revision.body is None
        self.damaged.append(Skipped("attachment", key_of(revision.id), revision.etag, problem))


def damage(found: Iterable[Skipped]) -> DamagedDatabase:
    """The error that names what is damaged."""
    damaged = sorted(found, key=lambda each: (each.kind, each.id))
    named = "; ".join(f"{each.kind} {each.id!r} (etag {each.etag}): {each.problem}" for each in damaged[:NAMED])
    more = f"; and {len(damaged) - NAMED:,} more" if len(damaged) > NAMED else ""
    return DamagedDatabase(
        f"damaged in the database: {len(damaged):,} of the revisions to be backed up: {named}{more}",
        "bring it back from an earlier backup (muniment restore … --id ID --to DATABASE --on-conflict overwrite), or"
        " take the rest with --skip-damaged, which says in the manifest what is missing",
    )


def missing_note(skipped: Iterable[Skipped], where: str) -> tuple[str, ...]:
    """A sentence on what a backup was taken without; none when it was taken whole."""
    left_out = list(skipped)
    if not left_out:
        return ()
    named = ", ".join(each.id or each.problem for each in left_out[:NAMED])
    more = f" and {len(left_out) - NAMED:,} more" if len(left_out) > NAMED else ""
    return (f"{where} was taken without {len(left_out):,} that were damaged in the database: {named}{more}",)
