"""What was added, changed and deleted between two moments that backups hold, without restoring either."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final

from muniment.backup.parquet import Source, numbers_of, texts_of
from muniment.backup.plan import RestorePlan
from muniment.backup.reader import Moment, check_files, moment_of
from muniment.document import fold
from muniment.owner import key_of
from muniment.progress import Progress
from muniment.revision import ATTACHMENT, DOCUMENT
from muniment.storage.scratch import Scratch, scratch_database

_TABLE: Final = """
CREATE TABLE {0}(kind, key, id, collection, etag, modified, deleted, PRIMARY KEY(kind, key)) WITHOUT ROWID
"""
_ADD: Final = """
INSERT INTO {0} VALUES(?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET id = excluded.id,
  collection = excluded.collection, etag = excluded.etag, modified = excluded.modified, deleted = excluded.deleted
  WHERE excluded.etag > etag
"""
# Within a lineage an etag stands for one revision; over a restore the time tells two with the same etag apart.
_COMPARE: Final = """
SELECT kind, coalesce(after.collection, before.collection, ''), coalesce(after.id, before.id),
  coalesce(before.deleted, 1), coalesce(after.deleted, 1)
FROM before FULL JOIN after USING(kind, key)
WHERE before.etag IS NOT after.etag OR before.modified IS NOT after.modified
ORDER BY 1, 2, after.key
"""


@dataclass(slots=True)
class Changes:
    """The ids of one kind and collection that were added, changed and deleted, in the order of their keys."""

    kind: int
    collection: str
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """For `--json` and HTTP."""
        return {
            "kind": "attachment" if self.kind == ATTACHMENT else "document",
            "collection": self.collection or None,
            "added": self.added,
            "changed": self.changed,
            "deleted": self.deleted,
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Changes:
        """Read what `as_json` gave."""
        kind = ATTACHMENT if told["kind"] == "attachment" else DOCUMENT
        return cls(kind, told["collection"] or "", told["added"], told["changed"], told["deleted"])


@dataclass(frozen=True, slots=True)
class Differences:
    """The changes that turn the state `before` into the state `after`, by kind and collection."""

    before: Moment
    after: Moment
    changes: list[Changes]


def differences(before: RestorePlan, after: RestorePlan, progress: Progress | None = None) -> Differences:
    """What was added, changed and deleted between two moments.

    The two states are compared in a temporary database that goes to disk when they are large. All files are compared
    with their SHA-256 first; then only ids and etags are read.
    """
    progress = progress or Progress()
    progress.stage = "checking files"
    files = {(str(backup.folder), file.name): (backup, file) for plan in (before, after) for backup, file in plan.files}
    check_files(files.values(), progress)
    with scratch_database(cache_kib=32_768) as connection:
        connection.execute("BEGIN")
        moments = []
        for name, plan in (("before", before), ("after", after)):
            progress.stage = f"reading the state {name}"
            connection.execute(_TABLE.format(name))
            moment = moment_of(plan)
            moments.append(moment)
            for rows in _revisions(plan, moment, progress):
                connection.executemany(_ADD.format(name), rows)
        compared = _compared(connection)
    progress.finish()
    return Differences(moments[0], moments[1], compared)


def _revisions(plan: RestorePlan, moment: Moment, progress: Progress) -> Iterator[Iterator[tuple[Any, ...]]]:
    for backup, file in plan.files:
        documents = file.kind == DOCUMENT
        content = "document" if documents else "sha256"
        with closing(Source.of(backup, file)) as source:
            for _, group in source.groups():
                progress.check()
                table = source.read(group, ["etag", "id", "collection", "modified", content])
                ids, etags = texts_of(table, "id"), numbers_of(table, "etag")
                deleted = table.column(content).is_null().to_pylist()
                columns = zip(
                    ids,
                    table.column("collection").to_pylist(),
                    etags,
                    numbers_of(table, "modified"),
                    deleted,
                    strict=True,
                )
                yield ((file.kind, fold(row[0]), *row) for row in columns if row[2] <= moment.etag)
                progress.advance(documents=len(ids) if documents else 0)


def _compared(connection: Scratch) -> list[Changes]:
    found: dict[tuple[int, str], Changes] = {}
    for kind, collection, id, was_deleted, is_deleted in connection.execute(_COMPARE):
        if was_deleted and is_deleted:
            continue
        changes = found.setdefault((kind, collection), Changes(kind, collection))
        (changes.added if was_deleted else changes.deleted if is_deleted else changes.changed).append(
            key_of(id) if kind == ATTACHMENT else id
        )
    return list(found.values())
