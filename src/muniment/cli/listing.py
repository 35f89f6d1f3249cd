"""What `muniment inspect` prints of a folder: its chains, the tree of histories, and what can be restored of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from muniment.backup.lineages import Branch, Tree
from muniment.backup.plan import chain_of, ends_of
from muniment.backup.reach import Span, restorable, spans_of
from muniment.backup.repository import Backup, Backups
from muniment.cli.output import count_text, emit, size_text
from muniment.cli.state import time_text
from muniment.errors import DamagedBackup


def show_backups(dest: Path, found: Backups, *, as_json: bool) -> None:
    """Print what is in the folder, good and bad."""
    told = []
    rows: list[tuple[str, str]] = []
    for number, end in enumerate(ends_of(found), 1):
        chain, problem = _chain(end, found)
        told.append(_chain_facts(chain, problem, [] if problem else restorable(chain, end.manifest.database.lineage)))
        rows.append((f"chain {number} of {end.manifest.database.name}", problem or ""))
        rows += [(f"  {backup.name}", _backup_text(backup)) for backup in chain]
    trees = _trees(found)
    rows += [row for tree in trees for row in _tree_rows(tree)]
    size = size_text(sum(backup.manifest.size for backup in found))
    rows += [("not usable", f"{bad.folder.name}: {bad.error.message}") for bad in found.unusable]
    rows += [("unfinished", f"{path.name}; it may be deleted if no backup is running") for path in found.unfinished]
    facts = {
        "folder": str(dest),
        "chains": told,
        "lineages": [_branch_facts(branch) for tree in trees for branch in tree.branches],
        "unusable": [{"folder": str(bad.folder), "problem": bad.error.message} for bad in found.unusable],
        "unfinished": list(map(str, found.unfinished)),
    }
    emit(f"{dest} has {count_text(len(found), 'backup')} with {size}", rows, facts, as_json=as_json)


def _trees(found: Sequence[Backup]) -> list[Tree]:
    """One for each database."""
    databases: dict[str, list[Backup]] = {}
    for backup in found:
        databases.setdefault(backup.manifest.database.id, []).append(backup)
    return [Tree(backups) for backups in databases.values()]


def _chain(end: Backup, found: Sequence[Backup]) -> tuple[tuple[Backup, ...], str | None]:
    """The chain with this end; of one with a gap the end alone, and what is missing."""
    try:
        return chain_of(end, found), None
    except DamagedBackup as error:
        return (end,), error.message


def _tree_rows(tree: Tree) -> Iterator[tuple[str, str]]:
    """The histories, each below the one that it left, and when each can be restored."""

    def below(parent: Branch | None, depth: int) -> Iterator[tuple[str, str]]:
        for branch in tree.branches:
            if tree.parent(branch) is parent:
                edge = f"{'   ' * (depth - 1)}└─ " if depth else ""
                yield f"{edge}lineage {tree.short(branch)}", _origin_text(tree, branch)
                for span in spans_of(branch):
                    yield f"{'   ' * depth}  restorable", str(span)
                yield from below(branch, depth + 1)

    yield from below(None, 0)


def _origin_text(tree: Tree, branch: Branch) -> str:
    lineage = branch.lineage
    if lineage.parent is not None:
        part = "a part of " if lineage.part else ""
        parent = tree.parent(branch)
        origin = f"began {lineage.began} with {part}{tree.short(parent) if parent else lineage.parent} at etag"
        origin = f"{origin} {lineage.etag:,} ({lineage.time})"
    else:
        origin = f"began {lineage.began}" if lineage.began else "where and when it began is not known"
    seen = f"backed up through {time_text(branch.seen)}" if branch.backups else "no backup of it is here"
    return f"{origin}; {seen}"


def _branch_facts(branch: Branch) -> dict[str, Any]:
    lineage = branch.lineage
    return {
        "lineage": branch.id,
        "parent": lineage.parent,
        "etag": lineage.etag,
        "time": lineage.time,
        "began": lineage.began,
        "part": lineage.part,
        "backed_up_through": time_text(branch.seen) if branch.backups else None,
        "restorable": spans_of(branch),
    }


def _chain_facts(chain: Sequence[Backup], problem: str | None, reach: list[Span]) -> dict[str, Any]:
    database = chain[-1].manifest.database
    return {
        "name": database.name,
        "database_id": database.id,
        "lineage": database.lineage,
        "problem": problem,
        "restorable": reach,
        "backups": [_backup_facts(backup) for backup in chain],
    }


def _backup_facts(backup: Backup) -> dict[str, Any]:
    manifest = backup.manifest
    return {
        "backup": backup.name,
        "kind": manifest.kind,
        "reason": manifest.reason,
        "time": manifest.snapshot.time,
        "completed": manifest.completed,
        "after": manifest.after,
        "etag": manifest.through,
        "whole_from": manifest.whole_from,
        "rows": sum(file.rows for file in manifest.files),
        "file_bytes": manifest.size,
    }


def _backup_text(backup: Backup) -> str:
    manifest = backup.manifest
    etags = f"etag {manifest.through:,}"
    if manifest.kind == "incremental":
        etags = f"etags {manifest.after:,} to {manifest.through:,}"
    return f"{manifest.snapshot.time}  {etags}  {size_text(manifest.size)}  {manifest.kind} ({manifest.reason})"
