"""What is printed of the versions of one document in backups: all of them, one of a moment, or how two differ."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from muniment.backup.moment import RestorePoint
from muniment.backup.plan import RestorePlan
from muniment.backup.point import point_of
from muniment.backup.repository import Backup, backups
from muniment.backup.restore_plan import plan_restore
from muniment.backup.versions import Version, version_at, versions_of
from muniment.backup.when import Zone
from muniment.cli.bar import job
from muniment.cli.output import count_text, emit, size_text, write
from muniment.cli.state import time_text
from muniment.document import Document, from_microseconds
from muniment.errors import DocumentNotFound
from muniment.progress import Progress
from muniment.revision import DOCUMENT
from muniment.storage.base import system_clock

_CASE = "give the whole id; its case does not matter"


def show_versions(dest: Path, id: str, found: Sequence[Backup], *, content: bool, as_json: bool) -> None:
    """Print every version of a document or attachment that the backups hold."""
    versions = versions_of(id, found)
    if not versions:
        raise DocumentNotFound(f"no backup in {dest} has a document or attachment {id!r}", _CASE)
    rows: list[tuple[str, str]] = []
    for version in versions:
        rows.append((time_text(version.modified), _version_text(version)))
        if content and version.body is not None:
            rows += [("", f"  {line}") for line in _lines(version)]
    facts = {"folder": str(dest), "id": versions[-1].id, "versions": [_version_facts(version) for version in versions]}
    emit(f"{versions[-1].id} has {count_text(len(versions), 'version')} in {dest}", rows, facts, as_json=as_json)


def document_in(source: Path, id: str, point: RestorePoint, *, quiet: bool) -> Document:
    """The document as it was at a moment of the backups; raises `DocumentNotFound`."""
    plan = plan_restore(backups(source), str(source), point)
    version = _at(plan, id, quiet=quiet)
    if version is None or version.body is None:
        gone = f"it was deleted at {time_text(version.modified)}" if version else _CASE
        raise DocumentNotFound(
            f"there was no document {id!r} at that moment",
            f"{gone}; `muniment inspect {source} --id {id}` shows all versions of it",
        )
    return Document(version.id, version.etag, from_microseconds(version.modified), version.metadata, version.body)


def show_version_difference(
    dest: Path, id: str, points: tuple[str, str], lineage: str | None, zone: Zone, *, as_json: bool, quiet: bool
) -> None:
    """Print how a document differs between two moments, line by line of its JSON."""
    found, now = backups(dest), from_microseconds(system_clock())
    moments = [point_of(point, found, str(dest), lineage, zone, now) for point in points]
    before, after = (_at(plan_restore(found, str(dest), moment), id, quiet=quiet) for moment in moments)
    if before is None and after is None:
        raise DocumentNotFound(f"{id!r} was there at neither moment", _CASE)
    was, became = f"before: {_state_text(before)}", f"after: {_state_text(after)}"
    lines = list(difflib.unified_diff(_lines(before), _lines(after), was, became, lineterm=""))
    if as_json:
        facts = {"folder": str(dest), "id": id, "before": _told(before), "after": _told(after), "difference": lines}
        emit("", [], facts, as_json=True)
    else:
        write("".join(f"{line}\n" for line in lines or [f"{id} is the same at both moments"]).encode())


def _at(plan: RestorePlan, id: str, *, quiet: bool) -> Version | None:
    progress = Progress()
    with job(progress, quiet=quiet):
        return version_at(plan, id, progress)


def _lines(version: Version | None) -> list[str]:
    """The document on lines of its own, every number and text as it was stored."""
    if version is not None and version.body is not None:
        return msgspec.json.format(version.body, indent=2).decode().split("\n")
    return []


def _state_text(version: Version | None) -> str:
    if version is None:
        return "not there"
    return f"{'deleted' if version.deleted else 'stored'} at {time_text(version.modified)}, etag {version.etag:,}"


def _told(version: Version | None) -> dict[str, Any] | None:
    return None if version is None else _version_facts(version)


def _version_text(version: Version) -> str:
    what = "deleted" if version.deleted else size_text(version.size)
    kind = "" if version.kind == DOCUMENT else "attachment, "
    return f"etag {version.etag:,}  {kind}{what}  in {', '.join(version.backups)}"


def _version_facts(version: Version) -> dict[str, Any]:
    return {
        "kind": "document" if version.kind == DOCUMENT else "attachment",
        "etag": version.etag,
        "time": time_text(version.modified),
        "deleted": version.deleted,
        "bytes": None if version.deleted else version.size,
        "metadata": version.metadata.decode(),
        "document": None if version.body is None else version.body.decode(),
        "lineage": version.lineage,
        "backups": version.backups,
    }
