"""What `muniment inspect` prints of a folder: its chains, the tree of histories, and what can be restored of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from muniment.backup.lineages import Branch, Tree, restorable, spans_of
from muniment.backup.plan import chain_of, ends_of
from muniment.backup.repository import Backup, Backups
from muniment.cli.options import Output
from muniment.cli.output import count_text, size_text
from muniment.cli.report import Line, Row, facts, listed, row
from muniment.cli.state import time_text
from muniment.errors import DamagedBackup


def show_backups(dest: Path, found: Backups, out: Output) -> None:
    """Print what is in the folder, good and bad."""
    trees = _trees(found)
    branches = [branch for tree in trees for branch in tree.branches]
    unusable = [
        row("not usable", f"{bad.folder.name}: {bad.error.message}", folder=str(bad.folder), problem=bad.error.message)
        for bad in found.unusable
    ]
    unfinished = [f"{path.name}; it may be deleted if no backup is running" for path in found.unfinished]
    rows = [
        facts(folder=str(dest)),
        listed("chains", [_chain_row(number, end, found) for number, end in enumerate(ends_of(found), 1)]),
        Row({"lineages": list(map(_branch_facts, branches))}, [line for tree in trees for line in _tree_lines(tree)]),
        listed("unusable", unusable),
        Row({"unfinished": list(map(str, found.unfinished))}, [("unfinished", text) for text in unfinished]),
    ]
    size = size_text(sum(backup.manifest.size for backup in found))
    out.emit(f"{dest} has {count_text(len(found), 'backup')} with {size}", rows)


def _chain_row(number: int, end: Backup, found: Backups) -> Row:
    """A chain; of one with a gap the end alone, and what is missing."""
    database, problem = end.manifest.database, None
    try:
        chain: Sequence[Backup] = chain_of(end, found)
    except DamagedBackup as error:
        chain, problem = (end,), error.message
    backups = listed("backups", [_backup_row(backup) for backup in chain])
    told = {
        "name": database.name,
        "database_id": database.id,
        "lineage": database.lineage,
        "problem": problem,
        "restorable": [] if problem else restorable(chain, database.lineage),
    }
    return Row({**told, **backups.facts}, [(f"chain {number} of {database.name}", problem or ""), *backups.lines])


def _trees(found: Sequence[Backup]) -> list[Tree]:
    """One for each database."""
    databases: dict[str, list[Backup]] = {}
    for backup in found:
        databases.setdefault(backup.manifest.database.id, []).append(backup)
    return [Tree(backups) for backups in databases.values()]


def _tree_lines(tree: Tree) -> Iterator[Line]:
    """The histories, each below the one that it left, and when each can be restored."""

    def below(parent: Branch | None, depth: int) -> Iterator[Line]:
        for branch in tree.branches:
            if tree.parent(branch) is parent:
                edge = f"{'   ' * (depth - 1)}└─ " if depth else ""
                yield f"{edge}lineage {tree.short(branch.id)}", _origin_text(tree, branch)
                for span in spans_of(branch):
                    yield f"{'   ' * depth}  restorable", str(span)
                yield from below(branch, depth + 1)

    yield from below(None, 0)


def _origin_text(tree: Tree, branch: Branch) -> str:
    lineage = branch.lineage
    if lineage.parent is not None:
        part = "a part of " if lineage.part else ""
        parent = tree.parent(branch)
        origin = f"began {lineage.began} with {part}{tree.short(parent.id) if parent else lineage.parent} at etag"
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


def _backup_row(backup: Backup) -> Row:
    manifest = backup.manifest
    etags = f"etag {manifest.through:,}"
    secret = "" if manifest.encryption is None else "  encrypted"
    if manifest.kind == "incremental":
        etags = f"etags {manifest.after:,} to {manifest.through:,}"
    return row(
        f"  {backup.name}",
        f"{manifest.snapshot.time}  {etags}  {size_text(manifest.size)}  {manifest.kind} ({manifest.reason}){secret}",
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
