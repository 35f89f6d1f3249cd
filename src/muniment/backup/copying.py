"""Bringing backups to another place as they are, and healing there what is damaged and whole here.

Every file is compared with its manifest as it is read, so that nothing damaged is ever brought over. The manifest comes
last, so that an interrupted copy has only whole backups; one that is repeated goes on with the files that are missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from muniment.backup import manifest as manifests
from muniment.backup.destination import (
    Remote,
    blocks_of,
    place_of,
    put_new,
    sizes_in,
    spelled,
    write_stream,
)
from muniment.backup.lease import leased
from muniment.backup.manifest import File
from muniment.backup.reader import check_file
from muniment.backup.repository import (
    DATABASE_DOCUMENT,
    SIGNATURE,
    UNFINISHED,
    Backup,
    Backups,
    backups,
    check_destination,
    claim,
    keys_in,
    publish_manifest,
)
from muniment.durable import make_folders, mapped_errors
from muniment.errors import (
    BackupNotFound,
    DamagedBackup,
    ForeignBackup,
    InvalidInput,
    MunimentError,
    TargetExists,
)
from muniment.progress import Progress
from muniment.security.keyring import NO_KEYS, Keyring

FILES_AT_ONCE: Final = 2
NAMED_FAULTS: Final = 5
_HINT: Final = "copy from a place where it is whole, or restore from another backup"


@dataclass(frozen=True, slots=True)
class Copied:
    """What became of the backups: which were brought over, which were there, and which files there were healed.

    `bytes` were sent, in `seconds`. `notes` say what in the source cannot be used.
    """

    copied: tuple[Path, ...]
    present: tuple[Path, ...]
    repaired: tuple[Path, ...]
    bytes: int
    seconds: float
    notes: tuple[str, ...] = ()


def copy_backups(
    source: str | Path,
    destination: str | Path,
    *,
    repair: bool = False,
    keyring: Keyring = NO_KEYS,
    progress: Progress | None = None,
) -> Copied:
    """Bring the backups of one place, or one of them and those that it continues, to another one.

    Those that are there are left alone; with `repair` they are read, and each file that is not what its manifest says
    is written anew from the source, as is a manifest that cannot be read. That is the one thing that overwrites an
    object, and only what is proven damaged. Records of verifications stay where they were made.

    Everything that can be done is done. Then raises `DamagedBackup` when something in the source is damaged, or
    something in the destination is and was not repaired, and `TargetExists` for another backup of the same name.
    """
    progress = progress or Progress()
    progress.stage = "planning"
    source, destination = place_of(source), place_of(destination)
    found = backups(source, keyring)
    if not found:
        raise BackupNotFound(f"there is no complete backup in {source}", "give the place that backups were written to")
    if spelled(found.place) == spelled(destination):
        raise InvalidInput(f"{destination} is where the backups are", "give another place")
    check_destination(destination)
    there = backups(destination) if destination.exists() else Backups(destination)
    _check_database(found, there, destination)
    progress.total_bytes = sum(backup.manifest.size for backup in found)
    progress.stage = "copying"
    copier = _Copier(destination, there, progress, repair=repair)
    with leased("copy", found):
        for backup in found:
            copier.bring(backup)
    progress.finish()
    copier.check(found)
    return Copied(
        tuple(copier.copied), tuple(copier.present), tuple(copier.repaired), copier.sent, progress.seconds, found.notes
    )


def _check_database(found: Backups, there: Backups, destination: Path) -> None:
    databases = {backup.manifest.database.id for backup in (*found, *there)}
    if len(databases) > 1:
        raise ForeignBackup(
            f"{found.place} and {destination} hold backups of different databases", "copy to a place of its own"
        )
    if not there:
        claim(destination, databases.pop())


@dataclass(slots=True)
class _Copier:
    """Brings backups over, one after the other, the files of each side by side."""

    destination: Path
    there: Backups
    progress: Progress
    repair: bool = field(kw_only=True)
    copied: list[Path] = field(default_factory=list)
    present: list[Path] = field(default_factory=list)
    repaired: list[Path] = field(default_factory=list)
    faults: list[MunimentError] = field(default_factory=list)
    sent: int = 0

    def bring(self, backup: Backup) -> None:
        """Copy or heal one backup; what is wrong with it is kept for the end, but for a destination that is gone."""
        twin = next((each for each in self.there if each.sha256 == backup.sha256), None)
        target = twin.folder if twin else self.destination / backup.name
        bad = next((each for each in self.there.unusable if each.folder.name == backup.name), None)
        try:
            if twin is None and bad is None:
                self._copy(backup, target)
                self.copied.append(target)
            elif self.repair:
                if self._heal(backup, target):
                    self.present.append(target)
            else:
                if bad:
                    raise DamagedBackup(str(bad), "--repair writes it anew")
                self._compare_sizes(backup, target)
                self.present.append(target)
        except (DamagedBackup, TargetExists) as error:
            self.faults.append(error)

    def check(self, found: Sequence[Backup]) -> None:
        """Raises what was wrong, when all else has been done."""
        if not self.faults:
            return
        told = list(dict.fromkeys(fault.message for fault in self.faults))
        more = f"; and {len(told) - NAMED_FAULTS} more" if len(told) > NAMED_FAULTS else ""
        done = len(self.copied) + len(self.present)
        kind = type(self.faults[0]) if len({type(fault) for fault in self.faults}) == 1 else DamagedBackup
        raise kind(
            "; ".join(told[:NAMED_FAULTS]) + more, f"{self.faults[0].hint}; {done} of {len(found)} backups are there"
        )

    def _copy(self, backup: Backup, target: Path) -> None:
        manifest = _manifest_of(backup)
        settings = backup.stored_database_document()
        with mapped_errors(target):
            made = [] if isinstance(target, Remote) else make_folders(target)
            if any(each.folder == target for each in self.there):
                raise TargetExists(f"{target} is another backup of the same name", "copy to another place")
            self._put(target / DATABASE_DOCUMENT, settings)
            self._each(backup, lambda file: self._bring_file(backup, file, target / file.name))
            for path in _beside(backup):
                self._put(target / path.name, path.read_bytes())
            _forget_torn(target / UNFINISHED, manifest)
            publish_manifest(target, manifest, made)
        self.sent += len(manifest) + len(settings)

    def _each(self, backup: Backup, work: Callable[[File], None]) -> None:
        with ThreadPoolExecutor(FILES_AT_ONCE, "muniment copier") as pool:
            tasks = [pool.submit(work, file) for file in backup.manifest.files]
            try:
                for task in tasks:
                    task.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _put(self, path: Path, content: bytes) -> None:
        if _content(path) != content:
            _forget_torn(path, content)
        try:
            put_new(path, content)
        except FileExistsError:
            if path.read_bytes() != content:
                raise TargetExists(f"{path} is there, and is something else", "copy to another place") from None

    def _bring_file(self, backup: Backup, file: File, target: Path) -> None:
        if target.is_file():  # of a copy that was interrupted
            with suppress(DamagedBackup):
                check_file(target, file, self.progress)
                self.progress.count(bytes=file.size)
                return
            target.unlink()
        self._send(backup.path(file.name), file, target, overwrite=False)

    def _send(self, path: Path, file: File, target: Path, *, overwrite: bool) -> None:
        if not path.is_file():
            raise DamagedBackup(f"{path} is missing", _HINT)
        write_stream(target, self._proven(path, file), overwrite=overwrite)
        self.sent += file.size

    def _proven(self, path: Path, file: File) -> Iterator[bytes]:
        """The content of a file; raises `DamagedBackup` before its end if it is not what the manifest says."""
        sha256, size = hashlib.sha256(), 0
        for block in blocks_of(path):
            sha256.update(block)
            size += len(block)
            self.progress.advance(bytes=len(block), written=len(block))
            yield block
        if size != file.size or sha256.hexdigest() != file.sha256:
            raise DamagedBackup(f"{path} was changed: its SHA-256 is not the manifest's", _HINT)

    def _compare_sizes(self, backup: Backup, target: Path) -> None:
        there = sizes_in(target) if isinstance(target, Remote) else {}
        for file in backup.manifest.files:
            path = target / file.name
            size = there.get(file.name, -1) if isinstance(target, Remote) else _size(path)
            if size != file.size:
                raise DamagedBackup(f"{path} is damaged or missing", "--repair writes it anew")
            self.progress.count(bytes=file.size)

    def _heal(self, backup: Backup, target: Path) -> bool:
        """Heal all that can be, whatever else of the backup is damaged in both places; returns whether all is whole."""
        before = len(self.faults)
        manifest = _manifest_of(backup)
        small = {manifests.NAME: manifest}
        with mapped_errors(target):
            self._each(backup, lambda file: self._heal_file(backup, file, target / file.name))
            for path in _beside(backup):
                if path.name == SIGNATURE or not keys_in(target)[-1].is_file():
                    small[path.name] = path.read_bytes()
            try:
                small[DATABASE_DOCUMENT] = backup.stored_database_document()
            except DamagedBackup as error:
                if manifests.digest(_content(target / DATABASE_DOCUMENT)) != backup.manifest.database_document:
                    self.faults.append(error)
            for name in sorted(small, key=lambda name: name == manifests.NAME):  # the manifest last
                self._heal_small(target / name, small[name])
        return len(self.faults) == before

    def _heal_file(self, backup: Backup, file: File, target: Path) -> None:
        try:
            check_file(target, file, self.progress)
        except DamagedBackup:
            try:
                self._send(backup.path(file.name), file, target, overwrite=True)
            except DamagedBackup as error:
                self.faults.append(error)
            else:
                self.repaired.append(target)
        else:
            self.progress.count(bytes=file.size)

    def _heal_small(self, path: Path, content: bytes) -> None:
        if _content(path) != content:
            write_stream(path, [content], overwrite=True)
            self.repaired.append(path)


def _forget_torn(path: Path, content: bytes) -> None:
    """Remove the beginning of this content, which a copy to a folder has left that was killed while it wrote.

    An object is there as a whole or not at all.
    """
    if not isinstance(path, Remote) and path.is_file() and content.startswith(path.read_bytes()):
        path.unlink()


def _beside(backup: Backup) -> Iterable[Path]:
    """The list of recipients and the signature, where there is one: no manifest has their digest."""
    if backup.manifest.encryption:
        yield keys_in(backup.folder)[-1]
    if (backup.folder / SIGNATURE).is_file():
        yield backup.folder / SIGNATURE


def _manifest_of(backup: Backup) -> bytes:
    text = (backup.folder / manifests.NAME).read_bytes()
    if manifests.digest(text) != backup.sha256:
        raise DamagedBackup(f"the manifest in {backup.folder} was changed meanwhile", "see who changed it")
    return text


def _content(path: Path) -> bytes:
    """What is in a file that may be missing."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
