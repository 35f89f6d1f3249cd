"""For whom the backups in a folder are encrypted: listed, and changed without rewriting their data.

Each backup has a data key of its own and a `keys.json` of its own, which is replaced as a whole; in a store, where
nothing is overwritten, by `keys-2.json` and so on. An interrupted change has reached some of the backups; repeating it
changes the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from muniment.backup import wrapped_keys
from muniment.backup.destination import Remote, put_new
from muniment.backup.repository import Backup, backups, keys_in
from muniment.backup.sealing import holds
from muniment.durable import mapped_errors, new_file, write_new
from muniment.errors import BackupNotFound, Conflict, NotFound, StorageFailure
from muniment.security.keyring import Keyring, Protection
from muniment.security.recipients import AnyRecipient, Passphrase, Wrapped, new_stretched


@dataclass(frozen=True, slots=True)
class Held:
    """Somebody who may open backups, by his name, and which of the encrypted ones."""

    name: str
    backups: tuple[str, ...]


def recipients_of(place: Path) -> list[Held]:
    """Who may open the encrypted backups in this folder; raises `BackupNotFound` when there is none."""
    held: dict[str, list[str]] = {}
    for backup in _encrypted(place):
        for each in backup.wrapped_keys().recipients:
            held.setdefault(each.name, []).append(backup.name)
    return [Held(name, tuple(names)) for name, names in held.items()]


def add_recipients(place: Path, protection: Protection, keyring: Keyring) -> list[str]:
    """Let these recipients open all encrypted backups in the folder too; returns the names of those that were changed.

    Changes nothing and raises `WrongKey` when the keyring does not open all of them, `InvalidInput` when one would have
    too many.
    """
    wrapped_keys.check_passphrases(protection.recipients)
    found = _encrypted(place, keyring)
    for backup in found:
        backup.check_open()
    wanted = [_with_a_salt(each) for each in protection.recipients]
    lacking: dict[Path, list[AnyRecipient]] = {}
    for backup in found:
        lacking[backup.folder] = [each for each in wanted if not holds(each, backup.wrapped_keys())]
        wrapped_keys.check_passphrases(lacking[backup.folder], backup.wrapped_keys())

    def added(backup: Backup) -> tuple[Wrapped, ...]:
        assert backup.key is not None
        new = (each.wrap(backup.key) for each in lacking[backup.folder])
        return (*backup.wrapped_keys().recipients, *new)

    return _change(found, added)


def remove_recipient(place: Path, name: str, keyring: Keyring) -> list[str]:
    """Remove the recipient of this name from all backups in the folder; returns the names of those that were changed.

    Whoever has opened one may have kept its data key. Raises `NotFound` for a name that none has; changing nothing,
    `Conflict` when nobody could open one any more, and `WrongKey` when the keyring does not open all that are for it.
    """
    found = _encrypted(place, keyring)
    for backup in found:
        names = {each.name for each in backup.wrapped_keys().recipients}
        if names == {name}:
            raise Conflict(
                f"{name} is the only recipient of {backup.name}: nobody could open it any more",
                "add another one first, or delete the backup",
            )
    if all(name not in {each.name for each in backup.wrapped_keys().recipients} for backup in found):
        raise NotFound(f"no backup in {place} is for {name}", "give a name as `muniment recipients list` shows it")
    held = [backup for backup in found if name in {each.name for each in backup.wrapped_keys().recipients}]
    for backup in held:
        backup.check_open()
    return _change(held, lambda backup: tuple(each for each in backup.wrapped_keys().recipients if each.name != name))


def _change(found: Sequence[Backup], change: Callable[[Backup], tuple[Wrapped, ...]]) -> list[str]:
    """Give each backup these recipients in the place of its own; each file is the old one or the new one always."""
    changed = []
    for backup in found:
        for left in backup.folder.glob(f"{wrapped_keys.NAME}.*.unfinished"):  # by a process that was killed
            with suppress(OSError):
                left.unlink()
        there = backup.wrapped_keys()
        assert backup.key is not None
        new = wrapped_keys.WrappedKeys.of(backup.key, change(backup))
        if new.recipients != there.recipients:
            if isinstance(backup.folder, Remote):
                _add_list(backup.folder, new.encoded())
            else:
                with new_file(keys_in(backup.folder)[-1], overwrite=True) as unfinished:
                    write_new(unfinished, new.encoded())
            changed.append(backup.name)
    return changed


def _add_list(folder: Remote, text: bytes) -> None:
    """A list in the place of those that are there: they are deleted if that may be done, and else no longer read."""
    with mapped_errors(folder):
        there = keys_in(folder)
        number = int(there[-1].stem.rpartition("-")[2]) + 1 if len(there) > 1 else 2
        try:
            put_new(folder / f"keys-{number}.json", text, again=False)
        except FileExistsError:
            raise Conflict(f"somebody else changes the recipients in {folder}", "try it again") from None
        for old in there:
            with suppress(StorageFailure):
                old.unlink()


def _with_a_salt(recipient: AnyRecipient) -> AnyRecipient:
    """A passphrase with one salt for all backups, so that to open all of them costs Argon2id once."""
    if isinstance(recipient, Passphrase):
        return msgspec.structs.replace(recipient, stretched=recipient.stretched or new_stretched())
    return recipient


def _encrypted(place: Path, keyring: Keyring | None = None) -> list[Backup]:
    found = [backup for backup in backups(place, keyring or Keyring()) if backup.manifest.encryption]
    if not found:
        raise BackupNotFound(f"no backup in {place} is encrypted", "give the folder of backups that are")
    return found
