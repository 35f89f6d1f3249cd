"""The versions of one document or attachment over all backups and the log, found without reading other documents."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from muniment.backup.destination import AT_ONCE, Remote, place_of
from muniment.backup.manifest import File
from muniment.backup.parquet import ATTACHMENTS, DOCUMENTS, Source, numbers_of, texts_of
from muniment.backup.plan import RestorePlan
from muniment.backup.reader import check_before_ranges, moment_of
from muniment.backup.repository import Backup, backups
from muniment.document import fold, without_time_kept
from muniment.errors import MunimentError
from muniment.owner import key_of
from muniment.progress import Progress
from muniment.revision import ATTACHMENT, DOCUMENT, Revision
from muniment.security.keyring import Keyring
from muniment.storage.base import Identity, Lineage, Storage


@dataclass(frozen=True, slots=True)
class Version:
    """One version: `body` is None for a deletion and for attachments; `backups` are the backups that hold it.

    `modified` is in microseconds since 1970 (UTC), `size` in bytes. `logged` says whether the database has it itself.
    """

    kind: int
    id: str
    etag: int
    lineage: str
    modified: int
    metadata: bytes
    deleted: bool
    size: int
    body: bytes | None
    backups: tuple[str, ...]
    logged: bool = False


def versions_of(id: str, available: Sequence[Backup], progress: Progress | None = None) -> list[Version]:
    """Every version of this id (in any case) that the backups hold, oldest first; of documents and of attachments.

    All files are compared with their SHA-256 first, for a damaged footer could end the process; of one in a store no
    more is read and proven than is needed. Only the column of ids is read of a row group that does not have it.
    """
    check_before_ranges(
        [(backup, file) for backup in available for file in backup.manifest.files], progress or Progress()
    )
    return _versions(id, available)


def _versions(id: str, available: Sequence[Backup]) -> list[Version]:
    found: dict[tuple[str, int], Version] = {}
    files = [(backup, file) for backup in available for file in backup.manifest.files]
    # Each answer of a store takes its time. Files are faster one after the other.
    remote = any(isinstance(backup.folder, Remote) for backup in available)
    with ThreadPoolExecutor(AT_ONCE if remote else 1, "muniment reader") as pool:
        for versions in pool.map(lambda each: _in_file(each[0], each[1], fold(id)), files):
            for version in versions:
                key = (version.lineage, version.etag)
                known = found.get(key)
                names = (*known.backups, *version.backups) if known else version.backups
                found[key] = replace(version, backups=names)
    return sorted(found.values(), key=lambda version: (version.modified, version.etag))


def versions_in(storage: Storage, id: str, keyring: Keyring) -> tuple[list[Version], list[str]]:
    """Every version of a document that the database has or the backups of it that it remembers hold, oldest first.

    `backups` are whole paths here. The notes say what could not be read: a folder that is not there any more, say.
    """
    identity, notes = storage.identity, []
    found: dict[tuple[str, int], Version] = {}
    for revision in storage.versions(id):
        version = _of_log(revision, identity)
        found[version.lineage, version.etag] = version
    for place in storage.backup_facts().places:
        folder = Path(place.folder)
        try:
            folder = place_of(place.folder)
            held = [each for each in backups(folder, keyring) if each.manifest.database.id == identity.database_id]
            versions = versions_of(id, held)
        except MunimentError as error:
            notes.append(f"{folder}: {error.message}")
            continue
        for version in versions:
            if version.kind == DOCUMENT:
                known = found.get((version.lineage, version.etag), version)
                names = tuple(str(folder / name) for name in version.backups)
                places = names if known is version else (*known.backups, *names)
                found[version.lineage, version.etag] = replace(known, backups=places)
    return sorted(found.values(), key=lambda version: (version.modified, version.etag)), notes


def _of_log(revision: Revision, identity: Identity) -> Version:
    metadata, _ = without_time_kept(revision.metadata, revision.modified)
    lineage, deleted = _made_in(identity, revision.etag), revision.body is None
    told = (revision.kind, revision.id, revision.etag, lineage, revision.modified, metadata, deleted)
    return Version(*told, revision.size, revision.body, (), logged=True)


def version_at(plan: RestorePlan, id: str, progress: Progress | None = None) -> Version | None:
    """The version of this document that was the newest at the planned moment, a deletion too; None when there is none.

    All files of the plan are compared with their SHA-256 first, but those in a store, of which no more is proven than
    is read; the fingerprint is not proven.
    """
    progress = progress or Progress()
    progress.stage = "checking files"
    check_before_ranges(plan.files, progress)
    moment = moment_of(plan)
    versions = [version for version in _versions(id, plan.chain) if version.kind == DOCUMENT]
    before = [version for version in versions if version.etag <= moment.etag]
    progress.finish()
    return max(before, key=lambda version: version.etag, default=None)


def _in_file(backup: Backup, file: File, key: str) -> list[Version]:
    schema = DOCUMENTS if file.kind == DOCUMENT else ATTACHMENTS
    with closing(Source.of(backup, file)) as source:
        return _in_source(source, schema, key, backup)


def _in_source(source: Source, schema: Any, key: str, backup: Backup) -> list[Version]:
    versions = []
    for _, group in source.groups():
        ids = texts_of(source.read(group, ["id"]), "id")
        rows = [row for row, id in enumerate(ids) if fold(key_of(id) if schema is ATTACHMENTS else id) == key]
        if rows:
            table = source.read(group)
            seen: set[int] = set()
            for row in rows:
                version = _version(table, row, schema, backup)
                if version.etag not in seen:  # an attachment has a row for each part
                    seen.add(version.etag)
                    versions.append(version)
    return versions


def _version(table: Any, row: int, schema: Any, backup: Backup) -> Version:
    part = table.slice(row, 1)
    values = {name: part.column(name)[0].as_py() for name in ("id", "metadata")}
    (etag,), (modified,) = numbers_of(part, "etag"), numbers_of(part, "modified")
    if schema is DOCUMENTS:
        text = part.column("document")[0].as_py()
        kind, deleted, body = DOCUMENT, text is None, None if text is None else text.encode()
        size = len(body or b"")
    else:
        size = part.column("size")[0].as_py()
        kind, deleted, body = ATTACHMENT, size is None, None
        values["id"] = key_of(values["id"])
    lineage = _made_in(backup.manifest.database, etag)
    metadata, _ = without_time_kept(values["metadata"].encode(), modified)
    return Version(kind, values["id"], etag, lineage, modified, metadata, deleted, size or 0, body, (backup.name,))


class Named(Protocol):
    """What has a history: a database, or a backup of it."""

    @property
    def lineage(self) -> str: ...

    @property
    def lineages(self) -> Sequence[Lineage]: ...


def _made_in(identity: Named, etag: int) -> str:
    """The lineage that made this etag, which may be one that the present one came from."""
    lineages = [lineage for lineage in identity.lineages if etag > lineage.etag]
    return lineages[-1].lineage if lineages else identity.lineage
