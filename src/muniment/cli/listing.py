"""What `muniment inspect` prints of a folder: its chains, the tree of histories, and what can be restored of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from muniment.backup.lineages import Branch, Tree, spans_of
from muniment.backup.listing import ListedBackup, Listing, trees_of
from muniment.backup.repository import Backups
from muniment.cli.options import Output
from muniment.cli.output import count_text, size_text
from muniment.cli.report import Line, Row
from muniment.cli.state import time_text


def show_backups(dest: Path, found: Backups, out: Output) -> None:
    """Print what is in the folder, good and bad."""
    listing = Listing.of(str(dest), found)
    size = size_text(sum(backup.manifest.size for backup in found))
    rows = [Row(msgspec.to_builtins(listing), _lines(listing, found))]
    out.emit(f"{dest} has {count_text(len(found), 'backup')} with {size}", rows)


def _lines(listing: Listing, found: Backups) -> Iterator[Line]:
    for number, chain in enumerate(listing.chains, 1):
        yield f"chain {number} of {chain.name}", chain.problem or ""
        for backup in chain.backups:
            yield f"  {backup.backup}", _backup_text(backup)
    for tree in trees_of(found):
        yield from _tree_lines(tree)
    for bad in listing.unusable:
        yield "not usable", f"{Path(bad.folder).name}: {bad.problem}"
    for folder in listing.unfinished:
        yield "unfinished", f"{Path(folder).name}; it may be deleted if no backup is running"


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


def _backup_text(backup: ListedBackup) -> str:
    etags = f"etag {backup.etag:,}"
    if backup.kind == "incremental":
        etags = f"etags {backup.after:,} to {backup.etag:,}"
    secret = "  encrypted" if backup.encrypted else ""
    return f"{backup.time}  {etags}  {size_text(backup.file_bytes)}  {backup.kind} ({backup.reason}){secret}"
