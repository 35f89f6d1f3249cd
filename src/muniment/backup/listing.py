"""What is in a folder of backups, as programs are told it: chains, histories, and what is of no use."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from muniment.backup.lineages import Branch, Span, Tree, restorable, spans_of
from muniment.backup.plan import chain_of, ends_of
from muniment.backup.repository import Backup, Backups
from muniment.document import from_microseconds, rfc3339
from muniment.errors import DamagedBackup


class ListedBackup(msgspec.Struct, frozen=True, kw_only=True):
    """A backup: its state is that of `etag`, and it has what changed after the etag `after`; sizes in bytes.

    From `whole_from` on every transaction in it can be restored, not its end alone.
    """

    backup: str
    kind: str
    reason: str
    time: str
    completed: str
    after: int
    etag: int
    whole_from: int
    rows: int
    file_bytes: int
    encrypted: bool

    @classmethod
    def of(cls, backup: Backup) -> ListedBackup:
        """What its manifest says."""
        manifest = backup.manifest
        return cls(
            backup=backup.name,
            kind=manifest.kind,
            reason=manifest.reason,
            time=manifest.snapshot.time,
            completed=manifest.completed,
            after=manifest.after,
            etag=manifest.through,
            whole_from=manifest.whole_from,
            rows=sum(file.rows for file in manifest.files),
            file_bytes=manifest.size,
            encrypted=manifest.encryption is not None,
        )


class ListedChain(msgspec.Struct, frozen=True, kw_only=True):
    """A full backup and what continues it; of one with a gap (`problem`) the end alone."""

    name: str
    database_id: str
    lineage: str
    problem: str | None
    restorable: list[Span]
    backups: list[ListedBackup]

    @classmethod
    def ending_with(cls, end: Backup, found: Sequence[Backup]) -> ListedChain:
        """The chain that this backup is the last of."""
        database, problem = end.manifest.database, None
        try:
            chain: Sequence[Backup] = chain_of(end, found)
        except DamagedBackup as error:
            chain, problem = (end,), error.message
        return cls(
            name=database.name,
            database_id=database.id,
            lineage=database.lineage,
            problem=problem,
            restorable=[] if problem else restorable(chain, database.lineage),
            backups=[ListedBackup.of(backup) for backup in chain],
        )


class ListedHistory(msgspec.Struct, frozen=True, kw_only=True):
    """One history of a database: where it left its parent, when it began, and through when it was backed up."""

    lineage: str
    parent: str | None
    etag: int
    time: str | None
    began: str | None
    part: bool
    backed_up_through: str | None
    restorable: list[Span]

    @classmethod
    def of(cls, branch: Branch) -> ListedHistory:
        """What the manifests tell of it."""
        lineage = branch.lineage
        return cls(
            lineage=branch.id,
            parent=lineage.parent,
            etag=lineage.etag,
            time=lineage.time,
            began=lineage.began,
            part=lineage.part,
            backed_up_through=rfc3339(from_microseconds(branch.seen)) if branch.backups else None,
            restorable=spans_of(branch),
        )


class Unusable(msgspec.Struct, frozen=True, kw_only=True):
    """A backup whose manifest cannot be used, and why."""

    folder: str
    problem: str


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """All of a folder. `unfinished` are folders without a manifest: a backup runs there, or was killed."""

    folder: str
    chains: list[ListedChain]
    lineages: list[ListedHistory]
    unusable: list[Unusable]
    unfinished: list[str]

    @classmethod
    def of(cls, folder: str, found: Backups) -> Listing:
        """What the manifests in a folder say; no data is read."""
        return cls(
            folder=folder,
            chains=[ListedChain.ending_with(end, found) for end in ends_of(found)],
            lineages=[ListedHistory.of(branch) for tree in trees_of(found) for branch in tree.branches],
            unusable=[Unusable(folder=str(bad.folder), problem=bad.error.message) for bad in found.unusable],
            unfinished=list(map(str, found.unfinished)),
        )


def trees_of(found: Sequence[Backup]) -> list[Tree]:
    """The histories in a folder, a tree for each database."""
    databases: dict[str, list[Backup]] = {}
    for backup in found:
        databases.setdefault(backup.manifest.database.id, []).append(backup)
    return [Tree(backups) for backups in databases.values()]
