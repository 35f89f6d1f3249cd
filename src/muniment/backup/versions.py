"""The versions of one document or attachment over all backups and the log, found without reading other documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any, Final, Protocol, TypeAlias

from muniment.backup.destination import AT_ONCE, Remote, place_of
from muniment.backup.manifest import File
from muniment.backup.parquet import ATTACHMENTS, DOCUMENTS, Source, attachments_of, numbers_of, texts_of
from muniment.backup.plan import RestorePlan
from muniment.backup.reader import check_before_ranges, moment_of
from muniment.backup.repository import Backup, backups
from muniment.document import fold, without_time_kept
from muniment.durable import cannot_write
from muniment.errors import DocumentNotFound, MunimentError
from muniment.owner import key_of, split_id
from muniment.progress import Progress
from muniment.revision import ATTACHMENT, DOCUMENT, Revision
from muniment.security.keyring import Keyring
from muniment.storage.base import PART_BYTES, Identity, Lineage, Storage

SPOOLED_BYTES: Final = 8 << 20  # of an attachment that are read into memory; more go into a temporary file
_Match: TypeAlias = Callable[[int, str], bool]  # of a kind, and an id as it is stored
_WITHOUT_DATA: Final = ["etag", "id", "modified", "metadata", "size"]


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
    return _versions(_called(id), available)


def _called(id: str) -> _Match:
    key = fold(id)
    return lambda kind, id: fold(key_of(id) if kind == ATTACHMENT else id) == key


def _belonging(owner: str) -> _Match:
    key = fold(owner)

    def belongs(_: int, id: str) -> bool:
        whose, _name = split_id(id)
        return fold(id).startswith(f"{key}/") if whose is None else fold(whose) == key

    return belongs


def _versions(
    matches: _Match, available: Sequence[Backup], kinds: Sequence[int] = (DOCUMENT, ATTACHMENT)
) -> list[Version]:
    found: dict[tuple[str, int], Version] = {}
    files = [(backup, file) for backup in available for file in backup.manifest.files if file.kind in kinds]
    # Each answer of a store takes its time. Files are faster one after the other.
    remote = any(isinstance(backup.folder, Remote) for backup in available)
    with ThreadPoolExecutor(AT_ONCE if remote else 1, "muniment reader") as pool:
        for versions in pool.map(lambda each: _in_file(each[0], each[1], matches), files):
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

    def kept(held: Sequence[Backup]) -> list[Version]:
        return [version for version in versions_of(id, held) if version.kind == DOCUMENT]

    return _everywhere(storage, keyring, storage.versions(id), kept)


def attachments_in(storage: Storage, owner: str, keyring: Keyring) -> tuple[list[Version], list[str]]:
    """The same of each attachment of a document, or of one that is gone.

    Also of one that was stored by its key alone, where that begins with the document's id and a slash.
    """
    belongs = _belonging(owner)

    def kept(held: Sequence[Backup]) -> list[Version]:
        files = [(backup, file) for backup in held for file in backup.manifest.files if file.kind == ATTACHMENT]
        check_before_ranges(files, Progress())
        return _versions(belongs, held, (ATTACHMENT,))

    with storage.pin() as snapshot:
        logged = storage.attachment_changes(0, snapshot.etag, history=True)
        return _everywhere(storage, keyring, [each for each in logged if belongs(ATTACHMENT, each.id)], kept)


def _everywhere(
    storage: Storage, keyring: Keyring, logged: Iterable[Revision], kept: Callable[[Sequence[Backup]], list[Version]]
) -> tuple[list[Version], list[str]]:
    """What the log has, and what `kept` finds in the backups of each remembered folder; and why one cannot be read."""
    versions = [_of_log(revision, storage.identity) for revision in logged]
    found = {(version.lineage, version.etag): version for version in versions}
    notes = []
    for folder, held, problem in _remembered(storage, keyring):
        try:
            if problem:
                raise problem
            versions = kept(held)
        except MunimentError as error:
            notes.append(f"{folder}: {error.message}")
            continue
        for version in versions:
            known = found.get((version.lineage, version.etag), version)
            names = tuple(str(folder / name) for name in version.backups)
            places = names if known is version else (*known.backups, *names)
            found[version.lineage, version.etag] = replace(known, backups=places)
    return sorted(found.values(), key=lambda version: (version.modified, version.etag)), notes


def attachment_content(
    storage: Storage, key: str, etag: int, lineage: str, keyring: Keyring
) -> tuple[Revision, Iterator[bytes]]:
    """A version of an attachment with its content, out of the log or the first remembered backup that has it undamaged.

    Raises `DocumentNotFound` when none has it, and what is wrong with the last one that should.
    """
    if _made_in(storage.identity, etag).startswith(lineage) and (found := _begun(_logged(storage, key, etag))):
        return found
    problem: MunimentError | None = None
    for _, held, _ in _remembered(storage, keyring):
        for backup in held:
            if not _made_in(backup.manifest.database, etag).startswith(lineage):
                continue
            for file in backup.manifest.files:
                if file.kind == ATTACHMENT and file.first_etag <= etag <= file.last_etag:
                    try:
                        check_before_ranges([(backup, file)], Progress())
                        if found := _begun(_parts(backup, file, key, etag)):
                            return found
                    except MunimentError as error:
                        problem = error
    raise problem or DocumentNotFound(
        f"neither the database nor a backup has the attachment {key!r} of etag {etag}",
        "see which versions there are: GET versions/attachments?owner=ID",
    )


def _begun(parts: Iterator[Revision | bytes]) -> tuple[Revision, Iterator[bytes]] | None:
    """The revision that comes first, and the content after it."""
    if (revision := next(parts, None)) is None:
        return None
    assert isinstance(revision, Revision)
    return revision, (part for part in parts if isinstance(part, bytes))


def _logged(storage: Storage, key: str, etag: int) -> Iterator[Revision | bytes]:
    """The same as `_parts` of the log.

    A purge that began before this may take it while it is read, so all of it is read before any is given.
    """
    with storage.pin(keep=max(etag - 1, 0)) as snapshot, SpooledTemporaryFile(SPOOLED_BYTES) as whole:
        for revision in storage.attachment_changes(etag - 1, min(etag, snapshot.etag), history=True):
            if revision.body is None or fold(key_of(revision.id)) != fold(key):
                return
            try:
                for part in storage.content(revision):
                    whole.write(part)
            except OSError as error:
                raise cannot_write(error) from error
            if whole.tell() == revision.size:
                whole.seek(0)
                yield revision
                yield from iter(partial(whole.read, PART_BYTES), b"")


def _parts(backup: Backup, file: File, key: str, etag: int) -> Iterator[Revision | bytes]:
    """The attachment with this key and etag, and then its content; nothing when the file does not have it."""
    with closing(Source.of(backup, file)) as source:
        groups = [*sorted(source.groups()), (etag, -1)]
        wanted = [group for (first, group), (after, _) in pairwise(groups) if first <= etag <= after]
        for revision, parts in attachments_of(source.read(group) for group in wanted):
            if revision.etag == etag and fold(key_of(revision.id)) == fold(key):
                if revision.body is not None:
                    yield revision
                    yield from parts
                return


def _remembered(storage: Storage, keyring: Keyring) -> Iterator[tuple[Path, list[Backup], MunimentError | None]]:
    """The folders that a database was backed up to with the backups of it there, or why they cannot be read."""
    for place in storage.backup_facts().places:
        folder = Path(place.folder)
        try:
            folder = place_of(place.folder)
            held = backups(folder, keyring)
        except MunimentError as error:
            yield folder, [], error
            continue
        yield folder, [each for each in held if each.manifest.database.id == storage.identity.database_id], None


def _of_log(revision: Revision, identity: Identity) -> Version:
    metadata, _ = without_time_kept(revision.metadata, revision.modified)
    lineage, deleted = _made_in(identity, revision.etag), revision.body is None
    document = revision.kind == DOCUMENT
    id, body = (revision.id, revision.body) if document else (key_of(revision.id), None)
    told = (revision.kind, id, revision.etag, lineage, revision.modified, metadata, deleted)
    return Version(*told, revision.size, body, (), logged=True)


def version_at(plan: RestorePlan, id: str, progress: Progress | None = None) -> Version | None:
    """The version of this document that was the newest at the planned moment, a deletion too; None when there is none.

    All files of the plan are compared with their SHA-256 first, but those in a store, of which no more is proven than
    is read; the fingerprint is not proven.
    """
    progress = progress or Progress()
    progress.stage = "checking files"
    check_before_ranges(plan.files, progress)
    moment = moment_of(plan)
    versions = _versions(_called(id), plan.chain, (DOCUMENT,))
    before = [version for version in versions if version.etag <= moment.etag]
    progress.finish()
    return max(before, key=lambda version: version.etag, default=None)


def _in_file(backup: Backup, file: File, matches: _Match) -> list[Version]:
    schema = DOCUMENTS if file.kind == DOCUMENT else ATTACHMENTS
    with closing(Source.of(backup, file)) as source:
        return _in_source(source, schema, matches, backup, file.kind)


def _in_source(source: Source, schema: Any, matches: _Match, backup: Backup, kind: int) -> list[Version]:
    versions = []
    for _, group in source.groups():
        ids = texts_of(source.read(group, ["id"]), "id")
        rows = [row for row, id in enumerate(ids) if matches(kind, id)]
        if rows:
            table = source.read(group, _WITHOUT_DATA if schema is ATTACHMENTS else None)
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
