"""The results of rehearsals and verifications, as files next to the backups that never change."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, get_args

import msgspec

from muniment.backup.beside import read_beside, write_beside
from muniment.backup.manifest import Hex, Time
from muniment.backup.reader import Moment
from muniment.backup.repository import Backup
from muniment.document import from_microseconds, rfc3339
from muniment.errors import StorageFailure
from muniment.fingerprint import Fingerprint

RecordKind = Literal["rehearsal", "verification"]
KEPT: Final = 30  # of each kind, for people


class End(msgspec.Struct, frozen=True, kw_only=True):
    """The newest backup of one lineage that was read, and the time of its state."""

    lineage: str
    backup: str
    time: Time
    manifest: Hex


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """How a rehearsal or a verification went; it stands beside the backups in a file of its own, which never changes.

    `backup`, `etag` and `time` name the newest moment that was read, `manifests` are the SHA-256 of the manifests of
    all backups that were, `completed` and `seconds` say when it ended and how long it took, and `problem` what was
    wrong, None when nothing was; then `whole` are those of the `manifests` whose backups restore all the same. `ends`
    are the newest backups of all lineages; older records have neither.
    """

    kind: RecordKind
    backup: str
    etag: int
    time: Time
    manifests: tuple[Hex, ...]
    completed: Time
    seconds: float
    fingerprint: dict[str, Any] | None = None
    problem: str | None = None
    ends: tuple[End, ...] = ()
    whole: tuple[Hex, ...] = ()


def write_record(place: Path, record: Record) -> Path:
    """Write a record into this folder of backups, as a new object; when this returns, it is on disk at this path."""
    return write_beside(place, record.kind, record, datetime.fromisoformat(record.completed))


def write_down(
    kind: RecordKind,
    read: Sequence[Backup],
    newest: Backup,
    clock: Callable[[], int],
    seconds: float,
    *,
    proven: tuple[Moment, Fingerprint] | None = None,
    problem: str | None = None,
    ends: tuple[End, ...] = (),
    whole: Iterable[Backup] = (),
) -> tuple[Path | None, str | None]:
    """Write down how it went beside the backups, if anything can be written there: the path, or why there is none.

    `newest` is the last of those that were `read`; of it the record tells, where no moment was `proven`. Of encrypted
    backups it names neither collections nor ids.
    """
    snapshot = newest.manifest.snapshot
    moment, fingerprint = proven or (None, None)
    encrypted = any(backup.manifest.encryption for backup in read)
    record = Record(
        kind=kind,
        backup=newest.name,
        etag=moment.etag if moment else snapshot.etag,
        time=rfc3339(from_microseconds(moment.modified)) if moment else snapshot.time,
        manifests=tuple(backup.sha256 for backup in read),
        completed=rfc3339(from_microseconds(clock())),
        seconds=round(seconds, 3),
        fingerprint=fingerprint.as_json() if fingerprint and not encrypted else None,
        problem="damage was found in encrypted backups; verify them again" if problem and encrypted else problem,
        ends=ends,
        whole=tuple(backup.sha256 for backup in whole),
    )
    try:
        return write_record(newest.folder.parent, record), None
    except StorageFailure as error:
        return None, error.message


def records(destination: Path) -> list[Record]:
    """The records of rehearsals and verifications beside these backups, the oldest first.

    A file that is not whole, since it was being written when the power failed, proves nothing and is passed over.
    """
    return [record for _, record in records_with_paths(destination)]


def records_with_paths(destination: Path) -> list[tuple[Path, Record]]:
    """The same, with where each is."""
    found = [each for kind in get_args(RecordKind) for each in read_beside(destination, kind, Record)]
    return sorted(found, key=lambda each: each[1].completed)


def superseded(
    found: Sequence[tuple[Path, Record]], known: Collection[str], needed: Collection[Record], last: str
) -> list[Path]:
    """Those of these records, the oldest first, that nothing relies on any more and that are not of the last ones.

    A record is relied on while it is the last one of its kind that read some backup that is there (`known`, by the
    SHA-256 of its manifest), while it is `needed`, and while it saw a state later than the `last` that is there.
    """
    kept = {path for kind in get_args(RecordKind) for path, _ in [e for e in found if e[1].kind == kind][-KEPT:]}
    newest = {(record.kind, sha256): path for path, record in found for sha256 in record.manifests if sha256 in known}
    kept |= {*newest.values()}
    kept |= {path for path, record in found if record.time > last or record in needed}
    return [path for path, _ in found if path not in kept]
