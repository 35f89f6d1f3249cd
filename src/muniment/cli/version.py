"""What is printed of the versions of one document in backups: all of them, one of a moment, or how two differ."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from muniment.backup.moment import RestorePoint, point_of
from muniment.backup.repository import Backup, backups
from muniment.backup.versions import Version, versions_of
from muniment.cli.options import JobOutput, Output
from muniment.cli.output import count_text, emit_json, size_text, write
from muniment.cli.point import PointOptions
from muniment.cli.report import Row, facts, listed, members
from muniment.cli.state import time_text
from muniment.document import Document, from_microseconds
from muniment.errors import DocumentNotFound
from muniment.maintenance import MaintenanceActions
from muniment.progress import Progress
from muniment.revision import DOCUMENT
from muniment.security.keyring import Keyring
from muniment.storage.base import system_clock

_CASE = "give the whole id; its case does not matter"


def show_versions(dest: Path, id: str, found: Sequence[Backup], out: Output, *, content: bool) -> None:
    """Print every version of a document or attachment that the backups hold."""
    versions = versions_of(id, found)
    if not versions:
        raise DocumentNotFound(f"no backup in {dest} has a document or attachment {id!r}", _CASE)
    rows = [
        facts(folder=str(dest), id=versions[-1].id),
        listed("versions", [_version_row(version, content=content) for version in versions]),
    ]
    out.emit(f"{versions[-1].id} has {count_text(len(versions), 'version')} in {dest}", rows)


def document_in(source: Path, id: str, point: RestorePoint, keyring: Keyring, out: JobOutput) -> Document:
    """The document as it was at a moment of the backups; raises `DocumentNotFound`."""
    version = _at(source, id, point, keyring, out)
    if version is None or version.body is None:
        gone = f"it was deleted at {time_text(version.modified)}" if version else _CASE
        raise DocumentNotFound(
            f"there was no document {id!r} at that moment",
            f"{gone}; `muniment inspect {source} --id {id}` shows all versions of it",
        )
    return Document(version.id, version.etag, from_microseconds(version.modified), version.metadata, version.body)


def show_version_difference(
    dest: Path, id: str, points: tuple[str, str], moment: PointOptions, keyring: Keyring, out: JobOutput
) -> None:
    """Print how a document differs between two moments, line by line of its JSON."""
    found, now = backups(dest, keyring), from_microseconds(system_clock())
    moments = [point_of(point, found, str(dest), moment.lineage, moment.zone, now) for point in points]
    before, after = (_at(dest, id, each, keyring, out) for each in moments)
    if before is None and after is None:
        raise DocumentNotFound(f"{id!r} was there at neither moment", _CASE)
    was, became = f"before: {_state_text(before)}", f"after: {_state_text(after)}"
    lines = list(difflib.unified_diff(_lines(before), _lines(after), was, became, lineterm=""))
    if out.json:
        told = [version and members([_version_row(version)]) for version in (before, after)]
        emit_json({"folder": str(dest), "id": id, "before": told[0], "after": told[1], "difference": lines})
    else:
        write("".join(f"{line}\n" for line in lines or [f"{id} is the same at both moments"]).encode())


def _at(source: Path, id: str, point: RestorePoint, keyring: Keyring, out: JobOutput) -> Version | None:
    progress = Progress()
    with out.job(progress):
        return MaintenanceActions.version(source, id, point=point, keyring=keyring, progress=progress)


def _lines(version: Version | None) -> list[str]:
    """The document on lines of its own, every number and text as it was stored."""
    if version is not None and version.body is not None:
        return msgspec.json.format(version.body, indent=2).decode().split("\n")
    return []


def _state_text(version: Version | None) -> str:
    if version is None:
        return "not there"
    return f"{'deleted' if version.deleted else 'stored'} at {time_text(version.modified)}, etag {version.etag:,}"


def _version_row(version: Version, *, content: bool = False) -> Row:
    time, kind = time_text(version.modified), "document" if version.kind == DOCUMENT else "attachment"
    what = "deleted" if version.deleted else size_text(version.size)
    what = what if version.kind == DOCUMENT else f"{kind}, {what}"
    told = {
        "kind": kind,
        "etag": version.etag,
        "time": time,
        "deleted": version.deleted,
        "bytes": None if version.deleted else version.size,
        "metadata": version.metadata.decode(),
        "document": None if version.body is None else version.body.decode(),
        "lineage": version.lineage,
        "backups": version.backups,
    }
    lines = [(time, f"etag {version.etag:,}  {what}  in {', '.join(version.backups)}")]
    return Row(told, [*lines, *(("", f"  {line}") for line in (_lines(version) if content else ()))])
