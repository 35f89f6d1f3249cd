"""A folder of backups, or a prefix of a store with them: what is in it, and the only module that writes one.

Nothing is ever overwritten or appended to. A backup is a folder, and it exists from the moment its manifest does, which
is written last, under another name, synced, and then renamed.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar, overload

import msgspec

from muniment.backup import manifest as manifests
from muniment.backup import wrapped_keys
from muniment.backup.destination import AT_ONCE, Remote, check_folder_name, place_of, put_new, sizes_in
from muniment.backup.manifest import Kind, Manifest
from muniment.backup.wrapped_keys import WrappedKeys
from muniment.durable import (
    LOST_AND_FOUND,
    make_folders,
    mapped_errors,
    remove_folders,
    sync_folder,
    sync_folders,
    write_new,
)
from muniment.errors import (
    BackupNotFound,
    BadSignature,
    DamagedBackup,
    ForeignBackup,
    InvalidInput,
    MunimentError,
    StorageFailure,
    WrongKey,
)
from muniment.security.data_key import DataKey
from muniment.security.keyring import NO_KEYS, Keyring
from muniment.security.signature import Signature, SigningKey
from muniment.storage import engines

T = TypeVar("T")
UNFINISHED: Final = f"{manifests.NAME}.unfinished"  # the manifest, before it has its name
DATABASE_DOCUMENT: Final = "Database.Document"
REPOSITORY: Final = "repository.json"
SIGNATURE: Final = f"{manifests.NAME}.signature"
_HINT: Final = "restore from another backup, or another copy of this one"
_decode_signature: Final = msgspec.json.Decoder(Signature).decode  # as in `manifest`
_later_keys = re.compile(r"keys-([2-9]|[1-9]\d{1,8})\.json")
_name = re.compile(r"(\d{4}-\d\d-\d\dT\d{6}\.\d{3}Z)\.(full|incremental)")


@dataclass(frozen=True, slots=True)
class Backup:
    """A complete backup: where it is, its manifest, and the SHA-256 of that.

    `aliases` are the names of links to it in the same folder (`latest`). `notes` are what whoever took it should know.
    `key` is the data key of one that is encrypted and was opened; `locked` says why one was not.

    `copies` are other places of it (`with_copies`), `chosen` the files that are read from one of those, since what is
    here is not whole, and `elsewhere` has a sentence for each of them.
    """

    folder: Path
    manifest: Manifest
    sha256: str
    aliases: tuple[str, ...] = field(default=(), compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)
    key: DataKey | None = field(default=None, compare=False, repr=False)
    locked: WrongKey | None = field(default=None, compare=False, repr=False)
    copies: tuple[Path, ...] = field(default=(), compare=False)
    chosen: dict[str, Path] = field(default_factory=dict, compare=False, repr=False)
    elsewhere: list[str] = field(default_factory=list, compare=False, repr=False)

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.folder.name

    def path(self, name: str) -> Path:
        """Where a file of this name is."""
        return self.chosen.get(name, self.folder / name)

    def choose(self, name: str, check: Callable[[Path], T]) -> T:
        """What `check` gives of the first copy of this file that it does not raise for, from which it is then read.

        Raises what was wrong with the first one where there is no other that is whole.
        """
        try:
            return check(self.path(name))
        except (DamagedBackup, StorageFailure) as error:
            for folder in self.copies:
                with suppress(DamagedBackup, StorageFailure):
                    found = check(folder / name)
                    self.chosen[name] = folder / name
                    self.elsewhere.append(f"{error.message}; it was read from {folder / name}")
                    return found
            raise

    def check_open(self) -> None:
        """Raises `WrongKey` when it is encrypted and no key was given."""
        if self.locked:
            raise self.locked

    def wrapped_keys(self) -> WrappedKeys:
        """Whom its data key is wrapped for; raises `DamagedBackup` when nobody can tell.

        Of a backup that is open, that is proven. Of another one, anybody who may write there may have written it.
        """
        assert self.manifest.encryption is not None
        wrapped = _wrapped_keys(self.folder, self.manifest.encryption.key)
        if self.key:
            wrapped.check_mac(self.key, keys_in(self.folder)[-1])
        return wrapped

    def read_database_document(self) -> bytes:
        """The database's document as JSON; raises `DamagedBackup` if it is not what was written."""
        self.check_open()
        text = self.stored_database_document()
        if self.key is None:
            return text
        opened = self.key.unseal("settings", text)
        if opened is None:
            raise DamagedBackup(f"{self.folder / DATABASE_DOCUMENT} was not encrypted with the backup's key", _HINT)
        return opened

    def stored_database_document(self) -> bytes:
        """The same as it is stored, which may be encrypted; raises `DamagedBackup` if its SHA-256 is another one."""
        return self.choose(DATABASE_DOCUMENT, self._stored_database_document)

    def _stored_database_document(self, path: Path) -> bytes:
        try:
            text = path.read_bytes()
        except FileNotFoundError as error:
            raise DamagedBackup(f"{path} is missing", _HINT) from error
        except OSError as error:
            raise StorageFailure(f"{path} could not be read: {error.strerror}", "check that you may read it") from error
        if self.manifest.database_document != manifests.digest(text):
            raise DamagedBackup(f"{path} was changed: its SHA-256 is not the manifest's", _HINT)
        return text

    def settings(self) -> dict[str, str]:
        """The database's settings when it was backed up, from its document."""
        text = self.read_database_document()
        try:
            return msgspec.json.decode(text, type=_DatabaseDocument).settings
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DamagedBackup(f"{self.folder / DATABASE_DOCUMENT} is not one: {error}", _HINT) from error


class _Owner(msgspec.Struct, frozen=True):
    """Whose backups a prefix of a store is for."""

    database: str
    format: int = 1


class _DatabaseDocument(msgspec.Struct):
    settings: dict[str, str] = msgspec.field(name="Settings", default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unusable:
    """A folder whose manifest cannot be used, and why: damaged, of a newer format, or not ours.

    `ours` says whether it was a backup, as its name or what is left of the manifest tells.
    """

    folder: Path
    error: MunimentError
    ours: bool

    @property
    def stamp(self) -> str | None:
        """When a backup with this name was begun, None if the name is not one that backups have."""
        return stamp_of(self.folder.name)

    def __str__(self) -> str:
        return f"{self.folder} cannot be used: {self.error.message}"


class Backups(Sequence[Backup]):
    """The complete backups of a folder in the order of their snapshots, and what cannot be used.

    `place` is the folder or prefix that they are in, `unusable` are those with a manifest that cannot be used, and
    `unfinished` the folders of backups that have none.
    """

    def __init__(
        self,
        place: Path,
        found: Sequence[Backup] = (),
        unusable: Sequence[Unusable] = (),
        unfinished: Sequence[Path] = (),
    ) -> None:
        self.place = place
        self.unusable = tuple(unusable)
        self.unfinished = tuple(unfinished)
        self._found = sorted(found, key=lambda backup: (backup.manifest.through, backup.manifest.completed))

    @overload
    def __getitem__(self, index: int) -> Backup: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Backup]: ...

    def __getitem__(self, index: int | slice) -> Backup | Sequence[Backup]:
        return self._found[index]

    def __len__(self) -> int:
        return len(self._found)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._found == list(other)

    __hash__ = None  # type: ignore[assignment]

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for each that cannot be used."""
        return tuple(map(str, self.unusable))


def with_copies(available: Backups, others: Sequence[Backups]) -> Backups:
    """The same backups with the other places of each; and those that only another place has whole."""
    found = {backup.sha256: backup for backup in reversed(available)}
    for other in others:
        for backup in other:
            if here := found.get(backup.sha256):
                found[backup.sha256] = replace(here, copies=(*here.copies, backup.folder))
            else:
                told = f"{available.place / backup.name} is missing or damaged; it was read from {backup.folder}"
                found[backup.sha256] = replace(backup, elsewhere=[told])
    names = {backup.name for backup in found.values()}
    unusable = [bad for bad in available.unusable if bad.folder.name not in names]
    return Backups(available.place, list(found.values()), unusable, available.unfinished)


def backups_in(source: str | Path, copies: Iterable[str | Path], keyring: Keyring = NO_KEYS) -> Backups:
    """What is in a place, with what other places have of the same. One that cannot be read counts as empty then."""
    if not copies:
        return backups(source, keyring)
    found, errors = [], []
    for place in map(place_of, (source, *copies)):
        try:
            found.append(backups(place, keyring))
        except (BackupNotFound, StorageFailure) as error:
            errors.append(error)
            found.append(Backups(place))
    if len(errors) == len(found):
        raise errors[0]
    return with_copies(found[0], found[1:])


def unusable_in(available: Sequence[Backup]) -> tuple[Unusable, ...]:
    """What cannot be used beside these backups."""
    return available.unusable if isinstance(available, Backups) else ()


def backups(source: str | Path, keyring: Keyring = NO_KEYS) -> Backups:
    """What is in a folder of backups, good and bad; for the folder of one backup, that one and those that it continues.

    In the place of a folder may be a prefix of a store: see `destination.place_of`.

    A damaged backup is an error only for what needs it, and so is one that the keyring does not open: see
    `Backup.locked`. One that lacks a required signature cannot be used. Raises `BackupNotFound` when there is
    no such folder.
    """
    source = place_of(source)
    with mapped_errors(source):
        if isinstance(source, Remote) and not source.exists():
            raise BackupNotFound(f"there is nothing in {source}", "give the place that the backup was written to")
        if not source.exists():
            raise BackupNotFound(f"there is no folder {source}", "give the folder that the backup was written to")
        if not source.is_dir():
            raise BackupNotFound(f"{source} is a file, not a folder of backups", "give the folder that holds it")
        one = _entry(source, keyring)
        if isinstance(one, Backup):
            return _with_those_before(one, keyring)
        found = _folder(source, keyring)
    if one is None:
        return found
    return Backups(source, found, (one, *found.unusable), found.unfinished)


def _folder(place: Path, keyring: Keyring) -> Backups:
    """What is in the folders inside this one."""
    found: list[Backup] = []
    unusable: list[Unusable] = []
    unfinished: list[Path] = []
    for path, entry in _entries(place, keyring):
        match entry:
            case Backup() as backup:
                found.append(backup)
            case Unusable() as bad:
                unusable.append(bad)
            case None if _name.fullmatch(path.name):
                unfinished.append(path)
    return Backups(place, found, unusable, unfinished)


def _entries(place: Path, keyring: Keyring) -> Iterable[tuple[Path, Backup | Unusable | None]]:
    if isinstance(place, Remote):  # each answer of a store takes its time
        with ThreadPoolExecutor(AT_ONCE, "muniment reader") as pool:
            folders = sorted(place.folders())
            return list(zip(folders, pool.map(lambda path: _entry(path, keyring), folders), strict=True))
    links = _links(place)
    paths = (path for path in sorted(place.iterdir()) if path.name != LOST_AND_FOUND and path.name not in links)
    return (
        (path, _entry(path, keyring, aliases=tuple(link for link, name in links.items() if name == path.name)))
        for path in paths
        if path.is_dir()
    )


def _links(place: Path) -> Mapping[str, str]:
    """Links to folders beside them (`latest`), which are not backups of their own."""
    real = Path(os.path.realpath(place))
    links = {path.name: Path(os.path.realpath(path)) for path in place.iterdir() if path.is_symlink()}
    return {link: to.name for link, to in links.items() if to.parent == real}


def _with_those_before(last: Backup, keyring: Keyring) -> Backups:
    """One backup, and those beside it that it continues, as far as they are there."""
    folder = last.folder if isinstance(last.folder, Remote) else Path(os.path.realpath(last.folder))
    last = replace(last, folder=folder)
    if last.manifest.parent is None:
        return Backups(folder.parent, [last])
    beside = _folder(folder.parent, keyring)
    by_state = {state: backup for backup in beside if (state := backup.manifest.same_state_as)}
    by_state |= {backup.sha256: backup for backup in beside}
    found = [last]
    while (parent := found[-1].manifest.parent) and (before := by_state.get(parent.sha256)) and before not in found:
        found.append(before)
    missing = [bad for bad in beside.unusable if parent and bad.folder.name == parent.backup]
    return Backups(folder.parent, found, missing)


def _entry(folder: Path, keyring: Keyring = NO_KEYS, aliases: tuple[str, ...] = ()) -> Backup | Unusable | None:
    """The backup that a folder is, or why it cannot be used; None when it has no manifest."""
    try:
        with mapped_errors(folder):
            there = (folder / manifests.NAME).is_file()
    except StorageFailure as error:  # nobody may look into it: only its name can tell whether it is a backup
        return Unusable(folder, error, True) if _name.fullmatch(folder.name) else None
    if not there:
        return None
    try:
        backup = read(folder, keyring)
    except MunimentError as error:
        return Unusable(folder, error, _name.fullmatch(folder.name) is not None or _was_ours(folder))
    return replace(backup, aliases=aliases)


def _was_ours(folder: Path) -> bool:
    """Whether something of a backup's manifest is left in a file that cannot be read as one."""
    try:
        return manifests.was_one((folder / manifests.NAME).read_bytes())
    except OSError:
        return False


def read(folder: Path, keyring: Keyring = NO_KEYS) -> Backup:
    """One complete backup; raises `DamagedBackup` or `UnknownFormat` when its manifest cannot be read.

    Raises `BadSignature` when it does not have a signature that the keyring requires, or is in clear and should not be.
    """
    with mapped_errors(folder):
        text = (folder / manifests.NAME).read_bytes()
    if keyring.signers:
        _check_signature(folder, text, keyring.signers)
    return _opened(Backup(folder, manifests.decode(text, str(folder)), manifests.digest(text)), text, keyring)


def _opened(backup: Backup, text: bytes, keyring: Keyring) -> Backup:
    """The backup with what is encrypted in its manifest, if the keyring opens that."""
    folder, encryption = backup.folder, backup.manifest.encryption
    if encryption is None and keyring.identities and not keyring.allow_clear:
        raise BadSignature(
            f"{folder / manifests.NAME} is in clear, so anybody may have written it, although a key for"
            " encrypted backups was given",
            "if that is intended, or the key is only that of the database, use --allow-clear (AllowClear in a request)",
        )
    if encryption is None:
        return backup
    wrapped = _wrapped_keys(folder, encryption.key)
    key = keyring.unwrap(wrapped.recipients, encryption.key)
    if key is None:
        given = "the key given does not open it" if keyring.identities else "no key was given"
        locked = WrongKey(
            f"{folder} is encrypted, and {given}; it is for {wrapped.names}",
            "give --passphrase-file, --key-file or --identity",
        )
        return replace(backup, locked=locked)
    wrapped.check_mac(key, keys_in(folder)[-1])
    return replace(backup, manifest=manifests.opened(backup.manifest, text, key, str(folder)), key=key)


def keys_in(folder: Path) -> list[Path]:
    """The lists of recipients that a backup has had, the newest last: where nothing is overwritten, they are numbered.

    `keys.json` is the first, whether or not it is there.
    """
    later = {path: int(found[1]) for path in folder.glob("keys-*.json") if (found := _later_keys.fullmatch(path.name))}
    return [folder / wrapped_keys.NAME, *sorted(later, key=lambda path: later[path])]


def _wrapped_keys(folder: Path, key: str) -> WrappedKeys:
    path = folder / wrapped_keys.NAME
    with mapped_errors(path):
        path = keys_in(folder)[-1]
        try:
            with path.open("rb") as file:
                text = file.read(wrapped_keys.MOST_BYTES + 1)
        except FileNotFoundError as error:
            raise DamagedBackup(f"{path} is missing, without which nobody can open the backup", _HINT) from error
    return wrapped_keys.decode(text, key, path)


def _check_signature(folder: Path, text: bytes, signers: Sequence[str]) -> None:
    path = folder / SIGNATURE
    hint = "use a backup that is signed, or see who has written this one"
    with mapped_errors(path):
        try:
            signature = _decode_signature(path.read_bytes())
        except FileNotFoundError as error:
            raise BadSignature(f"{folder / manifests.NAME} is not signed", hint) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadSignature(f"{path} is not a signature: {error}", hint) from error
    if not signature.holds(text, signers):
        stranger = f"was signed by {signature.signer}, who is not a trusted signer"
        problem = stranger if signature.signer not in signers else "is not what was signed"
        raise BadSignature(f"{folder / manifests.NAME} {problem}", hint)


@dataclass(frozen=True, slots=True)
class Seal:
    """How a new backup is sealed: its data key, the key wrapped for each recipient, and what signs it, if any.

    `notes` are remarks on that for whoever takes the backup.
    """

    key: DataKey | None = None
    wrapped: WrappedKeys | None = None
    signing_key: SigningKey | None = None
    notes: tuple[str, ...] = ()

    @property
    def parquet_key(self) -> bytes | None:
        """What its data files are encrypted with."""
        return self.key.parquet if self.key else None

    def settings(self, text: bytes) -> bytes:
        """The database's document as it is stored."""
        return self.key.seal("settings", text) if self.key else text


class NewBackup:
    """A backup being written. Until `publish`, it does not exist; `abandon` removes what was written."""

    def __init__(
        self, destination: Path, kind: Kind, time: datetime, database_document: bytes, seal: Seal | None = None
    ) -> None:
        """`database_document` is as it is stored: where the backup is encrypted, it is."""
        self.seal = seal or Seal()
        self._made: list[Path] = []
        with mapped_errors(destination):
            if isinstance(destination, Remote):
                self.folder: Path = _claimed(destination, kind, time, database_document)
                return
            self._made = make_folders(destination)
            try:
                self.folder = _make_named(destination, kind, time)
            except BaseException:
                remove_folders(self._made)
                raise
            try:
                write_new(self.folder / DATABASE_DOCUMENT, database_document)
            except BaseException:
                self.abandon()
                raise

    def path(self, name: str) -> Path:
        """Where a file of this name goes."""
        return self.folder / name

    def publish(self, manifest: bytes) -> Backup:
        """Write the manifest; when this returns, the backup is whole and on disk, or in the store."""
        seal = self.seal
        with mapped_errors(self.folder):
            if seal.wrapped:
                put_new(self.folder / wrapped_keys.NAME, seal.wrapped.encoded())
            if seal.signing_key:
                signed = msgspec.json.encode(seal.signing_key.sign(manifest))
                put_new(self.folder / SIGNATURE, msgspec.json.format(signed, indent=2) + b"\n")
            notes = publish_manifest(self.folder, manifest, self._made)
        decoded = manifests.decode(manifest, str(self.folder))
        if seal.key:
            decoded = manifests.opened(decoded, manifest, seal.key, str(self.folder))
        return Backup(self.folder, decoded, manifests.digest(manifest), notes=(*seal.notes, *notes), key=seal.key)

    def abandon(self) -> None:
        """Remove what was written, and the folders that were made for it; in a store, if that may be deleted."""
        if isinstance(self.folder, Remote):
            with suppress(MunimentError, OSError):
                remove_rest(self.folder)
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        remove_folders(self._made)


def publish_manifest(folder: Path, manifest: bytes, made: Sequence[Path] = ()) -> list[str]:
    """Make a backup of what is in a folder or below a prefix; `made` are the folders that were made for it.

    Returns a sentence for each folder that cannot be synced.
    """
    if isinstance(folder, Remote):
        put_new(folder / manifests.NAME, manifest)
        return []
    unnamed = folder / UNFINISHED
    write_new(unnamed, manifest)
    sync_folder(folder)
    unnamed.rename(folder / manifests.NAME)
    return sync_folders((folder, folder.parent, *(each.parent for each in made)))


def delete_backup(backup: Backup) -> None:
    """Delete a backup: its manifest first, so that it does not exist from then on."""
    with mapped_errors(backup.folder):
        (backup.folder / manifests.NAME).unlink()
        if not isinstance(backup.folder, Remote):
            sync_folder(backup.folder)
        remove_rest(backup.folder)


def remove_rest(folder: Path) -> None:
    """Delete what is left of a backup that has no manifest any more, but no folder: none in it is a backup's."""
    with mapped_errors(folder):
        if isinstance(folder, Remote):
            for name in sizes_in(folder):
                (folder / name).unlink()
            return
        for path in folder.iterdir():
            if path.is_symlink() or not path.is_dir():
                path.unlink()
        if not any(folder.iterdir()):
            folder.rmdir()
        sync_folder(folder.parent)


def claim(place: Path, database: str) -> None:
    """Say in a store whose backups are there, before the first is; raises `ForeignBackup` if it is another database.

    In a folder the manifests say it. But in a store two that begin at once would not see each other.
    """
    if not isinstance(place, Remote):
        return
    path = place / REPOSITORY
    try:
        put_new(path, msgspec.json.encode(_Owner(database)))
    except FileExistsError:
        try:
            owner = msgspec.json.decode(path.read_bytes(), type=_Owner).database
        except (msgspec.DecodeError, UnicodeDecodeError, FileNotFoundError) as error:
            raise DamagedBackup(f"{path} is not what Muniment writes there: {error}", "use another prefix") from error
        if owner != database:
            raise ForeignBackup(
                f"{place} is for the backups of another database", f"use another prefix, or see who wrote {path}"
            ) from None


def check_destination(destination: Path) -> None:
    """Raises `StorageFailure` unless this is a folder that can be written to, or can become one.

    In a store, that shows when it is written to.

    Raises `InvalidInput` for what is no folder here, for a backup, and for one inside a database: whoever removes the
    database would remove its backups too.
    """
    if isinstance(destination, Remote):
        if destination / manifests.NAME in destination.iterdir() and isinstance(_entry(destination), Backup):
            raise InvalidInput(
                f"{destination} is a backup itself", f"give the place that it is in: {destination.parent}"
            )
        return
    check_folder_name(destination)
    place = destination
    with mapped_errors(destination):
        if "\0" in str(destination):
            raise StorageFailure(f"{str(destination)!r} is not the name of a folder", "give another")
        while not place.exists() and place != place.parent:
            place = place.parent
        if not place.is_dir():
            raise StorageFailure(f"{place} is a file, so no backup can be written into it", "give a folder")
        if not os.access(place, os.W_OK | os.X_OK):
            raise StorageFailure(
                f"{place} may not be written to", "give a folder that you may write to, or change its permissions"
            )
        resolved = Path(os.path.realpath(destination))  # resolve() fails in a way of its own at a loop of links
        if isinstance(_entry(resolved), Backup):
            raise InvalidInput(f"{destination} is a backup itself", f"give the folder that it is in: {resolved.parent}")
        if folder := resolved if engines.exists(resolved) else engines.database_around(resolved):
            raise InvalidInput(
                f"{destination} is inside the database in {folder}: its backups would be lost with it",
                "give a folder outside of it, at best on another disk",
            )


def _make_named(destination: Path, kind: Kind, time: datetime) -> Path:
    """A new folder with the name of this time, or of the next millisecond that no other backup has."""
    while True:
        folder = destination / f"{stamp(time)}.{kind}"
        try:
            folder.mkdir()
        except FileExistsError:
            time += timedelta(milliseconds=1)
        else:
            return folder


def _claimed(destination: Remote, kind: Kind, time: datetime, database_document: bytes) -> Remote:
    """A prefix with the name of this time, or of the next millisecond of which nobody else has written the settings."""
    while True:
        folder = destination / f"{stamp(time)}.{kind}"
        try:
            put_new(folder / DATABASE_DOCUMENT, database_document, again=False)
        except FileExistsError:
            time += timedelta(milliseconds=1)
        else:
            return folder


def stamp_of(name: str) -> str | None:
    """The time in a name that backups have, None if it is none of those."""
    named = _name.fullmatch(name)
    return named[1] if named else None


def time_of(stamp: str) -> datetime:
    """The end of the millisecond that this is."""
    return datetime.strptime(f"{stamp[:-1]}999+0000", "%Y-%m-%dT%H%M%S.%f%z")


def stamp(time: datetime) -> str:
    """A time as the names of backups and records have it."""
    return f"{time:%Y-%m-%dT%H%M%S}.{time.microsecond // 1000:03d}Z"
